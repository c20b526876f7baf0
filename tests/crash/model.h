/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a tree must be after each operation of a workload, and which of those states a
 * crash may leave.
 *
 * Version v is the state after v operations. The rules, stricter than POSIX and true for
 * a filesystem that commits operations in order and writes data before metadata:
 *  (1) after a crash names, links, modes, sizes, xattrs and targets are those of ONE version:
 *	nothing half, nothing out of order;
 *  (2) that version is not older than what was made durable: by fsync of a file everything
 *	that changed its inode, size or names; of a directory everything that changed its
 *	inode or its entries; by fdatasync what changed the size; by sync everything. The
 *	contents of a file are not older than its last fsync or fdatasync, whatever the
 *	version: bytes written in place are durable without any transaction;
 *  (3) nor newer than the operations begun;
 *  (4) each sector of a file holds what that version says, or what a later one begun by then
 *	put there in place. So no other file's bytes and no former contents of a block;
 *  (5) an operation that took several transactions (the caller says so) may be half done in
 *	the size and contents of its one file.
 */
#ifndef TESTS_CRASH_MODEL_H
#define TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/crash/ops.h"

struct model;
struct view;
struct view_builder;

struct model *model_new(void);
void model_free(struct model *m);
/* Forget all versions but the newest, which becomes version 0 and durable. */
void model_rebase(struct model *m);
/* Back to version 0. */
void model_reset(struct model *m);

/* Would it succeed? 0 or an error (of which only "is one" means something). -EAGAIN: ask nobody. */
int model_expect(const struct model *m, const struct op *op);
/* It did (or was skipped: @got < 0); a write wrote @got bytes. Adds a version. */
void model_step(struct model *m, const struct op *op, ssize_t got, bool several_transactions);
/* The newest version's file at @path is really @bytes long and holds these. */
void model_adopt(struct model *m, const char *path, const void *bytes, size_t len);
bool model_node(const struct model *m, const char *path, uint64_t *ret_size, bool *ret_is_dir);

/* Versions after version 0 so far; the stamp of the next operation's bytes. */
uint32_t model_count(const struct model *m);
uint32_t model_stamp(const struct model *m);
struct model_moment {
	uint32_t acknowledged, begun; /* operations that have returned; that have begun */
	bool exact;		      /* no crash: the newest version, nothing else */
	bool lossy;		      /* what was acknowledged may be lost: the medium is rotten */
};
/* Is @v one of the states allowed by rules (1)-(5)? If not, @why (of @size bytes) is told. */
bool model_allows(struct model *m, struct view_builder *b, const struct view *v,
		  struct model_moment at, char *why, size_t size);

/* The bytes an operation with @stamp writes at @off; of a symlink's target. */
void model_pattern(uint32_t stamp, uint64_t off, uint8_t *buf, size_t len);
void model_target(uint32_t stamp, char *buf, size_t len);

#endif
