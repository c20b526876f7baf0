/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The journal: atomic groups of buffer changes, jbd2 on disk (Linux
 * Documentation/filesystems/ext4/journal.rst, fs/jbd2).
 *
 * Words are jbd2's: a handle is one operation's part of a transaction; credits
 * are the buffers it may change. A transaction is RUNNING (handles join), LOCKED
 * (no new handle, waiting for the open ones), COMMITTING, FINISHED.
 *
 *	journal_start(j, credits, &h)
 *	    journal_get_write(&h, buf)	  before the first byte changes
 *	    ... change buf->data under whatever lock guards it ...
 *	    journal_dirty(&h, buf, off, len)
 *	journal_stop(&h)
 *
 * Commit of transaction T, in this order; each step's reason:
 *  1. T is locked; open handles finish; the store's precommit hook folds its
 *     counters into the superblock buffer inside T.
 *  2. Freeze: with no handle open, every buffer of T is copied. From here a new
 *     transaction runs and may change the same buffers: no copy-on-write states.
 *  3. Descriptor, revoke and copied blocks are written to the log.
 *  4. bdev_flush(): the log and all file data written inside T's handles (ordered
 *     data) are durable before the commit block can be.
 *  5. The commit block is written; bdev_flush(). T is now durable.
 *  6. Commit callbacks run (freed blocks become allocatable, waiters wake).
 *  7. The copies stay in memory as T's checkpoint set. They are written home
 *     (from the copies, never from the live buffers, which may hold uncommitted
 *     changes) when the log or the memory for copies runs short, by age, and at
 *     unmount; newest copy of a block only. Then bdev_flush(), and only then the
 *     log's tail moves in the journal superblock, itself flushed before the
 *     space is written again.
 *
 * Invariants
 * (1) No home block is written before the commit block of the transaction that
 *     changed it is durable.
 * (2) Log space is not reused before every block in it is durable at home and the
 *     moved tail is durable.
 * (3) A block freed as metadata is revoked in the transaction that frees it, and its
 *     older copies leave the checkpoint sets when that transaction commits; so
 *     neither recovery nor checkpoint writes over its next owner's data.
 * (4) After the first failed journal write or flush the journal is aborted for good:
 *     journal_start() is -EROFS, everyone waiting for a commit gets the error.
 * (5) An operation is never committed by halves: journal_stop() of a handle with an error
 *     inside (h->error: a journal call failed, or the caller noted that it cannot undo
 *     what it did) that has changed a buffer aborts the journal. Errors that a caller
 *     only returns, having left a consistent state, are not of this kind.
 * (6) dirty ranges are complete: bytes outside every journal_dirty() range since
 *     get_write are unchanged. (A redo record of byte ranges relies on it.)
 *
 * Without a journal (has_journal off) the same calls work: "commit" writes the
 * copies home and flushes; nothing is atomic, as on ext2.
 *
 * Threads: everything may be called by any thread; a handle belongs to one. One
 * commit thread inside. A handle may be started under inode locks (commit takes
 * none); group, buffer and leaf locks are taken inside handles. Waiting for a
 * commit with a handle open would deadlock: asserted.
 */
#ifndef KFS_JOURNAL_JOURNAL_H
#define KFS_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/list.h"
#include "daemon/base/util.h"

struct bdev;
struct buf;
struct cache;
struct journal;
struct transaction;

struct handle {
	struct journal *journal;
	struct transaction *txn;
	uint32_t credits; /* buffers this handle may still add; the rest is given back at stop */
	uint32_t tid;	  /* its transaction; still valid after stop */
	int error;	  /* first failure inside; stop returns it */
	bool changed;	  /* in the current transaction */
};

/* Run once @T is durable (error 0) or will never be (error < 0). No lock held; must not start a handle. */
struct commit_cb {
	struct list link;
	void (*fn)(struct commit_cb *cb, int error);
};

/* Where the log's blocks lie: physical block of log block @lblk. 0 = corrupt. */
struct journal_map {
	uint64_t (*lookup)(void *arg, uint32_t lblk);
	void *arg;
};

struct journal_opts {
	uint32_t commit_interval_ms; /* 5000 */
	uint32_t copies_bytes_max;   /* memory for checkpoint copies before they are written home */
	bool readonly;		     /* no handle can be started, the log is not even looked at */
	bool no_barrier;	     /* nobarrier: no bdev_flush(); for scratch images only */
	bool csum_v3;	 /* filesystem has metadata_csum: write checksums v3, as ext4 does */
	bool want_64bit; /* filesystem has 64bit: block numbers in the log take 64 bits */
	/* The store's last chance to change buffers of a closing transaction. */
	int (*precommit)(void *arg, struct handle *h);
	/* Called once when the journal aborts: log, set EXT4_ERROR_FS, errors= policy. */
	void (*aborted)(void *arg, int error);
	/*
	 * Before a buffer's or data block's committed contents are overwritten or
	 * freed: where snapshots copy the old block away. NULL = none.
	 */
	int (*before_overwrite)(void *arg, struct handle *h, uint64_t pblk, uint32_t count);
	void *arg;
};

