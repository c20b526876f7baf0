// SPDX-License-Identifier: GPL-2.0-only
/* The journal's interface: transactions, credits, callbacks, abort, no log. */
#include "daemon/journal/journal_priv.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/test.h"
#include "tests/unit/daemon/journal/jtest.h"

static const struct jformat *const format = &jformats[6]; /* v3, 4 KiB */

struct env {
	struct bdev *bdev;
	struct cache *cache;
	struct journal *j;
};

static struct journal_opts opts_default(void)
{
	return (struct journal_opts){ .commit_interval_ms = 60000, .csum_v3 = true };
}

static struct env env_new(const struct journal_opts *opts, bool log)
{
	struct env e = { .bdev = crash_bdev_new((uint64_t)IMAGE_BLOCKS * format->block_size, 512) };

	jtest_format(e.bdev, format);
	CHECK_OK(cache_new(e.bdev, format->block_size, 64, &e.cache));
	CHECK_OK(journal_open(e.cache, log ? &jmap : NULL, format->log_blocks, opts, &e.j));
	return e;
}

static void env_free(struct env *e)
{
	cache_free(e->cache);
	bdev_close(e->bdev);
}

static void set_word(struct handle *h, struct cache *c, uint64_t pblk, uint64_t word)
{
	struct buf *b;

	CHECK_OK(buf_read(c, pblk, &b));
	CHECK_OK(journal_get_write(h, b));
	rwlock_write(&b->lock);
	memcpy(b->data, &word, sizeof(word));
	rwlock_unwrite(&b->lock);
	journal_dirty(h, b, 0, sizeof(word));
	buf_put(b);
}

static uint64_t device_word(struct env *e, uint64_t pblk)
{
	uint64_t word;

	CHECK_OK(bdev_read(e->bdev, &word, sizeof(word), pblk * format->block_size));
	return word;
}

static uint32_t write_block(struct env *e, uint64_t pblk, uint64_t word)
{
	struct handle h;

	CHECK_OK(journal_start(e->j, 1, &h));
	set_word(&h, e->cache, pblk, word);
	CHECK_OK(journal_stop(&h));
	return handle_tid(&h);
}

TEST(test_journal__commit_is_durable_and_close_brings_home)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	uint32_t tid = write_block(&e, 1500, 77);

	CHECK(!journal_tid_committed(e.j, tid));
	CHECK_OK(journal_commit_wait(e.j, tid));
	CHECK(journal_tid_committed(e.j, tid));
	CHECK_EQ(device_word(&e, 1500), 0); /* home waits for the checkpoint */
	CHECK_NE(be32_to_cpu(jtest_super(e.bdev, format).s_start), 0);
	crash_bdev_crash(e.bdev);
	journal_destroy(e.j);
	CHECK_EQ(jtest_recover(e.bdev, format).transactions, 1);
	CHECK_EQ(device_word(&e, 1500), 77);
	CHECK_OK(journal_open(e.cache, &jmap, format->log_blocks, &opts, &e.j));
	write_block(&e, 1500, 78);
	CHECK_OK(journal_close(e.j));
	CHECK_EQ(device_word(&e, 1500), 78);
	CHECK_EQ(be32_to_cpu(jtest_super(e.bdev, format).s_start), 0);
	CHECK(!jtest_recover(e.bdev, format).replayed);
	env_free(&e);
}

TEST(test_journal_open__refuses_a_log_that_needs_recovery)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);

	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1500, 1)));
	journal_destroy(e.j);
	CHECK_ERR(journal_open(e.cache, &jmap, format->log_blocks, &opts, &e.j), -EUCLEAN);
	env_free(&e);
}

TEST(test_journal__untouched_mount_writes_nothing)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	uint64_t before = crash_bdev_count(e.bdev);

	CHECK_OK(journal_sync(e.j));
	CHECK_OK(journal_close(e.j));
	CHECK_EQ(crash_bdev_count(e.bdev), before);
	env_free(&e);
}

