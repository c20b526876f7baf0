// SPDX-License-Identifier: GPL-2.0-only
/* See kernel.h. */
#include "tests/crash/kernel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/loop.h>

#include "tests/crash/view.h"

#define DIRS_MAX 64
#define MOUNTS_MAX 64
#define TRIES 50

static char mount_dir[512];
static uint8_t file_bytes[VIEW_FILE_MAX];

struct reading {
	struct view_builder *b;
	char dirs[DIRS_MAX][VIEW_PATH_MAX];
	unsigned int dir_count;
	char *why;
	size_t why_size;
};

/* A mount of another test's, which it unmounts while we run. */
static bool is_anothers(const struct mntent *m)
{
	if (strncmp(m->mnt_type, "fuse", 4) == 0)
		return strcmp(m->mnt_type, "fusectl") != 0;
	return strncmp(m->mnt_fsname, "/dev/loop", 9) == 0 && strcmp(m->mnt_dir, "/") != 0;
}

/*
 * A namespace of its own begins with a copy of every mount, and a copy keeps what was
 * unmounted outside: a FUSE daemon, a loop device with its image. They are let go here,
 * last first.
 */
static void let_go_of_others(void)
{
	char dirs[MOUNTS_MAX][PATH_MAX];
	size_t count = 0;
	struct mntent *entry;
	FILE *mounts = setmntent("/proc/self/mounts", "r");

	if (!mounts)
		return;
	while (count < MOUNTS_MAX && (entry = getmntent(mounts)))
		if (is_anothers(entry))
			(void)snprintf(dirs[count++], PATH_MAX, "%s", entry->mnt_dir);
	(void)endmntent(mounts);
	while (count > 0)
		(void)umount2(dirs[--count], MNT_DETACH); /* gone outside meanwhile: fine */
}

bool kernel_begin(const char *dir, char *why, size_t why_size)
{
	(void)snprintf(mount_dir, sizeof(mount_dir), "%s/kernel.%d", dir, getpid());
	if (geteuid() != 0)
		(void)snprintf(why, why_size, "not root");
	else if (access("/dev/loop-control", R_OK | W_OK))
		(void)snprintf(why, why_size, "no loop devices");
	else if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		(void)snprintf(why, why_size, "no mounts of its own: %s", strerror(errno));
	else if (mkdir(mount_dir, 0700))
		(void)snprintf(why, why_size, "%s: %s", mount_dir, strerror(errno));
	else {
		let_go_of_others();
		return true;
	}
	mount_dir[0] = '\0';
	return false;
}

void kernel_end(void)
{
	if (mount_dir[0])
		(void)rmdir(mount_dir); /* empty, and in a scratch folder */
}

/* Others take loop devices at the same time: a few tries. */
static int attach(int fd, char *path, size_t size)
{
	struct loop_config config = { .fd = (unsigned int)fd,
				      .info = { .lo_flags = LO_FLAGS_AUTOCLEAR } };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop = -1, tries, n;

	for (tries = 0; control >= 0 && tries < TRIES; tries++) {
		n = ioctl(control, LOOP_CTL_GET_FREE);
		if (n < 0)
			break;
		(void)snprintf(path, size, "/dev/loop%d", n);
		loop = open(path, O_RDWR | O_CLOEXEC);
		if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) == 0)
			break;
		if (loop >= 0)
			(void)close(loop);
		loop = -1;
		(void)usleep(10000);
	}
	if (control >= 0)
		(void)close(control);
	return loop;
}

static bool fail(struct reading *r, const char *path, const char *what)
{
	(void)snprintf(r->why, r->why_size, "%s: %s: %s", path, what, strerror(errno));
	return false;
}

static bool read_xattrs(struct reading *r, const char *full, struct view_node *node)
{
	char names[1024];
	uint8_t value[1024];
	ssize_t len = llistxattr(full, names, sizeof(names)), n;

	for (ssize_t off = 0; off < len; off += (ssize_t)strlen(names + off) + 1) {
		n = lgetxattr(full, names + off, value, sizeof(value));
		if (n < 0)
			return fail(r, full, "getxattr");
		node->xattrs += view_hash_xattr(names + off, value, (size_t)n);
	}
	return len >= 0 || fail(r, full, "listxattr");
}

static bool read_file(struct reading *r, const char *full, struct view_node *node)
{
	int fd = open(full, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -1 : pread(fd, file_bytes, sizeof(file_bytes), 0);

	if (fd >= 0)
		(void)close(fd);
	if (n < 0)
		return fail(r, full, "read");
	view_bytes(r->b, node, file_bytes, (size_t)n);
	return true;
}

static bool read_node(struct reading *r, const char *full, const struct stat *st,
		      struct view_node *node)
{
	ssize_t n;

	node->mode = st->st_mode;
	node->nlink = (uint32_t)st->st_nlink;
	if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
		node->size = (uint64_t)st->st_size;
	if (S_ISLNK(st->st_mode)) {
		n = readlink(full, (char *)file_bytes, 4096);
		if (n < 0)
			return fail(r, full, "readlink");
		node->target = view_hash(file_bytes, (size_t)n, 3);
	}
	if (S_ISREG(st->st_mode) && !read_file(r, full, node))
		return false;
	return read_xattrs(r, full, node);
}

static bool read_name(struct reading *r, const char *path)
{
	char full[1024];
	struct view_node *node;
	struct stat st;

	(void)snprintf(full, sizeof(full), "%s%s", mount_dir, path);
	if (lstat(full, &st))
		return fail(r, full, "stat of a listed name");
	if (S_ISDIR(st.st_mode) && r->dir_count < DIRS_MAX)
		(void)snprintf(r->dirs[r->dir_count++], VIEW_PATH_MAX, "%s", path);
	return !view_name(r->b, *path ? path : "/", st.st_ino, &node) ||
	       read_node(r, full, &st, node);
}

static bool read_dir(struct reading *r, const char *path)
{
	char full[1024];
	struct dirent *d;
	bool ok = true;
	DIR *dir;

	(void)snprintf(full, sizeof(full), "%s%s", mount_dir, path);
	dir = opendir(full);
	if (!dir)
		return fail(r, full, "opendir");
	while (ok && (d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") ||
		    view_hidden(d->d_name, !*path))
			continue;
		(void)snprintf(full, sizeof(full), "%s/%s", path, d->d_name);
		full[VIEW_PATH_MAX - 1] = '\0';
		ok = read_name(r, full);
	}
	(void)closedir(dir);
	return ok;
}

struct view *kernel_recover(int fd, struct view_builder *b, char *why, size_t why_size)
{
	static struct reading r;
	char loop_path[32];
	int loop = attach(fd, loop_path, sizeof(loop_path));
	bool ok;

	r = (struct reading){ .b = b, .why = why, .why_size = why_size };
	if (loop < 0) {
		(void)fail(&r, "loop device", "attach");
		return NULL;
	}
	ok = mount(loop_path, mount_dir, "ext4", MS_NOATIME, "user_xattr") == 0 ||
	     fail(&r, loop_path, "mount");
	(void)close(loop); /* detached with its last user */
	if (!ok)
		return NULL;
	view_begin(b);
	ok = read_name(&r, "");
	for (unsigned int k = 0; ok && k < r.dir_count; k++)
		ok = read_dir(&r, r.dirs[k]);
	if (umount(mount_dir) && ok)
		ok = fail(&r, mount_dir, "umount");
	return ok ? view_end(b) : NULL;
}
