/* SPDX-License-Identifier: GPL-2.0-only */
/* See patch.h. */
#include "tests/images/patch.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/images/fields.h"

#define WORD_MAX 160
#define WORDS_MAX 6
#define PATH_DEPTH_MAX 6

/* Where a command writes. */
struct place {
	uint8_t *base;
	size_t room;
	const struct field *fields;
	bool big_endian;
	void (*seal)(struct image *m, const struct place *p);
	uint32_t ino, group, index;
	uint64_t pblk;
	int bit; /* of bitmaps: -1 otherwise */
};

/* PATH[:i[:j]]#ENTRY, taken apart. */
struct arg {
	char path[WORD_MAX];
	uint32_t node[PATH_DEPTH_MAX];
	uint32_t depth;
	const char *entry; /* "" without */
	char entry_buf[WORD_MAX];
	uint32_t ino; /* of the path */
};

/* ---- numbers -------------------------------------------------------------- */

static uint64_t number(struct image *m, const char *s);

static void split_arg(struct image *m, const char *word, struct arg *a, bool is_path)
{
	const char *hash = strchr(word, '#');
	size_t len = hash ? (size_t)(hash - word) : strlen(word);
	char *colon;

	memset(a, 0, sizeof(*a));
	memcpy(a->path, word, len);
	(void)snprintf(a->entry_buf, sizeof(a->entry_buf), "%s", hash ? hash + 1 : "");
	a->entry = a->entry_buf;
	colon = strchr(a->path, ':');
	while (colon) {
		*colon++ = '\0';
		if (a->depth == PATH_DEPTH_MAX)
			image_die("too deep: %s", word);
		a->node[a->depth++] = (uint32_t)strtoul(colon, NULL, 0);
		colon = strchr(colon, ':');
	}
	if (is_path)
		a->ino = image_lookup(m, a->path);
}

static uint64_t xattr_block_of(struct image *m, uint32_t ino)
{
	return le32_to_cpu(image_inode(m, ino)->i_file_acl_lo);
}

static uint64_t node_of(struct image *m, const char *args)
{
	char word[WORD_MAX];
	struct arg a;

	(void)snprintf(word, sizeof(word), "%s", args);
	for (char *c = word; *c; c++)
		if (*c == ',')
			*c = ':';
	split_arg(m, word, &a, true);
	return image_node(m, a.ino, a.node, a.depth).pblk;
}

static uint64_t map_of(struct image *m, const char *args)
{
	char path[WORD_MAX];
	char *comma;

	(void)snprintf(path, sizeof(path), "%s", args);
	comma = strchr(path, ',');
	if (comma)
		*comma++ = '\0';
	return image_map(m, image_lookup(m, path), comma ? (uint32_t)strtoul(comma, NULL, 0) : 0);
}

/* The value of name(args). */
static uint64_t call(struct image *m, const char *name, const char *args)
{
	uint32_t n = (uint32_t)strtoul(args, NULL, 0);

	if (!strcmp(name, "ino"))
		return image_lookup(m, args);
	if (!strcmp(name, "blk"))
		return map_of(m, args);
	if (!strcmp(name, "node"))
		return node_of(m, args);
	if (!strcmp(name, "bb"))
		return le32_to_cpu(image_desc(m, n)->bg_block_bitmap_lo);
	if (!strcmp(name, "ib"))
		return le32_to_cpu(image_desc(m, n)->bg_inode_bitmap_lo);
	if (!strcmp(name, "it"))
		return le32_to_cpu(image_desc(m, n)->bg_inode_table_lo);
	if (!strcmp(name, "gdt"))
		return m->first_data_block + 1 + n;
	if (!strcmp(name, "jblk"))
		return image_map(m, m->journal_ino, n);
	if (!strcmp(name, "xblk"))
		return xattr_block_of(m, image_lookup(m, args));
	if (!strcmp(name, "free"))
		return image_free_block(m, n);
	if (!strcmp(name, "freeino"))
		return image_free_inode(m, n);
	if (!strcmp(name, "blocks"))
		return m->blocks_count;
	if (!strcmp(name, "sb")) {
		const struct field *f = field_find(fields_super, args);

		return field_get((uint8_t *)image_super(m) + f->off, f->size, false);
	}
	image_die("unknown: %s(%s)", name, args);
}

