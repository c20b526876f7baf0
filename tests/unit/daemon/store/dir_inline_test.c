// SPDX-License-Identifier: GPL-2.0-only
/* Directories inside their inode: what grows them, names that are there already, and hostile parents. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/store/dir_block.h"
#include "daemon/store/xattr.h"
#include "daemon/store/xattr_ibody.h"
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

static int list_none(void *arg, const struct dir_entry *e)
{
	(void)arg;
	return e->name[0] == '.' ? 0 : -EBADE; /* the dots are no entries of the chain */
}

/* Nothing is found, nothing is absent, nothing is changed. */
static void check_refused(struct fix *f, const char *name)
{
	struct dir_name n = { name, (uint32_t)strlen(name) };
	uint8_t i_block[sizeof(f->dir->i_block)];
	uint64_t size = f->dir->size;
	struct handle h;
	bool empty;

	memcpy(i_block, f->dir->i_block, sizeof(i_block));
	CHECK_ERR(look(f, name), -EUCLEAN);
	CHECK_ERR(look(f, "absent"), -EUCLEAN);
	CHECK_ERR(add(f, "new"), -EUCLEAN);
	CHECK_ERR(dir_is_empty(f->dir, &empty), -EUCLEAN);
	CHECK_ERR(dir_iterate(f->dir, 2, list_none, NULL), -EUCLEAN);
	img_start(&f->m, &h);
	CHECK_ERR(dir_remove(&h, f->dir, &n), -EUCLEAN);
	CHECK_ERR(dir_replace(&h, f->dir, &n, f->root->ino, EXT4_FT_DIR), -EUCLEAN);
	CHECK_ERR(dir_inline_convert(&h, f->dir), -EUCLEAN);
	img_stop(&h);
	CHECK_MEM_EQ(f->dir->i_block, i_block, sizeof(i_block));
	CHECK_EQ(f->dir->size, size);
	CHECK(f->dir->flags & EXT4_INLINE_DATA_FL);
	CHECK_EQ(atomic_exchange(&f->m.s->corruptions, 0), 8);
}

TEST(test_dir_inline__broken_chains_refuse_every_change)
{
	static const uint8_t broken[12] = { 1, 0, 0, 0, 7 }; /* a record of 7 bytes */
	uint8_t whole[200], old;
	struct handle h;
	struct fix f;
	ssize_t len;

	log_set_level(LOG_LEVEL_OFF);
	fix_start(&f);
	for (char name[] = "name-a"; f.dir->size == sizeof(f.dir->i_block); name[5]++)
		CHECK_OK(add(&f, name));
	len = xattr_ibody_data_get(f.dir, whole, sizeof(whole));
	CHECK_GT(len, 0);
	old = f.dir->i_block[4 + 4];
	f.dir->i_block[4 + 4] = 7;
	check_refused(&f, "name-a");
	f.dir->i_block[4 + 4] = old;
	CHECK_OK(look(&f, "name-a"));
	img_start(&f.m, &h);
	CHECK_OK(xattr_ibody_data_set(&h, f.dir, broken, sizeof(broken)));
	img_stop(&h);
	check_refused(&f, "name-a");
	img_start(&f.m, &h);
	CHECK_OK(xattr_ibody_data_set(&h, f.dir, whole, (size_t)len));
	img_stop(&h);
	CHECK_OK(look(&f, "name-a"));
	CHECK_OK(add(&f, "new"));
	fix_end(&f);
}

/* In either chain, seen by who reads the inode again. */
TEST(test_dir_inline__replaces_and_removes_in_both_chains)
{
	char name[] = "name-a", last;
	struct dir_name n = { name, 6 };
	struct handle h;
	struct fix f;
	uint32_t ino;
	uint8_t ftype;
	bool empty;

	fix_start(&f);
	for (; f.dir->size == sizeof(f.dir->i_block); name[5]++)
		CHECK_OK(add(&f, name));
	last = (char)(name[5] - 1);
	img_start(&f.m, &h);
	for (name[5] = 'a'; name[5] <= last; name[5]++)
		CHECK_OK(dir_replace(&h, f.dir, &n, f.root->ino, EXT4_FT_DIR));
	CHECK_ERR(dir_replace(&h, f.dir, &n, f.root->ino, EXT4_FT_DIR), -ENOENT);
	CHECK_OK(inode_write_data(&h, f.dir));
	img_stop(&h);
	for (name[5] = 'a'; name[5] <= last; name[5]++) {
		CHECK_OK(dir_lookup(f.dir, &n, &ino, &ftype));
		CHECK_EQ(ino, f.root->ino);
		CHECK_EQ(ftype, EXT4_FT_DIR);
	}
	img_start(&f.m, &h);
	for (name[5] = 'a'; name[5] <= last; name[5]++) {
		CHECK_OK(dir_is_empty(f.dir, &empty));
		CHECK(!empty); /* also when only the second chain has a name */
		CHECK_OK(dir_remove(&h, f.dir, &n));
		CHECK_ERR(look(&f, name), -ENOENT);
	}
	CHECK_OK(dir_is_empty(f.dir, &empty));
	CHECK(empty);
	CHECK_OK(inode_write_data(&h, f.dir));
	img_stop(&h);
	fix_end(&f);
	img_fsck(&f.m);
}

/* Attributes may have taken the room: then the directory has to be a block. */
TEST(test_dir_inline__needs_room_beside_the_attributes)
{
	static const char value[60];
	struct xattr_set x = { .name = "user.full", .value = value, .len = sizeof(value) };
	uint8_t i_block[60];
	struct handle h;
	struct fix f;

	fix_start(&f);
	img_start(&f.m, &h);
	CHECK_OK(xattr_ibody_data_remove(&h, f.file));
	CHECK_OK(xattr_set(&h, f.file, &x));
	memcpy(i_block, f.file->i_block, sizeof(i_block));
	CHECK_ERR(dir_inline_init(&h, f.file, f.root->ino), -ENOSPC);
	CHECK_MEM_EQ(f.file->i_block, i_block, sizeof(i_block));
	img_stop(&h);
	fix_end(&f);
}
