// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stats command: every counter of every layer, and the requests that are being served.
 *
 * Counters only grow while the daemon lives. Like status it takes no lock of the filesystem, so that it shows a
 * request that hangs.
 */
#include <errno.h>

#include "daemon/base/stats.h"
#include "daemon/bpf/bpf.h"
#include "daemon/bpf/trace.h"
#include "daemon/ctl/kernel_json.h"
#include "daemon/ctl/server.h"
#include "daemon/dev/dev.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "daemon/proto/proto.h"
#include "daemon/store/inode.h"

#define INFLIGHT_MAX 64

static json_t *latency(const struct stats_op *op, bool histograms)
{
	json_t *o = json_object();

	ctl_put_count(o, "requests", op->requests);
	ctl_put_count(o, "errors", op->errors);
	ctl_put_count(o, "total_ns", op->ns_total);
	ctl_put_count(o, "mean_ns", op->requests ? op->ns_total / op->requests : 0);
	/* A bucket's upper bound may lie above everything that was seen. */
	ctl_put_count(o, "p50_ns", MIN(stats_quantile(op, 0.5), op->ns_max));
	ctl_put_count(o, "p99_ns", MIN(stats_quantile(op, 0.99), op->ns_max));
	ctl_put_count(o, "max_ns", op->ns_max);
	if (histograms) {
		json_t *buckets = json_array();
		unsigned int i;

		for (i = 0; i < STATS_BUCKETS; i++)
			(void)json_array_append_new(
				buckets,
				json_integer((json_int_t)op->bucket[i])); /* short if memory is */
		ctl_put(o, "buckets", buckets);
	}
	return o;
}

/* Bucket i counts latencies of [2^i, 2^(i+1)) ns: written once, not with each opcode. */
json_t *ctl_opcodes(const struct proto_stats *stats, bool histograms)
{
	json_t *o = json_object();
	unsigned int i;

	for (i = 0; i < PROTO_OPCODES; i++)
		if (stats->ops[i].name && stats->ops[i].op.requests)
			ctl_put(o, stats->ops[i].name, latency(&stats->ops[i].op, histograms));
	return o;
}

json_t *ctl_request_json(const struct proto_inflight *r, const struct proto_stats *stats)
{
	const char *name = r->opcode < PROTO_OPCODES ? stats->ops[r->opcode].name : NULL;
	/* The root's nodeid is FUSE's 1; elsewhere the low half is the inode number. */
	uint64_t ino = r->nodeid == 1 ? EXT4_ROOT_INO : (uint32_t)r->nodeid;
	json_t *o = json_object();

	ctl_put_count(o, "unique", r->unique);
	ctl_put(o, "opcode", name ? json_string(name) : json_sprintf("%u", r->opcode));
	ctl_put_count(o, "ino", ino);
	/* A nodeid is both in one number, too large for JSON's integers. */
	ctl_put_count(o, "generation", r->nodeid >> 32);
	ctl_put_count(o, "age_ns", r->age_ns);
	return o;
}

json_t *ctl_in_flight(struct proto_session *session, enum proto_channel channel,
		      const struct proto_stats *stats)
{
	struct proto_inflight list[INFLIGHT_MAX];
	uint32_t count = proto_list_inflight(session, list, INFLIGHT_MAX);
	json_t *array = json_array();
	uint32_t i;

	for (i = 0; i < count; i++) {
		json_t *o;

		if (list[i].channel != channel)
			continue;
		o = ctl_request_json(&list[i], stats);
		ctl_put(o, "aborted", json_boolean(list[i].aborted));
		(void)json_array_append_new(array, o); /* short if memory is */
	}
	return array;
}

static json_t *transport(struct proto_session *session, enum proto_channel channel, bool histograms,
			 struct proto_stats *stats)
{
	json_t *o = json_object();

	proto_get_channel_stats(session, channel, stats);
	ctl_put(o, "name", json_string(channel == PROTO_CHANNEL_URING ? "uring" : "dev"));
	ctl_put(o, "protocol", json_sprintf("%u.%u", stats->major, stats->minor));
	ctl_put(o, "init_flags", json_sprintf("0x%llx", (unsigned long long)stats->init_flags));
	ctl_put_count(o, "unknown", stats->unknown);
	ctl_put_count(o, "malformed", stats->malformed);
	ctl_put_count(o, "notifies", stats->notifies);
	ctl_put_count(o, "notify_errors", stats->notify_errors);
	ctl_put_count(o, "aborted", stats->aborted);
	ctl_put(o, "opcodes", ctl_opcodes(stats, histograms));
	ctl_put(o, "in_flight", ctl_in_flight(session, channel, stats));
	return o;
}

