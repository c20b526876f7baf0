/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the mapping layer share and nobody else needs: blocks for the
 * maps themselves, the one way out for freed blocks, room in handles, zeroing in
 * place. Users see map.h.
 */
#ifndef KFS_STORE_MAP_IMPL_H
#define KFS_STORE_MAP_IMPL_H

#include "daemon/store/alloc.h"
#include "daemon/store/inode.h"
#include "daemon/store/map.h"

/*
 * One step of a removal (map_remove()): one run of blocks inside one group.
 *   tree:  as CREDITS_MAP, for a hole in the middle of an extent, or the deletion
 *	    of emptied nodes (5 nodes of 2 each, 5 parents): the former is larger
 *   data:  bitmap and descriptor of the run's group
 */
#define CREDITS_REMOVE_STEP (CREDITS_MAP + CREDITS_ALLOC)

static inline bool map_uses_extents(const struct inode *i)
{
	return i->flags & EXT4_EXTENTS_FL;
}

static inline uint32_t map_block_size(const struct inode *i)
{
	return i->store->block_size;
}

/* Blocks that hold @bytes bytes; cut at the last block a file can have. */
uint32_t map_blocks_of(const struct inode *i, uint64_t bytes);

/* As map_lookup(); for a hole *ret_goal is where its first block had best lie (0 = anywhere). */
MUST_USE int map_lookup_goal(struct inode *i, uint32_t lblk, uint32_t max, struct map_run *ret_run,
			     uint64_t *ret_goal);
/* How many blocks from @lblk one map_insert() can take within CREDITS_MAP. */
uint32_t map_insert_max(const struct inode *i, uint32_t lblk);

/*
 * A zeroed block for the map itself, in @h, counted in i->blocks; pinned, already
 * declared to the journal (get_create): fill it and journal_dirty() it.
 */
MUST_USE int map_meta_alloc(struct handle *h, struct inode *i, uint64_t goal, uint32_t alloc_flags,
			    struct buf **ret_buf);
MUST_USE int map_meta_free(struct handle *h, struct inode *i, uint64_t pblk);
/*
 * The only way a file's contents are given back: whoever must keep blocks that are
 * still reachable some other way (a window, a snapshot) does it here.
 */
MUST_USE int map_data_free(struct handle *h, struct inode *i, uint64_t pblk, uint32_t count);

/*
 * Room for @credits more buffers. When the handle has to be prolonged the inode is
 * written first, since that may close the transaction.
 */
MUST_USE int map_ensure_credits(struct handle *h, struct inode *i, uint32_t credits);

/* journal_stop(), unless @r is an earlier error. */
static inline int map_stop(struct handle *h, int r)
{
	int r2 = journal_stop(h);

	return r < 0 ? r : r2;
}

/* Sets i->size; the first file past 2 GiB needs a superblock flag (CREDITS_SB). */
MUST_USE int map_set_size(struct handle *h, struct inode *i, uint64_t size);
#define CREDITS_SIZE (CREDITS_INODE + CREDITS_SB)

/*
 * fallocate.c: one step each, in a handle of its own. Inline contents get a block; the hole @run, or a part of it, gets
 * unwritten blocks, and @run says which; the written @run becomes unwritten.
 */
MUST_USE int map_convert_inline(struct inode *i);
MUST_USE int map_allocate_step(struct inode *i, uint32_t alloc_flags, struct map_run *run);
MUST_USE int map_unwrite_step(struct inode *i, const struct map_run *run);

/* Zero [off, off+len), which lies inside one block, in the image if the block holds written data. */
MUST_USE int map_zero_in_block(struct inode *i, uint64_t off, uint64_t len);
/* Zero in place what [off, end) holds of blocks that it does not cover whole. */
MUST_USE int map_zero_edges(struct inode *i, uint64_t off, uint64_t end);
/*
 * The size is about to become @size > i->size: bytes of the old last block past the
 * old end are stale and would become visible. Zeroes them up to @size.
 */
MUST_USE int map_zero_old_tail(struct inode *i, uint64_t size);
/* EXT4_MAX_BLOCK_SIZE zero bytes to write from. */
const uint8_t *map_zeros(void);

/* Credits that free all blocks of @i from @first on in one handle, or 0: may need restarts. */
uint32_t map_remove_credits(struct inode *i, uint32_t first);

#endif
