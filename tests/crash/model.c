// SPDX-License-Identifier: GPL-2.0-only
/* See model.h. */
#include "tests/crash/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/check.h"
#include "daemon/base/util.h"
#include "tests/crash/view.h"

#define NODES 64
#define ENTS 96
#define XATTRS 2
#define XATTR_LEN_MAX 512
#define TARGET_MAX 512
#define VERSIONS (OPS_LENGTH_MAX + 1)
#define NOBODY UINT32_MAX

/* Contents, shared by the versions that do not change them. */
struct bytes {
	uint32_t refs;
	size_t len;
	uint8_t data[];
};

struct xattr {
	char name[8];
	uint32_t len, stamp;
};

struct node {
	bool used;
	uint32_t mode, nlink;
	uint32_t inode_v, size_v, data_v, name_v; /* the version that last changed it */
	uint32_t data_durable;			  /* contents not older than this version's */
	struct bytes *bytes;			  /* NULL: empty */
	struct xattr xattrs[XATTRS];
	uint32_t target_len, target_stamp;
};

struct ent {
	bool used;
	uint32_t parent, child;
	char name[12];
};

struct state {
	struct node nodes[NODES]; /* 0 is the root; no number is used twice */
	uint32_t nodes_used;
	struct ent ents[ENTS];
};

struct version {
	struct state state;
	uint32_t durable;  /* the oldest version possible once this operation has returned */
	bool several;	   /* rule (5) */
	uint32_t file;	   /* whose data the operation changed, or NOBODY */
	struct view *view; /* made when first needed */
};

struct model {
	struct version *versions[VERSIONS];
	uint32_t count; /* versions after 0 */
	uint32_t stamp0;
};

/* What a path leads to. */
struct place {
	uint32_t parent, node; /* NOBODY if absent */
	char name[12];
	struct ent *ent;
};

/* ---- contents ------------------------------------------------------------- */

void model_pattern(uint32_t stamp, uint64_t off, uint8_t *buf, size_t len)
{
	for (size_t k = 0; k < len; k++) {
		uint64_t word =
			(off + k) / 8 * 0x9e3779b97f4a7c15ULL + stamp * 0xff51afd7ed558ccdULL;

		word ^= word >> 31;
		word *= 0xc4ceb9fe1a85ec53ULL;
		buf[k] = (uint8_t)(word >> ((off + k) % 8 * 8)) | 1;
	}
}

void model_target(uint32_t stamp, char *buf, size_t len)
{
	for (size_t k = 0; k < len; k++)
		buf[k] = (char)('a' + (stamp * 7 + k * (1 + stamp % 5)) % 26);
}

static void bytes_put(struct bytes *b)
{
	if (b && --b->refs == 0)
		free(b);
}

/* A private copy of @node's contents, @len long, for writing. */
static struct bytes *bytes_own(struct node *n, size_t len)
{
	struct bytes *old = n->bytes, *new = calloc(1, sizeof(*new) + len);

	CHECK(new);
	new->refs = 1;
	new->len = len;
	if (old)
		memcpy(new->data, old->data, MIN(old->len, len));
	bytes_put(old);
	n->bytes = new;
	return new;
}

static size_t size_of(const struct node *n)
{
	return n->bytes ? n->bytes->len : 0;
}

static void zero(struct node *n, uint64_t off, uint64_t len)
{
	struct bytes *b = bytes_own(n, size_of(n));

	if (off < b->len)
		memset(b->data + off, 0, MIN(len, b->len - off));
}

/* ---- versions ------------------------------------------------------------- */

static void version_free(struct version *v)
{
	if (!v)
		return;
	for (uint32_t k = 0; k < NODES; k++)
		bytes_put(v->state.nodes[k].bytes);
	free(v->view);
	free(v);
}

static struct version *version_next(struct model *m)
{
	struct version *last = m->versions[m->count], *v = malloc(sizeof(*v));

	CHECK(v && m->count + 1 < VERSIONS);
	*v = *last;
	v->view = NULL;
	v->several = false;
	v->file = NOBODY;
	for (uint32_t k = 0; k < NODES; k++)
		if (v->state.nodes[k].bytes)
			v->state.nodes[k].bytes->refs++;
	m->versions[++m->count] = v;
	return v;
}

struct model *model_new(void)
{
	struct model *m = calloc(1, sizeof(*m));

