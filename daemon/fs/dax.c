/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files that guests have mapped: nothing can take a mapping back, so the blocks under it are held (store/hold.h) until
 * the guest gives it up.
 *
 * (1) A file is in the table, has INODE_DAX and one reference of ours while at least one range of it is pinned. Its
 *     ranges change with its lock held exclusively, and are read with it held.
 * (2) A range is FS_DAX_RANGE long and aligned to that, whatever of it was asked for: mappings of a file either share
 *     all blocks or none.
 * (3) A range is prepared and committed before its blocks are told to anybody. Behind the file's end, too, there are
 *     blocks: a file that grows inside the range needs no new mapping, for which its writer would have to wait. Where
 *     there is no room for them the file may not grow until it is unmapped; zeros in place of what was written would
 *     be the alternative.
 * (4) A deleted file is deleted when it is not mapped any more: the last unpin asks the reaper.
 */
#include <stdlib.h>
#include <unistd.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/fs/fs_priv.h"
#include "daemon/store/alloc.h"
#include "daemon/store/hold.h"
#include "daemon/store/map.h"

/* Smaller files cost a guest no more by READ than by a mapping of a whole range. */
#define WORTH_SIZE_MIN FS_DAX_RANGE
/* Pieces of a file: more than this few, or 8 to a range's size on average, and it is not worth it. */
#define WORTH_RUNS_MIN 4
#define WORTH_RUNS_MAX 128

/* Their bytes are not simply in their blocks, or may not be changed there. */
#define FLAGS_NOT_MAPPED                                                                           \
	(EXT4_ENCRYPT_FL | EXT4_COMPR_FL | EXT4_JOURNAL_DATA_FL | EXT4_EA_INODE_FL | EXT4_VERITY_FL)

struct dax_range {
	struct list link; /* ascending */
	struct hold hold; /* blocks; prepared up to hold.end */
	uint32_t end;	  /* where the range ends */
	uint32_t spare;	  /* blocks from here on are there for the mapping alone */
	uint32_t pins;
};

struct dax_file {
	struct list link;    /* [table's lock] */
	struct inode *inode; /* [written once] a reference */
	struct list ranges;  /* [inode's lock] */
};

struct fs_dax_pin {
	struct fs *fs;
	struct dax_file *file;
	struct dax_range *range;
};

void dax_init(struct fs *fs)
{
	mutex_init(&fs->dax.lock, LOCK_LEAF);
	for (uint32_t k = 0; k < DAX_BUCKETS; k++)
		list_init(&fs->dax.files[k]);
}

const char *fs_dax_enable(struct fs *fs)
{
	const struct store *s = fs->store;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (atomic_load(&s->readonly))
		return "a guest could write to what is mapped, and the image is read-only: leave "
		       "it out";
	if (s->bdev->fd < 0)
		return "the image cannot be mapped: leave it out";
	if (s->block_size % page)
		return "the image's blocks are smaller than pages: make it with -b 4096";
	if (s->bdev->fd_offset % page)
		return "offset= is not a multiple of the page size: move the filesystem there";
	if (!store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EXTENTS))
		return "the image maps files block by block: make it with -O extents";
	atomic_store(&fs->store->dax, true);
	return NULL;
}

int fs_dax_fd(struct fs *fs)
{
	return fs->store->bdev->fd;
}

bool dax_is_worth_it(const struct inode *i)
{
	uint64_t bs = i->store->block_size, blocks = DIV_ROUND_UP(i->size, bs);
	uint64_t runs =
		MIN(WORTH_RUNS_MIN + i->size / (FS_DAX_RANGE / 8), (uint64_t)WORTH_RUNS_MAX);
	struct map_run run;

	if (!inode_is_reg(i) || i->size < WORTH_SIZE_MIN || (i->flags & FLAGS_NOT_MAPPED) ||
	    !(i->flags & EXT4_EXTENTS_FL) || inline_has(i) || blocks >= LBLK_END)
		return false;
	for (uint32_t lblk = 0; lblk < blocks; lblk += run.count, runs--) {
		struct inode *same = (struct inode *)(uintptr_t)i; /* looked up, not changed */

		if (!runs || map_lookup(same, lblk, (uint32_t)(blocks - lblk), &run) ||
		    run.flags & MAP_HOLE)
			return false;
	}
	return true;
}

