/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * umount.fuse.kfs, which umount(8) calls for type fuse.kfs. umount(2) returns when the
 * kernel has let go; the daemon then still has to commit, write its journal home and close
 * the image. Whoever copies the image or mounts it elsewhere next must not come too early,
 * so this waits for the daemon's entry in the register to be unlocked, which is the last
 * thing it does.
 *
 * A mount that lives on elsewhere (a bind mount, another namespace) keeps the daemon: that
 * is seen by its connection, which the kernel lists as long as there is one.
 */
#include "daemon/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/mountinfo.h"
#include "daemon/base/rundir.h"
#include "daemon/options.h"

/* What kfs mounts, without BPF programs and with them. */
#define STOCK_TYPE "fuse.kfs"
#define MODULE_TYPE "fusebpf.kfs"
#define FUSE_CTL_SUPER_MAGIC 0x65735543 /* kernel: fs/fuse/control.c */

#define POLL_MS 5
/* The daemon notices at once; this is for a machine that is very busy. */
#define STILL_USED_MS 3000
/* A checkpoint of a full journal on a slow disk; beyond it the user hears of it. */
#define WAIT_MS_MAX (15 * 60 * 1000)

struct request {
	const char *target;
	bool lazy, force, verbose;
};

int helper_enter_namespace(const char *word)
{
	_cleanup_close_ int fd = -1;
	char path[64];

	if (*word && strspn(word, "0123456789") == strlen(word)) {
		(void)snprintf(path, sizeof(path), "/proc/%s/ns/mnt", word);
		word = path;
	}
	fd = open(word, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
		return -errno;
	return 0;
}

static int parse(int argc, char **argv, struct request *r)
{
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];

		if (!strcmp(arg, "-t") && i + 1 < argc) {
			i++;
		} else if (!strcmp(arg, "-N") && i + 1 < argc) {
			int err = helper_enter_namespace(argv[++i]);

			if (err) {
				fprintf(stderr, "kfs: namespace %s: %s\n", argv[i], strerror(-err));
				return EXIT_SYSTEM;
			}
		} else if (arg[0] == '-' && arg[1] &&
			   strspn(arg + 1, "flnrviq") == strlen(arg + 1)) {
			r->lazy = r->lazy || strchr(arg, 'l');
			r->force = r->force || strchr(arg, 'f');
			r->verbose = r->verbose || strchr(arg, 'v');
		} else if (arg[0] != '-' && !r->target) {
			r->target = arg;
		} else {
			fprintf(stderr,
				"kfs: %s: unknown word: umount.fuse.kfs MOUNTPOINT [-flnrv]\n",
				arg);
			return EXIT_USAGE;
		}
	}
	if (r->target)
		return EXIT_OK;
	fprintf(stderr, "kfs: the mount point is missing: umount.fuse.kfs MOUNTPOINT [-flnrv]\n");
	return EXIT_USAGE;
}

/* As the kernel names it. The last component is not looked at: a dead mount would not answer. */
static char *absolute(const char *target)
{
	_cleanup_free_ char *copy = strdup(target);
	_cleanup_free_ char *dir = NULL;
	char *slash, *path;
	size_t len = copy ? strlen(copy) : 0;

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = 0;
	slash = copy ? strrchr(copy, '/') : NULL;
	if (!copy || !strcmp(copy, "/") || !strcmp(slash ? slash + 1 : copy, "..") ||
	    !strcmp(slash ? slash + 1 : copy, "."))
		return realpath(target, NULL);
	if (slash == copy)
		return strdup(copy);
	if (slash)
		*slash = 0;
	dir = realpath(slash ? copy : ".", NULL);
	if (!dir ||
	    asprintf(&path, "%s/%s", strcmp(dir, "/") ? dir : "", slash ? slash + 1 : copy) < 0)
		return NULL;
	return path;
}

/* Mounts may lie on top of each other: whose the top one is, its source tells, or else its age. */
static bool is_better(const struct rundir_info *e, const struct rundir_info *than,
		      const struct mountinfo_top *top)
{
	struct stat st = { 0 }, than_st = { 0 };
	bool ours = !strncmp(e->image, top->source, sizeof(top->source) - 1);

	if (!than || ours)
		return true;
	if (!strncmp(than->image, top->source, sizeof(top->source) - 1))
		return false;
	return !stat(e->path, &st) && !stat(than->path, &than_st) &&
	       (st.st_mtim.tv_sec > than_st.st_mtim.tv_sec ||
		(st.st_mtim.tv_sec == than_st.st_mtim.tv_sec &&
		 st.st_mtim.tv_nsec > than_st.st_mtim.tv_nsec));
}

