// SPDX-License-Identifier: GPL-2.0-only
/*
 * Geometry: what the superblock says about sizes and places, believed only after
 * every number was checked against every other one it is combined with. Pure
 * arithmetic; nothing is read or written here.
 *
 * Invariants after geometry_decode()
 * (1) block_size is a power of two in 1024..65536; no shift or division below can
 *     trap or overflow.
 * (2) group_count * blocks_per_group covers blocks_count exactly, the last group is
 *     not empty, inodes_count = group_count * inodes_per_group.
 * (3) blocks_count * block_size fits the image and 63 bits.
 * (4) A bitmap's bits fit one block, for blocks and for inodes.
 */
#include "daemon/store/super.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/crc.h"

/* ext4 keeps 2 % of the clusters, at most 4096, for metadata while data fills the rest. */
#define RESV_SHARE 50
#define RESV_BLOCKS_MAX 4096
/* Fields of struct ext4_inode beyond the first 128 bytes that we know. */
#define EXTRA_ISIZE_KNOWN ((uint32_t)(sizeof(struct ext4_inode) - EXT4_GOOD_OLD_INODE_SIZE))

static bool is_pow2(uint64_t n)
{
	return n && (n & (n - 1)) == 0;
}

/* Powers of @base, 1 included, as sparse_super places its copies. */
static bool is_power_of(uint32_t n, uint32_t base)
{
	while (n > 1 && n % base == 0)
		n /= base;
	return n == 1;
}

bool geometry_has_super(const struct store *s, uint32_t g)
{
	if (g == 0)
		return true;
	if (store_has_compat(s, EXT4_FEATURE_COMPAT_SPARSE_SUPER2))
		return g == s->backup_bgs[0] || g == s->backup_bgs[1];
	if (g == 1 || !store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_SPARSE_SUPER))
		return true;
	return is_power_of(g, 3) || is_power_of(g, 5) || is_power_of(g, 7);
}

/* Is group @g described by a block of its own metagroup rather than by the old table? */
static bool in_meta_bg(const struct store *s, uint32_t g)
{
	return store_has_incompat(s, EXT4_FEATURE_INCOMPAT_META_BG) &&
	       g / s->desc_per_block >= s->first_meta_bg;
}

uint32_t geometry_gdt_blocks(const struct store *s, uint32_t g)
{
	uint32_t in_metagroup = g % s->desc_per_block;

	if (in_meta_bg(s, g))
		return in_metagroup <= 1 || in_metagroup == s->desc_per_block - 1;
	if (!geometry_has_super(s, g))
		return 0;
	return store_has_incompat(s, EXT4_FEATURE_INCOMPAT_META_BG) ? s->first_meta_bg :
								      s->gdt_blocks;
}

/* With bigalloc, group 0 of 1 KiB blocks begins with the boot block, which others leave out. */
static uint32_t boot_blocks(const struct store *s, uint32_t g)
{
	return g == 0 && s->block_size == 1024 && s->first_data_block == 0;
}

uint32_t geometry_base_meta(const struct store *s, uint32_t g)
{
	uint32_t super = geometry_has_super(s, g);

	return boot_blocks(s, g) + super + geometry_gdt_blocks(s, g) +
	       (super && !in_meta_bg(s, g) ? s->reserved_gdt_blocks : 0);
}

uint64_t geometry_desc_pblk(const struct store *s, uint32_t i)
{
	uint32_t g = i * s->desc_per_block;

	if (!in_meta_bg(s, g))
		return EXT4_SUPER_OFFSET / s->block_size + 1 + i;
	return store_group_first(s, g) + boot_blocks(s, g) + geometry_has_super(s, g);
}

uint32_t geometry_group_blocks(const struct store *s, uint32_t g)
{
	uint64_t left = s->blocks_count - store_group_first(s, g);

	return left < s->blocks_per_group ? (uint32_t)left : s->blocks_per_group;
}

uint64_t geometry_overhead(const struct store *s)
{
	uint64_t overhead = s->first_data_block;
	uint32_t g;

	for (g = 0; g < s->group_count; g++) {
		uint32_t super = geometry_has_super(s, g);

		overhead += super + geometry_gdt_blocks(s, g) + s->itable_blocks + 2;
		if (super)
			overhead += s->reserved_gdt_blocks;
	}
	return overhead;
}

