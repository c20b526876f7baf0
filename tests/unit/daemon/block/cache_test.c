// SPDX-License-Identifier: GPL-2.0-only
/* The buffer cache: one buffer per block, caps, forgetting, concurrent use. */
#include "daemon/block/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/test.h"

#define BLOCK 1024u
#define BLOCKS 4096u

/* A memory device that fails or delays reads of one block. */
struct test_bdev {
	struct bdev bdev;
	struct bdev *mem;
	_Atomic uint64_t bad_block; /* + 1; 0 = none */
	_Atomic uint32_t reads;
	_Atomic bool slow;
};

static int test_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct test_bdev *t = container_of(b, struct test_bdev, bdev);

	atomic_fetch_add(&t->reads, 1);
	if (atomic_load(&t->slow))
		usleep(500);
	if (atomic_load(&t->bad_block) == off / BLOCK + 1)
		return -EIO;
	return bdev_readv(t->mem, iov, iovcnt, off);
}

static const struct bdev_ops test_ops = { .readv = test_readv };

static struct cache *make_cache(struct test_bdev *t, uint32_t bufs_max)
{
	struct cache *c;
	uint64_t i;

	CHECK_OK(bdev_open_mem(BLOCKS * BLOCK, &t->mem));
	bdev_init(&t->bdev, &test_ops, BLOCKS * BLOCK);
	for (i = 0; i < BLOCKS; i++)
		CHECK_OK(bdev_write(t->mem, &i, sizeof(i), i * BLOCK));
	CHECK_OK(cache_new(&t->bdev, BLOCK, bufs_max, &c));
	return c;
}

static void free_cache(struct test_bdev *t, struct cache *c)
{
	cache_free(c);
	bdev_close(t->mem);
}

static uint64_t first_word(const struct buf *b)
{
	uint64_t word;

	memcpy(&word, b->data, sizeof(word));
	return word;
}

TEST(test_buf_read__reads_once_and_finds_again)
{
	struct test_bdev t = { 0 };
	struct cache *c = make_cache(&t, 64);
	struct buf *a, *b;

	CHECK_PTR_EQ(buf_find(c, 5), NULL);
	CHECK_OK(buf_read(c, 5, &a));
	CHECK_EQ(first_word(a), 5);
	CHECK(!buf_verified(a));
	buf_set_verified(a);
	CHECK_OK(buf_read(c, 5, &b));
	CHECK_PTR_EQ(a, b);
	CHECK_EQ(t.reads, 1);
	buf_put(a);
	buf_put(b);
	a = buf_find(c, 5);
	CHECK(a != NULL && buf_verified(a));
	buf_put(a);
	CHECK_ERR(buf_read(c, BLOCKS, &a), -EUCLEAN);
	CHECK_ERR(buf_read(c, UINT64_MAX, &a), -EUCLEAN);
	CHECK_ERR(buf_get_new(c, BLOCKS, &a), -EUCLEAN);
	free_cache(&t, c);
}

TEST(test_buf_read__failure_leaves_nothing_behind)
{
	struct test_bdev t = { .bad_block = 8 };
	struct cache *c = make_cache(&t, 64);
	struct buf *b;

	CHECK_ERR(buf_read(c, 7, &b), -EIO);
	CHECK_PTR_EQ(buf_find(c, 7), NULL);
	t.bad_block = 0;
	CHECK_OK(buf_read(c, 7, &b));
	CHECK_EQ(first_word(b), 7);
	buf_put(b);
	free_cache(&t, c);
}

TEST(test_cache__keeps_to_its_cap_unless_all_is_pinned)
{
	struct test_bdev t = { 0 };
	struct cache *c = make_cache(&t, CACHE_BUFS_MIN);
	struct buf *pinned[100];
	struct cache_stats stats;
	struct buf *b;
	uint64_t i;

	for (i = 0; i < 1000; i++) {
		CHECK_OK(buf_read(c, i, &b));
		CHECK_EQ(first_word(b), i);
		buf_put(b);
	}
	cache_get_stats(c, &stats);
	CHECK_EQ(stats.bufs, CACHE_BUFS_MIN);
	CHECK_EQ(stats.misses, 1000);
	CHECK_EQ(stats.evictions, 1000 - CACHE_BUFS_MIN);
	for (i = 0; i < 100; i++)
		CHECK_OK(buf_read(c, i, &pinned[i]));
	for (i = 0; i < 100; i++) {
		CHECK_EQ(first_word(pinned[i]), i);
		buf_put(pinned[i]);
	}
	for (i = 1000; i < 2000; i++) {
		CHECK_OK(buf_read(c, i, &b));
		buf_put(b);
	}
	cache_get_stats(c, &stats);
	CHECK_EQ(stats.bufs, CACHE_BUFS_MIN);
	free_cache(&t, c);
}

