/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What FUSE over io_uring needs of this machine. Where something is in the way, @why says
 * what, and the remedy if there is one.
 */
#ifndef KFS_DEV_URING_PROBE_H
#define KFS_DEV_URING_PROBE_H

#include <sched.h>
#include <stddef.h>

#include "daemon/base/util.h"

/* @ret_cpus: how many queues the kernel wants. */
MUST_USE int uring_check_kernel(unsigned *ret_cpus, char *why, size_t why_len);
/*
 * A queue is served on its processor. What our owner set (taskset) may be left for a moment;
 * what an administrator set (cpuset) not. @ret_allowed: those that we may run on now.
 */
MUST_USE int uring_check_processors(unsigned queues, cpu_set_t *ret_allowed, char *why,
				    size_t why_len);
/* How many queues the kernel wants: its possible processors, from its own list "0-3,8". 0: unclear. */
unsigned uring_count_cpus(const char *list);

#endif
