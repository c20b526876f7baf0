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

#include <stdlib.h>

static struct inflight_shard *shard_of(struct proto_session *s, uint64_t unique)
{
	/* Bit 0 marks INTERRUPT; ids step by 2. */
	return &s->inflight[(unique >> 1) % INFLIGHT_SHARDS];
}

void inflight_init(struct proto_session *s)
{
	for (unsigned i = 0; i < INFLIGHT_SHARDS; i++) {
		mutex_init(&s->inflight[i].lock, LOCK_LEAF);
		list_init(&s->inflight[i].reqs);
	}
}

uint64_t inflight_count(struct proto_session *s)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < INFLIGHT_SHARDS; i++) {
		struct list *pos;

		mutex_lock(&s->inflight[i].lock);
		list_for_each(pos, &s->inflight[i].reqs)
			count++;
		mutex_unlock(&s->inflight[i].lock);
	}
	return count;
}

/* Did an INTERRUPT for @unique come before it? Caller holds the lock. */
static bool early_take(struct inflight_shard *shard, uint64_t unique)
{
	for (uint32_t i = 0; i < INTERRUPTS_EARLY_MAX; i++)
		if (unlikely(shard->early[i] == unique && unique)) {
			shard->early[i] = 0;
			return true;
		}
	return false;
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
		shard->early[shard->early_next++ % INTERRUPTS_EARLY_MAX] = unique;
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

void inflight_del(struct proto_req *req)
{
	struct inflight_shard *shard = shard_of(req->session, req->unique);

	mutex_lock(&shard->lock);
	list_del(&req->inflight);
	mutex_unlock(&shard->lock);
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
			};

			count = list_put(list, count, max, &one);
		}
		mutex_unlock(&s->inflight[i].lock);
	}
	qsort(list, count, sizeof(*list), older_first);
	return count;
}
