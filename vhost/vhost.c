/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The listener: a thread that accepts front ends and buries those that have gone.
 *
 * A socket's path is left behind by a daemon that was killed. Whether somebody listens there is
 * asked by connecting; two daemons that start at the same moment with the same path are kept
 * apart by the image, which only one of them gets.
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
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/base/log.h"
#include "daemon/fs/fs.h"
#include "daemon/proto/proto.h"
#include "vhost/conn.h"
#include "vhost/guard.h"
#include "vhost/thread.h"

static_assert(VHOST_QUEUES_MAX + 1 == DEVICE_QUEUES_MAX, "queues of a device");

struct vhost {
	struct conn_opts conn;
	struct proto_opts proto;
	struct fs_session_opts session; /* proto's */
	unsigned guests_max;
	char tag[VHOST_TAG_MAX + 1];
	struct sockaddr_un made; /* the path that is ours to remove; empty: none */
	int listen_fd, stop_fd, ended_fd;
	pthread_t thread;
	struct conn *guests[VHOST_GUESTS_MAX]; /* [its thread] */
	uint32_t number;		       /* [its thread] of the next guest */
};

/* ---- the socket ---- */

/* Nobody answers at a path that is a socket: it is in the way. */
static int clear_path(const struct sockaddr_un *addr)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(addr->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (!connect(fd, (const struct sockaddr *)(const void *)addr, sizeof(*addr)) ||
	    errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(addr->sun_path) ? -errno : 0;
}

static int listen_at(struct vhost *v, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	mode_t old;
	int err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path));
	err = clear_path(&addr);
	if (err)
		return err;
	v->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (v->listen_fd < 0)
		return -errno;
	/* Whoever connects owns the files: our own user, until somebody says otherwise. */
	old = umask(0177);
	err = bind(v->listen_fd, (const struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
	(void)umask(old); /* always succeeds */
	if (err)
		return err;
	v->made = addr;
	return listen(v->listen_fd, VHOST_GUESTS_MAX) ? -errno : 0;
}

static int inherit(struct vhost *v, int fd)
{
	int listening = 0, domain = 0;
	socklen_t len = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len))
		return -errno;
	len = sizeof(domain);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len))
		return -errno;
	if (!listening || domain != AF_UNIX)
		return -EINVAL;
	v->listen_fd = fd;
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

static void welcome(struct vhost *v)
{
	int fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	unsigned slot = 0;
	int err;

	if (fd < 0) {
		/* Out of descriptors: the front end stays in the queue, and is not asked for at once. */
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			(void)poll(NULL, 0, 100);
		return;
	}
	while (slot < v->guests_max && v->guests[slot])
		slot++;
	if (slot == v->guests_max) {
		log_warn("a guest was turned away: %u are connected already", v->guests_max);
		(void)close(fd); /* nothing was said on it */
		return;
	}
	v->conn.device.number = ++v->number;
	err = conn_start(fd, &v->conn, &v->guests[slot]);
	if (err)
		log_error("guest %u: cannot be served: %s", v->number, strerror(-err));
}

static void *listener(void *arg)
{
	struct vhost *v = arg;
	struct pollfd fds[3] = { { .fd = v->stop_fd, .events = POLLIN },
				 { .fd = v->ended_fd, .events = POLLIN },
				 { .fd = v->listen_fd, .events = POLLIN } };

	for (;;) {
		uint64_t count;

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[0].revents)
			break;
		if (fds[1].revents && read(v->ended_fd, &count, sizeof(count)) > 0)
			bury(v, false);
		if (fds[2].revents)
			welcome(v);
	}
	bury(v, true);
	return NULL;
}

/* ---- life ---- */

static void vhost_free(struct vhost *v)
{
	if (v->made.sun_path[0])
		(void)unlink(v->made.sun_path); /* may be gone with its folder already */
	for (int i = 0; i < 3; i++) {
		int fd = (int[]){ v->listen_fd, v->stop_fd, v->ended_fd }[i];

		if (fd >= 0)
			(void)close(fd); /* nothing is written to these */
	}
	free(v);
}

static int start(struct vhost *v, const struct vhost_opts *opts)
{
	int err = opts->socket ? listen_at(v, opts->socket) : inherit(v, opts->fd);

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

static const char *why(int error)
{
	switch (error) {
	case -EADDRINUSE: return "another program listens there: end it, or name another socket";
	case -EEXIST: return "there is a file that is no socket: remove it, or name another path";
	case -ENAMETOOLONG: return "the path is too long for a socket: name a shorter one";
	case -ENOTSOCK:
	case -EINVAL: return "not a listening Unix socket";
	default: return strerror(-error);
	}
}

int vhost_start(struct fs *fs, struct inval_bus *bus, const struct vhost_opts *opts,
		struct vhost **ret_vhost, char *err, size_t err_len)
{
	struct vhost *v = calloc(1, sizeof(*v));
	int error = -ENOMEM;

	if (v) {
		v->listen_fd = v->stop_fd = v->ended_fd = -1;
		v->proto = *opts->proto;
		v->session = *opts->proto->session;
		v->proto.session = &v->session;
		v->guests_max = opts->guests_max;
		(void)snprintf(v->tag, sizeof(v->tag), "%s", opts->tag);
		v->conn = (struct conn_opts){
			.device = { .fs = fs, .bus = bus, .proto = &v->proto, .host = opts->host },
			.tag = v->tag,
			.queues = opts->queues
		};
		error = start(v, opts);
	}
	if (!error) {
		*ret_vhost = v;
		return 0;
	}
	if (opts->socket)
		(void)snprintf(err, err_len, "vhost=%s: %s", opts->socket, why(error));
	else
		(void)snprintf(err, err_len, "vhost=fd:%d: %s", opts->fd, why(error));
	if (v)
		vhost_free(v);
	return error;
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
