/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Contents of regular files: open, read, write, seek.
 *
 * What the kernel's page cache hands down (FS_WRITE_CACHE) was accepted from a program
 * long ago: it is written completely or the error is told, never a short count, and
 * it takes away no privileges, which the kernel did when the program wrote.
 */
#include "daemon/fs/fs_priv.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/store/alloc.h"
#include "daemon/store/map.h"
#include "daemon/store/xattr.h"

#define IOV_MAX_FS 1024

/* ---- open and release ----------------------------------------------------- */

/* Caller holds the lock. */
static int open_check(const struct inode *i, uint32_t flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY;

	if (inode_is_dir(i))
		return writes ? -EISDIR : 0;
	if (inode_is_symlink(i))
		return -ELOOP;
	if ((i->flags & EXT4_ENCRYPT_FL) && inode_is_reg(i))
		return -ENOKEY;
	if (!writes)
		return i->flags & EXT4_APPEND_FL && (flags & O_TRUNC) ? -EPERM : 0;
	if (i->flags & (EXT4_IMMUTABLE_FL | EXT4_VERITY_FL))
		return -EPERM;
	if ((i->flags & EXT4_APPEND_FL) && (!(flags & O_APPEND) || (flags & O_TRUNC)))
		return -EPERM;
	return 0;
}

int fs_open(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint32_t flags)
{
	struct fs_setattr truncate = { .nodeid = nodeid, .valid = FS_SET_SIZE };
	bool writes = (flags & O_ACCMODE) != O_RDONLY, is_reg;
	struct fs_attr attr;
	struct inode *i;
	int error;

	error = node_get_read(fs, ctx, nodeid, &i);
	if (error)
		return error;
	error = open_check(i, flags);
	is_reg = inode_is_reg(i);
	node_put_read(i);
	if (!error && writes && (ctx->session->readonly || atomic_load(&fs->store->readonly)))
		error = is_reg ? -EROFS : 0;
	if (!error && is_reg && writes && (flags & O_TRUNC))
		error = fs_setattr(fs, ctx, &truncate, &attr);
	return error;
}

void fs_release(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t lock_owner,
		bool flock_unlock)
{
	struct fs_flock unlock = { .nodeid = nodeid,
				   .owner = lock_owner,
				   .type = F_UNLCK,
				   .end = UINT64_MAX >> 1,
				   .flock = true };
	struct inode *i;

	if (flock_unlock)
		(void)fs_setlk(fs, ctx, &unlock,
			       NULL); /* unlocking what is not locked is no error */
	if (node_get(fs, ctx, nodeid, &i))
		return;
	/* Blocks set aside for the next write: a later open makes its own reservation. */
	if (rwlock_trywrite(&i->lock)) {
		if (i->resv)
			balloc_release_resv(i);
		rwlock_unwrite(&i->lock);
	}
	inode_put(i);
}

/* ---- read ----------------------------------------------------------------- */

static int data_check(const struct inode *i)
{
	if (inode_is_dir(i))
		return -EISDIR;
	if (!inode_is_reg(i))
		return -EINVAL;
	return i->flags & EXT4_ENCRYPT_FL ? -ENOKEY : 0;
}

ssize_t fs_read(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, const struct iovec *iov,
		int iovcnt, uint64_t off, uint64_t len)
{
	struct inode *i;
	ssize_t got;
	int error;

	error = node_get_read(fs, ctx, nodeid, &i);
	if (error)
		return error;
	error = data_check(i);
	if (!error && off > INT64_MAX)
		error = -EINVAL;
	got = error ? error : data_read(i, iov, iovcnt, off, len);
	if (got > 0)
		extents_tell(fs, ctx, i, off, (uint64_t)got);
	rwlock_unread(&i->lock);
	if (got >= 0)
		atime_touch(fs, ctx, i);
	inode_put(i);
	return got;
}

/* ---- write ---------------------------------------------------------------- */

/* A write that may need several calls of data_write(). */
struct writing {
	const struct fs_write *req;
	struct iovec *iov; /* a private copy, consumed from the front */
	int iovcnt;
	uint64_t off, left, done;
	bool from_cache, sync_attr;
	uint32_t tid;
};

static void writing_advance(struct writing *w, uint64_t bytes)
{
	w->off += bytes;
	w->left -= bytes;
	while (bytes && w->iovcnt) {
		size_t n = MIN(bytes, (uint64_t)w->iov->iov_len);

		w->iov->iov_base = (char *)w->iov->iov_base + n;
		w->iov->iov_len -= n;
		bytes -= n;
		if (!w->iov->iov_len) {
			w->iov++;
			w->iovcnt--;
		}
	}
}

