// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pass 1: every inode of every table.
 */
#include <errno.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/check/check_priv.h"
#include "daemon/store/inode_disk.h"
#include "daemon/store/super.h"

#define MODE_TYPE(mode) ((mode)&EXT4_S_IFMT)

void ck_ino_decode(const struct ck *c, uint32_t ino, uint8_t *raw, struct ck_ino *ret_i)
{
	const struct store *s = c->s;
	const struct ext4_inode *d = (const void *)raw;
	le32 number = cpu_to_le32(ino);
	uint64_t blocks = le32_to_cpu(d->i_blocks_lo);

	*ret_i = (struct ck_ino){ .ino = ino,
				  .raw = raw,
				  .d = d,
				  .mode = le16_to_cpu(d->i_mode),
				  .links = le16_to_cpu(d->i_links_count),
				  .flags = le32_to_cpu(d->i_flags),
				  .size = le32_to_cpu(d->i_size_lo),
				  .file_acl = le32_to_cpu(d->i_file_acl_lo) };
	ret_i->seed = crc32c(crc32c(s->csum_seed, &number, sizeof(number)), &d->i_generation,
			     sizeof(d->i_generation));
	if (s->inode_size > EXT4_GOOD_OLD_INODE_SIZE)
		ret_i->extra = le16_to_cpu(d->i_extra_isize);
	if (MODE_TYPE(ret_i->mode) == EXT4_S_IFREG ||
	    store_has_incompat(s, EXT4_FEATURE_INCOMPAT_LARGEDIR))
		ret_i->size |= (uint64_t)le32_to_cpu(d->i_size_high) << 32;
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_64BIT))
		ret_i->file_acl |= (uint64_t)le16_to_cpu(d->i_file_acl_hi) << 32;
	if (store_has_ro_compat(s, EXT4_FEATURE_RO_COMPAT_HUGE_FILE)) {
		blocks |= (uint64_t)le16_to_cpu(d->i_blocks_hi) << 32;
		if (ret_i->flags & EXT4_HUGE_FILE_FL)
			blocks <<= s->block_bits - 9;
	}
	ret_i->sectors = blocks;
}

int ck_ino_read(struct ck *c, uint32_t ino, uint8_t *raw, struct ck_ino *ret_i)
{
	struct inode_slot slot = inode_slot_of(c->s, ino);
	_cleanup_free_ uint8_t *block = malloc(c->s->block_size);
	int ret;

	if (!block)
		return -ENOMEM;
	ret = ck_read(c, slot.pblk, 1, block);
	if (ret)
		return ret;
	memcpy(raw, block + slot.off, c->s->inode_size);
	ck_ino_decode(c, ino, raw, ret_i);
	return 0;
}

int ck_bad(struct ck *c, uint32_t ino, uint32_t what)
{
	struct ck_ref *ref;
	int ret = ck_ref_add(&c->bad, ino, &ref);

	if (!ret) {
		ref->stored |= what;
		ck_state(c, ino)->flags |= CI_BAD;
	}
	return ret;
}

bool ck_has_map(const struct ck *c, const struct ck_ino *i)
{
	uint64_t acl = i->file_acl ? c->s->block_size / 512 << c->s->cluster_bits : 0;

	if (i->flags & EXT4_INLINE_DATA_FL)
		return false;
	switch (MODE_TYPE(i->mode)) {
	case EXT4_S_IFREG:
	case EXT4_S_IFDIR: return true;
	case EXT4_S_IFLNK: return i->sectors > acl || i->size >= EXT4_N_BLOCKS_BYTES;
	default:
		/* Bad blocks have no mode, nor had resize inodes of old. */
		return i->mode == 0 && i->ino < c->s->first_ino &&
		       (i->ino == EXT4_BAD_INO || i->ino == EXT4_RESIZE_INO);
	}
}

/* ---- the walk over the tables --------------------------------------------- */

