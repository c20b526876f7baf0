// SPDX-License-Identifier: GPL-2.0-only
/*
 * kfsctl metrics: status and stats in the text format of Prometheus, for a textfile collector or a scrape script.
 *
 * Names begin with kfs_, units are seconds and bytes, counters end in _total. A metric's HELP and TYPE stand once, then
 * the samples of all mounts: the format wants them together. A mount that does not answer has kfs_up 0 and nothing else.
 */
#include <inttypes.h>

#include "ctl/format.h"
#include "ctl/kfsctl.h"
#include "daemon/bpf/counters.h"

/* Buckets of the daemon's histogram are powers of two in ns; shown are those from 1 us to 17 s, each four times the one before. */
#define BUCKET_FIRST 9
#define BUCKET_LAST 33
#define BUCKET_STEP 2

struct sample_source {
	const struct rundir_info *info;
	json_t *status, *stats; /* NULL: it does not answer */
	char *labels;		/* id="...",mountpoint="..." */
};

struct sources {
	struct sample_source *source;
	size_t count;
};

/* One number at a place in status or stats. */
struct metric {
	const char *name, *help;
	bool counter, stats; /* else a gauge; else in status */
	const char *path;    /* "journal.commits" */
	double scale;
	const char *label; /* more labels of this sample, or NULL */
};

#define NS 1e-9

/* Rows of one name follow each other. */
static const struct metric metrics[] = {
	{ "kfs_uptime_seconds", "Since the daemon serves the mount.", false, false,
	  "uptime_seconds", 1, NULL },
	{ "kfs_readonly", "1 when changes are refused.", false, false, "readonly", 1, NULL },
	{ "kfs_frozen", "1 between freeze and thaw.", false, false, "frozen", 1, NULL },
	{ "kfs_space_bytes", "Size of the filesystem for files.", false, false,
	  "space.usable_bytes", 1, NULL },
	{ "kfs_space_free_bytes", "Free, reserved blocks included.", false, false,
	  "space.free_bytes", 1, NULL },
	{ "kfs_space_available_bytes", "Free for ordinary users.", false, false,
	  "space.available_bytes", 1, NULL },
	{ "kfs_inodes", "Inodes of the filesystem.", false, false, "space.inodes", 1, NULL },
	{ "kfs_inodes_free", "Inodes not in use.", false, false, "space.inodes_free", 1, NULL },
	{ "kfs_corruptions_total", "Corrupt structures met since the mount.", true, false,
	  "errors.corruptions", 1, NULL },
	{ "kfs_journal_aborted", "1 when the journal failed.", false, false,
	  "errors.journal_aborted", 1, NULL },
	{ "kfs_journal_bytes", "Size of the journal.", false, false, "journal.bytes", 1, NULL },
	{ "kfs_journal_free_bytes", "Free room in the journal.", false, false, "journal.free_bytes",
	  1, NULL },
	{ "kfs_journal_commits_total", "Transactions committed.", true, true, "journal.commits", 1,
	  NULL },
	{ "kfs_journal_commits_forced_total", "Commits that somebody waited for.", true, true,
	  "journal.commits_forced", 1, NULL },
	{ "kfs_journal_blocks_logged_total", "Blocks written to the log.", true, true,
	  "journal.blocks_logged", 1, NULL },
	{ "kfs_journal_checkpoints_total", "Times the log was emptied.", true, true,
	  "journal.checkpoints", 1, NULL },
	{ "kfs_journal_commit_seconds_total", "Time spent in commits.", true, true,
	  "journal.commit_total_ns", NS, NULL },
	{ "kfs_cache_hits_total", "Found in the cache.", true, true, "caches.buffers.hits", 1,
	  "cache=\"buffers\"" },
	{ "kfs_cache_hits_total", "", true, true, "caches.inodes.hits", 1, "cache=\"inodes\"" },
	{ "kfs_cache_misses_total", "Read from the image.", true, true, "caches.buffers.misses", 1,
	  "cache=\"buffers\"" },
	{ "kfs_cache_misses_total", "", true, true, "caches.inodes.misses", 1, "cache=\"inodes\"" },
	{ "kfs_cache_evictions_total", "Dropped for room.", true, true, "caches.buffers.evictions",
	  1, "cache=\"buffers\"" },
	{ "kfs_cache_evictions_total", "", true, true, "caches.inodes.evictions", 1,
	  "cache=\"inodes\"" },
	{ "kfs_cache_entries", "Held now.", false, true, "caches.buffers.count", 1,
	  "cache=\"buffers\"" },
	{ "kfs_cache_entries", "", false, true, "caches.inodes.count", 1, "cache=\"inodes\"" },
	{ "kfs_cache_entries", "", false, true, "caches.nodes.count", 1, "cache=\"nodes\"" },
	{ "kfs_cache_entries_max", "Held at most.", false, true, "caches.buffers.count_max", 1,
	  "cache=\"buffers\"" },
	{ "kfs_cache_entries_max", "", false, true, "caches.inodes.count_max", 1,
	  "cache=\"inodes\"" },
	{ "kfs_locks", "File locks held here.", false, true, "locks.held", 1, NULL },
	{ "kfs_lock_waiters", "Waiting for file locks.", false, true, "locks.waiting", 1, NULL },
	{ "kfs_allocated_blocks_total", "Blocks allocated.", true, true,
	  "allocator.blocks_allocated", 1, NULL },
	{ "kfs_freed_blocks_total", "Blocks freed.", true, true, "allocator.blocks_freed", 1,
	  NULL },
	{ "kfs_image_reads_total", "Reads of the image.", true, true, "image_io.reads", 1, NULL },
	{ "kfs_image_writes_total", "Writes to the image.", true, true, "image_io.writes", 1,
	  NULL },
	{ "kfs_image_flushes_total", "Flushes of the image.", true, true, "image_io.flushes", 1,
	  NULL },
	{ "kfs_image_read_bytes_total", "Read from the image.", true, true, "image_io.read_bytes",
	  1, NULL },
	{ "kfs_image_written_bytes_total", "Written to the image.", true, true,
	  "image_io.written_bytes", 1, NULL },
};

