/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Feature lists: the words of the superblock, and names that are refused.
 */
#include "mkfs/features.h"

#include "tests/lib/test.h"

#include <errno.h>

TEST(test_features_of_type__gives_todays_defaults)
{
	struct features f;
	char text[512];

	CHECK_OK(features_of_type("ext4", &f));
	CHECK_EQ(f.compat, 0x103c);
	CHECK_EQ(f.incompat, 0x22c2);
	CHECK_EQ(f.ro_compat, 0x046b);
	features_print(&f, text, sizeof(text));
	CHECK_STR_EQ(text, "has_journal ext_attr resize_inode dir_index orphan_file filetype "
			   "extent 64bit flex_bg metadata_csum_seed sparse_super large_file "
			   "huge_file dir_nlink extra_isize metadata_csum");
	CHECK_OK(features_of_type("ext3", &f));
	CHECK_EQ(f.compat, 0x3c);
	CHECK_EQ(f.incompat, 0x2);
	CHECK_EQ(f.ro_compat, 0x3);
	CHECK_OK(features_of_type("ext2", &f));
	CHECK_EQ(f.compat, 0x38);
	CHECK_ERR(features_of_type("xfs", &f), -EINVAL);
}

TEST(test_features_edit__sets_and_clears)
{
	struct features f = { .compat = EXT4_FEATURE_COMPAT_HAS_JOURNAL };

	CHECK_OK(features_edit(&f, "^has_journal,large_dir,,sparse_super2"));
	CHECK_EQ(f.compat, EXT4_FEATURE_COMPAT_SPARSE_SUPER2);
	CHECK_EQ(f.incompat, EXT4_FEATURE_INCOMPAT_LARGEDIR);
	CHECK_OK(features_edit(&f, "none,extents"));
	CHECK_EQ(f.compat, 0);
	CHECK_EQ(f.incompat, EXT4_FEATURE_INCOMPAT_EXTENTS);
}

TEST(test_features_edit__refuses_by_name)
{
	static const char *const bad[] = { "bigalloc", "quota",	      "casefold",     "encrypt",
					   "verity",   "journal_dev", "fast_commit",  "project",
					   "nonsense", "has_journa",  "has_journals", "^nonsense",
					   "^" };
	struct features f = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (features_edit(&f, bad[i]) != -EINVAL)
			FAIL("'%s' was taken", bad[i]);
	CHECK_EQ(f.compat | f.incompat | f.ro_compat, 0);
	/* Leaving out what is not there is no mistake. */
	CHECK_OK(features_edit(&f, "^bigalloc,^quota"));
}

TEST(test_features_print__stays_inside_its_buffer)
{
	struct features f;
	char text[16];

	CHECK_OK(features_of_type("ext4", &f));
	text[15] = 'x';
	features_print(&f, text, 15);
	CHECK_EQ(text[15], 'x');
	CHECK_EQ(text[14], 0);
}
