// SPDX-License-Identifier: GPL-2.0-only
/*
 * Handles: how operations join a transaction, add buffers to it and leave.
 *
 * Without contention everything here is a few atomic operations on the running
 * transaction's word and on the buffer; no lock, no list walk. The slow path, in
 * journal_start(), waits for the commit thread.
 *
 * Invariants
 * (1) While a handle is open its transaction is not frozen: it counts as an
 *     update in the word that the commit thread waits for.
 * (2) A transaction slot is open exactly as long as its word is not locked; slots
 *     are never freed while the journal lives. So joining is one exchange of the
 *     word, without a second look at journal->running.
 * (3) A buffer is pushed onto its transaction's list exactly once, by whoever set
 *     its mark, before that one's handle ends.
 * (4) A handle that failed inside after it changed something aborts the journal before
 *     it leaves its transaction: the transaction cannot commit without the other half.
 */
#include "daemon/journal/journal_priv.h"

#include <errno.h>

#include "daemon/base/check.h"

/* Counters in the word must not run over. */
#define UPDATES_MAX ((1u << TXN_UPDATES_BITS) - 1)
#define HANDLES_MAX ((1u << TXN_HANDLES_BITS) - 1)
/* What precommit may add: the superblock and, with room to spare, what it counts. */
#define PRECOMMIT_CREDITS 32

uint32_t journal_credits_max(const struct journal *j)
{
	return j->credits_max;
}

/* Notes the first failure inside. */
static int fail(struct handle *h, int err)
{
	if (!h->error)
		h->error = err;
	return err;
}

void journal_fail(struct handle *h, int error)
{
	CHECK(error < 0);
	(void)fail(h, error); /* returns what it is given */
}

/* ---- joining and leaving -------------------------------------------------- */

static bool word_has_room(const struct journal *j, uint64_t state, uint32_t credits)
{
	return !(state & TXN_LOCKED) && txn_credits(state) + credits <= j->credits_max &&
	       txn_updates(state) < UPDATES_MAX && txn_handles(state) < HANDLES_MAX;
}

/* Joins @t if it is open and has room. */
static bool txn_join(struct journal *j, struct transaction *t, uint32_t credits, struct handle *h)
{
	uint64_t state = atomic_load_explicit(&t->state, memory_order_relaxed);
	uint64_t joined;

	do {
		if (!word_has_room(j, state, credits))
			return false;
		joined = state + TXN_HANDLE + TXN_UPDATE + credits;
	} while (!atomic_compare_exchange_weak(&t->state, &state, joined));
	h->txn = t;
	h->tid = t->tid;
	h->credits = credits;
	h->changed = false;
	/* The handle that crosses the line asks for an early commit; others wait for room later. */
	if (unlikely(txn_credits(state) < j->credits_kick &&
		     txn_credits(joined) >= j->credits_kick))
		journal_kick(j);
	return true;
}

/*
 * Takes what the running transaction was opened with for us. Under the lock
 * nobody can lock the transaction meanwhile.
 */
static bool join_kept_locked(struct journal *j, uint32_t credits, struct handle *h)
{
	struct transaction *t = atomic_load(&j->running);

	if (j->credits_kept != credits || credits == 0 || (atomic_load(&t->state) & TXN_LOCKED))
		return false;
	j->credits_kept = 0;
	atomic_fetch_add(&t->state, TXN_HANDLE + TXN_UPDATE);
	h->txn = t;
	h->tid = t->tid;
	h->credits = credits;
	h->changed = false;
	/* Whoever found no room beside it could not ask for a commit of an unused transaction. */
	cond_wake_all(&j->start_cond);
	return true;
}

/* Waits until the running transaction takes us. Returns with the handle joined. */
static int join_slow(struct journal *j, uint32_t credits, struct handle *h)
{
	int err = 0;

	mutex_lock(&j->lock);
	j->stats.handle_waits++;
	for (;;) {
		struct transaction *t = atomic_load(&j->running);
		uint64_t state = atomic_load(&t->state);

		if (atomic_load(&j->error) || j->opts.readonly) {
			err = -EROFS;
			break;
		}
		if (join_kept_locked(j, credits, h))
			break;
		if (word_has_room(j, state, credits)) {
			/* Without the lock: joining may ask for a commit. */
			mutex_unlock(&j->lock);
			if (txn_join(j, t, credits, h))
				return 0;
			mutex_lock(&j->lock);
			continue;
		}
		j->credits_waiting = MAX(j->credits_waiting, credits);
		if (!(state & TXN_LOCKED))
			journal_request_commit_locked(j, true);
		cond_wait(&j->start_cond, &j->lock);
	}
	mutex_unlock(&j->lock);
	return err;
}

