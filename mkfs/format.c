/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From options to a filesystem. Everything that can be refused is refused before the
 * target is touched; a file that was created for a formatting that failed is removed.
 */
#include "mkfs/mkfs.h"

#include "mkfs/options.h"
#include "mkfs/say.h"
#include "mkfs/target.h"

#include "daemon/base/crc.h"
#include "daemon/block/bdev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uuid/uuid.h>

static void show_backups(const struct geometry *g)
{
	unsigned int column = 0;

	printf("Superblock backups stored on blocks:");
	for (uint32_t group = 1; group < g->groups; group++) {
		if (!geometry_has_super(g, group))
			continue;
		if (column % 8 == 0)
			printf("%s\n\t", column ? "," : "");
		else
			printf(", ");
		printf("%llu", (unsigned long long)geometry_group_start(g, group));
		column++;
	}
	printf("%s\n", column ? "" : " none");
}

static void show(const struct mkfs *m)
{
	const struct geometry *g = &m->geo;
	char uuid[37], features[1024];

	printf("Creating filesystem with %llu %uk blocks and %u inodes\n",
	       (unsigned long long)g->blocks, g->block_size >> 10, g->inodes);
	uuid_unparse(m->uuid, uuid);
	printf("Filesystem UUID: %s\n", uuid);
	show_backups(g);
	if (!m->opts->verbose && !m->opts->dry_run)
		return;
	features_print(&g->features, features, sizeof(features));
	printf("Features: %s\n", features);
	printf("Block groups: %u, each of %u blocks and %u inodes of %u bytes\n", g->groups,
	       g->blocks_per_group, g->inodes_per_group, g->inode_size);
	printf("Blocks: %llu for metadata, %u for the journal, %llu reserved for root, %llu unused "
	       "at the end\n",
	       (unsigned long long)m->space.used, g->journal_blocks,
	       (unsigned long long)g->blocks_reserved, (unsigned long long)g->blocks_unused);
	printf("Descriptors: %u blocks, %u more reserved for growth\n", g->desc_blocks,
	       g->gdt_reserved);
}

static void identity_choose(struct mkfs *m)
{
	const char *word = m->opts->uuid ? m->opts->uuid : "random";
	const char *epoch = getenv("SOURCE_DATE_EPOCH");

	clock_gettime(CLOCK_REALTIME, &m->now);
	if (epoch && *epoch) /* reproducible images */
		m->now = (struct timespec){ .tv_sec = (time_t)strtoll(epoch, NULL, 10) };
	if (!strcasecmp(word, "random"))
		uuid_generate(m->uuid);
	else if (!strcasecmp(word, "time"))
		uuid_generate_time(m->uuid);
	else if (uuid_parse(word, m->uuid) != 0)
		uuid_clear(m->uuid); /* "clear", "null": options.c let nothing else through */
	if (m->opts->hash_seed_given)
		memcpy(m->hash_seed, m->opts->hash_seed, sizeof(m->hash_seed));
	else
		uuid_generate(m->hash_seed);
	m->csum_seed = crc32c(~0u, m->uuid, sizeof(m->uuid));
}

static int format(struct mkfs *m, struct target *t)
{
	uint64_t bytes = m->geo.blocks * m->geo.block_size;
	int r = target_open(m->opts, t, bytes, &m->bdev);

	if (r < 0)
		return r;
	if (!m->opts->quiet)
		show(m);
	m->zeroed = t->zeros;
	r = write_prepare(m);
	if (r == 0)
		r = special_make(m);
	if (r == 0)
		r = populate(m);
	if (r == 0)
		r = write_finish(m);
	bdev_close(m->bdev);
	m->bdev = NULL;
	if (r < 0)
		target_undo(m->opts, t);
	return r;
}

static int source_open(struct mkfs *m)
{
	if (!m->opts->source_dir)
		return 0;
	m->source_fd = open(m->opts->source_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return m->source_fd < 0 ? fail(-errno, "-d %s", m->opts->source_dir) : 0;
}

int mkfs_run(const struct mkfs_options *o)
{
	struct mkfs m = { .opts = o, .source_fd = -1, .ino_next = 1 };
	struct geometry_target size;
	struct target t = { 0 };
	int r = source_open(&m);

	if (r == 0)
		r = target_look(o, &t);
	size = (struct geometry_target){ .size = t.size,
					 .size_given = o->size != 0,
					 .sector_size = t.sector_size };
	if (r == 0)
		r = geometry_compute(o, &size, &m.geo);
	if (r == 0)
		r = layout_place(&m);
	if (r == 0) {
		identity_choose(&m);
		if (o->dry_run)
			show(&m);
		else
			r = format(&m, &t);
	}
	if (r == 0 && !o->dry_run && !o->quiet)
		printf("%s: done\n", o->target);
	space_fini(&m.space);
	free(m.groups);
	if (m.source_fd >= 0)
		(void)close(m.source_fd); /* only read */
	return r;
}
