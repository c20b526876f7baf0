/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Directories: opened without a message in share=off, read into the transport's buffer,
 * with attributes where the kernel wants them.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"

struct dir_reply {
	struct op *op;
	uint8_t *buf;
	size_t size, used;
	bool plus;
};

static int emit(void *arg, const struct fs_dirent *d)
{
	struct dir_reply *r = arg;
	size_t head = r->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	size_t len = FUSE_REC_ALIGN(head + d->name.len);
	uint8_t *at = r->buf + r->used;
	struct fuse_dirent dirent = {
		.ino = d->ino,
		.off = d->cookie,
		.namelen = d->name.len,
		.type = d->dtype,
	};

	if (len > r->size - r->used)
		return 1;
	if (r->plus) {
		struct fuse_entry_out entry;

		/* "." and ".." carry no entry: nodeid 0 and no time-out, so nothing is cached. */
		memset(&entry, 0, sizeof(entry));
		if (d->entry)
			wire_entry(r->op->s, d->entry, &entry);
		memcpy(at, &entry, sizeof(entry));
		at += sizeof(entry);
	}
	memcpy(at, &dirent, FUSE_NAME_OFFSET);
	memcpy(at + FUSE_NAME_OFFSET, d->name.name, d->name.len);
	memset(r->buf + r->used + head + d->name.len, 0, len - head - d->name.len);
	r->used += len;
	return 0;
}

/* Nobody got the listing: its lookups are given back. The buffer is still this thread's. */
static void forget_all(struct op *op, const uint8_t *buf, size_t used)
{
	while (used) {
		struct fuse_entry_out entry;
		struct fuse_dirent dirent;
		size_t len;

		memcpy(&entry, buf, sizeof(entry));
		memcpy(&dirent, buf + sizeof(entry), FUSE_NAME_OFFSET);
		len = FUSE_REC_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + dirent.namelen);
		if (entry.nodeid)
			fs_forget(op->s->fs, op->ctx.session, entry.nodeid, 1);
		CHECK(len <= used);
		buf += len;
		used -= len;
	}
}

static void do_readdir(struct op *op, bool plus)
{
	const struct fuse_read_in *in = &op->arg.read;
	struct dir_reply r = {
		.op = op,
		.buf = op->req->out_buf,
		.size = MIN(in->size, op->req->out_size),
		.plus = plus,
	};
	int err = fs_readdir(op->s->fs, &op->ctx, op->nodeid, in->offset, plus, emit, &r);

	/* What was taken counts as looked up: it is given to the kernel even if the next failed. */
	if (err && !r.used)
		op_error(op, err);
	else if (!req_reply(op->req, 0, r.buf, r.used) && plus)
		forget_all(op, r.buf, r.used);
}

void op_readdir(struct op *op)
{
	do_readdir(op, false);
}

void op_readdirplus(struct op *op)
{
	do_readdir(op, true);
}

void op_opendir(struct op *op)
{
	struct fuse_open_out out = { .open_flags = op_open_flags(op->s, FOPEN_KEEP_CACHE |
										FOPEN_CACHE_DIR) };
	int err;

	if (!op->s->opts.share) {
		op_error(op, -ENOSYS);
		return;
	}
	err = fs_open(op->s->fs, &op->ctx, op->nodeid, op->arg.open.flags);
	req_reply(op->req, err, &out, sizeof(out));
}

void op_releasedir(struct op *op)
{
	if (op->s->opts.share)
		fs_release(op->s->fs, &op->ctx, op->nodeid, op->arg.release.lock_owner,
			   op->arg.release.release_flags & FUSE_RELEASE_FLOCK_UNLOCK);
	req_reply(op->req, 0, NULL, 0);
}