/* Only file data was written: the commit flushes it, and the log stays as empty as it was. */
TEST(test_journal__empty_transaction_leaves_the_log_empty)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct journal_stats stats;
	struct handle h;

	CHECK_OK(journal_start(e.j, 1, &h));
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_sync(e.j));
	CHECK_OK(journal_close(e.j));
	CHECK_EQ(be32_to_cpu(jtest_super(e.bdev, format).s_start), 0);
	CHECK_OK(journal_open(e.cache, &jmap, format->log_blocks, &opts, &e.j));
	journal_get_stats(e.j, &stats);
	CHECK_EQ(stats.checkpoints, 0);
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

/* Blocks of the log that a recovery could take for its own. */
static uint32_t blocks_with_magic(struct env *e)
{
	uint32_t lblk, count = 0;

	for (lblk = 1; lblk < format->log_blocks; lblk++) {
		uint64_t word = device_word(e, jmap.lookup(NULL, lblk));
		be32 first;

		memcpy(&first, &word, sizeof(first));
		count += be32_to_cpu(first) == JBD2_MAGIC_NUMBER;
	}
	return count;
}

TEST(test_journal__escaped_block_keeps_its_first_word)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	be32 magic = cpu_to_be32(JBD2_MAGIC_NUMBER);
	uint64_t word = 0;

	memcpy(&word, &magic, sizeof(magic));
	word |= 0x1234567800000000ULL;
	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1600, word)));
	CHECK_EQ(blocks_with_magic(&e), 2); /* descriptor and commit block, not the copy */
	crash_bdev_crash(e.bdev);
	journal_destroy(e.j);
	jtest_recover(e.bdev, format);
	CHECK_EQ(device_word(&e, 1600), word);
	CHECK_OK(journal_open(e.cache, &jmap, format->log_blocks, &opts, &e.j));
	write_block(&e, 1601, word);
	CHECK_OK(journal_close(e.j));
	CHECK_EQ(device_word(&e, 1601), word);
	env_free(&e);
}

TEST(test_journal_start__limits_credits)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	uint32_t max = journal_credits_max(e.j);
	struct handle h;

	CHECK_EQ(max, (format->log_blocks - 1) / 4);
	CHECK_ERR(journal_start(e.j, max + 1, &h), -ENOSPC);
	CHECK_OK(journal_start(e.j, max, &h));
	CHECK_EQ(journal_extend(&h, 1), 1); /* no room: restarted */
	CHECK_EQ(h.credits, max);
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_sync(e.j));
	CHECK_OK(journal_start(e.j, 10, &h));
	CHECK_EQ(journal_extend(&h, 5), 0);
	CHECK_EQ(h.credits, 15);
	CHECK_OK(journal_restart(&h, 3));
	CHECK_EQ(h.credits, 3);
	CHECK_ERR(journal_restart(&h, max + 1), -ENOSPC);
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

TEST(test_journal__credits_come_back)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct journal_stats stats;
	struct handle h;
	int i;

	for (i = 0; i < 1000; i++) {
		CHECK_OK(journal_start(e.j, journal_credits_max(e.j) / 4, &h));
		set_word(&h, e.cache, 1500 + i % 3, (uint64_t)i);
		CHECK_OK(journal_stop(&h));
	}
	journal_get_stats(e.j, &stats);
	CHECK_EQ(stats.handles, 1000);
	CHECK_EQ(stats.commits, 0);
	CHECK_OK(journal_close(e.j));
	CHECK_EQ(device_word(&e, 1500), 999);
	env_free(&e);
}

TEST(test_journal__overdrawn_credits_are_counted)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct journal_stats stats;
	struct handle h;

	CHECK_OK(journal_start(e.j, 1, &h));
	set_word(&h, e.cache, 1500, 1);
	set_word(&h, e.cache, 1501, 1);
	set_word(&h, e.cache, 1501, 2);
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_sync(e.j));
	journal_get_stats(e.j, &stats);
	CHECK_EQ(stats.credits_overdrawn, 1);
	CHECK_EQ(stats.blocks_logged, 2);
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

