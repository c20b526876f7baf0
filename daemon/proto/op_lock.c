/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * POSIX and flock locks (share=on only; otherwise the kernel keeps them itself), and
 * INTERRUPT, which is about them alone: nothing else waits long enough.
 *
 * A waiting SETLKW holds no thread: the request is parked with fs, whose unlocker
 * answers it. An INTERRUPT may overtake the SETLKW it is for (two threads read the
 * device): it is then given back with EAGAIN, and the kernel sends it again.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct parked_lock {
	struct fs_lock_wait wait;
	struct proto_req *req;
};

static bool lock_of(const struct op *op, struct fs_flock *ret_lock)
{
	const struct fuse_lk_in *in = &op->arg.lk;

	if (in->lk.type != F_RDLCK && in->lk.type != F_WRLCK && in->lk.type != F_UNLCK)
		return false;
	if (in->lk.start > in->lk.end)
		return false;
	*ret_lock = (struct fs_flock){
		.nodeid = op->nodeid,
		.owner = in->owner,
		.start = in->lk.start,
		.end = in->lk.end,
		.type = in->lk.type,
		.pid = in->lk.pid,
		.flock = in->lk_flags & FUSE_LK_FLOCK,
	};
	return true;
}

void op_getlk(struct op *op)
{
	struct fuse_lk_out out = { 0 };
	struct fs_flock lock;
	int err;

	if (!op->s->opts.share) {
		op_error(op, -ENOSYS);
		return;
	}
	if (!lock_of(op, &lock)) {
		op_malformed(op);
		return;
	}
	err = fs_getlk(op->s->fs, &op->ctx, &lock);
	out.lk.start = lock.start;
	out.lk.end = lock.end;
	out.lk.type = lock.type;
	out.lk.pid = lock.pid;
	req_reply(op->req, err, &out, sizeof(out));
}

static void lock_waited(struct fs_lock_wait *wait, int error)
{
	struct parked_lock *parked = container_of(wait, struct parked_lock, wait);
	struct proto_req *req = parked->req;

	free(parked);
	req_reply(req, error, NULL, 0);
}

static void set_and_wait(struct op *op, const struct fs_flock *lock)
{
	struct parked_lock *parked = calloc(1, sizeof(*parked));
	int err;

	if (!parked) {
		op_error(op, -ENOLCK);
		return;
	}
	parked->req = op->req;
	parked->wait.done = lock_waited;
	parked->wait.unique = op->ctx.unique;
	parked->wait.session = op->ctx.session;
	err = fs_setlk(op->s->fs, &op->ctx, lock, &parked->wait);
	/* Parked: lock_waited() may have run already, so nothing of it is touched. */
	if (err == -EINPROGRESS)
		return;
	free(parked);
	req_reply(op->req, err, NULL, 0);
}

void op_setlk(struct op *op)
{
	struct fs_flock lock;

	if (!op->s->opts.share) {
		op_error(op, -ENOSYS);
		return;
	}
	if (!lock_of(op, &lock)) {
		op_malformed(op);
		return;
	}
	if (op->opcode == FUSE_SETLKW && lock.type != F_UNLCK)
		set_and_wait(op, &lock);
	else
		req_reply(op->req, fs_setlk(op->s->fs, &op->ctx, &lock, NULL), NULL, 0);
}

/* Is a SETLKW of that id being served? */
static bool lock_in_flight(struct proto_session *s, uint64_t unique)
{
	struct inflight_shard *shard = &s->inflight[(unique >> 1) % INFLIGHT_SHARDS];
	struct list *pos;
	bool found = false;

	mutex_lock(&shard->lock);
	list_for_each(pos, &shard->reqs) {
		const struct proto_req *req = list_entry(pos, struct proto_req, inflight);

		found = found || (req->unique == unique && req->opcode == FUSE_SETLKW);
	}
	mutex_unlock(&shard->lock);
	return found;
}

void op_interrupt(struct op *op)
{
	uint64_t unique = op->arg.interrupt.unique;

	if (op->s->opts.share && !fs_lock_interrupt(op->s->fs, op->ctx.session, unique) &&
	    lock_in_flight(op->s, unique))
		op_error(op, -EAGAIN);
	else
		req_done(op->req);
}
