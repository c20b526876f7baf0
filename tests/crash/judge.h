/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What becomes of an image after a power cut. Two ways of recovery, each judged:
 *
 *	kfs	opens it (replay, orphans), shows the tree, unmounts; then e2fsck -fn is silent
 *	e2fsck	-fy replays and checks it, and may say nothing but that it replayed and cleaned
 *		up orphans; then e2fsck -fn is silent, and kfs, read-only, shows the tree
 *
 * and on some, a third: the kernel mounts it (kernel.h). Equal images are judged once; of
 * recovered images that differ in the contents of an empty log only, too. On some images a
 * byte of the log is changed: that must be noticed, or not matter. What the trees
 * may hold is the model's business, not the judge's.
 */
#ifndef TESTS_CRASH_JUDGE_H
#define TESTS_CRASH_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/crash/base.h"

struct judge;
struct view;
struct view_builder;

/* A power-cut image that can be changed sector by sector, with its hash. */
struct image {
	uint8_t *bytes;
	uint64_t home, log; /* xor of the hashes of sectors outside and inside the log */
};

struct verdict {
	const struct view *kfs, *e2fsck;	       /* owned by the judge; NULL: see the texts */
	const struct view *kernel;		       /* NULL as a rule: not asked */
	const char *kfs_why, *e2fsck_why, *kernel_why; /* NULL: well */
	bool seen_before;
};

struct judge_counts {
	uint64_t cuts, distinct, e2fsck_runs, kernel, rot;
};

/* The kernel is asked about one of @kernel_every distinct images; 0: never. */
struct judge *judge_new(const struct base *base, struct view_builder *b, uint32_t kernel_every);
void judge_free(struct judge *j);
void image_hash(const struct base *base, struct image *image);
/* Hash of sector @n with these bytes. */
uint64_t image_sector_hash(uint64_t n, const uint8_t *bytes);
/* @torn_commit: a commit block was torn: e2fsck may refuse that transaction. */
void judge_cut(struct judge *j, const struct image *image, bool torn_commit,
	       struct verdict *ret_verdict);
/*
 * The byte at @off, in the log, has rotted. kfs may refuse the image (*ret_verdict is
 * empty then), else it is judged as ever.
 */
void judge_rot(struct judge *j, const struct image *image, uint64_t off,
	       struct verdict *ret_verdict);
struct judge_counts *judge_counts(struct judge *j);

#endif
