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
#include <sys/mman.h>
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
static _Atomic bool stop_load;
static _Atomic uint64_t rounds;

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

static int open_file(const char *dir, unsigned d, unsigned f, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/d%u/f%u", dir, d, f);
	return open(path, flags | O_CLOEXEC);
}

TEST(test_timeouts__are_stored_once_and_then_kept)
{
	struct probe_stats before, after;
	struct stat st;

	start_with(&(struct server_options){ .dir = DIR_A });
	server.shared->entry_valid = 3600;
	server.shared->attr_valid = 3600;
	CHECK_OK(server_command(&server, SERVER_ATTACH, 0));
	stat_all();
	CHECK_OK(stat_file(DIR_A, 0, 0, &st));
	before = server_stats(&server);
	for (int i = 0; i < 10; i++)
		CHECK_OK(stat_file(DIR_A, 0, 0, &st));
	after = server_stats(&server);
	CHECK_EQ(after.lookup_hit, before.lookup_hit);
	CHECK_EQ(after.getattr_hit, before.getattr_hit);
	server_stop(&server);
}

TEST(test_changes__are_seen_at_once)
{
	struct stat st;

	start_attached();
	CHECK_OK(stat_file(DIR_A, 0, 1, &st));
	CHECK_EQ(chmod(DIR_A "/d0/f1", 0600), 0);
	CHECK_OK(stat_file(DIR_A, 0, 1, &st));
	CHECK_EQ(st.st_mode & 07777, 0600);
	CHECK_EQ(truncate(DIR_A "/d0/f1", 77), 0);
	CHECK_OK(stat_file(DIR_A, 0, 1, &st));
	CHECK_EQ(st.st_size, 77);
	CHECK_EQ(link(DIR_A "/d0/f1", DIR_A "/d1/other"), 0);
	CHECK_OK(stat_file(DIR_A, 0, 1, &st));
	CHECK_EQ(st.st_nlink, 2);
	CHECK_EQ(chmod(DIR_A "/d1/other", 0640), 0);
	CHECK_OK(stat_file(DIR_A, 0, 1, &st));
	CHECK_EQ(st.st_mode & 07777, 0640);
	CHECK_EQ(rename(DIR_A "/d0/f1", DIR_A "/d0/renamed"), 0);
	CHECK_ERR(stat_file(DIR_A, 0, 1, &st), -ENOENT);
	CHECK_EQ(stat(DIR_A "/d0/renamed", &st), 0);
	CHECK_EQ(mknod(DIR_A "/d0/f1", S_IFREG | 0600, 0), 0);
	CHECK_OK(stat_file(DIR_A, 0, 1, &st));
	CHECK_EQ(st.st_size, 0);
	CHECK_EQ(unlink(DIR_A "/d0/f1"), 0);
	CHECK_ERR(stat_file(DIR_A, 0, 1, &st), -ENOENT);
	CHECK(!server.shared->stale);
	server_stop(&server);
}

TEST(test_names__up_to_255_bytes)
{
	char path[512], name[256];
	struct stat st;

	start_attached();
	for (size_t len = 1; len <= 255; len += len < 60 ? 1 : 39) {
		memset(name, 'n', len);
		name[len] = '\0';
		snprintf(path, sizeof(path), DIR_A "/d0/%s", name);
		CHECK_EQ(mknod(path, S_IFREG | 0644, 0), 0);
	}
	drop_caches();
	server_reset_counts(&server);
	for (int round = 0; round < 2; round++) {
		for (size_t len = 1; len <= 255; len += len < 60 ? 1 : 39) {
			memset(name, 'n', len);
			name[len] = '\0';
			snprintf(path, sizeof(path), DIR_A "/d0/%s", name);
			CHECK_EQ(stat(path, &st), 0);
		}
	}
	CHECK_EQ(upcalls(), 0);
	server_stop(&server);
}

