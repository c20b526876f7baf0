/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Renaming: moving, replacing, exchanging, leaving a whiteout.
 *
 * An attempt has three parts: peek (find what the names mean, one shared lock at a time, and
 * how the directories lie to each other), lock (directories, then what is renamed, in the
 * order of fs_priv.h; the names are looked up again and must mean the same, else the attempt
 * starts over), apply (one handle). Between two directories the rename lock is held all the
 * way, so that what was learned about ancestors stays true. Within one directory there is
 * nothing to learn first: it is locked, and then peeked into.
 */
#include "daemon/fs/fs_priv.h"

#include <string.h>
#include <sys/stat.h>

#include "daemon/base/check.h"
#include "daemon/store/alloc.h"

/* Ways for an attempt to end that are no errors. */
enum { RENAME_AGAIN = 1, RENAME_NOTHING };

struct renaming {
	const struct fs_rename *req;
	struct dir_name name, newname;
	struct inode *dir, *newdir; /* references */
	struct inode *src, *dst;    /* references; dst NULL = the new name is free */
	bool cross, exchange, newdir_first;
	bool src_is_dir, dst_is_dir;
	bool whiteout;
	uint32_t dst_links; /* before it lost one */
};

/* ---- peek ----------------------------------------------------------------- */

static int peek_name(const struct renaming *r, struct inode *dir, const struct dir_name *name,
		     struct inode **ret_child)
{
	int error;

	if (!r->cross)
		return name_get(dir, name, ret_child);
	rwlock_read(&dir->lock);
	error = name_get(dir, name, ret_child);
	rwlock_unread(&dir->lock);
	return error;
}

/* The two directories' positions: loops are refused, the order of locking is found. */
static int peek_topology(struct renaming *r)
{
	uint32_t from_new[2] = { r->src_is_dir ? r->src->ino : 0, r->dir->ino };
	uint32_t from_old[2] = { r->dst_is_dir ? r->dst->ino : 0, r->newdir->ino };
	bool met_new[2], met_old[2];
	int error;

	error = dir_climb(r->newdir, from_new, met_new);
	if (error)
		return error;
	if (met_new[0])
		return -EINVAL; /* into itself */
	error = dir_climb(r->dir, from_old, met_old);
	if (error)
		return error;
	if (met_old[0])
		return r->exchange ? -EINVAL : -ENOTEMPTY; /* over what holds it */
	if (met_new[1])
		r->newdir_first = false;
	else if (met_old[1])
		r->newdir_first = true;
	else
		r->newdir_first = r->newdir->ino < r->dir->ino;
	return 0;
}

static void peek_drop(struct renaming *r)
{
	if (r->src)
		inode_put(r->src);
	if (r->dst)
		inode_put(r->dst);
	r->src = r->dst = NULL;
}

/* RENAME_NOTHING: nothing to do. Caller holds the directory's lock if there is only one. */
static int peek(struct renaming *r)
{
	int error = peek_name(r, r->dir, &r->name, &r->src);

	if (error)
		return error;
	error = peek_name(r, r->newdir, &r->newname, &r->dst);
	if (error == -ENOENT && !r->exchange)
		error = 0;
	if (error)
		return error;
	if (r->dst && (r->req->flags & FS_RENAME_NOREPLACE))
		return -EEXIST;
	if (r->dst == r->src)
		return RENAME_NOTHING; /* two names of one inode: POSIX wants nothing to happen */
	r->src_is_dir = inode_type(r->src) == S_IFDIR;
	r->dst_is_dir = r->dst && inode_type(r->dst) == S_IFDIR;
	if (r->cross) {
		error = peek_topology(r);
		if (error)
			return error;
	}
	if (r->dst && !r->exchange) {
		if (r->src_is_dir && !r->dst_is_dir)
			return -ENOTDIR;
		if (!r->src_is_dir && r->dst_is_dir)
			return -EISDIR;
	}
	return 0;
}

/* ---- lock ----------------------------------------------------------------- */

static void unlock_dirs(struct renaming *r)
{
	rwlock_unwrite(&r->dir->lock);
	if (r->cross)
		rwlock_unwrite(&r->newdir->lock);
}

