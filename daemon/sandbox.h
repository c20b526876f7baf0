/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a daemon that serves may still ask of the kernel: a list of system calls, held by seccomp for every thread, those
 * to come included, for ever. Everything else fails with EPERM.
 *
 *	sandbox_enter()		when the mount answers and all sockets listen
 *
 * After it no process can be started, no program executed, no privilege gained, no memory made executable, no socket
 * opened but to talk to this host, no other process signalled. Calls that make sense for some daemons only are allowed
 * to those (struct sandbox_needs). Rings of io_uring open files behind the filter's back: only daemons whose requests
 * come that way have them.
 */
#ifndef KFS_DAEMON_SANDBOX_H
#define KFS_DAEMON_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/util.h"

struct sandbox_needs {
	bool mount; /* there is one to be unmounted */
	bool uring; /* requests come through rings */
	bool bpf;   /* programs are loaded now or later */
};

/* The text says why it cannot be; nothing is confined then. */
MUST_USE int sandbox_enter(const struct sandbox_needs *needs, char *err, size_t err_len);
/* The list, for tests: the @index-th call that is allowed whatever its arguments; NULL: no more. */
const char *sandbox_allowed(const struct sandbox_needs *needs, size_t index);

#endif
