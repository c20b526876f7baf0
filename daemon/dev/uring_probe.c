/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/dev/uring_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARAMETER "/sys/module/fuse/parameters/enable_uring"
#define CPUS_POSSIBLE "/sys/devices/system/cpu/possible"
#define CPUS_MAX 8192u

/* A number and what follows it; false when there is none in range. */
static bool take_number(const char **text, unsigned *ret_number)
{
	char *end;
	unsigned long number;

	if (**text < '0' || **text > '9')
		return false;
	number = strtoul(*text, &end, 10);
	*text = end;
	*ret_number = (unsigned)number;
	return number < CPUS_MAX;
}

unsigned uring_count_cpus(const char *list)
{
	unsigned count = 0, first, last;

	for (;;) {
		if (!take_number(&list, &first))
			return 0;
		last = first;
		if (*list == '-' && (list++, !take_number(&list, &last)))
			return 0;
		/* The kernel takes a processor's number as a queue's: gaps cannot be served. */
		if (first != count || last < first)
			return 0;
		count = last + 1;
		if (*list != ',')
			break;
		list++;
	}
	return *list == '\n' || !*list ? count : 0;
}

static ssize_t read_text(const char *path, char *text, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);

	if (got < 0)
		return -errno;
	text[got] = 0;
	return got;
}

int uring_check_kernel(unsigned *ret_cpus, char *why, size_t why_len)
{
	char text[256];

	if (read_text(PARAMETER, text, sizeof(text)) < 0) {
		(void)snprintf(why, why_len,
			       "the kernel has no FUSE over io_uring: Linux 6.14 "
			       "with CONFIG_FUSE_IO_URING is needed");
		return -EOPNOTSUPP;
	}
	if (*text != 'Y') {
		(void)snprintf(why, why_len, "the kernel has it switched off: echo Y > " PARAMETER);
		return -EOPNOTSUPP;
	}
	if (read_text(CPUS_POSSIBLE, text, sizeof(text)) > 0)
		*ret_cpus = uring_count_cpus(text);
	else
		*ret_cpus = 0;
	if (*ret_cpus && *ret_cpus <= CPU_SETSIZE)
		return 0;
	(void)snprintf(why, why_len, CPUS_POSSIBLE ": cannot tell how many processors there are");
	return -EOPNOTSUPP;
}

int uring_check_processors(unsigned queues, cpu_set_t *ret_allowed, char *why, size_t why_len)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t all;
	int reached = 0;

	if (sched_getaffinity(0, sizeof(*ret_allowed), ret_allowed))
		return -errno;
	CPU_ZERO(&all);
	for (unsigned i = 0; i < queues; i++)
		CPU_SET(i, &all);
	if (!sched_setaffinity(0, sizeof(all), &all) && !sched_getaffinity(0, sizeof(all), &all))
		reached = CPU_COUNT(&all);
	(void)sched_setaffinity(0, sizeof(*ret_allowed), ret_allowed); /* as it was */
	if (reached >= online)
		return 0;
	(void)snprintf(
		why, why_len,
		"io_uring: kfs may run on %d of %ld processors (cpuset), and the queues of the "
		"others need it there",
		reached, online);
	return -EOPNOTSUPP;
}
