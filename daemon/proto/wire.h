/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What <linux/fuse.h> of an older system does not declare yet: protocol 7.39 .. 7.45.
 * Values and layouts are the kernel's ABI; each block is left out where the system's
 * header has it. Layouts that kfs reads or writes are asserted below, whoever declared
 * them.
 */
#ifndef KFS_PROTO_WIRE_H
#define KFS_PROTO_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/fuse.h>

/* What this side speaks at most, and the least a kernel must (MAX_PAGES, zero-message opendir). */
#define WIRE_MAJOR 7u
#define WIRE_MINOR_MAX 45u
#define WIRE_MINOR_MIN 31u

#ifndef FUSE_CREATE_SUPP_GROUP
#define FUSE_CREATE_SUPP_GROUP (1ULL << 34)
#endif
#ifndef FUSE_HAS_EXPIRE_ONLY
#define FUSE_HAS_EXPIRE_ONLY (1ULL << 35)
#endif
#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#endif
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH (1ULL << 37)
#endif
#ifndef FUSE_NO_EXPORT_SUPPORT
#define FUSE_NO_EXPORT_SUPPORT (1ULL << 38)
#endif
#ifndef FUSE_HAS_RESEND
#define FUSE_HAS_RESEND (1ULL << 39)
#endif
#ifndef FUSE_ALLOW_IDMAP
#define FUSE_ALLOW_IDMAP (1ULL << 40)
#endif
#ifndef FUSE_OVER_IO_URING
#define FUSE_OVER_IO_URING (1ULL << 41)
#endif
#ifndef FUSE_REQUEST_TIMEOUT
#define FUSE_REQUEST_TIMEOUT (1ULL << 42)
#endif

#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH (1 << 7)
#endif

/* Enumerators of the header cannot be asked for: own names, for every header. */
enum {
	WIRE_STATX = 52,
	WIRE_COPY_FILE_RANGE_64 = 53,
	WIRE_OPCODE_MAX = WIRE_COPY_FILE_RANGE_64,

	WIRE_NOTIFY_INC_EPOCH = 8,
	WIRE_MINOR_INC_EPOCH = 44,

	WIRE_EXT_SECCTX_MAX = 31, /* extension types up to here carry security contexts */
	WIRE_EXT_GROUPS = 32,
};

struct wire_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};

struct wire_statx {
	uint32_t mask;
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t spare0;
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct wire_sx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor;
	uint32_t dev_major, dev_minor;
	uint64_t spare2[14];
};

struct wire_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags;
	uint32_t sx_mask;
};

struct wire_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct wire_statx stat;
};

struct wire_copy_file_range_out {
	uint64_t bytes_copied;
};

/* Follows a fuse_ext_header of type WIRE_EXT_GROUPS. */
struct wire_supp_groups {
	uint32_t nr_groups;
	uint32_t groups[];
};

/*
 * FUSE over io_uring, protocol 7.42: what lies in the header memory of a ring entry. The
 * request's header stands in in_out, the first argument of the opcode in op_in, the rest
 * in the entry's payload; a reply's header stands in in_out, all of its data in payload.
 */
enum {
	WIRE_URING_REGISTER = 1,	 /* an entry with its memory; wait for a request */
	WIRE_URING_COMMIT_AND_FETCH = 2, /* the reply is there; wait for the next request */
};

#define WIRE_URING_OP_SIZE 128u

struct wire_uring_ent_in_out {
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_sz; /* used bytes of the payload */
	uint32_t padding;
	uint64_t reserved;
};

struct wire_uring_header {
	union {
		struct fuse_in_header in;
		struct fuse_out_header out;
		uint8_t in_out[128];
	};
	uint8_t op_in[WIRE_URING_OP_SIZE];
	struct wire_uring_ent_in_out ring_ent_in_out;
};

/* In the command area of a submission of 128 bytes. */
struct wire_uring_cmd {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
};

static_assert(sizeof(struct fuse_in_header) == 40, "request header");
static_assert(offsetof(struct fuse_in_header, total_extlen) == 36, "extension length");
static_assert(sizeof(struct fuse_out_header) == 16, "reply header");
static_assert(sizeof(struct fuse_attr) == 88, "attributes");
static_assert(sizeof(struct fuse_entry_out) == 128, "entry");
static_assert(sizeof(struct fuse_attr_out) == 104, "attribute reply");
static_assert(sizeof(struct fuse_init_out) == 64, "INIT reply");
static_assert(offsetof(struct fuse_init_out, flags2) == 32, "INIT reply flags2");
static_assert(sizeof(struct fuse_init_in) == 64, "INIT request");
static_assert(sizeof(struct fuse_setattr_in) == 88, "SETATTR");
static_assert(sizeof(struct fuse_write_in) == 40, "WRITE");
static_assert(sizeof(struct fuse_read_in) == 40, "READ");
static_assert(sizeof(struct fuse_setxattr_in) == 16, "SETXATTR");
static_assert(sizeof(struct fuse_lk_in) == 48, "locks");
static_assert(sizeof(struct fuse_ioctl_in) == 32, "IOCTL");
static_assert(sizeof(struct fuse_copy_file_range_in) == 56, "COPY_FILE_RANGE");
static_assert(sizeof(struct fuse_statfs_out) == 80, "STATFS");
static_assert(sizeof(struct fuse_open_out) == 16, "OPEN");
static_assert(offsetof(struct fuse_dirent, name) == 24, "directory entry");
static_assert(sizeof(struct wire_sx_time) == 16, "statx time");
static_assert(sizeof(struct wire_statx) == 256, "statx");
static_assert(offsetof(struct wire_statx, attributes_mask) == 56, "statx attributes mask");
static_assert(offsetof(struct wire_statx, rdev_major) == 128, "statx device");
static_assert(sizeof(struct wire_statx_in) == 24, "STATX");
static_assert(sizeof(struct wire_statx_out) == 288, "STATX reply");
static_assert(sizeof(struct wire_copy_file_range_out) == 8, "COPY_FILE_RANGE_64 reply");
static_assert(sizeof(struct fuse_ext_header) == 8, "extension header");
static_assert(sizeof(struct wire_supp_groups) == 4, "supplementary groups");
static_assert(sizeof(struct wire_uring_ent_in_out) == 32, "ring entry");
static_assert(offsetof(struct wire_uring_header, op_in) == 128, "ring header, arguments");
static_assert(offsetof(struct wire_uring_header, ring_ent_in_out) == 256, "ring header, entry");
static_assert(sizeof(struct wire_uring_header) == 288, "ring header");
static_assert(sizeof(struct wire_uring_cmd) == 24, "ring command");

#endif
