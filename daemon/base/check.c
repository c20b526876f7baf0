// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a process whose own rules were broken. Goes straight to stderr:
 * the log's lock may be held by the thread that failed.
 */
#include "daemon/base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "kfs: internal error: %s:%d: %s\n", file, line, what);
	fflush(stderr);
	abort();
}
