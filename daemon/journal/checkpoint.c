// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checkpoints: bring home what committed transactions changed, and give their
 * part of the log back.
 *
 * Each committed transaction leaves a set of copies. A table finds the newest
 * copy of each block; an older one leaves its set when a newer one commits, or
 * when the block's revocation commits. So writing home is writing all that is
 * left in the oldest sets, in any order.
 *
 * Invariants
 * (1) A copy is written home only after its transaction's commit block is durable:
 *     it enters a set only then.
 * (2) The tail moves past a set only when nothing is left in it, or all of it was
 *     written and flushed.
 * (3) Blocks between the old and the new tail are written again only after the
 *     superblock with the new tail was flushed; until then they count as
 *     log_freed, not as free.
 * (4) Home is written from copies, never from live buffers.
 *
 * Only the commit thread comes here.
 */
#include "daemon/journal/journal_priv.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"

#define TABLE_SIZE_MIN 1024u
#define TABLE_SIZE_MAX (1u << 28)
#define HOME_IOV_MAX 256
#define DATA_ALIGN_MAX 4096u

/* ---- memory of copies ----------------------------------------------------- */

static struct chunk *chunk_new(struct copy_pool *p)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk));

	if (!chunk)
		return NULL;
	chunk->data = aligned_alloc(MIN(p->block_size, DATA_ALIGN_MAX),
				    (size_t)p->block_size * CHUNK_BLOCKS);
	if (!chunk->data) {
		free(chunk);
		return NULL;
	}
	p->bytes += (uint64_t)p->block_size * CHUNK_BLOCKS;
	return chunk;
}

static void chunk_free(struct copy_pool *p, struct chunk *chunk)
{
	p->bytes -= (uint64_t)p->block_size * CHUNK_BLOCKS;
	free(chunk->data);
	free(chunk);
}

/* Nothing in @chunk is used any more. Spare memory is kept up to what is in use. */
static void chunk_retire(struct copy_pool *p, struct chunk *chunk)
{
	uint64_t bytes = (uint64_t)p->block_size * CHUNK_BLOCKS;

	chunk->used = 0;
	if (p->bytes_spare > 8 * bytes && p->bytes_spare > p->bytes / 2) {
		chunk_free(p, chunk);
		return;
	}
	chunk->next = p->spare;
	p->spare = chunk;
	p->bytes_spare += bytes;
}

void pool_put(struct copy_pool *p, struct chunk *chunk)
{
	CHECK(chunk->refs > 0);
	if (--chunk->refs == 0)
		chunk_retire(p, chunk);
	else if (chunk == p->current && chunk->refs == 1)
		chunk->used = 0;
}

int pool_get(struct copy_pool *p, uint8_t **ret_data, struct chunk **ret_chunk)
{
	struct chunk *chunk = p->current;

	if (!chunk || chunk->used == CHUNK_BLOCKS) {
		if (chunk) {
			p->current = NULL;
			pool_put(p, chunk);
		}
		chunk = p->spare;
		if (chunk) {
			p->spare = chunk->next;
			p->bytes_spare -= (uint64_t)p->block_size * CHUNK_BLOCKS;
		} else {
			chunk = chunk_new(p);
		}
		if (!chunk)
			return -ENOMEM;
		chunk->refs = 1;
		p->current = chunk;
	}
	*ret_data = chunk->data + (size_t)chunk->used++ * p->block_size;
	*ret_chunk = chunk;
	chunk->refs++;
	return 0;
}

static void pool_fini(struct copy_pool *p)
{
	if (p->current)
		pool_put(p, p->current);
	p->current = NULL;
	while (p->spare) {
		struct chunk *chunk = p->spare;

		p->spare = chunk->next;
		chunk_free(p, chunk);
	}
	p->bytes_spare = 0;
}

/* ---- the table of newest copies ------------------------------------------- */

static struct copy **bucket_of(const struct checkpoint *ck, uint64_t pblk)
{
	return &ck->table[(pblk * 0x9e3779b97f4a7c15ULL >> 32) & (ck->table_size - 1)];
}

int ckpt_init(struct checkpoint *ck, uint32_t block_size)
{
	list_init(&ck->sets);
	ck->pool.block_size = block_size;
	ck->table_size = TABLE_SIZE_MIN;
	ck->table = calloc(ck->table_size, sizeof(*ck->table));
	return ck->table ? 0 : -ENOMEM;
}

