/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tables hold of one name and one node, for people: each part read as the programs read it, between two equal
 * and even sequence counts.
 */
#ifndef KFS_BPF_PEEK_H
#define KFS_BPF_PEEK_H

#include <stdbool.h>
#include <stdint.h>

#include "include/kfs/bpf_abi.h"

struct tables;

struct bpf_question {
	uint64_t dir;	  /* nodeid of the directory; 0: no name is asked for */
	const char *name; /* not NUL-terminated */
	uint32_t name_len;
	uint64_t nodeid; /* of the node; 0: none */
};

/* state: KFS_SLOT_*, FREE for "no slot". used: by a program, since the daemon last looked for room. */
struct bpf_entry_view {
	uint8_t state;
	bool used;
	uint64_t nodeid, version;
};
struct bpf_node_view {
	uint8_t state;
	bool used;
	uint64_t version;
	uint32_t flags; /* KFS_NO_*, KFS_DIR_* */
	struct fuse_bpf_attr attr;
};
struct bpf_view {
	struct bpf_entry_view entry;
	struct bpf_node_view node, dir; /* the node asked for, and the directory */
};

void tables_peek(const struct tables *t, const struct bpf_question *q, struct bpf_view *ret_view);

#endif
