/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ext4 on disk: every structure, flag and constant, under the names the specification and
 * Linux use. Little-endian throughout. The margin shows each field's offset.
 *
 * Nothing here is a promise that a value read from disk is sane; readers check magic, bounds
 * and checksum before they use a field. Where Linux has unions for other operating systems,
 * only the Linux member is declared, with a plain name (i_blocks_hi for osd2.linux2...).
 */
#ifndef KFS_EXT4_FORMAT_H
#define KFS_EXT4_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "include/kfs/endian.h"

/* Reserved inode numbers. */
#define EXT4_BAD_INO		1
#define EXT4_ROOT_INO		2
#define EXT4_USR_QUOTA_INO	3
#define EXT4_GRP_QUOTA_INO	4
#define EXT4_BOOT_LOADER_INO	5
#define EXT4_UNDEL_DIR_INO	6
#define EXT4_RESIZE_INO		7
#define EXT4_JOURNAL_INO	8
#define EXT4_EXCLUDE_INO	9
#define EXT4_REPLICA_INO	10
#define EXT4_GOOD_OLD_FIRST_INO	11

#define EXT4_SUPER_MAGIC	0xef53
#define EXT4_SUPER_OFFSET	1024
#define EXT4_SUPER_SIZE		1024

#define EXT4_MIN_BLOCK_LOG_SIZE	10
#define EXT4_MAX_BLOCK_LOG_SIZE	16
#define EXT4_MIN_BLOCK_SIZE	1024
#define EXT4_MAX_BLOCK_SIZE	65536
#define EXT4_MAX_CLUSTER_LOG_SIZE 29

#define EXT4_GOOD_OLD_REV	0
#define EXT4_DYNAMIC_REV	1
#define EXT4_GOOD_OLD_INODE_SIZE 128
#define EXT4_OS_LINUX		0
#define EXT4_OS_HURD		1	/* i_version_lo is a block number there: its translator */
#define EXT4_LABEL_MAX		16
#define EXT4_LINK_MAX		65000
#define EXT4_NAME_LEN		255

#define EXT4_NDIR_BLOCKS	12
#define EXT4_IND_BLOCK		12
#define EXT4_DIND_BLOCK		13
#define EXT4_TIND_BLOCK		14
#define EXT4_N_BLOCKS		15
#define EXT4_N_BLOCKS_BYTES	60	/* room for a fast symlink, an extent root or inline data */

/* s_state */
#define EXT4_VALID_FS		0x0001
#define EXT4_ERROR_FS		0x0002
#define EXT4_ORPHAN_FS		0x0004
#define EXT4_FC_REPLAY		0x0020

/* s_errors */
#define EXT4_ERRORS_CONTINUE	1
#define EXT4_ERRORS_RO		2
#define EXT4_ERRORS_PANIC	3
#define EXT4_ERRORS_DEFAULT	EXT4_ERRORS_CONTINUE

/* s_flags */
#define EXT2_FLAGS_SIGNED_HASH		0x0001
#define EXT2_FLAGS_UNSIGNED_HASH	0x0002
#define EXT2_FLAGS_TEST_FILESYS		0x0004
#define EXT2_FLAGS_IS_SNAPSHOT		0x0010
#define EXT2_FLAGS_FIX_SNAPSHOT		0x0020
#define EXT2_FLAGS_FIX_EXCLUDE		0x0040

/* s_checksum_type */
#define EXT4_CRC32C_CHKSUM	1

/* s_jnl_backup_type: s_jnl_blocks holds i_block[15], i_size_high, i_size_lo of the journal */
#define EXT4_JNL_BACKUP_BLOCKS	1

/* s_default_mount_opts */
#define EXT4_DEFM_DEBUG		0x0001
#define EXT4_DEFM_BSDGROUPS	0x0002
#define EXT4_DEFM_XATTR_USER	0x0004
#define EXT4_DEFM_ACL		0x0008
#define EXT4_DEFM_UID16		0x0010
#define EXT4_DEFM_JMODE		0x0060
#define EXT4_DEFM_JMODE_DATA	0x0020
#define EXT4_DEFM_JMODE_ORDERED	0x0040
#define EXT4_DEFM_JMODE_WBACK	0x0060
#define EXT4_DEFM_NOBARRIER	0x0100
#define EXT4_DEFM_BLOCK_VALIDITY 0x0200
#define EXT4_DEFM_DISCARD	0x0400
#define EXT4_DEFM_NODELALLOC	0x0800

