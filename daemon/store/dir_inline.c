// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories inside their inode (inline_data): i_block holds the number of the parent
 * and 56 bytes of entries, the value system.data, if not empty, a second chain. "." and
 * ".." have no entries.
 *
 * Invariants
 * (1) Both chains are sound on their own; no entry crosses from one to the other.
 * (2) The size is 60 plus the length of system.data.
 * (3) Converting keeps each entry at its place behind "." and ".." (dir_inline_expand()),
 *     so a listing by position goes on where it was.
 *
 * Fails with -EUCLEAN (reported) on a broken chain, -ENOSPC when the inode is full.
 */
#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/store/dir_block.h"
#include "daemon/store/xattr_ibody.h"

#define PARENT_LEN ((uint32_t)sizeof(le32))
#define DOTS_LEN (EXT4_DIR_REC_LEN(1) + EXT4_DIR_REC_LEN(2))

/* i_block's chain in place and a copy of system.data's. */
struct inline_dir {
	struct dir_area head, tail; /* tail.base is malloc'd; empty: end 0 */
};

static void inline_unload(struct inline_dir *d)
{
	free(d->tail.base);
}

static int inline_load(struct inode *dir, struct inline_dir *d)
{
	uint32_t space = inode_ibody_space(dir);
	const char *what;
	ssize_t len;

	*d = (struct inline_dir){
		.head = { .base = dir->i_block, .start = PARENT_LEN, .end = sizeof(dir->i_block) },
	};
	d->tail.base = malloc(space + 1);
	if (!d->tail.base)
		return -ENOMEM;
	len = xattr_ibody_data_get(dir, d->tail.base, space + 1);
	if (len < 0 && len != -ENODATA) {
		inline_unload(d);
		return (int)len;
	}
	d->tail.end = len < 0 ? 0 : (uint32_t)len;
	what = dir_area_check(&d->head, dir->store->inodes_count);
	if (!what)
		what = dir_area_check(&d->tail, dir->store->inodes_count);
	if (what) {
		inline_unload(d);
		return store_corrupt(dir->store, dir->ino, 0, what);
	}
	return 0;
}

static int inline_store_tail(struct handle *h, struct inode *dir, const struct inline_dir *d)
{
	int err = xattr_ibody_data_set(h, dir, d->tail.base, d->tail.end);

	if (err == 0)
		dir->size = sizeof(dir->i_block) + d->tail.end;
	return err;
}

/* The chain and place of @name. */
static int inline_locate(struct inline_dir *d, const struct dir_name *name,
			 struct dir_area **ret_area, struct dirent_pos *ret_pos)
{
	int err = dir_area_find(&d->head, name, ret_pos);

	*ret_area = &d->head;
	if (err != -ENOENT)
		return err;
	*ret_area = &d->tail;
	return dir_area_find(&d->tail, name, ret_pos);
}

int dir_inline_find(struct inode *dir, const struct dir_name *name, struct dir_target *ret_target)
{
	const struct ext4_dir_entry_2 *de;
	struct dirent_pos pos;
	struct dir_area *a;
	struct inline_dir d;
	int err = inline_load(dir, &d);

	if (err)
		return err;
	err = inline_locate(&d, name, &a, &pos);
	if (err == 0) {
		de = (const struct ext4_dir_entry_2 *)(a->base + pos.off);
		ret_target->ino = le32_to_cpu(de->inode);
		ret_target->ftype = dirent_ftype(dir->store, de);
	}
	inline_unload(&d);
	return err;
}

