// SPDX-License-Identifier: GPL-2.0-only
/* Mount marks, counters, errors, foreign writers, freezing, and mmp. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/log.h"
#include "daemon/store/alloc.h"
#include "daemon/store/super.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define OPTIONS "-b 4096 -O metadata_csum -J size=4"
#define SIZE "16M"

static bool marked(const struct ext4_super_block *sb)
{
	return le32_to_cpu(sb->s_feature_incompat) & EXT4_FEATURE_INCOMPAT_RECOVER;
}

static void create(struct img *m, const char *name)
{
	struct inode *root = img_root(m);

	img_put(img_create(m, root, name, S_IFREG | 0644));
	img_put(root);
}

TEST(test_super__marks_the_mount)
{
	struct store_opts opts = { .mountpoint = "/mnt/somewhere" };
	struct ext4_super_block before, sb;
	struct store_open_error err;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	raw_read_super(&m, &before);
	CHECK_OK(raw_open(&m, &opts, &err));
	raw_read_super(&m, &sb);
	CHECK(marked(&sb));
	CHECK_EQ(le16_to_cpu(sb.s_mnt_count), le16_to_cpu(before.s_mnt_count) + 1);
	CHECK_NE(le32_to_cpu(sb.s_mtime), 0);
	CHECK_EQ(le32_to_cpu(sb.s_lastcheck), le32_to_cpu(before.s_lastcheck));
	CHECK_STR_EQ(sb.s_last_mounted, "/mnt/somewhere");
	CHECK(le16_to_cpu(sb.s_state) & EXT4_VALID_FS); /* the journal makes it valid */
	create(&m, "f");
	CHECK_OK(store_close(m.s));
	raw_read_super(&m, &sb);
	CHECK(!marked(&sb));
	CHECK_GT(le64_to_cpu(sb.s_kbytes_written), le64_to_cpu(before.s_kbytes_written));
	img_fsck(&m);
}

TEST(test_super__is_not_valid_while_mounted_without_journal)
{
	struct ext4_super_block sb;
	struct img m;

	img_make(&m, "-b 4096 -O ^has_journal", SIZE);
	img_open(&m);
	raw_read_super(&m, &sb);
	CHECK(!(le16_to_cpu(sb.s_state) & EXT4_VALID_FS));
	CHECK(!marked(&sb));
	create(&m, "f");
	img_close(&m);
	raw_read_super(&m, &sb);
	CHECK(le16_to_cpu(sb.s_state) & EXT4_VALID_FS);
	img_fsck(&m);
}

TEST(test_super__writes_nothing_when_readonly)
{
	struct ext4_super_block before, after;
	struct store_open_error err;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	raw_read_super(&m, &before);
	CHECK_OK(raw_open(&m, &(struct store_opts){ .readonly = true }, &err));
	CHECK_OK(store_sync(m.s));
	CHECK_EQ(m.s->bdev->writes, 0);
	CHECK_OK(store_close(m.s));
	raw_read_super(&m, &after);
	CHECK_MEM_EQ(&after, &before, sizeof(after));
}

TEST(test_super__counts_exactly_in_the_committed_log)
{
	struct ext4_super_block sb;
	struct store_statfs st;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	create(&m, "f");
	CHECK_OK(store_sync(m.s));
	store_statfs(m.s, &st);
	store_destroy(m.s);
	img_open(&m); /* replays */
	sb = *store_sb(m.s);
	CHECK_EQ(le32_to_cpu(sb.s_free_blocks_count_lo), st.blocks_free);
	CHECK_EQ(le32_to_cpu(sb.s_free_inodes_count), st.files_free);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_super__notices_a_foreign_mount_at_commit)
{
	struct ext4_super_block sb;
	struct store_open_error err;
	struct handle h;
	struct img m;

	log_set_level(LOG_LEVEL_OFF);
	img_make(&m, OPTIONS, SIZE);
	CHECK_OK(raw_open(&m, NULL, &err));
	create(&m, "f");
	CHECK_OK(store_sync(m.s));
	raw_read_super(&m, &sb);
	sb.s_mnt_count = cpu_to_le16((uint16_t)(le16_to_cpu(sb.s_mnt_count) + 1));
	raw_write_super(&m, &sb);
	create(&m, "g");
	CHECK_LT(store_sync(m.s), 0);
	CHECK(m.s->readonly);
	CHECK(m.s->error_state & STORE_ERR_FOREIGN);
	CHECK(strstr(m.s->readonly_why, "another program") != NULL);
	CHECK_ERR(journal_start(m.s->journal, 1, &h), -EROFS);
	CHECK_LT(store_close(m.s), 0);
	/* The other program's superblock stays as it is. */
	CHECK_EQ(le32_to_cpu(sb.s_checksum), super_csum(&sb));
}

TEST(test_super__freezes_to_a_clean_image)
{
	struct ext4_super_block sb;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	create(&m, "f");
	CHECK_OK(store_freeze(m.s));
	raw_read_super(&m, &sb);
	CHECK(!marked(&sb));
	img_fsck(&m);
	CHECK_OK(store_thaw(m.s));
	raw_read_super(&m, &sb);
	CHECK(marked(&sb));
	create(&m, "g");
	img_close(&m);
	img_fsck(&m);
}

