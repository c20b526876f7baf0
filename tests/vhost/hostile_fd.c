/* SPDX-License-Identifier: GPL-2.0-only */
/* Descriptors that are not what a message is about, and memory that is cut short while it is in use. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/vhost/hostile.h"

/* A region besides the two that the rings are in; larger than a descriptor of ours needs. */
#define EXTRA_GPA (UINT64_C(8) << 32)
#define EXTRA_UVA UINT64_C(0x7f3000000000)
#define EXTRA_SIZE (1u << 20)

/* ---- kinds ---- */

static int pair_of(int end)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	(void)close(fds[!end]); /* nothing was written */
	return fds[end];
}

static int a_pipe_nobody_reads(void)
{
	return pair_of(1);
}

static int a_pipe_nobody_writes(void)
{
	return pair_of(0);
}

/* Whoever writes more waits for ever. */
static int a_full_pipe(void)
{
	static int other = -1;
	uint8_t page[4096] = { 0 };
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -1;
	while (write(fds[1], page, sizeof(page)) > 0)
		;
	(void)fcntl(fds[1], F_SETFL, 0); /* an open descriptor */
	if (other >= 0)
		(void)close(other);
	other = fds[0];
	return fds[1];
}

static int a_full_event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t most = UINT64_MAX - 1;

	return write(fd, &most, sizeof(most)) == sizeof(most) ? fd : -1;
}

