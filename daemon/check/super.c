// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pass 0: what belongs to no inode with a name: superblock and copies, descriptors, the
 * journal's superblock, the mmp block, the orphans.
 */
#include <errno.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/check/check_priv.h"
#include "daemon/store/group.h"
#include "daemon/store/inode_disk.h"
#include "daemon/store/super.h"
#include "include/kfs/jbd2_format.h"

/* Written without transactions by others meanwhile: a torn read is read again. */
#define RAW_TRIES 5

/* ---- superblocks ---------------------------------------------------------- */

static uint64_t sb_blocks(const struct ck *c, const struct ext4_super_block *sb)
{
	uint64_t n = le32_to_cpu(sb->s_blocks_count_lo);

	if (store_has_incompat(c->s, EXT4_FEATURE_INCOMPAT_64BIT))
		n |= (uint64_t)le32_to_cpu(sb->s_blocks_count_hi) << 32;
	return n;
}

/* The first field that is not as it was mounted, or NULL. */
static const char *sb_fault(const struct ck *c, const struct ext4_super_block *sb)
{
	const struct store *s = c->s;

	if (le16_to_cpu(sb->s_magic) != EXT4_SUPER_MAGIC)
		return "magic";
	if (le32_to_cpu(sb->s_rev_level) >= EXT4_DYNAMIC_REV && s->has_csum &&
	    super_csum(sb) != le32_to_cpu(sb->s_checksum))
		return "checksum";
	if (le32_to_cpu(sb->s_log_block_size) + EXT4_MIN_BLOCK_LOG_SIZE != s->block_bits)
		return "log_block_size";
	if (sb_blocks(c, sb) != s->blocks_count)
		return "blocks_count";
	if (le32_to_cpu(sb->s_blocks_per_group) != s->blocks_per_group)
		return "blocks_per_group";
	if (le32_to_cpu(sb->s_inodes_per_group) != s->inodes_per_group)
		return "inodes_per_group";
	if (le32_to_cpu(sb->s_inodes_count) != s->inodes_count)
		return "inodes_count";
	if (le32_to_cpu(sb->s_first_data_block) != s->first_data_block)
		return "first_data_block";
	return NULL;
}

static int check_super(struct ck *c)
{
	uint64_t pblk = EXT4_SUPER_OFFSET >> c->s->block_bits;
	const char *fault;
	int ret = ck_read(c, pblk, 1, c->data);

	if (ret)
		return ret;
	memcpy(&c->sb, c->data + EXT4_SUPER_OFFSET % c->s->block_size, sizeof(c->sb));
	fault = sb_fault(c, &c->sb);
	if (fault && !strcmp(fault, "checksum"))
		ck_find(c, "superblock", 0, pblk, "Superblock checksum does not match superblock.");
	else if (fault)
		ck_find(c, "superblock", 0, pblk, "Corruption found in superblock.  (%s)", fault);
	return 0;
}

static int check_copies(struct ck *c)
{
	struct ext4_super_block sb;
	uint32_t g;
	int ret = 0;

	for (g = 1; g < c->s->group_count && !ret; g++) {
		uint64_t pblk = store_group_first(c->s, g);
		const char *fault;

		if (!geometry_has_super(c->s, g))
			continue;
		ret = ck_read(c, pblk, 1, c->data);
		if (ret)
			return ret;
		memcpy(&sb, c->data, sizeof(sb));
		fault = sb_fault(c, &sb);
		if (fault)
			ck_find(c, "backup_superblock", 0, pblk,
				"Backup superblock in group %u is corrupt.  (%s)", g, fault);
		ret = ck_tick(c, 0, g, c->s->group_count);
	}
	return ret;
}

/* ---- descriptors ---------------------------------------------------------- */

static void check_place(struct ck *c, uint32_t g, const char *what, uint64_t got, uint64_t want)
{
	if (got != want)
		ck_find(c, "descriptor", 0, want,
			"Group %u's %s at %llu conflicts with the mounted one at %llu.", g, what,
			(unsigned long long)got, (unsigned long long)want);
}

static uint64_t wide64(const struct store *s, le32 lo, le32 hi)
{
	bool wide = s->desc_size >= EXT4_MIN_DESC_SIZE_64BIT;

	return le32_to_cpu(lo) | (wide ? (uint64_t)le32_to_cpu(hi) << 32 : 0);
}

