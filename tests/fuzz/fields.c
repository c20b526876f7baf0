// SPDX-License-Identifier: GPL-2.0-only
/* The fields of each kind of place by number, so that an edit can hit one whole. */
#include "tests/fuzz/scene.h"

struct field {
	uint16_t off;
	uint8_t size;
};

#define F(type, name)                                                                              \
	{                                                                                          \
		offsetof(struct type, name), sizeof(((struct type *)0)->name)                      \
	}

static const struct field super_fields[] = {
	F(ext4_super_block, s_inodes_count),
	F(ext4_super_block, s_blocks_count_lo),
	F(ext4_super_block, s_r_blocks_count_lo),
	F(ext4_super_block, s_free_blocks_count_lo),
	F(ext4_super_block, s_free_inodes_count),
	F(ext4_super_block, s_first_data_block),
	F(ext4_super_block, s_log_block_size),
	F(ext4_super_block, s_log_cluster_size),
	F(ext4_super_block, s_blocks_per_group),
	F(ext4_super_block, s_clusters_per_group),
	F(ext4_super_block, s_inodes_per_group),
	F(ext4_super_block, s_magic),
	F(ext4_super_block, s_state),
	F(ext4_super_block, s_errors),
	F(ext4_super_block, s_creator_os),
	F(ext4_super_block, s_rev_level),
	F(ext4_super_block, s_first_ino),
	F(ext4_super_block, s_inode_size),
	F(ext4_super_block, s_feature_compat),
	F(ext4_super_block, s_feature_incompat),
	F(ext4_super_block, s_feature_ro_compat),
	F(ext4_super_block, s_reserved_gdt_blocks),
	F(ext4_super_block, s_journal_inum),
	F(ext4_super_block, s_journal_dev),
	F(ext4_super_block, s_last_orphan),
	F(ext4_super_block, s_def_hash_version),
	F(ext4_super_block, s_jnl_backup_type),
	F(ext4_super_block, s_desc_size),
	F(ext4_super_block, s_first_meta_bg),
	F(ext4_super_block, s_blocks_count_hi),
	F(ext4_super_block, s_r_blocks_count_hi),
	F(ext4_super_block, s_free_blocks_count_hi),
	F(ext4_super_block, s_min_extra_isize),
	F(ext4_super_block, s_want_extra_isize),
	F(ext4_super_block, s_flags),
	F(ext4_super_block, s_mmp_update_interval),
	F(ext4_super_block, s_mmp_block),
	F(ext4_super_block, s_log_groups_per_flex),
	F(ext4_super_block, s_checksum_type),
	F(ext4_super_block, s_error_count),
	F(ext4_super_block, s_overhead_clusters),
	F(ext4_super_block, s_backup_bgs[0]),
	F(ext4_super_block, s_backup_bgs[1]),
	F(ext4_super_block, s_checksum_seed),
	F(ext4_super_block, s_encoding),
	F(ext4_super_block, s_orphan_file_inum),
	F(ext4_super_block, s_usr_quota_inum),
	F(ext4_super_block, s_lpf_ino),
};

static const struct field desc_fields[] = {
	F(ext4_group_desc, bg_block_bitmap_lo),
	F(ext4_group_desc, bg_inode_bitmap_lo),
	F(ext4_group_desc, bg_inode_table_lo),
	F(ext4_group_desc, bg_free_blocks_count_lo),
	F(ext4_group_desc, bg_free_inodes_count_lo),
	F(ext4_group_desc, bg_used_dirs_count_lo),
	F(ext4_group_desc, bg_flags),
	F(ext4_group_desc, bg_itable_unused_lo),
	F(ext4_group_desc, bg_block_bitmap_hi),
	F(ext4_group_desc, bg_inode_bitmap_hi),
	F(ext4_group_desc, bg_inode_table_hi),
	F(ext4_group_desc, bg_free_blocks_count_hi),
	F(ext4_group_desc, bg_free_inodes_count_hi),
	F(ext4_group_desc, bg_used_dirs_count_hi),
	F(ext4_group_desc, bg_itable_unused_hi),
};

/* i_block is addressed by the words of a map and by the fields of an extent root alike. */
static const struct field inode_fields[] = {
	F(ext4_inode, i_mode),
	F(ext4_inode, i_size_lo),
	F(ext4_inode, i_size_high),
	F(ext4_inode, i_dtime),
	F(ext4_inode, i_links_count),
	F(ext4_inode, i_blocks_lo),
	F(ext4_inode, i_flags),
	F(ext4_inode, i_generation),
	F(ext4_inode, i_file_acl_lo),
	F(ext4_inode, i_file_acl_hi),
	F(ext4_inode, i_blocks_hi),
	F(ext4_inode, i_extra_isize),
	F(ext4_inode, i_version_lo),
	F(ext4_inode, i_ctime),
	F(ext4_inode, i_atime),
	F(ext4_inode, i_block[0]),
	F(ext4_inode, i_block[1]),
	F(ext4_inode, i_block[2]),
	F(ext4_inode, i_block[3]),
	F(ext4_inode, i_block[4]),
	F(ext4_inode, i_block[5]),
	F(ext4_inode, i_block[6]),
	F(ext4_inode, i_block[11]),
	F(ext4_inode, i_block[12]),
	F(ext4_inode, i_block[13]),
	F(ext4_inode, i_block[14]),
	{ 0x28, 2 }, /* eh_magic */
	{ 0x2a, 2 }, /* eh_entries */
	{ 0x2c, 2 }, /* eh_max */
	{ 0x2e, 2 }, /* eh_depth */
	{ 0x38, 2 }, /* ee_len of the first extent */
	{ 0x3a, 2 }, /* its ee_start_hi */
	{ 0x44, 2 }, /* the second's */
	{ 0xa0, 4 }, /* magic of attributes in a 256-byte inode */
	{ 0xa4, 1 }, /* e_name_len */
	{ 0xa5, 1 }, /* e_name_index */
	{ 0xa6, 2 }, /* e_value_offs */
	{ 0xa8, 4 }, /* e_value_inum */
	{ 0xac, 4 }, /* e_value_size */
};

