// SPDX-License-Identifier: GPL-2.0-only
/* See record.h. */
#include "tests/lib/record.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"

struct record {
	struct bdev bdev;
	struct mutex lock; /* all below */
	uint64_t size;
	uint8_t *before, *now;
	struct record_event *events;
	size_t count, max;
	uint32_t tag;
	bool stopped;
	int64_t calls_left; /* negative: no end */
	uint64_t calls;
};

static struct record *to_record(struct bdev *b)
{
	return container_of(b, struct record, bdev);
}

/* ---- remembering ---------------------------------------------------------- */

/* Caller holds the lock; the bytes are in r->now already. */
static void remember(struct record *r, enum record_kind kind, uint64_t off, uint64_t len)
{
	uint64_t from = ROUND_DOWN(off, RECORD_SECTOR), end = ROUND_UP(off + len, RECORD_SECTOR);
	uint8_t *copy = NULL;

	if (r->stopped)
		return;
	if (r->count == r->max) {
		r->max = r->max ? r->max * 2 : 64;
		r->events = realloc(r->events, r->max * sizeof(*r->events));
		CHECK(r->events);
	}
	if (kind == RECORD_FLUSH) {
		from = end = 0;
	} else {
		copy = malloc(end - from);
		CHECK(copy);
		memcpy(copy, r->now + from, end - from);
	}
	r->events[r->count++] = (struct record_event){
		.kind = kind, .tag = r->tag, .off = from, .len = end - from, .new = copy
	};
}

static void forget_events(struct record *r)
{
	for (size_t i = 0; i < r->count; i++)
		free((void *)(uintptr_t)r->events[i].new);
	r->count = 0;
}

/* Caller holds the lock. */
static int power(struct record *r)
{
	r->calls++;
	if (r->calls_left == 0)
		return -EIO;
	if (r->calls_left > 0)
		r->calls_left--;
	return 0;
}

/* ---- the device ----------------------------------------------------------- */

static int record_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct record *r = to_record(b);

	mutex_lock(&r->lock);
	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, r->now + off, iov[i].iov_len);
		off += iov[i].iov_len;
	}
	mutex_unlock(&r->lock);
	return 0;
}

static int record_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct record *r = to_record(b);
	uint64_t at = off;
	int err;

	mutex_lock(&r->lock);
	err = power(r);
	for (int i = 0; !err && i < iovcnt; i++) {
		memcpy(r->now + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	if (!err && at > off)
		remember(r, RECORD_WRITE, off, at - off);
	mutex_unlock(&r->lock);
	return err;
}

static int record_write_durable(struct bdev *b, const void *buf, size_t len, uint64_t off)
{
	struct record *r = to_record(b);
	int err;

	mutex_lock(&r->lock);
	err = power(r);
	if (!err) {
		memcpy(r->now + off, buf, len);
		remember(r, RECORD_DURABLE, off, len);
	}
	mutex_unlock(&r->lock);
	return err;
}

static int record_flush(struct bdev *b)
{
	struct record *r = to_record(b);
	int err;

	mutex_lock(&r->lock);
	err = power(r);
	if (!err)
		remember(r, RECORD_FLUSH, 0, 0);
	mutex_unlock(&r->lock);
	return err;
}

static int fill(struct bdev *b, uint64_t off, uint64_t len, bool discard)
{
	struct record *r = to_record(b);
	int err;

	mutex_lock(&r->lock);
	err = power(r);
	if (!err) {
		memset(r->now + off, discard ? RECORD_GARBAGE : 0, len);
		remember(r, discard ? RECORD_DISCARD : RECORD_WRITE, off, len);
	}
	mutex_unlock(&r->lock);
	return err;
}

static int record_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	return fill(b, off, len, true);
}

static int record_zero(struct bdev *b, uint64_t off, uint64_t len)
{
	return fill(b, off, len, false);
}

static void record_close(struct bdev *b)
{
	(void)b; /* the record outlives its users */
}

static const struct bdev_ops record_ops = {
	.readv = record_readv,
	.writev = record_writev,
	.flush = record_flush,
	.write_durable = record_write_durable,
	.discard = record_discard,
	.zero = record_zero,
	.close = record_close,
};

struct record *record_new(const void *bytes, uint64_t size)
{
	struct record *r = calloc(1, sizeof(*r));

	CHECK(r);
	CHECK(size % RECORD_SECTOR == 0);
	r->size = size;
	r->before = malloc(size);
	r->now = malloc(size);
	CHECK(r->before && r->now);
	memcpy(r->before, bytes, size);
	memcpy(r->now, bytes, size);
	r->calls_left = -1;
	mutex_init(&r->lock, LOCK_LEAF);
	bdev_init(&r->bdev, &record_ops, size);
	return r;
}

