/* SPDX-License-Identifier: GPL-2.0-only */
/* Which bits of the log are set: by addresses, and by what a ring writes into its used part. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/lib/test.h"
#include "vhost/dirty.h"
#include "vhost/memory.h"
#include "vhost/vring.h"

#define LOG_BYTES 16u
#define LOG_OFFSET 5u
#define UVA 0x7f0000000000ull

static struct dirty_log dirty = { .call_fd = -1 };
static uint8_t *file; /* the front end's view of its log, the bytes around it included */

static void start(void)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	dirty_log_unmap(&dirty);
	CHECK_OK(ftruncate(fd, LOG_OFFSET + LOG_BYTES + 1) ? -errno : 0);
	file = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(file != MAP_FAILED);
	CHECK_OK(dirty_log_map(&dirty, fd, LOG_BYTES, LOG_OFFSET));
	(void)close(fd);
}

static void stop(void)
{
	dirty_log_unmap(&dirty);
	(void)munmap(file, 4096);
}

static unsigned marks(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < LOG_BYTES; i++)
		count += (unsigned)__builtin_popcount(file[LOG_OFFSET + i]);
	CHECK_EQ(file[LOG_OFFSET - 1], 0);
	CHECK_EQ(file[LOG_OFFSET + LOG_BYTES], 0);
	return count;
}

static bool marked(uint64_t page)
{
	return file[LOG_OFFSET + page / 8] & 1u << page % 8;
}

TEST(test_dirty_log__marks_each_page_that_is_touched)
{
	start();
	dirty_log_mark(&dirty, 0x1fff, 1);
	CHECK(marked(1));
	CHECK_EQ(marks(), 1);
	dirty_log_mark(&dirty, 0x8fff, 2);
	CHECK(marked(8) && marked(9));
	CHECK_EQ(marks(), 3);
	dirty_log_mark(&dirty, 0x20000, 0x3000);
	CHECK(marked(0x20) && marked(0x21) && marked(0x22));
	CHECK_EQ(marks(), 6);
	dirty_log_mark(&dirty, 0x5000, 0);
	CHECK_EQ(marks(), 6);
	/* The last page, and what is behind it. */
	dirty_log_mark(&dirty, 0x7ffff, 1);
	CHECK(marked(0x7f));
	CHECK(!dirty.too_small);
	dirty_log_mark(&dirty, 0x7ffff, 2);
	CHECK(dirty.too_small);
	dirty_log_mark(&dirty, UINT64_MAX, 2);
	dirty_log_mark(&dirty, UINT64_MAX - 1, 2);
	CHECK_EQ(marks(), 7);
	stop();
}

TEST(test_dirty_log__size_covers_the_memory)
{
	CHECK_EQ(dirty_log_size(0), 0);
	CHECK_EQ(dirty_log_size(1), 1);
	CHECK_EQ(dirty_log_size(0x8000), 1);
	CHECK_EQ(dirty_log_size(0x8001), 2);
}

TEST(test_dirty_log__areas_that_cannot_be_are_refused)
{
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct dirty_log l = { .call_fd = -1 };

	CHECK_OK(ftruncate(fd, 100) ? -errno : 0);
	CHECK_ERR(dirty_log_map(&l, fd, 0, 0), -EINVAL);
	CHECK_ERR(dirty_log_map(&l, fd, 101, 0), -EINVAL);
	CHECK_ERR(dirty_log_map(&l, fd, 100, 1), -EINVAL);
	CHECK_ERR(dirty_log_map(&l, fd, 100, UINT64_MAX - 50), -EINVAL);
	/* Sparse: as large as addresses go. */
	CHECK_OK(ftruncate(fd, (off_t)1 << 46) ? -errno : 0);
	CHECK_ERR(dirty_log_map(&l, fd, UINT64_C(1) << 46, 0), -EINVAL);
	CHECK_ERR(dirty_log_map(&l, fd, 4096, UINT64_C(1) << 45), -EINVAL);
	CHECK_ERR(dirty_log_map(&l, fd, SHARED_BYTES_MAX, 1), -EINVAL);
	CHECK(!l.base);
	dirty_log_mark(&l, 0, 1);
	CHECK_OK(dirty_log_map(&l, fd, SHARED_BYTES_MAX - 1, 1));
	dirty_log_unmap(&l);
	(void)close(fd);
}

/* The used ring begins 4 bytes before the end of a page of the log: its index is in one page, elements in the next. */
TEST(test_dirty_log__used_ring_at_the_address_it_is_logged_as)
{
	static struct memory memory;
	struct vring_dev ring = { .num = 8,
				  .desc_uva = UVA,
				  .avail_uva = UVA + 0x1000,
				  .used_uva = UVA + 0x2000,
				  .event_idx = true,
				  .log = &dirty,
				  .log_gpa = 0x41000 - 4 };
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct memory_share share = { .size = 0x4000, .uva = UVA, .fd = fd };

	CHECK_OK(ftruncate(fd, 0x4000) ? -errno : 0);
	CHECK_OK(memory_add(&memory, &share));
	CHECK_OK(vring_map(&ring, &memory));
	start();
	CHECK_EQ(marks(), 0);
	vring_put(&ring, 3, 100);
	CHECK(marked(0x40) && marked(0x41));
	CHECK_EQ(marks(), 2);
	stop();
	start();
	(void)vring_listen(&ring);
	CHECK(marked(0x41));
	CHECK_EQ(marks(), 1);
	ring.event_idx = false;
	(void)vring_listen(&ring);
	vring_ignore_kicks(&ring);
	CHECK(marked(0x40));
	CHECK_EQ(marks(), 2);
	stop();
	memory_clear(&memory);
	(void)close(fd);
}
