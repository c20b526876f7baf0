/* SPDX-License-Identifier: GPL-2.0-only */
/* See tour.h. What is refused is said; only a hang or a crash is a failure here. */
#include "tests/images/tour.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "daemon/store/store.h"
#include "tests/images/tour_priv.h"

/* More than any base image holds; a listing without end is a finding. */
#define OBJECTS_MAX 20000
#define NAMES_MAX 20000

struct fs_name tour_name(const char *s)
{
	return (struct fs_name){ .name = s, .len = (uint32_t)strlen(s) };
}

void tour_forget(struct tour *t, uint64_t nodeid)
{
	fs_forget(t->fs, t->session, nodeid, 1);
}

void tour_failed(struct tour *t, const char *path, const char *what, int error)
{
	if (error < 0)
		fprintf(t->out, "! %s %s %s\n", path, what, strerrorname_np(-error));
}

/* ---- objects to visit ----------------------------------------------------- */

/* Takes over the lookup count of @nodeid. */
static void push(struct tour *t, const char *path, uint64_t nodeid)
{
	if (t->count == t->room) {
		t->room = t->room ? t->room * 2 : 256;
		t->objects = realloc(t->objects, t->room * sizeof(*t->objects));
		if (!t->objects)
			abort();
	}
	t->objects[t->count++] = (struct object){ .path = strdup(path), .nodeid = nodeid };
}

void tour_escape(char *to, size_t size, const char *prefix, struct fs_name name)
{
	size_t at = (size_t)snprintf(to, size, "%s/", strcmp(prefix, "/") ? prefix : "");

	for (uint32_t i = 0; i < name.len && at + 5 < size; i++) {
		unsigned char c = (unsigned char)name.name[i];

		if (isgraph(c) && c != '\\')
			to[at++] = (char)c;
		else
			at += (size_t)snprintf(to + at, size - at, "\\x%02x", c);
	}
	if (at < size)
		to[at] = '\0';
}

struct names {
	uint32_t count, bytes, room;
	char *text; /* length byte and name, one after the other */
	uint64_t cookie;
	uint32_t taken;
};

static int take_name(void *arg, const struct fs_dirent *d)
{
	struct names *n = arg;

	if (n->bytes + 256 > n->room) {
		n->room = n->room ? n->room * 2 : 4096;
		n->text = realloc(n->text, n->room);
		if (!n->text)
			abort();
	}
	n->text[n->bytes] = (char)d->name.len;
	memcpy(n->text + n->bytes + 1, d->name.name, d->name.len);
	n->bytes += 1 + d->name.len;
	n->count++;
	n->taken++;
	n->cookie = d->cookie;
	return 0;
}

static void list(struct tour *t, const struct object *o, struct names *n)
{
	do {
		int error;

		n->taken = 0;
		error = fs_readdir(t->fs, &t->ctx, o->nodeid, n->cookie, false, take_name, n);
		tour_failed(t, o->path, "readdir", error);
		if (error)
			return;
	} while (n->taken && n->count < NAMES_MAX);
	if (n->count >= NAMES_MAX)
		fprintf(t->out, "! %s readdir ENDLESS\n", o->path);
}

static bool seen(struct tour *t, uint64_t nodeid)
{
	for (uint32_t i = 0; i < t->seen_count; i++)
		if (t->seen[i] == nodeid)
			return true;
	if (t->seen_count < SEEN_MAX)
		t->seen[t->seen_count++] = nodeid;
	return false;
}

/* Every name of the directory is looked up; what it leads to is visited later. */
static void visit_dir(struct tour *t, const struct object *o)
{
	struct names n = { 0 };

	if (o->again)
		return;
	list(t, o, &n);
	for (uint32_t at = 0; at < n.bytes && t->count < OBJECTS_MAX;) {
		struct fs_name name = { .name = n.text + at + 1, .len = (uint8_t)n.text[at] };
		struct fs_entry e;
		char path[PATH_MAX];
		int error;

		at += 1 + name.len;
		if (name.name[0] == '.' &&
		    (name.len == 1 || (name.len == 2 && name.name[1] == '.')))
			continue;
		tour_escape(path, sizeof(path), o->path, name);
		error = fs_lookup(t->fs, &t->ctx, o->nodeid, name, &e);
		if (!error && !e.nodeid)
			error = -ENOENT;
		tour_failed(t, path, "lookup", error);
		if (!error)
			push(t, path, e.nodeid);
	}
	free(n.text);
}

/* ---- contents ------------------------------------------------------------- */

static uint32_t read_file(struct tour *t, const struct object *o, uint64_t size)
{
	uint32_t crc = ~0u;
	uint64_t off = 0, hole;

	/* Much of a sparse file is nothing: the head and what lies behind the next holes. */
	for (uint32_t i = 0; i < 64 && off < size; i++) {
		struct iovec iov = { .iov_base = t->buf, .iov_len = TOUR_BUF };
		ssize_t n = fs_read(t->fs, &t->ctx, o->nodeid, &iov, 1, off, TOUR_BUF);

		tour_failed(t, o->path, "read", (int)n);
		if (n <= 0)
			break;
		crc = crc32c(crc, t->buf, (size_t)n);
		off += (uint64_t)n;
		if (fs_lseek(t->fs, &t->ctx, o->nodeid, off, false, &hole))
			break;
		off = hole;
	}
	for (uint32_t i = 0; i < 4; i++)
		(void)fs_bmap(t->fs, &t->ctx, o->nodeid, i * 13, 1024, &hole);
	return crc;
}

