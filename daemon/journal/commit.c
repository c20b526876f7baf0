// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commit: take a transaction away from its handles, copy its buffers, write the
 * copies to the log, make them durable, tell everybody. The steps and their
 * reasons are in journal.h.
 *
 * Invariants
 * (1) Buffers are copied with no handle open; the next transaction opens after
 *     the last copy. So a copy never holds a later transaction's changes.
 * (2) Space for the whole transaction is found before its first block is written.
 * (3) The commit block is written after a flush that covers everything before it.
 * (4) A copy whose first word is the log's magic number is escaped in the log
 *     only; the home copy keeps it.
 *
 * Any failure is returned to the commit thread, which aborts the journal. Copies
 * and their pins stay then until the end, so that reads go on to see them.
 */
#include "daemon/journal/journal_priv.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/crc.h"

#define LOG_IOV_MAX 256

/* ---- life of a transaction ------------------------------------------------ */

void txn_open_locked(struct journal *j, struct transaction *t, uint32_t tid)
{
	uint64_t state = atomic_load(&j->error) || j->opts.readonly ? TXN_LOCKED : 0;

	j->credits_kept = j->credits_waiting;
	j->credits_waiting = 0;
	t->tid = tid;
	t->mark = tid ? tid : UINT32_MAX; /* its predecessor's marks are gone by now */
	atomic_store(&t->bufs, NULL);
	atomic_store(&t->callbacks, NULL);
	atomic_store(&t->revoke_count, 0);
	atomic_store(&t->overdrawn, 0);
	j->tid_running = tid;
	j->commit_requested = false;
	j->commit_forced = false;
	j->commit_due_ns = journal_now_ns() + j->opts.commit_interval_ms * 1000000ULL;
	atomic_store(&j->running, t);
	atomic_store(&t->state, state | j->credits_kept); /* from here on handles join */
	cond_wake_all(&j->start_cond);
}

void txn_wait_updates_locked(struct journal *j, struct transaction *t)
{
	while (txn_updates(atomic_load(&t->state)) > 0)
		cond_wait(&j->update_cond, &j->lock);
}

void txn_run_callbacks(struct transaction *t, int error)
{
	struct list *list = atomic_exchange(&t->callbacks, NULL);
	struct list *forward = NULL;

	while (list) { /* pushed last is first: turn them round */
		struct list *next = list->next;

		list->next = forward;
		forward = list;
		list = next;
	}
	while (forward) {
		struct commit_cb *cb = list_entry(forward, struct commit_cb, link);

		forward = forward->next; /* the callback may free itself */
		cb->fn(cb, error);
	}
}

static void detach_buf(struct buf *b)
{
	b->txn_next = NULL;
	atomic_store(&b->txn_dirty, 0);
	atomic_store(&b->txn_mark, 0);
}

void txn_release(struct transaction *t)
{
	struct buf *b = atomic_exchange(&t->bufs, NULL);

	while (b) {
		struct buf *next = b->txn_next;

		detach_buf(b);
		buf_put(b);
		b = next;
	}
	revoke_table_fini(&t->revokes);
}

/* ---- freezing ------------------------------------------------------------- */

static void release_memory(struct journal *j, struct ckpt_set *set, uint32_t from, uint32_t to)
{
	for (; from < to; from++)
		pool_put(&j->ckpt.pool, set->copies[from].chunk);
}

/* All that freezing needs, before anything is changed. */
static int prepare_set(struct journal *j, uint32_t count, struct ckpt_set **ret_set)
{
	struct ckpt_set *set = calloc(1, sizeof(*set) + count * sizeof(struct copy));
	uint32_t i;
	int err;

	if (!set)
		return -ENOMEM;
	err = j->log ? ckpt_reserve(&j->ckpt, count) : 0;
	for (i = 0; !err && i < count; i++) {
		err = pool_get(&j->ckpt.pool, &set->copies[i].data, &set->copies[i].chunk);
		if (err)
			break;
	}
	if (err) {
		release_memory(j, set, 0, i);
		free(set);
		return err;
	}
	set->count = count;
	*ret_set = set;
	return 0;
}

