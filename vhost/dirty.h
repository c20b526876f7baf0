/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The log of guest memory that the back end has written, for a front end that copies the memory
 * while the guest runs: one bit for each page of DIRTY_PAGE bytes from guest address 0, in memory
 * that the front end shares and clears. ("Migration" in the protocol's description.)
 *
 * A page is marked after it was written: a front end that clears the mark first would copy what
 * was there before, and never hear of the rest.
 *
 * Marks may be set by any thread; the log is changed with nobody marking.
 */
#ifndef KFS_VHOST_DIRTY_H
#define KFS_VHOST_DIRTY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "vhost/shared.h"

#define DIRTY_PAGE UINT64_C(0x1000)

struct dirty_log {
	uint8_t *base; /* NULL: nothing is logged */
	uint64_t size; /* bytes */
	struct shared file;
	int call_fd;		/* written when marks were set; -1: none */
	_Atomic bool too_small; /* [atomic] something was to be marked behind its end */
};

/* Bytes of a log that covers guest addresses below @end. */
uint64_t dirty_log_size(uint64_t end);
/* Bytes @offset.. of @fd, which stays the caller's. Errors: shared_map()'s. */
MUST_USE int dirty_log_map(struct dirty_log *l, int fd, uint64_t size, uint64_t offset);
/* The event stays. */
void dirty_log_unmap(struct dirty_log *l);
void dirty_log_mark(struct dirty_log *l, uint64_t gpa, uint64_t len);
/* Tell the front end that marks were set, if it wants to be told. */
void dirty_log_tell(struct dirty_log *l);

#endif
