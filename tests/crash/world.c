// SPDX-License-Identifier: GPL-2.0-only
/* See world.h. */
#include "tests/crash/world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <linux/falloc.h>

#include "daemon/base/check.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "daemon/journal/journal.h"
#include "daemon/store/store.h"
#include "tests/crash/model.h"
#include "tests/crash/view.h"

#define HELD_MAX 32
#define CHURN_FILES 32
#define CHURN_VALUE 320
#define FILL_CHUNK (64u << 10)
#define NAMES_MAX 128
#define DIRS_MAX 64

struct world {
	struct store *store;
	struct inval_bus *bus;
	struct fs *fs;
	struct fs_session *session;
	struct fs_ctx ctx;
	uint64_t held[HELD_MAX];
	uint32_t held_count;
	uint8_t buf[VIEW_FILE_MAX];
};

int world_open(struct bdev *b, const struct world_opts *opts, struct world **ret_w, char *why,
	       size_t why_size)
{
	struct store_opts sopts = { .readonly = opts->readonly,
				    .discard = opts->discard,
				    .commit_interval_ms = 3600000,
				    .bufs_max = 256 };
	struct fs_opts fopts = { .atime = FS_ATIME_NOATIME, .posix_acl = true };
	struct fs_session_opts session = { .name = "crash", .writeback = true };
	struct store_open_error err;
	static struct world *spare; /* its pages are there already */
	struct world *w = spare ? spare : calloc(1, sizeof(*w));
	uint32_t cleaned;
	int error;

	CHECK(w);
	spare = w;
	memset(w, 0, offsetof(struct world, buf));
	error = store_open(b, &sopts, &w->store, &err);
	if (error) {
		(void)snprintf(why, why_size, "cannot be opened: %s: %s", strerror(-error),
			       err.what);
		return error;
	}
	error = opts->readonly ? 0 : store_orphan_cleanup(w->store, &cleaned);
	if (error) {
		(void)snprintf(why, why_size, "orphans: %s", strerror(-error));
		store_destroy(w->store);
		return error;
	}
	CHECK(!inval_new(&w->bus));
	CHECK(!fs_open_store(w->store, w->bus, &fopts, &w->fs));
	CHECK(!fs_session_open(w->fs, &session, &w->session));
	w->ctx.session = w->session;
	*ret_w = w;
	return 0;
}

int world_close(struct world *w)
{
	int error;

	fs_session_close(w->session);
	error = fs_close(w->fs);
	inval_free(w->bus);
	return error;
}

void world_destroy(struct world *w)
{
	fs_destroy(w->fs);
	inval_free(w->bus);
}

/* ---- paths ---------------------------------------------------------------- */

static struct fs_name name_at(const char *path, size_t len)
{
	return (struct fs_name){ .name = path, .len = (uint32_t)len };
}

static void forget(struct world *w, uint64_t nodeid)
{
	fs_forget(w->fs, w->session, nodeid, 1);
}

static int walk_part(struct world *w, const char *path, size_t end, uint64_t *ret_nodeid)
{
	uint64_t at = 1;
	size_t off = 0;

	for (;;) {
		struct fs_entry e;
		size_t len;
		int error;

		while (off < end && path[off] == '/')
			off++;
		if (off == end)
			break;
		len = strcspn(path + off, "/");
		error = fs_lookup(w->fs, &w->ctx, at, name_at(path + off, len), &e);
		forget(w, at);
		if (!error && !e.nodeid)
			error = -ENOENT;
		if (error)
			return error;
		at = e.nodeid;
		off += len;
	}
	*ret_nodeid = at;
	return 0;
}

static int walk(struct world *w, const char *path, uint64_t *ret_nodeid)
{
	return walk_part(w, path, strlen(path), ret_nodeid);
}

static int walk_parent(struct world *w, const char *path, uint64_t *ret_dir,
		       struct fs_name *ret_name)
{
	const char *slash = strrchr(path, '/');

	*ret_name = name_at(slash + 1, strlen(slash + 1));
	return walk_part(w, path, (size_t)(slash - path), ret_dir);
}

/* ---- operations ----------------------------------------------------------- */

static int make(struct world *w, const struct op *op, uint32_t stamp, uint64_t *ret_nodeid)
{
	static const uint32_t modes[] = {
		[OP_CREATE] = S_IFREG | 0644, [OP_MKDIR] = S_IFDIR | 0755, [OP_SYMLINK] = S_IFLNK | 0777
	};
	struct fs_create req = { .mode = modes[op->kind], .excl = true };
	char target[512];
	struct fs_entry e;
	int error;

	if (op->kind == OP_SYMLINK) {
		model_target(stamp, target, op->len);
		req.target = target;
		req.target_len = op->len;
	}
	error = walk_parent(w, op->a, &req.dir, &req.name);
	if (error)
		return error;
	error = fs_create(w->fs, &w->ctx, &req, &e);
	forget(w, req.dir);
	if (!error)
		*ret_nodeid = e.nodeid;
	return error;
}

