/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each of two queues has up to SLOTS requests under way, each in memory of its own. A request is
 * offered once; that its chain comes back once, with its own answer, is counted here. The record
 * of what is in flight and the guest's memory are the only things that outlive a daemon, as they
 * would with a real front end: rings start where the used index says.
 *
 * Names are changed with dirsync, so an answer holds: what a CREATE that was answered made is
 * there in the end, whatever was killed since, and what an UNLINK took is not.
 */
#include "tests/vhost/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/vhost/front.h"
#include "tests/vhost/state.h"

#define ROOT 1
#define SLOTS 64u
#define SLOT_BYTES 0x2000u
#define NAMES 300u
#define BLOCK 4096u
/* Locks that wait are what stays in flight while others come and go. */
#define WAITERS 5u
#define OWNER 71u
#define LOOK_MS 5

enum kind { FREE, CREATE, UNLINK, WRITE, LOOKUP, WAITING_LOCK };

struct slot {
	enum kind kind;
	uint64_t unique;
	uint32_t name, block; /* which */
	bool repeated;	      /* it was under way when a daemon was killed */
};

struct storm {
	struct front f;
	const char *socket, *command;
	pid_t daemon;
	uint64_t seed;
	int record;
	struct {
		uint64_t size, offset;
		uint16_t queues, ring_size;
		uint32_t padding;
	} area;
	struct slot slot[FRONT_QUEUES][SLOTS];
	uint64_t dir, file, lockfile, unused;
	bool exists[NAMES], busy[NAMES];
	uint32_t content[SLOTS], written[SLOTS]; /* of the file's blocks: last answered */
	bool block_busy[SLOTS];
	uint64_t offered, answered, repeated;
};

static uint32_t draw(struct storm *s, uint32_t below)
{
	s->seed = s->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(s->seed >> 33) % below;
}

static void start_daemon(struct storm *s)
{
	FILE *out = popen(s->command, "r");
	int pid = 0;

	if (!out || fscanf(out, "%d", &pid) != 1 || pclose(out) || pid <= 1)
		front_die("%s: no daemon", s->command);
	s->daemon = pid;
}

/* ---- the record ---- */

static void get_record(struct storm *s)
{
	s->area.queues = FRONT_QUEUES;
	s->area.ring_size = FRONT_NUM;
	if (!front_send(&s->f, MSG_GET_INFLIGHT_FD, &s->area, sizeof(s->area), NULL, 0) ||
	    front_receive_fd(&s->f, MSG_GET_INFLIGHT_FD, &s->area, sizeof(s->area), &s->record) !=
		    sizeof(s->area) ||
	    !s->area.size || s->record < 0 || s->area.queues != FRONT_QUEUES ||
	    s->area.ring_size != FRONT_NUM)
		front_die("GET_INFLIGHT_FD: %llu bytes", (unsigned long long)s->area.size);
}

static void give_record(struct storm *s)
{
	if (front_tell(&s->f, MSG_SET_INFLIGHT_FD, &s->area, sizeof(s->area), &s->record, 1))
		front_die("SET_INFLIGHT_FD was refused");
}

/* ---- requests ---- */

static void name_of(uint32_t name, char *text, size_t size)
{
	(void)snprintf(text, size, "name-%u", name);
}

