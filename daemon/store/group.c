// SPDX-License-Identifier: GPL-2.0-only
/*
 * Block groups: descriptors loaded and validated at open and kept pinned; bitmaps
 * read, or made for groups that were never initialised, and verified when first used.
 *
 * Invariants
 * (1) A descriptor's pointers lie inside the image and outside the superblock and
 *     the descriptors; without flex_bg inside their group. zones.c adds that no two
 *     overlap.
 * (2) In the bytes of descriptor and bitmaps, a change is made under the group lock,
 *     after both were declared to the handle; so it is whole or absent.
 * (3) A group whose bitmap is wrong is marked corrupt: reported once, never
 *     allocated from or freed into; the rest goes on.
 */
#include "daemon/store/group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/crc.h"
#include "daemon/store/alloc.h"
#include "daemon/store/super.h"

/* Descriptor blocks asked for ahead while loading. */
#define READAHEAD_BLOCKS 256

/* ---- descriptors ---------------------------------------------------------- */

uint16_t group_desc_csum(const struct store *s, uint32_t g, const uint8_t *raw)
{
	const uint32_t at = offsetof(struct ext4_group_desc, bg_checksum);
	const uint32_t rest = EXT4_MIN_DESC_SIZE;
	static const uint8_t zero[2];
	le32 le_g = cpu_to_le32(g);
	uint32_t crc;
	uint16_t crc_short;

	if (s->has_csum) {
		crc = crc32c(s->csum_seed, &le_g, sizeof(le_g));
		crc = crc32c(crc, raw, at);
		crc = crc32c(crc, zero, 2);
		if (s->desc_size > rest)
			crc = crc32c(crc, raw + rest, s->desc_size - rest);
		return (uint16_t)crc;
	}
	crc_short = crc16(0xffff, s->uuid, sizeof(s->uuid));
	crc_short = crc16(crc_short, &le_g, sizeof(le_g));
	crc_short = crc16(crc_short, raw, at);
	if (s->desc_size > rest)
		crc_short = crc16(crc_short, raw + rest, s->desc_size - rest);
	return crc_short;
}

static bool desc_is_wide(const struct store *s)
{
	return s->desc_size >= EXT4_MIN_DESC_SIZE_64BIT;
}

static uint64_t join64(const struct store *s, le32 lo, le32 hi)
{
	return le32_to_cpu(lo) | (desc_is_wide(s) ? (uint64_t)le32_to_cpu(hi) << 32 : 0);
}

static uint32_t join32(const struct store *s, le16 lo, le16 hi)
{
	return le16_to_cpu(lo) | (desc_is_wide(s) ? (uint32_t)le16_to_cpu(hi) << 16 : 0);
}

/* May [pblk, pblk + count) hold a bitmap or table of group @g? */
static bool place_ok(const struct store *s, uint32_t g, uint64_t pblk, uint32_t count)
{
	uint64_t first = s->first_data_block, end = s->blocks_count;
	uint64_t group0_end = first + geometry_base_meta(s, 0);

	if (!store_has_incompat(s, EXT4_FEATURE_INCOMPAT_FLEX_BG)) {
		first = store_group_first(s, g);
		end = first + geometry_group_blocks(s, g);
	}
	return pblk >= first && pblk < end && count <= end - pblk && pblk >= group0_end;
}

static int check_places(const struct store *s, uint32_t g, const struct group *grp,
			struct store_open_error *err)
{
	const char *field = NULL;
	uint64_t pblk = 0;

	if (!place_ok(s, g, grp->block_bitmap, 1)) {
		field = "block bitmap";
		pblk = grp->block_bitmap;
	} else if (!place_ok(s, g, grp->inode_bitmap, 1)) {
		field = "inode bitmap";
		pblk = grp->inode_bitmap;
	} else if (!place_ok(s, g, grp->inode_table, s->itable_blocks)) {
		field = "inode table";
		pblk = grp->inode_table;
	}
	if (!field)
		return 0;
	return store_open_fail(err, -EUCLEAN, NULL,
			       "group descriptor %" PRIu32 ": %s at block %" PRIu64
			       " cannot be there",
			       g, field, pblk);
}

