/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checksums. Tables are computed once, before main() runs, so that no call needs a lock and
 * no table of constants has to be trusted by eye.
 *
 * CRC32C uses the processor's instruction where there is one. The instruction has a latency of
 * three cycles and a throughput of one, so long buffers are cut in three lanes that run
 * together; the lanes are joined by advancing a register over a lane's length of zero bytes,
 * which is linear and so a table lookup per register byte.
 */
#include "daemon/base/crc.h"

#include <assert.h>
#include <string.h>

#define CRC32C_POLY 0x82f63b78u
#define CRC32_BE_POLY 0x04c11db7u
#define CRC16_POLY 0xa001u

#define SLICES 8       /* bytes per step of the table method */
#define LANE_BYTES 336 /* three lanes: 1008 bytes, so a 1 KiB block is one round */

static_assert(LANE_BYTES % 8 == 0, "lanes are read in 8-byte words");

static uint32_t crc32c_slices[SLICES][256];
static uint32_t crc32c_lane[4][256]; /* advance byte i of the register over a lane of zeroes */
static uint32_t crc32_be_bytes[256];
static uint16_t crc16_bytes[256];

static uint32_t advance_lane_slowly(uint32_t crc)
{
	for (int i = 0; i < LANE_BYTES; i++)
		crc = crc32c_slices[0][crc & 0xff] ^ (crc >> 8);
	return crc;
}

__attribute__((constructor)) static void crc_tables_fill(void)
{
	for (uint32_t n = 0; n < 256; n++) {
		uint32_t c = n, be = n << 24;
		uint16_t h = (uint16_t)n;

		for (int bit = 0; bit < 8; bit++) {
			c = (c >> 1) ^ ((c & 1) ? CRC32C_POLY : 0);
			be = (be << 1) ^ ((be >> 31) ? CRC32_BE_POLY : 0);
			h = (uint16_t)((h >> 1) ^ ((h & 1) ? CRC16_POLY : 0));
		}
		crc32c_slices[0][n] = c;
		crc32_be_bytes[n] = be;
		crc16_bytes[n] = h;
	}
	for (uint32_t n = 0; n < 256; n++) {
		uint32_t c = crc32c_slices[0][n];

		for (int s = 1; s < SLICES; s++) {
			c = crc32c_slices[0][c & 0xff] ^ (c >> 8);
			crc32c_slices[s][n] = c;
		}
	}
	for (uint32_t n = 0; n < 256; n++)
		for (uint32_t i = 0; i < 4; i++)
			crc32c_lane[i][n] = advance_lane_slowly(n << (8 * i));
}

static uint32_t load_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t crc32c_table(uint32_t seed, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint32_t crc = seed;

	for (; len >= SLICES; len -= SLICES, p += SLICES) {
		uint32_t lo = crc ^ load_le32(p), hi = load_le32(p + 4);

		crc = crc32c_slices[7][lo & 0xff] ^ crc32c_slices[6][(lo >> 8) & 0xff] ^
		      crc32c_slices[5][(lo >> 16) & 0xff] ^ crc32c_slices[4][lo >> 24] ^
		      crc32c_slices[3][hi & 0xff] ^ crc32c_slices[2][(hi >> 8) & 0xff] ^
		      crc32c_slices[1][(hi >> 16) & 0xff] ^ crc32c_slices[0][hi >> 24];
	}
	while (len--)
		crc = crc32c_slices[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return crc;
}

#if defined(__x86_64__)

static uint64_t load_word(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t advance_lane(uint32_t crc)
{
	return crc32c_lane[0][crc & 0xff] ^ crc32c_lane[1][(crc >> 8) & 0xff] ^
	       crc32c_lane[2][(crc >> 16) & 0xff] ^ crc32c_lane[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t seed, const uint8_t *p,
							       size_t len)
{
	uint64_t crc = seed;

	while (len >= 3 * LANE_BYTES) {
		uint64_t b = 0, c = 0;

		for (size_t i = 0; i < LANE_BYTES; i += 8) {
			crc = __builtin_ia32_crc32di(crc, load_word(p + i));
			b = __builtin_ia32_crc32di(b, load_word(p + LANE_BYTES + i));
			c = __builtin_ia32_crc32di(c, load_word(p + 2 * LANE_BYTES + i));
		}
		crc = advance_lane((uint32_t)crc) ^ b;
		crc = advance_lane((uint32_t)crc) ^ c;
		p += 3 * LANE_BYTES;
		len -= 3 * LANE_BYTES;
	}
	for (; len >= 8; len -= 8, p += 8)
		crc = __builtin_ia32_crc32di(crc, load_word(p));
	while (len--)
		crc = __builtin_ia32_crc32qi((uint32_t)crc, *p++);
	return (uint32_t)crc;
}

uint32_t crc32c(uint32_t seed, const void *buf, size_t len)
{
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(seed, buf, len);
	return crc32c_table(seed, buf, len);
}

#else

uint32_t crc32c(uint32_t seed, const void *buf, size_t len)
{
	return crc32c_table(seed, buf, len);
}

#endif

uint16_t crc16(uint16_t seed, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint16_t crc = seed;

	while (len--)
		crc = (uint16_t)(crc16_bytes[(crc ^ *p++) & 0xff] ^ (crc >> 8));
	return crc;
}

uint32_t crc32_be(uint32_t seed, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint32_t crc = seed;

	while (len--)
		crc = crc32_be_bytes[(crc >> 24) ^ *p++] ^ (crc << 8);
	return crc;
}
