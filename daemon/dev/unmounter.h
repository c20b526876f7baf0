/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fusermount3 -u, which ordinary users unmount with: a program with privileges of its own, that a process which has
 * given up gaining any cannot start. So a small process is forked before that, which does nothing else, for one mount
 * point, and ends with the daemon.
 */
#ifndef KFS_DEV_UNMOUNTER_H
#define KFS_DEV_UNMOUNTER_H

#include <stdbool.h>

#include "daemon/base/util.h"

/* Before any thread is started. */
MUST_USE int unmounter_start(const char *mountpoint);
/* By that process, if there is one; else by one started now. -EBUSY: in use (lazy: or not ours). */
MUST_USE int unmounter_run(const char *mountpoint, bool lazy);
bool unmounter_waits(void);
/* Ends it. */
void unmounter_stop(void);

#endif