/* ---- the table ---- */

static struct list *bucket_of(struct fs *fs, const struct inode *i)
{
	return &fs->dax.files[i->ino % DAX_BUCKETS];
}

/* NULL: not mapped. The caller holds @i's lock, so that it stays so. */
static struct dax_file *file_of(struct fs *fs, const struct inode *i)
{
	struct dax_file *found = NULL;
	struct list *pos;

	if (!dax_is_mapped(i))
		return NULL;
	mutex_lock(&fs->dax.lock);
	list_for_each(pos, bucket_of(fs, i)) {
		struct dax_file *f = list_entry(pos, struct dax_file, link);

		if (f->inode == i)
			found = f;
	}
	mutex_unlock(&fs->dax.lock);
	CHECK(found);
	return found;
}

static struct dax_file *file_add(struct fs *fs, struct inode *i)
{
	struct dax_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->inode = i;
	inode_ref(i);
	list_init(&f->ranges);
	mutex_lock(&fs->dax.lock);
	list_add_tail(bucket_of(fs, i), &f->link);
	mutex_unlock(&fs->dax.lock);
	atomic_fetch_add(&fs->dax.count, 1);
	atomic_fetch_or(&i->state, INODE_DAX);
	return f;
}

/* Without ranges. The reference is the caller's now. */
static void file_del(struct fs *fs, struct dax_file *f)
{
	CHECK(list_empty(&f->ranges));
	atomic_fetch_and(&f->inode->state, ~(uint32_t)INODE_DAX);
	mutex_lock(&fs->dax.lock);
	list_del(&f->link);
	mutex_unlock(&fs->dax.lock);
	atomic_fetch_sub(&fs->dax.count, 1);
	free(f);
}

static struct dax_range *range_at(struct dax_file *f, uint32_t first)
{
	struct list *pos;

	list_for_each(pos, &f->ranges) {
		struct dax_range *r = list_entry(pos, struct dax_range, link);

		if (r->hold.first == first)
			return r;
	}
	return NULL;
}

/* Into its place. */
static struct dax_range *range_add(struct fs *fs, struct dax_file *f, struct hold hold,
				   const struct hold_prepared *p)
{
	struct dax_range *r = calloc(1, sizeof(*r));
	struct list *pos = f->ranges.next;

	if (!r)
		return NULL;
	*r = (struct dax_range){ .hold = { .first = hold.first, .end = p->end },
				 .end = hold.end,
				 .spare = p->spare };
	while (pos != &f->ranges &&
	       list_entry(pos, struct dax_range, link)->hold.first < hold.first)
		pos = pos->next;
	list_add_tail(pos, &r->link); /* before that one */
	atomic_fetch_add(&fs->dax.ranges, 1);
	return r;
}

/* ---- mapping ---- */

static int map_check(const struct inode *i, const struct fs_dax_map *map)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end;

	if (map->off % FS_DAX_RANGE || !map->len || map->len > FS_DAX_RANGE || map->len % page ||
	    add_overflows(map->off, (uint64_t)FS_DAX_RANGE, &end) ||
	    end / i->store->block_size >= LBLK_END || !inode_is_reg(i))
		return -EINVAL;
	if (i->flags & FLAGS_NOT_MAPPED)
		return i->flags & EXT4_ENCRYPT_FL ? -ENOKEY : -EOPNOTSUPP;
	if (map->write && i->flags & EXT4_IMMUTABLE_FL)
		return -EPERM;
	return 0;
}

/* The range that is asked for, prepared; a new one has no pin yet. */
static int range_get(struct fs *fs, const struct fs_ctx *ctx, struct inode *i, uint64_t off,
		     struct dax_file **ret_file, struct dax_range **ret_range, bool *ret_changed)
{
	uint64_t bs = fs->store->block_size;
	struct hold hold = { .first = (uint32_t)(off / bs),
			     .end = (uint32_t)((off + FS_DAX_RANGE) / bs) };
	bool reserved = balloc_may_use_reserved(fs->store, ctx->uid, ctx->gid, ctx->uid == 0);
	struct dax_file *f = file_of(fs, i);
	struct dax_range *r = f ? range_at(f, hold.first) : NULL;
	struct hold_prepared p;
	int error;

