// SPDX-License-Identifier: GPL-2.0-only
/*
 * Freeing blocks, and giving free space back to the medium.
 *
 * A freed block is free on disk in the freeing transaction, but stays busy until that
 * transaction is durable: before, a crash would bring the old owner back, with
 * somebody else's bytes. Frees of one transaction in one group are collected and
 * released by one commit callback.
 *
 * Invariants
 * (1) A block pending here has its busy bit set and its disk bit clear.
 * (2) Discard comes after the commit and before the busy bit is cleared: no new
 *     owner's data can be thrown away.
 * (3) Nor is it cleared while somebody outside may be reading the blocks (drains).
 * (4) A range that is partly free, or touches fixed metadata, is corruption: it is
 *     reported, and nothing of that group is changed.
 * (5) A failure changes nothing. Want of memory for the callback is none: the blocks are
 *     freed on disk and stay busy until the image is opened again.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/store/balloc.h"
#include "daemon/store/group.h"
#include "daemon/store/inode.h"
#include "daemon/store/super.h"

/* A commit that frees nothing more is not worth waiting for a fourth time. */
#define RETRIES_MAX 3
#define RUNS_FIRST 8
/* Blocks trimmed from under one lock; others allocate around them meanwhile. */
#define TRIM_RUN_MAX 8192

struct pending_free {
	struct commit_cb cb;
	struct store *store;
	uint32_t group;
	uint32_t tid;
	uint32_t count, room;
	uint64_t ticket;	   /* [group lock] the last drain that began before one of them */
	struct pending_free *next; /* [drain lock] */
	struct bit_run *runs;	   /* [group lock] until the callback */
};

/* ---- after the commit ----------------------------------------------------- */

static void discard_runs(struct store *s, const struct pending_free *p)
{
	uint64_t base = store_group_first(s, p->group);
	uint32_t i;

	for (i = 0; i < p->count; i++) {
		int ret = bdev_discard(s->bdev, (base + p->runs[i].first) << s->block_bits,
				       (uint64_t)p->runs[i].len << s->block_bits);

		if (ret == -EOPNOTSUPP)
			return;
		if (ret)
			log_debug("discard: error %d",
				  ret); /* the space stays used, nothing worse */
	}
}

static void pending_finish(struct pending_free *p, int error)
{
	struct store *s = p->store;
	struct group *grp = &s->groups[p->group];
	uint64_t total = 0;
	uint32_t i;

	if (!error && s->opts.discard)
		discard_runs(s, p);
	rwlock_write(&grp->lock);
	for (i = 0; i < p->count; i++) {
		/* A transaction that never becomes durable has freed nothing. */
		if (!error)
			busy_clear(s, p->group, p->runs[i].first, p->runs[i].len);
		total += p->runs[i].len;
	}
	rwlock_unwrite(&grp->lock);
	atomic_fetch_sub(&s->alloc->pending_blocks, total);
	free(p->runs);
	free(p);
}

/* Caller holds the drain lock. */
static bool must_wait(const struct alloc_state *a, const struct pending_free *p)
{
	return !list_empty(&a->drains) &&
	       list_entry(a->drains.next, struct drain, link)->ticket <= p->ticket;
}

static void pending_done(struct commit_cb *cb, int error)
{
	struct pending_free *p = container_of(cb, struct pending_free, cb);
	struct alloc_state *a = p->store->alloc;
	struct group *grp = &p->store->groups[p->group];
	bool waits = false;

	/* Nobody adds to it any more. */
	rwlock_write(&grp->lock);
	if (grp->pending == p)
		grp->pending = NULL;
	rwlock_unwrite(&grp->lock);
	if (!error && p->ticket) {
		mutex_lock(&a->drain_lock);
		waits = must_wait(a, p);
		if (waits) {
			p->next = a->held;
			a->held = p;
		}
		mutex_unlock(&a->drain_lock);
	}
	if (!waits)
		pending_finish(p, error);
}

void balloc_drain_begin(struct store *s, struct drain *d)
{
	struct alloc_state *a = s->alloc;

	mutex_lock(&a->drain_lock);
	d->ticket = atomic_fetch_add(&a->drains_begun, 1) + 1;
	list_add_tail(&a->drains, &d->link);
	mutex_unlock(&a->drain_lock);
}

void balloc_drain_end(struct store *s, struct drain *d)
{
	struct pending_free *ready = NULL, **link, *p;
	struct alloc_state *a = s->alloc;

	mutex_lock(&a->drain_lock);
	list_del(&d->link);
	for (link = &a->held; (p = *link);) {
		if (must_wait(a, p)) {
			link = &p->next;
			continue;
		}
		*link = p->next;
		p->next = ready;
		ready = p;
	}
	mutex_unlock(&a->drain_lock);
	while ((p = ready)) {
		ready = p->next;
		pending_finish(p, 0);
	}
}

void balloc_held_free(struct store *s)
{
	struct pending_free *p;

	while ((p = s->alloc->held)) {
		s->alloc->held = p->next;
		free(p->runs);
		free(p);
	}
}

/* ---- collecting; callers hold the group lock ------------------------------ */

