// SPDX-License-Identifier: GPL-2.0-only
/*
 * The journal's life: opening, the commit thread's loop, waiting for commits,
 * abort, closing.
 *
 * Abort is absorbing. The first failure is kept in journal->error; the running
 * transaction is locked for good, so no handle starts; all waiters wake with the
 * error; the commit thread tells the callbacks and notes the error in the log's
 * superblock. Copies and buffers of transactions that never became durable stay
 * pinned until journal_close(), so that readers do not see older contents.
 */
#include "daemon/journal/journal_priv.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"

#define COPIES_BYTES_DEFAULT (64u << 20)
#define COMMIT_INTERVAL_DEFAULT_MS 5000
/* Memory alone bounds a transaction where there is no log. */
#define CREDITS_MIN 128u
/* Copies go home after this long even if nothing presses. */
#define CHECKPOINT_AGE_NS 30000000000ULL

enum work { WORK_COMMIT, WORK_CHECKPOINT_ALL, WORK_CHECKPOINT_OLD, WORK_ABORT, WORK_QUIT };

uint64_t journal_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

int journal_flush_device(struct journal *j)
{
	return j->opts.no_barrier ? 0 : bdev_flush(j->bdev);
}

/* ---- the commit thread ---------------------------------------------------- */

void journal_request_commit_locked(struct journal *j, bool forced)
{
	struct transaction *t = atomic_load(&j->running);

	if (atomic_load(&t->state) & TXN_LOCKED)
		return;
	j->commit_requested = true;
	j->commit_forced |= forced;
	cond_wake_all(&j->work_cond);
}

/* When the oldest copies should go home; UINT64_MAX = there are none. */
static uint64_t checkpoint_due_ns(const struct journal *j)
{
	const struct list *first = j->ckpt.sets.next;

	if (!j->log || first == &j->ckpt.sets)
		return UINT64_MAX;
	return list_entry(first, struct ckpt_set, link)->made_ns + CHECKPOINT_AGE_NS;
}

/*
 * Somebody wants a commit of a transaction that nobody joined: nothing to commit.
 * If what was kept for another is in the way, that one came in elsewhere.
 */
static void drop_request_locked(struct journal *j, struct transaction *t)
{
	if (!j->commit_requested)
		return;
	j->commit_requested = false;
	if (j->credits_kept == 0)
		return;
	atomic_fetch_sub(&t->state, j->credits_kept);
	j->credits_kept = 0;
	cond_wake_all(&j->start_cond);
}

/* Something to do now? Otherwise *ret_until says when to look again. */
static bool find_work_locked(struct journal *j, enum work *ret_work, uint64_t *ret_until)
{
	struct transaction *t = atomic_load(&j->running);
	bool handles = txn_handles(atomic_load(&t->state)) > 0;
	bool checkpoint = j->checkpoint_wanted != j->checkpoint_done;
	bool uncommitted = checkpoint && !journal_tid_committed(j, j->checkpoint_tid);
	uint64_t now = journal_now_ns();

	*ret_until = UINT64_MAX;
	if (j->discarding || (atomic_load(&j->error) && j->abort_handled)) {
		*ret_work = WORK_QUIT;
		return j->closing || j->discarding;
	}
	if (atomic_load(&j->error)) {
		*ret_work = WORK_ABORT;
		return true;
	}
	*ret_work = WORK_COMMIT;
	if (handles && (j->commit_requested || uncommitted || now >= j->commit_due_ns))
		return true;
	if (!handles)
		drop_request_locked(j, t);
	*ret_work = checkpoint ? WORK_CHECKPOINT_ALL : WORK_QUIT;
	if (checkpoint || j->closing)
		return true;
	*ret_work = WORK_CHECKPOINT_OLD;
	if (now >= checkpoint_due_ns(j))
		return true;
	if (now >= j->commit_due_ns)
		j->commit_due_ns = now + j->opts.commit_interval_ms * 1000000ULL;
	*ret_until = MIN(j->commit_due_ns, checkpoint_due_ns(j));
	return false;
}

static enum work wait_for_work(struct journal *j)
{
	enum work work;
	uint64_t until;

