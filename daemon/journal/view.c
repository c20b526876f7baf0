// SPDX-License-Identifier: GPL-2.0-only
/*
 * Views. See view.h.
 *
 * A view is entered into the journal by whoever can be sure that no handle is open:
 * the commit thread, between copying a transaction's buffers and opening the next one;
 * or the opener itself, when nobody has joined the running transaction yet.
 *
 * Invariants
 * (1) A block without a saved copy and without its bit in "skip" has not changed since
 *     the moment: every change goes through view_keep() first, under the shard's lock.
 * (2) So a reader that holds the shard's lock and finds no copy may take the bytes of
 *     the cached buffer: whoever is about to change them waits for the lock. Where there
 *     was no room for a copy the view is lost, and nobody reads on.
 * (3) A buffer that the journal does not hold equals the medium (cache.h). Held or not
 *     is looked at before the medium is read, and copies are looked for afterwards: a
 *     block that was not held then and has no copy now was on the medium all the time.
 * (4) Nobody uses a view that is no longer entered: closing waits for view_users.
 */
#include "daemon/journal/view.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/journal/journal_priv.h"

#define SHARDS 64u
#define SHARD_BUCKETS 1024u

struct saved {
	struct saved *next;
	uint64_t pblk;
	uint8_t data[];
};

struct view_shard {
	struct mutex lock;		    /* LOCK_VIEW */
	struct saved *table[SHARD_BUCKETS]; /* [lock] */
} __attribute__((aligned(64)));

struct journal_view {
	struct journal *j;
	uint32_t block_size;	/* [written once] */
	uint64_t blocks;	/* [written once] of the device */
	uint64_t bytes_max;	/* [written once] */
	bool still;		/* [written once] a read-only journal: nothing changes */
	_Atomic uint64_t *skip; /* [atomic] a bit per block: not to be saved */
	_Atomic uint64_t bytes, bytes_peak; /* [atomic] of copies */
	_Atomic bool lost;		    /* [atomic] */
	struct view_shard shards[SHARDS];
};

static struct view_shard *shard_of(struct journal_view *v, uint64_t pblk)
{
	return &v->shards[(pblk * 0x9e3779b97f4a7c15ULL >> 40) % SHARDS];
}

static struct saved **bucket_of(struct view_shard *sh, uint64_t pblk)
{
	return &sh->table[(pblk * 0x9e3779b97f4a7c15ULL >> 20) % SHARD_BUCKETS];
}

/* Caller holds the shard's lock. */
static struct saved *find(struct view_shard *sh, uint64_t pblk)
{
	struct saved *c = *bucket_of(sh, pblk);

	while (c && c->pblk != pblk)
		c = c->next;
	return c;
}

static bool skipped(const struct journal_view *v, uint64_t pblk)
{
	return atomic_load(&v->skip[pblk / 64]) >> (pblk % 64) & 1;
}

/* ---- saving --------------------------------------------------------------- */

/* Caller holds the shard's lock. The block's bytes of the moment are still where they were. */
static int fetch(struct journal_view *v, uint64_t pblk, const struct buf *known, uint8_t *data)
{
	struct buf *b;
	int ret = 0;

	if (known) {
		memcpy(data, known->data, v->block_size);
		return 0;
	}
	b = buf_peek(v->j->cache, pblk);
	if (b)
		memcpy(data, b->data, v->block_size);
	else
		ret = bdev_read(v->j->bdev, data, v->block_size, pblk * v->block_size);
	if (b)
		buf_put(b);
	return ret;
}

/* Caller holds the shard's lock. */
static int save(struct journal_view *v, struct view_shard *sh, uint64_t pblk,
		const struct buf *known)
{
	uint64_t bytes = sizeof(struct saved) + v->block_size;
	struct saved *c;
	int ret;

	if (atomic_load(&v->bytes) + bytes > v->bytes_max)
		return -ENOMEM;
	c = malloc(bytes);
	if (!c)
		return -ENOMEM;
	ret = fetch(v, pblk, known, c->data);
	if (ret) {
		free(c);
		return ret;
	}
	c->pblk = pblk;
	c->next = *bucket_of(sh, pblk);
	*bucket_of(sh, pblk) = c;
	bytes += atomic_fetch_add(&v->bytes, bytes);
	/* Two threads may race for the peak: it is for people. */
	if (bytes > atomic_load(&v->bytes_peak))
		atomic_store(&v->bytes_peak, bytes);
	return 0;
}

