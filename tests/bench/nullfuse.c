// SPDX-License-Identifier: GPL-2.0-only
/*
 * The least a FUSE filesystem can cost: names and attributes that never change, kept by
 * the kernel for a year, no open, no writing; access is checked, as it must be. What
 * metabench's warm rows reach here is what the kernel's FUSE leaves to any daemon, for
 * they send no message.
 *
 *	nullfuse MOUNTPOINT		goes to the background; ends when unmounted
 *
 * There is /tT/fNNNNNN for T < DIRS_MAX and N < FILES_MAX, FILE_SIZE bytes each.
 */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_SIZE 4096
#define DIRS_MAX 64u
#define FILES_MAX 1000000u
#define YEAR_S 31536000.0

/* Inode numbers: the root; directories 2..; files above all of these. */
#define FIRST_DIR 2u
#define FIRST_FILE (FIRST_DIR + DIRS_MAX)

static void attr_of(fuse_ino_t ino, struct stat *st)
{
	bool is_dir = ino < FIRST_FILE;

	*st = (struct stat){ .st_ino = ino,
			     .st_mode = is_dir ? S_IFDIR | 0755 : S_IFREG | 0644,
			     .st_nlink = is_dir ? 2 : 1,
			     .st_size = is_dir ? 0 : FILE_SIZE,
			     .st_blocks = is_dir ? 0 : FILE_SIZE / 512,
			     .st_blksize = 4096 };
}

/* 0: there is none. */
static fuse_ino_t child_of(fuse_ino_t parent, const char *name)
{
	bool in_root = parent == FUSE_ROOT_ID;
	unsigned int n, limit = in_root ? DIRS_MAX : FILES_MAX;
	int end = 0;

	if (sscanf(name, in_root ? "t%u%n" : "f%6u%n", &n, &end) != 1 || name[end] || n >= limit)
		return 0;
	return in_root ? FIRST_DIR + n : FIRST_FILE + (parent - FIRST_DIR) * FILES_MAX + n;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .attr_timeout = YEAR_S, .entry_timeout = YEAR_S };

	e.ino = child_of(parent, name);
	if (e.ino)
		attr_of(e.ino, &e.attr);
	fuse_reply_entry(req, &e);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	attr_of(ino, &st);
	fuse_reply_attr(req, &st, YEAR_S);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS); /* and is not asked again */
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	static const char zeros[FILE_SIZE];

	(void)ino;
	(void)fi;
	if (off >= FILE_SIZE)
		size = 0;
	else if (size > (size_t)(FILE_SIZE - off))
		size = (size_t)(FILE_SIZE - off);
	fuse_reply_buf(req, zeros, size);
}

static void on_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static int serve(struct fuse_session *session, const char *mountpoint)
{
	int error = 1;

	if (fuse_session_mount(session, mountpoint) != 0)
		return error;
	if (fuse_daemonize(0) == 0)
		error = fuse_session_loop(session);
	fuse_session_unmount(session);
	return error;
}

int main(int argc, char **argv)
{
	static const struct fuse_lowlevel_ops ops = { .lookup = on_lookup,
						      .getattr = on_getattr,
						      .open = on_open,
						      .read = on_read,
						      .flush = on_flush };
	char *words[] = { argv[0], "-oallow_other,default_permissions,fsname=nullfuse", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, words);
	struct fuse_session *session;
	int error;

	if (argc != 2) {
		fprintf(stderr, "usage: nullfuse MOUNTPOINT\n");
		return 2;
	}
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session)
		return 1;
	error = serve(session, argv[1]);
	fuse_session_destroy(session);
	return error ? 1 : 0;
}
