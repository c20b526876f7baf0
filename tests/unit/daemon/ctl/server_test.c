// SPDX-License-Identifier: GPL-2.0-only
/* The control socket with clients that behave and clients that do not. The commands are the test's own. */
#include "daemon/ctl/server.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/base/frame.h"
#include "daemon/fs/fs.h"
#include "include/kfs/ctl_proto.h"
#include "tests/lib/test.h"

static _Atomic unsigned int thaws;
static _Atomic bool hold;

/* The server thaws what it froze when it stops; here there is no filesystem below it. */
void fs_thaw(struct fs *fs)
{
	(void)fs;
	thaws++;
}

static int run_echo(struct ctl_call *call)
{
	ctl_put_count(call->result, "echo", ctl_arg_count(call, "n", 0));
	return 0;
}

static int run_wait(struct ctl_call *call)
{
	while (hold)
		usleep(1000);
	ctl_put_count(call->result, "waited", 1);
	return 0;
}

static int run_big(struct ctl_call *call)
{
	char *text = malloc(900 << 10);

	memset(text, 'x', 900 << 10);
	ctl_put(call->result, "text", json_stringn(text, 900 << 10));
	free(text);
	return 0;
}

static const struct ctl_command commands[] = {
	{ .name = "echo", .run = run_echo, .args = { { "n", CTL_ARG_COUNT, true } } },
	{ .name = "wait", .run = run_wait },
	{ .name = "big", .run = run_big },
	{ .name = NULL },
};

static struct ctl_server *server;
static const char *path;

static void start(uid_t owner_uid)
{
	struct ctl_env env = { .id = "test", .image = "/image", .owner_uid = owner_uid };

	path = test_socket_path("ctl.sock");
	env.socket_path = path;
	CHECK_OK(ctl_server_start_with(&env, commands, &server));
}

/* Others may reach the socket, wherever the folder of the tests lies, so that only the server stands between. */
static void open_to_all(void)
{
	CHECK_EQ(chmod(test_path("."), 0711), 0);
	CHECK_EQ(chmod(path, 0666), 0);
}

static int client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, path, strlen(path) + 1);
	CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void ask(int fd, const char *request)
{
	struct frame_io io = { .fd = fd, .cancel_fd = -1, .deadline_ns = frame_deadline(10000) };

	CHECK_OK(frame_write(&io, request, (uint32_t)strlen(request)));
}

static json_t *reply(int fd)
{
	struct frame_io io = { .fd = fd, .cancel_fd = -1, .deadline_ns = frame_deadline(10000) };
	char *text;
	uint32_t len;
	json_t *json;

	CHECK_OK(frame_read(&io, CTL_REPLY_BYTES_MAX, &text, &len));
	json = json_loadb(text, len, 0, NULL);
	CHECK(json);
	free(text);
	return json;
}

static void check_echo(int fd, unsigned int n)
{
	char request[80];
	json_t *json;

	snprintf(request, sizeof(request),
		 "{\"version\":1,\"command\":\"echo\",\"args\":{\"n\":%u}}", n);
	ask(fd, request);
	json = reply(fd);
	CHECK_EQ(json_integer_value(json_object_get(json_object_get(json, "result"), "echo")), n);
	json_decref(json);
}

static void check_error(int fd, const char *error)
{
	json_t *json = reply(fd);

	CHECK_STR_EQ(json_string_value(json_object_get(json_object_get(json, "error"), "errno")),
		     error);
	json_decref(json);
}

TEST(test_server__one_connection_asks_many_times)
{
	unsigned int i;
	int fd;

	start(getuid());
	fd = client();
	for (i = 0; i < 100; i++)
		check_echo(fd, i);
	close(fd);
	ctl_server_stop(server);
}

TEST(test_server__socket_is_the_owners_and_goes_away)
{
	struct stat st;

	start(getuid());
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0600);
	ctl_server_stop(server);
	CHECK_EQ(stat(path, &st), -1);
}

TEST(test_server__stale_socket_is_replaced)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	path = test_socket_path("ctl.sock");
	memcpy(address.sun_path, path, strlen(path) + 1);
	CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	start(getuid());
	fd = client();
	check_echo(fd, 1);
	close(fd);
	ctl_server_stop(server);
}

TEST(test_server__path_too_long_is_refused)
{
	char name[200];
	struct ctl_env env = { .id = "test", .socket_path = name };

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	CHECK_ERR(ctl_server_start_with(&env, commands, &server), -ENAMETOOLONG);
}

