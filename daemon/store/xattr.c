// SPDX-License-Identifier: GPL-2.0-only
/*
 * Extended attributes by name: finding them in the inode's tail and in the block, and
 * deciding where a new value goes.
 *
 * Placement: the tail, else the block, else both are packed anew (larger entries moved
 * to where they fit); with ea_inode, values that are large or fit nowhere get an inode of
 * their own. An attribute is in one place only.
 *
 * Invariants
 * (1) Everything that can fail for want of space comes before the first change.
 * (2) An EA inode has one reference for each entry on disk that names it. A shared
 *     block counts once: an inode that copies it adds references, one that leaves it
 *     alive takes none away.
 * (3) The "known to have none" bits (INODE_NOXATTR and so on) are set only after both
 *     places were read, and cleared by every set before its lock is given up.
 */
#include "daemon/store/xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/store/alloc.h"
#include "daemon/store/xattr_impl.h"

/* Larger values go to an inode of their own at once: beside them a block holds little. */
#define EA_VALUE_LEN_MIN(block_size)                                                               \
	((block_size)-EXT4_XATTR_LEN(3) - (uint32_t)sizeof(struct ext4_xattr_header) - 4)

struct prefix {
	uint8_t index;
	bool whole; /* nothing follows */
	uint8_t len;
	const char *text;
};

#define PREFIX(i, w, t)                                                                            \
	{                                                                                          \
		.index = (i), .whole = (w), .len = sizeof(t) - 1, .text = (t)                      \
	}

static const struct prefix prefixes[] = {
	PREFIX(EXT4_XATTR_INDEX_USER, false, "user."),
	PREFIX(EXT4_XATTR_INDEX_SECURITY, false, "security."),
	PREFIX(EXT4_XATTR_INDEX_TRUSTED, false, "trusted."),
	PREFIX(EXT4_XATTR_INDEX_POSIX_ACL_ACCESS, true, "system.posix_acl_access"),
	PREFIX(EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT, true, "system.posix_acl_default"),
};

static bool index_is_acl(uint8_t index)
{
	return index == EXT4_XATTR_INDEX_POSIX_ACL_ACCESS ||
	       index == EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT;
}

static bool key_is_capability(const struct xattr_key *key)
{
	static const char name[] = "capability";

	return key->index == EXT4_XATTR_INDEX_SECURITY && key->len == sizeof(name) - 1 &&
	       memcmp(key->name, name, sizeof(name) - 1) == 0;
}

/* Does the mount show attributes of this kind? */
static bool index_enabled(const struct store *s, uint8_t index)
{
	if (index == EXT4_XATTR_INDEX_USER)
		return !s->opts.nouser_xattr;
	return !index_is_acl(index) || !s->opts.noacl;
}

/* -EOPNOTSUPP, -EINVAL for nothing behind the prefix, -ERANGE for a name too long. */
static int parse_name(const struct store *s, const char *name, struct xattr_key *ret_key)
{
	for (uint32_t k = 0; k < ARRAY_SIZE(prefixes); k++) {
		const struct prefix *p = &prefixes[k];
		size_t rest;

		if (strncmp(name, p->text, p->len))
			continue;
		rest = strlen(name + p->len);
		if (p->whole && rest)
			continue;
		if (!index_enabled(s, p->index))
			return -EOPNOTSUPP;
		if (!p->whole && rest == 0)
			return -EINVAL;
		if (rest + p->len > XATTR_NAME_LEN_MAX)
			return -ERANGE;
		*ret_key = (struct xattr_key){ p->index, (uint8_t)rest, name + p->len };
		return 0;
	}
	return -EOPNOTSUPP;
}

/* ---- reading -------------------------------------------------------------- */

/* One pass over entries: the wanted one, and what kinds there are. */
struct search {
	const struct xattr_key *key;
	struct xattr_entry entry;
	bool found, any, acl, cap;
};

