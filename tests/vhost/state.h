/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest that moves: its session's state (DEVICE_STATE). */
#ifndef TESTS_VHOST_STATE_H
#define TESTS_VHOST_STATE_H

struct front;

/* From rings that are stopped, to rings that were not started. */
void state_move(struct front *from, struct front *to);

/*
 * To another connection of the same daemon, with a deleted file open and a lock held; and every
 * damage of the state is refused. @other: the socket of a daemon of another image.
 */
void move_state(const char *socket, const char *other);
/* The state is left in @path, or taken from there by a guest that begins with it. */
void save_state(const char *socket, const char *path);
void load_state(const char *socket, const char *path);

#endif
