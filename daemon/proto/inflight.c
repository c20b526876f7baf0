/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The requests that are being served, for people who look for a stuck one, and for the
 * INTERRUPT that looks for a lock.
 *
 * An INTERRUPT may overtake its request: two threads read the device, and the one with the
 * request may be slower. The kernel sends it once. Answering EAGAIN would have it sent
 * again, but only on the device descriptor that the request was read from, and with cloned
 * descriptors that is another one. So it is remembered until its request arrives.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "daemon/base/log.h"

#define NS_PER_S UINT64_C(1000000000)
/* What stat shows of the root, whose nodeid is FUSE's 1. */
#define ROOT_INO 2

static struct inflight_shard *shard_of(struct proto_session *s, uint64_t unique)
{
	/* Bit 0 marks INTERRUPT; ids step by 2. */
	return &s->inflight[(unique >> 1) % INFLIGHT_SHARDS];
}

void inflight_init(struct proto_session *s)
{
	for (unsigned i = 0; i < INFLIGHT_SHARDS; i++) {
		mutex_init(&s->inflight[i].lock, LOCK_INFLIGHT);
		list_init(&s->inflight[i].reqs);
	}
}

uint64_t inflight_count(struct proto_session *s, enum proto_channel channel)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < INFLIGHT_SHARDS; i++) {
		struct list *pos;

		mutex_lock(&s->inflight[i].lock);
		list_for_each(pos, &s->inflight[i].reqs)
			count += list_entry(pos, struct proto_req, inflight)->ops->channel ==
				 channel;
		mutex_unlock(&s->inflight[i].lock);
	}
	return count;
}

/* Did an INTERRUPT for @unique come before it? Caller holds the lock. */
static bool early_take(struct inflight_shard *shard, uint64_t unique)
{
	if (likely(!shard->early_count))
		return false;
	for (uint32_t i = 0; i < INTERRUPTS_EARLY_MAX; i++)
		if (shard->early[i] == unique && unique) {
			shard->early[i] = 0;
			shard->early_count--;
			return true;
		}
	return false;
}

/* Caller holds the lock. The oldest gives way. */
static void early_put(struct inflight_shard *shard, uint64_t unique)
{
	uint64_t *slot = &shard->early[shard->early_next++ % INTERRUPTS_EARLY_MAX];

	shard->early_count += unique != 0;
	shard->early_count -= *slot != 0;
	*slot = unique;
}

void inflight_add(struct proto_req *req)
{
	struct inflight_shard *shard = shard_of(req->session, req->unique);

	mutex_lock(&shard->lock);
	req->interrupted = early_take(shard, req->unique);
	list_add_tail(&shard->reqs, &req->inflight);
	mutex_unlock(&shard->lock);
}

/* Caller holds the lock. */
static struct proto_req *req_find(struct inflight_shard *shard, uint64_t unique)
{
	struct list *pos;

	list_for_each(pos, &shard->reqs) {
		struct proto_req *req = list_entry(pos, struct proto_req, inflight);

		if (req->unique == unique)
			return req;
	}
	return NULL;
}

void inflight_interrupt(struct proto_session *s, uint64_t unique)
{
	struct inflight_shard *shard = shard_of(s, unique);
	struct proto_req *req;

	mutex_lock(&shard->lock);
	req = req_find(shard, unique);
	if (req)
		req->interrupted = true;
	else
		early_put(shard, unique);
	mutex_unlock(&shard->lock);
}

bool inflight_is_interrupted(struct proto_session *s, uint64_t unique)
{
	struct inflight_shard *shard = shard_of(s, unique);
	const struct proto_req *req;
	bool interrupted;

	mutex_lock(&shard->lock);
	req = req_find(shard, unique);
	interrupted = req && req->interrupted;
	mutex_unlock(&shard->lock);
	return interrupted;
}

uint64_t inflight_ino(uint64_t nodeid)
{
	return nodeid == FUSE_ROOT_ID ? ROOT_INO : (uint32_t)nodeid;
}

static void say_overdue_end(const struct proto_req *req)
{
	const struct op_def *def = op_def_of(req->opcode);

	log_warn("request %" PRIu64 " (%s of inode %" PRIu64 ") ended after %" PRIu64 " s",
		 req->unique, def ? def->name : "unknown", inflight_ino(req->nodeid),
		 (stats_now_ns() - req->start_ns) / NS_PER_S);
}

