// SPDX-License-Identifier: GPL-2.0-only
/*
 * The index of a directory: descending, walking, and growing it.
 *
 * Adding a name may have to split its leaf, which needs room in the lowest index
 * block, which may have to be split first, up to the root, which is never split but
 * pushes its entries down one level. Each of these steps leaves a tree that finds
 * every name, so an error between two steps (no space) loses nothing.
 *
 * Invariants
 * (1) Entries of an index block are sorted by hash; the first one's hash is implied.
 * (2) All buffers that a step changes are in the transaction before its first byte
 *     changes: a step is done whole or not at all.
 * (3) count and limit of an index block are checked each time it enters a path,
 *     verified or not: they bound every access to its entries.
 *
 * Fails with -EUCLEAN/-EBADMSG (reported) on a bad index, -ENOSPC when the index is
 * full or no block is left.
 */
#include "daemon/store/htree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"

/* Growing the root, splitting each level and the leaf, each followed by a new descent. */
#define HTREE_ADD_STEPS_MAX (EXT4_HTREE_LEVEL + 3)

static struct dx_entry *frame_entries(const struct htree_frame *f)
{
	return (struct dx_entry *)(f->buf->data + dir_index_off(f->lblk));
}

static uint32_t entry_hash(const struct htree_frame *f, uint32_t k)
{
	return k == 0 ? 0 : le32_to_cpu(frame_entries(f)[k].hash);
}

static uint32_t entry_block(const struct htree_frame *f, uint32_t k)
{
	return le32_to_cpu(frame_entries(f)[k].block) & EXT4_DX_BLOCK_MASK;
}

static void frame_set_count(struct htree_frame *f, uint32_t count)
{
	struct dx_countlimit *c = (struct dx_countlimit *)frame_entries(f);

	c->count = cpu_to_le16((uint16_t)count);
	f->count = count;
}

static uint32_t levels_max(const struct store *s)
{
	return store_has_incompat(s, EXT4_FEATURE_INCOMPAT_LARGEDIR) ? EXT4_HTREE_LEVEL :
								       EXT4_HTREE_LEVEL_COMPAT;
}

static int index_bad(struct htree_path *path, const char *what)
{
	return store_corrupt(path->dir->store, path->dir->ino, path->frames[0].buf->pblk, what);
}

/* Read index block @lblk into @level; a block may be only once on a path. */
static int frame_load(struct htree_path *path, uint32_t level, uint32_t lblk)
{
	struct htree_frame *f = &path->frames[level];
	const struct store *s = path->dir->store;
	const struct dx_countlimit *c;
	struct buf *b;
	int err;

	for (uint32_t k = 0; k < level; k++) {
		if (path->frames[k].lblk == lblk)
			return index_bad(path, "directory index: a block is its own ancestor");
	}
	err = dir_block_read(path->dir, lblk, DIR_INDEX, &b);
	if (err)
		return err;
	if (f->buf)
		buf_put(f->buf);
	*f = (struct htree_frame){ .buf = b, .lblk = lblk };
	c = (const struct dx_countlimit *)frame_entries(f);
	f->count = le16_to_cpu(c->count);
	if (le16_to_cpu(c->limit) != dir_index_limit(s, lblk) || f->count == 0 ||
	    f->count > dir_index_limit(s, lblk)) {
		f->count = 0;
		return store_corrupt(path->dir->store, path->dir->ino, b->pblk,
				     "directory index: count or limit");
	}
	return 0;
}

void htree_close(struct htree_path *path)
{
	for (uint32_t k = 0; k < EXT4_HTREE_LEVEL; k++) {
		if (path->frames[k].buf)
			buf_put(path->frames[k].buf);
		path->frames[k].buf = NULL;
	}
}

