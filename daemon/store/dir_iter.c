// SPDX-License-Identifier: GPL-2.0-only
/*
 * Listing a directory without any state between calls: the cookie says it all.
 *
 * Hash order is used wherever the directory is indexed or still may be (dir_index on, one
 * block or inline), because splits move names between blocks but not in this order:
 *
 *	bits 62..32  major hash / 2
 *	bits 31..8   upper 24 bits of the minor hash (legacy hash: of a CRC of the name)
 *	bits  7..0   rank among names that agree in all of these, plus 3
 *
 * Cookies 1 and 2 are those of "." and "..". Each call descends to the leaf of its
 * cookie, sorts that leaf's names, and goes on leaf by leaf.
 *
 * Otherwise the cookie is the byte position behind the entry. Entries may have been
 * merged or cut since, so the block is walked from its start to the first entry at or
 * behind the position.
 *
 * Invariants
 * (1) Within one call and from call to call, cookies only grow: a listing ends, whatever
 *     the index of a corrupt image says.
 * (2) Memory is bounded (BATCH_MAX entries), however many names share a hash.
 * (3) A block that cannot be read is reported and passed over. A call that finds nothing
 *     else to emit returns the error.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/store/htree.h"

#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u
#define COOKIE_RANK_FIRST 3u
#define COOKIE_RANK_MASK 0xffu
/* Names of one key beyond this many share a cookie: more than 55 equal bits of hash, 253 times. */
#define RANK_MAX (COOKIE_RANK_MASK - COOKIE_RANK_FIRST)
/* Entries sorted at a time; a leaf of 4 KiB has at most 341. */
#define BATCH_MAX 2048u
#define BATCH_FIRST 128u

struct batch_entry {
	uint64_t key; /* the cookie without rank */
	uint32_t minor;
	uint32_t lblk, off;
};

struct batch {
	struct batch_entry *e;
	uint32_t count, room;
	uint64_t key_max; /* larger ones were dropped: come back for them */
	bool truncated;
};

struct iter {
	struct inode *dir;
	uint64_t cookie; /* everything up to it is done */
	dir_emit_fn emit;
	void *arg;
	uint8_t hash_version;
	bool emitted;
	int error;	/* first block that could not be read */
	int emit_error; /* what the callback failed with */
};

static void iter_note(struct iter *it, int err)
{
	if (it->error == 0)
		it->error = err;
}

/* Emit and advance. 0, or > 0 stop, or an error. */
static int iter_emit(struct iter *it, const struct dir_entry *e)
{
	int r = it->emit(it->arg, e);

	if (r == 0) {
		it->cookie = e->cookie;
		it->emitted = true;
	} else if (r < 0) {
		it->emit_error = r;
	}
	return r;
}

/* Emit the entry @de unless no program could use its name. */
static int iter_emit_dirent(struct iter *it, const struct ext4_dir_entry_2 *de, uint64_t cookie)
{
	struct dir_entry e = {
		.name = de->name,
		.len = de->name_len,
		.ino = le32_to_cpu(de->inode),
		.ftype = dirent_ftype(it->dir->store, de),
		.cookie = cookie,
	};

	if (e.len == 0 || e.ino > it->dir->store->inodes_count || memchr(e.name, '/', e.len) ||
	    memchr(e.name, 0, e.len)) {
		iter_note(it, store_corrupt(it->dir->store, it->dir->ino, 0,
					    "directory entry: impossible name"));
		return 0;
	}
	return iter_emit(it, &e);
}

static int iter_emit_dots(struct iter *it)
{
	struct dir_entry e = { .name = ".", .len = 1, .ftype = EXT4_FT_DIR, .cookie = COOKIE_DOT };
	int r;

	if (!store_has_incompat(it->dir->store, EXT4_FEATURE_INCOMPAT_FILETYPE))
		e.ftype = EXT4_FT_UNKNOWN;
	if (it->cookie < COOKIE_DOT) {
		e.ino = it->dir->ino;
		r = iter_emit(it, &e);
		if (r)
			return r;
	}
	if (it->cookie < COOKIE_DOTDOT) {
		r = dir_parent(it->dir, &e.ino);
		if (r) {
			iter_note(it, r);
			return 0;
		}
		e.name = "..";
		e.len = 2;
		e.cookie = COOKIE_DOTDOT;
		return iter_emit(it, &e);
	}
	return 0;
}