TEST(test_unlink_while_open__keeps_the_file)
{
	struct stat st;
	int fd, dir;

	start_attached();
	/* Known through the program only: nothing was looked up by a request. */
	fd = open_file(DIR_A, 0, 2, O_RDONLY);
	CHECK_GE(fd, 0);
	CHECK_EQ(server_requests(&server, FUSE_LOOKUP), 0);
	CHECK_EQ(unlink(DIR_A "/d0/f2"), 0);
	CHECK_EQ(server_requests(&server, FUSE_LOOKUP), 1);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_nlink, 0);
	close(fd);
	/* A target of rename is a victim as well, a directory too. */
	fd = open_file(DIR_A, 0, 3, O_RDONLY);
	CHECK_GE(fd, 0);
	CHECK_EQ(rename(DIR_A "/d0/f4", DIR_A "/d0/f3"), 0);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_nlink, 0);
	close(fd);
	CHECK_EQ(mkdir(DIR_A "/empty", 0755), 0);
	drop_caches();
	WAIT_FOR(server.shared->forgotten == server.shared->lookups);
	dir = open(DIR_A "/empty", O_RDONLY | O_DIRECTORY);
	CHECK_GE(dir, 0);
	CHECK_EQ(rmdir(DIR_A "/empty"), 0);
	CHECK_EQ(fstat(dir, &st), 0);
	close(dir);
	drop_caches();
	WAIT_FOR(server.shared->forgotten == server.shared->lookups);
	CHECK(!server.shared->forget_underflow);
	CHECK(!server.shared->stale);
	server_stop(&server);
}

TEST(test_server_killed__gives_no_more_answers)
{
	struct stat st;

	start_attached();
	stat_all();
	/* Pinned, the link outlives the server; what it would say must not count any more. */
	CHECK_OK(server_command(&server, SERVER_PIN, 0));
	server_kill(&server);
	CHECK_ERR(stat_file(DIR_A, 0, 0, &st), -ENOTCONN);
	CHECK_ERR(stat_file(DIR_A, 0, 999, &st), -ENOTCONN);
	CHECK_EQ(umount2(DIR_A, 0), 0);
	/* Unmounting has detached the program, and taken the reference on the module back. */
	CHECK_EQ(unlink("/sys/fs/bpf/probe"), 0);
}

TEST(test_two_mounts__keep_apart)
{
	struct server other;
	struct stat a, b;

	start_attached();
	CHECK_OK(server_start(
		&other, &(struct server_options){ .dir = DIR_B, .uid = 7, .files_each = 20 }));
	CHECK_OK(stat_file(DIR_B, 0, 0, &b));
	CHECK_GT(server_requests(&other, FUSE_LOOKUP), 0);
	CHECK_OK(server_command(&other, SERVER_ATTACH, 0));
	CHECK_OK(stat_file(DIR_A, 0, 0, &a));
	CHECK_OK(stat_file(DIR_B, 0, 0, &b));
	CHECK_EQ(a.st_uid, 0);
	CHECK_EQ(b.st_uid, 7);
	CHECK_ERR(stat_file(DIR_A, 0, 15, &a), -ENOENT);
	CHECK_OK(stat_file(DIR_B, 0, 15, &b));
	CHECK_OK(server_command(&server, SERVER_DETACH, 0));
	server_reset_counts(&other);
	CHECK_OK(stat_file(DIR_B, 0, 3, &b));
	CHECK_EQ(server_requests(&other, FUSE_LOOKUP), 0);
	server_stop(&other);
	server_stop(&server);
}

TEST(test_attach__is_refused_without_default_permissions)
{
	start_with(&(struct server_options){ .dir = DIR_A, .mount_options = "allow_other" });
	CHECK_ERR(server_command(&server, SERVER_ATTACH, 0), -EPERM);
	server_stop(&server);
}

TEST(test_attach__is_refused_before_init_twice_and_elsewhere)
{
	start_with(&(struct server_options){ .dir = DIR_A, .hold_init = true });
	CHECK_ERR(server_command(&server, SERVER_ATTACH, 0), -EAGAIN);
	CHECK_OK(server_command(&server, SERVER_INIT, 0));
	/* Standard input is no device of this kind, 1000 is nothing. */
	CHECK_OK(server_command(&server, SERVER_DEV_FD, 0));
	CHECK_ERR(server_command(&server, SERVER_ATTACH, 0), -EINVAL);
	CHECK_OK(server_command(&server, SERVER_DEV_FD, 1000));
	CHECK_ERR(server_command(&server, SERVER_ATTACH, 0), -EBADF);
	CHECK_OK(server_command(&server, SERVER_DEV_FD, -1));
	CHECK_OK(server_command(&server, SERVER_ATTACH, 0));
	CHECK_ERR(server_command(&server, SERVER_ATTACH_SECOND, 0), -EBUSY);
	server_stop(&server);
}

