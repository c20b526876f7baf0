/* SPDX-License-Identifier: GPL-2.0-only */
/* Attributes on the wire: GETATTR, SETATTR, STATX, STATFS, and the entries of every lookup. */
#include "daemon/proto/session.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

void wire_attr(const struct proto_session *s, const struct fs_attr *attr,
	       struct fuse_attr *ret_attr)
{
	*ret_attr = (struct fuse_attr){
		.ino = attr->ino,
		.size = attr->size,
		.blocks = attr->blocks,
		.atime = (uint64_t)attr->atime.s,
		.mtime = (uint64_t)attr->mtime.s,
		.ctime = (uint64_t)attr->ctime.s,
		.atimensec = attr->atime.ns,
		.mtimensec = attr->mtime.ns,
		.ctimensec = attr->ctime.ns,
		.mode = attr->mode,
		.nlink = attr->nlink,
		.uid = idmap_to_guest(&s->opts.uids, attr->uid),
		.gid = idmap_to_guest(&s->opts.gids, attr->gid),
		.rdev = attr->rdev,
		.blksize = attr->blksize,
		.flags = attr->dax ? FUSE_ATTR_DAX : 0,
	};
}

/*
 * Kernels leave it to us to take set-user-id and set-group-id away at a write, and are notified
 * that the mode has changed. One that cannot be must not believe such a mode, for it would go on
 * executing what somebody has written with the rights of another.
 */
static struct wire_timeout attr_timeout(const struct proto_session *s, const struct fs_attr *attr)
{
	static const struct wire_timeout none;

	if (!s->notifier && S_ISREG(attr->mode) && (attr->mode & (S_ISUID | S_ISGID)))
		return none;
	return s->attr_timeout;
}

void wire_entry(const struct proto_session *s, const struct fs_entry *entry,
		struct fuse_entry_out *ret_out)
{
	struct wire_timeout valid;

	memset(ret_out, 0, sizeof(*ret_out));
	if (!entry->nodeid) {
		ret_out->entry_valid = s->negative_timeout.s;
		ret_out->entry_valid_nsec = s->negative_timeout.ns;
		return;
	}
	ret_out->nodeid = entry->nodeid;
	ret_out->generation = entry->generation;
	ret_out->entry_valid = s->entry_timeout.s;
	ret_out->entry_valid_nsec = s->entry_timeout.ns;
	valid = attr_timeout(s, &entry->attr);
	ret_out->attr_valid = valid.s;
	ret_out->attr_valid_nsec = valid.ns;
	wire_attr(s, &entry->attr, &ret_out->attr);
}

void op_reply_attr(struct op *op, const struct fs_attr *attr)
{
	struct wire_timeout valid = attr_timeout(op->s, attr);
	struct fuse_attr_out out = { .attr_valid = valid.s, .attr_valid_nsec = valid.ns };

	wire_attr(op->s, attr, &out.attr);
	req_reply(op->req, 0, &out, sizeof(out));
}

void op_getattr(struct op *op)
{
	struct fs_attr attr;
	int err = 0;

	/* A request that names an open file comes from a write, or looks for the end. */
	if (op->arg.getattr.getattr_flags & FUSE_GETATTR_FH)
		err = lost_take(&op->s->lost, op->nodeid);
	if (unlikely(err))
		lost_publish(op->s, op->nodeid, false);
	if (!err)
		err = fs_getattr(op->s->fs, &op->ctx, op->nodeid, &attr);
	if (err)
		op_error(op, err);
	else
		op_reply_attr(op, &attr);
}

static uint32_t setattr_valid(uint32_t wire)
{
	/* FATTR_FH and FATTR_LOCKOWNER tell who asks; nothing here depends on it. */
	static const struct {
		uint32_t wire, fs;
	} map[] = {
		{ FATTR_MODE, FS_SET_MODE },
		{ FATTR_UID, FS_SET_UID },
		{ FATTR_GID, FS_SET_GID },
		{ FATTR_SIZE, FS_SET_SIZE },
		{ FATTR_ATIME, FS_SET_ATIME },
		{ FATTR_MTIME, FS_SET_MTIME },
		{ FATTR_CTIME, FS_SET_CTIME },
		{ FATTR_ATIME | FATTR_ATIME_NOW, FS_SET_ATIME_NOW },
		{ FATTR_MTIME | FATTR_MTIME_NOW, FS_SET_MTIME_NOW },
		{ FATTR_KILL_SUIDGID, FS_SET_KILL_SUIDGID },
	};
	uint32_t valid = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if ((wire & map[i].wire) == map[i].wire)
			valid |= map[i].fs;
	/* "Now" replaces the time that comes along. */
	if (valid & FS_SET_ATIME_NOW)
		valid &= ~(uint32_t)FS_SET_ATIME;
	if (valid & FS_SET_MTIME_NOW)
		valid &= ~(uint32_t)FS_SET_MTIME;
	return valid;
}

