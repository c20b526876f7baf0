/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the back end: requests to the front end, on the socket that it handed over for them.
 *
 * A front end that answers late, wrongly or not at all is not asked again: what a later answer
 * would mean is not known. For one thread; backend_stop() for any.
 */
#ifndef KFS_VHOST_BACKEND_H
#define KFS_VHOST_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "vhost/msg.h"

/* QEMU answers in its main loop: more than a busy one takes. */
#define BACKEND_WAIT_MS 5000

struct backend {
	int fd; /* -1: none */
	int stop_fd;
	bool dead;
};

/* -errno. */
MUST_USE int backend_init(struct backend *b);
void backend_fini(struct backend *b);
/* Takes @fd, in place of the one before. */
void backend_set_fd(struct backend *b, int fd);
/* A request that waits, and all later ones, fail. */
void backend_stop(struct backend *b);
/*
 * MAP with @fd, UNMAP with -1. -EREMOTEIO: the front end refuses. -ETIMEDOUT, -EPROTO, -ENOTCONN:
 * it is not asked again.
 */
MUST_USE int backend_shmem(struct backend *b, enum msg_backend_request request,
			   const struct msg_shmem *shmem, int fd);
/*
 * A request that changes nothing, whatever it is answered: a front end serves one after the other, so all that was asked
 * before is done. Errors: but for -EREMOTEIO, the same.
 */
MUST_USE int backend_barrier(struct backend *b);

#endif
