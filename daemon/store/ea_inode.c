// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large attribute values in inodes of their own (ea_inode feature). Such an inode has no
 * name; entries refer to it by number. Its times and version hold other things:
 *
 *	atime         hash of the value
 *	ctime/version number of entries that refer to it, high and low 32 bits
 *
 * Contents go through buffers and journal like other metadata, and are revoked when
 * freed (map_data_free() knows the flag).
 *
 * Locks: the inode that owns the attribute, perhaps a handle, then one EA inode, never
 * two. An inode lock inside a handle is out of order; it is safe because who holds it
 * waits for nothing but blocks. A number from disk is taken for an EA inode only after
 * its flag says so: locking whatever it names could wait for ourselves.
 *
 * Fails with -EUCLEAN (reported) when entry, inode and value do not belong together.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/crc.h"
#include "daemon/store/alloc.h"
#include "daemon/store/icache.h"
#include "daemon/store/map.h"
#include "daemon/store/xattr_impl.h"

#define EA_INODE_MODE (EXT4_S_IFREG | 0600)

static int ea_bad(const struct inode *parent, const char *what)
{
	return store_corrupt(parent->store, parent->ino, 0, what);
}

static int ea_get(struct inode *parent, uint32_t inum, struct inode **ret_ea)
{
	struct store *s = parent->store;
	struct inode *ea;
	int err;

	if (!store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EA_INODE) || inum < s->first_ino ||
	    inum > s->inodes_count || inum == parent->ino)
		return ea_bad(parent, "attribute: number of its value's inode");
	err = inode_get_special(s, inum, &ea);
	if (err == -ESTALE)
		return ea_bad(parent, "attribute: its value's inode is not in use");
	if (err)
		return err;
	if (!(atomic_load(&ea->state) & INODE_SPECIAL)) {
		inode_put(ea);
		return ea_bad(parent, "attribute: its value's inode is an ordinary one");
	}
	*ret_ea = ea;
	return 0;
}

/* Also to read: there is no contention worth a second kind of lock. */
static void ea_lock(struct inode *ea)
{
	while (!rwlock_trywrite(&ea->lock))
		(void)sched_yield();
}

static uint64_t ea_refs(struct inode *ea)
{
	return (uint64_t)(uint32_t)ea->ctime_s << 32 | (uint32_t)atomic_load(&ea->version);
}

static void ea_set_refs(struct inode *ea, uint64_t refs)
{
	ea->ctime_s = (int32_t)(uint32_t)(refs >> 32);
	ea->ctime_ns = 0;
	atomic_store(&ea->version, (uint32_t)refs);
}

static uint32_t value_hash(const struct store *s, const uint8_t *value, uint32_t len)
{
	return crc32c(s->csum_seed, value, len);
}

static uint32_t entry_hash(const struct xattr_key *key, uint32_t hash, bool is_signed)
{
	le32 word = cpu_to_le32(hash);

	return xattr_hash(key, (const uint8_t *)&word, sizeof(word), is_signed);
}

static int read_blocks(struct inode *ea, uint8_t *buf, uint32_t len)
{
	struct store *s = ea->store;

	for (uint32_t off = 0; off < len; off += s->block_size) {
		struct map_run run;
		struct buf *b;
		int err = map_lookup(ea, off >> s->block_bits, 1, &run);

		if (err)
			return err;
		if (run.flags & (MAP_HOLE | MAP_UNWRITTEN))
			return store_corrupt(s, ea->ino, 0, "EA inode: hole");
		err = buf_read(s->cache, run.pblk, &b);
		if (err)
			return err;
		memcpy(buf + off, b->data, MIN(len - off, s->block_size));
		buf_put(b);
	}
	return 0;
}

/* Value, inode and entry belong together. */
static int verify(const struct inode *parent, const struct inode *ea, const struct xattr_entry *e,
		  const uint8_t *value)
{
	uint32_t hash = value_hash(ea->store, value, e->value_len);

	if ((uint32_t)ea->atime_s == hash && (entry_hash(&e->key, hash, false) == e->hash ||
					      entry_hash(&e->key, hash, true) == e->hash))
		return 0;
	/* Written before the feature had hashes: the inode names its only owner instead. */
	if ((uint32_t)ea->mtime_s == parent->ino && ea->generation == parent->generation)
		return 0;
	return ea_bad(parent, "attribute: hash of its value");
}

