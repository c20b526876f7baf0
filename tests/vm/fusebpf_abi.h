/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the test's BPF program and the test's server share: two tables in mmapable arrays, the simplest that can be
 * right. A slot is written by one process, under a sequence count that is odd while it is being written.
 */
#ifndef KFS_TESTS_FUSEBPF_ABI_H
#define KFS_TESTS_FUSEBPF_ABI_H

#include "include/kfs/bpf_abi.h"

#define PROBE_SLOTS 8192u /* a power of two */
#define PROBE_STEPS 8u	  /* a key is within so many slots of its place */
#define PROBE_KEY_0 0x0706050403020100ull
#define PROBE_KEY_1 0x0f0e0d0c0b0a0908ull

/* flags of an attribute slot */
enum {
	PROBE_NO_CAPABILITY = 1u << 0,
	PROBE_NO_ACL = 1u << 1,
	PROBE_HOLE = 1u << 2, /* after extent_len comes a hole of the same length */
};

struct probe_entry_slot {
	uint32_t seq;
	uint32_t used;
	uint64_t parent;
	uint64_t hash[2];
	struct fuse_bpf_entry entry;
};

struct probe_attr_slot {
	uint32_t seq;
	uint32_t used;
	uint64_t nodeid;
	uint32_t flags;
	uint32_t extent_len; /* bytes of the file that lie at extent_phys */
	uint64_t extent_phys;
	struct fuse_bpf_attr attr;
};

struct probe_stats {
	uint64_t lookup_hit;
	uint64_t lookup_negative;
	uint64_t lookup_miss;
	uint64_t lookup_rcu;
	uint64_t getattr_hit;
	uint64_t getattr_miss;
	uint64_t getattr_rcu;
	uint64_t xattr_absent;
	uint64_t extent_hit;
	uint64_t torn;
};

#endif
