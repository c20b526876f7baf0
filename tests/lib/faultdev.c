// SPDX-License-Identifier: GPL-2.0-only
/*
 * See faultdev.h. What a write overwrites is kept until a good flush, so that it can be put
 * back: newest first, which leaves the oldest contents of bytes written twice.
 */
#include "tests/lib/faultdev.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/fault.h"
#include "tests/lib/test.h"

/*
 * What a failing write may tear. Sectors are smaller, but ext4 and e2fsck take it that the
 * superblock, 1 KiB, is written whole or not at all: with a bad checksum nobody opens it.
 */
#define TEAR_BYTES 1024

struct undo {
	struct undo *older;
	uint64_t off;
	size_t len;
	uint8_t old[];
};

struct faultdev {
	struct bdev bdev;
	struct bdev *below;
	struct mutex lock; /* the order of writes, and all below */
	struct undo *newest;
	bool flush_failed, cut;
	uint64_t seed, lots;
	_Atomic uint64_t bad_byte;
};

static struct faultdev *dev_of(struct bdev *b)
{
	return container_of(b, struct faultdev, bdev);
}

/* splitmix64, as test_random(), with a state of its own. Caller holds the lock. */
static uint64_t lot(struct faultdev *d)
{
	uint64_t z = (d->lots += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	return z ^ (z >> 31);
}

static size_t iov_bytes(const struct iovec *iov, int iovcnt)
{
	size_t len = 0;

	for (int k = 0; k < iovcnt; k++)
		len += iov[k].iov_len;
	return len;
}

/* Caller holds the lock. */
static void remember(struct faultdev *d, uint64_t off, size_t len)
{
	struct undo *u = malloc(sizeof(*u) + len);

	CHECK(u);
	u->off = off;
	u->len = len;
	u->older = d->newest;
	CHECK_OK(bdev_read(d->below, u->old, len, off));
	d->newest = u;
}

static void forget_all(struct faultdev *d)
{
	while (d->newest) {
		struct undo *u = d->newest;

		d->newest = u->older;
		free(u);
	}
}

static void lose_all(struct faultdev *d)
{
	for (struct undo *u = d->newest; u; u = u->older)
		if (d->seed % 2 == 0 || lot(d) % 2)
			CHECK_OK(bdev_write(d->below, u->old, u->len, u->off));
	forget_all(d);
}

static int dev_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct faultdev *d = dev_of(b);
	uint64_t bad = atomic_load(&d->bad_byte);

	if (fault_hit(FAULT_READ))
		return fault_error();
	if (bad && off <= bad && bad < off + iov_bytes(iov, iovcnt))
		return -EIO;
	return bdev_readv(d->below, iov, iovcnt, off);
}

/* The first part of a write that fails: whole sectors, as devices do. Caller holds the lock. */
static int write_part(struct faultdev *d, const struct iovec *iov, uint64_t off)
{
	size_t len = iov[0].iov_len / TEAR_BYTES * TEAR_BYTES;

	if (d->seed % 2 == 0 || len == 0)
		return 0;
	len = lot(d) % (len / TEAR_BYTES + 1) * TEAR_BYTES;
	if (len == 0)
		return 0;
	remember(d, off, len);
	return bdev_write(d->below, iov[0].iov_base, len, off);
}

static int dev_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct faultdev *d = dev_of(b);
	bool fails = fault_hit(FAULT_WRITE);
	int error;

	fault_exempt(true);
	mutex_lock(&d->lock);
	if (fails) {
		CHECK_OK(write_part(d, iov, off));
		error = fault_error();
	} else {
		remember(d, off, iov_bytes(iov, iovcnt));
		error = bdev_writev(d->below, iov, iovcnt, off);
	}
	mutex_unlock(&d->lock);
	fault_exempt(false);
	return error;
}

static int dev_flush(struct bdev *b)
{
	struct faultdev *d = dev_of(b);
	bool fails = fault_hit(FAULT_FLUSH);

	mutex_lock(&d->lock);
	d->flush_failed |= fails;
	if (!d->flush_failed)
		forget_all(d);
	mutex_unlock(&d->lock);
	return fails ? fault_error() : 0;
}

/* These bytes are on the medium now, whatever is lost. Caller holds the lock. */
static void keep_durable(struct faultdev *d, const uint8_t *bytes, size_t len, uint64_t off)
{
	for (struct undo *u = d->newest; u; u = u->older) {
		uint64_t from = MAX(u->off, off), to = MIN(u->off + u->len, off + len);

		if (from < to)
			memcpy(u->old + (from - u->off), bytes + (from - off), to - from);
	}
}

static int dev_write_durable(struct bdev *b, const void *buf, size_t len, uint64_t off)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct faultdev *d = dev_of(b);
	bool fails = fault_hit(FAULT_FLUSH);
	int error = dev_writev(b, &iov, 1, off);

	mutex_lock(&d->lock);
	d->flush_failed |= fails;
	/* After a failed flush nothing is sure any more. */
	if (!error && !d->flush_failed)
		keep_durable(d, buf, len, off);
	mutex_unlock(&d->lock);
	return error || !fails ? error : fault_error();
}

static int dev_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	if (fault_hit(FAULT_DISCARD))
		return fault_error();
	/* As a device that does nothing of it: contents are undefined afterwards. */
	(void)b;
	(void)off;
	(void)len;
	return 0;
}

static int dev_zero(struct bdev *b, uint64_t off, uint64_t len)
{
	struct faultdev *d = dev_of(b);
	bool fails = fault_hit(FAULT_ZERO);
	int error;

	if (fails)
		return fault_error();
	fault_exempt(true);
	mutex_lock(&d->lock);
	remember(d, off, len);
	error = bdev_zero(d->below, off, len);
	mutex_unlock(&d->lock);
	fault_exempt(false);
	return error;
}

static void dev_close(struct bdev *b)
{
	struct faultdev *d = dev_of(b);

	fault_exempt(true);
	if (d->flush_failed || d->cut)
		lose_all(d);
	forget_all(d);
	bdev_close(d->below);
	fault_exempt(false);
	free(d);
}

static const struct bdev_ops dev_ops = {
	.readv = dev_readv,
	.writev = dev_writev,
	.flush = dev_flush,
	.write_durable = dev_write_durable,
	.discard = dev_discard,
	.zero = dev_zero,
	.close = dev_close,
};

struct faultdev *faultdev_new(struct bdev *below)
{
	struct faultdev *d = calloc(1, sizeof(*d));

	CHECK(d);
	bdev_init(&d->bdev, &dev_ops, below->size);
	d->bdev.readonly = below->readonly;
	mutex_init(&d->lock, LOCK_LEAF);
	d->below = below;
	return d;
}

struct bdev *faultdev_bdev(struct faultdev *d)
{
	return &d->bdev;
}

void faultdev_seed(struct faultdev *d, uint64_t seed)
{
	d->seed = d->lots = seed;
}

void faultdev_bad_byte(struct faultdev *d, uint64_t byte)
{
	atomic_store(&d->bad_byte, byte);
}

void faultdev_cut(struct faultdev *d)
{
	mutex_lock(&d->lock);
	d->cut = true;
	mutex_unlock(&d->lock);
}
