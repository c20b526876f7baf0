/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Extent trees. The root lies in i_block, nodes below it in blocks of their own;
 * leaves hold extents, inner nodes the first lblk of each child. As in Linux, the
 * first lblk of a node equals its index entry in the parent (the root's is free),
 * and no node but the root is ever empty.
 *
 * A path pins the nodes from the root to the leaf that covers one lblk. Whoever
 * finds a path puts it. Every change goes through extent_splice(), which leaves the
 * tree valid or untouched: an operation of several steps that fails in between
 * leaves a tree that only lacks the rest of the steps. The root changes in memory:
 * the caller writes the inode, on failure too (map.c does).
 */
#ifndef KFS_STORE_EXTENT_H
#define KFS_STORE_EXTENT_H

#include "daemon/store/map.h"

struct extent {
	uint64_t pblk;
	uint32_t lblk;
	uint32_t len;
	bool unwritten;
};

struct extent_node {
	struct buf *buf; /* NULL for the root */
	uint8_t *data;	 /* the header */
	uint32_t bytes;	 /* room behind data, header included */
	uint32_t entries, max;
	int32_t pos;	 /* last entry that begins at or before the path's lblk; -1: none */
	uint32_t lo, hi; /* what the parent says this node covers: [lo, hi) */
};

struct extent_path {
	struct inode *inode;
	uint32_t depth;	      /* node[depth] is the leaf */
	uint32_t alloc_flags; /* ALLOC_* for nodes that a change needs */
	struct extent_node node[EXT4_MAX_EXTENT_DEPTH + 1];
};

#define EXTENT_ENTRY_BYTES 12u
#define EXTENT_HEADER_BYTES 12u

/* Entries that a node of @bytes bytes has room for. */
static inline uint32_t extent_node_room(uint32_t bytes)
{
	return (bytes - EXTENT_HEADER_BYTES) / EXTENT_ENTRY_BYTES;
}

static inline struct ext4_extent_header *extent_header(const struct extent_node *n)
{
	return (struct ext4_extent_header *)n->data;
}

static inline uint8_t *extent_entry(const struct extent_node *n, uint32_t pos)
{
	return n->data + EXTENT_HEADER_BYTES + (size_t)pos * EXTENT_ENTRY_BYTES;
}

/* The first lblk of an entry: extents and index entries begin with it alike. */
static inline uint32_t extent_key(const struct extent_node *n, uint32_t pos)
{
	return le32_to_cpu(((struct ext4_extent *)extent_entry(n, pos))->ee_block);
}

static inline uint64_t extent_child(const struct extent_node *n, uint32_t pos)
{
	const struct ext4_extent_idx *x = (struct ext4_extent_idx *)extent_entry(n, pos);

	return le32_to_cpu(x->ei_leaf_lo) | (uint64_t)le16_to_cpu(x->ei_leaf_hi) << 32;
}

struct extent extent_decode(const uint8_t *entry);
void extent_encode(uint8_t *entry, const struct extent *e);
void extent_encode_index(uint8_t *entry, uint32_t lblk, uint64_t pblk);

static inline struct extent extent_get(const struct extent_node *n, uint32_t pos)
{
	return extent_decode(extent_entry(n, pos));
}

static inline uint32_t extent_len_max(bool unwritten)
{
	return unwritten ? EXT_UNWRITTEN_MAX_LEN : EXT_INIT_MAX_LEN;
}

/* extent_verify.c */
/*
 * Is the node, expected at @depth above the leaves, sound? Its shape and its place
 * in the parent's range are checked each time; order, ranges and checksum once per
 * buffer. Fills n->entries and n->max. -EUCLEAN, -EBADMSG, reported.
 */
MUST_USE int extent_node_verify(struct inode *i, struct extent_node *n, uint32_t depth);
void extent_node_set_csum(const struct inode *i, const struct extent_node *n);

/* extent.c */
/* Fill @p (alloc_flags is kept) with the path to the leaf that covers @lblk. */
MUST_USE int extent_path_find(struct inode *i, uint32_t lblk, struct extent_path *p);
void extent_path_put(struct extent_path *p);
/*
 * Replace @del entries from @pos of node @level by @n entries of 12 bytes at @ins,
 * and keep the parents' keys right. The caller knows that they fit; a node below the
 * root is never emptied. Nothing has changed on failure.
 */
struct extent_splice {
	uint32_t level, pos, del, ins;
	const uint8_t *entries;
};
MUST_USE int extent_splice(struct handle *h, struct extent_path *p, const struct extent_splice *x);
/* The same for extents in the leaf. */
MUST_USE int extent_splice_leaf(struct handle *h, struct extent_path *p, uint32_t pos, uint32_t del,
				const struct extent *e, uint32_t count);
#define EXTENT_SPLICE_MAX 8
/* Add @delta (modulo 2^32: may be negative) to the keys of the leaf from @pos on; order is the caller's. */
MUST_USE int extent_shift_keys(struct handle *h, struct extent_path *p, uint32_t pos,
			       uint32_t delta);
MUST_USE int extent_lookup(struct inode *i, uint32_t lblk, uint32_t max, struct map_run *ret_run,
			   uint64_t *ret_goal);
MUST_USE int extent_verify_tree(struct inode *i);
MUST_USE int extent_count(struct inode *i, uint32_t *ret_extents);
void extent_root_init(struct inode *i);

/* extent_insert.c */
/* Find the path of @lblk, with room for @need more entries in the leaf: splits and grows. */
MUST_USE int extent_make_room(struct handle *h, struct inode *i, uint32_t lblk, uint32_t need,
			      struct extent_path *p);
/*
 * Join neighbours of one kind that continue each other, cut what is too long.
 * @e holds @count (<= 5) extents in order; the result (<= EXTENT_SPLICE_MAX) goes to @out.
 */
uint32_t extent_coalesce(const struct extent *e, uint32_t count, struct extent *out);
MUST_USE int extent_insert(struct handle *h, struct inode *i, const struct map_run *run);
/* Make the mapped part of [lblk, lblk+count) written or unwritten. */
MUST_USE int extent_set_state(struct handle *h, struct inode *i, uint32_t lblk, uint32_t count,
			      bool unwritten);

/* extent_remove.c */
/*
 * Unmap and free the last run of [first, *last] that is within one group. CREDITS_REMOVE_STEP. While there may be *ret_more
 * of them, *last ends before it.
 */
MUST_USE int extent_remove_step(struct handle *h, struct inode *i, uint32_t first, uint32_t *last,
				bool *ret_more);
/* Pull a lone child up into the root while it fits. CREDITS_ALLOC. */
MUST_USE int extent_collapse_root(struct handle *h, struct inode *i);
/* Cut the extent that spans @lblk in two. CREDITS_MAP; the caller writes the inode always. */
MUST_USE int extent_split(struct handle *h, struct inode *i, uint32_t lblk);
/*
 * Move all extents from @from on by @delta blocks (down: the range before @from is a
 * hole of that size; up: no extent spans @from, and the caller has checked that the
 * end stays in range). Restarts @h between leaves.
 */
MUST_USE int extent_shift_down(struct handle *h, struct inode *i, uint32_t from, uint32_t delta);
MUST_USE int extent_shift_up(struct handle *h, struct inode *i, uint32_t from, uint32_t delta);
/* First lblk behind the last extent; 0 for an empty tree. */
MUST_USE int extent_end(struct inode *i, uint32_t *ret_lblk);

#endif
