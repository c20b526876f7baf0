/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A filesystem in the making. Everything is placed and written by one thread, in this order:
 *
 *	layout_place()		superblock copies, descriptors, bitmaps, inode tables
 *	write_prepare()		old signatures wiped, inode tables zeroed where they must be
 *	special_make()		resize inode, journal, orphan file, mmp block
 *	populate()		the root directory and what -d copies
 *	write_finish()		bitmaps, descriptors, superblock copies; the primary last
 *
 * Until the very last write the target holds no superblock, so a formatting that was cut off
 * leaves nothing that could be mounted by mistake.
 */
#ifndef KFS_MKFS_MKFS_H
#define KFS_MKFS_MKFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "daemon/base/util.h"
#include "include/kfs/ext4_format.h"
#include "mkfs/geometry.h"
#include "mkfs/space.h"

struct bdev;
struct mkfs_options;

struct group_place {
	uint64_t block_bitmap, inode_bitmap, inode_table;
	uint32_t dirs_used;
	bool table_zeroed;
};

struct mkfs {
	const struct mkfs_options *opts;
	struct geometry geo;
	struct space space;
	struct group_place *groups;
	struct bdev *bdev; /* NULL with -n */
	int source_fd;	   /* the directory of -d, or -1 */
	bool zeroed;	   /* the target reads as zeros wherever nothing was written */
	struct timespec now;
	uint8_t uuid[16];
	uint8_t hash_seed[16];
	uint32_t csum_seed;
	uint32_t ino_next; /* inodes are handed out in ascending order */
	uint32_t orphan_ino;
	uint32_t lost_found_ino;
	uint64_t mmp_block;
	uint64_t overhead;	 /* blocks that never hold user data */
	uint64_t data_goal;	 /* where the next file's blocks are looked for */
	le32 journal_backup[17]; /* i_block and size of the journal inode */
};

/* An inode as it lies on disk, of any inode size. */
struct inode_image {
	union {
		struct ext4_inode inode;
		uint8_t raw[4096];
	};
};

/* A contiguous piece of a file. */
struct run {
	uint32_t lblk;
	uint32_t len;
	uint64_t pblk;
};

struct runs {
	struct run *v;
	size_t count, room;
};

/* format.c: the whole of it. What went wrong has been said. */
MUST_USE int mkfs_run(const struct mkfs_options *o);

/* layout.c */
MUST_USE int layout_place(struct mkfs *m);

/* write.c */
MUST_USE int write_block(struct mkfs *m, uint64_t pblk, const void *data);
MUST_USE int write_zeros(struct mkfs *m, uint64_t pblk, uint64_t count);
MUST_USE int write_prepare(struct mkfs *m);
MUST_USE int write_finish(struct mkfs *m);

/* inode.c */
/* A number for a new inode; its table is ready for inode_write(). -ENOSPC, said. */
MUST_USE int inode_alloc(struct mkfs *m, bool is_dir, uint32_t *ret_ino);
/* Zeroed but for mode, links, owner 0 and all four times set to now. */
void inode_init(const struct mkfs *m, struct inode_image *img, uint32_t mode, uint32_t links);
void inode_set_size(struct mkfs *m, struct inode_image *img, uint64_t size);
void inode_set_owner(struct inode_image *img, uint32_t uid, uint32_t gid);
/* @time points to i_atime and the like; @extra to its second half or NULL. */
void inode_set_times(const struct mkfs *m, struct inode_image *img, const struct timespec *atime,
		     const struct timespec *mtime, const struct timespec *ctime);
/* Adds to i_blocks; -EFBIG when the field cannot hold it. */
MUST_USE int inode_add_blocks(const struct mkfs *m, struct inode_image *img, uint64_t count);
/* Fills in the checksum and writes it to its place. */
MUST_USE int inode_write(struct mkfs *m, uint32_t ino, struct inode_image *img);
MUST_USE int inode_read(struct mkfs *m, uint32_t ino, struct inode_image *img);
/* crc32c over what every checksum of this inode's blocks begins with. */
uint32_t inode_csum_seed(const struct mkfs *m, uint32_t ino, uint32_t generation);
bool inode_has_extra(const struct mkfs *m);

/* mapping.c */
MUST_USE int runs_add(struct runs *runs, uint32_t lblk, uint64_t pblk, uint32_t len);
void runs_fini(struct runs *runs);
/* Allocate @count blocks for [lblk, lblk+count), as few runs as there is room for. -ENOSPC. */
MUST_USE int runs_alloc(struct mkfs *m, struct runs *runs, uint32_t lblk, uint64_t count,
			uint64_t *goal);
/* One block anywhere near @goal, marked used. -ENOSPC. */
MUST_USE int block_alloc(struct mkfs *m, uint64_t goal, uint64_t *ret_pblk);
/*
 * Write the block map of @ino (extent tree, or indirect blocks without that feature) into the
 * inode and into blocks allocated after the data, and count all blocks in i_blocks.
 */
MUST_USE int mapping_write(struct mkfs *m, uint32_t ino, struct inode_image *img,
			   const struct runs *runs);

/* special.c */
MUST_USE int special_make(struct mkfs *m);

/* populate.c */
MUST_USE int populate(struct mkfs *m);

#endif
