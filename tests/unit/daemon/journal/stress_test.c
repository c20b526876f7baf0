// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many threads on a small log: transactions fill it many times over while others
 * wait for commits, extend, restart, free blocks and checkpoint. At the end every
 * counter must have every increment, at home.
 */
#include "daemon/journal/journal.h"

#include <pthread.h>
#include <string.h>

#include "tests/lib/test.h"
#include "tests/unit/daemon/journal/jtest.h"

#define THREADS 4
#define ROUNDS 1500
#define FIRST_BLOCK 1400
#define BLOCKS 300
/* Per thread, freed and taken again. */
#define OWN_FIRST 1750
#define OWN_BLOCKS 16

struct shared {
	const struct jformat *f;
	struct bdev *bdev;
	struct cache *cache;
	struct journal *j;
	_Atomic uint64_t increments[BLOCKS];
	_Atomic uint64_t commits_seen;
};

static struct shared s;

struct worker {
	uint32_t id;
	uint64_t seed;
	uint64_t own[OWN_BLOCKS]; /* word at home at the end; 0 = free */
	uint32_t own_tid[OWN_BLOCKS];
	struct commit_cb cb;
	_Atomic bool cb_pending;
};

static uint32_t draw(struct worker *w, uint32_t limit)
{
	w->seed = w->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(w->seed >> 33) % limit;
}

static void increment(struct handle *h, uint32_t block)
{
	struct buf *b;
	uint64_t word;

	CHECK_OK(buf_read(s.cache, FIRST_BLOCK + block, &b));
	rwlock_write(&b->lock);
	CHECK_OK(journal_get_write(h, b));
	memcpy(&word, b->data, sizeof(word));
	word++;
	memcpy(b->data, &word, sizeof(word));
	journal_dirty(h, b, 0, sizeof(word));
	rwlock_unwrite(&b->lock);
	buf_put(b);
	atomic_fetch_add(&s.increments[block], 1);
}

/* Only this thread knows its own blocks, as a directory block has its inode's lock. */
static void change_own(struct worker *w, struct handle *h, uint32_t i)
{
	uint64_t pblk = OWN_FIRST + w->id * OWN_BLOCKS + i;
	struct buf *b;

	if (w->own[i]) {
		CHECK_OK(journal_forget(h, pblk, 1));
		w->own[i] = 0;
		w->own_tid[i] = h->tid;
		return;
	}
	if (!journal_tid_committed(s.j, w->own_tid[i]))
		return;
	CHECK_OK(buf_get_new(s.cache, pblk, &b));
	CHECK_OK(journal_get_create(h, b));
	w->own[i] = 1 + draw(w, 1000000);
	memcpy(b->data, &w->own[i], sizeof(w->own[i]));
	journal_dirty(h, b, 0, s.f->block_size);
	buf_put(b);
}

static void note_commit(struct commit_cb *cb, int error)
{
	struct worker *w = container_of(cb, struct worker, cb);

	CHECK_EQ(error, 0);
	atomic_fetch_add(&s.commits_seen, 1);
	atomic_store(&w->cb_pending, false);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint32_t round, i;

	for (round = 0; round < ROUNDS; round++) {
		uint32_t changes = 1 + draw(w, 8);
		struct handle h;

		CHECK_OK(journal_start(s.j, 10, &h));
		for (i = 0; i < changes; i++)
			increment(&h, draw(w, BLOCKS));
		change_own(w, &h, draw(w, OWN_BLOCKS));
		if (draw(w, 50) == 0 && !atomic_exchange(&w->cb_pending, true))
			journal_on_commit(&h, &w->cb);
		if (draw(w, 100) == 0)
			CHECK_OK(journal_restart(&h, 10));
		else if (draw(w, 100) == 0)
			CHECK_GE(journal_extend(&h, 5), 0);
		increment(&h, draw(w, BLOCKS));
		CHECK_OK(journal_stop(&h));
		if (draw(w, 40) == 0)
			CHECK_OK(journal_commit_wait(s.j, handle_tid(&h)));
		if (draw(w, 400) == 0)
			CHECK_OK(journal_sync(s.j));
		if (draw(w, 700) == 0)
			CHECK_OK(journal_checkpoint_all(s.j));
	}
	return NULL;
}

