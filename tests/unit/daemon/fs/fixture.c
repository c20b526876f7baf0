/* SPDX-License-Identifier: GPL-2.0-only */
/* See fixture.h. */
#include "tests/unit/daemon/fs/fixture.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

void run_command(const char *fmt, ...)
{
	char command[1024];
	va_list ap;
	int status;

	va_start(ap, fmt);
	(void)vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	status = system(command);
	if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status))
		FAIL("%s: status %d", command, status);
}

void fixture_fsck(const char *image)
{
	run_command("PATH=$PATH:/usr/sbin:/sbin; e2fsck -fn '%s' >'%s.fsck' 2>&1 || "
		    "{ cat '%s.fsck' >&2; exit 1; }",
		    image, image, image);
}

void fixture_mount(struct fixture *f)
{
	struct bdev_open_opts bopts = { .readonly = f->store_opts.readonly };
	struct store_open_error err = { .what = "" };
	struct store *store;
	struct bdev *bdev;
	uint32_t cleaned;
	int error;

	CHECK_OK(bdev_open_file(f->image, &bopts, &bdev));
	error = store_open(bdev, &f->store_opts, &store, &err);
	if (error)
		FAIL("store_open: %s: %s", strerror(-error), err.what);
	if (!f->store_opts.readonly)
		CHECK_OK(store_orphan_cleanup(store, &cleaned));
	CHECK_OK(fs_open_store(store, f->bus, &f->opts, &f->fs));
	CHECK_OK(fs_session_open(f->fs, &f->session_opts, &f->session));
	f->ctx.session = f->session;
}

void fixture_open(struct fixture *f, const char *options)
{
	static unsigned int count;
	char name[32];

	if (system("PATH=$PATH:/usr/sbin:/sbin; command -v mke2fs >/dev/null && "
		   "command -v e2fsck >/dev/null"))
		SKIP("mke2fs and e2fsck are not installed");
	*f = (struct fixture){ .opts = { .atime = FS_ATIME_NOATIME, .posix_acl = true },
			       .session_opts = { .name = "test" } };
	(void)snprintf(name, sizeof(name), "image%u", count++);
	(void)snprintf(f->image, sizeof(f->image), "%s", test_path(name));
	if (!options)
		options = "-b 1024 -J size=4 24M";
	run_command("PATH=$PATH:/usr/sbin:/sbin; set -- %s; eval size=\\${$#}; rm -f '%s'; "
		    "truncate -s $size '%s' && mke2fs -q -F -t ext4 %.*s '%s' >/dev/null 2>&1",
		    options, f->image, f->image,
		    (int)(strrchr(options, ' ') ? strrchr(options, ' ') - options : 0), options,
		    f->image);
	CHECK_OK(inval_new(&f->bus));
	fixture_mount(f);
}

void fixture_unmount(struct fixture *f)
{
	fs_session_close(f->session);
	CHECK_OK(fs_close(f->fs));
	f->fs = NULL;
}

void fixture_crash(struct fixture *f)
{
	fs_destroy(f->fs);
	f->fs = NULL;
}

void fixture_remount(struct fixture *f)
{
	fixture_unmount(f);
	fixture_mount(f);
}

void fixture_close(struct fixture *f)
{
	if (f->fs)
		fixture_unmount(f);
	inval_free(f->bus);
	fixture_fsck(f->image);
	(void)unlink(f->image);
}

struct fs_name name_of(const char *s)
{
	return (struct fs_name){ .name = s, .len = (uint32_t)strlen(s) };
}

void forget(struct fixture *f, uint64_t nodeid)
{
	fs_forget(f->fs, f->session, nodeid, 1);
}

static int walk(struct fixture *f, const char *path, uint64_t *ret_nodeid)
{
	uint64_t at = 1;

	for (;;) {
		struct fs_entry e;
		size_t len;
		int error;

		path += strspn(path, "/");
		if (!*path)
			break;
		len = strcspn(path, "/");
		error = fs_lookup(f->fs, &f->ctx, at,
				  (struct fs_name){ .name = path, .len = (uint32_t)len }, &e);
		forget(f, at);
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

static int walk_parent(struct fixture *f, const char *path, uint64_t *ret_dir,
		       struct fs_name *ret_name)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];
	size_t len = slash ? (size_t)(slash - path) : 0;

	CHECK_LT(len, sizeof(parent));
	memcpy(parent, path, len);
	parent[len] = '\0';
	*ret_name = name_of(slash ? slash + 1 : path);
	return walk(f, parent, ret_dir);
}

