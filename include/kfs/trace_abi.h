/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tracing programs (bpf/trace.bpf.c, bpf/walk.bpf.c) and their readers share: counters of a mount's requests as the kernel sees
 * them, and of the questions that its own caches answer. Each value exists once for each processor; readers add them up.
 * Counters only grow.
 */
#ifndef KFS_TRACE_ABI_H
#define KFS_TRACE_ABI_H

#include <stdint.h>

/* Opcodes of FUSE are smaller, but for CUSE's, which no mount has. */
#define KFS_KERNEL_OPCODES 64u
/* Bucket b counts latencies in [2^b, 2^(b+1)) ns; the last one the rest. */
#define KFS_KERNEL_BUCKETS 40u

/* Of one opcode. Requests that wait for no reply (FORGET, INTERRUPT) are not here. */
struct kfs_kernel_requests {
	uint64_t requests; /* handed to the queue */
	uint64_t replies;  /* of those, ended, by a reply or without one; the sum of the buckets */
	uint64_t untimed;  /* ended, but nobody saw when they began; not among the replies */
	uint64_t errors;   /* of all that ended */
	uint64_t ns_total; /* from the queue to the reply, of the replies */
	uint64_t ns_max;
	uint64_t bucket[KFS_KERNEL_BUCKETS];
};
_Static_assert(sizeof(struct kfs_kernel_requests) == 0x170, "struct kfs_kernel_requests");

/* Questions of path walks and of stat. A walk that begins again outside of RCU counts once. */
struct kfs_kernel_walk {
	uint64_t names_valid;	/* a cached name, present or absent, and it holds */
	uint64_t names_invalid; /* a cached name that does not */
	uint64_t names_asked;	/* no cached name: the daemon is asked */
	uint64_t getattrs;	/* stat and the like */
	uint64_t permissions;	/* may this user pass, read, ... */
};

/* Which questions are counted at all: written by the daemon, for readers. */
struct kfs_kernel_known {
	uint32_t names, attributes; /* 0: no */
};

/* Set before loading. */
struct kfs_trace_config {
	uint32_t dev; /* the mount's device number as the kernel keeps it */
};

#endif
