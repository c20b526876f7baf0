/* SPDX-License-Identifier: GPL-2.0-only */
/* Lies about what outlives a connection: the record of what is in flight, the log of written memory, a session's state. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/vhost/hostile.h"
#include "tests/vhost/state.h"
#include "vhost/inflight.h"

#define PAGE 4096u
#define INFLIGHT_SIZE 24u
/* Of the guest's memory. */
#define LOG_NEEDED ((FRONT_HIGH_GPA + FRONT_HIGH) / PAGE / 8)

static uint64_t small_or_odd(struct hostile *h, uint64_t limit)
{
	return hostile_one_in(h, 3) ? hostile_odd(h) : hostile_below(h, limit);
}

/* As far as can be seen from here. */
static bool may_be_shared(int fd, uint64_t size)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size >= size;
}

/* ---- records ---- */

struct record {
	union msg_payload area;
	int fd;
	uint8_t *at; /* NULL: there is none */
	size_t len;
	pthread_t thread;
	_Atomic bool stop;
	uint64_t rng;
};

/* As it was asked for, or none. */
static void get_record(struct hostile *h, struct record *r)
{
	union msg_payload want = { .inflight = { .queues = FRONT_QUEUES, .ring_size = FRONT_NUM } };

	*r = (struct record){ .fd = -1 };
	if (hostile_one_in(h, 8)) {
		want.inflight.queues = (uint16_t)small_or_odd(h, 70);
		want.inflight.ring_size = (uint16_t)small_or_odd(h, 1100);
	}
	if (!front_send(&h->f, MSG_GET_INFLIGHT_FD, &want, INFLIGHT_SIZE, NULL, 0) ||
	    front_receive_fd(&h->f, MSG_GET_INFLIGHT_FD, &r->area, INFLIGHT_SIZE, &r->fd) !=
		    (int)INFLIGHT_SIZE)
		front_die("GET_INFLIGHT_FD: the connection has ended");
	if ((r->fd >= 0) != (r->area.inflight.size > 0))
		front_die("GET_INFLIGHT_FD: %llu bytes, descriptor %d",
			  (unsigned long long)r->area.inflight.size, r->fd);
	if (r->fd < 0)
		return;
	r->len = r->area.inflight.size;
	r->at = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (r->at == MAP_FAILED)
		front_die("a record of %zu bytes that cannot be mapped", r->len);
}

static void put_record(struct record *r)
{
	if (!r->at)
		return;
	(void)munmap(r->at, r->len);
	(void)close(r->fd);
}

/* Rotten in a way that is no lie about its size. */
static void rot_ring(struct hostile *h, struct record *r, uint32_t queue)
{
	size_t part = r->len / (r->area.inflight.queues ? r->area.inflight.queues : 1);
	struct inflight_head *head = (void *)(r->at + queue * (part / 64 * 64));

	if (queue >= r->area.inflight.queues)
		return;
	head->version = (uint16_t)(hostile_one_in(h, 8) ? hostile_odd(h) : 1);
	head->desc_num = (uint16_t)(hostile_one_in(h, 8) ? hostile_odd(h) : FRONT_NUM);
	head->last_batch_head = (uint16_t)small_or_odd(h, FRONT_NUM);
	head->used_idx = (uint16_t)small_or_odd(h, FRONT_NUM);
	for (uint64_t i = hostile_below(h, FRONT_NUM); i; i--) {
		struct inflight_desc *d = &head->desc[hostile_below(h, FRONT_NUM)];

		if ((uint8_t *)(d + 1) > r->at + r->len)
			continue;
		d->taken = (uint8_t)hostile_below(h, 3);
		d->next = (uint16_t)small_or_odd(h, FRONT_NUM);
		d->counter = small_or_odd(h, 8);
	}
}

static void rot_record(struct hostile *h, struct record *r)
{
	switch (hostile_below(h, 4)) {
	case 0:
		for (size_t i = 0; i + 8 <= r->len; i += 8)
			memcpy(r->at + i, &(uint64_t){ hostile_next(h) }, 8);
		break;
	case 1:
		for (uint64_t i = 1 + hostile_below(h, 32); i; i--)
			r->at[hostile_below(h, r->len)] ^= (uint8_t)(1u << hostile_below(h, 8));
		break;
	case 2:
		/* What was agreed, which is behind the rings. */
		if (r->len > INFLIGHT_NOTE_MAX)
			r->at[r->len - 1 - hostile_below(h, INFLIGHT_NOTE_MAX)] ^= 1;
		break;
	default:
		for (uint32_t q = 0; q < FRONT_QUEUES; q++)
			rot_ring(h, r, q);
	}
}

