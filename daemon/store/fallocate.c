// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ranges of a file prepared or rearranged: preallocation, zeroing, and taking out or
 * putting in whole blocks (fallocate(2)).
 *
 * Each works step by step, one run a handle, and each step leaves a valid file, so a
 * crash or an error (ENOSPC) leaves the work partly done, as ext4 does. The size changes
 * last when it grows behind allocated blocks: what lies behind the end is unwritten,
 * and e2fsck accepts no written blocks there.
 *
 * Block maps know no unwritten state and cannot be shifted: -EOPNOTSUPP, as ext4.
 * Times are the caller's, as in truncate.c.
 */
#include "daemon/store/map.h"

#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/extent.h"
#include "daemon/store/map_impl.h"

/* What a call is about; [first, last) are the blocks that it touches. */
struct range {
	uint64_t off, end;
	uint32_t first, last;
	uint32_t alloc_flags;
	bool keep_size;
};

static int range_init(const struct inode *i, uint64_t off, uint64_t len, struct range *rg)
{
	uint64_t bs = map_block_size(i);

	CHECK(rwlock_is_write_locked(&i->lock));
	if (atomic_load(&i->store->readonly))
		return -EROFS;
	if (len == 0)
		return -EINVAL;
	if (add_overflows(off, len, &rg->end) || rg->end > inode_size_max(i))
		return -EFBIG;
	rg->off = off;
	rg->first = (uint32_t)(off / bs);
	rg->last = map_blocks_of(i, rg->end);
	return 0;
}

