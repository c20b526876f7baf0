/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory whose reading may fail: a mapped file that becomes shorter, or whose medium does. The
 * kernel says so by SIGBUS, which would end the daemon.
 *
 *	bustrap_install()	once, before the first thread; who else has an answer adds it
 *	bustrap_enable()	on each thread that copies, which must not block SIGBUS: the kernel
 *				ends a process whose fault cannot be delivered
 *	bustrap_copy()		copies, or says that it could not
 */
#ifndef KFS_BASE_BUSTRAP_H
#define KFS_BASE_BUSTRAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/base/util.h"

/* A signal handler's: true when the access may be repeated. */
typedef bool (*bustrap_answer)(uintptr_t address);

/* @answer is for faults outside bustrap_copy()'s source; NULL: none. The last one given counts. */
MUST_USE int bustrap_install(bustrap_answer answer);
void bustrap_enable(void);
bool bustrap_enabled(void);
/* @from has as many bytes as @iov. False: some of them are not there; @iov is then undefined. */
MUST_USE bool bustrap_copy(const struct iovec *iov, int iovcnt, const uint8_t *from);

#endif
