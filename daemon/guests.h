/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From words to back ends for virtual machines: what a guest may do, what of the image it sees, and
 * what its kernel is told to keep. Guests on stock kernels cannot be notified, so nothing is believed
 * for longer than a second where somebody else may change it.
 *
 *	guests_start()		the socket of vhost=, if there is that word
 *	guests_share_add()	one more guest, at any time in between (struct ctl_env)
 *	guests_stop()		disconnects all; after the control server has ended
 */
#ifndef KFS_DAEMON_GUESTS_H
#define KFS_DAEMON_GUESTS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/util.h"
#include "daemon/ctl/ctl.h"

struct ctl_share;
struct ctl_shared;
struct fs;
struct guests;
struct inval_bus;
struct options;
struct proto_session;
struct vhost_image;

/* Everything pointed to outlives the guests. */
struct guests_env {
	struct fs *fs;			 /* NULL: not yet; see guests_set_fs() */
	const struct vhost_image *image; /* NULL: fs stays */
	struct inval_bus *bus;
	const struct options *o;
	bool readonly;		    /* as the image is */
	struct proto_session *host; /* the host mount's; NULL: none */
};

MUST_USE int guests_start(const struct guests_env *env, struct guests **ret_guests, char *err,
			  size_t err_len);
/* @arg: the guests. See struct ctl_env. */
MUST_USE int guests_share_add(void *arg, const struct ctl_share *share,
			      struct ctl_shared *ret_shared);
/* It was opened (anew). No share is being added meanwhile. */
void guests_set_fs(struct guests *g, struct fs *fs);
/* NULL is fine. */
void guests_stop(struct guests *g);

#endif
