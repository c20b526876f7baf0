/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/vhost/share.h"

#include <stdlib.h>
#include <string.h>

#include "tests/vhost/caching.h"
#include "tests/vhost/front.h"
#include "tests/vhost/jail.h"
#include "tests/vhost/limits.h"
#include "tests/vhost/mapped.h"
#include "tests/vhost/owners.h"
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

#define OUTSIDE_MAX 16

static void run_jail(const char *socket, int count, char **numbers)
{
	uint32_t number[1 + 2 * OUTSIDE_MAX] = { 0 };
	uint32_t inos[OUTSIDE_MAX], generations[OUTSIDE_MAX];

	if (count < 1 || count > 1 + 2 * OUTSIDE_MAX || count % 2 == 0)
		front_die("usage: vfe SOCKET jail ROOT_INO [INO GENERATION]...");
	for (int i = 0; i < count; i++)
		number[i] = (uint32_t)strtoul(numbers[i], NULL, 10);
	for (int i = 0; i < count / 2; i++) {
		inos[i] = number[1 + 2 * i];
		generations[i] = number[2 + 2 * i];
	}
	jail(socket, number[0], inos, generations, (unsigned)count / 2);
}

bool share_command(const char *socket, const char *command, int argc, char **argv)
{
	if (!strcmp(command, "mapped") && argc == 4)
		run_mapped(socket, argv[3]);
	else if (!strcmp(command, "storm") && (argc == 4 || argc == 5))
		storm(socket, argc == 5 ? argv[4] : "", (uint32_t)strtoul(argv[3], NULL, 10));
	else if (!strcmp(command, "jail"))
		run_jail(socket, argc - 3, argv + 3);
	else if (!strcmp(command, "owners") && argc == 4)
		owners(socket, argv[3]);
	else if (!strcmp(command, "privileges") && argc == 4)
		privileges(socket, argv[3]);
	else if (!strcmp(command, "flocks") && argc == 4)
		flocks(socket, argv[3]);
	else if (!strcmp(command, "no-xattrs") && argc == 3)
		no_xattrs(socket);
	else if (!strcmp(command, "durable") && argc == 3)
		durable(socket);
	else if (!strcmp(command, "limits") && argc == 5)
		limits(socket, (uint32_t)strtoul(argv[3], NULL, 10),
		       (uint32_t)strtoul(argv[4], NULL, 10));
	else if (!strcmp(command, "flood") && argc == 4)
		flood(socket, (uint32_t)strtoul(argv[3], NULL, 10));
	else if (!strcmp(command, "caching") && argc == 3)
		caching(socket);
	else
		return false;
	return true;
}
