/* SPDX-License-Identifier: GPL-2.0-only */
/* Lives and their connections, requests and the judgement of what comes back. */
#include "tests/vhost/hostile.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Slots are below FRONT_LOW, behind the rings and what front.c needs. */
#define SLOTS_GPA 0x200000u
#define SLOT_SIZE 0x2000u
#define SLOT_TABLE HOSTILE_IN
#define SLOT_OUT 0x1000u
/* An answer takes that long at most; a ring that is stopped waits 10 s for what is under way. */
#define ANSWER_MS FRONT_WAIT_MS
/* Only locks are waited for: they are given up when the ring stops. */
#define LOCK_MS 20
/* Rings that were written over. */
#define VANISH_MS 5
#define PROGRESS_MS 30000
/* More guests than there is room for are turned away: an old one may not be gone yet. */
#define TURNED_AWAY_MAX 5000

static const struct family {
	const char *name;
	void (*run)(struct hostile *h, uint64_t from, uint64_t to);
	uint32_t weight;
	bool window; /* of a daemon that has one */
} families[] = {
	/* Many to a connection, and to a look at the ring. */
	{ "truncate", hostile_truncate, 180, false },
	{ "bodies", hostile_bodies, 180, false },
	{ "forged", hostile_forged, 60, false },
	{ "forgets", hostile_forgets, 30, false },
	/* Each waits for the ring, a message or a connection: as many of them take a hundred times as long. */
	{ "chains", hostile_chains, 4, false },
	{ "races", hostile_races, 4, false },
	{ "flight", hostile_flight, 1, false },
	{ "messages", hostile_messages, 3, false },
	{ "torn", hostile_torn, 1, false },
	{ "storms", hostile_storms, 1, false },
	{ "wrong fds", hostile_wrong_fds, 1, false },
	{ "cut memory", hostile_cut_memory, 2, false },
	{ "records", hostile_records, 1, false },
	{ "logs", hostile_logs, 1, false },
	{ "states", hostile_states, 30, false },
	{ "mappings", hostile_mappings, 30, true },
	{ "mapped races", hostile_mapped_races, 2, true },
	{ "false fronts", hostile_false_fronts, 1, true },
};
#define FAMILIES (sizeof(families) / sizeof(families[0]))

/* ---- who failed ---- */

static struct hostile *running;

/* The first that did not come back on each queue is what was being served. */
static void say_where(void)
{
	struct hostile *h = running;
	uint64_t number;

	if (!h)
		return;
	number = h->number;
	for (uint32_t q = 0; q < FRONT_QUEUES && !h->judged; q++)
		for (uint32_t i = 0; i < h->shots[q]; i++)
			if (!h->shot[q][i].back) {
				fprintf(stderr,
					"hostile: queue %u did not answer case %" PRIu64 " (%s)\n",
					q, h->shot[q][i].number, h->shot[q][i].what);
				number = h->shot[q][i].number < number ? h->shot[q][i].number :
									 number;
				break;
			}
	fprintf(stderr,
		"hostile: FAILED: seed %" PRIu64 " case %" PRIu64 " (family %s, at case %" PRIu64
		"); alone: hostile %" PRIu64 " 1 %" PRIu64 " '%s'; its life: hostile %" PRIu64
		" %u %" PRIu64 " '%s'\n",
		h->seed, number, h->family, h->number, h->seed, number, h->only, h->seed,
		HOSTILE_LIFE, number / HOSTILE_LIFE * HOSTILE_LIFE, h->only);
}

/* ---- connections ---- */

void hostile_close(struct hostile *h)
{
	if (!h->up)
		return;
	for (uint32_t i = 0; i < FRONT_QUEUES; i++) {
		if (h->err_fd[i] >= 0)
			(void)close(h->err_fd[i]);
		h->shots[i] = 0;
	}
	front_close(&h->f);
	h->up = false;
}