void record_free(struct record *r)
{
	if (!r)
		return;
	forget_events(r);
	free(r->events);
	free(r->before);
	free(r->now);
	free(r);
}

struct bdev *record_bdev(struct record *r)
{
	return &r->bdev;
}

void record_tag(struct record *r, uint32_t tag)
{
	mutex_lock(&r->lock);
	r->tag = tag;
	mutex_unlock(&r->lock);
}

void record_rebase(struct record *r)
{
	mutex_lock(&r->lock);
	forget_events(r);
	memcpy(r->before, r->now, r->size);
	mutex_unlock(&r->lock);
}

/* A new life of the device: nothing is pending, nothing has failed. */
static void revive(struct record *r)
{
	forget_events(r);
	r->stopped = false;
	r->calls_left = -1;
	r->tag = 0;
	bdev_init(&r->bdev, &record_ops, r->size);
	r->bdev.flush_running = false;
	r->bdev.flush_error = 0;
	atomic_store(&r->bdev.dirty_seq, 0);
	atomic_store(&r->bdev.clean_seq, 0);
}

void record_restart(struct record *r, const void *bytes)
{
	memcpy(r->before, bytes, r->size);
	memcpy(r->now, bytes, r->size);
	revive(r);
}

void record_stop(struct record *r)
{
	mutex_lock(&r->lock);
	r->stopped = true;
	mutex_unlock(&r->lock);
}

/* ---- looking at it -------------------------------------------------------- */

size_t record_count(const struct record *r)
{
	return r->count;
}

const struct record_event *record_at(const struct record *r, size_t i)
{
	CHECK(i < r->count);
	return &r->events[i];
}

const uint8_t *record_before(const struct record *r)
{
	return r->before;
}

const uint8_t *record_now(const struct record *r)
{
	return r->now;
}

/* A word of bits for sector @n; splitmix64's mixing. */
static uint64_t coin(uint32_t seed, uint64_t n)
{
	uint64_t z = (((uint64_t)seed << 32) | n) + 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static bool sector_kept(struct record_fate fate, uint64_t n, uint64_t sectors)
{
	switch (fate.how) {
	case FATE_DROP: return false;
	case FATE_KEEP: return true;
	case FATE_HEAD: return n < fate.arg;
	case FATE_TAIL: return n + fate.arg >= sectors;
	case FATE_COINS: return coin(fate.arg, n) & 1;
	}
	return false;
}

void record_apply(const struct record_event *e, struct record_fate fate, uint8_t *image)
{
	uint64_t sectors = e->len / RECORD_SECTOR, n;

	for (n = 0; n < sectors; n++) {
		uint8_t *to = image + e->off + n * RECORD_SECTOR;

		if (!sector_kept(fate, n, sectors))
			continue;
		if (e->kind == RECORD_DISCARD && fate.how == FATE_COINS && coin(fate.arg, n) & 2)
			memset(to, 0, RECORD_SECTOR);
		else
			memcpy(to, e->new + n *RECORD_SECTOR, RECORD_SECTOR);
	}
}

/* ---- one crash ------------------------------------------------------------ */

void record_limit(struct record *r, int64_t calls)
{
	mutex_lock(&r->lock);
	r->calls_left = calls;
	mutex_unlock(&r->lock);
}

uint64_t record_calls(const struct record *r)
{
	return r->calls;
}

static struct record_fate random_fate(const struct record_event *e, uint64_t (*random)(void))
{
	uint64_t sectors = e->len / RECORD_SECTOR;

	switch (random() % 6) {
	case 0:
	case 1: return (struct record_fate){ .how = FATE_DROP };
	case 2:
	case 3: return (struct record_fate){ .how = FATE_KEEP };
	case 4:
		return (struct record_fate){ .how = FATE_HEAD,
					     .arg = (uint32_t)(random() % sectors) };
	default: return (struct record_fate){ .how = FATE_COINS, .arg = (uint32_t)random() };
	}
}

void record_crash(struct record *r, uint64_t (*random)(void))
{
	size_t flushed = 0;

	for (size_t i = 0; i < r->count; i++)
		if (r->events[i].kind == RECORD_FLUSH)
			flushed = i;
	for (size_t i = 0; i < r->count; i++) {
		const struct record_event *e = &r->events[i];
		bool pending = i >= flushed && e->kind != RECORD_DURABLE;

		if (e->kind != RECORD_FLUSH)
			record_apply(e,
				     pending ? random_fate(e, random) :
					       (struct record_fate){ .how = FATE_KEEP },
				     r->before);
	}
	memcpy(r->now, r->before, r->size);
	revive(r);
}
