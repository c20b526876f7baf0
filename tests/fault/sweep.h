/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is swept: loads, each a piece of work that is done over and over with one call more
 * going wrong. sweep.c runs each point in a child process of its own and judges how it ends;
 * a load fails by the CHECK macros of tests/lib/test.h.
 */
#ifndef TESTS_FAULT_SWEEP_H
#define TESTS_FAULT_SWEEP_H

#include "tests/lib/fault.h"
#include "tests/lib/test.h"

/* nth 0: nothing fails. Everything else a load varies (how it ends, how it recovers) follows from nth. */
struct point {
	struct fault_plan plan;
};

struct load {
	const char *name;
	uint32_t kinds; /* bits 1 << enum fault_kind */
	/* Once, in the parent, before any point. Leaves no thread and no open filesystem behind. */
	void (*prepare)(const struct load *load);
	/* In the child: the work, the recovery, the judgement. */
	void (*run)(const struct load *load, const struct point *point);
	const void *arg;
};

/* @first has room for @max; the number written. */
/* Each program has its own (the symbols of mkfs and of the store clash): @first has room for @max; the number written. */
size_t loads(struct load *first, size_t max);

/* A file in memory, path "/proc/self/fd/N" for us and for children. */
int image_new(uint64_t size);
void image_path(int fd, char *buf, size_t size);
/* An independent copy; holes stay holes. */
int image_copy(int fd);
/* Runs a program with @argv, output to a file in memory that is shown when the status is above @status_max. */
void run_program(const char *const argv[], int status_max);

#endif
