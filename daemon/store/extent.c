// SPDX-License-Identifier: GPL-2.0-only
/*
 * Extent trees: finding, looking up, and the one primitive that changes a node.
 * See extent.h for the shape of a tree and extent_verify.c for what is checked.
 *
 * extent_splice() declares every node it will touch to the journal before it changes
 * the first byte, so a failure (out of memory, aborted journal) leaves the tree as
 * it was.
 */
#include "daemon/store/extent.h"

#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/map_impl.h"

struct extent extent_decode(const uint8_t *entry)
{
	const struct ext4_extent *d = (const struct ext4_extent *)entry;
	uint32_t len = le16_to_cpu(d->ee_len);
	bool unwritten = len > EXT_INIT_MAX_LEN;

	return (struct extent){
		.lblk = le32_to_cpu(d->ee_block),
		.len = unwritten ? len - EXT_INIT_MAX_LEN : len,
		.pblk = le32_to_cpu(d->ee_start_lo) | (uint64_t)le16_to_cpu(d->ee_start_hi) << 32,
		.unwritten = unwritten,
	};
}

void extent_encode(uint8_t *entry, const struct extent *e)
{
	struct ext4_extent *d = (struct ext4_extent *)entry;
	uint32_t len = e->unwritten ? e->len + EXT_INIT_MAX_LEN : e->len;

	CHECK(e->len > 0);
	CHECK(e->len <= extent_len_max(e->unwritten));
	d->ee_block = cpu_to_le32(e->lblk);
	d->ee_len = cpu_to_le16((uint16_t)len);
	d->ee_start_lo = cpu_to_le32((uint32_t)e->pblk);
	d->ee_start_hi = cpu_to_le16((uint16_t)(e->pblk >> 32));
}

void extent_encode_index(uint8_t *entry, uint32_t lblk, uint64_t pblk)
{
	struct ext4_extent_idx *x = (struct ext4_extent_idx *)entry;

	x->ei_block = cpu_to_le32(lblk);
	x->ei_leaf_lo = cpu_to_le32((uint32_t)pblk);
	x->ei_leaf_hi = cpu_to_le16((uint16_t)(pblk >> 32));
	x->ei_unused = cpu_to_le16(0);
}

void extent_root_init(struct inode *i)
{
	struct extent_node root = { .data = i->i_block, .bytes = sizeof(i->i_block) };
	struct ext4_extent_header *eh = extent_header(&root);

	memset(i->i_block, 0, sizeof(i->i_block));
	eh->eh_magic = cpu_to_le16(EXT4_EXT_MAGIC);
	eh->eh_max = cpu_to_le16((uint16_t)extent_node_room(root.bytes));
}

/* Position of the last entry whose key is <= @lblk, -1 when there is none. */
static int32_t node_search(const struct extent_node *n, uint32_t lblk)
{
	uint32_t lo = 0, hi = n->entries; /* the answer + 1 lies in [lo, hi] */

	/* Appending asks for what lies behind the last entry: look there first. */
	if (hi > 0 && extent_key(n, hi - 1) <= lblk)
		return (int32_t)hi - 1;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (extent_key(n, mid) <= lblk)
			lo = mid + 1;
		else
			hi = mid;
	}
	return (int32_t)lo - 1;
}

static int read_child(struct extent_path *p, uint32_t level)
{
	struct extent_node *parent = &p->node[level - 1], *n = &p->node[level];
	struct store *s = p->inode->store;
	uint32_t pos = (uint32_t)parent->pos;
	int r;

	r = buf_read(s->cache, extent_child(parent, pos), &n->buf);
	if (r < 0)
		return r;
	n->data = n->buf->data;
	n->bytes = s->block_size;
	n->lo = extent_key(parent, pos);
	n->hi = pos + 1 < parent->entries ? extent_key(parent, pos + 1) : parent->hi;
	return extent_node_verify(p->inode, n, p->depth - level);
}

int extent_path_find(struct inode *i, uint32_t lblk, struct extent_path *p)
{
	struct extent_node *root = &p->node[0];
	int r;

	p->inode = i;
	for (uint32_t level = 0; level < ARRAY_SIZE(p->node); level++)
		p->node[level].buf = NULL;
	root->data = i->i_block;
	root->bytes = sizeof(i->i_block);
	root->lo = 0;
	root->hi = LBLK_END;
	p->depth = le16_to_cpu(extent_header(root)->eh_depth);
	if (p->depth > EXT4_MAX_EXTENT_DEPTH) {
		p->depth = 0;
		return store_corrupt(i->store, i->ino, 0, "extent tree deeper than 5");
	}
	r = extent_node_verify(i, root, p->depth);
	for (uint32_t level = 0; r == 0; level++) {
		struct extent_node *n = &p->node[level];

		n->pos = node_search(n, lblk);
		if (level == p->depth)
			return 0;
		n->pos = MAX(n->pos, 0); /* what lies before all else belongs to the first child */
		r = read_child(p, level + 1);
	}
	extent_path_put(p);
	return r;
}

