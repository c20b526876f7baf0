// SPDX-License-Identifier: GPL-2.0-only
/*
 * What all block devices share: bounds, read-only, statistics, and the sharing
 * of flushes.
 *
 * Invariants
 * (1) dirty_seq grows after a write has returned, whether it succeeded or not. A
 *     flush makes durable what dirty_seq counted when the flush began, and
 *     clean_seq says so. A write that returns while a flush runs is counted
 *     after that flush's snapshot, hence keeps the device dirty.
 * (2) After a failed flush no later one succeeds.
 */
#include "daemon/block/bdev.h"

#include <errno.h>

#include "daemon/base/check.h"

void bdev_init(struct bdev *b, const struct bdev_ops *ops, uint64_t size)
{
	b->ops = ops;
	b->size = size;
	b->fd = -1;
	mutex_init(&b->flush_lock, LOCK_LEAF);
	cond_init(&b->flush_done);
}

void bdev_close(struct bdev *b)
{
	if (b)
		b->ops->close(b);
}

static int check_range(const struct bdev *b, uint64_t off, uint64_t len)
{
	return off > b->size || len > b->size - off ? -EIO : 0;
}

static int iov_length(const struct iovec *iov, int iovcnt, uint64_t *ret_len)
{
	uint64_t len = 0;
	int i;

	for (i = 0; i < iovcnt; i++) {
		if (add_overflows(len, iov[i].iov_len, &len))
			return -EIO;
	}
	*ret_len = len;
	return 0;
}

void bdev_note_write(struct bdev *b, uint64_t bytes)
{
	atomic_fetch_add_explicit(&b->writes, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&b->write_bytes, bytes, memory_order_relaxed);
	atomic_fetch_add(&b->dirty_seq, 1);
}

void bdev_note_read(struct bdev *b, uint64_t bytes)
{
	/* Relaxed: statistics order nothing. */
	atomic_fetch_add_explicit(&b->reads, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&b->read_bytes, bytes, memory_order_relaxed);
}

static int check_read(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	uint64_t len;
	int err;

	err = iov_length(iov, iovcnt, &len);
	if (!err)
		err = check_range(b, off, len);
	if (!err)
		bdev_note_read(b, len);
	return err;
}

int bdev_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	int err = check_read(b, iov, iovcnt, off);

	return err ? err : b->ops->readv(b, iov, iovcnt, off);
}

int bdev_copyv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	int err = check_read(b, iov, iovcnt, off);

	if (err)
		return err;
	return b->ops->copyv ? b->ops->copyv(b, iov, iovcnt, off) :
			       b->ops->readv(b, iov, iovcnt, off);
}

int bdev_map(struct bdev *b)
{
	return b->ops->map ? b->ops->map(b) : 0;
}

int bdev_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	uint64_t len;
	int err;

	if (b->readonly)
		return -EROFS;
	err = iov_length(iov, iovcnt, &len);
	if (!err)
		err = check_range(b, off, len);
	if (err)
		return err;
	err = b->ops->writev(b, iov, iovcnt, off);
	bdev_note_write(b, len);
	return err;
}

int bdev_read(struct bdev *b, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return bdev_readv(b, &iov, 1, off);
}

int bdev_write(struct bdev *b, const void *buf, size_t len, uint64_t off)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };

	return bdev_writev(b, &iov, 1, off);
}

/* Caller holds flush_lock, which is let go while the device works. */
static void flush_locked(struct bdev *b)
{
	uint64_t snapshot;
	int err;

	b->flush_running = true;
	snapshot = atomic_load(&b->dirty_seq);
	mutex_unlock(&b->flush_lock);
	atomic_fetch_add_explicit(&b->flushes, 1, memory_order_relaxed);
	err = b->ops->flush(b);
	mutex_lock(&b->flush_lock);
	b->flush_running = false;
	if (err && !b->flush_error)
		b->flush_error = err;
	if (!b->flush_error)
		atomic_store(&b->clean_seq, snapshot);
	cond_wake_all(&b->flush_done);
}

int bdev_flush(struct bdev *b)
{
	uint64_t wanted = atomic_load(&b->dirty_seq);
	int err;

	if (b->readonly)
		return 0;
	mutex_lock(&b->flush_lock);
	while (!b->flush_error && atomic_load(&b->clean_seq) < wanted) {
		/* A running flush may have begun before our writes returned: look again afterwards. */
		if (b->flush_running)
			cond_wait(&b->flush_done, &b->flush_lock);
		else
			flush_locked(b);
	}
	err = b->flush_error;
	mutex_unlock(&b->flush_lock);
	return err;
}

/* A failed one is a failed flush: the kernel will not tell again what it lost. */
int bdev_write_durable(struct bdev *b, const void *buf, size_t len, uint64_t off)
{
	int err;

	if (!b->ops->write_durable) {
		err = bdev_write(b, buf, len, off);
		return err ? err : bdev_flush(b);
	}
	if (b->readonly)
		return -EROFS;
	err = check_range(b, off, len);
	if (err)
		return err;
	err = b->ops->write_durable(b, buf, len, off);
	atomic_fetch_add_explicit(&b->writes, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&b->write_bytes, len, memory_order_relaxed);
	mutex_lock(&b->flush_lock);
	if (err && !b->flush_error)
		b->flush_error = err;
	err = b->flush_error;
	mutex_unlock(&b->flush_lock);
	return err;
}

int bdev_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	int err;

	if (b->readonly)
		return -EROFS;
	err = check_range(b, off, len);
	if (err || len == 0)
		return err;
	err = b->ops->discard(b, off, len);
	atomic_fetch_add(&b->dirty_seq, 1);
	return err;
}

int bdev_zero(struct bdev *b, uint64_t off, uint64_t len)
{
	int err;

	if (b->readonly)
		return -EROFS;
	err = check_range(b, off, len);
	if (err || len == 0)
		return err;
	err = b->ops->zero(b, off, len);
	atomic_fetch_add(&b->dirty_seq, 1);
	return err;
}

int bdev_allocate(struct bdev *b, uint64_t off, uint64_t len)
{
	int err;

	if (b->readonly)
		return -EROFS;
	err = check_range(b, off, len);
	if (err || len == 0 || !b->ops->allocate)
		return err;
	return b->ops->allocate(b, off, len);
}
