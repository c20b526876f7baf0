/* SPDX-License-Identifier: GPL-2.0-only */
/* How long a queue looks for work before it sleeps: busy, idle and crowded. */
#include "tests/lib/test.h"
#include "vhost/pace.h"

#define LONGEST UINT64_C(50000)

static struct pace pace;

static void come(unsigned times, uint64_t after_ns)
{
	pace_init(&pace, LONGEST);
	while (times--)
		pace_came(&pace, after_ns);
}

TEST(test_pace_look__nobody_is_looked_for_at_first)
{
	come(0, 0);
	CHECK_EQ(pace_look(&pace, 0), 0);
}

TEST(test_pace_came__soon_widens_up_to_the_longest)
{
	come(1, 10000);
	CHECK_EQ(pace_look(&pace, 0), PACE_WINDOW_MIN_NS);
	come(2, LONGEST);
	CHECK_EQ(pace_look(&pace, 0), 2 * PACE_WINDOW_MIN_NS);
	come(100, 10000);
	CHECK_EQ(pace_look(&pace, 0), LONGEST);
}

TEST(test_pace_came__late_narrows_to_nothing)
{
	uint64_t looked = 0;

	come(100, 10000);
	for (unsigned i = 0; i < 10; i++) {
		looked += pace_look(&pace, 0);
		pace_came(&pace, LONGEST + 1);
	}
	/* An idle guest's whole bill. */
	CHECK(looked < 2 * LONGEST);
	CHECK_EQ(pace_look(&pace, 0), 0);
}

TEST(test_pace_init__zero_never_looks)
{
	pace_init(&pace, 0);
	for (unsigned i = 0; i < 100; i++)
		pace_came(&pace, i % 2);
	CHECK_EQ(pace_look(&pace, 0), 0);
}

TEST(test_pace_crowded__pauses_longer_each_time_and_within_a_bound)
{
	uint64_t now = 1000, last = 0;

	come(100, 10000);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t pause;

		pace_crowded(&pace, now);
		CHECK_EQ(pace_look(&pace, now), 0);
		pause = pace.pause_end - now;
		CHECK_EQ(pace_look(&pace, pace.pause_end - 1), 0);
		now = pace.pause_end;
		CHECK_EQ(pace_look(&pace, now), LONGEST);
		CHECK(pause > last || pause == PACE_PAUSE_MAX_NS);
		last = pause;
	}
	CHECK_EQ(last, PACE_PAUSE_MAX_NS);
}

TEST(test_pace_found__a_processor_that_is_free_again_is_used)
{
	come(100, 10000);
	for (unsigned i = 0; i < 20; i++)
		pace_crowded(&pace, 0);
	/* Requests that came without looking say nothing about it. */
	for (unsigned i = 0; i < 1000; i++)
		pace_came(&pace, 10000);
	CHECK_EQ(pace.pause_ns, PACE_PAUSE_MAX_NS);
	for (unsigned i = 0; i < 1000; i++)
		pace_found(&pace);
	pace_crowded(&pace, 0);
	CHECK_EQ(pace.pause_end, PACE_PAUSE_MIN_NS);
}
