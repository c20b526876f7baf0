/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Geometry. The rules and defaults are mke2fs's and its stock mke2fs.conf's; where a rule
 * looks odd, it is kept because tools and people compare the results.
 */
#include "mkfs/geometry.h"

#include "mkfs/options.h"
#include "mkfs/say.h"

#include "daemon/base/check.h"

#include <errno.h>
#include <string.h>

#define PAGE_SIZE_ASSUMED 4096	/* devices are used in whole pages */
#define JOURNAL_BLOCKS_MIN 1024 /* jbd2's own bounds */
#define JOURNAL_BLOCKS_MAX 10240000
#define BLOCKS_32BIT_MAX UINT64_C(0xffffffff)

struct usage {
	const char *name;
	uint32_t block_size;
	uint32_t inode_ratio;
};

static const struct usage usages[] = {
	{ "floppy", 1024, 8192 },	{ "small", 1024, 4096 },	 { "default", 4096, 16384 },
	{ "big", 4096, 32768 },		{ "huge", 4096, 65536 },	 { "news", 4096, 4096 },
	{ "largefile", 4096, 1048576 }, { "largefile4", 4096, 4194304 },
};

static const char *usage_of_size(uint64_t size)
{
	if (size < UINT64_C(3) << 20)
		return "floppy";
	if (size < UINT64_C(512) << 20)
		return "small";
	if (size < UINT64_C(4) << 40)
		return "default";
	if (size < UINT64_C(16) << 40)
		return "big";
	return "huge";
}

static const struct usage *usage_find(const struct mkfs_options *o, uint64_t size)
{
	const char *name = o->usage_type ? o->usage_type : usage_of_size(size);

	for (size_t i = 0; i < ARRAY_SIZE(usages); i++)
		if (!strcmp(usages[i].name, name))
			return &usages[i];
	return NULL;
}

static uint32_t log2_u32(uint32_t n)
{
	return 31u - (uint32_t)__builtin_clz(n);
}

uint32_t geometry_desc_per_block(const struct geometry *g)
{
	return g->block_size / g->desc_size;
}

uint32_t geometry_addr_per_block(const struct geometry *g)
{
	return g->block_size / 4;
}

uint64_t geometry_group_start(const struct geometry *g, uint32_t group)
{
	return g->first_block + (uint64_t)group * g->blocks_per_group;
}

uint32_t geometry_group_blocks(const struct geometry *g, uint32_t group)
{
	uint64_t start = geometry_group_start(g, group);

	CHECK(start < g->blocks);
	return (uint32_t)MIN(g->blocks - start, (uint64_t)g->blocks_per_group);
}

static bool is_power_of(uint32_t n, uint32_t base)
{
	while (n > 1 && n % base == 0)
		n /= base;
	return n == 1;
}

bool geometry_has_super(const struct geometry *g, uint32_t group)
{
	if (group == 0)
		return true;
	if (feature_compat(&g->features, EXT4_FEATURE_COMPAT_SPARSE_SUPER2))
		return group == g->backup_bgs[0] || group == g->backup_bgs[1];
	if (group == 1 || !feature_ro(&g->features, EXT4_FEATURE_RO_COMPAT_SPARSE_SUPER))
		return true;
	return is_power_of(group, 3) || is_power_of(group, 5) || is_power_of(group, 7);
}

uint32_t geometry_group_gdt(const struct geometry *g, uint32_t group)
{
	uint32_t dpb = geometry_desc_per_block(g);

	if (!feature_incompat(&g->features, EXT4_FEATURE_INCOMPAT_META_BG))
		return geometry_has_super(g, group) ? g->desc_blocks + g->gdt_reserved : 0;
	return group % dpb == 0 || group % dpb == 1 || group % dpb == dpb - 1;
}

static int features_choose(const struct mkfs_options *o, struct geometry *g)
{
	struct features *f = &g->features;
	bool default_orphan, default_seed;
	int r = features_of_type(o->fs_type, f);

	if (r < 0)
		return r;
	default_orphan = f->compat & EXT4_FEATURE_COMPAT_ORPHAN_FILE;
	default_seed = f->incompat & EXT4_FEATURE_INCOMPAT_CSUM_SEED;
	if (o->feature_list) {
		r = features_edit(f, o->feature_list);
		if (r < 0)
			return r;
	}
	/* What hangs on a feature that was left out goes with it, unless it was asked for. */
	if (default_orphan && !feature_compat(f, EXT4_FEATURE_COMPAT_HAS_JOURNAL))
		f->compat &= ~EXT4_FEATURE_COMPAT_ORPHAN_FILE;
	if (default_seed && !features_csum(f))
		f->incompat &= ~EXT4_FEATURE_INCOMPAT_CSUM_SEED;
	if (o->journal_wanted)
		f->compat |= EXT4_FEATURE_COMPAT_HAS_JOURNAL;
	if (features_csum(f))
		f->ro_compat &= ~EXT4_FEATURE_RO_COMPAT_GDT_CSUM;
	return 0;
}

