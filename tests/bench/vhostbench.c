/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a guest's requests cost in several vhost-user back ends: the same FUSE requests to each, by
 * a front end of our own in the guest's place, in turns so short that a machine's mood strikes all.
 *
 *	vhostbench [--rounds N] [--slice MS] [--cpu N] [--file MIB] [--only ROW] NAME=SOCKET...
 *
 * Prints a line "ROUND NAME ROW OPERATIONS-PER-SECOND" for each turn. The front end sleeps until it
 * is called, as a guest's driver does, and kicks and is called only where the event indices say
 * so; requests lie in indirect tables, a reply's pages are no neighbours. At depth 32 as many are
 * kept under way: a call is wanted when half of them are back, and what is back by then is replaced
 * in one go. Every reply is checked; a wrong one ends the program. What serves a turn is not counted: FORGETs after LOOKUPs, the file that is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/vhost/front.h"

#define SYSTEMS_MAX 8
#define DEPTH 32u
#define DEEP_OPS 1024u /* at that depth, before it is let run dry */
#define FILES 1000u    /* what names and attributes are asked of */
#define CREATES 1024u  /* in one turn */
#define BIG_SIZE (big_mib << 20)
#define BIG_IO (128u << 10)
#define PAGE 4096u
#define ROOT 1
#define NO_OPCODE 4000u
#define SECONDS_MAX 600u /* without an end: a back end that does not answer */

/* One request's memory: its pieces in the low region, pages of payload in the high one. */
#define SLOT_GPA(i) (0x100000u + (i)*0x1000u)
#define SLOT_ARGS 0x40u
#define SLOT_TEXT 0x100u
#define SLOT_OUT 0x200u /* header and, unless it is pages, payload */
#define SLOT_TABLE 0x800u
#define SLOT_DATA(i) (FRONT_HIGH_GPA + (uint64_t)(i)*BIG_IO)

#define BIT(n) (UINT64_C(1) << (n))
#define FEATURES                                                                                   \
	(BIT(32) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |               \
	 BIT(MSG_DEVICE_F_PROTOCOL))
#define PROTOCOL_FEATURES (BIT(MSG_F_MQ) | BIT(MSG_F_REPLY_ACK))
/* Not FUSE_NO_OPEN_SUPPORT (bit 17) nor that of directories (24), and no second word of flags. */
#define INIT_FLAGS (0x7ffffffbu & ~(BIT(17) | BIT(24) | BIT(30)))

struct file {
	uint64_t nodeid, fh, nlookup;
};

struct system {
	const char *name;
	struct front f;

	struct file files[FILES], made[CREATES], big;
	uint32_t next; /* of anything that goes round */
	uint64_t random;
	uint64_t off[DEPTH]; /* of the READ in a slot */
	unsigned turn;	     /* names made in it are of no other */
};

static unsigned rounds = 9, slice_ms = 30, big_mib = 64;
static const char *only = "";

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* that clock cannot fail */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t draw(struct system *s, uint32_t below)
{
	s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((s->random >> 33) % below);
}

/* ---- the ring ---- */

static void kick_if_wanted(struct front_queue *q, uint16_t before)
{
	uint16_t *event = &q->used[2 + FRONT_NUM * 4];
	uint64_t one = 1;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!vring_need_event(__atomic_load_n(event, __ATOMIC_RELAXED), q->avail_next, before))
		return;
	if (write(q->kick, &one, sizeof(one)) != sizeof(one))
		front_die("kick: %s", strerror(errno));
}

static void offer(struct front_queue *q, uint32_t count)
{
	uint16_t before = q->avail_next;

	for (uint32_t i = 0; i < count; i++)
		q->avail[2 + q->avail_next++ % FRONT_NUM] = (uint16_t)i;
	__atomic_store_n(&q->avail[1], q->avail_next, __ATOMIC_RELEASE);
	kick_if_wanted(q, before);
}

