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

/*
 * The second part is kfs's own: the tables that the daemon writes (daemon/bpf/tables.h) and the programs read
 * (bpf/answer.bpf.h). They are mmapable arrays whose elements are sets of KFS_WAYS slots.
 *
 * A set is guarded by its sequence count: odd while the daemon changes it. A reader looks at the count before and after
 * everything it took from the set, "it is not here" included, and starts again if it moved. A free slot has no key
 * (parent or nodeid 0), so a reader compares keys alone. "used" is written by readers, and cleared by the daemon when it
 * looks for room.
 */
#define KFS_WAYS 8u

enum {
	KFS_SLOT_FREE = 0,
	KFS_SLOT_UNKNOWN = 1, /* the key is here, its value is not known: ask the daemon */
	KFS_SLOT_KNOWN = 2,
	KFS_SLOT_ABSENT = 3, /* entries: there is no such name */
	KFS_SLOT_HELD = 4,   /* attributes: known, but the daemon wants to be asked */
};

/*
 * A name in a directory. Names of less than KFS_NAME_COPIED bytes stand in hash as they are, zeroes after them: exact, and
 * cheaper than hashing. Those of longer ones are as by fuse_bpf_name_hash() with the mount's secret key, and the last
 * byte, which is 0 in the others, has its upper bit set.
 */
#define KFS_NAME_COPIED 16u
static inline void kfs_mark_hashed(uint64_t *hash)
{
	((uint8_t *)hash)[KFS_NAME_COPIED - 1] |= 0x80;
}
struct kfs_entry_slot {
	/* 0x00 */ uint64_t parent;
	/* 0x08 */ uint64_t hash[2];
	/* 0x18 */ uint64_t nodeid;
	/* 0x20 */ uint64_t version; /* of the directory: older fills are late */
};

struct kfs_entry_set {
	/* 0x00 */ uint32_t seq;
	/* 0x04 */ uint32_t reserved;
	/* 0x08 */ uint8_t state[KFS_WAYS];
	/* 0x10 */ uint8_t used[KFS_WAYS];
	/* 0x18 */ struct kfs_entry_slot slot[KFS_WAYS];
};
_Static_assert(sizeof(struct kfs_entry_set) == 0x158, "struct kfs_entry_set");

/* flags of an attribute slot; right whether the attributes are known or not. */
enum {
	KFS_NO_CAPABILITY = 1u << 0, /* no security.capability */
	KFS_NO_ACL = 1u << 1,	     /* no POSIX ACL, access or default */
	KFS_DIR_COMPLETE = 1u << 2,  /* every name of the directory is in the table of names */
	KFS_DIR_LISTING = 1u << 3,   /* those before the cookie "listed" are */
};

struct kfs_attr_slot {
	/* 0x00 */ uint64_t nodeid;
	/* 0x08 */ uint64_t version;
	/* 0x10 */ uint64_t listed;
	/* 0x18 */ uint32_t flags;
	/* 0x1c */ uint32_t reserved;
	/* 0x20 */ struct fuse_bpf_attr attr;
};

struct kfs_attr_set {
	/* 0x00 */ uint32_t seq;
	/* 0x04 */ uint32_t reserved;
	/* 0x08 */ uint8_t state[KFS_WAYS];
	/* 0x10 */ uint8_t used[KFS_WAYS];
	/* 0x18 */ struct kfs_attr_slot slot[KFS_WAYS];
};
_Static_assert(sizeof(struct kfs_attr_set) == 0x4d8, "struct kfs_attr_set");

/*
 * Where bytes of regular files lie in the image. A slot is for one window of a file. That of window 0 is the file's head:
 * without it nothing is known of the file, and the slots of other windows count only if their birth is the head's. So one
 * store forgets a file of any size.
 */
#define KFS_WINDOW_BITS 26 /* 64 MiB */
#define KFS_EXTENTS 6u

/* Written blocks alone, no byte beyond the file's end. len 0: none. */
struct kfs_extent {
	/* 0x00 */ uint64_t off; /* in the file */
	/* 0x08 */ uint64_t len;
	/* 0x10 */ uint64_t phys; /* in the image's file or device */
};

