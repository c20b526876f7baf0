/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/fuse as a transport: worker threads that read a request, dispatch it and write
 * the reply, one read(2) and one writev(2) each, with no allocation in between.
 *
 * Invariants: (1) A reply goes to the descriptor that its request was read from: with
 * cloned descriptors the kernel looks for it there only. (2) A worker's buffers belong to
 * the request it serves until proto_dispatch() returns. A request that is not answered by
 * then is parked: it keeps its struct dev_req, and the worker takes a new one. (3) When
 * all workers are busy for longer than a moment, the main thread adds one, up to the
 * maximum: a request does not wait behind slow ones for more than a few milliseconds.
 * Readers beyond a few sleep, the last to fall asleep woken first: the kernel hands
 * requests to its readers in turn, and the more of them, the colder their caches.
 * (4) A request that was answered early (an abort) still has its worker and its buffers; in
 * its place another worker may be started. (5) Unmounting is done while workers serve: the kernel writes its dirty pages then.
 *
 * The request is placed so that the payload of WRITE begins on a page.
 */
#include "daemon/dev/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

#include "daemon/base/check.h"
#include "daemon/base/list.h"
#include "daemon/base/lock.h"
#include "daemon/base/log.h"
#include "daemon/dev/mount.h"
#include "daemon/proto/proto.h"
#include "daemon/proto/wire.h"

#define THREADS_START 2
#define THREADS_DEFAULT 16
#define THREADS_MAX 256
/* Threads beyond the maximum in place of those whose request was aborted. */
#define THREADS_ABANDONED_MAX 256
#define OUT_SIZE (1u << 20)
#define PAGE 4096u
/* Request header and struct fuse_write_in end where a page begins. */
#define IN_OFFSET (PAGE - sizeof(struct fuse_in_header) - sizeof(struct fuse_write_in))
#define KICK_SIGNAL SIGRTMIN
/* While all readers are busy: how often to look, when more are needed, when to look away. */
#define WATCH_MS 1
#define WATCH_BUSY_LOOKS 4
#define WATCH_IDLE_LOOKS 100

enum req_state { REQ_SERVED, REQ_PARKED, REQ_ENDED };

struct dev_req {
	struct proto_req req;
	struct dev *dev;
	int fd;
	_Atomic int state; /* [atomic] enum req_state */
	/* [in-flight shard lock until it is taken off there] answered early, its thread is stuck */
	bool abandoned;
};

struct worker {
	struct list link; /* [dev lock] */
	struct dev *dev;
	pthread_t thread;
	int fd; /* its own clone, or the mount's */
	uint8_t *in, *out;
	size_t in_size;
	struct dev_req *req;
	struct list sleeper; /* [dev lock] while it sleeps */
	struct cond wake;    /* [dev lock] */
	bool called;	     /* [dev lock] to read */
};

/* What the main thread has seen while it watches. */
struct watch {
	uint64_t taken;
	unsigned busy_looks, idle_looks;
};

struct dev {
	struct mount *mount;
	struct proto_session *session;
	char mountpoint[4096];
	uint32_t threads_max;
	bool clone_fd;
	void (*on_ready)(void *arg, int error);
	void *on_ready_arg;
	/* eventfds: dev_stop() was called; the last worker has ended; all readers are busy */
	int stop_event, end_event, busy_event;
	struct mutex lock;	      /* LOCK_LEAF */
	struct list workers;	      /* [lock] */
	struct list sleepers;	      /* [lock] the last to fall asleep first */
	_Atomic int32_t readers_keep; /* [atomic] this many may wait in the kernel */
	_Atomic bool watched;	      /* [atomic] the main thread looks after readers */
	_Atomic uint64_t taken;	      /* [atomic] requests read */
	_Atomic uint32_t threads;     /* [atomic; raised under lock] running */
	_Atomic int32_t readers;      /* [atomic] of them, those that wait for a request */
	_Atomic bool unmounted;	      /* [atomic] the device has said so */
	_Atomic bool quit;	      /* [atomic] leave without waiting for the unmount */
	_Atomic uint32_t abandoned;   /* [atomic] requests answered early that have not ended */
	_Atomic int error;	      /* [atomic] first reason other than the unmount */
};

