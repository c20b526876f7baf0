/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does every change publish what a cache needs? A model cache subscribes to the bus and
 * believes nothing but events. After random operations, whatever it still claims to know
 * is compared with the filesystem: names, attributes, contents, extended attributes.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "daemon/bpf/tables.h"
#include "tests/unit/daemon/bpf/answers.h"
#include "tests/unit/daemon/fs/fixture.h"

#define NODES_MAX 8192
#define ENTRIES_MAX 8192
#define DIRS 4
#define NAMES 6
#define BODY 6000
#ifdef KFS_SANITIZE
#define ROUNDS 600
#else
#define ROUNDS 6000
#endif

struct node {
	uint64_t id; /* 0 = free slot */
	bool attr_known, body_known, xattr_known;
	struct fs_attr attr;
	uint64_t attr_floor, body_floor, xattr_floor; /* fills older than this are late */
	uint64_t body_sum, xattr_sum;
};

struct entry {
	uint64_t dir; /* 0 = free slot */
	char name[16];
	bool known;
	uint64_t child, floor;
};

struct model {
	struct inval_subscriber sub;
	struct mutex lock; /* LOCK_LEAF */
	struct node nodes[NODES_MAX];
	struct entry entries[ENTRIES_MAX];
	uint64_t fills, drops;
};

static struct model model;

static struct node *node_of(uint64_t id)
{
	uint64_t h = id * 0x9e3779b97f4a7c15u >> 40;

	for (uint32_t i = 0; i < NODES_MAX; i++) {
		struct node *n = &model.nodes[(h + i) % NODES_MAX];

		if (n->id == id)
			return n;
		if (!n->id) {
			n->id = id;
			return n;
		}
	}
	FAIL("the model has no room for more inodes");
}

static struct entry *entry_of(uint64_t dir, const char *name, uint32_t len)
{
	uint64_t h = dir * 0x9e3779b97f4a7c15u >> 40;

	CHECK_LT(len, sizeof(model.entries[0].name));
	for (uint32_t i = 0; i < len; i++)
		h = h * 31 + (uint8_t)name[i];
	for (uint32_t i = 0; i < ENTRIES_MAX; i++) {
		struct entry *e = &model.entries[(h + i) % ENTRIES_MAX];

		if (!e->dir) {
			e->dir = dir;
			memcpy(e->name, name, len);
			return e;
		}
		if (e->dir == dir && strlen(e->name) == len && !memcmp(e->name, name, len))
			return e;
	}
	FAIL("the model has no room for more names");
}

static void forget_node(uint64_t id, uint64_t version)
{
	struct node *n = node_of(id);

	n->attr_known = n->body_known = n->xattr_known = false;
	n->attr_floor = n->body_floor = n->xattr_floor = version;
	for (uint32_t i = 0; i < ENTRIES_MAX; i++)
		if (model.entries[i].dir == id)
			model.entries[i].known = false;
}

static void drop_entry(const struct inval_event *ev)
{
	struct entry *e = entry_of(ev->nodeid, ev->name, ev->name_len);

	e->known = false;
	e->floor = MAX(e->floor, ev->version);
}

static void fill_entry(const struct inval_event *ev)
{
	struct entry *e = entry_of(ev->nodeid, ev->name, ev->name_len);

	if (ev->version < e->floor)
		return;
	e->known = true;
	e->child = ev->nodeid_child;
	model.fills++;
}

static void fill_attr(const struct inval_event *ev)
{
	struct node *n = node_of(ev->nodeid);

	if (ev->version < n->attr_floor)
		return;
	n->attr_known = true;
	n->attr = *(const struct fs_attr *)ev->attr;
	model.fills++;
}