static bool all_zero(const uint8_t *p, uint32_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static uint32_t inodes_to_see(const struct ck *c, uint32_t g)
{
	const struct ck_group *grp = &c->groups[g];
	uint32_t all = c->s->inodes_per_group;

	if (!c->s->has_csum && !c->s->has_gdt_csum)
		return all;
	if (grp->flags & EXT4_BG_INODE_UNINIT)
		return 0;
	return all - MIN(grp->unused, all);
}

static bool has_dir(const struct ck *c, uint32_t first, uint32_t count)
{
	uint32_t k;

	for (k = 0; k < count; k++) {
		const struct ck_state *st = ck_state(c, first + k);

		if (st && (st->flags & (CI_DIR | CI_BAD)))
			return true;
	}
	return false;
}

/* The inodes of @count blocks of group @g's table, from block @at on. */
static int each_in_run(struct ck *c, uint32_t g, uint32_t at, uint32_t count, uint32_t see,
		       int (*fn)(struct ck *c, const struct ck_ino *i))
{
	struct store *s = c->s;
	uint32_t per = s->inodes_per_block, k;
	uint64_t pblk = c->groups[g].inode_table + at;
	int ret = ck_read(c, pblk, count, c->itable);

	for (k = 0; k < count * per && at * per + k < see && !ret; k++) {
		uint8_t *raw = c->itable + ((size_t)(k / per) << s->block_bits) +
			       (size_t)(k % per) * s->inode_size;
		uint32_t ino = g * s->inodes_per_group + at * per + k + 1;
		struct ck_ino i;

		if (ino >= s->first_ino && all_zero(raw, EXT4_GOOD_OLD_INODE_SIZE))
			continue;
		ck_ino_decode(c, ino, raw, &i);
		ret = fn(c, &i);
	}
	for (k = 0; k < count && !ret; k++) {
		if (!has_dir(c, g * s->inodes_per_group + (at + k) * per + 1, per))
			ck_done(c, pblk + k, 1);
	}
	return ret;
}

int ck_each_inode(struct ck *c, uint32_t pass, int (*fn)(struct ck *c, const struct ck_ino *i))
{
	uint32_t g, at;
	int ret = 0;

	for (g = 0; g < c->s->group_count && !ret; g++) {
		uint32_t see = inodes_to_see(c, g);
		uint32_t blocks = DIV_ROUND_UP(see, c->s->inodes_per_block);

		for (at = 0; at < blocks && !ret; at += CK_READ_BLOCKS) {
			ret = ck_tick(c, pass, g, c->s->group_count);
			if (!ret)
				ret = each_in_run(c, g, at, MIN(blocks - at, CK_READ_BLOCKS), see,
						  fn);
		}
	}
	return ret;
}

/* ---- one inode ------------------------------------------------------------ */

static int mark_run(struct ck_walk *w, const struct ck_run *run)
{
	return ck_mark(w->c, run);
}

static int mark_node(struct ck_walk *w, const struct ck_run *run)
{
	int ret = ck_mark(w->c, run);

	/* Directories are walked again. */
	if (MODE_TYPE(w->i->mode) != EXT4_S_IFDIR)
		ck_done(w->c, run->pblk, 1);
	return ret;
}

static void check_size(struct ck *c, const struct ck_ino *i, const struct ck_walk *w)
{
	uint32_t bs = c->s->block_size;
	uint64_t need = (uint64_t)(w->last + 1) * bs;
	bool wrong;

	if (MODE_TYPE(i->mode) == EXT4_S_IFDIR) {
		wrong = i->size != need;
	} else {
		/* Unwritten blocks may lie beyond the end; written ones may not. */
		need = (uint64_t)(w->last_written + 1) * bs;
		wrong = w->last_written >= 0 && i->size < (uint64_t)w->last_written * bs &&
			!(i->flags & EXT4_VERITY_FL);
	}
	if (wrong && MODE_TYPE(i->mode) != EXT4_S_IFLNK)
		ck_find(c, "i_size", i->ino, 0, "Inode %u, i_size is %llu, should be %llu.", i->ino,
			(unsigned long long)i->size, (unsigned long long)need);
}

/*
 * Without a journal there is no list of orphans: nothing on the medium tells a deleted
 * file that is open, or one in the middle of a truncation, from what a crash left.
 */
static bool no_orphans_kept(const struct ck *c)
{
	return !journal_has_log(c->s->journal) && !atomic_load(&c->s->readonly);
}

static int check_map(struct ck *c, const struct ck_ino *i, struct ck_state *st)
{
	struct ck_walk w = { .c = c, .i = i, .run = mark_run, .node = mark_node };
	uint64_t sectors = c->s->block_size / 512, want = 0;
	bool orphan = st->flags & CI_ORPHAN;
	int ret = 0;

	if (ck_has_map(c, i)) {
		ret = ck_walk_map(&w);
		if (w.broken)
			st->flags |= CI_NOMAP;
		want = w.blocks * sectors;
		if (!ret && !w.broken && !orphan && !no_orphans_kept(c) &&
		    (i->ino >= c->s->first_ino || i->ino == EXT4_ROOT_INO))
			check_size(c, i, &w);
	}
	if (i->file_acl && ck_pblk_ok(c, i->file_acl, 1))
		want += sectors << c->s->cluster_bits;
	if (!ret && want != i->sectors)
		ck_find(c, "i_blocks", i->ino, 0, "Inode %u, i_blocks is %llu, should be %llu.",
			i->ino, (unsigned long long)i->sectors, (unsigned long long)want);
	return ret;
}

static void check_flags(struct ck *c, const struct ck_ino *i)
{
	const struct store *s = c->s;
	bool dir = MODE_TYPE(i->mode) == EXT4_S_IFDIR;

	if ((i->flags & EXT4_EXTENTS_FL) && !store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EXTENTS))
		ck_find(c, "extent_flag", i->ino, 0,
			"Inode %u is in extent format, but superblock is missing EXTENTS feature",
			i->ino);
	if ((i->flags & EXT4_INLINE_DATA_FL) &&
	    !store_has_incompat(s, EXT4_FEATURE_INCOMPAT_INLINE_DATA))
		ck_find(c, "inline_flag", i->ino, 0,
			"Inode %u has INLINE_DATA_FL flag on filesystem without inline data "
			"support.",
			i->ino);
	if ((i->flags & EXT4_INDEX_FL) && !store_has_compat(s, EXT4_FEATURE_COMPAT_DIR_INDEX))
		ck_find(c, "index_flag", i->ino, 0,
			"Inode %u has INDEX_FL flag set on filesystem without htree support.",
			i->ino);
	else if ((i->flags & EXT4_INDEX_FL) && !dir)
		ck_find(c, "index_flag", i->ino, 0,
			"Inode %u has INDEX_FL flag set but is not a directory.", i->ino);
	if (s->inode_size > EXT4_GOOD_OLD_INODE_SIZE && i->extra &&
	    (i->extra < 4 || i->extra > s->inode_size - EXT4_GOOD_OLD_INODE_SIZE || i->extra % 4))
		ck_find(c, "extra_isize", i->ino, 0,
			"Inode %u has a extra size (%u) which is invalid", i->ino, i->extra);
}