int map_convert_inline(struct inode *i)
{
	struct handle h;
	int r;

	r = journal_start(i->store->journal, CREDITS_MAP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = inline_convert(&h, i);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

/* All blocks are there: write the inode, with the new size if the range goes past the old one. */
static int finish(struct inode *i, const struct range *rg)
{
	bool grows = !rg->keep_size && rg->end > i->size;
	struct handle h;
	int r = 0;

	if (grows)
		r = map_zero_old_tail(i, rg->end);
	if (r < 0)
		return r;
	r = journal_start(i->store->journal, CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	if (grows)
		r = map_set_size(&h, i, rg->end);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

int map_allocate_step(struct inode *i, uint32_t alloc_flags, struct map_run *run)
{
	struct handle h;
	int r;

	r = journal_start(i->store->journal, CREDITS_ALLOC + CREDITS_MAP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = map_allocate(&h, i, run->lblk, run->count, true, alloc_flags, run);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

int map_unwrite_step(struct inode *i, const struct map_run *run)
{
	struct handle h;
	int r;

	r = journal_start(i->store->journal, 2 * CREDITS_MAP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = map_unwrite(&h, i, run->lblk, run->count);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

/* What cannot succeed is refused before it fills the image. */
static bool surely_too_large(const struct inode *i, const struct range *rg)
{
	uint64_t have = i->blocks / (map_block_size(i) / 512);
	int64_t free_now = atomic_load(&i->store->blocks_free);

	return (uint64_t)(rg->last - rg->first) > have + (uint64_t)MAX(free_now, INT64_C(0));
}

int inode_preallocate(struct inode *i, uint64_t off, uint64_t len, bool keep_size,
		      uint32_t alloc_flags)
{
	struct range rg = { .keep_size = keep_size, .alloc_flags = alloc_flags };
	int r;

	r = range_init(i, off, len, &rg);
	if (r < 0)
		return r;
	if (inline_has(i) && !keep_size && rg.end <= inline_size_max(i))
		return inode_truncate(i, MAX(rg.end, i->size));
	if (inline_has(i))
		r = map_convert_inline(i);
	if (r < 0)
		return r;
	if (!map_uses_extents(i))
		return -EOPNOTSUPP;
	if (surely_too_large(i, &rg))
		return -ENOSPC;
	for (uint32_t lblk = rg.first; lblk < rg.last;) {
		struct map_run run;

		r = map_lookup(i, lblk, rg.last - lblk, &run);
		if (r == 0 && (run.flags & MAP_HOLE))
			r = map_allocate_step(i, rg.alloc_flags, &run);
		if (r < 0)
			return r;
		lblk += run.count;
	}
	return finish(i, &rg);
}

/* One run of a range to be zeroed; *lblk moves behind it. */
static int zero_step(struct inode *i, const struct range *rg, uint32_t *lblk)
{
	uint64_t bs = map_block_size(i);
	uint32_t whole_first = (uint32_t)DIV_ROUND_UP(rg->off, bs);
	uint32_t whole_end = (uint32_t)(rg->end / bs);
	struct map_run run;
	uint32_t last = rg->last;
	int r;

	/* The shared blocks at the ends are steps of their own. */
	if (*lblk < whole_first)
		last = MIN(last, whole_first);
	else if (*lblk < whole_end)
		last = MIN(last, whole_end);
	r = map_lookup(i, *lblk, last - *lblk, &run);
	if (r < 0)
		return r;
	if (run.flags & MAP_HOLE)
		r = map_allocate_step(i, rg->alloc_flags, &run);
	else if (!run.flags && *lblk >= whole_first && *lblk < whole_end)
		r = map_unwrite_step(i, &run);
	*lblk += run.count;
	return r;
}

static int zero_inline(struct inode *i, const struct range *rg)
{
	uint64_t end = rg->keep_size ? MIN(rg->end, i->size) : rg->end;
	struct handle h;
	int r;

	r = journal_start(i->store->journal, CREDITS_INODE, &h);
	if (r < 0)
		return r;
	if (end > rg->off)
		r = inline_write(&h, i, map_zeros(), rg->off, end - rg->off);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

int inode_zero_range(struct inode *i, uint64_t off, uint64_t len, bool keep_size)
{
	struct range rg = { .keep_size = keep_size };
	int r;

	r = range_init(i, off, len, &rg);
	if (r < 0)
		return r;
	if (inline_has(i) && rg.end <= inline_size_max(i))
		return zero_inline(i, &rg);
	if (inline_has(i))
		r = map_convert_inline(i);
	if (r < 0)
		return r;
	if (!map_uses_extents(i))
		return -EOPNOTSUPP;
	r = map_zero_edges(i, rg.off, rg.end);
	for (uint32_t lblk = rg.first; r == 0 && lblk < rg.last;)
		r = zero_step(i, &rg, &lblk);
	return r < 0 ? r : finish(i, &rg);
}

/* Common demands of taking out and putting in: whole blocks, an extent tree. */
static int shift_init(struct inode *i, uint64_t off, uint64_t len, struct range *rg)
{
	uint64_t bs = map_block_size(i);
	int r;

	r = range_init(i, off, len, rg);
	if (r < 0)
		return r;
	if (off % bs != 0 || len % bs != 0 || off >= i->size)
		return -EINVAL;
	if (inline_has(i))
		r = map_convert_inline(i);
	if (r == 0 && !map_uses_extents(i))
		r = -EOPNOTSUPP;
	return r;
}

int inode_collapse_range(struct inode *i, uint64_t off, uint64_t len)
{
	struct range rg = { .keep_size = true };
	struct handle h;
	int r;

	r = shift_init(i, off, len, &rg);
	if (r < 0)
		return r;
	if (rg.end >= i->size)
		return -EINVAL; /* that is a truncation */
	balloc_release_resv(i);
	r = journal_start(i->store->journal, CREDITS_REMOVE_STEP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = map_remove(&h, i, rg.first, rg.last - 1);
	if (r == 0)
		r = extent_shift_down(&h, i, rg.last, rg.last - rg.first);
	if (r == 0)
		r = map_ensure_credits(&h, i, CREDITS_INODE);
	if (r == 0) {
		i->size -= len;
		r = inode_write_data(&h, i);
	}
	return map_stop(&h, r);
}

int inode_insert_range(struct inode *i, uint64_t off, uint64_t len)
{
	struct range rg = { .keep_size = true };
	uint32_t delta, end;
	uint64_t size;
	struct handle h;
	int r, r2;

	r = shift_init(i, off, len, &rg);
	if (r < 0)
		return r;
	delta = rg.last - rg.first;
	r = extent_end(i, &end);
	if (r < 0)
		return r;
	if (add_overflows(i->size, len, &size) || size > inode_size_max(i) ||
	    end > LBLK_END - delta)
		return -EFBIG;
	balloc_release_resv(i);
	r = journal_start(i->store->journal, CREDITS_MAP + CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	/* The one step that wants room, before anything is seen to change. */
	r = extent_split(&h, i, rg.first);
	/* Then the size: shifted extents must not lie behind the end. */
	if (r == 0)
		r = map_set_size(&h, i, size);
	if (r == 0)
		r = inode_write_data(&h, i);
	if (r == 0)
		r = map_ensure_credits(&h, i, CREDITS_MAP + CREDITS_INODE);
	if (r == 0)
		r = extent_shift_up(&h, i, rg.first, delta);
	/* On failure, too: the root in the image must fit the nodes below it. */
	r2 = inode_write_data(&h, i);
	return map_stop(&h, r < 0 ? r : r2);
}
