// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decodes control requests, calls the command, encodes the reply. See request.h.
 *
 * The text is hostile. Its length is capped by the transport (CTL_REQUEST_BYTES_MAX), jansson caps its nesting, and
 * duplicate keys, wrong types and unknown keys are refused before a command sees anything.
 */
#include "daemon/ctl/request.h"

#include <errno.h>

#include "daemon/base/frame.h"
#include "include/kfs/ctl_proto.h"

int ctl_fail(struct ctl_call *call, int error, const char *what, const char *why,
	     const char *remedy)
{
	snprintf(call->what, sizeof(call->what), "%s", what);
	snprintf(call->why, sizeof(call->why), "%s", why);
	snprintf(call->remedy, sizeof(call->remedy), "%s", remedy);
	return error;
}

uint64_t ctl_arg_count(const struct ctl_call *call, const char *name, uint64_t absent)
{
	const json_t *value = json_object_get(call->args, name);

	return value ? (uint64_t)json_integer_value(value) : absent;
}

const char *ctl_arg_text(const struct ctl_call *call, const char *name)
{
	return json_string_value(json_object_get(call->args, name));
}

bool ctl_arg_bool(const struct ctl_call *call, const char *name, bool absent)
{
	const json_t *value = json_object_get(call->args, name);

	return value ? json_is_true(value) : absent;
}

/* Takes @reply. An impossible or oversized reply becomes an error, which always fits. */
static char *encode(json_t *reply)
{
	char *text = NULL;

	if (reply) {
		text = json_dumps(reply, JSON_COMPACT);
		json_decref(reply);
	}
	if (text && strlen(text) > CTL_REPLY_BYTES_MAX) {
		free(text);
		return ctl_refusal(-EMSGSIZE, "reply", "longer than the protocol allows", "");
	}
	return text;
}

static const char *errno_name(int error)
{
	const char *name = strerrorname_np(-error);

	return name ? name : "EIO";
}

json_t *ctl_text(const char *text)
{
	static const char digits[] = "0123456789abcdef";
	json_t *value = json_string(text);
	_cleanup_free_ char *escaped = NULL;
	char *out;

	if (value)
		return value;
	escaped = malloc(4 * strlen(text) + 1);
	if (!escaped)
		return NULL;
	for (out = escaped; *text; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte < 0x80) {
			*out++ = *text;
			continue;
		}
		*out++ = '\\';
		*out++ = 'x';
		*out++ = digits[byte >> 4];
		*out++ = digits[byte & 15];
	}
	*out = '\0';
	return json_string(escaped);
}

char *ctl_refusal(int error, const char *what, const char *why, const char *remedy)
{
	return encode(json_pack("{s:i, s:b, s:{s:s, s:o, s:o, s:o}}", "version", CTL_VERSION, "ok",
				0, "error", "errno", errno_name(error), "what", ctl_text(what),
				"why", ctl_text(why), "remedy", ctl_text(remedy)));
}

static const struct ctl_command *command_find(const struct ctl_command *commands, const char *name)
{
	for (; commands->name; commands++)
		if (strcmp(commands->name, name) == 0)
			return commands;
	return NULL;
}

static const struct ctl_arg *arg_find(const struct ctl_command *command, const char *name)
{
	unsigned int i;

	for (i = 0; i < CTL_ARGS_MAX && command->args[i].name; i++)
		if (strcmp(command->args[i].name, name) == 0)
			return &command->args[i];
	return NULL;
}

static bool arg_type_ok(enum ctl_arg_type type, const json_t *value)
{
	if (type == CTL_ARG_BOOL)
		return json_is_boolean(value);
	if (type == CTL_ARG_TEXT)
		return json_is_string(value);
	return json_is_integer(value) && json_integer_value(value) >= 0;
}

static const char *const type_words[] = {
	[CTL_ARG_BOOL] = "has to be true or false",
	[CTL_ARG_COUNT] = "has to be an integer that is not negative",
	[CTL_ARG_TEXT] = "has to be a text",
};

