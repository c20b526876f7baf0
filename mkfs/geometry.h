/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The numbers of a filesystem before anything is placed: block and inode sizes, groups, what
 * each group begins with. Derived from the options and the size of the target alone, with
 * mke2fs's rules, so that the same words give the same filesystem.
 */
#ifndef KFS_MKFS_GEOMETRY_H
#define KFS_MKFS_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "mkfs/features.h"

struct mkfs_options;

/* 2^32 blocks of 4 KiB: what the on-disk inode of the widest host can hold. */
#define MKFS_SIZE_MAX (UINT64_C(16) << 40)
#define MKFS_SIZE_MIN (UINT64_C(2) << 20)

struct geometry {
	struct features features;
	uint64_t blocks;
	uint64_t blocks_unused; /* tail too short for a group */
	uint64_t blocks_reserved;
	uint32_t block_size, block_log; /* block_log: log2(block_size) - 10 */
	uint32_t inode_size;
	uint32_t first_block; /* 1 with 1 KiB blocks, else 0 */
	uint32_t blocks_per_group;
	uint32_t groups;
	uint32_t inodes_per_group;
	uint32_t inodes;
	uint32_t itable_blocks; /* per group */
	uint32_t desc_size;
	uint32_t desc_blocks; /* blocks of all descriptors */
	uint32_t gdt_reserved;
	uint32_t flex_log;	/* log2 of groups per flex group, 0: each its own */
	uint32_t backup_bgs[2]; /* sparse_super2 */
	uint32_t journal_blocks;
	uint32_t orphan_blocks;
};

/* What the target is, as far as sizes depend on it. */
struct geometry_target {
	uint64_t size;	      /* bytes available to the filesystem */
	bool size_given;      /* by the user, so not rounded */
	uint32_t sector_size; /* smallest block size possible; 0: any */
};

/* -EINVAL, said on stderr: these options and this size do not go together. */
MUST_USE int geometry_compute(const struct mkfs_options *o, const struct geometry_target *t,
			      struct geometry *ret_geo);

/* Does group @group begin with a copy of the superblock? */
bool geometry_has_super(const struct geometry *g, uint32_t group);
uint64_t geometry_group_start(const struct geometry *g, uint32_t group);
uint32_t geometry_group_blocks(const struct geometry *g, uint32_t group);
/* Descriptor blocks (and those reserved for more) that follow the superblock of @group. */
uint32_t geometry_group_gdt(const struct geometry *g, uint32_t group);
uint32_t geometry_desc_per_block(const struct geometry *g);
uint32_t geometry_addr_per_block(const struct geometry *g);

#endif