/* Room for one more run in @h's collection for group @g. False: no memory. */
static bool pending_prepare(struct store *s, struct handle *h, uint32_t g)
{
	struct group *grp = &s->groups[g];
	struct pending_free *p = grp->pending;
	struct bit_run *runs;

	if (!p || p->tid != handle_tid(h)) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return false;
		p->runs = calloc(RUNS_FIRST, sizeof(*p->runs));
		if (!p->runs) {
			free(p);
			return false;
		}
		p->room = RUNS_FIRST;
		p->store = s;
		p->group = g;
		p->tid = handle_tid(h);
		p->cb.fn = pending_done;
		/* An older collection is known to its own transaction. */
		grp->pending = p;
		journal_on_commit(h, &p->cb);
	}
	if (p->count < p->room)
		return true;
	runs = reallocarray(p->runs, p->room * 2, sizeof(*runs));
	if (!runs)
		return false;
	p->runs = runs;
	p->room *= 2;
	return true;
}

static void pending_add(struct store *s, uint32_t g, uint32_t first, uint32_t len)
{
	struct pending_free *p = s->groups[g].pending;
	struct bit_run *last = p->count ? &p->runs[p->count - 1] : NULL;

	atomic_fetch_add(&s->alloc->pending_blocks, len);
	p->ticket = atomic_load(&s->alloc->drains_begun);
	if (last && last->first + last->len == first)
		last->len += len;
	else
		p->runs[p->count++] = (struct bit_run){ .first = first, .len = len };
}

/* ---- freeing -------------------------------------------------------------- */

/* The part of a range that lies in one group. */
struct piece {
	uint32_t group, first, count;
};

static struct piece first_piece(const struct store *s, uint64_t pblk, uint64_t count)
{
	struct piece p = { .group = store_group_of(s, pblk) };
	uint64_t left;

	p.first = (uint32_t)(pblk - store_group_first(s, p.group));
	left = geometry_group_blocks(s, p.group) - p.first;
	p.count = (uint32_t)MIN(left, count);
	return p;
}

enum free_how {
	FREE_AT_ONCE = 1u << 8, /* allocatable now: nobody has seen the blocks */
};

/* Caller holds the group lock. All that can fail comes before the first change. */
static int clear_bits(struct store *s, struct handle *h, const struct piece *p, uint32_t flags)
{
	struct group *grp = &s->groups[p->group];
	uint64_t pblk = store_group_first(s, p->group) + p->first;
	struct buf *bitmap;
	int ret;

	ret = busy_load(s, p->group);
	if (!ret)
		ret = group_change_begin(s, h, p->group, BITMAP_BLOCKS, &bitmap);
	if (ret)
		return ret;
	if (!bitmap_all_set(bitmap->data, p->first, p->count)) {
		buf_put(bitmap);
		atomic_store(&grp->corrupt_blocks, true);
		return store_corrupt(s, 0, pblk, "freed blocks are free already");
	}
	if (flags & FREE_META)
		ret = journal_forget(h, pblk, p->count);
	if (ret) {
		buf_put(bitmap);
		return ret;
	}
	bitmap_clear(bitmap->data, p->first, p->count);
	atomic_fetch_add(&grp->blocks_free, p->count);
	group_change_end(s, h, p->group, BITMAP_BLOCKS, bitmap, p->first, p->count);
	if (flags & FREE_AT_ONCE)
		busy_clear(s, p->group, p->first, p->count);
	else if (pending_prepare(s, h, p->group))
		pending_add(s, p->group, p->first, p->count);
	atomic_fetch_add(&s->blocks_free, p->count);
	return 0;
}

static int free_piece(struct store *s, struct handle *h, const struct piece *p, uint32_t flags)
{
	struct group *grp = &s->groups[p->group];
	int ret = -EUCLEAN;

	rwlock_write(&grp->lock);
	if (!atomic_load(&grp->corrupt_blocks))
		ret = clear_bits(s, h, p, flags);
	rwlock_unwrite(&grp->lock);
	if (ret != -EUCLEAN && ret != -EBADMSG)
		return ret;
	/* Blocks of a group whose bitmap is wrong are lost until e2fsck finds them. */
	if (flags & FREE_META)
		return journal_forget(h, store_group_first(s, p->group) + p->first, p->count);
	return 0;
}

int balloc_free(struct handle *h, struct inode *inode, uint64_t pblk, uint64_t count,
		uint32_t flags)
{
	struct store *s = inode->store;
	int ret = 0;

	if (!store_pblk_valid(s, pblk, count))
		return store_corrupt(s, inode->ino, pblk,
				     "freed blocks lie outside the data blocks");
	while (count && !ret) {
		struct piece p = first_piece(s, pblk, count);

		ret = free_piece(s, h, &p, flags);
		pblk += p.count;
		count -= p.count;
		atomic_fetch_add(&s->free_blocks, p.count);
	}
	atomic_fetch_add(&s->frees, 1);
	busy_shed(s);
	return ret;
}

