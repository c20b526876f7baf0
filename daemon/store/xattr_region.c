// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attribute entries as they lie on disk, in the inode's tail or in a block: a table of
 * entries growing up, closed by four zero bytes, and values growing down from the end.
 *
 * Invariants
 * (1) A cursor never reads outside its region, whatever the bytes say.
 * (2) Writing produces sorted blocks (prefix, length, name), 4-byte alignment, zeroed
 *     padding, and room for nothing that xattr_vec_bytes() did not count.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/store/xattr_impl.h"

#define END_MARK_LEN ((uint32_t)sizeof(le32))
#define VEC_ROOM_FIRST 8u

void xattr_cursor_init(struct xattr_cursor *c, const struct xattr_region *r)
{
	c->region = r;
	c->off = r->first;
}

/* The value's bytes lie inside the region. */
static bool value_ok(const struct xattr_region *r, const struct ext4_xattr_entry *d)
{
	uint32_t len = le32_to_cpu(d->e_value_size);
	uint32_t room = r->size - r->value_base, offs = le16_to_cpu(d->e_value_offs);

	if (d->e_value_inum.raw)
		return r->ea_inode && len > 0 && len <= XATTR_VALUE_LEN_MAX;
	return len == 0 ||
	       (offs <= room && len <= room - offs && EXT4_XATTR_SIZE(len) <= room - offs);
}

int xattr_cursor_next(struct xattr_cursor *c, struct xattr_entry *ret_entry)
{
	const struct xattr_region *r = c->region;
	const struct ext4_xattr_entry *d;
	uint32_t left;
	le32 mark;

	if (c->off > r->size || r->size - c->off < END_MARK_LEN)
		return -EUCLEAN;
	left = r->size - c->off;
	memcpy(&mark, r->base + c->off, sizeof(mark));
	if (mark.raw == 0)
		return 0;
	d = (const struct ext4_xattr_entry *)(r->base + c->off);
	if (left < sizeof(*d) || left - END_MARK_LEN < EXT4_XATTR_LEN(d->e_name_len) ||
	    !value_ok(r, d) || memchr(d->e_name, 0, d->e_name_len))
		return -EUCLEAN;
	/* Without a value it would be written again as four zero bytes: the end of the table. */
	if (d->e_name_len == 0 && d->e_name_index == 0)
		return -EUCLEAN;
	*ret_entry = (struct xattr_entry){
		.key = { d->e_name_index, d->e_name_len, d->e_name },
		.value_len = le32_to_cpu(d->e_value_size),
		.value_inum = le32_to_cpu(d->e_value_inum),
		.hash = le32_to_cpu(d->e_hash),
	};
	if (!ret_entry->value_inum)
		ret_entry->value = r->base + r->value_base +
				   (ret_entry->value_len ? le16_to_cpu(d->e_value_offs) : 0);
	c->off += EXT4_XATTR_LEN(d->e_name_len);
	return 1;
}

const char *xattr_region_check(const struct xattr_region *r)
{
	struct xattr_cursor c;
	struct xattr_entry e;
	uint32_t table_end;
	int got;

	xattr_cursor_init(&c, r);
	do
		got = xattr_cursor_next(&c, &e);
	while (got > 0);
	if (got < 0)
		return "attributes: entry out of bounds";
	table_end = c.off + END_MARK_LEN;
	xattr_cursor_init(&c, r);
	while (xattr_cursor_next(&c, &e) > 0) {
		if (e.value && e.value_len && e.value < r->base + table_end)
			return "attributes: value inside the table of names";
	}
	return NULL;
}

int xattr_region_find(const struct xattr_region *r, const struct xattr_key *key,
		      struct xattr_entry *ret_entry)
{
	struct xattr_cursor c;
	int got;

	xattr_cursor_init(&c, r);
	while ((got = xattr_cursor_next(&c, ret_entry)) > 0) {
		if (xattr_key_eq(&ret_entry->key, key))
			return 0;
	}
	return got < 0 ? got : -ENODATA;
}

