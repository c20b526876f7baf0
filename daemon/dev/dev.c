/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The life of the host mount: mounting, waiting, unmounting. The requests are served by
 * the threads of reader.c.
 *
 * Invariants: (1) Unmounting is done while the threads serve: the kernel writes its dirty
 * pages then. (2) dev_run() returns only when every thread has ended, and they end for
 * certain: whatever one waits for in the kernel is interrupted by a signal, again and
 * again until it is gone.
 */
#include "daemon/dev/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/dev/dev_priv.h"
#include "daemon/dev/mount.h"
#include "daemon/dev/uring.h"
#include "daemon/proto/proto.h"

/* ---- what the transports share ---- */

uint8_t *dev_map_pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int dev_notify(void *transport, const struct iovec *iov, int count)
{
	const struct dev *d = transport;

	return writev(mount_fd(d->mount), iov, count) < 0 ? -errno : 0;
}

/*
 * The kernel sends it to trusted servers only, and umount(2) waits for its end: left alone, it
 * ends when the last descriptor is closed, which main() does when the image is. An unmount of our
 * own must not wait for itself.
 */
bool dev_destroyed(void *transport)
{
	struct dev *d = transport;

	if (atomic_load(&d->stopping))
		return false;
	atomic_store(&d->umount_waits, true);
	dev_stop(d);
	return true;
}