/* Where and how much, now that the lock is held. */
static int writing_place(struct writing *w, const struct inode *i)
{
	uint64_t skip, end;

	if (w->req->flags & FS_WRITE_APPEND)
		w->off = w->done ? w->off : i->size;
	if (add_overflows(w->off, w->left, &end) || end > INT64_MAX)
		return -EFBIG;
	if (w->off >= inode_size_max(i) && w->left)
		return -EFBIG;
	if (!(i->flags & EXT4_APPEND_FL) || w->off >= i->size)
		return 0;
	if (!w->from_cache)
		return -EPERM;
	/* Whole pages come back from the cache: of an append-only file only what lies behind the end is new. */
	skip = MIN(i->size - w->off, w->left);
	writing_advance(w, skip);
	w->done += skip;
	return 0;
}

static int write_check(const struct inode *i)
{
	int error = data_check(i);

	if (error)
		return error;
	return i->flags & (EXT4_IMMUTABLE_FL | EXT4_VERITY_FL) ? -EPERM : 0;
}

/* suid, sgid and capabilities do not survive a write by somebody else. Caller holds the lock. */
static int write_kill_privs(struct fs *fs, const struct fs_ctx *ctx, const struct writing *w,
			    struct inode *i)
{
	bool kill = (w->req->flags & FS_WRITE_KILL_SUIDGID) && (i->mode & (S_ISUID | S_ISGID));
	bool kill_cap = !w->from_cache && inode_has_cap(i);
	int error, stop_error;
	struct handle h;

	if (likely(!kill && !kill_cap))
		return 0;
	error = journal_start(fs->store->journal, CREDITS_XATTR + CREDITS_INODE, &h);
	if (error)
		return error;
	inode_bump(i);
	if (kill)
		kill = mode_kill_suidgid(i, ctx, false);
	if (kill_cap)
		error = inode_kill_cap(&h, i, &kill_cap);
	inode_stamp(i, STAMP_CTIME);
	if (!error)
		error = inode_write(&h, i);
	stop_error = journal_stop(&h);
	publish_inode(fs, ctx, INVAL_ATTR, i);
	if (kill_cap)
		publish_inode(fs, ctx, INVAL_XATTR, i);
	return error ? error : stop_error;
}

/* The reserved blocks: for writeback, which has no owner of its own, the file's owner counts. */
static uint32_t write_alloc_flags(struct fs *fs, const struct fs_ctx *ctx, const struct inode *i,
				  bool from_cache)
{
	uint32_t uid = from_cache ? i->uid : ctx->uid;
	uint32_t gid = from_cache ? i->gid : ctx->gid;

	return balloc_may_use_reserved(fs->store, uid, gid, uid == 0) ? ALLOC_RESERVED_OK : 0;
}

/* Caller holds the lock. 0: all is written. */
static int write_locked(struct fs *fs, const struct fs_ctx *ctx, struct writing *w, struct inode *i)
{
	struct now now = inode_now(i);
	uint64_t from, old_size;
	int error, settle_error;

	error = write_check(i);
	if (!error)
		error = writing_place(w, i);
	if (!error)
		error = write_kill_privs(fs, ctx, w, i);
	if (error)
		return error;
	error = dax_may_grow(fs, i, w->off + w->left);
	if (error)
		return error;
	inode_bump(i);
	from = w->off;
	old_size = i->size;
	while (w->left && !error) {
		struct data_write dw = { .iov = w->iov,
					 .iovcnt = w->iovcnt,
					 .off = w->off,
					 .len = w->left,
					 .alloc_flags =
						 write_alloc_flags(fs, ctx, i, w->from_cache),
					 .keep_times = w->from_cache && ctx->session->writeback,
					 .now_s = now.s,
					 .now_ns = now.ns };
		ssize_t n = data_write(i, &dw);

		if (n > 0) {
			writing_advance(w, (uint64_t)n);
			w->done += (uint64_t)n;
		} else {
			error = n ? (int)n : -EIO;
		}
	}
	settle_error = dax_settle(fs, i, old_size);
	publish_data(fs, ctx, i, from, MAX(w->off - from, UINT64_C(1)));
	return error ? error : settle_error;
}

/*
 * Large requests of the page cache's are pieces of a stream, which the kernel sends in
 * order; they overtake each other while our threads fetch them. So they go in turn, and
 * one that leaves a gap behind the end gives the one before it a moment to arrive: but
 * EARLY_WAIT_NS in all, for nothing forbids a file with a hole there.
 */