/* Header, arguments and the rest in one piece, an answer's room in another. */
static void offer(struct storm *s, uint32_t queue, uint32_t index, const struct fuse_message *m)
{
	struct front_queue *q = &s->f.queue[queue];
	uint64_t in = q->data_gpa + (uint64_t)index * SLOT_BYTES;
	uint64_t out = q->out_gpa + (uint64_t)index * SLOT_BYTES;
	struct fuse_in_header head = {
		.opcode = m->opcode, .unique = s->f.unique += 2, .nodeid = m->nodeid, .pid = 4711
	};
	uint8_t *at = front_at(&s->f, in);
	uint16_t desc = (uint16_t)(2 * index);

	head.len = (uint32_t)(sizeof(head) + m->arg_len + m->text_len + m->data_len);
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	if (m->arg_len)
		memcpy(at, m->args, m->arg_len);
	at += m->arg_len;
	if (m->text_len)
		memcpy(at, m->text, m->text_len);
	if (m->data_len)
		memcpy(at, m->data, m->data_len);
	memset(front_at(&s->f, out), 0xee, sizeof(struct fuse_out_header));
	q->desc[desc] = (struct vring_desc){ .addr = in,
					     .len = head.len,
					     .flags = VRING_DESC_F_NEXT,
					     .next = (uint16_t)(desc + 1) };
	q->desc[desc + 1] =
		(struct vring_desc){ .addr = out, .len = 4096, .flags = VRING_DESC_F_WRITE };
	s->slot[queue][index].unique = s->f.unique;
	s->slot[queue][index].repeated = false;
	s->offered++;
	front_offer(&s->f, queue, desc);
}

static void offer_name(struct storm *s, uint32_t queue, uint32_t index)
{
	struct fuse_create_in in = { .flags = 2 | 0200 /* O_RDWR | O_EXCL */, .mode = 0100600 };
	struct slot *slot = &s->slot[queue][index];
	uint32_t name = draw(s, NAMES);
	struct fuse_message m = { .nodeid = s->dir };
	char text[32];

	if (s->busy[name])
		return;
	name_of(name, text, sizeof(text));
	m.text = text;
	m.text_len = strlen(text) + 1;
	slot->name = name;
	s->busy[name] = true;
	if (draw(s, 4) == 0) {
		slot->kind = LOOKUP;
		m.opcode = FUSE_LOOKUP;
	} else if (s->exists[name]) {
		slot->kind = UNLINK;
		m.opcode = FUSE_UNLINK;
	} else {
		slot->kind = CREATE;
		m.opcode = FUSE_CREATE;
		m.args = &in;
		m.arg_len = sizeof(in);
	}
	offer(s, queue, index, &m);
}

static void offer_write(struct storm *s, uint32_t queue, uint32_t index)
{
	struct slot *slot = &s->slot[queue][index];
	struct fuse_write_in in = { .size = BLOCK };
	uint32_t block = draw(s, SLOTS);
	uint32_t data[BLOCK / 4];
	struct fuse_message m = { .opcode = FUSE_WRITE,
				  .nodeid = s->file,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .data = data,
				  .data_len = sizeof(data) };

	if (s->block_busy[block])
		return;
	s->block_busy[block] = true;
	s->written[block] = draw(s, 1u << 30);
	for (uint32_t i = 0; i < BLOCK / 4; i++)
		data[i] = s->written[block];
	in.offset = (uint64_t)block * BLOCK;
	slot->kind = WRITE;
	slot->block = block;
	offer(s, queue, index, &m);
}

/* One owner of this guest has it: others wait, until the daemon dies and the lock with it. */
static void offer_locks(struct storm *s)
{
	for (uint32_t i = 0; i < WAITERS; i++)
		if (fuse_setlk(&s->f, s->lockfile, OWNER + 1 + i, F_UNLCK, false))
			front_die("unlock");
	if (fuse_setlk(&s->f, s->lockfile, OWNER, F_WRLCK, false))
		front_die("lock");
	for (uint32_t i = 0; i < WAITERS; i++) {
		struct fuse_lk_in in = { .owner = OWNER + 1 + i,
					 .lk = { .end = INT64_MAX, .type = F_RDLCK } };
		struct fuse_message m = { .opcode = FUSE_SETLKW,
					  .nodeid = s->lockfile,
					  .args = &in,
					  .arg_len = sizeof(in) };

		s->slot[2][i].kind = WAITING_LOCK;
		offer(s, 2, i, &m);
	}
}

static void fill(struct storm *s)
{
	for (uint32_t queue = 1; queue < FRONT_QUEUES; queue++)
		for (uint32_t i = 1; i < SLOTS; i++) {
			if (s->slot[queue][i].kind != FREE)
				continue;
			if (draw(s, 3) == 0)
				offer_write(s, queue, i);
			else
				offer_name(s, queue, i);
		}
}