/* A call is wanted when @count more chains have come back. */
static void want_call(struct front_queue *q, uint32_t count)
{
	__atomic_store_n(&q->avail[2 + FRONT_NUM], (uint16_t)(q->used_seen + count - 1),
			 __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Asleep until @count chains have come back; how many have. */
static uint32_t await(struct front_queue *q, uint32_t count)
{
	uint64_t calls;

	for (;;) {
		uint16_t have = __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE);

		if ((uint16_t)(have - q->used_seen) >= count)
			return (uint16_t)(have - q->used_seen);
		if (read(q->call, &calls, sizeof(calls)) < 0 && errno != EINTR)
			front_die("call: %s", strerror(errno));
	}
}

/* The request that stands in slot 0. */
static void run(struct system *s, uint32_t queue)
{
	struct front_queue *q = &s->f.queue[queue];

	want_call(q, 1);
	offer(q, 1);
	q->used_seen += (uint16_t)await(q, 1);
}

struct deep {
	void (*ask)(struct system *s, uint32_t slot);
	void (*check)(struct system *s, uint32_t slot);
};

/* Chain @ahead of those that are back comes near: the front end is not to be what is measured. */
static void prefetch_back(struct system *s, uint32_t ahead)
{
	const struct front_queue *q = &s->f.queue[1];
	uint32_t slot;

	memcpy(&slot, &q->used[2 + ((q->used_seen + ahead) % FRONT_NUM) * 4], sizeof(slot));
	slot %= DEPTH;
	__builtin_prefetch(front_at(&s->f, SLOT_GPA(slot) + SLOT_OUT));
	__builtin_prefetch(front_at(&s->f, SLOT_DATA(slot)));
	__builtin_prefetch(front_at(&s->f, SLOT_GPA(slot)), 1);
	__builtin_prefetch(front_at(&s->f, SLOT_GPA(slot) + SLOT_ARGS), 1);
	__builtin_prefetch(front_at(&s->f, SLOT_GPA(slot) + SLOT_TABLE), 1);
}

/* What has come back is checked and, up to DEEP_OPS, replaced. */
static uint32_t deep_turn(struct system *s, const struct deep *d, uint32_t back, uint32_t left)
{
	struct front_queue *q = &s->f.queue[1];
	uint16_t before = q->avail_next;

	for (uint32_t i = 0; i < back; i++) {
		uint32_t slot;

		if (i + 3 < back)
			prefetch_back(s, 3);
		memcpy(&slot, &q->used[2 + (q->used_seen++ % FRONT_NUM) * 4], sizeof(slot));
		if (slot >= DEPTH)
			front_die("%s: chain %u came back", s->name, slot);
		d->check(s, slot);
		if (!left)
			continue;
		left--;
		d->ask(s, slot);
		q->avail[2 + q->avail_next++ % FRONT_NUM] = (uint16_t)slot;
	}
	__atomic_store_n(&q->avail[1], q->avail_next, __ATOMIC_RELEASE);
	if (q->avail_next != before)
		kick_if_wanted(q, before);
	return left;
}

static uint32_t run_deep(struct system *s, const struct deep *d)
{
	struct front_queue *q = &s->f.queue[1];
	uint32_t left = DEEP_OPS - DEPTH;

	for (uint32_t i = 0; i < DEPTH; i++)
		d->ask(s, i);
	want_call(q, DEPTH / 2);
	offer(q, DEPTH);
	for (uint32_t under_way = DEPTH; under_way;) {
		uint32_t back = await(q, (under_way + 1) / 2);
		uint32_t before = left;

		left = deep_turn(s, d, back, left);
		under_way = under_way - back + (before - left);
		want_call(q, (under_way + 1) / 2);
	}
	return DEEP_OPS;
}

/* ---- requests ---- */

struct builder {
	struct vring_desc *table;
	uint16_t count;
};

static void add(struct builder *b, uint64_t gpa, uint32_t len, uint16_t flags)
{
	if (b->count)
		b->table[b->count - 1].flags |= VRING_DESC_F_NEXT;
	b->table[b->count] = (struct vring_desc){
		.addr = gpa, .len = len, .flags = flags, .next = (uint16_t)(b->count + 1)
	};
	b->count++;
}

static void add_pages(struct builder *b, uint64_t gpa, uint32_t len, uint16_t flags)
{
	uint32_t pages = (len + PAGE - 1) / PAGE;

	for (uint32_t i = 0; i < pages; i++)
		add(b, gpa + (pages - 1 - i) * PAGE, PAGE, flags);
}

/* Where page @i of @pages of a slot's payload is. */
static uint8_t *page_of(struct system *s, uint32_t slot, uint32_t i, uint32_t pages)
{
	return front_at(&s->f, SLOT_DATA(slot) + (uint64_t)(pages - 1 - i) * PAGE);
}

struct request {
	uint32_t opcode;
	uint64_t nodeid;
	const void *args;
	uint32_t arg_len;
	const char *name;
	uint32_t room;	     /* of the reply, behind its header */
	uint32_t data, read; /* bytes in pages: sent, room for */
	bool no_reply;
};

static void build(struct system *s, uint32_t queue, uint32_t slot, const struct request *r)
{
	uint64_t at = SLOT_GPA(slot);
	uint8_t *mem = front_at(&s->f, at);
	struct builder b = { .table = (void *)(mem + SLOT_TABLE) };
	uint32_t name_len = r->name ? (uint32_t)strlen(r->name) + 1 : 0;
	struct fuse_in_header head = { .opcode = r->opcode,
				       .unique = s->f.unique += 2,
				       .nodeid = r->nodeid,
				       .len = (uint32_t)sizeof(head) + r->arg_len + name_len +
					      r->data };

	memcpy(mem, &head, sizeof(head));
	add(&b, at, sizeof(head), 0);
	if (r->arg_len) {
		memcpy(mem + SLOT_ARGS, r->args, r->arg_len);
		add(&b, at + SLOT_ARGS, r->arg_len, 0);
	}
	if (name_len) {
		memcpy(mem + SLOT_TEXT, r->name, name_len);
		add(&b, at + SLOT_TEXT, name_len, 0);
	}
	add_pages(&b, SLOT_DATA(slot), r->data, 0);
	if (!r->no_reply) {
		add(&b, at + SLOT_OUT, sizeof(struct fuse_out_header), VRING_DESC_F_WRITE);
		if (r->room)
			add(&b, at + SLOT_OUT + sizeof(struct fuse_out_header), r->room,
			    VRING_DESC_F_WRITE);
		add_pages(&b, SLOT_DATA(slot), r->read, VRING_DESC_F_WRITE);
	}
	s->f.queue[queue].desc[slot] = (struct vring_desc){ .addr = at + SLOT_TABLE,
							    .len = b.count * 16u,
							    .flags = VRING_DESC_F_INDIRECT };
}

/* The reply in @slot, which is to have @error and, without one, @len bytes of payload. */
static const void *reply(struct system *s, uint32_t slot, const char *what, int error, uint32_t len)
{
	const uint8_t *at = front_at(&s->f, SLOT_GPA(slot));
	struct fuse_out_header out;
	struct fuse_in_header in;

	memcpy(&out, at + SLOT_OUT, sizeof(out));
	memcpy(&in, at, sizeof(in));
	if (out.unique != in.unique || out.error != error ||
	    out.len != sizeof(out) + (error ? 0 : len))
		front_die("%s: %s: error %d, %u bytes; wanted error %d, %zu bytes", s->name, what,
			  out.error, out.len, error, sizeof(out) + (error ? 0 : len));
	return at + SLOT_OUT + sizeof(out);
}

static const void *call(struct system *s, const struct request *r, const char *what)
{
	build(s, 1, 0, r);
	run(s, 1);
	return reply(s, 0, what, 0, r->room + r->read);
}

/* ---- what is asked ---- */

static void name_of(char *name, size_t size, const char *kind, unsigned turn, uint32_t i)
{
	(void)snprintf(name, size, "%s-%u-%05u", kind, turn, i);
}

static void lookup_at(struct system *s, uint32_t slot, const char *name)
{
	struct request r = { .opcode = FUSE_LOOKUP,
			     .nodeid = ROOT,
			     .name = name,
			     .room = sizeof(struct fuse_entry_out) };

	build(s, 1, slot, &r);
}

static void lookup(struct system *s, uint32_t i)
{
	struct fuse_entry_out entry;
	char name[64];

	name_of(name, sizeof(name), "file", 0, i);
	lookup_at(s, 0, name);
	run(s, 1);
	memcpy(&entry, reply(s, 0, "LOOKUP", 0, sizeof(entry)), sizeof(entry));
	if (!entry.nodeid || (s->files[i].nodeid && entry.nodeid != s->files[i].nodeid))
		front_die("%s: LOOKUP %s: nodeid %llu", s->name, name,
			  (unsigned long long)entry.nodeid);
	s->files[i].nodeid = entry.nodeid;
	s->files[i].nlookup++;
}

static void lookup_absent(struct system *s, uint32_t i)
{
	const struct fuse_out_header *out;
	char name[64];

	name_of(name, sizeof(name), "absent", 0, i);
	lookup_at(s, 0, name);
	run(s, 1);
	/* A name that may be remembered as absent is success, with nodeid 0. */
	out = (const void *)(front_at(&s->f, SLOT_GPA(0)) + SLOT_OUT);
	if (out->error || ((const struct fuse_entry_out *)(out + 1))->nodeid)
		(void)reply(s, 0, "LOOKUP of what is absent", -ENOENT, 0);
}

static void getattr_at(struct system *s, uint32_t slot, uint32_t i)
{
	struct fuse_getattr_in in = { 0 };
	struct request r = { .opcode = FUSE_GETATTR,
			     .nodeid = s->files[i].nodeid,
			     .args = &in,
			     .arg_len = sizeof(in),
			     .room = sizeof(struct fuse_attr_out) };

	build(s, 1, slot, &r);
}

static void getattr_check(struct system *s, uint32_t slot)
{
	struct fuse_attr_out attr;

	memcpy(&attr, reply(s, slot, "GETATTR", 0, sizeof(attr)), sizeof(attr));
	if ((attr.attr.mode & 0170000) != 0100000 || attr.attr.nlink != 1)
		front_die("%s: GETATTR: mode %o, %u links", s->name, attr.attr.mode,
			  attr.attr.nlink);
}

static void create(struct system *s, struct file *f, const char *name)
{
	struct fuse_create_in in = { .flags = O_RDWR, .mode = 0100644 };
	struct request r = { .opcode = FUSE_CREATE,
			     .nodeid = ROOT,
			     .args = &in,
			     .arg_len = sizeof(in),
			     .name = name,
			     .room = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out) };
	const uint8_t *out = call(s, &r, "CREATE");
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	memcpy(&entry, out, sizeof(entry));
	memcpy(&open, out + sizeof(entry), sizeof(open));
	*f = (struct file){ .nodeid = entry.nodeid, .fh = open.fh, .nlookup = 1 };
}