void extent_path_put(struct extent_path *p)
{
	for (uint32_t level = 1; level <= p->depth; level++) {
		if (p->node[level].buf)
			buf_put(p->node[level].buf);
		p->node[level].buf = NULL;
	}
}

/* Declare the nodes of levels [top, level] to the journal. */
static int levels_get_write(struct handle *h, struct extent_path *p, uint32_t top, uint32_t level)
{
	int r = 0;

	for (uint32_t l = top; r == 0 && l <= level; l++)
		if (p->node[l].buf)
			r = journal_get_write(h, p->node[l].buf);
	return r;
}

/* Entries [from, to) and the header changed. */
static void node_dirty(struct handle *h, const struct inode *i, const struct extent_node *n,
		       uint32_t to)
{
	if (!n->buf)
		return;
	extent_node_set_csum(i, n);
	journal_dirty(h, n->buf, 0, EXTENT_HEADER_BYTES + to * EXTENT_ENTRY_BYTES);
	if (i->store->has_csum)
		journal_dirty(h, n->buf, EXTENT_HEADER_BYTES + n->max * EXTENT_ENTRY_BYTES,
			      sizeof(struct ext4_extent_tail));
}

/* The topmost ancestor of @level whose key changes when the first key of @level does. */
static uint32_t key_top(const struct extent_path *p, uint32_t level)
{
	uint32_t top = level;

	while (top > 0) {
		top--;
		if (p->node[top].pos > 0)
			break;
	}
	return top;
}

static void fix_keys(struct handle *h, struct extent_path *p, uint32_t level, uint32_t top)
{
	uint32_t key = extent_key(&p->node[level], 0);

	for (uint32_t l = level; l-- > top;) {
		struct extent_node *n = &p->node[l];
		struct ext4_extent_idx *x =
			(struct ext4_extent_idx *)extent_entry(n, (uint32_t)n->pos);

		x->ei_block = cpu_to_le32(key);
		node_dirty(h, p->inode, n, (uint32_t)n->pos + 1);
	}
}

static bool first_key_changes(const struct extent_node *n, const struct extent_splice *x)
{
	const struct ext4_extent *first = (const struct ext4_extent *)x->entries;

	if (x->pos > 0)
		return false;
	if (x->ins == 0)
		return x->del < n->entries;
	return n->entries == 0 || le32_to_cpu(first->ee_block) != extent_key(n, 0);
}

int extent_splice(struct handle *h, struct extent_path *p, const struct extent_splice *x)
{
	struct extent_node *n = &p->node[x->level];
	uint32_t entries = n->entries - x->del + x->ins;
	uint32_t behind = n->entries - x->pos - x->del;
	uint32_t top = x->level;
	int r;

	CHECK(x->pos + x->del <= n->entries);
	CHECK(entries <= n->max);
	CHECK(entries > 0 || x->level == 0);

	if (first_key_changes(n, x))
		top = key_top(p, x->level);
	r = levels_get_write(h, p, top, x->level);
	if (r < 0)
		return r;

	memmove(extent_entry(n, x->pos + x->ins), extent_entry(n, x->pos + x->del),
		(size_t)behind * EXTENT_ENTRY_BYTES);
	if (x->ins > 0)
		memcpy(extent_entry(n, x->pos), x->entries, (size_t)x->ins * EXTENT_ENTRY_BYTES);
	extent_header(n)->eh_entries = cpu_to_le16((uint16_t)entries);
	if (entries == 0)
		extent_header(n)->eh_depth = cpu_to_le16(0);
	node_dirty(h, p->inode, n, MAX(entries, n->entries));
	n->entries = entries;
	if (top < x->level)
		fix_keys(h, p, x->level, top);
	return 0;
}

