// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chains of directory entries and the blocks that hold them.
 *
 * Invariants
 * (1) A chain covers its area exactly: each entry's rec_len leads to the next one, the
 *     last to the end. Every function here keeps that.
 * (2) With metadata_csum a leaf ends in a 12-byte tail that looks like an unused entry;
 *     areas end before it, so no name is ever put there.
 * (3) A block that was appended but could not be entered is unmapped again before the
 *     error returns: size and mapping always agree.
 *
 * Fails with -EUCLEAN or -EBADMSG, reported once per block through store_corrupt().
 */
#include "daemon/store/dir_block.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/crc.h"
#include "daemon/store/alloc.h"

/* Blocks asked for ahead of a scan that meets an uncached one. */
#define DIR_READAHEAD_BLOCKS 32u

const char *dir_area_check(const struct dir_area *a, uint32_t inodes_count)
{
	uint32_t off = a->start;

	while (off < a->end) {
		const struct ext4_dir_entry_2 *de = dirent_at(a, off);

		if (!de)
			return "directory entry: record length impossible";
		if (le32_to_cpu(de->inode) > inodes_count)
			return "directory entry: inode number out of range";
		if (de->inode.raw != 0 && de->name_len == 0)
			return "directory entry: empty name";
		off += dirent_rec_len(de);
	}
	return NULL;
}

int dir_area_find(const struct dir_area *a, const struct dir_name *name, struct dirent_pos *ret_pos)
{
	struct dirent_pos pos = { .off = a->start, .prev = DIRENT_NO_PREV };

	while (pos.off < a->end) {
		const struct ext4_dir_entry_2 *de = dirent_at(a, pos.off);

		if (!de)
			return -EUCLEAN;
		if (dirent_is(de, name)) {
			*ret_pos = pos;
			return 0;
		}
		pos.prev = pos.off;
		pos.off += dirent_rec_len(de);
	}
	return -ENOENT;
}

/* Bytes of an entry that its name does not use. */
static uint32_t dirent_slack(const struct ext4_dir_entry_2 *de)
{
	uint32_t len = dirent_rec_len(de);
	uint32_t used = de->inode.raw ? EXT4_DIR_REC_LEN(de->name_len) : 0;

	return used < len ? len - used : 0;
}

int dir_area_find_room(const struct dir_area *a, const struct dir_name *name, uint32_t *ret_off)
{
	uint32_t need = EXT4_DIR_REC_LEN(name->len), off = a->start, found = UINT32_MAX;

	while (off < a->end) {
		const struct ext4_dir_entry_2 *de = dirent_at(a, off);

		if (!de)
			return -EUCLEAN;
		if (dirent_is(de, name))
			return -EEXIST;
		if (found == UINT32_MAX && dirent_slack(de) >= need)
			found = off;
		off += dirent_rec_len(de);
	}
	if (found == UINT32_MAX)
		return -ENOSPC;
	*ret_off = found;
	return 0;
}

uint32_t dir_area_put(const struct dir_area *a, uint32_t off, const struct dir_name *name,
		      const struct dir_target *t)
{
	struct ext4_dir_entry_2 *de = (struct ext4_dir_entry_2 *)(a->base + off);
	uint32_t len = dirent_rec_len(de), used = 0;

	CHECK(dirent_slack(de) >= EXT4_DIR_REC_LEN(name->len));
	if (de->inode.raw) {
		used = EXT4_DIR_REC_LEN(de->name_len);
		dirent_set_rec_len(de, used);
		de = (struct ext4_dir_entry_2 *)(a->base + off + used);
		dirent_set_rec_len(de, len - used);
	}
	de->inode = cpu_to_le32(t->ino);
	de->name_len = (uint8_t)name->len;
	de->file_type = t->ftype;
	memcpy(de->name, name->name, name->len);
	/* The padding is on disk too: nothing stale may stay in it. */
	memset(de->name + name->len, 0,
	       EXT4_DIR_REC_LEN(name->len) - EXT4_DIR_ENTRY_HEADER_LEN - name->len);
	return used + EXT4_DIR_REC_LEN(name->len);
}

