/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a guest's addresses are: bounds, ends of the address space, pieces, and files that shrink. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/test.h"
#include "vhost/guard.h"
#include "vhost/memory.h"
#include "vhost/view.h"

#define MIB (1ull << 20)

static struct memory memory;
static int fd;

static void start(void)
{
	fd = memfd_create("guest", MFD_CLOEXEC);
	CHECK_GE(fd, 0);
	CHECK_OK(ftruncate(fd, 8 * MIB) ? -errno : 0);
}

static int add(uint64_t gpa, uint64_t size, uint64_t uva, uint64_t offset)
{
	struct memory_share s = { .gpa = gpa, .size = size, .uva = uva, .offset = offset, .fd = fd };

	return memory_add(&memory, &s);
}

/* A piece of the image: what lies before it takes no addresses, however far in it is. */
TEST(test_memory_add__image_from_where_it_is_needed)
{
	struct memory_share s = { .gpa = MIB, .size = MIB, .uva = MIB, .offset = 1ull << 42 };
	uint64_t len;

	s.fd = memfd_create("image", MFD_CLOEXEC);
	CHECK_GE(s.fd, 0);
	CHECK_OK(ftruncate(s.fd, (1ll << 42) + 2 * (off_t)MIB) ? -errno : 0);
	s.image = true;
	for (uint64_t k = 0; k < 100; k++) {
		s.gpa = s.uva = (k + 1) * MIB;
		CHECK_OK(memory_add(&memory, &s));
	}
	CHECK_EQ(pwrite(s.fd, "x", 1, (1ll << 42) + 77), 1);
	CHECK_EQ(*memory_at(&memory, 50 * MIB + 77, 1, &len), 'x');
	CHECK_OK(memory_remove(&memory, 50 * MIB, MIB, 50 * MIB));
	CHECK(!memory_at(&memory, 50 * MIB, 1, &len));
	memory_clear(&memory);
	CHECK_OK(close(s.fd) ? -errno : 0);
}

TEST(test_memory_add__shows_the_file)
{
	uint64_t len;
	uint8_t *at;
	char c;

	start();
	CHECK_OK(add(1 * MIB, 2 * MIB, 0x7f0000000000, 3 * MIB + 4096));
	at = memory_at(&memory, 1 * MIB + 5, 10, &len);
	CHECK(at);
	CHECK_EQ(len, 10);
	*at = 'x';
	CHECK_EQ(pread(fd, &c, 1, 3 * MIB + 4096 + 5), 1);
	CHECK_EQ(c, 'x');
	CHECK_PTR_EQ(memory_at_user(&memory, 0x7f0000000000 + 5, 1), at);
	memory_clear(&memory);
	CHECK(!memory_at(&memory, 1 * MIB, 1, &len));
}

TEST(test_memory_add__refuses_what_is_not_there)
{
	start();
	CHECK_ERR(add(0, 0, 0, 0), -EINVAL);
	CHECK_ERR(add(0, 8 * MIB + 1, 0, 0), -EINVAL);
	CHECK_ERR(add(0, MIB, 0, 8 * MIB), -EINVAL);
	CHECK_ERR(add(UINT64_MAX, 2, 0, 0), -EINVAL);
	CHECK_ERR(add(0, 2, UINT64_MAX, 0), -EINVAL);
	CHECK_ERR(add(0, 2, 0, UINT64_MAX), -EINVAL);
	CHECK_ERR(add(0, UINT64_MAX, 0, 0), -EINVAL);
	CHECK_ERR(add(0, UINT64_MAX / 2 + 2, 0, 0), -EINVAL);
	fd = -1;
	CHECK_ERR(add(0, MIB, 0, 0), -EBADF);
}

/* Address space is ours: a sparse file costs whoever made it nothing. */
TEST(test_memory_add__takes_no_more_than_one_guest_may)
{
	uint64_t size = MEMORY_BYTES_MAX / 2;

	start();
	CHECK_OK(ftruncate(fd, (off_t)(2 * MEMORY_BYTES_MAX)) ? -errno : 0);
	CHECK_ERR(add(0, MEMORY_BYTES_MAX + 1, 0, 0), -ENOSPC);
	CHECK_OK(add(0, size, 0, 0));
	CHECK_OK(add(size, size - MIB, size, MIB));
	CHECK_ERR(add(2 * size, 4096, 2 * size, 0), -ENOSPC);
	CHECK_OK(memory_remove(&memory, 0, size, 0));
	CHECK_OK(add(2 * size, 4096, 2 * size, 0));
	memory_clear(&memory);
	CHECK_EQ(memory.mapped, 0);
	CHECK_OK(add(0, 2 * size, 0, 0));
}

