/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the BPF programs and the daemon share: values in maps, flags, sizes. Compiled by the host's compiler and by
 * clang -target bpf; both check the sizes.
 *
 * The first part is the kernel's (kernel-patches/): the layout of what a program hands to fuse_bpf_set_entry() and
 * fuse_bpf_set_attr(). A table may keep its values in exactly this form and hand them over where they lie: the kernel
 * copies inside the call, so a program compares the slot's sequence count after the call and returns
 * FUSE_BPF_UPCALL if it moved.
 */
#ifndef KFS_BPF_ABI_H
#define KFS_BPF_ABI_H

#include <stdint.h>

/* What a program returns. Anything but FUSE_BPF_ANSWERED sends the request to the daemon as if there were no program. */
enum {
	FUSE_BPF_UPCALL = 0,
	FUSE_BPF_ANSWERED = 1,
};

/* flags of struct fuse_bpf_lookup, fuse_bpf_getattr, fuse_bpf_xattr. */
enum {
	FUSE_BPF_F_RCU = 1u << 0,        /* RCU walk: an answer with a timeout is of no use, the kernel asks again */
	FUSE_BPF_F_REVALIDATE = 1u << 1, /* lookup: the kernel has a dentry and asks whether it is still so */
	FUSE_BPF_F_STATX = 1u << 2,      /* getattr: birth time is wanted; attributes without it become a request */
	FUSE_BPF_F_PERMISSION = 1u << 3, /* getattr: for a permission check (mode, uid, gid) */
};

/* kind of struct fuse_bpf_xattr. */
enum {
	FUSE_BPF_XATTR_OTHER = 0,
	FUSE_BPF_XATTR_CAPABILITY = 1,  /* security.capability: asked by every write and exec */
	FUSE_BPF_XATTR_ACL_ACCESS = 2,  /* system.posix_acl_access: asked by permission checks */
	FUSE_BPF_XATTR_ACL_DEFAULT = 3, /* system.posix_acl_default: asked by create */
};

/* type of an extent. */
enum {
	FUSE_BPF_EXTENT_DATA = 1, /* bytes of the image at phys */
	FUSE_BPF_EXTENT_ZERO = 2, /* a hole, or unwritten: zeroes, phys is not looked at */
};

/* A name: nodeid 0 says that there is none. valid and valid_nsec are seconds and nanoseconds as in FUSE. */
struct fuse_bpf_entry {
	/* 0x00 */ uint64_t nodeid;
	/* 0x08 */ uint64_t generation;
	/* 0x10 */ uint64_t valid;
	/* 0x18 */ uint32_t valid_nsec;
	/* 0x1c */ uint32_t reserved;
};
_Static_assert(sizeof(struct fuse_bpf_entry) == 0x20, "struct fuse_bpf_entry");

/* flags of struct fuse_bpf_attr. */
enum {
	FUSE_BPF_ATTR_BTIME = 1u << 0,	  /* btime_sec and btime_nsec hold the birth time */
	FUSE_BPF_ATTR_NO_BTIME = 1u << 1, /* the node has none; with neither flag statx asks the daemon */
};

/* The attributes of a node: from ino to attr_flags it is struct fuse_attr of the FUSE protocol. */
struct fuse_bpf_attr {
	/* 0x00 */ uint64_t valid;
	/* 0x08 */ uint32_t valid_nsec;
	/* 0x0c */ uint32_t flags;
	/* 0x10 */ uint64_t ino;
	/* 0x18 */ uint64_t size;
	/* 0x20 */ uint64_t blocks;
	/* 0x28 */ uint64_t atime;
	/* 0x30 */ uint64_t mtime;
	/* 0x38 */ uint64_t ctime;
	/* 0x40 */ uint32_t atimensec;
	/* 0x44 */ uint32_t mtimensec;
	/* 0x48 */ uint32_t ctimensec;
	/* 0x4c */ uint32_t mode;
	/* 0x50 */ uint32_t nlink;
	/* 0x54 */ uint32_t uid;
	/* 0x58 */ uint32_t gid;
	/* 0x5c */ uint32_t rdev;
	/* 0x60 */ uint32_t blksize;
	/* 0x64 */ uint32_t attr_flags;
	/* 0x68 */ int64_t btime_sec;
	/* 0x70 */ uint32_t btime_nsec;
	/* 0x74 */ uint32_t reserved;
};
_Static_assert(sizeof(struct fuse_bpf_attr) == 0x78, "struct fuse_bpf_attr");

#endif
