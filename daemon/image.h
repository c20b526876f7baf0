/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The image of a daemon whose guests take it along (handover, incoming): who uses it, and its opening
 * and closing while the daemon goes on.
 *
 *	image_new()		open already, or (fs NULL) for a guest that arrives
 *	image_attach()		who has to know when it comes and goes; a guest that arrives earlier is refused
 *	image_ops()		for vhost/
 *	image_take()		in the end: what is open, for the caller to close
 *
 * For any thread.
 */
#ifndef KFS_DAEMON_IMAGE_H
#define KFS_DAEMON_IMAGE_H

#include <stdbool.h>

#include "daemon/base/util.h"
#include "daemon/fs/fs.h"

struct ctl_server;
struct guests;
struct inval_bus;
struct options;
struct image;
struct vhost_image;

struct image_opts {
	const struct options *o; /* outlives it */
	struct inval_bus *bus;	 /* the same */
	struct fs_opts fs_opts;
	struct fs *fs;		  /* takes it; NULL: closed */
	void (*panic)(void *arg); /* struct store_opts */
};

/* -ENOMEM. -EACCES, ...: the image could not be opened again with the rights that this process has. */
MUST_USE int image_new(const struct image_opts *opts, struct image **ret_image);
/* @i NULL: there is none. */
void image_attach(struct image *i, struct guests *guests);
/* @ctl: started held. NULL: it ends. */
void image_attach_ctl(struct image *i, struct ctl_server *ctl);
const struct vhost_image *image_ops(struct image *i);
/* Frees @i; nobody uses it any more. NULL: it is closed. */
struct fs *image_take(struct image *i);

#endif