uint64_t look(struct fixture *f, const char *path)
{
	uint64_t nodeid;
	int error = walk(f, path, &nodeid);

	if (error)
		FAIL("look %s: %s", path, strerror(-error));
	return nodeid;
}

int try_look(struct fixture *f, const char *path)
{
	uint64_t nodeid;
	int error = walk(f, path, &nodeid);

	if (!error)
		forget(f, nodeid);
	return error;
}

static int make_at(struct fixture *f, const char *path, uint32_t mode, uint64_t *ret_nodeid)
{
	struct fs_create req = { .mode = mode, .excl = true, .target = "target", .target_len = 6 };
	struct fs_entry e;
	int error = walk_parent(f, path, &req.dir, &req.name);

	if (error)
		return error;
	error = fs_create(f->fs, &f->ctx, &req, &e);
	forget(f, req.dir);
	if (!error)
		*ret_nodeid = e.nodeid;
	return error;
}

uint64_t make(struct fixture *f, const char *path, uint32_t mode)
{
	uint64_t nodeid;
	int error = make_at(f, path, mode, &nodeid);

	if (error)
		FAIL("make %s: %s", path, strerror(-error));
	return nodeid;
}

int try_make(struct fixture *f, const char *path, uint32_t mode)
{
	uint64_t nodeid;
	int error = make_at(f, path, mode, &nodeid);

	if (!error)
		forget(f, nodeid);
	return error;
}

static int try_remove(struct fixture *f, const char *path,
		      int (*op)(struct fs *, const struct fs_ctx *, uint64_t, struct fs_name))
{
	struct fs_name name;
	uint64_t dir;
	int error = walk_parent(f, path, &dir, &name);

	if (error)
		return error;
	error = op(f->fs, &f->ctx, dir, name);
	forget(f, dir);
	return error;
}

int try_unlink(struct fixture *f, const char *path)
{
	return try_remove(f, path, fs_unlink);
}

int try_rmdir(struct fixture *f, const char *path)
{
	return try_remove(f, path, fs_rmdir);
}

int try_rename(struct fixture *f, const char *from, const char *to, uint32_t flags)
{
	struct fs_rename req = { .flags = flags };
	int error = walk_parent(f, from, &req.dir, &req.name);

	if (error)
		return error;
	error = walk_parent(f, to, &req.newdir, &req.newname);
	if (!error) {
		error = fs_rename(f->fs, &f->ctx, &req);
		forget(f, req.newdir);
	}
	forget(f, req.dir);
	return error;
}

int try_link(struct fixture *f, const char *from, const char *to)
{
	uint64_t nodeid, dir;
	struct fs_name name;
	struct fs_entry e;
	int error = walk(f, from, &nodeid);

	if (error)
		return error;
	error = walk_parent(f, to, &dir, &name);
	if (!error) {
		error = fs_link(f->fs, &f->ctx, nodeid, dir, name, &e);
		if (!error)
			forget(f, e.nodeid);
		forget(f, dir);
	}
	forget(f, nodeid);
	return error;
}

struct fs_attr attr_of_node(struct fixture *f, uint64_t nodeid)
{
	struct fs_attr attr;

	CHECK_OK(fs_getattr(f->fs, &f->ctx, nodeid, &attr));
	return attr;
}

struct fs_attr attr_of(struct fixture *f, const char *path)
{
	uint64_t nodeid = look(f, path);
	struct fs_attr attr = attr_of_node(f, nodeid);

	forget(f, nodeid);
	return attr;
}

int try_setattr(struct fixture *f, const char *path, struct fs_setattr req)
{
	struct fs_attr attr;
	int error;

	req.nodeid = look(f, path);
	error = fs_setattr(f->fs, &f->ctx, &req, &attr);
	forget(f, req.nodeid);
	return error;
}

ssize_t write_node(struct fixture *f, uint64_t nodeid, const void *buf, size_t len, uint64_t off)
{
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	struct fs_write req = { .nodeid = nodeid, .iov = &iov, .iovcnt = 1, .off = off, .len = len };

	return fs_write(f->fs, &f->ctx, &req);
}

ssize_t read_node(struct fixture *f, uint64_t nodeid, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return fs_read(f->fs, &f->ctx, nodeid, &iov, 1, off, len);
}

uint64_t blocks_free(struct fixture *f)
{
	struct fs_statfs st;

	CHECK_OK(fs_statfs(f->fs, &st));
	return st.bfree;
}

uint64_t inodes_free(struct fixture *f)
{
	struct fs_statfs st;

	CHECK_OK(fs_statfs(f->fs, &st));
	return st.ffree;
}
