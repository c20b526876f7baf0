/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The third way of recovery: the kernel's ext4 mounts the image from a loop device,
 * replays it, shows the tree, unmounts. Needs root, a loop device and ext4.
 */
#ifndef TESTS_CRASH_KERNEL_H
#define TESTS_CRASH_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

struct view;
struct view_builder;

/*
 * Makes mounts of this process its own and a folder for them. False: the reason why the
 * kernel cannot be asked is in @why.
 */
bool kernel_begin(const char *dir, char *why, size_t why_size);
void kernel_end(void);
/* NULL with a text in @why. The file of @fd is changed. */
struct view *kernel_recover(int fd, struct view_builder *b, char *why, size_t why_size);

#endif