/* False: it was refused. */
static bool give_record(struct hostile *h, const struct record *r)
{
	union msg_payload area = r->area;
	int fd = r->fd, got;

	if (hostile_one_in(h, 3)) {
		area.inflight.size = small_or_odd(h, 2 * r->len);
		area.inflight.offset = small_or_odd(h, 512) * (hostile_one_in(h, 2) ? 8 : 1);
		area.inflight.queues = (uint16_t)small_or_odd(h, 8);
		area.inflight.ring_size = (uint16_t)small_or_odd(h, 1100);
	}
	got = front_tell(&h->f, MSG_SET_INFLIGHT_FD, &area, INFLIGHT_SIZE, &fd, 1);
	if (got < 0)
		front_die("SET_INFLIGHT_FD: the connection has ended");
	return got == 0;
}

static void give_wrong_record(struct hostile *h, const struct record *r)
{
	const struct fd_kind *kind;
	bool shared;
	int fd, got;

	kind = hostile_fd(h, &fd);
	got = front_tell(&h->f, MSG_SET_INFLIGHT_FD, &r->area, INFLIGHT_SIZE, &fd, 1);
	shared = may_be_shared(fd, r->area.inflight.size);
	(void)close(fd);
	if (got < 0 || (got == 0 && !shared))
		front_die("SET_INFLIGHT_FD of %s: %d", kind->name, got);
}

static void *rotter(void *arg)
{
	struct record *r = arg;

	while (!atomic_load(&r->stop)) {
		r->rng = r->rng * 6364136223846793005u + 1442695040888963407u;
		r->at[(r->rng >> 20) % r->len] = (uint8_t)(r->rng >> 12);
	}
	return NULL;
}

/* A ring may be refused for its record: what of the rest comes is a matter of that. */
static void start_anyhow(struct hostile *h)
{
	for (uint32_t q = 0; q < FRONT_QUEUES; q++) {
		uint32_t state[2] = { q, FRONT_NUM };
		uint64_t number = q;
		int kick = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

		h->f.queue[q].kick = kick;
		if (front_tell(&h->f, MSG_SET_VRING_NUM, state, sizeof(state), NULL, 0) < 0 ||
		    front_tell(&h->f, MSG_SET_VRING_KICK, &number, sizeof(number), &kick, 1) < 0)
			front_die("a ring with a rotten record: the connection has ended");
		state[1] = 1;
		if (front_tell(&h->f, MSG_SET_VRING_ENABLE, state, sizeof(state), NULL, 0) < 0)
			front_die("a ring with a rotten record: the connection has ended");
	}
}

static void run_with(struct hostile *h, struct record *r)
{
	bool changes = r->at && hostile_one_in(h, 3);

	if (changes) {
		r->rng = hostile_next(h);
		atomic_store(&r->stop, false);
		if (pthread_create(&r->thread, NULL, rotter, r))
			front_die("no thread");
	}
	start_anyhow(h);
	hostile_some_bodies(h, 8);
	hostile_offer(h);
	(void)poll(NULL, 0, (int)hostile_below(h, 3));
	if (changes) {
		atomic_store(&r->stop, true);
		(void)pthread_join(r->thread, NULL); /* it was told to end */
	}
	for (uint32_t q = 0; q < FRONT_QUEUES; q++)
		h->shots[q] = 0;
}

static void shoot_record(struct hostile *h)
{
	struct record r;

	hostile_stop_rings(h);
	get_record(h, &r);
	if (!r.at || hostile_one_in(h, 6)) {
		give_wrong_record(h, &r);
	} else {
		/* One that was used: the note is in it, and what the rings leave. */
		if (hostile_one_in(h, 2) && give_record(h, &r)) {
			start_anyhow(h);
			hostile_some_sessions(h, 2);
			hostile_offer(h);
			(void)poll(NULL, 0, 1);
			hostile_stop_rings(h);
		}
		rot_record(h, &r);
		if (hostile_one_in(h, 2) &&
		    front_tell(&h->f, MSG_RESET_DEVICE, NULL, 0, NULL, 0) < 0)
			front_die("RESET_DEVICE: the connection has ended");
		(void)give_record(h, &r);
	}
	run_with(h, &r);
	put_record(&r);
}

void hostile_records(struct hostile *h, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n++) {
		hostile_case(h, n);
		hostile_open(h, STAGE_SESSION);
		shoot_record(h);
		hostile_close(h);
	}
}

/* ---- logs ---- */

