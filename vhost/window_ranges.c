/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a window shows: ranges, each of pieces that the front end maps and may announce. Invariants (1) and (2) of window.h
 * are kept here.
 */
#include "vhost/window_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/base/stats.h"
#include "daemon/proto/proto.h"
#include "vhost/memory.h"
#include "vhost/msg.h"

/* The first announcement comes at once, or never. */
#define ANNOUNCE_FIRST_MS 1000
/* Of ranges whose guest has gone: those that are not taken back by then are looked at when they are. */
#define CLEAR_WAIT_MS 1000
#define NS_PER_MS UINT64_C(1000000)

struct piece {
	uint64_t shm_off, image_off, len;
	bool mapped;	/* [thread writes; lock] as far as is known, the front end has it mapped */
	bool leaves;	/* [thread] it has agreed to unmap it */
	bool announced; /* [lock] as the region at: */
	uint64_t gpa;	/* [lock] */
};

static_assert(WINDOW_RANGE == VIEW_UNIT, "a range is shown or not");

struct range {
	struct list link;   /* [thread changes; lock] of its place */
	struct list leaves; /* [thread] of those that are dying */
	uint64_t moffset, len;
	void *pin;
	bool dying; /* [thread] to be unmapped */
	uint32_t count;
	struct piece piece[];
};

/* ---- ranges ---- */

static struct timespec deadline(uint64_t ms)
{
	uint64_t at = stats_now_ns() + ms * NS_PER_MS;

	return (struct timespec){ .tv_sec = (time_t)(at / 1000000000),
				  .tv_nsec = (long)(at % 1000000000) };
}

static bool is_announced(const struct range *r, bool all)
{
	for (uint32_t k = 0; k < r->count; k++)
		if (r->piece[k].announced != all)
			return !all;
	return all;
}

/* Nothing of it can be reached. Caller holds the lock. */
static bool is_gone(const struct range *r)
{
	for (uint32_t k = 0; k < r->count; k++)
		if (r->piece[k].mapped || r->piece[k].announced)
			return false;
	return true;
}

static bool any_dying_announced(const struct window *w)
{
	struct list *pos;

	list_for_each(pos, &w->dying)
		if (is_announced(list_entry(pos, struct range, leaves), false))
			return true;
	return false;
}

static void set_dying(struct window *w, struct range *r)
{
	if (!r->dying)
		list_add_tail(&w->dying, &r->leaves);
	r->dying = true;
}

/* What overlaps; no range is longer than a place. Within the window. */
static struct range *range_at(const struct window *w, uint64_t moffset, uint64_t len)
{
	uint64_t first = moffset / WINDOW_RANGE, last = (moffset + len - 1) / WINDOW_RANGE;
	struct list *pos;

	for (uint64_t k = first ? first - 1 : 0; k <= last; k++)
		list_for_each(pos, &w->place[k]) {
			struct range *r = list_entry(pos, struct range, link);

			if (moffset < r->moffset + r->len && r->moffset < moffset + len)
				return r;
		}
	return NULL;
}

static struct range *range_named(const struct window *w, const struct proto_unmap *u)
{
	struct list *pos;

	if (u->moffset >= w->opts.size)
		return NULL;
	list_for_each(pos, &w->place[u->moffset / WINDOW_RANGE]) {
		struct range *r = list_entry(pos, struct range, link);

		if (r->moffset == u->moffset && r->len == u->len)
			return r;
	}
	return NULL;
}

/* True: @seen was, of one piece, and saw no more. Caller holds the lock. */
static bool each_piece(struct window *w, bool (*seen)(struct piece *p, void *arg), void *arg)
{
	struct list *pos;

	for (uint32_t k = 0; k < w->places; k++)
		list_for_each(pos, &w->place[k]) {
			struct range *r = list_entry(pos, struct range, link);

			for (uint32_t i = 0; i < r->count; i++)
				if (seen(&r->piece[i], arg))
					return true;
		}
	return false;
}

/* ---- what the front end says ---- */

struct announced {
	const struct memory_share *share;
	struct piece *found;
};

static bool is_announced_now(struct piece *p, void *arg)
{
	struct announced *a = arg;

	if (p->mapped && !p->announced && p->image_off == a->share->offset &&
	    p->len == a->share->size)
		a->found = p;
	return a->found;
}