TEST(test_trusted__sends_syncfs_and_waits_for_destroy)
{
	int fd;

	start_attached();
	fd = open(DIR_A, O_RDONLY | O_DIRECTORY);
	CHECK_GE(fd, 0);
	CHECK_EQ(syncfs(fd), 0);
	CHECK_EQ(server_requests(&server, FUSE_SYNCFS), 1);
	close(fd);
	server.shared->destroy_delay_ms = 300;
	CHECK_EQ(umount2(DIR_A, 0), 0);
	CHECK(server.shared->destroyed);
	server_stop(&server);
}

TEST(test_untrusted__is_kept_as_it_was)
{
	int fd;

	start_with(&(struct server_options){ .dir = DIR_A,
					     .mount_options = "default_permissions,allow_other" });
	fd = open(DIR_A, O_RDONLY | O_DIRECTORY);
	CHECK_GE(fd, 0);
	CHECK_EQ(syncfs(fd), 0);
	CHECK_EQ(server_requests(&server, FUSE_SYNCFS), 0);
	close(fd);
	server_stop(&server);
	CHECK(!server.shared->destroyed);
}

TEST(test_absent_xattr__is_answered_without_a_request)
{
	char value[64];
	int fd;

	start_attached();
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(getxattr(DIR_A "/d0/f5", "security.capability", value, sizeof(value)), -1);
		CHECK_EQ(errno, ENODATA);
		CHECK_EQ(getxattr(DIR_A "/d0/f5", "system.posix_acl_access", value, sizeof(value)),
			 -1);
		CHECK_EQ(errno, ENODATA);
	}
	CHECK_EQ(server_requests(&server, FUSE_GETXATTR), 0);
	/* Each write(2) asks for the capability. */
	fd = open_file(DIR_A, 0, 5, O_WRONLY);
	CHECK_GE(fd, 0);
	CHECK_EQ(write(fd, "x", 1), 1);
	CHECK_EQ(server_requests(&server, FUSE_GETXATTR), 0);
	CHECK_EQ(getxattr(DIR_A "/d0/f5", "user.other", value, sizeof(value)), -1);
	CHECK_EQ(server_requests(&server, FUSE_GETXATTR), 1);
	close(fd);
	server_stop(&server);
}

TEST(test_statx__gives_birth_time)
{
	struct statx with, without;

	start_attached();
	CHECK_EQ(statx(AT_FDCWD, DIR_A "/d0/f6", 0, STATX_BASIC_STATS | STATX_BTIME, &with), 0);
	CHECK(with.stx_mask & STATX_BTIME);
	CHECK_EQ(upcalls(), 0);
	CHECK_OK(server_command(&server, SERVER_DETACH, 0));
	CHECK_EQ(statx(AT_FDCWD, DIR_A "/d0/f6", 0, STATX_BASIC_STATS | STATX_BTIME, &without), 0);
	CHECK_EQ(server_requests(&server, OP_STATX), 1);
	CHECK_EQ(with.stx_btime.tv_sec, without.stx_btime.tv_sec);
	CHECK_EQ(with.stx_size, without.stx_size);
	CHECK_EQ(with.stx_mode, without.stx_mode);
	server_stop(&server);
}

static int as_other_user(int (*what)(const char *path), const char *path)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (setgid(1000) || setuid(1000))
			_exit(255);
		_exit(what(path) ? errno : 0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int try_read(const char *path)
{
	return access(path, R_OK);
}

TEST(test_permissions__are_those_of_this_moment)
{
	start_attached();
	CHECK_EQ(as_other_user(try_read, DIR_A "/d0/f7"), 0);
	CHECK_EQ(chmod(DIR_A "/d0/f7", 0600), 0);
	CHECK_EQ(as_other_user(try_read, DIR_A "/d0/f7"), EACCES);
	CHECK_EQ(chmod(DIR_A "/d0/f7", 0604), 0);
	CHECK_EQ(as_other_user(try_read, DIR_A "/d0/f7"), 0);
	CHECK_EQ(chmod(DIR_A "/d0", 0700), 0);
	CHECK_EQ(as_other_user(try_read, DIR_A "/d0/f7"), EACCES);
	CHECK_EQ(chown(DIR_A "/d0", 1000, 0), 0);
	CHECK_EQ(as_other_user(try_read, DIR_A "/d0/f7"), 0);
	server_stop(&server);
}

/* ---- extents ------------------------------------------------------------------------------------------------------- */

#define IMAGE "/tmp/image"

static void start_with_image(bool direct_io)
{
	start_with(
		&(struct server_options){ .dir = DIR_A, .image = IMAGE, .direct_io = direct_io });
	CHECK_OK(server_command(&server, SERVER_ATTACH, 0));
	server_reset_counts(&server);
}

static void check_bytes(const char *data, uint64_t ino, uint64_t pos, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] != server_byte(ino, pos + i, true))
			FAIL("byte %llu of inode %llu", (unsigned long long)(pos + i),
			     (unsigned long long)ino);
	}
}