/* ---- answers ---- */

static void judge_name(struct storm *s, const struct slot *slot, int error)
{
	bool wanted = s->exists[slot->name];
	int same = wanted ? 0 : -ENOENT;

	s->busy[slot->name] = false;
	if (slot->kind == LOOKUP) {
		if (error != same)
			front_die("lookup of name-%u: %d, wanted %d", slot->name, error, same);
		return;
	}
	/* Its own first execution, which the killed daemon could not answer any more. */
	if (slot->repeated && error == (slot->kind == CREATE ? -EEXIST : -ENOENT))
		error = 0;
	if (error)
		front_die("%s of name-%u: %d%s", slot->kind == CREATE ? "create" : "unlink",
			  slot->name, error, slot->repeated ? " (repeated)" : "");
	s->exists[slot->name] = slot->kind == CREATE;
}

static void take_one(struct storm *s, uint32_t queue, uint16_t head, uint32_t len)
{
	struct front_queue *q = &s->f.queue[queue];
	uint32_t index = head / 2u;
	struct slot *slot = &s->slot[queue][index];
	struct fuse_out_header out;

	if (head % 2 || index >= SLOTS || slot->kind == FREE)
		front_die("chain %u of queue %u came back without being under way", head, queue);
	memcpy(&out, front_at(&s->f, q->out_gpa + (uint64_t)index * SLOT_BYTES), sizeof(out));
	if (out.unique != slot->unique || out.len != len || len < sizeof(out))
		front_die("chain %u of queue %u: the answer is to %llu, wanted %llu", head, queue,
			  (unsigned long long)out.unique, (unsigned long long)slot->unique);
	if (slot->kind == WRITE) {
		if (out.error)
			front_die("write of block %u: %d", slot->block, out.error);
		s->content[slot->block] = s->written[slot->block];
		s->block_busy[slot->block] = false;
	} else if (slot->kind == WAITING_LOCK) {
		if (out.error || !slot->repeated)
			front_die("a lock that waited: %d", out.error);
	} else {
		judge_name(s, slot, out.error);
	}
	slot->kind = FREE;
	s->answered++;
	s->repeated += slot->repeated;
}

static unsigned under_way(const struct storm *s)
{
	unsigned count = 0;

	for (uint32_t queue = 1; queue < FRONT_QUEUES; queue++)
		for (uint32_t i = 0; i < SLOTS; i++)
			count += s->slot[queue][i].kind != FREE;
	return count;
}

/* What comes back within that time. */
static unsigned take_some(struct storm *s, int wait_ms)
{
	unsigned count = 0;
	uint32_t len;
	int head;

	for (int waited = 0; !count && waited <= wait_ms; waited += 2 * LOOK_MS)
		for (uint32_t queue = 1; queue < FRONT_QUEUES; queue++)
			while ((head = front_take(&s->f, queue, count ? 0 : LOOK_MS, &len)) >= 0) {
				take_one(s, queue, (uint16_t)head, len);
				count++;
			}
	return count;
}

/* ---- lives ---- */

static void prepare(struct storm *s)
{
	struct fuse_message sync = {
		.opcode = FUSE_SYNCFS, .nodeid = ROOT, .args = (uint64_t[]){ 0 }, .arg_len = 8
	};
	struct fuse_entry_out e;
	uint8_t block[BLOCK] = { 0 };

	front_connect(&s->f, s->socket);
	front_negotiate(&s->f, false);
	get_record(s);
	give_record(s);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		front_start_queue(&s->f, i, 0);
	fuse_init(&s->f);
	if (fuse_mkdir(&s->f, ROOT, "storm", &e))
		front_die("mkdir");
	s->dir = e.nodeid;
	if (fuse_create(&s->f, ROOT, "blocks", 0600, &e))
		front_die("create");
	s->file = e.nodeid;
	for (uint32_t i = 0; i < SLOTS; i++)
		if (fuse_write(&s->f, s->file, i * BLOCK, block, BLOCK))
			front_die("write");
	if (fuse_create(&s->f, ROOT, "locked", 0600, &e))
		front_die("create");
	s->lockfile = e.nodeid;
	if (fuse_create(&s->f, ROOT, "unused", 0600, &e))
		front_die("create");
	s->unused = e.nodeid;
	if (fuse_call(&s->f, 1, &sync, NULL, NULL))
		front_die("sync");
}