static void unlock_children(struct renaming *r)
{
	rwlock_unwrite(&r->src->lock);
	if (r->dst)
		rwlock_unwrite(&r->dst->lock);
}

/* Still @want (NULL: nothing)? RENAME_AGAIN = no. */
static int same_meaning(struct inode *dir, const struct dir_name *name, const struct inode *want)
{
	uint8_t ftype;
	uint32_t ino;
	int error = inode_alive(dir);

	if (error)
		return error;
	if (!dir->links)
		return -ENOENT;
	error = dir_lookup(dir, name, &ino, &ftype);
	if (error == -ENOENT)
		return want ? RENAME_AGAIN : 0;
	if (error)
		return error;
	return want && want->ino == ino ? 0 : RENAME_AGAIN;
}

/*
 * Invariants (1) and (2): directories are tried, others waited for by number. On failure
 * *ret_busy is the directory to wait for with no lock held.
 */
static bool lock_children(struct renaming *r, struct inode **ret_busy)
{
	struct inode *order[2] = { r->src, r->dst };
	bool is_dir[2] = { r->src_is_dir, r->dst_is_dir };
	bool swap = r->dst && (is_dir[0] == is_dir[1] ? order[1]->ino < order[0]->ino : is_dir[1]);

	if (swap) {
		order[0] = r->dst;
		order[1] = r->src;
		is_dir[0] = r->dst_is_dir;
		is_dir[1] = r->src_is_dir;
	}
	for (int k = 0; k < 2 && order[k]; k++) {
		if (!is_dir[k]) {
			rwlock_write(&order[k]->lock);
		} else if (!rwlock_trywrite(&order[k]->lock)) {
			if (k)
				rwlock_unwrite(&order[0]->lock);
			*ret_busy = order[k];
			return false;
		}
	}
	return true;
}

/* Between two directories, which were peeked into before. */
static int lock_two_dirs(struct renaming *r)
{
	int error;

	if (r->newdir_first)
		rwlock_write(&r->newdir->lock);
	rwlock_write(&r->dir->lock);
	if (!r->newdir_first)
		rwlock_write(&r->newdir->lock);
	error = same_meaning(r->dir, &r->name, r->src);
	return error ? error : same_meaning(r->newdir, &r->newname, r->dst);
}

static int lock_one_dir(struct renaming *r)
{
	rwlock_write(&r->dir->lock);
	return peek(r);
}

/* 0: all locked. RENAME_AGAIN: something changed or was busy, start over. */
static int lock_all(struct renaming *r)
{
	struct inode *busy = NULL;
	int error = r->cross ? lock_two_dirs(r) : lock_one_dir(r);

	if (!error && lock_children(r, &busy))
		return 0;
	unlock_dirs(r);
	if (!busy)
		return error;
	rwlock_write(&busy->lock);
	rwlock_unwrite(&busy->lock);
	return RENAME_AGAIN;
}

/* ---- check ---------------------------------------------------------------- */

static int check_links(const struct renaming *r)
{
	bool newdir_gains = r->src_is_dir && (!r->dst || (r->exchange && !r->dst_is_dir));
	bool dir_gains = r->exchange && r->dst_is_dir && !r->src_is_dir;

	if (!r->cross)
		return 0;
	if ((newdir_gains && dir_links_full(r->newdir)) || (dir_gains && dir_links_full(r->dir)))
		return -EMLINK;
	return 0;
}

static int check_project(const struct renaming *r)
{
	if ((r->newdir->flags & EXT4_PROJINHERIT_FL) && r->newdir->projid != r->src->projid)
		return -EXDEV;
	if (r->exchange && (r->dir->flags & EXT4_PROJINHERIT_FL) &&
	    r->dir->projid != r->dst->projid)
		return -EXDEV;
	return 0;
}