static int search_region(struct search *f, const struct xattr_region *r)
{
	struct xattr_cursor c;
	struct xattr_entry e;
	int got;

	xattr_cursor_init(&c, r);
	while ((got = xattr_cursor_next(&c, &e)) > 0) {
		if (xattr_key_eq(&e.key, f->key)) {
			f->entry = e;
			f->found = true;
			return 0;
		}
		f->any = f->any || e.key.index != EXT4_XATTR_INDEX_SYSTEM;
		f->acl = f->acl || index_is_acl(e.key.index);
		f->cap = f->cap || key_is_capability(&e.key);
	}
	return got;
}

/* Copy the value out of its region; one in an EA inode is read later. */
static ssize_t take_value(const struct search *f, void *buf, size_t size)
{
	if (size == 0)
		return f->entry.value_len;
	if (f->entry.value_len > size)
		return -ERANGE;
	if (f->entry.value)
		memcpy(buf, f->entry.value, f->entry.value_len);
	return f->entry.value_len;
}

static ssize_t search_ibody(struct inode *i, struct search *f, void *buf, size_t size)
{
	struct xattr_ibody b;
	ssize_t ret;
	int err = xattr_ibody_load(i, &b);

	if (err)
		return err;
	if (b.used)
		err = search_region(f, &b.region);
	ret = err;
	if (err == -EUCLEAN)
		ret = store_corrupt(i->store, i->ino, 0, "attributes: entry out of bounds");
	else if (err == 0 && f->found)
		ret = take_value(f, buf, size);
	xattr_ibody_unload(&b);
	return ret;
}

static ssize_t search_block(struct inode *i, struct search *f, void *buf, size_t size)
{
	struct xattr_region r;
	struct buf *b;
	ssize_t ret;
	int err = xattr_block_read(i, &b);

	if (err)
		return err;
	rwlock_read(&b->lock);
	r = xattr_block_region(i, b->data);
	err = search_region(f, &r);
	ret = err;
	if (err == 0 && f->found)
		ret = take_value(f, buf, size);
	rwlock_unread(&b->lock);
	if (err == -EUCLEAN)
		ret = store_corrupt(i->store, i->ino, b->pblk, "attributes: entry out of bounds");
	buf_put(b);
	return ret;
}

static uint32_t absent_bit(const struct xattr_key *key)
{
	if (index_is_acl(key->index))
		return INODE_NOACL;
	return key_is_capability(key) ? INODE_NOCAP : 0;
}

static void note_absent(struct inode *i, const struct search *f)
{
	uint32_t bits = 0;

	if (!f->any)
		bits |= INODE_NOXATTR;
	if (!f->acl)
		bits |= INODE_NOACL;
	if (!f->cap)
		bits |= INODE_NOCAP;
	if (bits & ~atomic_load_explicit(&i->state, memory_order_relaxed))
		atomic_fetch_or(&i->state, bits);
}

ssize_t xattr_get_raw(struct inode *i, const struct xattr_key *key, void *buf, size_t size)
{
	struct search f = { .key = key };
	ssize_t ret;

	if (atomic_load(&i->state) & (INODE_NOXATTR | absent_bit(key)))
		return -ENODATA;
	ret = search_ibody(i, &f, buf, size);
	if (ret >= 0 && !f.found && i->file_acl)
		ret = search_block(i, &f, buf, size);
	if (ret < 0)
		return ret;
	if (!f.found) {
		note_absent(i, &f);
		return -ENODATA;
	}
	if (f.entry.value_inum && size > 0) {
		int err;

		f.entry.key = *key; /* the region it pointed into is gone */
		err = ea_inode_read(i, &f.entry, buf);
		if (err)
			return err;
	}
	return ret;
}

ssize_t xattr_get(struct inode *i, const char *name, void *buf, size_t size)
{
	struct xattr_key key;
	int err = parse_name(i->store, name, &key);

	if (err)
		return err;
	if (index_is_acl(key.index))
		return acl_get_wire(i, key.index == EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT, buf, size);
	return xattr_get_raw(i, &key, buf, size);
}

struct listing {
	const struct store *store;
	char *buf;
	size_t size, len;
	bool any;
};

