/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The attributes of chattr(1), and project numbers. Who may change them is checked here:
 * kernels before 5.13 do not, and newer ones hand through the numbers that 32-bit programs
 * use when a 64-bit program uses them.
 */
#include "daemon/fs/fs_priv.h"

#include <sys/stat.h>

#include "daemon/store/map.h"

/* Of those a user may set, these would change how contents or names are stored: not by a flag. */
#define FLAGS_FIXED                                                                                \
	(EXT4_EXTENTS_FL | EXT4_JOURNAL_DATA_FL | EXT4_CASEFOLD_FL | EXT4_ENCRYPT_FL |             \
	 EXT4_VERITY_FL | EXT4_INLINE_DATA_FL)
#define FLAGS_DIR_ONLY (EXT4_DIRSYNC_FL | EXT4_TOPDIR_FL | EXT4_CASEFOLD_FL | EXT4_PROJINHERIT_FL)
#define FLAGS_OTHER (EXT4_NODUMP_FL | EXT4_NOATIME_FL)
/* i_projid ends here in the extra part. */
#define EXTRA_ISIZE_PROJID 32

int fs_fileattr_get(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		    struct fs_fileattr *ret_attr)
{
	struct inode *i;
	int error = node_get_read(fs, ctx, nodeid, &i);

	if (error)
		return error;
	*ret_attr = (struct fs_fileattr){ .flags = i->flags & EXT4_FL_USER_VISIBLE,
					  .projid = i->projid,
					  .generation = i->generation };
	if (inode_is_reg(i) && !inline_has(i))
		error = map_count_runs(i, &ret_attr->extents);
	node_put_read(i);
	return error;
}

/* The whole new flags word, or why not. Caller holds the lock. */
static int flags_merge(const struct inode *i, uint32_t wanted, uint32_t *ret_flags)
{
	uint32_t allowed = EXT4_FL_USER_MODIFIABLE;
	uint32_t changed;

	/* Bits that can be seen but not set come back unchanged from whoever read them. */
	wanted &= EXT4_FL_USER_MODIFIABLE;
	changed = (i->flags ^ wanted) & EXT4_FL_USER_MODIFIABLE;
	if (inode_is_reg(i))
		allowed &= ~(uint32_t)FLAGS_DIR_ONLY;
	else if (!inode_is_dir(i))
		allowed = FLAGS_OTHER;
	if ((changed & FLAGS_FIXED) || (wanted & changed & ~allowed))
		return -EOPNOTSUPP;
	/* What stays immutable cannot be changed otherwise. */
	if ((i->flags & wanted & EXT4_IMMUTABLE_FL) && changed)
		return -EPERM;
	*ret_flags = i->flags ^ changed;
	return 0;
}

/* Caller holds the lock. */
static int projid_check(const struct inode *i, uint32_t projid)
{
	if (!store_has_ro_compat(i->store, EXT4_FEATURE_RO_COMPAT_PROJECT))
		return projid == 0 ? 0 : -EOPNOTSUPP;
	if (i->extra_isize < EXTRA_ISIZE_PROJID)
		return -EOVERFLOW;
	return 0;
}

static int fileattr_apply(struct fs *fs, const struct fs_ctx *ctx, struct inode *i, uint32_t valid,
			  const struct fs_fileattr *attr)
{
	uint32_t flags = i->flags;
	int error = 0, stop_error;
	struct handle h;

	if (ctx->uid != 0 && ctx->uid != i->uid)
		return -EPERM;
	if (valid & FS_FILEATTR_FLAGS)
		error = flags_merge(i, attr->flags, &flags);
	if (!error && ctx->uid != 0 &&
	    ((flags ^ i->flags) & (EXT4_IMMUTABLE_FL | EXT4_APPEND_FL | EXT4_JOURNAL_DATA_FL)))
		error = -EPERM;
	if (!error && (valid & FS_FILEATTR_PROJID))
		error = projid_check(i, attr->projid);
	if (!error)
		error = journal_start(fs->store->journal, CREDITS_INODE, &h);
	if (error)
		return error;
	inode_bump(i);
	i->flags = flags;
	if ((valid & FS_FILEATTR_PROJID) &&
	    store_has_ro_compat(fs->store, EXT4_FEATURE_RO_COMPAT_PROJECT))
		i->projid = attr->projid;
	inode_stamp(i, STAMP_CTIME);
	error = inode_write(&h, i);
	stop_error = journal_stop(&h);
	publish_inode(fs, ctx, INVAL_ATTR, i);
	return error ? error : stop_error;
}

int fs_fileattr_set(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint32_t valid,
		    const struct fs_fileattr *attr)
{
	struct inode *i;
	int error;

	error = fs_begin(fs, ctx);
	if (error)
		return error;
	error = node_get_write(fs, ctx, nodeid, &i);
	if (!error) {
		error = fileattr_apply(fs, ctx, i, valid, attr);
		node_put_write(i);
	}
	fs_end(fs);
	return error;
}
