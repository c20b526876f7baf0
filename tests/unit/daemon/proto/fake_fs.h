/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A filesystem that only remembers what it was asked, in place of daemon/fs: the decoder
 * is tested alone. Its answers are set beforehand. Included by one file of a program: the
 * definitions stand here, because in an archive they would get into every other test.
 */
#ifndef TESTS_UNIT_DAEMON_PROTO_FAKE_FS_H
#define TESTS_UNIT_DAEMON_PROTO_FAKE_FS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/fs/fs.h"

struct fake_fs {
	/* What the last call was. */
	const char *call; /* NULL: none since reset */
	unsigned calls;
	char name[300], name2[300], target[5000];
	struct fs_ctx ctx;
	struct fs_create create;
	struct fs_setattr setattr;
	struct fs_write write;
	struct fs_rename rename;
	struct fs_copy copy;
	struct fs_flock lock;
	struct fs_fileattr fileattr;
	uint32_t fileattr_valid;
	uint64_t nodeid, off, len, forgotten;
	uint32_t mode;
	uint8_t data[256];
	size_t data_len;
	bool removed, data_only;
	/* What it answers. */
	uint64_t mapped; /* by guests */
	int error;
	struct fs_entry entry;
	struct fs_attr attr;
	unsigned entries; /* of a directory */
	struct fs_lock_wait *waiting;
	bool park;
	int mappers; /* descriptions that may be mapped */
	/* Holes: [hole, hole_end) of a file of size bytes. */
	uint64_t hole, hole_end, size;
	struct fs_session_opts session;
	unsigned sessions;
	struct fs_drainer *drainer;
	_Atomic unsigned drained;
	/* Runs within each call: what happens to a request while it is served. */
	void (*on_call)(void);
};
static struct fake_fs fake;

static void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.entry.nodeid = 42;
	fake.entry.generation = 7;
	fake.entry.attr.ino = 42;
	fake.attr.ino = 5;
}

static void note(const char *call, const struct fs_ctx *ctx, uint64_t nodeid)
{
	fake.call = call;
	fake.calls++;
	fake.nodeid = nodeid;
	if (ctx)
		fake.ctx = *ctx;
	if (fake.on_call)
		fake.on_call();
}

static void note_name(char *to, struct fs_name name)
{
	(void)snprintf(to, 300, "%.*s", (int)name.len, name.name);
}

static int give_entry(struct fs_entry *ret_entry)
{
	if (!fake.error)
		*ret_entry = fake.entry;
	return fake.error;
}

int fs_session_open(struct fs *fs, const struct fs_session_opts *opts,
		    struct fs_session **ret_session)
{
	(void)fs;
	fake.session = *opts;
	fake.sessions++;
	*ret_session = (struct fs_session *)&fake;
	return 0;
}

void fs_session_close(struct fs_session *s)
{
	(void)s;
	fake.sessions--;
}

void fs_session_get_stats(const struct fs_session *s, struct fs_session_stats *ret_stats)
{
	(void)s;
	*ret_stats = (struct fs_session_stats){ .nodes = 3, .nodes_max = 4 };
}

void fs_set_drainer(struct fs *fs, struct fs_drainer *drainer)
{
	(void)fs;
	fake.drainer = drainer;
}

void fs_drained(struct fs_drain *d)
{
	(void)d;
	atomic_fetch_add(&fake.drained, 1);
}

int fs_lookup(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name,
	      struct fs_entry *ret_entry)
{
	(void)fs;
	note("lookup", ctx, dir);
	note_name(fake.name, name);
	return give_entry(ret_entry);
}

int fs_lookup_self(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		   struct fs_entry *ret_entry)
{
	(void)fs;
	note("lookup_self", ctx, nodeid);
	return give_entry(ret_entry);
}

int fs_lookup_parent(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		     struct fs_entry *ret_entry)
{
	(void)fs;
	note("lookup_parent", ctx, nodeid);
	return give_entry(ret_entry);
}

void fs_forget(struct fs *fs, struct fs_session *s, uint64_t nodeid, uint64_t nlookup)
{
	(void)fs;
	(void)s;
	note("forget", NULL, nodeid);
	fake.forgotten += nlookup;
}

int fs_create(struct fs *fs, const struct fs_ctx *ctx, const struct fs_create *req,
	      struct fs_entry *ret_entry)
{
	(void)fs;
	note("create", ctx, req->dir);
	fake.create = *req;
	note_name(fake.name, req->name);
	if (req->target)
		(void)snprintf(fake.target, sizeof(fake.target), "%.*s", (int)req->target_len,
			       req->target);
	return give_entry(ret_entry);
}

int fs_tmpfile(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, uint32_t mode,
	       struct fs_entry *ret_entry)
{
	(void)fs;
	note("tmpfile", ctx, dir);
	fake.mode = mode;
	return give_entry(ret_entry);
}

int fs_link(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t dir,
	    struct fs_name name, struct fs_entry *ret_entry)
{
	(void)fs;
	note("link", ctx, nodeid);
	fake.off = dir;
	note_name(fake.name, name);
	return give_entry(ret_entry);
}