TEST(test_journal_dirty__keeps_the_union_of_ranges)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct handle h;
	struct buf *b;

	CHECK_OK(journal_start(e.j, 1, &h));
	CHECK_OK(buf_get_new(e.cache, 1500, &b));
	CHECK_OK(journal_get_create(&h, b));
	journal_dirty(&h, b, 100, 20);
	CHECK_EQ(atomic_load(&b->txn_dirty), 100ULL << 32 | 120);
	journal_dirty(&h, b, 0, 10);
	journal_dirty(&h, b, 50, 60);
	CHECK_EQ(atomic_load(&b->txn_dirty), 120);
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_sync(e.j));
	CHECK_EQ(atomic_load(&b->txn_dirty), 0);
	buf_put(b);
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

struct test_cb {
	struct commit_cb cb;
	int order, error;
};

static int cb_order;

static void note_commit(struct commit_cb *cb, int error)
{
	struct test_cb *t = container_of(cb, struct test_cb, cb);

	t->order = ++cb_order;
	t->error = error;
}

TEST(test_journal_on_commit__runs_in_order_before_waiters_wake)
{
	struct test_cb cbs[3] = { { .cb.fn = note_commit },
				  { .cb.fn = note_commit },
				  { .cb.fn = note_commit } };
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct handle h;
	int i;

	CHECK_OK(journal_start(e.j, 1, &h));
	for (i = 0; i < 3; i++)
		journal_on_commit(&h, &cbs[i].cb);
	set_word(&h, e.cache, 1500, 1);
	CHECK_OK(journal_stop(&h));
	CHECK_EQ(cbs[0].order, 0);
	CHECK_OK(journal_commit_wait(e.j, handle_tid(&h)));
	for (i = 0; i < 3; i++) {
		CHECK_EQ(cbs[i].order, i + 1);
		CHECK_EQ(cbs[i].error, 0);
	}
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

static int count_blocks(void *arg, struct handle *h)
{
	struct env *e = arg;

	set_word(h, e->cache, 1700, device_word(e, 1700) + 1);
	return 0;
}

TEST(test_journal__precommit_joins_the_closing_transaction)
{
	struct journal_opts opts = opts_default();
	struct env e;

	opts.precommit = count_blocks;
	opts.arg = &e;
	e = env_new(&opts, true);
	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1500, 1)));
	crash_bdev_crash(e.bdev);
	journal_destroy(e.j);
	CHECK_EQ(jtest_recover(e.bdev, format).blocks, 2);
	CHECK_EQ(device_word(&e, 1700), 1);
	env_free(&e);
}

/* ---- failures ------------------------------------------------------------- */

static _Atomic int aborts;

static void note_abort(void *arg, int error)
{
	(void)arg;
	CHECK_EQ(error, -EIO);
	aborts++;
}

TEST(test_journal_abort__reaches_everybody_once)
{
	struct test_cb lost = { .cb.fn = note_commit }, later = { .cb.fn = note_commit };
	struct journal_opts opts = opts_default();
	struct handle h, h2;
	struct env e;

	opts.aborted = note_abort;
	e = env_new(&opts, true);
	CHECK_OK(journal_start(e.j, 1, &h));
	set_word(&h, e.cache, 1500, 1);
	journal_on_commit(&h, &lost.cb);
	CHECK_OK(journal_stop(&h));
	crash_bdev_limit(e.bdev, 2);
	CHECK_ERR(journal_commit_wait(e.j, handle_tid(&h)), -EIO);
	while (aborts == 0) /* the error may be seen a moment before the hook has run */
		usleep(100);
	CHECK_EQ(lost.error, -EIO);
	CHECK_EQ(journal_error(e.j), -EIO);
	CHECK_ERR(journal_start(e.j, 1, &h2), -EROFS);
	CHECK_ERR(journal_sync(e.j), -EIO);
	CHECK_ERR(journal_checkpoint_all(e.j), -EIO);
	CHECK_EQ(later.order, 0);
	CHECK_ERR(journal_close(e.j), -EIO);
	CHECK_EQ(aborts, 1);
	env_free(&e);
}

