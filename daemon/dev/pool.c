/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/dev/pool.h"

#include <unistd.h>

#include "daemon/base/util.h"

/* All busy at so many looks in a row: one more. None for so many: stop looking. */
#define BUSY_LOOKS 4
#define IDLE_LOOKS 100

void pool_init(struct pool *p, int bell, void (*grow)(struct pool *p))
{
	*p = (struct pool){ .bell = bell, .grow = grow };
}

void pool_took(struct pool *p)
{
	int32_t idle = atomic_fetch_sub(&p->idle, 1) - 1;
	uint64_t one = 1;

	atomic_fetch_add(&p->taken, 1);
	if (likely(idle > 0) || atomic_exchange(&p->watched, true))
		return;
	if (write(p->bell, &one, sizeof(one)) != sizeof(one))
		p->grow(p); /* nobody will look */
}

bool pool_look(struct pool *p)
{
	uint64_t taken = atomic_load(&p->taken);
	bool busy = atomic_load(&p->idle) <= 0;

	if (!atomic_load(&p->watched))
		return false;
	p->busy_looks = busy ? p->busy_looks + 1 : 0;
	p->idle_looks = busy ? 0 : p->idle_looks + 1;
	/* Nothing was taken since the last look: all are stuck. Else: busy for long enough. */
	if ((busy && taken == p->taken_seen) || p->busy_looks >= BUSY_LOOKS) {
		p->grow(p);
		p->busy_looks = 0;
	}
	p->taken_seen = taken;
	if (p->idle_looks < IDLE_LOOKS)
		return true;
	p->taken_seen = 0;
	p->busy_looks = p->idle_looks = 0;
	atomic_store(&p->watched, false);
	/* The last one may have become busy since it was looked at. */
	return atomic_load(&p->idle) <= 0 && !atomic_exchange(&p->watched, true);
}
