// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two ends of an inode's life.
 *
 * Deletion, so that a crash at any point is finished by recovery: the inode is on the
 * orphan list with links 0; its blocks go, then its attributes, in as many
 * transactions as it takes; one last handle takes it off the list, marks the slot
 * deleted and frees the number.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "daemon/base/check.h"
#include "daemon/store/alloc.h"
#include "daemon/store/icache.h"
#include "daemon/store/map.h"
#include "daemon/store/xattr.h"

/* Flags that a new inode takes from its directory, and which of them suit what it is. */
#define FLAGS_INHERITED                                                                            \
	(EXT4_SECRM_FL | EXT4_UNRM_FL | EXT4_COMPR_FL | EXT4_SYNC_FL | EXT4_NODUMP_FL |            \
	 EXT4_NOATIME_FL | EXT4_NOCOMPR_FL | EXT4_JOURNAL_DATA_FL | EXT4_NOTAIL_FL |               \
	 EXT4_DIRSYNC_FL | EXT4_PROJINHERIT_FL | EXT4_DAX_FL)
#define FLAGS_FILE (~(uint32_t)(EXT4_DIRSYNC_FL | EXT4_TOPDIR_FL | EXT4_PROJINHERIT_FL))
#define FLAGS_OTHER (EXT4_NODUMP_FL | EXT4_NOATIME_FL)

/* orphan + slot + inode bitmap and descriptor */
#define CREDITS_RELEASE (CREDITS_ORPHAN + CREDITS_INODE + CREDITS_ALLOC)

static uint32_t inherited_flags(uint16_t mode, uint32_t parent_flags)
{
	uint32_t flags = parent_flags & FLAGS_INHERITED;

	switch (mode & EXT4_S_IFMT) {
	case EXT4_S_IFDIR: return flags;
	case EXT4_S_IFREG: return flags & FLAGS_FILE;
	default: return flags & FLAGS_OTHER;
	}
}

static void set_up(struct inode *i, const struct inode_init *init)
{
	i->mode = init->mode;
	i->uid = init->uid;
	i->gid = init->gid;
	i->projid = init->projid;
	i->rdev = init->rdev;
	i->flags = inherited_flags(init->mode, init->flags_inherit);
	i->extra_isize = (uint16_t)i->store->want_extra_isize;
	i->atime_s = i->mtime_s = i->ctime_s = i->crtime_s = init->now_s;
	i->atime_ns = i->mtime_ns = i->ctime_ns = i->crtime_ns = init->now_ns;
	if (inode_is_reg(i) || inode_is_dir(i) || inode_is_symlink(i))
		map_init(i);
}

int inode_create(struct handle *h, struct inode *dir, const struct inode_init *init,
		 struct inode **ret_inode)
{
	struct store *s = dir->store;
	bool is_dir = (init->mode & EXT4_S_IFMT) == EXT4_S_IFDIR;
	struct inode *i;
	uint32_t ino;
	int ret;

	ret = ialloc(h, dir, is_dir, &ino);
	if (ret)
		return ret;
	ret = icache_insert_new(s, ino, &i);
	/* A number in use that its bitmap calls free stays marked: it is in use. */
	if (ret == -EUCLEAN)
		return ret;
	if (ret) {
		(void)ialloc_free(h, s, ino, is_dir); /* the first error is the one to tell */
		return ret;
	}
	set_up(i, init);
	*ret_inode = i;
	return 0;
}

int inode_release_number(struct handle *h, struct inode *i)
{
	int64_t now = time(NULL);
	int ret;

	i->size = 0;
	ret = inode_write_deleted(h, i, (uint32_t)MAX(now, (int64_t)1));
	if (ret)
		return ret;
	icache_remove(i);
	return ialloc_free(h, i->store, i->ino, inode_is_dir(i));
}

static int release(struct inode *i)
{
	struct handle h;
	int ret, stop_ret;

	ret = journal_start(i->store->journal, CREDITS_XATTR + CREDITS_RELEASE, &h);
	if (ret)
		return ret;
	ret = xattr_delete_all(&h, i);
	/* Attributes may have needed transactions of their own; what is left fits in one. */
	if (!ret && h.credits < CREDITS_RELEASE) {
		ret = journal_extend(&h, CREDITS_RELEASE);
		ret = ret > 0 ? 0 : ret;
	}
	/* The slot's buffer joins first: once it is no orphan, writing the slot cannot fail. */
	if (!ret)
		ret = inode_write(&h, i);
	if (!ret)
		ret = orphan_del(&h, i);
	if (!ret)
		ret = inode_release_number(&h, i);
	stop_ret = journal_stop(&h);
	return ret ? ret : stop_ret;
}

static int release_again(struct inode *i)
{
	struct handle h;
	int ret, stop_ret;

	ret = journal_start(i->store->journal, CREDITS_INODE + CREDITS_ALLOC, &h);
	if (ret)
		return ret;
	ret = inode_release_number(&h, i);
	stop_ret = journal_stop(&h);
	return ret ? ret : stop_ret;
}

int inode_delete_try(struct inode *i)
{
	int ret;

	CHECK(rwlock_is_write_locked(&i->lock));
	CHECK(i->links == 0);
	balloc_release_resv(i);
	/* Tried before, and nothing but its number is left. */
	if (atomic_load(&i->state) & INODE_FREED)
		return release_again(i);
	ret = inode_truncate_all(i);
	if (!ret)
		ret = release(i);
	return ret;
}

int inode_delete(struct inode *i)
{
	int ret = inode_delete_try(i);

	rwlock_unwrite(&i->lock);
	inode_put(i);
	return ret;
}
