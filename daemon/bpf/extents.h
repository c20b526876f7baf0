/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of where bytes of files lie in the image, from which the kernel reads them. Only memory, as tables.h.
 *
 *	extents_init(&x, &opts)
 *	extents_event(x, ev)	what the bus says
 *
 * Whoever publishes holds the inode's lock: shared for INVAL_FILL_EXTENT, exclusively for what takes extents away. So a
 * fill is never late, and versions are not needed. Nothing blocks but for the few stores of another thread that changes
 * the same set.
 *
 * (1) What is here of a file is what the store would say at this moment.
 * (2) A window's slot counts only while the file's head has the birth that is in it; no birth is given twice.
 * (3) One set is locked at a time.
 */
#ifndef KFS_BPF_EXTENTS_H
#define KFS_BPF_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "include/kfs/bpf_abi.h"

struct inval_event;

/* The events it wants, as in struct inval_subscriber. */
#define EXTENTS_KINDS                                                                              \
	(1u << INVAL_MAP | 1u << INVAL_FILL_EXTENT | 1u << INVAL_ATTR | 1u << INVAL_INODE_GONE |   \
	 1u << INVAL_ALL)

struct extents {
	struct kfs_extent_set *sets;
	struct kfs_table_stats *stats;
	uint32_t count;
	uint64_t image_off;
	bool until_attr;
	_Atomic uint64_t births;
};

struct extents_opts {
	struct kfs_extent_set *sets; /* zeroed, count of them */
	struct kfs_table_stats *stats;
	uint32_t count;
	uint64_t image_off; /* where in the image's file the store begins */
	/* Forget a file when its attributes change: reading it moves its access time then. */
	bool until_attr;
};

/* How many sets fit into @bytes. At least one. */
uint32_t extents_sets(uint64_t bytes);
void extents_init(struct extents *x, const struct extents_opts *opts);
void extents_event(struct extents *x, const struct inval_event *ev);

#endif
