// SPDX-License-Identifier: GPL-2.0-only
/*
 * The inode cache: a hash table in shards, each with its own lock and its own list
 * of unreferenced inodes, oldest first.
 *
 * Invariants
 * (1) At most one object of a number is in the table; only those are found.
 * (2) A reference is taken under the shard lock, or by somebody who holds one. So
 *     refs == 0 seen under the shard lock stays so, and the object may be freed.
 * (3) An object on the LRU list has no references, and is in the table.
 * (4) INODE_LOADING: the thread that inserted the object reads it from disk; others
 *     wait for shard->loaded and look again. A failed load leaves the table.
 * (5) A number is given back to the bitmap only after its object has left the table
 *     and its slot says links 0: whoever looks in between reads -ESTALE.
 * (6) What is evicted was written: fields change only while references exist.
 *
 * Objects come from slabs of each shard: a million of them need no allocator
 * headers, and they stay with the cache until it ends.
 */
#include "daemon/store/icache.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/store/alloc.h"

#define SHARDS 64
#define INODES_CACHED_DEFAULT (1u << 18)
#define SLAB_INODES 32
#define BUCKETS_MIN 64
/* Inodes evicted at one miss: the cache shrinks back after it had to exceed its cap. */
#define EVICT_MAX 4

static_assert(sizeof(struct inode) <= 272, "a million cached inodes fit in 300 MiB");

struct slab {
	struct slab *next;
	struct inode inodes[SLAB_INODES];
};

struct shard {
	struct mutex lock; /* LOCK_ICACHE */
	struct cond loaded;
	struct inode **table;		  /* [lock] */
	uint32_t buckets;		  /* [lock] a power of two */
	uint32_t inodes_max;		  /* [written once] */
	uint32_t inodes;		  /* [lock] in the table */
	struct list lru;		  /* [lock] unreferenced, oldest first */
	struct inode *spare;		  /* [lock] chained by hash_next */
	struct slab *slabs;		  /* [lock] */
	uint64_t hits, misses, evictions; /* [lock] */
} __attribute__((aligned(64)));

struct icache {
	struct store *store;
	uint64_t inodes_max;
	struct shard shards[SHARDS];
};

static uint32_t hash_ino(uint32_t ino)
{
	return ino * 0x9e3779b1u;
}

static struct shard *shard_of(struct icache *ic, uint32_t ino)
{
	return &ic->shards[hash_ino(ino) >> 26];
}

static_assert(SHARDS == 1 << 6, "shard_of() takes the six highest bits");

static struct inode **bucket_of(struct shard *sh, uint32_t ino)
{
	return &sh->table[(hash_ino(ino) >> 4) & (sh->buckets - 1)];
}

/* ---- memory; callers hold the shard lock ---------------------------------- */

#ifdef KFS_SANITIZE
/* Every object by itself, so that a use after the last reference is found. */
static struct inode *spare_pop(struct shard *sh)
{
	(void)sh;
	return malloc(sizeof(struct inode));
}

static void spare_push(struct shard *sh, struct inode *i)
{
	(void)sh;
	free(i);
}

static void slabs_free(struct shard *sh)
{
	(void)sh;
}
#else
static struct inode *spare_pop(struct shard *sh)
{
	struct inode *i;
	uint32_t k;

	if (!sh->spare) {
		struct slab *slab = malloc(sizeof(*slab));

		if (!slab)
			return NULL;
		slab->next = sh->slabs;
		sh->slabs = slab;
		for (k = 0; k < SLAB_INODES; k++) {
			slab->inodes[k].hash_next = sh->spare;
			sh->spare = &slab->inodes[k];
		}
	}
	i = sh->spare;
	sh->spare = i->hash_next;
	return i;
}

/* The object is in no table and nobody refers to it. */
static void spare_push(struct shard *sh, struct inode *i)
{
	i->hash_next = sh->spare;
	sh->spare = i;
}