int fs_unlink(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name)
{
	(void)fs;
	note("unlink", ctx, dir);
	note_name(fake.name, name);
	return fake.error;
}

int fs_rmdir(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name)
{
	(void)fs;
	note("rmdir", ctx, dir);
	note_name(fake.name, name);
	return fake.error;
}

int fs_rename(struct fs *fs, const struct fs_ctx *ctx, const struct fs_rename *req)
{
	(void)fs;
	note("rename", ctx, req->dir);
	fake.rename = *req;
	note_name(fake.name, req->name);
	note_name(fake.name2, req->newname);
	return fake.error;
}

int fs_readlink(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, char *buf, uint32_t size,
		uint32_t *ret_len)
{
	(void)fs;
	note("readlink", ctx, nodeid);
	if (fake.error)
		return fake.error;
	*ret_len = (uint32_t)snprintf(buf, size, "to/here");
	return 0;
}

int fs_readdir(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t cookie, bool plus,
	       fs_emit_fn emit, void *arg)
{
	(void)fs;
	note("readdir", ctx, nodeid);
	for (uint64_t i = cookie; i < fake.entries; i++) {
		char text[32];
		struct fs_dirent d = { .ino = 100 + i, .cookie = i + 1, .dtype = 8 };

		d.name.len =
			(uint32_t)snprintf(text, sizeof(text), "name%llu", (unsigned long long)i);
		d.name.name = text;
		d.entry = plus && i > 1 ? &fake.entry : NULL;
		if (emit(arg, &d) > 0)
			return 0;
		fake.len++;
	}
	return fake.error;
}

int fs_getattr(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, struct fs_attr *ret_attr)
{
	(void)fs;
	note("getattr", ctx, nodeid);
	*ret_attr = fake.attr;
	return fake.error;
}

int fs_setattr(struct fs *fs, const struct fs_ctx *ctx, const struct fs_setattr *req,
	       struct fs_attr *ret_attr)
{
	(void)fs;
	note("setattr", ctx, req->nodeid);
	fake.setattr = *req;
	*ret_attr = fake.attr;
	return fake.error;
}

ssize_t fs_getxattr(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, const char *name,
		    void *buf, size_t size)
{
	(void)fs;
	note("getxattr", ctx, nodeid);
	(void)snprintf(fake.name, sizeof(fake.name), "%s", name);
	if (fake.error)
		return fake.error;
	if (size && size < fake.data_len)
		return -ERANGE;
	if (size)
		memcpy(buf, fake.data, fake.data_len);
	return (ssize_t)fake.data_len;
}

ssize_t fs_listxattr(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, char *buf,
		     size_t size)
{
	(void)fs;
	note("listxattr", ctx, nodeid);
	if (size)
		memcpy(buf, "user.a", 7);
	return 7;
}

int fs_setxattr(struct fs *fs, const struct fs_ctx *ctx, const struct fs_setxattr *req)
{
	(void)fs;
	note("setxattr", ctx, req->nodeid);
	(void)snprintf(fake.name, sizeof(fake.name), "%s", req->name);
	fake.removed = !req->value;
	fake.data_len = req->len;
	if (req->value)
		memcpy(fake.data, req->value, req->len < 256 ? req->len : 256);
	return fake.error;
}

int fs_fileattr_get(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		    struct fs_fileattr *ret_attr)
{
	(void)fs;
	note("fileattr_get", ctx, nodeid);
	*ret_attr = fake.fileattr;
	return fake.error;
}

int fs_fileattr_set(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint32_t valid,
		    const struct fs_fileattr *attr)
{
	(void)fs;
	note("fileattr_set", ctx, nodeid);
	fake.fileattr_valid = valid;
	fake.fileattr = *attr;
	return fake.error;
}

int fs_open(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint32_t flags)
{
	(void)fs;
	(void)flags;
	note("open", ctx, nodeid);
	return fake.error;
}

int fs_mapper_add(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid)
{
	(void)fs;
	(void)ctx;
	(void)nodeid;
	fake.mappers++;
	return 0;
}

void fs_mapper_del(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid)
{
	(void)fs;
	(void)ctx;
	(void)nodeid;
	fake.mappers--;
}

bool fs_has_mappers(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		    const struct fs_session *session)
{
	(void)session;
	(void)fs;
	(void)ctx;
	(void)nodeid;
	return fake.mappers > 0;
}

void fs_release(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t lock_owner,
		bool flock_unlock)
{
	(void)fs;
	(void)lock_owner;
	(void)flock_unlock;
	note("release", ctx, nodeid);
}

ssize_t fs_read(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, const struct iovec *iov,
		int iovcnt, uint64_t off, uint64_t len)
{
	(void)fs;
	(void)iovcnt;
	note("read", ctx, nodeid);
	fake.off = off;
	fake.len = len;
	if (fake.error)
		return fake.error;
	memset(iov->iov_base, 'r', len);
	return (ssize_t)len;
}