/* All are locked. */
static int check(struct renaming *r)
{
	bool empty = true;
	int error = inode_alive(r->src);

	if (!error && r->dst)
		error = inode_alive(r->dst);
	if (error == -ESTALE || (!error && (!r->src->links || (r->dst && !r->dst->links))))
		return store_corrupt(r->dir->store, r->src->ino, 0, "a name names a deleted inode");
	if (error)
		return error;
	/* Taking a name from an append-only directory is refused, adding one is not. */
	if (inode_check_fixed(r->dir) || inode_check_fixed(r->src) ||
	    (r->newdir->flags & EXT4_IMMUTABLE_FL))
		return -EPERM;
	if (r->dst && (inode_check_fixed(r->newdir) || inode_check_fixed(r->dst)))
		return -EPERM;
	error = check_links(r);
	if (!error)
		error = check_project(r);
	if (!error && r->dst_is_dir && !r->exchange)
		error = dir_is_empty(r->dst, &empty);
	if (error)
		return error;
	return empty ? 0 : -ENOTEMPTY;
}

/* ---- apply ---------------------------------------------------------------- */

/* The ".." of what moves to another directory. Before the names: it can be taken back. */
static void restore_parents(struct renaming *r, struct handle *h)
{
	int error = 0;

	if (r->cross && r->src_is_dir)
		error = dir_set_parent(h, r->src, r->dir->ino);
	if (!error && r->cross && r->exchange && r->dst_is_dir)
		error = dir_set_parent(h, r->dst, r->newdir->ino);
	if (error)
		journal_fail(h, error);
}

static int set_parents(struct renaming *r, struct handle *h)
{
	int error = 0, undo;

	if (r->cross && r->src_is_dir)
		error = dir_set_parent(h, r->src, r->newdir->ino);
	if (error || !r->cross || !r->exchange || !r->dst_is_dir)
		return error;
	error = dir_set_parent(h, r->dst, r->dir->ino);
	if (error && r->src_is_dir) {
		undo = dir_set_parent(h, r->src, r->dir->ino);
		if (undo)
			journal_fail(h, undo);
	}
	return error;
}

static void count_links(const struct renaming *r)
{
	if (r->cross && r->src_is_dir) {
		dir_links_dec(r->dir);
		dir_links_inc(r->newdir);
	}
	if (!r->dst_is_dir)
		return;
	/* The directory that was replaced had its ".." in newdir. */
	if (r->cross || !r->exchange)
		dir_links_dec(r->newdir);
	if (r->cross && r->exchange)
		dir_links_inc(r->dir);
}

/* Everything that finish() writes; afterwards only what has its own undo can fail. */
static int prepare(struct renaming *r, struct handle *h)
{
	struct inode *written[] = { r->dir, r->newdir, r->src, r->dst };
	int error = 0;

	for (size_t k = 0; k < ARRAY_SIZE(written) && !error; k++) {
		if (written[k])
			error = inode_write_prepare(h, written[k]);
	}
	return error;
}

static int finish(struct renaming *r, struct handle *h)
{
	int error;

	inode_stamp(r->src, STAMP_CTIME);
	error = inode_write_data(h, r->src);
	if (!error && r->exchange) {
		inode_stamp(r->dst, STAMP_CTIME);
		error = inode_write_data(h, r->dst);
	}
	inode_stamp(r->dir, STAMP_MTIME | STAMP_CTIME);
	if (!error)
		error = inode_write_data(h, r->dir);
	if (!error && r->cross) {
		inode_stamp(r->newdir, STAMP_MTIME | STAMP_CTIME);
		error = inode_write_data(h, r->newdir);
	}
	if (error)
		journal_fail(h, error);
	return error;
}

static int apply_exchange(struct renaming *r, struct handle *h)
{
	int error = set_parents(r, h), undo;

	if (error)
		return error;
	error = dir_replace(h, r->newdir, &r->newname, r->src->ino, ftype_from_mode(r->src->mode));
	if (error)
		goto out_parents;
	error = dir_replace(h, r->dir, &r->name, r->dst->ino, ftype_from_mode(r->dst->mode));
	if (error)
		goto out_newname;
	count_links(r);
	return finish(r, h);

out_newname:
	undo = dir_replace(h, r->newdir, &r->newname, r->dst->ino, ftype_from_mode(r->dst->mode));
	if (undo)
		journal_fail(h, undo);
out_parents:
	restore_parents(r, h);
	return error;
}