static void slabs_free(struct shard *sh)
{
	while (sh->slabs) {
		struct slab *slab = sh->slabs;

		sh->slabs = slab->next;
		free(slab);
	}
}
#endif

/* ---- making and freeing --------------------------------------------------- */

int icache_new(struct store *s, uint64_t inodes_max, struct icache **ret_icache)
{
	struct icache *ic = aligned_alloc(64, ROUND_UP(sizeof(*ic), 64));
	uint32_t i;

	if (!ic)
		return -ENOMEM;
	memset(ic, 0, sizeof(*ic));
	ic->store = s;
	ic->inodes_max = inodes_max ? MAX(inodes_max, (uint64_t)SHARDS) : INODES_CACHED_DEFAULT;
	for (i = 0; i < SHARDS; i++) {
		struct shard *sh = &ic->shards[i];

		mutex_init(&sh->lock, LOCK_ICACHE);
		cond_init(&sh->loaded);
		list_init(&sh->lru);
		sh->inodes_max = (uint32_t)MIN(ic->inodes_max / SHARDS, (uint64_t)1 << 26);
		sh->buckets = BUCKETS_MIN;
		sh->table = calloc(sh->buckets, sizeof(struct inode *));
		if (!sh->table) {
			icache_free(ic);
			return -ENOMEM;
		}
	}
	*ret_icache = ic;
	return 0;
}

void icache_free(struct icache *ic)
{
	uint32_t i, b;

	for (i = 0; ic && i < SHARDS; i++) {
		struct shard *sh = &ic->shards[i];

		for (b = 0; sh->table && b < sh->buckets; b++) {
			struct inode *ino;

			for (ino = sh->table[b]; ino; ino = ino->hash_next)
				balloc_release_resv(ino);
		}
		for (b = 0; sh->table && b < sh->buckets; b++) {
			while (sh->table[b]) {
				struct inode *ino = sh->table[b];

				sh->table[b] = ino->hash_next;
				spare_push(sh, ino);
			}
		}
		slabs_free(sh);
		free(sh->table);
	}
	free(ic);
}

/* ---- the table; callers hold the shard lock ------------------------------- */

static struct inode *table_find(struct shard *sh, uint32_t ino)
{
	struct inode *i = *bucket_of(sh, ino);

	while (i && i->ino != ino)
		i = i->hash_next;
	return i;
}

/* Without memory the table stays small: slower, not wrong. */
static void table_grow(struct shard *sh)
{
	struct inode **table = calloc((size_t)sh->buckets * 2, sizeof(*table));
	struct inode **old = sh->table;
	uint32_t count = sh->buckets;
	uint32_t b;

	if (!table)
		return;
	sh->table = table;
	sh->buckets = count * 2;
	for (b = 0; b < count; b++) {
		while (old[b]) {
			struct inode *i = old[b];
			struct inode **bucket = bucket_of(sh, i->ino);

			old[b] = i->hash_next;
			i->hash_next = *bucket;
			*bucket = i;
		}
	}
	free(old);
}

static void table_insert(struct shard *sh, struct inode *i)
{
	struct inode **bucket;

	if (sh->inodes >= sh->buckets)
		table_grow(sh);
	bucket = bucket_of(sh, i->ino);
	i->hash_next = *bucket;
	*bucket = i;
	sh->inodes++;
}

static void table_remove(struct shard *sh, struct inode *i)
{
	struct inode **link = bucket_of(sh, i->ino);

	while (*link != i)
		link = &(*link)->hash_next;
	*link = i->hash_next;
	i->hash_next = NULL;
	sh->inodes--;
}

/*
 * A zeroed object for @ino, in the table, with one reference. Room is made by taking
 * old ones out; they are chained to *ret_victims for release without the lock.
 */
static int insert_locked(struct icache *ic, struct shard *sh, uint32_t ino, uint32_t state,
			 struct inode **ret_inode, struct inode **ret_victims)
{
	struct inode *i;
	uint32_t n;

