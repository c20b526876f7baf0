/* SPDX-License-Identifier: GPL-2.0-only */
/* The image read through a mapping: the same bytes as by system calls, at once, and errors where those give errors. */
#include "daemon/block/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/bustrap.h"
#include "daemon/block/bdev.h"
#include "tests/lib/test.h"

#define IMAGE_BYTES (4u << 20)

static const struct bdev_open_opts rw = { .readonly = false };
static uint8_t image[IMAGE_BYTES], back[IMAGE_BYTES];

static int open_file(uint64_t size)
{
	int fd = open(test_path("image"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)size), 0);
	return fd;
}

/* NULL: a filesystem where it is not done. */
static struct filemap *map_of(int fd, uint64_t size)
{
	struct filemap *map = NULL;
	int err = filemap_new(fd, size, &map);

	CHECK(!err || err == -EOPNOTSUPP);
	return map;
}

static bool read_at(struct filemap *map, uint64_t off, size_t len)
{
	struct iovec iov = { .iov_base = back, .iov_len = len };

	return filemap_read(map, &iov, 1, off, len);
}

static struct bdev *open_mapped(void)
{
	struct bdev *b;
	int err;

	CHECK_EQ(close(open_file(IMAGE_BYTES)), 0);
	CHECK_OK(bdev_open_file(test_path("image"), &rw, &b));
	err = bdev_map(b);
	CHECK(!err || err == -EOPNOTSUPP);
	CHECK_OK(bdev_map(b) == err ? 0 : -EINVAL); /* a second time is no other */
	CHECK_OK(bustrap_install(NULL));
	return b;
}

static int copy_at(struct bdev *b, uint64_t off, size_t len)
{
	struct iovec iov[3] = { { .iov_base = back, .iov_len = len / 3 },
				{ .iov_base = back + len / 3, .iov_len = len / 3 },
				{ .iov_base = back + len / 3 * 2, .iov_len = len - len / 3 * 2 } };

	memset(back, 0xaa, len);
	return bdev_copyv(b, iov, 3, off);
}

TEST(test_bdev_copyv__what_was_written_last)
{
	struct bdev *b = open_mapped();

	bustrap_enable();
	for (unsigned i = 0; i < 4000; i++) {
		uint64_t off = test_random_below(IMAGE_BYTES);
		size_t len =
			(size_t)test_random_below(MIN(IMAGE_BYTES - off, UINT64_C(200000)) + 1);

		if (i % 3 == 0) {
			test_random_fill(image + off, len);
			CHECK_OK(bdev_write(b, image + off, len, off));
		} else if (i % 100 == 1) {
			memset(image + off, 0, len);
			CHECK_OK(bdev_zero(b, off, len));
		} else {
			CHECK_OK(copy_at(b, off, len));
			CHECK_MEM_EQ(back, image + off, len);
		}
	}
	CHECK_ERR(copy_at(b, IMAGE_BYTES - 1, 2), -EIO);
	bdev_close(b);
}

TEST(test_bdev_copyv__an_image_that_was_cut_short_is_an_error)
{
	struct bdev *b = open_mapped();

	bustrap_enable();
	CHECK_OK(copy_at(b, 0, IMAGE_BYTES));
	CHECK_OK(copy_at(b, 0, IMAGE_BYTES));
	CHECK_EQ(truncate(test_path("image"), IMAGE_BYTES / 2), 0);
	CHECK_ERR(copy_at(b, IMAGE_BYTES / 2, 4096), -EIO);
	CHECK_ERR(copy_at(b, 0, IMAGE_BYTES), -EIO);
	/* What is left is read, and so is what comes back. */
	CHECK_OK(copy_at(b, 0, IMAGE_BYTES / 2));
	CHECK_EQ(truncate(test_path("image"), IMAGE_BYTES), 0);
	CHECK_OK(copy_at(b, 0, IMAGE_BYTES));
	CHECK_EQ(back[IMAGE_BYTES - 1], 0);
	bdev_close(b);
}

TEST(test_filemap_read__only_what_was_read_before)
{
	int fd = open_file(IMAGE_BYTES);
	struct filemap *map = map_of(fd, IMAGE_BYTES);

	if (map) {
		bustrap_enable();
		CHECK(!read_at(map, 0, 10));
		filemap_note(map, FILEMAP_CHUNK - 1, 2);
		CHECK(read_at(map, 0, 10));
		CHECK(read_at(map, 2 * FILEMAP_CHUNK - 10, 10));
		CHECK(!read_at(map, 2 * FILEMAP_CHUNK - 10, 11));
		CHECK(!read_at(map, 0, 0));
		filemap_note(map, IMAGE_BYTES - 1, 2);
		CHECK(!read_at(map, IMAGE_BYTES - 1, 1));
		CHECK(!read_at(map, UINT64_MAX, 2));
	}
	filemap_free(map);
	CHECK_EQ(close(fd), 0);
}

TEST(test_filemap_note__what_is_mapped_in_has_a_bound)
{
	uint64_t size = (FILEMAP_WARM_MAX + 100) * FILEMAP_CHUNK;
	int fd = open_file(size); /* a hole */
	struct filemap *map = map_of(fd, size);

	if (map) {
		bustrap_enable();
		for (uint64_t c = 0; c < FILEMAP_WARM_MAX - 1; c++)
			filemap_note(map, c * FILEMAP_CHUNK, 1);
		CHECK(read_at(map, 0, 10));
		filemap_note(map, 0, 1);
		CHECK(read_at(map, 0, 10));
		filemap_note(map, FILEMAP_WARM_MAX * FILEMAP_CHUNK, 1);
		CHECK(!read_at(map, 0, 10));
		filemap_note(map, 0, 1);
		CHECK(read_at(map, 0, 10));
	}
	filemap_free(map);
	CHECK_EQ(close(fd), 0);
}

/* ---- other faults ---- */

static bool answered;

static bool answer(uintptr_t address)
{
	answered = true;
	return mmap((void *)(address & ~UINT64_C(4095)), 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

TEST(test_bustrap_install__others_faults_are_theirs)
{
	int fd = open_file(0);
	volatile uint8_t *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct iovec iov = { .iov_base = (uint8_t *)(uintptr_t)at, .iov_len = 10 };

	CHECK(at != MAP_FAILED);
	CHECK_OK(bustrap_install(answer));
	CHECK_OK(bustrap_install(NULL));
	bustrap_enable();
	/* The fault is the destination's. */
	CHECK(bustrap_copy(&iov, 1, (const uint8_t *)"0123456789"));
	CHECK(answered);
	CHECK_EQ(at[9], '9');
	/* The source's. */
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	iov.iov_base = back;
	answered = false;
	CHECK(!bustrap_copy(&iov, 1, (const uint8_t *)(uintptr_t)at));
	CHECK(!bustrap_copy(&iov, 1, (const uint8_t *)(uintptr_t)at));
	CHECK(!answered);
	CHECK_EQ(close(fd), 0);
}

/* A bug of ours ends us, as without the trap. */
TEST(test_bustrap_install__nobodys_fault_is_a_death)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (!child) {
		int fd = open_file(0);
		volatile uint8_t *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		if (bustrap_install(NULL))
			_exit(2);
		(void)alarm(20);
		_exit(at[0] ? 3 : 4);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}
