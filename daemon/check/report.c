// SPDX-License-Identifier: GPL-2.0-only
/*
 * Findings and how they name things; the small tables that several passes keep.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/check/check_priv.h"

#define FINDINGS_FIRST 16u
#define REFS_FIRST 256u
/* A path longer than this many directories is not told. */
#define PATH_DEPTH_MAX 64

void ck_find(struct ck *c, const char *kind, uint32_t ino, uint64_t pblk, const char *fmt, ...)
{
	struct check_result *r = c->result;
	struct check_finding *f;
	va_list args;
	char *text;
	int len;

	r->total++;
	atomic_store(&c->progress->findings, r->total);
	if (r->count >= c->findings_max)
		return;
	/* Room doubles at powers of two. Without memory a finding is counted, not told. */
	if (r->count == 0 || (r->count >= FINDINGS_FIRST && (r->count & (r->count - 1)) == 0)) {
		uint32_t room = r->count ? r->count * 2 : FINDINGS_FIRST;

		f = reallocarray(r->findings, room, sizeof(*f));
		if (!f)
			return;
		r->findings = f;
	}
	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len < 0)
		return;
	r->findings[r->count++] =
		(struct check_finding){ .kind = kind, .text = text, .ino = ino, .pblk = pblk };
}

void ck_name(const char *name, uint32_t len, char *buf, size_t size)
{
	size_t at = 0;
	uint32_t k;

	for (k = 0; k < len && at + 5 < size; k++) {
		unsigned char ch = (unsigned char)name[k];

		if (ch > 128) {
			buf[at++] = 'M';
			buf[at++] = '-';
			ch -= 128;
		}
		if (ch < 32 || ch == 127) {
			buf[at++] = '^';
			ch ^= 64;
		}
		buf[at++] = (char)ch;
	}
	buf[at] = '\0';
}

/* ---- paths ---------------------------------------------------------------- */

struct seek {
	uint32_t ino; /* looked for; 0: the entry ".." */
	uint32_t found;
	uint32_t len;
	char name[EXT4_NAME_LEN];
};

static int seek_entry(void *arg, const struct ext4_dir_entry_2 *de)
{
	struct seek *k = arg;
	bool dot = de->name_len == 1 && de->name[0] == '.';
	bool dotdot = de->name_len == 2 && de->name[0] == '.' && de->name[1] == '.';

	if (k->ino ? dot || dotdot || le32_to_cpu(de->inode) != k->ino : !dotdot)
		return 0;
	k->found = le32_to_cpu(de->inode);
	k->len = de->name_len;
	memcpy(k->name, de->name, de->name_len);
	return 1;
}

static int seek_in(struct ck *c, uint32_t dir, struct seek *k)
{
	_cleanup_free_ uint8_t *raw = malloc(c->s->inode_size);
	struct ck_state *st = ck_state(c, dir);
	struct ck_ino i;
	int ret;

	if (!raw || !st || !(st->flags & CI_DIR))
		return -ENOENT;
	ret = ck_ino_read(c, dir, raw, &i);
	if (!ret)
		ret = ck_each_entry(c, &i, seek_entry, k);
	return ret < 0 ? ret : k->found ? 0 : -ENOENT;
}

static bool is_dir(const struct ck *c, uint32_t ino)
{
	const struct ck_state *st = ck_state(c, ino);

	return st && (st->flags & CI_DIR);
}

/* Puts the name of *ino before the rest, and its parent into *ino. False: it has none. */
static bool path_step(struct ck *c, uint32_t *ino, char *parts, size_t *begin)
{
	struct seek up = { 0 }, here = { .ino = *ino };
	const struct ck_dir *dir = ck_dir(c, *ino);
	char name[CK_NAME_BYTES];

	if (dir)
		up.found = dir->parent ? dir->parent : dir->dotdot;
	if (!up.found && seek_in(c, *ino, &up))
		return false;
	/* No name: its number stands for it, as in e2fsck. */
	if (seek_in(c, up.found, &here))
		snprintf(name, sizeof(name), "<%u>", *ino);
	else
		ck_name(here.name, here.len, name, sizeof(name));
	if (strlen(name) + 1 > *begin)
		return false;
	*begin -= strlen(name) + 1;
	parts[*begin] = '/';
	memcpy(parts + *begin + 1, name, strlen(name));
	*ino = up.found;
	return true;
}

/*
 * From the child up: each step reads "..", then looks for the child's name there. Uses
 * memory of its own, since callers are in the middle of a directory.
 */
void ck_path(struct ck *c, uint32_t ino, char *buf, size_t size)
{
	uint8_t *data = c->data, *levels[CK_LEVELS];
	char parts[CK_NAME_BYTES];
	size_t begin = sizeof(parts) - 1;
	uint32_t depth, k;
	bool ok = true;

	snprintf(buf, size, "%s", ino == EXT4_ROOT_INO ? "/" : "???");
	memcpy(levels, c->levels, sizeof(levels));
	c->data = malloc((size_t)CK_READ_BLOCKS << c->s->block_bits);
	for (k = 0; k < CK_LEVELS; k++) {
		c->levels[k] = malloc(c->s->block_size);
		ok = ok && c->levels[k];
	}
	parts[begin] = '\0';
	for (depth = 0; ok && c->data && ino != EXT4_ROOT_INO && depth < PATH_DEPTH_MAX; depth++) {
		if (!is_dir(c, ino) || !path_step(c, &ino, parts, &begin)) {
			snprintf(buf, size, "<%u>%s", ino, parts + begin);
			break;
		}
	}
	if (ino == EXT4_ROOT_INO && parts[begin])
		snprintf(buf, size, "%s", parts + begin);
	free(c->data);
	for (k = 0; k < CK_LEVELS; k++)
		free(c->levels[k]);
	c->data = data;
	memcpy(c->levels, levels, sizeof(levels));
}

/* ---- tables of references ------------------------------------------------- */

static struct ck_ref *slot(const struct ck_refs *r, uint64_t key)
{
	uint32_t at = (uint32_t)(key * 0x9e3779b97f4a7c15ULL >> 32) & (r->size - 1);

	while (r->table[at].key && r->table[at].key != key)
		at = (at + 1) & (r->size - 1);
	return &r->table[at];
}

struct ck_ref *ck_ref_find(const struct ck_refs *r, uint64_t key)
{
	struct ck_ref *ref = r->size ? slot(r, key) : NULL;

	return ref && ref->key ? ref : NULL;
}

static int grow(struct ck_refs *r)
{
	struct ck_refs new = { .size = r->size ? r->size * 2 : REFS_FIRST, .count = r->count };
	uint32_t k;

	new.table = calloc(new.size, sizeof(*new.table));
	if (!new.table)
		return -ENOMEM;
	for (k = 0; k < r->size; k++) {
		if (r->table[k].key)
			*slot(&new, r->table[k].key) = r->table[k];
	}
	free(r->table);
	*r = new;
	return 0;
}

int ck_ref_add(struct ck_refs *r, uint64_t key, struct ck_ref **ret_ref)
{
	if (r->count >= r->size / 2) {
		int ret = grow(r);

		if (ret)
			return ret;
	}
	*ret_ref = slot(r, key);
	if (!(*ret_ref)->key) {
		(*ret_ref)->key = key;
		r->count++;
	}
	return 0;
}
