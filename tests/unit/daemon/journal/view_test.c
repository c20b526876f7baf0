// SPDX-License-Identifier: GPL-2.0-only
/*
 * Views: what they show is the state between two transactions, whatever is changed,
 * freed, taken again, committed or brought home meanwhile.
 */
#include "daemon/journal/view.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "tests/lib/test.h"
#include "tests/unit/daemon/journal/jtest.h"

#define FIRST 1400
#define BLOCKS 200
#define BS_MAX 4096
#define MIB (1u << 20)

struct world {
	const struct jformat *f;
	struct bdev *bdev;
	struct cache *cache;
	struct journal *j;
};

static struct world w;

static void open_world(const struct jformat *f, uint32_t bufs)
{
	const struct journal_opts opts = { .commit_interval_ms = 100000 };

	w.f = f;
	CHECK_OK(bdev_open_mem((uint64_t)IMAGE_BLOCKS * (f ? f->block_size : 1024), &w.bdev));
	if (f)
		jtest_format(w.bdev, f);
	CHECK_OK(cache_new(w.bdev, f ? f->block_size : 1024, bufs, &w.cache));
	CHECK_OK(journal_open(w.cache, f ? &jmap : NULL, f ? f->log_blocks : 0, &opts, &w.j));
}

static void close_world(void)
{
	CHECK_OK(journal_close(w.j));
	cache_free(w.cache);
	bdev_close(w.bdev);
}

static void set(struct handle *h, uint32_t k, uint32_t value)
{
	struct buf *b;

	CHECK_OK(buf_read(w.cache, FIRST + k, &b));
	rwlock_write(&b->lock);
	CHECK_OK(journal_get_write(h, b));
	memcpy(b->data, &value, sizeof(value));
	journal_dirty(h, b, 0, sizeof(value));
	rwlock_unwrite(&b->lock);
	buf_put(b);
}

static void change(uint32_t k, uint32_t value)
{
	struct handle h;

	CHECK_OK(journal_start(w.j, 4, &h));
	set(&h, k, value);
	CHECK_OK(journal_stop(&h));
}

static uint32_t seen(struct journal_view *v, uint32_t k)
{
	uint8_t data[BS_MAX];
	uint32_t value;

	CHECK_OK(journal_view_read(v, FIRST + k, 1, data));
	memcpy(&value, data, sizeof(value));
	return value;
}

TEST(test_view__shows_the_past)
{
	struct journal_view *v, *second;
	struct journal_view_stats stats;

	open_world(&jformats[0], 64);
	change(0, 1);
	change(1, 1);
	CHECK_OK(journal_view_open(w.j, MIB, &v));
	CHECK_ERR(journal_view_open(w.j, MIB, &second), -EBUSY);
	change(0, 2);
	CHECK_EQ(seen(v, 0), 1);
	CHECK_OK(journal_checkpoint_all(w.j));
	CHECK_EQ(seen(v, 0), 1);
	CHECK_EQ(seen(v, 1), 1);
	change(1, 2);
	CHECK_OK(journal_sync(w.j));
	CHECK_EQ(seen(v, 1), 1);
	journal_view_get_stats(v, &stats);
	CHECK_GE(stats.copies_bytes, 2 * w.f->block_size);
	journal_view_done(v, FIRST, 2);
	journal_view_get_stats(v, &stats);
	CHECK_EQ(stats.copies_bytes, 0);
	journal_view_close(v);
	CHECK_OK(journal_view_open(w.j, MIB, &v));
	CHECK_EQ(seen(v, 0), 2);
	journal_view_close(v);
	close_world();
}

TEST(test_view__an_unused_transaction_needs_no_commit)
{
	struct journal_stats before, after;
	struct journal_view *v;

	open_world(&jformats[0], 64);
	change(0, 1);
	CHECK_OK(journal_sync(w.j));
	journal_get_stats(w.j, &before);
	CHECK_OK(journal_view_open(w.j, MIB, &v));
	journal_get_stats(w.j, &after);
	CHECK_EQ(after.commits, before.commits);
	change(0, 2);
	CHECK_EQ(seen(v, 0), 1);
	journal_view_close(v);
	close_world();
}

TEST(test_view__freed_blocks_are_kept)
{
	struct journal_view *v;
	struct handle h;
	struct buf *b;

	open_world(&jformats[0], 64);
	change(0, 7);
	CHECK_OK(journal_checkpoint_all(w.j));
	CHECK_OK(journal_view_open(w.j, MIB, &v));
	CHECK_OK(journal_start(w.j, 4, &h));
	CHECK_OK(journal_forget(&h, FIRST, 1));
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_start(w.j, 4, &h));
	CHECK_OK(buf_get_new(w.cache, FIRST, &b));
	CHECK_OK(journal_get_create(&h, b));
	memset(b->data, 0xff, w.f->block_size);
	journal_dirty(&h, b, 0, w.f->block_size);
	buf_put(b);
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_checkpoint_all(w.j));
	CHECK_EQ(seen(v, 0), 7);
	journal_view_close(v);
	close_world();
}

