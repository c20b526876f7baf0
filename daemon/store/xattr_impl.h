/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the attribute code share: a decoded entry, regions of entries as
 * they are on disk (xattr_region.c), the xattr block (xattr_block.c), values in inodes
 * of their own (ea_inode.c), and get and set by decoded name (xattr.c) for acl.c.
 */
#ifndef KFS_STORE_XATTR_IMPL_H
#define KFS_STORE_XATTR_IMPL_H

#include "daemon/store/xattr.h"

/* A name as stored: number of the prefix and the rest, 0..255 bytes. */
struct xattr_key {
	uint8_t index;
	uint8_t len;
	const char *name;
};

struct xattr_entry {
	struct xattr_key key; /* points into the region, or at the caller's name */
	const uint8_t *value; /* NULL when in an EA inode */
	uint32_t value_len;
	uint32_t value_inum; /* EA inode, 0 = none */
	uint32_t hash;	     /* as stored; matters for EA inodes only */
	bool from_block;     /* its reference to the EA inode was the block's */
};

/* Entries and values on disk. */
struct xattr_region {
	const uint8_t *base;
	uint32_t size;
	uint32_t first;	     /* offset of the first entry */
	uint32_t value_base; /* e_value_offs counts from here */
	bool ea_inode;	     /* the feature is on: e_value_inum may be set */
};

static inline bool xattr_key_eq(const struct xattr_key *a, const struct xattr_key *b)
{
	return a->index == b->index && a->len == b->len &&
	       __builtin_memcmp(a->name, b->name, a->len) == 0;
}

/* xattr_region.c */

struct xattr_cursor {
	const struct xattr_region *region;
	uint32_t off;
};
void xattr_cursor_init(struct xattr_cursor *c, const struct xattr_region *r);
/* 1 and the next entry, 0 at the end, -EUCLEAN (not reported) when it is out of bounds. */
MUST_USE int xattr_cursor_next(struct xattr_cursor *c, struct xattr_entry *ret_entry);
/* All entries are sound and no value lies in the table. NULL, or what is wrong. */
const char *xattr_region_check(const struct xattr_region *r);
/* -ENODATA, -EUCLEAN (not reported). */
MUST_USE int xattr_region_find(const struct xattr_region *r, const struct xattr_key *key,
			       struct xattr_entry *ret_entry);

/* Entries on their way from regions to regions. */
struct xattr_vec {
	struct xattr_entry *e;
	uint32_t count, room;
};
MUST_USE int xattr_vec_add(struct xattr_vec *v, const struct xattr_entry *e);
MUST_USE int xattr_vec_load(struct xattr_vec *v, const struct xattr_region *r, bool from_block);
struct xattr_entry *xattr_vec_find(const struct xattr_vec *v, const struct xattr_key *key);
void xattr_vec_remove(struct xattr_vec *v, struct xattr_entry *e);
void xattr_vec_free(struct xattr_vec *v);
/* Bytes an entry takes, value included; bytes of all plus the end mark. */
uint32_t xattr_entry_bytes(const struct xattr_entry *e);
uint32_t xattr_vec_bytes(const struct xattr_vec *v);
/*
 * Write entries and values over @base[first, size), which is cleared before; it has
 * room for xattr_vec_bytes(). @hashed: with e_hash (blocks).
 */
void xattr_vec_write(const struct xattr_vec *v, uint8_t *base, const struct xattr_region *r,
		     bool hashed);
/* Hash of a name with the words of a value; @is_signed: as machines with signed char once did. */
uint32_t xattr_hash(const struct xattr_key *key, const uint8_t *value, uint32_t len,
		    bool is_signed);

/* xattr_ibody.c: the inode's tail, copied out. */
struct xattr_ibody {
	uint8_t *raw; /* malloc'd or inline_buf; NULL when the inode has no room for any */
	uint32_t len;
	bool used; /* holds attributes: magic found and entries sound */
	struct xattr_region region;
	uint8_t inline_buf[512];
};
MUST_USE int xattr_ibody_load(struct inode *i, struct xattr_ibody *b);
void xattr_ibody_unload(struct xattr_ibody *b);
/* Do these entries fit the inode's tail? */
bool xattr_ibody_fits(const struct inode *i, uint32_t vec_bytes);
MUST_USE int xattr_ibody_store(struct handle *h, struct inode *i, const struct xattr_vec *v);

/* xattr_block.c */

/* Pin and validate i->file_acl's block. Read it under buf->lock; entries do not change while @i is locked. */
MUST_USE int xattr_block_read(struct inode *i, struct buf **ret_buf);
struct xattr_region xattr_block_region(const struct inode *i, const uint8_t *data);
/* h_checksum as it should be. */
uint32_t xattr_block_csum(const struct store *s, uint64_t pblk, const uint8_t *data);
bool xattr_block_fits(const struct inode *i, uint32_t vec_bytes);
/*
 * Make @v the contents of the inode's block: shared with an equal one, in place, or a
 * new one; no entries, no block. *ret_kept: the old block lives on for other inodes,
 * so references of its entries to EA inodes are still its own.
 */
MUST_USE int xattr_block_store(struct handle *h, struct inode *i, struct xattr_vec *v,
			       bool *ret_kept);

/* ea_inode.c */

/* Read @e's value of e->value_len bytes into @buf, verified. */
MUST_USE int ea_inode_read(struct inode *parent, const struct xattr_entry *e, uint8_t *buf);
/* A new EA inode with this value and one reference; sets e->value_inum, ->hash, ->value_len. */
MUST_USE int ea_inode_create(struct handle *h, struct inode *parent, const uint8_t *value,
			     uint32_t len, struct xattr_entry *e);
/* One reference more, or one less; the last one deletes the inode, in @h. */
MUST_USE int ea_inode_ref(struct handle *h, struct inode *parent, uint32_t inum);
MUST_USE int ea_inode_unref(struct handle *h, struct inode *parent, uint32_t inum);
/*
 * Before anything is changed: so that dropping the reference later needs no memory and reads
 * nothing. NULL for no inode, or a wrong one, which is told again when it is dropped.
 */
MUST_USE int ea_inode_hold(struct inode *parent, uint32_t inum, struct inode **ret_ea);
/*
 * The two halves of unref. Dropping belongs into the transaction in which the entry goes (it
 * restarts nothing); the last reference puts the inode on the orphan list and gives it,
 * referenced, in *ret_doomed. Freeing takes it, and may restart the handle.
 */
#define CREDITS_EA_DROP (CREDITS_ORPHAN + CREDITS_INODE)
MUST_USE int ea_inode_drop(struct handle *h, struct inode *parent, uint32_t inum,
			   struct inode **ret_doomed);
MUST_USE int ea_inode_free(struct handle *h, struct inode *ea);

/* xattr.c */

/* As xattr_get() and xattr_set(), for a decoded name and the bytes on disk. */
MUST_USE ssize_t xattr_get_raw(struct inode *i, const struct xattr_key *key, void *buf,
			       size_t size);
struct xattr_set_raw {
	struct xattr_key key;
	const void *value; /* NULL removes */
	size_t len;
	int flags;
};
MUST_USE int xattr_set_raw(struct handle *h, struct inode *i, const struct xattr_set_raw *x);

/* acl.c: the attribute in the system call's form; as xattr_get(). */
MUST_USE ssize_t acl_get_wire(struct inode *i, bool is_default, void *buf, size_t size);

#endif
