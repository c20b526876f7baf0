/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * jbd2 on disk: the journal's superblock and the blocks of its log. Big-endian throughout,
 * except the records of the fast-commit area, which are ext4's and little-endian. The margin
 * shows each field's offset. Readers validate before use, as with ext4_format.h.
 */
#ifndef KFS_JBD2_FORMAT_H
#define KFS_JBD2_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "include/kfs/endian.h"

#define JBD2_MAGIC_NUMBER	0xc03b3998u
#define JBD2_MIN_JOURNAL_BLOCKS	1024
#define JBD2_MAX_JOURNAL_BLOCKS	(JBD2_MIN_JOURNAL_BLOCKS * 10000)
#define JBD2_DEFAULT_FAST_COMMIT_BLOCKS	256

/* h_blocktype */
#define JBD2_DESCRIPTOR_BLOCK	1
#define JBD2_COMMIT_BLOCK	2
#define JBD2_SUPERBLOCK_V1	3
#define JBD2_SUPERBLOCK_V2	4
#define JBD2_REVOKE_BLOCK	5

#define JBD2_FEATURE_COMPAT_CHECKSUM		0x00000001	/* v1: crc32_be of a transaction */

#define JBD2_FEATURE_INCOMPAT_REVOKE		0x00000001
#define JBD2_FEATURE_INCOMPAT_64BIT		0x00000002
#define JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT	0x00000004
#define JBD2_FEATURE_INCOMPAT_CSUM_V2		0x00000008
#define JBD2_FEATURE_INCOMPAT_CSUM_V3		0x00000010
#define JBD2_FEATURE_INCOMPAT_FAST_COMMIT	0x00000020

/* Checksum types: commit block (v1) and superblock (v2, v3: always CRC32C). */
#define JBD2_CRC32_CHKSUM	1
#define JBD2_MD5_CHKSUM		2
#define JBD2_SHA1_CHKSUM	3
#define JBD2_CRC32C_CHKSUM	4
#define JBD2_CRC32_CHKSUM_SIZE	4
#define JBD2_CHECKSUM_BYTES	8	/* counted in 32-bit words, as the specification does */

/* Opens every block of the log that is not data. */
struct jbd2_header {
/*00*/	be32	h_magic;
/*04*/	be32	h_blocktype;
/*08*/	be32	h_sequence;
};

static_assert(sizeof(struct jbd2_header) == 12, "jbd2 header");

#define JBD2_USERS_MAX	48

struct jbd2_super_block {
/*000*/	struct jbd2_header s_header;
/*00c*/	be32	s_blocksize;
/*010*/	be32	s_maxlen;		/* blocks of the journal, fast-commit area included */
/*014*/	be32	s_first;		/* first block of the log */
/*018*/	be32	s_sequence;		/* first transaction id expected */
/*01c*/	be32	s_start;		/* block of the log's tail; 0: nothing to replay */
/*020*/	be32	s_errno;		/* signed; the error of an aborted journal */
/* From here on valid only with JBD2_SUPERBLOCK_V2. */
/*024*/	be32	s_feature_compat;
/*028*/	be32	s_feature_incompat;
/*02c*/	be32	s_feature_ro_compat;
/*030*/	uint8_t	s_uuid[16];
/*040*/	be32	s_nr_users;
/*044*/	be32	s_dynsuper;
/*048*/	be32	s_max_transaction;
/*04c*/	be32	s_max_trans_data;
/*050*/	uint8_t	s_checksum_type;
/*051*/	uint8_t	s_padding2[3];
/*054*/	be32	s_num_fc_blocks;
/*058*/	be32	s_head;			/* end of the log, valid only while it is empty */
/*05c*/	be32	s_padding[40];
/*0fc*/	be32	s_checksum;		/* crc32c(~0, superblock with this field 0) */
/*100*/	uint8_t	s_users[16 * JBD2_USERS_MAX];
};

static_assert(sizeof(struct jbd2_super_block) == 1024, "jbd2 superblock");
static_assert(offsetof(struct jbd2_super_block, s_errno) == 0x20, "s_errno");
static_assert(offsetof(struct jbd2_super_block, s_uuid) == 0x30, "s_uuid");
static_assert(offsetof(struct jbd2_super_block, s_checksum_type) == 0x50, "s_checksum_type");
static_assert(offsetof(struct jbd2_super_block, s_num_fc_blocks) == 0x54, "s_num_fc_blocks");
static_assert(offsetof(struct jbd2_super_block, s_checksum) == 0xfc, "s_checksum");
static_assert(offsetof(struct jbd2_super_block, s_users) == 0x100, "s_users");

/* t_flags */
#define JBD2_FLAG_ESCAPE	1	/* the copy's first four bytes were the magic, now zero */
#define JBD2_FLAG_SAME_UUID	2	/* no uuid follows this tag */
#define JBD2_FLAG_DELETED	4
#define JBD2_FLAG_LAST_TAG	8

#define JBD2_TAG_UUID_SIZE	16