/* Counters are clamped by marking: a group that lies about itself is not allocated from. */
static void decode_counters(const struct store *s, uint32_t g, const struct ext4_group_desc *d,
			    struct group *grp)
{
	uint32_t blocks = geometry_group_blocks(s, g);
	uint32_t inodes_free = join32(s, d->bg_free_inodes_count_lo, d->bg_free_inodes_count_hi);
	uint32_t blocks_free = join32(s, d->bg_free_blocks_count_lo, d->bg_free_blocks_count_hi);
	uint32_t unused = 0;

	grp->flags = 0;
	if (s->has_csum || s->has_gdt_csum) {
		grp->flags = le16_to_cpu(d->bg_flags);
		unused = join32(s, d->bg_itable_unused_lo, d->bg_itable_unused_hi);
	}
	if (blocks_free > blocks) {
		atomic_store(&grp->corrupt_blocks, true);
		blocks_free = 0;
	}
	if (inodes_free > s->inodes_per_group || unused > s->inodes_per_group) {
		atomic_store(&grp->corrupt_inodes, true);
		inodes_free = 0;
		unused = 0;
	}
	atomic_store(&grp->blocks_free, blocks_free);
	atomic_store(&grp->blocks_avail, blocks_free);
	atomic_store(&grp->run_hint, blocks_free);
	atomic_store(&grp->inodes_free, inodes_free);
	atomic_store(&grp->dirs_used,
		     join32(s, d->bg_used_dirs_count_lo, d->bg_used_dirs_count_hi));
	grp->itable_unused = unused;
}

int group_desc_decode(const struct store *s, uint32_t g, const uint8_t *raw, struct group *grp,
		      struct store_open_error *err)
{
	struct ext4_group_desc d = { 0 };
	char remedy[128];

	memcpy(&d, raw, MIN(s->desc_size, (uint32_t)sizeof(d)));
	if ((s->has_csum || s->has_gdt_csum) &&
	    le16_to_cpu(d.bg_checksum) != group_desc_csum(s, g, raw)) {
		geometry_backup_remedy_of(s, remedy, sizeof(remedy));
		return store_open_fail(err, -EBADMSG, remedy,
				       "group descriptor %" PRIu32 ": checksum %04x, computed %04x",
				       g, le16_to_cpu(d.bg_checksum), group_desc_csum(s, g, raw));
	}
	grp->block_bitmap = join64(s, d.bg_block_bitmap_lo, d.bg_block_bitmap_hi);
	grp->inode_bitmap = join64(s, d.bg_inode_bitmap_lo, d.bg_inode_bitmap_hi);
	grp->inode_table = join64(s, d.bg_inode_table_lo, d.bg_inode_table_hi);
	rwlock_init(&grp->lock, LOCK_GROUP);
	list_init(&grp->resvs);
	decode_counters(s, g, &d, grp);
	return check_places(s, g, grp, err);
}

static int load_desc_block(struct store *s, uint32_t i, struct store_open_error *err)
{
	uint32_t g = i * s->desc_per_block;
	uint32_t end = MIN(s->group_count - g, s->desc_per_block) + g;
	int ret;

	ret = buf_read(s->cache, geometry_desc_pblk(s, i), &s->desc_bufs[i]);
	if (ret)
		return store_open_fail(err, ret, NULL,
				       "group descriptors: block %" PRIu64 " cannot be read",
				       geometry_desc_pblk(s, i));
	for (; g < end && !ret; g++) {
		ret = group_desc_decode(
			s, g, s->desc_bufs[i]->data + g % s->desc_per_block * s->desc_size,
			&s->groups[g], err);
		if (s->groups[g].corrupt_blocks || s->groups[g].corrupt_inodes)
			(void)store_corrupt(
				s, 0, s->desc_bufs[i]->pblk,
				"group descriptor: a count is impossible"); /* the group is left alone */
		s->blocks_free += s->groups[g].blocks_free;
		s->inodes_free += s->groups[g].inodes_free;
	}
	return ret;
}

