// SPDX-License-Identifier: GPL-2.0-only
/* See rig.h. */
#include "tests/fuzz/rig.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "daemon/inval/inval.h"
#include "daemon/store/group.h"
#include "tests/fuzz/fuzz.h"

/* Entries of one listing: more than the largest base has twice over; and of what one may have at all. */
#define LIST_TAKEN_MAX 1500

/* ---- opening and closing -------------------------------------------------- */

struct store_opts rig_store_opts(void)
{
	uint8_t flags = scene_flags();

	return (struct store_opts){
		.readonly = flags & (SCENE_READONLY | SCENE_NORECOVERY),
		.norecovery = flags & SCENE_NORECOVERY,
		.discard = flags & SCENE_SHARED,
		.errors = flags & SCENE_ERRORS_RO ? ERRORS_REMOUNT_RO : ERRORS_CONTINUE,
		.commit_interval_ms = 600000,
		.cache_mb = 1,
		.bufs_max = flags & SCENE_TINY_CACHE ? 8 : 256,
		.inodes_cached_max = 64,
	};
}

int rig_open(struct rig *r, struct scene *sc)
{
	struct store_opts opts = rig_store_opts();
	struct fs_opts fs_opts = { .atime = FS_ATIME_RELATIME, .posix_acl = true };
	struct fs_session_opts session = { .name = "fuzz", .shared = scene_flags() & SCENE_SHARED };
	struct store_open_error err = { .what = "" };
	struct store *store;
	uint32_t cleaned;
	int error = store_open(scene_bdev(sc, opts.readonly), &opts, &store, &err);

	FUZZ_CHECK(!error || err.what[0]);
	if (error)
		return error;
	if (!opts.readonly)
		error = store_orphan_cleanup(store, &cleaned);
	if (error) {
		store_destroy(store);
		return error;
	}
	memset(r, 0, offsetof(struct rig, buf));
	r->sc = sc;
	FUZZ_CHECK(inval_new(&r->bus) == 0);
	FUZZ_CHECK(fs_open_store(store, r->bus, &fs_opts, &r->fs) == 0);
	FUZZ_CHECK(fs_session_open(r->fs, &session, &r->session) == 0);
	r->ctx.session = r->session;
	return 0;
}

/*
 * Data written here begins so; no metadata ever does. A fuzzer that learnt it from a comparison would write it into what it
 * damages: it is kept masked, and compared as a whole.
 */
#define MARK_SIZE 16u
#define MARK_MASK 0x5au
static const uint8_t mark_masked[MARK_SIZE] = {
	0x3b, 0x5f, 0xf7, 0x61, 0x21, 0x32, 0xb5, 0x0c,
	0x16, 0x24, 0x40, 0xd0, 0x82, 0x36, 0x67, 0xa5,
};

static void mark_put(uint8_t *at)
{
	for (uint32_t k = 0; k < MARK_SIZE; k++)
		at[k] = mark_masked[k] ^ MARK_MASK;
}

static bool is_marked(const uint8_t *at)
{
	uint8_t differs = 0;

	for (uint32_t k = 0; k < MARK_SIZE; k++)
		differs |= (uint8_t)(at[k] ^ mark_masked[k] ^ MARK_MASK);
	return !differs;
}

static void note_metadata(struct rig *r, uint64_t pblk, uint64_t count)
{
	if (r->range_count < RIG_RANGES_MAX)
		r->ranges[r->range_count++] = (struct rig_range){ pblk, count };
}

/* Bitmaps, tables and log are where the opened filesystem says, not where the base had them. */
static void note_all_metadata(struct rig *r)
{
	const struct store *s = fs_store(r->fs);

	note_metadata(r, s->sb_buf->pblk, 1);
	for (uint32_t g = 0; g < s->group_count; g++) {
		note_metadata(r, s->groups[g].block_bitmap, 1);
		note_metadata(r, s->groups[g].inode_bitmap, 1);
		note_metadata(r, s->groups[g].inode_table, s->itable_blocks);
	}
	for (uint32_t i = 0; i < s->journal_run_count; i++)
		note_metadata(r, s->journal_runs[i].pblk, s->journal_runs[i].count);
	r->noted_block_size = s->block_size;
}