#define TURN_LEN_MIN (64u << 10)
#define EARLY_GAP_MAX (16u << 20)
#define EARLY_WAIT_NS 5000000

static bool write_is_early(const struct writing *w, const struct inode *i)
{
	return w->off > i->size && w->off - i->size <= EARLY_GAP_MAX;
}

/* -EAGAIN: it is early, and @can_wait. */
static int write_once(struct fs *fs, const struct fs_ctx *ctx, struct writing *w, bool can_wait)
{
	struct inode *i;
	int error;

	error = fs_begin(fs, ctx);
	if (error)
		return error;
	error = node_get_write(fs, ctx, w->req->nodeid, &i);
	if (!error) {
		if (can_wait && write_is_early(w, i))
			error = -EAGAIN;
		else
			error = write_locked(fs, ctx, w, i);
		w->sync_attr = i->flags & EXT4_SYNC_FL;
		w->tid = w->req->flags & FS_WRITE_SYNC || w->sync_attr ? i->sync_tid :
									 i->datasync_tid;
		node_put_write(i);
	}
	fs_end(fs);
	return error;
}

static int write_in_turn(struct fs *fs, const struct fs_ctx *ctx, struct writing *w)
{
	bool can_wait = true;
	struct timespec until;
	struct turn turn;
	int error;

	if (!w->from_cache || w->left < TURN_LEN_MIN)
		return write_once(fs, ctx, w, false);
	(void)clock_gettime(CLOCK_MONOTONIC, &until); /* that clock cannot fail */
	until.tv_nsec += EARLY_WAIT_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	turn_take(&fs->writes, &turn, w->req->nodeid, w->off);
	while ((error = write_once(fs, ctx, w, can_wait)) == -EAGAIN && can_wait)
		can_wait = turn_yield(&fs->writes, &turn, &until);
	turn_pass(&fs->writes, &turn);
	return error;
}

ssize_t fs_write(struct fs *fs, const struct fs_ctx *ctx, const struct fs_write *req)
{
	struct writing w = { .req = req,
			     .off = req->off,
			     .left = req->len,
			     .from_cache = req->flags & FS_WRITE_CACHE };
	struct iovec few[16], *many = NULL;
	unsigned int tries = 0;
	int error;

	if (req->iovcnt < 0 || req->iovcnt > IOV_MAX_FS || req->len > SSIZE_MAX)
		return -EINVAL;
	if ((size_t)req->iovcnt > ARRAY_SIZE(few)) {
		many = malloc((size_t)req->iovcnt * sizeof(*many));
		if (!many)
			return -ENOMEM;
	}
	w.iov = many ? many : few;
	w.iovcnt = req->iovcnt;
	memcpy(w.iov, req->iov, (size_t)req->iovcnt * sizeof(*w.iov));
	do {
		error = write_in_turn(fs, ctx, &w);
	} while (error == -ENOSPC && fs_make_room(fs, &tries));
	free(many);
	if (error && (w.from_cache || !w.done))
		return error;
	if (w.sync_attr || (req->flags & (FS_WRITE_SYNC | FS_WRITE_DSYNC))) {
		error = fs_sync_tid(fs, w.tid);
		if (error)
			return error;
	}
	return (ssize_t)w.done;
}

/* ---- where things lie ----------------------------------------------------- */

int fs_lseek(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t off, bool want_hole,
	     uint64_t *ret_off)
{
	struct inode *i;
	int error;

	error = node_get_read(fs, ctx, nodeid, &i);
	if (error)
		return error;
	if (!inode_is_reg(i))
		error = -EINVAL;
	else if (off >= i->size)
		error = -ENXIO;
	else
		error = map_seek(i, off, want_hole, ret_off);
	node_put_read(i);
	return error;
}

int fs_bmap(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t block,
	    uint32_t block_size, uint64_t *ret_block)
{
	struct map_run run = { .pblk = 0 };
	struct inode *i;
	int error;

	if (block_size != fs->store->block_size)
		return -EINVAL;
	error = node_get_read(fs, ctx, nodeid, &i);
	if (error)
		return error;
	error = data_check(i);
	if (!error && (inline_has(i) || block >= LBLK_END))
		error = block >= LBLK_END ? -EFBIG : -EINVAL;
	if (!error)
		error = map_lookup(i, (uint32_t)block, 1, &run);
	if (!error)
		*ret_block = run.flags & (MAP_HOLE | MAP_UNWRITTEN) ? 0 : run.pblk;
	node_put_read(i);
	return error;
}
