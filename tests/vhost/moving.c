/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory is copied as a front end copies it: all of it once, then what the log says, again and
 * again, while requests run; the last time with the rings stopped. The pages that only the back
 * end writes (used rings, the room for replies) must be the same then in the copy. Pages that it
 * has no reason to write must not be in the log.
 */
#include "tests/vhost/moving.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/vhost/front.h"

#define ROOT 1
#define PAGE 4096u
#define PAGES ((FRONT_LOW + FRONT_HIGH) / PAGE)
/* Up to the end of the upper region, and an offset that is none of mmap(2)'s. */
#define LOG_BYTES ((FRONT_HIGH_GPA + FRONT_HIGH) / PAGE / 8)
#define LOG_OFFSET 24u

struct move {
	struct front f;
	int log_fd, event;
	uint8_t *log, *copy;
	bool device_only[PAGES]; /* the front end writes nothing there */
	_Atomic bool stop;
	uint64_t seed, marks;
};

static uint32_t draw(struct move *v, uint32_t below)
{
	v->seed = v->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(v->seed >> 33) % below;
}

static uint64_t page_gpa(uint32_t page)
{
	uint64_t at = (uint64_t)page * PAGE;

	return at < FRONT_LOW ? at : FRONT_HIGH_GPA + (at - FRONT_LOW);
}

static void mark_device_only(struct move *v, uint64_t gpa, uint64_t len)
{
	uint64_t at = gpa < FRONT_HIGH_GPA ? gpa : FRONT_LOW + (gpa - FRONT_HIGH_GPA);

	for (uint64_t page = at / PAGE; page <= (at + len - 1) / PAGE; page++)
		v->device_only[page] = true;
}

static void make_log(struct move *v)
{
	struct {
		uint64_t size, offset;
	} payload = { .size = LOG_BYTES, .offset = LOG_OFFSET };
	uint64_t ack = 1;
	void *map;

	v->log_fd = memfd_create("log", MFD_CLOEXEC);
	if (v->log_fd < 0 || ftruncate(v->log_fd, LOG_OFFSET + LOG_BYTES))
		front_die("log: %s", strerror(errno));
	map = mmap(NULL, LOG_OFFSET + LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, v->log_fd, 0);
	if (map == MAP_FAILED)
		front_die("log: %s", strerror(errno));
	v->log = (uint8_t *)map + LOG_OFFSET;
	if (!front_send(&v->f, MSG_SET_LOG_BASE, &payload, sizeof(payload), &v->log_fd, 1) ||
	    front_receive(&v->f, MSG_SET_LOG_BASE, &ack, sizeof(ack)) != sizeof(ack) || ack)
		front_die("SET_LOG_BASE: no answer, or %llu", (unsigned long long)ack);
	v->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (front_tell(&v->f, MSG_SET_LOG_FD, NULL, 0, &v->event, 1))
		front_die("SET_LOG_FD was refused");
}

/* Clear a mark first, then copy: what is written in between is marked again. */
static void harvest(struct move *v)
{
	for (uint32_t page = 0; page < PAGES; page++) {
		uint64_t number = page_gpa(page) / PAGE;
		uint8_t bit = (uint8_t)(1u << number % 8);

		if (!(__atomic_load_n(&v->log[number / 8], __ATOMIC_SEQ_CST) & bit))
			continue;
		(void)__atomic_fetch_and(&v->log[number / 8], (uint8_t)~bit, __ATOMIC_SEQ_CST);
		if (!v->device_only[page])
			front_die("page %#llx is in the log", (unsigned long long)page_gpa(page));
		memcpy(v->copy + (size_t)page * PAGE, v->f.memory + (size_t)page * PAGE, PAGE);
		v->marks++;
	}
}

static void *harvester(void *arg)
{
	struct move *v = arg;

	while (!atomic_load(&v->stop))
		harvest(v);
	return NULL;
}

static void compare(struct move *v)
{
	for (uint32_t page = 0; page < PAGES; page++)
		if (v->device_only[page] && memcmp(v->copy + (size_t)page * PAGE,
						   v->f.memory + (size_t)page * PAGE, PAGE) != 0)
			front_die("page %#llx was written and is not in the log",
				  (unsigned long long)page_gpa(page));
}

