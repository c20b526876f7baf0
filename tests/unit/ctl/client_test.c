// SPDX-License-Identifier: GPL-2.0-only
/* Finding a daemon and asking it, with daemons that answer, that are gone, and that answer nonsense. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "ctl/kfsctl.h"
#include "daemon/base/frame.h"
#include "daemon/ctl/server.h"
#include "daemon/fs/fs.h"
#include "include/kfs/ctl_proto.h"
#include "tests/lib/test.h"

static char said[2048];

/* kfsctl's main prints; here it is kept to be looked at. */
int complain(const char *what, const char *why, const char *remedy)
{
	snprintf(said, sizeof(said), "%s: %s: %s", what, why, remedy);
	return EXIT_FAILED;
}

/* Below the server there is no filesystem here, and nothing is frozen. */
void fs_thaw(struct fs *fs)
{
	(void)fs;
}

static int run_echo(struct ctl_call *call)
{
	ctl_put_count(call->result, "echo", ctl_arg_count(call, "n", 0));
	return 0;
}

static int run_fail(struct ctl_call *call)
{
	return ctl_fail(call, -EBUSY, "freeze", "it is frozen already", "kfsctl thaw");
}

static const struct ctl_command commands[] = {
	{ .name = "echo", .run = run_echo, .args = { { "n", CTL_ARG_COUNT, true } } },
	{ .name = "fail", .run = run_fail },
	{ .name = NULL },
};

static struct rundir_entry *entry;
static struct rundir_list list;

static struct rundir_entry *register_mount(const char *image, const char *mountpoint)
{
	struct rundir_what what = { .image = image, .mountpoint = mountpoint };
	struct rundir_entry *e;

	CHECK_OK(rundir_register(&what, &e));
	return e;
}

/* One mount in a register of this test's own. */
static void set_up(const char *name)
{
	CHECK_EQ(setenv("KFS_RUNTIME_DIR", test_path(name), 1), 0);
	entry = register_mount("/img/a", NULL);
	CHECK_EQ(mounts_load(&list), EXIT_DONE);
	CHECK_EQ(list.count, 1);
}

static void tear_down(void)
{
	rundir_list_fini(&list);
	rundir_unregister(entry);
}

static struct ctl_server *serve(void)
{
	struct ctl_env env = { .id = "test",
			       .owner_uid = getuid(),
			       .socket_path = rundir_socket_path(entry) };
	struct ctl_server *server;

	CHECK_OK(ctl_server_start_with(&env, commands, &server));
	return server;
}

static void check_said(const char *part)
{
	if (!strstr(said, part))
		FAIL("\"%s\" is not in \"%s\"", part, said);
}

TEST(test_ask__result_and_errors_come_back)
{
	struct ctl_server *server;
	json_t *result;

	set_up("ask");
	server = serve();
	CHECK_EQ(ask(&list.entries[0], "echo", json_pack("{s:i}", "n", 7), 5000, &result),
		 EXIT_DONE);
	CHECK_EQ(json_integer_value(json_object_get(result, "echo")), 7);
	json_decref(result);
	CHECK_EQ(ask(&list.entries[0], "fail", NULL, 5000, &result), EXIT_FAILED);
	CHECK_STR_EQ(said, "/img/a: freeze: it is frozen already: kfsctl thaw");
	CHECK_EQ(ask(&list.entries[0], "novelty", NULL, 5000, &result), EXIT_FAILED);
	check_said("novelty: unknown command");
	ctl_server_stop(server);
	tear_down();
}

TEST(test_ask__no_socket_yet_says_to_try_again)
{
	json_t *result;

	set_up("nosocket");
	CHECK_EQ(ask(&list.entries[0], "echo", NULL, 5000, &result), EXIT_FAILED);
	check_said("nobody answers");
	check_said("try again");
	tear_down();
}

TEST(test_ask__dead_daemon_is_named_with_its_pid)
{
	json_t *result;

	set_up("dead");
	list.entries[0].alive = false;
	list.entries[0].pid = 4711;
	CHECK_EQ(ask(&list.entries[0], "echo", NULL, 5000, &result), EXIT_FAILED);
	check_said("pid 4711) is gone");
	tear_down();
}

/* A daemon that reads a request, or part of it, and sends these bytes; -1 = it keeps silent. */
static pid_t nonsense_daemon(const char *bytes, ssize_t len)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), client;
	const char *path = rundir_socket_path(entry);
	char request[100];
	pid_t pid;

	memcpy(address.sun_path, path, strlen(path) + 1);
	CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQ(listen(fd, 1), 0);
	pid = fork();
	if (pid == 0) {
		client = accept(fd, NULL, NULL);
		if (len < 0)
			sleep(30);
		else if (read(client, request, sizeof(request)) < 0 ||
			 write(client, bytes, (size_t)len) != len)
			_exit(1);
		_exit(0);
	}
	close(fd);
	return pid;
}

static void check_nonsense(const char *bytes, ssize_t len, const char *want)
{
	pid_t pid = nonsense_daemon(bytes, len);
	json_t *result;

	CHECK_EQ(ask(&list.entries[0], "echo", NULL, len < 0 ? 50 : 5000, &result), EXIT_FAILED);
	check_said(want);
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	CHECK_EQ(unlink(rundir_socket_path(entry)), 0);
}

