// SPDX-License-Identifier: GPL-2.0-only
/* The workloads over a mounted filesystem. Small: each is done some thousand times. */
#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/util.h"
#include "tests/fault/work.h"
#include "tests/fault/wrap.h"

#define SYNC_THREADS 4
#define SYNC_FILES 6

/* ---- what is there before -------------------------------------------------------- */

static void fill_some(struct work *w)
{
	do_make(w, "/d", S_IFDIR | 0755);
	do_make(w, "/e", S_IFDIR | 0755);
	do_make(w, "/old", S_IFREG | 0644);
	do_truncate(w, "/old", 5000);
}

/* Things a crash leaves to be done: a log to replay, a file without a name, a truncation. */
static void fill_dirty(struct work *w)
{
	struct fs_entry e;
	uint64_t node;

	fill_some(w);
	CHECK_OK(fs_tmpfile(w->f.fs, &w->f.ctx, 1, 0600, &e));
	do_write(w, e.nodeid, 0, 40000, 3);
	do_make(w, "/gone", S_IFREG | 0644);
	node = find(w, "/gone");
	do_write(w, node, 0, 9000, 4);
	CHECK_OK(try_unlink(&w->f, "/gone"));
	do_fsync(w, node);
}

/* ---- names ---------------------------------------------------------------------- */

static void op_link(struct work *w, const char *from, const char *to)
{
	(void)did(w, "link", try_link(&w->f, from, to));
}

static void op_rename(struct work *w, const char *from, const char *to, uint32_t flags)
{
	(void)did(w, "rename", try_rename(&w->f, from, to, flags));
}

static void op_unlink(struct work *w, const char *path)
{
	(void)did(w, "unlink", try_unlink(&w->f, path));
}

static void work_names(struct work *w)
{
	keep_file(w, "/d/kept", 3000, 1);
	do_make(w, "/d/a", S_IFREG | 0644);
	do_make(w, "/d/fifo", S_IFIFO | 0644);
	do_make(w, "/d/dev", S_IFBLK | 0600);
	do_make(w, "/d/sub", S_IFDIR | 0755);
	op_link(w, "/d/a", "/e/b");
	op_rename(w, "/d/a", "/e/c", 0);
	op_rename(w, "/d/sub", "/e/sub", 0);
	op_rename(w, "/e/sub", "/d/fifo", FS_RENAME_EXCHANGE);
	op_rename(w, "/e/b", "/d/white", FS_RENAME_WHITEOUT);
	op_rename(w, "/e/c", "/old", 0);
	op_unlink(w, "/d/dev");
	(void)did(w, "rmdir", try_rmdir(&w->f, "/d/fifo"));
	keep_file(w, "/e/kept", 700, 2);
}

/* So many that buffers for their blocks have to be made, whatever is kept of others. */
static void work_symlinks_long(struct work *w)
{
	for (int k = 0; k < 24; k++) {
		char path[32];

		(void)snprintf(path, sizeof(path), "/d/long%d", k);
		do_symlink(w, path, 300);
	}
}

static void work_symlinks(struct work *w)
{
	char buf[PATH_MAX];
	uint32_t len;
	uint64_t node;

	do_symlink(w, "/d/short", 20);
	do_symlink(w, "/d/long", 400);
	do_symlink(w, "/d/longer", 900);
	node = find(w, "/d/long");
	if (node)
		(void)did(w, "readlink",
			  fs_readlink(w->f.fs, &w->f.ctx, node, buf, sizeof(buf), &len));
	drop(w, node);
	op_unlink(w, "/d/longer");
	op_unlink(w, "/d/short");
	do_symlink(w, "/d/longer", 500);
	keep_file(w, "/kept", 100, 3);
}

static int take_all(void *arg, const struct fs_dirent *d)
{
	(void)arg;
	(void)d;
	return 0;
}

