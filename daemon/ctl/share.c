// SPDX-License-Identifier: GPL-2.0-only
/* The share_add command: a virtual machine for a daemon that runs already. What is shared, and how, is not decided here. */
#include <errno.h>

#include "daemon/base/frame.h"
#include "daemon/ctl/server.h"

int ctl_share_add(struct ctl_call *call)
{
	const struct ctl_env *env = &call->server->env;
	struct ctl_shared shared = { .why = "" };
	struct ctl_share share = {
		.path = ctl_arg_text(call, "path"),
		.tag = ctl_arg_text(call, "tag"),
		.cache = ctl_arg_text(call, "cache"),
		.readonly = ctl_arg_bool(call, "readonly", false),
		.no_readdirplus = !ctl_arg_bool(call, "readdirplus", true),
		.socket_fd = call->fds->fd[0],
		.life_fd = call->fds->fd[1],
	};
	int ret;

	if (!env->share_add)
		return ctl_fail(call, -EOPNOTSUPP, "share", "this daemon serves no guests", "");
	call->fds->fd[0] = call->fds->fd[1] = -1;
	ret = env->share_add(env->share_arg, &share, &shared);
	if (ret)
		return ctl_fail(call, ret, "share", shared.why, "");
	return 0;
}