TEST(test_ask__nonsense_is_an_error_and_silence_ends)
{
	set_up("nonsense");
	check_nonsense("", 0, "closed the connection");
	check_nonsense("\xff\xff\xff\xff", 4, "closed the connection");
	check_nonsense("\x09\x00\x00\x00{", 5, "closed the connection");
	check_nonsense("\x03\x00\x00\x00{]}", 7, "not JSON");
	check_nonsense("\x02\x00\x00\x00[]", 6, "another control protocol");
	check_nonsense("\x0d\x00\x00\x00{\"version\":9}", 17, "another control protocol");
	check_nonsense("\x15\x00\x00\x00{\"version\":1,\"ok\":42}", 25, "/img/a");
	check_nonsense(NULL, -1, "no answer within 0.05 s");
	tear_down();
}

TEST(test_target__id_image_and_default_are_found)
{
	const struct rundir_info *info;

	set_up("target");
	CHECK_EQ(target_find(&list, rundir_id(entry), &info), EXIT_DONE);
	CHECK_STR_EQ(info->image, "/img/a");
	CHECK_EQ(target_find(&list, "/img/../img//a", &info), EXIT_DONE);
	CHECK_STR_EQ(info->image, "/img/a");
	CHECK_EQ(target_find(&list, NULL, &info), EXIT_DONE);
	CHECK_STR_EQ(info->image, "/img/a");
	CHECK_EQ(target_find(&list, "/img/b", &info), EXIT_FAILED);
	check_said("/img/b: neither on a kfs mount nor a mounted image or id");
	CHECK_EQ(target_find(&list, "", &info), EXIT_FAILED);
	tear_down();
}

TEST(test_target__several_are_ambiguous_and_none_is_said)
{
	const struct rundir_info *info;
	struct rundir_entry *second;

	set_up("several");
	second = register_mount("/img/b", NULL);
	rundir_list_fini(&list);
	CHECK_EQ(mounts_load(&list), EXIT_DONE);
	CHECK_EQ(list.count, 2);
	CHECK_EQ(target_find(&list, NULL, &info), EXIT_FAILED);
	check_said("more than one mount");
	CHECK_EQ(target_find(&list, "/img/b", &info), EXIT_DONE);
	CHECK_STR_EQ(info->image, "/img/b");
	rundir_unregister(second);
	second = register_mount("/img/a", NULL); /* the same image twice: read-only mounts may */
	rundir_list_fini(&list);
	CHECK_EQ(mounts_load(&list), EXIT_DONE);
	CHECK_EQ(target_find(&list, "/img/a", &info), EXIT_FAILED);
	check_said("more than one mount");
	rundir_unregister(second);
	rundir_list_fini(&list);
	rundir_unregister(entry);
	CHECK_EQ(mounts_load(&list), EXIT_DONE);
	CHECK_EQ(target_find(&list, NULL, &info), EXIT_FAILED);
	check_said("there is no kfs mount");
	rundir_list_fini(&list);
}

TEST(test_target__mount_point_that_is_detached_is_still_found)
{
	const struct rundir_info *info;
	struct rundir_entry *second;

	set_up("detached");
	second = register_mount("/img/b", "/detached/mnt");
	rundir_list_fini(&list);
	CHECK_EQ(mounts_load(&list), EXIT_DONE);
	CHECK_EQ(target_find(&list, "/detached/./mnt/", &info), EXIT_DONE);
	CHECK_STR_EQ(info->image, "/img/b");
	CHECK_EQ(target_find(&list, "/detached", &info), EXIT_FAILED);
	rundir_unregister(second);
	tear_down();
}

TEST(test_target__image_is_found_by_another_name)
{
	const struct rundir_info *info;
	const char *image = test_path("image");
	const char *link_path = test_path("link"), *hard = test_path("hard");
	struct rundir_entry *e;
	FILE *file = fopen(image, "w");

	CHECK(file);
	fclose(file);
	CHECK_EQ(symlink(image, link_path), 0);
	CHECK_EQ(link(image, hard), 0);
	CHECK_EQ(setenv("KFS_RUNTIME_DIR", test_path("names"), 1), 0);
	e = register_mount(image, NULL);
	CHECK_EQ(mounts_load(&list), EXIT_DONE);
	CHECK_EQ(target_find(&list, link_path, &info), EXIT_DONE);
	CHECK_EQ(target_find(&list, hard, &info), EXIT_DONE);
	CHECK_STR_EQ(info->id, rundir_id(e));
	rundir_list_fini(&list);
	rundir_unregister(e);
}

TEST(test_mounts__dead_entry_without_a_mount_is_left_out)
{
	pid_t pid;

	CHECK_EQ(setenv("KFS_RUNTIME_DIR", test_path("leftover"), 1), 0);
	pid = fork();
	if (pid == 0) {
		register_mount("/img/dead", "/nowhere");
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	CHECK_EQ(mounts_load(&list), EXIT_DONE);
	CHECK_EQ(list.count, 0);
	rundir_list_fini(&list);
}