static void hear(struct inval_subscriber *sub UNUSED, const struct inval_event *ev)
{
	struct node *n;

	mutex_lock(&model.lock);
	n = node_of(ev->nodeid);
	model.drops += ev->kind < INVAL_FILL_ENTRY;
	switch (ev->kind) {
	case INVAL_ATTR:
		n->attr_known = false;
		n->attr_floor = MAX(n->attr_floor, ev->version);
		break;
	case INVAL_DATA:
		n->body_known = false;
		n->body_floor = MAX(n->body_floor, ev->version);
		break;
	case INVAL_XATTR:
		n->xattr_known = false;
		n->xattr_floor = MAX(n->xattr_floor, ev->version);
		break;
	case INVAL_ENTRY:
	case INVAL_DELETE: drop_entry(ev); break;
	case INVAL_INODE_GONE: forget_node(ev->nodeid, ev->version); break;
	case INVAL_FILL_ENTRY: fill_entry(ev); break;
	case INVAL_FILL_ATTR: fill_attr(ev); break;
	case INVAL_LIST_BEGIN:
	case INVAL_LIST_END:
	case INVAL_MAP: /* before a change of contents, which this model does not have */
	case INVAL_FILL_EXTENT: break;
	default: FAIL("event of kind %d", (int)ev->kind);
	}
	mutex_unlock(&model.lock);
}

/* ---- the truth ------------------------------------------------------------ */

static bool same_time(struct fs_time a, struct fs_time b)
{
	return a.s == b.s && a.ns == b.ns;
}

static bool same_attr(const struct fs_attr *a, const struct fs_attr *b)
{
	return a->ino == b->ino && a->size == b->size && a->blocks == b->blocks &&
	       a->mode == b->mode && a->nlink == b->nlink && a->uid == b->uid && a->gid == b->gid &&
	       a->rdev == b->rdev && a->flags == b->flags && same_time(a->atime, b->atime) &&
	       same_time(a->mtime, b->mtime) && same_time(a->ctime, b->ctime) &&
	       same_time(a->btime, b->btime);
}

static uint64_t body_sum(struct fixture *f, uint64_t id, ssize_t *ret_len)
{
	static _Thread_local uint8_t body[2 * BODY + 1];
	uint64_t sum = 14695981039346656037u;

	*ret_len = read_node(f, id, body, sizeof(body), 0);
	for (ssize_t i = 0; i < *ret_len; i++)
		sum = (sum ^ body[i]) * 1099511628211u;
	return sum;
}

/* Of the three attributes that the operations change, two of them by the way. */
static uint64_t xattr_sum(struct fixture *f, uint64_t id)
{
	static const char *const names[] = { "user.x", "system.posix_acl_access",
					     "security.capability" };
	uint64_t sum = 14695981039346656037u;

	for (uint32_t k = 0; k < ARRAY_SIZE(names); k++) {
		uint8_t value[256];
		ssize_t len = fs_getxattr(f->fs, &f->ctx, id, names[k], value, sizeof(value));

		sum = (sum ^ (uint64_t)len) * 1099511628211u;
		for (ssize_t i = 0; i < len; i++)
			sum = (sum ^ value[i]) * 1099511628211u;
	}
	return sum;
}

static void check_node(struct fixture *f, const struct node *had, const char *after)
{
	struct fs_attr attr;
	ssize_t len;
	uint64_t sum;
	int error;

	if (had->attr_known) {
		error = fs_getattr(f->fs, &f->ctx, had->id, &attr);
		if (error || !same_attr(&attr, &had->attr))
			FAIL("after %s: stale attributes of ino %u (%d): size %lu/%lu nlink %u/%u "
			     "mode %o/%o",
			     after, (uint32_t)had->id, error, (unsigned long)had->attr.size,
			     (unsigned long)attr.size, had->attr.nlink, attr.nlink, had->attr.mode,
			     attr.mode);
	}
	if (had->body_known) {
		sum = body_sum(f, had->id, &len);
		if (len < 0 || sum != had->body_sum)
			FAIL("after %s: stale contents of ino %u", after, (uint32_t)had->id);
	}
	if (had->xattr_known && xattr_sum(f, had->id) != had->xattr_sum)
		FAIL("after %s: stale attribute of ino %u", after, (uint32_t)had->id);
}