/* SET_LOG_BASE's answer; false: the connection has ended. */
static bool give_log(struct hostile *h, uint64_t size, uint64_t offset, int fd)
{
	uint64_t payload[2] = { size, offset }, answer = 1;

	if (!front_send(&h->f, MSG_SET_LOG_BASE, payload, sizeof(payload), &fd, 1) ||
	    front_receive(&h->f, MSG_SET_LOG_BASE, &answer, sizeof(answer)) != sizeof(answer))
		return false;
	if (answer)
		front_die("SET_LOG_BASE: %llu", (unsigned long long)answer);
	return true;
}

/* A log that cannot be used ends the connection: the guest must not arrive with old pages. */
static void shoot_bad_log(struct hostile *h)
{
	const struct fd_kind *kind = NULL;
	uint64_t size = LOG_NEEDED, offset = 0;
	int fd;

	switch (hostile_below(h, 4)) {
	case 0: kind = hostile_fd(h, &fd); break;
	case 1: size = hostile_below(h, LOG_NEEDED); break;
	case 2: offset = 1 + hostile_odd(h) % UINT64_MAX; break;
	default: size = LOG_NEEDED + 1 + hostile_next(h) % (UINT64_MAX - LOG_NEEDED); break;
	}
	if (!kind) {
		fd = memfd_create("log", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, LOG_NEEDED))
			front_die("log: %s", strerror(errno));
	}
	if (give_log(h, size, offset, fd) && (!kind || !may_be_shared(fd, LOG_NEEDED)))
		front_die("a log of %llu bytes at %llu in %s was taken", (unsigned long long)size,
			  (unsigned long long)offset, kind ? kind->name : "memory");
	(void)close(fd);
	hostile_close(h);
}

/* A queue that writes to one may wait, until it is stopped. */
static void give_log_event(struct hostile *h)
{
	const struct fd_kind *kind;
	int fd, got;

	kind = hostile_fd(h, &fd);
	got = front_tell(&h->f, MSG_SET_LOG_FD, NULL, 0, &fd, 1);
	(void)close(fd);
	if (got < 0 || (got == 0) != !!(kind->flags & EVENT))
		front_die("SET_LOG_FD of %s: %d", kind->name, got);
	hostile_some_bodies(h, 4);
	hostile_offer(h);
	hostile_restart_rings(h);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0 || front_tell(&h->f, MSG_SET_LOG_FD, NULL, 0, &fd, 1))
		front_die("SET_LOG_FD of an event was refused");
	(void)close(fd);
}

/* Where the ring's writes are logged is the front end's word. */
static void twist_addresses(struct hostile *h)
{
	for (uint32_t q = 0; q < FRONT_QUEUES; q++) {
		uint64_t low = UINT64_C(0x7f1000000000), gpa = h->f.queue[q].ring_gpa;
		union msg_payload p = { .addr = { .index = q, .flags = 1 } };

		low = h->f.by_gpa ? 0 : low;
		p.addr.desc = low + gpa;
		p.addr.avail = low + gpa + 0x4000;
		p.addr.used = low + gpa + 0x8000;
		p.addr.log = hostile_odd(h);
		if (front_tell(&h->f, MSG_SET_VRING_ADDR, &p, 40, NULL, 0))
			front_die("a ring's address was refused");
	}
}

static void want_canaries(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i] != HOSTILE_CANARY)
			front_die("a byte outside of the log was written");
}

/* Served as ever, with every page marked in the log and nothing around it touched. */
static void shoot_log(struct hostile *h)
{
	uint64_t offset = hostile_below(h, 2 * PAGE), size = LOG_NEEDED + hostile_below(h, PAGE);
	bool cut = hostile_one_in(h, 4);
	uint64_t whole = offset + size + PAGE;
	int fd = memfd_create("log", MFD_CLOEXEC);
	uint8_t *at;

	if (fd < 0 || ftruncate(fd, (off_t)whole))
		front_die("log: %s", strerror(errno));
	at = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		front_die("log: %s", strerror(errno));
	memset(at, HOSTILE_CANARY, offset);
	memset(at + offset + size, HOSTILE_CANARY, PAGE);
	if (!give_log(h, size, offset, fd))
		front_die("a log was refused");
	front_log(&h->f, true);
	front_settle(&h->f);
	if (hostile_one_in(h, 2))
		give_log_event(h);
	if (hostile_one_in(h, 2))
		twist_addresses(h);
	if (cut && ftruncate(fd, (off_t)hostile_below(h, whole)))
		front_die("log: %s", strerror(errno));
	hostile_some_bodies(h, 8);
	hostile_fire(h);
	if (!cut) {
		want_canaries(at, offset);
		want_canaries(at + offset + size, PAGE);
	}
	(void)munmap(at, whole);
	(void)close(fd);
}

