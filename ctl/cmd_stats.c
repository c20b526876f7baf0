// SPDX-License-Identifier: GPL-2.0-only
/*
 * kfsctl stats: the counters of one mount as tables, once or again and again. When watching, requests of the last
 * interval are shown beside the totals.
 */
#include <inttypes.h>
#include <time.h>

#include "ctl/format.h"
#include "ctl/kfsctl.h"
#include "daemon/bpf/counters.h"
#include "daemon/ctl/kernel_json.h"

/* A request older than this is worth a line of its own in the eyes of whoever looks for a hang. */
#define OLD_NS 1000000000

static const json_t *path_get(const json_t *object, const char *first, const char *second)
{
	return json_object_get(json_object_get(object, first), second);
}

/* The counters of the same opcode in the reply before, or NULL. */
static const json_t *opcode_before(const json_t *before, size_t transport, const char *opcode)
{
	const json_t *t = json_array_get(json_object_get(before, "transports"), transport);

	return path_get(t, "opcodes", opcode);
}

/* "below:  512 ns: 3  1.0 us: 12": how many were below each power of two and not below the one before. */
static void print_buckets(const json_t *op)
{
	const json_t *buckets = json_object_get(op, "buckets");
	size_t i;

	if (!json_array_size(buckets))
		return;
	printf("    below:");
	for (i = 0; i < json_array_size(buckets); i++) {
		json_int_t count = json_integer_value(json_array_get(buckets, i));

		if (count)
			printf("  %s: %s", fmt_ns(UINT64_C(2) << i), fmt_count((uint64_t)count));
	}
	putchar('\n');
}

static void print_opcode(const char *name, const json_t *op, const json_t *before, uint32_t watch_s)
{
	printf("  %-16s %14s %10s %9s %9s %9s %9s", name, fmt_count(get_count(op, "requests")),
	       fmt_count(get_count(op, "errors")), fmt_ns(get_count(op, "mean_ns")),
	       fmt_ns(get_count(op, "p50_ns")), fmt_ns(get_count(op, "p99_ns")),
	       fmt_ns(get_count(op, "max_ns")));
	if (watch_s)
		printf(" %9s",
		       fmt_count((get_count(op, "requests") - get_count(before, "requests")) /
				 watch_s));
	putchar('\n');
	print_buckets(op);
}

static void print_in_flight(const json_t *transport)
{
	const json_t *list = json_object_get(transport, "in_flight"), *r;
	size_t i;

	json_array_foreach((json_t *)list, i, r)
	{
		if (get_count(r, "age_ns") < OLD_NS)
			continue;
		printf("  in flight: %s of inode %" PRIu64 " for %s (unique %" PRIu64 ")%s\n",
		       get_text(r, "opcode"), get_count(r, "ino"), fmt_ns(get_count(r, "age_ns")),
		       get_count(r, "unique"),
		       json_is_true(json_object_get(r, "aborted")) ?
			       ", aborted, thread still stuck" :
			       "");
	}
}

static void print_transport(const json_t *o, const json_t *before, size_t at, uint32_t watch_s)
{
	const json_t *transport = json_array_get(json_object_get(o, "transports"), at);
	json_t *opcodes = json_object_get(transport, "opcodes"), *op;
	const char *name;

	printf("\ntransport %s: protocol %s, %" PRIu64 " of %" PRIu64 " threads, %zu in flight, "
	       "%s notifications (%s failed)",
	       get_text(transport, "name"), get_text(transport, "protocol"),
	       get_count(transport, "threads"), get_count(transport, "threads_max"),
	       json_array_size(json_object_get(transport, "in_flight")),
	       fmt_count(get_count(transport, "notifies")),
	       fmt_count(get_count(transport, "notify_errors")));
	if (get_count(transport, "aborted"))
		printf(", %s aborted", fmt_count(get_count(transport, "aborted")));
	if (get_count(transport, "unknown") || get_count(transport, "malformed"))
		printf(", %s unknown, %s malformed requests",
		       fmt_count(get_count(transport, "unknown")),
		       fmt_count(get_count(transport, "malformed")));
	printf("\n  %-16s %14s %10s %9s %9s %9s %9s%s\n", "opcode", "requests", "errors", "mean",
	       "p50", "p99", "max", watch_s ? "  per sec" : "");
	json_object_foreach(opcodes, name, op)
		print_opcode(name, op, opcode_before(before, at, name), watch_s);
	print_in_flight(transport);
}

