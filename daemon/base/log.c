// SPDX-License-Identifier: GPL-2.0-only
/*
 * The log's one sink and level. A line is formatted on the stack and handed to
 * the sink in one call, so lines of several threads do not mix. Lines longer
 * than LOG_LINE_MAX are cut and marked. A sink that fails is not reported:
 * there is nowhere left to report it.
 */
#include "daemon/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "daemon/base/lock.h"

#define LOG_LINE_MAX 1024

/* Without a rank: a line may be written under any lock, and nothing is taken below it. */
static struct mutex log_lock = { .state = 0, .rank = LOCK_NONE };
static const char *log_ident = "kfs";		   /* [written once before threads] */
static _Atomic int log_level_now = LOG_LEVEL_INFO; /* [atomic] */
static enum log_sink log_sink = LOG_SINK_STDERR;   /* [log_lock] */
static int log_fd = STDERR_FILENO;		   /* [log_lock] */

static const char *const level_words[] = {
	[LOG_LEVEL_OFF] = "off",   [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info", [LOG_LEVEL_DEBUG] = "debug", [LOG_LEVEL_TRACE] = "trace",
};

void log_init(const char *ident, enum log_level level)
{
	log_ident = ident;
	log_set_level(level);
}

int log_set_sink(enum log_sink sink, const char *path)
{
	int fd = STDERR_FILENO;
	int old_fd;

	if (sink == LOG_SINK_FILE) {
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
		if (fd < 0)
			return -errno;
	}
	mutex_lock(&log_lock);
	old_fd = log_sink == LOG_SINK_FILE ? log_fd : -1;
	if (sink == LOG_SINK_SYSLOG)
		openlog(log_ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	else if (log_sink == LOG_SINK_SYSLOG)
		closelog();
	log_sink = sink;
	log_fd = fd;
	mutex_unlock(&log_lock);
	if (old_fd >= 0)
		(void)close(old_fd); /* lines are written, not buffered: nothing can be lost here */
	return 0;
}

int log_level_parse(const char *word, enum log_level *ret_level)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(level_words); i++) {
		if (strcmp(word, level_words[i]) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level_now, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

static int syslog_priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR: return LOG_ERR;
	case LOG_LEVEL_WARN: return LOG_WARNING;
	case LOG_LEVEL_INFO: return LOG_INFO;
	default: return LOG_DEBUG;
	}
}

static void write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

/* "kfs: ", in a file with the time in front of it. Returns its length. */
static size_t format_prefix(char *line, size_t size, enum log_sink sink)
{
	size_t len = 0;
	struct tm tm;
	time_t now;
	int n;

	if (sink == LOG_SINK_SYSLOG)
		return 0;
	if (sink == LOG_SINK_FILE) {
		now = time(NULL);
		if (localtime_r(&now, &tm))
			len = strftime(line, size, "%Y-%m-%dT%H:%M:%S%z ", &tm);
	}
	n = snprintf(line + len, size - len, "%s: ", log_ident);
	return n < 0 ? len : MIN(len + (size_t)n, size - 1);
}

static _Thread_local struct log_limit *limit_here;

void log_limit_thread(struct log_limit *limit)
{
	limit_here = limit;
}

/* The lines about lines are written by errors' right, as the limit does not hold for those. */
static bool within(struct log_limit *limit)
{
	struct timespec now = { 0 };
	uint64_t window, was;
	uint32_t lines;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* that clock cannot fail */
	window = (uint64_t)now.tv_sec / LOG_LIMIT_S;
	was = atomic_load(&limit->window);
	if (was != window && atomic_compare_exchange_strong(&limit->window, &was, window)) {
		lines = atomic_exchange(&limit->lines, 0);
		if (lines > LOG_LIMIT_LINES)
			log_emit(LOG_LEVEL_ERROR, "%u lines about %s were left out",
				 lines - LOG_LIMIT_LINES, limit->about);
	}
	lines = atomic_fetch_add(&limit->lines, 1);
	if (lines == LOG_LIMIT_LINES)
		log_emit(LOG_LEVEL_ERROR, "too many lines about %s: more are left out for %u s",
			 limit->about, LOG_LIMIT_S);
	return lines < LOG_LIMIT_LINES;
}

void log_emit(enum log_level level, const char *fmt, ...)
{
	static const char cut[] = "...";
	char line[LOG_LINE_MAX];
	size_t text_max = sizeof(line) - 1; /* room for the newline */
	size_t len;
	va_list args;
	int n;

	if (limit_here && (level == LOG_LEVEL_WARN || level == LOG_LEVEL_INFO) &&
	    !within(limit_here))
		return;
	mutex_lock(&log_lock);
	len = format_prefix(line, text_max, log_sink);
	va_start(args, fmt);
	n = vsnprintf(line + len, text_max - len, fmt, args);
	va_end(args);
	if (n < 0)
		n = 0;
	if ((size_t)n >= text_max - len) {
		len = text_max - 1;
		memcpy(line + len - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
	} else {
		len += (size_t)n;
	}
	if (log_sink == LOG_SINK_SYSLOG) {
		line[len] = '\0';
		syslog(syslog_priority(level), "%s", line);
	} else {
		line[len++] = '\n';
		write_all(log_fd, line, len);
	}
	mutex_unlock(&log_lock);
}