/* ---- the transport ---- */

static void end_request(struct dev_req *r)
{
	if (unlikely(r->abandoned)) {
		r->abandoned = false;
		atomic_fetch_sub(&r->dev->abandoned, 1);
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
	struct iovec iov[1 + PROTO_IOV_MAX];

	CHECK(count <= PROTO_IOV_MAX);
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
	end_request(r);
}

static void dev_done(struct proto_req *req)
{
	end_request(container_of(req, struct dev_req, req));
}

/* A thread may be stuck with it for ever: another one may be started in its place. */
static void dev_answer_early(struct proto_req *req, int error)
{
	struct dev_req *r = container_of(req, struct dev_req, req);
	struct fuse_out_header head = { .error = error,
					.unique = req->unique,
					.len = sizeof(head) };

	r->abandoned = true;
	atomic_fetch_add(&r->dev->abandoned, 1);
	/* The caller may be gone already; then nobody waits. */
	if (write(r->fd, &head, sizeof(head)) < 0 && !reply_is_moot(errno))
		log_debug("early answer to request of type %u: %s", req->opcode, strerror(errno));
}

static int dev_notify(void *transport, const struct iovec *iov, int count)
{
	const struct dev *d = transport;

	return writev(mount_fd(d->mount), iov, count) < 0 ? -errno : 0;
}

static const struct transport_ops dev_ops = {
	.name = "dev",
	.reply = dev_reply,
	.done = dev_done,
	.answer_early = dev_answer_early,
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

static int clone_device(int fd)
{
	int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
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
		(void)munmap(w->out, OUT_SIZE); /* our own mapping */
	if (w->fd >= 0 && w->fd != mount_fd(w->dev->mount))
		(void)close(w->fd); /* a clone: replies were written already */
	free(w->req);
	free(w);
}

static uint8_t *map_pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static struct worker *worker_new(struct dev *d)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->dev = d;
	list_init(&w->sleeper);
	cond_init(&w->wake);
	w->fd = d->clone_fd ? clone_device(mount_fd(d->mount)) : -1;
	if (w->fd < 0)
		w->fd = mount_fd(d->mount);
	w->in_size = ROUND_UP(PAGE + proto_max_request(d->session), PAGE);
	w->in = map_pages(w->in_size);
	w->out = map_pages(OUT_SIZE);
	w->req = req_new(w);
	if (w->in && w->out && w->req)
		return w;
	worker_free(w);
	return NULL;
}

static int start_worker(struct dev *d);

static uint32_t threads_allowed(const struct dev *d)
{
	return d->threads_max + MIN(atomic_load(&d->abandoned), (uint32_t)THREADS_ABANDONED_MAX);
}

/* Caller holds the lock. */
static void wake_locked(struct worker *w)
{
	list_del(&w->sleeper);
	w->called = true;
	cond_wake_one(&w->wake);
}

/* One more reader: a sleeper, or a new thread. */
static void add_reader(struct dev *d)
{
	bool called = false;
	int err;

	mutex_lock(&d->lock);
	if (!list_empty(&d->sleepers)) {
		wake_locked(list_entry(d->sleepers.next, struct worker, sleeper));
		called = true;
	}
	mutex_unlock(&d->lock);
	if (called || atomic_load(&d->threads) >= threads_allowed(d))
		return;
	err = start_worker(d);
	if (err)
		log_debug("no further thread: %s", strerror(-err));
}

/*
 * The last reader took a request. Mostly it is back in microseconds, sooner than another
 * thread would be there; so the main thread watches whether it is.
 */
static void note_busy(struct dev *d)
{
	uint64_t one = 1;

	if (likely(atomic_load(&d->readers) > 0) || atomic_exchange(&d->watched, true))
		return;
	if (write(d->busy_event, &one, sizeof(one)) != sizeof(one))
		add_reader(d);
}

/* One look of the main thread, every WATCH_MS; false when there is nothing to watch any more. */
static bool watch_readers(struct dev *d, struct watch *w)
{
	uint64_t taken = atomic_load(&d->taken);
	bool busy = atomic_load(&d->readers) <= 0;

	w->busy_looks = busy ? w->busy_looks + 1 : 0;
	w->idle_looks = busy ? 0 : w->idle_looks + 1;
	/* Nothing was taken since the last look: all are stuck. Else: busy for long enough. */
	if ((busy && taken == w->taken) || w->busy_looks >= WATCH_BUSY_LOOKS) {
		add_reader(d);
		w->busy_looks = 0;
	}
	w->taken = taken;
	if (w->idle_looks < WATCH_IDLE_LOOKS)
		return true;
	*w = (struct watch){ 0 };
	atomic_store(&d->watched, false);
	/* One may have become busy since it was looked at. */
	return atomic_load(&d->readers) <= 0 && !atomic_exchange(&d->watched, true);
}

static bool is_over(struct dev *d)
{
	return atomic_load(&d->quit) || atomic_load(&d->unmounted);
}

/* Enough others wait for requests: sleep until they are all busy. */
static void sleep_if_idle(struct worker *w)
{
	struct dev *d = w->dev;

	if (likely(atomic_load(&d->readers) < atomic_load(&d->readers_keep)))
		return;
	mutex_lock(&d->lock);
	/* Looked at again with the lock held: whoever takes the last request from now on calls. */
	if (atomic_load(&d->readers) > 0 && !is_over(d)) {
		w->called = false;
		list_add_head(&d->sleepers, &w->sleeper);
		while (!w->called)
			cond_wait(&w->wake, &d->lock);
	}
	mutex_unlock(&d->lock);
}

/* After quit or unmounted was set: nobody falls asleep any more. */
static void wake_all(struct dev *d)
{
	mutex_lock(&d->lock);
	while (!list_empty(&d->sleepers))
		wake_locked(list_entry(d->sleepers.next, struct worker, sleeper));
	mutex_unlock(&d->lock);
}

static void serve_one(struct worker *w, size_t len)
{
	struct dev_req *r = w->req;
	int expected = REQ_SERVED;

	atomic_store(&r->state, REQ_SERVED);
	r->req.session = w->dev->session;
	r->req.ops = &dev_ops;
	r->req.in[0] = (struct iovec){ .iov_base = w->in + IN_OFFSET, .iov_len = len };
	r->req.in_count = 1;
	r->req.out_buf = w->out;
	r->req.out_size = OUT_SIZE;
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
		wake_all(d);
		return false;
	default:
		log_error("reading the FUSE device: %s", strerror(error));
		(void)atomic_compare_exchange_strong(&d->error, &none,
						     -error); /* the first stays */
		return false;
	}
}

