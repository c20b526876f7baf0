// SPDX-License-Identifier: GPL-2.0-only
/* The table of revoked blocks equals an array. */
#include <errno.h>
#include <string.h>

#include "daemon/journal/journal_priv.h"
#include "tests/lib/test.h"

/* So few that most collide with others: the table begins with 64 slots and is never more than half full. */
#define KEYS 200u
#define STEPS 20000u
#define LIVE_MAX 32u

struct model {
	bool there[KEYS];
	uint32_t sequence[KEYS];
	uint32_t count;
};

static void check_equal(const struct revoke_table *t, const struct model *m)
{
	CHECK_EQ(t->count, m->count);
	for (uint32_t k = 0; k < KEYS; k++) {
		uint32_t sequence = 0;

		CHECK_EQ(revoke_table_find(t, k, &sequence), m->there[k]);
		if (m->there[k])
			CHECK_EQ(sequence, m->sequence[k]);
	}
}

/* Of two revokes the later one stays; sequences wrap. */
static void set(struct revoke_table *t, struct model *m, uint64_t k, uint32_t sequence)
{
	CHECK_OK(revoke_table_reserve(t, 1));
	revoke_table_set(t, k, sequence);
	if (!m->there[k] || (int32_t)(sequence - m->sequence[k]) > 0)
		m->sequence[k] = sequence;
	m->count += !m->there[k];
	m->there[k] = true;
}

static void check_run(uint32_t live_max)
{
	struct revoke_table t = { 0 };
	struct model m = { 0 };

	for (uint32_t step = 0; step < STEPS; step++) {
		uint64_t k = test_random_below(KEYS);

		if (m.count < live_max && test_random_below(2) == 0) {
			set(&t, &m, k, UINT32_MAX - 50 + (uint32_t)test_random_below(100));
		} else {
			revoke_table_remove(&t, k);
			m.count -= m.there[k];
			m.there[k] = false;
		}
		if (step % 16 == 0)
			check_equal(&t, &m);
	}
	revoke_table_clear(&t);
	memset(&m, 0, sizeof(m));
	check_equal(&t, &m);
	revoke_table_fini(&t);
}

TEST(test_revoke_table__equals_an_array_while_crowded)
{
	check_run(LIVE_MAX);
}

TEST(test_revoke_table__equals_an_array_while_it_grows)
{
	check_run(KEYS);
}

TEST(test_revoke_table__refuses_impossible_sizes)
{
	struct revoke_table t = { 0 };

	CHECK_ERR(revoke_table_reserve(&t, UINT32_MAX), -ENOMEM);
	CHECK_EQ(t.size, 0);
}
