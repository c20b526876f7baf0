// SPDX-License-Identifier: GPL-2.0-only
/*
 * Block allocation: count first, then place.
 *
 * A caller first claims its blocks from the store's free counter, so that "no space"
 * and what statfs says always agree and two threads never race for the last block.
 * Then a place is looked for: the inode's reservation, the goal itself, the goal's
 * group and flex group, then any group that can hold the run; shorter runs only
 * when no group has a longer one. What was claimed and not found goes back.
 *
 * Invariants
 * (1) blocks_free never falls below what the caller must leave to others.
 * (2) A block is handed out only if its busy bit was clear, or set by the caller's
 *     own reservation, under the group lock.
 * (3) Groups are chosen by hints read without their lock and checked again under it.
 */
#include "daemon/store/balloc.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/base/check.h"
#include "daemon/store/group.h"
#include "daemon/store/inode.h"
#include "daemon/store/super.h"

/* A shorter run right behind the file is taken if it is at least this long. */
#define NEAR_RUN_MIN 64
/* A window may take this share of what is free. */
#define WINDOW_SHARE 32
/* What of a large file is kept in one piece. */
#define ALIGN_BYTES (2u << 20)
/* Groups per flex group from which files are kept out of its first group, as in ext4. */
#define FLEX_SIZE_DIR_SCHEME 4

struct search {
	struct store *s;
	struct handle *h;
	const struct alloc_req *req;
	struct resv_window *behind; /* where the rest of the run is kept; NULL: nowhere */
	struct resv_window *before; /* where what is skipped is kept, if something is */
	uint32_t want;		    /* claimed */
	uint32_t window;	    /* wished behind it */
	uint32_t skip;		    /* wished before it, for writes that this one overtook */
	uint32_t unit;		    /* of a large file: where its runs begin and end; 1: anywhere */
	uint32_t goal_group, goal_bit;
	uint64_t pblk; /* result */
	uint32_t count;
};

/* ---- counting ------------------------------------------------------------- */

/* Blocks this caller must leave alone. */
static int64_t kept_back(const struct store *s, uint32_t flags)
{
	uint64_t kept = 0;

	if (!(flags & ALLOC_META))
		kept += s->resv_blocks;
	if (!(flags & (ALLOC_RESERVED_OK | ALLOC_META)))
		kept += s->reserved_blocks;
	return (int64_t)kept;
}

static uint32_t claim(struct store *s, uint32_t want, uint32_t flags)
{
	int64_t kept = kept_back(s, flags);
	int64_t free_now = atomic_load(&s->blocks_free);
	int64_t take;

	do {
		if (free_now <= kept)
			return 0;
		take = MIN((int64_t)want, free_now - kept);
	} while (!atomic_compare_exchange_weak(&s->blocks_free, &free_now, free_now - take));
	return (uint32_t)take;
}

bool balloc_may_use_reserved(const struct store *s, uint32_t uid, uint32_t gid, bool capable)
{
	return capable || uid == s->resuid || (s->resgid != 0 && gid == s->resgid);
}

/* ---- places --------------------------------------------------------------- */

uint64_t balloc_goal(const struct inode *i)
{
	const struct store *s = i->store;
	uint32_t g = (i->ino - 1) / s->inodes_per_group;

	if (s->flex_size >= FLEX_SIZE_DIR_SCHEME) {
		/* The first group of a flex group is left to its metadata and directories. */
		g -= g % s->flex_size;
		if (!inode_is_dir(i) && g + 1 < s->group_count)
			g++;
	}
	return store_group_first(s, g) + geometry_base_meta(s, g);
}

/* Caller holds the lock of group @g; bits are free, or (@reserved) the inode's own. */
static int take(struct search *q, uint32_t g, uint32_t first, uint32_t count, bool reserved)
{
	struct store *s = q->s;
	struct group *grp = &s->groups[g];
	struct buf *bitmap;
	int ret;

	ret = group_change_begin(s, q->h, g, BITMAP_BLOCKS, &bitmap);
	if (ret)
		return ret;
	if (!reserved)
		busy_set(s, g, first, count);
	bitmap_set(bitmap->data, first, count);
	atomic_fetch_sub(&grp->blocks_free, count);
	group_change_end(s, q->h, g, BITMAP_BLOCKS, bitmap, first, count);
	q->pblk = store_group_first(s, g) + first;
	q->count = count;
	return 0;
}

/* The run that would serve best, wherever it begins. */
static uint32_t wish(const struct search *q)
{
	return q->skip + q->want + q->window + q->unit - 1;
}

