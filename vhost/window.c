/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests wait in a list of jobs, which one thread does one after the other; the one at work stays in the list, so that
 * whoever must not wait for the front end finds its request there and ends it.
 */
#include "vhost/window.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/proto/proto.h"
#include "vhost/memory.h"
#include "vhost/thread.h"
#include "vhost/window_priv.h"

/* ---- requests ---- */

/* Ends @job's request; false: somebody has done so. No lock held. */
static bool end_request(struct window *w, struct job *job, int error)
{
	struct window_wait *wait;
	struct proto_req *req;

	mutex_lock(&w->lock);
	req = job->req;
	wait = job->wait;
	job->req = NULL;
	job->wait = NULL;
	w->replying += req || wait;
	mutex_unlock(&w->lock);
	if (!req && !wait)
		return false;
	if (req)
		proto_window_done(req, error);
	if (wait)
		wait->done(wait);
	mutex_lock(&w->lock);
	w->replying--;
	cond_wake_all(&w->changed);
	mutex_unlock(&w->lock);
	return true;
}

bool window_job_is_wanted(struct window *w, const struct job *job)
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
		if (parts.wait)
			parts.wait->done(parts.wait);
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

void window_settle(struct window *w, struct window_wait *wait)
{
	add_job(w, (struct job){ .wait = wait, .settles = true });
}

/* ENOMEM: a page fault in the guest that gets it is repeated. */
void window_give_up(struct window *w)
{
	for (;;) {
		struct job *found = NULL;
		struct window_wait *wait = NULL;
		struct proto_req *req = NULL;
		struct list *pos;

		mutex_lock(&w->lock);
		list_for_each(pos, &w->jobs) {
			struct job *job = list_entry(pos, struct job, link);

			if ((job->req || job->wait) && !found)
				found = job;
		}
		if (found) {
			req = found->req;
			wait = found->wait;
			found->req = NULL;
			found->wait = NULL;
			w->replying++;
		}
		while (!found && w->replying)
			cond_wait(&w->changed, &w->lock);
		mutex_unlock(&w->lock);
		if (!found)
			return;
		if (req)
			proto_window_done(req, -ENOMEM);
		if (wait)
			wait->done(wait);
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

int window_configured(struct window *w, const struct window_agreed *agreed)
{
	int err = 0;

	if (window_is_large(w) && (agreed->slots || !agreed->barriers))
		return -EOPNOTSUPP;
	if (!agreed->slots && !window_has_view(w))
		err = view_init(&w->view, w->opts.size);
	if (err)
		return err;
	mutex_lock(&w->lock);
	w->configured = true;
	w->slots = agreed->slots;
	w->barriers = !agreed->slots && agreed->barriers;
	w->has_view = w->has_view || !agreed->slots;
	mutex_unlock(&w->lock);
	return 0;
}

bool window_is_large(const struct window *w)
{
	return w->opts.size > WINDOW_SLOTS_SIZE_MAX;
}

bool window_has_view(struct window *w)
{
	bool has;

	mutex_lock(&w->lock);
	has = w->has_view;
	mutex_unlock(&w->lock);
	return has;
}

/* One that is in the way of memory is one of an earlier life: the guest's machine has moved it. */
void window_add_view(struct window *w, struct memory *m)
{
	if (w->has_gpa && memory_add_view(m, w->gpa, &w->view))
		w->has_gpa = false;
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
	struct range *made = NULL;
	int err = 0;

	if (job->mapping)
		err = ranges_map(w, job, &made);
	else if (job->list)
		err = ranges_unmap(w, job);
	else if (!job->settles)
		ranges_clear(w);
	count(w, job, err);
	/* Whoever was told that it has failed uses the place for something else. */
	if (!end_request(w, job, err) && made)
		ranges_undo(w, made);
}

/*
 * The first; or, where room is scarce, the first that makes some. No guest can tell: of two requests that it has not been
 * answered yet either may be done first. But what it asked for in its life before it began anew is done before that.
 * Caller holds the lock; the list is not empty.
 */
static struct job *choose_job(struct window *w)
{
	struct job *first = list_entry(w->jobs.next, struct job, link);
	struct list *pos;

	if (!window_is_large(w) || !ranges_are_many(w))
		return first;
	list_for_each(pos, &w->jobs) {
		struct job *job = list_entry(pos, struct job, link);

		if (job->list)
			return job;
		if (!job->mapping)
			break;
	}
	return first;
}

/* NULL: the end. The job stays in the list, for window_give_up(). */
static struct job *next_job(struct window *w, bool *ret_taken)
{
	struct job *job = NULL;

	mutex_lock(&w->lock);
	while (list_empty(&w->jobs) && !w->stop && !w->taken)
		cond_wait(&w->changed, &w->lock);
	if (!w->stop && !list_empty(&w->jobs))
		job = choose_job(w);
	*ret_taken = !w->stop && w->taken;
	mutex_unlock(&w->lock);
	return job;
}

static void *window_thread(void *arg)
{
	struct window *w = arg;
	struct job *job;
	bool taken;

	log_limit_thread(&thread_lines);
	while ((job = next_job(w, &taken)) || taken) {
		if (!job) {
			ranges_look_again(w);
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
	list_init(&w->dying);
	w->view.filler_fd = -1;
	w->places = (uint32_t)(opts->size / WINDOW_RANGE);
	w->place = calloc(w->places, sizeof(*w->place));
	if (!w->place) {
		free(w);
		return -ENOMEM;
	}
	for (uint32_t k = 0; k < w->places; k++)
		list_init(&w->place[k]);
	err = fstat(opts->image_fd, &st) ? -errno : 0;
	w->image_dev = st.st_dev;
	w->image_ino = st.st_ino;
	if (!err)
		err = backend_init(&w->backend);
	if (!err)
		err = thread_start(&w->thread, "kfs-window", window_thread, w);
	if (err) {
		backend_fini(&w->backend);
		free(w->place);
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
	ranges_drop(w);
}

void window_free(struct window *w)
{
	if (!w)
		return;
	window_stop(w);
	if (w->fd_new >= 0)
		(void)close(w->fd_new); /* nothing was asked on it */
	backend_fini(&w->backend);
	view_fini(&w->view);
	free(w->place);
	free(w);
}

void window_get_stats(struct window *w, struct window_stats *ret_stats)
{
	mutex_lock(&w->lock);
	*ret_stats = w->stats;
	mutex_unlock(&w->lock);
}
