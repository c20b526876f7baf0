/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The listener: a thread that accepts front ends and buries those that have gone.
 */
#include "vhost/vhost.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "daemon/base/log.h"
#include "daemon/fs/fs.h"
#include "daemon/proto/proto.h"
#include "vhost/conn.h"
#include "vhost/guard.h"
#include "vhost/listen.h"
#include "vhost/thread.h"

static_assert(VHOST_QUEUES_MAX + 1 == DEVICE_QUEUES_MAX, "queues of a device");

struct vhost {
	struct conn_opts conn;
	struct proto_opts proto;
	struct fs_session_opts session; /* proto's */
	unsigned guests_max;
	char tag[VHOST_TAG_MAX + 1];
	char *made; /* the path that is ours to remove; NULL: none */
	int listen_fd, stop_fd, ended_fd;
	int front_fd; /* a front end that is connected already, or -1 */
	int life_fd;
	bool once;
	void (*on_end)(void *arg);
	void *on_end_arg;
	_Atomic bool ended; /* [atomic] the thread serves nobody any more */
	pthread_t thread;
	struct conn *guests[VHOST_GUESTS_MAX]; /* [its thread] */
};

static _Atomic uint32_t guests_ever; /* [atomic] numbers them, for messages */

/* ---- the socket ---- */

static int take_socket(struct vhost *v, const struct vhost_opts *opts)
{
	bool listens = true;
	int err;

	if (opts->socket) {
		err = listen_open(opts->socket, opts->group, &v->listen_fd);
		if (!err)
			v->made = strdup(opts->socket);
		return err ? err : v->made ? 0 : -ENOMEM;
	}
	err = listen_check(v->front_fd, &listens);
	if (err)
		return err;
	if (!listens)
		return opts->once ? 0 : -EINVAL;
	v->listen_fd = v->front_fd;
	v->front_fd = -1;
	return 0;
}

/* ---- guests ---- */

static void bury(struct vhost *v, bool all)
{
	for (unsigned i = 0; i < VHOST_GUESTS_MAX; i++) {
		if (!v->guests[i] || (!all && !conn_ended(v->guests[i])))
			continue;
		conn_free(v->guests[i]);
		v->guests[i] = NULL;
	}
}

static int32_t peer_pid(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ? 0 : peer.pid;
}

/* Takes @fd. */
static void admit(struct vhost *v, int fd)
{
	unsigned slot = 0;
	int err;

	while (slot < v->guests_max && v->guests[slot])
		slot++;
	if (slot == v->guests_max) {
		log_warn("a guest was turned away: %u are connected already", v->guests_max);
		(void)close(fd); /* nothing was said on it */
		return;
	}
	v->conn.device.number = 1 + atomic_fetch_add(&guests_ever, 1);
	v->conn.device.pid = peer_pid(fd);
	err = conn_start(fd, &v->conn, &v->guests[slot]);
	if (err)
		log_error("guest %u: cannot be served: %s", v->conn.device.number, strerror(-err));
}

static void welcome(struct vhost *v)
{
	int fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0) {
		/* Out of descriptors: the front end stays in the queue, and is not asked for at once. */
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			(void)poll(NULL, 0, 100);
		return;
	}
	if (v->once) {
		(void)close(v->listen_fd); /* a second front end is refused at once */
		v->listen_fd = -1;
	}
	admit(v, fd);
}

static void forget_path(struct vhost *v)
{
	if (v->made)
		(void)unlink(v->made); /* may be gone with its folder already */
	free(v->made);
	v->made = NULL;
}

/* Nobody is served, and nobody can come. */
static bool is_over(const struct vhost *v)
{
	if (v->listen_fd >= 0)
		return false;
	for (unsigned i = 0; i < VHOST_GUESTS_MAX; i++)
		if (v->guests[i])
			return false;
	return true;
}