/* @t is locked and without handles. The transaction's pins pass to the copies. */
static int freeze(struct journal *j, struct transaction *t, struct ckpt_set **ret_set)
{
	struct ckpt_set *set;
	struct buf *b, *next;
	uint32_t count = 0;
	int err;

	for (b = atomic_load(&t->bufs); b; b = b->txn_next)
		count++;
	err = prepare_set(j, count, &set);
	if (err == -ENOMEM && j->log) { /* what waits for its checkpoint gives memory back */
		err = ckpt_write(j, UINT32_MAX, t->tid);
		if (!err)
			err = prepare_set(j, count, &set);
	}
	if (err)
		return err;
	count = 0;
	for (b = atomic_exchange(&t->bufs, NULL); b; b = next) {
		struct copy *copy = &set->copies[count];

		next = b->txn_next;
		/* Before the mark goes: a view must never take it for clean. */
		atomic_fetch_add(&b->copies, 1);
		detach_buf(b);
		if (atomic_load(&b->flags) & BUF_FORGOTTEN) {
			atomic_fetch_sub(&b->copies, 1);
			buf_put(b);
			continue;
		}
		copy->pblk = b->pblk;
		copy->buf = b;
		copy->set = set;
		memcpy(copy->data, b->data, j->block_size);
		count++;
	}
	release_memory(j, set, count, set->count);
	set->count = count;
	set->live = count;
	set->tid = t->tid;
	*ret_set = set;
	return 0;
}

/* ---- writing the log ------------------------------------------------------ */

struct log_writer {
	struct journal *j;
	struct log *log;
	uint32_t tid;
	struct iovec iov[LOG_IOV_MAX];
	int iovcnt;
	uint64_t pblk;	     /* of the first block collected */
	uint32_t blocks;     /* collected */
	uint32_t crc;	     /* v1: of descriptors and copies */
	struct chunk **made; /* memory of blocks made here */
	uint32_t made_count, made_max;
};

static int writer_flush(struct log_writer *w)
{
	int err;

	if (w->iovcnt == 0)
		return 0;
	err = bdev_writev(w->j->bdev, w->iov, w->iovcnt, w->pblk * w->j->block_size);
	w->iovcnt = 0;
	w->blocks = 0;
	return err;
}

/* The next block of the log. @data must stay until the next writer_flush(). */
static int writer_put(struct log_writer *w, uint8_t *data)
{
	uint32_t bs = w->j->block_size;
	uint64_t pblk = log_block_addr(w->log, w->j->head);
	struct iovec *last;
	int err;

	if (w->iovcnt > 0 && (pblk != w->pblk + w->blocks || w->iovcnt == LOG_IOV_MAX)) {
		err = writer_flush(w);
		if (err)
			return err;
	}
	if (w->iovcnt == 0)
		w->pblk = pblk;
	last = w->iovcnt ? &w->iov[w->iovcnt - 1] : NULL;
	if (last && (uint8_t *)last->iov_base + last->iov_len == data)
		last->iov_len += bs;
	else
		w->iov[w->iovcnt++] = (struct iovec){ .iov_base = data, .iov_len = bs };
	w->blocks++;
	w->j->head = log_next(w->log, w->j->head);
	return 0;
}

/* Memory for one block of the log, zeroed. */
static int writer_make(struct log_writer *w, uint8_t **ret_data)
{
	int err;

	if (w->made_count == w->made_max) {
		uint32_t grown = w->made_max ? w->made_max * 2 : 32;
		struct chunk **made = realloc(w->made, grown * sizeof(*made));

		if (!made)
			return -ENOMEM;
		w->made = made;
		w->made_max = grown;
	}
	err = pool_get(&w->j->ckpt.pool, ret_data, &w->made[w->made_count]);
	if (err)
		return err;
	w->made_count++;
	memset(*ret_data, 0, w->j->block_size);
	return 0;
}

static int writer_make_typed(struct log_writer *w, uint32_t blocktype, uint8_t **ret_data)
{
	struct jbd2_header header = { .h_magic = cpu_to_be32(JBD2_MAGIC_NUMBER),
				      .h_blocktype = cpu_to_be32(blocktype),
				      .h_sequence = cpu_to_be32(w->tid) };
	int err;

	err = writer_make(w, ret_data);
	if (!err)
		memcpy(*ret_data, &header, sizeof(header));
	return err;
}

static void writer_fini(struct log_writer *w)
{
	while (w->made_count > 0)
		pool_put(&w->j->ckpt.pool, w->made[--w->made_count]);
	free(w->made);
}

