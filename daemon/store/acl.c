// SPDX-License-Identifier: GPL-2.0-only
/*
 * POSIX ACLs: three forms (the system call's, struct acl, ext4's compact one) and the
 * rules of POSIX 1003.1e draft 17 as Linux applies them.
 *
 * Invariants
 * (1) A struct acl is valid: entries in order, each kind that must be there once, a
 *     mask if any user or group is named. Both decoders see to it.
 * (2) An access ACL that says no more than the mode bits is not stored.
 *
 * Fails with -EINVAL for bad data from a caller, -EUCLEAN (reported) for bad data on
 * disk, -EOPNOTSUPP where ACLs are off or the inode is a symlink.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/store/xattr_impl.h"

#define WIRE_VERSION 2u
#define PERM_MASK 7u
#define ID_NONE UINT32_MAX

/* The system call's form. */
struct wire_header {
	le32 version;
};

struct wire_entry {
	le16 tag;
	le16 perm;
	le32 id;
};

static_assert(sizeof(struct wire_header) == 4, "acl wire header");
static_assert(sizeof(struct wire_entry) == 8, "acl wire entry");

#define WIRE_LEN_MAX (sizeof(struct wire_header) + ACL_ENTRIES_MAX * sizeof(struct wire_entry))
#define DISK_LEN_MAX                                                                               \
	(sizeof(struct ext4_acl_header) + ACL_ENTRIES_MAX * sizeof(struct ext4_acl_entry))

static bool tag_has_id(uint16_t tag)
{
	return tag == EXT4_ACL_USER || tag == EXT4_ACL_GROUP;
}

static struct acl *acl_new(uint32_t count)
{
	struct acl *acl = malloc(sizeof(*acl) + count * sizeof(acl->e[0]));

	if (acl)
		acl->count = count;
	return acl;
}

static struct acl *acl_copy(const struct acl *acl)
{
	struct acl *copy = acl_new(acl->count);

	if (copy)
		memcpy(copy->e, acl->e, acl->count * sizeof(acl->e[0]));
	return copy;
}

/* Entries in the one order there is, ending with "other". */
static bool acl_valid(const struct acl *acl)
{
	uint16_t next = EXT4_ACL_USER_OBJ; /* what may come, by the first of its kinds */
	bool named = false;

	for (uint32_t k = 0; k < acl->count; k++) {
		const struct acl_entry *e = &acl->e[k];

		if (e->perm & ~PERM_MASK)
			return false;
		switch (e->tag) {
		case EXT4_ACL_USER_OBJ:
			if (next != EXT4_ACL_USER_OBJ)
				return false;
			next = EXT4_ACL_USER;
			break;
		case EXT4_ACL_USER:
			if (next != EXT4_ACL_USER || e->id == ID_NONE)
				return false;
			named = true;
			break;
		case EXT4_ACL_GROUP_OBJ:
			if (next != EXT4_ACL_USER)
				return false;
			next = EXT4_ACL_GROUP;
			break;
		case EXT4_ACL_GROUP:
			if (next != EXT4_ACL_GROUP || e->id == ID_NONE)
				return false;
			named = true;
			break;
		case EXT4_ACL_MASK:
			if (next != EXT4_ACL_GROUP)
				return false;
			next = EXT4_ACL_OTHER;
			break;
		case EXT4_ACL_OTHER:
			if (next != EXT4_ACL_OTHER && (next != EXT4_ACL_GROUP || named))
				return false;
			next = 0;
			break;
		default: return false;
		}
	}
	return next == 0;
}