TEST(test_journal_abort__open_handle_learns_at_its_end)
{
	struct test_cb cb = { .cb.fn = note_commit };
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct handle h;
	struct buf *b;

	CHECK_OK(journal_start(e.j, 4, &h));
	journal_on_commit(&h, &cb.cb);
	set_word(&h, e.cache, 1500, 1);
	journal_abort(e.j, -EUCLEAN);
	journal_abort(e.j, -EIO);
	CHECK_OK(buf_read(e.cache, 1501, &b));
	CHECK_ERR(journal_get_write(&h, b), -EROFS);
	buf_put(b);
	CHECK_ERR(journal_stop(&h), -EROFS);
	CHECK_ERR(journal_close(e.j), -EUCLEAN);
	CHECK_EQ(cb.error, -EUCLEAN);
	CHECK_EQ((int32_t)be32_to_cpu(jtest_super(e.bdev, format).s_errno), -EUCLEAN);
	CHECK_EQ(jtest_recover(e.bdev, format).log_errno, -EUCLEAN);
	CHECK_EQ(device_word(&e, 1500), 0);
	env_free(&e);
}

/* Half of an operation must not become durable, even if a commit waits for its end. */
TEST(test_journal_stop__failed_after_a_change_aborts)
{
	for (int waiting = 0; waiting < 2; waiting++) {
		struct journal_opts opts = opts_default();
		struct env e = env_new(&opts, true);
		struct handle h;

		CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1500, 1)));
		CHECK_OK(journal_start(e.j, 4, &h));
		set_word(&h, e.cache, 1500, 2);
		if (waiting) {
			journal_kick(e.j);
			usleep(20000);
		}
		CHECK_ERR(journal_forget(&h, UINT64_MAX, 1), -EUCLEAN);
		CHECK_ERR(journal_stop(&h), -EUCLEAN);
		CHECK_EQ(journal_error(e.j), -EUCLEAN);
		CHECK_ERR(journal_start(e.j, 1, &h), -EROFS);
		CHECK_ERR(journal_close(e.j), -EUCLEAN);
		CHECK_EQ(jtest_recover(e.bdev, format).log_errno, -EUCLEAN);
		CHECK_EQ(device_word(&e, 1500), 1);
		env_free(&e);
	}
}

TEST(test_journal_stop__failed_before_any_change_goes_on)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct handle h;

	CHECK_OK(journal_start(e.j, 4, &h));
	set_word(&h, e.cache, 1500, 1);
	CHECK_OK(journal_restart(&h, 4)); /* what was changed until here is whole */
	CHECK_ERR(journal_forget(&h, UINT64_MAX, 1), -EUCLEAN);
	CHECK_ERR(journal_stop(&h), -EUCLEAN);
	CHECK_OK(journal_error(e.j));
	(void)write_block(&e, 1501, 2);
	CHECK_OK(journal_close(e.j));
	CHECK_EQ(device_word(&e, 1500), 1);
	CHECK_EQ(device_word(&e, 1501), 2);
	env_free(&e);
}

/* A restart that fails leaves the handle without a transaction: everything after it is refused. */
TEST(test_journal_restart__fails_after_an_abort)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct handle h;
	struct buf *b;

	CHECK_OK(buf_read(e.cache, 1500, &b));
	CHECK_OK(journal_start(e.j, 4, &h));
	CHECK_ERR(journal_restart(&h, journal_credits_max(e.j) + 1), -ENOSPC);
	journal_abort(e.j, -EIO);
	CHECK_ERR(journal_get_create(&h, b), -EROFS);
	CHECK_ERR(journal_restart(&h, 4), -EROFS);
	CHECK_ERR(journal_extend(&h, 1), -EROFS);
	CHECK_ERR(journal_get_write(&h, b), -EROFS);
	CHECK_ERR(journal_forget(&h, 1500, 1), -EROFS);
	CHECK_ERR(journal_stop(&h), -EROFS);
	buf_put(b);
	CHECK_ERR(journal_close(e.j), -EIO);
	env_free(&e);
	CHECK_OK(journal_close(NULL));
}