int htree_open(struct inode *dir, struct htree_path *path)
{
	const struct store *s = dir->store;
	const struct dx_root_info *info;
	int err;

	*path = (struct htree_path){ .dir = dir };
	err = dir_block_count(dir, &path->steps_left);
	if (err)
		return err;
	err = frame_load(path, 0, 0);
	if (err)
		goto out_close;
	info = &((const struct dx_root *)path->frames[0].buf->data)->info;
	if (info->hash_version > DX_HASH_TEA || (info->unused_flags & 1)) {
		err = index_bad(path, "directory index: unknown hash");
		goto out_close;
	}
	if (info->indirect_levels >= levels_max(s)) {
		err = index_bad(path, "directory index: too many levels");
		goto out_close;
	}
	path->hash_version = info->hash_version;
	if (s->hash_unsigned)
		path->hash_version += DX_HASH_LEGACY_UNSIGNED;
	path->levels = info->indirect_levels + 1u;
	return 0;

out_close:
	htree_close(path);
	return err;
}

/* The last entry whose hash is not above @major. */
static uint32_t frame_search(const struct htree_frame *f, uint32_t major)
{
	uint32_t lo = 1, hi = f->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (entry_hash(f, mid) > major)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo - 1;
}

static int path_set_leaf(struct htree_path *path)
{
	const struct htree_frame *low = &path->frames[path->levels - 1];

	path->leaf = entry_block(low, low->at);
	if (path->steps_left == 0)
		return index_bad(path, "directory index: more leaves than blocks");
	path->steps_left--;
	for (uint32_t k = 0; k < path->levels; k++) {
		if (path->leaf == path->frames[k].lblk)
			return index_bad(path, "directory index: a leaf is an index block");
	}
	return 0;
}

int htree_seek(struct htree_path *path, uint32_t major)
{
	path->leaf_hash = 0;
	for (uint32_t level = 0; level < path->levels; level++) {
		struct htree_frame *f = &path->frames[level];

		if (level > 0) {
			const struct htree_frame *up = f - 1;
			int err = frame_load(path, level, entry_block(up, up->at));

			if (err)
				return err;
		}
		f->at = frame_search(f, major);
		if (f->at > 0)
			path->leaf_hash = entry_hash(f, f->at);
	}
	return path_set_leaf(path);
}

int htree_next(struct htree_path *path)
{
	uint32_t level = path->levels - 1;

	while (path->frames[level].at + 1 >= path->frames[level].count) {
		if (level == 0)
			return -ENOENT;
		level--;
	}
	path->frames[level].at++;
	path->leaf_hash = entry_hash(&path->frames[level], path->frames[level].at);
	for (; level + 1 < path->levels; level++) {
		const struct htree_frame *f = &path->frames[level];
		int err = frame_load(path, level + 1, entry_block(f, f->at));

		if (err)
			return err;
	}
	return path_set_leaf(path);
}

bool htree_default_version(const struct store *s, uint8_t *ret_version)
{
	if (s->hash_version_default > DX_HASH_TEA)
		return false;
	*ret_version = s->hash_version_default;
	if (s->hash_unsigned)
		*ret_version += DX_HASH_LEGACY_UNSIGNED;
	return true;
}

/* Look into the path's leaf and into those that continue the hash. */
static int locate_in_leaves(struct htree_path *path, uint32_t major, const struct dir_name *name,
			    struct dir_slot *ret_slot, bool *ret_index_bad)
{
	for (;;) {
		struct dir_area a;
		struct buf *b;
		int err = dir_block_read(path->dir, path->leaf, DIR_LEAF, &b);

		if (err)
			return err;
		a = dir_block_area(path->dir, path->leaf, b);
		err = dir_area_find(&a, name, &ret_slot->pos);
		if (err == 0) {
			ret_slot->buf = b;
			ret_slot->lblk = path->leaf;
			return 0;
		}
		if (err == -EUCLEAN)
			err = dir_block_broken(path->dir, b);
		buf_put(b);
		if (err != -ENOENT)
			return err;
		err = htree_next(path);
		if (err == -ENOENT || (err == 0 && (path->leaf_hash & ~1u) != major))
			return -ENOENT;
		if (err) {
			*ret_index_bad = true;
			return err;
		}
	}
}