void dir_area_delete(const struct dir_area *a, const struct dirent_pos *pos)
{
	struct ext4_dir_entry_2 *de = (struct ext4_dir_entry_2 *)(a->base + pos->off);
	uint32_t len = dirent_rec_len(de);

	if (pos->prev != DIRENT_NO_PREV) {
		struct ext4_dir_entry_2 *prev = (struct ext4_dir_entry_2 *)(a->base + pos->prev);

		dirent_set_rec_len(prev, pos->off - pos->prev + len);
		memset(de, 0, MIN(len, EXT4_DIR_REC_LEN(de->name_len)));
		return;
	}
	memset(de->name, 0, de->name_len);
	de->inode = cpu_to_le32(0);
	de->name_len = 0;
	de->file_type = 0;
}

void dir_area_clear(const struct dir_area *a)
{
	struct ext4_dir_entry_2 *de = (struct ext4_dir_entry_2 *)(a->base + a->start);

	memset(de, 0, a->end - a->start);
	dirent_set_rec_len(de, a->end - a->start);
}

uint8_t dir_ftype_stored(const struct store *s, uint8_t ftype)
{
	return store_has_incompat(s, EXT4_FEATURE_INCOMPAT_FILETYPE) ? ftype : 0;
}

uint8_t dirent_ftype(const struct store *s, const struct ext4_dir_entry_2 *de)
{
	if (!store_has_incompat(s, EXT4_FEATURE_INCOMPAT_FILETYPE) || de->file_type >= EXT4_FT_MAX)
		return EXT4_FT_UNKNOWN;
	return de->file_type;
}

void dir_area_put_dots(const struct store *s, const struct dir_area *a, uint32_t ino,
		       uint32_t parent_ino)
{
	struct dir_target t = { .ino = ino, .ftype = dir_ftype_stored(s, EXT4_FT_DIR) };

	dir_area_clear(a);
	(void)dir_area_put(a, a->start, &(struct dir_name){ ".", 1 }, &t);
	t.ino = parent_ino;
	(void)dir_area_put(a, a->start, &(struct dir_name){ "..", 2 }, &t);
}

int dir_block_count(struct inode *dir, uint32_t *ret_count)
{
	uint64_t count = dir->size >> dir->store->block_bits;

	if (count == 0 || count >= LBLK_END)
		return store_corrupt(dir->store, dir->ino, 0, "directory: size impossible");
	*ret_count = (uint32_t)count;
	return 0;
}

/* Is this block part of the index rather than a leaf? */
static bool block_is_index(const struct inode *dir, uint32_t lblk, const uint8_t *data)
{
	if (!dir_is_indexed(dir))
		return false;
	return lblk == 0 ||
	       dirent_rec_len((const struct ext4_dir_entry_2 *)data) == dir->store->block_size;
}

static struct ext4_dir_entry_tail *leaf_tail(const struct store *s, const uint8_t *data)
{
	return (struct ext4_dir_entry_tail *)(data + s->block_size -
					      sizeof(struct ext4_dir_entry_tail));
}

static uint32_t leaf_csum(const struct inode *dir, const uint8_t *data)
{
	return crc32c(inode_csum_seed(dir), data,
		      dir->store->block_size - sizeof(struct ext4_dir_entry_tail));
}

static bool leaf_has_tail(const struct store *s, const uint8_t *data)
{
	const struct ext4_dir_entry_tail *t = leaf_tail(s, data);

	return t->det_reserved_zero1.raw == 0 && le16_to_cpu(t->det_rec_len) == sizeof(*t) &&
	       t->det_reserved_zero2 == 0 && t->det_reserved_ft == EXT4_FT_DIR_CSUM;
}

uint32_t dir_index_limit(const struct store *s, uint32_t lblk)
{
	uint32_t tail = s->has_csum ? (uint32_t)sizeof(struct dx_tail) : 0;

	return (s->block_size - dir_index_off(lblk) - tail) / (uint32_t)sizeof(struct dx_entry);
}

void dir_index_init(const struct store *s, uint32_t lblk, struct buf *b)
{
	struct dx_root *root = (struct dx_root *)b->data;
	uint32_t off = dir_index_off(lblk);
	struct dx_countlimit *c = (struct dx_countlimit *)(b->data + off);

	memset(lblk == 0 ? (uint8_t *)&root->info : b->data, 0,
	       s->block_size - (lblk == 0 ? offsetof(struct dx_root, info) : 0));
	if (lblk == 0)
		root->info.info_length = sizeof(root->info);
	else
		dirent_set_rec_len((struct ext4_dir_entry_2 *)b->data, s->block_size);
	c->limit = cpu_to_le16((uint16_t)dir_index_limit(s, lblk));
}

