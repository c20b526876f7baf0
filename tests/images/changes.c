/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a tour changes. "Use" touches only what is whole (things of its own, and /keep), and
 * says what failed; "abuse" does everything to everything and minds no error.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "tests/images/tour_priv.h"

#define FILES 40

/* ---- one operation each --------------------------------------------------- */

static int make(struct tour *t, uint64_t dir, const char *name, uint32_t mode, uint64_t *ret_nodeid)
{
	struct fs_create req = { .dir = dir, .name = tour_name(name), .mode = mode, .excl = true };
	struct fs_entry e;
	int error;

	req.target = "some/where/else";
	req.target_len = (uint32_t)strlen(req.target);
	error = fs_create(t->fs, &t->ctx, &req, &e);
	if (error)
		return error;
	if (ret_nodeid)
		*ret_nodeid = e.nodeid;
	else
		tour_forget(t, e.nodeid);
	return 0;
}

static int put(struct tour *t, uint64_t nodeid, uint64_t off, size_t len)
{
	struct iovec iov = { .iov_base = t->buf, .iov_len = len };
	struct fs_write req = { .nodeid = nodeid, .iov = &iov, .iovcnt = 1, .off = off, .len = len };
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		t->buf[i] = (uint8_t)((off + i) * 7 >> 2);
	n = fs_write(t->fs, &t->ctx, &req);
	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -ENOSPC;
}

static int check(struct tour *t, uint64_t nodeid, uint64_t off, size_t len)
{
	struct iovec iov = { .iov_base = t->buf, .iov_len = len };
	ssize_t n = fs_read(t->fs, &t->ctx, nodeid, &iov, 1, off, len);

	if (n < 0)
		return (int)n;
	for (size_t i = 0; i < (size_t)n; i++)
		if (t->buf[i] != (uint8_t)((off + i) * 7 >> 2))
			return -EBADE;
	return (size_t)n == len ? 0 : -ENODATA;
}

static int resize(struct tour *t, uint64_t nodeid, uint64_t size)
{
	struct fs_setattr req = { .nodeid = nodeid, .valid = FS_SET_SIZE, .size = size };
	struct fs_attr attr;

	return fs_setattr(t->fs, &t->ctx, &req, &attr);
}

static int set_xattr(struct tour *t, uint64_t nodeid, const char *name, size_t len)
{
	struct fs_setxattr req = { .nodeid = nodeid, .name = name, .value = t->buf, .len = len };

	return fs_setxattr(t->fs, &t->ctx, &req);
}

static int move(struct tour *t, uint64_t dir, const char *from, uint64_t to_dir, const char *to)
{
	struct fs_rename req = { .dir = dir, .newdir = to_dir };

	req.name = tour_name(from);
	req.newname = tour_name(to);
	return fs_rename(t->fs, &t->ctx, &req);
}

static int look(struct tour *t, uint64_t dir, const char *name, uint64_t *ret_nodeid)
{
	struct fs_entry e;
	int error = fs_lookup(t->fs, &t->ctx, dir, tour_name(name), &e);

	if (!error)
		*ret_nodeid = e.nodeid;
	return error ? error : e.nodeid ? 0 : -ENOENT;
}

/* ---- use ------------------------------------------------------------------ */

static void use_file(struct tour *t, uint64_t dir)
{
	uint64_t f;
	int error = make(t, dir, "file", S_IFREG | 0644, &f);

	tour_failed(t, "/new/file", "create", error);
	if (error)
		return;
	tour_failed(t, "/new/file", "write", put(t, f, 0, 100000));
	tour_failed(t, "/new/file", "write", put(t, f, 300000, 5000));
	tour_failed(t, "/new/file", "write", put(t, f, 40000000, 3000));
	tour_failed(t, "/new/file", "check", check(t, f, 0, 100000));
	tour_failed(t, "/new/file", "check", check(t, f, 300000, 5000));
	tour_failed(t, "/new/file", "punch",
		    fs_fallocate(t->fs, &t->ctx, f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 20000, 30000));
	tour_failed(t, "/new/file", "truncate", resize(t, f, 60001));
	tour_failed(t, "/new/file", "check", check(t, f, 50000, 10000));
	memset(t->buf, 'x', 600);
	tour_failed(t, "/new/file", "setxattr", set_xattr(t, f, "user.small", 10));
	tour_failed(t, "/new/file", "setxattr", set_xattr(t, f, "user.large", 600));
	tour_failed(t, "/new/file", "fsync", fs_fsync(t->fs, &t->ctx, f, false));
	tour_forget(t, f);
}