int htree_locate(struct inode *dir, const struct dir_name *name, struct dir_slot *ret_slot,
		 bool *ret_index_bad)
{
	struct htree_path path;
	struct dir_hash hash;
	int err;

	*ret_index_bad = true;
	err = htree_open(dir, &path);
	if (err)
		return err;
	hash = dirhash(path.hash_version, dir->store->hash_seed, name->name, name->len);
	err = htree_seek(&path, hash.major);
	if (err == 0) {
		*ret_index_bad = false;
		err = locate_in_leaves(&path, hash.major, name, ret_slot, ret_index_bad);
	}
	htree_close(&path);
	return err;
}

/* Insert (hash, block) behind the entry the frame stands on; the frame has room. */
static void frame_insert(struct handle *h, struct inode *dir, struct htree_frame *f, uint32_t hash,
			 uint32_t block)
{
	struct dx_entry *e = frame_entries(f) + f->at + 1;

	CHECK(f->at < f->count);
	CHECK(f->count < dir_index_limit(dir->store, f->lblk));
	memmove(e + 1, e, (f->count - f->at - 1) * sizeof(*e));
	e->hash = cpu_to_le32(hash);
	e->block = cpu_to_le32(block);
	frame_set_count(f, f->count + 1);
	dir_index_seal(h, dir, f->lblk, f->buf);
}

/* Push the root's entries down into a new block: one level more. */
static int grow_root(struct handle *h, struct htree_path *path)
{
	struct inode *dir = path->dir;
	struct htree_frame *root = &path->frames[0];
	struct htree_frame node = { 0 };
	struct dx_root_info *info = &((struct dx_root *)root->buf->data)->info;
	uint32_t count = root->count;
	int err;

	if (path->levels >= levels_max(dir->store)) {
		log_debug("directory %u: index is full", dir->ino);
		return -ENOSPC;
	}
	err = journal_get_write(h, root->buf);
	if (err == 0)
		err = dir_append(h, dir, &node.lblk, &node.buf);
	if (err)
		return err;
	dir_index_init(dir->store, node.lblk, node.buf);
	/* The first entry's hash field holds count and limit, which differ. */
	memcpy(frame_entries(&node) + 1, frame_entries(root) + 1,
	       (count - 1) * sizeof(struct dx_entry));
	frame_entries(&node)[0].block = frame_entries(root)[0].block;
	frame_set_count(&node, count);
	dir_index_seal(h, dir, node.lblk, node.buf);

	memset(frame_entries(root) + 1, 0, (count - 1) * sizeof(struct dx_entry));
	frame_entries(root)[0].block = cpu_to_le32(node.lblk);
	frame_set_count(root, 1);
	info->indirect_levels++;
	dir_index_seal(h, dir, root->lblk, root->buf);
	buf_put(node.buf);
	return 0;
}

/* Move the upper half of the full index block at @level to a new one; its parent has room. */
static int split_index(struct handle *h, struct htree_path *path, uint32_t level)
{
	struct inode *dir = path->dir;
	struct htree_frame *f = &path->frames[level], *up = f - 1;
	struct htree_frame node = { 0 };
	uint32_t keep = f->count / 2, move = f->count - keep, hash;
	int err;

	CHECK(level > 0);
	err = journal_get_write(h, f->buf);
	if (err == 0)
		err = journal_get_write(h, up->buf);
	if (err == 0)
		err = dir_append(h, dir, &node.lblk, &node.buf);
	if (err)
		return err;
	hash = entry_hash(f, keep);
	dir_index_init(dir->store, node.lblk, node.buf);
	frame_entries(&node)[0].block = frame_entries(f)[keep].block;
	memcpy(frame_entries(&node) + 1, frame_entries(f) + keep + 1,
	       (move - 1) * sizeof(struct dx_entry));
	frame_set_count(&node, move);
	dir_index_seal(h, dir, node.lblk, node.buf);

	memset(frame_entries(f) + keep, 0, move * sizeof(struct dx_entry));
	frame_set_count(f, keep);
	dir_index_seal(h, dir, f->lblk, f->buf);
	frame_insert(h, dir, up, hash, node.lblk);
	buf_put(node.buf);
	return 0;
}

struct leaf_entry {
	uint32_t hash;
	uint32_t off;
	uint32_t len; /* what the name needs, without slack */
};

