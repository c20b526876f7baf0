// SPDX-License-Identifier: GPL-2.0-only
/*
 * The attribute block of an inode. Inodes with equal attributes share one: a small
 * cache in memory remembers blocks by the hash of their contents.
 *
 * Invariants
 * (1) A block's contents change only while its reference count is 1 and no slot of the
 *     cache names it: one owner, whose inode lock is held exclusively.
 * (2) Reference counts change under the lock of the cache's shard for the block's hash
 *     and buf->lock, in this order. So finding a block to share and giving it up
 *     exclude each other.
 * (3) A count never exceeds EXT4_XATTR_REFCOUNT_MAX; Linux and e2fsck refuse more.
 *
 * The cache only helps: it forgets freely and its names are checked byte by byte before
 * use.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/store/alloc.h"
#include "daemon/store/xattr_impl.h"

#define CACHE_SHARDS 16u
#define CACHE_SHARD_SLOTS 256u
#define HEADER_LEN ((uint32_t)sizeof(struct ext4_xattr_header))

struct cache_slot {
	uint64_t pblk; /* 0 = unused */
	uint32_t hash;
};

struct xattr_cache {
	struct {
		struct mutex lock;
		struct cache_slot slots[CACHE_SHARD_SLOTS]; /* [lock] */
	} shards[CACHE_SHARDS];
};

int xattr_cache_new(struct xattr_cache **ret_cache)
{
	struct xattr_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	for (uint32_t k = 0; k < CACHE_SHARDS; k++)
		mutex_init(&c->shards[k].lock, LOCK_XATTR_CACHE);
	*ret_cache = c;
	return 0;
}

void xattr_cache_free(struct xattr_cache *c)
{
	free(c);
}

static struct mutex *cache_lock(const struct store *s, uint32_t hash)
{
	return &s->xattr_cache->shards[hash % CACHE_SHARDS].lock;
}

/* Caller holds the shard's lock. */
static struct cache_slot *cache_slot(const struct store *s, uint32_t hash)
{
	return &s->xattr_cache->shards[hash % CACHE_SHARDS]
			.slots[hash / CACHE_SHARDS % CACHE_SHARD_SLOTS];
}

static void cache_remember(const struct store *s, uint32_t hash, uint64_t pblk)
{
	if (hash == 0)
		return;
	mutex_lock(cache_lock(s, hash));
	*cache_slot(s, hash) = (struct cache_slot){ .pblk = pblk, .hash = hash };
	mutex_unlock(cache_lock(s, hash));
}

static struct ext4_xattr_header *header(uint8_t *data)
{
	return (struct ext4_xattr_header *)data;
}

uint32_t xattr_block_csum(const struct store *s, uint64_t pblk, const uint8_t *data)
{
	const uint32_t off = offsetof(struct ext4_xattr_header, h_checksum);
	const le64 where = cpu_to_le64(pblk);
	const le32 zero = { 0 };
	uint32_t crc = crc32c(s->csum_seed, &where, sizeof(where));

	crc = crc32c(crc, data, off);
	crc = crc32c(crc, &zero, sizeof(zero));
	return crc32c(crc, data + off + sizeof(zero), s->block_size - off - sizeof(zero));
}

static void block_seal(const struct store *s, uint64_t pblk, uint8_t *data)
{
	if (s->has_csum)
		header(data)->h_checksum = cpu_to_le32(xattr_block_csum(s, pblk, data));
}

struct xattr_region xattr_block_region(const struct inode *i, const uint8_t *data)
{
	return (struct xattr_region){
		.base = data,
		.size = i->store->block_size,
		.first = HEADER_LEN,
		.ea_inode = store_has_incompat(i->store, EXT4_FEATURE_INCOMPAT_EA_INODE),
	};
}

bool xattr_block_fits(const struct inode *i, uint32_t vec_bytes)
{
	return vec_bytes <= i->store->block_size - HEADER_LEN;
}

