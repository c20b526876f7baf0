// SPDX-License-Identifier: GPL-2.0-only
/*
 * The crash explorer: runs workloads (ops.h) on a recording device, cuts the power at
 * every moment (cuts.h), recovers what is left in two or three ways (judge.h) and compares
 * with what may be there (model.h). "crash --help" says how it is called.
 *
 * The numbers are worked off by several processes, process k of J taking every J-th: a
 * failure is named by setting, number and seed, and runs alone by the line printed with it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "tests/crash/cuts.h"
#include "tests/crash/kernel.h"
#include "tests/crash/model.h"
#include "tests/crash/view.h"
#include "tests/crash/world.h"

#define SETTINGS_MAX 16
#define JOBS_MAX 64
#define WHY_MAX 2000
/* Kept per setting and process. */
#define IMAGES_MAX 8
/* Of so many cuts one is tried once more with a rotten byte. */
#define ROT_EVERY 8
/* Magic number, type and sequence number of a log block: without them the log just ends. */
#define ROT_SPARED 12

struct options {
	uint64_t from, to; /* numbers [from, to) */
	uint64_t every, seed, seconds;
	uint32_t subsets, torn, jobs, kernel;
	bool keep_going, verbose;
	const char *dir, *json;
	const struct setting *settings[SETTINGS_MAX];
	size_t setting_count;
};

/* Shared by the processes; each writes its own. */
struct progress {
	uint64_t number; /* being worked on */
	size_t setting;	 /* index into options.settings */
	uint64_t workloads[SETTINGS_MAX], operations[SETTINGS_MAX];
	uint64_t failures[SETTINGS_MAX];
	struct judge_counts counts[SETTINGS_MAX];
};

struct shared {
	_Atomic bool stop;
	struct progress workers[JOBS_MAX];
};

/* One setting in one process. */
struct bench {
	const struct options *opts;
	struct progress *progress;
	size_t index;
	struct base *base;
	struct judge *judge;
	struct cutter *cutter;
	struct record *record;
	struct view_builder *builder;
	uint64_t number;
	struct workload workload;
	uint64_t failures;
	char why[WHY_MAX];
};

static uint8_t file_bytes[VIEW_FILE_MAX];

/* ---- telling -------------------------------------------------------------- */

static void print_workload(const struct bench *b)
{
	char text[80];

	for (uint32_t k = 0; k < b->workload.count; k++) {
		op_print(&b->workload.ops[k], text, sizeof(text));
		printf("  %2u %s\n", k + 1, text);
	}
}

static void failed(struct bench *b, const char *where, const char *why)
{
	const struct options *o = b->opts;

	b->failures++;
	b->progress->failures[b->index]++;
	printf("crash: FAIL %s %" PRIu64 ": %s: %s\n", b->base->setting->name, b->number, where,
	       why);
	print_workload(b);
	printf("  alone: make crash SEED=%" PRIu64 " CRASH='--settings %s --from %" PRIu64
	       " --count 1 --subsets %u --torn %u'\n",
	       o->seed, b->base->setting->name, b->number, o->subsets, o->torn);
	fflush(stdout);
}

static void save_image(const struct bench *b, const struct cut *cut)
{
	char path[512];
	FILE *f;

	if (b->failures > IMAGES_MAX)
		return;
	(void)snprintf(path, sizeof(path), "%s/crash-%s-%" PRIu64 "-%u.img", b->opts->dir,
		       b->base->setting->name, b->number, cut->number);
	f = fopen(path, "we");
	if (!f)
		return;
	(void)fwrite(cut->image->bytes, 1, b->base->size, f); /* a help, no more */
	(void)fclose(f);
	printf("  image after the cut: %s\n", path);
}

/* ---- cutting -------------------------------------------------------------- */

/* May @v, recovered by @by, be there? */
static bool judge_view(struct bench *b, const struct view *v, const struct cut *cut, bool lossy,
		       const char *by)
{
	struct model_moment at = { .acknowledged = cut->tag / 2,
				   .begun = (cut->tag + 1) / 2,
				   .lossy = lossy };
	size_t used = (size_t)snprintf(b->why, WHY_MAX, "recovered by %s: ", by);

	return model_allows(b->base->model, b->builder, v, at, b->why + used, WHY_MAX - used);
}

