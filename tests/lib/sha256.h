/* SPDX-License-Identifier: GPL-2.0-only */
/* SHA-256 (FIPS 180-4) for comparing contents in tests: init, update as often as needed, final. Cannot fail. */
#ifndef TESTS_LIB_SHA256_H
#define TESTS_LIB_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32
#define SHA256_BLOCK 64

struct sha256 {
	uint32_t state[8];
	uint64_t len;		     /* bytes so far */
	uint8_t block[SHA256_BLOCK]; /* len % SHA256_BLOCK of them wait */
};

void sha256_init(struct sha256 *hash);
void sha256_update(struct sha256 *hash, const void *data, size_t len);
void sha256_final(struct sha256 *hash, uint8_t digest[SHA256_SIZE]);

#endif
