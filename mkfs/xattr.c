/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attributes. Entries in a block are sorted by namespace, name length and name, as the kernel
 * searches them; those in the inode need no order but get the same.
 */
#include "mkfs/xattr.h"

#include "mkfs/mkfs.h"
#include "mkfs/say.h"

#include "daemon/base/check.h"
#include "daemon/base/crc.h"
#include "daemon/block/bdev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define POSIX_ACL_XATTR_VERSION 2
#define ENTRY_BYTES ((uint32_t)sizeof(struct ext4_xattr_entry))
#define LIST_END_BYTES 4 /* zero word after the last entry */

struct namespace
{
	const char *prefix;
	uint8_t index;
	bool whole; /* the prefix is the whole name */
};

static const struct namespace namespaces[] = {
	{ "user.", EXT4_XATTR_INDEX_USER, false },
	{ "trusted.", EXT4_XATTR_INDEX_TRUSTED, false },
	{ "security.", EXT4_XATTR_INDEX_SECURITY, false },
	{ "system.posix_acl_access", EXT4_XATTR_INDEX_POSIX_ACL_ACCESS, true },
	{ "system.posix_acl_default", EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT, true },
};

static const struct namespace *namespace_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
		const struct namespace *n = &namespaces[i];
		size_t len = strlen(n->prefix);

		if (!strncmp(name, n->prefix, len) && !name[len] == n->whole)
			return n;
	}
	return NULL;
}

void xattrs_fini(struct xattrs *x)
{
	for (size_t i = 0; i < x->count; i++) {
		free(x->v[i].name);
		free(x->v[i].value);
	}
	free(x->v);
	*x = (struct xattrs){ 0 };
}

/* From the system call's form of an ACL to the one on disk, in place: it only shrinks. */
static int acl_convert(struct xattr *a)
{
	struct acl_in {
		le16 tag, perm;
		le32 id;
	};
	struct ext4_acl_header header = { cpu_to_le32(EXT4_ACL_VERSION) };
	uint32_t from = sizeof(le32), to = sizeof(header);
	le32 version;

	if (a->size < sizeof(version))
		return -EINVAL;
	memcpy(&version, a->value, sizeof(version));
	if (le32_to_cpu(version) != POSIX_ACL_XATTR_VERSION ||
	    (a->size - from) % sizeof(struct acl_in))
		return -EINVAL;
	memcpy(a->value, &header, sizeof(header));
	for (; from < a->size; from += sizeof(struct acl_in)) {
		struct acl_in in;
		uint16_t tag;

		memcpy(&in, a->value + from, sizeof(in));
		tag = le16_to_cpu(in.tag);
		if (tag == EXT4_ACL_USER || tag == EXT4_ACL_GROUP) {
			struct ext4_acl_entry e = { in.tag, in.perm, in.id };

			memcpy(a->value + to, &e, sizeof(e));
			to += sizeof(e);
		} else {
			struct ext4_acl_entry_short e = { in.tag, in.perm };

			memcpy(a->value + to, &e, sizeof(e));
			to += sizeof(e);
		}
	}
	a->size = to;
	return 0;
}

static int value_read(int fd, const char *path, const char *name, struct xattr *a)
{
	for (int tries = 0; tries < 8; tries++) {
		ssize_t size = fd >= 0 ? fgetxattr(fd, name, NULL, 0) :
					 lgetxattr(path, name, NULL, 0);

		if (size < 0)
			return -errno;
		free(a->value);
		a->value = malloc((size_t)size + 1);
		if (!a->value)
			return -ENOMEM;
		size = fd >= 0 ? fgetxattr(fd, name, a->value, (size_t)size) :
				 lgetxattr(path, name, a->value, (size_t)size);
		if (size >= 0) {
			a->size = (uint32_t)size;
			return 0;
		}
		if (errno != ERANGE)
			return -errno;
	}
	return -EBUSY;
}

