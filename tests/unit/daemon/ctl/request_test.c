// SPDX-License-Identifier: GPL-2.0-only
/* The control protocol's decoder: what is not exactly a request is an error reply, and never reaches a command. */
#include "daemon/ctl/request.h"

#include <errno.h>

#include "daemon/base/frame.h"
#include "include/kfs/ctl_proto.h"
#include "tests/lib/test.h"

static unsigned int runs;
static uint64_t seen_ino;
static bool seen_on;
static char seen_text[64];

static int run_probe(struct ctl_call *call)
{
	runs++;
	seen_ino = ctl_arg_count(call, "ino", 77);
	seen_on = ctl_arg_bool(call, "on", true);
	json_object_set_new(call->result, "answer", json_integer(42));
	return 0;
}

static int run_text(struct ctl_call *call)
{
	const char *text = ctl_arg_text(call, "path");

	runs++;
	snprintf(seen_text, sizeof(seen_text), "%s", text ? text : "(none)");
	return 0;
}

/* The first of two; the second stays whose it was. */
static int run_take(struct ctl_call *call)
{
	runs++;
	CHECK_EQ(call->fds->count, 2);
	call->fds->fd[0] = -1;
	return 0;
}

static int run_fail(struct ctl_call *call)
{
	return ctl_fail(call, -EBUSY, "fail", "it is frozen", "kfsctl thaw");
}

static int run_huge(struct ctl_call *call)
{
	char *text = malloc(CTL_REPLY_BYTES_MAX + 1);

	memset(text, 'x', CTL_REPLY_BYTES_MAX);
	text[CTL_REPLY_BYTES_MAX] = '\0';
	json_object_set_new(call->result, "text", json_string(text));
	free(text);
	return 0;
}

static const struct ctl_command commands[] = {
	{ .name = "probe",
	  .run = run_probe,
	  .args = { { "ino", CTL_ARG_COUNT, false }, { "on", CTL_ARG_BOOL, false } } },
	{ .name = "needs", .run = run_probe, .args = { { "ino", CTL_ARG_COUNT, true } } },
	{ .name = "text", .run = run_text, .args = { { "path", CTL_ARG_TEXT, false } } },
	{ .name = "takes", .run = run_take, .fds = 2 },
	{ .name = "fail", .run = run_fail },
	{ .name = "huge", .run = run_huge },
	{ .name = "full",
	  .run = run_probe,
	  .args = { { "ino", CTL_ARG_COUNT, true },
		    { "on", CTL_ARG_BOOL, false },
		    { "size", CTL_ARG_COUNT, false },
		    { "now", CTL_ARG_BOOL, true } } },
	{ .name = NULL },
};

static json_t *answer_bytes(const char *text, size_t len)
{
	char *reply = ctl_answer(commands, NULL, -1, text, len);
	json_t *json;

	CHECK(reply);
	CHECK_LE(strlen(reply), CTL_REPLY_BYTES_MAX);
	json = json_loads(reply, 0, NULL);
	free(reply);
	CHECK(json_is_object(json));
	CHECK_EQ(json_integer_value(json_object_get(json, "version")), CTL_VERSION);
	return json;
}

static json_t *answer(const char *text)
{
	return answer_bytes(text, strlen(text));
}

/* The reply is this error about this thing, and no command ran. */
static void check_refused(const char *text, const char *error, const char *what)
{
	unsigned int before = runs;
	json_t *reply = answer(text);
	json_t *e = json_object_get(reply, "error");

	CHECK(json_is_false(json_object_get(reply, "ok")));
	CHECK_STR_EQ(json_string_value(json_object_get(e, "errno")), error);
	CHECK_STR_EQ(json_string_value(json_object_get(e, "what")), what);
	CHECK(json_is_string(json_object_get(e, "why")));
	CHECK_EQ(runs, before);
	json_decref(reply);
}

TEST(test_request__command_runs_and_its_result_is_sent)
{
	json_t *reply = answer("{\"version\":1,\"command\":\"probe\"}");

	CHECK(json_is_true(json_object_get(reply, "ok")));
	CHECK_EQ(json_integer_value(json_object_get(json_object_get(reply, "result"), "answer")),
		 42);
	CHECK_EQ(seen_ino, 77);
	CHECK_EQ(seen_on, true);
	json_decref(reply);
}

TEST(test_request__arguments_reach_the_command)
{
	json_decref(
		answer("{\"version\":1,\"command\":\"probe\",\"args\":{\"ino\":12,\"on\":false}}"));
	CHECK_EQ(seen_ino, 12);
	CHECK_EQ(seen_on, false);
	json_decref(answer(
		"{\"version\":1,\"command\":\"probe\",\"args\":{\"ino\":9223372036854775807}}"));
	CHECK_EQ(seen_ino, (uint64_t)INT64_MAX);
}

