/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What trace points do not tell: how often the kernel asks its own caches for a name or for attributes, and requests
 * without a caller that go to a ring. The loader takes each program alone, so that a function which a kernel does not have,
 * or does not let be traced, costs what it would have told and nothing else.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "include/kfs/trace_abi.h"

#include "bpf/trace.bpf.h"

#define ECHILD 10

char LICENSE[] SEC("license") = "GPL";

/* Such a request passes no trace point on its way to the ring. */
SEC("fentry/fuse_uring_queue_bq_req")
int BPF_PROG(kfs_ring_send, struct fuse_req *req)
{
	return request_begins(req);
}

static __always_inline int name_checked(struct dentry *entry, int ret)
{
	/* In RCU walk it was not decided: the kernel asks again. */
	if (ret == -ECHILD || entry->d_sb->s_dev != config.dev)
		return 0;
	if (ret > 0)
		COUNT_WALK(names_valid);
	else
		COUNT_WALK(names_invalid);
	return 0;
}

/* From Linux 6.14 on the directory and the name come first. The loader takes the one that fits. */
SEC("fexit/fuse_dentry_revalidate")
int BPF_PROG(kfs_revalidate, void *dir, void *name, struct dentry *entry, uint32_t flags, int ret)
{
	return name_checked(entry, ret);
}

SEC("fexit/fuse_dentry_revalidate")
int BPF_PROG(kfs_revalidate_two, struct dentry *entry, uint32_t flags, int ret)
{
	return name_checked(entry, ret);
}

SEC("fentry/fuse_lookup")
int BPF_PROG(kfs_name_asked, struct inode *dir)
{
	if (dir->i_sb->s_dev == config.dev)
		COUNT_WALK(names_asked);
	return 0;
}

SEC("fentry/fuse_getattr")
int BPF_PROG(kfs_stat, void *idmap, struct path *path)
{
	if (path->dentry->d_sb->s_dev == config.dev)
		COUNT_WALK(getattrs);
	return 0;
}

SEC("fexit/fuse_permission")
int BPF_PROG(kfs_permission, void *idmap, struct inode *inode, int mask, int ret)
{
	if (ret != -ECHILD && inode->i_sb->s_dev == config.dev)
		COUNT_WALK(permissions);
	return 0;
}
