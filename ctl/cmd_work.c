// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands that make the daemon do something: sync, freeze, thaw, trim, trace, abort. Silent when done, but for trim and
 * abort.
 */
#include <errno.h>
#include <inttypes.h>

#include "ctl/format.h"
#include "ctl/kfsctl.h"

/* Asks and prints the result for machines; *ret_result may be NULL when only success matters. */
static int work(const struct words *w, const char *target, const char *command, json_t *args,
		json_t **ret_result)
{
	struct words patient = *w;
	json_t *result;
	int ret;

	patient.timeout_ms = patience_ms(w);
	ret = ask_target(&patient, target, command, args, &result);
	if (ret)
		return ret;
	if (w->json)
		ret = print_json(result);
	if (ret_result)
		*ret_result = result;
	else
		json_decref(result);
	return ret;
}

static const char *target_word(const struct words *w, int at)
{
	return w->count > at ? w->word[at] : NULL;
}

int cmd_sync(const struct words *w)
{
	return work(w, target_word(w, 0), "sync", NULL, NULL);
}

int cmd_freeze(const struct words *w)
{
	return work(w, target_word(w, 0), "freeze", NULL, NULL);
}

int cmd_thaw(const struct words *w)
{
	return work(w, target_word(w, 0), "thaw", NULL, NULL);
}

int cmd_trim(const struct words *w)
{
	json_t *result;
	int ret;

	ret = work(w, target_word(w, 0), "trim",
		   json_pack("{s:I}", "min_bytes", (json_int_t)w->min_bytes), &result);
	if (ret)
		return ret;
	if (!w->json)
		printf("%s (%s bytes) given back\n", fmt_bytes(get_count(result, "trimmed_bytes")),
		       fmt_count(get_count(result, "trimmed_bytes")));
	json_decref(result);
	return EXIT_DONE;
}

int cmd_trace(const struct words *w)
{
	bool on = strcmp(w->word[0], "on") == 0;

	if (!on && strcmp(w->word[0], "off") != 0)
		return complain_usage(w->word[0], "trace is 'on' or 'off'");
	return work(w, target_word(w, 1), "trace", json_pack("{s:b}", "on", on), NULL);
}

/* The number of a request, as stats prints it. */
static bool unique_parse(const char *text, int64_t *ret_unique)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_unique = strtoll(text, &end, 10);
	return !errno && !*end;
}

static void print_aborted(const json_t *list)
{
	const json_t *r;
	size_t i;

	if (!json_array_size(list))
		printf("nothing to abort\n");
	json_array_foreach((json_t *)list, i, r)
		printf("aborted: %s of inode %" PRIu64 " after %s (unique %" PRIu64 ")\n",
		       get_text(r, "opcode"), get_count(r, "ino"), fmt_ns(get_count(r, "age_ns")),
		       get_count(r, "unique"));
}

int cmd_abort(const struct words *w)
{
	json_t *args = NULL, *result;
	const char *target;
	int64_t unique;
	int ret;

	if (w->older_given && w->count > 1)
		return complain_usage(w->word[0], "either the number of a request, or --older");
	if (!w->older_given && !w->count)
		return complain_usage("abort", "wants the number of a request, or --older");
	target = w->older_given ? target_word(w, 0) : target_word(w, 1);
	if (w->older_given)
		args = json_pack("{s:I}", "older_seconds", (json_int_t)w->older_s);
	else if (unique_parse(w->word[0], &unique))
		args = json_pack("{s:I}", "unique", (json_int_t)unique);
	else
		return complain_usage(w->word[0], "not the number of a request: see kfsctl stats");
	if (w->guest && args)
		(void)json_object_set_new(args, "guest",
					  json_integer((json_int_t)w->guest)); /* memory: refused */
	ret = ask_target(w, target, "abort", args, &result);
	if (ret)
		return ret;
	if (w->json)
		ret = print_json(result);
	else
		print_aborted(json_object_get(result, "aborted"));
	json_decref(result);
	return ret;
}