/* A sector of the log that the workload wrote: byte offset, or 0. */
static uint64_t find_written(const struct bench *b, const struct cut *cut)
{
	uint64_t sectors = b->base->size / RECORD_SECTOR, start, k;

	start = (b->number * 2654435761u + cut->number * 40503u) % sectors;
	for (k = 0; k < sectors; k++) {
		uint64_t n = (start + k) % sectors, off = n * RECORD_SECTOR;

		if (b->base->in_log[n] &&
		    memcmp(cut->image->bytes + off, record_before(b->record) + off, RECORD_SECTOR))
			return off;
	}
	return 0;
}

/*
 * A byte of the log that the workload wrote rots. Transactions may be missing then, but
 * none may be there that was never written so.
 */
static bool try_rot(struct bench *b, const struct cut *cut)
{
	uint64_t off = find_written(b, cut);
	struct verdict v;

	if (!off)
		return true;
	off += ROT_SPARED + (b->number * 7 + cut->number * 31) % (RECORD_SECTOR - ROT_SPARED);
	judge_rot(b->judge, cut->image, off, &v);
	if (!v.kfs_why && !v.kfs)
		return true;
	if (!v.kfs_why)
		return judge_view(b, v.kfs, cut, true, "kfs after the log has rotted");
	(void)snprintf(b->why, WHY_MAX, "byte 0x%" PRIx64 " of the log has rotted: %s", off,
		       v.kfs_why);
	return false;
}

static bool on_cut(void *arg, const struct cut *cut)
{
	struct bench *b = arg;
	struct verdict v;
	char where[600];
	bool ok = false;

	judge_cut(b->judge, cut->image, cut->torn_commit, &v);
	if (v.kfs_why)
		(void)snprintf(b->why, WHY_MAX, "recovered by kfs: %s", v.kfs_why);
	else if (v.e2fsck_why)
		(void)snprintf(b->why, WHY_MAX, "%s", v.e2fsck_why);
	else if (v.kernel_why)
		(void)snprintf(b->why, WHY_MAX, "recovered by the kernel: %s", v.kernel_why);
	else
		ok = judge_view(b, v.kfs, cut, false, "kfs") &&
		     judge_view(b, v.e2fsck, cut, false, "e2fsck") &&
		     (!v.kernel || judge_view(b, v.kernel, cut, false, "the kernel"));
	if (ok && cut->number % ROT_EVERY == ROT_EVERY - 1 && !b->base->setting->no_checksums)
		ok = try_rot(b, cut);
	if (ok)
		return true;
	(void)snprintf(where, sizeof(where), "cut %u in operation %u (writes %s)", cut->number,
		       (cut->tag + 1) / 2, cut->text);
	failed(b, where, b->why);
	save_image(b, cut);
	return false;
}

/* ---- running -------------------------------------------------------------- */

static bool is_data(enum op_kind kind)
{
	return kind >= OP_WRITE && kind <= OP_PUNCH;
}

/* False: kfs answered what the model does not understand. */
static bool run_op(struct bench *b, struct world *w, uint32_t k)
{
	const struct op *op = &b->workload.ops[k];
	struct model *m = b->base->model;
	int expected = model_expect(m, op);
	bool several = false;
	char where[120];
	ssize_t got, n;

	if (expected == -EAGAIN) {
		model_step(m, op, -1, false);
		return true;
	}
	record_tag(b->record, 2 * k + 1);
	got = world_run(w, op, model_stamp(m), &several);
	record_tag(b->record, 2 * k + 2);
	if (got == -ENOSPC && expected == 0) {
		model_step(m, op, -1, several);
		if (!is_data(op->kind))
			return true;
		n = world_read(w, op->a, file_bytes, sizeof(file_bytes));
		if (n >= 0)
			model_adopt(m, op->a, file_bytes, (size_t)n);
		return n >= 0;
	}
	if (got == -EOPNOTSUPP && b->base->setting->block_maps && op->kind >= OP_FALLOCATE &&
	    op->kind <= OP_ZERO)
		expected = -EOPNOTSUPP;
	if ((got < 0) == (expected < 0)) {
		model_step(m, op, got, several);
		return true;
	}
	op_print(op, where, sizeof(where));
	failed(b, where,
	       got < 0 ? strerror((int)-got) : "succeeded, although the model says it cannot");
	return false;
}

