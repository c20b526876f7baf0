/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * POSIX record locks and flock locks of all sessions.
 *
 * A file with locks or waiters has a lock_file in a sharded table. An owner is a session
 * and its number for a process (POSIX) or an open file (flock).
 *
 * (1) One owner's POSIX locks on a file never overlap; neighbours of one type are one.
 * (2) Whatever a grant needs in memory is set aside before the request can wait, so a
 *     wake-up cannot fail.
 * (3) A waiter is in its file's list and in the graph, or in neither. Who takes it out,
 *     under the shard's lock, answers it, after letting go of the lock.
 *
 * Deadlocks (POSIX only) are searched when a request is parked and when what blocks it
 * changes. A request waits for all who conflict; the graph knows the first of them, the
 * next is looked at when that one lets go.
 */
#include "daemon/fs/fs_priv.h"

#include <fcntl.h>
#include <stdlib.h>

#include "daemon/base/check.h"

#define RANGE_END_MAX ((uint64_t)INT64_MAX)
/* Waiters looked at in one search; beyond it a deadlock is left to the waiter's own interrupt. */
#define DEADLOCK_STEPS_MAX 100000

struct lock_owner {
	const struct fs_session *session;
	uint64_t owner;
};

struct range_lock {
	struct list link; /* [shard lock] */
	struct lock_owner by;
	uint64_t start, end;
	uint32_t type, pid;
};

struct lock_file {
	struct list link;		    /* [shard lock] in its bucket */
	uint64_t nodeid;		    /* fs-wide */
	struct list posix, flocks, waiters; /* [shard lock] */
};

struct waiter {
	struct list link;	/* [shard lock] in the file, later in a list of answers */
	struct list graph_link; /* [graph lock] */
	struct fs_lock_wait *wait;
	struct lock_owner by;
	struct lock_owner blocker; /* [graph lock] */
	uint64_t mark;		   /* [graph lock] epoch of the search that met it */
	struct waiter *next;	   /* [graph lock] of one search */
	uint64_t nodeid;	   /* fs-wide */
	struct range_lock *spare[2];
	int error; /* the answer */
};

/* A request with all it may need: invariant (2). */
struct lock_req {
	struct lock_owner by;
	const struct fs_flock *lock;
	struct range_lock *spare[2]; /* a split, and the lock itself */
};

/* ---- small things --------------------------------------------------------- */

void locks_init(struct lock_table *t)
{
	for (uint32_t i = 0; i < LOCK_SHARDS; i++) {
		mutex_init(&t->shards[i].lock, LOCK_FILELOCKS);
		for (uint32_t b = 0; b < LOCK_BUCKETS; b++)
			list_init(&t->shards[i].files[b]);
	}
	mutex_init(&t->graph_lock, LOCK_LEAF);
	list_init(&t->graph);
	t->graph_epoch = 0;
	atomic_init(&t->locks, 0);
	atomic_init(&t->waiters, 0);
}

static bool same_owner(struct lock_owner a, struct lock_owner b)
{
	return a.session == b.session && a.owner == b.owner;
}

static uint64_t nodeid_hash(uint64_t nodeid)
{
	nodeid ^= nodeid >> 31;
	return (nodeid * 0x9e3779b97f4a7c15u) >> 40;
}

static struct lock_shard *shard_of(struct lock_table *t, uint64_t nodeid)
{
	return &t->shards[nodeid_hash(nodeid) % LOCK_SHARDS];
}

static struct list *bucket_of(struct lock_shard *sh, uint64_t nodeid)
{
	return &sh->files[nodeid_hash(nodeid) / LOCK_SHARDS % LOCK_BUCKETS];
}

static struct lock_file *file_find(struct lock_shard *sh, uint64_t nodeid)
{
	struct list *bucket = bucket_of(sh, nodeid), *pos;

	list_for_each(pos, bucket) {
		struct lock_file *f = list_entry(pos, struct lock_file, link);

		if (f->nodeid == nodeid)
			return f;
	}
	return NULL;
}

static void file_drop_if_empty(struct lock_file *f)
{
	if (!list_empty(&f->posix) || !list_empty(&f->flocks) || !list_empty(&f->waiters))
		return;
	list_del(&f->link);
	free(f);
}

static struct list *locks_of(struct lock_file *f, const struct fs_flock *lock)
{
	return lock->flock ? &f->flocks : &f->posix;
}