	CHECK(m);
	m->versions[0] = calloc(1, sizeof(struct version));
	CHECK(m->versions[0]);
	/* lost+found and w are there, and not seen. */
	m->versions[0]->state.nodes[0] =
		(struct node){ .used = true, .mode = S_IFDIR | 0755, .nlink = 4 };
	m->versions[0]->state.nodes_used = 1;
	return m;
}

void model_reset(struct model *m)
{
	for (; m->count > 0; m->count--)
		version_free(m->versions[m->count]);
}

void model_free(struct model *m)
{
	if (!m)
		return;
	model_reset(m);
	version_free(m->versions[0]);
	free(m);
}

static void node_forget_versions(struct node *n)
{
	n->inode_v = n->size_v = n->data_v = n->name_v = n->data_durable = 0;
}

void model_rebase(struct model *m)
{
	struct version *last = m->versions[m->count];

	m->stamp0 += m->count;
	for (uint32_t k = 0; k < m->count; k++)
		version_free(m->versions[k]);
	memset(m->versions, 0, sizeof(m->versions));
	m->versions[0] = last;
	m->count = 0;
	last->durable = 0;
	last->several = false;
	for (uint32_t k = 0; k < NODES; k++)
		node_forget_versions(&last->state.nodes[k]);
}

uint32_t model_count(const struct model *m)
{
	return m->count;
}

uint32_t model_stamp(const struct model *m)
{
	return m->stamp0 + m->count + 1;
}

/* ---- names ---------------------------------------------------------------- */

static struct ent *ent_find(struct state *s, uint32_t parent, const char *name)
{
	for (uint32_t k = 0; k < ENTS; k++) {
		struct ent *e = &s->ents[k];

		if (e->used && e->parent == parent && !strcmp(e->name, name))
			return e;
	}
	return NULL;
}

static struct place find(struct state *s, const char *path)
{
	struct place p = { .parent = NOBODY, .node = 0 };

	while (*path == '/')
		path++;
	while (*path) {
		size_t len = strcspn(path, "/");

		if (p.node == NOBODY || !S_ISDIR(s->nodes[p.node].mode)) {
			p.parent = p.node = NOBODY;
			return p;
		}
		CHECK(len < sizeof(p.name));
		memcpy(p.name, path, len);
		p.name[len] = '\0';
		p.parent = p.node;
		p.ent = ent_find(s, p.parent, p.name);
		p.node = p.ent ? p.ent->child : NOBODY;
		path += len;
		path += *path == '/';
	}
	return p;
}

static bool is_empty_dir(const struct state *s, uint32_t node)
{
	for (uint32_t k = 0; k < ENTS; k++)
		if (s->ents[k].used && s->ents[k].parent == node)
			return false;
	return true;
}

static bool is_below(const struct state *s, uint32_t node, uint32_t above)
{
	for (uint32_t steps = 0; node != 0 && steps < NODES; steps++) {
		uint32_t up = 0;

		if (node == above)
			return true;
		for (uint32_t k = 0; k < ENTS; k++)
			if (s->ents[k].used && s->ents[k].child == node)
				up = s->ents[k].parent;
		node = up;
	}
	return node == above;
}

static void ent_add(struct state *s, const struct place *p, uint32_t node)
{
	for (uint32_t k = 0; k < ENTS; k++) {
		if (s->ents[k].used)
			continue;
		s->ents[k] = (struct ent){ .used = true, .parent = p->parent, .child = node };
		memcpy(s->ents[k].name, p->name, sizeof(p->name));
		return;
	}
	CHECK(false);
}

static uint32_t node_add(struct state *s, uint32_t mode, uint32_t v)
{
	uint32_t k = s->nodes_used++;

	CHECK(k < NODES);
	s->nodes[k] = (struct node){ .used = true,
				     .mode = mode,
				     .nlink = S_ISDIR(mode) ? 2 : 1,
				     .inode_v = v,
				     .size_v = v,
				     .data_v = v,
				     .name_v = v };
	return k;
}

/* One name of it is gone. */
static void node_drop(struct state *s, uint32_t node, uint32_t v)
{
	struct node *n = &s->nodes[node];

	n->nlink -= S_ISDIR(n->mode) ? n->nlink : 1;
	n->inode_v = v;
	if (n->nlink == 0) {
		bytes_put(n->bytes);
		*n = (struct node){ .used = false };
	}
}

static void touch_dir(struct state *s, uint32_t dir, uint32_t v, int links)
{
	s->nodes[dir].inode_v = v;
	s->nodes[dir].nlink += (uint32_t)links;
}

