/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/vhost/hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/vhost/front.h"

/* An honest guest looks in after so many connections. */
#define LOOK_EVERY 4
/* A connection lives for so many attacks unless one of them ends it. */
#define LIFE 200

static uint64_t state;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t below(uint64_t limit)
{
	return next() % limit;
}

/* Numbers that code gets wrong. */
static uint64_t odd_number(void)
{
	static const uint64_t some[] = { 0,
					 1,
					 2,
					 3,
					 7,
					 8,
					 15,
					 16,
					 17,
					 39,
					 40,
					 41,
					 255,
					 256,
					 257,
					 4095,
					 4096,
					 0x7fff,
					 0x8000,
					 0xffff,
					 0x10000,
					 FRONT_LOW,
					 FRONT_LOW - 1,
					 FRONT_HIGH_GPA,
					 FRONT_HIGH_GPA - 1,
					 FRONT_HIGH_GPA + FRONT_HIGH,
					 0x7fffffff,
					 0x80000000,
					 0xffffffff,
					 0x7fffffffffffffff,
					 0x8000000000000000,
					 0xffffffffffffffff,
					 0xfffffffffffff000 };
	uint64_t n = some[below(sizeof(some) / sizeof(some[0]))];

	return below(4) ? n : n + below(64) - 32;
}

/* ---- messages ---- */

/* A message of random kind, size and descriptors; its payload mostly numbers that hurt. */
static void bad_message(struct front *f)
{
	uint64_t payload[64];
	uint32_t request = (uint32_t)(below(8) ? below(44) : odd_number() & 0xffff);
	uint32_t size = (uint32_t)(below(3) ? (uint64_t[]){ 0, 8, 40, 72, 52 }[below(5)] :
					      below(sizeof(payload)));
	int fds[10], count = below(2) ? (int)below(10) : (int)below(2);

	for (size_t i = 0; i < 64; i++)
		payload[i] = below(2) ? odd_number() : below(4);
	for (int i = 0; i < count; i++)
		fds[i] = below(3) ? f->memory_fd :
			 below(2) ? eventfd(0, EFD_CLOEXEC) :
				    open("/dev/null", O_RDWR | O_CLOEXEC);
	/* No reply is asked for: what comes of itself is read below. */
	if (!front_send(f, request, payload, size, fds, (unsigned)count))
		errno = 0;
	for (int i = 0; i < count; i++)
		if (fds[i] != f->memory_fd)
			(void)close(fds[i]);
}

static void torn_message(struct front *f)
{
	uint8_t bytes[64];
	size_t len = 1 + below(sizeof(bytes));

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)next();
	if (below(2))
		memcpy(bytes, (uint32_t[]){ MSG_SET_FEATURES, MSG_VERSION, 8 }, 12);
	if (write(f->fd, bytes, len) < 0)
		errno = 0;
}

