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
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct dev;
struct fs;
struct inval_bus;
struct proto_opts;
struct proto_session;

/* Requests over io_uring: never; where the kernel has it; or no mount without it. */
enum dev_uring { DEV_URING_OFF, DEV_URING_AUTO, DEV_URING_ON };

struct dev_opts {
	const char *mountpoint;
	const char *source; /* shown in /proc/mounts: the image's absolute path */
	const char
		*mount_options; /* comma list for libfuse: allow_other,default_permissions,ro,... */
	uint32_t threads_max;	/* 0 = default */
	bool clone_fd;
	enum dev_uring uring;
	const char *device; /* of the kernel's module, else NULL: /dev/fuse */
	const struct proto_opts *proto;
	/* Called once by dev_run(): the mount answers (0), or why it never will. */
	void (*on_ready)(void *arg, int error);
	void *on_ready_arg;
};

/* Mount; requests are answered once dev_run() runs. The error text says what and why. */
MUST_USE int dev_mount(struct fs *fs, struct inval_bus *bus, const struct dev_opts *opts,
		       struct dev **ret_dev, char *err, size_t err_len);
/* Serve until unmounted. Returns 0 then; else why the device cannot be served any more. */
MUST_USE int dev_run(struct dev *d);
/*
 * Ask dev_run() to unmount and return; any thread and any signal handler may call it. The
 * kernel's dirty pages are written first. A mount in use is detached and served until its
 * last user has gone; a second call does not wait for them.
 */
void dev_stop(struct dev *d);
/* Unmount if still mounted; free. */
void dev_free(struct dev *d);
struct proto_session *dev_session(struct dev *d);
/* The device's descriptor; the mount's. */
int dev_fd(const struct dev *d);
/*
 * After dev_run(): if umount(2) waits for the image to be closed, a descriptor that ends its
 * wait by being closed, the caller's. Else -1.
 */
int dev_take_umount(struct dev *d);
struct dev_stats {
	uint32_t threads, threads_max;
	bool uring;	 /* requests come through rings */
	const char *why; /* they do, or not; lives as long as @d */
	uint32_t uring_queues, uring_threads, uring_threads_max, uring_parked;
};
void dev_get_stats(struct dev *d, struct dev_stats *ret_stats);

#endif