static bool check_live(struct bench *b, struct world *w)
{
	struct model *m = b->base->model;
	struct view *v = world_view(w, b->builder, b->why, WHY_MAX);
	struct model_moment now = { model_count(m), model_count(m), .exact = true };
	bool ok;

	ok = v && model_allows(m, b->builder, v, now, b->why, WHY_MAX);
	if (!ok)
		failed(b, "live", b->why);
	free(v);
	return ok;
}

static bool run_workload(struct bench *b)
{
	struct world_opts opts = { .discard = b->base->setting->discard };
	static const struct op churn = { .kind = OP_CHURN };
	bool ok = true, several;
	struct world *w;
	int error;

	model_reset(b->base->model);
	record_restart(b->record, b->base->bytes);
	clock_reset(7);
	if (world_open(record_bdev(b->record), &opts, &w, b->why, WHY_MAX)) {
		failed(b, "opening", b->why);
		return false;
	}
	for (uint32_t k = 0; k < b->workload.churns; k++)
		if (world_run(w, &churn, k + 1, &several))
			failed(b, "churn", "failed");
	if (b->workload.churns)
		record_rebase(b->record);
	for (uint32_t k = 0; ok && k < b->workload.count; k++)
		ok = run_op(b, w, k);
	ok = ok && check_live(b, w);
	error = world_close(w);
	if (ok && error)
		failed(b, "closing", strerror(-error));
	record_stop(b->record);
	return ok && !error;
}

static void run_number(struct bench *b, uint64_t number)
{
	const struct options *o = b->opts;
	struct cuts_opts cuts = { .seed = o->seed * 1000003 + number,
				  .subsets = o->subsets,
				  .torn = o->torn };

	b->number = number;
	b->progress->number = number;
	b->progress->setting = b->index;
	ops_workload(number, o->seed, b->base->setting->heavy, &b->workload);
	if (run_workload(b)) {
		cuts.end_tag = 2 * b->workload.count;
		cutter_run(b->cutter, b->record, &cuts, on_cut, b);
	}
	b->progress->workloads[b->index]++;
	b->progress->operations[b->index] += b->workload.count;
	b->progress->counts[b->index] = *judge_counts(b->judge);
}

/* ---- processes ------------------------------------------------------------ */

static void bench_open(struct bench *b, const struct options *o, struct base *base)
{
	b->opts = o;
	b->base = base;
	b->builder = view_builder_new();
	b->judge = judge_new(base, b->builder, o->kernel);
	b->cutter = cutter_new(base);
	b->record = record_new(base->bytes, base->size);
}

static void bench_close(struct bench *b)
{
	record_free(b->record);
	cutter_free(b->cutter);
	judge_free(b->judge);
	view_builder_free(b->builder);
}

static uint64_t seconds_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
	return (uint64_t)ts.tv_sec;
}

/* Works off [@from, to) for worker @me; true if all is done. */
static bool work(const struct options *o, struct base *bases, struct shared *s, uint32_t me,
		 uint64_t from, uint64_t deadline)
{
	static struct bench benches[SETTINGS_MAX];
	uint64_t number, k;
	struct options own = *o;
	char why[WHY_MAX];
	bool ok = true;

	if (o->kernel && !kernel_begin(o->dir, why, sizeof(why))) {
		own.kernel = 0;
		printf("crash: recovery by the kernel is left out: %s\n", why);
	}
	o = &own;
	for (k = 0; k < o->setting_count; k++) {
		benches[k] = (struct bench){ .index = k, .progress = &s->workers[me] };
		bench_open(&benches[k], o, &bases[k]);
	}
	for (number = from; number < o->to && !s->stop; number++) {
		if (number % o->every || number / o->every % o->jobs != me)
			continue;
		if (seconds_now() >= deadline)
			break;
		for (k = 0; k < o->setting_count && !s->stop; k++) {
			run_number(&benches[k], number);
			ok = ok && benches[k].failures == 0;
			if (!ok && !o->keep_going)
				s->stop = true;
		}
	}
	s->workers[me].number = number;
	for (k = 0; k < o->setting_count; k++)
		bench_close(&benches[k]);
	kernel_end();
	return ok;
}