static void open_file(struct system *s, struct file *f)
{
	struct fuse_open_in in = { .flags = O_RDWR };
	struct request r = { .opcode = FUSE_OPEN,
			     .nodeid = f->nodeid,
			     .args = &in,
			     .arg_len = sizeof(in),
			     .room = sizeof(struct fuse_open_out) };
	struct fuse_open_out open;

	memcpy(&open, call(s, &r, "OPEN"), sizeof(open));
	f->fh = open.fh;
}

static void release(struct system *s, const struct file *f)
{
	struct fuse_release_in in = { .fh = f->fh, .flags = O_RDWR };
	struct request r = {
		.opcode = FUSE_RELEASE, .nodeid = f->nodeid, .args = &in, .arg_len = sizeof(in)
	};

	(void)call(s, &r, "RELEASE");
}

static void unlink_name(struct system *s, const char *name)
{
	struct request r = { .opcode = FUSE_UNLINK, .nodeid = ROOT, .name = name };

	(void)call(s, &r, "UNLINK");
}

static void forget(struct system *s, struct file *f)
{
	struct fuse_forget_in in = { .nlookup = f->nlookup };
	struct request r = { .opcode = FUSE_FORGET,
			     .nodeid = f->nodeid,
			     .args = &in,
			     .arg_len = sizeof(in),
			     .no_reply = true };

	build(s, 0, 0, &r);
	run(s, 0);
	*f = (struct file){ 0 };
}

