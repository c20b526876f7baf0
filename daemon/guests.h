/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the words on the command line to a back end for virtual machines: what a guest may do,
 * what of the image it sees, and what its kernel is told to keep. Guests on stock kernels cannot
 * be notified, so nothing is believed for longer than a second where somebody else may change it.
 */
#ifndef KFS_DAEMON_GUESTS_H
#define KFS_DAEMON_GUESTS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/util.h"

struct fs;
struct inval_bus;
struct options;
struct proto_session;
struct vhost;

/*
 * *ret_vhost is NULL where nobody asked for guests. @readonly: as the image is. @host: the host
 * mount's session, or NULL.
 */
/* False: words about guests that do not fit together, or that have no guests to be about; @why says so. */
bool guests_words_fit(const struct options *o, char *why, size_t why_len);
MUST_USE int guests_start(struct fs *fs, struct inval_bus *bus, const struct options *o,
			  bool readonly, struct proto_session *host, struct vhost **ret_vhost,
			  char *err, size_t err_len);

#endif