static void worker_loop(struct worker *w)
{
	struct dev *d = w->dev;

	while (!is_over(d)) {
		ssize_t len;

		sleep_if_idle(w);
		if (!w->req)
			w->req = req_new(w);
		if (!w->req) {
			(void)poll(NULL, 0, 10); /* memory may come back: nobody else can answer */
			continue;
		}
		atomic_fetch_add(&d->readers, 1);
		len = read(w->fd, w->in + IN_OFFSET, w->in_size - IN_OFFSET);
		atomic_fetch_sub(&d->readers, 1);
		if (len < 0) {
			if (!read_failed(d, errno))
				return;
			continue;
		}
		atomic_fetch_add(&d->taken, 1);
		note_busy(d);
		serve_one(w, (size_t)len);
	}
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	struct dev *d = w->dev;
	uint64_t one = 1;

	(void)pthread_setname_np(pthread_self(), "kfs-dev"); /* for people who look */
	worker_loop(w);
	if (atomic_fetch_sub(&d->threads, 1) == 1 &&
	    write(d->end_event, &one, sizeof(one)) != sizeof(one))
		log_error("eventfd: %s", strerror(errno));
	return NULL;
}

static int start_worker(struct dev *d)
{
	struct worker *w = worker_new(d);
	sigset_t all, old;
	int err;

	if (!w)
		return -ENOMEM;
	mutex_lock(&d->lock);
	if (atomic_load(&d->threads) >= threads_allowed(d)) {
		mutex_unlock(&d->lock);
		worker_free(w);
		return -EAGAIN;
	}
	atomic_fetch_add(&d->threads, 1);
	list_add_tail(&d->workers, &w->link);
	/* Signals are for the main thread; only the kick reaches a worker. */
	(void)sigfillset(&all);
	(void)sigdelset(&all, KICK_SIGNAL);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old); /* valid sets: these cannot fail */
	err = pthread_create(&w->thread, NULL, worker_thread, w);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		list_del(&w->link);
		atomic_fetch_sub(&d->threads, 1);
	}
	mutex_unlock(&d->lock);
	if (err)
		worker_free(w);
	return -err;
}

