// SPDX-License-Identifier: GPL-2.0-only
/*
 * The buffer cache: a hash table in shards, each with its own lock, its own
 * clock hand and its own stock of buffers.
 *
 * Invariants
 * (1) At most one buffer of a block is in the hash table.
 * (2) A pin is taken under the shard lock, or by somebody who holds one; so a
 *     buffer without pins seen under the shard lock stays so, and may be reused.
 * (3) A buffer leaves the table either without pins, or marked REFS_UNHASHED,
 *     and then whoever drops the last pin gives it back. The mark and the count
 *     are one word, so exactly one thread sees both.
 * (4) A buffer without BUF_UPTODATE in the table is being read by the thread that
 *     put it there; others wait for shard->read_done.
 *
 * Reads of the device happen without any lock. A failed read removes the buffer;
 * those who waited for it try themselves and get their own error.
 */
#include "daemon/block/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/base/check.h"

#define SHARDS_MAX 64
/* Fewer buffers than this per shard would make the cap meaningless. */
#define SHARD_BUFS_MIN 32
/* Buffers come from the allocator in slabs of this many. */
#define SLAB_BUFS 16
/* Buffers looked at to replace one; bounds the work under the lock when most are pinned. */
#define SCAN_MAX 32
/* A shard above its cap gives back up to this many at each miss. */
#define EVICT_MAX 4
#define DATA_ALIGN_MAX 4096u

#define REFS_UNHASHED (1u << 31)

struct slab {
	struct slab *next;
	uint8_t *data;
	struct buf bufs[SLAB_BUFS];
};

struct shard {
	struct mutex lock; /* LOCK_CACHE */
	struct cond read_done;
	struct buf **table;		  /* [lock] */
	uint32_t table_mask;		  /* [written once] */
	uint32_t bufs_max;		  /* [written once] */
	uint32_t bufs;			  /* [lock] in the table */
	struct list clock;		  /* [lock] in the table, next to look at first */
	struct buf *spare;		  /* [lock] chained by hash_next */
	struct slab *slabs;		  /* [lock] */
	uint64_t hits, misses, evictions; /* [lock] */
} __attribute__((aligned(64)));

struct cache {
	struct bdev *bdev;
	uint32_t block_size;
	uint32_t shard_count; /* a power of two */
	uint64_t blocks;      /* whole blocks of the device */
	struct shard shards[];
};

/* Neighbouring blocks go to different shards and buckets. */
static uint64_t hash_block(uint64_t pblk)
{
	return pblk * 0x9e3779b97f4a7c15ULL;
}

static struct shard *shard_of(struct cache *c, uint64_t pblk)
{
	return &c->shards[(hash_block(pblk) >> 40) & (c->shard_count - 1)];
}

static struct buf **bucket_of(struct shard *s, uint64_t pblk)
{
	return &s->table[(hash_block(pblk) >> 16) & s->table_mask];
}

/* ---- making and freeing --------------------------------------------------- */

static uint32_t pow2_at_least(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p <<= 1;
	return p;
}

static int shard_init(struct shard *s, uint32_t bufs_max)
{
	uint32_t buckets = pow2_at_least(bufs_max);

	mutex_init(&s->lock, LOCK_CACHE);
	cond_init(&s->read_done);
	list_init(&s->clock);
	s->bufs_max = bufs_max;
	s->table_mask = buckets - 1;
	s->table = calloc(buckets, sizeof(struct buf *));
	return s->table ? 0 : -ENOMEM;
}

