/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inodes of a new filesystem. Numbers are handed out in ascending order and never given back,
 * so the next free one says which are used. A group's inode table is zeroed when its first
 * inode is taken: whatever lay there before must not look like an inode.
 */
#include "mkfs/mkfs.h"

#include "mkfs/options.h"
#include "mkfs/say.h"

#include "daemon/base/check.h"
#include "daemon/base/crc.h"
#include "daemon/block/bdev.h"

#include <errno.h>
#include <string.h>

#define EXTRA_ISIZE 32 /* i_extra_isize .. i_projid */
#define SECTORS_32BIT_MAX UINT64_C(0xffffffff)
#define SECTORS_48BIT_MAX UINT64_C(0xffffffffffff)

bool inode_has_extra(const struct mkfs *m)
{
	return m->geo.inode_size >= sizeof(struct ext4_inode);
}

uint32_t inode_csum_seed(const struct mkfs *m, uint32_t ino, uint32_t generation)
{
	le32 words[2] = { cpu_to_le32(ino), cpu_to_le32(generation) };

	return crc32c(m->csum_seed, words, sizeof(words));
}

static uint64_t inode_offset(const struct mkfs *m, uint32_t ino)
{
	const struct geometry *g = &m->geo;
	uint32_t group = (ino - 1) / g->inodes_per_group;
	uint32_t index = (ino - 1) % g->inodes_per_group;

	CHECK(ino > 0 && group < g->groups);
	return m->groups[group].inode_table * g->block_size + (uint64_t)index * g->inode_size;
}

int inode_alloc(struct mkfs *m, bool is_dir, uint32_t *ret_ino)
{
	const struct geometry *g = &m->geo;
	uint32_t ino = m->ino_next, group;
	struct group_place *place;

	if (ino > g->inodes)
		return fail(-ENOSPC, "all %u inodes are used: raise -N or lower -i", g->inodes);
	group = (ino - 1) / g->inodes_per_group;
	place = &m->groups[group];
	if (!place->table_zeroed) {
		int r = write_zeros(m, place->inode_table, g->itable_blocks);

		if (r < 0)
			return r;
		place->table_zeroed = true;
	}
	place->dirs_used += is_dir;
	m->ino_next = ino + 1;
	*ret_ino = ino;
	return 0;
}

void inode_init(const struct mkfs *m, struct inode_image *img, uint32_t mode, uint32_t links)
{
	struct ext4_inode *i = &img->inode;

	memset(img, 0, sizeof(*img));
	i->i_mode = cpu_to_le16((uint16_t)mode);
	i->i_links_count = cpu_to_le16((uint16_t)links);
	if (inode_has_extra(m))
		i->i_extra_isize = cpu_to_le16(EXTRA_ISIZE);
	inode_set_times(m, img, &m->now, &m->now, &m->now);
}

void inode_set_size(struct mkfs *m, struct inode_image *img, uint64_t size)
{
	img->inode.i_size_lo = cpu_to_le32((uint32_t)size);
	img->inode.i_size_high = cpu_to_le32((uint32_t)(size >> 32));
	if (size > INT32_MAX && (le16_to_cpu(img->inode.i_mode) & EXT4_S_IFMT) == EXT4_S_IFREG)
		m->geo.features.ro_compat |= EXT4_FEATURE_RO_COMPAT_LARGE_FILE;
}

void inode_set_owner(struct inode_image *img, uint32_t uid, uint32_t gid)
{
	img->inode.i_uid = cpu_to_le16((uint16_t)uid);
	img->inode.i_uid_hi = cpu_to_le16((uint16_t)(uid >> 16));
	img->inode.i_gid = cpu_to_le16((uint16_t)gid);
	img->inode.i_gid_hi = cpu_to_le16((uint16_t)(gid >> 16));
}

/* The field holds 32 bits of seconds, signed; the extra word two more, and nanoseconds. */
static le32 time_low(const struct mkfs *m, const struct timespec *ts, le32 *extra)
{
	int64_t sec = ts->tv_sec;
	int64_t max = inode_has_extra(m) ? (INT64_C(1) << 34) - 1 + INT32_MIN : INT32_MAX;

	sec = MAX(MIN(sec, max), (int64_t)INT32_MIN);
	if (extra) {
		uint64_t epoch = (uint64_t)(sec - (int32_t)sec) >> 32;

		*extra = cpu_to_le32((uint32_t)(epoch & EXT4_EPOCH_MASK) |
				     (uint32_t)ts->tv_nsec << EXT4_EPOCH_BITS);
	}
	return cpu_to_le32((uint32_t)sec);
}

void inode_set_times(const struct mkfs *m, struct inode_image *img, const struct timespec *atime,
		     const struct timespec *mtime, const struct timespec *ctime)
{
	struct ext4_inode *i = &img->inode;
	bool extra = inode_has_extra(m);

	i->i_atime = time_low(m, atime, extra ? &i->i_atime_extra : NULL);
	i->i_mtime = time_low(m, mtime, extra ? &i->i_mtime_extra : NULL);
	i->i_ctime = time_low(m, ctime, extra ? &i->i_ctime_extra : NULL);
	if (extra)
		i->i_crtime = time_low(m, &m->now, &i->i_crtime_extra);
}

int inode_add_blocks(const struct mkfs *m, struct inode_image *img, uint64_t count)
{
	struct ext4_inode *i = &img->inode;
	uint64_t sectors = le32_to_cpu(i->i_blocks_lo) | (uint64_t)le16_to_cpu(i->i_blocks_hi)
								 << 32;

	sectors += count * (m->geo.block_size / 512);
	if (sectors > SECTORS_48BIT_MAX ||
	    (sectors > SECTORS_32BIT_MAX &&
	     !feature_ro(&m->geo.features, EXT4_FEATURE_RO_COMPAT_HUGE_FILE)))
		return fail(-EFBIG, "a file of %llu sectors needs the huge_file feature",
			    (unsigned long long)sectors);
	i->i_blocks_lo = cpu_to_le32((uint32_t)sectors);
	i->i_blocks_hi = cpu_to_le16((uint16_t)(sectors >> 32));
	return 0;
}

int inode_write(struct mkfs *m, uint32_t ino, struct inode_image *img)
{
	struct ext4_inode *i = &img->inode;
	uint64_t offset = inode_offset(m, ino);
	bool has_hi = m->geo.inode_size > EXT4_GOOD_OLD_INODE_SIZE &&
		      le16_to_cpu(i->i_extra_isize) >= 4;
	uint32_t crc;
	int r;

	if (features_csum(&m->geo.features)) {
		i->i_checksum_lo = cpu_to_le16(0);
		if (has_hi)
			i->i_checksum_hi = cpu_to_le16(0);
		crc = crc32c(inode_csum_seed(m, ino, le32_to_cpu(i->i_generation)), img->raw,
			     m->geo.inode_size);
		i->i_checksum_lo = cpu_to_le16((uint16_t)crc);
		if (has_hi)
			i->i_checksum_hi = cpu_to_le16((uint16_t)(crc >> 16));
	}
	r = bdev_write(m->bdev, img->raw, m->geo.inode_size, offset);
	return r < 0 ? fail(r, "%s: writing inode %u", m->opts->target, ino) : 0;
}

int inode_read(struct mkfs *m, uint32_t ino, struct inode_image *img)
{
	int r = bdev_read(m->bdev, img->raw, m->geo.inode_size, inode_offset(m, ino));

	return r < 0 ? fail(r, "%s: reading inode %u", m->opts->target, ino) : 0;
}
