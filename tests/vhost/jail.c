/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * jail: a guest that sees one directory of the image tries to leave it. By names: "..", from the root and from below, slashes,
 * renames and links to "..". By numbers: the nodeids of what is outside, exactly as they are, as every kind of request can name
 * them, in every place where a request can; all small inode numbers with small generations; nodeids of another guest; handles of
 * another guest. Each is ESTALE, whatever the number, so that an answer does not even tell whether it exists.
 */
#include "tests/vhost/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/vhost/front.h"

#define ROOT 1
#define INOS_TRIED 300u
#define GENERATIONS_TRIED 2u

struct inside {
	uint64_t root_ino, dir, file;
};

static int ask(struct front *f, uint32_t opcode, uint64_t nodeid, const void *args, size_t len)
{
	struct fuse_message m = {
		.opcode = opcode, .nodeid = nodeid, .args = args, .arg_len = len, .room = 4096
	};

	return fuse_call(f, 1, &m, NULL, NULL);
}

static int ask_name(struct front *f, uint32_t opcode, uint64_t nodeid, const void *args, size_t len,
		    const char *names, size_t names_len)
{
	struct fuse_message m = { .opcode = opcode,
				  .nodeid = nodeid,
				  .args = args,
				  .arg_len = len,
				  .text = names,
				  .text_len = names_len,
				  .room = 4096 };

	return fuse_call(f, 1, &m, NULL, NULL);
}

#define ASK(f, opcode, nodeid, ...) ask(f, opcode, nodeid, &(__VA_ARGS__), sizeof(__VA_ARGS__))
#define ASK_NAME(f, opcode, nodeid, names, ...)                                                    \
	ask_name(f, opcode, nodeid, &(__VA_ARGS__), sizeof(__VA_ARGS__), names, sizeof(names))

/* ---- by number ---- */

static void no_contents(struct front *f, uint64_t id)
{
	struct fuse_write_in write = { .size = 1 };
	struct fuse_message m = { .opcode = FUSE_WRITE,
				  .nodeid = id,
				  .args = &write,
				  .arg_len = sizeof(write),
				  .data = "x",
				  .data_len = 1,
				  .room = sizeof(struct fuse_write_out) };

	front_want(ASK(f, FUSE_OPEN, id, (struct fuse_open_in){ .flags = O_RDWR }), -ESTALE,
		   "OPEN");
	front_want(ASK(f, FUSE_OPEN, id, (struct fuse_open_in){ .flags = O_RDWR | O_TRUNC }),
		   -ESTALE, "OPEN with O_TRUNC");
	front_want(ASK(f, FUSE_OPENDIR, id, (struct fuse_open_in){ 0 }), -ESTALE, "OPENDIR");
	front_want(ASK(f, FUSE_READ, id, (struct fuse_read_in){ .size = 100 }), -ESTALE, "READ");
	front_want(fuse_call(f, 2, &m, NULL, NULL), -ESTALE, "WRITE");
	write.flags = O_APPEND;
	front_want(fuse_call(f, 2, &m, NULL, NULL), -ESTALE, "WRITE that appends");
	front_want(ASK(f, FUSE_READDIR, id, (struct fuse_read_in){ .size = 4096 }), -ESTALE,
		   "READDIR");
	front_want(ASK(f, FUSE_READDIRPLUS, id, (struct fuse_read_in){ .size = 4096 }), -ESTALE,
		   "READDIRPLUS");
	front_want(ASK(f, FUSE_FSYNC, id, (struct fuse_fsync_in){ 0 }), -ESTALE, "FSYNC");
	front_want(ASK(f, FUSE_FALLOCATE, id, (struct fuse_fallocate_in){ .length = 1 }), -ESTALE,
		   "FALLOCATE");
	front_want(ASK(f, FUSE_LSEEK, id, (struct fuse_lseek_in){ .whence = SEEK_DATA }), -ESTALE,
		   "LSEEK");
	front_want(ask(f, FUSE_READLINK, id, NULL, 0), -ESTALE, "READLINK");
	front_want(ASK(f, FUSE_BMAP, id, (struct fuse_bmap_in){ .blocksize = 4096 }), -ESTALE,
		   "BMAP");
}

