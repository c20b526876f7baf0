/* SPDX-License-Identifier: GPL-2.0-only */
/* Failures of cached writes until their writer has been told: a small table, usually empty. */
#include "daemon/proto/lost.h"

#include "daemon/base/check.h"

void lost_init(struct lost_writes *l)
{
	*l = (struct lost_writes){ 0 };
	mutex_init(&l->lock, LOCK_LEAF);
}

/* The slot of @nodeid, or -1. Caller holds the lock. */
static int find_locked(const struct lost_writes *l, uint64_t nodeid)
{
	for (int i = 0; i < LOST_MAX; i++)
		if (l->slot[i].nodeid == nodeid)
			return i;
	return -1;
}

void lost_note(struct lost_writes *l, uint64_t nodeid, int error)
{
	int i;

	CHECK(nodeid != 0 && error < 0);
	mutex_lock(&l->lock);
	i = find_locked(l, nodeid);
	if (i < 0) {
		i = (int)(l->next++ % LOST_MAX);
		if (!l->slot[i].nodeid)
			atomic_fetch_add(&l->count, 1);
	}
	l->slot[i].nodeid = nodeid;
	l->slot[i].error = error;
	mutex_unlock(&l->lock);
}

int lost_take(struct lost_writes *l, uint64_t nodeid)
{
	int i, error = 0;

	if (atomic_load_explicit(&l->count, memory_order_relaxed) == 0)
		return 0;
	mutex_lock(&l->lock);
	i = find_locked(l, nodeid);
	if (i >= 0) {
		error = l->slot[i].error;
		l->slot[i].nodeid = 0;
		atomic_fetch_sub(&l->count, 1);
	}
	mutex_unlock(&l->lock);
	return error;
}
