// SPDX-License-Identifier: GPL-2.0-only
/* Recovery of good, torn, corrupt and hostile logs. */
#include "daemon/journal/journal.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/crc.h"
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
