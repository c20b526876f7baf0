/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Removing names. The last name of an inode puts it on the orphan list in the same
 * handle; what no session knows is deleted at once, the rest by the last forget.
 */
#include "daemon/fs/fs_priv.h"

#include <sys/stat.h>

#include "daemon/base/check.h"
#include "daemon/store/alloc.h"

int inode_drop_link(struct fs *fs, struct handle *h, struct inode *i)
{
	uint32_t links = i->links;
	int error;

	CHECK(links > 0);
	/* First what can fail: afterwards there is nothing to take back. */
	error = inode_write_prepare(h, i);
	if (error)
		return error;
	inode_bump(i);
	i->links = inode_is_dir(i) ? 0 : links - 1;
	if (!i->links) {
		error = orphan_add(h, i);
		if (error) {
			i->links = links;
			return error;
		}
	}
	inode_stamp(i, STAMP_CTIME);
	error = inode_write(h, i);
	if (error)
		journal_fail(h, error);
	if (!i->links)
		inode_mark_unlinked(fs, i);
	return error;
}

void inode_restore_link(struct fs *fs, struct handle *h, struct inode *i, uint32_t links)
{
	int error = 0;

	if (!i->links) {
		inode_clear_unlinked(fs, i);
		error = orphan_del(h, i);
	}
	i->links = links;
	if (!error)
		error = inode_write(h, i);
	if (error)
		journal_fail(h, error);
}

/* One attempt at removing a name: everything locked. */
struct removal {
	struct fs_name name;
	struct dir_name dname;
	struct inode *dir, *child;
	bool want_dir;
	uint16_t child_type; /* known after a failed try-lock, else 0 */
};

/*
 * Lock the directory and what the name names (fs_priv.h, invariants (1) and (2)). 1: the
 * child was busy; its type is known now and its lock was free a moment ago: again.
 */
static int removal_lock(struct removal *r)
{
	struct inode *c;
	uint8_t ftype;
	uint32_t ino;
	int error;

	rwlock_write(&r->dir->lock);
	error = inode_alive(r->dir);
	if (!error && !inode_is_dir(r->dir))
		error = -ENOTDIR;
	if (!error && (r->dir->flags & EXT4_ENCRYPT_FL))
		error = -ENOKEY;
	if (!error)
		error = r->dir->links ? dir_lookup(r->dir, &r->dname, &ino, &ftype) : -ENOENT;
	if (!error)
		error = child_get(r->dir, ino, &c);
	if (error)
		goto out_unlock;
	if (r->child && r->child == c && r->child_type && r->child_type != S_IFDIR) {
		rwlock_write(&c->lock);
	} else if (!rwlock_trywrite(&c->lock)) {
		rwlock_unwrite(&r->dir->lock);
		if (r->child)
			inode_put(r->child);
		r->child = c; /* kept, so that the type belongs to this very inode */
		r->child_type = inode_type(c);
		return 1;
	}
	if (r->child)
		inode_put(r->child);
	r->child = c;
	return 0;

out_unlock:
	rwlock_unwrite(&r->dir->lock);
	return error;
}

/* Both are locked. The order of the answers is the kernel's. */
static int removal_check(const struct removal *r)
{
	bool empty = false;
	int error = inode_alive(r->child);

	if (error == -ESTALE || (!error && !r->child->links))
		return store_corrupt(r->dir->store, r->child->ino, 0,
				     "a name names a deleted inode");
	if (error)
		return error;
	if (inode_check_fixed(r->dir) || inode_check_fixed(r->child))
		return -EPERM;
	if (!r->want_dir)
		return inode_is_dir(r->child) ? -EISDIR : 0;
	if (!inode_is_dir(r->child))
		return -ENOTDIR;
	error = dir_is_empty(r->child, &empty);
	if (error)
		return error;
	return empty ? 0 : -ENOTEMPTY;
}

static int removal_apply(struct fs *fs, const struct fs_ctx *ctx, struct removal *r)
{
	uint32_t links = r->child->links;
	struct handle h;
	int error, stop_error;

	error = journal_start(fs->store->journal,
			      CREDITS_DIR_DEL + 2 * CREDITS_INODE + CREDITS_ORPHAN, &h);
	if (error)
		return error;
	inode_bump(r->dir);
	error = inode_write_prepare(&h, r->dir);
	if (!error)
		error = inode_drop_link(fs, &h, r->child);
	if (!error) {
		error = dir_remove(&h, r->dir, &r->dname);
		if (error)
			inode_restore_link(fs, &h, r->child, links);
	}
	if (!error) {
		if (r->want_dir)
			dir_links_dec(r->dir);
		inode_stamp(r->dir, STAMP_MTIME | STAMP_CTIME);
		error = inode_write_data(&h, r->dir);
		if (error)
			journal_fail(&h, error);
	}
	stop_error = journal_stop(&h);
	/* Also after a failure: caches must not keep what may have changed. */
	publish_name(fs, ctx, INVAL_DELETE, r->dir, r->name, r->child);
	if (error || stop_error) {
		publish_inode(fs, ctx, INVAL_ATTR, r->child);
		publish_inode(fs, ctx, INVAL_ATTR, r->dir);
	} else {
		publish_name(fs, ctx, INVAL_FILL_ENTRY, r->dir, r->name, NULL);
		publish_changed(fs, ctx, r->child);
		publish_changed(fs, ctx, r->dir);
	}
	return error ? error : stop_error;
}

static int remove_once(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name,
		       bool want_dir)
{
	struct removal r = { .name = name,
			     .dname = { .name = name.name, .len = name.len },
			     .want_dir = want_dir };
	bool sync_wanted, gone;
	uint32_t tid;
	int error;

	error = node_get(fs, ctx, dir, &r.dir);
	if (error)
		return error;
	do {
		error = removal_lock(&r);
	} while (error == 1);
	if (error) {
		if (r.child)
			inode_put(r.child);
		inode_put(r.dir);
		return error;
	}
	error = ctx_is_aborted(ctx) ? -EINTR : removal_check(&r);
	if (!error)
		error = removal_apply(fs, ctx, &r);
	gone = !error && !r.child->links;
	rwlock_unwrite(&r.child->lock);
	sync_wanted = inode_is_dirsync(r.dir);
	tid = r.dir->sync_tid;
	node_put_write(r.dir);
	if (gone)
		inode_reap(fs, r.child, true);
	else
		inode_put(r.child);
	return fs_dirsync(fs, sync_wanted, tid, error);
}

static int remove_name(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name,
		       bool want_dir)
{
	int error = name_check(name);

	if (error)
		return error;
	error = fs_begin(fs, ctx);
	if (error)
		return error;
	error = remove_once(fs, ctx, dir, name, want_dir);
	fs_end(fs);
	return error;
}

int fs_unlink(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name)
{
	if (name_is_dot(name) || name_is_dotdot(name))
		return -EISDIR;
	return remove_name(fs, ctx, dir, name, false);
}

int fs_rmdir(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name)
{
	if (name_is_dot(name))
		return -EINVAL;
	if (name_is_dotdot(name))
		return -ENOTEMPTY;
	return remove_name(fs, ctx, dir, name, true);
}
