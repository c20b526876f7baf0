/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * POSIX and flock locks (share=on only; otherwise the kernel keeps them itself), and
 * INTERRUPT, which is about them alone: nothing else waits long enough.
 *
 * A waiting SETLKW holds no thread: the request is parked with fs, whose unlocker
 * answers it. An INTERRUPT may come at any moment, also before the SETLKW it is for. It is
 * noted first and looks for a parked lock then; a SETLKW parks first and looks for a
 * note then: whichever comes second sees the other.
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

/*
 * A lock was granted to a caller that was given an error meanwhile. If it held another lock
 * there before, that one goes too: it cannot be told that it has less than it thinks, but
 * a lock that nobody knows of would keep the others out until the file is closed.
 */
static void give_back(struct proto_session *s, const struct fs_ctx *ctx, struct fs_flock *lock)
{
	if (lock->type == F_UNLCK)
		return;
	lock->type = F_UNLCK;
	(void)fs_setlk(s->fs, ctx, lock, NULL); /* what is not locked any more is no error */
}

static void lock_waited(struct fs_lock_wait *wait, int error)
{
	struct parked_lock *parked = container_of(wait, struct parked_lock, wait);
	struct proto_req *req = parked->req;
	struct proto_session *s = req->session;
	struct fs_flock lock = parked->wait.lock;
	struct fs_ctx ctx = { .session = parked->wait.session };

	free(parked);
	if (error == -EINTR && atomic_load(&req->unwanted))
		error = -EIO;
	if (!req_reply(req, error, NULL, 0) && !error)
		give_back(s, &ctx, &lock);
}

static void reply_lock(struct op *op, const struct fs_flock *lock, int err)
{
	struct fs_flock given = *lock;

	if (!req_reply(op->req, err, NULL, 0) && !err)
		give_back(op->s, &op->ctx, &given);
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
	op_park(op);
	err = fs_setlk(op->s->fs, &op->ctx, lock, &parked->wait);
	/* Parked: lock_waited() may have run already, so nothing of it is touched. */
	if (err == -EINPROGRESS) {
		if (unlikely(inflight_is_interrupted(op->s, op->ctx.unique)))
			(void)fs_lock_interrupt(op->s->fs, op->ctx.session,
						op->ctx.unique); /* or it was granted */
		return;
	}
	op_unpark(op);
	free(parked);
	reply_lock(op, lock, err);
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
		reply_lock(op, &lock, fs_setlk(op->s->fs, &op->ctx, &lock, NULL));
}

void op_interrupt(struct op *op)
{
	uint64_t unique = op->arg.interrupt.unique;

	/* Without sharing no lock waits here; nothing else is given up for a signal. */
	if (op->s->opts.share) {
		inflight_interrupt(op->s, unique);
		(void)fs_lock_interrupt(op->s->fs, op->ctx.session, unique); /* noted anyway */
	}
	req_done(op->req);
}
