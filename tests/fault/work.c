// SPDX-License-Identifier: GPL-2.0-only
/*
 * One point of a sweep over the filesystem: mount a copy of the image over the failing
 * device, work, unmount (or lose power), then recover on a sound device and judge.
 *
 * Recovery is by turns that of kfs, after which e2fsck has nothing to say, and that of e2fsck,
 * which may have to repair but not to give up. In both cases every promise is kept.
 */
#include "tests/fault/work.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/util.h"
#include "daemon/journal/journal_priv.h"

#define IMAGE_BYTES (8u << 20)

static int bases[64]; /* image of each load, by its place in fs_loads */

/* ---- operations -------------------------------------------------------------- */

/* What follows from an operation that was refused before. */
static bool is_consequence(int64_t error)
{
	return error == -ENOENT || error == -EEXIST || error == -ENOTEMPTY || error == -ENODATA ||
	       error == -ENOTDIR || error == -EISDIR;
}

static bool is_honest(int64_t error)
{
	return error == -EIO || error == -ENOSPC || error == -ENOMEM || error == -EROFS ||
	       error == -EAGAIN;
}

bool did(struct work *w, const char *what, int64_t error)
{
	if (error >= 0)
		return true;
	if (!fault_fired())
		FAIL("%s: %s, though nothing failed", what, strerror((int)-error));
	if (!is_honest(error) && !(is_consequence(error) && atomic_load(&w->refused)))
		FAIL("%s: %s is not what happened", what, strerror((int)-error));
	atomic_fetch_add(&w->refused, 1);
	return false;
}

uint64_t find(struct work *w, const char *path)
{
	uint64_t at = 1;

	for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
		uint32_t len = (uint32_t)strcspn(path, "/");
		struct fs_entry e = { 0 };
		int error = fs_lookup(w->f.fs, &w->f.ctx, at,
				      (struct fs_name){ .name = path, .len = len }, &e);

		drop(w, at);
		if (!error && !e.nodeid)
			error = -ENOENT;
		if (!did(w, "lookup", error))
			return 0;
		at = e.nodeid;
		path += len;
	}
	return at;
}

void drop(struct work *w, uint64_t nodeid)
{
	if (nodeid)
		fs_forget(w->f.fs, w->f.session, nodeid, 1);
}

/* @path "/dir/name" or "/name": the directory's node, and the name. */
static uint64_t find_parent(struct work *w, const char *path, struct fs_name *ret_name)
{
	const char *slash = strrchr(path, '/');
	char parent[64] = "";

	memcpy(parent, path, (size_t)(slash - path));
	*ret_name = name_of(slash + 1);
	return find(w, parent);
}

static uint64_t create(struct work *w, const char *path, struct fs_create req)
{
	struct fs_entry e = { 0 };
	bool done;

	req.dir = find_parent(w, path, &req.name);
	if (!req.dir)
		return 0;
	req.excl = true;
	done = did(w, "create", fs_create(w->f.fs, &w->f.ctx, &req, &e));
	drop(w, req.dir);
	return done ? e.nodeid : 0;
}

void do_make(struct work *w, const char *path, uint32_t mode)
{
	drop(w, create(w, path, (struct fs_create){ .mode = mode, .rdev = 5 }));
}

void do_symlink(struct work *w, const char *path, uint32_t len)
{
	char target[1024];

	memset(target, 't', sizeof(target));
	drop(w, create(w, path,
		       (struct fs_create){
			       .mode = S_IFLNK | 0777, .target = target, .target_len = len }));
}

void do_write(struct work *w, uint64_t node, uint64_t off, uint64_t len, uint8_t byte)
{
	uint8_t buf[16384];

	if (!node)
		return;
	memset(buf, byte, sizeof(buf));
	for (uint64_t at = 0; at < len; at += sizeof(buf)) {
		size_t n = MIN(len - at, (uint64_t)sizeof(buf));
		ssize_t got = write_node(&w->f, node, buf, n, off + at);

		/* Short is allowed: the next would tell why. */
		if (!did(w, "write", got))
			return;
		if ((size_t)got < n && !fault_fired())
			FAIL("write: %zd of %zu bytes, though nothing failed", got, n);
	}
}

void do_setxattr(struct work *w, const char *path, const char *name, const void *value, size_t len)
{
	struct fs_setxattr x = { .name = name, .value = value, .len = len };

	x.nodeid = find(w, path);
	if (x.nodeid)
		(void)did(w, "setxattr", fs_setxattr(w->f.fs, &w->f.ctx, &x));
	drop(w, x.nodeid);
}

