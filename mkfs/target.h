/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The image file or device that is to be formatted. It is looked at first, without touching
 * anything; opened for writing only when all else is known to be possible. Opening refuses
 * what is in use, and what holds a filesystem or a partition table unless forced.
 */
#ifndef KFS_MKFS_TARGET_H
#define KFS_MKFS_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/base/util.h"

struct bdev;
struct mkfs_options;

struct target {
	uint64_t size;	      /* bytes for the filesystem: as asked, or all behind the offset */
	uint32_t sector_size; /* of a device; 0: a file */
	bool exists;
	bool created; /* by us: removed again when formatting fails */
	bool zeros;   /* reads as zeros wherever nothing was written since */
	dev_t dev;    /* of the opened file, so that -d can leave it out */
	ino_t ino;
};

/* Fails, said, when there is nothing to format or no size to go by. Touches nothing. */
MUST_USE int target_look(const struct mkfs_options *o, struct target *ret_target);
/* Creates or grows a file to hold @bytes, checks, wipes old signatures, discards. Says why not. */
MUST_USE int target_open(const struct mkfs_options *o, struct target *t, uint64_t bytes,
			 struct bdev **ret_bdev);
/* Remove a file that target_open() created. */
void target_undo(const struct mkfs_options *o, const struct target *t);

#endif
