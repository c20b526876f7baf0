// SPDX-License-Identifier: GPL-2.0-only
/* See jtest.h. */
#include "tests/unit/daemon/journal/jtest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/base/lock.h"
#include "tests/lib/test.h"

/* ---- the device that loses power ------------------------------------------ */

struct pending {
	struct pending *next;
	uint64_t off, len;
	uint8_t bytes[];
};

struct crash_bdev {
	struct bdev bdev;
	struct mutex lock;
	uint8_t *now;	 /* what a reader sees */
	uint8_t *medium; /* what survives */
	struct pending *first, **last;
	uint32_t sector;
	int64_t left;
	int64_t fails_in; /* calls until the one that fails; -1 = none */
	uint64_t count;
};

static struct crash_bdev *to_crash(struct bdev *b)
{
	return container_of(b, struct crash_bdev, bdev);
}

static int crash_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct crash_bdev *c = to_crash(b);
	int i;

	mutex_lock(&c->lock);
	for (i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, c->now + off, iov[i].iov_len);
		off += iov[i].iov_len;
	}
	mutex_unlock(&c->lock);
	return 0;
}

static bool call_fails(struct crash_bdev *c)
{
	c->count++;
	if (c->fails_in >= 0 && c->fails_in-- == 0)
		return true;
	if (c->left == 0)
		return true;
	if (c->left > 0)
		c->left--;
	return false;
}

static int crash_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct crash_bdev *c = to_crash(b);
	int err = 0, i;

	mutex_lock(&c->lock);
	if (call_fails(c))
		err = -EIO;
	for (i = 0; !err && i < iovcnt; i++) {
		struct pending *p = malloc(sizeof(*p) + iov[i].iov_len);

		CHECK(p != NULL);
		*p = (struct pending){ .off = off, .len = iov[i].iov_len };
		memcpy(p->bytes, iov[i].iov_base, p->len);
		memcpy(c->now + off, p->bytes, p->len);
		*c->last = p;
		c->last = &p->next;
		off += p->len;
	}
	mutex_unlock(&c->lock);
	return err;
}

static void drop_pending(struct crash_bdev *c)
{
	while (c->first) {
		struct pending *p = c->first;

		c->first = p->next;
		free(p);
	}
	c->last = &c->first;
}

static int crash_flush(struct bdev *b)
{
	struct crash_bdev *c = to_crash(b);
	struct pending *p;
	int err = 0;

	mutex_lock(&c->lock);
	if (call_fails(c))
		err = -EIO;
	for (p = c->first; !err && p; p = p->next)
		memcpy(c->medium + p->off, p->bytes, p->len);
	if (!err)
		drop_pending(c);
	mutex_unlock(&c->lock);
	return err;
}

static void crash_close(struct bdev *b)
{
	struct crash_bdev *c = to_crash(b);

	drop_pending(c);
	free(c->now);
	free(c->medium);
	free(c);
}

static const struct bdev_ops crash_ops = {
	.readv = crash_readv,
	.writev = crash_writev,
	.flush = crash_flush,
	.close = crash_close,
};

struct bdev *crash_bdev_new(uint64_t size, uint32_t sector)
{
	struct crash_bdev *c = calloc(1, sizeof(*c));

	CHECK(c != NULL);
	c->now = calloc(1, size);
	c->medium = calloc(1, size);
	CHECK(c->now && c->medium);
	c->last = &c->first;
	c->left = -1;
	c->fails_in = -1;
	c->sector = sector;
	mutex_init(&c->lock, LOCK_NONE);
	bdev_init(&c->bdev, &crash_ops, size);
	return &c->bdev;
}

void crash_bdev_limit(struct bdev *b, int64_t writes_left)
{
	to_crash(b)->left = writes_left;
}

void crash_bdev_fail_once(struct bdev *b, uint64_t calls_before)
{
	to_crash(b)->fails_in = (int64_t)calls_before;
}

uint64_t crash_bdev_count(struct bdev *b)
{
	return to_crash(b)->count;
}