static int a_folder(void)
{
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int a_path(void)
{
	return open("/", O_PATH | O_CLOEXEC);
}

static int zeros(void)
{
	return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int nothing(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int a_full_device(void)
{
	return open("/dev/full", O_RDWR | O_CLOEXEC);
}

static int a_proc_file(void)
{
	return open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
}

static int a_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int a_socket_nobody_is_at(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -1;
	(void)close(fds[1]); /* nothing was written */
	return fds[0];
}

static int a_timer(void)
{
	struct itimerspec often = { .it_interval = { .tv_nsec = 1000000 },
				    .it_value = { .tv_nsec = 1 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	return timerfd_settime(fd, 0, &often, NULL) ? -1 : fd;
}

static int an_epoll(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

static int an_inotify(void)
{
	return inotify_init1(IN_CLOEXEC);
}

static int memory(uint64_t size, int seals)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size) || (seals && fcntl(fd, F_ADD_SEALS, seals)))
		front_die("memfd of %llu bytes", (unsigned long long)size);
	return fd;
}

static int a_whole_memory(void)
{
	return memory(EXTRA_SIZE, 0);
}

static int a_short_memory(void)
{
	return memory(EXTRA_SIZE / 2 + 1, 0);
}

static int an_empty_memory(void)
{
	return memory(0, 0);
}

static int a_memory_without_writing(void)
{
	return memory(EXTRA_SIZE, F_SEAL_WRITE);
}

static int a_memory_that_stays(void)
{
	return memory(EXTRA_SIZE, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

static int a_memory_to_read(void)
{
	char path[64];
	int fd = memory(EXTRA_SIZE, 0), ret;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ret = open(path, O_RDONLY | O_CLOEXEC);
	(void)close(fd); /* the other one stays */
	return ret;
}

static const struct fd_kind kinds[] = {
	{ "a pipe that nobody reads", a_pipe_nobody_reads, EVENT | CHANNEL },
	{ "a pipe that nobody writes", a_pipe_nobody_writes, EVENT | DEAD | CHANNEL },
	{ "a full pipe", a_full_pipe, EVENT | CHANNEL },
	{ "a full event", a_full_event, EVENT },
	{ "a socket", a_socket, EVENT | CHANNEL },
	{ "a socket that nobody is at", a_socket_nobody_is_at, EVENT | DEAD | CHANNEL },
	{ "a timer", a_timer, EVENT },
	{ "an epoll", an_epoll, EVENT },
	{ "an inotify", an_inotify, EVENT },
	{ "a folder", a_folder, 0 },
	{ "a path", a_path, 0 },
	{ "zeros", zeros, MEMORY },
	{ "the null device", nothing, 0 },
	{ "the full device", a_full_device, MEMORY },
	{ "a file of proc", a_proc_file, 0 },
	{ "memory", a_whole_memory, MEMORY },
	{ "memory that is too short", a_short_memory, 0 },
	{ "empty memory", an_empty_memory, 0 },
	{ "memory sealed against writing", a_memory_without_writing, 0 },
	{ "memory sealed against cutting", a_memory_that_stays, MEMORY },
	{ "memory to be read", a_memory_to_read, 0 },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int make(const struct fd_kind *kind)
{
	int fd = kind->make();

	if (fd < 0)
		front_die("%s: %s", kind->name, strerror(errno));
	return fd;
}

const struct fd_kind *hostile_fd(struct hostile *h, int *ret_fd)
{
	const struct fd_kind *kind = &kinds[hostile_below(h, KINDS)];

	*ret_fd = make(kind);
	return kind;
}

/* ---- wrong descriptors ---- */

static int tell_region(struct hostile *h, uint32_t request, int fd)
{
	union msg_payload p = { .slot.region = {
					.gpa = EXTRA_GPA, .size = EXTRA_SIZE, .uva = EXTRA_UVA } };

	return front_tell(&h->f, request, &p, 40, &fd, fd >= 0);
}

static void expect_told(struct hostile *h, const struct fd_kind *kind, int got, bool taken)
{
	h->judged = true;
	if (got < 0)
		front_die("%s: the connection has ended", kind->name);
	if (got == 0 && !taken)
		front_die("%s was taken", kind->name);
	h->judged = false;
}

/* As memory: requests go there, if it was taken. */
static void as_memory(struct hostile *h, const struct fd_kind *kind, int fd)
{
	int got = tell_region(h, MSG_ADD_MEM_REG, fd);

	expect_told(h, kind, got, kind->flags & MEMORY);
	hostile_some_bodies(h, 4);
	if (!got)
		hostile_aim(h, EXTRA_GPA, EXTRA_SIZE);
	for (uint32_t q = 0; q < FRONT_QUEUES; q++)
		(void)hostile_fire_blind(h, q, true);
	if (!got && tell_region(h, MSG_REM_MEM_REG, -1))
		front_die("%s: cannot be removed", kind->name);
}

/* It is ready all the time: looking at it again would never end. */
static void expect_broken(struct hostile *h, const struct fd_kind *kind, uint32_t queue)
{
	struct pollfd p = { .fd = h->err_fd[queue], .events = POLLIN };

	h->judged = true;
	if (poll(&p, 1, FRONT_WAIT_MS) <= 0)
		front_die("%s is taken for a kick that comes", kind->name);
	h->judged = false;
}

/* As an event, which may be the kick: the ring is asked for everything by another one then. */
static void as_event(struct hostile *h, const struct fd_kind *kind, int fd, uint32_t request)
{
	uint32_t queue = (uint32_t)hostile_below(h, FRONT_QUEUES);
	uint64_t number = queue;
	int got;

	hostile_some_bodies(h, 8);
	if (hostile_one_in(h, 2))
		hostile_offer(h);
	got = front_tell(&h->f, request, &number, sizeof(number), &fd, 1);
	expect_told(h, kind, got, kind->flags & EVENT);
	hostile_offer(h);
	if (request == MSG_SET_VRING_KICK && !got && kind->flags & DEAD)
		expect_broken(h, kind, queue);
	hostile_restart_rings(h);
}

void hostile_wrong_fds(struct hostile *h, uint64_t from, uint64_t to)
{
	static const uint32_t events[] = { MSG_SET_VRING_KICK, MSG_SET_VRING_CALL,
					   MSG_SET_VRING_ERR };

	for (uint64_t n = from; n < to; n++) {
		const struct fd_kind *kind = &kinds[n % KINDS];
		int fd;

		hostile_case(h, n);
		hostile_open(h, STAGE_SESSION);
		fd = make(kind);
		if (hostile_one_in(h, 2))
			as_memory(h, kind, fd);
		else
			as_event(h, kind, fd, events[hostile_below(h, 3)]);
		(void)close(fd); /* theirs is another */
	}
}

/* ---- memory that is cut short ---- */

struct cutter {
	pthread_t thread;
	_Atomic bool stop;
	int fd;
	uint64_t rng;
};

static void *cutter_thread(void *arg)
{
	struct cutter *c = arg;

	while (!atomic_load(&c->stop)) {
		c->rng = c->rng * 6364136223846793005u + 1442695040888963407u;
		if (ftruncate(c->fd, (off_t)((c->rng >> 33) % EXTRA_SIZE)) < 0)
			errno = 0; /* it stays as it is */
		if (c->rng >> 62 && ftruncate(c->fd, EXTRA_SIZE) < 0)
			errno = 0;
	}
	return NULL;
}

#define CUTS 8u

/*
 * Payload, headers and tables lie in memory that goes away meanwhile. Each request ends; the
 * connection may be ended for it with the next message.
 */
void hostile_cut_memory(struct hostile *h, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n += CUTS) {
		struct cutter c = { .rng = n };

		hostile_open(h, STAGE_SESSION);
		c.fd = memory(EXTRA_SIZE, 0);
		if (tell_region(h, MSG_ADD_MEM_REG, c.fd))
			front_die("a region was refused");
		for (uint64_t i = n; i < n + CUTS && i < to; i++) {
			hostile_case(h, i);
			hostile_some_bodies(h, 2);
		}
		hostile_aim(h, EXTRA_GPA, EXTRA_SIZE);
		if (pthread_create(&c.thread, NULL, cutter_thread, &c))
			front_die("no thread");
		for (uint32_t q = 0; q < FRONT_QUEUES; q++)
			hostile_fire_last(h, q);
		atomic_store(&c.stop, true);
		(void)pthread_join(c.thread, NULL); /* it was told to end */
		(void)close(c.fd);		    /* theirs is another */
		hostile_close(h);
	}
}

static void refused_as(struct hostile *h, const char *path, uint32_t request, const void *payload,
		       uint32_t size, int fd)
{
	if (front_tell(&h->f, request, payload, size, &fd, 1) != 1)
		front_die("%s was taken by %s", path, msg_name(request));
}

/* Those whose answer says more than that they were refused; nobody goes on with a log that is none. */
static void refused_for_moving(struct hostile *h, const char *path, int fd)
{
	uint32_t load[2] = { MSG_STATE_LOAD, MSG_STATE_STOPPED };
	uint64_t log[2] = { 4096, 0 }, answer = 0;

	hostile_open(h, STAGE_FEATURES);
	if (!front_send(&h->f, MSG_SET_DEVICE_STATE_FD, load, sizeof(load), &fd, 1) ||
	    front_receive(&h->f, MSG_SET_DEVICE_STATE_FD, &answer, 8) != 8 ||
	    answer != (MSG_STATE_NOFD | MSG_STATE_ERROR))
		front_die("%s was taken for a state", path);
	if (!front_send(&h->f, MSG_SET_LOG_BASE, log, sizeof(log), &fd, 1) ||
	    front_receive(&h->f, MSG_SET_LOG_BASE, &answer, 8) > 0)
		front_die("%s was taken for a log", path);
	hostile_close(h);
}

void refuses(const char *socket, const char *path)
{
	struct hostile h = { .socket = socket };
	struct {
		uint64_t size, offset;
		uint16_t queues, ring_size;
		uint32_t padding;
	} record = { .size = 1 << 20, .queues = FRONT_QUEUES, .ring_size = FRONT_NUM };
	uint64_t ring = 1;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		front_die("%s: %s", path, strerror(errno));
	hostile_open(&h, STAGE_SESSION);
	if (tell_region(&h, MSG_ADD_MEM_REG, fd) != 1)
		front_die("%s was taken for a guest's memory", path);
	refused_as(&h, path, MSG_SET_VRING_CALL, &ring, sizeof(ring), fd);
	refused_as(&h, path, MSG_SET_LOG_FD, NULL, 0, fd);
	hostile_close(&h);
	hostile_open(&h, STAGE_FEATURES);
	refused_as(&h, path, MSG_SET_INFLIGHT_FD, &record, sizeof(record), fd);
	hostile_close(&h);
	refused_for_moving(&h, path, fd);
	(void)close(fd); /* nothing was written */
}