int groups_load(struct store *s, struct store_open_error *err)
{
	uint32_t i;
	int ret = 0;

	s->groups = calloc(s->group_count, sizeof(*s->groups));
	s->desc_bufs = calloc(s->gdt_blocks, sizeof(struct buf *));
	if (!s->groups || !s->desc_bufs)
		return store_open_fail(err, -ENOMEM, "free some memory",
				       "no memory for %" PRIu32 " groups", s->group_count);
	for (i = 0; i < s->gdt_blocks && !ret; i++) {
		/* Old tables are one run; metagroups' blocks lie apart and are few. */
		if (i % READAHEAD_BLOCKS == 0)
			buf_readahead(s->cache, geometry_desc_pblk(s, i),
				      MIN(s->gdt_blocks - i, (uint32_t)READAHEAD_BLOCKS));
		ret = load_desc_block(s, i, err);
	}
	return ret;
}

void groups_free(struct store *s)
{
	uint32_t i;

	for (i = 0; s->groups && i < s->group_count; i++)
		free(s->groups[i].busy);
	for (i = 0; s->desc_bufs && i < s->gdt_blocks; i++) {
		if (s->desc_bufs[i])
			buf_put(s->desc_bufs[i]);
	}
	free(s->groups);
	free(s->desc_bufs);
	s->groups = NULL;
	s->desc_bufs = NULL;
}

/* ---- writing descriptors -------------------------------------------------- */

static struct buf *desc_buf(const struct store *s, uint32_t g, uint8_t **ret_raw)
{
	struct buf *b = s->desc_bufs[g / s->desc_per_block];

	*ret_raw = b->data + g % s->desc_per_block * s->desc_size;
	return b;
}

static void split32(const struct store *s, uint32_t n, le16 *lo, le16 *hi)
{
	*lo = cpu_to_le16((uint16_t)n);
	if (desc_is_wide(s))
		*hi = cpu_to_le16((uint16_t)(n >> 16));
}

/* Caller has declared the buffer to @h. */
static void desc_store(struct store *s, struct handle *h, uint32_t g)
{
	const struct group *grp = &s->groups[g];
	struct ext4_group_desc *d;
	uint8_t *raw;
	struct buf *b = desc_buf(s, g, &raw);

	/* Fields beyond 32 bytes are touched only where the descriptor has them. */
	d = (struct ext4_group_desc *)(void *)raw;
	split32(s, grp->blocks_free, &d->bg_free_blocks_count_lo, &d->bg_free_blocks_count_hi);
	split32(s, grp->inodes_free, &d->bg_free_inodes_count_lo, &d->bg_free_inodes_count_hi);
	split32(s, grp->dirs_used, &d->bg_used_dirs_count_lo, &d->bg_used_dirs_count_hi);
	if (s->has_csum || s->has_gdt_csum) {
		split32(s, grp->itable_unused, &d->bg_itable_unused_lo, &d->bg_itable_unused_hi);
		d->bg_flags = cpu_to_le16(grp->flags);
		d->bg_checksum = cpu_to_le16(group_desc_csum(s, g, raw));
	}
	journal_dirty(h, b, (uint32_t)(raw - b->data), s->desc_size);
}

int group_desc_write(struct store *s, struct handle *h, uint32_t g)
{
	uint8_t *raw;
	int ret = journal_get_write(h, desc_buf(s, g, &raw));

	if (ret)
		return ret;
	desc_store(s, h, g);
	return 0;
}

/* ---- bitmaps -------------------------------------------------------------- */

/* Bytes of a bitmap that its checksum covers. */
static uint32_t bitmap_csum_len(const struct store *s, enum bitmap_kind kind)
{
	return (kind == BITMAP_BLOCKS ? s->blocks_per_group >> s->cluster_bits :
					s->inodes_per_group) /
	       8;
}

