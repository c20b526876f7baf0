/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who holds an image is found out only after opening it failed: what is asked here may have
 * changed meanwhile, and is good for messages, not for decisions.
 */
#include "daemon/precheck.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/mountinfo.h"
#include "daemon/base/rundir.h"

int precheck_mountpoint(const char *path, bool nonempty, char *why, size_t why_len)
{
	struct mountinfo_top top;
	struct stat st;

	/* Asked first: the stat() of a mount whose daemon hangs would hang as well. */
	if (!nonempty && !mountinfo_find(path, &top)) {
		(void)snprintf(why, why_len,
			       "%s: %s (%s) is mounted there: unmount it, mount "
			       "elsewhere, or say nonempty",
			       path, top.source, top.type);
		return -EBUSY;
	}
	if (stat(path, &st) < 0) {
		int err = -errno;
		const char *remedy = err == -ENOENT   ? ": create the folder" :
				     err == -ENOTCONN ? ": a dead mount: unmount it first" :
							"";

		(void)snprintf(why, why_len, "%s: %s%s", path, strerror(-err), remedy);
		return err;
	}
	if (S_ISDIR(st.st_mode))
		return 0;
	(void)snprintf(why, why_len, "%s: not a folder: give a folder to mount on", path);
	return -ENOTDIR;
}

/* ---- holders ---- */

static bool held_by_kfs(const char *image, char *why, size_t why_len)
{
	struct rundir_list list;
	bool found = false;

	if (rundir_list(&list))
		return false;
	for (size_t i = 0; i < list.count && !found; i++) {
		const struct rundir_info *e = &list.entries[i];

		/* Ourselves: we wait for it, too. */
		if (!e->alive || e->pid == getpid() || strcmp(e->image, image) != 0)
			continue;
		found = true;
		if (e->mountpoint)
			(void)snprintf(why, why_len,
				       "%s: mounted at %s by kfs, pid %d: unmount that first",
				       image, e->mountpoint, (int)e->pid);
		else
			(void)snprintf(why, why_len,
				       "%s: served to guests by kfs, pid %d: end that first", image,
				       (int)e->pid);
	}
	rundir_list_fini(&list);
	return found;
}

struct device_search {
	unsigned int major, minor;
	char mountpoint[PATH_MAX];
};

static int compare_device(void *arg, const struct mountinfo *line)
{
	struct device_search *s = arg;

	if (line->major != s->major || line->minor != s->minor)
		return 0;
	(void)snprintf(s->mountpoint, sizeof(s->mountpoint), "%s", line->mountpoint);
	return 1;
}

static bool mounted_at(unsigned int major_no, unsigned int minor_no,
		       struct device_search *ret_search)
{
	*ret_search = (struct device_search){ .major = major_no, .minor = minor_no };
	return mountinfo_each(compare_device, ret_search) == 1;
}

static bool read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fgets(line, (int)size, file);

	if (file)
		(void)fclose(file); /* read only */
	if (ok)
		line[strcspn(line, "\n")] = 0;
	return ok;
}

#define LOOP_POLL_MS 20
#define LOOP_WAIT_MS 3000

/* The loop device over this file: "loopN" and its number. */
static bool find_loop(const struct stat *image, char *name, size_t name_len,
		      unsigned int *ret_major, unsigned int *ret_minor)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		char path[NAME_MAX + 64], line[PATH_MAX];
		struct stat st;

		(void)snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file",
			       entry->d_name);
		if (strncmp(entry->d_name, "loop", 4) != 0 ||
		    !read_line(path, line, sizeof(line)) || stat(line, &st) ||
		    st.st_dev != image->st_dev || st.st_ino != image->st_ino)
			continue;
		(void)snprintf(path, sizeof(path), "/sys/block/%s/dev", entry->d_name);
		found = read_line(path, line, sizeof(line)) &&
			sscanf(line, "%u:%u", ret_major, ret_minor) == 2;
		(void)snprintf(name, name_len, "%s", entry->d_name);
	}
	if (dir)
		(void)closedir(dir); /* read only */
	return found;
}

static bool loop_is_leaving(const char *name)
{
	char path[NAME_MAX + 64], line[8];

	(void)snprintf(path, sizeof(path), "/sys/block/%s/loop/autoclear", name);
	return read_line(path, line, sizeof(line)) && line[0] == '1';
}

static bool held_by_kernel(const char *image, char *why, size_t why_len)
{
	unsigned int major_no, minor_no;
	struct device_search search;
	char name[NAME_MAX + 1] = "";
	struct stat st;

	if (stat(image, &st))
		return false;
	if (S_ISBLK(st.st_mode)) {
		major_no = major(st.st_rdev);
		minor_no = minor(st.st_rdev);
	} else if (!find_loop(&st, name, sizeof(name), &major_no, &minor_no)) {
		return false;
	}
	if (mounted_at(major_no, minor_no, &search))
		(void)snprintf(why, why_len, "%s: mounted at %s by the kernel: unmount that first",
			       image, search.mountpoint);
	else if (*name)
		(void)snprintf(why, why_len,
			       "%s: in use as /dev/%s: detach it with losetup -d /dev/%s", image,
			       name, name);
	else
		return false;
	return true;
}

bool precheck_wait_for_loop(const char *image)
{
	const struct timespec pause = { .tv_nsec = LOOP_POLL_MS * 1000000L };
	unsigned int major_no, minor_no;
	struct device_search search;
	char name[NAME_MAX + 1];
	struct stat st;

	if (stat(image, &st) || !S_ISREG(st.st_mode))
		return false;
	for (int waited_ms = 0; waited_ms < LOOP_WAIT_MS; waited_ms += LOOP_POLL_MS) {
		if (!find_loop(&st, name, sizeof(name), &major_no, &minor_no))
			return true;
		if (!loop_is_leaving(name) || mounted_at(major_no, minor_no, &search))
			return false;
		(void)nanosleep(&pause, NULL); /* woken early: only polls sooner */
	}
	return false;
}

static const char *remedy_of(int error, bool readonly)
{
	switch (error) {
	case -ENOENT: return ": make an image with mkfs.kfs";
	case -EISDIR:
	case -ENOTBLK:
	case -EINVAL: return ": give an image file or a block device";
	case -EROFS: return ": mount it with -o ro";
	case -EACCES:
	case -EPERM: return readonly ? "" : ": ask for permission, or mount with -o ro";
	case -EBUSY: return ": another program holds it: end that first";
	default: return "";
	}
}

void precheck_image_error(const char *image, int error, bool readonly, char *why, size_t why_len)
{
	if (error == -EBUSY &&
	    (held_by_kfs(image, why, why_len) || held_by_kernel(image, why, why_len)))
		return;
	(void)snprintf(why, why_len, "%s: %s%s", image,
		       error == -EINVAL ? "neither a file nor a block device" : strerror(-error),
		       remedy_of(error, readonly));
}