static uint32_t wide32(const struct store *s, le16 lo, le16 hi)
{
	bool wide = s->desc_size >= EXT4_MIN_DESC_SIZE_64BIT;

	return le16_to_cpu(lo) | (wide ? (uint32_t)le16_to_cpu(hi) << 16 : 0);
}

static void check_desc(struct ck *c, uint32_t g, const uint8_t *raw)
{
	const struct store *s = c->s;
	struct ext4_group_desc d = { 0 };
	struct ck_group *grp = &c->groups[g];

	memcpy(&d, raw, MIN(s->desc_size, (uint32_t)sizeof(d)));
	*grp = (struct ck_group){
		.block_bitmap = s->groups[g].block_bitmap,
		.inode_bitmap = s->groups[g].inode_bitmap,
		.inode_table = s->groups[g].inode_table,
		.free_blocks = wide32(s, d.bg_free_blocks_count_lo, d.bg_free_blocks_count_hi),
		.free_inodes = wide32(s, d.bg_free_inodes_count_lo, d.bg_free_inodes_count_hi),
		.dirs = wide32(s, d.bg_used_dirs_count_lo, d.bg_used_dirs_count_hi),
		.block_csum = wide32(s, d.bg_block_bitmap_csum_lo, d.bg_block_bitmap_csum_hi),
		.inode_csum = wide32(s, d.bg_inode_bitmap_csum_lo, d.bg_inode_bitmap_csum_hi),
	};
	check_place(c, g, "block bitmap", wide64(s, d.bg_block_bitmap_lo, d.bg_block_bitmap_hi),
		    grp->block_bitmap);
	check_place(c, g, "inode bitmap", wide64(s, d.bg_inode_bitmap_lo, d.bg_inode_bitmap_hi),
		    grp->inode_bitmap);
	check_place(c, g, "inode table", wide64(s, d.bg_inode_table_lo, d.bg_inode_table_hi),
		    grp->inode_table);
	if (!s->has_csum && !s->has_gdt_csum)
		return;
	grp->flags = le16_to_cpu(d.bg_flags);
	grp->unused = wide32(s, d.bg_itable_unused_lo, d.bg_itable_unused_hi);
	if (le16_to_cpu(d.bg_checksum) != group_desc_csum(s, g, raw))
		ck_find(c, "descriptor_checksum", 0, 0,
			"Group descriptor %u checksum is 0x%04x, should be 0x%04x.", g,
			le16_to_cpu(d.bg_checksum), group_desc_csum(s, g, raw));
	if (grp->unused > grp->free_inodes)
		ck_find(c, "descriptor", 0, 0,
			"Group descriptor %u has invalid unused inodes count %u.", g, grp->unused);
}

static int check_descs(struct ck *c)
{
	const struct store *s = c->s;
	uint32_t i, k;
	int ret = 0;

	for (i = 0; i < s->gdt_blocks && !ret; i++) {
		uint32_t g = i * s->desc_per_block;

		ret = ck_read(c, geometry_desc_pblk(s, i), 1, c->data);
		for (k = 0; k < s->desc_per_block && g + k < s->group_count && !ret; k++)
			check_desc(c, g + k, c->data + (size_t)k * s->desc_size);
	}
	return ret;
}

static int mark_fixed(struct ck *c)
{
	const struct store *s = c->s;
	uint32_t g;
	int ret = 0;

	for (g = 0; g < s->group_count && !ret; g++) {
		const struct ck_group *grp = &c->groups[g];
		uint32_t base = geometry_base_meta(s, g);

		ret = ck_mark_fixed(c, store_group_first(s, g), base);
		if (!ret)
			ret = ck_mark_fixed(c, grp->block_bitmap, 1);
		if (!ret)
			ret = ck_mark_fixed(c, grp->inode_bitmap, 1);
		if (!ret)
			ret = ck_mark_fixed(c, grp->inode_table, s->itable_blocks);
	}
	return ret ? ret : ck_mark_fixed(c, s->mmp_block, s->mmp_block != 0);
}