static int block_verify(const struct inode *i, const struct buf *b)
{
	struct store *s = i->store;
	const struct ext4_xattr_header *head = header(b->data);
	struct xattr_region r = xattr_block_region(i, b->data);
	const char *what;

	if (le32_to_cpu(head->h_magic) != EXT4_XATTR_MAGIC || le32_to_cpu(head->h_blocks) != 1)
		return store_corrupt(s, i->ino, b->pblk, "attribute block: header");
	if (s->has_csum && le32_to_cpu(head->h_checksum) != xattr_block_csum(s, b->pblk, b->data)) {
		(void)store_corrupt(s, i->ino, b->pblk, "attribute block: checksum");
		return -EBADMSG;
	}
	if (head->h_refcount.raw == 0 || le32_to_cpu(head->h_refcount) > EXT4_XATTR_REFCOUNT_MAX)
		return store_corrupt(s, i->ino, b->pblk, "attribute block: reference count");
	what = xattr_region_check(&r);
	return what ? store_corrupt(s, i->ino, b->pblk, what) : 0;
}

int xattr_block_read(struct inode *i, struct buf **ret_buf)
{
	struct store *s = i->store;
	struct buf *b;
	bool fresh;
	int err = 0;

	if (!store_pblk_valid(s, i->file_acl, 1))
		return store_corrupt(s, i->ino, i->file_acl, "inode: attribute block impossible");
	err = buf_read(s->cache, i->file_acl, &b);
	if (err)
		return err;
	fresh = !buf_verified(b);
	rwlock_read(&b->lock);
	if (fresh)
		err = block_verify(i, b);
	else if (le32_to_cpu(header(b->data)->h_magic) != EXT4_XATTR_MAGIC)
		err = store_corrupt(s, i->ino, b->pblk, "attribute block: header");
	rwlock_unread(&b->lock);
	if (err) {
		buf_put(b);
		return err;
	}
	if (fresh) {
		buf_set_verified(b);
		cache_remember(s, le32_to_cpu(header(b->data)->h_hash), b->pblk);
	}
	*ret_buf = b;
	return 0;
}

/* The block @v makes: all but reference count and checksum, which depend on where it lies. */
static void block_build(const struct inode *i, struct xattr_vec *v, uint8_t *data)
{
	struct xattr_region r = xattr_block_region(i, data);
	struct xattr_cursor c;
	struct xattr_entry e;
	uint32_t hash = 0;
	bool sharable = true;

	memset(data, 0, i->store->block_size);
	xattr_vec_write(v, data, &r, true);
	header(data)->h_magic = cpu_to_le32(EXT4_XATTR_MAGIC);
	header(data)->h_blocks = cpu_to_le32(1);
	header(data)->h_refcount = cpu_to_le32(1);
	xattr_cursor_init(&c, &r);
	while (xattr_cursor_next(&c, &e) > 0) {
		/* An entry without hash makes a block without hash, which is not shared. */
		sharable = sharable && e.hash != 0;
		hash = (hash << 16 | hash >> 16) ^ e.hash;
	}
	header(data)->h_hash = cpu_to_le32(sharable ? hash : 0);
}

static bool vec_has_ea_inode(const struct xattr_vec *v)
{
	for (uint32_t k = 0; k < v->count; k++) {
		if (v->e[k].value_inum)
			return true;
	}
	return false;
}

/* Add @n to the count in the journal. Caller holds the shard's lock. */
static int block_count_add(struct handle *h, struct store *s, struct buf *b, int32_t n)
{
	int err = journal_get_write(h, b);

	if (err)
		return err;
	rwlock_write(&b->lock);
	le32_add(&header(b->data)->h_refcount, (uint32_t)n);
	block_seal(s, b->pblk, b->data);
	journal_dirty(h, b, 0, HEADER_LEN);
	rwlock_unwrite(&b->lock);
	return 0;
}

