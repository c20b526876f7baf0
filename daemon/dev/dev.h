/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host mount: /dev/fuse as a transport, and the mounting itself (libfuse3 does
 * mount(2) for root and fusermount3 for ordinary users). Worker threads read requests
 * and dispatch them; the number grows with load up to a maximum and each has its own
 * buffers, and where it helps its own cloned descriptor.
 */
#ifndef KFS_DEV_DEV_H
#define KFS_DEV_DEV_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct dev;
struct fs;
struct inval_bus;
struct proto_opts;
struct proto_session;

struct dev_opts {
	const char *mountpoint;
	const char *source;	 /* shown in /proc/mounts: the image's absolute path */
	const char *mount_options; /* comma list for libfuse: allow_other,default_permissions,ro,... */
	uint32_t threads_max;	 /* 0 = default */
	bool clone_fd;
	const struct proto_opts *proto;
};

/* Mount; requests are answered once dev_run() runs. The error text says what and why. */
MUST_USE int dev_mount(struct fs *fs, struct inval_bus *bus, const struct dev_opts *opts,
		       struct dev **ret_dev, char *err, size_t err_len);
/* Serve until unmounted or dev_stop(). Returns 0 on unmount. */
MUST_USE int dev_run(struct dev *d);
/* Ask dev_run() to return (signal handlers may call it). */
void dev_stop(struct dev *d);
/* Unmount if still mounted; free. */
void dev_free(struct dev *d);
struct proto_session *dev_session(struct dev *d);
struct dev_stats {
	uint32_t threads, threads_max;
};
void dev_get_stats(struct dev *d, struct dev_stats *ret_stats);

#endif