static int run_make(struct world *w, const struct op *op, uint32_t stamp)
{
	uint64_t nodeid;
	int error = make(w, op, stamp, &nodeid);

	if (!error)
		forget(w, nodeid);
	return error;
}

static int run_remove(struct world *w, const struct op *op)
{
	struct fs_name name;
	uint64_t dir;
	int error = walk_parent(w, op->a, &dir, &name);

	if (error)
		return error;
	error = (op->kind == OP_RMDIR ? fs_rmdir : fs_unlink)(w->fs, &w->ctx, dir, name);
	forget(w, dir);
	return error;
}

static int run_rename(struct world *w, const struct op *op)
{
	struct fs_rename req = { .flags = op->kind == OP_EXCHANGE ? FS_RENAME_EXCHANGE : 0 };
	int error = walk_parent(w, op->a, &req.dir, &req.name);

	if (error)
		return error;
	error = walk_parent(w, op->b, &req.newdir, &req.newname);
	if (!error) {
		error = fs_rename(w->fs, &w->ctx, &req);
		forget(w, req.newdir);
	}
	forget(w, req.dir);
	return error;
}

static int run_link(struct world *w, const struct op *op)
{
	uint64_t nodeid, dir;
	struct fs_name name;
	struct fs_entry e;
	int error = walk(w, op->a, &nodeid);

	if (error)
		return error;
	error = walk_parent(w, op->b, &dir, &name);
	if (!error) {
		error = fs_link(w->fs, &w->ctx, nodeid, dir, name, &e);
		if (!error)
			forget(w, e.nodeid);
		forget(w, dir);
	}
	forget(w, nodeid);
	return error;
}

static ssize_t put(struct world *w, uint64_t nodeid, uint32_t stamp, uint64_t off, size_t len,
		   uint32_t flags)
{
	struct iovec iov = { .iov_base = w->buf, .iov_len = len };
	struct fs_write req = {
		.nodeid = nodeid, .iov = &iov, .iovcnt = 1, .off = off, .len = len, .flags = flags
	};

	CHECK(len <= sizeof(w->buf));
	model_pattern(stamp, off, w->buf, len);
	return fs_write(w->fs, &w->ctx, &req);
}

static ssize_t fill(struct world *w, uint64_t nodeid, uint32_t stamp, uint64_t off)
{
	uint64_t from = off;
	ssize_t n;

	while (off + FILL_CHUNK <= VIEW_FILE_MAX) {
		n = put(w, nodeid, stamp, off, FILL_CHUNK, 0);
		if (n <= 0)
			break;
		off += (uint64_t)n;
	}
	return (ssize_t)(off - from);
}

static ssize_t run_write(struct world *w, const struct op *op, uint64_t nodeid, uint32_t stamp)
{
	struct fs_attr attr;
	int error = fs_getattr(w->fs, &w->ctx, nodeid, &attr);

	if (error)
		return error;
	switch (op->kind) {
	case OP_FILL: return fill(w, nodeid, stamp, attr.size);
	case OP_APPEND: return put(w, nodeid, stamp, attr.size, op->len, 0);
	case OP_CACHED: return put(w, nodeid, stamp, op->off, op->len, FS_WRITE_CACHE);
	default: return put(w, nodeid, stamp, op->off, op->len, 0);
	}
}