/* NULL in *ret_acl for no entries. -EINVAL, -EOPNOTSUPP (version). */
static int from_wire(const void *value, size_t len, struct acl **ret_acl)
{
	struct wire_header head;
	struct acl *acl;
	size_t count;

	*ret_acl = NULL;
	if (!value || len == 0)
		return 0;
	if (len < sizeof(head))
		return -EINVAL;
	memcpy(&head, value, sizeof(head));
	if (le32_to_cpu(head.version) != WIRE_VERSION)
		return -EOPNOTSUPP;
	len -= sizeof(head);
	count = len / sizeof(struct wire_entry);
	if (len % sizeof(struct wire_entry) || count > ACL_ENTRIES_MAX)
		return -EINVAL;
	if (count == 0)
		return 0;
	acl = acl_new((uint32_t)count);
	if (!acl)
		return -ENOMEM;
	for (size_t k = 0; k < count; k++) {
		struct wire_entry w;

		memcpy(&w, (const uint8_t *)value + sizeof(head) + k * sizeof(w), sizeof(w));
		acl->e[k] = (struct acl_entry){ .tag = le16_to_cpu(w.tag),
						.perm = le16_to_cpu(w.perm),
						.id = le32_to_cpu(w.id) };
		if (!tag_has_id(acl->e[k].tag))
			acl->e[k].id = ID_NONE;
	}
	if (!acl_valid(acl)) {
		free(acl);
		return -EINVAL;
	}
	*ret_acl = acl;
	return 0;
}

static size_t wire_len(const struct acl *acl)
{
	return sizeof(struct wire_header) + acl->count * sizeof(struct wire_entry);
}

static void to_wire(const struct acl *acl, uint8_t *buf)
{
	struct wire_header head = { .version = cpu_to_le32(WIRE_VERSION) };

	memcpy(buf, &head, sizeof(head));
	buf += sizeof(head);
	for (uint32_t k = 0; k < acl->count; k++, buf += sizeof(struct wire_entry)) {
		struct wire_entry w = { .tag = cpu_to_le16(acl->e[k].tag),
					.perm = cpu_to_le16(acl->e[k].perm),
					.id = cpu_to_le32(acl->e[k].id) };

		memcpy(buf, &w, sizeof(w));
	}
}

/* -EINVAL (not reported); -ENOMEM. NULL for no entries. */
static int from_disk(const uint8_t *p, size_t len, struct acl **ret_acl)
{
	const uint8_t *end = p + len;
	struct ext4_acl_header head;
	struct acl *acl;

	*ret_acl = NULL;
	if (len < sizeof(head) || len > DISK_LEN_MAX)
		return -EINVAL;
	memcpy(&head, p, sizeof(head));
	if (le32_to_cpu(head.a_version) != EXT4_ACL_VERSION)
		return -EINVAL;
	p += sizeof(head);
	if (p == end)
		return 0;
	acl = acl_new((uint32_t)((size_t)(end - p) / sizeof(struct ext4_acl_entry_short)));
	if (!acl)
		return -ENOMEM;
	acl->count = 0;
	while (p < end) {
		struct ext4_acl_entry d = { .e_id = cpu_to_le32(ID_NONE) };
		size_t need = sizeof(struct ext4_acl_entry_short);

		if ((size_t)(end - p) < need)
			goto out_invalid;
		memcpy(&d, p, need);
		if (tag_has_id(le16_to_cpu(d.e_tag))) {
			need = sizeof(d);
			if ((size_t)(end - p) < need)
				goto out_invalid;
			memcpy(&d, p, need);
		}
		acl->e[acl->count++] = (struct acl_entry){ .tag = le16_to_cpu(d.e_tag),
							   .perm = le16_to_cpu(d.e_perm),
							   .id = le32_to_cpu(d.e_id) };
		p += need;
	}
	if (acl->count > ACL_ENTRIES_MAX || !acl_valid(acl))
		goto out_invalid;
	*ret_acl = acl;
	return 0;

out_invalid:
	free(acl);
	return -EINVAL;
}

