// SPDX-License-Identifier: GPL-2.0-only
/*
 * Indexes of directories with one wrong field each, where no checksum tells: what is asked is
 * found by walking all blocks, or is corruption, and nothing is added to such an index.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/store/dir.h"
#include "daemon/store/map.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define NAMES 400

struct victim {
	struct img m;
	uint32_t dir_ino, file_ino;
	uint64_t root_pblk;
};

static struct dir_name name_of(uint32_t id, char *buf)
{
	return (struct dir_name){ buf, (uint32_t)snprintf(buf, 64, "%u-some-name", id) };
}

static void victim_make(struct victim *v)
{
	struct inode *root, *dir, *file;
	struct map_run run;
	struct handle h;
	char buf[64];

	log_set_level(LOG_LEVEL_OFF);
	img_make(&v->m, "-b 1024 -O ^metadata_csum,^has_journal", "4M");
	img_open(&v->m);
	root = img_root(&v->m);
	dir = img_create(&v->m, root, "d", 040755);
	file = img_create(&v->m, root, "f", 0100644);
	for (uint32_t id = 0; id < NAMES; id++) {
		struct dir_name n = name_of(id, buf);

		img_start(&v->m, &h);
		CHECK_OK(dir_add(&h, dir, &n, file->ino, EXT4_FT_REG_FILE));
		CHECK_OK(inode_write_data(&h, dir));
		img_stop(&h);
	}
	CHECK(dir->flags & EXT4_INDEX_FL);
	CHECK_OK(map_lookup(dir, 0, 1, &run));
	v->root_pblk = run.pblk;
	v->dir_ino = dir->ino;
	v->file_ino = file->ino;
	img_put(file);
	img_put(dir);
	img_put(root);
	img_close(&v->m);
}

static int count_names(void *arg, const struct dir_entry *e)
{
	(void)e;
	++*(uint32_t *)arg;
	return 0;
}

static void check_use(struct victim *v, bool walked)
{
	uint32_t names = 0, ino;
	struct store_open_error err;
	struct inode *dir;
	struct handle h;
	uint8_t ftype;
	char buf[64];
	int ret;

	CHECK_OK(raw_open(&v->m, NULL, &err));
	CHECK_OK(inode_get(v->m.s, v->dir_ino, &dir));
	rwlock_write(&dir->lock);
	for (uint32_t id = 0; id < NAMES + 5; id += 5) {
		struct dir_name n = name_of(id, buf);

		ret = dir_lookup(dir, &n, &ino, &ftype);
		CHECK(ret == 0 || ret == -EUCLEAN || ret == -ENOENT);
		CHECK(ret || (id < NAMES && ino == v->file_ino));
		if (walked && id < NAMES)
			CHECK_EQ(ret, 0);
	}
	ret = dir_iterate(dir, 0, count_names, &names);
	CHECK(ret == 0 || ret == -EUCLEAN);
	CHECK_LE(names, NAMES + 3);
	if (walked)
		CHECK_GE(names, NAMES); /* perhaps without the dots */
	CHECK_GT(atomic_exchange(&v->m.s->corruptions, 0), 0);
	img_start(&v->m, &h);
	ret = dir_add(&h, dir, &(struct dir_name){ "new", 3 }, v->file_ino, EXT4_FT_REG_FILE);
	CHECK(ret == 0 || ret == -EUCLEAN || ret == -EEXIST); /* or an earlier case added it */
	CHECK_OK(inode_write_data(&h, dir));
	img_stop(&h);
	rwlock_unwrite(&dir->lock);
	inode_put(dir);
	CHECK_OK(store_close(v->m.s));
}

TEST(test_htree_corrupt__wrong_fields_of_the_root)
{
	static const struct {
		uint32_t off, len, value;
		bool walked; /* all names are found all the same */
	} cases[] = {
		{ 0x1c, 1, 9, true },				     /* hash_version */
		{ 0x1f, 1, 1, true },				     /* unused_flags */
		{ 0x1e, 1, 3, true },				     /* indirect_levels */
		{ 0x22, 2, 0, true },				     /* count */
		{ 0x22, 2, 5000, true },      { 0x20, 2, 7, false }, /* limit */
		{ 0x24, 4, 0, true },	      /* its first leaf is the root */
		{ 0x24, 4, 0xffffff, false }, /* or is not there */
		{ 0x1e, 1, 1, false },	      /* leaves taken for nodes */
	};
	uint8_t whole[1024], raw[1024];
	struct victim v;

	victim_make(&v);
	raw_read(&v.m, whole, sizeof(whole), v.root_pblk * 1024);
	for (uint32_t k = 0; k < ARRAY_SIZE(cases); k++) {
		uint32_t value = cases[k].value;

		memcpy(raw, whole, sizeof(raw));
		memcpy(raw + cases[k].off, &value, cases[k].len);
		raw_write(&v.m, raw, sizeof(raw), v.root_pblk * 1024);
		check_use(&v, cases[k].walked);
	}
}