static pid_t start(const struct options *o, struct base *bases, struct shared *s, uint32_t me,
		   uint64_t from, uint64_t deadline)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("crash: fork");
		exit(1);
	}
	if (pid == 0)
		exit(!work(o, bases, s, me, from, deadline));
	return pid;
}

/* A worker that died takes its workload with it as a failure; with --keep-going another goes on behind it. */
static void run_workers(const struct options *o, struct base *bases, struct shared *s)
{
	uint64_t deadline = o->seconds ? seconds_now() + o->seconds : UINT64_MAX;
	pid_t pids[JOBS_MAX];
	uint32_t running = o->jobs, me;
	int status;

	for (me = 0; me < o->jobs; me++)
		pids[me] = start(o, bases, s, me, o->from, deadline);
	while (running > 0) {
		pid_t pid = wait(&status);
		struct progress *p;

		if (pid < 0 && errno == EINTR)
			continue;
		for (me = 0; me < o->jobs && pids[me] != pid; me++)
			;
		if (me == o->jobs)
			continue;
		running--;
		if (!WIFSIGNALED(status))
			continue;
		p = &s->workers[me];
		p->failures[p->setting]++;
		printf("crash: FAIL %s %" PRIu64
		       ": died by signal %s\n  alone: make crash SEED=%" PRIu64
		       " CRASH='--settings %s --from %" PRIu64
		       " --count 1 --subsets %u --torn %u'\n",
		       o->settings[p->setting]->name, p->number, sigabbrev_np(WTERMSIG(status)),
		       o->seed, o->settings[p->setting]->name, p->number, o->subsets, o->torn);
		if (!o->keep_going) {
			s->stop = true;
			continue;
		}
		pids[me] = start(o, bases, s, me, p->number + 1, deadline);
		running++;
	}
}

/* ---- results -------------------------------------------------------------- */

static void put_row(FILE *f, const char *row, const char *setting, uint64_t value, bool zero_wanted)
{
	static bool later;

	fprintf(f,
		"%s\n{\"row\": \"%s%s%s\", \"value\": %" PRIu64
		", \"unit\": \"count\", \"against\": null, \"ratio\": null, \"bar\": %s, \"ok\": %s}",
		later ? "," : "", setting, *setting ? ": " : "", row, value,
		zero_wanted ? "0" : "null", zero_wanted ? value ? "false" : "true" : "null");
	later = true;
}

static void put_rows(FILE *f, const char *setting, const struct judge_counts *c, uint64_t workloads,
		     uint64_t failures)
{
	printf("%-12s %10" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %8" PRIu64
	       " %8" PRIu64 " %9" PRIu64 "\n",
	       *setting ? setting : "all", workloads, c->cuts, c->distinct, c->e2fsck_runs,
	       c->kernel, c->rot, failures);
	if (!f)
		return;
	put_row(f, "workloads", setting, workloads, false);
	put_row(f, "cut points", setting, c->cuts, false);
	put_row(f, "distinct images", setting, c->distinct, false);
	put_row(f, "recovered by the kernel", setting, c->kernel, false);
	put_row(f, "rotten logs", setting, c->rot, false);
	put_row(f, "failures", setting, failures, true);
}

