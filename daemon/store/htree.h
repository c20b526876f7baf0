/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Indexed directories: a tree of (hash, block) entries over leaves of names, up to two
 * levels of index blocks, three with large_dir. Leaves are ordinary directory blocks
 * in which names are unsorted; each leaf holds one range of hashes. When names of one
 * hash fill more than a leaf, the next leaf's key has bit 0 set: "continued".
 *
 *	htree_open() -> htree_seek() -> path.leaf -> htree_next() ... -> htree_close()
 *
 * An index that cannot be trusted is -EUCLEAN or -EBADMSG from open, seek and next
 * (reported); readers then scan the blocks in order.
 */
#ifndef KFS_STORE_HTREE_H
#define KFS_STORE_HTREE_H

#include "daemon/store/dir_block.h"

struct htree_frame {
	struct buf *buf;
	uint32_t lblk;
	uint32_t at;	/* entry taken */
	uint32_t count; /* entries in use, checked against the limit */
};

struct htree_path {
	struct inode *dir;
	uint8_t hash_version; /* with the unsigned adjustment */
	uint32_t levels;      /* index levels in use, 1..EXT4_HTREE_LEVEL */
	uint32_t leaf;	      /* lblk that seek or next found */
	uint32_t leaf_hash;   /* where its range begins; bit 0: continues the one before */
	uint32_t steps_left;  /* leaves that may still be visited: no more than blocks exist */
	struct htree_frame frames[EXT4_HTREE_LEVEL];
};

/* Read the root. On failure nothing is held. */
MUST_USE int htree_open(struct inode *dir, struct htree_path *path);
void htree_close(struct htree_path *path);
/* Descend to the leaf whose range holds @major. */
MUST_USE int htree_seek(struct htree_path *path, uint32_t major);
/* The leaf after it. -ENOENT at the end. */
MUST_USE int htree_next(struct htree_path *path);

struct dir_slot {
	struct buf *buf; /* pinned by who filled the slot */
	uint32_t lblk;
	struct dirent_pos pos;
};

/* Find the leaf and entry of @name. -ENOENT; *ret_index_bad: the index, not a leaf, failed. */
MUST_USE int htree_locate(struct inode *dir, const struct dir_name *name, struct dir_slot *ret_slot,
			  bool *ret_index_bad);
MUST_USE int htree_add(struct handle *h, struct inode *dir, const struct dir_name *name,
		       const struct dir_target *t);
/* Give a directory of one block (a leaf) an index. */
MUST_USE int htree_make(struct handle *h, struct inode *dir);
/* The version names in @dir are, or would be, indexed with; false when we cannot compute it. */
bool htree_default_version(const struct store *s, uint8_t *ret_version);

#endif