/* The file's contents: each page has its number. */
static void write_at(struct system *s, uint64_t off)
{
	struct fuse_write_in in = { .fh = s->big.fh, .offset = off, .size = BIG_IO };
	struct request r = { .opcode = FUSE_WRITE,
			     .nodeid = s->big.nodeid,
			     .args = &in,
			     .arg_len = sizeof(in),
			     .data = BIG_IO,
			     .room = sizeof(struct fuse_write_out) };

	for (uint32_t i = 0; i < BIG_IO / PAGE; i++) {
		uint64_t number = off / PAGE + i;

		memcpy(page_of(s, 0, i, BIG_IO / PAGE), &number, sizeof(number));
	}
	(void)call(s, &r, "WRITE");
}

static void read_at(struct system *s, uint32_t slot, uint64_t off, uint32_t len)
{
	struct fuse_read_in in = { .fh = s->big.fh, .offset = off, .size = len };
	struct request r = { .opcode = FUSE_READ,
			     .nodeid = s->big.nodeid,
			     .args = &in,
			     .arg_len = sizeof(in),
			     .read = len };

	build(s, 1, slot, &r);
}

static void read_check(struct system *s, uint32_t slot, uint64_t off, uint32_t len)
{
	(void)reply(s, slot, "READ", 0, len);
	for (uint32_t i = 0; i < len / PAGE; i++) {
		uint64_t number;

		memcpy(&number, page_of(s, slot, i, len / PAGE), sizeof(number));
		if (number != off / PAGE + i)
			front_die("%s: READ at %llu: page %u is another", s->name,
				  (unsigned long long)off, i);
	}
}

