/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Block maps of new files. All runs of a file are known before its map is written, so trees
 * are built bottom-up with full blocks and never split.
 */
#include "mkfs/mkfs.h"

#include "mkfs/say.h"

#include "daemon/base/check.h"
#include "daemon/base/crc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOT_EXTENTS 4

void runs_fini(struct runs *runs)
{
	free(runs->v);
	*runs = (struct runs){ 0 };
}

/* A run no longer than an extent may be; joined to the last one when it continues it. */
static int runs_add_one(struct runs *runs, struct run run)
{
	struct run *last = runs->count ? &runs->v[runs->count - 1] : NULL;

	CHECK(!last || run.lblk >= last->lblk + last->len);
	if (last && last->lblk + last->len == run.lblk && last->pblk + last->len == run.pblk &&
	    last->len < EXT_INIT_MAX_LEN) {
		uint32_t n = MIN(run.len, EXT_INIT_MAX_LEN - last->len);

		last->len += n;
		run.lblk += n;
		run.pblk += n;
		run.len -= n;
		if (!run.len)
			return 0;
	}
	if (runs->count == runs->room) {
		size_t room = runs->room ? runs->room * 2 : 8;
		struct run *v = reallocarray(runs->v, room, sizeof(*v));

		if (!v)
			return fail(-ENOMEM, "block map");
		runs->v = v;
		runs->room = room;
	}
	runs->v[runs->count++] = run;
	return 0;
}

int runs_add(struct runs *runs, uint32_t lblk, uint64_t pblk, uint32_t len)
{
	while (len) {
		uint32_t n = MIN(len, EXT_INIT_MAX_LEN);
		int r = runs_add_one(runs, (struct run){ .lblk = lblk, .len = n, .pblk = pblk });

		if (r < 0)
			return r;
		lblk += n;
		pblk += n;
		len -= n;
	}
	return 0;
}

static int run_take(struct mkfs *m, uint64_t goal, uint64_t want, uint64_t *ret_pblk,
		    uint64_t *ret_len)
{
	int r;

	if (!space_find_run(&m->space, goal, want, ret_pblk, ret_len))
		return fail(-ENOSPC, "the filesystem of %llu blocks is full: give a larger SIZE",
			    (unsigned long long)m->geo.blocks);
	r = space_mark(&m->space, *ret_pblk, *ret_len);
	return r < 0 ? fail(r, "block allocation") : 0;
}

int runs_alloc(struct mkfs *m, struct runs *runs, uint32_t lblk, uint64_t count, uint64_t *goal)
{
	CHECK((uint64_t)lblk + count <= EXT_MAX_BLOCKS);
	while (count) {
		uint64_t pblk, len;
		int r = run_take(m, *goal, MIN(count, (uint64_t)EXT_INIT_MAX_LEN), &pblk, &len);

		if (r == 0)
			r = runs_add(runs, lblk, pblk, (uint32_t)len);
		if (r < 0)
			return r;
		lblk += (uint32_t)len;
		count -= len;
		*goal = pblk + len;
	}
	return 0;
}

int block_alloc(struct mkfs *m, uint64_t goal, uint64_t *ret_pblk)
{
	uint64_t len;

	return run_take(m, goal, 1, ret_pblk, &len);
}

/* ---- extent trees ---- */

static void header_set(void *where, uint32_t entries, uint32_t max, uint32_t depth)
{
	struct ext4_extent_header *h = where;

	h->eh_magic = cpu_to_le16(EXT4_EXT_MAGIC);
	h->eh_entries = cpu_to_le16((uint16_t)entries);
	h->eh_max = cpu_to_le16((uint16_t)max);
	h->eh_depth = cpu_to_le16((uint16_t)depth);
}

static void extents_set(void *where, const struct run *runs, uint32_t count)
{
	struct ext4_extent *e = (void *)((struct ext4_extent_header *)where + 1);

	for (uint32_t i = 0; i < count; i++) {
		e[i].ee_block = cpu_to_le32(runs[i].lblk);
		e[i].ee_len = cpu_to_le16((uint16_t)runs[i].len);
		e[i].ee_start_lo = cpu_to_le32((uint32_t)runs[i].pblk);
		e[i].ee_start_hi = cpu_to_le16((uint16_t)(runs[i].pblk >> 32));
	}
}

