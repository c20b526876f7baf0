// SPDX-License-Identifier: GPL-2.0-only
/* Superblock, descriptors and bitmaps: geometry, features, allocation. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

#define OPERATIONS_MAX 12

static struct rig rig;

static void run(struct input *in)
{
	struct scene *sc = scene_begin(in);
	struct fs_statfs st;

	if (!rig_open(&rig, sc)) {
		(void)!fs_statfs(rig.fs, &st);
		rig_operate(&rig, in, OPERATIONS_MAX);
		rig_close(&rig, scene_flags() & SCENE_CRASH);
	}
	scene_end(sc);
}

const struct fuzz_harness fuzz_harness = {
	.run = run,
	.kinds = PLACE_BIT(PLACE_SUPER) | PLACE_BIT(PLACE_DESC) | PLACE_BIT(PLACE_BLOCK_BITMAP) |
		 PLACE_BIT(PLACE_INODE_BITMAP),
};