/* Only when no thread of the filesystem is left: the commit thread writes there. */
static void check_metadata(const struct rig *r)
{
	const struct scene *sc = r->sc;
	uint32_t bs = r->noted_block_size;

	for (uint32_t i = 0; i < r->range_count; i++) {
		uint64_t pblk = r->ranges[i].pblk, count = r->ranges[i].count;

		for (; count && (pblk + 1) * bs <= sc->size; pblk++, count--)
			FUZZ_CHECK(!is_marked(sc->bytes + pblk * bs));
	}
}

void rig_close(struct rig *r, bool crash)
{
	for (uint32_t i = 0; i < r->node_count; i++)
		fs_forget(r->fs, r->session, r->nodes[i], 1);
	note_all_metadata(r);
	if (crash) {
		fs_destroy(r->fs);
	} else {
		fs_session_close(r->session);
		(void)fs_close(r->fs); /* what a broken image makes of it is its business */
	}
	inval_free(r->bus);
	check_metadata(r);
}

/* ---- looking -------------------------------------------------------------- */

struct listing {
	struct rig *r;
	uint64_t cookie;
	uint32_t taken, limit;
	bool dots;
};

static void keep_name(struct rig *r, struct fs_name n)
{
	struct rig_name *name;

	FUZZ_CHECK(n.len >= 1 && n.len <= 255);
	FUZZ_CHECK(!memchr(n.name, 0, n.len));
	if (r->name_count == RIG_NAMES_MAX)
		return;
	name = &r->names[r->name_count++];
	name->len = (uint8_t)n.len;
	memcpy(name->text, n.name, n.len);
}

static int on_entry(void *arg, const struct fs_dirent *d)
{
	struct listing *l = arg;

	if (l->taken >= l->limit)
		return 1;
	l->taken++;
	FUZZ_CHECK(d->cookie != 0);
	l->cookie = d->cookie;
	keep_name(l->r, d->name);
	if (d->entry && l->r->node_count < RIG_NODES_MAX) {
		l->r->nodes[l->r->node_count] = d->entry->nodeid;
		l->r->node_modes[l->r->node_count++] = d->entry->attr.mode;
	} else if (d->entry) {
		fs_forget(l->r->fs, l->r->session, d->entry->nodeid, 1);
	}
	return 0;
}

/* In pieces, as a kernel does. A directory cannot hold more entries than its blocks have room for. */
static void list(struct rig *r, uint64_t nodeid, const struct fs_attr *attr, bool plus)
{
	/* The size of a directory inside its inode says nothing about its room. */
	uint64_t total = 0, room = MAX(attr->size, (uint64_t)r->sc->block_size) / 12 + 2;
	struct listing l = { .r = r };

	do {
		uint64_t from = l.cookie;

		l.taken = 0;
		l.limit = 100;
		if (fs_readdir(r->fs, &r->ctx, nodeid, from, plus, on_entry, &l))
			break;
		FUZZ_CHECK(!l.taken || l.cookie != from);
		total += l.taken;
		FUZZ_CHECK(total <= room);
	} while (l.taken && total < LIST_TAKEN_MAX);
}

static void look_xattrs(struct rig *r, uint64_t nodeid)
{
	char *names = (char *)r->buf;
	ssize_t len = fs_listxattr(r->fs, &r->ctx, nodeid, names, 8192), got;

	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		FUZZ_CHECK(memchr(names + at, 0, (size_t)(len - at)));
		got = fs_getxattr(r->fs, &r->ctx, nodeid, names + at, r->buf + 8192,
				  RIG_BUF_SIZE - 8192);
		FUZZ_CHECK(got <= RIG_BUF_SIZE - 8192);
	}
}

