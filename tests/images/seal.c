/* SPDX-License-Identifier: GPL-2.0-only */
/* Recomputing the checksum of a structure that was damaged on purpose; see image.h. */
#include <string.h>

#include "daemon/base/crc.h"
#include "tests/images/image.h"

static uint32_t inode_seed(struct image *m, uint32_t ino)
{
	le32 number = cpu_to_le32(ino);
	uint32_t seed = crc32c(m->seed, &number, sizeof(number));

	return crc32c(seed, &image_inode(m, ino)->i_generation, sizeof(le32));
}

void image_seal_super(struct image *m)
{
	struct ext4_super_block *sb = image_super(m);

	if (m->csum)
		sb->s_checksum =
			cpu_to_le32(crc32c(~0u, sb, offsetof(struct ext4_super_block, s_checksum)));
}

void image_seal_desc(struct image *m, uint32_t group)
{
	struct ext4_group_desc *gd = image_desc(m, group);
	const uint32_t at = offsetof(struct ext4_group_desc, bg_checksum), after = at + 2;
	const uint8_t *bytes = (const uint8_t *)gd;
	le32 number = cpu_to_le32(group);
	const le16 zero = { 0 };

	if (m->csum) {
		uint32_t crc = crc32c(m->seed, &number, sizeof(number));

		crc = crc32c(crc, bytes, at);
		crc = crc32c(crc, &zero, sizeof(zero));
		crc = crc32c(crc, bytes + after, m->desc_size - after);
		gd->bg_checksum = cpu_to_le16((uint16_t)crc);
	} else if (m->gdt_csum) {
		uint16_t crc = crc16(0xffff, image_super(m)->s_uuid, 16);

		crc = crc16(crc, &number, sizeof(number));
		crc = crc16(crc, bytes, at);
		if (m->desc_size > 32)
			crc = crc16(crc, bytes + after, m->desc_size - after);
		gd->bg_checksum = cpu_to_le16(crc);
	}
}

void image_seal_block_bitmap(struct image *m, uint32_t group)
{
	struct ext4_group_desc *gd = image_desc(m, group);
	uint32_t crc;

	if (!m->csum)
		return;
	crc = crc32c(m->seed, image_block(m, le32_to_cpu(gd->bg_block_bitmap_lo)),
		     m->blocks_per_group / 8);
	gd->bg_block_bitmap_csum_lo = cpu_to_le16((uint16_t)crc);
	if (m->desc_size >= 64)
		gd->bg_block_bitmap_csum_hi = cpu_to_le16((uint16_t)(crc >> 16));
	image_seal_desc(m, group);
}

void image_seal_inode_bitmap(struct image *m, uint32_t group)
{
	struct ext4_group_desc *gd = image_desc(m, group);
	uint32_t crc;

	if (!m->csum)
		return;
	crc = crc32c(m->seed, image_block(m, le32_to_cpu(gd->bg_inode_bitmap_lo)),
		     m->inodes_per_group / 8);
	gd->bg_inode_bitmap_csum_lo = cpu_to_le16((uint16_t)crc);
	if (m->desc_size >= 64)
		gd->bg_inode_bitmap_csum_hi = cpu_to_le16((uint16_t)(crc >> 16));
	image_seal_desc(m, group);
}

void image_seal_inode(struct image *m, uint32_t ino)
{
	struct ext4_inode *i = image_inode(m, ino);
	bool wide = m->inode_size > EXT4_GOOD_OLD_INODE_SIZE && le16_to_cpu(i->i_extra_isize) >= 4;
	uint32_t crc;

	if (!m->csum)
		return;
	i->i_checksum_lo = cpu_to_le16(0);
	if (wide)
		i->i_checksum_hi = cpu_to_le16(0);
	crc = crc32c(inode_seed(m, ino), i, m->inode_size);
	i->i_checksum_lo = cpu_to_le16((uint16_t)crc);
	if (wide)
		i->i_checksum_hi = cpu_to_le16((uint16_t)(crc >> 16));
}

void image_seal_node(struct image *m, uint32_t ino, uint64_t pblk)
{
	uint8_t *block;
	uint32_t at;
	le32 crc;

	if (!pblk) {
		image_seal_inode(m, ino);
		return;
	}
	block = image_block(m, pblk);
	at = 12 + 12u * le16_to_cpu(((const struct ext4_extent_header *)(void *)block)->eh_max);
	if (!m->csum || at + 4 > m->block_size)
		return;
	crc = cpu_to_le32(crc32c(inode_seed(m, ino), block, at));
	memcpy(block + at, &crc, sizeof(crc));
}

void image_seal_dir(struct image *m, uint32_t ino, uint64_t pblk)
{
	uint8_t *block = image_block(m, pblk);
	uint32_t at = m->block_size - (uint32_t)sizeof(struct ext4_dir_entry_tail);
	struct ext4_dir_entry_tail *tail = (void *)(block + at);

	if (m->csum && tail->det_reserved_ft == EXT4_FT_DIR_CSUM)
		tail->det_checksum = cpu_to_le32(crc32c(inode_seed(m, ino), block, at));
}