void hostile_logs(struct hostile *h, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n++) {
		hostile_case(h, n);
		hostile_open(h, STAGE_SESSION);
		if (hostile_one_in(h, 3))
			shoot_bad_log(h);
		else
			shoot_log(h);
	}
}

/* ---- states ---- */

/* Of a guest of this image that has mounted; it is the same for all cases of a life. */
static struct state good;

static void make_good(struct hostile *h)
{
	hostile_open(h, STAGE_SESSION);
	hostile_stop_rings(h);
	state_save(&h->f, &good);
	hostile_close(h);
}

static void twist_state(struct hostile *h, struct state *s)
{
	size_t at = hostile_below(h, good.len), other = hostile_below(h, good.len), len;

	*s = good;
	switch (hostile_below(h, 6)) {
	case 0:
		for (uint64_t i = 1 + hostile_below(h, 8); i; i--)
			s->bytes[hostile_below(h, good.len)] +=
				(uint8_t)(1 + hostile_below(h, 255));
		break;
	case 1: s->len = at; break;
	case 2: s->len += 1 + hostile_below(h, STATE_MAX - good.len); break;
	case 3:
		/* A number in the head that is another one. */
		memcpy(s->bytes + at / 8 * 8 % 0x50, &(uint64_t){ hostile_odd(h) }, 8);
		break;
	case 4:
		/* What is elsewhere in it. */
		len = 1 + hostile_below(h, 64);
		len = at + len > good.len ? good.len - at : len;
		len = other + len > good.len ? good.len - other : len;
		memmove(s->bytes + at, good.bytes + other, len);
		break;
	default:
		for (size_t i = at; i < s->len; i++)
			s->bytes[i] = (uint8_t)hostile_next(h);
	}
}

static bool is_good(const struct state *s)
{
	return s->len == good.len && memcmp(s->bytes, good.bytes, good.len) == 0;
}

/* As much of it as somebody reads, in pieces. */
static void pour(struct hostile *h, int fd, const struct state *s, bool without_end)
{
	static const uint8_t zeros[65536];
	size_t piece = hostile_one_in(h, 4) ? 1 + hostile_below(h, 100) : STATE_MAX;

	for (size_t at = 0; at < s->len;) {
		ssize_t done = write(fd, s->bytes + at, s->len - at < piece ? s->len - at : piece);

		if (done < 0)
			return;
		at += (size_t)done;
	}
	while (without_end && write(fd, zeros, sizeof(zeros)) > 0)
		;
}

static void channel(struct hostile *h, int fds[2])
{
	if (hostile_one_in(h, 3) ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) :
				   pipe2(fds, O_CLOEXEC))
		front_die("channel: %s", strerror(errno));
}

static void want_check(struct hostile *h, bool moved, const char *what)
{
	int got = state_check(&h->f);

	h->judged = true;
	if ((got == 0) != moved)
		front_die("%s: CHECK_DEVICE_STATE says that it was %smoved", what,
			  got ? "not " : "");
	h->judged = false;
}

static void begin_load(struct hostile *h, int fds[2])
{
	channel(h, fds);
	if (!state_begin(&h->f, MSG_STATE_LOAD, fds[0]))
		front_die("loading was refused");
}

/* A guest that has arrived is one like any other; then nobody again. */
static void use_and_reset(struct hostile *h)
{
	if (hostile_one_in(h, 8)) {
		struct fuse_attr attr;

		for (uint32_t q = 0; q < FRONT_QUEUES; q++) {
			memset(front_at(&h->f, q * FRONT_RING), 0, FRONT_RING);
			h->f.queue[q].avail_next = h->f.queue[q].used_seen = 0;
			front_start_queue(&h->f, q, 0);
		}
		front_settle(&h->f);
		if (fuse_getattr(&h->f, 1, &attr))
			front_die("a guest that has arrived gets no answer");
		for (uint32_t q = 0; q < FRONT_QUEUES; q++)
			(void)front_stop_queue(&h->f, q);
	}
	if (front_tell(&h->f, MSG_RESET_DEVICE, NULL, 0, NULL, 0))
		front_die("RESET_DEVICE was refused");
}

static void load_good(struct hostile *h)
{
	int fds[2];

	begin_load(h, fds);
	pour(h, fds[1], &good, false);
	(void)close(fds[1]);
	want_check(h, true, "a whole state");
	use_and_reset(h);
}

