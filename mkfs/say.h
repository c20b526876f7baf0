/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What mkfs.kfs says: refusals and failures on stderr, one line each, "mkfs.kfs: what: why:
 * remedy"; and a progress line on a terminal. Whoever finds the trouble says it, callers pass
 * the error on in silence.
 */
#ifndef KFS_MKFS_SAY_H
#define KFS_MKFS_SAY_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

/* Says it; -EINVAL. */
MUST_USE int refuse(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Says it, with the error's text; @err. */
MUST_USE int fail(int err, const char *fmt, ...) PRINTF_LIKE(2, 3);
void warn(const char *fmt, ...) PRINTF_LIKE(1, 2);

struct progress {
	const char *what;
	const char *unit;
	uint64_t total; /* 0: unknown */
	uint64_t shown_ms;
	bool active;
};

/* Shows nothing unless @wanted and stdout is a terminal; redraws at most ten times a second. */
void progress_start(struct progress *p, bool wanted, const char *what, const char *unit,
		    uint64_t total);
void progress_at(struct progress *p, uint64_t done);
void progress_end(struct progress *p);

#endif
