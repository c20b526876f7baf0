/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inodes without links: kept while a session knows them, then deleted. Small ones on
 * the thread that forgot them last; large ones, and all while the filesystem is
 * frozen, by the reaper thread, so that a flood of forgets does not hold up requests.
 *
 * Such an inode is on the orphan list from the moment of its last unlink. If we die,
 * recovery or the next mount finishes it. A deletion that failed for want of memory, room
 * or a working device is tried again by the reaper, ever more rarely, and a last time when
 * the filesystem is closed; what is left then is an orphan still.
 */
#include "daemon/fs/fs_priv.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/base/stats.h"
#include "daemon/base/util.h"
#include "daemon/store/alloc.h"

#define RETRY_MS_MIN UINT64_C(20)
#define RETRY_MS_MAX UINT64_C(60000)

struct reap_item {
	struct reap_item *next;
	struct inode *inode; /* a reference */
};

void inode_mark_unlinked(struct fs *fs, struct inode *i)
{
	CHECK(!i->links);
	CHECK(rwlock_is_write_locked(&i->lock));
	if (atomic_fetch_or(&i->state, INODE_UNLINKED) & INODE_UNLINKED)
		return;
	inode_ref(i);
	atomic_fetch_add(&fs->unlinked, 1);
}

void inode_clear_unlinked(struct fs *fs, struct inode *i)
{
	CHECK(rwlock_is_write_locked(&i->lock));
	if (!(atomic_fetch_and(&i->state, ~(uint32_t)INODE_UNLINKED) & INODE_UNLINKED))
		return;
	atomic_fetch_sub(&fs->unlinked, 1);
	inode_put(i); /* never the last: whoever holds the lock has a reference */
}

static bool is_transient(int error)
{
	return error == -ENOMEM || error == -ENOSPC || error == -EIO;
}

/* Takes the reference, if there is room for one more. */
static bool keep_failed(struct reaper *r, struct inode *i)
{
	bool kept;

	mutex_lock(&r->lock);
	kept = r->failed_count < REAP_FAILED_MAX;
	if (kept)
		r->failed[r->failed_count++] = i;
	if (kept && r->failed_count == 1) {
		r->retry_ms = RETRY_MS_MIN;
		r->retry_at_ns = stats_now_ns() + RETRY_MS_MIN * 1000000;
		cond_wake_one(&r->work);
	}
	mutex_unlock(&r->lock);
	return kept;
}

/* Caller holds the lock exclusively. */
static int delete_try(struct fs *fs, struct inode *i)
{
	int error = extents_let_go(fs, i);

	return error ? error : inode_delete_try(i);
}

void inode_delete_or_retry(struct fs *fs, struct inode *i)
{
	uint32_t ino = i->ino;
	int error = delete_try(fs, i);
	bool again = error && is_transient(error) && !atomic_load(&fs->store->readonly);

	rwlock_unwrite(&i->lock);
	if (again)
		again = keep_failed(&fs->reaper, i);
	if (!again)
		inode_put(i);
	if (error && !atomic_load(&fs->store->readonly))
		log_error("inode %u: deleting it failed: %s: %s", ino, strerror(-error),
			  again ? "it is tried again" : "the next mount or e2fsck will finish it");
}

static bool is_big(const struct inode *i)
{
	return i->blocks / (i->store->block_size / 512) > REAP_INLINE_BLOCKS;
}

/*
 * The decision and the deletion, under the exclusive lock (fs_priv.h, invariant (3)).
 * Takes the caller's reference. False: it is large and @inline_only, nothing was done.
 */
static bool try_reap(struct fs *fs, struct inode *i, bool inline_only)
{
	rwlock_write(&i->lock);
	if (i->links || !(atomic_load(&i->state) & INODE_UNLINKED) || dax_is_mapped(i) ||
	    nodes_known(fs, inode_nodeid(i))) {
		node_put_write(i);
		return true;
	}
	if (atomic_load(&fs->store->readonly)) {
		/* Aborted since: the orphan list on disk remembers it. */
		inode_clear_unlinked(fs, i);
		node_put_write(i);
		return true;
	}
	if (inline_only && is_big(i)) {
		rwlock_unwrite(&i->lock);
		return false;
	}
	inode_bump(i);
	publish_inode(fs, NULL, INVAL_INODE_GONE, i);
	inode_clear_unlinked(fs, i);
	inode_delete_or_retry(fs, i);
	return true;
}

