/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mapped files: the test maps the image as a guest's window would, and whatever is done to the file, mapping and file
 * show the same bytes, the blocks stay, and e2fsck finds nothing.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/daemon/fs/fixture.h"

#define PAGE 4096u
#define RANGE ((uint64_t)FS_DAX_RANGE)

static uint8_t data[3u << 20], back[3u << 20];

/* A window of one range. */
struct view {
	struct fs_dax_map map;
	uint8_t *at;
};

static void fill(void)
{
	for (size_t k = 0; k < sizeof(data); k++)
		data[k] = (uint8_t)(1 + k % 251);
}

static void open_image(struct fixture *f, const char *options)
{
	fixture_open(f, options);
	CHECK(!fs_dax_enable(f->fs));
	fill();
}

static void show(struct fixture *f, uint64_t nodeid, uint64_t off, struct view *v)
{
	uint64_t covered = 0;

	*v = (struct view){ .map = { .off = off, .len = RANGE, .write = true } };
	CHECK_OK(fs_dax_map(f->fs, &f->ctx, nodeid, &v->map));
	v->at = mmap(NULL, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(v->at != MAP_FAILED);
	for (uint32_t k = 0; k < v->map.count; k++) {
		const struct fs_dax_run *r = &v->map.run[k];

		CHECK_EQ(r->off, covered);
		covered += r->len;
		CHECK(mmap(v->at + r->off, r->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			   fs_dax_fd(f->fs), (off_t)r->image_off) != MAP_FAILED);
	}
}

static void hide(struct view *v)
{
	CHECK_EQ(munmap(v->at, RANGE), 0);
	free(v->map.run);
	fs_dax_unmap(v->map.pin);
}

static uint64_t make_full(struct fixture *f, const char *path, size_t len)
{
	uint64_t nodeid = make_file(f, path);

	CHECK_EQ(write_node(f, nodeid, data, len, 0), (ssize_t)len);
	return nodeid;
}

/* The file's bytes up to its end are those in @v, whose range begins at 0. */
static void same(struct fixture *f, uint64_t nodeid, const struct view *v)
{
	ssize_t len = read_node(f, nodeid, back, RANGE, 0);

	CHECK(len >= 0);
	CHECK_MEM_EQ(back, v->at, (size_t)len);
	/* What lies behind the end, a growing file must find as zeros. */
	for (size_t k = (size_t)len; k < ROUND_UP((size_t)len, PAGE); k++)
		CHECK_EQ(v->at[k], 0);
}

static void set_size(struct fixture *f, uint64_t nodeid, uint64_t size)
{
	struct fs_setattr set = { .nodeid = nodeid, .valid = FS_SET_SIZE, .size = size };
	struct fs_attr attr;

	CHECK_OK(fs_setattr(f->fs, &f->ctx, &set, &attr));
	CHECK_EQ(attr.size, size);
}

TEST(test_map__shows_the_file_both_ways)
{
	struct fs_stats stats;
	struct fixture f;
	struct view v;
	uint64_t n;

	open_image(&f, "-b 4096 64M");
	n = make_full(&f, "/f", 3u << 20);
	show(&f, n, 0, &v);
	CHECK_MEM_EQ(v.at, data, RANGE);
	memcpy(v.at + 12345, "from the guest", 14);
	CHECK_EQ(read_node(&f, n, back, 14, 12345), 14);
	CHECK_MEM_EQ(back, "from the guest", 14);
	CHECK_EQ(write_node(&f, n, "from the host", 13, RANGE - 5000), 13);
	CHECK_MEM_EQ(v.at + RANGE - 5000, "from the host", 13);
	CHECK(fs_dax_is_mapped(f.fs, &f.ctx, n));
	fs_get_stats(f.fs, &stats);
	CHECK_EQ(stats.dax_files, 1);
	CHECK_EQ(stats.dax_ranges, 1);
	hide(&v);
	fs_get_stats(f.fs, &stats);
	CHECK_EQ(stats.dax_files + stats.dax_ranges, 0);
	CHECK(!fs_dax_is_mapped(f.fs, &f.ctx, n));
	CHECK_EQ(read_node(&f, n, back, 14, 12345), 14);
	CHECK_MEM_EQ(back, "from the guest", 14);
	forget(&f, n);
	fixture_close(&f);
}

TEST(test_map__growth_needs_no_new_mapping)
{
	uint64_t free_before, n;
	struct fs_statfs st;
	struct fixture f;
	struct view v;

	open_image(&f, "-b 4096 64M");
	n = make_full(&f, "/f", 40000);
	CHECK_OK(fs_statfs(f.fs, &st));
	free_before = st.bfree;
	show(&f, n, 0, &v);
	CHECK_EQ(v.map.run[v.map.count - 1].off + v.map.run[v.map.count - 1].len, RANGE);
	/* Appended to, with a gap, by a larger size, by preallocation. */
	CHECK_EQ(write_node(&f, n, data, 400000, 40000), 400000);
	same(&f, n, &v);
	CHECK_EQ(write_node(&f, n, data, 100, 700001), 100);
	same(&f, n, &v);
	set_size(&f, n, 900000);
	same(&f, n, &v);
	/* And what the guest stores there is the file's. */
	v.at[899999] = 77;
	v.at[650000] = 78;
	same(&f, n, &v);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, n, 0, 0, 1 << 20));
	same(&f, n, &v);
	v.at[(1 << 20) - 1] = 79;
	same(&f, n, &v);
	hide(&v);
	CHECK_EQ(attr_of(&f, "/f").blocks, (1 << 20) / 512);
	CHECK_OK(fs_syncfs(f.fs));
	CHECK_OK(fs_statfs(f.fs, &st));
	CHECK(free_before - st.bfree <=
	      (1 << 20) / PAGE); /* what was ahead of the end has gone back */
	forget(&f, n);
	fixture_close(&f);
}