static int join(struct journal *j, uint32_t credits, struct handle *h)
{
	if (unlikely(credits > j->credits_max))
		return -ENOSPC;
	if (likely(txn_join(j, atomic_load(&j->running), credits, h)))
		return 0;
	return join_slow(j, credits, h);
}

static void leave(struct handle *h)
{
	struct journal *j = h->journal;
	struct transaction *t = h->txn;
	uint64_t state;

	/* Unused credits go back in the same step. */
	state = atomic_fetch_sub(&t->state, TXN_UPDATE + h->credits);
	h->credits = 0;
	h->changed = false;
	h->txn = NULL;
	if (unlikely((state & TXN_LOCKED) && txn_updates(state) == 1)) {
		mutex_lock(&j->lock);
		cond_wake_all(&j->update_cond);
		mutex_unlock(&j->lock);
	}
}

int journal_start(struct journal *j, uint32_t credits, struct handle *h)
{
	int err;

	lock_rank_push(LOCK_HANDLE);
	*h = (struct handle){ .journal = j };
	err = join(j, credits, h);
	if (err)
		lock_rank_pop(LOCK_HANDLE);
	return err;
}

int journal_restart(struct handle *h, uint32_t credits)
{
	struct journal *j = h->journal;
	int err;

	if (credits > j->credits_max)
		return -ENOSPC; /* the handle stays where it is */
	if (h->txn)
		leave(h);
	err = join(j, credits, h);
	return err ? fail(h, err) : 0;
}

int journal_extend(struct handle *h, uint32_t credits)
{
	struct journal *j = h->journal;
	uint64_t state;
	int err;

	if (!h->txn)
		return -EROFS;
	state = atomic_load(&h->txn->state);
	do {
		if ((state & TXN_LOCKED) || txn_credits(state) + credits > j->credits_max) {
			/* Nothing taken by this handle is lost when the sum is more than anybody may have. */
			err = journal_restart(h, MIN(h->credits + credits,
						     MAX(credits, j->credits_max)));
			return err ? err : 1;
		}
	} while (!atomic_compare_exchange_weak(&h->txn->state, &state, state + credits));
	h->credits += credits;
	return 0;
}

int journal_stop(struct handle *h)
{
	int error = h->error;

	if (unlikely(error && h->changed))
		journal_abort(h->journal, error);
	/* A failed restart left without a transaction. */
	if (h->txn)
		leave(h);
	lock_rank_pop(LOCK_HANDLE);
	return error ? error : atomic_load(&h->journal->error);
}

/* ---- buffers -------------------------------------------------------------- */

/*
 * One more buffer than asked for. Harmless while the log has room, and that is
 * four times what handles may ask for together; beyond it the operation fails.
 */
static int overdraw(struct handle *h)
{
	struct transaction *t = h->txn;
	uint64_t state = atomic_load(&t->state);

	do {
		if (txn_credits(state) >= h->journal->credits_limit)
			return -ENOSPC;
	} while (!atomic_compare_exchange_weak(&t->state, &state, state + 1));
	atomic_fetch_add(&t->overdrawn, 1);
	return 0;
}

static int use_credit(struct handle *h)
{
	if (unlikely(h->credits == 0))
		return overdraw(h);
	h->credits--;
	return 0;
}

static void cancel_revoke(struct transaction *t, uint64_t pblk)
{
	mutex_lock(&t->revoke_lock);
	revoke_table_remove(&t->revokes, pblk);
	atomic_store(&t->revoke_count, t->revokes.count);
	mutex_unlock(&t->revoke_lock);
}

/* The first use of @b in the transaction. */
static int add_buf(struct handle *h, struct buf *b)
{
	struct transaction *t = h->txn;
	uint32_t mark = 0;
	int err;

	if (atomic_load_explicit(&b->flags, memory_order_relaxed) & BUF_FORGOTTEN)
		return fail(h, -EUCLEAN); /* its block was freed under the caller */
	err = use_credit(h);
	if (err)
		return fail(h, err);
	if (!atomic_compare_exchange_strong(&b->txn_mark, &mark, t->mark)) {
		/* Another handle of this transaction was faster: none of an older one is left. */
		CHECK(mark == t->mark);
		h->credits++;
		return 0;
	}
	buf_pin(b);
	b->txn_next = atomic_load_explicit(&t->bufs, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&t->bufs, &b->txn_next, b))
		;
	if (unlikely(atomic_load(&t->revoke_count) > 0))
		cancel_revoke(t, b->pblk);
	return 0;
}

static int check_usable(struct handle *h)
{
	int error = atomic_load_explicit(&h->journal->error, memory_order_relaxed);

	return unlikely(error || !h->txn) ? fail(h, -EROFS) : 0;
}

