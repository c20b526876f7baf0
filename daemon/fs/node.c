/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From nodeids to locked inodes, and the small changes that every operation makes:
 * times, versions, events, privileges. Nothing here waits for a lock while it holds
 * another one.
 */
#include "daemon/fs/fs_priv.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/base/check.h"
#include "daemon/store/xattr.h"

/* i_atime_extra ends at 8 + 8 bytes of the extra part: with less only whole seconds fit. */
#define EXTRA_ISIZE_NS 16
#define RELATIME_S (24 * 60 * 60)

/* ---- nodeid to inode ------------------------------------------------------ */

int inode_alive(const struct inode *i)
{
	if (unlikely(atomic_load(&i->state) & INODE_BAD))
		return -EUCLEAN;
	if (unlikely(!i->mode || (!i->links && !(atomic_load(&i->state) & INODE_UNLINKED))))
		return -ESTALE;
	return 0;
}

int node_get(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, struct inode **ret_inode)
{
	uint64_t id;
	uint32_t ino;
	int error;

	CHECK(ctx->session);
	error = session_resolve(ctx->session, nodeid, &id);
	if (error)
		return error;
	if (id == FS_ROOT_NODEID)
		return inode_get(fs->store, EXT4_ROOT_INO, ret_inode);
	ino = (uint32_t)id;
	/* Not corruption: nodeids come from outside. The root has only one name. */
	if (!ino || ino > fs->store->inodes_count || ino == EXT4_ROOT_INO)
		return -ESTALE;
	return inode_get_gen(fs->store, ino, (uint32_t)(id >> 32), ret_inode);
}

int node_get_read(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		  struct inode **ret_inode)
{
	struct inode *i;
	int error = node_get(fs, ctx, nodeid, &i);

	if (error)
		return error;
	rwlock_read(&i->lock);
	error = inode_alive(i);
	if (error) {
		node_put_read(i);
		return error;
	}
	*ret_inode = i;
	return 0;
}

int node_get_write(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		   struct inode **ret_inode)
{
	struct inode *i;
	int error = node_get(fs, ctx, nodeid, &i);

	if (error)
		return error;
	rwlock_write(&i->lock);
	error = ctx_is_aborted(ctx) ? -EINTR : inode_alive(i);
	if (error) {
		node_put_write(i);
		return error;
	}
	*ret_inode = i;
	return 0;
}

int node_get_dir_read(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		      struct inode **ret_inode)
{
	int error = node_get_read(fs, ctx, nodeid, ret_inode);

	if (error || inode_is_dir(*ret_inode))
		return error;
	node_put_read(*ret_inode);
	return -ENOTDIR;
}

int node_get_dir_write(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		       struct inode **ret_inode)
{
	int error = node_get_write(fs, ctx, nodeid, ret_inode);

	if (error || inode_is_dir(*ret_inode))
		return error;
	node_put_write(*ret_inode);
	return -ENOTDIR;
}

void node_put_read(struct inode *i)
{
	rwlock_unread(&i->lock);
	inode_put(i);
}

void node_put_write(struct inode *i)
{
	rwlock_unwrite(&i->lock);
	inode_put(i);
}

uint16_t inode_type(struct inode *i)
{
	uint16_t type;

	rwlock_read(&i->lock);
	type = i->mode & S_IFMT;
	rwlock_unread(&i->lock);
	return type;
}

int child_get(struct inode *dir, uint32_t ino, struct inode **ret_inode)
{
	/* The kernel refuses a second name of its root, and gives back what it never counted. */
	if (unlikely(ino == EXT4_ROOT_INO))
		return store_corrupt(dir->store, dir->ino, 0, "a name names the root directory");
	return parent_get(dir, ino, ret_inode);
}

