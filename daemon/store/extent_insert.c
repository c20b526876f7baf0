// SPDX-License-Identifier: GPL-2.0-only
/*
 * Adding to an extent tree, and changing the state of what is there.
 *
 * Both replace a few neighbouring extents of one leaf by their coalesced successors.
 * When the leaf lacks room, nodes are split (or the root grows) one at a time, each
 * step leaving a whole valid tree, until it has; the path is then found anew. Failing
 * for want of blocks therefore leaves a tree that maps what it mapped before.
 *
 * A node is split in halves, except that appending moves only its last entry, and
 * prepending all but its first: a file written in one direction has full nodes.
 */
#include "daemon/store/extent.h"

#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/map_impl.h"

/* A split per level, and the root's growth which adds one. */
#define ROOM_STEPS_MAX (2 * (EXT4_MAX_EXTENT_DEPTH + 1))

/* Make @b, fresh and declared to the journal, a node of @count entries from @entries. */
static void node_fill(struct handle *h, struct inode *i, struct buf *b, uint32_t depth,
		      const uint8_t *entries, uint32_t count)
{
	struct extent_node n = { .buf = b, .data = b->data, .bytes = i->store->block_size };
	struct ext4_extent_header *eh = extent_header(&n);

	eh->eh_magic = cpu_to_le16(EXT4_EXT_MAGIC);
	eh->eh_entries = cpu_to_le16((uint16_t)count);
	eh->eh_max = cpu_to_le16((uint16_t)extent_node_room(n.bytes));
	eh->eh_depth = cpu_to_le16((uint16_t)depth);
	eh->eh_generation = cpu_to_le32(0);
	memcpy(extent_entry(&n, 0), entries, (size_t)count * EXTENT_ENTRY_BYTES);
	extent_node_set_csum(i, &n);
	buf_set_verified(b);
	journal_dirty(h, b, 0, n.bytes);
}

/* The root is full: move its entries into a block, which becomes its only child. */
static int grow_root(struct handle *h, struct extent_path *p)
{
	struct extent_node *root = &p->node[0];
	struct inode *i = p->inode;
	struct buf *b;
	int r;

	if (p->depth >= EXT4_MAX_EXTENT_DEPTH)
		return -EFBIG;
	r = map_meta_alloc(h, i, 0, p->alloc_flags, &b);
	if (r < 0)
		return r;
	node_fill(h, i, b, p->depth, extent_entry(root, 0), root->entries);
	extent_encode_index(extent_entry(root, 0), extent_key(root, 0), b->pblk);
	extent_header(root)->eh_entries = cpu_to_le16(1);
	extent_header(root)->eh_depth = cpu_to_le16((uint16_t)(p->depth + 1));
	buf_put(b);
	return 0;
}

/* How many of @n's entries go to its new sibling: between 1 and all but 1. */
static uint32_t entries_to_move(const struct extent_path *p, const struct extent_node *n)
{
	if (n->pos + 1 >= (int32_t)n->entries)
		return 1; /* written from front to back */
	if (p->node[p->depth].pos < 0)
		return n->entries - 1; /* from back to front */
	return n->entries / 2;
}

/* Move the upper entries of the node below @level into a new sibling; @level has room for its key. */
static int split_child(struct handle *h, struct extent_path *p, uint32_t level)
{
	struct extent_node *n = &p->node[level + 1];
	uint32_t move = entries_to_move(p, n);
	uint32_t keep = n->entries - move;
	uint8_t index[EXTENT_ENTRY_BYTES];
	struct buf *b;
	int r;

	CHECK(move > 0);
	CHECK(keep > 0);
	/* The parent is declared first, so that after the new entry is in nothing can fail. */
	r = journal_get_write(h, n->buf);
	if (r < 0)
		return r;
	r = map_meta_alloc(h, p->inode, n->buf->pblk, p->alloc_flags, &b);
	if (r < 0)
		return r;
	extent_encode_index(index, extent_key(n, keep), b->pblk);
	r = extent_splice(h, p,
			  &(struct extent_splice){
				  .level = level,
				  .pos = (uint32_t)p->node[level].pos + 1,
				  .ins = 1,
				  .entries = index,
			  });
	if (r < 0) {
		uint64_t pblk = b->pblk;

		buf_put(b);
		(void)map_meta_free(h, p->inode, pblk); /* the first error is the one to tell */
		return r;
	}
	node_fill(h, p->inode, b, p->depth - level - 1, extent_entry(n, keep), move);
	buf_put(b);
	return extent_splice(h, p,
			     &(struct extent_splice){
				     .level = level + 1,
				     .pos = keep,
				     .del = move,
			     });
}

