/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A queue and its thread: chains become requests, replies are written where the chain has room
 * for them.
 *
 * A request's header is copied once, here; what follows it stays in the guest's memory for the
 * decoder, which copies arguments and names once. The payload of WRITE goes from there to the
 * image, that of READ from the image to there.
 *
 * A request ends on this thread, mostly before proto_dispatch() returns. Two kinds end later:
 * one that waits for a lock, and one whose change the host's kernel has to be told of first
 * (its reply is in the guest's memory, and the chain is not given back yet). Whoever ends such
 * a request puts it on the queue's list and wakes the thread.
 */
#include "vhost/queue.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "daemon/base/bustrap.h"
#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/base/stats.h"
#include "daemon/proto/proto.h"
#include "vhost/device.h"
#include "vhost/thread.h"
#include "vhost/window.h"

/* A ring is stopped within this time, or the connection ends. */
#define DRAIN_NS UINT64_C(10000000000)
#define DRAIN_LOOK_MS 20

#define OUT_HEAD sizeof(struct fuse_out_header)
/* What the oldest drivers send. */
#define INIT_LEAST 16u

struct vhost_request {
	struct proto_req req;
	struct queue *queue;
	struct list flying; /* [queue's thread] */
	struct list done;   /* [queue lock] */
	struct proto_notified notified;
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

static void queue_reply(struct proto_req *req, int error, const struct iovec *iov, int count)
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

static void queue_reply_filled(struct proto_req *req, size_t len)
{
	struct vhost_request *r = container_of(req, struct vhost_request, req);

	CHECK(serving == r);
	write_head(r, r->queue->chain, 0, len);
	end_here(r);
}

static void queue_done(struct proto_req *req)
{
	struct vhost_request *r = container_of(req, struct vhost_request, req);

	CHECK(serving == r);
	r->written = 0;
	r->ended = true;
	r->deferred = false;
}

/* ---- the window ---- */

static bool queue_window(void *transport)
{
	const struct device *d = transport;

	return d->window && window_is_proven(d->window);
}

static void queue_map(struct proto_req *req, struct proto_mapping *m)
{
	struct vhost_request *r = container_of(req, struct vhost_request, req);

	window_map(r->queue->dev->window, req, m);
}

static void queue_unmap(struct proto_req *req, struct proto_unmap *list, uint32_t count)
{
	struct vhost_request *r = container_of(req, struct vhost_request, req);

	window_unmap(r->queue->dev->window, req, list, count);
}

const struct transport_ops queue_ops = {
	.name = "vhost",
	.channel = PROTO_CHANNEL_MAIN,
	.reply = queue_reply,
	.reply_filled = queue_reply_filled,
	.done = queue_done,
	.window = queue_window,
	.map = queue_map,
	.unmap = queue_unmap,
};

/* ---- the ring ---- */

static void tell(int fd)
{
	uint64_t one = 1;

	/* A front end that does not read its events gets none. */
	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		log_debug("event to a front end: %s", strerror(errno));
}

static void put(struct queue *q, uint16_t chain_head, uint32_t written)
{
	vring_put(&q->ring, chain_head, written);
	if (unlikely(q->dev->log.base))
		dirty_log_tell(&q->dev->log);
	if (vring_needs_call(&q->ring))
		tell(q->call_fd);
}

static void ring_broken(struct queue *q)
{
	atomic_store(&q->broken, true);
	/* Its kicks are for nothing; or it is off already. */
	(void)epoll_ctl(q->epoll_fd, EPOLL_CTL_DEL, q->kick_fd, NULL);
	log_warn("guest %u: queue %u makes no sense and is not served any more: reset the device",
		 q->dev->opts.number, q->index);
	tell(q->err_fd);
}

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
	put(q, r->chain_head, r->written);
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

static void finish_done(struct queue *q)
{
	struct vhost_request *r;

	if (likely(!atomic_load(&q->has_done)))
		return;
	while ((r = next_done(q)))
		finish(q, r);
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
		r->req.ops = &queue_ops;
		proto_dispatch(&r->req);
		if (unlikely(r->head.opcode == FUSE_INIT))
			device_note(d);
	} else {
		queue_reply(&r->req, -EIO, NULL, 0);
	}
	serving = NULL;
	destroys = destroys && d->session && !proto_ready(d->session);
	device_leave(q);
	/* Locks and deleted files of a guest that has unmounted are nobody's. */
	if (destroys)
		device_renew(d, generation);
}

/* What cannot be a request of anybody's is given back; one that can be answered is. */
static void refuse(struct queue *q, uint16_t chain_head, int error)
{
	struct vhost_request r = { .queue = q, .chain_head = chain_head };

	atomic_fetch_add(&q->bad, 1);
	if (!split_in(q, &r))
		write_head(&r, q->chain, error, 0);
	put(q, chain_head, r.written);
}

static void serve_chain(struct queue *q, uint16_t chain_head)
{
	int err = vring_walk(&q->ring, &q->dev->memory, chain_head, q->chain);
	struct vhost_request *r;

	vring_prefetch(&q->ring, &q->dev->memory);
	if (err == -EPROTO) {
		ring_broken(q);
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
		put(q, chain_head, r->written);
		forget_request(q, r);
	}
}

/* ---- the thread ---- */

/* Until there is nothing to take. An honest guest offers no more than the ring holds. */
static void serve_some(struct queue *q)
{
	uint16_t chain_head;
	int ret;

	vring_ignore_kicks(&q->ring);
	while (atomic_load(&q->order) == QUEUE_RUN && q->in_flight < q->ring.num) {
		finish_done(q);
		ret = vring_take(&q->ring, &chain_head);
		if (ret < 0)
			ring_broken(q);
		else if (ret)
			serve_chain(q, chain_head);
		if (ret <= 0 || atomic_load(&q->broken))
			break;
	}
}

/* The ring may be taken from; else only what is under way can bring something to do. */
static bool may_take(const struct queue *q)
{
	return !atomic_load(&q->broken) && q->in_flight < q->ring.num;
}

static bool has_work(struct queue *q)
{
	return atomic_load(&q->has_done) || atomic_load(&q->order) != QUEUE_RUN ||
	       (may_take(q) && vring_pending(&q->ring));
}

/* Kicks are not asked for meanwhile. True: there is something to do, since *now at the latest. */
static bool look_for_work(struct queue *q, uint64_t *now)
{
	uint64_t began = *now, window = pace_look(&q->pace, began), last;

	while (*now - began < window) {
		/* The guest may be waiting for this very processor. */
		(void)sched_yield();
		last = *now;
		*now = stats_now_ns();
		if (*now - last > PACE_CROWDED_NS) {
			pace_crowded(&q->pace, *now);
			return has_work(q);
		}
		if (has_work(q)) {
			pace_found(&q->pace);
			return true;
		}
	}
	return false;
}

/* An event only counts, but what is not read fills a pipe or socket; one whose other end is gone kicks no more. */
static void kicked(struct queue *q, uint32_t events)
{
	uint8_t bytes[512];
	struct iovec iov = { bytes, sizeof(bytes) };
	ssize_t got = 1;

	if (q->kick_fills && events & EPOLLIN)
		got = preadv2(q->kick_fd, &iov, 1, -1, RWF_NOWAIT);
	/* Somebody else may have taken it. */
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* A descriptor that is ready without being readable is none that kicks. */
	if (got <= 0 || !(events & EPOLLIN))
		ring_broken(q);
}

static void sleep_for_work(struct queue *q)
{
	struct epoll_event events[2];
	int count = epoll_wait(q->epoll_fd, events, 2, -1); /* or interrupted: time to look */

	for (int i = 0; i < count; i++)
		if (events[i].data.fd == q->kick_fd)
			kicked(q, events[i].events);
}

static void wait_for_work(struct queue *q)
{
	uint64_t began = stats_now_ns(), now = began;

	if (!look_for_work(q, &now)) {
		if (!(may_take(q) && vring_listen(&q->ring)) && !has_work(q))
			sleep_for_work(q);
		now = stats_now_ns();
	}
	pace_came(&q->pace, now - began);
}

/* Where no thread serves: for what ended elsewhere alone. */
static void wait_for_done(struct queue *q, int timeout_ms)
{
	struct pollfd wake = { .fd = q->wake_fd, .events = POLLIN };
	uint64_t count;

	if (poll(&wake, 1, timeout_ms) > 0 && read(q->wake_fd, &count, sizeof(count)) < 0)
		log_debug("event: %s", strerror(errno));
}

/*
 * Only a lock can be aborted: whatever else is under way comes back by itself. But for what waits for
 * the front end, which waits for us.
 */
static void abort_locks(struct queue *q)
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

static void drain(struct queue *q)
{
	uint64_t end = stats_now_ns() + DRAIN_NS;
	uint16_t chain_head;

	/* What another life left has to come back as well: nobody else would serve it. */
	while (vring_owes(&q->ring) && !atomic_load(&q->broken) &&
	       vring_take(&q->ring, &chain_head) == 1)
		serve_chain(q, chain_head);
	while (q->in_flight && stats_now_ns() < end) {
		abort_locks(q);
		finish_done(q);
		if (q->in_flight)
			wait_for_done(q, DRAIN_LOOK_MS);
	}
}

static void *queue_thread(void *arg)
{
	struct queue *q = arg;
	int order;

	log_limit_thread(&thread_lines);
	bustrap_enable();
	while ((order = atomic_load(&q->order)) == QUEUE_RUN) {
		if (!atomic_load(&q->broken))
			serve_some(q);
		finish_done(q);
		if (!has_work(q))
			wait_for_work(q);
	}
	if (order == QUEUE_DRAIN)
		drain(q);
	return NULL;
}

/* ---- life ---- */

static void free_buffers(struct queue *q)
{
	free(q->ring.again);
	q->ring.again = NULL;
	free(q->chain);
	free(q->in);
	free(q->out);
	if (q->buf)
		(void)munmap(q->buf, QUEUE_PAYLOAD_MAX); /* our own mapping */
	q->chain = NULL;
	q->in = q->out = NULL;
	q->buf = NULL;
}

static int get_buffers(struct queue *q)
{
	void *buf;

	if (q->buf)
		return 0;
	q->chain = calloc(1, sizeof(*q->chain));
	q->in = calloc(VRING_IOV_MAX + 1, sizeof(*q->in));
	q->out = calloc(VRING_IOV_MAX, sizeof(*q->out));
	buf = mmap(NULL, QUEUE_PAYLOAD_MAX, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	q->buf = buf == MAP_FAILED ? NULL : buf;
	if (q->chain && q->in && q->out && q->buf)
		return 0;
	free_buffers(q);
	return -ENOMEM;
}

int queue_init(struct queue *q, struct device *d, uint32_t index)
{
	q->dev = d;
	q->index = index;
	q->kick_fd = q->call_fd = q->err_fd = -1;
	mutex_init(&q->lock, LOCK_LEAF);
	list_init(&q->done);
	list_init(&q->flying);
	pace_init(&q->pace, d->opts.poll_ns);
	q->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return q->wake_fd < 0 ? -errno : 0;
}

void queue_fini(struct queue *q)
{
	if (q->wake_fd < 0)
		return;
	while (q->in_flight) {
		struct vhost_request *r = next_done(q);

		if (r)
			forget_request(q, r);
		else
			wait_for_done(q, -1);
	}
	free(q->spare);
	free_buffers(q);
	/* Events: nothing was written that could be lost. */
	for (int i = 0; i < 4; i++) {
		int fd = (int[]){ q->kick_fd, q->call_fd, q->err_fd, q->wake_fd }[i];

		if (fd >= 0)
			(void)close(fd);
	}
}

bool queue_can_run(const struct queue *q)
{
	return q->kick_fd >= 0 && q->enabled && q->has_addr && q->ring.num;
}

static int listen_to(struct queue *q, int fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.fd = fd };

	return epoll_ctl(q->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* By edges: an event's count is not read, which saves a system call for each request. */
static int get_events(struct queue *q)
{
	struct stat st;
	int err;

	q->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (q->epoll_fd < 0)
		return -errno;
	q->kick_fills = !fstat(q->kick_fd, &st) &&
			st.st_mode & S_IFMT; /* anonymous inodes have no type */
	err = listen_to(q, q->wake_fd);
	/* A ring that is only drained may have none. */
	return err || q->kick_fd < 0 ? err : listen_to(q, q->kick_fd);
}

static void put_events(struct queue *q)
{
	if (q->epoll_fd >= 0)
		(void)close(q->epoll_fd); /* nothing is written to it */
	q->epoll_fd = -1;
}

/* Once in a ring's life: what the record holds is served before anything new. */
static int open_record(struct queue *q)
{
	int err;

	if (q->recorded || q->in_flight)
		return 0;
	err = inflight_ring_open(&q->dev->inflight, q->index, q->ring.num, &q->ring.inflight);
	if (!err && q->ring.inflight.head && !q->ring.again) {
		q->ring.again = calloc(VRING_NUM_MAX, sizeof(*q->ring.again));
		err = q->ring.again ? 0 : -ENOMEM;
	}
	if (!err)
		err = vring_recover(&q->ring);
	q->recorded = !err;
	if (q->ring.again_count)
		log_info("guest %u: queue %u: %u requests are served again", q->dev->opts.number,
			 q->index, q->ring.again_count);
	return err;
}

static int start_thread(struct queue *q, enum queue_order order)
{
	int err = vring_map(&q->ring, &q->dev->memory);

	if (!err)
		err = get_buffers(q);
	if (!err)
		err = open_record(q);
	if (!err)
		err = get_events(q);
	if (!err) {
		atomic_store(&q->order, order);
		err = thread_start(&q->thread, "kfs-guest", queue_thread, q);
	}
	q->running = !err;
	if (err)
		put_events(q);
	return err;
}

int queue_resume(struct queue *q)
{
	return q->running || !queue_can_run(q) ? 0 : start_thread(q, QUEUE_RUN);
}

static void end_thread(struct queue *q, enum queue_order order)
{
	uint64_t one = 1;

	atomic_store(&q->order, order);
	if (write(q->wake_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it is awake */
	thread_join(q->thread);
	q->running = false;
	put_events(q);
	vring_unmap(&q->ring);
}

void queue_pause(struct queue *q)
{
	if (q->running)
		end_thread(q, QUEUE_PAUSE);
}

int queue_drain(struct queue *q)
{
	/* Also of a ring that was disabled meanwhile, as front ends do before they stop it. */
	if (!q->running && (q->in_flight || vring_owes(&q->ring)) && start_thread(q, QUEUE_DRAIN))
		return -ETIMEDOUT; /* its ring is gone: nothing can be put back */
	if (q->running)
		end_thread(q, QUEUE_DRAIN);
	return q->in_flight ? -ETIMEDOUT : 0;
}
