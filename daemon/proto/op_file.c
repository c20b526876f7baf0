/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Contents. READ fills the transport's buffer and WRITE takes its payload from where the
 * transport received it: neither is copied here.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/inval/inval.h"

/* O_TRUNC reaches OPEN only with FUSE_ATOMIC_O_TRUNC, which only share=on agrees to. */
static int open_truncate(struct op *op)
{
	const struct fuse_open_in *in = &op->arg.open;
	struct fs_setattr set = { .nodeid = op->nodeid, .valid = FS_SET_SIZE };
	struct fs_attr attr;

	if (!(in->flags & O_TRUNC))
		return 0;
	if (in->open_flags & FUSE_OPEN_KILL_SUIDGID)
		set.valid |= FS_SET_KILL_SUIDGID;
	return fs_setattr(op->s->fs, &op->ctx, &set, &attr);
}

uint32_t op_open_flags(const struct proto_session *s, uint32_t flags)
{
	bool dir = flags & FOPEN_CACHE_DIR;

	if (!s->opts.guest)
		return flags;
	switch (s->opts.cache) {
	case PROTO_CACHE_NEVER: return dir ? 0 : FOPEN_DIRECT_IO;
	case PROTO_CACHE_METADATA: return dir ? flags : FOPEN_DIRECT_IO;
	case PROTO_CACHE_ALWAYS: return flags;
	case PROTO_CACHE_AUTO: break;
	}
	return 0;
}

void op_open(struct op *op)
{
	struct fuse_open_out out = { .open_flags = op_open_flags(op->s, FOPEN_KEEP_CACHE) };
	uint32_t flags = op->arg.open.flags;
	int err = 0;

	if (!op->s->opts.share) {
		op_error(op, -ENOSYS);
		return;
	}
	if (flags & O_TRUNC)
		err = op_collect(op, op->nodeid, 0, 0);
	if (!err)
		err = fs_open(op->s->fs, &op->ctx, op->nodeid, flags);
	if (err) {
		op_error(op, err);
		return;
	}
	err = open_truncate(op);
	if (!err)
		err = op_opened(op, op->nodeid, flags);
	if (err)
		fs_release(op->s->fs, &op->ctx, op->nodeid, 0, false);
	/* What guests write through a window reaches the image, and no cache above it. */
	if (!err && !op->s->opts.guest && fs_dax_is_mapped(op->s->fs, &op->ctx, op->nodeid))
		out.open_flags = FOPEN_DIRECT_IO;
	if (!req_reply(op->req, err, &out, sizeof(out)) && !err)
		op_closed(op, op->nodeid, flags);
}

/* In share=off only what TMPFILE opened is released, and nothing was noted for it. */
void op_release(struct op *op)
{
	op_closed(op, op->nodeid, op->arg.release.flags);
	if (op->s->opts.share)
		fs_release(op->s->fs, &op->ctx, op->nodeid, op->arg.release.lock_owner,
			   op->arg.release.release_flags & FUSE_RELEASE_FLOCK_UNLOCK);
	req_reply(op->req, 0, NULL, 0);
}

void op_flush(struct op *op)
{
	if (!op->s->opts.share) {
		op_error(op, -ENOSYS);
		return;
	}
	/* close(2) of any descriptor drops the process's POSIX locks of the file. */
	fs_release_locks(op->s->fs, &op->ctx, op->nodeid, op->arg.flush.lock_owner);
	req_reply(op->req, 0, NULL, 0);
}

void op_read(struct op *op)
{
	const struct fuse_read_in *in = &op->arg.read;
	struct proto_req *req = op->req;
	struct iovec buf = { .iov_base = req->out_buf, .iov_len = req->out_size };
	const struct iovec *iov = req->out ? req->out : &buf;
	int count = req->out ? req->out_count : 1;
	uint64_t room = 0, len, end;
	ssize_t done;

	for (int i = 0; i < count; i++)
		room += iov[i].iov_len;
	len = MIN((uint64_t)in->size, room);
	if (add_overflows(in->offset, len, &end) || end > INT64_MAX) {
		op_malformed(op);
		return;
	}
	done = fs_read(op->s->fs, &op->ctx, op->nodeid, iov, count, in->offset, len);
	if (done > 0 && op->s->opts.guest)
		atomic_fetch_add_explicit(&op->s->read_bytes, (uint64_t)done,
					  memory_order_relaxed); /* a statistic */
	if (done < 0)
		op_error(op, (int)done);
	else if (req->out)
		req_reply_filled(req, (size_t)done);
	else
		req_reply(req, 0, buf.iov_base, (size_t)done);
}

