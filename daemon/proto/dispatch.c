/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decoding: from iovecs to a checked struct op, and the table of what each opcode is.
 *
 * Invariants: (1) A header and its arguments are copied out once; every check and every
 * use reads the copy, never the transport's memory, which a guest may change meanwhile.
 * (2) No handler sees a request whose lengths, terminations or names were not checked.
 * (3) Each request is ended exactly once, whatever is wrong with it: a reply that is
 * owed is the caller's system call, hanging. (4) An opcode that is not in the table or
 * has no handler is answered ENOSYS, which the kernel remembers: it does not ask again.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"

#define ARG(type) .arg_size = sizeof(struct type)

static const struct op_def op_defs[PROTO_OPCODES] = {
	[FUSE_LOOKUP] = { .name = "LOOKUP",
			  .names = 1,
			  .flags = OP_DOT_NAMES,
			  .handler = op_lookup },
	[FUSE_FORGET] = { .name = "FORGET",
			  ARG(fuse_forget_in),
			  .flags = OP_NO_REPLY,
			  .handler = op_forget },
	[FUSE_GETATTR] = { .name = "GETATTR", ARG(fuse_getattr_in), .handler = op_getattr },
	[FUSE_SETATTR] = { .name = "SETATTR",
			   ARG(fuse_setattr_in),
			   .flags = OP_CHANGES,
			   .handler = op_setattr },
	[FUSE_READLINK] = { .name = "READLINK", .handler = op_readlink },
	[FUSE_SYMLINK] = { .name = "SYMLINK",
			   .names = 2,
			   .flags = OP_SYMLINK | OP_CHANGES,
			   .handler = op_symlink },
	[FUSE_MKNOD] = { .name = "MKNOD",
			 ARG(fuse_mknod_in),
			 .names = 1,
			 .flags = OP_CHANGES,
			 .handler = op_mknod },
	[FUSE_MKDIR] = { .name = "MKDIR",
			 ARG(fuse_mkdir_in),
			 .names = 1,
			 .flags = OP_CHANGES,
			 .handler = op_mkdir },
	[FUSE_UNLINK] = { .name = "UNLINK", .names = 1, .flags = OP_CHANGES, .handler = op_unlink },
	[FUSE_RMDIR] = { .name = "RMDIR", .names = 1, .flags = OP_CHANGES, .handler = op_rmdir },
	[FUSE_RENAME] = { .name = "RENAME",
			  ARG(fuse_rename_in),
			  .names = 2,
			  .flags = OP_CHANGES,
			  .handler = op_rename },
	[FUSE_LINK] = { .name = "LINK",
			ARG(fuse_link_in),
			.names = 1,
			.flags = OP_CHANGES,
			.handler = op_link },
	[FUSE_OPEN] = { .name = "OPEN", ARG(fuse_open_in), .flags = OP_CHANGES, .handler = op_open },
	[FUSE_READ] = { .name = "READ", ARG(fuse_read_in), .handler = op_read },
	[FUSE_WRITE] = { .name = "WRITE",
			 ARG(fuse_write_in),
			 .flags = OP_PAYLOAD | OP_CHANGES,
			 .handler = op_write },
	[FUSE_STATFS] = { .name = "STATFS", .handler = op_statfs },
	[FUSE_RELEASE] = { .name = "RELEASE", ARG(fuse_release_in), .handler = op_release },
	[FUSE_FSYNC] = { .name = "FSYNC", ARG(fuse_fsync_in), .handler = op_fsync },
	/* The longer form only where SETXATTR_EXT was agreed on: see proto_dispatch(). */
	[FUSE_SETXATTR] = { .name = "SETXATTR",
			    .arg_size = FUSE_COMPAT_SETXATTR_IN_SIZE,
			    .names = 1,
			    .flags = OP_PAYLOAD | OP_XATTR_NAME | OP_CHANGES,
			    .handler = op_setxattr },
	[FUSE_GETXATTR] = { .name = "GETXATTR",
			    ARG(fuse_getxattr_in),
			    .names = 1,
			    .flags = OP_XATTR_NAME,
			    .handler = op_getxattr },
	[FUSE_LISTXATTR] = { .name = "LISTXATTR", ARG(fuse_getxattr_in), .handler = op_listxattr },
	[FUSE_REMOVEXATTR] = { .name = "REMOVEXATTR",
			       .names = 1,
			       .flags = OP_XATTR_NAME | OP_CHANGES,
			       .handler = op_removexattr },
	[FUSE_FLUSH] = { .name = "FLUSH", ARG(fuse_flush_in), .handler = op_flush },
	/* Older kernels send the first four words only. */
	[FUSE_INIT] = { .name = "INIT",
			.arg_size = 16,
			.flags = OP_EARLY | OP_PAYLOAD | OP_NO_ABORT,
			.handler = op_init },
	[FUSE_OPENDIR] = { .name = "OPENDIR", ARG(fuse_open_in), .handler = op_opendir },
	[FUSE_READDIR] = { .name = "READDIR", ARG(fuse_read_in), .handler = op_readdir },
	[FUSE_RELEASEDIR] = { .name = "RELEASEDIR", ARG(fuse_release_in), .handler = op_releasedir },
	[FUSE_FSYNCDIR] = { .name = "FSYNCDIR", ARG(fuse_fsync_in), .handler = op_fsync },
	[FUSE_GETLK] = { .name = "GETLK", ARG(fuse_lk_in), .handler = op_getlk },
	[FUSE_SETLK] = { .name = "SETLK", ARG(fuse_lk_in), .handler = op_setlk },
	[FUSE_SETLKW] = { .name = "SETLKW", ARG(fuse_lk_in), .handler = op_setlk },
	/* The kernel checks permissions itself (default_permissions). */
	[FUSE_ACCESS] = { .name = "ACCESS", ARG(fuse_access_in) },
	[FUSE_CREATE] = { .name = "CREATE",
			  ARG(fuse_create_in),
			  .names = 1,
			  .flags = OP_CHANGES,
			  .handler = op_create },
	[FUSE_INTERRUPT] = { .name = "INTERRUPT",
			     ARG(fuse_interrupt_in),
			     .flags = OP_NO_REPLY,
			     .handler = op_interrupt },
	[FUSE_BMAP] = { .name = "BMAP", ARG(fuse_bmap_in), .handler = op_bmap },
	[FUSE_DESTROY] = { .name = "DESTROY",
			   .flags = OP_EARLY | OP_NO_ABORT,
			   .handler = op_destroy },
	[FUSE_IOCTL] = { .name = "IOCTL",
			 ARG(fuse_ioctl_in),
			 .flags = OP_PAYLOAD | OP_CHANGES,
			 .handler = op_ioctl },
	/* Files and directories are always ready: the kernel's own answer is the right one. */
	[FUSE_POLL] = { .name = "POLL", ARG(fuse_poll_in) },
	[FUSE_NOTIFY_REPLY] = { .name = "NOTIFY_REPLY", .flags = OP_NO_REPLY | OP_PAYLOAD },
	[FUSE_BATCH_FORGET] = { .name = "BATCH_FORGET",
				ARG(fuse_batch_forget_in),
				.flags = OP_NO_REPLY | OP_PAYLOAD,
				.handler = op_batch_forget },
	[FUSE_FALLOCATE] = { .name = "FALLOCATE",
			     ARG(fuse_fallocate_in),
			     .flags = OP_CHANGES,
			     .handler = op_fallocate },
	[FUSE_READDIRPLUS] = { .name = "READDIRPLUS", ARG(fuse_read_in), .handler = op_readdirplus },
	[FUSE_RENAME2] = { .name = "RENAME2",
			   ARG(fuse_rename2_in),
			   .names = 2,
			   .flags = OP_CHANGES,
			   .handler = op_rename2 },
	[FUSE_LSEEK] = { .name = "LSEEK", ARG(fuse_lseek_in), .handler = op_lseek },
	[FUSE_COPY_FILE_RANGE] = { .name = "COPY_FILE_RANGE",
				   ARG(fuse_copy_file_range_in),
				   .flags = OP_CHANGES,
				   .handler = op_copy_file_range },
	[FUSE_SETUPMAPPING] = { .name = "SETUPMAPPING",
				ARG(fuse_setupmapping_in),
				.flags = OP_CHANGES,
				.handler = op_setupmapping },
	[FUSE_REMOVEMAPPING] = { .name = "REMOVEMAPPING",
				 ARG(fuse_removemapping_in),
				 .flags = OP_PAYLOAD | OP_CHANGES,
				 .handler = op_removemapping },
	[FUSE_SYNCFS] = { .name = "SYNCFS", ARG(fuse_syncfs_in), .handler = op_syncfs },
	[FUSE_TMPFILE] = { .name = "TMPFILE",
			   ARG(fuse_create_in),
			   .names = 1,
			   .handler = op_tmpfile },
	[WIRE_STATX] = { .name = "STATX", ARG(wire_statx_in), .handler = op_statx },
	[WIRE_COPY_FILE_RANGE_64] = { .name = "COPY_FILE_RANGE_64",
				      ARG(fuse_copy_file_range_in),
				      .flags = OP_CHANGES,
				      .handler = op_copy_file_range },
};