/* A leaf copied out with its live entries sorted by hash. */
struct leaf_map {
	uint8_t *copy;
	struct leaf_entry *e;
	uint32_t count, bytes;
};

static int leaf_entry_order(const void *pa, const void *pb)
{
	const struct leaf_entry *a = pa, *b = pb;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return a->off < b->off ? -1 : a->off > b->off;
}

static void leaf_map_free(struct leaf_map *m)
{
	free(m->copy);
	free(m->e);
}

/* -EUCLEAN (not reported) when the chain breaks. */
static int leaf_map_load(const struct htree_path *path, const struct dir_area *a,
			 struct leaf_map *m)
{
	struct dir_area from = *a;
	uint32_t off = a->start;

	*m = (struct leaf_map){ .copy = malloc(a->end) };
	m->e = malloc((a->end / DIRENT_LEN_MIN + 1) * sizeof(*m->e));
	if (!m->copy || !m->e) {
		leaf_map_free(m);
		return -ENOMEM;
	}
	memcpy(m->copy, a->base, a->end);
	from.base = m->copy;
	while (off < from.end) {
		const struct ext4_dir_entry_2 *de = dirent_at(&from, off);

		if (!de) {
			leaf_map_free(m);
			return -EUCLEAN;
		}
		if (de->inode.raw) {
			struct leaf_entry *e = &m->e[m->count++];

			e->off = off;
			e->len = EXT4_DIR_REC_LEN(de->name_len);
			e->hash = dirhash(path->hash_version, path->dir->store->hash_seed, de->name,
					  de->name_len)
					  .major;
			m->bytes += e->len;
		}
		off += dirent_rec_len(de);
	}
	if (m->count > 1)
		qsort(m->e, m->count, sizeof(*m->e), leaf_entry_order);
	return 0;
}

/* Write entries [first, end) of the map one behind the other; the last takes the rest. */
static void leaf_pack(const struct leaf_map *m, uint32_t first, uint32_t end,
		      const struct dir_area *to)
{
	uint32_t off = to->start;

	dir_area_clear(to);
	for (uint32_t k = first; k < end; k++) {
		struct ext4_dir_entry_2 *de = (struct ext4_dir_entry_2 *)(to->base + off);

		CHECK(m->e[k].len <= to->end - off);
		memcpy(de, m->copy + m->e[k].off, m->e[k].len);
		dirent_set_rec_len(de, k + 1 == end ? to->end - off : m->e[k].len);
		off += m->e[k].len;
	}
}

/* The largest hash that a name in the path's leaf may have. */
static uint32_t leaf_hash_max(const struct htree_path *path)
{
	for (uint32_t level = path->levels; level-- > 0;) {
		const struct htree_frame *f = &path->frames[level];
		uint32_t next;

		if (f->at + 1 >= f->count)
			continue;
		next = entry_hash(f, f->at + 1);
		/* A leaf that continues a hash has its first names in the one before. */
		return next & 1 ? next - 1 : next - (next > 0);
	}
	return UINT32_MAX;
}

/* Names that hash to elsewhere would make an index whose hashes are out of order. */
static bool leaf_map_belongs(const struct leaf_map *m, const struct htree_path *path)
{
	return m->e[0].hash >= (path->leaf_hash & ~1u) &&
	       m->e[m->count - 1].hash <= leaf_hash_max(path);
}

/* Where to cut so that both halves hold about as many bytes; 0 < result < count. */
static uint32_t leaf_split_point(const struct leaf_map *m)
{
	uint32_t k = m->count, bytes = 0;

	while (k > 1 && bytes + m->e[k - 1].len / 2 <= m->bytes / 2)
		bytes += m->e[--k].len;
	return MIN(k, m->count - 1);
}

static int put_in_leaf(struct handle *h, struct inode *dir, uint32_t lblk, struct buf *b,
		       const struct dir_name *name, const struct dir_target *t)
{
	struct dir_area a = dir_block_area(dir, lblk, b);
	uint32_t off;
	int err = dir_area_find_room(&a, name, &off);

	if (err == -EUCLEAN)
		return dir_block_broken(dir, b);
	if (err)
		return err;
	err = journal_get_write(h, b);
	if (err)
		return err;
	dir_leaf_seal(h, dir, b, off, dir_area_put(&a, off, name, t));
	return 0;
}

