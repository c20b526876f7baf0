// SPDX-License-Identifier: GPL-2.0-only
/*
 * Busy maps: per group, the blocks nobody may allocate now, and quick answers to
 * "which group can have a run of n blocks?".
 *
 * Invariants, under the group lock
 * (1) busy contains the on-disk bitmap, blocks whose free has not committed, and
 *     reserved blocks. blocks_avail counts its zeros; while no map is loaded both
 *     others are empty, so blocks_avail = blocks_free.
 * (2) run_hint is at least the longest run of zeros; a search that found nothing
 *     makes it exact, so no group is searched twice for what it does not have.
 * (3) groups_of_order counts the groups by order of run_hint.
 *
 * The map is made of 64-bit words; bits behind the group's end are set.
 */
#include "daemon/store/balloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/store/group.h"
#include "daemon/store/super.h"

/* 32 MiB of maps with 4 KiB blocks; the 1 TiB image's 8192 groups fit. */
#define MAPS_MAX 8192
/* Groups looked at, at most, to drop one map. */
#define SHED_SCAN 16

/* ---- words ---------------------------------------------------------------- */

/* First zero bit in [from, end), or @end. */
static uint32_t next_zero(const uint64_t *map, uint32_t from, uint32_t end)
{
	uint64_t word;

	if (from >= end)
		return end;
	word = ~map[from / 64] & (~0ull << (from % 64));
	while (!word) {
		from = (from | 63) + 1;
		if (from >= end)
			return end;
		word = ~map[from / 64];
	}
	return MIN((from & ~63u) + (uint32_t)__builtin_ctzll(word), end);
}

/* First set bit in [from, end), or @end. */
static uint32_t next_one(const uint64_t *map, uint32_t from, uint32_t end)
{
	uint64_t word;

	if (from >= end)
		return end;
	word = map[from / 64] & (~0ull << (from % 64));
	while (!word) {
		from = (from | 63) + 1;
		if (from >= end)
			return end;
		word = map[from / 64];
	}
	return MIN((from & ~63u) + (uint32_t)__builtin_ctzll(word), end);
}

/* One past the last set bit below @before, or 0. */
static uint32_t run_begin(const uint64_t *map, uint32_t before)
{
	while (before > 0) {
		uint32_t bits = (before - 1) % 64 + 1;
		uint64_t word = map[(before - 1) / 64];

		if (bits < 64)
			word &= (1ull << bits) - 1;
		if (word)
			return ((before - 1) & ~63u) + 64 - (uint32_t)__builtin_clzll(word);
		before -= bits;
	}
	return 0;
}

static uint64_t word_mask(uint32_t first, uint32_t bits)
{
	return (bits == 64 ? ~0ull : (1ull << bits) - 1) << first;
}

/* ---- orders --------------------------------------------------------------- */

static uint32_t order_of(uint32_t len)
{
	return len ? 32 - (uint32_t)__builtin_clz(len) : 0;
}

void busy_set_hint(struct store *s, struct group *grp, uint32_t hint)
{
	uint32_t old = order_of(atomic_load(&grp->run_hint));
	uint32_t now = order_of(hint);

	atomic_store(&grp->run_hint, hint);
	if (old == now)
		return;
	atomic_fetch_sub(&s->alloc->groups_of_order[old], 1);
	atomic_fetch_add(&s->alloc->groups_of_order[now], 1);
}

bool busy_possible(const struct store *s, uint32_t want)
{
	uint32_t o;

	for (o = order_of(want); o < BUSY_ORDERS; o++) {
		if (atomic_load_explicit(&s->alloc->groups_of_order[o], memory_order_relaxed))
			return true;
	}
	return false;
}

/* ---- loading -------------------------------------------------------------- */

static uint32_t count_zeros(const uint64_t *map, uint32_t words)
{
	uint32_t i, ones = 0;

	for (i = 0; i < words; i++)
		ones += (uint32_t)__builtin_popcountll(map[i]);
	return words * 64 - ones;
}

static uint32_t longest_run(const uint64_t *map, uint32_t end)
{
	uint32_t pos = 0, longest = 0;

	while ((pos = next_zero(map, pos, end)) < end) {
		uint32_t stop = next_one(map, pos, end);

		longest = MAX(longest, stop - pos);
		pos = stop;
	}
	return longest;
}

static int leave_alone(struct store *s, struct group *grp, int code)
{
	atomic_store(&grp->corrupt_blocks, true);
	atomic_store(&grp->blocks_avail, 0);
	busy_set_hint(s, grp, 0);
	return code;
}

static void set_range(uint64_t *map, uint32_t first, uint32_t count)
{
	while (count) {
		uint32_t bits = MIN(count, 64 - first % 64);

		map[first / 64] |= word_mask(first % 64, bits);
		first += bits;
		count -= bits;
	}
}

static uint64_t *make_map(const struct store *s, uint32_t g, const struct buf *bitmap)
{
	uint32_t words = DIV_ROUND_UP(s->blocks_per_group, 64u);
	uint32_t blocks = geometry_group_blocks(s, g);
	uint64_t *map = calloc(words, sizeof(*map));
	uint32_t i;

	if (!map)
		return NULL;
	memcpy(map, bitmap->data, s->blocks_per_group / 8);
	for (i = 0; i < words; i++)
		map[i] = le64_to_cpu((le64){ map[i] });
	set_range(map, blocks, words * 64 - blocks);
	return map;
}

