/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the table says that bytes lie: where they were filled, nowhere once they were taken back, and nothing torn. */
#include "daemon/bpf/extents.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "daemon/base/util.h"
#include "daemon/inval/inval.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/bpf/answers.h"

#define WINDOW (UINT64_C(1) << KFS_WINDOW_BITS)
#define FILE_ID ((uint64_t)7 << 32 | 20)
#define KIB UINT64_C(1024)

static struct kfs_answers counts;

struct fill {
	uint64_t nodeid, off, len, image_off, until_ns;
};

static void fill(struct extents *x, struct fill f)
{
	struct inval_event ev = { .kind = INVAL_FILL_EXTENT,
				  .nodeid = f.nodeid,
				  .off = f.off,
				  .len = f.len,
				  .image_off = f.image_off,
				  .until_ns = f.until_ns };

	extents_event(x, &ev);
}

static void event(struct extents *x, enum inval_kind kind, uint64_t nodeid)
{
	struct inval_event ev = { .kind = kind, .nodeid = nodeid };

	extents_event(x, &ev);
}

static int64_t at_time(const struct extents *x, struct answers_place place, uint64_t *ret_len)
{
	struct answers_extent e;

	*ret_len = 0;
	if (answers_extent(x, &counts, &place, &e) != FUSE_BPF_ANSWERED)
		return -1;
	*ret_len = e.len;
	CHECK(e.phys >= ANSWERS_IMAGE_OFF);
	return (int64_t)(e.phys - ANSWERS_IMAGE_OFF);
}

/* Where byte @pos of the store's image is; -1: ask the daemon. */
static int64_t ask(const struct extents *x, uint64_t nodeid, uint64_t pos, uint64_t *ret_len)
{
	return at_time(x, (struct answers_place){ .nodeid = nodeid, .pos = pos }, ret_len);
}

TEST(test_extent__is_where_it_was_filled)
{
	struct extents *x = answers_extents_new(64, false);
	uint64_t len;

	CHECK_EQ(ask(x, FILE_ID, 0, &len), -1);
	fill(x, (struct fill){ FILE_ID, 8 * KIB, 10001, 500 * KIB, 0 });
	CHECK_EQ(ask(x, FILE_ID, 8 * KIB, &len), 500 * KIB);
	CHECK_EQ(len, 10001);
	CHECK_EQ(ask(x, FILE_ID, 8 * KIB + 10000, &len), 500 * KIB + 10000);
	CHECK_EQ(len, 1);
	CHECK_EQ(ask(x, FILE_ID, 8 * KIB + 10001, &len), -1);
	CHECK_EQ(ask(x, FILE_ID, 8 * KIB - 1, &len), -1);
	CHECK_EQ(ask(x, FILE_ID + 1, 8 * KIB, &len), -1);
	answers_extents_free(x);
}

TEST(test_extent__goes_over_windows)
{
	struct extents *x = answers_extents_new(64, false);
	uint64_t len;

	fill(x, (struct fill){ FILE_ID, WINDOW - 4 * KIB, 3 * WINDOW, 0, 0 });
	CHECK_EQ(ask(x, FILE_ID, WINDOW - 4 * KIB, &len), 0);
	CHECK_EQ(len, 4 * KIB);
	CHECK_EQ(ask(x, FILE_ID, WINDOW, &len), 4 * KIB);
	CHECK_EQ(len, WINDOW);
	CHECK_EQ(ask(x, FILE_ID, 4 * WINDOW - 4 * KIB - 1, &len), 3 * (int64_t)WINDOW - 1);
	CHECK_EQ(len, 1);
	CHECK_EQ(ask(x, FILE_ID, 4 * WINDOW - 4 * KIB, &len), -1);
	answers_extents_free(x);
}

TEST(test_extent__of_pieces_that_continue_one_another_is_one)
{
	struct extents *x = answers_extents_new(1, false);
	uint64_t len;

	/* From the back to the front, as reads by chance come to know a file, and one twice. */
	for (uint64_t k = 64; k-- > 0;)
		fill(x, (struct fill){ FILE_ID, k * 4 * KIB, 4 * KIB, k * 4 * KIB, 0 });
	fill(x, (struct fill){ FILE_ID, 8 * KIB, 100 * KIB, 8 * KIB, 0 });
	CHECK_EQ(ask(x, FILE_ID, 0, &len), 0);
	CHECK_EQ(len, 256 * KIB);
	CHECK_EQ(x->stats->extent_evictions, 0);
	answers_extents_free(x);
}

TEST(test_extent__of_a_file_in_many_pieces_is_known_for_some)
{
	struct extents *x = answers_extents_new(1, false);
	uint64_t len;
	int known = 0;

	for (uint64_t k = 0; k < 100; k++)
		fill(x, (struct fill){ FILE_ID, k * 4 * KIB, 4 * KIB, (1000 - 2 * k) * KIB, 0 });
	for (uint64_t k = 0; k < 100; k++) {
		int64_t at = ask(x, FILE_ID, k * 4 * KIB, &len);

		if (at >= 0)
			CHECK_EQ(at, (int64_t)((1000 - 2 * k) * KIB));
		known += at >= 0;
	}
	CHECK_EQ(known, (int)KFS_EXTENTS);
	answers_extents_free(x);
}

