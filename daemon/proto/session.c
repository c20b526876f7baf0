/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A session's life, and what can be seen of it from outside: statistics and the
 * requests in flight. The fs session behind it is opened by INIT (init.c).
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"

#define MAX_WRITE_DEFAULT (1u << 20)
#define MAX_WRITE_MIN 4096u

int proto_session_new(struct fs *fs, struct inval_bus *bus, const struct proto_opts *opts,
		      void *transport, const struct transport_ops *ops,
		      struct proto_session **ret_session)
{
	struct proto_session *s;
	int err = 0;

	CHECK(opts->session);
	CHECK(ops->reply && ops->done);
	s = aligned_alloc(64, ROUND_UP(sizeof(*s), 64));
	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	s->fs = fs;
	s->bus = bus;
	s->transport = transport;
	s->ops = ops;
	s->opts = *opts;
	s->fs_opts = *opts->session;
	s->opts.session = &s->fs_opts;
	lost_init(&s->lost);
	s->max_write = opts->max_write ? opts->max_write : MAX_WRITE_DEFAULT;
	s->max_write = MIN(MAX(s->max_write, MAX_WRITE_MIN), MAX_WRITE_DEFAULT);
	for (unsigned i = 0; i < INFLIGHT_SHARDS; i++) {
		mutex_init(&s->inflight[i].lock, LOCK_LEAF);
		list_init(&s->inflight[i].reqs);
	}
	if (ops->notify)
		err = notifier_new(s, &s->notifier);
	if (err) {
		free(s);
		return err;
	}
	*ret_session = s;
	return 0;
}

void proto_session_free(struct proto_session *s)
{
	if (!s)
		return;
	atomic_store(&s->ready, false);
	notifier_free(s->notifier);
	if (s->fs_session)
		fs_session_close(s->fs_session);
	for (unsigned i = 0; i < INFLIGHT_SHARDS; i++)
		CHECK(list_empty(&s->inflight[i].reqs));
	free(s);
}

bool proto_ready(const struct proto_session *s)
{
	return atomic_load(&s->ready);
}

uint32_t proto_max_request(const struct proto_session *s)
{
	/* Header and arguments never exceed a page, which the kernel wants beside the payload. */
	return s->max_write + 4096;
}

void proto_get_stats(struct proto_session *s, struct proto_stats *ret_stats)
{
	memset(ret_stats, 0, sizeof(*ret_stats));
	for (uint32_t i = 0; i < PROTO_OPCODES; i++) {
		const struct op_def *def = op_def_of(i);

		ret_stats->ops[i].name = def ? def->name : NULL;
		if (def)
			stats_sum(&s->stats[i], &ret_stats->ops[i].op);
	}
	ret_stats->unknown = atomic_load(&s->unknown);
	ret_stats->malformed = atomic_load(&s->malformed);
	ret_stats->notifies = atomic_load(&s->notifies);
	ret_stats->notify_errors = atomic_load(&s->notify_errors);
	for (unsigned i = 0; i < INFLIGHT_SHARDS; i++) {
		struct list *pos;

		mutex_lock(&s->inflight[i].lock);
		list_for_each(pos, &s->inflight[i].reqs)
			ret_stats->in_flight++;
		mutex_unlock(&s->inflight[i].lock);
	}
	ret_stats->major = s->major;
	ret_stats->minor = s->minor;
	ret_stats->init_flags = s->init_flags;
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
