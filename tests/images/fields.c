/* SPDX-License-Identifier: GPL-2.0-only */
/* See fields.h. */
#include "tests/images/fields.h"

#include <stdlib.h>
#include <string.h>

#include "tests/images/image.h"

#define F(type, field)                                                                             \
	{                                                                                          \
#field, offsetof(struct type, field), sizeof(((struct type *)0)->field)            \
	}
#define END                                                                                        \
	{                                                                                          \
		NULL, 0, 0                                                                         \
	}

const struct field fields_super[] = {
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
	F(ext4_super_block, s_mtime),
	F(ext4_super_block, s_wtime),
	F(ext4_super_block, s_mnt_count),
	F(ext4_super_block, s_max_mnt_count),
	F(ext4_super_block, s_magic),
	F(ext4_super_block, s_state),
	F(ext4_super_block, s_errors),
	F(ext4_super_block, s_minor_rev_level),
	F(ext4_super_block, s_lastcheck),
	F(ext4_super_block, s_checkinterval),
	F(ext4_super_block, s_creator_os),
	F(ext4_super_block, s_rev_level),
	F(ext4_super_block, s_def_resuid),
	F(ext4_super_block, s_def_resgid),
	F(ext4_super_block, s_first_ino),
	F(ext4_super_block, s_inode_size),
	F(ext4_super_block, s_block_group_nr),
	F(ext4_super_block, s_feature_compat),
	F(ext4_super_block, s_feature_incompat),
	F(ext4_super_block, s_feature_ro_compat),
	F(ext4_super_block, s_algorithm_usage_bitmap),
	F(ext4_super_block, s_prealloc_blocks),
	F(ext4_super_block, s_prealloc_dir_blocks),
	F(ext4_super_block, s_reserved_gdt_blocks),
	F(ext4_super_block, s_journal_inum),
	F(ext4_super_block, s_journal_dev),
	F(ext4_super_block, s_last_orphan),
	F(ext4_super_block, s_def_hash_version),
	F(ext4_super_block, s_jnl_backup_type),
	F(ext4_super_block, s_desc_size),
	F(ext4_super_block, s_default_mount_opts),
	F(ext4_super_block, s_first_meta_bg),
	F(ext4_super_block, s_mkfs_time),
	F(ext4_super_block, s_blocks_count_hi),
	F(ext4_super_block, s_r_blocks_count_hi),
	F(ext4_super_block, s_free_blocks_count_hi),
	F(ext4_super_block, s_min_extra_isize),
	F(ext4_super_block, s_want_extra_isize),
	F(ext4_super_block, s_flags),
	F(ext4_super_block, s_raid_stride),
	F(ext4_super_block, s_mmp_update_interval),
	F(ext4_super_block, s_mmp_block),
	F(ext4_super_block, s_raid_stripe_width),
	F(ext4_super_block, s_log_groups_per_flex),
	F(ext4_super_block, s_checksum_type),
	F(ext4_super_block, s_encryption_level),
	F(ext4_super_block, s_reserved_pad),
	F(ext4_super_block, s_kbytes_written),
	F(ext4_super_block, s_snapshot_inum),
	F(ext4_super_block, s_snapshot_id),
	F(ext4_super_block, s_snapshot_r_blocks_count),
	F(ext4_super_block, s_snapshot_list),
	F(ext4_super_block, s_error_count),
	F(ext4_super_block, s_first_error_time),
	F(ext4_super_block, s_first_error_ino),
	F(ext4_super_block, s_first_error_block),
	F(ext4_super_block, s_first_error_line),
	F(ext4_super_block, s_last_error_time),
	F(ext4_super_block, s_last_error_ino),
	F(ext4_super_block, s_last_error_line),
	F(ext4_super_block, s_last_error_block),
	F(ext4_super_block, s_usr_quota_inum),
	F(ext4_super_block, s_grp_quota_inum),
	F(ext4_super_block, s_overhead_clusters),
	F(ext4_super_block, s_lpf_ino),
	F(ext4_super_block, s_prj_quota_inum),
	F(ext4_super_block, s_checksum_seed),
	F(ext4_super_block, s_wtime_hi),
	F(ext4_super_block, s_mtime_hi),
	F(ext4_super_block, s_mkfs_time_hi),
	F(ext4_super_block, s_lastcheck_hi),
	F(ext4_super_block, s_first_error_time_hi),
	F(ext4_super_block, s_last_error_time_hi),
	F(ext4_super_block, s_first_error_errcode),
	F(ext4_super_block, s_last_error_errcode),
	F(ext4_super_block, s_encoding),
	F(ext4_super_block, s_encoding_flags),
	F(ext4_super_block, s_orphan_file_inum),
	F(ext4_super_block, s_def_resuid_hi),
	F(ext4_super_block, s_def_resgid_hi),
	F(ext4_super_block, s_checksum),
	END,
};