static void check_forgets(enum inval_kind kind, bool until_attr, bool forgets)
{
	struct extents *x = answers_extents_new(64, until_attr);
	uint64_t len;

	fill(x, (struct fill){ FILE_ID, 0, 4 * WINDOW, 0, 0 });
	fill(x, (struct fill){ FILE_ID + 1, 0, 4 * KIB, 0, 0 });
	event(x, kind, FILE_ID);
	CHECK_EQ(ask(x, FILE_ID, 0, &len), forgets ? -1 : 0);
	CHECK_EQ(ask(x, FILE_ID, 3 * WINDOW, &len), forgets ? -1 : 3 * (int64_t)WINDOW);
	CHECK_EQ(ask(x, FILE_ID + 1, 0, &len), kind == INVAL_ALL ? -1 : 0);
	/* What is told again of one window is not told of others. */
	fill(x, (struct fill){ FILE_ID, 2 * WINDOW, 4 * KIB, 64 * KIB, 0 });
	CHECK_EQ(ask(x, FILE_ID, 3 * WINDOW, &len), forgets ? -1 : 3 * (int64_t)WINDOW);
	if (forgets) {
		CHECK_EQ(ask(x, FILE_ID, 2 * WINDOW, &len), 64 * KIB);
		CHECK_EQ(len, 4 * KIB);
		CHECK_EQ(ask(x, FILE_ID, 0, &len), -1);
	}
	answers_extents_free(x);
}

TEST(test_extents__are_forgotten_before_the_map_changes)
{
	check_forgets(INVAL_MAP, false, true);
	check_forgets(INVAL_INODE_GONE, false, true);
	check_forgets(INVAL_ALL, false, true);
	check_forgets(INVAL_ATTR, false, false);
	check_forgets(INVAL_ATTR, true, true);
}

TEST(test_extents__hold_until_the_access_time_moves)
{
	struct extents *x = answers_extents_new(64, true);
	struct answers_place place = { .nodeid = FILE_ID, .pos = WINDOW, .now_ns = 999 };
	uint64_t len;

	fill(x, (struct fill){ FILE_ID, 0, 2 * WINDOW, 0, 1000 });
	CHECK_EQ(at_time(x, place, &len), (int64_t)WINDOW);
	place.now_ns = 1000;
	CHECK_EQ(at_time(x, place, &len), -1);
	place.pos = 0;
	CHECK_EQ(at_time(x, place, &len), -1);
	fill(x, (struct fill){ FILE_ID, 0, 4 * KIB, 0, 2000 });
	CHECK_EQ(at_time(x, place, &len), 0);
	answers_extents_free(x);
}

TEST(test_extents__of_more_files_than_fit_are_right_or_unknown)
{
	struct extents *x = answers_extents_new(8, false);
	uint64_t files = 10 * 8 * KFS_WAYS, len;
	unsigned known = 0;

	for (uint64_t k = 0; k < files; k++)
		fill(x, (struct fill){ FILE_ID + k, 0, 2 * WINDOW, k * 2 * WINDOW, 0 });
	for (uint64_t k = 0; k < files; k++) {
		int64_t at = ask(x, FILE_ID + k, 0, &len);

		CHECK(at == -1 || at == (int64_t)(k * 2 * WINDOW));
		known += at >= 0;
		at = ask(x, FILE_ID + k, WINDOW + 5, &len);
		CHECK(at == -1 || at == (int64_t)(k * 2 * WINDOW + WINDOW + 5));
	}
	CHECK(known > 0);
	CHECK(x->stats->extent_slots_used <= x->stats->extent_slots);
	for (uint64_t k = 0; k < files; k++)
		event(x, INVAL_MAP, FILE_ID + k);
	for (uint64_t k = 0; k < files; k++)
		CHECK_EQ(ask(x, FILE_ID + k, 0, &len), -1);
	answers_extents_free(x);
}

/* ---- readers beside a writer ---- */

#define STORM_ROUNDS 20000u

struct storm {
	struct extents *x;
	_Atomic bool over;
	_Atomic uint64_t wrong, answered;
};

/* In round r the file is 8 windows from r * 16 windows on: whatever is answered is of one round. */
static void *storm_reader(void *arg)
{
	struct storm *s = arg;
	struct kfs_answers mine = { 0 };

	for (uint64_t n = 0; !atomic_load(&s->over); n++) {
		struct answers_place place = { .nodeid = FILE_ID,
					       .pos = n % 8 * WINDOW + n % 1000 };
		struct answers_extent e;

		if (answers_extent(s->x, &mine, &place, &e) != FUSE_BPF_ANSWERED)
			continue;
		atomic_fetch_add(&s->answered, 1);
		if ((e.phys - ANSWERS_IMAGE_OFF) % (16 * WINDOW) != place.pos ||
		    e.len != WINDOW - place.pos % WINDOW)
			atomic_fetch_add(&s->wrong, 1);
	}
	return NULL;
}

TEST(test_extents__are_never_torn)
{
	struct storm s = { .x = answers_extents_new(4, false) };
	pthread_t readers[2];

	for (size_t k = 0; k < ARRAY_SIZE(readers); k++)
		CHECK_EQ(pthread_create(&readers[k], NULL, storm_reader, &s), 0);
	for (uint64_t r = 0; r < STORM_ROUNDS || (!atomic_load(&s.answered) && r < 100000000);
	     r++) {
		event(s.x, INVAL_MAP, FILE_ID);
		fill(s.x, (struct fill){ FILE_ID, 0, 8 * WINDOW, r * 16 * WINDOW, 0 });
	}
	atomic_store(&s.over, true);
	for (size_t k = 0; k < ARRAY_SIZE(readers); k++)
		CHECK_EQ(pthread_join(readers[k], NULL), 0);
	CHECK_EQ(atomic_load(&s.wrong), 0);
	CHECK(atomic_load(&s.answered) > 0);
	answers_extents_free(s.x);
}
