/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The list is by names, which libseccomp turns into the machine's numbers; a name that this machine or this libseccomp
 * does not have is left out, for nothing can call it.
 *
 * EPERM rather than death: a C library that tries something new has another way, and a filesystem that dies of a log
 * line is no safer.
 */
#include "daemon/sandbox.h"

#include <errno.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

/* Memory, threads, time. */
static const char *const base_calls[] = {
	"brk",
	"futex",
	"munmap",
	"mremap",
	"madvise",
	"exit",
	"exit_group",
	"set_robust_list",
	"rseq",
	"gettid",
	"getpid",
	"getppid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"sched_yield",
	"sched_getaffinity",
	"sched_setaffinity",
	"getcpu",
	"clock_gettime",
	"clock_getres",
	"clock_nanosleep",
	"nanosleep",
	"gettimeofday",
	"time",
	"times",
	"getrandom",
	"getrusage",
	"sysinfo",
	"uname",
	"membarrier",
	"restart_syscall",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigtimedwait",
	"sigaltstack",
	/* Who checks makes way for others. */
	"setpriority",
	"ioprio_set",
	/* The image, the device, eventfds, sockets: by descriptor. */
	"read",
	"write",
	"readv",
	"writev",
	"pread64",
	"pwrite64",
	"preadv",
	"pwritev",
	"preadv2",
	"pwritev2",
	"splice",
	"pipe2",
	"close",
	"close_range",
	"dup",
	"dup2",
	"dup3",
	"fcntl",
	"lseek",
	"fstat",
	"fstatfs",
	"fsync",
	"fdatasync",
	"syncfs",
	"sync_file_range",
	"fallocate",
	"ftruncate",
	"fadvise64",
	"readahead",
	"copy_file_range",
	"poll",
	"ppoll",
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"eventfd2",
	"memfd_create",
	"accept",
	"accept4",
	"sendto",
	"sendmsg",
	"recvfrom",
	"recvmsg",
	"shutdown",
	"getsockopt",
	"setsockopt",
	"getpeername",
	"getsockname",
	/* The log, /proc, the register of mounts, the control socket's end. */
	"open",
	"openat",
	"stat",
	"lstat",
	"newfstatat",
	"statx",
	"statfs",
	"access",
	"faccessat",
	"faccessat2",
	"readlink",
	"readlinkat",
	"getdents64",
	"getcwd",
	"unlink",
	"unlinkat",
	"fchmod",
	"connect",
	/* The end of the helper that unmounts. */
	"wait4",
	"waitid",
};

static const char *const mount_calls[] = { "umount2" };
static const char *const uring_calls[] = { "io_uring_setup", "io_uring_enter",
					   "io_uring_register" };
/* Loading, pinning, and taking pins away again. */
static const char *const bpf_calls[] = { "bpf",	    "flock", "perf_event_open", "mkdir",
					 "mkdirat", "rmdir", "chmod",		"fchmodat" };

static const struct {
	const char *const *names;
	size_t count;
} groups[] = {
	{ base_calls, ARRAY_SIZE(base_calls) },
	{ mount_calls, ARRAY_SIZE(mount_calls) },
	{ uring_calls, ARRAY_SIZE(uring_calls) },
	{ bpf_calls, ARRAY_SIZE(bpf_calls) },
};

static bool is_needed(const struct sandbox_needs *needs, size_t group)
{
	const bool wanted[] = { true, needs->mount, needs->uring, needs->bpf };

	return wanted[group];
}

const char *sandbox_allowed(const struct sandbox_needs *needs, size_t index)
{
	for (size_t g = 0; g < ARRAY_SIZE(groups); g++) {
		if (!is_needed(needs, g))
			continue;
		if (index < groups[g].count)
			return groups[g].names[index];
		index -= groups[g].count;
	}
	return NULL;
}

/* @condition NULL: whatever the arguments. */
static int allow(scmp_filter_ctx filter, const char *name, const struct scmp_arg_cmp *condition)
{
	int number = seccomp_syscall_resolve_name(name);
	int err;

	if (number == __NR_SCMP_ERROR)
		return 0;
	err = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, condition ? 1 : 0, condition);
	return err == -EDOM || err == -EEXIST ? 0 : err;
}

/* Of 32 bits: the kernel looks at no more of these arguments. */
static struct scmp_arg_cmp masked(unsigned int arg, uint64_t mask, uint64_t value)
{
	return (struct scmp_arg_cmp){
		.arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value
	};
}

static int allow_some(scmp_filter_ctx filter, const struct sandbox_needs *needs)
{
	const struct {
		const char *name;
		struct scmp_arg_cmp condition;
	} some[] = {
		{ "clone", masked(0, CLONE_THREAD, CLONE_THREAD) },
		{ "mmap", masked(2, PROT_EXEC, 0) },
		{ "mprotect", masked(2, PROT_EXEC, 0) },
		{ "socket", masked(0, UINT32_MAX, AF_UNIX) },
		{ "kill", masked(0, UINT32_MAX, (uint32_t)getpid()) },
		{ "tgkill", masked(0, UINT32_MAX, (uint32_t)getpid()) },
		{ "prctl", masked(0, UINT32_MAX, PR_SET_NAME) },
		{ "prctl", masked(0, UINT32_MAX, PR_SET_VMA) },
		/* Typing into the terminal of a daemon in the foreground. */
		{ "ioctl", { .arg = 1, .op = SCMP_CMP_NE, .datum_a = TIOCSTI } },
		{ "prlimit64", masked(2, needs->bpf ? 0 : UINT64_MAX, 0) },
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(some) && !err; i++)
		err = allow(filter, some[i].name, &some[i].condition);
	/* Its flags are out of a filter's sight; told that there is no such call, libraries use clone. */
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return err;
}

static int fill(scmp_filter_ctx filter, const struct sandbox_needs *needs)
{
	const char *name;
	/* All threads at once; and no slower memory accesses, which older kernels add unasked. */
	int err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	for (size_t i = 0; !err && (name = sandbox_allowed(needs, i)); i++)
		err = allow(filter, name, NULL);
	return err ? err : allow_some(filter, needs);
}

int sandbox_enter(const struct sandbox_needs *needs, char *err, size_t err_len)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int ret = filter ? fill(filter, needs) : -ENOMEM;

	if (!ret)
		ret = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	if (ret)
		(void)snprintf(err, err_len, "the kernel takes no list of system calls: %s",
			       strerror(-ret));
	return ret;
}
