// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening: images that must be refused, each for its own reason, with the remedy in the
 * message and not a byte written; images that are only read; and random damage, after
 * which anything may be said but nothing may break.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/store/inode_disk.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define OPTIONS "-b 4096 -O 64bit,metadata_csum,^orphan_file -g 2048 -J size=4"
#define SIZE "32M"
#define FUZZ_ROUNDS 300
#define COPY_BYTES (1u << 20)

/* One field of the superblock given an impossible value. */
struct bad_field {
	const char *what;
	uint32_t off, width;
	uint64_t value;
};

#define FIELD(text, field, v)                                                                      \
	{                                                                                          \
		.what = text, .off = offsetof(struct ext4_super_block, field),                     \
		.width = sizeof(((struct ext4_super_block *)0)->field), .value = v                 \
	}

static const struct bad_field bad_fields[] = {
	FIELD("magic", s_magic, 0x1234),
	FIELD("revision", s_rev_level, 2),
	FIELD("log block size", s_log_block_size, 7),
	FIELD("log block size", s_log_block_size, UINT32_MAX),
	FIELD("log cluster size", s_log_block_size, 0),
	FIELD("log cluster size", s_log_cluster_size, 31),
	FIELD("first data block", s_first_data_block, 1),
	FIELD("blocks (or clusters) per group", s_blocks_per_group, 0),
	FIELD("blocks (or clusters) per group", s_blocks_per_group, 4096 * 8 + 8),
	FIELD("blocks (or clusters) per group", s_blocks_per_group, 2049),
	FIELD("inode count", s_blocks_per_group, 8 * 128),
	FIELD("inodes per group", s_inodes_per_group, 0),
	FIELD("inodes per group", s_inodes_per_group, 4096 * 8 + 8),
	FIELD("inodes per group", s_inodes_per_group, 12),
	FIELD("inode count", s_inodes_per_group, 16),
	FIELD("inode count", s_inodes_count, 0),
	FIELD("inode count", s_inodes_count, UINT32_MAX),
	FIELD("first inode", s_first_ino, 0),
	FIELD("first inode", s_first_ino, UINT32_MAX),
	FIELD("inode size", s_inode_size, 0),
	FIELD("inode size", s_inode_size, 192),
	FIELD("inode size", s_inode_size, 8192),
	FIELD("block count", s_blocks_count_lo, 0),
	FIELD("image has", s_blocks_count_lo, 32 * 256 + 1),
	FIELD("beyond any device", s_blocks_count_hi, UINT32_MAX),
	FIELD("image has", s_blocks_count_hi, 1),
	FIELD("descriptor size", s_desc_size, 0),
	FIELD("descriptor size", s_desc_size, 32),
	FIELD("descriptor size", s_desc_size, 65),
	FIELD("descriptor size", s_desc_size, 2048),
	FIELD("reserved descriptor blocks", s_reserved_gdt_blocks, 1025),
	FIELD("do not fit group 0", s_reserved_gdt_blocks, 0), /* see the test */
	FIELD("checksum type", s_checksum_type, 2),
	FIELD("journal inode", s_journal_inum, UINT32_MAX),
	FIELD("journal inode", s_journal_inum, 9),
	FIELD("journal inode", s_journal_inum, 2),
	FIELD("external journal", s_journal_inum, 0),
};

/* The part that an opening could write to: superblock, descriptors, bitmaps, inodes. */
static uint8_t *image_copy(const struct img *m, size_t *ret_len)
{
	uint8_t *copy = malloc(COPY_BYTES);

	CHECK(copy != NULL);
	raw_read(m, copy, COPY_BYTES, 0);
	*ret_len = COPY_BYTES;
	return copy;
}

static void check_unchanged(const struct img *m, const uint8_t *before, size_t len)
{
	size_t now_len;
	uint8_t *now = image_copy(m, &now_len);

	CHECK_EQ(now_len, len);
	CHECK(memcmp(now, before, len) == 0);
	free(now);
}

