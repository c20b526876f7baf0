// SPDX-License-Identifier: GPL-2.0-only
/*
 * Turns: pieces of one file go in their order however their threads came, other files do
 * not wait, nobody waits for ever, and holes do not cost a wait each.
 */
#include <pthread.h>
#include <time.h>

#include "daemon/fs/fs_priv.h"
#include "tests/lib/test.h"

#define PIECES 8

struct piece {
	struct turns *turns;
	uint64_t off;
	uint32_t *went; /* in its turn only */
	uint64_t *order;
	pthread_t thread;
};

static void *go(void *arg)
{
	struct piece *p = arg;
	struct turn turn;

	turn_take(p->turns, &turn, 7, p->off);
	p->order[(*p->went)++] = p->off;
	turn_pass(p->turns, &turn);
	return NULL;
}

static uint32_t count_waiting(struct turns *t, uint64_t nodeid)
{
	struct turn_queue *q = &t->queues[nodeid % TURN_QUEUES];
	struct list *at;
	uint32_t n = 0;

	mutex_lock(&q->lock);
	list_for_each(at, &q->waiting)
		n++;
	mutex_unlock(&q->lock);
	return n;
}

/* Returns when so many are in the queue, itself included. */
static void start(struct piece *p, uint32_t wanted)
{
	CHECK_EQ(pthread_create(&p->thread, NULL, go, p), 0);
	while (count_waiting(p->turns, 7) < wanted)
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

static struct timespec in_ms(long ms)
{
	struct timespec ts;

	CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	return ts;
}

static double ms_since(struct timespec from)
{
	struct timespec ts = in_ms(0);

	return (double)(ts.tv_sec - from.tv_sec) * 1e3 + (double)(ts.tv_nsec - from.tv_nsec) / 1e6;
}

TEST(test_turns__are_in_the_order_of_the_pieces)
{
	static const uint64_t arrival[PIECES] = { 5, 3, 8, 1, 2, 7, 6, 4 };
	struct piece pieces[PIECES];
	struct turn first, other;
	uint64_t order[PIECES];
	struct turns turns;
	uint32_t went = 0;

	turns_init(&turns);
	turn_take(&turns, &first, 7, 0);
	for (uint32_t k = 0; k < PIECES; k++) {
		pieces[k] = (struct piece){
			.turns = &turns, .off = arrival[k], .went = &went, .order = order
		};
		start(&pieces[k], k + 2);
	}
	turn_take(&turns, &other, 7 + TURN_QUEUES, 0); /* the same queue, another file */
	turn_pass(&turns, &other);
	CHECK_EQ(went, 0);
	turn_pass(&turns, &first);
	for (uint32_t k = 0; k < PIECES; k++)
		CHECK_EQ(pthread_join(pieces[k].thread, NULL), 0);
	CHECK_EQ(went, PIECES);
	for (uint32_t k = 0; k < PIECES; k++)
		CHECK_EQ(order[k], k + 1);
}

/* Without a bound, early pieces that never end would keep a late one for ever. */
TEST(test_turns__one_that_let_many_pass_goes)
{
	struct piece late, early[TURN_OVERTAKEN_MAX + 4];
	uint64_t order[ARRAY_SIZE(early) + 1];
	struct turns turns;
	struct turn first;
	uint32_t went = 0, at = 0;

	turns_init(&turns);
	turn_take(&turns, &first, 7, 0);
	late = (struct piece){ .turns = &turns, .off = 1000, .went = &went, .order = order };
	start(&late, 2);
	for (uint32_t k = 0; k < ARRAY_SIZE(early); k++) {
		early[k] = late;
		early[k].off = k + 1;
		start(&early[k], k + 3);
	}
	turn_pass(&turns, &first);
	for (uint32_t k = 0; k < ARRAY_SIZE(early); k++)
		CHECK_EQ(pthread_join(early[k].thread, NULL), 0);
	CHECK_EQ(pthread_join(late.thread, NULL), 0);
	while (order[at] != 1000)
		at++;
	CHECK_EQ(at, TURN_OVERTAKEN_MAX);
}

TEST(test_turn_yield__lets_an_earlier_piece_go_first)
{
	uint64_t order[1];
	uint32_t went = 0;
	struct turns turns;
	struct piece early = { .turns = &turns, .off = 1, .went = &went, .order = order };
	struct timespec until;
	struct turn turn;

	turns_init(&turns);
	turn_take(&turns, &turn, 7, 2);
	CHECK_EQ(pthread_create(&early.thread, NULL, go, &early), 0);
	until = in_ms(60000);
	CHECK(turn_yield(&turns, &turn, &until));
	CHECK_EQ(went, 1);
	turn_pass(&turns, &turn);
	CHECK_EQ(pthread_join(early.thread, NULL), 0);
}

TEST(test_turn_yield__stops_waiting_where_nobody_comes)
{
	struct timespec from = in_ms(0), until;
	struct turns turns;
	struct turn turn;
	double ms;

	turns_init(&turns);
	for (uint32_t k = 0; k < 160; k++) {
		turn_take(&turns, &turn, 7, 2);
		until = in_ms(20);
		CHECK(!turn_yield(&turns, &turn, &until));
		turn_pass(&turns, &turn);
		if (k == 0)
			CHECK_GE(ms_since(from), 19);
	}
	ms = ms_since(from);
	/* Three, then one in sixteen: 12 of 160. */
	CHECK_GE(ms, 12 * 19);
	CHECK_LT(ms, 160 * 20 / 2);
}