const struct field fields_desc[] = {
	F(ext4_group_desc, bg_block_bitmap_lo),
	F(ext4_group_desc, bg_inode_bitmap_lo),
	F(ext4_group_desc, bg_inode_table_lo),
	F(ext4_group_desc, bg_free_blocks_count_lo),
	F(ext4_group_desc, bg_free_inodes_count_lo),
	F(ext4_group_desc, bg_used_dirs_count_lo),
	F(ext4_group_desc, bg_flags),
	F(ext4_group_desc, bg_exclude_bitmap_lo),
	F(ext4_group_desc, bg_block_bitmap_csum_lo),
	F(ext4_group_desc, bg_inode_bitmap_csum_lo),
	F(ext4_group_desc, bg_itable_unused_lo),
	F(ext4_group_desc, bg_checksum),
	F(ext4_group_desc, bg_block_bitmap_hi),
	F(ext4_group_desc, bg_inode_bitmap_hi),
	F(ext4_group_desc, bg_inode_table_hi),
	F(ext4_group_desc, bg_free_blocks_count_hi),
	F(ext4_group_desc, bg_free_inodes_count_hi),
	F(ext4_group_desc, bg_used_dirs_count_hi),
	F(ext4_group_desc, bg_itable_unused_hi),
	F(ext4_group_desc, bg_exclude_bitmap_hi),
	F(ext4_group_desc, bg_block_bitmap_csum_hi),
	F(ext4_group_desc, bg_inode_bitmap_csum_hi),
	F(ext4_group_desc, bg_reserved),
	END,
};

const struct field fields_inode[] = {
	F(ext4_inode, i_mode),	       F(ext4_inode, i_uid),
	F(ext4_inode, i_size_lo),      F(ext4_inode, i_atime),
	F(ext4_inode, i_ctime),	       F(ext4_inode, i_mtime),
	F(ext4_inode, i_dtime),	       F(ext4_inode, i_gid),
	F(ext4_inode, i_links_count),  F(ext4_inode, i_blocks_lo),
	F(ext4_inode, i_flags),	       F(ext4_inode, i_version_lo),
	F(ext4_inode, i_generation),   F(ext4_inode, i_file_acl_lo),
	F(ext4_inode, i_size_high),    F(ext4_inode, i_obso_faddr),
	F(ext4_inode, i_blocks_hi),    F(ext4_inode, i_file_acl_hi),
	F(ext4_inode, i_uid_hi),       F(ext4_inode, i_gid_hi),
	F(ext4_inode, i_checksum_lo),  F(ext4_inode, i_reserved),
	F(ext4_inode, i_extra_isize),  F(ext4_inode, i_checksum_hi),
	F(ext4_inode, i_ctime_extra),  F(ext4_inode, i_mtime_extra),
	F(ext4_inode, i_atime_extra),  F(ext4_inode, i_crtime),
	F(ext4_inode, i_crtime_extra), F(ext4_inode, i_version_hi),
	F(ext4_inode, i_projid),       END,
};

const struct field fields_eh[] = {
	F(ext4_extent_header, eh_magic),      F(ext4_extent_header, eh_entries),
	F(ext4_extent_header, eh_max),	      F(ext4_extent_header, eh_depth),
	F(ext4_extent_header, eh_generation), END,
};

const struct field fields_ei[] = {
	F(ext4_extent_idx, ei_block),
	F(ext4_extent_idx, ei_leaf_lo),
	F(ext4_extent_idx, ei_leaf_hi),
	F(ext4_extent_idx, ei_unused),
	END,
};

const struct field fields_ee[] = {
	F(ext4_extent, ee_block),
	F(ext4_extent, ee_len),
	F(ext4_extent, ee_start_hi),
	F(ext4_extent, ee_start_lo),
	END,
};

const struct field fields_de[] = {
	F(ext4_dir_entry_2, inode),
	F(ext4_dir_entry_2, rec_len),
	F(ext4_dir_entry_2, name_len),
	F(ext4_dir_entry_2, file_type),
	END,
};

const struct field fields_dxinfo[] = {
	F(dx_root_info, reserved_zero), F(dx_root_info, hash_version),
	F(dx_root_info, info_length),	F(dx_root_info, indirect_levels),
	F(dx_root_info, unused_flags),	END,
};

