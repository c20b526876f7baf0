/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The list of ranges is the thread's; others read it, and change what pieces were announced, under the lock.
 */
#include "vhost/window.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/list.h"
#include "daemon/base/lock.h"
#include "daemon/base/log.h"
#include "daemon/base/stats.h"
#include "daemon/proto/proto.h"
#include "vhost/backend.h"
#include "vhost/memory.h"
#include "vhost/msg.h"
#include "vhost/thread.h"

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

struct job {
	struct list link;      /* [lock] */
	struct proto_req *req; /* [lock] NULL: nobody waits for it */
	/* Either of them; neither: everything is to be unmapped. */
	struct proto_mapping *mapping;
	struct proto_unmap *list;
	uint32_t count;
};

struct window {
	struct window_opts opts;
	dev_t image_dev;
	ino_t image_ino;
	struct mutex lock;	/* LOCK_LEAF */
	struct cond changed;	/* [lock] anything below */
	struct list jobs;	/* [lock] struct job, the one at work included */
	struct list ranges;	/* struct range */
	uint32_t replying;	/* [lock] threads between taking a request and having ended it */
	bool stop, taken;	/* [lock] the end; a region was taken back */
	bool configured;	/* [lock] */
	bool has_fd;		/* [lock] there was one, ever */
	int fd_new;		/* [lock] to ask on from the next job on; -1 */
	bool slots;		/* [lock] the front end may announce */
	bool announces;		/* [lock] it does */
	bool silent;		/* [lock] it does not */
	bool said;		/* [thread] a failure was logged */
	struct backend backend; /* [thread] */
	pthread_t thread;
	bool running;		   /* [written once] */
	struct window_stats stats; /* [lock] */
};

/* ---- requests ---- */

/* Ends @job's request, if nobody has done so. No lock held. */
static void end_request(struct window *w, struct job *job, int error)
{
	struct proto_req *req;

	mutex_lock(&w->lock);
	req = job->req;
	job->req = NULL;
	w->replying += req != NULL;
	mutex_unlock(&w->lock);
	if (!req)
		return;
	proto_window_done(req, error);
	mutex_lock(&w->lock);
	w->replying--;
	cond_wake_all(&w->changed);
	mutex_unlock(&w->lock);
}

static bool is_wanted(struct window *w, const struct job *job)
{
	bool wanted;

	mutex_lock(&w->lock);
	wanted = job->req != NULL;
	mutex_unlock(&w->lock);
	return wanted;
}

static void job_free(struct job *job)
{
	if (job->mapping) {
		proto_unpin(job->mapping->pin);
		proto_mapping_free(job->mapping);
	}
	free(job->list);
	free(job);
}

/* Without memory for it nothing is begun; @job's parts are freed. */
static void add_job(struct window *w, struct job parts)
{
	struct job *job = malloc(sizeof(*job));

	if (!job) {
		if (parts.mapping) {
			proto_unpin(parts.mapping->pin);
			proto_mapping_free(parts.mapping);
		}
		free(parts.list);
		if (parts.req)
			proto_window_done(parts.req, -ENOMEM);
		return;
	}
	*job = parts;
	mutex_lock(&w->lock);
	list_add_tail(&w->jobs, &job->link);
	cond_wake_all(&w->changed);
	mutex_unlock(&w->lock);
}

void window_map(struct window *w, struct proto_req *req, struct proto_mapping *m)
{
	add_job(w, (struct job){ .req = req, .mapping = m });
}

void window_unmap(struct window *w, struct proto_req *req, struct proto_unmap *list, uint32_t count)
{
	add_job(w, (struct job){ .req = req, .list = list, .count = count });
}

void window_clear(struct window *w)
{
	add_job(w, (struct job){ .req = NULL });
}

/* ENOMEM: a page fault in the guest that gets it is repeated. */
void window_give_up(struct window *w)
{
	for (;;) {
		struct job *found = NULL;
		struct proto_req *req = NULL;
		struct list *pos;

		mutex_lock(&w->lock);
		list_for_each(pos, &w->jobs) {
			struct job *job = list_entry(pos, struct job, link);

			if (job->req && !found)
				found = job;
		}
		if (found) {
			req = found->req;
			found->req = NULL;
			w->replying++;
		}
		while (!req && w->replying)
			cond_wait(&w->changed, &w->lock);
		mutex_unlock(&w->lock);
		if (!req)
			return;
		proto_window_done(req, -ENOMEM);
		mutex_lock(&w->lock);
		w->replying--;
		cond_wake_all(&w->changed);
		mutex_unlock(&w->lock);
	}
}

/* ---- what the front end says ---- */

void window_set_fd(struct window *w, int fd)
{
	int old;

	mutex_lock(&w->lock);
	old = w->fd_new;
	w->fd_new = fd;
	w->has_fd = true;
	mutex_unlock(&w->lock);
	if (old >= 0)
		(void)close(old); /* nothing was asked on it */
}