int name_get(struct inode *dir, const struct dir_name *name, struct inode **ret_child)
{
	uint8_t ftype;
	uint32_t ino;
	int error = inode_alive(dir);

	if (!error && !inode_is_dir(dir))
		error = -ENOTDIR;
	if (!error && (dir->flags & EXT4_ENCRYPT_FL))
		error = -ENOKEY;
	if (!error)
		error = dir->links ? dir_lookup(dir, name, &ino, &ftype) : -ENOENT;
	if (!error)
		error = child_get(dir, ino, ret_child);
	return error;
}

int parent_get(struct inode *dir, uint32_t ino, struct inode **ret_inode)
{
	int error;

	if (unlikely(ino == dir->ino))
		return store_corrupt(dir->store, dir->ino, 0, "a name in a directory names itself");
	error = inode_get(dir->store, ino, ret_inode);
	/* Whoever takes the last link away takes the name away first, under the lock we hold. */
	if (unlikely(error == -ESTALE))
		return store_corrupt(dir->store, dir->ino, 0, "a name names an unused inode");
	if (!error && unlikely((*ret_inode)->ino != EXT4_ROOT_INO &&
			       (*ret_inode)->ino < dir->store->first_ino)) {
		inode_put(*ret_inode);
		return store_corrupt(dir->store, dir->ino, 0, "a name names a reserved inode");
	}
	return error;
}

/* ---- names ---------------------------------------------------------------- */