static void join_workers(struct dev *d)
{
	while (!list_empty(&d->workers)) {
		struct worker *w = list_entry(d->workers.next, struct worker, link);

		(void)pthread_join(w->thread, NULL); /* started by us, joined once */
		mutex_lock(&d->lock);
		list_del(&w->link);
		mutex_unlock(&d->lock);
		worker_free(w);
	}
}

/* ---- stopping ---- */

static void on_kick(int sig)
{
	(void)sig;
}

/* Interrupt every read until the workers have noticed. */
static void kick_workers(struct dev *d)
{
	struct list *pos;

	atomic_store(&d->quit, true);
	wake_all(d);
	while (atomic_load(&d->threads)) {
		mutex_lock(&d->lock);
		list_for_each(pos, &d->workers) {
			struct worker *w = list_entry(pos, struct worker, link);

			(void)pthread_kill(w->thread, KICK_SIGNAL); /* not joined yet: valid */
		}
		mutex_unlock(&d->lock);
		(void)poll(NULL, 0, 5);
	}
}

static void write_dirty_pages(const struct dev *d)
{
	_cleanup_close_ int fd = open(d->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || syncfs(fd))
		log_warn("%s: writing cached data back: %s", d->mountpoint, strerror(errno));
}

static void stop_gently(struct dev *d)
{
	int err = mount_detach(d->mount, false);

	if (!err)
		return;
	write_dirty_pages(d);
	err = mount_detach(d->mount, true);
	if (err)
		log_error("%s: cannot unmount: %s: end what uses it and unmount it", d->mountpoint,
			  strerror(-err));
	else
		log_warn("%s: in use: detached, served until its last user has gone",
			 d->mountpoint);
}

static void stop_now(struct dev *d)
{
	log_warn("%s: told to stop again: its users get errors from now on", d->mountpoint);
	mount_abort(d->mount);
	kick_workers(d);
}

void dev_stop(struct dev *d)
{
	uint64_t one = 1;

	/* A full counter means that it was asked for 2^64 times: nothing is lost. */
	if (write(d->stop_event, &one, sizeof(one)) != sizeof(one))
		return;
}

/* ---- life ---- */

int dev_mount(struct fs *fs, struct inval_bus *bus, const struct dev_opts *opts,
	      struct dev **ret_dev, char *err, size_t err_len)
{
	struct mount_opts mount = { .mountpoint = opts->mountpoint,
				    .source = opts->source,
				    .options = opts->mount_options };
	struct dev *d = calloc(1, sizeof(*d));
	int error = -ENOMEM;

	if (!d)
		goto out;
	mutex_init(&d->lock, LOCK_LEAF);
	list_init(&d->workers);
	list_init(&d->sleepers);
	/* One for each processor, and one that takes over when all of those are busy. */
	d->readers_keep = (int32_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1) + 1;
	d->threads_max = opts->threads_max ? opts->threads_max : THREADS_DEFAULT;
	d->threads_max = MIN(MAX(d->threads_max, 1u), (uint32_t)THREADS_MAX);
	d->clone_fd = opts->clone_fd;
	d->on_ready = opts->on_ready;
	d->on_ready_arg = opts->on_ready_arg;
	(void)snprintf(d->mountpoint, sizeof(d->mountpoint), "%s", opts->mountpoint);
	d->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->end_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->busy_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = d->stop_event < 0 || d->end_event < 0 || d->busy_event < 0 ? -errno : 0;
	if (!error)
		error = proto_session_new(fs, bus, opts->proto, d, &dev_ops, &d->session);
	if (error)
		goto out;
	error = mount_attach(&mount, &d->mount, err, err_len);
	if (error) {
		dev_free(d);
		return error;
	}
	*ret_dev = d;
	return 0;
out:
	(void)snprintf(err, err_len, "%s", strerror(-error));
	dev_free(d);
	return error;
}

