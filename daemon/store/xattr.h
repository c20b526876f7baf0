/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Extended attributes: in the inode's tail, in one (shareable) block, and, with
 * ea_inode, large values in inodes of their own. POSIX ACLs are stored in ext4's
 * compact form and handed out in the system call's (acl.c).
 *
 * Names are full ("user.x", "security.capability", "system.posix_acl_access",
 * "trusted.x"). Callers hold the inode's lock: shared for get and list, exclusive
 * for set. Limits: name 255, value 64 KiB with ea_inode, else what fits the block.
 */
#ifndef KFS_STORE_XATTR_H
#define KFS_STORE_XATTR_H

#include "daemon/store/inode.h"

#define XATTR_NAME_LEN_MAX 255
#define XATTR_VALUE_LEN_MAX 65536

/* Value length; copies when size > 0 (-ERANGE when it does not fit). -ENODATA absent, -EOPNOTSUPP unknown prefix. */
MUST_USE ssize_t xattr_get(struct inode *i, const char *name, void *buf, size_t size);
/* Length of all names with their NULs; copies when size > 0. */
MUST_USE ssize_t xattr_list(struct inode *i, char *buf, size_t size);

enum { XATTR_SET_CREATE = 1, XATTR_SET_REPLACE = 2 }; /* as XATTR_CREATE, XATTR_REPLACE */
struct xattr_set {
	const char *name;
	const void *value; /* NULL removes */
	size_t len;
	int flags;
};
/*
 * CREDITS_XATTR + value blocks (xattr_credits()). Updates the inode in memory
 * (caller inode_write()s). -ENOSPC, -EEXIST, -ENODATA, -EOPNOTSUPP.
 */
MUST_USE int xattr_set(struct handle *h, struct inode *i, const struct xattr_set *x);
uint32_t xattr_credits(const struct store *s, size_t value_len);
/* Free xattr block and ea_inodes of an inode being deleted. Inside inode_delete()'s handle; may restart it. */
MUST_USE int xattr_delete_all(struct handle *h, struct inode *i);

/* Memory of blocks that inodes with equal attributes share; store_open() and _close() call these. */
struct xattr_cache;
MUST_USE int xattr_cache_new(struct xattr_cache **ret_cache);
void xattr_cache_free(struct xattr_cache *c);

/* acl.c */
struct acl_entry {
	uint16_t tag, perm; /* ACL_USER_OBJ ... as <linux/posix_acl.h> */
	uint32_t id;
};
#define ACL_ENTRIES_MAX 1024
struct acl {
	uint32_t count;
	struct acl_entry e[];
};
/* *ret_acl NULL when there is none. Freed with free(). */
MUST_USE int acl_get(struct inode *i, bool is_default, struct acl **ret_acl);
/*
 * For a new inode in @dir: apply the default ACL to *mode (umask when there is
 * none), and give what to store on the new inode (either may be NULL).
 */
MUST_USE int acl_inherit(struct inode *dir, uint16_t *mode, uint16_t umask, struct acl **ret_access,
			 struct acl **ret_default);
MUST_USE int acl_set(struct handle *h, struct inode *i, bool is_default, const struct acl *acl);
/* chmod: rewrite the mask/owner/other entries of a stored access ACL, if there is one. */
MUST_USE int acl_chmod(struct handle *h, struct inode *i, uint16_t mode);
/* setxattr of system.posix_acl_access with wire data: validate, store compactly, fold into *ret_mode. */
MUST_USE int acl_set_wire(struct handle *h, struct inode *i, bool is_default, const void *value,
			  size_t len, uint16_t *ret_mode);

#endif