const struct op_def *op_def_of(uint32_t opcode)
{
	if (opcode >= PROTO_OPCODES || !op_defs[opcode].name)
		return NULL;
	return &op_defs[opcode];
}

/* ---- cursor ---- */

bool cursor_copy(struct cursor *c, void *dst, size_t len)
{
	uint8_t *to = dst;

	if (len > c->left)
		return false;
	while (len) {
		size_t part = MIN(len, c->iov->iov_len - c->off);

		memcpy(to, (const uint8_t *)c->iov->iov_base + c->off, part);
		to += part;
		len -= part;
		c->left -= part;
		c->off += part;
		if (c->off == c->iov->iov_len && c->count > 1) {
			c->iov++;
			c->count--;
			c->off = 0;
		}
	}
	return true;
}

int cursor_slice(struct cursor *c, size_t len, struct iovec *iov, int max)
{
	int used = 0;

	if (len > c->left)
		return -1;
	while (len) {
		size_t part = MIN(len, c->iov->iov_len - c->off);

		if (part) {
			if (used == max)
				return -1;
			iov[used].iov_base = (uint8_t *)c->iov->iov_base + c->off;
			iov[used++].iov_len = part;
		}
		len -= part;
		c->left -= part;
		c->off += part;
		if (c->off == c->iov->iov_len && c->count > 1) {
			c->iov++;
			c->count--;
			c->off = 0;
		}
	}
	return used;
}