static void look_contents(struct rig *r, uint64_t nodeid, const struct fs_attr *attr)
{
	struct iovec iov = { .iov_base = r->buf, .iov_len = RIG_BUF_SIZE };
	uint64_t off = 0, block;
	ssize_t got;

	got = fs_read(r->fs, &r->ctx, nodeid, &iov, 1, 0, RIG_BUF_SIZE);
	FUZZ_CHECK(got <= RIG_BUF_SIZE);
	if (attr->size > RIG_BUF_SIZE) {
		got = fs_read(r->fs, &r->ctx, nodeid, &iov, 1, attr->size - 4096, 8192);
		FUZZ_CHECK(got <= 4096);
	}
	for (uint32_t i = 0; i < 8; i++) {
		if (fs_lseek(r->fs, &r->ctx, nodeid, off, i & 1, &off))
			break;
	}
	for (uint32_t i = 0; i < 20; i += 3)
		(void)!fs_bmap(r->fs, &r->ctx, nodeid, i * i, 1024, &block);
}

static void look(struct rig *r, uint64_t nodeid)
{
	struct fs_fileattr flags;
	struct fs_attr attr;
	uint32_t len;

	if (fs_getattr(r->fs, &r->ctx, nodeid, &attr))
		return;
	(void)!fs_fileattr_get(r->fs, &r->ctx, nodeid, &flags);
	look_xattrs(r, nodeid);
	switch (attr.mode & S_IFMT) {
	case S_IFDIR: list(r, nodeid, &attr, true); break;
	case S_IFREG: look_contents(r, nodeid, &attr); break;
	case S_IFLNK:
		if (!fs_readlink(r->fs, &r->ctx, nodeid, (char *)r->buf, PATH_MAX, &len))
			FUZZ_CHECK(len >= 1 && len <= PATH_MAX);
		break;
	default: break;
	}
}

void rig_walk(struct rig *r)
{
	struct fs_statfs st;
	struct fs_entry e;

	(void)!fs_statfs(r->fs, &st);
	if (fs_lookup_self(r->fs, &r->ctx, 1, &e))
		return;
	r->nodes[0] = e.nodeid;
	r->node_modes[0] = e.attr.mode;
	r->node_count = 1;
	for (uint32_t i = 0; i < r->node_count; i++)
		look(r, r->nodes[i]);
}

/* ---- operations ----------------------------------------------------------- */

static uint64_t draw_node(struct rig *r, struct input *in)
{
	uint8_t n = in_u8(in);

	return r->node_count ? r->nodes[n % r->node_count] : 1;
}

static uint64_t draw_dir(struct rig *r, struct input *in)
{
	uint8_t n = in_u8(in);

	for (uint32_t i = 0; i < r->node_count; i++) {
		uint32_t at = (n + i) % r->node_count;

		if (S_ISDIR(r->node_modes[at]))
			return r->nodes[at];
	}
	return 1;
}

/* A name that was seen, or a new one: short ones collide, long ones fill blocks. */
static struct fs_name draw_name(struct rig *r, struct input *in)
{
	static char text[2][256];
	static uint32_t turn;
	uint8_t n = in_u8(in);
	uint32_t len;

	if (n < 160 && r->name_count) {
		struct rig_name *seen = &r->names[n % r->name_count];

		return (struct fs_name){ .name = seen->text, .len = seen->len };
	}
	turn = !turn;
	len = n & 1 ? 200 : 3;
	memset(text[turn], 'x', len);
	(void)snprintf(text[turn], sizeof(text[0]), "%02x", n);
	text[turn][2] = 'y';
	return (struct fs_name){ .name = text[turn], .len = len };
}

