/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who serves: the daemon whose mount holds the directory gets the socket over its control socket, and this process
 * stays for as long as the guest, which both learn of by a pair of sockets of which each holds one end (share_add in
 * include/kfs/ctl_proto.h). For an image that nobody serves this process becomes "kfs --no-mount".
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "ctl/format.h"
#include "ctl/kfsctl.h"
#include "daemon/base/frame.h"
#include "include/kfs/ctl_proto.h"
#include "vhost/listen.h"
#include "vhost/virtiofsd/virtiofsd.h"

/* ---- the socket ---- */

static int check_fd(const struct virtiofsd_options *o)
{
	bool listens;
	char what[32];

	if (!listen_check(o->fd, &listens))
		return EXIT_DONE;
	(void)snprintf(what, sizeof(what), "--fd=%d", o->fd);
	return complain(what, "not a listening or connected Unix socket", "");
}

static int find_group(const struct virtiofsd_options *o, gid_t *ret_group)
{
	*ret_group = LISTEN_NO_GROUP;
	if (!o->socket_group || !listen_group(o->socket_group, ret_group))
		return EXIT_DONE;
	return complain(o->socket_group, "there is no such group", "");
}

static int open_socket(const struct virtiofsd_options *o, int *ret_fd)
{
	gid_t group;
	int ret, err;

	if (!o->socket_path) {
		*ret_fd = o->fd;
		return check_fd(o);
	}
	ret = find_group(o, &group);
	if (ret)
		return ret;
	err = listen_open(o->socket_path, group, ret_fd);
	return err ? complain(o->socket_path, listen_why(err), "") : EXIT_DONE;
}

/* ---- a daemon that runs ---- */

static void block_signals(sigset_t *ret_set)
{
	/* Valid signals: none of these can fail. */
	(void)sigemptyset(ret_set);
	(void)sigaddset(ret_set, SIGTERM);
	(void)sigaddset(ret_set, SIGINT);
	(void)sigaddset(ret_set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, ret_set, NULL);
}

/* What the daemon said last; 0: nothing. */
static char last_word(int life)
{
	char word = 0;

	return recv(life, &word, 1, MSG_DONTWAIT) == 1 ? word : 0;
}

static int wait_for_end(const struct rundir_info *info, int life, const sigset_t *signals)
{
	_cleanup_close_ int sfd = signalfd(-1, signals, SFD_CLOEXEC);
	struct pollfd fds[2] = { { .fd = life, .events = POLLIN },
				 { .fd = sfd, .events = POLLIN } };

	while (poll(fds, 2, -1) <= 0)
		;
	if (!fds[0].revents) {
		log_info("a signal: the guest is let go");
		return EXIT_DONE;
	}
	switch (last_word(life)) {
	case CTL_SHARE_GONE: log_info("the guest has gone"); return EXIT_DONE;
	case CTL_SHARE_STOPPED:
		return complain(mount_name(info), "its daemon has ended, and the guest with it",
				"mount it, and start the guest again");
	default:
		return complain(mount_name(info), "its daemon was killed",
				"unmount it, mount it, and start the guest again");
	}
}

static json_t *question(const struct virtiofsd_options *o, const char *inside)
{
	json_t *args = json_pack("{s:s, s:b, s:b}", "path", *inside ? inside : "/", "readonly",
				 o->readonly, "readdirplus", !o->no_readdirplus);

	if (args && o->tag)
		(void)json_object_set_new(args, "tag", json_string(o->tag));
	if (args && o->cache)
		(void)json_object_set_new(args, "cache", json_string(o->cache));
	return args;
}

/* Takes @socket_fd: from here on it is the daemon's. */
static int hand_over(const struct virtiofsd_options *o, const struct rundir_info *info,
		     const char *inside, int socket_fd, int *ret_life)
{
	struct frame_fds fds = { .fd = { socket_fd, -1 }, .count = 2 };
	json_t *result = NULL, *args = question(o, inside);
	struct failure f;
	int life[2], ret;

	if (!args || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, life)) {
		(void)close(socket_fd); /* nothing was said on it */
		json_decref(args);
		return complain(mount_name(info), "no memory or descriptor to ask it", "");
	}
	fds.fd[1] = life[1];
	ret = ask_with(info, "share_add", args, &fds, &result, &f);
	frame_fds_close(&fds);
	if (ret) {
		(void)close(life[0]); /* nobody is at the other end */
		return complain(f.what, f.why, f.remedy);
	}
	json_decref(result);
	*ret_life = life[0];
	return EXIT_DONE;
}

