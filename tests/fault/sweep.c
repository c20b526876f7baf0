// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sweep: every load is done with its 1st, 2nd, ... Nth call of a kind failing, once and
 * for good, until it runs untouched. Each point is a child process: a crash, a sanitizer's
 * report, a hang, a leak or a failed check of the load is one line that runs this point alone:
 *
 *	build/bin/tests/fault/sweep-fs --load names --kind write --errno EIO --for-good --nth 17
 *
 * Without --all the points of a row are a fixed number: the first ones, the last ones, the
 * rest evenly between. --json writes what was done, a row for each load and kind.
 */
#include "tests/fault/sweep.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/base/util.h"
#include "tests/fault/wrap.h"

#define LOADS_MAX 64
#define FAILURES_MAX 40
/* A point takes tens of milliseconds. A minute without an end is a hang, on any machine. */
#define POINT_SECONDS_MAX 120
/* A sweep that never runs untouched would not end. */
#define NTH_MAX 100000

struct report { /* shared with the child */
	uint64_t fired, counted[FAULT_KINDS];
};

struct row {
	const struct load *load;
	struct fault_plan plan;
	uint64_t total; /* calls of this kind in an untouched run */
	uint32_t points, fired, failed;
};

struct errno_name {
	const char *name;
	int value;
};

static const struct errno_name errnos[] = {
	{ "ENOMEM", ENOMEM }, { "EAGAIN", EAGAIN }, { "EIO", EIO }, { "ENOSPC", ENOSPC }
};

static struct load every[LOADS_MAX];
static size_t load_count;
static struct report *report;
static const char *program;
static bool all, verbose;
static uint32_t points_per_row = 8;
static uint32_t failures;
static FILE *json;
static const char *json_separator = "";

static const char *errno_text(int value)
{
	for (size_t k = 0; k < ARRAY_SIZE(errnos); k++)
		if (errnos[k].value == value)
			return errnos[k].name;
	return "?";
}

/* ---- one point -------------------------------------------------------------- */

static void child(const struct load *load, const struct point *point)
{
	alarm(POINT_SECONDS_MAX);
	if (!verbose)
		log_set_level(LOG_LEVEL_OFF);
	wrap_mark();
	load->run(load, point);
	if (wrap_report_leaks())
		FAIL("memory is leaked");
	exit(0);
}

static void note_counts(void)
{
	report->fired = fault_fired();
	for (int kind = 0; kind < FAULT_KINDS; kind++)
		report->counted[kind] = fault_counted((enum fault_kind)kind);
}