TEST(test_request__a_text_is_a_text)
{
	json_decref(answer("{\"version\":1,\"command\":\"text\"}"));
	CHECK_STR_EQ(seen_text, "(none)");
	json_decref(answer(
		"{\"version\":1,\"command\":\"text\",\"args\":{\"path\":\"/d/\\u00fc \\\" f\"}}"));
	CHECK_STR_EQ(seen_text, "/d/\xc3\xbc \" f");
	check_refused("{\"version\":1,\"command\":\"text\",\"args\":{\"path\":12}}", "EINVAL",
		      "path");
	check_refused("{\"version\":1,\"command\":\"text\",\"args\":{\"path\":null}}", "EINVAL",
		      "path");
	/* A NUL within would end it early. */
	check_refused("{\"version\":1,\"command\":\"text\",\"args\":{\"path\":\"a\\u0000b\"}}",
		      "EBADMSG", "request");
}

TEST(test_request__every_truncation_is_refused)
{
	static const char text[] =
		"{\"version\":1,\"command\":\"probe\",\"args\":{\"ino\":12,\"on\":false}}";
	size_t len;

	for (len = 0; len < sizeof(text) - 1; len++) {
		json_t *reply = answer_bytes(text, len);

		CHECK(json_is_false(json_object_get(reply, "ok")));
		json_decref(reply);
	}
	CHECK_EQ(runs, 0);
}

TEST(test_request__every_damaged_byte_is_survived)
{
	static const char good[] = "{\"version\":1,\"command\":\"needs\",\"args\":{\"ino\":12}}";
	size_t at;
	int byte;

	for (at = 0; at < sizeof(good) - 1; at++) {
		for (byte = 0; byte < 256; byte++) {
			char text[sizeof(good)];

			memcpy(text, good, sizeof(good));
			text[at] = (char)byte;
			json_decref(answer_bytes(text, sizeof(good) - 1));
		}
	}
	CHECK_GT(runs, 0); /* some damage is harmless: another digit, another space */
}

TEST(test_request__what_is_no_object_is_refused)
{
	check_refused("", "EBADMSG", "request");
	check_refused("[]", "EBADMSG", "request");
	check_refused("null", "EBADMSG", "request");
	check_refused("42", "EBADMSG", "request");
	check_refused("{\"version\":1,\"command\":\"probe\"} {}", "EBADMSG", "request");
	check_refused("{\"version\":1,\"version\":1,\"command\":\"probe\"}", "EBADMSG", "request");
	check_refused("{\"version\":1,\"command\":\"pro\\u0000be\"}", "EBADMSG", "request");
	check_refused("{\"version\":1,\"command\":\"\xff\xfe\"}", "EBADMSG", "request");
}

TEST(test_request__version_is_checked_first)
{
	check_refused("{}", "EINVAL", "version");
	check_refused("{\"version\":\"1\",\"command\":\"probe\"}", "EINVAL", "version");
	check_refused("{\"version\":2,\"command\":\"novelty\",\"extra\":1}", "EPROTONOSUPPORT",
		      "version");
	check_refused("{\"version\":-1,\"command\":\"probe\"}", "EPROTONOSUPPORT", "version");
}

TEST(test_request__unknown_things_are_refused_by_name)
{
	check_refused("{\"version\":1,\"command\":\"snapshot\"}", "ENOSYS", "snapshot");
	check_refused("{\"version\":1,\"command\":\"\"}", "ENOSYS", "");
	check_refused("{\"version\":1}", "EINVAL", "command");
	check_refused("{\"version\":1,\"command\":7}", "EINVAL", "command");
	check_refused("{\"version\":1,\"command\":\"probe\",\"user\":0}", "EINVAL", "user");
	check_refused("{\"version\":1,\"command\":\"probe\",\"args\":{\"inode\":1}}", "EINVAL",
		      "inode");
	check_refused("{\"version\":1,\"command\":\"fail\",\"args\":{\"ino\":1}}", "EINVAL", "ino");
}

TEST(test_request__wrong_types_are_refused_by_name)
{
	check_refused("{\"version\":1,\"command\":\"probe\",\"args\":[]}", "EINVAL", "args");
	check_refused("{\"version\":1,\"command\":\"probe\",\"args\":null}", "EINVAL", "args");
	check_refused("{\"version\":1,\"command\":\"probe\",\"args\":{\"ino\":\"1\"}}", "EINVAL",
		      "ino");
	check_refused("{\"version\":1,\"command\":\"probe\",\"args\":{\"ino\":-1}}", "EINVAL",
		      "ino");
	check_refused("{\"version\":1,\"command\":\"probe\",\"args\":{\"ino\":1.5}}", "EINVAL",
		      "ino");
	check_refused("{\"version\":1,\"command\":\"probe\",\"args\":{\"ino\":{}}}", "EINVAL",
		      "ino");
	check_refused("{\"version\":1,\"command\":\"probe\",\"args\":{\"on\":1}}", "EINVAL", "on");
	check_refused(
		"{\"version\":1,\"command\":\"probe\",\"args\":{\"ino\":9223372036854775808}}",
		"EBADMSG", "request");
}

TEST(test_request__missing_argument_is_named)
{
	check_refused("{\"version\":1,\"command\":\"needs\"}", "EINVAL", "ino");
	check_refused("{\"version\":1,\"command\":\"needs\",\"args\":{}}", "EINVAL", "ino");
}

