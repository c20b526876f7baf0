/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The list of used ranges against a plain array of flags.
 */
#include "mkfs/space.h"

#include "tests/lib/test.h"

#define BLOCKS 500

static uint64_t model_find(const bool *used, uint64_t from, uint64_t to, uint64_t len)
{
	for (uint64_t at = from; at + len <= to; at++) {
		uint64_t n = 0;

		while (n < len && !used[at + n])
			n++;
		if (n == len)
			return at;
	}
	return BLOCKS;
}

static void check_against(const struct space *s, const bool *used)
{
	uint64_t from = 1 + test_random_below(BLOCKS - 1);
	uint64_t to = from + test_random_below(BLOCKS - from + 1);
	uint64_t len = 1 + test_random_below(20), count = 0, found = 0;
	bool got = space_find(s, from, to, len, &found);

	CHECK_EQ(got ? found : BLOCKS, model_find(used, from, to, len));
	for (uint64_t i = from; i < to; i++)
		count += used[i];
	CHECK_EQ(space_used_in(s, from, to), count);
}

TEST(test_space__agrees_with_a_bitmap)
{
	bool used[BLOCKS] = { true };
	struct space s;

	space_init(&s, 1, BLOCKS);
	for (int round = 0; round < 3000; round++) {
		uint64_t at = 1 + test_random_below(BLOCKS - 1);
		uint64_t len = 1 + test_random_below(4);

		check_against(&s, used);
		if (at + len > BLOCKS || model_find(used, at, at + len, len) != at)
			continue;
		CHECK_OK(space_mark(&s, at, len));
		for (uint64_t i = at; i < at + len; i++)
			used[i] = true;
	}
	for (size_t i = 1; i < s.count; i++)
		CHECK_GT(s.ranges[i].start, s.ranges[i - 1].end);
	space_fini(&s);
}

TEST(test_space_used_in__ends_where_a_range_goes_on)
{
	struct space s;

	space_init(&s, 0, 100);
	CHECK_OK(space_mark(&s, 5, 50));
	CHECK_EQ(space_used_in(&s, 0, 10), 5);
	CHECK_EQ(space_used_in(&s, 10, 20), 10);
	CHECK_EQ(space_used_in(&s, 50, 100), 5);
	space_fini(&s);
}

TEST(test_space_find_run__wraps_once_and_says_when_full)
{
	uint64_t start, len;
	struct space s;

	space_init(&s, 0, 100);
	CHECK_OK(space_mark(&s, 50, 50));
	CHECK(space_find_run(&s, 60, 30, &start, &len));
	CHECK_EQ(start, 0);
	CHECK_EQ(len, 30);
	CHECK(space_find_run(&s, 45, 30, &start, &len));
	CHECK_EQ(start, 45);
	CHECK_EQ(len, 5);
	CHECK_OK(space_mark(&s, 0, 50));
	CHECK(!space_find_run(&s, 0, 1, &start, &len));
	CHECK_EQ(s.count, 1);
	space_fini(&s);
}