int balloc_free_prepare(struct handle *h, struct store *s, uint64_t pblk)
{
	struct buf *bitmap;
	struct group *grp;
	int ret = 0;
	uint32_t g;

	if (!store_pblk_valid(s, pblk, 1))
		return 0; /* balloc_free() reports it */
	g = store_group_of(s, pblk);
	grp = &s->groups[g];
	rwlock_write(&grp->lock);
	if (!atomic_load(&grp->corrupt_blocks))
		ret = busy_load(s, g);
	if (!ret && !atomic_load(&grp->corrupt_blocks)) {
		ret = group_change_begin(s, h, g, BITMAP_BLOCKS, &bitmap);
		if (!ret)
			buf_put(bitmap);
	}
	rwlock_unwrite(&grp->lock);
	return ret == -EUCLEAN || ret == -EBADMSG ? 0 : ret;
}

uint32_t balloc_free_credits(const struct store *s, uint64_t count)
{
	/* Count blocks touch at most so many groups, wherever they begin. */
	uint64_t groups = (count + s->blocks_per_group - 2) / s->blocks_per_group + 1;

	return (uint32_t)MIN(groups, (uint64_t)s->group_count) * CREDITS_ALLOC;
}

int balloc_undo(struct handle *h, struct store *s, uint64_t pblk, uint32_t count)
{
	int ret = 0;

	CHECK(store_pblk_valid(s, pblk, count));
	while (count && !ret) {
		struct piece p = first_piece(s, pblk, count);

		ret = free_piece(s, h, &p, FREE_AT_ONCE);
		pblk += p.count;
		count -= p.count;
	}
	return ret;
}

bool balloc_should_retry(struct store *s, uint32_t *tries)
{
	if (*tries >= RETRIES_MAX || atomic_load(&s->alloc->pending_blocks) == 0)
		return false;
	(*tries)++;
	return journal_sync(s->journal) == 0;
}

/* ---- trimming ------------------------------------------------------------- */

struct trim {
	struct store *s;
	uint32_t group;
	uint32_t end;	  /* bit */
	uint32_t minlen;  /* blocks */
	uint64_t trimmed; /* blocks */
};

/* The next run to trim from *from on, made busy meanwhile. 0 length: no more. */
static int trim_take(struct trim *t, uint32_t *from, struct bit_run *ret_run)
{
	struct store *s = t->s;
	struct group *grp = &s->groups[t->group];
	struct bit_run run = { 0 };
	int ret;

	rwlock_write(&grp->lock);
	ret = busy_load(s, t->group);
	while (!ret && *from < t->end) {
		run = busy_search(s, t->group, *from, 1);
		if (run.len == 0 || run.first >= t->end) {
			run.len = 0;
			break;
		}
		run.len = busy_run_at(s, t->group, run.first,
				      MIN(t->end - run.first, (uint32_t)TRIM_RUN_MAX));
		*from = run.first + run.len;
		if (run.len >= t->minlen)
			break;
		run.len = 0;
	}
	if (!ret && run.len)
		busy_set(s, t->group, run.first, run.len);
	rwlock_unwrite(&grp->lock);
	*ret_run = run;
	return ret;
}

static int trim_group(struct trim *t, uint32_t from)
{
	struct store *s = t->s;
	struct group *grp = &s->groups[t->group];
	uint64_t base = store_group_first(s, t->group);
	struct bit_run run;
	int ret;

	for (;;) {
		ret = trim_take(t, &from, &run);
		if (ret || run.len == 0)
			return ret == -EUCLEAN || ret == -EBADMSG ? 0 : ret;
		ret = bdev_discard(s->bdev, (base + run.first) << s->block_bits,
				   (uint64_t)run.len << s->block_bits);
		rwlock_write(&grp->lock);
		busy_clear(s, t->group, run.first, run.len);
		rwlock_unwrite(&grp->lock);
		if (ret)
			return ret;
		t->trimmed += run.len;
	}
}

int balloc_trim(struct store *s, uint64_t start, uint64_t len, uint64_t minlen,
		uint64_t *ret_trimmed)
{
	struct trim t = { .s = s };
	uint64_t first = start >> s->block_bits;
	uint64_t end, blocks = DIV_ROUND_UP(minlen >> 9, (uint64_t)s->block_size >> 9);
	int ret = 0;

	if (atomic_load(&s->readonly))
		return -EROFS;
	if (add_overflows(start, len, &end))
		end = UINT64_MAX;
	end = MIN(end >> s->block_bits, s->blocks_count);
	if (first >= s->blocks_count || blocks > s->blocks_per_group || len < s->block_size)
		return -EINVAL;
	first = MAX(first, (uint64_t)s->first_data_block);
	t.minlen = (uint32_t)MAX(blocks, (uint64_t)1);
	while (first < end && !ret) {
		uint32_t from;
		uint64_t base;

		t.group = store_group_of(s, first);
		base = store_group_first(s, t.group);
		from = (uint32_t)(first - base);
		t.end = (uint32_t)MIN(end - base, (uint64_t)geometry_group_blocks(s, t.group));
		ret = trim_group(&t, from);
		busy_shed(s);
		first = base + t.end;
	}
	*ret_trimmed = t.trimmed << s->block_bits;
	return ret;
}