static int batch_order(const void *pa, const void *pb)
{
	const struct batch_entry *a = pa, *b = pb;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	if (a->minor != b->minor)
		return a->minor < b->minor ? -1 : 1;
	if (a->lblk != b->lblk)
		return a->lblk < b->lblk ? -1 : 1;
	return a->off < b->off ? -1 : a->off > b->off;
}

/* Room for one more: grow, or keep the lower half and remember that the rest is missing. */
static int batch_make_room(struct batch *b)
{
	if (b->room < BATCH_MAX) {
		uint32_t room = b->room ? b->room * 2 : BATCH_FIRST;
		struct batch_entry *e = realloc(b->e, room * sizeof(*e));

		if (!e)
			return -ENOMEM;
		b->e = e;
		b->room = room;
		return 0;
	}
	qsort(b->e, b->count, sizeof(*b->e), batch_order);
	b->count /= 2;
	b->key_max = b->e[b->count - 1].key;
	b->truncated = true;
	return 0;
}

static struct batch_entry entry_key(const struct iter *it, const struct ext4_dir_entry_2 *de)
{
	struct dir_hash h =
		dirhash(it->hash_version, it->dir->store->hash_seed, de->name, de->name_len);

	if (it->hash_version == DX_HASH_LEGACY || it->hash_version == DX_HASH_LEGACY_UNSIGNED)
		h.minor = crc32c(~0u, de->name, de->name_len);
	return (struct batch_entry){
		.key = (uint64_t)(h.major >> 1) << 32 | (h.minor & ~COOKIE_RANK_MASK),
		.minor = h.minor,
	};
}

/*
 * Add the names of a block that come at or after the cookie. Its hashes begin at
 * @hash_first; one below would break the order of cookies and cannot be looked up
 * either. -EUCLEAN: broken chain.
 */
static int batch_add(struct iter *it, struct batch *b, const struct dir_area *a, uint32_t lblk,
		     uint32_t hash_first)
{
	uint64_t first = it->cookie & ~(uint64_t)COOKIE_RANK_MASK;

	for (uint32_t off = a->start; off < a->end;) {
		const struct ext4_dir_entry_2 *de = dirent_at(a, off);

		if (!de)
			return -EUCLEAN;
		if (de->inode.raw && !dirent_is_dots(de)) {
			struct batch_entry e = entry_key(it, de);

			e.lblk = lblk;
			e.off = off;
			if (e.key >> 32 < hash_first >> 1)
				iter_note(it, store_corrupt(it->dir->store, it->dir->ino, 0,
							    "directory index: name in a leaf of "
							    "other hashes"));
			else if (e.key >= first && (!b->truncated || e.key <= b->key_max)) {
				int err = b->count == b->room ? batch_make_room(b) : 0;

				if (err)
					return err;
				/* Beyond what was just dropped: emitted, it would hide that. */
				if (!b->truncated || e.key <= b->key_max)
					b->e[b->count++] = e;
			}
		}
		off += dirent_rec_len(de);
	}
	return 0;
}

/*
 * Emit the batch's names after the cookie. @single is the only block's entries, or NULL:
 * then each entry's block is read again, which costs nothing while they share one.
 */
static int batch_emit(struct iter *it, struct batch *b, const struct dir_area *single)
{
	_cleanup_put_buffer_ struct buf *buf = NULL;
	uint64_t before = it->cookie;
	uint32_t lblk = UINT32_MAX, rank = 0;
	struct dir_area a = { 0 };

	if (b->count > 1)
		qsort(b->e, b->count, sizeof(*b->e), batch_order);
	if (single)
		a = *single;
	for (uint32_t k = 0; k < b->count; k++) {
		const struct batch_entry *e = &b->e[k];
		const struct ext4_dir_entry_2 *de;
		uint64_t cookie;
		int r;

		rank = k > 0 && b->e[k - 1].key == e->key ? rank + 1 : 0;
		cookie = e->key | (MIN(rank, RANK_MAX) + COOKIE_RANK_FIRST);
		/* Beyond RANK_MAX names share the cookie just emitted: they belong to this call. */
		if (cookie <= before || cookie < it->cookie)
			continue;
		if (!single && e->lblk != lblk) {
			if (buf)
				buf_put(buf);
			buf = NULL;
			r = dir_block_read(it->dir, e->lblk, DIR_LEAF, &buf);
			if (r)
				return r;
			lblk = e->lblk;
			a = dir_block_area(it->dir, lblk, buf);
		}
		de = dirent_at(&a, e->off);
		r = de ? iter_emit_dirent(it, de, cookie) : 0;
		if (r)
			return r;
	}
	/*
	 * One key alone overflows a batch: its remaining names cannot be told apart. On to the
	 * key behind it: from the key's own last cookie the same batch would be made again.
	 */
	if (b->truncated && it->cookie == before)
		it->cookie = (b->key_max | COOKIE_RANK_MASK) + 1;
	return 0;
}