static int features_check(const struct geometry *g, const struct mkfs_options *o)
{
	const struct features *f = &g->features;

	if (feature_incompat(f, EXT4_FEATURE_INCOMPAT_64BIT) &&
	    !feature_incompat(f, EXT4_FEATURE_INCOMPAT_EXTENTS))
		return refuse("-O 64bit needs extents: add extent, or ^64bit");
	if (feature_incompat(f, EXT4_FEATURE_INCOMPAT_CSUM_SEED) && !features_csum(f))
		return refuse("-O metadata_csum_seed needs metadata_csum");
	if (feature_compat(f, EXT4_FEATURE_COMPAT_ORPHAN_FILE) &&
	    !feature_compat(f, EXT4_FEATURE_COMPAT_HAS_JOURNAL))
		return refuse("-O orphan_file needs has_journal");
	if (feature_incompat(f, EXT4_FEATURE_INCOMPAT_META_BG) &&
	    feature_compat(f, EXT4_FEATURE_COMPAT_RESIZE_INODE))
		return refuse("-O meta_bg and resize_inode exclude each other: add ^resize_inode");
	if (feature_compat(f, EXT4_FEATURE_COMPAT_RESIZE_INODE) &&
	    !feature_ro(f, EXT4_FEATURE_RO_COMPAT_SPARSE_SUPER))
		return refuse("-O resize_inode needs sparse_super: add ^resize_inode");
	if (o->flex_size && !feature_incompat(f, EXT4_FEATURE_INCOMPAT_FLEX_BG))
		return refuse("-G needs the flex_bg feature");
	if (g->inode_size > g->block_size)
		return refuse("-I %u: an inode cannot be larger than a block of %u bytes",
			      g->inode_size, g->block_size);
	if (feature_incompat(f, EXT4_FEATURE_INCOMPAT_INLINE_DATA) &&
	    g->inode_size == EXT4_GOOD_OLD_INODE_SIZE)
		return refuse("-O inline_data needs inodes larger than %u bytes: use -I 256",
			      g->inode_size);
	if (o->blocks_per_group > 8 * g->block_size)
		return refuse("-g %u: a group has at most %u blocks of this size",
			      o->blocks_per_group, 8 * g->block_size);
	return 0;
}

static int sizes_choose(const struct mkfs_options *o, const struct geometry_target *t,
			const struct usage *usage, struct geometry *g)
{
	uint64_t size = t->size;

	if (!t->size_given && !o->block_size)
		size = ROUND_DOWN(size, PAGE_SIZE_ASSUMED);
	g->block_size = o->block_size ? o->block_size : MAX(usage->block_size, t->sector_size);
	if (g->block_size < t->sector_size)
		return refuse("-b %u: the device has sectors of %u bytes", g->block_size,
			      t->sector_size);
	if (g->block_size > 4096)
		return refuse("%s: sectors of %u bytes are not supported", o->target,
			      t->sector_size);
	if (size < MKFS_SIZE_MIN)
		return refuse("%s: %llu bytes are too few: a filesystem has 2 MiB at least",
			      o->target, (unsigned long long)size);
	if (size > MKFS_SIZE_MAX)
		return refuse("%s: %llu bytes are too many: a filesystem has 16 TiB at most",
			      o->target, (unsigned long long)size);
	g->block_log = log2_u32(g->block_size) - 10;
	g->first_block = g->block_size == 1024 ? 1 : 0;
	g->inode_size = o->inode_size ? o->inode_size : 256;
	g->blocks = size / g->block_size;
	g->desc_size = feature_incompat(&g->features, EXT4_FEATURE_INCOMPAT_64BIT) ?
			       EXT4_MIN_DESC_SIZE_64BIT :
			       EXT4_MIN_DESC_SIZE;
	if (feature_incompat(&g->features, EXT4_FEATURE_INCOMPAT_FLEX_BG))
		g->flex_log = log2_u32(o->flex_size ? o->flex_size : 16);
	if (g->blocks <= BLOCKS_32BIT_MAX)
		return 0;
	if (!feature_incompat(&g->features, EXT4_FEATURE_INCOMPAT_64BIT))
		return refuse("%s: more than 2^32 blocks need the 64bit feature", o->target);
	g->features.compat &= ~EXT4_FEATURE_COMPAT_RESIZE_INODE;
	return 0;
}