static void check_file(unsigned d, unsigned f, int flags, size_t step)
{
	char *data = aligned_alloc(4096, 1 << 20);
	int fd = open_file(DIR_A, d, f, O_RDONLY | flags);
	struct stat st;
	off_t pos = 0;
	ssize_t got;

	CHECK(data != NULL);
	CHECK_GE(fd, 0);
	CHECK_EQ(fstat(fd, &st), 0);
	while ((got = pread(fd, data, step, pos)) > 0) {
		check_bytes(data, st.st_ino, (uint64_t)pos, (size_t)got);
		pos += got;
	}
	CHECK_EQ(got, 0);
	CHECK_EQ(pos, st.st_size);
	close(fd);
	free(data);
}

TEST(test_direct_read__comes_from_the_image)
{
	char data[4096];
	int fd;

	start_with_image(true);
	fd = open_file(DIR_A, 0, 0, O_RDONLY);
	CHECK_GE(fd, 0);
	for (off_t pos = 0; pos < 2 * SERVER_EXTENT; pos += 8192)
		CHECK_EQ(pread(fd, data, sizeof(data), pos), sizeof(data));
	CHECK_EQ(server_requests(&server, FUSE_READ), 0);
	close(fd);
	check_file(0, 1, 0, 4096);
	check_file(0, 2, 0, 10000);
	check_file(0, 3, O_DIRECT, 4096);
	check_file(0, 4, 0, 1 << 20);
	CHECK_GT(server_requests(&server, FUSE_READ), 0);
	server_stop(&server);
}

TEST(test_cached_read__comes_from_the_image)
{
	struct stat st;
	char *map;
	int fd;

	start_with_image(false);
	check_file(0, 0, 0, 4096);
	check_file(0, 1, 0, 1 << 20);
	check_file(0, 2, O_DIRECT, 65536);
	fd = open_file(DIR_A, 0, 3, O_RDONLY);
	CHECK_GE(fd, 0);
	server_reset_counts(&server);
	map = mmap(NULL, 2 * SERVER_EXTENT, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	CHECK_EQ(madvise(map, 2 * SERVER_EXTENT, MADV_RANDOM), 0);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(map[4096 * 5], server_byte(st.st_ino, 4096 * 5, true));
	CHECK_EQ(map[SERVER_EXTENT + 4096], 0);
	CHECK_EQ(server_requests(&server, FUSE_READ), 0);
	munmap(map, 2 * SERVER_EXTENT);
	close(fd);
	server_stop(&server);
}

static void *read_without_end(void *arg)
{
	uint64_t ino = (uint64_t)(uintptr_t)arg;
	char *data = aligned_alloc(4096, SERVER_EXTENT);
	int fd = open_file(DIR_A, 0, 5, O_RDONLY);

	CHECK(data != NULL);
	CHECK_GE(fd, 0);
	while (!stop_load) {
		CHECK_EQ(pread(fd, data, SERVER_EXTENT, 0), SERVER_EXTENT);
		check_bytes(data, ino, 0, SERVER_EXTENT);
		rounds++;
	}
	close(fd);
	free(data);
	return NULL;
}

/* Blocks are given away while they are read: no reader may see what is written to them afterwards. */
static void move_under_readers(bool direct_io)
{
	pthread_t threads[2];
	struct stat st;

	start_with_image(direct_io);
	CHECK_OK(stat_file(DIR_A, 0, 5, &st));
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, read_without_end,
					(void *)(uintptr_t)st.st_ino),
			 0);
	WAIT_FOR(rounds > 20);
	CHECK_OK(server_command(&server, SERVER_MOVE, (int64_t)st.st_ino));
	rounds = 0;
	WAIT_FOR(rounds > 20);
	stop_load = true;
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_GT(server_requests(&server, FUSE_READ), 0);
	server_stop(&server);
}

TEST(test_moved_blocks__are_not_read_directly)
{
	move_under_readers(true);
}

TEST(test_moved_blocks__are_not_read_into_the_cache)
{
	move_under_readers(false);
}

/* ---- under load ---------------------------------------------------------------------------------------------------- */

