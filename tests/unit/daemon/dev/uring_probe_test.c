/* SPDX-License-Identifier: GPL-2.0-only */
/* How many queues the kernel wants, by its list of processors. */
#include "daemon/dev/uring_probe.h"

#include "tests/lib/test.h"

TEST(test_uring_count_cpus__reads_the_kernels_lists)
{
	CHECK_EQ(uring_count_cpus("0\n"), 1);
	CHECK_EQ(uring_count_cpus("0-1\n"), 2);
	CHECK_EQ(uring_count_cpus("0-127"), 128);
	CHECK_EQ(uring_count_cpus("0-1,2-3,4\n"), 5);
	/* Gaps: the highest number would have no queue. */
	CHECK_EQ(uring_count_cpus("0,2\n"), 0);
	CHECK_EQ(uring_count_cpus("1-2\n"), 0);
	CHECK_EQ(uring_count_cpus(""), 0);
	CHECK_EQ(uring_count_cpus("0-\n"), 0);
	CHECK_EQ(uring_count_cpus("3-1\n"), 0);
	CHECK_EQ(uring_count_cpus("0-1x\n"), 0);
	CHECK_EQ(uring_count_cpus("0-99999999999999999999\n"), 0);
}