static void check_entry(struct fixture *f, const struct entry *had, const char *after)
{
	struct fs_entry e;
	int error = fs_lookup(f->fs, &f->ctx, had->dir, name_of(had->name), &e);

	if (error || e.nodeid != had->child)
		FAIL("after %s: %s in ino %u is %lx, not %lx (%d)", after, had->name,
		     (uint32_t)had->dir, (unsigned long)e.nodeid, (unsigned long)had->child, error);
	if (e.nodeid)
		fs_forget(f->fs, f->session, e.nodeid, 1);
}

/* Everything the model claims to know. Asking fills it again, so it is asked about copies. */
static uint32_t check_all(struct fixture *f, const char *after)
{
	uint32_t known = 0;

	for (uint32_t i = 0; i < NODES_MAX; i++) {
		struct node had = model.nodes[i];

		if (had.id && (had.attr_known || had.body_known || had.xattr_known)) {
			check_node(f, &had, after);
			known++;
		}
	}
	for (uint32_t i = 0; i < ENTRIES_MAX; i++) {
		struct entry had = model.entries[i];

		if (had.dir && had.known) {
			check_entry(f, &had, after);
			known++;
		}
	}
	return known;
}

/* ---- operations ----------------------------------------------------------- */

struct actor {
	struct fixture *f;
	uint64_t seed;
	uint32_t rounds;
	uint64_t dirs[DIRS];
	struct tables *tables; /* the kernel's tables, checked after each operation; NULL: none */
	bool alone; /* single-threaded: contents and attributes are cached too, all is checked often */
};

static uint64_t roll(struct actor *a, uint64_t limit)
{
	a->seed ^= a->seed << 13;
	a->seed ^= a->seed >> 7;
	a->seed ^= a->seed << 17;
	return a->seed % limit;
}

static struct fs_name some_name(struct actor *a)
{
	static const char *const names[NAMES] = { "a", "bb", "ccc", "dddd", "eeeee", "f" };

	return name_of(names[roll(a, NAMES)]);
}

static uint64_t some_dir(struct actor *a)
{
	return a->dirs[roll(a, DIRS)];
}

/* A child of some directory, counted; 0 when the name is free. */
static uint64_t some_child(struct actor *a, struct fs_attr *ret_attr)
{
	struct fs_entry e;

	if (fs_lookup(a->f->fs, &a->f->ctx, some_dir(a), some_name(a), &e) || !e.nodeid)
		return 0;
	*ret_attr = e.attr;
	return e.nodeid;
}

static const char *op_create(struct actor *a)
{
	static const uint32_t modes[] = { S_IFREG | 0644, S_IFREG | 0600, S_IFDIR | 0755, S_IFLNK,
					  S_IFIFO | 0600 };
	struct fs_create req = { .dir = some_dir(a),
				 .name = some_name(a),
				 .mode = modes[roll(a, ARRAY_SIZE(modes))],
				 .target = "t",
				 .target_len = 1,
				 .excl = roll(a, 2) };
	struct fs_entry e;

	if (!fs_create(a->f->fs, &a->f->ctx, &req, &e))
		fs_forget(a->f->fs, a->f->session, e.nodeid, 1);
	return "create";
}

static const char *op_tmpfile(struct actor *a)
{
	struct fs_entry e, l;

	if (fs_tmpfile(a->f->fs, &a->f->ctx, some_dir(a), 0600, &e))
		return "tmpfile";
	if (!fs_link(a->f->fs, &a->f->ctx, e.nodeid, some_dir(a), some_name(a), &l))
		fs_forget(a->f->fs, a->f->session, l.nodeid, 1);
	fs_forget(a->f->fs, a->f->session, e.nodeid, 1);
	return "tmpfile and link";
}

