// SPDX-License-Identifier: GPL-2.0-only
/* Block devices: transfers, bounds, exclusion of other openers, sharing of flushes. */
#include "daemon/block/bdev.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/test.h"

#define IMAGE_BYTES (1024 * 1024)

static const struct bdev_open_opts rw = { .readonly = false };
static const struct bdev_open_opts ro = { .readonly = true };

static const char *make_image(void)
{
	const char *path = test_path("image");
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, IMAGE_BYTES), 0);
	CHECK_EQ(close(fd), 0);
	return path;
}

static void check_transfers(struct bdev *b)
{
	uint8_t out[8192], in[8192];
	struct iovec iov[2000];
	uint8_t tiny[2000];
	int i;

	test_random_fill(out, sizeof(out));
	CHECK_OK(bdev_write(b, out, sizeof(out), 4096));
	CHECK_OK(bdev_read(b, in, sizeof(in), 4096));
	CHECK_MEM_EQ(in, out, sizeof(in));
	/* More pieces than one system call takes, empty ones among them. */
	for (i = 0; i < 2000; i++)
		iov[i] = (struct iovec){ .iov_base = &tiny[i], .iov_len = i % 7 ? 1 : 0 };
	CHECK_OK(bdev_readv(b, iov, 2000, 4096));
	for (i = 0; i < 7; i++)
		iov[i] = (struct iovec){ .iov_base = in + i * 3, .iov_len = 3 };
	CHECK_EQ(tiny[1], out[0]);
	CHECK_EQ(tiny[8], out[6]);
	CHECK_OK(bdev_zero(b, 5000, 100));
	memset(out + 904, 0, 100);
	CHECK_OK(bdev_read(b, in, sizeof(in), 4096));
	CHECK_MEM_EQ(in, out, sizeof(in));
	CHECK_ERR(bdev_read(b, in, 2, b->size - 1), -EIO);
	CHECK_ERR(bdev_write(b, in, 1, b->size), -EIO);
	CHECK_ERR(bdev_read(b, in, 2, UINT64_MAX), -EIO);
	CHECK_ERR(bdev_zero(b, 1, b->size), -EIO);
	CHECK_OK(bdev_write(b, in, 1, b->size - 1));
}

TEST(test_bdev_mem__moves_bytes_within_bounds)
{
	struct bdev *b;

	CHECK_OK(bdev_open_mem(IMAGE_BYTES, &b));
	check_transfers(b);
	bdev_close(b);
}

TEST(test_bdev_file__moves_bytes_within_bounds)
{
	struct bdev *b;

	CHECK_OK(bdev_open_file(make_image(), &rw, &b));
	CHECK_EQ(b->size, IMAGE_BYTES);
	check_transfers(b);
	bdev_close(b);
}

TEST(test_bdev_file__offset_shifts_everything)
{
	struct bdev_open_opts opts = { .offset = 8192 };
	const char *path = make_image();
	struct bdev *b;
	char byte = 'k';

	CHECK_OK(bdev_open_file(path, &opts, &b));
	CHECK_EQ(b->size, IMAGE_BYTES - 8192);
	CHECK_OK(bdev_write(b, &byte, 1, 10));
	check_transfers(b);
	bdev_close(b);
	CHECK_OK(bdev_open_file(path, &ro, &b));
	byte = 0;
	CHECK_OK(bdev_read(b, &byte, 1, 8192 + 10));
	CHECK_EQ(byte, 'k');
	bdev_close(b);
	opts.offset = IMAGE_BYTES + 1;
	CHECK_ERR(bdev_open_file(path, &opts, &b), -EINVAL);
}

TEST(test_bdev_file__readonly_refuses_changes)
{
	struct bdev *b;
	char byte = 1;

	CHECK_OK(bdev_open_file(make_image(), &ro, &b));
	CHECK_ERR(bdev_write(b, &byte, 1, 0), -EROFS);
	CHECK_ERR(bdev_zero(b, 0, 1), -EROFS);
	CHECK_ERR(bdev_discard(b, 0, 1), -EROFS);
	CHECK_OK(bdev_flush(b));
	bdev_close(b);
}

/* Last read long ago, changed since: any other reading would move it. */
TEST(test_bdev_file__reading_leaves_the_access_time)
{
	struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 2000 } };
	const char *path = make_image();
	struct stat st = { 0 };
	struct bdev *b;
	char byte;

	CHECK_EQ(utimensat(AT_FDCWD, path, times, 0), 0);
	CHECK_OK(bdev_open_file(path, &rw, &b));
	CHECK(fcntl(b->fd, F_GETFL) & O_NOATIME);
	CHECK_OK(bdev_read(b, &byte, 1, 0));
	bdev_close(b);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_atime, 1000);
}

