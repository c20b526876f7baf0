// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inodes to and from their tables: loading for the cache, writing inside handles, the
 * space for attributes behind the fixed fields, and arithmetic on sizes and blocks.
 *
 * A table block is shared by inodes that know nothing of each other: its bytes are
 * guarded by the buffer's lock, taken after journal_get_write().
 */
#include "daemon/store/inode.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/base/check.h"
#include "daemon/store/icache.h"
#include "daemon/store/inode_disk.h"

/* Random numbers fetched at once; a system call per created file would be felt. */
#define RANDOM_POOL 64

uint32_t inode_new_generation(void)
{
	static _Thread_local uint32_t pool[RANDOM_POOL];
	static _Thread_local uint32_t left;
	static _Atomic uint32_t fallback;
	uint32_t n;

	do {
		if (left == 0) {
			/* Only in the first seconds of a machine's life; then uniqueness must do. */
			if (getrandom(pool, sizeof(pool), GRND_NONBLOCK) != sizeof(pool))
				return atomic_fetch_add(&fallback, 1) | 1;
			left = RANDOM_POOL;
		}
		n = pool[--left];
	} while (n == 0);
	return n;
}

/* ---- loading -------------------------------------------------------------- */

/* Metadata in the form of a file, whatever number it has: no name may lead to it. */
static bool is_system(const struct store *s, uint32_t ino)
{
	if (ino < s->first_ino)
		return ino != EXT4_ROOT_INO;
	for (uint32_t k = 0; k < ARRAY_SIZE(s->quota_inos); k++)
		if (ino == s->quota_inos[k])
			return true;
	return ino == s->orphan_file_ino;
}

int inode_load(struct inode *i, bool orphans_ok)
{
	struct store *s = i->store;
	struct inode_slot slot = inode_slot_of(s, i->ino);
	const char *what;
	struct buf *b;
	int ret;

	ret = buf_read(s->cache, slot.pblk, &b);
	if (ret)
		return ret;
	rwlock_read(&b->lock);
	ret = inode_disk_decode(i, b->data + slot.off, &what);
	rwlock_unread(&b->lock);
	buf_put(b);
	if (ret == -EBADMSG || ret == -EUCLEAN) {
		(void)store_corrupt(s, i->ino, slot.pblk, what); /* ret says which kind it is */
		return ret;
	}
	if (ret)
		return ret;
	if (i->links == 0 && !orphans_ok && i->ino >= s->first_ino)
		return -ESTALE;
	if (is_system(s, i->ino) || (i->flags & EXT4_EA_INODE_FL))
		atomic_fetch_or(&i->state, INODE_SPECIAL);
	return 0;
}

/* ---- writing -------------------------------------------------------------- */

struct slot_write {
	uint32_t dtime;
	const void *ibody; /* attributes to put behind the fields, or NULL */
	uint32_t ibody_len;
};

static int write_slot(struct handle *h, struct inode *i, const struct slot_write *w)
{
	struct store *s = i->store;
	struct inode_slot slot = inode_slot_of(s, i->ino);
	struct buf *b;
	uint8_t *raw;
	int ret;

	if (i->flags & EXT4_EA_INODE_FL)
		atomic_fetch_or(&i->state, INODE_SPECIAL);
	ret = buf_read(s->cache, slot.pblk, &b);
	if (ret)
		return ret;
	ret = journal_get_write(h, b);
	if (ret) {
		buf_put(b);
		return ret;
	}
	raw = b->data + slot.off;
	rwlock_write(&b->lock);
	ret = inode_disk_encode(i, raw, w->dtime);
	if (!ret && w->ibody) {
		memcpy(raw + EXT4_GOOD_OLD_INODE_SIZE + i->extra_isize, w->ibody, w->ibody_len);
		inode_disk_set_csum(s, i->ino, raw);
	}
	if (!ret)
		journal_dirty(h, b, slot.off, s->inode_size);
	rwlock_unwrite(&b->lock);
	buf_put(b);
	i->sync_tid = handle_tid(h);
	return ret;
}

int inode_write(struct handle *h, struct inode *i)
{
	return write_slot(h, i, &(struct slot_write){ 0 });
}

int inode_write_data(struct handle *h, struct inode *i)
{
	int ret = inode_write(h, i);

	if (!ret)
		i->datasync_tid = i->sync_tid;
	return ret;
}

int inode_write_prepare(struct handle *h, const struct inode *i)
{
	struct buf *b;
	int ret = buf_read(i->store->cache, inode_slot_of(i->store, i->ino).pblk, &b);

	if (ret)
		return ret;
	ret = journal_get_write(h, b);
	buf_put(b);
	return ret;
}

