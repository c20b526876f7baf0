// SPDX-License-Identifier: GPL-2.0-only
/*
 * Conversion between struct inode and its slot in the table.
 *
 * Invariants
 * (1) Nothing of a slot is believed before its checksum fits.
 * (2) Encoding changes known fields only; bytes of later ext4 versions and the
 *     attributes behind i_extra_isize stay as they are.
 * (3) i_dtime of an inode on the orphan list belongs to orphan.c.
 */
#include "daemon/store/inode_disk.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/crc.h"

#define NSEC_PER_SEC 1000000000u
#define EXTRA_ISIZE_KNOWN ((uint32_t)(sizeof(struct ext4_inode) - EXT4_GOOD_OLD_INODE_SIZE))
/* Seconds that the 32 bits of old inodes and the 34 of large ones can say. */
#define TIME_MIN ((int64_t)INT32_MIN)
#define TIME_MAX_OLD ((int64_t)INT32_MAX)
#define TIME_MAX_EXTRA (TIME_MAX_OLD + ((int64_t)EXT4_EPOCH_MASK << 32))

/* Does @field end within the first 128 + @extra bytes? */
#define FITS(extra, field)                                                                         \
	(offsetof(struct ext4_inode, field) + sizeof(((struct ext4_inode *)0)->field) <=           \
	 EXT4_GOOD_OLD_INODE_SIZE + (uint32_t)(extra))

struct inode_slot inode_slot_in(const struct store *s, uint64_t table, uint32_t ino)
{
	uint32_t index = (ino - 1) % s->inodes_per_group;

	return (struct inode_slot){
		.pblk = table + index / s->inodes_per_block,
		.off = index % s->inodes_per_block * s->inode_size,
	};
}

struct inode_slot inode_slot_of(const struct store *s, uint32_t ino)
{
	CHECK(ino >= 1 && ino <= s->inodes_count);
	return inode_slot_in(s, s->groups[(ino - 1) / s->inodes_per_group].inode_table, ino);
}

/* ---- checksum ------------------------------------------------------------- */

static uint32_t seed_of(const struct store *s, uint32_t ino, le32 generation)
{
	le32 le_ino = cpu_to_le32(ino);
	uint32_t seed = crc32c(s->csum_seed, &le_ino, sizeof(le_ino));

	return crc32c(seed, &generation, sizeof(generation));
}

uint32_t inode_csum_seed(const struct inode *i)
{
	return seed_of(i->store, i->ino, cpu_to_le32(i->generation));
}

/* extra_isize as far as the slot's size allows it to be believed. */
static uint32_t raw_extra_isize(const struct store *s, const uint8_t *raw)
{
	const struct ext4_inode *d = (const void *)raw;

	return s->inode_size > EXT4_GOOD_OLD_INODE_SIZE ? le16_to_cpu(d->i_extra_isize) : 0;
}

static uint32_t compute_csum(const struct store *s, uint32_t ino, const uint8_t *raw)
{
	const struct ext4_inode *d = (const void *)raw;
	const uint32_t lo = offsetof(struct ext4_inode, i_checksum_lo);
	const uint32_t hi = offsetof(struct ext4_inode, i_checksum_hi);
	static const uint8_t zero[2];
	uint32_t crc = seed_of(s, ino, d->i_generation);
	uint32_t next = hi;

	crc = crc32c(crc, raw, lo);
	crc = crc32c(crc, zero, 2);
	crc = crc32c(crc, raw + lo + 2, EXT4_GOOD_OLD_INODE_SIZE - lo - 2);
	if (s->inode_size == EXT4_GOOD_OLD_INODE_SIZE)
		return crc;
	crc = crc32c(crc, raw + EXT4_GOOD_OLD_INODE_SIZE, hi - EXT4_GOOD_OLD_INODE_SIZE);
	if (FITS(raw_extra_isize(s, raw), i_checksum_hi)) {
		crc = crc32c(crc, zero, 2);
		next += 2;
	}
	return crc32c(crc, raw + next, s->inode_size - next);
}

int inode_disk_check_csum(const struct store *s, uint32_t ino, const uint8_t *raw)
{
	const struct ext4_inode *d = (const void *)raw;
	uint32_t crc, stored = le16_to_cpu(d->i_checksum_lo);

	if (!s->has_csum)
		return 0;
	crc = compute_csum(s, ino, raw);
	if (FITS(raw_extra_isize(s, raw), i_checksum_hi))
		stored |= (uint32_t)le16_to_cpu(d->i_checksum_hi) << 16;
	else
		crc &= 0xffff;
	return crc == stored ? 0 : -EBADMSG;
}