/* Long names: a leaf of 1 KiB holds four, so the index grows, splits and gets a second level. */
static void work_htree(struct work *w)
{
	char path[256];
	uint64_t node;

	for (uint32_t k = 0; k < 60; k++) {
		(void)snprintf(path, sizeof(path), "/d/%0200u", k);
		do_make(w, path, S_IFREG | 0644);
	}
	node = find(w, "/d");
	if (node)
		(void)did(w, "readdir",
			  fs_readdir(w->f.fs, &w->f.ctx, node, 0, false, take_all, NULL));
	drop(w, node);
	for (uint32_t k = 0; k < 60; k += 3) {
		(void)snprintf(path, sizeof(path), "/d/%0200u", k);
		op_unlink(w, path);
	}
	keep_file(w, "/d/kept", 1000, 4);
}

/* ---- attributes -------------------------------------------------------------------- */

/* user::rwx, user:7:rwx, group::r-x, mask::rwx, other::r-x as the system call has it. */
static const uint8_t acl[] = {
	2,    0,    0,	  0, /* version */
	1,    0,    7,	  0,	0xff, 0xff, 0xff, 0xff, 2,    0,    7,	  0,	7, 0,
	0,    0,    4,	  0,	5,    0,    0xff, 0xff, 0xff, 0xff, 0x10, 0,	7, 0,
	0xff, 0xff, 0xff, 0xff, 32,   0,    5,	  0,	0xff, 0xff, 0xff, 0xff,
};

static void work_attrs(struct work *w)
{
	static uint8_t value[3000];
	struct fs_setattr chown = { .valid = FS_SET_UID | FS_SET_MODE, .uid = 9, .mode = 0600 };
	struct fs_attr attr;
	char buf[600];
	uint64_t node;

	memset(value, 'v', sizeof(value));
	do_setxattr(w, "/old", "user.small", value, 20);
	do_setxattr(w, "/old", "user.block", value, 600);
	if (store_has_incompat(fs_store(w->f.fs), EXT4_FEATURE_INCOMPAT_EA_INODE))
		do_setxattr(w, "/old", "user.inode", value, sizeof(value));
	do_setxattr(w, "/e", "user.block", value, 600); /* a block to share */
	do_setxattr(w, "/d", "system.posix_acl_default", acl, sizeof(acl));
	do_make(w, "/d/heir", S_IFDIR | 0777);
	do_make(w, "/d/heir/file", S_IFREG | 0666);
	node = find(w, "/old");
	if (node) {
		(void)did(w, "getxattr",
			  fs_getxattr(w->f.fs, &w->f.ctx, node, "user.block", buf, sizeof(buf)));
		(void)did(w, "listxattr", fs_listxattr(w->f.fs, &w->f.ctx, node, buf, sizeof(buf)));
	}
	chown.nodeid = node;
	if (node)
		(void)did(w, "setattr", fs_setattr(w->f.fs, &w->f.ctx, &chown, &attr));
	drop(w, node);
	if (store_has_incompat(fs_store(w->f.fs), EXT4_FEATURE_INCOMPAT_EA_INODE))
		do_setxattr(w, "/old", "user.inode", value, 2000);
	do_setxattr(w, "/old", "user.block", NULL, 0);
	keep_file(w, "/d/kept", 1000, 5);
	op_unlink(w, "/old");
}

/* Values with inodes of their own, named in the inode until it is full and then in a block: all go with the file. */
static void work_attrs_both(struct work *w)
{
	static uint8_t value[2500];
	char name[16];

	memset(value, 'w', sizeof(value));
	for (uint32_t k = 0; k < 6; k++) {
		value[0] = (uint8_t)('0' + k);
		(void)snprintf(name, sizeof(name), "user.e%u", k);
		do_setxattr(w, "/old", name, value, sizeof(value));
	}
	do_setxattr(w, "/old", "user.block", value, 400);
	keep_file(w, "/d/kept", 1000, 5);
	op_unlink(w, "/old");
}

/* ---- contents --------------------------------------------------------------------- */

static void op_fallocate(struct work *w, uint64_t node, uint32_t mode, uint64_t off, uint64_t len)
{
	if (node)
		(void)did(w, "fallocate", fs_fallocate(w->f.fs, &w->f.ctx, node, mode, off, len));
}

/* Every other block of a long stretch: a tree of two levels with blocks of 1 KiB. */
static void write_islands(struct work *w, uint64_t node, uint32_t count)
{
	for (uint32_t k = 0; k < count; k++)
		do_write(w, node, k * 2048ull, 1024, (uint8_t)k);
}

