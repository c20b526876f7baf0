/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A daemon that is killed with requests in flight, again and again, and the next one that serves
 * what was not answered.
 */
#ifndef TESTS_VHOST_TAKEOVER_H
#define TESTS_VHOST_TAKEOVER_H

#include <stdint.h>

/*
 * @command prints the pid of the daemon it starts at @socket, which makes a change of names
 * durable before it answers. After each of @kills the daemon is one that @command started.
 */
void takeover(const char *socket, const char *command, uint64_t seed, unsigned kills);

#endif
