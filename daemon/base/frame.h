/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Messages over a stream socket: a u32 length (little endian), then that many bytes.
 *
 * The other side is not trusted: it may send a length without the bytes, one byte an hour, or never read. So the
 * descriptor is non-blocking, every transfer has a deadline for the whole of it, and a second descriptor can end
 * it (a daemon that stops). Nothing is allocated before the length has been held against the caller's cap.
 *
 * Descriptors may travel with a message (SCM_RIGHTS), if both ends want that: at most FRAME_FDS_MAX, close-on-exec.
 * Where nobody wants them the kernel closes what comes.
 *
 * Errors: -ETIMEDOUT the deadline passed; -ECANCELED the cancel descriptor became readable; -ENODATA the peer closed
 * between two messages; -EPIPE it closed inside one; -EMSGSIZE longer than the cap, or more descriptors than
 * FRAME_FDS_MAX (the stream is unusable then).
 */
#ifndef KFS_BASE_FRAME_H
#define KFS_BASE_FRAME_H

#include <stdint.h>

#include "daemon/base/util.h"

#define FRAME_HEADER_BYTES 4u
#define FRAME_NO_DEADLINE INT64_MAX

#define FRAME_FDS_MAX 2u

struct frame_fds {
	int fd[FRAME_FDS_MAX]; /* -1: taken by somebody */
	unsigned int count;
};

struct frame_io {
	int fd;		     /* a non-blocking stream socket */
	int cancel_fd;	     /* -1 = none */
	int64_t deadline_ns; /* CLOCK_MONOTONIC, absolute */
	struct frame_fds
		*fds; /* sent, they stay the caller's; read, they become it (none after an error) */
};

/* Those that nobody has taken. */
void frame_fds_close(struct frame_fds *fds);

/* The deadline @ms from now; @ms 0 = none. */
int64_t frame_deadline(uint32_t ms);

/* *ret_data is malloc()ed, NUL-terminated after ret_len bytes. */
MUST_USE int frame_read(const struct frame_io *io, uint32_t len_max, char **ret_data,
			uint32_t *ret_len);
MUST_USE int frame_write(const struct frame_io *io, const void *data, uint32_t len);

#endif
