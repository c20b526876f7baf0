/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What trace.bpf.c and walk.bpf.c have in common: the kernel's types as far as they are used, declared by hand and relocated
 * (CO-RE); the maps, which the loader makes one for both; counting.
 *
 * Programs of other mounts run as well at each event: the first thing is to look whose it is. A request is known by its
 * address from the queue to the end. One that is given up before the daemon took it ends without an event: its start stays
 * in the map until the address is used again or room is needed.
 */
#ifndef KFS_TRACE_BPF_H
#define KFS_TRACE_BPF_H

/* Requests under way at once; more than any max_background and queue of callers. */
#define STARTS_MAX 16384

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	uint32_t s_dev;
};

struct inode {
	struct super_block *i_sb;
};

struct dentry {
	struct super_block *d_sb;
};

struct path {
	struct dentry *dentry;
};

struct fuse_conn {
	uint32_t dev;
};

struct fuse_mount {
	struct fuse_conn *fc;
};

struct fuse_in_header {
	uint32_t opcode;
};

struct fuse_out_header {
	int32_t error;
};

struct fuse_req {
	struct {
		struct fuse_in_header h;
	} in;
	struct {
		struct fuse_out_header h;
	} out;
	struct fuse_mount *fm;
};

struct fuse_chan {
	struct fuse_conn *conn;
};

/* What Linux 7.2 has in place of the mount. */
struct fuse_req___chan {
	struct fuse_chan *chan;
};

#pragma clang attribute pop

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, STARTS_MAX);
	__type(key, uint64_t);
	__type(value, uint64_t);
} kfs_starts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KFS_KERNEL_OPCODES);
	__type(key, uint32_t);
	__type(value, struct kfs_kernel_requests);
} kfs_requests SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct kfs_kernel_walk);
} kfs_walk SEC(".maps");

const volatile struct kfs_trace_config config;

/* A program can be preempted, and another one count on the same processor. */
#define COUNT(counter) __sync_fetch_and_add(&(counter), 1)

#define COUNT_WALK(what)                                                                           \
	do {                                                                                       \
		uint32_t zero_ = 0;                                                                \
		struct kfs_kernel_walk *walk_ = bpf_map_lookup_elem(&kfs_walk, &zero_);            \
		if (walk_)                                                                         \
			COUNT(walk_->what);                                                        \
	} while (0)

static __always_inline uint32_t device_of(struct fuse_req *req)
{
	if (bpf_core_field_exists(req->fm))
		return req->fm->fc->dev;
	return ((struct fuse_req___chan *)req)->chan->conn->dev;
}

static __always_inline struct kfs_kernel_requests *requests_of(struct fuse_req *req)
{
	uint32_t opcode = req->in.h.opcode;

	return bpf_map_lookup_elem(&kfs_requests, &opcode);
}

static __always_inline int request_begins(struct fuse_req *req)
{
	struct kfs_kernel_requests *r;
	uint64_t key = (uint64_t)req, now;

	if (device_of(req) != config.dev)
		return 0;
	r = requests_of(req);
	if (!r)
		return 0;
	COUNT(r->requests);
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&kfs_starts, &key, &now, BPF_ANY);
	return 0;
}

#endif
