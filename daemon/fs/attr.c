/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attributes: asking for them and setting them.
 *
 * A request may change several things; they happen under one lock, the size first
 * because it alone can take several transactions and fail half-way with a consistent file.
 */
#include "daemon/fs/fs_priv.h"

#include <sys/stat.h>

#include "daemon/store/map.h"
#include "daemon/store/xattr.h"

static void publish_fill(struct fs *fs, const struct fs_ctx *ctx, const struct inode *i,
			 const struct fs_attr *attr)
{
	struct inval_event ev = { .kind = INVAL_FILL_ATTR,
				  .nodeid = inode_nodeid(i),
				  .version = attr->version,
				  .attr = attr,
				  .origin = ctx_origin(ctx) };

	inval_publish(fs->bus, &ev);
}

int fs_getattr(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, struct fs_attr *ret_attr)
{
	struct inode *i;
	int error = node_get_read(fs, ctx, nodeid, &i);

	if (unlikely(error))
		return error;
	attr_fill(i, ret_attr);
	if (unlikely(inval_wanted(fs->bus, INVAL_FILL_ATTR)))
		publish_fill(fs, ctx, i, ret_attr);
	node_put_read(i);
	return 0;
}

/*
 * A kernel with the writeback cache tells us the times of what was written to it. It must
 * get through although the file became append-only meanwhile.
 */
static bool is_time_flush(const struct fs_ctx *ctx, const struct fs_setattr *req)
{
	return ctx->session->writeback && req->valid == (FS_SET_MTIME | FS_SET_CTIME);
}

static int setattr_check(const struct fs_ctx *ctx, const struct fs_setattr *req,
			 const struct inode *i)
{
	const uint32_t explicit_times = FS_SET_ATIME | FS_SET_MTIME;
	const uint32_t now_times = FS_SET_ATIME_NOW | FS_SET_MTIME_NOW;

	/* An append-only file may be touched, that is, given the current time. */
	if (inode_check_fixed(i) && !is_time_flush(ctx, req)) {
		if (req->valid & (FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_SIZE))
			return -EPERM;
		if ((req->valid & explicit_times) && !(req->valid & now_times))
			return -EPERM;
		if ((i->flags & EXT4_IMMUTABLE_FL) && (req->valid & (explicit_times | now_times)))
			return -EPERM;
	}
	if (!(req->valid & FS_SET_SIZE))
		return 0;
	if (inode_is_dir(i))
		return -EISDIR;
	if (!inode_is_reg(i))
		return -EINVAL;
	if (i->flags & EXT4_ENCRYPT_FL)
		return -ENOKEY;
	if (i->flags & EXT4_VERITY_FL)
		return -EPERM;
	return req->size > inode_size_max(i) ? -EFBIG : 0;
}

static int set_size(struct fs *fs, const struct fs_ctx *ctx, struct inode *i, uint64_t size)
{
	uint64_t from = MIN(size, i->size);
	int error;

	if (size == i->size)
		return 0;
	error = size < i->size ? extents_take_back(fs, ctx, i, true) : 0;
	if (error)
		return error;
	error = dax_truncate(fs, i, size);
	/* After a failure as well: part of it may have happened. */
	publish_inode(fs, ctx, INVAL_ATTR, i); /* the times are still to come */
	publish_bytes(fs, ctx, i, from, 0);
	return error;
}

static void set_times(const struct fs_setattr *req, struct inode *i)
{
	struct now now = inode_now(i), t;

	if (req->valid & (FS_SET_ATIME | FS_SET_ATIME_NOW)) {
		t = req->valid & FS_SET_ATIME_NOW ? now : inode_clamp_time(i, req->atime);
		i->atime_s = t.s;
		i->atime_ns = t.ns;
	}
	if (req->valid & (FS_SET_MTIME | FS_SET_MTIME_NOW)) {
		t = req->valid & FS_SET_MTIME_NOW ? now : inode_clamp_time(i, req->mtime);
		i->mtime_s = t.s;
		i->mtime_ns = t.ns;
	} else if (req->valid & FS_SET_SIZE) {
		i->mtime_s = now.s;
		i->mtime_ns = now.ns;
	}
	t = req->valid & FS_SET_CTIME ? inode_clamp_time(i, req->ctime) : now;
	i->ctime_s = t.s;
	i->ctime_ns = t.ns;
}

