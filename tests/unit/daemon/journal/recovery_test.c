// SPDX-License-Identifier: GPL-2.0-only
/* Recovery of good, torn, corrupt and hostile logs. */
#include "daemon/journal/journal.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "tests/lib/fault.h"
#include "tests/lib/faultdev.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/journal/jtest.h"

#define FIRST_BLOCK 1400
#define TRANSACTIONS 3
#define BLOCKS_EACH 4

/* The log of the bare image, once written; tests change it and recover. */
struct image {
	const struct jformat *f;
	struct bdev *bdev;
};

static const struct jformat *format_named(const char *name)
{
	uint32_t i;

	for (i = 0; i < jformats_count; i++) {
		if (strcmp(jformats[i].name, name) == 0)
			return &jformats[i];
	}
	FAIL("no format %s", name);
}

static uint8_t stamp(uint32_t transaction, uint32_t i)
{
	return (uint8_t)(transaction * 16 + i + 1);
}

/* Transaction t writes blocks FIRST_BLOCK + 4t.., and block FIRST_BLOCK + 100 each time. */
static void write_transactions(struct bdev *b, const struct jformat *f, uint32_t count)
{
	struct journal_opts opts = { .commit_interval_ms = 60000,
				     .csum_v3 = f->incompat & JBD2_FEATURE_INCOMPAT_CSUM_V3 };
	struct cache *cache;
	struct journal *j;
	uint32_t t, i;

	CHECK_OK(cache_new(b, f->block_size, 64, &cache));
	CHECK_OK(journal_open(cache, &jmap, f->log_blocks, &opts, &j));
	for (t = 0; t < count; t++) {
		struct handle h;

		CHECK_OK(journal_start(j, BLOCKS_EACH + 1, &h));
		for (i = 0; i <= BLOCKS_EACH; i++) {
			uint64_t pblk = FIRST_BLOCK + (i < BLOCKS_EACH ? t * BLOCKS_EACH + i : 100);
			struct buf *buf;

			CHECK_OK(buf_get_new(cache, pblk, &buf));
			CHECK_OK(journal_get_create(&h, buf));
			memset(buf->data, stamp(t, i), f->block_size);
			journal_dirty(&h, buf, 0, f->block_size);
			buf_put(buf);
		}
		CHECK_OK(journal_stop(&h));
		CHECK_OK(journal_commit_wait(j, handle_tid(&h)));
	}
	journal_destroy(j);
	cache_free(cache);
}

static struct image image_new(const char *name)
{
	struct image im = { .f = format_named(name) };

	im.bdev = crash_bdev_new((uint64_t)IMAGE_BLOCKS * im.f->block_size, 512);
	jtest_format(im.bdev, im.f);
	write_transactions(im.bdev, im.f, TRANSACTIONS);
	return im;
}

static uint64_t log_byte(const struct image *im, uint32_t lblk, uint32_t off)
{
	return jmap.lookup(NULL, lblk) * im->f->block_size + off;
}

static void change(const struct image *im, uint32_t lblk, uint32_t off, const void *bytes,
		   size_t len)
{
	CHECK_OK(bdev_write(im->bdev, bytes, len, log_byte(im, lblk, off)));
}

static void change_word(const struct image *im, uint32_t lblk, uint32_t off, uint32_t word)
{
	be32 v = cpu_to_be32(word);

	change(im, lblk, off, &v, sizeof(v));
}

/* Makes the superblock's checksum right again after a change. */
static void resum(const struct image *im)
{
	struct jbd2_super_block sb = jtest_super(im->bdev, im->f);

	sb.s_checksum = cpu_to_be32(0);
	sb.s_checksum = cpu_to_be32(crc32c(~0u, &sb, sizeof(sb)));
	change(im, 0, 0, &sb, sizeof(sb));
}

static int recover(const struct image *im, struct journal_recovery_info *info, const char **what)
{
	return journal_recover(im->bdev, im->f->block_size, &jmap, im->f->log_blocks, false, info,
			       what);
}

static uint8_t home_byte(const struct image *im, uint32_t i)
{
	uint8_t byte;

	CHECK_OK(bdev_read(im->bdev, &byte, 1, (uint64_t)(FIRST_BLOCK + i) * im->f->block_size));
	return byte;
}

/* It failed with @want, says @word, and wrote nothing home. */
static void check_refused(const struct image *im, int want, const char *word)
{
	struct journal_recovery_info info;
	const char *what = "";
	uint32_t i;

	CHECK_ERR(recover(im, &info, &what), want);
	if (!strstr(what, word))
		FAIL("message \"%s\" does not name \"%s\"", what, word);
	CHECK(!info.replayed || want == 0);
	for (i = 0; i <= 100; i++)
		CHECK_EQ(home_byte(im, i), 0);
	bdev_close(im->bdev);
}

