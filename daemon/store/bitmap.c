// SPDX-License-Identifier: GPL-2.0-only
/* Bitmaps as ext4 stores them: bit n is bit n % 8 of byte n / 8. Whole bytes at a time. */
#include <string.h>

#include "daemon/store/group.h"

/* Bits [first, last] of one byte. */
static uint8_t byte_mask(uint32_t first, uint32_t last)
{
	return (uint8_t)((0xffu << first) & (0xffu >> (7 - last)));
}

void bitmap_set(uint8_t *map, uint32_t first, uint32_t count)
{
	uint32_t end = first + count;

	while (first < end && (first % 8 || end - first < 8)) {
		uint32_t last = MIN(end - 1, first | 7);

		map[first / 8] |= byte_mask(first % 8, last % 8);
		first = last + 1;
	}
	memset(map + first / 8, 0xff, (end - first) / 8);
	if (first < end && end % 8)
		map[end / 8] |= byte_mask(0, end % 8 - 1);
}

void bitmap_clear(uint8_t *map, uint32_t first, uint32_t count)
{
	uint32_t end = first + count;

	while (first < end && (first % 8 || end - first < 8)) {
		uint32_t last = MIN(end - 1, first | 7);

		map[first / 8] &= (uint8_t)~byte_mask(first % 8, last % 8);
		first = last + 1;
	}
	memset(map + first / 8, 0, (end - first) / 8);
	if (first < end && end % 8)
		map[end / 8] &= (uint8_t)~byte_mask(0, end % 8 - 1);
}

bool bitmap_all_set(const uint8_t *map, uint32_t first, uint32_t count)
{
	return bitmap_next_zero(map, first, first + count) == first + count;
}

uint32_t bitmap_next_zero(const uint8_t *map, uint32_t from, uint32_t end)
{
	while (from < end) {
		uint8_t free_bits = (uint8_t)(~map[from / 8] & (0xffu << (from % 8)));

		if (free_bits) {
			uint32_t bit = (from & ~7u) + (uint32_t)__builtin_ctz(free_bits);

			return MIN(bit, end);
		}
		from = (from | 7) + 1;
	}
	return end;
}
