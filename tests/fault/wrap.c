// SPDX-License-Identifier: GPL-2.0-only
/*
 * See wrap.h. The table of live memory is open addressing in static memory, under one lock:
 * it must not itself allocate.
 */
#include "tests/fault/wrap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "tests/lib/fault.h"

#define LIVE_BITS 20
#define LIVE_MAX (1u << LIVE_BITS)
#define LEAKS_SHOWN_MAX 20

struct piece {
	uintptr_t at; /* 0: free, 1: deleted */
	const void *caller;
	size_t size;
	bool marked;
};

extern const char __executable_start[]; /* the linker's */

static struct piece live[LIVE_MAX];
static size_t live_count;
static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static bool syscalls_wrapped;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
char *__real_strdup(const char *s);
void __real_free(void *p);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);
ssize_t __real_preadv(int fd, const struct iovec *iov, int count, off_t off);
ssize_t __real_pwritev(int fd, const struct iovec *iov, int count, off_t off);
ssize_t __real_pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags);
int __real_fdatasync(int fd);
int __real_fallocate(int fd, int mode, off_t off, off_t len);
int __real_ftruncate(int fd, off_t len);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int count, off_t off);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t off);
ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags);
int __wrap_fdatasync(int fd);
int __wrap_fallocate(int fd, int mode, off_t off, off_t len);
int __wrap_ftruncate(int fd, off_t len);

/* ---- memory ---------------------------------------------------------------- */

static size_t slot_of(uintptr_t at)
{
	return (size_t)((at >> 4) * 0x9e3779b97f4a7c15ull >> (64 - LIVE_BITS));
}

static void note(void *p, size_t size, const void *caller)
{
	size_t k = slot_of((uintptr_t)p);

	if (!p)
		return;
	pthread_mutex_lock(&live_lock);
	if (live_count >= LIVE_MAX / 2) {
		fputs("wrap.c: LIVE_MAX is too small\n", stderr);
		abort();
	}
	while (live[k].at > 1)
		k = (k + 1) % LIVE_MAX;
	live[k] = (struct piece){ .at = (uintptr_t)p, .caller = caller, .size = size };
	live_count++;
	pthread_mutex_unlock(&live_lock);
}

/* Memory that libc allocated for us is not in the table. */
static void unnote(void *p)
{
	size_t k = slot_of((uintptr_t)p);

	pthread_mutex_lock(&live_lock);
	while (live[k].at && live[k].at != (uintptr_t)p)
		k = (k + 1) % LIVE_MAX;
	if (live[k].at) {
		live[k].at = live[(k + 1) % LIVE_MAX].at ? 1 : 0;
		live_count--;
	}
	pthread_mutex_unlock(&live_lock);
}

size_t wrap_live(void)
{
	return live_count;
}

void wrap_mark(void)
{
	for (size_t k = 0; k < LIVE_MAX; k++)
		live[k].marked = live[k].at > 1;
}

size_t wrap_report_leaks(void)
{
	size_t leaks = 0;

	for (size_t k = 0; k < LIVE_MAX; k++) {
		if (live[k].at <= 1 || live[k].marked)
			continue;
		if (leaks++ < LEAKS_SHOWN_MAX)
			fprintf(stderr, "leaked: %zu bytes asked for at 0x%zx (addr2line)\n",
				live[k].size,
				(size_t)((const char *)live[k].caller - __executable_start));
	}
	return leaks;
}

static bool refused(void)
{
	if (!fault_hit(FAULT_ALLOC))
		return false;
	errno = ENOMEM;
	return true;
}

#define CALLER __builtin_return_address(0)

void *__wrap_malloc(size_t size)
{
	void *p = refused() ? NULL : __real_malloc(size);

	note(p, size, CALLER);
	return p;
}

void *__wrap_calloc(size_t count, size_t size)
{
	void *p = refused() ? NULL : __real_calloc(count, size);

	note(p, count * size, CALLER);
	return p;
}

static void *resize(void *old, size_t size, const void *caller)
{
	void *p;

	if (refused())
		return NULL;
	if (old)
		unnote(old);
	p = __real_realloc(old, size);
	note(p ? p : old, size, caller);
	return p;
}

void *__wrap_realloc(void *old, size_t size)
{
	return resize(old, size, CALLER);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	size_t bytes;

	if (!__builtin_mul_overflow(count, size, &bytes))
		return resize(old, bytes, CALLER);
	errno = ENOMEM;
	return NULL;
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	void *p = refused() ? NULL : __real_aligned_alloc(align, size);

	note(p, size, CALLER);
	return p;
}

char *__wrap_strdup(const char *s)
{
	char *p = refused() ? NULL : __real_strdup(s);

	note(p, strlen(s) + 1, CALLER);
	return p;
}

void __wrap_free(void *p)
{
	if (p)
		unnote(p);
	__real_free(p);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg)
{
	return fault_hit(FAULT_THREAD) ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}

int wrap_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	return __real_pthread_create(thread, NULL, run, arg);
}

/* ---- system calls ----------------------------------------------------------- */

void wrap_syscalls(bool on)
{
	syscalls_wrapped = on;
}

/* True: the call fails, errno is set. */
static bool syscall_fails(enum fault_kind kind)
{
	if (!syscalls_wrapped)
		return false;
	if (fault_hit(FAULT_INTR)) {
		errno = EINTR;
		return true;
	}
	if (!fault_hit(kind))
		return false;
	errno = -fault_error();
	return true;
}

typedef ssize_t (*transfer_fn)(int fd, const struct iovec *iov, int count, off_t off, int flags);

static ssize_t real_read(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	(void)flags;
	return __real_preadv(fd, iov, count, off);
}

static ssize_t real_write(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	return flags ? __real_pwritev2(fd, iov, count, off, flags) :
		       __real_pwritev(fd, iov, count, off);
}

/* The first element but its last byte; of a single byte nothing can be left out. */
static ssize_t transfer(transfer_fn real, int fd, const struct iovec *iov, int count, off_t off,
			int flags)
{
	struct iovec part = iov[0];

	if (!syscalls_wrapped || part.iov_len < 2 || !fault_hit(FAULT_SHORT))
		return real(fd, iov, count, off, flags);
	part.iov_len -= part.iov_len > 4096 ? 4000 : 1;
	return real(fd, &part, 1, off, flags);
}

ssize_t __wrap_preadv(int fd, const struct iovec *iov, int count, off_t off)
{
	return syscall_fails(FAULT_READ) ? -1 : transfer(real_read, fd, iov, count, off, 0);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t off)
{
	return syscall_fails(FAULT_WRITE) ? -1 : transfer(real_write, fd, iov, count, off, 0);
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	return syscall_fails(FAULT_WRITE) ? -1 : transfer(real_write, fd, iov, count, off, flags);
}

int __wrap_fdatasync(int fd)
{
	return syscall_fails(FAULT_FLUSH) ? -1 : __real_fdatasync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t off, off_t len)
{
	return syscall_fails(FAULT_ZERO) ? -1 : __real_fallocate(fd, mode, off, len);
}

int __wrap_ftruncate(int fd, off_t len)
{
	return syscall_fails(FAULT_WRITE) ? -1 : __real_ftruncate(fd, len);
}
