// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walking an inode's map, extents or block pointers, without believing any of it. A
 * walk ends: levels are counted down, and the blocks of one level are bounded by the
 * logical blocks they may cover, which ascend.
 */
#include <errno.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/check/check_priv.h"
#include "daemon/store/extent.h"

/* After so many an inode's pointers are no longer told one by one, as e2fsck has it. */
#define ILLEGAL_MAX 12u

#define walk_find(w, ...)                                                                          \
	do {                                                                                       \
		if (!(w)->quiet)                                                                   \
			ck_find((w)->c, __VA_ARGS__);                                              \
		(w)->broken = true;                                                                \
	} while (0)

/* Counts clusters once, though extents that share one come one after the other. */
static int emit(struct ck_walk *w, struct ck_run *run, bool node)
{
	const struct store *s = w->c->s;
	uint64_t base = s->first_data_block;
	uint64_t first = (run->pblk - base) >> s->cluster_bits;
	uint64_t end = (run->pblk + run->count - 1 - base) >> s->cluster_bits;

	run->joins = !node && s->cluster_bits && w->last_cluster == first + 1;
	w->blocks += (end + 1 - first - run->joins) << s->cluster_bits;
	if (!node) {
		w->last_cluster = end + 1;
		w->last = MAX(w->last, (int64_t)(run->lblk + run->count - 1));
		if (!run->unwritten)
			w->last_written =
				MAX(w->last_written, (int64_t)(run->lblk + run->count - 1));
	}
	if (node)
		return w->node ? w->node(w, run) : 0;
	return w->run ? w->run(w, run) : 0;
}

/* ---- extents -------------------------------------------------------------- */

struct node {
	uint8_t *data;
	uint32_t bytes, level; /* level: steps down from the root */
	uint64_t pblk;	       /* 0: the root */
	uint64_t lo, hi;       /* what its parent says it covers: [lo, hi) */
};

static bool header_ok(const struct node *n, uint32_t depth)
{
	const struct ext4_extent_header *eh = (const void *)n->data;
	uint32_t room = extent_node_room(n->bytes);
	uint32_t max = le16_to_cpu(eh->eh_max), entries = le16_to_cpu(eh->eh_entries);

	return le16_to_cpu(eh->eh_magic) == EXT4_EXT_MAGIC && le16_to_cpu(eh->eh_depth) == depth &&
	       max <= room && max + 2 >= room && entries <= max;
}

static void check_node_csum(struct ck_walk *w, const struct node *n)
{
	const struct ext4_extent_header *eh = (const void *)n->data;
	uint32_t off = EXTENT_HEADER_BYTES + le16_to_cpu(eh->eh_max) * EXTENT_ENTRY_BYTES;
	struct ext4_extent first = { 0 };
	struct ext4_extent_tail t;

	if (!n->pblk || !w->c->s->has_csum || w->quiet)
		return;
	memcpy(&t, n->data + off, sizeof(t));
	if (le32_to_cpu(t.et_checksum) == crc32c(w->i->seed, n->data, off))
		return;
	memcpy(&first, n->data + EXTENT_HEADER_BYTES, sizeof(first));
	ck_find(w->c, "extent_checksum", w->i->ino, n->pblk,
		"Inode %u extent block passes checks, but checksum does not match extent "
		"(logical block %llu, physical block %llu, len %u)",
		w->i->ino, (unsigned long long)le32_to_cpu(first.ee_block),
		(unsigned long long)n->pblk, 0u);
}

static const char *extent_fault(const struct ck *c, const struct extent *e, uint64_t from,
				const struct node *n)
{
	if (e->len == 0)
		return "zero";
	if (!ck_pblk_ok(c, e->pblk, 1))
		return "block";
	if (!ck_pblk_ok(c, e->pblk, e->len))
		return "len";
	if (e->lblk < from)
		return "order";
	if ((uint64_t)e->lblk + e->len > n->hi)
		return "end";
	return NULL;
}

static void tell_extent(struct ck_walk *w, const struct extent *e, const char *fault)
{
	uint32_t ino = w->i->ino;
	unsigned long long l = e->lblk, p = e->pblk;

	if (!strcmp(fault, "zero"))
		walk_find(w, "extent", ino, e->pblk,
			  "Inode %u has zero length extent (invalid logical block %llu, physical "
			  "block %llu)",
			  ino, l, p);
	else if (!strcmp(fault, "block"))
		walk_find(w, "extent", ino, 0,
			  "Inode %u has an invalid extent (logical block %llu, invalid physical "
			  "block %llu, len %u)",
			  ino, l, p, e->len);
	else if (!strcmp(fault, "len"))
		walk_find(w, "extent", ino, e->pblk,
			  "Inode %u has an invalid extent (logical block %llu, physical block "
			  "%llu, invalid len %u)",
			  ino, l, p, e->len);
	else if (!strcmp(fault, "order"))
		walk_find(w, "extent", ino, e->pblk,
			  "Inode %u has out of order extents (invalid logical block %llu, physical "
			  "block %llu, len %u)",
			  ino, l, p, e->len);
	else
		walk_find(w, "extent", ino, e->pblk,
			  "Inode %u, end of extent exceeds allowed value (logical block %llu, "
			  "physical block %llu, len %u)",
			  ino, l, p, e->len);
}

