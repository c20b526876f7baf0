// SPDX-License-Identifier: GPL-2.0-only
/*
 * File contents: read, write, and where they lie in the image.
 *
 * Bytes go between the caller's iovecs and the image directly, never through a
 * buffer. What makes a write safe:
 *  (1) ordered: new blocks get their bytes, padded with zeros to whole blocks, inside
 *	the handle that maps them and before it maps them. The commit flushes the
 *	image before its commit block, so no crash shows a block's former contents,
 *	and a failed write leaves nothing mapped;
 *  (2) the size grows in the handle that is opened before the bytes are written and
 *	after they are in place; the gap between the old end and the first new byte
 *	inside the old last block is zeroed before that;
 *  (3) a handle covers one run of at most DATA_CHUNK_BYTES, so credits are bounded
 *	whatever the request, and an error keeps what was written before it.
 *
 * Overwriting mapped blocks changes no metadata but times, and needs no handle when
 * the kernel keeps those (keep_times).
 */
#include "daemon/store/map.h"

#include <errno.h>
#include <limits.h>

#include "daemon/base/check.h"
#include "daemon/store/map_impl.h"

#define DATA_CHUNK_BYTES (16u << 20)
/* From here on a file is taken for one that is streamed: long aligned runs pay off. */
#define DATA_STREAM_BYTES (1u << 20)
#define DATA_IOV_MAX 64

/* Position in the caller's iovecs. */
struct cursor {
	const struct iovec *iov;
	const struct iovec *end;
	size_t in; /* bytes of *iov already used */
};

static bool cursor_init(struct cursor *c, const struct iovec *iov, int iovcnt, uint64_t len)
{
	uint64_t room = 0;

	*c = (struct cursor){ .iov = iov, .end = iov + iovcnt };
	for (int k = 0; k < iovcnt && room < len; k++)
		room += iov[k].iov_len;
	return room >= len;
}

/* The next piece, at most @len bytes; the caller knows that there are that many. */
static struct iovec cursor_next(struct cursor *c, uint64_t len)
{
	struct iovec v;

	while (c->in == c->iov->iov_len) {
		c->iov++;
		c->in = 0;
		CHECK(c->iov < c->end);
	}
	v.iov_base = (uint8_t *)c->iov->iov_base + c->in;
	v.iov_len = (size_t)MIN((uint64_t)(c->iov->iov_len - c->in), len);
	c->in += v.iov_len;
	return v;
}

/* Up to @max pieces of up to @len bytes; *ret_len says how many bytes. */
static int cursor_slice(struct cursor *c, uint64_t len, struct iovec *out, int max,
			uint64_t *ret_len)
{
	uint64_t bytes = 0;
	int n = 0;

	while (bytes < len && n < max) {
		out[n] = cursor_next(c, len - bytes);
		bytes += out[n++].iov_len;
	}
	*ret_len = bytes;
	return n;
}

struct writing {
	struct inode *inode;
	const struct data_write *w;
	struct cursor cursor;
	bool inode_written; /* a handle has written times and all */
};

/* One contiguous write: zeros, @len of the caller's bytes, zeros. */
struct padded {
	uint64_t img_off, before, len, after;
};

/* The one place where contents are put into mapped or about to be mapped blocks. */
static int put(struct writing *x, struct padded p)
{
	struct iovec v[DATA_IOV_MAX];
	uint64_t bytes;
	int n = 0, r;

	while (p.before + p.len + p.after > 0) {
		uint64_t total = p.before;

		n = 0;
		if (p.before > 0)
			v[n++] = (struct iovec){ (void *)map_zeros(), (size_t)p.before };
		p.before = 0;
		n += cursor_slice(&x->cursor, p.len, v + n, DATA_IOV_MAX - 1 - n, &bytes);
		total += bytes;
		p.len -= bytes;
		if (p.len == 0 && p.after > 0) {
			v[n++] = (struct iovec){ (void *)map_zeros(), (size_t)p.after };
			total += p.after;
			p.after = 0;
		}
		r = bdev_writev(x->inode->store->bdev, v, n, p.img_off);
		if (r < 0)
			return r;
		p.img_off += total;
	}
	return 0;
}

