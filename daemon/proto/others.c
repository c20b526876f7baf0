/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What other kernels hold of a file. The host's kernel writes through what is written, but not what is stored into mapped
 * pages; it would write such a page whole, some time, over what a guest has changed meanwhile, or behind a new end of the
 * file. So it is asked for it before a guest's change (and told to forget the range after it, which notify.c does).
 *
 * Between the two nothing keeps a program on the host from storing into the same page again: such stores and a guest's
 * write at the same moment have no order, page by page, as on any network filesystem.
 *
 * Caller's thread waits. It holds no lock, and no thread that serves the host waits for it: what the kernel writes back
 * comes as WRITEs of the host's own.
 */
#include <errno.h>
#include <fcntl.h>

#include "daemon/proto/session.h"

int op_collect(struct op *op, uint64_t nodeid, uint64_t off, uint64_t len)
{
	struct proto_session *host = op->s->opts.host;

	if (!host || !host->notifier ||
	    !fs_has_mappers(op->s->fs, &op->ctx, nodeid, host->fs_session))
		return 0;
	return notifier_write_back(host->notifier, nodeid, off, len);
}

bool op_hides_data(const struct op *op)
{
	return op->s->adopted || fs_has_mappers(op->s->fs, &op->ctx, op->nodeid, op->s->fs_session);
}

/* A shared mapping that can be stored into takes a description for reading and writing. */
static bool may_map(const struct proto_session *s, uint32_t flags)
{
	return s->opts.share && (flags & O_ACCMODE) == O_RDWR;
}

int op_opened(struct op *op, uint64_t nodeid, uint32_t flags)
{
	return may_map(op->s, flags) ? fs_mapper_add(op->s->fs, &op->ctx, nodeid) : 0;
}

void op_closed(struct op *op, uint64_t nodeid, uint32_t flags)
{
	if (may_map(op->s, flags))
		fs_mapper_del(op->s->fs, &op->ctx, nodeid);
}