void inode_disk_set_csum(const struct store *s, uint32_t ino, uint8_t *raw)
{
	struct ext4_inode *d = (void *)raw;
	uint32_t crc;

	if (!s->has_csum)
		return;
	crc = compute_csum(s, ino, raw);
	d->i_checksum_lo = cpu_to_le16((uint16_t)crc);
	if (FITS(raw_extra_isize(s, raw), i_checksum_hi))
		d->i_checksum_hi = cpu_to_le16((uint16_t)(crc >> 16));
}

/* ---- decoding ------------------------------------------------------------- */

static void decode_time(le32 sec, const le32 *extra, int64_t *ret_s, uint32_t *ret_ns)
{
	uint32_t e = extra ? le32_to_cpu(*extra) : 0;

	*ret_s = (int32_t)le32_to_cpu(sec) + ((int64_t)(e & EXT4_EPOCH_MASK) << 32);
	*ret_ns = e >> EXT4_EPOCH_BITS;
	/* Written by a broken tool: a time is not worth refusing a file for. */
	if (*ret_ns >= NSEC_PER_SEC)
		*ret_ns = NSEC_PER_SEC - 1;
}

static void decode_times(struct inode *i, const struct ext4_inode *d, uint32_t extra)
{
	decode_time(d->i_ctime, FITS(extra, i_ctime_extra) ? &d->i_ctime_extra : NULL, &i->ctime_s,
		    &i->ctime_ns);
	decode_time(d->i_mtime, FITS(extra, i_mtime_extra) ? &d->i_mtime_extra : NULL, &i->mtime_s,
		    &i->mtime_ns);
	decode_time(d->i_atime, FITS(extra, i_atime_extra) ? &d->i_atime_extra : NULL, &i->atime_s,
		    &i->atime_ns);
	if (FITS(extra, i_crtime))
		decode_time(d->i_crtime, FITS(extra, i_crtime_extra) ? &d->i_crtime_extra : NULL,
			    &i->crtime_s, &i->crtime_ns);
}

/* Linux's new_encode_dev(): the form of i_block[1], and of struct inode. */
static uint32_t decode_rdev(const struct ext4_inode *d)
{
	uint32_t old = le32_to_cpu(d->i_block[0]);

	if (!old)
		return le32_to_cpu(d->i_block[1]);
	/* 16 bits: major and minor of a byte each; the new form has them in the same places. */
	return old & 0xffff;
}

static uint64_t decode_blocks(const struct store *s, const struct inode *i,
			      const struct ext4_inode *d)
{
	uint64_t n = le32_to_cpu(d->i_blocks_lo);

	if (!store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_HUGE_FILE))
		return n;
	n |= (uint64_t)le16_to_cpu(d->i_blocks_hi) << 32;
	return i->flags & EXT4_HUGE_FILE_FL ? n << (s->block_bits - 9) : n;
}

static bool type_known(uint16_t mode)
{
	switch (mode & EXT4_S_IFMT) {
	case EXT4_S_IFREG:
	case EXT4_S_IFDIR:
	case EXT4_S_IFLNK:
	case EXT4_S_IFCHR:
	case EXT4_S_IFBLK:
	case EXT4_S_IFIFO:
	case EXT4_S_IFSOCK: return true;
	default: return false;
	}
}

static int check_extra_isize(const struct store *s, uint32_t extra, const char **ret_what)
{
	if (s->inode_size == EXT4_GOOD_OLD_INODE_SIZE)
		return 0;
	if (EXT4_GOOD_OLD_INODE_SIZE + extra > s->inode_size || extra % 4) {
		*ret_what = "i_extra_isize is impossible";
		return -EUCLEAN;
	}
	return 0;
}

/* Relations between decoded fields that every later use relies on. */
static int check_fields(const struct inode *i, const char **ret_what)
{
	const struct store *s = i->store;
	bool huge_dir = store_has_incompat(s, EXT4_FEATURE_INCOMPAT_LARGEDIR);

	*ret_what = NULL;
	if (!type_known(i->mode) && i->ino != EXT4_BAD_INO && i->ino >= s->first_ino)
		*ret_what = "i_mode has no known file type";
	else if (i->size > INT64_MAX)
		*ret_what = "i_size is negative";
	else if (i->file_acl && !store_pblk_valid(s, i->file_acl, 1))
		*ret_what = "i_file_acl lies outside the data blocks";
	else if ((i->flags & EXT4_INLINE_DATA_FL) &&
		 !store_has_incompat(s, EXT4_FEATURE_INCOMPAT_INLINE_DATA))
		*ret_what = "inline data without the feature";
	else if ((i->flags & EXT4_INLINE_DATA_FL) && (i->flags & EXT4_EXTENTS_FL))
		*ret_what = "both inline data and extents";
	else if ((i->flags & EXT4_EXTENTS_FL) &&
		 !store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EXTENTS))
		*ret_what = "extents without the feature";
	else if ((i->flags & EXT4_CASEFOLD_FL) &&
		 !store_has_incompat(s, EXT4_FEATURE_INCOMPAT_CASEFOLD))
		*ret_what = "case folding without the feature";
	else if ((i->flags & EXT4_EA_INODE_FL) && !inode_is_reg(i))
		*ret_what = "EA inode is no regular file";
	else if (i->links && inode_is_symlink(i) && (i->size == 0 || i->size > s->block_size) &&
		 !(i->flags & EXT4_ENCRYPT_FL))
		*ret_what = "symlink's length is impossible";
	else if (inode_is_dir(i) && !huge_dir && i->size > UINT32_MAX)
		*ret_what = "directory's size is impossible";
	return *ret_what ? -EUCLEAN : 0;
}

