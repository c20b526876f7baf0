/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/vhost/share.h"

#include <stdlib.h>
#include <string.h>

#include "tests/vhost/front.h"
#include "tests/vhost/mapped.h"
#include "tests/vhost/storm.h"

static void run_mapped(const char *socket, const char *dir)
{
	struct front f;

	front_connect(&f, socket);
	front_setup(&f, false);
	fuse_init(&f);
	mapped(&f, dir);
	front_close(&f);
}

bool share_command(const char *socket, const char *command, int argc, char **argv)
{
	if (!strcmp(command, "mapped") && argc == 4)
		run_mapped(socket, argv[3]);
	else if (!strcmp(command, "storm") && (argc == 4 || argc == 5))
		storm(socket, argc == 5 ? argv[4] : "", (uint32_t)strtoul(argv[3], NULL, 10));
	else
		return false;
	return true;
}
