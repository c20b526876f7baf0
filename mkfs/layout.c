/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where each group's superblock copy, descriptors, bitmaps and inode table lie.
 *
 * With flex_bg the bitmaps and tables of a flex group are packed at its start: all block
 * bitmaps, all inode bitmaps, all tables. Without it each group keeps its own, which the
 * kernel insists on. Superblock copies have fixed places and are marked first, so that
 * nothing is packed over them.
 */
#include "mkfs/mkfs.h"

#include "mkfs/options.h"
#include "mkfs/say.h"

#include "daemon/base/check.h"

#include <errno.h>
#include <stdlib.h>

static int mark_supers(struct mkfs *m)
{
	const struct geometry *g = &m->geo;

	for (uint32_t group = 0; group < g->groups; group++) {
		uint32_t n = geometry_has_super(g, group) + geometry_group_gdt(g, group);
		int r;

		if (!n)
			continue;
		if (n > geometry_group_blocks(g, group))
			return refuse("%s: group %u is too small for its descriptors",
				      m->opts->target, group);
		r = space_mark(&m->space, geometry_group_start(g, group), n);
		if (r < 0)
			return fail(r, "%s", m->opts->target);
	}
	return 0;
}

/* Blocks for one piece of metadata: from @goal on, else from @start, else (flex) anywhere. */
static int place(struct mkfs *m, uint64_t goal, uint64_t start, uint64_t end, uint32_t len,
		 uint64_t *ret_block)
{
	bool anywhere = m->geo.flex_log > 0;
	int r;

	if (!space_find(&m->space, goal, end, len, ret_block) &&
	    !space_find(&m->space, start, end, len, ret_block) &&
	    (!anywhere || !space_find(&m->space, 0, m->space.end, len, ret_block)))
		return refuse("%s: no room for the inode tables: raise -i or lower -N",
			      m->opts->target);
	r = space_mark(&m->space, *ret_block, len);
	return r < 0 ? fail(r, "%s", m->opts->target) : 0;
}

/* Groups [first, last] share their metadata's neighbourhood. */
static int place_groups(struct mkfs *m, uint32_t first, uint32_t last)
{
	const struct geometry *g = &m->geo;
	uint64_t start = geometry_group_start(g, first);
	uint64_t end = geometry_group_start(g, last) + geometry_group_blocks(g, last);
	uint32_t n = last - first + 1;
	uint64_t goal = start;
	int r;

	/* A run for all of one kind, so that backups in the way do not tear them apart. */
	if (space_find(&m->space, start, end, 2 * n, &goal))
		start = goal;
	for (uint32_t group = first; group <= last; group++) {
		r = place(m, goal, start, end, 1, &m->groups[group].block_bitmap);
		if (r < 0)
			return r;
		goal = m->groups[group].block_bitmap + 1;
	}
	for (uint32_t group = first; group <= last; group++) {
		r = place(m, goal, start, end, 1, &m->groups[group].inode_bitmap);
		if (r < 0)
			return r;
		goal = m->groups[group].inode_bitmap + 1;
	}
	for (uint32_t group = first; group <= last; group++) {
		r = place(m, goal, start, end, g->itable_blocks, &m->groups[group].inode_table);
		if (r < 0)
			return r;
		goal = m->groups[group].inode_table + g->itable_blocks;
	}
	return 0;
}

int layout_place(struct mkfs *m)
{
	const struct geometry *g = &m->geo;
	uint64_t flex = UINT64_C(1) << g->flex_log;
	int r;

	CHECK(!m->groups);
	space_init(&m->space, g->first_block, g->blocks);
	m->groups = calloc(g->groups, sizeof(*m->groups));
	if (!m->groups)
		return fail(-ENOMEM, "%s", m->opts->target);
	r = mark_supers(m);
	for (uint64_t first = 0; r == 0 && first < g->groups; first += flex)
		r = place_groups(m, (uint32_t)first,
				 (uint32_t)(MIN(first + flex, (uint64_t)g->groups) - 1));
	if (r < 0)
		return r;
	m->overhead = m->space.used + g->first_block;
	if (m->overhead + g->journal_blocks + g->orphan_blocks + 32 > g->blocks)
		return refuse("%s: no room for a journal of %u blocks: use -O ^has_journal, or a "
			      "smaller -J size=",
			      m->opts->target, g->journal_blocks);
	m->overhead += g->journal_blocks;
	return 0;
}
