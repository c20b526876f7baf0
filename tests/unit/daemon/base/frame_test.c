// SPDX-License-Identifier: GPL-2.0-only
/* Length-prefixed messages: what arrives whole is read, and a hostile peer costs a bounded time and no memory. */
#include "daemon/base/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "tests/lib/test.h"

static int ends[2];

static void connect_ends(void)
{
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
}

static struct frame_io io_of(int fd)
{
	return (struct frame_io){ .fd = fd, .cancel_fd = -1, .deadline_ns = frame_deadline(100) };
}

static void feed(const void *bytes, size_t len)
{
	CHECK_EQ(write(ends[0], bytes, len), (ssize_t)len);
}

TEST(test_frame__messages_arrive_whole_and_apart)
{
	struct frame_io out, in;
	char *data;
	uint32_t len;

	connect_ends();
	out = io_of(ends[0]);
	in = io_of(ends[1]);
	CHECK_OK(frame_write(&out, "hello", 5));
	CHECK_OK(frame_write(&out, "", 0));
	CHECK_OK(frame_write(&out, "you", 3));
	CHECK_OK(frame_read(&in, 100, &data, &len));
	CHECK_EQ(len, 5);
	CHECK_STR_EQ(data, "hello");
	free(data);
	CHECK_OK(frame_read(&in, 100, &data, &len));
	CHECK_EQ(len, 0);
	free(data);
	CHECK_OK(frame_read(&in, 3, &data, &len));
	CHECK_STR_EQ(data, "you");
	free(data);
}

TEST(test_frame__length_over_the_cap_is_refused_before_the_bytes)
{
	struct frame_io in;
	char *data;
	uint32_t len;

	connect_ends();
	in = io_of(ends[1]);
	feed("\xff\xff\xff\xff", 4);
	CHECK_ERR(frame_read(&in, 4096, &data, &len), -EMSGSIZE);
	feed("\x01\x10\x00\x00", 4);
	CHECK_ERR(frame_read(&in, 4096, &data, &len), -EMSGSIZE);
}

TEST(test_frame__end_between_and_inside_messages_differ)
{
	struct frame_io in;
	char *data;
	uint32_t len;

	connect_ends();
	in = io_of(ends[1]);
	close(ends[0]);
	CHECK_ERR(frame_read(&in, 100, &data, &len), -ENODATA);

	connect_ends();
	in = io_of(ends[1]);
	feed("\x05\x00", 2);
	close(ends[0]);
	CHECK_ERR(frame_read(&in, 100, &data, &len), -EPIPE);

	connect_ends();
	in = io_of(ends[1]);
	feed("\x05\x00\x00\x00hell", 8);
	close(ends[0]);
	CHECK_ERR(frame_read(&in, 100, &data, &len), -EPIPE);
}

TEST(test_frame__silent_peer_ends_at_the_deadline)
{
	struct frame_io in;
	char *data;
	uint32_t len;

	connect_ends();
	in = io_of(ends[1]);
	in.deadline_ns = frame_deadline(20);
	feed("\x05\x00\x00\x00h", 5);
	CHECK_ERR(frame_read(&in, 100, &data, &len), -ETIMEDOUT);
}

TEST(test_frame__peer_that_never_reads_ends_at_the_deadline)
{
	struct frame_io out;
	char *big = calloc(1, 1 << 20);

	CHECK(big);
	connect_ends();
	out = io_of(ends[0]);
	out.deadline_ns = frame_deadline(20);
	CHECK_ERR(frame_write(&out, big, 1 << 20), -ETIMEDOUT);
	free(big);
}

TEST(test_frame__cancel_descriptor_ends_a_wait)
{
	struct frame_io in;
	char *data;
	uint32_t len;
	int stop[2];

	connect_ends();
	CHECK_EQ(pipe(stop), 0);
	CHECK_EQ(write(stop[1], "x", 1), 1);
	in = io_of(ends[1]);
	in.cancel_fd = stop[0];
	in.deadline_ns = FRAME_NO_DEADLINE;
	CHECK_ERR(frame_read(&in, 100, &data, &len), -ECANCELED);
}

TEST(test_frame__writing_to_a_closed_peer_is_an_error_not_a_signal)
{
	struct frame_io out;

	connect_ends();
	close(ends[1]);
	out = io_of(ends[0]);
	CHECK_ERR(frame_write(&out, "x", 1), -EPIPE);
}

/* It left without reading what it was sent: a reset, which between messages is an end like another. */
TEST(test_frame__reset_by_the_peer_is_an_end)
{
	struct frame_io in;
	char *data;
	uint32_t len;

	connect_ends();
	in = io_of(ends[1]);
	CHECK_EQ(write(ends[1], "unread", 6), 6);
	close(ends[0]);
	CHECK_ERR(frame_read(&in, 100, &data, &len), -ENODATA);

	connect_ends();
	in = io_of(ends[1]);
	feed("\x05\x00", 2);
	CHECK_EQ(write(ends[1], "unread", 6), 6);
	close(ends[0]);
	CHECK_ERR(frame_read(&in, 100, &data, &len), -ECONNRESET);
}

TEST(test_frame__descriptor_that_is_none_is_an_error)
{
	struct frame_io io;
	char *data;
	uint32_t len;

	connect_ends();
	io = io_of(ends[1]);
	close(ends[1]);
	CHECK_ERR(frame_read(&io, 100, &data, &len), -EBADF);
	CHECK_ERR(frame_write(&io, "x", 1), -EBADF);
}