struct journal_stats {
	uint64_t commits, commits_forced, blocks_logged, revokes, checkpoints, blocks_home;
	uint64_t handles, handle_waits, log_blocks, log_blocks_free;
	uint64_t commit_ns_total, commit_ns_max, freeze_ns_max;
	uint64_t credits_overdrawn; /* buffers added beyond a handle's credits: an estimate too low */
	uint32_t tid_running, tid_committed;
	int abort_error;
};

struct journal_recovery_info {
	bool replayed;
	uint32_t transactions, blocks, revoked;
	uint32_t start_sequence, end_sequence;
	int log_errno; /* negative: the error that aborted the journal last time; 0 = none */
};

/*
 * Replay the log found through @map onto the image (three passes: scan, revoke,
 * replay), then mark it empty. Works on the raw device before any cache exists.
 * -EUCLEAN / -EBADMSG with *ret_what naming the block and field when the log is
 * corrupt; -EOPNOTSUPP for a feature (or a fast-commit area that holds commits)
 * we cannot replay; the remedy for all of them is e2fsck. Everything is verified
 * before the first block is written. A read-only device with something to replay
 * is -EROFS. @check_only: true = only say (ret_info->replayed) whether there is
 * something to replay. @ret_what may be NULL; it is set only on failure.
 *
 * The caller keeps the order: recover; clear, then set again when writing
 * starts, needs_recovery in the filesystem's superblock, flushed before the
 * first handle; and clear it after journal_close(). A log_errno means that
 * EXT4_ERROR_FS must be set: journal_open() forgets it.
 */
MUST_USE int journal_recover(struct bdev *bdev, uint32_t block_size, const struct journal_map *map,
			     uint32_t log_blocks, bool check_only,
			     struct journal_recovery_info *ret_info, const char **ret_what);
/* Open a clean (just recovered) log and start the commit thread. @map NULL = no journal. */
MUST_USE int journal_open(struct cache *cache, const struct journal_map *map, uint32_t log_blocks,
			  const struct journal_opts *opts, struct journal **ret_journal);
/*
 * Commit, write everything home, mark the log empty, stop, free. Returns the
 * first error. No handle may be open. NULL is fine. The cache must outlive it.
 */
MUST_USE int journal_close(struct journal *j);
/* Drop everything without writing (tests that simulate a crash; aborted mounts). */
void journal_destroy(struct journal *j);

/* The largest number of credits one handle may ask for. */
uint32_t journal_credits_max(const struct journal *j);

/* -EROFS when aborted or read-only, -ENOSPC-never: it waits for log space. */
MUST_USE int journal_start(struct journal *j, uint32_t credits, struct handle *h);
/*
 * Make room for @credits more. 0 = extended in the same transaction. 1 = the
 * transaction had no room and the handle was restarted in a new one: everything
 * so far is atomic on its own, the caller must have left a consistent state.
 */
MUST_USE int journal_extend(struct handle *h, uint32_t credits);
/* Close the handle's part here and go on in a (perhaps new) transaction with @credits. */
MUST_USE int journal_restart(struct handle *h, uint32_t credits);
/* What was done in the handle cannot be undone: sets h->error, unless there is one. */
void journal_fail(struct handle *h, int error);
/* Always ends the handle. Returns h->error or the abort error. See invariant (5). */
int journal_stop(struct handle *h);

/* Declare: @b's contents are about to change. Adds it to the transaction. */
MUST_USE int journal_get_write(struct handle *h, struct buf *b);
/* The same for a block allocated in this handle: there are no old contents to keep. */
MUST_USE int journal_get_create(struct handle *h, struct buf *b);
/* Bytes [off, off+len) changed. The caller has already recomputed the block's checksum. */
void journal_dirty(struct handle *h, struct buf *b, uint32_t off, uint32_t len);
/*
 * Metadata blocks were freed in this handle: revoke them in the log and forget
 * cached contents. Costs no credit. Data blocks do not need it.
 */
MUST_USE int journal_forget(struct handle *h, uint64_t pblk, uint32_t count);

/* Run @cb when the handle's transaction ends. */
void journal_on_commit(struct handle *h, struct commit_cb *cb);
uint32_t handle_tid(const struct handle *h);

/* Is @tid committed (durable)? Comparison is circular as in jbd2. */
bool journal_tid_committed(struct journal *j, uint32_t tid);
/* Ask for @tid's commit and wait. Concurrent callers share it. No handle or lock held. */
MUST_USE int journal_commit_wait(struct journal *j, uint32_t tid);
/* Commit whatever runs and wait; afterwards everything before the call is durable. */
MUST_USE int journal_sync(struct journal *j);
/* Ask for a commit without waiting. */
void journal_kick(struct journal *j);
/* Commit and write everything home: the image is self-contained (freeze, unmount). */
MUST_USE int journal_checkpoint_all(struct journal *j);
/* Refuse new handles for ever with @error; wake all waiters with it. */
void journal_abort(struct journal *j, int error);
int journal_error(const struct journal *j);
bool journal_has_log(const struct journal *j);
void journal_get_stats(struct journal *j, struct journal_stats *ret_stats);

#endif