#define EXT4_FEATURE_COMPAT_DIR_PREALLOC	0x0001
#define EXT4_FEATURE_COMPAT_IMAGIC_INODES	0x0002
#define EXT4_FEATURE_COMPAT_HAS_JOURNAL		0x0004
#define EXT4_FEATURE_COMPAT_EXT_ATTR		0x0008
#define EXT4_FEATURE_COMPAT_RESIZE_INODE	0x0010
#define EXT4_FEATURE_COMPAT_DIR_INDEX		0x0020
#define EXT4_FEATURE_COMPAT_LAZY_BG		0x0040
#define EXT4_FEATURE_COMPAT_EXCLUDE_INODE	0x0080
#define EXT4_FEATURE_COMPAT_EXCLUDE_BITMAP	0x0100
#define EXT4_FEATURE_COMPAT_SPARSE_SUPER2	0x0200
#define EXT4_FEATURE_COMPAT_FAST_COMMIT		0x0400
#define EXT4_FEATURE_COMPAT_STABLE_INODES	0x0800
#define EXT4_FEATURE_COMPAT_ORPHAN_FILE		0x1000

#define EXT4_FEATURE_RO_COMPAT_SPARSE_SUPER	0x0001
#define EXT4_FEATURE_RO_COMPAT_LARGE_FILE	0x0002
#define EXT4_FEATURE_RO_COMPAT_BTREE_DIR	0x0004
#define EXT4_FEATURE_RO_COMPAT_HUGE_FILE	0x0008
#define EXT4_FEATURE_RO_COMPAT_GDT_CSUM		0x0010
#define EXT4_FEATURE_RO_COMPAT_DIR_NLINK	0x0020
#define EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE	0x0040
#define EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT	0x0080
#define EXT4_FEATURE_RO_COMPAT_QUOTA		0x0100
#define EXT4_FEATURE_RO_COMPAT_BIGALLOC		0x0200
#define EXT4_FEATURE_RO_COMPAT_METADATA_CSUM	0x0400
#define EXT4_FEATURE_RO_COMPAT_REPLICA		0x0800
#define EXT4_FEATURE_RO_COMPAT_READONLY		0x1000
#define EXT4_FEATURE_RO_COMPAT_PROJECT		0x2000
#define EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS	0x4000
#define EXT4_FEATURE_RO_COMPAT_VERITY		0x8000
#define EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT	0x10000

#define EXT4_FEATURE_INCOMPAT_COMPRESSION	0x0001
#define EXT4_FEATURE_INCOMPAT_FILETYPE		0x0002
#define EXT4_FEATURE_INCOMPAT_RECOVER		0x0004
#define EXT4_FEATURE_INCOMPAT_JOURNAL_DEV	0x0008
#define EXT4_FEATURE_INCOMPAT_META_BG		0x0010
#define EXT4_FEATURE_INCOMPAT_EXTENTS		0x0040
#define EXT4_FEATURE_INCOMPAT_64BIT		0x0080
#define EXT4_FEATURE_INCOMPAT_MMP		0x0100
#define EXT4_FEATURE_INCOMPAT_FLEX_BG		0x0200
#define EXT4_FEATURE_INCOMPAT_EA_INODE		0x0400
#define EXT4_FEATURE_INCOMPAT_DIRDATA		0x1000
#define EXT4_FEATURE_INCOMPAT_CSUM_SEED		0x2000
#define EXT4_FEATURE_INCOMPAT_LARGEDIR		0x4000
#define EXT4_FEATURE_INCOMPAT_INLINE_DATA	0x8000
#define EXT4_FEATURE_INCOMPAT_ENCRYPT		0x10000
#define EXT4_FEATURE_INCOMPAT_CASEFOLD		0x20000

