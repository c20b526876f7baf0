// SPDX-License-Identifier: GPL-2.0-only
/*
 * Asking a daemon: connect, one request, one reply, in bounded time. What goes wrong becomes one line with a remedy.
 *
 * The daemon is not trusted either: who listens must be the user whose entry led here, the reply has a cap, and each
 * value is read with its type checked.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctl/format.h"
#include "ctl/kfsctl.h"
#include "daemon/base/frame.h"
#include "include/kfs/ctl_proto.h"

static int fail(struct failure *f, const char *what, const char *why, const char *remedy)
{
	snprintf(f->what, sizeof(f->what), "%s", what);
	snprintf(f->why, sizeof(f->why), "%s", why);
	snprintf(f->remedy, sizeof(f->remedy), "%s", remedy);
	return EXIT_FAILED;
}

static int fail_gone(struct failure *f, const struct rundir_info *info)
{
	fail(f, mount_name(info), "", "");
	snprintf(f->why, sizeof(f->why), "its daemon (pid %ld) is gone", (long)info->pid);
	if (info->mountpoint)
		snprintf(f->remedy, sizeof(f->remedy), "'umount %s', then mount the image again",
			 info->mountpoint);
	else
		snprintf(f->remedy, sizeof(f->remedy), "start it again");
	return EXIT_FAILED;
}

static int fail_silent(struct failure *f, const struct rundir_info *info, uint32_t timeout_ms)
{
	fail(f, mount_name(info), "", "");
	snprintf(f->why, sizeof(f->why), "no answer within %g s", timeout_ms / 1000.0);
	snprintf(f->remedy, sizeof(f->remedy),
		 "wait longer with --timeout=SECONDS, or look at its log (pid %ld)",
		 (long)info->pid);
	return EXIT_FAILED;
}

static int fail_connect(struct failure *f, const struct rundir_info *info, int error)
{
	if (error == -EACCES || error == -EPERM) {
		fail(f, mount_name(info), "you may not ask: it belongs to another user", "");
		snprintf(f->remedy, sizeof(f->remedy), "ask as root or as uid %u",
			 (unsigned int)info->owner_uid);
		return EXIT_FAILED;
	}
	if (error == -ECONNREFUSED || error == -ENOENT) {
		if (!info->alive)
			return fail_gone(f, info);
		return fail(f, info->socket_path,
			    "nobody answers at the control socket, but the daemon lives",
			    "it may be starting or ending: try again");
	}
	return fail(f, info->socket_path, strerrordesc_np(-error), "try again");
}

static int connect_to(const struct rundir_info *info, struct failure *f, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (!info->alive)
		return fail_gone(f, info);
	if (strlen(info->socket_path) >= sizeof(address.sun_path))
		return fail_connect(f, info, -ENAMETOOLONG);
	memcpy(address.sun_path, info->socket_path, strlen(info->socket_path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Never waits: a full queue of a hung daemon is EAGAIN. */
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return fail_connect(f, info, -errno);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return fail_connect(f, info, -errno);
	if (peer.uid != 0 && peer.uid != info->owner_uid)
		return fail(f, info->socket_path, "another user listens there than the mount's",
			    "find out who put it there");
	*ret_fd = fd;
	fd = -1;
	return EXIT_DONE;
}

/* The error part of a reply; it names the mount, as the daemon does not know how it was called. */
static int fail_reply(struct failure *f, const struct rundir_info *info, const json_t *reply)
{
	const json_t *error = json_object_get(reply, "error");

	if (get_count(reply, "version") != CTL_VERSION)
		return fail(f, mount_name(info), "the daemon speaks another control protocol",
			    "use the kfsctl that was installed with it");
	fail(f, mount_name(info), "", get_text(error, "remedy"));
	snprintf(f->why, sizeof(f->why), "%s%s%s", get_text(error, "what"),
		 *get_text(error, "what") ? ": " : "", get_text(error, "why"));
	return EXIT_FAILED;
}