TEST(test_map__truncation_keeps_the_blocks)
{
	struct fixture f;
	struct view v;
	uint64_t n, other;

	open_image(&f, "-b 4096 64M");
	n = make_full(&f, "/f", 3u << 20);
	show(&f, n, 0, &v);
	set_size(&f, n, 5000);
	same(&f, n, &v);
	memset(back, 0, RANGE);
	CHECK_MEM_EQ(v.at + 5000, back, RANGE - 5000);
	/* Nobody else gets them: a guest that stores there spoils nothing. */
	CHECK_OK(fs_syncfs(f.fs));
	other = make_full(&f, "/other", 3u << 20);
	memset(v.at + 2 * PAGE, 0xee, RANGE - 2 * PAGE);
	CHECK_EQ(read_node(&f, other, back, 3u << 20, 0), 3 << 20);
	CHECK_MEM_EQ(back, data, 3u << 20);
	memset(v.at + 2 * PAGE, 0, RANGE - 2 * PAGE);
	set_size(&f, n, 1 << 20);
	same(&f, n, &v);
	v.at[(1 << 20) - 1] = 5;
	same(&f, n, &v);
	set_size(&f, n, 0);
	CHECK_EQ(write_node(&f, n, data, 100000, 0), 100000);
	same(&f, n, &v);
	hide(&v);
	CHECK_EQ(attr_of(&f, "/f").blocks, ROUND_UP(100000u, PAGE) / 512);
	forget(&f, n);
	forget(&f, other);
	fixture_close(&f);
}