struct ext4_super_block {
/*000*/	le32	s_inodes_count;
/*004*/	le32	s_blocks_count_lo;
/*008*/	le32	s_r_blocks_count_lo;
/*00c*/	le32	s_free_blocks_count_lo;
/*010*/	le32	s_free_inodes_count;
/*014*/	le32	s_first_data_block;
/*018*/	le32	s_log_block_size;	/* log2(size) - 10 */
/*01c*/	le32	s_log_cluster_size;
/*020*/	le32	s_blocks_per_group;
/*024*/	le32	s_clusters_per_group;
/*028*/	le32	s_inodes_per_group;
/*02c*/	le32	s_mtime;
/*030*/	le32	s_wtime;
/*034*/	le16	s_mnt_count;
/*036*/	le16	s_max_mnt_count;	/* signed: -1 means never */
/*038*/	le16	s_magic;
/*03a*/	le16	s_state;
/*03c*/	le16	s_errors;
/*03e*/	le16	s_minor_rev_level;
/*040*/	le32	s_lastcheck;
/*044*/	le32	s_checkinterval;
/*048*/	le32	s_creator_os;
/*04c*/	le32	s_rev_level;
/*050*/	le16	s_def_resuid;
/*052*/	le16	s_def_resgid;
/* From here on valid only from EXT4_DYNAMIC_REV. */
/*054*/	le32	s_first_ino;
/*058*/	le16	s_inode_size;
/*05a*/	le16	s_block_group_nr;
/*05c*/	le32	s_feature_compat;
/*060*/	le32	s_feature_incompat;
/*064*/	le32	s_feature_ro_compat;
/*068*/	uint8_t	s_uuid[16];
/*078*/	char	s_volume_name[EXT4_LABEL_MAX];	/* not terminated when full */
/*088*/	char	s_last_mounted[64];
/*0c8*/	le32	s_algorithm_usage_bitmap;
/*0cc*/	uint8_t	s_prealloc_blocks;
/*0cd*/	uint8_t	s_prealloc_dir_blocks;
/*0ce*/	le16	s_reserved_gdt_blocks;
/*0d0*/	uint8_t	s_journal_uuid[16];
/*0e0*/	le32	s_journal_inum;
/*0e4*/	le32	s_journal_dev;
/*0e8*/	le32	s_last_orphan;
/*0ec*/	le32	s_hash_seed[4];
/*0fc*/	uint8_t	s_def_hash_version;
/*0fd*/	uint8_t	s_jnl_backup_type;
/*0fe*/	le16	s_desc_size;
/*100*/	le32	s_default_mount_opts;
/*104*/	le32	s_first_meta_bg;
/*108*/	le32	s_mkfs_time;
/*10c*/	le32	s_jnl_blocks[17];
/*150*/	le32	s_blocks_count_hi;
/*154*/	le32	s_r_blocks_count_hi;
/*158*/	le32	s_free_blocks_count_hi;
/*15c*/	le16	s_min_extra_isize;
/*15e*/	le16	s_want_extra_isize;
/*160*/	le32	s_flags;
/*164*/	le16	s_raid_stride;
/*166*/	le16	s_mmp_update_interval;
/*168*/	le64	s_mmp_block;
/*170*/	le32	s_raid_stripe_width;
/*174*/	uint8_t	s_log_groups_per_flex;
/*175*/	uint8_t	s_checksum_type;
/*176*/	uint8_t	s_encryption_level;
/*177*/	uint8_t	s_reserved_pad;
/*178*/	le64	s_kbytes_written;
/*180*/	le32	s_snapshot_inum;
/*184*/	le32	s_snapshot_id;
/*188*/	le64	s_snapshot_r_blocks_count;
/*190*/	le32	s_snapshot_list;
/*194*/	le32	s_error_count;
/*198*/	le32	s_first_error_time;
/*19c*/	le32	s_first_error_ino;
/*1a0*/	le64	s_first_error_block;
/*1a8*/	char	s_first_error_func[32];
/*1c8*/	le32	s_first_error_line;
/*1cc*/	le32	s_last_error_time;
/*1d0*/	le32	s_last_error_ino;
/*1d4*/	le32	s_last_error_line;
/*1d8*/	le64	s_last_error_block;
/*1e0*/	char	s_last_error_func[32];
/*200*/	char	s_mount_opts[64];
/*240*/	le32	s_usr_quota_inum;
/*244*/	le32	s_grp_quota_inum;
/*248*/	le32	s_overhead_clusters;
/*24c*/	le32	s_backup_bgs[2];	/* sparse_super2 */
/*254*/	uint8_t	s_encrypt_algos[4];
/*258*/	uint8_t	s_encrypt_pw_salt[16];
/*268*/	le32	s_lpf_ino;
/*26c*/	le32	s_prj_quota_inum;
/*270*/	le32	s_checksum_seed;	/* crc32c(~0, uuid at mkfs) if INCOMPAT_CSUM_SEED */
/*274*/	uint8_t	s_wtime_hi;
/*275*/	uint8_t	s_mtime_hi;
/*276*/	uint8_t	s_mkfs_time_hi;
/*277*/	uint8_t	s_lastcheck_hi;
/*278*/	uint8_t	s_first_error_time_hi;
/*279*/	uint8_t	s_last_error_time_hi;
/*27a*/	uint8_t	s_first_error_errcode;
/*27b*/	uint8_t	s_last_error_errcode;
/*27c*/	le16	s_encoding;
/*27e*/	le16	s_encoding_flags;
/*280*/	le32	s_orphan_file_inum;
/*284*/	le16	s_def_resuid_hi;
/*286*/	le16	s_def_resgid_hi;
/*288*/	le32	s_reserved[93];
/*3fc*/	le32	s_checksum;		/* crc32c(~0, bytes before this field) */
};