	*ret_changed = false;
	if (!r) {
		error = hold_prepare(i, hold, reserved ? ALLOC_RESERVED_OK : 0, &p);
		if (error)
			return error;
		*ret_changed = p.changed;
		f = f ? f : file_add(fs, i);
		r = f ? range_add(fs, f, hold, &p) : NULL;
		if (!r && f && list_empty(&f->ranges)) {
			file_del(fs, f);
			inode_put(i); /* the caller has another one */
		}
	}
	*ret_file = f;
	*ret_range = r;
	return r ? 0 : -ENOMEM;
}

/* Where the range's blocks are; neighbours in the image are one run. */
static int list_runs(struct inode *i, const struct dax_range *r, struct fs_dax_map *map)
{
	uint64_t bs = i->store->block_size, base = i->store->bdev->fd_offset;
	uint32_t end = (uint32_t)MIN((map->off + map->len) / bs + ((map->off + map->len) % bs != 0),
				     (uint64_t)r->hold.end);
	struct fs_dax_run *run = calloc(FS_DAX_RANGE / bs, sizeof(*run));
	uint32_t n = 0;
	int error = run ? 0 : -ENOMEM;

	for (uint32_t lblk = r->hold.first; !error && lblk < end;) {
		uint64_t off = (lblk - r->hold.first) * bs;
		struct map_run m;

		error = map_lookup(i, lblk, end - lblk, &m);
		if (error)
			break;
		CHECK(!(m.flags & MAP_HOLE));
		lblk += m.count;
		if (n && run[n - 1].image_off + run[n - 1].len == base + m.pblk * bs)
			run[n - 1].len += m.count * bs;
		else
			run[n++] = (struct fs_dax_run){ .off = off,
							.image_off = base + m.pblk * bs,
							.len = m.count * bs };
	}
	if (error) {
		free(run);
		return error;
	}
	/* A last block that is larger than what was asked for. */
	run[n - 1].len = MIN(run[n - 1].len, map->len - run[n - 1].off);
	map->run = run;
	map->count = n;
	return 0;
}

static int stamp_write(struct fs *fs, const struct fs_ctx *ctx, struct inode *i)
{
	int error, stop_error;
	struct handle h;

	error = journal_start(fs->store->journal, CREDITS_INODE, &h);
	if (error)
		return error;
	inode_bump(i);
	inode_stamp(i, STAMP_MTIME | STAMP_CTIME);
	error = inode_write(&h, i);
	stop_error = journal_stop(&h);
	publish_inode(fs, ctx, INVAL_ATTR, i);
	return error ? error : stop_error;
}

/* Caller holds the lock exclusively. */
static int map_locked(struct fs *fs, const struct fs_ctx *ctx, struct inode *i,
		      struct fs_dax_map *map, bool *ret_changed)
{
	struct fs_dax_pin *pin = malloc(sizeof(*pin));
	int error = pin ? map_check(i, map) : -ENOMEM;

	if (!error && map->write)
		error = stamp_write(fs, ctx, i);
	if (!error) {
		pin->fs = fs;
		error = range_get(fs, ctx, i, map->off, &pin->file, &pin->range, ret_changed);
	}
	if (error) {
		free(pin);
		return error;
	}
	pin->range->pins++;
	map->pin = pin;
	/* Who caches what the guest is going to change sees it no longer than until now. */
	inode_bump(i);
	publish_bytes(fs, ctx, i, map->off, FS_DAX_RANGE);
	return list_runs(i, pin->range, map);
}

static int map_once(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		    struct fs_dax_map *map)
{
	bool changed = false;
	struct inode *i;
	uint32_t tid = 0;
	int error;

	error = node_get_write(fs, ctx, nodeid, &i);
	if (error)
		return error;
	error = map_locked(fs, ctx, i, map, &changed);
	tid = i->datasync_tid;
	node_put_write(i);
	return !error && changed ? fs_sync_tid(fs, tid) : error;
}