void geometry_backup_remedy(const struct ext4_super_block *sb, uint64_t image_size, char *buf,
			    size_t len)
{
	uint32_t log = le32_to_cpu(sb->s_log_block_size);
	uint32_t per_group = le32_to_cpu(sb->s_blocks_per_group);
	uint32_t block_size, backup_group = 1;
	uint64_t backup;
	bool believable = le16_to_cpu(sb->s_magic) == EXT4_SUPER_MAGIC &&
			  log <= EXT4_MAX_BLOCK_LOG_SIZE - EXT4_MIN_BLOCK_LOG_SIZE;

	/* mke2fs gives 1 KiB blocks to images below 512 MiB. */
	if (believable)
		block_size = 1024u << log;
	else
		block_size = image_size < (512ull << 20) ? 1024 : 4096;
	if (!believable || per_group == 0 || per_group > block_size * 8)
		per_group = block_size * 8;
	if (believable && (le32_to_cpu(sb->s_feature_compat) & EXT4_FEATURE_COMPAT_SPARSE_SUPER2) &&
	    le32_to_cpu(sb->s_backup_bgs[0]))
		backup_group = le32_to_cpu(sb->s_backup_bgs[0]);
	backup = (uint64_t)backup_group * per_group + (block_size == 1024 ? 1 : 0);
	if (backup >= image_size / block_size)
		snprintf(buf, len, "run e2fsck -f IMAGE (it is too small for a backup superblock)");
	else
		snprintf(buf, len, "run e2fsck -b %" PRIu64 " -B %" PRIu32 " IMAGE", backup,
			 block_size);
}

void geometry_backup_remedy_of(const struct store *s, char *buf, size_t len)
{
	uint32_t g;

	for (g = 1; g < s->group_count && !geometry_has_super(s, g); g++)
		;
	if (g >= s->group_count)
		snprintf(buf, len, "run e2fsck -f IMAGE");
	else
		snprintf(buf, len, "run e2fsck -b %" PRIu64 " -B %" PRIu32 " IMAGE",
			 store_group_first(s, g), s->block_size);
}

/* ---- the steps of decoding, each relying on those before ------------------ */

struct decode {
	struct store *s;
	const struct ext4_super_block *sb;
	struct store_open_error *err;
	bool dynamic; /* fields beyond revision 0 are valid */
	char remedy[sizeof(((struct store_open_error *)0)->remedy)];
};

#define bad(d, ...) store_open_fail((d)->err, -EUCLEAN, (d)->remedy, __VA_ARGS__)

static int decode_identity(struct decode *d)
{
	const struct ext4_super_block *sb = d->sb;
	struct store *s = d->s;
	uint32_t rev = le32_to_cpu(sb->s_rev_level);

	if (rev > EXT4_DYNAMIC_REV)
		return store_open_fail(d->err, -EOPNOTSUPP, "use the tool that made it",
				       "superblock: revision %" PRIu32 " is unknown", rev);
	d->dynamic = rev >= EXT4_DYNAMIC_REV;
	if (!d->dynamic)
		return 0;
	s->feature_compat = le32_to_cpu(sb->s_feature_compat);
	s->feature_incompat = le32_to_cpu(sb->s_feature_incompat);
	s->feature_ro_compat = le32_to_cpu(sb->s_feature_ro_compat);
	s->has_csum = store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_METADATA_CSUM);
	s->has_gdt_csum = !s->has_csum && store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_GDT_CSUM);
	if (s->has_csum && sb->s_checksum_type != EXT4_CRC32C_CHKSUM)
		return bad(d, "superblock: checksum type %u is unknown, crc32c is 1",
			   sb->s_checksum_type);
	if (s->has_csum && super_csum(sb) != le32_to_cpu(sb->s_checksum))
		return store_open_fail(d->err, -EBADMSG, d->remedy,
				       "superblock: checksum %08" PRIx32 ", computed %08" PRIx32,
				       le32_to_cpu(sb->s_checksum), super_csum(sb));
	memcpy(s->uuid, sb->s_uuid, sizeof(s->uuid));
	memcpy(s->label, sb->s_volume_name, EXT4_LABEL_MAX);
	s->csum_seed = store_has_incompat(s, EXT4_FEATURE_INCOMPAT_CSUM_SEED) ?
			       le32_to_cpu(sb->s_checksum_seed) :
			       crc32c(~0u, sb->s_uuid, sizeof(sb->s_uuid));
	return 0;
}