static int xattr_add(struct xattrs *x, int fd, const char *path, const char *name)
{
	const struct namespace *n = namespace_find(name);
	struct xattr *a;
	int r;

	if (!n)
		return 0;
	if (x->count == x->room) {
		size_t room = x->room ? x->room * 2 : 8;
		struct xattr *v = reallocarray(x->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		x->v = v;
		x->room = room;
	}
	a = &x->v[x->count];
	*a = (struct xattr){ .index = n->index, .name = strdup(name + strlen(n->prefix)) };
	if (!a->name)
		return -ENOMEM;
	a->name_len = (uint8_t)strlen(a->name);
	x->count++;
	r = value_read(fd, path, name, a);
	if (r == -ENODATA) {
		/* It went while we looked: as if it had never been there. */
		free(a->name);
		free(a->value);
		x->count--;
		return 0;
	}
	return r == 0 && n->whole ? acl_convert(a) : r;
}

static int xattr_compare(const void *left, const void *right)
{
	const struct xattr *a = left, *b = right;

	if (a->index != b->index)
		return a->index < b->index ? -1 : 1;
	if (a->name_len != b->name_len)
		return a->name_len < b->name_len ? -1 : 1;
	return memcmp(a->name, b->name, a->name_len);
}

int xattrs_read(struct xattrs *x, int fd, const char *path)
{
	ssize_t len = fd >= 0 ? flistxattr(fd, NULL, 0) : llistxattr(path, NULL, 0);
	_cleanup_free_ char *list = NULL;
	int r = 0;

	if (len < 0 && errno == ENOTSUP)
		return 0;
	if (len < 0)
		return fail(-errno, "%s: listing its attributes", path);
	if (len == 0)
		return 0;
	list = malloc((size_t)len);
	if (!list)
		return fail(-ENOMEM, "%s", path);
	len = fd >= 0 ? flistxattr(fd, list, (size_t)len) : llistxattr(path, list, (size_t)len);
	if (len < 0)
		return fail(-errno, "%s: listing its attributes", path);
	for (const char *name = list; r == 0 && name < list + len; name += strlen(name) + 1) {
		r = xattr_add(x, fd, path, name);
		if (r < 0)
			r = fail(r, "%s: reading its attribute %s", path, name);
	}
	if (x->count)
		qsort(x->v, x->count, sizeof(*x->v), xattr_compare);
	return r;
}

/* ---- forms on disk ---- */

static uint32_t rotl(uint32_t n, unsigned int by)
{
	return n << by | n >> (32 - by);
}

/* The hash of name and value words; an EA inode's value stands in by its checksum. */
static uint32_t entry_hash(const struct xattr *a, const uint8_t *words, uint32_t bytes)
{
	uint32_t hash = 0;

	for (uint32_t i = 0; i < a->name_len; i++)
		hash = (hash << 5) ^ (hash >> 27) ^ (uint8_t)a->name[i];
	for (uint32_t i = 0; i < bytes; i += 4) {
		uint8_t word[4] = { 0 };
		le32 w;

		memcpy(word, words + i, MIN(bytes - i, 4u));
		memcpy(&w, word, sizeof(w));
		hash = rotl(hash, 16) ^ le32_to_cpu(w);
	}
	return hash;
}

/* Where entries and values of one area go: entries upwards, values downwards. */
struct area {
	uint8_t *base; /* value offsets count from here */
	uint32_t entry_at, value_at;
	uint32_t block_hash;
	bool hashed; /* a block: entries carry hashes */
};

static uint32_t value_room(const struct xattr *a)
{
	return a->value_ino ? 0 : EXT4_XATTR_SIZE(a->size);
}

static bool area_fits(const struct area *area, const struct xattr *a)
{
	return area->entry_at + EXT4_XATTR_LEN(a->name_len) + LIST_END_BYTES + value_room(a) <=
	       area->value_at;
}

static void area_put(struct area *area, const struct xattr *a)
{
	struct ext4_xattr_entry *e = (void *)(area->base + area->entry_at);

	CHECK(area_fits(area, a));
	e->e_name_len = a->name_len;
	e->e_name_index = a->index;
	e->e_value_inum = cpu_to_le32(a->value_ino);
	e->e_value_size = cpu_to_le32(a->size);
	memcpy(e->e_name, a->name, a->name_len);
	if (!a->value_ino && a->size) {
		area->value_at -= value_room(a);
		e->e_value_offs = cpu_to_le16((uint16_t)area->value_at);
		memcpy(area->base + area->value_at, a->value, a->size);
	}
	if (area->hashed || a->value_ino)
		e->e_hash = cpu_to_le32(a->hash);
	area->block_hash = rotl(area->block_hash, 16) ^ a->hash;
	area->entry_at += EXT4_XATTR_LEN(a->name_len);
}

/* An inode that is nothing but the value of one attribute. */
static int value_inode_make(struct mkfs *m, struct xattr *a)
{
	uint32_t bs = m->geo.block_size, blocks = DIV_ROUND_UP(a->size, bs);
	_cleanup_free_ uint8_t *data = calloc(blocks, bs);
	uint32_t crc = crc32c(m->csum_seed, a->value, a->size);
	le32 word = cpu_to_le32(crc);
	struct runs runs = { 0 };
	struct inode_image img;
	int r;

	if (!data)
		return fail(-ENOMEM, "attribute value");
	memcpy(data, a->value, a->size);
	r = inode_alloc(m, false, &a->value_ino);
	if (r == 0)
		r = runs_alloc(m, &runs, 0, blocks, &m->data_goal);
	for (size_t i = 0; r == 0 && i < runs.count; i++) {
		r = bdev_write(m->bdev, data + (size_t)runs.v[i].lblk * bs,
			       (size_t)runs.v[i].len * bs, runs.v[i].pblk * bs);
		if (r < 0)
			r = fail(r, "writing an attribute value");
	}
	if (r == 0) {
		inode_init(m, &img, EXT4_S_IFREG | 0600, 1);
		inode_set_size(m, &img, a->size);
		img.inode.i_flags = cpu_to_le32(EXT4_EA_INODE_FL);
		img.inode.i_atime = cpu_to_le32(crc);	 /* the value's hash */
		img.inode.i_ctime = cpu_to_le32(0);	 /* reference count, high half */
		img.inode.i_version_lo = cpu_to_le32(1); /* and low half */
		r = mapping_write(m, a->value_ino, &img, &runs);
	}
	if (r == 0)
		r = inode_write(m, a->value_ino, &img);
	a->hash = entry_hash(a, (const uint8_t *)&word, sizeof(word));
	runs_fini(&runs);
	return r;
}

static int block_write_out(struct mkfs *m, struct inode_image *img, struct area *area)
{
	struct ext4_xattr_header *h = (void *)area->base;
	uint64_t pblk;
	le64 where;
	int r = block_alloc(m, m->data_goal, &pblk);

	if (r < 0)
		return r;
	h->h_magic = cpu_to_le32(EXT4_XATTR_MAGIC);
	h->h_refcount = cpu_to_le32(1);
	h->h_blocks = cpu_to_le32(1);
	h->h_hash = cpu_to_le32(area->block_hash);
	where = cpu_to_le64(pblk);
	if (features_csum(&m->geo.features))
		h->h_checksum = cpu_to_le32(crc32c(crc32c(m->csum_seed, &where, sizeof(where)),
						   area->base, m->geo.block_size));
	img->inode.i_file_acl_lo = cpu_to_le32((uint32_t)pblk);
	img->inode.i_file_acl_hi = cpu_to_le16((uint16_t)(pblk >> 32));
	r = inode_add_blocks(m, img, 1);
	return r < 0 ? r : write_block(m, pblk, area->base);
}

static struct area ibody_area(const struct mkfs *m, struct inode_image *img)
{
	uint32_t header_at = EXT4_GOOD_OLD_INODE_SIZE + le16_to_cpu(img->inode.i_extra_isize);
	struct area area = { .base = img->raw + header_at +
				     sizeof(struct ext4_xattr_ibody_header) };

	/* Without room for an entry and the end of the list: an area nothing fits into. */
	if (inode_has_extra(m) && header_at + 64 <= m->geo.inode_size)
		area.value_at = m->geo.inode_size - header_at -
				(uint32_t)sizeof(struct ext4_xattr_ibody_header);
	return area;
}

int xattrs_write(struct mkfs *m, const char *name, struct inode_image *img, struct xattrs *x)
{
	uint32_t bs = m->geo.block_size;
	_cleanup_free_ uint8_t *block = calloc(1, bs);
	struct area ibody = ibody_area(m, img);
	struct area outer = { .base = block,
			      .entry_at = sizeof(struct ext4_xattr_header),
			      .value_at = bs,
			      .hashed = true };
	bool ea_inode = feature_incompat(&m->geo.features, EXT4_FEATURE_INCOMPAT_EA_INODE);
	uint32_t outer_first = outer.entry_at;
	int r = 0;

	if (!block)
		return fail(-ENOMEM, "attributes");
	if (!feature_compat(&m->geo.features, EXT4_FEATURE_COMPAT_EXT_ATTR))
		return 0;
	for (size_t i = 0; r == 0 && i < x->count; i++) {
		struct xattr *a = &x->v[i];

		a->hash = entry_hash(a, a->value, a->size);
		if (!area_fits(&ibody, a) && !area_fits(&outer, a) && ea_inode && a->size)
			r = value_inode_make(m, a);
		/* Its blocks are on the bill of the file that owns the attribute. */
		if (r == 0 && a->value_ino)
			r = inode_add_blocks(m, img, DIV_ROUND_UP(a->size, bs));
		if (r < 0)
			return r;
		if (area_fits(&ibody, a))
			area_put(&ibody, a);
		else if (area_fits(&outer, a))
			area_put(&outer, a);
		else
			return fail(-ENOSPC,
				    "%s: its attributes do not fit in a block of %u bytes: "
				    "use -O ea_inode or larger inodes (-I)",
				    name, bs);
	}
	if (ibody.entry_at) {
		struct ext4_xattr_ibody_header *h =
			(void *)(ibody.base - sizeof(struct ext4_xattr_ibody_header));

		h->h_magic = cpu_to_le32(EXT4_XATTR_MAGIC);
	}
	return outer.entry_at > outer_first ? block_write_out(m, img, &outer) : 0;
}
