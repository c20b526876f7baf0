/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters sharded by thread. A thread keeps the shard it was given at its first note,
 * so two threads share a cache line only when there are more threads than shards. A sum
 * read while others count may miss the newest requests; it is never torn per counter.
 */
#include "daemon/base/stats.h"

#include <time.h>

#include "daemon/base/util.h"

uint64_t stats_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail with this clock */
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static unsigned shard_of_thread(void)
{
	static _Atomic unsigned next;
	static _Thread_local unsigned mine; /* shard + 1; 0 = none yet */

	if (!mine)
		mine = atomic_fetch_add(&next, 1) % STATS_SHARDS + 1;
	return mine - 1;
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned b = ns ? 63u - (unsigned)__builtin_clzll(ns) : 0;

	return MIN(b, STATS_BUCKETS - 1u);
}

/* Counters stand alone: nothing is ordered by them, so relaxed order is enough. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void stats_note(struct stats_latency *l, uint64_t ns, int error)
{
	struct stats_op_shard *shard = &l->shard[shard_of_thread()];
	uint64_t max = get(&shard->ns_max);

	add(&shard->requests, 1);
	if (error)
		add(&shard->errors, 1);
	add(&shard->ns_total, ns);
	add(&shard->bucket[bucket_of(ns)], 1);
	while (ns > max && !atomic_compare_exchange_weak(&shard->ns_max, &max, ns))
		;
}

void stats_sum(const struct stats_latency *l, struct stats_op *ret_op)
{
	struct stats_op sum = { 0 };

	for (unsigned i = 0; i < STATS_SHARDS; i++) {
		const struct stats_op_shard *shard = &l->shard[i];

		sum.requests += get(&shard->requests);
		sum.errors += get(&shard->errors);
		sum.ns_total += get(&shard->ns_total);
		sum.ns_max = MAX(sum.ns_max, get(&shard->ns_max));
		for (unsigned b = 0; b < STATS_BUCKETS; b++)
			sum.bucket[b] += get(&shard->bucket[b]);
	}
	*ret_op = sum;
}

uint64_t stats_quantile(const struct stats_op *op, double q)
{
	uint64_t total = 0, seen = 0, want;

	for (unsigned b = 0; b < STATS_BUCKETS; b++)
		total += op->bucket[b];
	if (!total)
		return 0;
	q = q < 0 ? 0 : q > 1 ? 1 : q;
	/* The rank, counted from 1, of the latency that is asked for. */
	want = (uint64_t)(q * (double)total);
	want = MAX(want, UINT64_C(1));
	for (unsigned b = 0; b < STATS_BUCKETS; b++) {
		seen += op->bucket[b];
		if (seen >= want)
			return b == STATS_BUCKETS - 1 ? op->ns_max : UINT64_C(1) << (b + 1);
	}
	return op->ns_max;
}