static void work_extents(struct work *w)
{
	uint64_t node = find(w, "/old");

	write_islands(w, node, 370);
	do_fsync(w, node);
	do_write(w, node, 1024, 40 * 1024, 9); /* fills holes, joins islands */
	op_fallocate(w, node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100 * 1024 + 10,
		     60 * 1024);
	op_fallocate(w, node, FALLOC_FL_ZERO_RANGE, 200 * 1024 + 10, 30 * 1024);
	op_fallocate(w, node, FALLOC_FL_KEEP_SIZE, 800 * 1024, 64 * 1024);
	do_write(w, node, 820 * 1024 + 1, 2000, 8); /* part of it written: split in three */
	keep_file(w, "/kept", 50000, 6);
	do_truncate(w, "/old", 300 * 1024 + 5);
	op_fallocate(w, node, FALLOC_FL_COLLAPSE_RANGE, 64 * 1024, 32 * 1024);
	op_fallocate(w, node, FALLOC_FL_INSERT_RANGE, 32 * 1024, 16 * 1024);
	do_truncate(w, "/old", 0);
	drop(w, node);
}

static void work_indirect(struct work *w)
{
	uint64_t node = find(w, "/old");

	do_write(w, node, 0, 20 * 1024, 1);
	do_write(w, node, 290 * 1024, 3 * 1024, 2);	  /* double indirect */
	do_write(w, node, 70 * 1024 * 1024, 2 * 1024, 3); /* triple */
	do_fsync(w, node);
	op_fallocate(w, node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 8000);
	do_truncate(w, "/old", 291 * 1024);
	do_truncate(w, "/old", 100);
	keep_file(w, "/kept", 30000, 7);
	drop(w, node);
}

static void work_inline(struct work *w)
{
	uint64_t node;

	do_make(w, "/i", S_IFDIR | 0755);
	for (char c = 'a'; c <= 'j'; c++)
		do_make(w, (char[]){ '/', 'i', '/', c, 'x', 'y', 'z', 0 }, S_IFREG | 0644);
	keep_file(w, "/kept", 100, 8);
	node = find(w, "/i/axyz");
	do_write(w, node, 0, 50, 1);
	do_write(w, node, 50, 60, 2);
	do_write(w, node, 110, 3000, 3); /* no longer inline */
	do_fsync(w, node);
	drop(w, node);
	op_unlink(w, "/i/bxyz");
	op_rename(w, "/i/cxyz", "/i/dxyz", 0);
}

/* Files whose names go while somebody has them. */
static void work_orphans(struct work *w)
{
	struct fs_entry e[3] = { 0 }, linked;
	uint64_t node = find(w, "/old");
	bool made[3];

	for (int k = 0; k < 3; k++) {
		made[k] = did(w, "tmpfile", fs_tmpfile(w->f.fs, &w->f.ctx, 1, 0600, &e[k]));
		if (made[k])
			do_write(w, e[k].nodeid, 0, 5000, 7);
	}
	op_unlink(w, "/old");
	if (made[1] &&
	    did(w, "link", fs_link(w->f.fs, &w->f.ctx, e[1].nodeid, 1, name_of("named"), &linked)))
		drop(w, linked.nodeid);
	if (made[0])
		drop(w, e[0].nodeid);
	keep_file(w, "/kept", 2000, 9);
	do_write(w, node, 0, 3000, 1);
	for (int k = 1; k < 3; k++)
		if (made[k])
			drop(w, e[k].nodeid);
	drop(w, node);
}

/* ---- durability --------------------------------------------------------------------- */

struct sync_thread {
	struct work *w;
	uint32_t number;
	pthread_t thread;
};

static void *sync_main(void *arg)
{
	struct sync_thread *t = arg;
	char path[32];

	for (uint32_t k = 0; k < SYNC_FILES; k++) {
		(void)snprintf(path, sizeof(path), "/%c/t%u-%u", t->number % 2 ? 'd' : 'e',
			       t->number, k);
		keep_file(t->w, path, 1000 * k + 1, (uint8_t)(16 * t->number + k));
	}
	return NULL;
}