static const char *op_link(struct actor *a)
{
	struct fs_attr attr;
	uint64_t id = some_child(a, &attr);
	struct fs_entry e;

	if (id && !fs_link(a->f->fs, &a->f->ctx, id, some_dir(a), some_name(a), &e))
		fs_forget(a->f->fs, a->f->session, e.nodeid, 1);
	if (id)
		fs_forget(a->f->fs, a->f->session, id, 1);
	return "link";
}

static const char *op_remove(struct actor *a)
{
	if (roll(a, 3)) {
		if (fs_unlink(a->f->fs, &a->f->ctx, some_dir(a), some_name(a)))
			return "failed unlink";
		return "unlink";
	}
	if (fs_rmdir(a->f->fs, &a->f->ctx, some_dir(a), some_name(a)))
		return "failed rmdir";
	return "rmdir";
}

static const char *op_rename(struct actor *a)
{
	static const uint32_t flags[] = {
		0, 0, 0, FS_RENAME_NOREPLACE, FS_RENAME_EXCHANGE, FS_RENAME_WHITEOUT
	};
	struct fs_rename req = { some_dir(a), some_dir(a), some_name(a), some_name(a),
				 flags[roll(a, ARRAY_SIZE(flags))] };

	if (fs_rename(a->f->fs, &a->f->ctx, &req))
		return "failed rename";
	return "rename";
}

static const char *op_setattr(struct actor *a)
{
	static const uint32_t valid[] = { FS_SET_MODE, FS_SET_UID | FS_SET_KILL_SUIDGID,
					  FS_SET_SIZE, FS_SET_MTIME, FS_SET_ATIME_NOW };
	struct fs_setattr req = { .valid = valid[roll(a, ARRAY_SIZE(valid))],
				  .mode = 04000 | (uint32_t)roll(a, 01000),
				  .uid = (uint32_t)roll(a, 3),
				  .size = roll(a, BODY),
				  .mtime = { (int64_t)roll(a, 1000), 0 } };
	struct fs_attr attr;

	req.nodeid = some_child(a, &attr);
	if (!req.nodeid)
		return "nothing";
	if (fs_setattr(a->f->fs, &a->f->ctx, &req, &attr))
		req.valid = 0;
	fs_forget(a->f->fs, a->f->session, req.nodeid, 1);
	return req.valid ? "setattr" : "failed setattr";
}

static const char *op_write(struct actor *a)
{
	static const uint32_t flags[] = { 0, FS_WRITE_APPEND, FS_WRITE_KILL_SUIDGID,
					  FS_WRITE_CACHE };
	char text[32];
	struct iovec iov = { text, sizeof(text) };
	struct fs_write req = { .iov = &iov,
				.iovcnt = 1,
				.off = roll(a, BODY),
				.len = 1 + roll(a, sizeof(text)),
				.flags = flags[roll(a, 4)] };
	struct fs_attr attr;

	req.nodeid = some_child(a, &attr);
	if (!req.nodeid)
		return "nothing";
	memset(text, 'a' + (int)roll(a, 26), sizeof(text));
	if (attr.size > BODY)
		req.flags = 0;
	if (fs_write(a->f->fs, &a->f->ctx, &req) < 0)
		req.len = 0;
	fs_forget(a->f->fs, a->f->session, req.nodeid, 1);
	return req.len ? "write" : "failed write";
}

static const char *op_range(struct actor *a)
{
	static const uint32_t modes[] = { 0, 1, 3, 0x10, 0x11 };
	uint32_t mode = modes[roll(a, ARRAY_SIZE(modes))];
	struct fs_attr attr;
	uint64_t id = some_child(a, &attr), other;

	if (!id)
		return "nothing";
	other = some_child(a, &attr);
	if (other && roll(a, 2)) {
		struct fs_copy c = { other, roll(a, BODY), id, roll(a, BODY / 2), roll(a, BODY) };

		mode = fs_copy_range(a->f->fs, &a->f->ctx, &c) < 0;
	} else if (fs_fallocate(a->f->fs, &a->f->ctx, id, mode, roll(a, BODY),
				1 + roll(a, BODY / 2))) {
		mode = 1;
	}
	fs_forget(a->f->fs, a->f->session, id, 1);
	if (other)
		fs_forget(a->f->fs, a->f->session, other, 1);
	return mode == 1 ? "failed range" : "fallocate or copy";
}

