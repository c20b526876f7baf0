/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's table of mounts, /proc/PID/mountinfo, line by line with its escapes undone. */
#ifndef KFS_BASE_MOUNTINFO_H
#define KFS_BASE_MOUNTINFO_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/util.h"

struct mountinfo {
	unsigned int major, minor;
	const char *root, *mountpoint;	     /* absolute */
	const char *type, *source, *options; /* the options are the filesystem's */
	bool readonly;			     /* the filesystem, not this mount of it */
};

/* Not 0: stop, and return it. The strings live during the call only. */
typedef int (*mountinfo_fn)(void *arg, const struct mountinfo *line);
/* Oldest mount first. Lines that do not parse are passed over. -errno when it cannot be read. */
MUST_USE int mountinfo_each(mountinfo_fn fn, void *arg);
/* One line of the table, which is changed. False when it does not parse. */
bool mountinfo_parse(char *line, struct mountinfo *ret_info);

/* What is mounted on top at @mountpoint (as realpath() names it). -ENOENT: nothing. */
struct mountinfo_top {
	unsigned int major, minor;
	char type[64], source[256]; /* cut where longer: for people */
};
MUST_USE int mountinfo_find(const char *mountpoint, struct mountinfo_top *ret_top);

#endif
