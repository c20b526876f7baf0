/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the back end: a guest's window, mapped here as well. For front ends that do not announce what they have mapped:
 * buffers of requests may lie in the window all the same.
 *
 * What is taken down is replaced, never left out: a request in flight finds memory at its address, though nobody's. That
 * memory is one range's, the same for all of the window, so that a guest cannot fill the machine with it.
 *
 * One thread changes it, any may look whether something is shown.
 */
#ifndef KFS_VHOST_VIEW_H
#define KFS_VHOST_VIEW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct guard;

/* Shown or not are whole units. */
#define VIEW_UNIT (UINT64_C(2) << 20)

struct view {
	uint8_t *at; /* NULL: there is none */
	uint64_t size;
	int filler_fd;	     /* a unit's memory */
	struct guard *guard; /* of all of it: the image may become shorter */
	_Atomic bool *shown; /* for each unit */
};

/* @size: whole units. -errno. */
MUST_USE int view_init(struct view *v, uint64_t size);
/* Nobody looks. None is fine. */
void view_fini(struct view *v);
/*
 * Bytes @off.. are those at @image_off of @image_fd. -ENOMEM: more pieces than a process may have; then nothing has
 * changed. -EIO: the image was cut short. Offsets and lengths are whole pages within.
 */
MUST_USE int view_map(struct view *v, uint64_t off, uint64_t len, int image_fd, uint64_t image_off);
/* Bytes @off.., all in one unit, are nobody's. */
MUST_USE int view_hide(struct view *v, uint64_t off, uint64_t len);
/* Whether requests may name bytes of the unit at @off; told after they are mapped, and before they are hidden. */
void view_show(struct view *v, uint64_t off, bool shown);

#endif
