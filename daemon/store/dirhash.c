// SPDX-License-Identifier: GPL-2.0-only
/*
 * Name hashes of indexed directories (ext4's dx hashes): "legacy", half MD4 and TEA,
 * each reading the name's bytes as signed or unsigned char, because the first writers
 * differed by machine and the superblock records which it was.
 *
 * Invariants
 * (1) The result depends on the arguments only; it never changes between versions of
 *     this program: names are found on disk by it.
 * (2) major is even (bit 0 marks a continued leaf in the index) and never the value
 *     that ext4 keeps as end mark.
 */
#include "daemon/store/dirhash.h"

#include <string.h>

#include "include/kfs/ext4_format.h"

#define HALF_MD4_WORDS 8
#define TEA_WORDS 4
#define TEA_ROUNDS 16
#define TEA_DELTA 0x9e3779b9u
#define MD4_ROUND2 0x5a827999u /* sqrt(2) * 2^30 */
#define MD4_ROUND3 0x6ed9eba1u /* sqrt(3) * 2^30 */

static uint32_t char_value(const char *p, bool is_unsigned)
{
	return is_unsigned ? (uint32_t)(unsigned char)*p : (uint32_t)(int32_t)(signed char)*p;
}

static uint32_t hash_legacy(const char *name, uint32_t len, bool is_unsigned)
{
	uint32_t older = 0x37abe8f9, newer = 0x12a3fe2d;

	for (uint32_t k = 0; k < len; k++) {
		uint32_t next = older + (newer ^ (char_value(name + k, is_unsigned) * 7152373u));

		if (next & 0x80000000u)
			next -= 0x7fffffffu;
		older = newer;
		newer = next;
	}
	return newer << 1;
}

/* The next piece of the name as @count words, filled up with its length. */
static void pack_words(const char *p, uint32_t len, bool is_unsigned, uint32_t *words,
		       uint32_t count)
{
	uint32_t pad = len | len << 8;
	uint32_t take = MIN(len, count * 4);
	uint32_t k = 0;

	pad |= pad << 16;
	for (uint32_t w = 0; w < count; w++) {
		uint32_t val = pad;

		for (uint32_t end = MIN(k + 4, take); k < end; k++)
			val = char_value(p + k, is_unsigned) + (val << 8);
		words[w] = val;
	}
}

static inline uint32_t rotl(uint32_t x, unsigned int n)
{
	return x << n | x >> (32 - n);
}

static inline uint32_t md4_select(uint32_t x, uint32_t y, uint32_t z)
{
	return z ^ (x & (y ^ z));
}

static inline uint32_t md4_majority(uint32_t x, uint32_t y, uint32_t z)
{
	return (x & y) + ((x ^ y) & z);
}

static inline uint32_t md4_parity(uint32_t x, uint32_t y, uint32_t z)
{
	return x ^ y ^ z;
}

/* Four steps: a, d, c, b in turn take one word each. */
#define MD4_STEPS(f, k, w0, s0, w1, s1, w2, s2, w3, s3)                                            \
	do {                                                                                       \
		a = rotl(a + f(b, c, d) + in[w0] + (k), s0);                                       \
		d = rotl(d + f(a, b, c) + in[w1] + (k), s1);                                       \
		c = rotl(c + f(d, a, b) + in[w2] + (k), s2);                                       \
		b = rotl(b + f(c, d, a) + in[w3] + (k), s3);                                       \
	} while (0)

static void half_md4(uint32_t state[4], const uint32_t in[HALF_MD4_WORDS])
{
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3];

	MD4_STEPS(md4_select, 0, 0, 3, 1, 7, 2, 11, 3, 19);
	MD4_STEPS(md4_select, 0, 4, 3, 5, 7, 6, 11, 7, 19);
	MD4_STEPS(md4_majority, MD4_ROUND2, 1, 3, 3, 5, 5, 9, 7, 13);
	MD4_STEPS(md4_majority, MD4_ROUND2, 0, 3, 2, 5, 4, 9, 6, 13);
	MD4_STEPS(md4_parity, MD4_ROUND3, 3, 3, 7, 9, 2, 11, 6, 15);
	MD4_STEPS(md4_parity, MD4_ROUND3, 1, 3, 5, 9, 0, 11, 4, 15);
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
}

static void tea(uint32_t state[4], const uint32_t in[TEA_WORDS])
{
	uint32_t sum = 0, x = state[0], y = state[1];

	for (int n = 0; n < TEA_ROUNDS; n++) {
		sum += TEA_DELTA;
		x += ((y << 4) + in[0]) ^ (y + sum) ^ ((y >> 5) + in[1]);
		y += ((x << 4) + in[2]) ^ (x + sum) ^ ((x >> 5) + in[3]);
	}
	state[0] += x;
	state[1] += y;
}

bool dirhash_known(uint8_t version)
{
	return version <= DX_HASH_TEA_UNSIGNED;
}

struct dir_hash dirhash(uint8_t version, const uint32_t seed[4], const char *name, uint32_t len)
{
	uint32_t state[4] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476 };
	bool is_unsigned = version >= DX_HASH_LEGACY_UNSIGNED;
	uint32_t words[HALF_MD4_WORDS];
	struct dir_hash hash = { 0 };

	if (seed[0] | seed[1] | seed[2] | seed[3])
		memcpy(state, seed, sizeof(state));
	switch (version) {
	case DX_HASH_HALF_MD4:
	case DX_HASH_HALF_MD4_UNSIGNED:
		for (uint32_t off = 0; off < len; off += HALF_MD4_WORDS * 4) {
			pack_words(name + off, len - off, is_unsigned, words, HALF_MD4_WORDS);
			half_md4(state, words);
		}
		hash.major = state[1];
		hash.minor = state[2];
		break;
	case DX_HASH_TEA:
	case DX_HASH_TEA_UNSIGNED:
		for (uint32_t off = 0; off < len; off += TEA_WORDS * 4) {
			pack_words(name + off, len - off, is_unsigned, words, TEA_WORDS);
			tea(state, words);
		}
		hash.major = state[0];
		hash.minor = state[1];
		break;
	default: hash.major = hash_legacy(name, len, is_unsigned); break;
	}
	hash.major &= ~1u;
	if (hash.major == (uint32_t)EXT4_HTREE_EOF_32BIT << 1)
		hash.major = ((uint32_t)EXT4_HTREE_EOF_32BIT - 1) << 1;
	return hash;
}