static void check_special(struct ck *c, const struct ck_ino *i)
{
	if (i->size)
		ck_find(c, "special_size", i->ino, 0,
			"Special (device/socket/fifo) inode %u has non-zero size.", i->ino);
	if (i->flags & (EXT4_IMMUTABLE_FL | EXT4_APPEND_FL))
		ck_find(c, "special_flags", i->ino, 0,
			"Special (device/socket/fifo/symlink) file (inode %u) has immutable or "
			"append-only flag set.",
			i->ino);
	if (i->flags & (EXT4_EXTENTS_FL | EXT4_INLINE_DATA_FL))
		ck_find(c, "special_flags", i->ino, 0,
			"Special (device/socket/fifo) file (inode %u) has extents or inline-data "
			"flag set.",
			i->ino);
}

static int first_run(struct ck_walk *w, const struct ck_run *run)
{
	if (run->lblk == 0)
		*(uint64_t *)w->arg = run->pblk;
	return 0;
}

/* Is the target as long as i_size says? */
static int check_symlink(struct ck *c, const struct ck_ino *i)
{
	uint64_t pblk = 0;
	struct ck_walk w = { .c = c, .i = i, .quiet = true, .run = first_run, .arg = &pblk };
	const char *text = (const char *)i->d->i_block;
	uint32_t room = EXT4_N_BLOCKS_BYTES;
	bool bad = i->size == 0 || i->size > c->s->block_size;
	int ret = 0;

	if (i->flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL))
		return 0;
	if (ck_has_map(c, i)) {
		ret = ck_walk_map(&w);
		if (!ret && pblk)
			ret = ck_read(c, pblk, 1, c->attr);
		if (ret)
			return ret;
		bad = bad || !pblk || w.broken;
		ck_done(c, pblk, pblk != 0);
		text = (const char *)c->attr;
		room = c->s->block_size;
	} else if (i->flags & EXT4_EXTENTS_FL) {
		ck_find(c, "extent_flag", i->ino, 0, "Fast symlink %u has EXTENT_FL set.", i->ino);
	}
	if (bad || strnlen(text, room) != i->size)
		return ck_bad(c, i->ino, CB_SYMLINK);
	return 0;
}