/* ---- what each operation needs -------------------------------------------- */

static int expect_rename(const struct state *s, const struct place *a, const struct place *b,
			 bool exchange)
{
	bool a_dir, b_dir;

	if (a->node == NOBODY || b->parent == NOBODY)
		return -ENOENT;
	if (exchange && b->node == NOBODY)
		return -ENOENT;
	a_dir = S_ISDIR(s->nodes[a->node].mode);
	b_dir = b->node != NOBODY && S_ISDIR(s->nodes[b->node].mode);
	/* The kernel answers these before it asks anybody. */
	if (a->node == b->node || is_below(s, b->parent, a->node) ||
	    (b->node != NOBODY && is_below(s, a->parent, b->node)))
		return -EAGAIN;
	if (exchange || b->node == NOBODY)
		return 0;
	if (a_dir != b_dir)
		return -EAGAIN;
	return b_dir && !is_empty_dir(s, b->node) ? -ENOTEMPTY : 0;
}

int model_expect(const struct model *m, const struct op *op)
{
	struct state *s = &m->versions[m->count]->state;
	struct place a = find(s, op->a), b = find(s, op->kind == OP_SETXATTR ? "" : op->b);
	bool there = a.node != NOBODY;
	mode_t mode = there ? s->nodes[a.node].mode : 0;
	uint32_t free_ents = 0;

	for (uint32_t k = 0; k < ENTS; k++)
		free_ents += !s->ents[k].used;
	switch (op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
	case OP_SYMLINK:
		if (a.parent == NOBODY || free_ents < 4)
			return -EAGAIN;
		return there ? -EEXIST : 0;
	case OP_LINK:
		if (!there || S_ISDIR(mode) || b.parent == NOBODY || free_ents < 4)
			return -EAGAIN;
		return b.node != NOBODY ? -EEXIST : 0;
	case OP_UNLINK: return !there ? -ENOENT : S_ISDIR(mode) ? -EAGAIN : 0;
	case OP_RMDIR:
		if (there && (!S_ISDIR(mode) || a.node == 0))
			return -EAGAIN;
		return !there ? -ENOENT : is_empty_dir(s, a.node) ? 0 : -ENOTEMPTY;
	case OP_RENAME: return expect_rename(s, &a, &b, false);
	case OP_EXCHANGE: return expect_rename(s, &a, &b, true);
	case OP_CHURN:
	case OP_SYNC:
	case OP_CHECKPOINT: return 0;
	case OP_SETXATTR: return !there || S_ISLNK(mode) ? -EAGAIN : 0;
	case OP_CHMOD:
	case OP_HOLD:
	case OP_FSYNC:
	case OP_FDATASYNC: return there ? 0 : -EAGAIN;
	default: return there && S_ISREG(mode) ? 0 : -EAGAIN;
	}
}

/* ---- what each operation does --------------------------------------------- */

static void do_create(struct state *s, const struct op *op, uint32_t stamp, uint32_t v)
{
	static const uint32_t modes[] = {
		[OP_CREATE] = S_IFREG | 0644, [OP_MKDIR] = S_IFDIR | 0755, [OP_SYMLINK] = S_IFLNK | 0777
	};
	struct place p = find(s, op->a);
	uint32_t node = node_add(s, modes[op->kind], v);

	ent_add(s, &p, node);
	touch_dir(s, p.parent, v, op->kind == OP_MKDIR);
	if (op->kind == OP_SYMLINK) {
		s->nodes[node].target_len = op->len;
		s->nodes[node].target_stamp = stamp;
	}
}

static void do_unlink(struct state *s, const struct op *op, uint32_t v)
{
	struct place p = find(s, op->a);

	p.ent->used = false;
	touch_dir(s, p.parent, v, op->kind == OP_RMDIR ? -1 : 0);
	node_drop(s, p.node, v);
}

static void do_rename(struct state *s, const struct op *op, uint32_t v)
{
	struct place a = find(s, op->a), b = find(s, op->b);
	bool a_dir = S_ISDIR(s->nodes[a.node].mode);
	bool b_dir = b.ent && S_ISDIR(s->nodes[b.node].mode);

	s->nodes[a.node].inode_v = s->nodes[a.node].name_v = v;
	touch_dir(s, a.parent, v, a_dir ? -1 : 0);
	touch_dir(s, b.parent, v, a_dir ? 1 : 0);
	a.ent->used = false;
	if (b.ent) {
		b.ent->used = false;
		touch_dir(s, b.parent, v, b_dir ? -1 : 0);
	}
	ent_add(s, &b, a.node);
	if (!b.ent)
		return;
	if (op->kind == OP_RENAME) {
		node_drop(s, b.node, v);
		return;
	}
	ent_add(s, &a, b.node);
	touch_dir(s, a.parent, v, b_dir ? 1 : 0);
	s->nodes[b.node].inode_v = s->nodes[b.node].name_v = v;
}