TEST(test_open__refuses_impossible_superblock_fields)
{
	struct ext4_super_block good, sb;
	struct store_open_error err;
	uint8_t *before;
	struct img m;
	size_t i, len;

	img_make(&m, OPTIONS, SIZE);
	raw_read_super(&m, &good);
	for (i = 0; i < ARRAY_SIZE(bad_fields); i++) {
		const struct bad_field *f = &bad_fields[i];
		int ret;

		sb = good;
		memcpy((uint8_t *)&sb + f->off, &f->value, f->width);
		if (f->value == 0 &&
		    f->off == offsetof(struct ext4_super_block, s_reserved_gdt_blocks)) {
			/* Small groups: the reserved blocks alone are more than a group. */
			sb.s_reserved_gdt_blocks = cpu_to_le16(1024);
			sb.s_blocks_per_group = cpu_to_le32(1024);
			sb.s_inodes_count = cpu_to_le32(le32_to_cpu(sb.s_inodes_per_group) * 8);
		}
		raw_write_super(&m, &sb);
		before = image_copy(&m, &len);
		ret = raw_open(&m, NULL, &err);
		if (ret >= 0 || !strstr(err.what, f->what) || !err.remedy[0])
			FAIL("field %zu (%s): %d %s (%s)", i, f->what, ret, ret ? err.what : "",
			     ret ? err.remedy : "");
		check_unchanged(&m, before, len);
		free(before);
	}
	raw_write_super(&m, &good);
	img_open(&m);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_open__names_backup_superblock_for_bad_checksum)
{
	struct ext4_super_block sb;
	struct img m;

	img_make(&m, "-b 4096 -O metadata_csum -g 2048", SIZE);
	raw_read_super(&m, &sb);
	sb.s_checksum = cpu_to_le32(le32_to_cpu(sb.s_checksum) + 1);
	raw_write(&m, &sb, sizeof(sb), EXT4_SUPER_OFFSET);
	check_open_fails(&m, -EBADMSG, "checksum", "e2fsck -b 2048 -B 4096 IMAGE");
	img_make(&m, "-b 1024 -O metadata_csum", SIZE);
	raw_read_super(&m, &sb);
	sb.s_wtime = cpu_to_le32(le32_to_cpu(sb.s_wtime) + 1);
	raw_write(&m, &sb, sizeof(sb), EXT4_SUPER_OFFSET);
	check_open_fails(&m, -EBADMSG, "checksum", "e2fsck -b 8193 -B 1024 IMAGE");
}

TEST(test_open__refuses_features_by_name)
{
	static const struct {
		uint32_t incompat;
		const char *name;
	} features[] = {
		{ EXT4_FEATURE_INCOMPAT_COMPRESSION, "compression" },
		{ EXT4_FEATURE_INCOMPAT_DIRDATA, "dirdata" },
		{ EXT4_FEATURE_INCOMPAT_JOURNAL_DEV, "external journal" },
		{ 0x80000000, "0x80000000" },
	};
	struct ext4_super_block good, sb;
	struct img m;
	size_t i;

	img_make(&m, OPTIONS, SIZE);
	raw_read_super(&m, &good);
	for (i = 0; i < ARRAY_SIZE(features); i++) {
		sb = good;
		sb.s_feature_incompat =
			cpu_to_le32(le32_to_cpu(sb.s_feature_incompat) | features[i].incompat);
		raw_write_super(&m, &sb);
		check_open_fails(&m, -EOPNOTSUPP, features[i].name, "");
	}
}

TEST(test_open__reads_only_what_it_cannot_write)
{
	static const struct {
		uint32_t ro_compat;
		const char *why;
	} features[] = {
		{ EXT4_FEATURE_RO_COMPAT_READONLY, "read-only for ever" },
		{ EXT4_FEATURE_RO_COMPAT_QUOTA, "quota" },
		{ EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "shared_blocks" },
		{ EXT4_FEATURE_RO_COMPAT_VERITY, "verity" },
		{ 0x40000000, "unknown" },
	};
	struct ext4_super_block good, sb;
	struct store_open_error err;
	uint8_t *before;
	struct handle h;
	struct img m;
	size_t i, len;

	img_make(&m, OPTIONS, SIZE);
	raw_read_super(&m, &good);
	for (i = 0; i < ARRAY_SIZE(features); i++) {
		sb = good;
		sb.s_feature_ro_compat =
			cpu_to_le32(le32_to_cpu(sb.s_feature_ro_compat) | features[i].ro_compat);
		raw_write_super(&m, &sb);
		before = image_copy(&m, &len);
		CHECK_OK(raw_open(&m, NULL, &err));
		CHECK(m.s->readonly);
		CHECK(strstr(m.s->readonly_why, features[i].why) != NULL);
		CHECK_ERR(journal_start(m.s->journal, 1, &h), -EROFS);
		img_close(&m);
		check_unchanged(&m, before, len);
		free(before);
	}
}