static uint64_t draw_offset(struct input *in)
{
	uint32_t n = in_u16(in);

	switch (n >> 13) {
	case 0:
	case 1:
	case 2: return n & 0x1fff;
	case 3:
	case 4:
	case 5: return (uint64_t)(n & 0x1fff) * 64;
	case 6: return (uint64_t)(n & 0x1fff) << 20;
	default: return (uint64_t)(n & 0x1fff) << 32;
	}
}

static void take(struct rig *r, const struct fs_entry *e)
{
	if (!e->nodeid)
		return;
	if (r->node_count < RIG_NODES_MAX) {
		r->nodes[r->node_count] = e->nodeid;
		r->node_modes[r->node_count++] = e->attr.mode;
	} else {
		fs_forget(r->fs, r->session, e->nodeid, 1);
	}
}

static void do_create(struct rig *r, struct input *in)
{
	static const uint32_t types[] = { S_IFREG, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR };
	struct fs_create req = { .dir = draw_dir(r, in), .name = draw_name(r, in) };
	uint8_t n = in_u8(in);
	struct fs_entry e;

	memset(r->buf, 't', 4096);
	req.mode = types[n % 6] | 0644;
	req.excl = n & 0x80;
	req.target = (char *)r->buf;
	req.target_len = n & 0x40 ? 500 : 20;
	req.rdev = n;
	if (!fs_create(r->fs, &r->ctx, &req, &e))
		take(r, &e);
}

static void do_write(struct rig *r, struct input *in)
{
	struct iovec iov = { .iov_base = r->buf };
	struct fs_write req = { .nodeid = draw_node(r, in), .iov = &iov, .iovcnt = 1 };
	uint32_t n;

	req.off = draw_offset(in);
	n = in_u16(in);
	req.len = n & 0x8000 ? n : n & 0x3ff;
	req.flags = in_u8(in) & (FS_WRITE_APPEND | FS_WRITE_DSYNC | FS_WRITE_KILL_SUIDGID);
	iov.iov_len = req.len;
	for (uint32_t at = 0; at + MARK_SIZE <= req.len; at += MARK_SIZE)
		mark_put(r->buf + at);
	FUZZ_CHECK(fs_write(r->fs, &r->ctx, &req) <= (ssize_t)req.len);
}

static void do_setattr(struct rig *r, struct input *in)
{
	struct fs_setattr req = { .nodeid = draw_node(r, in) };
	struct fs_attr attr;

	req.valid = in_u16(in) & 0x3ff;
	req.size = draw_offset(in);
	req.mode = in_u16(in);
	req.uid = in_u8(in);
	req.mtime.s = (int64_t)(int32_t)in_u32(in);
	(void)!fs_setattr(r->fs, &r->ctx, &req, &attr);
}

static void do_rename(struct rig *r, struct input *in)
{
	struct fs_rename req = { .dir = draw_dir(r, in), .name = draw_name(r, in) };

	req.newdir = draw_dir(r, in);
	req.newname = draw_name(r, in);
	req.flags = in_u8(in) & 7;
	(void)!fs_rename(r->fs, &r->ctx, &req);
}

static const char *const xattr_names[] = { "user.short",
					   "user.value",
					   "user.large",
					   "trusted.t",
					   "security.selinux",
					   "system.posix_acl_access",
					   "system.posix_acl_default",
					   "user.new" };

static void do_setxattr(struct rig *r, struct input *in)
{
	struct fs_setxattr req = { .nodeid = draw_node(r, in) };
	uint8_t n = in_u8(in);

	req.name = xattr_names[n % 8];
	req.len = n & 0x40 ? 3000 : n >> 3;
	req.value = n & 0x80 ? NULL : r->buf;
	req.flags = in_u8(in) & 3;
	memset(r->buf, n, req.len);
	/* An ACL of the usual three. */
	if (n % 8 == 5 || n % 8 == 6) {
		static const uint8_t acl[] = { 2,    0,	   0, 0, 1,    0,    6,	   0,	 0xff, 0xff,
					       0xff, 0xff, 4, 0, 4,    0,    0xff, 0xff, 0xff, 0xff,
					       0x20, 0,	   4, 0, 0xff, 0xff, 0xff, 0xff };

		memcpy(r->buf, acl, sizeof(acl));
		req.len = sizeof(acl);
	}
	(void)!fs_setxattr(r->fs, &r->ctx, &req);
}