TEST(test_journal_get_write__refuses_a_block_that_was_freed)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct handle h;
	struct buf *b;

	CHECK_OK(buf_read(e.cache, 1500, &b));
	CHECK_OK(journal_start(e.j, 4, &h));
	CHECK_OK(journal_forget(&h, 1500, 1));
	CHECK_ERR(journal_get_write(&h, b), -EUCLEAN);
	buf_put(b);
	CHECK_ERR(journal_stop(&h), -EUCLEAN);
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

/* Beyond what the log holds for sure, a handle that asked for too little fails. */
TEST(test_journal_get_write__overdraws_up_to_the_limit)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct handle h;
	struct buf *b;
	uint64_t pblk;
	int err = 0;

	CHECK_OK(journal_start(e.j, 1, &h));
	e.j->credits_limit = 10;
	for (pblk = 1500; !err; pblk++) {
		CHECK_LT(pblk, 1520);
		CHECK_OK(buf_read(e.cache, pblk, &b));
		err = journal_get_write(&h, b);
		buf_put(b);
	}
	CHECK_EQ(err, -ENOSPC);
	CHECK_ERR(journal_stop(&h), -ENOSPC);
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

TEST(test_journal_forget__is_bounded_by_what_a_log_revokes)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	uint32_t limit = e.j->revokes_max;
	struct handle h;

	e.j->revokes_max = 20;
	e.j->revokes_kick = 10;
	CHECK_LT(20, limit);
	CHECK_OK(journal_start(e.j, 4, &h));
	CHECK_OK(journal_forget(&h, 1500, 9));
	CHECK_OK(journal_forget(&h, 1510, 11)); /* asks for a commit */
	CHECK_ERR(journal_forget(&h, 1530, 1), -ENOSPC);
	CHECK_ERR(journal_stop(&h), -ENOSPC);
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

TEST(test_journal_commit_wait__refuses_transactions_to_come)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	uint32_t tid = write_block(&e, 1500, 1);

	CHECK_ERR(journal_commit_wait(e.j, tid + 1), -EINVAL);
	CHECK_OK(journal_commit_wait(e.j, tid));
	CHECK_OK(journal_commit_wait(e.j, tid));
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

static int refuse_old(void *arg, struct handle *h, uint64_t pblk, uint32_t count)
{
	(void)arg;
	(void)h;
	(void)count;
	return pblk == 1501 ? -ENOSPC : 0;
}

/* Contents that cannot be kept are not overwritten, and their block is not freed. */
TEST(test_journal__old_contents_are_kept_first)
{
	struct journal_opts opts = opts_default();
	struct handle h;
	struct env e;
	struct buf *b;

	opts.before_overwrite = refuse_old;
	e = env_new(&opts, true);
	CHECK_OK(journal_start(e.j, 4, &h));
	set_word(&h, e.cache, 1500, 1);
	CHECK_OK(journal_restart(&h, 4));
	CHECK_OK(buf_read(e.cache, 1501, &b));
	CHECK_ERR(journal_get_write(&h, b), -ENOSPC);
	buf_put(b);
	CHECK_ERR(journal_forget(&h, 1501, 1), -ENOSPC);
	CHECK_ERR(journal_stop(&h), -ENOSPC);
	CHECK_OK(journal_close(e.j));
	CHECK_EQ(device_word(&e, 1500), 1);
	env_free(&e);
}

/* The oldest logs know no features: it becomes version 2 when it is written. */
TEST(test_journal_open__takes_version_1_logs)
{
	be32 type = cpu_to_be32(JBD2_SUPERBLOCK_V1);
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);

	CHECK_OK(journal_close(e.j));
	CHECK_OK(bdev_write(e.bdev, &type, sizeof(type),
			    (uint64_t)LOG_START * format->block_size +
				    offsetof(struct jbd2_super_block, s_header.h_blocktype)));
	CHECK(!jtest_recover(e.bdev, format).replayed);
	opts.csum_v3 = false;
	CHECK_OK(journal_open(e.cache, &jmap, format->log_blocks, &opts, &e.j));
	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1500, 7)));
	crash_bdev_crash(e.bdev);
	journal_destroy(e.j);
	CHECK_EQ(be32_to_cpu(jtest_super(e.bdev, format).s_header.h_blocktype), JBD2_SUPERBLOCK_V2);
	CHECK_EQ(jtest_recover(e.bdev, format).transactions, 1);
	CHECK_EQ(device_word(&e, 1500), 7);
	env_free(&e);
}

