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
	printf("  tables of %s: %s of %s names, %s of %s nodes; %s directories completed, %s lost\n",
	       fmt_bytes(get_count(b, "bytes")), fmt_count(get_count(b, "entries_used")),
	       fmt_count(get_count(b, "entry_slots")), fmt_count(get_count(b, "attrs_used")),
	       fmt_count(get_count(b, "attr_slots")),
	       fmt_count(get_count(b, "directories_completed")),
	       fmt_count(get_count(b, "directories_lost")));
	printf("  %s fills, %s invalidations; %s evicted, %s without a place, %s too late; "
	       "%s torn reads repeated, %s given up\n",
	       fmt_count(get_count(b, "entry_fills") + get_count(b, "attr_fills")),
	       fmt_count(get_count(b, "entry_invalidations") + get_count(b, "attr_invalidations") +
			 get_count(b, "xattr_invalidations")),
	       fmt_count(get_count(b, "entry_evictions") + get_count(b, "attr_evictions")),
	       fmt_count(get_count(b, "full_refusals")), fmt_count(get_count(b, "stale_refusals")),
	       fmt_count(get_count(b, "torn_retries")), fmt_count(get_count(b, "torn_upcalls")));
}

static void print_stats(const json_t *o, const json_t *before, uint32_t watch_s)
{
	const char *mountpoint = get_text(o, "mountpoint");
	size_t i;

	printf("%s, up %s\n", *mountpoint ? mountpoint : get_text(o, "image"),
	       fmt_age(get_count(o, "uptime_seconds")));
	for (i = 0; i < json_array_size(json_object_get(o, "transports")); i++)
		print_transport(o, before, i, watch_s);
	print_caches(o);
	print_bpf(o);
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

static int watch(const struct words *w, const struct rundir_info *info)
{
	bool clear = isatty(STDOUT_FILENO);
	json_t *before = NULL, *now;
	int ret;

	for (;;) {
		ret = ask(info, "stats", NULL, w->timeout_ms, &now);
		if (ret)
			break;
		if (w->json) {
			ret = print_json_line(now);
		} else {
			if (clear)
				printf("\033[H\033[2J");
			print_stats(now, before ? before : now, w->watch_s);
			if (!clear)
				putchar('\n');
			ret = fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
		}
		json_decref(before);
		before = now;
		if (ret)
			break;
		sleep(w->watch_s);
	}
	json_decref(before);
	return ret;
}

/* A daemon that does not answer may hang; what its BPF programs count is the kernel's. */
static json_t *stats_of_kernel(const struct rundir_info *info, const char *why)
{
	struct bpf_counters counters;
	const char *name;
	uint64_t value;
	json_t *bpf;

	if (counters_read(info->id, &counters))
		return NULL;
	bpf = json_pack("{s:I}", "upcalls_avoided", (json_int_t)counters_avoided(&counters));
	for (size_t i = 0; bpf && (name = counters_at(&counters, i, &value)); i++)
		(void)json_object_set_new(bpf, name,
					  json_integer((json_int_t)value)); /* absent then */
	return json_pack("{s:s, s:s, s:s*, s:s, s:o*}", "id", info->id, "image", info->image,
			 "mountpoint", info->mountpoint, "daemon_silent", why, "bpf", bpf);
}

static int print_kernel(const struct words *w, const struct rundir_info *info, json_t *result)
{
	if (w->json)
		return print_json(result);
	printf("%s: %s; from the kernel:\n", mount_name(info), get_text(result, "daemon_silent"));
	print_bpf(result);
	return EXIT_DONE;
}

static int once(const struct words *w, const struct rundir_info *info)
{
	struct bpf_counters counters;
	const char *why = "";
	json_t *result;
	int ret;

	if (counters_read(info->id, &counters)) {
		ret = ask(info, "stats", NULL, w->timeout_ms, &result);
		if (ret)
			return ret;
	} else if (ask_quietly(info, "stats", NULL, w->timeout_ms, &result, &why)) {
		result = stats_of_kernel(info, why);
		ret = result ? print_kernel(w, info, result) :
			       complain(mount_name(info), why, "look at its log");
		json_decref(result);
		return ret;
	}
	if (w->json)
		ret = print_json(result);
	else
		print_stats(result, NULL, 0);
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
	if (!ret)
		ret = w->watch_s ? watch(w, info) : once(w, info);
	rundir_list_fini(&list);
	return ret;
}
