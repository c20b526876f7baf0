/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Metadata buffers: blocks of the image in memory. File data never comes here.
 *
 * Life: buf_read() or buf_get_new() pins (refs + 1), buf_put() unpins. An
 * unpinned buffer stays until room is needed (second chance). The journal pins a
 * buffer while it is in a transaction or its last committed contents have not
 * been written home; so what may be evicted equals the medium.
 *
 * Changing contents: only inside a journal handle, between
 * journal_get_write()/journal_get_create() and journal_dirty(). Who excludes
 * other readers and writers of the bytes depends on the block: inode lock for
 * directory, extent and private blocks; group lock for bitmaps and descriptors;
 * the buffer's own lock (buf->lock) for blocks shared by unrelated inodes
 * (inode tables, xattr blocks, the superblock).
 *
 * Validation: whoever reads a typed block checks magic, bounds and checksum once
 * and then calls buf_set_verified(); it is cleared when the buffer is dropped.
 */
#ifndef KFS_BLOCK_CACHE_H
#define KFS_BLOCK_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/list.h"
#include "daemon/base/lock.h"
#include "daemon/base/util.h"
#include "daemon/block/bdev.h"

struct cache;

enum {
	BUF_UPTODATE = 1u << 0,	  /* data holds the block's contents */
	BUF_VERIFIED = 1u << 1,	  /* its owner has validated them */
	BUF_REFERENCED = 1u << 2, /* second chance */
	BUF_FORGOTTEN = 1u << 3,  /* freed block: contents are dead, must not be written */
};

struct buf {
	uint64_t pblk;
	uint8_t *data; /* block size bytes */
	struct cache *cache;
	_Atomic uint32_t refs;	/* pins; the highest bit: no longer in the cache */
	_Atomic uint32_t flags; /* [atomic] */
	struct rwlock lock;	/* LOCK_BUF */
	struct buf *hash_next;	/* [shard lock] */
	struct list lru;	/* [shard lock] */
	/* The journal's own part. */
	struct buf *txn_next;	    /* [whoever set txn_mark] next in the transaction's list */
	_Atomic uint32_t txn_mark;  /* [atomic] the transaction whose list it is on, 0 = none */
	_Atomic uint32_t copies;    /* [atomic] of its contents, on their way home */
	_Atomic uint64_t txn_dirty; /* [atomic] union of dirty ranges: first << 32 | end; 0 = none */
};

struct cache_stats {
	uint64_t hits, misses, evictions, bufs, bufs_max;
};

/* @bufs_max caps the buffers (>= CACHE_BUFS_MIN); when all are pinned it is exceeded rather than failing. */
#define CACHE_BUFS_MIN 8
MUST_USE int cache_new(struct bdev *bdev, uint32_t block_size, uint32_t bufs_max,
		       struct cache **ret_cache);
/* NULL is fine. No buffer may be pinned. */
void cache_free(struct cache *c);
struct bdev *cache_bdev(struct cache *c);
uint32_t cache_block_size(const struct cache *c);

/* Pin block @pblk, reading it if it is not cached. -EIO, -ENOMEM, -EUCLEAN past the image's end. */
MUST_USE int buf_read(struct cache *c, uint64_t pblk, struct buf **ret_buf);
/* Pin block @pblk without reading it: zeroed, up to date, for a newly allocated block. */
MUST_USE int buf_get_new(struct cache *c, uint64_t pblk, struct buf **ret_buf);
/* Pin it only if cached; NULL when it is not. */
struct buf *buf_find(struct cache *c, uint64_t pblk);
/* The same, but the cache does not learn of the use. */
struct buf *buf_peek(struct cache *c, uint64_t pblk);
/* One more pin of a pinned buffer. */
void buf_pin(struct buf *b);
void buf_put(struct buf *b);
/* Start reading @count blocks in the background (posix_fadvise); advice only. */
void buf_readahead(struct cache *c, uint64_t pblk, uint32_t count);
/*
 * The block was freed: its cached contents must never be written or found
 * again. A pinned buffer is unhashed and dies with its last pin.
 */
void buf_forget(struct cache *c, uint64_t pblk);

static inline bool buf_verified(const struct buf *b)
{
	return atomic_load_explicit(&b->flags, memory_order_acquire) & BUF_VERIFIED;
}

static inline void buf_set_verified(struct buf *b)
{
	atomic_fetch_or(&b->flags, BUF_VERIFIED);
}

static inline void cleanup_put_bufp(struct buf **b)
{
	if (*b)
		buf_put(*b);
}
#define _cleanup_put_buffer_ __attribute__((cleanup(cleanup_put_bufp)))

void cache_get_stats(struct cache *c, struct cache_stats *ret_stats);

#endif
