/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rings as drivers make them, and as attackers do: loops, tables in tables, numbers and addresses out of range, indices
 * that jump, memory that changes. A ring of 8 entries in a guest of two regions with a gap between them.
 */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/lib/test.h"
#include "vhost/memory.h"
#include "vhost/vring.h"

#define NUM 8u
#define LOW_SIZE 0x10000u
#define HIGH_GPA 0x100000u
#define HIGH_SIZE 0x1000u
#define UVA 0x7f0000000000ull
#define HIGH_UVA 0x7e0000000000ull
/* Where things are in the lower region. */
#define DESC_AT 0x0u
#define AVAIL_AT 0x1000u
#define USED_AT 0x2000u
#define TABLE_AT 0x3000u
#define DATA_AT 0x8000u

static struct memory memory;
static struct vring_dev ring;
static struct vring_chain chain;
static uint8_t *low;

static struct vring_desc *desc(void)
{
	return (struct vring_desc *)(void *)(low + DESC_AT);
}

static struct vring_desc *table(void)
{
	return (struct vring_desc *)(void *)(low + TABLE_AT);
}

static uint16_t *avail(void)
{
	return (uint16_t *)(void *)(low + AVAIL_AT); /* flags, idx, ring[], used_event */
}

static uint16_t *used(void)
{
	return (uint16_t *)(void *)(low + USED_AT); /* flags, idx, {id, len}[], avail_event */
}

static void start(bool event_idx)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct memory_share share[2] = {
		{ .gpa = 0, .size = LOW_SIZE, .uva = UVA, .fd = fd },
		{ .gpa = HIGH_GPA,
		  .size = HIGH_SIZE,
		  .uva = HIGH_UVA,
		  .offset = LOW_SIZE,
		  .fd = fd },
	};
	uint64_t len;

	memory_clear(&memory);
	CHECK_OK(ftruncate(fd, LOW_SIZE + HIGH_SIZE) ? -errno : 0);
	CHECK_OK(memory_add(&memory, &share[0]));
	CHECK_OK(memory_add(&memory, &share[1]));
	low = memory_at(&memory, 0, LOW_SIZE, &len);
	ring = (struct vring_dev){ .num = NUM,
				   .desc_uva = UVA + DESC_AT,
				   .avail_uva = UVA + AVAIL_AT,
				   .used_uva = UVA + USED_AT,
				   .event_idx = event_idx,
				   .indirect = true };
	CHECK_OK(vring_map(&ring, &memory));
}

