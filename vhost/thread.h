/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that serve guests. A descriptor that a front end hands over may block for ever,
 * whatever flags it had: whoever waits for the end of a thread interrupts it, again and again.
 */
#ifndef KFS_VHOST_THREAD_H
#define KFS_VHOST_THREAD_H

#include <pthread.h>

#include "daemon/base/util.h"

struct log_limit;

/* Before the first thread_start(). */
MUST_USE int thread_install(void);
/* All signals are blocked in it but SIGBUS (guard.h) and the one that interrupts. */
MUST_USE int thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg), void *arg);
/* What the threads that serve guests say: log_limit_thread() at their beginning. */
extern struct log_limit thread_lines;
/* It was told to end: interrupt what it waits in until it has. */
void thread_join(pthread_t thread);

#endif
