/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of directories, shared by dir.c, dir_inline.c, dir_iter.c and htree.c: chains
 * of entries (struct dir_area), the blocks that hold them, and walking all blocks.
 *
 * A block is validated once when it enters the cache: the whole chain, the inode
 * numbers and the checksum of a leaf; layout, limits and checksum of an index node.
 * Afterwards each step along a chain only re-checks its bounds (dirent_at()), so even
 * a block that two structures of a hostile image share cannot lead outside of it.
 *
 * Whoever changes a block calls journal_get_write() first and one of the _seal()
 * functions afterwards: they recompute the checksum and mark what changed.
 */
#ifndef KFS_STORE_DIR_BLOCK_H
#define KFS_STORE_DIR_BLOCK_H

#include "daemon/store/dir.h"
#include "daemon/store/dirhash.h"
#include "daemon/store/map.h"

/* Entries lie in base[start, end), chained by rec_len without gaps. */
struct dir_area {
	uint8_t *base;
	uint32_t start, end;
};

#define DIRENT_NO_PREV UINT32_MAX
struct dirent_pos {
	uint32_t off;
	uint32_t prev; /* the entry before it, DIRENT_NO_PREV for the first */
};

struct dir_target {
	uint32_t ino;
	uint8_t ftype; /* as to be stored: 0 without the filetype feature */
};

/* Smallest entry that holds a name: one of length 1. */
#define DIRENT_LEN_MIN EXT4_DIR_REC_LEN(1)

static inline uint32_t dirent_rec_len(const struct ext4_dir_entry_2 *de)
{
	uint32_t len = le16_to_cpu(de->rec_len);

	/* A block of 64 KiB needs a number that 16 bits cannot hold: 65535 or 0 stand for it. */
	return len == EXT4_MAX_REC_LEN || len == 0 ? EXT4_MAX_REC_LEN + 1 : len;
}

static inline void dirent_set_rec_len(struct ext4_dir_entry_2 *de, uint32_t len)
{
	de->rec_len = cpu_to_le16((uint16_t)MIN(len, (uint32_t)EXT4_MAX_REC_LEN));
}

/* The entry at @off, or NULL when it does not fit what is left of the area. */
static inline struct ext4_dir_entry_2 *dirent_at(const struct dir_area *a, uint32_t off)
{
	struct ext4_dir_entry_2 *de = (struct ext4_dir_entry_2 *)(a->base + off);
	uint32_t len;

	if (off > a->end || a->end - off < DIRENT_LEN_MIN)
		return NULL;
	len = dirent_rec_len(de);
	if (len < DIRENT_LEN_MIN || len % EXT4_DIR_PAD || len > a->end - off ||
	    (uint32_t)de->name_len + EXT4_DIR_ENTRY_HEADER_LEN > len)
		return NULL;
	return de;
}

static inline bool dirent_is(const struct ext4_dir_entry_2 *de, const struct dir_name *name)
{
	uint32_t last = name->len - 1;

	/* Neighbours often differ in their last byte only: most calls end here. */
	if (de->name_len != name->len || (name->len && de->name[last] != name->name[last]))
		return false;
	return de->inode.raw != 0 && __builtin_memcmp(de->name, name->name, name->len) == 0;
}

static inline bool dirent_is_dots(const struct ext4_dir_entry_2 *de)
{
	return (de->name_len == 1 && de->name[0] == '.') ||
	       (de->name_len == 2 && de->name[0] == '.' && de->name[1] == '.');
}

static inline bool name_is_dots(const struct dir_name *n)
{
	return (n->len == 1 && n->name[0] == '.') ||
	       (n->len == 2 && n->name[0] == '.' && n->name[1] == '.');
}

/* The whole chain of @a is sound; @inodes_count bounds the numbers. NULL, or what is wrong. */
const char *dir_area_check(const struct dir_area *a, uint32_t inodes_count);
/* -ENOENT; -EUCLEAN when the chain breaks (not reported). */
MUST_USE int dir_area_find(const struct dir_area *a, const struct dir_name *name,
			   struct dirent_pos *ret_pos);
/* The first entry whose slack (or emptiness) takes @name. -ENOSPC, -EEXIST, -EUCLEAN. */
MUST_USE int dir_area_find_room(const struct dir_area *a, const struct dir_name *name,
				uint32_t *ret_off);
/* Put @name into the room found; returns the length of the range that changed, from @off. */
uint32_t dir_area_put(const struct dir_area *a, uint32_t off, const struct dir_name *name,
		      const struct dir_target *t);
/* Remove: merged into its predecessor. */
void dir_area_delete(const struct dir_area *a, const struct dirent_pos *pos);
/* One empty entry over the whole area. */
void dir_area_clear(const struct dir_area *a);

/* Type to store for @ftype, and the type an entry shows. */
uint8_t dir_ftype_stored(const struct store *s, uint8_t ftype);
uint8_t dirent_ftype(const struct store *s, const struct ext4_dir_entry_2 *de);

