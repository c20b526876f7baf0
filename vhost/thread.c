/* SPDX-License-Identifier: GPL-2.0-only */
#include "vhost/thread.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "daemon/base/log.h"

/* Most end at once when they are told; a signal is for those that are stuck in a descriptor. */
#define PATIENCE_NS 50000000L

struct log_limit thread_lines = { .about = "guests" };

static int interrupt_signal(void)
{
	return SIGRTMIN + 1;
}

static void on_interrupt(int sig)
{
	(void)sig;
}

int thread_install(void)
{
	struct sigaction action = { .sa_handler = on_interrupt };

	(void)sigemptyset(&action.sa_mask); /* a valid set */
	return sigaction(interrupt_signal(), &action, NULL) ? -errno : 0;
}

int thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg), void *arg)
{
	sigset_t blocked, old;
	int err;

	/* Valid sets and signals: these cannot fail. */
	(void)sigfillset(&blocked);
	(void)sigdelset(&blocked, SIGBUS);
	(void)sigdelset(&blocked, interrupt_signal());
	(void)pthread_sigmask(SIG_SETMASK, &blocked, &old);
	err = pthread_create(thread, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		(void)pthread_setname_np(*thread, name); /* for people who look */
	return -err;
}

void thread_join(pthread_t thread)
{
	for (;;) {
		struct timespec until;

		(void)clock_gettime(CLOCK_REALTIME, &until); /* that clock cannot fail */
		until.tv_nsec += PATIENCE_NS;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_nsec -= 1000000000L;
			until.tv_sec++;
		}
		if (pthread_timedjoin_np(thread, NULL, &until) != ETIMEDOUT)
			return;
		(void)pthread_kill(thread, interrupt_signal()); /* not joined yet: valid */
	}
}
