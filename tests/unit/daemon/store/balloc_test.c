// SPDX-License-Identifier: GPL-2.0-only
/*
 * The block allocator: counts that are exact, frees that wait for their commit,
 * reservations that keep streams together and give way under pressure, groups whose
 * bitmap is wrong left alone, and several threads at once.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/crc.h"
#include "daemon/store/alloc.h"
#include "daemon/store/balloc.h"
#include "daemon/store/group.h"
#include "daemon/store/map.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define OPTIONS "-b 4096 -O 64bit,metadata_csum -g 2048 -J size=4 -m 5"
#define SIZE "64M"
/* Where the windows of large files have room. */
#define ROOMY_OPTIONS "-b 4096 -J size=4"
#define ROOMY_SIZE "512M"
#define THREADS 4
#define UNIT 512 /* blocks in 2 MiB */
#define RUNS_MAX 4096

/* What a test holds: blocks that no inode maps. They are freed before e2fsck looks. */
struct held {
	uint64_t pblk[RUNS_MAX];
	uint32_t count[RUNS_MAX];
	uint32_t n;
};

static struct inode *new_file(struct img *m, const char *name)
{
	struct inode *root = img_root(m);
	struct inode *i = img_create(m, root, name, S_IFREG | 0644);

	img_put(root);
	return i;
}

static int take(struct inode *i, const struct alloc_req *wish, struct held *held)
{
	struct alloc_req req = *wish;
	struct handle h;
	uint64_t pblk;
	uint32_t count;
	int ret;

	req.inode = i;
	CHECK_OK(journal_start(i->store->journal, CREDITS_ALLOC, &h));
	ret = balloc(&h, &req, &pblk, &count);
	CHECK_OK(journal_stop(&h));
	if (ret)
		return ret;
	CHECK_GE(count, 1);
	CHECK_LE(count, req.count);
	CHECK(store_pblk_valid(i->store, pblk, count));
	CHECK_LT(held->n, RUNS_MAX);
	held->pblk[held->n] = pblk;
	held->count[held->n++] = count;
	return 0;
}

static void give_back(struct inode *i, struct held *held)
{
	struct handle h;

	while (held->n > 0) {
		held->n--;
		CHECK_OK(journal_start(i->store->journal,
				       balloc_free_credits(i->store, held->count[held->n]), &h));
		CHECK_OK(balloc_free(&h, i, held->pblk[held->n], held->count[held->n], 0));
		CHECK_OK(journal_stop(&h));
	}
}

/* A commit, for which no lock may be held. */
static void sync_without(struct inode *i)
{
	rwlock_unwrite(&i->lock);
	CHECK_OK(store_sync(i->store));
	rwlock_write(&i->lock);
}

static uint64_t free_blocks(struct img *m)
{
	struct store_statfs st;

	store_statfs(m->s, &st);
	return st.blocks_free;
}

