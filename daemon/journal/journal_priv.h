/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the journal's files share. See journal.h for the algorithm.
 *
 * Threads. A handle touches only its transaction's atomics. The commit thread
 * alone owns the log, the checkpoint sets and the memory of copies; so they have
 * no lock. journal->lock guards what both sides wait for.
 */
#ifndef KFS_JOURNAL_JOURNAL_PRIV_H
#define KFS_JOURNAL_JOURNAL_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/base/list.h"
#include "daemon/base/lock.h"
#include "daemon/base/util.h"
#include "daemon/block/bdev.h"
#include "daemon/block/cache.h"
#include "daemon/journal/journal.h"
#include "daemon/journal/view.h"
#include "include/kfs/jbd2_format.h"

/* Sequence numbers wrap; a is not older than b. */
static inline bool tid_geq(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) >= 0;
}

/* ---- super.c: the log on the medium --------------------------------------- */

/* Log blocks [lblk, lblk + count) lie at pblk and following. */
struct log_run {
	uint32_t lblk, count;
	uint64_t pblk;
};

struct log {
	struct bdev *bdev;
	uint32_t block_size;
	struct log_run *runs; /* ascending lblk, without gaps */
	uint32_t run_count;
	struct jbd2_super_block sb; /* as on the medium after the last log_super_write() */
	uint32_t blocks;	    /* s_maxlen */
	uint32_t first, last;	    /* the circle: first <= block < last */
	/* From the features: */
	bool csum_v1, csum_v2, csum_v3, bit64, async_commit, fast_commit;
	uint32_t csum_seed;
	uint32_t tag_bytes;	    /* distance of two tags in a descriptor block */
	uint32_t tail_bytes;	    /* checksum at the end of descriptor and revoke blocks */
	uint32_t fc_first, fc_last; /* fast-commit area: fc_first <= block < fc_last */
};

/* Reads the map and the superblock and validates them. *ret_what as in journal_recover(). */
MUST_USE int log_open(struct bdev *bdev, uint32_t block_size, const struct journal_map *map,
		      uint32_t log_blocks, struct log **ret_log, const char **ret_what);
