// SPDX-License-Identifier: GPL-2.0-only
/*
 * Turns: threads that come with pieces of the same file go one after another, in the
 * order of the pieces.
 *
 * The kernel writes a stream back in order, but an inode's lock is nobody's queue: of
 * sixteen threads that wait for it with a piece each, any may be next, and blocks
 * allocated out of order scatter the file.
 *
 * Invariant: of the records of one nodeid in a queue, the first is the one whose turn it
 * is. A record is its thread's own, in the queue from turn_take() to turn_pass().
 */
#include "daemon/fs/fs_priv.h"

/* So often nobody came who was waited for: from then on only one in IN_VAIN_RETRY waits. */
#define IN_VAIN_MAX 3
#define IN_VAIN_RETRY 16

void turns_init(struct turns *t)
{
	for (size_t k = 0; k < ARRAY_SIZE(t->queues); k++) {
		mutex_init(&t->queues[k].lock, LOCK_LEAF);
		list_init(&t->queues[k].waiting);
		t->queues[k].in_vain = 0;
	}
}

static struct turn_queue *queue_of(struct turns *t, uint64_t nodeid)
{
	return &t->queues[nodeid % ARRAY_SIZE(t->queues)];
}

/* The first of @nodeid's records from @from on, or NULL. Caller holds the lock. */
static struct turn *first_of(struct turn_queue *q, struct list *from, uint64_t nodeid)
{
	for (; from != &q->waiting; from = from->next) {
		struct turn *turn = list_entry(from, struct turn, link);

		if (turn->nodeid == nodeid)
			return turn;
	}
	return NULL;
}

/* Before those that have further to go, unless they have let enough others go first. */
static void enqueue(struct turn_queue *q, struct turn *turn)
{
	struct list *at = q->waiting.prev;

	for (; at != &q->waiting; at = at->prev) {
		struct turn *other = list_entry(at, struct turn, link);

		if (other->nodeid == turn->nodeid &&
		    (other->off <= turn->off || other->overtaken++ == TURN_OVERTAKEN_MAX))
			break;
	}
	list_add_tail(at->next, &turn->link);
}

void turn_take(struct turns *t, struct turn *turn, uint64_t nodeid, uint64_t off)
{
	struct turn_queue *q = queue_of(t, nodeid);

	*turn = (struct turn){ .nodeid = nodeid, .off = off };
	cond_init(&turn->come);
	mutex_lock(&q->lock);
	enqueue(q, turn);
	while (first_of(q, q->waiting.next, nodeid) != turn)
		cond_wait(&turn->come, &q->lock);
	turn->preceded = false;
	mutex_unlock(&q->lock);
}

/* Caller holds the lock. */
static bool is_worth_waiting(struct turn_queue *q)
{
	return q->in_vain < IN_VAIN_MAX || q->in_vain % IN_VAIN_RETRY == 0;
}

bool turn_yield(struct turns *t, struct turn *turn, const struct timespec *until)
{
	struct turn_queue *q = queue_of(t, turn->nodeid);
	bool came;

	mutex_lock(&q->lock);
	if (!turn->preceded && first_of(q, q->waiting.next, turn->nodeid) == turn &&
	    is_worth_waiting(q))
		(void)cond_wait_until(&turn->come, &q->lock, until); /* seen below */
	while (first_of(q, q->waiting.next, turn->nodeid) != turn)
		cond_wait(&turn->come, &q->lock);
	came = turn->preceded;
	turn->preceded = false;
	q->in_vain = came ? 0 : q->in_vain + 1;
	mutex_unlock(&q->lock);
	return came;
}

void turn_pass(struct turns *t, struct turn *turn)
{
	struct turn_queue *q = queue_of(t, turn->nodeid);
	struct turn *next;

	mutex_lock(&q->lock);
	next = first_of(q, turn->link.next, turn->nodeid);
	list_del(&turn->link);
	if (next) {
		next->preceded = true;
		cond_wake_one(&next->come);
	}
	mutex_unlock(&q->lock);
}