/* Log block where transaction @t (from 0) of an image begins: descriptor, 5 copies, commit. */
static uint32_t descriptor_of(uint32_t t)
{
	return 1 + t * (BLOCKS_EACH + 3);
}

static uint32_t commit_of(uint32_t t)
{
	return descriptor_of(t) + BLOCKS_EACH + 2;
}

TEST(test_journal_recover__replays_all_formats)
{
	uint32_t n, i;

	for (n = 0; n < jformats_count; n++) {
		struct image im = image_new(jformats[n].name);
		struct journal_recovery_info info = jtest_recover(im.bdev, im.f);

		CHECK(info.replayed);
		CHECK_EQ(info.transactions, TRANSACTIONS);
		CHECK_EQ(info.blocks, TRANSACTIONS * (BLOCKS_EACH + 1));
		for (i = 0; i < TRANSACTIONS * BLOCKS_EACH; i++)
			CHECK_EQ(home_byte(&im, i), stamp(i / BLOCKS_EACH, i % BLOCKS_EACH));
		CHECK_EQ(home_byte(&im, 100), stamp(TRANSACTIONS - 1, BLOCKS_EACH));
		CHECK(!jtest_recover(im.bdev, im.f).replayed);
		bdev_close(im.bdev);
	}
}

TEST(test_journal_recover__check_only_changes_nothing)
{
	struct image im = image_new("v3");
	struct journal_recovery_info info;
	const char *what;

	CHECK_OK(journal_recover(im.bdev, im.f->block_size, &jmap, im.f->log_blocks, true, &info,
				 &what));
	CHECK(info.replayed);
	CHECK_EQ(home_byte(&im, 0), 0);
	im.bdev->readonly = true;
	check_refused(&im, -EROFS, "read-only");
}

TEST(test_journal_recover__ends_before_an_unfinished_transaction)
{
	struct image im = image_new("v3");
	struct journal_recovery_info info;

	change_word(&im, commit_of(2), 0, 0);
	info = jtest_recover(im.bdev, im.f);
	CHECK_EQ(info.transactions, 2);
	CHECK_EQ(home_byte(&im, 100), stamp(1, BLOCKS_EACH));
	CHECK_EQ(home_byte(&im, 2 * BLOCKS_EACH), 0);
	/* The number of the unfinished one is not used again. */
	CHECK_EQ(be32_to_cpu(jtest_super(im.bdev, im.f).s_sequence), info.end_sequence + 1);
	bdev_close(im.bdev);
}

TEST(test_journal_recover__sequence_numbers_wrap)
{
	const struct jformat *f = format_named("64bit");
	struct image im = { .f = f };
	struct journal_recovery_info info;

	im.bdev = crash_bdev_new((uint64_t)IMAGE_BLOCKS * f->block_size, 512);
	jtest_format(im.bdev, f);
	change_word(&im, 0, offsetof(struct jbd2_super_block, s_sequence), UINT32_MAX - 2);
	write_transactions(im.bdev, f, 8);
	info = jtest_recover(im.bdev, f);
	CHECK_EQ(info.transactions, 8);
	CHECK_EQ(info.end_sequence, 6);
	CHECK_EQ(home_byte(&im, 100), stamp(7, BLOCKS_EACH));
	bdev_close(im.bdev);
}

TEST(test_journal_recover__reports_the_error_of_an_aborted_log)
{
	struct image im = image_new("none");

	change_word(&im, 0, offsetof(struct jbd2_super_block, s_errno), (uint32_t)-EIO);
	CHECK_EQ(jtest_recover(im.bdev, im.f).log_errno, -EIO);
	bdev_close(im.bdev);
}

/* ---- corrupt logs --------------------------------------------------------- */

TEST(test_journal_recover__wrong_copy_is_a_bad_checksum)
{
	struct image im = image_new("v3");

	change_word(&im, descriptor_of(1) + 2, 100, 0xdeadbeef);
	check_refused(&im, -EBADMSG, "copy of block");
	im = image_new("v2");
	change_word(&im, descriptor_of(0) + 1, 0, 0xdeadbeef);
	check_refused(&im, -EBADMSG, "copy of block");
}

/* Replaying it would change blocks that are verified but not read yet. */
TEST(test_journal_recover__refuses_a_copy_of_the_log_itself)
{
	struct image im = image_new("none");

	change_word(&im, descriptor_of(0), sizeof(struct jbd2_header),
		    (uint32_t)jmap.lookup(NULL, descriptor_of(1)));
	check_refused(&im, -EUCLEAN, "journal's own");
	im = image_new("none");
	change_word(&im, descriptor_of(0), sizeof(struct jbd2_header),
		    (uint32_t)jmap.lookup(NULL, 0));
	check_refused(&im, -EUCLEAN, "journal's own");
}

