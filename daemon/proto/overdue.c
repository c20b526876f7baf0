/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Says in the log that a request is not being answered. Nothing else is done about it: only
 * a person knows whether the storage will come back.
 *
 * A thread of its own, because any other may be the one that is stuck: the main thread
 * unmounts, and then waits for requests itself. Locks may wait as long as they like.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/base/log.h"
#include "daemon/proto/session.h"

#define NS_PER_S UINT64_C(1000000000)
/* Lines of one look; when storage hangs, a thousand requests do, and all say the same. */
#define LINES_MAX 8

struct overdue_watch {
	struct proto_session *s;
	uint64_t limit_ns;
	pthread_t thread;
	struct mutex lock; /* LOCK_LEAF */
	struct cond stopped;
	bool stop; /* [lock] */
};

struct found {
	struct proto_inflight lines[LINES_MAX];
	uint32_t count; /* of lines, and of those that have none */
};

static void note(struct found *found, const struct proto_req *req, uint64_t age_ns)
{
	if (found->count < LINES_MAX)
		found->lines[found->count] = (struct proto_inflight){ .unique = req->unique,
								      .nodeid = req->nodeid,
								      .age_ns = age_ns,
								      .opcode = req->opcode };
	found->count++;
}

static void look_at(struct overdue_watch *w, struct inflight_shard *shard, struct found *found)
{
	uint64_t now = stats_now_ns();
	struct list *pos;

	mutex_lock(&shard->lock);
	list_for_each(pos, &shard->reqs) {
		struct proto_req *req = list_entry(pos, struct proto_req, inflight);
		uint64_t age_ns = now > req->start_ns ? now - req->start_ns : 0;

		if (req->overdue || age_ns < w->limit_ns || req->opcode == FUSE_SETLKW ||
		    atomic_load(&req->aborted))
			continue;
		req->overdue = true;
		note(found, req, age_ns);
	}
	mutex_unlock(&shard->lock);
}

static void look(struct overdue_watch *w)
{
	struct found found = { .count = 0 };

	for (unsigned i = 0; i < INFLIGHT_SHARDS; i++)
		look_at(w, &w->s->inflight[i], &found);
	for (uint32_t i = 0; i < MIN(found.count, (uint32_t)LINES_MAX); i++) {
		const struct proto_inflight *r = &found.lines[i];
		const struct op_def *def = op_def_of(r->opcode);

		log_warn("request %" PRIu64 " (%s of inode %" PRIu64
			 ") has had no answer for %" PRIu64
			 " s: look at the storage below the image; 'kfsctl abort %" PRIu64
			 "' gives its caller an error",
			 r->unique, def ? def->name : "unknown", inflight_ino(r->nodeid),
			 r->age_ns / NS_PER_S, r->unique);
	}
	if (found.count > LINES_MAX)
		log_warn("and %u requests more: see 'kfsctl stats'", found.count - LINES_MAX);
}

static void *watch_thread(void *arg)
{
	struct overdue_watch *w = arg;
	/* Often enough to be no more than a quarter late. */
	uint64_t pause_ns = MAX(w->limit_ns / 4, NS_PER_S / 4);

	(void)pthread_setname_np(pthread_self(), "kfs-overdue"); /* for people who look */
	mutex_lock(&w->lock);
	while (!w->stop) {
		uint64_t until = stats_now_ns() + pause_ns;
		struct timespec deadline = { .tv_sec = (time_t)(until / NS_PER_S),
					     .tv_nsec = (long)(until % NS_PER_S) };

		(void)cond_wait_until(&w->stopped, &w->lock, &deadline); /* woken: looks sooner */
		if (w->stop)
			break;
		mutex_unlock(&w->lock);
		look(w);
		mutex_lock(&w->lock);
	}
	mutex_unlock(&w->lock);
	return NULL;
}

int overdue_new(struct proto_session *s, uint32_t limit_s, struct overdue_watch **ret_watch)
{
	struct overdue_watch *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->s = s;
	w->limit_ns = limit_s * NS_PER_S;
	mutex_init(&w->lock, LOCK_LEAF);
	cond_init(&w->stopped);
	err = pthread_create(&w->thread, NULL, watch_thread, w);
	if (err) {
		free(w);
		return -err;
	}
	*ret_watch = w;
	return 0;
}

void overdue_free(struct overdue_watch *w)
{
	if (!w)
		return;
	mutex_lock(&w->lock);
	w->stop = true;
	cond_wake_all(&w->stopped);
	mutex_unlock(&w->lock);
	(void)pthread_join(w->thread, NULL); /* started by us, joined once */
	free(w);
}