TEST(test_open__refuses_truncated_image)
{
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	CHECK_EQ(truncate(m.path, (32 << 20) - 4096), 0);
	check_open_fails(&m, -EUCLEAN, "image has 33550336 bytes but the filesystem 33554432",
			 "restore");
	CHECK_EQ(truncate(m.path, 1500), 0);
	check_open_fails(&m, -EUCLEAN, "too short", "");
}

TEST(test_open__refuses_bad_descriptors)
{
	struct ext4_group_desc good, d, other;
	struct img m;

	img_make(&m, "-b 4096 -O 64bit,metadata_csum,^flex_bg -g 2048", SIZE);
	raw_read_desc(&m, 1, &good);
	raw_read_desc(&m, 2, &other);

	d = good;
	d.bg_free_blocks_count_lo = cpu_to_le16(7); /* checksum made wrong below */
	raw_write_desc(&m, 1, &d);
	d.bg_checksum = cpu_to_le16((uint16_t)(le16_to_cpu(d.bg_checksum) + 1));
	raw_write(&m, &d, sizeof(d), 4096 + 64);
	check_open_fails(&m, -EBADMSG, "group descriptor 1: checksum", "e2fsck -b 2048 -B 4096");

	d = good;
	d.bg_inode_table_lo = cpu_to_le32(UINT32_MAX);
	raw_write_desc(&m, 1, &d);
	check_open_fails(&m, -EUCLEAN, "inode table at block 4294967295", "e2fsck");
	d = good;
	d.bg_block_bitmap_lo = cpu_to_le32(0); /* the superblock */
	raw_write_desc(&m, 1, &d);
	check_open_fails(&m, -EUCLEAN, "block bitmap at block 0", "e2fsck");
	d = good;
	d.bg_inode_bitmap_lo = other.bg_inode_bitmap_lo; /* in another group, without flex_bg */
	raw_write_desc(&m, 1, &d);
	check_open_fails(&m, -EUCLEAN, "inode bitmap", "e2fsck");
	d = good;
	d.bg_inode_bitmap_lo = d.bg_block_bitmap_lo;
	raw_write_desc(&m, 1, &d);
	check_open_fails(&m, -EUCLEAN, "two kinds of metadata", "e2fsck");
	d = good;
	d.bg_block_bitmap_lo = cpu_to_le32(2048); /* the backup superblock */
	raw_write_desc(&m, 1, &d);
	check_open_fails(&m, -EUCLEAN, "two kinds of metadata", "e2fsck");
	raw_write_desc(&m, 1, &good);
	img_open(&m);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_open__leaves_group_with_impossible_counts_alone)
{
	struct ext4_group_desc d;
	struct store_open_error err;
	struct inode *root, *i;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	raw_read_desc(&m, 1, &d);
	d.bg_free_blocks_count_lo = cpu_to_le16(2049);
	d.bg_free_inodes_count_lo = cpu_to_le16(0xffff);
	raw_write_desc(&m, 1, &d);
	CHECK_OK(raw_open(&m, NULL, &err));
	CHECK_GT(m.s->corruptions, 0);
	root = img_root(&m);
	i = img_create(&m, root, "f", S_IFREG | 0644);
	img_put(i);
	img_put(root);
	CHECK_OK(store_close(m.s));
}

/* Damage to what is read at open, with checksums off: every value reaches the code behind them. */
TEST(test_open__survives_random_damage)
{
	struct store_open_error err;
	uint8_t *image;
	struct img m;
	size_t len;
	int round;

	log_set_level(LOG_LEVEL_OFF);
	img_make(&m, "-b 1024 -O ^metadata_csum,^uninit_bg,64bit -J size=1", "8M");
	image = image_copy(&m, &len);
	for (round = 0; round < FUZZ_ROUNDS; round++) {
		uint8_t area[4096];
		uint64_t n, k = 1 + test_random_below(6);

		memcpy(area, image + 1024, sizeof(area));
		for (n = 0; n < k; n++) {
			/* The superblock's fields more often than the rest. */
			uint64_t span = test_random_below(3) ? 0x160 : sizeof(area);
			uint64_t at = test_random_below(span);
			static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff };

			area[at] = test_random_below(2) ? odd[test_random_below(5)] :
							  (uint8_t)test_random();
		}
		raw_write(&m, area, sizeof(area), 1024);
		if (raw_open(&m, &(struct store_opts){ .readonly = true }, &err) == 0) {
			struct inode *i;

			if (inode_get(m.s, EXT4_ROOT_INO, &i) == 0)
				inode_put(i);
			CHECK_OK(store_close(m.s));
		} else {
			CHECK(err.what[0] && err.remedy[0]);
		}
		raw_write(&m, image + 1024, sizeof(area), 1024);
	}
	free(image);
}

