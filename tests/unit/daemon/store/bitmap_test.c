// SPDX-License-Identifier: GPL-2.0-only
/* Bitmaps and busy maps against a plain array of bools. */
#include <string.h>

#include "daemon/store/group.h"
#include "tests/lib/test.h"

#define BITS 1024

static void check_equal(const uint8_t *map, const bool *model)
{
	for (uint32_t i = 0; i < BITS; i++)
		CHECK_EQ(bitmap_test(map, i), model[i]);
}

TEST(test_bitmap__equals_array_after_random_changes)
{
	static uint8_t map[BITS / 8];
	static bool model[BITS];

	for (int round = 0; round < 3000; round++) {
		uint32_t first = (uint32_t)test_random_below(BITS);
		uint32_t count = (uint32_t)test_random_below(BITS - first) + 1;
		bool set = test_random_below(2);
		uint32_t zero;

		if (test_random_below(2))
			count = 1 + count % 20;
		count = first + count > BITS ? BITS - first : count;
		if (set)
			bitmap_set(map, first, count);
		else
			bitmap_clear(map, first, count);
		for (uint32_t i = first; i < first + count; i++)
			model[i] = set;
		check_equal(map, model);
		CHECK(bitmap_all_set(map, first, count) == set);
		first = (uint32_t)test_random_below(BITS);
		for (zero = first; zero < BITS && model[zero]; zero++)
			;
		CHECK_EQ(bitmap_next_zero(map, first, BITS), zero);
	}
}