static const char *op_xattr(struct actor *a)
{
	static const uint8_t cap[20] = { 1, 0, 0, 2 };
	static const uint8_t acl[] = {
		2, 0, 0,   0,	1,   0,	  6,  0, 255, 255, 255, 255, 4,	  0,
		4, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255
	};
	struct fs_setxattr req = { .name = "user.x", .value = roll(a, 4) ? "value" : NULL };
	struct fs_fileattr fa = { .flags = EXT4_EXTENTS_FL | (roll(a, 2) ? EXT4_NODUMP_FL : 0) };
	struct fs_attr attr;
	bool failed;

	req.nodeid = some_child(a, &attr);
	if (!req.nodeid)
		return "nothing";
	req.len = req.value ? 1 + roll(a, 5) : 0;
	switch (roll(a, 4)) {
	case 0:
		req.name = "system.posix_acl_access";
		req.value = acl;
		req.len = sizeof(acl);
		break;
	case 1:
		req.name = "security.capability";
		req.value = cap;
		req.len = sizeof(cap);
		break;
	default: break;
	}
	if (roll(a, 5))
		failed = fs_setxattr(a->f->fs, &a->f->ctx, &req);
	else
		failed = fs_fileattr_set(a->f->fs, &a->f->ctx, req.nodeid, FS_FILEATTR_FLAGS, &fa);
	fs_forget(a->f->fs, a->f->session, req.nodeid, 1);
	return failed ? "failed xattr" : "setxattr or chattr";
}

/* Learn by asking, as a cache does that takes no fills, and what no event tells. */
static const char *op_learn(struct actor *a)
{
	struct fs_name name = some_name(a);
	uint64_t dir = some_dir(a);
	struct entry *e;
	struct node *n;
	struct fs_entry got;
	ssize_t len;

	CHECK_OK(fs_lookup(a->f->fs, &a->f->ctx, dir, name, &got));
	e = entry_of(dir, name.name, name.len);
	e->known = true;
	e->child = got.nodeid;
	if (!got.nodeid)
		return "nothing";
	n = node_of(got.nodeid);
	n->attr = got.attr;
	n->attr_known = true;
	if (S_ISREG(got.attr.mode)) {
		n->body_sum = body_sum(a->f, got.nodeid, &len);
		n->body_known = len >= 0;
	}
	n->xattr_sum = xattr_sum(a->f, got.nodeid);
	n->xattr_known = true;
	fs_forget(a->f->fs, a->f->session, got.nodeid, 1);
	return "nothing";
}

static int take_one(void *arg, const struct fs_dirent *d)
{
	struct actor *a = arg;

	if (roll(a, 10) == 0)
		return 1;
	if (d->entry)
		fs_forget(a->f->fs, a->f->session, d->entry->nodeid, 1);
	return 0;
}

static const char *op_list(struct actor *a)
{
	CHECK_OK(fs_readdir(a->f->fs, &a->f->ctx, some_dir(a), 0, roll(a, 2), take_one, a));
	return "nothing";
}

/* ---- the kernel's tables, read by the programs' own lines ---- */

struct table_check {
	struct inval_subscriber sub;
	struct tables *tables;
	struct kfs_answers answers;
};

static struct table_check table_check;

static void hear_tables(struct inval_subscriber *sub UNUSED, const struct inval_event *ev)
{
	tables_event(table_check.tables, ev);
}