int dev_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
	sigset_t all, old;
	int err;

	/* Signals are for the main thread; only the kick reaches the others. */
	(void)sigfillset(&all);
	(void)sigdelset(&all, DEV_KICK_SIGNAL);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old); /* valid sets: these cannot fail */
	err = pthread_create(thread, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

/* ---- stopping ---- */

static void on_kick(int sig)
{
	(void)sig;
}

/* End without waiting for the unmount. */
static void quit(struct dev *d)
{
	atomic_store(&d->quit, true);
	readers_kick(d);
	/* dev_run() ends the threads of the rings when the last reader has gone. */
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
	quit(d);
}

void dev_stop(struct dev *d)
{
	uint64_t one = 1;

	/* A full counter means that it was asked for 2^64 times: nothing is lost. */
	if (write(d->stop_event, &one, sizeof(one)) != sizeof(one))
		return;
}

/* ---- life ---- */

/* Without rings there is always the device, unless it was said that there must be rings. */
static int prepare_uring(struct dev *d, const struct dev_opts *opts, char *err, size_t err_len)
{
	char why[sizeof(d->uring_why)];
	int error;

	if (opts->uring == DEV_URING_OFF) {
		(void)snprintf(d->uring_why, sizeof(d->uring_why), "uring=off");
		return 0;
	}
	error = uring_new(d, opts->threads_max, &d->uring, why, sizeof(why));
	(void)snprintf(d->uring_why, sizeof(d->uring_why), "%s",
		       error			   ? why :
		       opts->uring == DEV_URING_ON ? "uring=on" :
						     "uring=auto: the kernel has it");
	if (!error)
		return 0;
	if (opts->uring == DEV_URING_AUTO)
		return 0;
	(void)snprintf(err, err_len, "uring=on: %s", why);
	return error;
}

int dev_mount(struct fs *fs, struct inval_bus *bus, const struct dev_opts *opts,
	      struct dev **ret_dev, char *err, size_t err_len)
{
	struct sigaction kick = { .sa_handler = on_kick };
	struct proto_opts proto = *opts->proto;
	struct mount_opts mount = { .mountpoint = opts->mountpoint,
				    .source = opts->source,
				    .device = opts->device,
				    .options = opts->mount_options };
	struct dev *d = calloc(1, sizeof(*d));
	int error = -ENOMEM;

	if (!d)
		goto out;
	d->device = opts->device ? opts->device : "/dev/fuse";
	d->on_ready = opts->on_ready;
	d->on_ready_arg = opts->on_ready_arg;
	(void)snprintf(d->mountpoint, sizeof(d->mountpoint), "%s", opts->mountpoint);
	d->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->end_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->busy_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = d->stop_event < 0 || d->end_event < 0 || d->busy_event < 0 ? -errno : 0;
	readers_init(d, opts->threads_max, opts->clone_fd);
	if (!error && sigaction(DEV_KICK_SIGNAL, &kick, NULL))
		error = -errno;
	if (!error) {
		error = prepare_uring(d, opts, err, err_len);
		if (error) {
			dev_free(d);
			return error;
		}
	}
	d->uring_needed = opts->uring == DEV_URING_ON;
	proto.uring = d->uring;
	if (!error)
		error = proto_session_new(fs, bus, &proto, d, &reader_ops, &d->session);
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

/* The first system call on the new mount: answered, the mount is there for everybody. */
static int shake_hands(const struct dev *d)
{
	struct statvfs st;

	if (statvfs(d->mountpoint, &st))
		return errno == ECONNREFUSED ? -EPROTO : -errno;
	return 0;
}

/* The kernel's word on the rings was in its INIT. */
static int settle_transport(struct dev *d)
{
	bool agreed = d->uring && proto_uses_uring(d->session);

	if (d->uring && !agreed) {
		(void)snprintf(d->uring_why, sizeof(d->uring_why),
			       "the kernel did not offer io_uring for this mount");
		if (d->uring_needed) {
			log_error("%s: uring=on: %s", d->mountpoint, d->uring_why);
			return -EOPNOTSUPP;
		}
	}
	log_info("%s: requests come through %s (%s)", d->mountpoint,
		 agreed ? "io_uring" : "/dev/fuse", d->uring_why);
	return 0;
}

/* Nobody watches while the main thread unmounts: all may read then. */
static void stop(struct dev *d, bool again)
{
	readers_keep_all(d);
	if (atomic_load(&d->umount_waits)) {
		atomic_store(&d->unmounted, true);
		quit(d);
		return;
	}
	atomic_store(&d->stopping, true);
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
	bool watching = false;
	unsigned stops = 0;

	for (;;) {
		uint64_t count = 0;

		if (poll(fds, 3, watching ? POOL_LOOK_MS : -1) < 0)
			continue;
		if (fds[0].revents)
			return;
		if (fds[2].revents) {
			drain(d->busy_event);
			watching = true;
		} else if (watching) {
			watching = pool_look(&d->readers.pool);
			if (d->uring)
				watching |= uring_look(d->uring);
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
	int err = readers_start(d);

	if (!err)
		err = shake_hands(d);
	if (!err)
		err = settle_transport(d);
	if (d->on_ready)
		d->on_ready(d->on_ready_arg, err);
	if (err) {
		mount_abort(d->mount);
		quit(d);
	} else {
		wait_for_end(d);
	}
	readers_join(d);
	if (d->uring)
		uring_stop(d->uring);
	if (atomic_load(&d->unmounted))
		mount_gone(d->mount);
	return err ? err : atomic_load(&d->error);
}

void dev_free(struct dev *d)
{
	if (!d)
		return;
	CHECK(list_empty(&d->readers.workers));
	/* The session's last notification may be waiting for the kernel: unmounting ends that. */
	if (d->mount)
		mount_abort(d->mount);
	if (d->uring)
		uring_stop(d->uring);
	proto_session_free(d->session);
	uring_free(d->uring);
	mount_free(d->mount);
	if (d->stop_event > 0)
		(void)close(d->stop_event); /* counters: nothing to lose */
	if (d->end_event > 0)
		(void)close(d->end_event);
	if (d->busy_event > 0)
		(void)close(d->busy_event);
	free(d);
}

int dev_fd(const struct dev *d)
{
	return mount_fd(d->mount);
}

int dev_take_umount(struct dev *d)
{
	if (!d || !atomic_exchange(&d->umount_waits, false))
		return -1;
	/* Without a descriptor to spare, umount(2) returns a moment early. */
	return fcntl(mount_fd(d->mount), F_DUPFD_CLOEXEC, 3);
}

struct proto_session *dev_session(struct dev *d)
{
	return d->session;
}

void dev_get_stats(struct dev *d, struct dev_stats *ret_stats)
{
	struct uring_stats rings = { 0 };

	if (d->uring)
		uring_get_stats(d->uring, &rings);
	*ret_stats = (struct dev_stats){
		.threads = atomic_load(&d->readers.threads),
		.threads_max = d->readers.threads_max,
		.uring = d->uring && proto_uses_uring(d->session),
		.why = d->uring_why,
		.uring_queues = rings.queues,
		.uring_threads = rings.threads,
		.uring_threads_max = rings.threads_max,
		.uring_parked = rings.parked,
	};
}