/* True: it ended as it should. */
static bool run_point(const struct load *load, const struct fault_plan *plan)
{
	struct point point = { .plan = *plan };
	int status;
	pid_t pid;

	memset(report, 0, sizeof(*report));
	fflush(NULL);
	/* Said to be verbose, it stays in this process: for a debugger. */
	pid = verbose ? 0 : fork();
	if (pid == 0) {
		atexit(note_counts);
		child(load, &point);
	}
	while (pid < 0 || waitpid(pid, &status, 0) < 0) {
		if (pid < 0 || errno != EINTR) {
			perror("fork");
			exit(1);
		}
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (WIFSIGNALED(status))
		fprintf(stderr, "killed by signal %s%s\n", sigabbrev_np(WTERMSIG(status)),
			WTERMSIG(status) == SIGALRM ? ": it hangs" : "");
	fprintf(stderr, "FAIL %s --load %s --kind %s --errno %s%s --nth %" PRIu64 "\n", program,
		load->name, fault_kind_name(plan->kind), errno_text(plan->error),
		plan->for_good ? " --for-good" : "", plan->nth);
	if (++failures >= FAILURES_MAX) {
		fprintf(stderr, "too many failures: the rest is left out\n");
		exit(1);
	}
	return false;
}

static void try_point(struct row *row, uint64_t nth)
{
	struct fault_plan plan = row->plan;

	plan.nth = nth;
	row->points++;
	if (!run_point(row->load, &plan))
		row->failed++;
	else
		row->fired += report->fired > 0;
}

/* ---- rows ------------------------------------------------------------------- */

/* Every call, until one more than there are: threads make the number vary a little. */
static void sweep_all(struct row *row)
{
	for (uint64_t nth = 1; nth <= NTH_MAX; nth++) {
		uint32_t fired = row->fired, failed = row->failed;

		try_point(row, nth);
		if (nth >= row->total && row->fired == fired && row->failed == failed)
			return;
	}
	FAIL("%s/%s never runs untouched", row->load->name, fault_kind_name(row->plan.kind));
}

static void sweep_some(struct row *row)
{
	uint64_t last = 0;

	for (uint32_t k = 0; k < points_per_row; k++) {
		/* For good differs from once only in what comes after: another phase of the stride. */
		uint64_t nth =
			1 + (row->total * (2 * k + row->plan.for_good)) / (2 * points_per_row);

		if (nth <= row->total && nth != last)
			try_point(row, nth);
		last = nth;
	}
}

static void sweep_row(struct row *row)
{
	if (row->total == 0)
		return;
	if (all)
		sweep_all(row);
	else
		sweep_some(row);
	printf("%-16s %-8s %-7s %-8s %6" PRIu64 " calls %6u points %6u fired %3u failed\n",
	       row->load->name, fault_kind_name(row->plan.kind), errno_text(row->plan.error),
	       row->plan.for_good ? "for good" : "once", row->total, row->points, row->fired,
	       row->failed);
	fflush(stdout);
}

/* Rows of one name are added up by who puts the files of the parts together. */
static void json_row(const char *name, double value, const char *unit, bool ok)
{
	if (!json)
		return;
	fprintf(json,
		"%s\n{\"row\": \"%s\", \"value\": %g, \"unit\": \"%s\", \"against\": null, "
		"\"ratio\": null, \"bar\": null, \"ok\": %s}",
		json_separator, name, value, unit, ok ? "true" : "false");
	json_separator = ",";
}

static const int errors_of[FAULT_KINDS][2] = {
	[FAULT_ALLOC] = { ENOMEM },	 [FAULT_THREAD] = { EAGAIN },	  [FAULT_READ] = { EIO },
	[FAULT_WRITE] = { EIO, ENOSPC }, [FAULT_FLUSH] = { EIO, ENOSPC }, [FAULT_DISCARD] = { EIO },
	[FAULT_ZERO] = { EIO, ENOSPC },	 [FAULT_SHORT] = { EIO },	  [FAULT_INTR] = { EAGAIN },
	[FAULT_JOIN] = { EIO, ENOSPC },
};

static uint64_t sweep_kind(const struct load *load, enum fault_kind kind, uint64_t total)
{
	uint64_t points = 0, failed = 0;
	char name[64];

	for (int k = 0; k < 4; k++) {
		struct row row = { .load = load, .total = total };

		row.plan = (struct fault_plan){ .kind = kind,
						.for_good = k % 2,
						.error = errors_of[kind][k / 2] };
		/* Each call interrupted for ever is no system call at all. */
		if (!row.plan.error || (kind == FAULT_INTR && row.plan.for_good))
			continue;
		sweep_row(&row);
		points += row.points;
		failed += row.failed;
	}
	(void)snprintf(name, sizeof(name), "%s/%s", load->name, fault_kind_name(kind));
	if (points)
		json_row(name, (double)points, "points", failed == 0);
	return points;
}

static void sweep_load(const struct load *load, uint32_t kinds, uint64_t *points)
{
	struct fault_plan none = { .kind = FAULT_ALLOC };
	struct report untouched;

	load->prepare(load);
	if (!run_point(load, &none))
		return;
	untouched = *report;
	for (int kind = 0; kind < FAULT_KINDS; kind++)
		if (load->kinds & kinds & (1u << kind))
			points[kind] +=
				sweep_kind(load, (enum fault_kind)kind, untouched.counted[kind]);
}

/* ---- words ------------------------------------------------------------------ */

static void usage(void)
{
	fprintf(stderr,
		"usage: %s [--all] [--points N] [--load NAME] [--kind KIND] [--errno NAME] "
		"[--for-good] [--nth N] [--part K/N] [--json FILE] [--verbose]\n",
		program);
	exit(2);
}

struct words {
	const char *load;
	struct fault_plan plan; /* nth 0: all of it */
	uint32_t kinds;
	size_t part, parts; /* of the loads, this one of so many */
};

static void word_kind(struct words *w, const char *text)
{
	for (int kind = 0; kind < FAULT_KINDS; kind++) {
		if (strcmp(text, fault_kind_name((enum fault_kind)kind)) != 0)
			continue;
		w->plan.kind = (enum fault_kind)kind;
		w->kinds = 1u << kind;
		return;
	}
	usage();
}

static void word_errno(struct words *w, const char *text)
{
	for (size_t k = 0; k < ARRAY_SIZE(errnos); k++)
		if (!strcmp(text, errnos[k].name))
			w->plan.error = errnos[k].value;
	if (!w->plan.error)
		usage();
}

static void word_part(struct words *w, const char *text)
{
	char *end;

	w->part = strtoul(text, &end, 10);
	w->parts = *end == '/' ? strtoul(end + 1, NULL, 10) : 0;
	if (w->part >= w->parts)
		usage();
}

static void parse(int argc, char **argv, struct words *w)
{
	static const struct option options[] = { { "all", no_argument, NULL, 'a' },
						 { "points", required_argument, NULL, 'p' },
						 { "load", required_argument, NULL, 'l' },
						 { "kind", required_argument, NULL, 'k' },
						 { "errno", required_argument, NULL, 'e' },
						 { "for-good", no_argument, NULL, 'g' },
						 { "nth", required_argument, NULL, 'n' },
						 { "json", required_argument, NULL, 'j' },
						 { "verbose", no_argument, NULL, 'v' },
						 { "part", required_argument, NULL, 'i' },
						 { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'a': all = true; break;
		case 'p': points_per_row = (uint32_t)strtoul(optarg, NULL, 10); break;
		case 'l': w->load = optarg; break;
		case 'k': word_kind(w, optarg); break;
		case 'e': word_errno(w, optarg); break;
		case 'g': w->plan.for_good = true; break;
		case 'n': w->plan.nth = strtoull(optarg, NULL, 10); break;
		case 'j': json = fopen(optarg, "w"); break;
		case 'i': word_part(w, optarg); break;
		case 'v': verbose = true; break;
		default: usage();
		}
	}
	if (optind != argc || !points_per_row)
		usage();
}

static double seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static void finish(const uint64_t *points)
{
	struct rusage self, children;
	uint64_t total = 0;
	double cpu;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	cpu = seconds(&self.ru_utime) + seconds(&self.ru_stime) + seconds(&children.ru_utime) +
	      seconds(&children.ru_stime);
	printf("failure points:");
	for (int kind = 0; kind < FAULT_KINDS; kind++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "all/%s",
			       fault_kind_name((enum fault_kind)kind));
		if (points[kind])
			json_row(name, (double)points[kind], "points", failures == 0);
		printf(" %s %" PRIu64, fault_kind_name((enum fault_kind)kind), points[kind]);
		total += points[kind];
	}
	printf("; %" PRIu64 " in all, %u failed, %.0f s of CPU\n", total, failures, cpu);
	json_row("all", (double)total, "points", failures == 0);
	json_row("cpu", cpu, "s", true);
	if (json) {
		fprintf(json, "\n]\n");
		fclose(json);
	}
}

int main(int argc, char **argv)
{
	struct words w = { .kinds = ~0u, .parts = 1 };
	uint64_t points[FAULT_KINDS] = { 0 };
	bool found = false;

	program = argv[0];
	parse(argc, argv, &w);
	/* Where mke2fs and e2fsck are. */
	CHECK(setenv("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", 1) ==
	      0);
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	CHECK(report != MAP_FAILED);
	if (json)
		fprintf(json, "[");
	load_count = loads(every, LOADS_MAX);
	for (size_t k = 0; k < load_count; k++) {
		if (w.load ? strcmp(w.load, every[k].name) != 0 : k % w.parts != w.part)
			continue;
		found = true;
		if (w.plan.nth) {
			every[k].prepare(&every[k]);
			return run_point(&every[k], &w.plan) ? 0 : 1;
		}
		sweep_load(&every[k], w.kinds, points);
	}
	if (!found)
		usage();
	finish(points);
	return failures ? 1 : 0;
}
