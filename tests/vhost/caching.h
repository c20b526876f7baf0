/* SPDX-License-Identifier: GPL-2.0-only */
/* What a guest is told that it may keep. */
#ifndef TESTS_VHOST_CACHING_H
#define TESTS_VHOST_CACHING_H

/* Prints one line: time-outs, flags of opens, writeback. */
void caching(const char *socket);

#endif
