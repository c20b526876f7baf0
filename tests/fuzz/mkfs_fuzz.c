// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line of mkfs.kfs: words from the input, split at NULs, then the filesystem they ask for, in memory. What
 * is made is read again by a reader of its own.
 */
#include <stdio.h>
#include <stdlib.h>

#include "daemon/base/crc.h"
#include "daemon/block/bdev.h"
#include "mkfs/mkfs.h"
#include "mkfs/options.h"
#include "mkfs/target.h"
#include "tests/fuzz/fuzz.h"

#define WORDS_MAX 24
/* Targets that are really formatted; larger ones are only computed. */
#define FORMAT_BYTES_MAX (64u << 20)
#define GROUPS_MAX 4096u

static void init(void)
{
	/* Refusals and help. */
	stderr = fopen("/dev/null", "w");
	stdout = stderr;
}

static void check_super(struct mkfs *m)
{
	struct ext4_super_block sb;

	FUZZ_CHECK(bdev_read(m->bdev, &sb, sizeof(sb), EXT4_SUPER_OFFSET) == 0);
	FUZZ_CHECK(le16_to_cpu(sb.s_magic) == EXT4_SUPER_MAGIC);
	FUZZ_CHECK(le32_to_cpu(sb.s_blocks_count_lo) == (uint32_t)m->geo.blocks);
	FUZZ_CHECK(le32_to_cpu(sb.s_inodes_count) == m->geo.inodes);
	FUZZ_CHECK(le32_to_cpu(sb.s_free_inodes_count) < m->geo.inodes);
	if (le32_to_cpu(sb.s_feature_ro_compat) & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM)
		FUZZ_CHECK(le32_to_cpu(sb.s_checksum) ==
			   crc32c(~0u, &sb, offsetof(struct ext4_super_block, s_checksum)));
}

static void format(struct mkfs *m)
{
	int r;

	FUZZ_CHECK(bdev_open_mem(m->geo.blocks * m->geo.block_size, &m->bdev) == 0);
	m->zeroed = true;
	r = write_prepare(m);
	if (r == 0)
		r = special_make(m);
	if (r == 0)
		r = populate(m);
	if (r == 0)
		r = write_finish(m);
	if (r == 0)
		check_super(m);
	bdev_close(m->bdev);
}

static void make(const struct mkfs_options *o, uint64_t bytes)
{
	struct mkfs m = { .opts = o, .source_fd = -1, .ino_next = 1 };
	struct geometry_target t = { .size = o->size ? o->size : bytes,
				     .size_given = o->size != 0 };

	m.now.tv_sec = 1700000000;
	if (geometry_compute(o, &t, &m.geo) == 0) {
		FUZZ_CHECK(m.geo.blocks * m.geo.block_size <= t.size);
		if (m.geo.groups <= GROUPS_MAX && layout_place(&m) == 0 &&
		    m.geo.blocks * m.geo.block_size <= FORMAT_BYTES_MAX)
			format(&m);
	}
	space_fini(&m.space);
	free(m.groups);
}

static void run(struct input *in)
{
	static char text[FUZZ_INPUT_MAX + 2];
	char *argv[WORDS_MAX + 1] = { "mkfs.kfs" };
	struct mkfs_options o;
	uint64_t bytes = (uint64_t)(1 + in_u8(in)) << 20;
	int argc = 1;
	size_t len;
	const uint8_t *words = in_take(in, FUZZ_INPUT_MAX, &len);

	memcpy(text, words, len);
	memset(text + len, 0, 2);
	for (size_t at = 0; at < len && argc < WORDS_MAX - 1; at += strlen(text + at) + 1)
		argv[argc++] = text + at;
	if (options_parse(argc, argv, &o) == OPTIONS_RUN) {
		o.source_dir = NULL; /* what lies on the host is not the input's */
		make(&o, bytes);
	}
}

const struct fuzz_harness fuzz_harness = { .init = init, .run = run };
