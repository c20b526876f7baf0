// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inode numbers: which group, then the lowest free one in it.
 *
 * Directories spread and their files gather (Orlov): a directory at the top goes to a
 * flex group with few directories and much room, one further down stays near its
 * parent unless it is crowded there, and everything else goes to its directory's flex
 * group. The numbers themselves are packed from the front of each group.
 *
 * Invariants
 * (1) A group's free number is taken lowest first: slots above itable_unused's line,
 *     whose bytes may be anybody's, are entered in order and never skipped.
 * (2) inodes_free is claimed before a group is searched, as blocks are.
 */
#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/alloc.h"
#include "daemon/store/group.h"
#include "daemon/store/icache.h"
#include "daemon/store/inode_disk.h"
#include "daemon/store/super.h"

/* Flex groups looked at for a directory: enough to find a good one, however large the image. */
#define FLEX_SAMPLES_MAX 64

struct flex_load {
	uint64_t inodes_free, blocks_free, dirs;
};

static uint32_t flex_count(const struct store *s)
{
	return (uint32_t)DIV_ROUND_UP((uint64_t)s->group_count, (uint64_t)s->flex_size);
}

static struct flex_load flex_sum(const struct store *s, uint32_t flex)
{
	struct flex_load sum = { 0 };
	uint32_t g = flex * s->flex_size;
	uint32_t end = MIN(s->group_count - g, s->flex_size) + g;

	for (; g < end; g++) {
		const struct group *grp = &s->groups[g];

		sum.inodes_free += atomic_load_explicit(&grp->inodes_free, memory_order_relaxed);
		sum.blocks_free += atomic_load_explicit(&grp->blocks_free, memory_order_relaxed);
		sum.dirs += atomic_load_explicit(&grp->dirs_used, memory_order_relaxed);
	}
	return sum;
}

/* At the top: of the flex groups that are better than average, the one with the fewest directories. */
static bool choose_spread(const struct store *s, uint32_t *ret_flex)
{
	uint32_t flexes = flex_count(s);
	uint64_t inodes_avg = (uint64_t)atomic_load(&s->inodes_free) / flexes;
	uint64_t blocks_avg = (uint64_t)atomic_load(&s->blocks_free) / flexes;
	uint32_t start = inode_new_generation() % flexes;
	uint32_t samples = MIN(flexes, (uint32_t)FLEX_SAMPLES_MAX);
	uint64_t dirs_best = UINT64_MAX;
	uint32_t n;

	for (n = 0; n < samples; n++) {
		uint32_t flex = (uint32_t)(((uint64_t)start + n) % flexes);
		struct flex_load load = flex_sum(s, flex);

		if (load.inodes_free == 0 || load.inodes_free < inodes_avg ||
		    load.blocks_free < blocks_avg || load.dirs >= dirs_best)
			continue;
		dirs_best = load.dirs;
		*ret_flex = flex;
	}
	return dirs_best != UINT64_MAX;
}

/* Below the top: the first flex group from the parent's on that is not crowded. */
static bool choose_near(const struct store *s, uint32_t parent_flex, uint32_t *ret_flex)
{
	uint32_t flexes = flex_count(s);
	uint64_t inodes_flex = (uint64_t)s->inodes_per_group * s->flex_size;
	uint64_t blocks_flex = (uint64_t)s->blocks_per_group * s->flex_size;
	uint64_t inodes_avg = (uint64_t)atomic_load(&s->inodes_free) / flexes;
	uint64_t blocks_avg = (uint64_t)atomic_load(&s->blocks_free) / flexes;
	/* A quarter of a flex group below average is still near enough. */
	uint64_t inodes_min = inodes_avg > inodes_flex / 4 ? inodes_avg - inodes_flex / 4 : 1;
	uint64_t blocks_min = blocks_avg > blocks_flex / 4 ? blocks_avg - blocks_flex / 4 : 0;
	uint32_t n;

	for (n = 0; n < MIN(flexes, (uint32_t)FLEX_SAMPLES_MAX); n++) {
		uint32_t flex = (uint32_t)(((uint64_t)parent_flex + n) % flexes);
		struct flex_load load = flex_sum(s, flex);

		if (load.inodes_free >= MAX(inodes_min, (uint64_t)1) &&
		    load.blocks_free >= blocks_min && load.dirs <= inodes_flex / 16 + 1) {
			*ret_flex = flex;
			return true;
		}
	}
	return false;
}

