// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control socket: listening, who may ask, one thread for each client. See ctl.h.
 *
 * Client threads are detached and counted; stopping waits for the count to fall to zero, so that none outlives the
 * filesystem it asks about. Each waits only in poll(), with the stop descriptor beside its socket, or in a command.
 */
#include "daemon/ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/base/frame.h"
#include "daemon/base/stats.h"
#include "daemon/fs/fs.h"
#include "include/kfs/ctl_proto.h"

/* A refused client gets its reply if its socket takes it at once; it cannot hold the acceptor up. */
#define REFUSAL_MS 100
#define ACCEPT_PAUSE_MS 100
/* Status and statistics are a matter of milliseconds; a check is one of minutes. */
#define HOLD_WAIT_MS 2000

struct client {
	struct ctl_server *server;
	int fd;
};

static bool send_reply(const struct ctl_server *server, int fd, const char *reply, uint32_t ms)
{
	struct frame_io io = { .fd = fd,
			       .cancel_fd = server->stop_fd,
			       .deadline_ns = frame_deadline(ms) };

	return reply && frame_write(&io, reply, (uint32_t)strlen(reply)) == 0;
}

static void refuse(const struct ctl_server *server, int fd, int error, const char *why,
		   const char *remedy)
{
	_cleanup_free_ char *reply = ctl_refusal(error, "control socket", why, remedy);

	(void)send_reply(server, fd, reply, REFUSAL_MS); /* it is closed next in any case */
}

/* False: nobody is answered just now. */
static bool begin_command(struct ctl_server *server)
{
	bool begun;

	mutex_lock(&server->lock);
	begun = !server->held;
	server->busy += begun;
	mutex_unlock(&server->lock);
	return begun;
}

static void end_command(struct ctl_server *server)
{
	mutex_lock(&server->lock);
	server->busy--;
	cond_wake_all(&server->client_left);
	mutex_unlock(&server->lock);
}

const char *ctl_server_hold(struct ctl_server *server)
{
	uint64_t until_ns = stats_now_ns() + HOLD_WAIT_MS * UINT64_C(1000000);
	struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000),
				  .tv_nsec = (long)(until_ns % 1000000000) };
	const char *why = NULL;
	bool waits = true;

	if (!server)
		return NULL;
	mutex_lock(&server->lock);
	server->held = true;
	while (server->busy && waits)
		waits = cond_wait_until(&server->client_left, &server->lock, &until);
	/* Without a command that runs nobody changes it. */
	if (server->busy)
		why = "a command of kfsctl runs on it: wait for it";
	else if (server->freeze != CTL_THAWED)
		why = "it is frozen: thaw it";
	server->held = !why;
	mutex_unlock(&server->lock);
	return why;
}

void ctl_server_release(struct ctl_server *server, struct fs *fs)
{
	if (!server)
		return;
	mutex_lock(&server->lock);
	server->env.fs = fs;
	server->held = false;
	mutex_unlock(&server->lock);
}

/* Serves one request; false when the connection is done with. */
static bool client_serve(struct client *client)
{
	struct ctl_server *server = client->server;
	struct frame_fds fds = { .count = 0 };
	struct frame_io io = { .fd = client->fd,
			       .cancel_fd = server->stop_fd,
			       .deadline_ns = frame_deadline(CTL_REQUEST_MS),
			       .fds = &fds };
	struct ctl_call from = { .server = server, .client_fd = client->fd, .fds = &fds };
	_cleanup_free_ char *request = NULL;
	_cleanup_free_ char *reply = NULL;
	uint32_t len;
	int ret;

	ret = frame_read(&io, CTL_REQUEST_BYTES_MAX, &request, &len);
	if (ret == -EMSGSIZE)
		refuse(server, client->fd, ret, "the request is longer than the protocol allows",
		       "");
	if (ret)
		return false;
	if (begin_command(server)) {
		reply = ctl_answer_fds(server->commands, &from, request, len);
		end_command(server);
	} else {
		reply = ctl_refusal(
			-EAGAIN, server->env.image,
			"it is not open: it went with its guest, or its guest is waited for",
			"ask the daemon that has it");
	}
	frame_fds_close(&fds);
	return send_reply(server, client->fd, reply, CTL_REPLY_MS);
}

static void *client_main(void *arg)
{
	struct client *client = arg;
	struct ctl_server *server = client->server;

	while (client_serve(client))
		;
	(void)close(client->fd); /* a socket: nothing can be lost */
	free(client);
	mutex_lock(&server->lock);
	server->clients--;
	/* Inside the lock: the stopper frees the server as soon as it sees no client. */
	cond_wake_all(&server->client_left);
	mutex_unlock(&server->lock);
	return NULL;
}

static bool slot_take(struct ctl_server *server, uid_t uid)
{
	unsigned int limit = uid == 0 ? CTL_CLIENTS_MAX : CTL_CLIENTS_MAX - CTL_CLIENTS_ROOT;
	bool taken;

	mutex_lock(&server->lock);
	taken = server->clients < limit;
	if (taken)
		server->clients++;
	mutex_unlock(&server->lock);
	return taken;
}

static void slot_give(struct ctl_server *server)
{
	mutex_lock(&server->lock);
	server->clients--;
	mutex_unlock(&server->lock);
}