	mutex_lock(&j->lock);
	while (!find_work_locked(j, &work, &until)) {
		struct timespec deadline = { .tv_sec = (time_t)(until / 1000000000ULL),
					     .tv_nsec = (long)(until % 1000000000ULL) };

		if (until == UINT64_MAX)
			cond_wait(&j->work_cond, &j->lock);
		else
			(void)cond_wait_until(&j->work_cond, &j->lock, &deadline);
	}
	mutex_unlock(&j->lock);
	return work;
}

/* The number that the next commit block will carry. Nothing is being committed. */
static uint32_t tid_next(const struct journal *j)
{
	return atomic_load(&j->tid_committed) + 1;
}

static int checkpoint_all(struct journal *j)
{
	uint64_t wanted;
	int err = 0;

	mutex_lock(&j->lock);
	wanted = j->checkpoint_wanted;
	mutex_unlock(&j->lock);
	if (j->log) {
		err = ckpt_write(j, UINT32_MAX, tid_next(j));
		if (!err)
			err = ckpt_mark_empty(j, tid_next(j));
	}
	if (err)
		return err;
	mutex_lock(&j->lock);
	j->checkpoint_done = wanted;
	if (j->log)
		j->stats.log_blocks_free = log_circle(j->log);
	cond_wake_all(&j->done_cond);
	mutex_unlock(&j->lock);
	return 0;
}

/*
 * After a commit: make room before somebody has to wait for it. While others
 * already wait for a commit, only when room is really short.
 */
static int checkpoint_some(struct journal *j)
{
	uint64_t bytes = j->ckpt.pool.bytes - j->ckpt.pool.bytes_spare;
	uint32_t circle, low;
	bool hurry;

	if (!j->log)
		return 0;
	if (bytes > j->opts.copies_bytes_max)
		return ckpt_write(j, UINT32_MAX, tid_next(j));
	mutex_lock(&j->lock);
	hurry = j->commit_requested;
	mutex_unlock(&j->lock);
	circle = log_circle(j->log);
	low = hurry ? circle / 3 : circle / 2;
	if (ckpt_log_free(j) + j->log_freed >= low)
		return 0;
	return ckpt_write(j, circle - circle / 4, tid_next(j));
}

/* What waits for ever otherwise; the note on the medium is tried once. */
static void handle_abort(struct journal *j)
{
	struct transaction *t = atomic_load(&j->running);
	int error = atomic_load(&j->error);

	mutex_lock(&j->lock);
	txn_wait_updates_locked(j, t);
	mutex_unlock(&j->lock);
	txn_run_callbacks(t, error);
	if (j->log) {
		j->log->sb.s_errno = cpu_to_be32((uint32_t)error);
		(void)log_super_write(j->log); /* the device may be gone; nothing depends on it */
		(void)bdev_flush(j->bdev);
	}
	mutex_lock(&j->lock);
	j->abort_handled = true;
	mutex_unlock(&j->lock);
}

static void *commit_thread(void *arg)
{
	struct journal *j = arg;
	bool quit = false;

	while (!quit) {
		int err = 0;

		switch (wait_for_work(j)) {
		case WORK_COMMIT:
			err = commit_transaction(j);
			if (!err)
				err = checkpoint_some(j);
			break;
		case WORK_CHECKPOINT_ALL: err = checkpoint_all(j); break;
		case WORK_CHECKPOINT_OLD: err = ckpt_write(j, UINT32_MAX, tid_next(j)); break;
		case WORK_ABORT: handle_abort(j); break;
		case WORK_QUIT: quit = true; break;
		}
		if (err)
			journal_abort(j, err);
	}
	return NULL;
}

/* ---- opening -------------------------------------------------------------- */

