/* SPDX-License-Identifier: GPL-2.0-only */
/* Rings that make no sense: chains of every bad kind, rings written to while they are served, and stopped in between. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/vhost/hostile.h"

#define RING_OF(h, q) ((h)->f.queue[q])
#define FREE_HEAD 255u /* a descriptor that no slot uses: slots end before it by one */
#define IN_GAP (FRONT_HIGH_GPA - 4096)

/* ---- chains ---- */

enum outcome {
	BREAKS,	  /* the ring is said to be broken */
	GOES_ON,  /* the chain is given back */
	WHATEVER, /* one of the two */
	VANISHES, /* the ring was written over: perhaps neither */
};

struct chain {
	struct hostile *h;
	struct shot *s;
	struct front_queue *q;
	struct vring_desc *d, *table; /* the first descriptor, and a table of the slot's own */
};

/* A request that is right, in two descriptors of the ring; the last one of the reply. */
static void plain(struct chain *c)
{
	uint16_t next = (uint16_t)(c->s->head + 1);
	struct fuse_in_header head = {
		.len = 56, .opcode = FUSE_GETATTR, .unique = c->h->f.unique += 2, .nodeid = 1
	};

	memcpy(hostile_in(c->h, c->s), &head, sizeof(head));
	c->d[0] = (struct vring_desc){
		.addr = hostile_in_gpa(c->s), .len = 56, .flags = VRING_DESC_F_NEXT, .next = next
	};
	c->d[1] = (struct vring_desc){ .addr = hostile_out_gpa(c->s),
				       .len = 200,
				       .flags = VRING_DESC_F_WRITE };
}

static void indirect(struct chain *c, uint32_t count)
{
	plain(c);
	c->table[0] = c->d[0];
	c->table[0].next = 1;
	c->table[1] = c->d[1];
	c->d[0] = (struct vring_desc){ .addr = hostile_table_gpa(c->s),
				       .len = 16 * count,
				       .flags = VRING_DESC_F_INDIRECT };
}

static void loop_of_one(struct chain *c)
{
	plain(c);
	c->d[0].next = c->s->head;
}

static void loop_at_end(struct chain *c)
{
	plain(c);
	c->d[1].flags |= VRING_DESC_F_NEXT;
	c->d[1].next = (uint16_t)(c->s->head + 1);
}

static void loop_in_table(struct chain *c)
{
	indirect(c, 2);
	c->table[1].flags |= VRING_DESC_F_NEXT;
	c->table[1].next = (uint16_t)hostile_below(c->h, 2);
}

static void next_outside(struct chain *c)
{
	plain(c);
	c->d[0].next = (uint16_t)(FRONT_NUM + hostile_below(c->h, 0x10000 - FRONT_NUM));
}

static void next_outside_table(struct chain *c)
{
	indirect(c, 2);
	c->table[0].next = (uint16_t)(2 + hostile_below(c->h, 0xfffe));
}

static void head_outside(struct chain *c)
{
	plain(c);
	c->s->head = (uint16_t)(FRONT_NUM + hostile_below(c->h, 0x10000 - FRONT_NUM));
}

static void readable_last(struct chain *c)
{
	plain(c);
	c->d[0].flags |= VRING_DESC_F_WRITE;
	c->d[1].flags = 0;
}

static void table_and_next(struct chain *c)
{
	indirect(c, 2);
	c->d[0].flags |= VRING_DESC_F_NEXT;
	c->d[0].next = (uint16_t)(c->s->head + 1);
}

static void table_in_table(struct chain *c)
{
	indirect(c, 2);
	c->table[hostile_below(c->h, 2)].flags |= VRING_DESC_F_INDIRECT;
}

static void table_after_others(struct chain *c)
{
	plain(c);
	c->d[1].flags = VRING_DESC_F_INDIRECT;
}

static void table_of_odd_size(struct chain *c)
{
	indirect(c, 2);
	c->d[0].len = 16 * (uint32_t)hostile_below(c->h, 8) + 1 + (uint32_t)hostile_below(c->h, 15);
}

static void table_empty(struct chain *c)
{
	indirect(c, 0);
}

static void table_huge(struct chain *c)
{
	indirect(c, 0);
	c->d[0].len = 16 * (1025 + (uint32_t)hostile_below(c->h, 0xffff000));
}