int cache_new(struct bdev *bdev, uint32_t block_size, uint32_t bufs_max, struct cache **ret_cache)
{
	uint32_t shards = SHARDS_MAX;
	struct cache *c;
	size_t bytes;
	uint32_t i;

	CHECK(bufs_max >= CACHE_BUFS_MIN && bufs_max <= 1u << 28);
	CHECK(block_size >= 512 && (block_size & (block_size - 1)) == 0);
	while (shards > 1 && bufs_max / shards < SHARD_BUFS_MIN)
		shards /= 2;
	bytes = sizeof(*c) + shards * sizeof(struct shard);
	c = aligned_alloc(64, ROUND_UP(bytes, 64));
	if (!c)
		return -ENOMEM;
	memset(c, 0, bytes);
	c->bdev = bdev;
	c->block_size = block_size;
	c->shard_count = shards;
	c->blocks = bdev->size / block_size;
	for (i = 0; i < shards; i++) {
		int err = shard_init(&c->shards[i], bufs_max / shards);

		if (err) {
			cache_free(c);
			return err;
		}
	}
	*ret_cache = c;
	return 0;
}

void cache_free(struct cache *c)
{
	uint32_t i, k;

	for (i = 0; c && i < c->shard_count; i++) {
		struct shard *s = &c->shards[i];

		while (s->slabs) {
			struct slab *slab = s->slabs;

			for (k = 0; k < SLAB_BUFS; k++)
				CHECK(atomic_load(&slab->bufs[k].refs) == 0);
			s->slabs = slab->next;
			free(slab->data);
			free(slab);
		}
		free(s->table);
	}
	free(c);
}

struct bdev *cache_bdev(struct cache *c)
{
	return c->bdev;
}

uint32_t cache_block_size(const struct cache *c)
{
	return c->block_size;
}

/* ---- the table ------------------------------------------------------------ */

/* Caller holds the shard lock. */
static struct buf *table_find(struct shard *s, uint64_t pblk)
{
	struct buf *b = *bucket_of(s, pblk);

	while (b && b->pblk != pblk)
		b = b->hash_next;
	return b;
}

/* Caller holds the shard lock. */
static void table_insert(struct shard *s, struct buf *b)
{
	struct buf **bucket = bucket_of(s, b->pblk);

	b->hash_next = *bucket;
	*bucket = b;
	list_add_tail(&s->clock, &b->lru);
	s->bufs++;
}

/* Caller holds the shard lock. */
static void table_remove(struct shard *s, struct buf *b)
{
	struct buf **link = bucket_of(s, b->pblk);

	while (*link != b)
		link = &(*link)->hash_next;
	*link = b->hash_next;
	b->hash_next = NULL;
	list_del(&b->lru);
	s->bufs--;
}

/* Caller holds the shard lock; nobody pins @b and the table does not have it. */
static void spare_push(struct shard *s, struct buf *b)
{
	atomic_store_explicit(&b->refs, 0, memory_order_relaxed);
	b->hash_next = s->spare;
	s->spare = b;
}

/*
 * Caller holds the shard lock. Takes out of the table up to @wanted buffers that
 * nobody pins and that were not used since the hand passed last.
 */
static void evict(struct shard *s, uint32_t wanted)
{
	uint32_t scanned;

	for (scanned = 0; scanned < SCAN_MAX && wanted > 0 && !list_empty(&s->clock); scanned++) {
		struct buf *b = list_entry(s->clock.next, struct buf, lru);
		uint32_t flags = atomic_load_explicit(&b->flags, memory_order_relaxed);

		/* Acquire: pairs with the release in buf_put(), so the last user is done with the bytes. */
		if (atomic_load_explicit(&b->refs, memory_order_acquire) == 0 &&
		    !(flags & BUF_REFERENCED)) {
			table_remove(s, b);
			spare_push(s, b);
			s->evictions++;
			wanted--;
			continue;
		}
		if (flags & BUF_REFERENCED)
			atomic_fetch_and_explicit(&b->flags, ~(uint32_t)BUF_REFERENCED,
						  memory_order_relaxed);
		list_del(&b->lru);
		list_add_tail(&s->clock, &b->lru);
	}
}

