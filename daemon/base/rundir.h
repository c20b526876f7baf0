/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The register of this host's mounts: one small file for each, in a runtime directory, so that kfsctl and the mount
 * helpers find the daemon that serves a mount point or an image.
 *
 * A daemon, in the process that goes on to serve (after the fork into the background):
 *	rundir_register(&what, &entry)	 listed, with its id and the path for its control socket
 *	rundir_unregister(entry)	 last of all, when the image is closed
 * Anybody:
 *	rundir_list(&list)		 every mount this caller can see, dead ones too
 *
 * The directory is the first of these that can be made and written: $KFS_RUNTIME_DIR; for root /run/kfs;
 * $XDG_RUNTIME_DIR/kfs; /run/user/UID/kfs; /tmp/kfs-UID (0700, and refused when another user owns it). rundir_list()
 * reads the caller's own directories and /run/kfs; root's reads those of all users.
 *
 * (1) An entry appears complete (rename) and is locked by its daemon while it lives: alive is a fact of the kernel, not
 *     of a pid that may be somebody else's by now. A killed daemon's entry stays until a mount takes its id.
 * (2) An id is 8 hexadecimal digits made of image, offset and mount point: the same mount has the same id again.
 * (3) An entry speaks for its file's owner only: owner_uid is taken from the file system, never from the contents.
 */
#ifndef KFS_BASE_RUNDIR_H
#define KFS_BASE_RUNDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/base/util.h"

#define RUNDIR_ID_LEN 8
/* More entries than any host has mounts; a directory with more is read so far. */
#define RUNDIR_ENTRIES_MAX 1024

struct rundir_entry;

struct rundir_what {
	const char *image; /* absolute */
	uint64_t offset;
	const char *mountpoint; /* absolute; NULL without a host mount */
};

/* Negative errno when no directory can be used: the mount works, but kfsctl will not find it. */
MUST_USE int rundir_register(const struct rundir_what *what, struct rundir_entry **ret_entry);
const char *rundir_id(const struct rundir_entry *entry);
/* Where the control socket belongs; removed with the entry. */
const char *rundir_socket_path(const struct rundir_entry *entry);
/* NULL is fine. */
void rundir_unregister(struct rundir_entry *entry);

struct rundir_info {
	char id[RUNDIR_ID_LEN + 1];
	bool alive;
	pid_t pid; /* as the daemon wrote it: for messages */
	uid_t owner_uid;
	uint64_t offset;
	char *image;
	char *mountpoint; /* NULL without a host mount */
	char *socket_path;
	char *path; /* of the entry */
};

struct rundir_list {
	struct rundir_info *entries; /* sorted by mount point */
	size_t count;
};

/* Directories that do not exist or cannot be read, and files that are no entries, are passed over. */
MUST_USE int rundir_list(struct rundir_list *ret_list);
void rundir_list_fini(struct rundir_list *list);

#endif