static void decode_fields(struct inode *i, const struct ext4_inode *d, uint32_t extra)
{
	const struct store *s = i->store;

	i->mode = le16_to_cpu(d->i_mode);
	i->flags = le32_to_cpu(d->i_flags);
	i->uid = le16_to_cpu(d->i_uid) | (uint32_t)le16_to_cpu(d->i_uid_hi) << 16;
	i->gid = le16_to_cpu(d->i_gid) | (uint32_t)le16_to_cpu(d->i_gid_hi) << 16;
	i->links = le16_to_cpu(d->i_links_count);
	i->generation = le32_to_cpu(d->i_generation);
	i->size = le32_to_cpu(d->i_size_lo);
	/* Without large_dir the high half of a directory was i_dir_acl. */
	if (inode_is_reg(i) || store_has_incompat(s, EXT4_FEATURE_INCOMPAT_LARGEDIR))
		i->size |= (uint64_t)le32_to_cpu(d->i_size_high) << 32;
	i->blocks = decode_blocks(s, i, d);
	i->file_acl = le32_to_cpu(d->i_file_acl_lo);
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_64BIT))
		i->file_acl |= (uint64_t)le16_to_cpu(d->i_file_acl_hi) << 32;
	memcpy(i->i_block, d->i_block, sizeof(i->i_block));
	decode_times(i, d, extra);
	atomic_store_explicit(&i->version, s->is_hurd ? 0 : le32_to_cpu(d->i_version_lo),
			      memory_order_relaxed);
	if (FITS(extra, i_version_hi))
		atomic_fetch_or(&i->version, (uint64_t)le32_to_cpu(d->i_version_hi) << 32);
	i->projid = 0;
	if (store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_PROJECT) && FITS(extra, i_projid))
		i->projid = le32_to_cpu(d->i_projid);
	i->rdev = 0;
	if ((i->mode & EXT4_S_IFMT) == EXT4_S_IFCHR || (i->mode & EXT4_S_IFMT) == EXT4_S_IFBLK)
		i->rdev = decode_rdev(d);
}

static bool all_zero(const uint8_t *p, uint32_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

int inode_disk_decode(struct inode *i, const uint8_t *raw, const char **ret_what)
{
	const struct ext4_inode *d = (const void *)raw;
	const struct store *s = i->store;
	uint32_t extra = raw_extra_isize(s, raw);
	int ret;

	*ret_what = "checksum is wrong";
	ret = inode_disk_check_csum(s, i->ino, raw);
	if (ret) /* a slot never used has no checksum */
		return all_zero(raw, EXT4_GOOD_OLD_INODE_SIZE) ? -ESTALE : ret;
	if (le16_to_cpu(d->i_mode) == 0 && i->ino >= s->first_ino)
		return -ESTALE;
	ret = check_extra_isize(s, extra, ret_what);
	if (ret)
		return ret;
	decode_fields(i, d, extra);
	/* 0: the space behind the first 128 bytes is unused; the next write takes it over. */
	i->extra_isize = (uint16_t)(extra ? extra : s->want_extra_isize);
	return check_fields(i, ret_what);
}

/* ---- encoding ------------------------------------------------------------- */

static void encode_time(le32 *sec, le32 *extra, int64_t s, uint32_t ns)
{
	int64_t max = extra ? TIME_MAX_EXTRA : TIME_MAX_OLD;
	int64_t t = s < TIME_MIN ? TIME_MIN : s > max ? max : s;
	uint32_t epoch = (uint32_t)((t - (int32_t)t) >> 32) & EXT4_EPOCH_MASK;

	*sec = cpu_to_le32((uint32_t)t);
	if (extra)
		*extra = cpu_to_le32(epoch | ns << EXT4_EPOCH_BITS);
}

static void encode_times(const struct inode *i, struct ext4_inode *d)
{
	uint32_t extra = i->extra_isize;

	encode_time(&d->i_ctime, FITS(extra, i_ctime_extra) ? &d->i_ctime_extra : NULL, i->ctime_s,
		    i->ctime_ns);
	encode_time(&d->i_mtime, FITS(extra, i_mtime_extra) ? &d->i_mtime_extra : NULL, i->mtime_s,
		    i->mtime_ns);
	encode_time(&d->i_atime, FITS(extra, i_atime_extra) ? &d->i_atime_extra : NULL, i->atime_s,
		    i->atime_ns);
	if (FITS(extra, i_crtime))
		encode_time(&d->i_crtime, FITS(extra, i_crtime_extra) ? &d->i_crtime_extra : NULL,
			    i->crtime_s, i->crtime_ns);
}

static int encode_blocks(struct inode *i, struct ext4_inode *d)
{
	const struct store *s = i->store;
	uint64_t n = i->blocks;

	i->flags &= ~(uint32_t)EXT4_HUGE_FILE_FL;
	if (n > UINT32_MAX && !store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_HUGE_FILE))
		return -EFBIG;
	if (n >> 48) {
		i->flags |= EXT4_HUGE_FILE_FL;
		n >>= s->block_bits - 9;
	}
	d->i_blocks_lo = cpu_to_le32((uint32_t)n);
	d->i_blocks_hi = cpu_to_le16((uint16_t)(n >> 32));
	return 0;
}