/* ---- ending a request ---- */

static void trace_reply(const struct proto_req *req, int error, size_t len)
{
	if (error)
		log_trace("#%" PRIu64 " reply: %s", req->unique, strerror(-error));
	else
		log_trace("#%" PRIu64 " reply: %zu bytes", req->unique, len);
}

/* ENOSYS, and a name or attribute that is not there, are answers, not errors. */
static bool is_failure(int error)
{
	return error && error != -ENOSYS && error != -ENOENT && error != -ENODATA &&
	       error != -ENXIO;
}

/* True: it was answered early, and the answer at hand is nobody's. */
static bool finish(struct proto_req *req, int error)
{
	struct proto_session *s = req->session;
	uint64_t ns = stats_now_ns() - req->start_ns;

	if (req->opcode < PROTO_OPCODES)
		stats_note(&s->stats[req->ops->channel][req->opcode], ns, is_failure(error));
	return inflight_del(req);
}

bool req_reply(struct proto_req *req, int error, const void *data, size_t len)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = error ? 0 : len };

	CHECK(error <= 0);
	if (unlikely(log_enabled(LOG_LEVEL_TRACE)))
		trace_reply(req, error, len);
	if (unlikely(finish(req, error))) {
		if (req->op)
			req->op->late = true;
		req->ops->done(req);
		return false;
	}
	req->ops->reply(req, error, &iov, iov.iov_len ? 1 : 0);
	return true;
}