struct kfs_extent_slot {
	/* 0x00 */ uint64_t nodeid;
	/* 0x08 */ uint64_t window;
	/* 0x10 */ uint64_t birth; /* never 0, of no two heads the same */
	/* 0x18 */ uint64_t until; /* of a head: CLOCK_BOOTTIME in ns, from which on the daemon wants to see reads; 0: never */
	/* 0x20 */ struct kfs_extent extent[KFS_EXTENTS];
};

struct kfs_extent_set {
	/* 0x00 */ uint32_t seq;
	/* 0x04 */ uint32_t reserved;
	/* 0x08 */ uint8_t state[KFS_WAYS]; /* FREE or KNOWN */
	/* 0x10 */ uint8_t used[KFS_WAYS];
	/* 0x18 */ struct kfs_extent_slot slot[KFS_WAYS];
};
_Static_assert(sizeof(struct kfs_extent_set) == 0x598, "struct kfs_extent_set");

/* Which set a key belongs to: the upper half of a well mixed word, scaled. */
#define KFS_MIX 0x9e3779b97f4a7c15ull
static inline uint32_t kfs_scale(uint64_t mixed, uint32_t sets)
{
	return (uint32_t)((mixed >> 32) * sets >> 32);
}
static inline uint32_t kfs_entry_set_of(uint64_t parent, uint64_t mixed, uint32_t sets)
{
	return kfs_scale(mixed ^ parent * KFS_MIX, sets);
}
/* Names as they are differ in few bits. With secret odd factors nobody can aim names at one set. */
static inline uint64_t kfs_name_mix(const uint64_t *hash, uint64_t factor0, uint64_t factor1)
{
	return hash[0] * factor0 + hash[1] * factor1;
}
static inline uint32_t kfs_attr_set_of(uint64_t nodeid, uint32_t sets)
{
	return kfs_scale(nodeid * KFS_MIX, sets);
}
static inline uint32_t kfs_extent_set_of(uint64_t nodeid, uint64_t window, uint32_t sets)
{
	return kfs_scale((nodeid + (window << 40)) * KFS_MIX, sets);
}

/* What the programs are told before they are loaded. */
struct kfs_config {
	uint64_t key[2];
	uint64_t dots[2]; /* hash[0] of "." and "..", which are never looked up in tables */
	uint64_t mix[2];  /* of kfs_name_mix() */
	uint32_t entry_sets, attr_sets;
	uint64_t entry_valid, negative_valid; /* seconds that answers may be kept */
	uint32_t entry_valid_nsec, negative_valid_nsec;
	uint32_t extent_sets, reserved;
};

/* Counters of the programs, one set for each processor. But for extents, each answer is a request that was not sent. */
struct kfs_answers {
	uint64_t lookup_hits;	  /* answered: the name is this node */
	uint64_t lookup_negative; /* there is no such name: it was asked before */
	uint64_t lookup_complete; /* the same: the directory is known whole */
	uint64_t lookup_misses;
	uint64_t lookup_rcu; /* of those answered, in RCU walk */
	uint64_t getattr_hits;
	uint64_t getattr_misses;
	uint64_t getattr_rcu;
	uint64_t xattr_absent;
	uint64_t xattr_misses;
	uint64_t extent_hits; /* ranges of a file, of which a read may ask for many */
	uint64_t extent_misses;
	uint64_t torn_retries; /* a set changed while it was read: read again */
	uint64_t torn_upcalls; /* and again: the daemon was asked */
};

/* Counters of the daemon, one for the mount. */
struct kfs_table_stats {
	uint64_t entry_slots, attr_slots; /* sizes */
	uint64_t entries_used, attrs_used;
	uint64_t entry_fills, attr_fills;
	uint64_t entry_invalidations, attr_invalidations, xattr_invalidations;
	uint64_t stale_refusals;	/* fills older than an invalidation */
	uint64_t full_refusals;		/* fills without a place: every slot of the set is in use */
	uint64_t entry_evictions, attr_evictions;
	uint64_t directories_completed;
	uint64_t directories_lost; /* were complete or being listed, and are not any more */
	uint64_t extent_slots, extent_slots_used; /* of windows of files */
	uint64_t extent_fills;
	uint64_t extent_drops; /* files of which nothing is known any more */
	uint64_t extent_evictions;
	uint64_t bytes;
};

#endif
