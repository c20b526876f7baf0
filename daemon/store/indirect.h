/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Block maps of ext2 and ext3: twelve blocks in i_block, then an indirect, a double
 * and a triple indirect block. Zero means a hole, at every level. No unwritten state,
 * no checksums; 32-bit block numbers.
 */
#ifndef KFS_STORE_INDIRECT_H
#define KFS_STORE_INDIRECT_H

#include "daemon/store/map.h"

/* Blocks that a map can address; what lies behind is a hole for ever. */
uint64_t indirect_blocks_max(const struct inode *i);
/* Blocks from @lblk to the end of the array of block numbers that holds it. */
uint32_t indirect_insert_max(const struct inode *i, uint32_t lblk);
MUST_USE int indirect_lookup(struct inode *i, uint32_t lblk, uint32_t max, struct map_run *ret_run,
			     uint64_t *ret_goal);
MUST_USE int indirect_insert(struct handle *h, struct inode *i, const struct map_run *run);
/*
 * Free the last run of [first, *last] within one array and group, and arrays left
 * empty; *last becomes what is still to be done. CREDITS_REMOVE_STEP. *ret_more is
 * false when the range is done.
 */
MUST_USE int indirect_remove_step(struct handle *h, struct inode *i, uint32_t first, uint32_t *last,
				  bool *ret_more);
MUST_USE int indirect_count_runs(struct inode *i, uint32_t *ret_runs);

#endif