/* Several wait for one commit: each is told. */
static void work_fsync(struct work *w)
{
	struct sync_thread threads[SYNC_THREADS];

	for (uint32_t k = 0; k < SYNC_THREADS; k++) {
		threads[k] = (struct sync_thread){ .w = w, .number = k };
		CHECK_OK(-wrap_thread(&threads[k].thread, sync_main, &threads[k]));
	}
	for (uint32_t k = 0; k < SYNC_THREADS; k++)
		CHECK_OK(-pthread_join(threads[k].thread, NULL));
	(void)did(w, "syncfs", fs_syncfs(w->f.fs));
}

static void work_control(struct work *w)
{
	struct fs_statfs st;
	uint64_t trimmed;

	keep_file(w, "/d/one", 9000, 1);
	(void)did(w, "statfs", fs_statfs(w->f.fs, &st));
	if (did(w, "freeze", fs_freeze(w->f.fs)))
		fs_thaw(w->f.fs);
	op_unlink(w, "/old");
	(void)did(w, "syncfs", fs_syncfs(w->f.fs));
	(void)did(w, "trim", fs_trim(w->f.fs, 0, UINT64_MAX, 0, &trimmed));
	keep_file(w, "/d/two", 9000, 2);
}

/* ---- the table ----------------------------------------------------------------------- */

#define SMALL "-b", "1024", "-J", "size=1"

const struct named_load fs_loads[] = {
	{ "mount", { .mke2fs = { SMALL }, .fill = fill_some } },
	{ "replay", { .mke2fs = { SMALL }, .fill = fill_dirty, .dirty = true } },
	{ "replay-orphanfile",
	  { .mke2fs = { SMALL, "-O", "orphan_file" }, .fill = fill_dirty, .dirty = true } },
	{ "names", { .mke2fs = { SMALL }, .fill = fill_some, .work = work_names } },
	{ "names-nojournal",
	  { .mke2fs = { "-b", "1024", "-O", "^has_journal" },
	    .no_log = true,
	    .fill = fill_some,
	    .work = work_names } },
	{ "names-lowmem",
	  { .mke2fs = { SMALL },
	    .fill = fill_some,
	    .work = work_names,
	    .store_opts = { .bufs_max = 8, .inodes_cached_max = 4 } } },
	{ "symlinks", { .mke2fs = { SMALL }, .fill = fill_some, .work = work_symlinks } },
	{ "symlinks-long", { .mke2fs = { SMALL }, .fill = fill_some, .work = work_symlinks_long } },
	{ "htree", { .mke2fs = { SMALL }, .fill = fill_some, .work = work_htree } },
	{ "attrs",
	  { .mke2fs = { SMALL, "-O", "ea_inode" }, .fill = fill_some, .work = work_attrs } },
	{ "attrs-both",
	  { .mke2fs = { SMALL, "-O", "ea_inode" },
	    .fill = fill_some,
	    .work = work_attrs_both,
	    .store_opts = { .bufs_max = 8, .inodes_cached_max = 4 } } },
	{ "attrs-128",
	  { .mke2fs = { SMALL, "-I", "128" }, .fill = fill_some, .work = work_attrs } },
	{ "extents", { .mke2fs = { SMALL }, .fill = fill_some, .work = work_extents } },
	{ "indirect",
	  { .mke2fs = { SMALL, "-O", "^extent,^64bit" },
	    .fill = fill_some,
	    .work = work_indirect } },
	{ "inline",
	  { .mke2fs = { SMALL, "-O", "inline_data" }, .fill = fill_some, .work = work_inline } },
	{ "orphans", { .mke2fs = { SMALL }, .fill = fill_some, .work = work_orphans } },
	{ "orphanfile",
	  { .mke2fs = { SMALL, "-O", "orphan_file" }, .fill = fill_some, .work = work_orphans } },
	{ "fsync", { .mke2fs = { SMALL }, .fill = fill_some, .work = work_fsync } },
	{ "control",
	  { .mke2fs = { SMALL },
	    .fill = fill_some,
	    .work = work_control,
	    .store_opts = { .discard = true } } },
};
const size_t fs_load_count = ARRAY_SIZE(fs_loads);
