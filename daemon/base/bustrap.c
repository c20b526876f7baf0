/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/base/bustrap.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

struct trap {
	sigjmp_buf back;
	uintptr_t from, len;
};

static _Atomic(bustrap_answer) answers;
static _Thread_local bool enabled;
/* Volatile: what the handler reads is written before the access that brings it. */
static _Thread_local struct trap *volatile armed;

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	bustrap_answer answer = atomic_load(&answers);
	struct trap *t = armed;
	int saved = errno;

	(void)context;
	if (t && at >= t->from && at - t->from < t->len)
		siglongjmp(t->back, 1);
	if (answer && answer(at)) {
		errno = saved;
		return;
	}
	/* Nobody's: the access is repeated, and ends us as it would have. */
	(void)signal(sig, SIG_DFL);
}

int bustrap_install(bustrap_answer answer)
{
	/* Not deferred: the signal is left by a jump. */
	struct sigaction action = { .sa_sigaction = on_bus_error,
				    .sa_flags = SA_SIGINFO | SA_NODEFER };

	if (answer)
		atomic_store(&answers, answer);
	(void)sigemptyset(&action.sa_mask); /* a valid set */
	return sigaction(SIGBUS, &action, NULL) ? -errno : 0;
}

void bustrap_enable(void)
{
	enabled = true;
}

bool bustrap_enabled(void)
{
	return enabled;
}

__attribute__((noinline)) static void copy(const struct iovec *iov, int iovcnt, const uint8_t *from)
{
	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from += iov[i].iov_len;
	}
}

bool bustrap_copy(const struct iovec *iov, int iovcnt, const uint8_t *from)
{
	struct trap trap = { .from = (uintptr_t)from };

	for (int i = 0; i < iovcnt; i++)
		trap.len += iov[i].iov_len;
	if (sigsetjmp(trap.back, 0)) {
		armed = NULL;
		return false;
	}
	armed = &trap;
	copy(iov, iovcnt, from);
	armed = NULL;
	return true;
}
