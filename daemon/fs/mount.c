/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Opening, closing and freezing of a filesystem.
 *
 * The gate: every change counts itself in and out of one of a few counters chosen by
 * its thread, so that the common case writes one cache line nobody else writes.
 * (1) A change counts itself in before it looks at "closed"; freezing sets "closed"
 *     before it looks at the counters. Both are sequentially consistent, hence a
 *     change either sees the gate closed or is waited for.
 * (2) A thread leaves through the counter it entered by: no counter is ever negative,
 *     and a sum of zero means that nobody is inside.
 */
#include "daemon/fs/fs_priv.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/store/alloc.h"

static _Atomic uint32_t gate_threads;
static _Thread_local uint32_t gate_thread; /* shard + 1, 0 = not yet chosen */

static struct gate_shard *gate_mine(struct gate *g)
{
	if (unlikely(!gate_thread))
		gate_thread = atomic_fetch_add(&gate_threads, 1) % GATE_SHARDS + 1;
	return &g->shards[gate_thread - 1];
}

static void gate_init(struct gate *g)
{
	atomic_init(&g->closed, false);
	mutex_init(&g->lock, LOCK_LEAF);
	cond_init(&g->changed);
	for (uint32_t i = 0; i < GATE_SHARDS; i++)
		atomic_init(&g->shards[i].inside, 0);
}

void gate_leave(struct gate *g)
{
	atomic_fetch_sub(&gate_mine(g)->inside, 1);
	if (unlikely(atomic_load(&g->closed))) {
		mutex_lock(&g->lock);
		cond_wake_all(&g->changed);
		mutex_unlock(&g->lock);
	}
}

bool gate_try_enter(struct gate *g)
{
	atomic_fetch_add(&gate_mine(g)->inside, 1);
	if (likely(!atomic_load(&g->closed)))
		return true;
	gate_leave(g);
	return false;
}

void gate_enter(struct gate *g)
{
	while (!gate_try_enter(g)) {
		mutex_lock(&g->lock);
		while (atomic_load(&g->closed))
			cond_wait(&g->changed, &g->lock);
		mutex_unlock(&g->lock);
	}
}

static void gate_open(struct gate *g)
{
	mutex_lock(&g->lock);
	atomic_store(&g->closed, false);
	cond_wake_all(&g->changed);
	mutex_unlock(&g->lock);
}

static bool gate_occupied(const struct gate *g)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < GATE_SHARDS; i++)
		sum += atomic_load(&g->shards[i].inside);
	return sum != 0;
}

int fs_begin(struct fs *fs, const struct fs_ctx *ctx)
{
	CHECK(ctx->session);
	if (ctx->session->readonly || atomic_load(&fs->store->readonly))
		return -EROFS;
	gate_enter(&fs->gate);
	if (likely(!atomic_load(&fs->store->readonly) && !ctx_is_aborted(ctx)))
		return 0;
	gate_leave(&fs->gate);
	return ctx_is_aborted(ctx) ? -EINTR : -EROFS;
}

void fs_end(struct fs *fs)
{
	gate_leave(&fs->gate);
}

bool fs_make_room(struct fs *fs, unsigned int *tries)
{
	uint64_t frees;

	if ((*tries)++ >= 2)
		return false;
	reaper_drain(fs);
	frees = atomic_load(&fs->store->frees);
	if (atomic_load(&fs->frees_synced) == frees)
		return false; /* nothing was freed since the last commit that we asked for */
	if (journal_sync(fs->store->journal))
		return false;
	atomic_store(&fs->frees_synced, frees);
	return true;
}

int fs_open_store(struct store *store, struct inval_bus *bus, const struct fs_opts *opts,
		  struct fs **ret_fs)
{
	struct fs *fs = aligned_alloc(64, ROUND_UP(sizeof(*fs), 64));
	int error;

	if (!fs)
		return -ENOMEM;
	memset(fs, 0, sizeof(*fs));
	fs->store = store;
	fs->bus = bus;
	fs->opts = *opts;
	gate_init(&fs->gate);
	turns_init(&fs->writes);
	mappers_init(&fs->mappers);
	dax_init(fs);
	mutex_init(&fs->rename_lock, LOCK_RENAME);
	mutex_init(&fs->session_lock, LOCK_SESSION);
	for (uint32_t i = 0; i < FS_SESSIONS_MAX; i++)
		atomic_init(&fs->sessions[i], NULL);
	atomic_init(&fs->frees_synced, UINT64_MAX);
	locks_init(&fs->locks);
	error = reaper_start(fs);
	if (error) {
		free(fs);
		return error;
	}
	*ret_fs = fs;
	return 0;
}

static int close_all(struct fs *fs, uint64_t *ret_print)
{
	int error;

	for (uint32_t i = 0; i < FS_SESSIONS_MAX; i++) {
		struct fs_session *s = atomic_load(&fs->sessions[i]);

		CHECK(!s || !atomic_load(&s->open));
	}
	/* Frozen, the reaper would wait for ever. */
	if (atomic_load(&fs->gate.closed))
		fs_thaw(fs);
	reaper_stop(fs, false);
	sessions_free(fs);
	mappers_fini(&fs->mappers);
	error = ret_print ? store_close_print(fs->store, ret_print) : store_close(fs->store);
	free(fs);
	return error;
}

int fs_close(struct fs *fs)
{
	return fs ? close_all(fs, NULL) : 0;
}

int fs_close_print(struct fs *fs, uint64_t *ret_print)
{
	return close_all(fs, ret_print);
}

void fs_destroy(struct fs *fs)
{
	if (!fs)
		return;
	gate_open(&fs->gate);
	reaper_stop(fs, true);
	sessions_free(fs);
	mappers_fini(&fs->mappers);
	store_destroy(fs->store);
	free(fs);
}

struct store *fs_store(struct fs *fs)
{
	return fs->store;
}

int fs_freeze(struct fs *fs)
{
	struct gate *g = &fs->gate;
	int error = 0;

	mutex_lock(&g->lock);
	if (atomic_load(&g->closed)) {
		mutex_unlock(&g->lock);
		return -EBUSY;
	}
	atomic_store(&g->closed, true);
	while (gate_occupied(g))
		cond_wait(&g->changed, &g->lock);
	mutex_unlock(&g->lock);

	/* The superblock says clean: who copies the image meanwhile copies an unmounted one. */
	if (!atomic_load(&fs->store->readonly))
		error = store_freeze(fs->store);
	if (error)
		fs_thaw(fs);
	return error;
}

void fs_thaw(struct fs *fs)
{
	struct gate *g = &fs->gate;
	int error = 0;

	if (!atomic_load(&fs->store->readonly))
		error = store_thaw(fs->store);
	if (error) {
		/* Changes behind a superblock that says clean would not be replayed after a crash. */
		log_error("thaw: the superblock cannot be written: %s: now read-only",
			  strerror(-error));
		journal_abort(fs->store->journal, error);
	}
	gate_open(g);
}

void fs_get_stats(struct fs *fs, struct fs_stats *ret_stats)
{
	ret_stats->dax_files = atomic_load(&fs->dax.count);
	ret_stats->dax_ranges = atomic_load(&fs->dax.ranges);
	ret_stats->nodes = nodes_total(fs);
	ret_stats->unlinked_open = atomic_load(&fs->unlinked);
	ret_stats->locks = atomic_load(&fs->locks.locks);
	ret_stats->lock_waiters = atomic_load(&fs->locks.waiters);
}
