/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names: looked up, made, moved and removed.
 *
 * An entry that the kernel is given counts as one lookup of its nodeid; fs counted it
 * already. Where an answer turns into an error after that, the count is given back here.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* With dirsync (or sync) a change of names is answered when it cannot be lost any more. */
static int names_durable(struct op *op, uint64_t dir)
{
	if (likely(!op->s->opts.dirsync))
		return 0;
	return fs_fsync(op->s->fs, &op->ctx, dir, false);
}

static void reply_entry(struct op *op, int err, const struct fs_entry *entry)
{
	struct fuse_entry_out out;

	if (err) {
		op_error(op, err);
		return;
	}
	wire_entry(op->s, entry, &out);
	if (!req_reply(op->req, 0, &out, sizeof(out)) && entry->nodeid)
		fs_forget(op->s->fs, op->ctx.session, entry->nodeid, 1);
}

/* An entry just made in @dir. */
static void reply_created(struct op *op, int err, uint64_t dir, const struct fs_entry *entry)
{
	if (!err) {
		err = names_durable(op, dir);
		if (err)
			fs_forget(op->s->fs, op->ctx.session, entry->nodeid, 1);
	}
	reply_entry(op, err, entry);
}

static void reply_changed(struct op *op, int err, uint64_t dir)
{
	if (!err)
		err = names_durable(op, dir);
	req_reply(op->req, err, NULL, 0);
}

void op_lookup(struct op *op)
{
	struct fs_name name = op->name[0];
	struct fs_entry entry;
	int err;

	/* Handles for export: the kernel asks with a nodeid that nobody has looked up. */
	if (name.len == 1 && name.name[0] == '.')
		err = fs_lookup_self(op->s->fs, &op->ctx, op->nodeid, &entry);
	else if (name.len == 2 && name.name[0] == '.' && name.name[1] == '.')
		err = fs_lookup_parent(op->s->fs, &op->ctx, op->nodeid, &entry);
	else
		err = fs_lookup(op->s->fs, &op->ctx, op->nodeid, name, &entry);
	/* An absent name is worth remembering where negative answers may be kept. */
	if (err == -ENOENT && (op->s->negative_timeout.s || op->s->negative_timeout.ns)) {
		memset(&entry, 0, sizeof(entry));
		err = 0;
	} else if (!err && !entry.nodeid && !op->s->negative_timeout.s &&
		   !op->s->negative_timeout.ns) {
		err = -ENOENT;
	}
	reply_entry(op, err, &entry);
}

void op_forget(struct op *op)
{
	fs_forget(op->s->fs, op->ctx.session, op->nodeid, op->arg.forget.nlookup);
	req_done(op->req);
}

void op_batch_forget(struct op *op)
{
	struct fuse_forget_one one;

	if (op->arg.batch_forget.count > op->in.left / sizeof(one)) {
		op_malformed(op);
		return;
	}
	for (uint32_t i = 0; i < op->arg.batch_forget.count; i++) {
		if (!cursor_copy(&op->in, &one, sizeof(one)))
			break;
		fs_forget(op->s->fs, op->ctx.session, one.nodeid, one.nlookup);
	}
	req_done(op->req);
}

void op_readlink(struct op *op)
{
	char target[4096];
	uint32_t len = 0;
	int err = fs_readlink(op->s->fs, &op->ctx, op->nodeid, target, sizeof(target), &len);

	req_reply(op->req, err, target, len);
}

static void make(struct op *op, const struct fs_create *create)
{
	struct fs_entry entry;
	int err = op_check_owner(op);

	if (!err)
		err = fs_create(op->s->fs, &op->ctx, create, &entry);
	reply_created(op, err, create->dir, &entry);
}

void op_symlink(struct op *op)
{
	struct fs_create create = {
		.dir = op->nodeid,
		.name = op->name[0],
		.mode = S_IFLNK | 0777,
		.target = op->name[1].name,
		.target_len = op->name[1].len,
		.excl = true,
	};

	make(op, &create);
}

void op_mknod(struct op *op)
{
	const struct fuse_mknod_in *in = &op->arg.mknod;
	struct fs_create create = {
		.dir = op->nodeid,
		.name = op->name[0],
		.mode = in->mode,
		.rdev = in->rdev,
		.excl = true,
	};

	switch (in->mode & S_IFMT) {
	case 0: create.mode |= S_IFREG; break;
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK: break;
	default: op_malformed(op); return;
	}
	op->ctx.umask = (uint16_t)in->umask;
	make(op, &create);
}

