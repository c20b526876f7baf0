/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ioctls of ext4 that make sense here. The kernel sends those it knows itself
 * (flags, project) with their natural size, and everything else with the size that the
 * number encodes, which for flags and versions is a long although an int is meant: the
 * answer has the size that was asked for, and for versions never more than an int,
 * since chattr's lsattr passes the address of one.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#define GETVERSION_64 _IOR('v', 1, long)
#define GETVERSION_32 _IOR('v', 1, int)

#define IOCTL_BYTES_MAX 64

struct ioctl_io {
	uint8_t bytes[IOCTL_BYTES_MAX]; /* what came, then what goes */
	size_t in_len, out_max;
};

static void reply_ioctl(struct op *op, const void *data, size_t len)
{
	struct {
		struct fuse_ioctl_out head;
		uint8_t bytes[IOCTL_BYTES_MAX];
	} out;

	memset(&out, 0, sizeof(out));
	if (len)
		memcpy(out.bytes, data, len);
	req_reply(op->req, 0, &out, sizeof(out.head) + len);
}

/* The kernel does not know that this changes the time of the last change: it is told first. */
static void reply_changed(struct op *op)
{
	const struct fuse_ioctl_out head = { .result = 0 };

	_Static_assert(sizeof(head) <= NOTIFY_REPLY_MAX, "a parked answer has room for it");
	notifier_reply(op->s->notifier, op->req, op->nodeid, &head, sizeof(head));
}

static void get_flags(struct op *op, const struct ioctl_io *io)
{
	struct fs_fileattr attr;
	uint64_t wide;
	int err;

	if (io->out_max != sizeof(uint32_t) && io->out_max != sizeof(uint64_t)) {
		op_error(op, -EINVAL);
		return;
	}
	err = fs_fileattr_get(op->s->fs, &op->ctx, op->nodeid, &attr);
	if (err) {
		op_error(op, err);
		return;
	}
	wide = attr.flags;
	reply_ioctl(op, io->out_max == sizeof(wide) ? (void *)&wide : (void *)&attr.flags,
		    io->out_max);
}

static void set_flags(struct op *op, const struct ioctl_io *io)
{
	struct fs_fileattr attr = { 0 };
	int err;

	if (io->in_len < sizeof(attr.flags)) {
		op_error(op, -EINVAL);
		return;
	}
	memcpy(&attr.flags, io->bytes, sizeof(attr.flags));
	err = fs_fileattr_set(op->s->fs, &op->ctx, op->nodeid, FS_FILEATTR_FLAGS, &attr);
	if (err)
		op_error(op, err);
	else
		reply_changed(op);
}

/* The flags that struct fsxattr has a bit for. */
static const struct {
	uint32_t xflag, flag;
} xflag_map[] = {
	{ FS_XFLAG_IMMUTABLE, FS_IMMUTABLE_FL }, { FS_XFLAG_APPEND, FS_APPEND_FL },
	{ FS_XFLAG_SYNC, FS_SYNC_FL },		 { FS_XFLAG_NOATIME, FS_NOATIME_FL },
	{ FS_XFLAG_NODUMP, FS_NODUMP_FL },	 { FS_XFLAG_PROJINHERIT, FS_PROJINHERIT_FL },
};

static void get_fsxattr(struct op *op, const struct ioctl_io *io)
{
	struct fsxattr fsx = { 0 };
	struct fs_fileattr attr;
	int err;

	if (io->out_max != sizeof(fsx)) {
		op_error(op, -EINVAL);
		return;
	}
	err = fs_fileattr_get(op->s->fs, &op->ctx, op->nodeid, &attr);
	if (err) {
		op_error(op, err);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(xflag_map); i++)
		if (attr.flags & xflag_map[i].flag)
			fsx.fsx_xflags |= xflag_map[i].xflag;
	fsx.fsx_nextents = attr.extents;
	fsx.fsx_projid = attr.projid;
	reply_ioctl(op, &fsx, sizeof(fsx));
}

static void set_fsxattr(struct op *op, const struct ioctl_io *io)
{
	struct fsxattr fsx;
	struct fs_fileattr attr;
	uint32_t known = 0, valid = FS_FILEATTR_FLAGS;
	int err;

	if (io->in_len < sizeof(fsx)) {
		op_error(op, -EINVAL);
		return;
	}
	memcpy(&fsx, io->bytes, sizeof(fsx));
	err = fs_fileattr_get(op->s->fs, &op->ctx, op->nodeid, &attr);
	if (err) {
		op_error(op, err);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(xflag_map); i++) {
		known |= xflag_map[i].xflag;
		attr.flags &= ~xflag_map[i].flag;
		if (fsx.fsx_xflags & xflag_map[i].xflag)
			attr.flags |= xflag_map[i].flag;
	}
	if (fsx.fsx_xflags & ~known || fsx.fsx_extsize || fsx.fsx_cowextsize) {
		op_error(op, -EOPNOTSUPP);
		return;
	}
	if (fsx.fsx_projid != attr.projid)
		valid |= FS_FILEATTR_PROJID;
	attr.projid = fsx.fsx_projid;
	err = fs_fileattr_set(op->s->fs, &op->ctx, op->nodeid, valid, &attr);
	if (err)
		op_error(op, err);
	else
		reply_changed(op);
}

static void get_version(struct op *op, const struct ioctl_io *io)
{
	struct fs_fileattr attr;
	int err;

	if (io->out_max < sizeof(attr.generation)) {
		op_error(op, -EINVAL);
		return;
	}
	err = fs_fileattr_get(op->s->fs, &op->ctx, op->nodeid, &attr);
	if (err)
		op_error(op, err);
	else
		reply_ioctl(op, &attr.generation, sizeof(attr.generation));
}

static void trim(struct op *op, const struct ioctl_io *io)
{
	struct fstrim_range range;
	uint64_t trimmed = 0;
	int err;

	/* The kernel does not check: this is about the medium, not about a file, and not about a guest's. */
	if (op->ctx.uid != 0 || op->s->opts.guest) {
		op_error(op, -EPERM);
		return;
	}
	if (io->in_len < sizeof(range) || io->out_max < sizeof(range)) {
		op_error(op, -EINVAL);
		return;
	}
	memcpy(&range, io->bytes, sizeof(range));
	err = fs_trim(op->s->fs, range.start, range.len, range.minlen, &trimmed);
	if (err) {
		op_error(op, err);
		return;
	}
	range.len = trimmed;
	reply_ioctl(op, &range, sizeof(range));
}

void op_ioctl(struct op *op)
{
	const struct fuse_ioctl_in *in = &op->arg.ioctl;
	struct ioctl_io io = { .out_max = in->out_size };

	if (in->in_size != op->in.left) {
		op_malformed(op);
		return;
	}
	if (in->in_size > sizeof(io.bytes)) {
		op_error(op, -ENOTTY);
		return;
	}
	io.in_len = in->in_size;
	(void)cursor_copy(&op->in, io.bytes, io.in_len); /* length checked above */
	switch (in->cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC32_GETFLAGS: get_flags(op, &io); break;
	case FS_IOC_SETFLAGS:
	case FS_IOC32_SETFLAGS: set_flags(op, &io); break;
	case FS_IOC_FSGETXATTR: get_fsxattr(op, &io); break;
	case FS_IOC_FSSETXATTR: set_fsxattr(op, &io); break;
	case GETVERSION_64:
	case GETVERSION_32: get_version(op, &io); break;
	case FITRIM: trim(op, &io); break;
	/* Also for SETVERSION: the generation is part of the nodeid and of every file handle. */
	default: op_error(op, -ENOTTY); break;
	}
}