static double number_at(const json_t *object, const char *path)
{
	char key[64];

	while (object) {
		size_t len = strcspn(path, ".");

		if (len >= sizeof(key))
			return 0;
		memcpy(key, path, len);
		key[len] = '\0';
		object = json_object_get(object, key);
		if (!path[len])
			return json_is_true(object) ? 1 : json_number_value(object);
		path += len + 1;
	}
	return 0;
}

static void print_type(const char *name, const char *help, const char *type)
{
	printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_metrics(const struct sources *sources)
{
	size_t row = 0, i;

	while (row < ARRAY_SIZE(metrics)) {
		const struct metric *m = &metrics[row];

		print_type(m->name, m->help, m->counter ? "counter" : "gauge");
		for (; row < ARRAY_SIZE(metrics) && strcmp(metrics[row].name, m->name) == 0;
		     row++) {
			const struct metric *r = &metrics[row];

			for (i = 0; i < sources->count; i++) {
				const struct sample_source *s = &sources->source[i];

				if (s->status)
					printf("%s{%s%s%s} %.17g\n", r->name, s->labels,
					       r->label ? "," : "", r->label ? r->label : "",
					       number_at(r->stats ? s->stats : s->status, r->path) *
						       r->scale);
			}
		}
	}
}

/* ---- requests ---- */

typedef void (*opcode_fn)(const struct sample_source *s, const char *labels, const json_t *op);

/* Calls @print for each opcode of each transport of each mount. */
static void for_each_opcode(const struct sources *sources, opcode_fn print)
{
	json_t *transport, *op;
	const char *opcode;
	size_t i, t;

	for (i = 0; i < sources->count; i++) {
		const struct sample_source *s = &sources->source[i];

		json_array_foreach(json_object_get(s->stats, "transports"), t, transport)
		{
			json_object_foreach(json_object_get(transport, "opcodes"), opcode, op)
			{
				char labels[128];

				snprintf(labels, sizeof(labels), "transport=\"%s\",opcode=\"%s\"",
					 get_text(transport, "name"), opcode);
				print(s, labels, op);
			}
		}
	}
}

static void print_requests(const struct sample_source *s, const char *labels, const json_t *op)
{
	printf("kfs_fuse_requests_total{%s,%s} %" PRIu64 "\n", s->labels, labels,
	       get_count(op, "requests"));
}

static void print_errors(const struct sample_source *s, const char *labels, const json_t *op)
{
	printf("kfs_fuse_request_errors_total{%s,%s} %" PRIu64 "\n", s->labels, labels,
	       get_count(op, "errors"));
}

static void print_buckets(const struct sample_source *s, const char *name, const char *labels,
			  const json_t *op)
{
	const json_t *buckets = json_object_get(op, "buckets");
	uint64_t below = 0, all = 0;
	size_t i;

	for (i = 0; i < json_array_size(buckets); i++) {
		all += (uint64_t)json_integer_value(json_array_get(buckets, i));
		if (i < BUCKET_FIRST || i > BUCKET_LAST || (i - BUCKET_FIRST) % BUCKET_STEP)
			continue;
		below = all;
		printf("%s_bucket{%s,%s,le=\"%.9g\"} %" PRIu64 "\n", name, s->labels, labels,
		       (double)(2ULL << i) * NS, below);
	}
	/* The sum of the buckets, not "requests": the two are read at different moments and must not contradict. */
	printf("%s_bucket{%s,%s,le=\"+Inf\"} %" PRIu64 "\n", name, s->labels, labels, all);
	printf("%s_sum{%s,%s} %.9g\n", name, s->labels, labels,
	       (double)get_count(op, "total_ns") * NS);
	printf("%s_count{%s,%s} %" PRIu64 "\n", name, s->labels, labels, all);
}

static void print_histogram(const struct sample_source *s, const char *labels, const json_t *op)
{
	print_buckets(s, "kfs_fuse_request_duration_seconds", labels, op);
}

/* ---- what the kernel counts, where it does ---- */

static void for_each_kernel_opcode(const struct sources *sources, opcode_fn print)
{
	const char *opcode;
	json_t *op;
	size_t i;

	for (i = 0; i < sources->count; i++) {
		const struct sample_source *s = &sources->source[i];
		json_t *kernel = json_object_get(s->stats, "kernel");

		json_object_foreach(json_object_get(kernel, "opcodes"), opcode, op)
		{
			char labels[64];

			snprintf(labels, sizeof(labels), "opcode=\"%s\"", opcode);
			print(s, labels, op);
		}
	}
}

static void print_kernel_requests(const struct sample_source *s, const char *labels,
				  const json_t *op)
{
	printf("kfs_kernel_requests_total{%s,%s} %" PRIu64 "\n", s->labels, labels,
	       get_count(op, "requests"));
}

static void print_kernel_histogram(const struct sample_source *s, const char *labels,
				   const json_t *op)
{
	print_buckets(s, "kfs_kernel_request_duration_seconds", labels, op);
}

/* Of names and attributes: @key is "asked" or "sent". */
static void print_questions(const struct sources *sources, const char *name, const char *key)
{
	static const char *const kinds[] = { "names", "attributes" };
	size_t i, k;

	for (i = 0; i < sources->count; i++) {
		const struct sample_source *s = &sources->source[i];
		const json_t *kernel = json_object_get(s->stats, "kernel");

		for (k = 0; k < ARRAY_SIZE(kinds); k++) {
			const json_t *q = json_object_get(kernel, kinds[k]);

			if (json_is_object(q))
				printf("%s{%s,kind=\"%s\"} %" PRIu64 "\n", name, s->labels,
				       kinds[k], get_count(q, key));
		}
	}
}

static void print_kernel(const struct sources *sources)
{
	print_type("kfs_kernel_requests_total", "Requests that the kernel queued.", "counter");
	for_each_kernel_opcode(sources, print_kernel_requests);
	print_type("kfs_kernel_request_duration_seconds", "From the kernel's queue to the reply.",
		   "histogram");
	for_each_kernel_opcode(sources, print_kernel_histogram);
	print_type("kfs_kernel_questions_total", "Asked of the kernel's own caches.", "counter");
	print_questions(sources, "kfs_kernel_questions_total", "asked");
	print_type("kfs_kernel_questions_sent_total", "Of these, sent on as requests.", "counter");
	print_questions(sources, "kfs_kernel_questions_sent_total", "sent");
}

/* Counters of BPF programs and tables, by the names that they have in stats. */
static void print_bpf(const struct sources *sources)
{
	uint64_t value;
	const char *key;
	size_t i, k;

	for (k = 0; (key = counters_at(&(struct bpf_counters){ 0 }, k, &value)); k++) {
		char name[64];

		snprintf(name, sizeof(name), "kfs_bpf_%s", key);
		print_type(name, "See stats in kfsctl(8).", "untyped");
		for (i = 0; i < sources->count; i++) {
			const struct sample_source *s = &sources->source[i];
			const json_t *bpf = json_object_get(s->stats, "bpf");

			if (bpf)
				printf("%s{%s} %" PRIu64 "\n", name, s->labels,
				       get_count(bpf, key));
		}
	}
}

static void print_transport_gauges(const struct sources *sources)
{
	static const struct {
		const char *name, *help, *type, *key;
	} rows[] = {
		{ "kfs_fuse_threads", "Worker threads.", "gauge", "threads" },
		{ "kfs_fuse_notifications_total", "Messages to the kernel.", "counter",
		  "notifies" },
		{ "kfs_fuse_malformed_requests_total", "Requests that did not parse.", "counter",
		  "malformed" },
		{ "kfs_fuse_in_flight_requests", "Being served now.", "gauge", NULL },
	};
	const json_t *transport;
	size_t row, i, t;

	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		print_type(rows[row].name, rows[row].help, rows[row].type);
		for (i = 0; i < sources->count; i++) {
			const struct sample_source *s = &sources->source[i];

			json_array_foreach(json_object_get(s->stats, "transports"), t, transport)
				printf("%s{%s,transport=\"%s\"} %" PRIu64 "\n", rows[row].name,
				       s->labels, get_text(transport, "name"),
				       rows[row].key ? get_count(transport, rows[row].key) :
						       json_array_size(json_object_get(
							       transport, "in_flight")));
		}
	}
}

