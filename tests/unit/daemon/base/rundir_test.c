// SPDX-License-Identifier: GPL-2.0-only
/* The register of mounts: what is registered is listed, who lives is known, and what others put there is harmless. */
#include "daemon/base/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/lib/test.h"

static struct rundir_list list;

/* The folder of this test alone; it does not exist yet. */
static const char *use_own_dir(const char *name)
{
	const char *dir = test_path(name);

	CHECK_EQ(setenv("KFS_RUNTIME_DIR", dir, 1), 0);
	return dir;
}

static void list_again(size_t count)
{
	rundir_list_fini(&list);
	CHECK_OK(rundir_list(&list));
	CHECK_EQ(list.count, count);
}

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	CHECK_GE(fd, 0);
	CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static const struct rundir_what what_a = { .image = "/img/a", .mountpoint = "/mnt/a" };

TEST(test_rundir__entry_is_listed_while_it_is_registered)
{
	struct rundir_what what = {
		.image = "/img/with\nline \\ and = ", .offset = 1048576, .mountpoint = "/mnt/\xe9 b"
	};
	struct rundir_entry *entry;

	use_own_dir("run-1");
	list_again(0);
	CHECK_OK(rundir_register(&what, &entry));
	list_again(1);
	CHECK_STR_EQ(list.entries[0].image, what.image);
	CHECK_STR_EQ(list.entries[0].mountpoint, what.mountpoint);
	CHECK_STR_EQ(list.entries[0].socket_path, rundir_socket_path(entry));
	CHECK_STR_EQ(list.entries[0].id, rundir_id(entry));
	CHECK_EQ(list.entries[0].offset, what.offset);
	CHECK_EQ(list.entries[0].pid, getpid());
	CHECK_EQ(list.entries[0].owner_uid, geteuid());
	CHECK_EQ(list.entries[0].alive, true);
	rundir_unregister(entry);
	list_again(0);
	rundir_list_fini(&list);
}

TEST(test_rundir__same_mount_has_the_same_id_again)
{
	struct rundir_entry *entry;
	char id[RUNDIR_ID_LEN + 1];

	use_own_dir("run-2");
	CHECK_OK(rundir_register(&what_a, &entry));
	memcpy(id, rundir_id(entry), sizeof(id));
	rundir_unregister(entry);
	CHECK_OK(rundir_register(&what_a, &entry));
	CHECK_STR_EQ(rundir_id(entry), id);
	rundir_unregister(entry);
}

TEST(test_rundir__two_mounts_alike_have_two_ids)
{
	struct rundir_what what = { .image = "/img/a" };
	struct rundir_entry *one, *two;

	use_own_dir("run-3");
	CHECK_OK(rundir_register(&what, &one));
	CHECK_OK(rundir_register(&what, &two));
	CHECK(strcmp(rundir_id(one), rundir_id(two)) != 0);
	list_again(2);
	CHECK(!list.entries[0].mountpoint);
	rundir_unregister(one);
	rundir_unregister(two);
	rundir_list_fini(&list);
}

TEST(test_rundir__killed_daemon_is_known_dead_and_replaced)
{
	struct rundir_entry *entry;
	pid_t pid;

	use_own_dir("run-4");
	pid = fork();
	if (pid == 0)
		_exit(rundir_register(&what_a, &entry) ? 1 : 0); /* dies without a word */
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	list_again(1);
	CHECK_EQ(list.entries[0].alive, false);
	CHECK_EQ(list.entries[0].pid, pid);
	CHECK_OK(rundir_register(&what_a, &entry));
	list_again(1);
	CHECK_EQ(list.entries[0].alive, true);
	rundir_unregister(entry);
	rundir_list_fini(&list);
}

TEST(test_rundir__what_is_no_entry_is_passed_over)
{
	const char *dir = use_own_dir("run-5");
	char path[512];

	CHECK_EQ(mkdir(dir, 0700), 0);
	put_file(dir, "readme", "pid=1\nimage=/a\nsocket=/s\n");
	put_file(dir, "0123abcd.mount.old", "pid=1\nimage=/a\nsocket=/s\n");
	put_file(dir, "00000001.mount", "");
	put_file(dir, "00000002.mount", "pid=1\nimage=/a\n");
	put_file(dir, "00000003.mount", "pid=-1\nimage=/a\nsocket=/s\n");
	put_file(dir, "00000004.mount", "pid=99999999999999999999\nimage=/a\nsocket=/s\n");
	put_file(dir, "00000005.mount", "pid=1\nimage=relative\nsocket=/s\n");
	put_file(dir, "00000006.mount", "pid=1\nimage=/a\nimage=/b\nsocket=/s\n");
	put_file(dir, "00000007.mount", "no lines at all");
	snprintf(path, sizeof(path), "%s/00000008.mount", dir);
	CHECK_EQ(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/00000009.mount", dir);
	CHECK_EQ(symlink("/etc/passwd", path), 0);
	list_again(0);
	put_file(dir, "0000000a.mount", "pid=1\nimage=/a\nsocket=/s\nnovelty=x\n");
	list_again(1);
	CHECK_EQ(list.entries[0].alive, false);
	rundir_list_fini(&list);
}

TEST(test_rundir__folder_that_others_may_write_is_not_used)
{
	const char *dir = use_own_dir("run-6");
	struct rundir_entry *entry;

	CHECK_EQ(mkdir(dir, 0700), 0);
	CHECK_EQ(chmod(dir, 0777), 0);
	CHECK_ERR(rundir_register(&what_a, &entry), -EPERM);
}

TEST(test_rundir__missing_folder_is_an_empty_list)
{
	CHECK_EQ(setenv("KFS_RUNTIME_DIR", "/nonexistent/kfs", 1), 0);
	list_again(0);
	rundir_list_fini(&list);
}