/* The new name means the source: the step that may want room, before anything that cannot be undone. */
static int take_newname(struct fs *fs, struct renaming *r, struct handle *h)
{
	uint8_t ftype = ftype_from_mode(r->src->mode);
	int error;

	if (!r->dst)
		return dir_add(h, r->newdir, &r->newname, r->src->ino, ftype);
	r->dst_links = r->dst->links;
	error = inode_drop_link(fs, h, r->dst);
	if (error)
		return error;
	error = dir_replace(h, r->newdir, &r->newname, r->src->ino, ftype);
	if (error)
		inode_restore_link(fs, h, r->dst, r->dst_links);
	return error;
}

/* Undo of take_newname(): two names and one link must not stay. */
static void give_back_newname(struct fs *fs, struct renaming *r, struct handle *h)
{
	int error;

	if (!r->dst) {
		error = dir_remove(h, r->newdir, &r->newname);
		if (!error)
			error = inode_write_data(h, r->newdir); /* it may have grown */
	} else {
		error = dir_replace(h, r->newdir, &r->newname, r->dst->ino,
				    ftype_from_mode(r->dst->mode));
		if (!error)
			inode_restore_link(fs, h, r->dst, r->dst_links);
	}
	if (error)
		journal_fail(h, error);
}

/* Both names mean the source now: the old one goes, or means the whiteout. */
static int leave_oldname(struct renaming *r, struct handle *h, const struct inode *whiteout)
{
	if (whiteout)
		return dir_replace(h, r->dir, &r->name, whiteout->ino,
				   ftype_from_mode(whiteout->mode));
	return dir_remove(h, r->dir, &r->name);
}

static int apply_move(struct fs *fs, struct renaming *r, struct handle *h,
		      const struct inode *whiteout)
{
	int error = set_parents(r, h);

	if (error)
		return error;
	error = take_newname(fs, r, h);
	if (!error) {
		error = leave_oldname(r, h, whiteout);
		if (error)
			give_back_newname(fs, r, h);
	}
	if (error) {
		restore_parents(r, h);
		return error;
	}
	count_links(r);
	return finish(r, h);
}

/* It succeeded: what everything is now. */
static void publish_result(struct fs *fs, const struct fs_ctx *ctx, const struct renaming *r,
			   const struct inode *whiteout)
{
	const struct fs_rename *req = r->req;

	publish_name(fs, ctx, INVAL_FILL_ENTRY, r->dir, req->name, r->exchange ? r->dst : whiteout);
	publish_name(fs, ctx, INVAL_FILL_ENTRY, r->newdir, req->newname, r->src);
	publish_changed(fs, ctx, r->dir);
	if (r->cross)
		publish_changed(fs, ctx, r->newdir);
	publish_changed(fs, ctx, r->src);
	if (r->dst)
		publish_changed(fs, ctx, r->dst);
}

static void publish_renamed(struct fs *fs, const struct fs_ctx *ctx, const struct renaming *r,
			    const struct inode *whiteout)
{
	const struct fs_rename *req = r->req;

	publish_name(fs, ctx, INVAL_ENTRY, r->dir, req->name, r->exchange ? r->dst : whiteout);
	publish_name(fs, ctx, INVAL_ENTRY, r->newdir, req->newname, r->src);
	publish_inode(fs, ctx, INVAL_ATTR, r->dir);
	if (r->cross)
		publish_inode(fs, ctx, INVAL_ATTR, r->newdir);
	publish_inode(fs, ctx, INVAL_ATTR, r->src);
	if (r->dst)
		publish_inode(fs, ctx, INVAL_ATTR, r->dst);
}

/* All are locked. */
static int apply(struct fs *fs, const struct fs_ctx *ctx, struct renaming *r)
{
	uint32_t credits = CREDITS_DIR_ADD + 3 * CREDITS_DIR_DEL + 4 * CREDITS_INODE +
			   2 * CREDITS_ORPHAN + (r->whiteout ? CREDITS_NEW_INODE : 0) + 2;
	struct inode *whiteout = NULL;
	int error, stop_error;
	struct handle h;

	error = journal_start(fs->store->journal, credits, &h);
	if (error)
		return error;
	inode_bump(r->dir);
	if (r->cross)
		inode_bump(r->newdir);
	inode_bump(r->src);
	if (r->exchange)
		inode_bump(r->dst);
	error = prepare(r, &h);
	if (!error && r->whiteout)
		error = whiteout_create(&h, ctx, r->dir, &whiteout);
	if (!error)
		error = r->exchange ? apply_exchange(r, &h) : apply_move(fs, r, &h, whiteout);
	if (error && whiteout)
		create_orphan(&h, whiteout);
	stop_error = journal_stop(&h);
	publish_renamed(fs, ctx, r, whiteout);
	if (!error && !stop_error)
		publish_result(fs, ctx, r, whiteout);
	if (whiteout && error)
		create_discard(fs, whiteout);
	else if (whiteout)
		node_put_write(whiteout);
	return error ? error : stop_error;
}