/*
 * What of the free blocks @run is used: those before the place that the file's blocks have in their unit are left, if
 * there is a unit or all that is wanted without them.
 */
static struct bit_run cut(const struct search *q, uint32_t g, struct bit_run run)
{
	uint64_t pblk = store_group_first(q->s, g) + run.first;
	uint32_t skip = run.len >= wish(q) - q->window ? q->skip : 0;
	uint32_t pad = (uint32_t)(q->req->lblk - skip - pblk) % q->unit;

	if (run.len >= pad + MIN(skip + q->want, q->unit)) {
		run.first += pad;
		run.len -= pad;
	}
	run.len = MIN(run.len, q->skip + q->want + q->window);
	return run;
}

/*
 * Take from the run of free blocks @run what is wanted; the rest goes to the windows.
 * 1: the group is of no use. Caller holds the lock of group @g.
 */
static int take_run(struct search *q, uint32_t g, struct bit_run run)
{
	uint32_t skip = run.len >= q->skip + q->want ? q->skip : 0;
	uint32_t count = MIN(run.len - skip, q->want);
	uint32_t lblk = q->req->lblk;
	int ret = take(q, g, run.first + skip, count, false);

	/* Its bitmap turned bad after the map was made: others serve. */
	if (ret == -EUCLEAN || ret == -EBADMSG)
		return 1;
	if (ret || !q->behind)
		return ret;
	if (skip)
		resv_set_locked(q->s, q->before, g, (struct bit_run){ run.first, skip },
				lblk - skip);
	skip += count;
	resv_set_locked(q->s, q->behind, g, (struct bit_run){ run.first + skip, run.len - skip },
			lblk + count);
	return 0;
}

/* 1: nothing fit here. */
static int try_group(struct search *q, uint32_t g, uint32_t need)
{
	struct store *s = q->s;
	struct group *grp = &s->groups[g];
	uint32_t from = g == q->goal_group ? q->goal_bit : 0;
	struct bit_run run = { 0 }, longest;
	int ret;

	if (atomic_load_explicit(&grp->run_hint, memory_order_relaxed) < need)
		return 1;
	atomic_fetch_add_explicit(&s->groups_scanned, 1, memory_order_relaxed);
	rwlock_write(&grp->lock);
	ret = busy_load(s, g);
	if (ret) {
		rwlock_unwrite(&grp->lock);
		return ret == -ENOMEM ? ret : 1;
	}
	if (grp->run_hint >= need && from)
		run = busy_search(s, g, from, MAX(need, wish(q)));
	if (grp->run_hint >= need && run.len < need) {
		longest = busy_search(s, g, 0, MAX(need, wish(q)));
		if (longest.len < need)
			busy_set_hint(s, grp, longest.len);
		run = longest;
	}
	ret = run.len >= need && run.len > 0 ? take_run(q, g, cut(q, g, run)) : 1;
	rwlock_unwrite(&grp->lock);
	return ret;
}

/* Any group with a run of @need: goal's flex group first. 1: none. */
static int try_groups(struct search *q, uint32_t need)
{
	struct store *s = q->s;
	uint32_t flex = q->goal_group - q->goal_group % s->flex_size;
	uint32_t members = MIN(s->flex_size, s->group_count - flex);
	uint32_t n, g, cursor;
	int ret = 1;

	if (!busy_possible(s, need))
		return 1;
	for (n = 0; n < members && ret == 1; n++)
		ret = try_group(q, flex + (q->goal_group - flex + n) % members, need);
	if (ret != 1)
		return ret;
	cursor = atomic_load_explicit(&s->alloc->cursor, memory_order_relaxed) % s->group_count;
	for (n = 0; n < s->group_count && ret == 1; n++) {
		g = (cursor + n) % s->group_count;
		if (g < flex || g >= flex + members)
			ret = try_group(q, g, need);
		if (ret == 0)
			atomic_store_explicit(&s->alloc->cursor, g, memory_order_relaxed);
	}
	return ret;
}

/*
 * Has it a place of its own in its unit that the goal is not? So have large runs that only begin there, and the units of a
 * stream whose beginning was too small for one: they would all lie askew behind it.
 */
static bool goal_is_askew(const struct search *q)
{
	uint64_t goal = store_group_first(q->s, q->goal_group) + q->goal_bit;
	uint32_t lblk = q->req->lblk - q->skip;

	if (q->unit == 1)
		return false;
	return !q->req->goal || (lblk % q->unit == 0 && (lblk - goal) % q->unit != 0);
}