int ea_inode_read(struct inode *parent, const struct xattr_entry *e, uint8_t *buf)
{
	struct inode *ea;
	int err = ea_get(parent, e->value_inum, &ea);

	if (err)
		return err;
	ea_lock(ea);
	if (ea->size != e->value_len || ea->file_acl || (ea->flags & EXT4_INLINE_DATA_FL))
		err = ea_bad(parent, "attribute: size of its value's inode");
	if (err == 0)
		err = read_blocks(ea, buf, e->value_len);
	if (err == 0)
		err = verify(parent, ea, e, buf);
	rwlock_unwrite(&ea->lock);
	inode_put(ea);
	return err;
}

static int write_run(struct handle *h, struct store *s, const struct map_run *run,
		     const uint8_t *value, uint32_t len)
{
	for (uint32_t k = 0; k < run->count; k++) {
		uint32_t off = k << s->block_bits;
		struct buf *b;
		int err = buf_get_new(s->cache, run->pblk + k, &b);

		if (err)
			return err;
		err = journal_get_create(h, b);
		if (err == 0) {
			memcpy(b->data, value + off, MIN(len - off, s->block_size));
			journal_dirty(h, b, 0, s->block_size);
		}
		buf_put(b);
		if (err)
			return err;
	}
	return 0;
}

static int write_blocks(struct handle *h, struct inode *ea, const uint8_t *value, uint32_t len)
{
	struct store *s = ea->store;
	uint32_t count = DIV_ROUND_UP(len, s->block_size), lblk = 0;

	while (lblk < count) {
		uint32_t off = lblk << s->block_bits;
		struct map_run run;
		int err = map_allocate(h, ea, lblk, count - lblk, false,
				       ALLOC_META | ALLOC_RESERVED_OK, &run);

		if (err == 0)
			err = write_run(h, s, &run, value + off, len - off);
		if (err)
			return err;
		lblk += run.count;
	}
	ea->size = len;
	return 0;
}

/* Onto the orphan list: from here on a crash leaves the rest to recovery. */
static int ea_doom(struct handle *h, struct inode *ea)
{
	int err;

	ea->links = 0;
	err = orphan_add(h, ea);
	return err ? err : inode_write(h, ea);
}

/* Gives up the lock and the reference. Freeing may need several transactions. */
static int ea_free(struct handle *h, struct inode *ea)
{
	int err = map_remove(h, ea, 0, LBLK_END - 1);

	/* Slot and bitmap join first: once it is no orphan nobody would try again. */
	if (err == 0)
		err = inode_write(h, ea);
	if (err == 0)
		err = ialloc_free_prepare(h, ea->store, ea->ino);
	if (err == 0)
		err = orphan_del(h, ea);
	if (err == 0)
		err = inode_release_number(h, ea);
	rwlock_unwrite(&ea->lock);
	inode_put(ea);
	return err;
}

static int ea_delete(struct handle *h, struct inode *ea)
{
	int err = ea_doom(h, ea);

	if (err == 0)
		return ea_free(h, ea);
	rwlock_unwrite(&ea->lock);
	inode_put(ea);
	return err;
}

int ea_inode_create(struct handle *h, struct inode *parent, const uint8_t *value, uint32_t len,
		    struct xattr_entry *e)
{
	struct inode_init init = { .mode = EA_INODE_MODE,
				   .uid = parent->uid,
				   .gid = parent->gid,
				   .now_s = parent->ctime_s };
	uint32_t hash = value_hash(parent->store, value, len);
	struct inode *ea;
	int err;