static void read_big(struct system *s, uint64_t off)
{
	read_at(s, 0, off, BIG_IO);
	run(s, 1);
	read_check(s, 0, off, BIG_IO);
}

/* ---- rows: each does a few operations and says how many ---- */

static uint32_t next_file(struct system *s)
{
	s->next = (s->next + 1) % FILES;
	return s->next;
}

/* What nobody has: the way there and back, and nothing done at its end. */
static uint32_t row_nothing(struct system *s)
{
	struct request r = { .opcode = NO_OPCODE, .nodeid = ROOT };

	build(s, 1, 0, &r);
	run(s, 1);
	(void)reply(s, 0, "an unknown request", -ENOSYS, 0);
	return 1;
}

static uint32_t row_getattr(struct system *s)
{
	getattr_at(s, 0, next_file(s));
	run(s, 1);
	getattr_check(s, 0);
	return 1;
}

static void getattr_ask(struct system *s, uint32_t slot)
{
	getattr_at(s, slot, next_file(s));
}

static uint32_t row_getattr_32(struct system *s)
{
	return run_deep(s, &(struct deep){ .ask = getattr_ask, .check = getattr_check });
}

static uint32_t row_lookup(struct system *s)
{
	lookup(s, next_file(s));
	return 1;
}

static uint32_t row_absent(struct system *s)
{
	lookup_absent(s, next_file(s));
	return 1;
}

static uint32_t row_open(struct system *s)
{
	struct file *f = &s->files[next_file(s)];

	open_file(s, f);
	release(s, f);
	return 1;
}

static uint32_t row_read(struct system *s)
{
	uint64_t off = (uint64_t)draw(s, BIG_SIZE / PAGE) * PAGE;

	read_at(s, 0, off, PAGE);
	run(s, 1);
	read_check(s, 0, off, PAGE);
	return 1;
}

static void read_ask(struct system *s, uint32_t slot)
{
	s->off[slot] = (uint64_t)draw(s, BIG_SIZE / PAGE) * PAGE;
	read_at(s, slot, s->off[slot], PAGE);
}