static void table_nowhere(struct chain *c)
{
	static const uint64_t at[] = {
		IN_GAP,		 FRONT_LOW,	  FRONT_HIGH_GPA + FRONT_HIGH,
		UINT64_MAX - 31, UINT64_MAX - 15, UINT64_MAX
	};

	indirect(c, 2);
	c->d[0].addr = at[hostile_below(c->h, sizeof(at) / sizeof(at[0]))];
}

/* The second entry is not there any more. */
static void table_at_end(struct chain *c)
{
	uint64_t gpa = FRONT_LOW - 16 - hostile_below(c->h, 15);

	indirect(c, 2);
	memcpy(front_at(&c->h->f, gpa), &c->table[0], 16);
	c->d[0].addr = gpa;
}

static void nothing_at_all(struct chain *c)
{
	plain(c);
	c->d[0].len = c->d[1].len = 0;
}

static void no_reply_room(struct chain *c)
{
	plain(c);
	c->d[1].len = (uint32_t)hostile_below(c->h, 16);
}

static void many_empty(struct chain *c)
{
	indirect(c, 16);
	for (uint16_t i = 0; i < 15; i++)
		c->table[i] = (struct vring_desc){ .addr = hostile_odd(c->h),
						   .flags = VRING_DESC_F_NEXT,
						   .next = (uint16_t)(i + 1) };
	c->table[15] = (struct vring_desc){ .addr = 0 };
}

static void huge_length(struct chain *c)
{
	plain(c);
	c->d[hostile_below(c->h, 2)].len = 0xffffffffu - (uint32_t)hostile_below(c->h, 4096);
}

static void address_nowhere(struct chain *c)
{
	static const uint64_t at[] = { IN_GAP,
				       FRONT_LOW - 8,
				       FRONT_LOW,
				       FRONT_HIGH_GPA - 8,
				       FRONT_HIGH_GPA + FRONT_HIGH - 8,
				       UINT64_MAX - 8,
				       UINT64_MAX,
				       UINT64_C(0x8000000000000000) };

	plain(c);
	c->d[hostile_below(c->h, 2)].addr = at[hostile_below(c->h, sizeof(at) / sizeof(at[0]))];
}

/* More of a request than any may have. */
static void too_long(struct chain *c)
{
	indirect(c, 3);
	c->table[2] = c->table[1];
	c->table[0].next = 1;
	c->table[1] = (struct vring_desc){
		.addr = FRONT_HIGH_GPA, .len = FRONT_HIGH, .flags = VRING_DESC_F_NEXT, .next = 2
	};
}

static void flags_of_the_future(struct chain *c)
{
	plain(c);
	c->d[0].flags |= (uint16_t)(hostile_next(c->h) & 0xfff8);
	c->d[1].flags |= (uint16_t)(hostile_next(c->h) & 0xfff8);
}

/* The reply goes where the request is, or its table. */
static void reply_over_request(struct chain *c)
{
	indirect(c, 2);
	c->table[1].addr = hostile_one_in(c->h, 2) ? hostile_in_gpa(c->s) : hostile_table_gpa(c->s);
}

/* The reply goes over descriptors, available or used entries. */
static void reply_over_ring(struct chain *c)
{
	plain(c);
	c->d[1].addr = c->q->ring_gpa + hostile_below(c->h, 3) * 0x4000 + hostile_below(c->h, 64);
}

static void same_head_again(struct chain *c)
{
	plain(c);
	for (uint64_t i = 1 + hostile_below(c->h, 40); i; i--)
		c->q->avail[2 + c->q->avail_next++ % FRONT_NUM] = c->s->head;
}

static void index_jumps(struct chain *c)
{
	plain(c);
	c->q->avail_next = (uint16_t)(c->q->avail_next + FRONT_NUM +
				      hostile_below(c->h, 0x10000 - 2 * FRONT_NUM));
}

/* One behind what was taken: as far ahead as can be. */
static void index_steps_back(struct chain *c)
{
	plain(c);
	c->q->avail_next = (uint16_t)(c->q->avail_next - 2);
}

static void anything(struct chain *c)
{
	uint32_t count = 1 + (uint32_t)hostile_below(c->h, 8);

	indirect(c, count);
	for (uint32_t i = 0; i < count; i++)
		c->table[i] = (struct vring_desc){
			.addr = hostile_one_in(c->h, 4) ? hostile_odd(c->h) : hostile_out_gpa(c->s),
			.len = (uint32_t)(hostile_one_in(c->h, 4) ? hostile_odd(c->h) : 64),
			.flags = (uint16_t)hostile_below(c->h, hostile_one_in(c->h, 8) ? 8 : 4),
			.next = (uint16_t)(hostile_one_in(c->h, 8) ? hostile_odd(c->h) : i + 1),
		};
}

