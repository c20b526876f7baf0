// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reservations: blocks behind the last one of a file that grows, kept for its next
 * writes so that files written side by side do not interleave. In memory only.
 *
 * Invariants
 * (1) A window's bits are set in its group's busy map and clear on disk.
 * (2) The window belongs to its group: anybody who holds the group's lock may take
 *     it away; the inode then finds len == 0 and asks anew.
 * (3) r->group changes only when len is 0, and only by the inode's owner.
 */
#include <stdlib.h>

#include "daemon/base/check.h"
#include "daemon/store/balloc.h"
#include "daemon/store/inode.h"

void resv_set_locked(struct store *s, struct resv *r, uint32_t g, struct bit_run window)
{
	struct group *grp = &s->groups[g];

	CHECK(r->len == 0);
	r->group = g;
	if (window.len == 0)
		return;
	busy_set(s, g, window.first, window.len);
	r->first = window.first;
	r->len = window.len;
	list_add_tail(&grp->resvs, &r->link);
	atomic_fetch_add(&grp->resv_blocks, window.len);
	atomic_fetch_add(&s->alloc->resv_blocks, window.len);
}

/* @count blocks leave the window's front; the caller decides about their bits. */
static void shrink(struct store *s, struct resv *r, uint32_t count)
{
	struct group *grp = &s->groups[r->group];

	CHECK(count <= r->len);
	r->first += count;
	r->len -= count;
	atomic_fetch_sub(&grp->resv_blocks, count);
	atomic_fetch_sub(&s->alloc->resv_blocks, count);
	if (r->len == 0)
		list_del(&r->link);
}

void resv_consume_locked(struct store *s, struct resv *r, uint32_t count)
{
	shrink(s, r, count);
}

void resv_drop_locked(struct store *s, struct resv *r)
{
	uint32_t first = r->first, len = r->len;

	if (len == 0)
		return;
	shrink(s, r, len);
	busy_clear(s, r->group, first, len);
}

void balloc_release_resv(struct inode *i)
{
	struct store *s = i->store;
	struct resv *r = i->resv;
	struct group *grp;

	if (!r)
		return;
	grp = &s->groups[r->group];
	rwlock_write(&grp->lock);
	resv_drop_locked(s, r);
	rwlock_unwrite(&grp->lock);
	i->resv = NULL;
	free(r);
}

bool resv_reclaim(struct store *s)
{
	bool found = false;
	uint32_t g;

	if (atomic_load(&s->alloc->resv_blocks) == 0)
		return false;
	for (g = 0; g < s->group_count; g++) {
		struct group *grp = &s->groups[g];

		if (atomic_load_explicit(&grp->resv_blocks, memory_order_relaxed) == 0)
			continue;
		rwlock_write(&grp->lock);
		while (!list_empty(&grp->resvs)) {
			resv_drop_locked(s, list_entry(grp->resvs.next, struct resv, link));
			found = true;
		}
		rwlock_unwrite(&grp->lock);
	}
	return found;
}