TEST(test_balloc__hands_out_exactly_what_statfs_says)
{
	static struct held held;
	struct store_statfs st;
	uint64_t got = 0, before;
	struct inode *i;
	struct img m;
	int ret;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	i = new_file(&m, "f");
	store_statfs(m.s, &st);
	before = st.blocks_free;
	CHECK_LT(st.blocks_avail, st.blocks_free);
	/* An ordinary user gets what "available" promised, and then nothing. */
	while ((ret = take(i, &(struct alloc_req){ .count = 1 + (uint32_t)test_random_below(500) },
			   &held)) == 0)
		got += held.count[held.n - 1];
	CHECK_EQ(ret, -ENOSPC);
	CHECK_EQ(got, st.blocks_avail);
	/* Root goes on into its reserve, metadata to the last block. */
	while ((ret = take(i, &(struct alloc_req){ .count = 64, .flags = ALLOC_RESERVED_OK },
			   &held)) == 0)
		got += held.count[held.n - 1];
	CHECK_EQ(ret, -ENOSPC);
	CHECK_EQ(got, before - m.s->resv_blocks);
	while ((ret = take(i, &(struct alloc_req){ .count = 64, .flags = ALLOC_META }, &held)) == 0)
		got += held.count[held.n - 1];
	CHECK_EQ(ret, -ENOSPC);
	CHECK_EQ(got, before);
	CHECK_EQ(free_blocks(&m), 0);
	give_back(i, &held);
	CHECK_EQ(free_blocks(&m), before);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_balloc_free__keeps_blocks_busy_until_the_commit)
{
	static struct held held, again;
	struct alloc_req all = { .count = 2048, .flags = ALLOC_META };
	uint32_t tries = 0;
	struct inode *i;
	struct img m;
	int ret;

	img_make(&m, OPTIONS, SIZE);
	img_open_opts(&m, &(struct store_opts){ .no_barrier = true,
						.commit_interval_ms = 3600 * 1000 });
	i = new_file(&m, "f");
	while ((ret = take(i, &all, &held)) == 0)
		;
	CHECK_EQ(ret, -ENOSPC);
	sync_without(i);
	give_back(i, &held);
	/* Free for statfs, but a crash could still bring the old owner back. */
	CHECK_GT(free_blocks(&m), 0);
	CHECK_ERR(take(i, &all, &again), -ENOSPC);
	rwlock_unwrite(&i->lock);
	CHECK(balloc_should_retry(m.s, &tries));
	rwlock_write(&i->lock);
	CHECK_OK(take(i, &all, &again));
	give_back(i, &again);
	img_put(i);
	CHECK_OK(store_sync(m.s));
	tries = 0;
	CHECK(!balloc_should_retry(m.s, &tries));
	img_close(&m);
	img_fsck(&m);
}

TEST(test_balloc_free__waits_for_drains_that_began_before)
{
	static struct held first, second;
	struct alloc_req one = { .count = 8, .flags = ALLOC_META };
	struct alloc_req again = { .count = 1, .flags = ALLOC_EXACT | ALLOC_META };
	struct drain early, late;
	struct inode *i;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	i = new_file(&m, "f");
	CHECK_OK(take(i, &one, &first));
	CHECK_OK(take(i, &one, &second));
	sync_without(i);
	again.goal = first.pblk[0];
	balloc_drain_begin(m.s, &early);
	give_back(i, &first);
	sync_without(i);
	CHECK_ERR(take(i, &again, &first), -ENOSPC);
	/* One that began later does not hold it. */
	balloc_drain_begin(m.s, &late);
	balloc_drain_end(m.s, &early);
	CHECK_OK(take(i, &again, &first));
	again.goal = second.pblk[0];
	give_back(i, &second);
	sync_without(i);
	CHECK_ERR(take(i, &again, &second), -ENOSPC);
	balloc_drain_end(m.s, &late);
	CHECK_OK(take(i, &again, &second));
	/* Ended before the commit: nothing to wait for. */
	balloc_drain_begin(m.s, &early);
	give_back(i, &second);
	balloc_drain_end(m.s, &early);
	sync_without(i);
	CHECK_OK(take(i, &again, &second));
	/* And one that nobody ends: closing loses nothing. */
	balloc_drain_begin(m.s, &late);
	give_back(i, &second);
	give_back(i, &first);
	img_put(i);
	CHECK_OK(store_sync(m.s));
	img_close(&m);
	img_fsck(&m);
}

