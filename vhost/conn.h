/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the back end: one front end's connection, on a thread of its own. */
#ifndef KFS_VHOST_CONN_H
#define KFS_VHOST_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "vhost/device.h"

struct conn;

struct conn_opts {
	struct device_opts device;
	const char *tag; /* outlives the connection */
	uint32_t queues; /* for requests, as told to the guest */
	int ended_fd;	 /* eventfd that is written when the front end has gone */
};

/* Takes @fd, also on failure. */
MUST_USE int conn_start(int fd, const struct conn_opts *opts, struct conn **ret_conn);
/* The front end has gone: conn_free() does not wait for it. */
bool conn_ended(const struct conn *c);
/* Disconnects, and waits until nothing is left. */
void conn_free(struct conn *c);

#endif
