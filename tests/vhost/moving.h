/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest that moves: the log of the memory that the back end writes. */
#ifndef TESTS_VHOST_MOVING_H
#define TESTS_VHOST_MOVING_H

#include <stdbool.h>
#include <stdint.h>

/* A copy made by the log while requests run is the memory in the end. @by_gpa: GPA_ADDRESSES. */
void moving_log(const char *socket, uint64_t seed, bool by_gpa);

#endif