static int inodes_wanted(const struct mkfs_options *o, const struct usage *usage,
			 const struct geometry *g, uint32_t *ret_inodes)
{
	uint64_t bytes = g->blocks * g->block_size;
	uint32_t ratio = o->inode_ratio ? o->inode_ratio : MAX(usage->inode_ratio, g->block_size);
	uint64_t n = o->inodes ? o->inodes : bytes / ratio;

	if (n > UINT32_MAX) {
		if (!feature_incompat(&g->features, EXT4_FEATURE_INCOMPAT_64BIT))
			return refuse("%llu inodes are too many: raise -i", (unsigned long long)n);
		n = UINT32_MAX;
	}
	if (n * g->inode_size >= bytes)
		return refuse("%llu inodes of %u bytes do not fit: raise -i or lower -N",
			      (unsigned long long)n, g->inode_size);
	*ret_inodes = (uint32_t)n;
	return 0;
}

/* The inode table of a group fills whole blocks, its bitmap whole bytes. */
static int inodes_place(struct geometry *g, uint32_t wanted)
{
	uint32_t per_block = g->block_size / g->inode_size;
	uint64_t ipg = DIV_ROUND_UP((uint64_t)wanted, g->groups);

	ipg = MIN(ipg, (uint64_t)(65536 - per_block));
	for (;;) {
		uint32_t blocks = (uint32_t)DIV_ROUND_UP(ipg * g->inode_size, g->block_size);
		uint32_t n = MAX(blocks * per_block, 8u) & ~7u;

		if ((uint64_t)n * g->groups > UINT32_MAX) {
			if (!--ipg)
				return refuse("too many groups for one inode each: raise -g");
			continue;
		}
		if ((uint64_t)n * g->groups < EXT4_GOOD_OLD_FIRST_INO + 1) {
			ipg += 8;
			continue;
		}
		g->inodes_per_group = n;
		g->itable_blocks = DIV_ROUND_UP(n * g->inode_size, g->block_size);
		g->inodes = n * g->groups;
		return 0;
	}
}

/* Descriptor blocks kept free so that the filesystem can grow 1024-fold. */
static uint32_t gdt_reserve(const struct geometry *g)
{
	uint64_t blocks_max = BLOCKS_32BIT_MAX, groups, desc_blocks;

	if (!feature_compat(&g->features, EXT4_FEATURE_COMPAT_RESIZE_INODE))
		return 0;
	if (g->blocks < blocks_max / 1024)
		blocks_max = g->blocks * 1024;
	groups = DIV_ROUND_UP(blocks_max - g->first_block, (uint64_t)g->blocks_per_group);
	desc_blocks = DIV_ROUND_UP(groups, (uint64_t)geometry_desc_per_block(g));
	if (desc_blocks <= g->desc_blocks)
		return 0;
	return (uint32_t)MIN(desc_blocks - g->desc_blocks, (uint64_t)geometry_addr_per_block(g));
}

static void backups_choose(const struct mkfs_options *o, struct geometry *g)
{
	uint32_t last = g->groups - 1;

	g->backup_bgs[0] = g->backup_bgs[1] = 0;
	if (!feature_compat(&g->features, EXT4_FEATURE_COMPAT_SPARSE_SUPER2))
		return;
	if (o->backup_supers >= 1)
		g->backup_bgs[0] = MIN(1u, last);
	if (o->backup_supers >= 2 && last > 1)
		g->backup_bgs[1] = last;
	/* Ascending, as tools expect: a single backup stands second. */
	if (g->backup_bgs[0] > g->backup_bgs[1]) {
		g->backup_bgs[1] = g->backup_bgs[0];
		g->backup_bgs[0] = 0;
	}
}

/*
 * One try at the groups. Returns 1 when the parameters were changed and it must be repeated:
 * more inodes per group than a bitmap holds (smaller groups), or a last group too short for
 * its own metadata (dropped).
 */
static int groups_try(const struct mkfs_options *o, uint32_t inodes, struct geometry *g)
{
	uint64_t rem;
	uint32_t overhead;
	int r;

	g->groups =
		(uint32_t)DIV_ROUND_UP(g->blocks - g->first_block, (uint64_t)g->blocks_per_group);
	g->desc_blocks = DIV_ROUND_UP(g->groups, geometry_desc_per_block(g));
	if (DIV_ROUND_UP((uint64_t)inodes, g->groups) > 8 * g->block_size) {
		if (g->blocks_per_group < 256)
			return refuse("%u inodes are too many: raise -i or lower -N", inodes);
		g->blocks_per_group -= 8;
		g->blocks += g->blocks_unused;
		g->blocks_unused = 0;
		return 1;
	}
	r = inodes_place(g, inodes);
	if (r < 0)
		return r;
	backups_choose(o, g);
	g->gdt_reserved = gdt_reserve(g);
	if (g->gdt_reserved + g->desc_blocks > (uint64_t)g->blocks_per_group * 3 / 4) {
		g->features.incompat |= EXT4_FEATURE_INCOMPAT_META_BG;
		g->features.compat &= ~EXT4_FEATURE_COMPAT_RESIZE_INODE;
		g->gdt_reserved = 0;
	}
	overhead = 3 + g->itable_blocks + geometry_group_gdt(g, 0);
	if (overhead > g->blocks_per_group)
		return refuse("%u inodes are too many: raise -i or lower -N", inodes);
	overhead = 2 + g->itable_blocks + geometry_has_super(g, g->groups - 1) +
		   geometry_group_gdt(g, g->groups - 1);
	rem = (g->blocks - g->first_block) % g->blocks_per_group;
	if (rem && g->groups == 1 && rem < overhead)
		return refuse("%s: too small for %u inodes: raise -i or lower -N", o->target,
			      inodes);
	if (rem && g->groups > 1 && rem < overhead + 50) {
		g->blocks -= rem;
		g->blocks_unused += rem;
		return 1;
	}
	return 0;
}

