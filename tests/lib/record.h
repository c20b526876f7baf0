/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A block device in memory that remembers: every write, zeroing, discard and flush in
 * order, each with the tag that was set when it came. From that, what a power cut at any
 * moment would leave: all that a flush has covered, and of the rest any part.
 *
 *	r = record_new(bytes, size)	 the medium as it is before; copied
 *	store_open(record_bdev(r), ...)  use it; record_tag(r, n) says where we are
 *	record_stop(r)			 nothing is remembered any more; closing is fine
 *	for (i = 0; i < record_count(r); i++)
 *		record_at(r, i) ...	 replay onto an image with record_apply()
 *	record_free(r)			 also when the device was closed by its user
 *
 * Rules of the medium. A flush makes durable what came before it; until then each
 * sector of each write is there or not, independently. Sectors (RECORD_SECTOR) are
 * atomic. A write is widened to whole sectors with what the other bytes held, as a page
 * cache would: a later write to a sector carries the earlier one. A discard leaves the
 * old bytes, zeros or garbage, and a reader is shown garbage at once. A durable write
 * (write_durable) is, once it has returned, there whatever happens to the others.
 *
 * For tests that want one crash and no replay: record_limit() makes the power go out by
 * itself, record_crash() turns the device into what is left, ready for the next life.
 *
 * Any number of threads. Memory that is refused aborts: these are tests.
 */
#ifndef TESTS_LIB_RECORD_H
#define TESTS_LIB_RECORD_H

#include "daemon/block/bdev.h"

#define RECORD_SECTOR 512u
#define RECORD_GARBAGE 0xa5

enum record_kind { RECORD_WRITE, RECORD_DURABLE, RECORD_DISCARD, RECORD_FLUSH };

struct record_event {
	enum record_kind kind;
	uint32_t tag;
	uint64_t off, len;  /* whole sectors; 0 for a flush */
	const uint8_t *new; /* @len bytes; NULL for a flush */
};

/* What happens to an event that no flush has covered. */
struct record_fate {
	enum { FATE_DROP, FATE_KEEP, FATE_HEAD, FATE_TAIL, FATE_COINS } how;
	uint32_t arg; /* HEAD, TAIL: so many sectors are new; COINS: seed, each sector by a coin */
};

struct record;

struct record *record_new(const void *bytes, uint64_t size);
void record_free(struct record *r);
/* Closing it leaves @r as it is; it may be asked for again. */
struct bdev *record_bdev(struct record *r);
/* For events from now on. */
void record_tag(struct record *r, uint32_t tag);
/* Begin again: what a reader sees now is what the medium holds, the events are gone. */
void record_rebase(struct record *r);
/* The same with @bytes, as long as those of record_new(). Its user must be gone. */
void record_restart(struct record *r, const void *bytes);
void record_stop(struct record *r);

size_t record_count(const struct record *r);
const struct record_event *record_at(const struct record *r, size_t i);
/* @size bytes: the medium before the first event. */
const uint8_t *record_before(const struct record *r);
/* What a reader sees now. */
const uint8_t *record_now(const struct record *r);
/* @image is @size bytes. */
void record_apply(const struct record_event *e, struct record_fate fate, uint8_t *image);

/* After @calls more writes and flushes the power is gone: every call fails with -EIO. Negative: never. */
void record_limit(struct record *r, int64_t calls);
/* Writes and flushes so far. */
uint64_t record_calls(const struct record *r);
/*
 * Power cut: what is not flushed gets a random fate each, from @random. The device works
 * again and begins anew (as record_rebase()). Its user must be gone.
 */
void record_crash(struct record *r, uint64_t (*random)(void));

#endif