int journal_get_write(struct handle *h, struct buf *b)
{
	struct journal *j = h->journal;
	int err;

	err = check_usable(h);
	if (err)
		return err;
	if (atomic_load_explicit(&b->txn_mark, memory_order_acquire) == h->txn->mark)
		return 0;
	if (j->opts.before_overwrite) {
		err = j->opts.before_overwrite(j->opts.arg, h, b->pblk, 1);
		if (err)
			return fail(h, err);
	}
	view_keep(j, b->pblk, 1, b);
	return add_buf(h, b);
}

int journal_get_create(struct handle *h, struct buf *b)
{
	int err;

	err = check_usable(h);
	if (err)
		return err;
	if (atomic_load_explicit(&b->txn_mark, memory_order_acquire) == h->txn->mark)
		return 0;
	view_created(h->journal, b->pblk);
	return add_buf(h, b);
}

void journal_dirty(struct handle *h, struct buf *b, uint32_t off, uint32_t len)
{
	uint32_t block_size = h->journal->block_size;
	uint64_t range = atomic_load_explicit(&b->txn_dirty, memory_order_relaxed);

	CHECK(h->txn && atomic_load_explicit(&b->txn_mark, memory_order_relaxed) == h->txn->mark);
	CHECK(off <= block_size && len <= block_size - off);
	h->changed = true;
	for (;;) {
		uint32_t from = (uint32_t)(range >> 32), to = (uint32_t)range;
		uint32_t low = range ? MIN(from, off) : off;
		uint32_t high = MAX(to, off + len);

		if (low == from && high == to)
			return;
		if (atomic_compare_exchange_weak_explicit(
			    &b->txn_dirty, &range, (uint64_t)low << 32 | high, memory_order_relaxed,
			    memory_order_relaxed))
			return;
	}
}

/* ---- freed blocks --------------------------------------------------------- */

static int revoke_range(struct handle *h, uint64_t pblk, uint32_t count)
{
	struct journal *j = h->journal;
	struct transaction *t = h->txn;
	uint32_t before, now, i;
	int err = 0;

	mutex_lock(&t->revoke_lock);
	before = now = t->revokes.count;
	if (count > j->revokes_max - MIN(before, j->revokes_max))
		err = -ENOSPC;
	if (!err)
		err = revoke_table_reserve(&t->revokes, count);
	if (!err) {
		for (i = 0; i < count; i++)
			revoke_table_set(&t->revokes, pblk + i, t->tid);
		now = t->revokes.count;
		atomic_store(&t->revoke_count, now);
	}
	mutex_unlock(&t->revoke_lock);
	if (before < j->revokes_kick && now >= j->revokes_kick)
		journal_kick(j);
	return err;
}

int journal_forget(struct handle *h, uint64_t pblk, uint32_t count)
{
	struct journal *j = h->journal;
	uint64_t blocks = j->bdev->size / j->block_size;
	uint32_t i;
	int err;

	err = check_usable(h);
	if (!err && (pblk >= blocks || count > blocks - pblk))
		err = fail(h, -EUCLEAN);
	if (!err && j->opts.before_overwrite)
		err = j->opts.before_overwrite(j->opts.arg, h, pblk, count);
	if (!err)
		view_keep(j, pblk, count, NULL);
	if (!err && j->log)
		err = revoke_range(h, pblk, count);
	if (err)
		return fail(h, err);
	for (i = 0; i < count; i++)
		buf_forget(j->cache, pblk + i);
	return 0;
}

/* ---- ends ----------------------------------------------------------------- */

void journal_on_commit(struct handle *h, struct commit_cb *cb)
{
	struct transaction *t = h->txn;

	CHECK(t);
	cb->link.prev = NULL;
	cb->link.next = atomic_load_explicit(&t->callbacks, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&t->callbacks, &cb->link.next, &cb->link))
		;
}

uint32_t handle_tid(const struct handle *h)
{
	return h->tid;
}

/*
 * Called by the commit thread with @t locked and without handles: nobody else
 * can add anything to it.
 */
int txn_precommit(struct journal *j, struct transaction *t)
{
	struct handle h = { .journal = j, .txn = t, .tid = t->tid, .credits = PRECOMMIT_CREDITS };
	int err;

	if (!j->opts.precommit)
		return 0;
	lock_rank_push(LOCK_HANDLE);
	atomic_fetch_add(&t->state, TXN_UPDATE + PRECOMMIT_CREDITS);
	err = j->opts.precommit(j->opts.arg, &h);
	atomic_fetch_sub(&t->state, TXN_UPDATE + h.credits);
	lock_rank_pop(LOCK_HANDLE);
	return err ? err : h.error;
}