static void encode_i_block(const struct inode *i, struct ext4_inode *d)
{
	uint32_t type = i->mode & EXT4_S_IFMT;

	memcpy(d->i_block, i->i_block, sizeof(d->i_block));
	if (type != EXT4_S_IFCHR && type != EXT4_S_IFBLK)
		return;
	memset(d->i_block, 0, sizeof(d->i_block));
	/* Both numbers below 256: the old form, which every tool reads. */
	if (i->rdev <= 0xffff)
		d->i_block[0] = cpu_to_le32(i->rdev);
	else
		d->i_block[1] = cpu_to_le32(i->rdev);
}

/* The part behind the first 128 bytes. */
static void encode_extra(struct inode *i, uint8_t *raw)
{
	const struct store *s = i->store;
	struct ext4_inode *d = (void *)raw;

	if (s->inode_size == EXT4_GOOD_OLD_INODE_SIZE)
		return;
	/* Taking the space over: what lay there was never an attribute. */
	if (le16_to_cpu(d->i_extra_isize) == 0)
		memset(raw + EXT4_GOOD_OLD_INODE_SIZE, 0, s->inode_size - EXT4_GOOD_OLD_INODE_SIZE);
	d->i_extra_isize = cpu_to_le16(i->extra_isize);
	if (FITS(i->extra_isize, i_version_hi))
		d->i_version_hi = cpu_to_le32((uint32_t)(atomic_load(&i->version) >> 32));
	if (store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_PROJECT) &&
	    FITS(i->extra_isize, i_projid))
		d->i_projid = cpu_to_le32(i->projid);
}

int inode_disk_encode(struct inode *i, uint8_t *raw, uint32_t dtime)
{
	const struct store *s = i->store;
	struct ext4_inode *d = (void *)raw;
	uint32_t state = atomic_load(&i->state);
	bool listed = (state & INODE_ORPHAN) && i->orphan_pos == 0;
	uint32_t next_orphan = le32_to_cpu(d->i_dtime);
	int ret;

	if (state & INODE_NEW)
		memset(raw, 0, s->inode_size);
	ret = encode_blocks(i, d);
	if (ret)
		return ret;
	d->i_mode = cpu_to_le16(i->mode);
	d->i_flags = cpu_to_le32(i->flags);
	d->i_uid = cpu_to_le16((uint16_t)i->uid);
	d->i_uid_hi = cpu_to_le16((uint16_t)(i->uid >> 16));
	d->i_gid = cpu_to_le16((uint16_t)i->gid);
	d->i_gid_hi = cpu_to_le16((uint16_t)(i->gid >> 16));
	d->i_links_count = cpu_to_le16((uint16_t)i->links);
	d->i_generation = cpu_to_le32(i->generation);
	d->i_size_lo = cpu_to_le32((uint32_t)i->size);
	if (inode_is_reg(i) || store_has_incompat(s, EXT4_FEATURE_INCOMPAT_LARGEDIR))
		d->i_size_high = cpu_to_le32((uint32_t)(i->size >> 32));
	d->i_file_acl_lo = cpu_to_le32((uint32_t)i->file_acl);
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_64BIT))
		d->i_file_acl_hi = cpu_to_le16((uint16_t)(i->file_acl >> 32));
	if (!s->is_hurd)
		d->i_version_lo = cpu_to_le32((uint32_t)atomic_load(&i->version));
	encode_extra(i, raw);
	encode_times(i, d);
	encode_i_block(i, d);
	d->i_dtime = cpu_to_le32(listed ? next_orphan : dtime);
	inode_disk_set_csum(s, i->ino, raw);
	atomic_fetch_and(&i->state, ~(uint32_t)INODE_NEW);
	return 0;
}
