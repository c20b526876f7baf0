/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kfs over a block device, without a mount: opened as the daemon opens it, one operation
 * of ops.h after the other, the tree read as a view.
 *
 * The clock and the random numbers of this process are its own (clock.c), so that the
 * same operations write the same bytes: equal images are met again and judged once.
 */
#ifndef TESTS_CRASH_WORLD_H
#define TESTS_CRASH_WORLD_H

#include <sys/types.h>

#include "daemon/block/bdev.h"
#include "tests/crash/ops.h"

struct view;
struct view_builder;
struct world;

struct world_opts {
	bool readonly;
	bool discard;
};

/*
 * Takes @b. Replays the log, cleans up orphans. On failure a text in @why. The world is
 * one at a time.
 */
int world_open(struct bdev *b, const struct world_opts *opts, struct world **ret_w, char *why,
	       size_t why_size);
/* As an unmount does; its error. */
int world_close(struct world *w);
/* As a crash does. */
void world_destroy(struct world *w);

/* 0, bytes written, or the error. *ret_several: it was committed in parts. */
ssize_t world_run(struct world *w, const struct op *op, uint32_t stamp, bool *ret_several);
/* NULL with a text in @why if something cannot be read. */
struct view *world_view(struct world *w, struct view_builder *b, char *why, size_t why_size);
/* What the file at @path holds; up to @max bytes. */
ssize_t world_read(struct world *w, const char *path, void *buf, size_t max);
/* Makes /w and what OP_CHURN changes. */
int world_make_churn(struct world *w);
/* First and last block of each piece of the log: calls @fn for each byte range. */
void world_log_ranges(struct world *w, void (*fn)(void *arg, uint64_t off, uint64_t len),
		      void *arg);

/* clock.c: the clock and the random numbers begin again. */
void clock_reset(uint64_t seed);

#endif