static_assert(sizeof(struct ext4_super_block) == EXT4_SUPER_SIZE, "superblock size");
static_assert(offsetof(struct ext4_super_block, s_magic) == 0x38, "s_magic");
static_assert(offsetof(struct ext4_super_block, s_uuid) == 0x68, "s_uuid");
static_assert(offsetof(struct ext4_super_block, s_journal_uuid) == 0xd0, "s_journal_uuid");
static_assert(offsetof(struct ext4_super_block, s_jnl_blocks) == 0x10c, "s_jnl_blocks");
static_assert(offsetof(struct ext4_super_block, s_blocks_count_hi) == 0x150, "blocks_count_hi");
static_assert(offsetof(struct ext4_super_block, s_mmp_block) == 0x168, "s_mmp_block");
static_assert(offsetof(struct ext4_super_block, s_error_count) == 0x194, "s_error_count");
static_assert(offsetof(struct ext4_super_block, s_mount_opts) == 0x200, "s_mount_opts");
static_assert(offsetof(struct ext4_super_block, s_backup_bgs) == 0x24c, "s_backup_bgs");
static_assert(offsetof(struct ext4_super_block, s_checksum_seed) == 0x270, "s_checksum_seed");
static_assert(offsetof(struct ext4_super_block, s_orphan_file_inum) == 0x280, "orphan_file_inum");
static_assert(offsetof(struct ext4_super_block, s_checksum) == 0x3fc, "s_checksum");

/* bg_flags */
#define EXT4_BG_INODE_UNINIT	0x0001	/* inode bitmap and table not initialised */
#define EXT4_BG_BLOCK_UNINIT	0x0002	/* block bitmap not initialised */
#define EXT4_BG_INODE_ZEROED	0x0004	/* inode table zeroed on disk */

#define EXT4_MIN_DESC_SIZE	32
#define EXT4_MIN_DESC_SIZE_64BIT 64
#define EXT4_MAX_DESC_SIZE	EXT4_MIN_BLOCK_SIZE

struct ext4_group_desc {
/*00*/	le32	bg_block_bitmap_lo;
/*04*/	le32	bg_inode_bitmap_lo;
/*08*/	le32	bg_inode_table_lo;
/*0c*/	le16	bg_free_blocks_count_lo;	/* in clusters */
/*0e*/	le16	bg_free_inodes_count_lo;
/*10*/	le16	bg_used_dirs_count_lo;
/*12*/	le16	bg_flags;
/*14*/	le32	bg_exclude_bitmap_lo;
/*18*/	le16	bg_block_bitmap_csum_lo;	/* crc32c(seed, bitmap) */
/*1a*/	le16	bg_inode_bitmap_csum_lo;	/* crc32c(seed, bitmap) */
/*1c*/	le16	bg_itable_unused_lo;
/*1e*/	le16	bg_checksum;			/* of seed or uuid, group number, descriptor */
/* From here on only with INCOMPAT_64BIT and s_desc_size > 32. */
/*20*/	le32	bg_block_bitmap_hi;
/*24*/	le32	bg_inode_bitmap_hi;
/*28*/	le32	bg_inode_table_hi;
/*2c*/	le16	bg_free_blocks_count_hi;
/*2e*/	le16	bg_free_inodes_count_hi;
/*30*/	le16	bg_used_dirs_count_hi;
/*32*/	le16	bg_itable_unused_hi;
/*34*/	le32	bg_exclude_bitmap_hi;
/*38*/	le16	bg_block_bitmap_csum_hi;
/*3a*/	le16	bg_inode_bitmap_csum_hi;
/*3c*/	le32	bg_reserved;
};

static_assert(sizeof(struct ext4_group_desc) == EXT4_MIN_DESC_SIZE_64BIT, "group desc size");
static_assert(offsetof(struct ext4_group_desc, bg_checksum) == 0x1e, "bg_checksum");
static_assert(offsetof(struct ext4_group_desc, bg_block_bitmap_hi) == 0x20, "bg_block_bitmap_hi");
static_assert(offsetof(struct ext4_group_desc, bg_reserved) == 0x3c, "bg_reserved");

