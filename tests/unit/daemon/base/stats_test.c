/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters: sums over threads, buckets at powers of two, quantiles as upper bounds. */
#include <pthread.h>

#include "daemon/base/stats.h"
#include "tests/lib/test.h"

static struct stats_latency latency;

TEST(test_stats_sum__adds_requests_errors_and_times)
{
	struct stats_op op;

	stats_note(&latency, 1000, 0);
	stats_note(&latency, 3000, -5);
	stats_sum(&latency, &op);
	CHECK_EQ(op.requests, 2);
	CHECK_EQ(op.errors, 1);
	CHECK_EQ(op.ns_total, 4000);
	CHECK_EQ(op.ns_max, 3000);
	CHECK_EQ(op.bucket[9], 1);
	CHECK_EQ(op.bucket[11], 1);
}

TEST(test_stats_note__keeps_extremes_in_the_outer_buckets)
{
	struct stats_op op;

	stats_note(&latency, 0, 0);
	stats_note(&latency, 1, 0);
	stats_note(&latency, UINT64_MAX / 4, 0);
	stats_sum(&latency, &op);
	CHECK_EQ(op.bucket[0], 2);
	CHECK_EQ(op.bucket[STATS_BUCKETS - 1], 1);
}

TEST(test_stats_quantile__is_the_bucket_s_upper_bound)
{
	struct stats_op op = { 0 };

	CHECK_EQ(stats_quantile(&op, 0.5), 0);
	op.bucket[4] = 90; /* 16..32 ns */
	op.bucket[10] = 10;
	CHECK_EQ(stats_quantile(&op, 0.5), 32);
	CHECK_EQ(stats_quantile(&op, 0.9), 32);
	CHECK_EQ(stats_quantile(&op, 0.99), 2048);
	CHECK_EQ(stats_quantile(&op, 1.0), 2048);
}

static void *count_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10000; i++)
		stats_note(&latency, 100, 0);
	return NULL;
}

TEST(test_stats_note__loses_nothing_among_threads)
{
	pthread_t threads[12];
	struct stats_op op;

	for (int i = 0; i < 12; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, count_many, NULL), 0);
	for (int i = 0; i < 12; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	stats_sum(&latency, &op);
	CHECK_EQ(op.requests, 120000);
	CHECK_EQ(op.ns_total, 12000000);
}
