// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories: finding, adding, removing and replacing names, whatever the layout:
 * inline (dir_inline.c), a row of blocks, or indexed (htree.c).
 *
 * Invariants
 * (1) "." and ".." are the first two entries of block 0, in this order.
 * (2) "-ENOENT" means that every block that may hold the name was read and sound. When
 *     one was not, the answer is the error: a wrong "absent" would let a second entry of
 *     that name be made.
 * (3) An index that cannot be trusted is not changed. Names are then found by reading
 *     all blocks, can be removed and replaced, but not added.
 *
 * Directories with case folding are read by exact name, without their index (its hash
 * is of the folded name), and not changed. Encrypted ones are refused (-ENOKEY).
 */
#include "daemon/store/dir.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/store/htree.h"

uint8_t ftype_from_mode(uint16_t mode)
{
	switch (mode & EXT4_S_IFMT) {
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

uint32_t ftype_to_dtype(uint8_t ftype)
{
	static const uint8_t dtype[EXT4_FT_MAX] = {
		[EXT4_FT_UNKNOWN] = DT_UNKNOWN, [EXT4_FT_REG_FILE] = DT_REG,
		[EXT4_FT_DIR] = DT_DIR,		[EXT4_FT_CHRDEV] = DT_CHR,
		[EXT4_FT_BLKDEV] = DT_BLK,	[EXT4_FT_FIFO] = DT_FIFO,
		[EXT4_FT_SOCK] = DT_SOCK,	[EXT4_FT_SYMLINK] = DT_LNK,
	};

	return ftype < EXT4_FT_MAX ? dtype[ftype] : DT_UNKNOWN;
}

static int check_readable(const struct inode *dir)
{
	if (!inode_is_dir(dir))
		return -ENOTDIR;
	return dir->flags & EXT4_ENCRYPT_FL ? -ENOKEY : 0;
}

static int check_changeable(const struct inode *dir)
{
	int err = check_readable(dir);

	CHECK(rwlock_is_write_locked(&dir->lock));
	if (err == 0 && (dir->flags & EXT4_CASEFOLD_FL))
		err = -EROFS;
	return err;
}

static bool name_ok(const struct dir_name *n)
{
	return n->len >= 1 && n->len <= NAME_LEN_MAX;
}

/* Read all blocks in order. */
static int scan_locate(struct inode *dir, const struct dir_name *name, struct dir_slot *slot)
{
	struct dir_scan scan;
	int err = dir_scan_init(&scan, dir, 0);

	if (err)
		return err;
	while (dir_scan_next(&scan, &slot->lblk, &slot->buf)) {
		struct dir_area a = dir_block_area(dir, slot->lblk, slot->buf);

		err = dir_area_find(&a, name, &slot->pos);
		if (err == 0)
			return 0;
		if (err == -EUCLEAN && scan.error == 0)
			scan.error = dir_block_broken(dir, slot->buf);
		buf_put(slot->buf);
	}
	return scan.error ? scan.error : -ENOENT;
}

/* The entry of @name in a directory of blocks; the slot's buffer is pinned. */
static int locate(struct inode *dir, const struct dir_name *name, struct dir_slot *slot)
{
	bool index_bad;
	int err;

	if (name_is_dots(name)) {
		struct dir_area a;

		err = dir_block_read(dir, 0, DIR_ANY, &slot->buf);
		if (err)
			return err;
		slot->lblk = 0;
		a = dir_block_area(dir, 0, slot->buf);
		err = dir_area_find(&a, name, &slot->pos);
		if (err)
			buf_put(slot->buf);
		return err;
	}
	if (!dir_is_indexed(dir) || (dir->flags & EXT4_CASEFOLD_FL))
		return scan_locate(dir, name, slot);
	err = htree_locate(dir, name, slot, &index_bad);
	if (index_bad && (err == -EUCLEAN || err == -EBADMSG)) {
		int found = scan_locate(dir, name, slot);

		/* Absent from sound leaves, but the index hides which leaves there should be. */
		return found == -ENOENT ? err : found;
	}
	return err;
}

static struct ext4_dir_entry_2 *slot_entry(const struct dir_slot *slot)
{
	return (struct ext4_dir_entry_2 *)(slot->buf->data + slot->pos.off);
}

int dir_lookup(struct inode *dir, const struct dir_name *name, uint32_t *ret_ino,
	       uint8_t *ret_ftype)
{
	const struct ext4_dir_entry_2 *de;
	struct dir_slot slot;
	uint32_t ino;
	int err = check_readable(dir);

	if (err)
		return err;
	if (!name_ok(name))
		return name->len ? -ENAMETOOLONG : -ENOENT;
	if (dir_is_inline(dir)) {
		struct dir_target t;

		err = dir_inline_find(dir, name, &t);
		if (err == 0) {
			*ret_ino = t.ino;
			*ret_ftype = t.ftype;
		}
		return err;
	}
	err = locate(dir, name, &slot);
	if (err)
		return err;
	de = slot_entry(&slot);
	ino = le32_to_cpu(de->inode);
	if (ino > dir->store->inodes_count) {
		err = dir_block_broken(dir, slot.buf);
	} else {
		*ret_ino = ino;
		*ret_ftype = dirent_ftype(dir->store, de);
	}
	buf_put(slot.buf);
	return err;
}

static int add_to_block(struct handle *h, struct inode *dir, struct buf *b,
			const struct dir_area *a, const struct dir_name *name,
			const struct dir_target *t)
{
	uint32_t off;
	int err = dir_area_find_room(a, name, &off);

	if (err == 0)
		err = journal_get_write(h, b);
	if (err)
		return err;
	dir_leaf_seal(h, dir, b, off, dir_area_put(a, off, name, t));
	return 0;
}

/*
 * Add where there is room, from the hint on: blocks before it were found full and had
 * no name removed since. -ENOSPC when no block has room; a bad block is passed over.
 */
static int add_linear(struct handle *h, struct inode *dir, const struct dir_name *name,
		      const struct dir_target *t)
{
	struct dir_scan scan;
	struct buf *b;
	uint32_t lblk;
	int err = dir_scan_init(&scan, dir, 0);

	if (err)
		return err;
	if (dir->dir_hint < scan.count)
		scan.lblk = dir->dir_hint;
	while (dir_scan_next(&scan, &lblk, &b)) {
		struct dir_area a = dir_block_area(dir, lblk, b);

		err = add_to_block(h, dir, b, &a, name, t);
		if (err == -EUCLEAN)
			(void)dir_block_broken(dir, b); /* reported; another block will do */
		buf_put(b);
		if (err != -ENOSPC && err != -EUCLEAN) {
			dir->dir_hint = lblk;
			return err;
		}
	}
	return -ENOSPC;
}

static int add_in_new_block(struct handle *h, struct inode *dir, const struct dir_name *name,
			    const struct dir_target *t)
{
	struct dir_area a;
	struct buf *b;
	uint32_t lblk;
	int err = dir_append(h, dir, &lblk, &b);

	if (err)
		return err;
	a = dir_leaf_init(dir, b);
	(void)dir_area_put(&a, a.start, name, t);
	dir_leaf_seal(h, dir, b, 0, dir->store->block_size);
	buf_put(b);
	dir->dir_hint = lblk;
	return 0;
}

static int add_to_blocks(struct handle *h, struct inode *dir, const struct dir_name *name,
			 const struct dir_target *t)
{
	struct store *s = dir->store;
	uint8_t version;
	uint32_t count;
	int err;

	if (dir_is_indexed(dir))
		return htree_add(h, dir, name, t);
	/* The flag of an index that the superblock says is not kept: it would go stale now. */
	dir->flags &= ~EXT4_INDEX_FL;
	err = dir_block_count(dir, &count);
	if (err == 0)
		err = add_linear(h, dir, name, t);
	if (err != -ENOSPC)
		return err;
	if (count == 1 && store_has_compat(s, EXT4_FEATURE_COMPAT_DIR_INDEX) &&
	    htree_default_version(s, &version)) {
		err = htree_make(h, dir);
		return err ? err : htree_add(h, dir, name, t);
	}
	return add_in_new_block(h, dir, name, t);
}

/*
 * Room may run out between two steps of growing, each of which was whole: the image's
 * inode must map the blocks that the steps done have made part of the directory.
 */
static int settle(struct handle *h, struct inode *dir, int error)
{
	if (error && error != -EEXIST)
		(void)inode_write_data(h, dir); /* a second failure is that of an aborted journal */
	return error;
}

int dir_add(struct handle *h, struct inode *dir, const struct dir_name *name, uint32_t ino,
	    uint8_t ftype)
{
	struct dir_target t = { .ino = ino, .ftype = dir_ftype_stored(dir->store, ftype) };
	int err = check_changeable(dir);

	CHECK(ino != 0 && ino <= dir->store->inodes_count);
	if (err)
		return err;
	if (!name_ok(name))
		return -ENAMETOOLONG;
	if (name_is_dots(name))
		return -EEXIST;
	if (dir_is_inline(dir)) {
		err = dir_inline_add(h, dir, name, &t);
		if (err != -ENOSPC)
			return err;
		err = dir_inline_convert(h, dir);
		if (err)
			return err;
	}
	return settle(h, dir, add_to_blocks(h, dir, name, &t));
}

int dir_remove(struct handle *h, struct inode *dir, const struct dir_name *name)
{
	struct dir_slot slot;
	struct dir_area a;
	uint32_t from;
	int err = check_changeable(dir);

	if (err)
		return err;
	if (!name_ok(name))
		return -ENOENT;
	if (name_is_dots(name))
		return -EINVAL;
	if (dir_is_inline(dir))
		return dir_inline_remove(h, dir, name);
	err = locate(dir, name, &slot);
	if (err)
		return err;
	err = journal_get_write(h, slot.buf);
	if (err == 0) {
		a = dir_block_area(dir, slot.lblk, slot.buf);
		dir_area_delete(&a, &slot.pos);
		from = slot.pos.prev == DIRENT_NO_PREV ? slot.pos.off : slot.pos.prev;
		dir_leaf_seal(h, dir, slot.buf, from,
			      slot.pos.off + EXT4_DIR_REC_LEN(name->len) - from);
		if (!dir_is_indexed(dir) && slot.lblk < dir->dir_hint)
			dir->dir_hint = slot.lblk;
	}
	buf_put(slot.buf);
	return err;
}

/* Point the entry in @slot elsewhere; block 0 of an indexed directory is an index block. */
static int slot_retarget(struct handle *h, struct inode *dir, const struct dir_slot *slot,
			 const struct dir_target *t)
{
	struct ext4_dir_entry_2 *de = slot_entry(slot);
	int err = journal_get_write(h, slot->buf);

	if (err)
		return err;
	de->inode = cpu_to_le32(t->ino);
	de->file_type = t->ftype;
	if (slot->lblk == 0 && dir_is_indexed(dir))
		dir_index_seal(h, dir, 0, slot->buf);
	else
		dir_leaf_seal(h, dir, slot->buf, slot->pos.off, sizeof(*de));
	return 0;
}

int dir_replace(struct handle *h, struct inode *dir, const struct dir_name *name, uint32_t ino,
		uint8_t ftype)
{
	struct dir_target t = { .ino = ino, .ftype = dir_ftype_stored(dir->store, ftype) };
	struct dir_slot slot;
	int err = check_changeable(dir);

	CHECK(ino != 0 && ino <= dir->store->inodes_count);
	if (err)
		return err;
	if (!name_ok(name))
		return -ENOENT;
	if (name_is_dots(name))
		return -EINVAL;
	if (dir_is_inline(dir))
		return dir_inline_replace(h, dir, name, &t);
	err = locate(dir, name, &slot);
	if (err)
		return err;
	err = slot_retarget(h, dir, &slot, &t);
	buf_put(slot.buf);
	return err;
}

int dir_init(struct handle *h, struct inode *dir, uint32_t parent_ino)
{
	struct dir_area a;
	struct buf *b;
	uint32_t lblk;
	int err;

	if (store_has_incompat(dir->store, EXT4_FEATURE_INCOMPAT_INLINE_DATA)) {
		err = dir_is_inline(dir) ? 0 : inline_init(h, dir);
		if (err == 0)
			err = dir_inline_init(h, dir, parent_ino);
		if (err == 0)
			dir->links_parent = parent_ino;
		if (err != -ENOSPC)
			return err;
	}
	dir->flags &= ~EXT4_INLINE_DATA_FL;
	map_init(dir);
	dir->size = 0;
	err = dir_append(h, dir, &lblk, &b);
	if (err)
		return err;
	a = dir_leaf_init(dir, b);
	dir_area_put_dots(dir->store, &a, dir->ino, parent_ino);
	dir_leaf_seal(h, dir, b, 0, dir->store->block_size);
	buf_put(b);
	dir->links_parent = parent_ino;
	return 0;
}

static int locate_parent(struct inode *dir, struct dir_slot *slot)
{
	int err = locate(dir, &(struct dir_name){ "..", 2 }, slot);

	if (err == -ENOENT)
		err = store_corrupt(dir->store, dir->ino, 0, "directory: no '..'");
	return err;
}

int dir_parent(struct inode *dir, uint32_t *ret_ino)
{
	struct dir_slot slot;
	uint32_t ino;
	int err = check_readable(dir);

	if (err == -ENOKEY)
		err = 0; /* ".." is not encrypted */
	if (err)
		return err;
	if (dir->links_parent) {
		*ret_ino = dir->links_parent;
		return 0;
	}
	if (dir_is_inline(dir))
		return dir_inline_parent(dir, ret_ino);
	err = locate_parent(dir, &slot);
	if (err)
		return err;
	ino = le32_to_cpu(slot_entry(&slot)->inode);
	buf_put(slot.buf);
	if (ino > dir->store->inodes_count)
		return store_corrupt(dir->store, dir->ino, 0, "directory: '..' out of range");
	*ret_ino = ino;
	return 0;
}

int dir_set_parent(struct handle *h, struct inode *dir, uint32_t parent_ino)
{
	struct dir_target t = { .ino = parent_ino,
				.ftype = dir_ftype_stored(dir->store, EXT4_FT_DIR) };
	struct dir_slot slot;
	int err = check_changeable(dir);

	if (err)
		return err;
	if (dir_is_inline(dir)) {
		dir_inline_set_parent(dir, parent_ino);
	} else {
		err = locate_parent(dir, &slot);
		if (err)
			return err;
		err = slot_retarget(h, dir, &slot, &t);
		buf_put(slot.buf);
		if (err)
			return err;
	}
	dir->links_parent = parent_ino;
	return 0;
}

static bool area_has_names(const struct dir_area *a)
{
	for (uint32_t off = a->start; off < a->end;) {
		const struct ext4_dir_entry_2 *de = dirent_at(a, off);

		if (!de)
			return true;
		if (de->inode.raw && !dirent_is_dots(de))
			return true;
		off += dirent_rec_len(de);
	}
	return false;
}

int dir_is_empty(struct inode *dir, bool *ret_empty)
{
	struct dir_scan scan;
	struct buf *b;
	uint32_t lblk;
	int err;

	if (!inode_is_dir(dir))
		return -ENOTDIR;
	if (dir_is_inline(dir))
		return dir_inline_empty(dir, ret_empty);
	err = dir_scan_init(&scan, dir, 0);
	if (err)
		return err;
	while (dir_scan_next(&scan, &lblk, &b)) {
		struct dir_area a = dir_block_area(dir, lblk, b);
		bool found = area_has_names(&a);

		buf_put(b);
		if (found) {
			*ret_empty = false;
			return 0;
		}
	}
	if (scan.error)
		return scan.error;
	*ret_empty = true;
	return 0;
}