TEST(test_balloc__goes_on_at_the_goal)
{
	static struct held held;
	struct alloc_req req = { .count = 10 };
	struct inode *i;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	i = new_file(&m, "f");
	CHECK_OK(take(i, &req, &held));
	req.goal = held.pblk[0] + held.count[0];
	req.lblk = 10;
	CHECK_OK(take(i, &req, &held));
	CHECK_EQ(held.pblk[1], held.pblk[0] + 10);
	/* Exactly there or not at all. */
	req = (struct alloc_req){ .count = 1, .goal = held.pblk[0], .flags = ALLOC_EXACT };
	CHECK_ERR(take(i, &req, &held), -ENOSPC);
	give_back(i, &held);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

/* The next @count blocks or fewer of a stream; true when they do not follow the last ones. */
static bool take_next(struct inode *i, uint32_t count, struct held *f)
{
	struct alloc_req req = { .count = count };
	uint32_t k;

	for (k = 0; k < f->n; k++)
		req.lblk += f->count[k];
	if (f->n)
		req.goal = f->pblk[f->n - 1] + f->count[f->n - 1];
	CHECK_OK(take(i, &req, f));
	return f->n > 1 && f->pblk[f->n - 1] != req.goal;
}

TEST(test_balloc__keeps_streams_apart)
{
	static struct held held[4];
	struct inode *i[4];
	char name[] = "f0";
	uint32_t k, step, left, breaks = 0;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	for (k = 0; k < 4; k++, name[1]++) {
		i[k] = new_file(&m, name);
		rwlock_unwrite(&i[k]->lock);
	}
	for (step = 0; step < 256; step++) {
		for (k = 0; k < 4; k++) {
			rwlock_write(&i[k]->lock);
			for (left = 4; left > 0; left -= held[k].count[held[k].n - 1])
				breaks += take_next(i[k], left, &held[k]);
			rwlock_unwrite(&i[k]->lock);
		}
	}
	/* 1024 blocks each: 8, 16, ... doubling windows, not 256 pieces. */
	CHECK_LE(breaks, 4 * 16);
	CHECK_GT(m.s->alloc->resv_blocks, 0);
	for (k = 0; k < 4; k++) {
		rwlock_write(&i[k]->lock);
		give_back(i[k], &held[k]);
		balloc_release_resv(i[k]);
		img_put(i[k]);
	}
	CHECK_EQ(m.s->alloc->resv_blocks, 0);
	img_close(&m);
	img_fsck(&m);
}

static bool begins_as_its_unit(uint64_t pblk, uint32_t lblk)
{
	return (pblk - lblk) % UNIT == 0;
}

TEST(test_balloc__aligns_large_files_alone)
{
	static struct held small, large, whole;
	struct alloc_req req = { .count = 10 };
	struct inode *i;
	struct img m;

	img_make(&m, ROOMY_OPTIONS, ROOMY_SIZE);
	img_open(&m);
	/* A small one lies where the last one ended. */
	i = new_file(&m, "small");
	CHECK_OK(take(i, &req, &small));
	req.count = UNIT / 4;
	CHECK_OK(take(i, &req, &small));
	CHECK_EQ(small.pblk[1], small.pblk[0] + 10);
	give_back(i, &small);
	img_put(i);
	/* The first piece of a stream that will be large. */
	i = new_file(&m, "large");
	req = (struct alloc_req){ .count = UNIT / 2, .flags = ALLOC_STREAM };
	CHECK_OK(take(i, &req, &large));
	CHECK(begins_as_its_unit(large.pblk[0], 0));
	give_back(i, &large);
	img_put(i);
	/* All of it at once, from the middle of a unit on, and no group holds it in one piece. */
	i = new_file(&m, "whole");
	req = (struct alloc_req){ .lblk = 100, .count = 32768 };
	CHECK_OK(take(i, &req, &whole));
	CHECK_GT(whole.count[0], 16000);
	CHECK(begins_as_its_unit(whole.pblk[0], 100));
	CHECK_EQ((100 + whole.count[0]) % UNIT, 0);
	give_back(i, &whole);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

/* The next piece of a stream that has @at blocks; true: it does not follow the last one. */
static bool take_piece(struct inode *i, uint32_t *at, struct held *h)
{
	struct alloc_req req = { .lblk = *at, .count = UNIT / 2 + 44, .flags = ALLOC_STREAM };
	bool breaks;

	rwlock_write(&i->lock);
	if (h->n)
		req.goal = h->pblk[h->n - 1] + h->count[h->n - 1];
	CHECK_OK(take(i, &req, h));
	breaks = h->pblk[h->n - 1] != req.goal;
	if (breaks) {
		CHECK_EQ(*at % UNIT, 0);
		CHECK(begins_as_its_unit(h->pblk[h->n - 1], *at));
	}
	*at += h->count[h->n - 1];
	rwlock_unwrite(&i->lock);
	return breaks;
}

TEST(test_balloc__breaks_large_files_where_their_units_do)
{
	static struct held held[2];
	uint32_t at[2] = { 0 }, breaks = 0;
	struct inode *i[2];
	struct img m;

	img_make(&m, ROOMY_OPTIONS, ROOMY_SIZE);
	img_open(&m);
	for (int k = 0; k < 2; k++) {
		i[k] = new_file(&m, k ? "b" : "a");
		rwlock_unwrite(&i[k]->lock);
	}
	for (uint32_t step = 0; step < 20; step++)
		breaks += take_piece(i[step % 2], &at[step % 2], &held[step % 2]);
	CHECK_GT(breaks, 2); /* they did get in each other's way */
	for (int k = 0; k < 2; k++) {
		rwlock_write(&i[k]->lock);
		give_back(i[k], &held[k]);
		balloc_release_resv(i[k]);
		img_put(i[k]);
	}
	img_close(&m);
	img_fsck(&m);
}

/* What writes a stream may begin with a page or two: the rest does not lie askew for it. */
TEST(test_balloc__mends_a_small_beginning_at_the_next_unit)
{
	static struct held held;
	struct alloc_req req = { .count = 3 };
	uint32_t at = 3, breaks = 0;
	struct inode *i;
	struct img m;

	img_make(&m, ROOMY_OPTIONS, ROOMY_SIZE);
	img_open(&m);
	i = new_file(&m, "a");
	CHECK_OK(take(i, &req, &held));
	CHECK(!begins_as_its_unit(held.pblk[0], 0)); /* else it has to begin elsewhere in here */
	i->size = 3 * 4096;
	rwlock_unwrite(&i->lock);
	for (uint32_t step = 0; step < 20; step++) {
		breaks += take_piece(i, &at, &held);
		if (breaks)
			CHECK(begins_as_its_unit(held.pblk[held.n - 1],
						 at - held.count[held.n - 1]));
	}
	CHECK_EQ(breaks, 1);
	rwlock_write(&i->lock);
	give_back(i, &held);
	balloc_release_resv(i);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_balloc__takes_reservations_back_before_giving_up)
{
	static struct held stream, rest;
	struct alloc_req req = { .count = 4 };
	struct inode *a, *b;
	struct img m;
	uint64_t before;
	int ret;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	a = new_file(&m, "a");
	before = free_blocks(&m);
	for (uint32_t k = 0; k < 64; k++) {
		req.lblk = k * 4;
		req.goal = k ? stream.pblk[stream.n - 1] + 4 : 0;
		CHECK_OK(take(a, &req, &stream));
	}
	CHECK_GT(m.s->alloc->resv_blocks, 0);
	rwlock_unwrite(&a->lock);
	b = new_file(&m, "b");
	while ((ret = take(b, &(struct alloc_req){ .count = 100, .flags = ALLOC_META }, &rest)) ==
	       0)
		;
	CHECK_EQ(ret, -ENOSPC);
	CHECK_EQ(free_blocks(&m), 0);
	CHECK_EQ(m.s->alloc->resv_blocks, 0);
	give_back(b, &rest);
	img_put(b);
	CHECK_OK(store_sync(m.s));
	rwlock_write(&a->lock);
	req.lblk = 256;
	req.goal = 0;
	CHECK_OK(take(a, &req, &stream)); /* its window is gone; it does not mind */
	give_back(a, &stream);
	CHECK_EQ(free_blocks(&m), before);
	img_put(a);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_balloc_undo__frees_at_once)
{
	struct alloc_req req = { .count = 5 };
	uint64_t pblk, again, before;
	struct handle h;
	struct inode *i;
	uint32_t count;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	i = new_file(&m, "f");
	before = free_blocks(&m);
	req.inode = i;
	img_start(&m, &h);
	CHECK_OK(balloc(&h, &req, &pblk, &count));
	CHECK_OK(balloc_undo(&h, m.s, pblk, count));
	req.goal = pblk;
	req.flags = ALLOC_EXACT;
	CHECK_OK(balloc(&h, &req, &again, &count));
	CHECK_EQ(again, pblk);
	CHECK_OK(balloc_undo(&h, m.s, pblk, count));
	img_stop(&h);
	CHECK_EQ(free_blocks(&m), before);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_balloc_free__refuses_metadata_and_strangers)
{
	struct handle h;
	struct inode *i;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	i = new_file(&m, "f");
	img_start(&m, &h);
	CHECK_ERR(balloc_free(&h, i, 0, 1, 0), -EUCLEAN);
	CHECK_ERR(balloc_free(&h, i, m.s->groups[0].inode_table, 1, 0), -EUCLEAN);
	CHECK_ERR(balloc_free(&h, i, m.s->groups[1].block_bitmap, 1, 0), -EUCLEAN);
	CHECK_ERR(balloc_free(&h, i, m.s->blocks_count - 1, 2, 0), -EUCLEAN);
	CHECK_ERR(balloc_free(&h, i, UINT64_MAX, 2, 0), -EUCLEAN);
	CHECK_ERR(balloc_free(&h, i, m.s->journal_runs[0].pblk, 1, 0), -EUCLEAN);
	img_stop(&h);
	img_put(i);
	CHECK_EQ(m.s->corruptions, 6);
	CHECK_OK(store_close(m.s));
}

/* A bitmap that fails its checksum, or calls metadata free: the group is left alone. */
TEST(test_balloc__leaves_groups_with_bad_bitmaps_alone)
{
	static struct held held;
	struct ext4_group_desc d;
	struct store_open_error err;
	uint8_t byte;
	struct inode *i;
	struct img m;
	uint32_t g;
	int ret;

	img_make(&m, OPTIONS " -O ^flex_bg", SIZE);
	raw_read_desc(&m, 3, &d);
	/* The first bytes hold the group's own metadata. */
	byte = 0;
	raw_write(&m, &byte, 1, (uint64_t)le32_to_cpu(d.bg_block_bitmap_lo) * 4096);
	d.bg_flags = cpu_to_le16((uint16_t)(le16_to_cpu(d.bg_flags) & ~EXT4_BG_BLOCK_UNINIT));
	raw_write_desc(&m, 3, &d);
	CHECK_OK(raw_open(&m, NULL, &err));
	i = new_file(&m, "f");
	while ((ret = take(i, &(struct alloc_req){ .count = 300, .flags = ALLOC_META }, &held)) ==
	       0) {
		g = store_group_of(m.s, held.pblk[held.n - 1]);
		CHECK_NE(g, 3);
	}
	CHECK_EQ(ret, -ENOSPC);
	CHECK_EQ(m.s->corruptions, 1);
	CHECK(m.s->error_state & STORE_ERR_CORRUPT);
	give_back(i, &held);
	img_put(i);
	CHECK_OK(store_close(m.s));
}

/* In group 0's bitmap a used block changes places with a free one, so that the descriptor's count still fits. */
static void swap_bits(struct img *m, uint32_t used, bool right_checksum)
{
	static uint8_t map[4096];
	const uint32_t bytes = 2048 / 8, free_bit = 2040;
	struct ext4_group_desc d;
	uint64_t off;
	uint32_t crc;

	img_open(m);
	crc = m->s->csum_seed;
	img_close(m);
	raw_read_desc(m, 0, &d);
	off = (uint64_t)le32_to_cpu(d.bg_block_bitmap_lo) * 4096;
	raw_read(m, map, sizeof(map), off);
	CHECK(bitmap_test(map, used));
	CHECK(!bitmap_test(map, free_bit));
	bitmap_clear(map, used, 1);
	bitmap_set(map, free_bit, 1);
	raw_write(m, map, sizeof(map), off);
	if (!right_checksum)
		return;
	crc = crc32c(crc, map, bytes);
	d.bg_block_bitmap_csum_lo = cpu_to_le16((uint16_t)crc);
	d.bg_block_bitmap_csum_hi = cpu_to_le16((uint16_t)(crc >> 16));
	raw_write_desc(m, 0, &d);
}

/* The blocks of group 0 are nobody's while it is open. */
static void check_group_0_left_alone(struct img *m)
{
	static struct held held;
	struct store_open_error err;
	struct inode *i;

	CHECK_OK(raw_open(m, NULL, &err));
	i = new_file(m, "f");
	while (take(i, &(struct alloc_req){ .count = 300, .flags = ALLOC_META }, &held) == 0)
		CHECK_NE(store_group_of(m->s, held.pblk[held.n - 1]), 0);
	CHECK_EQ(m->s->corruptions, 1);
	give_back(i, &held);
	img_put(i);
	CHECK_OK(store_close(m->s));
}

TEST(test_balloc__counts_alone_prove_no_bitmap)
{
	struct inode *root;
	struct map_run run;
	struct img m;

	img_make(&m, OPTIONS " -O ^flex_bg", SIZE);
	img_open(&m);
	root = img_root(&m);
	CHECK_OK(map_lookup(root, 0, 1, &run));
	img_put(root);
	img_close(&m);
	CHECK_LT(run.pblk, 2040);
	swap_bits(&m, (uint32_t)run.pblk, false);
	check_group_0_left_alone(&m);
	img_make(&m, OPTIONS " -O ^flex_bg", SIZE);
	swap_bits(&m, 0, true); /* the superblock */
	check_group_0_left_alone(&m);
}

struct worker {
	pthread_t thread;
	struct img *m;
	uint32_t id;
	struct held held;
};

static void *hammer(void *arg)
{
	struct worker *w = arg;
	char name[16];
	struct inode *i;
	uint32_t round, seed = w->id * 2654435761u + 1;

	snprintf(name, sizeof(name), "w%u", w->id);
	i = new_file(w->m, name);
	for (round = 0; round < 300; round++) {
		struct alloc_req req = { .lblk = round * 8 };
		int ret;

		seed = seed * 1664525u + 1013904223u;
		req.count = 1 + seed / 65536 % 40;
		if (w->held.n)
			req.goal = w->held.pblk[w->held.n - 1] + w->held.count[w->held.n - 1];
		ret = take(i, &req, &w->held);
		if (ret)
			CHECK_EQ(ret, -ENOSPC);
		if (ret || seed % 97 == 0)
			give_back(i, &w->held);
	}
	balloc_release_resv(i);
	img_put(i);
	return NULL;
}

/* Two owners of one block would show as a freed block that is free already. */
TEST(test_balloc__serves_threads_without_sharing_a_block)
{
	static struct worker w[THREADS];
	struct inode *i;
	uint64_t held = 0, before, k;
	struct img m;
	uint32_t t;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	i = new_file(&m, "first");
	rwlock_unwrite(&i->lock);
	before = free_blocks(&m);
	for (t = 0; t < THREADS; t++) {
		w[t].m = &m;
		w[t].id = t;
		CHECK_EQ(pthread_create(&w[t].thread, NULL, hammer, &w[t]), 0);
	}
	for (t = 0; t < THREADS; t++)
		CHECK_EQ(pthread_join(w[t].thread, NULL), 0);
	for (t = 0; t < THREADS; t++) {
		for (k = 0; k < w[t].held.n; k++)
			held += w[t].held.count[k];
	}
	CHECK_EQ(free_blocks(&m), before - held);
	rwlock_write(&i->lock);
	for (t = 0; t < THREADS; t++)
		give_back(i, &w[t].held);
	img_put(i);
	CHECK_EQ(free_blocks(&m), before);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_balloc_trim__gives_back_only_free_blocks)
{
	static struct held held;
	uint64_t trimmed, again;
	struct inode *i;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	i = new_file(&m, "f");
	CHECK_OK(take(i, &(struct alloc_req){ .count = 100 }, &held));
	sync_without(i);
	CHECK_OK(balloc_trim(m.s, 0, UINT64_MAX, 0, &trimmed));
	CHECK_EQ(trimmed, free_blocks(&m) * 4096);
	CHECK_OK(balloc_trim(m.s, 0, UINT64_MAX, 1 << 20, &again));
	CHECK_LE(again, trimmed);
	CHECK_ERR(balloc_trim(m.s, 1ull << 40, 4096, 0, &again), -EINVAL);
	give_back(i, &held);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}
