/* SPDX-License-Identifier: GPL-2.0-only */
/* The device's life, and the life of its session. */
#include "vhost/device.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/base/stats.h"
#include "daemon/proto/proto.h"
#include "daemon/proto/state.h"
#include "vhost/request.h"
#include "vhost/roster.h"
#include "vhost/window.h"

static int new_session(struct device *d)
{
	if (!d->opts.fs)
		return 0; /* handover.h: away */
	return proto_session_new(d->opts.fs, d->opts.bus, d->opts.proto, d, &request_ops,
				 &d->session);
}

static int new_window(struct device *d)
{
	struct window_opts opts = { .size = d->opts.window_size, .guest = d->opts.number };

	if (!opts.size)
		return 0;
	opts.image_fd = proto_image_fd(d->opts.fs);
	return window_new(&opts, &d->window);
}

static void end_window(struct device *d)
{
	struct window_stats stats;

	if (!d->window)
		return;
	window_stop(d->window);
	window_get_stats(d->window, &stats);
	if (stats.maps)
		log_info("guest %u: its window: %" PRIu64 " mapped, %" PRIu64 " unmapped, %" PRIu64
			 " refused, %" PRIu64 " failed",
			 d->opts.number, stats.maps, stats.unmaps, stats.refused, stats.failed);
}

int device_new(const struct device_opts *opts, struct device **ret_device)
{
	struct device *d = calloc(1, sizeof(*d));
	int err = 0;

	if (!d)
		return -ENOMEM;
	d->opts = *opts;
	d->log.call_fd = -1;
	mutex_init(&d->lock, LOCK_LEAF);
	cond_init(&d->quiet);
	list_init(&d->listed);
	d->since_ns = stats_now_ns();
	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++)
		d->queues[i].wake_fd = d->queues[i].epoll_fd = -1;
	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX && !err; i++)
		err = queue_init(&d->queues[i], d, i);
	if (!err)
		err = new_window(d);
	handover_enter(d);
	if (!err)
		err = new_session(d);
	if (err) {
		device_free(d);
		return err;
	}
	roster_add(d);
	*ret_device = d;
	return 0;
}

void device_free(struct device *d)
{
	if (!d)
		return;
	device_pause(d);
	roster_del(d);
	(void)transfer_cancel(&d->transfer); /* the session ends as well */
	end_window(d);
	handover_undo(d);
	proto_session_free(d->session); /* locks that wait end with it */
	d->session = NULL;
	handover_leave(d);
	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++)
		queue_fini(&d->queues[i]);
	memory_clear(&d->memory);
	inflight_unmap(&d->inflight);
	dirty_log_unmap(&d->log);
	if (d->log.call_fd >= 0)
		(void)close(d->log.call_fd); /* an event: nothing to lose */
	window_free(d->window);
	free(d);
}

void device_pause(struct device *d)
{
	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++)
		queue_pause(&d->queues[i]);
}

int device_resume(struct device *d)
{
	int ret = 0;

	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++) {
		int err = queue_resume(&d->queues[i]);

		ret = err ? err : ret;
	}
	return ret;
}

/* ---- the session ---- */

/*
 * serving is written before renewing is read, here; the other way round in device_renew(): at
 * least one of the two sees the other.
 */
void device_enter(struct queue *q)
{
	struct device *d = q->dev;

	for (;;) {
		atomic_store(&q->serving, true);
		if (likely(!atomic_load(&d->renewing)))
			return;
		device_leave(q);
		mutex_lock(&d->lock);
		while (atomic_load(&d->renewing))
			cond_wait(&d->quiet, &d->lock);
		mutex_unlock(&d->lock);
	}
}

void device_leave(struct queue *q)
{
	struct device *d = q->dev;

	atomic_store(&q->serving, false);
	if (likely(!atomic_load(&d->renewing)))
		return;
	mutex_lock(&d->lock);
	cond_wake_all(&d->quiet);
	mutex_unlock(&d->lock);
}

uint64_t device_generation(struct device *d)
{
	uint64_t generation;

	mutex_lock(&d->lock);
	generation = d->generation;
	mutex_unlock(&d->lock);
	return generation;
}

static_assert(sizeof(struct proto_note) <= INFLIGHT_NOTE_MAX, "room for the note");

static void clear_note(struct device *d)
{
	uint8_t *at = inflight_note(&d->inflight);

	if (at)
		memset(at, 0, sizeof(struct proto_note));
}

void device_note(struct device *d)
{
	uint8_t *at = inflight_note(&d->inflight);
	struct proto_note note;

	if (!at || !d->session || !proto_note_make(d->session, &note))
		return;
	/* A guest that sends several INITs has several queues here, with the same note. */
	mutex_lock(&d->lock);
	memcpy(at, note.bytes, sizeof(note.bytes));
	mutex_unlock(&d->lock);
}

void device_adopt(struct device *d)
{
	const uint8_t *at = inflight_note(&d->inflight);
	struct proto_note note;
	int err;

	if (!at || !d->session || atomic_load(&d->used))
		return;
	memcpy(note.bytes, at, sizeof(note.bytes));
	err = proto_note_adopt(d->session, &note);
	if (err == -ENOENT)
		return;
	if (err) {
		clear_note(d);
		log_warn("guest %u: the note that its front end kept is not used: %s: mount anew "
			 "in the guest",
			 d->opts.number, proto_state_why(err));
		return;
	}
	atomic_store(&d->used, true);
	log_info("guest %u: goes on where it was; locks and deleted files that were open are lost",
		 d->opts.number);
}

/* Nobody uses the session from here on, until renewed(). Caller holds the lock, which is let go. */
static void begin_renewing(struct device *d)
{
	atomic_store(&d->renewing, true);
	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++)
		while (atomic_load(&d->queues[i].serving))
			cond_wait(&d->quiet, &d->lock);
	/* Those who come from here on find none. */
	while (d->visitors)
		cond_wait(&d->quiet, &d->lock);
	mutex_unlock(&d->lock);
}

static void renewed(struct device *d)
{
	mutex_lock(&d->lock);
	d->generation++;
	atomic_store(&d->used, false);
	atomic_store(&d->renewing, false);
	cond_wake_all(&d->quiet);
	mutex_unlock(&d->lock);
}

void device_close_session(struct device *d)
{
	mutex_lock(&d->lock);
	while (atomic_load(&d->renewing))
		cond_wait(&d->quiet, &d->lock);
	begin_renewing(d);
	proto_session_free(d->session);
	d->session = NULL;
	renewed(d);
}

int device_open_session(struct device *d)
{
	int err;

	mutex_lock(&d->lock);
	while (atomic_load(&d->renewing))
		cond_wait(&d->quiet, &d->lock);
	begin_renewing(d);
	err = new_session(d);
	renewed(d);
	return err;
}

void device_renew(struct device *d, uint64_t generation)
{
	int err;

	mutex_lock(&d->lock);
	while (atomic_load(&d->renewing))
		cond_wait(&d->quiet, &d->lock);
	if (d->generation != generation) {
		mutex_unlock(&d->lock);
		return;
	}
	begin_renewing(d);
	clear_note(d);
	if (d->window) {
		window_give_up(d->window);
		window_clear(d->window);
	}
	proto_session_free(d->session);
	d->session = NULL;
	err = new_session(d);
	if (err)
		log_error("guest %u: no session: %s: its requests fail", d->opts.number,
			  strerror(-err));
	renewed(d);
}