static void do_write(struct node *n, const struct op *op, uint32_t stamp, size_t got)
{
	size_t size = size_of(n), off = op->off;
	struct bytes *b;

	if (op->kind == OP_APPEND || op->kind == OP_FILL)
		off = size;
	b = bytes_own(n, MAX(size, off + got));
	model_pattern(stamp, off, b->data + off, got);
}

static void do_xattr(struct node *n, const struct op *op, uint32_t stamp)
{
	struct xattr *x = NULL;

	for (uint32_t k = 0; k < XATTRS; k++)
		if (!strcmp(n->xattrs[k].name, op->b))
			x = &n->xattrs[k];
	for (uint32_t k = 0; !x && k < XATTRS; k++)
		if (!n->xattrs[k].name[0])
			x = &n->xattrs[k];
	CHECK(x);
	*x = (struct xattr){ .len = op->len, .stamp = stamp };
	if (op->len)
		memcpy(x->name, op->b, sizeof(x->name));
}

static void do_data(struct state *s, const struct op *op, uint32_t stamp, ssize_t got)
{
	struct node *n = &s->nodes[find(s, op->a).node];

	switch (op->kind) {
	case OP_WRITE:
	case OP_APPEND:
	case OP_CACHED:
	case OP_FILL: do_write(n, op, stamp, (size_t)got); break;
	case OP_TRUNCATE: (void)bytes_own(n, op->off); break;
	case OP_FALLOCATE: (void)bytes_own(n, MAX(size_of(n), (size_t)op->off + op->len)); break;
	case OP_ZERO:
		(void)bytes_own(n, MAX(size_of(n), (size_t)op->off + op->len));
		zero(n, op->off, op->len);
		break;
	case OP_PUNCH: zero(n, op->off, op->len); break;
	default: break;
	}
}

/*
 * What the metadata must not be older than. Bytes written in place need no transaction, so
 * their durability says nothing of operations before them.
 */
static uint32_t newest_change(const struct node *n, bool data_only)
{
	uint32_t any = MAX(n->inode_v, n->name_v);

	return data_only ? n->size_v : MAX(any, n->size_v);
}

static void do_sync(struct version *v, const struct op *op, uint32_t number)
{
	uint32_t least = number;

	if (op->kind == OP_FSYNC || op->kind == OP_FDATASYNC) {
		struct node *n = &v->state.nodes[find(&v->state, op->a).node];

		least = newest_change(n, op->kind == OP_FDATASYNC);
		n->data_durable = n->data_v;
	}
	v->durable = MAX(v->durable, least);
}

void model_step(struct model *m, const struct op *op, ssize_t got, bool several_transactions)
{
	uint32_t stamp = model_stamp(m);
	struct version *v = version_next(m);
	struct state *s = &v->state;
	uint32_t number = m->count;
	struct place p;

	v->several = several_transactions;
	if (got < 0)
		return;
	switch (op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
	case OP_SYMLINK: do_create(s, op, stamp, number); return;
	case OP_UNLINK:
	case OP_RMDIR: do_unlink(s, op, number); return;
	case OP_RENAME:
	case OP_EXCHANGE: do_rename(s, op, number); return;
	case OP_CHURN:
	case OP_FSYNC:
	case OP_FDATASYNC:
	case OP_SYNC:
	case OP_CHECKPOINT: do_sync(v, op, number); return;
	default: break;
	}
	p = find(s, op->a);
	if (op->kind == OP_LINK) {
		struct place to = find(s, op->b);

		ent_add(s, &to, p.node);
		s->nodes[p.node].nlink++;
		s->nodes[p.node].inode_v = s->nodes[p.node].name_v = number;
		touch_dir(s, to.parent, number, 0);
	} else if (op->kind == OP_SETXATTR) {
		do_xattr(&s->nodes[p.node], op, stamp);
		s->nodes[p.node].inode_v = number;
	} else if (op->kind == OP_CHMOD) {
		s->nodes[p.node].mode = (s->nodes[p.node].mode & S_IFMT) | op->off;
		s->nodes[p.node].inode_v = number;
	} else if (op->kind != OP_HOLD) {
		struct node *n = &s->nodes[p.node];
		size_t size = size_of(n);

		do_data(s, op, stamp, got);
		n->data_v = number;
		if (op->kind != OP_CACHED)
			n->inode_v = number;
		if (size_of(n) != size)
			n->size_v = number;
		v->file = p.node;
	}
}