TEST(test_cache__used_buffers_outlive_a_scan)
{
	struct test_bdev t = { 0 };
	struct cache *c = make_cache(&t, 16);
	struct buf *b;
	uint64_t i;

	for (i = 100; i < 1000; i++) {
		CHECK_OK(buf_read(c, i, &b));
		buf_put(b);
		CHECK_OK(buf_read(c, 1, &b));
		buf_put(b);
	}
	CHECK_EQ(t.reads, 901);
	free_cache(&t, c);
}

TEST(test_buf_get_new__is_zeroed_and_unverified)
{
	static const uint8_t zeros[BLOCK];
	struct test_bdev t = { 0 };
	struct cache *c = make_cache(&t, 64);
	struct buf *b;

	CHECK_OK(buf_get_new(c, 9, &b));
	CHECK_MEM_EQ(b->data, zeros, BLOCK);
	CHECK_EQ(t.reads, 0);
	b->data[0] = 1;
	buf_set_verified(b);
	buf_put(b);
	CHECK_OK(buf_get_new(c, 9, &b));
	CHECK_MEM_EQ(b->data, zeros, BLOCK);
	CHECK(!buf_verified(b));
	buf_put(b);
	free_cache(&t, c);
}

TEST(test_buf_get_new__is_the_one_buffer_of_its_block)
{
	struct test_bdev t = { 0 };
	struct cache *c = make_cache(&t, 64);
	struct buf *old, *b, *found;

	CHECK_OK(buf_read(c, 9, &old));
	CHECK_OK(buf_get_new(c, 9, &b));
	CHECK_PTR_EQ(b, old);
	found = buf_find(c, 9);
	CHECK_PTR_EQ(found, old);
	buf_put(found);
	buf_put(b);
	buf_put(old);
	free_cache(&t, c);
}

TEST(test_buf_forget__pinned_buffer_is_never_found_again)
{
	struct test_bdev t = { 0 };
	struct cache *c = make_cache(&t, 64);
	struct buf *old, *b;

	CHECK_OK(buf_read(c, 3, &old));
	old->data[0] = 99;
	buf_forget(c, 3);
	buf_forget(c, 4);
	CHECK(atomic_load(&old->flags) & BUF_FORGOTTEN);
	CHECK_PTR_EQ(buf_find(c, 3), NULL);
	CHECK_OK(buf_read(c, 3, &b));
	CHECK(b != old);
	CHECK_EQ(first_word(b), 3);
	buf_put(old);
	buf_put(b);
	buf_forget(c, 3);
	CHECK_PTR_EQ(buf_find(c, 3), NULL);
	free_cache(&t, c);
}

static struct cache *shared;

static void *same_block_reader(void *arg)
{
	struct buf *b;
	int err = buf_read(shared, 42, &b);

	(void)arg;
	if (!err) {
		CHECK_EQ(first_word(b), 42);
		buf_put(b);
	}
	return (void *)(intptr_t)err;
}

static void read_together(int want)
{
	pthread_t threads[8];
	void *result;
	int i;

	for (i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, same_block_reader, NULL), 0);
	for (i = 0; i < 8; i++) {
		CHECK_EQ(pthread_join(threads[i], &result), 0);
		CHECK_EQ((intptr_t)result, want);
	}
}

TEST(test_buf_read__concurrent_misses_read_once)
{
	struct test_bdev t = { .slow = true };

	shared = make_cache(&t, 64);
	read_together(0);
	CHECK_EQ(t.reads, 1);
	free_cache(&t, shared);
}

TEST(test_buf_read__concurrent_failures_reach_everybody)
{
	struct test_bdev t = { .slow = true, .bad_block = 43 };

	shared = make_cache(&t, 64);
	read_together(-EIO);
	CHECK_PTR_EQ(buf_find(shared, 42), NULL);
	free_cache(&t, shared);
}

static void *random_user(void *arg)
{
	uint64_t x = (uintptr_t)arg * 7919 + 1;
	int i;

	for (i = 0; i < 20000; i++) {
		uint64_t pblk = (x = x * 6364136223846793005ULL + 1) >> 40 & 127;
		struct buf *b;

		if (i % 64 == 0) {
			buf_forget(shared, pblk);
			continue;
		}
		CHECK_OK(buf_read(shared, pblk, &b));
		CHECK_EQ(b->pblk, pblk);
		CHECK_EQ(first_word(b), pblk);
		buf_pin(b);
		buf_put(b);
		buf_put(b);
	}
	return NULL;
}

TEST(test_cache__concurrent_reads_evictions_and_forgets)
{
	struct test_bdev t = { 0 };
	pthread_t threads[4];
	uintptr_t i;

	shared = make_cache(&t, 48);
	for (i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, random_user, (void *)i), 0);
	for (i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	free_cache(&t, shared);
}
