// SPDX-License-Identifier: GPL-2.0-only
/* The kernel's list of mounts. See mounts.h. */
#include "ctl/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* "\040" and its like, in place. */
static void unescape(char *text)
{
	char *out = text;

	while (*text) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
		    text[2] <= '7' && text[3] >= '0' && text[3] <= '7') {
			*out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 |
					(text[3] - '0'));
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

static void options_take(struct mount *m, char *options)
{
	char *option;

	while ((option = strsep(&options, ","))) {
		if (strncmp(option, "user_id=", 8) == 0) {
			m->has_owner = true;
			m->owner_uid = (uid_t)strtoul(option + 8, NULL, 10);
		}
	}
}

static bool copy_unescaped(char **ret_copy, const char *text)
{
	*ret_copy = strdup(text);
	if (*ret_copy)
		unescape(*ret_copy);
	return *ret_copy != NULL;
}

static void mount_fini(struct mount *m)
{
	free(m->mountpoint);
	free(m->fstype);
	free(m->source);
}

/* "36 35 98:0 /root /mnt rw,noatime shared:1 - fuse.kfs /img rw,user_id=0": 1 taken, 0 not a mount, -ENOMEM. */
static int line_parse(char *line, struct mount *m)
{
	char *field[5], *rest = line, *fstype, *source;
	unsigned int i;

	*m = (struct mount){ .mountpoint = NULL };
	for (i = 0; i < 5; i++) {
		field[i] = strsep(&rest, " ");
		if (!field[i])
			return 0;
	}
	rest = rest ? strstr(rest, " - ") : NULL;
	if (!rest)
		return 0;
	rest += 3;
	fstype = strsep(&rest, " ");
	source = rest ? strsep(&rest, " ") : NULL;
	if (!fstype || !source)
		return 0;
	if (rest)
		options_take(m, rest);
	if (copy_unescaped(&m->mountpoint, field[4]) && copy_unescaped(&m->fstype, fstype) &&
	    copy_unescaped(&m->source, source))
		return 1;
	mount_fini(m);
	return -ENOMEM;
}

int mount_list_parse(const char *text, struct mount_list *ret_list)
{
	struct mount_list list = { .mounts = NULL };
	_cleanup_free_ char *copy = strdup(text);
	char *line, *rest = copy;
	size_t lines = 1;

	for (; *text; text++)
		lines += *text == '\n';
	list.mounts = calloc(lines, sizeof(*list.mounts));
	if (!copy || !list.mounts) {
		free(list.mounts);
		return -ENOMEM;
	}
	while ((line = strsep(&rest, "\n"))) {
		int taken = line_parse(line, &list.mounts[list.count]);

		if (taken < 0) {
			mount_list_fini(&list);
			return taken;
		}
		list.count += (size_t)taken;
	}
	*ret_list = list;
	return 0;
}

int mount_list_load(struct mount_list *ret_list)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	ssize_t len;

	if (!file)
		return -errno;
	/* No zero byte is in it: this reads all. */
	len = getdelim(&text, &size, '\0', file);
	fclose(file);
	if (len < 0)
		return -EIO;
	return mount_list_parse(text, ret_list);
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
