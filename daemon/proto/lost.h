/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lost writes: contents that the kernel's writeback cache had taken and that could not be
 * stored (no space, too large, immutable). write(2) had succeeded long before, and nothing
 * in the protocol stops the writer from filling the cache for ever, learning of it at
 * fsync or close only.
 *
 * So the failure is kept here, the kernel is told to forget the file's attributes, and the
 * next request for them that names an open file (a cached write asks for mode and size
 * first) is answered with the error: the writer's next write(2) fails with it. Each
 * failure is told once. A read past the end or a seek to it may meet the error instead;
 * on a file that has just lost data that is not a lie.
 */
#ifndef KFS_PROTO_LOST_H
#define KFS_PROTO_LOST_H

#include <stdatomic.h>
#include <stdint.h>

#include "daemon/base/lock.h"

/* Files remembered at a time; the oldest is forgotten for the next. */
#define LOST_MAX 64

struct lost_writes {
	struct mutex lock;	/* LOCK_LEAF */
	_Atomic uint32_t count; /* [atomic] slots in use: 0 is the usual and costs one load */
	uint32_t next;		/* [lock] slot to reuse */
	struct {
		uint64_t nodeid; /* [lock] 0 = free */
		int error;
	} slot[LOST_MAX];
};

void lost_init(struct lost_writes *l);
void lost_note(struct lost_writes *l, uint64_t nodeid, int error);
/* The error to tell for @nodeid, forgotten by this; 0 = none. */
int lost_take(struct lost_writes *l, uint64_t nodeid);

#endif