static void no_attributes(struct front *f, uint64_t id)
{
	struct fuse_attr attr;
	struct fuse_setxattr_in set = { .size = 0 };

	front_want(fuse_getattr(f, id, &attr), -ESTALE, "GETATTR");
	front_want(ASK(f, FUSE_SETATTR, id,
		       (struct fuse_setattr_in){ .valid = FATTR_MODE, .mode = 0777 }),
		   -ESTALE, "SETATTR");
	front_want(ASK(f, FUSE_SETATTR, id, (struct fuse_setattr_in){ .valid = FATTR_SIZE }),
		   -ESTALE, "SETATTR of the size");
	front_want(ASK_NAME(f, FUSE_GETXATTR, id, "user.a",
			    (struct fuse_getxattr_in){ .size = 100 }),
		   -ESTALE, "GETXATTR");
	front_want(ASK(f, FUSE_LISTXATTR, id, (struct fuse_getxattr_in){ .size = 100 }), -ESTALE,
		   "LISTXATTR");
	front_want(ask_name(f, FUSE_SETXATTR, id, &set, sizeof(set), "user.a", 7), -ESTALE,
		   "SETXATTR");
	front_want(ask_name(f, FUSE_REMOVEXATTR, id, NULL, 0, "user.a", 7), -ESTALE, "REMOVEXATTR");
	front_want(ASK(f, FUSE_IOCTL, id,
		       (struct fuse_ioctl_in){ .cmd = FS_IOC_GETFLAGS, .out_size = 4 }),
		   -ESTALE, "IOCTL");
	front_want(fuse_setlk(f, id, 1, F_WRLCK, false), -ESTALE, "SETLK");
	front_want(ASK(f, FUSE_GETLK, id,
		       (struct fuse_lk_in){ .lk = { .end = INT64_MAX, .type = F_WRLCK } }),
		   -ESTALE, "GETLK");
}

static void no_names(struct front *f, uint64_t id)
{
	struct fuse_entry_out e;

	front_want(fuse_lookup(f, id, "secret", &e), -ESTALE, "LOOKUP");
	front_want(fuse_lookup(f, id, ".", &e), -ESTALE, "LOOKUP of .");
	front_want(fuse_lookup(f, id, "..", &e), -ESTALE, "LOOKUP of ..");
	front_want(fuse_mkdir(f, id, "new", &e), -ESTALE, "MKDIR");
	front_want(fuse_create(f, id, "new", 0600, &e), -ESTALE, "CREATE");
	front_want(ASK_NAME(f, FUSE_MKNOD, id, "new",
			    (struct fuse_mknod_in){ .mode = S_IFREG | 0600 }),
		   -ESTALE, "MKNOD");
	front_want(ask_name(f, FUSE_SYMLINK, id, NULL, 0, "new\0to", 7), -ESTALE, "SYMLINK");
	front_want(ASK_NAME(f, FUSE_TMPFILE, id, "/",
			    (struct fuse_create_in){ .mode = S_IFREG | 0600 }),
		   -ESTALE, "TMPFILE");
	front_want(fuse_names(f, FUSE_UNLINK, id, "secret"), -ESTALE, "UNLINK");
	front_want(fuse_names(f, FUSE_RMDIR, id, "secret"), -ESTALE, "RMDIR");
}

