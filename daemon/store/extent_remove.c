// SPDX-License-Identifier: GPL-2.0-only
/*
 * Taking from an extent tree, and moving extents within a file.
 *
 * A removal runs from the end of its range to the start, one run of blocks at a
 * time: the tree forgets the run before the blocks are freed in the same handle, so
 * an error in between leaks blocks (e2fsck finds them) and never maps freed ones. What
 * can be known to fail is tried before the tree is touched.
 * Nodes that would become empty are taken out of their parents and freed.
 */
#include "daemon/store/extent.h"

#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/map_impl.h"

/* The last entry of its leaf goes: take the whole chain of nodes that it empties out of the tree. */
static int remove_chain(struct handle *h, struct extent_path *p)
{
	uint64_t freed[EXT4_MAX_EXTENT_DEPTH];
	uint32_t level = p->depth, count = 0;
	int r;

	while (level > 0 && p->node[level].entries == 1)
		freed[count++] = p->node[level--].buf->pblk;
	r = extent_splice(h, p,
			  &(struct extent_splice){
				  .level = level,
				  .pos = (uint32_t)p->node[level].pos,
				  .del = 1,
			  });
	for (uint32_t k = 0; r == 0 && k < count; k++)
		r = map_meta_free(h, p->inode, freed[k]);
	return r;
}

/*
 * Take @cut, a part of the extent at @p's position, out of the leaf. 1 = a hole in the
 * middle needs an entry and there is no room.
 */
static int cut_extent(struct handle *h, struct extent_path *p, const struct extent *cut)
{
	struct extent_node *leaf = &p->node[p->depth];
	uint32_t pos = (uint32_t)leaf->pos, n = 0;
	struct extent e = extent_get(leaf, pos);
	uint32_t cut_end = cut->lblk + cut->len, e_end = e.lblk + e.len;
	struct extent parts[2];

	if (cut->lblk > e.lblk) {
		parts[n] = e;
		parts[n++].len = cut->lblk - e.lblk;
	}
	if (cut_end < e_end)
		parts[n++] = (struct extent){ .lblk = cut_end,
					      .len = e_end - cut_end,
					      .pblk = e.pblk + (cut_end - e.lblk),
					      .unwritten = e.unwritten };
	if (n == 0 && leaf->entries == 1)
		return remove_chain(h, p);
	if (leaf->entries - 1 + n > leaf->max)
		return 1;
	return extent_splice_leaf(h, p, pos, 1, parts, n);
}

/* The last run of [first, last] in @p's leaf, cut at its group's start; len 0 = there is none. */
static struct extent last_run(const struct extent_path *p, uint32_t first, uint32_t last)
{
	const struct extent_node *leaf = &p->node[p->depth];
	const struct store *s = p->inode->store;
	uint64_t end, group_first, end_pblk;
	struct extent e;
	uint32_t start;

	if (leaf->pos < 0)
		return (struct extent){ .len = 0 };
	e = extent_get(leaf, (uint32_t)leaf->pos);
	end = MIN((uint64_t)last + 1, (uint64_t)e.lblk + e.len);
	if (end <= first)
		return (struct extent){ .len = 0 };
	start = MAX(first, e.lblk);
	end_pblk = e.pblk + (end - e.lblk);
	group_first = store_group_first(s, store_group_of(s, end_pblk - 1));
	if (e.pblk + (start - e.lblk) < group_first)
		start = (uint32_t)(e.lblk + (group_first - e.pblk));
	e.pblk += start - e.lblk;
	e.lblk = start;
	e.len = (uint32_t)(end - start);
	return e;
}

/* Freed as contents, a node would be forgotten with what this handle changes in it. */
static bool is_of_tree(const struct extent_path *p, const struct extent *e)
{
	for (uint32_t level = 1; level <= p->depth; level++) {
		uint64_t pblk = p->node[level].buf->pblk;

		if (pblk >= e->pblk && pblk - e->pblk < e->len)
			return true;
	}
	return false;
}

int extent_remove_step(struct handle *h, struct inode *i, uint32_t first, uint32_t *last,
		       bool *ret_more)
{
	/* Freeing must be possible when nothing is free. */
	struct extent_path p = { .alloc_flags = ALLOC_RESERVED_OK };
	struct extent cut;
	int r;

	r = extent_path_find(i, *last, &p);
	for (uint32_t step = 0; r == 0 && step < 2; step++) {
		cut = last_run(&p, first, *last);
		if (cut.len > 0 && is_of_tree(&p, &cut))
			r = store_corrupt(i->store, i->ino, cut.pblk,
					  "extent tree: a node is mapped as contents");
		if (r == 0 && cut.len > 0)
			r = balloc_free_prepare(h, i->store, cut.pblk);
		if (r == 0 && cut.len > 0)
			r = cut_extent(h, &p, &cut);
		extent_path_put(&p);
		if (r <= 0)
			break;
		if (step == 0)
			r = extent_make_room(h, i, *last, 1, &p);
	}
	if (r != 0)
		return r < 0 ? r : -EUCLEAN;
	*ret_more = cut.len > 0 && cut.lblk > first;
	/* What was taken is not asked for again, whatever a damaged tree says next time. */
	if (*ret_more)
		*last = cut.lblk - 1;
	return cut.len > 0 ? map_data_free(h, i, cut.pblk, cut.len) : 0;
}