	*ret_victims = NULL;
	for (n = 0; n < EVICT_MAX && sh->inodes >= sh->inodes_max && !list_empty(&sh->lru); n++) {
		i = list_entry(sh->lru.next, struct inode, lru);
		list_del(&i->lru);
		table_remove(sh, i);
		i->hash_next = *ret_victims;
		*ret_victims = i;
		sh->evictions++;
	}
	i = spare_pop(sh);
	if (!i)
		return -ENOMEM;
	memset(i, 0, sizeof(*i));
	list_init(&i->lru);
	i->store = ic->store;
	i->ino = ino;
	rwlock_init(&i->lock, LOCK_INODE);
	atomic_store_explicit(&i->refs, 1, memory_order_relaxed);
	atomic_store_explicit(&i->state, state, memory_order_relaxed);
	table_insert(sh, i);
	*ret_inode = i;
	return 0;
}

/* Reservations are returned under group locks, which rank before the shard's. */
static void release_victims(struct shard *sh, struct inode *victims)
{
	struct inode *i;

	if (!victims)
		return;
	for (i = victims; i; i = i->hash_next)
		balloc_release_resv(i);
	mutex_lock(&sh->lock);
	while (victims) {
		i = victims;
		victims = i->hash_next;
		spare_push(sh, i);
	}
	mutex_unlock(&sh->lock);
}

/* ---- references ----------------------------------------------------------- */

/* Caller holds the shard lock. */
static void ref_locked(struct inode *i)
{
	if (atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed) == 0)
		list_del(&i->lru);
}

void inode_ref(struct inode *i)
{
	uint32_t refs = atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);

	CHECK(refs > 0);
}

void inode_put(struct inode *i)
{
	struct shard *sh = shard_of(i->store->icache, i->ino);
	uint32_t refs = atomic_load_explicit(&i->refs, memory_order_relaxed);

	/* Not the last one: no need of the shard. Release: our use is over before another frees it. */
	while (refs > 1) {
		if (atomic_compare_exchange_weak_explicit(
			    &i->refs, &refs, refs - 1, memory_order_acq_rel, memory_order_relaxed))
			return;
	}
	mutex_lock(&sh->lock);
	refs = atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel);
	CHECK(refs > 0);
	if (refs > 1) {
		mutex_unlock(&sh->lock);
		return;
	}
	if (!(atomic_load(&i->state) & INODE_FREED)) {
		list_add_tail(&sh->lru, &i->lru);
		mutex_unlock(&sh->lock);
		return;
	}
	/* Out of the table already: nobody finds it again. */
	mutex_unlock(&sh->lock);
	i->hash_next = NULL;
	release_victims(sh, i);
}

struct inode *inode_find(struct store *s, uint32_t ino)
{
	struct shard *sh = shard_of(s->icache, ino);
	struct inode *i;

	mutex_lock(&sh->lock);
	i = table_find(sh, ino);
	if (i && (atomic_load(&i->state) & INODE_LOADING))
		i = NULL;
	if (i)
		ref_locked(i);
	mutex_unlock(&sh->lock);
	return i;
}

/* Ends the load of an object this thread inserted: public, or out of the table. */
static void loading_done(struct shard *sh, struct inode *i, int error)
{
	mutex_lock(&sh->lock);
	if (error) {
		table_remove(sh, i);
		atomic_fetch_or(&i->state, INODE_FREED);
	}
	atomic_fetch_and(&i->state, ~(uint32_t)INODE_LOADING);
	cond_wake_all(&sh->loaded);
	mutex_unlock(&sh->lock);
	if (error)
		inode_put(i);
}

/*
 * Caller holds the shard lock. The inode if it is in memory, with a reference; waits
 * for one that is being read. NULL: not there.
 */
static struct inode *find_wait_locked(struct shard *sh, uint32_t ino)
{
	for (;;) {
		struct inode *i = table_find(sh, ino);

		if (!i || !(atomic_load(&i->state) & INODE_LOADING)) {
			if (i)
				ref_locked(i);
			return i;
		}
		cond_wait(&sh->loaded, &sh->lock);
	}
}