static void count_add(struct lock_table *t, struct lock_owner by)
{
	atomic_fetch_add(&t->locks, 1);
	atomic_fetch_add(&((struct fs_session *)by.session)->locks, 1);
}

static void lock_free(struct lock_table *t, struct range_lock *l)
{
	atomic_fetch_sub(&t->locks, 1);
	atomic_fetch_sub(&((struct fs_session *)l->by.session)->locks, 1);
	list_del(&l->link);
	free(l);
}

static bool conflicts(const struct range_lock *l, struct lock_owner by, const struct fs_flock *want)
{
	if (same_owner(l->by, by) || (l->type != F_WRLCK && want->type != F_WRLCK))
		return false;
	return want->flock || (l->start <= want->end && want->start <= l->end);
}

static const struct range_lock *conflict_find(struct lock_file *f, struct lock_owner by,
					      const struct fs_flock *want)
{
	struct list *locks = locks_of(f, want), *pos;

	list_for_each(pos, locks) {
		const struct range_lock *l = list_entry(pos, struct range_lock, link);

		if (conflicts(l, by, want))
			return l;
	}
	return NULL;
}

/* ---- ranges of one owner -------------------------------------------------- */

static struct range_lock *spare_take(struct lock_req *r)
{
	struct range_lock **slot = r->spare[0] ? &r->spare[0] : &r->spare[1];
	struct range_lock *l = *slot;

	CHECK(l);
	*slot = NULL;
	return l;
}

static void lock_insert(struct lock_table *t, struct list *head, struct lock_req *r,
			const struct range_lock *model)
{
	struct range_lock *l = spare_take(r);

	*l = *model;
	list_init(&l->link);
	list_add_tail(head, &l->link);
	count_add(t, l->by);
}

/* Cut [start, end] out of @l, which overlaps it. */
static void lock_cut(struct lock_table *t, struct list *head, struct lock_req *r,
		     struct range_lock *l, uint64_t start, uint64_t end)
{
	if (l->start < start && l->end > end) {
		struct range_lock right = *l;

		right.start = end + 1;
		l->end = start - 1;
		lock_insert(t, head, r, &right);
	} else if (l->start < start) {
		l->end = start - 1;
	} else if (l->end > end) {
		l->start = end + 1;
	} else {
		lock_free(t, l);
	}
}

/* Nobody else is in the way: the owner's locks become what the request wants. Invariant (1). */
static void posix_apply(struct lock_table *t, struct lock_file *f, struct lock_req *r)
{
	struct range_lock model = { .by = r->by,
				    .start = r->lock->start,
				    .end = r->lock->end,
				    .type = r->lock->type,
				    .pid = r->lock->pid };
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &f->posix) {
		struct range_lock *l = list_entry(pos, struct range_lock, link);
		bool touches = l->start <= model.end + 1 && model.start <= l->end + 1;

		if (!same_owner(l->by, r->by) || !touches)
			continue;
		if (l->type == model.type) {
			model.start = MIN(model.start, l->start);
			model.end = MAX(model.end, l->end);
			lock_free(t, l);
		} else if (l->start <= model.end && model.start <= l->end) {
			lock_cut(t, &f->posix, r, l, model.start, model.end);
		}
	}
	if (model.type != F_UNLCK)
		lock_insert(t, &f->posix, r, &model);
}

/* The owner's flock goes, unless it is of @keep_type already. True: there was one of that type. */
static bool flock_remove(struct lock_table *t, struct lock_file *f, struct lock_owner by,
			 uint32_t keep_type)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &f->flocks) {
		struct range_lock *l = list_entry(pos, struct range_lock, link);

		if (!same_owner(l->by, by))
			continue;
		if (l->type == keep_type)
			return true;
		lock_free(t, l);
	}
	return false;
}

static void flock_apply(struct lock_table *t, struct lock_file *f, struct lock_req *r)
{
	struct range_lock model = {
		.by = r->by, .end = RANGE_END_MAX, .type = r->lock->type, .pid = r->lock->pid
	};

	if (!flock_remove(t, f, r->by, r->lock->type) && r->lock->type != F_UNLCK)
		lock_insert(t, &f->flocks, r, &model);
}

