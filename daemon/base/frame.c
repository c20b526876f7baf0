// SPDX-License-Identifier: GPL-2.0-only
/* Length-prefixed messages over a stream socket that may be hostile. See frame.h. */
#include "daemon/base/frame.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t frame_deadline(uint32_t ms)
{
	return ms ? now_ns() + (int64_t)ms * 1000000 : FRAME_NO_DEADLINE;
}

/* Waits until the socket is ready for @events. */
static int wait_ready(const struct frame_io *io, short events)
{
	for (;;) {
		struct pollfd fds[2] = { { .fd = io->fd, .events = events },
					 { .fd = io->cancel_fd, .events = POLLIN } };
		int timeout_ms = -1;
		int ready;

		if (io->deadline_ns != FRAME_NO_DEADLINE) {
			int64_t left = io->deadline_ns - now_ns();

			if (left <= 0)
				return -ETIMEDOUT;
			/* Rounded up: a poll of 0 ms would spin through the last millisecond. */
			timeout_ms = (int)MIN(left / 1000000 + 1, (int64_t)60000);
		}
		ready = poll(fds, 2, timeout_ms);
		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready <= 0)
			continue;
		if (fds[1].revents)
			return -ECANCELED;
		/* Hang-up and errors are reported by the transfer itself. */
		if (fds[0].revents)
			return 0;
	}
}

void frame_fds_close(struct frame_fds *fds)
{
	for (unsigned int i = 0; i < fds->count; i++)
		if (fds->fd[i] >= 0)
			(void)close(fds->fd[i]); /* nothing was written to it here */
	fds->count = 0;
}

/* What came with a message; one too many is an error, and all are closed. */
static int take_fds(struct msghdr *msg, struct frame_fds *fds)
{
	int ret = msg->msg_flags & MSG_CTRUNC ? -EMSGSIZE : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (fds->count < FRAME_FDS_MAX) {
				fds->fd[fds->count++] = fd;
				continue;
			}
			(void)close(fd); /* one too many */
			ret = -EMSGSIZE;
		}
	}
	return ret;
}

/* As recv(2); -1 with errno. Descriptors go to io->fds. */
static ssize_t receive(const struct frame_io *io, void *buf, size_t len)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * FRAME_FDS_MAX)];
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t got;
	int err;

	if (!io->fds)
		return recv(io->fd, buf, len, 0);
	msg.msg_control = control;
	msg.msg_controllen = sizeof(control);
	got = recvmsg(io->fd, &msg, MSG_CMSG_CLOEXEC);
	if (got < 0)
		return got;
	err = take_fds(&msg, io->fds);
	errno = -err;
	return err ? -1 : got;
}

/* Exactly @len bytes; *ret_done says how many came before an error. */
static int read_exactly(const struct frame_io *io, void *buf, size_t len, size_t *ret_done)
{
	size_t done = 0;
	int ret = 0;

	while (done < len) {
		ssize_t got;

		ret = wait_ready(io, POLLIN);
		if (ret)
			break;
		got = receive(io, (char *)buf + done, len - done);
		if (got == 0) {
			ret = -EPIPE;
			break;
		}
		if (got > 0)
			done += (size_t)got;
		else if (errno != EAGAIN && errno != EINTR) {
			ret = -errno;
			break;
		}
	}
	*ret_done = done;
	return ret;
}

static int read_message(const struct frame_io *io, uint32_t len_max, char **ret_data,
			uint32_t *ret_len)
{
	uint8_t header[FRAME_HEADER_BYTES];
	_cleanup_free_ char *data = NULL;
	uint32_t len;
	size_t done;
	int ret;

	ret = read_exactly(io, header, sizeof(header), &done);
	if (ret)
		return done == 0 && (ret == -EPIPE || ret == -ECONNRESET) ? -ENODATA : ret;
	len = (uint32_t)header[0] | (uint32_t)header[1] << 8 | (uint32_t)header[2] << 16 |
	      (uint32_t)header[3] << 24;
	if (len > len_max)
		return -EMSGSIZE;
	data = malloc((size_t)len + 1);
	if (!data)
		return -ENOMEM;
	ret = read_exactly(io, data, len, &done);
	if (ret)
		return ret;
	data[len] = '\0';
	*ret_data = data;
	*ret_len = len;
	data = NULL;
	return 0;
}

int frame_read(const struct frame_io *io, uint32_t len_max, char **ret_data, uint32_t *ret_len)
{
	int ret;

	if (io->fds)
		io->fds->count = 0;
	ret = read_message(io, len_max, ret_data, ret_len);
	if (ret && io->fds)
		frame_fds_close(io->fds);
	return ret;
}

/* As send(2): descriptors go with the first byte. */
static ssize_t send_some(const struct frame_io *io, const void *buf, size_t len, bool with_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * FRAME_FDS_MAX)] = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;
	size_t size;

	if (!with_fds || !io->fds || !io->fds->count)
		return send(io->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	size = io->fds->count * sizeof(int);
	msg.msg_control = control;
	msg.msg_controllen = CMSG_SPACE(size);
	c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), io->fds->fd, size);
	return sendmsg(io->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int write_exactly(const struct frame_io *io, const void *buf, size_t len, bool with_fds)
{
	size_t done = 0;

	while (done < len) {
		ssize_t put =
			send_some(io, (const char *)buf + done, len - done, with_fds && !done);
		int ret;

		if (put >= 0) {
			done += (size_t)put;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		ret = wait_ready(io, POLLOUT);
		if (ret)
			return ret;
	}
	return 0;
}

int frame_write(const struct frame_io *io, const void *data, uint32_t len)
{
	uint8_t header[FRAME_HEADER_BYTES] = { (uint8_t)len, (uint8_t)(len >> 8),
					       (uint8_t)(len >> 16), (uint8_t)(len >> 24) };
	int ret;

	ret = write_exactly(io, header, sizeof(header), true);
	if (ret)
		return ret;
	return write_exactly(io, data, len, false);
}
