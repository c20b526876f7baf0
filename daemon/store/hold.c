/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/store/hold.h"

#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/map_impl.h"

/* Below this, writing zeros is cheaper than asking the medium for them. */
#define ZERO_WRITE_MAX EXT4_MAX_BLOCK_SIZE

/*
 * A stretch that the medium keeps as a hole has its room made at once: a store through a
 * mapping cannot be told that there is none left.
 */
static int zero_bytes(struct inode *i, uint64_t img_off, uint64_t len)
{
	struct bdev *bdev = i->store->bdev;
	int r;

	if (len <= ZERO_WRITE_MAX)
		return bdev_write(bdev, map_zeros(), len, img_off);
	r = bdev_zero(bdev, img_off, len);
	return r < 0 ? r : bdev_allocate(bdev, img_off, len);
}

static int zero_run(struct inode *i, const struct map_run *run)
{
	uint64_t bs = map_block_size(i);

	return zero_bytes(i, run->pblk * bs, run->count * bs);
}

/* The bytes are in place: in the handle, so that they are flushed before its commit. */
static int convert(struct inode *i, const struct map_run *run, bool zero)
{
	struct handle h;
	int r;

	r = journal_start(i->store->journal, 2 * CREDITS_MAP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	if (zero)
		r = zero_run(i, run);
	if (r == 0)
		r = map_convert(&h, i, run->lblk, run->count);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

static int zero_last_block(struct inode *i, struct hold range)
{
	uint64_t bs = map_block_size(i), end = ROUND_UP(i->size, bs);

	if (end == i->size || i->size / bs < range.first || i->size / bs >= range.end)
		return 0;
	return map_zero_in_block(i, i->size, end - i->size);
}

/* One run of the range: allocated, zeroed, converted, as it has to be. @run->count says how far. */
static int prepare_run(struct inode *i, uint32_t eof, uint32_t alloc_flags, struct map_run *run,
		       struct hold_prepared *p)
{
	int r = 0;

	if (run->flags & MAP_HOLE) {
		r = map_allocate_step(i, alloc_flags, run);
		if (r < 0)
			return r;
		p->changed = true;
		if (run->lblk + run->count > eof)
			p->spare = MIN(p->spare, MAX(run->lblk, eof));
	}
	if (!(run->flags & MAP_UNWRITTEN))
		return bdev_allocate(i->store->bdev, run->pblk * map_block_size(i),
				     (uint64_t)run->count * map_block_size(i));
	if (run->lblk >= eof)
		return zero_run(i, run);
	run->count = MIN(run->count, eof - run->lblk);
	p->changed = true;
	return convert(i, run, true);
}

int hold_prepare(struct inode *i, struct hold range, uint32_t alloc_flags,
		 struct hold_prepared *ret_prepared)
{
	struct hold_prepared p = { .spare = range.end };
	uint32_t eof, lblk = range.first;
	int r = 0;

	CHECK(rwlock_is_write_locked(&i->lock));
	CHECK(range.first < range.end);
	if (inline_has(i))
		r = map_convert_inline(i);
	if (r == 0 && !map_uses_extents(i))
		r = -EOPNOTSUPP;
	if (r == 0)
		r = zero_last_block(i, range);
	eof = map_blocks_of(i, i->size);
	while (r == 0 && lblk < range.end) {
		struct map_run run;

		r = map_lookup(i, lblk, range.end - lblk, &run);
		if (r == 0)
			r = prepare_run(i, eof, alloc_flags, &run, &p);
		if (r == -ENOSPC && lblk >= eof && lblk > range.first) {
			r = 0;
			break;
		}
		if (r == 0)
			lblk += run.count;
	}
	if (r < 0)
		return r;
	p.end = lblk;
	p.spare = MIN(p.spare, p.end);
	*ret_prepared = p;
	return 0;
}

int hold_settle(struct inode *i, struct hold range, uint64_t old_size)
{
	uint64_t bs = map_block_size(i);
	uint32_t lblk = MAX(range.first, (uint32_t)MIN(old_size / bs, (uint64_t)LBLK_END));
	uint32_t end = MIN(range.end, map_blocks_of(i, i->size));
	int r = 0;

	CHECK(rwlock_is_write_locked(&i->lock));
	while (r == 0 && lblk < end) {
		struct map_run run;

		r = map_lookup(i, lblk, end - lblk, &run);
		if (r == 0 && run.flags & MAP_UNWRITTEN)
			r = convert(i, &run, false);
		if (r == 0)
			lblk += run.count;
	}
	return r;
}

int hold_clear(struct inode *i, uint64_t off, uint64_t end)
{
	uint64_t bs = map_block_size(i);

	CHECK(rwlock_is_write_locked(&i->lock));
	while (off < end) {
		uint32_t count = (uint32_t)(DIV_ROUND_UP(end, bs) - off / bs);
		struct map_run run;
		uint64_t part;
		int r;

		r = map_lookup(i, (uint32_t)(off / bs), count, &run);
		if (r < 0)
			return r;
		part = MIN(end - off, run.count * bs - off % bs);
		if (!run.flags)
			r = zero_bytes(i, run.pblk * bs + off % bs, part);
		if (r < 0)
			return r;
		off += part;
	}
	return 0;
}

/* ---- truncation ---- */

static int truncate_begin(struct inode *i, uint64_t size, bool *ret_added)
{
	bool add = !(atomic_load(&i->state) & INODE_ORPHAN);
	uint64_t bs = map_block_size(i);
	struct handle h;
	int r = 0;

	r = journal_start(i->store->journal, CREDITS_ORPHAN + CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	if (size < i->size)
		r = map_zero_in_block(i, size, ROUND_UP(size, bs) - size);
	if (r == 0 && add)
		r = orphan_add(&h, i);
	if (r == 0)
		r = map_set_size(&h, i, size);
	if (r == 0)
		r = inode_write_data(&h, i);
	*ret_added = add;
	return map_stop(&h, r);
}

/* Unwritten first: whoever crashes in between has an unwritten block with old bytes, which nobody sees. */
static int unwrite_held(struct inode *i, struct hold range)
{
	int r = 0;

	for (uint32_t lblk = range.first; r == 0 && lblk < range.end;) {
		struct map_run run;

		r = map_lookup(i, lblk, range.end - lblk, &run);
		if (r == 0 && !run.flags)
			r = map_unwrite_step(i, &run);
		if (r == 0 && !run.flags)
			r = zero_run(i, &run);
		if (r == 0)
			lblk += run.count;
	}
	return r;
}

/* Everything from @from on but what is held; and off the orphan list. */
static int free_others(struct inode *i, uint32_t from, const struct hold *holds, uint32_t count,
		       bool added)
{
	struct handle h;
	int r;

	r = journal_start(i->store->journal, CREDITS_REMOVE_STEP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	for (uint32_t k = 0; r == 0 && k <= count; k++) {
		uint32_t end = k < count ? holds[k].first : LBLK_END;

		if (from < end)
			r = map_remove(&h, i, from, end - 1);
		if (k < count)
			from = MAX(from, holds[k].end);
	}
	if (r == 0)
		r = map_ensure_credits(&h, i, CREDITS_ORPHAN + CREDITS_INODE);
	if (r == 0 && (added || i->links > 0))
		r = orphan_del(&h, i);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

int hold_truncate(struct inode *i, uint64_t size, const struct hold *holds, uint32_t count)
{
	uint32_t eof = map_blocks_of(i, size);
	bool added;
	int r;

	CHECK(rwlock_is_write_locked(&i->lock));
	CHECK(size <= i->size);
	if (atomic_load(&i->store->readonly))
		return -EROFS;
	balloc_release_resv(i);
	r = truncate_begin(i, size, &added);
	for (uint32_t k = 0; r == 0 && k < count; k++) {
		struct hold behind = { .first = MAX(holds[k].first, eof), .end = holds[k].end };

		r = unwrite_held(i, behind);
	}
	return r < 0 ? r : free_others(i, eof, holds, count, added);
}

int hold_release(struct inode *i, struct hold range)
{
	uint32_t first = MAX(range.first, map_blocks_of(i, i->size));
	struct handle h;
	int r;

	CHECK(rwlock_is_write_locked(&i->lock));
	if (first >= range.end)
		return 0;
	r = journal_start(i->store->journal, CREDITS_REMOVE_STEP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = map_remove(&h, i, first, range.end - 1);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}