/* Caller holds the shard lock. */
static int add_slab(struct cache *c, struct shard *s)
{
	struct slab *slab = calloc(1, sizeof(*slab));
	uint32_t i;

	if (!slab)
		return -ENOMEM;
	slab->data = aligned_alloc(MIN(c->block_size, DATA_ALIGN_MAX),
				   (size_t)c->block_size * SLAB_BUFS);
	if (!slab->data) {
		free(slab);
		return -ENOMEM;
	}
	for (i = 0; i < SLAB_BUFS; i++) {
		struct buf *b = &slab->bufs[i];

		b->cache = c;
		b->data = slab->data + (size_t)i * c->block_size;
		rwlock_init(&b->lock, LOCK_BUF);
		list_init(&b->lru);
		spare_push(s, b);
	}
	slab->next = s->slabs;
	s->slabs = slab;
	return 0;
}

/* Caller holds the shard lock. The buffer is pinned and in the table, without contents. */
static int insert_new(struct cache *c, struct shard *s, uint64_t pblk, struct buf **ret_buf)
{
	struct buf *b;
	int err;

	if (s->bufs >= s->bufs_max)
		evict(s, MIN(s->bufs - s->bufs_max + 1, (uint32_t)EVICT_MAX));
	if (!s->spare) {
		err = add_slab(c, s);
		if (err)
			return err;
	}
	b = s->spare;
	s->spare = b->hash_next;
	b->pblk = pblk;
	atomic_store_explicit(&b->flags, 0, memory_order_relaxed);
	atomic_store_explicit(&b->refs, 1, memory_order_relaxed);
	table_insert(s, b);
	*ret_buf = b;
	return 0;
}

/* ---- public --------------------------------------------------------------- */

/* Caller holds the shard lock. */
static void pin_locked(struct buf *b)
{
	uint32_t flags = atomic_load_explicit(&b->flags, memory_order_relaxed);

	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	if (!(flags & BUF_REFERENCED))
		atomic_fetch_or_explicit(&b->flags, BUF_REFERENCED, memory_order_relaxed);
}

static bool buf_uptodate(const struct buf *b)
{
	return atomic_load_explicit(&b->flags, memory_order_acquire) & BUF_UPTODATE;
}

void buf_pin(struct buf *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

void buf_put(struct buf *b)
{
	/* Read first: after the decrement the buffer may be somebody else's. */
	struct cache *c = b->cache;
	uint64_t pblk = b->pblk;
	uint32_t refs = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);

	CHECK((refs & ~REFS_UNHASHED) > 0);
	if (unlikely(refs == (REFS_UNHASHED | 1))) {
		struct shard *s = shard_of(c, pblk);

		mutex_lock(&s->lock);
		spare_push(s, b);
		mutex_unlock(&s->lock);
	}
}

/*
 * Caller holds the shard lock and a pin. Nobody finds @b again; it is given back
 * with its last pin.
 */
static void unhash_locked(struct shard *s, struct buf *b)
{
	table_remove(s, b);
	atomic_fetch_or(&b->refs, REFS_UNHASHED);
}

/* Reads the block into a buffer that this thread has put into the table. */
static int fill(struct cache *c, struct shard *s, struct buf *b)
{
	int err = bdev_read(c->bdev, b->data, c->block_size, b->pblk * c->block_size);

	mutex_lock(&s->lock);
	if (!err)
		atomic_fetch_or(&b->flags, BUF_UPTODATE);
	else if (!(atomic_load(&b->refs) & REFS_UNHASHED))
		unhash_locked(s, b);
	cond_wake_all(&s->read_done);
	mutex_unlock(&s->lock);
	if (err)
		buf_put(b);
	return err;
}

/*
 * Caller holds the shard lock and a pin; another thread reads the block. False
 * when that failed or the block was forgotten meanwhile: look again.
 */
static bool wait_for_fill_locked(struct shard *s, struct buf *b)
{
	while (!buf_uptodate(b) && !(atomic_load(&b->refs) & REFS_UNHASHED))
		cond_wait(&s->read_done, &s->lock);
	return buf_uptodate(b);
}