static void print_guest(const json_t *g)
{
	json_t *opcodes = json_object_get(g, "opcodes"), *op;
	const char *name;

	printf("\nguest %" PRIu64 ": protocol %s, %s requests (%s refused), %" PRIu64
	       " in flight; %s read, "
	       "%s written\n  knows %s of %s nodes, holds %s of %s locks, waits for %s",
	       get_count(g, "number"), get_text(g, "protocol"), fmt_count(get_count(g, "requests")),
	       fmt_count(get_count(g, "refused")), get_count(g, "in_flight_count"),
	       fmt_bytes(get_count(g, "read_bytes")), fmt_bytes(get_count(g, "written_bytes")),
	       fmt_count(get_count(g, "nodes")), fmt_count(get_count(g, "nodes_max")),
	       fmt_count(get_count(g, "locks")), fmt_count(get_count(g, "locks_max")),
	       fmt_count(get_count(g, "lock_waiters")));
	if (get_count(g, "unknown") || get_count(g, "malformed"))
		printf("; %s unknown, %s malformed requests", fmt_count(get_count(g, "unknown")),
		       fmt_count(get_count(g, "malformed")));
	printf("\n  %-16s %14s %10s %9s %9s %9s %9s\n", "opcode", "requests", "errors", "mean",
	       "p50", "p99", "max");
	json_object_foreach(opcodes, name, op) print_opcode(name, op, NULL, 0);
	print_in_flight(g);
}

static void print_guests(const json_t *o)
{
	const json_t *list = json_object_get(o, "guests"), *g;
	size_t i;

	json_array_foreach((json_t *)list, i, g) print_guest(g);
}

static void print_cache(const char *name, const json_t *c)
{
	uint64_t hits = get_count(c, "hits"), misses = get_count(c, "misses");

	printf("  %-16s %14s %10s %9s %9s %9s %9s\n", name, fmt_count(hits), fmt_count(misses),
	       fmt_percent(hits, hits + misses), fmt_count(get_count(c, "evictions")),
	       fmt_count(get_count(c, "count")), fmt_count(get_count(c, "count_max")));
}

static void print_caches(const json_t *o)
{
	const json_t *nodes = path_get(o, "caches", "nodes");
	const json_t *locks = json_object_get(o, "locks");

	printf("\n  %-16s %14s %10s %9s %9s %9s %9s\n", "cache", "hits", "misses", "hit rate",
	       "evicted", "held", "at most");
	print_cache("buffers", path_get(o, "caches", "buffers"));
	print_cache("inodes", path_get(o, "caches", "inodes"));
	printf("  kernels know %s nodes, %s of them unlinked; %s locks held, %s waited for\n",
	       fmt_count(get_count(nodes, "count")), fmt_count(get_count(nodes, "unlinked_open")),
	       fmt_count(get_count(locks, "held")), fmt_count(get_count(locks, "waiting")));
}