const struct field fields_dxcl[] = {
	F(dx_countlimit, limit),
	F(dx_countlimit, count),
	END,
};

const struct field fields_dxe[] = {
	F(dx_entry, hash),
	F(dx_entry, block),
	END,
};

const struct field fields_xh[] = {
	F(ext4_xattr_header, h_magic),	  F(ext4_xattr_header, h_refcount),
	F(ext4_xattr_header, h_blocks),	  F(ext4_xattr_header, h_hash),
	F(ext4_xattr_header, h_checksum), END,
};

const struct field fields_xih[] = {
	F(ext4_xattr_ibody_header, h_magic),
	END,
};

const struct field fields_xe[] = {
	F(ext4_xattr_entry, e_name_len),
	F(ext4_xattr_entry, e_name_index),
	F(ext4_xattr_entry, e_value_offs),
	F(ext4_xattr_entry, e_value_inum),
	F(ext4_xattr_entry, e_value_size),
	F(ext4_xattr_entry, e_hash),
	END,
};

const struct field fields_jsb[] = {
	F(jbd2_header, h_magic),
	F(jbd2_header, h_blocktype),
	F(jbd2_header, h_sequence),
	F(jbd2_super_block, s_blocksize),
	F(jbd2_super_block, s_maxlen),
	F(jbd2_super_block, s_first),
	F(jbd2_super_block, s_sequence),
	F(jbd2_super_block, s_start),
	F(jbd2_super_block, s_errno),
	F(jbd2_super_block, s_feature_compat),
	F(jbd2_super_block, s_feature_incompat),
	F(jbd2_super_block, s_feature_ro_compat),
	F(jbd2_super_block, s_nr_users),
	F(jbd2_super_block, s_dynsuper),
	F(jbd2_super_block, s_max_transaction),
	F(jbd2_super_block, s_max_trans_data),
	F(jbd2_super_block, s_checksum_type),
	F(jbd2_super_block, s_num_fc_blocks),
	F(jbd2_super_block, s_head),
	F(jbd2_super_block, s_checksum),
	END,
};

const struct field fields_jtag[] = {
	F(jbd2_block_tag3, t_blocknr),
	F(jbd2_block_tag3, t_flags),
	F(jbd2_block_tag3, t_blocknr_high),
	F(jbd2_block_tag3, t_checksum),
	END,
};

const struct field fields_mmp[] = {
	F(mmp_struct, mmp_magic),
	F(mmp_struct, mmp_seq),
	F(mmp_struct, mmp_time),
	F(mmp_struct, mmp_check_interval),
	F(mmp_struct, mmp_pad1),
	F(mmp_struct, mmp_checksum),
	END,
};

const struct field fields_otail[] = {
	F(ext4_orphan_block_tail, ob_magic),
	F(ext4_orphan_block_tail, ob_checksum),
	END,
};

/* Any block of the log: its header, and what a revoke or a commit block has behind it. */
const struct field fields_jh[] = {
	F(jbd2_header, h_magic),
	F(jbd2_header, h_blocktype),
	F(jbd2_header, h_sequence),
	F(jbd2_revoke_header, r_count),
	F(jbd2_commit_block, h_chksum_type),
	F(jbd2_commit_block, h_chksum_size),
	F(jbd2_commit_block, h_commit_sec),
	F(jbd2_commit_block, h_commit_nsec),
	END,
};

const struct field fields_slot[] = { { "slot", 0, 4 }, END };
const struct field fields_bit[] = { { "bit", 0, 1 }, END };

const struct field *field_find(const struct field *table, const char *name)
{
	const struct field *f = table;

	while (f && f->name && strcmp(f->name, name))
		f++;
	if (!f || !f->name)
		image_die("no field %s", name);
	return f;
}

const struct field *field_parse(const char *word, struct field *f)
{
	char *end;

	f->name = word;
	f->off = (uint32_t)strtoul(word + 1, &end, 0);
	f->size = *end == ':' ? (uint32_t)strtoul(end + 1, &end, 0) : 0;
	if (*end || (f->size != 1 && f->size != 2 && f->size != 4 && f->size != 8))
		image_die("not @OFFSET:SIZE: %s", word);
	return f;
}

uint64_t field_get(const uint8_t *p, uint32_t size, bool big_endian)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < size; i++)
		value = value << 8 | p[big_endian ? i : size - 1 - i];
	return value;
}

void field_set(uint8_t *p, uint32_t size, bool big_endian, uint64_t value)
{
	for (uint32_t i = 0; i < size; i++)
		p[big_endian ? size - 1 - i : i] = (uint8_t)(value >> 8 * i);
}
