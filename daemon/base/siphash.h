/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SipHash-2-4: a keyed hash that nobody can aim collisions at without the key. The kernel computes the same for BPF
 * programs (fuse_bpf_name_hash).
 */
#ifndef KFS_BASE_SIPHASH_H
#define KFS_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const void *data, size_t len, uint64_t k0, uint64_t k1);

#endif
