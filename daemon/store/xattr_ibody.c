// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes in the inode's tail, behind the fixed fields, and among them system.data,
 * the rest of inline contents.
 *
 * Invariant: a tail that begins with the magic number holds sound entries, or the
 * operation fails with -EUCLEAN (reported); one without it holds no attributes.
 */
#include "daemon/store/xattr_ibody.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store/xattr_impl.h"

#define HEADER_LEN ((uint32_t)sizeof(struct ext4_xattr_ibody_header))
/* Header and end mark: a tail without room for more holds no attribute. */
/*
 * On the stack: the block of attributes, which comes first, may be written already, so that a
 * refusal of memory here could not be undone. Inodes larger than this are nobody's.
 */
#define IBODY_LEN_USUAL 1024
#define IBODY_LEN_MIN (HEADER_LEN + (uint32_t)sizeof(le32))

static const struct xattr_key data_key = {
	.index = EXT4_XATTR_INDEX_SYSTEM,
	.len = sizeof(EXT4_XATTR_SYSTEM_DATA) - 1,
	.name = EXT4_XATTR_SYSTEM_DATA,
};

static struct xattr_region ibody_region(const struct inode *i, const uint8_t *raw, uint32_t len)
{
	return (struct xattr_region){
		.base = raw,
		.size = len,
		.first = HEADER_LEN,
		.value_base = HEADER_LEN,
		.ea_inode = store_has_incompat(i->store, EXT4_FEATURE_INCOMPAT_EA_INODE),
	};
}

int xattr_ibody_load(struct inode *i, struct xattr_ibody *b)
{
	const struct ext4_xattr_ibody_header *head;
	const char *what;
	int err;

	b->raw = NULL;
	b->used = false;
	b->len = inode_ibody_space(i);
	if (b->len <= IBODY_LEN_MIN)
		return 0;
	b->raw = b->len <= sizeof(b->inline_buf) ? b->inline_buf : malloc(b->len);
	if (!b->raw)
		return -ENOMEM;
	err = inode_ibody_read(i, b->raw, b->len);
	if (err)
		goto out_unload;
	head = (const struct ext4_xattr_ibody_header *)b->raw;
	if (le32_to_cpu(head->h_magic) != EXT4_XATTR_MAGIC)
		return 0;
	b->region = ibody_region(i, b->raw, b->len);
	what = xattr_region_check(&b->region);
	if (what) {
		err = store_corrupt(i->store, i->ino, 0, what);
		goto out_unload;
	}
	b->used = true;
	return 0;

out_unload:
	xattr_ibody_unload(b);
	return err;
}

void xattr_ibody_unload(struct xattr_ibody *b)
{
	if (b->raw != b->inline_buf)
		free(b->raw);
	b->raw = NULL;
	b->used = false;
}

bool xattr_ibody_fits(const struct inode *i, uint32_t vec_bytes)
{
	uint32_t space = inode_ibody_space(i);

	return space > IBODY_LEN_MIN && vec_bytes <= space - HEADER_LEN;
}

int xattr_ibody_store(struct handle *h, struct inode *i, const struct xattr_vec *v)
{
	uint32_t len = inode_ibody_space(i);
	uint8_t usual[IBODY_LEN_USUAL] = { 0 };
	_cleanup_free_ uint8_t *large = NULL;
	uint8_t *raw = usual;
	struct xattr_region r;

	if (len <= IBODY_LEN_MIN)
		return v->count ? -ENOSPC : 0;
	if (len > sizeof(usual))
		raw = large = calloc(1, len);
	if (!raw)
		return -ENOMEM;
	if (v->count) {
		struct ext4_xattr_ibody_header *head = (struct ext4_xattr_ibody_header *)raw;

		head->h_magic = cpu_to_le32(EXT4_XATTR_MAGIC);
		r = ibody_region(i, raw, len);
		xattr_vec_write(v, raw, &r, false);
	}
	return inode_ibody_write(h, i, raw, len);
}

ssize_t xattr_ibody_data_get(struct inode *i, void *buf, size_t size)
{
	struct xattr_ibody b;
	struct xattr_entry e;
	ssize_t ret;
	int err = xattr_ibody_load(i, &b);

	if (err)
		return err;
	err = b.used ? xattr_region_find(&b.region, &data_key, &e) : -ENODATA;
	ret = err ? err : (ssize_t)e.value_len;
	if (err == 0 && e.value_inum) {
		ret = store_corrupt(i->store, i->ino, 0, "inline data in another inode");
	} else if (err == 0 && size > 0) {
		if (e.value_len <= size)
			memcpy(buf, e.value, e.value_len);
		else
			ret = -ERANGE;
	}
	xattr_ibody_unload(&b);
	return ret;
}

/* Replace, add or (NULL) remove system.data among the other entries. */
static int data_change(struct handle *h, struct inode *i, const void *value, size_t len)
{
	struct xattr_entry e = { .key = data_key, .value = value, .value_len = (uint32_t)len };
	struct xattr_vec v = { 0 };
	struct xattr_ibody b;
	struct xattr_entry *old;
	int err = xattr_ibody_load(i, &b);

	if (err)
		return err;
	if (b.used)
		err = xattr_vec_load(&v, &b.region, false);
	if (err)
		goto out_free;
	old = xattr_vec_find(&v, &data_key);
	if (old)
		xattr_vec_remove(&v, old);
	if (value)
		err = xattr_vec_add(&v, &e);
	if (err == 0 && value && !xattr_ibody_fits(i, xattr_vec_bytes(&v)))
		err = -ENOSPC;
	if (err == 0 && (value || old))
		err = xattr_ibody_store(h, i, &v);
out_free:
	xattr_vec_free(&v);
	xattr_ibody_unload(&b);
	return err;
}

int xattr_ibody_data_set(struct handle *h, struct inode *i, const void *value, size_t len)
{
	if (len > i->store->inode_size)
		return -ENOSPC;
	return data_change(h, i, value, len);
}

int xattr_ibody_data_remove(struct handle *h, struct inode *i)
{
	return data_change(h, i, NULL, 0);
}

int xattr_ibody_data_max(struct inode *i, uint32_t *ret_len)
{
	struct xattr_entry e = { .key = data_key };
	struct xattr_vec v = { 0 };
	struct xattr_ibody b;
	struct xattr_entry *old;
	uint32_t used;
	int err = xattr_ibody_load(i, &b);

	if (err)
		return err;
	if (b.used)
		err = xattr_vec_load(&v, &b.region, false);
	if (err == 0) {
		old = xattr_vec_find(&v, &data_key);
		if (old)
			xattr_vec_remove(&v, old);
		used = xattr_vec_bytes(&v) + xattr_entry_bytes(&e);
		if (xattr_ibody_fits(i, used))
			*ret_len = ROUND_DOWN(inode_ibody_space(i) - HEADER_LEN - used,
					      (uint32_t)EXT4_XATTR_PAD);
		else
			err = -ENOSPC;
	}
	xattr_vec_free(&v);
	xattr_ibody_unload(&b);
	return err;
}