void model_adopt(struct model *m, const char *path, const void *bytes, size_t len)
{
	struct version *v = m->versions[m->count];
	struct place p = find(&v->state, path);
	struct node *n = &v->state.nodes[p.node];

	memcpy(bytes_own(n, len)->data, bytes, len);
	n->data_v = n->inode_v = n->size_v = m->count;
	v->file = p.node;
	v->several = true;
}

bool model_node(const struct model *m, const char *path, uint64_t *ret_size, bool *ret_is_dir)
{
	struct state *s = &m->versions[m->count]->state;
	struct place p = find(s, path);

	if (p.node == NOBODY)
		return false;
	*ret_size = size_of(&s->nodes[p.node]);
	*ret_is_dir = S_ISDIR(s->nodes[p.node].mode);
	return true;
}

/* ---- comparing ------------------------------------------------------------ */

static uint64_t xattrs_hash(const struct node *n)
{
	uint8_t value[XATTR_LEN_MAX];
	uint64_t sum = 0;
	char name[16];

	for (uint32_t k = 0; k < XATTRS; k++) {
		const struct xattr *x = &n->xattrs[k];

		if (!x->name[0])
			continue;
		CHECK(x->len <= sizeof(value));
		(void)snprintf(name, sizeof(name), "user.%s", x->name);
		model_pattern(x->stamp, 0, value, x->len);
		sum += view_hash_xattr(name, value, x->len);
	}
	return sum;
}

static void fill_node(struct view_builder *b, struct view_node *out, const struct node *n)
{
	char target[TARGET_MAX];

	out->mode = n->mode;
	out->nlink = n->nlink;
	out->xattrs = xattrs_hash(n);
	if (S_ISLNK(n->mode)) {
		CHECK(n->target_len <= sizeof(target));
		model_target(n->target_stamp, target, n->target_len);
		out->size = n->target_len;
		out->target = view_hash(target, n->target_len, 3);
	} else if (S_ISREG(n->mode)) {
		out->size = size_of(n);
		if (n->bytes)
			view_bytes(b, out, n->bytes->data, n->bytes->len);
	}
}

static void add_below(struct view_builder *b, const struct state *s, uint32_t dir, const char *path,
		      uint32_t depth)
{
	char below[VIEW_PATH_MAX];
	struct view_node *node;

	if (view_name(b, *path ? path : "/", dir, &node))
		fill_node(b, node, &s->nodes[dir]);
	if (!S_ISDIR(s->nodes[dir].mode) || depth == 0)
		return;
	for (uint32_t k = 0; k < ENTS; k++) {
		const struct ent *e = &s->ents[k];

		if (!e->used || e->parent != dir)
			continue;
		(void)snprintf(below, sizeof(below), "%s/%s", path, e->name);
		add_below(b, s, e->child, below, depth - 1);
	}
}

static const struct view *view_of(struct version *v, struct view_builder *b)
{
	if (!v->view) {
		view_begin(b);
		add_below(b, &v->state, 0, "", 8);
		v->view = view_end(b);
	}
	return v->view;
}

/* What version @v says of sector @n of node @k, had the file @size bytes. */
static uint64_t sector_of(const struct version *v, uint32_t k, uint64_t n, uint64_t size)
{
	const struct node *node = &v->state.nodes[k];
	uint64_t off = n * 512, end = MIN(size, (uint64_t)size_of(node));

	end = MIN(off + 512, end);

	return end > off ? view_hash_sector(node->bytes->data + off, end - off) : 0;
}

struct comparison {
	struct model *m;
	const struct view *seen, *want;
	const struct state *acknowledged; /* NULL: nothing is */
	uint32_t version, begun;
	char *why;
	size_t why_size;
};