static void read_answer(struct system *s, uint32_t slot)
{
	read_check(s, slot, s->off[slot], PAGE);
}

static uint32_t row_read_32(struct system *s)
{
	return run_deep(s, &(struct deep){ .ask = read_ask, .check = read_answer });
}

static uint32_t row_read_big(struct system *s)
{
	read_big(s, (uint64_t)draw(s, BIG_SIZE / BIG_IO) * BIG_IO);
	return 1;
}

static uint32_t row_create(struct system *s)
{
	char name[64];

	s->turn++;
	for (uint32_t i = 0; i < CREATES; i++) {
		name_of(name, sizeof(name), "made", s->turn, i);
		create(s, &s->made[i], name);
		release(s, &s->made[i]);
	}
	return CREATES;
}

static uint32_t row_unlink(struct system *s)
{
	char name[64];

	for (uint32_t i = 0; i < CREATES; i++) {
		name_of(name, sizeof(name), "made", s->turn, i);
		unlink_name(s, name);
	}
	return CREATES;
}

static uint32_t row_forget(struct system *s)
{
	for (uint32_t i = 0; i < CREATES; i++)
		forget(s, &s->made[i]);
	return CREATES;
}

/* ---- turns ---- */

struct row {
	const char *name;
	uint32_t (*run)(struct system *s);
	bool whole; /* one call is the turn */
};

static const struct row rows[] = {
	{ "nothing", row_nothing, false },	 { "getattr", row_getattr, false },
	{ "getattr-32", row_getattr_32, false }, { "lookup", row_lookup, false },
	{ "lookup-absent", row_absent, false },	 { "open", row_open, false },
	{ "read-4k", row_read, false },		 { "read-4k-32", row_read_32, false },
	{ "read-128k", row_read_big, false },	 { "create", row_create, true },
	{ "unlink", row_unlink, true },		 { "forget", row_forget, true },
};

static void turn(struct system *s, const struct row *row, unsigned round)
{
	double start = now(), end = start + slice_ms / 1000.0, at;
	uint64_t done = 0;

	do {
		done += row->run(s);
		at = now();
	} while (!row->whole && at < end);
	printf("%u %s %s %.0f\n", round, s->name, row->name, (double)done / (at - start));
}

static bool wanted(const struct row *row)
{
	return !*only || !strcmp(only, row->name) || (row->whole && !strcmp(only, "create"));
}

/* ---- setting up ---- */

static uint64_t get(struct system *s, uint32_t request)
{
	uint64_t value = 0;

	if (!front_send(&s->f, request, NULL, 0, NULL, 0) ||
	    front_receive(&s->f, request, &value, sizeof(value)) != sizeof(value))
		front_die("%s: %s: no answer", s->name, msg_name(request));
	return value;
}

static void set(struct system *s, uint32_t request, uint64_t value)
{
	if (!front_send(&s->f, request, &value, sizeof(value), NULL, 0))
		front_die("%s: %s: disconnected", s->name, msg_name(request));
}

/* What all back ends have, and no more. */
static void negotiate(struct system *s)
{
	uint64_t features = get(s, MSG_GET_FEATURES), protocol;

	if ((features & FEATURES) != FEATURES)
		front_die("%s: features %#llx", s->name, (unsigned long long)features);
	protocol = get(s, MSG_GET_PROTOCOL_FEATURES);
	if ((protocol & PROTOCOL_FEATURES) != PROTOCOL_FEATURES)
		front_die("%s: protocol features %#llx", s->name, (unsigned long long)protocol);
	set(s, MSG_SET_PROTOCOL_FEATURES, PROTOCOL_FEATURES);
	if (!front_send(&s->f, MSG_SET_OWNER, NULL, 0, NULL, 0))
		front_die("%s: SET_OWNER: disconnected", s->name);
	set(s, MSG_SET_FEATURES, FEATURES);
}

