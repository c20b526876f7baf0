/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Group metadata: bitmaps, descriptors, superblocks. Written once, at the end, when all that
 * is to be in the filesystem has its place.
 *
 * (1) The primary superblock is the last write, after a flush of everything else.
 * (2) Descriptors say BLOCK_UNINIT and INODE_UNINIT only where checksums protect them, and
 *     INODE_ZEROED only where the table reads as zeros.
 */
#include "mkfs/mkfs.h"

#include "mkfs/options.h"
#include "mkfs/say.h"

#include "daemon/base/check.h"
#include "daemon/base/crc.h"
#include "daemon/block/bdev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OLD_START_BYTES 4096	 /* where boot sectors and superblocks of most kinds lie */
#define OLD_END_BYTES (64 << 10) /* where RAID and other kinds keep theirs */

int write_block(struct mkfs *m, uint64_t pblk, const void *data)
{
	int r = bdev_write(m->bdev, data, m->geo.block_size, pblk * m->geo.block_size);

	return r < 0 ? fail(r, "%s: writing block %llu", m->opts->target,
			    (unsigned long long)pblk) :
		       0;
}

static int zero_bytes(struct mkfs *m, uint64_t offset, uint64_t len)
{
	int r = bdev_zero(m->bdev, offset, len);

	return r < 0 ? fail(r, "%s: zeroing %llu bytes at %llu", m->opts->target,
			    (unsigned long long)len, (unsigned long long)offset) :
		       0;
}

int write_zeros(struct mkfs *m, uint64_t pblk, uint64_t count)
{
	if (m->zeroed || !count)
		return 0;
	return zero_bytes(m, pblk * m->geo.block_size, count * m->geo.block_size);
}

int write_prepare(struct mkfs *m)
{
	const struct geometry *g = &m->geo;
	uint64_t bytes = g->blocks * g->block_size;
	uint64_t tail = ROUND_DOWN(bytes, (uint64_t)OLD_END_BYTES);
	bool lazy = m->opts->lazy_itable && features_desc_csum(&g->features);
	struct progress p;
	int r;

	if (tail > OLD_END_BYTES)
		tail -= OLD_END_BYTES;
	r = zero_bytes(m, 0, OLD_START_BYTES);
	if (r == 0 && !m->zeroed)
		r = zero_bytes(m, tail, bytes - tail);
	if (r == 0) {
		r = bdev_flush(m->bdev);
		if (r < 0)
			return fail(r, "%s: flushing", m->opts->target);
	}
	progress_start(&p, !m->opts->quiet, "Zeroing inode tables", "groups", g->groups);
	for (uint32_t group = 0; r == 0 && group < g->groups && (m->zeroed || !lazy); group++) {
		r = write_zeros(m, m->groups[group].inode_table, g->itable_blocks);
		m->groups[group].table_zeroed = true;
		progress_at(&p, group);
	}
	progress_end(&p);
	return r;
}

/* ---- bitmaps and descriptors ---- */

static void bits_set(uint8_t *map, uint64_t from, uint64_t to)
{
	while (from < to && from % 8) {
		map[from / 8] |= (uint8_t)(1u << (from % 8));
		from++;
	}
	memset(map + from / 8, 0xff, (to - from) / 8);
	from += (to - from) / 8 * 8;
	for (; from < to; from++)
		map[from / 8] |= (uint8_t)(1u << (from % 8));
}

/* How many inodes of @group are used; they are its first. */
static uint32_t inodes_used(const struct mkfs *m, uint32_t group)
{
	uint32_t ipg = m->geo.inodes_per_group, before = group * ipg, used = m->ino_next - 1;

	return used > before ? MIN(used - before, ipg) : 0;
}

static void bitmap_csum(const struct mkfs *m, const uint8_t *map, uint32_t bytes, le16 *lo,
			le16 *hi)
{
	uint32_t crc;

	if (!features_csum(&m->geo.features))
		return;
	crc = crc32c(m->csum_seed, map, bytes);
	*lo = cpu_to_le16((uint16_t)crc);
	if (m->geo.desc_size >= EXT4_MIN_DESC_SIZE_64BIT)
		*hi = cpu_to_le16((uint16_t)(crc >> 16));
}