static void set_limits(struct journal *j)
{
	uint32_t memory_blocks = j->opts.copies_bytes_max / 2 / j->block_size;
	uint32_t circle;

	j->credits_max = MAX(MIN(memory_blocks, TXN_CREDITS_MAX), CREDITS_MIN);
	j->credits_limit = j->credits_max * 3 / 2;
	if (j->log) {
		/*
		 * A transaction needs at most, in parts of the circle: 1/2 for copies (twice
		 * what handles may ask for), their descriptors (1/62 of that with the smallest
		 * blocks and largest tags), 1/4 for revokes, 1 for the commit block.
		 */
		circle = log_circle(j->log);
		j->credits_max = MIN(j->credits_max, circle / 4);
		j->credits_limit = MIN(j->credits_limit, circle / 2);
		j->revokes_max = circle / 4 * log_revokes_per_block(j->log);
		j->revokes_kick = j->revokes_max / 4;
	}
	j->credits_kick = MAX(j->credits_max / 2, 1u);
}

static int open_log(struct journal *j, const struct journal_map *map, uint32_t log_blocks)
{
	const char *what;
	int err;

	err = log_open(j->bdev, j->block_size, map, log_blocks, &j->log, &what);
	if (err)
		return err;
	if (be32_to_cpu(j->log->sb.s_start) != 0)
		return -EUCLEAN; /* not recovered: to write here would lose what it holds */
	log_set_write_features(j->log, j->opts.csum_v3, j->opts.want_64bit);
	j->log->sb.s_errno = cpu_to_be32(0);
	j->head = j->log->first;
	j->log_empty = true;
	return 0;
}

static void free_journal(struct journal *j)
{
	txn_release(&j->txns[0]);
	txn_release(&j->txns[1]);
	ckpt_fini(&j->ckpt);
	log_close(j->log);
	free(j);
}

static int start_thread(struct journal *j)
{
	int err;

	if (j->opts.readonly)
		return 0;
	err = pthread_create(&j->thread, NULL, commit_thread, j);
	if (err)
		return -err;
	j->thread_started = true;
	(void)pthread_setname_np(j->thread, "kfs-commit"); /* for debuggers only */
	return 0;
}

int journal_open(struct cache *cache, const struct journal_map *map, uint32_t log_blocks,
		 const struct journal_opts *opts, struct journal **ret_journal)
{
	struct journal *j = aligned_alloc(64, ROUND_UP(sizeof(*j), 64));
	uint32_t first_tid = 1;
	int err, i;

	if (!j)
		return -ENOMEM;
	memset(j, 0, sizeof(*j));
	j->cache = cache;
	j->bdev = cache_bdev(cache);
	j->block_size = cache_block_size(cache);
	j->opts = *opts;
	if (!j->opts.copies_bytes_max)
		j->opts.copies_bytes_max = COPIES_BYTES_DEFAULT;
	if (!j->opts.commit_interval_ms)
		j->opts.commit_interval_ms = COMMIT_INTERVAL_DEFAULT_MS;
	mutex_init(&j->lock, LOCK_JOURNAL);
	for (i = 0; i < 2; i++) {
		mutex_init(&j->txns[i].revoke_lock, LOCK_JOURNAL);
		atomic_store(&j->txns[i].state, TXN_LOCKED);
	}
	err = ckpt_init(&j->ckpt, j->block_size);
	if (!err && map && !opts->readonly)
		err = open_log(j, map, log_blocks);
	if (!err) {
		/* As jbd2 does: one beyond what the superblock expects. */
		first_tid = j->log ? be32_to_cpu(j->log->sb.s_sequence) + 1 : 1;
		set_limits(j);
		j->stats.log_blocks_free = j->log ? log_circle(j->log) : 0;
		atomic_store(&j->tid_committed, first_tid - 1);
		mutex_lock(&j->lock);
		txn_open_locked(j, &j->txns[0], first_tid);
		mutex_unlock(&j->lock);
		err = start_thread(j);
	}
	if (err) {
		free_journal(j);
		return err;
	}
	*ret_journal = j;
	return 0;
}

/* ---- closing -------------------------------------------------------------- */

static void stop_thread(struct journal *j, bool discard)
{
	if (!j->thread_started)
		return;
	mutex_lock(&j->lock);
	j->closing = true;
	j->discarding = discard;
	cond_wake_all(&j->work_cond);
	mutex_unlock(&j->lock);
	(void)pthread_join(j->thread, NULL); /* fails only for threads that are not ours */
	j->thread_started = false;
}