/* i_flags */
#define EXT4_SECRM_FL		0x00000001
#define EXT4_UNRM_FL		0x00000002
#define EXT4_COMPR_FL		0x00000004
#define EXT4_SYNC_FL		0x00000008
#define EXT4_IMMUTABLE_FL	0x00000010
#define EXT4_APPEND_FL		0x00000020
#define EXT4_NODUMP_FL		0x00000040
#define EXT4_NOATIME_FL		0x00000080
#define EXT4_DIRTY_FL		0x00000100
#define EXT4_COMPRBLK_FL	0x00000200
#define EXT4_NOCOMPR_FL		0x00000400
#define EXT4_ENCRYPT_FL		0x00000800
#define EXT4_INDEX_FL		0x00001000
#define EXT4_IMAGIC_FL		0x00002000
#define EXT4_JOURNAL_DATA_FL	0x00004000
#define EXT4_NOTAIL_FL		0x00008000
#define EXT4_DIRSYNC_FL		0x00010000
#define EXT4_TOPDIR_FL		0x00020000
#define EXT4_HUGE_FILE_FL	0x00040000	/* i_blocks counts filesystem blocks */
#define EXT4_EXTENTS_FL		0x00080000
#define EXT4_VERITY_FL		0x00100000
#define EXT4_EA_INODE_FL	0x00200000
#define EXT4_EOFBLOCKS_FL	0x00400000	/* historical */
#define EXT4_DAX_FL		0x02000000
#define EXT4_INLINE_DATA_FL	0x10000000
#define EXT4_PROJINHERIT_FL	0x20000000
#define EXT4_CASEFOLD_FL	0x40000000
#define EXT4_RESERVED_FL	0x80000000

#define EXT4_FL_USER_VISIBLE	0x725bdfff
#define EXT4_FL_USER_MODIFIABLE	0x624bc0ff

struct ext4_inode {
/*00*/	le16	i_mode;
/*02*/	le16	i_uid;
/*04*/	le32	i_size_lo;
/*08*/	le32	i_atime;
/*0c*/	le32	i_ctime;
/*10*/	le32	i_mtime;
/*14*/	le32	i_dtime;		/* next orphan's number while on the orphan list */
/*18*/	le16	i_gid;
/*1a*/	le16	i_links_count;
/*1c*/	le32	i_blocks_lo;		/* 512-byte units; see EXT4_HUGE_FILE_FL */
/*20*/	le32	i_flags;
/*24*/	le32	i_version_lo;		/* reference count's high half for EA inodes: see below */
/*28*/	le32	i_block[EXT4_N_BLOCKS];
/*64*/	le32	i_generation;
/*68*/	le32	i_file_acl_lo;
/*6c*/	le32	i_size_high;
/*70*/	le32	i_obso_faddr;
/*74*/	le16	i_blocks_hi;
/*76*/	le16	i_file_acl_hi;
/*78*/	le16	i_uid_hi;
/*7a*/	le16	i_gid_hi;
/*7c*/	le16	i_checksum_lo;		/* crc32c(seed, ino, generation, inode) */
/*7e*/	le16	i_reserved;
/* From here on only in inodes larger than 128 bytes, and only up to i_extra_isize. */
/*80*/	le16	i_extra_isize;
/*82*/	le16	i_checksum_hi;
/*84*/	le32	i_ctime_extra;		/* nanoseconds << 2 | epoch */
/*88*/	le32	i_mtime_extra;
/*8c*/	le32	i_atime_extra;
/*90*/	le32	i_crtime;
/*94*/	le32	i_crtime_extra;
/*98*/	le32	i_version_hi;
/*9c*/	le32	i_projid;
};

/*
 * An EA inode (EXT4_EA_INODE_FL) keeps its reference count in i_ctime (high half) and
 * i_version_lo (low half), and the hash of its value in i_atime.
 */

static_assert(sizeof(struct ext4_inode) == 160, "inode size");
static_assert(offsetof(struct ext4_inode, i_block) == 0x28, "i_block");
static_assert(offsetof(struct ext4_inode, i_generation) == 0x64, "i_generation");
static_assert(offsetof(struct ext4_inode, i_checksum_lo) == 0x7c, "i_checksum_lo");
static_assert(offsetof(struct ext4_inode, i_extra_isize) == 0x80, "i_extra_isize");
static_assert(offsetof(struct ext4_inode, i_checksum_hi) == 0x82, "i_checksum_hi");
static_assert(offsetof(struct ext4_inode, i_crtime) == 0x90, "i_crtime");
static_assert(offsetof(struct ext4_inode, i_projid) == 0x9c, "i_projid");

