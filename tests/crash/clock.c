// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time of day and random numbers that are the same in each run: these definitions take
 * the place of the C library's in this program. Monotonic clocks stay real, for waits.
 */
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/world.h"

/* 2023: not before the image was made, as e2fsck is told, and not in anybody's future. */
#define CLOCK_START 1700000000

static _Atomic uint64_t ticks; /* milliseconds; each look takes one */
static _Atomic uint64_t numbers;

void clock_reset(uint64_t seed)
{
	ticks = 0;
	numbers = seed * 0x9e3779b97f4a7c15ULL;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	uint64_t now;

	if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)
		return (int)syscall(SYS_clock_gettime, id, ts);
	now = ticks++;
	ts->tv_sec = (time_t)(CLOCK_START + now / 1000);
	ts->tv_nsec = (long)(now % 1000 * 1000000);
	return 0;
}

time_t time(time_t *ret_time)
{
	time_t now = (time_t)(CLOCK_START + ticks / 1000);

	if (ret_time)
		*ret_time = now;
	return now;
}

ssize_t getrandom(void *buf, size_t len, unsigned int flags)
{
	uint8_t *bytes = buf;

	(void)flags;
	for (size_t k = 0; k < len; k++) {
		uint64_t z = numbers++ * 0xbf58476d1ce4e5b9ULL;

		bytes[k] = (uint8_t)((z ^ (z >> 29)) >> 16);
	}
	return (ssize_t)len;
}
