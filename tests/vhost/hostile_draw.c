/* SPDX-License-Identifier: GPL-2.0-only */
/* What a case is, from its number. */
#include "tests/vhost/hostile.h"

static uint64_t mix(uint64_t n)
{
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9u;
	n = (n ^ n >> 27) * 0x94d049bb133111ebu;
	return n ^ n >> 31;
}

uint64_t hostile_next(struct hostile *h)
{
	h->rng += 0x9e3779b97f4a7c15u;
	return mix(h->rng);
}

uint64_t hostile_below(struct hostile *h, uint64_t limit)
{
	return hostile_next(h) % limit;
}

bool hostile_one_in(struct hostile *h, uint64_t n)
{
	return hostile_below(h, n) == 0;
}

uint64_t hostile_odd(struct hostile *h)
{
	static const uint64_t some[] = { 0,
					 1,
					 2,
					 3,
					 8,
					 16,
					 40,
					 255,
					 256,
					 4095,
					 4096,
					 0x7fff,
					 0x8000,
					 0xffff,
					 0x10000,
					 FRONT_LOW,
					 FRONT_HIGH_GPA,
					 FRONT_HIGH_GPA + FRONT_HIGH,
					 0x7fffffff,
					 0x80000000,
					 0xffffffff,
					 0x10000000000,
					 0x7fffffffffffffff,
					 0x8000000000000000,
					 0xffffffffffffffff,
					 0xfffffffffffff000 };
	uint64_t n = some[hostile_below(h, sizeof(some) / sizeof(some[0]))];

	return hostile_one_in(h, 4) ? n + hostile_below(h, 64) - 32 : n;
}

void hostile_case(struct hostile *h, uint64_t number)
{
	h->number = number;
	h->rng = mix(h->seed * 0x9e3779b97f4a7c15u + mix(number + 1));
	h->done++;
}

void hostile_life(struct hostile *h, uint64_t life)
{
	h->rng = mix(h->seed + mix(life + 0x6c696665));
}
