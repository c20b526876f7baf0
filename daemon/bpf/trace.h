/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Statistics of a mount as the kernel sees it, on kernels that know nothing of kfs: tracing programs (bpf/trace.bpf.c, bpf/walk.bpf.c) on
 * FUSE's own functions and trace points count this mount's requests with their latency from the queue to the reply, and
 * what the kernel answers from its dcache and cached attributes. They change nothing. Off until switched on.
 *
 *	trace_new(&opts, &trace)	when the mount answers
 *	trace_switch(trace, on, ...)	at any time, by any thread; counters begin at 0
 *	trace_free(trace)		detaches and unpins
 *
 * What the running kernel has is looked up in its type information (BTF) and found out by loading: without the trace points
 * nothing can be counted; without one of the functions, or where they may not be traced, a part is missing and @missing
 * says which. Needs CAP_BPF and CAP_PERFMON, or
 * CAP_SYS_ADMIN. When the daemon dies, the programs go with it. A build without libbpf (>= 1.4) has the same functions,
 * which say so.
 */
#ifndef KFS_BPF_TRACE_H
#define KFS_BPF_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/util.h"
#include "daemon/bpf/counters.h"

struct trace;

struct trace_opts {
	const char *mountpoint; /* absolute, resolved; stays the caller's, as the id does */
	const char *id;
	const char *device; /* that the mount goes through; NULL: /dev/fuse */
};

MUST_USE int trace_new(const struct trace_opts *opts, struct trace **ret_trace);
/* On failure @why says why, in words for a person. What is as wanted is left alone. */
MUST_USE int trace_switch(struct trace *t, bool on, char *why, size_t why_len);
/* NULL is fine. */
void trace_free(struct trace *t);

#define TRACE_MISSING_MAX 512

struct trace_state {
	bool on;
	char missing[256]; /* functions that this kernel does not have, "" if none */
	uint64_t missed;   /* events during which a program ran already on that processor */
	struct kernel_counters counters; /* since it was switched on */
};
/* -errno when the counters cannot be read; they are 0 while it is off. */
MUST_USE int trace_get_state(struct trace *t, struct trace_state *ret_state);

#endif
