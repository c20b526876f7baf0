/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a workload is made of: a fixed list of operations over a small tree, and sequences
 * of them by number.
 *
 * Workloads of a setting are numbered. The first are all sequences of one operation, then
 * all of two, each with every way of making it durable (enum ops_sync); from
 * ops_exhaustive() on, number n is a sequence of 3 to 12 operations drawn from (seed, n).
 *
 * The tree that every workload finds (made by ops_setup(), durable):
 *	/a/ /b/ /b/s/	/a/f = /b/h (9000 bytes, two names)	/a/g (600 bytes)
 *	/b/e (empty)	/c (9000 bytes, xattr)	/z (long symlink)
 */
#ifndef TESTS_CRASH_OPS_H
#define TESTS_CRASH_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPS_LENGTH_MAX 40

enum op_kind {
	OP_CREATE,
	OP_MKDIR,
	OP_SYMLINK, /* len: length of the target */
	OP_WRITE,
	OP_APPEND,
	OP_CACHED, /* write as the kernel's page cache does: whole pages, times apart */
	OP_TRUNCATE,
	OP_FALLOCATE,
	OP_KEEP, /* fallocate beyond the end, size kept */
	OP_ZERO, /* FALLOC_FL_ZERO_RANGE */
	OP_PUNCH,
	OP_LINK,
	OP_UNLINK,
	OP_RMDIR,
	OP_RENAME,
	OP_EXCHANGE,
	OP_SETXATTR, /* len: of the value; 0 removes it */
	OP_CHMOD,
	OP_FILL,  /* write until nothing is free */
	OP_HOLD,  /* known to a kernel until the end: what is unlinked is an orphan */
	OP_CHURN, /* many metadata blocks change, below /w, and are synced */
	/* From here on: durability. */
	OP_FSYNC,
	OP_FDATASYNC,
	OP_SYNC,
	OP_CHECKPOINT, /* freeze and thaw: everything home, the log empty */
};

struct op {
	enum op_kind kind;
	char a[16], b[16];
	uint32_t off, len;
};

enum ops_sync {
	OPS_SYNC_EACH, /* fsync of what each operation changed */
	OPS_SYNC_LAST, /* fsync of what the last one changed */
	OPS_SYNC_ALL,  /* one sync of everything at the end */
	OPS_SYNC_KINDS,
};

struct workload {
	struct op ops[OPS_LENGTH_MAX];
	uint32_t count;
	uint32_t churns; /* so many OP_CHURN before, not part of it */
};

extern const char *const op_names[];

/* @ops has room for OPS_LENGTH_MAX. */
uint32_t ops_setup(struct op *ops, bool full);
uint64_t ops_exhaustive(uint32_t length_max);
/* @heavy: with OP_CHURN, OP_FILL and OP_SYNC more often, for logs that wrap and images that are full. */
void ops_workload(uint64_t number, uint64_t seed, bool heavy, struct workload *ret_w);
void op_print(const struct op *op, char *buf, size_t size);

#endif
