// SPDX-License-Identifier: GPL-2.0-only
/* Contents kept inside the inode: of files and of directories, alone and on their way into a block. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

#define OPERATIONS_MAX 16

static struct rig rig;

static void run(struct input *in)
{
	struct scene *sc = scene_begin(in);

	if (!rig_open(&rig, sc)) {
		rig_walk(&rig);
		rig_operate(&rig, in, OPERATIONS_MAX);
		rig_close(&rig, scene_flags() & SCENE_CRASH);
	}
	scene_end(sc);
}

/* The orphan file stands for "the base with the newer features". */
static void init(void)
{
	scene_only("inline");
}

const struct fuzz_harness fuzz_harness = {
	.init = init,
	.run = run,
	.kinds = PLACE_BIT(PLACE_INODE),
};