static int list_region(struct listing *l, const struct xattr_region *r)
{
	struct xattr_cursor c;
	struct xattr_entry e;
	int got;

	xattr_cursor_init(&c, r);
	while ((got = xattr_cursor_next(&c, &e)) > 0) {
		const struct prefix *p = NULL;

		l->any = l->any || e.key.index != EXT4_XATTR_INDEX_SYSTEM;
		for (uint32_t k = 0; k < ARRAY_SIZE(prefixes); k++) {
			if (prefixes[k].index == e.key.index)
				p = &prefixes[k];
		}
		if (!p || !index_enabled(l->store, p->index) || p->whole != (e.key.len == 0))
			continue;
		if (l->size > 0) {
			if (l->size - l->len < (size_t)p->len + e.key.len + 1)
				return -ERANGE;
			memcpy(l->buf + l->len, p->text, p->len);
			memcpy(l->buf + l->len + p->len, e.key.name, e.key.len);
			l->buf[l->len + p->len + e.key.len] = 0;
		}
		l->len += (size_t)p->len + e.key.len + 1;
	}
	return got;
}

static int list_block(struct inode *i, struct listing *l)
{
	struct xattr_region r;
	struct buf *b;
	int err = xattr_block_read(i, &b);

	if (err)
		return err;
	rwlock_read(&b->lock);
	r = xattr_block_region(i, b->data);
	err = list_region(l, &r);
	rwlock_unread(&b->lock);
	buf_put(b);
	return err;
}

ssize_t xattr_list(struct inode *i, char *buf, size_t size)
{
	struct listing l = { .store = i->store, .buf = buf, .size = size };
	struct xattr_ibody b;
	int err;

	if (atomic_load(&i->state) & INODE_NOXATTR)
		return 0;
	err = xattr_ibody_load(i, &b);
	if (err)
		return err;
	if (b.used)
		err = list_region(&l, &b.region);
	xattr_ibody_unload(&b);
	if (err == 0 && i->file_acl)
		err = list_block(i, &l);
	if (err == -EUCLEAN)
		return store_corrupt(i->store, i->ino, 0, "attributes: entry out of bounds");
	if (err)
		return err;
	if (!l.any)
		atomic_fetch_or(&i->state, INODE_NOXATTR);
	return (ssize_t)l.len;
}

/* ---- changing ------------------------------------------------------------- */

/* All entries of an inode, decoded from copies. */
struct xattrs {
	struct xattr_ibody ibody;
	uint8_t *block;		  /* copy */
	struct xattr_vec in, out; /* in the tail, in the block */
	bool in_changed, out_changed;
};

static void xattrs_unload(struct xattrs *x)
{
	xattr_vec_free(&x->in);
	xattr_vec_free(&x->out);
	xattr_ibody_unload(&x->ibody);
	free(x->block);
}

static int load_block(struct inode *i, struct xattrs *x)
{
	struct xattr_region r;
	struct buf *b;
	int err = xattr_block_read(i, &b);

	if (err)
		return err;
	x->block = malloc(i->store->block_size);
	if (x->block) {
		rwlock_read(&b->lock);
		memcpy(x->block, b->data, i->store->block_size);
		rwlock_unread(&b->lock);
		r = xattr_block_region(i, x->block);
		err = xattr_vec_load(&x->out, &r, true);
	} else {
		err = -ENOMEM;
	}
	buf_put(b);
	return err;
}

static int xattrs_load(struct inode *i, struct xattrs *x)
{
	int err;

	x->block = NULL;
	x->in = x->out = (struct xattr_vec){ 0 };
	x->in_changed = x->out_changed = false;
	err = xattr_ibody_load(i, &x->ibody);
	if (err)
		return err;
	if (x->ibody.used)
		err = xattr_vec_load(&x->in, &x->ibody.region, false);
	if (err == 0 && i->file_acl)
		err = load_block(i, x);
	if (err == -EUCLEAN)
		err = store_corrupt(i->store, i->ino, i->file_acl, "attributes: cannot be read");
	if (err)
		xattrs_unload(x);
	return err;
}

