/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A shell over the filesystem's operations, without FUSE: opens an image, does what the
 * script on stdin says, one command a line, closes the image. Commands work on paths;
 * each path is looked up from the root and forgotten again, so nothing is known but what
 * "hold" keeps.
 *
 * Exit 0: every command did what was expected. 1: one did not; its line is named and the
 * image is left as by a crash. 2: usage, or the image could not be opened.
 *
 * "expect ENOENT COMMAND..." wants that error, and goes on. "crash" ends the script without
 * closing. "help" lists the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "daemon/base/log.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "daemon/store/store.h"
#include "tests/lib/sha256.h"

#define WORDS_MAX 16
#define LINE_MAX_ (8 * 1024)
#define HELD_MAX 256
#define CHUNK (1u << 20)

struct shell {
	const char *image;
	struct store_opts store_opts;
	struct inval_bus *bus;
	struct fs *fs;
	struct fs_session *session;
	struct fs_ctx ctx;
	struct {
		char name[64];
		uint64_t nodeid;
	} held[HELD_MAX];
	unsigned int line;
	bool crashed;
	uint8_t *buf; /* CHUNK bytes */
};

struct args {
	int count; /* words after the command */
	char **w;
};

/* ---- image ---------------------------------------------------------------- */

static int shell_open(struct shell *sh)
{
	struct bdev_open_opts bopts = { .readonly = sh->store_opts.readonly };
	struct fs_opts opts = { .atime = FS_ATIME_RELATIME, .posix_acl = true };
	struct fs_session_opts sopts = { .name = "fsh" };
	struct store_open_error err = { .what = "" };
	struct store *store;
	struct bdev *bdev;
	uint32_t cleaned;
	int error;

	error = bdev_open_file(sh->image, &bopts, &bdev);
	if (error) {
		fprintf(stderr, "fsh: %s: %s\n", sh->image, strerror(-error));
		return error;
	}
	error = store_open(bdev, &sh->store_opts, &store, &err);
	if (error) {
		fprintf(stderr, "fsh: %s: %s (%s)\n", sh->image, err.what, strerror(-error));
		return error;
	}
	if (!atomic_load(&store->readonly))
		error = store_orphan_cleanup(store, &cleaned);
	if (!error)
		error = fs_open_store(store, sh->bus, &opts, &sh->fs);
	if (!error)
		error = fs_session_open(sh->fs, &sopts, &sh->session);
	sh->ctx.session = sh->session;
	return error;
}

static int shell_close(struct shell *sh)
{
	int error;

	fs_session_close(sh->session);
	error = fs_close(sh->fs);
	sh->fs = NULL;
	memset(sh->held, 0, sizeof(sh->held));
	return error;
}

static void shell_crash(struct shell *sh)
{
	fs_destroy(sh->fs);
	sh->fs = NULL;
	memset(sh->held, 0, sizeof(sh->held));
}

/* ---- paths ---------------------------------------------------------------- */

static uint64_t *held_slot(struct shell *sh, const char *name)
{
	for (int i = 0; i < HELD_MAX; i++)
		if (sh->held[i].nodeid && !strcmp(sh->held[i].name, name))
			return &sh->held[i].nodeid;
	return NULL;
}

/* The nodeid of @path ("@name": a held one), counted once. */
static int walk(struct shell *sh, const char *path, uint64_t *ret_nodeid)
{
	uint64_t at = 1;

	if (path[0] == '@') {
		struct fs_entry e;
		uint64_t *slot = held_slot(sh, path + 1);
		int error = slot ? fs_lookup_self(sh->fs, &sh->ctx, *slot, &e) : -ENOENT;

		if (!error)
			*ret_nodeid = e.nodeid;
		return error;
	}
	for (;;) {
		struct fs_entry e;
		size_t len;
		int error;

		path += strspn(path, "/");
		if (!*path)
			break;
		len = strcspn(path, "/");
		error = fs_lookup(sh->fs, &sh->ctx, at,
				  (struct fs_name){ .name = path, .len = (uint32_t)len }, &e);
		fs_forget(sh->fs, sh->session, at, 1);
		if (!error && !e.nodeid)
			error = -ENOENT;
		if (error)
			return error;
		at = e.nodeid;
		path += len;
	}
	*ret_nodeid = at;
	return 0;
}

static void unwalk(struct shell *sh, uint64_t nodeid)
{
	fs_forget(sh->fs, sh->session, nodeid, 1);
}