/* Until it is told to stop (true), or there is nobody to serve any more. */
static bool serve(struct vhost *v)
{
	struct pollfd fds[4] = { { .fd = v->stop_fd, .events = POLLIN },
				 { .fd = v->ended_fd, .events = POLLIN },
				 { .fd = v->life_fd, .events = POLLIN } };

	while (!is_over(v)) {
		uint64_t count;

		fds[3] = (struct pollfd){ .fd = v->listen_fd, .events = POLLIN };
		if (poll(fds, 4, -1) < 0)
			continue;
		if (fds[0].revents)
			return true;
		/* Whoever asked for this has nothing to say on it but that it has gone. */
		if (fds[2].revents)
			return false;
		if (fds[1].revents && read(v->ended_fd, &count, sizeof(count)) > 0)
			bury(v, false);
		if (fds[3].revents)
			welcome(v);
	}
	return false;
}

static void *listener(void *arg)
{
	struct vhost *v = arg;
	char word;

	log_limit_thread(&thread_lines);
	if (v->front_fd >= 0)
		admit(v, v->front_fd);
	v->front_fd = -1;
	word = serve(v) ? VHOST_LIFE_STOPPED : VHOST_LIFE_GONE;
	bury(v, true);
	if (v->listen_fd >= 0)
		(void)close(v->listen_fd); /* those that wait are refused */
	v->listen_fd = -1;
	if (v->life_fd >= 0) {
		(void)send(v->life_fd, &word, 1,
			   MSG_DONTWAIT | MSG_NOSIGNAL); /* it may have gone */
		(void)close(v->life_fd);
		v->life_fd = -1;
	}
	forget_path(v);
	atomic_store(&v->ended, true);
	if (v->on_end)
		v->on_end(v->on_end_arg);
	return NULL;
}

/* ---- life ---- */

static void close_all(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			(void)close(fds[i]); /* nothing is written to these */
}

static void vhost_free(struct vhost *v)
{
	int fds[] = { v->listen_fd, v->stop_fd, v->ended_fd, v->front_fd, v->life_fd };

	forget_path(v);
	close_all(fds, ARRAY_SIZE(fds));
	free(v);
}

static int start(struct vhost *v, const struct vhost_opts *opts)
{
	int err = take_socket(v, opts);

	if (!err)
		err = guard_install();
	if (!err)
		err = thread_install();
	if (err)
		return err;
	v->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->stop_fd < 0 || v->ended_fd < 0)
		return -errno;
	v->conn.ended_fd = v->ended_fd;
	return thread_start(&v->thread, "kfs-listen", listener, v);
}

int vhost_start(struct fs *fs, struct inval_bus *bus, const struct vhost_opts *opts,
		struct vhost **ret_vhost, char *err, size_t err_len)
{
	struct vhost *v = calloc(1, sizeof(*v));
	int error = -ENOMEM;

	if (v) {
		v->listen_fd = v->stop_fd = v->ended_fd = -1;
		v->front_fd = opts->socket ? -1 : opts->fd;
		v->life_fd = opts->life_fd;
		v->once = opts->once;
		v->on_end = opts->on_end;
		v->on_end_arg = opts->on_end_arg;
		v->proto = *opts->proto;
		v->session = *opts->proto->session;
		v->proto.session = &v->session;
		v->guests_max = opts->guests_max;
		(void)snprintf(v->tag, sizeof(v->tag), "%s", opts->tag);
		v->conn =
			(struct conn_opts){ .device = { .fs = fs,
							.bus = bus,
							.proto = &v->proto,
							.host = opts->host,
							.image = opts->image,
							.window_size = opts->window_size,
							.poll_ns = opts->poll_us * UINT64_C(1000) },
					    .tag = v->tag,
					    .queues = opts->queues };
		error = start(v, opts);
	}
	if (!error) {
		*ret_vhost = v;
		return 0;
	}
	if (opts->socket)
		(void)snprintf(err, err_len, "vhost=%s: %s", opts->socket, listen_why(error));
	else
		(void)snprintf(err, err_len, "vhost=fd:%d: %s", opts->fd, listen_why(error));
	if (v)
		vhost_free(v);
	else
		close_all((int[]){ opts->socket ? -1 : opts->fd, opts->life_fd }, 2);
	return error;
}

bool vhost_ended(const struct vhost *v)
{
	return atomic_load(&v->ended);
}

void vhost_stop(struct vhost *v)
{
	uint64_t one = 1;

	if (!v)
		return;
	if (write(v->stop_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it is awake */
	thread_join(v->thread);
	vhost_free(v);
}
