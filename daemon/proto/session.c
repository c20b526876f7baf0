/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A session's life, and its statistics. The fs session behind it is opened by INIT (init.c).
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
	inflight_init(s);
	if (ops->notify)
		err = notifier_new(s, &s->notifier);
	if (!err && opts->request_timeout_s)
		err = overdue_new(s, opts->request_timeout_s, &s->overdue);
	if (err) {
		notifier_free(s->notifier);
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
	overdue_free(s->overdue);
	notifier_free(s->notifier);
	if (s->fs_session)
		fs_session_close(s->fs_session);
	CHECK(!inflight_count(s));
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
	ret_stats->aborted = atomic_load(&s->aborted);
	ret_stats->in_flight = inflight_count(s);
	ret_stats->major = s->major;
	ret_stats->minor = s->minor;
	ret_stats->init_flags = s->init_flags;
}