/* The parent of @path and the last name in it. */
static int walk_parent(struct shell *sh, const char *path, uint64_t *ret_dir,
		       struct fs_name *ret_name)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];
	size_t len = slash ? (size_t)(slash - path) : 0;

	if (len >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(parent, path, len);
	parent[len] = '\0';
	ret_name->name = slash ? slash + 1 : path;
	ret_name->len = (uint32_t)strlen(ret_name->name);
	return walk(sh, parent, ret_dir);
}

static uint64_t num(const char *s)
{
	char *end;
	uint64_t n = strtoull(s, &end, 0);

	switch (*end) {
	case 'k': return n << 10;
	case 'M': return n << 20;
	case 'G': return n << 30;
	case 'T': return n << 40;
	default: return n;
	}
}

static uint64_t arg_num(const struct args *a, int i, uint64_t otherwise)
{
	return i < a->count ? num(a->w[i]) : otherwise;
}

static uint32_t arg_mode(const struct args *a, int i, uint32_t otherwise)
{
	return i < a->count ? (uint32_t)strtoul(a->w[i], NULL, 8) : otherwise;
}

/* ---- names ---------------------------------------------------------------- */

static int create_at(struct shell *sh, const char *path, struct fs_create *req)
{
	struct fs_entry e;
	uint64_t dir;
	int error = walk_parent(sh, path, &dir, &req->name);

	if (error)
		return error;
	req->dir = dir;
	req->excl = true;
	error = fs_create(sh->fs, &sh->ctx, req, &e);
	if (!error)
		unwalk(sh, e.nodeid);
	unwalk(sh, dir);
	return error;
}

static int do_create(struct shell *sh, const struct args *a)
{
	struct fs_create req = { .mode = S_IFREG | arg_mode(a, 1, 0644) };

	return create_at(sh, a->w[0], &req);
}

static int do_mkdir(struct shell *sh, const struct args *a)
{
	struct fs_create req = { .mode = S_IFDIR | arg_mode(a, 1, 0755) };

	return create_at(sh, a->w[0], &req);
}

/* mknod PATH p|s|c|b [MAJOR MINOR]: devices in the kernel's 32-bit form. */
static int do_mknod(struct shell *sh, const struct args *a)
{
	static const struct {
		char letter;
		uint32_t type;
	} types[] = { { 'p', S_IFIFO }, { 's', S_IFSOCK }, { 'c', S_IFCHR }, { 'b', S_IFBLK } };
	uint32_t major_no = (uint32_t)arg_num(a, 2, 0), minor_no = (uint32_t)arg_num(a, 3, 0);
	struct fs_create req = { .rdev = (minor_no & 0xff) | major_no << 8 |
					 (minor_no & ~0xffu) << 12 };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (a->w[1][0] == types[i].letter)
			req.mode = types[i].type | 0644;
	return create_at(sh, a->w[0], &req);
}

static int do_symlink(struct shell *sh, const struct args *a)
{
	struct fs_create req = { .mode = S_IFLNK | 0777,
				 .target = a->w[0],
				 .target_len = (uint32_t)strlen(a->w[0]) };

	return create_at(sh, a->w[1], &req);
}

static int do_ln(struct shell *sh, const struct args *a)
{
	uint64_t nodeid, dir;
	struct fs_name name;
	struct fs_entry e;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	error = walk_parent(sh, a->w[1], &dir, &name);
	if (!error) {
		error = fs_link(sh->fs, &sh->ctx, nodeid, dir, name, &e);
		if (!error)
			unwalk(sh, e.nodeid);
		unwalk(sh, dir);
	}
	unwalk(sh, nodeid);
	return error;
}

static int remove_at(struct shell *sh, const char *path, bool is_dir)
{
	struct fs_name name;
	uint64_t dir;
	int error = walk_parent(sh, path, &dir, &name);

	if (error)
		return error;
	error = is_dir ? fs_rmdir(sh->fs, &sh->ctx, dir, name) :
			 fs_unlink(sh->fs, &sh->ctx, dir, name);
	unwalk(sh, dir);
	return error;
}

static int do_rm(struct shell *sh, const struct args *a)
{
	return remove_at(sh, a->w[0], false);
}

static int do_rmdir(struct shell *sh, const struct args *a)
{
	return remove_at(sh, a->w[0], true);
}

