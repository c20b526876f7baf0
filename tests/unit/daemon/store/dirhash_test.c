// SPDX-License-Identifier: GPL-2.0-only
/* Name hashes against values printed by debugfs's dx_hash (an implementation that is not ours). */
#include "daemon/store/dirhash.h"

#include <string.h>

#include "include/kfs/ext4_format.h"
#include "tests/lib/test.h"

static const uint32_t no_seed[4];
/* The bytes 00112233-4455-6677-8899-aabbccddeeff as the superblock holds them. */
static const uint32_t a_seed[4] = { 0x33221100, 0x77665544, 0xbbaa9988, 0xffeeddcc };

#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define HIGH "\xc3\xa9t\xc3\xa9-\xff\x80\x81name"
#define WORDS8 "0123456789abcdef0123456789abcdef"

static bool is(uint8_t version, const uint32_t *seed, const char *name, uint32_t major,
	       uint32_t minor)
{
	struct dir_hash h = dirhash(version, seed, name, (uint32_t)strlen(name));

	return h.major == major && h.minor == minor;
}

TEST(test_dirhash__legacy_matches_debugfs)
{
	CHECK(is(DX_HASH_LEGACY, no_seed, "a", 0xe74b53e2, 0));
	CHECK(is(DX_HASH_LEGACY, no_seed, "abc", 0x75afd992, 0));
	CHECK(is(DX_HASH_LEGACY, a_seed, "hello.txt", 0x65a05776, 0));
	CHECK(is(DX_HASH_LEGACY, a_seed, "abcd", 0xfafa23ca, 0));
	CHECK(is(DX_HASH_LEGACY, no_seed, X100, 0xf985a9f6, 0));
	CHECK(is(DX_HASH_LEGACY, no_seed, WORDS8, 0x6d4a15ee, 0));
	CHECK(is(DX_HASH_LEGACY, a_seed, HIGH, 0x54f6d002, 0));
}

TEST(test_dirhash__half_md4_matches_debugfs)
{
	CHECK(is(DX_HASH_HALF_MD4, a_seed, "a", 0x93752ee6, 0x578c30ba));
	CHECK(is(DX_HASH_HALF_MD4, no_seed, "a", 0xd5fa7d7a, 0xacb48187));
	CHECK(is(DX_HASH_HALF_MD4, a_seed, "abc", 0xb1cd624a, 0x9519aec5));
	CHECK(is(DX_HASH_HALF_MD4, no_seed, "abc", 0xd196a868, 0xc420eb28));
	CHECK(is(DX_HASH_HALF_MD4, a_seed, "hello.txt", 0xfd21d2d0, 0x15027261));
	CHECK(is(DX_HASH_HALF_MD4, no_seed, "abcd", 0xad7557a8, 0xb1da437c));
	CHECK(is(DX_HASH_HALF_MD4, a_seed, X100, 0xaac23dcc, 0xfadc7084));
	CHECK(is(DX_HASH_HALF_MD4, a_seed, WORDS8, 0xaee06ebe, 0x74041f4c));
	CHECK(is(DX_HASH_HALF_MD4, a_seed, HIGH, 0xbe4056e0, 0x8e6efb84));
}

TEST(test_dirhash__tea_matches_debugfs)
{
	CHECK(is(DX_HASH_TEA, a_seed, "a", 0xf9b90e84, 0x211795e4));
	CHECK(is(DX_HASH_TEA, no_seed, "abc", 0xb1435ec4, 0x3f7eaa0e));
	CHECK(is(DX_HASH_TEA, a_seed, "hello.txt", 0x03925122, 0x48730c90));
	CHECK(is(DX_HASH_TEA, a_seed, X100, 0x3d1a45aa, 0x131511d5));
	CHECK(is(DX_HASH_TEA, no_seed, WORDS8, 0xcbe95e3c, 0x17627589));
	CHECK(is(DX_HASH_TEA, a_seed, HIGH, 0x0c10f7a2, 0x8e9966ee));
}

TEST(test_dirhash__signedness_matters_only_for_high_bytes)
{
	for (uint8_t v = DX_HASH_LEGACY; v <= DX_HASH_TEA; v++) {
		uint8_t u = (uint8_t)(v + DX_HASH_LEGACY_UNSIGNED);
		struct dir_hash s = dirhash(v, a_seed, "plain", 5);

		CHECK(is(u, a_seed, "plain", s.major, s.minor));
		s = dirhash(v, a_seed, HIGH, sizeof(HIGH) - 1);
		CHECK_NE(dirhash(u, a_seed, HIGH, sizeof(HIGH) - 1).major, s.major);
	}
}

TEST(test_dirhash__is_even_and_never_the_end_mark)
{
	char name[255];

	for (uint32_t k = 0; k < 20000; k++) {
		uint32_t len = 1 + (uint32_t)test_random_below(sizeof(name));
		uint8_t version = (uint8_t)test_random_below(DX_HASH_TEA_UNSIGNED + 1);

		test_random_fill(name, len);
		struct dir_hash h = dirhash(version, a_seed, name, len);

		CHECK_EQ(h.major & 1, 0);
		CHECK_NE(h.major >> 1, EXT4_HTREE_EOF_32BIT);
	}
	CHECK(dirhash_known(DX_HASH_TEA_UNSIGNED));
	CHECK(!dirhash_known(DX_HASH_SIPHASH));
}

/* As Linux, which moves a hash off the end mark; e2fsprogs leaves it. Found by trying names. */
TEST(test_dirhash__end_mark_itself_is_moved)
{
	CHECK(is(DX_HASH_LEGACY, no_seed, "au0yfdr", 0xfffffffc, 0));
	CHECK(is(DX_HASH_LEGACY_UNSIGNED, no_seed, "au0yfrd", 0xfffffffc, 0));
	CHECK(!is(DX_HASH_LEGACY, no_seed, "au0yfds", 0xfffffffc, 0));
}