/* Lengthen the second chain to all the room the inode has. -ENOSPC when @need does not fit then. */
static int tail_grow(struct inode *dir, struct inline_dir *d, uint32_t need)
{
	uint32_t max, off = 0, last = 0, old = d->tail.end;
	struct ext4_dir_entry_2 *de;
	uint8_t *base;
	int err = xattr_ibody_data_max(dir, &max);

	if (err)
		return err;
	max = ROUND_DOWN(max, (uint32_t)EXT4_DIR_PAD);
	if (max < old + need)
		return -ENOSPC;
	base = realloc(d->tail.base, max);
	if (!base)
		return -ENOMEM;
	d->tail.base = base;
	memset(base + old, 0, max - old);
	while (off < old) {
		last = off;
		off += dirent_rec_len((const struct ext4_dir_entry_2 *)(base + off));
	}
	/* The last entry takes the new room as slack, or an unused one does. */
	de = (struct ext4_dir_entry_2 *)(base + (old ? last : 0));
	dirent_set_rec_len(de, max - (old ? last : 0));
	d->tail.end = max;
	return 0;
}

int dir_inline_add(struct handle *h, struct inode *dir, const struct dir_name *name,
		   const struct dir_target *t)
{
	uint32_t off, tail_off;
	struct inline_dir d;
	int err = inline_load(dir, &d), tail_err;

	if (err)
		return err;
	err = dir_area_find_room(&d.head, name, &off);
	tail_err = dir_area_find_room(&d.tail, name, &tail_off);
	if (err == -EEXIST || tail_err == -EEXIST) {
		err = -EEXIST;
	} else if (err == 0) {
		(void)dir_area_put(&d.head, off, name, t);
	} else if (err == -ENOSPC) {
		err = tail_err;
		if (err == -ENOSPC)
			err = tail_grow(dir, &d, EXT4_DIR_REC_LEN(name->len));
		if (err == 0)
			err = dir_area_find_room(&d.tail, name, &tail_off);
		if (err == 0) {
			(void)dir_area_put(&d.tail, tail_off, name, t);
			err = inline_store_tail(h, dir, &d);
		}
	}
	inline_unload(&d);
	return err;
}

int dir_inline_remove(struct handle *h, struct inode *dir, const struct dir_name *name)
{
	struct dirent_pos pos;
	struct dir_area *a;
	struct inline_dir d;
	int err = inline_load(dir, &d);

	if (err)
		return err;
	err = inline_locate(&d, name, &a, &pos);
	if (err == 0) {
		dir_area_delete(a, &pos);
		if (a == &d.tail)
			err = inline_store_tail(h, dir, &d);
	}
	inline_unload(&d);
	return err;
}

int dir_inline_replace(struct handle *h, struct inode *dir, const struct dir_name *name,
		       const struct dir_target *t)
{
	struct dirent_pos pos;
	struct dir_area *a;
	struct inline_dir d;
	int err = inline_load(dir, &d);

	if (err)
		return err;
	err = inline_locate(&d, name, &a, &pos);
	if (err == 0) {
		struct ext4_dir_entry_2 *de = (struct ext4_dir_entry_2 *)(a->base + pos.off);

		de->inode = cpu_to_le32(t->ino);
		de->file_type = t->ftype;
		if (a == &d.tail)
			err = inline_store_tail(h, dir, &d);
	}
	inline_unload(&d);
	return err;
}

static bool area_empty(const struct dir_area *a)
{
	for (uint32_t off = a->start; off < a->end;) {
		const struct ext4_dir_entry_2 *de = dirent_at(a, off);

		if (!de || de->inode.raw)
			return false;
		off += dirent_rec_len(de);
	}
	return true;
}

int dir_inline_empty(struct inode *dir, bool *ret_empty)
{
	struct inline_dir d;
	int err = inline_load(dir, &d);

	if (err)
		return err;
	*ret_empty = area_empty(&d.head) && area_empty(&d.tail);
	inline_unload(&d);
	return 0;
}

int dir_inline_init(struct handle *h, struct inode *dir, uint32_t parent_ino)
{
	struct dir_area head = { .base = dir->i_block,
				 .start = PARENT_LEN,
				 .end = sizeof(dir->i_block) };
	int err = xattr_ibody_data_set(h, dir, "", 0);

	if (err)
		return err;
	dir_area_clear(&head);
	dir_inline_set_parent(dir, parent_ino);
	dir->size = sizeof(dir->i_block);
	return 0;
}

