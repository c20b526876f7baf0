/* SPDX-License-Identifier: GPL-2.0-only */
/* What the inode cache asks of inode.c. For daemon/store only. */
#ifndef KFS_STORE_ICACHE_H
#define KFS_STORE_ICACHE_H

#include "daemon/store/inode.h"

/*
 * Read and decode inode i->ino from its table; reports corruption. -ESTALE: not in use,
 * or links are 0 and !@orphans_ok. Nobody else sees @i yet.
 */
MUST_USE int inode_load(struct inode *i, bool orphans_ok);
/* Random number for a new inode; never 0, which NFS takes for "any". */
uint32_t inode_new_generation(void);
/* inode_write() of an inode that is going: with the time of its deletion. */
MUST_USE int inode_write_deleted(struct handle *h, struct inode *i, uint32_t dtime);

#endif
