/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A ring entry's memory as the kernel fills and reads it: pieces of a request, replies in
 * place, and lengths that cannot be true.
 */
#include "daemon/dev/uring_entry.h"

#include <errno.h>
#include <string.h>

#include "daemon/proto/wire.h"
#include "tests/lib/test.h"

#define PAYLOAD 8192u

static struct uring_entry entry(void)
{
	struct uring_entry e;

	CHECK_OK(uring_entry_map(&e, PAYLOAD));
	return e;
}

static void request(struct uring_entry *e, uint32_t args, uint32_t payload)
{
	e->head->in.len = (uint32_t)sizeof(e->head->in) + args + payload;
	e->head->ring_ent_in_out.payload_sz = payload;
}

TEST(test_uring_entry_map__gives_the_kernel_the_same_pages)
{
	struct uring_entry e = entry();
	struct iovec memory[2];

	uring_entry_for_kernel(&e, memory);
	CHECK_EQ(memory[0].iov_len, sizeof(*e.head));
	CHECK_EQ(memory[1].iov_len, PAYLOAD);
	CHECK(memory[1].iov_base != e.payload);
	memcpy(memory[1].iov_base, "from the kernel", 16);
	CHECK_EQ(memcmp(e.payload, "from the kernel", 16), 0);
	uring_entry_reply(&e, 77, -EIO, NULL, 0);
	CHECK_EQ(((struct wire_uring_header *)memory[0].iov_base)->out.unique, 77);
	uring_entry_unmap(&e);
}

TEST(test_uring_entry_take_over__leaves_the_stuck_one_its_pages)
{
	struct uring_entry stuck = entry(), e;
	struct iovec before[2], after[2];

	uring_entry_for_kernel(&stuck, before);
	memset(before[1].iov_base, 's', PAYLOAD);
	CHECK_OK(uring_entry_take_over(&e, &stuck));
	/* What the kernel registered stands for other pages, which are new. */
	uring_entry_for_kernel(&e, after);
	CHECK(after[0].iov_base == before[0].iov_base && after[1].iov_base == before[1].iov_base);
	CHECK_EQ(e.payload[0], 0);
	memset(before[1].iov_base, 'n', PAYLOAD);
	CHECK_EQ(e.payload[PAYLOAD - 1], 'n');
	for (unsigned i = 0; i < PAYLOAD; i++)
		CHECK_EQ(stuck.payload[i], 's');
	memset(stuck.payload, 'x', PAYLOAD);
	CHECK_EQ(((uint8_t *)after[1].iov_base)[0], 'n');
	/* Its end takes nothing away from who came after, who may be taken over as well. */
	uring_entry_unmap(&stuck);
	CHECK_EQ(e.payload[0], 'n');
	CHECK_OK(uring_entry_take_over(&stuck, &e));
	uring_entry_unmap(&e);
	CHECK_EQ(((uint8_t *)after[1].iov_base)[0], 0);
	uring_entry_unmap(&stuck);
}

TEST(test_uring_entry_request__splits_header_arguments_and_payload)
{
	struct iovec in[URING_ENTRY_PIECES];
	struct uring_entry e = entry();

	request(&e, 40, 4096);
	CHECK_EQ(uring_entry_request(&e, in), 3);
	CHECK_EQ(in[0].iov_len, sizeof(struct fuse_in_header));
	CHECK(in[1].iov_base == e.head->op_in);
	CHECK_EQ(in[1].iov_len, 40);
	/* The payload of a WRITE begins on a page. */
	CHECK(in[2].iov_base == e.payload);
	CHECK_EQ((uintptr_t)in[2].iov_base % 4096, 0);
	CHECK_EQ(in[2].iov_len, 4096);
	uring_entry_unmap(&e);
}

TEST(test_uring_entry_request__leaves_out_what_is_empty)
{
	struct iovec in[URING_ENTRY_PIECES];
	struct uring_entry e = entry();

	request(&e, 0, 5);
	CHECK_EQ(uring_entry_request(&e, in), 2);
	CHECK(in[1].iov_base == e.payload);
	request(&e, 8, 0);
	CHECK_EQ(uring_entry_request(&e, in), 2);
	CHECK(in[1].iov_base == e.head->op_in);
	request(&e, 0, 0);
	CHECK_EQ(uring_entry_request(&e, in), 1);
	uring_entry_unmap(&e);
}

TEST(test_uring_entry_request__does_not_believe_lengths)
{
	struct iovec in[URING_ENTRY_PIECES];
	struct uring_entry e = entry();

	request(&e, 129, 0); /* more arguments than there is room for */
	CHECK_EQ(uring_entry_request(&e, in), 1);
	request(&e, 0, PAYLOAD + 1); /* more payload */
	CHECK_EQ(uring_entry_request(&e, in), 1);
	request(&e, 0, 0);
	e.head->ring_ent_in_out.payload_sz = 1; /* more than the whole */
	CHECK_EQ(uring_entry_request(&e, in), 1);
	e.head->ring_ent_in_out.payload_sz = UINT32_MAX;
	CHECK_EQ(uring_entry_request(&e, in), 1);
	e.head->in.len = 39; /* less than the header */
	e.head->ring_ent_in_out.payload_sz = 0;
	CHECK_EQ(uring_entry_request(&e, in), 1);
	CHECK_EQ(in[0].iov_len, sizeof(struct fuse_in_header));
	uring_entry_unmap(&e);
}

TEST(test_uring_entry_reply__puts_pieces_in_a_row)
{
	char first[] = "first", second[] = "second";
	struct iovec data[2] = { { first, 5 }, { second, 6 } };
	struct uring_entry e = entry();

	uring_entry_reply(&e, 77, 0, data, 2);
	CHECK_EQ(e.head->out.unique, 77);
	CHECK_EQ(e.head->out.error, 0);
	CHECK_EQ(e.head->out.len, sizeof(struct fuse_out_header) + 11);
	CHECK_EQ(e.head->ring_ent_in_out.payload_sz, 11);
	CHECK_MEM_EQ(e.payload, "firstsecond", 11);
	uring_entry_unmap(&e);
}

TEST(test_uring_entry_reply__takes_what_lies_there_already)
{
	struct uring_entry e = entry();
	struct iovec there = { e.payload, PAYLOAD }, behind = { e.payload + 1, 100 };

	memset(e.payload, 'x', PAYLOAD);
	e.payload[1] = 'y';
	uring_entry_reply(&e, 1, 0, &there, 1);
	CHECK_EQ(e.head->ring_ent_in_out.payload_sz, PAYLOAD);
	CHECK_EQ(e.payload[1], 'y');
	/* From elsewhere in the payload: the two overlap. */
	uring_entry_reply(&e, 1, 0, &behind, 1);
	CHECK_EQ(e.payload[0], 'y');
	CHECK_EQ(e.payload[99], 'x');
	uring_entry_unmap(&e);
}

TEST(test_uring_entry_reply__errors_carry_nothing)
{
	struct uring_entry e = entry();
	struct iovec data = { e.payload, 10 };

	uring_entry_reply(&e, 5, -ENOENT, &data, 1);
	CHECK_EQ(e.head->out.error, -ENOENT);
	CHECK_EQ(e.head->out.len, sizeof(struct fuse_out_header));
	CHECK_EQ(e.head->ring_ent_in_out.payload_sz, 0);
	data.iov_len = PAYLOAD + 1;
	uring_entry_reply(&e, 5, 0, &data, 1);
	CHECK_EQ(e.head->out.error, -EIO);
	CHECK_EQ(e.head->ring_ent_in_out.payload_sz, 0);
	uring_entry_unmap(&e);
}
