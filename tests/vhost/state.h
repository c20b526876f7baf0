/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest that moves: its session's state (DEVICE_STATE). */
#ifndef TESTS_VHOST_STATE_H
#define TESTS_VHOST_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct front;

#define STATE_MAX 65536u

struct state {
	uint8_t bytes[STATE_MAX];
	size_t len;
};

/* SET_DEVICE_STATE_FD, and @fd is closed here. False: it was refused. */
bool state_begin(struct front *f, uint32_t direction, int fd);
/* CHECK_DEVICE_STATE's answer; 0: it was moved. */
int state_check(struct front *f);
/* Of rings that are stopped. */
void state_save(struct front *f, struct state *s);
/* From rings that are stopped, to rings that were not started. */
void state_move(struct front *from, struct front *to);

/*
 * To another connection of the same daemon, with a deleted file open and a lock held; and every
 * damage of the state is refused. @other: the socket of a daemon of another image.
 */
void move_state(const char *socket, const char *other);
/*
 * It takes its image along to the daemon at @there, and back; and each way of not getting there. @script: a command that
 * is told what the image has to be.
 */
void hand_over(const char *socket, const char *there, const char *script);
/* The daemon at @there is not the one: it comes back, and goes on. */
void hand_over_elsewhere(const char *socket, const char *there);
/* It cannot, for others use the image; and goes on. */
void stay_with_image(const char *socket);
/* The state is left in @path, or taken from there by a guest that begins with it. */
void save_state(const char *socket, const char *path);
void load_state(const char *socket, const char *path);

#endif
