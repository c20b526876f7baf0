// SPDX-License-Identifier: GPL-2.0-only
/*
 * Extended attributes: behind the inode's fields, in blocks that inodes may share, and
 * values in inodes of their own.
 */
#include <string.h>

#include "daemon/check/check_priv.h"
#include "daemon/store/xattr_impl.h"

/* Entries compared with each other for values in one place; a sane block has far fewer. */
#define OVERLAP_ENTRIES_MAX 512u

struct region {
	const struct ck_ino *i;
	uint64_t pblk; /* 0: the inode's tail */
	const uint8_t *base;
	uint32_t size, first, value_base;
	uint32_t end; /* of the table, once it is known */
	int64_t inline_len;
	const uint8_t *inline_data;
};

static const struct ext4_xattr_entry *entry_at(const struct region *r, uint32_t off)
{
	return (const struct ext4_xattr_entry *)(const void *)(r->base + off);
}

/* Is there an entry at @off? -1: there should be one, but it does not fit. */
static int entry_fits(const struct region *r, uint32_t off)
{
	uint32_t left = r->size - off;
	le32 mark;

	if (off > r->size || left < sizeof(mark))
		return -1;
	memcpy(&mark, r->base + off, sizeof(mark));
	if (mark.raw == 0)
		return 0;
	if (left < sizeof(struct ext4_xattr_entry) + sizeof(mark) ||
	    left - sizeof(mark) < EXT4_XATTR_LEN(entry_at(r, off)->e_name_len))
		return -1;
	return 1;
}

static void tell(struct ck *c, const struct region *r, const char *what, const char *in_block,
		 uint32_t value)
{
	if (r->pblk)
		ck_find(c, "xattr", r->i->ino, r->pblk,
			"Extended attribute block %llu is corrupt (%s).",
			(unsigned long long)r->pblk, in_block);
	else if (!what)
		ck_find(c, "xattr", r->i->ino, 0,
			"Inode %u extended attribute is corrupt (allocation collision).",
			r->i->ino);
	else
		ck_find(c, "xattr", r->i->ino, 0,
			"Extended attribute in inode %u has a %s (%u) which is invalid", r->i->ino,
			what, value);
}

static bool value_fits(const struct region *r, const struct ext4_xattr_entry *e)
{
	uint32_t room = r->size - r->value_base;
	uint32_t len = le32_to_cpu(e->e_value_size), offs = le16_to_cpu(e->e_value_offs);

	return len == 0 || (len <= room && offs <= room - len);
}

static bool hash_ok(const struct region *r, const struct ext4_xattr_entry *e)
{
	struct xattr_key key = { e->e_name_index, e->e_name_len, e->e_name };
	uint32_t len = le32_to_cpu(e->e_value_size), hash = le32_to_cpu(e->e_hash);
	const uint8_t *value = r->base + r->value_base + (len ? le16_to_cpu(e->e_value_offs) : 0);

	return hash == 0 || hash == xattr_hash(&key, value, len, false) ||
	       hash == xattr_hash(&key, value, len, true);
}

static bool is_inline_data(const struct ext4_xattr_entry *e)
{
	return e->e_name_index == EXT4_XATTR_INDEX_SYSTEM && e->e_name_len == 4 &&
	       memcmp(e->e_name, EXT4_XATTR_SYSTEM_DATA, 4) == 0;
}

static int check_entry(struct ck *c, struct region *r, const struct ext4_xattr_entry *e)
{
	uint32_t inum = le32_to_cpu(e->e_value_inum);
	struct ck_ref *ref;
	int ret;

	if (inum) {
		if (!store_has_incompat(c->s, EXT4_FEATURE_INCOMPAT_EA_INODE) ||
		    inum > c->s->inodes_count || inum < c->s->first_ino) {
			tell(c, r, "value block", "invalid value", inum);
			return 0;
		}
		ret = ck_ref_add(&c->eas, inum, &ref);
		if (!ret)
			ref->seen++;
		return ret;
	}
	if (!value_fits(r, e)) {
		bool size = le32_to_cpu(e->e_value_size) > r->size - r->value_base;

		tell(c, r, size ? "value size" : "value offset", "invalid value",
		     size ? le32_to_cpu(e->e_value_size) : le16_to_cpu(e->e_value_offs));
		return 0;
	}
	if (!hash_ok(r, e))
		ck_find(c, "xattr_hash", r->i->ino, r->pblk,
			"Extended attribute in inode %u has a hash (%u) which is invalid",
			r->i->ino, le32_to_cpu(e->e_hash));
	if (is_inline_data(e)) {
		r->inline_len = le32_to_cpu(e->e_value_size);
		r->inline_data = r->base + r->value_base + le16_to_cpu(e->e_value_offs);
	}
	return 0;
}

