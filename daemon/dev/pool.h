/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How many threads should wait for the requests of one source: enough that a request does
 * not wait behind slow ones for more than a few milliseconds, and no more than that.
 *
 * A thread says pool_wait() before it waits and pool_took() when it has a request. When
 * none is left waiting the pool rings its bell (an eventfd), and whoever listens calls
 * pool_look() every POOL_LOOK_MS until that says false. Mostly a thread is back in
 * microseconds, sooner than another one would be there; so the pool grows only when
 * nothing was taken between two looks, or all were busy at several.
 */
#ifndef KFS_DEV_POOL_H
#define KFS_DEV_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define POOL_LOOK_MS 1

struct pool {
	_Atomic int32_t idle;	/* [atomic] threads that wait for a request */
	_Atomic uint64_t taken; /* [atomic] requests taken */
	_Atomic bool watched;	/* [atomic] the bell has rung, and the looks have not ended */
	int bell;		/* [written once] eventfd */
	/* One more thread that waits, if that can be had. Any thread may call it. */
	void (*grow)(struct pool *p);
	/* What was seen at the looks so far [the looker]. */
	uint64_t taken_seen;
	unsigned busy_looks, idle_looks;
};

void pool_init(struct pool *p, int bell, void (*grow)(struct pool *p));

static inline void pool_wait(struct pool *p)
{
	atomic_fetch_add(&p->idle, 1);
}

/* The wait ended without a request. */
static inline void pool_leave(struct pool *p)
{
	atomic_fetch_sub(&p->idle, 1);
}

void pool_took(struct pool *p);
/* One look, if the pool is watched; false when there is nothing to watch any more. */
bool pool_look(struct pool *p);

#endif