void do_truncate(struct work *w, const char *path, uint64_t size)
{
	struct fs_setattr req = { .valid = FS_SET_SIZE, .size = size };
	struct fs_attr attr;

	req.nodeid = find(w, path);
	if (req.nodeid)
		(void)did(w, "truncate", fs_setattr(w->f.fs, &w->f.ctx, &req, &attr));
	drop(w, req.nodeid);
}

void do_fsync(struct work *w, uint64_t node)
{
	if (node)
		(void)did(w, "fsync", fs_fsync(w->f.fs, &w->f.ctx, node, false));
}

/* ---- promises ------------------------------------------------------------------ */

static bool write_whole(struct work *w, uint64_t node, uint64_t size, uint8_t byte)
{
	uint8_t buf[8192];

	memset(buf, byte, sizeof(buf));
	for (uint64_t at = 0; at < size;) {
		ssize_t n = write_node(&w->f, node, buf, MIN(size - at, (uint64_t)sizeof(buf)), at);

		if (!did(w, "write", n))
			return false;
		CHECK_GT(n, 0);
		at += (uint64_t)n;
	}
	return true;
}

void keep_file(struct work *w, const char *path, uint64_t size, uint8_t byte)
{
	uint64_t node = create(w, path, (struct fs_create){ .mode = S_IFREG | 0644 });
	struct promise *p;

	if (!node)
		return;
	if (write_whole(w, node, size, byte) &&
	    did(w, "fsync", fs_fsync(w->f.fs, &w->f.ctx, node, byte % 2))) {
		p = &w->promises[atomic_fetch_add(&w->promise_count, 1)];
		CHECK(p < w->promises + PROMISES_MAX);
		(void)snprintf(p->path, sizeof(p->path), "%s", path);
		p->size = size;
		p->byte = byte;
	}
	drop(w, node);
}

static void check_promise(struct work *w, const struct promise *p)
{
	uint8_t got[8192], want[8192];
	uint64_t node;

	if (try_look(&w->f, p->path))
		FAIL("%s was synced and is gone", p->path);
	node = look(&w->f, p->path);
	memset(want, p->byte, sizeof(want));
	for (uint64_t at = 0; at < p->size; at += sizeof(got)) {
		size_t n = MIN(p->size - at, (uint64_t)sizeof(got));

		CHECK_EQ(read_node(&w->f, node, got, n, at), n);
		CHECK_MEM_EQ(got, want, n);
	}
	CHECK_EQ(attr_of_node(&w->f, node).size, p->size);
	forget(&w->f, node);
}

/* ---- mounting ------------------------------------------------------------------ */

/* As a snapshot that has no room for what is about to be overwritten or freed. */
static int keep_old(void *arg, struct handle *h, uint64_t pblk, uint32_t count)
{
	(void)arg;
	(void)h;
	(void)pblk;
	(void)count;
	return fault_hit(FAULT_JOIN) ? fault_error() : 0;
}

/* False: it could not be, which is allowed. */
static bool mount_failing(struct work *w, const struct point *point)
{
	struct bdev_open_opts how = { .nolock = true };
	struct store_open_error err = { .what = "" };
	struct store *store;
	struct bdev *below;
	uint32_t cleaned;
	int error;

	CHECK_OK(bdev_open_file(w->f.image, &how, &below));
	w->dev = faultdev_new(below);
	faultdev_seed(w->dev, point->plan.nth);
	CHECK_OK(inval_new(&w->f.bus));
	fault_plan(&point->plan);
	if (!did(w, "mount", store_open(faultdev_bdev(w->dev), &w->f.store_opts, &store, &err)))
		return false;
	store->journal->opts.before_overwrite = keep_old; /* nothing runs in it yet */
	error = store_orphan_cleanup(store, &cleaned);
	if (!error)
		error = fs_open_store(store, w->f.bus, &w->f.opts, &w->f.fs);
	if (!did(w, "mount", error)) {
		w->aborted = journal_error(store->journal) != 0;
		/* As main.c does: closing may fail again, or first. */
		w->aborted |= !did(w, "close", store_close(store));
		return false;
	}
	if (!did(w, "session", fs_session_open(w->f.fs, &w->f.session_opts, &w->f.session))) {
		w->aborted = !did(w, "close", fs_close(w->f.fs));
		return false;
	}
	w->f.ctx.session = w->f.session;
	return true;
}