static void connect_anew(struct hostile *h)
{
	uint64_t features;

	for (int i = 0; i < TURNED_AWAY_MAX; i++) {
		front_connect(&h->f, h->socket);
		h->f.hurry = true;
		if (front_send(&h->f, MSG_GET_FEATURES, NULL, 0, NULL, 0) &&
		    front_receive(&h->f, MSG_GET_FEATURES, &features, sizeof(features)) == 8) {
			for (uint32_t q = 0; q < FRONT_QUEUES; q++) {
				h->err_fd[q] = -1;
				h->shots[q] = 0;
			}
			h->up = true;
			h->connections++;
			return;
		}
		front_close(&h->f);
		(void)poll(NULL, 0, 1);
	}
	front_die("turned away %d times", TURNED_AWAY_MAX);
}

/* The fd that tells of a broken ring. */
static void give_err_fd(struct hostile *h, uint32_t queue)
{
	uint64_t number = queue;

	h->err_fd[queue] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->err_fd[queue] < 0)
		front_die("eventfd: %s", strerror(errno));
	front_must(&h->f, MSG_SET_VRING_ERR, &number, sizeof(number), h->err_fd[queue]);
}

static uint64_t look_up(struct hostile *h, uint64_t dir, uint32_t i)
{
	char name[2] = { (char)('a' + i) };
	struct fuse_entry_out e;

	if (i % 4 == 3)
		(void)fuse_mkdir(&h->f, dir, name, &e); /* it may be there */
	else
		(void)fuse_create(&h->f, dir, name, 0644, &e);	   /* likewise */
	return fuse_lookup(&h->f, dir, name, &e) ? dir : e.nodeid; /* no room */
}

static void ask_for(struct hostile *h, uint64_t dir, uint32_t i)
{
	char name[2] = { (char)('a' + i) };
	struct fuse_message m = {
		.opcode = FUSE_LOOKUP, .nodeid = dir, .text = name, .text_len = sizeof(name)
	};

	hostile_ask(h, 1, &m)->what = "LOOKUP";
}

/* Some are files and some directories; what cases before this one made of them stays. */
static void learn_nodes(struct hostile *h)
{
	struct fuse_entry_out e;
	uint64_t dir = 1;

	h->node[0] = 1;
	if (fuse_lookup(&h->f, 1, "h", &e))
		(void)fuse_mkdir(&h->f, 1, "h", &e); /* there may be no room */
	if (!fuse_lookup(&h->f, 1, "h", &e) && S_ISDIR(e.attr.mode))
		dir = e.nodeid;
	for (uint32_t i = 1; i < HOSTILE_NODES; i++)
		ask_for(h, dir, i);
	hostile_fire(h);
	for (uint32_t i = 1; i < HOSTILE_NODES; i++) {
		const struct shot *s = &h->shot[1][i - 1];
		const uint8_t *out = front_at(&h->f, hostile_out_gpa(s));
		struct fuse_out_header head;

		memcpy(&head, out, sizeof(head));
		memcpy(&e, out + sizeof(head), sizeof(e));
		h->node[i] = head.error ? look_up(h, dir, i) : e.nodeid;
	}
}

void hostile_open(struct hostile *h, enum hostile_stage stage)
{
	uint64_t features = 0, protocol = 0;

	if (h->up)
		return;
	connect_anew(h);
	if (stage == STAGE_FEATURES) {
		if (!front_send(&h->f, MSG_GET_FEATURES, NULL, 0, NULL, 0) ||
		    front_receive(&h->f, MSG_GET_FEATURES, &features, 8) != 8 ||
		    !front_send(&h->f, MSG_GET_PROTOCOL_FEATURES, NULL, 0, NULL, 0) ||
		    front_receive(&h->f, MSG_GET_PROTOCOL_FEATURES, &protocol, 8) != 8 ||
		    !front_send(&h->f, MSG_SET_PROTOCOL_FEATURES, &protocol, 8, NULL, 0) ||
		    !front_send(&h->f, MSG_SET_FEATURES, &features, 8, NULL, 0))
			front_die("no features");
		h->f.protocol = protocol;
		h->f.by_gpa = protocol & UINT64_C(1) << MSG_F_GPA_ADDRESSES;
	}
	if (stage < STAGE_RINGS)
		return;
	h->f.by_gpa = hostile_one_in(h, 4);
	h->f.tables = h->tables;
	h->tables = false;
	front_setup(&h->f, hostile_one_in(h, 2));
	for (uint32_t q = 0; q < FRONT_QUEUES; q++)
		give_err_fd(h, q);
	front_settle(&h->f);
	if (stage < STAGE_SESSION)
		return;
	fuse_init(&h->f);
	learn_nodes(h);
}

