/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The image as bytes: a file, a block device, memory (tests), and later a
 * recording device for crash tests. The only door to the image.
 *
 * Offsets and lengths are bytes, relative to the store's start (offset= is
 * added here). Reads past the end are -EIO. A call either does all it was
 * asked or fails; short transfers are retried inside. A write is durable only
 * after a bdev_flush() that began after it returned; unflushed writes may reach
 * the medium in any order. Safe for any number of threads.
 *
 * The image is opened exclusively (block device O_EXCL; file under an OFD
 * write lock, read lock when read-only): one writer per image.
 */
#ifndef KFS_BLOCK_BDEV_H
#define KFS_BLOCK_BDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/base/lock.h"
#include "daemon/base/util.h"

struct bdev;

struct bdev_ops {
	int (*readv)(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off);
	/* As readv, perhaps without a system call; NULL = by readv. */
	int (*copyv)(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off);
	/* Make copyv what it can be. NULL = it is. */
	int (*map)(struct bdev *b);
	int (*writev)(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off);
	int (*flush)(struct bdev *b);
	/* Write and make durable just that; NULL = by writev and flush. */
	int (*write_durable)(struct bdev *b, const void *buf, size_t len, uint64_t off);
	/* Give space back; contents are undefined afterwards. -EOPNOTSUPP where impossible. */
	int (*discard)(struct bdev *b, uint64_t off, uint64_t len);
	/* Make the range read as zeros, without writing them where the medium can. */
	int (*zero)(struct bdev *b, uint64_t off, uint64_t len);
	/* Have room for the range, whatever it holds. NULL: there always is. */
	int (*allocate)(struct bdev *b, uint64_t off, uint64_t len);
	void (*close)(struct bdev *b);
};

struct bdev {
	const struct bdev_ops *ops;
	uint64_t size; /* [written once] bytes available to the store */
	bool readonly; /* [written once] */
	int fd;	       /* [written once] descriptor for splice and DAX, -1 where there is none */
	uint64_t fd_offset; /* [written once] where byte 0 of the store lies in fd */
	_Atomic uint64_t writes, reads, flushes, write_bytes, read_bytes; /* [atomic] statistics */
	_Atomic uint64_t dirty_seq, clean_seq; /* [atomic] see bdev_flush() */
	struct mutex flush_lock;
	struct cond flush_done;
	bool flush_running; /* [flush_lock] */
	int flush_error;    /* [flush_lock] first failure, for ever */
};

struct bdev_open_opts {
	bool readonly;
	uint64_t offset;
	bool nolock; /* mkfs -n and tests that only look */
};

/*
 * -EBUSY: another process holds the image. -EROFS: write wanted on a read-only
 * medium. -ENOTBLK/-EISDIR/-EINVAL: neither a regular file nor a block device.
 */
MUST_USE int bdev_open_file(const char *path, const struct bdev_open_opts *opts,
			    struct bdev **ret_bdev);
MUST_USE int bdev_open_mem(uint64_t size, struct bdev **ret_bdev);
/* NULL is fine. Nothing is flushed. */
void bdev_close(struct bdev *b);

/* For implementations: @b is the zeroed first member of their own struct. */
void bdev_init(struct bdev *b, const struct bdev_ops *ops, uint64_t size);
/* For who writes through b->fd directly (splice): call when @bytes were written, also in part. */
void bdev_note_write(struct bdev *b, uint64_t bytes);
/* The same for reads; statistics only. */
void bdev_note_read(struct bdev *b, uint64_t bytes);

MUST_USE int bdev_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off);
/* The same for contents of files, by readers that often come again: see bdev_map(). */
MUST_USE int bdev_copyv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off);
/*
 * Once, before or while others use it: from here on threads with bustrap_enable() copy from the
 * image's page cache. -EOPNOTSUPP and others: they go on with system calls.
 */
MUST_USE int bdev_map(struct bdev *b);
MUST_USE int bdev_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off);
MUST_USE int bdev_read(struct bdev *b, void *buf, size_t len, uint64_t off);
MUST_USE int bdev_write(struct bdev *b, const void *buf, size_t len, uint64_t off);
/*
 * Everything written before the call is durable on return. Concurrent callers
 * share one flush where that is enough; nothing is done when nothing was
 * written since the last one. After a failed flush every later one fails too
 * (the kernel reports a lost write only once; we must not forget it).
 */
MUST_USE int bdev_flush(struct bdev *b);
/*
 * Write @buf and make it durable; other unflushed writes may or may not be. May
 * be cheaper than write and flush while others write much.
 */
MUST_USE int bdev_write_durable(struct bdev *b, const void *buf, size_t len, uint64_t off);
MUST_USE int bdev_discard(struct bdev *b, uint64_t off, uint64_t len);
MUST_USE int bdev_zero(struct bdev *b, uint64_t off, uint64_t len);
/*
 * Writing to the range does not fail for want of room from now on; its bytes stay what they
 * are. -ENOSPC. Nothing is done on a medium that cannot tell.
 */
MUST_USE int bdev_allocate(struct bdev *b, uint64_t off, uint64_t len);

#endif
