/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bus is an array of subscribers and the union of the kinds they want, so
 * that a change nobody listens to costs one load. Events are counted per thread
 * group, because publishers on different inodes share nothing else.
 *
 * (1) Subscribing and unsubscribing happen with the bus quiet (contract), so
 *     publishers walk the array without a lock; the mutex orders two such calls.
 * (2) The array grows before the union of kinds does: a publisher that sees a
 *     kind wanted finds its subscriber.
 */
#include "daemon/inval/inval.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "daemon/base/check.h"
#include "daemon/base/lock.h"

#define SUBSCRIBERS_MAX 64
#define COUNT_SHARDS 8

struct count_shard {
	_Atomic uint64_t published[INVAL_KINDS];
} __attribute__((aligned(64)));

struct inval_bus {
	_Atomic uint32_t wanted; /* [atomic] bit per kind, union of the subscribers' */
	_Atomic uint32_t count;	 /* [atomic] used entries of subs */
	struct mutex lock;	 /* LOCK_LEAF: changes of the array */
	_Atomic(struct inval_subscriber *) subs[SUBSCRIBERS_MAX]; /* [atomic] */
	struct count_shard counts[COUNT_SHARDS];		  /* [atomic] */
};

static _Atomic uint32_t threads_seen;
static _Thread_local uint32_t thread_shard; /* 0 = not yet chosen */

int inval_new(struct inval_bus **ret_bus)
{
	struct inval_bus *bus = aligned_alloc(64, ROUND_UP(sizeof(*bus), 64));

	if (!bus)
		return -ENOMEM;
	atomic_init(&bus->wanted, 0);
	atomic_init(&bus->count, 0);
	mutex_init(&bus->lock, LOCK_LEAF);
	for (uint32_t i = 0; i < SUBSCRIBERS_MAX; i++)
		atomic_init(&bus->subs[i], NULL);
	for (uint32_t i = 0; i < COUNT_SHARDS; i++)
		for (uint32_t k = 0; k < INVAL_KINDS; k++)
			atomic_init(&bus->counts[i].published[k], 0);
	*ret_bus = bus;
	return 0;
}

void inval_free(struct inval_bus *bus)
{
	free(bus);
}

static void recompute_wanted(struct inval_bus *bus)
{
	uint32_t wanted = 0;

	for (uint32_t i = 0; i < atomic_load(&bus->count); i++)
		wanted |= atomic_load(&bus->subs[i])->kinds;
	atomic_store(&bus->wanted, wanted);
}

void inval_subscribe(struct inval_bus *bus, struct inval_subscriber *sub)
{
	uint32_t count;

	mutex_lock(&bus->lock);
	count = atomic_load(&bus->count);
	CHECK(count < SUBSCRIBERS_MAX);
	atomic_store(&bus->subs[count], sub);
	atomic_store(&bus->count, count + 1);
	recompute_wanted(bus);
	mutex_unlock(&bus->lock);
}

void inval_unsubscribe(struct inval_bus *bus, struct inval_subscriber *sub)
{
	uint32_t count, i;

	mutex_lock(&bus->lock);
	count = atomic_load(&bus->count);
	for (i = 0; i < count && atomic_load(&bus->subs[i]) != sub; i++)
		;
	if (i < count) {
		for (; i + 1 < count; i++)
			atomic_store(&bus->subs[i], atomic_load(&bus->subs[i + 1]));
		atomic_store(&bus->count, count - 1);
		recompute_wanted(bus);
	}
	mutex_unlock(&bus->lock);
}

static struct count_shard *my_counts(struct inval_bus *bus)
{
	if (unlikely(!thread_shard))
		thread_shard = atomic_fetch_add(&threads_seen, 1) % COUNT_SHARDS + 1;
	return &bus->counts[thread_shard - 1];
}

void inval_publish(struct inval_bus *bus, const struct inval_event *ev)
{
	uint32_t bit = 1u << ev->kind;
	uint32_t count;

	if (likely(!(atomic_load_explicit(&bus->wanted, memory_order_acquire) & bit)))
		return;
	/* Relaxed: statistics order nothing. */
	atomic_fetch_add_explicit(&my_counts(bus)->published[ev->kind], 1, memory_order_relaxed);
	count = atomic_load(&bus->count);
	for (uint32_t i = 0; i < count; i++) {
		struct inval_subscriber *sub = atomic_load(&bus->subs[i]);

		if (sub->kinds & bit)
			sub->notify(sub, ev);
	}
}

bool inval_wanted(const struct inval_bus *bus, enum inval_kind kind)
{
	/* Acquire pairs with the store after the subscriber entered the array: invariant (2). */
	return atomic_load_explicit(&bus->wanted, memory_order_acquire) & (1u << kind);
}

void inval_get_stats(struct inval_bus *bus, struct inval_stats *ret_stats)
{
	for (uint32_t k = 0; k < INVAL_KINDS; k++) {
		ret_stats->published[k] = 0;
		for (uint32_t i = 0; i < COUNT_SHARDS; i++)
			ret_stats->published[k] += atomic_load(&bus->counts[i].published[k]);
	}
}