/* Does the block begin as a root (@lblk 0) or another node does? */
static bool index_layout_ok(const struct store *s, uint32_t lblk, const uint8_t *data)
{
	const struct dx_root *root = (const struct dx_root *)data;
	uint32_t first = dirent_rec_len((const struct ext4_dir_entry_2 *)data);

	if (lblk != 0)
		return first == s->block_size;
	return first == EXT4_DIR_REC_LEN(1) &&
	       dirent_rec_len((const struct ext4_dir_entry_2 *)&root->dotdot) ==
		       s->block_size - EXT4_DIR_REC_LEN(1) &&
	       root->info.reserved_zero.raw == 0 && root->info.info_length == sizeof(root->info);
}

/*
 * Without checksums an empty leaf begins as a node does. What follows decides: nothing but
 * a node has the node's limit there, and a count within it. (What a removed name leaves
 * behind its header would have to spell them.)
 */
static bool looks_like_node(const struct store *s, const uint8_t *data)
{
	const struct ext4_dir_entry_2 *de = (const struct ext4_dir_entry_2 *)data;
	const struct dx_countlimit *c = (const struct dx_countlimit *)(data + dir_index_off(1));
	uint32_t count = le16_to_cpu(c->count), limit = le16_to_cpu(c->limit);

	return de->inode.raw == 0 && de->name_len == 0 && limit == dir_index_limit(s, 1) &&
	       count >= 1 && count <= limit;
}

/* The tail follows the last possible entry; the unused entries before it are not summed. */
static struct dx_tail *index_tail(const struct store *s, uint32_t lblk, uint8_t *data)
{
	return (struct dx_tail *)(data + dir_index_off(lblk) +
				  dir_index_limit(s, lblk) * sizeof(struct dx_entry));
}

static uint32_t index_csum(const struct inode *dir, uint32_t lblk, uint8_t *data)
{
	uint32_t off = dir_index_off(lblk);
	const struct dx_countlimit *c = (const struct dx_countlimit *)(data + off);
	const struct dx_tail *t = index_tail(dir->store, lblk, data);
	uint32_t count = MIN((uint32_t)le16_to_cpu(c->count), dir_index_limit(dir->store, lblk));
	const le32 zero = { 0 };
	uint32_t crc;

	crc = crc32c(inode_csum_seed(dir), data, off + count * sizeof(struct dx_entry));
	crc = crc32c(crc, &t->dt_reserved, sizeof(t->dt_reserved));
	return crc32c(crc, &zero, sizeof(zero));
}

static int verify_index(struct inode *dir, uint32_t lblk, const struct buf *b)
{
	struct store *s = dir->store;
	const struct dx_countlimit *c =
		(const struct dx_countlimit *)(b->data + dir_index_off(lblk));
	uint32_t limit = dir_index_limit(s, lblk);

	if (!index_layout_ok(s, lblk, b->data))
		return store_corrupt(s, dir->ino, b->pblk, "directory index: layout");
	if (le16_to_cpu(c->limit) != limit)
		return store_corrupt(s, dir->ino, b->pblk, "directory index: limit");
	if (le16_to_cpu(c->count) == 0 || le16_to_cpu(c->count) > limit)
		return store_corrupt(s, dir->ino, b->pblk, "directory index: count");
	if (s->has_csum && le32_to_cpu(index_tail(s, lblk, b->data)->dt_checksum) !=
				   index_csum(dir, lblk, b->data)) {
		(void)store_corrupt(s, dir->ino, b->pblk, "directory index: checksum");
		return -EBADMSG;
	}
	return 0;
}

