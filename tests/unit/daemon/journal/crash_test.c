// SPDX-License-Identifier: GPL-2.0-only
/*
 * Power cuts at random moments, in every log format, judged by a model.
 *
 * Each handle is a version: it changes some blocks and writes its number into
 * one more. After a cut and recovery that block says which version is there;
 * the model knows what every block must hold in it: a metadata stamp, a file
 * data stamp, or anything (free). Versions acknowledged by a commit must not be
 * missing.
 */
#include "daemon/journal/journal.h"

#include <string.h>

#include "tests/lib/test.h"
#include "tests/unit/daemon/journal/jtest.h"

#define COUNTER_BLOCK 1300
#define FIRST_BLOCK 1301
#define BLOCKS 500
#define VERSIONS_MAX 120
#define CHANGES_MAX 40
#define CHANGES_BIG_MAX 240
#define LIVES 4

enum kind { ANY, META, DATA };

struct content {
	enum kind kind;
	uint32_t stamp;
};

struct model {
	const struct jformat *f;
	struct bdev *bdev;
	struct cache *cache;
	struct journal *j;
	uint32_t base;	     /* version of history[0] */
	uint32_t now, acked; /* versions */
	uint32_t changes_max;
	struct content history[VERSIONS_MAX + 1][BLOCKS];
	uint32_t freed_tid[BLOCKS]; /* transaction that freed it */
	uint8_t expected[4096], found[4096];
};

static struct model m;

/* Some look like blocks of the log itself. */
static void fill(uint8_t *data, uint32_t block, struct content c)
{
	be32 magic = cpu_to_be32(JBD2_MAGIC_NUMBER);
	uint32_t word = c.stamp * 4 + c.kind, i;

	for (i = 0; i < m.f->block_size; i += sizeof(word))
		memcpy(data + i, &word, sizeof(word));
	if (c.kind == META && block % 5 == 0)
		memcpy(data, &magic, sizeof(magic));
}

static struct content *contents(uint32_t version)
{
	return m.history[version - m.base];
}

static void write_meta(struct handle *h, uint32_t block, struct content c, bool create)
{
	struct buf *b;

	if (create) {
		CHECK_OK(buf_get_new(m.cache, FIRST_BLOCK + block, &b));
		if (journal_get_create(h, b) == 0) {
			fill(b->data, block, c);
			journal_dirty(h, b, 0, m.f->block_size);
		}
	} else {
		CHECK_OK(buf_read(m.cache, FIRST_BLOCK + block, &b));
		if (journal_get_write(h, b) == 0) {
			fill(b->data, block, c);
			journal_dirty(h, b, 0, m.f->block_size);
		}
	}
	buf_put(b);
}

/* One change of one block inside version m.now. */
static void change_block(struct handle *h, uint32_t block)
{
	struct content *c = &contents(m.now)[block];
	bool freed_for_good = journal_tid_committed(m.j, m.freed_tid[block]);

	if (c->kind == ANY && !freed_for_good)
		return; /* not reusable before its freeing is durable */
	if (c->kind == META && test_random_below(8) == 0) {
		if (journal_forget(h, FIRST_BLOCK + block, 1) == 0)
			*c = (struct content){ .kind = ANY };
		m.freed_tid[block] = h->tid;
	} else if (c->kind == DATA) {
		*c = (struct content){ .kind = ANY };
		m.freed_tid[block] = h->tid;
	} else if (c->kind == ANY && test_random_below(2) == 0) {
		*c = (struct content){ .kind = DATA, .stamp = m.now };
		fill(m.expected, block, *c);
		/* A failure shows up at the commit: the power is gone. */
		(void)bdev_write(m.bdev, m.expected, m.f->block_size,
				 (uint64_t)(FIRST_BLOCK + block) * m.f->block_size);
	} else {
		bool create = c->kind == ANY;

		*c = (struct content){ .kind = META, .stamp = m.now };
		write_meta(h, block, *c, create);
	}
}

static int write_counter(struct handle *h)
{
	struct buf *b;
	int err;

	CHECK_OK(buf_read(m.cache, COUNTER_BLOCK, &b));
	err = journal_get_write(h, b);
	if (!err) {
		memcpy(b->data, &m.now, sizeof(m.now));
		journal_dirty(h, b, 0, sizeof(m.now));
	}
	buf_put(b);
	return err;
}