void window_announced(struct window *w, const struct memory_share *share)
{
	struct announced a = { .share = share };

	mutex_lock(&w->lock);
	if (each_piece(w, is_announced_now, &a)) {
		a.found->announced = true;
		a.found->gpa = share->gpa;
		w->announces = true;
		cond_wake_all(&w->changed);
	}
	mutex_unlock(&w->lock);
}

struct taken {
	const struct msg_region *region;
	bool any;
};

static bool is_taken_back(struct piece *p, void *arg)
{
	struct taken *t = arg;

	if (p->announced && p->gpa == t->region->gpa && p->len == t->region->size) {
		p->announced = p->mapped = false;
		t->any = true;
	}
	return false;
}

void window_taken_back(struct window *w, const struct msg_region *region)
{
	struct taken t = { .region = region };

	mutex_lock(&w->lock);
	(void)each_piece(w, is_taken_back, &t); /* all of them */
	if (t.any) {
		w->taken = true;
		cond_wake_all(&w->changed);
	}
	mutex_unlock(&w->lock);
}

struct sought {
	const struct msg_region *region;
	uint64_t shm_off;
	uint32_t count;
};

static bool is_in_table(struct piece *p, void *arg)
{
	struct sought *s = arg;

	if (p->mapped && p->image_off == s->region->offset && p->len == s->region->size) {
		s->shm_off = p->shm_off;
		s->count++;
	}
	return s->count > 1;
}

/* A guest may have the same bytes in two places: then another piece has to tell. */
void window_in_table(struct window *w, const struct msg_region *region)
{
	struct sought s = { .region = region };

	mutex_lock(&w->lock);
	(void)each_piece(w, is_in_table, &s); /* counted */
	mutex_unlock(&w->lock);
	if (s.count != 1 || region->gpa < s.shm_off)
		return;
	w->gpa = region->gpa - s.shm_off;
	w->has_gpa = true;
}

/* ---- asking it ---- */

static void say_failed(struct window *w, const char *what, int error)
{
	if (w->said)
		return;
	w->said = true;
	if (error == -EREMOTEIO)
		log_warn("guest %u: its front end refuses to %s: the guest gets errors",
			 w->opts.guest, what);
	else
		log_warn("guest %u: its front end was asked to %s: %s: the window is out of use",
			 w->opts.guest, what, strerror(-error));
}

/* From the next request on it is the new one. */
static void take_fd(struct window *w)
{
	int fd;

	mutex_lock(&w->lock);
	fd = w->fd_new;
	w->fd_new = -1;
	mutex_unlock(&w->lock);
	if (fd >= 0)
		backend_set_fd(&w->backend, fd);
}

static int ask(struct window *w, enum msg_backend_request request, const struct piece *p)
{
	struct msg_shmem shmem = { .fd_offset = p->image_off,
				   .shm_offset = p->shm_off,
				   .len = p->len,
				   .flags = MSG_SHMEM_RW };
	bool map = request == MSG_BACKEND_SHMEM_MAP;
	int err;

	take_fd(w);
	if (!map)
		shmem.fd_offset = shmem.flags = 0;
	err = backend_shmem(&w->backend, request, &shmem, map ? w->opts.image_fd : -1);
	if (err && map)
		say_failed(w, "map the image", err);
	return err;
}

/* What was asked is done, where nobody will announce it. */
static int wait_done(struct window *w)
{
	bool asks;
	int err;

	mutex_lock(&w->lock);
	asks = w->barriers;
	mutex_unlock(&w->lock);
	if (!asks)
		return 0;
	err = backend_barrier(&w->backend);
	if (err)
		say_failed(w, "say that it is done", err);
	return err;
}

static void set_mapped(struct window *w, struct piece *p, bool mapped)
{
	mutex_lock(&w->lock);
	p->mapped = mapped;
	mutex_unlock(&w->lock);
}

/* ---- our own view ---- */

static int view_range(struct window *w, const struct range *r)
{
	int err = 0;

	if (!window_has_view(w))
		return 0;
	for (uint32_t k = 0; k < r->count && !err; k++)
		err = view_map(&w->view, r->piece[k].shm_off, r->piece[k].len, w->opts.image_fd,
			       r->piece[k].image_off);
	return err;
}

static void show(struct window *w, const struct range *r, bool shown)
{
	if (window_has_view(w))
		view_show(&w->view, r->moffset, shown);
}

/* ---- unmapping ---- */

