/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The log: stderr in the foreground, else syslog or a file. One line an
 * event: "kfs: what: why: remedy". Thread-safe; never blocks on anything but
 * the sink. Low layers log at LOG_DEBUG_ only: whoever answers the user logs.
 */
#ifndef KFS_BASE_LOG_H
#define KFS_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

enum log_level {
	LOG_LEVEL_OFF,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_TRACE
};
enum log_sink { LOG_SINK_STDERR, LOG_SINK_SYSLOG, LOG_SINK_FILE };

/* @ident ("kfs") starts each line and must outlive the process. */
void log_init(const char *ident, enum log_level level);
/* @path is used by LOG_SINK_FILE only (opened append, 0640). */
MUST_USE int log_set_sink(enum log_sink sink, const char *path);
/* "off" "error" "warn" "info" "debug" "trace"; -EINVAL for others. */
MUST_USE int log_level_parse(const char *word, enum log_level *ret_level);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/*
 * Lines that somebody hostile causes must not fill the disk: of a thread that serves such, at most
 * LOG_LIMIT_LINES warnings and notes are written every LOG_LIMIT_S, together with the other
 * threads of the same @limit; then one line says so, and later one how many were left out.
 * Errors are always written.
 */
#define LOG_LIMIT_LINES 200u
#define LOG_LIMIT_S 60u
struct log_limit {
	const char *about; /* "guests" */
	_Atomic uint64_t window;
	_Atomic uint32_t lines;
};
/* For the calling thread, from here on. @limit must outlive it. */
void log_limit_thread(struct log_limit *limit);

void log_emit(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_at_(level, ...)                                                                        \
	do {                                                                                       \
		if (log_enabled(level))                                                            \
			log_emit(level, __VA_ARGS__);                                              \
	} while (0)
#define log_error(...) log_at_(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at_(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at_(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at_(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_trace(...) log_at_(LOG_LEVEL_TRACE, __VA_ARGS__)

#endif
