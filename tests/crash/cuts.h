/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The images that power cuts during a recorded workload leave.
 *
 * Between two flushes: every subset of the writes if they are few, else none, all, each
 * prefix, each missing alone, each alone, and random ones; then the same with writes torn at
 * sectors (the superblock's two excepted, which stay together). @subsets and @torn bound how many of each are taken. A durable write is looked
 * at while under way, then it stays.
 *
 * All cuts between two flushes are judged as if they came just before the second: what
 * was acknowledged by then must be there although nothing more was flushed.
 */
#ifndef TESTS_CRASH_CUTS_H
#define TESTS_CRASH_CUTS_H

#include "tests/crash/judge.h"
#include "tests/lib/record.h"

struct cuts_opts {
	uint64_t seed;
	uint32_t subsets, torn;
	uint32_t end_tag; /* after the last event */
};

struct cut {
	const struct image *image;
	uint32_t number; /* of all cuts of this workload */
	uint32_t tag;	 /* of the moment; see record_tag() */
	bool torn_commit, torn;
	char text[400]; /* what became of which write */
};

struct cutter;

struct cutter *cutter_new(const struct base *base);
void cutter_free(struct cutter *c);
/* @fn returns false to stop. */
void cutter_run(struct cutter *c, const struct record *r, const struct cuts_opts *opts,
		bool (*fn)(void *arg, const struct cut *cut), void *arg);

#endif