TEST(test_memory_add__refuses_what_is_no_file)
{
	int ends[2];

	CHECK_OK(pipe(ends));
	fd = ends[0];
	CHECK_ERR(add(0, MIB, 0, 0), -EINVAL);
	CHECK_EQ(memory.count, 0);
}

TEST(test_memory_add__regions_are_apart)
{
	start();
	CHECK_OK(add(4 * MIB, MIB, 40 * MIB, 0));
	CHECK_OK(add(2 * MIB, MIB, 20 * MIB, MIB));
	CHECK_ERR(add(4 * MIB, MIB, 80 * MIB, 0), -EEXIST);
	CHECK_ERR(add(5 * MIB - 1, 1, 80 * MIB, 0), -EEXIST);
	CHECK_ERR(add(3 * MIB, MIB + 1, 80 * MIB, 0), -EEXIST);
	CHECK_ERR(add(8 * MIB, MIB, 40 * MIB + 5, 0), -EEXIST);
	CHECK_OK(add(3 * MIB, MIB, 30 * MIB, 2 * MIB));
	CHECK_EQ(memory.count, 3);
	for (uint32_t i = 1; i < memory.count; i++)
		CHECK_LT(memory.region[i - 1].gpa, memory.region[i].gpa);
	memory_clear(&memory);
}

TEST(test_memory_add__has_an_end)
{
	start();
	for (uint64_t i = 0; i < MEMORY_REGIONS_MAX; i++)
		CHECK_OK(add(i * 8192, 4096, i * 8192, 0));
	CHECK_ERR(add(MEMORY_REGIONS_MAX * 8192, 4096, MEMORY_REGIONS_MAX * 8192, 0), -ENOSPC);
	memory_clear(&memory);
}

TEST(test_memory_at__stops_at_the_region)
{
	uint64_t len = 77;

	start();
	CHECK_OK(add(MIB, MIB, 0, 0));
	CHECK_OK(add(2 * MIB, MIB, 64 * MIB, 4 * MIB));
	CHECK(!memory_at(&memory, 0, 1, &len));
	CHECK(!memory_at(&memory, MIB - 1, 2, &len));
	CHECK(!memory_at(&memory, 3 * MIB, 1, &len));
	CHECK(!memory_at(&memory, UINT64_MAX, 1, &len));
	CHECK(memory_at(&memory, 2 * MIB - 3, UINT64_MAX, &len));
	CHECK_EQ(len, 3);
	CHECK(memory_at(&memory, 2 * MIB, UINT64_MAX, &len));
	CHECK_EQ(len, MIB);
	/* One address is the front end's: it must be whole. */
	CHECK(memory_at_user(&memory, 0, MIB));
	CHECK(!memory_at_user(&memory, 0, MIB + 1));
	CHECK(!memory_at_user(&memory, 1, MIB));
	CHECK(!memory_at_user(&memory, 1, UINT64_MAX));
	CHECK(!memory_at_user(&memory, UINT64_MAX, 2));
	memory_clear(&memory);
}

TEST(test_memory_remove__needs_the_exact_region)
{
	uint64_t len;

	start();
	CHECK_OK(add(MIB, MIB, 10 * MIB, 0));
	CHECK_OK(add(4 * MIB, MIB, 40 * MIB, 0));
	CHECK_ERR(memory_remove(&memory, MIB, MIB, 11 * MIB), -ENOENT);
	CHECK_ERR(memory_remove(&memory, MIB, MIB / 2, 10 * MIB), -ENOENT);
	CHECK_ERR(memory_remove(&memory, 0, MIB, 10 * MIB), -ENOENT);
	CHECK_OK(memory_remove(&memory, MIB, MIB, 10 * MIB));
	CHECK_ERR(memory_remove(&memory, MIB, MIB, 10 * MIB), -ENOENT);
	CHECK(!memory_at(&memory, MIB, 1, &len));
	CHECK(memory_at(&memory, 4 * MIB, 1, &len));
	memory_clear(&memory);
}

TEST(test_guard__file_that_shrinks_is_survived)
{
	uint64_t len;
	volatile uint8_t *at;

	start();
	CHECK_OK(guard_install());
	CHECK_OK(add(0, 8 * MIB, 0, 0));
	at = memory_at(&memory, 0, 8 * MIB, &len);
	at[0] = 'a';
	at[4 * MIB] = 'b';
	CHECK(!memory_lost(&memory));
	CHECK_OK(ftruncate(fd, MIB) ? -errno : 0);
	CHECK_EQ(at[0], 'a');
	CHECK(!memory_lost(&memory));
	CHECK_EQ(at[4 * MIB], 0);
	CHECK(memory_lost(&memory));
	at[4 * MIB] = 'c';
	CHECK_EQ(at[4 * MIB], 'c');
	memory_clear(&memory);
	CHECK(!memory_lost(&memory));
}

