/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mapping of a file's logical blocks to blocks of the image: extent trees
 * (extent.c), block maps (indirect.c), data inside the inode (inline.c), and the
 * operations on ranges that work for each (map.c, truncate.c).
 *
 * Callers hold the inode's lock: shared for lookups, exclusive for changes.
 * Changes update i->i_block, i->blocks in memory; the caller inode_write_data()s.
 * Nodes read from disk are verified once (magic, depth, bounds, order, checksum);
 * traversal is a loop bounded by the depth.
 */
#ifndef KFS_STORE_MAP_H
#define KFS_STORE_MAP_H

#include "daemon/store/inode.h"

enum { MAP_HOLE = 1u << 0, MAP_UNWRITTEN = 1u << 1 };

struct map_run {
	uint32_t lblk;
	uint32_t count;
	uint64_t pblk;	/* meaningless for MAP_HOLE */
	uint32_t flags; /* MAP_*; 0 = written data */
};

#define LBLK_END UINT32_MAX /* extents end at 2^32 - 1 blocks */

/*
 * The run that contains @lblk, cut to start there and to at most @max blocks.
 * A hole's count reaches to the next mapped block (or max). -EUCLEAN.
 */
MUST_USE int map_lookup(struct inode *i, uint32_t lblk, uint32_t max, struct map_run *ret_run);
/*
 * Map @run (all holes before) to its blocks, merging with neighbours. The blocks are
 * already allocated. CREDITS_MAP.
 */
MUST_USE int map_insert(struct handle *h, struct inode *i, const struct map_run *run);
/* Unwritten -> written for the part of @lblk.. that is unwritten (splits as needed). CREDITS_MAP * 2. */
MUST_USE int map_convert(struct handle *h, struct inode *i, uint32_t lblk, uint32_t count);
/* Written -> unwritten (zero range). */
MUST_USE int map_unwrite(struct handle *h, struct inode *i, uint32_t lblk, uint32_t count);
/*
 * Allocate and map holes of [lblk, lblk+count) as one step: at most one run is
 * done; *ret_run says which (may be an already mapped run). @unwritten for
 * fallocate. On block-mapped inodes unwritten is -EOPNOTSUPP.
 */
MUST_USE int map_allocate(struct handle *h, struct inode *i, uint32_t lblk, uint32_t count,
			  bool unwritten, uint32_t alloc_flags, struct map_run *ret_run);
/*
 * Unmap [first, last] and free the blocks. Needs room for long jobs: extends and
 * restarts @h (inode_write()ing before each restart), so the file must be on the
 * orphan list or the state after each step acceptable.
 */
MUST_USE int map_remove(struct handle *h, struct inode *i, uint32_t first, uint32_t last);
/* First data (or hole, @want_hole) at or after byte @off; -ENXIO past the end. Unwritten counts as a hole. */
MUST_USE int map_seek(struct inode *i, uint64_t off, bool want_hole, uint64_t *ret_off);
/* Number of extents or contiguous runs (kfsctl map, tests). */
MUST_USE int map_count_runs(struct inode *i, uint32_t *ret_runs);
/* Validate the whole tree of @i (check, mount-time of special inodes). */
MUST_USE int map_verify(struct inode *i);
/* Set up i_block of a new regular file or directory (extent header, or zero map). */
void map_init(struct inode *i);

/*
 * truncate.c, fallocate.c: all in handles of their own. Times are the caller's: what it
 * set in the inode before the call is written with the change.
 */
/*
 * Set the size to @size: shrinking frees blocks and zeroes the tail of the last one;
 * growing only sets the size (and zeroes the gap in the old last block). Own
 * handles, orphan-protected. Caller holds the lock exclusively, no handle.
 */
MUST_USE int inode_truncate(struct inode *i, uint64_t size);
/* Free all blocks (deletion). */
MUST_USE int inode_truncate_all(struct inode *i);
/* Punch a hole / zero a range / preallocate / collapse / insert: byte ranges, fallocate(2) semantics. */
MUST_USE int inode_punch(struct inode *i, uint64_t off, uint64_t len);
MUST_USE int inode_zero_range(struct inode *i, uint64_t off, uint64_t len, bool keep_size);
MUST_USE int inode_preallocate(struct inode *i, uint64_t off, uint64_t len, bool keep_size,
			       uint32_t alloc_flags);
MUST_USE int inode_collapse_range(struct inode *i, uint64_t off, uint64_t len);
MUST_USE int inode_insert_range(struct inode *i, uint64_t off, uint64_t len);

/* data.c: file contents. Caller holds the lock (shared for reads, exclusive for writes), no handle. */
struct data_piece {
	uint64_t img_off; /* byte offset in the bdev; meaningless when zero */
	uint64_t len;
	bool zero; /* hole or unwritten: reads as zeros */
};
#define DATA_PIECES_MAX 64
/*
 * Pieces of [off, off+len) cut at the file's size, at most DATA_PIECES_MAX (the
 * count of bytes covered is returned). Inline files have none: -ENODATA, use data_read().
 */
MUST_USE ssize_t data_pieces(struct inode *i, uint64_t off, uint64_t len, struct data_piece *pieces,
			     uint32_t *ret_count);
/* Read into iovecs; returns bytes (0 at or past the end). */
MUST_USE ssize_t data_read(struct inode *i, const struct iovec *iov, int iovcnt, uint64_t off,
			   uint64_t len);
/*
 * Write @len bytes; allocates, extends size, sets mtime/ctime to now unless
 * @keep_times (writeback cache: the kernel owns them), writes the inode. Ordered:
 * the bytes reach the image inside the handle that maps them. Returns bytes
 * written (short only before an error such as -ENOSPC), or the error.
 */
struct data_write {
	const struct iovec *iov;
	int iovcnt;
	uint64_t off, len;
	uint32_t alloc_flags; /* ALLOC_RESERVED_OK */
	bool keep_times;
	int64_t now_s;
	uint32_t now_ns;
};
MUST_USE ssize_t data_write(struct inode *i, const struct data_write *w);

/*
 * inline.c: small contents inside the inode (inline_data feature). One credit; those
 * that change it adjust size and flags in memory, the caller inode_write_data()s.
 */
bool inline_has(const struct inode *i);
MUST_USE ssize_t inline_read(struct inode *i, void *buf, uint64_t off, uint64_t len);
/* Make an inode without blocks an empty inline one. -ENOSPC: no room in its tail. */
MUST_USE int inline_init(struct handle *h, struct inode *i);
/* Forget the contents: an empty map in their place (directories convert their own way). */
MUST_USE int inline_drop(struct handle *h, struct inode *i);
/* Grows the size when it ends behind it. -ENOSPC: does not fit; convert first. */
MUST_USE int inline_write(struct handle *h, struct inode *i, const void *buf, uint64_t off,
			  uint64_t len);
/* Move the contents to a block (regular files). CREDITS_MAP + 1. */
MUST_USE int inline_convert(struct handle *h, struct inode *i);
MUST_USE int inline_truncate(struct handle *h, struct inode *i, uint64_t size);
/* Largest size that fits the inode as it is; 0 when inline data is not possible. */
uint32_t inline_size_max(struct inode *i);

#endif