int inode_write_deleted(struct handle *h, struct inode *i, uint32_t dtime)
{
	return write_slot(h, i, &(struct slot_write){ .dtime = dtime });
}

/* ---- attributes behind the fields ----------------------------------------- */

uint32_t inode_ibody_space(const struct inode *i)
{
	const struct store *s = i->store;

	if (s->inode_size == EXT4_GOOD_OLD_INODE_SIZE)
		return 0;
	return s->inode_size - EXT4_GOOD_OLD_INODE_SIZE - i->extra_isize;
}

int inode_ibody_read(struct inode *i, void *buf, uint32_t len)
{
	struct store *s = i->store;
	struct inode_slot slot = inode_slot_of(s, i->ino);
	const struct ext4_inode *d;
	struct buf *b;
	int ret;

	CHECK(len <= inode_ibody_space(i));
	if (atomic_load(&i->state) & INODE_NEW) {
		memset(buf, 0, len);
		return 0;
	}
	ret = buf_read(s->cache, slot.pblk, &b);
	if (ret)
		return ret;
	rwlock_read(&b->lock);
	d = (const void *)(b->data + slot.off);
	/* The space is ours in memory but not yet on disk: nothing in it is an attribute. */
	if (le16_to_cpu(d->i_extra_isize) != i->extra_isize)
		memset(buf, 0, len);
	else
		memcpy(buf, b->data + slot.off + EXT4_GOOD_OLD_INODE_SIZE + i->extra_isize, len);
	rwlock_unread(&b->lock);
	buf_put(b);
	return 0;
}

int inode_ibody_write(struct handle *h, struct inode *i, const void *buf, uint32_t len)
{
	CHECK(len <= inode_ibody_space(i));
	return write_slot(h, i, &(struct slot_write){ .ibody = buf, .ibody_len = len });
}

/* ---- arithmetic ----------------------------------------------------------- */

void inode_add_blocks(struct inode *i, int64_t n)
{
	int64_t sectors = n * (int64_t)(i->store->block_size / 512);

	/* A count that was wrong on disk must not wrap: it only tells, nothing is freed by it. */
	if (sectors < 0 && (uint64_t)-sectors > i->blocks)
		i->blocks = 0;
	else
		i->blocks += (uint64_t)sectors;
}

static uint64_t size_max_extents(const struct store *s)
{
	uint64_t max = (uint64_t)EXT_MAX_BLOCKS << s->block_bits;

	/* i_blocks counts 32 bits of sectors without huge_file. */
	if (!store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_HUGE_FILE))
		max = MIN(max, (uint64_t)UINT32_MAX >> (s->block_bits - 9) << s->block_bits);
	return max;
}

/*
 * Blocks a map can name, less those that do not fit i_blocks (32 or 48 bits of
 * sectors) together with the map's own blocks: 1 indirect, 1 + p double, and the
 * triple tree as far as it is used, p pointers in a block.
 */
static uint64_t size_max_indirect(const struct store *s)
{
	uint64_t p = s->block_size / 4;
	bool huge = store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_HUGE_FILE);
	uint64_t limit = huge ? (1ull << 48) - 1 : UINT32_MAX >> (s->block_bits - 9);
	uint64_t data = EXT4_NDIR_BLOCKS + p + p * p + p * p * p;
	uint64_t meta = 1 + (1 + p) + (1 + p + p * p);
	uint64_t left;

	if (data + meta > limit) {
		left = limit - EXT4_NDIR_BLOCKS - p;
		meta = 1;
		if (left < p * p) {
			meta += 1 + DIV_ROUND_UP(left, p);
		} else {
			left -= p * p;
			meta += 1 + p + 1 + DIV_ROUND_UP(left, p) + DIV_ROUND_UP(left, p * p);
		}
		data = limit - meta;
	}
	/* Logical block numbers have 32 bits everywhere. */
	return MIN(data, (uint64_t)EXT_MAX_BLOCKS) << s->block_bits;
}

uint64_t inode_size_max(const struct inode *i)
{
	const struct store *s = i->store;
	uint64_t max = (i->flags & EXT4_EXTENTS_FL) || (i->flags & EXT4_INLINE_DATA_FL) ?
			       size_max_extents(s) :
			       size_max_indirect(s);

	/* Inline data moves to extents when it grows, where the filesystem has them. */
	if ((i->flags & EXT4_INLINE_DATA_FL) &&
	    !store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EXTENTS))
		max = size_max_indirect(s);
	if (!store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_LARGE_FILE))
		max = MIN(max, (uint64_t)INT32_MAX);
	return MIN(max, (uint64_t)INT64_MAX);
}
