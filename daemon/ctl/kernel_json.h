/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What programs in the kernel counted, as JSON: the same whether the daemon is asked, or kfsctl reads the pinned maps
 * because the daemon does not answer. Keys that found no memory are absent.
 */
#ifndef KFS_CTL_KERNEL_JSON_H
#define KFS_CTL_KERNEL_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "daemon/bpf/counters.h"

/* By the names that bpftool shows. */
json_t *kernel_json_bpf(const struct bpf_counters *c);
/* Requests by opcode; names and attributes: asked of the kernel, sent on to the daemon; null: not counted. */
json_t *kernel_json_requests(const struct kernel_counters *c, bool histograms);

#endif