bool req_reply_filled(struct proto_req *req, size_t len)
{
	if (unlikely(log_enabled(LOG_LEVEL_TRACE)))
		trace_reply(req, 0, len);
	if (unlikely(finish(req, 0))) {
		if (req->op)
			req->op->late = true;
		req->ops->done(req);
		return false;
	}
	req->ops->reply_filled(req, len);
	return true;
}

void req_done(struct proto_req *req)
{
	(void)finish(req, 0); /* never answered, so never early */
	req->ops->done(req);
}

void op_malformed(struct op *op)
{
	const struct op_def *def = op_def_of(op->opcode);

	atomic_fetch_add(&op->s->malformed[op->req->ops->channel], 1);
	if (def && def->flags & OP_NO_REPLY)
		req_done(op->req);
	else
		op_error(op, -EINVAL);
}

/* ---- decoding ---- */

static bool is_dot_name(const char *text, size_t len)
{
	return text[0] == '.' && (len == 1 || (len == 2 && text[1] == '.'));
}

/* -EINVAL: what no kernel sends. -ENAMETOOLONG: what the kernel lets through and ext4 has no room for. */
static int check_name(const struct op_def *def, unsigned index, const char *text, size_t len)
{
	if (!len)
		return -EINVAL;
	if (def->flags & OP_SYMLINK && index == 1)
		return len > 4095 ? -ENAMETOOLONG : 0;
	if (def->flags & OP_XATTR_NAME)
		return len > NAME_MAX_EXT4 ? -ERANGE : 0;
	if (memchr(text, '/', len))
		return -EINVAL;
	if (!(def->flags & OP_DOT_NAMES) && is_dot_name(text, len))
		return -EINVAL;
	return len > NAME_MAX_EXT4 ? -ENAMETOOLONG : 0;
}

/* Where payload follows, texts end at their NUL; copying stops after the last of them. */
static bool copy_text(struct op *op, const struct op_def *def, size_t *ret_len)
{
	size_t len = MIN(op->in.left, (size_t)OP_TEXT_MAX);
	struct cursor probe = op->in;
	const char *nul;

	if (!def->names) {
		*ret_len = 0;
		return true;
	}
	if (!(def->flags & OP_PAYLOAD)) {
		*ret_len = op->in.left;
		return op->in.left <= OP_TEXT_MAX && cursor_copy(&op->in, op->text, op->in.left);
	}
	/* Only SETXATTR has both: one name of at most 255 bytes. */
	len = MIN(len, (size_t)NAME_MAX_EXT4 + 1);
	if (!cursor_copy(&probe, op->text, len))
		return false;
	nul = memchr(op->text, 0, len);
	if (!nul)
		return false;
	*ret_len = (size_t)(nul - op->text) + 1;
	return cursor_copy(&op->in, op->text, *ret_len);
}

static int decode_names(struct op *op, const struct op_def *def)
{
	size_t len = 0, at = 0;
	int first_error = 0;

	if (!copy_text(op, def, &len))
		return -EINVAL;
	for (unsigned i = 0; i < def->names; i++) {
		const char *text = op->text + at;
		const char *nul = at < len ? memchr(text, 0, len - at) : NULL;
		int err;

		if (!nul)
			return -EINVAL;
		op->name[i] = (struct fs_name){ .name = text, .len = (uint32_t)(nul - text) };
		/* TMPFILE names nothing; some kernels send an empty name, some "/". */
		err = op->opcode == FUSE_TMPFILE ? 0 : check_name(def, i, text, op->name[i].len);
		if (err == -EINVAL)
			return err;
		first_error = first_error ? first_error : err;
		at += op->name[i].len + 1;
	}
	return at == len ? first_error : -EINVAL;
}