TEST(test_journal_recover__wrong_descriptor_is_a_bad_checksum)
{
	struct image im = image_new("v3-64bit");

	change_word(&im, descriptor_of(1), 40, 0xdeadbeef);
	check_refused(&im, -EBADMSG, "transaction");
}

TEST(test_journal_recover__wrong_commit_block_is_a_bad_checksum)
{
	struct image im = image_new("v3");

	change_word(&im, commit_of(0), 0x30, 0xdeadbeef);
	check_refused(&im, -EBADMSG, "transaction");
	im = image_new("v1"); /* here it is the sum of the copies */
	change_word(&im, descriptor_of(1) + 1, 8, 0xdeadbeef);
	check_refused(&im, -EBADMSG, "transaction");
}

TEST(test_journal_recover__torn_commit_block_counts)
{
	struct image im = image_new("v3");
	uint8_t old[3584];

	memset(old, 0xa5, sizeof(old));
	change(&im, commit_of(2), 512, old, sizeof(old));
	CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, TRANSACTIONS);
	bdev_close(im.bdev);
}

/* A block of an earlier life with the right number: its time goes back, and that is no corruption. */
TEST(test_journal_recover__stale_commit_block_ends_the_log)
{
	struct image im = image_new("v3");

	change_word(&im, commit_of(2), offsetof(struct jbd2_commit_block, h_commit_sec) + 4, 1);
	CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, TRANSACTIONS - 1);
	CHECK_EQ(home_byte(&im, 100), stamp(1, BLOCKS_EACH));
	bdev_close(im.bdev);
	im = image_new("v3"); /* so does a descriptor's */
	change_word(&im, descriptor_of(2), 40, 0xdeadbeef);
	change_word(&im, commit_of(2), offsetof(struct jbd2_commit_block, h_commit_sec) + 4, 1);
	CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, TRANSACTIONS - 1);
	bdev_close(im.bdev);
}

static void set_async(const struct image *im)
{
	struct jbd2_super_block sb = jtest_super(im->bdev, im->f);
	uint32_t incompat = be32_to_cpu(sb.s_feature_incompat);

	incompat |= JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT;
	change_word(im, 0, offsetof(struct jbd2_super_block, s_feature_incompat), incompat);
	resum(im);
}

TEST(test_journal_recover__asynchronous_commit_may_be_torn_at_the_end)
{
	static const char *const names[] = { "v1", "v3" };
	uint32_t i;

	for (i = 0; i < 2; i++) {
		struct image im = image_new(names[i]);

		set_async(&im);
		change_word(&im, descriptor_of(2) + 1, 8, 0xdeadbeef);
		CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, TRANSACTIONS - 1);
		CHECK_EQ(home_byte(&im, 100), stamp(1, BLOCKS_EACH));
		bdev_close(im.bdev);
		im = image_new(names[i]);
		set_async(&im);
		change_word(&im, descriptor_of(0) + 1, 8, 0xdeadbeef); /* others follow: not torn */
		check_refused(&im, -EBADMSG, "transaction");
	}
}

TEST(test_journal_recover__target_beyond_the_image_is_corruption)
{
	struct image im = image_new("none");

	change_word(&im, descriptor_of(1), sizeof(struct jbd2_header), IMAGE_BLOCKS);
	check_refused(&im, -EUCLEAN, "beyond the image");
}

/* It would change copies that are still to be read. */
TEST(test_journal_recover__target_in_the_log_is_corruption)
{
	struct image im = image_new("none");

	change_word(&im, descriptor_of(1), sizeof(struct jbd2_header),
		    (uint32_t)jmap.lookup(NULL, im.f->log_blocks - 1));
	check_refused(&im, -EUCLEAN, "journal's own");
}

/* The blocks of all transactions are neighbours: one write; the one that all changed: another. */
TEST(test_journal_recover__writes_each_block_once_and_neighbours_together)
{
	struct image im = image_new("v3");
	uint64_t before = atomic_load(&im.bdev->writes);

	CHECK(jtest_recover(im.bdev, im.f).replayed);
	CHECK_EQ(atomic_load(&im.bdev->writes) - before, 2 + 1 /* the journal's superblock */);
	bdev_close(im.bdev);
}

