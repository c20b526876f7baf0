/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tables that the BPF programs answer from: names, and attributes of nodes. Only memory: where it lies (mapped maps,
 * or a test's heap) is the caller's business.
 *
 *	tables_init(&t, &opts)
 *	tables_event(t, ev)	what the bus says, in the order in which it says it about one inode
 *
 * Everything may be called by any thread at any time; callers hold the lock that orders the events of an inode (the
 * bus's contract). Nothing blocks but for the few stores of another thread that changes the same set.
 *
 * (1) A slot is either what the store would answer at this moment, or unknown, or not there. Forgetting is always right;
 *     a fill may be refused.
 * (2) A fill whose version is older than what the slot has seen is refused.
 * (3) A directory is complete only while each of its names has a slot. Whoever takes a slot away from a name that exists
 *     or may exist, or does not find one for it, marks the directory incomplete first.
 * (4) Lock order: a set of names, then a set of attributes. Never two sets of one kind.
 */
#ifndef KFS_BPF_TABLES_H
#define KFS_BPF_TABLES_H

#include <stdint.h>

#include "include/kfs/bpf_abi.h"

struct inval_event;

/* The events it wants, as in struct inval_subscriber. */
#define TABLES_KINDS                                                                               \
	((1u << INVAL_KINDS) - 1 - (1u << INVAL_DATA | 1u << INVAL_MAP | 1u << INVAL_FILL_EXTENT))

#define TABLES_LOSS_STRIPES 1024u

struct tables {
	struct kfs_entry_set *entries;
	struct kfs_attr_set *attrs;
	struct kfs_table_stats *stats;
	struct kfs_config config;
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	/* Losses of names by directory: a batch of fills that saw one is no part of a complete directory. */
	_Atomic uint32_t losses[TABLES_LOSS_STRIPES];
};

struct tables_opts {
	struct kfs_entry_set *entries; /* zeroed, config.entry_sets of them */
	struct kfs_attr_set *attrs;
	struct kfs_table_stats *stats;
	struct kfs_config config;
	uint64_t attr_valid; /* seconds that attributes may be kept by the kernel */
	uint32_t attr_valid_nsec;
};

/* How many sets of each kind fit into @bytes. At least one each. */
void tables_sizes(uint64_t bytes, uint32_t *ret_entry_sets, uint32_t *ret_attr_sets);
/* Fills in what of @config follows from its key, for names. */
void tables_config_names(struct kfs_config *config);
/* What stands for a name in its slot, and the set that the slot is in if there is one. */
void tables_name_hash(const struct tables *t, const char *name, uint32_t len, uint64_t ret_hash[2]);
struct kfs_entry_set *tables_entry_set(const struct tables *t, uint64_t parent,
				       const uint64_t hash[2]);
void tables_init(struct tables *t, const struct tables_opts *opts);
void tables_event(struct tables *t, const struct inval_event *ev);
/* Forget everything. */
void tables_clear(struct tables *t);

#endif
