/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Damaged images, tried one after the other.
 *
 *	images run -b BASES -w WORK [-r RESULTS.json] [-t WORD] [-p N/M] TABLE...
 *	images make -b BASES -o FILE -t NAME TABLE...	one damaged image as a file
 *	images list TABLE...				the names
 *	images any -w WORK IMAGE...			images from elsewhere: no crash, no hang, not worse
 *
 * -t: cases whose name holds WORD. -p: the Nth of M parts. Exit 0: every case ended as its
 * table says; 1: one did not; 2: usage, or a table or a tool is wrong.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/images/image.h"
#include "tests/images/trial.h"

struct run {
	struct case_list list;
	struct trial_dirs dirs;
	const char *word, *results, *to;
	uint32_t part, parts;
	uint32_t tried, failed, crashes, hangs, unjudged, ends[TRIAL_ENDS];
	double cpu_s;
};

static void row(FILE *json, bool *first, const char *name, double value, const char *unit, int ok)
{
	static const char *const words[] = { "false", "true", "null" };

	fprintf(json,
		"%s\n{\"row\": \"%s\", \"value\": %.3f, \"unit\": \"%s\", \"against\": null, "
		"\"ratio\": null, \"bar\": null, \"ok\": %s}",
		*first ? "[" : ",", name, value, unit, words[ok]);
	*first = false;
}

static void summary(struct run *r, FILE *json, bool first)
{
	printf("%u images: %u refused, %u read-only, %u read-write (%u of them too bad for "
	       "e2fsck to judge); %u not as the table says, %u crashes, %u hangs; "
	       "%.1f CPU s in kfs\n",
	       r->tried, r->ends[TRIAL_REFUSED], r->ends[TRIAL_RO], r->ends[TRIAL_RW], r->unjudged,
	       r->failed, r->crashes, r->hangs, r->cpu_s);
	if (!json)
		return;
	row(json, &first, "images tried", r->tried, "images", 2);
	row(json, &first, "images refused", r->ends[TRIAL_REFUSED], "images", 2);
	row(json, &first, "images mounted read-only", r->ends[TRIAL_RO], "images", 2);
	row(json, &first, "images mounted read-write", r->ends[TRIAL_RW], "images", 2);
	row(json, &first, "images not judged", r->unjudged, "images", 2);
	row(json, &first, "images not as the table says", r->failed, "images", r->failed == 0);
	row(json, &first, "images that crash", r->crashes, "images", r->crashes == 0);
	row(json, &first, "images that hang", r->hangs, "images", r->hangs == 0);
	fprintf(json, "\n]\n");
	if (fclose(json))
		image_die("%s: %s", r->results, strerror(errno));
}

static void try_one(struct run *r, const struct a_case *c, FILE *json, bool *first)
{
	char *said = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&said, &size);
	struct trial_result got;

	if (!out)
		image_die("no memory");
	got = trial(&r->dirs, c, out);
	(void)fclose(out); /* memory */
	r->tried++;
	r->failed += got.wrong > 0;
	r->crashes += got.crashes;
	r->hangs += got.hangs;
	r->unjudged += got.unjudged;
	r->ends[got.end]++;
	r->cpu_s += got.cpu_s;
	if (got.wrong)
		printf("FAIL %s (%s:%u)\n%s", c->name, c->file, c->line, said);
	(void)fflush(stdout); /* another process may write to it next */
	if (json)
		row(json, first, c->name, got.cpu_s, "CPU s", got.wrong == 0);
	free(said);
}

static int run_cases(struct run *r)
{
	FILE *json = r->results ? fopen(r->results, "w") : NULL;
	bool first = true;

	if (r->results && !json)
		image_die("%s: %s", r->results, strerror(errno));
	for (uint32_t i = 0; i < r->list.count; i++)
		if (strstr(r->list.cases[i].name, r->word) && i % r->parts == r->part)
			try_one(r, &r->list.cases[i], json, &first);
	summary(r, json, first);
	return r->failed || !r->tried ? 1 : 0;
}

static int run_any(struct run *r, int argc, char **argv)
{
	FILE *json = r->results ? fopen(r->results, "w") : NULL;
	bool first = true;

	if (r->results && !json)
		image_die("%s: %s", r->results, strerror(errno));
	r->dirs.bases = "";
	for (int i = 0; i < argc; i++) {
		struct a_case c = trial_anything;
		const char *slash = strrchr(argv[i], '/');

		if ((uint32_t)i % r->parts != r->part)
			continue;
		if (argv[i][0] != '/')
			image_die("%s: an absolute path is wanted", argv[i]);
		c.name = strdup(slash + 1);
		c.base = argv[i];
		c.file = argv[i];
		try_one(r, &c, json, &first);
	}
	summary(r, json, first);
	return r->failed ? 1 : 0;
}

static int make_one(const struct run *r)
{
	for (uint32_t i = 0; i < r->list.count; i++) {
		if (strcmp(r->list.cases[i].name, r->word) != 0)
			continue;
		trial_make(&r->dirs, &r->list.cases[i], r->to);
		return 0;
	}
	image_die("no case %s", r->word);
}

static void options(struct run *r, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "b:w:r:t:o:p:")) != -1) {
		switch (option) {
		case 'b': r->dirs.bases = optarg; break;
		case 'w': r->dirs.work = optarg; break;
		case 'r': r->results = optarg; break;
		case 't': r->word = optarg; break;
		case 'o': r->to = optarg; break;
		case 'p':
			if (sscanf(optarg, "%u/%u", &r->part, &r->parts) != 2 ||
			    r->part >= r->parts)
				image_die("-p: N/M, N below M");
			break;
		default: image_die("see the head of tests/images/main.c");
		}
	}
}

int main(int argc, char **argv)
{
	static struct run r = { .word = "", .parts = 1 }; /* until the program ends */
	const char *command = argc > 1 ? argv[1] : "";

	if (argc < 3)
		image_die("images run|make|list|any ...");
	options(&r, argc - 1, argv + 1);
	argc -= optind + 1;
	argv += optind + 1;
	if (!strcmp(command, "any"))
		return run_any(&r, argc, argv);
	for (int i = 0; i < argc; i++)
		cases_read(&r.list, argv[i]);
	if (!strcmp(command, "run") && r.dirs.bases && r.dirs.work)
		return run_cases(&r);
	if (!strcmp(command, "make") && r.dirs.bases && r.to)
		return make_one(&r);
	if (strcmp(command, "list") != 0)
		image_die("images run|make|list|any ...");
	for (uint32_t i = 0; i < r.list.count; i++)
		puts(r.list.cases[i].name);
	return 0;
}
