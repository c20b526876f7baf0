// SPDX-License-Identifier: GPL-2.0-only
/*
 * The abort command: callers of stuck requests get an error. One request by its number, or all that are older than
 * some seconds; the latter leaves out who waits for a lock that somebody holds, for that may be as it should.
 *
 * A guest's requests are numbered by its kernel, so the guest is named, too. Of them only locks that wait can be given up:
 * others are read from and written to memory that is the guest's again once they are answered.
 */
#include <errno.h>

#include "daemon/ctl/server.h"
#include "daemon/dev/dev.h"
#include "daemon/proto/proto.h"
#include "vhost/vhost.h"

/* More than workers and parked requests of a usual mount; who has more aborts again. */
#define ABORT_LIST_MAX 4096
#define NS_PER_S UINT64_C(1000000000)
#define OLDER_SECONDS_MAX (UINT64_MAX / NS_PER_S)

struct aborting {
	struct proto_session *session;
	struct proto_inflight *list;
	uint32_t count;
	struct proto_stats *stats; /* for the opcodes' names */
	uint32_t guest;		   /* its number; 0: the host's mount */
	json_t *aborted;
};

static const struct proto_inflight *find(const struct aborting *a, uint64_t unique)
{
	for (uint32_t i = 0; i < a->count; i++)
		if (a->list[i].unique == unique)
			return &a->list[i];
	return NULL;
}

static int abort_one(struct aborting *a, const struct proto_inflight *r)
{
	int ret = proto_abort(a->session, r->unique);

	if (ret)
		return ret;
	(void)json_array_append_new(a->aborted,
				    ctl_request_json(r, a->stats)); /* memory: it shows in stats */
	log_warn("request %llu aborted by kfsctl after %llu s", (unsigned long long)r->unique,
		 (unsigned long long)(r->age_ns / NS_PER_S));
	return 0;
}

static int abort_unique(struct ctl_call *call, struct aborting *a, uint64_t unique)
{
	const struct proto_inflight *r = find(a, unique);
	int ret = r ? abort_one(a, r) : -ENOENT;

	switch (ret) {
	case 0: return 0;
	case -EALREADY:
		return ctl_fail(call, ret, "abort",
				"it was aborted before; its thread is still stuck", "");
	case -ENOMEM:
	case -EAGAIN:
		return ctl_fail(call, ret, "abort",
				"there is no memory or thread for another in its place",
				"try again");
	case -EOPNOTSUPP:
		return ctl_fail(call, ret, "abort",
				a->guest ? "its memory is the guest's once it is answered" :
					   "nobody waits for the answer of this request",
				a->guest ? "only locks that wait can be given up" : "");
	default:
		return ctl_fail(call, -ENOENT, "abort",
				"no such request, or it was answered meanwhile",
				"kfsctl stats lists those under way");
	}
}

static void abort_older(struct aborting *a, uint64_t seconds)
{
	for (uint32_t i = 0; i < a->count; i++)
		if (a->list[i].abortable && a->list[i].age_ns >= seconds * NS_PER_S)
			(void)abort_one(a, &a->list[i]); /* answered meanwhile: all the better */
}

static int run(struct ctl_call *call, struct aborting *a)
{
	bool by_number = json_object_get(call->args, "unique");

	if (by_number == (json_object_get(call->args, "older_seconds") != NULL))
		return ctl_fail(call, -EINVAL, "abort", "wants either unique or older_seconds", "");
	proto_get_stats(a->session, a->stats);
	a->count = proto_list_inflight(a->session, a->list, ABORT_LIST_MAX);
	if (by_number)
		return abort_unique(call, a, ctl_arg_count(call, "unique", 0));
	abort_older(a, MIN(ctl_arg_count(call, "older_seconds", 0), OLDER_SECONDS_MAX));
	return 0;
}

struct guest_call {
	struct ctl_call *call;
	struct aborting *a;
	bool found;
	int ret;
};

static void run_for_guest(void *arg, const struct vhost_guest *guest)
{
	struct guest_call *g = arg;

	if (guest->number != g->a->guest || !guest->session)
		return;
	g->found = true;
	g->a->session = guest->session;
	g->ret = run(g->call, g->a);
}

static int run_for(struct ctl_call *call, struct aborting *a)
{
	const struct ctl_env *env = &call->server->env;
	struct guest_call g = { .call = call, .a = a };

	if (!a->guest && env->dev) {
		a->session = dev_session(env->dev);
		return run(call, a);
	}
	if (!a->guest)
		return ctl_fail(call, -EOPNOTSUPP, "abort", "there is no mount on this host",
				"name the guest: --guest=N");
	vhost_visit(run_for_guest, &g);
	if (!g.found)
		return ctl_fail(call, -ENOENT, "abort", "no such guest",
				"kfsctl status lists those that are connected");
	return g.ret;
}

int ctl_abort(struct ctl_call *call)
{
	struct aborting a = { .session = NULL };
	int ret;

	a.guest = (uint32_t)MIN(ctl_arg_count(call, "guest", 0), (uint64_t)UINT32_MAX);
	a.list = calloc(ABORT_LIST_MAX, sizeof(*a.list));
	a.stats = calloc(1, sizeof(*a.stats));
	a.aborted = json_array();
	if (a.list && a.stats && a.aborted)
		ret = run_for(call, &a);
	else
		ret = ctl_fail(call, -ENOMEM, "abort", "no memory", "");
	free(a.list);
	free(a.stats);
	ctl_put(call->result, "aborted", a.aborted);
	return ret;
}
