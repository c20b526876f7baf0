/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Directories written in one go, when all their names are known: linear when one block is
 * enough or dir_index is off, otherwise as a hash tree with evenly filled leaves.
 */
#ifndef KFS_MKFS_DIR_H
#define KFS_MKFS_DIR_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct inode_image;
struct mkfs;

struct dir_name {
	size_t name_at; /* in the pool */
	uint32_t ino;
	uint8_t name_len;
	uint8_t file_type; /* EXT4_FT_* */
};

struct dir {
	uint32_t ino, parent;
	uint32_t blocks_min; /* lost+found is given room in advance */
	struct dir_name *names;
	size_t count, room;
	char *pool;
	size_t pool_len, pool_room;
};

/* Without "." and "..". The name is copied. -ENOMEM. */
MUST_USE int dir_add(struct dir *d, const char *name, uint32_t ino, uint8_t file_type);
void dir_fini(struct dir *d);
/* Allocates and writes its blocks; size, map and flags go into @img, which is not written. */
MUST_USE int dir_write(struct mkfs *m, const struct dir *d, struct inode_image *img);

#endif
