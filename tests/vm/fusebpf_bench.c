/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions an operation takes with the test's server and program. Meant for "vm.sh --icount", where a nanosecond of
 * the guest's clock is an instruction of either processor; elsewhere the numbers are plain time. Paths have two names,
 * relative to the root of the mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/vm/fuse_server.h"

#define DIR_A "/mnt/bench"
#define DIRS 2
#define FILES 500
#define NAMES (DIRS * FILES)

static struct server server;
static char paths[NAMES][32];
static char absent[NAMES][32];

static _Noreturn void die(const char *what, int error)
{
	fprintf(stderr, "fusebpf_bench: %s: %d\n", what, error);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t upcalls(void)
{
	return server_requests(&server, FUSE_LOOKUP) + server_requests(&server, FUSE_GETATTR);
}

static void stat_names(char (*names)[32], unsigned count, int want)
{
	struct stat st;

	for (unsigned i = 0; i < count; i++) {
		if ((stat(names[i % NAMES], &st) ? errno : 0) != want)
			die(names[i % NAMES], errno);
	}
}

static void row(const char *what, char (*names)[32], unsigned count, int want)
{
	uint64_t requests = upcalls();
	uint64_t start = now();

	stat_names(names, count, want);
	printf("%-44s %8.2fk  %6.2f requests\n", what, (double)(now() - start) / count / 1000,
	       (double)(upcalls() - requests) / count);
	fflush(stdout);
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (fd < 0 || write(fd, "2", 1) != 1)
		die("drop_caches", errno);
	close(fd);
}

static void begin(uint64_t timeout, bool attached)
{
	struct server_options options = { .dir = DIR_A, .dirs = DIRS, .files_each = FILES };
	int ret = server_start(&server, &options);

	if (ret)
		die("mount", ret);
	server.shared->entry_valid = timeout;
	server.shared->attr_valid = timeout;
	ret = attached ? server_command(&server, SERVER_ATTACH, 0) : 0;
	if (ret)
		die("attach", ret);
	if (chdir(DIR_A))
		die(DIR_A, errno);
}

static void end(void)
{
	if (chdir("/"))
		die("/", errno);
	server_stop(&server);
}

int main(void)
{
	static const char *const who[] = { "server", "BPF" };
	char what[64];

	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(paths[i], sizeof(paths[i]), "d%u/f%u", i % DIRS, i / DIRS);
		snprintf(absent[i], sizeof(absent[i]), "d%u/none%u", i % DIRS, i / DIRS);
	}
	for (unsigned attached = 0; attached < 2; attached++) {
		begin(0, attached);
		stat_names(paths, 200, 0);
		stat_names(absent, 200, ENOENT);
		snprintf(what, sizeof(what), "stat, timeout 0: %s", who[attached]);
		row(what, paths, 200, 0);
		snprintf(what, sizeof(what), "ENOENT, timeout 0: %s", who[attached]);
		row(what, absent, 200, ENOENT);
		end();
		begin(3600, attached);
		/* What the server has answered once is in the tables; then everything is forgotten. */
		stat_names(absent, NAMES, ENOENT);
		drop_caches();
		stat_names(paths, DIRS, 0);
		snprintf(what, sizeof(what), "first stat, timeout 1 h: %s", who[attached]);
		row(what, paths + DIRS, NAMES - DIRS, 0);
		snprintf(what, sizeof(what), "first ENOENT, timeout 1 h: %s", who[attached]);
		row(what, absent, NAMES, ENOENT);
		snprintf(what, sizeof(what), "stat, dcache hit: %s", who[attached]);
		row(what, paths, NAMES, 0);
		snprintf(what, sizeof(what), "ENOENT, dcache hit: %s", who[attached]);
		row(what, absent, NAMES, ENOENT);
		end();
	}
	return 0;
}
