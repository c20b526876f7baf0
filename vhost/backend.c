/* SPDX-License-Identifier: GPL-2.0-only */
#include "vhost/backend.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/base/stats.h"

int backend_init(struct backend *b)
{
	*b = (struct backend){ .fd = -1 };
	b->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return b->stop_fd < 0 ? -errno : 0;
}

void backend_fini(struct backend *b)
{
	if (b->fd >= 0)
		(void)close(b->fd); /* nobody waits for anything on it */
	if (b->stop_fd >= 0)
		(void)close(b->stop_fd); /* a counter */
	b->fd = b->stop_fd = -1;
}

void backend_set_fd(struct backend *b, int fd)
{
	if (b->fd >= 0)
		(void)close(b->fd); /* all that was asked on it was answered */
	b->fd = fd;
	b->dead = false;
}

void backend_stop(struct backend *b)
{
	uint64_t one = 1;

	if (write(b->stop_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it is awake */
}

/* 0: @events, or the other end has gone, which the next call on the socket tells. */
static int wait_for(struct backend *b, short events, uint64_t until_ns)
{
	struct pollfd fds[2] = { { .fd = b->stop_fd, .events = POLLIN },
				 { .fd = b->fd, .events = events } };

	for (;;) {
		uint64_t now = stats_now_ns();
		int left = now < until_ns ? (int)((until_ns - now) / 1000000) + 1 : 0;
		int ready = poll(fds, 2, left);

		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready > 0)
			return fds[0].revents ? -ENOTCONN : 0;
		if (ready == 0 && !left)
			return -ETIMEDOUT;
	}
}

static int send_all(struct backend *b, struct msghdr *msg, size_t len, uint64_t until_ns)
{
	for (;;) {
		int err = wait_for(b, POLLOUT, until_ns);
		ssize_t sent;

		if (err)
			return err;
		sent = sendmsg(b->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		/* So small a message goes whole or not at all. */
		return sent == (ssize_t)len ? 0 : -ENOTCONN;
	}
}

static int receive_all(struct backend *b, void *data, size_t len, uint64_t until_ns)
{
	for (size_t have = 0; have < len;) {
		int err = wait_for(b, POLLIN, until_ns);
		ssize_t got;

		if (err)
			return err;
		got = recv(b->fd, (uint8_t *)data + have, len - have, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return -ENOTCONN;
		have += (size_t)got;
	}
	return 0;
}

struct question {
	enum msg_backend_request request;
	const struct msg_shmem *shmem; /* NULL: nothing follows the header */
	int fd;			       /* -1: none */
};

static int send_question(struct backend *b, const struct question *q, uint64_t until_ns)
{
	struct msg_header head = { .request = q->request,
				   .flags = MSG_VERSION | MSG_NEED_REPLY,
				   .size = q->shmem ? sizeof(*q->shmem) : 0 };
	struct iovec iov[2] = { { .iov_base = &head, .iov_len = sizeof(head) },
				{ .iov_base = (void *)(uintptr_t)q->shmem, .iov_len = head.size } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };

	if (q->fd >= 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &q->fd, sizeof(q->fd));
	}
	return send_all(b, &msg, sizeof(head) + head.size, until_ns);
}

static int ask(struct backend *b, const struct question *q)
{
	uint64_t until_ns = stats_now_ns() + BACKEND_WAIT_MS * UINT64_C(1000000), answer = 1;
	struct msg_header head;
	int err;

	if (b->fd < 0 || b->dead)
		return -ENOTCONN;
	err = send_question(b, q, until_ns);
	if (!err)
		err = receive_all(b, &head, sizeof(head), until_ns);
	if (!err && (head.request != q->request ||
		     (head.flags & (MSG_VERSION_MASK | MSG_REPLY)) != (MSG_VERSION | MSG_REPLY) ||
		     head.size != sizeof(answer)))
		err = -EPROTO;
	if (!err)
		err = receive_all(b, &answer, sizeof(answer), until_ns);
	if (err) {
		b->dead = true;
		return err;
	}
	return answer ? -EREMOTEIO : 0;
}

int backend_shmem(struct backend *b, enum msg_backend_request request,
		  const struct msg_shmem *shmem, int fd)
{
	return ask(b, &(struct question){ .request = request, .shmem = shmem, .fd = fd });
}

int backend_barrier(struct backend *b)
{
	int err = ask(b, &(struct question){ .request = MSG_BACKEND_CONFIG_CHANGE, .fd = -1 });

	return err == -EREMOTEIO ? 0 : err;
}