/* Exactly at the goal, if the run there is worth it. 1: it is not. */
static int try_goal(struct search *q, bool exact)
{
	struct store *s = q->s;
	struct group *grp = &s->groups[q->goal_group];
	uint32_t len;
	int ret;

	if (goal_is_askew(q))
		return 1;
	if (atomic_load_explicit(&grp->blocks_avail, memory_order_relaxed) == 0)
		return 1;
	rwlock_write(&grp->lock);
	ret = busy_load(s, q->goal_group);
	if (ret) {
		rwlock_unwrite(&grp->lock);
		return ret == -ENOMEM ? ret : 1;
	}
	len = busy_run_at(s, q->goal_group, q->goal_bit, q->skip + q->want + q->window);
	if (len > 0 && (exact || len >= q->want || len >= NEAR_RUN_MIN))
		ret = take_run(q, q->goal_group,
			       (struct bit_run){ .first = q->goal_bit, .len = len });
	else
		ret = 1;
	rwlock_unwrite(&grp->lock);
	return ret;
}

/* Longest runs first. 1: the image has no free block that nobody holds. */
static int place(struct search *q)
{
	uint32_t need = wish(q);
	int ret = try_goal(q, q->req->flags & ALLOC_EXACT);

	if (ret != 1 || (q->req->flags & ALLOC_EXACT))
		return ret;
	for (;;) {
		ret = try_groups(q, need);
		if (ret != 1 || need == 1)
			return ret;
		/* Down to what is wanted by halves, then below it by halves. */
		need = need > q->want ? MAX(need / 2, q->want) : need / 2;
	}
}

/* ---- the inode's reservation ---------------------------------------------- */

/* From the window that the request lies in. 1: it does not suit. */
static int take_window(struct search *q, struct resv *r, struct resv_window *w)
{
	struct store *s = q->s;
	struct group *grp = &s->groups[w->group];
	uint32_t skip = q->req->lblk - w->lblk, count = MIN(q->want, w->end - q->req->lblk);
	struct resv_window *tail = NULL;
	int ret = 1;

	if (skip > 0 && skip + count < w->end - w->lblk)
		tail = resv_spare(s, r, w);
	rwlock_write(&grp->lock);
	if (w->len > 0) {
		ret = take(q, w->group, w->first + skip, count, true);
		if (!ret)
			resv_consume_locked(s, w, skip, count, tail);
	}
	rwlock_unwrite(&grp->lock);
	/* Taken away, or its bitmap turned bad after it was set: it is of no use. */
	if (ret == -EUCLEAN || ret == -EBADMSG)
		ret = 1;
	if (ret == 1)
		resv_drop(s, w);
	return ret;
}

/* 1: the request lies in no window, or that does not suit. */
static int try_windows(struct search *q, struct resv *r)
{
	uint32_t lblk = q->req->lblk;

	for (int k = 0; k < RESV_WINDOWS; k++) {
		struct resv_window *w = &r->windows[k];

		if (w->lblk <= lblk && lblk < w->end)
			return take_window(q, r, w);
	}
	return 1;
}

static uint32_t pow2_at_least(uint32_t n)
{
	return n <= 1 ? 1 : 1u << (32 - __builtin_clz(n - 1));
}

/* How much to keep behind this run: twice as much each time a stream asks again. */
static uint32_t window_size(const struct search *q, const struct resv *r, bool stream)
{
	struct store *s = q->s;
	uint64_t share = (uint64_t)MAX(atomic_load(&s->blocks_free), 0) / WINDOW_SHARE;
	uint32_t size = 0;

	if (stream)
		size = MAX(r->size * (q->skip ? 1 : 2), pow2_at_least(q->want) * 2);
	else if (q->req->flags & ALLOC_STREAM)
		size = pow2_at_least(q->want);
	if (size)
		size = MAX(size, (uint32_t)RESV_WINDOW_MIN);
	size = MIN(size, (uint32_t)RESV_WINDOW_MAX);
	return (uint32_t)MIN((uint64_t)size, share);
}

/* Ahead of its stream, which ends at @head: room is left for those that it overtook. */
static void leave_gap(struct search *q, uint32_t head, bool goal_follows)
{
	uint32_t gap = q->req->lblk - head;

	if (goal_follows && q->goal_bit < gap)
		return;
	q->skip = gap;
	if (goal_follows)
		q->goal_bit -= gap;
}

