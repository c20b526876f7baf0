/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A queue's thread: it takes chains from its ring, looks a while for the next one before it sleeps, and is ended, in
 * between two requests, whenever the ring or the guest's memory changes. What becomes of a chain is request.c's business.
 */
#include "vhost/queue.h"

#include <errno.h>
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
#include "daemon/base/log.h"
#include "daemon/base/stats.h"
#include "vhost/device.h"
#include "vhost/request.h"
#include "vhost/thread.h"

/* A ring is stopped within this time, or the connection ends. */
#define DRAIN_NS UINT64_C(10000000000)
#define DRAIN_LOOK_MS 20
/* ---- the ring ---- */

static void tell(int fd)
{
	uint64_t one = 1;

	/* A front end that does not read its events gets none. */
	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		log_debug("event to a front end: %s", strerror(errno));
}

void queue_put(struct queue *q, uint16_t chain_head, uint32_t written)
{
	vring_put(&q->ring, chain_head, written);
	if (unlikely(q->dev->log.base))
		dirty_log_tell(&q->dev->log);
	if (vring_needs_call(&q->ring))
		tell(q->call_fd);
}

void queue_broken(struct queue *q)
{
	atomic_store(&q->broken, true);
	/* Its kicks are for nothing; or it is off already. */
	(void)epoll_ctl(q->epoll_fd, EPOLL_CTL_DEL, q->kick_fd, NULL);
	log_warn("guest %u: queue %u makes no sense and is not served any more: reset the device",
		 q->dev->opts.number, q->index);
	tell(q->err_fd);
}

/* ---- the thread ---- */

/* Until there is nothing to take. An honest guest offers no more than the ring holds. */
static void serve_some(struct queue *q)
{
	uint16_t chain_head;
	int ret;

	vring_ignore_kicks(&q->ring);
	while (atomic_load(&q->order) == QUEUE_RUN && q->in_flight < q->ring.num) {
		request_finish_done(q);
		ret = vring_take(&q->ring, &chain_head);
		if (ret < 0)
			queue_broken(q);
		else if (ret)
			request_serve(q, chain_head);
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
		queue_broken(q);
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

static void drain(struct queue *q)
{
	uint64_t end = stats_now_ns() + DRAIN_NS;
	uint16_t chain_head;

	/* What another life left has to come back as well: nobody else would serve it. */
	while (vring_owes(&q->ring) && !atomic_load(&q->broken) &&
	       vring_take(&q->ring, &chain_head) == 1)
		request_serve(q, chain_head);
	while (q->in_flight && stats_now_ns() < end) {
		request_abort_locks(q);
		request_finish_done(q);
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
		request_finish_done(q);
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
	while (q->in_flight)
		if (!request_drop_done(q))
			wait_for_done(q, -1);
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
