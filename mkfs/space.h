/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which blocks are used, as a sorted list of ranges. A new filesystem uses few long ranges, so
 * the list stays short where bitmaps of a 16 TiB image would take half a gigabyte.
 *
 * Ranges in the list never overlap nor touch: marking joins neighbours.
 */
#ifndef KFS_MKFS_SPACE_H
#define KFS_MKFS_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct space_range {
	uint64_t start, end; /* [start, end) */
};

struct space {
	struct space_range *ranges;
	size_t count, room;
	uint64_t first, end; /* all blocks there are: [first, end) */
	uint64_t used;
};

void space_init(struct space *s, uint64_t first, uint64_t end);
void space_fini(struct space *s);

/* Mark [start, start+len) used. It must be free: asserted. -ENOMEM. */
MUST_USE int space_mark(struct space *s, uint64_t start, uint64_t len);
/* The first run of @len free blocks inside [from, to), or false. */
bool space_find(const struct space *s, uint64_t from, uint64_t to, uint64_t len,
		uint64_t *ret_start);
/*
 * The first free run at or after @goal, else the first there is; at most @want blocks of it.
 * False when nothing is free.
 */
bool space_find_run(const struct space *s, uint64_t goal, uint64_t want, uint64_t *ret_start,
		    uint64_t *ret_len);
/* How many blocks of [start, end) are used. */
uint64_t space_used_in(const struct space *s, uint64_t start, uint64_t end);
/* The first used range that ends after @block, clipped to [block, end); false when none. */
bool space_next_used(const struct space *s, uint64_t block, uint64_t end, uint64_t *ret_start,
		     uint64_t *ret_end);

#endif