static uint64_t report(const struct options *o, const struct shared *s)
{
	struct judge_counts all = { 0 };
	uint64_t workloads_all = 0, failures_all = 0;
	FILE *f = o->json ? fopen(o->json, "we") : NULL;

	if (f)
		fprintf(f, "[");
	printf("%-12s %10s %12s %12s %12s %8s %8s %9s\n", "setting", "workloads", "cut points",
	       "distinct", "e2fsck runs", "kernel", "rotten", "failures");
	for (size_t k = 0; k < o->setting_count; k++) {
		struct judge_counts c = { 0 };
		uint64_t workloads = 0, failures = 0;

		for (uint32_t me = 0; me < o->jobs; me++) {
			const struct progress *p = &s->workers[me];

			workloads += p->workloads[k];
			failures += p->failures[k];
			c.cuts += p->counts[k].cuts;
			c.distinct += p->counts[k].distinct;
			c.e2fsck_runs += p->counts[k].e2fsck_runs;
			c.kernel += p->counts[k].kernel;
			c.rot += p->counts[k].rot;
		}
		put_rows(f, o->settings[k]->name, &c, workloads, failures);
		workloads_all += workloads;
		failures_all += failures;
		all.cuts += c.cuts;
		all.distinct += c.distinct;
		all.e2fsck_runs += c.e2fsck_runs;
		all.kernel += c.kernel;
		all.rot += c.rot;
	}
	put_rows(f, "", &all, workloads_all, failures_all);
	if (f) {
		fprintf(f, "\n]\n");
		(void)fclose(f);
	}
	return failures_all;
}

/* ---- command line --------------------------------------------------------- */

static const char usage[] =
	"usage: crash [options]\n"
	"  --settings a,b     of those below; default all\n"
	"  --lengths 1|2|any  all sequences of one operation; of two; those drawn by the seed\n"
	"  --fast             what finds a broken journal soonest: --lengths any --settings tiny,full --kernel 0\n"
	"  --from K --count N numbers instead: 0.. are the sequences of one, then of two, then drawn ones\n"
	"  --every D          only every D-th number\n"
	"  --seed N           of drawn sequences and of cuts (1)\n"
	"  --seconds S        stop then, and say how to go on\n"
	"  --subsets N        at most so many subsets of unflushed writes per flush (16)\n"
	"  --torn N           so many with torn writes per flush (4)\n"
	"  --kernel N         the kernel recovers one of N distinct images (100); 0: none\n"
	"  --jobs N           processes (one per processor)\n"
	"  --keep-going       after a failure too\n"
	"  --dir DIR          for images and scratch (.)\n"
	"  --json FILE        where the figures go\n"
	"settings:\n";

static void print_usage(FILE *f)
{
	fputs(usage, f);
	for (size_t k = 0; k < settings_count; k++)
		fprintf(f, "  %-12s %s\n", settings[k].name, settings[k].what);
}

static bool parse_settings(struct options *o, const char *words)
{
	o->setting_count = 0;
	while (*words) {
		size_t len = strcspn(words, ",");
		const struct setting *s = setting_find(words, len);

		if (!s || o->setting_count == SETTINGS_MAX)
			return false;
		o->settings[o->setting_count++] = s;
		words += len;
		words += *words == ',';
	}
	return o->setting_count > 0;
}

static bool parse_lengths(struct options *o, const char *word)
{
	uint64_t one = ops_exhaustive(1), two = ops_exhaustive(2);

	if (!strcmp(word, "1"))
		o->from = 0, o->to = one;
	else if (!strcmp(word, "2"))
		o->from = one, o->to = two;
	else if (!strcmp(word, "any"))
		o->from = two, o->to = UINT64_MAX;
	else
		return false;
	return true;
}

enum {
	OPT_SETTINGS = 256,
	OPT_LENGTHS,
	OPT_FAST,
	OPT_FROM,
	OPT_COUNT,
	OPT_EVERY,
	OPT_SEED,
	OPT_SECONDS,
	OPT_SUBSETS,
	OPT_TORN,
	OPT_JOBS,
	OPT_KERNEL,
	OPT_KEEP_GOING,
	OPT_DIR,
	OPT_JSON,
	OPT_HELP
};

