// SPDX-License-Identifier: GPL-2.0-only
/* The orphan list and the orphan file: read, worked off, and used again. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

#define OPERATIONS_MAX 8

static struct rig rig;

static void run(struct input *in)
{
	struct scene *sc = scene_begin(in);

	for (uint32_t round = 0; round < 2 && !rig_open(&rig, sc); round++) {
		rig_operate(&rig, in, OPERATIONS_MAX);
		rig_close(&rig, round == 0);
	}
	scene_end(sc);
}

const struct fuzz_harness fuzz_harness = {
	.run = run,
	.kinds = PLACE_BIT(PLACE_SUPER) | PLACE_BIT(PLACE_ORPHAN) | PLACE_BIT(PLACE_INODE),
};
