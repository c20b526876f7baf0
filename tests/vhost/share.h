/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands of vfe about a share that others use, too: the host's mount, other guests. */
#ifndef TESTS_VHOST_SHARE_H
#define TESTS_VHOST_SHARE_H

#include <stdbool.h>

/* False: @command is none of these. */
bool share_command(const char *socket, const char *command, int argc, char **argv);

#endif