TEST(test_journal_recover__wrong_superblock_is_named)
{
	static const struct {
		uint32_t off, word;
		int want;
		const char *name;
	} wrong[] = {
		{ 0x00, 0x12345678, -EUCLEAN, "magic" },
		{ 0x04, 7, -EUCLEAN, "h_blocktype" },
		{ 0x0c, 2048, -EUCLEAN, "s_blocksize" },
		{ 0x10, 1025, -EUCLEAN, "s_maxlen" },
		{ 0x10, 1023, -EUCLEAN, "s_maxlen" },
		{ 0x14, 0, -EUCLEAN, "s_first" },
		{ 0x14, 1023, -EUCLEAN, "s_first" },
		{ 0x1c, 1024, -EUCLEAN, "s_start" },
		{ 0x1c, 0xffffffff, -EUCLEAN, "s_start" },
		{ 0x28, 0x40, -EOPNOTSUPP, "features" },
		{ 0x2c, 1, -EOPNOTSUPP, "features" },
		{ 0x28, 0x18, -EUCLEAN, "checksum version" },
		{ 0x50, 0x01000000, -EUCLEAN, "s_checksum_type" },
		{ 0x40, 2, -EOPNOTSUPP, "several filesystems" },
	};
	uint32_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct image im = image_new("v3");

		change_word(&im, 0, wrong[i].off, wrong[i].word);
		resum(&im);
		check_refused(&im, wrong[i].want, wrong[i].name);
	}
}

TEST(test_journal_recover__wrong_superblock_checksum)
{
	struct image im = image_new("v3");

	change_word(&im, 0, 0x18, 5);
	check_refused(&im, -EBADMSG, "s_checksum");
}

static uint64_t no_block(void *arg, uint32_t lblk)
{
	(void)arg;
	return lblk == 17 ? 0 : LOG_START + lblk;
}

static uint64_t far_block(void *arg, uint32_t lblk)
{
	(void)arg;
	return lblk == 18 ? IMAGE_BLOCKS : LOG_START + lblk;
}

TEST(test_journal_recover__log_with_a_hole_is_corruption)
{
	const struct journal_map hole = { .lookup = no_block }, far = { .lookup = far_block };
	struct image im = image_new("none");
	struct journal_recovery_info info;
	const char *what;

	CHECK_ERR(journal_recover(im.bdev, im.f->block_size, &hole, im.f->log_blocks, false, &info,
				  &what),
		  -EUCLEAN);
	CHECK_STR_EQ(what, "journal inode: no valid block 17");
	CHECK_ERR(journal_recover(im.bdev, im.f->block_size, &far, im.f->log_blocks, false, &info,
				  NULL),
		  -EUCLEAN);
	bdev_close(im.bdev);
}

/* ---- power cuts ----------------------------------------------------------- */

static void check_all_home(const struct image *im)
{
	uint32_t i;

	for (i = 0; i < TRANSACTIONS * BLOCKS_EACH; i++)
		CHECK_EQ(home_byte(im, i), stamp(i / BLOCKS_EACH, i % BLOCKS_EACH));
	CHECK_EQ(home_byte(im, 100), stamp(TRANSACTIONS - 1, BLOCKS_EACH));
}

/* The power goes again while the log is replayed: the next recovery finishes it. */
TEST(test_journal_recover__survives_power_cuts)
{
	uint32_t round, done = 0;

	for (round = 0; round < 96; round++) {
		struct image im = image_new("v2");
		struct journal_recovery_info info;
		const char *what;

		crash_bdev_limit(im.bdev, round % 8);
		done += recover(&im, &info, &what) == 0;
		crash_bdev_crash(im.bdev);
		(void)jtest_recover(im.bdev, im.f);
		check_all_home(&im);
		bdev_close(im.bdev);
	}
	CHECK_GT(done, 0); /* some limits are beyond its calls, others are not */
	CHECK_LT(done, round);
}

/* What is written into the log after a recovery lies over what was replayed: that the log is empty must be durable. */
TEST(test_journal_recover__log_is_durably_empty_before_it_is_used)
{
	uint32_t round;

	for (round = 0; round < 48; round++) {
		struct image im = image_new("none");
		struct journal_recovery_info info;
		const char *what;

		CHECK_OK(recover(&im, &info, &what));
		CHECK_EQ(atomic_load(&im.bdev->clean_seq), atomic_load(&im.bdev->dirty_seq));
		crash_bdev_crash(im.bdev);
		CHECK(!jtest_recover(im.bdev, im.f).replayed);
		check_all_home(&im);
		bdev_close(im.bdev);
	}
}