/* @known: the block's buffer, whose bytes have not changed yet; NULL: look for them. */
static void keep(struct journal_view *v, uint64_t pblk, const struct buf *known)
{
	struct view_shard *sh = shard_of(v, pblk);

	if (pblk >= v->blocks || skipped(v, pblk))
		return;
	mutex_lock(&sh->lock);
	if (!atomic_load(&v->lost) && !find(sh, pblk) && !skipped(v, pblk) &&
	    save(v, sh, pblk, known))
		atomic_store(&v->lost, true);
	mutex_unlock(&sh->lock);
}

/* The view, if there is one; view_leave() afterwards. */
static struct journal_view *view_enter(struct journal *j)
{
	atomic_fetch_add(&j->view_users, 1);
	return atomic_load(&j->view);
}

static void view_leave(struct journal *j)
{
	atomic_fetch_sub(&j->view_users, 1);
}

void view_keep_slow(struct journal *j, uint64_t pblk, uint32_t count, const struct buf *known)
{
	struct journal_view *v = view_enter(j);
	uint32_t k;

	for (k = 0; v && k < count; k++)
		keep(v, pblk + k, known);
	view_leave(j);
}

void view_created_slow(struct journal *j, uint64_t pblk)
{
	struct journal_view *v = view_enter(j);

	/* It held no metadata at the moment, or was freed since, which has saved it. */
	if (v && pblk < v->blocks)
		atomic_fetch_or(&v->skip[pblk / 64], 1ULL << (pblk % 64));
	view_leave(j);
}

void journal_view_keep(struct journal *j, struct buf *b)
{
	view_keep(j, b->pblk, 1, b);
}

/* ---- opening and closing -------------------------------------------------- */

void view_install(struct journal *j)
{
	mutex_lock(&j->lock);
	if (j->view_next) {
		atomic_store(&j->view, j->view_next);
		j->view_next = NULL;
		cond_wake_all(&j->done_cond);
	}
	mutex_unlock(&j->lock);
}

/*
 * Caller holds journal->lock. Nobody has joined the running transaction, so nothing
 * has changed since the last one was copied: this is the moment. Locked meanwhile, or
 * somebody could join and change a buffer before he can see the view.
 */
static bool enter_unused_locked(struct journal *j)
{
	struct transaction *t = atomic_load(&j->running);
	uint64_t state = atomic_load(&t->state);

	do {
		if ((state & TXN_LOCKED) || txn_handles(state) > 0)
			return false;
	} while (!atomic_compare_exchange_weak(&t->state, &state, state | TXN_LOCKED));
	atomic_store(&j->view, j->view_next);
	j->view_next = NULL;
	atomic_fetch_and(&t->state, ~TXN_LOCKED);
	cond_wake_all(&j->start_cond);
	return true;
}

static int enter(struct journal *j, struct journal_view *v)
{
	int err = 0;

	lock_assert_none_held();
	mutex_lock(&j->lock);
	if (atomic_load(&j->view) || j->view_next)
		err = -EBUSY;
	else if (!atomic_load(&j->error))
		j->view_next = v;
	while (!err && j->view_next == v) {
		if (atomic_load(&j->error) || enter_unused_locked(j))
			break;
		journal_request_commit_locked(j, true);
		cond_wait(&j->done_cond, &j->lock);
	}
	if (!err && atomic_load(&j->view) != v) {
		j->view_next = NULL;
		err = -EROFS;
	}
	mutex_unlock(&j->lock);
	return err;
}

static void view_free(struct journal_view *v)
{
	uint32_t i, k;

	for (i = 0; i < SHARDS; i++) {
		for (k = 0; k < SHARD_BUCKETS; k++) {
			while (v->shards[i].table[k]) {
				struct saved *c = v->shards[i].table[k];

				v->shards[i].table[k] = c->next;
				free(c);
			}
		}
	}
	free((void *)v->skip);
	free(v);
}

int journal_view_open(struct journal *j, uint64_t copies_bytes_max, struct journal_view **ret_view)
{
	struct journal_view *v = aligned_alloc(64, ROUND_UP(sizeof(*v), 64));
	uint32_t i;
	int err = 0;

	if (!v)
		return -ENOMEM;
	memset(v, 0, sizeof(*v));
	v->j = j;
	v->block_size = j->block_size;
	v->blocks = j->bdev->size / j->block_size;
	v->bytes_max = copies_bytes_max;
	v->still = j->opts.readonly;
	for (i = 0; i < SHARDS; i++)
		mutex_init(&v->shards[i].lock, LOCK_VIEW);
	v->skip = calloc(v->blocks / 64 + 1, sizeof(*v->skip));
	if (!v->skip)
		err = -ENOMEM;
	else if (!v->still)
		err = enter(j, v);
	if (err) {
		view_free(v);
		return err;
	}
	*ret_view = v;
	return 0;
}