TEST(test_request__deep_nesting_is_refused)
{
	char text[CTL_REQUEST_BYTES_MAX];
	json_t *reply;

	memset(text, '[', sizeof(text));
	reply = answer_bytes(text, sizeof(text));
	CHECK(json_is_false(json_object_get(reply, "ok")));
	json_decref(reply);
}

TEST(test_request__failure_is_told_with_its_remedy)
{
	json_t *reply = answer("{\"version\":1,\"command\":\"fail\"}");
	json_t *e = json_object_get(reply, "error");

	CHECK_STR_EQ(json_string_value(json_object_get(e, "errno")), "EBUSY");
	CHECK_STR_EQ(json_string_value(json_object_get(e, "why")), "it is frozen");
	CHECK_STR_EQ(json_string_value(json_object_get(e, "remedy")), "kfsctl thaw");
	json_decref(reply);
}

TEST(test_request__oversized_result_becomes_an_error)
{
	json_t *reply = answer("{\"version\":1,\"command\":\"huge\"}");
	json_t *e = json_object_get(reply, "error");

	CHECK_STR_EQ(json_string_value(json_object_get(e, "errno")), "EMSGSIZE");
	json_decref(reply);
}

TEST(test_request__text_that_is_not_utf8_is_escaped)
{
	json_t *text = ctl_text("/mnt/\xe9t\xe9");

	CHECK_STR_EQ(json_string_value(text), "/mnt/\\xe9t\\xe9");
	json_decref(text);
	text = ctl_text("/mnt/\xc3\xa9");
	CHECK_STR_EQ(json_string_value(text), "/mnt/\xc3\xa9");
	json_decref(text);
}

TEST(test_request__as_many_arguments_as_there_may_be)
{
	json_t *reply =
		answer("{\"version\":1,\"command\":\"full\",\"args\":{\"ino\":1,\"now\":true}}");

	CHECK(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
	check_refused("{\"version\":1,\"command\":\"full\",\"args\":{\"ino\":1}}", "EINVAL", "now");
	check_refused("{\"version\":1,\"command\":\"full\",\"args\":{\"more\":1}}", "EINVAL",
		      "more");
}

TEST(test_request__errors_without_a_name_are_eio)
{
	char *reply = ctl_refusal(-4000, "what", "why", "");

	CHECK(reply && strstr(reply, "\"EIO\""));
	free(reply);
}

static unsigned int allocations_left;

static void *short_malloc(size_t size)
{
	return allocations_left && allocations_left-- ? malloc(size) : NULL;
}

static json_t *answer_with(const char *text, struct frame_fds *fds)
{
	struct ctl_call from = { .client_fd = -1, .fds = fds };
	char *reply = ctl_answer_fds(commands, &from, text, strlen(text));
	json_t *json = reply ? json_loads(reply, 0, NULL) : NULL;

	free(reply);
	CHECK(json);
	return json;
}

TEST(test_request__descriptors_only_for_who_takes_them)
{
	static const char takes[] = "{\"version\":1,\"command\":\"takes\"}";
	static const char probe[] = "{\"version\":1,\"command\":\"probe\"}";
	struct frame_fds fds = { .fd = { 7, 8 }, .count = 2 };
	json_t *json = answer_with(takes, &fds);

	CHECK(json_is_true(json_object_get(json, "ok")));
	CHECK_EQ(fds.fd[0], -1);
	CHECK_EQ(fds.fd[1], 8);
	json_decref(json);
	runs = 0;
	fds = (struct frame_fds){ .fd = { 7, 8 }, .count = 2 };
	for (unsigned int count = 0; count < 2; count++) {
		fds.count = count;
		json = answer_with(takes, &fds);
		CHECK(json_is_false(json_object_get(json, "ok")));
		json_decref(json);
		fds.count = count + 1;
		json = answer_with(probe, &fds);
		CHECK(json_is_false(json_object_get(json, "ok")));
		json_decref(json);
	}
	json = answer_with(takes, NULL);
	CHECK(json_is_false(json_object_get(json, "ok")));
	json_decref(json);
	CHECK_EQ(runs, 0);
	CHECK_EQ(fds.fd[0], 7);
}

/* Each allocation of the library fails in turn: an error reply or none, and nothing is left over. */
TEST(test_request__without_memory_there_is_an_error_or_nothing)
{
	static const char *const texts[] = {
		"{\"version\":1,\"command\":\"probe\",\"args\":{\"ino\":12,\"on\":false}}",
		"{\"version\":1,\"command\":\"fail\"}",
		"{\"version\":1,\"command\":\"no\xc3\xa9\"}",
		"{",
	};
	bool whole;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		unsigned int n = 0, refused = 0;

		do {
			char *reply;

			allocations_left = n++;
			json_set_alloc_funcs(short_malloc, free);
			reply = ctl_answer(commands, NULL, -1, texts[i], strlen(texts[i]));
			whole = allocations_left > 0;
			json_set_alloc_funcs(malloc, free);
			CHECK(reply || !whole);
			refused += !reply;
			free(reply);
		} while (!whole && n < 1000);
		CHECK(whole && refused > 0);
	}
}
