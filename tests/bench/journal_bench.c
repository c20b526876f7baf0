// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a handle costs: start, get_write, dirty, stop, on a device in memory that
 * takes no time; and what a forced commit costs on a file.
 *
 *	journal_bench [FILE]
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/block/bdev.h"
#include "daemon/block/cache.h"
#include "daemon/journal/journal.h"
#include "include/kfs/jbd2_format.h"

#define BLOCK 4096u
#define LOG_BLOCKS 16384u
#define LOG_FIRST 8u
#define FIRST_BLOCK (LOG_FIRST + LOG_BLOCKS)
#define IMAGE_BLOCKS (FIRST_BLOCK + 4096u)
#define HANDLES 2000000u
#define BUFS 16u /* changed by one thread, so that most uses are not the first of a transaction */
#define SYNCS 2000u

struct worker {
	pthread_t thread;
	uint32_t id;
	struct buf *bufs[BUFS];
};

static struct journal *journal;

static void must(int err, const char *what)
{
	if (err) {
		fprintf(stderr, "journal_bench: %s: %s\n", what, strerror(-err));
		exit(1);
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t lookup(void *arg, uint32_t lblk)
{
	(void)arg;
	return LOG_FIRST + lblk;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint32_t i;

	for (i = 0; i < HANDLES; i++) {
		struct buf *b = w->bufs[i % BUFS];
		struct handle h;

		must(journal_start(journal, 8, &h), "start");
		must(journal_get_write(&h, b), "get_write");
		memcpy(b->data + 64, &i, sizeof(i));
		journal_dirty(&h, b, 64, sizeof(i));
		must(journal_stop(&h), "stop");
	}
	return NULL;
}

static void *sync_work(void *arg)
{
	struct worker *w = arg;
	uint32_t i;

	for (i = 0; i < SYNCS; i++) {
		struct handle h;

		must(journal_start(journal, 8, &h), "start");
		must(journal_get_write(&h, w->bufs[0]), "get_write");
		journal_dirty(&h, w->bufs[0], 0, 4);
		must(journal_stop(&h), "stop");
		must(journal_commit_wait(journal, handle_tid(&h)), "commit_wait");
	}
	return NULL;
}

static void run(const char *name, void *(*fn)(void *), struct worker *workers, uint32_t threads,
		uint64_t each)
{
	uint64_t began = now_ns(), ns;
	uint32_t i;

	for (i = 0; i < threads; i++)
		must(-pthread_create(&workers[i].thread, NULL, fn, &workers[i]), "thread");
	for (i = 0; i < threads; i++)
		must(-pthread_join(workers[i].thread, NULL), "join");
	ns = now_ns() - began;
	printf("%-28s %u threads %10.1f ns each %12.0f /s\n", name, threads, (double)ns / each,
	       (double)each * threads * 1e9 / ns);
}

static void format(struct bdev *b)
{
	struct jbd2_super_block sb = {
		.s_header = { .h_magic = cpu_to_be32(JBD2_MAGIC_NUMBER),
			      .h_blocktype = cpu_to_be32(JBD2_SUPERBLOCK_V2) },
		.s_blocksize = cpu_to_be32(BLOCK),
		.s_maxlen = cpu_to_be32(LOG_BLOCKS),
		.s_first = cpu_to_be32(1),
		.s_sequence = cpu_to_be32(1),
		.s_nr_users = cpu_to_be32(1),
	};

	must(bdev_write(b, &sb, sizeof(sb), (uint64_t)LOG_FIRST * BLOCK), "format");
}

static void bench(struct bdev *b, bool sync)
{
	const struct journal_map map = { .lookup = lookup };
	const struct journal_opts opts = { .csum_v3 = true,
					   .want_64bit = true,
					   .commit_interval_ms = 500 };
	struct worker workers[4] = { 0 };
	struct journal_stats stats;
	struct cache *c;
	uint32_t i, k;

	format(b);
	must(cache_new(b, BLOCK, 1024, &c), "cache");
	must(journal_open(c, &map, LOG_BLOCKS, &opts, &journal), "open");
	for (i = 0; i < 4; i++) {
		for (k = 0; k < BUFS; k++)
			must(buf_read(c, FIRST_BLOCK + i * BUFS + k, &workers[i].bufs[k]), "read");
	}
	for (i = 1; i <= (sync ? 4 : 2); i *= 2)
		run(sync ? "handle + commit_wait" : "handle", sync ? sync_work : work, workers, i,
		    sync ? SYNCS : HANDLES);
	journal_get_stats(journal, &stats);
	if (stats.commits > 0)
		printf("commits %" PRIu64
		       ", %.1f blocks each, %.1f us each, longest freeze %.1f us\n",
		       stats.commits, (double)stats.blocks_logged / stats.commits,
		       stats.commit_ns_total / 1e3 / stats.commits, stats.freeze_ns_max / 1e3);
	for (i = 0; i < 4; i++) {
		for (k = 0; k < BUFS; k++)
			buf_put(workers[i].bufs[k]);
	}
	must(journal_close(journal), "close");
	cache_free(c);
	bdev_close(b);
}

int main(int argc, char **argv)
{
	const struct bdev_open_opts opts = { .readonly = false };
	struct bdev *b;

	must(bdev_open_mem((uint64_t)IMAGE_BLOCKS * BLOCK, &b), "memory");
	bench(b, false);
	must(bdev_open_mem((uint64_t)IMAGE_BLOCKS * BLOCK, &b), "memory");
	bench(b, true);
	if (argc > 1) {
		must(truncate(argv[1], (off_t)IMAGE_BLOCKS * BLOCK) ? -errno : 0, argv[1]);
		must(bdev_open_file(argv[1], &opts, &b), argv[1]);
		bench(b, true);
	}
	return 0;
}
