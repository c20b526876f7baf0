/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * New inodes: files, directories, devices, symbolic links, unnamed files.
 *
 * The new inode is finished before its name is added, all in one handle. When a step
 * fails, the inode goes to the orphan list in the same handle and is deleted after it:
 * a handle cannot be undone, and a number must not leak.
 */
#include "daemon/fs/fs_priv.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/check.h"
#include "daemon/store/alloc.h"
#include "daemon/store/xattr.h"

/* What the new inode gets, decided before the handle is opened. */
struct blueprint {
	const struct fs_create *req;
	struct acl *access, *defaults;
	struct inode_init init;
	uint32_t credits;
};

static bool caller_in_group(const struct fs_ctx *ctx, uint32_t gid)
{
	return ctx->uid == 0 || ctx->gid == gid || (ctx->has_supp_gid && ctx->supp_gid == gid);
}

static uint32_t acl_credits(const struct store *s, const struct acl *acl)
{
	return acl ? xattr_credits(s, 4 + 8 * (size_t)acl->count) : 0;
}

/* Owner, mode and ACLs as the parent directory hands them down. Caller holds @dir's lock. */
static int blueprint_init(struct fs *fs, const struct fs_ctx *ctx, struct inode *dir,
			  struct blueprint *bp)
{
	uint16_t mode = (uint16_t)bp->req->mode;
	struct now now = inode_now(dir);
	uint32_t gid = ctx->gid;
	int error;

	if (dir->mode & S_ISGID) {
		gid = dir->gid;
		if (S_ISDIR(mode))
			mode |= S_ISGID;
		else if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
			 !caller_in_group(ctx, gid))
			mode &= (uint16_t)~S_ISGID;
	}
	if (S_ISLNK(mode)) {
		mode = S_IFLNK | 0777;
	} else if (fs->opts.posix_acl) {
		error = acl_inherit(dir, &mode, ctx->umask, &bp->access, &bp->defaults);
		if (error)
			return error;
	} else {
		mode &= (uint16_t) ~(ctx->umask & 0777);
	}
	bp->init = (struct inode_init){
		.mode = mode,
		.uid = ctx->uid,
		.gid = gid,
		.projid = dir->flags & EXT4_PROJINHERIT_FL ? dir->projid : 0,
		.rdev = S_ISCHR(mode) || S_ISBLK(mode) ? bp->req->rdev : 0,
		.flags_inherit = dir->flags,
		.now_s = now.s,
		.now_ns = now.ns,
	};
	/* Inode; name and directory; contents of a directory or symlink; ACLs; the undo. */
	bp->credits = CREDITS_NEW_INODE + CREDITS_DIR_ADD + CREDITS_INODE + CREDITS_MAP + 1 +
		      acl_credits(fs->store, bp->access) + acl_credits(fs->store, bp->defaults) +
		      CREDITS_ORPHAN;
	/*
	 * The sum of all worst cases, two ACLs in inodes of their own among them, is more than the
	 * smallest journals give one handle. They cannot all happen to one inode.
	 */
	bp->credits = MIN(bp->credits, journal_credits_max(fs->store->journal));
	return 0;
}

static void blueprint_fini(struct blueprint *bp)
{
	free(bp->access);
	free(bp->defaults);
}

/* Contents and attributes of @i, which inode_create() has just made. */
static int furnish(struct handle *h, const struct blueprint *bp, struct inode *dir, struct inode *i)
{
	int error = 0;

	/* Fresh: nobody can have given it a capability. */
	if (!bp->access && !bp->defaults)
		atomic_fetch_or(&i->state, INODE_NOCAP);
	if (inode_is_dir(i))
		error = dir_init(h, i, dir->ino);
	else if (inode_is_symlink(i))
		error = symlink_write(h, i, bp->req->target, bp->req->target_len);
	if (!error && bp->access)
		error = acl_set(h, i, false, bp->access);
	if (!error && bp->defaults)
		error = acl_set(h, i, true, bp->defaults);
	return error;
}