/* The device, and beside it the rings if there are any. */
static int put_transports(json_t *result, const struct ctl_env *env, bool histograms)
{
	json_t *array = json_array(), *o;

	if (env->dev) {
		struct proto_stats *stats = calloc(1, sizeof(*stats));
		struct proto_session *session = dev_session(env->dev);
		struct dev_stats threads;

		if (!stats) {
			json_decref(array);
			return -ENOMEM;
		}
		dev_get_stats(env->dev, &threads);
		o = transport(session, PROTO_CHANNEL_MAIN, histograms, stats);
		ctl_put_count(o, "threads", threads.threads);
		ctl_put_count(o, "threads_max", threads.threads_max);
		(void)json_array_append_new(array, o); /* memory: absent */
		if (threads.uring) {
			o = transport(session, PROTO_CHANNEL_URING, histograms, stats);
			ctl_put_count(o, "queues", threads.uring_queues);
			ctl_put_count(o, "threads", threads.uring_threads);
			ctl_put_count(o, "threads_max", threads.uring_threads_max);
			ctl_put_count(o, "parked", threads.uring_parked);
			(void)json_array_append_new(array, o); /* memory: absent */
		}
		free(stats);
	}
	ctl_put(result, "transports", array);
	return 0;
}

static json_t *cache(uint64_t hits, uint64_t misses, uint64_t evictions)
{
	json_t *o = json_object();

	ctl_put_count(o, "hits", hits);
	ctl_put_count(o, "misses", misses);
	ctl_put_count(o, "evictions", evictions);
	return o;
}

static json_t *caches(struct fs *fs, struct store *s)
{
	json_t *o = json_object(), *buffers, *inodes, *nodes = json_object();
	struct cache_stats bufs;
	struct icache_stats ics;
	struct fs_stats fss;

	cache_get_stats(s->cache, &bufs);
	icache_get_stats(s->icache, &ics);
	fs_get_stats(fs, &fss);
	buffers = cache(bufs.hits, bufs.misses, bufs.evictions);
	ctl_put_count(buffers, "count", bufs.bufs);
	ctl_put_count(buffers, "count_max", bufs.bufs_max);
	ctl_put_count(buffers, "bytes", bufs.bufs * s->block_size);
	ctl_put(o, "buffers", buffers);
	inodes = cache(ics.hits, ics.misses, ics.evictions);
	ctl_put_count(inodes, "count", ics.inodes);
	ctl_put_count(inodes, "count_max", ics.inodes_max);
	ctl_put(o, "inodes", inodes);
	ctl_put_count(nodes, "count", fss.nodes);
	ctl_put_count(nodes, "unlinked_open", fss.unlinked_open);
	ctl_put_count(nodes, "dax_files", fss.dax_files);
	ctl_put_count(nodes, "dax_ranges", fss.dax_ranges);
	ctl_put(o, "nodes", nodes);
	return o;
}

static json_t *locks(struct fs *fs)
{
	json_t *o = json_object();
	struct fs_stats stats;

	fs_get_stats(fs, &stats);
	ctl_put_count(o, "held", stats.locks);
	ctl_put_count(o, "waiting", stats.lock_waiters);
	return o;
}

static json_t *journal(struct store *s)
{
	json_t *o = json_object();
	struct journal_stats stats;

	journal_get_stats(s->journal, &stats);
	ctl_put_count(o, "commits", stats.commits);
	ctl_put_count(o, "commits_forced", stats.commits_forced);
	ctl_put_count(o, "blocks_logged", stats.blocks_logged);
	ctl_put_count(o, "revokes", stats.revokes);
	ctl_put_count(o, "checkpoints", stats.checkpoints);
	ctl_put_count(o, "blocks_home", stats.blocks_home);
	ctl_put_count(o, "handles", stats.handles);
	ctl_put_count(o, "handle_waits", stats.handle_waits);
	ctl_put_count(o, "log_blocks", stats.log_blocks);
	ctl_put_count(o, "log_blocks_free", stats.log_blocks_free);
	ctl_put_count(o, "commit_total_ns", stats.commit_ns_total);
	ctl_put_count(o, "commit_max_ns", stats.commit_ns_max);
	ctl_put_count(o, "freeze_max_ns", stats.freeze_ns_max);
	return o;
}

static json_t *allocator(const struct store *s)
{
	json_t *o = json_object();

	ctl_put_count(o, "allocations", atomic_load(&s->allocs));
	ctl_put_count(o, "blocks_allocated", atomic_load(&s->alloc_blocks));
	ctl_put_count(o, "frees", atomic_load(&s->frees));
	ctl_put_count(o, "blocks_freed", atomic_load(&s->free_blocks));
	ctl_put_count(o, "groups_scanned", atomic_load(&s->groups_scanned));
	return o;
}