TEST(test_journal__readonly_starts_nothing)
{
	struct journal_opts opts = { .readonly = true };
	struct env e = env_new(&opts, true);
	struct handle h;

	CHECK_ERR(journal_start(e.j, 1, &h), -EROFS);
	CHECK_OK(journal_sync(e.j));
	CHECK_OK(journal_checkpoint_all(e.j));
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

/* Three transactions and the close. Returns how the close ended; *ret_acked what must not be lost. */
static int write_three(struct env *e, uint64_t *ret_acked)
{
	uint64_t word;
	int err = 0;

	*ret_acked = 0;
	for (word = 1; !err && word <= 3; word++) {
		struct handle h;

		err = journal_start(e->j, 2, &h);
		if (err)
			break;
		set_word(&h, e->cache, 1500, word);
		set_word(&h, e->cache, 1501, word);
		err = journal_stop(&h);
		if (!err)
			err = journal_commit_wait(e->j, handle_tid(&h));
		if (!err)
			*ret_acked = word;
	}
	return journal_close(e->j);
}

/* From the @n-th device call on all fail, or it alone. Returns how the close ended. */
static int fail_at(uint64_t n, bool once)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	uint64_t acked;
	int err;

	if (once)
		crash_bdev_fail_once(e.bdev, n);
	else
		crash_bdev_limit(e.bdev, (int64_t)n);
	err = write_three(&e, &acked);
	cache_free(e.cache);
	crash_bdev_crash(e.bdev);
	jtest_recover(e.bdev, format);
	CHECK_EQ(device_word(&e, 1500), device_word(&e, 1501));
	CHECK_GE(device_word(&e, 1500), acked);
	CHECK_LE(device_word(&e, 1500), acked + 1);
	if (!err) /* a call failed, or the close says that all is at home */
		CHECK_EQ(device_word(&e, 1500), 3);
	bdev_close(e.bdev);
	return err;
}

/* Every device call fails in turn: nothing acknowledged is lost, nothing hangs. */
TEST(test_journal__failure_sweep)
{
	uint64_t n = 0;

	while (fail_at(n, false))
		n++;
	CHECK_GT(n, 10);
}

/* The device goes on after the one failure: it must not be forgotten for that. */
TEST(test_journal__single_failure_sweep)
{
	uint64_t n = 0;

	while (fail_at(n, true))
		n++;
	CHECK_GT(n, 10);
}

/* ---- freed blocks --------------------------------------------------------- */

TEST(test_journal_forget__freed_block_is_never_written_again)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	const uint64_t data = 0xda7ada7a;
	struct handle h;

	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1500, 1)));
	CHECK_OK(journal_start(e.j, 1, &h));
	CHECK_OK(journal_forget(&h, 1500, 1));
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_commit_wait(e.j, handle_tid(&h)));
	/* Its next owner writes file data. */
	CHECK_OK(bdev_write(e.bdev, &data, sizeof(data), 1500ULL * format->block_size));
	CHECK_OK(journal_sync(e.j));
	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1501, 1)));
	crash_bdev_crash(e.bdev);
	journal_destroy(e.j);
	CHECK_EQ(jtest_recover(e.bdev, format).revoked, 1);
	CHECK_EQ(device_word(&e, 1500), data);
	env_free(&e);
}

