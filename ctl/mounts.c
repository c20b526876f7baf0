// SPDX-License-Identifier: GPL-2.0-only
/* The kernel's list of mounts. See mounts.h. */
#include "ctl/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void options_take(struct mount *m, const char *options)
{
	static const char owner[] = "user_id=";

	for (; options; options = strchr(options, ',')) {
		options += *options == ',';
		if (strncmp(options, owner, sizeof(owner) - 1) == 0) {
			m->has_owner = true;
			m->owner_uid = (uid_t)strtoul(options + sizeof(owner) - 1, NULL, 10);
		}
	}
}

static void mount_fini(struct mount *m)
{
	free(m->mountpoint);
	free(m->fstype);
	free(m->source);
	free(m->root);
}

int mount_list_add(struct mount_list *list, const struct mountinfo *line)
{
	struct mount *more = reallocarray(list->mounts, list->count + 1, sizeof(*more));
	struct mount *m;

	if (!more)
		return -ENOMEM;
	list->mounts = more;
	m = &more[list->count];
	*m = (struct mount){ .mountpoint = strdup(line->mountpoint),
			     .fstype = strdup(line->type),
			     .source = strdup(line->source),
			     .root = strdup(line->root) };
	if (!m->mountpoint || !m->fstype || !m->source || !m->root) {
		mount_fini(m);
		return -ENOMEM;
	}
	options_take(m, line->options);
	list->count++;
	return 0;
}

static int add_line(void *arg, const struct mountinfo *line)
{
	return mount_list_add(arg, line);
}

int mount_list_load(struct mount_list *ret_list)
{
	struct mount_list list = { .mounts = NULL };
	int ret = mountinfo_each(add_line, &list);

	if (ret)
		mount_list_fini(&list);
	else
		*ret_list = list;
	return ret;
}

void mount_list_fini(struct mount_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		mount_fini(&list->mounts[i]);
	free(list->mounts);
	*list = (struct mount_list){ .mounts = NULL };
}

static bool holds(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	if (len == 1)
		return true; /* the root */
	return strncmp(dir, path, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

const struct mount *mount_list_find(const struct mount_list *list, const char *path)
{
	const struct mount *best = NULL;
	size_t i;

	for (i = 0; i < list->count; i++) {
		const struct mount *m = &list->mounts[i];

		if (holds(m->mountpoint, path) &&
		    (!best || strlen(m->mountpoint) >= strlen(best->mountpoint)))
			best = m;
	}
	return best;
}

char *path_normalise(const char *cwd, const char *path)
{
	_cleanup_free_ char *whole = NULL;
	char *out, *rest, *part;
	size_t len = 0;

	if (asprintf(&whole, "%s/%s", path[0] == '/' ? "" : cwd, path) < 0) {
		whole = NULL;
		return NULL;
	}
	out = malloc(strlen(whole) + 2);
	if (!out)
		return NULL;
	rest = whole;
	while ((part = strsep(&rest, "/"))) {
		if (!*part || strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0) {
			while (len && out[--len] != '/')
				;
			continue;
		}
		out[len++] = '/';
		memcpy(out + len, part, strlen(part));
		len += strlen(part);
	}
	if (!len)
		out[len++] = '/';
	out[len] = '\0';
	return out;
}