static void use_dir(struct tour *t, uint64_t dir)
{
	static const char padding[] = "a-name-that-fills-directory-blocks-so-that-an-index-is-made";
	char name[100];
	int error = 0;

	for (int i = 0; i < FILES && !error; i++) {
		(void)snprintf(name, sizeof(name), "%02d-%s", i, padding);
		error = make(t, dir, name, S_IFREG | 0600, NULL);
	}
	for (int i = 0; i < FILES && !error; i += 2) {
		(void)snprintf(name, sizeof(name), "%02d-%s", i, padding);
		error = fs_unlink(t->fs, &t->ctx, dir, tour_name(name));
	}
	tour_failed(t, "/new/dir", "fill", error);
	tour_failed(t, "/new/dir", "symlink", make(t, dir, "symlink", S_IFLNK | 0777, NULL));
	tour_failed(t, "/new/dir", "fifo", make(t, dir, "fifo", S_IFIFO | 0644, NULL));
	tour_failed(t, "/new/dir", "rename", move(t, dir, "symlink", dir, "moved"));
}

/* A file that was whole before grows; others of /keep stay as they are. */
static void use_keep(struct tour *t)
{
	uint64_t keep, f;
	int error = look(t, 1, "keep", &keep);

	tour_failed(t, "/keep", "lookup", error);
	if (error)
		return;
	error = look(t, keep, "grow", &f);
	tour_failed(t, "/keep/grow", "lookup", error);
	if (!error) {
		tour_failed(t, "/keep/grow", "write", put(t, f, 3000, 9000));
		tour_failed(t, "/keep/grow", "setxattr", set_xattr(t, f, "user.grown", 100));
		tour_forget(t, f);
	}
	tour_forget(t, keep);
}

void tour_use(struct tour *t)
{
	uint64_t dir, sub;
	int error = make(t, 1, "new", S_IFDIR | 0755, &dir);

	tour_failed(t, "/new", "mkdir", error);
	if (!error) {
		use_file(t, dir);
		error = make(t, dir, "dir", S_IFDIR | 0755, &sub);
		tour_failed(t, "/new/dir", "mkdir", error);
		if (!error) {
			use_dir(t, sub);
			tour_forget(t, sub);
		}
		error = make(t, dir, "gone", S_IFDIR | 0755, NULL);
		if (!error)
			error = fs_rmdir(t->fs, &t->ctx, dir, tour_name("gone"));
		tour_failed(t, "/new/gone", "rmdir", error);
		tour_forget(t, dir);
	}
	use_keep(t);
	tour_failed(t, "/", "sync", fs_syncfs(t->fs));
}

/* ---- abuse ---------------------------------------------------------------- */

/* Results do not matter: the point is that nothing breaks. */
static void ignore(int error)
{
	(void)error;
}

static void abuse_file(struct tour *t, const struct object *o)
{
	uint64_t off;

	ignore(put(t, o->nodeid, 0, 10));
	ignore(put(t, o->nodeid, o->size, 3000));
	ignore(put(t, o->nodeid, 12345678, 2000));
	ignore(put(t, o->nodeid, (uint64_t)1 << 32, 2000));
	ignore(fs_lseek(t->fs, &t->ctx, o->nodeid, 0, true, &off));
	ignore(fs_fallocate(t->fs, &t->ctx, o->nodeid, 0, 0, 200000));
	ignore(fs_fallocate(t->fs, &t->ctx, o->nodeid, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    1024, 70000));
	ignore(fs_fallocate(t->fs, &t->ctx, o->nodeid, FALLOC_FL_ZERO_RANGE, 0, 9000));
	ignore(fs_fallocate(t->fs, &t->ctx, o->nodeid, FALLOC_FL_COLLAPSE_RANGE, 1024, 2048));
	ignore(fs_fallocate(t->fs, &t->ctx, o->nodeid, FALLOC_FL_INSERT_RANGE, 1024, 2048));
	ignore(resize(t, o->nodeid, o->size / 2));
	ignore(resize(t, o->nodeid, o->size + 100000));
	ignore(resize(t, o->nodeid, 0));
}