TEST(test_journal_forget__checkpoint_leaves_it_alone)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	const uint64_t data = 0xda7ada7a;
	struct handle h;

	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1500, 1)));
	CHECK_OK(journal_start(e.j, 2, &h));
	set_word(&h, e.cache, 1500, 2);
	set_word(&h, e.cache, 1502, 2);
	CHECK_OK(journal_forget(&h, 1500, 2));
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_commit_wait(e.j, handle_tid(&h)));
	CHECK_OK(bdev_write(e.bdev, &data, sizeof(data), 1500ULL * format->block_size));
	CHECK_OK(journal_close(e.j));
	CHECK_EQ(device_word(&e, 1500), data);
	CHECK_EQ(device_word(&e, 1502), 2);
	env_free(&e);
}

TEST(test_journal_forget__creation_cancels_the_revoke)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct journal_stats stats;
	struct handle h;
	struct buf *b;

	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1500, 1)));
	CHECK_OK(journal_start(e.j, 2, &h));
	CHECK_OK(journal_forget(&h, 1500, 1));
	CHECK_OK(buf_get_new(e.cache, 1500, &b));
	CHECK_OK(journal_get_create(&h, b));
	b->data[0] = 9;
	journal_dirty(&h, b, 0, 1);
	buf_put(b);
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_commit_wait(e.j, handle_tid(&h)));
	journal_get_stats(e.j, &stats);
	CHECK_EQ(stats.revokes, 0);
	crash_bdev_crash(e.bdev);
	journal_destroy(e.j);
	CHECK_EQ(jtest_recover(e.bdev, format).revoked, 0);
	CHECK_EQ(device_word(&e, 1500), 9);
	env_free(&e);
}

TEST(test_journal_forget__refuses_blocks_beyond_the_image)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct handle h;

	CHECK_OK(journal_start(e.j, 2, &h));
	CHECK_ERR(journal_forget(&h, IMAGE_BLOCKS - 1, 2), -EUCLEAN);
	CHECK_ERR(journal_forget(&h, UINT64_MAX, 1), -EUCLEAN);
	CHECK_ERR(journal_stop(&h), -EUCLEAN);
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}

/* ---- the log's circle ------------------------------------------------------- */

/* Writes the image's last @count blocks in one transaction, beyond its credits where that is more. */
static int write_many(struct env *e, uint32_t count, uint64_t word)
{
	struct handle h;
	uint32_t i;
	int err;

	err = journal_start(e->j, MIN(count, journal_credits_max(e->j)), &h);
	if (err)
		return err;
	for (i = 0; i < count; i++) {
		struct buf *b;

		CHECK_OK(buf_get_new(e->cache, IMAGE_BLOCKS - 1 - i, &b));
		err = journal_get_create(&h, b);
		if (!err) {
			memcpy(b->data, &word, sizeof(word));
			journal_dirty(&h, b, 0, format->block_size);
		}
		buf_put(b);
		if (err)
			break;
	}
	err = journal_stop(&h);
	return err ? err : journal_commit_wait(e->j, handle_tid(&h));
}

static void wait_for_checkpoint(struct env *e)
{
	struct journal_stats stats;

	do {
		usleep(1000);
		journal_get_stats(e->j, &stats);
	} while (stats.checkpoints == 0);
}

/*
 * Two transactions go home and leave the log, a third one stays in it. The fourth is so large
 * that it needs the room of the first two: it may write there only when the tail that leaves
 * them out is durable, or recovery begins with what is overwritten and never sees the third.
 */
static void check_cut_while_the_log_is_used_again(uint64_t calls)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	uint32_t fifth = format->log_blocks / 5;

	CHECK_OK(write_many(&e, fifth, 1));
	CHECK_OK(write_many(&e, fifth, 2));
	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1200, 3)));
	CHECK_OK(write_many(&e, fifth, 3));
	wait_for_checkpoint(&e);
	crash_bdev_limit(e.bdev, (int64_t)calls);
	(void)write_many(&e, format->log_blocks / 2 - 8, 4); /* the power goes */
	journal_destroy(e.j);
	crash_bdev_crash(e.bdev);
	jtest_recover(e.bdev, format);
	CHECK_EQ(device_word(&e, 1200), 3);
	CHECK_GE(device_word(&e, IMAGE_BLOCKS - 1), 3);
	env_free(&e);
}

