/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's side of struct fuse_bpf_ops as BPF programs see it: only what programs use, declared by hand, relocated
 * by libbpf (CO-RE). Included by programs alone, after "include/kfs/bpf_abi.h" and libbpf's bpf_helpers.h.
 *
 * A program is SEC("struct_ops/NAME"), takes BPF_PROG(name, struct fuse_bpf_lookup *lookup) and so on ("ctx" is taken
 * by the macro), runs under rcu_read_lock() and must not sleep. The contexts are read-only; results are handed over by
 * the kfuncs below, each 0 or a negative errno. The last result of a kind counts, and only if the program returns
 * FUSE_BPF_ANSWERED.
 */
#ifndef KFS_BPF_KERNEL_TYPES_H
#define KFS_BPF_KERNEL_TYPES_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Which node has this name? */
struct fuse_bpf_lookup {
	uint64_t parent; /* nodeid of the directory */
	uint32_t name_len;
	uint32_t flags;
};

/* What are the attributes of this node? */
struct fuse_bpf_getattr {
	uint64_t nodeid;
	uint32_t generation;
	uint32_t flags;
};

/* Is this extended attribute surely absent? FUSE_BPF_ANSWERED says yes. There is no result to set. */
struct fuse_bpf_xattr {
	uint64_t nodeid;
	uint32_t kind;
	uint32_t flags;
};

/* Where in the image are these bytes of the file? */
struct fuse_bpf_extent {
	uint64_t nodeid;
	uint64_t pos;
	uint64_t len;
};

/* Members left out or NULL always mean a request. dev_fd has to be set before the map is loaded. */
struct fuse_bpf_ops {
	int (*lookup)(struct fuse_bpf_lookup *lookup);
	int (*getattr)(struct fuse_bpf_getattr *getattr);
	int (*xattr)(struct fuse_bpf_xattr *xattr);
	int (*extent)(struct fuse_bpf_extent *extent);
	int32_t dev_fd;	  /* the daemon's open device of this mount, after INIT was answered */
	int32_t image_fd; /* the image that extents speak of; needed with "extent" only */
	uint32_t flags;	  /* 0 */
};

#pragma clang attribute pop

/*
 * The name, padded with zeroes to the size of buf: a key for a map. Returns its length, -E2BIG if it does not fit.
 */
extern int fuse_bpf_name_copy(struct fuse_bpf_lookup *lookup, uint8_t *buf,
			      uint32_t buf__sz) __ksym;
/*
 * The name alone, hashed: hash[0] is SipHash-2-4 with the key (k0, k1), hash[1] with the key (k1, k0). hash__sz is 16.
 */
extern int fuse_bpf_name_hash(struct fuse_bpf_lookup *lookup, uint64_t k0, uint64_t k1,
			      uint64_t *hash, uint32_t hash__sz) __ksym;
/* attr may be NULL for a negative entry only. */
extern int fuse_bpf_set_entry(struct fuse_bpf_lookup *lookup, const struct fuse_bpf_entry *entry,
			      const struct fuse_bpf_attr *attr__nullable) __ksym;
extern int fuse_bpf_set_attr(struct fuse_bpf_getattr *getattr,
			     const struct fuse_bpf_attr *attr) __ksym;
/* From pos on len bytes (at least 1; more than asked is cut) are of this type, at phys in the image. */
extern int fuse_bpf_set_extent(struct fuse_bpf_extent *extent, uint64_t phys, uint64_t len,
			       uint32_t type) __ksym;

#endif
