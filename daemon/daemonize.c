/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pipe between the process that people started and the daemon. The message is the exit
 * status in one byte and the line; a pipe that closes without a message means that the
 * daemon died, and how it died is told. While the parent waits, an interrupt is passed on:
 * the daemon unmounts as soon as it can.
 */
#include "daemon/daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/options.h"

#define LINE_MAX_BYTES 1024

static int tell_fd = -1; /* -1: in the foreground, or told already */
static bool foreground_mode, told;
static pid_t daemon_pid;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
	(void)kill(daemon_pid, SIGTERM); /* it may be gone: the pipe says so then */
}

static void watch_interrupts(void)
{
	struct sigaction action = { .sa_handler = on_interrupt };

	/* Valid signals: these cannot fail. */
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGHUP, &action, NULL);
}

static int status_of_dead(void)
{
	int status = 0;

	while (waitpid(daemon_pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		fprintf(stderr,
			"kfs: the daemon was ended by signal %d before the mount was ready\n",
			WTERMSIG(status));
	else
		fprintf(stderr, "kfs: the daemon ended before the mount was ready\n");
	return EXIT_INTERNAL;
}

/* Who is told of a failure may try again at once: the image must be free by then. An interrupt ends the waiting. */
static void wait_for_end(void)
{
	int status;

	while (waitpid(daemon_pid, &status, 0) < 0 && errno == EINTR && !interrupted)
		;
}

_Noreturn static void wait_for_daemon(int fd)
{
	char message[1 + LINE_MAX_BYTES];
	size_t have = 0;

	watch_interrupts();
	for (;;) {
		ssize_t got = read(fd, message + have, sizeof(message) - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || have + (size_t)got == sizeof(message)) {
			have += got > 0 ? (size_t)got : 0;
			break;
		}
		have += (size_t)got;
	}
	if (!have)
		_exit(status_of_dead());
	if (have > 1)
		fprintf(stderr, "kfs: %.*s\n", (int)have - 1, message + 1);
	if (message[0] != EXIT_OK)
		wait_for_end();
	_exit(interrupted ? EXIT_INTERRUPTED : message[0]);
}

/* Of the caller's descriptors only the three standard ones are kept, and stdin only by number. */
static void leave_caller(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid(); /* we are not a group leader: we were just forked */
	if (chdir("/") < 0)
		return;
	if (null >= 0) {
		(void)dup2(null, STDIN_FILENO); /* a descriptor that was just opened */
		if (null > STDERR_FILENO)
			(void)close(null); /* nothing was written */
	}
}

int daemonize_start(bool foreground)
{
	int fds[2];

	foreground_mode = foreground;
	if (foreground)
		return 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	daemon_pid = fork();
	if (daemon_pid < 0) {
		int err = -errno;

		(void)close(fds[0]);
		(void)close(fds[1]);
		return err;
	}
	if (daemon_pid > 0) {
		(void)close(fds[1]); /* else its end would never be seen */
		wait_for_daemon(fds[0]);
	}
	(void)close(fds[0]);
	tell_fd = fds[1];
	leave_caller();
	return 0;
}

static void tell(int status, const char *line)
{
	char message[1 + LINE_MAX_BYTES];
	int len = snprintf(message + 1, sizeof(message) - 1, "%s", line);

	message[0] = (char)status;
	len = MIN(MAX(len, 0), LINE_MAX_BYTES - 1);
	/* A parent that was killed hears nothing, and needs nothing. */
	if (write(tell_fd, message, 1 + (size_t)len) < 0)
		len = 0;
	(void)close(tell_fd);
	tell_fd = -1;
}

void daemonize_ready(const char *line)
{
	int null;

	if (told)
		return;
	told = true;
	if (foreground_mode) {
		if (*line)
			fprintf(stderr, "kfs: %s\n", line);
		return;
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		(void)dup2(null, STDOUT_FILENO); /* a descriptor that was just opened */
		(void)dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			(void)close(null);
	}
	tell(EXIT_OK, line);
}

void daemonize_failed(int status, const char *line)
{
	if (told)
		return;
	told = true;
	/* Without a pipe (there was no descriptor for one) we are still the caller's process. */
	if (foreground_mode || tell_fd < 0)
		fprintf(stderr, "kfs: %s\n", line);
	else
		tell(status, line);
}
