/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mountinfo's lines: "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [FIELD…] - TYPE SOURCE
 * SUPEROPTIONS". Asking here costs no system call on the mount itself, which may hang.
 */
#include "daemon/base/mountinfo.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Space, tab, newline and backslash are written as a backslash and three octal digits. */
static void unescape(char *text)
{
	char *to = text;

	while (*text) {
		const char *t = text;

		if (t[0] == '\\' && t[1] >= '0' && t[1] <= '3' && t[2] >= '0' && t[2] <= '7' &&
		    t[3] >= '0' && t[3] <= '7') {
			*to++ = (char)((t[1] - '0') << 6 | (t[2] - '0') << 3 | (t[3] - '0'));
			text += 4;
		} else {
			*to++ = *text++;
		}
	}
	*to = 0;
}

static char *next_word(char **rest)
{
	char *word = strtok_r(*rest, " \n", rest);

	return word;
}

static bool has_option(const char *options, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = options; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, word, len) && (!at[len] || at[len] == ','))
			return true;
	}
	return false;
}

bool mountinfo_parse(char *line, struct mountinfo *ret_info)
{
	char *words[6], *word, *rest = line, *type, *source, *options;
	unsigned int major_no, minor_no;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		words[i] = next_word(&rest);
		if (!words[i])
			return false;
	}
	do {
		word = next_word(&rest);
	} while (word && strcmp(word, "-") != 0);
	type = word ? next_word(&rest) : NULL;
	source = type ? next_word(&rest) : NULL;
	options = source ? next_word(&rest) : NULL;
	if (!options || sscanf(words[2], "%u:%u", &major_no, &minor_no) != 2)
		return false;
	unescape(words[3]);
	unescape(words[4]);
	unescape(type);
	unescape(source);
	*ret_info = (struct mountinfo){
		.major = major_no,
		.minor = minor_no,
		.root = words[3],
		.mountpoint = words[4],
		.type = type,
		.source = source,
		.options = options,
		.readonly = has_option(options, "ro"),
	};
	return true;
}

int mountinfo_each(mountinfo_fn fn, void *arg)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	int ret = 0;

	if (!file)
		return -errno;
	while (!ret && getline(&line, &size, file) >= 0) {
		struct mountinfo info;

		if (mountinfo_parse(line, &info))
			ret = fn(arg, &info);
	}
	free(line);
	(void)fclose(file); /* read only */
	return ret;
}

struct search {
	const char *mountpoint;
	struct mountinfo_top top;
	bool found;
};

/* The last one stands on top. */
static int compare(void *arg, const struct mountinfo *line)
{
	struct search *s = arg;

	if (strcmp(line->mountpoint, s->mountpoint) != 0)
		return 0;
	s->found = true;
	s->top.major = line->major;
	s->top.minor = line->minor;
	(void)snprintf(s->top.type, sizeof(s->top.type), "%s", line->type);
	(void)snprintf(s->top.source, sizeof(s->top.source), "%s", line->source);
	return 0;
}

int mountinfo_find(const char *mountpoint, struct mountinfo_top *ret_top)
{
	struct search s = { .mountpoint = mountpoint };
	int err = mountinfo_each(compare, &s);

	if (err)
		return err;
	if (!s.found)
		return -ENOENT;
	*ret_top = s.top;
	return 0;
}
