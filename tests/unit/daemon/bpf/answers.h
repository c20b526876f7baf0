/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The BPF programs' own lines (bpf/answer.bpf.h), compiled for this machine and run over tables in memory. FUSE_BPF_ANSWERED
 * or FUSE_BPF_UPCALL; results are written with the first only. Loads are atomic, so a thread sanitizer can watch.
 */
#ifndef KFS_TESTS_BPF_ANSWERS_H
#define KFS_TESTS_BPF_ANSWERS_H

#include <stdint.h>

#include "daemon/bpf/extents.h"
#include "daemon/bpf/tables.h"

struct answers_name {
	uint64_t parent;
	const char *name;
	uint32_t len;
};

/* Tables of this many sets in memory of their own, zeroed. */
struct tables *answers_tables_new(uint32_t entry_sets, uint32_t attr_sets);
void answers_tables_free(struct tables *t);

int answers_lookup(const struct tables *t, struct kfs_answers *counts,
		   const struct answers_name *name, struct fuse_bpf_entry *ret_entry,
		   struct fuse_bpf_attr *ret_attr);
int answers_getattr(const struct tables *t, struct kfs_answers *counts, uint64_t nodeid,
		    struct fuse_bpf_attr *ret_attr);
int answers_xattr(const struct tables *t, struct kfs_answers *counts, uint64_t nodeid,
		  uint32_t kind);

/* The same for extents, of an image that begins here. */
#define ANSWERS_IMAGE_OFF 4096
struct extents *answers_extents_new(uint32_t sets, bool until_attr);
void answers_extents_free(struct extents *x);

struct answers_place {
	uint64_t nodeid, pos, now_ns;
};
struct answers_extent {
	uint64_t phys, len;
};
int answers_extent(const struct extents *x, struct kfs_answers *counts,
		   const struct answers_place *place, struct answers_extent *ret_extent);

#endif