	CHECK(len > 0 && len <= XATTR_VALUE_LEN_MAX);
	err = inode_create(h, parent, &init, &ea);
	if (err)
		return err;
	ea->flags |= EXT4_EA_INODE_FL;
	if (ea->flags & EXT4_INLINE_DATA_FL) {
		ea->flags &= ~EXT4_INLINE_DATA_FL;
		map_init(ea);
		err = inode_ibody_write(h, ea, "", 0);
	}
	ea->links = 1;
	ea->atime_s = (int32_t)hash;
	ea->atime_ns = 0;
	ea_set_refs(ea, 1);
	if (err == 0)
		err = write_blocks(h, ea, value, len);
	if (err == 0)
		err = inode_write_data(h, ea);
	if (err) {
		(void)ea_delete(h, ea); /* the first error is the one to tell */
		return err;
	}
	balloc_release_resv(ea);
	e->value = NULL;
	e->value_len = len;
	e->value_inum = ea->ino;
	e->hash = entry_hash(&e->key, hash, false);
	rwlock_unwrite(&ea->lock);
	inode_put(ea);
	return 0;
}

int ea_inode_ref(struct handle *h, struct inode *parent, uint32_t inum)
{
	struct inode *ea;
	int err = ea_get(parent, inum, &ea);

	if (err)
		return err;
	ea_lock(ea);
	if (ea_refs(ea) == 0 || ea_refs(ea) == UINT64_MAX) {
		err = ea_bad(parent, "attribute: references of its value's inode");
	} else {
		ea_set_refs(ea, ea_refs(ea) + 1);
		err = inode_write(h, ea);
	}
	rwlock_unwrite(&ea->lock);
	inode_put(ea);
	return err;
}

/*
 * Freeing an EA inode: one step of removing its blocks, which may lie in pieces of one, the
 * orphan list, and its number. Room is made before the inode is locked.
 */
static int ensure_free_credits(struct handle *h, const struct store *s)
{
	uint32_t pieces = XATTR_VALUE_LEN_MAX / s->block_size;
	uint32_t want = CREDITS_ORPHAN + 2 * CREDITS_MAP + pieces * CREDITS_ALLOC + CREDITS_INODE +
			CREDITS_ALLOC;
	int ret;

	if (h->credits >= want)
		return 0;
	ret = journal_extend(h, MIN(want, journal_credits_max(h->journal)));
	return ret < 0 ? ret : 0;
}

/* *ret_last: no entry refers to it now, and it is on the orphan list. */
static int drop_ref(struct handle *h, struct inode *parent, struct inode *ea, bool *ret_last)
{
	/* The older form (see verify()) keeps no count: its owner is the only one. */
	bool last = ea_refs(ea) <= 1 ||
		    ((uint32_t)ea->mtime_s == parent->ino && ea->generation == parent->generation);
	int err;

	if (last) {
		err = ea_doom(h, ea);
	} else {
		ea_set_refs(ea, ea_refs(ea) - 1);
		err = inode_write(h, ea);
	}
	*ret_last = last;
	return err;
}

int ea_inode_hold(struct inode *parent, uint32_t inum, struct inode **ret_ea)
{
	struct inode *ea = NULL;
	int err = inum ? ea_get(parent, inum, &ea) : 0;

	*ret_ea = ea;
	return err == -EUCLEAN || err == -EBADMSG ? 0 : err;
}

int ea_inode_unref(struct handle *h, struct inode *parent, uint32_t inum)
{
	struct inode *ea = NULL;
	int err = ea_inode_drop(h, parent, inum, &ea);

	return err || !ea ? err : ea_inode_free(h, ea);
}

int ea_inode_drop(struct handle *h, struct inode *parent, uint32_t inum, struct inode **ret_doomed)
{
	struct inode *ea;
	bool last = false;
	int err = ea_get(parent, inum, &ea);

	if (err)
		return err;
	ea_lock(ea);
	err = drop_ref(h, parent, ea, &last);
	/* The entry is gone in this handle: an inode that nothing names must not be committed. */
	if (err)
		journal_fail(h, err);
	rwlock_unwrite(&ea->lock);
	if (err || !last)
		inode_put(ea);
	else
		*ret_doomed = ea;
	return err;
}

int ea_inode_free(struct handle *h, struct inode *ea)
{
	int err = ensure_free_credits(h, ea->store);

	if (err) {
		inode_put(ea);
		return err;
	}
	ea_lock(ea);
	return ea_free(h, ea);
}
