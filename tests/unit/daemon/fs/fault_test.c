/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Power lost at any write: what was synced is there. Blocks that cannot be read when an
 * operation is half done: nothing has changed. (All other failures: tests/fault.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/block/cache.h"
#include "daemon/store/inode_disk.h"
#include "daemon/store/map.h"
#include "tests/lib/faultdev.h"
#include "tests/unit/daemon/fs/fixture.h"
#include "tests/unit/daemon/store/lossy.h"

/* ---- a workload ----------------------------------------------------------- */

#define FILES 40

static uint8_t body[20000];

static void path_of(char *buf, size_t size, uint32_t k)
{
	(void)snprintf(buf, size, "/d%u/f%u", k % 3, k);
}

static int write_file(struct fixture *f, uint32_t k)
{
	struct fs_create req = { .mode = S_IFREG | 0644, .excl = true };
	char path[32];
	struct fs_entry dir, e;
	ssize_t n;
	int error;

	path_of(path, sizeof(path), k);
	error = fs_lookup(f->fs, &f->ctx, 1, (struct fs_name){ path + 1, 2 }, &dir);
	if (error || !dir.nodeid)
		return error ? error : -ENOENT;
	req.dir = dir.nodeid;
	req.name = name_of(path + 4);
	error = fs_create(f->fs, &f->ctx, &req, &e);
	forget(f, dir.nodeid);
	if (error)
		return error;
	memset(body, (int)k + 1, sizeof(body));
	n = write_node(f, e.nodeid, body, 500 * k + 1, 0);
	error = n < 0 ? (int)n : fs_fsync(f->fs, &f->ctx, e.nodeid, k % 2);
	forget(f, e.nodeid);
	return error;
}

/* Everything else an application does, around the files that are kept. */
static void churn(struct fixture *f, uint32_t k)
{
	struct fs_setxattr x = { .name = "user.x", .value = body, .len = 300 };
	struct fs_entry e;
	char a[32], b[32];
	int error;

	(void)snprintf(a, sizeof(a), "/d%u/churn%u", k % 3, k);
	(void)snprintf(b, sizeof(b), "/d%u/churned", (k + 1) % 3);
	(void)try_make(f, a, k % 4 ? S_IFREG | 0600 : S_IFDIR | 0700);
	if (!fs_lookup(f->fs, &f->ctx, 1, name_of("d0"), &e)) {
		x.nodeid = e.nodeid;
		error = fs_setxattr(f->fs, &f->ctx, &x);
		x.value = error ? NULL : x.value;
		forget(f, e.nodeid);
	}
	(void)try_rename(f, a, b, 0);
	(void)try_link(f, b, "/link");
	(void)try_unlink(f, "/link");
	(void)try_setattr(f, "/", (struct fs_setattr){ .valid = FS_SET_MTIME_NOW });
	if (k % 5 == 0)
		(void)try_unlink(f, b);
	if (!fs_tmpfile(f->fs, &f->ctx, 1, 0600, &e) && k % 2) {
		(void)write_node(f, e.nodeid, body, 9000, 0);
		forget(f, e.nodeid);
	}
}

/* Files that were synced with success are whole. */
static void check_files(struct fixture *f, const bool *synced)
{
	static uint8_t got[sizeof(body) + 1];

	for (uint32_t k = 0; k < FILES; k++) {
		char path[32];
		uint64_t id;

		if (!synced[k])
			continue;
		path_of(path, sizeof(path), k);
		id = look(f, path);
		memset(body, (int)k + 1, sizeof(body));
		CHECK_EQ(read_node(f, id, got, sizeof(got), 0), 500 * k + 1);
		CHECK_MEM_EQ(got, body, 500 * k + 1);
		forget(f, id);
	}
}

static void prepare(struct fixture *f, const char *options)
{
	fixture_open(f, options);
	forget(f, make_dir(f, "/d0"));
	forget(f, make_dir(f, "/d1"));
	forget(f, make_dir(f, "/d2"));
	fixture_unmount(f);
}

/* Mount over @bdev instead of the file itself. */
static void mount_on(struct fixture *f, struct bdev *bdev)
{
	struct store_open_error err = { .what = "" };
	struct store *store;
	uint32_t cleaned;
	int error = store_open(bdev, &f->store_opts, &store, &err);

	if (error)
		FAIL("store_open: %s: %s", strerror(-error), err.what);
	CHECK_OK(store_orphan_cleanup(store, &cleaned));
	CHECK_OK(fs_open_store(store, f->bus, &f->opts, &f->fs));
	CHECK_OK(fs_session_open(f->fs, &f->session_opts, &f->session));
	f->ctx.session = f->session;
}

static struct bdev *device_of(const struct fixture *f)
{
	struct bdev_open_opts opts = { .nolock = false };
	struct bdev *bdev;

	CHECK_OK(bdev_open_file(f->image, &opts, &bdev));
	return bdev;
}

#ifdef KFS_SANITIZE
#define CRASHES 4
#else
#define CRASHES 10
#endif

TEST(test_power_loss__keeps_what_fsync_promised)
{
	uint32_t kept = 0;

	log_set_level(LOG_LEVEL_OFF);
	for (uint32_t round = 0; round < CRASHES; round++) {
		bool synced[FILES] = { false };
		struct lossy *power;
		struct fixture f;

		prepare(&f, round % 2 ? "-b 4096 -J size=4 24M" : "-b 1024 -J size=1 24M");
		power = lossy_new(device_of(&f));
		mount_on(&f, lossy_bdev(power));
		lossy_crash_after(power, test_random_below(900) + 1);
		for (uint32_t k = 0; k < FILES; k++) {
			churn(&f, k);
			/* After the crash the device still says yes, which then counts for nothing. */
			synced[k] = !write_file(&f, k) && !lossy_crashed(power);
			kept += synced[k];
		}
		lossy_crash(power);
		fixture_crash(&f);
		fixture_mount(&f);
		check_files(&f, synced);
		fixture_close(&f);
	}
	CHECK_GT(kept, CRASHES);
}

/* ---- reads that fail half way --------------------------------------------- */

/* A file system over a device whose reads can be made to fail. */
static struct faultdev *open_failing(struct fixture *f)
{
	/* Large enough for a block of its own. */
	struct fs_setxattr attr = { .name = "user.x", .value = body, .len = 600 };
	struct faultdev *x;

	log_set_level(LOG_LEVEL_OFF);
	fixture_open(f, "-b 1024 -J size=1 24M");
	forget(f, make_dir(f, "/a"));
	forget(f, make_dir(f, "/b"));
	/* Each directory's inode in a block that no new inode shares. */
	for (uint32_t k = 0; k < 24; k++) {
		char path[16];

		(void)snprintf(path, sizeof(path), "/%c/fill%u", k % 2 ? 'a' : 'b', k);
		forget(f, make_file(f, path));
	}
	forget(f, make_dir(f, "/a/sub"));
	forget(f, make_file(f, "/b/new"));
	attr.nodeid = make_file(f, "/b/attr");
	CHECK_OK(fs_setxattr(f->fs, &f->ctx, &attr));
	forget(f, attr.nodeid);
	fixture_unmount(f);
	x = faultdev_new(device_of(f));
	mount_on(f, faultdev_bdev(x));
	/* What the attempts will want to know is in memory. */
	forget(f, look(f, "/a/sub"));
	forget(f, look(f, "/a/fill1"));
	forget(f, look(f, "/b/new"));
	return x;
}

static void lose_block(struct fixture *f, struct faultdev *x, uint64_t pblk)
{
	buf_forget(f->fs->store->cache, pblk);
	CHECK(!buf_find(f->fs->store->cache, pblk));
	faultdev_bad_byte(x, pblk << f->fs->store->block_bits);
}

static struct inode *inode_of(struct fixture *f, const char *path)
{
	struct inode *i;

	CHECK_OK(inode_get(f->fs->store, (uint32_t)attr_of(f, path).ino, &i));
	return i;
}

static void lose_inode(struct fixture *f, struct faultdev *x, const char *path)
{
	struct inode *i = inode_of(f, path);

	lose_block(f, x, inode_slot_of(f->fs->store, i->ino).pblk);
	inode_put(i);
}

static void lose_first_block(struct fixture *f, struct faultdev *x, const char *path)
{
	struct inode *i = inode_of(f, path);
	struct map_run run;

	rwlock_read(&i->lock);
	CHECK_OK(map_lookup(i, 0, 1, &run));
	rwlock_unread(&i->lock);
	lose_block(f, x, run.pblk);
	inode_put(i);
}

static void close_failing(struct fixture *f, struct faultdev *x)
{
	faultdev_bad_byte(x, 0);
	CHECK_OK(journal_error(f->fs->store->journal));
	fixture_close(f);
}

TEST(test_create__unreadable_directory_inode_leaves_no_name)
{
	struct fixture f;
	struct faultdev *x = open_failing(&f);

	lose_inode(&f, x, "/b");
	CHECK_ERR(try_make(&f, "/b/file", S_IFREG | 0644), -EIO);
	CHECK_ERR(try_make(&f, "/b/dir", S_IFDIR | 0755), -EIO);
	CHECK_ERR(try_link(&f, "/a/fill1", "/b/link"), -EIO);
	CHECK_ERR(try_unlink(&f, "/b/new"), -EIO);
	faultdev_bad_byte(x, 0);
	CHECK_ERR(try_look(&f, "/b/file"), -ENOENT);
	CHECK_ERR(try_look(&f, "/b/dir"), -ENOENT);
	CHECK_ERR(try_look(&f, "/b/link"), -ENOENT);
	CHECK_OK(try_look(&f, "/b/new"));
	CHECK_EQ(attr_of(&f, "/a/fill1").nlink, 1);
	CHECK_EQ(attr_of(&f, "/b").nlink, 2);
	close_failing(&f, x);
}

TEST(test_rename__unreadable_directory_inode_changes_nothing)
{
	static const uint32_t flags[] = { 0, FS_RENAME_WHITEOUT, FS_RENAME_EXCHANGE };

	for (size_t k = 0; k < ARRAY_SIZE(flags); k++) {
		struct fixture f;
		struct faultdev *x = open_failing(&f);
		uint64_t sub = attr_of(&f, "/a/fill1").ino, new = attr_of(&f, "/b/new").ino;

		lose_inode(&f, x, "/b");
		CHECK_ERR(try_rename(&f, "/a/fill1", "/b/new", flags[k]), -EIO);
		faultdev_bad_byte(x, 0);
		CHECK_EQ(attr_of(&f, "/a/fill1").ino, sub);
		CHECK_EQ(attr_of(&f, "/b/new").ino, new);
		CHECK_EQ(attr_of(&f, "/b/new").nlink, 1);
		close_failing(&f, x);
	}
}

/* Its ".." cannot be changed: the directory stays where it is. */
TEST(test_rename__unreadable_source_changes_nothing)
{
	static const uint32_t flags[] = { 0, FS_RENAME_WHITEOUT, FS_RENAME_EXCHANGE };

	for (size_t k = 0; k < ARRAY_SIZE(flags); k++) {
		const char *to = flags[k] & FS_RENAME_EXCHANGE ? "/b/new" : "/b/sub";
		struct fixture f;
		struct faultdev *x = open_failing(&f);

		lose_first_block(&f, x, "/a/sub");
		CHECK_ERR(try_rename(&f, "/a/sub", to, flags[k]), -EIO);
		faultdev_bad_byte(x, 0);
		CHECK_EQ(attr_of(&f, "/a/sub").mode & S_IFMT, S_IFDIR);
		if (flags[k] & FS_RENAME_EXCHANGE)
			CHECK_EQ(attr_of(&f, to).mode & S_IFMT, S_IFREG);
		else
			CHECK_ERR(try_look(&f, to), -ENOENT);
		CHECK_EQ(attr_of(&f, "/a").nlink, 3);
		CHECK_EQ(attr_of(&f, "/b").nlink, 2);
		close_failing(&f, x);
	}
}

/* ---- deletions that fail ---------------------------------------------------- */

/* /b/attr is unlinked, and its attribute block cannot be read: it is not deleted yet. */
static void fail_deletion(struct fixture *f, struct faultdev *x)
{
	struct reaper *r = &f->fs->reaper;
	struct inode *i = inode_of(f, "/b/attr");
	uint64_t inodes = inodes_free(f);

	CHECK_GT(i->file_acl, 0);
	lose_block(f, x, i->file_acl);
	inode_put(i);
	CHECK_OK(try_unlink(f, "/b/attr"));
	CHECK_EQ(inodes_free(f), inodes);
	mutex_lock(&r->lock);
	CHECK_EQ(r->failed_count, 1);
	mutex_unlock(&r->lock);
}

/* From now on the reaper does not come to it by itself. */
static void postpone_retry(struct fixture *f)
{
	struct reaper *r = &f->fs->reaper;

	mutex_lock(&r->lock);
	while (r->busy)
		cond_wait(&r->idle, &r->lock);
	r->retry_at_ns = INT64_MAX;
	mutex_unlock(&r->lock);
}

TEST(test_deletion__is_tried_again_until_it_succeeds)
{
	struct fixture f;
	struct faultdev *x = open_failing(&f);
	uint64_t inodes = inodes_free(&f), blocks = blocks_free(&f);
	uint32_t waits = 0;

	fail_deletion(&f, x);
	faultdev_bad_byte(x, 0);
	/* Milliseconds; a minute is for a machine that does nothing else for us. */
	while (inodes_free(&f) == inodes && waits++ < 60000)
		(void)usleep(1000);
	CHECK_EQ(inodes_free(&f), inodes + 1);
	CHECK_EQ(blocks_free(&f), blocks + 1);
	close_failing(&f, x);
}

TEST(test_deletion__is_tried_again_at_unmount)
{
	struct fixture f;
	struct faultdev *x = open_failing(&f);
	uint64_t inodes = inodes_free(&f);

	fail_deletion(&f, x);
	postpone_retry(&f);
	faultdev_bad_byte(x, 0);
	fixture_unmount(&f);
	fixture_fsck(f.image); /* no orphan is left for the mount to delete */
	fixture_mount(&f);
	CHECK_EQ(inodes_free(&f), inodes + 1);
	fixture_close(&f);
}

TEST(test_deletion__that_fails_to_the_end_is_left_to_the_next_mount)
{
	for (int crash = 0; crash < 2; crash++) {
		struct fixture f;
		struct faultdev *x = open_failing(&f);
		uint64_t inodes = inodes_free(&f), blocks = blocks_free(&f);

		fail_deletion(&f, x);
		CHECK_OK(fs_syncfs(f.fs));
		if (crash)
			fixture_crash(&f);
		else
			fixture_unmount(&f);
		fixture_mount(&f);
		CHECK_EQ(inodes_free(&f), inodes + 1);
		CHECK_EQ(blocks_free(&f), blocks + 1);
		CHECK_ERR(try_look(&f, "/b/attr"), -ENOENT);
		fixture_close(&f);
	}
}