/* Refused: because there is nothing, after a reset of the machine. */
static bool unmap_pieces(struct window *w, struct range *r)
{
	bool any = false;

	for (uint32_t k = 0; k < r->count; k++) {
		struct piece *p = &r->piece[k];
		int err = p->mapped ? ask(w, MSG_BACKEND_SHMEM_UNMAP, p) : -EALREADY;

		p->leaves = !err || err == -EREMOTEIO;
		any = any || p->leaves;
	}
	return any;
}

static void set_left(struct window *w, struct range *r)
{
	for (uint32_t k = 0; k < r->count; k++)
		if (r->piece[k].leaves) {
			set_mapped(w, &r->piece[k], false);
			r->piece[k].leaves = false;
		}
}

static void ask_to_unmap(struct window *w)
{
	struct list *pos;
	bool any = false;

	list_for_each(pos, &w->dying) {
		struct range *r = list_entry(pos, struct range, leaves);

		show(w, r, false);
		any = unmap_pieces(w, r) || any;
	}
	if (any && wait_done(w))
		return;
	list_for_each(pos, &w->dying)
		set_left(w, list_entry(pos, struct range, leaves));
}

/* A range of which nothing can be reached through the front end. False: it is still to be reached by us. */
static bool forget(struct window *w, struct range *r)
{
	if (window_has_view(w) && view_hide(&w->view, r->moffset, r->len))
		return false;
	mutex_lock(&w->lock);
	list_del(&r->link);
	w->stats.ranges--;
	w->stats.pieces -= r->count;
	mutex_unlock(&w->lock);
	list_del(&r->leaves);
	proto_unpin(r->pin);
	free(r);
	return true;
}

/* Unmap what is dying, as far as the front end does it; true: all of it is gone. */
static bool take_down(struct window *w, uint64_t wait_ms)
{
	struct timespec until;
	struct list *pos, *next;
	bool all = true;

	ask_to_unmap(w);
	until = deadline(wait_ms);
	mutex_lock(&w->lock);
	while (any_dying_announced(w) && !w->stop)
		if (!cond_wait_until(&w->changed, &w->lock, &until))
			break;
	w->taken = false;
	mutex_unlock(&w->lock);
	list_for_each_safe(pos, next, &w->dying) {
		struct range *r = list_entry(pos, struct range, leaves);
		bool gone;

		mutex_lock(&w->lock);
		gone = is_gone(r);
		mutex_unlock(&w->lock);
		all = gone && forget(w, r) && all;
	}
	return all;
}

/* ---- mapping ---- */

static uint64_t pieces_max(const struct window *w)
{
	return window_is_large(w) ? WINDOW_PIECES_MAX : WINDOW_SLOTS_MAX;
}

bool ranges_are_many(const struct window *w)
{
	return w->stats.pieces > pieces_max(w) - pieces_max(w) / 8;
}

/* See invariant (2). Caller holds the lock. */
static bool has_room(const struct window *w, uint32_t pieces)
{
	uint64_t kept = w->places < pieces_max(w) ? w->places : w->places * UINT64_C(4) / 5;
	uint64_t ranges = w->stats.ranges + 1;
	uint64_t reserved = pieces > 1 && ranges < kept ? kept - ranges : 0;

	return w->stats.pieces + pieces + reserved <= pieces_max(w);
}

static int check_mapping(const struct window *w, const struct proto_mapping *m)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!m->count || !m->len || m->moffset % page || m->len % page || m->len > WINDOW_RANGE ||
	    m->moffset > w->opts.size - m->len)
		return -EINVAL;
	return 0;
}

static struct range *range_new(const struct proto_mapping *m)
{
	struct range *r = calloc(1, sizeof(*r) + m->count * sizeof(r->piece[0]));

	if (!r)
		return NULL;
	r->moffset = m->moffset;
	r->len = m->len;
	r->count = m->count;
	for (uint32_t k = 0; k < m->count; k++)
		r->piece[k] = (struct piece){ .shm_off = m->moffset + m->run[k].off,
					      .image_off = m->run[k].image_off,
					      .len = m->run[k].len };
	return r;
}