static bool is_corruption(int err)
{
	return err == -EUCLEAN || err == -EBADMSG;
}

/*
 * The next leaf that can be reached: an index block that cannot be read hides the names
 * below it, not those behind. -ENOENT at the end.
 */
static int next_leaf(struct iter *it, struct htree_path *path)
{
	int err = htree_next(path);

	while (is_corruption(err) && path->steps_left > 0) {
		iter_note(it, err);
		err = htree_next(path);
	}
	return err;
}

/* The leaf of the path and those that continue its last hash; *ret_more: the path stands on the next. */
static int gather_leaves(struct iter *it, struct htree_path *path, struct batch *b, bool *ret_more)
{
	int err;

	do {
		struct buf *buf;

		err = dir_block_read(it->dir, path->leaf, DIR_LEAF, &buf);
		if (err == 0) {
			struct dir_area a = dir_block_area(it->dir, path->leaf, buf);

			err = batch_add(it, b, &a, path->leaf, path->leaf_hash);
			if (err == -EUCLEAN)
				err = dir_block_broken(it->dir, buf);
			buf_put(buf);
		}
		if (is_corruption(err) || err == -EIO)
			iter_note(it, err);
		else if (err)
			return err;
		err = next_leaf(it, path);
		*ret_more = err == 0;
	} while (err == 0 && (path->leaf_hash & 1));
	return err == -ENOENT ? 0 : err;
}

static uint32_t cookie_major(uint64_t cookie)
{
	return (uint32_t)(cookie >> 32) << 1;
}

/* All leaves from the cookie's on. *ret_index_bad: the index ended it. */
static int iterate_index(struct iter *it, struct htree_path *path, struct batch *b,
			 bool *ret_index_bad)
{
	bool more = true;
	int r = htree_seek(path, cookie_major(it->cookie));

	while (r == 0 && more) {
		b->count = 0;
		b->truncated = false;
		r = gather_leaves(it, path, b, &more);
		if (r) {
			*ret_index_bad = true;
			break;
		}
		r = batch_emit(it, b, NULL);
		if (r)
			return r;
		if (b->truncated) {
			htree_close(path);
			r = htree_open(it->dir, path);
			if (r == 0)
				r = htree_seek(path, cookie_major(it->cookie));
			more = true;
		}
	}
	if (r)
		*ret_index_bad = true;
	return r;
}

static int iterate_single(struct iter *it, const struct dir_area *a, struct batch *b)
{
	int r;

	do {
		b->count = 0;
		b->truncated = false;
		r = batch_add(it, b, a, 0, 0);
		if (r == -EUCLEAN)
			return store_corrupt(it->dir->store, it->dir->ino, 0,
					     "directory block: chain of entries");
		if (r == 0)
			r = batch_emit(it, b, a);
	} while (r == 0 && b->truncated);
	return r;
}

/* Entries of @a, which begins at byte @base of the directory, from the cookie on. */
static int iterate_area(struct iter *it, const struct dir_area *a, uint64_t base)
{
	for (uint32_t off = a->start; off < a->end;) {
		const struct ext4_dir_entry_2 *de = dirent_at(a, off);
		uint32_t next;
		int r;

		if (!de)
			return -EUCLEAN;
		next = off + dirent_rec_len(de);
		if (de->inode.raw && base + off >= it->cookie) {
			r = iter_emit_dirent(it, de, base + next);
			if (r)
				return r;
		}
		off = next;
	}
	return 0;
}

