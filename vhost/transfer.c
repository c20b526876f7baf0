/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pipe is somebody else's, so it is not made non-blocking: where poll(2) says that there is
 * room, it has room for PIPE_BUF bytes, and no more are written at a time.
 */
#include "vhost/transfer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "daemon/base/log.h"
#include "vhost/handover.h"
#include "vhost/thread.h"

#define BUF_BYTES PIPE_BUF

static int wait_ready(struct transfer *t, short events)
{
	struct pollfd fds[2] = { { .fd = t->stop_fd, .events = POLLIN },
				 { .fd = t->fd, .events = events } };

	while (!atomic_load(&t->stop)) {
		int ready = poll(fds, 2, -1);

		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready > 0 && fds[1].revents)
			return 0;
	}
	return -ECANCELED;
}

static int flush(struct transfer *t)
{
	while (t->used < t->have) {
		int err = wait_ready(t, POLLOUT);
		ssize_t done;

		if (err)
			return err;
		done = write(t->fd, t->buf + t->used, t->have - t->used);
		if (done < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		t->used += done > 0 ? (uint32_t)done : 0;
	}
	t->used = t->have = 0;
	return 0;
}

static int write_state(void *arg, const void *data, size_t len)
{
	struct transfer *t = arg;
	const uint8_t *from = data;

	while (len) {
		size_t part = MIN(len, (size_t)BUF_BYTES - t->have);

		memcpy(t->buf + t->have, from, part);
		t->have += (uint32_t)part;
		from += part;
		len -= part;
		if (t->have == BUF_BYTES) {
			int err = flush(t);

			if (err)
				return err;
		}
	}
	return 0;
}

/* More into the empty buffer. -ENODATA: the end. */
static int fill(struct transfer *t)
{
	for (;;) {
		int err = wait_ready(t, POLLIN);
		ssize_t got;

		if (err)
			return err;
		got = read(t->fd, t->buf, BUF_BYTES);
		if (got > 0) {
			t->have = (uint32_t)got;
			t->used = 0;
			return 0;
		}
		if (!got)
			return -ENODATA;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
}

static int read_state(void *arg, void *data, size_t len)
{
	struct transfer *t = arg;
	uint8_t *to = data;

	while (len) {
		size_t part = MIN(len, (size_t)(t->have - t->used));

		if (!part) {
			int err = fill(t);

			if (err)
				return err;
			continue;
		}
		memcpy(to, t->buf + t->used, part);
		t->used += (uint32_t)part;
		to += part;
		len -= part;
	}
	return 0;
}

static void *transfer_thread(void *arg)
{
	struct transfer *t = arg;
	uint64_t one = 1;

	log_limit_thread(&thread_lines);
	if (t->load) {
		/* An image that is waited for is not opened before something has come. */
		t->result = fill(t);
		if (!t->result)
			t->result = handover_load(t->dev, read_state, t);
		else if (t->result == -ENODATA)
			t->result = -EMSGSIZE;
	} else {
		t->result = handover_save(t->dev, write_state, t);
		if (!t->result)
			t->result = flush(t);
	}
	/* The end of the pipe is how the front end knows that this was all. */
	(void)close(t->fd);
	if (write(t->done_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* an empty counter takes it */
	return NULL;
}

static void cleanup(struct transfer *t)
{
	if (t->stop_fd >= 0)
		(void)close(t->stop_fd); /* a counter */
	if (t->done_fd >= 0)
		(void)close(t->done_fd); /* a counter */
	free(t->buf);
	t->buf = NULL;
	t->running = false;
}

int transfer_start(struct transfer *t, struct device *dev, bool load, int fd)
{
	int err = -EBUSY;

	if (t->running)
		goto out_close;
	*t = (struct transfer){ .dev = dev, .load = load, .fd = fd };
	t->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->buf = malloc(BUF_BYTES);
	err = t->stop_fd < 0 || t->done_fd < 0 ? -EMFILE : t->buf ? 0 : -ENOMEM;
	if (!err)
		err = thread_start(&t->thread, "kfs-state", transfer_thread, t);
	if (!err) {
		t->running = true;
		return 0;
	}
	cleanup(t);
out_close:
	(void)close(fd); /* nothing was said on it */
	return err;
}

bool transfer_loads(const struct transfer *t)
{
	return t->load;
}

int transfer_wait(struct transfer *t, const int stops[2])
{
	struct pollfd fds[3] = { { .fd = t->done_fd, .events = POLLIN },
				 { .fd = stops[0], .events = POLLIN },
				 { .fd = stops[1], .events = POLLIN } };

	if (!t->running)
		return -ENXIO;
	do {
		if (poll(fds, 3, -1) < 0)
			fds[0].revents = 0;
	} while (!fds[0].revents && !fds[1].revents && !fds[2].revents);
	if (!fds[0].revents) {
		(void)transfer_cancel(t); /* the connection ends, and the session with it */
		return -ENOTCONN;
	}
	thread_join(t->thread);
	cleanup(t);
	return t->result;
}

bool transfer_cancel(struct transfer *t)
{
	uint64_t one = 1;

	if (!t->running)
		return false;
	atomic_store(&t->stop, true);
	if (write(t->stop_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* an empty counter takes it */
	thread_join(t->thread);
	cleanup(t);
	return true;
}
