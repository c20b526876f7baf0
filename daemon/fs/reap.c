/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inodes without links: kept while a session knows them, then deleted. Small ones on
 * the thread that forgot them last; large ones, and all while the filesystem is
 * frozen, by the reaper thread, so that a flood of forgets does not hold up requests.
 *
 * Such an inode is on the orphan list from the moment of its last unlink. If we die or
 * the deletion fails, recovery or the next mount finishes it.
 */
#include "daemon/fs/fs_priv.h"

#include <stdlib.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/store/alloc.h"

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
	uint32_t ino = i->ino;
	int error;

	rwlock_write(&i->lock);
	if (i->links || !(atomic_load(&i->state) & INODE_UNLINKED) ||
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
	error = inode_delete(i);
	if (error && !atomic_load(&fs->store->readonly))
		log_error("inode %u: deleting it failed: %s: e2fsck will finish it", ino,
			  strerror(-error));
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

static void *reaper_main(void *arg)
{
	struct fs *fs = arg;
	struct reaper *r = &fs->reaper;

	mutex_lock(&r->lock);
	for (;;) {
		struct reap_item *item = reaper_take(r);
		bool discard = r->discard;

		if (!item) {
			r->busy = false;
			cond_wake_all(&r->idle);
			if (r->stop)
				break;
			cond_wait(&r->work, &r->lock);
			continue;
		}
		r->busy = true;
		mutex_unlock(&r->lock);
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
		mutex_lock(&r->lock);
	}
	mutex_unlock(&r->lock);
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