/* Reads of it sleep: one system call where there would be two. */
static void sleep_in_read(struct front_queue *q)
{
	if (fcntl(q->call, F_SETFL, fcntl(q->call, F_GETFL) & ~O_NONBLOCK))
		front_die("call: %s", strerror(errno));
}

static void init_session(struct system *s)
{
	struct fuse_init_in in = {
		.major = 7, .minor = 38, .max_readahead = 1 << 20, .flags = (uint32_t)INIT_FLAGS
	};
	struct request r = { .opcode = FUSE_INIT,
			     .args = &in,
			     .arg_len = sizeof(in),
			     .room = sizeof(struct fuse_init_out) };
	struct fuse_init_out out;

	memcpy(&out, call(s, &r, "INIT"), sizeof(out));
	if (out.major != 7 || out.max_write < BIG_IO || out.flags & FUSE_NO_OPEN_SUPPORT)
		front_die("%s: INIT: version %u.%u, max_write %u, flags %#x", s->name, out.major,
			  out.minor, out.max_write, out.flags);
}

static void make_files(struct system *s)
{
	char name[64];

	for (uint32_t i = 0; i < FILES; i++) {
		name_of(name, sizeof(name), "file", 0, i);
		create(s, &s->files[i], name);
		release(s, &s->files[i]);
	}
	create(s, &s->big, "big");
	for (uint64_t off = 0; off < BIG_SIZE; off += BIG_IO)
		write_at(s, off);
	/* Nobody's first reading is on the clock. */
	for (uint64_t off = 0; off < BIG_SIZE; off += BIG_IO)
		read_big(s, off);
}

static void begin(struct system *s, char *word)
{
	char *socket = strchr(word, '=');

	if (!socket)
		front_die("%s: say NAME=SOCKET", word);
	*socket++ = '\0';
	s->name = word;
	s->random = 1;
	front_connect(&s->f, socket);
	memset(s->f.memory, 0, FRONT_LOW + FRONT_HIGH); /* no page is new to anybody later */
	negotiate(s);
	front_share_memory(&s->f, false);
	for (uint32_t i = 0; i < 2; i++) {
		front_start_queue(&s->f, i, 0);
		sleep_in_read(&s->f.queue[i]);
	}
	init_session(s);
	make_files(s);
}

static void finish(struct system *s)
{
	for (uint32_t i = 0; i < FILES; i++)
		forget(s, &s->files[i]);
	release(s, &s->big);
	front_close(&s->f);
}

static int usage(void)
{
	fprintf(stderr, "usage: vhostbench [--rounds N] [--slice MS] [--cpu N] [--file MIB] "
			"[--only ROW] NAME=SOCKET...\n");
	return 2;
}

static void pin(unsigned long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		front_die("processor %lu: %s", cpu, strerror(errno));
}

static bool option(const char *word, const char *value)
{
	if (!strcmp(word, "--rounds"))
		rounds = (unsigned)strtoul(value, NULL, 10);
	else if (!strcmp(word, "--slice"))
		slice_ms = (unsigned)strtoul(value, NULL, 10);
	else if (!strcmp(word, "--file"))
		big_mib = (unsigned)strtoul(value, NULL, 10);
	else if (!strcmp(word, "--cpu"))
		pin(strtoul(value, NULL, 10));
	else if (!strcmp(word, "--only"))
		only = value;
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	static struct system systems[SYSTEMS_MAX];
	unsigned count = 0;
	int arg = 1;

	for (; arg + 1 < argc && argv[arg][0] == '-'; arg += 2)
		if (!option(argv[arg], argv[arg + 1]))
			return usage();
	if (arg == argc || argc - arg > SYSTEMS_MAX)
		return usage();
	(void)alarm(SECONDS_MAX);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (; arg < argc; arg++)
		begin(&systems[count++], argv[arg]);
	for (unsigned round = 0; round < rounds; round++)
		for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++)
			for (unsigned k = 0; k < count && wanted(&rows[r]); k++)
				turn(&systems[(k + round) % count], &rows[r], round);
	for (unsigned k = 0; k < count; k++)
		finish(&systems[k]);
	return 0;
}
