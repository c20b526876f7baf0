/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mappings of files that others can make shorter. An access beyond the file's new end raises
 * SIGBUS, which would end the daemon, the host's mount and every other guest with it. Where the
 * address is in a guarded mapping, the handler puts memory of our own in its place and the
 * access goes on; guard_hit() tells that it happened, and the contents are zeros from then on.
 *
 * guard_install() once, before the first thread. Threads that touch such memory must not block
 * SIGBUS: the kernel ends a process whose fault cannot be delivered.
 */
#ifndef KFS_VHOST_GUARD_H
#define KFS_VHOST_GUARD_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/util.h"

struct guard;

MUST_USE int guard_install(void);
/* -ENOSPC: too many. The mapping belongs to the caller, who removes the guard before it. */
MUST_USE int guard_add(void *base, size_t len, struct guard **ret_guard);
void guard_remove(struct guard *g);
bool guard_hit(const struct guard *g);

#endif
