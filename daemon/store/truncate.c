// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changing a file's size, and punching holes.
 *
 * Shrinking: the new size is committed together with the inode's entry on the orphan
 * list; blocks are freed after that in as many transactions as it takes, and the last
 * one takes the entry off. A crash in between leaves a file of the new size whose
 * surplus blocks recovery frees. Files whose few blocks can all be freed in one handle
 * need no entry.
 *
 * The bytes of the last block behind the new end are zeroed in the image at once:
 * growing the file again must not show them.
 *
 * Times are the caller's: it sets them in the inode before the call, and every
 * function here writes the inode.
 */
#include "daemon/store/map.h"

#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/map_impl.h"

/* Larger handles would crowd others out of a small journal's transactions. */
static uint32_t credits_modest(const struct inode *i)
{
	return MIN(journal_credits_max(i->store->journal) / 4, 128u);
}

static int zero_new_tail(struct inode *i, uint64_t size)
{
	uint64_t bs = map_block_size(i);

	if (size >= i->size)
		return 0;
	return map_zero_in_block(i, size, ROUND_UP(size, bs) - size);
}

/* Few blocks: size and blocks go in one handle. */
static int shrink_at_once(struct inode *i, uint64_t size, uint32_t credits)
{
	struct handle h;
	int r;

	r = journal_start(i->store->journal, credits + CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	r = zero_new_tail(i, size);
	if (r == 0)
		r = map_set_size(&h, i, size);
	if (r == 0)
		r = map_remove(&h, i, map_blocks_of(i, size), LBLK_END - 1);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

static int shrink_begin(struct inode *i, uint64_t size, bool *ret_added)
{
	bool add = !(atomic_load(&i->state) & INODE_ORPHAN);
	struct handle h;
	int r;

	r = journal_start(i->store->journal, CREDITS_ORPHAN + CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	r = zero_new_tail(i, size);
	if (r == 0 && add)
		r = orphan_add(&h, i);
	if (r == 0)
		r = map_set_size(&h, i, size);
	if (r == 0)
		r = inode_write_data(&h, i);
	*ret_added = add;
	return map_stop(&h, r);
}

static int shrink_finish(struct inode *i, bool added)
{
	struct handle h;
	int r;

	r = journal_start(i->store->journal, CREDITS_REMOVE_STEP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = map_remove(&h, i, map_blocks_of(i, i->size), LBLK_END - 1);
	if (r == 0)
		r = map_ensure_credits(&h, i, CREDITS_ORPHAN + CREDITS_INODE);
	/* An unlinked file stays on the list: its deletion is still to come. */
	if (r == 0 && (added || i->links > 0))
		r = orphan_del(&h, i);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

static int shrink(struct inode *i, uint64_t size)
{
	uint32_t credits = map_remove_credits(i, map_blocks_of(i, size));
	bool added;
	int r;

	balloc_release_resv(i);
	if (credits > 0 && credits <= credits_modest(i))
		return shrink_at_once(i, size, credits);
	r = shrink_begin(i, size, &added);
	return r < 0 ? r : shrink_finish(i, added);
}

static int grow(struct inode *i, uint64_t size)
{
	struct handle h;
	int r;

	r = map_zero_old_tail(i, size);
	if (r < 0)
		return r;
	r = journal_start(i->store->journal, CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	r = map_set_size(&h, i, size);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

/* 1 = done inside the inode; 0 = the file has blocks now. */
static int resize_inline(struct inode *i, uint64_t size)
{
	bool fits = size <= inline_size_max(i);
	struct handle h;
	int r;

	r = journal_start(i->store->journal, CREDITS_MAP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = fits ? inline_truncate(&h, i, size) : inline_convert(&h, i);
	if (r == 0)
		r = inode_write_data(&h, i);
	r = map_stop(&h, r);
	return r < 0 ? r : fits;
}

int inode_truncate(struct inode *i, uint64_t size)
{
	CHECK(rwlock_is_write_locked(&i->lock));
	if (atomic_load(&i->store->readonly))
		return -EROFS;
	if (size > inode_size_max(i))
		return -EFBIG;
	if (inline_has(i)) {
		int r = resize_inline(i, size);

		if (r != 0)
			return r < 0 ? r : 0;
	}
	/* The same size still frees what was preallocated behind it. */
	return size > i->size ? grow(i, size) : shrink(i, size);
}

/* Does i_block hold a map at all? Short symlinks and devices use it otherwise. */
static bool has_map(const struct inode *i)
{
	if (inline_has(i))
		return false;
	if (inode_is_symlink(i))
		return i->size >= EXT4_N_BLOCKS_BYTES;
	return inode_is_reg(i) || inode_is_dir(i);
}

int inode_truncate_all(struct inode *i)
{
	struct handle h;
	int r;

	CHECK(rwlock_is_write_locked(&i->lock));
	balloc_release_resv(i);
	if (!has_map(i))
		return 0;
	r = journal_start(i->store->journal, CREDITS_REMOVE_STEP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = map_remove(&h, i, 0, LBLK_END - 1);
	if (r == 0) {
		i->size = 0;
		r = inode_write_data(&h, i);
	}
	return map_stop(&h, r);
}

static int punch_inline(struct inode *i, uint64_t off, uint64_t end)
{
	uint64_t len = MIN(end, i->size) - off;
	struct handle h;
	int r;

	if (len > EXT4_MAX_BLOCK_SIZE)
		return store_corrupt(i->store, i->ino, 0, "inline data larger than a block");
	r = journal_start(i->store->journal, CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = inline_write(&h, i, map_zeros(), off, len);
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}

int inode_punch(struct inode *i, uint64_t off, uint64_t len)
{
	uint64_t bs = map_block_size(i), end, first;
	struct handle h;
	int r;

	CHECK(rwlock_is_write_locked(&i->lock));
	if (atomic_load(&i->store->readonly))
		return -EROFS;
	if (len == 0 || off >= i->size)
		return 0;
	/* Blocks preallocated behind the end stay, as in ext4. */
	if (add_overflows(off, len, &end) || end > ROUND_UP(i->size, bs))
		end = ROUND_UP(i->size, bs);
	if (inline_has(i))
		return punch_inline(i, off, end);
	first = DIV_ROUND_UP(off, bs);
	balloc_release_resv(i);
	r = journal_start(i->store->journal, CREDITS_REMOVE_STEP + CREDITS_INODE, &h);
	if (r < 0)
		return r;
	r = map_zero_edges(i, off, end);
	if (r == 0 && first < end / bs)
		r = map_remove(&h, i, (uint32_t)first, (uint32_t)(end / bs - 1));
	if (r == 0)
		r = inode_write_data(&h, i);
	return map_stop(&h, r);
}