static int args_check(struct ctl_call *call, const struct ctl_command *command)
{
	const char *key;
	json_t *value;
	unsigned int i;

	if ((call->fds ? call->fds->count : 0) != command->fds)
		return ctl_fail(call, -EINVAL, command->name,
				command->fds ? "comes without the descriptors it needs" :
					       "comes with descriptors",
				"");
	json_object_foreach((json_t *)call->args, key, value)
	{
		const struct ctl_arg *arg = arg_find(command, key);

		if (!arg)
			return ctl_fail(call, -EINVAL, key, "unknown argument", "");
		if (!arg_type_ok(arg->type, value))
			return ctl_fail(call, -EINVAL, key, type_words[arg->type], "");
	}
	for (i = 0; i < CTL_ARGS_MAX && command->args[i].name; i++)
		if (command->args[i].needed && !json_object_get(call->args, command->args[i].name))
			return ctl_fail(call, -EINVAL, command->args[i].name, "is missing", "");
	return 0;
}

/* Finds command and arguments in the request; @none stands for absent arguments. */
static int request_check(struct ctl_call *call, const struct ctl_command *commands,
			 const json_t *request, const json_t *none,
			 const struct ctl_command **ret_command)
{
	const json_t *version = json_object_get(request, "version");
	const json_t *name = json_object_get(request, "command");
	const json_t *args = json_object_get(request, "args");
	const char *key;
	json_t *value;

	if (!json_is_integer(version))
		return ctl_fail(call, -EINVAL, "version", "is missing or not an integer", "");
	if (json_integer_value(version) != CTL_VERSION)
		return ctl_fail(call, -EPROTONOSUPPORT, "version",
				"the daemon speaks version 1 of the control protocol",
				"use the kfsctl that was installed with the daemon");
	if (!json_is_string(name))
		return ctl_fail(call, -EINVAL, "command", "is missing or not a string", "");
	if (args && !json_is_object(args))
		return ctl_fail(call, -EINVAL, "args", "is not an object", "");
	json_object_foreach((json_t *)request, key,
			    value) if (strcmp(key, "version") && strcmp(key, "command") &&
				       strcmp(key, "args")) return ctl_fail(call, -EINVAL, key,
									    "unknown key", "");
	*ret_command = command_find(commands, json_string_value(name));
	if (!*ret_command)
		return ctl_fail(call, -ENOSYS, json_string_value(name), "unknown command",
				"use the kfsctl that was installed with the daemon");
	call->args = args ? args : none;
	return args_check(call, *ret_command);
}

char *ctl_answer(const struct ctl_command *commands, struct ctl_server *server, int client_fd,
		 const char *text, size_t len)
{
	struct ctl_call from = { .server = server, .client_fd = client_fd };

	return ctl_answer_fds(commands, &from, text, len);
}

char *ctl_answer_fds(const struct ctl_command *commands, const struct ctl_call *from,
		     const char *text, size_t len)
{
	struct ctl_call call = { .server = from->server,
				 .client_fd = from->client_fd,
				 .fds = from->fds,
				 .result = json_object() };
	const struct ctl_command *command = NULL;
	json_t *none = json_object();
	json_error_t where;
	json_t *request;
	char *reply;
	int ret;

	request = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	if (!call.result || !none)
		ret = ctl_fail(&call, -ENOMEM, "request", "no memory", "");
	else if (!json_is_object(request))
		ret = ctl_fail(&call, -EBADMSG, "request",
			       request ? "is not a JSON object" : where.text, "");
	else
		ret = request_check(&call, commands, request, none, &command);
	if (!ret)
		ret = command->run(&call);
	if (ret) {
		reply = ctl_refusal(ret, call.what, call.why, call.remedy);
	} else {
		reply = encode(json_pack("{s:i, s:b, s:O}", "version", CTL_VERSION, "ok", 1,
					 "result", call.result));
	}
	json_decref(call.result);
	json_decref(none);
	json_decref(request);
	return reply;
}