/* *ret_known: it is one already. */
static int note_orphan(struct ck *c, uint32_t ino, bool *ret_known)
{
	struct ck_state *st;
	int ret = ck_alloc_group(c, (ino - 1) / c->s->inodes_per_group);

	if (ret)
		return ret;
	st = ck_state(c, ino);
	*ret_known = st->flags & CI_ORPHAN;
	st->flags |= CI_ORPHAN;
	return 0;
}

int ck_orphan(struct ck *c, uint32_t ino)
{
	bool known;

	return note_orphan(c, ino, &known);
}

bool ck_is_fixed(const struct ck *c, uint64_t pblk)
{
	const struct store *s = c->s;
	uint32_t k;

	if (!zones_overlap(s, pblk, 1))
		return false;
	for (k = 0; k < s->journal_run_count; k++) {
		const struct block_run *run = &s->journal_runs[k];

		if (pblk >= run->pblk && pblk - run->pblk < run->count)
			return false;
	}
	return true;
}

/* ---- journal and mmp: straight from the medium ---------------------------- */

static bool journal_ok(const struct ck *c, const struct jbd2_super_block *sb)
{
	struct jbd2_super_block copy = *sb;
	uint32_t v23 = JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3;
	uint32_t type = be32_to_cpu(sb->s_header.h_blocktype);

	if (be32_to_cpu(sb->s_header.h_magic) != JBD2_MAGIC_NUMBER ||
	    (type != JBD2_SUPERBLOCK_V1 && type != JBD2_SUPERBLOCK_V2) ||
	    be32_to_cpu(sb->s_blocksize) != c->s->block_size ||
	    be32_to_cpu(sb->s_maxlen) > c->s->journal_blocks)
		return false;
	if (type != JBD2_SUPERBLOCK_V2 || !(be32_to_cpu(sb->s_feature_incompat) & v23))
		return true;
	copy.s_checksum = cpu_to_be32(0);
	return be32_to_cpu(sb->s_checksum) == crc32c(~0u, &copy, sizeof(copy));
}

static int check_journal(struct ck *c)
{
	struct jbd2_super_block sb;
	int ret = 0, k;

	if (!c->s->journal_run_count)
		return 0;
	for (k = 0; k < RAW_TRIES && !ret; k++) {
		ret = bdev_read(c->s->bdev, &sb, sizeof(sb),
				c->s->journal_runs[0].pblk << c->s->block_bits);
		if (!ret && journal_ok(c, &sb))
			return 0;
	}
	ck_find(c, "journal_superblock", c->s->journal_ino, c->s->journal_runs[0].pblk,
		"Journal superblock is corrupt.");
	return 0;
}

static int check_mmp(struct ck *c)
{
	struct mmp_struct m;
	bool magic = false;
	int ret = 0, k;

	if (!c->s->mmp_block)
		return 0;
	for (k = 0; k < RAW_TRIES && !ret; k++) {
		ret = bdev_read(c->s->bdev, &m, sizeof(m), c->s->mmp_block << c->s->block_bits);
		magic = !ret && le32_to_cpu(m.mmp_magic) == EXT4_MMP_MAGIC;
		if (magic &&
		    (!c->s->has_csum || le32_to_cpu(m.mmp_checksum) ==
						crc32c(c->s->csum_seed, &m,
						       offsetof(struct mmp_struct, mmp_checksum))))
			return 0;
	}
	ck_find(c, "mmp", 0, c->s->mmp_block,
		magic ? "Superblock MMP block checksum does not match." :
			"Superblock has invalid MMP magic.");
	return 0;
}

/* ---- orphans -------------------------------------------------------------- */

static bool orphan_ok(const struct ck *c, uint32_t ino)
{
	return ino >= c->s->first_ino && ino <= c->s->inodes_count;
}

