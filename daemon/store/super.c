// SPDX-License-Identifier: GPL-2.0-only
/*
 * The superblock while the store is open: its buffer, its counters, its marks.
 *
 * Two ways lead to the medium. Inside transactions the buffer is changed between
 * store_sb_begin() and store_sb_end() like any other. The marks of mounting and
 * unmounting (needs_recovery, valid, mount count) go straight to the medium, and only
 * while no transaction exists: before the first and after journal_close().
 *
 * Invariants
 * (1) needs_recovery is durable before the first log block, and leaves the medium
 *     only after everything is home and the log is empty.
 * (2) Free counts in a committed superblock equal the sums of the groups committed
 *     with it: they are folded in when no handle is open.
 * (3) s_mtime and s_mnt_count change on the medium only at mount. So other values
 *     there are another program's, whatever of ours has been written home so far:
 *     the check before each commit cannot give a false alarm.
 */
#include "daemon/store/super.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "daemon/base/crc.h"
#include "daemon/base/log.h"
#include "daemon/journal/view.h"
#include "daemon/store/alloc.h"

uint32_t super_csum(const struct ext4_super_block *sb)
{
	return crc32c(~0u, sb, offsetof(struct ext4_super_block, s_checksum));
}

void super_set_csum(struct ext4_super_block *sb)
{
	if (le32_to_cpu(sb->s_rev_level) >= EXT4_DYNAMIC_REV &&
	    (le32_to_cpu(sb->s_feature_ro_compat) & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM))
		sb->s_checksum = cpu_to_le32(super_csum(sb));
}

int super_state_new(struct store *s)
{
	s->super = calloc(1, sizeof(*s->super));
	if (!s->super)
		return -ENOMEM;
	mutex_init(&s->super->lock, LOCK_LEAF);
	return 0;
}

void super_state_free(struct store *s)
{
	free(s->super);
	s->super = NULL;
}

int super_pin(struct store *s, struct store_open_error *err)
{
	int ret = buf_read(s->cache, EXT4_SUPER_OFFSET / s->block_size, &s->sb_buf);

	if (ret)
		return store_open_fail(err, ret, NULL, "superblock: cannot be read");
	s->sb_off = EXT4_SUPER_OFFSET % s->block_size;
	return 0;
}

struct ext4_super_block *store_sb(struct store *s)
{
	return (struct ext4_super_block *)(void *)(s->sb_buf->data + s->sb_off);
}

int store_sb_begin(struct store *s, struct handle *h)
{
	int ret = journal_get_write(h, s->sb_buf);

	if (ret)
		return ret;
	rwlock_write(&s->sb_buf->lock);
	return 0;
}

void store_sb_end(struct store *s, struct handle *h)
{
	super_set_csum(store_sb(s));
	journal_dirty(h, s->sb_buf, s->sb_off, EXT4_SUPER_SIZE);
	rwlock_unwrite(&s->sb_buf->lock);
}

int store_set_feature(struct store *s, struct handle *h, uint32_t compat, uint32_t incompat,
		      uint32_t ro_compat)
{
	struct ext4_super_block *sb = store_sb(s);
	int ret;

	/* Revision 0 has no feature words. */
	if (le32_to_cpu(sb->s_rev_level) < EXT4_DYNAMIC_REV)
		return -EOPNOTSUPP;
	ret = store_sb_begin(s, h);
	if (ret)
		return ret;
	sb->s_feature_compat = cpu_to_le32(le32_to_cpu(sb->s_feature_compat) | compat);
	sb->s_feature_incompat = cpu_to_le32(le32_to_cpu(sb->s_feature_incompat) | incompat);
	sb->s_feature_ro_compat = cpu_to_le32(le32_to_cpu(sb->s_feature_ro_compat) | ro_compat);
	store_sb_end(s, h);
	atomic_fetch_or(&s->feature_compat, compat);
	atomic_fetch_or(&s->feature_incompat, incompat);
	atomic_fetch_or(&s->feature_ro_compat, ro_compat);
	return 0;
}

/* ---- counters ------------------------------------------------------------- */

