// SPDX-License-Identifier: GPL-2.0-only
/* Directories inside their inode: what grows them, names that are there already, and hostile parents. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/store/dir_block.h"
#include "daemon/store/xattr.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/img.h"

struct fix {
	struct img m;
	struct inode *root, *dir, *file;
};

static void fix_start(struct fix *f)
{
	struct handle h;

	img_make(&f->m, "-b 1024 -I 256 -O inline_data", "8M");
	img_open(&f->m);
	f->root = img_root(&f->m);
	f->dir = img_create(&f->m, f->root, "d", 040755);
	f->file = img_create(&f->m, f->root, "f", 0100640);
	img_start(&f->m, &h);
	if (!(f->dir->flags & EXT4_INLINE_DATA_FL)) {
		CHECK_EQ(f->dir->size, 0);
		CHECK_OK(dir_init(&h, f->dir, f->root->ino));
		CHECK_OK(inode_write_data(&h, f->dir));
	}
	img_stop(&h);
	CHECK(f->dir->flags & EXT4_INLINE_DATA_FL);
}

static void fix_end(struct fix *f)
{
	img_put(f->file);
	img_put(f->dir);
	img_put(f->root);
	img_close(&f->m);
}

static int add(struct fix *f, const char *name)
{
	struct dir_name n = { name, (uint32_t)strlen(name) };
	struct handle h;
	int err;

	img_start(&f->m, &h);
	err = dir_add(&h, f->dir, &n, f->file->ino, EXT4_FT_REG_FILE);
	CHECK_OK(inode_write_data(&h, f->dir));
	img_stop(&h);
	return err;
}

static void set(struct fix *f, const char *value)
{
	struct xattr_set x = { .name = "user.a", .value = value, .len = value ? strlen(value) : 0 };
	struct handle h;

	img_start(&f->m, &h);
	CHECK_OK(xattr_set(&h, f->dir, &x));
	CHECK_OK(inode_write_data(&h, f->dir));
	img_stop(&h);
}

static int look(struct fix *f, const char *name)
{
	struct dir_name n = { name, (uint32_t)strlen(name) };
	uint32_t ino;
	uint8_t ftype;

	return dir_lookup(f->dir, &n, &ino, &ftype);
}

/* The second chain takes the room that an attribute leaves behind it, and no name is lost. */
TEST(test_dir_inline__takes_room_that_becomes_free)
{
	char names[12][16], twelve[16];
	struct fix f;
	uint32_t count = 0, k;
	uint64_t before;

	fix_start(&f);
	set(&f, "a value that takes room");
	for (count = 0; count < 12; count++) {
		(void)snprintf(names[count], sizeof(names[0]), "name-%06u", count);
		CHECK_OK(add(&f, names[count]));
		if (f.dir->size > sizeof(f.dir->i_block))
			break;
	}
	CHECK(f.dir->flags & EXT4_INLINE_DATA_FL);
	CHECK_LT(count, 12);
	count++;
	before = f.dir->size;
	set(&f, NULL);
	for (k = 0; k < 12 && f.dir->size == before; k++) {
		(void)snprintf(twelve, sizeof(twelve), "more-%06u", k);
		CHECK_OK(add(&f, twelve));
	}
	CHECK(f.dir->size != before);
	for (uint32_t n = 0; n < count; n++) {
		CHECK_OK(look(&f, names[n]));
		CHECK_EQ(add(&f, names[n]), -EEXIST);
	}
	CHECK_OK(look(&f, "more-000000"));
	fix_end(&f);
}

TEST(test_dir_inline__impossible_parents_are_corruption)
{
	uint32_t parent;
	struct fix f;

	log_set_level(LOG_LEVEL_OFF);
	fix_start(&f);
	dir_inline_set_parent(f.dir, 0);
	CHECK_ERR(dir_inline_parent(f.dir, &parent), -EUCLEAN);
	dir_inline_set_parent(f.dir, f.m.s->inodes_count + 1);
	CHECK_ERR(dir_inline_parent(f.dir, &parent), -EUCLEAN);
	dir_inline_set_parent(f.dir, f.root->ino);
	CHECK_OK(dir_inline_parent(f.dir, &parent));
	CHECK_EQ(parent, f.root->ino);
	CHECK_EQ(atomic_exchange(&f.m.s->corruptions, 0), 2);
	fix_end(&f);
}