int dir_inline_parent(struct inode *dir, uint32_t *ret_ino)
{
	le32 parent;

	memcpy(&parent, dir->i_block, sizeof(parent));
	if (parent.raw == 0 || le32_to_cpu(parent) > dir->store->inodes_count)
		return store_corrupt(dir->store, dir->ino, 0, "inline directory: parent");
	*ret_ino = le32_to_cpu(parent);
	return 0;
}

void dir_inline_set_parent(struct inode *dir, uint32_t parent_ino)
{
	le32 parent = cpu_to_le32(parent_ino);

	memcpy(dir->i_block, &parent, sizeof(parent));
}

int dir_inline_expand(struct inode *dir, struct dir_area *ret_area)
{
	struct store *s = dir->store;
	struct dir_area a = { .end = s->block_size - dir_tail_len(s) };
	uint32_t parent = 0, used, last = 0, len;
	struct inline_dir d;
	int err = dir_inline_parent(dir, &parent);

	if (err == 0)
		err = inline_load(dir, &d);
	if (err)
		return err;
	len = d.head.end - d.head.start;
	used = DOTS_LEN + len + d.tail.end;
	if (used > a.end) {
		err = store_corrupt(s, dir->ino, 0, "inline directory: larger than a block");
		goto out_unload;
	}
	a.base = calloc(1, s->block_size);
	if (!a.base) {
		err = -ENOMEM;
		goto out_unload;
	}
	dir_area_put_dots(s, &a, dir->ino, parent);
	/* ".." ends where the first chain begins; the last entry takes what is left. */
	dirent_set_rec_len((struct ext4_dir_entry_2 *)(a.base + EXT4_DIR_REC_LEN(1)),
			   EXT4_DIR_REC_LEN(2));
	memcpy(a.base + DOTS_LEN, d.head.base + d.head.start, len);
	memcpy(a.base + DOTS_LEN + len, d.tail.base, d.tail.end);
	for (uint32_t off = 0; off < used;) {
		last = off;
		off += dirent_rec_len((const struct ext4_dir_entry_2 *)(a.base + off));
	}
	dirent_set_rec_len((struct ext4_dir_entry_2 *)(a.base + last), a.end - last);
	*ret_area = a;
out_unload:
	inline_unload(&d);
	return err;
}

int dir_inline_convert(struct handle *h, struct inode *dir)
{
	uint8_t old_block[sizeof(dir->i_block)];
	uint32_t old_flags = dir->flags, lblk;
	uint64_t old_size = dir->size;
	struct dir_area from, to;
	struct buf *b;
	int err = dir_inline_expand(dir, &from);

	if (err)
		return err;
	memcpy(old_block, dir->i_block, sizeof(old_block));
	dir->flags &= ~EXT4_INLINE_DATA_FL;
	dir->size = 0;
	map_init(dir);
	err = dir_append(h, dir, &lblk, &b);
	if (err)
		goto out_restore;
	err = xattr_ibody_data_remove(h, dir);
	if (err) {
		buf_put(b);
		(void)map_remove(h, dir, lblk, lblk);
		goto out_restore;
	}
	to = dir_leaf_init(dir, b);
	CHECK(to.end == from.end);
	memcpy(to.base, from.base, to.end);
	dir_leaf_seal(h, dir, b, 0, dir->store->block_size);
	buf_put(b);
	free(from.base);
	return 0;

out_restore:
	dir->flags = old_flags;
	dir->size = old_size;
	memcpy(dir->i_block, old_block, sizeof(old_block));
	/* A mapping that failed half way has written the inode as it was in between. */
	(void)inode_write_data(h, dir);
	free(from.base);
	return err;
}
