/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Making things durable.
 *
 * A commit flushes the image, file data included, so one flush is usually enough. It
 * is not when data was written after the commit's last flush began: then the image says
 * so (dirty_seq beyond clean_seq) and is flushed once more.
 */
#include "daemon/fs/fs_priv.h"

#include "daemon/base/check.h"

/* Everything written before the call reaches the medium, if no flush since has done so. */
static int flush_data(struct fs *fs, uint64_t wanted)
{
	struct bdev *bdev = fs->store->bdev;

	if (fs->store->opts.no_barrier || atomic_load(&bdev->clean_seq) >= wanted)
		return 0;
	return bdev_flush(bdev);
}

int fs_sync_tid(struct fs *fs, uint32_t tid)
{
	struct journal *j = fs->store->journal;
	uint64_t wanted;
	int error = journal_error(j);

	dax_note_writes(fs);
	wanted = atomic_load(&fs->store->bdev->dirty_seq);
	if (error)
		return error == -EROFS ? -EROFS : -EIO;
	/*
	 * Also when corruption has made the store read-only: what was written before may
	 * wait for its commit, which goes on.
	 * 0: the inode was read from disk since its last change, which may not be committed.
	 */
	if (!tid)
		error = journal_sync(j);
	else if (!journal_tid_committed(j, tid))
		error = journal_commit_wait(j, tid);
	return error ? error : flush_data(fs, wanted);
}

int fs_dirsync(struct fs *fs, bool wanted, uint32_t tid, int error)
{
	if (error || likely(!wanted))
		return error;
	return fs_sync_tid(fs, tid);
}

/* What was committed by now needs no commit next time either. */
static void remember_synced(struct fs *fs, struct inode *i)
{
	struct journal_stats stats;

	if (!rwlock_trywrite(&i->lock))
		return;
	journal_get_stats(fs->store->journal, &stats);
	if (!i->sync_tid)
		i->sync_tid = stats.tid_committed;
	if (!i->datasync_tid)
		i->datasync_tid = stats.tid_committed;
	rwlock_unwrite(&i->lock);
}

int fs_fsync(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, bool data_only)
{
	struct inode *i;
	uint32_t tid;
	int error;

	error = node_get_read(fs, ctx, nodeid, &i);
	if (error)
		return error;
	tid = data_only ? i->datasync_tid : i->sync_tid;
	rwlock_unread(&i->lock);
	error = fs_sync_tid(fs, tid);
	if (!error && !tid)
		remember_synced(fs, i);
	inode_put(i);
	return error;
}

int fs_syncfs(struct fs *fs)
{
	return fs_sync_tid(fs, 0);
}
