/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The three checksums of ext4 and jbd2. None inverts before or after: the caller's seed and
 * the result are the raw register, so that a checksum over several ranges is a chain of calls.
 * All are pure functions, safe from any thread.
 */
#ifndef KFS_BASE_CRC_H
#define KFS_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Castagnoli, reflected: metadata_csum and jbd2 v2/v3. Chains usually begin with ~0. */
uint32_t crc32c(uint32_t seed, const void *buf, size_t len);

/* The same by tables alone: the reference that tests hold the processor's instruction to. */
uint32_t crc32c_table(uint32_t seed, const void *buf, size_t len);

/* CRC-16 (polynomial 0x8005, reflected): descriptors with gdt_csum. */
uint16_t crc16(uint16_t seed, const void *buf, size_t len);

/* CRC-32 (polynomial 0x04c11db7), most significant bit first: jbd2 v1 commit checksums. */
uint32_t crc32_be(uint32_t seed, const void *buf, size_t len);

#endif