static int serve_by(const struct virtiofsd_options *o, const struct rundir_info *info,
		    const char *inside)
{
	_cleanup_close_ int life = -1;
	sigset_t signals;
	int fd, ret;

	block_signals(&signals);
	ret = open_socket(o, &fd);
	if (ret)
		return ret;
	ret = hand_over(o, info, inside, fd, &life);
	if (!ret) {
		log_info("%s: a guest may connect", mount_name(info));
		/* The path of the socket may be relative. */
		if (o->daemonize && daemon(1, 0))
			ret = complain("--daemonize", strerrordesc_np(errno), "");
	}
	if (!ret)
		ret = wait_for_end(info, life, &signals);
	if (o->socket_path)
		(void)unlink(o->socket_path); /* may be gone with its folder */
	return ret;
}

/* ---- an image that nobody serves ---- */

/* A comma or backslash would end or bend the word. */
static void put_word(FILE *words, const char *key, const char *value)
{
	fprintf(words, ",%s=", key);
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			fputc('\\', words);
		fputc(*value, words);
	}
}

static char *kfs_words(const struct virtiofsd_options *o)
{
	static const char *const levels[] = { "off", "error", "warn", "info", "debug", "trace" };
	char *text = NULL;
	size_t size;
	FILE *words = open_memstream(&text, &size);

	if (!words)
		return NULL;
	fprintf(words, "vhost_once,log_level=%s", levels[o->log_level]);
	if (o->socket_path)
		put_word(words, "vhost", o->socket_path);
	else
		fprintf(words, ",vhost=fd:%d", o->fd);
	if (o->socket_group)
		put_word(words, "socket_group", o->socket_group);
	if (o->tag)
		put_word(words, "tag", o->tag);
	if (o->cache)
		put_word(words, "guest_cache", o->cache);
	if (o->syslog)
		put_word(words, "log", "syslog");
	fprintf(words, "%s%s", o->readonly ? ",guests=ro,ro" : "",
		o->no_readdirplus ? ",noreaddirplus" : "");
	return fclose(words) ? NULL : text;
}

/* The one that was built or installed with this program; else what the path holds. */
static void find_kfs(char *path, size_t size)
{
	static const char *const places[] = { "kfs", "../bin/kfs" };
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[len > 0 ? len : 0] = 0;
	slash = strrchr(self, '/');
	for (size_t i = 0; slash && i < ARRAY_SIZE(places); i++) {
		if (snprintf(path, size, "%.*s/%s", (int)(slash - self), self, places[i]) <
			    (int)size &&
		    !access(path, X_OK))
			return;
	}
	(void)snprintf(path, size, "kfs");
}

static int become_kfs(const struct virtiofsd_options *o, const char *image)
{
	_cleanup_free_ char *words = NULL;
	char path[PATH_MAX];
	char *argv[] = { "kfs", "--no-mount", (char *)(uintptr_t)image,
			 "-o",	NULL,	      o->daemonize ? NULL : "-f",
			 NULL };

	if (!o->socket_path && check_fd(o))
		return EXIT_FAILED;
	if (!o->socket_path && fcntl(o->fd, F_SETFD, 0))
		return complain("--fd", strerrordesc_np(errno), "");
	words = kfs_words(o);
	if (!words)
		return complain(image, "no memory", "");
	argv[4] = words;
	find_kfs(path, sizeof(path));
	(void)execvp(path, argv);
	return complain(path, strerrordesc_np(errno), "install kfs beside this program");
}

/* ---- which of the two ---- */

static int serve_directory(const struct virtiofsd_options *o, const struct rundir_list *list,
			   const char *dir)
{
	_cleanup_free_ char *inside = NULL;
	const struct rundir_info *info;
	int ret = target_look_inside(list, dir, &info, &inside);

	if (ret)
		return ret;
	if (!info)
		return complain(dir, "is not on a kfs mount",
				"use virtiofsd for directories of other filesystems");
	return serve_by(o, info, inside);
}

static int serve_image(const struct virtiofsd_options *o, const struct rundir_list *list,
		       const char *image)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->entries[i].alive && !list->entries[i].offset &&
		    !strcmp(list->entries[i].image, image))
			return serve_by(o, &list->entries[i], "");
	return become_kfs(o, image);
}

int virtiofsd_serve(const struct virtiofsd_options *o)
{
	_cleanup_free_ char *path = realpath(o->shared_dir, NULL);
	struct rundir_list list;
	struct stat st;
	int ret;

	if (!path || stat(path, &st))
		return complain(o->shared_dir, strerrordesc_np(errno), "");
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return complain(o->shared_dir, "neither a directory nor an image", "");
	ret = mounts_load(&list);
	if (ret)
		return ret;
	ret = S_ISDIR(st.st_mode) ? serve_directory(o, &list, path) : serve_image(o, &list, path);
	rundir_list_fini(&list);
	return ret;
}
