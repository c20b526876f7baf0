// SPDX-License-Identifier: GPL-2.0-only
/*
 * The index of a directory against its leaves: every block once, limits, counts, order,
 * and every name in the leaf whose range holds its hash.
 */
#include <errno.h>
#include <string.h>

#include "daemon/base/crc.h"
#include "daemon/check/check_priv.h"
#include "daemon/store/dir_block.h"

#define HASH_END 0xfffffffeu

struct load {
	struct ck *c;
	const struct ck_ino *i;
	struct ck_htree *h;
	uint32_t steps; /* nodes that may still be read */
};

#define htree_find(l, lblk, ...)                                                                   \
	ck_find((l)->c, "htree", (l)->i->ino, (l)->h->map->pblk[lblk], __VA_ARGS__)

static bool root_ok(const struct ck *c, const uint8_t *data)
{
	const struct dx_root *root = (const void *)data;

	return dirent_rec_len((const void *)data) == DIRENT_LEN_MIN &&
	       dirent_rec_len((const void *)&root->dotdot) == c->s->block_size - DIRENT_LEN_MIN &&
	       root->info.reserved_zero.raw == 0 && root->info.info_length == sizeof(root->info);
}

static uint32_t levels_max(const struct ck *c)
{
	bool large = store_has_incompat(c->s, EXT4_FEATURE_INCOMPAT_LARGEDIR);

	return large ? EXT4_HTREE_LEVEL : EXT4_HTREE_LEVEL_COMPAT;
}

/* Layout and numbers of the root that make comparing possible. */
static bool check_root(struct load *l, const uint8_t *data)
{
	const struct dx_root_info *info = &((const struct dx_root *)(const void *)data)->info;
	uint32_t ino = l->i->ino;

	if (!root_ok(l->c, data)) {
		htree_find(l, 0, "HTREE directory inode %u has an invalid root node.", ino);
		return false;
	}
	if (info->hash_version > DX_HASH_TEA) {
		if (info->hash_version != DX_HASH_SIPHASH)
			htree_find(l, 0,
				   "HTREE directory inode %u has an unsupported hash version (%u)",
				   ino, info->hash_version);
		return false;
	}
	if (info->unused_flags & 1) {
		htree_find(l, 0,
			   "HTREE directory inode %u uses an incompatible htree root node flag.",
			   ino);
		return false;
	}
	if (info->indirect_levels >= levels_max(l->c)) {
		htree_find(l, 0, "HTREE directory inode %u has a tree depth (%u) which is too big",
			   ino, info->indirect_levels);
		return false;
	}
	l->h->levels = info->indirect_levels;
	l->h->version = info->hash_version;
	if (l->c->s->hash_unsigned)
		l->h->version += DX_HASH_LEGACY_UNSIGNED;
	return true;
}

static uint32_t entries_off(uint32_t lblk)
{
	return lblk ? offsetof(struct dx_node, entries) : offsetof(struct dx_root, entries);
}

static uint32_t limit_of(const struct ck *c, uint32_t lblk)
{
	uint32_t tail = c->s->has_csum ? sizeof(struct dx_tail) : 0;

	return (c->s->block_size - entries_off(lblk) - tail) / (uint32_t)sizeof(struct dx_entry);
}

static void check_csum(struct load *l, uint32_t lblk, const uint8_t *data)
{
	const struct dx_countlimit *cl = (const void *)(data + entries_off(lblk));
	uint32_t limit = limit_of(l->c, lblk);
	uint32_t count = MIN((uint32_t)le16_to_cpu(cl->count), limit);
	const le32 zero = { 0 };
	struct dx_tail t;
	uint32_t crc;

	if (!l->c->s->has_csum)
		return;
	memcpy(&t, data + entries_off(lblk) + limit * sizeof(struct dx_entry), sizeof(t));
	crc = crc32c(l->i->seed, data, entries_off(lblk) + count * sizeof(struct dx_entry));
	crc = crc32c(crc32c(crc, &t.dt_reserved, sizeof(t.dt_reserved)), &zero, sizeof(zero));
	if (crc != le32_to_cpu(t.dt_checksum))
		htree_find(l, lblk, "Problem in HTREE directory inode %u: %s node fails checksum.",
			   l->i->ino, lblk ? "internal" : "root");
}

static bool check_node(struct load *l, uint32_t lblk, const uint8_t *data, uint32_t *ret_count)
{
	const struct dx_countlimit *cl;
	uint32_t limit = limit_of(l->c, lblk), count;

	cl = (const void *)(data + entries_off(lblk));
	count = le16_to_cpu(cl->count);
	if (lblk && dirent_rec_len((const void *)data) != l->c->s->block_size) {
		htree_find(l, lblk,
			   "Problem in HTREE directory inode %u: block #%u has invalid depth (%u)",
			   l->i->ino, lblk, 1u);
		return false;
	}
	if (le16_to_cpu(cl->limit) != limit) {
		htree_find(l, lblk,
			   "Problem in HTREE directory inode %u: block #%u has invalid limit (%u)",
			   l->i->ino, lblk, le16_to_cpu(cl->limit));
		return false;
	}
	if (count == 0 || count > limit) {
		htree_find(l, lblk,
			   "Problem in HTREE directory inode %u: block #%u has invalid count (%u)",
			   l->i->ino, lblk, count);
		return false;
	}
	*ret_count = count;
	return true;
}