static uint64_t number(struct image *m, const char *s)
{
	char name[WORD_MAX], args[WORD_MAX] = "";
	const char *at = s;
	uint64_t value;
	char *end;

	if (isdigit((unsigned char)*s) || *s == '-') {
		value = (uint64_t)strtoll(s, &end, 0);
		if (end == s || *end)
			value = strtoull(s, &end, 0);
		at = end;
	} else {
		size_t len = strcspn(s, "(+-");

		memcpy(name, s, len);
		name[len] = '\0';
		at = s + len;
		if (*at == '(') {
			len = strcspn(++at, ")");
			memcpy(args, at, len);
			args[len] = '\0';
			at += len + 1;
		}
		value = call(m, name, args);
	}
	if (*at == '+' || *at == '-') {
		value += (uint64_t)strtoll(at, &end, 0);
		at = end;
	}
	if (*at)
		image_die("not a number: %s", s);
	return value;
}

/* ---- seals ---------------------------------------------------------------- */

static void seal_super(struct image *m, const struct place *p)
{
	(void)p;
	image_seal_super(m);
}

static void seal_desc(struct image *m, const struct place *p)
{
	image_seal_desc(m, p->group);
}

static void seal_bbit(struct image *m, const struct place *p)
{
	image_seal_block_bitmap(m, p->group);
}

static void seal_ibit(struct image *m, const struct place *p)
{
	image_seal_inode_bitmap(m, p->group);
}

static void seal_inode(struct image *m, const struct place *p)
{
	image_seal_inode(m, p->ino);
}

static void seal_node(struct image *m, const struct place *p)
{
	image_seal_node(m, p->ino, p->pblk);
}

static void seal_dir(struct image *m, const struct place *p)
{
	image_seal_dir(m, p->ino, p->pblk);
}

static void seal_dx(struct image *m, const struct place *p)
{
	image_seal_dx(m, p->ino, p->pblk);
}

static void seal_xattr(struct image *m, const struct place *p)
{
	image_seal_xattr(m, p->pblk);
}

static void seal_mmp(struct image *m, const struct place *p)
{
	(void)p;
	image_seal_mmp(m);
}

static void seal_orphans(struct image *m, const struct place *p)
{
	image_seal_orphans(m, p->ino, p->pblk);
}

static void seal_journal(struct image *m, const struct place *p)
{
	(void)p;
	image_seal_journal(m);
}

static void seal_log(struct image *m, const struct place *p)
{
	image_seal_log(m, p->pblk);
}

static void seal_log_data(struct image *m, const struct place *p)
{
	image_seal_log_data(m, p->group, p->index);
}

/* ---- places --------------------------------------------------------------- */

typedef void (*find_fn)(struct image *m, const char *word, struct place *p);

static void at_super(struct image *m, const char *word, struct place *p)
{
	(void)word;
	*p = (struct place){ .base = (uint8_t *)image_super(m),
			     .room = EXT4_SUPER_SIZE,
			     .fields = fields_super,
			     .seal = seal_super };
}

static void at_desc(struct image *m, const char *word, struct place *p)
{
	uint32_t group = (uint32_t)number(m, word);

	*p = (struct place){ .base = (uint8_t *)image_desc(m, group),
			     .room = m->desc_size,
			     .fields = fields_desc,
			     .seal = seal_desc,
			     .group = group };
}

static void at_inode(struct image *m, const char *word, struct place *p)
{
	uint32_t ino = *word == '/' || *word == '<' ? image_lookup(m, word) :
						      (uint32_t)number(m, word);

	*p = (struct place){ .base = (uint8_t *)image_inode(m, ino),
			     .room = m->inode_size,
			     .fields = fields_inode,
			     .seal = seal_inode,
			     .ino = ino };
}

static void in_node(struct image *m, const char *word, struct place *p, uint32_t entry_size)
{
	struct image_node node;
	uint32_t off = 0;
	struct arg a;

	split_arg(m, word, &a, true);
	node = image_node(m, a.ino, a.node, a.depth);
	if (entry_size)
		off = 12 + entry_size * (uint32_t)strtoul(a.entry, NULL, 0);
	*p = (struct place){ .base = (uint8_t *)node.eh + off,
			     .room = (node.pblk ? m->block_size : EXT4_N_BLOCKS_BYTES) - off,
			     .seal = seal_node,
			     .ino = a.ino,
			     .pblk = node.pblk };
}