bool inflight_del(struct proto_req *req)
{
	struct inflight_shard *shard = shard_of(req->session, req->unique);
	bool overdue;

	mutex_lock(&shard->lock);
	list_del(&req->inflight);
	overdue = req->overdue;
	mutex_unlock(&shard->lock);
	if (unlikely(overdue))
		say_overdue_end(req);
	return atomic_load(&req->aborted);
}

/* ---- aborting ---- */

/* A lock that waits is taken out of its queue, and answered by that. */
static bool abort_lock(struct proto_session *s, uint64_t unique)
{
	struct inflight_shard *shard = shard_of(s, unique);
	struct proto_req *req;
	bool waits = false;

	mutex_lock(&shard->lock);
	req = req_find(shard, unique);
	if (req && req->opcode == FUSE_SETLKW) {
		req->interrupted = true;
		atomic_store(&req->unwanted, true);
		waits = true;
	}
	mutex_unlock(&shard->lock);
	return waits && fs_lock_interrupt(s->fs, s->fs_session, unique);
}

/* Caller holds the shard's lock. */
static int abort_locked(struct proto_req *req)
{
	const struct op_def *def = op_def_of(req->opcode);
	int err;

	if (!def || def->flags & (OP_NO_REPLY | OP_NO_ABORT) || !req->ops->answer_early)
		return -EOPNOTSUPP;
	if (atomic_load(&req->aborted))
		return -EALREADY;
	atomic_store(&req->aborted, true);
	/*
	 * With the lock: until the answer is written the request must not end, for its
	 * descriptor may be closed then. It is a copy into the kernel and waits for nobody.
	 */
	err = req->ops->answer_early(req, -EIO);
	if (err)
		atomic_store(&req->aborted, false);
	return err;
}

int proto_abort(struct proto_session *s, uint64_t unique)
{
	struct inflight_shard *shard = shard_of(s, unique);
	struct proto_req *req;
	int err = -ENOENT;

	if (!proto_ready(s))
		return -ENOENT;
	if (abort_lock(s, unique)) {
		err = 0;
	} else {
		mutex_lock(&shard->lock);
		req = req_find(shard, unique);
		if (req)
			err = abort_locked(req);
		mutex_unlock(&shard->lock);
	}
	if (!err)
		atomic_fetch_add(&s->aborted, 1);
	return err;
}

/* ---- listing ---- */

/* Can it be aborted, and is it not just waiting for a lock that somebody holds? */
static bool is_stuck_below(const struct proto_req *req)
{
	const struct op_def *def = op_def_of(req->opcode);

	return req->ops->answer_early && !atomic_load(&req->aborted) &&
	       req->opcode != FUSE_SETLKW && def && !(def->flags & (OP_NO_REPLY | OP_NO_ABORT));
}

static int older_first(const void *a, const void *b)
{
	uint64_t x = ((const struct proto_inflight *)a)->age_ns;
	uint64_t y = ((const struct proto_inflight *)b)->age_ns;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* Where the list is full, an older request takes the place of the youngest in it. */
static uint32_t list_put(struct proto_inflight *list, uint32_t count, uint32_t max,
			 const struct proto_inflight *one)
{
	uint32_t youngest = 0;

	if (count < max) {
		list[count] = *one;
		return count + 1;
	}
	for (uint32_t i = 1; i < count; i++)
		if (list[i].age_ns < list[youngest].age_ns)
			youngest = i;
	if (count && list[youngest].age_ns < one->age_ns)
		list[youngest] = *one;
	return count;
}

uint32_t proto_list_inflight(struct proto_session *s, struct proto_inflight *list, uint32_t max)
{
	uint64_t now = stats_now_ns();
	uint32_t count = 0;

	for (unsigned i = 0; i < INFLIGHT_SHARDS; i++) {
		struct list *pos;

		mutex_lock(&s->inflight[i].lock);
		list_for_each(pos, &s->inflight[i].reqs) {
			const struct proto_req *req = list_entry(pos, struct proto_req, inflight);
			struct proto_inflight one = {
				.unique = req->unique,
				.nodeid = req->nodeid,
				.age_ns = now > req->start_ns ? now - req->start_ns : 0,
				.opcode = req->opcode,
				.channel = req->ops->channel,
				.aborted = atomic_load(&req->aborted),
				.abortable = is_stuck_below(req),
			};

			count = list_put(list, count, max, &one);
		}
		mutex_unlock(&s->inflight[i].lock);
	}
	qsort(list, count, sizeof(*list), older_first);
	return count;
}