ssize_t fs_write(struct fs *fs, const struct fs_ctx *ctx, const struct fs_write *req)
{
	(void)fs;
	note("write", ctx, req->nodeid);
	fake.write = *req;
	fake.data_len = 0;
	for (int i = 0; i < req->iovcnt && fake.data_len + req->iov[i].iov_len <= 256; i++) {
		memcpy(fake.data + fake.data_len, req->iov[i].iov_base, req->iov[i].iov_len);
		fake.data_len += req->iov[i].iov_len;
	}
	return fake.error ? fake.error : (ssize_t)req->len;
}

int fs_fallocate(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint32_t mode,
		 uint64_t off, uint64_t len)
{
	(void)fs;
	note("fallocate", ctx, nodeid);
	fake.mode = mode;
	fake.off = off;
	fake.len = len;
	return fake.error;
}

int fs_lseek(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t off, bool want_hole,
	     uint64_t *ret_off)
{
	(void)fs;
	note("lseek", ctx, nodeid);
	if (fake.error)
		return fake.error;
	if (off >= fake.size)
		return -ENXIO;
	bool in_hole = off >= fake.hole && off < fake.hole_end;

	if (want_hole)
		*ret_off = in_hole ? off : off < fake.hole ? fake.hole : fake.size;
	else if (in_hole && fake.hole_end >= fake.size)
		return -ENXIO;
	else
		*ret_off = in_hole ? fake.hole_end : off;
	return 0;
}

ssize_t fs_copy_range(struct fs *fs, const struct fs_ctx *ctx, const struct fs_copy *req)
{
	(void)fs;
	note("copy", ctx, req->nodeid_in);
	fake.copy = *req;
	return fake.error ? fake.error : (ssize_t)req->len;
}

int fs_bmap(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t block,
	    uint32_t block_size, uint64_t *ret_block)
{
	(void)fs;
	(void)block_size;
	note("bmap", ctx, nodeid);
	*ret_block = block + 1000;
	return fake.error;
}

int fs_fsync(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, bool data_only)
{
	(void)fs;
	note("fsync", ctx, nodeid);
	fake.data_only = data_only;
	return fake.error;
}

int fs_syncfs(struct fs *fs)
{
	(void)fs;
	note("syncfs", NULL, 0);
	return fake.error;
}

int fs_statfs(struct fs *fs, struct fs_statfs *ret_st)
{
	(void)fs;
	note("statfs", NULL, 0);
	*ret_st = (struct fs_statfs){ .blocks = 10, .bfree = 5, .bsize = 4096, .namelen = 255 };
	return fake.error;
}

int fs_trim(struct fs *fs, uint64_t start, uint64_t len, uint64_t minlen, uint64_t *ret_trimmed)
{
	(void)fs;
	(void)minlen;
	note("trim", NULL, 0);
	fake.off = start;
	fake.len = len;
	*ret_trimmed = 77;
	return fake.error;
}

int fs_getlk(struct fs *fs, const struct fs_ctx *ctx, struct fs_flock *lock)
{
	(void)fs;
	note("getlk", ctx, lock->nodeid);
	lock->type = 2; /* F_UNLCK */
	return fake.error;
}

int fs_setlk(struct fs *fs, const struct fs_ctx *ctx, const struct fs_flock *lock,
	     struct fs_lock_wait *wait)
{
	(void)fs;
	note("setlk", ctx, lock->nodeid);
	fake.lock = *lock;
	if (!fake.park)
		return fake.error;
	if (!wait)
		return -EAGAIN;
	fake.waiting = wait;
	return -EINPROGRESS;
}

bool fs_lock_interrupt(struct fs *fs, struct fs_session *s, uint64_t unique)
{
	struct fs_lock_wait *wait = fake.waiting;

	(void)fs;
	(void)s;
	if (!wait || wait->unique != unique)
		return false;
	fake.waiting = NULL;
	wait->done(wait, -EINTR);
	return true;
}

void fs_release_locks(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t owner)
{
	(void)fs;
	(void)owner;
	note("release_locks", ctx, nodeid);
}

int fs_dax_map(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, struct fs_dax_map *map)
{
	(void)fs;
	note("dax_map", ctx, nodeid);
	if (fake.error)
		return fake.error;
	fake.off = map->off;
	fake.len = map->len;
	fake.removed = map->write;
	map->pin = (struct fs_dax_pin *)(void *)&fake;
	map->run = calloc(2, sizeof(*map->run));
	map->count = 2;
	if (!map->run)
		return -ENOMEM;
	map->run[0] = (struct fs_dax_run){ .image_off = 8 << 20, .len = 4096 };
	map->run[1] =
		(struct fs_dax_run){ .off = 4096, .image_off = 4 << 20, .len = map->len - 4096 };
	return 0;
}

void fs_dax_unmap(struct fs_dax_pin *pin)
{
	if (pin)
		note("dax_unmap", NULL, 0);
}

bool fs_dax_same(const struct fs_dax_pin *a, const struct fs_dax_pin *b)
{
	return a == b;
}

bool fs_dax_is_mapped(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid)
{
	(void)fs;
	(void)ctx;
	return nodeid == fake.mapped;
}

int fs_dax_fd(struct fs *fs)
{
	(void)fs;
	return -1;
}

#endif