int extent_shift_keys(struct handle *h, struct extent_path *p, uint32_t pos, uint32_t delta)
{
	struct extent_node *leaf = &p->node[p->depth];
	uint32_t top = pos == 0 ? key_top(p, p->depth) : p->depth;
	int r;

	CHECK(pos < leaf->entries);
	r = levels_get_write(h, p, top, p->depth);
	if (r < 0)
		return r;
	for (uint32_t k = pos; k < leaf->entries; k++)
		le32_add(&((struct ext4_extent *)extent_entry(leaf, k))->ee_block, delta);
	node_dirty(h, p->inode, leaf, leaf->entries);
	if (top < p->depth)
		fix_keys(h, p, p->depth, top);
	return 0;
}

int extent_splice_leaf(struct handle *h, struct extent_path *p, uint32_t pos, uint32_t del,
		       const struct extent *e, uint32_t count)
{
	uint8_t entries[EXTENT_SPLICE_MAX * EXTENT_ENTRY_BYTES];

	CHECK(count <= EXTENT_SPLICE_MAX);
	for (uint32_t k = 0; k < count; k++)
		extent_encode(entries + k * EXTENT_ENTRY_BYTES, &e[k]);
	return extent_splice(h, p,
			     &(struct extent_splice){
				     .level = p->depth,
				     .pos = pos,
				     .del = del,
				     .ins = count,
				     .entries = entries,
			     });
}

/* Where a new block at @lblk, which is a hole in @leaf, continues what is there. */
static uint64_t hole_goal(const struct extent_node *leaf, uint32_t lblk)
{
	if (leaf->pos >= 0) {
		struct extent e = extent_get(leaf, (uint32_t)leaf->pos);

		return e.pblk + (lblk - e.lblk);
	}
	if (leaf->entries > 0) {
		struct extent e = extent_get(leaf, 0);
		uint32_t gap = e.lblk - lblk;

		return e.pblk > gap ? e.pblk - gap : 0;
	}
	return 0;
}

int extent_lookup(struct inode *i, uint32_t lblk, uint32_t max, struct map_run *ret_run,
		  uint64_t *ret_goal)
{
	struct extent_path p;
	struct extent_node *leaf;
	uint32_t next;
	int r;

	r = extent_path_find(i, lblk, &p);
	if (r < 0)
		return r;
	leaf = &p.node[p.depth];
	*ret_run = (struct map_run){ .lblk = lblk };
	*ret_goal = 0;
	if (leaf->pos >= 0) {
		struct extent e = extent_get(leaf, (uint32_t)leaf->pos);
		uint32_t in = lblk - e.lblk;

		if (in < e.len) {
			ret_run->count = MIN(e.len - in, max);
			ret_run->pblk = e.pblk + in;
			ret_run->flags = e.unwritten ? MAP_UNWRITTEN : 0;
			goto out_put_path;
		}
	}
	next = leaf->pos + 1 < (int32_t)leaf->entries ?
		       extent_key(leaf, (uint32_t)(leaf->pos + 1)) :
		       leaf->hi;
	ret_run->count = MIN(next - lblk, max);
	ret_run->flags = MAP_HOLE;
	*ret_goal = hole_goal(leaf, lblk);

out_put_path:
	extent_path_put(&p);
	return 0;
}

/* Visit all leaves, which checks every node on the way; counts extents. */
static int walk_leaves(struct inode *i, uint32_t *ret_extents)
{
	uint32_t lblk = 0, next, extents = 0;
	struct extent_path p;
	int r;

	/* Each round ends behind where it began: a leaf's hi is above any lblk it covers. */
	for (; lblk < LBLK_END; lblk = next) {
		r = extent_path_find(i, lblk, &p);
		if (r < 0)
			return r;
		extents += p.node[p.depth].entries;
		next = p.node[p.depth].hi;
		extent_path_put(&p);
		if (next <= lblk)
			return store_corrupt(i->store, i->ino, 0, "extent tree does not advance");
	}
	*ret_extents = extents;
	return 0;
}

int extent_verify_tree(struct inode *i)
{
	uint32_t extents;

	return walk_leaves(i, &extents);
}

int extent_count(struct inode *i, uint32_t *ret_extents)
{
	return walk_leaves(i, ret_extents);
}

int extent_end(struct inode *i, uint32_t *ret_lblk)
{
	struct extent_path p;
	struct extent_node *leaf;
	int r;

	r = extent_path_find(i, LBLK_END - 1, &p);
	if (r < 0)
		return r;
	leaf = &p.node[p.depth];
	*ret_lblk = 0;
	if (leaf->pos >= 0) {
		struct extent e = extent_get(leaf, (uint32_t)leaf->pos);

		*ret_lblk = e.lblk + e.len;
	}
	extent_path_put(&p);
	return 0;
}