static void print_invalidations(const struct sources *sources)
{
	json_t *count;
	const char *kind;
	size_t i;

	print_type("kfs_invalidations_total", "Events on the invalidation bus.", "counter");
	for (i = 0; i < sources->count; i++) {
		const struct sample_source *s = &sources->source[i];

		json_object_foreach(json_object_get(s->stats, "invalidations"), kind, count)
			printf("kfs_invalidations_total{%s,kind=\"%s\"} %" PRIu64 "\n", s->labels,
			       kind, (uint64_t)json_integer_value(count));
	}
}

/* ---- sources ---- */

/* A label's value: backslash, quote and newline have escapes. */
static void write_label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '\\' || *value == '"')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

static bool source_open(struct sample_source *s, const struct rundir_info *info)
{
	size_t size;
	FILE *out;

	*s = (struct sample_source){ .info = info };
	out = open_memstream(&s->labels, &size);
	if (!out)
		return false;
	write_label(out, "id", info->id);
	fputc(',', out);
	write_label(out, "mountpoint", info->mountpoint ? info->mountpoint : "");
	return fclose(out) == 0;
}

static void print_up_and_info(const struct sources *sources)
{
	size_t i;

	print_type("kfs_up", "1 when the mount's daemon answers.", "gauge");
	for (i = 0; i < sources->count; i++)
		printf("kfs_up{%s} %d\n", sources->source[i].labels,
		       sources->source[i].stats != NULL);
	print_type("kfs_info", "What is mounted; always 1.", "gauge");
	for (i = 0; i < sources->count; i++) {
		const struct sample_source *s = &sources->source[i];

		if (!s->status)
			continue;
		printf("kfs_info{%s,", s->labels);
		write_label(stdout, "image", get_text(s->status, "image"));
		putchar(',');
		write_label(stdout, "uuid", get_text(s->status, "uuid"));
		putchar(',');
		write_label(stdout, "tier", get_text(s->status, "tier"));
		putchar(',');
		write_label(stdout, "version", get_text(s->status, "version"));
		printf("} 1\n");
	}
}

