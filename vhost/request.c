/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Chains become requests; replies are written where the chain has room for them.
 *
 * A request's header is copied once, here; what follows it stays in the guest's memory for the
 * decoder, which copies arguments and names once. The payload of WRITE goes from there to the
 * image, that of READ from the image to there.
 *
 * A request ends on its queue's thread, mostly before proto_dispatch() returns. Two kinds end later:
 * one that waits for a lock, and one whose change the host's kernel has to be told of first
 * (its reply is in the guest's memory, and the chain is not given back yet). Whoever ends such
 * a request puts it on the queue's list and wakes the thread.
 */
#include "vhost/request.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/proto/proto.h"
#include "vhost/device.h"
#include "vhost/queue.h"
#include "vhost/window.h"

#define OUT_HEAD sizeof(struct fuse_out_header)
/* What the oldest drivers send. */
#define INIT_LEAST 16u

struct vhost_request {
	struct proto_req req;
	struct queue *queue;
	struct list flying; /* [queue's thread] */
	struct list done;   /* [queue lock] */
	struct proto_notified notified;
	struct window_wait settled;
	struct fuse_in_header head;
	uint16_t chain_head;
	bool ended;	  /* [queue's thread] its reply is written, if it has one */
	bool deferred;	  /* [queue's thread] ended, but the host is told first */
	int error;	  /* of a reply that came from another thread */
	uint32_t written; /* bytes of the reply */
};

/* The request that this thread is serving: it alone may be answered from here. */
static _Thread_local struct vhost_request *serving;

/* ---- replies ---- */

/* @len bytes to @off of the pieces; the caller knows that there is room. */
static void copy_out(const struct iovec *iov, size_t off, const void *data, size_t len)
{
	const uint8_t *from = data;

	while (off >= iov->iov_len) {
		off -= iov->iov_len;
		iov++;
	}
	while (len) {
		size_t part = MIN(len, iov->iov_len - off);

		memcpy((uint8_t *)iov->iov_base + off, from, part);
		from += part;
		len -= part;
		off = 0;
		iov++;
	}
}

/*
 * The reply of @r was written. One that fails, and a READ, may have left bytes anywhere in the
 * chain's room: all of it is marked.
 */
static void log_reply(struct vhost_request *r, const struct vring_chain *c, int error)
{
	struct device *d = r->queue->dev;
	uint64_t left = error || r->head.opcode == FUSE_READ ? c->out_len : r->written;

	for (uint32_t i = 0; i < c->out_count && left; i++) {
		const struct iovec *v = &c->iov[c->in_count + i];
		uint64_t len = MIN(left, (uint64_t)v->iov_len);

		dirty_log_mark(&d->log, memory_gpa_of(&d->memory, v->iov_base), len);
		left -= len;
	}
}

/* What is written into the guest's memory before it is told that it may look. */
static void write_head(struct vhost_request *r, const struct vring_chain *c, int error,
		       uint64_t payload)
{
	struct fuse_out_header head = { .len = (uint32_t)(OUT_HEAD + payload),
					.error = error,
					.unique = r->head.unique };

	r->written = 0;
	if (c->out_len < OUT_HEAD)
		return;
	copy_out(c->iov + c->in_count, 0, &head, sizeof(head));
	r->written = head.len;
	if (unlikely(r->queue->dev->logs_all))
		log_reply(r, c, error);
}

static void hand_back(struct vhost_request *r)
{
	struct queue *q = r->queue;
	uint64_t one = 1;

	mutex_lock(&q->lock);
	list_add_tail(&q->done, &r->done);
	atomic_store(&q->has_done, true);
	/* With the lock: the queue may be gone once the request is off the list. */
	if (write(q->wake_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it is awake */
	mutex_unlock(&q->lock);
}

static void on_notified(struct proto_notified *wait)
{
	hand_back(container_of(wait, struct vhost_request, notified));
}

static void end_here(struct vhost_request *r)
{
	struct proto_session *host = r->queue->dev->opts.host;

	r->ended = true;
	r->deferred = true;
	r->notified.done = on_notified;
	if (!r->req.changes || !host || !proto_when_notified(host, &r->notified))
		r->deferred = false;
}

static void ops_reply(struct proto_req *req, int error, const struct iovec *iov, int count)
{
	struct vhost_request *r = container_of(req, struct vhost_request, req);
	const struct vring_chain *c = r->queue->chain;
	uint64_t len = 0, room;

	if (serving != r) {
		CHECK(error || !count); /* a lock's reply has no data */
		r->error = error;
		hand_back(r);
		return;
	}
	room = c->out_len < OUT_HEAD ? 0 : c->out_len - OUT_HEAD;
	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	if (len > room) {
		error = -EIO;
		count = 0;
		len = 0;
	}
	for (int i = 0, off = OUT_HEAD; i < count; off += (int)iov[i].iov_len, i++)
		if (iov[i].iov_len)
			copy_out(c->iov + c->in_count, (size_t)off, iov[i].iov_base,
				 iov[i].iov_len);
	write_head(r, c, error, len);
	end_here(r);
}

static void ops_reply_filled(struct proto_req *req, size_t len)
{
	struct vhost_request *r = container_of(req, struct vhost_request, req);

	CHECK(serving == r);
	write_head(r, r->queue->chain, 0, len);
	end_here(r);
}

static void ops_done(struct proto_req *req)
{
	struct vhost_request *r = container_of(req, struct vhost_request, req);

	CHECK(serving == r);
	r->written = 0;
	r->ended = true;
	r->deferred = false;
}

/* ---- the window ---- */

static bool ops_window(void *transport)
{
	const struct device *d = transport;

	return d->window && window_is_proven(d->window);
}

static void ops_map(struct proto_req *req, struct proto_mapping *m)
{
	struct vhost_request *r = container_of(req, struct vhost_request, req);

	window_map(r->queue->dev->window, req, m);
}

static void on_settled(struct window_wait *wait)
{
	hand_back(container_of(wait, struct vhost_request, settled));
}

/* @r was answered, but its guest is told when nothing is mapped any more. */
static void settle_first(struct vhost_request *r)
{
	struct window *w = r->queue->dev->window;

	if (!w || !r->ended || r->deferred)
		return;
	r->deferred = true;
	r->settled.done = on_settled;
	window_settle(w, &r->settled);
}

static void ops_unmap(struct proto_req *req, struct proto_unmap *list, uint32_t count)
{
	struct vhost_request *r = container_of(req, struct vhost_request, req);

	window_unmap(r->queue->dev->window, req, list, count);
}

const struct transport_ops request_ops = {
	.name = "vhost",
	.channel = PROTO_CHANNEL_MAIN,
	.reply = ops_reply,
	.reply_filled = ops_reply_filled,
	.done = ops_done,
	.window = ops_window,
	.map = ops_map,
	.unmap = ops_unmap,
};

/* ---- those that end elsewhere ---- */

/* Off the books; what is kept for the next one saves an allocation. */
static void forget_request(struct queue *q, struct vhost_request *r)
{
	list_del(&r->flying);
	q->in_flight--;
	if (q->spare)
		free(r);
	else
		q->spare = r;
}

/* Its reply comes from another thread: the chain is looked at again, now that it is written. */
static bool write_late(struct queue *q, struct vhost_request *r)
{
	struct proto_session *host = q->dev->opts.host;
	int err = vring_walk(&q->ring, &q->dev->memory, r->chain_head, q->chain);

	if (err == -EPROTO)
		q->chain->out_len = 0;
	write_head(r, q->chain, r->error, 0);
	if (!r->req.changes || !host)
		return true;
	/* It comes back when the host was told, as one that was deferred. */
	r->deferred = true;
	r->notified.done = on_notified;
	return !proto_when_notified(host, &r->notified);
}

static void finish(struct queue *q, struct vhost_request *r)
{
	if (!r->deferred && !write_late(q, r))
		return;
	queue_put(q, r->chain_head, r->written);
	forget_request(q, r);
}

static struct vhost_request *next_done(struct queue *q)
{
	struct vhost_request *r = NULL;

	mutex_lock(&q->lock);
	if (list_empty(&q->done)) {
		atomic_store(&q->has_done, false);
	} else {
		r = list_entry(q->done.next, struct vhost_request, done);
		list_del(&r->done);
	}
	mutex_unlock(&q->lock);
	return r;
}

void request_finish_done(struct queue *q)
{
	struct vhost_request *r;

	if (likely(!atomic_load(&q->has_done)))
		return;
	while ((r = next_done(q)))
		finish(q, r);
}

bool request_drop_done(struct queue *q)
{
	struct vhost_request *r = next_done(q);

	if (r)
		forget_request(q, r);
	return r;
}

/*
 * Only a lock can be aborted: whatever else is under way comes back by itself. But for what waits for
 * the front end, which waits for us.
 */
void request_abort_locks(struct queue *q)
{
	struct list *pos;

	if (q->dev->window)
		window_give_up(q->dev->window);

	device_enter(q);
	list_for_each(pos, &q->flying) {
		struct vhost_request *r = list_entry(pos, struct vhost_request, flying);

		if (q->dev->session && !r->deferred)
			(void)proto_abort(q->dev->session, r->head.unique); /* or it just ended */
	}
	device_leave(q);
}

/* ---- requests ---- */

static struct vhost_request *begin_request(struct queue *q, uint16_t chain_head)
{
	struct vhost_request *r = q->spare ? q->spare : malloc(sizeof(*r));

	if (!r)
		return NULL;
	q->spare = NULL;
	memset(r, 0, sizeof(*r));
	r->queue = q;
	r->chain_head = chain_head;
	list_init(&r->done);
	list_add_tail(&q->flying, &r->flying);
	q->in_flight++;
	return r;
}

/* The header out of the chain, and what follows it as pieces. */
static int split_in(struct queue *q, struct vhost_request *r)
{
	const struct vring_chain *c = q->chain;
	size_t skip = sizeof(r->head);
	uint8_t *to = (uint8_t *)&r->head;
	int used = 1;

	if (c->in_len < sizeof(r->head))
		return -EINVAL;
	q->in[0] = (struct iovec){ .iov_base = &r->head, .iov_len = sizeof(r->head) };
	for (uint32_t i = 0; i < c->in_count; i++) {
		uint8_t *base = c->iov[i].iov_base;
		size_t len = c->iov[i].iov_len, part = MIN(skip, len);

		memcpy(to, base, part);
		to += part;
		skip -= part;
		if (len > part)
			q->in[used++] =
				(struct iovec){ .iov_base = base + part, .iov_len = len - part };
	}
	r->req.in = q->in;
	r->req.in_count = used;
	return 0;
}

/* The room for a reply's payload, at most QUEUE_PAYLOAD_MAX. */
static void split_out(struct queue *q, struct vhost_request *r)
{
	const struct vring_chain *c = q->chain;
	size_t skip = OUT_HEAD, room = QUEUE_PAYLOAD_MAX;
	int used = 0;

	for (uint32_t i = 0; i < c->out_count && room; i++) {
		const struct iovec *v = &c->iov[c->in_count + i];
		size_t part = MIN(skip, v->iov_len), len = MIN(v->iov_len - part, room);

		skip -= part;
		if (!len)
			continue;
		q->out[used++] =
			(struct iovec){ .iov_base = (uint8_t *)v->iov_base + part, .iov_len = len };
		room -= len;
	}
	r->req.out = q->out;
	r->req.out_count = used;
	r->req.out_buf = q->buf;
	r->req.out_size = (uint32_t)(QUEUE_PAYLOAD_MAX - room);
}

/* A guest that begins anew finds a session that nobody has used. */
static void before_dispatch(struct queue *q, const struct vhost_request *r)
{
	struct device *d = q->dev;
	bool whole = r->head.len >= sizeof(r->head) + INIT_LEAST && r->head.len <= q->chain->in_len;

	/* One that is malformed begins nothing. */
	if (r->head.opcode == FUSE_INIT && whole && atomic_exchange(&d->used, true)) {
		device_renew(d, device_generation(d));
		atomic_store(&d->used, true);
	}
}

static void dispatch(struct queue *q, struct vhost_request *r)
{
	struct device *d = q->dev;
	bool destroys = r->head.opcode == FUSE_DESTROY;
	uint64_t generation;

	before_dispatch(q, r);
	generation = destroys ? device_generation(d) : 0;
	device_enter(q);
	serving = r;
	if (d->session) {
		r->req.session = d->session;
		r->req.ops = &request_ops;
		proto_dispatch(&r->req);
		if (unlikely(r->head.opcode == FUSE_INIT))
			device_note(d);
	} else {
		ops_reply(&r->req, -EIO, NULL, 0);
	}
	serving = NULL;
	destroys = destroys && d->session && !proto_ready(d->session);
	device_leave(q);
	/* Locks and deleted files of a guest that has unmounted are nobody's. */
	if (destroys) {
		device_renew(d, generation);
		settle_first(r);
	}
}

/* What cannot be a request of anybody's is given back; one that can be answered is. */
static void refuse(struct queue *q, uint16_t chain_head, int error)
{
	struct vhost_request r = { .queue = q, .chain_head = chain_head };

	atomic_fetch_add(&q->bad, 1);
	if (!split_in(q, &r))
		write_head(&r, q->chain, error, 0);
	queue_put(q, chain_head, r.written);
}

void request_serve(struct queue *q, uint16_t chain_head)
{
	int err = vring_walk(&q->ring, &q->dev->memory, chain_head, q->chain);
	struct vhost_request *r;

	vring_prefetch(&q->ring, &q->dev->memory);
	if (err == -EPROTO) {
		queue_broken(q);
		return;
	}
	if (err || q->chain->in_len > QUEUE_PAYLOAD_MAX + 4096) {
		refuse(q, chain_head, err ? -EIO : -EINVAL);
		return;
	}
	r = begin_request(q, chain_head);
	if (!r) {
		refuse(q, chain_head, -ENOMEM);
		return;
	}
	if (split_in(q, r)) {
		forget_request(q, r);
		refuse(q, chain_head, -EINVAL);
		return;
	}
	split_out(q, r);
	atomic_fetch_add_explicit(&q->requests, 1, memory_order_relaxed); /* a statistic */
	dispatch(q, r);
	/* Else somebody else ends it, and may have done so already: it waits on the list then. */
	if (r->ended && !r->deferred) {
		queue_put(q, chain_head, r->written);
		forget_request(q, r);
	}
}