static int put_revokes(struct log_writer *w, const struct revoke_table *revokes)
{
	uint32_t entry_bytes = w->log->bit64 ? sizeof(be64) : sizeof(be32);
	uint32_t end =
		sizeof(struct jbd2_revoke_header) + log_revokes_per_block(w->log) * entry_bytes;
	uint32_t off = end, left = revokes->count, i;
	uint8_t *block = NULL;
	int err;

	for (i = 0; left > 0; i++) {
		uint64_t pblk = revokes->entries[i].key - 1;

		if (!revokes->entries[i].key)
			continue;
		if (off == end) {
			err = writer_make_typed(w, JBD2_REVOKE_BLOCK, &block);
			if (err)
				return err;
			off = sizeof(struct jbd2_revoke_header);
		}
		if (w->log->bit64)
			*(be64 *)(void *)(block + off) = cpu_to_be64(pblk);
		else
			*(be32 *)(void *)(block + off) = cpu_to_be32((uint32_t)pblk);
		off += entry_bytes;
		left--;
		if (off == end || left == 0) {
			((struct jbd2_revoke_header *)(void *)block)->r_count = cpu_to_be32(off);
			log_tail_set(w->log, block);
			err = writer_put(w, block);
			if (err)
				return err;
		}
	}
	return 0;
}

static uint32_t tags_per_block(const struct log *log)
{
	uint32_t used = sizeof(struct jbd2_header) + JBD2_TAG_UUID_SIZE + log->tail_bytes;

	return (log->block_size - used) / log->tag_bytes;
}

/* Fills one tag; the same-uuid flag is missing on the first, whose uuid follows it. */
static void set_tag(const struct log_writer *w, uint8_t *p, uint64_t pblk, uint32_t flags,
		    const uint8_t *logged)
{
	const struct log *log = w->log;
	uint32_t sum = log->tail_bytes ? log_tag_checksum(log, w->tid, logged) : 0;

	if (log->csum_v3) {
		struct jbd2_block_tag3 tag = {
			.t_blocknr = cpu_to_be32((uint32_t)pblk),
			.t_flags = cpu_to_be32(flags),
			.t_blocknr_high = cpu_to_be32((uint32_t)(pblk >> 32)),
			.t_checksum = cpu_to_be32(sum),
		};
		memcpy(p, &tag, sizeof(tag));
	} else {
		struct jbd2_block_tag tag = {
			.t_blocknr = cpu_to_be32((uint32_t)pblk),
			.t_checksum = cpu_to_be16((uint16_t)sum),
			.t_flags = cpu_to_be16((uint16_t)flags),
			.t_blocknr_high = cpu_to_be32((uint32_t)(pblk >> 32)),
		};
		memcpy(p, &tag, log->bit64 ? JBD2_TAG_SIZE64 : JBD2_TAG_SIZE32);
	}
}

/* What goes into the log for a copy: itself, or a changed one that cannot be taken for a log block. */
static int logged_block(struct log_writer *w, const struct copy *copy, uint8_t **ret_data,
			bool *ret_escaped)
{
	be32 first;
	int err;

	memcpy(&first, copy->data, sizeof(first));
	*ret_escaped = be32_to_cpu(first) == JBD2_MAGIC_NUMBER;
	*ret_data = copy->data;
	if (!*ret_escaped)
		return 0;
	err = writer_make(w, ret_data);
	if (!err)
		memcpy(*ret_data + sizeof(first), copy->data + sizeof(first),
		       w->j->block_size - sizeof(first));
	return err;
}

/* A descriptor block and the @count copies it describes. */
static int put_group(struct log_writer *w, const struct copy *copies, uint32_t count)
{
	uint32_t bs = w->j->block_size, off = sizeof(struct jbd2_header), i;
	uint8_t **logged = malloc(count * sizeof(*logged));
	uint8_t *block;
	int err;

	err = logged ? writer_make_typed(w, JBD2_DESCRIPTOR_BLOCK, &block) : -ENOMEM;
	for (i = 0; !err && i < count; i++) {
		uint32_t flags = i == 0 ? 0 : JBD2_FLAG_SAME_UUID;
		bool escaped;

		err = logged_block(w, &copies[i], &logged[i], &escaped);
		if (err)
			break;
		flags |= escaped ? JBD2_FLAG_ESCAPE : 0;
		flags |= i == count - 1 ? JBD2_FLAG_LAST_TAG : 0;
		set_tag(w, block + off, copies[i].pblk, flags, logged[i]);
		off += w->log->tag_bytes;
		if (i == 0) {
			memcpy(block + off, w->log->sb.s_uuid, JBD2_TAG_UUID_SIZE);
			off += JBD2_TAG_UUID_SIZE;
		}
	}
	if (!err) {
		log_tail_set(w->log, block);
		err = writer_put(w, block);
	}
	if (!err && w->log->csum_v1)
		w->crc = crc32_be(w->crc, block, bs);
	for (i = 0; !err && i < count; i++) {
		if (w->log->csum_v1)
			w->crc = crc32_be(w->crc, logged[i], bs);
		err = writer_put(w, logged[i]);
	}
	free(logged);
	return err;
}

