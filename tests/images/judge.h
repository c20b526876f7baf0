/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What e2fsck -fn says of an image, as kinds of complaint: numbers and names taken out, so
 * that two verdicts on one image can be compared.
 */
#ifndef TESTS_IMAGES_JUDGE_H
#define TESTS_IMAGES_JUDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define KINDS_MAX 256
#define KIND_LEN 160

struct verdict {
	bool unusable; /* e2fsck itself cannot go on */
	bool killed;   /* a crash of e2fsck, or it took too long */
	bool replayed; /* the log was replayed first */
	int status;
	uint32_t count;
	struct {
		char text[KIND_LEN];
		uint32_t times;
	} kinds[KINDS_MAX];
};

/* The whole text of e2fsck is left in @log. */
void judge(const char *image, const char *log, struct verdict *v);
/* Replays the log of @image, as e2fsck would; false if it cannot. */
bool judge_replay(const char *image, const char *log);
/* May verdicts on this image be compared? What an e2fsck that aborts says depends on where. */
bool judge_is_whole(const struct verdict *v);
/* @before is whole. Prints what @after has and @before has not, a line each; false if there is any. */
bool judge_not_worse(const struct verdict *before, const struct verdict *after, FILE *out);

#endif
