// SPDX-License-Identifier: GPL-2.0-only
/* What status and stats say of virtual machines. No lock of the filesystem is taken here. */
#include <stdlib.h>

#include "daemon/ctl/server.h"
#include "vhost/vhost.h"

#define NS_PER_S UINT64_C(1000000000)

struct listing {
	json_t *array;
	struct proto_stats *stats; /* NULL: for status */
	bool histograms;
};

static json_t *guest_json(const struct vhost_guest *guest)
{
	json_t *o = json_object();

	ctl_put_count(o, "number", guest->number);
	ctl_put_count(o, "front_end_pid", (uint64_t)guest->pid);
	ctl_put_count(o, "connected_seconds", guest->age_ns / NS_PER_S);
	ctl_put(o, "mounted", json_boolean(guest->session && proto_ready(guest->session)));
	return o;
}

static void list_for_status(void *arg, const struct vhost_guest *guest)
{
	struct listing *l = arg;

	(void)json_array_append_new(l->array, guest_json(guest)); /* short if memory is */
}

json_t *ctl_guests_status(const struct ctl_env *env)
{
	const struct ctl_guests *g = &env->guests;
	struct listing l = { .array = json_array() };
	json_t *o;

	vhost_visit(list_for_status, &l);
	if (!g->socket && !json_array_size(l.array)) {
		json_decref(l.array);
		return json_null();
	}
	o = json_object();
	ctl_put(o, "socket", ctl_text(g->socket));
	ctl_put(o, "tag", ctl_text(g->tag));
	ctl_put(o, "directory", ctl_text(g->directory));
	ctl_put(o, "writable", json_boolean(g->writable));
	ctl_put(o, "cache", json_string(g->cache));
	ctl_put(o, "timeout_seconds", json_real(g->timeout_s));
	ctl_put(o, "writeback", json_boolean(g->writeback));
	ctl_put_count(o, "guests_max", g->max);
	ctl_put(o, "connected", l.array);
	return o;
}

/* What the guest holds, beside what it may hold. */
static void put_held(json_t *o, const struct fs_session_stats *fs)
{
	ctl_put_count(o, "nodes", fs->nodes);
	ctl_put_count(o, "nodes_max", fs->nodes_max);
	ctl_put_count(o, "locks", fs->locks);
	ctl_put_count(o, "locks_max", fs->locks_max);
	ctl_put_count(o, "lock_waiters", fs->lock_waiters);
}

static void list_for_stats(void *arg, const struct vhost_guest *guest)
{
	struct listing *l = arg;
	json_t *o = guest_json(guest);

	ctl_put_count(o, "requests", guest->requests);
	ctl_put_count(o, "refused", guest->refused);
	if (guest->session) {
		proto_get_stats(guest->session, l->stats);
		ctl_put(o, "protocol", json_sprintf("%u.%u", l->stats->major, l->stats->minor));
		ctl_put(o, "init_flags",
			json_sprintf("0x%llx", (unsigned long long)l->stats->init_flags));
		ctl_put_count(o, "unknown", l->stats->unknown);
		ctl_put_count(o, "malformed", l->stats->malformed);
		ctl_put_count(o, "aborted", l->stats->aborted);
		ctl_put_count(o, "read_bytes", l->stats->read_bytes);
		ctl_put_count(o, "written_bytes", l->stats->written_bytes);
		put_held(o, &l->stats->fs);
		ctl_put(o, "opcodes", ctl_opcodes(l->stats, l->histograms));
		ctl_put_count(o, "in_flight_count", l->stats->in_flight);
		ctl_put(o, "in_flight",
			ctl_in_flight(guest->session, PROTO_CHANNEL_MAIN, l->stats));
	}
	(void)json_array_append_new(l->array, o); /* short if memory is */
}

json_t *ctl_guests_stats(bool histograms)
{
	struct listing l = { .histograms = histograms };

	l.array = json_array();
	l.stats = calloc(1, sizeof(*l.stats));
	if (l.stats)
		vhost_visit(list_for_stats, &l);
	free(l.stats);
	return l.array;
}