static int entry_larger_first(const void *pa, const void *pb)
{
	uint32_t a = xattr_entry_bytes(pa), b = xattr_entry_bytes(pb);

	return a < b ? 1 : a > b ? -1 : 0;
}

/* Distribute @all, larger entries first, with the tail or the block as first choice. */
static int distribute(const struct inode *i, const struct xattr_vec *all, bool tail_first,
		      struct xattr_vec *in, struct xattr_vec *out)
{
	for (uint32_t k = 0; k < all->count; k++) {
		const struct xattr_entry *e = &all->e[k];
		uint32_t bytes = xattr_entry_bytes(e);
		bool fits_in = xattr_ibody_fits(i, xattr_vec_bytes(in) + bytes);
		bool fits_out = xattr_block_fits(i, xattr_vec_bytes(out) + bytes);
		int err;

		if (!fits_in && !fits_out)
			return -ENOSPC;
		err = xattr_vec_add(fits_in && (tail_first || !fits_out) ? in : out, e);
		if (err)
			return err;
	}
	return 0;
}

/* Place everything and @add anew. Inline contents stay where they are. */
static int repack(const struct inode *i, struct xattrs *x, const struct xattr_entry *add)
{
	struct xattr_vec all = { 0 };
	int err = xattr_vec_add(&all, add);

	for (uint32_t k = 0; err == 0 && k < x->in.count; k++) {
		if (x->in.e[k].key.index != EXT4_XATTR_INDEX_SYSTEM)
			err = xattr_vec_add(&all, &x->in.e[k]);
	}
	for (uint32_t k = 0; err == 0 && k < x->out.count; k++)
		err = xattr_vec_add(&all, &x->out.e[k]);
	if (err)
		goto out_free;
	qsort(all.e, all.count, sizeof(*all.e), entry_larger_first);
	err = -ENOSPC;
	for (int tail_first = 1; err == -ENOSPC && tail_first >= 0; tail_first--) {
		struct xattr_vec in = { 0 }, out = { 0 };

		err = 0;
		for (uint32_t k = 0; err == 0 && k < x->in.count; k++) {
			if (x->in.e[k].key.index == EXT4_XATTR_INDEX_SYSTEM)
				err = xattr_vec_add(&in, &x->in.e[k]);
		}
		if (err == 0)
			err = distribute(i, &all, tail_first, &in, &out);
		if (err == 0) {
			xattr_vec_free(&x->in);
			xattr_vec_free(&x->out);
			x->in = in;
			x->out = out;
			x->in_changed = x->out_changed = true;
		} else {
			xattr_vec_free(&in);
			xattr_vec_free(&out);
		}
	}
out_free:
	xattr_vec_free(&all);
	return err;
}

/* Find room for @add. */
static int place(const struct inode *i, struct xattrs *x, const struct xattr_entry *add)
{
	uint32_t bytes = xattr_entry_bytes(add);

	if (xattr_ibody_fits(i, xattr_vec_bytes(&x->in) + bytes)) {
		x->in_changed = true;
		return xattr_vec_add(&x->in, add);
	}
	if (xattr_block_fits(i, xattr_vec_bytes(&x->out) + bytes)) {
		x->out_changed = true;
		return xattr_vec_add(&x->out, add);
	}
	return repack(i, x, add);
}

/* Take @key's entry out; false when there is none. */
static bool take_out(struct xattrs *x, const struct xattr_key *key, struct xattr_entry *ret_old)
{
	struct xattr_entry *e = xattr_vec_find(&x->in, key);

	if (e) {
		*ret_old = *e;
		xattr_vec_remove(&x->in, e);
		x->in_changed = true;
		return true;
	}
	e = xattr_vec_find(&x->out, key);
	if (e) {
		*ret_old = *e;
		xattr_vec_remove(&x->out, e);
		x->out_changed = true;
		return true;
	}
	return false;
}

