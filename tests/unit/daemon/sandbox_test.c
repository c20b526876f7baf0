/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The list of system calls, loaded as the daemon loads it: every call on it gets past the filter, every other number of
 * this machine is refused, and what matters is tried by name. Each test is a process of its own, which stays confined.
 */
#include "daemon/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/lib/test.h"

/* Past the last number of any machine, and short of those that other interfaces begin with. */
#define NUMBERS 500
#define NOTHING (-1L)

static const struct sandbox_needs none, all = { .mount = true, .uring = true, .bpf = true };

static void enter(const struct sandbox_needs *needs)
{
	char err[256] = "";

#ifdef KFS_SANITIZE
	SKIP("sanitizers do what is not on the list");
#endif
	if (sandbox_enter(needs, err, sizeof(err)))
		FAIL("%s", err);
}

/* Arguments that nothing can be done with: descriptors, addresses and sizes of all ones. */
static int error_of(long number)
{
	long ret;

	errno = 0;
	ret = syscall(number, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING);
	return ret == -1 ? errno : 0;
}

/* Calls that end or change the caller whatever it says, or that wait. */
static bool is_dire(const char *name)
{
	static const char *const names[] = { "exit",	     "exit_group",
					     "rt_sigreturn", "restart_syscall",
					     "close_range",  "wait4" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

static bool is_allowed(const struct sandbox_needs *needs, const char *wanted)
{
	const char *name;

	for (size_t i = 0; (name = sandbox_allowed(needs, i)); i++)
		if (!strcmp(name, wanted))
			return true;
	return false;
}

static bool is_partly_allowed(const char *name)
{
	static const char *const names[] = { "clone",  "mmap",	"mprotect", "socket",	 "kill",
					     "tgkill", "prctl", "ioctl",    "prlimit64", "clone3" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* Numbers' names are looked up beforehand: inside, nothing is sure to work. */
static char *names_of[NUMBERS];

static void learn_names(void)
{
	for (int n = 0; n < NUMBERS; n++)
		names_of[n] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, n);
}

/* Of the kernel's own probes: it kills whoever calls them by hand, filter or not. */
static bool is_probe(int number)
{
#ifdef __x86_64__
	return number == 335 || number == 336;
#else
	return number < 0;
#endif
}

static void check_every_number(const struct sandbox_needs *needs)
{
	unsigned int allowed = 0, refused = 0;

	learn_names();
	enter(needs);
	for (int n = 0; n < NUMBERS; n++) {
		const char *name = names_of[n] ? names_of[n] : "unnamed";
		int error;

		if (is_probe(n) || is_dire(name) || is_partly_allowed(name))
			continue;
		error = error_of(n);
		if (is_allowed(needs, name)) {
			allowed++;
			/* Some say EPERM by themselves of arguments like these. */
			if (error == EPERM && strcmp(name, "setpriority") != 0 &&
			    strcmp(name, "bpf") != 0 && strcmp(name, "umount2") != 0 &&
			    strcmp(name, "perf_event_open") != 0)
				FAIL("%s (%d) is on the list and was refused", name, n);
		} else {
			refused++;
			if (error != EPERM)
				FAIL("%s (%d) is not on the list: %s", name, n, strerror(error));
		}
	}
	CHECK(allowed > 80);
	CHECK(refused > 200);
}

TEST(test_sandbox__guests_alone_every_number)
{
	check_every_number(&none);
}

TEST(test_sandbox__mount_with_everything_every_number)
{
	check_every_number(&all);
}

TEST(test_sandbox__what_an_intruder_wants_is_refused)
{
	static const char *const names[] = {
		"execve",
		"execveat",
		"fork",
		"vfork",
		"ptrace",
		"process_vm_readv",
		"process_vm_writev",
		"mount",
		"move_mount",
		"open_tree",
		"fsopen",
		"pivot_root",
		"chroot",
		"unshare",
		"setns",
		"open_by_handle_at",
		"name_to_handle_at",
		"init_module",
		"finit_module",
		"kexec_load",
		"reboot",
		"swapon",
		"setuid",
		"setgid",
		"setresuid",
		"setgroups",
		"capset",
		"personality",
		"keyctl",
		"userfaultfd",
		"mknod",
		"mknodat",
		"link",
		"linkat",
		"symlink",
		"symlinkat",
		"chown",
		"fchownat",
		"rename",
		"renameat2",
		"bind",
		"listen",
		"pidfd_open",
		"pidfd_getfd",
		"settimeofday",
		"sethostname",
		"acct",
		"quotactl",
	};
	int number[ARRAY_SIZE(names)];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		number[i] = seccomp_syscall_resolve_name(names[i]);
	enter(&all);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (number[i] >= 0 && error_of(number[i]) != EPERM)
			FAIL("%s is allowed", names[i]);
}

TEST(test_sandbox__guests_alone_have_no_rings_programs_or_mounts)
{
	static const char *const names[] = { "io_uring_setup", "io_uring_enter",  "bpf",
					     "umount2",	       "perf_event_open", "mkdir" };

	enter(&none);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		CHECK_EQ(error_of(seccomp_syscall_resolve_name(names[i])), EPERM);
}

static void *add_one(void *arg)
{
	++*(int *)arg;
	return NULL;
}

TEST(test_sandbox__arguments_are_looked_at)
{
	pthread_t thread;
	int count = 0, pair[2];
	void *page;

	enter(&none);
	/* Threads, not processes. */
	CHECK_EQ(pthread_create(&thread, NULL, add_one, &count), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(count, 1);
	CHECK(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == -1 && errno == EPERM);
	CHECK(fork() == -1 && errno == EPERM);
	/* Memory, not code. */
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) == -1 && errno == EPERM);
	CHECK_EQ(mprotect(page, 4096, PROT_READ), 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page == MAP_FAILED && errno == EPERM);
	/* This host's sockets, not the network's. */
	CHECK(socket(AF_UNIX, SOCK_DGRAM, 0) >= 0);
	CHECK(socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == EPERM);
	CHECK(socket(AF_NETLINK, SOCK_RAW, 0) == -1 && errno == EPERM);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1 && errno == EPERM);
	/* Its own signals. */
	CHECK_EQ(kill(getpid(), 0), 0);
	CHECK(kill(1, 0) == -1 && errno == EPERM);
	CHECK(kill(getppid(), 0) == -1 && errno == EPERM);
	CHECK_EQ(prctl(PR_SET_NAME, "confined"), 0);
	CHECK(prctl(PR_SET_DUMPABLE, 1) == -1 && errno == EPERM);
}

static int pipe_ends[2], error_in_thread;

static void *try_when_told(void *arg)
{
	char byte;

	(void)arg;
	if (read(pipe_ends[0], &byte, 1) == 1)
		error_in_thread = socket(AF_INET, SOCK_STREAM, 0) == -1 ? errno : 0;
	return NULL;
}

TEST(test_sandbox__threads_that_ran_before_are_confined_too)
{
	pthread_t thread;

	CHECK_EQ(pipe(pipe_ends), 0);
	CHECK_EQ(pthread_create(&thread, NULL, try_when_told, NULL), 0);
	enter(&none);
	CHECK_EQ(write(pipe_ends[1], "x", 1), 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(error_in_thread, EPERM);
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
		 -1); /* asking is not on the list, either */
}