/* An older commit block under a transaction that was never finished: its checksums do not count. */
TEST(test_journal_recover__stale_blocks_end_the_log)
{
	static const struct {
		uint32_t lblk, off;
	} wrong[] = { { 0, 0 }, { 15, 40 } }; /* nothing else; the descriptor of the last one */
	uint32_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct image im = image_new("v3");

		change_word(&im, commit_of(2), offsetof(struct jbd2_commit_block, h_commit_sec), 0);
		change_word(&im, commit_of(2), offsetof(struct jbd2_commit_block, h_commit_sec) + 4,
			    0);
		if (wrong[i].lblk) {
			CHECK_EQ(wrong[i].lblk, descriptor_of(2));
			change_word(&im, wrong[i].lblk, wrong[i].off, 0xdeadbeef);
		}
		CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, 2);
		bdev_close(im.bdev);
	}
}

TEST(test_journal_recover__v1_commit_names_its_checksum)
{
	/* h_chksum_type, h_chksum_size and two bytes of padding; h_chksum[0] kept or zero. */
	static const struct {
		uint32_t word;
		bool zero;
		bool good;
	} cases[] = {
		{ 0x00000000, true, true }, /* written while the feature was off */
		{ 0x00000000, false, false }, { 0x00010000, true, false },
		{ 0x02040000, false, false }, { 0x01050000, false, false },
		{ 0x01040000, true, false },  { 0x01040000, false, true },
	};
	uint32_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image im = image_new("v1");

		change_word(&im, commit_of(2), offsetof(struct jbd2_commit_block, h_chksum_type),
			    cases[i].word);
		if (cases[i].zero)
			change_word(&im, commit_of(2), offsetof(struct jbd2_commit_block, h_chksum),
				    0);
		if (cases[i].good) {
			CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, TRANSACTIONS);
			bdev_close(im.bdev);
		} else {
			check_refused(&im, -EBADMSG, "transaction");
		}
	}
}

/* Sequence number of the first transaction of a fresh image. */
#define FIRST_TID 2

static void put_header(const struct image *im, uint32_t lblk, uint32_t type, uint32_t sequence)
{
	static const uint8_t zeros[4096];

	change(im, lblk, 0, zeros, im->f->block_size);
	change_word(im, lblk, offsetof(struct jbd2_header, h_magic), JBD2_MAGIC_NUMBER);
	change_word(im, lblk, offsetof(struct jbd2_header, h_blocktype), type);
	change_word(im, lblk, offsetof(struct jbd2_header, h_sequence), sequence);
}

/* Descriptors of one transaction all around the log: it ends where it began. */
TEST(test_journal_recover__transaction_without_end_is_none)
{
	struct image im = image_new("none");
	uint32_t tags = (1024 - sizeof(struct jbd2_header)) / JBD2_TAG_SIZE32, lblk, i;

	for (lblk = 1; lblk < im.f->log_blocks; lblk += tags + 1) {
		put_header(&im, lblk, JBD2_DESCRIPTOR_BLOCK, FIRST_TID);
		for (i = 0; i < tags; i++) {
			uint32_t off = (uint32_t)sizeof(struct jbd2_header) + i * JBD2_TAG_SIZE32;

			change_word(&im, lblk, off, FIRST_BLOCK);
			change_word(&im, lblk, off + 4, JBD2_FLAG_SAME_UUID);
		}
	}
	CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, 0);
	CHECK_EQ(home_byte(&im, 0), 0);
	bdev_close(im.bdev);
}

/* A revoke block, r_count @count, one entry, and a commit block behind it. */
static struct image image_with_revokes(const char *format, uint32_t count, uint64_t pblk)
{
	struct image im = image_new(format);
	uint32_t off = sizeof(struct jbd2_revoke_header);

	put_header(&im, 1, JBD2_REVOKE_BLOCK, FIRST_TID);
	change_word(&im, 1, offsetof(struct jbd2_revoke_header, r_count), count);
	if (im.f->incompat & JBD2_FEATURE_INCOMPAT_64BIT) {
		change_word(&im, 1, off, (uint32_t)(pblk >> 32));
		off += 4;
	}
	change_word(&im, 1, off, (uint32_t)pblk);
	put_header(&im, 2, JBD2_COMMIT_BLOCK, FIRST_TID);
	return im;
}

TEST(test_journal_recover__wrong_revoke_blocks_are_corruption)
{
	static const struct {
		const char *format;
		uint32_t count;
		uint64_t pblk;
		const char *word; /* NULL: nothing is wrong */
	} cases[] = {
		{ "none", 0, 1500, "r_count" },
		{ "none", 15, 1500, "r_count" },
		{ "none", 1025, 1500, "r_count" },
		{ "none", 0xffffffff, 1500, "r_count" },
		{ "none", 20, IMAGE_BLOCKS, "beyond the image" },
		{ "64bit", 24, 1ull << 32 | 1500, "beyond the image" },
		{ "none", 20, IMAGE_BLOCKS - 1, NULL },
		{ "none", 16, IMAGE_BLOCKS, NULL },
		{ "64bit", 23, 1ull << 32, NULL }, /* a part of an entry is none */
		{ "64bit", 24, 1500, NULL },
	};
	uint32_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image im =
			image_with_revokes(cases[i].format, cases[i].count, cases[i].pblk);

		if (cases[i].word) {
			check_refused(&im, -EUCLEAN, cases[i].word);
			continue;
		}
		CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, 1);
		bdev_close(im.bdev);
	}
}