/* The block's entries were copied while it lives on for others: their EA inodes have new referers. */
static int ref_copied(struct handle *h, struct inode *i, const struct xattr_vec *v)
{
	for (uint32_t k = 0; k < v->count; k++) {
		int err = 0;

		if (v->e[k].from_block && v->e[k].value_inum)
			err = ea_inode_ref(h, i, v->e[k].value_inum);
		if (err)
			return err;
	}
	return 0;
}

/* Write what changed; *ret_kept as xattr_block_store() says. */
static int xattrs_store(struct handle *h, struct inode *i, struct xattrs *x, bool *ret_kept)
{
	int err = 0;

	*ret_kept = false;
	if (x->out_changed)
		err = xattr_block_store(h, i, &x->out, ret_kept);
	if (err == 0 && x->in_changed)
		err = xattr_ibody_store(h, i, &x->in);
	if (err == 0 && *ret_kept)
		err = ref_copied(h, i, &x->in);
	if (err == 0 && *ret_kept)
		err = ref_copied(h, i, &x->out);
	return err;
}

static bool wants_ea_inode(const struct store *s, size_t len)
{
	return store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EA_INODE) &&
	       len > EA_VALUE_LEN_MIN(s->block_size);
}

/* Make @add an entry with its value in an EA inode and find room for it. */
static int place_in_ea_inode(struct handle *h, struct inode *i, struct xattrs *x,
			     struct xattr_entry *add)
{
	int err;

	if (!store_has_incompat(i->store, EXT4_FEATURE_INCOMPAT_EA_INODE) || add->value_len == 0)
		return -ENOSPC;
	err = ea_inode_create(h, i, add->value, add->value_len, add);
	if (err)
		return err;
	err = place(i, x, add);
	if (err)
		(void)ea_inode_unref(h, i,
				     add->value_inum); /* the first error is the one to tell */
	return err;
}

/* *ret_inum: the EA inode made for the value, 0 = none. */
static int place_value(struct handle *h, struct inode *i, struct xattrs *x,
		       const struct xattr_set_raw *set, uint32_t *ret_inum)
{
	struct xattr_entry add = {
		.key = set->key,
		.value = set->value,
		.value_len = (uint32_t)set->len,
	};
	int err = -ENOSPC;

	if (!wants_ea_inode(i->store, set->len))
		err = place(i, x, &add);
	if (err == -ENOSPC)
		err = place_in_ea_inode(h, i, x, &add);
	*ret_inum = err ? 0 : add.value_inum;
	return err;
}

/* ext4 counts the blocks of values in EA inodes as the owner's, once for each entry. */
static int64_t ea_blocks(const struct inode *i, const struct xattrs *x)
{
	int64_t n = 0;

	for (uint32_t k = 0; k < x->in.count; k++) {
		if (x->in.e[k].value_inum)
			n += DIV_ROUND_UP(x->in.e[k].value_len, i->store->block_size);
	}
	for (uint32_t k = 0; k < x->out.count; k++) {
		if (x->out.e[k].value_inum)
			n += DIV_ROUND_UP(x->out.e[k].value_len, i->store->block_size);
	}
	return n;
}

static bool value_same(const struct xattr_entry *e, const struct xattr_set_raw *set)
{
	return set->value && e->value && e->value_len == set->len &&
	       memcmp(e->value, set->value, set->len) == 0;
}

/* The entry @old is gone from disk, with its reference unless a shared block keeps it. */
static int drop_old(struct handle *h, struct inode *i, const struct xattr_entry *old, bool kept)
{
	int err;

	if (!old->value_inum || (old->from_block && kept))
		return 0;
	/* Deleting may close the transaction: what refers to the inode must be in it. */
	err = inode_write(h, i);
	return err ? err : ea_inode_unref(h, i, old->value_inum);
}