static void do_fallocate(struct rig *r, struct input *in)
{
	static const uint32_t modes[] = { 0,
					  FALLOC_FL_KEEP_SIZE,
					  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					  FALLOC_FL_ZERO_RANGE,
					  FALLOC_FL_COLLAPSE_RANGE,
					  FALLOC_FL_INSERT_RANGE };
	uint64_t nodeid = draw_node(r, in);
	uint32_t mode = modes[in_u8(in) % 6];
	uint64_t off = draw_offset(in), len = draw_offset(in);

	if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) {
		off &= ~4095ull;
		len = (len & ~4095ull) | 4096;
	}
	(void)!fs_fallocate(r->fs, &r->ctx, nodeid, mode, off, len);
}

static void do_names(struct rig *r, struct input *in, uint8_t which)
{
	uint64_t dir = draw_dir(r, in), nodeid;
	struct fs_name name = draw_name(r, in);
	struct fs_entry e;

	switch (which) {
	case 0: (void)!fs_unlink(r->fs, &r->ctx, dir, name); break;
	case 1: (void)!fs_rmdir(r->fs, &r->ctx, dir, name); break;
	case 2:
		if (!fs_lookup(r->fs, &r->ctx, dir, name, &e))
			take(r, &e);
		break;
	case 3:
		nodeid = draw_node(r, in);
		if (!fs_link(r->fs, &r->ctx, nodeid, dir, name, &e))
			take(r, &e);
		break;
	default:
		if (!fs_tmpfile(r->fs, &r->ctx, dir, S_IFREG | 0600, &e))
			take(r, &e);
	}
}

static void do_rest(struct rig *r, struct input *in, uint8_t which)
{
	struct fs_copy copy = { .nodeid_in = draw_node(r, in) };
	struct fs_fileattr flags = { 0 };
	struct fs_entry e;
	uint64_t trimmed;

	switch (which) {
	case 0:
		copy.nodeid_out = draw_node(r, in);
		copy.off_in = draw_offset(in);
		copy.off_out = draw_offset(in);
		copy.len = in_u16(in);
		(void)!fs_copy_range(r->fs, &r->ctx, &copy);
		break;
	case 1: (void)!fs_fsync(r->fs, &r->ctx, copy.nodeid_in, in_u8(in) & 1); break;
	case 2:
		flags.flags = in_u32(in);
		flags.projid = in_u8(in);
		(void)!fs_fileattr_set(r->fs, &r->ctx, copy.nodeid_in, in_u8(in) & 3, &flags);
		break;
	case 3: (void)!fs_trim(r->fs, 0, UINT64_MAX, 0, &trimmed); break;
	case 4:
		if (!fs_lookup_parent(r->fs, &r->ctx, copy.nodeid_in, &e))
			take(r, &e);
		break;
	case 5: look(r, copy.nodeid_in); break;
	default: (void)!fs_syncfs(r->fs); break;
	}
}

void rig_operate(struct rig *r, struct input *in, uint32_t max)
{
	for (uint32_t i = 0; i < max && in->left; i++) {
		uint8_t op = in_u8(in) % 18;

		switch (op) {
		case 0: do_create(r, in); break;
		case 1: do_write(r, in); break;
		case 2: do_setattr(r, in); break;
		case 3: do_rename(r, in); break;
		case 4: do_setxattr(r, in); break;
		case 5: do_fallocate(r, in); break;
		default:
			if (op < 11)
				do_names(r, in, op - 6);
			else
				do_rest(r, in, op - 11);
		}
	}
}