static void at_eh(struct image *m, const char *word, struct place *p)
{
	in_node(m, word, p, 0);
	p->fields = fields_eh;
}

static void at_ei(struct image *m, const char *word, struct place *p)
{
	in_node(m, word, p, sizeof(struct ext4_extent_idx));
	p->fields = fields_ei;
}

static void at_ee(struct image *m, const char *word, struct place *p)
{
	in_node(m, word, p, sizeof(struct ext4_extent));
	p->fields = fields_ee;
}

static void at_map(struct image *m, const char *word, struct place *p)
{
	struct arg a;
	le32 *slots;

	split_arg(m, word, &a, true);
	slots = image_inode(m, a.ino)->i_block;
	*p = (struct place){ .room = 4, .fields = fields_slot, .seal = seal_inode, .ino = a.ino };
	for (uint32_t i = 0; i < a.depth; i++) {
		p->pblk = le32_to_cpu(slots[a.node[i]]);
		slots = (le32 *)(void *)image_block(m, p->pblk);
		p->seal = NULL;
	}
	p->base = (uint8_t *)&slots[strtoul(a.entry, NULL, 0)];
}

static void at_de(struct image *m, const char *word, struct place *p)
{
	struct ext4_dir_entry_2 *e;
	uint64_t pblk;
	struct arg a;

	split_arg(m, word, &a, true);
	e = image_entry(m, a.ino, a.entry, &pblk);
	*p = (struct place){ .base = (uint8_t *)e,
			     .room = (size_t)(image_block(m, pblk) + m->block_size - (uint8_t *)e),
			     .fields = fields_de,
			     .seal = seal_dir,
			     .ino = a.ino,
			     .pblk = pblk };
}

/* A node of the index: the root is block 0, ":i" is what its entry i leads to. */
static uint8_t *dx_node(struct image *m, const struct arg *a, uint64_t *ret_pblk)
{
	uint8_t *node = image_block(m, *ret_pblk = image_map(m, a->ino, 0)) + 0x20;

	for (uint32_t i = 0; i < a->depth; i++) {
		const struct dx_entry *e = (const void *)node;

		*ret_pblk = image_map(m, a->ino, le32_to_cpu(e[a->node[i]].block));
		node = image_block(m, *ret_pblk) + 8;
	}
	return node;
}

static void at_dx(struct image *m, const char *word, struct place *p)
{
	struct arg a;

	split_arg(m, word, &a, true);
	*p = (struct place){ .room = 8, .seal = seal_dx, .ino = a.ino };
	p->base = dx_node(m, &a, &p->pblk) + 8 * strtoul(a.entry, NULL, 0);
}

static void at_dxinfo(struct image *m, const char *word, struct place *p)
{
	at_dx(m, word, p);
	p->base -= 8;
	p->fields = fields_dxinfo;
}

static void at_dxcl(struct image *m, const char *word, struct place *p)
{
	at_dx(m, word, p);
	p->fields = fields_dxcl;
}

static void at_dxe(struct image *m, const char *word, struct place *p)
{
	at_dx(m, word, p);
	p->fields = fields_dxe;
}

static uint32_t xattr_entry_off(const uint8_t *first, uint32_t nth)
{
	uint32_t off = 0;

	while (nth--)
		off += EXT4_XATTR_LEN(first[off]);
	return off;
}

static void at_xattr_block(struct image *m, const char *word, struct place *p)
{
	struct arg a;

	split_arg(m, word, &a, true);
	*p = (struct place){ .pblk = xattr_block_of(m, a.ino),
			     .room = m->block_size,
			     .fields = fields_xh,
			     .seal = seal_xattr };
	p->base = image_block(m, p->pblk);
	if (*a.entry) {
		uint32_t off =
			32 + xattr_entry_off(p->base + 32, (uint32_t)strtoul(a.entry, NULL, 0));

		p->base += off;
		p->room -= off;
		p->fields = fields_xe;
	}
}

