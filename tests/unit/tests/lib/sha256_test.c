// SPDX-License-Identifier: GPL-2.0-only
/* The examples of FIPS 180-4, and lengths on both sides of the padding's edges in pieces of every size. */
#include "tests/lib/sha256.h"

#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

static void check_digest(const void *data, size_t len, const char *want)
{
	char text[2 * SHA256_SIZE + 1];
	uint8_t digest[SHA256_SIZE];
	struct sha256 hash;
	size_t i;

	sha256_init(&hash);
	sha256_update(&hash, data, len);
	sha256_final(&hash, digest);
	for (i = 0; i < SHA256_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	CHECK_STR_EQ(text, want);
}

TEST(test_sha256__equals_published_examples)
{
	const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

	check_digest("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	check_digest("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	check_digest(two_blocks, strlen(two_blocks),
		     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(test_sha256_update__is_indifferent_to_pieces)
{
	uint8_t data[200], whole[SHA256_SIZE], pieces[SHA256_SIZE];
	struct sha256 hash;
	size_t len, piece, at;

	test_random_fill(data, sizeof(data));
	for (len = 0; len <= sizeof(data); len++) {
		sha256_init(&hash);
		sha256_update(&hash, data, len);
		sha256_final(&hash, whole);
		for (piece = 1; piece <= 65; piece += 16) {
			sha256_init(&hash);
			for (at = 0; at < len; at += piece)
				sha256_update(&hash, data + at,
					      len - at < piece ? len - at : piece);
			sha256_final(&hash, pieces);
			CHECK_MEM_EQ(pieces, whole, SHA256_SIZE);
		}
	}
}
