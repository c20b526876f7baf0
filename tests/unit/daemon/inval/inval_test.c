/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bus delivers each kind to those who asked for it and to nobody else,
 * synchronously, in the order of publishing.
 */
#include "daemon/inval/inval.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib/test.h"

struct recorder {
	struct inval_subscriber sub;
	_Atomic uint32_t seen;
	struct inval_event last;
};

static void record(struct inval_subscriber *sub, const struct inval_event *ev)
{
	struct recorder *r = container_of(sub, struct recorder, sub);

	atomic_fetch_add(&r->seen, 1);
	r->last = *ev;
}

static void count_only(struct inval_subscriber *sub, const struct inval_event *ev UNUSED)
{
	atomic_fetch_add(&container_of(sub, struct recorder, sub)->seen, 1);
}

TEST(test_inval__delivers_only_wanted_kinds)
{
	struct recorder attrs = { .sub = { .kinds = 1u << INVAL_ATTR, .notify = record } };
	struct recorder names = { .sub = { .kinds = (1u << INVAL_ENTRY) | (1u << INVAL_DELETE),
					   .notify = record } };
	struct inval_event ev = { .kind = INVAL_ATTR, .nodeid = 7, .version = 3 };
	struct inval_stats stats;
	struct inval_bus *bus;

	CHECK_OK(inval_new(&bus));
	inval_publish(bus, &ev); /* nobody listens: not counted */
	inval_subscribe(bus, &attrs.sub);
	inval_subscribe(bus, &names.sub);
	CHECK(inval_wanted(bus, INVAL_ATTR));
	CHECK(!inval_wanted(bus, INVAL_FILL_ATTR));
	inval_publish(bus, &ev);
	ev.kind = INVAL_DELETE;
	ev.nodeid = 9;
	inval_publish(bus, &ev);
	ev.kind = INVAL_FILL_ATTR;
	inval_publish(bus, &ev);
	CHECK_EQ(attrs.seen, 1);
	CHECK_EQ(attrs.last.nodeid, 7);
	CHECK_EQ(attrs.last.version, 3);
	CHECK_EQ(names.seen, 1);
	CHECK_EQ(names.last.nodeid, 9);
	inval_get_stats(bus, &stats);
	CHECK_EQ(stats.published[INVAL_ATTR], 1);
	CHECK_EQ(stats.published[INVAL_DELETE], 1);
	CHECK_EQ(stats.published[INVAL_FILL_ATTR], 0);
	inval_free(bus);
}

TEST(test_inval_unsubscribe__stops_delivery_and_want)
{
	struct recorder a = { .sub = { .kinds = 1u << INVAL_DATA, .notify = record } };
	struct recorder b = { .sub = { .kinds = 1u << INVAL_XATTR, .notify = record } };
	struct inval_event ev = { .kind = INVAL_DATA };
	struct inval_bus *bus;

	CHECK_OK(inval_new(&bus));
	inval_subscribe(bus, &a.sub);
	inval_subscribe(bus, &b.sub);
	inval_unsubscribe(bus, &a.sub);
	inval_unsubscribe(bus, &a.sub); /* twice is harmless */
	CHECK(!inval_wanted(bus, INVAL_DATA));
	CHECK(inval_wanted(bus, INVAL_XATTR));
	inval_publish(bus, &ev);
	ev.kind = INVAL_XATTR;
	inval_publish(bus, &ev);
	CHECK_EQ(a.seen, 0);
	CHECK_EQ(b.seen, 1);
	inval_free(bus);
}

#define EVENTS 20000

static void *publisher(void *arg)
{
	struct inval_event ev = { .kind = INVAL_ATTR };

	for (uint32_t i = 0; i < EVENTS; i++)
		inval_publish(arg, &ev);
	return NULL;
}

TEST(test_inval_publish__counts_across_threads)
{
	struct recorder r = { .sub = { .kinds = 1u << INVAL_ATTR, .notify = count_only } };
	struct inval_stats stats;
	struct inval_bus *bus;
	pthread_t threads[4];

	CHECK_OK(inval_new(&bus));
	inval_subscribe(bus, &r.sub);
	for (int i = 0; i < 4; i++)
		CHECK_OK(pthread_create(&threads[i], NULL, publisher, bus));
	for (int i = 0; i < 4; i++)
		CHECK_OK(pthread_join(threads[i], NULL));
	inval_get_stats(bus, &stats);
	CHECK_EQ(r.seen, 4 * EVENTS);
	CHECK_EQ(stats.published[INVAL_ATTR], 4 * EVENTS);
	inval_free(bus);
}
