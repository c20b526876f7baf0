/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files that no directory names: the reserved inodes, the resize inode that owns the
 * descriptor blocks kept for growth, the journal, the orphan file, and the mmp block.
 */
#include "mkfs/mkfs.h"

#include "mkfs/options.h"
#include "mkfs/say.h"

#include "daemon/base/check.h"
#include "daemon/base/crc.h"
#include "include/kfs/jbd2_format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first inodes are taken whether used or not; with checksums even unused ones carry one. */
static int reserved_make(struct mkfs *m)
{
	struct inode_image img = { 0 };
	uint32_t ino = 0;
	int r = 0;

	while (r == 0 && ino < EXT4_GOOD_OLD_FIRST_INO - 1) {
		r = inode_alloc(m, m->ino_next == EXT4_ROOT_INO, &ino);
		if (r == 0 && features_csum(&m->geo.features))
			r = inode_write(m, ino, &img);
	}
	return r == 0 ? inode_alloc(m, true, &m->lost_found_ino) : r;
}

/* Where the reserved descriptor block at @primary has its copies. */
static uint32_t resize_copies(const struct mkfs *m, uint64_t primary, le32 *copies)
{
	uint32_t count = 0;

	for (uint32_t group = 1; group < m->geo.groups; group++) {
		if (!geometry_has_super(&m->geo, group))
			continue;
		CHECK(count < geometry_addr_per_block(&m->geo));
		copies[count++] = cpu_to_le32(
			(uint32_t)(primary + (uint64_t)group * m->geo.blocks_per_group));
	}
	return count;
}

/*
 * The resize inode: a double-indirect block whose entries are the reserved descriptor blocks
 * of group 0, each an indirect block that lists its copies.
 */
static int resize_make(struct mkfs *m)
{
	const struct geometry *g = &m->geo;
	uint64_t apb = geometry_addr_per_block(g), dind, blocks = 1;
	uint64_t first = g->first_block + 1 + g->desc_blocks;
	_cleanup_free_ le32 *dind_data = calloc(2, g->block_size);
	struct inode_image img;
	le32 *copies;
	int r;

	if (!feature_compat(&g->features, EXT4_FEATURE_COMPAT_RESIZE_INODE))
		return 0;
	if (!dind_data)
		return fail(-ENOMEM, "resize inode");
	copies = dind_data + apb;
	r = block_alloc(m, m->data_goal, &dind);
	for (uint32_t i = 0; r == 0 && i < g->gdt_reserved; i++) {
		memset(copies, 0, g->block_size);
		dind_data[(g->desc_blocks + i) % apb] = cpu_to_le32((uint32_t)(first + i));
		blocks += 1 + resize_copies(m, first + i, copies);
		r = write_block(m, first + i, copies);
	}
	if (r == 0)
		r = write_block(m, dind, dind_data);
	if (r < 0)
		return r;
	inode_init(m, &img, EXT4_S_IFREG | 0600, 1);
	img.inode.i_block[EXT4_DIND_BLOCK] = cpu_to_le32((uint32_t)dind);
	inode_set_size(m, &img, (apb * apb + apb + EXT4_NDIR_BLOCKS) * g->block_size);
	r = inode_add_blocks(m, &img, blocks);
	return r < 0 ? r : inode_write(m, EXT4_RESIZE_INO, &img);
}

static uint64_t group_free(const struct mkfs *m, uint32_t group)
{
	uint64_t start = geometry_group_start(&m->geo, group);
	uint32_t blocks = geometry_group_blocks(&m->geo, group);

	return blocks - space_used_in(&m->space, start, start + blocks);
}

/*
 * Near the middle of the filesystem, where seeks to it are shortest: of the groups around it
 * (in a large filesystem, of the flex group it falls into) the one with most room.
 */
static uint64_t middle(const struct mkfs *m)
{
	const struct geometry *g = &m->geo;
	uint32_t group = g->groups / 2, flex = 1u << g->flex_log;
	uint32_t first, last, best;

	if (g->flex_log && group > flex) {
		group = group / flex * flex;
		first = group;
	} else {
		first = group > 0 ? group - 1 : group;
	}
	last = MIN(group + 1, g->groups - 1);
	best = first;
	for (uint32_t i = first + 1; i <= last; i++)
		if (group_free(m, i) > group_free(m, best))
			best = i;
	return geometry_group_start(g, best);
}

static int journal_super_write(struct mkfs *m, uint64_t pblk)
{
	const struct geometry *g = &m->geo;
	_cleanup_free_ struct jbd2_super_block *s = calloc(1, g->block_size);

	if (!s)
		return fail(-ENOMEM, "journal");
	s->s_header.h_magic = cpu_to_be32(JBD2_MAGIC_NUMBER);
	s->s_header.h_blocktype = cpu_to_be32(JBD2_SUPERBLOCK_V2);
	s->s_blocksize = cpu_to_be32(g->block_size);
	s->s_maxlen = cpu_to_be32(g->journal_blocks);
	s->s_first = cpu_to_be32(1);
	s->s_sequence = cpu_to_be32(1);
	s->s_nr_users = cpu_to_be32(1);
	memcpy(s->s_uuid, m->uuid, sizeof(s->s_uuid));
	return write_block(m, pblk, s);
}