int xattr_vec_add(struct xattr_vec *v, const struct xattr_entry *e)
{
	if (v->count == v->room) {
		uint32_t room = v->room ? v->room * 2 : VEC_ROOM_FIRST;
		struct xattr_entry *grown = realloc(v->e, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		v->e = grown;
		v->room = room;
	}
	v->e[v->count++] = *e;
	return 0;
}

int xattr_vec_load(struct xattr_vec *v, const struct xattr_region *r, bool from_block)
{
	struct xattr_cursor c;
	struct xattr_entry e;
	int got;

	xattr_cursor_init(&c, r);
	while ((got = xattr_cursor_next(&c, &e)) > 0) {
		int err;

		e.from_block = from_block;
		err = xattr_vec_add(v, &e);
		if (err)
			return err;
	}
	return got;
}

struct xattr_entry *xattr_vec_find(const struct xattr_vec *v, const struct xattr_key *key)
{
	for (uint32_t k = 0; k < v->count; k++) {
		if (xattr_key_eq(&v->e[k].key, key))
			return &v->e[k];
	}
	return NULL;
}

void xattr_vec_remove(struct xattr_vec *v, struct xattr_entry *e)
{
	uint32_t k = (uint32_t)(e - v->e);

	CHECK(k < v->count);
	memmove(e, e + 1, (v->count - k - 1) * sizeof(*e));
	v->count--;
}

void xattr_vec_free(struct xattr_vec *v)
{
	free(v->e);
	*v = (struct xattr_vec){ 0 };
}

uint32_t xattr_entry_bytes(const struct xattr_entry *e)
{
	return EXT4_XATTR_LEN(e->key.len) + (e->value_inum ? 0 : EXT4_XATTR_SIZE(e->value_len));
}

uint32_t xattr_vec_bytes(const struct xattr_vec *v)
{
	uint32_t bytes = END_MARK_LEN;

	for (uint32_t k = 0; k < v->count; k++)
		bytes += xattr_entry_bytes(&v->e[k]);
	return bytes;
}

uint32_t xattr_hash(const struct xattr_key *key, const uint8_t *value, uint32_t len, bool is_signed)
{
	uint32_t hash = 0;

	for (uint32_t k = 0; k < key->len; k++) {
		uint32_t c = is_signed ? (uint32_t)(int32_t)(signed char)key->name[k] :
					 (uint32_t)(unsigned char)key->name[k];

		hash = (hash << 5 | hash >> 27) ^ c;
	}
	for (uint32_t k = 0; k < len; k += sizeof(le32)) {
		le32 word = { 0 };

		memcpy(&word, value + k, MIN(len - k, (uint32_t)sizeof(word)));
		hash = (hash << 16 | hash >> 16) ^ le32_to_cpu(word);
	}
	return hash;
}

static int entry_order(const void *pa, const void *pb)
{
	const struct xattr_key *a = &((const struct xattr_entry *)pa)->key;
	const struct xattr_key *b = &((const struct xattr_entry *)pb)->key;

	if (a->index != b->index)
		return a->index - b->index;
	if (a->len != b->len)
		return a->len - b->len;
	return memcmp(a->name, b->name, a->len);
}

void xattr_vec_write(const struct xattr_vec *v, uint8_t *base, const struct xattr_region *r,
		     bool hashed)
{
	uint32_t off = r->first, end = r->size;

	memset(base + off, 0, end - off);
	/* Linux searches blocks by order; the inode's tail may be in any. */
	if (v->count)
		qsort(v->e, v->count, sizeof(*v->e), entry_order);
	for (uint32_t k = 0; k < v->count; k++) {
		const struct xattr_entry *e = &v->e[k];
		struct ext4_xattr_entry *d = (struct ext4_xattr_entry *)(base + off);

		CHECK(xattr_entry_bytes(e) + END_MARK_LEN <= end - off);
		d->e_name_len = e->key.len;
		d->e_name_index = e->key.index;
		d->e_value_size = cpu_to_le32(e->value_len);
		memcpy(d->e_name, e->key.name, e->key.len);
		off += EXT4_XATTR_LEN(e->key.len);
		if (e->value_inum) {
			d->e_value_inum = cpu_to_le32(e->value_inum);
			d->e_hash = cpu_to_le32(e->hash);
			continue;
		}
		if (e->value_len) {
			end -= EXT4_XATTR_SIZE(e->value_len);
			d->e_value_offs = cpu_to_le16((uint16_t)(end - r->value_base));
			memcpy(base + end, e->value, e->value_len);
		}
		if (hashed)
			d->e_hash = cpu_to_le32(xattr_hash(&e->key, e->value, e->value_len, false));
	}
}
