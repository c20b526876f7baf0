/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An aborted request that came back. Its kernel was told of an error and believes what it
 * believed before; if the change was made all the same, that is wrong now. So everything
 * that the request may have changed is forgotten there. Too much is harmless.
 *
 * fs tells of changes made after the abort itself (ctx_origin()); here are those made
 * before it, by a request that then waited to be durable.
 */
#include "daemon/proto/session.h"

static void forget_names(struct op *op, unsigned names)
{
	struct notifier *n = op->s->notifier;
	uint64_t newdir = op->nodeid;

	if (op->opcode == FUSE_RENAME)
		newdir = op->arg.rename.newdir;
	if (op->opcode == FUSE_RENAME2)
		newdir = op->arg.rename2.newdir;
	notifier_forget_name(n, op->nodeid, op->name[0]);
	if (op->opcode == FUSE_LINK)
		notifier_forget_attr(n, op->arg.link.oldnodeid);
	if (names < 2)
		return;
	notifier_forget_name(n, newdir, op->name[1]);
	notifier_forget_attr(n, newdir);
}

void abort_came_back(struct op *op)
{
	const struct op_def *def = op_def_of(op->opcode);
	struct notifier *n = op->s->notifier;

	if (!n || !def || !(def->flags & OP_CHANGES))
		return;
	if (op->opcode == FUSE_COPY_FILE_RANGE || op->opcode == WIRE_COPY_FILE_RANGE_64) {
		notifier_forget_inode(n, op->arg.copy.nodeid_out);
		return;
	}
	notifier_forget_inode(n, op->nodeid);
	if (def->names && !(def->flags & OP_XATTR_NAME))
		forget_names(op, def->flags & OP_SYMLINK ? 1 : def->names);
}