void op_mkdir(struct op *op)
{
	struct fs_create create = {
		.dir = op->nodeid,
		.name = op->name[0],
		.mode = S_IFDIR | (op->arg.mkdir.mode & 07777),
		.excl = true,
	};

	op->ctx.umask = (uint16_t)op->arg.mkdir.umask;
	make(op, &create);
}

void op_unlink(struct op *op)
{
	int err = fs_unlink(op->s->fs, &op->ctx, op->nodeid, op->name[0]);

	reply_changed(op, err, op->nodeid);
}

void op_rmdir(struct op *op)
{
	int err = fs_rmdir(op->s->fs, &op->ctx, op->nodeid, op->name[0]);

	reply_changed(op, err, op->nodeid);
}

static void do_rename(struct op *op, uint64_t newdir, uint32_t flags)
{
	struct fs_rename req = {
		.dir = op->nodeid,
		.newdir = newdir,
		.name = op->name[0],
		.newname = op->name[1],
		.flags = flags,
	};
	/* A whiteout is a new inode. */
	int err = flags & FS_RENAME_WHITEOUT ? op_check_owner(op) : 0;

	if (!err)
		err = fs_rename(op->s->fs, &op->ctx, &req);
	/* One transaction holds both folders. */
	reply_changed(op, err, newdir);
}

void op_rename(struct op *op)
{
	do_rename(op, op->arg.rename.newdir, 0);
}

void op_rename2(struct op *op)
{
	/* RENAME_NOREPLACE, RENAME_EXCHANGE and RENAME_WHITEOUT have fs's values. */
	uint32_t known = FS_RENAME_NOREPLACE | FS_RENAME_EXCHANGE | FS_RENAME_WHITEOUT;

	if (op->arg.rename2.flags & ~known) {
		op_error(op, -EINVAL);
		return;
	}
	do_rename(op, op->arg.rename2.newdir, op->arg.rename2.flags);
}

void op_link(struct op *op)
{
	struct fs_entry entry;
	int err = fs_link(op->s->fs, &op->ctx, op->arg.link.oldnodeid, op->nodeid, op->name[0],
			  &entry);

	reply_created(op, err, op->nodeid, &entry);
}

static void reply_opened(struct op *op, const struct fs_entry *entry)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;

	memset(&out, 0, sizeof(out));
	wire_entry(op->s, entry, &out.entry);
	out.open.open_flags = op_open_flags(op->s, FOPEN_KEEP_CACHE);
	if (!req_reply(op->req, 0, &out, sizeof(out))) {
		op_closed(op, entry->nodeid, op->arg.create.flags);
		fs_forget(op->s->fs, op->ctx.session, entry->nodeid, 1);
	}
}

/* An entry that fs made or found is opened; on failure the kernel never hears of it. */
static void open_created(struct op *op, int err, const struct fs_entry *entry)
{
	if (err) {
		op_error(op, err);
		return;
	}
	if (op->s->opts.share)
		err = fs_open(op->s->fs, &op->ctx, entry->nodeid, op->arg.create.flags);
	if (!err)
		err = op_opened(op, entry->nodeid, op->arg.create.flags);
	if (err) {
		fs_forget(op->s->fs, op->ctx.session, entry->nodeid, 1);
		op_error(op, err);
		return;
	}
	reply_opened(op, entry);
}

/*
 * Without open there is nothing that CREATE could do better than MKNOD, and a file made
 * by CREATE costs a RELEASE: ENOSYS makes the kernel use MKNOD from then on. Its folder
 * is locked from lookup to creation, so O_CREAT without O_EXCL stays right.
 */
void op_create(struct op *op)
{
	const struct fuse_create_in *in = &op->arg.create;
	struct fs_create create = {
		.dir = op->nodeid,
		.name = op->name[0],
		.mode = S_IFREG | (in->mode & 07777),
		.excl = in->flags & O_EXCL,
	};
	struct fs_entry entry;
	int err;

	if (!op->s->opts.share) {
		op_error(op, -ENOSYS);
		return;
	}
	op->ctx.umask = (uint16_t)in->umask;
	err = op_check_owner(op);
	if (!err)
		err = fs_create(op->s->fs, &op->ctx, &create, &entry);
	if (!err) {
		err = names_durable(op, op->nodeid);
		if (err)
			fs_forget(op->s->fs, op->ctx.session, entry.nodeid, 1);
	}
	open_created(op, err, &entry);
}

void op_tmpfile(struct op *op)
{
	struct fs_entry entry;
	uint32_t mode = S_IFREG | (op->arg.create.mode & 07777);
	int err;

	op->ctx.umask = (uint16_t)op->arg.create.umask;
	err = op_check_owner(op);
	if (!err)
		err = fs_tmpfile(op->s->fs, &op->ctx, op->nodeid, mode, &entry);
	open_created(op, err, &entry);
}