#define EXT4_EPOCH_BITS		2
#define EXT4_EPOCH_MASK		3u
#define EXT4_NSEC_MASK		(~EXT4_EPOCH_MASK)

/* i_mode, spelled out so that no host header decides what is on disk. */
#define EXT4_S_IFMT		0xf000
#define EXT4_S_IFSOCK		0xc000
#define EXT4_S_IFLNK		0xa000
#define EXT4_S_IFREG		0x8000
#define EXT4_S_IFBLK		0x6000
#define EXT4_S_IFDIR		0x4000
#define EXT4_S_IFCHR		0x2000
#define EXT4_S_IFIFO		0x1000

/* Directory entries: file_type. */
#define EXT4_FT_UNKNOWN		0
#define EXT4_FT_REG_FILE	1
#define EXT4_FT_DIR		2
#define EXT4_FT_CHRDEV		3
#define EXT4_FT_BLKDEV		4
#define EXT4_FT_FIFO		5
#define EXT4_FT_SOCK		6
#define EXT4_FT_SYMLINK		7
#define EXT4_FT_MAX		8
#define EXT4_FT_DIR_CSUM	0xde

#define EXT4_DIR_PAD		4
#define EXT4_DIR_ENTRY_HEADER_LEN 8
#define EXT4_MAX_REC_LEN	((1 << 16) - 1)

struct ext4_dir_entry_2 {
/*00*/	le32	inode;
/*04*/	le16	rec_len;
/*06*/	uint8_t	name_len;
/*07*/	uint8_t	file_type;		/* high byte of name_len without INCOMPAT_FILETYPE */
/*08*/	char	name[];			/* up to EXT4_NAME_LEN, not terminated */
};

static_assert(sizeof(struct ext4_dir_entry_2) == EXT4_DIR_ENTRY_HEADER_LEN, "dir entry header");

/* Bytes that an entry with a name of this length needs at least. */
#define EXT4_DIR_REC_LEN(name_len) \
	(((uint32_t)(name_len) + EXT4_DIR_ENTRY_HEADER_LEN + 3u) & ~3u)

/* Last 12 bytes of a directory leaf block with RO_COMPAT_METADATA_CSUM. */
struct ext4_dir_entry_tail {
/*00*/	le32	det_reserved_zero1;
/*04*/	le16	det_rec_len;		/* 12 */
/*06*/	uint8_t	det_reserved_zero2;
/*07*/	uint8_t	det_reserved_ft;	/* EXT4_FT_DIR_CSUM */
/*08*/	le32	det_checksum;		/* crc32c(seed, ino, generation, entries) */
};

static_assert(sizeof(struct ext4_dir_entry_tail) == 12, "dir entry tail");

/* Follows the name in directories that are both encrypted and case-folded. */
struct ext4_dir_entry_hash {
/*00*/	le32	hash;
/*04*/	le32	minor_hash;
};

static_assert(sizeof(struct ext4_dir_entry_hash) == 8, "dir entry hash");

/* Hash versions; the unsigned ones are chosen by s_flags, never stored in s_def_hash_version. */
#define DX_HASH_LEGACY			0
#define DX_HASH_HALF_MD4		1
#define DX_HASH_TEA			2
#define DX_HASH_LEGACY_UNSIGNED		3
#define DX_HASH_HALF_MD4_UNSIGNED	4
#define DX_HASH_TEA_UNSIGNED		5
#define DX_HASH_SIPHASH			6

#define EXT4_DX_BLOCK_MASK		0x0fffffff
#define EXT4_HTREE_EOF_32BIT		0x7fffffff
#define EXT4_HTREE_LEVEL_COMPAT		2	/* levels without INCOMPAT_LARGEDIR */
#define EXT4_HTREE_LEVEL		3

struct fake_dirent {
/*00*/	le32	inode;
/*04*/	le16	rec_len;
/*06*/	uint8_t	name_len;
/*07*/	uint8_t	file_type;
};

static_assert(sizeof(struct fake_dirent) == 8, "fake dirent");

/* Overlays the first dx_entry of a node: that entry's hash is implied to be 0. */
struct dx_countlimit {
/*00*/	le16	limit;
/*02*/	le16	count;
};