/* Extensions stand at the request's end: of those, the groups are taken and the rest is skipped. */
static int decode_extensions(struct op *op, size_t ext_len)
{
	struct cursor ext = op->in;
	uint8_t skipped[64];

	if (!ext_len)
		return 0;
	/* Walk a copy of the cursor to where they begin. */
	for (size_t skip = op->in.left - ext_len; skip;) {
		size_t part = MIN(skip, sizeof(skipped));

		if (!cursor_copy(&ext, skipped, part))
			return -EINVAL;
		skip -= part;
	}
	op->in.left -= ext_len;
	while (ext.left) {
		struct fuse_ext_header head;
		uint32_t groups[2]; /* count, first */
		size_t body;

		if (!cursor_copy(&ext, &head, sizeof(head)) || head.size < sizeof(head) ||
		    head.size - sizeof(head) > ext.left)
			return -EINVAL;
		body = head.size - sizeof(head);
		if (head.type == WIRE_EXT_GROUPS && body >= sizeof(groups)) {
			(void)cursor_copy(&ext, groups, sizeof(groups)); /* length checked */
			body -= sizeof(groups);
			op->ctx.supp_gid = idmap_to_image(&op->s->opts.gids, groups[1]);
			op->ctx.has_supp_gid = groups[0] >= 1 && op->ctx.supp_gid != IDMAP_NONE;
		}
		while (body) {
			size_t part = MIN(body, sizeof(skipped));

			if (!cursor_copy(&ext, skipped, part))
				return -EINVAL;
			body -= part;
		}
	}
	return 0;
}

/* What matters of the arguments, for people. */
static void describe_args(const struct op *op, char *text, size_t len)
{
	const struct fuse_write_in *w = &op->arg.write;
	const struct fuse_read_in *r = &op->arg.read;
	const struct fuse_setattr_in *a = &op->arg.setattr;
	const struct fuse_fallocate_in *f = &op->arg.fallocate;

	text[0] = 0;
	switch (op->opcode) {
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		(void)snprintf(text, len, " at %" PRIu64 " size %u", r->offset, r->size);
		break;
	case FUSE_WRITE:
		(void)snprintf(text, len, " at %" PRIu64 " size %u write_flags %#x flags %#o",
			       w->offset, w->size, w->write_flags, w->flags);
		break;
	case FUSE_SETATTR:
		(void)snprintf(text, len, " valid %#x mode %#o uid %u gid %u size %" PRIu64,
			       a->valid, a->mode, a->uid, a->gid, a->size);
		break;
	case FUSE_FALLOCATE:
		(void)snprintf(text, len, " mode %#x at %" PRIu64 " size %" PRIu64, f->mode,
			       f->offset, f->length);
		break;
	case FUSE_LSEEK:
		(void)snprintf(text, len, " at %" PRIu64 " whence %u", op->arg.lseek.offset,
			       op->arg.lseek.whence);
		break;
	case FUSE_IOCTL: (void)snprintf(text, len, " command %#x", op->arg.ioctl.cmd); break;
	default: break;
	}
}

static void trace_request(const struct op *op, const struct op_def *def)
{
	char args[128];

	describe_args(op, args, sizeof(args));
	log_trace("#%" PRIu64 " %s node %" PRIu64 " uid %u pid %u%s%.*s%s%.*s%s", op->req->unique,
		  def->name, op->nodeid, op->ctx.uid, op->ctx.pid, op->name[0].len ? " " : "",
		  (int)op->name[0].len, op->name[0].len ? op->name[0].name : "",
		  op->name[1].len ? " " : "", (int)op->name[1].len,
		  op->name[1].len ? op->name[1].name : "", args);
}

static size_t total_len(const struct proto_req *req)
{
	size_t len = 0;

	for (int i = 0; i < req->in_count; i++)
		len += req->in[i].iov_len;
	return len;
}

