// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping, whatever its kind: dispatch to extents or block maps, and what both need.
 *
 * A change of several steps may fail half way with a valid map that lost or gained
 * only part of what was asked (a split node, an emptied one). The root of that map
 * lies in the inode in memory, so the functions here write the inode before they
 * return an error: otherwise the image's inode would not match its blocks.
 */
#include "daemon/store/map.h"

#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/extent.h"
#include "daemon/store/indirect.h"
#include "daemon/store/map_impl.h"

/* Never written. Not const, so that it takes no room in the executable. */
static uint8_t zeros[EXT4_MAX_BLOCK_SIZE];

const uint8_t *map_zeros(void)
{
	return zeros;
}

uint32_t map_blocks_of(const struct inode *i, uint64_t bytes)
{
	uint64_t bits = i->store->block_bits;
	uint64_t blocks = (bytes >> bits) + ((bytes & (map_block_size(i) - 1)) != 0);

	return (uint32_t)MIN(blocks, (uint64_t)LBLK_END);
}

int map_lookup_goal(struct inode *i, uint32_t lblk, uint32_t max, struct map_run *ret_run,
		    uint64_t *ret_goal)
{
	uint64_t goal = 0;
	int r;

	CHECK(max > 0);
	if (lblk >= LBLK_END)
		return -EFBIG;
	max = MIN(max, LBLK_END - lblk);
	if (map_uses_extents(i))
		r = extent_lookup(i, lblk, max, ret_run, &goal);
	else
		r = indirect_lookup(i, lblk, max, ret_run, &goal);
	if (r < 0)
		return r;
	/* A run can be re-read from a block that was verified as something else. */
	if (!(ret_run->flags & MAP_HOLE) &&
	    !store_pblk_valid(i->store, ret_run->pblk, ret_run->count))
		return store_corrupt(i->store, i->ino, ret_run->pblk,
				     "file maps blocks that no file may have");
	*ret_goal = store_pblk_valid(i->store, goal, 1) ? goal : 0;
	return 0;
}

int map_lookup(struct inode *i, uint32_t lblk, uint32_t max, struct map_run *ret_run)
{
	uint64_t goal;

	return map_lookup_goal(i, lblk, max, ret_run, &goal);
}

uint32_t map_insert_max(const struct inode *i, uint32_t lblk)
{
	return map_uses_extents(i) ? EXT_UNWRITTEN_MAX_LEN : indirect_insert_max(i, lblk);
}

/* After a failed change: the image's inode must match the blocks of its map. */
static int settle(struct handle *h, struct inode *i, int error)
{
	if (error < 0)
		(void)inode_write_data(h, i); /* a second failure is that of an aborted journal */
	return error;
}

int map_meta_alloc(struct handle *h, struct inode *i, uint64_t goal, uint32_t alloc_flags,
		   struct buf **ret_buf)
{
	struct alloc_req req = {
		.inode = i, .goal = goal, .count = 1, .flags = ALLOC_META | alloc_flags
	};
	struct buf *b = NULL;
	uint64_t pblk;
	uint32_t count;
	int r;

	r = balloc(h, &req, &pblk, &count);
	if (r < 0)
		return r;
	CHECK(count == 1);
	r = !map_uses_extents(i) && pblk > UINT32_MAX ? -EFBIG : 0;
	if (r == 0)
		r = buf_get_new(i->store->cache, pblk, &b);
	if (r == 0)
		r = journal_get_create(h, b);
	if (r < 0) {
		if (b)
			buf_put(b);
		(void)balloc_undo(h, i->store, pblk, 1); /* the first error is the one to tell */
		return r;
	}
	inode_add_blocks(i, 1);
	*ret_buf = b;
	return 0;
}

int map_meta_free(struct handle *h, struct inode *i, uint64_t pblk)
{
	inode_add_blocks(i, -1);
	return balloc_free(h, i, pblk, 1, FREE_META);
}

/* Contents that went through the journal must be revoked, or recovery writes over the next owner. */
static bool data_is_journaled(const struct inode *i)
{
	return !inode_is_reg(i) || (i->flags & (EXT4_EA_INODE_FL | EXT4_JOURNAL_DATA_FL));
}

/*
 * Is a block of an attribute's value cached as checked metadata, which values never are? Then
 * something else lives in it, perhaps changed in this very handle, and must not be forgotten.
 */
static bool value_is_cross_linked(const struct inode *i, uint64_t pblk, uint32_t count)
{
	bool found = false;

	if (!(i->flags & EXT4_EA_INODE_FL))
		return false;
	for (uint32_t k = 0; k < count && !found; k++) {
		_cleanup_put_buffer_ struct buf *b = buf_peek(i->store->cache, pblk + k);

		found = b && buf_verified(b);
	}
	return found;
}

