/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tables of cases (tests/images/cases/): one damaged image a line,
 *
 *	name | base | damage (patch.h) | what must happen
 *
 * "#" begins a comment line; a line that begins with a space continues the one before.
 * What must happen is a list of words:
 *
 *	refused=TEXT  not opened; the message holds TEXT ("_" stands for a space)
 *	ro, rw        opened, and in the end read-only or writable
 *	any           refused, read-only or writable: all are right
 *	bad=PATH      PATH (or what is below it) cannot be read or reached: EUCLEAN or EBADMSG
 *	maybe=PATH    the same, but it may also be readable
 *	gone=PATH     there is no such name, and no error either
 *	nowrite       some of the harmless changes may fail
 *	worse=TEXT    e2fsck may newly say TEXT afterwards, for the reason given above the case
 *	nokeep        the damage reaches /keep itself
 *
 * Without bad and maybe nothing may fail to be read.
 */
#ifndef TESTS_IMAGES_CASES_H
#define TESTS_IMAGES_CASES_H

#include <stdbool.h>
#include <stdint.h>

#define EXPECT_WORDS_MAX 16

struct a_case {
	char *name, *base, *damage;
	char *words[EXPECT_WORDS_MAX];
	uint32_t word_count;
	const char *file;
	uint32_t line;
};

struct case_list {
	struct a_case *cases;
	uint32_t count, room;
};

void cases_read(struct case_list *list, const char *path);
/* Is this word among what must happen? */
bool case_has(const struct a_case *c, const char *word);
/* The Nth value of "word=": NULL behind the last. */
const char *case_value(const struct a_case *c, const char *word, uint32_t nth);

#endif
