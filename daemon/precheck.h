/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looking before leaping: the mount point is fit to mount on, and why an image could not be
 * opened, in words. Nothing is written anywhere.
 */
#ifndef KFS_DAEMON_PRECHECK_H
#define KFS_DAEMON_PRECHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/util.h"

/* Negative errno with @why filled: "PATH: why: remedy". */
MUST_USE int precheck_mountpoint(const char *path, bool nonempty, char *why, size_t why_len);
/*
 * umount(8) returns before the kernel has let go of the loop device of the mount. True when
 * none stands on @image, waiting a moment for one that is not mounted and marked to go with
 * its last user: opening the image may be tried again.
 */
MUST_USE bool precheck_wait_for_loop(const char *image);
/* The words for bdev_open_file()'s @error, holder and place included where they can be found. */
void precheck_image_error(const char *image, int error, bool readonly, char *why, size_t why_len);

#endif