static bool same_bpf_attr(const struct fuse_bpf_attr *had, const struct fs_attr *now)
{
	bool born = now->btime.s || now->btime.ns;

	return had->ino == now->ino && had->size == now->size && had->blocks == now->blocks &&
	       had->mode == now->mode && had->nlink == now->nlink && had->uid == now->uid &&
	       had->gid == now->gid && had->rdev == now->rdev && had->blksize == now->blksize &&
	       had->atime == (uint64_t)now->atime.s && had->atimensec == now->atime.ns &&
	       had->mtime == (uint64_t)now->mtime.s && had->mtimensec == now->mtime.ns &&
	       had->ctime == (uint64_t)now->ctime.s && had->ctimensec == now->ctime.ns &&
	       had->flags == (born ? FUSE_BPF_ATTR_BTIME : FUSE_BPF_ATTR_NO_BTIME) &&
	       had->btime_sec == now->btime.s && had->btime_nsec == now->btime.ns;
}

/* Tables first: asking the filesystem fills them. */
static void check_table_name(struct actor *a, uint64_t dir, const char *text, const char *after)
{
	struct answers_name name = { dir, text, (uint32_t)strlen(text) };
	struct fuse_bpf_entry entry;
	struct fuse_bpf_attr attr;
	struct fs_entry e;
	int ret = answers_lookup(a->tables, &table_check.answers, &name, &entry, &attr);
	int error = fs_lookup(a->f->fs, &a->f->ctx, dir, name_of(text), &e);

	if (error == -ENOENT || error == -ESTALE)
		e.nodeid = 0;
	else
		CHECK_OK(error);
	if (ret == FUSE_BPF_ANSWERED &&
	    (entry.nodeid != e.nodeid || (e.nodeid && !same_bpf_attr(&attr, &e.attr))))
		FAIL("after %s: the kernel would say that %s in ino %u is %lx, not %lx "
		     "(size %lu/%lu, nlink %u/%u)",
		     after, text, (uint32_t)dir, (unsigned long)entry.nodeid,
		     (unsigned long)e.nodeid, (unsigned long)attr.size, (unsigned long)e.attr.size,
		     attr.nlink, e.attr.nlink);
	if (e.nodeid)
		fs_forget(a->f->fs, a->f->session, e.nodeid, 1);
}

static void check_table_xattr(struct actor *a, uint64_t id, uint32_t kind, const char *name,
			      const char *after)
{
	if (answers_xattr(a->tables, &table_check.answers, id, kind) == FUSE_BPF_ANSWERED &&
	    fs_getxattr(a->f->fs, &a->f->ctx, id, name, NULL, 0) != -ENODATA)
		FAIL("after %s: the kernel would say that ino %u has no %s", after, (uint32_t)id,
		     name);
}

static void check_table_node(struct actor *a, uint64_t id, const char *after)
{
	struct fuse_bpf_attr had;
	struct fs_attr attr;
	int ret = answers_getattr(a->tables, &table_check.answers, id, &had);
	int error;

	check_table_xattr(a, id, FUSE_BPF_XATTR_CAPABILITY, "security.capability", after);
	check_table_xattr(a, id, FUSE_BPF_XATTR_ACL_ACCESS, "system.posix_acl_access", after);
	check_table_xattr(a, id, FUSE_BPF_XATTR_ACL_DEFAULT, "system.posix_acl_default", after);
	error = fs_getattr(a->f->fs, &a->f->ctx, id, &attr);
	if (ret == FUSE_BPF_ANSWERED && (error || !same_bpf_attr(&had, &attr)))
		FAIL("after %s: the kernel would see stale attributes of ino %u (%d): size %lu/%lu "
		     "nlink %u/%u mode %o/%o",
		     after, (uint32_t)id, error, (unsigned long)had.size, (unsigned long)attr.size,
		     had.nlink, attr.nlink, had.mode, attr.mode);
}

