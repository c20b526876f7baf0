// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pass 2: directories. Which inodes are named, how often, and whether an entry, its
 * block and the index agree.
 */
#include <errno.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/check/check_priv.h"
#include "daemon/store/dir_block.h"

/* A hole of more blocks than this is not walked through: the size is wrong, pass 1 says so. */
#define HOLE_MAX 4096u
#define DMAP_FIRST 16u
/* Blocks of one directory: 16 GiB of names with 4 KiB blocks. */
#define DMAP_MAX (1u << 22)
#define ENTRIES_MAX (EXT4_MAX_BLOCK_SIZE / DIRENT_LEN_MIN + 1)

/* ---- the blocks ----------------------------------------------------------- */

static int dmap_put(struct ck_dmap *m, uint64_t pblk)
{
	if (m->count == m->room) {
		uint32_t room = m->room ? m->room * 2 : DMAP_FIRST;
		uint64_t *grown = reallocarray(m->pblk, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		m->pblk = grown;
		m->room = room;
	}
	m->pblk[m->count++] = pblk;
	return 0;
}

static int dmap_run(struct ck_walk *w, const struct ck_run *run)
{
	struct ck_dmap *m = w->arg;
	uint64_t k;
	int ret = 0;

	if (run->lblk > m->count + HOLE_MAX || run->lblk + run->count > DMAP_MAX ||
	    run->lblk < m->count) {
		m->broken = true;
		return 0;
	}
	while (m->count < run->lblk && !ret)
		ret = dmap_put(m, 0);
	for (k = 0; k < run->count && !ret; k++)
		ret = dmap_put(m, run->unwritten ? 0 : run->pblk + k);
	return ret;
}

int ck_dmap_load(struct ck *c, const struct ck_ino *i, struct ck_dmap *ret_m)
{
	struct ck_walk w = { .c = c, .i = i, .quiet = true, .run = dmap_run, .arg = ret_m };

	*ret_m = (struct ck_dmap){ 0 };
	return ck_has_map(c, i) ? ck_walk_map(&w) : 0;
}

/* ---- entries, for those who only look ------------------------------------- */

struct look {
	int (*fn)(void *arg, const struct ext4_dir_entry_2 *de);
	void *arg;
};

static int look_area(const struct dir_area *a, const struct look *look)
{
	uint32_t off = a->start;
	int ret = 0;

	while (off < a->end && !ret) {
		const struct ext4_dir_entry_2 *de = dirent_at(a, off);

		if (!de)
			break;
		if (de->inode.raw && de->name_len)
			ret = look->fn(look->arg, de);
		off += dirent_rec_len(de);
	}
	return ret;
}

/* The parts of an inline directory that hold entries: behind the parent's number, and the tail. */
static uint32_t inline_areas(struct ck *c, const struct ck_ino *i, struct dir_area areas[2])
{
	uint8_t *head = i->raw + offsetof(struct ext4_inode, i_block);
	uint32_t len = 0;
	uint8_t *tail = ck_inline_tail(c, i, &len);

	areas[0] = (struct dir_area){ .base = head, .start = 4, .end = EXT4_MIN_INLINE_DATA_SIZE };
	areas[1] = (struct dir_area){ .base = tail, .end = len };
	return tail && len ? 2 : 1;
}

static int look_inline(struct ck *c, const struct ck_ino *i, const struct look *look)
{
	uint8_t fake[DIRENT_LEN_MIN] __attribute__((aligned(4))) = { 0 };
	struct ext4_dir_entry_2 *dotdot = (void *)fake;
	struct dir_area areas[2];
	uint32_t k, n = inline_areas(c, i, areas);
	int ret;

	dotdot->inode = i->d->i_block[0];
	dotdot->name_len = 2;
	memcpy(dotdot->name, "..", 2);
	ret = look->fn(look->arg, dotdot);
	for (k = 0; k < n && !ret; k++)
		ret = look_area(&areas[k], look);
	return ret;
}

int ck_each_entry(struct ck *c, const struct ck_ino *i,
		  int (*fn)(void *arg, const struct ext4_dir_entry_2 *de), void *arg)
{
	const struct look look = { .fn = fn, .arg = arg };
	struct ck_dmap m;
	uint32_t k;
	int ret;

	if (i->flags & EXT4_INLINE_DATA_FL)
		return look_inline(c, i, &look);
	ret = ck_dmap_load(c, i, &m);
	for (k = 0; k < m.count && !ret; k++) {
		struct dir_area a = { .base = c->data, .end = c->s->block_size };

		if (!m.pblk[k])
			continue;
		ret = ck_read(c, m.pblk[k], 1, c->data);
		/* An index block is one unused entry, a root's two dots are entries. */
		if (!ret)
			ret = look_area(&a, &look);
	}
	free(m.pblk);
	return ret;
}

/* ---- entries, one by one -------------------------------------------------- */

struct scan {
	struct ck *c;
	const struct ck_ino *i;
	struct ck_dir *dir;
	struct ck_htree tree;
	struct dir_area area;
	uint64_t lblk;
	uint32_t index;		    /* entries passed in this directory: 0 is ".", 1 is ".." */
	bool dots;		    /* "." and ".." are expected here */
	uint16_t offs[ENTRIES_MAX]; /* of this block's entries in use, for duplicates */
	uint32_t offs_count;
	char name[CK_NAME_BYTES], path[CK_NAME_BYTES];
};

/* "Entry 'x' in /dir (12) WHAT" */
static void tell(struct scan *s, const struct ext4_dir_entry_2 *de, const char *kind,
		 const char *what)
{
	ck_name(de->name, de->name_len, s->name, sizeof(s->name));
	ck_path(s->c, s->i->ino, s->path, sizeof(s->path));
	ck_find(s->c, kind, s->i->ino, 0, "Entry '%s' in %s (%u) %s", s->name, s->path, s->i->ino,
		what);
}

static void tell_bad(struct scan *s, const struct ext4_dir_entry_2 *de, uint32_t ino)
{
	struct ck_ref *bad = ck_ref_find(&s->c->bad, ino);
	_cleanup_free_ uint8_t *raw = malloc(s->c->s->inode_size);
	struct ck_ino i;

	if (!bad || bad->seen++ || !raw || ck_ino_read(s->c, ino, raw, &i))
		return;
	ck_name(de->name, de->name_len, s->name, sizeof(s->name));
	ck_path(s->c, s->i->ino, s->path, sizeof(s->path));
	if (!s->path[1])
		s->path[0] = '\0';
	if (bad->stored & CB_MODE)
		ck_find(s->c, "mode", ino, 0, "Inode %u (%s/%s) has invalid mode (0%o).", ino,
			s->path, s->name, i.mode);
	if (bad->stored & CB_SYMLINK)
		ck_find(s->c, "symlink", ino, 0, "Symlink %s/%s (inode #%u) is invalid.", s->path,
			s->name, ino);
	if (bad->stored & CB_FILE_ACL)
		ck_find(s->c, "file_acl", ino, 0,
			"Extended attribute block for inode %u (%s/%s) is invalid (%llu).", ino,
			s->path, s->name, (unsigned long long)i.file_acl);
}

static void check_ftype(struct scan *s, const struct ext4_dir_entry_2 *de,
			const struct ck_state *st)
{
	char what[96];

	if (!store_has_incompat(s->c->s, EXT4_FEATURE_INCOMPAT_FILETYPE)) {
		if (de->file_type)
			tell(s, de, "filetype", "has filetype set.");
		return;
	}
	if (st->ftype == EXT4_FT_UNKNOWN || de->file_type == st->ftype)
		return;
	if (de->file_type == EXT4_FT_UNKNOWN) {
		ck_name(de->name, de->name_len, s->name, sizeof(s->name));
		ck_path(s->c, s->i->ino, s->path, sizeof(s->path));
		ck_find(s->c, "filetype", s->i->ino, 0,
			"Setting filetype for entry '%s' in %s (%u) to %u.", s->name, s->path,
			s->i->ino, st->ftype);
		return;
	}
	snprintf(what, sizeof(what), "has an incorrect filetype (was %u, should be %u).",
		 de->file_type, st->ftype);
	tell(s, de, "filetype", what);
}

static void check_dir_link(struct scan *s, const struct ext4_dir_entry_2 *de, uint32_t ino)
{
	struct ck_dir *target = ck_dir(s->c, ino);
	char other[CK_NAME_BYTES], what[CK_NAME_BYTES + 64];

	if (!target)
		return;
	if (!target->parent) {
		target->parent = s->i->ino;
		return;
	}
	ck_path(s->c, ino, other, sizeof(other));
	snprintf(what, sizeof(what), "is a link to directory %s (%u).", other, ino);
	tell(s, de, "directory_link", what);
}

/* Does the inode lie in the part of its table that is in use? */
static void check_table(struct scan *s, const struct ext4_dir_entry_2 *de, uint32_t ino)
{
	const struct store *store = s->c->s;
	uint32_t g = (ino - 1) / store->inodes_per_group;
	uint32_t at = (ino - 1) % store->inodes_per_group;
	const struct ck_group *grp = &s->c->groups[g];
	char what[96];

	if (!store->has_csum && !store->has_gdt_csum)
		return;
	if (grp->flags & EXT4_BG_INODE_UNINIT)
		snprintf(what, sizeof(what),
			 "references inode %u in group %u where _INODE_UNINIT is set.", ino, g);
	else if (at >= store->inodes_per_group - MIN(grp->unused, store->inodes_per_group))
		snprintf(what, sizeof(what),
			 "references inode %u found in group %u's unused inodes area.", ino, g);
	else
		return;
	tell(s, de, "entry_inode", what);
}

static bool in_use(const struct ck_state *st)
{
	return st && (st->flags & CI_USED) && (!(st->flags & CI_ORPHAN) || st->links);
}

static void tell_unused(struct scan *s, const struct ext4_dir_entry_2 *de)
{
	char what[64];

	snprintf(what, sizeof(what), "has deleted/unused inode %u.", le32_to_cpu(de->inode));
	tell(s, de, "entry_inode", what);
}

/* An entry other than "." and "..". */
static void check_target(struct scan *s, const struct ext4_dir_entry_2 *de)
{
	const struct store *store = s->c->s;
	uint32_t ino = le32_to_cpu(de->inode);
	struct ck_state *st = ck_state(s->c, ino);
	char what[96];

	if (ino > store->inodes_count || (ino < store->first_ino && ino != EXT4_ROOT_INO)) {
		snprintf(what, sizeof(what), "has invalid inode #: %u.", ino);
		tell(s, de, "entry_inode", what);
		return;
	}
	if (ino == s->i->ino)
		tell(s, de, "entry_inode", "is a link to '.'");
	else if (ino == EXT4_ROOT_INO)
		tell(s, de, "entry_inode", "is a link to the root inode.");
	check_table(s, de, ino);
	if (!in_use(st)) {
		tell_unused(s, de);
		return;
	}
	if (st->flags & CI_BAD)
		tell_bad(s, de, ino);
	check_ftype(s, de, st);
	if (st->flags & CI_DIR)
		check_dir_link(s, de, ino);
	st->seen++;
}

static void see(struct ck *c, uint32_t ino)
{
	struct ck_state *st = ck_state(c, ino);

	if (st && (st->flags & CI_USED))
		st->seen++;
}

static void check_dot(struct scan *s, const struct ext4_dir_entry_2 *de)
{
	uint32_t ino = le32_to_cpu(de->inode);

	if (de->name_len != 1 || de->name[0] != '.') {
		ck_find(s->c, "dots", s->i->ino, 0, "Missing '.' in directory inode %u.",
			s->i->ino);
		return;
	}
	if (ino != s->i->ino)
		ck_find(s->c, "dots", s->i->ino, 0,
			"Invalid inode number for '.' in directory inode %u.", s->i->ino);
	see(s->c, ino);
}

static void check_dotdot(struct scan *s, const struct ext4_dir_entry_2 *de)
{
	if (de->name_len != 2 || memcmp(de->name, "..", 2) != 0) {
		ck_find(s->c, "dots", s->i->ino, 0, "Missing '..' in directory inode %u.",
			s->i->ino);
		return;
	}
	s->dir->dotdot = le32_to_cpu(de->inode);
	if (s->dir->dotdot && s->dir->dotdot <= s->c->s->inodes_count &&
	    !in_use(ck_state(s->c, s->dir->dotdot)))
		tell_unused(s, de);
	see(s->c, s->dir->dotdot);
}

static void check_name(struct scan *s, const struct ext4_dir_entry_2 *de)
{
	if (de->name_len == 0) {
		tell(s, de, "entry_name", "has a zero-length name.");
		return;
	}
	if (dirent_is_dots(de)) {
		tell(s, de, "entry_name",
		     de->name_len == 1 ? "is duplicate '.' entry." : "is duplicate '..' entry.");
		return;
	}
	if (!(s->i->flags & EXT4_ENCRYPT_FL) &&
	    (memchr(de->name, '/', de->name_len) || memchr(de->name, 0, de->name_len)))
		tell(s, de, "entry_name", "has illegal characters in its name.");
	if (s->tree.usable)
		ck_htree_name(s->c, s->i, &s->tree, (uint32_t)s->lblk, de);
	check_target(s, de);
}

static void check_entry(struct scan *s, const struct ext4_dir_entry_2 *de, uint32_t off)
{
	uint32_t index = s->index++;

	if (s->dots && index < 2 && s->lblk == 0) {
		if (index == 0)
			check_dot(s, de);
		else
			check_dotdot(s, de);
		return;
	}
	if (!de->inode.raw)
		return;
	s->offs[s->offs_count++] = (uint16_t)off;
	check_name(s, de);
}

/* ---- duplicates ----------------------------------------------------------- */

static int compare_names(const void *pa, const void *pb, void *arg)
{
	const uint8_t *base = arg;
	const struct ext4_dir_entry_2 *a = (const void *)(base + *(const uint16_t *)pa);
	const struct ext4_dir_entry_2 *b = (const void *)(base + *(const uint16_t *)pb);

	if (a->name_len != b->name_len)
		return a->name_len - b->name_len;
	return memcmp(a->name, b->name, a->name_len);
}

static void check_duplicates(struct scan *s)
{
	uint32_t k;

	qsort_r(s->offs, s->offs_count, sizeof(s->offs[0]), compare_names, s->area.base);
	for (k = 1; k < s->offs_count; k++) {
		const struct ext4_dir_entry_2 *de = (const void *)(s->area.base + s->offs[k]);

		if (compare_names(&s->offs[k - 1], &s->offs[k], s->area.base) != 0)
			continue;
		ck_name(de->name, de->name_len, s->name, sizeof(s->name));
		ck_path(s->c, s->i->ino, s->path, sizeof(s->path));
		ck_find(s->c, "duplicate_entry", s->i->ino, 0,
			"Duplicate entry '%s' found. Marking %s (%u) to be rebuilt.", s->name,
			s->path, s->i->ino);
	}
	s->offs_count = 0;
}

/* ---- blocks --------------------------------------------------------------- */

static bool scan_area(struct scan *s)
{
	uint32_t off = s->area.start;
	bool whole = true;

	while (off < s->area.end && whole) {
		const struct ext4_dir_entry_2 *de = dirent_at(&s->area, off);

		if (!de) {
			whole = false;
			ck_find(s->c, "directory_block", s->i->ino, 0,
				"Directory inode %u, block #%llu, offset %u: directory corrupted",
				s->i->ino, (unsigned long long)s->lblk, off);
			break;
		}
		check_entry(s, de, off);
		off += dirent_rec_len(de);
	}
	check_duplicates(s);
	return whole;
}

/* Does the leaf end in a checksum, and is it wrong? */
static bool check_leaf_csum(struct scan *s, const uint8_t *data, bool *ret_bad)
{
	const struct store *store = s->c->s;
	uint32_t at = store->block_size - (uint32_t)sizeof(struct ext4_dir_entry_tail);
	struct ext4_dir_entry_tail t;

	memcpy(&t, data + at, sizeof(t));
	if (t.det_reserved_zero1.raw || le16_to_cpu(t.det_rec_len) != sizeof(t) ||
	    t.det_reserved_zero2 || t.det_reserved_ft != EXT4_FT_DIR_CSUM) {
		ck_find(s->c, "directory_checksum", s->i->ino, 0,
			"Directory inode %u, block #%llu, offset %u: directory has no checksum.",
			s->i->ino, (unsigned long long)s->lblk, 0u);
		return false;
	}
	*ret_bad = le32_to_cpu(t.det_checksum) != crc32c(s->i->seed, data, at);
	return true;
}

static void scan_block(struct scan *s, uint8_t *data)
{
	const struct store *store = s->c->s;
	bool index = s->tree.b && s->lblk < s->tree.map->count &&
		     s->tree.b[s->lblk].kind == CK_INDEX;
	bool bad_csum = false;

	s->area = (struct dir_area){ .base = data, .end = store->block_size };
	if (index && s->lblk > 0)
		return; /* htree.c has checked it */
	if (index)
		s->area.end = 2 * DIRENT_LEN_MIN;
	else if (store->has_csum && check_leaf_csum(s, data, &bad_csum))
		s->area.end -= (uint32_t)sizeof(struct ext4_dir_entry_tail);
	if (!index) {
		if (scan_area(s) && bad_csum)
			ck_find(s->c, "directory_checksum", s->i->ino, 0,
				"Directory inode %u, block #%llu: directory passes checks but "
				"fails checksum.",
				s->i->ino, (unsigned long long)s->lblk);
		return;
	}
	/* The root: "..'s" length covers the index. */
	check_entry(s, (const void *)data, 0);
	check_entry(s, (const void *)(data + DIRENT_LEN_MIN), DIRENT_LEN_MIN);
	s->offs_count = 0;
}

static int scan_blocks(struct scan *s, const struct ck_dmap *m)
{
	struct ck *c = s->c;
	uint32_t k = 0, n, at;
	int ret = 0;

	while (k < m->count && !ret) {
		if (!m->pblk[k]) {
			ck_find(c, "directory_hole", s->i->ino, 0,
				"Directory inode %u has an unallocated block #%u.", s->i->ino, k);
			k++;
			continue;
		}
		for (n = 1;
		     n < CK_READ_BLOCKS && k + n < m->count && m->pblk[k + n] == m->pblk[k] + n;)
			n++;
		ret = ck_read(c, m->pblk[k], n, c->data);
		for (at = 0; at < n && !ret; at++) {
			s->lblk = k + at;
			scan_block(s, c->data + ((size_t)at << c->s->block_bits));
		}
		if (!ret)
			ret = ck_tick(c, 2, (uint64_t)(s->dir - c->dirs), c->dir_count);
		k += n;
	}
	for (k = 0; k < m->count && !ret; k++)
		ck_done(c, m->pblk[k], m->pblk[k] != 0);
	return ret;
}

static int scan_mapped(struct scan *s)
{
	struct ck_dmap m;
	int ret = ck_dmap_load(s->c, s->i, &m);

	if (!ret && !m.broken)
		ret = ck_htree_load(s->c, s->i, &m, &s->tree);
	s->dots = true;
	if (!ret)
		ret = scan_blocks(s, &m);
	if (!ret && s->index == 0)
		ck_find(s->c, "dots", s->i->ino, 0, "Missing '.' in directory inode %u.",
			s->i->ino);
	if (!ret && s->index < 2)
		ck_find(s->c, "dots", s->i->ino, 0, "Missing '..' in directory inode %u.",
			s->i->ino);
	if (!ret && s->tree.usable)
		ck_htree_end(s->c, s->i, &s->tree);
	free(s->tree.b);
	free(m.pblk);
	return ret;
}

/* "." is the directory, ".." a number in front of the entries. */
static int scan_inline(struct scan *s)
{
	struct dir_area areas[2];
	uint32_t k, n = inline_areas(s->c, s->i, areas);

	see(s->c, s->i->ino);
	s->dir->dotdot = le32_to_cpu(s->i->d->i_block[0]);
	see(s->c, s->dir->dotdot);
	for (k = 0; k < n; k++) {
		s->area = areas[k];
		s->lblk = k;
		(void)scan_area(s); /* what it says was a finding */
	}
	return 0;
}

static int check_dir(struct ck *c, struct ck_dir *dir, struct scan *s, uint8_t *raw)
{
	const struct ck_state *st = ck_state(c, dir->ino);
	struct ck_ino i;
	int ret;

	/* Removed, but open: its entries are gone, and nothing counts them. */
	if ((st->flags & CI_ORPHAN) && !st->links)
		return 0;
	ret = ck_ino_read(c, dir->ino, raw, &i);
	if (ret)
		return ret;
	s->c = c;
	s->i = &i;
	s->dir = dir;
	s->tree = (struct ck_htree){ 0 };
	s->index = 0;
	s->offs_count = 0;
	s->dots = false;
	return i.flags & EXT4_INLINE_DATA_FL ? scan_inline(s) : scan_mapped(s);
}

static void tell_nameless(struct ck *c)
{
	struct scan s = { .c = c, .i = &(struct ck_ino){ 0 } };
	struct ext4_dir_entry_2 none = { 0 };
	uint32_t k;

	for (k = 0; k < c->bad.size; k++) {
		if (c->bad.table[k].key && !c->bad.table[k].seen)
			tell_bad(&s, &none, (uint32_t)c->bad.table[k].key);
	}
}

int ck_pass2(struct ck *c)
{
	_cleanup_free_ struct scan *s = malloc(sizeof(*s));
	_cleanup_free_ uint8_t *raw = malloc(c->s->inode_size);
	uint32_t k;
	int ret = s && raw ? 0 : -ENOMEM;

	for (k = 0; k < c->dir_count && !ret; k++) {
		ret = ck_tick(c, 2, k, c->dir_count);
		if (!ret)
			ret = check_dir(c, &c->dirs[k], s, raw);
	}
	if (!ret)
		tell_nameless(c);
	return ret;
}