static uint32_t write_flags(const struct op *op)
{
	const struct fuse_write_in *in = &op->arg.write;
	uint32_t flags = 0;

	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
		flags |= FS_WRITE_KILL_SUIDGID;
	/* From the page cache: whose write it was, and with what flags, is not known. */
	if (in->write_flags & FUSE_WRITE_CACHE)
		return flags | FS_WRITE_CACHE;
	if (in->flags & O_APPEND && op->s->opts.share)
		flags |= FS_WRITE_APPEND;
	if ((in->flags & O_SYNC) == O_SYNC)
		flags |= FS_WRITE_SYNC;
	else if (in->flags & O_DSYNC)
		flags |= FS_WRITE_DSYNC;
	return flags;
}

/*
 * A change of contents by somebody without privileges takes set-user-id bits away, and the
 * kernel leaves that to us. But it keeps believing the mode it has, for it only expects
 * times and size to change: it has to be told, or the file could still be executed with
 * the privileges it lost.
 */
static bool loses_privileges(struct op *op)
{
	struct fs_attr attr;

	if (fs_getattr(op->s->fs, &op->ctx, op->nodeid, &attr))
		return false; /* the change itself will say why */
	return attr.mode & S_ISUID || (attr.mode & S_ISGID && attr.mode & S_IXGRP);
}

/* Parked until the kernel has been told, which is also all that an abort would tell it. */
static void reply_notified(struct op *op, const void *data, size_t len)
{
	op_park(op);
	notifier_reply(op->s->notifier, op->req, op->nodeid, data, len);
}

void lost_publish(struct proto_session *s, uint64_t nodeid, bool waits)
{
	struct inval_event ev = { .kind = waits ? INVAL_HOLD : INVAL_RELEASE, .nodeid = nodeid };

	if (s->bus)
		inval_publish(s->bus, &ev);
}

/*
 * The reply comes first: it ends the writeback that a notification about this very inode
 * might have to wait for.
 */
static void write_failed(struct op *op, uint32_t flags, int error)
{
	/* No kernel caches writes of node 0. */
	bool lost = flags & FS_WRITE_CACHE && op->s->notifier && op->nodeid;
	struct proto_session *s = op->s;
	uint64_t nodeid = op->nodeid;

	if (lost) {
		lost_note(&s->lost, nodeid, error);
		lost_publish(s, nodeid, true);
	}
	op_error(op, error);
	if (lost)
		notifier_forget_attr(s->notifier, nodeid);
}

/* What others hold of where @req will write. Behind the end it is the end that matters. */
static int collect_written(struct op *op, const struct fs_write *req)
{
	uint64_t off = req->off;
	struct fs_attr attr;

	if (likely(!op->s->opts.host))
		return 0;
	if (req->flags & FS_WRITE_APPEND) {
		if (fs_getattr(op->s->fs, &op->ctx, op->nodeid, &attr))
			return 0; /* the change itself will say why */
		off = attr.size;
	}
	return op_collect(op, op->nodeid, off, MAX(req->len, UINT64_C(1)));
}

void op_write(struct op *op)
{
	const struct fuse_write_in *in = &op->arg.write;
	struct iovec iov[PROTO_IOV_MAX];
	struct fuse_write_out out = { 0 };
	uint64_t end;
	ssize_t done;
	bool killed;
	int count;

	count = in->size == op->in.left ? cursor_slice(&op->in, in->size, iov, PROTO_IOV_MAX) : -1;
	if (count < 0 || add_overflows(in->offset, (uint64_t)in->size, &end) || end > INT64_MAX) {
		op_malformed(op);
		return;
	}
	struct fs_write req = {
		.nodeid = op->nodeid,
		.iov = iov,
		.iovcnt = count,
		.off = in->offset,
		.len = in->size,
		.flags = write_flags(op),
	};
	killed = req.flags & FS_WRITE_KILL_SUIDGID && loses_privileges(op);
	done = collect_written(op, &req);
	if (!done)
		done = fs_write(op->s->fs, &op->ctx, &req);
	if (done < 0) {
		write_failed(op, req.flags, (int)done);
		return;
	}
	if (op->s->opts.guest)
		atomic_fetch_add_explicit(&op->s->written_bytes, (uint64_t)done,
					  memory_order_relaxed); /* a statistic */
	out.size = (uint32_t)done;
	if (killed)
		reply_notified(op, &out, sizeof(out));
	else
		req_reply(op->req, 0, &out, sizeof(out));
}

void op_fsync(struct op *op)
{
	bool data_only = op->arg.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC;

	req_reply(op->req, fs_fsync(op->s->fs, &op->ctx, op->nodeid, data_only), NULL, 0);
}

void op_syncfs(struct op *op)
{
	req_reply(op->req, fs_syncfs(op->s->fs), NULL, 0);
}

