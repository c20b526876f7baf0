/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters that request threads bump without a lock: sharded by thread, summed
 * when read. Latencies are histograms in powers of two of nanoseconds.
 */
#ifndef KFS_BASE_STATS_H
#define KFS_BASE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#define STATS_SHARDS 8
#define STATS_BUCKETS 40 /* bucket b counts latencies in [2^b, 2^(b+1)) ns; the last one the rest */

struct stats_op {
	uint64_t requests, errors, ns_total, ns_max;
	uint64_t bucket[STATS_BUCKETS];
};

struct stats_op_shard {
	_Atomic uint64_t requests, errors, ns_total, ns_max;
	_Atomic uint64_t bucket[STATS_BUCKETS];
} __attribute__((aligned(64)));

struct stats_latency {
	struct stats_op_shard shard[STATS_SHARDS];
};

uint64_t stats_now_ns(void); /* CLOCK_MONOTONIC */
void stats_note(struct stats_latency *l, uint64_t ns, int error);
void stats_sum(const struct stats_latency *l, struct stats_op *ret_op);
/* Upper bound in ns of the bucket that holds quantile @q (0..1); 0 when empty. */
uint64_t stats_quantile(const struct stats_op *op, double q);

#endif
