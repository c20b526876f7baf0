/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Front ends that do not do what a window asks of them: they refuse, are late, answer twice or not at all or with something
 * else, announce what is not there, hand over another socket, or go away in between.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/vhost/hostile.h"
#include "tests/vhost/hostile_window.h"

#define WINDOW_INIT 0x1ffu
#define WAIT_MS 8

void window_open(struct hostile *h, struct window *w)
{
	struct fuse_init_out out;

	h->tables = hostile_one_in(h, 2);
	hostile_open(h, STAGE_RINGS);
	shm_setup(&w->shm, &h->f, false);
	out = fuse_init_with(&h->f, WINDOW_INIT);
	if (!(out.flags & FUSE_MAP_ALIGNMENT))
		front_die("INIT: no window");
}

void window_close(struct hostile *h, struct window *w)
{
	hostile_close(h);
	shm_close(&w->shm);
}

/* ---- answers ---- */

struct liar {
	struct hostile *h;
	int fd;
	pthread_t thread;
	uint64_t rng;
	uint32_t honest; /* so many of eight answers are right */
};

static uint64_t draw(struct liar *l, uint64_t limit)
{
	l->rng = l->rng * 6364136223846793005u + 1442695040888963407u;
	return (l->rng >> 20) % limit;
}

struct asked {
	struct msg_header head;
	struct msg_shmem shmem;
} __attribute__((packed));

struct answer {
	struct msg_header head;
	uint64_t value;
} __attribute__((packed));

static void announce(struct liar *l, const struct asked *in, int fd, bool lies)
{
	bool add = in->head.request == MSG_BACKEND_SHMEM_MAP;
	struct {
		uint64_t padding;
		struct msg_region region;
	} slot = { .region = { .gpa = SHM_GPA + in->shmem.shm_offset,
			       .size = in->shmem.len,
			       .uva = SHM_UVA + in->shmem.shm_offset,
			       .offset = in->shmem.fd_offset } };

	if (l->h->f.by_gpa)
		slot.region.uva = 0;
	if (lies) {
		uint64_t *word[] = { &slot.region.gpa, &slot.region.size, &slot.region.offset };

		*word[draw(l, 3)] ^= UINT64_C(4096) << draw(l, 50);
	}
	if (add && fd < 0)
		return;
	if (!front_has_slots(&l->h->f)) {
		(void)front_send_table(&l->h->f, &slot.region, add ? 1 : 0, fd);
		return;
	}
	(void)front_send(&l->h->f, add ? MSG_ADD_MEM_REG : MSG_REM_MEM_REG, &slot, sizeof(slot),
			 &fd, add ? 1 : 0);
}

/* False: it has gone. */
static bool respond(struct liar *l, const struct asked *in, int fd)
{
	struct answer a = {
		.head = { .request = in->head.request, .flags = MSG_VERSION | MSG_REPLY, .size = 8 }
	};
	size_t len = sizeof(a);
	uint32_t times = 1;

	if (draw(l, 8) < l->honest) {
		(void)send(l->fd, &a, len, MSG_NOSIGNAL);
		announce(l, in, fd, draw(l, 8) == 0);
		return true;
	}
	switch (draw(l, 10)) {
	case 0: a.value = 1 + draw(l, UINT32_MAX); break;
	case 1: (void)poll(NULL, 0, 1 + (int)draw(l, 4)); break;
	case 2: times = 2; break;
	case 3: a.head.request = (uint32_t)draw(l, 16); break;
	case 4: a.head.flags = (uint32_t)draw(l, 16); break;
	case 5: a.head.size = (uint32_t)draw(l, UINT32_MAX); break;
	case 6: len = draw(l, sizeof(a)); break;
	case 7: times = 0; break;
	case 8: return false;
	default: announce(l, in, fd, draw(l, 2)); break;
	}
	for (uint32_t i = 0; i < times && len; i++)
		(void)send(l->fd, &a, len, MSG_NOSIGNAL);
	if (draw(l, 2))
		announce(l, in, fd, draw(l, 2));
	return true;
}

/* The question alone has no words. */
static bool hear(struct liar *l, struct asked *ret_in, int *ret_fd)
{
	struct iovec iov = { &ret_in->head, sizeof(ret_in->head) };
	char control[CMSG_SPACE(sizeof(int))];
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };

	memset(ret_in, 0, sizeof(*ret_in));
	if (recvmsg(l->fd, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof(ret_in->head))
		return false;
	if (CMSG_FIRSTHDR(&msg))
		memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(*ret_fd));
	return !ret_in->head.size || recv(l->fd, &ret_in->shmem, sizeof(ret_in->shmem),
					  MSG_WAITALL) == (ssize_t)sizeof(ret_in->shmem);
}

static void *liar_thread(void *arg)
{
	struct liar *l = arg;

	for (;;) {
		struct asked in;
		int fd = -1;
		bool stays;

		if (!hear(l, &in, &fd))
			return NULL;
		stays = respond(l, &in, fd);
		if (fd >= 0)
			(void)close(fd);
		if (!stays) {
			(void)shutdown(l->fd, SHUT_RDWR);
			return NULL;
		}
	}
}

static void start_liar(struct liar *l, struct hostile *h)
{
	int pair[2];

	*l = (struct liar){ .h = h,
			    .rng = hostile_next(h),
			    .honest = (uint32_t)hostile_below(h, 8) };
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		front_die("window: %s", strerror(errno));
	l->fd = pair[0];
	/* Not waited for: whoever lies may have ended it. */
	(void)front_send(&h->f, MSG_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1);
	(void)close(pair[1]);
	if (pthread_create(&l->thread, NULL, liar_thread, l))
		front_die("window: no thread");
}

