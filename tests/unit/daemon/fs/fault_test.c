/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Power lost at any write, writes and reads that fail, memory that is refused: what was
 * synced is there, nothing hangs or crashes, and the image is whole after recovery.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/block/cache.h"
#include "daemon/store/inode_disk.h"
#include "daemon/store/map.h"
#include "tests/unit/daemon/fs/fixture.h"
#include "tests/unit/daemon/store/lossy.h"

/* ---- a device that fails ------------------------------------------------- */

struct failing {
	struct bdev bdev;
	struct bdev *below;
	_Atomic int64_t countdown; /* writes until one fails; negative: never */
	bool for_good;		   /* and all after it */
	_Atomic uint64_t bad_byte; /* reads of it fail; 0: none */
	struct lossy *power;	   /* instead of failing, this device below loses power */
};

/* Writes that failed, or found the power gone; outlives the device. */
static _Atomic uint32_t writes_failed;

static struct failing *failing_of(struct bdev *b)
{
	return container_of(b, struct failing, bdev);
}

static int failing_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	uint64_t bad = atomic_load(&failing_of(b)->bad_byte), end = off;

	for (int k = 0; k < iovcnt; k++)
		end += iov[k].iov_len;
	if (bad && off <= bad && bad < end)
		return -EIO;
	return bdev_readv(failing_of(b)->below, iov, iovcnt, off);
}

static bool fails_now(struct failing *x)
{
	int64_t left = atomic_load(&x->countdown);

	if (left < 0 || atomic_fetch_sub(&x->countdown, 1) > 0)
		return false;
	atomic_store(&x->countdown, x->for_good ? 0 : -1);
	if (x->power && !atomic_load(&writes_failed))
		lossy_crash(x->power);
	atomic_fetch_add(&writes_failed, 1);
	return !x->power;
}

static int failing_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct failing *x = failing_of(b);

	return fails_now(x) ? -EIO : bdev_writev(x->below, iov, iovcnt, off);
}

static int failing_flush(struct bdev *b)
{
	return bdev_flush(failing_of(b)->below);
}

static int failing_range(struct bdev *b UNUSED, uint64_t off UNUSED, uint64_t len UNUSED)
{
	return -EOPNOTSUPP;
}

static int failing_zero(struct bdev *b, uint64_t off, uint64_t len)
{
	return bdev_zero(failing_of(b)->below, off, len);
}

static void failing_close(struct bdev *b)
{
	bdev_close(failing_of(b)->below);
	free(failing_of(b));
}

static const struct bdev_ops failing_ops = {
	.readv = failing_readv,
	.writev = failing_writev,
	.flush = failing_flush,
	.discard = failing_range,
	.zero = failing_zero,
	.close = failing_close,
};

static struct failing *failing_new(struct bdev *below)
{
	struct failing *x = calloc(1, sizeof(*x));

	CHECK(x);
	bdev_init(&x->bdev, &failing_ops, below->size);
	x->bdev.fd = -1;
	x->below = below;
	atomic_store(&writes_failed, 0);
	atomic_store(&x->countdown, -1);
	return x;
}

static struct failing *failing_on_lossy(struct bdev *below)
{
	struct lossy *l = lossy_new(below);
	struct failing *x = failing_new(lossy_bdev(l));

	x->power = l;
	return x;
}

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
#define SWEEP_STEP 61
#else
#define CRASHES 10
#define SWEEP_STEP 31
#endif

TEST(test_power_loss__keeps_what_fsync_promised)
{
	uint32_t kept = 0;

	log_set_level(LOG_LEVEL_OFF);
	for (uint32_t round = 0; round < CRASHES; round++) {
		bool synced[FILES] = { false };
		struct failing *x;
		struct fixture f;

		prepare(&f, round % 2 ? "-b 4096 -J size=4 24M" : "-b 1024 -J size=1 24M");
		x = failing_on_lossy(device_of(&f));
		mount_on(&f, &x->bdev);
		atomic_store(&x->countdown, (int64_t)test_random_below(900));
		for (uint32_t k = 0; k < FILES; k++) {
			churn(&f, k);
			/* After the crash the device still says yes, which then counts for nothing. */
			synced[k] = !write_file(&f, k) && !atomic_load(&writes_failed);
			kept += synced[k];
		}
		lossy_crash(x->power);
		fixture_crash(&f);
		fixture_mount(&f);
		check_files(&f, synced);
		fixture_close(&f);
	}
	CHECK_GT(kept, CRASHES);
}

TEST(test_failing_writes__abort_and_lose_nothing_synced)
{
	uint32_t n, failures = 0;

	log_set_level(LOG_LEVEL_OFF);
	for (n = 0; n < 1500; n += SWEEP_STEP) {
		bool synced[FILES] = { false };
		struct failing *x;
		struct fixture f;
		int error;

		prepare(&f, "-b 1024 -J size=1 24M");
		x = failing_new(device_of(&f));
		mount_on(&f, &x->bdev);
		x->for_good = n % 2;
		atomic_store(&x->countdown, n);
		for (uint32_t k = 0; k < FILES; k++) {
			churn(&f, k);
			synced[k] = !write_file(&f, k);
		}
		fs_session_close(f.session);
		error = fs_close(f.fs);
		f.fs = NULL;
		CHECK(!error || atomic_load(&writes_failed));
		failures += atomic_load(&writes_failed) > 0;
		run_command("PATH=$PATH:/usr/sbin:/sbin; e2fsck -fy '%s' >'%s.log' 2>&1 || "
			    "[ $? -lt 4 ]",
			    f.image, f.image);
		fixture_mount(&f);
		check_files(&f, synced);
		fixture_close(&f);
		if (!atomic_load(&writes_failed))
			break; /* the workload ends before the write that would fail */
	}
	CHECK_GT(failures, 2);
}