TEST(test_map__punch_and_zero_clear_in_place)
{
	struct fixture f;
	struct view v;
	uint64_t n, blocks;

	open_image(&f, "-b 4096 64M");
	n = make_full(&f, "/f", 3u << 20);
	show(&f, n, 0, &v);
	blocks = attr_of(&f, "/f").blocks;
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, n, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10000,
			      500000));
	same(&f, n, &v);
	CHECK_EQ(v.at[9999], data[9999]);
	CHECK_EQ(v.at[10000], 0);
	CHECK_EQ(v.at[509999], 0);
	CHECK_EQ(v.at[510000], data[510000]);
	CHECK_EQ(attr_of(&f, "/f").blocks, blocks);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, n, FALLOC_FL_ZERO_RANGE, 600000, 100));
	same(&f, n, &v);
	CHECK_EQ(v.at[600050], 0);
	v.at[20000] = 9;
	same(&f, n, &v);
	/* Across the mapping's end: outside of it blocks go. */
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, n, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      RANGE - PAGE, 3 * PAGE));
	same(&f, n, &v);
	CHECK_EQ(attr_of(&f, "/f").blocks, blocks - 2 * PAGE / 512);
	CHECK_EQ(fs_fallocate(f.fs, &f.ctx, n, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE), -EBUSY);
	CHECK_EQ(fs_fallocate(f.fs, &f.ctx, n, FALLOC_FL_INSERT_RANGE, 0, PAGE), -EBUSY);
	/* Past the end of the file. */
	set_size(&f, n, 100000);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, n, FALLOC_FL_ZERO_RANGE, 90000, 400000));
	CHECK_EQ(attr_of(&f, "/f").size, 490000);
	v.at[480000] = 3;
	same(&f, n, &v);
	hide(&v);
	forget(&f, n);
	fixture_close(&f);
}

TEST(test_map__holes_and_preallocated_blocks_are_filled)
{
	struct fixture f;
	struct view v;
	uint64_t n;

	open_image(&f, "-b 4096 64M");
	n = make_file(&f, "/f");
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, n, 0, 0, 1 << 20));
	set_size(&f, n, 3u << 20);
	CHECK_EQ(write_node(&f, n, data, 100, 70000), 100);
	show(&f, n, 0, &v);
	same(&f, n, &v);
	v.at[0] = 1;
	v.at[(1 << 20) + 5] = 2;
	v.at[RANGE - 1] = 3;
	same(&f, n, &v);
	/* Durable as soon as it is asked for. */
	CHECK_OK(fs_fsync(f.fs, &f.ctx, n, true));
	munmap(v.at, RANGE);
	free(v.map.run);
	fs_dax_unmap(v.map.pin);
	forget(&f, n);
	fixture_crash(&f);
	fixture_mount(&f);
	n = look(&f, "/f");
	CHECK_EQ(read_node(&f, n, back, RANGE, 0), (ssize_t)RANGE);
	CHECK_EQ(back[0], 1);
	CHECK_EQ(back[(1 << 20) + 5], 2);
	CHECK_EQ(back[RANGE - 1], 3);
	forget(&f, n);
	fixture_close(&f);
}

TEST(test_map__deleted_file_lives_until_it_is_unmapped)
{
	uint64_t free_before, n, other;
	struct fs_statfs st;
	struct fixture f;
	struct view v;

	open_image(&f, "-b 4096 64M");
	CHECK_OK(fs_statfs(f.fs, &st));
	free_before = st.bfree;
	n = make_full(&f, "/f", 3u << 20);
	show(&f, n, 0, &v);
	CHECK_OK(try_rename(&f, "/f", "/g", 0));
	same(&f, n, &v);
	CHECK_OK(try_unlink(&f, "/g"));
	forget(&f, n); /* as no honest guest does */
	CHECK_OK(fs_syncfs(f.fs));
	other = make_full(&f, "/other", 3u << 20);
	memset(v.at, 0xee, RANGE);
	CHECK_EQ(read_node(&f, other, back, 3u << 20, 0), 3 << 20);
	CHECK_MEM_EQ(back, data, 3u << 20);
	hide(&v);
	forget(&f, other);
	CHECK_OK(try_unlink(&f, "/other"));
	CHECK_OK(fs_syncfs(f.fs));
	CHECK_OK(fs_statfs(f.fs, &st));
	CHECK_EQ(st.bfree, free_before);
	fixture_close(&f);
}