static void abuse_dir(struct tour *t, const struct object *o)
{
	char name[250];
	uint64_t child;

	for (int i = 0; i < 30; i++) {
		memset(name, 'a' + i % 26, sizeof(name));
		(void)snprintf(name + 200, sizeof(name) - 200, "%d", i);
		ignore(make(t, o->nodeid, name, S_IFREG | 0600, NULL));
	}
	if (!make(t, o->nodeid, "zz-dir", S_IFDIR | 0700, &child)) {
		ignore(make(t, child, "zz-file", S_IFREG | 0600, NULL));
		ignore(move(t, child, "zz-file", o->nodeid, "zz-moved"));
		ignore(move(t, o->nodeid, "zz-dir", 1, "zz-top"));
		tour_forget(t, child);
	}
	ignore(make(t, o->nodeid, "zz-link", S_IFLNK | 0777, NULL));
	for (int i = 0; i < 30; i += 3) {
		memset(name, 'a' + i % 26, sizeof(name));
		(void)snprintf(name + 200, sizeof(name) - 200, "%d", i);
		ignore(fs_unlink(t->fs, &t->ctx, o->nodeid, tour_name(name)));
	}
}

static void abuse_xattrs(struct tour *t, const struct object *o)
{
	static char names[65536];
	ssize_t len;

	ignore(set_xattr(t, o->nodeid, "user.abuse", 20));
	ignore(set_xattr(t, o->nodeid, "user.abuse", 700));
	ignore(set_xattr(t, o->nodeid, "user.large", 9000));
	len = fs_listxattr(t->fs, &t->ctx, o->nodeid, names, sizeof(names));
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		struct fs_setxattr req = { .nodeid = o->nodeid, .name = names + at };

		ignore(fs_setxattr(t->fs, &t->ctx, &req));
	}
}

static void abuse_object(struct tour *t, const struct object *o)
{
	struct fs_setattr req = { .nodeid = o->nodeid,
				  .valid = FS_SET_MODE | FS_SET_UID | FS_SET_MTIME,
				  .mode = 0700,
				  .uid = 4711 };
	struct fs_attr attr;
	struct fs_entry e;
	char name[32];

	ignore(fs_setattr(t->fs, &t->ctx, &req, &attr));
	if (S_ISREG(o->mode))
		abuse_file(t, o);
	if (S_ISDIR(o->mode))
		abuse_dir(t, o);
	abuse_xattrs(t, o);
	(void)snprintf(name, sizeof(name), "zz-%llx", (unsigned long long)o->nodeid);
	if (!fs_link(t->fs, &t->ctx, o->nodeid, 1, tour_name(name), &e))
		tour_forget(t, e.nodeid);
	ignore(fs_fsync(t->fs, &t->ctx, o->nodeid, false));
}

static bool is_kept(const struct object *o)
{
	return !strncmp(o->path, "/keep", 5);
}

/* The object whose path is everything before @o's last name. */
static const struct object *parent_of(const struct tour *t, const struct object *o)
{
	size_t len = (size_t)(strrchr(o->path, '/') - o->path);

	for (uint32_t i = 0; i < t->count; i++) {
		const struct object *p = &t->objects[i];

		if (len ? strlen(p->path) == len && !memcmp(p->path, o->path, len) : i == 0)
			return p;
	}
	return NULL;
}

void tour_abuse(struct tour *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (t->objects[i].mode && !t->objects[i].again && !is_kept(&t->objects[i]))
			abuse_object(t, &t->objects[i]);
	ignore(fs_syncfs(t->fs));
	/* Children before parents. */
	for (uint32_t i = t->count; i-- > 1;) {
		const struct object *o = &t->objects[i], *parent = parent_of(t, o);
		const char *name = strrchr(o->path, '/') + 1;

		if (is_kept(o) || !parent)
			continue;
		ignore(move(t, parent->nodeid, name, parent->nodeid, "zz-renamed"));
		ignore(move(t, parent->nodeid, "zz-renamed", parent->nodeid, name));
		if (i % 7)
			ignore(S_ISDIR(o->mode) ?
				       fs_rmdir(t->fs, &t->ctx, parent->nodeid, tour_name(name)) :
				       fs_unlink(t->fs, &t->ctx, parent->nodeid, tour_name(name)));
	}
	ignore(fs_syncfs(t->fs));
}