static int run_range(struct world *w, const struct op *op, uint64_t nodeid)
{
	static const uint32_t modes[] = { [OP_FALLOCATE] = 0,
					  [OP_KEEP] = FALLOC_FL_KEEP_SIZE,
					  [OP_ZERO] = FALLOC_FL_ZERO_RANGE,
					  [OP_PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };

	return fs_fallocate(w->fs, &w->ctx, nodeid, modes[op->kind], op->off, op->len);
}

static int run_xattr(struct world *w, uint64_t nodeid, const char *name, uint32_t len,
		     uint32_t stamp)
{
	char full[32];
	struct fs_setxattr req = { .nodeid = nodeid, .name = full, .len = len };
	int error;

	(void)snprintf(full, sizeof(full), "user.%s", name);
	if (len) {
		model_pattern(stamp, 0, w->buf, len);
		req.value = w->buf;
	}
	error = fs_setxattr(w->fs, &w->ctx, &req);
	return error == -ENODATA ? 0 : error;
}

static int run_attr(struct world *w, const struct op *op, uint64_t nodeid)
{
	struct fs_setattr req = { .nodeid = nodeid };
	struct fs_attr attr;

	req.valid = op->kind == OP_CHMOD ? FS_SET_MODE : FS_SET_SIZE;
	req.mode = op->off;
	req.size = op->off;
	return fs_setattr(w->fs, &w->ctx, &req, &attr);
}

static ssize_t run_on_node(struct world *w, const struct op *op, uint32_t stamp)
{
	uint64_t nodeid;
	ssize_t r = walk(w, op->a, &nodeid);

	if (r)
		return r;
	switch (op->kind) {
	case OP_WRITE:
	case OP_APPEND:
	case OP_CACHED:
	case OP_FILL: r = run_write(w, op, nodeid, stamp); break;
	case OP_FALLOCATE:
	case OP_KEEP:
	case OP_ZERO:
	case OP_PUNCH: r = run_range(w, op, nodeid); break;
	case OP_TRUNCATE:
	case OP_CHMOD: r = run_attr(w, op, nodeid); break;
	case OP_SETXATTR: r = run_xattr(w, nodeid, op->b, op->len, stamp); break;
	case OP_FSYNC:
	case OP_FDATASYNC: r = fs_fsync(w->fs, &w->ctx, nodeid, op->kind == OP_FDATASYNC); break;
	default: break;
	}
	if (op->kind == OP_HOLD && w->held_count < HELD_MAX)
		w->held[w->held_count++] = nodeid;
	else
		forget(w, nodeid);
	return r;
}

static int churn(struct world *w, uint32_t stamp)
{
	for (uint32_t k = 0; k < CHURN_FILES; k++) {
		char path[16];
		uint64_t nodeid;
		int error;

		(void)snprintf(path, sizeof(path), "/w/%u", k);
		error = walk(w, path, &nodeid);
		if (error)
			return error;
		error = run_xattr(w, nodeid, "churn", CHURN_VALUE, stamp * 100 + k);
		forget(w, nodeid);
		if (error && error != -ENOSPC)
			return error;
	}
	return fs_syncfs(w->fs);
}

int world_make_churn(struct world *w)
{
	struct op op = { .kind = OP_MKDIR, .a = "/w" };
	int error = run_make(w, &op, 0);

	for (uint32_t k = 0; !error && k < CHURN_FILES; k++) {
		op.kind = OP_CREATE;
		(void)snprintf(op.a, sizeof(op.a), "/w/%u", k);
		error = run_make(w, &op, 0);
	}
	return error ? error : churn(w, 1);
}

static int checkpoint(struct world *w)
{
	int error = fs_freeze(w->fs);

	if (!error)
		fs_thaw(w->fs);
	return error;
}

static ssize_t run(struct world *w, const struct op *op, uint32_t stamp)
{
	switch (op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
	case OP_SYMLINK: return run_make(w, op, stamp);
	case OP_UNLINK:
	case OP_RMDIR: return run_remove(w, op);
	case OP_RENAME:
	case OP_EXCHANGE: return run_rename(w, op);
	case OP_LINK: return run_link(w, op);
	case OP_SYNC: return fs_syncfs(w->fs);
	case OP_CHECKPOINT: return checkpoint(w);
	case OP_CHURN: return churn(w, stamp);
	default: return run_on_node(w, op, stamp);
	}
}

static uint32_t committed(struct world *w)
{
	struct journal_stats stats;

	journal_get_stats(w->store->journal, &stats);
	return stats.tid_committed;
}

ssize_t world_run(struct world *w, const struct op *op, uint32_t stamp, bool *ret_several)
{
	uint32_t before = committed(w);
	ssize_t r = run(w, op, stamp);

	*ret_several = committed(w) != before;
	return r;
}

/* ---- reading -------------------------------------------------------------- */

struct listing {
	char names[NAMES_MAX][VIEW_PATH_MAX];
	uint32_t count;
	bool in_root;
};

static int list_one(void *arg, const struct fs_dirent *d)
{
	struct listing *l = arg;
	char *name = l->names[l->count];

	if (l->count == NAMES_MAX)
		return 0;
	(void)snprintf(name, VIEW_PATH_MAX, "%.*s", (int)d->name.len, d->name.name);
	if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !view_hidden(name, l->in_root))
		l->count++;
	return 0;
}

struct reading {
	struct world *w;
	struct view_builder *b;
	char dirs[DIRS_MAX][VIEW_PATH_MAX];
	uint32_t dir_count;
	char *why;
	size_t why_size;
};

static int fail(struct reading *r, const char *path, const char *what, ssize_t error)
{
	(void)snprintf(r->why, r->why_size, "%s: %s: %s", *path ? path : "/", what,
		       strerror((int)-error));
	return (int)error;
}

