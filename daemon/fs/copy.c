/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * copy_file_range: through a bounce buffer, piece by piece, one inode locked at a
 * time. As in the kernel, others may see and change both files in between. Holes of the
 * source become holes where that is easy: behind the destination's end, or by punching.
 */
#include "daemon/fs/fs_priv.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "daemon/store/alloc.h"
#include "daemon/store/map.h"

struct copy {
	struct fs *fs;
	const struct fs_ctx *ctx;
	struct inode *in, *out; /* references */
	uint64_t off_in, off_out, left, done;
	void *buf;
};

/* What comes next in the source: bytes, and whether they are a hole. 0 = its end. */
struct piece {
	uint64_t len;
	bool hole;
};

static int check_in(const struct inode *i)
{
	if (inode_is_dir(i))
		return -EISDIR;
	if (!inode_is_reg(i))
		return -EINVAL;
	return i->flags & EXT4_ENCRYPT_FL ? -ENOKEY : 0;
}

/* Caller holds the source's lock. */
static int piece_find(const struct copy *c, struct piece *p)
{
	uint64_t max, to;
	int error;

	*p = (struct piece){ .len = 0 };
	if (c->off_in >= c->in->size)
		return 0;
	max = MIN(c->left, c->in->size - c->off_in);
	error = map_seek(c->in, c->off_in, false, &to);
	if (error == -ENXIO) {
		/* No data up to the end. */
		*p = (struct piece){ .len = max, .hole = true };
		return 0;
	}
	if (error)
		return error;
	if (to > c->off_in) {
		*p = (struct piece){ .len = MIN(max, to - c->off_in), .hole = true };
		return 0;
	}
	error = map_seek(c->in, c->off_in, true, &to);
	if (error)
		return error;
	max = MIN(max, to - c->off_in);
	p->len = MIN(max, (uint64_t)COPY_CHUNK);
	return 0;
}

static int piece_read(struct copy *c, struct piece *p)
{
	struct iovec iov = { .iov_base = c->buf, .iov_len = COPY_CHUNK };
	ssize_t n = 0;
	int error;

	rwlock_read(&c->in->lock);
	error = inode_alive(c->in);
	if (!error)
		error = check_in(c->in);
	if (!error)
		error = piece_find(c, p);
	if (!error && p->len && !p->hole)
		n = data_read(c->in, &iov, 1, c->off_in, p->len);
	rwlock_unread(&c->in->lock);
	if (error || n < 0)
		return error ? error : (int)n;
	if (!p->hole)
		p->len = (uint64_t)n;
	return 0;
}

/* Caller holds the destination's lock. */
static int check_out(const struct copy *c)
{
	const struct inode *i = c->out;
	int error = check_in(i);

	if (error)
		return error;
	if (i->flags & (EXT4_IMMUTABLE_FL | EXT4_VERITY_FL))
		return -EPERM;
	if ((i->flags & EXT4_APPEND_FL) && c->off_out < i->size)
		return -EPERM;
	return c->off_out >= inode_size_max(i) ? -EFBIG : 0;
}

/* A hole at the destination, whose size grows over it. */
static int hole_write(struct copy *c, const struct piece *p)
{
	uint64_t end = c->off_out + p->len;
	int error = 0;

	if (end > inode_size_max(c->out))
		return -EFBIG;
	/* The kernel keeps direct reads out meanwhile, but not those of its page cache. */
	if (c->off_out < c->out->size)
		error = extents_take_back(c->fs, c->ctx, c->out, false);
	if (error)
		return error;
	if (c->off_out < c->out->size)
		error = dax_punch(c->fs, c->out, c->off_out,
				  MIN(p->len, c->out->size - c->off_out));
	if (!error && end > c->out->size)
		error = dax_truncate(c->fs, c->out, end);
	return error;
}