static int journal_zero(struct mkfs *m, const struct runs *runs)
{
	struct progress p;
	uint64_t done = 0;
	int r = 0;

	/* Stale blocks could pass for a log: their contents are unknown, so they go. */
	progress_start(&p, !m->opts->quiet, "Zeroing the journal", "blocks", m->geo.journal_blocks);
	for (size_t i = 0; r == 0 && i < runs->count && !m->opts->lazy_journal; i++) {
		r = write_zeros(m, runs->v[i].pblk, runs->v[i].len);
		done += runs->v[i].len;
		progress_at(&p, done);
	}
	progress_end(&p);
	return r;
}

static int journal_make(struct mkfs *m)
{
	const struct geometry *g = &m->geo;
	uint64_t goal = middle(m), size = (uint64_t)g->journal_blocks * g->block_size;
	struct runs runs = { 0 };
	struct inode_image img;
	int r;

	if (!g->journal_blocks)
		return 0;
	if (!space_find(&m->space, goal, g->blocks, g->journal_blocks, &goal))
		(void)space_find(&m->space, g->first_block, g->blocks, g->journal_blocks, &goal);
	r = runs_alloc(m, &runs, 0, g->journal_blocks, &goal);
	if (r == 0)
		r = journal_zero(m, &runs);
	if (r == 0)
		r = journal_super_write(m, runs.v[0].pblk);
	if (r == 0) {
		inode_init(m, &img, EXT4_S_IFREG | 0600, 1);
		inode_set_size(m, &img, size);
		r = mapping_write(m, EXT4_JOURNAL_INO, &img, &runs);
	}
	runs_fini(&runs);
	if (r < 0)
		return r;
	memcpy(m->journal_backup, img.inode.i_block, sizeof(img.inode.i_block));
	m->journal_backup[15] = img.inode.i_size_high;
	m->journal_backup[16] = img.inode.i_size_lo;
	return inode_write(m, EXT4_JOURNAL_INO, &img);
}

static int orphan_block_write(struct mkfs *m, uint64_t pblk, uint8_t *block)
{
	uint32_t slots_bytes = m->geo.block_size - (uint32_t)sizeof(struct ext4_orphan_block_tail);
	struct ext4_orphan_block_tail *tail = (void *)(block + slots_bytes);
	le64 where = cpu_to_le64(pblk);
	uint32_t crc;

	memset(block, 0, m->geo.block_size);
	tail->ob_magic = cpu_to_le32(EXT4_ORPHAN_BLOCK_MAGIC);
	if (features_csum(&m->geo.features)) {
		crc = crc32c(inode_csum_seed(m, m->orphan_ino, 0), &where, sizeof(where));
		tail->ob_checksum = cpu_to_le32(crc32c(crc, block, slots_bytes));
	}
	return write_block(m, pblk, block);
}

static int orphan_make(struct mkfs *m)
{
	const struct geometry *g = &m->geo;
	_cleanup_free_ uint8_t *block = malloc(g->block_size);
	struct runs runs = { 0 };
	struct inode_image img;
	int r;

	if (!g->orphan_blocks)
		return 0;
	if (!block)
		return fail(-ENOMEM, "orphan file");
	r = inode_alloc(m, false, &m->orphan_ino);
	if (r == 0)
		r = runs_alloc(m, &runs, 0, g->orphan_blocks, &m->data_goal);
	for (size_t i = 0; r == 0 && i < runs.count; i++)
		for (uint32_t j = 0; r == 0 && j < runs.v[i].len; j++)
			r = orphan_block_write(m, runs.v[i].pblk + j, block);
	if (r == 0) {
		inode_init(m, &img, EXT4_S_IFREG | 0600, 1);
		inode_set_size(m, &img, (uint64_t)g->orphan_blocks * g->block_size);
		r = mapping_write(m, m->orphan_ino, &img, &runs);
	}
	runs_fini(&runs);
	return r < 0 ? r : inode_write(m, m->orphan_ino, &img);
}

static int mmp_make(struct mkfs *m)
{
	_cleanup_free_ struct mmp_struct *mmp = calloc(1, m->geo.block_size);
	char host[sizeof(mmp->mmp_nodename) + 1] = "";
	int r;

	if (!feature_incompat(&m->geo.features, EXT4_FEATURE_INCOMPAT_MMP))
		return 0;
	if (!mmp)
		return fail(-ENOMEM, "mmp block");
	r = block_alloc(m, m->data_goal, &m->mmp_block);
	if (r < 0)
		return r;
	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0'; /* only tells people who wrote it last */
	memcpy(mmp->mmp_nodename, host, strnlen(host, sizeof(mmp->mmp_nodename)));
	memcpy(mmp->mmp_bdevname, m->opts->target,
	       strnlen(m->opts->target, sizeof(mmp->mmp_bdevname) - 1));
	mmp->mmp_magic = cpu_to_le32(EXT4_MMP_MAGIC);
	mmp->mmp_seq = cpu_to_le32(EXT4_MMP_SEQ_CLEAN);
	mmp->mmp_time = cpu_to_le64((uint64_t)m->now.tv_sec);
	mmp->mmp_check_interval = cpu_to_le16(
		(uint16_t)MAX(m->opts->mmp_interval, (uint32_t)EXT4_MMP_MIN_CHECK_INTERVAL));
	if (features_csum(&m->geo.features))
		mmp->mmp_checksum = cpu_to_le32(
			crc32c(m->csum_seed, mmp, offsetof(struct mmp_struct, mmp_checksum)));
	return write_block(m, m->mmp_block, mmp);
}

int special_make(struct mkfs *m)
{
	int r = reserved_make(m);

	if (r == 0)
		r = resize_make(m);
	if (r == 0)
		r = journal_make(m);
	if (r == 0)
		r = orphan_make(m);
	if (r == 0)
		r = mmp_make(m);
	return r;
}