void journal_view_close(struct journal_view *v)
{
	struct journal *j;

	if (!v)
		return;
	j = v->j;
	if (!v->still) {
		CHECK(atomic_load(&j->view) == v);
		atomic_store(&j->view, NULL);
		/* Who came in before has a block or two to copy. */
		while (atomic_load(&j->view_users) > 0)
			(void)sched_yield();
	}
	view_free(v);
}

/* ---- reading -------------------------------------------------------------- */

/* Caller holds the shard's lock. The cached buffer if the medium may lack its contents. */
static struct buf *held_buf(struct journal_view *v, uint64_t pblk)
{
	struct buf *b = buf_peek(v->j->cache, pblk);

	if (!b || atomic_load(&b->txn_mark) || atomic_load(&b->copies))
		return b;
	buf_put(b);
	return NULL;
}

/* True: @data is the block, or was NULL and it is not on the medium; or the view is lost. */
static bool read_memory(struct journal_view *v, uint64_t pblk, uint8_t *data)
{
	struct view_shard *sh = shard_of(v, pblk);
	const struct saved *c;
	struct buf *b = NULL;

	mutex_lock(&sh->lock);
	/* Once it is, buffers change without a copy, behind this lock. */
	if (atomic_load(&v->lost)) {
		mutex_unlock(&sh->lock);
		return true;
	}
	c = find(sh, pblk);
	if (!c)
		b = held_buf(v, pblk);
	if (data && (c || b))
		memcpy(data, c ? c->data : b->data, v->block_size);
	mutex_unlock(&sh->lock);
	if (b)
		buf_put(b);
	return c || b;
}

static int read_one(struct journal_view *v, uint64_t pblk, uint8_t *data)
{
	int ret;

	if (read_memory(v, pblk, data))
		return 0;
	ret = bdev_read(v->j->bdev, data, v->block_size, pblk * v->block_size);
	if (ret)
		return ret;
	(void)read_memory(v, pblk, data); /* changed meanwhile: then it was saved */
	return 0;
}

#define RUN_MAX 64u
static_assert(RUN_MAX <= 64, "a bit for each block");

static int read_run(struct journal_view *v, uint64_t pblk, uint32_t count, uint8_t *data)
{
	uint64_t in_memory = 0;
	uint32_t k;
	int ret;

	for (k = 0; k < count; k++) {
		if (read_memory(v, pblk + k, NULL))
			in_memory |= 1ULL << k;
	}
	ret = bdev_read(v->j->bdev, data, (size_t)count * v->block_size, pblk * v->block_size);
	for (k = 0; k < count && !ret; k++) {
		uint8_t *at = data + (size_t)k * v->block_size;

		/* What was in memory only may have gone home after the read. */
		if (in_memory >> k & 1)
			ret = read_one(v, pblk + k, at);
		else
			(void)read_memory(v, pblk + k, at); /* saved meanwhile, or not */
	}
	return ret;
}

int journal_view_read(struct journal_view *v, uint64_t pblk, uint32_t count, void *buf)
{
	uint8_t *data = buf;
	int ret = 0;

	if (pblk >= v->blocks || count > v->blocks - pblk)
		return -EUCLEAN;
	while (count && !ret) {
		uint32_t n = MIN(count, RUN_MAX);

		ret = n == 1 ? read_one(v, pblk, data) : read_run(v, pblk, n, data);
		pblk += n;
		count -= n;
		data += (size_t)n * v->block_size;
	}
	return atomic_load(&v->lost) ? -ESTALE : ret;
}

static void drop(struct journal_view *v, uint64_t pblk)
{
	struct view_shard *sh = shard_of(v, pblk);
	struct saved **link, *c;

	mutex_lock(&sh->lock);
	link = bucket_of(sh, pblk);
	while (*link && (*link)->pblk != pblk)
		link = &(*link)->next;
	c = *link;
	if (c) {
		*link = c->next;
		atomic_fetch_sub(&v->bytes, sizeof(*c) + v->block_size);
	}
	mutex_unlock(&sh->lock);
	free(c);
}

void journal_view_done(struct journal_view *v, uint64_t pblk, uint64_t count)
{
	uint64_t end = MIN(pblk + count, v->blocks);

	for (; !v->still && pblk < end; pblk++) {
		atomic_fetch_or(&v->skip[pblk / 64], 1ULL << (pblk % 64));
		drop(v, pblk);
	}
}

void journal_view_get_stats(const struct journal_view *v, struct journal_view_stats *ret_stats)
{
	*ret_stats = (struct journal_view_stats){
		.copies_bytes = atomic_load(&v->bytes),
		.copies_bytes_max = atomic_load(&v->bytes_peak),
		.map_bytes = v->blocks / 8,
		.lost = atomic_load(&v->lost),
	};
}
