// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reservations: blocks behind the last one of a file that grows, kept for its next
 * writes so that files written side by side do not interleave, and those that writes
 * passed over which overtook others on their way here. In memory only.
 *
 * Invariants
 * (1) A window's bits are set in its group's busy map and clear on disk.
 * (2) The window belongs to its group: anybody who holds the group's lock may take
 *     it away; the inode then finds len == 0 and asks anew.
 * (3) w->group changes only when len is 0, and only by the inode's owner; likewise what
 *     of the file the window is for, which the owner reads without the group's lock.
 */
#include <stdlib.h>

#include "daemon/base/check.h"
#include "daemon/store/balloc.h"
#include "daemon/store/inode.h"

struct resv *resv_new(void)
{
	struct resv *r = calloc(1, sizeof(*r));

	for (int k = 0; r && k < RESV_WINDOWS; k++)
		list_init(&r->windows[k].link);
	return r;
}

static void count_reserved(struct store *s, uint32_t g, int64_t blocks)
{
	atomic_fetch_add(&s->groups[g].resv_blocks, (uint32_t)blocks);
	atomic_fetch_add(&s->alloc->resv_blocks, (uint64_t)blocks);
}

void resv_set_locked(struct store *s, struct resv_window *w, uint32_t g, struct bit_run run,
		     uint32_t lblk)
{
	CHECK(w->len == 0);
	w->group = g;
	w->first = run.first;
	w->len = run.len;
	w->lblk = lblk;
	w->end = lblk + run.len;
	if (run.len == 0)
		return;
	busy_set(s, g, run.first, run.len);
	list_add_tail(&s->groups[g].resvs, &w->link);
	count_reserved(s, g, run.len);
}

void resv_consume_locked(struct store *s, struct resv_window *w, uint32_t skip, uint32_t count,
			 struct resv_window *tail)
{
	uint32_t behind = w->len - skip - count;

	CHECK(skip + count <= w->len);
	count_reserved(s, w->group, -(int64_t)count);
	if (skip == 0) {
		w->first += count;
		w->lblk += count;
		w->len = behind;
		if (w->len == 0)
			list_del(&w->link);
		return;
	}
	if (behind > 0) {
		CHECK(tail && tail->len == 0);
		*tail = (struct resv_window){ .group = w->group,
					      .first = w->first + skip + count,
					      .len = behind,
					      .lblk = w->lblk + skip + count,
					      .end = w->end };
		list_add_tail(&s->groups[w->group].resvs, &tail->link);
	}
	w->len = skip;
	w->end = w->lblk + skip;
}

static void drop_locked(struct store *s, struct resv_window *w)
{
	if (w->len == 0)
		return;
	count_reserved(s, w->group, -(int64_t)w->len);
	busy_clear(s, w->group, w->first, w->len);
	w->len = 0;
	list_del(&w->link);
}

void resv_drop(struct store *s, struct resv_window *w)
{
	struct group *grp = &s->groups[w->group];

	if (w->lblk == w->end)
		return;
	rwlock_write(&grp->lock);
	drop_locked(s, w);
	rwlock_unwrite(&grp->lock);
	w->end = w->lblk;
}

void resv_drop_all(struct store *s, struct resv *r)
{
	for (int k = 0; k < RESV_WINDOWS; k++)
		resv_drop(s, &r->windows[k]);
}

struct resv_window *resv_spare(struct store *s, struct resv *r, const struct resv_window *avoid)
{
	struct resv_window *spare = NULL;

	for (int k = 0; k < RESV_WINDOWS; k++) {
		struct resv_window *w = &r->windows[k];

		if (w != avoid && (!spare || w->end - w->lblk < spare->end - spare->lblk))
			spare = w;
	}
	resv_drop(s, spare);
	return spare;
}

uint32_t resv_head(const struct resv *r)
{
	uint32_t head = r->lblk_next;

	for (int k = 0; k < RESV_WINDOWS; k++) {
		const struct resv_window *w = &r->windows[k];

		if (w->lblk < w->end)
			head = MAX(head, w->end);
	}
	return head;
}

void balloc_release_resv(struct inode *i)
{
	if (!i->resv)
		return;
	resv_drop_all(i->store, i->resv);
	free(i->resv);
	i->resv = NULL;
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
			drop_locked(s, list_entry(grp->resvs.next, struct resv_window, link));
			found = true;
		}
		rwlock_unwrite(&grp->lock);
	}
	return found;
}
