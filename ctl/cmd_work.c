// SPDX-License-Identifier: GPL-2.0-only
/* Commands that make the daemon do something: sync, freeze, thaw, trim, trace. Silent when done, but for trim. */
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
