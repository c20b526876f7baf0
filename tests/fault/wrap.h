/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Library calls of the project's own objects, wrapped by the linker (--wrap, the Makefile's
 * FAULT_WRAPPED): each asks fault_hit(), and memory is accounted for, so that what is not
 * freed is known with the address of the call that asked for it. What libc allocates for
 * itself is not seen.
 */
#ifndef TESTS_FAULT_WRAP_H
#define TESTS_FAULT_WRAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* System calls on descriptors are counted and fail too; off by default: a device stands above them. */
void wrap_syscalls(bool on);
/* Pieces of memory that were asked for since the program began and are not freed. */
size_t wrap_live(void);
/* Says on stderr who asked for those that are live and did not live at wrap_mark(). */
void wrap_mark(void);
size_t wrap_report_leaks(void);
/* pthread_create() for the test's own threads: never fails on demand. */
int wrap_thread(pthread_t *thread, void *(*run)(void *), void *arg);

#endif