/* Everything but the size, in @h. *ret_xattr: an ACL or a capability changed too. */
static int set_in_handle(const struct fs_ctx *ctx, const struct fs_setattr *req, struct handle *h,
			 struct inode *i, bool *ret_xattr)
{
	bool chown = req->valid & (FS_SET_UID | FS_SET_GID);
	int error = 0;

	*ret_xattr = false;
	if (req->valid & FS_SET_KILL_SUIDGID)
		(void)mode_kill_suidgid(i, ctx, chown); /* whether it did does not matter here */
	if ((chown && !inode_is_dir(i)) || (req->valid & (FS_SET_SIZE | FS_SET_KILL_SUIDGID)))
		error = inode_kill_cap(h, i, ret_xattr);
	if (error)
		return error;
	if (req->valid & FS_SET_UID)
		i->uid = req->uid;
	if (req->valid & FS_SET_GID)
		i->gid = req->gid;
	if (req->valid & FS_SET_MODE) {
		uint16_t mode = (uint16_t)((i->mode & S_IFMT) | (req->mode & 07777));

		if (!inode_is_symlink(i) && !(atomic_load(&i->state) & INODE_NOACL)) {
			error = acl_chmod(h, i, mode);
			if (error)
				return error;
			*ret_xattr = true;
		}
		i->mode = mode;
	}
	set_times(req, i);
	return req->valid & FS_SET_SIZE ? inode_write_data(h, i) : inode_write(h, i);
}

/* The inode is locked. */
static int setattr_apply(struct fs *fs, const struct fs_ctx *ctx, const struct fs_setattr *req,
			 struct inode *i)
{
	bool xattr_changed = false;
	int error, stop_error;
	struct handle h;

	inode_bump(i);
	if (req->valid & FS_SET_SIZE) {
		error = set_size(fs, ctx, i, req->size);
		if (error)
			return error;
	}
	/* The inode, a rewritten ACL, a removed capability. */
	error = journal_start(fs->store->journal,
			      CREDITS_INODE + xattr_credits(fs->store, fs->store->block_size) +
				      CREDITS_XATTR,
			      &h);
	if (error)
		return error;
	error = set_in_handle(ctx, req, &h, i, &xattr_changed);
	stop_error = journal_stop(&h);
	publish_inode(fs, ctx, INVAL_ATTR, i);
	if (xattr_changed)
		publish_inode(fs, ctx, INVAL_XATTR, i);
	return error ? error : stop_error;
}

static int setattr_once(struct fs *fs, const struct fs_ctx *ctx, const struct fs_setattr *req,
			struct fs_attr *ret_attr)
{
	struct inode *i;
	int error;

	error = node_get_write(fs, ctx, req->nodeid, &i);
	if (error)
		return error;
	error = setattr_check(ctx, req, i);
	if (!error)
		error = setattr_apply(fs, ctx, req, i);
	if (!error) {
		attr_fill(i, ret_attr);
		publish_fill(fs, ctx, i, ret_attr);
	}
	node_put_write(i);
	return error;
}

int fs_setattr(struct fs *fs, const struct fs_ctx *ctx, const struct fs_setattr *req,
	       struct fs_attr *ret_attr)
{
	unsigned int tries = 0;
	int error;

	if (!req->valid)
		return fs_getattr(fs, ctx, req->nodeid, ret_attr);
	if ((req->valid & FS_SET_UID && req->uid == OWNER_NONE) ||
	    (req->valid & FS_SET_GID && req->gid == OWNER_NONE))
		return -EINVAL;
	do {
		error = fs_begin(fs, ctx);
		if (error)
			return error;
		error = setattr_once(fs, ctx, req, ret_attr);
		fs_end(fs);
	} while (error == -ENOSPC && fs_make_room(fs, &tries));
	return error;
}