int journal_close(struct journal *j)
{
	int err = 0;

	if (!j)
		return 0;
	if (!j->opts.readonly)
		err = journal_checkpoint_all(j);
	stop_thread(j, false);
	free_journal(j);
	return err;
}

void journal_destroy(struct journal *j)
{
	if (!j)
		return;
	stop_thread(j, true);
	txn_run_callbacks(atomic_load(&j->running), -EIO);
	free_journal(j);
}

/* ---- waiting -------------------------------------------------------------- */

bool journal_tid_committed(struct journal *j, uint32_t tid)
{
	return tid_geq(atomic_load(&j->tid_committed), tid);
}

int journal_commit_wait(struct journal *j, uint32_t tid)
{
	int err = 0;

	lock_assert_none_held();
	if (journal_tid_committed(j, tid))
		return 0;
	mutex_lock(&j->lock);
	if (!tid_geq(j->tid_running, tid))
		err = -EINVAL; /* no such transaction yet: to wait could be for ever */
	while (!err && !journal_tid_committed(j, tid)) {
		err = atomic_load(&j->error);
		if (err)
			break;
		if (tid == j->tid_running)
			journal_request_commit_locked(j, true);
		cond_wait(&j->done_cond, &j->lock);
	}
	mutex_unlock(&j->lock);
	return err;
}

/* The newest transaction that anybody has joined. */
static uint32_t running_tid_locked(struct journal *j)
{
	struct transaction *t = atomic_load(&j->running);

	return txn_handles(atomic_load(&t->state)) > 0 ? j->tid_running : j->tid_running - 1;
}

int journal_sync(struct journal *j)
{
	uint32_t tid;
	bool commit;
	int err;

	if (j->opts.readonly)
		return 0;
	mutex_lock(&j->lock);
	tid = running_tid_locked(j);
	commit = tid == j->tid_running;
	mutex_unlock(&j->lock);
	err = journal_commit_wait(j, tid);
	/* File data written without a handle since the last commit's flush. */
	if (!err && !commit)
		err = journal_flush_device(j);
	return err;
}

void journal_kick(struct journal *j)
{
	mutex_lock(&j->lock);
	journal_request_commit_locked(j, false);
	mutex_unlock(&j->lock);
}

int journal_checkpoint_all(struct journal *j)
{
	uint64_t mine;
	int err;

	if (j->opts.readonly)
		return 0;
	lock_assert_none_held();
	mutex_lock(&j->lock);
	mine = ++j->checkpoint_wanted;
	j->checkpoint_tid = running_tid_locked(j);
	cond_wake_all(&j->work_cond);
	while (!(err = atomic_load(&j->error)) && j->checkpoint_done < mine)
		cond_wait(&j->done_cond, &j->lock);
	mutex_unlock(&j->lock);
	return err;
}

void journal_abort(struct journal *j, int error)
{
	int none = 0;

	CHECK(error < 0);
	if (!atomic_compare_exchange_strong(&j->error, &none, error))
		return;
	mutex_lock(&j->lock);
	/* Whatever runs now or is opened later stays locked. */
	atomic_fetch_or(&((struct transaction *)atomic_load(&j->running))->state, TXN_LOCKED);
	j->stats.abort_error = error;
	mutex_unlock(&j->lock);
	if (j->opts.aborted)
		j->opts.aborted(j->opts.arg, error);
	mutex_lock(&j->lock);
	cond_wake_all(&j->start_cond);
	cond_wake_all(&j->done_cond);
	cond_wake_all(&j->work_cond);
	mutex_unlock(&j->lock);
}

int journal_error(const struct journal *j)
{
	return atomic_load(&j->error);
}

bool journal_has_log(const struct journal *j)
{
	return j->log != NULL;
}

void journal_get_stats(struct journal *j, struct journal_stats *ret_stats)
{
	mutex_lock(&j->lock);
	*ret_stats = j->stats;
	ret_stats->handles +=
		txn_handles(atomic_load(&((struct transaction *)atomic_load(&j->running))->state));
	ret_stats->log_blocks = j->log ? log_circle(j->log) : 0;
	ret_stats->tid_running = j->tid_running;
	ret_stats->tid_committed = atomic_load(&j->tid_committed);
	mutex_unlock(&j->lock);
}