static ssize_t data_put(struct copy *c, const struct piece *p)
{
	uint64_t old_size = c->out->size;
	struct iovec iov = { .iov_base = c->buf, .iov_len = p->len };
	struct now now = inode_now(c->out);
	struct data_write w = { .iov = &iov,
				.iovcnt = 1,
				.off = c->off_out,
				.len = p->len,
				.now_s = now.s,
				.now_ns = now.ns };
	ssize_t n;
	int error;

	if (balloc_may_use_reserved(c->fs->store, c->ctx->uid, c->ctx->gid, c->ctx->uid == 0))
		w.alloc_flags = ALLOC_RESERVED_OK;
	error = dax_may_grow(c->fs, c->out, w.off + w.len);
	if (error)
		return error;
	n = data_write(c->out, &w);
	error = dax_settle(c->fs, c->out, old_size);
	return error ? error : n;
}

/* Takes the destination's lock. *ret_len: bytes that arrived. */
static int piece_write(struct copy *c, const struct piece *p, uint64_t *ret_len)
{
	ssize_t n = 0;
	int error;

	*ret_len = 0;
	rwlock_write(&c->out->lock);
	error = ctx_is_aborted(c->ctx) ? -EINTR : inode_alive(c->out);
	if (!error)
		error = check_out(c);
	if (error) {
		rwlock_unwrite(&c->out->lock);
		return error;
	}
	inode_bump(c->out);
	if (!c->done)
		error = inode_note_write(c->fs, c->ctx, c->out);
	if (!error && p->hole) {
		error = hole_write(c, p);
		n = error ? 0 : (ssize_t)p->len;
	} else if (!error) {
		n = data_put(c, p);
		error = n < 0 ? (int)n : 0;
	}
	if (n > 0)
		*ret_len = (uint64_t)n;
	publish_data(c->fs, c->ctx, c->out, c->off_out, p->len);
	rwlock_unwrite(&c->out->lock);
	return error;
}

static int copy_pieces(struct copy *c)
{
	while (c->left) {
		unsigned int tries = 0;
		struct piece p;
		uint64_t len;
		int error;

		error = piece_read(c, &p);
		if (error || !p.len)
			return error;
		do {
			error = fs_begin(c->fs, c->ctx);
			if (error)
				return error;
			error = piece_write(c, &p, &len);
			fs_end(c->fs);
		} while (error == -ENOSPC && fs_make_room(c->fs, &tries));
		if (error)
			return error;
		c->off_in += len;
		c->off_out += len;
		c->left -= len;
		c->done += len;
	}
	return 0;
}

static int copy_check(const struct fs_copy *req, struct copy *c)
{
	uint64_t end_in, end_out;

	if (add_overflows(req->off_in, req->len, &end_in) || end_in > INT64_MAX ||
	    add_overflows(req->off_out, req->len, &end_out) || end_out > INT64_MAX)
		return -EOVERFLOW;
	if (c->in == c->out && req->off_in < end_out && req->off_out < end_in)
		return -EINVAL;
	return 0;
}

ssize_t fs_copy_range(struct fs *fs, const struct fs_ctx *ctx, const struct fs_copy *req)
{
	struct copy c = { .fs = fs,
			  .ctx = ctx,
			  .off_in = req->off_in,
			  .off_out = req->off_out,
			  .left = MIN(req->len, (uint64_t)COPY_MAX) };
	int error;

	error = node_get(fs, ctx, req->nodeid_in, &c.in);
	if (error)
		return error;
	error = node_get(fs, ctx, req->nodeid_out, &c.out);
	if (error) {
		inode_put(c.in);
		return error;
	}
	error = copy_check(req, &c);
	if (!error) {
		c.buf = malloc(COPY_CHUNK);
		error = c.buf ? copy_pieces(&c) : -ENOMEM;
		free(c.buf);
	}
	inode_put(c.in);
	inode_put(c.out);
	return c.done ? (ssize_t)c.done : error;
}