static void bitmap_csum_fields(const struct store *s, uint32_t g, enum bitmap_kind kind,
			       le16 **ret_lo, le16 **ret_hi)
{
	uint8_t *raw;
	struct ext4_group_desc *d;

	(void)desc_buf(s, g, &raw); /* only the place is wanted */
	d = (struct ext4_group_desc *)(void *)raw;
	*ret_lo = kind == BITMAP_BLOCKS ? &d->bg_block_bitmap_csum_lo : &d->bg_inode_bitmap_csum_lo;
	*ret_hi = NULL;
	if (desc_is_wide(s))
		*ret_hi = kind == BITMAP_BLOCKS ? &d->bg_block_bitmap_csum_hi :
						  &d->bg_inode_bitmap_csum_hi;
}

static bool bitmap_csum_ok(const struct store *s, uint32_t g, enum bitmap_kind kind,
			   const struct buf *b)
{
	uint32_t crc, stored;
	le16 *lo, *hi;

	if (!s->has_csum)
		return true;
	crc = crc32c(s->csum_seed, b->data, bitmap_csum_len(s, kind));
	bitmap_csum_fields(s, g, kind, &lo, &hi);
	stored = le16_to_cpu(*lo);
	if (hi)
		stored |= (uint32_t)le16_to_cpu(*hi) << 16;
	else
		crc &= 0xffff;
	return crc == stored;
}

static void bitmap_csum_store(const struct store *s, uint32_t g, enum bitmap_kind kind,
			      const struct buf *b)
{
	uint32_t crc;
	le16 *lo, *hi;

	if (!s->has_csum)
		return;
	crc = crc32c(s->csum_seed, b->data, bitmap_csum_len(s, kind));
	bitmap_csum_fields(s, g, kind, &lo, &hi);
	*lo = cpu_to_le16((uint16_t)crc);
	if (hi)
		*hi = cpu_to_le16((uint16_t)(crc >> 16));
}

static void set_zone(void *map, uint32_t first, uint32_t count)
{
	bitmap_set(map, first, count);
}

/* What mke2fs did not write: the bitmap of a group that holds nothing but its own metadata. */
static void make_bitmap(const struct store *s, uint32_t g, enum bitmap_kind kind, uint8_t *map)
{
	uint32_t bits = s->block_size * 8;
	uint32_t end = s->inodes_per_group;

	memset(map, 0, s->block_size);
	if (kind == BITMAP_BLOCKS) {
		zones_in_group(s, g, set_zone, map);
		end = geometry_group_blocks(s, g);
	}
	bitmap_set(map, end, bits - end);
}

static int corrupt_group(struct store *s, uint32_t g, enum bitmap_kind kind, const char *what)
{
	struct group *grp = &s->groups[g];

	atomic_store(kind == BITMAP_BLOCKS ? &grp->corrupt_blocks : &grp->corrupt_inodes, true);
	return store_corrupt(s, 0, kind == BITMAP_BLOCKS ? grp->block_bitmap : grp->inode_bitmap,
			     what);
}

static int make_uninit(struct store *s, uint32_t g, enum bitmap_kind kind, uint64_t pblk,
		       struct buf **ret_buf)
{
	struct buf *b = buf_find(s->cache, pblk);
	int ret;

	if (b && buf_verified(b)) {
		*ret_buf = b;
		return 0;
	}
	if (b)
		buf_put(b);
	/* Group 0 holds the root directory: it was never without bitmaps. */
	if (g == 0)
		return corrupt_group(s, g, kind, "bitmap of group 0 is marked uninitialised");
	ret = buf_get_new(s->cache, pblk, &b);
	if (ret)
		return ret;
	make_bitmap(s, g, kind, b->data);
	buf_set_verified(b);
	*ret_buf = b;
	return 0;
}

/* Bits of fixed metadata that the bitmap calls free. */
struct zone_check {
	const uint8_t *map;
	bool bad;
};