static void print_disk(const json_t *o)
{
	const json_t *journal = json_object_get(o, "journal");
	const json_t *alloc = json_object_get(o, "allocator");
	const json_t *io = json_object_get(o, "image_io");
	uint64_t commits = get_count(journal, "commits");

	printf("\njournal      %s commits (%s forced), mean %s, max %s; %s blocks logged, %s revoked\n",
	       fmt_count(commits), fmt_count(get_count(journal, "commits_forced")),
	       fmt_ns(commits ? get_count(journal, "commit_total_ns") / commits : 0),
	       fmt_ns(get_count(journal, "commit_max_ns")),
	       fmt_count(get_count(journal, "blocks_logged")),
	       fmt_count(get_count(journal, "revokes")));
	printf("             %s checkpoints, %s blocks home; %s handles, %s waited\n",
	       fmt_count(get_count(journal, "checkpoints")),
	       fmt_count(get_count(journal, "blocks_home")),
	       fmt_count(get_count(journal, "handles")),
	       fmt_count(get_count(journal, "handle_waits")));
	printf("allocator    %s allocations of %s blocks, %s frees of %s blocks; %s groups searched\n",
	       fmt_count(get_count(alloc, "allocations")),
	       fmt_count(get_count(alloc, "blocks_allocated")),
	       fmt_count(get_count(alloc, "frees")), fmt_count(get_count(alloc, "blocks_freed")),
	       fmt_count(get_count(alloc, "groups_scanned")));
	printf("image        %s reads (%s), %s writes (%s), %s flushes\n",
	       fmt_count(get_count(io, "reads")), fmt_bytes(get_count(io, "read_bytes")),
	       fmt_count(get_count(io, "writes")), fmt_bytes(get_count(io, "written_bytes")),
	       fmt_count(get_count(io, "flushes")));
}

static void print_invalidations(const json_t *o)
{
	json_t *kinds = json_object_get(o, "invalidations"), *count;
	const char *kind;
	bool any = false;

	printf("changes     ");
	json_object_foreach(kinds, kind, count)
	{
		if (json_integer_value(count) == 0)
			continue;
		printf(" %s %s", kind, fmt_count(get_count(kinds, kind)));
		any = true;
	}
	printf("%s\n", any ? "" : " none");
}

/* What the kernel answered by itself, and the tables that it took that from. */
static void print_bpf(const json_t *o)
{
	const json_t *b = json_object_get(o, "bpf");
	uint64_t names, nodes;

	if (!b)
		return;
	names = get_count(b, "lookup_hits") + get_count(b, "lookup_negative") +
		get_count(b, "lookup_complete");
	nodes = get_count(b, "getattr_hits");
	printf("\n  %-16s %14s %10s %9s\n", "in the kernel", "answered", "asked us", "hit rate");
	printf("  %-16s %14s %10s %9s", "lookup", fmt_count(names),
	       fmt_count(get_count(b, "lookup_misses")),
	       fmt_percent(names, names + get_count(b, "lookup_misses")));
	printf("  (%s present, %s absent, %s absent from a whole directory)\n",
	       fmt_count(get_count(b, "lookup_hits")), fmt_count(get_count(b, "lookup_negative")),
	       fmt_count(get_count(b, "lookup_complete")));
	printf("  %-16s %14s %10s %9s\n", "getattr", fmt_count(nodes),
	       fmt_count(get_count(b, "getattr_misses")),
	       fmt_percent(nodes, nodes + get_count(b, "getattr_misses")));
	printf("  %-16s %14s %10s %9s\n", "absent xattrs", fmt_count(get_count(b, "xattr_absent")),
	       fmt_count(get_count(b, "xattr_misses")),
	       fmt_percent(get_count(b, "xattr_absent"),
			   get_count(b, "xattr_absent") + get_count(b, "xattr_misses")));
	printf("  %s requests avoided\n", fmt_count(get_count(b, "upcalls_avoided")));
	printf("  tables of %s: %s of %s names, %s of %s nodes; %s directories completed, %s lost\n",
	       fmt_bytes(get_count(b, "bytes")), fmt_count(get_count(b, "entries_used")),
	       fmt_count(get_count(b, "entry_slots")), fmt_count(get_count(b, "attrs_used")),
	       fmt_count(get_count(b, "attr_slots")),
	       fmt_count(get_count(b, "directories_completed")),
	       fmt_count(get_count(b, "directories_lost")));
	if (get_count(b, "extent_slots"))
		printf("  %-16s %14s %10s %9s  (%s of %s windows of files, %s fills, %s files dropped, "
		       "%s evicted)\n",
		       "ranges of files", fmt_count(get_count(b, "extent_hits")),
		       fmt_count(get_count(b, "extent_misses")),
		       fmt_percent(get_count(b, "extent_hits"),
				   get_count(b, "extent_hits") + get_count(b, "extent_misses")),
		       fmt_count(get_count(b, "extent_slots_used")),
		       fmt_count(get_count(b, "extent_slots")),
		       fmt_count(get_count(b, "extent_fills")),
		       fmt_count(get_count(b, "extent_drops")),
		       fmt_count(get_count(b, "extent_evictions")));
	printf("  %s fills, %s invalidations; %s evicted, %s without a place, %s too late; "
	       "%s torn reads repeated, %s given up\n",
	       fmt_count(get_count(b, "entry_fills") + get_count(b, "attr_fills")),
	       fmt_count(get_count(b, "entry_invalidations") + get_count(b, "attr_invalidations") +
			 get_count(b, "xattr_invalidations")),
	       fmt_count(get_count(b, "entry_evictions") + get_count(b, "attr_evictions")),
	       fmt_count(get_count(b, "full_refusals")), fmt_count(get_count(b, "stale_refusals")),
	       fmt_count(get_count(b, "torn_retries")), fmt_count(get_count(b, "torn_upcalls")));
}

