/* SPDX-License-Identifier: GPL-2.0-only */
/* One byte is an order, one byte the answer; the end of the stream is the end of the process. See unmounter.h. */
#include "daemon/dev/unmounter.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ORDER_UNMOUNT = 'u', ORDER_DETACH = 'd', ANSWER_DONE = '0', ANSWER_BUSY = '1' };

extern char **environ;

static pid_t helper = -1;
static int helper_fd = -1; /* [the thread that unmounts] */

static int run_fusermount(const char *mountpoint, bool lazy)
{
	char *argv[] = { "fusermount3",
			 "-u",
			 "-q",
			 lazy ? "-z" : "--",
			 lazy ? "--" : (char *)(uintptr_t)mountpoint,
			 lazy ? (char *)(uintptr_t)mountpoint : NULL,
			 NULL };
	int status = 0, err;
	pid_t pid;

	err = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EBUSY;
}

/* Nothing of the daemon's is kept: who waits for the end of a descriptor waits for the daemon alone. */
static void leave_daemon(int fd)
{
	int null = open("/dev/null", O_RDWR);

	for (int i = 0; null >= 0 && i <= 2; i++)
		(void)dup2(null, i); /* a descriptor that was just opened */
	(void)dup2(fd, 3);	     /* the same */
	(void)fcntl(3, F_SETFD, FD_CLOEXEC);
	(void)close_range(4, ~0u, 0);
	/* A terminal's interrupts are for the daemon. */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)prctl(PR_SET_NAME, "kfs-unmounter"); /* for ps; cannot fail */
}

_Noreturn static void serve(int fd, const char *mountpoint)
{
	char order, answer;

	leave_daemon(fd);
	while (read(3, &order, 1) == 1) {
		answer = run_fusermount(mountpoint, order == ORDER_DETACH) ? ANSWER_BUSY :
									     ANSWER_DONE;
		if (write(3, &answer, 1) != 1)
			break;
	}
	_exit(0);
}

int unmounter_start(const char *mountpoint)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	helper = fork();
	if (helper == 0)
		serve(fds[1], mountpoint);
	(void)close(fds[1]); /* the helper's */
	if (helper < 0) {
		int err = -errno;

		(void)close(fds[0]);
		return err;
	}
	helper_fd = fds[0];
	return 0;
}

bool unmounter_waits(void)
{
	return helper_fd >= 0;
}

int unmounter_run(const char *mountpoint, bool lazy)
{
	char order = lazy ? ORDER_DETACH : ORDER_UNMOUNT, answer = ANSWER_BUSY;
	ssize_t got;

	if (helper_fd < 0)
		return run_fusermount(mountpoint, lazy);
	if (send(helper_fd, &order, 1, MSG_NOSIGNAL) != 1)
		return -errno;
	while ((got = read(helper_fd, &answer, 1)) < 0 && errno == EINTR)
		;
	if (got != 1)
		return got < 0 ? -errno : -EPIPE;
	return answer == ANSWER_DONE ? 0 : -EBUSY;
}

void unmounter_stop(void)
{
	if (helper_fd < 0)
		return;
	(void)close(helper_fd); /* which it takes for its end */
	helper_fd = -1;
	while (waitpid(helper, NULL, 0) < 0 && errno == EINTR)
		;
}
