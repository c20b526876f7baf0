/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The counters of the BPF programs and of their tables by name, and reading them through a mount's pins
 * (/sys/fs/bpf/kfs/ID): that needs neither the daemon, which may hang, nor libbpf. For root.
 */
#ifndef KFS_BPF_COUNTERS_H
#define KFS_BPF_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "include/kfs/bpf_abi.h"

/* Where pins are: a folder for each mount, named by its id. */
#define BPF_PIN_ROOT "/sys/fs/bpf/kfs"

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

#endif
