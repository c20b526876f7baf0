/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checksums against published check values, and the fast CRC32C against the plain one over
 * every length and alignment around the edges of its lanes.
 */
#include "daemon/base/crc.h"

#include "tests/lib/test.h"

static const char digits[] = "123456789";

/* One bit at a time, straight from the definition. */
static uint32_t crc32c_bitwise(uint32_t crc, const uint8_t *p, size_t len)
{
	while (len--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
	}
	return crc;
}

TEST(test_crc32c__gives_check_value)
{
	CHECK_EQ(~crc32c(~0u, digits, 9), 0xe3069283u);
	CHECK_EQ(~crc32c_table(~0u, digits, 9), 0xe3069283u);
	CHECK_EQ(crc32c(0x12345678u, digits, 0), 0x12345678u);
}

TEST(test_crc32c__gives_iscsi_vectors)
{
	uint8_t buf[32] = { 0 };

	CHECK_EQ(~crc32c(~0u, buf, sizeof(buf)), 0x8a9136aau);
	for (unsigned int i = 0; i < sizeof(buf); i++)
		buf[i] = 0xff;
	CHECK_EQ(~crc32c(~0u, buf, sizeof(buf)), 0x62a8ab43u);
	for (unsigned int i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)i;
	CHECK_EQ(~crc32c(~0u, buf, sizeof(buf)), 0x46dd794eu);
}

TEST(test_crc32c__equals_definition_at_any_length_and_alignment)
{
	static const size_t lens[] = { 1,    7,	   8,	 9,    335,  336,  337,	 671,  672, 1007,
				       1008, 1009, 1015, 1024, 2015, 2016, 2017, 4095, 4096 };
	static uint8_t buf[4096 + 8];

	test_random_fill(buf, sizeof(buf));
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		for (size_t skew = 0; skew < 8; skew++) {
			uint32_t seed = (uint32_t)test_random();
			uint32_t want = crc32c_bitwise(seed, buf + skew, lens[i]);

			CHECK_EQ(crc32c(seed, buf + skew, lens[i]), want);
			CHECK_EQ(crc32c_table(seed, buf + skew, lens[i]), want);
		}
	}
}

TEST(test_crc32c__chains_over_pieces)
{
	static uint8_t buf[4096];
	uint32_t whole;

	test_random_fill(buf, sizeof(buf));
	whole = crc32c(~0u, buf, sizeof(buf));
	for (int round = 0; round < 100; round++) {
		size_t cut = test_random_below(sizeof(buf) + 1);

		CHECK_EQ(crc32c(crc32c(~0u, buf, cut), buf + cut, sizeof(buf) - cut), whole);
	}
}

TEST(test_crc16__gives_check_values)
{
	CHECK_EQ(crc16(0, digits, 9), 0xbb3d);
	CHECK_EQ(crc16(0xffff, digits, 9), 0x4b37);
	CHECK_EQ(crc16(crc16(0xffff, digits, 4), digits + 4, 5), 0x4b37);
}

TEST(test_crc32_be__gives_check_value)
{
	CHECK_EQ(crc32_be(~0u, digits, 9), 0x0376e6e7u);
	CHECK_EQ(crc32_be(crc32_be(~0u, digits, 3), digits + 3, 6), 0x0376e6e7u);
}