static int block_bitmap_write(struct mkfs *m, uint32_t group, uint8_t *map,
			      struct ext4_group_desc *d)
{
	const struct geometry *g = &m->geo;
	uint64_t start = geometry_group_start(g, group), from, to;
	uint64_t end = start + geometry_group_blocks(g, group);

	memset(map, 0, g->block_size);
	for (uint64_t at = start; space_next_used(&m->space, at, end, &from, &to); at = to)
		bits_set(map, from - start, to - start);
	bits_set(map, end - start, (uint64_t)g->block_size * 8);
	bitmap_csum(m, map, g->blocks_per_group / 8, &d->bg_block_bitmap_csum_lo,
		    &d->bg_block_bitmap_csum_hi);
	return write_block(m, m->groups[group].block_bitmap, map);
}

static int inode_bitmap_write(struct mkfs *m, uint32_t group, uint8_t *map,
			      struct ext4_group_desc *d)
{
	const struct geometry *g = &m->geo;

	memset(map, 0, g->block_size);
	bits_set(map, 0, inodes_used(m, group));
	bits_set(map, g->inodes_per_group, (uint64_t)g->block_size * 8);
	bitmap_csum(m, map, g->inodes_per_group / 8, &d->bg_inode_bitmap_csum_lo,
		    &d->bg_inode_bitmap_csum_hi);
	return write_block(m, m->groups[group].inode_bitmap, map);
}

static uint16_t desc_csum(const struct mkfs *m, uint32_t group, const struct ext4_group_desc *d)
{
	const uint8_t *bytes = (const uint8_t *)d;
	size_t field = offsetof(struct ext4_group_desc, bg_checksum), after = field + 2;
	le32 number = cpu_to_le32(group);
	uint16_t crc;

	CHECK(le16_to_cpu(d->bg_checksum) == 0);
	if (features_csum(&m->geo.features))
		return (uint16_t)crc32c(crc32c(m->csum_seed, &number, sizeof(number)), bytes,
					m->geo.desc_size);
	crc = crc16(0xffff, m->uuid, sizeof(m->uuid));
	crc = crc16(crc, &number, sizeof(number));
	crc = crc16(crc, bytes, field);
	return crc16(crc, bytes + after, m->geo.desc_size - after);
}

static void desc_fill_places(const struct mkfs *m, uint32_t group, struct ext4_group_desc *d)
{
	const struct group_place *p = &m->groups[group];

	d->bg_block_bitmap_lo = cpu_to_le32((uint32_t)p->block_bitmap);
	d->bg_inode_bitmap_lo = cpu_to_le32((uint32_t)p->inode_bitmap);
	d->bg_inode_table_lo = cpu_to_le32((uint32_t)p->inode_table);
	d->bg_block_bitmap_hi = cpu_to_le32((uint32_t)(p->block_bitmap >> 32));
	d->bg_inode_bitmap_hi = cpu_to_le32((uint32_t)(p->inode_bitmap >> 32));
	d->bg_inode_table_hi = cpu_to_le32((uint32_t)(p->inode_table >> 32));
}