struct dx_entry {
/*00*/	le32	hash;
/*04*/	le32	block;			/* logical; EXT4_DX_BLOCK_MASK */
};

struct dx_root_info {
/*00*/	le32	reserved_zero;
/*04*/	uint8_t	hash_version;
/*05*/	uint8_t	info_length;		/* 8 */
/*06*/	uint8_t	indirect_levels;
/*07*/	uint8_t	unused_flags;
};

struct dx_root {
/*00*/	struct fake_dirent dot;
/*08*/	char	dot_name[4];
/*0c*/	struct fake_dirent dotdot;
/*14*/	char	dotdot_name[4];
/*18*/	struct dx_root_info info;
/*20*/	struct dx_entry entries[];
};

struct dx_node {
/*00*/	struct fake_dirent fake;
/*08*/	struct dx_entry entries[];
};

/* Follows the last possible dx_entry (limit, not count) with RO_COMPAT_METADATA_CSUM. */
struct dx_tail {
/*00*/	le32	dt_reserved;
/*04*/	le32	dt_checksum;		/* crc32c(seed, ino, generation, used part, this) */
};

static_assert(sizeof(struct dx_countlimit) == 4, "dx_countlimit");
static_assert(sizeof(struct dx_entry) == 8, "dx_entry");
static_assert(sizeof(struct dx_root_info) == 8, "dx_root_info");
static_assert(offsetof(struct dx_root, info) == 0x18, "dx_root info");
static_assert(sizeof(struct dx_root) == 0x20, "dx_root");
static_assert(sizeof(struct dx_node) == 8, "dx_node");
static_assert(sizeof(struct dx_tail) == 8, "dx_tail");

/* Extent trees. */
#define EXT4_EXT_MAGIC		0xf30a
#define EXT4_MAX_EXTENT_DEPTH	5
#define EXT_INIT_MAX_LEN	32768u	/* longest written extent; longer values are unwritten */
#define EXT_UNWRITTEN_MAX_LEN	32767u
#define EXT_MAX_BLOCKS		0xffffffffu

struct ext4_extent_header {
/*00*/	le16	eh_magic;
/*02*/	le16	eh_entries;
/*04*/	le16	eh_max;
/*06*/	le16	eh_depth;		/* 0: entries are extents, else indexes */
/*08*/	le32	eh_generation;
};

struct ext4_extent {
/*00*/	le32	ee_block;
/*04*/	le16	ee_len;			/* > EXT_INIT_MAX_LEN: unwritten, of len - 32768 blocks */
/*06*/	le16	ee_start_hi;
/*08*/	le32	ee_start_lo;
};

struct ext4_extent_idx {
/*00*/	le32	ei_block;
/*04*/	le32	ei_leaf_lo;
/*08*/	le16	ei_leaf_hi;
/*0a*/	le16	ei_unused;
};

/* Follows the last possible entry (eh_max) of a tree block with RO_COMPAT_METADATA_CSUM. */
struct ext4_extent_tail {
/*00*/	le32	et_checksum;		/* crc32c(seed, ino, generation, block up to here) */
};

static_assert(sizeof(struct ext4_extent_header) == 12, "extent header");
static_assert(sizeof(struct ext4_extent) == 12, "extent");
static_assert(sizeof(struct ext4_extent_idx) == 12, "extent index");
static_assert(sizeof(struct ext4_extent_tail) == 4, "extent tail");

/* Extended attributes. */
#define EXT4_XATTR_MAGIC		0xea020000
#define EXT4_XATTR_REFCOUNT_MAX		1024
#define EXT4_XATTR_PAD			4
#define EXT4_XATTR_ROUND		3u
#define EXT4_XATTR_SIZE_MAX		(1 << 24)

#define EXT4_XATTR_INDEX_USER			1
#define EXT4_XATTR_INDEX_POSIX_ACL_ACCESS	2
#define EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT	3
#define EXT4_XATTR_INDEX_TRUSTED		4
#define EXT4_XATTR_INDEX_LUSTRE			5
#define EXT4_XATTR_INDEX_SECURITY		6
#define EXT4_XATTR_INDEX_SYSTEM			7
#define EXT4_XATTR_INDEX_RICHACL		8
#define EXT4_XATTR_INDEX_ENCRYPTION		9
#define EXT4_XATTR_INDEX_HURD			10