void create_orphan(struct handle *h, struct inode *i)
{
	int error;

	i->links = 0;
	error = orphan_add(h, i);
	if (!error)
		error = inode_write(h, i);
	/* Then the handle fails too: an unreachable number is a lesser harm than a reachable wreck. */
	if (error)
		journal_fail(h, error);
}

void create_discard(struct fs *fs, struct inode *i)
{
	if (atomic_load(&fs->store->readonly))
		node_put_write(i);
	else
		inode_delete_or_retry(fs, i);
}

static int name_inode(struct handle *h, struct inode *dir, struct fs_name name, struct inode *i)
{
	struct dir_name dname = { .name = name.name, .len = name.len };
	int error;

	i->links = inode_is_dir(i) ? 2 : 1;
	/* Nothing may fail after the name was added. */
	error = inode_write_prepare(h, dir);
	if (!error)
		error = inode_write_data(h, i);
	if (!error)
		error = dir_add(h, dir, &dname, i->ino, ftype_from_mode(i->mode));
	if (error)
		return error;
	if (inode_is_dir(i)) {
		dir_links_inc(dir);
		i->links_parent = dir->ino;
	}
	inode_stamp(dir, STAMP_MTIME | STAMP_CTIME);
	error = inode_write_data(h, dir);
	if (error)
		journal_fail(h, error); /* its inode is about to go */
	return error;
}

/* For fs_tmpfile(): no name, on the orphan list until it gets one or is forgotten. */
static int orphan_unnamed(struct fs *fs, struct handle *h, struct inode *i)
{
	int error = orphan_add(h, i);

	if (!error)
		error = inode_write_data(h, i);
	if (error)
		return error;
	inode_mark_unlinked(fs, i);
	atomic_fetch_or(&i->state, INODE_LINKABLE);
	return 0;
}

/* Gives up the new inode that could not be finished, and the handle. */
static void unmake_inode(struct fs *fs, struct handle *h, struct inode *i)
{
	create_orphan(h, i);
	(void)journal_stop(h); /* the first error is the one to tell */
	create_discard(fs, i);
}

/* A new inode in a handle of its own, counted in the session; named in @dir if @named. Returned locked. */
static int make_inode(struct fs *fs, const struct fs_ctx *ctx, struct inode *dir,
		      const struct blueprint *bp, struct inode **ret_inode)
{
	bool named = bp->req->name.len > 0, counted = false;
	uint64_t id = 0;
	struct inode *i;
	struct handle h;
	int error;

	error = journal_start(fs->store->journal, bp->credits, &h);
	if (error)
		return error;
	error = inode_create(&h, dir, &bp->init, &i);
	if (error) {
		(void)journal_stop(&h); /* the first error is the one to tell */
		return error;
	}
	error = furnish(&h, bp, dir, i);
	if (!error) {
		error = nodes_raise(ctx->session, i);
		counted = !error;
		id = inode_nodeid(i);
	}
	if (!error) {
		inode_bump(dir);
		error = named ? name_inode(&h, dir, bp->req->name, i) : orphan_unnamed(fs, &h, i);
	}
	if (error) {
		unmake_inode(fs, &h, i);
		if (counted)
			nodes_unraise(fs, ctx->session, id);
		return error;
	}
	*ret_inode = i;
	return journal_stop(&h);
}

static void publish_created(struct fs *fs, const struct fs_ctx *ctx, struct inode *dir,
			    struct fs_name name, const struct inode *i)
{
	struct list_part none = { .to = UINT64_MAX, .last = true };

	publish_name(fs, ctx, INVAL_ENTRY, dir, name, i);
	publish_changed(fs, ctx, dir);
	publish_name(fs, ctx, INVAL_FILL_ENTRY, dir, name, i);
	if (!inode_is_dir(i))
		return;
	/* It has no names, and that is all of them. */
	publish_list(fs, ctx, i, &none);
	none.ended = true;
	publish_list(fs, ctx, i, &none);
}