/* Fill in the descriptor of @group, writing its bitmaps unless they may stay uninitialised. */
static int group_finish(struct mkfs *m, uint32_t group, uint8_t *map, struct ext4_group_desc *d)
{
	const struct geometry *g = &m->geo;
	uint64_t start = geometry_group_start(g, group);
	uint32_t blocks = geometry_group_blocks(g, group);
	uint32_t used = (uint32_t)space_used_in(&m->space, start, start + blocks);
	uint32_t ipg = g->inodes_per_group, inodes = inodes_used(m, group);
	bool uninit = features_desc_csum(&g->features);
	uint16_t flags = 0;
	int r = 0;

	desc_fill_places(m, group, d);
	d->bg_free_blocks_count_lo = cpu_to_le16((uint16_t)(blocks - used));
	d->bg_free_blocks_count_hi = cpu_to_le16((uint16_t)((blocks - used) >> 16));
	d->bg_free_inodes_count_lo = cpu_to_le16((uint16_t)(ipg - inodes));
	d->bg_free_inodes_count_hi = cpu_to_le16((uint16_t)((ipg - inodes) >> 16));
	d->bg_used_dirs_count_lo = cpu_to_le16((uint16_t)m->groups[group].dirs_used);
	d->bg_used_dirs_count_hi = cpu_to_le16((uint16_t)(m->groups[group].dirs_used >> 16));
	if (uninit) {
		d->bg_itable_unused_lo = d->bg_free_inodes_count_lo;
		d->bg_itable_unused_hi = d->bg_free_inodes_count_hi;
		if (m->groups[group].table_zeroed)
			flags |= EXT4_BG_INODE_ZEROED;
	}
	/* The last group's bitmap is always written: bits past the end must read as used. */
	if (uninit && !used && group != g->groups - 1)
		flags |= EXT4_BG_BLOCK_UNINIT;
	else
		r = block_bitmap_write(m, group, map, d);
	if (r < 0)
		return r;
	if (uninit && !inodes)
		flags |= EXT4_BG_INODE_UNINIT;
	else
		r = inode_bitmap_write(m, group, map, d);
	d->bg_flags = cpu_to_le16(flags);
	if (uninit)
		d->bg_checksum = cpu_to_le16(desc_csum(m, group, d));
	return r;
}

static int groups_finish(struct mkfs *m, uint8_t *gdt)
{
	const struct geometry *g = &m->geo;
	_cleanup_free_ uint8_t *map = malloc(g->block_size);
	struct progress p;
	int r = 0;

	if (!map)
		return fail(-ENOMEM, "bitmaps");
	progress_start(&p, !m->opts->quiet, "Writing group bitmaps", "groups", g->groups);
	for (uint32_t group = 0; r == 0 && group < g->groups; group++) {
		/* A whole descriptor is filled; the short form on disk is its first half. */
		struct ext4_group_desc d = { 0 };

		r = group_finish(m, group, map, &d);
		memcpy(gdt + (size_t)group * g->desc_size, &d, g->desc_size);
		progress_at(&p, group);
	}
	progress_end(&p);
	return r;
}

/* ---- superblock ---- */

static void super_fill_geometry(const struct mkfs *m, struct ext4_super_block *s)
{
	const struct geometry *g = &m->geo;
	uint64_t free = g->blocks - g->first_block - m->space.used;

	s->s_inodes_count = cpu_to_le32(g->inodes);
	s->s_blocks_count_lo = cpu_to_le32((uint32_t)g->blocks);
	s->s_blocks_count_hi = cpu_to_le32((uint32_t)(g->blocks >> 32));
	s->s_r_blocks_count_lo = cpu_to_le32((uint32_t)g->blocks_reserved);
	s->s_r_blocks_count_hi = cpu_to_le32((uint32_t)(g->blocks_reserved >> 32));
	s->s_free_blocks_count_lo = cpu_to_le32((uint32_t)free);
	s->s_free_blocks_count_hi = cpu_to_le32((uint32_t)(free >> 32));
	s->s_free_inodes_count = cpu_to_le32(g->inodes - (m->ino_next - 1));
	s->s_first_data_block = cpu_to_le32(g->first_block);
	s->s_log_block_size = cpu_to_le32(g->block_log);
	s->s_log_cluster_size = cpu_to_le32(g->block_log);
	s->s_blocks_per_group = cpu_to_le32(g->blocks_per_group);
	s->s_clusters_per_group = cpu_to_le32(g->blocks_per_group);
	s->s_inodes_per_group = cpu_to_le32(g->inodes_per_group);
	s->s_first_ino = cpu_to_le32(EXT4_GOOD_OLD_FIRST_INO);
	s->s_inode_size = cpu_to_le16((uint16_t)g->inode_size);
	s->s_feature_compat = cpu_to_le32(g->features.compat);
	s->s_feature_incompat = cpu_to_le32(g->features.incompat);
	s->s_feature_ro_compat = cpu_to_le32(g->features.ro_compat);
	s->s_reserved_gdt_blocks = cpu_to_le16((uint16_t)g->gdt_reserved);
	s->s_log_groups_per_flex = (uint8_t)g->flex_log;
	s->s_overhead_clusters = cpu_to_le32(m->overhead > UINT32_MAX ? 0 : (uint32_t)m->overhead);
	if (feature_incompat(&g->features, EXT4_FEATURE_INCOMPAT_64BIT))
		s->s_desc_size = cpu_to_le16((uint16_t)g->desc_size);
	for (int i = 0; i < 2; i++)
		s->s_backup_bgs[i] = cpu_to_le32(g->backup_bgs[i]);
	if (inode_has_extra(m)) {
		s->s_min_extra_isize = cpu_to_le16(32);
		s->s_want_extra_isize = cpu_to_le16(32);
	}
}