static int decode_block_sizes(struct decode *d)
{
	const struct ext4_super_block *sb = d->sb;
	struct store *s = d->s;
	uint32_t log = le32_to_cpu(sb->s_log_block_size);
	uint32_t log_cluster = le32_to_cpu(sb->s_log_cluster_size);
	bool bigalloc = store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_BIGALLOC);

	if (log > EXT4_MAX_BLOCK_LOG_SIZE - EXT4_MIN_BLOCK_LOG_SIZE)
		return bad(d, "superblock: log block size %" PRIu32 " is more than 6 (64 KiB)",
			   log);
	s->block_bits = EXT4_MIN_BLOCK_LOG_SIZE + log;
	s->block_size = 1u << s->block_bits;
	if (!bigalloc && log_cluster != log)
		return bad(d,
			   "superblock: log cluster size %" PRIu32 " but log block size %" PRIu32
			   " without bigalloc",
			   log_cluster, log);
	if (bigalloc && (log_cluster < log ||
			 log_cluster > EXT4_MAX_CLUSTER_LOG_SIZE - EXT4_MIN_BLOCK_LOG_SIZE))
		return bad(d, "superblock: log cluster size %" PRIu32 " is impossible",
			   log_cluster);
	s->cluster_bits = bigalloc ? log_cluster - log : 0;
	s->first_data_block = le32_to_cpu(sb->s_first_data_block);
	if (s->first_data_block != (s->block_size == 1024 && !s->cluster_bits ? 1 : 0))
		return bad(d,
			   "superblock: first data block %" PRIu32
			   " does not suit blocks of %" PRIu32,
			   s->first_data_block, s->block_size);
	return 0;
}

static int decode_group_sizes(struct decode *d)
{
	const struct ext4_super_block *sb = d->sb;
	struct store *s = d->s;
	uint32_t bits = s->block_size * 8;
	uint32_t per_group = le32_to_cpu(sb->s_clusters_per_group);
	uint32_t blocks = le32_to_cpu(sb->s_blocks_per_group);

	s->blocks_per_group = blocks;
	s->inodes_per_group = le32_to_cpu(sb->s_inodes_per_group);
	if (!s->cluster_bits)
		per_group = blocks;
	if (per_group == 0 || per_group > bits || per_group % 8)
		return bad(d,
			   "superblock: %" PRIu32 " blocks (or clusters) per group, "
			   "a multiple of 8 up to %" PRIu32 " is possible",
			   per_group, bits);
	if (blocks >> s->cluster_bits != per_group ||
	    (uint64_t)per_group << s->cluster_bits != blocks)
		return bad(d,
			   "superblock: %" PRIu32 " blocks but %" PRIu32
			   " clusters per group do not agree",
			   blocks, per_group);
	if (s->inodes_per_group == 0 || s->inodes_per_group > bits || s->inodes_per_group % 8)
		return bad(d,
			   "superblock: %" PRIu32 " inodes per group, "
			   "a multiple of 8 up to %" PRIu32 " is possible",
			   s->inodes_per_group, bits);
	return 0;
}

static int decode_inode_sizes(struct decode *d)
{
	const struct ext4_super_block *sb = d->sb;
	struct store *s = d->s;
	uint32_t room, want;

	s->inode_size = d->dynamic ? le16_to_cpu(sb->s_inode_size) : EXT4_GOOD_OLD_INODE_SIZE;
	s->first_ino = d->dynamic ? le32_to_cpu(sb->s_first_ino) : EXT4_GOOD_OLD_FIRST_INO;
	if (s->inode_size < EXT4_GOOD_OLD_INODE_SIZE || s->inode_size > s->block_size ||
	    !is_pow2(s->inode_size))
		return bad(d, "superblock: inode size %" PRIu32 " is impossible", s->inode_size);
	s->inodes_per_block = s->block_size / s->inode_size;
	if (s->inodes_per_group < s->inodes_per_block)
		return bad(d, "superblock: %" PRIu32 " inodes per group do not fill a block",
			   s->inodes_per_group);
	s->itable_blocks = DIV_ROUND_UP(s->inodes_per_group, s->inodes_per_block);
	if (s->itable_blocks + 2 > s->blocks_per_group &&
	    !store_has_incompat(s, EXT4_FEATURE_INCOMPAT_FLEX_BG))
		return bad(d,
			   "superblock: %" PRIu32 " inodes do not fit a group of %" PRIu32
			   " blocks",
			   s->inodes_per_group, s->blocks_per_group);
	if (s->inode_size == EXT4_GOOD_OLD_INODE_SIZE)
		return 0;
	room = s->inode_size - EXT4_GOOD_OLD_INODE_SIZE;
	want = MAX(le16_to_cpu(sb->s_want_extra_isize), le16_to_cpu(sb->s_min_extra_isize));
	/* Odd or impossible wishes are not worth refusing a filesystem for; ext4 ignores them, too. */
	if (want < EXTRA_ISIZE_KNOWN || want > room || want % 4)
		want = EXTRA_ISIZE_KNOWN;
	s->want_extra_isize = want;
	return 0;
}

