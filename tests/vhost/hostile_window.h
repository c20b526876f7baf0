/* SPDX-License-Identifier: GPL-2.0-only */
/* A hostile guest with a window beside it. */
#ifndef TESTS_VHOST_HOSTILE_WINDOW_H
#define TESTS_VHOST_HOSTILE_WINDOW_H

#include "tests/vhost/hostile.h"
#include "tests/vhost/shm.h"

struct window {
	struct shm shm;
};

/* A connection anew, with a window whose front end does what it is asked, and a session that has it. */
void window_open(struct hostile *h, struct window *w);
void window_close(struct hostile *h, struct window *w);

#endif