/* Index entries are runs too: the first logical block below, and the node's block. */
static void indexes_set(void *where, const struct run *nodes, uint32_t count)
{
	struct ext4_extent_idx *e = (void *)((struct ext4_extent_header *)where + 1);

	for (uint32_t i = 0; i < count; i++) {
		e[i].ei_block = cpu_to_le32(nodes[i].lblk);
		e[i].ei_leaf_lo = cpu_to_le32((uint32_t)nodes[i].pblk);
		e[i].ei_leaf_hi = cpu_to_le16((uint16_t)(nodes[i].pblk >> 32));
	}
}

static void node_fill(void *where, const struct runs *below, size_t at, uint32_t count,
		      uint32_t max, uint32_t depth)
{
	header_set(where, count, max, depth);
	if (depth == 0)
		extents_set(where, below->v + at, count);
	else
		indexes_set(where, below->v + at, count);
}

/* One level of tree blocks over @below; @above gets an entry for each of them. */
static int level_write(struct mkfs *m, uint32_t ino, const struct runs *below, uint32_t depth,
		       struct runs *above)
{
	uint32_t bs = m->geo.block_size;
	uint32_t max = (bs - (uint32_t)sizeof(struct ext4_extent_header)) /
		       (uint32_t)sizeof(struct ext4_extent);
	uint32_t tail =
		(uint32_t)(sizeof(struct ext4_extent_header) + max * sizeof(struct ext4_extent));
	_cleanup_free_ uint8_t *block = malloc(bs);
	uint64_t goal = m->data_goal;

	if (!block)
		return fail(-ENOMEM, "extent tree");
	for (size_t at = 0; at < below->count; at += max) {
		uint32_t count = (uint32_t)MIN((size_t)max, below->count - at);
		uint64_t pblk;
		int r = block_alloc(m, goal, &pblk);

		if (r < 0)
			return r;
		goal = pblk + 1;
		memset(block, 0, bs);
		node_fill(block, below, at, count, max, depth);
		if (features_csum(&m->geo.features)) {
			struct ext4_extent_tail *t = (void *)(block + tail);

			t->et_checksum =
				cpu_to_le32(crc32c(inode_csum_seed(m, ino, 0), block, tail));
		}
		r = write_block(m, pblk, block);
		if (r == 0)
			/* Runs of one block never continue each other's logical blocks. */
			r = runs_add_one(above, (struct run){ .lblk = below->v[at].lblk,
							      .len = 0,
							      .pblk = pblk });
		if (r < 0)
			return r;
	}
	return 0;
}

static int extents_write(struct mkfs *m, uint32_t ino, struct inode_image *img,
			 const struct runs *runs, uint64_t *meta_blocks)
{
	struct runs levels[EXT4_MAX_EXTENT_DEPTH + 1] = { 0 };
	const struct runs *top = runs;
	uint32_t depth = 0;
	int r = 0;

	while (r == 0 && top->count > ROOT_EXTENTS) {
		CHECK(depth < EXT4_MAX_EXTENT_DEPTH);
		r = level_write(m, ino, top, depth, &levels[depth]);
		*meta_blocks += levels[depth].count;
		top = &levels[depth++];
	}
	if (r == 0) {
		img->inode.i_flags = cpu_to_le32(le32_to_cpu(img->inode.i_flags) | EXT4_EXTENTS_FL);
		node_fill(img->inode.i_block, top, 0, (uint32_t)top->count, ROOT_EXTENTS, depth);
	}
	for (uint32_t i = 0; i < depth; i++)
		runs_fini(&levels[i]);
	return r;
}

/* ---- indirect blocks ---- */

/* The chain of indirect blocks that holds the current entry; [0] is the lowest. */
struct indirect {
	struct mkfs *m;
	struct inode_image *img;
	uint64_t meta_blocks;
	uint32_t slot; /* EXT4_IND_BLOCK.. the root slot the chain hangs on; 0: no chain */
	uint64_t pblk[3];
	uint64_t first[3]; /* first logical block (within the slot's range) it covers */
	le32 *data[3];
};