int map_data_free(struct handle *h, struct inode *i, uint64_t pblk, uint32_t count)
{
	inode_add_blocks(i, -(int64_t)count);
	if (value_is_cross_linked(i, pblk, count)) {
		/* Lost until e2fsck finds whose they are. */
		(void)store_corrupt(i->store, i->ino, pblk, "EA inode: block is metadata too");
		return 0;
	}
	return balloc_free(h, i, pblk, count, data_is_journaled(i) ? FREE_META : 0);
}

int map_ensure_credits(struct handle *h, struct inode *i, uint32_t credits)
{
	int r;

	if (h->credits >= credits)
		return 0;
	r = inode_write_data(h, i);
	if (r < 0)
		return r;
	r = journal_extend(h, credits);
	return r < 0 ? r : 0;
}

int map_set_size(struct handle *h, struct inode *i, uint64_t size)
{
	i->size = size;
	if (size <= INT32_MAX || !inode_is_reg(i) ||
	    store_has_ro_compat(i->store, EXT4_FEATURE_RO_COMPAT_LARGE_FILE))
		return 0;
	return store_set_feature(i->store, h, 0, 0, EXT4_FEATURE_RO_COMPAT_LARGE_FILE);
}

int map_zero_in_block(struct inode *i, uint64_t off, uint64_t len)
{
	uint32_t bs = map_block_size(i);
	struct map_run run;
	int r;

	if (len == 0)
		return 0;
	CHECK(off / bs == (off + len - 1) / bs);
	r = map_lookup(i, (uint32_t)(off / bs), 1, &run);
	if (r < 0 || run.flags)
		return r;
	return bdev_write(i->store->bdev, zeros, len, run.pblk * bs + off % bs);
}

int map_zero_edges(struct inode *i, uint64_t off, uint64_t end)
{
	uint64_t bs = map_block_size(i);
	uint64_t first = ROUND_UP(off, bs), last = ROUND_DOWN(end, bs);
	int r;

	if (first > last)
		return map_zero_in_block(i, off, end - off);
	r = map_zero_in_block(i, off, first - off);
	if (r < 0)
		return r;
	return map_zero_in_block(i, last, end - last);
}

int map_zero_old_tail(struct inode *i, uint64_t size)
{
	uint64_t bs = map_block_size(i), end = ROUND_UP(i->size, bs);

	return map_zero_in_block(i, i->size, MIN(size, end) - i->size);
}

int map_insert(struct handle *h, struct inode *i, const struct map_run *run)
{
	int r;

	CHECK(run->count > 0);
	CHECK(!(run->flags & MAP_HOLE));
	if ((uint64_t)run->lblk + run->count > LBLK_END)
		return -EFBIG;
	r = map_uses_extents(i) ? extent_insert(h, i, run) : indirect_insert(h, i, run);
	if (r == 0)
		inode_add_blocks(i, run->count);
	return settle(h, i, r);
}

int map_convert(struct handle *h, struct inode *i, uint32_t lblk, uint32_t count)
{
	if (!map_uses_extents(i))
		return -EOPNOTSUPP;
	return settle(h, i, extent_set_state(h, i, lblk, count, false));
}

int map_unwrite(struct handle *h, struct inode *i, uint32_t lblk, uint32_t count)
{
	if (!map_uses_extents(i))
		return -EOPNOTSUPP;
	return settle(h, i, extent_set_state(h, i, lblk, count, true));
}

int map_allocate(struct handle *h, struct inode *i, uint32_t lblk, uint32_t count, bool unwritten,
		 uint32_t alloc_flags, struct map_run *ret_run)
{
	struct alloc_req req = { .inode = i, .lblk = lblk, .flags = alloc_flags };
	struct map_run run;
	int r;

	if (unwritten && !map_uses_extents(i))
		return -EOPNOTSUPP;
	r = map_lookup_goal(i, lblk, count, &run, &req.goal);
	if (r < 0)
		return r;
	if (!(run.flags & MAP_HOLE)) {
		*ret_run = run;
		return 0;
	}
	req.count = MIN(run.count, map_insert_max(i, lblk));
	r = balloc(h, &req, &run.pblk, &run.count);
	if (r < 0)
		return r;
	run.flags = unwritten ? MAP_UNWRITTEN : 0;
	r = map_insert(h, i, &run);
	if (r < 0) {
		(void)balloc_undo(h, i->store, run.pblk,
				  run.count); /* the first error is the one to tell */
		return r;
	}
	*ret_run = run;
	return 0;
}