static bool has_value(const struct region *r, const struct ext4_xattr_entry *e)
{
	return !e->e_value_inum.raw && le32_to_cpu(e->e_value_size) && value_fits(r, e);
}

/* Does a value lie in the table, or two in one place? */
static bool collides(const struct region *r)
{
	uint32_t off, other, n = 0;

	for (off = r->first; off < r->end && n < OVERLAP_ENTRIES_MAX; n++) {
		const struct ext4_xattr_entry *e = entry_at(r, off);
		uint32_t from = le16_to_cpu(e->e_value_offs);
		uint32_t to = from + le32_to_cpu(e->e_value_size);

		off += EXT4_XATTR_LEN(e->e_name_len);
		if (!has_value(r, e))
			continue;
		if (from + r->value_base < r->end + sizeof(le32))
			return true;
		for (other = off; other < r->end;) {
			const struct ext4_xattr_entry *o = entry_at(r, other);
			uint32_t at = le16_to_cpu(o->e_value_offs);

			other += EXT4_XATTR_LEN(o->e_name_len);
			if (has_value(r, o) && at < to && from < at + le32_to_cpu(o->e_value_size))
				return true;
		}
	}
	return false;
}

static int check_region(struct ck *c, struct region *r)
{
	uint32_t off = r->first;
	int fits, ret = 0;

	while ((fits = entry_fits(r, off)) > 0 && !ret) {
		const struct ext4_xattr_entry *e = entry_at(r, off);

		if (memchr(e->e_name, 0, e->e_name_len))
			tell(c, r, "namelen", "invalid name", e->e_name_len);
		else
			ret = check_entry(c, r, e);
		off += EXT4_XATTR_LEN(e->e_name_len);
	}
	if (ret)
		return ret;
	r->end = off;
	if (fits < 0)
		tell(c, r, "namelen", "allocation collision",
		     off + 1 < r->size ? entry_at(r, off)->e_name_len : 0);
	else if (collides(r))
		tell(c, r, NULL, "allocation collision", 0);
	return 0;
}

static bool tail_region(const struct ck *c, const struct ck_ino *i, struct region *ret_r)
{
	uint32_t from = EXT4_GOOD_OLD_INODE_SIZE + i->extra;
	le32 magic;

	if (i->extra < 4 || i->extra % 4 || from + 2 * sizeof(magic) > c->s->inode_size)
		return false;
	memcpy(&magic, i->raw + from, sizeof(magic));
	if (le32_to_cpu(magic) != EXT4_XATTR_MAGIC)
		return false;
	*ret_r = (struct region){ .i = i,
				  .base = i->raw + from,
				  .size = c->s->inode_size - from,
				  .first = sizeof(magic),
				  .value_base = sizeof(magic),
				  .inline_len = -1 };
	return true;
}

uint8_t *ck_inline_tail(const struct ck *c, const struct ck_ino *i, uint32_t *ret_len)
{
	struct region r;
	uint32_t off;

	if (!tail_region(c, i, &r))
		return NULL;
	for (off = r.first; entry_fits(&r, off) > 0;
	     off += EXT4_XATTR_LEN(entry_at(&r, off)->e_name_len)) {
		const struct ext4_xattr_entry *e = entry_at(&r, off);

		if (!is_inline_data(e) || e->e_value_inum.raw || !value_fits(&r, e))
			continue;
		*ret_len = le32_to_cpu(e->e_value_size);
		return i->raw + (r.base - i->raw) + r.value_base + le16_to_cpu(e->e_value_offs);
	}
	return NULL;
}