static uint64_t home_word(uint64_t pblk)
{
	uint64_t word;

	CHECK_OK(bdev_read(s.bdev, &word, sizeof(word), pblk * s.f->block_size));
	return word;
}

static void run(const struct jformat *f, bool log)
{
	struct journal_opts opts = { .commit_interval_ms = 10,
				     .csum_v3 = f->incompat & JBD2_FEATURE_INCOMPAT_CSUM_V3,
				     .copies_bytes_max = 2u << 20 };
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	struct journal_stats stats;
	uint32_t i, k;

	memset(&s, 0, sizeof(s));
	memset(workers, 0, sizeof(workers));
	s.f = f;
	s.bdev = crash_bdev_new((uint64_t)IMAGE_BLOCKS * f->block_size, 512);
	jtest_format(s.bdev, f);
	CHECK_OK(cache_new(s.bdev, f->block_size, 64, &s.cache));
	CHECK_OK(journal_open(s.cache, log ? &jmap : NULL, f->log_blocks, &opts, &s.j));
	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .id = i, .seed = i + 1, .cb.fn = note_commit };
		CHECK_EQ(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	journal_get_stats(s.j, &stats);
	CHECK_GT(stats.commits, 5);
	CHECK_EQ(stats.abort_error, 0);
	CHECK_EQ(stats.credits_overdrawn, 0);
	CHECK_OK(journal_close(s.j));
	for (i = 0; i < BLOCKS; i++)
		CHECK_EQ(home_word(FIRST_BLOCK + i), s.increments[i]);
	for (i = 0; i < THREADS; i++) {
		CHECK(!workers[i].cb_pending);
		for (k = 0; k < OWN_BLOCKS; k++) {
			if (workers[i].own[k])
				CHECK_EQ(home_word(OWN_FIRST + i * OWN_BLOCKS + k),
					 workers[i].own[k]);
		}
	}
	cache_free(s.cache);
	bdev_close(s.bdev);
}

TEST(test_journal__threads_on_a_small_log)
{
	run(&jformats[6], true);
	run(&jformats[1], true);
	CHECK_GT(s.commits_seen, 0);
}

static _Atomic bool stop_small;

static void *small_handles(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&stop_small)) {
		struct handle h;

		CHECK_OK(journal_start(s.j, 8, &h));
		increment(&h, draw(w, BLOCKS));
		CHECK_OK(journal_stop(&h));
	}
	return NULL;
}

TEST(test_journal_start__large_handles_get_their_turn)
{
	struct journal_opts opts = { .commit_interval_ms = 60000, .csum_v3 = true };
	struct worker workers[THREADS] = { 0 };
	pthread_t threads[THREADS];
	uint32_t i, max;

	s.f = &jformats[6];
	s.bdev = crash_bdev_new((uint64_t)IMAGE_BLOCKS * s.f->block_size, 512);
	jtest_format(s.bdev, s.f);
	CHECK_OK(cache_new(s.bdev, s.f->block_size, 64, &s.cache));
	CHECK_OK(journal_open(s.cache, &jmap, s.f->log_blocks, &opts, &s.j));
	max = journal_credits_max(s.j);
	for (i = 0; i < THREADS; i++) {
		workers[i].seed = i + 1;
		CHECK_EQ(pthread_create(&threads[i], NULL, small_handles, &workers[i]), 0);
	}
	for (i = 0; i < 100; i++) {
		struct handle h;

		CHECK_OK(journal_start(s.j, max - i % 3, &h));
		increment(&h, i);
		CHECK_OK(journal_stop(&h));
	}
	atomic_store(&stop_small, true);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_OK(journal_close(s.j));
	for (i = 0; i < BLOCKS; i++)
		CHECK_EQ(home_word(FIRST_BLOCK + i), s.increments[i]);
	cache_free(s.cache);
	bdev_close(s.bdev);
}

TEST(test_journal__threads_without_a_log)
{
	run(&jformats[6], false);
	CHECK_GT(s.commits_seen, 0);
}