int extent_make_room(struct handle *h, struct inode *i, uint32_t lblk, uint32_t need,
		     struct extent_path *p)
{
	for (uint32_t step = 0; step < ROOM_STEPS_MAX; step++) {
		uint32_t level;
		int r;

		r = extent_path_find(i, lblk, p);
		if (r < 0)
			return r;
		level = p->depth;
		if (p->node[level].entries + need <= p->node[level].max)
			return 0;
		while (level > 0 && p->node[level - 1].entries >= p->node[level - 1].max)
			level--;
		r = level > 0 ? split_child(h, p, level - 1) : grow_root(h, p);
		extent_path_put(p);
		if (r < 0)
			return r;
	}
	return store_corrupt(i->store, i->ino, 0, "extent tree gains no room by splitting");
}

static bool continues(const struct extent *a, const struct extent *b)
{
	return a->unwritten == b->unwritten && a->lblk + a->len == b->lblk &&
	       a->pblk + a->len == b->pblk;
}

static void advance(struct extent *e, uint32_t n)
{
	e->lblk += n;
	e->pblk += n;
	e->len -= n;
}

uint32_t extent_coalesce(const struct extent *e, uint32_t count, struct extent *out)
{
	uint32_t n = 0;

	for (uint32_t k = 0; k < count; k++) {
		struct extent x = e[k];
		uint32_t max = extent_len_max(x.unwritten);

		if (n > 0 && continues(&out[n - 1], &x)) {
			uint32_t take = MIN(max - out[n - 1].len, x.len);

			out[n - 1].len += take;
			advance(&x, take);
		}
		while (x.len > 0) {
			CHECK(n < EXTENT_SPLICE_MAX);
			out[n] = x;
			out[n].len = MIN(x.len, max);
			advance(&x, out[n].len);
			n++;
		}
	}
	return n;
}

/*
 * Replace the extents [pos, pos + del) of @p's leaf by @e, coalesced with the
 * neighbours in that leaf. 1 = there is no room; nothing was changed.
 */
static int leaf_replace(struct handle *h, struct extent_path *p, uint32_t pos, uint32_t del,
			const struct extent *e, uint32_t count)
{
	struct extent_node *leaf = &p->node[p->depth];
	struct extent in[5], out[EXTENT_SPLICE_MAX];
	uint32_t n = 0;

	CHECK(count <= 3);
	if (pos > 0) {
		struct extent left = extent_get(leaf, pos - 1);

		if (continues(&left, &e[0])) {
			in[n++] = left;
			pos--;
			del++;
		}
	}
	for (uint32_t k = 0; k < count; k++)
		in[n++] = e[k];
	if (pos + del < leaf->entries) {
		struct extent right = extent_get(leaf, pos + del);

		if (continues(&e[count - 1], &right)) {
			in[n++] = right;
			del++;
		}
	}
	n = extent_coalesce(in, n, out);
	if (leaf->entries - del + n > leaf->max)
		return 1;
	return extent_splice_leaf(h, p, pos, del, out, n);
}

/* Is [e->lblk, + e->len) a hole of @p's leaf? */
static bool leaf_has_hole(const struct extent_path *p, const struct extent *e)
{
	const struct extent_node *leaf = &p->node[p->depth];
	uint64_t end = (uint64_t)e->lblk + e->len;
	uint32_t next = (uint32_t)(leaf->pos + 1);

	if (leaf->pos >= 0) {
		struct extent left = extent_get(leaf, (uint32_t)leaf->pos);

		if (left.lblk + left.len > e->lblk)
			return false;
	}
	return end <= (next < leaf->entries ? extent_key(leaf, next) : leaf->hi);
}

