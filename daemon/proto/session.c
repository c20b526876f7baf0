/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A session's life, and its statistics. The fs session behind it is opened by INIT (init.c).
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"

#define MAX_WRITE_DEFAULT (1u << 20)
#define MAX_WRITE_MIN 4096u
/* It is on its way: far longer than any thread is off its processor. */
#define GRANTED_WAIT_MS 10000u

int proto_session_new(struct fs *fs, struct inval_bus *bus, const struct proto_opts *opts,
		      void *transport, const struct transport_ops *ops,
		      struct proto_session **ret_session)
{
	struct proto_session *s;
	int err = 0;

	CHECK(opts->session);
	CHECK(ops->reply && ops->done);
	CHECK(!opts->guest ||
	      opts->share); /* the other profile keeps what nobody could call back */
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

/* Another session's thread may be granting a lock of this one just now: it ends that request. */
static void wait_for_granted(struct proto_session *s)
{
	for (unsigned c = 0; c < PROTO_CHANNELS; c++) {
		for (unsigned round = 0; inflight_count(s, c) && round < GRANTED_WAIT_MS; round++)
			(void)poll(NULL, 0, 1);
		CHECK(inflight_count(s, c) == 0);
	}
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
	wait_for_granted(s);
	free(s->arriving);
	free(s);
}

bool proto_ready(const struct proto_session *s)
{
	return atomic_load(&s->ready);
}

bool proto_when_notified(struct proto_session *s, struct proto_notified *wait)
{
	return s->notifier && notifier_wait(s->notifier, wait);
}

uint32_t proto_max_request(const struct proto_session *s)
{
	/* Header and arguments never exceed a page, which the kernel wants beside the payload. */
	return s->max_write + 4096;
}

bool proto_uses_uring(const struct proto_session *s)
{
	return proto_ready(s) && atomic_load(&s->init_flags) & FUSE_OVER_IO_URING;
}

static void add_op(struct stats_op *sum, const struct stats_op *op)
{
	sum->requests += op->requests;
	sum->errors += op->errors;
	sum->ns_total += op->ns_total;
	sum->ns_max = MAX(sum->ns_max, op->ns_max);
	for (unsigned b = 0; b < STATS_BUCKETS; b++)
		sum->bucket[b] += op->bucket[b];
}

static void get_ops(const struct proto_session *s, unsigned channel, struct proto_stats *ret_stats)
{
	for (uint32_t i = 0; i < PROTO_OPCODES; i++) {
		const struct op_def *def = op_def_of(i);

		ret_stats->ops[i].name = def ? def->name : NULL;
		if (def) {
			struct stats_op op;

			stats_sum(&s->stats[channel][i], &op);
			add_op(&ret_stats->ops[i].op, &op);
		}
	}
}

/* The fs session is there from before ready on until the session is freed. */
static void add_channel(struct proto_session *s, unsigned channel, struct proto_stats *ret_stats)
{
	get_ops(s, channel, ret_stats);
	ret_stats->unknown += atomic_load(&s->unknown[channel]);
	ret_stats->malformed += atomic_load(&s->malformed[channel]);
	ret_stats->in_flight += inflight_count(s, channel);
	ret_stats->major = s->major;
	ret_stats->minor = s->minor;
	ret_stats->init_flags = s->init_flags;
	/* There is one way for notifications; aborts are counted together. */
	if (channel == PROTO_CHANNEL_MAIN) {
		ret_stats->aborted = atomic_load(&s->aborted);
		ret_stats->read_bytes = atomic_load(&s->read_bytes);
		ret_stats->written_bytes = atomic_load(&s->written_bytes);
		if (proto_ready(s))
			fs_session_get_stats(s->fs_session, &ret_stats->fs);
		ret_stats->notifies = atomic_load(&s->notifies);
		ret_stats->notify_errors = atomic_load(&s->notify_errors);
	}
}

void proto_get_stats(struct proto_session *s, struct proto_stats *ret_stats)
{
	memset(ret_stats, 0, sizeof(*ret_stats));
	for (unsigned c = 0; c < PROTO_CHANNELS; c++)
		add_channel(s, c, ret_stats);
}

void proto_get_channel_stats(struct proto_session *s, enum proto_channel channel,
			     struct proto_stats *ret_stats)
{
	memset(ret_stats, 0, sizeof(*ret_stats));
	add_channel(s, channel, ret_stats);
}