static void lock_apply(struct lock_table *t, struct lock_file *f, struct lock_req *r)
{
	if (r->lock->flock)
		flock_apply(t, f, r);
	else
		posix_apply(t, f, r);
}

/* ---- who waits for whom --------------------------------------------------- */

/* Add those who wait as @by and were not met in this search to the stack. Caller holds the graph lock. */
static void search_push(struct lock_table *t, struct lock_owner by, struct waiter **stack,
			uint32_t *steps)
{
	struct list *pos;

	list_for_each(pos, &t->graph) {
		struct waiter *w = list_entry(pos, struct waiter, graph_link);

		if (++*steps > DEADLOCK_STEPS_MAX)
			return;
		if (w->mark == t->graph_epoch || w->wait->lock.flock || !same_owner(w->by, by))
			continue;
		w->mark = t->graph_epoch;
		w->next = *stack;
		*stack = w;
	}
}

/* Does @blocker wait, however indirectly, for @me? Caller holds the graph lock. */
static bool would_deadlock(struct lock_table *t, struct lock_owner me, struct lock_owner blocker)
{
	struct waiter *stack = NULL;
	uint32_t steps = 0;

	t->graph_epoch++;
	search_push(t, blocker, &stack, &steps);
	while (stack) {
		struct waiter *w = stack;

		stack = w->next;
		if (same_owner(w->blocker, me))
			return true;
		search_push(t, w->blocker, &stack, &steps);
	}
	return false;
}

/* Into the file's list and the graph, or -EDEADLK. Caller holds the shard lock. */
static int waiter_park(struct lock_table *t, struct lock_file *f, struct waiter *w,
		       struct lock_owner blocker)
{
	int error = 0;

	mutex_lock(&t->graph_lock);
	if (!w->wait->lock.flock && would_deadlock(t, w->by, blocker)) {
		error = -EDEADLK;
	} else {
		w->blocker = blocker;
		list_add_tail(&t->graph, &w->graph_link);
	}
	mutex_unlock(&t->graph_lock);
	if (!error) {
		list_add_tail(&f->waiters, &w->link);
		atomic_fetch_add(&t->waiters, 1);
		atomic_fetch_add(&w->wait->session->waiters, 1);
	}
	return error;
}

/* Out of both, into @answers. Caller holds the shard lock. */
static void waiter_unpark(struct lock_table *t, struct waiter *w, int error, struct list *answers)
{
	mutex_lock(&t->graph_lock);
	list_del(&w->graph_link);
	mutex_unlock(&t->graph_lock);
	list_del(&w->link);
	atomic_fetch_sub(&t->waiters, 1);
	atomic_fetch_sub(&w->wait->session->waiters, 1);
	w->error = error;
	list_add_tail(answers, &w->link);
}

/* A guest parks as many as its rings hold; it must leave room for others. */
static bool too_many_waiters(const struct fs_session *s)
{
	return s->confined && atomic_load(&s->waiters) >= WAITERS_SESSION_MAX;
}

/* Still blocked, perhaps by somebody else now. */
static bool waiter_reblock(struct lock_table *t, struct waiter *w, struct lock_owner blocker)
{
	bool deadlock = false;

	mutex_lock(&t->graph_lock);
	if (!same_owner(w->blocker, blocker)) {
		w->blocker = blocker;
		deadlock = !w->wait->lock.flock && would_deadlock(t, w->by, blocker);
	}
	mutex_unlock(&t->graph_lock);
	return deadlock;
}

/* One pass over the waiters in their order. True: one was granted, which may let others in. */
static bool wake_pass(struct lock_table *t, struct lock_file *f, struct list *answers)
{
	struct list *pos, *tmp;
	bool granted = false;

	list_for_each_safe(pos, tmp, &f->waiters) {
		struct waiter *w = list_entry(pos, struct waiter, link);
		const struct range_lock *l = conflict_find(f, w->by, &w->wait->lock);
		struct lock_req r = { .by = w->by, .lock = &w->wait->lock };

		if (!l) {
			r.spare[0] = w->spare[0];
			r.spare[1] = w->spare[1];
			lock_apply(t, f, &r);
			w->spare[0] = r.spare[0];
			w->spare[1] = r.spare[1];
			waiter_unpark(t, w, 0, answers);
			granted = true;
		} else if (waiter_reblock(t, w, l->by)) {
			waiter_unpark(t, w, -EDEADLK, answers);
		}
	}
	return granted;
}

