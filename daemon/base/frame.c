// SPDX-License-Identifier: GPL-2.0-only
/* Length-prefixed messages over a stream socket that may be hostile. See frame.h. */
#include "daemon/base/frame.h"

#include <errno.h>
#include <poll.h>
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
		got = recv(io->fd, (char *)buf + done, len - done, 0);
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

int frame_read(const struct frame_io *io, uint32_t len_max, char **ret_data, uint32_t *ret_len)
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

static int write_exactly(const struct frame_io *io, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t put = send(io->fd, (const char *)buf + done, len - done,
				   MSG_NOSIGNAL | MSG_DONTWAIT);
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

	ret = write_exactly(io, header, sizeof(header));
	if (ret)
		return ret;
	return write_exactly(io, data, len);
}