TEST(test_journal__tail_is_durable_before_its_blocks_are_written_again)
{
	uint64_t round;

	/* Its second calls are those behind the log's end; each cut loses other writes. */
	for (round = 0; round < 24; round++)
		check_cut_while_the_log_is_used_again(5 + round % 6);
}

/* Changes block 1200 in the next transaction as soon as this one is durable. */
struct changer {
	struct commit_cb cb;
	struct env *env;
};

static void change_next(struct commit_cb *cb, int error)
{
	struct changer *c = container_of(cb, struct changer, cb);

	CHECK_EQ(error, 0);
	write_block(c->env, 1200, 2);
}

/*
 * The commit's callbacks run before the checkpoint that follows it: block 1200 has a change
 * then that no commit knows of. Home goes what was committed.
 */
TEST(test_journal__checkpoint_brings_home_what_was_committed)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);
	struct changer c = { .cb.fn = change_next, .env = &e };
	struct handle h;

	CHECK_OK(write_many(&e, format->log_blocks / 3, 1));
	CHECK_OK(journal_start(e.j, format->log_blocks / 4 - 8, &h));
	journal_on_commit(&h, &c.cb);
	set_word(&h, e.cache, 1200, 1);
	for (uint32_t i = 0; i < format->log_blocks / 4; i++)
		set_word(&h, e.cache, 1201 + i, 1);
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_commit_wait(e.j, handle_tid(&h)));
	wait_for_checkpoint(&e);
	journal_destroy(e.j);
	crash_bdev_crash(e.bdev);
	jtest_recover(e.bdev, format);
	CHECK_EQ(device_word(&e, 1200), 1);
	env_free(&e);
}

/* ---- without a log -------------------------------------------------------- */

static void check_commit_without_log(void)
{
	struct test_cb cb = { .cb.fn = note_commit, .error = 1 };
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, false);
	struct handle h;

	CHECK(!journal_has_log(e.j));
	CHECK_OK(journal_start(e.j, 2, &h));
	set_word(&h, e.cache, 1500, 5);
	set_word(&h, e.cache, 1501, 6);
	journal_on_commit(&h, &cb.cb);
	CHECK_OK(journal_forget(&h, 1501, 1));
	CHECK_OK(journal_stop(&h));
	CHECK_OK(journal_commit_wait(e.j, handle_tid(&h)));
	CHECK_EQ(cb.error, 0);
	crash_bdev_crash(e.bdev);
	CHECK_EQ(device_word(&e, 1500), 5);
	CHECK_EQ(device_word(&e, 1501), 0);
	write_block(&e, 1502, 7);
	CHECK_OK(journal_close(e.j));
	CHECK_EQ(device_word(&e, 1502), 7);
	env_free(&e);
}

/* Each time other unflushed writes are lost. */
TEST(test_journal__without_log_commit_goes_home)
{
	uint32_t round;

	for (round = 0; round < 16; round++)
		check_commit_without_log();
}

TEST(test_journal_checkpoint_all__makes_the_image_self_contained)
{
	struct journal_opts opts = opts_default();
	struct env e = env_new(&opts, true);

	write_block(&e, 1500, 5);
	CHECK_OK(journal_checkpoint_all(e.j));
	CHECK_EQ(be32_to_cpu(jtest_super(e.bdev, format).s_start), 0);
	CHECK_EQ(device_word(&e, 1500), 5);
	CHECK_OK(journal_commit_wait(e.j, write_block(&e, 1500, 6)));
	crash_bdev_crash(e.bdev);
	journal_destroy(e.j);
	CHECK_EQ(jtest_recover(e.bdev, format).transactions, 1);
	CHECK_EQ(device_word(&e, 1500), 6);
	env_free(&e);
}

TEST(test_journal__commits_by_itself_after_the_interval)
{
	struct journal_opts opts = opts_default();
	struct env e;
	uint32_t tid;

	opts.commit_interval_ms = 20;
	e = env_new(&opts, true);
	tid = write_block(&e, 1500, 5);
	while (!journal_tid_committed(e.j, tid))
		usleep(1000);
	CHECK_OK(journal_close(e.j));
	env_free(&e);
}