static int start_workers(struct dev *d)
{
	struct sigaction kick = { .sa_handler = on_kick };
	uint32_t count = MIN((uint32_t)THREADS_START, d->threads_max);
	int err = 0;

	if (sigaction(KICK_SIGNAL, &kick, NULL))
		return -errno;
	for (uint32_t i = 0; i < count && !err; i++)
		err = start_worker(d);
	/* One is enough to begin with. */
	return atomic_load(&d->threads) ? 0 : err;
}

/* The first system call on the new mount: answered, the mount is there for everybody. */
static int shake_hands(const struct dev *d)
{
	struct statvfs st;

	if (statvfs(d->mountpoint, &st))
		return errno == ECONNREFUSED ? -EPROTO : -errno;
	return 0;
}

/* Nobody watches while the main thread unmounts: all may read then. */
static void stop(struct dev *d, bool again)
{
	atomic_store(&d->readers_keep, INT32_MAX);
	wake_all(d);
	if (again)
		stop_now(d);
	else
		stop_gently(d);
}

static void drain(int event)
{
	uint64_t count;

	/* Not blocking: what was there is gone now. */
	if (read(event, &count, sizeof(count)) < 0)
		return;
}

/* Until the workers have ended; meanwhile: stop when asked to, look after the readers. */
static void wait_for_end(struct dev *d)
{
	struct pollfd fds[3] = { { .fd = d->end_event, .events = POLLIN },
				 { .fd = d->stop_event, .events = POLLIN },
				 { .fd = d->busy_event, .events = POLLIN } };
	struct watch watch = { 0 };
	bool watching = false;
	unsigned stops = 0;

	for (;;) {
		uint64_t count = 0;

		if (poll(fds, 3, watching ? WATCH_MS : -1) < 0)
			continue;
		if (fds[0].revents)
			return;
		if (fds[2].revents) {
			drain(d->busy_event);
			watching = true;
		} else if (watching) {
			watching = watch_readers(d, &watch);
		}
		if (!fds[1].revents || read(d->stop_event, &count, sizeof(count)) < 0)
			continue;
		if (!stops)
			stop(d, false);
		if (stops || count > 1)
			stop(d, true);
		stops++;
	}
}

int dev_run(struct dev *d)
{
	int err = start_workers(d);

	if (!err)
		err = shake_hands(d);
	if (d->on_ready)
		d->on_ready(d->on_ready_arg, err);
	if (err) {
		mount_abort(d->mount);
		kick_workers(d);
	} else {
		wait_for_end(d);
	}
	join_workers(d);
	if (atomic_load(&d->unmounted))
		mount_gone(d->mount);
	return err ? err : atomic_load(&d->error);
}

void dev_free(struct dev *d)
{
	if (!d)
		return;
	CHECK(list_empty(&d->workers));
	/* The session's last notification may be waiting for the kernel: unmounting ends that. */
	if (d->mount)
		mount_abort(d->mount);
	proto_session_free(d->session);
	mount_free(d->mount);
	if (d->stop_event > 0)
		(void)close(d->stop_event); /* counters: nothing to lose */
	if (d->end_event > 0)
		(void)close(d->end_event);
	if (d->busy_event > 0)
		(void)close(d->busy_event);
	free(d);
}

struct proto_session *dev_session(struct dev *d)
{
	return d->session;
}

void dev_get_stats(struct dev *d, struct dev_stats *ret_stats)
{
	ret_stats->threads = atomic_load(&d->threads);
	ret_stats->threads_max = d->threads_max;
}