static bool block_equal(const struct store *s, struct buf *b, const uint8_t *data)
{
	const struct ext4_xattr_header *want = (const struct ext4_xattr_header *)data;
	bool equal;

	rwlock_read(&b->lock);
	equal = le32_to_cpu(header(b->data)->h_refcount) < EXT4_XATTR_REFCOUNT_MAX &&
		header(b->data)->h_magic.raw == want->h_magic.raw &&
		header(b->data)->h_hash.raw == want->h_hash.raw &&
		memcmp(b->data + HEADER_LEN, data + HEADER_LEN, s->block_size - HEADER_LEN) == 0;
	rwlock_unread(&b->lock);
	return equal;
}

/* Join a block with the contents @data. 1 = *ret_pblk is ours too, 0 = there is none. */
static int block_share(struct handle *h, struct inode *i, const uint8_t *data, uint64_t *ret_pblk)
{
	struct store *s = i->store;
	uint32_t hash = le32_to_cpu(((const struct ext4_xattr_header *)data)->h_hash);
	struct cache_slot slot;
	struct buf *b = NULL;
	int ret = 0;

	if (hash == 0)
		return 0;
	mutex_lock(cache_lock(s, hash));
	slot = *cache_slot(s, hash);
	/* Only from memory: no reading under a lock that other inodes wait for. */
	if (slot.pblk && slot.hash == hash && slot.pblk != i->file_acl)
		b = buf_find(s->cache, slot.pblk);
	if (b && buf_verified(b) && block_equal(s, b, data)) {
		ret = block_count_add(h, s, b, 1);
		if (ret == 0) {
			*ret_pblk = slot.pblk;
			ret = 1;
		}
	}
	if (b)
		buf_put(b);
	mutex_unlock(cache_lock(s, hash));
	return ret;
}

static uint32_t block_count(struct buf *b)
{
	uint32_t count;

	rwlock_read(&b->lock);
	count = le32_to_cpu(header(b->data)->h_refcount);
	rwlock_unread(&b->lock);
	return count;
}

/*
 * Contents, so the hash too, do not change while an inode that refers to the block is
 * locked: the hash may be read without a lock.
 */
static uint32_t block_hash(struct buf *b)
{
	return le32_to_cpu(header(b->data)->h_hash);
}

/* Caller holds the shard's lock and is the only owner: nobody is to join any more. */
static void block_hide(const struct store *s, const struct buf *b, uint32_t hash)
{
	struct cache_slot *slot = cache_slot(s, hash);

	if (slot->pblk == b->pblk)
		slot->pblk = 0;
}

/* True: the block is this inode's alone and stays so until it is remembered again. */
static bool block_claim(const struct store *s, struct buf *b)
{
	uint32_t hash = block_hash(b);
	bool alone;

	mutex_lock(cache_lock(s, hash));
	alone = block_count(b) <= 1;
	if (alone)
		block_hide(s, b, hash);
	mutex_unlock(cache_lock(s, hash));
	return alone;
}

/* Give up the inode's part: *ret_kept says that the block lives on for others. */
static int block_detach(struct handle *h, struct store *s, struct buf *b, bool *ret_kept)
{
	uint32_t hash = block_hash(b);
	int err = 0;

	mutex_lock(cache_lock(s, hash));
	*ret_kept = block_count(b) > 1;
	if (*ret_kept)
		err = block_count_add(h, s, b, -1);
	else
		block_hide(s, b, hash);
	mutex_unlock(cache_lock(s, hash));
	return err;
}

static int block_free(struct handle *h, struct inode *i, uint64_t pblk)
{
	return balloc_free(h, i, pblk, 1, FREE_META);
}

