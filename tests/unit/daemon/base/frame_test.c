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