/* The mount's entry in the register, open, or -1. An image's name may stand for its mount point. */
static int find_entry(char **mountpoint)
{
	const struct rundir_info *best = NULL;
	struct mountinfo_top top = { 0 };
	bool is_mount = !mountinfo_find(*mountpoint, &top);
	struct rundir_list list;
	int fd = -1;

	if (rundir_list(&list))
		return -1;
	for (size_t i = 0; i < list.count; i++) {
		const struct rundir_info *e = &list.entries[i];
		const char *key = is_mount ? e->mountpoint : e->image;

		if (e->alive && e->mountpoint && !strcmp(key, *mountpoint) &&
		    is_better(e, best, &top))
			best = e;
	}
	if (best)
		fd = open(best->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (best && !is_mount) {
		free(*mountpoint);
		*mountpoint = strdup(best->mountpoint);
	}
	rundir_list_fini(&list);
	return fd;
}

extern char **environ;

static int unmount_as_user(const char *mountpoint, bool lazy)
{
	char *const target = (char *)(uintptr_t)mountpoint;
	char *busy_argv[] = { "fusermount3", "-u", "--", target, NULL };
	char *lazy_argv[] = { "fusermount3", "-u", "-z", "--", target, NULL };
	int status = 0, err;
	pid_t pid;

	err = posix_spawnp(&pid, "fusermount3", NULL, NULL, lazy ? lazy_argv : busy_argv, environ);
	if (err) {
		fprintf(stderr, "kfs: fusermount3: %s: install fuse3\n", strerror(err));
		return EXIT_SYSTEM;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_SYSTEM;
	/* It has told why. */
	return WIFEXITED(status) && !WEXITSTATUS(status) ? EXIT_OK : EXIT_MOUNT;
}

static int unmount(const struct request *r, const char *mountpoint)
{
	int flags = UMOUNT_NOFOLLOW | (r->lazy ? MNT_DETACH : 0) | (r->force ? MNT_FORCE : 0);

	if (!umount2(mountpoint, flags))
		return EXIT_OK;
	if (errno == EPERM)
		return unmount_as_user(mountpoint, r->lazy);
	if (errno == EBUSY)
		fprintf(stderr,
			"kfs: %s: in use: end the programs that use it (fuser -vm %s), or "
			"detach it with umount -l\n",
			mountpoint, mountpoint);
	else
		fprintf(stderr, "kfs: %s: %s\n", mountpoint, strerror(errno));
	return EXIT_MOUNT;
}

static bool is_locked(int fd)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

/*
 * Nobody mounts the module's list of connections by default. Its umount(2) has waited for the
 * daemon to close the image, so whose daemon is there still is mounted still.
 */
static bool connection_lives(const struct mountinfo_top *top)
{
	bool module = strcmp(top->type, STOCK_TYPE) != 0;
	char path[64];
	struct statfs st;
	int len =
		snprintf(path, sizeof(path), "/sys/fs/%s/connections", module ? "fusebpf" : "fuse");

	if (module && (statfs(path, &st) || st.f_type != FUSE_CTL_SUPER_MAGIC))
		return true;
	(void)snprintf(path + len, sizeof(path) - (size_t)len, "/%u", top->minor);
	return !access(path, F_OK);
}

static int wait_for_daemon(int entry_fd, const struct mountinfo_top *top, const char *mountpoint)
{
	for (int waited = 0; is_locked(entry_fd); waited += POLL_MS) {
		if (waited >= STILL_USED_MS && connection_lives(top)) {
			fprintf(stderr,
				"kfs: %s: unmounted here, but still mounted elsewhere: "
				"the image stays in use\n",
				mountpoint);
			return EXIT_OK;
		}
		if (waited >= WAIT_MS_MAX) {
			fprintf(stderr,
				"kfs: %s: the daemon does not finish: see its log, and do "
				"not use the image before it has ended\n",
				mountpoint);
			return EXIT_MOUNT;
		}
		(void)poll(NULL, 0, POLL_MS);
	}
	return EXIT_OK;
}

int umount_helper_main(int argc, char **argv)
{
	struct request r = { 0 };
	_cleanup_free_ char *mountpoint = NULL;
	_cleanup_close_ int entry_fd = -1;
	struct mountinfo_top top;
	int status = parse(argc, argv, &r);

	if (status)
		return status;
	mountpoint = absolute(r.target);
	if (mountpoint)
		entry_fd = find_entry(&mountpoint);
	if (!mountpoint || mountinfo_find(mountpoint, &top)) {
		fprintf(stderr, "kfs: %s: not mounted\n", r.target);
		return EXIT_MOUNT;
	}
	if (strcmp(top.type, STOCK_TYPE) != 0 && strcmp(top.type, MODULE_TYPE) != 0) {
		fprintf(stderr, "kfs: %s: mounted as %s, not by kfs: use umount\n", mountpoint,
			top.type);
		return EXIT_MOUNT;
	}
	status = unmount(&r, mountpoint);
	if (!status && r.verbose)
		printf("kfs: %s unmounted\n", mountpoint);
	if (!status && !r.lazy && entry_fd >= 0)
		status = wait_for_daemon(entry_fd, &top, mountpoint);
	return status;
}