/* Tag without v3. Without INCOMPAT_64BIT the high word is absent: JBD2_TAG_SIZE32 bytes. */
struct jbd2_block_tag {
/*00*/	be32	t_blocknr;
/*04*/	be16	t_checksum;		/* low half of crc32c(seed, sequence, block): v2 */
/*06*/	be16	t_flags;
/*08*/	be32	t_blocknr_high;
};

/*
 * Tag sizes. With v2 a tag takes two more bytes than its fields (Linux's journal_tag_bytes()),
 * so the next tag starts at JBD2_TAG_SIZE32/64 + JBD2_TAG_CSUM_V2_EXTRA.
 */
#define JBD2_TAG_SIZE32		8
#define JBD2_TAG_SIZE64		12
#define JBD2_TAG_CSUM_V2_EXTRA	2

/* Tag with v3; always whole, whether INCOMPAT_64BIT is set or not. */
struct jbd2_block_tag3 {
/*00*/	be32	t_blocknr;
/*04*/	be32	t_flags;
/*08*/	be32	t_blocknr_high;
/*0c*/	be32	t_checksum;		/* crc32c(seed, sequence, block) */
};

static_assert(sizeof(struct jbd2_block_tag) == JBD2_TAG_SIZE64, "jbd2 tag");
static_assert(offsetof(struct jbd2_block_tag, t_blocknr_high) == JBD2_TAG_SIZE32, "jbd2 tag 32");
static_assert(sizeof(struct jbd2_block_tag3) == 16, "jbd2 tag v3");

/* Last bytes of descriptor and revoke blocks with v2 or v3. */
struct jbd2_block_tail {
/*00*/	be32	t_checksum;		/* crc32c(seed, block with this field 0) */
};

static_assert(sizeof(struct jbd2_block_tail) == 4, "jbd2 tail");

/* Revoke block: followed by block numbers, be64 with INCOMPAT_64BIT, else be32. */
struct jbd2_revoke_header {
/*00*/	struct jbd2_header r_header;
/*0c*/	be32	r_count;		/* bytes used, this header included */
};

static_assert(sizeof(struct jbd2_revoke_header) == 16, "jbd2 revoke header");

struct jbd2_commit_block {
/*00*/	be32	h_magic;
/*04*/	be32	h_blocktype;
/*08*/	be32	h_sequence;
/*0c*/	uint8_t	h_chksum_type;		/* v1 only */
/*0d*/	uint8_t	h_chksum_size;		/* v1 only */
/*0e*/	uint8_t	h_padding[2];
/*10*/	be32	h_chksum[JBD2_CHECKSUM_BYTES];	/* [0]: v1 of the data; v2, v3 of this block */
/*30*/	be64	h_commit_sec;
/*38*/	be32	h_commit_nsec;
};

static_assert(sizeof(struct jbd2_commit_block) == 60, "jbd2 commit block");
static_assert(offsetof(struct jbd2_commit_block, h_chksum) == 0x10, "h_chksum");
static_assert(offsetof(struct jbd2_commit_block, h_commit_sec) == 0x30, "h_commit_sec");

/* Fast-commit area: little-endian tag, length, value records. */
#define EXT4_FC_TAG_ADD_RANGE	0x0001
#define EXT4_FC_TAG_DEL_RANGE	0x0002
#define EXT4_FC_TAG_CREAT	0x0003
#define EXT4_FC_TAG_LINK	0x0004
#define EXT4_FC_TAG_UNLINK	0x0005
#define EXT4_FC_TAG_INODE	0x0006
#define EXT4_FC_TAG_PAD		0x0007
#define EXT4_FC_TAG_TAIL	0x0008
#define EXT4_FC_TAG_HEAD	0x0009

#define EXT4_FC_SUPPORTED_FEATURES	0x0

struct ext4_fc_tl {
/*00*/	le16	fc_tag;
/*02*/	le16	fc_len;
};

struct ext4_fc_head {
/*00*/	le32	fc_features;
/*04*/	le32	fc_tid;
};

struct ext4_fc_add_range {
/*00*/	le32	fc_ino;
/*04*/	uint8_t	fc_ex[12];
};

struct ext4_fc_del_range {
/*00*/	le32	fc_ino;
/*04*/	le32	fc_lblk;
/*08*/	le32	fc_len;
};

struct ext4_fc_dentry_info {
/*00*/	le32	fc_parent_ino;
/*04*/	le32	fc_ino;
/*08*/	uint8_t	fc_dname[];
};

struct ext4_fc_inode {
/*00*/	le32	fc_ino;
/*04*/	uint8_t	fc_raw_inode[];
};

struct ext4_fc_tail {
/*00*/	le32	fc_tid;
/*04*/	le32	fc_crc;
};

static_assert(sizeof(struct ext4_fc_tl) == 4, "fc tl");
static_assert(sizeof(struct ext4_fc_head) == 8, "fc head");
static_assert(sizeof(struct ext4_fc_add_range) == 16, "fc add range");
static_assert(sizeof(struct ext4_fc_del_range) == 12, "fc del range");
static_assert(sizeof(struct ext4_fc_dentry_info) == 8, "fc dentry info");
static_assert(sizeof(struct ext4_fc_inode) == 4, "fc inode");
static_assert(sizeof(struct ext4_fc_tail) == 8, "fc tail");

#endif