static int do_mv(struct shell *sh, const struct args *a)
{
	struct fs_rename req = { .flags = 0 };
	int error;

	for (int i = 2; i < a->count; i++) {
		if (!strcmp(a->w[i], "noreplace"))
			req.flags |= FS_RENAME_NOREPLACE;
		else if (!strcmp(a->w[i], "exchange"))
			req.flags |= FS_RENAME_EXCHANGE;
		else if (!strcmp(a->w[i], "whiteout"))
			req.flags |= FS_RENAME_WHITEOUT;
	}
	error = walk_parent(sh, a->w[0], &req.dir, &req.name);
	if (error)
		return error;
	error = walk_parent(sh, a->w[1], &req.newdir, &req.newname);
	if (!error) {
		error = fs_rename(sh->fs, &sh->ctx, &req);
		unwalk(sh, req.newdir);
	}
	unwalk(sh, req.dir);
	return error;
}

/* many DIR COUNT [PREFIX]: empty files PREFIX0.. */
static int do_many(struct shell *sh, const struct args *a)
{
	const char *prefix = a->count > 2 ? a->w[2] : "f";
	uint64_t dir, count = num(a->w[1]);
	int error = walk(sh, a->w[0], &dir);

	for (uint64_t i = 0; !error && i < count; i++) {
		struct fs_create req = { .dir = dir, .mode = S_IFREG | 0644, .excl = true };
		char name[300];
		struct fs_entry e;

		req.name.len = (uint32_t)snprintf(name, sizeof(name), "%s%" PRIu64, prefix, i);
		req.name.name = name;
		error = fs_create(sh->fs, &sh->ctx, &req, &e);
		if (!error)
			unwalk(sh, e.nodeid);
	}
	unwalk(sh, dir);
	return error;
}

static int do_rmmany(struct shell *sh, const struct args *a)
{
	const char *prefix = a->count > 2 ? a->w[2] : "f";
	uint64_t dir, count = num(a->w[1]);
	int error = walk(sh, a->w[0], &dir);

	for (uint64_t i = 0; !error && i < count; i++) {
		char name[300];
		int len = snprintf(name, sizeof(name), "%s%" PRIu64, prefix, i);

		error = fs_unlink(sh->fs, &sh->ctx, dir,
				  (struct fs_name){ .name = name, .len = (uint32_t)len });
	}
	unwalk(sh, dir);
	return error;
}

/* ---- holding -------------------------------------------------------------- */

static int hold(struct shell *sh, const char *name, uint64_t nodeid)
{
	for (int i = 0; i < HELD_MAX; i++) {
		if (sh->held[i].nodeid)
			continue;
		(void)snprintf(sh->held[i].name, sizeof(sh->held[i].name), "%s", name);
		sh->held[i].nodeid = nodeid;
		return 0;
	}
	return -ENFILE;
}

static int do_hold(struct shell *sh, const struct args *a)
{
	uint64_t nodeid;
	int error = walk(sh, a->w[0], &nodeid);

	return error ? error : hold(sh, a->w[1], nodeid);
}

static int do_drop(struct shell *sh, const struct args *a)
{
	uint64_t *slot = held_slot(sh, a->w[0]);

	if (!slot)
		return -ENOENT;
	unwalk(sh, *slot);
	*slot = 0;
	return 0;
}

static int do_tmpfile(struct shell *sh, const struct args *a)
{
	struct fs_entry e;
	uint64_t dir;
	int error = walk(sh, a->w[0], &dir);

	if (error)
		return error;
	error = fs_tmpfile(sh->fs, &sh->ctx, dir, 0644, &e);
	unwalk(sh, dir);
	return error ? error : hold(sh, a->w[1], e.nodeid);
}

/* ---- contents ------------------------------------------------------------- */

/* Every byte depends on its position and the seed, so that a misplaced block is seen. */
static uint8_t pattern(uint64_t off, uint64_t seed)
{
	uint64_t x = (off / 8 + 1) * 0x9e3779b97f4a7c15u + seed * 0xbf58476d1ce4e5b9u;

	return (uint8_t)(x >> (off % 8 * 8));
}

static int write_bytes(struct shell *sh, uint64_t nodeid, uint64_t off, uint64_t len)
{
	struct iovec iov = { .iov_base = sh->buf, .iov_len = len };
	struct fs_write req = { .nodeid = nodeid, .iov = &iov, .iovcnt = 1, .off = off, .len = len };
	ssize_t n = fs_write(sh->fs, &sh->ctx, &req);

	if (n < 0)
		return (int)n;
	return (uint64_t)n == len ? 0 : -ENOSPC;
}