static void stop_rings(struct hostile *h, uint32_t from, uint32_t to)
{
	uint32_t state[2] = { 0 };

	for (uint32_t q = from; q < to; q++) {
		state[0] = q;
		if (!front_send(&h->f, MSG_GET_VRING_BASE, state, sizeof(state), NULL, 0))
			front_die("the connection has ended");
	}
	for (uint32_t q = from; q < to; q++) {
		if (front_receive(&h->f, MSG_GET_VRING_BASE, state, sizeof(state)) !=
			    sizeof(state) ||
		    state[0] != q)
			front_die("ring %u was not stopped", q);
		for (int i = 0; i < 3; i++) {
			int fd = (int[]){ h->f.queue[q].kick, h->f.queue[q].call, h->err_fd[q] }[i];

			if (fd >= 0)
				(void)close(fd); /* an event: nothing to lose */
		}
		h->f.queue[q].kick = h->f.queue[q].call = h->err_fd[q] = -1;
	}
}

void hostile_stop_rings(struct hostile *h)
{
	stop_rings(h, 0, FRONT_QUEUES);
	for (uint32_t q = 0; q < FRONT_QUEUES; q++)
		h->shots[q] = 0;
}

static void restart(struct hostile *h, uint32_t from, uint32_t to)
{
	stop_rings(h, from, to);
	for (uint32_t q = from; q < to; q++) {
		memset(front_at(&h->f, q * FRONT_RING), 0, FRONT_RING);
		h->f.queue[q].avail_next = h->f.queue[q].used_seen = 0;
		h->shots[q] = 0;
		front_start_queue(&h->f, q, 0);
		give_err_fd(h, q);
	}
	front_settle(&h->f);
}

void hostile_restart_ring(struct hostile *h, uint32_t queue)
{
	restart(h, queue, queue + 1);
}

void hostile_restart_rings(struct hostile *h)
{
	restart(h, 0, FRONT_QUEUES);
}

