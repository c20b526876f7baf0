/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the back end: a guest that takes its image along. Its device is in one of these states; where
 * the image always stays (device_opts.image is NULL) it is never another than the first.
 *
 *	served		there is a session of an open store
 *	away		the image is closed: nothing is served. What was saved is kept, and a guest that is
 *			started again after all goes on with it; or there is nothing, and one that arrives is
 *			waited for
 *	arriving	a state was loaded, nothing was written to the image: the first ring that is
 *			started makes it served, and until then all can be undone
 *
 * By the connection's thread with the rings stopped, or by that of its transfer while that runs.
 */
#ifndef KFS_VHOST_HANDOVER_H
#define KFS_VHOST_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "daemon/proto/state.h"

struct device;

/* What a guest took along, for its return. */
struct handover {
	uint8_t *saved; /* NULL: nothing */
	size_t saved_len, saved_room;
	bool counted; /* the device uses the image, or holds it: who is not alone cannot hand it over */
	bool arriving;
	char why[512]; /* of the last refusal; empty: what the error says */
};

/* The image, if it is open; for a device that begins. */
void handover_enter(struct device *d);
/* The device ends; its session is gone. */
void handover_leave(struct device *d);
/* What was loaded is forgotten, and the image is as it was found. */
void handover_undo(struct device *d);
/* A ring is about to be started: the guest is served from here on, or it was said why it is not. */
void handover_arrive(struct device *d);
/* As proto_state_save() and proto_state_load(), by what state the device is in. */
MUST_USE int handover_save(struct device *d, proto_write_fn write, void *arg);
MUST_USE int handover_load(struct device *d, proto_read_fn read, void *arg);
/* Something could be saved, or loaded. */
bool handover_can(const struct device *d, bool load);

#endif