static int run_version(void)
{
	uint32_t changes = 1 + (uint32_t)test_random_below(m.changes_max), i;
	bool touched[BLOCKS] = { false };
	struct handle h;
	int err;

	err = journal_start(m.j, changes + 1, &h);
	if (err)
		return err;
	m.now++;
	memcpy(contents(m.now), contents(m.now - 1), sizeof(m.history[0]));
	err = write_counter(&h);
	for (i = 0; !err && i < changes; i++) {
		uint32_t block = (uint32_t)test_random_below(BLOCKS);

		if (touched[block])
			continue; /* at most one change of a block in a version */
		touched[block] = true;
		change_block(&h, block);
	}
	err = journal_stop(&h);
	if (!err && test_random_below(3) == 0) {
		err = journal_commit_wait(m.j, handle_tid(&h));
		if (!err)
			m.acked = m.now;
	}
	if (!err && test_random_below(20) == 0) {
		err = journal_checkpoint_all(m.j);
		if (!err)
			m.acked = m.now;
	}
	return err;
}

static void check_image(const char *when)
{
	uint32_t version, block;

	CHECK_OK(bdev_read(m.bdev, &version, sizeof(version),
			   (uint64_t)COUNTER_BLOCK * m.f->block_size));
	if (version < m.acked || version > m.now)
		FAIL("%s: %s: version %u is there, %u was acknowledged, %u written", m.f->name,
		     when, version, m.acked, m.now);
	for (block = 0; block < BLOCKS; block++) {
		struct content c = contents(version)[block];

		if (c.kind == ANY)
			continue;
		fill(m.expected, block, c);
		CHECK_OK(bdev_read(m.bdev, m.found, m.f->block_size,
				   (uint64_t)(FIRST_BLOCK + block) * m.f->block_size));
		if (memcmp(m.expected, m.found, m.f->block_size) != 0)
			FAIL("%s: %s: block %u is wrong in version %u", m.f->name, when, block,
			     version);
	}
	/* The next life begins here; what is anything stays that. */
	memmove(m.history[0], contents(version), sizeof(m.history[0]));
	m.base = m.now = m.acked = version;
}

static void open_journal(void)
{
	struct journal_opts opts = { .commit_interval_ms = 60000,
				     .csum_v3 = m.f->incompat & JBD2_FEATURE_INCOMPAT_CSUM_V3,
				     .copies_bytes_max = 4u << 20 };

	CHECK_OK(cache_new(m.bdev, m.f->block_size, 32, &m.cache));
	CHECK_OK(journal_open(m.cache, &jmap, m.f->log_blocks, &opts, &m.j));
	memset(m.freed_tid, 0, sizeof(m.freed_tid));
}

/* Numbers of lost versions are used again: a stamp must tell which life wrote it. */
static void begin_life(uint32_t life)
{
	uint32_t first = m.now > life * 1000 ? m.now : life * 1000;

	m.base = m.now = m.acked = first;
	m.changes_max = life % 2 ? CHANGES_BIG_MAX : CHANGES_MAX;
	open_journal();
}

static void run_life(bool cut)
{
	int err = 0;

	if (cut)
		crash_bdev_limit(m.bdev, (int64_t)test_random_below(300));
	while (!err && m.now - m.base < VERSIONS_MAX)
		err = run_version();
	if (!cut) {
		CHECK_EQ(err, 0);
		CHECK_OK(journal_close(m.j));
		m.acked = m.now;
	} else if (test_random_below(2)) {
		/* Perhaps the power lasts until the end. */
		err = journal_close(m.j);
		if (!err)
			m.acked = m.now;
	} else {
		journal_destroy(m.j);
	}
	cache_free(m.cache);
	crash_bdev_crash(m.bdev);
}

static void write_first_version(void)
{
	struct content none = { 0 };
	uint32_t block;

	for (block = 0; block < BLOCKS; block++)
		m.history[0][block] = none;
	m.base = m.now = m.acked = 0;
}

static void run_lives(const struct jformat *f, bool cut)
{
	uint32_t life;

	memset(&m, 0, sizeof(m));
	m.f = f;
	m.bdev = crash_bdev_new((uint64_t)IMAGE_BLOCKS * f->block_size, 512);
	jtest_format(m.bdev, f);
	write_first_version();
	for (life = 0; life < LIVES; life++) {
		uint32_t before = m.now;

		begin_life(life);
		CHECK_OK(bdev_write(m.bdev, &m.now, sizeof(m.now),
				    (uint64_t)COUNTER_BLOCK * f->block_size));
		CHECK_OK(bdev_flush(m.bdev));
		CHECK_GE(m.now, before);
		run_life(cut);
		if (cut)
			jtest_recover(m.bdev, f);
		check_image(cut ? "after a power cut" : "after closing");
	}
	bdev_close(m.bdev);
}

TEST(test_journal__clean_lives_in_every_format)
{
	uint32_t i;

	for (i = 0; i < jformats_count; i++)
		run_lives(&jformats[i], false);
	CHECK_GT(m.now, 0);
}

TEST(test_journal__power_cuts_in_every_format)
{
	uint32_t i;

	for (i = 0; i < jformats_count; i++)
		run_lives(&jformats[i], true);
	CHECK_GT(m.now, 0);
}