static int reply_read(const struct frame_io *io, const struct rundir_info *info, struct failure *f,
		      uint32_t timeout_ms, json_t **ret_result)
{
	_cleanup_free_ char *text = NULL;
	json_t *reply, *result;
	uint32_t len;
	int ret;

	ret = frame_read(io, CTL_REPLY_BYTES_MAX, &text, &len);
	if (ret == -ETIMEDOUT)
		return fail_silent(f, info, timeout_ms);
	if (ret)
		return fail(f, mount_name(info), "the daemon closed the connection",
			    "it may be ending: try again");
	reply = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	result = json_object_get(reply, "result");
	if (!reply) {
		ret = fail(f, mount_name(info), "the daemon's reply is not JSON",
			   "use the kfsctl that was installed with it");
	} else if (!json_is_true(json_object_get(reply, "ok")) || !json_is_object(result)) {
		ret = fail_reply(f, info, reply);
	} else {
		*ret_result = json_incref(result);
		ret = EXIT_DONE;
	}
	json_decref(reply);
	return ret;
}

struct question {
	const char *command;
	json_t *args;	       /* taken; NULL: none */
	struct frame_fds *fds; /* go with it; NULL: none */
	uint32_t timeout_ms;   /* 0: none */
};

static int ask_once(const struct rundir_info *info, const struct question *q, json_t **ret_result,
		    struct failure *f)
{
	struct frame_io io = { .cancel_fd = -1,
			       .deadline_ns = frame_deadline(q->timeout_ms),
			       .fds = q->fds };
	json_t *request = json_pack("{s:i, s:s, s:o}", "version", CTL_VERSION, "command",
				    q->command, "args", q->args ? q->args : json_object());
	_cleanup_free_ char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	_cleanup_close_ int fd = -1;
	int ret;

	json_decref(request);
	if (!text)
		return fail(f, mount_name(info), "no memory", "");
	ret = connect_to(info, f, &fd);
	if (ret)
		return ret;
	io.fd = fd;
	/* A refused client's connection is closed before it asks; the reason still waits to be read. */
	ret = frame_write(&io, text, (uint32_t)strlen(text));
	if (ret == -ETIMEDOUT)
		return fail_silent(f, info, q->timeout_ms);
	io.fds = NULL;
	return reply_read(&io, info, f, q->timeout_ms, ret_result);
}

int ask(const struct rundir_info *info, const char *command, json_t *args, uint32_t timeout_ms,
	json_t **ret_result)
{
	struct failure f;
	int ret = ask_quietly(info, command, args, timeout_ms, ret_result, &f);

	if (ret)
		complain(f.what, f.why, f.remedy);
	return ret;
}

int ask_quietly(const struct rundir_info *info, const char *command, json_t *args,
		uint32_t timeout_ms, json_t **ret_result, struct failure *ret_failure)
{
	struct question q = { .command = command, .args = args, .timeout_ms = timeout_ms };

	return ask_once(info, &q, ret_result, ret_failure);
}

int ask_with(const struct rundir_info *info, const char *command, json_t *args,
	     struct frame_fds *fds, json_t **ret_result, struct failure *ret_failure)
{
	struct question q = {
		.command = command, .args = args, .fds = fds, .timeout_ms = CTL_REPLY_MS
	};

	return ask_once(info, &q, ret_result, ret_failure);
}

int ask_target(const struct words *w, const char *target, const char *command, json_t *args,
	       json_t **ret_result)
{
	const struct rundir_info *info;
	struct rundir_list list;
	int ret;

	ret = mounts_load(&list);
	if (ret) {
		json_decref(args);
		return ret;
	}
	ret = target_find(&list, target, &info);
	if (ret)
		json_decref(args);
	else
		ret = ask(info, command, args, w->timeout_ms, ret_result);
	rundir_list_fini(&list);
	return ret;
}

uint32_t patience_ms(const struct words *w)
{
	return w->timeout_given ? w->timeout_ms : 0;
}