/* @old was taken out of @x, if it was there. */
static int replace(struct handle *h, struct inode *i, struct xattrs *x,
		   const struct xattr_set_raw *set, const struct xattr_entry *old, int64_t blocks)
{
	uint32_t inum = 0;
	bool kept;
	int err;

	if (set->value) {
		err = place_value(h, i, x, set, &inum);
		if (err)
			return err;
		if (!store_has_compat(i->store, EXT4_FEATURE_COMPAT_EXT_ATTR)) {
			err = store_set_feature(i->store, h, EXT4_FEATURE_COMPAT_EXT_ATTR, 0, 0);
			if (err)
				return err;
		}
	}
	err = xattrs_store(h, i, x, &kept);
	/* No block or no memory for it, and nothing was changed: the value's inode has no referer. */
	if ((err == -ENOSPC || err == -ENOMEM) && inum)
		(void)ea_inode_unref(h, i, inum); /* the first error is the one to tell */
	if (err)
		return err;
	inode_add_blocks(i, ea_blocks(i, x) - blocks);
	return drop_old(h, i, old, kept);
}

static int change(struct handle *h, struct inode *i, struct xattrs *x,
		  const struct xattr_set_raw *set)
{
	struct xattr_entry old = { 0 };
	int64_t blocks = ea_blocks(i, x);
	bool had = take_out(x, &set->key, &old);
	struct inode *ea = NULL;
	int err;

	if (had && (set->flags & XATTR_SET_CREATE) && set->value)
		return -EEXIST;
	if (!had && (!set->value || (set->flags & XATTR_SET_REPLACE)))
		return -ENODATA;
	if (had && value_same(&old, set))
		return 0;
	err = ea_inode_hold(i, old.value_inum, &ea);
	if (err == 0)
		err = replace(h, i, x, set, &old, blocks);
	if (ea)
		inode_put(ea);
	return err;
}

int xattr_set_raw(struct handle *h, struct inode *i, const struct xattr_set_raw *set)
{
	uint64_t file_acl = i->file_acl;
	struct xattrs x;
	int err;

	CHECK(rwlock_is_write_locked(&i->lock));
	if (set->value && set->len > XATTR_VALUE_LEN_MAX)
		return -E2BIG;
	err = xattrs_load(i, &x);
	if (err)
		return err;
	err = change(h, i, &x, set);
	xattrs_unload(&x);
	/* The block it has left does not count it any more: the image must not say otherwise. */
	if (err && i->file_acl != file_acl)
		(void)inode_write(h, i); /* a second failure is that of an aborted journal */
	atomic_fetch_and(&i->state, ~(uint32_t)(INODE_NOXATTR | INODE_NOACL | INODE_NOCAP));
	return err;
}

static int set_acl(struct handle *h, struct inode *i, bool is_default, const struct xattr_set *x)
{
	uint16_t mode = i->mode;
	int err;

	if (!x->value)
		return acl_set(h, i, is_default, NULL);
	err = acl_set_wire(h, i, is_default, x->value, x->len, &mode);
	if (err == 0)
		i->mode = mode;
	return err;
}

int xattr_set(struct handle *h, struct inode *i, const struct xattr_set *x)
{
	struct xattr_set_raw raw = { .value = x->value, .len = x->len, .flags = x->flags };
	int err = parse_name(i->store, x->name, &raw.key);

	if (err)
		return err;
	if (index_is_acl(raw.key.index))
		return set_acl(h, i, raw.key.index == EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT, x);
	return xattr_set_raw(h, i, &raw);
}

/* With ea_inode: a new inode and its blocks, and the old value's inode deleted. */
uint32_t xattr_credits(const struct store *s, size_t value_len)
{
	uint32_t credits = CREDITS_XATTR;

	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EA_INODE))
		credits += CREDITS_NEW_INODE + 2 * CREDITS_MAP +
			   (uint32_t)DIV_ROUND_UP(value_len, s->block_size) + CREDITS_ORPHAN +
			   2 * CREDITS_MAP + CREDITS_INODE + 2 * CREDITS_ALLOC;
	return credits;
}

/* EA inodes without a reference any more, on the orphan list and to be freed; and all that are held. */
struct doomed {
	struct inode **v, **held;
	uint32_t count, held_count;
};