TEST(test_bdev_file__one_writer_or_many_readers)
{
	const struct bdev_open_opts look = { .readonly = true, .nolock = true };
	const char *path = make_image();
	struct bdev *a, *b;

	CHECK_OK(bdev_open_file(path, &rw, &a));
	CHECK_ERR(bdev_open_file(path, &rw, &b), -EBUSY);
	CHECK_ERR(bdev_open_file(path, &ro, &b), -EBUSY);
	CHECK_OK(bdev_open_file(path, &look, &b));
	bdev_close(b);
	bdev_close(a);
	CHECK_OK(bdev_open_file(path, &ro, &a));
	CHECK_OK(bdev_open_file(path, &ro, &b));
	bdev_close(b);
	CHECK_ERR(bdev_open_file(path, &rw, &b), -EBUSY);
	bdev_close(a);
	CHECK_OK(bdev_open_file(path, &rw, &b));
	bdev_close(b);
}

TEST(test_bdev_open_file__names_what_is_no_image)
{
	const char *fifo = test_path("fifo");
	struct bdev *b;

	CHECK_ERR(bdev_open_file("/nonexistent", &rw, &b), -ENOENT);
	CHECK_ERR(bdev_open_file("/", &ro, &b), -EISDIR);
	CHECK_ERR(bdev_open_file("/dev/null", &rw, &b), -ENOTBLK);
	CHECK_EQ(mkfifo(fifo, 0600), 0);
	CHECK_ERR(bdev_open_file(fifo, &rw, &b), -EINVAL);
}

/* ---- flush ---------------------------------------------------------------- */

struct slow_bdev {
	struct bdev bdev;
	_Atomic uint32_t calls;
	_Atomic int result;
	_Atomic bool hold;
};

static int slow_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	(void)b, (void)iov, (void)iovcnt, (void)off;
	return 0;
}

static int slow_flush(struct bdev *b)
{
	struct slow_bdev *slow = container_of(b, struct slow_bdev, bdev);

	atomic_fetch_add(&slow->calls, 1);
	while (atomic_load(&slow->hold))
		usleep(100);
	return atomic_load(&slow->result);
}

static const struct bdev_ops slow_ops = { .writev = slow_writev, .flush = slow_flush };

static void *flusher(void *arg)
{
	return (void *)(intptr_t)bdev_flush(arg);
}

TEST(test_bdev_flush__does_nothing_when_clean)
{
	struct slow_bdev slow = { 0 };
	char byte = 0;

	bdev_init(&slow.bdev, &slow_ops, IMAGE_BYTES);
	CHECK_OK(bdev_flush(&slow.bdev));
	CHECK_EQ(slow.calls, 0);
	CHECK_OK(bdev_write(&slow.bdev, &byte, 1, 0));
	CHECK_OK(bdev_flush(&slow.bdev));
	CHECK_OK(bdev_flush(&slow.bdev));
	CHECK_EQ(slow.calls, 1);
}

TEST(test_bdev_flush__write_during_flush_stays_dirty)
{
	struct slow_bdev slow = { .hold = true };
	pthread_t thread;
	char byte = 0;
	void *result;

	bdev_init(&slow.bdev, &slow_ops, IMAGE_BYTES);
	CHECK_OK(bdev_write(&slow.bdev, &byte, 1, 0));
	CHECK_EQ(pthread_create(&thread, NULL, flusher, &slow.bdev), 0);
	while (slow.calls == 0)
		usleep(100);
	CHECK_OK(bdev_write(&slow.bdev, &byte, 1, 0));
	atomic_store(&slow.hold, false);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK_OK(bdev_flush(&slow.bdev));
	CHECK_EQ(slow.calls, 2);
}

TEST(test_bdev_flush__callers_share)
{
	struct slow_bdev slow = { .hold = true };
	pthread_t threads[8];
	char byte = 0;
	int i;

	bdev_init(&slow.bdev, &slow_ops, IMAGE_BYTES);
	CHECK_OK(bdev_write(&slow.bdev, &byte, 1, 0));
	CHECK_EQ(pthread_create(&threads[0], NULL, flusher, &slow.bdev), 0);
	while (slow.calls == 0)
		usleep(100);
	CHECK_OK(bdev_write(&slow.bdev, &byte, 1, 0));
	for (i = 1; i < 8; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, flusher, &slow.bdev), 0);
	usleep(2000);
	atomic_store(&slow.hold, false);
	for (i = 0; i < 8; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(slow.calls, 2);
}

TEST(test_bdev_flush__failure_is_for_ever)
{
	struct slow_bdev slow = { .result = -EIO };
	char byte = 0;

	bdev_init(&slow.bdev, &slow_ops, IMAGE_BYTES);
	CHECK_OK(bdev_write(&slow.bdev, &byte, 1, 0));
	CHECK_ERR(bdev_flush(&slow.bdev), -EIO);
	slow.result = 0;
	CHECK_OK(bdev_write(&slow.bdev, &byte, 1, 0));
	CHECK_ERR(bdev_flush(&slow.bdev), -EIO);
}
