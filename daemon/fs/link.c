/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Another name for a file; the first one for an unnamed file. Directories have one
 * name only, so the inode that is linked comes after the directory in every order.
 */
#include "daemon/fs/fs_priv.h"

#include <sys/stat.h>

#include "daemon/store/alloc.h"

/* Both are locked exclusively. */
static int link_check(const struct inode *i, struct inode *dir, struct fs_name name)
{
	int error = inode_alive(i);

	if (error)
		return error;
	error = dir_check_add(dir, name, false);
	if (error)
		return error;
	if (inode_check_fixed(i))
		return -EPERM;
	if (!i->links && !(atomic_load(&i->state) & INODE_LINKABLE))
		return -ENOENT;
	if (i->links >= EXT4_LINK_MAX)
		return -EMLINK;
	if ((dir->flags & EXT4_PROJINHERIT_FL) && dir->projid != i->projid)
		return -EXDEV;
	return 0;
}

static int link_in_handle(struct fs *fs, struct handle *h, struct inode *i, struct inode *dir,
			  struct fs_name name)
{
	struct dir_name dname = { .name = name.name, .len = name.len };
	int error, undo;

	error = inode_write_prepare(h, i);
	if (!error)
		error = inode_write_prepare(h, dir);
	/* The name first: the one step that fails for want of room, with nothing done before it. */
	if (!error)
		error = dir_add(h, dir, &dname, i->ino, ftype_from_mode(i->mode));
	if (error)
		return error;
	if (!i->links) {
		error = orphan_del(h, i);
		if (error) {
			undo = dir_remove(h, dir, &dname);
			if (!undo)
				undo = inode_write_data(h, dir); /* it may have grown */
			if (undo)
				journal_fail(h, undo);
			return error;
		}
		atomic_fetch_and(&i->state, ~(uint32_t)INODE_LINKABLE);
		i->links = 1;
		inode_clear_unlinked(fs, i);
	} else {
		i->links++;
	}
	inode_stamp(i, STAMP_CTIME);
	error = inode_write(h, i);
	inode_stamp(dir, STAMP_MTIME | STAMP_CTIME);
	if (!error)
		error = inode_write_data(h, dir);
	if (error)
		journal_fail(h, error);
	return error;
}

static int link_apply(struct fs *fs, const struct fs_ctx *ctx, struct inode *i, struct inode *dir,
		      struct fs_name name)
{
	struct handle h;
	int error, stop_error;

	error = journal_start(fs->store->journal, CREDITS_DIR_ADD + CREDITS_INODE + CREDITS_ORPHAN,
			      &h);
	if (error)
		return error;
	inode_bump(i);
	inode_bump(dir);
	error = link_in_handle(fs, &h, i, dir, name);
	stop_error = journal_stop(&h);
	publish_name(fs, ctx, INVAL_ENTRY, dir, name, i);
	publish_inode(fs, ctx, INVAL_ATTR, i);
	if (error || stop_error) {
		publish_inode(fs, ctx, INVAL_ATTR, dir);
	} else {
		publish_changed(fs, ctx, dir);
		publish_name(fs, ctx, INVAL_FILL_ENTRY, dir, name, i);
	}
	return error ? error : stop_error;
}

static int link_once(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t newdir,
		     struct fs_name name, struct fs_entry *ret_entry)
{
	bool sync_wanted = false;
	struct inode *i, *dir;
	uint32_t tid = 0;
	int error;

	error = node_get(fs, ctx, nodeid, &i);
	if (error)
		return error;
	/* Its type first: a directory must not be locked below another one. */
	if (inode_type(i) == S_IFDIR) {
		inode_put(i);
		return -EPERM;
	}
	error = node_get_dir_write(fs, ctx, newdir, &dir);
	if (error) {
		inode_put(i);
		return error;
	}
	rwlock_write(&i->lock);
	error = link_check(i, dir, name);
	if (!error)
		error = link_apply(fs, ctx, i, dir, name);
	if (!error)
		error = entry_fill(fs, ctx, i, ret_entry);
	node_put_write(i);
	sync_wanted = inode_is_dirsync(dir);
	tid = dir->sync_tid;
	node_put_write(dir);
	return fs_dirsync(fs, sync_wanted, tid, error);
}

int fs_link(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t dir,
	    struct fs_name name, struct fs_entry *ret_entry)
{
	struct fs_entry entry = { .nodeid = 0 };
	unsigned int tries = 0;
	int error = name_check(name);

	if (error)
		return error;
	if (name_is_dot(name) || name_is_dotdot(name))
		return -EEXIST;
	do {
		error = fs_begin(fs, ctx);
		if (error)
			return error;
		error = link_once(fs, ctx, nodeid, dir, name, &entry);
		fs_end(fs);
	} while (error == -ENOSPC && fs_make_room(fs, &tries));
	if (!error)
		*ret_entry = entry;
	else if (entry.nodeid)
		nodes_unraise(fs, ctx->session, entry.nodeid);
	return error;
}
