/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest that takes all it can get. */
#ifndef TESTS_VHOST_LIMITS_H
#define TESTS_VHOST_LIMITS_H

#include <stdint.h>

/*
 * Knows @nodes inodes and holds @locks locks, and no more; writes 1000 bytes and reads 500; then has a lock wait. Prints
 * "waiting", and when that lock has ended, how.
 */
void limits(const char *socket, uint32_t nodes, uint32_t locks);
/* Begins anew @times times, as a guest can; then as many connections, as a front end can. */
void flood(const char *socket, uint32_t times);

#endif