static const struct field journal_fields[] = {
	{ 0x00, 4 }, { 0x04, 4 }, { 0x0c, 4 }, { 0x10, 4 }, { 0x14, 4 },
	{ 0x18, 4 }, { 0x1c, 4 }, { 0x20, 4 }, { 0x24, 4 }, { 0x28, 4 },
	{ 0x2c, 4 }, { 0x40, 4 }, { 0x50, 1 }, { 0x54, 4 }, { 0x58, 4 },
};

/* ---- entries that follow a header ----------------------------------------- */

static const struct field dirent_part[] = { { 0, 4 }, { 4, 2 }, { 6, 1 }, { 7, 1 }, { 8, 4 } };

/* Field @n of entries chained by rec_len; a chain that is broken already begins anew. */
static uint32_t dirent_field(const struct scene *sc, const struct place *p, uint32_t n,
			     uint32_t *ret_size)
{
	const uint8_t *d = place_bytes(sc, p);
	const struct field *part = &dirent_part[n % 5];
	uint32_t off = 0;

	for (n /= 5; n; n--) {
		uint32_t len = (uint32_t)(d[off + 4] | d[off + 5] << 8);

		off += len < 8 ? 8 : len;
		if (off + 12 > p->len)
			off = 0;
	}
	*ret_size = part->size;
	return off + part->off;
}

struct layout {
	const struct field *head, *entry;
	uint32_t heads, parts, first, stride;
};

static const struct field index_root[] = { { 0x00, 4 }, { 0x04, 2 }, { 0x0c, 4 }, { 0x10, 2 },
					   { 0x18, 4 }, { 0x1c, 1 }, { 0x1d, 1 }, { 0x1e, 1 },
					   { 0x1f, 1 }, { 0x20, 2 }, { 0x22, 2 } };
static const struct field index_node[] = {
	{ 0x00, 4 }, { 0x04, 2 }, { 0x06, 1 }, { 0x08, 2 }, { 0x0a, 2 }
};
static const struct field index_entry[] = { { 0, 4 }, { 4, 4 } };
static const struct field extent_head[] = { { 0, 2 }, { 2, 2 }, { 4, 2 }, { 6, 2 } };
static const struct field extent_entry[] = { { 0, 4 }, { 4, 2 }, { 6, 2 }, { 8, 4 }, { 4, 4 } };
static const struct field xattr_head[] = { { 0, 4 }, { 4, 4 }, { 8, 4 }, { 12, 4 } };
static const struct field xattr_entry[] = { { 0, 1 }, { 1, 1 }, { 2, 2 },
					    { 4, 4 }, { 8, 4 }, { 12, 4 } };
static const struct field word[] = { { 0, 4 } };
static const struct field log_head[] = { { 0, 4 }, { 4, 4 }, { 8, 4 } };

#define COUNT(a) ((uint32_t)(sizeof(a) / sizeof((a)[0])))
#define TABLE(a)                                                                                   \
	{                                                                                          \
		.head = (a), .heads = COUNT(a)                                                     \
	}
#define ENTRIES(h, e, at, step)                                                                    \
	{                                                                                          \
		.head = (h), .heads = COUNT(h), .entry = (e), .parts = COUNT(e), .first = (at),    \
		.stride = (step)                                                                   \
	}

static const struct layout layouts[PLACE_KINDS] = {
	[PLACE_SUPER] = TABLE(super_fields),
	[PLACE_DESC] = TABLE(desc_fields),
	[PLACE_INODE] = TABLE(inode_fields),
	[PLACE_INDEX] = ENTRIES(index_node, index_entry, 12, 8),
	[PLACE_EXTENT] = ENTRIES(extent_head, extent_entry, 12, 12),
	[PLACE_INDIRECT] = ENTRIES(word, word, 4, 4),
	[PLACE_XATTR] = ENTRIES(xattr_head, xattr_entry, 32, 4),
	[PLACE_ORPHAN] = ENTRIES(word, word, 4, 4),
	[PLACE_JOURNAL_SUPER] = TABLE(journal_fields),
	[PLACE_LOG] = ENTRIES(log_head, word, 12, 4),
};
static const struct layout root_layout = ENTRIES(index_root, index_entry, 0x24, 8);

static const struct layout *layout_of(const struct place *p)
{
	return p->kind == PLACE_INDEX && p->lblk == 0 ? &root_layout : &layouts[p->kind];
}

uint32_t place_fields(const struct scene *sc, const struct place *p)
{
	const struct layout *l = layout_of(p);

	(void)sc;
	if (p->kind == PLACE_DIR)
		return 5 * 40;
	if (!l->entry)
		return l->heads ? l->heads : p->len;
	return l->heads + (p->len - l->first) / l->stride * l->parts;
}

uint32_t place_field(const struct scene *sc, const struct place *p, uint32_t n, uint32_t *ret_size)
{
	const struct layout *l = layout_of(p);

	n %= place_fields(sc, p);
	if (p->kind == PLACE_DIR)
		return dirent_field(sc, p, n, ret_size);
	if (!l->heads) {
		*ret_size = 1;
		return n;
	}
	if (n < l->heads) {
		*ret_size = l->head[n].size;
		return l->head[n].off;
	}
	n -= l->heads;
	*ret_size = l->entry[n % l->parts].size;
	return l->first + n / l->parts * l->stride + l->entry[n % l->parts].off;
}