static void at_xattr_ibody(struct image *m, const char *word, struct place *p)
{
	uint32_t off;
	struct arg a;

	split_arg(m, word, &a, true);
	at_inode(m, a.path, p);
	off = 128u + le16_to_cpu(image_inode(m, a.ino)->i_extra_isize);
	p->fields = fields_xih;
	if (*a.entry) {
		off += 4 + xattr_entry_off(p->base + off + 4, (uint32_t)strtoul(a.entry, NULL, 0));
		p->fields = fields_xe;
	}
	p->base += off;
	p->room -= off;
}

static void at_bbit(struct image *m, const char *word, struct place *p)
{
	uint64_t bit = number(m, word) - m->first_data_block;

	*p = (struct place){ .group = (uint32_t)(bit / m->blocks_per_group),
			     .bit = (int)(bit % m->blocks_per_group % 8),
			     .room = 1,
			     .fields = fields_bit,
			     .seal = seal_bbit };
	p->base = image_block(m, le32_to_cpu(image_desc(m, p->group)->bg_block_bitmap_lo)) +
		  bit % m->blocks_per_group / 8;
}

static void at_ibit(struct image *m, const char *word, struct place *p)
{
	uint64_t bit = number(m, word) - 1;

	*p = (struct place){ .group = (uint32_t)(bit / m->inodes_per_group),
			     .bit = (int)(bit % m->inodes_per_group % 8),
			     .room = 1,
			     .fields = fields_bit,
			     .seal = seal_ibit };
	p->base = image_block(m, le32_to_cpu(image_desc(m, p->group)->bg_inode_bitmap_lo)) +
		  bit % m->inodes_per_group / 8;
}

static void at_jsb(struct image *m, const char *word, struct place *p)
{
	(void)word;
	*p = (struct place){ .base = image_block(m, image_map(m, m->journal_ino, 0)),
			     .room = 1024,
			     .fields = fields_jsb,
			     .big_endian = true,
			     .seal = seal_journal };
}

static void at_log(struct image *m, const char *word, struct place *p)
{
	uint64_t pblk = image_map(m, m->journal_ino, (uint32_t)number(m, word));

	*p = (struct place){ .base = image_block(m, pblk),
			     .room = m->block_size,
			     .fields = fields_jh,
			     .big_endian = true,
			     .seal = seal_log,
			     .pblk = pblk };
}

static void at_jtag(struct image *m, const char *word, struct place *p)
{
	struct arg a;

	split_arg(m, word, &a, false);
	at_log(m, a.path, p);
	p->base = (uint8_t *)image_log_tag(m, (uint32_t)number(m, a.path),
					   (uint32_t)strtoul(a.entry, NULL, 0));
	p->room = sizeof(struct jbd2_block_tag3);
	p->fields = fields_jtag;
}

static void at_jdata(struct image *m, const char *word, struct place *p)
{
	struct arg a;

	split_arg(m, word, &a, false);
	p->group = (uint32_t)number(m, a.path);
	p->index = (uint32_t)strtoul(a.entry, NULL, 0);
	p->base = image_block(m, image_map(m, m->journal_ino, p->group + 1 + p->index));
	p->room = m->block_size;
	p->seal = seal_log_data;
}

static void at_mmp(struct image *m, const char *word, struct place *p)
{
	(void)word;
	*p = (struct place){ .base = image_block(m, le64_to_cpu(image_super(m)->s_mmp_block)),
			     .room = 1024,
			     .fields = fields_mmp,
			     .seal = seal_mmp };
}

static void at_orphan(struct image *m, const char *word, struct place *p)
{
	uint32_t ino = le32_to_cpu(image_super(m)->s_orphan_file_inum);
	uint64_t pblk = image_map(m, ino, (uint32_t)number(m, word));

	*p = (struct place){ .base = image_block(m, pblk),
			     .room = m->block_size,
			     .seal = seal_orphans,
			     .ino = ino,
			     .pblk = pblk };
}

static void at_orphantail(struct image *m, const char *word, struct place *p)
{
	at_orphan(m, word, p);
	p->base += m->block_size - sizeof(struct ext4_orphan_block_tail);
	p->room = sizeof(struct ext4_orphan_block_tail);
	p->fields = fields_otail;
}

