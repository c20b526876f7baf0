/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Images for tests of the store: made by mke2fs, opened by us, judged by e2fsck. A test
 * is skipped where e2fsprogs is missing.
 *
 *	struct img m;
 *
 *	img_make(&m, "-b 1024 -O inline_data", "8M");
 *	img_open(&m);
 *	...
 *	img_close(&m);
 *	img_fsck(&m);
 */
#ifndef TESTS_UNIT_DAEMON_STORE_IMG_H
#define TESTS_UNIT_DAEMON_STORE_IMG_H

#include "daemon/store/inode.h"

struct img {
	char path[256];
	struct store *s;
};

void img_make(struct img *m, const char *mke2fs_options, const char *size);
/* tune2fs, before it is opened. */
void img_tune(const struct img *m, const char *tune2fs_options);
void img_open(struct img *m);
/* With options, e.g. a tiny cache. */
void img_open_opts(struct img *m, const struct store_opts *opts);
void img_close(struct img *m);
/* e2fsck -fn finds nothing. */
void img_fsck(const struct img *m);
/* Run a debugfs command (-w when @write); its output, in static memory. */
const char *img_debugfs(const struct img *m, bool write, const char *command);

/* Handles, of a size that does for any one change. */
void img_start(struct img *m, struct handle *h);
void img_stop(struct handle *h);

/* The root directory, locked exclusively, one reference; and giving any inode back so. */
struct inode *img_root(struct img *m);
void img_put(struct inode *i);
/* A new inode named @name in locked directory @dir (links and names kept right), locked. */
struct inode *img_create(struct img *m, struct inode *dir, const char *name, uint16_t mode);

/* Both are locked exclusively. @i loses its only name and is an orphan: what unlink(2) leaves of an open file. */
void img_unlink(struct img *m, struct inode *dir, const char *name, struct inode *i);

#endif
