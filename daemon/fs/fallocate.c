/* SPDX-License-Identifier: GPL-2.0-only */
/* fallocate(2): which modes exist, what they demand, and what they do to times and caches. */
#include "daemon/fs/fs_priv.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include "daemon/store/alloc.h"
#include "daemon/store/map.h"

struct range {
	uint32_t mode;
	uint64_t off, len;
};

/* The one thing a combination of mode bits means; -EOPNOTSUPP for others. */
static int mode_check(uint32_t mode)
{
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_COLLAPSE_RANGE:
	case FALLOC_FL_INSERT_RANGE: return 0;
	default: return -EOPNOTSUPP;
	}
}

/* Caller holds the lock. */
static int range_check(const struct range *r, const struct inode *i)
{
	uint64_t end;

	if (inode_is_dir(i))
		return -EISDIR;
	if (!inode_is_reg(i))
		return -ENODEV;
	if (i->flags & EXT4_ENCRYPT_FL)
		return -ENOKEY;
	if (i->flags & (EXT4_IMMUTABLE_FL | EXT4_VERITY_FL))
		return -EPERM;
	if ((i->flags & EXT4_APPEND_FL) && (r->mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE))
		return -EPERM;
	/* Blocks that a guest has mapped stay where they are. */
	if (dax_is_mapped(i) && (r->mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)))
		return -EBUSY;
	if (add_overflows(r->off, r->len, &end) || end > inode_size_max(i))
		return -EFBIG;
	return 0;
}

static int range_apply(struct fs *fs, const struct fs_ctx *ctx, const struct range *r,
		       struct inode *i)
{
	bool keep = r->mode & FALLOC_FL_KEEP_SIZE;
	uint32_t alloc = balloc_may_use_reserved(fs->store, ctx->uid, ctx->gid, ctx->uid == 0) ?
				 ALLOC_RESERVED_OK :
				 0;
	int error = r->mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE ? extents_take_back(fs, ctx, i, true) :
							       0;

	if (error)
		return error;
	switch (r->mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE) {
	case 0: return dax_preallocate(fs, i, r->off, r->len, keep, alloc);
	case FALLOC_FL_PUNCH_HOLE: return dax_punch(fs, i, r->off, r->len);
	case FALLOC_FL_ZERO_RANGE: return dax_zero_range(fs, i, r->off, r->len, keep);
	case FALLOC_FL_COLLAPSE_RANGE: return inode_collapse_range(i, r->off, r->len);
	default: return inode_insert_range(i, r->off, r->len);
	}
}

static int fallocate_once(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			  const struct range *r)
{
	const uint32_t shifts = FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE;
	struct inode *i;
	int error, stamp_error;

	error = node_get_write(fs, ctx, nodeid, &i);
	if (error)
		return error;
	error = range_check(r, i);
	if (!error) {
		inode_bump(i);
		error = range_apply(fs, ctx, r, i);
		/* A failed one may have changed part of the range. */
		stamp_error = inode_note_write(fs, ctx, i);
		error = error ? error : stamp_error;
		publish_data(fs, ctx, i, r->off, r->mode & shifts ? 0 : r->len);
	}
	node_put_write(i);
	return error;
}

int fs_fallocate(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint32_t mode,
		 uint64_t off, uint64_t len)
{
	struct range r = { .mode = mode, .off = off, .len = len };
	unsigned int tries = 0;
	int error = mode_check(mode);

	if (error)
		return error;
	if (!len || off > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	do {
		error = fs_begin(fs, ctx);
		if (error)
			return error;
		error = fallocate_once(fs, ctx, nodeid, &r);
		fs_end(fs);
	} while (error == -ENOSPC && fs_make_room(fs, &tries));
	return error;
}