/* write PATH OFF LEN [SEED] */
static int do_write(struct shell *sh, const struct args *a)
{
	uint64_t nodeid, off = num(a->w[1]), len = num(a->w[2]), seed = arg_num(a, 3, 0);
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	while (!error && len) {
		uint64_t n = MIN(len, (uint64_t)CHUNK);

		for (uint64_t i = 0; i < n; i++)
			sh->buf[i] = pattern(off + i, seed);
		error = write_bytes(sh, nodeid, off, n);
		off += n;
		len -= n;
	}
	unwalk(sh, nodeid);
	return error;
}

/* check PATH OFF LEN [SEED]: the bytes are what write put there; seed "zero": zeros. */
static int do_check(struct shell *sh, const struct args *a)
{
	bool zero = a->count > 3 && !strcmp(a->w[3], "zero");
	uint64_t nodeid, off = num(a->w[1]), len = num(a->w[2]);
	uint64_t seed = zero ? 0 : arg_num(a, 3, 0);
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	while (!error && len) {
		struct iovec iov = { .iov_base = sh->buf, .iov_len = CHUNK };
		ssize_t n =
			fs_read(sh->fs, &sh->ctx, nodeid, &iov, 1, off, MIN(len, (uint64_t)CHUNK));

		if (n <= 0) {
			error = n < 0 ? (int)n : -ENODATA;
			break;
		}
		for (ssize_t i = 0; i < n && !error; i++)
			if (sh->buf[i] != (zero ? 0 : pattern(off + (uint64_t)i, seed)))
				error = -EBADMSG;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	unwalk(sh, nodeid);
	return error;
}

static int do_put(struct shell *sh, const struct args *a)
{
	size_t len = strlen(a->w[1]);
	uint64_t nodeid;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	memcpy(sh->buf, a->w[1], len);
	error = write_bytes(sh, nodeid, arg_num(a, 2, 0), len);
	unwalk(sh, nodeid);
	return error;
}

static int do_sum(struct shell *sh, const struct args *a)
{
	struct sha256 state;
	uint8_t digest[SHA256_SIZE];
	uint64_t nodeid, off = 0;
	ssize_t n;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	sha256_init(&state);
	do {
		struct iovec iov = { .iov_base = sh->buf, .iov_len = CHUNK };

		n = fs_read(sh->fs, &sh->ctx, nodeid, &iov, 1, off, CHUNK);
		if (n > 0)
			sha256_update(&state, sh->buf, (size_t)n);
		off += n > 0 ? (uint64_t)n : 0;
	} while (n > 0);
	sha256_final(&state, digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		printf("%02x", digest[i]);
	printf("  %s\n", a->w[0]);
	unwalk(sh, nodeid);
	return n < 0 ? (int)n : 0;
}

/* fill PATH: write until nothing is left; that is success. */
static int do_fill(struct shell *sh, const struct args *a)
{
	uint64_t nodeid, off = 0;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	memset(sh->buf, 0x5a, CHUNK);
	while (!error) {
		struct iovec iov = { .iov_base = sh->buf, .iov_len = CHUNK };
		struct fs_write req = {
			.nodeid = nodeid, .iov = &iov, .iovcnt = 1, .off = off, .len = CHUNK
		};
		ssize_t n = fs_write(sh->fs, &sh->ctx, &req);

		if (n < 0)
			error = (int)n;
		else
			off += (uint64_t)n;
	}
	printf("filled %" PRIu64 "\n", off);
	unwalk(sh, nodeid);
	return error == -ENOSPC ? 0 : error;
}

static int do_truncate(struct shell *sh, const struct args *a)
{
	struct fs_setattr req = { .valid = FS_SET_SIZE, .size = num(a->w[1]) };
	struct fs_attr attr;
	int error = walk(sh, a->w[0], &req.nodeid);

	if (error)
		return error;
	error = fs_setattr(sh->fs, &sh->ctx, &req, &attr);
	unwalk(sh, req.nodeid);
	return error;
}

/* fallocate PATH MODE OFF LEN */
static int do_fallocate(struct shell *sh, const struct args *a)
{
	uint64_t nodeid;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	error = fs_fallocate(sh->fs, &sh->ctx, nodeid, (uint32_t)num(a->w[1]), num(a->w[2]),
			     num(a->w[3]));
	unwalk(sh, nodeid);
	return error;
}

/* copy FROM OFF TO OFF LEN */
static int do_copy(struct shell *sh, const struct args *a)
{
	struct fs_copy req = { .off_in = num(a->w[1]),
			       .off_out = num(a->w[3]),
			       .len = num(a->w[4]) };
	int error = walk(sh, a->w[0], &req.nodeid_in);

	if (error)
		return error;
	error = walk(sh, a->w[2], &req.nodeid_out);
	while (!error && req.len) {
		ssize_t n = fs_copy_range(sh->fs, &sh->ctx, &req);

		if (n <= 0) {
			error = (int)n;
			break;
		}
		req.off_in += (uint64_t)n;
		req.off_out += (uint64_t)n;
		req.len -= (uint64_t)n;
	}
	unwalk(sh, req.nodeid_in);
	unwalk(sh, req.nodeid_out);
	return error;
}

static int do_seek(struct shell *sh, const struct args *a)
{
	uint64_t nodeid, off;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	error = fs_lseek(sh->fs, &sh->ctx, nodeid, num(a->w[2]), !strcmp(a->w[1], "hole"), &off);
	if (!error)
		printf("%" PRIu64 "\n", off);
	unwalk(sh, nodeid);
	return error;
}

/* ---- attributes ----------------------------------------------------------- */

static int setattr_at(struct shell *sh, const char *path, struct fs_setattr *req)
{
	struct fs_attr attr;
	int error = walk(sh, path, &req->nodeid);

	if (error)
		return error;
	error = fs_setattr(sh->fs, &sh->ctx, req, &attr);
	unwalk(sh, req->nodeid);
	return error;
}

static int do_chmod(struct shell *sh, const struct args *a)
{
	struct fs_setattr req = { .valid = FS_SET_MODE, .mode = arg_mode(a, 1, 0) };

	return setattr_at(sh, a->w[0], &req);
}

static int do_chown(struct shell *sh, const struct args *a)
{
	struct fs_setattr req = { .valid = FS_SET_UID | FS_SET_GID | FS_SET_KILL_SUIDGID,
				  .uid = (uint32_t)num(a->w[1]),
				  .gid = (uint32_t)num(a->w[2]) };

	return setattr_at(sh, a->w[0], &req);
}

/* utime PATH ATIME MTIME */
static int do_utime(struct shell *sh, const struct args *a)
{
	struct fs_setattr req = { .valid = FS_SET_ATIME | FS_SET_MTIME,
				  .atime.s = strtoll(a->w[1], NULL, 0),
				  .mtime.s = strtoll(a->w[2], NULL, 0) };

	return setattr_at(sh, a->w[0], &req);
}

static int do_setxattr(struct shell *sh, const struct args *a)
{
	struct fs_setxattr req = { .name = a->w[1], .value = a->w[2], .len = strlen(a->w[2]) };
	int error = walk(sh, a->w[0], &req.nodeid);

	if (error)
		return error;
	error = fs_setxattr(sh->fs, &sh->ctx, &req);
	unwalk(sh, req.nodeid);
	return error;
}

/* bigxattr PATH NAME LEN: a value of that many bytes */
static int do_bigxattr(struct shell *sh, const struct args *a)
{
	struct fs_setxattr req = { .name = a->w[1], .value = sh->buf, .len = num(a->w[2]) };
	int error = walk(sh, a->w[0], &req.nodeid);

	if (error)
		return error;
	for (size_t i = 0; i < MIN(req.len, (size_t)CHUNK); i++)
		sh->buf[i] = pattern(i, 77);
	error = fs_setxattr(sh->fs, &sh->ctx, &req);
	unwalk(sh, req.nodeid);
	return error;
}

static int do_rmxattr(struct shell *sh, const struct args *a)
{
	struct fs_setxattr req = { .name = a->w[1] };
	int error = walk(sh, a->w[0], &req.nodeid);

	if (error)
		return error;
	error = fs_setxattr(sh->fs, &sh->ctx, &req);
	unwalk(sh, req.nodeid);
	return error;
}

static int do_getxattr(struct shell *sh, const struct args *a)
{
	char value[65536];
	uint64_t nodeid;
	ssize_t len;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	len = fs_getxattr(sh->fs, &sh->ctx, nodeid, a->w[1], value, sizeof(value));
	if (len >= 0)
		printf("%.*s\n", (int)len, value);
	unwalk(sh, nodeid);
	return len < 0 ? (int)len : 0;
}

static int do_lsxattr(struct shell *sh, const struct args *a)
{
	char names[65536];
	uint64_t nodeid;
	ssize_t len;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	len = fs_listxattr(sh->fs, &sh->ctx, nodeid, names, sizeof(names));
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1)
		printf("%s\n", names + at);
	unwalk(sh, nodeid);
	return len < 0 ? (int)len : 0;
}

/* chattr PATH FLAGS: the whole word, as EXT4_*_FL */
static int do_chattr(struct shell *sh, const struct args *a)
{
	struct fs_fileattr attr = { .flags = (uint32_t)num(a->w[1]) };
	struct fs_fileattr old;
	uint64_t nodeid;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	error = fs_fileattr_get(sh->fs, &sh->ctx, nodeid, &old);
	attr.flags |= old.flags & (EXT4_EXTENTS_FL | EXT4_INDEX_FL | EXT4_INLINE_DATA_FL);
	if (!error)
		error = fs_fileattr_set(sh->fs, &sh->ctx, nodeid, FS_FILEATTR_FLAGS, &attr);
	unwalk(sh, nodeid);
	return error;
}

static int do_stat(struct shell *sh, const struct args *a)
{
	struct fs_attr t;
	uint64_t nodeid;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	error = fs_getattr(sh->fs, &sh->ctx, nodeid, &t);
	if (!error)
		printf("ino=%" PRIu64 " mode=%o nlink=%u uid=%u gid=%u size=%" PRIu64
		       " blocks=%" PRIu64 " rdev=%x atime=%" PRId64 " mtime=%" PRId64
		       " ctime=%" PRId64 " flags=%x\n",
		       t.ino, t.mode, t.nlink, t.uid, t.gid, t.size, t.blocks, t.rdev, t.atime.s,
		       t.mtime.s, t.ctime.s, t.flags);
	unwalk(sh, nodeid);
	return error;
}

struct lister {
	struct shell *sh;
	uint64_t cookie, count;
	bool quiet;
};

static int list_one(void *arg, const struct fs_dirent *d)
{
	struct lister *l = arg;

	if (!l->quiet)
		printf("%.*s %" PRIu64 " %u\n", (int)d->name.len, d->name.name, d->ino, d->dtype);
	if (d->entry)
		unwalk(l->sh, d->entry->nodeid);
	l->cookie = d->cookie;
	l->count++;
	return 0;
}

static int list_dir(struct shell *sh, const struct args *a, bool plus, bool quiet)
{
	struct lister l = { .sh = sh, .quiet = quiet };
	uint64_t nodeid, before;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	do {
		before = l.count;
		error = fs_readdir(sh->fs, &sh->ctx, nodeid, l.cookie, plus, list_one, &l);
	} while (!error && l.count > before);
	if (quiet)
		printf("%" PRIu64 "\n", l.count);
	unwalk(sh, nodeid);
	return error;
}

static int do_ls(struct shell *sh, const struct args *a)
{
	return list_dir(sh, a, false, false);
}

static int do_lsplus(struct shell *sh, const struct args *a)
{
	return list_dir(sh, a, true, false);
}

static int do_count(struct shell *sh, const struct args *a)
{
	return list_dir(sh, a, true, true);
}

static int do_readlink(struct shell *sh, const struct args *a)
{
	char target[PATH_MAX];
	uint64_t nodeid;
	uint32_t len;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	error = fs_readlink(sh->fs, &sh->ctx, nodeid, target, sizeof(target), &len);
	if (!error)
		printf("%.*s\n", (int)len, target);
	unwalk(sh, nodeid);
	return error;
}

/* ---- the whole ------------------------------------------------------------ */

static int sync_path(struct shell *sh, const struct args *a, bool data_only)
{
	uint64_t nodeid;
	int error = walk(sh, a->w[0], &nodeid);

	if (error)
		return error;
	error = fs_fsync(sh->fs, &sh->ctx, nodeid, data_only);
	unwalk(sh, nodeid);
	return error;
}

static int do_fsync(struct shell *sh, const struct args *a)
{
	return sync_path(sh, a, false);
}

static int do_fdatasync(struct shell *sh, const struct args *a)
{
	return sync_path(sh, a, true);
}

static int do_sync(struct shell *sh, const struct args *a UNUSED)
{
	return fs_syncfs(sh->fs);
}

static int do_freeze(struct shell *sh, const struct args *a UNUSED)
{
	return fs_freeze(sh->fs);
}

static int do_thaw(struct shell *sh, const struct args *a UNUSED)
{
	fs_thaw(sh->fs);
	return 0;
}

static int do_statfs(struct shell *sh, const struct args *a UNUSED)
{
	struct fs_statfs st;
	int error = fs_statfs(sh->fs, &st);

	if (!error)
		printf("blocks=%" PRIu64 " bfree=%" PRIu64 " bavail=%" PRIu64 " files=%" PRIu64
		       " ffree=%" PRIu64 " bsize=%u\n",
		       st.blocks, st.bfree, st.bavail, st.files, st.ffree, st.bsize);
	return error;
}

static int do_trim(struct shell *sh, const struct args *a UNUSED)
{
	uint64_t trimmed;
	int error = fs_trim(sh->fs, 0, UINT64_MAX, 0, &trimmed);

	if (!error)
		printf("%" PRIu64 "\n", trimmed);
	return error;
}

static int do_user(struct shell *sh, const struct args *a)
{
	sh->ctx.uid = (uint32_t)num(a->w[0]);
	sh->ctx.gid = (uint32_t)num(a->w[1]);
	return 0;
}

static int do_umask(struct shell *sh, const struct args *a)
{
	sh->ctx.umask = (uint16_t)arg_mode(a, 0, 0);
	return 0;
}

static int do_remount(struct shell *sh, const struct args *a UNUSED)
{
	int error = shell_close(sh);

	return error ? error : shell_open(sh);
}

/* Everything not durable is lost, then the image is opened again. */
static int do_recrash(struct shell *sh, const struct args *a UNUSED)
{
	shell_crash(sh);
	return shell_open(sh);
}

static int do_crash(struct shell *sh, const struct args *a UNUSED)
{
	shell_crash(sh);
	sh->crashed = true;
	return 0;
}

static int do_echo(struct shell *sh UNUSED, const struct args *a)
{
	for (int i = 0; i < a->count; i++)
		printf("%s%s", i ? " " : "", a->w[i]);
	printf("\n");
	return 0;
}

static int do_help(struct shell *sh, const struct args *a);

static const struct command {
	const char *name;
	int args_min;
	int (*run)(struct shell *sh, const struct args *a);
	const char *usage;
} commands[] = {
	{ "create", 1, do_create, "PATH [MODE]" },
	{ "mkdir", 1, do_mkdir, "PATH [MODE]" },
	{ "mknod", 2, do_mknod, "PATH p|s|c|b [MAJOR MINOR]" },
	{ "symlink", 2, do_symlink, "TARGET PATH" },
	{ "ln", 2, do_ln, "OLD NEW" },
	{ "rm", 1, do_rm, "PATH" },
	{ "rmdir", 1, do_rmdir, "PATH" },
	{ "mv", 2, do_mv, "OLD NEW [noreplace] [exchange] [whiteout]" },
	{ "many", 2, do_many, "DIR COUNT [PREFIX]" },
	{ "rmmany", 2, do_rmmany, "DIR COUNT [PREFIX]" },
	{ "hold", 2, do_hold, "PATH NAME   (then @NAME is a path)" },
	{ "tmpfile", 2, do_tmpfile, "DIR NAME" },
	{ "drop", 1, do_drop, "NAME" },
	{ "write", 3, do_write, "PATH OFF LEN [SEED]" },
	{ "check", 3, do_check, "PATH OFF LEN [SEED|zero]" },
	{ "put", 2, do_put, "PATH TEXT [OFF]" },
	{ "sum", 1, do_sum, "PATH" },
	{ "fill", 1, do_fill, "PATH" },
	{ "truncate", 2, do_truncate, "PATH SIZE" },
	{ "fallocate", 4, do_fallocate, "PATH MODE OFF LEN" },
	{ "copy", 5, do_copy, "FROM OFF TO OFF LEN" },
	{ "seek", 3, do_seek, "PATH data|hole OFF" },
	{ "chmod", 2, do_chmod, "PATH MODE" },
	{ "chown", 3, do_chown, "PATH UID GID" },
	{ "utime", 3, do_utime, "PATH ATIME MTIME" },
	{ "setxattr", 3, do_setxattr, "PATH NAME VALUE" },
	{ "bigxattr", 3, do_bigxattr, "PATH NAME LEN" },
	{ "rmxattr", 2, do_rmxattr, "PATH NAME" },
	{ "getxattr", 2, do_getxattr, "PATH NAME" },
	{ "lsxattr", 1, do_lsxattr, "PATH" },
	{ "chattr", 2, do_chattr, "PATH FLAGS" },
	{ "stat", 1, do_stat, "PATH" },
	{ "ls", 1, do_ls, "DIR" },
	{ "lsplus", 1, do_lsplus, "DIR" },
	{ "count", 1, do_count, "DIR" },
	{ "readlink", 1, do_readlink, "PATH" },
	{ "fsync", 1, do_fsync, "PATH" },
	{ "fdatasync", 1, do_fdatasync, "PATH" },
	{ "sync", 0, do_sync, "" },
	{ "freeze", 0, do_freeze, "" },
	{ "thaw", 0, do_thaw, "" },
	{ "statfs", 0, do_statfs, "" },
	{ "trim", 0, do_trim, "" },
	{ "user", 2, do_user, "UID GID" },
	{ "umask", 1, do_umask, "MASK" },
	{ "remount", 0, do_remount, "" },
	{ "recrash", 0, do_recrash, "" },
	{ "crash", 0, do_crash, "" },
	{ "echo", 0, do_echo, "WORDS" },
	{ "help", 0, do_help, "" },
};

static int do_help(struct shell *sh UNUSED, const struct args *a UNUSED)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		printf("%s %s\n", commands[i].name, commands[i].usage);
	return 0;
}