static void super_fill_policy(const struct mkfs *m, struct ext4_super_block *s)
{
	const struct mkfs_options *o = m->opts;

	s->s_magic = cpu_to_le16(EXT4_SUPER_MAGIC);
	s->s_rev_level = cpu_to_le32(EXT4_DYNAMIC_REV);
	s->s_creator_os = cpu_to_le32(EXT4_OS_LINUX);
	s->s_state = cpu_to_le16(EXT4_VALID_FS);
	s->s_errors = cpu_to_le16(o->errors);
	s->s_max_mnt_count = cpu_to_le16((uint16_t)-1);
	s->s_default_mount_opts = cpu_to_le32(EXT4_DEFM_XATTR_USER | EXT4_DEFM_ACL);
	s->s_raid_stride = cpu_to_le16((uint16_t)o->raid_stride);
	s->s_raid_stripe_width = cpu_to_le32(o->raid_stripe_width);
	memcpy(s->s_uuid, m->uuid, sizeof(s->s_uuid));
	memcpy(s->s_hash_seed, m->hash_seed, sizeof(s->s_hash_seed));
	s->s_def_hash_version = DX_HASH_HALF_MD4;
	s->s_flags = cpu_to_le32(EXT2_FLAGS_SIGNED_HASH);
	if (o->label)
		memcpy(s->s_volume_name, o->label, strnlen(o->label, sizeof(s->s_volume_name)));
	if (o->last_mounted)
		memcpy(s->s_last_mounted, o->last_mounted,
		       strnlen(o->last_mounted, sizeof(s->s_last_mounted) - 1));
	if (feature_compat(&m->geo.features, EXT4_FEATURE_COMPAT_HAS_JOURNAL)) {
		s->s_journal_inum = cpu_to_le32(EXT4_JOURNAL_INO);
		s->s_jnl_backup_type = EXT4_JNL_BACKUP_BLOCKS;
		memcpy(s->s_jnl_blocks, m->journal_backup, sizeof(s->s_jnl_blocks));
	}
	s->s_orphan_file_inum = cpu_to_le32(m->orphan_ino);
	if (m->mmp_block) {
		s->s_mmp_block = cpu_to_le64(m->mmp_block);
		s->s_mmp_update_interval = cpu_to_le16((uint16_t)o->mmp_interval);
	}
	if (features_csum(&m->geo.features))
		s->s_checksum_type = EXT4_CRC32C_CHKSUM;
	if (feature_incompat(&m->geo.features, EXT4_FEATURE_INCOMPAT_CSUM_SEED))
		s->s_checksum_seed = cpu_to_le32(m->csum_seed);
}

static void super_fill_times(const struct mkfs *m, struct ext4_super_block *s)
{
	le32 lo = cpu_to_le32((uint32_t)m->now.tv_sec);
	uint8_t hi = (uint8_t)((uint64_t)m->now.tv_sec >> 32);

	s->s_wtime = s->s_lastcheck = s->s_mkfs_time = lo;
	s->s_wtime_hi = s->s_lastcheck_hi = s->s_mkfs_time_hi = hi;
	s->s_kbytes_written = cpu_to_le64(1 + m->bdev->write_bytes / 1024);
}