static int decode_counts(struct decode *d, uint64_t image_size)
{
	const struct ext4_super_block *sb = d->sb;
	struct store *s = d->s;
	bool wide = store_has_incompat(s, EXT4_FEATURE_INCOMPAT_64BIT);
	uint64_t blocks = le32_to_cpu(sb->s_blocks_count_lo);
	uint64_t groups, bytes;

	if (wide)
		blocks |= (uint64_t)le32_to_cpu(sb->s_blocks_count_hi) << 32;
	if (blocks <= s->first_data_block)
		return bad(d, "superblock: block count %" PRIu64 " is impossible", blocks);
	if (mul_overflows(blocks, (uint64_t)s->block_size, &bytes) || bytes > INT64_MAX)
		return bad(d, "superblock: block count %" PRIu64 " is beyond any device", blocks);
	if (bytes > image_size)
		return store_open_fail(
			d->err, -EUCLEAN,
			"restore the missing end of the image, or run e2fsck -f IMAGE",
			"image has %" PRIu64 " bytes but the filesystem %" PRIu64 " (%" PRIu64
			" blocks of %" PRIu32 ")",
			image_size, bytes, blocks, s->block_size);
	s->blocks_count = blocks;
	groups = DIV_ROUND_UP(blocks - s->first_data_block, (uint64_t)s->blocks_per_group);
	if (groups * s->inodes_per_group != le32_to_cpu(sb->s_inodes_count))
		return bad(d,
			   "superblock: inode count %" PRIu32 " but %" PRIu64 " groups of %" PRIu32
			   " inodes",
			   le32_to_cpu(sb->s_inodes_count), groups, s->inodes_per_group);
	/* The product above fits 32 bits and inodes_per_group >= 8, so groups does, too. */
	s->group_count = (uint32_t)groups;
	s->inodes_count = le32_to_cpu(sb->s_inodes_count);
	if (s->first_ino < EXT4_GOOD_OLD_FIRST_INO || s->first_ino > s->inodes_count)
		return bad(d, "superblock: first inode %" PRIu32 " of %" PRIu32 " is impossible",
			   s->first_ino, s->inodes_count);
	s->reserved_blocks = le32_to_cpu(sb->s_r_blocks_count_lo);
	if (wide)
		s->reserved_blocks |= (uint64_t)le32_to_cpu(sb->s_r_blocks_count_hi) << 32;
	s->reserved_blocks = MIN(s->reserved_blocks, s->blocks_count);
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EXTENTS)) {
		uint64_t clusters = (blocks >> s->cluster_bits) / RESV_SHARE;

		s->resv_blocks = MIN(clusters, (uint64_t)RESV_BLOCKS_MAX) << s->cluster_bits;
	}
	return 0;
}

static int decode_descriptors(struct decode *d)
{
	const struct ext4_super_block *sb = d->sb;
	struct store *s = d->s;
	uint32_t base;

	s->desc_size = EXT4_MIN_DESC_SIZE;
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_64BIT))
		s->desc_size = le16_to_cpu(sb->s_desc_size);
	if (s->desc_size < EXT4_MIN_DESC_SIZE || s->desc_size > EXT4_MAX_DESC_SIZE ||
	    !is_pow2(s->desc_size) ||
	    (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_64BIT) &&
	     s->desc_size < EXT4_MIN_DESC_SIZE_64BIT))
		return bad(d, "superblock: descriptor size %" PRIu32 " is impossible",
			   s->desc_size);
	s->desc_per_block = s->block_size / s->desc_size;
	s->gdt_blocks = DIV_ROUND_UP(s->group_count, s->desc_per_block);
	s->reserved_gdt_blocks = d->dynamic ? le16_to_cpu(sb->s_reserved_gdt_blocks) : 0;
	if (s->reserved_gdt_blocks > s->block_size / 4)
		return bad(d,
			   "superblock: %" PRIu32 " reserved descriptor blocks, at most %" PRIu32,
			   s->reserved_gdt_blocks, s->block_size / 4);
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_META_BG)) {
		s->first_meta_bg = le32_to_cpu(sb->s_first_meta_bg);
		if (s->first_meta_bg > s->gdt_blocks)
			return bad(d,
				   "superblock: first meta block group %" PRIu32 " but %" PRIu32
				   " descriptor blocks",
				   s->first_meta_bg, s->gdt_blocks);
	}
	s->backup_bgs[0] = le32_to_cpu(sb->s_backup_bgs[0]);
	s->backup_bgs[1] = le32_to_cpu(sb->s_backup_bgs[1]);
	base = geometry_base_meta(s, 0);
	if (base >= geometry_group_blocks(s, 0))
		return bad(d, "superblock: %" PRIu32 " descriptor blocks do not fit group 0",
			   base - 1);
	return 0;
}