static void touch(struct writing *x)
{
	struct inode *i = x->inode;

	if (x->w->keep_times)
		return;
	i->mtime_s = x->w->now_s;
	i->mtime_ns = x->w->now_ns;
	i->ctime_s = x->w->now_s;
	i->ctime_ns = x->w->now_ns;
}

/* The end of a handle that changed size or mapping: bytes up to @end are in place. */
static int seal(struct writing *x, struct handle *h, uint64_t end)
{
	struct inode *i = x->inode;
	int r = 0;

	if (end > i->size)
		r = map_set_size(h, i, end);
	touch(x);
	if (r == 0)
		r = inode_write_data(h, i);
	x->inode_written |= r == 0;
	return r;
}

/* Written blocks: the bytes change in place. */
static int write_over(struct writing *x, const struct map_run *run, uint64_t off, uint64_t len)
{
	struct inode *i = x->inode;
	uint32_t bs = map_block_size(i);
	struct padded p = { .img_off = run->pblk * bs + off % bs, .len = len };
	struct handle h;
	int r;

	if (off + len <= i->size)
		return put(x, p);
	r = journal_start(i->store->journal, CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	r = put(x, p);
	if (r == 0)
		r = seal(x, &h, off + len);
	return map_stop(&h, r);
}

/* Preallocated blocks: what is not written of the first and last block becomes zeros. */
static int write_unwritten(struct writing *x, const struct map_run *run, uint64_t off, uint64_t len)
{
	struct inode *i = x->inode;
	uint64_t bs = map_block_size(i), in = off % bs;
	uint64_t blocks = DIV_ROUND_UP(in + len, bs);
	struct padded p = {
		.img_off = run->pblk * bs, .before = in, .len = len, .after = blocks * bs - in - len
	};
	struct handle h;
	int r;

	r = journal_start(i->store->journal, 2 * CREDITS_MAP + CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	r = put(x, p);
	if (r == 0)
		r = map_convert(&h, i, run->lblk, (uint32_t)blocks);
	if (r == 0)
		r = seal(x, &h, off + len);
	return map_stop(&h, r);
}

/* Inside @h: allocate part of the hole @run, fill it, map it. *len becomes the bytes written. */
static int fill_hole(struct writing *x, struct handle *h, struct map_run *run, uint64_t off,
		     uint64_t *len)
{
	struct inode *i = x->inode;
	uint64_t bs = map_block_size(i), in = off % bs;
	struct alloc_req req = { .inode = i,
				 .goal = run->pblk,
				 .lblk = run->lblk,
				 .count = MIN(run->count, map_insert_max(i, run->lblk)),
				 .flags = x->w->alloc_flags };
	struct padded p = { .before = in };
	int r;

	if (x->w->off + x->w->len >= DATA_STREAM_BYTES)
		req.flags |= ALLOC_STREAM;
	r = balloc(h, &req, &run->pblk, &run->count);
	if (r < 0)
		return r;
	p.img_off = run->pblk * bs;
	p.len = MIN(*len, run->count * bs - in);
	p.after = run->count * bs - in - p.len;
	run->flags = 0;
	r = put(x, p);
	if (r == 0)
		r = map_insert(h, i, run);
	if (r < 0) {
		(void)balloc_undo(h, i->store, run->pblk,
				  run->count); /* the first error is the one to tell */
		return r;
	}
	*len = p.len;
	return 0;
}

static int write_hole(struct writing *x, struct map_run *run, uint64_t off, uint64_t *len)
{
	struct handle h;
	int r;

	r = journal_start(x->inode->store->journal, CREDITS_ALLOC + CREDITS_MAP + CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	r = fill_hole(x, &h, run, off, len);
	if (r == 0)
		r = seal(x, &h, off + *len);
	return map_stop(&h, r);
}

/* Write the part of [off, off + *len) that lies in one run; *len becomes its bytes. */
static int write_step(struct writing *x, uint64_t off, uint64_t *len)
{
	struct inode *i = x->inode;
	uint64_t bs = map_block_size(i), in = off % bs, goal;
	struct map_run run;
	int r;

	*len = MIN(*len, (uint64_t)DATA_CHUNK_BYTES);
	r = map_lookup_goal(i, (uint32_t)(off / bs), (uint32_t)DIV_ROUND_UP(in + *len, bs), &run,
			    &goal);
	if (r < 0)
		return r;
	*len = MIN(*len, run.count * bs - in);
	if (run.flags & MAP_HOLE) {
		run.pblk = goal;
		return write_hole(x, &run, off, len);
	}
	if (run.flags & MAP_UNWRITTEN)
		return write_unwritten(x, &run, off, *len);
	return write_over(x, &run, off, *len);
}

/* Only times changed. */
static int write_times(struct writing *x)
{
	struct handle h;
	int r;

	r = journal_start(x->inode->store->journal, CREDITS_INODE, &h);
	if (r < 0)
		return r;
	touch(x);
	r = inode_write(&h, x->inode);
	return map_stop(&h, r);
}

/* Is @i an empty file that may begin as an inline one? */
static bool may_become_inline(const struct inode *i)
{
	const struct ext4_extent_header *eh = (const struct ext4_extent_header *)i->i_block;

	return store_has_incompat(i->store, EXT4_FEATURE_INCOMPAT_INLINE_DATA) && i->size == 0 &&
	       inode_is_reg(i) && (i->flags & EXT4_EXTENTS_FL) && !eh->eh_entries.raw &&
	       !(i->flags & (EXT4_EA_INODE_FL | EXT4_DAX_FL | EXT4_JOURNAL_DATA_FL));
}

static int write_inline(struct writing *x, struct handle *h, uint64_t off, uint64_t len)
{
	struct inode *i = x->inode;
	_cleanup_free_ uint8_t *buf = malloc(len);
	uint64_t done = 0;
	int r = 0;

	if (!buf)
		return -ENOMEM;
	while (done < len) {
		struct iovec v = cursor_next(&x->cursor, len - done);

		memcpy(buf + done, v.iov_base, v.iov_len);
		done += v.iov_len;
	}
	if (!inline_has(i))
		r = inline_init(h, i);
	if (r == 0)
		r = inline_write(h, i, buf, off, len);
	return r;
}

/*
 * Inline files: write in place while it fits, else move the contents to a block.
 * 1 = all is done, 0 = go on with blocks.
 */
static int try_inline(struct writing *x, uint64_t off, uint64_t len)
{
	struct inode *i = x->inode;
	bool is_inline = inline_has(i), fits;
	struct handle h;
	int r;

	if (!is_inline && !may_become_inline(i))
		return 0;
	fits = off + len <= inline_size_max(i);
	if (!fits && !is_inline)
		return 0;
	r = journal_start(i->store->journal, CREDITS_MAP + CREDITS_SIZE, &h);
	if (r < 0)
		return r;
	r = fits ? write_inline(x, &h, off, len) : inline_convert(&h, i);
	if (r == 0)
		r = seal(x, &h, 0);
	r = map_stop(&h, r);
	return r < 0 ? r : fits;
}

/* @len bytes, which the size limit allows. Returns the error that ended it; *ret_done what was written. */
static int write_all(struct writing *x, uint64_t len, uint64_t *ret_done)
{
	uint64_t off = x->w->off, done = 0;
	int r;

	r = try_inline(x, off, len);
	if (r == 1)
		done = len;
	else if (r == 0 && off > x->inode->size)
		r = map_zero_old_tail(x->inode, off);
	while (r >= 0 && done < len) {
		uint64_t n = len - done;

		r = write_step(x, off + done, &n);
		if (r == 0)
			done += n;
	}
	*ret_done = done;
	return r < 0 ? r : 0;
}

ssize_t data_write(struct inode *i, const struct data_write *w)
{
	struct writing x = { .inode = i, .w = w };
	uint64_t size_max = inode_size_max(i), len = w->len, done;
	int r;

	CHECK(rwlock_is_write_locked(&i->lock));
	if (atomic_load(&i->store->readonly))
		return -EROFS;
	if (len == 0)
		return 0;
	if (w->off >= size_max)
		return -EFBIG;
	len = MIN(len, size_max - w->off);
	len = MIN(len, (uint64_t)SSIZE_MAX);
	if (!cursor_init(&x.cursor, w->iov, w->iovcnt, len))
		return -EINVAL;
	r = write_all(&x, len, &done);
	if (done > 0 && !x.inode_written && !w->keep_times) {
		int r2 = write_times(&x);

		if (r == 0)
			r = r2;
	}
	/* Bytes written count even if an error ended it; the next call will meet the error first. */
	return done > 0 ? (ssize_t)done : r;
}

/* The run that [off, off + len) begins with, and how many of those bytes it holds. */
static int run_at(struct inode *i, uint64_t off, uint64_t len, struct map_run *run,
		  uint64_t *ret_len)
{
	uint64_t bs = map_block_size(i), in = off % bs;
	uint64_t blocks = MIN(DIV_ROUND_UP(in + len, bs), (uint64_t)LBLK_END);
	int r;

	/* The size comes from the image and may be more than any map can name. */
	if (off / bs >= LBLK_END) {
		*run = (struct map_run){ .flags = MAP_HOLE };
		*ret_len = len;
		return 0;
	}
	r = map_lookup(i, (uint32_t)(off / bs), (uint32_t)blocks, run);
	if (r < 0)
		return r;
	*ret_len = MIN(len, run->count * bs - in);
	return 0;
}

ssize_t data_pieces(struct inode *i, uint64_t off, uint64_t len, struct data_piece *pieces,
		    uint32_t *ret_count)
{
	uint64_t bs = map_block_size(i), done = 0;
	uint32_t n = 0;

	*ret_count = 0;
	if (off >= i->size)
		return 0;
	len = MIN(len, i->size - off);
	len = MIN(len, (uint64_t)SSIZE_MAX);
	if (inline_has(i))
		return -ENODATA;
	while (done < len && n < DATA_PIECES_MAX) {
		struct map_run run;
		uint64_t part, at = off + done;
		int r;

		r = run_at(i, at, len - done, &run, &part);
		if (r < 0)
			return r;
		pieces[n++] = (struct data_piece){
			.img_off = run.flags ? 0 : run.pblk * bs + at % bs,
			.len = part,
			.zero = run.flags != 0,
		};
		done += part;
	}
	*ret_count = n;
	return (ssize_t)done;
}

static void fill_zeros(struct cursor *c, uint64_t len)
{
	while (len > 0) {
		struct iovec v = cursor_next(c, len);

		memset(v.iov_base, 0, v.iov_len);
		len -= v.iov_len;
	}
}

static int read_piece(struct inode *i, struct cursor *c, uint64_t img_off, uint64_t len)
{
	struct iovec v[DATA_IOV_MAX];
	uint64_t bytes;

	for (; len > 0; len -= bytes, img_off += bytes) {
		int n = cursor_slice(c, len, v, DATA_IOV_MAX, &bytes);
		int r = bdev_copyv(i->store->bdev, v, n, img_off);

		if (r < 0)
			return r;
	}
	return 0;
}

static ssize_t read_inline(struct inode *i, struct cursor *c, uint64_t off, uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		struct iovec v = cursor_next(c, len - done);
		ssize_t n = inline_read(i, v.iov_base, off + done, v.iov_len);

		if (n < 0)
			return n;
		done += v.iov_len;
	}
	return (ssize_t)done;
}

ssize_t data_read(struct inode *i, const struct iovec *iov, int iovcnt, uint64_t off, uint64_t len)
{
	uint64_t bs = map_block_size(i), done = 0;
	struct cursor c;

	CHECK(rwlock_is_locked(&i->lock));
	if (off >= i->size || len == 0)
		return 0;
	len = MIN(len, i->size - off);
	len = MIN(len, (uint64_t)SSIZE_MAX);
	if (!cursor_init(&c, iov, iovcnt, len))
		return -EINVAL;
	if (inline_has(i))
		return read_inline(i, &c, off, len);
	while (done < len) {
		struct map_run run;
		uint64_t part, at = off + done;
		int r;

		r = run_at(i, at, len - done, &run, &part);
		if (r == 0 && run.flags)
			fill_zeros(&c, part);
		else if (r == 0)
			r = read_piece(i, &c, run.pblk * bs + at % bs, part);
		if (r < 0)
			return r;
		done += part;
	}
	return (ssize_t)done;
}
