/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Messages and progress. Output that cannot be written is no reason to stop formatting.
 */
#include "mkfs/say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_MS 100
#define BAR_WIDTH 30

static void say(const char *suffix, const char *fmt, va_list ap)
{
	fputs("mkfs.kfs: ", stderr);
	vfprintf(stderr, fmt, ap);
	if (suffix)
		fprintf(stderr, ": %s", suffix);
	fputc('\n', stderr);
}

int refuse(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(NULL, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(strerror(-err), fmt, ap);
	va_end(ap);
	return err;
}

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(NULL, fmt, ap);
	va_end(ap);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void progress_start(struct progress *p, bool wanted, const char *what, const char *unit,
		    uint64_t total)
{
	*p = (struct progress){
		.what = what,
		.unit = unit,
		.total = total,
		.active = wanted && isatty(STDOUT_FILENO),
		.shown_ms = now_ms(),
	};
}

void progress_at(struct progress *p, uint64_t done)
{
	char bar[BAR_WIDTH + 1];
	uint64_t now;
	int full;

	if (!p->active)
		return;
	now = now_ms();
	if (now - p->shown_ms < REDRAW_MS)
		return;
	p->shown_ms = now;
	if (!p->total) {
		printf("\r%s: %llu %s\033[K", p->what, (unsigned long long)done, p->unit);
		fflush(stdout);
		return;
	}
	full = (int)(MIN(done, p->total) * BAR_WIDTH / p->total);
	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)full);
	bar[BAR_WIDTH] = '\0';
	printf("\r%s: [%s] %llu/%llu %s\033[K", p->what, bar, (unsigned long long)done,
	       (unsigned long long)p->total, p->unit);
	fflush(stdout);
}

void progress_end(struct progress *p)
{
	if (!p->active)
		return;
	fputs("\r\033[K", stdout);
	fflush(stdout);
	p->active = false;
}