static int indirect_flush(struct indirect *t, uint32_t level)
{
	int r;

	if (!t->pblk[level])
		return 0;
	r = write_block(t->m, t->pblk[level], t->data[level]);
	t->pblk[level] = 0;
	return r;
}

/* Make the chain's block at @level the one that covers @rel; parents first. */
static int indirect_open(struct indirect *t, uint32_t level, uint32_t top, uint64_t rel)
{
	uint64_t apb = geometry_addr_per_block(&t->m->geo), span = apb, pblk;
	le32 *entry;
	int r;

	for (uint32_t i = 0; i < level; i++)
		span *= apb;
	if (t->pblk[level] && t->first[level] == rel / span * span)
		return 0;
	r = indirect_flush(t, level);
	if (r == 0 && level < top)
		r = indirect_open(t, level + 1, top, rel);
	if (r == 0)
		r = block_alloc(t->m, t->m->data_goal, &pblk);
	if (r < 0)
		return r;
	entry = level == top ? &t->img->inode.i_block[t->slot] :
			       &t->data[level + 1][(rel - t->first[level + 1]) / span];
	*entry = cpu_to_le32((uint32_t)pblk);
	t->pblk[level] = pblk;
	t->first[level] = rel / span * span;
	t->meta_blocks++;
	memset(t->data[level], 0, t->m->geo.block_size);
	return 0;
}

static int indirect_set(struct indirect *t, uint64_t lblk, uint64_t pblk)
{
	uint64_t apb = geometry_addr_per_block(&t->m->geo), span = apb;
	uint64_t rel = lblk - EXT4_NDIR_BLOCKS;
	uint32_t top = 0;
	int r = 0;

	if (lblk < EXT4_NDIR_BLOCKS) {
		t->img->inode.i_block[lblk] = cpu_to_le32((uint32_t)pblk);
		return 0;
	}
	while (top < 3 && rel >= span) {
		rel -= span;
		span *= apb;
		top++;
	}
	if (top == 3)
		return fail(-EFBIG, "a file is too large for a filesystem without extents");
	if (t->slot != EXT4_IND_BLOCK + top) {
		for (uint32_t i = 0; r == 0 && i < 3; i++)
			r = indirect_flush(t, i);
		t->slot = EXT4_IND_BLOCK + top;
	}
	if (r == 0)
		r = indirect_open(t, 0, top, rel);
	if (r == 0)
		t->data[0][rel - t->first[0]] = cpu_to_le32((uint32_t)pblk);
	return r;
}

static int indirects_write(struct mkfs *m, struct inode_image *img, const struct runs *runs,
			   uint64_t *meta_blocks)
{
	_cleanup_free_ uint8_t *room = calloc(3, m->geo.block_size);
	struct indirect t = { .m = m, .img = img };
	int r = 0;

	if (!room)
		return fail(-ENOMEM, "indirect blocks");
	for (uint32_t i = 0; i < 3; i++)
		t.data[i] = (void *)(room + (size_t)i * m->geo.block_size);
	for (size_t i = 0; r == 0 && i < runs->count; i++)
		for (uint32_t j = 0; r == 0 && j < runs->v[i].len; j++)
			r = indirect_set(&t, (uint64_t)runs->v[i].lblk + j, runs->v[i].pblk + j);
	for (uint32_t i = 0; r == 0 && i < 3; i++)
		r = indirect_flush(&t, i);
	*meta_blocks = t.meta_blocks;
	return r;
}

int mapping_write(struct mkfs *m, uint32_t ino, struct inode_image *img, const struct runs *runs)
{
	uint64_t blocks = 0, meta_blocks = 0;
	int r;

	if (feature_incompat(&m->geo.features, EXT4_FEATURE_INCOMPAT_EXTENTS))
		r = extents_write(m, ino, img, runs, &meta_blocks);
	else
		r = indirects_write(m, img, runs, &meta_blocks);
	if (r < 0)
		return r;
	for (size_t i = 0; i < runs->count; i++)
		blocks += runs->v[i].len;
	return inode_add_blocks(m, img, blocks + meta_blocks);
}