int op_check_owner(const struct op *op)
{
	const struct proto_opts *opts = &op->s->opts;

	return (opts->uids.count && op->ctx.uid == IDMAP_NONE) ||
			       (opts->gids.count && op->ctx.gid == IDMAP_NONE) ?
		       -EOVERFLOW :
		       0;
}

/*
 * Arguments, extensions, names: 0, or what to answer (-EINVAL is counted as malformed). What was agreed on is not looked at
 * before it was: a guest may ask on one queue while its INIT is on another.
 */
static int decode(struct op *op, const struct op_def *def, size_t ext_len, bool ready)
{
	size_t arg_size = def->arg_size;
	int err;

	if (op->opcode == FUSE_SETXATTR && ready && op->s->setxattr_ext)
		arg_size = sizeof(struct fuse_setxattr_in);
	if (ext_len > op->in.left || arg_size > op->in.left - ext_len)
		return -EINVAL;
	err = decode_extensions(op, ext_len);
	if (err)
		return err;
	op->arg_len = arg_size;
	if (!cursor_copy(&op->in, op->arg.bytes, arg_size))
		return -EINVAL;
	err = decode_names(op, def);
	if (err)
		return err;
	return op->in.left && !(def->flags & OP_PAYLOAD) ? -EINVAL : 0;
}

static void serve(struct op *op, size_t ext_len)
{
	const struct op_def *def = op_def_of(op->opcode);
	bool ready = atomic_load_explicit(&op->s->ready, memory_order_acquire);
	int err;

	if (!def) {
		atomic_fetch_add(&op->s->unknown[op->req->ops->channel], 1);
		op_error(op, -ENOSYS);
		return;
	}
	err = decode(op, def, ext_len, ready);
	if (err == -EINVAL) {
		op_malformed(op);
		return;
	}
	if (unlikely(log_enabled(LOG_LEVEL_TRACE)))
		trace_request(op, def);
	if (!err && !def->handler)
		err = -ENOSYS;
	if (!err && !(def->flags & OP_EARLY) && !ready)
		err = -EIO;
	/* Written before ready, hence not looked at before. */
	op->ctx.session = err || def->flags & OP_EARLY ? NULL : op->s->fs_session;
	op->req->changes = def->flags & OP_CHANGES;
	if (!err)
		def->handler(op);
	else if (def->flags & OP_NO_REPLY)
		req_done(op->req);
	else
		op_error(op, err);
}

void proto_dispatch(struct proto_req *req)
{
	struct proto_session *s = req->session;
	struct fuse_in_header hdr = { 0 };
	struct op op;
	size_t len = total_len(req);
	bool whole;

	/* The texts are left as they are: what is used of them is what decode copies. */
	memset(&op, 0, offsetof(struct op, text));
	op.req = req;
	op.s = s;
	op.in = (struct cursor){ .iov = req->in, .count = req->in_count, .left = len };
	whole = cursor_copy(&op.in, &hdr, sizeof(hdr)) && hdr.len >= sizeof(hdr) && hdr.len <= len;
	req->start_ns = stats_now_ns();
	req->opcode = hdr.opcode;
	req->unique = hdr.unique;
	req->nodeid = hdr.nodeid;
	req->op = &op;
	req->aborted = false;
	req->unwanted = false;
	req->overdue = false;
	req->changes = false;
	inflight_add(req);
	op.opcode = hdr.opcode;
	op.nodeid = hdr.nodeid;
	op.ctx = (struct fs_ctx){
		.uid = idmap_to_image(&s->opts.uids, hdr.uid),
		.gid = idmap_to_image(&s->opts.gids, hdr.gid),
		.pid = hdr.pid,
		.unique = hdr.unique,
		.aborted = &req->aborted,
		.touched = &req->changes,
	};
	if (!whole) {
		op_malformed(&op);
		return;
	}
	op.in.left = hdr.len - sizeof(hdr);
	serve(&op, (size_t)hdr.total_extlen * 8);
	if (unlikely(op.late))
		abort_came_back(&op);
}