/* ---- the operation -------------------------------------------------------- */

/* Directories are referenced; between two of them the rename lock is held. */
static int rename_attempt(struct fs *fs, const struct fs_ctx *ctx, struct renaming *r,
			  struct inode **ret_gone, uint32_t *ret_tid)
{
	int error = r->cross ? peek(r) : 0;

	if (!error)
		error = lock_all(r);
	if (error) {
		peek_drop(r);
		return error == RENAME_NOTHING ? 0 : error;
	}
	error = ctx_is_aborted(ctx) ? -EINTR : check(r);
	if (!error)
		error = apply(fs, ctx, r);
	if (!error && (inode_is_dirsync(r->dir) || inode_is_dirsync(r->newdir)))
		*ret_tid = r->newdir->sync_tid;
	if (!error && r->dst && !r->dst->links) {
		inode_ref(r->dst);
		*ret_gone = r->dst;
	}
	unlock_children(r);
	unlock_dirs(r);
	peek_drop(r);
	return error;
}

static int rename_once(struct fs *fs, const struct fs_ctx *ctx, const struct fs_rename *req)
{
	struct renaming r = { .req = req,
			      .name = { .name = req->name.name, .len = req->name.len },
			      .newname = { .name = req->newname.name, .len = req->newname.len },
			      .exchange = req->flags & FS_RENAME_EXCHANGE,
			      .whiteout = req->flags & FS_RENAME_WHITEOUT };
	struct inode *gone = NULL;
	uint32_t tid = 0;
	int error;

	error = node_get(fs, ctx, req->dir, &r.dir);
	if (error)
		return error;
	error = node_get(fs, ctx, req->newdir, &r.newdir);
	if (error) {
		inode_put(r.dir);
		return error;
	}
	r.cross = r.dir != r.newdir;
	if (r.cross)
		mutex_lock(&fs->rename_lock);
	for (int tries = 0; tries < RETRIES_MAX; tries++) {
		error = rename_attempt(fs, ctx, &r, &gone, &tid);
		if (error != RENAME_AGAIN)
			break;
	}
	if (r.cross)
		mutex_unlock(&fs->rename_lock);
	inode_put(r.dir);
	inode_put(r.newdir);
	if (gone)
		inode_reap(fs, gone, true);
	return fs_dirsync(fs, tid != 0, tid, error == RENAME_AGAIN ? -EBUSY : error);
}

static int rename_check_request(const struct fs_rename *req)
{
	const uint32_t known = FS_RENAME_NOREPLACE | FS_RENAME_EXCHANGE | FS_RENAME_WHITEOUT;
	int error;

	if ((req->flags & ~known) ||
	    ((req->flags & FS_RENAME_EXCHANGE) && (req->flags & ~(uint32_t)FS_RENAME_EXCHANGE)))
		return -EINVAL;
	error = name_check(req->name);
	if (!error)
		error = name_check(req->newname);
	if (error)
		return error;
	if (name_is_dot(req->name) || name_is_dotdot(req->name))
		return -EBUSY;
	if (name_is_dot(req->newname) || name_is_dotdot(req->newname))
		return req->flags & FS_RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	return 0;
}

int fs_rename(struct fs *fs, const struct fs_ctx *ctx, const struct fs_rename *req)
{
	unsigned int tries = 0;
	int error = rename_check_request(req);

	if (error)
		return error;
	do {
		error = fs_begin(fs, ctx);
		if (error)
			return error;
		error = rename_once(fs, ctx, req);
		fs_end(fs);
	} while (error == -ENOSPC && fs_make_room(fs, &tries));
	return error;
}