static void print_all(const struct sources *sources)
{
	print_up_and_info(sources);
	print_metrics(sources);
	print_type("kfs_fuse_requests_total", "Requests answered.", "counter");
	for_each_opcode(sources, print_requests);
	print_type("kfs_fuse_request_errors_total", "Requests answered with an error.", "counter");
	for_each_opcode(sources, print_errors);
	print_type("kfs_fuse_request_duration_seconds", "From reading a request to its reply.",
		   "histogram");
	for_each_opcode(sources, print_histogram);
	print_transport_gauges(sources);
	print_invalidations(sources);
	print_kernel(sources);
	print_bpf(sources);
}

/* Asks one mount; with @quiet a mount that does not answer is only marked so. */
static int source_ask(struct sample_source *s, const struct words *w, bool quiet)
{
	json_t *args = json_pack("{s:b}", "histograms", 1);
	struct failure f;
	int ret;

	if (quiet) {
		ret = ask_quietly(s->info, "status", NULL, w->timeout_ms, &s->status, &f);
		if (ret)
			json_decref(args);
		else
			ret = ask_quietly(s->info, "stats", args, w->timeout_ms, &s->stats, &f);
	} else {
		ret = ask(s->info, "status", NULL, w->timeout_ms, &s->status);
		if (ret)
			json_decref(args);
		else
			ret = ask(s->info, "stats", args, w->timeout_ms, &s->stats);
	}
	if (ret && s->status) {
		json_decref(s->status);
		s->status = NULL;
	}
	return quiet ? EXIT_DONE : ret;
}