/* ---- reads that fail half way --------------------------------------------- */

/* A file system over a device whose reads can be made to fail. */
static struct failing *open_failing(struct fixture *f)
{
	struct failing *x;

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
	fixture_unmount(f);
	x = failing_new(device_of(f));
	mount_on(f, &x->bdev);
	/* What the attempts will want to know is in memory. */
	forget(f, look(f, "/a/sub"));
	forget(f, look(f, "/a/fill1"));
	forget(f, look(f, "/b/new"));
	return x;
}

static void lose_block(struct fixture *f, struct failing *x, uint64_t pblk)
{
	buf_forget(f->fs->store->cache, pblk);
	CHECK(!buf_find(f->fs->store->cache, pblk));
	atomic_store(&x->bad_byte, pblk << f->fs->store->block_bits);
}

static struct inode *inode_of(struct fixture *f, const char *path)
{
	struct inode *i;

	CHECK_OK(inode_get(f->fs->store, (uint32_t)attr_of(f, path).ino, &i));
	return i;
}

static void lose_inode(struct fixture *f, struct failing *x, const char *path)
{
	struct inode *i = inode_of(f, path);

	lose_block(f, x, inode_slot_of(f->fs->store, i->ino).pblk);
	inode_put(i);
}

static void lose_first_block(struct fixture *f, struct failing *x, const char *path)
{
	struct inode *i = inode_of(f, path);
	struct map_run run;

	rwlock_read(&i->lock);
	CHECK_OK(map_lookup(i, 0, 1, &run));
	rwlock_unread(&i->lock);
	lose_block(f, x, run.pblk);
	inode_put(i);
}

static void close_failing(struct fixture *f, struct failing *x)
{
	atomic_store(&x->bad_byte, 0);
	CHECK_OK(journal_error(f->fs->store->journal));
	fixture_close(f);
}

TEST(test_create__unreadable_directory_inode_leaves_no_name)
{
	struct fixture f;
	struct failing *x = open_failing(&f);

	lose_inode(&f, x, "/b");
	CHECK_ERR(try_make(&f, "/b/file", S_IFREG | 0644), -EIO);
	CHECK_ERR(try_make(&f, "/b/dir", S_IFDIR | 0755), -EIO);
	CHECK_ERR(try_link(&f, "/a/fill1", "/b/link"), -EIO);
	CHECK_ERR(try_unlink(&f, "/b/new"), -EIO);
	atomic_store(&x->bad_byte, 0);
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
		struct failing *x = open_failing(&f);
		uint64_t sub = attr_of(&f, "/a/fill1").ino, new = attr_of(&f, "/b/new").ino;

		lose_inode(&f, x, "/b");
		CHECK_ERR(try_rename(&f, "/a/fill1", "/b/new", flags[k]), -EIO);
		atomic_store(&x->bad_byte, 0);
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
		struct failing *x = open_failing(&f);

		lose_first_block(&f, x, "/a/sub");
		CHECK_ERR(try_rename(&f, "/a/sub", to, flags[k]), -EIO);
		atomic_store(&x->bad_byte, 0);
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

/* ---- memory --------------------------------------------------------------- */

#ifndef KFS_SANITIZE
static _Atomic int64_t alloc_countdown = -1;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);

static bool alloc_fails(void)
{
	return atomic_load(&alloc_countdown) >= 0 && atomic_fetch_sub(&alloc_countdown, 1) == 0;
}

void *malloc(size_t size)
{
	return alloc_fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return alloc_fails() ? NULL : __libc_calloc(count, size);
}

TEST(test_refused_memory__leaves_a_whole_image)
{
	uint32_t n;

	log_set_level(LOG_LEVEL_OFF);
	for (n = 0; n < 400; n += 11) {
		bool synced[FILES] = { false };
		bool refused;
		struct fixture f;

		prepare(&f, "-b 1024 -J size=1 24M");
		f.store_opts.inodes_cached_max = 64;
		fixture_mount(&f);
		atomic_store(&alloc_countdown, n);
		for (uint32_t k = 0; k < FILES; k++) {
			churn(&f, k);
			synced[k] = !write_file(&f, k);
		}
		refused = atomic_load(&alloc_countdown) < 0;
		atomic_store(&alloc_countdown, -1);
		fs_session_close(f.session);
		/* A commit that finds no memory aborts the journal, and says so here. */
		if (fs_close(f.fs))
			CHECK(refused);
		f.fs = NULL;
		fixture_mount(&f);
		check_files(&f, synced);
		fixture_unmount(&f);
		/* At worst blocks are lost, which needs nobody's decision. */
		run_command("PATH=$PATH:/usr/sbin:/sbin; e2fsck -fp '%s' >'%s.log' 2>&1 || "
			    "[ $? = 1 ]",
			    f.image, f.image);
		fixture_close(&f);
		if (!refused)
			break;
	}
	CHECK_GT(n, 30);
}
#endif