TEST(test_view__without_memory_it_is_lost_and_operations_go_on)
{
	struct journal_view *v;
	struct journal_view_stats stats;
	uint8_t data[BS_MAX];

	open_world(&jformats[0], 64);
	CHECK_OK(journal_view_open(w.j, 1, &v));
	CHECK_OK(journal_view_read(v, FIRST, 1, data));
	change(0, 1);
	CHECK_ERR(journal_view_read(v, FIRST, 1, data), -ESTALE);
	journal_view_get_stats(v, &stats);
	CHECK(stats.lost);
	journal_view_close(v);
	close_world();
}

TEST(test_view__reads_around_the_cache)
{
	struct cache_stats before, after;
	struct journal_view *v;
	uint8_t data[64 * BS_MAX];

	open_world(&jformats[0], 64);
	CHECK_OK(journal_view_open(w.j, MIB, &v));
	cache_get_stats(w.cache, &before);
	CHECK_OK(journal_view_read(v, FIRST, 64, data));
	CHECK_ERR(journal_view_read(v, IMAGE_BLOCKS - 1, 2, data), -EUCLEAN);
	cache_get_stats(w.cache, &after);
	CHECK_EQ(after.bufs, before.bufs);
	CHECK_EQ(after.hits + after.misses, before.hits + before.misses);
	journal_view_close(v);
	close_world();
}

TEST(test_view__an_aborted_journal_has_none)
{
	struct journal_view *v;

	open_world(&jformats[0], 64);
	change(0, 1);
	journal_abort(w.j, -EIO);
	CHECK_ERR(journal_view_open(w.j, MIB, &v), -EROFS);
	journal_destroy(w.j);
	cache_free(w.cache);
	bdev_close(w.bdev);
}

/* Against arrays: what is, and what was when the view was opened. */
static void run_model(const struct jformat *f, uint64_t seed)
{
	uint32_t now[BLOCKS] = { 0 }, then[BLOCKS] = { 0 };
	struct journal_view *v = NULL;
	uint32_t step, k, n;

	open_world(f, 16);
	for (step = 0; step < 4000; step++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		k = (uint32_t)(seed >> 40) % BLOCKS;
		n = (uint32_t)(seed >> 33) % 64;
		if (n < 40) {
			change(k, ++now[k]);
		} else if (n < 42) {
			CHECK_OK(journal_sync(w.j));
		} else if (n < 43) {
			CHECK_OK(journal_checkpoint_all(w.j));
		} else if (n < 44) {
			journal_view_close(v);
			CHECK_OK(journal_view_open(w.j, 64 * MIB, &v));
			memcpy(then, now, sizeof(then));
		} else if (v) {
			CHECK_EQ(seen(v, k), then[k]);
		}
	}
	journal_view_close(v);
	close_world();
}

TEST(test_view__equals_a_model)
{
	uint32_t k;

	CHECK_GT(jformats_count, 0);

	for (k = 0; k < jformats_count; k++)
		run_model(&jformats[k], 17 + k);
	run_model(NULL, 5);
}

/* Writers keep pairs equal within a handle; a view must never show a pair that is not. */
static _Atomic bool stop;

static void *write_pairs(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	uint32_t value = 1;

	while (!atomic_load(&stop)) {
		struct handle h;
		uint32_t k;

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		k = (uint32_t)(seed >> 40) % 20 * 2 + 40 * (uint32_t)(uintptr_t)arg;
		CHECK_OK(journal_start(w.j, 4, &h));
		set(&h, k, ++value);
		set(&h, k + 1, value);
		CHECK_OK(journal_stop(&h));
	}
	return NULL;
}

TEST(test_view__never_shows_half_an_operation)
{
	uint8_t data[BLOCKS * 1024];
	pthread_t threads[2];
	uintptr_t k;
	uint32_t round;

	open_world(&jformats[0], 64);
	CHECK_LE(w.f->block_size, 1024);
	for (k = 0; k < 2; k++)
		CHECK_EQ(pthread_create(&threads[k], NULL, write_pairs, (void *)k), 0);
	for (round = 0; round < 200; round++) {
		struct journal_view *v;

		CHECK_OK(journal_view_open(w.j, 64 * MIB, &v));
		CHECK_OK(journal_view_read(v, FIRST, 80, data));
		for (k = 0; k < 80; k += 2)
			CHECK_MEM_EQ(data + k * w.f->block_size, data + (k + 1) * w.f->block_size,
				     4);
		for (k = 0; k < 80; k += 2)
			CHECK_EQ(seen(v, (uint32_t)k), seen(v, (uint32_t)k + 1));
		journal_view_close(v);
	}
	atomic_store(&stop, true);
	for (k = 0; k < 2; k++)
		pthread_join(threads[k], NULL);
	close_world();
}