/* ---- blocks --------------------------------------------------------------- */

static int check_block(struct ck *c, const struct ck_ino *i, struct ck_ref *ref)
{
	const struct ext4_xattr_header *head = (const void *)c->attr;
	struct region r = { .i = i,
			    .pblk = i->file_acl,
			    .base = c->attr,
			    .size = c->s->block_size,
			    .first = sizeof(*head) };
	int ret = ck_read(c, i->file_acl, 1, c->attr);

	if (ret)
		return ret;
	ref->stored = le32_to_cpu(head->h_refcount);
	if (le32_to_cpu(head->h_magic) != EXT4_XATTR_MAGIC) {
		ref->stored = ref->seen = 0;
		ck_find(c, "xattr_block", i->ino, i->file_acl,
			"Inode %u has a bad extended attribute block %llu.", i->ino,
			(unsigned long long)i->file_acl);
		return 0;
	}
	if (le32_to_cpu(head->h_blocks) != 1)
		ck_find(c, "xattr_block", i->ino, i->file_acl,
			"Extended attribute block %llu has h_blocks > 1.",
			(unsigned long long)i->file_acl);
	if (c->s->has_csum &&
	    le32_to_cpu(head->h_checksum) != xattr_block_csum(c->s, i->file_acl, c->attr))
		ck_find(c, "xattr_checksum", i->ino, i->file_acl,
			"Inode %u extended attribute block %llu passes checks, but checksum does "
			"not match block.",
			i->ino, (unsigned long long)i->file_acl);
	ret = check_region(c, &r);
	ck_done(c, i->file_acl, 1);
	return ret;
}

static int check_acl_block(struct ck *c, const struct ck_ino *i)
{
	struct ck_run run = { .pblk = i->file_acl, .count = 1 };
	struct ck_ref *ref = ck_ref_find(&c->blocks, i->file_acl);
	int ret;

	if (ref) {
		ref->seen++;
		return 0;
	}
	ret = ck_ref_add(&c->blocks, i->file_acl, &ref);
	if (ret)
		return ret;
	ref->seen = 1;
	ret = ck_mark(c, &run);
	return ret ? ret : check_block(c, i, ref);
}

int ck_xattrs(struct ck *c, const struct ck_ino *i, int64_t *ret_inline)
{
	struct region r;
	int ret = 0;

	*ret_inline = -1;
	if (tail_region(c, i, &r)) {
		ret = check_region(c, &r);
		*ret_inline = r.inline_len;
	}
	if (!ret && i->file_acl && ck_pblk_ok(c, i->file_acl, 1))
		ret = check_acl_block(c, i);
	return ret;
}

/* ---- references ----------------------------------------------------------- */

static void check_ea(struct ck *c, const struct ck_ref *ref)
{
	uint32_t ino = (uint32_t)ref->key;
	const struct ck_state *st = ck_state(c, ino);

	if (!st || !(st->flags & CI_EA)) {
		ck_find(c, "ea_inode", ino, 0,
			"EA inode %u for parent inode missing EA_INODE flag.", ino);
		return;
	}
	if (ref->stored != ref->seen && !(st->flags & CI_ORPHAN))
		ck_find(c, "ea_refs", ino, 0,
			"Extended attribute inode %u ref count is %u, should be %u.", ino,
			ref->stored, ref->seen);
}

int ck_pass4_refs(struct ck *c)
{
	uint32_t k;

	for (k = 0; k < c->blocks.size; k++) {
		const struct ck_ref *ref = &c->blocks.table[k];

		if (ref->key && ref->stored != ref->seen)
			ck_find(c, "xattr_refs", 0, ref->key,
				"Extended attribute block %llu has reference count %u, should be "
				"%u.",
				(unsigned long long)ref->key, ref->stored, ref->seen);
	}
	for (k = 0; k < c->eas.size; k++) {
		if (c->eas.table[k].key)
			check_ea(c, &c->eas.table[k]);
	}
	return 0;
}
