/* SPDX-License-Identifier: GPL-2.0-only */
/* See cases.h. */
#include "tests/images/cases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/images/image.h"

#define LINE_BYTES 4096
#define COLUMNS 4

static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t");
	len = strlen(s);
	while (len && strchr(" \t\n", s[len - 1]))
		s[--len] = '\0';
	return s;
}

static const char *const flag_words[] = { "ro", "rw", "any", "nowrite", "nokeep" };
static const char *const value_words[] = { "refused=", "bad=", "maybe=", "gone=", "worse=" };

static bool is_known(const char *word)
{
	for (size_t i = 0; i < sizeof(flag_words) / sizeof(flag_words[0]); i++)
		if (!strcmp(word, flag_words[i]))
			return true;
	for (size_t i = 0; i < sizeof(value_words) / sizeof(value_words[0]); i++)
		if (!strncmp(word, value_words[i], strlen(value_words[i])))
			return true;
	return false;
}

static void check_name(const struct case_list *list, const struct a_case *c)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (!strcmp(list->cases[i].name, c->name))
			image_die("%s:%u: a second %s", c->file, c->line, c->name);
	if (!c->name[0] ||
	    strspn(c->name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != strlen(c->name))
		image_die("%s:%u: not a name: %s", c->file, c->line, c->name);
}

static void add(struct case_list *list, const char *file, uint32_t line, char *text)
{
	struct a_case c = { .file = file, .line = line };
	char *column[COLUMNS] = { NULL }, *save = NULL;
	uint32_t n = 0;

	/* " | ", because |= is an operator. */
	for (char *at = text; at && n < COLUMNS; n++) {
		char *bar = strstr(at, " | ");

		column[n] = at;
		if (bar)
			*bar = '\0';
		at = bar ? bar + 3 : NULL;
	}
	if (n != COLUMNS)
		image_die("%s:%u: %u columns, wanted %d", file, line, n, COLUMNS);
	c.name = strdup(trim(column[0]));
	c.base = strdup(trim(column[1]));
	c.damage = strdup(trim(column[2]));
	for (char *w = strtok_r(strdup(column[3]), " \t\n", &save); w;
	     w = strtok_r(NULL, " \t\n", &save)) {
		if (!is_known(w) || c.word_count == EXPECT_WORDS_MAX)
			image_die("%s:%u: not known: %s", file, line, w);
		for (char *u = strchr(w, '='); u && *u; u++)
			if (*u == '_')
				*u = ' ';
		c.words[c.word_count++] = w;
	}
	check_name(list, &c);
	if (list->count == list->room) {
		list->room = list->room ? list->room * 2 : 256;
		list->cases = realloc(list->cases, list->room * sizeof(c));
		if (!list->cases)
			image_die("no memory");
	}
	list->cases[list->count++] = c;
}

void cases_read(struct case_list *list, const char *path)
{
	FILE *file = fopen(path, "r");
	char line[LINE_BYTES], whole[LINE_BYTES] = "";
	uint32_t number = 0, begun = 0;

	if (!file)
		image_die("%s: %s", path, strerror(errno));
	for (;;) {
		const char *got = fgets(line, sizeof(line), file);

		number++;
		if (got && (line[0] == ' ' || line[0] == '\t') && whole[0]) {
			if (strlen(whole) + strlen(line) >= sizeof(whole))
				image_die("%s:%u: too long", path, number);
			memcpy(whole + strcspn(whole, "\n"), line, strlen(line) + 1);
			continue;
		}
		if (whole[0] && whole[0] != '#' && whole[0] != '\n')
			add(list, path, begun, whole);
		if (!got)
			break;
		memcpy(whole, line, strlen(line) + 1);
		begun = number;
	}
	(void)fclose(file); /* read only */
}

bool case_has(const struct a_case *c, const char *word)
{
	for (uint32_t i = 0; i < c->word_count; i++)
		if (!strcmp(c->words[i], word))
			return true;
	return false;
}

const char *case_value(const struct a_case *c, const char *word, uint32_t nth)
{
	size_t len = strlen(word);

	for (uint32_t i = 0; i < c->word_count; i++)
		if (!strncmp(c->words[i], word, len) && c->words[i][len] == '=' && nth-- == 0)
			return c->words[i] + len + 1;
	return NULL;
}
