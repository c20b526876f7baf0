/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fixed table, so that the handler needs no lock: a slot's base is written last when it is
 * taken and cleared first when it is given back. The handler calls mmap(2) alone, which is a
 * plain system call.
 */
#include "vhost/guard.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "daemon/base/bustrap.h"

/* Every slot of 16 guests. */
#define GUARDS_MAX 8192

struct guard {
	_Atomic bool taken;
	_Atomic uintptr_t base; /* 0: not guarded */
	_Atomic size_t len;
	_Atomic bool hit;
};

static struct guard guards[GUARDS_MAX];
static _Atomic uint32_t guards_used; /* slots from here on were never taken */

static struct guard *guard_at(uintptr_t address)
{
	for (uint32_t i = 0; i < atomic_load(&guards_used); i++) {
		uintptr_t base = atomic_load(&guards[i].base);

		if (base && address >= base && address - base < atomic_load(&guards[i].len))
			return &guards[i];
	}
	return NULL;
}

/* The whole mapping goes: with huge pages there is no smaller piece that could. */
static bool replace(uintptr_t address)
{
	struct guard *g = guard_at(address);

	if (!g ||
	    mmap((void *)atomic_load(&g->base), atomic_load(&g->len), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return false;
	atomic_store(&g->hit, true);
	return true;
}

int guard_install(void)
{
	return bustrap_install(replace);
}

int guard_add(void *base, size_t len, struct guard **ret_guard)
{
	for (uint32_t i = 0; i < GUARDS_MAX; i++) {
		struct guard *g = &guards[i];
		uint32_t used = atomic_load(&guards_used);

		if (atomic_exchange(&g->taken, true))
			continue;
		while (used < i + 1 && !atomic_compare_exchange_weak(&guards_used, &used, i + 1))
			;
		atomic_store(&g->hit, false);
		atomic_store(&g->len, len);
		atomic_store(&g->base, (uintptr_t)base);
		*ret_guard = g;
		return 0;
	}
	return -ENOSPC;
}

void guard_remove(struct guard *g)
{
	atomic_store(&g->base, 0);
	atomic_store(&g->taken, false);
}

bool guard_hit(const struct guard *g)
{
	return atomic_load(&g->hit);
}
