/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Words of the command line: what is understood, and that nonsense is not.
 */
#include "mkfs/options.h"

#include "tests/lib/test.h"

#include "include/kfs/ext4_format.h"

#include <string.h>

#define WORDS_MAX 16

static enum options_verdict parse(const char *line, struct mkfs_options *o)
{
	static char copies[4][256];
	static unsigned int turn;
	char *words[WORDS_MAX + 1] = { "mkfs.kfs" }, *save = NULL;
	char *copy = copies[turn++ % 4];
	int count = 1;

	CHECK_LT(strlen(line), sizeof(copies[0]));
	memcpy(copy, line, strlen(line) + 1);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		CHECK_LT(count, WORDS_MAX);
		words[count++] = w;
	}
	return options_parse(count, words, o);
}

TEST(test_size_parse__takes_suffixes)
{
	uint64_t bytes;

	CHECK(size_parse("16", 1024, &bytes));
	CHECK_EQ(bytes, 16384);
	CHECK(size_parse("3k", 1, &bytes));
	CHECK_EQ(bytes, 3072);
	CHECK(size_parse("5M", 1, &bytes));
	CHECK_EQ(bytes, 5 << 20);
	CHECK(size_parse("2G", 1, &bytes));
	CHECK_EQ(bytes, UINT64_C(2) << 30);
	CHECK(size_parse("1T", 1, &bytes));
	CHECK_EQ(bytes, UINT64_C(1) << 40);
	CHECK(size_parse("7s", 4096, &bytes));
	CHECK_EQ(bytes, 7 * 512);
}

TEST(test_size_parse__refuses_nonsense)
{
	static const char *const bad[] = { "",
					   "0",
					   "-1",
					   "+1",
					   " 1",
					   "1x",
					   "1MB",
					   "1 M",
					   "M",
					   "99999999999999999999",
					   "9000000000T",
					   "0x10" };
	uint64_t bytes = 77;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(!size_parse(bad[i], 1024, &bytes));
	CHECK_EQ(bytes, 77);
}

TEST(test_options_parse__keeps_defaults)
{
	struct mkfs_options o;

	CHECK_EQ(parse("image", &o), OPTIONS_RUN);
	CHECK_STR_EQ(o.target, "image");
	CHECK_STR_EQ(o.fs_type, "ext4");
	CHECK_EQ(o.size, 0);
	CHECK_EQ(o.root_mode, 0755);
	CHECK_EQ(o.errors, EXT4_ERRORS_CONTINUE);
	CHECK(o.lazy_itable && o.discard && o.copy_xattrs);
	CHECK(!o.force && !o.quiet && !o.dry_run && !o.lazy_journal);
}

TEST(test_options_parse__takes_letters_and_size_in_blocks)
{
	struct mkfs_options o;

	CHECK_EQ(parse("-b 4096 -I 512 -i 8192 -m 1.5 -J size=64 -qFn image 1000", &o),
		 OPTIONS_RUN);
	CHECK_EQ(o.block_size, 4096);
	CHECK_EQ(o.inode_size, 512);
	CHECK_EQ(o.inode_ratio, 8192);
	CHECK(o.reserved_percent == 1.5);
	CHECK_EQ(o.journal_mib, 64);
	CHECK(o.journal_wanted && o.quiet && o.force && o.dry_run);
	CHECK_EQ(o.size, 4096000);
	CHECK_EQ(parse("image 1000", &o), OPTIONS_RUN);
	CHECK_EQ(o.size, 1024000);
}

TEST(test_options_parse__takes_extended_words)
{
	struct mkfs_options o;

	CHECK_EQ(parse("-E lazy_itable_init=0,nodiscard,root_owner=12:34,offset=1M,stride=16 "
		       "-E root_perms=1777,no_copy_xattrs image",
		       &o),
		 OPTIONS_RUN);
	CHECK(!o.lazy_itable && !o.discard && !o.copy_xattrs);
	CHECK_EQ(o.root_uid, 12);
	CHECK_EQ(o.root_gid, 34);
	CHECK_EQ(o.root_mode, 01777);
	CHECK_EQ(o.offset, 1 << 20);
	CHECK_EQ(o.raid_stride, 16);
}

TEST(test_options_parse__refuses_bad_lines)
{
	static const char *const bad[] = {
		"",
		"a 1M b",
		"-b 3000 a",
		"-b 8192 a",
		"-b 1k a",
		"-I 100 a",
		"-I 300 a",
		"-i 12 a",
		"-m 51 a",
		"-m -1 a",
		"-m x a",
		"-N 0 a",
		"-N 4294967296 a",
		"-G 3 a",
		"-g 100 a",
		"-g 1001 a",
		"-J device=/dev/sdb a",
		"-J size=x a",
		"-J 5 a",
		"-E nonsense a",
		"-E stride=x a",
		"-E stride a",
		"-E lazy_itable_init=2 a",
		"-E root_owner=1 a",
		"-E root_owner=x:1 a",
		"-E root_perms=9 a",
		"-E hash_seed=1 a",
		"-e explode a",
		"-U 123 a",
		"-Z a",
		"-b",
		"--nonsense a",
		"a 1Q",
	};
	struct mkfs_options o;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parse(bad[i], &o) != OPTIONS_USAGE)
			FAIL("'%s' was taken", bad[i]);
}

TEST(test_options_parse__answers_help_and_version)
{
	struct mkfs_options o;

	CHECK_EQ(parse("--help", &o), OPTIONS_DONE);
	CHECK_EQ(parse("--version", &o), OPTIONS_DONE);
	CHECK_EQ(parse("-V", &o), OPTIONS_DONE);
}