static const struct option long_options[] = {
	{ "settings", required_argument, NULL, OPT_SETTINGS },
	{ "lengths", required_argument, NULL, OPT_LENGTHS },
	{ "fast", no_argument, NULL, OPT_FAST },
	{ "from", required_argument, NULL, OPT_FROM },
	{ "count", required_argument, NULL, OPT_COUNT },
	{ "every", required_argument, NULL, OPT_EVERY },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "subsets", required_argument, NULL, OPT_SUBSETS },
	{ "torn", required_argument, NULL, OPT_TORN },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "jobs", required_argument, NULL, OPT_JOBS },
	{ "keep-going", no_argument, NULL, OPT_KEEP_GOING },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "json", required_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

static bool take_option(struct options *o, int opt, uint64_t *count)
{
	uint64_t n = optarg ? strtoull(optarg, NULL, 0) : 0;

	switch (opt) {
	case OPT_SETTINGS: return parse_settings(o, optarg);
	case OPT_LENGTHS: return parse_lengths(o, optarg);
	case OPT_FAST:
		o->kernel = 0;
		return parse_lengths(o, "any") && parse_settings(o, "tiny,full");
	case OPT_FROM: o->from = n; return true;
	case OPT_COUNT: *count = n; return n > 0;
	case OPT_EVERY: o->every = n; return n > 0;
	case OPT_SEED: o->seed = n; return true;
	case OPT_SECONDS: o->seconds = n; return true;
	case OPT_SUBSETS: o->subsets = (uint32_t)n; return n > 0;
	case OPT_TORN: o->torn = (uint32_t)n; return true;
	case OPT_KERNEL: o->kernel = (uint32_t)n; return true;
	case OPT_JOBS: o->jobs = (uint32_t)n; return n > 0 && n <= JOBS_MAX;
	case OPT_KEEP_GOING: o->keep_going = true; return true;
	case OPT_DIR: o->dir = optarg; return true;
	case OPT_JSON: o->json = optarg; return true;
	default: return false;
	}
}

static void parse(struct options *o, int argc, char **argv)
{
	uint64_t count = 0;
	int opt;

	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (opt == OPT_HELP) {
			print_usage(stdout);
			exit(0);
		}
		if (!take_option(o, opt, &count)) {
			print_usage(stderr);
			exit(2);
		}
	}
	if (optind != argc) {
		print_usage(stderr);
		exit(2);
	}
	if (count)
		o->to = o->from + count * o->every;
}

static void say_where(const struct options *o, const struct shared *s)
{
	uint64_t next = o->to;

	for (uint32_t me = 0; me < o->jobs; me++)
		next = MIN(next, s->workers[me].number);
	printf("seed %" PRIu64 ", numbers %" PRIu64 " to %" PRIu64 "%s (%" PRIu64
	       " are all sequences of one and two operations)\n",
	       o->seed, o->from, next, o->every > 1 ? ", a part of them" : "", ops_exhaustive(2));
	if (next < o->to)
		printf("go on with --from %" PRIu64 "\n", next);
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct options o = { .to = ops_exhaustive(2),
			     .every = 1,
			     .seed = 1,
			     .subsets = 16,
			     .torn = 4,
			     .kernel = 100,
			     .jobs = (uint32_t)MAX(1L, MIN(cpus, (long)JOBS_MAX)),
			     .dir = "." };
	static struct base bases[SETTINGS_MAX];
	struct shared *s;
	char why[WHY_MAX];
	uint64_t failures;

	for (size_t k = 0; k < settings_count; k++)
		o.settings[o.setting_count++] = &settings[k];
	parse(&o, argc, argv);
	log_set_level(LOG_LEVEL_OFF);
	for (size_t k = 0; k < o.setting_count; k++) {
		if (!base_make(o.settings[k], o.dir, &bases[k], why, sizeof(why))) {
			fprintf(stderr, "crash: %s\n", why);
			return 1;
		}
	}
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(s != MAP_FAILED);
	run_workers(&o, bases, s);
	say_where(&o, s);
	failures = report(&o, s);
	for (size_t k = 0; k < o.setting_count; k++)
		base_free(&bases[k]);
	return failures > 0;
}