static uint32_t choose_group(const struct store *s, const struct inode *dir, bool is_dir)
{
	uint32_t parent_group = (dir->ino - 1) / s->inodes_per_group;
	uint32_t flex = parent_group / s->flex_size;
	bool top = dir->ino == EXT4_ROOT_INO || (dir->flags & EXT4_TOPDIR_FL);

	if (is_dir && top)
		(void)(choose_spread(s, &flex) ||
		       choose_near(s, flex, &flex)); /* else where the parent is */
	else if (is_dir)
		(void)choose_near(s, flex, &flex); /* else where the parent is */
	return flex * s->flex_size;
}

/* ---- taking and giving back ----------------------------------------------- */

/* A new directory or file may be the group's first sign of life: give it its block bitmap, too. */
static int init_block_bitmap(struct store *s, struct handle *h, uint32_t g)
{
	struct buf *bitmap;
	int ret;

	if (!(s->groups[g].flags & EXT4_BG_BLOCK_UNINIT))
		return 0;
	ret = group_change_begin(s, h, g, BITMAP_BLOCKS, &bitmap);
	if (!ret)
		group_change_end(s, h, g, BITMAP_BLOCKS, bitmap, 0, 1);
	return ret;
}

/*
 * May the slot hold what nobody wrote? Behind itable_unused's line, and where a creation failed
 * in front of it, a table that was never zeroed has a former filesystem's bytes; with
 * checksums those do not fit.
 */
static bool slot_is_written(const struct store *s, uint32_t g, uint32_t bit)
{
	const struct group *grp = &s->groups[g];

	if ((grp->flags & EXT4_BG_INODE_UNINIT) || bit >= s->inodes_per_group - grp->itable_unused)
		return false;
	return !s->has_gdt_csum || (grp->flags & EXT4_BG_INODE_ZEROED);
}

/* The bitmap calls it free; does its slot? A file whose bit is missing would be overwritten. */
static int check_slot_free(struct store *s, uint32_t g, uint32_t bit)
{
	uint32_t ino = g * s->inodes_per_group + bit + 1;
	struct inode_slot slot = inode_slot_in(s, s->groups[g].inode_table, ino);
	const struct ext4_inode *d;
	struct buf *b;
	bool live;
	int ret;

	if (!slot_is_written(s, g, bit))
		return 0;
	ret = buf_read(s->cache, slot.pblk, &b);
	if (ret)
		return ret;
	rwlock_read(&b->lock);
	d = (const struct ext4_inode *)(b->data + slot.off);
	live = d->i_mode.raw && d->i_links_count.raw && !d->i_dtime.raw &&
	       (!s->has_csum || !inode_disk_check_csum(s, ino, (const uint8_t *)d));
	rwlock_unread(&b->lock);
	buf_put(b);
	return live ? store_corrupt(s, ino, slot.pblk, "a number free in the bitmap is in use") : 0;
}

/* Caller holds the group lock. 1: nothing free here. */
static int take(struct store *s, struct handle *h, uint32_t g, bool is_dir, uint32_t *ret_ino)
{
	struct group *grp = &s->groups[g];
	uint32_t bit, used;
	struct buf *bitmap;
	int ret;

	if (grp->inodes_free == 0)
		return 1;
	/* First, since it may fail: after it nothing can between taking the number and telling it. */
	ret = init_block_bitmap(s, h, g);
	if (ret)
		return ret;
	ret = group_change_begin(s, h, g, BITMAP_INODES, &bitmap);
	if (ret)
		return ret;
	bit = bitmap_next_zero(bitmap->data, MAX(grp->inode_hint, g ? 0 : s->first_ino - 1),
			       s->inodes_per_group);
	if (bit == s->inodes_per_group) {
		buf_put(bitmap);
		atomic_store(&grp->corrupt_inodes, true);
		return store_corrupt(s, 0, grp->inode_bitmap,
				     "inode bitmap: full, but the descriptor counts free inodes");
	}
	ret = check_slot_free(s, g, bit);
	if (ret) {
		buf_put(bitmap);
		if (ret == -EUCLEAN)
			atomic_store(&grp->corrupt_inodes, true);
		return ret;
	}
	bitmap_set(bitmap->data, bit, 1);
	grp->inode_hint = bit + 1;
	atomic_fetch_sub(&grp->inodes_free, 1);
	if (is_dir)
		atomic_fetch_add(&grp->dirs_used, 1);
	used = s->inodes_per_group - grp->itable_unused;
	if (bit >= used)
		grp->itable_unused = s->inodes_per_group - bit - 1;
	group_change_end(s, h, g, BITMAP_INODES, bitmap, bit, 1);
	*ret_ino = g * s->inodes_per_group + bit + 1;
	return 0;
}

