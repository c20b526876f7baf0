/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Geometry against numbers that mke2fs 1.47 gives for the same sizes, and its invariants over
 * random sizes and options.
 */
#include "mkfs/geometry.h"

#include "mkfs/options.h"
#include "tests/lib/test.h"

#include <errno.h>

static struct mkfs_options defaults(void)
{
	return (struct mkfs_options){
		.target = "image",
		.fs_type = "ext4",
		.reserved_percent = 5.0,
		.backup_supers = 2,
	};
}

static int compute(const struct mkfs_options *o, uint64_t size, struct geometry *g)
{
	struct geometry_target t = { .size = size, .size_given = true };

	return geometry_compute(o, &t, g);
}

TEST(test_geometry__has_mke2fs_defaults_by_size)
{
	static const struct {
		uint64_t mib;
		uint32_t block_size, inodes, journal, gdt_reserved, orphan;
	} rows[] = {
		{ 2, 1024, 256, 1024, 15, 32 },
		{ 8, 1024, 2048, 1024, 63, 32 },
		{ 64, 1024, 16384, 4096, 256, 32 },
		{ 500, 1024, 128016, 8192, 256, 125 },
		{ 512, 4096, 32768, 4096, 63, 32 },
		{ 1024, 4096, 65536, 8192, 127, 64 },
		{ 5120, 4096, 327680, 16384, 639, 320 },
		{ 40960, 4096, 2621440, 65536, 1024, 512 },
		{ 1048576, 4096, 67108864, 262144, 1024, 512 },
	};
	struct mkfs_options o = defaults();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct geometry g;

		CHECK_OK(compute(&o, rows[i].mib << 20, &g));
		CHECK_EQ(g.block_size, rows[i].block_size);
		CHECK_EQ(g.blocks, (rows[i].mib << 20) / rows[i].block_size);
		CHECK_EQ(g.inodes, rows[i].inodes);
		CHECK_EQ(g.journal_blocks, rows[i].journal);
		CHECK_EQ(g.gdt_reserved, rows[i].gdt_reserved);
		CHECK_EQ(g.orphan_blocks, rows[i].orphan);
		CHECK_EQ(g.inode_size, 256);
		CHECK_EQ(g.flex_log, 4);
		CHECK_EQ(g.blocks_reserved, g.blocks / 20);
	}
}

TEST(test_geometry__bounds_sizes)
{
	struct mkfs_options o = defaults();
	struct geometry g;

	CHECK_ERR(compute(&o, MKFS_SIZE_MIN - 1024, &g), -EINVAL);
	CHECK_OK(compute(&o, MKFS_SIZE_MIN, &g));
	CHECK_ERR(compute(&o, MKFS_SIZE_MAX + 4096, &g), -EINVAL);
	CHECK_OK(compute(&o, MKFS_SIZE_MAX - 4096, &g));
	CHECK(feature_compat(&g.features, EXT4_FEATURE_COMPAT_RESIZE_INODE));
	/* 2^32 blocks: descriptors reserved for growth could not be addressed. */
	CHECK_OK(compute(&o, MKFS_SIZE_MAX, &g));
	CHECK(!feature_compat(&g.features, EXT4_FEATURE_COMPAT_RESIZE_INODE));
	o.feature_list = "^64bit";
	CHECK_ERR(compute(&o, MKFS_SIZE_MAX, &g), -EINVAL);
}

TEST(test_geometry__refuses_contradictions)
{
	static const char *const lists[] = { "^extent", "meta_bg", "^sparse_super" };
	struct mkfs_options o = defaults();
	struct geometry g;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		o.feature_list = lists[i];
		CHECK_ERR(compute(&o, 64 << 20, &g), -EINVAL);
	}
	/* What hangs on a default that was left out goes silently. */
	o.feature_list = "^has_journal,^metadata_csum";
	CHECK_OK(compute(&o, 64 << 20, &g));
	CHECK_EQ(g.journal_blocks + g.orphan_blocks, 0);
	CHECK(!feature_incompat(&g.features, EXT4_FEATURE_INCOMPAT_CSUM_SEED));
	o = defaults();
	o.inode_size = 2048;
	o.block_size = 1024;
	CHECK_ERR(compute(&o, 64 << 20, &g), -EINVAL);
	o = defaults();
	o.inodes = 1000000;
	CHECK_ERR(compute(&o, 64 << 20, &g), -EINVAL);
	o = defaults();
	o.journal_mib = 50;
	CHECK_ERR(compute(&o, 64 << 20, &g), -EINVAL);
}

TEST(test_geometry_has_super__follows_sparse_super)
{
	struct mkfs_options o = defaults();
	uint32_t count = 0;
	struct geometry g;

	CHECK_OK(compute(&o, UINT64_C(100) << 30, &g));
	for (uint32_t group = 0; group < g.groups; group++)
		count += geometry_has_super(&g, group);
	/* 0 1 3 5 7 9 25 27 49 81 125 243 343 625 729 of 800 groups */
	CHECK_EQ(count, 15);
	CHECK(geometry_has_super(&g, 343) && !geometry_has_super(&g, 15));
	o.feature_list = "sparse_super2";
	CHECK_OK(compute(&o, UINT64_C(100) << 30, &g));
	CHECK_EQ(g.backup_bgs[0], 1);
	CHECK_EQ(g.backup_bgs[1], g.groups - 1);
	CHECK(geometry_has_super(&g, g.groups - 1) && !geometry_has_super(&g, 3));
}

TEST(test_geometry__keeps_its_invariants)
{
	static const uint32_t block_sizes[] = { 0, 1024, 2048, 4096 };

	for (int round = 0; round < 2000; round++) {
		struct mkfs_options o = defaults();
		uint64_t bits = 21 + test_random_below(22);
		uint64_t size = (UINT64_C(1) << bits) + test_random_below(UINT64_C(1) << bits);
		struct geometry g;

		o.block_size = block_sizes[test_random_below(4)];
		o.inode_ratio = test_random_below(2) ? 0 : 4096u << test_random_below(6);
		o.feature_list = test_random_below(2) ? NULL : "^resize_inode,^flex_bg";
		if (compute(&o, size, &g) < 0)
			continue;
		CHECK_LE((g.blocks + g.blocks_unused) * g.block_size, size);
		CHECK_EQ(g.inodes, (uint64_t)g.groups * g.inodes_per_group);
		CHECK_EQ(g.inodes_per_group % 8, 0);
		CHECK_LE(g.inodes_per_group, 8 * g.block_size);
		CHECK_GE((uint64_t)g.itable_blocks * g.block_size,
			 (uint64_t)g.inodes_per_group * g.inode_size);
		CHECK_GT(geometry_group_blocks(&g, g.groups - 1), 0);
		CHECK_EQ(geometry_group_start(&g, g.groups - 1) +
				 geometry_group_blocks(&g, g.groups - 1),
			 g.blocks);
		CHECK_LE(g.gdt_reserved, geometry_addr_per_block(&g));
		CHECK_LT(g.blocks_reserved, g.blocks);
	}
}
