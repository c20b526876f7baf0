/* SPDX-License-Identifier: GPL-2.0-only */
/* A header says how much follows it; descriptors come with any byte of the two. */
#include "vhost/stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int message_take_fd(struct message *m, unsigned index)
{
	int fd = m->fds[index];

	m->fds[index] = -1;
	return fd;
}

void message_close_fds(struct message *m)
{
	for (unsigned i = 0; i < m->fd_count; i++)
		if (m->fds[i] >= 0)
			(void)close(m->fds[i]); /* never used */
	m->fd_count = 0;
}

/* True: there is something to read. */
static bool wait_readable(const struct stream *s)
{
	struct pollfd fds[2] = { { .fd = s->stop_fd, .events = POLLIN },
				 { .fd = s->fd, .events = POLLIN } };

	for (;;) {
		int ready = poll(fds, 2, -1);

		if (ready < 0 && errno != EINTR)
			return false;
		if (ready > 0)
			return !fds[0].revents;
	}
}

/* All of @len bytes; descriptors come with the first. 0, or -ENOTCONN: it has gone, or we stop. */
static int receive(const struct stream *s, void *data, size_t len, struct message *m)
{
	char control[CMSG_SPACE(MSG_FDS_MAX * sizeof(int))];
	size_t have = 0;

	while (have < len) {
		struct iovec iov = { .iov_base = (uint8_t *)data + have, .iov_len = len - have };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		struct cmsghdr *cmsg;
		ssize_t got;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		if (!wait_readable(s))
			return -ENOTCONN;
		got = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return -ENOTCONN;
		for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
			size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			const int *fds = (const int *)(const void *)CMSG_DATA(cmsg);

			if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
				continue;
			for (size_t i = 0; i < count; i++)
				if (m->fd_count < MSG_FDS_MAX)
					m->fds[m->fd_count++] = fds[i];
				else
					(void)close(fds[i]); /* one too many */
		}
		if (msg.msg_flags & MSG_CTRUNC)
			return -EPROTO;
		have += (size_t)got;
	}
	return 0;
}

int stream_receive(const struct stream *s, struct message *m)
{
	int err;

	memset(m, 0, sizeof(*m));
	err = receive(s, &m->head, sizeof(m->head), m);
	if (!err)
		err = msg_check_header(&m->head);
	if (!err && m->head.size)
		err = receive(s, &m->payload, m->head.size, m);
	return err ? err : msg_check(&m->head, &m->payload, m->fd_count);
}

int stream_reply_fd(const struct stream *s, const struct message *m, const void *payload,
		    uint32_t size, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msg_header head = { .request = m->head.request,
				   .flags = MSG_VERSION | MSG_REPLY,
				   .size = size };
	struct iovec iov[2] = { { .iov_base = &head, .iov_len = sizeof(head) },
				{ .iov_base = (void *)(uintptr_t)payload, .iov_len = size } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t sent;

	if (fd >= 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	}
	sent = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent == (ssize_t)(sizeof(head) + size) ? 0 : -ENOTCONN;
}

int stream_reply(const struct stream *s, const struct message *m, const void *payload,
		 uint32_t size)
{
	return stream_reply_fd(s, m, payload, size, -1);
}

int stream_reply_u64(const struct stream *s, const struct message *m, uint64_t value)
{
	return stream_reply(s, m, &value, sizeof(value));
}