/*
 * Split the leaf and add @name to the half its hash belongs to. The lowest index block
 * has room. When deletions have scattered so much room that packing the leaf is enough,
 * or that too few names are left to split, it is packed instead.
 */
static int split_leaf(struct handle *h, struct htree_path *path, struct buf *leaf, uint32_t major,
		      const struct dir_name *name, const struct dir_target *t)
{
	struct inode *dir = path->dir;
	struct htree_frame *low = &path->frames[path->levels - 1];
	struct dir_area a = dir_block_area(dir, path->leaf, leaf), upper;
	uint32_t room = a.end - a.start, at, hash, lblk;
	struct leaf_map m;
	struct buf *b;
	int err;

	err = leaf_map_load(path, &a, &m);
	if (err)
		return err == -EUCLEAN ? dir_block_broken(dir, leaf) : err;
	if (m.count && !leaf_map_belongs(&m, path)) {
		err = store_corrupt(dir->store, dir->ino, leaf->pblk,
				    "directory index: a name is in another's leaf");
		goto out_free_map;
	}
	err = journal_get_write(h, leaf);
	if (err)
		goto out_free_map;
	if (m.count < 2 || m.bytes <= room - room / 4 - EXT4_DIR_REC_LEN(name->len)) {
		leaf_pack(&m, 0, m.count, &a);
		dir_leaf_seal(h, dir, leaf, a.start, room);
		err = put_in_leaf(h, dir, path->leaf, leaf, name, t);
		goto out_free_map;
	}
	err = journal_get_write(h, low->buf);
	if (err == 0)
		err = dir_append(h, dir, &lblk, &b);
	if (err)
		goto out_free_map;
	at = leaf_split_point(&m);
	hash = m.e[at].hash;
	upper = dir_leaf_init(dir, b);
	leaf_pack(&m, at, m.count, &upper);
	dir_leaf_seal(h, dir, b, 0, dir->store->block_size);
	leaf_pack(&m, 0, at, &a);
	dir_leaf_seal(h, dir, leaf, a.start, room);
	frame_insert(h, dir, low, hash | (m.e[at - 1].hash == hash), lblk);
	if (major >= hash)
		err = put_in_leaf(h, dir, lblk, b, name, t);
	else
		err = put_in_leaf(h, dir, path->leaf, leaf, name, t);
	buf_put(b);

out_free_map:
	leaf_map_free(&m);
	return err;
}

/* The search halves: what is put into an index out of order may not be found there. */
static bool path_in_order(const struct htree_path *path)
{
	for (uint32_t level = 0; level < path->levels; level++) {
		const struct htree_frame *f = &path->frames[level];

		for (uint32_t k = 2; k < f->count; k++)
			if (entry_hash(f, k - 1) > entry_hash(f, k))
				return false;
	}
	return true;
}

/* One attempt: 0 done, 1 the index has grown and the descent must be repeated. */
static int add_step(struct handle *h, struct htree_path *path, const struct dir_name *name,
		    const struct dir_target *t)
{
	struct inode *dir = path->dir;
	const struct store *s = dir->store;
	uint32_t level = path->levels;
	_cleanup_put_buffer_ struct buf *leaf = NULL;
	struct dir_hash hash;
	int err;

	hash = dirhash(path->hash_version, s->hash_seed, name->name, name->len);
	err = htree_seek(path, hash.major);
	if (err == 0)
		err = dir_block_read(dir, path->leaf, DIR_LEAF, &leaf);
	if (err)
		return err;
	err = put_in_leaf(h, dir, path->leaf, leaf, name, t);
	if (err != -ENOSPC)
		return err;
	if (!path_in_order(path))
		return index_bad(path, "directory index: hashes out of order");
	while (level > 0 &&
	       path->frames[level - 1].count == dir_index_limit(s, path->frames[level - 1].lblk))
		level--;
	if (level == path->levels)
		return split_leaf(h, path, leaf, hash.major, name, t);
	err = level == 0 ? grow_root(h, path) : split_index(h, path, level);
	return err ? err : 1;
}

