/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looking at a name without leaving a trace: nothing is published, no count is raised, no access time moves. The directory's
 * lock and the node's are held together, parent before child, while the caller looks.
 */
#include <string.h>

#include "daemon/fs/fs_priv.h"
#include "daemon/store/dir.h"
#include "daemon/store/xattr.h"

static bool has_acl(struct inode *i)
{
	static const char *const names[] = { "system.posix_acl_access",
					     "system.posix_acl_default" };

	for (size_t k = 0; k < ARRAY_SIZE(names); k++)
		if (xattr_get(i, names[k], NULL, 0) >= 0)
			return true;
	return false;
}

/* Caller holds @i's lock. */
static int peek_node(struct inode *i, struct fs_peek *p)
{
	int error = inode_alive(i);

	if (error)
		return error;
	p->nodeid = inode_nodeid(i);
	attr_fill(i, &p->attr);
	p->has_capability = inode_has_cap(i);
	p->has_acl = has_acl(i);
	return 0;
}

static int peek_root(struct fs *fs, fs_peek_fn fn, void *arg)
{
	struct fs_peek p = { .dir = 0 };
	struct inode *root;
	int error = inode_get(fs->store, EXT4_ROOT_INO, &root);

	if (error)
		return error;
	rwlock_read(&root->lock);
	error = peek_node(root, &p);
	if (!error)
		error = fn(arg, &p);
	rwlock_unread(&root->lock);
	inode_put(root);
	return error;
}

/* Caller holds the lock of @dir; *ret_child is NULL where the name does not exist. */
static int child_of(struct inode *dir, struct fs_name name, struct inode **ret_child)
{
	struct dir_name dname = { .name = name.name, .len = name.len };
	int error;

	*ret_child = NULL;
	error = name_get(dir, &dname, ret_child);
	return error == -ENOENT ? 0 : error;
}

static int peek_name(struct inode *dir, struct fs_name name, fs_peek_fn fn, void *arg)
{
	struct fs_peek p = { .name = name };
	struct inode *child;
	int error;

	rwlock_read(&dir->lock);
	error = child_of(dir, name, &child);
	if (!error) {
		p.dir = inode_nodeid(dir);
		p.dir_version = atomic_load(&dir->version);
	}
	if (child) {
		rwlock_read(&child->lock);
		error = peek_node(child, &p);
	}
	if (!error)
		error = fn(arg, &p);
	if (child)
		rwlock_unread(&child->lock);
	rwlock_unread(&dir->lock);
	if (child)
		inode_put(child);
	return error;
}

/* One step down: takes the reference @dir. */
static int step(struct inode *dir, struct fs_name name, struct inode **ret_child)
{
	int error;

	rwlock_read(&dir->lock);
	error = child_of(dir, name, ret_child);
	rwlock_unread(&dir->lock);
	inode_put(dir);
	if (!error && !*ret_child)
		error = -ENOENT;
	return error;
}

int fs_peek(struct fs *fs, const char *path, fs_peek_fn fn, void *arg)
{
	struct inode *dir;
	struct fs_name name = { .name = path + strspn(path, "/") };
	int error;

	if (!*name.name)
		return peek_root(fs, fn, arg);
	error = inode_get(fs->store, EXT4_ROOT_INO, &dir);
	if (error)
		return error;
	for (;;) {
		const char *next;

		name.len = (uint32_t)strcspn(name.name, "/");
		next = name.name + name.len + strspn(name.name + name.len, "/");
		error = name_is_dot(name) || name_is_dotdot(name) ? -EINVAL : name_check(name);
		if (error || !*next)
			break;
		error = step(dir, name, &dir);
		if (error)
			return error;
		name.name = next;
	}
	if (!error)
		error = peek_name(dir, name, fn, arg);
	inode_put(dir);
	return error;
}
