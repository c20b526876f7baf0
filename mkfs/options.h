/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The command line of mkfs.kfs, with mke2fs's letters where the meaning is the same. Parsing
 * looks at nothing outside the words themselves: no file is opened, nothing is sized.
 */
#ifndef KFS_MKFS_OPTIONS_H
#define KFS_MKFS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct mkfs_options {
	const char *target;
	const char *source_dir;	   /* -d */
	const char *feature_list;  /* -O */
	const char *fs_type;	   /* -t, "ext4" */
	const char *usage_type;	   /* -T, or NULL: by size */
	const char *label;	   /* -L, at most 16 bytes, or NULL */
	const char *last_mounted;  /* -M, or NULL */
	const char *uuid;	   /* -U, or NULL: random */
	uint64_t size;		   /* bytes; 0: not given */
	uint64_t inodes;	   /* -N; 0: by ratio */
	uint64_t journal_mib;	   /* -J size=; 0: by size */
	uint64_t offset;	   /* -E offset= */
	uint64_t orphan_bytes;	   /* -E orphan_file_size=; 0: by size */
	double reserved_percent;   /* -m */
	uint32_t block_size;	   /* -b; 0: by size */
	uint32_t inode_ratio;	   /* -i; 0: by size */
	uint32_t inode_size;	   /* -I; 0: 256 */
	uint32_t flex_size;	   /* -G; 0: 16 */
	uint32_t blocks_per_group; /* -g; 0: a bitmap block's worth */
	uint32_t root_uid, root_gid;
	uint32_t root_mode; /* 0755 */
	uint32_t raid_stride, raid_stripe_width;
	uint32_t mmp_interval;	/* seconds */
	uint32_t backup_supers; /* sparse_super2: 0, 1 or 2 */
	uint16_t errors;	/* EXT4_ERRORS_* */
	uint8_t hash_seed[16];
	bool hash_seed_given;
	bool journal_wanted; /* -j or -J */
	bool lazy_itable, lazy_journal, discard, prezeroed, copy_xattrs;
	bool dry_run, quiet, force, verbose;
};

/* What main() is to do next. */
enum options_verdict { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_USAGE };

/* OPTIONS_DONE: help or version was printed. OPTIONS_USAGE: the mistake was said. */
enum options_verdict options_parse(int argc, char **argv, struct mkfs_options *ret_options);

/*
 * "16", "64M", "1T": a number with a binary suffix k m g t, or s for sectors of 512 bytes;
 * @unit is what a bare number counts. False: not a number, zero, or more than 2^63.
 */
bool size_parse(const char *text, uint64_t unit, uint64_t *ret_bytes);

#endif
