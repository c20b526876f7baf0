/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A filesystem under a workload while calls fail: what was done, what was promised. An
 * operation may fail only when a call has failed, and then with an errno that says what
 * happened (never with "corrupt"); a file whose fsync succeeded is to be there afterwards.
 */
#ifndef TESTS_FAULT_WORK_H
#define TESTS_FAULT_WORK_H

#include "tests/fault/sweep.h"
#include "tests/lib/faultdev.h"
#include "tests/unit/daemon/fs/fixture.h"

#define PROMISES_MAX 256

struct promise {
	char path[64];
	uint64_t size;
	uint8_t byte;
};

struct work {
	struct fixture f;
	struct faultdev *dev; /* NULL before mounting and after closing */
	_Atomic uint32_t
		refused; /* operations that failed: later ones may miss what they would have made */
	bool aborted, no_log, ea_inodes;
	struct promise promises[PROMISES_MAX];
	_Atomic uint32_t promise_count;
};

/* What a workload of this name does with a mounted filesystem. */
struct fs_load {
	const char *mke2fs[8];	      /* words for mke2fs */
	uint64_t size;		      /* of the image; 0 = 8 MiB */
	void (*fill)(struct work *w); /* into the image, before any failure; NULL = nothing */
	bool dirty;		      /* and then power is lost: there is a journal to replay */
	void (*work)(struct work *w); /* NULL: mounting and unmounting is the work */
	bool no_log; /* nothing is atomic: e2fsck always comes first, and repairs */
	struct store_opts store_opts;
};

/* @error as an operation returned it: fails the test if it may not be. True: it succeeded. */
bool did(struct work *w, const char *what, int64_t error);
/* A file of @size bytes @byte at @path, fsynced: then, and only then, promised. */
void keep_file(struct work *w, const char *path, uint64_t size, uint8_t byte);
/* Node of @path, counted; 0 = an allowed failure. */
uint64_t find(struct work *w, const char *path);
void drop(struct work *w, uint64_t nodeid);
void do_make(struct work *w, const char *path, uint32_t mode);
void do_symlink(struct work *w, const char *path, uint32_t len);
void do_write(struct work *w, uint64_t node, uint64_t off, uint64_t len, uint8_t byte);
void do_setxattr(struct work *w, const char *path, const char *name, const void *value, size_t len);
void do_truncate(struct work *w, const char *path, uint64_t size);
void do_fsync(struct work *w, uint64_t node);

/* fs_loads.c: the names and what each does */
struct named_load {
	const char *name;
	struct fs_load load;
};
extern const struct named_load fs_loads[];
extern const size_t fs_load_count;

#endif
