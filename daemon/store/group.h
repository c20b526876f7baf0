/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Block groups, for the allocators: descriptors, and changing a bitmap together with
 * its descriptor. For daemon/store, and daemon/check, which only looks.
 */
#ifndef KFS_STORE_GROUP_H
#define KFS_STORE_GROUP_H

#include "daemon/store/store.h"

enum bitmap_kind { BITMAP_BLOCKS, BITMAP_INODES };

/*
 * The descriptor of group @g in @raw: checks checksum and pointers, fills @grp.
 * Usable before the groups are loaded.
 */
MUST_USE int group_desc_decode(const struct store *s, uint32_t g, const uint8_t *raw,
			       struct group *grp, struct store_open_error *err);

/* bg_checksum as it should be. */
uint16_t group_desc_csum(const struct store *s, uint32_t g, const uint8_t *raw);

/*
 * Change a bitmap: begin() pins it and declares it and the descriptor to @h (two
 * credits), end() recomputes checksums and writes the group's counters. Between them
 * nothing can fail. Caller holds the group lock exclusively.
 */
MUST_USE int group_change_begin(struct store *s, struct handle *h, uint32_t g,
				enum bitmap_kind kind, struct buf **ret_bitmap);
/* Bits [first, first + count) changed. Unpins. */
void group_change_end(struct store *s, struct handle *h, uint32_t g, enum bitmap_kind kind,
		      struct buf *bitmap, uint32_t first, uint32_t count);

/* Little-endian bitmaps as they lie on disk. */
static inline bool bitmap_test(const uint8_t *map, uint32_t bit)
{
	return map[bit / 8] >> (bit % 8) & 1;
}

void bitmap_set(uint8_t *map, uint32_t first, uint32_t count);
void bitmap_clear(uint8_t *map, uint32_t first, uint32_t count);
/* Are all of [first, first + count) set? */
bool bitmap_all_set(const uint8_t *map, uint32_t first, uint32_t count);
/* First zero bit in [from, end), or @end. */
uint32_t bitmap_next_zero(const uint8_t *map, uint32_t from, uint32_t end);

#endif