static int get(struct store *s, uint32_t ino, bool special, struct inode **ret_inode)
{
	struct shard *sh = shard_of(s->icache, ino);
	struct inode *victims = NULL;
	struct inode *i;
	int ret;

	mutex_lock(&sh->lock);
	i = find_wait_locked(sh, ino);
	if (i) {
		sh->hits++;
		mutex_unlock(&sh->lock);
		if (!special && (atomic_load(&i->state) & INODE_SPECIAL)) {
			inode_put(i);
			return -ESTALE;
		}
		*ret_inode = i;
		return 0;
	}
	sh->misses++;
	ret = insert_locked(s->icache, sh, ino, INODE_LOADING, &i, &victims);
	mutex_unlock(&sh->lock);
	release_victims(sh, victims);
	if (ret)
		return ret;
	ret = inode_load(i, special);
	if (!ret && !special && (atomic_load(&i->state) & INODE_SPECIAL))
		ret = -ESTALE;
	loading_done(sh, i, ret);
	if (!ret)
		*ret_inode = i;
	return ret;
}

int inode_get(struct store *s, uint32_t ino, struct inode **ret_inode)
{
	if (ino == 0 || ino > s->inodes_count || (ino < s->first_ino && ino != EXT4_ROOT_INO))
		return -ESTALE;
	return get(s, ino, false, ret_inode);
}

int inode_get_special(struct store *s, uint32_t ino, struct inode **ret_inode)
{
	if (ino == 0 || ino > s->inodes_count)
		return -ESTALE;
	return get(s, ino, true, ret_inode);
}

int inode_get_gen(struct store *s, uint32_t ino, uint32_t generation, struct inode **ret_inode)
{
	struct inode *i;
	int ret = inode_get(s, ino, &i);

	if (ret)
		return ret;
	if (i->generation != generation) {
		inode_put(i);
		return -ESTALE;
	}
	*ret_inode = i;
	return 0;
}

/* ---- numbers come and go -------------------------------------------------- */

int icache_insert_new(struct store *s, uint32_t ino, struct inode **ret_inode)
{
	struct shard *sh = shard_of(s->icache, ino);
	struct inode *victims = NULL;
	struct inode *i;
	bool locked;
	int ret = 0;

	mutex_lock(&sh->lock);
	i = find_wait_locked(sh, ino);
	if (!i)
		ret = insert_locked(s->icache, sh, ino, INODE_NEW, &i, &victims);
	else
		ret = -EUCLEAN; /* the bitmap calls a number free that is in use */
	if (!ret) {
		i->generation = inode_new_generation();
		/* Free, since the object is new; so the rank of the lock does not matter here. */
		locked = rwlock_trywrite(&i->lock);
		CHECK(locked);
	}
	mutex_unlock(&sh->lock);
	release_victims(sh, victims);
	if (ret == -EUCLEAN) {
		inode_put(i);
		return store_corrupt(s, ino, 0, "a number free in the bitmap is in use");
	}
	if (!ret)
		*ret_inode = i;
	return ret;
}

void icache_remove(struct inode *i)
{
	struct shard *sh = shard_of(i->store->icache, i->ino);

	mutex_lock(&sh->lock);
	if (!(atomic_fetch_or(&i->state, INODE_FREED) & INODE_FREED))
		table_remove(sh, i);
	mutex_unlock(&sh->lock);
}

void icache_get_stats(struct icache *ic, struct icache_stats *ret_stats)
{
	uint32_t i;

	*ret_stats = (struct icache_stats){ .inodes_max = ic->inodes_max };
	for (i = 0; i < SHARDS; i++) {
		struct shard *sh = &ic->shards[i];

		mutex_lock(&sh->lock);
		ret_stats->hits += sh->hits;
		ret_stats->misses += sh->misses;
		ret_stats->evictions += sh->evictions;
		ret_stats->inodes += sh->inodes;
		mutex_unlock(&sh->lock);
	}
}