static void start_view(struct view *v)
{
	start();
	CHECK_OK(guard_install());
	CHECK_OK(view_init(v, 4 * VIEW_UNIT));
	CHECK_OK(add(0, 8 * MIB, 0x7f0000000000, 0));
	CHECK_EQ(pwrite(fd, "image", 5, 5 * MIB), 5);
}

TEST(test_memory_add_view__finds_what_is_shown)
{
	struct view v;
	uint64_t len;

	start_view(&v);
	CHECK_ERR(memory_add_view(&memory, 8 * MIB - 4096, &v), -EEXIST);
	CHECK_ERR(memory_add_view(&memory, UINT64_MAX - MIB, &v), -EINVAL);
	CHECK_OK(memory_add_view(&memory, 1 << 30, &v));
	CHECK_ERR(add((1 << 30) + 4 * VIEW_UNIT - 4096, 4096, 77 << 20, 0), -EEXIST);
	CHECK(!memory_at(&memory, (1 << 30) + VIEW_UNIT, 1, &len));
	CHECK_OK(view_map(&v, VIEW_UNIT, MIB, fd, 4 * MIB));
	CHECK_OK(view_map(&v, VIEW_UNIT + MIB, MIB, fd, 5 * MIB));
	CHECK(!memory_at(&memory, (1 << 30) + VIEW_UNIT, 1, &len));
	view_show(&v, VIEW_UNIT, true);
	CHECK_EQ(memcmp(memory_at(&memory, (1 << 30) + VIEW_UNIT + MIB, 8 * MIB, &len), "image", 5),
		 0);
	CHECK_EQ(len, MIB);
	CHECK_EQ(memory_gpa_of(&memory, v.at + VIEW_UNIT + 3), (1 << 30) + VIEW_UNIT + 3);
	CHECK(!memory_at(&memory, (1 << 30) + 2 * VIEW_UNIT, 1, &len));
	/* No place for rings, and no memory that would have to be copied. */
	CHECK(!memory_at_user(&memory, 0, 4096));
	CHECK(!memory_at_user(&memory, 1 << 30, 4096));
	CHECK_EQ(memory_end(&memory), 8 * MIB);
	CHECK_ERR(memory_remove(&memory, 1 << 30, 4 * VIEW_UNIT, 0), -ENOENT);
	/* It stays, and what it shows. */
	memory_clear(&memory);
	CHECK(!memory_at(&memory, (1 << 30) + VIEW_UNIT, 1, &len));
	CHECK_OK(memory_add_view(&memory, 1 << 20, &v));
	CHECK(memory_at(&memory, (1 << 20) + VIEW_UNIT, 1, &len));
	memory_clear(&memory);
	view_fini(&v);
}

TEST(test_view_hide__leaves_memory_of_nobodys)
{
	volatile uint8_t *at;
	struct view v;

	start_view(&v);
	CHECK_OK(view_map(&v, 3 * VIEW_UNIT, VIEW_UNIT, fd, 4 * MIB));
	at = v.at + 3 * VIEW_UNIT + MIB;
	CHECK_EQ(*at, 'i');
	CHECK_OK(view_hide(&v, 3 * VIEW_UNIT, VIEW_UNIT));
	CHECK_EQ(*at, 0);
	*at = 'x';
	at[1 - (int)MIB] = 'y';
	CHECK_EQ(pread(fd, &(char){ 0 }, 1, 5 * MIB), 1);
	CHECK_OK(view_map(&v, 3 * VIEW_UNIT, VIEW_UNIT, fd, 4 * MIB));
	CHECK_EQ(*at, 'i');
	/* The same memory in all units. */
	CHECK_OK(view_hide(&v, 0, VIEW_UNIT));
	CHECK_EQ(v.at[MIB], 'x');
	memory_clear(&memory);
	view_fini(&v);
}

TEST(test_guard__image_that_shrinks_under_a_view)
{
	volatile uint8_t *at;
	struct view v;

	start_view(&v);
	CHECK_OK(memory_add_view(&memory, 1 << 30, &v));
	CHECK_OK(view_map(&v, 0, VIEW_UNIT, fd, 4 * MIB));
	at = v.at + MIB;
	CHECK_EQ(*at, 'i');
	CHECK(!memory_lost(&memory));
	CHECK_OK(ftruncate(fd, MIB) ? -errno : 0);
	CHECK_EQ(*at, 0);
	CHECK(memory_lost(&memory));
	CHECK_ERR(view_map(&v, VIEW_UNIT, VIEW_UNIT, fd, 0), -EIO);
	memory_clear(&memory);
	view_fini(&v);
	view_fini(&v);
}