int buf_read(struct cache *c, uint64_t pblk, struct buf **ret_buf)
{
	struct shard *s = shard_of(c, pblk);
	struct buf *b;
	int err;

	if (pblk >= c->blocks)
		return -EUCLEAN;
	for (;;) {
		mutex_lock(&s->lock);
		b = table_find(s, pblk);
		if (!b)
			break;
		pin_locked(b);
		s->hits++;
		if (unlikely(!buf_uptodate(b)) && !wait_for_fill_locked(s, b)) {
			mutex_unlock(&s->lock);
			buf_put(b);
			continue;
		}
		mutex_unlock(&s->lock);
		*ret_buf = b;
		return 0;
	}
	s->misses++;
	err = insert_new(c, s, pblk, &b);
	mutex_unlock(&s->lock);
	if (!err)
		err = fill(c, s, b);
	if (!err)
		*ret_buf = b;
	return err;
}

int buf_get_new(struct cache *c, uint64_t pblk, struct buf **ret_buf)
{
	struct shard *s = shard_of(c, pblk);
	struct buf *b;
	int err = 0;

	if (pblk >= c->blocks)
		return -EUCLEAN;
	for (;;) {
		mutex_lock(&s->lock);
		b = table_find(s, pblk);
		if (!b)
			err = insert_new(c, s, pblk, &b);
		else
			pin_locked(b);
		/* Somebody may be reading stale contents: their bytes must not come after ours. */
		if (err || atomic_load(&b->refs) == 1 || wait_for_fill_locked(s, b))
			break;
		mutex_unlock(&s->lock);
		buf_put(b);
	}
	if (!err) {
		memset(b->data, 0, c->block_size);
		atomic_fetch_and(&b->flags, ~(uint32_t)BUF_VERIFIED);
		atomic_fetch_or(&b->flags, BUF_UPTODATE);
		*ret_buf = b;
	}
	mutex_unlock(&s->lock);
	return err;
}

static struct buf *look_up(struct cache *c, uint64_t pblk, bool use)
{
	struct shard *s = shard_of(c, pblk);
	struct buf *b;

	mutex_lock(&s->lock);
	b = table_find(s, pblk);
	if (b && use)
		pin_locked(b);
	else if (b)
		atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	mutex_unlock(&s->lock);
	if (b && !buf_uptodate(b)) {
		buf_put(b);
		return NULL;
	}
	return b;
}

struct buf *buf_find(struct cache *c, uint64_t pblk)
{
	return look_up(c, pblk, true);
}

struct buf *buf_peek(struct cache *c, uint64_t pblk)
{
	return look_up(c, pblk, false);
}

void buf_readahead(struct cache *c, uint64_t pblk, uint32_t count)
{
	struct bdev *bdev = c->bdev;

	if (bdev->fd < 0 || pblk >= c->blocks)
		return;
	count = (uint32_t)MIN((uint64_t)count, c->blocks - pblk);
	/* Advice: what it answers changes nothing. */
	(void)posix_fadvise(bdev->fd, (off_t)(bdev->fd_offset + pblk * c->block_size),
			    (off_t)count * c->block_size, POSIX_FADV_WILLNEED);
}

void buf_forget(struct cache *c, uint64_t pblk)
{
	struct shard *s = shard_of(c, pblk);
	struct buf *b;

	mutex_lock(&s->lock);
	b = table_find(s, pblk);
	if (b) {
		atomic_fetch_add(&b->refs, 1);
		atomic_fetch_or(&b->flags, BUF_FORGOTTEN);
		unhash_locked(s, b);
		cond_wake_all(&s->read_done);
	}
	mutex_unlock(&s->lock);
	if (b)
		buf_put(b);
}

void cache_get_stats(struct cache *c, struct cache_stats *ret_stats)
{
	struct cache_stats sum = { 0 };
	uint32_t i;

	for (i = 0; i < c->shard_count; i++) {
		struct shard *s = &c->shards[i];

		mutex_lock(&s->lock);
		sum.hits += s->hits;
		sum.misses += s->misses;
		sum.evictions += s->evictions;
		sum.bufs += s->bufs;
		sum.bufs_max += s->bufs_max;
		mutex_unlock(&s->lock);
	}
	*ret_stats = sum;
}