/* Returns the length; @buf NULL only counts. */
static size_t to_disk(const struct acl *acl, uint8_t *buf)
{
	struct ext4_acl_header head = { .a_version = cpu_to_le32(EXT4_ACL_VERSION) };
	size_t len = sizeof(head);

	if (buf)
		memcpy(buf, &head, sizeof(head));
	for (uint32_t k = 0; k < acl->count; k++) {
		struct ext4_acl_entry d = { .e_tag = cpu_to_le16(acl->e[k].tag),
					    .e_perm = cpu_to_le16(acl->e[k].perm),
					    .e_id = cpu_to_le32(acl->e[k].id) };
		size_t n = tag_has_id(acl->e[k].tag) ? sizeof(d) :
						       sizeof(struct ext4_acl_entry_short);

		if (buf)
			memcpy(buf + len, &d, n);
		len += n;
	}
	return len;
}

static struct xattr_key acl_key(bool is_default)
{
	return (struct xattr_key){
		.index = is_default ? EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT :
				      EXT4_XATTR_INDEX_POSIX_ACL_ACCESS,
		.name = "",
	};
}

int acl_get(struct inode *i, bool is_default, struct acl **ret_acl)
{
	struct xattr_key key = acl_key(is_default);
	_cleanup_free_ uint8_t *buf = NULL;
	ssize_t len;
	int err;

	*ret_acl = NULL;
	if (i->store->opts.noacl || (atomic_load(&i->state) & (INODE_NOACL | INODE_NOXATTR)))
		return 0;
	len = xattr_get_raw(i, &key, NULL, 0);
	if (len == -ENODATA)
		return 0;
	if (len < 0)
		return (int)len;
	if ((size_t)len > DISK_LEN_MAX)
		return store_corrupt(i->store, i->ino, 0, "ACL: impossible size");
	buf = malloc((size_t)len + 1);
	if (!buf)
		return -ENOMEM;
	len = xattr_get_raw(i, &key, buf, (size_t)len + 1);
	if (len < 0)
		return (int)len;
	err = from_disk(buf, (size_t)len, ret_acl);
	return err == -EINVAL ? store_corrupt(i->store, i->ino, 0, "ACL: impossible entries") : err;
}

ssize_t acl_get_wire(struct inode *i, bool is_default, void *buf, size_t size)
{
	_cleanup_free_ struct acl *acl = NULL;
	int err = acl_get(i, is_default, &acl);

	if (err)
		return err;
	if (!acl)
		return -ENODATA;
	if (size == 0)
		return (ssize_t)wire_len(acl);
	if (wire_len(acl) > size)
		return -ERANGE;
	to_wire(acl, buf);
	return (ssize_t)wire_len(acl);
}

static int acl_allowed(const struct inode *i)
{
	return i->store->opts.noacl || inode_is_symlink(i) ? -EOPNOTSUPP : 0;
}

int acl_set(struct handle *h, struct inode *i, bool is_default, const struct acl *acl)
{
	struct xattr_set_raw set = { .key = acl_key(is_default) };
	_cleanup_free_ uint8_t *value = NULL;
	int err = acl_allowed(i);

	if (err)
		return err;
	if (is_default && !inode_is_dir(i))
		return acl ? -EACCES : 0;
	if (acl) {
		CHECK(acl->count > 0 && acl->count <= ACL_ENTRIES_MAX);
		set.len = to_disk(acl, NULL);
		value = malloc(set.len);
		if (!value)
			return -ENOMEM;
		(void)to_disk(acl, value); /* as long as counted */
		set.value = value;
	}
	err = xattr_set_raw(h, i, &set);
	return err == -ENODATA && !acl ? 0 : err;
}

/* The permission bits that @acl amounts to; false when it says more than bits can. */
static bool acl_mode(const struct acl *acl, uint16_t *mode)
{
	uint16_t bits = 0;
	bool equivalent = true;

	for (uint32_t k = 0; k < acl->count; k++) {
		const struct acl_entry *e = &acl->e[k];

		switch (e->tag) {
		case EXT4_ACL_USER_OBJ: bits |= (uint16_t)(e->perm << 6); break;
		case EXT4_ACL_GROUP_OBJ: bits |= (uint16_t)(e->perm << 3); break;
		case EXT4_ACL_OTHER: bits |= e->perm; break;
		case EXT4_ACL_MASK: /* comes after the group it limits */
			bits = (uint16_t)((bits & ~070) | e->perm << 3);
			equivalent = false;
			break;
		default: equivalent = false; break;
		}
	}
	*mode = (uint16_t)((*mode & ~0777) | bits);
	return equivalent;
}

