// SPDX-License-Identifier: GPL-2.0-only
/*
 * kfsctl cache: what the kernel would answer for a path without asking the daemon, whether the store says the same, and
 * making the kernel forget. The path is not touched: a stat of it would fill what is to be looked at.
 */
#include <inttypes.h>

#include "ctl/format.h"
#include "ctl/kfsctl.h"

static const json_t *part(const json_t *o, const char *first, const char *second)
{
	return json_object_get(json_object_get(o, first), second);
}

static void print_store(const json_t *s)
{
	if (!get_bool(s, "exists")) {
		printf("  %-12s there is no such name", "store");
		if (json_object_get(s, "directory_version"))
			printf(" (directory's version %" PRIu64 ")",
			       get_count(s, "directory_version"));
		putchar('\n');
		return;
	}
	printf("  %-12s inode %" PRIu64 " generation %" PRIu64 ", version %" PRIu64
	       ": mode %s, %" PRIu64 " links, owner %" PRIu64 ":%" PRIu64 ", %" PRIu64 " bytes\n",
	       "store", get_count(s, "ino"), get_count(s, "generation"), get_count(s, "version"),
	       get_text(s, "mode"), get_count(s, "nlink"), get_count(s, "uid"), get_count(s, "gid"),
	       get_count(s, "size_bytes"));
}

static void print_name(const json_t *name)
{
	const char *state = get_text(name, "state");

	printf("  %-12s ", "name");
	if (strcmp(state, "none") == 0) {
		printf("not in the table\n");
		return;
	}
	if (strcmp(state, "known") == 0)
		printf("inode %" PRIu64 " generation %" PRIu64, get_count(name, "ino"),
		       get_count(name, "generation"));
	else
		printf("%s", strcmp(state, "absent") ? "in the table without a value" : "absent");
	printf(", version %" PRIu64 "%s\n", get_count(name, "version"),
	       get_bool(name, "used") ? ", used" : "");
}

static void print_directory(const json_t *dir)
{
	printf("  %-12s %s\n", "directory",
	       get_bool(dir, "complete") ?
		       "known whole: a name that is not in the table is absent" :
	       get_bool(dir, "being_listed") ? "being listed" :
					       "not known whole");
}

static void print_attributes(const json_t *attrs)
{
	const char *state = get_text(attrs, "state");

	printf("  %-12s ", "attributes");
	if (strcmp(state, "none") == 0) {
		printf("not in the table\n");
		return;
	}
	if (strcmp(state, "known") == 0)
		printf("mode %s, %" PRIu64 " bytes", get_text(attrs, "mode"),
		       get_count(attrs, "size_bytes"));
	else
		printf("%s", strcmp(state, "held") ? "in the table without a value" :
						     "held: the daemon wants to be asked");
	printf(", version %" PRIu64 "%s%s%s\n", get_count(attrs, "version"),
	       get_bool(attrs, "used") ? ", used" : "",
	       get_bool(attrs, "no_capability") ? ", no capability" : "",
	       get_bool(attrs, "no_acl") ? ", no ACL" : "");
}

static void print_timeouts(const json_t *t)
{
	printf("  %-12s names %g s, attributes %g s, absent names %g s: for so long the kernel may "
	       "keep answers of its own\n",
	       "timeouts", get_real(t, "entry_seconds"), get_real(t, "attr_seconds"),
	       get_real(t, "negative_seconds"));
}

static void print_show(const json_t *o)
{
	const json_t *kernel = json_object_get(o, "kernel"), *list, *text;
	size_t i;

	printf("%s\n", get_text(o, "file"));
	print_store(json_object_get(o, "store"));
	if (json_is_object(kernel)) {
		if (json_object_get(kernel, "name")) {
			print_name(part(o, "kernel", "name"));
			print_directory(part(o, "kernel", "directory"));
		}
		print_attributes(part(o, "kernel", "attributes"));
		printf("  %-12s lookup: %s; getattr: %s\n", "the kernel",
		       get_text(kernel, "lookup"), get_text(kernel, "getattr"));
	} else {
		printf("  %-12s there is none: the stock tier has the kernel's own caches alone\n",
		       "table");
	}
	print_timeouts(json_object_get(o, "timeouts"));
	list = json_object_get(o, "differences");
	json_array_foreach((json_t *)list, i, text)
		printf("  %-12s %s\n", "DIFFERS", json_string_value(text));
	if (json_is_object(kernel) && !json_array_size(list))
		printf("  it agrees\n");
}

