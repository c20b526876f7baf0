/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/bpf/libbpf_log.h"

#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"

static _Thread_local char said[256];

static int keep_words(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[1024];
	int len = vsnprintf(line, sizeof(line), fmt, ap);

	if (level == LIBBPF_DEBUG)
		return len;
	line[strcspn(line, "\n")] = 0;
	log_debug("%s", line);
	/* The first complaint is the cause, the rest follows from it. */
	if (level == LIBBPF_WARN && !said[0])
		(void)snprintf(said, sizeof(said), "%.255s", line);
	return len;
}

void libbpf_log_begin(void)
{
	said[0] = 0;
	(void)libbpf_set_print(keep_words); /* what was there before is of no interest */
}

void libbpf_log_explain(char *why, size_t why_len, const char *what, int err)
{
	const char *text = strncmp(said, "libbpf: ", 8) ? said : said + 8;

	(void)snprintf(why, why_len, "%s: %s%s%s", what, strerror(-err), *text ? ": " : "", text);
}
