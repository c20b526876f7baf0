// SPDX-License-Identifier: GPL-2.0-only
/*
 * Control messages: the frames of a stream that may be cut anywhere, and the JSON inside them. The commands are stand-ins
 * with every kind of argument: what is hostile here is the text. The reply is JSON again, and not too long.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/base/frame.h"
#include "daemon/ctl/request.h"
#include "include/kfs/ctl_proto.h"
#include "tests/fuzz/fuzz.h"

#define FRAMES_MAX 16

static int run_echo(struct ctl_call *call)
{
	json_object_set_new(call->result, "ino",
			    json_integer((json_int_t)ctl_arg_count(call, "ino", 7)));
	json_object_set_new(call->result, "on", json_boolean(ctl_arg_bool(call, "on", true)));
	return 0;
}

static int run_fail(struct ctl_call *call)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)call->args, key, value) return ctl_fail(
		call, -EINVAL, key, "is never right", "leave it out");
	return ctl_fail(call, -EIO, "fail", "always", "");
}

static const struct ctl_command commands[] = {
	{ .name = "map",
	  .run = run_echo,
	  .args = { { "ino", CTL_ARG_COUNT, true }, { "lblk", CTL_ARG_COUNT, false } } },
	{ .name = "cache_show", .run = run_echo, .args = { { "path", CTL_ARG_TEXT, true } } },
	{ .name = "trace", .run = run_echo, .args = { { "on", CTL_ARG_BOOL, true } } },
	{ .name = "status", .run = run_echo },
	{ .name = "fail", .run = run_fail, .args = { { "ino", CTL_ARG_COUNT, false } } },
	{ 0 },
};

static void check_reply(char *reply)
{
	json_t *parsed;

	FUZZ_CHECK(reply && strlen(reply) <= CTL_REPLY_BYTES_MAX);
	parsed = json_loads(reply, JSON_REJECT_DUPLICATES, NULL);
	FUZZ_CHECK(json_is_object(parsed) && json_is_boolean(json_object_get(parsed, "ok")));
	FUZZ_CHECK(json_integer_value(json_object_get(parsed, "version")) == CTL_VERSION);
	json_decref(parsed);
	free(reply);
}

/* A peer that sends @bytes and hangs up; byte 0 decides whether there is a frame around them. */
static void run(struct input *in)
{
	uint8_t how = in_u8(in);
	size_t len;
	const uint8_t *bytes = in_take(in, 8192, &len);
	struct frame_io io = { .cancel_fd = -1 };
	int fds[2];

	if (how & 1) {
		check_reply(ctl_answer(commands, NULL, -1, (const char *)bytes, len));
		return;
	}
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	FUZZ_CHECK(send(fds[1], bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
	close(fds[1]);
	io.fd = fds[0];
	io.deadline_ns = frame_deadline(60000);
	for (uint32_t i = 0; i < FRAMES_MAX; i++) {
		char *text;
		uint32_t text_len;

		if (frame_read(&io, CTL_REQUEST_BYTES_MAX, &text, &text_len))
			break;
		FUZZ_CHECK(text_len <= CTL_REQUEST_BYTES_MAX && text[text_len] == '\0');
		check_reply(ctl_answer(commands, NULL, -1, text, text_len));
		free(text);
	}
	close(fds[0]);
}

const struct fuzz_harness fuzz_harness = { .run = run };
