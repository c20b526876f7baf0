/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/fuse as a transport: worker threads that read a request, dispatch it and write
 * the reply, one read(2) and one writev(2) each, with no allocation in between.
 *
 * Invariants: (1) A reply goes to the descriptor that its request was read from: with
 * cloned descriptors the kernel looks for it there only. (2) A worker's buffers belong to
 * the request it serves until proto_dispatch() returns. A request that is not answered by
 * then is parked: it keeps its struct dev_req, and the worker takes a new one. (3) When
 * all workers are busy for longer than a moment, one is added, up to the maximum (pool.h).
 * Readers beyond a few sleep, the last to fall asleep woken first: the kernel hands
 * requests to its readers in turn, and the more of them, the colder their caches.
 * (4) A request that was answered early (an abort) still has its worker and its buffers;
 * in its place another worker may be started.
 *
 * The request is placed so that the payload of WRITE begins on a page.
 */
#include "daemon/dev/dev_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/dev/mount.h"
#include "daemon/dev/uring.h"
#include "daemon/proto/proto.h"
#include "daemon/proto/wire.h"

#define THREADS_START 2
#define THREADS_DEFAULT 16
#define THREADS_MAX 256
/* Threads beyond the maximum in place of those whose request was aborted. */
#define THREADS_ABANDONED_MAX 256
/* Request header and struct fuse_write_in end where a page begins. */
#define IN_OFFSET (DEV_PAGE - sizeof(struct fuse_in_header) - sizeof(struct fuse_write_in))

/*
 * Beside rings the device brings FORGETs, one by one, each of which would wake a reader and
 * make the caller of unlink(2) pay for it. While the only reader naps they gather, and come
 * as one. An INTERRUPT waits as long at most, and so does the space of deleted files.
 */
#define NAP_MS 2

enum req_state { REQ_SERVED, REQ_PARKED, REQ_ENDED };

struct dev_req {
	struct proto_req req;
	struct iovec in;
	struct dev *dev;
	int fd;
	_Atomic int state; /* [atomic] enum req_state */
	/* [in-flight shard lock until it is taken off there] answered early, its thread is stuck */
	bool abandoned;
};

struct worker {
	struct list link; /* [readers lock] */
	struct dev *dev;
	pthread_t thread;
	int fd; /* its own clone, or the mount's */
	uint8_t *in, *out;
	size_t in_size;
	struct dev_req *req;
	struct list sleeper; /* [readers lock] while it sleeps */
	struct cond wake;    /* [readers lock] */
	bool called;	     /* [readers lock] to read */
	bool nap;	     /* [its thread] before it reads again */
};

/* The kernel sends its requests through rings from now on. */
static void readers_beside_rings(struct dev *d)
{
	atomic_store(&d->readers.rings, true);
	atomic_store(&d->readers.keep, 1);
}

/* ---- the transport ---- */

static void end_request(struct dev_req *r)
{
	if (unlikely(r->abandoned)) {
		r->abandoned = false;
		atomic_fetch_sub(&r->dev->readers.abandoned, 1);
	}
	/* Whoever comes second frees a parked request; one that is being served is the worker's. */
	if (atomic_exchange(&r->state, REQ_ENDED) == REQ_PARKED)
		free(r);
}

static bool reply_is_moot(int error)
{
	/* ENOENT: the request was interrupted or aborted. ENODEV: unmounted. */
	return error == ENOENT || error == ENODEV || error == ECONNABORTED;
}

