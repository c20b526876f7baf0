/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file's contents as a plain array of bytes, and random operations done both to it
 * and to an inode of the store. Any difference fails the test.
 */
#ifndef TESTS_UNIT_DAEMON_STORE_FILE_MODEL_H
#define TESTS_UNIT_DAEMON_STORE_FILE_MODEL_H

#include "daemon/store/map.h"

struct file_model {
	struct inode *inode;
	uint8_t *bytes; /* size_max of them; zero behind size */
	uint64_t size, size_max;
	bool extents;	 /* else what only extents can is skipped */
	bool small;	 /* offsets and lengths of a few bytes: inline data */
	uint64_t enospc; /* operations that met a full image */
};

/* The inode is empty and stays the caller's. */
void file_model_init(struct file_model *m, struct inode *i, uint64_t size_max);
void file_model_fini(struct file_model *m);
/* One random operation; a short write for want of space is mirrored. */
void file_model_step(struct file_model *m);
/* The inode's contents, size and map agree with the model. */
void file_model_check(struct file_model *m);

void file_model_write(struct file_model *m, uint64_t off, uint64_t len);
void file_model_truncate(struct file_model *m, uint64_t size);
void file_model_punch(struct file_model *m, uint64_t off, uint64_t len);
void file_model_zero(struct file_model *m, uint64_t off, uint64_t len, bool keep_size);
void file_model_preallocate(struct file_model *m, uint64_t off, uint64_t len, bool keep_size);
void file_model_collapse(struct file_model *m, uint64_t off, uint64_t len);
void file_model_insert(struct file_model *m, uint64_t off, uint64_t len);

#endif
