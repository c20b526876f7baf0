/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A session's state on its way to or from a front end, through a pipe that the front end made.
 * The front end reads or writes it after it was told that the transfer has begun, so this is a
 * thread of its own. One at a time; nobody else uses the device's session until transfer_wait() or
 * transfer_cancel() has returned.
 */
#ifndef KFS_VHOST_TRANSFER_H
#define KFS_VHOST_TRANSFER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct device;

/* Zeros: none. */
struct transfer {
	struct device *dev;
	bool running, load; /* [its owner] there is a thread; which way it goes */
	int fd, stop_fd, done_fd;
	_Atomic bool stop;
	int result; /* [its thread, until it was joined] */
	pthread_t thread;
	uint8_t *buf; /* [its thread] */
	uint32_t have, used;
};

/* Takes @fd, also on failure. -EBUSY: one is under way. */
MUST_USE int transfer_start(struct transfer *t, struct device *dev, bool load, int fd);
bool transfer_loads(const struct transfer *t);
/*
 * Until all was moved: how it went, as handover_save() and _load() say. -ENOTCONN: one of
 * @stops became readable first. -ENXIO: there was none to wait for.
 */
MUST_USE int transfer_wait(struct transfer *t, const int stops[2]);
/* True: one was under way. How far it came is not known. */
bool transfer_cancel(struct transfer *t);

#endif