static void load_twisted(struct hostile *h)
{
	static struct state s;
	bool without_end = hostile_one_in(h, 8);
	int fds[2];

	twist_state(h, &s);
	if (is_good(&s) && !without_end)
		return;
	begin_load(h, fds);
	pour(h, fds[1], &s, without_end);
	(void)close(fds[1]);
	want_check(h, false, "a twisted state");
}

/* It neither comes nor ends: the next message is the end of it. */
static void load_nothing(struct hostile *h)
{
	uint64_t features;
	struct state s = good;
	int fds[2];

	begin_load(h, fds);
	s.len = hostile_below(h, good.len + 1);
	pour(h, fds[1], &s, false);
	if (hostile_one_in(h, 4)) {
		(void)front_send(&h->f, MSG_CHECK_DEVICE_STATE, NULL, 0, NULL, 0);
		hostile_close(h);
		(void)close(fds[1]);
		return;
	}
	if (!front_send(&h->f, MSG_GET_FEATURES, NULL, 0, NULL, 0) ||
	    front_receive(&h->f, MSG_GET_FEATURES, &features, 8) != 8)
		front_die("nobody is there while a state is loaded");
	want_check(h, false, "a state that was given up");
	(void)close(fds[1]);
}

static void load_twice(struct hostile *h)
{
	int first[2], second[2];

	begin_load(h, first);
	begin_load(h, second);
	pour(h, second[1], &good, false);
	(void)close(second[1]);
	want_check(h, true, "a second state");
	(void)close(first[1]);
	use_and_reset(h);
	want_check(h, false, "none");
}

/* Words, descriptors and times that are none. */
static void refused_transfer(struct hostile *h)
{
	const struct fd_kind *kind = NULL;
	uint32_t words[2] = { MSG_STATE_LOAD, MSG_STATE_STOPPED };
	uint64_t answer = 0;
	int fd, other = -1, fds[2];
	bool taken;

	if (hostile_one_in(h, 2)) {
		kind = hostile_fd(h, &fd);
	} else {
		channel(h, fds);
		fd = fds[0];
		other = fds[1];
		words[hostile_below(h, 2)] = 2 + (uint32_t)hostile_odd(h) % 0x7fffffff;
	}
	if (!front_send(&h->f, MSG_SET_DEVICE_STATE_FD, words, sizeof(words), &fd, 1) ||
	    front_receive(&h->f, MSG_SET_DEVICE_STATE_FD, &answer, 8) != 8)
		front_die("SET_DEVICE_STATE_FD: the connection has ended");
	(void)close(fd);
	if (other >= 0)
		(void)close(other);
	taken = answer == MSG_STATE_NOFD;
	if ((!taken && answer != (MSG_STATE_NOFD | MSG_STATE_ERROR)) ||
	    (taken && (!kind || !(kind->flags & CHANNEL))))
		front_die("SET_DEVICE_STATE_FD of %s, direction %u phase %u: %#llx",
			  kind ? kind->name : "a pipe", words[0], words[1],
			  (unsigned long long)answer);
	if (!taken)
		want_check(h, false, "a transfer that was refused");
}

/* Nobody takes it, or not all of it. */
static void save_badly(struct hostile *h)
{
	uint8_t some[16];
	int fds[2];
	bool gone = hostile_one_in(h, 2);

	channel(h, fds);
	if (gone)
		(void)close(fds[0]);
	if (!state_begin(&h->f, MSG_STATE_SAVE, fds[1]))
		front_die("saving was refused");
	if (gone) {
		want_check(h, false, "a state that nobody reads");
		return;
	}
	if (read(fds[0], some, sizeof(some)) < 0)
		front_die("state: %s", strerror(errno));
	(void)close(fds[0]);
	(void)state_check(&h->f); /* the pipe may have had room for all of it */
}

static void (*const state_kinds[])(struct hostile *h) = {
	load_good,  load_twisted, load_twisted, load_twisted,	  load_twisted,
	load_twice, load_nothing, save_badly,	refused_transfer,
};

void hostile_states(struct hostile *h, uint64_t from, uint64_t to)
{
	make_good(h);
	for (uint64_t n = from; n < to; n++) {
		hostile_case(h, n);
		if (!h->up) {
			hostile_open(h, STAGE_FEATURES);
			front_share_memory(&h->f, true);
			front_settle(&h->f);
		}
		state_kinds[hostile_below(h, sizeof(state_kinds) / sizeof(state_kinds[0]))](h);
	}
}