int busy_load(struct store *s, uint32_t g)
{
	struct group *grp = &s->groups[g];
	uint32_t words = DIV_ROUND_UP(s->blocks_per_group, 64u);
	struct buf *bitmap;
	uint64_t *map;
	int ret;

	if (atomic_load(&grp->corrupt_blocks))
		return leave_alone(s, grp, -EUCLEAN);
	if (grp->busy)
		return 0;
	ret = group_block_bitmap(s, g, &bitmap);
	if (ret)
		return ret == -ENOMEM ? ret : leave_alone(s, grp, ret);
	map = make_map(s, g, bitmap);
	buf_put(bitmap);
	if (!map)
		return -ENOMEM;
	if (count_zeros(map, words) != grp->blocks_free) {
		free(map);
		(void)store_corrupt(
			s, 0, grp->block_bitmap,
			"block bitmap: free blocks differ from the descriptor"); /* below */
		return leave_alone(s, grp, -EUCLEAN);
	}
	grp->busy = map;
	atomic_store(&grp->blocks_avail, grp->blocks_free);
	busy_set_hint(s, grp, longest_run(map, words * 64));
	atomic_fetch_add(&s->alloc->maps_loaded, 1);
	return 0;
}

void busy_shed(struct store *s)
{
	struct alloc_state *a = s->alloc;
	uint32_t i;

	if (atomic_load_explicit(&a->maps_loaded, memory_order_relaxed) <= MAPS_MAX)
		return;
	for (i = 0; i < SHED_SCAN; i++) {
		struct group *grp = &s->groups[atomic_fetch_add(&a->shed_hand, 1) % s->group_count];

		if (!rwlock_trywrite(&grp->lock))
			continue;
		/* Equal counts: the bitmap on disk says all that the map says. */
		if (grp->busy && grp->blocks_avail == grp->blocks_free) {
			free(grp->busy);
			grp->busy = NULL;
			atomic_fetch_sub(&a->maps_loaded, 1);
		}
		rwlock_unwrite(&grp->lock);
	}
}

/* ---- use ------------------------------------------------------------------ */

void busy_set(struct store *s, uint32_t g, uint32_t first, uint32_t count)
{
	struct group *grp = &s->groups[g];

	CHECK(grp->busy && count <= grp->blocks_avail);
	set_range(grp->busy, first, count);
	atomic_fetch_sub(&grp->blocks_avail, count);
	if (grp->run_hint > grp->blocks_avail)
		busy_set_hint(s, grp, grp->blocks_avail);
}

void busy_clear(struct store *s, uint32_t g, uint32_t first, uint32_t count)
{
	struct group *grp = &s->groups[g];
	uint32_t end = geometry_group_blocks(s, g);
	uint32_t bit = first, left = count, begin;

	CHECK(grp->busy && count <= end && first <= end - count);
	while (left) {
		uint32_t bits = MIN(left, 64 - bit % 64);
		uint64_t mask = word_mask(bit % 64, bits);

		CHECK((grp->busy[bit / 64] & mask) == mask);
		grp->busy[bit / 64] &= ~mask;
		bit += bits;
		left -= bits;
	}
	atomic_fetch_add(&grp->blocks_avail, count);
	begin = run_begin(grp->busy, first);
	end = next_one(grp->busy, first + count, end);
	if (end - begin > grp->run_hint)
		busy_set_hint(s, grp, end - begin);
}

uint32_t busy_run_at(const struct store *s, uint32_t g, uint32_t first, uint32_t max)
{
	uint32_t end = geometry_group_blocks(s, g);

	if (first >= end)
		return 0;
	end = MIN(end - first, max) + first;
	return next_one(s->groups[g].busy, first, end) - first;
}

struct bit_run busy_search(const struct store *s, uint32_t g, uint32_t from, uint32_t want)
{
	const uint64_t *map = s->groups[g].busy;
	uint32_t end = geometry_group_blocks(s, g);
	struct bit_run best = { 0 };

	while ((from = next_zero(map, from, end)) < end) {
		uint32_t limit = want < end - from ? from + want : end;
		uint32_t stop = next_one(map, from, limit);

		if (stop - from > best.len)
			best = (struct bit_run){ .first = from, .len = stop - from };
		if (best.len >= want)
			break;
		from = stop;
	}
	return best;
}

int balloc_open(struct store *s)
{
	uint32_t g;

	s->alloc = calloc(1, sizeof(*s->alloc));
	if (!s->alloc)
		return -ENOMEM;
	mutex_init(&s->alloc->drain_lock, LOCK_LEAF);
	list_init(&s->alloc->drains);
	for (g = 0; g < s->group_count; g++)
		atomic_fetch_add(&s->alloc->groups_of_order[order_of(s->groups[g].run_hint)], 1);
	return 0;
}

void balloc_close(struct store *s)
{
	if (s->alloc)
		balloc_held_free(s);
	free(s->alloc);
	s->alloc = NULL;
}
