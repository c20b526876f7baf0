/* SPDX-License-Identifier: GPL-2.0-only */
/* When a pool asks for another thread, and when nobody has to look any more. */
#include "daemon/dev/pool.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/lib/test.h"

static int grown;

static void grow(struct pool *p)
{
	grown++;
	(void)p;
}

static bool rung(int bell)
{
	uint64_t count;

	return read(bell, &count, sizeof(count)) == sizeof(count);
}

static struct pool pool_with(int32_t idle)
{
	struct pool p;

	pool_init(&p, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), grow);
	CHECK_GE(p.bell, 0);
	for (int32_t i = 0; i < idle; i++)
		pool_wait(&p);
	grown = 0;
	return p;
}

TEST(test_pool_took__rings_once_when_nobody_is_left)
{
	struct pool p = pool_with(2);

	pool_took(&p);
	CHECK(!rung(p.bell));
	pool_took(&p);
	CHECK(rung(p.bell));
	pool_wait(&p);
	pool_took(&p);
	/* Somebody looks already. */
	CHECK(!rung(p.bell));
	CHECK_EQ(grown, 0);
}

TEST(test_pool_look__grows_where_all_are_stuck)
{
	struct pool p = pool_with(1);

	CHECK(!pool_look(&p));
	pool_took(&p);
	CHECK(pool_look(&p)); /* one was taken since */
	CHECK_EQ(grown, 0);
	CHECK(pool_look(&p)); /* and none now */
	CHECK_EQ(grown, 1);
}

TEST(test_pool_look__grows_where_all_are_busy_for_long)
{
	struct pool p = pool_with(1);

	for (int i = 0; i < 4; i++) {
		CHECK_EQ(grown, 0);
		pool_took(&p);
		CHECK(pool_look(&p));
		pool_wait(&p);
	}
	/* Busy at each look, although each took something. */
	CHECK_EQ(grown, 1);
}

TEST(test_pool_look__ends_when_all_is_quiet_and_begins_again)
{
	struct pool p = pool_with(1);
	int looks = 0;

	pool_took(&p);
	CHECK(rung(p.bell));
	pool_wait(&p);
	while (pool_look(&p))
		looks++;
	CHECK_GT(looks, 10);
	CHECK_LT(looks, 1000);
	CHECK_EQ(grown, 0);
	pool_took(&p);
	CHECK(rung(p.bell));
	CHECK(pool_look(&p));
}

TEST(test_pool_took__grows_itself_where_the_bell_is_broken)
{
	struct pool p = pool_with(1);

	(void)close(p.bell);
	p.bell = -1;
	pool_took(&p);
	CHECK_EQ(grown, 1);
}
