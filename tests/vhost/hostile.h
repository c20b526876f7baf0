/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TESTS_VHOST_HOSTILE_H
#define TESTS_VHOST_HOSTILE_H

#include <stdint.h>

/*
 * @cases attacks drawn from @seed, connecting again as often as needed: on messages, rings and
 * FUSE requests. Nothing is expected of the back end but that it goes on: after every few
 * attacks an honest guest must be served.
 */
void hostile(const char *socket, uint64_t seed, uint64_t cases);

#endif