static void print_questions(const char *name, const json_t *q, const char *more)
{
	if (!json_is_object(q)) {
		printf("  %-16s %14s %10s %9s\n", name, "-", "-", "-");
		return;
	}
	printf("  %-16s %14s %10s %9s  %s\n", name, fmt_count(get_count(q, "asked")),
	       fmt_count(get_count(q, "sent")),
	       fmt_percent(get_count(q, "hits"), get_count(q, "asked")), more);
}

/* What tracing programs saw of the mount. */
static void print_kernel_counters(const json_t *o)
{
	const json_t *k = json_object_get(o, "kernel"), *attrs = json_object_get(k, "attributes");
	json_t *opcodes = json_object_get(k, "opcodes"), *op;
	const char *name;
	char more[128];

	if (!k)
		return;
	printf("\n  %-16s %14s %10s %9s %9s %9s %9s\n", "seen by the kernel", "requests", "errors",
	       "mean", "p50", "p99", "max");
	json_object_foreach(opcodes, name, op) print_opcode(name, op, NULL, 0);
	printf("  %-16s %14s %10s %9s\n", "asked of it", "asked", "sent", "hit rate");
	(void)snprintf(more, sizeof(more), "(%s cached names did not hold)",
		       fmt_count(get_count(json_object_get(k, "names"), "invalid")));
	print_questions("names", json_object_get(k, "names"), more);
	(void)snprintf(more, sizeof(more), "(%s stat, %s permissions)",
		       fmt_count(get_count(attrs, "getattrs")),
		       fmt_count(get_count(attrs, "permissions")));
	print_questions("attributes", attrs, more);
	if (get_count(k, "events_missed"))
		printf("  %s events were missed\n", fmt_count(get_count(k, "events_missed")));
	if (*get_text(k, "functions_missing"))
		printf("  not counted, for this kernel lacks %s\n",
		       get_text(k, "functions_missing"));
}

static void print_stats(const json_t *o, const json_t *before, uint32_t watch_s)
{
	const char *mountpoint = get_text(o, "mountpoint");
	size_t i;

	printf("%s, up %s\n", *mountpoint ? mountpoint : get_text(o, "image"),
	       fmt_age(get_count(o, "uptime_seconds")));
	for (i = 0; i < json_array_size(json_object_get(o, "transports")); i++)
		print_transport(o, before, i, watch_s);
	print_guests(o);
	print_caches(o);
	print_bpf(o);
	print_kernel_counters(o);
	print_disk(o);
	print_invalidations(o);
}

/* One line an object, so that a reader can take them as they come. */
static int print_json_line(const json_t *o)
{
	if (json_dumpf(o, stdout, JSON_COMPACT) || putchar('\n') == EOF || fflush(stdout))
		return complain("standard output", "cannot be written", "");
	return EXIT_DONE;
}

