/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's side of BPF answers, without kfs: a small server with a small program, and what a user of the mount sees.
 * Runs as root in the guest, with the module loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/test.h"
#include "tests/vm/fuse_server.h"

#ifndef FUSE_SYNCFS
#define FUSE_SYNCFS 50
#endif
#define OP_STATX 52

#define DIR_A "/mnt/a"
#define DIR_B "/mnt/b"
#define FILES 10
/* The guest is slow, and may share its processor with anything. */
#define TEST_SECONDS 900

static struct server server;

static void start_with(const struct server_options *options)
{
	alarm(TEST_SECONDS);
	CHECK_OK(server_start(&server, options));
}

static void start_attached(void)
{
	start_with(&(struct server_options){ .dir = DIR_A });
	CHECK_OK(server_command(&server, SERVER_ATTACH, 0));
	server_reset_counts(&server);
}

static int stat_file(const char *dir, unsigned d, unsigned f, struct stat *st)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/d%u/f%u", dir, d, f);
	return stat(path, st) ? -errno : 0;
}

static void stat_all(void)
{
	struct stat st;

	for (unsigned d = 0; d < 2; d++) {
		for (unsigned f = 0; f < FILES; f++) {
			CHECK_OK(stat_file(DIR_A, d, f, &st));
			CHECK_EQ(st.st_size, 1000 + f);
		}
	}
}

static uint64_t upcalls(void)
{
	return server_requests(&server, FUSE_LOOKUP) + server_requests(&server, FUSE_GETATTR) +
	       server_requests(&server, FUSE_GETXATTR) + server_requests(&server, OP_STATX);
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	CHECK_GE(fd, 0);
	CHECK_EQ(write(fd, "2", 1), 1);
	close(fd);
}

/* Waits until what the condition reads is there; forgets, for instance, have nobody waiting for them. */
#define WAIT_FOR(condition)                                                                        \
	do {                                                                                       \
		for (unsigned tries = 0; !(condition) && tries < 60000; tries++)                   \
			usleep(1000);                                                              \
		CHECK(condition);                                                                  \
	} while (0)

TEST(test_stat__is_answered_without_a_request)
{
	struct probe_stats stats;

	start_attached();
	stat_all();
	stat_all();
	CHECK_EQ(upcalls(), 0);
	stats = server_stats(&server);
	CHECK_GE(stats.lookup_hit, 4 * FILES);
	CHECK_GE(stats.getattr_hit, 4 * FILES);
	CHECK_EQ(stats.torn, 0);
	server_stop(&server);
}

TEST(test_stat__is_answered_in_rcu_walk)
{
	struct probe_stats before, after;

	start_attached();
	stat_all();
	before = server_stats(&server);
	stat_all();
	after = server_stats(&server);
	/* Each path: two names, and three permission checks of directories at the most; all without leaving RCU. */
	CHECK_EQ(after.lookup_hit - before.lookup_hit, 2 * 2 * FILES);
	CHECK_EQ(after.lookup_rcu - before.lookup_rcu, 2 * 2 * FILES);
	CHECK_GT(after.getattr_rcu - before.getattr_rcu, 0);
	CHECK_EQ(upcalls(), 0);
	server_stop(&server);
}

TEST(test_absent_name__is_answered_without_a_request)
{
	struct probe_stats before, after;
	struct stat st;

	start_attached();
	CHECK_ERR(stat_file(DIR_A, 0, 999, &st), -ENOENT);
	CHECK_EQ(server_requests(&server, FUSE_LOOKUP), 1);
	server_reset_counts(&server);
	before = server_stats(&server);
	for (int i = 0; i < 20; i++)
		CHECK_ERR(stat_file(DIR_A, 0, 999, &st), -ENOENT);
	after = server_stats(&server);
	CHECK_EQ(upcalls(), 0);
	CHECK_GE(after.lookup_negative - before.lookup_negative, 20);
	CHECK_GE(after.lookup_rcu - before.lookup_rcu, 20);
	server_stop(&server);
}

TEST(test_forget__gives_back_what_replies_handed_out)
{
	start_attached();
	stat_all();
	drop_caches();
	CHECK_EQ(server.shared->lookups, 0);
	/* Nothing was handed out, so nothing may come back: what has been dropped is asked for again, by a request. */
	CHECK_OK(server_command(&server, SERVER_DETACH, 0));
	stat_all();
	CHECK_GE(server.shared->lookups, 2 * FILES + 2);
	CHECK_EQ(server.shared->lookups, server_requests(&server, FUSE_LOOKUP));
	CHECK_EQ(server.shared->forgotten, 0);
	drop_caches();
	WAIT_FOR(server.shared->forgotten == server.shared->lookups);
	CHECK(!server.shared->forget_underflow);
	server_stop(&server);
}