static int iterate_linear(struct iter *it)
{
	uint32_t bits = it->dir->store->block_bits, lblk;
	struct dir_scan scan;
	struct buf *b;
	int r;

	/* Cookies of "." and ".." from a listing that began in hash order. */
	if (it->cookie == COOKIE_DOT)
		it->cookie = EXT4_DIR_REC_LEN(1);
	else if (it->cookie == COOKIE_DOTDOT)
		it->cookie = EXT4_DIR_REC_LEN(1) + EXT4_DIR_REC_LEN(2);
	if (it->cookie >= it->dir->size)
		return 0;
	r = dir_scan_init(&scan, it->dir, (uint32_t)(it->cookie >> bits));
	if (r)
		return r;
	while (dir_scan_next(&scan, &lblk, &b)) {
		struct dir_area a = dir_block_area(it->dir, lblk, b);

		r = iterate_area(it, &a, (uint64_t)lblk << bits);
		if (r == -EUCLEAN) {
			iter_note(it, dir_block_broken(it->dir, b));
			r = 0;
		}
		buf_put(b);
		if (r)
			return r;
	}
	if (scan.error)
		iter_note(it, scan.error);
	return 0;
}

static int iterate_inline(struct iter *it, bool by_hash)
{
	struct batch b = { 0 };
	struct dir_area a;
	int r = dir_inline_expand(it->dir, &a);

	if (r)
		return r;
	if (by_hash) {
		r = iter_emit_dots(it);
		if (r == 0)
			r = iterate_single(it, &a, &b);
	} else {
		r = iterate_area(it, &a, 0);
	}
	free(b.e);
	free(a.base);
	return r;
}

static int iterate_one_block(struct iter *it)
{
	struct batch b = { 0 };
	struct dir_area a;
	struct buf *buf;
	int r = iter_emit_dots(it);

	if (r == 0)
		r = dir_block_read(it->dir, 0, DIR_LEAF, &buf);
	if (r)
		return r;
	a = dir_block_area(it->dir, 0, buf);
	r = iterate_single(it, &a, &b);
	buf_put(buf);
	free(b.e);
	return r;
}

static int iterate_indexed(struct iter *it)
{
	struct htree_path path;
	struct batch b = { 0 };
	bool index_bad = false;
	int r = htree_open(it->dir, &path);

	if (r) {
		index_bad = true;
	} else {
		it->hash_version = path.hash_version;
		r = iter_emit_dots(it);
		if (r == 0)
			r = iterate_index(it, &path, &b, &index_bad);
		htree_close(&path);
		free(b.e);
	}
	if (!index_bad || !is_corruption(r))
		return r;
	/* Positions and hashes do not mix: only a listing that has not gone far can change over. */
	if (it->cookie > COOKIE_DOTDOT)
		return it->cookie < it->dir->size ? iterate_linear(it) : r;
	return iterate_linear(it);
}

int dir_iterate(struct inode *dir, uint64_t cookie, dir_emit_fn emit, void *arg)
{
	struct iter it = { .dir = dir, .cookie = cookie, .emit = emit, .arg = arg };
	bool by_hash = store_has_compat(dir->store, EXT4_FEATURE_COMPAT_DIR_INDEX) &&
		       !(dir->flags & EXT4_CASEFOLD_FL);
	uint32_t count;
	int r;

	if (!inode_is_dir(dir))
		return -ENOTDIR;
	if (dir->flags & EXT4_ENCRYPT_FL)
		return -ENOKEY;
	if (by_hash && !dir_is_indexed(dir))
		by_hash = htree_default_version(dir->store, &it.hash_version);
	if (dir_is_inline(dir)) {
		r = iterate_inline(&it, by_hash);
	} else {
		r = dir_block_count(dir, &count);
		if (r)
			return r;
		if (by_hash && dir_is_indexed(dir))
			r = iterate_indexed(&it);
		else if (by_hash && count == 1)
			r = iterate_one_block(&it);
		else
			r = iterate_linear(&it);
	}
	if (it.emit_error)
		return it.emit_error;
	/* What was emitted is delivered; the next call meets the error again and can say so. */
	if (r > 0 || it.emitted)
		return 0;
	return r ? r : it.error;
}
