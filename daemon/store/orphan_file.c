// SPDX-License-Identifier: GPL-2.0-only
/*
 * The orphan file: blocks of inode numbers, so that unlinks of unrelated files do not
 * meet in the superblock. All its blocks stay pinned.
 *
 * Invariants
 * (1) slots_free[b] is at most the number of zero slots of block b: it is lowered
 *     before a slot is taken and raised after one was cleared. So who lowered it
 *     finds a free slot, unless the block is somebody else's, too (a damaged image).
 * (2) A slot's bytes change under the block's buffer lock, with the checksum.
 */
#include "daemon/store/orphan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/crc.h"
#include "daemon/store/inode.h"
#include "daemon/store/map.h"
#include "daemon/store/super.h"

/* As in ext4: a corrupt size must not pin absurd amounts of memory. */
#define FILE_BYTES_MAX (8u << 20)

static struct ext4_orphan_block_tail *tail_of(const struct store *s, const struct buf *b)
{
	return (struct ext4_orphan_block_tail *)(void *)(b->data + s->block_size -
							 sizeof(struct ext4_orphan_block_tail));
}

static uint32_t block_csum(const struct store *s, const struct buf *b)
{
	le64 pblk = cpu_to_le64(b->pblk);
	uint32_t crc = crc32c(s->orphans->csum_seed, &pblk, sizeof(pblk));

	return crc32c(crc, b->data, s->orphans->slots * sizeof(le32));
}

static le32 *slot_of(const struct buf *b, uint32_t slot)
{
	return (le32 *)(void *)b->data + slot;
}

/* Caller holds the buffer's lock. */
static void slot_store(struct handle *h, struct store *s, struct buf *b, uint32_t slot,
		       uint32_t ino)
{
	uint32_t tail = s->block_size - (uint32_t)sizeof(struct ext4_orphan_block_tail);

	*slot_of(b, slot) = cpu_to_le32(ino);
	journal_dirty(h, b, slot * (uint32_t)sizeof(le32), sizeof(le32));
	if (!s->has_csum)
		return;
	tail_of(s, b)->ob_checksum = cpu_to_le32(block_csum(s, b));
	journal_dirty(h, b, tail, sizeof(struct ext4_orphan_block_tail));
}

static int take_slot(struct handle *h, struct store *s, uint32_t block, uint32_t ino,
		     uint32_t *ret_pos)
{
	struct buf *b = s->orphans->bufs[block];
	uint32_t slot;
	int ret = journal_get_write(h, b);

	if (ret)
		return ret;
	rwlock_write(&b->lock);
	for (slot = 0; slot < s->orphans->slots && le32_to_cpu(*slot_of(b, slot)); slot++)
		;
	if (slot < s->orphans->slots)
		slot_store(h, s, b, slot, ino);
	rwlock_unwrite(&b->lock);
	if (slot == s->orphans->slots)
		return store_corrupt(s, s->orphan_file_ino, b->pblk,
				     "orphan file: something else lives in its block");
	*ret_pos = block * s->orphans->slots + slot + 1;
	return 0;
}

static bool claim_slot(_Atomic uint32_t *slots_free)
{
	uint32_t n = atomic_load_explicit(slots_free, memory_order_relaxed);

	do {
		if (n == 0)
			return false;
	} while (!atomic_compare_exchange_weak(slots_free, &n, n - 1));
	return true;
}

int orphan_file_add(struct handle *h, struct inode *i)
{
	struct store *s = i->store;
	struct orphan_state *st = s->orphans;
	uint32_t start, n;

	if (st->blocks == 0)
		return 1;
	/* Neighbouring numbers are deleted by different threads more often than by one. */
	start = (i->ino * 0x9e3779b1u) % st->blocks;
	for (n = 0; n < st->blocks; n++) {
		uint32_t block = (start + n) % st->blocks;
		int ret;

		if (!claim_slot(&st->slots_free[block]))
			continue;
		ret = take_slot(h, s, block, i->ino, &i->orphan_pos);
		if (ret && ret != -EUCLEAN) /* it has none */
			atomic_fetch_add(&st->slots_free[block], 1);
		return ret;
	}
	return 1;
}

int orphan_file_clear(struct handle *h, struct store *s, uint32_t pos)
{
	struct orphan_state *st = s->orphans;
	uint32_t block = (pos - 1) / st->slots;
	struct buf *b;
	int ret;

	CHECK(pos > 0 && block < st->blocks);
	b = st->bufs[block];
	ret = journal_get_write(h, b);
	if (ret)
		return ret;
	rwlock_write(&b->lock);
	slot_store(h, s, b, (pos - 1) % st->slots, 0);
	rwlock_unwrite(&b->lock);
	atomic_fetch_add(&st->slots_free[block], 1);
	return 0;
}

