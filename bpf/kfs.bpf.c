/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs of a kfs mount, attached by daemon/bpf: lookup, getattr, absent extended attributes and where bytes of
 * files lie in the image, answered from tables that the daemon maps and writes. What they decide is in answer.bpf.h; here are the maps.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "include/kfs/bpf_abi.h"

#include "bpf/kernel_types.h"

char LICENSE[] SEC("license") = "GPL";

/* Sizes are set by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct kfs_entry_set);
} kfs_entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct kfs_attr_set);
} kfs_attrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct kfs_extent_set);
} kfs_extents SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct kfs_answers);
} kfs_stats SEC(".maps");

/* The daemon's own counters lie here so that they can be read while it hangs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct kfs_table_stats);
} kfs_tables SEC(".maps");

const volatile struct kfs_config config;

#define LOOKUP struct fuse_bpf_lookup
#define GETATTR struct fuse_bpf_getattr
#define XATTR struct fuse_bpf_xattr
#define EXTENT struct fuse_bpf_extent

static __always_inline struct kfs_entry_set *entry_set(uint32_t index)
{
	return bpf_map_lookup_elem(&kfs_entries, &index);
}

static __always_inline struct kfs_attr_set *attr_set(uint32_t index)
{
	return bpf_map_lookup_elem(&kfs_attrs, &index);
}

static __always_inline struct kfs_extent_set *extent_set(uint32_t index)
{
	return bpf_map_lookup_elem(&kfs_extents, &index);
}

/* This processor keeps loads in order; the compiler has to be told. */
#define READ(x)                                                                                    \
	({                                                                                         \
		__typeof__(x) value_ = *(volatile __typeof__(x) *)&(x);                            \
		asm volatile("" ::: "memory");                                                     \
		value_;                                                                            \
	})
#define WRITE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define ENTRY_SET(index) entry_set(index)
#define ATTR_SET(index) attr_set(index)
#define EXTENT_SET(index) extent_set(index)
#define NOW() bpf_ktime_get_boot_ns()
#define NAME_HASH(q, hash) fuse_bpf_name_hash(q, config.key[0], config.key[1], hash, 16)
#define NAME_COPY(q, key) (fuse_bpf_name_copy(q, (uint8_t *)(key), 16) < 0)
#define SET_ENTRY(q, entry, attr)                                                                  \
	do {                                                                                       \
		fuse_bpf_set_entry(q, entry, attr);                                                \
		asm volatile("" ::: "memory");                                                     \
	} while (0)
#define SET_ATTR(q, attr)                                                                          \
	do {                                                                                       \
		fuse_bpf_set_attr(q, attr);                                                        \
		asm volatile("" ::: "memory");                                                     \
	} while (0)
#define SET_EXTENT(q, phys, len) fuse_bpf_set_extent(q, phys, len, FUSE_BPF_EXTENT_DATA)
#define COUNT(what)                                                                                \
	do {                                                                                       \
		uint32_t zero_ = 0;                                                                \
		struct kfs_answers *answers_ = bpf_map_lookup_elem(&kfs_stats, &zero_);            \
		if (answers_)                                                                      \
			answers_->what++;                                                          \
	} while (0)

#include "bpf/answer.bpf.h"

SEC("struct_ops/kfs_lookup")
int BPF_PROG(kfs_lookup, struct fuse_bpf_lookup *lookup)
{
	return answer_lookup(lookup);
}

SEC("struct_ops/kfs_getattr")
int BPF_PROG(kfs_getattr, struct fuse_bpf_getattr *getattr)
{
	return answer_getattr(getattr);
}

SEC("struct_ops/kfs_xattr")
int BPF_PROG(kfs_xattr, struct fuse_bpf_xattr *xattr)
{
	return answer_xattr(xattr);
}

SEC("struct_ops/kfs_extent")
int BPF_PROG(kfs_extent, struct fuse_bpf_extent *extent)
{
	return answer_extent(extent);
}

/* Not the whole of the kernel's type: members added to it later do not matter here. */
SEC(".struct_ops.link")
struct fuse_bpf_ops kfs_ops = {
	.lookup = (void *)kfs_lookup,
	.getattr = (void *)kfs_getattr,
	.xattr = (void *)kfs_xattr,
	.extent = (void *)kfs_extent,
};
