// SPDX-License-Identifier: GPL-2.0-only
/*
 * kfsctl list: every mount of this host that the caller can see, also those whose daemon is gone or does not answer.
 * Each daemon is asked for a short while only, so that one that hangs does not hide the others.
 */
#include "ctl/format.h"
#include "ctl/kfsctl.h"

#define LIST_PATIENCE_MS 2000

/* One mount as an object; "state" says the most important thing about it. */
static json_t *describe(const struct rundir_info *info, uint32_t timeout_ms)
{
	json_t *status = NULL, *o;
	const char *state;
	struct failure f;
	int ret;

	ret = ask_quietly(info, "status", NULL, timeout_ms, &status, &f);
	if (!info->alive)
		state = "dead";
	else if (ret)
		state = geteuid() == 0 || geteuid() == info->owner_uid ? "no answer" : "not yours";
	else if (get_bool(status, "frozen"))
		state = "frozen";
	else
		state = get_bool(status, "readonly") ? "read-only" : "read-write";
	o = json_pack("{s:s, s:I, s:I, s:s, s:b}", "id", info->id, "pid", (json_int_t)info->pid,
		      "owner_uid", (json_int_t)info->owner_uid, "state", state, "alive",
		      info->alive);
	json_object_set_new(o, "image", json_string(info->image));
	json_object_set_new(o, "mountpoint",
			    info->mountpoint ? json_string(info->mountpoint) : json_null());
	json_object_set_new(o, "error", ret ? json_string(f.why) : json_null());
	json_object_set_new(o, "uptime_seconds",
			    ret ? json_null() :
				  json_incref(json_object_get(status, "uptime_seconds")));
	json_decref(status);
	return o;
}

static void print_mount(const struct rundir_info *info, const json_t *o)
{
	const json_t *uptime = json_object_get(o, "uptime_seconds");

	printf("%-8s  %8ld  %-10s  %-11s  %s  %s\n", info->id, (long)info->pid,
	       get_text(o, "state"),
	       json_is_integer(uptime) ? fmt_age(get_count(o, "uptime_seconds")) : "-",
	       info->mountpoint ? info->mountpoint : "-", info->image);
}

int cmd_list(const struct words *w)
{
	uint32_t timeout_ms = w->timeout_given ? w->timeout_ms : LIST_PATIENCE_MS;
	json_t *array = json_array();
	struct rundir_list list;
	int ret = EXIT_DONE;
	size_t i;

	if (mounts_load(&list)) {
		json_decref(array);
		return EXIT_FAILED;
	}
	if (!w->json && list.count)
		printf("%-8s  %8s  %-10s  %-11s  %s\n", "id", "pid", "state", "up",
		       "mount point, image");
	for (i = 0; i < list.count; i++) {
		json_t *o = describe(&list.entries[i], timeout_ms);

		if (!w->json)
			print_mount(&list.entries[i], o);
		json_array_append_new(array, o);
	}
	if (w->json)
		ret = print_json(array);
	json_decref(array);
	rundir_list_fini(&list);
	return ret;
}