static void close_failing(struct work *w, const struct point *point)
{
	/* Every third point loses power instead. */
	bool cut = point->plan.nth % 3 == 2;

	w->aborted = journal_error(fs_store(w->f.fs)->journal) != 0;
	if (cut) {
		faultdev_cut(w->dev);
		fs_destroy(w->f.fs);
	} else {
		fs_session_close(w->f.session);
		w->aborted |= !did(w, "close", fs_close(w->f.fs));
	}
	w->f.fs = NULL;
}

static void e2fsck(struct work *w, const char *how, int status_max)
{
	const char *const argv[] = { "e2fsck", how, w->f.image, NULL };

	run_program(argv, status_max);
}

static void judge(struct work *w, const struct point *point)
{
	/*
	 * From 4 on it asks for help. With the mark of an aborted journal it does not follow the
	 * orphan list and wants to be told to repair what it finds instead, as after the kernel;
	 * and of an orphan it forgets that its attributes have inodes of their own, which it then
	 * finds unattached: so after the kernel, too.
	 */
	bool must_ask = w->aborted || w->no_log || w->ea_inodes;

	if (point->plan.nth % 2 || w->no_log)
		e2fsck(w, must_ask ? "-fy" : "-fp", 1);
	fixture_mount(&w->f);
	for (uint32_t k = 0; k < atomic_load(&w->promise_count); k++)
		check_promise(w, &w->promises[k]);
	fixture_unmount(&w->f);
	inval_free(w->f.bus);
	/* kfs too leaves the orphans of an aborted journal to e2fsck. */
	if (w->aborted)
		e2fsck(w, "-fy", 1);
	e2fsck(w, "-fn", 0);
}

static bool has_word(const struct fs_load *l, const char *word)
{
	for (size_t k = 0; k < ARRAY_SIZE(l->mke2fs) && l->mke2fs[k]; k++)
		if (!strcmp(l->mke2fs[k], word))
			return true;
	return false;
}

/* ---- a load -------------------------------------------------------------------- */

static const struct named_load *named(const struct load *load)
{
	return load->arg;
}

static void work_init(struct work *w, const struct fs_load *l, int image)
{
	w->f = (struct fixture){ .store_opts = l->store_opts,
				 .opts = { .atime = FS_ATIME_NOATIME, .posix_acl = true },
				 .session_opts = { .name = "fault" } };
	w->f.store_opts.commit_interval_ms = 3600000; /* commits come when they are asked for */
	image_path(image, w->f.image, sizeof(w->f.image));
}

static void fill(const struct fs_load *l, int image)
{
	static struct work w;

	work_init(&w, l, image);
	CHECK_OK(inval_new(&w.f.bus));
	fixture_mount(&w.f);
	l->fill(&w);
	if (l->dirty)
		fixture_crash(&w.f);
	else
		fixture_unmount(&w.f);
	inval_free(w.f.bus);
}

static void load_prepare(const struct load *load)
{
	const struct fs_load *l = &named(load)->load;
	int image = image_new(l->size ? l->size : IMAGE_BYTES);
	const char *argv[16] = { "mke2fs", "-q", "-F", "-t", "ext4" };
	size_t k = 5, j = 0;
	char path[64];

	image_path(image, path, sizeof(path));
	while (l->mke2fs[j])
		argv[k++] = l->mke2fs[j++];
	argv[k] = path;
	run_program(argv, 0);
	if (l->fill)
		fill(l, image);
	bases[named(load) - fs_loads] = image;
}

static void load_run(const struct load *load, const struct point *point)
{
	static struct work w;
	const struct fs_load *l = &named(load)->load;
	int image = image_copy(bases[named(load) - fs_loads]);

	work_init(&w, l, image);
	w.no_log = l->no_log;
	w.ea_inodes = has_word(l, "ea_inode");
	if (mount_failing(&w, point)) {
		if (l->work)
			l->work(&w);
		close_failing(&w, point);
	}
	fault_stop();
	w.dev = NULL;
	judge(&w, point);
}

size_t loads(struct load *first, size_t max)
{
	CHECK_LE(fs_load_count, max);
	CHECK_LE(fs_load_count, ARRAY_SIZE(bases));
	for (size_t k = 0; k < fs_load_count; k++)
		first[k] = (struct load){
			.name = fs_loads[k].name,
			.kinds = 1u << FAULT_ALLOC | 1u << FAULT_THREAD | 1u << FAULT_READ |
				 1u << FAULT_WRITE | 1u << FAULT_FLUSH | 1u << FAULT_DISCARD |
				 1u << FAULT_ZERO | 1u << FAULT_JOIN,
			.prepare = load_prepare,
			.run = load_run,
			.arg = &fs_loads[k],
		};
	return fs_load_count;
}