static void check_tables(struct actor *a, const char *after)
{
	static const char *const names[] = { "a", "bb", "ccc", "dddd", "eeeee", "f", "never" };
	static uint32_t asked;
	char fresh[16];

	for (uint32_t d = 0; d < DIRS; d++) {
		for (uint32_t k = 0; k < ARRAY_SIZE(names); k++)
			check_table_name(a, a->dirs[d], names[k], after);
		/* Nobody has asked for it: only a whole directory can tell. */
		(void)snprintf(fresh, sizeof(fresh), "u%u", asked++);
		check_table_name(a, a->dirs[d], fresh, after);
	}
	/* Of the nodes that were ever heard of, some: those without a name as well. */
	for (uint32_t k = 0; k < 20; k++) {
		struct node had = model.nodes[roll(a, NODES_MAX)];

		if (had.id)
			check_table_node(a, had.id, after);
	}
	for (uint32_t d = 0; d < DIRS; d++)
		check_table_node(a, a->dirs[d], after);
}

static void start_tables(struct fixture *f, struct actor *a, uint32_t entry_sets,
			 uint32_t attr_sets)
{
	table_check = (struct table_check){ .tables = answers_tables_new(entry_sets, attr_sets) };
	table_check.sub = (struct inval_subscriber){ .name = "tables",
						     .notify = hear_tables,
						     .kinds = TABLES_KINDS };
	inval_subscribe(f->bus, &table_check.sub);
	a->tables = table_check.tables;
}

static void stop_tables(struct fixture *f)
{
	inval_unsubscribe(f->bus, &table_check.sub);
	answers_tables_free(table_check.tables);
}

static void act(struct actor *a)
{
	static const char *(*const ops[])(struct actor *) = {
		op_create, op_create, op_create, op_tmpfile, op_link,	 op_remove,
		op_remove, op_rename, op_rename, op_rename,  op_setattr, op_write,
		op_write,  op_range,  op_xattr,	 op_list,
	};

	for (uint32_t i = 0; i < a->rounds; i++) {
		const char *did = ops[roll(a, ARRAY_SIZE(ops))](a);

		if (a->tables)
			check_tables(a, did);
		if (a->alone) {
			(void)check_all(a->f, did);
			(void)op_learn(a);
		}
	}
}

static void start(struct fixture *f, struct actor *a, uint32_t kinds)
{
	fixture_open(f, "-b 1024 -J size=4 24M");
	fixture_unmount(f);
	f->opts.atime = FS_ATIME_RELATIME; /* reading changes things, too */
	fixture_mount(f);
	mutex_init(&model.lock, LOCK_LEAF);
	model.sub = (struct inval_subscriber){ .name = "model", .notify = hear, .kinds = kinds };
	inval_subscribe(f->bus, &model.sub);
	a->f = f;
	a->dirs[0] = 1;
	a->dirs[1] = make_dir(f, "/one");
	a->dirs[2] = make_dir(f, "/two");
	a->dirs[3] = make_dir(f, "/two/three");
}

#define ALL_KINDS ((1u << INVAL_KINDS) - 1)
#define FILLS ((1u << INVAL_FILL_ENTRY) | (1u << INVAL_FILL_ATTR))

TEST(test_events__keep_a_cache_right)
{
	struct actor a = { .seed = test_random() | 1, .rounds = ROUNDS, .alone = true };
	struct fixture f;

	start(&f, &a, ALL_KINDS);
	act(&a);
	CHECK_GT(model.fills, ROUNDS);
	CHECK_GT(model.drops, ROUNDS / 2);
	CHECK_GT(check_all(&f, "all"), 20);
	inval_unsubscribe(f.bus, &model.sub);
	fixture_close(&f);
}

/* No fill may hide that an invalidation is missing. */
TEST(test_invalidations__keep_a_cache_right_without_fills)
{
	struct actor a = { .seed = test_random() | 1, .rounds = ROUNDS, .alone = true };
	struct fixture f;

	start(&f, &a, ALL_KINDS & ~FILLS);
	act(&a);
	CHECK_EQ(model.fills, 0);
	CHECK_GT(model.drops, ROUNDS / 2);
	CHECK_GT(check_all(&f, "all"), 20);
	inval_unsubscribe(f.bus, &model.sub);
	fixture_close(&f);
}