static int walk_leaf(struct ck_walk *w, const struct node *n)
{
	uint32_t k, entries = le16_to_cpu(
			    ((const struct ext4_extent_header *)(void *)n->data)->eh_entries);
	uint64_t from = n->lo;
	int ret = 0;

	for (k = 0; k < entries && !ret; k++) {
		struct extent e =
			extent_decode(n->data + EXTENT_HEADER_BYTES + k * EXTENT_ENTRY_BYTES);
		const char *fault = extent_fault(w->c, &e, from, n);
		struct ck_run run = {
			.lblk = e.lblk, .pblk = e.pblk, .count = e.len, .unwritten = e.unwritten
		};

		if (fault) {
			tell_extent(w, &e, fault);
			continue;
		}
		from = (uint64_t)e.lblk + e.len;
		ret = emit(w, &run, false);
	}
	return ret;
}

static int walk_node(struct ck_walk *w, const struct node *n, uint32_t depth);

/* The child that entry @k names; *ret_usable: it is there and begins where the entry says. */
static int child_load(struct ck_walk *w, const struct node *n, uint32_t k, uint32_t depth,
		      struct node *child, bool *ret_usable)
{
	struct ck *c = w->c;
	const struct ext4_extent_idx *x =
		(const void *)(n->data + EXTENT_HEADER_BYTES + k * EXTENT_ENTRY_BYTES);
	struct ck_run run = { .count = 1 };
	int ret;

	*ret_usable = false;
	child->pblk = le32_to_cpu(x->ei_leaf_lo) | (uint64_t)le16_to_cpu(x->ei_leaf_hi) << 32;
	run.pblk = child->pblk;
	if (!ck_pblk_ok(c, child->pblk, 1)) {
		walk_find(w, "extent_node", w->i->ino, 0,
			  "Inode %u has an invalid extent (logical block %llu, invalid physical "
			  "block %llu, len %u)",
			  w->i->ino, (unsigned long long)child->lo, (unsigned long long)child->pblk,
			  0u);
		return 0;
	}
	child->data = c->levels[child->level];
	child->bytes = c->s->block_size;
	ret = ck_read(c, child->pblk, 1, child->data);
	if (ret)
		return ret;
	ret = emit(w, &run, true);
	if (ret)
		return ret;
	if (!header_ok(child, depth - 1)) {
		walk_find(w, "extent_node", w->i->ino, child->pblk,
			  "Inode %u has an invalid extent node (blk %llu, lblk %llu)", w->i->ino,
			  (unsigned long long)child->pblk, (unsigned long long)child->lo);
		return 0;
	}
	check_node_csum(w, child);
	*ret_usable = true;
	return 0;
}

static void check_child_begin(struct ck_walk *w, struct node *child)
{
	const struct ext4_extent_header *eh = (const void *)child->data;
	le32 first;

	if (le16_to_cpu(eh->eh_entries) == 0)
		return;
	memcpy(&first, child->data + EXTENT_HEADER_BYTES, sizeof(first));
	if (le32_to_cpu(first) == child->lo)
		return;
	walk_find(w, "extent_node", w->i->ino, child->pblk,
		  "Interior extent node level %u of inode %u: Logical start %llu does not match "
		  "logical start %u at next level.",
		  child->level - 1, w->i->ino, (unsigned long long)child->lo, le32_to_cpu(first));
	/* Its own first key is the better one to judge the rest by. */
	child->lo = MIN(child->lo, (uint64_t)le32_to_cpu(first));
}

static int walk_index(struct ck_walk *w, const struct node *n, uint32_t depth)
{
	uint32_t k, entries = le16_to_cpu(
			    ((const struct ext4_extent_header *)(void *)n->data)->eh_entries);
	uint64_t from = n->lo;
	int ret = 0;

	for (k = 0; k < entries && !ret; k++) {
		const struct ext4_extent_idx *x =
			(const void *)(n->data + EXTENT_HEADER_BYTES + k * EXTENT_ENTRY_BYTES);
		struct node child = { .level = n->level + 1, .lo = le32_to_cpu(x->ei_block) };
		bool usable;

		child.hi = k + 1 < entries ? le32_to_cpu(x[1].ei_block) : n->hi;
		if (child.lo < from || child.hi <= child.lo) {
			walk_find(w, "extent_node", w->i->ino, n->pblk,
				  "Inode %u has out of order extents (invalid logical block %llu, "
				  "physical block %llu, len %u)",
				  w->i->ino, (unsigned long long)child.lo,
				  (unsigned long long)le32_to_cpu(x->ei_leaf_lo), 0u);
			continue;
		}
		from = child.hi;
		ret = child_load(w, n, k, depth, &child, &usable);
		if (ret || !usable)
			continue;
		check_child_begin(w, &child);
		ret = walk_node(w, &child, depth - 1);
	}
	return ret;
}