static void dev_reply(struct proto_req *req, int error, const struct iovec *data, int count)
{
	struct dev_req *r = container_of(req, struct dev_req, req);
	struct fuse_out_header head = { .error = error,
					.unique = req->unique,
					.len = sizeof(head) };
	struct iovec iov[1 + PROTO_REPLY_IOV_MAX];

	CHECK(count <= PROTO_REPLY_IOV_MAX);
	iov[0] = (struct iovec){ .iov_base = &head, .iov_len = sizeof(head) };
	for (int i = 0; i < count; i++) {
		iov[1 + i] = data[i];
		head.len += (uint32_t)data[i].iov_len;
	}
	if (writev(r->fd, iov, 1 + count) < 0 && !reply_is_moot(errno)) {
		log_warn("reply to request of type %u: %s", req->opcode, strerror(errno));
		/* The caller waits: an error is better than nothing. */
		head.len = sizeof(head);
		head.error = -EIO;
		if (count && writev(r->fd, iov, 1) < 0)
			log_debug("its error: %s", strerror(errno));
	}
	/* From here on the kernel waits for the rings, if they were agreed on. */
	if (unlikely(req->opcode == FUSE_INIT) && r->dev->uring && !error) {
		bool agreed = proto_uses_uring(r->dev->session);

		uring_begin(r->dev->uring, agreed);
		if (agreed)
			readers_beside_rings(r->dev);
	}
	end_request(r);
}

static void dev_done(struct proto_req *req)
{
	end_request(container_of(req, struct dev_req, req));
}

/* A thread may be stuck with it for ever: another one may be started in its place. */
static int dev_answer_early(struct proto_req *req, int error)
{
	struct dev_req *r = container_of(req, struct dev_req, req);
	struct fuse_out_header head = { .error = error,
					.unique = req->unique,
					.len = sizeof(head) };

	r->abandoned = true;
	atomic_fetch_add(&r->dev->readers.abandoned, 1);
	/* The caller may be gone already; then nobody waits. */
	if (write(r->fd, &head, sizeof(head)) < 0 && !reply_is_moot(errno))
		log_debug("early answer to request of type %u: %s", req->opcode, strerror(errno));
	return 0;
}

const struct transport_ops reader_ops = {
	.name = "dev",
	.channel = PROTO_CHANNEL_MAIN,
	.reply = dev_reply,
	.done = dev_done,
	.answer_early = dev_answer_early,
	.destroyed = dev_destroyed,
	.notify = dev_notify,
};

/* ---- workers ---- */

static struct dev_req *req_new(struct worker *w)
{
	struct dev_req *r = calloc(1, sizeof(*r));

	if (r) {
		r->dev = w->dev;
		r->fd = w->fd;
	}
	return r;
}

static int clone_device(const char *device, int fd)
{
	int clone = open(device, O_RDWR | O_CLOEXEC);
	uint32_t master = (uint32_t)fd;

	if (clone < 0)
		return -1;
	if (!ioctl(clone, FUSE_DEV_IOC_CLONE, &master))
		return clone;
	(void)close(clone); /* nothing was done with it */
	return -1;
}

static void worker_free(struct worker *w)
{
	if (!w)
		return;
	if (w->in)
		(void)munmap(w->in, w->in_size); /* our own mapping */
	if (w->out)
		(void)munmap(w->out, DEV_PAYLOAD_SIZE); /* our own mapping */
	if (w->fd >= 0 && w->fd != mount_fd(w->dev->mount))
		(void)close(w->fd); /* a clone: replies were written already */
	free(w->req);
	free(w);
}

static struct worker *worker_new(struct dev *d)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->dev = d;
	list_init(&w->sleeper);
	cond_init(&w->wake);
	w->fd = d->readers.clone_fd ? clone_device(d->device, mount_fd(d->mount)) : -1;
	if (w->fd < 0)
		w->fd = mount_fd(d->mount);
	w->in_size = ROUND_UP(DEV_PAGE + proto_max_request(d->session), DEV_PAGE);
	w->in = dev_map_pages(w->in_size);
	w->out = dev_map_pages(DEV_PAYLOAD_SIZE);
	w->req = req_new(w);
	if (w->in && w->out && w->req)
		return w;
	worker_free(w);
	return NULL;
}

static int start_worker(struct dev *d);

