/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where bytes of files lie, told to whoever reads them without asking us, and taken back before it changes.
 *
 * (1) A fill says what the map says while the inode's lock is held, shared; what was said is taken back while it is held
 *     exclusively, before the map changes. So the tables never say what the map does not.
 * (2) Only written blocks are told, and no byte beyond the end: what lies behind it in the last block may be anything,
 *     and the kernel's size may be ahead of ours.
 * (3) A read that has learned where a block is may still be going on when it was taken back. A kernel that asks for a
 *     truncation or a fallocate(2) keeps its own reads out until it is answered (i_rwsem, invalidate_lock), and it forgets
 *     a file only when nobody reads it. Everything else has to wait: until the drainer has seen the end of such reads, no
 *     block that was freed is given to anybody (balloc_drain_begin()). What that kernel deletes it has let go of; but it
 *     may still read what others delete, for it holds inodes that nobody counted: those that its BPF programs named.
 * (4) Reading without us moves no access time. So nothing is told of a file whose access time the next read would move,
 *     and what is told holds until one would.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/check.h"
#include "daemon/block/bdev.h"
#include "daemon/fs/fs_priv.h"
#include "daemon/store/alloc.h"
#include "daemon/store/map.h"

/* What of a map one read tells. */
#define FILL_RUNS_MAX 8
/* Longest run looked for, in blocks: longer ones are told when they are read. */
#define FILL_BLOCKS_MAX 65536
#define NSEC_PER_SEC UINT64_C(1000000000)

/* Their bytes are not simply in their blocks, or are none of the file's contents. */
#define FLAGS_NOT_TOLD                                                                             \
	(EXT4_ENCRYPT_FL | EXT4_COMPR_FL | EXT4_JOURNAL_DATA_FL | EXT4_EA_INODE_FL |               \
	 EXT4_VERITY_FL | EXT4_INLINE_DATA_FL)

/* Until when reading @i moves no access time: CLOCK_BOOTTIME; 0 = for ever. False: the next read does. */
static bool atime_rests(const struct fs *fs, const struct inode *i, uint64_t *ret_until_ns)
{
	uint64_t left_s = atime_rests_s(fs, i);
	struct timespec now;

	*ret_until_ns = 0;
	if (left_s == 0 || left_s == UINT64_MAX)
		return left_s;
	(void)clock_gettime(CLOCK_BOOTTIME, &now); /* that clock cannot fail */
	*ret_until_ns = ((uint64_t)now.tv_sec + left_s) * NSEC_PER_SEC;
	return true;
}

/* Told is the whole run, not just what was read. */
void extents_tell(struct fs *fs, const struct fs_ctx *ctx, struct inode *i, uint64_t off,
		  uint64_t len)
{
	struct inval_event ev = { .kind = INVAL_FILL_EXTENT };
	uint64_t bs = fs->store->block_size, end;
	struct map_run run;

	if (likely(!inval_wanted(fs->bus, INVAL_FILL_EXTENT)))
		return;
	if (!inode_is_reg(i) || inline_has(i) || (i->flags & FLAGS_NOT_TOLD) || off >= i->size ||
	    !atime_rests(fs, i, &ev.until_ns))
		return;
	ev.nodeid = inode_nodeid(i);
	ev.version = atomic_load(&i->version);
	ev.origin = ctx_origin(ctx);
	end = off + MIN(len, i->size - off);
	off = ROUND_DOWN(off, bs);
	for (int k = 0; k < FILL_RUNS_MAX && off < end && off / bs < LBLK_END; k++) {
		if (map_lookup(i, (uint32_t)(off / bs), FILL_BLOCKS_MAX, &run))
			return; /* who reads it is told */
		ev.off = off;
		ev.len = MIN(run.count * bs, i->size - off);
		ev.image_off = run.pblk * bs;
		if (!run.flags)
			inval_publish(fs->bus, &ev);
		off += run.count * bs;
	}
}

/* ---- taking back ---- */

struct fs_drain {
	struct drain drain;
	struct store *store;
};

void fs_set_drainer(struct fs *fs, struct fs_drainer *drainer)
{
	atomic_store(&fs->drainer, drainer);
}

void fs_drained(struct fs_drain *d)
{
	balloc_drain_end(d->store, &d->drain);
	free(d);
}

/* Nothing that is freed from now on is reused before reads of @i have ended. */
static int drain_begin(struct fs_drainer *drainer, struct inode *i)
{
	struct fs_drain *d = malloc(sizeof(*d));
	int error;

	if (!d)
		return -ENOMEM;
	d->store = i->store;
	balloc_drain_begin(i->store, &d->drain);
	error = drainer->drain(drainer, inode_nodeid(i), d);
	if (error)
		fs_drained(d);
	return error;
}

int extents_take_back(struct fs *fs, const struct fs_ctx *ctx, struct inode *i,
		      bool kernel_holds_file)
{
	struct fs_drainer *drainer = atomic_load(&fs->drainer);

	CHECK(rwlock_is_write_locked(&i->lock));
	if (likely(!inval_wanted(fs->bus, INVAL_MAP)))
		return 0;
	publish_inode(fs, ctx, INVAL_MAP, i);
	/*
	 * Looked at after they were taken back: one that is aborted later was still keeping reads out then, and those that
	 * begin now learn nothing.
	 */
	if (!drainer ||
	    (kernel_holds_file && ctx->session == drainer->session && !ctx_is_aborted(ctx)))
		return 0;
	return drain_begin(drainer, i);
}

int extents_let_go(struct fs *fs, struct inode *i)
{
	struct fs_drainer *drainer = atomic_load(&fs->drainer);

	CHECK(rwlock_is_write_locked(&i->lock));
	if (likely(!drainer || !inval_wanted(fs->bus, INVAL_MAP)) || !inode_is_reg(i) ||
	    !sessions_beside(fs, drainer->session))
		return 0;
	publish_inode(fs, NULL, INVAL_MAP, i);
	return drain_begin(drainer, i);
}