void window_configured(struct window *w, bool slots)
{
	mutex_lock(&w->lock);
	w->configured = true;
	w->slots = slots;
	mutex_unlock(&w->lock);
}

bool window_is_proven(struct window *w)
{
	bool proven;

	mutex_lock(&w->lock);
	proven = w->configured && w->has_fd;
	mutex_unlock(&w->lock);
	return proven;
}

bool window_is_image(const struct window *w, int fd)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_dev == w->image_dev && st.st_ino == w->image_ino;
}

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

static int map_range(struct window *w, struct job *job)
{
	struct range *r;
	int err = is_wanted(w, job) ? range_add(w, job->mapping, &r) : -ECANCELED;

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
	if (!err && !is_wanted(w, job))
		err = -ECANCELED;
	if (err) {
		r->dying = true;
		(void)take_down(w, BACKEND_WAIT_MS); /* what is left stays pinned */
	}
	return err ? -EIO : 0;
}

static int unmap_list(struct window *w, const struct job *job)
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

static void unmap_all(struct window *w)
{
	struct list *pos;

	list_for_each(pos, &w->ranges)
		list_entry(pos, struct range, link)->dying = true;
	(void)take_down(w, CLEAR_WAIT_MS); /* what is left stays pinned */
}

/* ---- the thread ---- */

static void count(struct window *w, const struct job *job, int err)
{
	mutex_lock(&w->lock);
	w->stats.maps += job->mapping != NULL;
	w->stats.unmaps += job->count;
	w->stats.refused += err == -ENOSPC || err == -EBUSY || err == -EINVAL;
	w->stats.failed += err == -EIO;
	mutex_unlock(&w->lock);
}

static void run(struct window *w, struct job *job)
{
	int err = 0;

	if (job->mapping)
		err = map_range(w, job);
	else if (job->list)
		err = unmap_list(w, job);
	else
		unmap_all(w);
	count(w, job, err);
	end_request(w, job, err);
}

/* NULL: the end. The job stays in the list, for window_give_up(). */
static struct job *next_job(struct window *w, bool *ret_taken)
{
	struct job *job = NULL;

	mutex_lock(&w->lock);
	while (list_empty(&w->jobs) && !w->stop && !w->taken)
		cond_wait(&w->changed, &w->lock);
	if (!w->stop && !list_empty(&w->jobs))
		job = list_entry(w->jobs.next, struct job, link);
	*ret_taken = !w->stop && w->taken;
	mutex_unlock(&w->lock);
	return job;
}

static void *window_thread(void *arg)
{
	struct window *w = arg;
	struct job *job;
	bool taken;

	while ((job = next_job(w, &taken)) || taken) {
		if (!job) {
			(void)take_down(w, 0); /* what was waited for has come, or not yet all */
			continue;
		}
		run(w, job);
		mutex_lock(&w->lock);
		list_del(&job->link);
		mutex_unlock(&w->lock);
		job_free(job);
	}
	return NULL;
}

/* ---- life ---- */

int window_new(const struct window_opts *opts, struct window **ret_window)
{
	struct window *w = calloc(1, sizeof(*w));
	struct stat st;
	int err;

	if (!w)
		return -ENOMEM;
	w->opts = *opts;
	w->fd_new = -1;
	mutex_init(&w->lock, LOCK_LEAF);
	cond_init(&w->changed);
	list_init(&w->jobs);
	list_init(&w->ranges);
	err = fstat(opts->image_fd, &st) ? -errno : 0;
	w->image_dev = st.st_dev;
	w->image_ino = st.st_ino;
	if (!err)
		err = backend_init(&w->backend);
	if (!err)
		err = thread_start(&w->thread, "kfs-window", window_thread, w);
	if (err) {
		backend_fini(&w->backend);
		free(w);
		return err;
	}
	w->running = true;
	*ret_window = w;
	return 0;
}

void window_stop(struct window *w)
{
	if (!w || !w->running)
		return;
	mutex_lock(&w->lock);
	w->stop = true;
	cond_wake_all(&w->changed);
	mutex_unlock(&w->lock);
	backend_stop(&w->backend);
	thread_join(w->thread);
	w->running = false;
	window_give_up(w);
	while (!list_empty(&w->jobs)) {
		struct job *job = list_entry(w->jobs.next, struct job, link);

		list_del(&job->link);
		job_free(job);
	}
	/* The machine is gone, or out of reach. */
	while (!list_empty(&w->ranges)) {
		struct range *r = list_entry(w->ranges.next, struct range, link);

		list_del(&r->link);
		proto_unpin(r->pin);
		free(r);
	}
}

void window_free(struct window *w)
{
	if (!w)
		return;
	window_stop(w);
	if (w->fd_new >= 0)
		(void)close(w->fd_new); /* nothing was asked on it */
	backend_fini(&w->backend);
	free(w);
}

void window_get_stats(struct window *w, struct window_stats *ret_stats)
{
	mutex_lock(&w->lock);
	*ret_stats = w->stats;
	mutex_unlock(&w->lock);
}
