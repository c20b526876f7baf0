/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Extended attributes and ACLs: which names are allowed for whom and on what, and what
 * setting one does to mode and times. Storage is the store's business.
 */
#include "daemon/store/xattr.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/fs/fs_priv.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define CAPABILITY "security.capability"

static bool has_prefix(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

static bool is_acl(const char *name)
{
	return !strcmp(name, ACL_ACCESS) || !strcmp(name, ACL_DEFAULT);
}

/* A name that this mount serves. */
static int xattr_name_check(const struct fs *fs, const char *name)
{
	size_t len = strlen(name);

	if (!len || len > XATTR_NAME_LEN_MAX)
		return -ERANGE;
	if (is_acl(name))
		return fs->opts.posix_acl ? 0 : -EOPNOTSUPP;
	if (has_prefix(name, "user."))
		return fs->store->opts.nouser_xattr ? -EOPNOTSUPP : 0;
	if (has_prefix(name, "trusted.") || has_prefix(name, "security."))
		return 0;
	return -EOPNOTSUPP;
}

ssize_t fs_getxattr(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, const char *name,
		    void *buf, size_t size)
{
	bool is_cap = !strcmp(name, CAPABILITY);
	struct inode *i;
	ssize_t len;
	int error;

	error = xattr_name_check(fs, name);
	if (error)
		return error;
	error = node_get_read(fs, ctx, nodeid, &i);
	if (error)
		return error;
	/* The kernel asks for this one before every first write. */
	if (is_cap && !inode_has_cap(i))
		len = -ENODATA;
	else
		len = xattr_get(i, name, buf, size);
	node_put_read(i);
	return len;
}

static bool is_listed(const struct fs *fs, const struct fs_ctx *ctx, const char *name)
{
	if (has_prefix(name, "trusted.") && ctx->uid != 0)
		return false;
	return xattr_name_check(fs, name) == 0;
}

/* The names of @all that the caller may see, moved to its front. */
static size_t list_filter(const struct fs *fs, const struct fs_ctx *ctx, char *all, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0; at < len;) {
		size_t name_len = strnlen(all + at, len - at) + 1;

		if (at + name_len > len)
			break;
		if (is_listed(fs, ctx, all + at)) {
			memmove(all + kept, all + at, name_len);
			kept += name_len;
		}
		at += name_len;
	}
	return kept;
}

/* Caller holds the lock. */
static ssize_t list_locked(struct fs *fs, const struct fs_ctx *ctx, struct inode *i, char *buf,
			   size_t size)
{
	_cleanup_free_ char *all = NULL;
	ssize_t len = xattr_list(i, NULL, 0);
	size_t kept;

	if (len <= 0)
		return len;
	all = malloc((size_t)len);
	if (!all)
		return -ENOMEM;
	len = xattr_list(i, all, (size_t)len);
	if (len < 0)
		return len;
	kept = list_filter(fs, ctx, all, (size_t)len);
	if (!size)
		return (ssize_t)kept;
	if (kept > size)
		return -ERANGE;
	memcpy(buf, all, kept);
	return (ssize_t)kept;
}

ssize_t fs_listxattr(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, char *buf,
		     size_t size)
{
	struct inode *i;
	ssize_t len;
	int error;

	error = node_get_read(fs, ctx, nodeid, &i);
	if (error)
		return error;
	len = list_locked(fs, ctx, i, buf, size);
	node_put_read(i);
	return len;
}

/* Caller holds the lock. */
static int set_check(const struct fs_setxattr *req, const struct inode *i)
{
	if (inode_check_fixed(i))
		return -EPERM;
	if (is_acl(req->name)) {
		if (inode_is_symlink(i))
			return -EOPNOTSUPP;
		if (!strcmp(req->name, ACL_DEFAULT) && !inode_is_dir(i))
			return req->value ? -EACCES : 0;
	}
	if (has_prefix(req->name, "user.") && !inode_is_reg(i) && !inode_is_dir(i))
		return -EPERM;
	return 0;
}

static int set_acl(struct handle *h, const struct fs_setxattr *req, struct inode *i)
{
	bool is_default = !strcmp(req->name, ACL_DEFAULT);
	uint16_t mode = i->mode;
	int error;

	if (!req->value)
		return acl_set(h, i, is_default, NULL);
	error = acl_set_wire(h, i, is_default, req->value, req->len, &mode);
	if (error)
		return error;
	if (!is_default) {
		if (req->kill_sgid)
			mode &= (uint16_t)~S_ISGID;
		i->mode = mode;
	}
	return 0;
}

static int set_in_handle(struct handle *h, const struct fs_setxattr *req, struct inode *i)
{
	struct xattr_set x = {
		.name = req->name, .value = req->value, .len = req->len, .flags = req->flags
	};
	int error;

	/* Negative answers that are remembered stop being true. */
	if (req->value)
		atomic_fetch_and(&i->state, ~(uint32_t)(INODE_NOXATTR | INODE_NOACL | INODE_NOCAP));
	error = is_acl(req->name) ? set_acl(h, req, i) : xattr_set(h, i, &x);
	if (error)
		return error;
	inode_stamp(i, STAMP_CTIME);
	return inode_write(h, i);
}

static int setxattr_once(struct fs *fs, const struct fs_ctx *ctx, const struct fs_setxattr *req)
{
	int error, stop_error;
	struct inode *i;
	struct handle h;

	error = node_get_write(fs, ctx, req->nodeid, &i);
	if (error)
		return error;
	error = set_check(req, i);
	if (!error)
		error = journal_start(fs->store->journal,
				      xattr_credits(fs->store, req->len) + CREDITS_INODE, &h);
	if (!error) {
		inode_bump(i);
		error = set_in_handle(&h, req, i);
		stop_error = journal_stop(&h);
		publish_inode(fs, ctx, INVAL_XATTR, i);
		publish_inode(fs, ctx, INVAL_ATTR, i);
		error = error ? error : stop_error;
	}
	node_put_write(i);
	return error;
}

int fs_setxattr(struct fs *fs, const struct fs_ctx *ctx, const struct fs_setxattr *req)
{
	unsigned int tries = 0;
	int error = xattr_name_check(fs, req->name);

	if (error)
		return error;
	if (req->value && req->len > XATTR_VALUE_LEN_MAX)
		return -E2BIG;
	do {
		error = fs_begin(fs, ctx);
		if (error)
			return error;
		error = setxattr_once(fs, ctx, req);
		fs_end(fs);
	} while (error == -ENOSPC && fs_make_room(fs, &tries));
	return error;
}
