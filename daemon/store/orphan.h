/* SPDX-License-Identifier: GPL-2.0-only */
/* What the two places for orphans share: orphan.c (list), orphan_file.c. For daemon/store only. */
#ifndef KFS_STORE_ORPHAN_H
#define KFS_STORE_ORPHAN_H

#include "daemon/store/alloc.h"

#define ORPHAN_BUCKETS 256

struct orphan_node {
	struct orphan_node *hash_next;
	struct list link;
	uint32_t ino;
};

struct orphan_state {
	struct mutex lock; /* LOCK_ORPHAN: the list */
	struct list list;  /* [lock] newest first, as on disk */
	uint32_t head;	   /* [lock] s_last_orphan */
	bool claimed; /* [store's opener] some are kept: the list is in memory, those have INODE_ORPHAN */
	struct orphan_node *buckets[ORPHAN_BUCKETS]; /* [lock] by number */
	/* The orphan file. */
	uint32_t blocks, slots; /* [written once] its blocks, slots in each; 0 without the file */
	uint32_t csum_seed;	/* [written once] */
	struct buf **bufs;	/* [written once] pinned; contents by their own lock */
	_Atomic uint32_t *slots_free; /* [atomic] per block; claimed before its slots are searched */
};

MUST_USE int orphan_file_open(struct store *s, struct store_open_error *err);
void orphan_file_close(struct store *s);
/* 1: the file is full (or there is none). */
MUST_USE int orphan_file_add(struct handle *h, struct inode *i);
/* Clear slot @pos - 1. */
MUST_USE int orphan_file_clear(struct handle *h, struct store *s, uint32_t pos);
/* The number in slot @pos - 1, 0 = free. */
uint32_t orphan_file_slot(struct store *s, uint32_t pos);

#endif