int acl_set_wire(struct handle *h, struct inode *i, bool is_default, const void *value, size_t len,
		 uint16_t *ret_mode)
{
	_cleanup_free_ struct acl *acl = NULL;
	uint16_t mode = i->mode;
	bool store_it = true;
	int err = acl_allowed(i);

	if (err)
		return err;
	if (len > WIRE_LEN_MAX)
		return -E2BIG;
	err = from_wire(value, len, &acl);
	if (err)
		return err;
	if (acl && !is_default)
		store_it = !acl_mode(acl, &mode);
	err = acl_set(h, i, is_default, store_it ? acl : NULL);
	if (err == 0)
		*ret_mode = mode;
	return err;
}

static struct acl_entry *acl_find(struct acl *acl, uint16_t tag)
{
	for (uint32_t k = 0; k < acl->count; k++) {
		if (acl->e[k].tag == tag)
			return &acl->e[k];
	}
	return NULL;
}

/*
 * Limit the entries of a new inode's ACL to what its creator asked for, and the mode to
 * what the ACL grants. The group bits are the mask's where there is one. True when the
 * ACL says more than the resulting mode.
 */
static bool acl_limit(struct acl *acl, uint16_t *mode)
{
	struct acl_entry *owner = acl_find(acl, EXT4_ACL_USER_OBJ);
	struct acl_entry *other = acl_find(acl, EXT4_ACL_OTHER);
	struct acl_entry *mask = acl_find(acl, EXT4_ACL_MASK);
	struct acl_entry *group = mask ? mask : acl_find(acl, EXT4_ACL_GROUP_OBJ);

	owner->perm &= *mode >> 6 & PERM_MASK;
	group->perm &= *mode >> 3 & PERM_MASK;
	other->perm &= *mode & PERM_MASK;
	*mode = (uint16_t)((*mode & ~0777) | owner->perm << 6 | group->perm << 3 | other->perm);
	return acl->count > 3;
}

int acl_inherit(struct inode *dir, uint16_t *mode, uint16_t umask, struct acl **ret_access,
		struct acl **ret_default)
{
	bool is_dir = (*mode & EXT4_S_IFMT) == EXT4_S_IFDIR;
	struct acl *acl, *access;
	int err;

	*ret_access = *ret_default = NULL;
	if ((*mode & EXT4_S_IFMT) == EXT4_S_IFLNK)
		return 0;
	err = acl_get(dir, true, &acl);
	if (err)
		return err;
	if (!acl) {
		*mode &= (uint16_t) ~(umask & 0777);
		return 0;
	}
	access = acl_copy(acl);
	if (!access) {
		free(acl);
		return -ENOMEM;
	}
	if (acl_limit(access, mode))
		*ret_access = access;
	else
		free(access);
	if (is_dir)
		*ret_default = acl;
	else
		free(acl);
	return 0;
}

int acl_chmod(struct handle *h, struct inode *i, uint16_t mode)
{
	_cleanup_free_ struct acl *acl = NULL;
	struct acl_entry *mask;
	int err;

	if (inode_is_symlink(i))
		return 0;
	err = acl_get(i, false, &acl);
	if (err || !acl)
		return err;
	mask = acl_find(acl, EXT4_ACL_MASK);
	if (!mask)
		mask = acl_find(acl, EXT4_ACL_GROUP_OBJ);
	acl_find(acl, EXT4_ACL_USER_OBJ)->perm = mode >> 6 & PERM_MASK;
	mask->perm = mode >> 3 & PERM_MASK;
	acl_find(acl, EXT4_ACL_OTHER)->perm = mode & PERM_MASK;
	return acl_set(h, i, false, acl);
}