void log_close(struct log *log);
/* Switches to the features that we write with. Only for an empty log; not written yet. */
void log_set_write_features(struct log *log, bool csum_v3, bool bit64);
MUST_USE int log_super_write(struct log *log);
uint64_t log_block_addr(const struct log *log, uint32_t lblk);
/* Blocks from @lblk on that follow each other on the medium. */
uint32_t log_run_left(const struct log *log, uint32_t lblk);
/* The next block of the circle. */
uint32_t log_next(const struct log *log, uint32_t lblk);
uint32_t log_circle(const struct log *log);
uint32_t log_tag_checksum(const struct log *log, uint32_t sequence, const void *block);
/* Sets and checks the checksum that ends descriptor and revoke blocks. */
void log_tail_set(const struct log *log, void *block);
bool log_tail_ok(const struct log *log, const void *block);
uint32_t log_commit_checksum(const struct log *log, const void *block);
/* Block numbers that one revoke block holds. */
uint32_t log_revokes_per_block(const struct log *log);
/* A message that outlives the call, one per thread. */
const char *log_say(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* ---- revoke.c ------------------------------------------------------------- */

/* Block numbers, each with a sequence; open addressing. */
struct revoke_entry {
	uint64_t key; /* pblk + 1; 0 = free */
	uint32_t sequence;
};

struct revoke_table {
	struct revoke_entry *entries;
	uint32_t size; /* a power of two or 0 */
	uint32_t count;
};

void revoke_table_fini(struct revoke_table *t);
void revoke_table_clear(struct revoke_table *t);
MUST_USE int revoke_table_reserve(struct revoke_table *t, uint32_t more);
/* Room was reserved. Keeps the newest sequence of a block. */
void revoke_table_set(struct revoke_table *t, uint64_t pblk, uint32_t sequence);
void revoke_table_remove(struct revoke_table *t, uint64_t pblk);
bool revoke_table_find(const struct revoke_table *t, uint64_t pblk, uint32_t *ret_sequence);

/* ---- homes.c -------------------------------------------------------------- */

/* Copies in the log that recovery brings home; a later one of a block replaces earlier ones. */
struct home {
	uint64_t pblk;
	uint32_t lblk;	/* where the copy is */
	uint32_t order; /* of homes_add() */
	bool escaped;	/* its first word was the journal's magic number */
};

struct homes {
	struct home *list;
	uint32_t count, room;
};

void homes_fini(struct homes *h);
/* In the order of the log. -ENOMEM. */
MUST_USE int homes_add(struct homes *h, uint64_t pblk, uint32_t lblk, bool escaped);
/* Writes the last copy of each block, ascending. Not flushed. *ret_what as in journal_recover(). */
MUST_USE int homes_write(struct homes *h, const struct log *log, const char **ret_what);

/* ---- transactions --------------------------------------------------------- */

/*
 * The word that handles join and leave by. Whoever sees TXN_LOCKED must not
 * join; the commit thread sees all who joined before. Updates are open handles;
 * handles count all that ever joined; credits are those reserved by open handles
 * and used by buffers.
 */
#define TXN_CREDITS_BITS 21
#define TXN_UPDATES_BITS 14
#define TXN_HANDLES_BITS 28
#define TXN_UPDATE (1ULL << TXN_CREDITS_BITS)
#define TXN_HANDLE (1ULL << (TXN_CREDITS_BITS + TXN_UPDATES_BITS))
#define TXN_LOCKED (1ULL << 63)
#define TXN_CREDITS_MAX (1u << 20)
static_assert(TXN_CREDITS_BITS + TXN_UPDATES_BITS + TXN_HANDLES_BITS == 63, "transaction word");

static inline uint32_t txn_credits(uint64_t state)
{
	return (uint32_t)(state & (TXN_UPDATE - 1));
}

static inline uint32_t txn_updates(uint64_t state)
{
	return (uint32_t)((state / TXN_UPDATE) & ((1u << TXN_UPDATES_BITS) - 1));
}

static inline uint32_t txn_handles(uint64_t state)
{
	return (uint32_t)((state & ~TXN_LOCKED) / TXN_HANDLE);
}

struct transaction {
	_Atomic uint64_t state; /* [atomic] see above */
	uint32_t tid;		/* [written while locked and without handles] */
	uint32_t mark;		/* [same] what buf->txn_mark says of its buffers; not 0 */
	_Atomic(struct buf *) bufs __attribute__((aligned(64))); /* [atomic, push only] pinned */
	_Atomic(struct list *) callbacks; /* [atomic, push only] chained by next */
	_Atomic uint32_t revoke_count;	  /* [atomic] entries of revokes */
	_Atomic uint64_t overdrawn;	  /* [atomic] buffers beyond their handles' credits */
	struct mutex revoke_lock;
	struct revoke_table revokes; /* [revoke_lock] blocks freed in it */
} __attribute__((aligned(64)));

/* Memory of copies, in pieces of CHUNK_BLOCKS blocks. Commit thread only. */
#define CHUNK_BLOCKS 32

struct chunk {
	struct chunk *next; /* in the pool */
	uint32_t refs;	    /* blocks in use, and one while blocks are taken from it */
	uint32_t used;	    /* blocks taken */
	uint8_t *data;
};

struct copy_pool {
	uint32_t block_size;
	struct chunk *current; /* blocks are taken from here */
	struct chunk *spare;
	uint64_t bytes, bytes_spare; /* all chunks; those in spare */
};

/* The contents of one block as one transaction left it. Commit thread only. */
struct copy {
	uint64_t pblk;
	uint8_t *data;
	struct chunk *chunk;
	struct buf *buf; /* pinned until the copy is home or superseded */
	struct copy *hash_next;
	struct ckpt_set *set; /* NULL: home, superseded or revoked */
};

/* What one committed transaction still has to bring home. Commit thread only. */
struct ckpt_set {
	struct list link;
	uint32_t tid;
	uint32_t log_start, log_blocks;
	uint32_t live; /* copies with a set */
	uint64_t made_ns;
	uint32_t count;
	struct copy copies[];
};

struct checkpoint {
	struct list sets;    /* oldest first */
	struct copy **table; /* newest copy of each block */
	uint32_t table_size; /* a power of two */
	uint32_t table_count;
	struct copy_pool pool;
};

struct journal {
	/* [written once before threads] */
	struct cache *cache;
	struct bdev *bdev;
	uint32_t block_size;
	struct journal_opts opts;
	struct log *log;	/* NULL = no journal */
	uint32_t credits_max;	/* of one transaction */
	uint32_t credits_kick;	/* commit early from here */
	uint32_t credits_limit; /* of one transaction, overdrawn ones included */
	uint32_t revokes_kick, revokes_max;

	_Atomic(struct transaction *) running __attribute__((aligned(64)));
	_Atomic int error;		     /* [atomic] first failure; 0 = fine */
	_Atomic uint32_t tid_committed;	     /* [atomic] */
	_Atomic(struct journal_view *) view; /* [atomic] what changes must be saved for */
	_Atomic uint32_t view_users;	     /* [atomic] threads that use it */
	struct transaction txns[2];	     /* running and committing, in turn */

	struct mutex lock; /* LOCK_JOURNAL */
	struct cond start_cond, work_cond, update_cond, done_cond;
	uint32_t tid_running;			     /* [lock] */
	bool commit_requested;			     /* [lock] for tid_running */
	bool commit_forced;			     /* [lock] somebody waits for it */
	bool closing, discarding;		     /* [lock] */
	bool abort_handled;			     /* [lock] callbacks have been told */
	struct journal_view *view_next;		     /* [lock] waits for its moment */
	uint64_t checkpoint_wanted, checkpoint_done; /* [lock] */
	uint32_t checkpoint_tid; /* [lock] what must be committed before checkpoint_wanted is done */
	uint64_t commit_due_ns;	 /* [lock] */
	/*
	 * [lock] The most that somebody waits to reserve, and what the running
	 * transaction was opened with for that one: else a large handle could wait for
	 * ever behind small ones that find room first.
	 */
	uint32_t credits_waiting, credits_kept;
	struct journal_stats stats; /* [lock] */
	bool thread_started;
	pthread_t thread;

	/* Commit thread only. */
	struct checkpoint ckpt;
	uint32_t head;	    /* next block of the log to write */
	uint32_t log_used;  /* blocks from the tail to the head */
	uint32_t log_freed; /* of them, free once the moved tail is flushed */
	bool log_empty;	    /* s_start is 0 on the medium */
};

/* handle.c */
int txn_precommit(struct journal *j, struct transaction *t);
/* commit.c: one transaction */
MUST_USE int commit_transaction(struct journal *j);
/* Tell @t's callbacks how it ended. */
void txn_run_callbacks(struct transaction *t, int error);
/* Waits, under journal->lock, until nobody is in it. */
void txn_wait_updates_locked(struct journal *j, struct transaction *t);
/* Caller holds journal->lock. */
void txn_open_locked(struct journal *j, struct transaction *t, uint32_t tid);
/* Lets go of the buffers of a transaction that will never commit. No other thread runs. */
void txn_release(struct transaction *t);
/* journal.c */
int journal_flush_device(struct journal *j);
/* Wakes the commit thread for the running transaction unless it is being committed already. */
void journal_request_commit_locked(struct journal *j, bool forced);
uint64_t journal_now_ns(void);

/* view.c */
/* No handle is open, and nothing has changed since the buffers were copied. */
void view_install(struct journal *j);
void view_keep_slow(struct journal *j, uint64_t pblk, uint32_t count, const struct buf *known);
void view_created_slow(struct journal *j, uint64_t pblk);

/*
 * Blocks are about to change, or to be freed (@known NULL). A handle that could change
 * anything joined after the view was entered, so it sees the view.
 */
static inline void view_keep(struct journal *j, uint64_t pblk, uint32_t count,
			     const struct buf *known)
{
	if (unlikely(atomic_load_explicit(&j->view, memory_order_acquire) != NULL))
		view_keep_slow(j, pblk, count, known);
}

/* The block is new: what it held before is nobody's metadata. */
static inline void view_created(struct journal *j, uint64_t pblk)
{
	if (unlikely(atomic_load_explicit(&j->view, memory_order_acquire) != NULL))
		view_created_slow(j, pblk);
}

/* checkpoint.c */
MUST_USE int ckpt_init(struct checkpoint *ck, uint32_t block_size);
void ckpt_fini(struct checkpoint *ck);
/* One block of memory for a copy or for building log blocks. */
MUST_USE int pool_get(struct copy_pool *p, uint8_t **ret_data, struct chunk **ret_chunk);
void pool_put(struct copy_pool *p, struct chunk *chunk);
void set_free(struct checkpoint *ck, struct ckpt_set *set);
MUST_USE int ckpt_reserve(struct checkpoint *ck, uint32_t copies);
/* The transaction is durable: its copies are the newest of their blocks. Takes @set. */
void ckpt_add(struct checkpoint *ck, struct ckpt_set *set);
void ckpt_forget(struct checkpoint *ck, uint64_t pblk);
/*
 * Write home the oldest sets until @log_free blocks of the log are free; all of
 * them for UINT32_MAX. Moves the tail to @tid_next at the latest.
 */
MUST_USE int ckpt_write(struct journal *j, uint32_t log_free, uint32_t tid_next);
/* Without a log: @set goes home at once, and is freed. */
MUST_USE int ckpt_write_direct(struct journal *j, struct ckpt_set *set);
/* All is home: the log needs no replay. */
MUST_USE int ckpt_mark_empty(struct journal *j, uint32_t tid_next);
uint32_t ckpt_log_free(const struct journal *j);
/* Flush; what lies between the old and the new tail is free afterwards. */
MUST_USE int log_flush(struct journal *j);

#endif