static uint32_t threads_allowed(const struct readers *rs)
{
	return rs->threads_max + MIN(atomic_load(&rs->abandoned), (uint32_t)THREADS_ABANDONED_MAX);
}

/* Caller holds the lock. */
static void wake_locked(struct worker *w)
{
	list_del(&w->sleeper);
	w->called = true;
	cond_wake_one(&w->wake);
}

/* One more reader: a sleeper, or a new thread. */
static void grow(struct pool *p)
{
	struct readers *rs = container_of(p, struct readers, pool);
	struct dev *d = container_of(rs, struct dev, readers);
	bool called = false;
	int err;

	mutex_lock(&rs->lock);
	if (!list_empty(&rs->sleepers)) {
		wake_locked(list_entry(rs->sleepers.next, struct worker, sleeper));
		called = true;
	}
	mutex_unlock(&rs->lock);
	if (called || atomic_load(&rs->threads) >= threads_allowed(rs))
		return;
	err = start_worker(d);
	if (err)
		log_debug("no further thread: %s", strerror(-err));
}

/* Enough others wait for requests: sleep until they are all busy. */
static void sleep_if_idle(struct worker *w)
{
	struct dev *d = w->dev;

	if (likely(atomic_load(&d->readers.pool.idle) < atomic_load(&d->readers.keep)))
		return;
	mutex_lock(&d->readers.lock);
	/* Looked at again with the lock held: whoever takes the last request from now on calls. */
	if (atomic_load(&d->readers.pool.idle) > 0 && !dev_is_over(d)) {
		w->called = false;
		list_add_head(&d->readers.sleepers, &w->sleeper);
		while (!w->called)
			cond_wait(&w->wake, &d->readers.lock);
	}
	mutex_unlock(&d->readers.lock);
}

/* After quit or unmounted was set: nobody falls asleep any more. */
static void wake_all(struct readers *rs)
{
	mutex_lock(&rs->lock);
	while (!list_empty(&rs->sleepers))
		wake_locked(list_entry(rs->sleepers.next, struct worker, sleeper));
	mutex_unlock(&rs->lock);
}

static void serve_one(struct worker *w, size_t len)
{
	struct dev_req *r = w->req;
	int expected = REQ_SERVED;

	atomic_store(&r->state, REQ_SERVED);
	r->req.session = w->dev->session;
	r->req.ops = &reader_ops;
	r->in = (struct iovec){ .iov_base = w->in + IN_OFFSET, .iov_len = len };
	r->req.in = &r->in;
	r->req.in_count = 1;
	r->req.out_buf = w->out;
	r->req.out_size = DEV_PAYLOAD_SIZE;
	proto_dispatch(&r->req);
	/* Parked: its end frees it; here a new one is needed, on the next round. */
	if (atomic_compare_exchange_strong(&r->state, &expected, REQ_PARKED))
		w->req = NULL;
}

/* True: go on. The device's errors that are no news are retried. */
static bool read_failed(struct dev *d, int error)
{
	int none = 0;

	switch (error) {
	case EINTR:
	case EAGAIN:
	case ENOENT: return !atomic_load(&d->quit);
	case ENODEV:
	case ECONNABORTED:
		atomic_store(&d->unmounted, true);
		wake_all(&d->readers);
		return false;
	default:
		log_error("reading the FUSE device: %s", strerror(error));
		(void)atomic_compare_exchange_strong(&d->error, &none,
						     -error); /* the first stays */
		return false;
	}
}

static bool is_forget(const struct dev_req *r)
{
	return r && (r->req.opcode == FUSE_FORGET || r->req.opcode == FUSE_BATCH_FORGET);
}