static int verify_leaf(struct inode *dir, uint32_t lblk, const struct buf *b)
{
	struct store *s = dir->store;
	struct dir_area a = dir_block_area(dir, lblk, b);
	const char *what;

	if (s->has_csum) {
		if (!leaf_has_tail(s, b->data))
			return store_corrupt(s, dir->ino, b->pblk, "directory block: no checksum");
		if (le32_to_cpu(leaf_tail(s, b->data)->det_checksum) != leaf_csum(dir, b->data)) {
			(void)store_corrupt(s, dir->ino, b->pblk, "directory block: checksum");
			return -EBADMSG;
		}
	}
	what = dir_area_check(&a, s->inodes_count);
	return what ? store_corrupt(s, dir->ino, b->pblk, what) : 0;
}

struct dir_area dir_block_area(const struct inode *dir, uint32_t lblk, const struct buf *b)
{
	const struct store *s = dir->store;
	uint32_t tail = block_is_index(dir, lblk, b->data) ? 0 : dir_tail_len(s);

	return (struct dir_area){ .base = b->data, .end = s->block_size - tail };
}

int dir_block_broken(struct inode *dir, const struct buf *b)
{
	return store_corrupt(dir->store, dir->ino, b->pblk, "directory block: chain of entries");
}

/* Validate the pinned block; it stays pinned. */
static int block_check(struct inode *dir, uint32_t lblk, enum dir_kind kind, struct buf *b)
{
	struct store *s = dir->store;
	bool is_index = block_is_index(dir, lblk, b->data);
	int err;

	/*
	 * Without checksums an empty leaf and an index node begin alike. Where either may be,
	 * it is read as a leaf: one unused entry both ways. Where a leaf has to be, a node
	 * means that the index is wrong about its depth: names put there would overwrite it.
	 */
	if (is_index && kind != DIR_INDEX && lblk != 0 && !s->has_csum)
		is_index = kind == DIR_LEAF && looks_like_node(s, b->data);
	if ((kind == DIR_LEAF && is_index) || (kind == DIR_INDEX && !is_index))
		return store_corrupt(s, dir->ino, b->pblk,
				     "directory block: not of the kind the "
				     "index says");
	if (buf_verified(b)) {
		/* Verified, but perhaps as something else: what sealing relies on is cheap. */
		if (is_index && !index_layout_ok(s, lblk, b->data))
			return store_corrupt(s, dir->ino, b->pblk, "directory index: layout");
		if (!is_index && s->has_csum && !leaf_has_tail(s, b->data))
			return store_corrupt(s, dir->ino, b->pblk, "directory block: no checksum");
		return 0;
	}
	err = is_index ? verify_index(dir, lblk, b) : verify_leaf(dir, lblk, b);
	if (err == 0)
		buf_set_verified(b);
	return err;
}

static int run_check(struct inode *dir, const struct map_run *run)
{
	if (run->flags & (MAP_HOLE | MAP_UNWRITTEN))
		return store_corrupt(dir->store, dir->ino, 0, "directory: hole");
	return 0;
}

int dir_block_read(struct inode *dir, uint32_t lblk, enum dir_kind kind, struct buf **ret_buf)
{
	struct map_run run;
	struct buf *b;
	int err;

	if (lblk >= dir->size >> dir->store->block_bits)
		return store_corrupt(dir->store, dir->ino, 0,
				     "directory index: block past the end");
	err = map_lookup(dir, lblk, 1, &run);
	if (err == 0)
		err = run_check(dir, &run);
	if (err)
		return err;
	err = buf_read(dir->store->cache, run.pblk, &b);
	if (err)
		return err;
	err = block_check(dir, lblk, kind, b);
	if (err) {
		buf_put(b);
		return err;
	}
	*ret_buf = b;
	return 0;
}

int dir_append(struct handle *h, struct inode *dir, uint32_t *ret_lblk, struct buf **ret_buf)
{
	struct store *s = dir->store;
	uint32_t lblk = (uint32_t)(dir->size >> s->block_bits);
	struct map_run run;
	struct buf *b;
	int err;

	/* Without large_dir a directory's size has 32 bits on disk. */
	if (!store_has_incompat(s, EXT4_FEATURE_INCOMPAT_LARGEDIR) &&
	    dir->size + s->block_size > UINT32_MAX)
		return -ENOSPC;
	if (dir->size >> s->block_bits >= EXT4_DX_BLOCK_MASK)
		return -ENOSPC;
	err = map_allocate(h, dir, lblk, 1, false, ALLOC_META | ALLOC_RESERVED_OK, &run);
	if (err)
		return err;
	err = buf_get_new(s->cache, run.pblk, &b);
	if (err)
		goto out_unmap;
	err = journal_get_create(h, b);
	if (err)
		goto out_put_buffer;
	buf_set_verified(b);
	dir->size += s->block_size;
	*ret_lblk = lblk;
	*ret_buf = b;
	return 0;

out_put_buffer:
	buf_put(b);
out_unmap:
	/* If even that fails the block is lost until e2fsck: the first error says why. */
	(void)map_remove(h, dir, lblk, lblk);
	return err;
}