bool hostile_swallow(struct hostile *h)
{
	uint8_t bytes[4096];
	ssize_t got;

	while ((got = recv(h->f.fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	if (got < 0 && errno == EAGAIN)
		return true;
	hostile_close(h);
	return false;
}

/* ---- requests ---- */

static uint64_t slot_gpa(const struct shot *s)
{
	return SLOTS_GPA + (s->queue * HOSTILE_SLOTS + s->slot) * SLOT_SIZE;
}

uint64_t hostile_in_gpa(const struct shot *s)
{
	return slot_gpa(s);
}

uint64_t hostile_table_gpa(const struct shot *s)
{
	return slot_gpa(s) + SLOT_TABLE;
}

uint64_t hostile_out_gpa(const struct shot *s)
{
	return slot_gpa(s) + SLOT_OUT;
}

uint8_t *hostile_in(struct hostile *h, const struct shot *s)
{
	return front_at(&h->f, slot_gpa(s));
}

struct shot *hostile_shot(struct hostile *h, uint32_t queue)
{
	uint32_t slot = h->shots[queue];
	struct shot *s = &h->shot[queue][slot];

	if (slot == HOSTILE_SLOTS)
		return NULL;
	*s = (struct shot){ .number = h->number,
			    .queue = queue,
			    .slot = slot,
			    .head = (uint16_t)(slot * (FRONT_NUM / HOSTILE_SLOTS)),
			    .want = HOSTILE_ANY,
			    .what = "" };
	memset(hostile_in(h, s), 0, 256);
	memset(front_at(&h->f, hostile_out_gpa(s)), HOSTILE_CANARY, HOSTILE_ROOM + 64);
	h->shots[queue]++;
	return s;
}

/* @len bytes from @gpa in up to @pieces descriptors. */
static uint32_t cut(struct hostile *h, struct vring_desc *d, uint32_t pieces, uint64_t gpa,
		    size_t len, uint16_t flags)
{
	uint32_t n = 0;

	while (len && n < pieces) {
		size_t part = n + 1 == pieces ? len : 1 + hostile_below(h, len);

		d[n++] = (struct vring_desc){ .addr = gpa, .len = (uint32_t)part, .flags = flags };
		gpa += part;
		len -= part;
	}
	return n;
}

void hostile_chain(struct hostile *h, struct shot *s, size_t len)
{
	bool indirect = s->more_in || s->more_out || hostile_one_in(h, 2);
	uint32_t pieces = indirect ? 1 + (uint32_t)hostile_below(h, HOSTILE_PIECES / 2) :
				     1 + (uint32_t)hostile_below(h, 2);
	struct vring_desc *ring = &h->f.queue[s->queue].desc[s->head];
	struct vring_desc *d = indirect ? (void *)front_at(&h->f, hostile_table_gpa(s)) : ring;
	uint64_t high = FRONT_HIGH_GPA + hostile_below(h, FRONT_HIGH / 2);
	uint32_t n = cut(h, d, pieces, hostile_in_gpa(s), len, 0);
	uint16_t at = indirect ? 0 : s->head;

	n += cut(h, d + n, 1, high, s->more_in, 0);
	n += cut(h, d + n, pieces, hostile_out_gpa(s), s->room, VRING_DESC_F_WRITE);
	n += cut(h, d + n, 1, high, s->more_out, VRING_DESC_F_WRITE);
	for (uint32_t i = 0; i + 1 < n; i++) {
		d[i].flags |= VRING_DESC_F_NEXT;
		d[i].next = (uint16_t)(at + i + 1);
	}
	if (indirect)
		*ring = (struct vring_desc){ .addr = hostile_table_gpa(s),
					     .len = n * (uint32_t)sizeof(*d),
					     .flags = VRING_DESC_F_INDIRECT };
}

struct shot *hostile_ask(struct hostile *h, uint32_t queue, const struct fuse_message *m)
{
	struct fuse_in_header head = { .len = (uint32_t)(sizeof(head) + m->arg_len + m->text_len),
				       .opcode = m->opcode,
				       .unique = h->f.unique += 2,
				       .nodeid = m->nodeid };
	struct shot *s;
	uint8_t *in;

	if (h->shots[queue] == HOSTILE_SLOTS)
		hostile_fire(h);
	s = hostile_shot(h, queue);
	s->unique = head.unique;
	s->room = m->no_reply ? 0 : HOSTILE_ROOM_USUAL;
	in = hostile_in(h, s);
	memcpy(in, &head, sizeof(head));
	if (m->arg_len)
		memcpy(in + sizeof(head), m->args, m->arg_len);
	if (m->text_len)
		memcpy(in + sizeof(head) + m->arg_len, m->text, m->text_len);
	hostile_chain(h, s, head.len);
	return s;
}

static void aim(struct hostile *h, const struct shot *s, uint64_t gpa, uint64_t size)
{
	struct vring_desc *d = &h->f.queue[s->queue].desc[s->head];
	bool table = d->flags & VRING_DESC_F_INDIRECT;

	if (table && hostile_one_in(h, 8))
		d->addr = gpa + hostile_below(h, size - d->len);
	else if (table)
		d = (void *)front_at(&h->f, d->addr);
	for (uint32_t i = 0; i < HOSTILE_PIECES * 2; i++) {
		bool header = d->addr == hostile_in_gpa(s);

		if (d->len < size && hostile_one_in(h, header ? 16 : 2))
			d->addr = gpa + hostile_below(h, size - d->len);
		if (!(d->flags & VRING_DESC_F_NEXT))
			break;
		d++;
	}
}

void hostile_aim(struct hostile *h, uint64_t gpa, uint64_t size)
{
	for (uint32_t q = 0; q < FRONT_QUEUES; q++)
		for (uint32_t i = 0; i < h->shots[q]; i++)
			aim(h, &h->shot[q][i], gpa, size);
}

static void kick(const struct front_queue *q)
{
	uint64_t one = 1;

	if (q->kick >= 0 && write(q->kick, &one, sizeof(one)) < 0)
		errno = 0; /* full: it is awake */
}

static void offer(struct hostile *h, uint32_t queue)
{
	struct front_queue *q = &h->f.queue[queue];

	if (!h->shots[queue])
		return;
	for (uint32_t k = 0; k < h->shots[queue]; k++)
		q->avail[2 + q->avail_next++ % FRONT_NUM] = h->shot[queue][k].head;
	/* Called when the last one is back. */
	q->avail[2 + FRONT_NUM] = (uint16_t)(q->avail_next - 1);
	__atomic_store_n(&q->avail[1], q->avail_next, __ATOMIC_SEQ_CST);
	kick(q);
}

void hostile_offer(struct hostile *h)
{
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		offer(h, i);
}

static bool as_wanted(const struct shot *s, uint32_t written, int error)
{
	switch (s->want) {
	case HOSTILE_ANY: return true;
	case HOSTILE_NO_REPLY: return !written;
	case HOSTILE_FAILS: return written && error < 0;
	default: return written && error == s->want;
	}
}

static void judge(struct hostile *h, struct shot *s, uint32_t written)
{
	const uint8_t *out = front_at(&h->f, hostile_out_gpa(s));
	struct fuse_out_header head = { 0 };

	h->number = s->number;
	h->judged = true;
	if (written)
		memcpy(&head, out, sizeof(head));
	if (written > s->room + s->more_out ||
	    (written &&
	     (written < sizeof(head) || head.len != written || head.unique != s->unique ||
	      head.error > 0 || head.error <= -4096 || (head.error && written != sizeof(head)))))
		front_die("%s: reply of %u bytes in room for %u says len %u unique %" PRIu64
			  " (sent %" PRIu64 ") error %d",
			  s->what, written, s->room, head.len, (uint64_t)head.unique, s->unique,
			  head.error);
	for (uint32_t i = s->room; i < HOSTILE_ROOM + 64; i++)
		if (out[i] != HOSTILE_CANARY)
			front_die("%s: byte %u was written, with room for %u", s->what, i, s->room);
	if (!as_wanted(s, written, head.error))
		front_die("%s: %u bytes, error %d, wanted %d", s->what, written, head.error,
			  s->want);
	h->judged = false;
}

/* What the ring gives back now; false: one that was not under way. */
static void collect(struct hostile *h, uint32_t queue, bool blind)
{
	struct front_queue *q = &h->f.queue[queue];

	while (__atomic_load_n(&q->used[1], __ATOMIC_SEQ_CST) != q->used_seen) {
		uint32_t elem[2], slot;

		memcpy(elem, &q->used[2 + (q->used_seen % FRONT_NUM) * 4], sizeof(elem));
		q->used_seen++;
		slot = elem[0] / (FRONT_NUM / HOSTILE_SLOTS);
		if (blind)
			continue;
		if (elem[0] % (FRONT_NUM / HOSTILE_SLOTS) || slot >= h->shots[queue] ||
		    h->shot[queue][slot].back)
			front_die("queue %u: chain %u came back, which is not under way", queue,
				  elem[0]);
		h->shot[queue][slot].back = true;
		judge(h, &h->shot[queue][slot], elem[1]);
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* that clock cannot fail */
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool all_back(const struct hostile *h, bool *ret_only_locks)
{
	bool all = true;

	*ret_only_locks = true;
	for (uint32_t q = 0; q < FRONT_QUEUES; q++)
		for (uint32_t i = 0; i < h->shots[q]; i++) {
			if (h->shot[q][i].back)
				continue;
			all = false;
			*ret_only_locks = *ret_only_locks && h->shot[q][i].may_wait;
		}
	return all;
}

static void drain_calls(const struct hostile *h)
{
	uint64_t count;

	for (uint32_t q = 0; q < FRONT_QUEUES; q++)
		if (h->f.queue[q].call >= 0 && read(h->f.queue[q].call, &count, 8) < 0)
			errno = 0; /* not called */
}

static void wait_for_calls(const struct hostile *h, int ms)
{
	struct pollfd p[2 * FRONT_QUEUES];

	for (uint32_t q = 0; q < FRONT_QUEUES; q++) {
		p[2 * q] = (struct pollfd){ .fd = h->f.queue[q].call, .events = POLLIN };
		p[2 * q + 1] = (struct pollfd){ .fd = h->err_fd[q], .events = POLLIN };
	}
	if (poll(p, 2 * FRONT_QUEUES, ms) > 0)
		drain_calls(h);
}

static bool is_broken(const struct hostile *h, uint32_t queue)
{
	struct pollfd p = { .fd = h->err_fd[queue], .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* Locks that wait are given up; all else has to come by itself. */
static void wait_all(struct hostile *h)
{
	uint64_t end = now_ms() + ANSWER_MS, locks_end = now_ms() + LOCK_MS;
	bool only_locks;

	for (;;) {
		for (uint32_t q = 0; q < FRONT_QUEUES; q++)
			collect(h, q, false);
		if (all_back(h, &only_locks))
			return;
		if (only_locks && now_ms() >= locks_end)
			break;
		for (uint32_t q = 0; q < FRONT_QUEUES; q++)
			if (h->shots[q] && is_broken(h, q))
				front_die("queue %u is called broken", q);
		if (now_ms() >= end)
			front_die("no answer within %d ms", ANSWER_MS);
		wait_for_calls(h, only_locks ? LOCK_MS : 50);
	}
	for (uint32_t q = 0; q < FRONT_QUEUES; q++) {
		uint16_t base;

		if (!h->shots[q])
			continue;
		base = front_stop_queue(&h->f, q);
		collect(h, q, false);
		front_start_queue(&h->f, q, base);
		front_settle(&h->f);
	}
	if (!all_back(h, &only_locks))
		front_die("a lock that waited was lost when its ring stopped");
}

void hostile_fire(struct hostile *h)
{
	hostile_offer(h);
	wait_all(h);
	for (uint32_t q = 0; q < FRONT_QUEUES; q++)
		h->shots[q] = 0;
}

enum blind { BLIND_BACK, BLIND_BROKEN, BLIND_GONE, BLIND_LATE };

static bool has_gone(const struct hostile *h)
{
	char c;

	return recv(h->f.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static enum blind wait_blind(struct hostile *h, uint32_t queue, uint64_t ms)
{
	struct front_queue *q = &h->f.queue[queue];
	uint64_t end = now_ms() + ms;

	offer(h, queue);
	while ((uint16_t)(q->avail_next - q->used_seen)) {
		collect(h, queue, true);
		if (is_broken(h, queue))
			return BLIND_BROKEN;
		if (has_gone(h))
			return BLIND_GONE;
		if (now_ms() >= end)
			return BLIND_LATE;
		if ((uint16_t)(q->avail_next - q->used_seen))
			wait_for_calls(h, ms < 50 ? 1 : 50);
	}
	return BLIND_BACK;
}

bool hostile_fire_blind(struct hostile *h, uint32_t queue, bool may_vanish)
{
	enum blind got = wait_blind(h, queue, may_vanish ? VANISH_MS : ANSWER_MS);

	if (got == BLIND_GONE)
		front_die("the connection has ended");
	if (got == BLIND_LATE && !may_vanish)
		front_die("neither an answer nor a broken ring within %d ms", ANSWER_MS);
	if (got == BLIND_BACK)
		h->shots[queue] = 0;
	else
		hostile_restart_ring(h, queue);
	return got == BLIND_BACK;
}

void hostile_fire_last(struct hostile *h, uint32_t queue)
{
	bool locks = false;

	for (uint32_t i = 0; i < h->shots[queue]; i++)
		locks = locks || h->shot[queue][i].may_wait;
	if (wait_blind(h, queue, locks ? LOCK_MS : ANSWER_MS) == BLIND_LATE && !locks)
		front_die("neither an answer nor a broken ring within %d ms", ANSWER_MS);
	h->shots[queue] = 0;
}

/* ---- all of it ---- */

/* The first lives are one of each: also a short run has all of them. */
static const struct family *family_of(struct hostile *h, uint64_t life, const char *only)
{
	uint32_t total = 0, at;

	for (size_t i = 0; i < FAMILIES; i++)
		total += strstr(families[i].name, only) ? families[i].weight : 0;
	if (!total)
		front_die("no family is called %s", only);
	if (life < FAMILIES && strstr(families[life].name, only))
		return &families[life];
	at = (uint32_t)hostile_below(h, total);
	for (size_t i = 0;; i++) {
		uint32_t weight = strstr(families[i].name, only) ? families[i].weight : 0;

		if (at < weight)
			return &families[i];
		at -= weight;
	}
}

static void honest(struct hostile *h, const char *socket)
{
	struct fuse_attr attr;

	h->socket = socket;
	hostile_open(h, STAGE_SESSION);
	if (fuse_getattr(&h->f, 1, &attr))
		front_die("an honest guest gets no answer");
	hostile_close(h);
}

void hostile(const char *socket, uint64_t seed, uint64_t first, uint64_t cases, const char *only)
{
	static struct hostile h;
	uint64_t start = now_ms(), told = start, counts[FAMILIES] = { 0 };
	char window[108];

	if (snprintf(window, sizeof(window), "%s.window", socket) >= (int)sizeof(window))
		front_die("%s: too long", socket);
	h.seed = seed;
	h.only = only;
	h.first = first;
	h.end = first + cases;
	running = &h;
	(void)signal(SIGPIPE, SIG_IGN); /* a valid signal */
	if (atexit(say_where))
		front_die("atexit");
	for (uint64_t life = first / HOSTILE_LIFE; life * HOSTILE_LIFE < h.end; life++) {
		uint64_t from = life * HOSTILE_LIFE, to = from + HOSTILE_LIFE;
		const struct family *family;

		h.number = from;
		hostile_life(&h, life);
		family = family_of(&h, life, only);
		h.family = family->name;
		h.socket = family->window ? window : socket;
		from = from < first ? first : from;
		to = to > h.end ? h.end : to;
		family->run(&h, from, to);
		hostile_close(&h);
		counts[family - families] += to - from;
		if (now_ms() - told >= PROGRESS_MS) {
			told = now_ms();
			fprintf(stderr, "hostile: %" PRIu64 " cases in %" PRIu64 " s\n", h.done,
				(told - start) / 1000);
		}
	}
	h.family = "afterwards";
	honest(&h, socket);
	honest(&h, window);
	running = NULL;
	for (size_t i = 0; i < FAMILIES; i++)
		printf("family %" PRIu64 " %s\n", counts[i], families[i].name);
	printf("seed %" PRIu64 ": %" PRIu64 " cases, %" PRIu64 " connections, %" PRIu64
	       " ms, %" PRIu64 " cases/s\n",
	       seed, h.done, h.connections, now_ms() - start,
	       h.done * 1000 / (now_ms() - start + 1));
}