void inode_reap_later(struct fs *fs, struct inode *i)
{
	struct reaper *r = &fs->reaper;
	struct reap_item *item = malloc(sizeof(*item));

	if (!item) {
		/* No memory to remember it: here and now, however long it takes. */
		gate_enter(&fs->gate);
		(void)try_reap(fs, i, false);
		gate_leave(&fs->gate);
		return;
	}
	item->next = NULL;
	item->inode = i;
	mutex_lock(&r->lock);
	*r->tail = item;
	r->tail = &item->next;
	cond_wake_one(&r->work);
	mutex_unlock(&r->lock);
}

void inode_reap(struct fs *fs, struct inode *i, bool inside)
{
	bool done;

	if (!inside && !gate_try_enter(&fs->gate)) {
		inode_reap_later(fs, i);
		return;
	}
	done = try_reap(fs, i, true);
	if (!inside)
		gate_leave(&fs->gate);
	if (!done)
		inode_reap_later(fs, i);
}

void node_forgotten(struct fs *fs, uint64_t nodeid)
{
	struct inode *i;

	if (nodeid == FS_ROOT_NODEID)
		return;
	i = inode_find(fs->store, (uint32_t)nodeid);
	if (!i)
		return;
	if (i->generation != (uint32_t)(nodeid >> 32)) {
		inode_put(i);
		return;
	}
	if (atomic_load(&i->state) & INODE_UNLINKED) {
		inode_reap(fs, i, false);
		return;
	}
	/* Blocks set aside for its next write go back; if somebody uses it, they do so later. */
	if (rwlock_trywrite(&i->lock)) {
		if (i->resv && !nodes_known(fs, nodeid))
			balloc_release_resv(i);
		rwlock_unwrite(&i->lock);
	}
	inode_put(i);
}

/* ---- the thread ----------------------------------------------------------- */

static struct reap_item *reaper_take(struct reaper *r)
{
	struct reap_item *item = r->head;

	if (item) {
		r->head = item->next;
		if (!r->head)
			r->tail = &r->head;
	}
	return item;
}

/* 0: gone, or not ours to delete any more. */
static int retry_one(struct fs *fs, struct inode *i)
{
	int error = 0;

	gate_enter(&fs->gate);
	rwlock_write(&i->lock);
	if (!atomic_load(&fs->store->readonly))
		error = delete_try(fs, i);
	if (atomic_load(&fs->store->readonly))
		error = 0; /* aborted: the orphan list on disk remembers it */
	if (error && !is_transient(error)) {
		log_error(
			"inode %u: deleting it failed: %s: the next mount or e2fsck will finish it",
			i->ino, strerror(-error));
		error = 0;
	}
	rwlock_unwrite(&i->lock);
	gate_leave(&fs->gate);
	return error;
}

/*
 * Each that is there now, once; those that fail again stay. Others may be added meanwhile,
 * behind. Caller holds the lock, which is given up in between. The last error, or 0.
 */
static int retry_all(struct fs *fs)
{
	struct reaper *r = &fs->reaper;
	uint32_t count = r->failed_count, kept = 0;
	int last = 0;

	for (uint32_t k = 0; k < count && !r->discard; k++) {
		struct inode *i = r->failed[kept];
		int error;

		mutex_unlock(&r->lock);
		error = retry_one(fs, i);
		if (!error)
			inode_put(i);
		mutex_lock(&r->lock);
		if (error) {
			last = error;
			kept++;
			continue;
		}
		r->failed_count--;
		memmove(&r->failed[kept], &r->failed[kept + 1],
			(r->failed_count - kept) * sizeof(*r->failed));
	}
	/* Something went: the want may be over. */
	r->retry_ms = kept < count ? RETRY_MS_MIN : MIN(2 * r->retry_ms, RETRY_MS_MAX);
	r->retry_at_ns = stats_now_ns() + r->retry_ms * 1000000;
	return last;
}

