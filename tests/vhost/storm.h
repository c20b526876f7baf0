/* SPDX-License-Identifier: GPL-2.0-only */
/* Two guests and the host at one file and one directory, all at once. */
#ifndef TESTS_VHOST_STORM_H
#define TESTS_VHOST_STORM_H

#include <stdint.h>

/* @dir is the host's mount of what guests at @socket share; empty: there is none, and two guests storm. */
void storm(const char *socket, const char *dir, uint32_t rounds);

#endif
