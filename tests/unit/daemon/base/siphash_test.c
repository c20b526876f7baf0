/* SPDX-License-Identifier: GPL-2.0-only */
/* SipHash against the vectors of its authors: key 00 01 … 0f, message 00 01 02 …. */
#include "daemon/base/siphash.h"

#include "tests/lib/test.h"

#define K0 0x0706050403020100ull
#define K1 0x0f0e0d0c0b0a0908ull

TEST(test_siphash__gives_published_vectors)
{
	static const uint64_t wanted[] = {
		0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
		0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
		0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
		0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
	};
	uint8_t message[16];

	for (unsigned int len = 0; len < 16; len++) {
		message[len] = (uint8_t)len;
		CHECK_EQ(siphash(message, len, K0, K1), wanted[len]);
	}
}

TEST(test_siphash__depends_on_key_and_alignment_of_nothing)
{
	uint8_t buf[64] = { 0 };

	for (unsigned int shift = 0; shift < 8; shift++) {
		for (unsigned int i = 0; i < 40; i++)
			buf[shift + i] = (uint8_t)(i * 7);
		CHECK_EQ(siphash(buf + shift, 40, K0, K1), siphash(buf + shift, 40, K0, K1));
		if (shift > 0) {
			uint8_t copy[40];

			for (unsigned int i = 0; i < 40; i++)
				copy[i] = (uint8_t)(i * 7);
			CHECK_EQ(siphash(buf + shift, 40, K0, K1), siphash(copy, 40, K0, K1));
		}
	}
	CHECK_NE(siphash(buf, 40, K0, K1), siphash(buf, 40, K1, K0));
	CHECK_NE(siphash(buf, 40, K0, K1), siphash(buf, 39, K0, K1));
}
