/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Listing directories.
 *
 * Names are collected in batches under the directory's lock (copied, and with plus
 * their inodes referenced, which fixes what each name meant), then handed out with no
 * lock held: the receiver's memory may be a guest's, and a child's lock must not be
 * waited for below its directory's. An entry whose inode cannot be read or has died
 * meanwhile is listed without attributes.
 */
#include "daemon/fs/fs_priv.h"

#include <dirent.h>
#include <string.h>

#define BATCH_ENTRIES 64
#define BATCH_NAME_BYTES 8192

struct batch_entry {
	uint64_t cookie;
	struct inode *child; /* a reference, or NULL */
	uint32_t ino;
	uint16_t name_at;
	uint8_t name_len, ftype;
};

struct batch {
	uint32_t count, bytes;
	bool full;
	bool unread; /* a child could not be had */
	struct batch_entry e[BATCH_ENTRIES];
	char names[BATCH_NAME_BYTES];
};

static int batch_collect(void *arg, const struct dir_entry *e)
{
	struct batch *b = arg;

	if (b->count == BATCH_ENTRIES || b->bytes + e->len > BATCH_NAME_BYTES) {
		b->full = true;
		return 1;
	}
	b->e[b->count++] = (struct batch_entry){ .cookie = e->cookie,
						 .ino = e->ino,
						 .name_at = (uint16_t)b->bytes,
						 .name_len = (uint8_t)e->len,
						 .ftype = e->ftype };
	memcpy(b->names + b->bytes, e->name, e->len);
	b->bytes += e->len;
	return 0;
}

static struct fs_name entry_name(const struct batch *b, const struct batch_entry *e)
{
	return (struct fs_name){ .name = b->names + e->name_at, .len = e->name_len };
}

static bool is_dots(struct fs_name name)
{
	return name_is_dot(name) || name_is_dotdot(name);
}

/* Caller holds @dir's lock. */
static void batch_get_children(struct fs *fs, const struct fs_ctx *ctx, struct inode *dir,
			       struct batch *b)
{
	for (uint32_t k = 0; k < b->count; k++) {
		struct fs_name name = entry_name(b, &b->e[k]);

		if (is_dots(name))
			continue;
		if (child_get(dir, b->e[k].ino, &b->e[k].child)) {
			b->e[k].child = NULL; /* reported; the listing goes on */
			b->unread = true;
		} else {
			publish_name(fs, ctx, INVAL_FILL_ENTRY, dir, name, b->e[k].child);
		}
	}
}

/* With their inodes, and announced as a part of the whole. @error: of reading the names. */
static void batch_complete(struct fs *fs, const struct fs_ctx *ctx, struct inode *dir,
			   uint64_t cookie, struct batch *b, int error)
{
	struct list_part part = { .from = cookie, .to = cookie, .last = !b->full };

	publish_list(fs, ctx, dir, &part);
	batch_get_children(fs, ctx, dir, b);
	if (error || b->unread)
		return;
	if (b->count)
		part.to = b->e[b->count - 1].cookie;
	part.ended = true;
	publish_list(fs, ctx, dir, &part);
}

/* The next names after @cookie; a partial batch counts even if an error ended it. */
static int batch_fill(struct fs *fs, const struct fs_ctx *ctx, struct inode *dir, uint64_t cookie,
		      bool plus, struct batch *b)
{
	int error;

	b->count = b->bytes = 0;
	b->full = b->unread = false;
	rwlock_read(&dir->lock);
	error = inode_alive(dir);
	if (!error && !inode_is_dir(dir))
		error = -ENOTDIR;
	if (!error && !dir->links)
		error = -ENOENT;
	if (!error && (dir->flags & EXT4_ENCRYPT_FL))
		error = -ENOKEY;
	if (!error)
		error = dir_iterate(dir, cookie, batch_collect, b);
	if (error > 0)
		error = 0;
	if (plus)
		batch_complete(fs, ctx, dir, cookie, b, error);
	rwlock_unread(&dir->lock);
	return b->count ? 0 : error;
}

/* Attributes and a count for @e, if its inode still has a name. */
static bool entry_attributes(struct fs *fs, const struct fs_ctx *ctx, struct inode *child,
			     struct fs_entry *ret_entry)
{
	int error;

	rwlock_read(&child->lock);
	error = inode_alive(child);
	if (!error && !child->links)
		error = -ESTALE;
	if (!error)
		error = entry_fill(fs, ctx, child, ret_entry);
	rwlock_unread(&child->lock);
	return !error;
}

struct listing {
	struct fs *fs;
	const struct fs_ctx *ctx;
	fs_emit_fn emit;
	void *arg;
	uint32_t dir_ino;
	bool is_root;
};

/* > 0: not taken. */
static int entry_emit(const struct listing *l, const struct batch *b, const struct batch_entry *e)
{
	struct fs_entry entry = { .nodeid = 0 };
	struct fs_dirent d = { .name = entry_name(b, e),
			       .ino = e->ino,
			       .cookie = e->cookie,
			       .dtype = ftype_to_dtype(e->ftype) };
	int stop;

	/* What lies above a session's root is none of its business. */
	if (l->is_root && name_is_dotdot(d.name))
		d.ino = l->dir_ino;
	if (e->child && entry_attributes(l->fs, l->ctx, e->child, &entry)) {
		d.entry = &entry;
		d.dtype = IFTODT(entry.attr.mode);
	}
	stop = l->emit(l->arg, &d);
	if (stop && entry.nodeid)
		nodes_unraise(l->fs, l->ctx->session, entry.nodeid);
	return stop;
}

static int batch_emit(const struct listing *l, struct batch *b)
{
	int stop = 0;

	for (uint32_t k = 0; k < b->count; k++) {
		if (!stop)
			stop = entry_emit(l, b, &b->e[k]);
		if (b->e[k].child)
			inode_put(b->e[k].child);
	}
	return stop;
}

int fs_readdir(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t cookie, bool plus,
	       fs_emit_fn emit, void *arg)
{
	struct listing l = { .fs = fs, .ctx = ctx, .emit = emit, .arg = arg };
	struct inode *dir;
	struct batch b;
	bool any = false;
	int error;

	error = node_get(fs, ctx, nodeid, &dir);
	if (error)
		return error;
	l.dir_ino = dir->ino;
	l.is_root = session_is_root(ctx->session, dir);
	for (;;) {
		error = batch_fill(fs, ctx, dir, cookie, plus, &b);
		if (error || !b.count)
			break;
		cookie = b.e[b.count - 1].cookie;
		any = true;
		if (batch_emit(&l, &b) || !b.full)
			break;
	}
	if (!error && any)
		atime_touch(fs, ctx, dir);
	inode_put(dir);
	/* What was listed stands; the error comes with the next call. */
	return any ? 0 : error;
}