/* ---- the script ----------------------------------------------------------- */

static int run_words(struct shell *sh, int count, char **words)
{
	struct args a = { .count = count - 1, .w = words + 1 };

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, words[0]))
			continue;
		if (a.count < commands[i].args_min)
			return -EDOM;
		return commands[i].run(sh, &a);
	}
	return -EDOM;
}

/* 0: as expected. */
static int run_line(struct shell *sh, char *line)
{
	char *words[WORDS_MAX + 1], *save = NULL;
	const char *want = NULL;
	int count = 0, first = 0, error;

	for (char *w = strtok_r(line, " \t\n", &save); w && count < WORDS_MAX;
	     w = strtok_r(NULL, " \t\n", &save))
		words[count++] = w;
	if (!count || words[0][0] == '#')
		return 0;
	if (!strcmp(words[0], "expect") && count > 2) {
		want = words[1];
		first = 2;
	}
	error = run_words(sh, count - first, words + first);
	if (error == -EDOM) {
		fprintf(stderr, "fsh: line %u: %s: unknown command or too few words\n", sh->line,
			words[first]);
		return 1;
	}
	if (want ? error < 0 && !strcmp(strerrorname_np(-error), want) : !error)
		return 0;
	fprintf(stderr, "fsh: line %u: %s %s: %s, expected %s\n", sh->line, words[first],
		count > first + 1 ? words[first + 1] : "",
		error ? strerrorname_np(-error) : "success", want ? want : "success");
	return 1;
}

