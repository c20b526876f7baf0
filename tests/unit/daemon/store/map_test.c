// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files against a model: random writes, truncations, holes, preallocation, shifted
 * ranges, on every kind of map and block size, with the smallest cache and journal too.
 * The judges are e2fsck and what debugfs reads from the image afterwards.
 */
#include "daemon/store/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store/alloc.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/file_model.h"
#include "tests/unit/daemon/store/img.h"

#define FILES 3

struct scenario {
	const char *options, *size;
	uint32_t steps;	       /* in all, spread over the files */
	uint32_t model_blocks; /* largest file */
	uint32_t bufs_max;
	bool small; /* the first half with few bytes: inline data */
};

struct files {
	struct img m;
	const struct scenario *sc;
	struct file_model f[FILES];
	uint32_t ino[FILES];
};

static void open_img(struct files *t)
{
	struct store_opts opts = { .no_barrier = true, .bufs_max = t->sc->bufs_max };

	img_open_opts(&t->m, &opts);
}

static void files_make(struct files *t, const struct scenario *sc)
{
	struct inode *root;
	char name[8];

	memset(t, 0, sizeof(*t));
	t->sc = sc;
	img_make(&t->m, sc->options, sc->size);
	open_img(t);
	root = img_root(&t->m);
	for (int k = 0; k < FILES; k++) {
		struct inode *i;

		(void)snprintf(name, sizeof(name), "f%d", k);
		i = img_create(&t->m, root, name, 0100644);
		rwlock_unwrite(&i->lock);
		t->ino[k] = i->ino;
		file_model_init(&t->f[k], i, (uint64_t)sc->model_blocks * t->m.s->block_size);
		t->f[k].small = sc->small;
	}
	img_put(root);
}

/* Last close and remount: nothing but the image remembers. */
static void files_remount(struct files *t)
{
	for (int k = 0; k < FILES; k++) {
		rwlock_write(&t->f[k].inode->lock);
		balloc_release_resv(t->f[k].inode);
		img_put(t->f[k].inode);
	}
	img_close(&t->m);
	img_fsck(&t->m);
	open_img(t);
	for (int k = 0; k < FILES; k++)
		CHECK_OK(inode_get(t->m.s, t->ino[k], &t->f[k].inode));
}

/* debugfs copies the file out of the image; it knows nothing of our code. */
static void check_dump(const struct files *t, int k)
{
	const struct file_model *f = &t->f[k];
	const char *path = test_path("dump");
	uint8_t *got = calloc(1, f->size + 1);
	char command[400];
	struct stat st;
	int fd;

	(void)snprintf(command, sizeof(command), "dump /f%d %s", k, path);
	(void)unlink(path);
	(void)img_debugfs(&t->m, false, command);
	fd = open(path, O_RDONLY);
	CHECK_GE(fd, 0);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_size, f->size);
	CHECK_EQ(read(fd, got, f->size), f->size);
	CHECK_MEM_EQ(got, f->bytes, f->size);
	(void)close(fd);
	free(got);
}

static void files_end(struct files *t)
{
	for (int k = 0; k < FILES; k++) {
		rwlock_write(&t->f[k].inode->lock);
		balloc_release_resv(t->f[k].inode);
		img_put(t->f[k].inode);
	}
	img_close(&t->m);
	img_fsck(&t->m);
	for (int k = 0; k < FILES; k++) {
		check_dump(t, k);
		file_model_fini(&t->f[k]);
	}
}

static void files_check(struct files *t)
{
	for (int k = 0; k < FILES; k++)
		file_model_check(&t->f[k]);
}

static uint64_t check_scenario(const struct scenario *sc)
{
	static struct files t;
	uint64_t enospc = 0;

	files_make(&t, sc);
	for (uint32_t n = 0; n < sc->steps; n++) {
		if (n == sc->steps / 3 || n == sc->steps / 3 * 2) {
			files_check(&t);
			files_remount(&t);
			files_check(&t);
			for (int k = 0; k < FILES; k++)
				t.f[k].small = false;
		}
		file_model_step(&t.f[test_random_below(FILES)]);
	}
	files_check(&t);
	for (int k = 0; k < FILES; k++)
		enospc += t.f[k].enospc;
	files_end(&t);
	return enospc;
}

TEST(test_extents_1k__equal_model)
{
	check_scenario(&(struct scenario){ "-b 1024 -J size=1", "24M", 900, 4000, 0, false });
}

TEST(test_extents_1k_tiny_cache__equal_model)
{
	check_scenario(
		&(struct scenario){ "-b 1024 -J size=1", "24M", 600, 4000, CACHE_BUFS_MIN, false });
}

TEST(test_extents_2k__equal_model)
{
	check_scenario(&(struct scenario){ "-b 2048 -J size=2", "32M", 600, 2000, 0, false });
}

TEST(test_extents_4k__equal_model)
{
	check_scenario(&(struct scenario){ "-b 4096 -J size=4", "64M", 500, 1500, 0, false });
}

TEST(test_extents_without_checksums__equal_model)
{
	check_scenario(&(struct scenario){ "-b 1024 -O ^metadata_csum,^64bit", "24M", 500, 4000, 0,
					   false });
}

TEST(test_extents_without_journal__equal_model)
{
	check_scenario(&(struct scenario){ "-b 1024 -O ^has_journal", "24M", 500, 4000, 0, false });
}

TEST(test_block_map_1k__equal_model)
{
	check_scenario(&(struct scenario){ "-b 1024 -O ^extent,^64bit -J size=1", "24M", 900, 4000,
					   0, false });
}

TEST(test_block_map_4k__equal_model)
{
	check_scenario(&(struct scenario){ "-b 4096 -O ^extent,^64bit,^metadata_csum -I 128", "64M",
					   400, 1500, CACHE_BUFS_MIN, false });
}

TEST(test_inline_256__equal_model)
{
	check_scenario(&(struct scenario){ "-b 1024 -O inline_data", "24M", 900, 1000, 0, true });
}

TEST(test_inline_1024__equal_model)
{
	check_scenario(
		&(struct scenario){ "-b 4096 -I 1024 -O inline_data", "64M", 600, 300, 0, true });
}

TEST(test_small_groups__equal_model)
{
	check_scenario(&(struct scenario){ "-b 1024 -g 256 -O ^resize_inode", "16M", 600, 3000, 0,
					   false });
}

/* The files want more than there is: what fits is kept, nothing else changes. */
TEST(test_full_image_extents__equal_model)
{
	CHECK_GT(check_scenario(&(struct scenario){ "-b 1024 -m 0 -O ^has_journal", "5M", 900, 4000,
						    0, false }),
		 0);
}

TEST(test_full_image_block_map__equal_model)
{
	CHECK_GT(check_scenario(&(struct scenario){ "-b 1024 -m 5 -O ^extent,^64bit,^has_journal",
						    "4M", 900, 4000, 0, false }),
		 0);
}