static void check_errors_policy(const char *tune, enum errors_policy opt, bool want_readonly,
				uint32_t want_bits)
{
	struct store_opts opts = { .errors = opt };
	struct ext4_super_block sb;
	struct store_open_error err;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_tune(&m, tune);
	CHECK_OK(raw_open(&m, &opts, &err));
	CHECK_ERR(store_corrupt(m.s, 12, 345, "made up"), -EUCLEAN);
	CHECK_ERR(store_corrupt(m.s, 12, 345, "made up"), -EUCLEAN);
	CHECK_EQ(m.s->readonly, want_readonly);
	CHECK_EQ(m.s->error_state, want_bits);
	CHECK_EQ(m.s->corruptions, 2);
	CHECK_OK(store_close(m.s));
	raw_read_super(&m, &sb);
	CHECK(le16_to_cpu(sb.s_state) & EXT4_ERROR_FS);
	CHECK_EQ(le32_to_cpu(sb.s_error_count), 1); /* once per place */
	CHECK_EQ(le32_to_cpu(sb.s_first_error_ino), 12);
	CHECK_EQ(le64_to_cpu(sb.s_last_error_block), 345);
	CHECK_STR_EQ(sb.s_last_error_func, "made up");
}

TEST(test_store_corrupt__follows_the_errors_policy)
{
	log_set_level(LOG_LEVEL_OFF);
	check_errors_policy("-e continue", ERRORS_DEFAULT, false, STORE_ERR_CORRUPT);
	check_errors_policy("-e remount-ro", ERRORS_DEFAULT, true, STORE_ERR_CORRUPT);
	check_errors_policy("-e remount-ro", ERRORS_CONTINUE, false, STORE_ERR_CORRUPT);
	check_errors_policy("-e continue", ERRORS_PANIC, true, STORE_ERR_CORRUPT | STORE_ERR_PANIC);
}

/* ---- geometry: who has a copy of the superblock --------------------------- */

TEST(test_geometry_has_super__follows_sparse_super)
{
	struct store s = { .feature_ro_compat = EXT4_FEATURE_RO_COMPAT_SPARSE_SUPER };
	static const uint32_t yes[] = { 0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 343 };
	uint32_t g, k, found = 0;

	for (g = 0; g < 344; g++) {
		bool want = false;

		for (k = 0; k < ARRAY_SIZE(yes); k++)
			want |= yes[k] == g;
		/* 243 is a power of 3, too. */
		want |= g == 243;
		CHECK_EQ(geometry_has_super(&s, g), want);
		found += want;
	}
	CHECK_EQ(found, ARRAY_SIZE(yes) + 1);
	atomic_store(&s.feature_ro_compat, 0);
	CHECK(geometry_has_super(&s, 2));
	atomic_store(&s.feature_compat, EXT4_FEATURE_COMPAT_SPARSE_SUPER2);
	s.backup_bgs[0] = 1;
	s.backup_bgs[1] = 40;
	CHECK(geometry_has_super(&s, 40));
	CHECK(!geometry_has_super(&s, 3));
}

/* ---- mmp ------------------------------------------------------------------ */

static void set_mmp_seq(struct img *m, uint32_t seq)
{
	struct ext4_super_block sb;
	struct mmp_struct mmp;
	uint64_t off;

	raw_read_super(m, &sb);
	off = le64_to_cpu(sb.s_mmp_block) * 4096;
	raw_read(m, &mmp, sizeof(mmp), off);
	CHECK_EQ(le32_to_cpu(mmp.mmp_magic), EXT4_MMP_MAGIC);
	mmp.mmp_seq = cpu_to_le32(seq);
	raw_write(m, &mmp, sizeof(mmp), off);
}

static uint32_t get_mmp_seq(struct img *m)
{
	struct ext4_super_block sb;
	struct mmp_struct mmp;

	raw_read_super(m, &sb);
	raw_read(m, &mmp, sizeof(mmp), le64_to_cpu(sb.s_mmp_block) * 4096);
	return le32_to_cpu(mmp.mmp_seq);
}

TEST(test_mmp__claims_a_clean_block_and_releases_it)
{
	struct store_open_error err;
	struct img m;

	img_make(&m, "-b 4096 -O mmp,^metadata_csum", SIZE);
	CHECK_EQ(get_mmp_seq(&m), EXT4_MMP_SEQ_CLEAN);
	img_open(&m);
	CHECK_LE(get_mmp_seq(&m), EXT4_MMP_SEQ_MAX);
	CHECK_NE(get_mmp_seq(&m), 0);
	CHECK(!store_pblk_valid(m.s, m.s->mmp_block, 1));
	create(&m, "f");
	img_close(&m);
	CHECK_EQ(get_mmp_seq(&m), EXT4_MMP_SEQ_CLEAN);
	img_fsck(&m);
	set_mmp_seq(&m, EXT4_MMP_SEQ_FSCK);
	check_open_fails(&m, -EBUSY, "e2fsck is at work", "clear_mmp");
	/* Reading disturbs nobody. */
	CHECK_OK(raw_open(&m, &(struct store_opts){ .readonly = true }, &err));
	CHECK_OK(store_close(m.s));
	CHECK_EQ(get_mmp_seq(&m), EXT4_MMP_SEQ_FSCK);
}

TEST(test_mmp__refuses_a_bad_block)
{
	struct ext4_super_block sb;
	uint32_t zero = 0;
	struct img m;

	img_make(&m, "-b 4096 -O mmp,metadata_csum", SIZE);
	raw_read_super(&m, &sb);
	set_mmp_seq(&m, 5);
	check_open_fails(&m, -EBADMSG, "mmp block: checksum", "e2fsck");
	raw_write(&m, &zero, sizeof(zero), le64_to_cpu(sb.s_mmp_block) * 4096);
	check_open_fails(&m, -EUCLEAN, "mmp block: magic", "e2fsck");
	sb.s_mmp_block = cpu_to_le64(UINT64_MAX);
	raw_write_super(&m, &sb);
	check_open_fails(&m, -EUCLEAN, "mmp block", "e2fsck");
}