static bool bad_time(uint32_t valid, uint32_t flag, uint32_t ns)
{
	return valid & flag && ns >= 1000000000u;
}

void op_setattr(struct op *op)
{
	const struct fuse_setattr_in *in = &op->arg.setattr;
	struct fs_setattr set = {
		.nodeid = op->nodeid,
		.valid = setattr_valid(in->valid),
		.mode = in->mode,
		.uid = idmap_to_image(&op->s->opts.uids, in->uid),
		.gid = idmap_to_image(&op->s->opts.gids, in->gid),
		.size = in->size,
		.atime = { .s = (int64_t)in->atime, .ns = in->atimensec },
		.mtime = { .s = (int64_t)in->mtime, .ns = in->mtimensec },
		.ctime = { .s = (int64_t)in->ctime, .ns = in->ctimensec },
	};
	struct fs_attr attr;
	int err;

	if (bad_time(set.valid, FS_SET_ATIME, in->atimensec) ||
	    bad_time(set.valid, FS_SET_MTIME, in->mtimensec) ||
	    bad_time(set.valid, FS_SET_CTIME, in->ctimensec) ||
	    (set.valid & FS_SET_SIZE && in->size > INT64_MAX)) {
		op_malformed(op);
		return;
	}
	/* As the kernel has it for owners that a namespace does not know. */
	if ((set.valid & FS_SET_UID && set.uid == IDMAP_NONE) ||
	    (set.valid & FS_SET_GID && set.gid == IDMAP_NONE)) {
		op_error(op, -EINVAL);
		return;
	}
	/* Of what is cut off nothing may be written later: it would come back. */
	err = set.valid & FS_SET_SIZE ? op_collect(op, op->nodeid, in->size, 0) : 0;
	if (!err)
		err = fs_setattr(op->s->fs, &op->ctx, &set, &attr);
	if (err)
		op_error(op, err);
	else
		op_reply_attr(op, &attr);
}

static struct wire_sx_time sx_time(struct fs_time t)
{
	return (struct wire_sx_time){ .tv_sec = t.s, .tv_nsec = t.ns };
}

static uint64_t statx_attributes(uint32_t flags)
{
	uint64_t attributes = 0;

	attributes |= flags & FS_COMPR_FL ? STATX_ATTR_COMPRESSED : 0;
	attributes |= flags & FS_IMMUTABLE_FL ? STATX_ATTR_IMMUTABLE : 0;
	attributes |= flags & FS_APPEND_FL ? STATX_ATTR_APPEND : 0;
	attributes |= flags & FS_NODUMP_FL ? STATX_ATTR_NODUMP : 0;
	attributes |= flags & FS_ENCRYPT_FL ? STATX_ATTR_ENCRYPTED : 0;
	attributes |= flags & FS_VERITY_FL ? STATX_ATTR_VERITY : 0;
	return attributes;
}

void op_statx(struct op *op)
{
	struct wire_statx_out out = { 0 };
	struct wire_timeout valid;
	struct fs_attr attr;
	int err = fs_getattr(op->s->fs, &op->ctx, op->nodeid, &attr);

	if (err) {
		op_error(op, err);
		return;
	}
	valid = attr_timeout(op->s, &attr);
	out.attr_valid = valid.s;
	out.attr_valid_nsec = valid.ns;
	out.stat = (struct wire_statx){
		.mask = STATX_BASIC_STATS | STATX_BTIME,
		.blksize = attr.blksize,
		.attributes = statx_attributes(attr.flags),
		.attributes_mask = statx_attributes(UINT32_MAX),
		.nlink = attr.nlink,
		.uid = idmap_to_guest(&op->s->opts.uids, attr.uid),
		.gid = idmap_to_guest(&op->s->opts.gids, attr.gid),
		.mode = (uint16_t)attr.mode,
		.ino = attr.ino,
		.size = attr.size,
		.blocks = attr.blocks,
		.atime = sx_time(attr.atime),
		.btime = sx_time(attr.btime),
		.ctime = sx_time(attr.ctime),
		.mtime = sx_time(attr.mtime),
		.rdev_major = major(attr.rdev),
		.rdev_minor = minor(attr.rdev),
	};
	/* Images whose inodes have no room for a birth time. */
	if (!attr.btime.s && !attr.btime.ns)
		out.stat.mask &= ~STATX_BTIME;
	req_reply(op->req, 0, &out, sizeof(out));
}

void op_statfs(struct op *op)
{
	struct fs_statfs st;
	struct fuse_statfs_out out = { 0 };
	int err = fs_statfs(op->s->fs, &st);

	if (err) {
		op_error(op, err);
		return;
	}
	out.st.blocks = st.blocks;
	out.st.bfree = st.bfree;
	out.st.bavail = st.bavail;
	out.st.files = st.files;
	out.st.ffree = st.ffree;
	out.st.bsize = st.bsize;
	out.st.frsize = st.bsize;
	out.st.namelen = st.namelen;
	req_reply(op->req, 0, &out, sizeof(out));
}