static void kill_daemon(struct storm *s)
{
	if (kill(s->daemon, SIGKILL))
		front_die("kill: %s", strerror(errno));
	/* Gone when nobody is at the other end; it is no child of ours. */
	while (!kill(s->daemon, 0))
		(void)poll(NULL, 0, 5);
	for (uint32_t queue = 1; queue < FRONT_QUEUES; queue++)
		for (uint32_t i = 0; i < SLOTS; i++)
			s->slot[queue][i].repeated |= s->slot[queue][i].kind != FREE;
}

static void go_on(struct storm *s)
{
	start_daemon(s);
	front_reconnect(&s->f, s->socket);
	front_negotiate(&s->f, false);
	give_record(s);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		front_start_queue(&s->f, i, s->f.queue[i].used[1]);
}

static void storm(struct storm *s)
{
	unsigned left = 20 + draw(s, 200); /* answers before it is killed */

	offer_locks(s);
	while (left) {
		unsigned took;

		fill(s);
		took = take_some(s, FRONT_WAIT_MS);
		left -= took < left ? took : left;
	}
	fill(s);
	kill_daemon(s);
	/* What it answered before it died. */
	(void)take_some(s, 0);
	if (!under_way(s))
		front_die("nothing was under way when the daemon was killed");
	go_on(s);
	while (under_way(s))
		if (!take_some(s, FRONT_WAIT_MS))
			front_die("%u requests do not come back", under_way(s));
	if (take_some(s, 200))
		front_die("more came back than was under way");
}

static void check_end(struct storm *s)
{
	uint8_t back[BLOCK];

	for (uint32_t i = 0; i < NAMES; i++) {
		struct fuse_entry_out e;
		char text[32];
		int err;

		name_of(i, text, sizeof(text));
		err = fuse_lookup(&s->f, s->dir, text, &e);
		if (err != (s->exists[i] ? 0 : -ENOENT))
			front_die("%s: %d, but the last answer said that it is %sthere", text, err,
				  s->exists[i] ? "" : "not ");
	}
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint32_t value;

		if (fuse_read(&s->f, s->file, i * BLOCK, back, BLOCK) != BLOCK)
			front_die("read");
		memcpy(&value, back + BLOCK - 4, sizeof(value));
		if (value != s->content[i])
			front_die("block %u is not what was written last", i);
	}
}

/* What a session believes after a kill, it believes where it moves to: nobody has used this nodeid since. */
static void move_on(struct storm *s)
{
	struct fuse_attr attr;
	struct front to;

	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		(void)front_stop_queue(&s->f, i);
	front_connect(&to, s->socket);
	front_negotiate(&to, false);
	state_move(&s->f, &to);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		front_start_queue(&to, i, 0);
	if (fuse_getattr(&to, s->unused, &attr))
		front_die("a nodeid of before is not known after the move");
	front_close(&to);
}

void takeover(const char *socket, const char *command, uint64_t seed, unsigned kills)
{
	struct storm *s = calloc(1, sizeof(*s));

	if (!s)
		front_die("out of memory");
	s->socket = socket;
	s->command = command;
	s->seed = seed;
	start_daemon(s);
	prepare(s);
	for (unsigned i = 0; i < kills; i++)
		storm(s);
	check_end(s);
	move_on(s);
	printf("%llu requests, %llu served again\n", (unsigned long long)s->offered,
	       (unsigned long long)s->repeated);
	if (s->offered != s->answered || s->repeated < kills)
		front_die("%llu requests, %llu answers", (unsigned long long)s->offered,
			  (unsigned long long)s->answered);
	front_close(&s->f);
	free(s);
}
