/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Invariants: (1) Nothing of a state is shown to a front end before the image is closed: whoever has
 * read its end may open the image. (2) Nothing is written to an image that was opened for a guest that
 * arrives before that guest is started. So at most one of the two daemons has changed it since the
 * state was made, and the state says which superblock it belongs to.
 */
#include "vhost/handover.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/proto/proto.h"
#include "vhost/device.h"
#include "vhost/vhost.h"

/* The daemon that the guest did not get to may be closing the image just now. */
#define RETURN_TRIES 50
#define RETURN_PAUSE_MS 100

void handover_enter(struct device *d)
{
	const struct vhost_image *image = d->opts.image;

	if (!image)
		return;
	d->opts.fs = image->enter(image->arg);
	d->handover.counted = d->opts.fs;
}

static void forget_saved(struct handover *h)
{
	free(h->saved);
	h->saved = NULL;
	h->saved_len = h->saved_room = 0;
}

void handover_undo(struct device *d)
{
	const struct vhost_image *image = d->opts.image;

	if (!d->handover.arriving)
		return;
	if (d->session)
		proto_keep_deleted(d->session, true);
	device_close_session(d);
	d->opts.fs = NULL;
	d->handover.arriving = d->handover.counted = false;
	image->drop(image->arg);
}

void handover_leave(struct device *d)
{
	const struct vhost_image *image = d->opts.image;

	handover_undo(d);
	if (d->handover.counted)
		image->leave(image->arg);
	d->handover.counted = false;
	forget_saved(&d->handover);
}

/* ---- to leave ---- */

static int keep(void *arg, const void *data, size_t len)
{
	struct handover *h = arg;

	if (h->saved_room - h->saved_len < len) {
		size_t room = MAX(2 * h->saved_room, h->saved_len + len + 4096);
		uint8_t *bigger = realloc(h->saved, room);

		if (!bigger)
			return -ENOMEM;
		h->saved = bigger;
		h->saved_room = room;
	}
	memcpy(h->saved + h->saved_len, data, len);
	h->saved_len += len;
	return 0;
}

static int close_image(void *arg, uint64_t *ret_print)
{
	struct device *d = arg;
	const struct vhost_image *image = d->opts.image;

	proto_keep_deleted(d->session, true);
	device_close_session(d);
	d->opts.fs = NULL;
	d->handover.counted = false;
	return image->close(image->arg, ret_print);
}

/* The image is closed, and what was saved is all that is left of the session here. */
static int hand_over(struct device *d)
{
	const struct vhost_image *image = d->opts.image;
	const struct proto_handover out = { .close = close_image, .arg = d };
	struct handover *h = &d->handover;
	int err = image->claim(image->arg, d->opts.number, h->why, sizeof(h->why));

	if (err)
		return err;
	err = proto_state_hand_over(d->session, &out, keep, h);
	if (!err) {
		log_info("guest %u: its image is closed, and whoever gets its state may have it",
			 d->opts.number);
		return 0;
	}
	forget_saved(h);
	if (d->session)
		image->unclaim(image->arg);
	else
		log_error("guest %u: its image was closed, but could not be handed over: %s: its "
			  "requests fail",
			  d->opts.number, strerror(-err));
	return err;
}

int handover_save(struct device *d, proto_write_fn write, void *arg)
{
	struct handover *h = &d->handover;

	h->why[0] = '\0';
	if (h->arriving) {
		(void)snprintf(h->why, sizeof(h->why), "it has not been started here");
		return -EBUSY;
	}
	if (!d->opts.image || !d->opts.image->hands_over)
		return d->session ? proto_state_save(d->session, write, arg) : -EBUSY;
	if (!h->saved) {
		int err = d->session ? hand_over(d) : -EBUSY;

		if (err)
			return err;
	}
	return write(arg, h->saved, h->saved_len);
}

/* ---- to arrive ---- */

static int load_into_image(struct device *d, proto_read_fn read, void *arg)
{
	const struct vhost_image *image = d->opts.image;
	struct handover *h = &d->handover;
	int err = image->open(image->arg, &d->opts.fs, h->why, sizeof(h->why));

	if (err)
		return err;
	h->arriving = h->counted = true;
	err = device_open_session(d);
	if (!err)
		err = proto_state_load(d->session, read, arg);
	if (err)
		handover_undo(d);
	return err;
}

int handover_load(struct device *d, proto_read_fn read, void *arg)
{
	struct handover *h = &d->handover;
	int err;

	h->why[0] = '\0';
	if (d->session)
		return proto_state_load(d->session, read, arg);
	err = load_into_image(d, read, arg);
	/* Somebody's who is here now; of who was here nobody will ask any more. */
	if (!err)
		forget_saved(h);
	return err;
}

struct reader {
	const struct handover *from;
	size_t at;
};

static int read_saved(void *arg, void *data, size_t len)
{
	struct reader *r = arg;

	if (r->from->saved_len - r->at < len)
		return -ENODATA;
	memcpy(data, r->from->saved + r->at, len);
	r->at += len;
	return 0;
}

/* It was saved, and is started again: it did not get where it was to go. */
static void come_back(struct device *d)
{
	struct handover *h = &d->handover;
	int err = -EBUSY;

	for (int i = 0; i < RETURN_TRIES && err == -EBUSY; i++) {
		struct reader r = { .from = h };

		if (i)
			(void)poll(NULL, 0, RETURN_PAUSE_MS);
		h->why[0] = '\0';
		err = load_into_image(d, read_saved, &r);
	}
	if (err)
		log_error("guest %u: is started again, but its image was handed over and cannot be "
			  "had back: %s: its requests fail",
			  d->opts.number, *h->why ? h->why : proto_state_why(err));
}

void handover_arrive(struct device *d)
{
	const struct vhost_image *image = d->opts.image;
	struct handover *h = &d->handover;
	bool back = h->saved;
	int err;

	if (!image || h->counted != h->arriving)
		return;
	if (!h->arriving && back)
		come_back(d);
	else if (!h->arriving)
		log_error(
			"guest %u: did not arrive with a state, and this daemon waits for one: start "
			"kfs without incoming for a guest that boots: its requests fail",
			d->opts.number);
	if (!h->arriving)
		return;
	err = image->begin(image->arg, h->why, sizeof(h->why));
	if (err) {
		log_error("guest %u: its image cannot be written to: %s: its requests fail",
			  d->opts.number, *h->why ? h->why : strerror(-err));
		handover_undo(d);
		return;
	}
	h->arriving = false;
	proto_keep_deleted(d->session, false);
	atomic_store(&d->used, proto_ready(d->session));
	forget_saved(h);
	if (back)
		log_info("guest %u: has its image back, and goes on where it was", d->opts.number);
}

bool handover_can(const struct device *d, bool load)
{
	if (load)
		return d->session ? !atomic_load(&d->used) && !d->handover.arriving :
				    d->opts.image != NULL;
	return d->session || d->handover.saved;
}