/* The reply of a creation that is counted already. */
static void answer_created(struct fs *fs, const struct fs_ctx *ctx, const struct inode *i,
			   struct fs_entry *ret_entry)
{
	struct inval_event ev = { .kind = INVAL_FILL_ATTR, .nodeid = inode_nodeid(i) };

	ret_entry->nodeid = session_nodeid(ctx->session, i);
	ret_entry->generation = i->generation;
	attr_fill(i, &ret_entry->attr);
	ev.version = ret_entry->attr.version;
	ev.attr = &ret_entry->attr;
	ev.origin = ctx_origin(ctx);
	inval_publish(fs->bus, &ev);
}

/* May a name be added to @dir? Caller holds its lock exclusively. */
static int dir_writable(const struct inode *dir, bool adds_dir)
{
	if (!dir->links)
		return -ENOENT;
	if (dir->flags & EXT4_IMMUTABLE_FL)
		return -EPERM;
	if (dir->flags & EXT4_ENCRYPT_FL)
		return -ENOKEY;
	if (adds_dir && dir_links_full(dir))
		return -EMLINK;
	return 0;
}

int dir_check_add(struct inode *dir, struct fs_name name, bool adds_dir)
{
	struct dir_name dname = { .name = name.name, .len = name.len };
	uint8_t ftype;
	uint32_t ino;
	int error;

	if (!dir->links)
		return -ENOENT;
	error = dir_lookup(dir, &dname, &ino, &ftype);
	if (!error)
		return -EEXIST;
	return error == -ENOENT ? dir_writable(dir, adds_dir) : error;
}

static int request_check(const struct fs *fs, const struct fs_create *req)
{
	int error = name_check(req->name);

	if (error)
		return error;
	if (name_is_dot(req->name) || name_is_dotdot(req->name))
		return -EEXIST;
	switch (req->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK: return 0;
	case S_IFLNK:
		if (!req->target || !req->target_len)
			return -ENOENT;
		/* A symlink has one block at most, and room for a NUL in it. */
		if (req->target_len >= fs->store->block_size || req->target_len >= PATH_MAX)
			return -ENAMETOOLONG;
		return memchr(req->target, '\0', req->target_len) ? -EINVAL : 0;
	default: return -EINVAL;
	}
}

/* Not exclusive and the name is there: what an open without O_EXCL finds. Gives up @dir's lock and reference. */
static int open_existing(struct fs *fs, const struct fs_ctx *ctx, struct inode *dir,
			 struct fs_name name, struct fs_entry *ret_entry)
{
	struct dir_name dname = { .name = name.name, .len = name.len };
	struct inode *i;
	uint8_t ftype;
	uint32_t ino;
	int error = dir_lookup(dir, &dname, &ino, &ftype);

	if (!error)
		error = child_get(dir, ino, &i);
	node_put_write(dir);
	if (error)
		return error;
	rwlock_read(&i->lock);
	error = inode_alive(i);
	if (!error && !inode_is_reg(i))
		error = -EEXIST;
	if (!error)
		error = entry_fill(fs, ctx, i, ret_entry);
	node_put_read(i);
	return error;
}

static int create_once(struct fs *fs, const struct fs_ctx *ctx, const struct fs_create *req,
		       struct fs_entry *ret_entry)
{
	struct blueprint bp = { .req = req };
	struct inode *dir, *i = NULL;
	bool sync_wanted;
	uint32_t tid;
	int error;

