/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Failures on demand: calls of some kinds are counted, and the Nth of one kind fails, once or
 * from then on for good. Who can fail asks fault_hit() first: the failing device
 * (tests/lib/faultdev.h), the wrapped library calls (tests/fault/wrap.c).
 *
 *	fault_plan(&(struct fault_plan){ .kind = FAULT_WRITE, .nth = 7, .error = EIO });
 *	... the work ...
 *	fault_stop();
 *	fault_fired(): how many calls failed
 *
 * Nothing is counted and nothing fails before fault_plan() and after fault_stop().
 * Any number of threads; they share the counters.
 */
#ifndef TESTS_LIB_FAULT_H
#define TESTS_LIB_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
	FAULT_ALLOC,
	FAULT_THREAD,
	FAULT_READ,
	FAULT_WRITE,
	FAULT_FLUSH,
	FAULT_DISCARD,
	FAULT_ZERO,
	FAULT_SHORT, /* a transfer moves only a part of what was asked: no error */
	FAULT_JOIN, /* a block's old contents cannot be kept: its buffer does not join the transaction */
	FAULT_INTR, /* a system call is interrupted before it did anything: no error */
	FAULT_KINDS
};

struct fault_plan {
	enum fault_kind kind;
	uint64_t nth;  /* counted from 1; 0 = none fails, everything is counted */
	bool for_good; /* and all of this kind after it */
	int error;     /* positive errno; read by who fails */
};

void fault_plan(const struct fault_plan *plan);
void fault_stop(void);
/* One call of @kind: is it to fail? */
bool fault_hit(enum fault_kind kind);
/* The planned errno, negative. */
int fault_error(void);
uint64_t fault_fired(void);
/* The calling thread does the test's own work: its calls are not counted and do not fail. */
void fault_exempt(bool on);
uint64_t fault_counted(enum fault_kind kind);
const char *fault_kind_name(enum fault_kind kind);

#endif