static void *stat_without_end(void *arg)
{
	struct stat st;

	(void)arg;
	while (!stop_load) {
		for (unsigned f = 0; f < FILES; f++) {
			CHECK_OK(stat_file(DIR_A, 0, f, &st));
			CHECK_EQ(st.st_size, 1000 + f);
			CHECK_ERR(stat_file(DIR_A, 0, 500 + f, &st), -ENOENT);
		}
		rounds++;
	}
	return NULL;
}

static void *make_and_remove_without_end(void *arg)
{
	struct stat st;

	(void)arg;
	while (!stop_load) {
		CHECK_EQ(mknod(DIR_A "/d1/new", S_IFREG | 0600, 0), 0);
		CHECK_EQ(stat(DIR_A "/d1/new", &st), 0);
		CHECK_EQ(unlink(DIR_A "/d1/new"), 0);
		CHECK_EQ(stat(DIR_A "/d1/new", &st), -1);
		CHECK_EQ(errno, ENOENT);
		rounds++;
	}
	return NULL;
}

TEST(test_attach_and_detach__under_load)
{
	pthread_t threads[3];

	start_attached();
	CHECK_EQ(pthread_create(&threads[0], NULL, stat_without_end, NULL), 0);
	CHECK_EQ(pthread_create(&threads[1], NULL, stat_without_end, NULL), 0);
	CHECK_EQ(pthread_create(&threads[2], NULL, make_and_remove_without_end, NULL), 0);
	for (int i = 0; i < 30; i++) {
		CHECK_OK(server_command(&server, SERVER_DETACH, 0));
		usleep(5000);
		CHECK_OK(server_command(&server, SERVER_ATTACH, 0));
		usleep(5000);
	}
	stop_load = true;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_GT(rounds, 0);
	CHECK(!server.shared->forget_underflow);
	CHECK(!server.shared->stale);
	server_stop(&server);
}

static void *rename_without_end(void *arg)
{
	static const char *const names[] = {
		DIR_A "/d1/s",
		DIR_A "/d1/a-name-that-is-longer-than-what-a-dentry-holds-inline-by-a-good-deal",
		DIR_A "/d1/middling",
	};

	(void)arg;
	CHECK_EQ(mknod(names[0], S_IFREG | 0600, 0), 0);
	for (unsigned i = 0; !stop_load; i++, rounds++)
		CHECK_EQ(rename(names[i % 3], names[(i + 1) % 3]), 0);
	return NULL;
}

TEST(test_rename__races_with_rcu_walk)
{
	static const char *const names[] = {
		DIR_A "/d1/s",
		DIR_A "/d1/a-name-that-is-longer-than-what-a-dentry-holds-inline-by-a-good-deal",
		DIR_A "/d1/middling",
	};
	pthread_t thread;
	ino_t ino = 0;
	struct stat st;

	start_attached();
	CHECK_EQ(pthread_create(&thread, NULL, rename_without_end, NULL), 0);
	for (unsigned i = 0; i < 3000 || rounds < 100; i++) {
		if (stat(names[i % 3], &st)) {
			CHECK_EQ(errno, ENOENT);
			continue;
		}
		if (!ino)
			ino = st.st_ino;
		CHECK_EQ(st.st_ino, ino);
		CHECK_EQ(st.st_size, 0);
	}
	stop_load = true;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	server_stop(&server);
}

static void *storm_without_end(void *arg)
{
	(void)arg;
	while (!stop_load)
		CHECK_OK(server_command(&server, SERVER_STORM, 2000));
	return NULL;
}

TEST(test_storm__never_shows_a_mixed_or_old_value)
{
	struct probe_stats stats;
	pthread_t thread;
	struct stat st;
	off_t last = 0;

	start_attached();
	CHECK_OK(server_command(&server, SERVER_STORM, 1));
	CHECK_EQ(pthread_create(&thread, NULL, storm_without_end, NULL), 0);
	for (unsigned i = 0; i < 20000; i++) {
		CHECK_OK(stat_file(DIR_A, 0, 0, &st));
		CHECK_EQ(st.st_size, st.st_mtime);
		CHECK_EQ(st.st_size, st.st_ctime);
		CHECK_GE(st.st_size, last);
		last = st.st_size;
	}
	stop_load = true;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	stats = server_stats(&server);
	printf("20000 stats, %llu torn reads seen by the program\n",
	       (unsigned long long)stats.torn);
	server_stop(&server);
}
