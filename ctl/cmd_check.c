// SPDX-License-Identifier: GPL-2.0-only
/*
 * The check command. One thread asks for the check and waits for its findings; the main
 * one shows how far it has come. When kfsctl ends, its connection does, and the daemon
 * stops the check.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/format.h"
#include "ctl/kfsctl.h"

/* e2fsck's codes, where they do not collide with kfsctl's own. */
enum { EXIT_DAMAGED = 4, EXIT_INCOMPLETE = 8, EXIT_CANCELLED = 32 };

#define PROGRESS_MS 200
#define BAR_CELLS 50

struct asking {
	const struct rundir_info *info;
	json_t *args;
	uint32_t timeout_ms;
	json_t *result;
	int ret;
	_Atomic bool done;
};

static void *asking_main(void *arg)
{
	struct asking *a = arg;

	a->ret = ask(a->info, "check", a->args, a->timeout_ms, &a->result);
	atomic_store(&a->done, true);
	return NULL;
}

static void draw_bar(const json_t *progress)
{
	uint64_t percent = get_count(progress, "percent");
	char bar[BAR_CELLS + 1];
	uint32_t k;

	for (k = 0; k < BAR_CELLS; k++)
		bar[k] = k * 100 < percent * BAR_CELLS ? '=' : ' ';
	bar[BAR_CELLS] = '\0';
	fprintf(stderr, "\rpass %" PRIu64 ": |%s| %3" PRIu64 " %%  %" PRIu64 " found",
		get_count(progress, "pass"), bar, percent, get_count(progress, "found"));
}

static void show_progress(struct asking *a)
{
	const struct timespec pause = { .tv_nsec = PROGRESS_MS * 1000000L };

	/* At once: a check of a small image is over before its progress was asked for. */
	draw_bar(NULL);
	while (!atomic_load(&a->done)) {
		json_t *progress;
		struct failure f;

		(void)nanosleep(&pause, NULL);
		if (ask_quietly(a->info, "check_status", NULL, PROGRESS_MS * 10, &progress, &f))
			continue;
		if (get_bool(progress, "running"))
			draw_bar(progress);
		json_decref(progress);
	}
	fprintf(stderr, "\r\033[K");
}

static int status_of(const json_t *result)
{
	const char *state = get_text(result, "state");

	if (!strcmp(state, "clean"))
		return EXIT_DONE;
	if (!strcmp(state, "damaged"))
		return EXIT_DAMAGED;
	return strcmp(state, "cancelled") ? EXIT_INCOMPLETE : EXIT_CANCELLED;
}

static void print_findings(const json_t *result)
{
	const json_t *list = json_object_get(result, "findings");
	uint64_t found = get_count(result, "found");
	size_t k;

	for (k = 0; k < json_array_size(list); k++)
		printf("%s\n", get_text(json_array_get(list, k), "text"));
	if (found > k)
		printf("... and %" PRIu64 " more\n", found - k);
}

static void print_result(const json_t *result)
{
	const char *image = get_text(result, "image");
	uint64_t found = get_count(result, "found");
	int status = status_of(result);

	print_findings(result);
	if (status == EXIT_INCOMPLETE || status == EXIT_CANCELLED)
		complain(image, "the check is not complete", get_text(result, "why"));
	else
		printf("%s: %s%s%" PRIu64 "/%" PRIu64 " files, %" PRIu64 "/%" PRIu64 " blocks\n",
		       image, found ? "" : "clean", found ? "" : ", ",
		       get_count(result, "inodes_used"), get_count(result, "inodes"),
		       get_count(result, "blocks_used"), get_count(result, "blocks"));
	if (found)
		complain(image, "the filesystem has errors", "unmount it and run e2fsck -f");
}

static int check(const struct words *w, const struct rundir_info *info)
{
	struct asking a = { .info = info, .timeout_ms = patience_ms(w) };
	pthread_t thread;
	int ret;

	a.args = json_pack("{s:I, s:I}", "rate_bytes", (json_int_t)w->rate_bytes, "memory_bytes",
			   (json_int_t)w->memory_bytes);
	if (pthread_create(&thread, NULL, asking_main, &a)) {
		json_decref(a.args);
		return complain("check", "no memory for a thread", "");
	}
	if (w->progress)
		show_progress(&a);
	pthread_join(thread, NULL);
	if (a.ret)
		return a.ret;
	ret = w->json ? print_json(a.result) : EXIT_DONE;
	if (!w->json)
		print_result(a.result);
	if (!ret)
		ret = status_of(a.result);
	json_decref(a.result);
	return ret;
}

static int stop(const struct words *w, const struct rundir_info *info)
{
	json_t *result;
	int ret = ask(info, "check_stop", NULL, w->timeout_ms, &result);

	if (!ret)
		json_decref(result);
	return ret;
}

int cmd_check(const struct words *w)
{
	const struct rundir_info *info;
	struct rundir_list list;
	int ret = mounts_load(&list);

	if (ret)
		return ret;
	ret = target_find(&list, w->count ? w->word[0] : NULL, &info);
	if (!ret)
		ret = w->stop ? stop(w, info) : check(w, info);
	rundir_list_fini(&list);
	return ret;
}