/* In blocks; 0: too small for one. */
static uint32_t journal_blocks_by_size(uint64_t blocks)
{
	static const struct {
		uint64_t below;
		uint32_t journal;
	} steps[] = {
		{ 2048, 0 },
		{ 32768, 1024 },
		{ 256 * 1024, 4096 },
		{ 512 * 1024, 8192 },
		{ 4096 * 1024, 16384 },
		{ 8192 * 1024, 32768 },
		{ 16384 * 1024, 65536 },
		{ 32768 * 1024, 131072 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (blocks < steps[i].below)
			return steps[i].journal;
	return 262144;
}

static int journal_choose(const struct mkfs_options *o, struct geometry *g)
{
	uint64_t n = journal_blocks_by_size(g->blocks);
	uint64_t tables = (uint64_t)g->groups * (2 + g->itable_blocks);

	if (!feature_compat(&g->features, EXT4_FEATURE_COMPAT_HAS_JOURNAL))
		return 0;
	if (!n) {
		warn("%s: too small for a journal, made without one", o->target);
		g->features.compat &=
			~(EXT4_FEATURE_COMPAT_HAS_JOURNAL | EXT4_FEATURE_COMPAT_ORPHAN_FILE);
		return 0;
	}
	if (o->journal_mib) {
		n = o->journal_mib * ((1024 * 1024) / g->block_size);
		if (n < JOURNAL_BLOCKS_MIN || n > JOURNAL_BLOCKS_MAX)
			return refuse("-J size=%llu: a journal has %u to %u blocks of %u bytes",
				      (unsigned long long)o->journal_mib, JOURNAL_BLOCKS_MIN,
				      JOURNAL_BLOCKS_MAX, g->block_size);
		if (tables >= g->blocks || n > (g->blocks - tables) / 2)
			return refuse("-J size=%llu: more than half of the filesystem",
				      (unsigned long long)o->journal_mib);
	}
	g->journal_blocks = (uint32_t)n;
	return 0;
}

static int orphan_choose(const struct mkfs_options *o, struct geometry *g)
{
	uint64_t n = 512;

	if (!feature_compat(&g->features, EXT4_FEATURE_COMPAT_ORPHAN_FILE))
		return 0;
	if (g->blocks < 128 * 1024)
		n = 32;
	else if (g->blocks < 2 * 1024 * 1024)
		n = g->blocks / 4096;
	if (o->orphan_bytes) {
		n = DIV_ROUND_UP(o->orphan_bytes, (uint64_t)g->block_size);
		if (n > 512)
			return refuse("-E orphan_file_size=%llu: at most 512 blocks",
				      (unsigned long long)o->orphan_bytes);
	}
	g->orphan_blocks = (uint32_t)n;
	return 0;
}

int geometry_compute(const struct mkfs_options *o, const struct geometry_target *t,
		     struct geometry *ret_geo)
{
	const struct usage *usage = usage_find(o, t->size);
	struct geometry g = { 0 };
	uint32_t inodes = 0;
	int r;

	if (!usage)
		return refuse("-T %s: no such usage", o->usage_type);
	r = features_choose(o, &g);
	if (r == 0)
		r = sizes_choose(o, t, usage, &g);
	if (r == 0)
		r = features_check(&g, o);
	if (r == 0)
		r = inodes_wanted(o, usage, &g, &inodes);
	if (r < 0)
		return r;
	g.blocks_per_group = o->blocks_per_group ? o->blocks_per_group :
						   MIN(8 * g.block_size, 65528u);
	do {
		r = groups_try(o, inodes, &g);
	} while (r > 0);
	if (r == 0)
		r = journal_choose(o, &g);
	if (r == 0)
		r = orphan_choose(o, &g);
	if (r < 0)
		return r;
	g.blocks_reserved = (uint64_t)(o->reserved_percent * (double)g.blocks / 100.0);
	*ret_geo = g;
	return 0;
}