static int super_write(struct mkfs *m, struct ext4_super_block *s, uint32_t group)
{
	uint64_t offset = group ? geometry_group_start(&m->geo, group) * m->geo.block_size :
				  EXT4_SUPER_OFFSET;
	int r;

	s->s_block_group_nr = cpu_to_le16((uint16_t)group);
	if (features_csum(&m->geo.features))
		s->s_checksum =
			cpu_to_le32(crc32c(~0u, s, offsetof(struct ext4_super_block, s_checksum)));
	r = bdev_write(m->bdev, s, sizeof(*s), offset);
	return r < 0 ? fail(r, "%s: writing the superblock of group %u", m->opts->target, group) :
		       0;
}

/* Descriptors that begin @group: all of them, or with meta_bg one block of them. */
static int gdt_write(struct mkfs *m, uint32_t group, const uint8_t *gdt)
{
	const struct geometry *g = &m->geo;
	uint64_t pblk = geometry_group_start(g, group) + geometry_has_super(g, group);
	size_t bytes = (size_t)g->desc_blocks * g->block_size, skip = 0;
	int r;

	if (!geometry_group_gdt(g, group))
		return 0;
	if (feature_incompat(&g->features, EXT4_FEATURE_INCOMPAT_META_BG)) {
		skip = (size_t)(group / geometry_desc_per_block(g)) * g->block_size;
		bytes = g->block_size;
	}
	r = bdev_write(m->bdev, gdt + skip, bytes, pblk * g->block_size);
	return r < 0 ? fail(r, "%s: writing the descriptors of group %u", m->opts->target, group) :
		       0;
}

static int copies_write(struct mkfs *m, struct ext4_super_block *s, const uint8_t *gdt)
{
	struct progress p;
	int r = 0;

	/* A copy does not claim to be clean: whoever falls back on it shall check first. */
	s->s_state = cpu_to_le16(0);
	progress_start(&p, !m->opts->quiet, "Writing superblock copies", "groups", m->geo.groups);
	for (uint32_t group = 0; r == 0 && group < m->geo.groups; group++) {
		r = gdt_write(m, group, gdt);
		if (r == 0 && group > 0 && geometry_has_super(&m->geo, group))
			r = super_write(m, s, group);
		progress_at(&p, group);
	}
	progress_end(&p);
	s->s_state = cpu_to_le16(EXT4_VALID_FS);
	return r;
}

/*
 * Half of it may be on the medium, or all of it while nobody knows whether the rest is. Of a
 * device that fails no more can be had than the try.
 */
static void super_withdraw(struct mkfs *m)
{
	static const struct ext4_super_block nothing;

	if (bdev_write(m->bdev, &nothing, sizeof(nothing), EXT4_SUPER_OFFSET) < 0)
		warn("%s: is not a filesystem, but may look like one: do not mount it",
		     m->opts->target);
	(void)bdev_flush(m->bdev); /* fails again after the flush that brought us here */
}

/* The primary superblock, last: after this the target is a filesystem. */
static int super_commit(struct mkfs *m, struct ext4_super_block *s)
{
	int r = super_write(m, s, 0);

	if (r < 0)
		return r;
	r = bdev_flush(m->bdev);
	return r < 0 ? fail(r, "%s: flushing", m->opts->target) : 0;
}

int write_finish(struct mkfs *m)
{
	const struct geometry *g = &m->geo;
	_cleanup_free_ uint8_t *gdt = calloc(g->desc_blocks, g->block_size);
	struct ext4_super_block s = { 0 };
	int r;

	if (!gdt)
		return fail(-ENOMEM, "descriptors");
	r = groups_finish(m, gdt);
	if (r < 0)
		return r;
	super_fill_geometry(m, &s);
	super_fill_policy(m, &s);
	super_fill_times(m, &s);
	r = copies_write(m, &s, gdt);
	if (r < 0)
		return r;
	r = bdev_flush(m->bdev);
	if (r < 0)
		return fail(r, "%s: flushing", m->opts->target);
	r = super_commit(m, &s);
	if (r < 0)
		super_withdraw(m);
	return r;
}
