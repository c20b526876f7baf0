/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hash of a name in an indexed directory, bit for bit as ext4 computes it: the
 * index on disk is sorted by it. Pure functions.
 */
#ifndef KFS_STORE_DIRHASH_H
#define KFS_STORE_DIRHASH_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct dir_hash {
	uint32_t major; /* even; what the index is sorted by */
	uint32_t minor; /* 0 with the legacy hash */
};

/*
 * @version is DX_HASH_LEGACY..DX_HASH_TEA_UNSIGNED, checked with dirhash_known().
 * An all-zero @seed stands for the built-in one.
 */
struct dir_hash dirhash(uint8_t version, const uint32_t seed[4], const char *name, uint32_t len);
/* A version that dirhash() computes (not siphash, which needs a key we do not have). */
bool dirhash_known(uint8_t version);

#endif
