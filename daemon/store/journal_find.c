// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the journal lies: its inode's blocks as runs, found with a cache of its own
 * before replay, when everything but the superblock's geometry may still be old. The
 * inode and its map do not change while a journal is used, so they can be believed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "daemon/store/group.h"
#include "daemon/store/inode_disk.h"
#include "daemon/store/map.h"
#include "daemon/store/super.h"

/* Map blocks of one inode: depth of the tree, a few leaves. */
#define FIND_BUFS 64

static int bad_journal(struct store_open_error *err, int code, const char *what)
{
	return store_open_fail(err, code, "run e2fsck -f IMAGE", "journal inode: %s", what);
}

/* Reads block @pblk through the store's cache and copies @len bytes at @off. */
static int read_inode(struct store *s, struct inode *i, struct store_open_error *err)
{
	uint32_t g = (i->ino - 1) / s->inodes_per_group;
	struct inode_slot slot;
	struct group grp = { 0 };
	const char *what = "cannot be read";
	struct buf *b;
	int ret;

	ret = buf_read(s->cache, geometry_desc_pblk(s, g / s->desc_per_block), &b);
	if (ret)
		return bad_journal(err, ret, "its group's descriptor cannot be read");
	ret = group_desc_decode(s, g, b->data + g % s->desc_per_block * s->desc_size, &grp, err);
	buf_put(b);
	if (ret)
		return ret;
	slot = inode_slot_in(s, grp.inode_table, i->ino);
	ret = buf_read(s->cache, slot.pblk, &b);
	if (ret)
		return bad_journal(err, ret, what);
	ret = inode_disk_decode(i, b->data + slot.off, &what);
	buf_put(b);
	if (ret)
		return bad_journal(err, ret == -ESTALE ? -EUCLEAN : ret,
				   ret == -ESTALE ? "is not in use" : what);
	if (!inode_is_reg(i) || i->links == 0 || i->size == 0 || (i->flags & EXT4_INLINE_DATA_FL))
		return bad_journal(err, -EUCLEAN, "is no regular file with contents");
	if (i->size >> s->block_bits > UINT32_MAX)
		return bad_journal(err, -EUCLEAN, "is too large");
	return 0;
}

static int add_run(struct store *s, uint32_t *room, uint32_t lblk, const struct map_run *run)
{
	uint32_t n = s->journal_run_count;

	if (n == *room) {
		uint32_t more = *room ? *room * 2 : 16;
		struct block_run *runs = reallocarray(s->journal_runs, more, sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		s->journal_runs = runs;
		*room = more;
	}
	s->journal_runs[n] = (struct block_run){ run->pblk, run->count, lblk };
	s->journal_run_count++;
	return 0;
}

static int collect_runs(struct store *s, struct inode *i, struct store_open_error *err)
{
	uint32_t lblk = 0, room = 0;
	struct map_run run;
	int ret;

	s->journal_blocks = (uint32_t)(i->size >> s->block_bits);
	while (lblk < s->journal_blocks) {
		ret = map_lookup(i, lblk, s->journal_blocks - lblk, &run);
		if (ret)
			return bad_journal(err, ret, "its block map is corrupt");
		if ((run.flags & (MAP_HOLE | MAP_UNWRITTEN)) || run.count == 0)
			return bad_journal(err, -EUCLEAN, "has a hole");
		ret = add_run(s, &room, lblk, &run);
		if (ret)
			return bad_journal(err, ret, "no memory for its map");
		lblk += run.count;
	}
	return 0;
}

int journal_find(struct store *s, struct store_open_error *err)
{
	struct inode i = { .store = s, .ino = s->journal_ino };
	int ret;

	if (i.ino > s->inodes_count)
		return bad_journal(err, -EUCLEAN, "its number is out of range");
	ret = cache_new(s->bdev, s->block_size, FIND_BUFS, &s->cache);
	if (ret)
		return bad_journal(err, ret, "no memory to read it");
	rwlock_init(&i.lock, LOCK_INODE);
	rwlock_write(&i.lock); /* the map's functions check that it is held */
	ret = read_inode(s, &i, err);
	if (!ret)
		ret = collect_runs(s, &i, err);
	rwlock_unwrite(&i.lock);
	cache_free(s->cache);
	s->cache = NULL;
	return ret;
}

uint64_t journal_map_lookup(void *arg, uint32_t lblk)
{
	const struct store *s = arg;
	uint32_t lo = 0, hi = s->journal_run_count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct block_run *run = &s->journal_runs[mid];

		if (lblk < run->lblk)
			hi = mid;
		else if (lblk - run->lblk >= run->count)
			lo = mid + 1;
		else
			return run->pblk + (lblk - run->lblk);
	}
	return 0;
}