/* As the second inode of a request, too. */
static void no_pairs(struct front *f, uint64_t id, const struct inside *in)
{
	front_want(ASK_NAME(f, FUSE_RENAME, ROOT, "file\0out",
			    (struct fuse_rename_in){ .newdir = id }),
		   -ESTALE, "RENAME to outside");
	front_want(ASK_NAME(f, FUSE_RENAME, id, "secret\0mine",
			    (struct fuse_rename_in){ .newdir = ROOT }),
		   -ESTALE, "RENAME from outside");
	front_want(ASK_NAME(f, FUSE_RENAME2, in->dir, "deep\0secret",
			    (struct fuse_rename2_in){ .newdir = id, .flags = 2 }),
		   -ESTALE, "RENAME2, exchanging");
	front_want(ASK_NAME(f, FUSE_LINK, ROOT, "mine", (struct fuse_link_in){ .oldnodeid = id }),
		   -ESTALE, "LINK of what is outside");
	front_want(ASK_NAME(f, FUSE_LINK, id, "out",
			    (struct fuse_link_in){ .oldnodeid = in->file }),
		   -ESTALE, "LINK to outside");
	front_want(ASK(f, FUSE_COPY_FILE_RANGE, id,
		       (struct fuse_copy_file_range_in){ .nodeid_out = in->file, .len = 100 }),
		   -ESTALE, "COPY_FILE_RANGE from outside");
	front_want(ASK(f, FUSE_COPY_FILE_RANGE, in->file,
		       (struct fuse_copy_file_range_in){ .nodeid_out = id, .len = 100 }),
		   -ESTALE, "COPY_FILE_RANGE to outside");
}

static void no_number(struct front *f, uint64_t id, const struct inside *in)
{
	no_contents(f, id);
	no_attributes(f, id);
	no_names(f, id);
	no_pairs(f, id, in);
	fuse_forget(f, id, UINT64_MAX);
}

static void no_small_numbers(struct front *f, const struct inside *in)
{
	struct fuse_attr attr;

	for (uint64_t ino = 0; ino < INOS_TRIED; ino++)
		for (uint64_t generation = 0; generation < GENERATIONS_TRIED; generation++) {
			uint64_t id = generation << 32 | ino;

			/* The shared directory has its own number, too. */
			if (id == ROOT || ino == in->root_ino || id == in->dir || id == in->file)
				continue;
			front_want(fuse_getattr(f, id, &attr), -ESTALE,
				   "GETATTR of a small number");
		}
}

/* ---- by name ---- */

static uint64_t ino_of(struct front *f, uint64_t nodeid)
{
	struct fuse_attr attr;

	front_want(fuse_getattr(f, nodeid, &attr), 0, "getattr");
	return attr.ino;
}

/* The number beside ".." of @dir. */
static uint64_t listed_parent(struct front *f, uint64_t dir)
{
	static uint8_t listing[4096];
	struct fuse_read_in in = { .size = sizeof(listing) };
	struct fuse_message m = { .opcode = FUSE_READDIR,
				  .nodeid = dir,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .room = sizeof(listing) };
	struct fuse_dirent d;
	size_t len = 0;

	front_want(fuse_call(f, 1, &m, listing, &len), 0, "readdir");
	for (size_t at = 0; at + FUSE_NAME_OFFSET <= len;) {
		memcpy(&d, listing + at, FUSE_NAME_OFFSET);
		if (d.namelen == 2 && !memcmp(listing + at + FUSE_NAME_OFFSET, "..", 2))
			return d.ino;
		at += FUSE_REC_ALIGN(FUSE_NAME_OFFSET + d.namelen);
	}
	front_die("a listing without ..");
}

static void no_name(struct front *f, const struct inside *in)
{
	struct fuse_entry_out e;
	uint64_t root = ino_of(f, ROOT);

	front_want(fuse_lookup(f, ROOT, "..", &e), 0, "LOOKUP of .. in the root");
	if (e.nodeid != ROOT || e.attr.ino != root)
		front_die(".. of the root is inode %llu", (unsigned long long)e.attr.ino);
	front_want(fuse_lookup(f, in->dir, "..", &e), 0, "LOOKUP of .. below the root");
	if (e.nodeid != ROOT)
		front_die(".. below the root is nodeid %llu", (unsigned long long)e.nodeid);
	if (listed_parent(f, ROOT) != root || listed_parent(f, in->dir) != root)
		front_die("a listing tells the inode above the root");
	front_want(fuse_lookup(f, ROOT, "secret", &e), -ENOENT, "LOOKUP of an outer name");
	front_want(fuse_lookup(f, ROOT, "../secret", &e), -EINVAL, "LOOKUP with a slash");
	front_want(fuse_lookup(f, ROOT, "/outside/secret", &e), -EINVAL, "LOOKUP of a path");
	front_want(fuse_mkdir(f, ROOT, "../new", &e), -EINVAL, "MKDIR with a slash");
	front_want(fuse_names(f, FUSE_RMDIR, ROOT, ".."), -EINVAL, "RMDIR of ..");
	front_want(ASK_NAME(f, FUSE_RENAME, ROOT, "file\0..",
			    (struct fuse_rename_in){ .newdir = ROOT }),
		   -EINVAL, "RENAME to ..");
	front_want(ASK_NAME(f, FUSE_RENAME, ROOT, "..\0up",
			    (struct fuse_rename_in){ .newdir = ROOT }),
		   -EINVAL, "RENAME of ..");
	front_want(ASK_NAME(f, FUSE_LINK, ROOT, "..",
			    (struct fuse_link_in){ .oldnodeid = in->file }),
		   -EINVAL, "LINK as ..");
}