int fs_dax_map(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, struct fs_dax_map *map)
{
	unsigned int tries = 0;
	int error;

	map->pin = NULL;
	map->run = NULL;
	map->count = 0;
	do {
		error = fs_begin(fs, ctx);
		if (error)
			return error;
		error = map_once(fs, ctx, nodeid, map);
		fs_end(fs);
	} while (error == -ENOSPC && fs_make_room(fs, &tries));
	if (error) {
		fs_dax_unmap(map->pin);
		free(map->run);
		map->pin = NULL;
		map->run = NULL;
	}
	return error;
}

bool fs_dax_same(const struct fs_dax_pin *a, const struct fs_dax_pin *b)
{
	return a->range == b->range;
}

bool fs_dax_is_mapped(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid)
{
	struct inode *i;
	bool mapped;

	if (likely(!atomic_load(&fs->dax.count)) || node_get(fs, ctx, nodeid, &i))
		return false;
	mapped = dax_is_mapped(i);
	inode_put(i);
	return mapped;
}

/* ---- unmapping ---- */

/* Blocks that were there for the mapping alone. Caller holds the lock exclusively. */
static void release_spare(struct fs *fs, struct inode *i, const struct dax_range *r)
{
	struct hold spare = { .first = r->spare, .end = r->hold.end };
	int error;

	/* Deleted files lose all they have; frozen or read-only, what is preallocated stays. */
	if (spare.first >= spare.end || !i->links || atomic_load(&fs->store->readonly) ||
	    !gate_try_enter(&fs->gate))
		return;
	error = hold_release(i, spare);
	gate_leave(&fs->gate);
	if (error)
		log_warn("inode %u: blocks behind its end stay: %s", i->ino, strerror(-error));
}

void fs_dax_unmap(struct fs_dax_pin *pin)
{
	static const struct fs_ctx nobody;
	struct fs *fs;
	struct dax_range *r;
	struct inode *i;
	bool last = false;

	if (!pin)
		return;
	fs = pin->fs;
	r = pin->range;
	i = pin->file->inode;
	rwlock_write(&i->lock);
	/* What the guest wrote is in the image's page cache; the next flush is about it, too. */
	bdev_note_write(fs->store->bdev, 0);
	inode_bump(i);
	publish_bytes(fs, &nobody, i, (uint64_t)r->hold.first * fs->store->block_size,
		      FS_DAX_RANGE);
	if (!--r->pins) {
		release_spare(fs, i, r);
		list_del(&r->link);
		free(r);
		atomic_fetch_sub(&fs->dax.ranges, 1);
		last = list_empty(&pin->file->ranges);
	}
	if (last)
		file_del(fs, pin->file);
	free(pin);
	rwlock_unwrite(&i->lock);
	if (last && atomic_load(&i->state) & INODE_UNLINKED)
		inode_reap(fs, i, false);
	else if (last)
		inode_put(i);
}

/* ---- changes of a mapped file ---- */

int dax_may_grow(struct fs *fs, const struct inode *i, uint64_t size)
{
	struct dax_file *f = file_of(fs, i);
	uint64_t blocks = DIV_ROUND_UP(size, (uint64_t)fs->store->block_size);
	struct list *pos;

	if (likely(!f) || size <= i->size)
		return 0;
	list_for_each(pos, &f->ranges) {
		const struct dax_range *r = list_entry(pos, struct dax_range, link);

		if (r->hold.end < r->end && blocks > r->hold.end)
			return -ENOSPC;
	}
	return 0;
}

int dax_settle(struct fs *fs, struct inode *i, uint64_t old_size)
{
	struct dax_file *f = file_of(fs, i);
	struct list *pos;
	int error = 0;

	if (likely(!f) || i->size <= old_size)
		return 0;
	list_for_each(pos, &f->ranges) {
		struct dax_range *r = list_entry(pos, struct dax_range, link);

		if (!error)
			error = hold_settle(i, r->hold, old_size);
	}
	return error;
}