static const struct chain_kind {
	const char *name;
	void (*build)(struct chain *c);
	enum outcome outcome;
} kinds[] = {
	{ "loop of one", loop_of_one, BREAKS },
	{ "loop at the end", loop_at_end, BREAKS },
	{ "loop in a table", loop_in_table, BREAKS },
	{ "next outside the ring", next_outside, BREAKS },
	{ "next outside the table", next_outside_table, BREAKS },
	{ "head outside the ring", head_outside, BREAKS },
	{ "readable after writable", readable_last, BREAKS },
	{ "a table and more", table_and_next, BREAKS },
	{ "a table in a table", table_in_table, BREAKS },
	{ "a table behind others", table_after_others, BREAKS },
	{ "a table of odd size", table_of_odd_size, BREAKS },
	{ "an empty table", table_empty, BREAKS },
	{ "a huge table", table_huge, BREAKS },
	{ "index too far", index_jumps, BREAKS },
	{ "index backwards", index_steps_back, BREAKS },
	{ "a table nowhere", table_nowhere, GOES_ON },
	{ "a table that ends", table_at_end, GOES_ON },
	{ "empty", nothing_at_all, GOES_ON },
	{ "no room for a reply", no_reply_room, GOES_ON },
	{ "many empty ones", many_empty, GOES_ON },
	{ "huge length", huge_length, GOES_ON },
	{ "address nowhere", address_nowhere, GOES_ON },
	{ "a request too long", too_long, GOES_ON },
	{ "unknown flags", flags_of_the_future, GOES_ON },
	{ "a reply over its request", reply_over_request, GOES_ON },
	{ "the same head again", same_head_again, GOES_ON },
	{ "anything", anything, WHATEVER },
	{ "a reply over the ring", reply_over_ring, VANISHES },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void shoot_chain(struct hostile *h, const struct chain_kind *kind)
{
	uint32_t queue = (uint32_t)hostile_below(h, FRONT_QUEUES);
	struct chain c = { .h = h, .s = hostile_shot(h, queue), .q = &RING_OF(h, queue) };
	bool back;

	c.s->what = kind->name;
	c.d = &c.q->desc[c.s->head];
	c.table = (void *)front_at(&h->f, hostile_table_gpa(c.s));
	kind->build(&c);
	back = hostile_fire_blind(h, queue, kind->outcome == VANISHES);
	/* It may look as if nothing had happened to it. */
	if (back && kind->outcome == VANISHES)
		hostile_restart_ring(h, queue);
	h->judged = true;
	if ((back && kind->outcome == BREAKS) || (!back && kind->outcome == GOES_ON))
		front_die("%s: the ring %s", kind->name, back ? "goes on" : "is called broken");
	h->judged = false;
}

/* Those that break the ring are a part: starting it anew is what takes time. */
void hostile_chains(struct hostile *h, uint64_t from, uint64_t to)
{
	hostile_open(h, STAGE_SESSION);
	for (uint64_t n = from; n < to; n++) {
		const struct chain_kind *kind;

		hostile_case(h, n);
		do
			kind = &kinds[hostile_below(h, KINDS)];
		while (kind->outcome != GOES_ON && !hostile_one_in(h, 3));
		shoot_chain(h, kind);
	}
}

/* ---- rings that change while they are served ---- */

struct scribbler {
	struct hostile *h;
	pthread_t thread;
	uint64_t rng;
	_Atomic bool stop;
};

static uint64_t draw(struct scribbler *s)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return s->rng;
}

/* Lengths, addresses, flags, heads, headers and arguments; not the index, which would end the ring at once. */
static void scribble(struct scribbler *s)
{
	struct front *f = &s->h->f;
	struct front_queue *q = &f->queue[draw(s) % FRONT_QUEUES];
	struct shot shot = { .queue = (uint32_t)(q - f->queue),
			     .slot = (uint32_t)(draw(s) % HOSTILE_SLOTS) };
	struct vring_desc *d = draw(s) % 2 ? &q->desc[draw(s) % FRONT_NUM] :
					     (void *)front_at(f, hostile_table_gpa(&shot));
	uint8_t *in = front_at(f, hostile_in_gpa(&shot));

	switch (draw(s) % 8) {
	case 0: d->len = (uint32_t)(draw(s) >> (draw(s) % 32)); break;
	case 1: d->addr = draw(s) >> (draw(s) % 64); break;
	case 2: d->flags = (uint16_t)(draw(s) % 8); break;
	case 3: d->next = (uint16_t)(draw(s) % FRONT_NUM); break;
	case 4: q->avail[2 + draw(s) % FRONT_NUM] = (uint16_t)(draw(s) % (FRONT_NUM + 1)); break;
	case 5: in[draw(s) % 40] = (uint8_t)draw(s); break;
	case 6: memset(in + 40 + draw(s) % 64, (int)draw(s), draw(s) % 64); break;
	default: q->avail[0] = (uint16_t)draw(s); break;
	}
}