int ckpt_reserve(struct checkpoint *ck, uint32_t copies)
{
	struct checkpoint grown = { .table_size = ck->table_size };
	uint64_t wanted = (uint64_t)ck->table_count + copies;
	uint32_t i;

	while (grown.table_size < wanted && grown.table_size < TABLE_SIZE_MAX)
		grown.table_size *= 2;
	if (grown.table_size == ck->table_size)
		return 0;
	grown.table = calloc(grown.table_size, sizeof(*grown.table));
	if (!grown.table)
		return -ENOMEM;
	for (i = 0; i < ck->table_size; i++) {
		while (ck->table[i]) {
			struct copy *copy = ck->table[i];
			struct copy **bucket = bucket_of(&grown, copy->pblk);

			ck->table[i] = copy->hash_next;
			copy->hash_next = *bucket;
			*bucket = copy;
		}
	}
	free(ck->table);
	ck->table = grown.table;
	ck->table_size = grown.table_size;
	return 0;
}

/* The copy needs not go home any more, or is there. */
static void copy_drop(struct checkpoint *ck, struct copy *copy)
{
	atomic_fetch_sub(&copy->buf->copies, 1);
	buf_put(copy->buf);
	pool_put(&ck->pool, copy->chunk);
	copy->set->live--;
	copy->set = NULL;
}

static void table_remove(struct checkpoint *ck, struct copy *copy)
{
	struct copy **link = bucket_of(ck, copy->pblk);

	while (*link != copy)
		link = &(*link)->hash_next;
	*link = copy->hash_next;
	ck->table_count--;
}

void ckpt_forget(struct checkpoint *ck, uint64_t pblk)
{
	struct copy *copy = *bucket_of(ck, pblk);

	while (copy && copy->pblk != pblk)
		copy = copy->hash_next;
	if (!copy)
		return;
	table_remove(ck, copy);
	copy_drop(ck, copy);
}

void ckpt_add(struct checkpoint *ck, struct ckpt_set *set)
{
	uint32_t i;

	for (i = 0; i < set->count; i++) {
		struct copy *copy = &set->copies[i];
		struct copy **bucket;

		ckpt_forget(ck, copy->pblk);
		bucket = bucket_of(ck, copy->pblk);
		copy->hash_next = *bucket;
		*bucket = copy;
		ck->table_count++;
	}
	list_add_tail(&ck->sets, &set->link);
}

void set_free(struct checkpoint *ck, struct ckpt_set *set)
{
	uint32_t i;

	if (!set)
		return;
	for (i = 0; i < set->count; i++) {
		if (set->copies[i].set)
			copy_drop(ck, &set->copies[i]);
	}
	free(set);
}

void ckpt_fini(struct checkpoint *ck)
{
	struct list *pos, *tmp;

	if (!ck->table)
		return;
	list_for_each_safe(pos, tmp, &ck->sets)
		set_free(ck, list_entry(pos, struct ckpt_set, link));
	free(ck->table);
	ck->table = NULL;
	pool_fini(&ck->pool);
}

/* ---- writing home --------------------------------------------------------- */

static int compare_copies(const void *a, const void *b)
{
	const struct copy *left = *(struct copy *const *)a;
	const struct copy *right = *(struct copy *const *)b;

	return left->pblk < right->pblk ? -1 : left->pblk > right->pblk;
}

/* Sorted, so that neighbours go in one call. */
static int write_copies(struct journal *j, struct copy **copies, size_t count)
{
	struct iovec iov[HOME_IOV_MAX];
	size_t i, run;

	if (count == 0)
		return 0;
	qsort(copies, count, sizeof(*copies), compare_copies);
	for (i = 0; i < count; i += run) {
		uint64_t pblk = copies[i]->pblk;
		int err;

		for (run = 0; run < HOME_IOV_MAX && i + run < count; run++) {
			if (copies[i + run]->pblk != pblk + run)
				break;
			iov[run] = (struct iovec){ .iov_base = copies[i + run]->data,
						   .iov_len = j->block_size };
		}
		err = bdev_writev(j->bdev, iov, (int)run, pblk * j->block_size);
		if (err)
			return err;
	}
	mutex_lock(&j->lock);
	j->stats.blocks_home += count;
	mutex_unlock(&j->lock);
	return 0;
}