static int load_node(struct load *l, uint32_t lblk, uint32_t depth, const struct ck_hblock *range);

/* What the node's entry @k says of its child. */
static int load_entry(struct load *l, uint32_t lblk, uint32_t depth, const struct dx_entry *e,
		      struct ck_hblock range)
{
	struct ck_hblock *b;
	uint32_t child = le32_to_cpu(e->block) & EXT4_DX_BLOCK_MASK;
	bool leaf = depth == l->h->levels;

	if (child >= l->h->map->count || !l->h->map->pblk[child]) {
		htree_find(l, lblk,
			   "Problem in HTREE directory inode %u (%s): bad block number %u.",
			   l->i->ino, "???", child);
		l->h->usable = false;
		return 0;
	}
	b = &l->h->b[child];
	if (b->refs < 2)
		b->refs++;
	if (b->refs > 1)
		return 0;
	range.refs = 1;
	range.kind = leaf ? CK_LEAF : CK_INDEX;
	*b = range;
	return leaf ? 0 : load_node(l, child, depth + 1, &range);
}

static int load_node(struct load *l, uint32_t lblk, uint32_t depth, const struct ck_hblock *range)
{
	uint8_t *data = l->c->levels[depth];
	uint32_t count, k, hash = range->low, next, off;
	int ret;

	if (l->steps-- == 0)
		return 0;
	ret = ck_read(l->c, l->h->map->pblk[lblk], 1, data);
	if (ret)
		return ret;
	check_csum(l, lblk, data);
	if ((lblk == 0 && !check_root(l, data)) || !check_node(l, lblk, data, &count)) {
		l->h->usable = false;
		return 0;
	}
	off = entries_off(lblk);
	for (k = 0; k < count && !ret; k++) {
		const struct dx_entry *e = (const void *)(data + off + k * sizeof(*e));
		struct ck_hblock sub = { .low = hash };

		next = k + 1 < count ? le32_to_cpu(e[1].hash) : range->high | range->more;
		if ((next & ~1u) < hash) {
			htree_find(l, lblk,
				   "Problem in HTREE directory inode %u: block #%u has an "
				   "unordered hash table",
				   l->i->ino, lblk);
			l->h->usable = false;
			return 0;
		}
		sub.high = next & ~1u;
		sub.more = next & 1;
		ret = load_entry(l, lblk, depth, e, sub);
		hash = next & ~1u;
	}
	return ret;
}

int ck_htree_load(struct ck *c, const struct ck_ino *i, const struct ck_dmap *m,
		  struct ck_htree *ret_h)
{
	struct load l = { .c = c, .i = i, .h = ret_h, .steps = m->count };
	struct ck_hblock all = { .high = HASH_END, .more = true };

	*ret_h = (struct ck_htree){ .map = m };
	if (!(i->flags & EXT4_INDEX_FL) || !store_has_compat(c->s, EXT4_FEATURE_COMPAT_DIR_INDEX) ||
	    m->count == 0 || !m->pblk[0])
		return 0;
	ret_h->b = calloc(m->count, sizeof(*ret_h->b));
	if (!ret_h->b)
		return -ENOMEM;
	ret_h->usable = true;
	ret_h->b[0] = all;
	ret_h->b[0].refs = 1;
	ret_h->b[0].kind = CK_INDEX;
	return load_node(&l, 0, 0, &all);
}

void ck_htree_name(struct ck *c, const struct ck_ino *i, struct ck_htree *h, uint32_t lblk,
		   const struct ext4_dir_entry_2 *de)
{
	struct ck_hblock *b = &h->b[lblk];
	uint32_t hash;

	if (b->refs != 1 || b->kind != CK_LEAF || b->told)
		return;
	hash = dirhash(h->version, c->s->hash_seed, de->name, de->name_len).major;
	if (hash >= b->low && (hash < b->high || (hash == b->high && b->more)))
		return;
	b->told = true;
	ck_find(c, "htree", i->ino, h->map->pblk[lblk],
		"Problem in HTREE directory inode %u: block #%u has bad %s hash", i->ino, lblk,
		hash < b->low ? "min" : "max");
}

void ck_htree_end(struct ck *c, const struct ck_ino *i, const struct ck_htree *h)
{
	uint32_t k;

	for (k = 0; k < h->map->count; k++) {
		if (h->b[k].refs != 1 && h->map->pblk[k])
			ck_find(c, "htree", i->ino, h->map->pblk[k],
				"Problem in HTREE directory inode %u: block #%u %s", i->ino, k,
				h->b[k].refs ? "referenced twice" : "not referenced");
	}
}
