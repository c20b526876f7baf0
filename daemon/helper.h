/* SPDX-License-Identifier: GPL-2.0-only */
/* What kfs is under its other names: mount(8)'s and umount(8)'s helpers. */
#ifndef KFS_DAEMON_HELPER_H
#define KFS_DAEMON_HELPER_H

#include "daemon/base/util.h"

/* umount.fuse.kfs: unmounts and returns when the daemon has closed the image. An exit status. */
int umount_helper_main(int argc, char **argv);
/* "-N": the mount namespace of a process id, or of a file. Called before any thread is started. */
MUST_USE int helper_enter_namespace(const char *word);

#endif
