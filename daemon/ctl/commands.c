// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of control commands, and those that do something: sync, freeze, thaw, trim, trace.
 *
 * They run on their client's thread and may take as long as the disk does. Freeze and thaw are ordered by
 * server->freeze; once the server stops nothing is frozen any more, because it could never be closed.
 */
#include <errno.h>

#include "daemon/base/log.h"
#include "daemon/base/stats.h"
#include "daemon/ctl/server.h"
#include "daemon/fs/fs.h"

/* An error of the filesystem, in its own words. */
static int fail_errno(struct ctl_call *call, int error, const char *what, const char *remedy)
{
	const char *why = strerrordesc_np(-error);

	return ctl_fail(call, error, what, why ? why : "unknown error", remedy);
}

/* What would wait for a thaw is refused: its client would hang without knowing why. */
static int refuse_frozen(struct ctl_call *call, const char *what)
{
	if (!ctl_is_frozen(call->server))
		return 0;
	return ctl_fail(call, -EBUSY, what, "the filesystem is frozen", "kfsctl thaw");
}

int ctl_sync(struct ctl_call *call)
{
	uint64_t start = stats_now_ns();
	int ret;

	ret = fs_syncfs(call->server->env.fs);
	if (ret)
		return fail_errno(call, ret, "sync", "see the log for the first error");
	ctl_put_count(call->result, "duration_ns", stats_now_ns() - start);
	return 0;
}

/* From thawed to freezing, or why not. */
static int freeze_begin(struct ctl_call *call)
{
	struct ctl_server *server = call->server;
	int ret = 0;

	mutex_lock(&server->work);
	while (server->freeze == CTL_FREEZING || server->freeze == CTL_THAWING)
		cond_wait(&server->work_done, &server->work);
	if (server->stopping)
		ret = ctl_fail(call, -ESHUTDOWN, "freeze", "the filesystem is being unmounted", "");
	else if (server->freeze == CTL_FROZEN)
		ret = ctl_fail(call, -EBUSY, "freeze", "it is frozen already", "kfsctl thaw");
	else
		server->freeze = CTL_FREEZING;
	mutex_unlock(&server->work);
	return ret;
}

int ctl_freeze(struct ctl_call *call)
{
	struct ctl_server *server = call->server;
	uint64_t start = stats_now_ns();
	int ret;

	ret = freeze_begin(call);
	if (ret)
		return ret;
	/* No lock is held: it waits for requests and for a commit. */
	ret = fs_freeze(server->env.fs);
	mutex_lock(&server->work);
	server->freeze = ret ? CTL_THAWED : CTL_FROZEN;
	cond_wake_all(&server->work_done);
	mutex_unlock(&server->work);
	if (ret)
		return fail_errno(call, ret, "freeze", "see the log for the first error");
	log_info("%s: frozen by kfsctl: changes wait until 'kfsctl thaw'", server->env.image);
	ctl_put(call->result, "frozen", json_true());
	ctl_put_count(call->result, "duration_ns", stats_now_ns() - start);
	return 0;
}

int ctl_thaw(struct ctl_call *call)
{
	if (!ctl_thaw_now(call->server, false))
		return ctl_fail(call, -EINVAL, "thaw", "it is not frozen", "");
	log_info("%s: thawed by kfsctl", call->server->env.image);
	ctl_put(call->result, "frozen", json_false());
	return 0;
}

int ctl_trim(struct ctl_call *call)
{
	uint64_t min_bytes = ctl_arg_count(call, "min_bytes", 0);
	uint64_t start = stats_now_ns();
	uint64_t trimmed;
	int ret;

	ret = refuse_frozen(call, "trim");
	if (ret)
		return ret;
	ret = fs_trim(call->server->env.fs, 0, UINT64_MAX, min_bytes, &trimmed);
	/* As the kernel's FITRIM has it. */
	if (ret == -EINVAL)
		return ctl_fail(call, ret, "trim", "--min is more than a block group holds", "");
	if (ret)
		return fail_errno(call, ret, "trim",
				  ret == -EOPNOTSUPP ?
					  "the medium below the image cannot give space back" :
					  "see the log for the first error");
	ctl_put_count(call->result, "trimmed_bytes", trimmed);
	ctl_put_count(call->result, "duration_ns", stats_now_ns() - start);
	return 0;
}

static enum log_level level_now(void)
{
	enum log_level level = LOG_LEVEL_TRACE;

	while (level > LOG_LEVEL_OFF && !log_enabled(level))
		level--;
	return level;
}

int ctl_trace(struct ctl_call *call)
{
	struct ctl_server *server = call->server;
	bool on = ctl_arg_bool(call, "on", false);
	enum log_level now;

	mutex_lock(&server->work);
	now = level_now();
	if (on && now != LOG_LEVEL_TRACE) {
		server->level_before = now;
		log_set_level(LOG_LEVEL_TRACE);
	} else if (!on && now == LOG_LEVEL_TRACE) {
		log_set_level(server->level_before);
	}
	mutex_unlock(&server->work);
	ctl_put(call->result, "on", json_boolean(on));
	return 0;
}

static const struct ctl_command commands[] = {
	{ .name = "status", .run = ctl_status },
	{ .name = "stats", .run = ctl_stats, .args = { { "histograms", CTL_ARG_BOOL, false } } },
	{ .name = "stats_kernel",
	  .run = ctl_stats_kernel,
	  .args = { { "on", CTL_ARG_BOOL, true } } },
	{ .name = "sync", .run = ctl_sync },
	{ .name = "freeze", .run = ctl_freeze },
	{ .name = "thaw", .run = ctl_thaw },
	{ .name = "map",
	  .run = ctl_map,
	  .args = { { "ino", CTL_ARG_COUNT, true }, { "lblk", CTL_ARG_COUNT, false } } },
	{ .name = "cache_show", .run = ctl_cache_show, .args = { { "path", CTL_ARG_TEXT, true } } },
	{ .name = "cache_drop", .run = ctl_cache_drop, .args = { { "path", CTL_ARG_TEXT, false } } },
	{ .name = "check",
	  .run = ctl_check,
	  .args = { { "rate_bytes", CTL_ARG_COUNT, false },
		    { "memory_bytes", CTL_ARG_COUNT, false } } },
	{ .name = "check_status", .run = ctl_check_status },
	{ .name = "check_stop", .run = ctl_check_stop },
	{ .name = "trim", .run = ctl_trim, .args = { { "min_bytes", CTL_ARG_COUNT, false } } },
	{ .name = "abort",
	  .run = ctl_abort,
	  .args = { { "unique", CTL_ARG_COUNT, false },
		    { "older_seconds", CTL_ARG_COUNT, false },
		    { "guest", CTL_ARG_COUNT, false } } },
	{ .name = "share_add",
	  .run = ctl_share_add,
	  .args = { { "path", CTL_ARG_TEXT, true },
		    { "tag", CTL_ARG_TEXT, false },
		    { "cache", CTL_ARG_TEXT, false },
		    { "readonly", CTL_ARG_BOOL, false },
		    { "readdirplus", CTL_ARG_BOOL, false } },
	  .fds = 2 },
	{ .name = "trace", .run = ctl_trace, .args = { { "on", CTL_ARG_BOOL, true } } },
	{ .name = NULL },
};

int ctl_server_start(const struct ctl_env *env, struct ctl_server **ret_server)
{
	return ctl_server_start_with(env, commands, ret_server);
}
