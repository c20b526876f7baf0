/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside daemon/ctl: the server's state, and the commands that it answers. See ctl.h. */
#ifndef KFS_CTL_SERVER_H
#define KFS_CTL_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "daemon/base/lock.h"
#include "daemon/base/log.h"
#include "daemon/check/check.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/request.h"
#include "daemon/proto/proto.h"

/*
 * A mount's owner may hold all but the last slots, which are for root: a user's stuck scripts cannot keep the
 * administrator out.
 */
#define CTL_CLIENTS_MAX 16
#define CTL_CLIENTS_ROOT 4

enum ctl_freeze { CTL_THAWED, CTL_FREEZING, CTL_FROZEN, CTL_THAWING };

/* The check that runs, and the last one that came to its end. */
struct ctl_check_job {
	bool running;			/* [work] */
	_Atomic bool stop;		/* [atomic] check_stop was asked for */
	uint64_t started_ns;		/* [work] */
	time_t last_at;			/* [work] 0 = none yet */
	uint64_t last_findings;		/* [work] */
	struct check_progress progress; /* [atomic] */
};

struct ctl_server {
	struct ctl_env env;		    /* [written once]; fs: [lock] while held, else kept */
	const struct ctl_command *commands; /* [written once] */
	uint64_t started_ns;		    /* [written once] CLOCK_MONOTONIC */
	time_t started_at;		    /* [written once] */
	int listen_fd;			    /* [written once] */
	int stop_fd;			    /* [written once] an eventfd: readable = stop */
	pthread_t acceptor;
	struct mutex work;	/* LOCK_CTL: the fields below; not held while freezing or thawing */
	struct cond work_done;	/* freezing or thawing ended */
	enum ctl_freeze freeze; /* [work] */
	bool stopping;		/* [work] */
	struct ctl_check_job check;
	enum log_level level_before; /* [work] what "trace off" goes back to */
	struct mutex lock;	     /* LOCK_LEAF: clients */
	struct cond client_left;
	unsigned int clients; /* [lock] */
	unsigned int busy;    /* [lock] commands that run */
	bool held;	      /* [lock] none is begun */
};

bool ctl_is_frozen(struct ctl_server *server);
/* Thaws if it is frozen; false when it is not. With @stop nothing is frozen afterwards. */
bool ctl_thaw_now(struct ctl_server *server, bool stop);
uint64_t ctl_uptime_seconds(const struct ctl_server *server);

int ctl_status(struct ctl_call *call);
int ctl_stats(struct ctl_call *call);
int ctl_stats_kernel(struct ctl_call *call);
int ctl_sync(struct ctl_call *call);
int ctl_freeze(struct ctl_call *call);
int ctl_thaw(struct ctl_call *call);
int ctl_trim(struct ctl_call *call);
int ctl_trace(struct ctl_call *call);
int ctl_map(struct ctl_call *call);
int ctl_cache_show(struct ctl_call *call);
int ctl_cache_drop(struct ctl_call *call);
int ctl_abort(struct ctl_call *call);
int ctl_share_add(struct ctl_call *call);

/* For how long the kernel may keep answers. */
json_t *ctl_timeouts(const struct ctl_env *env);

/* guests.c: those that are connected; null where none can be. */
json_t *ctl_guests_status(const struct ctl_env *env);
json_t *ctl_guests_stats(bool histograms);

/* stats.c: what a session counted by opcode, and its requests under way. */
json_t *ctl_opcodes(const struct proto_stats *stats, bool histograms);
json_t *ctl_in_flight(struct proto_session *session, enum proto_channel channel,
		      const struct proto_stats *stats);

/* A request that is being served, as an object. */
json_t *ctl_request_json(const struct proto_inflight *r, const struct proto_stats *stats);
int ctl_check(struct ctl_call *call);
int ctl_check_stop(struct ctl_call *call);
int ctl_check_status(struct ctl_call *call);
/* For status, too. */
json_t *ctl_check_progress(struct ctl_server *server);

/* The same for a list of commands of the caller's: tests need no filesystem. */
MUST_USE int ctl_server_start_with(const struct ctl_env *env, const struct ctl_command *commands,
				   struct ctl_server **ret_server);

/* Sets @object[@key], which takes @value; a failure shows in the reply as an absent key, never as a crash. */
static inline void ctl_put(json_t *object, const char *key, json_t *value)
{
	(void)json_object_set_new(object, key, value); /* memory: the key is absent then */
}

static inline void ctl_put_count(json_t *object, const char *key, uint64_t count)
{
	ctl_put(object, key, json_integer((json_int_t)count));
}

#endif
