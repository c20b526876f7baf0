/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The value "system.data" in the inode's tail: where inline files, directories and
 * symlinks keep what does not fit the 60 bytes of i_block. It is no attribute for
 * users: xattr_get() and xattr_list() do not see it.
 *
 * Callers hold the inode's lock: shared to read, exclusive to change. Changes go
 * through inode_ibody_write() into the inode's table block (one credit); the
 * caller inode_write()s size and flags.
 */
#ifndef KFS_STORE_XATTR_IBODY_H
#define KFS_STORE_XATTR_IBODY_H

#include <sys/types.h>

#include "daemon/store/inode.h"

/* Length of the value; copies when size > 0 (-ERANGE when it does not fit). -ENODATA: absent. */
MUST_USE ssize_t xattr_ibody_data_get(struct inode *i, void *buf, size_t size);
/* Create or replace it (length 0 is a value). -ENOSPC: does not fit beside the other attributes. */
MUST_USE int xattr_ibody_data_set(struct handle *h, struct inode *i, const void *value, size_t len);
/* Remove it; absent is fine. */
MUST_USE int xattr_ibody_data_remove(struct handle *h, struct inode *i);
/* The longest value that fits beside the other attributes; -ENOSPC when not even an empty one does. */
MUST_USE int xattr_ibody_data_max(struct inode *i, uint32_t *ret_len);

#endif
