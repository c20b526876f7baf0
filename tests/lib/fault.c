// SPDX-License-Identifier: GPL-2.0-only
/* See fault.h. */
#include "tests/lib/fault.h"

#include <stdatomic.h>

static const char *const names[FAULT_KINDS] = {
	[FAULT_ALLOC] = "alloc", [FAULT_THREAD] = "thread", [FAULT_READ] = "read",
	[FAULT_WRITE] = "write", [FAULT_FLUSH] = "flush",   [FAULT_DISCARD] = "discard",
	[FAULT_ZERO] = "zero",	 [FAULT_SHORT] = "short",   [FAULT_INTR] = "intr",
	[FAULT_JOIN] = "join",
};

static struct fault_plan planned; /* [written while no other thread asks] */
static _Atomic bool active;
static _Atomic uint64_t counted[FAULT_KINDS];
static _Atomic uint64_t fired;
static _Thread_local bool exempt;

void fault_plan(const struct fault_plan *plan)
{
	planned = *plan;
	for (int kind = 0; kind < FAULT_KINDS; kind++)
		atomic_store(&counted[kind], 0);
	atomic_store(&fired, 0);
	atomic_store(&active, true);
}

void fault_stop(void)
{
	atomic_store(&active, false);
}

bool fault_hit(enum fault_kind kind)
{
	uint64_t n;

	if (!atomic_load(&active) || exempt)
		return false;
	n = atomic_fetch_add(&counted[kind], 1) + 1;
	if (kind != planned.kind || !planned.nth || n < planned.nth ||
	    (n > planned.nth && !planned.for_good))
		return false;
	atomic_fetch_add(&fired, 1);
	return true;
}

void fault_exempt(bool on)
{
	exempt = on;
}

int fault_error(void)
{
	return -planned.error;
}

uint64_t fault_fired(void)
{
	return atomic_load(&fired);
}

uint64_t fault_counted(enum fault_kind kind)
{
	return atomic_load(&counted[kind]);
}

const char *fault_kind_name(enum fault_kind kind)
{
	return names[kind];
}