static void worker_loop(struct worker *w)
{
	struct dev *d = w->dev;

	while (!dev_is_over(d)) {
		ssize_t len;

		sleep_if_idle(w);
		if (!w->req)
			w->req = req_new(w);
		if (!w->req) {
			(void)poll(NULL, 0, 10); /* memory may come back: nobody else can answer */
			continue;
		}
		pool_wait(&d->readers.pool);
		if (w->nap)
			(void)poll(NULL, 0, NAP_MS); /* bounded: nothing needs to end it */
		len = read(w->fd, w->in + IN_OFFSET, w->in_size - IN_OFFSET);
		if (len < 0) {
			pool_leave(&d->readers.pool);
			if (!read_failed(d, errno))
				return;
			continue;
		}
		pool_took(&d->readers.pool);
		serve_one(w, (size_t)len);
		w->nap = is_forget(w->req) && atomic_load(&d->readers.rings);
	}
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	struct dev *d = w->dev;
	uint64_t one = 1;

	(void)pthread_setname_np(pthread_self(), "kfs-dev"); /* for people who look */
	worker_loop(w);
	if (atomic_fetch_sub(&d->readers.threads, 1) == 1 &&
	    write(d->end_event, &one, sizeof(one)) != sizeof(one))
		log_error("eventfd: %s", strerror(errno));
	return NULL;
}

static int start_worker(struct dev *d)
{
	struct readers *rs = &d->readers;
	struct worker *w = worker_new(d);
	int err;

	if (!w)
		return -ENOMEM;
	mutex_lock(&rs->lock);
	if (atomic_load(&rs->threads) >= threads_allowed(rs)) {
		mutex_unlock(&rs->lock);
		worker_free(w);
		return -EAGAIN;
	}
	atomic_fetch_add(&rs->threads, 1);
	list_add_tail(&rs->workers, &w->link);
	err = dev_thread_start(&w->thread, worker_thread, w);
	if (err) {
		list_del(&w->link);
		atomic_fetch_sub(&rs->threads, 1);
	}
	mutex_unlock(&rs->lock);
	if (err)
		worker_free(w);
	return err;
}

/* ---- all of them ---- */

void readers_init(struct dev *d, uint32_t threads_max, bool clone_fd)
{
	struct readers *rs = &d->readers;

	mutex_init(&rs->lock, LOCK_LEAF);
	list_init(&rs->workers);
	list_init(&rs->sleepers);
	pool_init(&rs->pool, d->busy_event, grow);
	/* One for each processor, and one that takes over when all of those are busy. */
	rs->keep = (int32_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1) + 1;
	rs->threads_max = threads_max ? threads_max : THREADS_DEFAULT;
	rs->threads_max = MIN(MAX(rs->threads_max, 1u), (uint32_t)THREADS_MAX);
	rs->clone_fd = clone_fd;
}

int readers_start(struct dev *d)
{
	uint32_t count = MIN((uint32_t)THREADS_START, d->readers.threads_max);
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i++)
		err = start_worker(d);
	return atomic_load(&d->readers.threads) ? 0 : err;
}

void readers_keep_all(struct dev *d)
{
	atomic_store(&d->readers.keep, INT32_MAX);
	wake_all(&d->readers);
}

void readers_kick(struct dev *d)
{
	struct readers *rs = &d->readers;
	struct list *pos;

	wake_all(rs);
	while (atomic_load(&rs->threads)) {
		mutex_lock(&rs->lock);
		list_for_each(pos, &rs->workers) {
			struct worker *w = list_entry(pos, struct worker, link);

			(void)pthread_kill(w->thread, DEV_KICK_SIGNAL); /* not joined yet: valid */
		}
		mutex_unlock(&rs->lock);
		(void)poll(NULL, 0, DEV_KICK_MS);
	}
}

void readers_join(struct dev *d)
{
	struct readers *rs = &d->readers;

	while (!list_empty(&rs->workers)) {
		struct worker *w = list_entry(rs->workers.next, struct worker, link);

		(void)pthread_join(w->thread, NULL); /* started by us, joined once */
		mutex_lock(&rs->lock);
		list_del(&w->link);
		mutex_unlock(&rs->lock);
		worker_free(w);
	}
}
