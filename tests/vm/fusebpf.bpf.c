/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The least program that answers a mount from tables; the test of the kernel's side, not of kfs's programs. Reads a slot
 * where it lies and looks at its sequence count again after the kernel has copied it.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "tests/vm/fusebpf_abi.h"

#include "bpf/kernel_types.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PROBE_SLOTS);
	__type(key, uint32_t);
	__type(value, struct probe_entry_slot);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PROBE_SLOTS);
	__type(key, uint32_t);
	__type(value, struct probe_attr_slot);
} attrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct probe_stats);
} stats SEC(".maps");

#define barrier() asm volatile("" ::: "memory")

#define COUNT(what)                                                                                \
	do {                                                                                       \
		uint32_t zero = 0;                                                                 \
		struct probe_stats *counters = bpf_map_lookup_elem(&stats, &zero);                 \
		if (counters)                                                                      \
			counters->what++;                                                          \
	} while (0)

static __always_inline struct probe_attr_slot *find_attr(uint64_t nodeid, uint32_t *ret_seq)
{
	uint32_t place = (nodeid * 0x9e3779b97f4a7c15ull) >> 32;

	for (uint32_t step = 0; step < PROBE_STEPS; step++) {
		uint32_t index = (place + step) & (PROBE_SLOTS - 1);
		struct probe_attr_slot *slot = bpf_map_lookup_elem(&attrs, &index);

		if (!slot)
			return NULL;
		uint32_t seq = *(volatile uint32_t *)&slot->seq;
		barrier();
		if (slot->used && slot->nodeid == nodeid && !(seq & 1)) {
			*ret_seq = seq;
			return slot;
		}
	}
	return NULL;
}

static __always_inline struct probe_entry_slot *find_entry(uint64_t parent, const uint64_t *hash,
							   uint32_t *ret_seq)
{
	uint32_t place = hash[0] ^ parent;

	for (uint32_t step = 0; step < PROBE_STEPS; step++) {
		uint32_t index = (place + step) & (PROBE_SLOTS - 1);
		struct probe_entry_slot *slot = bpf_map_lookup_elem(&entries, &index);

		if (!slot)
			return NULL;
		uint32_t seq = *(volatile uint32_t *)&slot->seq;
		barrier();
		if (slot->used && slot->parent == parent && slot->hash[0] == hash[0] &&
		    slot->hash[1] == hash[1] && !(seq & 1)) {
			*ret_seq = seq;
			return slot;
		}
	}
	return NULL;
}

SEC("struct_ops/probe_lookup")
int BPF_PROG(probe_lookup, struct fuse_bpf_lookup *lookup)
{
	uint64_t hash[2] = { 0, 0 };
	uint32_t entry_seq = 0, attr_seq = 0;
	struct probe_attr_slot *attr;

	fuse_bpf_name_hash(lookup, PROBE_KEY_0, PROBE_KEY_1, hash, sizeof(hash));
	struct probe_entry_slot *entry = find_entry(lookup->parent, hash, &entry_seq);
	if (!entry)
		goto miss;
	if (!entry->entry.nodeid) {
		fuse_bpf_set_entry(lookup, &entry->entry, NULL);
		COUNT(lookup_negative);
	} else {
		attr = find_attr(entry->entry.nodeid, &attr_seq);
		if (!attr)
			goto miss;
		fuse_bpf_set_entry(lookup, &entry->entry, &attr->attr);
		barrier();
		if (*(volatile uint32_t *)&attr->seq != attr_seq)
			goto torn;
		COUNT(lookup_hit);
	}
	barrier();
	if (*(volatile uint32_t *)&entry->seq != entry_seq)
		goto torn;
	if (lookup->flags & FUSE_BPF_F_RCU)
		COUNT(lookup_rcu);
	return FUSE_BPF_ANSWERED;
torn:
	COUNT(torn);
miss:
	COUNT(lookup_miss);
	return FUSE_BPF_UPCALL;
}

SEC("struct_ops/probe_getattr")
int BPF_PROG(probe_getattr, struct fuse_bpf_getattr *getattr)
{
	uint32_t seq = 0;
	struct probe_attr_slot *slot = find_attr(getattr->nodeid, &seq);

	if (!slot) {
		COUNT(getattr_miss);
		return FUSE_BPF_UPCALL;
	}
	fuse_bpf_set_attr(getattr, &slot->attr);
	barrier();
	if (*(volatile uint32_t *)&slot->seq != seq) {
		COUNT(torn);
		return FUSE_BPF_UPCALL;
	}
	COUNT(getattr_hit);
	if (getattr->flags & FUSE_BPF_F_RCU)
		COUNT(getattr_rcu);
	return FUSE_BPF_ANSWERED;
}

SEC("struct_ops/probe_xattr")
int BPF_PROG(probe_xattr, struct fuse_bpf_xattr *xattr)
{
	uint32_t seq = 0;
	uint32_t wanted = xattr->kind == FUSE_BPF_XATTR_CAPABILITY ? PROBE_NO_CAPABILITY :
								     PROBE_NO_ACL;
	struct probe_attr_slot *slot = find_attr(xattr->nodeid, &seq);

	if (!slot || xattr->kind == FUSE_BPF_XATTR_OTHER)
		return FUSE_BPF_UPCALL;
	uint32_t flags = slot->flags;
	barrier();
	if (*(volatile uint32_t *)&slot->seq != seq || !(flags & wanted))
		return FUSE_BPF_UPCALL;
	COUNT(xattr_absent);
	return FUSE_BPF_ANSWERED;
}

SEC("struct_ops/probe_extent")
int BPF_PROG(probe_extent, struct fuse_bpf_extent *extent)
{
	uint32_t seq = 0;
	struct probe_attr_slot *slot = find_attr(extent->nodeid, &seq);
	uint64_t pos = extent->pos;

	if (!slot)
		return FUSE_BPF_UPCALL;
	uint64_t len = slot->extent_len;
	uint64_t phys = slot->extent_phys;
	uint32_t flags = slot->flags;
	barrier();
	if (*(volatile uint32_t *)&slot->seq != seq)
		return FUSE_BPF_UPCALL;
	if (pos < len)
		fuse_bpf_set_extent(extent, phys + pos, len - pos, FUSE_BPF_EXTENT_DATA);
	else if ((flags & PROBE_HOLE) && pos < 2 * len)
		fuse_bpf_set_extent(extent, 0, 2 * len - pos, FUSE_BPF_EXTENT_ZERO);
	else
		return FUSE_BPF_UPCALL;
	COUNT(extent_hit);
	return FUSE_BPF_ANSWERED;
}

SEC(".struct_ops.link")
struct fuse_bpf_ops probe = {
	.lookup = (void *)probe_lookup,
	.getattr = (void *)probe_getattr,
	.xattr = (void *)probe_xattr,
	.extent = (void *)probe_extent,
};