static int block_new(struct handle *h, struct inode *i, uint8_t *data, uint64_t *ret_pblk)
{
	struct store *s = i->store;
	struct alloc_req req = { .inode = i, .count = 1, .flags = ALLOC_META | ALLOC_RESERVED_OK };
	struct buf *b = NULL;
	uint64_t pblk;
	uint32_t count;
	int err = balloc(h, &req, &pblk, &count);

	if (err)
		return err;
	/* Inodes without extents belong to formats whose block numbers have 32 bits. */
	if (!store_has_incompat(s, EXT4_FEATURE_INCOMPAT_64BIT) && pblk > UINT32_MAX)
		err = -ENOSPC;
	if (err == 0)
		err = buf_get_new(s->cache, pblk, &b);
	if (err == 0)
		err = journal_get_create(h, b);
	if (err) {
		if (b)
			buf_put(b);
		(void)balloc_undo(h, s, pblk, 1); /* the first error is the one to tell */
		return err;
	}
	block_seal(s, pblk, data);
	rwlock_write(&b->lock);
	memcpy(b->data, data, s->block_size);
	journal_dirty(h, b, 0, s->block_size);
	rwlock_unwrite(&b->lock);
	buf_set_verified(b);
	buf_put(b);
	*ret_pblk = pblk;
	return 0;
}

static int block_rewrite(struct handle *h, struct store *s, struct buf *b, uint8_t *data)
{
	int err = journal_get_write(h, b);

	if (err)
		return err;
	block_seal(s, b->pblk, data);
	rwlock_write(&b->lock);
	memcpy(b->data, data, s->block_size);
	journal_dirty(h, b, 0, s->block_size);
	rwlock_unwrite(&b->lock);
	return 0;
}

/* @old (NULL = none) is no longer the inode's; @pblk (0 = none) is. */
static int block_switch(struct handle *h, struct inode *i, struct buf *old, uint64_t pblk,
			bool *ret_kept)
{
	int err;

	if (old) {
		err = block_detach(h, i->store, old, ret_kept);
		if (err == 0 && !*ret_kept)
			err = block_free(h, i, old->pblk);
		if (err)
			return err;
	}
	inode_add_blocks(i, (pblk != 0) - (old != NULL));
	i->file_acl = pblk;
	return 0;
}

/* The contents are @data now, which no equal block offers. */
static int block_write(struct handle *h, struct inode *i, struct buf *old, uint8_t *data,
		       bool *ret_kept)
{
	uint64_t pblk;
	int err;

	if (old && block_claim(i->store, old)) {
		pblk = old->pblk;
		err = block_rewrite(h, i->store, old, data);
	} else {
		/* The new block is taken first: when there is none, nothing has changed. */
		err = block_new(h, i, data, &pblk);
		if (err == 0)
			err = block_switch(h, i, old, pblk, ret_kept);
	}
	if (err == 0)
		cache_remember(i->store, le32_to_cpu(header(data)->h_hash), pblk);
	return err;
}

int xattr_block_store(struct handle *h, struct inode *i, struct xattr_vec *v, bool *ret_kept)
{
	_cleanup_put_buffer_ struct buf *old = NULL;
	_cleanup_free_ uint8_t *data = NULL;
	uint64_t pblk = 0;
	int err;

	*ret_kept = false;
	if (i->file_acl) {
		err = xattr_block_read(i, &old);
		if (err)
			return err;
	}
	if (v->count == 0)
		return block_switch(h, i, old, 0, ret_kept);
	data = malloc(i->store->block_size);
	if (!data)
		return -ENOMEM;
	block_build(i, v, data);
	/* References to EA inodes are counted by block; an equal block would need a look at each. */
	if (vec_has_ea_inode(v)) {
		header(data)->h_hash = cpu_to_le32(0);
		return block_write(h, i, old, data, ret_kept);
	}
	err = block_share(h, i, data, &pblk);
	if (err < 0)
		return err;
	if (err > 0)
		return block_switch(h, i, old, pblk, ret_kept);
	return block_write(h, i, old, data, ret_kept);
}
