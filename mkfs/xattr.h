/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Extended attributes of a new inode, read from a source file and written in ext4's forms: in
 * the inode as far as they fit, then in one block, values too large for it in inodes of their
 * own where the ea_inode feature allows.
 */
#ifndef KFS_MKFS_XATTR_H
#define KFS_MKFS_XATTR_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct inode_image;
struct mkfs;

struct xattr {
	char *name;	/* without its prefix */
	uint8_t *value; /* as stored */
	uint32_t size;
	uint32_t value_ino; /* 0: not in an inode of its own */
	uint32_t hash;
	uint8_t name_len, index;
};

struct xattrs {
	struct xattr *v;
	size_t count, room;
};

/*
 * Read all attributes of the open file @fd, or with @fd -1 of @path itself (a symlink is not
 * followed). Namespaces that ext4 has no number for are left out. Errors are said.
 */
MUST_USE int xattrs_read(struct xattrs *x, int fd, const char *path);
void xattrs_fini(struct xattrs *x);
/*
 * Store them in @img (which must have no data after i_extra_isize) and in blocks. @name is the
 * file's, for the message when they do not fit.
 */
MUST_USE int xattrs_write(struct mkfs *m, const char *name, struct inode_image *img,
			  struct xattrs *x);

#endif