/* The end of the thread: a last attempt. Nobody adds to them any more. */
static void retry_last(struct fs *fs)
{
	struct reaper *r = &fs->reaper;
	int error;

	mutex_lock(&r->lock);
	error = r->discard ? 0 : retry_all(fs);
	mutex_unlock(&r->lock);
	if (error)
		log_error(
			"%u unlinked inodes are not deleted: %s: the next mount or e2fsck will do it",
			r->failed_count, strerror(-error));
	for (uint32_t k = 0; k < r->failed_count; k++)
		inode_put(r->failed[k]);
	r->failed_count = 0;
}

/* Until there is work, a retry is due, or the end. Caller holds the lock. */
static void reaper_wait(struct reaper *r)
{
	struct timespec at = { .tv_sec = (time_t)(r->retry_at_ns / 1000000000),
			       .tv_nsec = (long)(r->retry_at_ns % 1000000000) };

	if (!r->failed_count)
		cond_wait(&r->work, &r->lock);
	else
		(void)cond_wait_until(&r->work, &r->lock, &at); /* the caller looks at the time */
}

/* One item off the queue; its memory is freed. No lock held. */
static void reap_one(struct fs *fs, struct reap_item *item, bool discard)
{
	if (discard) {
		rwlock_write(&item->inode->lock);
		inode_clear_unlinked(fs, item->inode);
		node_put_write(item->inode);
	} else {
		gate_enter(&fs->gate);
		(void)try_reap(fs, item->inode, false);
		gate_leave(&fs->gate);
	}
	free(item);
}

static void *reaper_main(void *arg)
{
	struct fs *fs = arg;
	struct reaper *r = &fs->reaper;

	mutex_lock(&r->lock);
	for (;;) {
		struct reap_item *item = reaper_take(r);
		bool discard = r->discard;

		if (!item && !r->stop && r->failed_count && stats_now_ns() >= r->retry_at_ns) {
			r->busy = true;
			(void)retry_all(fs); /* each was reported when it failed first */
			continue;
		}
		if (!item) {
			r->busy = false;
			cond_wake_all(&r->idle);
			if (r->stop)
				break;
			reaper_wait(r);
			continue;
		}
		r->busy = true;
		mutex_unlock(&r->lock);
		reap_one(fs, item, discard);
		mutex_lock(&r->lock);
	}
	mutex_unlock(&r->lock);
	retry_last(fs);
	return NULL;
}

int reaper_start(struct fs *fs)
{
	struct reaper *r = &fs->reaper;
	int error;

	mutex_init(&r->lock, LOCK_LEAF);
	cond_init(&r->work);
	cond_init(&r->idle);
	r->head = NULL;
	r->tail = &r->head;
	error = pthread_create(&r->thread, NULL, reaper_main, fs);
	if (error)
		return -error;
	(void)pthread_setname_np(r->thread, "kfs-reaper"); /* a name for top(1) only */
	r->started = true;
	return 0;
}

void reaper_stop(struct fs *fs, bool discard)
{
	struct reaper *r = &fs->reaper;

	if (!r->started)
		return;
	mutex_lock(&r->lock);
	r->stop = true;
	r->discard = discard;
	cond_wake_all(&r->work);
	mutex_unlock(&r->lock);
	(void)pthread_join(r->thread, NULL); /* fails only for threads that are not ours */
	r->started = false;
}

void reaper_drain(struct fs *fs)
{
	struct reaper *r = &fs->reaper;

	mutex_lock(&r->lock);
	/* Frozen: the reaper waits for the thaw, and so would we. */
	while ((r->head || r->busy) && !atomic_load(&fs->gate.closed))
		cond_wait(&r->idle, &r->lock);
	mutex_unlock(&r->lock);
}
