// SPDX-License-Identifier: GPL-2.0-only
/* A whole hostile image: mounted, walked, changed, unmounted (or crashed), mounted and walked again. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

#define OPERATIONS_MAX 40

static struct rig rig;

static void run(struct input *in)
{
	struct scene *sc = scene_begin(in);
	bool crash = scene_flags() & SCENE_CRASH;

	if (!rig_open(&rig, sc)) {
		rig_walk(&rig);
		rig_operate(&rig, in, OPERATIONS_MAX);
		rig_close(&rig, crash);
		if (!rig_open(&rig, sc)) {
			rig_walk(&rig);
			rig_close(&rig, false);
		}
	}
	scene_end(sc);
}

const struct fuzz_harness fuzz_harness = { .run = run, .kinds = PLACE_ALL };
