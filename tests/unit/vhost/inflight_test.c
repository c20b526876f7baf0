/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The record of what is in flight, cut off after each of its stores: what the next life makes of it. And records that lie.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/lib/test.h"
#include "vhost/device.h"
#include "vhost/inflight.h"

#define NUM 8u

static struct inflight area;
static struct inflight_ring ring;
static uint16_t heads[VRING_NUM_MAX];

static void start(void)
{
	struct inflight_area described;
	int fd;

	inflight_unmap(&area);
	CHECK_OK(inflight_new(2, NUM, &described, &fd));
	CHECK_EQ(described.size, inflight_size(2, NUM));
	CHECK_OK(inflight_map(&area, fd, &described));
	(void)close(fd);
	CHECK_OK(inflight_ring_open(&area, 1, NUM, &ring));
}

/* What another process finds. */
static int next_life(uint16_t used_idx)
{
	CHECK_OK(inflight_ring_open(&area, 1, NUM, &ring));
	return inflight_ring_recover(&ring, used_idx, heads);
}

TEST(test_inflight__an_unused_record_holds_nothing)
{
	start();
	CHECK_EQ(ring.head->version, INFLIGHT_VERSION);
	CHECK_EQ(ring.head->desc_num, NUM);
	CHECK_EQ(next_life(0), 0);
	inflight_unmap(&area);
}

TEST(test_inflight__what_was_taken_comes_in_its_order)
{
	start();
	inflight_take(&ring, 5);
	inflight_take(&ring, 2);
	inflight_take(&ring, 7);
	inflight_put(&ring, 2);
	inflight_put_done(&ring, 2, 1);
	CHECK_EQ(next_life(1), 2);
	CHECK_EQ(heads[0], 5);
	CHECK_EQ(heads[1], 7);
	/* Those that are taken in this life come after. */
	inflight_take(&ring, 0);
	CHECK_EQ(next_life(1), 3);
	CHECK_EQ(heads[2], 0);
	inflight_unmap(&area);
}

TEST(test_inflight__died_before_the_index_was_raised)
{
	start();
	inflight_take(&ring, 3);
	inflight_put(&ring, 3);
	CHECK_EQ(next_life(0), 1);
	CHECK_EQ(heads[0], 3);
	inflight_unmap(&area);
}

TEST(test_inflight__died_after_the_index_was_raised)
{
	start();
	inflight_take(&ring, 3);
	inflight_take(&ring, 4);
	inflight_put(&ring, 3);
	CHECK_EQ(next_life(1), 1);
	CHECK_EQ(heads[0], 4);
	CHECK_EQ(ring.head->used_idx, 1);
	/* Again: it was finished the first time. */
	CHECK_EQ(next_life(1), 1);
	/* Half of what follows the index: the mark is gone, used_idx is old. */
	inflight_put(&ring, 4);
	ring.head->desc[4].taken = 0;
	CHECK_EQ(next_life(2), 0);
	CHECK_EQ(ring.head->used_idx, 2);
	inflight_unmap(&area);
}

/* As the protocol allows: several with one raise of the index. */
TEST(test_inflight__died_in_a_batch)
{
	start();
	for (uint16_t i = 0; i < 6; i++)
		inflight_take(&ring, i);
	inflight_put(&ring, 1);
	inflight_put_done(&ring, 1, 1);
	inflight_put(&ring, 0);
	inflight_put(&ring, 5);
	inflight_put(&ring, 2);
	CHECK_EQ(next_life(4), 2);
	CHECK_EQ(heads[0], 3);
	CHECK_EQ(heads[1], 4);
	inflight_unmap(&area);
}

TEST(test_inflight__index_wraps)
{
	start();
	ring.head->used_idx = 0xffff;
	inflight_take(&ring, 6);
	inflight_put(&ring, 6);
	CHECK_EQ(next_life(0), 0);
	CHECK_EQ(ring.head->used_idx, 0);
	inflight_unmap(&area);
}

TEST(test_inflight__lies_are_refused)
{
	start();
	CHECK_ERR(next_life(NUM + 1), -EPROTO);
	start();
	ring.head->last_batch_head = NUM;
	CHECK_ERR(next_life(1), -EPROTO);
	start();
	ring.head->last_batch_head = 1;
	ring.head->desc[1].next = 0xffff;
	CHECK_ERR(next_life(2), -EPROTO);
	/* A list that is a loop ends with its length. */
	start();
	ring.head->last_batch_head = 1;
	ring.head->desc[1].next = 1;
	CHECK_EQ(next_life(NUM), 0);
	start();
	ring.head->version = 2;
	CHECK_ERR(inflight_ring_open(&area, 1, NUM, &ring), -EINVAL);
	start();
	CHECK_ERR(inflight_ring_open(&area, 1, NUM / 2, &ring), -EINVAL);
	CHECK_ERR(inflight_ring_open(&area, 2, NUM, &ring), -EINVAL);
	CHECK_ERR(inflight_ring_open(&area, 0, 2 * NUM, &ring), -EINVAL);
	inflight_unmap(&area);
}

TEST(test_inflight__areas_that_cannot_be_are_refused)
{
	struct inflight_area a, bad;
	struct inflight in = { .base = NULL };
	int fd, short_fd = memfd_create("short", MFD_CLOEXEC);

	CHECK_ERR(inflight_new(0, NUM, &a, &fd), -EINVAL);
	CHECK_ERR(inflight_new(DEVICE_QUEUES_MAX + 1, NUM, &a, &fd), -EINVAL);
	CHECK_ERR(inflight_new(1, 0, &a, &fd), -EINVAL);
	CHECK_ERR(inflight_new(1, VRING_NUM_MAX + 1, &a, &fd), -EINVAL);
	CHECK_OK(inflight_new(1, NUM, &a, &fd));
	CHECK_ERR(inflight_map(&in, short_fd, &a), -EINVAL);
	bad = a;
	bad.size--;
	CHECK_ERR(inflight_map(&in, fd, &bad), -EINVAL);
	bad = a;
	bad.offset = UINT64_MAX - 7;
	CHECK_ERR(inflight_map(&in, fd, &bad), -EINVAL);
	bad = a;
	bad.offset = 4;
	CHECK_ERR(inflight_map(&in, fd, &bad), -EINVAL);
	/* Sparse: as large as addresses go. */
	CHECK_OK(ftruncate(short_fd, (off_t)1 << 46) ? -errno : 0);
	bad = a;
	bad.offset = UINT64_C(1) << 45;
	CHECK_ERR(inflight_map(&in, short_fd, &bad), -EINVAL);
	bad = a;
	bad.size = UINT64_C(1) << 45;
	CHECK_ERR(inflight_map(&in, short_fd, &bad), -EINVAL);
	bad = a;
	bad.queues = 2;
	CHECK_ERR(inflight_map(&in, fd, &bad), -EINVAL);
	bad = a;
	bad.offset = 8;
	CHECK_ERR(inflight_map(&in, fd, &bad), -EINVAL);
	CHECK(!in.base);
	CHECK(!inflight_note(&in));
	/* Nobody can take it away under us. */
	CHECK(ftruncate(fd, 0) != 0);
	(void)close(fd);
	(void)close(short_fd);
}