/* 1: nothing free here, or not usable. */
static int try_group(struct store *s, struct handle *h, uint32_t g, bool is_dir, uint32_t *ret_ino)
{
	struct group *grp = &s->groups[g];
	int ret;

	if (atomic_load_explicit(&grp->inodes_free, memory_order_relaxed) == 0 ||
	    atomic_load_explicit(&grp->corrupt_inodes, memory_order_relaxed))
		return 1;
	rwlock_write(&grp->lock);
	ret = take(s, h, g, is_dir, ret_ino);
	rwlock_unwrite(&grp->lock);
	return ret == -EUCLEAN || ret == -EBADMSG ? 1 : ret;
}

static bool claim(struct store *s)
{
	int64_t n = atomic_load(&s->inodes_free);

	do {
		if (n <= 0)
			return false;
	} while (!atomic_compare_exchange_weak(&s->inodes_free, &n, n - 1));
	return true;
}

int ialloc(struct handle *h, struct inode *dir, bool is_dir, uint32_t *ret_ino)
{
	struct store *s = dir->store;
	uint32_t start = choose_group(s, dir, is_dir);
	uint32_t n;
	int ret = 1;

	if (!claim(s))
		return -ENOSPC;
	for (n = 0; n < s->group_count && ret == 1; n++)
		ret = try_group(s, h, (uint32_t)(((uint64_t)start + n) % s->group_count), is_dir,
				ret_ino);
	if (ret)
		atomic_fetch_add(&s->inodes_free, 1);
	return ret == 1 ? -ENOSPC : ret;
}

static int give_back(struct store *s, struct handle *h, uint32_t g, uint32_t bit, bool is_dir)
{
	struct group *grp = &s->groups[g];
	struct buf *bitmap;
	int ret = group_change_begin(s, h, g, BITMAP_INODES, &bitmap);

	if (ret)
		return ret;
	if (!bitmap_test(bitmap->data, bit)) {
		buf_put(bitmap);
		atomic_store(&grp->corrupt_inodes, true);
		return store_corrupt(s, g * s->inodes_per_group + bit + 1, grp->inode_bitmap,
				     "freed inode is free already");
	}
	bitmap_clear(bitmap->data, bit, 1);
	grp->inode_hint = MIN(grp->inode_hint, bit);
	atomic_fetch_add(&grp->inodes_free, 1);
	if (is_dir && grp->dirs_used > 0)
		atomic_fetch_sub(&grp->dirs_used, 1);
	group_change_end(s, h, g, BITMAP_INODES, bitmap, bit, 1);
	atomic_fetch_add(&s->inodes_free, 1);
	return 0;
}

int ialloc_free(struct handle *h, struct store *s, uint32_t ino, bool is_dir)
{
	uint32_t g = (ino - 1) / s->inodes_per_group;
	struct group *grp;
	int ret = 0;

	if (ino < s->first_ino || ino > s->inodes_count)
		return store_corrupt(s, ino, 0, "freed inode is a reserved one");
	grp = &s->groups[g];
	rwlock_write(&grp->lock);
	/* Numbers of a group whose bitmap is wrong are lost until e2fsck finds them. */
	if (!atomic_load(&grp->corrupt_inodes))
		ret = give_back(s, h, g, (ino - 1) % s->inodes_per_group, is_dir);
	rwlock_unwrite(&grp->lock);
	return ret == -EUCLEAN || ret == -EBADMSG ? 0 : ret;
}

int ialloc_free_prepare(struct handle *h, struct store *s, uint32_t ino)
{
	uint32_t g = (ino - 1) / s->inodes_per_group;
	struct group *grp;
	struct buf *bitmap;
	int ret = 0;

	if (ino < s->first_ino || ino > s->inodes_count)
		return 0; /* ialloc_free() reports it */
	grp = &s->groups[g];
	rwlock_write(&grp->lock);
	if (!atomic_load(&grp->corrupt_inodes)) {
		ret = group_change_begin(s, h, g, BITMAP_INODES, &bitmap);
		if (!ret)
			buf_put(bitmap);
	}
	rwlock_unwrite(&grp->lock);
	return ret == -EUCLEAN || ret == -EBADMSG ? 0 : ret;
}

int ialloc_in_use(struct store *s, uint32_t ino, bool *ret_used)
{
	uint32_t g;
	struct buf *bitmap;
	int ret;

	if (ino == 0 || ino > s->inodes_count) {
		*ret_used = false;
		return 0;
	}
	g = (ino - 1) / s->inodes_per_group;
	rwlock_write(&s->groups[g].lock);
	ret = group_inode_bitmap(s, g, &bitmap);
	if (!ret) {
		*ret_used = bitmap_test(bitmap->data, (ino - 1) % s->inodes_per_group);
		buf_put(bitmap);
	}
	rwlock_unwrite(&s->groups[g].lock);
	return ret;
}
