/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * FUSE over io_uring, beside /dev/fuse: once the rings are registered the kernel sends its
 * requests through them, and only INIT, FORGET and INTERRUPT through the device.
 *
 * Order: uring_new() (before the mount: the rings are made, so that INIT can promise
 * them), uring_begin() when INIT was answered, uring_stop() when it is over, uring_free()
 * when the session is gone.
 */
#ifndef KFS_DEV_URING_H
#define KFS_DEV_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct dev;
struct uring;

/* On failure @why says what is in the way and, where there is one, the remedy. */
MUST_USE int uring_new(struct dev *d, uint32_t threads_max, struct uring **ret_uring, char *why,
		       size_t why_len);
/* INIT was answered; @agreed: the kernel waits for the rings. Any thread, once. */
void uring_begin(struct uring *u, bool agreed);
/* Ends every thread, whatever it waits for. */
void uring_stop(struct uring *u);
void uring_free(struct uring *u);
/* A pool of a queue may need a further thread: see pool_look(). */
bool uring_look(struct uring *u);

struct uring_stats {
	uint32_t queues, threads, threads_max, parked;
};
void uring_get_stats(struct uring *u, struct uring_stats *ret_stats);

#endif