TEST(test_journal_recover__wrong_checksum_of_a_revoke_block)
{
	struct image im = image_with_revokes("v3", 20, 1500);

	check_refused(&im, -EBADMSG, "transaction");
	im = image_with_revokes("v3", 20, 1500);
	change_word(&im, 2, 0, 0); /* not committed: as good as never written */
	CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, 0);
	bdev_close(im.bdev);
}

/* ---- media that fail, and media that change their mind -------------------- */

static struct image image_of(const struct jformat *f, uint32_t transactions)
{
	struct image im = { .f = f };

	im.bdev = crash_bdev_new((uint64_t)IMAGE_BLOCKS * f->block_size, 512);
	jtest_format(im.bdev, f);
	write_transactions(im.bdev, f, transactions);
	return im;
}

/* Recovery with the @nth call of @kind failing. False: there are not so many. */
static bool recover_failing(const struct jformat *f, enum fault_kind kind, uint64_t nth)
{
	struct image im = image_of(f, TRANSACTIONS);
	struct image failing = { .f = f, .bdev = faultdev_bdev(faultdev_new(im.bdev)) };
	struct journal_recovery_info info;
	const char *what = NULL;
	int err;

	fault_plan(&(struct fault_plan){ .kind = kind, .nth = nth, .error = EIO });
	err = recover(&failing, &info, &what);
	fault_stop();
	CHECK_EQ(err, fault_fired() ? -EIO : 0);
	CHECK_EQ(info.replayed, !err);
	if (err) {
		CHECK(what != NULL);
		CHECK_NE(be32_to_cpu(jtest_super(failing.bdev, f).s_sequence), 0);
	}
	bdev_close(failing.bdev);
	return err != 0;
}

TEST(test_journal_recover__any_failing_call_is_reported)
{
	static const enum fault_kind kinds[] = { FAULT_READ, FAULT_WRITE, FAULT_FLUSH };
	static const char *const formats[] = { "none", "v1", "v3-64bit" };
	uint32_t i, k;
	uint64_t nth;

	for (i = 0; i < ARRAY_SIZE(formats); i++) {
		for (k = 0; k < ARRAY_SIZE(kinds); k++) {
			for (nth = 1; recover_failing(format_named(formats[i]), kinds[k], nth);
			     nth++)
				CHECK_LT(nth, 100);
			CHECK_GT(nth, 1);
		}
	}
}

/* A device whose blocks of the log read otherwise from one read on. */
struct fickle {
	struct bdev bdev;
	struct bdev *below;
	uint64_t reads_left;
	uint32_t block_size;
	uint32_t off; /* of the byte in each block that changes; UINT32_MAX: all are zero */
};

static int fickle_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct fickle *d = container_of(b, struct fickle, bdev);
	uint8_t *bytes = iov[0].iov_base;
	int err = bdev_readv(d->below, iov, iovcnt, off);

	CHECK_EQ(iovcnt, 1);
	if (d->reads_left) {
		d->reads_left--;
		return err;
	}
	if (d->off == UINT32_MAX)
		memset(bytes, 0, iov[0].iov_len);
	else
		for (size_t at = d->off; at < iov[0].iov_len; at += d->block_size)
			bytes[at] ^= 0xff;
	return err;
}

static int fickle_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return bdev_writev(container_of(b, struct fickle, bdev)->below, iov, iovcnt, off);
}

static int fickle_flush(struct bdev *b)
{
	return bdev_flush(container_of(b, struct fickle, bdev)->below);
}

static const struct bdev_ops fickle_ops = {
	.readv = fickle_readv,
	.writev = fickle_writev,
	.flush = fickle_flush,
};

/*
 * Enough transactions that each pass reads the log anew. Whatever it says the second time:
 * an answer with a reason. @ret_seen: bits of @words that were the reason of one.
 */