void crash_bdev_crash(struct bdev *b)
{
	struct crash_bdev *c = to_crash(b);
	struct pending *p;

	for (p = c->first; p; p = p->next) {
		uint64_t fate = test_random_below(4), done = p->len;

		if (fate == 0)
			continue; /* lost */
		if (fate == 1)	  /* torn at a sector */
			done = test_random_below(p->len / c->sector + 1) * c->sector;
		memcpy(c->medium + p->off, p->bytes, MIN(done, p->len));
	}
	drop_pending(c);
	memcpy(c->now, c->medium, b->size);
	c->left = -1;
	c->fails_in = -1;
	b->flush_error = 0;
	atomic_store(&b->dirty_seq, 0);
	atomic_store(&b->clean_seq, 0);
}

/* ---- the bare image ------------------------------------------------------- */

#define REVOKE JBD2_FEATURE_INCOMPAT_REVOKE
#define BIT64 JBD2_FEATURE_INCOMPAT_64BIT
#define CSUM2 JBD2_FEATURE_INCOMPAT_CSUM_V2
#define CSUM3 JBD2_FEATURE_INCOMPAT_CSUM_V3

const struct jformat jformats[] = {
	{ "none", 1024, 1024, 0, 0 },
	{ "64bit", 1024, 1024, 0, REVOKE | BIT64 },
	{ "v1", 1024, 1024, JBD2_FEATURE_COMPAT_CHECKSUM, REVOKE },
	{ "v1-64bit", 4096, 1024, JBD2_FEATURE_COMPAT_CHECKSUM, REVOKE | BIT64 },
	{ "v2", 1024, 1024, 0, REVOKE | CSUM2 },
	{ "v2-64bit", 4096, 1100, 0, REVOKE | CSUM2 | BIT64 },
	{ "v3", 4096, 1024, 0, REVOKE | CSUM3 },
	{ "v3-64bit", 1024, 1100, 0, REVOKE | CSUM3 | BIT64 },
};
const uint32_t jformats_count = ARRAY_SIZE(jformats);

/* Every 100 log blocks a gap of 7. */
static uint64_t jmap_lookup(void *arg, uint32_t lblk)
{
	(void)arg;
	return LOG_START + lblk + lblk / 100 * 7;
}

const struct journal_map jmap = { .lookup = jmap_lookup };

bool jtest_in_log(const struct jformat *f, uint64_t pblk)
{
	uint64_t end = jmap_lookup(NULL, f->log_blocks - 1);

	return pblk >= LOG_START && pblk <= end && (pblk - LOG_START) % 107 < 100;
}

void jtest_format(struct bdev *b, const struct jformat *f)
{
	struct jbd2_super_block sb = {
		.s_header = { .h_magic = cpu_to_be32(JBD2_MAGIC_NUMBER),
			      .h_blocktype = cpu_to_be32(JBD2_SUPERBLOCK_V2) },
		.s_blocksize = cpu_to_be32(f->block_size),
		.s_maxlen = cpu_to_be32(f->log_blocks),
		.s_first = cpu_to_be32(1),
		.s_sequence = cpu_to_be32(1),
		.s_feature_compat = cpu_to_be32(f->compat),
		.s_feature_incompat = cpu_to_be32(f->incompat),
		.s_uuid = "sixteen bytes ok",
		.s_nr_users = cpu_to_be32(1),
	};

	if (f->incompat & (CSUM2 | CSUM3)) {
		sb.s_checksum_type = JBD2_CRC32C_CHKSUM;
		sb.s_checksum = cpu_to_be32(crc32c(~0u, &sb, sizeof(sb)));
	}
	CHECK_OK(bdev_write(b, &sb, sizeof(sb), (uint64_t)LOG_START * f->block_size));
	CHECK_OK(bdev_flush(b));
}

struct jbd2_super_block jtest_super(struct bdev *b, const struct jformat *f)
{
	struct jbd2_super_block sb;

	CHECK_OK(bdev_read(b, &sb, sizeof(sb), (uint64_t)LOG_START * f->block_size));
	return sb;
}

struct journal_recovery_info jtest_recover(struct bdev *b, const struct jformat *f)
{
	struct journal_recovery_info info;
	const char *what = "";
	int err = journal_recover(b, f->block_size, &jmap, f->log_blocks, false, &info, &what);

	if (err)
		FAIL("%s: recovery: %d: %s", f->name, err, what);
	return info;
}