/* The one block that must be durable before anybody is told. */
static int write_commit(struct log_writer *w)
{
	struct journal *j = w->j;
	uint64_t off = log_block_addr(w->log, j->head) * j->block_size;
	struct jbd2_commit_block *commit;
	struct timespec now;
	uint8_t *block;
	int err;

	err = writer_make_typed(w, JBD2_COMMIT_BLOCK, &block);
	if (err)
		return err;
	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
	commit = (void *)block;
	commit->h_commit_sec = cpu_to_be64((uint64_t)now.tv_sec);
	commit->h_commit_nsec = cpu_to_be32((uint32_t)now.tv_nsec);
	if (w->log->csum_v1) {
		commit->h_chksum_type = JBD2_CRC32_CHKSUM;
		commit->h_chksum_size = JBD2_CRC32_CHKSUM_SIZE;
		commit->h_chksum[0] = cpu_to_be32(w->crc);
	} else if (w->log->tail_bytes) {
		commit->h_chksum[0] = cpu_to_be32(log_commit_checksum(w->log, block));
	}
	j->head = log_next(w->log, j->head);
	if (j->opts.no_barrier)
		return bdev_write(j->bdev, block, j->block_size, off);
	return bdev_write_durable(j->bdev, block, j->block_size, off);
}

static uint32_t blocks_needed(const struct log *log, uint32_t copies, uint32_t revokes)
{
	return DIV_ROUND_UP(revokes, log_revokes_per_block(log)) +
	       DIV_ROUND_UP(copies, tags_per_block(log)) + copies + 1;
}

/* Checkpoints until @need blocks of the log may be written. */
static int ensure_space(struct journal *j, uint32_t need, uint32_t tid)
{
	uint32_t circle = log_circle(j->log);
	int err = 0;

	/* One block stays free, so that the head never meets the tail. */
	if (need >= circle)
		return -ENOSPC;
	if (ckpt_log_free(j) > need)
		return 0;
	if (j->log_freed == 0)
		err = ckpt_write(j, MAX(need + 1, circle / 2), tid);
	if (!err)
		err = log_flush(j);
	if (!err && ckpt_log_free(j) <= need)
		err = ckpt_write(j, UINT32_MAX, tid);
	if (!err)
		err = log_flush(j);
	if (!err && ckpt_log_free(j) <= need)
		err = -ENOSPC;
	return err;
}

/* The log was empty: from now on recovery must look at it. */
static int open_log(struct journal *j, uint32_t tid)
{
	struct jbd2_super_block *sb = &j->log->sb;
	int err;

	sb->s_start = cpu_to_be32(j->head);
	sb->s_sequence = cpu_to_be32(tid);
	err = log_super_write(j->log);
	if (!err)
		j->log_empty = false;
	return err;
}

static int write_log(struct journal *j, struct log_writer *w, struct ckpt_set *set,
		     const struct revoke_table *revokes)
{
	uint32_t per_block = tags_per_block(j->log), i;
	int err;

	err = put_revokes(w, revokes);
	for (i = 0; !err && i < set->count; i += per_block)
		err = put_group(w, &set->copies[i], MIN(per_block, set->count - i));
	if (!err)
		err = writer_flush(w);
	if (!err)
		err = log_flush(j);
	return err ? err : write_commit(w);
}

