/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Directories: names to inode numbers. Linear blocks, hash trees (htree.c: read and
 * written, up to 3 levels with large_dir), inline directories; names hashed as
 * ext4 does (dirhash.c). Names are bytes, 1..255, no '/' and no NUL; the caller has
 * checked that. "." and ".." are entries like others on disk; lookups of them are
 * the caller's business except dir_parent().
 *
 * Callers hold the directory's lock: shared for lookup and iteration, exclusive for
 * changes. Every block is validated once when read (rec_len, name_len, alignment,
 * checksum); a bad block is -EUCLEAN for what needs it, the rest goes on.
 */
#ifndef KFS_STORE_DIR_H
#define KFS_STORE_DIR_H

#include "daemon/store/inode.h"

#define NAME_LEN_MAX 255

struct dir_name {
	const char *name; /* not NUL-terminated */
	uint32_t len;
};

/* -ENOENT when absent. @ret_ftype is EXT4_FT_* (EXT4_FT_UNKNOWN without filetype). */
MUST_USE int dir_lookup(struct inode *dir, const struct dir_name *name, uint32_t *ret_ino,
			uint8_t *ret_ftype);
/*
 * CREDITS_DIR_ADD and CREDITS_INODE. -EEXIST, -ENOSPC. Updates size/blocks of @dir in
 * memory; the caller inode_write_data()s when it succeeded.
 */
MUST_USE int dir_add(struct handle *h, struct inode *dir, const struct dir_name *name, uint32_t ino,
		     uint8_t ftype);
/* CREDITS_DIR_DEL. -ENOENT. */
MUST_USE int dir_remove(struct handle *h, struct inode *dir, const struct dir_name *name);
/* Point an existing name at another inode (rename over, exchange). CREDITS_DIR_DEL. */
MUST_USE int dir_replace(struct handle *h, struct inode *dir, const struct dir_name *name,
			 uint32_t ino, uint8_t ftype);
/* First block (or inline data) with "." and ".."; sets the size. CREDITS_MAP + 1. */
MUST_USE int dir_init(struct handle *h, struct inode *dir, uint32_t parent_ino);
MUST_USE int dir_parent(struct inode *dir, uint32_t *ret_ino);
MUST_USE int dir_set_parent(struct handle *h, struct inode *dir, uint32_t parent_ino);
/* Only "." and ".."? */
MUST_USE int dir_is_empty(struct inode *dir, bool *ret_empty);

struct dir_entry {
	const char *name;
	uint32_t len;
	uint32_t ino;
	uint8_t ftype;	 /* EXT4_FT_* */
	uint64_t cookie; /* resumes after this entry; never 0; fits in 63 bits */
};
/*
 * Call @emit for entries after @cookie (0 = start), "." and ".." first, in a stable
 * order (hash order where the directory is or may become indexed, else by position)
 * so that names neither added nor removed in between appear exactly once however the
 * listing is cut into calls. Stops when @emit returns > 0 (that entry was not
 * taken). Entries of one equal hash are emitted together when they fit.
 */
typedef int (*dir_emit_fn)(void *arg, const struct dir_entry *e);
MUST_USE int dir_iterate(struct inode *dir, uint64_t cookie, dir_emit_fn emit, void *arg);

uint8_t ftype_from_mode(uint16_t mode);
uint32_t ftype_to_dtype(uint8_t ftype); /* DT_* */

/* symlink.c */
/* @target is @len bytes; fast, inline or one block. CREDITS_MAP + 1. */
MUST_USE int symlink_write(struct handle *h, struct inode *i, const char *target, uint32_t len);
/* Writes at most PATH_MAX bytes, not NUL-terminated. */
MUST_USE int symlink_read(struct inode *i, char *buf, uint32_t size, uint32_t *ret_len);

#endif