/* Corruption must not keep an inode from being deleted; it has been reported. */
static int drop_refs(struct handle *h, struct inode *i, const struct xattr_vec *v, struct doomed *d)
{
	for (uint32_t k = 0; k < v->count; k++) {
		struct inode *ea = NULL;
		int err = v->e[k].value_inum ? ea_inode_drop(h, i, v->e[k].value_inum, &ea) : 0;

		if (ea)
			d->v[d->count++] = ea;
		if (err && err != -EUCLEAN && err != -EBADMSG)
			return err;
	}
	return 0;
}

/* After the first error the rest is left to recovery, which finds them on the orphan list. */
static int free_doomed(struct handle *h, const struct doomed *d, int err)
{
	for (uint32_t k = 0; k < d->count; k++) {
		if (err)
			inode_put(d->v[k]);
		else
			err = ea_inode_free(h, d->v[k]);
		if (err == -EUCLEAN || err == -EBADMSG)
			err = 0;
	}
	for (uint32_t k = 0; k < d->held_count; k++)
		if (d->held[k])
			inode_put(d->held[k]);
	free(d->v);
	return err;
}

/* Room for what has to happen in one transaction, before any of it. */
static int delete_prepare(struct handle *h, struct inode *i, const struct xattrs *x,
			  struct doomed *d)
{
	uint32_t count = x->in.count + x->out.count, want = CREDITS_XATTR + CREDITS_EA_DROP * count;
	int ret = 0;

	d->v = calloc(2 * count + 1, sizeof(*d->v));
	if (!d->v)
		return -ENOMEM;
	d->held = d->v + count;
	for (uint32_t k = 0; k < count; k++) {
		const struct xattr_entry *e = k < x->in.count ? &x->in.e[k] :
								&x->out.e[k - x->in.count];
		int err = ea_inode_hold(i, e->value_inum, &d->held[k]);

		if (err)
			return err;
		d->held_count++;
	}
	if (h->credits < want)
		ret = journal_extend(h, MIN(want, journal_credits_max(h->journal)));
	if (ret < 0)
		return ret;
	/* Failing later, freeing the block would leave values that the inode no longer names. */
	return i->file_acl ? balloc_free_prepare(h, i->store, i->file_acl) : 0;
}

/*
 * The inode forgets its attributes and their references go in one transaction; only then
 * the values are freed, in others if need be. A crash in between leaves orphans, not
 * inodes that nothing names.
 */
static int delete_all(struct handle *h, struct inode *i, const struct xattrs *x, struct doomed *d)
{
	struct xattr_vec gone = { 0 }, stays = { 0 }, none = { 0 };
	bool kept = false;
	int err = 0;

	for (uint32_t k = 0; err == 0 && k < x->in.count; k++)
		err = xattr_vec_add(x->in.e[k].value_inum ? &gone : &stays, &x->in.e[k]);
	if (err == 0 && gone.count)
		err = xattr_ibody_store(h, i, &stays);
	if (err == 0 && i->file_acl)
		err = xattr_block_store(h, i, &none, &kept);
	if (err == 0 && (gone.count || (!kept && x->out.count)))
		err = inode_write(h, i);
	if (err == 0)
		err = drop_refs(h, i, &gone, d);
	if (err == 0 && !kept)
		err = drop_refs(h, i, &x->out, d);
	xattr_vec_free(&gone);
	xattr_vec_free(&stays);
	return err;
}

int xattr_delete_all(struct handle *h, struct inode *i)
{
	struct doomed d = { 0 };
	struct xattrs x;
	int err = xattrs_load(i, &x);

	if (err == -EUCLEAN || err == -EBADMSG) {
		i->file_acl = 0; /* leaked, for e2fsck to find, rather than freed on suspicion */
		return 0;
	}
	if (err)
		return err;
	err = delete_prepare(h, i, &x, &d);
	if (err == 0)
		err = delete_all(h, i, &x, &d);
	err = free_doomed(h, &d, err);
	xattrs_unload(&x);
	return err;
}