static void set_wtime(struct ext4_super_block *sb)
{
	int64_t now = time(NULL);

	sb->s_wtime = cpu_to_le32((uint32_t)now);
	sb->s_wtime_hi = (uint8_t)(now >> 32);
}

/* No handle is open, or the caller is the only user; sb_buf->lock is held or not needed. */
static void fold(struct store *s, struct ext4_super_block *sb)
{
	uint64_t free_blocks = (uint64_t)atomic_load(&s->blocks_free);
	uint64_t written = atomic_load(&s->bdev->write_bytes) - s->super->bytes_at_mount;

	sb->s_free_blocks_count_lo = cpu_to_le32((uint32_t)free_blocks);
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_64BIT))
		sb->s_free_blocks_count_hi = cpu_to_le32((uint32_t)(free_blocks >> 32));
	sb->s_free_inodes_count = cpu_to_le32((uint32_t)atomic_load(&s->inodes_free));
	sb->s_kbytes_written = cpu_to_le64(s->super->kbytes_at_mount + written / 1024);
	set_wtime(sb);
	super_fold_errors(s, sb);
}

int store_fold_counters(struct store *s, struct handle *h)
{
	struct ext4_super_block *sb = store_sb(s);
	int ret = store_sb_begin(s, h);

	if (ret)
		return ret;
	fold(s, sb);
	store_sb_end(s, h);
	return 0;
}

void store_statfs(struct store *s, struct store_statfs *ret_st)
{
	int64_t blocks_free = atomic_load(&s->blocks_free);
	int64_t inodes_free = atomic_load(&s->inodes_free);
	uint64_t kept = s->reserved_blocks + s->resv_blocks;

	*ret_st = (struct store_statfs){
		.blocks = s->blocks_count - s->overhead_blocks,
		.blocks_free = blocks_free > 0 ? (uint64_t)blocks_free << s->cluster_bits : 0,
		.files = s->inodes_count,
		.files_free = inodes_free > 0 ? (uint64_t)inodes_free : 0,
		.block_size = s->block_size,
		.name_max = EXT4_NAME_LEN,
	};
	if (ret_st->blocks_free > kept)
		ret_st->blocks_avail = ret_st->blocks_free - kept;
}

/* ---- straight to the medium ----------------------------------------------- */

static int write_raw(struct store *s, struct ext4_super_block *sb)
{
	int ret;

	super_set_csum(sb);
	ret = bdev_write(s->bdev, sb, EXT4_SUPER_SIZE, EXT4_SUPER_OFFSET);
	return ret ? ret : bdev_flush(s->bdev);
}

static void set_bits(le32 *field, uint32_t bits, bool on)
{
	*field = cpu_to_le32(on ? le32_to_cpu(*field) | bits : le32_to_cpu(*field) & ~bits);
}

/* What differs between a mounted and an unmounted image. */
static void mount_marks(struct store *s, struct ext4_super_block *sb, bool mounted)
{
	uint16_t state = le16_to_cpu(sb->s_state);

	if (s->super->has_log) {
		set_bits(&sb->s_feature_incompat, EXT4_FEATURE_INCOMPAT_RECOVER, mounted);
	} else if (mounted) {
		state &= (uint16_t)~EXT4_VALID_FS;
	}
	if (!mounted)
		state |= s->super->state_at_mount & EXT4_VALID_FS;
	if (store_has_compat(s, EXT4_FEATURE_COMPAT_ORPHAN_FILE)) {
		bool present = mounted || orphan_file_in_use(s);

		set_bits(&sb->s_feature_ro_compat, EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT, present);
	}
	sb->s_state = cpu_to_le16(state);
}

static void note_ours(struct store *s, const struct ext4_super_block *sb)
{
	s->super->mtime_ours = le32_to_cpu(sb->s_mtime);
	s->super->mnt_count_ours = le16_to_cpu(sb->s_mnt_count);
	s->super->marked = true;
}