static int check_orphan_list(struct ck *c)
{
	_cleanup_free_ uint8_t *raw = malloc(c->s->inode_size);
	uint32_t ino = le32_to_cpu(c->sb.s_last_orphan);
	bool first = true, known = false;
	struct ck_ino i;
	int ret = raw ? 0 : -ENOMEM;

	while (ino && !ret) {
		if (orphan_ok(c, ino))
			ret = note_orphan(c, ino, &known);
		if (!ret && (!orphan_ok(c, ino) || known)) {
			if (first)
				ck_find(c, "orphan_list", ino, 0,
					"Illegal orphaned inode %u in superblock.", ino);
			else
				ck_find(c, "orphan_list", ino, 0,
					"Illegal inode %u in orphaned inode list.", ino);
			return 0;
		}
		if (!ret)
			ret = ck_ino_read(c, ino, raw, &i);
		if (!ret && i.mode == 0) {
			ck_find(c, "orphan_list", ino, 0,
				"Illegal inode %u in orphaned inode list.", ino);
			return 0;
		}
		ino = ret ? 0 : le32_to_cpu(i.d->i_dtime);
		first = false;
	}
	return ret;
}

static int orphan_block(struct ck *c, const struct ck_ino *i, uint64_t lblk, uint64_t pblk)
{
	uint32_t slots = (c->s->block_size - (uint32_t)sizeof(struct ext4_orphan_block_tail)) / 4;
	struct ext4_orphan_block_tail tail;
	le64 where = cpu_to_le64(pblk);
	uint32_t k;
	bool known;
	int ret = ck_read(c, pblk, 1, c->data);

	if (ret)
		return ret;
	memcpy(&tail, c->data + slots * 4, sizeof(tail));
	if (le32_to_cpu(tail.ob_magic) != EXT4_ORPHAN_BLOCK_MAGIC) {
		ck_find(c, "orphan_file", i->ino, pblk,
			"Orphan file (inode %u) block %llu contains wrong magic.", i->ino,
			(unsigned long long)lblk);
		return 0;
	}
	if (c->s->has_csum &&
	    le32_to_cpu(tail.ob_checksum) !=
		    crc32c(crc32c(i->seed, &where, sizeof(where)), c->data, slots * 4))
		ck_find(c, "orphan_file", i->ino, pblk,
			"Orphan file (inode %u) block %llu contains wrong checksum.", i->ino,
			(unsigned long long)lblk);
	for (k = 0; k < slots && !ret; k++) {
		le32 slot;

		memcpy(&slot, c->data + k * 4, sizeof(slot));
		if (!slot.raw)
			continue;
		if (orphan_ok(c, le32_to_cpu(slot)))
			ret = note_orphan(c, le32_to_cpu(slot), &known);
		else
			ck_find(c, "orphan_file", le32_to_cpu(slot), pblk,
				"Illegal inode %u in orphaned inode list.", le32_to_cpu(slot));
	}
	return ret;
}

static int orphan_run(struct ck_walk *w, const struct ck_run *run)
{
	uint64_t k;
	int ret = 0;

	for (k = 0; k < run->count && !ret; k++)
		ret = orphan_block(w->c, w->i, run->lblk + k, run->pblk + k);
	return ret;
}

static int check_orphan_file(struct ck *c)
{
	_cleanup_free_ uint8_t *raw = malloc(c->s->inode_size);
	struct ck_ino i;
	struct ck_walk w = { .c = c, .i = &i, .quiet = true, .run = orphan_run };
	int ret;

	if (!c->s->orphan_file_ino || c->s->orphan_file_ino > c->s->inodes_count)
		return 0;
	ret = raw ? ck_ino_read(c, c->s->orphan_file_ino, raw, &i) : -ENOMEM;
	if (ret)
		return ret;
	if ((i.mode & EXT4_S_IFMT) != EXT4_S_IFREG) {
		ck_find(c, "orphan_file", i.ino, 0, "Orphan file inode %u is not regular file.",
			i.ino);
		return 0;
	}
	if (i.size % c->s->block_size)
		ck_find(c, "orphan_file", i.ino, 0,
			"Orphan file (inode %u) size is not multiple of block size.", i.ino);
	return ck_walk_map(&w);
}

int ck_pass0(struct ck *c)
{
	int ret = check_super(c);

	if (!ret)
		ret = check_descs(c);
	if (!ret)
		ret = mark_fixed(c);
	if (!ret)
		ret = check_orphan_list(c);
	if (!ret)
		ret = check_orphan_file(c);
	if (!ret)
		ret = check_journal(c);
	if (!ret)
		ret = check_mmp(c);
	return ret ? ret : check_copies(c);
}