static int remove_extents(struct handle *h, struct inode *i, uint32_t first, uint32_t last)
{
	bool more = true;

	while (more) {
		int r;

		r = map_ensure_credits(h, i, CREDITS_REMOVE_STEP);
		if (r == 0)
			r = extent_remove_step(h, i, first, &last, &more);
		if (r < 0)
			return r;
	}
	return extent_collapse_root(h, i);
}

static int remove_indirect(struct handle *h, struct inode *i, uint32_t first, uint32_t last)
{
	bool more = true;

	while (more) {
		int r;

		r = map_ensure_credits(h, i, CREDITS_REMOVE_STEP);
		if (r == 0)
			r = indirect_remove_step(h, i, first, &last, &more);
		if (r < 0)
			return r;
	}
	return 0;
}

int map_remove(struct handle *h, struct inode *i, uint32_t first, uint32_t last)
{
	int r;

	CHECK(first <= last);
	last = MIN(last, LBLK_END - 1);
	if (first > last)
		return 0;
	r = map_uses_extents(i) ? remove_extents(h, i, first, last) :
				  remove_indirect(h, i, first, last);
	return settle(h, i, r);
}

/*
 * Known only for a small map: an extent root that is its own leaf, or a map of direct
 * blocks. Each piece freed costs the bitmap and descriptor of its group; the last step
 * wants a whole step's room to be left.
 */
uint32_t map_remove_credits(struct inode *i, uint32_t first)
{
	uint32_t pieces = 0, lblk = first, end = LBLK_END;
	uint32_t runs_max = EXT4_NDIR_BLOCKS;

	if (map_uses_extents(i)) {
		struct extent_node root = { .data = i->i_block };

		if (le16_to_cpu(extent_header(&root)->eh_depth) > 0)
			return 0;
	} else {
		const struct ext4_inode *raw = NULL;
		const le32 *map = (const le32 *)(const void *)i->i_block;

		for (uint32_t k = EXT4_IND_BLOCK; k < ARRAY_SIZE(raw->i_block); k++)
			if (le32_to_cpu(map[k]) != 0)
				return 0;
		end = EXT4_NDIR_BLOCKS;
	}
	for (uint32_t k = 0; k < 2 * runs_max && lblk < end; k++) {
		struct map_run run;

		if (map_lookup(i, lblk, end - lblk, &run) < 0)
			return 0;
		if (!(run.flags & MAP_HOLE))
			pieces += 2 + run.count / i->store->blocks_per_group;
		lblk += run.count;
	}
	return lblk < end ? 0 : pieces * CREDITS_ALLOC + CREDITS_REMOVE_STEP;
}

/* End of the file's blocks as far as its size says. */
static int seek_runs(struct inode *i, uint64_t off, bool want_hole, uint64_t *ret_off)
{
	uint32_t bs = map_block_size(i), end = map_blocks_of(i, i->size);
	uint32_t lblk = (uint32_t)MIN(off / bs, (uint64_t)LBLK_END);

	if (lblk >= end && want_hole) { /* the size is more than any map can name */
		*ret_off = off;
		return 0;
	}
	while (lblk < end) {
		struct map_run run;
		int r;

		r = map_lookup(i, lblk, end - lblk, &run);
		if (r < 0)
			return r;
		if ((run.flags != 0) == want_hole) {
			*ret_off = MAX(off, (uint64_t)lblk * bs);
			return 0;
		}
		lblk += run.count;
	}
	if (!want_hole)
		return -ENXIO;
	*ret_off = i->size;
	return 0;
}

int map_seek(struct inode *i, uint64_t off, bool want_hole, uint64_t *ret_off)
{
	if (off >= i->size)
		return -ENXIO;
	if (inline_has(i)) {
		*ret_off = want_hole ? i->size : off;
		return 0;
	}
	return seek_runs(i, off, want_hole, ret_off);
}

int map_count_runs(struct inode *i, uint32_t *ret_runs)
{
	*ret_runs = 0;
	if (inline_has(i))
		return 0;
	return map_uses_extents(i) ? extent_count(i, ret_runs) : indirect_count_runs(i, ret_runs);
}

int map_verify(struct inode *i)
{
	uint32_t runs;

	if (inline_has(i))
		return 0;
	return map_uses_extents(i) ? extent_verify_tree(i) : indirect_count_runs(i, &runs);
}

void map_init(struct inode *i)
{
	if (store_has_incompat(i->store, EXT4_FEATURE_INCOMPAT_EXTENTS)) {
		i->flags |= EXT4_EXTENTS_FL;
		extent_root_init(i);
	} else {
		i->flags &= ~(uint32_t)EXT4_EXTENTS_FL;
		memset(i->i_block, 0, sizeof(i->i_block));
	}
}
