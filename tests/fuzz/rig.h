/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A filesystem opened over a scene, everything in it looked at, and operations drawn from an input done to it. Answers
 * are not compared with anything: what is checked is that there is one, that listings end, and that no data is written
 * over what the filesystem itself says is metadata.
 */
#ifndef TESTS_FUZZ_RIG_H
#define TESTS_FUZZ_RIG_H

#include "daemon/fs/fs.h"
#include "daemon/store/store.h"
#include "tests/fuzz/scene.h"

/* What is looked at in one image. Larger trees are cut: time is better spent on the next input. */
#define RIG_NODES_MAX 64
#define RIG_NAMES_MAX 64
#define RIG_BUF_SIZE 65536

struct rig_name {
	uint8_t len;
	char text[255];
};

/* Blocks that no data may be written to. */
#define RIG_RANGES_MAX 64
struct rig_range {
	uint64_t pblk, count;
};

struct rig {
	struct scene *sc;
	struct inval_bus *bus;
	struct fs *fs;
	struct fs_session *session;
	struct fs_ctx ctx;
	uint64_t nodes[RIG_NODES_MAX]; /* each counted once */
	uint32_t node_modes[RIG_NODES_MAX];
	uint32_t node_count;
	struct rig_name names[RIG_NAMES_MAX];
	uint32_t name_count;
	struct rig_range ranges[RIG_RANGES_MAX];
	uint32_t range_count, noted_block_size;
	uint8_t buf[RIG_BUF_SIZE];
};

/* As scene_flags() say. */
struct store_opts rig_store_opts(void);
/* Open the scene's image: 0, or why not; then nothing is held. */
int rig_open(struct rig *r, struct scene *sc);
/* Unmount, or as by a crash. */
void rig_close(struct rig *r, bool crash);
/* From the root, breadth first: names, attributes, contents, links, xattrs. Fills nodes and names. */
void rig_walk(struct rig *r);
/* Up to @max operations. */
void rig_operate(struct rig *r, struct input *in, uint32_t max);

#endif
