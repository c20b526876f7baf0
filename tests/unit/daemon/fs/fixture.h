/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An image made by mke2fs and opened by fs, for the tests of this folder. Closing it has
 * e2fsck judge the image. Everything fails the test by itself; a machine without mke2fs
 * skips it.
 */
#ifndef TESTS_FS_FIXTURE_H
#define TESTS_FS_FIXTURE_H

#include <sys/stat.h>

#include "daemon/fs/fs_priv.h"
#include "tests/lib/test.h"

struct fixture {
	char image[256];
	struct store_opts store_opts;
	struct fs_opts opts;
	struct fs_session_opts session_opts;
	struct inval_bus *bus;
	struct fs *fs;
	struct fs_session *session;
	struct fs_ctx ctx;
};

/* @options: words for mke2fs, the size last ("-b 1024 32M"). NULL: a small image of 1 KiB blocks. */
void fixture_open(struct fixture *f, const char *options);
/* As @f->*_opts say now. */
void fixture_mount(struct fixture *f);
void fixture_unmount(struct fixture *f);
void fixture_crash(struct fixture *f);
void fixture_remount(struct fixture *f);
/* Unmount (if mounted) and e2fsck -fn. */
void fixture_close(struct fixture *f);
void fixture_fsck(const char *image);
/* Runs a command made of @fmt; fails the test unless it exits 0. */
void run_command(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

struct fs_name name_of(const char *s);
/* Each returns the nodeid, counted once. Absolute paths. */
uint64_t look(struct fixture *f, const char *path);
uint64_t make(struct fixture *f, const char *path, uint32_t mode);
static inline uint64_t make_file(struct fixture *f, const char *path)
{
	return make(f, path, S_IFREG | 0644);
}
static inline uint64_t make_dir(struct fixture *f, const char *path)
{
	return make(f, path, S_IFDIR | 0755);
}
void forget(struct fixture *f, uint64_t nodeid);

/* By path; 0 or the error. Nothing stays counted. */
int try_look(struct fixture *f, const char *path);
int try_make(struct fixture *f, const char *path, uint32_t mode);
int try_unlink(struct fixture *f, const char *path);
int try_rmdir(struct fixture *f, const char *path);
int try_rename(struct fixture *f, const char *from, const char *to, uint32_t flags);
int try_link(struct fixture *f, const char *from, const char *to);

struct fs_attr attr_of(struct fixture *f, const char *path);
struct fs_attr attr_of_node(struct fixture *f, uint64_t nodeid);
/* Set what @req says of the file at @path. */
int try_setattr(struct fixture *f, const char *path, struct fs_setattr req);
ssize_t write_node(struct fixture *f, uint64_t nodeid, const void *buf, size_t len, uint64_t off);
ssize_t read_node(struct fixture *f, uint64_t nodeid, void *buf, size_t len, uint64_t off);
uint64_t blocks_free(struct fixture *f);
uint64_t inodes_free(struct fixture *f);

#endif