/* Replies that nobody asked for. False: the connection has ended. */
static bool swallow(struct front *f)
{
	uint8_t bytes[4096];
	ssize_t got;

	while ((got = recv(f->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return got < 0 && errno == EAGAIN;
}

/* ---- rings ---- */

static void kick(const struct front_queue *q)
{
	uint64_t one = 1;

	if (q->kick >= 0 && write(q->kick, &one, sizeof(one)) < 0)
		errno = 0;
}

static void bad_ring(struct front *f)
{
	struct front_queue *q = &f->queue[below(FRONT_QUEUES)];
	struct vring_desc *table = (void *)front_at(f, q->table_gpa);
	struct vring_desc *d = below(2) ? q->desc : table;
	uint32_t count = 1 + (uint32_t)below(8);

	for (uint32_t i = 0; i < count; i++)
		d[below(8)] = (struct vring_desc){
			.addr = below(2) ? q->head_gpa + below(4096) : odd_number(),
			.len = (uint32_t)(below(2) ? below(5000) : odd_number()),
			.flags = (uint16_t)below(8),
			.next = (uint16_t)(below(4) ? below(9) : odd_number()),
		};
	if (d == table)
		q->desc[0] = (struct vring_desc){ .addr = below(8) ? q->table_gpa : odd_number(),
						  .len = (uint32_t)(below(4) ? 16 * below(9) :
									       odd_number()),
						  .flags = VRING_DESC_F_INDIRECT };
	q->avail[2 + q->avail_next % FRONT_NUM] = (uint16_t)(below(8) ? below(8) : odd_number());
	q->avail_next++;
	__atomic_store_n(&q->avail[1], below(16) ? q->avail_next : (uint16_t)odd_number(),
			 __ATOMIC_SEQ_CST);
	kick(q);
}

/* The same head several times over. */
static void same_heads(struct front *f)
{
	uint32_t index = (uint32_t)below(FRONT_QUEUES);
	struct fuse_getattr_in in = { 0 };
	struct fuse_message m = {
		.opcode = FUSE_GETATTR, .nodeid = 1, .args = &in, .arg_len = sizeof(in), .room = 104
	};
	uint16_t head = fuse_build(f, index, &m);

	for (uint64_t i = below(20); i; i--)
		front_offer(f, index, head);
}

/* ---- requests ---- */

static uint16_t bad_request(struct front *f, uint32_t index)
{
	uint8_t args[128], text[300];
	struct fuse_message m = {
		.opcode = (uint32_t)(below(16) ? below(54) : odd_number()),
		.nodeid = below(2) ? 1 : odd_number(),
		.args = args,
		.arg_len = below(3) ?
				   (size_t[]){ 0, 8, 16, 24, 32, 40, 48, 64, 88, 104 }[below(10)] :
				   below(sizeof(args)),
		.text = text,
		.text_len = below(2) ? below(sizeof(text)) : 0,
		.room = below(2) ? 144 : below(9000),
		.no_reply = !below(8),
	};
	uint16_t head;

	for (size_t i = 0; i + 8 <= sizeof(args); i += 8) {
		uint64_t number = below(2) ? odd_number() : below(3);

		memcpy(args + i, &number, sizeof(number));
	}
	memset(text, 'a' + (int)below(3), sizeof(text));
	if (m.text_len && below(8))
		text[m.text_len - 1] = 0;
	if (m.text_len > 4 && below(2))
		text[m.text_len / 2] = 0;
	head = fuse_build(f, index, &m);
	/* A header that lies, about its length first of all. */
	if (!below(3)) {
		uint32_t len = (uint32_t)odd_number();

		memcpy(front_at(f, f->queue[index].head_gpa), &len, sizeof(len));
	}
	return head;
}

static void changing_request(struct front *f)
{
	uint32_t index = (uint32_t)below(FRONT_QUEUES), len;
	struct front_queue *q = &f->queue[index];
	uint16_t head = bad_request(f, index);
	uint8_t *at = front_at(f, q->head_gpa);

	q->indirect = below(2);
	front_offer(f, index, head);
	/* While it is looked at. */
	for (uint64_t i = below(200); i; i--)
		at[below(64)] = (uint8_t)next();
	for (uint64_t i = below(4); i; i--)
		q->desc[below(8)].len = (uint32_t)odd_number();
	(void)front_take(f, index, (int)below(2), &len);
}

/* ---- all of it ---- */

static bool attack(struct front *f)
{
	switch (below(8)) {
	case 0: bad_message(f); break;
	case 1: bad_ring(f); break;
	case 2: same_heads(f); break;
	case 3:
		if (!below(16))
			torn_message(f);
		break;
	case 4:
		if (!below(64) && ftruncate(f->memory_fd, (off_t)below(FRONT_LOW)) == 0)
			kick(&f->queue[1]);
		break;
	default: changing_request(f); break;
	}
	return swallow(f);
}

static void honest(const char *socket, uint64_t at, uint64_t seed)
{
	struct fuse_attr attr;
	struct front f;

	front_connect(&f, socket);
	front_setup(&f, false);
	fuse_init(&f);
	if (fuse_getattr(&f, 1, &attr))
		front_die("seed %llu: after %llu attacks an honest guest gets no answer",
			  (unsigned long long)seed, (unsigned long long)at);
	front_close(&f);
}

void hostile(const char *socket, uint64_t seed, uint64_t cases)
{
	uint64_t done = 0;

	state = seed * 0x9e3779b97f4a7c15u + 1;
	(void)signal(SIGPIPE, SIG_IGN); /* a valid signal */
	while (done < cases) {
		struct front f;
		uint64_t life = 1 + below(LIFE);

		front_connect(&f, socket);
		front_setup(&f, below(2));
		if (below(8))
			fuse_init(&f);
		/* A file that was cut short is lost to us, too: the front end must not touch it. */
		while (life-- && done < cases) {
			done++;
			if (!attack(&f) ||
			    lseek(f.memory_fd, 0, SEEK_END) != FRONT_LOW + FRONT_HIGH)
				break;
		}
		front_close(&f);
		if (below(LOOK_EVERY) == 0)
			honest(socket, done, seed);
	}
	honest(socket, done, seed);
	printf("%llu attacks, seed %llu\n", (unsigned long long)done, (unsigned long long)seed);
}