static void *act_thread(void *arg)
{
	act(arg);
	return NULL;
}

/* Several threads, cross-directory renames included: nobody hangs, and the cache is right in the end. */
TEST(test_events__keep_a_cache_right_among_threads)
{
	struct actor first = { .seed = 1 }, actors[4];
	pthread_t threads[4];
	struct fixture f;

	alarm(120); /* a deadlock ends the test */
	start(&f, &first, ALL_KINDS);
	for (uint32_t i = 0; i < 4; i++) {
		actors[i] = first;
		actors[i].seed = test_random() | 1;
		actors[i].rounds = ROUNDS;
		CHECK_OK(pthread_create(&threads[i], NULL, act_thread, &actors[i]));
	}
	for (uint32_t i = 0; i < 4; i++)
		CHECK_OK(pthread_join(threads[i], NULL));
	CHECK_GT(check_all(&f, "all threads"), 20);
	inval_unsubscribe(f.bus, &model.sub);
	fixture_close(&f);
}

/* Here the model only collects nodes. */
#define NODE_KINDS (1u << INVAL_ATTR | 1u << INVAL_FILL_ATTR)

/* The tables that the kernel answers from, ample and so small that something is always thrown out. */
static void check_run(uint32_t entry_sets, uint32_t attr_sets, uint32_t rounds)
{
	struct actor a = { .seed = test_random() | 1, .rounds = rounds };
	struct kfs_answers *n = &table_check.answers;
	struct fixture f;

	start(&f, &a, NODE_KINDS);
	start_tables(&f, &a, entry_sets, attr_sets);
	act(&a);
	printf("     answers: %lu names, %lu absent, %lu absent from a whole directory, %lu "
	       "attributes, %lu xattrs\n",
	       (unsigned long)n->lookup_hits, (unsigned long)n->lookup_negative,
	       (unsigned long)n->lookup_complete, (unsigned long)n->getattr_hits,
	       (unsigned long)n->xattr_absent);
	CHECK_GT(n->lookup_hits, rounds);
	CHECK_GT(n->lookup_negative, rounds);
	CHECK_GT(n->getattr_hits, rounds);
	CHECK_GT(n->xattr_absent, rounds / 10);
	if (entry_sets > 100)
		CHECK_GT(n->lookup_complete, rounds);
	else
		CHECK_GT(table_check.tables->stats->entry_evictions, rounds / 10);
	stop_tables(&f);
	inval_unsubscribe(f.bus, &model.sub);
	fixture_close(&f);
}

TEST(test_tables__say_what_the_filesystem_says)
{
	check_run(4096, 1024, ROUNDS / 2);
}

TEST(test_tables__too_small_say_less_and_nothing_else)
{
	check_run(5, 3, ROUNDS / 2);
}

TEST(test_tables__are_right_after_threads)
{
	struct actor first = { .seed = 1 }, actors[4];
	pthread_t threads[4];
	struct fixture f;

	alarm(120); /* a deadlock ends the test */
	start(&f, &first, NODE_KINDS);
	start_tables(&f, &first, 8, 512);
	for (uint32_t i = 0; i < 4; i++) {
		actors[i] = first;
		actors[i].tables = NULL;
		actors[i].seed = test_random() | 1;
		actors[i].rounds = ROUNDS;
		CHECK_OK(pthread_create(&threads[i], NULL, act_thread, &actors[i]));
	}
	for (uint32_t i = 0; i < 4; i++)
		CHECK_OK(pthread_join(threads[i], NULL));
	check_tables(&first, "all threads");
	check_tables(&first, "asking");
	stop_tables(&f);
	inval_unsubscribe(f.bus, &model.sub);
	fixture_close(&f);
}