static void wake_waiters(struct lock_table *t, struct lock_file *f, struct list *answers)
{
	while (wake_pass(t, f, answers))
		;
}

static void waiter_free(struct waiter *w)
{
	if (!w)
		return;
	free(w->spare[0]);
	free(w->spare[1]);
	free(w);
}

/* No lock held. */
static void answer_all(struct list *answers)
{
	while (!list_empty(answers)) {
		struct waiter *w = list_entry(answers->next, struct waiter, link);
		struct fs_lock_wait *wait = w->wait;
		int error = w->error;

		list_del(&w->link);
		waiter_free(w);
		wait->done(wait, error);
	}
}

/* ---- requests ------------------------------------------------------------- */

static int lock_check(struct fs *fs, const struct fs_ctx *ctx, const struct fs_flock *lock)
{
	struct inode *i;
	int error;

	if (lock->type != F_RDLCK && lock->type != F_WRLCK && lock->type != F_UNLCK)
		return -EINVAL;
	if (!lock->flock && (lock->start > lock->end || lock->end > RANGE_END_MAX))
		return -EINVAL;
	if (lock->type == F_UNLCK)
		return 0;
	if (atomic_load(&fs->locks.locks) >= LOCKS_MAX ||
	    atomic_load(&ctx->session->locks) >= ctx->session->locks_max)
		return -ENOLCK;
	error = node_get(fs, ctx, lock->nodeid, &i);
	if (!error)
		inode_put(i);
	return error;
}

/* What a request may need, made before any lock is taken. */
struct supplies {
	struct lock_file *file;
	struct waiter *waiter;
	struct lock_req req;
};

static void supplies_free(struct supplies *s)
{
	free(s->file);
	waiter_free(s->waiter);
	free(s->req.spare[0]);
	free(s->req.spare[1]);
}

static int supplies_make(struct supplies *s, const struct fs_ctx *ctx, uint64_t nodeid,
			 const struct fs_flock *lock, struct fs_lock_wait *wait)
{
	s->req.by = (struct lock_owner){ .session = ctx->session, .owner = lock->owner };
	s->req.lock = lock;
	s->file = calloc(1, sizeof(*s->file));
	s->req.spare[0] = calloc(1, sizeof(struct range_lock));
	s->req.spare[1] = calloc(1, sizeof(struct range_lock));
	s->waiter = wait ? calloc(1, sizeof(*s->waiter)) : NULL;
	if (!s->file || !s->req.spare[0] || !s->req.spare[1] || (wait && !s->waiter))
		return -ENOLCK;
	s->file->nodeid = nodeid;
	list_init(&s->file->posix);
	list_init(&s->file->flocks);
	list_init(&s->file->waiters);
	if (wait) {
		s->waiter->wait = wait;
		s->waiter->by = s->req.by;
		s->waiter->nodeid = nodeid;
		wait->lock = *lock;
		wait->session = ctx->session;
		wait->unique = ctx->unique;
	}
	return 0;
}

/* Caller holds the shard lock. */
static int setlk_locked(struct fs *fs, struct lock_file *f, struct supplies *s,
			struct list *answers)
{
	struct lock_table *t = &fs->locks;
	const struct fs_flock *lock = s->req.lock;
	const struct range_lock *l = NULL;
	int error;

	if (lock->type != F_UNLCK)
		l = conflict_find(f, s->req.by, lock);
	if (!l) {
		lock_apply(t, f, &s->req);
		wake_waiters(t, f, answers);
		return 0;
	}
	/* As flock(2) has it: changing the type gives up the old lock first, and may end with none. */
	if (lock->flock && !flock_remove(t, f, s->req.by, lock->type))
		wake_waiters(t, f, answers);
	if (!s->waiter)
		return -EAGAIN;
	if (atomic_load(&t->waiters) >= WAITERS_MAX || too_many_waiters(s->waiter->wait->session))
		return -ENOLCK;
	/* The woken may hold what is wanted now: the blocker is looked up again. */
	l = conflict_find(f, s->req.by, lock);
	if (!l) {
		lock_apply(t, f, &s->req);
		return 0;
	}
	s->waiter->spare[0] = s->req.spare[0];
	s->waiter->spare[1] = s->req.spare[1];
	s->req.spare[0] = s->req.spare[1] = NULL;
	error = waiter_park(t, f, s->waiter, l->by);
	if (error)
		return error;
	s->waiter = NULL;
	return -EINPROGRESS;
}

