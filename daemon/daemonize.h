/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Going into the background without lying: the caller's process returns when the mount
 * answers, or with the one line that says why it does not.
 *
 *	daemonize_start()	forks; the parent never returns from it
 *	daemonize_ready()	the parent prints the line, if any, and exits with 0; the terminal
 *				is let go
 *	daemonize_failed()	the parent prints the line, waits until the daemon has ended, so that
 *				the image is free, and exits with the status
 *
 * In the foreground nothing is forked and a failure's line goes to stderr.
 */
#ifndef KFS_DAEMON_DAEMONIZE_H
#define KFS_DAEMON_DAEMONIZE_H

#include <stdbool.h>

#include "daemon/base/util.h"

/* Called before any thread is started. Negative errno: nothing was forked. */
MUST_USE int daemonize_start(bool foreground);
/* @line: without "kfs: " and newline. "": nothing to say. Once told, later calls do nothing. */
void daemonize_ready(const char *line);
void daemonize_failed(int status, const char *line);

#endif