static int run_script(struct shell *sh, FILE *script)
{
	static char line[LINE_MAX_];

	while (!sh->crashed && fgets(line, sizeof(line), script)) {
		sh->line++;
		if (run_line(sh, line))
			return 1;
		fflush(stdout);
	}
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: fsh [-r] [-b BUFS] [-i INODES] IMAGE <SCRIPT\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct shell sh = { .ctx = { .umask = 022 } };
	int opt, status, error;

	while ((opt = getopt(argc, argv, "rb:i:")) != -1) {
		switch (opt) {
		case 'r': sh.store_opts.readonly = true; break;
		case 'b': sh.store_opts.bufs_max = (uint32_t)num(optarg); break;
		case 'i': sh.store_opts.inodes_cached_max = num(optarg); break;
		default: return usage();
		}
	}
	if (optind != argc - 1)
		return usage();
	sh.image = argv[optind];
	log_init("fsh", LOG_LEVEL_WARN);
	sh.buf = malloc(CHUNK);
	if (!sh.buf || inval_new(&sh.bus) || shell_open(&sh))
		return 2;
	status = run_script(&sh, stdin);
	if (sh.fs && status)
		shell_crash(&sh);
	if (sh.fs) {
		error = shell_close(&sh);
		if (error) {
			fprintf(stderr, "fsh: closing: %s\n", strerror(-error));
			status = 1;
		}
	}
	inval_free(sh.bus);
	free(sh.buf);
	return status;
}