/* The index is used: dir_index is on and the directory has the flag. */
static inline bool dir_is_indexed(const struct inode *dir)
{
	return (dir->flags & EXT4_INDEX_FL) &&
	       store_has_compat(dir->store, EXT4_FEATURE_COMPAT_DIR_INDEX);
}

static inline uint32_t dir_tail_len(const struct store *s)
{
	return s->has_csum ? (uint32_t)sizeof(struct ext4_dir_entry_tail) : 0;
}

/* Blocks of a directory that is not inline; -EUCLEAN (reported) when the size is impossible. */
MUST_USE int dir_block_count(struct inode *dir, uint32_t *ret_count);

enum dir_kind { DIR_LEAF, DIR_INDEX, DIR_ANY };
/* Pin and validate block @lblk. -EUCLEAN, -EBADMSG (reported): hole, wrong kind, corrupt. */
MUST_USE int dir_block_read(struct inode *dir, uint32_t lblk, enum dir_kind kind,
			    struct buf **ret_buf);
/* The entries of a block so read; an index block shows "." and ".." or nothing. */
struct dir_area dir_block_area(const struct inode *dir, uint32_t lblk, const struct buf *b);
/* Report a chain found broken in @b after all. -EUCLEAN. */
int dir_block_broken(struct inode *dir, const struct buf *b);

/*
 * Allocate and map the next block, inside @h: zeroed, in the transaction, the size
 * raised. The caller fills it without failing. Nothing is changed on failure.
 */
MUST_USE int dir_append(struct handle *h, struct inode *dir, uint32_t *ret_lblk,
			struct buf **ret_buf);
/* The area of a new leaf, with its checksum tail laid out. */
struct dir_area dir_leaf_init(const struct inode *dir, struct buf *b);
/* [off, off + len) changed: checksum and journal_dirty(). */
void dir_leaf_seal(struct handle *h, struct inode *dir, struct buf *b, uint32_t off, uint32_t len);
void dir_index_seal(struct handle *h, struct inode *dir, uint32_t lblk, struct buf *b);
/* Where an index block keeps its count, limit and entries, and how many of these fit. */
static inline uint32_t dir_index_off(uint32_t lblk)
{
	return lblk == 0 ? offsetof(struct dx_root, entries) : offsetof(struct dx_node, entries);
}
uint32_t dir_index_limit(const struct store *s, uint32_t lblk);
/* An index node (@lblk != 0) or the index part of the root, empty. */
void dir_index_init(const struct store *s, uint32_t lblk, struct buf *b);

/* All blocks in order of position; blocks that cannot be read are reported, counted and passed over. */
struct dir_scan {
	struct inode *dir;
	uint32_t lblk;	    /* next */
	uint32_t count;	    /* of the directory */
	struct map_run run; /* mapping around lblk */
	int error;	    /* first failure; the scan went on */
};
MUST_USE int dir_scan_init(struct dir_scan *scan, struct inode *dir, uint32_t first);
/* False at the end; else a pinned block and its number. */
bool dir_scan_next(struct dir_scan *scan, uint32_t *ret_lblk, struct buf **ret_buf);

/* dir_inline.c */
MUST_USE int dir_inline_find(struct inode *dir, const struct dir_name *name,
			     struct dir_target *ret_target);
/* -ENOSPC: convert first. */
MUST_USE int dir_inline_add(struct handle *h, struct inode *dir, const struct dir_name *name,
			    const struct dir_target *t);
MUST_USE int dir_inline_remove(struct handle *h, struct inode *dir, const struct dir_name *name);
MUST_USE int dir_inline_replace(struct handle *h, struct inode *dir, const struct dir_name *name,
				const struct dir_target *t);
MUST_USE int dir_inline_empty(struct inode *dir, bool *ret_empty);
/* -ENOSPC: no room in the inode, make it a block. */
MUST_USE int dir_inline_init(struct handle *h, struct inode *dir, uint32_t parent_ino);
MUST_USE int dir_inline_parent(struct inode *dir, uint32_t *ret_ino);
void dir_inline_set_parent(struct inode *dir, uint32_t parent_ino);
/* Move the entries to a first block. */
MUST_USE int dir_inline_convert(struct handle *h, struct inode *dir);
/* A copy laid out as the first block would be, "." and ".." included; @ret_area->base is malloc'd. */
MUST_USE int dir_inline_expand(struct inode *dir, struct dir_area *ret_area);

static inline bool dir_is_inline(const struct inode *dir)
{
	return dir->flags & EXT4_INLINE_DATA_FL;
}

/* "." and ".." at the start of an area that is large enough; ".." reaches to its end. */
void dir_area_put_dots(const struct store *s, const struct dir_area *a, uint32_t ino,
		       uint32_t parent_ino);

#endif
