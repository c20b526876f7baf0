// SPDX-License-Identifier: GPL-2.0-only
/* The device that loses power. Any number of threads may use it. */
#include "tests/unit/daemon/store/lossy.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/test.h"

struct undo {
	struct undo *older;
	uint64_t off;
	size_t len;
	uint8_t old[];
};

struct lossy {
	struct bdev bdev;
	struct bdev *below;
	struct mutex lock; /* all below, and the order of writes */
	struct undo *newest;
	bool dead;
	uint64_t writes_left; /* 0: no crash is planned */
	uint8_t fail_value;
	uint32_t fail_count;
};

static struct lossy *lossy_of(struct bdev *b)
{
	return container_of(b, struct lossy, bdev);
}

static int lossy_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return bdev_readv(lossy_of(b)->below, iov, iovcnt, off);
}

/* Caller holds the lock. */
static void remember(struct lossy *l, uint64_t off, size_t len)
{
	struct undo *u = malloc(sizeof(*u) + len);

	CHECK(u);
	u->off = off;
	u->len = len;
	u->older = l->newest;
	CHECK_OK(bdev_read(l->below, u->old, len, off));
	l->newest = u;
}

static bool must_fail(struct lossy *l, const struct iovec *iov, int iovcnt)
{
	const uint8_t *bytes = iov[0].iov_base;

	if (l->fail_count == 0 || iovcnt != 1 || iov[0].iov_len < 512)
		return false;
	for (size_t k = 0; k < iov[0].iov_len; k++)
		if (bytes[k] != l->fail_value)
			return false;
	l->fail_count--;
	return true;
}

static void forget(struct lossy *l)
{
	while (l->newest) {
		struct undo *u = l->newest;

		l->newest = u->older;
		free(u);
	}
}

/* Caller holds the lock. */
static void crash(struct lossy *l)
{
	l->dead = true;
	for (struct undo *u = l->newest; u; u = u->older)
		if (test_random_below(2))
			CHECK_OK(bdev_write(l->below, u->old, u->len, u->off));
	forget(l);
}

static int lossy_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct lossy *l = lossy_of(b);
	size_t len = 0;
	int r = 0;

	for (int k = 0; k < iovcnt; k++)
		len += iov[k].iov_len;
	mutex_lock(&l->lock);
	if (l->writes_left > 0 && --l->writes_left == 0 && !l->dead)
		crash(l);
	if (must_fail(l, iov, iovcnt)) {
		r = -EIO;
	} else if (!l->dead) {
		remember(l, off, len);
		r = bdev_writev(l->below, iov, iovcnt, off);
	}
	mutex_unlock(&l->lock);
	return r;
}

static int lossy_flush(struct bdev *b)
{
	struct lossy *l = lossy_of(b);

	mutex_lock(&l->lock);
	if (!l->dead)
		forget(l);
	mutex_unlock(&l->lock);
	return 0;
}

static int lossy_unsupported(struct bdev *b, uint64_t off, uint64_t len)
{
	(void)b;
	(void)off;
	(void)len;
	return -EOPNOTSUPP;
}

static void lossy_close(struct bdev *b)
{
	struct lossy *l = lossy_of(b);

	forget(l);
	bdev_close(l->below);
	free(l);
}

static const struct bdev_ops lossy_ops = {
	.readv = lossy_readv,
	.writev = lossy_writev,
	.flush = lossy_flush,
	.discard = lossy_unsupported,
	.zero = lossy_unsupported,
	.close = lossy_close,
};

struct lossy *lossy_new(struct bdev *below)
{
	struct lossy *l = calloc(1, sizeof(*l));

	CHECK(l);
	bdev_init(&l->bdev, &lossy_ops, below->size);
	mutex_init(&l->lock, LOCK_LEAF);
	l->below = below;
	return l;
}

struct bdev *lossy_bdev(struct lossy *l)
{
	return &l->bdev;
}

void lossy_crash(struct lossy *l)
{
	mutex_lock(&l->lock);
	crash(l);
	mutex_unlock(&l->lock);
}

bool lossy_crashed(struct lossy *l)
{
	bool crashed;

	mutex_lock(&l->lock);
	crashed = l->dead;
	mutex_unlock(&l->lock);
	return crashed;
}

void lossy_crash_after(struct lossy *l, uint64_t count)
{
	mutex_lock(&l->lock);
	l->writes_left = count;
	mutex_unlock(&l->lock);
}

void lossy_fail(struct lossy *l, uint8_t value, uint32_t count)
{
	mutex_lock(&l->lock);
	l->fail_value = value;
	l->fail_count = count;
	mutex_unlock(&l->lock);
}