static int run(const struct words *w, const struct rundir_info *infos, size_t count)
{
	struct sources sources = { .source = calloc(count + 1, sizeof(*sources.source)) };
	int ret = EXIT_DONE;
	size_t i;

	for (i = 0; sources.source && i < count && !ret; i++) {
		sources.count++;
		if (!source_open(&sources.source[i], &infos[i]))
			ret = complain("metrics", "no memory", "");
		else
			ret = source_ask(&sources.source[i], w, w->all);
	}
	if (!ret)
		print_all(&sources);
	for (i = 0; i < sources.count; i++) {
		json_decref(sources.source[i].status);
		json_decref(sources.source[i].stats);
		free(sources.source[i].labels);
	}
	free(sources.source);
	return ret;
}

int cmd_metrics(const struct words *w)
{
	const struct rundir_info *info;
	struct rundir_list list;
	int ret;

	if (w->json)
		return complain_usage("metrics", "has one form; 'stats --json' has the numbers");
	if (w->all && w->count)
		return complain_usage(w->word[0], "--all takes no TARGET");
	ret = mounts_load(&list);
	if (ret)
		return ret;
	if (w->all) {
		ret = run(w, list.entries, list.count);
	} else {
		ret = target_find(&list, w->count ? w->word[0] : NULL, &info);
		if (!ret)
			ret = run(w, info, 1);
	}
	rundir_list_fini(&list);
	return ret;
}
