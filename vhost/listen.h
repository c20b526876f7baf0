/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sockets that front ends connect to: made at a path, or handed over.
 *
 * Whoever connects owns the files: a path that is made is its owner's alone (0600), or a group's, too (0660), from the
 * moment that it exists. A path that nobody listens at any more is taken over; anything else in the way is not.
 */
#ifndef KFS_VHOST_LISTEN_H
#define KFS_VHOST_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/base/util.h"

#define LISTEN_NO_GROUP ((gid_t)-1)

/* Non-blocking, close-on-exec. -EADDRINUSE: somebody listens there; -EEXIST: there is a file; -EPERM: not our group. */
MUST_USE int listen_open(const char *path, gid_t group, int *ret_fd);
/* A Unix stream socket: does it listen, or is it connected? -EINVAL: neither. Made non-blocking, close-on-exec. */
MUST_USE int listen_check(int fd, bool *ret_listens);
/* "staff" or "50". -ENOENT: there is no such group. */
MUST_USE int listen_group(const char *name, gid_t *ret_group);
/* Before privileges are dropped: its members may give what is theirs to a group. Else listen_open() says -EPERM. */
void listen_join(const char *group);
/* Why and what to do, of these errors. */
const char *listen_why(int error);

#endif