static int client_start(struct ctl_server *server, int fd)
{
	struct client *client = malloc(sizeof(*client));
	pthread_t thread;
	int ret;

	if (!client)
		return -ENOMEM;
	*client = (struct client){ .server = server, .fd = fd };
	ret = -pthread_create(&thread, NULL, client_main, client);
	if (ret)
		free(client);
	else
		pthread_detach(thread);
	return ret;
}

/* Takes @fd. */
static void client_admit(struct ctl_server *server, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		(void)close(fd); /* nobody to talk to */
		return;
	}
	if (peer.uid != 0 && peer.uid != server->env.owner_uid) {
		refuse(server, fd, -EPERM, "this mount belongs to another user",
		       "ask as its owner or as root");
	} else if (!slot_take(server, peer.uid)) {
		refuse(server, fd, -EBUSY, "too many control clients at once",
		       "wait until others are answered");
	} else if (client_start(server, fd)) {
		slot_give(server);
		refuse(server, fd, -EAGAIN, "no memory or thread for another client", "try again");
	} else {
		return;
	}
	(void)close(fd); /* the refusal was all */
}

static void *acceptor_main(void *arg)
{
	struct ctl_server *server = arg;
	struct pollfd fds[2] = { { .fd = server->listen_fd, .events = POLLIN },
				 { .fd = server->stop_fd, .events = POLLIN } };

	for (;;) {
		int fd;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			return NULL;
		fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			client_admit(server, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			/* The connection stays pending and poll() would spin: wait for room, or for the stop. */
			(void)poll(fds + 1, 1, ACCEPT_PAUSE_MS);
	}
}

/* Listens at @path, for the owner alone: the mode is set before the name exists. */
static int socket_open(const char *path, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	size_t len = strlen(path);

	if (len >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, len + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || fchmod(fd, 0600) < 0)
		return -errno;
	/* A socket of a daemon that was killed; whoever chose the path owns the mount's entry. */
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (listen(fd, CTL_CLIENTS_MAX) < 0) {
		int ret = -errno;

		(void)unlink(path); /* best effort: the error below is what matters */
		return ret;
	}
	*ret_fd = fd;
	fd = -1;
	return 0;
}

/* Signals are for the main thread: a control thread that took SIGTERM would end nothing. */
static int thread_start_quiet(pthread_t *ret_thread, void *(*run)(void *), void *arg)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = -pthread_create(ret_thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

int ctl_server_start_with(const struct ctl_env *env, const struct ctl_command *commands,
			  struct ctl_server **ret_server)
{
	struct ctl_server *server = calloc(1, sizeof(*server));
	int ret;

	if (!server)
		return -ENOMEM;
	server->env = *env;
	server->commands = commands;
	server->listen_fd = -1;
	server->held = env->held;
	server->started_ns = stats_now_ns();
	server->started_at = time(NULL);
	mutex_init(&server->work, LOCK_CTL);
	cond_init(&server->work_done);
	mutex_init(&server->lock, LOCK_LEAF);
	cond_init(&server->client_left);
	/* Read now, once: the first object made by a thread would open /dev/urandom. */
	json_object_seed(0);
	server->level_before = LOG_LEVEL_INFO;
	server->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (server->stop_fd < 0) {
		ret = -errno;
		goto out_free;
	}
	ret = socket_open(env->socket_path, &server->listen_fd);
	if (ret)
		goto out_close_stop;
	ret = thread_start_quiet(&server->acceptor, acceptor_main, server);
	if (ret)
		goto out_unlink;
	*ret_server = server;
	return 0;

out_unlink:
	(void)unlink(env->socket_path); /* ours, and nobody can have connected with success */
	(void)close(server->listen_fd);
out_close_stop:
	(void)close(server->stop_fd);
out_free:
	free(server);
	return ret;
}

bool ctl_is_frozen(struct ctl_server *server)
{
	bool frozen;

	mutex_lock(&server->work);
	frozen = server->freeze == CTL_FROZEN;
	mutex_unlock(&server->work);
	return frozen;
}

bool ctl_thaw_now(struct ctl_server *server, bool stop)
{
	bool frozen;

	mutex_lock(&server->work);
	server->stopping |= stop;
	while (server->freeze == CTL_FREEZING || server->freeze == CTL_THAWING)
		cond_wait(&server->work_done, &server->work);
	frozen = server->freeze == CTL_FROZEN;
	if (frozen)
		server->freeze = CTL_THAWING;
	mutex_unlock(&server->work);
	if (!frozen)
		return false;
	fs_thaw(server->env.fs);
	mutex_lock(&server->work);
	server->freeze = CTL_THAWED;
	cond_wake_all(&server->work_done);
	mutex_unlock(&server->work);
	return true;
}

uint64_t ctl_uptime_seconds(const struct ctl_server *server)
{
	return (stats_now_ns() - server->started_ns) / 1000000000;
}

void ctl_server_stop(struct ctl_server *server)
{
	uint64_t one = 1;

	if (!server)
		return;
	/* An eventfd takes eight bytes unless its count overflows, which one write cannot do. */
	(void)!write(server->stop_fd, &one, sizeof(one));
	pthread_join(server->acceptor, NULL);
	(void)unlink(server->env.socket_path); /* may be gone with its folder already */
	(void)ctl_thaw_now(server, true);      /* most are not frozen */
	mutex_lock(&server->lock);
	while (server->clients)
		cond_wait(&server->client_left, &server->lock);
	mutex_unlock(&server->lock);
	(void)close(server->listen_fd);
	(void)close(server->stop_fd);
	free(server);
}