struct dir_area dir_leaf_init(const struct inode *dir, struct buf *b)
{
	const struct store *s = dir->store;
	struct dir_area a = { .base = b->data, .end = s->block_size - dir_tail_len(s) };

	dir_area_clear(&a);
	if (s->has_csum) {
		struct ext4_dir_entry_tail *t = leaf_tail(s, b->data);

		memset(t, 0, sizeof(*t));
		t->det_rec_len = cpu_to_le16(sizeof(*t));
		t->det_reserved_ft = EXT4_FT_DIR_CSUM;
	}
	return a;
}

void dir_leaf_seal(struct handle *h, struct inode *dir, struct buf *b, uint32_t off, uint32_t len)
{
	const struct store *s = dir->store;

	if (s->has_csum) {
		leaf_tail(s, b->data)->det_checksum = cpu_to_le32(leaf_csum(dir, b->data));
		journal_dirty(h, b, s->block_size - (uint32_t)sizeof(struct ext4_dir_entry_tail),
			      sizeof(struct ext4_dir_entry_tail));
	}
	journal_dirty(h, b, off, len);
}

void dir_index_seal(struct handle *h, struct inode *dir, uint32_t lblk, struct buf *b)
{
	const struct store *s = dir->store;

	if (s->has_csum)
		index_tail(s, lblk, b->data)->dt_checksum =
			cpu_to_le32(index_csum(dir, lblk, b->data));
	/* Entries move up and down in it: the whole block, where a narrow range gains nothing. */
	journal_dirty(h, b, 0, s->block_size);
}

int dir_scan_init(struct dir_scan *scan, struct inode *dir, uint32_t first)
{
	*scan = (struct dir_scan){ .dir = dir, .lblk = first };
	return dir_block_count(dir, &scan->count);
}

static void scan_note(struct dir_scan *scan, int err)
{
	if (scan->error == 0)
		scan->error = err;
}

/* Make scan->run hold the mapping from scan->lblk on; passes over what cannot be mapped. */
static bool scan_map(struct dir_scan *scan)
{
	while (scan->lblk < scan->count && scan->run.count == 0) {
		int err = map_lookup(scan->dir, scan->lblk, scan->count - scan->lblk, &scan->run);

		if (err == 0 && scan->run.count == 0)
			err = store_corrupt(scan->dir->store, scan->dir->ino, 0, "directory: map");
		if (err) {
			/* The mapping itself is corrupt: no telling where it goes on. */
			scan_note(scan, err);
			scan->lblk = scan->count;
			return false;
		}
		err = run_check(scan->dir, &scan->run);
		if (err) {
			scan_note(scan, err);
			scan->lblk += MIN(scan->run.count, scan->count - scan->lblk);
			scan->run.count = 0;
		}
	}
	return scan->lblk < scan->count;
}

bool dir_scan_next(struct dir_scan *scan, uint32_t *ret_lblk, struct buf **ret_buf)
{
	struct cache *c = scan->dir->store->cache;

	while (scan_map(scan)) {
		uint32_t lblk = scan->lblk;
		uint64_t pblk = scan->run.pblk;
		struct buf *b = buf_find(c, pblk);
		int err = 0;

		if (!b) {
			if (scan->run.count > 1)
				buf_readahead(c, pblk, MIN(scan->run.count, DIR_READAHEAD_BLOCKS));
			err = buf_read(c, pblk, &b);
		}
		scan->lblk++;
		scan->run.pblk++;
		scan->run.count--;
		if (err == 0) {
			err = block_check(scan->dir, lblk, DIR_ANY, b);
			if (err == 0) {
				*ret_lblk = lblk;
				*ret_buf = b;
				return true;
			}
			buf_put(b);
		}
		scan_note(scan, err);
	}
	return false;
}