void image_seal_dx(struct image *m, uint32_t ino, uint64_t pblk)
{
	uint8_t *block = image_block(m, pblk);
	const struct fake_dirent *first = (const void *)block;
	uint32_t at = le16_to_cpu(first->rec_len) == m->block_size ? 8 : 0x20;
	const struct dx_countlimit *c = (const void *)(block + at);
	uint32_t tail_at = at + 8u * le16_to_cpu(c->limit);
	uint32_t used = at + 8u * le16_to_cpu(c->count), crc;
	struct dx_tail *tail = (void *)(block + tail_at);
	const le32 zero = { 0 };

	if (!m->csum || tail_at + sizeof(*tail) > m->block_size || used > m->block_size)
		return;
	crc = crc32c(inode_seed(m, ino), block, used);
	crc = crc32c(crc, &tail->dt_reserved, sizeof(le32));
	crc = crc32c(crc, &zero, sizeof(zero));
	tail->dt_checksum = cpu_to_le32(crc);
}

void image_seal_xattr(struct image *m, uint64_t pblk)
{
	struct ext4_xattr_header *h = (void *)image_block(m, pblk);
	le64 number = cpu_to_le64(pblk);

	if (!m->csum)
		return;
	h->h_checksum = cpu_to_le32(0);
	h->h_checksum =
		cpu_to_le32(crc32c(crc32c(m->seed, &number, sizeof(number)), h, m->block_size));
}

void image_seal_mmp(struct image *m)
{
	struct mmp_struct *mmp = (void *)image_block(m, le64_to_cpu(image_super(m)->s_mmp_block));

	if (m->csum)
		mmp->mmp_checksum = cpu_to_le32(
			crc32c(m->seed, mmp, offsetof(struct mmp_struct, mmp_checksum)));
}

void image_seal_orphans(struct image *m, uint32_t ino, uint64_t pblk)
{
	uint8_t *block = image_block(m, pblk);
	uint32_t at = m->block_size - (uint32_t)sizeof(struct ext4_orphan_block_tail);
	struct ext4_orphan_block_tail *tail = (void *)(block + at);
	le64 number = cpu_to_le64(pblk);
	uint32_t crc = crc32c(inode_seed(m, ino), &number, sizeof(number));

	if (m->csum)
		tail->ob_checksum = cpu_to_le32(crc32c(crc, block, at));
}

/* ---- the journal ---------------------------------------------------------- */

static struct jbd2_super_block *journal_super(struct image *m)
{
	return (void *)image_block(m, image_map(m, m->journal_ino, 0));
}

static bool journal_has_csum(struct image *m)
{
	uint32_t incompat = be32_to_cpu(journal_super(m)->s_feature_incompat);

	return incompat & (JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3);
}

static uint32_t journal_seed(struct image *m)
{
	return crc32c(~0u, journal_super(m)->s_uuid, 16);
}

void image_seal_journal(struct image *m)
{
	struct jbd2_super_block *sb = journal_super(m);

	if (!journal_has_csum(m))
		return;
	sb->s_checksum = cpu_to_be32(0);
	sb->s_checksum = cpu_to_be32(crc32c(~0u, sb, sizeof(*sb)));
}

void image_seal_log(struct image *m, uint64_t pblk)
{
	struct jbd2_header *h = (void *)image_block(m, pblk);
	uint32_t at = m->block_size - (uint32_t)sizeof(struct jbd2_block_tail);
	be32 *csum;

	if (!journal_has_csum(m))
		return;
	switch (be32_to_cpu(h->h_blocktype)) {
	case JBD2_COMMIT_BLOCK: csum = &((struct jbd2_commit_block *)(void *)h)->h_chksum[0]; break;
	case JBD2_DESCRIPTOR_BLOCK:
	case JBD2_REVOKE_BLOCK: csum = (be32 *)(void *)((uint8_t *)h + at); break;
	default: return;
	}
	*csum = cpu_to_be32(0);
	*csum = cpu_to_be32(crc32c(journal_seed(m), h, m->block_size));
}

struct jbd2_block_tag3 *image_log_tag(struct image *m, uint32_t lblk, uint32_t index)
{
	uint8_t *block = image_block(m, image_map(m, m->journal_ino, lblk));
	uint32_t off = sizeof(struct jbd2_header);

	for (;;) {
		struct jbd2_block_tag3 *tag = (void *)(block + off);

		if (off + sizeof(*tag) > m->block_size)
			image_die("log block %u: no tag %u", lblk, index);
		if (index-- == 0)
			return tag;
		off += sizeof(*tag);
		if (!(be32_to_cpu(tag->t_flags) & JBD2_FLAG_SAME_UUID))
			off += JBD2_TAG_UUID_SIZE;
	}
}

void image_seal_log_data(struct image *m, uint32_t lblk, uint32_t index)
{
	uint64_t pblk = image_map(m, m->journal_ino, lblk);
	const struct jbd2_header *h = (const void *)image_block(m, pblk);
	struct jbd2_block_tag3 *tag = image_log_tag(m, lblk, index);
	uint32_t crc;

	if (!journal_has_csum(m))
		return;
	crc = crc32c(journal_seed(m), &h->h_sequence, sizeof(h->h_sequence));
	crc = crc32c(crc, image_block(m, image_map(m, m->journal_ino, lblk + 1 + index)),
		     m->block_size);
	tag->t_checksum = cpu_to_be32(crc);
	image_seal_log(m, pblk);
}