static int shrink(struct inode *i, struct dax_file *f, uint64_t size)
{
	struct hold *holds;
	uint32_t n = 0, count = 0;
	struct list *pos;
	int error;

	list_for_each(pos, &f->ranges)
		count++;
	holds = calloc(count, sizeof(*holds));
	if (!holds)
		return -ENOMEM;
	list_for_each(pos, &f->ranges)
		holds[n++] = list_entry(pos, struct dax_range, link)->hold;
	error = hold_truncate(i, size, holds, n);
	/* Cut off, they are there for the mappings alone. */
	list_for_each(pos, &f->ranges) {
		struct dax_range *r = list_entry(pos, struct dax_range, link);
		uint64_t eof = DIV_ROUND_UP(size, (uint64_t)i->store->block_size);

		if (eof < r->spare)
			r->spare = (uint32_t)MAX(eof, (uint64_t)r->hold.first);
	}
	free(holds);
	return error;
}

int dax_truncate(struct fs *fs, struct inode *i, uint64_t size)
{
	struct dax_file *f = file_of(fs, i);
	uint64_t old_size = i->size;
	int error;

	if (likely(!f))
		return inode_truncate(i, size);
	if (size > inode_size_max(i))
		return -EFBIG;
	if (size <= old_size)
		return shrink(i, f, size);
	error = dax_may_grow(fs, i, size);
	if (!error)
		error = inode_truncate(i, size);
	return error ? error : dax_settle(fs, i, old_size);
}

/* Of [off, end) the first part that is held throughout, or not at all. */
static uint64_t part_end(const struct inode *i, const struct dax_file *f, uint64_t off,
			 uint64_t end, bool *ret_held)
{
	uint64_t bs = i->store->block_size;
	struct list *pos;

	*ret_held = false;
	list_for_each(pos, &f->ranges) {
		const struct dax_range *r = list_entry(pos, struct dax_range, link);
		uint64_t first = r->hold.first * bs, last = r->hold.end * bs;

		if (off < first)
			return MIN(end, first);
		if (off < last) {
			*ret_held = true;
			return MIN(end, last);
		}
	}
	return end;
}

int dax_punch(struct fs *fs, struct inode *i, uint64_t off, uint64_t len)
{
	struct dax_file *f = file_of(fs, i);
	uint64_t bs = fs->store->block_size, end = off + len, next;
	int error = 0;

	if (likely(!f))
		return inode_punch(i, off, len);
	/* Blocks behind the end stay, and are zeros already. */
	end = MIN(end, ROUND_UP(i->size, bs));
	for (; !error && off < end; off = next) {
		bool held;

		next = part_end(i, f, off, end, &held);
		error = held ? hold_clear(i, off, next) : inode_punch(i, off, next - off);
	}
	return error;
}

int dax_zero_range(struct fs *fs, struct inode *i, uint64_t off, uint64_t len, bool keep)
{
	struct dax_file *f = file_of(fs, i);
	uint64_t end = off + len, next;
	int error = 0;

	if (likely(!f))
		return inode_zero_range(i, off, len, keep);
	if (!keep)
		error = dax_may_grow(fs, i, end);
	for (uint64_t at = off; !error && at < end; at = next) {
		bool held;

		next = part_end(i, f, at, end, &held);
		error = held ? hold_clear(i, at, next) : inode_zero_range(i, at, next - at, true);
	}
	return error || keep || end <= i->size ? error : dax_truncate(fs, i, end);
}

int dax_preallocate(struct fs *fs, struct inode *i, uint64_t off, uint64_t len, bool keep,
		    uint32_t alloc_flags)
{
	struct dax_file *f = file_of(fs, i);
	uint64_t bs = fs->store->block_size, old_size = i->size;
	struct list *pos;
	int error = 0;

	if (likely(!f))
		return inode_preallocate(i, off, len, keep, alloc_flags);
	if (!keep)
		error = dax_may_grow(fs, i, off + len);
	if (!error)
		error = inode_preallocate(i, off, len, keep, alloc_flags);
	if (!error)
		error = dax_settle(fs, i, old_size);
	/* What was asked for is there for more than the mapping. */
	list_for_each(pos, &f->ranges) {
		struct dax_range *r = list_entry(pos, struct dax_range, link);

		if (!error && off < r->hold.end * bs && off + len > r->spare * bs)
			r->spare = (uint32_t)MIN(DIV_ROUND_UP(off + len, bs), (uint64_t)r->end);
	}
	return error;
}

void dax_note_writes(struct fs *fs)
{
	if (unlikely(atomic_load(&fs->dax.ranges)))
		bdev_note_write(fs->store->bdev, 0);
}