static bool file_allowed(const struct comparison *c, const struct view_node *seen, uint32_t k,
			 const char *path)
{
	uint64_t sectors = DIV_ROUND_UP(seen->size, 512);
	const uint64_t *hash = view_sectors(c->seen) + seen->sector_first;
	uint32_t from = c->version;

	if (c->acknowledged)
		from = MAX(from, c->acknowledged->nodes[k].data_durable);
	for (uint64_t n = 0; n < MIN(sectors, (uint64_t)seen->sector_count); n++) {
		uint32_t v;

		for (v = from; v <= c->begun; v++)
			if (sector_of(c->m->versions[v], k, n, seen->size) == hash[n])
				break;
		if (v > c->begun) {
			(void)snprintf(c->why, c->why_size,
				       "%s: bytes from %llu are those of no version from %u to %u",
				       path, (unsigned long long)n * 512, from, c->begun);
			return false;
		}
	}
	return true;
}

static bool size_allowed(const struct comparison *c, uint32_t k, uint64_t size)
{
	const struct version *v = c->m->versions[c->version], *next;
	uint64_t a, b;

	if (size == size_of(&v->state.nodes[k]))
		return true;
	if (c->version >= c->begun)
		return false;
	next = c->m->versions[c->version + 1];
	if (!next->several || next->file != k)
		return false;
	a = size_of(&v->state.nodes[k]);
	b = size_of(&next->state.nodes[k]);
	return size >= MIN(a, b) && size <= MAX(a, b);
}

static bool node_allowed(const struct comparison *c, const struct view_name *name)
{
	const struct view_node *seen = &view_nodes(c->seen)[name->node];
	const struct view_node *want = &view_nodes(c->want)[name->node];
	uint32_t k = find(&c->m->versions[c->version]->state, name->path).node;

	if (seen->mode != want->mode || seen->nlink != want->nlink ||
	    seen->xattrs != want->xattrs || seen->target != want->target) {
		(void)snprintf(c->why, c->why_size,
			       "%s: mode %o links %u xattrs %llx, not %o %u %llx%s", name->path,
			       seen->mode, seen->nlink, (unsigned long long)seen->xattrs,
			       want->mode, want->nlink, (unsigned long long)want->xattrs,
			       seen->target != want->target ? ", another target" : "");
		return false;
	}
	if (!S_ISREG(seen->mode))
		return true;
	if (!size_allowed(c, k, seen->size)) {
		(void)snprintf(c->why, c->why_size, "%s: size %llu, not %llu", name->path,
			       (unsigned long long)seen->size, (unsigned long long)want->size);
		return false;
	}
	return file_allowed(c, seen, k, name->path);
}

static bool names_equal(const struct comparison *c)
{
	const struct view_name *seen = view_names(c->seen), *want = view_names(c->want);

	for (uint32_t k = 0; k < MAX(c->seen->names, c->want->names); k++) {
		const char *a = k < c->seen->names ? seen[k].path : "(none)";
		const char *b = k < c->want->names ? want[k].path : "(none)";

		if (strcmp(a, b) != 0 || seen[k].node != want[k].node) {
			(void)snprintf(c->why, c->why_size, "name %s where %s belongs", a, b);
			return false;
		}
	}
	return true;
}

static bool allowed(const struct comparison *c)
{
	const struct view_name *name = view_names(c->seen);

	if (c->seen->hash == c->want->hash && view_equal(c->seen, c->want) &&
	    c->version == c->begun)
		return true;
	if (!names_equal(c))
		return false;
	for (uint32_t k = 0; k < c->seen->names; k++)
		if (!node_allowed(c, &name[k]))
			return false;
	return true;
}

bool model_allows(struct model *m, struct view_builder *b, const struct view *v,
		  struct model_moment at, char *why, size_t size)
{
	struct comparison c = { .m = m, .seen = v, .begun = at.begun };
	uint32_t durable = 0, k;
	size_t used = 0;

	CHECK(at.begun <= m->count && at.acknowledged <= at.begun);
	if (!at.lossy) {
		durable = m->versions[at.acknowledged]->durable;
		c.acknowledged = &m->versions[at.acknowledged]->state;
	}
	if (at.exact)
		durable = at.begun;
	why[0] = '\0';
	for (k = at.begun + 1; k-- > durable;) {
		c.version = k;
		c.want = view_of(m->versions[k], b);
		c.why = why + used;
		c.why_size = size - used;
		if (allowed(&c))
			return true;
		used += strlen(why + used);
		used += (size_t)snprintf(why + used, size - used, " (version %u)%s", k,
					 k > durable ? "; " : "");
		used = MIN(used, size - 1);
	}
	return false;
}