int htree_add(struct handle *h, struct inode *dir, const struct dir_name *name,
	      const struct dir_target *t)
{
	for (int step = 0; step < HTREE_ADD_STEPS_MAX; step++) {
		struct htree_path path;
		int err = htree_open(dir, &path);

		if (err)
			return err;
		err = add_step(h, &path, name, t);
		htree_close(&path);
		if (err <= 0)
			return err;
	}
	return store_corrupt(dir->store, dir->ino, 0, "directory index: does not become deeper");
}

/* Entries after "." and ".." of block 0; NULL when the block does not begin with them. */
static const char *dots_end(const struct dir_area *a, uint32_t *ret_off)
{
	const struct ext4_dir_entry_2 *dot = dirent_at(a, 0), *dotdot;

	if (!dot || dirent_rec_len(dot) != EXT4_DIR_REC_LEN(1) || dot->name_len != 1 ||
	    dot->name[0] != '.')
		return "directory: first entry is not '.'";
	dotdot = dirent_at(a, EXT4_DIR_REC_LEN(1));
	if (!dotdot || dotdot->name_len != 2 || dotdot->name[0] != '.' || dotdot->name[1] != '.')
		return "directory: second entry is not '..'";
	*ret_off = EXT4_DIR_REC_LEN(1) + dirent_rec_len(dotdot);
	return NULL;
}

/* Turn block 0 into the root over leaf @leaf_lblk; "." and ".." stay. */
static void make_root(struct handle *h, struct inode *dir, struct buf *root, uint32_t leaf_lblk)
{
	const struct store *s = dir->store;
	struct dx_root *r = (struct dx_root *)root->data;
	struct htree_frame f = { .buf = root, .lblk = 0 };

	dirent_set_rec_len((struct ext4_dir_entry_2 *)&r->dotdot,
			   s->block_size - EXT4_DIR_REC_LEN(1));
	dir_index_init(s, 0, root);
	r->info.hash_version = s->hash_version_default;
	frame_entries(&f)[0].block = cpu_to_le32(leaf_lblk);
	frame_set_count(&f, 1);
	dir->flags |= EXT4_INDEX_FL;
	dir_index_seal(h, dir, 0, root);
}

/* Copy the live entries of @from, from @off on, one behind the other. */
static void copy_entries(const struct dir_area *from, uint32_t off, const struct dir_area *to)
{
	struct ext4_dir_entry_2 *last = NULL;
	uint32_t to_off = to->start;

	while (off < from->end) {
		const struct ext4_dir_entry_2 *de = dirent_at(from, off);
		uint32_t len;

		if (!de)
			break;
		len = EXT4_DIR_REC_LEN(de->name_len);
		if (de->inode.raw && len <= to->end - to_off) {
			last = (struct ext4_dir_entry_2 *)(to->base + to_off);
			memcpy(last, de, len);
			dirent_set_rec_len(last, len);
			to_off += len;
		}
		off += dirent_rec_len(de);
	}
	if (last)
		dirent_set_rec_len(last, dirent_rec_len(last) + to->end - to_off);
}

int htree_make(struct handle *h, struct inode *dir)
{
	_cleanup_put_buffer_ struct buf *root = NULL, *leaf = NULL;
	uint32_t lblk, first = 0;
	struct dir_area from, to;
	const char *what;
	int err;

	err = dir_block_read(dir, 0, DIR_LEAF, &root);
	if (err)
		return err;
	from = dir_block_area(dir, 0, root);
	what = dots_end(&from, &first);
	if (!what)
		what = dir_area_check(&from, dir->store->inodes_count);
	if (what)
		return store_corrupt(dir->store, dir->ino, root->pblk, what);
	err = journal_get_write(h, root);
	if (err == 0)
		err = dir_append(h, dir, &lblk, &leaf);
	if (err)
		return err;
	to = dir_leaf_init(dir, leaf);
	copy_entries(&from, first, &to);
	dir_leaf_seal(h, dir, leaf, 0, dir->store->block_size);
	make_root(h, dir, root, lblk);
	return 0;
}
