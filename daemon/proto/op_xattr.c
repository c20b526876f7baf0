/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Extended attributes. A value is copied before fs sees it: ACLs are parsed, and what
 * is parsed must not change under the parser.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define VALUE_ON_STACK 4096

/* guest_noxattr: the kernel remembers it and does not ask again. */
static bool refused(struct op *op)
{
	if (op->s->opts.no_xattr)
		op_error(op, -ENOSYS);
	return op->s->opts.no_xattr;
}

static bool is_acl(const char *name)
{
	return !strcmp(name, "system.posix_acl_access") ||
	       !strcmp(name, "system.posix_acl_default");
}

/* Users that are others here: their privileges would be the image's root's, not theirs. */
static bool is_foreign_capability(const struct op *op)
{
	return op->s->opts.uids.count && !strcmp(op->name[0].name, "security.capability");
}

static int map_set_value(const struct op *op, void *value, size_t len)
{
	if (is_foreign_capability(op))
		return -EPERM;
	return is_acl(op->name[0].name) ?
		       idmap_acl_to_image(&op->s->opts.uids, &op->s->opts.gids, value, len) :
		       0;
}

static void set_value(struct op *op, const void *value, size_t len)
{
	const struct fuse_setxattr_in *in = &op->arg.setxattr;
	bool ext = op->s->setxattr_ext;
	struct fs_setxattr req = {
		.nodeid = op->nodeid,
		.name = op->name[0].name,
		.value = value,
		.len = len,
		.flags = (int)in->flags,
		.kill_sgid = ext && in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID,
	};

	req_reply(op->req, fs_setxattr(op->s->fs, &op->ctx, &req), NULL, 0);
}

void op_setxattr(struct op *op)
{
	const struct fuse_setxattr_in *in = &op->arg.setxattr;
	uint8_t small[VALUE_ON_STACK];
	_cleanup_free_ void *large = NULL;
	void *value = small;

	int err;

	if (refused(op))
		return;
	if (in->size != op->in.left || in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)) {
		op_malformed(op);
		return;
	}
	if (in->size > XATTR_SIZE_MAX) {
		op_error(op, -E2BIG);
		return;
	}
	if (in->size > sizeof(small))
		value = large = malloc(in->size);
	if (!value) {
		op_error(op, -ENOMEM);
		return;
	}
	if (!cursor_copy(&op->in, value, in->size)) {
		op_malformed(op);
		return;
	}
	err = map_set_value(op, value, in->size);
	if (err)
		op_error(op, err);
	else
		set_value(op, value, in->size);
}

static void reply_value(struct op *op, ssize_t len, const void *value)
{
	struct fuse_getxattr_out out = { 0 };

	if (len < 0) {
		op_error(op, (int)len);
	} else if (op->arg.getxattr.size) {
		req_reply(op->req, 0, value, (size_t)len);
	} else {
		out.size = (uint32_t)len;
		req_reply(op->req, 0, &out, sizeof(out));
	}
}

void op_getxattr(struct op *op)
{
	size_t size = MIN(op->arg.getxattr.size, op->req->out_size);
	ssize_t len = -ENODATA;

	if (refused(op))
		return;
	if (!is_foreign_capability(op))
		len = fs_getxattr(op->s->fs, &op->ctx, op->nodeid, op->name[0].name,
				  size ? op->req->out_buf : NULL, size);
	if (len > 0 && size && is_acl(op->name[0].name))
		idmap_acl_to_guest(&op->s->opts.uids, &op->s->opts.gids, op->req->out_buf,
				   (size_t)len);
	reply_value(op, len, op->req->out_buf);
}

void op_listxattr(struct op *op)
{
	size_t size = MIN(op->arg.getxattr.size, op->req->out_size);
	ssize_t len;

	if (refused(op))
		return;
	len = fs_listxattr(op->s->fs, &op->ctx, op->nodeid, size ? op->req->out_buf : NULL, size);
	reply_value(op, len, op->req->out_buf);
}

void op_removexattr(struct op *op)
{
	struct fs_setxattr req = { .nodeid = op->nodeid, .name = op->name[0].name };

	if (refused(op))
		return;
	req_reply(op->req, fs_setxattr(op->s->fs, &op->ctx, &req), NULL, 0);
}