/* ---- another guest's ---- */

static void no_others(struct front *f, struct front *other, const struct inside *in)
{
	struct fuse_entry_out e;
	struct fuse_attr attr;

	front_want(fuse_create(other, ROOT, "theirs", 0600, &e), 0, "create");
	no_number(f, e.nodeid, in);
	/* Handles are nothing: a request is judged by its nodeid. */
	front_want(ASK(f, FUSE_RELEASE, e.nodeid,
		       (struct fuse_release_in){ .fh = 1, .flags = O_RDWR }),
		   0, "RELEASE");
	front_want(ASK(f, FUSE_FLUSH, e.nodeid, (struct fuse_flush_in){ .fh = 1, .lock_owner = 1 }),
		   0, "FLUSH");
	front_want(ASK(f, FUSE_READ, e.nodeid, (struct fuse_read_in){ .fh = 1, .size = 100 }),
		   -ESTALE, "READ with a handle");
	front_want(fuse_getattr(other, e.nodeid, &attr), 0,
		   "getattr after another guest's forgets");
	front_want(fuse_setlk(other, e.nodeid, 1, F_WRLCK, false), 0, "lock");
	front_want(ASK(f, FUSE_FLUSH, e.nodeid, (struct fuse_flush_in){ .lock_owner = 1 }), 0,
		   "FLUSH");
	front_want(fuse_setlk(other, e.nodeid, 2, F_WRLCK, false), -EAGAIN,
		   "a lock that another guest's FLUSH must not release");
	/* Once it has asked by name it may. */
	front_want(fuse_lookup(f, ROOT, "theirs", &e), 0, "lookup");
	front_want(fuse_getattr(f, e.nodeid, &attr), 0, "getattr");
	front_want(fuse_names(f, FUSE_UNLINK, ROOT, "theirs"), 0, "unlink");
}

void jail(const char *socket, uint32_t root_ino, const uint32_t *inos, const uint32_t *generations,
	  unsigned count)
{
	struct inside in = { .root_ino = root_ino };
	struct fuse_entry_out e;
	struct front f, other;

	front_connect(&f, socket);
	front_setup(&f, false);
	fuse_init(&f);
	front_connect(&other, socket);
	front_setup(&other, false);
	fuse_init(&other);
	if (ino_of(&f, ROOT) != root_ino)
		front_die("the root is inode %llu", (unsigned long long)ino_of(&f, ROOT));
	front_want(fuse_lookup(&f, ROOT, "in", &e), 0, "lookup");
	in.dir = e.nodeid;
	front_want(fuse_lookup(&f, ROOT, "file", &e), 0, "lookup");
	in.file = e.nodeid;
	no_name(&f, &in);
	for (unsigned i = 0; i < count; i++)
		no_number(&f, (uint64_t)generations[i] << 32 | inos[i], &in);
	/* The root of the image. */
	no_number(&f, 2, &in);
	no_small_numbers(&f, &in);
	no_others(&f, &other, &in);
	front_want(fuse_mkdir(&f, ROOT, "made", &e), 0, "mkdir");
	front_close(&f);
	front_close(&other);
}
