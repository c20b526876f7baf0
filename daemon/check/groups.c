// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pass 5: bitmaps, and the counts of groups and superblock, against what passes 1 and 2
 * saw.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/check/check_priv.h"
#include "daemon/store/group.h"
#include "daemon/store/super.h"

/* Ranges named in one finding; the rest is counted. */
#define RANGES_MAX 128u

/* Differences of one kind of bitmap, as e2fsck lists them. */
struct diff {
	struct ck *c;
	const char *kind, *what;
	char text[RANGES_MAX * 48];
	size_t len;
	uint32_t ranges, more;
	uint64_t first, last; /* the range that grows */
	char sign;	      /* 0: none */
};

static void diff_flush_range(struct diff *d)
{
	size_t room = sizeof(d->text) - d->len;
	unsigned long long first = d->first, last = d->last;

	if (!d->sign)
		return;
	if (d->ranges == RANGES_MAX)
		d->more++;
	else if (first == last)
		snprintf(d->text + d->len, room, " %c%llu", d->sign, first);
	else
		snprintf(d->text + d->len, room, " %c(%llu--%llu)", d->sign, first, last);
	d->len += strlen(d->text + d->len);
	d->ranges += d->ranges < RANGES_MAX;
	d->sign = 0;
}

static void diff_add(struct diff *d, char sign, uint64_t n)
{
	if (d->sign == sign && d->last + 1 == n) {
		d->last = n;
		return;
	}
	diff_flush_range(d);
	d->sign = sign;
	d->first = d->last = n;
}

static void diff_end(struct diff *d)
{
	diff_flush_range(d);
	if (d->more)
		ck_find(d->c, d->kind, 0, 0, "%s differences: %s and %u more", d->what, d->text,
			d->more);
	else if (d->ranges)
		ck_find(d->c, d->kind, 0, 0, "%s differences: %s", d->what, d->text);
}

struct pass5 {
	struct ck *c;
	struct diff blocks, inodes;
	bool block_padding, inode_padding;
	uint64_t free_blocks, free_inodes; /* clusters */
	uint8_t *bitmap;
};

static uint32_t group_clusters(const struct ck *c, uint32_t g)
{
	uint32_t blocks = geometry_group_blocks(c->s, g);

	return (blocks + (1u << c->s->cluster_bits) - 1) >> c->s->cluster_bits;
}

/* A bit of the first cluster of group @g. */
static uint64_t group_bit(const struct ck *c, uint32_t g)
{
	return (uint64_t)g * (c->s->blocks_per_group >> c->s->cluster_bits);
}

static bool csum_bad(const struct ck *c, const uint8_t *map, uint32_t bits, uint32_t stored)
{
	uint32_t crc = crc32c(c->s->csum_seed, map, bits / 8);

	if (c->s->desc_size < EXT4_MIN_DESC_SIZE_64BIT)
		crc &= 0xffff;
	return c->s->has_csum && crc != stored;
}

static bool is_uninit(const struct ck *c, uint32_t g, uint16_t flag)
{
	return (c->s->has_csum || c->s->has_gdt_csum) && (c->groups[g].flags & flag);
}

static bool padding_bad(const struct ck *c, const uint8_t *map, uint32_t bits)
{
	return !bitmap_all_set(map, bits, c->s->block_size * 8 - bits);
}

/* ---- blocks --------------------------------------------------------------- */

static void set_zone(void *arg, uint32_t first, uint32_t count)
{
	bitmap_set(arg, first, count);
}

/* What a group without a bitmap on the medium holds: its own metadata. */
static void make_bitmap(struct pass5 *p, uint32_t g)
{
	memset(p->bitmap, 0, p->c->s->block_size);
	zones_in_group(p->c->s, g, set_zone, p->bitmap);
}

static int load_blocks(struct pass5 *p, uint32_t g)
{
	struct ck *c = p->c;
	const struct ck_group *grp = &c->groups[g];
	int ret;

	if (is_uninit(c, g, EXT4_BG_BLOCK_UNINIT)) {
		make_bitmap(p, g);
		return 0;
	}
	ret = ck_read(c, grp->block_bitmap, 1, p->bitmap);
	if (ret)
		return ret;
	if (csum_bad(c, p->bitmap, c->s->blocks_per_group >> c->s->cluster_bits, grp->block_csum))
		ck_find(c, "block_bitmap_checksum", 0, grp->block_bitmap,
			"Group %u block bitmap does not match checksum.", g);
	p->block_padding |= padding_bad(c, p->bitmap, group_clusters(c, g));
	return 0;
}

static int check_blocks(struct pass5 *p, uint32_t g)
{
	struct ck *c = p->c;
	uint64_t base = group_bit(c, g);
	uint32_t k, count = group_clusters(c, g), used = 0, marked = 0;
	bool in_use = false;
	int ret = load_blocks(p, g);

	for (k = 0; k < count && !ret; k++) {
		bool want = ck_used(c, base + k), is = bitmap_test(p->bitmap, k);

		used += want;
		marked += is;
		if (want == is)
			continue;
		in_use |= want;
		diff_add(&p->blocks, want ? '+' : '-',
			 ((base + k) << c->s->cluster_bits) + c->s->first_data_block);
	}
	if (ret)
		return ret;
	if (in_use && is_uninit(c, g, EXT4_BG_BLOCK_UNINIT))
		ck_find(c, "block_uninit", 0, 0,
			"Group %u block(s) in use but group is marked BLOCK_UNINIT", g);
	/* As e2fsck has it when it may not repair: the counts are to agree with the bitmap. */
	if (c->groups[g].free_blocks != count - marked)
		ck_find(c, "free_blocks", 0, 0,
			"Free blocks count wrong for group #%u (%u, counted=%u).", g,
			c->groups[g].free_blocks, count - marked);
	p->free_blocks += count - marked;
	c->result->blocks_used += (uint64_t)used << c->s->cluster_bits;
	return 0;
}

