/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attaching /dev/fuse to a mount point and detaching it again. libfuse3 does the first
 * (mount(2) for root, fusermount3 for everybody else) and parses the mount's options;
 * the second is ours, because libfuse closes the device before it unmounts, and the
 * kernel's dirty pages would have nowhere to go.
 */
#ifndef KFS_DEV_MOUNT_H
#define KFS_DEV_MOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/util.h"

struct mount;

struct mount_opts {
	const char *mountpoint; /* absolute */
	const char *source;
	const char *device;  /* of the module: mounted by mount(2); NULL: libfuse's way */
	const char *options; /* comma list, escaped where a value holds a comma */
};

/* On failure @err says why, in words for a person. */
MUST_USE int mount_attach(const struct mount_opts *opts, struct mount **ret_mount, char *err,
			  size_t err_len);
/* The device; it belongs to the mount. */
int mount_fd(const struct mount *m);
/*
 * Unmount while requests are still served. -EBUSY: in use, nothing was done (lazy:
 * detached, it goes with its last user). Blocks until the kernel has written its pages.
 */
MUST_USE int mount_detach(struct mount *m, bool lazy);
/* Fail every request from now on: what is not written is lost. */
void mount_abort(struct mount *m);
/* The device said that it is unmounted: its mount point and number may be somebody else's by now. */
void mount_gone(struct mount *m);
/* Unmounts what is still mounted, without waiting for anything. */
void mount_free(struct mount *m);

#endif