/* What the pins of @info show, in the form of a reply; NULL: there are none, or they are not for us. */
static json_t *stats_of_kernel(const struct words *w, const struct rundir_info *info,
			       const char *why)
{
	struct kernel_counters *kernel = malloc(sizeof(*kernel));
	json_t *bpf = NULL, *requests = NULL;
	struct bpf_counters counters;

	if (!counters_read(info->id, &counters))
		bpf = kernel_json_bpf(&counters);
	if (kernel && !kernel_counters_read(info->id, kernel))
		requests = kernel_json_requests(kernel, w->histograms);
	free(kernel);
	if (!bpf && !requests)
		return NULL;
	return json_pack("{s:s, s:s, s:s*, s:s, s:o*, s:o*}", "id", info->id, "image", info->image,
			 "mountpoint", info->mountpoint, "daemon_silent", why, "bpf", bpf, "kernel",
			 requests);
}

/* From the daemon; if it does not answer, which may mean that it hangs, what the kernel counts for it. */
static int stats_get(const struct words *w, const struct rundir_info *info, json_t **ret_result)
{
	json_t *args = w->histograms ? json_pack("{s:b}", "histograms", 1) : NULL;
	struct failure f;

	if (!ask_quietly(info, "stats", args, w->timeout_ms, ret_result, &f))
		return EXIT_DONE;
	*ret_result = info->alive ? stats_of_kernel(w, info, f.why) : NULL;
	return *ret_result ? EXIT_DONE : complain(f.what, f.why, f.remedy);
}

static void print_result(const json_t *now, const json_t *before, uint32_t watch_s)
{
	const char *silent = get_text(now, "daemon_silent");

	if (!*silent) {
		print_stats(now, before, watch_s);
		return;
	}
	printf("%s: %s; from the kernel:\n",
	       *get_text(now, "mountpoint") ? get_text(now, "mountpoint") : get_text(now, "image"),
	       silent);
	print_bpf(now);
	print_kernel_counters(now);
}

static int watch(const struct words *w, const struct rundir_info *info)
{
	bool clear = isatty(STDOUT_FILENO);
	json_t *before = NULL, *now;
	int ret;

	for (;;) {
		ret = stats_get(w, info, &now);
		if (ret)
			break;
		if (w->json) {
			ret = print_json_line(now);
		} else {
			if (clear)
				printf("\033[H\033[2J");
			print_result(now, before ? before : now, w->watch_s);
			if (!clear)
				putchar('\n');
			ret = fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
		}
		/* A silent daemon's counters are not in it: there is nothing to compare with. */
		json_decref(before);
		before = *get_text(now, "daemon_silent") ? NULL : json_incref(now);
		json_decref(now);
		if (ret)
			break;
		sleep(w->watch_s);
	}
	json_decref(before);
	return ret;
}

static int once(const struct words *w, const struct rundir_info *info)
{
	json_t *result;
	int ret = stats_get(w, info, &result);

	if (ret)
		return ret;
	if (w->json)
		ret = print_json(result);
	else
		print_result(result, NULL, 0);
	json_decref(result);
	return ret;
}

/* Counting in the kernel, on or off; nothing is shown. */
static int switch_kernel(const struct words *w, const struct rundir_info *info)
{
	json_t *args = json_pack("{s:b}", "on", !strcmp(w->kernel, "on")), *result;
	int ret = ask(info, "stats_kernel", args, patience_ms(w), &result);

	if (ret)
		return ret;
	if (w->json)
		ret = print_json(result);
	json_decref(result);
	return ret;
}

int cmd_stats(const struct words *w)
{
	const struct rundir_info *info;
	struct rundir_list list;
	int ret;

	ret = mounts_load(&list);
	if (ret)
		return ret;
	ret = target_find(&list, w->count ? w->word[0] : NULL, &info);
	if (!ret && w->kernel)
		ret = switch_kernel(w, info);
	else if (!ret)
		ret = w->watch_s ? watch(w, info) : once(w, info);
	rundir_list_fini(&list);
	return ret;
}