/* The request belongs to no window: see to a new one, if there shall be one. */
static void plan_window(struct search *q, struct resv *r, bool is_new)
{
	const struct alloc_req *req = q->req;
	uint32_t lblk = req->lblk;
	/* A file's first write may have been overtaken, too. */
	uint32_t head = !is_new ? resv_head(r) : req->inode->size == 0 ? 0 : lblk;
	bool large = req->count >= RESV_SKIP_RUN_MIN;
	bool ahead = lblk >= head && lblk - head <= (large ? RESV_SKIP_MAX : 0);
	bool stream = ahead && lblk > 0;

	/* One that was overtaken, and no room was left: the stream shall not suffer. */
	if (large && lblk < r->lblk_next && r->lblk_next - lblk <= RESV_SKIP_MAX)
		return;
	if (!ahead) {
		resv_drop_all(q->s, r);
		r->lblk_next = 0;
	} else if (lblk > head) {
		leave_gap(q, head, !is_new);
	}
	q->before = q->skip ? resv_spare(q->s, r, NULL) : NULL;
	q->behind = resv_spare(q->s, r, q->before);
	q->window = window_size(q, r, stream);
	r->size = q->window;
}

/*
 * A large file's runs end, and begin where they do not go on from one another, as its units do: one of 2 MiB is one
 * piece then, which a huge page or a guest's window can map.
 */
static void align(struct search *q)
{
	uint32_t unit = ALIGN_BYTES / q->s->block_size;

	if (q->want + q->window < unit || unit > q->s->blocks_per_group / 4)
		return;
	q->unit = unit;
	q->window += (0 - (q->req->lblk + q->want + q->window)) % unit;
}

/* 0: the blocks came from a window of the inode's; 1: search, as q says now. */
static int use_reservation(struct search *q)
{
	const struct alloc_req *req = q->req;
	struct inode *i = req->inode;
	bool is_new = !i->resv, windows = true;
	int ret = 1;

	if (!inode_is_reg(i) || (req->flags & (ALLOC_META | ALLOC_EXACT)))
		return 1;
	if (!is_new)
		ret = try_windows(q, i->resv);
	/* Most files are written once, whatever their size: a window behind each would scatter them. */
	else if (req->lblk == 0 && !(req->flags & ALLOC_STREAM))
		windows = false;
	if (ret != 1)
		return ret;
	if (is_new && windows)
		i->resv = resv_new();
	if (i->resv) /* without a reservation it works as well, less tidily */
		plan_window(q, i->resv, is_new);
	align(q);
	return 1;
}

/* ---- public --------------------------------------------------------------- */

static void set_goal(struct search *q)
{
	struct store *s = q->s;
	uint64_t goal = q->req->goal;

	if (goal < s->first_data_block || goal >= s->blocks_count || goal == 0)
		goal = balloc_goal(q->req->inode);
	goal = MIN(goal, s->blocks_count - 1);
	q->goal_group = store_group_of(s, goal);
	q->goal_bit = (uint32_t)(goal - store_group_first(s, q->goal_group));
}

static int find(struct search *q)
{
	int ret = use_reservation(q);

	if (ret == 1)
		ret = place(q);
	/* All that is free may be reserved for others: they are asked to give way. */
	if (ret == 1 && resv_reclaim(q->s)) {
		q->window = q->skip = 0;
		q->unit = 1;
		ret = place(q);
	}
	return ret == 1 ? -ENOSPC : ret;
}

int balloc(struct handle *h, const struct alloc_req *req, uint64_t *ret_pblk, uint32_t *ret_count)
{
	struct store *s = req->inode->store;
	struct search q = { .s = s, .h = h, .req = req, .unit = 1 };
	uint32_t i;
	int ret;

	CHECK(req->count >= 1);
	q.want = claim(s, MIN(req->count, s->blocks_per_group), req->flags);
	if (q.want == 0)
		return -ENOSPC;
	i = q.want;
	set_goal(&q);
	ret = find(&q);
	if (ret)
		q.count = 0;
	atomic_fetch_add(&s->blocks_free, (int64_t)(i - q.count));
	if (ret)
		return ret;
	if (req->inode->resv && !(req->flags & (ALLOC_META | ALLOC_EXACT)))
		req->inode->resv->lblk_next = MAX(req->inode->resv->lblk_next, req->lblk + q.count);
	atomic_fetch_add(&s->allocs, 1);
	atomic_fetch_add(&s->alloc_blocks, q.count);
	busy_shed(s);
	*ret_pblk = q.pblk;
	*ret_count = q.count;
	return 0;
}
