/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The requests of one FUSE mount as the kernel sees them, from the queue to the reply, by FUSE's own trace points. Loaded by
 * daemon/bpf/trace.c when somebody wants to know; they only look.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "include/kfs/trace_abi.h"

#include "bpf/trace.bpf.h"

#define MAX_TRIES 8

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct kfs_kernel_known);
} kfs_known SEC(".maps");

static __always_inline void note_max(uint64_t *max, uint64_t ns)
{
	uint64_t had = *max;

	for (int i = 0; i < MAX_TRIES && ns > had; i++) {
		uint64_t now = __sync_val_compare_and_swap(max, had, ns);

		if (now == had)
			break;
		had = now;
	}
}

static __always_inline uint32_t bucket_of(uint64_t ns)
{
	uint32_t bucket = 0;

	if (ns >> 32)
		bucket += 32, ns >>= 32;
	if (ns >> 16)
		bucket += 16, ns >>= 16;
	if (ns >> 8)
		bucket += 8, ns >>= 8;
	if (ns >> 4)
		bucket += 4, ns >>= 4;
	if (ns >> 2)
		bucket += 2, ns >>= 2;
	if (ns >> 1)
		bucket += 1;
	return bucket < KFS_KERNEL_BUCKETS ? bucket : KFS_KERNEL_BUCKETS - 1;
}

SEC("tp_btf/fuse_request_send")
int BPF_PROG(kfs_request_send, struct fuse_req *req)
{
	return request_begins(req);
}

SEC("tp_btf/fuse_request_end")
int BPF_PROG(kfs_request_end, struct fuse_req *req)
{
	uint64_t key = (uint64_t)req, ns;
	struct kfs_kernel_requests *r;
	uint64_t *start;

	if (device_of(req) != config.dev)
		return 0;
	r = requests_of(req);
	if (!r)
		return 0;
	if (req->out.h.error)
		COUNT(r->errors);
	start = bpf_map_lookup_elem(&kfs_starts, &key);
	if (!start) {
		COUNT(r->requests);
		COUNT(r->untimed);
		return 0;
	}
	ns = bpf_ktime_get_ns() - *start;
	bpf_map_delete_elem(&kfs_starts, &key);
	COUNT(r->replies);
	__sync_fetch_and_add(&r->ns_total, ns);
	note_max(&r->ns_max, ns);
	COUNT(r->bucket[bucket_of(ns)]);
	return 0;
}
