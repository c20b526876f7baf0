// SPDX-License-Identifier: GPL-2.0-only
/* Lost writes are told once each, per file, and never to another file. */
#include "daemon/proto/lost.h"

#include <errno.h>

#include "tests/lib/test.h"

static struct lost_writes lost;

TEST(test_lost__is_told_once)
{
	lost_init(&lost);
	CHECK_EQ(lost_take(&lost, 7), 0);
	lost_note(&lost, 7, -ENOSPC);
	CHECK_EQ(lost_take(&lost, 8), 0);
	CHECK_EQ(lost_take(&lost, 7), -ENOSPC);
	CHECK_EQ(lost_take(&lost, 7), 0);
}

TEST(test_lost__newest_error_counts)
{
	lost_init(&lost);
	lost_note(&lost, 7, -ENOSPC);
	lost_note(&lost, 7, -EIO);
	CHECK_EQ(atomic_load(&lost.count), 1);
	CHECK_EQ(lost_take(&lost, 7), -EIO);
	CHECK_EQ(atomic_load(&lost.count), 0);
}

TEST(test_lost__oldest_is_forgotten_for_room)
{
	lost_init(&lost);
	for (uint64_t n = 1; n <= LOST_MAX + 3; n++)
		lost_note(&lost, n, -ENOSPC);
	CHECK_EQ(atomic_load(&lost.count), LOST_MAX);
	for (uint64_t n = 1; n <= LOST_MAX + 3; n++)
		CHECK_EQ(lost_take(&lost, n), n <= 3 ? 0 : -ENOSPC);
	CHECK_EQ(atomic_load(&lost.count), 0);
}