/* 0: *ret_range is in the list. -EALREADY: the same is mapped there. */
static int range_add(struct window *w, struct proto_mapping *m, struct range **ret_range)
{
	struct range *r, *other;
	int err = check_mapping(w, m);

	if (err)
		return err;
	other = range_at(w, m->moffset, m->len);
	/* A kernel that only read before is about to write; what is mapped can be written already. */
	if (other && !other->dying && other->moffset == m->moffset && other->len == m->len &&
	    proto_pins_same(other->pin, m->pin))
		return -EALREADY;
	if (other)
		return -EBUSY;
	/* A view shows whole units. */
	if (window_has_view(w) && m->moffset % WINDOW_RANGE)
		return -EINVAL;
	r = range_new(m);
	if (!r)
		return -ENOMEM;
	mutex_lock(&w->lock);
	err = has_room(w, r->count) ? 0 : -ENOSPC;
	if (!err) {
		list_add_tail(&w->place[r->moffset / WINDOW_RANGE], &r->link);
		w->stats.ranges++;
		w->stats.pieces += r->count;
	}
	mutex_unlock(&w->lock);
	if (err) {
		free(r);
		return err;
	}
	r->pin = m->pin;
	m->pin = NULL;
	*ret_range = r;
	return 0;
}

static int map_pieces(struct window *w, struct range *r)
{
	for (uint32_t k = 0; k < r->count; k++) {
		int err;

		/* Before it is asked for: the announcement may be faster than the answer. */
		set_mapped(w, &r->piece[k], true);
		err = ask(w, MSG_BACKEND_SHMEM_MAP, &r->piece[k]);
		if (err == -EREMOTEIO)
			set_mapped(w, &r->piece[k], false);
		if (err)
			return err;
	}
	return 0;
}

/* Until the guest can see it. */
static int wait_announced(struct window *w, const struct range *r)
{
	struct timespec until;
	int err = 0;

	mutex_lock(&w->lock);
	until = deadline(w->announces ? BACKEND_WAIT_MS : ANNOUNCE_FIRST_MS);
	while (w->slots && !w->silent && !is_announced(r, true) && !w->stop)
		if (!cond_wait_until(&w->changed, &w->lock, &until)) {
			err = w->announces ? -ETIMEDOUT : 0;
			w->silent = !w->announces;
			break;
		}
	mutex_unlock(&w->lock);
	return err;
}

void ranges_undo(struct window *w, struct range *r)
{
	set_dying(w, r);
	(void)take_down(w, BACKEND_WAIT_MS); /* what is left stays pinned */
}

int ranges_map(struct window *w, const struct job *job, struct range **ret_made)
{
	struct range *r;
	int err = window_job_is_wanted(w, job) ? range_add(w, job->mapping, &r) : -ECANCELED;

	if (err == -EALREADY)
		return 0;
	if (err == -ENOSPC && !w->said) {
		w->said = true;
		log_warn("guest %u: a file in %u pieces within %u MiB cannot be mapped beside what "
			 "is: the guest gets errors for it: mount with dax=inode",
			 w->opts.guest, job->mapping->count, (unsigned)(WINDOW_RANGE >> 20));
	}
	if (err)
		return err;
	err = view_range(w, r);
	if (!err)
		err = map_pieces(w, r);
	if (!err)
		err = wait_done(w);
	if (!err)
		err = wait_announced(w, r);
	if (err) {
		ranges_undo(w, r);
		return -EIO;
	}
	show(w, r, true);
	*ret_made = r;
	return 0;
}

int ranges_unmap(struct window *w, const struct job *job)
{
	int err = 0;

	for (uint32_t k = 0; k < job->count; k++) {
		struct range *r = range_named(w, &job->list[k]);

		if (r)
			set_dying(w, r);
		else
			err = -EINVAL;
	}
	if (!take_down(w, BACKEND_WAIT_MS) && !err)
		err = -EIO;
	return err;
}

void ranges_clear(struct window *w)
{
	struct list *pos;

	for (uint32_t k = 0; k < w->places; k++)
		list_for_each(pos, &w->place[k])
			set_dying(w, list_entry(pos, struct range, link));
	(void)take_down(w, CLEAR_WAIT_MS); /* what is left stays pinned */
}

void ranges_look_again(struct window *w)
{
	(void)take_down(w, 0); /* what was waited for has come, or not yet all */
}

void ranges_drop(struct window *w)
{
	for (uint32_t k = 0; k < w->places; k++)
		while (!list_empty(&w->place[k])) {
			struct range *r = list_entry(w->place[k].next, struct range, link);

			list_del(&r->link);
			proto_unpin(r->pin);
			free(r);
		}
	list_init(&w->dying);
}
