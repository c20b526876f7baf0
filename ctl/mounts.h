/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's list of mounts (/proc/self/mountinfo, proc(5)) as this process sees it: what a path lies on, without
 * touching the path. kfsctl must not call into a filesystem whose daemon may hang.
 */
#ifndef KFS_CTL_MOUNTS_H
#define KFS_CTL_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/base/mountinfo.h"
#include "daemon/base/util.h"

struct mount {
	char *mountpoint, *fstype, *source;
	char *root; /* what of the filesystem is mounted: "/", or a folder of it (a bind mount) */
	bool has_owner; /* FUSE mounts name the user they belong to */
	uid_t owner_uid;
};

struct mount_list {
	struct mount *mounts; /* in the kernel's order: of two at one place the later is on top */
	size_t count;
};

/* Adds one mount; -ENOMEM. */
MUST_USE int mount_list_add(struct mount_list *list, const struct mountinfo *line);
MUST_USE int mount_list_load(struct mount_list *ret_list);
void mount_list_fini(struct mount_list *list);

/* The mount that holds absolute, normalised @path: the deepest, and of those the topmost. NULL without any. */
const struct mount *mount_list_find(const struct mount_list *list, const char *path);

/* @path made absolute (from @cwd) and free of "//", "." and "..", by its letters alone; malloc()ed, NULL: no memory. */
char *path_normalise(const char *cwd, const char *path);

#endif