/* Fields with which nothing can go wrong; odd values are replaced by defaults as ext4 does. */
static void decode_rest(struct decode *d)
{
	const struct ext4_super_block *sb = d->sb;
	struct store *s = d->s;
	uint32_t i, flags = le32_to_cpu(sb->s_flags);

	s->flex_size = 1;
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_FLEX_BG) && sb->s_log_groups_per_flex < 32)
		s->flex_size = 1u << sb->s_log_groups_per_flex;
	for (i = 0; i < 4; i++)
		s->hash_seed[i] = le32_to_cpu(sb->s_hash_seed[i]);
	s->hash_version_default = sb->s_def_hash_version;
	if (s->hash_version_default > DX_HASH_TEA)
		s->hash_version_default = DX_HASH_HALF_MD4;
	/* Neither bit: an old image; hashes were made with the maker's char, signed on most machines. */
	s->hash_unsigned = (flags & EXT2_FLAGS_UNSIGNED_HASH) != 0;
	s->is_hurd = le32_to_cpu(sb->s_creator_os) == EXT4_OS_HURD;
	s->resuid = le16_to_cpu(sb->s_def_resuid);
	s->resgid = le16_to_cpu(sb->s_def_resgid);
	if (d->dynamic) {
		s->resuid |= (uint32_t)le16_to_cpu(sb->s_def_resuid_hi) << 16;
		s->resgid |= (uint32_t)le16_to_cpu(sb->s_def_resgid_hi) << 16;
		s->quota_inos[0] = le32_to_cpu(sb->s_usr_quota_inum);
		s->quota_inos[1] = le32_to_cpu(sb->s_grp_quota_inum);
		s->quota_inos[2] = le32_to_cpu(sb->s_prj_quota_inum);
	}
	if (store_has_compat(s, EXT4_FEATURE_COMPAT_HAS_JOURNAL))
		s->journal_ino = le32_to_cpu(sb->s_journal_inum);
	if (store_has_compat(s, EXT4_FEATURE_COMPAT_ORPHAN_FILE))
		s->orphan_file_ino = le32_to_cpu(sb->s_orphan_file_inum);
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_MMP)) {
		s->mmp_block = le64_to_cpu(sb->s_mmp_block);
		s->mmp_update_interval = le16_to_cpu(sb->s_mmp_update_interval);
	}
	/* ext4 computes it anew, as geometry_overhead() does, only without bigalloc. */
	if (s->cluster_bits)
		s->overhead_blocks = (uint64_t)le32_to_cpu(sb->s_overhead_clusters)
				     << s->cluster_bits;
	if (s->overhead_blocks > s->blocks_count)
		s->overhead_blocks = 0;
}

int geometry_decode(struct store *s, const struct ext4_super_block *sb,
		    struct store_open_error *err)
{
	struct decode d = { .s = s, .sb = sb, .err = err };
	int ret;

	geometry_backup_remedy(sb, s->bdev->size, d.remedy, sizeof(d.remedy));
	if (le16_to_cpu(sb->s_magic) != EXT4_SUPER_MAGIC)
		return store_open_fail(err, -EUCLEAN,
				       "check the path and offset=; if it was ext4, "
				       "run e2fsck -b 32768 -B 4096 IMAGE (or -b 8193 -B 1024)",
				       "not an ext4 filesystem: magic %04x, ef53 expected",
				       le16_to_cpu(sb->s_magic));
	ret = decode_identity(&d);
	if (!ret)
		ret = decode_block_sizes(&d);
	if (!ret)
		ret = decode_group_sizes(&d);
	if (!ret)
		ret = decode_inode_sizes(&d);
	if (!ret)
		ret = decode_counts(&d, s->bdev->size);
	if (!ret)
		ret = decode_descriptors(&d);
	if (!ret)
		decode_rest(&d);
	return ret;
}
