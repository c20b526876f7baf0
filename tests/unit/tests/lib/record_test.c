// SPDX-License-Identifier: GPL-2.0-only
/* The recording device: what a flush covers stays, the rest may be there in any part. */
#include "tests/lib/record.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/test.h"

#define SIZE 8192u
#define KEEP ((struct record_fate){ .how = FATE_KEEP })

static uint8_t zeros[SIZE], image[SIZE], ones[SIZE];

static struct record *fresh(void)
{
	memset(ones, 1, sizeof(ones));
	memset(image, 0, sizeof(image));
	return record_new(zeros, SIZE);
}

TEST(test_record__keeps_writes_and_flushes_in_order)
{
	struct record *r = fresh();
	struct bdev *b = record_bdev(r);

	record_tag(r, 7);
	CHECK_OK(bdev_write(b, ones, 1024, 512));
	CHECK_OK(bdev_flush(b));
	record_tag(r, 8);
	CHECK_OK(bdev_write_durable(b, ones, 512, 4096));
	CHECK_OK(bdev_discard(b, 0, 512));
	CHECK_EQ(record_count(r), 4);
	CHECK_EQ(record_at(r, 0)->kind, RECORD_WRITE);
	CHECK_EQ(record_at(r, 0)->off, 512);
	CHECK_EQ(record_at(r, 0)->len, 1024);
	CHECK_EQ(record_at(r, 0)->tag, 7);
	CHECK_EQ(record_at(r, 1)->kind, RECORD_FLUSH);
	CHECK_EQ(record_at(r, 2)->kind, RECORD_DURABLE);
	CHECK_EQ(record_at(r, 2)->tag, 8);
	CHECK_EQ(record_at(r, 3)->kind, RECORD_DISCARD);
	CHECK_EQ(record_now(r)[0], RECORD_GARBAGE);
	CHECK_MEM_EQ(record_before(r), zeros, SIZE);
	record_free(r);
}

TEST(test_record__widens_a_write_to_its_sectors)
{
	struct record *r = fresh();

	CHECK_OK(bdev_write(record_bdev(r), ones, 10, 100));
	CHECK_OK(bdev_write(record_bdev(r), ones, 10, 200));
	CHECK_EQ(record_at(r, 1)->off, 0);
	CHECK_EQ(record_at(r, 1)->len, 512);
	/* Only the second reached the medium: it carries the first. */
	record_apply(record_at(r, 1), KEEP, image);
	CHECK_EQ(image[100], 1);
	CHECK_EQ(image[200], 1);
	CHECK_EQ(image[300], 0);
	record_free(r);
}

TEST(test_record__tears_at_sectors)
{
	struct record *r = fresh();
	const struct record_event *e;

	CHECK_OK(bdev_write(record_bdev(r), ones, 2048, 0));
	e = record_at(r, 0);
	record_apply(e, (struct record_fate){ .how = FATE_DROP }, image);
	CHECK_EQ(image[0], 0);
	record_apply(e, (struct record_fate){ .how = FATE_HEAD, .arg = 1 }, image);
	CHECK_EQ(image[511], 1);
	CHECK_EQ(image[512], 0);
	memset(image, 0, sizeof(image));
	record_apply(e, (struct record_fate){ .how = FATE_TAIL, .arg = 1 }, image);
	CHECK_EQ(image[1535], 0);
	CHECK_EQ(image[1536], 1);
	record_free(r);
}

TEST(test_record__crash_keeps_what_was_flushed_or_durable)
{
	for (uint32_t round = 0; round < 50; round++) {
		struct record *r = fresh();
		struct bdev *b = record_bdev(r);
		uint32_t k;

		CHECK_OK(bdev_write(b, ones, 512, 0));
		CHECK_OK(bdev_flush(b));
		CHECK_OK(bdev_write(b, ones, 2048, 1024));
		CHECK_OK(bdev_write_durable(b, ones, 512, 4096));
		record_crash(r, test_random);
		CHECK_MEM_EQ(record_now(r), ones, 512);
		CHECK_MEM_EQ(record_now(r) + 4096, ones, 512);
		for (k = 1024; k < 3072; k += 512) /* whole sectors, old or new */
			CHECK(!memcmp(record_now(r) + k, ones, 512) ||
			      !memcmp(record_now(r) + k, zeros, 512));
		CHECK_EQ(record_count(r), 0);
		record_free(r);
	}
}

TEST(test_record__power_goes_out_at_the_limit)
{
	struct record *r = fresh();
	struct bdev *b = record_bdev(r);

	record_limit(r, 2);
	CHECK_OK(bdev_write(b, ones, 512, 0));
	CHECK_OK(bdev_flush(b));
	CHECK_ERR(bdev_write(b, ones, 512, 512), -EIO);
	CHECK_ERR(bdev_flush(b), -EIO);
	CHECK_EQ(record_calls(r), 4);
	record_crash(r, test_random);
	CHECK_OK(bdev_write(record_bdev(r), ones, 512, 1024));
	CHECK_OK(bdev_flush(record_bdev(r)));
	CHECK_EQ(record_now(r)[0], 1);
	CHECK_EQ(record_now(r)[512], 0);
	record_free(r);
}