/* The arguments for @inside; NULL: the name cannot be said in JSON. */
static json_t *path_args(const char *inside)
{
	return json_pack("{s:s}", "path", inside);
}

static int complain_bytes(const char *path)
{
	return complain(path, "is not UTF-8, which the control protocol needs", "");
}

static int show(const struct words *w, const struct rundir_info *info, const char *inside)
{
	json_t *args = path_args(inside), *o;
	bool differs;
	int ret;

	if (!args)
		return complain_bytes(w->word[1]);
	ret = ask(info, "cache_show", args, w->timeout_ms, &o);
	if (ret)
		return ret;
	(void)json_object_set_new(o, "file", json_string(w->word[1])); /* memory: absent */
	differs = json_array_size(json_object_get(o, "differences"));
	if (w->json)
		ret = print_json(o);
	else
		print_show(o);
	json_decref(o);
	return ret ? ret : differs ? EXIT_FAILED : EXIT_DONE;
}

static int print_dropped(const struct words *w, const struct rundir_info *info, json_t *o)
{
	if (w->json)
		return print_json(o);
	if (get_bool(o, "kernel_names_dropped"))
		return EXIT_DONE;
	/* Not a failure: what there is to do was done. */
	fprintf(stderr,
		"kfsctl: %s: this kernel cannot be told to forget all names of its own cache: "
		"'echo 2 > /proc/sys/vm/drop_caches' does it, for all filesystems\n",
		mount_name(info));
	return EXIT_DONE;
}

static int drop(const struct words *w, const struct rundir_info *info, const char *inside)
{
	json_t *args = inside ? path_args(inside) : NULL, *o;
	int ret;

	if (inside && !args)
		return complain_bytes(w->word[1]);
	ret = ask(info, "cache_drop", args, w->timeout_ms, &o);
	if (ret)
		return ret;
	ret = print_dropped(w, info, o);
	json_decref(o);
	return ret;
}

/* A path below a mount is a name of it; a mount point, an image or an id means all of it. */
static int drop_what(const struct words *w, const struct rundir_list *list)
{
	const char *word = w->count > 1 ? w->word[1] : NULL;
	_cleanup_free_ char *inside = NULL;
	const struct rundir_info *info;
	int ret = target_find(list, word, &info);

	if (ret)
		return ret;
	if (!word || strcmp(word, info->id) == 0 || strcmp(word, info->image) == 0 ||
	    !target_is_inside(list, word))
		return drop(w, info, NULL);
	ret = target_find_inside(list, word, &info, &inside);
	return ret ? ret : drop(w, info, inside);
}

static int show_what(const struct words *w, const struct rundir_list *list)
{
	_cleanup_free_ char *inside = NULL;
	const struct rundir_info *info;
	int ret = target_find_inside(list, w->word[1], &info, &inside);

	return ret ? ret : show(w, info, inside);
}

int cmd_cache(const struct words *w)
{
	bool shows = strcmp(w->word[0], "show") == 0;
	struct rundir_list list;
	int ret;

	if (!shows && strcmp(w->word[0], "drop") != 0)
		return complain_usage(w->word[0], "cache wants show or drop");
	if (shows && w->count < 2)
		return complain_usage("cache show", "a path is missing");
	ret = mounts_load(&list);
	if (ret)
		return ret;
	ret = shows ? show_what(w, &list) : drop_what(w, &list);
	rundir_list_fini(&list);
	return ret;
}
