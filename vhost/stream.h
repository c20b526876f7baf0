/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the back end: a front end's messages as they come over its socket, and the replies. What a message is about is
 * conn.c's business.
 *
 * Descriptors that came with a message are the message's until they are taken: message_close_fds() closes the others,
 * whatever stream_receive() returned. One thread.
 */
#ifndef KFS_VHOST_STREAM_H
#define KFS_VHOST_STREAM_H

#include <stdint.h>

#include "daemon/base/util.h"
#include "vhost/msg.h"

struct stream {
	int fd;
	int stop_fd; /* readable: nobody waits for a message any more */
};

struct message {
	struct msg_header head;
	union msg_payload payload;
	int fds[MSG_FDS_MAX]; /* -1: taken */
	unsigned fd_count;
};

/* Descriptor @index is the caller's now. */
int message_take_fd(struct message *m, unsigned index);
void message_close_fds(struct message *m);

/*
 * The next message, checked by msg_check(). -ENOTCONN: the other end has gone, or we stop. -EPROTO, -EOPNOTSUPP: as
 * msg_check() and msg_check_header() say; the stream is lost.
 */
MUST_USE int stream_receive(const struct stream *s, struct message *m);

/*
 * The reply to @m, @size bytes, with descriptor @fd, which stays the caller's (-1: none). -ENOTCONN: it has gone, or does
 * not read what it asked for, which is not waited for.
 */
MUST_USE int stream_reply_fd(const struct stream *s, const struct message *m, const void *payload,
			     uint32_t size, int fd);
MUST_USE int stream_reply(const struct stream *s, const struct message *m, const void *payload,
			  uint32_t size);
MUST_USE int stream_reply_u64(const struct stream *s, const struct message *m, uint64_t value);

#endif