uint32_t orphan_file_slot(struct store *s, uint32_t pos)
{
	struct orphan_state *st = s->orphans;
	struct buf *b = st->bufs[(pos - 1) / st->slots];
	uint32_t ino;

	rwlock_read(&b->lock);
	ino = le32_to_cpu(*slot_of(b, (pos - 1) % st->slots));
	rwlock_unread(&b->lock);
	return ino;
}

bool orphan_file_in_use(struct store *s)
{
	struct orphan_state *st = s->orphans;
	uint32_t b;

	for (b = 0; st && b < st->blocks; b++) {
		if (st->slots_free[b] < st->slots)
			return true;
	}
	return false;
}

/* ---- opening -------------------------------------------------------------- */

static int bad_file(struct store_open_error *err, int code, const char *what)
{
	return store_open_fail(err, code, NULL, "orphan file: %s", what);
}

static int load_block(struct store *s, uint32_t block, uint64_t pblk, struct store_open_error *err)
{
	struct orphan_state *st = s->orphans;
	struct buf *b;
	uint32_t slot, zeros = 0;
	int ret;

	ret = buf_read(s->cache, pblk, &st->bufs[block]);
	if (ret)
		return bad_file(err, ret, "a block cannot be read");
	b = st->bufs[block];
	if (le32_to_cpu(tail_of(s, b)->ob_magic) != EXT4_ORPHAN_BLOCK_MAGIC)
		return bad_file(err, -EUCLEAN, "a block has no magic");
	if (s->has_csum && le32_to_cpu(tail_of(s, b)->ob_checksum) != block_csum(s, b))
		return bad_file(err, -EBADMSG, "a block's checksum is wrong");
	for (slot = 0; slot < st->slots; slot++)
		zeros += le32_to_cpu(*slot_of(b, slot)) == 0;
	st->slots_free[block] = zeros;
	return 0;
}

static int load_blocks(struct store *s, struct inode *i, struct store_open_error *err)
{
	struct orphan_state *st = s->orphans;
	uint32_t blocks = (uint32_t)(i->size >> s->block_bits);
	struct map_run run;
	uint32_t k;
	int ret;

	st->bufs = calloc(blocks, sizeof(struct buf *));
	st->slots_free = calloc(blocks, sizeof(*st->slots_free));
	if (!st->bufs || !st->slots_free)
		return bad_file(err, -ENOMEM, "no memory");
	while (st->blocks < blocks) {
		ret = map_lookup(i, st->blocks, blocks - st->blocks, &run);
		if (ret)
			return bad_file(err, ret, "its block map is corrupt");
		if ((run.flags & (MAP_HOLE | MAP_UNWRITTEN)) || run.count == 0)
			return bad_file(err, -EUCLEAN, "has a hole");
		buf_readahead(s->cache, run.pblk, run.count);
		for (k = 0; k < run.count; k++) {
			ret = load_block(s, st->blocks, run.pblk + k, err);
			st->blocks++; /* also the failed one: it may be pinned */
			if (ret)
				return ret;
		}
	}
	return 0;
}

int orphan_file_open(struct store *s, struct store_open_error *err)
{
	struct orphan_state *st = s->orphans;
	struct inode *i;
	int ret;

	/* ext4 refuses it, too, and e2fsck cannot go on with it. */
	if (s->orphan_file_ino == 0 || s->orphan_file_ino > s->inodes_count)
		return bad_file(err, -EUCLEAN, "its inode number is impossible");
	ret = inode_get_special(s, s->orphan_file_ino, &i);
	if (ret)
		return bad_file(err, ret == -ESTALE ? -EUCLEAN : ret, "its inode cannot be read");
	st->slots = (s->block_size - (uint32_t)sizeof(struct ext4_orphan_block_tail)) /
		    (uint32_t)sizeof(le32);
	st->csum_seed = inode_csum_seed(i);
	rwlock_read(&i->lock);
	if (!inode_is_reg(i) || i->size == 0 || i->size > FILE_BYTES_MAX ||
	    i->size % s->block_size || (i->flags & EXT4_INLINE_DATA_FL))
		ret = bad_file(err, -EUCLEAN, "its size or type is impossible");
	else
		ret = load_blocks(s, i, err);
	rwlock_unread(&i->lock);
	inode_put(i);
	return ret;
}

void orphan_file_close(struct store *s)
{
	struct orphan_state *st = s->orphans;
	uint32_t b;

	for (b = 0; st->bufs && b < st->blocks; b++) {
		if (st->bufs[b])
			buf_put(st->bufs[b]);
	}
	free(st->bufs);
	free((void *)st->slots_free);
}