int super_mark_mounted(struct store *s)
{
	struct ext4_super_block *sb = store_sb(s);
	bool dynamic = le32_to_cpu(sb->s_rev_level) >= EXT4_DYNAMIC_REV;
	int64_t now = time(NULL);
	int ret;

	s->super->has_log = journal_has_log(s->journal);
	s->super->state_at_mount = le16_to_cpu(sb->s_state);
	s->super->kbytes_at_mount = le64_to_cpu(sb->s_kbytes_written);
	s->super->bytes_at_mount = atomic_load(&s->bdev->write_bytes);
	le16_add(&sb->s_mnt_count, 1);
	sb->s_mtime = cpu_to_le32((uint32_t)now);
	sb->s_mtime_hi = (uint8_t)(now >> 32);
	/*
	 * ext4 sets large_file when the first file outgrows 2 GiB. Doing it now spares
	 * every inode_write() a credit for a bit that every tool has known for decades.
	 */
	if (dynamic) {
		set_bits(&sb->s_feature_ro_compat, EXT4_FEATURE_RO_COMPAT_LARGE_FILE, true);
		atomic_fetch_or(&s->feature_ro_compat, EXT4_FEATURE_RO_COMPAT_LARGE_FILE);
	}
	if (dynamic && s->opts.mountpoint) {
		memset(sb->s_last_mounted, 0, sizeof(sb->s_last_mounted));
		memcpy(sb->s_last_mounted, s->opts.mountpoint,
		       strnlen(s->opts.mountpoint, sizeof(sb->s_last_mounted) - 1));
	}
	set_wtime(sb);
	mount_marks(s, sb, true);
	ret = write_raw(s, sb);
	if (ret)
		return ret;
	note_ours(s, sb);
	return 0;
}

int super_mark_closed(struct store *s)
{
	struct ext4_super_block *sb = store_sb(s);
	int ret;

	if (!s->super->marked)
		return 0;
	ret = super_check_foreign(s);
	if (ret)
		return ret;
	fold(s, sb);
	mount_marks(s, sb, false);
	return write_raw(s, sb);
}

int super_clear_recover(struct store *s)
{
	struct ext4_super_block sb;
	int ret = bdev_read(s->bdev, &sb, sizeof(sb), EXT4_SUPER_OFFSET);

	if (ret)
		return ret;
	set_bits(&sb.s_feature_incompat, EXT4_FEATURE_INCOMPAT_RECOVER, false);
	return write_raw(s, &sb);
}

void super_mark_aborted(struct store *s)
{
	struct ext4_super_block sb;

	if (!s->super->marked || super_check_foreign(s) ||
	    bdev_read(s->bdev, &sb, sizeof(sb), EXT4_SUPER_OFFSET))
		return;
	sb.s_state = cpu_to_le16(le16_to_cpu(sb.s_state) | EXT4_ERROR_FS);
	super_fold_errors(s, &sb);
	(void)write_raw(s,
			&sb); /* the device fails already; the next mount replays and may see it */
}

int super_check_foreign(struct store *s)
{
	struct ext4_super_block sb;
	int ret;

	if (!s->super->marked)
		return 0;
	ret = bdev_read(s->bdev, &sb, sizeof(sb), EXT4_SUPER_OFFSET);
	if (ret)
		return ret;
	if (le16_to_cpu(sb.s_magic) == EXT4_SUPER_MAGIC &&
	    le32_to_cpu(sb.s_mtime) == s->super->mtime_ours &&
	    le16_to_cpu(sb.s_mnt_count) == s->super->mnt_count_ours)
		return 0;
	if (!(atomic_fetch_or(&s->error_state, STORE_ERR_FOREIGN) & STORE_ERR_FOREIGN))
		log_error("the image was mounted or repaired by another program meanwhile: "
			  "now read-only: unmount and run e2fsck -f");
	store_set_readonly(s, "another program wrote to the image");
	return -EROFS;
}

int store_freeze(struct store *s)
{
	struct ext4_super_block *sb = store_sb(s);
	int ret;

	if (!s->super->marked)
		return 0;
	ret = journal_checkpoint_all(s->journal);
	if (ret)
		return ret;
	journal_view_keep(s->journal, s->sb_buf);
	fold(s, sb);
	mount_marks(s, sb, false);
	return write_raw(s, sb);
}

int store_thaw(struct store *s)
{
	if (!s->super->marked)
		return 0;
	journal_view_keep(s->journal, s->sb_buf);
	mount_marks(s, store_sb(s), true);
	return write_raw(s, store_sb(s));
}