#define EXT4_XATTR_SYSTEM_DATA	"data"	/* inline data beyond i_block, index SYSTEM */
#define EXT4_MIN_INLINE_DATA_SIZE EXT4_N_BLOCKS_BYTES

struct ext4_xattr_ibody_header {
/*00*/	le32	h_magic;
};

struct ext4_xattr_header {
/*00*/	le32	h_magic;
/*04*/	le32	h_refcount;
/*08*/	le32	h_blocks;		/* 1 */
/*0c*/	le32	h_hash;			/* of all entries; 0: not shareable */
/*10*/	le32	h_checksum;		/* crc32c(seed, block number as le64, block) */
/*14*/	le32	h_reserved[3];
};

struct ext4_xattr_entry {
/*00*/	uint8_t	e_name_len;
/*01*/	uint8_t	e_name_index;
/*02*/	le16	e_value_offs;
/*04*/	le32	e_value_inum;		/* EA inode, or 0 */
/*08*/	le32	e_value_size;
/*0c*/	le32	e_hash;
/*10*/	char	e_name[];
};

static_assert(sizeof(struct ext4_xattr_ibody_header) == 4, "xattr ibody header");
static_assert(sizeof(struct ext4_xattr_header) == 32, "xattr header");
static_assert(sizeof(struct ext4_xattr_entry) == 16, "xattr entry");

#define EXT4_XATTR_LEN(name_len) \
	(((uint32_t)(name_len) + EXT4_XATTR_ROUND + 16u) & ~EXT4_XATTR_ROUND)
#define EXT4_XATTR_SIZE(size)	(((uint32_t)(size) + EXT4_XATTR_ROUND) & ~EXT4_XATTR_ROUND)

/* POSIX ACLs inside attribute values; the entry is short for the four types without an id. */
#define EXT4_ACL_VERSION	0x0001

#define EXT4_ACL_USER_OBJ	0x01
#define EXT4_ACL_USER		0x02
#define EXT4_ACL_GROUP_OBJ	0x04
#define EXT4_ACL_GROUP		0x08
#define EXT4_ACL_MASK		0x10
#define EXT4_ACL_OTHER		0x20

struct ext4_acl_header {
/*00*/	le32	a_version;
};

struct ext4_acl_entry {
/*00*/	le16	e_tag;
/*02*/	le16	e_perm;
/*04*/	le32	e_id;
};

struct ext4_acl_entry_short {
/*00*/	le16	e_tag;
/*02*/	le16	e_perm;
};

static_assert(sizeof(struct ext4_acl_header) == 4, "acl header");
static_assert(sizeof(struct ext4_acl_entry) == 8, "acl entry");
static_assert(sizeof(struct ext4_acl_entry_short) == 4, "acl entry short");

/* Multiple mount protection. */
#define EXT4_MMP_MAGIC		0x004d4d50u
#define EXT4_MMP_SEQ_CLEAN	0xff4d4d50u
#define EXT4_MMP_SEQ_FSCK	0xe24d4d50u
#define EXT4_MMP_SEQ_MAX	0xe24d4d4fu
#define EXT4_MMP_UPDATE_INTERVAL	5
#define EXT4_MMP_MIN_CHECK_INTERVAL	5
#define EXT4_MMP_MAX_CHECK_INTERVAL	300

struct mmp_struct {
/*000*/	le32	mmp_magic;
/*004*/	le32	mmp_seq;
/*008*/	le64	mmp_time;
/*010*/	char	mmp_nodename[64];
/*050*/	char	mmp_bdevname[32];
/*070*/	le16	mmp_check_interval;
/*072*/	le16	mmp_pad1;
/*074*/	le32	mmp_pad2[226];
/*3fc*/	le32	mmp_checksum;		/* crc32c(seed, bytes before this field) */
};

static_assert(sizeof(struct mmp_struct) == 1024, "mmp size");
static_assert(offsetof(struct mmp_struct, mmp_check_interval) == 0x70, "mmp_check_interval");
static_assert(offsetof(struct mmp_struct, mmp_checksum) == 0x3fc, "mmp_checksum");

/* Orphan file: each block is an array of inode numbers (0: free slot) and this tail. */
#define EXT4_ORPHAN_BLOCK_MAGIC	0x0b10ca04u

struct ext4_orphan_block_tail {
/*00*/	le32	ob_magic;
/*04*/	le32	ob_checksum;	/* crc32c(seed, ino, generation, block number le64, slots) */
};

static_assert(sizeof(struct ext4_orphan_block_tail) == 8, "orphan block tail");

#endif