static uint32_t recover_fickle(const struct jformat *f, uint32_t off, const char *const *words)
{
	struct image im = image_of(f, 40);
	uint32_t seen = 0;

	for (uint64_t reads = 1; reads < 14; reads++) {
		struct fickle d = { .below = im.bdev,
				    .reads_left = reads,
				    .block_size = f->block_size,
				    .off = off };
		struct image fickle = { .f = f, .bdev = &d.bdev };
		struct journal_recovery_info info;
		const char *what = NULL;
		int err;

		bdev_init(&d.bdev, &fickle_ops, im.bdev->size);
		err = recover(&fickle, &info, &what);
		CHECK(err <= 0);
		CHECK(err == 0 || what);
		for (uint32_t k = 0; err && words[k]; k++)
			if (strstr(what, words[k]))
				seen |= 1u << k;
		if (!err) {
			bdev_close(im.bdev);
			im = image_of(f, 40);
		}
	}
	bdev_close(im.bdev);
	return seen;
}

TEST(test_journal_recover__medium_that_changes_its_mind)
{
	static const char *const words[] = { "no longer found", "checksum of a descriptor",
					     "checksum of the copy", NULL };

	CHECK_EQ(recover_fickle(format_named("none"), UINT32_MAX, words), 1);
	CHECK_EQ(recover_fickle(format_named("v1"), UINT32_MAX, words), 1);
	CHECK(recover_fickle(format_named("v3"), 60, words) & 2);
	CHECK(recover_fickle(format_named("v2-64bit"), 4000, words));
}

/* ---- fast commits --------------------------------------------------------- */

#define FC_BLOCKS 64

/* An image whose last blocks hold a fast commit for @tid. */
static struct image image_with_fast_commit(uint32_t tid, bool tail)
{
	const struct jformat *f = format_named("v3-64bit"); /* 1100 blocks: room for the area */
	struct image im = { .f = f, .bdev = crash_bdev_new(IMAGE_BLOCKS * 1024u, 512) };
	struct {
		struct ext4_fc_tl head_tl;
		struct ext4_fc_head head;
		struct ext4_fc_tl inode_tl;
		uint8_t inode[132];
		struct ext4_fc_tl tail_tl;
		struct ext4_fc_tail tail;
	} __attribute__((packed)) fc = {
		.head_tl = { cpu_to_le16(EXT4_FC_TAG_HEAD), cpu_to_le16(8) },
		.head.fc_tid = cpu_to_le32(tid),
		.inode_tl = { cpu_to_le16(EXT4_FC_TAG_INODE), cpu_to_le16(132) },
		.tail_tl = { cpu_to_le16(tail ? EXT4_FC_TAG_TAIL : 0), cpu_to_le16(8) },
		.tail.fc_tid = cpu_to_le32(tid),
	};

	jtest_format(im.bdev, f);
	write_transactions(im.bdev, f, TRANSACTIONS);
	change_word(&im, 0, offsetof(struct jbd2_super_block, s_feature_incompat),
		    f->incompat | JBD2_FEATURE_INCOMPAT_FAST_COMMIT);
	change_word(&im, 0, offsetof(struct jbd2_super_block, s_num_fc_blocks), FC_BLOCKS);
	resum(&im);
	change(&im, f->log_blocks - FC_BLOCKS + 1, 0, &fc, sizeof(fc));
	return im;
}

/* Sequence numbers of a fresh image begin with 2. */
#define NEXT_TID (2 + TRANSACTIONS)

TEST(test_journal_recover__refuses_fast_commits)
{
	struct image im = image_with_fast_commit(NEXT_TID, true);

	check_refused(&im, -EOPNOTSUPP, "e2fsck");
}

TEST(test_journal_recover__ignores_old_and_unfinished_fast_commits)
{
	struct image im = image_with_fast_commit(NEXT_TID - 1, true);

	CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, TRANSACTIONS);
	bdev_close(im.bdev);
	im = image_with_fast_commit(NEXT_TID, false);
	CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, TRANSACTIONS);
	bdev_close(im.bdev);
}

struct fc_record {
	uint16_t tag, len;
	uint32_t tid;
};

/* In the fast-commit area, from its block @block on. The words of a body are all @tid. */
static void put_records(const struct image *im, uint32_t block, const struct fc_record *records,
			size_t count)
{
	uint32_t lblk = im->f->log_blocks - FC_BLOCKS + 1 + block, off = 0;

	for (size_t k = 0; k < count && records[k].tag != UINT16_MAX; k++) {
		const struct fc_record *r = &records[k];
		struct ext4_fc_tl tl = { cpu_to_le16(r->tag), cpu_to_le16(r->len) };
		le32 body[2] = { cpu_to_le32(r->tid), cpu_to_le32(r->tid) };

		change(im, lblk, off, &tl, sizeof(tl));
		off += (uint32_t)sizeof(tl);
		if (off + sizeof(body) <= im->f->block_size)
			change(im, lblk, off, body, sizeof(body));
		off += r->len;
	}
}

