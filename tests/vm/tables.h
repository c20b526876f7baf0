/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The test's BPF program and its tables, from the side of the server. Loading and attaching are apart, so that values
 * can be published in between. One writer at a time.
 */
#ifndef KFS_TESTS_TABLES_H
#define KFS_TESTS_TABLES_H

#include "tests/vm/fusebpf_abi.h"

struct probe;

struct tables {
	struct probe *program;
	struct probe_entry_slot *entries; /* mapped; NULL until loaded */
	struct probe_attr_slot *attrs;
};

/*
 * Loads a program for the connection of this device descriptor, in place of one that was loaded before. Without an image
 * (-1) it maps no extents.
 */
int tables_load(struct tables *tables, int dev_fd, int image_fd);
int tables_attach(struct tables *tables);
void tables_detach(struct tables *tables);
int tables_pin(struct tables *tables, const char *path);
int tables_stats(struct tables *tables, struct probe_stats *ret_stats);
void tables_close(struct tables *tables);

/* Nothing happens while no program is loaded; what finds no room stays with the server. */
void tables_set_entry(struct tables *tables, uint64_t parent, const char *name,
		      const struct fuse_bpf_entry *value);
void tables_set_attr(struct tables *tables, uint64_t nodeid, uint32_t flags,
		     const struct fuse_bpf_attr *value);
/* The node's first len bytes are at phys of the image. The attributes have been set. */
void tables_set_extent(struct tables *tables, uint64_t nodeid, uint64_t phys, uint32_t len);
void tables_drop_attr(struct tables *tables, uint64_t nodeid);

#endif
