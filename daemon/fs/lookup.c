/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names to inodes, and back to parents for file handles.
 *
 * One lock at a time: the directory's while the name is read and the child
 * referenced, then the child's for its attributes and count. Between the two the
 * child may lose its last link; then the name has gone too and is looked up again.
 */
#include "daemon/fs/fs_priv.h"

#include <limits.h>

#include "daemon/base/check.h"

static int dir_readable(const struct inode *dir)
{
	/* Names are ciphertext and no key ever reaches us. */
	return dir->flags & EXT4_ENCRYPT_FL ? -ENOKEY : 0;
}

/* What @name names: a reference, or NULL for nothing. Takes and releases the lock. */
static int lookup_child(struct fs *fs, const struct fs_ctx *ctx, struct inode *dir,
			struct fs_name name, struct inode **ret_child)
{
	struct dir_name dname = { .name = name.name, .len = name.len };
	struct inode *child = NULL;
	uint8_t ftype;
	uint32_t ino;
	int error;

	rwlock_read(&dir->lock);
	error = inode_alive(dir);
	if (!error && !inode_is_dir(dir))
		error = -ENOTDIR;
	if (!error)
		error = dir_readable(dir);
	if (!error)
		error = dir->links ? dir_lookup(dir, &dname, &ino, &ftype) : -ENOENT;
	if (!error)
		error = child_get(dir, ino, &child);
	if (error == -ENOENT)
		error = 0;
	if (!error)
		publish_name(fs, ctx, INVAL_FILL_ENTRY, dir, name, child);
	rwlock_unread(&dir->lock);
	*ret_child = child;
	return error;
}

int fs_lookup(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name,
	      struct fs_entry *ret_entry)
{
	struct inode *parent, *child;
	int error;

	if (name_is_dot(name))
		return fs_lookup_self(fs, ctx, dir, ret_entry);
	if (name_is_dotdot(name))
		return fs_lookup_parent(fs, ctx, dir, ret_entry);
	error = name_check(name);
	if (error)
		return error;
	error = node_get(fs, ctx, dir, &parent);
	if (error)
		return error;
	for (int tries = 0; tries < LOOKUP_RETRIES_MAX; tries++) {
		error = lookup_child(fs, ctx, parent, name, &child);
		if (error)
			break;
		if (!child) {
			*ret_entry = (struct fs_entry){ .nodeid = 0 };
			break;
		}
		rwlock_read(&child->lock);
		error = inode_alive(child);
		if (!error && !child->links)
			error = -ESTALE;
		if (!error)
			error = entry_fill(fs, ctx, child, ret_entry);
		node_put_read(child);
		if (error != -ESTALE)
			break;
	}
	inode_put(parent);
	return error;
}

int fs_lookup_self(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		   struct fs_entry *ret_entry)
{
	struct inode *i;
	int error = node_get_read(fs, ctx, nodeid, &i);

	if (error)
		return error;
	/* A handle must not reach what has no name of its own. */
	error = i->flags & EXT4_EA_INODE_FL ? -ESTALE : entry_fill(fs, ctx, i, ret_entry);
	node_put_read(i);
	return error;
}

/* The directory above @dir, which is not the root. Takes and releases @dir's lock. */
static int climb_one(struct inode *dir, struct inode **ret_parent)
{
	uint32_t ino;
	int error;

	rwlock_read(&dir->lock);
	error = inode_alive(dir);
	if (!error && !inode_is_dir(dir))
		error = store_corrupt(dir->store, dir->ino, 0, "a parent is not a directory");
	if (!error)
		error = dir_parent(dir, &ino);
	if (!error)
		error = parent_get(dir, ino, ret_parent);
	rwlock_unread(&dir->lock);
	return error;
}

int dir_climb(struct inode *start, const uint32_t stop[2], bool ret_met[2])
{
	uint64_t steps = 0, power = 1;
	uint32_t mark = 0;
	struct inode *dir = start;
	int error = 0;

	ret_met[0] = ret_met[1] = false;
	inode_ref(dir);
	for (;;) {
		struct inode *parent;

		for (int k = 0; k < 2; k++)
			ret_met[k] = ret_met[k] || dir->ino == stop[k];
		if (dir->ino == EXT4_ROOT_INO)
			break;
		/* Directories wired in a circle (Brent's cycle test). */
		if (dir->ino == mark) {
			error = store_corrupt(dir->store, dir->ino, 0,
					      "a directory is below itself");
			break;
		}
		if (++steps == power) {
			mark = dir->ino;
			power *= 2;
		}
		error = climb_one(dir, &parent);
		if (error)
			break;
		inode_put(dir);
		dir = parent;
	}
	inode_put(dir);
	return error;
}

/*
 * A share of a subdirectory must not be left through "..": a directory that was moved
 * out of it is stale for that session.
 */
static int parent_inside(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid)
{
	uint32_t stop[2] = { (uint32_t)ctx->session->root_nodeid, 0 };
	struct inode *dir;
	bool met[2];
	int error;

	if (ctx->session->root_nodeid == FS_ROOT_NODEID)
		return 0;
	error = node_get(fs, ctx, nodeid, &dir);
	if (error)
		return error;
	error = dir_climb(dir, stop, met);
	inode_put(dir);
	if (error)
		return error;
	return met[0] ? 0 : -ESTALE;
}

/* The inode of @dir's ".."; itself for the session's root. */
static int parent_of(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		     struct inode **ret_parent)
{
	struct inode *dir;
	uint32_t ino;
	int error = node_get_dir_read(fs, ctx, nodeid, &dir);

	if (error)
		return error;
	if (session_is_root(ctx->session, dir)) {
		rwlock_unread(&dir->lock);
		*ret_parent = dir;
		return 0;
	}
	error = dir->links ? dir_parent(dir, &ino) : -ESTALE;
	if (!error)
		error = parent_get(dir, ino, ret_parent);
	node_put_read(dir);
	return error;
}

int fs_lookup_parent(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		     struct fs_entry *ret_entry)
{
	struct inode *parent;
	int error;

	error = parent_inside(fs, ctx, nodeid);
	if (!error)
		error = parent_of(fs, ctx, nodeid, &parent);
	if (error)
		return error;
	rwlock_read(&parent->lock);
	error = inode_alive(parent);
	if (!error && !inode_is_dir(parent))
		error = store_corrupt(fs->store, parent->ino, 0, "a parent is not a directory");
	if (!error)
		error = entry_fill(fs, ctx, parent, ret_entry);
	node_put_read(parent);
	return error;
}

int fs_readlink(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, char *buf, uint32_t size,
		uint32_t *ret_len)
{
	struct inode *i;
	int error = node_get_read(fs, ctx, nodeid, &i);

	if (error)
		return error;
	if (!inode_is_symlink(i))
		error = -EINVAL;
	else if (i->flags & EXT4_ENCRYPT_FL)
		error = -ENOKEY;
	else
		error = symlink_read(i, buf, size, ret_len);
	rwlock_unread(&i->lock);
	if (!error)
		atime_touch(fs, ctx, i);
	inode_put(i);
	return error;
}
