/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kfs-virtiofsd: what its parts share. options.c reads the command line of virtiofsd, serve.c finds the daemon that has
 * the directory and hands it the socket, or becomes one; main.c is the order of it.
 *
 * Functions return an exit status, and have said why it is not EXIT_DONE.
 */
#ifndef KFS_VIRTIOFSD_H
#define KFS_VIRTIOFSD_H

#include <stdbool.h>

#include "daemon/base/log.h"
#include "daemon/base/util.h"

#define VIRTIOFSD_TAG_MAX 36

enum virtiofsd_action { ACTION_SERVE, ACTION_HELP, ACTION_VERSION, ACTION_CAPABILITIES };

struct virtiofsd_options {
	enum virtiofsd_action action;
	char *shared_dir, *socket_path, *socket_group; /* NULL: not given */
	char *tag, *cache;			       /* NULL: the daemon's own */
	int fd;					       /* -1: not given */
	bool readonly, no_readdirplus, daemonize, syslog;
	enum log_level log_level;
};

MUST_USE int virtiofsd_parse(int argc, char **argv, struct virtiofsd_options *ret_options);
void virtiofsd_options_fini(struct virtiofsd_options *o);
void virtiofsd_usage(void);

/* Until the guest has gone. */
MUST_USE int virtiofsd_serve(const struct virtiofsd_options *o);

#endif
