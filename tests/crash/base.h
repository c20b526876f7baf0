/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The images that workloads begin with: made by mke2fs over stale bytes (BASE_STALE, so
 * that a block shown before it was written is seen), filled by kfs with the tree of
 * ops.h, unmounted.
 */
#ifndef TESTS_CRASH_BASE_H
#define TESTS_CRASH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BASE_STALE 0xde

struct model;
struct record;

struct setting {
	const char *name, *what;
	const char *mke2fs; /* words */
	uint64_t bytes;
	uint32_t log_first;   /* the log begins so late: a smaller circle; 0: as mke2fs makes it */
	uint32_t blocks_left; /* after filling the image; 0: not filled */
	bool discard;
	bool heavy;	/* see ops_workload() */
	bool no_kernel; /* the kernel refuses it */
	bool no_checksums;
	bool block_maps; /* no fallocate, as in ext3 */
};

extern const struct setting settings[];
extern const size_t settings_count;

struct base {
	const struct setting *setting;
	uint8_t *bytes;
	uint64_t size;
	uint8_t *in_log; /* per sector: of the log, behind its superblock */
	struct model *model;
};

const struct setting *setting_find(const char *name, size_t len);
/* False with a text in @why. @dir: where a file may be made. */
bool base_make(const struct setting *setting, const char *dir, struct base *ret_base, char *why,
	       size_t why_size);
void base_free(struct base *b);

#endif