static void read_link(struct tour *t, const struct object *o, uint32_t *ret_crc)
{
	uint32_t len = 0;
	int error = fs_readlink(t->fs, &t->ctx, o->nodeid, (char *)t->buf, PATH_MAX, &len);

	tour_failed(t, o->path, "readlink", error);
	if (!error)
		*ret_crc = crc32c(~0u, t->buf, len);
}

static void read_xattrs(struct tour *t, const struct object *o, uint32_t *crc)
{
	static char names[65536];
	ssize_t len = fs_listxattr(t->fs, &t->ctx, o->nodeid, names, sizeof(names));

	tour_failed(t, o->path, "listxattr", (int)len);
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t n = fs_getxattr(t->fs, &t->ctx, o->nodeid, names + at, t->buf, TOUR_BUF);

		tour_failed(t, o->path, "getxattr", (int)n);
		*crc = crc32c(*crc, names + at, strlen(names + at));
		if (n > 0)
			*crc = crc32c(*crc, t->buf, (size_t)n);
	}
}

static void visit(struct tour *t, struct object *o)
{
	struct fs_attr attr;
	uint32_t crc = ~0u;
	int error = fs_getattr(t->fs, &t->ctx, o->nodeid, &attr);

	tour_failed(t, o->path, "getattr", error);
	if (error)
		return;
	o->mode = attr.mode;
	o->size = attr.size;
	o->again = seen(t, o->nodeid);
	switch (attr.mode & S_IFMT) {
	case S_IFDIR: visit_dir(t, o); break;
	case S_IFREG: crc = o->again ? crc : read_file(t, o, attr.size); break;
	case S_IFLNK: read_link(t, o, &crc); break;
	default: break;
	}
	if (!o->again)
		read_xattrs(t, o, &crc);
	fprintf(t->out, "= %s %o %" PRIu64 " %08" PRIx32 "\n", o->path, attr.mode,
		S_ISDIR(attr.mode) ? 0 : attr.size, crc);
}

void tour_walk(struct tour *t)
{
	struct fs_statfs st;
	struct fs_entry root;
	int error = fs_lookup_self(t->fs, &t->ctx, 1, &root);

	tour_failed(t, "/", "statfs", fs_statfs(t->fs, &st));
	tour_failed(t, "/", "lookup", error);
	if (error)
		return;
	push(t, "/", root.nodeid);
	/* visit() appends to the list and may move it. */
	for (uint32_t i = 0; i < t->count; i++) {
		struct object o = t->objects[i];

		visit(t, &o);
		t->objects[i] = o;
	}
}

void tour_walk_end(struct tour *t)
{
	for (uint32_t i = 0; i < t->count; i++) {
		tour_forget(t, t->objects[i].nodeid);
		free(t->objects[i].path);
	}
	t->count = 0;
	t->seen_count = 0;
}

/* ---- opening -------------------------------------------------------------- */

static int open_store(struct tour *t, const char *image, bool readonly, struct store **ret_store)
{
	struct bdev_open_opts bopts = { .readonly = readonly };
	/* Durability is another test's business. */
	struct store_opts opts = { .readonly = readonly, .cache_mb = 4, .no_barrier = true };
	struct store_open_error err = { .what = "" };
	uint32_t cleaned;
	struct bdev *bdev;
	int error = bdev_open_file(image, &bopts, &bdev);

	if (!error)
		error = store_open(bdev, &opts, ret_store, &err);
	/* A log to replay: a read-only mount on a writable medium does it. */
	if (error == -EROFS && readonly) {
		bopts.readonly = false;
		error = bdev_open_file(image, &bopts, &bdev);
		if (!error)
			error = store_open(bdev, &opts, ret_store, &err);
	}
	if (error) {
		fprintf(t->out, "refused %s %s: %s\n", strerrorname_np(-error), err.what,
			err.remedy);
		return error;
	}
	if (!atomic_load(&(*ret_store)->readonly))
		tour_failed(t, "/", "orphans", store_orphan_cleanup(*ret_store, &cleaned));
	return 0;
}

static int open_fs(struct tour *t, const char *image, bool readonly)
{
	struct fs_opts opts = { .atime = FS_ATIME_RELATIME, .posix_acl = true };
	struct fs_session_opts sopts = { .name = "tour" };
	struct store *store;
	int error = open_store(t, image, readonly, &store);

	if (error)
		return error;
	if (inval_new(&t->bus) || fs_open_store(store, t->bus, &opts, &t->fs) ||
	    fs_session_open(t->fs, &sopts, &t->session))
		abort();
	t->ctx.session = t->session;
	fprintf(t->out, "mounted %s %s\n", atomic_load(&store->readonly) ? "ro" : "rw",
		store->readonly_why ? store->readonly_why : "");
	return 0;
}

void tour(const char *image, enum tour_kind kind, FILE *out)
{
	struct tour t = { .out = out, .buf = malloc(TOUR_BUF) };
	int error;

	if (!t.buf)
		abort();
	if (!open_fs(&t, image, kind == TOUR_LOOK)) {
		tour_walk(&t);
		if (kind == TOUR_ABUSE)
			tour_abuse(&t);
		tour_walk_end(&t);
		if (kind == TOUR_USE)
			tour_use(&t);
		fs_session_close(t.session);
		error = fs_close(t.fs);
		fprintf(out, "closed %s\n", error ? strerrorname_np(-error) : "0");
		inval_free(t.bus);
	}
	free(t.objects);
	free(t.buf);
}