/* ---- inodes --------------------------------------------------------------- */

static int load_inodes(struct pass5 *p, uint32_t g)
{
	struct ck *c = p->c;
	const struct ck_group *grp = &c->groups[g];
	int ret;

	if (is_uninit(c, g, EXT4_BG_INODE_UNINIT)) {
		memset(p->bitmap, 0, c->s->block_size);
		return 0;
	}
	ret = ck_read(c, grp->inode_bitmap, 1, p->bitmap);
	if (ret)
		return ret;
	if (csum_bad(c, p->bitmap, c->s->inodes_per_group, grp->inode_csum))
		ck_find(c, "inode_bitmap_checksum", 0, grp->inode_bitmap,
			"Group %u inode bitmap does not match checksum.", g);
	p->inode_padding |= padding_bad(c, p->bitmap, c->s->inodes_per_group);
	return 0;
}

static int check_inodes(struct pass5 *p, uint32_t g)
{
	struct ck *c = p->c;
	uint32_t per = c->s->inodes_per_group, k, used = 0, marked = 0, dirs = 0;
	bool in_use = false;
	int ret = load_inodes(p, g);

	for (k = 0; k < per && !ret; k++) {
		const struct ck_state *st = c->states[g] ? &c->states[g][k] : NULL;
		uint32_t ino = g * per + k + 1;
		bool want = ino < c->s->first_ino || (st && (st->flags & CI_USED));

		used += want;
		marked += bitmap_test(p->bitmap, k);
		dirs += st && (st->flags & CI_DIR);
		if (want == bitmap_test(p->bitmap, k))
			continue;
		in_use |= want;
		diff_add(&p->inodes, want ? '+' : '-', ino);
	}
	if (ret)
		return ret;
	if (in_use && is_uninit(c, g, EXT4_BG_INODE_UNINIT))
		ck_find(c, "inode_uninit", 0, 0,
			"Group %u inode(s) in use but group is marked INODE_UNINIT", g);
	if (c->groups[g].free_inodes != per - marked)
		ck_find(c, "free_inodes", 0, 0,
			"Free inodes count wrong for group #%u (%u, counted=%u).", g,
			c->groups[g].free_inodes, per - marked);
	if (c->groups[g].dirs != dirs)
		ck_find(c, "directories", 0, 0,
			"Directories count wrong for group #%u (%u, counted=%u).", g,
			c->groups[g].dirs, dirs);
	p->free_inodes += per - marked;
	c->result->inodes_used += used;
	c->result->dirs += dirs;
	return 0;
}

/* ---- the pass ------------------------------------------------------------- */

static void check_totals(struct pass5 *p)
{
	struct ck *c = p->c;
	uint64_t blocks = le32_to_cpu(c->sb.s_free_blocks_count_lo);
	uint32_t inodes = le32_to_cpu(c->sb.s_free_inodes_count);
	uint64_t counted = p->free_blocks << c->s->cluster_bits;

	if (store_has_incompat(c->s, EXT4_FEATURE_INCOMPAT_64BIT))
		blocks |= (uint64_t)le32_to_cpu(c->sb.s_free_blocks_count_hi) << 32;
	if (blocks != counted)
		ck_find(c, "free_blocks", 0, 0, "Free blocks count wrong (%llu, counted=%llu).",
			(unsigned long long)blocks, (unsigned long long)counted);
	if (inodes != p->free_inodes)
		ck_find(c, "free_inodes", 0, 0, "Free inodes count wrong (%u, counted=%llu).",
			inodes, (unsigned long long)p->free_inodes);
	if (p->inode_padding)
		ck_find(c, "padding", 0, 0, "Padding at end of inode bitmap is not set.");
	if (p->block_padding)
		ck_find(c, "padding", 0, 0, "Padding at end of block bitmap is not set.");
}

int ck_pass5(struct ck *c)
{
	_cleanup_free_ struct pass5 *p = calloc(1, sizeof(*p));
	uint32_t g;
	int ret = 0;

	if (!p)
		return -ENOMEM;
	p->c = c;
	p->bitmap = c->attr;
	p->blocks = (struct diff){ .c = c, .kind = "block_bitmap", .what = "Block bitmap" };
	p->inodes = (struct diff){ .c = c, .kind = "inode_bitmap", .what = "Inode bitmap" };
	for (g = 0; g < c->s->group_count && !ret; g++) {
		ret = ck_tick(c, 5, g, c->s->group_count);
		if (!ret)
			ret = check_blocks(p, g);
		if (!ret)
			ret = check_inodes(p, g);
	}
	if (ret)
		return ret;
	diff_end(&p->blocks);
	diff_end(&p->inodes);
	check_totals(p);
	return ck_tick(c, 5, 1, 1);
}