static void check_zone(void *arg, uint32_t first, uint32_t count)
{
	struct zone_check *zc = arg;

	if (!bitmap_all_set(zc->map, first, count))
		zc->bad = true;
}

static int verify_bitmap(struct store *s, uint32_t g, enum bitmap_kind kind, struct buf *b)
{
	struct zone_check zc = { .map = b->data };

	if (!bitmap_csum_ok(s, g, kind, b)) {
		(void)corrupt_group(s, g, kind,
				    kind == BITMAP_BLOCKS ? "block bitmap: checksum is wrong" :
							    "inode bitmap: checksum is wrong");
		return -EBADMSG;
	}
	if (kind == BITMAP_BLOCKS && !s->cluster_bits)
		zones_in_group(s, g, check_zone, &zc);
	if (kind == BITMAP_INODES && g == 0 && !bitmap_all_set(b->data, 0, s->first_ino - 1))
		return corrupt_group(s, g, kind, "inode bitmap: reserved inodes are free");
	if (zc.bad)
		return corrupt_group(s, g, kind, "block bitmap: fixed metadata is free");
	return 0;
}

static int get_bitmap(struct store *s, uint32_t g, enum bitmap_kind kind, struct buf **ret_buf)
{
	struct group *grp = &s->groups[g];
	uint64_t pblk = kind == BITMAP_BLOCKS ? grp->block_bitmap : grp->inode_bitmap;
	uint16_t uninit = kind == BITMAP_BLOCKS ? EXT4_BG_BLOCK_UNINIT : EXT4_BG_INODE_UNINIT;
	struct buf *b;
	int ret;

	CHECK(rwlock_is_write_locked(&grp->lock));
	if (kind == BITMAP_BLOCKS ? grp->corrupt_blocks : grp->corrupt_inodes)
		return -EUCLEAN;
	if (grp->flags & uninit)
		return make_uninit(s, g, kind, pblk, ret_buf);
	ret = buf_read(s->cache, pblk, &b);
	if (ret)
		return ret;
	if (!buf_verified(b)) {
		ret = verify_bitmap(s, g, kind, b);
		if (ret) {
			buf_put(b);
			return ret;
		}
		buf_set_verified(b);
	}
	*ret_buf = b;
	return 0;
}

int group_block_bitmap(struct store *s, uint32_t g, struct buf **ret_buf)
{
	return get_bitmap(s, g, BITMAP_BLOCKS, ret_buf);
}

int group_inode_bitmap(struct store *s, uint32_t g, struct buf **ret_buf)
{
	return get_bitmap(s, g, BITMAP_INODES, ret_buf);
}

int group_change_begin(struct store *s, struct handle *h, uint32_t g, enum bitmap_kind kind,
		       struct buf **ret_bitmap)
{
	struct buf *b;
	uint8_t *raw;
	int ret = get_bitmap(s, g, kind, &b);

	if (ret)
		return ret;
	ret = journal_get_write(h, b);
	if (!ret)
		ret = journal_get_write(h, desc_buf(s, g, &raw));
	if (ret) {
		buf_put(b);
		return ret;
	}
	*ret_bitmap = b;
	return 0;
}

void group_change_end(struct store *s, struct handle *h, uint32_t g, enum bitmap_kind kind,
		      struct buf *bitmap, uint32_t first, uint32_t count)
{
	struct group *grp = &s->groups[g];
	uint16_t uninit = kind == BITMAP_BLOCKS ? EXT4_BG_BLOCK_UNINIT : EXT4_BG_INODE_UNINIT;

	/* The medium holds nothing yet of a bitmap that was made: all of it is new. */
	if (grp->flags & uninit) {
		grp->flags &= (uint16_t)~uninit;
		journal_dirty(h, bitmap, 0, s->block_size);
	} else {
		journal_dirty(h, bitmap, first / 8, (first + count - 1) / 8 - first / 8 + 1);
	}
	bitmap_csum_store(s, g, kind, bitmap);
	desc_store(s, h, g);
	buf_put(bitmap);
}