int fs_setlk(struct fs *fs, const struct fs_ctx *ctx, const struct fs_flock *lock,
	     struct fs_lock_wait *wait)
{
	struct supplies s = { .file = NULL };
	struct lock_shard *sh;
	struct lock_file *f;
	struct list answers;
	uint64_t nodeid;
	int error;

	error = session_resolve(ctx->session, lock->nodeid, &nodeid);
	if (!error)
		error = lock_check(fs, ctx, lock);
	if (error)
		return error;
	error = supplies_make(&s, ctx, nodeid, lock, wait);
	if (error) {
		supplies_free(&s);
		return error;
	}
	list_init(&answers);
	sh = shard_of(&fs->locks, nodeid);
	mutex_lock(&sh->lock);
	f = file_find(sh, nodeid);
	if (!f) {
		f = s.file;
		s.file = NULL;
		list_add_tail(bucket_of(sh, nodeid), &f->link);
	}
	error = setlk_locked(fs, f, &s, &answers);
	file_drop_if_empty(f);
	mutex_unlock(&sh->lock);
	supplies_free(&s);
	answer_all(&answers);
	return error;
}

int fs_getlk(struct fs *fs, const struct fs_ctx *ctx, struct fs_flock *lock)
{
	struct lock_owner by = { .session = ctx->session, .owner = lock->owner };
	const struct range_lock *l = NULL;
	struct lock_shard *sh;
	struct lock_file *f;
	uint64_t nodeid;
	int error;

	error = session_resolve(ctx->session, lock->nodeid, &nodeid);
	if (error)
		return error;
	if (lock->start > lock->end || lock->end > RANGE_END_MAX)
		return -EINVAL;
	sh = shard_of(&fs->locks, nodeid);
	mutex_lock(&sh->lock);
	f = file_find(sh, nodeid);
	if (f)
		l = conflict_find(f, by, lock);
	if (l) {
		lock->type = l->type;
		lock->start = l->start;
		lock->end = l->end;
		/* Another kernel's process number means nothing here. */
		lock->pid = l->by.session == ctx->session ? l->pid : 0;
	} else {
		lock->type = F_UNLCK;
	}
	mutex_unlock(&sh->lock);
	return 0;
}

void fs_release_locks(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t owner)
{
	struct fs_flock unlock = {
		.nodeid = nodeid, .owner = owner, .end = RANGE_END_MAX, .type = F_UNLCK
	};

	if (atomic_load(&ctx->session->locks))
		(void)fs_setlk(fs, ctx, &unlock,
			       NULL); /* nothing is cut in two: it needs no memory it lacks */
}

bool fs_lock_interrupt(struct fs *fs, struct fs_session *s, uint64_t unique)
{
	struct lock_table *t = &fs->locks;
	struct lock_shard *sh;
	struct list answers, *pos, *tmp;
	struct lock_file *f;
	uint64_t nodeid = 0;
	bool found = false;

	mutex_lock(&t->graph_lock);
	list_for_each(pos, &t->graph) {
		struct waiter *w = list_entry(pos, struct waiter, graph_link);

		if (w->by.session == s && w->wait->unique == unique) {
			nodeid = w->nodeid;
			break;
		}
	}
	mutex_unlock(&t->graph_lock);
	if (!nodeid)
		return false;
	list_init(&answers);
	sh = shard_of(t, nodeid);
	mutex_lock(&sh->lock);
	f = file_find(sh, nodeid);
	if (f) {
		list_for_each_safe(pos, tmp, &f->waiters) {
			struct waiter *w = list_entry(pos, struct waiter, link);

			if (w->by.session != s || w->wait->unique != unique)
				continue;
			waiter_unpark(t, w, -EINTR, &answers);
			found = true;
			break;
		}
		file_drop_if_empty(f);
	}
	mutex_unlock(&sh->lock);
	answer_all(&answers);
	return found;
}

/* ---- the end of a session ------------------------------------------------- */

static void drop_locks(struct lock_table *t, struct list *locks, const struct fs_session *s)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, locks) {
		struct range_lock *l = list_entry(pos, struct range_lock, link);

		if (l->by.session == s)
			lock_free(t, l);
	}
}