static int commit_to_log(struct journal *j, struct transaction *t, struct ckpt_set *set)
{
	struct log_writer w = { .j = j, .log = j->log, .tid = t->tid, .crc = ~0u };
	uint32_t need = blocks_needed(j->log, set->count, t->revokes.count);
	int err;

	if (j->log_empty && set->count == 0 && t->revokes.count == 0)
		return log_flush(j); /* only file data: nobody will miss this number in the log */
	err = ensure_space(j, need, t->tid);
	if (!err && j->log_empty)
		err = open_log(j, t->tid);
	if (err)
		return err;
	set->log_start = j->head;
	set->log_blocks = need;
	set->made_ns = journal_now_ns();
	err = write_log(j, &w, set, &t->revokes);
	writer_fini(&w);
	if (!err)
		j->log_used += need;
	return err;
}

/* ---- the whole ------------------------------------------------------------ */

/* Durable: its copies replace older ones, and what it freed is never written again. */
static void hand_to_checkpoint(struct journal *j, struct transaction *t, struct ckpt_set *set)
{
	uint32_t i;

	for (i = 0; t->revokes.count > 0 && i < t->revokes.size; i++) {
		if (t->revokes.entries[i].key)
			ckpt_forget(&j->ckpt, t->revokes.entries[i].key - 1);
	}
	ckpt_add(&j->ckpt, set);
}

static int commit_direct(struct journal *j, struct ckpt_set *set)
{
	int err = ckpt_write_direct(j, set);

	return err ? err : journal_flush_device(j);
}

/* Nobody else can join it after this, and nobody is in it. */
static void lock_transaction(struct journal *j, struct transaction *t, bool *ret_forced)
{
	mutex_lock(&j->lock);
	*ret_forced = j->commit_forced;
	atomic_fetch_or(&t->state, TXN_LOCKED);
	txn_wait_updates_locked(j, t);
	mutex_unlock(&j->lock);
}

static void open_next(struct journal *j, struct transaction *t, uint64_t locked_ns)
{
	struct transaction *next = t == &j->txns[0] ? &j->txns[1] : &j->txns[0];
	uint64_t ns = journal_now_ns() - locked_ns;

	mutex_lock(&j->lock);
	j->stats.handles += txn_handles(atomic_load(&t->state));
	j->stats.freeze_ns_max = MAX(j->stats.freeze_ns_max, ns);
	txn_open_locked(j, next, t->tid + 1);
	mutex_unlock(&j->lock);
}

static void finish(struct journal *j, struct transaction *t, const struct ckpt_set *set,
		   uint64_t ns)
{
	uint32_t revokes = t->revokes.count;

	revoke_table_clear(&t->revokes);
	txn_run_callbacks(t, 0);
	mutex_lock(&j->lock);
	j->stats.commits++;
	j->stats.revokes += revokes;
	j->stats.blocks_logged += set ? set->count : 0;
	j->stats.credits_overdrawn += atomic_load(&t->overdrawn);
	j->stats.commit_ns_total += ns;
	j->stats.commit_ns_max = MAX(j->stats.commit_ns_max, ns);
	if (j->log)
		j->stats.log_blocks_free = j->log_empty ? log_circle(j->log) : ckpt_log_free(j);
	atomic_store(&j->tid_committed, t->tid);
	cond_wake_all(&j->done_cond);
	mutex_unlock(&j->lock);
}

int commit_transaction(struct journal *j)
{
	struct transaction *t = atomic_load(&j->running);
	uint64_t started_ns = journal_now_ns();
	struct ckpt_set *set = NULL;
	bool forced;
	int err;

	lock_transaction(j, t, &forced);
	/* The last handle to leave may have aborted the journal to keep this from being committed. */
	err = atomic_load(&j->error);
	if (!err)
		err = txn_precommit(j, t);
	if (!err)
		err = freeze(j, t, &set);
	if (err)
		return err; /* stays locked: the abort path tells its callbacks */
	view_install(j);
	open_next(j, t, started_ns);
	err = j->log ? commit_to_log(j, t, set) : commit_direct(j, set);
	if (err) {
		list_add_tail(&j->ckpt.sets, &set->link); /* only to keep the pins */
		txn_run_callbacks(t, err);
		return err;
	}
	if (forced) {
		mutex_lock(&j->lock);
		j->stats.commits_forced++;
		mutex_unlock(&j->lock);
	}
	/* What is not in the log needs no place in it: at home already, or nothing at all. */
	if (set->log_blocks > 0)
		hand_to_checkpoint(j, t, set);
	finish(j, t, set, journal_now_ns() - started_ns);
	if (set->log_blocks == 0)
		set_free(&j->ckpt, set);
	return 0;
}