static int read_xattrs(struct reading *r, uint64_t nodeid, struct view_node *node)
{
	struct world *w = r->w;
	char names[1024];
	uint8_t value[1024];
	ssize_t len = fs_listxattr(w->fs, &w->ctx, nodeid, names, sizeof(names)), n;

	for (ssize_t off = 0; off < len; off += (ssize_t)strlen(names + off) + 1) {
		n = fs_getxattr(w->fs, &w->ctx, nodeid, names + off, value, sizeof(value));
		if (n < 0)
			return (int)n;
		node->xattrs += view_hash_xattr(names + off, value, (size_t)n);
	}
	return len < 0 ? (int)len : 0;
}

static int read_node(struct reading *r, const char *path, const struct fs_entry *e,
		     struct view_node *node)
{
	struct world *w = r->w;
	struct iovec iov = { .iov_base = w->buf, .iov_len = sizeof(w->buf) };
	uint32_t len;
	ssize_t n;

	node->mode = e->attr.mode;
	node->nlink = e->attr.nlink;
	n = read_xattrs(r, e->nodeid, node);
	if (n < 0)
		return fail(r, path, "xattrs", n);
	if (S_ISREG(e->attr.mode)) {
		node->size = e->attr.size;
		n = fs_read(w->fs, &w->ctx, e->nodeid, &iov, 1, 0, sizeof(w->buf));
		if (n >= 0)
			view_bytes(r->b, node, w->buf, (size_t)n);
	} else if (S_ISLNK(e->attr.mode)) {
		node->size = e->attr.size;
		n = fs_readlink(w->fs, &w->ctx, e->nodeid, (char *)w->buf, 4096, &len);
		node->target = n < 0 ? 0 : view_hash(w->buf, len, 3);
	}
	return n < 0 ? fail(r, path, "contents", n) : 0;
}

static int read_name(struct reading *r, const char *path, const struct fs_entry *e)
{
	struct view_node *node;

	if (S_ISDIR(e->attr.mode) && r->dir_count < DIRS_MAX)
		(void)snprintf(r->dirs[r->dir_count++], VIEW_PATH_MAX, "%s", path);
	return view_name(r->b, *path ? path : "/", e->attr.ino, &node) ?
		       read_node(r, path, e, node) :
		       0;
}

static int read_dir(struct reading *r, const char *path)
{
	struct listing l = { .in_root = !*path };
	struct world *w = r->w;
	uint64_t dir;
	int error = walk(w, path, &dir);

	if (error)
		return fail(r, path, "lookup", error);
	error = fs_readdir(w->fs, &w->ctx, dir, 0, false, list_one, &l);
	if (error)
		(void)fail(r, path, "readdir", error);
	for (uint32_t k = 0; !error && k < l.count; k++) {
		char full[VIEW_PATH_MAX * 2 + 2];
		struct fs_entry e;

		(void)snprintf(full, sizeof(full), "%s/%s", path, l.names[k]);
		full[VIEW_PATH_MAX - 1] = '\0';
		error = fs_lookup(w->fs, &w->ctx, dir, name_at(l.names[k], strlen(l.names[k])), &e);
		if (!error && !e.nodeid)
			error = -ENOENT;
		if (error)
			(void)fail(r, full, "lookup of a listed name", error);
		else
			error = read_name(r, full, &e);
		if (!error)
			forget(w, e.nodeid);
	}
	forget(w, dir);
	return error;
}

struct view *world_view(struct world *w, struct view_builder *b, char *why, size_t why_size)
{
	static struct reading r;
	struct fs_entry root = { .nodeid = 1 };
	int error;

	r = (struct reading){ .w = w, .b = b, .why = why, .why_size = why_size };
	view_begin(b);
	error = fs_getattr(w->fs, &w->ctx, 1, &root.attr);
	if (error)
		(void)fail(&r, "/", "getattr", error);
	else
		error = read_name(&r, "", &root);
	for (uint32_t k = 0; !error && k < r.dir_count; k++)
		error = read_dir(&r, r.dirs[k]);
	return error ? NULL : view_end(b);
}

ssize_t world_read(struct world *w, const char *path, void *buf, size_t max)
{
	struct iovec iov = { .iov_base = buf, .iov_len = max };
	uint64_t nodeid;
	ssize_t n = walk(w, path, &nodeid);

	if (n)
		return n;
	n = fs_read(w->fs, &w->ctx, nodeid, &iov, 1, 0, max);
	forget(w, nodeid);
	return n;
}

void world_log_ranges(struct world *w, void (*fn)(void *arg, uint64_t off, uint64_t len), void *arg)
{
	const struct store *s = w->store;

	for (uint32_t k = 0; k < s->journal_run_count; k++) {
		struct block_run run = s->journal_runs[k];

		/* The first block is the log's superblock: part of the file system's state. */
		if (run.lblk == 0) {
			run.pblk++;
			run.count--;
		}
		fn(arg, run.pblk * s->block_size, run.count * s->block_size);
	}
}
