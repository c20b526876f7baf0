/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Replacement. A set has eight slots, in which readers mark what they use. A newcomer takes a free slot. Where there is
 * none, one newcomer in TRIES_UNUSED gets the place of one that was not used yet, or one in TRIES_USED, if all were, that
 * of any; the others are refused. Which one is left to chance, for in a working set larger than the table the oldest is as
 * likely to be needed next as any other. So a scan over everything passes through few slots, what is used stays, what
 * is not used any more goes in time, and the hit rate falls with the size of the working set and never to nothing.
 */
#include "daemon/bpf/set.h"

#include <sched.h>
#include <stdbool.h>

#include "include/kfs/bpf_abi.h"

#define TRIES_UNUSED 4u
#define TRIES_USED 8u
#define SPINS_MAX 100

static _Thread_local uint32_t dice;

void set_lock(uint32_t *seq)
{
	unsigned spins = 0;

	for (;;) {
		uint32_t now = __atomic_load_n(seq, __ATOMIC_RELAXED);

		if (!(now & 1) && __atomic_compare_exchange_n(seq, &now, now + 1, false,
							      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return;
		if (++spins > SPINS_MAX)
			(void)sched_yield(); /* cannot fail */
	}
}

uint32_t set_roll(void)
{
	/* Any start but 0 will do; threads need not differ. */
	if (!dice)
		dice = 2463534242u;
	dice ^= dice << 13;
	dice ^= dice >> 17;
	dice ^= dice << 5;
	return dice;
}

int set_choose(const uint8_t *state, uint8_t *used)
{
	uint32_t chance = set_roll(), start = chance % KFS_WAYS;
	int unused = -1, any = -1;

	for (uint32_t k = 0; k < KFS_WAYS; k++) {
		uint32_t way = (start + k) % KFS_WAYS;

		if (GET(state[way]) == KFS_SLOT_FREE)
			return (int)way;
		if (GET(state[way]) == KFS_SLOT_HELD)
			continue;
		any = (int)way;
		if (!GET(used[way]))
			unused = (int)way;
	}
	chance /= KFS_WAYS;
	if (unused >= 0)
		return chance % TRIES_UNUSED ? -1 : unused;
	return chance % TRIES_USED ? -1 : any;
}
