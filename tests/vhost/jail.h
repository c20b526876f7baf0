/* SPDX-License-Identifier: GPL-2.0-only */
/* A share of one directory, and who would leave it. */
#ifndef TESTS_VHOST_JAIL_H
#define TESTS_VHOST_JAIL_H

#include <stdint.h>

/*
 * @inos with @generations are what really exists outside. Inside are "in" (a directory with "deep" in it) and "file". Leaves
 * a directory "made".
 */
void jail(const char *socket, uint32_t root_ino, const uint32_t *inos, const uint32_t *generations,
	  unsigned count);

#endif