TEST(test_server__malformed_request_is_answered_and_the_next_one_too)
{
	int fd;

	start(getuid());
	fd = client();
	ask(fd, "{]");
	check_error(fd, "EBADMSG");
	ask(fd, "");
	check_error(fd, "EBADMSG");
	check_echo(fd, 5);
	close(fd);
	ctl_server_stop(server);
}

TEST(test_server__oversized_request_is_refused_and_closed)
{
	struct frame_io io;
	char *text;
	uint32_t len;
	int fd;

	start(getuid());
	fd = client();
	io = (struct frame_io){ .fd = fd, .cancel_fd = -1, .deadline_ns = frame_deadline(10000) };
	CHECK_EQ(write(fd, "\xff\xff\xff\x7f", 4), 4);
	check_error(fd, "EMSGSIZE");
	CHECK_ERR(frame_read(&io, 100, &text, &len), -ENODATA);
	close(fd);
	ctl_server_stop(server);
}

TEST(test_server__stranger_is_refused)
{
	int fd;

	if (getuid() != 0)
		SKIP("needs root, to become somebody else");
	start(1234);
	open_to_all();
	CHECK_EQ(seteuid(65534), 0);
	fd = client();
	check_error(fd, "EPERM");
	close(fd);
	CHECK_EQ(seteuid(0), 0);
	fd = client();
	check_echo(fd, 1);
	close(fd);
	ctl_server_stop(server);
}

TEST(test_server__silent_and_slow_clients_hold_nobody_up)
{
	int silent, half, deaf, good;

	start(getuid());
	silent = client();
	half = client();
	CHECK_EQ(write(half, "\x10\x00\x00\x00{", 5), 5);
	deaf = client();
	ask(deaf, "{\"version\":1,\"command\":\"big\"}");
	good = client();
	check_echo(good, 3);
	close(good);
	/* All three still wait; stopping does not wait for them. */
	ctl_server_stop(server);
	close(silent);
	close(half);
	close(deaf);
}

TEST(test_server__root_finds_a_slot_when_the_owners_are_taken)
{
	int fds[CTL_CLIENTS_MAX], i, owners = CTL_CLIENTS_MAX - CTL_CLIENTS_ROOT;

	if (getuid() != 0)
		SKIP("needs root, to become somebody else");
	start(65534);
	open_to_all();
	CHECK_EQ(seteuid(65534), 0);
	for (i = 0; i < owners; i++) {
		fds[i] = client();
		check_echo(fds[i], 1);
	}
	fds[i] = client();
	check_error(fds[i], "EBUSY");
	close(fds[i]);
	CHECK_EQ(seteuid(0), 0);
	fds[i] = client();
	check_echo(fds[i], 2);
	for (; i >= 0; i--)
		close(fds[i]);
	ctl_server_stop(server);
}

TEST(test_server__long_command_holds_nobody_up)
{
	int slow, fast;
	json_t *json;

	start(getuid());
	hold = true;
	slow = client();
	ask(slow, "{\"version\":1,\"command\":\"wait\"}");
	fast = client();
	check_echo(fast, 9);
	hold = false;
	json = reply(slow);
	CHECK(json_is_true(json_object_get(json, "ok")));
	json_decref(json);
	close(slow);
	close(fast);
	ctl_server_stop(server);
}

TEST(test_server__client_that_leaves_during_its_command_is_forgotten)
{
	int fd;

	start(getuid());
	hold = true;
	fd = client();
	ask(fd, "{\"version\":1,\"command\":\"wait\"}");
	close(fd);
	hold = false;
	fd = client();
	check_echo(fd, 1);
	close(fd);
	ctl_server_stop(server);
}

TEST(test_server__held_answers_nobody)
{
	int fd;

	start(getuid());
	fd = client();
	CHECK(!ctl_server_hold(server));
	ask(fd, "{\"version\":1,\"command\":\"echo\",\"args\":{\"n\":1}}");
	check_error(fd, "EAGAIN");
	ctl_server_release(server, NULL);
	check_echo(fd, 2);
	/* What is frozen would be thawed with nobody there who knows of it. */
	server->freeze = CTL_FROZEN;
	CHECK(ctl_server_hold(server));
	check_echo(fd, 3);
	server->freeze = CTL_THAWED;
	close(fd);
	ctl_server_stop(server);
}

TEST(test_server__stop_thaws_what_was_frozen)
{
	start(getuid());
	server->freeze = CTL_FROZEN;
	ctl_server_stop(server);
	CHECK_EQ(thaws, 1);
}