void op_fallocate(struct op *op)
{
	const struct fuse_fallocate_in *in = &op->arg.fallocate;
	uint64_t end;
	bool killed;
	int err;

	if (add_overflows(in->offset, in->length, &end) || end > INT64_MAX) {
		op_error(op, -EFBIG);
		return;
	}
	/* fs takes the bits from whoever is not root: the protocol does not say who may keep them. */
	killed = op->ctx.uid != 0 && loses_privileges(op);
	/* Collapsing and inserting move all that follows. */
	err = op_collect(
		op, op->nodeid, in->offset,
		in->mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) ? 0 : in->length);
	if (!err)
		err = fs_fallocate(op->s->fs, &op->ctx, op->nodeid, in->mode, in->offset,
				   in->length);
	if (!err && killed)
		reply_notified(op, NULL, 0);
	else
		req_reply(op->req, err, NULL, 0);
}

static int seek_without_holes(struct op *op, uint64_t off, bool want_hole, uint64_t *ret_off)
{
	struct fs_attr attr;
	int err = fs_getattr(op->s->fs, &op->ctx, op->nodeid, &attr);

	if (!err && off >= attr.size)
		err = -ENXIO;
	if (!err)
		*ret_off = want_hole ? attr.size : off;
	return err;
}

/*
 * The kernel asks for holes without writing its dirty pages back first: of the writeback
 * cache, and of shared mappings in any profile. The store's answer alone would hide data
 * (cp would copy zeros), so the notifier has the pages of apparent holes written, and
 * answers then. A guest cannot be asked for them. One that holds writes back, which alone
 * knows how long the file is, is told that it has to take everything for data; of others
 * that goes for files that they may have mapped.
 */
void op_lseek(struct op *op)
{
	const struct fuse_lseek_in *in = &op->arg.lseek;
	struct fuse_lseek_out out = { 0 };
	struct notify_seek seek = {
		.req = op->req,
		.ctx = op->ctx,
		.nodeid = op->nodeid,
		.off = in->offset,
		.want_hole = in->whence == SEEK_HOLE,
	};
	int err;

	if ((in->whence != SEEK_HOLE && in->whence != SEEK_DATA) || in->offset > INT64_MAX) {
		op_error(op, in->offset > INT64_MAX ? -ENXIO : -EINVAL);
		return;
	}
	if (op->s->writeback && !op->s->notifier) {
		op_error(op, -ENOSYS);
		return;
	}
	if (op->s->notifier) {
		op_park(op);
		err = notifier_seek(op->s->notifier, &seek);
		if (err) {
			op_unpark(op);
			op_error(op, err);
		}
		return;
	}
	if (op_hides_data(op))
		err = seek_without_holes(op, in->offset, seek.want_hole, &out.offset);
	else
		err = fs_lseek(op->s->fs, &op->ctx, op->nodeid, in->offset, seek.want_hole,
			       &out.offset);
	req_reply(op->req, err, &out, sizeof(out));
}

void op_copy_file_range(struct op *op)
{
	const struct fuse_copy_file_range_in *in = &op->arg.copy;
	struct fs_copy copy = {
		.nodeid_in = op->nodeid,
		.off_in = in->off_in,
		.nodeid_out = in->nodeid_out,
		.off_out = in->off_out,
		.len = in->len,
	};
	bool wide = op->opcode == WIRE_COPY_FILE_RANGE_64;
	struct wire_copy_file_range_out out64 = { 0 };
	struct fuse_write_out out = { 0 };
	uint64_t end;
	ssize_t done;

	if (in->flags || add_overflows(in->off_in, in->len, &end) || end > INT64_MAX ||
	    add_overflows(in->off_out, in->len, &end) || end > INT64_MAX) {
		op_error(op, -EINVAL);
		return;
	}
	/* The older reply counts in 32 bits; a shorter copy is a right answer. */
	if (!wide)
		copy.len = MIN(copy.len, (uint64_t)UINT32_MAX & ~UINT64_C(4095));
	done = op_collect(op, copy.nodeid_in, copy.off_in, copy.len);
	if (!done)
		done = op_collect(op, copy.nodeid_out, copy.off_out, copy.len);
	if (!done)
		done = fs_copy_range(op->s->fs, &op->ctx, &copy);
	if (done < 0) {
		op_error(op, (int)done);
		return;
	}
	out.size = (uint32_t)done;
	out64.bytes_copied = (uint64_t)done;
	if (wide)
		req_reply(op->req, 0, &out64, sizeof(out64));
	else
		req_reply(op->req, 0, &out, sizeof(out));
}

void op_bmap(struct op *op)
{
	struct fuse_bmap_out out = { 0 };
	int err = fs_bmap(op->s->fs, &op->ctx, op->nodeid, op->arg.bmap.block,
			  op->arg.bmap.blocksize, &out.block);

	req_reply(op->req, err, &out, sizeof(out));
}