static uint8_t type_of(uint16_t mode)
{
	switch (MODE_TYPE(mode)) {
	case EXT4_S_IFREG: return EXT4_FT_REG_FILE;
	case EXT4_S_IFDIR: return EXT4_FT_DIR;
	case EXT4_S_IFCHR: return EXT4_FT_CHRDEV;
	case EXT4_S_IFBLK: return EXT4_FT_BLKDEV;
	case EXT4_S_IFIFO: return EXT4_FT_FIFO;
	case EXT4_S_IFSOCK: return EXT4_FT_SOCK;
	case EXT4_S_IFLNK: return EXT4_FT_SYMLINK;
	default: return EXT4_FT_UNKNOWN;
	}
}

static int check_type(struct ck *c, const struct ck_ino *i, const struct ck_state *st)
{
	switch (st->ftype) {
	case EXT4_FT_DIR:
	case EXT4_FT_REG_FILE: return 0;
	case EXT4_FT_SYMLINK: return check_symlink(c, i);
	case EXT4_FT_UNKNOWN: return ck_bad(c, i->ino, CB_MODE);
	default: check_special(c, i); return 0;
	}
}

static int check_inline(struct ck *c, const struct ck_ino *i, int64_t tail)
{
	uint64_t room = EXT4_MIN_INLINE_DATA_SIZE + (tail > 0 ? (uint64_t)tail : 0);

	if (!(i->flags & EXT4_INLINE_DATA_FL) || (i->flags & EXT4_EXTENTS_FL))
		return 0;
	if (tail < 0)
		ck_find(c, "inline_flag", i->ino, 0,
			"Inode %u has INLINE_DATA_FL flag but extended attribute not found.",
			i->ino);
	else if (i->size > room)
		ck_find(c, "i_size", i->ino, 0, "Inode %u, i_size is %llu, should be %llu.", i->ino,
			(unsigned long long)i->size, (unsigned long long)room);
	return 0;
}

static int note_ea(struct ck *c, const struct ck_ino *i)
{
	struct ck_ref *ref;
	int ret = ck_ref_add(&c->eas, i->ino, &ref);

	if (!ret)
		ref->stored = le32_to_cpu(i->d->i_version_lo);
	return ret;
}

static void check_csum(struct ck *c, const struct ck_ino *i)
{
	if (all_zero(i->raw, c->s->inode_size) || !inode_disk_check_csum(c->s, i->ino, i->raw))
		return;
	ck_find(c, "inode_checksum", i->ino, 0,
		"Inode %u passes checks, but checksum does not match inode.", i->ino);
}

/* Everything that e2fsck looks at in an inode with a name. */
static int check_used(struct ck *c, const struct ck_ino *i, struct ck_state *st)
{
	int64_t tail;
	int ret;

	check_csum(c, i);
	check_flags(c, i);
	if (i->flags & EXT4_EA_INODE_FL) {
		st->flags |= CI_EA;
		ret = note_ea(c, i);
		if (ret)
			return ret;
	}
	if (i->file_acl && !ck_pblk_ok(c, i->file_acl, 1)) {
		ret = ck_bad(c, i->ino, CB_FILE_ACL);
		if (ret)
			return ret;
	}
	ret = check_type(c, i, st);
	if (!ret)
		ret = check_map(c, i, st);
	if (!ret)
		ret = ck_xattrs(c, i, &tail);
	return ret ? ret : check_inline(c, i, tail);
}

/* ---- reserved inodes ------------------------------------------------------ */

static const char *reserved_name(uint32_t ino)
{
	static const char *const names[] = { "<The NULL inode>",
					     "<The bad blocks inode>",
					     "/",
					     "<The user quota inode>",
					     "<The group quota inode>",
					     "<The boot loader inode>",
					     "<The undelete directory inode>",
					     "<The group descriptor inode>",
					     "<The journal inode>",
					     "<Reserved inode 9>",
					     "<Reserved inode 10>" };

	return ino < ARRAY_SIZE(names) ? names[ino] : "???";
}

static bool is_system_file(const struct ck *c, uint32_t ino)
{
	const struct ext4_super_block *sb = &c->sb;

	return (c->s->journal_ino && ino == c->s->journal_ino) ||
	       (c->s->orphan_file_ino && ino == c->s->orphan_file_ino) ||
	       (store_has_ro_compat(c->s, EXT4_FEATURE_RO_COMPAT_QUOTA) &&
		(ino == le32_to_cpu(sb->s_usr_quota_inum) ||
		 ino == le32_to_cpu(sb->s_grp_quota_inum) ||
		 ino == le32_to_cpu(sb->s_prj_quota_inum)));
}