	error = node_get_dir_write(fs, ctx, req->dir, &dir);
	if (error)
		return error;
	error = dir_check_add(dir, req->name, S_ISDIR(req->mode));
	if (error == -EEXIST && !req->excl && S_ISREG(req->mode))
		return open_existing(fs, ctx, dir, req->name, ret_entry);
	if (!error)
		error = blueprint_init(fs, ctx, dir, &bp);
	if (!error)
		error = make_inode(fs, ctx, dir, &bp, &i);
	if (i) {
		publish_created(fs, ctx, dir, req->name, i);
		answer_created(fs, ctx, i, ret_entry);
		node_put_write(i);
	}
	sync_wanted = inode_is_dirsync(dir);
	tid = dir->sync_tid;
	node_put_write(dir);
	blueprint_fini(&bp);
	error = fs_dirsync(fs, sync_wanted, tid, error);
	/* The caller will not hear of the nodeid. */
	if (error && i)
		nodes_unraise(fs, ctx->session, ret_entry->nodeid);
	return error;
}

int fs_create(struct fs *fs, const struct fs_ctx *ctx, const struct fs_create *req,
	      struct fs_entry *ret_entry)
{
	struct fs_entry entry = { .nodeid = 0 };
	unsigned int tries = 0;
	int error = request_check(fs, req);

	if (!error && (ctx->uid == OWNER_NONE || ctx->gid == OWNER_NONE))
		error = -EINVAL;
	if (error)
		return error;
	do {
		error = fs_begin(fs, ctx);
		if (error)
			return error;
		error = create_once(fs, ctx, req, &entry);
		fs_end(fs);
	} while (error == -ENOSPC && fs_make_room(fs, &tries));
	if (!error)
		*ret_entry = entry;
	return error;
}

/* ---- unnamed files -------------------------------------------------------- */

static int tmpfile_once(struct fs *fs, const struct fs_ctx *ctx, const struct fs_create *req,
			struct fs_entry *ret_entry)
{
	struct blueprint bp = { .req = req };
	struct inode *dir, *i = NULL;
	int error;

	error = node_get_dir_write(fs, ctx, req->dir, &dir);
	if (error)
		return error;
	error = dir_writable(dir, false);
	if (!error)
		error = blueprint_init(fs, ctx, dir, &bp);
	if (!error)
		error = make_inode(fs, ctx, dir, &bp, &i);
	if (i) {
		answer_created(fs, ctx, i, ret_entry);
		node_put_write(i);
	}
	node_put_write(dir);
	blueprint_fini(&bp);
	if (error && i)
		nodes_unraise(fs, ctx->session, ret_entry->nodeid);
	return error;
}

int fs_tmpfile(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, uint32_t mode,
	       struct fs_entry *ret_entry)
{
	struct fs_create req = { .dir = dir, .mode = (mode & 07777) | S_IFREG };
	struct fs_entry entry = { .nodeid = 0 };
	unsigned int tries = 0;
	int error;

	if (ctx->uid == OWNER_NONE || ctx->gid == OWNER_NONE)
		return -EINVAL;
	do {
		error = fs_begin(fs, ctx);
		if (error)
			return error;
		error = tmpfile_once(fs, ctx, &req, &entry);
		fs_end(fs);
	} while (error == -ENOSPC && fs_make_room(fs, &tries));
	if (!error)
		*ret_entry = entry;
	return error;
}

/* ---- whiteouts ------------------------------------------------------------ */

int whiteout_create(struct handle *h, const struct fs_ctx *ctx, struct inode *dir,
		    struct inode **ret_inode)
{
	struct now now = inode_now(dir);
	struct inode_init init = {
		.mode = S_IFCHR, /* device 0:0, mode 0: what overlayfs takes for "deleted here" */
		.uid = ctx->uid,
		.gid = dir->mode & S_ISGID ? dir->gid : ctx->gid,
		.projid = dir->flags & EXT4_PROJINHERIT_FL ? dir->projid : 0,
		.flags_inherit = dir->flags,
		.now_s = now.s,
		.now_ns = now.ns,
	};
	struct inode *i;
	int error = inode_create(h, dir, &init, &i);

	if (error)
		return error;
	i->links = 1;
	error = inode_write_data(h, i);
	if (error) {
		create_orphan(h, i);
		node_put_write(i); /* stays on the orphan list: the handle fails as well */
		return error;
	}
	*ret_inode = i;
	return 0;
}