int extent_collapse_root(struct handle *h, struct inode *i)
{
	for (uint32_t step = 0; step < EXT4_MAX_EXTENT_DEPTH; step++) {
		struct extent_path p;
		struct extent_node *root = &p.node[0], *child = &p.node[1];
		uint64_t pblk;
		int r;

		r = map_ensure_credits(h, i, CREDITS_REMOVE_STEP);
		if (r < 0)
			return r;
		r = extent_path_find(i, 0, &p);
		if (r < 0)
			return r;
		if (p.depth == 0 || root->entries > 1 || child->entries > root->max) {
			extent_path_put(&p);
			return 0;
		}
		memcpy(extent_entry(root, 0), extent_entry(child, 0),
		       (size_t)child->entries * EXTENT_ENTRY_BYTES);
		extent_header(root)->eh_entries = cpu_to_le16((uint16_t)child->entries);
		extent_header(root)->eh_depth = cpu_to_le16((uint16_t)(p.depth - 1));
		pblk = child->buf->pblk;
		extent_path_put(&p);
		r = map_meta_free(h, i, pblk);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Position of the first entry of @p's leaf that begins at or after @lblk, @lblk being the path's. */
static uint32_t first_from(const struct extent_path *p, uint32_t lblk)
{
	const struct extent_node *leaf = &p->node[p->depth];

	if (leaf->pos >= 0 && extent_key(leaf, (uint32_t)leaf->pos) >= lblk)
		return (uint32_t)leaf->pos;
	return (uint32_t)(leaf->pos + 1);
}

/* Join the extent that begins at @lblk with the one before it, if they touch. */
static int join_at(struct handle *h, struct inode *i, uint32_t lblk)
{
	struct extent_path p;
	struct extent_node *leaf;
	struct extent in[2], out[EXTENT_SPLICE_MAX];
	uint32_t n;
	int r;

	r = extent_path_find(i, lblk, &p);
	if (r < 0)
		return r;
	leaf = &p.node[p.depth];
	if (leaf->pos > 0) {
		in[0] = extent_get(leaf, (uint32_t)leaf->pos - 1);
		in[1] = extent_get(leaf, (uint32_t)leaf->pos);
		n = extent_coalesce(in, 2, out);
		if (n == 1)
			r = extent_splice_leaf(h, &p, (uint32_t)leaf->pos - 1, 2, out, n);
	}
	extent_path_put(&p);
	return r;
}

int extent_shift_down(struct handle *h, struct inode *i, uint32_t from, uint32_t delta)
{
	struct extent_path p;
	uint32_t next;
	int r;

	for (uint32_t lblk = from; lblk < LBLK_END; lblk = next) {
		uint32_t pos;

		r = map_ensure_credits(h, i, CREDITS_MAP);
		if (r < 0)
			return r;
		r = extent_path_find(i, lblk, &p);
		if (r < 0)
			return r;
		pos = first_from(&p, lblk);
		next = p.node[p.depth].hi;
		if (pos < p.node[p.depth].entries)
			r = extent_shift_keys(h, &p, pos, 0u - delta);
		extent_path_put(&p);
		if (r < 0)
			return r;
	}
	return join_at(h, i, from - delta);
}

int extent_split(struct handle *h, struct inode *i, uint32_t lblk)
{
	struct extent_path p = { .alloc_flags = 0 };
	struct extent_node *leaf;
	int r;

	r = extent_make_room(h, i, lblk, 1, &p);
	if (r < 0)
		return r;
	leaf = &p.node[p.depth];
	if (leaf->pos >= 0) {
		struct extent e = extent_get(leaf, (uint32_t)leaf->pos);
		uint32_t in = lblk - e.lblk;
		struct extent parts[2] = { e, e };

		if (in > 0 && in < e.len) {
			parts[0].len = in;
			parts[1].lblk += in;
			parts[1].pblk += in;
			parts[1].len -= in;
			r = extent_splice_leaf(h, &p, (uint32_t)leaf->pos, 1, parts, 2);
		}
	}
	extent_path_put(&p);
	return r;
}

int extent_shift_up(struct handle *h, struct inode *i, uint32_t from, uint32_t delta)
{
	uint32_t lblk = LBLK_END - 1;
	struct extent_path p;
	int r = 0;

	/* From the last leaf to the first one concerned, so that nothing is ever in the way. */
	while (r == 0) {
		uint32_t pos, first_key;

		r = map_ensure_credits(h, i, CREDITS_MAP);
		if (r < 0)
			return r;
		r = extent_path_find(i, lblk, &p);
		if (r < 0)
			return r;
		if (p.node[p.depth].pos <
		    0) { /* all that is left begins behind @lblk: done before */
			extent_path_put(&p);
			return 0;
		}
		first_key = extent_key(&p.node[p.depth], 0);
		for (pos = 0; pos < p.node[p.depth].entries; pos++)
			if (extent_key(&p.node[p.depth], pos) >= from)
				break;
		if (pos < p.node[p.depth].entries)
			r = extent_shift_keys(h, &p, pos, delta);
		extent_path_put(&p);
		if (pos > 0 || first_key <= from)
			return r;
		lblk = first_key - 1;
	}
	return r;
}