static json_t *image(const struct store *s)
{
	const struct bdev *bdev = s->bdev;
	json_t *o = json_object();

	ctl_put_count(o, "reads", atomic_load(&bdev->reads));
	ctl_put_count(o, "writes", atomic_load(&bdev->writes));
	ctl_put_count(o, "flushes", atomic_load(&bdev->flushes));
	ctl_put_count(o, "read_bytes", atomic_load(&bdev->read_bytes));
	ctl_put_count(o, "written_bytes", atomic_load(&bdev->write_bytes));
	return o;
}

static json_t *invalidations(struct inval_bus *bus)
{
	static const char *const names[] = {
		[INVAL_ATTR] = "attr",
		[INVAL_DATA] = "data",
		[INVAL_ENTRY] = "entry",
		[INVAL_DELETE] = "delete",
		[INVAL_XATTR] = "xattr",
		[INVAL_INODE_GONE] = "inode_gone",
		[INVAL_ALL] = "all",
		[INVAL_FILL_ENTRY] = "fill_entry",
		[INVAL_FILL_ATTR] = "fill_attr",
		[INVAL_LIST_BEGIN] = "list_begin",
		[INVAL_LIST_END] = "list_end",
		[INVAL_HOLD] = "hold",
		[INVAL_RELEASE] = "release",
		[INVAL_MAP] = "map",
		[INVAL_FILL_EXTENT] = "fill_extent",
	};
	struct inval_stats stats;
	json_t *o = json_object();
	unsigned int i;

	_Static_assert(ARRAY_SIZE(names) == INVAL_KINDS, "each kind has a name");
	inval_get_stats(bus, &stats);
	for (i = 0; i < INVAL_KINDS; i++)
		ctl_put_count(o, names[i], stats.published[i]);
	return o;
}

static json_t *bpf_counters(struct bpf *bpf)
{
	struct bpf_state state;
	json_t *o;

	bpf_get_state(bpf, &state);
	o = kernel_json_bpf(&state.counters);
	ctl_put(o, "attached", json_boolean(state.attached));
	return o;
}

/* Where the kernel's side is being counted. */
static int put_kernel(json_t *result, struct trace *trace, bool histograms)
{
	struct trace_state *state = calloc(1, sizeof(*state));
	int err = state ? trace_get_state(trace, state) : -ENOMEM;
	json_t *o;

	if (!err && state->on) {
		o = kernel_json_requests(&state->counters, histograms);
		ctl_put_count(o, "events_missed", state->missed);
		ctl_put(o, "functions_missing", json_string(state->missing));
		ctl_put(result, "kernel", o);
	}
	free(state);
	return err;
}

int ctl_stats(struct ctl_call *call)
{
	const struct ctl_server *server = call->server;
	const struct ctl_env *env = &server->env;
	struct store *s = fs_store(env->fs);
	bool histograms = ctl_arg_bool(call, "histograms", false);
	json_t *o = call->result;
	int err;

	ctl_put(o, "id", ctl_text(env->id));
	ctl_put(o, "image", ctl_text(env->image));
	ctl_put(o, "mountpoint", env->mountpoint ? ctl_text(env->mountpoint) : json_null());
	ctl_put_count(o, "uptime_seconds", ctl_uptime_seconds(server));
	if (put_transports(o, env, histograms))
		return ctl_fail(call, -ENOMEM, "stats", "no memory", "");
	ctl_put(o, "guests", ctl_guests_stats(histograms));
	ctl_put(o, "caches", caches(env->fs, s));
	ctl_put(o, "locks", locks(env->fs));
	ctl_put(o, "journal", journal(s));
	ctl_put(o, "allocator", allocator(s));
	ctl_put(o, "image_io", image(s));
	ctl_put(o, "invalidations", invalidations(env->bus));
	if (env->bpf)
		ctl_put(o, "bpf", bpf_counters(env->bpf));
	err = env->trace ? put_kernel(o, env->trace, histograms) : 0;
	if (err)
		return ctl_fail(call, err, "stats", "the kernel's counters cannot be read", "");
	return 0;
}

int ctl_stats_kernel(struct ctl_call *call)
{
	bool on = ctl_arg_bool(call, "on", false);
	struct trace *trace = call->server->env.trace;
	char why[CTL_TEXT_MAX] = "there is no host mount";
	int err = trace ? trace_switch(trace, on, why, sizeof(why)) : on ? -EOPNOTSUPP : 0;

	if (err)
		return ctl_fail(call, err, "statistics of the kernel", why, "");
	ctl_put(call->result, "on", json_boolean(on));
	return 0;
}