static void stop_liar(struct liar *l)
{
	(void)shutdown(l->fd, SHUT_RDWR);
	(void)pthread_join(l->thread, NULL); /* nothing comes any more */
	(void)close(l->fd);
}

/* ---- guests ---- */

static uint64_t some_file(struct hostile *h)
{
	struct fuse_entry_out e;

	if (fuse_lookup(&h->f, 1, "false", &e) && fuse_create(&h->f, 1, "false", 0600, &e))
		front_die("no file to map");
	if (e.attr.size < 3 * SHM_RANGE && fuse_truncate(&h->f, e.nodeid, 3 * SHM_RANGE))
		front_die("no room for a file to map");
	return e.nodeid;
}

static void shoot_some(struct hostile *h, uint64_t node)
{
	for (uint64_t i = 1 + hostile_below(h, 6); i; i--) {
		uint64_t place = hostile_below(h, 8) * SHM_RANGE;
		struct fuse_setupmapping_in in = { .foffset = hostile_below(h, 3) * SHM_RANGE,
						   .len = SHM_RANGE,
						   .flags = 3,
						   .moffset = place };
		struct {
			uint32_t count;
			struct fuse_removemapping_one one;
		} __attribute__((packed)) out = { 1, { place, SHM_RANGE } };
		struct fuse_message m = { .opcode = FUSE_SETUPMAPPING,
					  .nodeid = node,
					  .args = &in,
					  .arg_len = sizeof(in) };

		if (hostile_one_in(h, 3))
			m = (struct fuse_message){ .opcode = FUSE_REMOVEMAPPING,
						   .nodeid = 1,
						   .args = &out,
						   .arg_len = sizeof(out) };
		(void)hostile_ask(h, 1 + (uint32_t)hostile_below(h, 2), &m);
	}
}

/* What was taken has come back. */
static void stop_and_count(struct hostile *h)
{
	for (uint32_t q = 1; q < FRONT_QUEUES; q++) {
		uint32_t state[2] = { q, 0 };
		const struct front_queue *ring = &h->f.queue[q];
		uint16_t used;

		if (!front_send(&h->f, MSG_GET_VRING_BASE, state, sizeof(state), NULL, 0) ||
		    front_receive(&h->f, MSG_GET_VRING_BASE, state, sizeof(state)) != sizeof(state))
			front_die("ring %u was not stopped beside a front end that does not answer",
				  q);
		used = __atomic_load_n(&ring->used[1], __ATOMIC_SEQ_CST);
		if (state[1] != used)
			front_die("ring %u: %u of %u came back", q, used, state[1]);
	}
}

static void renew(struct hostile *h)
{
	hostile_some_sessions(h, 2);
	hostile_offer(h);
	(void)poll(NULL, 0, 1);
}

static bool configure(struct hostile *h)
{
	struct msg_shmem_config config;

	return front_send(&h->f, MSG_GET_SHMEM_CONFIG, NULL, 0, NULL, 0) &&
	       front_receive(&h->f, MSG_GET_SHMEM_CONFIG, &config, sizeof(config)) ==
		       sizeof(config);
}

static void wrong_socket(struct hostile *h)
{
	int fd;

	(void)hostile_fd(h, &fd);
	(void)front_send(&h->f, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fd, 1);
	(void)close(fd);
}

static void run_liar(struct hostile *h, struct liar *l, struct liar *second, uint64_t node)
{
	shoot_some(h, node);
	/* Memory of requests is the window, which comes and goes. */
	if (hostile_one_in(h, 2)) {
		hostile_some_bodies(h, 4);
		hostile_aim(h, SHM_GPA, 8 * SHM_RANGE);
	}
	hostile_offer(h);
	(void)poll(NULL, 0, (int)hostile_below(h, WAIT_MS));
	switch (hostile_below(h, 6)) {
	case 0: stop_and_count(h); break;
	case 1: renew(h); break;
	case 2:
		start_liar(second, h);
		hostile_some_bodies(h, 2);
		hostile_offer(h);
		break;
	case 3: (void)shutdown(l->fd, SHUT_RDWR); break;
	case 4: wrong_socket(h); break;
	default: break;
	}
	(void)poll(NULL, 0, (int)hostile_below(h, WAIT_MS));
}

/* The connection's end is the end of all that waits, whoever was asked for what. */
void hostile_false_fronts(struct hostile *h, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n++) {
		struct liar first, second = { .fd = -1 };
		uint64_t node;

		hostile_case(h, n);
		h->tables = hostile_one_in(h, 2);
		hostile_open(h, STAGE_RINGS);
		if (!configure(h))
			front_die("GET_SHMEM_CONFIG");
		if (hostile_one_in(h, 16))
			wrong_socket(h);
		start_liar(&first, h);
		/* The socket is known before the guest asks. */
		if (!configure(h))
			front_die("GET_SHMEM_CONFIG");
		(void)fuse_init_with(&h->f, WINDOW_INIT);
		node = some_file(h);
		run_liar(h, &first, &second, node);
		/* Those who send on the connection end before it does. */
		stop_liar(&first);
		if (second.fd >= 0)
			stop_liar(&second);
		hostile_close(h);
	}
}
