/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Blocks that are held: somebody reaches them in the image without us (a guest's window), so
 * that they are neither freed nor moved, and their bytes in the image are the file's at any
 * time. Who holds what is the caller's to know; these are the operations that respect it.
 *
 * Of a range that is held, from hold_prepare() to hold_release():
 * (1) every block is allocated;
 * (2) blocks below the file's end are written; those behind it are unwritten, and their bytes
 *     in the image are zeros, as are those behind the end in the last block.
 * A write by data_write() keeps (1), and (2) but for the blocks between the old and the new
 * end: hold_settle() after whatever may have moved the end.
 *
 * Caller holds the inode's lock exclusively, no handle. Each function has handles of its own,
 * and a crash or error in between leaves a valid file.
 */
#ifndef KFS_STORE_HOLD_H
#define KFS_STORE_HOLD_H

#include "daemon/store/inode.h"

/* Logical blocks [first, end). */
struct hold {
	uint32_t first, end;
};

struct hold_prepared {
	uint32_t end;	/* (1) and (2) hold up to here: room behind the file's end may be missing */
	uint32_t spare; /* from here on blocks were allocated behind the end; @end: none were */
	bool changed;	/* something is to be committed */
};
/*
 * Make (1) and (2) true. -EOPNOTSUPP for a file that is mapped block by block. -ENOSPC: a hole
 * below the end cannot be filled.
 */
MUST_USE int hold_prepare(struct inode *i, struct hold range, uint32_t alloc_flags,
			  struct hold_prepared *ret_prepared);
/* (2) again, where the end has grown from byte @old_size. */
MUST_USE int hold_settle(struct inode *i, struct hold range, uint64_t old_size);
/* Zeros in place: bytes [off, end), of blocks that are held. */
MUST_USE int hold_clear(struct inode *i, uint64_t off, uint64_t end);
/* As inode_truncate() to a smaller or the same size; @holds, ascending, stay. */
MUST_USE int hold_truncate(struct inode *i, uint64_t size, const struct hold *holds,
			   uint32_t count);
/* Free what of @range lies behind the end. */
MUST_USE int hold_release(struct inode *i, struct hold range);

#endif
