/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Integers of a fixed byte order, for structures on disk.
 *
 * Each type is a struct of one member, so that adding, comparing or assigning a stored number
 * without converting it does not compile. They are packed: an on-disk structure made of them
 * has alignment 1 and may be laid over any byte of a buffer without undefined behaviour.
 *
 * These are the only typedefs of structs in the project: they stand for integers.
 */
#ifndef KFS_ENDIAN_H
#define KFS_ENDIAN_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

typedef struct { uint16_t raw; } __attribute__((packed)) le16;
typedef struct { uint32_t raw; } __attribute__((packed)) le32;
typedef struct { uint64_t raw; } __attribute__((packed)) le64;
typedef struct { uint16_t raw; } __attribute__((packed)) be16;
typedef struct { uint32_t raw; } __attribute__((packed)) be32;
typedef struct { uint64_t raw; } __attribute__((packed)) be64;

static_assert(sizeof(le16) == 2 && _Alignof(le16) == 1, "le16");
static_assert(sizeof(le32) == 4 && _Alignof(le32) == 1, "le32");
static_assert(sizeof(le64) == 8 && _Alignof(le64) == 1, "le64");
static_assert(sizeof(be16) == 2 && _Alignof(be16) == 1, "be16");
static_assert(sizeof(be32) == 4 && _Alignof(be32) == 1, "be32");
static_assert(sizeof(be64) == 8 && _Alignof(be64) == 1, "be64");

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define KFS_LE16(x) (x)
#define KFS_LE32(x) (x)
#define KFS_LE64(x) (x)
#define KFS_BE16(x) __builtin_bswap16(x)
#define KFS_BE32(x) __builtin_bswap32(x)
#define KFS_BE64(x) __builtin_bswap64(x)
#else
#define KFS_LE16(x) __builtin_bswap16(x)
#define KFS_LE32(x) __builtin_bswap32(x)
#define KFS_LE64(x) __builtin_bswap64(x)
#define KFS_BE16(x) (x)
#define KFS_BE32(x) (x)
#define KFS_BE64(x) (x)
#endif

static inline uint16_t le16_to_cpu(le16 v) { return KFS_LE16(v.raw); }
static inline uint32_t le32_to_cpu(le32 v) { return KFS_LE32(v.raw); }
static inline uint64_t le64_to_cpu(le64 v) { return KFS_LE64(v.raw); }
static inline uint16_t be16_to_cpu(be16 v) { return KFS_BE16(v.raw); }
static inline uint32_t be32_to_cpu(be32 v) { return KFS_BE32(v.raw); }
static inline uint64_t be64_to_cpu(be64 v) { return KFS_BE64(v.raw); }

static inline le16 cpu_to_le16(uint16_t n) { return (le16){ KFS_LE16(n) }; }
static inline le32 cpu_to_le32(uint32_t n) { return (le32){ KFS_LE32(n) }; }
static inline le64 cpu_to_le64(uint64_t n) { return (le64){ KFS_LE64(n) }; }
static inline be16 cpu_to_be16(uint16_t n) { return (be16){ KFS_BE16(n) }; }
static inline be32 cpu_to_be32(uint32_t n) { return (be32){ KFS_BE32(n) }; }
static inline be64 cpu_to_be64(uint64_t n) { return (be64){ KFS_BE64(n) }; }

/* Adds modulo the width, as the fields on disk do; pass a negated value to subtract. */
static inline void le16_add(le16 *p, uint16_t n)
{
	*p = cpu_to_le16((uint16_t)(le16_to_cpu(*p) + n));
}

static inline void le32_add(le32 *p, uint32_t n)
{
	*p = cpu_to_le32(le32_to_cpu(*p) + n);
}

static inline void le64_add(le64 *p, uint64_t n)
{
	*p = cpu_to_le64(le64_to_cpu(*p) + n);
}

#undef KFS_LE16
#undef KFS_LE32
#undef KFS_LE64
#undef KFS_BE16
#undef KFS_BE32
#undef KFS_BE64

#endif
