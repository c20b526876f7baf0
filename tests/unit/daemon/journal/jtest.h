/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the journal's tests share: a device that can lose power, and a bare
 * image with nothing but a log in it.
 */
#ifndef TESTS_UNIT_DAEMON_JOURNAL_JTEST_H
#define TESTS_UNIT_DAEMON_JOURNAL_JTEST_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/block/bdev.h"
#include "daemon/block/cache.h"
#include "daemon/journal/journal.h"
#include "include/kfs/jbd2_format.h"

/*
 * A memory device with a volatile write cache. After @writes_left writes or
 * flushes it fails everything; crash_apply() then decides for each write since
 * the last flush whether it reached the medium, in part, or not.
 */
struct crash_bdev;

struct bdev *crash_bdev_new(uint64_t size, uint32_t sector);
/* -1 = never. */
void crash_bdev_limit(struct bdev *b, int64_t writes_left);
/* The write or flush after @calls_before others fails, and those behind it work again. */
void crash_bdev_fail_once(struct bdev *b, uint64_t calls_before);
/* Writes and flushes done so far. */
uint64_t crash_bdev_count(struct bdev *b);
/* Power is lost and comes back: the medium is what survived; the device works again. */
void crash_bdev_crash(struct bdev *b);

#define LOG_START 40 /* first block of the log on the bare image */
#define IMAGE_BLOCKS 2048u

struct jformat {
	const char *name;
	uint32_t block_size;
	uint32_t log_blocks;
	uint32_t compat, incompat;
};

extern const struct jformat jformats[];
extern const uint32_t jformats_count;

/* The map of the bare image: in pieces, to find who takes the log for contiguous. */
extern const struct journal_map jmap;
void jtest_format(struct bdev *b, const struct jformat *f);
bool jtest_in_log(const struct jformat *f, uint64_t pblk);
/* CHECKs that it succeeds. */
struct journal_recovery_info jtest_recover(struct bdev *b, const struct jformat *f);
struct jbd2_super_block jtest_super(struct bdev *b, const struct jformat *f);

#endif