static int insert_piece(struct handle *h, struct inode *i, const struct extent *e,
			struct extent_path *p)
{
	int r;

	r = extent_path_find(i, e->lblk, p);
	for (uint32_t step = 0; r == 0 && step < 2; step++) {
		if (leaf_has_hole(p, e))
			r = leaf_replace(h, p, (uint32_t)(p->node[p->depth].pos + 1), 0, e, 1);
		else
			r = store_corrupt(i->store, i->ino, 0, "blocks mapped twice");
		extent_path_put(p);
		if (r <= 0)
			return r;
		if (step == 0)
			r = extent_make_room(h, i, e->lblk, 1, p);
	}
	return r < 0 ? r : -EUCLEAN;
}

int extent_insert(struct handle *h, struct inode *i, const struct map_run *run)
{
	struct extent rest = { .lblk = run->lblk,
			       .pblk = run->pblk,
			       .len = run->count,
			       .unwritten = run->flags & MAP_UNWRITTEN };
	struct extent_path p = { .alloc_flags = 0 };

	while (rest.len > 0) {
		struct extent e = rest;
		int r;

		e.len = MIN(e.len, extent_len_max(e.unwritten));
		r = insert_piece(h, i, &e, &p);
		if (r < 0)
			return r;
		advance(&rest, e.len);
	}
	return 0;
}

/* The part [x, y) of the extent at @p's position gets the other state. 1 = no room. */
static int flip_part(struct handle *h, struct extent_path *p, uint32_t x, uint32_t y)
{
	uint32_t pos = (uint32_t)p->node[p->depth].pos, n = 0;
	struct extent e = extent_get(&p->node[p->depth], pos);
	struct extent parts[3];

	if (x > e.lblk) {
		parts[n] = e;
		parts[n++].len = x - e.lblk;
	}
	parts[n++] = (struct extent){
		.lblk = x, .len = y - x, .pblk = e.pblk + (x - e.lblk), .unwritten = !e.unwritten
	};
	if (y < e.lblk + e.len)
		parts[n++] = (struct extent){ .lblk = y,
					      .len = e.lblk + e.len - y,
					      .pblk = e.pblk + (y - e.lblk),
					      .unwritten = e.unwritten };
	return leaf_replace(h, p, pos, 1, parts, n);
}

/* One step from *lblk on; moves it behind what is done. 1 = the leaf lacks room. */
static int set_state_step(struct handle *h, struct extent_path *p, uint32_t *lblk, uint32_t end,
			  bool unwritten)
{
	struct extent_node *leaf = &p->node[p->depth];
	uint32_t next = (uint32_t)(leaf->pos + 1);
	struct extent e = { 0 };
	uint32_t y;
	int r;

	if (leaf->pos >= 0)
		e = extent_get(leaf, (uint32_t)leaf->pos);
	if (e.lblk + e.len <= *lblk) {
		*lblk = next < leaf->entries ? extent_key(leaf, next) : leaf->hi;
		return 0;
	}
	y = MIN(end, e.lblk + e.len);
	if (e.unwritten != unwritten) {
		r = flip_part(h, p, *lblk, y);
		if (r != 0)
			return r;
	}
	*lblk = y;
	return 0;
}

int extent_set_state(struct handle *h, struct inode *i, uint32_t lblk, uint32_t count,
		     bool unwritten)
{
	/* The blocks were promised to the file: splitting may use the last reserve. */
	struct extent_path p = { .alloc_flags = ALLOC_RESERVED_OK };
	uint32_t end = lblk + count;
	int r;

	while (lblk < end) {
		r = extent_path_find(i, lblk, &p);
		if (r < 0)
			return r;
		r = set_state_step(h, &p, &lblk, end, unwritten);
		extent_path_put(&p);
		if (r == 1) {
			/* At most two parts more; a longest written extent gives three unwritten. */
			r = extent_make_room(h, i, lblk, 3, &p);
			if (r == 0)
				extent_path_put(&p);
		}
		if (r < 0)
			return r;
	}
	return 0;
}