static void set(struct vring_desc *d, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	*d = (struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

static void offer(uint16_t head)
{
	avail()[2 + avail()[1] % NUM] = head;
	avail()[1]++;
}

static int walk(uint16_t head)
{
	return vring_walk(&ring, &memory, head, &chain);
}

/* ---- what drivers do ------------------------------------------------------ */

TEST(test_vring_walk__chain_of_three)
{
	uint16_t head;

	start(false);
	set(&desc()[5], DATA_AT, 40, VRING_DESC_F_NEXT, 2);
	set(&desc()[2], DATA_AT + 100, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 7);
	set(&desc()[7], HIGH_GPA, 4096, VRING_DESC_F_WRITE, 0);
	CHECK_EQ(vring_take(&ring, &head), 0);
	offer(5);
	CHECK_EQ(vring_take(&ring, &head), 1);
	CHECK_EQ(head, 5);
	CHECK_EQ(vring_take(&ring, &head), 0);
	CHECK_OK(walk(5));
	CHECK_EQ(chain.in_count, 1);
	CHECK_EQ(chain.in_len, 40);
	CHECK_EQ(chain.out_count, 2);
	CHECK_EQ(chain.out_len, 16 + 4096);
	CHECK_PTR_EQ(chain.iov[0].iov_base, low + DATA_AT);
	CHECK_EQ(chain.iov[2].iov_len, 4096);
	vring_put(&ring, 5, 99);
	CHECK_EQ(used()[1], 1);
	CHECK_EQ(used()[2], 5);
	CHECK_EQ(used()[4], 99);
}

TEST(test_vring_walk__indirect_table)
{
	start(false);
	set(&desc()[1], TABLE_AT, 3 * 16, VRING_DESC_F_INDIRECT, 77);
	set(&table()[0], DATA_AT, 8, VRING_DESC_F_NEXT, 2);
	set(&table()[2], DATA_AT + 8, 8, VRING_DESC_F_NEXT, 1);
	set(&table()[1], DATA_AT + 16, 32, VRING_DESC_F_WRITE, 0);
	CHECK_OK(walk(1));
	CHECK_EQ(chain.in_count, 2);
	CHECK_EQ(chain.in_len, 16);
	CHECK_EQ(chain.out_len, 32);
	ring.indirect = false;
	CHECK_ERR(walk(1), -EPROTO);
}

TEST(test_vring_walk__buffer_over_two_regions_is_two_pieces)
{
	struct memory_share next = { .gpa = LOW_SIZE, .size = 4096, .uva = 0x1000 };
	uint64_t len;

	start(false);
	next.fd = memfd_create("next", MFD_CLOEXEC);
	CHECK_OK(ftruncate(next.fd, 4096) ? -errno : 0);
	CHECK_OK(memory_add(&memory, &next));
	set(&desc()[0], LOW_SIZE - 10, 30, 0, 0);
	CHECK_OK(walk(0));
	CHECK_EQ(chain.in_count, 2);
	CHECK_EQ(chain.in_len, 30);
	CHECK_EQ(chain.iov[0].iov_len, 10);
	CHECK_PTR_EQ(chain.iov[1].iov_base, memory_at(&memory, LOW_SIZE, 1, &len));
	/* A table across the border is read in two parts. */
	set(&desc()[1], LOW_SIZE - 24, 48, VRING_DESC_F_INDIRECT, 0);
	memset(low + LOW_SIZE - 24, 0, 24);
	set((struct vring_desc *)(void *)(low + LOW_SIZE - 24), DATA_AT, 5, VRING_DESC_F_NEXT, 1);
	CHECK_OK(walk(1));
	CHECK_EQ(chain.in_len, 5);
}

TEST(test_vring_take__wraps_around)
{
	uint16_t head;

	start(false);
	ring.avail_next = 65530;
	avail()[1] = 65530;
	CHECK_OK(vring_map(&ring, &memory));
	for (unsigned i = 0; i < 40; i++) {
		offer((uint16_t)(i % NUM));
		CHECK_EQ(vring_take(&ring, &head), 1);
		CHECK_EQ(head, i % NUM);
		vring_put(&ring, head, 1);
	}
	CHECK_EQ(vring_take(&ring, &head), 0);
	CHECK_EQ(ring.avail_next, (uint16_t)(65530 + 40));
	CHECK_EQ(used()[1], 40);
}

TEST(test_vring_needs_call__flags)
{
	start(false);
	vring_put(&ring, 0, 0);
	CHECK(vring_needs_call(&ring));
	avail()[0] = VRING_AVAIL_F_NO_INTERRUPT;
	CHECK(!vring_needs_call(&ring));
	vring_ignore_kicks(&ring);
	CHECK_EQ(used()[0], VRING_USED_F_NO_NOTIFY);
	CHECK(!vring_pending(&ring));
	CHECK(!vring_listen(&ring));
	CHECK_EQ(used()[0], 0);
	offer(0);
	CHECK(vring_pending(&ring));
	CHECK(vring_listen(&ring));
}

TEST(test_vring_needs_call__event_index)
{
	uint16_t *used_event, *avail_event;
	uint16_t head;

	start(true);
	used_event = &avail()[2 + NUM];
	avail_event = &used()[2 + 4 * NUM];
	*used_event = 2;
	/* Nothing is known of what was said before. */
	vring_put(&ring, 0, 0);
	CHECK(vring_needs_call(&ring));
	vring_put(&ring, 0, 0);
	CHECK(!vring_needs_call(&ring));
	vring_put(&ring, 0, 0);
	CHECK(vring_needs_call(&ring));
	vring_put(&ring, 0, 0);
	CHECK(!vring_needs_call(&ring));
	offer(0);
	CHECK_EQ(vring_take(&ring, &head), 1);
	CHECK(!vring_listen(&ring));
	CHECK_EQ(*avail_event, 1);
}

/* ---- what attackers do ---------------------------------------------------- */

TEST(test_vring_take__index_that_jumps_breaks_the_ring)
{
	uint16_t head;

	start(false);
	avail()[1] = NUM;
	CHECK_EQ(vring_take(&ring, &head), 1);
	start(false);
	avail()[1] = NUM + 1;
	CHECK_ERR(vring_take(&ring, &head), -EPROTO);
	CHECK_ERR(vring_take(&ring, &head), -EPROTO);
	/* Backwards is a jump, too. */
	avail()[1] = 3;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(vring_take(&ring, &head), 1);
	avail()[1] = 2;
	CHECK_ERR(vring_take(&ring, &head), -EPROTO);
}

TEST(test_vring_take__index_is_believed_once)
{
	uint16_t head;

	start(false);
	avail()[1] = 2;
	CHECK_EQ(vring_take(&ring, &head), 1);
	avail()[1] = 60000; /* while the second is still owed */
	CHECK_EQ(vring_take(&ring, &head), 1);
	CHECK_ERR(vring_take(&ring, &head), -EPROTO);
}

TEST(test_vring_take__head_out_of_range)
{
	uint16_t head = 4711;

	start(false);
	offer(NUM);
	CHECK_ERR(vring_take(&ring, &head), -EPROTO);
	CHECK_EQ(head, 4711);
	CHECK_ERR(walk(NUM), -EPROTO);
	CHECK_ERR(walk(65535), -EPROTO);
}

TEST(test_vring_walk__loops_end)
{
	start(false);
	set(&desc()[0], DATA_AT, 1, VRING_DESC_F_NEXT, 0);
	CHECK_ERR(walk(0), -EPROTO);
	set(&desc()[1], DATA_AT, 1, VRING_DESC_F_NEXT, 2);
	set(&desc()[2], DATA_AT, 1, VRING_DESC_F_NEXT, 1);
	CHECK_ERR(walk(1), -EPROTO);
	set(&desc()[3], TABLE_AT, 32, VRING_DESC_F_INDIRECT, 0);
	set(&table()[0], DATA_AT, 1, VRING_DESC_F_NEXT, 1);
	set(&table()[1], DATA_AT, 1, VRING_DESC_F_NEXT, 0);
	CHECK_ERR(walk(3), -EPROTO);
}

TEST(test_vring_walk__next_out_of_range)
{
	start(false);
	set(&desc()[0], DATA_AT, 1, VRING_DESC_F_NEXT, NUM);
	CHECK_ERR(walk(0), -EPROTO);
	set(&desc()[0], DATA_AT, 1, VRING_DESC_F_NEXT, 65535);
	CHECK_ERR(walk(0), -EPROTO);
	set(&desc()[1], TABLE_AT, 16, VRING_DESC_F_INDIRECT, 0);
	set(&table()[0], DATA_AT, 1, VRING_DESC_F_NEXT, 1);
	CHECK_ERR(walk(1), -EPROTO);
}

TEST(test_vring_walk__addresses_out_of_range)
{
	static const uint64_t bad[] = { LOW_SIZE,   HIGH_GPA - 1,	 HIGH_GPA + HIGH_SIZE,
					UINT64_MAX, UINT64_MAX - 0xffff, 1ull << 63 };

	start(false);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		set(&desc()[0], DATA_AT, 24, VRING_DESC_F_NEXT, 1);
		set(&desc()[1], bad[i], 16, VRING_DESC_F_WRITE, 0);
		CHECK_ERR(walk(0), -EFAULT);
		/* What came before it is there to be looked at. */
		CHECK_EQ(chain.in_len, 24);
		CHECK_EQ(chain.out_len, 0);
		set(&desc()[2], bad[i], 32, VRING_DESC_F_INDIRECT, 0);
		CHECK_ERR(walk(2), -EFAULT);
	}
	/* Where an answer belongs is known, whatever is wrong before it. */
	set(&desc()[0], DATA_AT, 24, VRING_DESC_F_NEXT, 1);
	set(&desc()[1], LOW_SIZE, 8, VRING_DESC_F_NEXT, 2);
	set(&desc()[2], DATA_AT, 16, VRING_DESC_F_WRITE, 0);
	CHECK_ERR(walk(0), -EFAULT);
	CHECK_EQ(chain.in_len, 24);
	CHECK_EQ(chain.out_len, 16);
	/* Half of it is there. */
	set(&desc()[0], LOW_SIZE - 8, 16, VRING_DESC_F_WRITE, 0);
	CHECK_ERR(walk(0), -EFAULT);
	CHECK_EQ(chain.out_len, 8);
}

TEST(test_vring_walk__lengths_zero_and_huge)
{
	start(false);
	set(&desc()[0], UINT64_MAX, 0, VRING_DESC_F_NEXT, 1);
	set(&desc()[1], DATA_AT, 7, 0, 0);
	CHECK_OK(walk(0));
	CHECK_EQ(chain.in_count, 1);
	CHECK_EQ(chain.in_len, 7);
	set(&desc()[0], DATA_AT, UINT32_MAX, 0, 0);
	CHECK_ERR(walk(0), -EFAULT);
	set(&desc()[0], UINT64_MAX - 1, UINT32_MAX, 0, 0);
	CHECK_ERR(walk(0), -EFAULT);
	/* Tables: empty, not a multiple, longer than any. */
	for (uint32_t len = 0; len < 40; len++) {
		set(&desc()[0], TABLE_AT, len, VRING_DESC_F_INDIRECT, 0);
		set(&table()[0], DATA_AT, 1, 0, 0);
		CHECK_ERR(walk(0), len && len % 16 == 0 ? 0 : -EPROTO);
	}
	set(&desc()[0], TABLE_AT, (VRING_NUM_MAX + 1) * 16, VRING_DESC_F_INDIRECT, 0);
	CHECK_ERR(walk(0), -EPROTO);
}

TEST(test_vring_walk__table_in_a_table)
{
	start(false);
	set(&desc()[0], TABLE_AT, 32, VRING_DESC_F_INDIRECT, 0);
	set(&table()[0], TABLE_AT, 16, VRING_DESC_F_INDIRECT, 0);
	CHECK_ERR(walk(0), -EPROTO);
	set(&desc()[0], TABLE_AT, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	CHECK_ERR(walk(0), -EPROTO);
	/* A table behind the head of a chain. */
	set(&desc()[0], DATA_AT, 1, VRING_DESC_F_NEXT, 1);
	set(&desc()[1], TABLE_AT, 32, VRING_DESC_F_INDIRECT, 0);
	CHECK_ERR(walk(0), -EPROTO);
}

TEST(test_vring_walk__readable_after_writable)
{
	start(false);
	set(&desc()[0], DATA_AT, 4, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	set(&desc()[1], DATA_AT, 4, 0, 0);
	CHECK_ERR(walk(0), -EPROTO);
}

TEST(test_vring_walk__pieces_have_a_limit)
{
	int fd = memfd_create("many", MFD_CLOEXEC);

	start(false);
	CHECK_OK(ftruncate(fd, 4096) ? -errno : 0);
	/* 250 neighbours of one byte, and a table of 1024 descriptors of all of them. */
	for (uint64_t i = 0; i < 250; i++) {
		struct memory_share s = {
			.gpa = 0x200000 + i, .size = 1, .uva = 0x5000 + 2 * i, .offset = i, .fd = fd
		};

		CHECK_OK(memory_add(&memory, &s));
	}
	for (uint16_t i = 0; i < VRING_NUM_MAX; i++)
		set(&table()[i], 0x200000, 250, i + 1u < VRING_NUM_MAX ? VRING_DESC_F_NEXT : 0,
		    (uint16_t)(i + 1));
	set(&desc()[0], TABLE_AT, VRING_NUM_MAX * 16, VRING_DESC_F_INDIRECT, 0);
	CHECK_ERR(walk(0), -EFAULT);
	CHECK_EQ(chain.in_count, VRING_IOV_MAX);
	set(&desc()[0], TABLE_AT, 4 * 16, VRING_DESC_F_INDIRECT, 0);
	table()[3].flags = 0;
	CHECK_OK(walk(0));
	CHECK_EQ(chain.in_count, 1000);
}

TEST(test_vring_map__refuses_rings_that_are_none)
{
	static const uint32_t bad[] = { 0, 3, 7, 1000, VRING_NUM_MAX * 2, 1u << 31, UINT32_MAX };

	start(false);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ring.num = bad[i];
		CHECK_ERR(vring_map(&ring, &memory), -EINVAL);
	}
	ring.num = NUM;
	ring.desc_uva = UVA + LOW_SIZE - 16;
	CHECK_ERR(vring_map(&ring, &memory), -EFAULT);
	ring.desc_uva = UVA + 8;
	CHECK_ERR(vring_map(&ring, &memory), -EINVAL);
	ring.desc_uva = UVA + DESC_AT;
	ring.used_uva = UVA + USED_AT + 2;
	CHECK_ERR(vring_map(&ring, &memory), -EINVAL);
	ring.used_uva = UINT64_MAX - 3;
	CHECK_ERR(vring_map(&ring, &memory), -EFAULT);
	ring.used_uva = UVA + USED_AT;
	ring.avail_uva = UVA + AVAIL_AT + 1;
	CHECK_ERR(vring_map(&ring, &memory), -EINVAL);
	CHECK(!ring.desc);
}

/* Whatever a table holds, a walk ends and everything it found is the guest's. */
TEST(test_vring_walk__random_tables_stay_inside)
{
	uint64_t len;
	uint8_t *high;

	start(false);
	high = memory_at(&memory, HIGH_GPA, 1, &len);
	for (unsigned round = 0; round < 200000; round++) {
		struct vring_desc *d = round & 1 ? desc() : table();
		int ret;

		for (unsigned i = 0; i < NUM; i++)
			set(&d[i],
			    test_random_below(3) ? test_random_below(2 * LOW_SIZE) : test_random(),
			    (uint32_t)(test_random_below(3) ? test_random_below(5000) :
							      test_random()),
			    (uint16_t)test_random_below(8), (uint16_t)test_random_below(NUM + 1));
		if (!(round & 1))
			set(&desc()[0], TABLE_AT, NUM * 16, VRING_DESC_F_INDIRECT, 0);
		ret = walk((uint16_t)test_random_below(NUM));
		CHECK(ret == 0 || ret == -EPROTO || ret == -EFAULT);
		for (uint32_t i = 0; i < chain.in_count + chain.out_count; i++) {
			const uint8_t *at = chain.iov[i].iov_base;
			size_t n = chain.iov[i].iov_len;

			CHECK((at >= low && at + n <= low + LOW_SIZE) ||
			      (at >= high && at + n <= high + HIGH_SIZE));
		}
	}
}
