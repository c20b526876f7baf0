/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One case, tried: the image is made, judged by e2fsck, looked at read-only, used, judged
 * again, looked at, abused, looked at. Each step runs in a process of its own with limits
 * on time and memory; what is wrong is written to @out, a line each.
 */
#ifndef TESTS_IMAGES_TRIAL_H
#define TESTS_IMAGES_TRIAL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/images/cases.h"

enum trial_end { TRIAL_REFUSED, TRIAL_RO, TRIAL_RW, TRIAL_ENDS };

struct trial_result {
	enum trial_end end;
	uint32_t wrong; /* lines written */
	uint32_t crashes, hangs;
	bool unjudged; /* used, but e2fsck cannot go on with it, or does not end */
	double cpu_s;
};

struct trial_dirs {
	const char *bases; /* <base>.img lies here */
	const char *work;  /* scratch; what a failed case leaves stays */
};

/* The damaged image as a file. */
void trial_make(const struct trial_dirs *dirs, const struct a_case *c, const char *path);
struct trial_result trial(const struct trial_dirs *dirs, const struct a_case *c, FILE *out);
/* Any image, without a case: nothing is expected but what holds for all. */
extern const struct a_case trial_anything;

#endif