static int walk_node(struct ck_walk *w, const struct node *n, uint32_t depth)
{
	return depth == 0 ? walk_leaf(w, n) : walk_index(w, n, depth);
}

static int walk_extents(struct ck_walk *w)
{
	uint8_t root[EXT4_N_BLOCKS_BYTES] __attribute__((aligned(8)));
	struct node n = { .data = root, .bytes = sizeof(root), .hi = LBLK_END };
	uint32_t depth;

	memcpy(root, w->i->d->i_block, sizeof(root));
	depth = le16_to_cpu(((const struct ext4_extent_header *)(void *)root)->eh_depth);
	if (depth > EXT4_MAX_EXTENT_DEPTH || !header_ok(&n, depth)) {
		walk_find(w, "extent_node", w->i->ino, 0, "Inode %u has corrupt extent header.",
			  w->i->ino);
		return 0;
	}
	return walk_node(w, &n, depth);
}

/* ---- block pointers ------------------------------------------------------- */

static void tell_illegal(struct ck_walk *w, const char *kind, uint64_t lblk, uint64_t pblk)
{
	w->broken = true;
	if (++w->illegal > ILLEGAL_MAX || w->quiet)
		return;
	if (w->illegal == 1)
		ck_find(w->c, "illegal_block", w->i->ino, 0, "Inode %u has illegal block(s).",
			w->i->ino);
	if (w->illegal == ILLEGAL_MAX)
		ck_find(w->c, "illegal_block", w->i->ino, 0, "Too many illegal blocks in inode %u.",
			w->i->ino);
	else if (*kind)
		ck_find(w->c, "illegal_block", w->i->ino, 0, "Illegal %s (%llu) in inode %u.", kind,
			(unsigned long long)pblk, w->i->ino);
	else
		ck_find(w->c, "illegal_block", w->i->ino, 0,
			"Illegal block #%llu (%llu) in inode %u.", (unsigned long long)lblk,
			(unsigned long long)pblk, w->i->ino);
}

/* A pointer at @level above the data; covers blocks from @lblk on. */
static int walk_pointer(struct ck_walk *w, uint64_t pblk, uint64_t lblk, uint32_t level)
{
	static const char *const kinds[] = { "", "indirect block", "double indirect block",
					     "triple indirect block" };
	struct ck *c = w->c;
	struct ck_run run = { .lblk = lblk, .pblk = pblk, .count = 1 };
	uint32_t per = c->s->block_size / 4, k;
	uint64_t span = 1;
	int ret;

	if (pblk == 0)
		return 0;
	if (!ck_pblk_ok(c, pblk, 1)) {
		tell_illegal(w, kinds[level], lblk, pblk);
		return 0;
	}
	/* Read first: who is told of a block of the map may be done with it. */
	ret = level ? ck_read(c, pblk, 1, c->levels[level]) : 0;
	if (!ret)
		ret = emit(w, &run, level > 0);
	if (ret || level == 0)
		return ret;
	for (k = 1; k < level; k++)
		span *= per;
	for (k = 0; k < per && !ret; k++) {
		le32 next;

		memcpy(&next, c->levels[level] + k * 4, sizeof(next));
		ret = walk_pointer(w, le32_to_cpu(next), lblk + k * span, level - 1);
	}
	return ret;
}

static int walk_pointers(struct ck_walk *w)
{
	uint64_t per = w->c->s->block_size / 4;
	uint64_t lblk = EXT4_NDIR_BLOCKS;
	uint32_t k;
	int ret = 0;

	for (k = 0; k < EXT4_NDIR_BLOCKS && !ret; k++)
		ret = walk_pointer(w, le32_to_cpu(w->i->d->i_block[k]), k, 0);
	for (k = 1; k <= 3 && !ret; k++) {
		uint64_t span = per;
		uint32_t n;

		ret = walk_pointer(w, le32_to_cpu(w->i->d->i_block[EXT4_NDIR_BLOCKS + k - 1]), lblk,
				   k);
		for (n = 1; n < k; n++)
			span *= per;
		lblk += span;
	}
	return ret;
}

int ck_walk_map(struct ck_walk *w)
{
	w->blocks = 0;
	w->last = -1;
	w->last_written = -1;
	w->last_cluster = 0;
	w->broken = false;
	w->illegal = 0;
	return w->i->flags & EXT4_EXTENTS_FL ? walk_extents(w) : walk_pointers(w);
}