TEST(test_open__refuses_replay_on_readonly_medium)
{
	struct bdev_open_opts bopts = { .readonly = true };
	struct store_opts norecovery = { .norecovery = true };
	struct store_open_error err;
	struct ext4_super_block sb;
	struct inode *root, *i;
	struct bdev *b;
	struct img m;

	img_make(&m, OPTIONS, SIZE);
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "f", S_IFREG | 0644);
	img_put(i);
	img_put(root);
	CHECK_OK(store_sync(m.s));
	store_destroy(m.s); /* as killed: the journal holds the file */

	CHECK_OK(bdev_open_file(m.path, &bopts, &b));
	CHECK_ERR(store_open(b, &(struct store_opts){ 0 }, &m.s, &err), -EROFS);
	CHECK(strstr(err.remedy, "norecovery") != NULL);
	CHECK_OK(bdev_open_file(m.path, &bopts, &b));
	CHECK_OK(store_open(b, &norecovery, &m.s, &err));
	CHECK_OK(store_close(m.s));

	/* Read-only on a writable medium replays, as ext4 does, and leaves a clean image. */
	CHECK_OK(raw_open(&m, &(struct store_opts){ .readonly = true }, &err));
	CHECK_OK(store_close(m.s));
	raw_read_super(&m, &sb);
	CHECK_EQ(le32_to_cpu(sb.s_feature_incompat) & EXT4_FEATURE_INCOMPAT_RECOVER, 0);
	img_fsck(&m);
	CHECK(strstr(img_debugfs(&m, false, "stat /f"), "Type: regular") != NULL);
}

/* Its blocks would be written while the image says that they are somebody else's. */
TEST(test_open__refuses_a_log_that_moves_the_journal)
{
	struct store_open_error err;
	struct inode_slot slot;
	struct ext4_inode *d;
	struct handle h;
	struct buf *b;
	struct img m;

	img_make(&m, "-b 1024 -O ^metadata_csum -J size=1", "8M");
	img_open(&m);
	slot = inode_slot_of(m.s, EXT4_JOURNAL_INO);
	CHECK_OK(buf_read(m.s->cache, slot.pblk, &b));
	img_start(&m, &h);
	CHECK_OK(journal_get_write(&h, b));
	d = (struct ext4_inode *)(b->data + slot.off);
	d->i_size_lo = cpu_to_le32(le32_to_cpu(d->i_size_lo) / 2);
	journal_dirty(&h, b, slot.off, sizeof(*d));
	buf_put(b);
	img_stop(&h);
	CHECK_OK(journal_sync(m.s->journal));
	store_destroy(m.s);
	CHECK_ERR(raw_open(&m, NULL, &err), -EUCLEAN);
	CHECK(strstr(err.what, "its own log moves it") != NULL);
}

TEST(test_open__refuses_needs_recovery_without_journal)
{
	struct ext4_super_block sb;
	struct img m;

	img_make(&m, "-b 4096 -O ^has_journal", SIZE);
	raw_read_super(&m, &sb);
	sb.s_feature_incompat =
		cpu_to_le32(le32_to_cpu(sb.s_feature_incompat) | EXT4_FEATURE_INCOMPAT_RECOVER);
	raw_write_super(&m, &sb);
	check_open_fails(&m, -EUCLEAN, "needs_recovery", "e2fsck");
}

TEST(test_feature_names__end_within_buffer)
{
	char small[12], text[256];

	store_feature_names(EXT4_FEATURE_COMPAT_HAS_JOURNAL,
			    EXT4_FEATURE_INCOMPAT_EXTENTS | 1u << 31,
			    EXT4_FEATURE_RO_COMPAT_METADATA_CSUM, text, sizeof(text));
	CHECK_STR_EQ(text, "has_journal,extent,incompat_0x80000000,metadata_csum");
	store_feature_names(UINT32_MAX, UINT32_MAX, UINT32_MAX, small, sizeof(small));
	CHECK_EQ(strlen(small), sizeof(small) - 1);
}