static void *scribbler_thread(void *arg)
{
	struct scribbler *s = arg;

	while (!atomic_load(&s->stop))
		scribble(s);
	return NULL;
}

static void start_scribbler(struct hostile *h, struct scribbler *s)
{
	*s = (struct scribbler){ .h = h, .rng = hostile_next(h) | 1 };
	if (pthread_create(&s->thread, NULL, scribbler_thread, s))
		front_die("no thread");
}

static void stop_scribbler(struct scribbler *s)
{
	atomic_store(&s->stop, true);
	(void)pthread_join(s->thread, NULL); /* it was told to end */
}

#define RACE 32u

/* What becomes of a request is a matter of time; the ring is given back, or said to be broken. */
void hostile_races(struct hostile *h, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n += RACE) {
		struct scribbler s;

		hostile_open(h, STAGE_SESSION);
		for (uint64_t i = n; i < n + RACE && i < to; i++) {
			hostile_case(h, i);
			hostile_some_bodies(h, 1);
		}
		start_scribbler(h, &s);
		for (uint32_t q = 0; q < FRONT_QUEUES; q++)
			(void)hostile_fire_blind(h, q, true);
		stop_scribbler(&s);
		hostile_restart_rings(h);
	}
}

/* ---- rings that are stopped and started while they are served ---- */

static void tell_state(struct hostile *h, uint32_t request, uint32_t queue, uint32_t num)
{
	uint32_t state[2] = { queue, num };

	if (!front_send(&h->f, request, state, sizeof(state), NULL, 0))
		front_die("the connection has ended");
}

static void move_memory(struct hostile *h)
{
	union msg_payload p = { .slot.region = { .gpa = UINT64_C(8) << 32,
						 .size = 1 << 20,
						 .uva = UINT64_C(0x7f3000000000) } };
	int ret = front_tell(&h->f, MSG_ADD_MEM_REG, &p, 40, &h->f.memory_fd, 1);

	ret = ret ? ret : front_tell(&h->f, MSG_REM_MEM_REG, &p, 40, NULL, 0);
	if (ret)
		front_die("a region was refused");
}

/* Messages that a front end may send at any time, and those that are refused while the ring is at work. */
static void in_flight(struct hostile *h)
{
	uint32_t queue = (uint32_t)hostile_below(h, FRONT_QUEUES);
	uint64_t number = queue;

	switch (hostile_below(h, 8)) {
	case 0: tell_state(h, MSG_SET_VRING_ENABLE, queue, 0); break;
	case 1: move_memory(h); break;
	case 2: tell_state(h, MSG_SET_VRING_NUM, queue, (uint32_t)hostile_odd(h)); break;
	case 3: tell_state(h, MSG_SET_VRING_BASE, queue, (uint32_t)hostile_odd(h)); break;
	case 4:
		(void)front_tell(&h->f, MSG_SET_VRING_KICK, &number, 8, &h->f.queue[queue].kick, 1);
		break;
	case 5:
		(void)front_tell(&h->f, MSG_SET_VRING_CALL, &number, 8, &h->f.queue[queue].call, 1);
		break;
	case 6: (void)front_stop_queue(&h->f, queue); break;
	default: (void)front_tell(&h->f, MSG_SET_STATUS, &(uint64_t){ 0 }, 8, NULL, 0); break;
	}
}

void hostile_flight(struct hostile *h, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n++) {
		hostile_open(h, STAGE_SESSION);
		hostile_case(h, n);
		hostile_some_bodies(h, 1 + (uint32_t)hostile_below(h, 8));
		hostile_offer(h);
		in_flight(h);
		if (hostile_one_in(h, 16))
			(void)front_tell(&h->f, MSG_RESET_DEVICE, NULL, 0, NULL, 0);
		hostile_restart_rings(h);
		/* After a reset nobody has a session. */
		if (n % 32 == 31)
			hostile_close(h);
	}
}
