/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls that kfs does not make, as compile errors. The Makefile puts this file in front of every source.
 *
 * A poisoned name is refused wherever it appears afterwards, declarations in system headers included. So the
 * headers that declare the names are read first; their guards make later inclusions empty.
 *
 * Instead of them: memcpy with a known length, snprintf, strtok_r, strtoull with its end pointer checked, a fixed
 * array or malloc.
 */
#ifndef DAEMON_BASE_BANNED_H
#define DAEMON_BASE_BANNED_H

#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* Some are macros of the C library; poisoning a macro is a warning of its own. */
#undef strcpy
#undef stpcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#undef strtok
#undef alloca

#pragma GCC poison strcpy stpcpy strcat strncpy strncat sprintf vsprintf strtok
#pragma GCC poison atoi atol atoll gets alloca

#endif