TEST(test_frame__wait_that_fails_is_an_error)
{
	struct rlimit was, none;
	struct frame_io io;
	char *big = calloc(1, 1 << 20), *data;
	uint32_t len;

	CHECK(big);
	connect_ends();
	io = io_of(ends[1]);
	io.deadline_ns = frame_deadline(0);
	CHECK_EQ(io.deadline_ns, FRAME_NO_DEADLINE);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = (struct rlimit){ 1, was.rlim_max };
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0); /* poll() of two is too much now */
	CHECK_ERR(frame_read(&io, 100, &data, &len), -EINVAL);
	CHECK_ERR(frame_write(&io, big, 1 << 20), -EINVAL);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
	free(big);
}

static void on_alarm(int signal)
{
	(void)signal;
}

TEST(test_frame__signals_do_not_end_a_wait)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
	struct frame_io in;
	char *data;
	uint32_t len;

	CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	connect_ends();
	in = io_of(ends[1]);
	in.deadline_ns = frame_deadline(30);
	CHECK_ERR(frame_read(&in, 100, &data, &len), -ETIMEDOUT);
}

static unsigned int open_descriptors(void)
{
	unsigned int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* A message with @count descriptors, as a client of another make would send it. */
static void feed_with_fds(const void *bytes, size_t len, unsigned int count)
{
	char control[CMSG_SPACE(8 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fds[8] = { 0 };

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	CHECK_EQ(sendmsg(ends[0], &msg, 0), (ssize_t)len);
}

TEST(test_frame__descriptors_come_with_their_message)
{
	struct frame_fds sent = { .count = 2 }, got;
	struct frame_io out, in;
	unsigned int before;
	char *data;
	uint32_t len;
	int pipe_ends[2];

	connect_ends();
	CHECK_EQ(pipe(pipe_ends), 0);
	before = open_descriptors();
	out = io_of(ends[0]);
	in = io_of(ends[1]);
	sent.fd[0] = pipe_ends[1];
	sent.fd[1] = pipe_ends[0];
	out.fds = &sent;
	in.fds = &got;
	CHECK_OK(frame_write(&out, "hello", 5));
	CHECK_EQ(sent.count, 2);
	out.fds = NULL;
	CHECK_OK(frame_write(&out, "you", 3));
	CHECK_OK(frame_read(&in, 100, &data, &len));
	CHECK_STR_EQ(data, "hello");
	free(data);
	CHECK_EQ(got.count, 2);
	CHECK_EQ(fcntl(got.fd[0], F_GETFD), FD_CLOEXEC);
	CHECK_EQ(write(got.fd[0], "x", 1), 1);
	CHECK_EQ(read(pipe_ends[0], (char[1]){ 0 }, 1), 1);
	CHECK_EQ(close(got.fd[0]), 0);
	got.fd[0] = -1;
	frame_fds_close(&got);
	CHECK_EQ(open_descriptors(), before);
	CHECK_OK(frame_read(&in, 100, &data, &len));
	CHECK_STR_EQ(data, "you");
	CHECK_EQ(got.count, 0);
	free(data);
}

TEST(test_frame__no_descriptors_to_send_is_an_ordinary_message)
{
	struct frame_fds none = { .count = 0 }, got = { .count = 7 };
	struct frame_io out, in;
	char *data;
	uint32_t len;

	connect_ends();
	out = io_of(ends[0]);
	in = io_of(ends[1]);
	out.fds = &none;
	in.fds = &got;
	CHECK_OK(frame_write(&out, "hello", 5));
	CHECK_OK(frame_read(&in, 100, &data, &len));
	CHECK_STR_EQ(data, "hello");
	CHECK_EQ(got.count, 0);
	free(data);
}

TEST(test_frame__unwanted_and_surplus_descriptors_are_closed)
{
	struct frame_fds got;
	struct frame_io in;
	unsigned int before;
	char *data;
	uint32_t len;

	connect_ends();
	before = open_descriptors();
	in = io_of(ends[1]);
	feed_with_fds("\x01\0\0\0x", 5, 2);
	CHECK_OK(frame_read(&in, 100, &data, &len));
	free(data);
	CHECK_EQ(open_descriptors(), before);
	in.fds = &got;
	for (unsigned int count = 3; count <= 8; count++) {
		connect_ends();
		before = open_descriptors();
		in.fd = ends[1];
		feed_with_fds("\x01\0\0\0x", 5, count);
		CHECK_ERR(frame_read(&in, 100, &data, &len), -EMSGSIZE);
		CHECK_EQ(got.count, 0);
		CHECK_EQ(open_descriptors(), before);
	}
	/* With each byte of one message. */
	connect_ends();
	before = open_descriptors();
	in.fd = ends[1];
	feed_with_fds("\x01", 1, 2);
	feed_with_fds("\0\0\0x", 4, 1);
	CHECK_ERR(frame_read(&in, 100, &data, &len), -EMSGSIZE);
	CHECK_EQ(open_descriptors(), before);
	/* And then no message. */
	connect_ends();
	before = open_descriptors();
	in.fd = ends[1];
	feed_with_fds("\x05\0\0\0hel", 7, 2);
	CHECK_ERR(frame_read(&in, 100, &data, &len), -ETIMEDOUT);
	CHECK_EQ(open_descriptors(), before);
}
