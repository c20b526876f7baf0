/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a window shows: ranges, each of pieces that the front end maps and may announce. Invariants (1) and (2) of window.h
 * are kept here.
 */
#include "vhost/window_priv.h"

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
	bool announced; /* [lock] as the region at: */
	uint64_t gpa;	/* [lock] */
};

struct range {
	struct list link; /* [thread changes; lock] */
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

	list_for_each(pos, &w->ranges) {
		const struct range *r = list_entry(pos, struct range, link);

		if (r->dying && is_announced(r, false))
			return true;
	}
	return false;
}

static struct range *range_at(struct window *w, uint64_t moffset, uint64_t len)
{
	struct list *pos;

	list_for_each(pos, &w->ranges) {
		struct range *r = list_entry(pos, struct range, link);

		if (moffset < r->moffset + r->len && r->moffset < moffset + len)
			return r;
	}
	return NULL;
}

/* ---- what the front end says ---- */

void window_announced(struct window *w, const struct memory_share *share)
{
	struct piece *found = NULL;
	struct list *pos;

	mutex_lock(&w->lock);
	list_for_each(pos, &w->ranges) {
		struct range *r = list_entry(pos, struct range, link);

		for (uint32_t k = 0; k < r->count && !found; k++) {
			struct piece *p = &r->piece[k];

			if (p->mapped && !p->announced && p->image_off == share->offset &&
			    p->len == share->size)
				found = p;
		}
	}
	if (found) {
		found->announced = true;
		found->gpa = share->gpa;
		w->announces = true;
		cond_wake_all(&w->changed);
	}
	mutex_unlock(&w->lock);
}

void window_taken_back(struct window *w, const struct msg_region *region)
{
	struct list *pos;

	mutex_lock(&w->lock);
	list_for_each(pos, &w->ranges) {
		struct range *r = list_entry(pos, struct range, link);

		for (uint32_t k = 0; k < r->count; k++) {
			struct piece *p = &r->piece[k];

			if (!p->announced || p->gpa != region->gpa || p->len != region->size)
				continue;
			p->announced = p->mapped = false;
			w->taken = true;
			cond_wake_all(&w->changed);
		}
	}
	mutex_unlock(&w->lock);
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

static int ask(struct window *w, enum msg_backend_request request, const struct piece *p)
{
	struct msg_shmem shmem = { .fd_offset = p->image_off,
				   .shm_offset = p->shm_off,
				   .len = p->len,
				   .flags = MSG_SHMEM_RW };
	bool map = request == MSG_BACKEND_SHMEM_MAP;
	int fd = -1, err;

	mutex_lock(&w->lock);
	fd = w->fd_new;
	w->fd_new = -1;
	mutex_unlock(&w->lock);
	if (fd >= 0)
		backend_set_fd(&w->backend, fd);
	if (!map)
		shmem.fd_offset = shmem.flags = 0;
	err = backend_shmem(&w->backend, request, &shmem, map ? w->opts.image_fd : -1);
	if (err && map)
		say_failed(w, "map the image", err);
	return err;
}

static void set_mapped(struct window *w, struct piece *p, bool mapped)
{
	mutex_lock(&w->lock);
	p->mapped = mapped;
	mutex_unlock(&w->lock);
}

/* Unmap what is dying, as far as the front end does it; true: all of it is gone. */
static bool take_down(struct window *w, uint64_t wait_ms)
{
	struct timespec until;
	struct list gone, *pos, *next;
	bool all = true;

	list_for_each(pos, &w->ranges) {
		struct range *r = list_entry(pos, struct range, link);

		for (uint32_t k = 0; r->dying && k < r->count; k++) {
			int err = r->piece[k].mapped ?
					  ask(w, MSG_BACKEND_SHMEM_UNMAP, &r->piece[k]) :
					  -EALREADY;

			/* Refused, because there is nothing: after a reset of the machine. */
			if (!err || err == -EREMOTEIO)
				set_mapped(w, &r->piece[k], false);
		}
	}
	list_init(&gone);
	until = deadline(wait_ms);
	mutex_lock(&w->lock);
	while (any_dying_announced(w) && !w->stop)
		if (!cond_wait_until(&w->changed, &w->lock, &until))
			break;
	w->taken = false;
	for (pos = w->ranges.next; pos != &w->ranges; pos = next) {
		struct range *r = list_entry(pos, struct range, link);

		next = pos->next;
		if (!r->dying)
			continue;
		if (!is_gone(r)) {
			all = false;
			continue;
		}
		list_del(&r->link);
		list_add_tail(&gone, &r->link);
		w->stats.ranges--;
		w->stats.pieces -= r->count;
	}
	mutex_unlock(&w->lock);
	while (!list_empty(&gone)) {
		struct range *r = list_entry(gone.next, struct range, link);

		list_del(&r->link);
		proto_unpin(r->pin);
		free(r);
	}
	return all;
}

/* ---- mapping ---- */

/* See invariant (2). Caller holds the lock. */
static bool has_room(const struct window *w, uint32_t pieces)
{
	uint64_t ranges_max = w->opts.size / WINDOW_RANGE, ranges = w->stats.ranges + 1;
	uint64_t reserved = pieces > 1 && ranges < ranges_max ? ranges_max - ranges : 0;

	return w->stats.pieces + pieces + reserved <= WINDOW_PIECES_MAX;
}

static int check_mapping(const struct window *w, const struct proto_mapping *m)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!m->count || !m->len || m->moffset % page || m->len % page || m->len > w->opts.size ||
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
	r = range_new(m);
	if (!r)
		return -ENOMEM;
	mutex_lock(&w->lock);
	err = has_room(w, r->count) ? 0 : -ENOSPC;
	if (!err) {
		list_add_tail(&w->ranges, &r->link);
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
	r->dying = true;
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
	err = map_pieces(w, r);
	if (!err)
		err = wait_announced(w, r);
	if (err) {
		ranges_undo(w, r);
		return -EIO;
	}
	*ret_made = r;
	return 0;
}

int ranges_unmap(struct window *w, const struct job *job)
{
	int err = 0;

	for (uint32_t k = 0; k < job->count; k++) {
		const struct proto_unmap *u = &job->list[k];
		struct range *r = u->len && u->moffset < w->opts.size && u->len <= w->opts.size ?
					  range_at(w, u->moffset, u->len) :
					  NULL;

		if (!r || r->moffset != u->moffset || r->len != u->len)
			err = -EINVAL;
		else
			r->dying = true;
	}
	if (!take_down(w, BACKEND_WAIT_MS) && !err)
		err = -EIO;
	return err;
}

void ranges_clear(struct window *w)
{
	struct list *pos;

	list_for_each(pos, &w->ranges)
		list_entry(pos, struct range, link)->dying = true;
	(void)take_down(w, CLEAR_WAIT_MS); /* what is left stays pinned */
}

void ranges_look_again(struct window *w)
{
	(void)take_down(w, 0); /* what was waited for has come, or not yet all */
}

void ranges_drop(struct window *w)
{
	while (!list_empty(&w->ranges)) {
		struct range *r = list_entry(w->ranges.next, struct range, link);

		list_del(&r->link);
		proto_unpin(r->pin);
		free(r);
	}
}
