/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The root folder's lock is held while folders in it appear and while dead ones go, so nobody takes a folder that was made
 * a moment ago for a dead one. It comes and goes with the folders: who finds that it went meanwhile begins again.
 */
#include "daemon/bpf/pins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "daemon/base/log.h"

/* So many folders of dead daemons are looked at. */
#define PINS_MAX 1024
#define TRIES_MAX 8
/* Held for moments only; a mount does not hang because somebody was stopped in one of them. */
#define LOCK_TRIES_MAX 200
#define LOCK_PAUSE_US 10000

static int open_dir(int at, const char *path)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Files of the folder @fd. @fd stays the caller's. */
static void remove_files(int fd)
{
	int copy = open_dir(fd, ".");
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			(void)unlinkat(fd, e->d_name, 0); /* rmdir tells if one stays */
	if (dir)
		(void)closedir(dir); /* was only read */
	else if (copy >= 0)
		(void)close(copy);
}

static bool lock_now(int fd)
{
	return !flock(fd, LOCK_EX | LOCK_NB);
}

static bool lock_soon(int fd)
{
	for (int i = 0; i < LOCK_TRIES_MAX; i++) {
		if (lock_now(fd))
			return true;
		(void)usleep(LOCK_PAUSE_US); /* woken early is fine */
	}
	return false;
}

/* Caller holds the lock of @root. */
static void sweep(int root)
{
	int copy = open_dir(root, ".");
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	unsigned seen = 0;
	struct dirent *e;

	while (dir && seen++ < PINS_MAX && (e = readdir(dir))) {
		_cleanup_close_ int fd = e->d_name[0] == '.' ? -1 : open_dir(root, e->d_name);

		if (fd < 0 || !lock_now(fd))
			continue;
		remove_files(fd);
		if (unlinkat(root, e->d_name, AT_REMOVEDIR))
			log_warn("%s/%s: left by a kfs that was killed, and cannot be removed: %s",
				 BPF_PIN_ROOT, e->d_name, strerror(errno));
		else
			log_info("%s/%s: left by a kfs that was killed: removed", BPF_PIN_ROOT,
				 e->d_name);
	}
	if (dir)
		(void)closedir(dir); /* was only read */
	else if (copy >= 0)
		(void)close(copy);
}

/* Is the folder that @fd has open still there? */
static bool is_at(const char *path, int fd)
{
	struct stat a, b;

	return !fstat(fd, &a) && !lstat(path, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* The root folder, made if @make, locked; or a negative errno. */
static int lock_root(bool make)
{
	for (int i = 0; i < TRIES_MAX; i++) {
		_cleanup_close_ int fd = -1;
		int ret;

		if (make && mkdir(BPF_PIN_ROOT, 0700) && errno != EEXIST)
			return -errno;
		fd = open_dir(AT_FDCWD, BPF_PIN_ROOT);
		if (fd == -ENOENT && make)
			continue;
		if (fd < 0)
			return fd;
		if (!lock_soon(fd))
			return -EBUSY;
		if (!is_at(BPF_PIN_ROOT, fd))
			continue;
		ret = fd;
		fd = -1;
		return ret;
	}
	return -EAGAIN;
}

void pins_sweep(void)
{
	int root = lock_root(false);

	if (root < 0)
		return; /* none, or not ours to look at */
	sweep(root);
	(void)rmdir(BPF_PIN_ROOT); /* unless another mount has pins */
	(void)close(root);
}

int pins_open(const char *id, struct pins *ret_pins)
{
	_cleanup_close_ int root = lock_root(true), fd = -1;
	struct pins p;

	if (root < 0)
		return root;
	sweep(root);
	(void)snprintf(p.dir, sizeof(p.dir), "%s/%s", BPF_PIN_ROOT, id);
	if (mkdirat(root, id, 0700))
		return -errno;
	fd = open_dir(root, id);
	if (fd < 0 || !lock_now(fd)) {
		int err = fd < 0 ? fd : -errno;

		(void)unlinkat(root, id, AT_REMOVEDIR); /* was made just now */
		return err;
	}
	p.fd = fd;
	fd = -1;
	*ret_pins = p;
	return 0;
}

int pins_add(struct pins *pins, const char *name, int fd)
{
	union bpf_attr attr;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", pins->dir, name);
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uint64_t)(uintptr_t)path;
	attr.bpf_fd = (uint32_t)fd;
	if (syscall(SYS_bpf, BPF_OBJ_PIN, &attr, sizeof(attr)))
		return -errno;
	return chmod(path, 0600) ? -errno : 0;
}

void pins_close(struct pins *pins)
{
	_cleanup_close_ int root = -1;

	if (!pins->dir[0])
		return;
	root = lock_root(false);
	remove_files(pins->fd);
	if (rmdir(pins->dir))
		log_warn("%s: cannot be removed: %s", pins->dir, strerror(errno));
	(void)rmdir(BPF_PIN_ROOT); /* unless another mount has pins */
	(void)close(pins->fd);
	pins->dir[0] = 0;
}