static void requests(struct move *v, uint64_t file, unsigned rounds)
{
	static uint8_t data[FRONT_DATA_MAX];
	struct fuse_read_in dir = { .size = 8192 };
	struct fuse_message list = { .opcode = FUSE_READDIR,
				     .nodeid = ROOT,
				     .args = &dir,
				     .arg_len = sizeof(dir),
				     .room = 8192 };

	for (unsigned i = 0; i < rounds; i++) {
		uint32_t len = 1 + draw(v, FRONT_DATA_MAX), at = draw(v, FRONT_DATA_MAX);
		struct fuse_entry_out e;
		struct fuse_attr attr;
		int err = 0;

		switch (draw(v, 8)) {
		case 0:
			memset(data, (int)draw(v, 256), len);
			err = fuse_write(&v->f, file, at, data, len);
			break;
		case 1:
		case 2: err = fuse_read(&v->f, file, at, NULL, len) < 0; break;
		case 3: err = fuse_read(&v->f, ROOT, 0, NULL, len) != -EISDIR; break;
		case 4: err = fuse_call(&v->f, 1, &list, NULL, NULL); break;
		case 5: err = fuse_lookup(&v->f, ROOT, "absent", &e) != -ENOENT; break;
		case 6: err = fuse_setlk(&v->f, file, 1, F_WRLCK, false); break;
		default: err = fuse_getattr(&v->f, file, &attr); break;
		}
		if (err)
			front_die("a request fails: %d", err);
	}
	/* Errors last, on each queue: nothing that succeeds marks the page for them. */
	for (unsigned i = 0; i < 2; i++) {
		struct fuse_entry_out e;

		if (fuse_lookup(&v->f, ROOT, "absent", &e) != -ENOENT)
			front_die("lookup");
	}
}

/* A READ may have left bytes in all of its room, whatever its reply says: the file may have been cut meanwhile. */
static void read_at_end(struct move *v, uint64_t file)
{
	const struct front_queue *q = &v->f.queue[2];
	struct fuse_attr attr;
	int64_t got;

	if (fuse_getattr(&v->f, file, &attr))
		front_die("getattr");
	got = fuse_read(&v->f, file, attr.size - 1, NULL, 16 * PAGE);
	if (got != 1)
		front_die("%lld bytes at the end of the file", (long long)got);
	for (uint64_t page = q->out_gpa / PAGE; page < q->out_gpa / PAGE + 16; page++)
		if (!(v->log[page / 8] >> page % 8 & 1))
			front_die("the room of a short READ is not in the log from page %llu on",
				  (unsigned long long)page);
}

static void setup(struct move *v, const char *socket, bool by_gpa, struct fuse_entry_out *file)
{
	front_connect(&v->f, socket);
	v->f.by_gpa = by_gpa;
	front_setup(&v->f, false);
	fuse_init(&v->f);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++) {
		struct front_queue *q = &v->f.queue[i];

		mark_device_only(v, q->ring_gpa + 0x8000, 6 + FRONT_NUM * 8);
		mark_device_only(v, q->head_gpa + 0x8000, PAGE);
		mark_device_only(v, q->out_gpa, FRONT_DATA_MAX);
	}
	if (fuse_create(&v->f, ROOT, "moving", 0600, file))
		front_die("create");
	requests(v, file->nodeid, 20);
	v->copy = malloc((size_t)PAGES * PAGE);
	if (!v->copy)
		front_die("out of memory");
}

void moving_log(const char *socket, uint64_t seed, bool by_gpa)
{
	struct move *v = calloc(1, sizeof(*v));
	uint16_t base[FRONT_QUEUES];
	struct fuse_entry_out file;
	pthread_t thread;
	uint64_t count;

	if (!v)
		front_die("out of memory");
	v->seed = seed;
	setup(v, socket, by_gpa, &file);
	make_log(v);
	front_log(&v->f, true);
	read_at_end(v, file.nodeid);
	memcpy(v->copy, v->f.memory, (size_t)PAGES * PAGE);
	if (pthread_create(&thread, NULL, harvester, v))
		front_die("no thread");
	requests(v, file.nodeid, 2000);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		base[i] = front_stop_queue(&v->f, i);
	atomic_store(&v->stop, true);
	(void)pthread_join(thread, NULL);
	harvest(v);
	compare(v);
	if (read(v->event, &count, sizeof(count)) != sizeof(count))
		front_die("nobody told that the log has changed");
	printf("%llu pages by the log\n", (unsigned long long)v->marks);

	/* It does not move after all: nothing is logged any more. */
	v->f.logs = false;
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		front_start_queue(&v->f, i, base[i]);
	front_log(&v->f, false);
	v->marks = 0;
	harvest(v);
	v->marks = 0;
	requests(v, file.nodeid, 50);
	harvest(v);
	if (v->marks)
		front_die("%llu pages were logged after the end", (unsigned long long)v->marks);
	front_close(&v->f);
	free(v->copy);
	free(v);
}