static void check_reserved_mode(struct ck *c, const struct ck_ino *i)
{
	bool reg = MODE_TYPE(i->mode) == EXT4_S_IFREG;

	if (c->s->journal_ino && i->ino == c->s->journal_ino) {
		if (!reg)
			ck_find(c, "journal_mode", i->ino, 0, "Journal is not regular file.");
	} else if (is_system_file(c, i->ino)) {
		if (!reg)
			ck_find(c, "quota_mode", i->ino, 0, "Quota inode is not a regular file.");
	} else if (i->ino == EXT4_BAD_INO) {
		return;
	} else if (i->ino == EXT4_BOOT_LOADER_INO ? MODE_TYPE(i->mode) == EXT4_S_IFDIR :
		   i->ino == EXT4_RESIZE_INO	  ? i->mode && !reg :
						    i->mode != 0) {
		ck_find(c, "reserved_mode", i->ino, 0, "Reserved inode %u (%s) has invalid mode.",
			i->ino, reserved_name(i->ino));
	}
}

/* The resize inode's pointers lead to blocks that are fixed metadata already: only its own block counts. */
static int resize_run(struct ck_walk *w, const struct ck_run *run)
{
	if (ck_is_fixed(w->c, run->pblk))
		return 0;
	return ck_mark(w->c, run);
}

static int check_resize(struct ck *c, const struct ck_ino *i)
{
	struct ck_walk w = { .c = c, .i = i, .run = resize_run, .node = resize_run };
	uint64_t want;
	int ret = ck_walk_map(&w);

	want = w.blocks * (c->s->block_size / 512);
	if (!ret && !w.broken && want != i->sectors)
		ck_find(c, "i_blocks", i->ino, 0, "Inode %u, i_blocks is %llu, should be %llu.",
			i->ino, (unsigned long long)i->sectors, (unsigned long long)want);
	return ret;
}

static int check_reserved(struct ck *c, const struct ck_ino *i)
{
	struct ck_state *st;
	int ret = ck_alloc_group(c, (i->ino - 1) / c->s->inodes_per_group);

	if (ret)
		return ret;
	st = ck_state(c, i->ino);
	st->flags |= CI_USED | CI_SYSTEM;
	st->ftype = type_of(i->mode);
	st->links = i->links;
	check_csum(c, i);
	check_reserved_mode(c, i);
	if (i->ino == EXT4_RESIZE_INO && i->links)
		return check_resize(c, i);
	return i->links || i->ino == EXT4_BAD_INO ? check_map(c, i, st) : 0;
}

/* ---- the pass ------------------------------------------------------------- */

static int check_inode(struct ck *c, const struct ck_ino *i)
{
	const struct ck_state *known = ck_state(c, i->ino);
	bool orphan = known && (known->flags & CI_ORPHAN);
	struct ck_state *st;
	int ret;

	if (i->ino < c->s->first_ino && i->ino != EXT4_ROOT_INO)
		return check_reserved(c, i);
	if (i->links == 0 && i->mode && !le32_to_cpu(i->d->i_dtime) && no_orphans_kept(c)) {
		ret = ck_orphan(c, i->ino);
		if (ret)
			return ret;
		orphan = true;
	}
	if (i->links == 0 && !orphan) {
		if (i->mode && !le32_to_cpu(i->d->i_dtime))
			ck_find(c, "zero_dtime", i->ino, 0, "Deleted inode %u has zero dtime.",
				i->ino);
		return 0;
	}
	ret = ck_alloc_group(c, (i->ino - 1) / c->s->inodes_per_group);
	if (ret)
		return ret;
	st = ck_state(c, i->ino);
	st->flags |= CI_USED | (is_system_file(c, i->ino) ? CI_SYSTEM : 0);
	st->ftype = type_of(i->mode);
	st->links = i->links;
	if (i->size == 0 && i->sectors == 0)
		st->flags |= CI_EMPTY;
	if (le32_to_cpu(i->d->i_dtime) && !orphan)
		ck_find(c, "dtime_set", i->ino, 0, "Inode %u is in use, but has dtime set.",
			i->ino);
	if (i->ino == EXT4_ROOT_INO && st->ftype != EXT4_FT_DIR)
		ck_find(c, "root", i->ino, 0, "Root inode is not a directory.");
	if (st->ftype == EXT4_FT_DIR) {
		st->flags |= CI_DIR;
		ret = ck_dir_add(c, i->ino);
	}
	return ret ? ret : check_used(c, i, st);
}

int ck_pass1(struct ck *c)
{
	return ck_each_inode(c, 1, check_inode);
}