#define HEAD EXT4_FC_TAG_HEAD, 8, NEXT_TID
#define TAIL EXT4_FC_TAG_TAIL, 8, NEXT_TID
#define END UINT16_MAX, 0, 0

TEST(test_journal_recover__looks_for_the_end_of_a_fast_commit)
{
	static const struct {
		bool found;
		struct fc_record first[4], second[2];
	} cases[] = {
		{ true, { { HEAD }, { TAIL }, { END } }, { { END } } },
		{ true, { { HEAD }, { EXT4_FC_TAG_PAD, 1008, 0 }, { END } }, { { TAIL }, { END } } },
		{ true, { { HEAD }, { EXT4_FC_TAG_PAD, 1006, 0 }, { END } }, { { TAIL }, { END } } },
		{ true, { { HEAD }, { HEAD }, { TAIL }, { END } }, { { END } } },
		{ false, { { TAIL }, { END } }, { { END } } },
		{ false, { { EXT4_FC_TAG_PAD, 8, 0 }, { TAIL }, { END } }, { { END } } },
		{ false, { { EXT4_FC_TAG_HEAD, 4, NEXT_TID }, { TAIL }, { END } }, { { END } } },
		{ false, { { HEAD }, { EXT4_FC_TAG_TAIL, 4, NEXT_TID }, { END } }, { { END } } },
		{ false, { { HEAD }, { EXT4_FC_TAG_TAIL, 8, 1 }, { END } }, { { END } } },
		{ false, { { HEAD }, { 0, 8, 0 }, { TAIL }, { END } }, { { END } } },
		{ false, { { HEAD }, { 10, 8, 0 }, { TAIL }, { END } }, { { END } } },
		{ false,
		  { { HEAD }, { EXT4_FC_TAG_INODE, 2000, 0 }, { END } },
		  { { TAIL }, { END } } },
		{ false, { { HEAD }, { EXT4_FC_TAG_PAD, 1008, 0 }, { END } }, { { END } } },
	};

	for (uint32_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image im = image_with_fast_commit(1, false);

		put_records(&im, 0, cases[i].first, ARRAY_SIZE(cases[i].first));
		put_records(&im, 1, cases[i].second, ARRAY_SIZE(cases[i].second));
		if (cases[i].found) {
			check_refused(&im, -EOPNOTSUPP, "e2fsck");
			continue;
		}
		CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, TRANSACTIONS);
		bdev_close(im.bdev);
	}
}

/* It goes on in each block, and no block ends it. */
TEST(test_journal_recover__fast_commit_without_end_is_none)
{
	static const struct fc_record head[] = { { HEAD }, { EXT4_FC_TAG_PAD, 1008, 0 } };
	static const struct fc_record more[] = { { EXT4_FC_TAG_PAD, 1020, 0 } };
	struct image im = image_with_fast_commit(1, false);

	put_records(&im, 0, head, 2);
	for (uint32_t block = 1; block < FC_BLOCKS - 1; block++)
		put_records(&im, block, more, 1);
	CHECK_EQ(jtest_recover(im.bdev, im.f).transactions, TRANSACTIONS);
	bdev_close(im.bdev);
}

#undef HEAD
#undef TAIL
#undef END

/* ---- hostile logs --------------------------------------------------------- */

/* Random changes anywhere in the log: any answer, but an answer, and within the image. */
TEST(test_journal_recover__survives_random_damage)
{
	uint32_t round, n, i;

	for (n = 0; n < jformats_count; n++) {
		struct image im = image_new(jformats[n].name);

		for (round = 0; round < 60; round++) {
			struct journal_recovery_info info;
			uint32_t changes = 1 + (uint32_t)test_random_below(4);
			const char *what = NULL;
			int err;

			change_word(&im, 0, offsetof(struct jbd2_super_block, s_start),
				    1 + (uint32_t)test_random_below(30));
			change_word(&im, 0, offsetof(struct jbd2_super_block, s_sequence),
				    2 + (uint32_t)test_random_below(3));
			for (i = 0; i < changes; i++) {
				uint32_t lblk = (uint32_t)test_random_below(24);
				uint32_t off = (uint32_t)test_random_below(48) * 4;
				uint32_t word = (uint32_t)test_random();

				if (lblk == 0 && off < 0x14)
					continue; /* these are tested above */
				change_word(&im, lblk, off,
					    test_random_below(2) ? word : word & 15);
			}
			resum(&im);
			err = recover(&im, &info, &what);
			CHECK(err <= 0);
			CHECK(err == 0 || what != NULL);
		}
		bdev_close(im.bdev);
	}
}
