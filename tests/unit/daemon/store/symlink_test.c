// SPDX-License-Identifier: GPL-2.0-only
/* Targets of every length in every place, and sizes that lie. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "daemon/store/dir.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/img.h"

static char target[PATH_MAX + 1];

static struct inode *make(struct img *m, struct inode *root, uint32_t len, int want)
{
	struct inode_init init = { .mode = 0120777, .now_s = 1 };
	char name[16];
	struct dir_name n = { name, (uint32_t)snprintf(name, sizeof(name), "l%u", len) };
	struct inode *i;
	struct handle h;
	int err;

	img_start(m, &h);
	CHECK_OK(inode_create(&h, root, &init, &i));
	err = symlink_write(&h, i, target, len);
	CHECK_EQ(err, want);
	if (err == 0) {
		i->links = 1;
		CHECK_OK(dir_add(&h, root, &n, i->ino, EXT4_FT_SYMLINK));
		CHECK_OK(inode_write_data(&h, root));
	}
	CHECK_OK(inode_write_data(&h, i));
	img_stop(&h);
	if (err) {
		CHECK_OK(inode_delete(i));
		return NULL;
	}
	return i;
}

static void check(struct inode *i, uint32_t len)
{
	static char buf[PATH_MAX];
	uint32_t got = 0;

	CHECK_OK(symlink_read(i, buf, sizeof(buf), &got));
	CHECK_EQ(got, len);
	CHECK_MEM_EQ(buf, target, len);
	CHECK_EQ(symlink_read(i, buf, len - 1, &got), -ERANGE);
}

/* Returns how many lengths were too long. */
static uint32_t run(const char *options, uint32_t too_long)
{
	static const uint32_t lens[] = { 1,   30,   58,	  59,	60,   61,   100,  150, 200,
					 400, 1000, 1023, 1024, 4000, 4094, 4095, 4096 };
	struct inode *root, *i[ARRAY_SIZE(lens)];
	uint32_t refused = 0;
	struct img m;

	for (uint32_t k = 0; k < sizeof(target); k++)
		target[k] = (char)('a' + k % 26);
	img_make(&m, options, "8M");
	img_open(&m);
	root = img_root(&m);
	for (uint32_t k = 0; k < ARRAY_SIZE(lens); k++) {
		i[k] = make(&m, root, lens[k], lens[k] < too_long ? 0 : -ENAMETOOLONG);
		if (i[k])
			check(i[k], lens[k]);
		else
			refused++;
	}
	for (uint32_t k = 0; k < ARRAY_SIZE(lens); k++) {
		uint32_t ino;

		if (!i[k])
			continue;
		ino = i[k]->ino;
		img_put(i[k]);
		CHECK_OK(inode_get(m.s, ino, &i[k]));
		check(i[k], lens[k]);
		inode_put(i[k]);
	}
	img_put(root);
	img_close(&m);
	img_fsck(&m);
	CHECK(strstr(img_debugfs(&m, false, "stat l59"), "Fast link dest: \"abcdef") != NULL);
	return refused;
}

TEST(test_symlink__4k)
{
	CHECK_EQ(run("-b 4096", 4096), 1);
}

TEST(test_symlink__1k)
{
	CHECK_EQ(run("-b 1024", 1024), 5);
}

TEST(test_symlink__block_mapped)
{
	CHECK_EQ(run("-b 1024 -O ^extent,^64bit,^metadata_csum -I 128", 1024), 5);
}

TEST(test_symlink__inline)
{
	CHECK_EQ(run("-b 4096 -I 512 -O inline_data", 4096), 1);
}

TEST(test_symlink__nul_and_empty_are_refused)
{
	struct inode *root;
	struct img m;

	img_make(&m, "-b 1024", "8M");
	img_open(&m);
	root = img_root(&m);
	memset(target, 'x', sizeof(target));
	target[5] = 0;
	CHECK_PTR_EQ(make(&m, root, 10, -EINVAL), NULL);
	CHECK_PTR_EQ(make(&m, root, 0, -ENOENT), NULL);
	img_put(root);
	img_close(&m);
	img_fsck(&m);
}

/* @size as the image might claim it: an error, never more bytes than there are. */
static void check_lie(struct inode *i, uint64_t size)
{
	uint64_t right = i->size;
	char buf[PATH_MAX];
	uint32_t got;

	i->size = size;
	CHECK_EQ(symlink_read(i, buf, sizeof(buf), &got), -EUCLEAN);
	i->size = right;
}

TEST(test_symlink__lying_sizes_are_corruption)
{
	struct store_opts opts = { .errors = ERRORS_CONTINUE, .no_barrier = true };
	struct inode *root, *fast, *slow;
	struct img m;

	img_make(&m, "-b 1024", "8M");
	img_open_opts(&m, &opts);
	root = img_root(&m);
	memset(target, 'x', sizeof(target));
	fast = make(&m, root, 20, 0);
	slow = make(&m, root, 200, 0);
	check_lie(fast, 0);
	check_lie(fast, 21); /* past the NUL */
	check_lie(fast, 59);
	check_lie(slow, 201);
	check_lie(slow, 1024);
	check_lie(slow, 4096);
	check_lie(slow, (uint64_t)1 << 40);
	check(fast, 20);
	check(slow, 200);
	img_put(fast);
	img_put(slow);
	img_put(root);
	store_destroy(m.s);
}
