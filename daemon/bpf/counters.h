/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The counters of the BPF programs and of their tables by name, and reading them through a mount's pins
 * (daemon/bpf/pins.h): that needs neither the daemon, which may hang, nor libbpf. For root.
 */
#ifndef KFS_BPF_COUNTERS_H
#define KFS_BPF_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "include/kfs/bpf_abi.h"
#include "include/kfs/trace_abi.h"

struct bpf_counters {
	struct kfs_answers answers; /* sums over the processors */
	struct kfs_table_stats tables;
};

/* -ENOENT: no pins, so no BPF. -EACCES, -EPERM: not for this caller. */
MUST_USE int counters_read(const char *id, struct bpf_counters *ret_counters);
/* Answers that took the place of a request. */
uint64_t counters_avoided(const struct bpf_counters *c);
/* The names and values one after the other: NULL after the last. */
const char *counters_at(const struct bpf_counters *c, size_t index, uint64_t *ret_value);

/* A mount's statistics as the kernel sees it (daemon/bpf/trace.h): sums over the processors. */
struct kernel_counters {
	struct kfs_kernel_requests ops[KFS_KERNEL_OPCODES];
	struct kfs_kernel_walk walk;
	struct kfs_kernel_known known;
};

struct kernel_maps {
	int requests, walk, known; /* open */
};
/* Through the pins, errors as above; or through open maps. */
MUST_USE int kernel_counters_read(const char *id, struct kernel_counters *ret_counters);
MUST_USE int kernel_counters_of(const struct kernel_maps *maps,
				struct kernel_counters *ret_counters);
/* FUSE's name of an opcode; NULL: none that is known. */
const char *kernel_opcode_name(uint32_t opcode);

#endif