TEST(test_map__full_image)
{
	struct fixture f;
	struct view v;
	uint64_t n, big;
	ssize_t got;

	open_image(&f, "-b 4096 -m 0 16M");
	n = make_full(&f, "/f", 5000);
	big = make_file(&f, "/big");
	for (uint64_t off = 0; (got = write_node(&f, big, data, sizeof(data), off)) > 0;)
		off += (uint64_t)got;
	CHECK_EQ(got, -ENOSPC);
	/* What there is can be mapped; but the file cannot grow, even when there is room again. */
	show(&f, n, 0, &v);
	same(&f, n, &v);
	CHECK_EQ(write_node(&f, n, data, 100, 8000), 100);
	same(&f, n, &v);
	set_size(&f, big, 0);
	CHECK_OK(fs_syncfs(f.fs));
	CHECK_EQ(write_node(&f, n, data, 100, 100000), -ENOSPC);
	hide(&v);
	CHECK_EQ(write_node(&f, n, data, 100, 100000), 100);
	forget(&f, n);
	forget(&f, big);
	fixture_close(&f);
}

TEST(test_map__refused)
{
	struct fs_dax_map map = { .len = RANGE };
	struct fixture f;
	uint64_t n;

	open_image(&f, "-b 4096 64M");
	n = make_full(&f, "/f", 3u << 20);
	map.off = PAGE;
	CHECK_EQ(fs_dax_map(f.fs, &f.ctx, n, &map), -EINVAL);
	map = (struct fs_dax_map){ .len = 2 * RANGE };
	CHECK_EQ(fs_dax_map(f.fs, &f.ctx, n, &map), -EINVAL);
	map = (struct fs_dax_map){ .len = 0 };
	CHECK_EQ(fs_dax_map(f.fs, &f.ctx, n, &map), -EINVAL);
	map = (struct fs_dax_map){ .off = UINT64_MAX - RANGE + 1, .len = RANGE };
	CHECK_EQ(fs_dax_map(f.fs, &f.ctx, n, &map), -EINVAL);
	map = (struct fs_dax_map){ .off = RANGE << 23, .len = RANGE };
	CHECK_EQ(fs_dax_map(f.fs, &f.ctx, n, &map), -EINVAL);
	map = (struct fs_dax_map){ .len = RANGE };
	CHECK_EQ(fs_dax_map(f.fs, &f.ctx, FS_ROOT_NODEID, &map), -EINVAL);
	CHECK(!map.pin && !map.run);
	forget(&f, n);
	fixture_close(&f);

	fixture_open(&f, NULL); /* blocks of 1 KiB */
	CHECK(fs_dax_enable(f.fs) != NULL);
	fixture_close(&f);
	fixture_open(&f, "-b 4096 -O ^extents,^64bit,^metadata_csum 32M");
	CHECK(fs_dax_enable(f.fs) != NULL);
	fixture_close(&f);
}

/* Small contents lie in the inode itself. */
TEST(test_map__inline_contents_get_a_block)
{
	struct fixture f;
	struct view v;
	uint64_t n;

	open_image(&f, "-b 4096 -I 256 -O inline_data 64M");
	n = make_full(&f, "/f", 50);
	show(&f, n, 0, &v);
	same(&f, n, &v);
	CHECK_MEM_EQ(v.at, data, 50);
	v.at[10] = 200;
	same(&f, n, &v);
	hide(&v);
	CHECK_EQ(read_node(&f, n, back, 100, 0), 50);
	CHECK_EQ(back[10], 200);
	forget(&f, n);
	fixture_close(&f);
}

TEST(test_worth_it__large_and_without_holes)
{
	struct fixture f;
	uint64_t n;

	open_image(&f, "-b 4096 64M");
	n = make_full(&f, "/f", 3u << 20);
	CHECK(attr_of(&f, "/f").dax);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, n, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE,
			      PAGE));
	CHECK(!attr_of(&f, "/f").dax);
	forget(&f, n);
	n = make_full(&f, "/small", 1u << 20);
	CHECK(!attr_of(&f, "/small").dax);
	CHECK(!attr_of(&f, "/").dax);
	forget(&f, n);
	fixture_close(&f);
}