static void at_block(struct image *m, const char *word, struct place *p)
{
	*p = (struct place){ .base = image_block(m, number(m, word)), .room = m->block_size };
}

static void at_dirblock(struct image *m, const char *word, struct place *p)
{
	struct arg a;

	split_arg(m, word, &a, true);
	p->ino = a.ino;
	p->pblk = image_map(m, a.ino, (uint32_t)strtoul(a.entry, NULL, 0));
	p->base = image_block(m, p->pblk);
	p->room = m->block_size;
	p->seal = seal_dir;
}

static const struct {
	const char *name;
	bool has_arg;
	find_fn find;
} places[] = {
	{ "sb", false, at_super },
	{ "gd", true, at_desc },
	{ "inode", true, at_inode },
	{ "eh", true, at_eh },
	{ "ei", true, at_ei },
	{ "ee", true, at_ee },
	{ "map", true, at_map },
	{ "de", true, at_de },
	{ "dxinfo", true, at_dxinfo },
	{ "dxcl", true, at_dxcl },
	{ "dxe", true, at_dxe },
	{ "xh", true, at_xattr_block },
	{ "xe", true, at_xattr_block },
	{ "xih", true, at_xattr_ibody },
	{ "xie", true, at_xattr_ibody },
	{ "bbit", true, at_bbit },
	{ "ibit", true, at_ibit },
	{ "jsb", false, at_jsb },
	{ "jh", true, at_log },
	{ "jcommit", true, at_log },
	{ "jrevoke", true, at_log },
	{ "jtag", true, at_jtag },
	{ "jdata", true, at_jdata },
	{ "mmp", false, at_mmp },
	{ "orphan", true, at_orphan },
	{ "orphantail", true, at_orphantail },
	{ "block", true, at_block },
	{ "node", true, at_eh },
	{ "dirblock", true, at_dirblock },
};

/* ---- one command ---------------------------------------------------------- */

static uint64_t combine(uint64_t old, const char *op, uint64_t value)
{
	switch (op[0]) {
	case '=': return value;
	case '+': return old + value;
	case '-': return old - value;
	case '|': return old | value;
	case '&': return old & value;
	case '^': return old ^ value;
	default: image_die("unknown operator %s", op);
	}
}

static void write_bit(struct place *p, uint64_t value)
{
	uint8_t mask = (uint8_t)(1u << p->bit);

	*p->base = value ? *p->base | mask : *p->base & (uint8_t)~mask;
}

static void apply(struct image *m, char **w, int n)
{
	bool sealed = w[0][0] != '!';
	const char *name = w[0] + !sealed;
	const struct field *f;
	struct field raw;
	struct place p = { 0 };
	size_t i = 0;

	while (i < sizeof(places) / sizeof(places[0]) && strcmp(places[i].name, name))
		i++;
	if (i == sizeof(places) / sizeof(places[0]) || n != 4 + places[i].has_arg)
		image_die("not a command: %s ... (%d words)", w[0], n);
	places[i].find(m, w[1], &p);
	w += 1 + places[i].has_arg;
	f = w[0][0] == '@' ? field_parse(w[0], &raw) : field_find(p.fields, w[0]);
	if (f->off + f->size > p.room)
		image_die("%s is outside of %s", w[0], name);
	if (p.fields == fields_bit)
		write_bit(&p, number(m, w[2]));
	else
		field_set(p.base + f->off, f->size, p.big_endian,
			  combine(field_get(p.base + f->off, f->size, p.big_endian), w[1],
				  number(m, w[2])));
	if (sealed && p.seal)
		p.seal(m, &p);
}

void patch_apply(struct image *m, const char *script)
{
	while (*script) {
		size_t len = strcspn(script, ";");
		char line[WORDS_MAX * WORD_MAX];
		char *words[WORDS_MAX], *save = NULL;
		int n = 0;

		if (len >= sizeof(line))
			image_die("command too long: %.40s", script);
		memcpy(line, script, len);
		line[len] = '\0';
		for (char *w = strtok_r(line, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
			if (n == WORDS_MAX || strlen(w) >= WORD_MAX)
				image_die("command too long: %s", script);
			words[n++] = w;
		}
		if (n)
			apply(m, words, n);
		script += len + (script[len] == ';');
	}
}