int name_check(struct fs_name name)
{
	if (!name.len)
		return -EINVAL;
	if (name.len > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	if (memchr(name.name, '/', name.len) || memchr(name.name, '\0', name.len))
		return -EINVAL;
	return 0;
}

bool name_is_dot(struct fs_name name)
{
	return name.len == 1 && name.name[0] == '.';
}

bool name_is_dotdot(struct fs_name name)
{
	return name.len == 2 && name.name[0] == '.' && name.name[1] == '.';
}

/* ---- times ---------------------------------------------------------------- */

struct now inode_clamp_time(const struct inode *i, struct fs_time t)
{
	bool wide = i->extra_isize >= EXTRA_ISIZE_NS;
	int64_t lo = INT32_MIN;
	int64_t hi = wide ? INT32_MAX + (3ll << 32) : INT32_MAX; /* two epoch bits */
	struct now n = { .s = t.s, .ns = t.ns };

	if (n.s < lo || n.s > hi) {
		n.s = n.s < lo ? lo : hi;
		n.ns = 0;
	}
	if (!wide || n.ns > 999999999)
		n.ns = 0;
	return n;
}

struct now inode_now(const struct inode *i)
{
	struct timespec ts;

	/* Coarse as the kernel's own stamps: a fine one here could be later than a write that follows it. */
	(void)clock_gettime(CLOCK_REALTIME_COARSE, &ts); /* cannot fail for this clock */
	return inode_clamp_time(i, (struct fs_time){ .s = ts.tv_sec, .ns = (uint32_t)ts.tv_nsec });
}

void inode_stamp(struct inode *i, unsigned int which)
{
	struct now n = inode_now(i);

	if (which & STAMP_ATIME) {
		i->atime_s = n.s;
		i->atime_ns = n.ns;
	}
	if (which & STAMP_MTIME) {
		i->mtime_s = n.s;
		i->mtime_ns = n.ns;
	}
	if (which & STAMP_CTIME) {
		i->ctime_s = n.s;
		i->ctime_ns = n.ns;
	}
}

/* True when @a is later than @b. */
static bool later(int64_t a_s, uint32_t a_ns, int64_t b_s, uint32_t b_ns)
{
	return a_s != b_s ? a_s > b_s : a_ns > b_ns;
}

static bool atime_wanted(const struct fs *fs, const struct inode *i)
{
	struct now n;

	if (fs->opts.atime == FS_ATIME_NOATIME || (i->flags & EXT4_NOATIME_FL) ||
	    (fs->opts.nodiratime && inode_is_dir(i)) || atomic_load(&fs->store->readonly))
		return false;
	n = inode_now(i);
	if (n.s == i->atime_s && n.ns == i->atime_ns)
		return false;
	if (fs->opts.atime == FS_ATIME_STRICT)
		return true;
	return !later(i->atime_s, i->atime_ns, i->mtime_s, i->mtime_ns) ||
	       !later(i->atime_s, i->atime_ns, i->ctime_s, i->ctime_ns) ||
	       n.s - i->atime_s >= RELATIME_S;
}

uint64_t atime_rests_s(const struct fs *fs, const struct inode *i)
{
	struct now n;

	if (fs->opts.atime == FS_ATIME_NOATIME || (i->flags & EXT4_NOATIME_FL) ||
	    atomic_load(&fs->store->readonly))
		return UINT64_MAX;
	if (fs->opts.atime == FS_ATIME_STRICT)
		return 0;
	n = inode_now(i);
	if (!later(i->atime_s, i->atime_ns, i->mtime_s, i->mtime_ns) ||
	    !later(i->atime_s, i->atime_ns, i->ctime_s, i->ctime_ns))
		return 0;
	if (n.s - i->atime_s >= RELATIME_S)
		return 0;
	/* One in the future rests longer than that, but nobody needs to be told so. */
	return (uint64_t)(RELATIME_S - MAX(n.s - i->atime_s, INT64_C(0)));
}

/* Caller holds the lock exclusively and is inside the gate. */
static void atime_write(struct fs *fs, struct inode *i)
{
	struct handle h;

	if (fs->opts.lazytime) {
		/* In memory only: goes out with the inode's next change. */
		inode_stamp(i, STAMP_ATIME);
		return;
	}
	if (journal_start(fs->store->journal, CREDITS_INODE, &h))
		return;
	inode_stamp(i, STAMP_ATIME);
	if (inode_write(&h, i))
		h.error = h.error ? h.error : -EIO;
	(void)journal_stop(
		&h); /* a lost access time fails no read; an abort is reported elsewhere */
}

void atime_touch(struct fs *fs, const struct fs_ctx *ctx, struct inode *i)
{
	bool wanted;

	if (fs->opts.atime == FS_ATIME_NOATIME)
		return;
	rwlock_read(&i->lock);
	wanted = atime_wanted(fs, i);
	rwlock_unread(&i->lock);
	if (!wanted || !gate_try_enter(&fs->gate))
		return;
	/* Only if nobody else is at it: a reader must not wait for a writer because of a time. */
	if (rwlock_trywrite(&i->lock)) {
		if (!inode_alive(i) && atime_wanted(fs, i)) {
			inode_bump(i);
			atime_write(fs, i);
			/* The reader's kernel expects it: reading makes it doubt its access time. */
			publish_changed(fs, ctx, i);
			if (ctx->touched)
				*ctx->touched = true;
		}
		rwlock_unwrite(&i->lock);
	}
	gate_leave(&fs->gate);
}

/* ---- links ---------------------------------------------------------------- */

static bool dir_is_indexed(const struct inode *dir)
{
	return store_has_compat(dir->store, EXT4_FEATURE_COMPAT_DIR_INDEX) &&
	       (dir->flags & EXT4_INDEX_FL);
}

bool dir_links_full(const struct inode *dir)
{
	if (dir->links < EXT4_LINK_MAX)
		return false;
	return !(store_has_ro_compat(dir->store, EXT4_FEATURE_RO_COMPAT_DIR_NLINK) &&
		 dir_is_indexed(dir));
}

void dir_links_inc(struct inode *dir)
{
	dir->links++;
	/* 1 stands for more than can be counted, and stays. */
	if (dir_is_indexed(dir) && (dir->links > EXT4_LINK_MAX || dir->links == 2))
		dir->links = 1;
}

void dir_links_dec(struct inode *dir)
{
	if (dir->links > 2)
		dir->links--;
}

/* ---- answers -------------------------------------------------------------- */

/* Only of files and directories: others are asked for, and refused, differently. */
static uint32_t absent_xattrs(const struct inode *i)
{
	uint32_t state = atomic_load(&i->state), absent = 0;

	if (!inode_is_reg(i) && !inode_is_dir(i))
		return 0;
	if (state & (INODE_NOCAP | INODE_NOXATTR))
		absent |= FS_ABSENT_CAPABILITY;
	if ((state & (INODE_NOACL | INODE_NOXATTR)) && !i->store->opts.noacl)
		absent |= FS_ABSENT_ACL;
	return absent;
}

void attr_fill(const struct inode *i, struct fs_attr *ret_attr)
{
	*ret_attr = (struct fs_attr){
		.ino = i->ino,
		.size = i->size,
		.blocks = i->blocks,
		.atime = { i->atime_s, i->atime_ns },
		.mtime = { i->mtime_s, i->mtime_ns },
		.ctime = { i->ctime_s, i->ctime_ns },
		.btime = { i->crtime_s, i->crtime_ns },
		.mode = i->mode,
		.nlink = i->links,
		.uid = i->uid,
		.gid = i->gid,
		.rdev = i->rdev,
		.blksize = i->store->block_size,
		.flags = i->flags,
		.absent = absent_xattrs(i),
		.dax = unlikely(atomic_load(&i->store->dax)) && dax_is_worth_it(i),
		.version = atomic_load(&i->version),
	};
}

int entry_fill(struct fs *fs, const struct fs_ctx *ctx, struct inode *i, struct fs_entry *ret_entry)
{
	int error;

	if (unlikely(i->flags & EXT4_EA_INODE_FL))
		return store_corrupt(fs->store, i->ino, 0, "an attribute's inode has a name");
	error = nodes_raise(ctx->session, i);
	if (error)
		return error;
	ret_entry->nodeid = session_nodeid(ctx->session, i);
	ret_entry->generation = i->generation;
	attr_fill(i, &ret_entry->attr);
	if (unlikely(inval_wanted(fs->bus, INVAL_FILL_ATTR))) {
		struct inval_event ev = { .kind = INVAL_FILL_ATTR,
					  .nodeid = inode_nodeid(i),
					  .version = ret_entry->attr.version,
					  .attr = &ret_entry->attr,
					  .origin = ctx_origin(ctx) };

		inval_publish(fs->bus, &ev);
	}
	return 0;
}

/* ---- events --------------------------------------------------------------- */

void inode_bump(struct inode *i)
{
	atomic_fetch_add(&i->version, 1);
}

void publish_inode(struct fs *fs, const struct fs_ctx *ctx, enum inval_kind kind,
		   const struct inode *i)
{
	struct inval_event ev = { .kind = kind };

	if (likely(!inval_wanted(fs->bus, kind)))
		return;
	ev.nodeid = inode_nodeid(i);
	ev.version = atomic_load(&i->version);
	ev.origin = ctx ? ctx_origin(ctx) : NULL;
	inval_publish(fs->bus, &ev);
}

void publish_changed(struct fs *fs, const struct fs_ctx *ctx, const struct inode *i)
{
	struct inval_event ev = { .kind = INVAL_FILL_ATTR };
	struct fs_attr attr;

	publish_inode(fs, ctx, INVAL_ATTR, i);
	if (likely(!inval_wanted(fs->bus, INVAL_FILL_ATTR)))
		return;
	attr_fill(i, &attr);
	ev.nodeid = inode_nodeid(i);
	ev.version = attr.version;
	ev.attr = &attr;
	ev.origin = ctx_origin(ctx);
	inval_publish(fs->bus, &ev);
}

void publish_list(struct fs *fs, const struct fs_ctx *ctx, const struct inode *dir,
		  const struct list_part *part)
{
	struct inval_event ev = { .kind = part->ended ? INVAL_LIST_END : INVAL_LIST_BEGIN,
				  .off = part->from,
				  .len = part->to,
				  .nodeid_child = part->last };

	/* In other spellings a name may be there although its own is not. */
	if (likely(!inval_wanted(fs->bus, ev.kind)) || (dir->flags & EXT4_CASEFOLD_FL))
		return;
	ev.nodeid = inode_nodeid(dir);
	ev.version = atomic_load(&dir->version);
	ev.origin = ctx_origin(ctx);
	inval_publish(fs->bus, &ev);
}

void publish_bytes(struct fs *fs, const struct fs_ctx *ctx, const struct inode *i, uint64_t off,
		   uint64_t len)
{
	struct inval_event ev = { .kind = INVAL_DATA, .off = off, .len = len };

	if (likely(!inval_wanted(fs->bus, INVAL_DATA)))
		return;
	ev.nodeid = inode_nodeid(i);
	ev.version = atomic_load(&i->version);
	ev.origin = ctx_origin(ctx);
	inval_publish(fs->bus, &ev);
}

void publish_data(struct fs *fs, const struct fs_ctx *ctx, const struct inode *i, uint64_t off,
		  uint64_t len)
{
	publish_changed(fs, ctx, i);
	publish_bytes(fs, ctx, i, off, len);
}

void publish_name(struct fs *fs, const struct fs_ctx *ctx, enum inval_kind kind,
		  const struct inode *dir, struct fs_name name, const struct inode *child)
{
	struct inval_event ev = { .kind = kind, .name = name.name, .name_len = name.len };

	if (likely(!inval_wanted(fs->bus, kind)))
		return;
	ev.nodeid = inode_nodeid(dir);
	ev.version = atomic_load(&dir->version);
	ev.nodeid_child = child ? inode_nodeid(child) : 0;
	ev.origin = ctx_origin(ctx);
	inval_publish(fs->bus, &ev);
}

/* ---- privileges ----------------------------------------------------------- */

bool mode_kill_suidgid(struct inode *i, const struct fs_ctx *ctx, bool chown)
{
	uint16_t mode = i->mode;

	mode &= (uint16_t)~S_ISUID;
	/* Without group execution S_ISGID once meant mandatory locking, and only chown by strangers takes it. */
	if ((mode & S_IXGRP) || (chown && ctx->uid != 0 && ctx->gid != i->gid &&
				 !(ctx->has_supp_gid && ctx->supp_gid == i->gid)))
		mode &= (uint16_t)~S_ISGID;
	if (mode == i->mode)
		return false;
	i->mode = mode;
	return true;
}

bool inode_has_cap(struct inode *i)
{
	ssize_t len;

	if (likely(atomic_load(&i->state) & INODE_NOCAP))
		return false;
	len = xattr_get(i, "security.capability", NULL, 0);
	if (len != -ENODATA && len != -EOPNOTSUPP)
		return true;
	/* Setting one needs the lock exclusively, so this cannot be late. */
	atomic_fetch_or(&i->state, INODE_NOCAP);
	return false;
}

int inode_kill_cap(struct handle *h, struct inode *i, bool *ret_changed)
{
	struct xattr_set x = { .name = "security.capability" };
	int error;

	*ret_changed = false;
	if (!inode_has_cap(i))
		return 0;
	error = xattr_set(h, i, &x);
	if (error == -ENODATA)
		return 0;
	if (error)
		return error;
	atomic_fetch_or(&i->state, INODE_NOCAP);
	*ret_changed = true;
	return 0;
}

int inode_note_write(struct fs *fs, const struct fs_ctx *ctx, struct inode *i)
{
	int error, stop_error;
	struct handle h;
	bool cap;

	error = journal_start(fs->store->journal, CREDITS_XATTR + CREDITS_INODE, &h);
	if (error)
		return error;
	if (ctx->uid != 0)
		(void)mode_kill_suidgid(i, ctx, false); /* the inode is written anyway */
	error = inode_kill_cap(&h, i, &cap);
	inode_stamp(i, STAMP_MTIME | STAMP_CTIME);
	if (!error)
		error = inode_write_data(&h, i);
	stop_error = journal_stop(&h);
	if (cap)
		publish_inode(fs, ctx, INVAL_XATTR, i);
	return error ? error : stop_error;
}

int inode_check_fixed(const struct inode *i)
{
	return i->flags & (EXT4_IMMUTABLE_FL | EXT4_APPEND_FL) ? -EPERM : 0;
}
