/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Used ranges, sorted; found by binary search.
 */
#include "mkfs/space.h"

#include "daemon/base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void space_init(struct space *s, uint64_t first, uint64_t end)
{
	CHECK(first < end);
	*s = (struct space){ .first = first, .end = end };
}

void space_fini(struct space *s)
{
	free(s->ranges);
	s->ranges = NULL;
	s->count = s->room = 0;
}

/* Index of the first range that ends after @block: the one that holds it, or the next. */
static size_t range_after(const struct space *s, uint64_t block)
{
	size_t lo = 0, hi = s->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->ranges[mid].end > block)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static int range_insert(struct space *s, size_t at, uint64_t start, uint64_t end)
{
	if (s->count == s->room) {
		size_t room = s->room ? s->room * 2 : 64;
		struct space_range *ranges = reallocarray(s->ranges, room, sizeof(*ranges));

		if (!ranges)
			return -ENOMEM;
		s->ranges = ranges;
		s->room = room;
	}
	memmove(&s->ranges[at + 1], &s->ranges[at], (s->count - at) * sizeof(*s->ranges));
	s->ranges[at] = (struct space_range){ start, end };
	s->count++;
	return 0;
}

static void range_remove(struct space *s, size_t at)
{
	s->count--;
	memmove(&s->ranges[at], &s->ranges[at + 1], (s->count - at) * sizeof(*s->ranges));
}

int space_mark(struct space *s, uint64_t start, uint64_t len)
{
	uint64_t end = start + len;
	size_t at = range_after(s, start);
	bool joins_prev, joins_next;

	CHECK(len > 0 && start >= s->first && end <= s->end);
	CHECK(at == s->count || s->ranges[at].start >= end);
	joins_prev = at > 0 && s->ranges[at - 1].end == start;
	joins_next = at < s->count && s->ranges[at].start == end;
	if (joins_prev && joins_next) {
		s->ranges[at - 1].end = s->ranges[at].end;
		range_remove(s, at);
	} else if (joins_prev) {
		s->ranges[at - 1].end = end;
	} else if (joins_next) {
		s->ranges[at].start = start;
	} else {
		int r = range_insert(s, at, start, end);

		if (r < 0)
			return r;
	}
	s->used += len;
	return 0;
}

bool space_find(const struct space *s, uint64_t from, uint64_t to, uint64_t len,
		uint64_t *ret_start)
{
	uint64_t at = MAX(from, s->first);

	to = MIN(to, s->end);
	for (size_t i = range_after(s, at); at < to; i++) {
		uint64_t free_end = i < s->count ? MIN(s->ranges[i].start, to) : to;

		if (free_end > at && free_end - at >= len) {
			*ret_start = at;
			return true;
		}
		if (i >= s->count)
			return false;
		at = MAX(at, s->ranges[i].end);
	}
	return false;
}

bool space_find_run(const struct space *s, uint64_t goal, uint64_t want, uint64_t *ret_start,
		    uint64_t *ret_len)
{
	uint64_t start, next_start, next_end;

	CHECK(want > 0);
	if (!space_find(s, goal, s->end, 1, &start) && !space_find(s, s->first, s->end, 1, &start))
		return false;
	if (!space_next_used(s, start, s->end, &next_start, &next_end))
		next_start = s->end;
	*ret_start = start;
	*ret_len = MIN(want, next_start - start);
	return true;
}

bool space_next_used(const struct space *s, uint64_t block, uint64_t end, uint64_t *ret_start,
		     uint64_t *ret_end)
{
	size_t i = range_after(s, block);

	if (block >= end || i == s->count || s->ranges[i].start >= end)
		return false;
	*ret_start = MAX(s->ranges[i].start, block);
	*ret_end = MIN(s->ranges[i].end, end);
	return true;
}

uint64_t space_used_in(const struct space *s, uint64_t start, uint64_t end)
{
	uint64_t used = 0, from, to;

	for (uint64_t at = start; space_next_used(s, at, end, &from, &to); at = to)
		used += to - from;
	return used;
}