/* All that is left in the sets from the oldest to before @end. */
static int write_sets(struct journal *j, struct list *end, size_t live)
{
	struct copy **copies = live ? malloc(live * sizeof(*copies)) : NULL;
	struct list *pos;
	size_t count = 0;
	int err;

	if (live && !copies)
		return -ENOMEM;
	for (pos = j->ckpt.sets.next; pos != end; pos = pos->next) {
		struct ckpt_set *set = list_entry(pos, struct ckpt_set, link);
		uint32_t i;

		for (i = 0; i < set->count; i++) {
			if (set->copies[i].set)
				copies[count++] = &set->copies[i];
		}
	}
	CHECK(count == live);
	err = write_copies(j, copies, count);
	free(copies);
	return err || live == 0 ? err : log_flush(j);
}

static void drop_sets(struct checkpoint *ck, struct list *end)
{
	while (ck->sets.next != end) {
		struct ckpt_set *set = list_entry(ck->sets.next, struct ckpt_set, link);
		uint32_t i;

		for (i = 0; i < set->count; i++) {
			if (set->copies[i].set)
				table_remove(ck, &set->copies[i]);
		}
		list_del(&set->link);
		set_free(ck, set);
	}
}

int log_flush(struct journal *j)
{
	int err = journal_flush_device(j);

	if (err)
		return err;
	j->log_used -= j->log_freed;
	j->log_freed = 0;
	return 0;
}

uint32_t ckpt_log_free(const struct journal *j)
{
	return log_circle(j->log) - j->log_used;
}

/*
 * Where to stop: before the first set whose log space is not needed. Counts what
 * is left in those before it and the log blocks that they hold.
 */
static struct list *choose_end(struct journal *j, uint32_t log_free, size_t *ret_live,
			       uint32_t *ret_blocks)
{
	struct list *pos = j->ckpt.sets.next;
	uint32_t gained = j->log_freed;

	*ret_live = 0;
	*ret_blocks = 0;
	for (; pos != &j->ckpt.sets; pos = pos->next) {
		struct ckpt_set *set = list_entry(pos, struct ckpt_set, link);

		/* Sets without anything left cost nothing, so they always go. */
		if (set->live > 0 && log_free != UINT32_MAX &&
		    ckpt_log_free(j) + gained >= log_free)
			break;
		*ret_live += set->live;
		*ret_blocks += set->log_blocks;
		gained += set->log_blocks;
	}
	return pos;
}

int ckpt_write(struct journal *j, uint32_t log_free, uint32_t tid_next)
{
	struct jbd2_super_block *sb = &j->log->sb;
	uint32_t start = j->head, tid = tid_next, blocks;
	struct list *end;
	size_t live;
	int err;

	if (list_empty(&j->ckpt.sets))
		return 0;
	end = choose_end(j, log_free, &live, &blocks);
	if (end == j->ckpt.sets.next)
		return 0;
	err = write_sets(j, end, live);
	if (err)
		return err;
	if (end != &j->ckpt.sets) {
		start = list_entry(end, struct ckpt_set, link)->log_start;
		tid = list_entry(end, struct ckpt_set, link)->tid;
	}
	sb->s_start = cpu_to_be32(start);
	sb->s_sequence = cpu_to_be32(tid);
	err = log_super_write(j->log);
	if (err)
		return err;
	drop_sets(&j->ckpt, end);
	j->log_freed += blocks;
	mutex_lock(&j->lock);
	j->stats.checkpoints++;
	mutex_unlock(&j->lock);
	return 0;
}

int ckpt_write_direct(struct journal *j, struct ckpt_set *set)
{
	struct copy **copies = set->count ? malloc(set->count * sizeof(*copies)) : NULL;
	uint32_t i;
	int err;

	if (set->count && !copies)
		return -ENOMEM;
	for (i = 0; i < set->count; i++)
		copies[i] = &set->copies[i];
	err = write_copies(j, copies, set->count);
	free(copies);
	return err;
}

int ckpt_mark_empty(struct journal *j, uint32_t tid_next)
{
	struct jbd2_super_block *sb = &j->log->sb;
	int err;

	CHECK(list_empty(&j->ckpt.sets));
	if (j->log_empty)
		return 0;
	/* First the last tail, or the copies home, then the mark that makes them needless. */
	err = log_flush(j);
	if (err)
		return err;
	sb->s_start = cpu_to_be32(0);
	sb->s_sequence = cpu_to_be32(tid_next);
	sb->s_head = cpu_to_be32(j->head);
	err = log_super_write(j->log);
	if (!err)
		err = log_flush(j);
	if (err)
		return err;
	j->log_empty = true;
	j->log_used = 0;
	j->log_freed = 0;
	return 0;
}