static void drop_from_file(struct lock_table *t, struct lock_file *f, const struct fs_session *s,
			   struct list *answers)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &f->waiters) {
		struct waiter *w = list_entry(pos, struct waiter, link);

		if (w->by.session == s)
			waiter_unpark(t, w, -EINTR, answers);
	}
	drop_locks(t, &f->posix, s);
	drop_locks(t, &f->flocks, s);
	wake_waiters(t, f, answers);
	file_drop_if_empty(f);
}

void locks_drop_session(struct fs *fs, struct fs_session *s)
{
	struct lock_table *t = &fs->locks;
	struct list answers;

	if (!atomic_load(&t->locks) && !atomic_load(&t->waiters))
		return;
	list_init(&answers);
	for (uint32_t i = 0; i < LOCK_SHARDS; i++) {
		struct lock_shard *sh = &t->shards[i];
		struct list *pos, *tmp;

		mutex_lock(&sh->lock);
		for (uint32_t b = 0; b < LOCK_BUCKETS; b++) {
			list_for_each_safe(pos, tmp, &sh->files[b])
				drop_from_file(t, list_entry(pos, struct lock_file, link), s,
					       &answers);
		}
		mutex_unlock(&sh->lock);
	}
	answer_all(&answers);
}

/* ---- a session that moves ------------------------------------------------- */

/* Of one file's locks of one kind, from list[count] on. */
static uint32_t list_from(const struct lock_file *f, bool flock, const struct fs_session *s,
			  struct fs_flock *list, uint32_t room)
{
	const struct list *locks = flock ? &f->flocks : &f->posix, *pos;
	uint32_t count = 0;

	for (pos = locks->next; pos != locks && count < room; pos = pos->next) {
		const struct range_lock *l =
			container_of((struct list *)(uintptr_t)pos, struct range_lock, link);

		if (l->by.session == s)
			list[count++] = (struct fs_flock){ .nodeid = f->nodeid,
							   .owner = l->by.owner,
							   .start = l->start,
							   .end = l->end,
							   .type = l->type,
							   .pid = l->pid,
							   .flock = flock };
	}
	return count;
}

uint32_t locks_list(struct fs *fs, const struct fs_session *s, struct fs_flock *list, uint32_t max)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < LOCK_SHARDS; i++) {
		struct lock_shard *sh = &fs->locks.shards[i];
		struct list *pos;

		mutex_lock(&sh->lock);
		for (uint32_t b = 0; b < LOCK_BUCKETS; b++)
			list_for_each(pos, &sh->files[b]) {
				struct lock_file *f = list_entry(pos, struct lock_file, link);

				count += list_from(f, false, s, list + count, max - count);
				count += list_from(f, true, s, list + count, max - count);
			}
		mutex_unlock(&sh->lock);
	}
	return count;
}

static void move_in(struct list *locks, const struct fs_session *from, struct fs_session *to)
{
	struct list *pos;

	list_for_each(pos, locks) {
		struct range_lock *l = list_entry(pos, struct range_lock, link);

		if (l->by.session != from)
			continue;
		l->by.session = to;
		atomic_fetch_sub(&((struct fs_session *)(uintptr_t)from)->locks, 1);
		atomic_fetch_add(&to->locks, 1);
	}
}

/* Whoever waits for one of them waits for its new owner: the graph is looked at again, too. */
void locks_move(struct fs *fs, const struct fs_session *from, struct fs_session *to)
{
	struct lock_table *t = &fs->locks;
	struct list *pos;

	for (uint32_t i = 0; i < LOCK_SHARDS; i++) {
		struct lock_shard *sh = &t->shards[i];

		mutex_lock(&sh->lock);
		for (uint32_t b = 0; b < LOCK_BUCKETS; b++)
			list_for_each(pos, &sh->files[b]) {
				struct lock_file *f = list_entry(pos, struct lock_file, link);

				move_in(&f->posix, from, to);
				move_in(&f->flocks, from, to);
			}
		mutex_unlock(&sh->lock);
	}
	mutex_lock(&t->graph_lock);
	list_for_each(pos, &t->graph) {
		struct waiter *w = list_entry(pos, struct waiter, graph_link);

		if (w->blocker.session == from)
			w->blocker.session = to;
	}
	mutex_unlock(&t->graph_lock);
}
