// SPDX-License-Identifier: GPL-2.0-only
/* See base.h. */
#include "tests/crash/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/check.h"
#include "daemon/base/util.h"
#include "include/kfs/jbd2_format.h"
#include "tests/crash/model.h"
#include "tests/crash/ops.h"
#include "tests/crash/world.h"
#include "tests/lib/record.h"

#define COMMON "has_journal,ext_attr,dir_index,filetype,sparse_super,large_file"
#define MODERN COMMON ",extent,64bit,flex_bg,huge_file,dir_nlink,extra_isize,metadata_csum"
#define SMALL_BLOCKS "-b 1024 -N 96 -J size=1 -I 256 "

const struct setting settings[] = {
	{ .name = "1k",
	  .what = "1 KiB blocks",
	  .mke2fs = SMALL_BLOCKS "-O none," MODERN,
	  .bytes = 3u << 20 },
	{ .name = "4k",
	  .what = "4 KiB blocks",
	  .mke2fs = "-b 4096 -N 96 -J size=4 -I 256 -O none," MODERN,
	  .bytes = 10u << 20 },
	{ .name = "tiny",
	  .what = "a log of 512 blocks, wrapping",
	  .mke2fs = SMALL_BLOCKS "-O none," MODERN,
	  .bytes = 3u << 20,
	  .log_first = 512,
	  .heavy = true,
	  .no_kernel = true },
	{ .name = "inline",
	  .what = "inline_data",
	  .mke2fs = SMALL_BLOCKS "-O none,inline_data," MODERN,
	  .bytes = 3u << 20 },
	{ .name = "nocsum",
	  .what = "no checksums, 32 bit",
	  .mke2fs = SMALL_BLOCKS "-O none,extent,flex_bg,uninit_bg," COMMON,
	  .bytes = 3u << 20,
	  .no_checksums = true },
	{ .name = "indirect",
	  .what = "block maps, inodes of 128 bytes, as ext3",
	  .mke2fs = "-b 1024 -N 96 -J size=1 -I 128 -O none," COMMON,
	  .bytes = 3u << 20,
	  .no_checksums = true,
	  .block_maps = true },
	{ .name = "orphan_file",
	  .what = "orphan_file",
	  .mke2fs = SMALL_BLOCKS "-O none,orphan_file," MODERN,
	  .bytes = 3u << 20 },
	{ .name = "full",
	  .what = "8 blocks free, blocks are used again at once",
	  .mke2fs = SMALL_BLOCKS "-O none," MODERN,
	  .bytes = 2560u << 10,
	  .blocks_left = 8,
	  .heavy = true },
	{ .name = "discard",
	  .what = "mounted with discard",
	  .mke2fs = SMALL_BLOCKS "-O none," MODERN,
	  .bytes = 3u << 20,
	  .discard = true },
};
const size_t settings_count = ARRAY_SIZE(settings);

const struct setting *setting_find(const char *name, size_t len)
{
	for (size_t k = 0; k < settings_count; k++)
		if (strlen(settings[k].name) == len && !memcmp(settings[k].name, name, len))
			return &settings[k];
	return NULL;
}

static bool write_file(const char *path, const uint8_t *bytes, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size;

	if (fd >= 0)
		(void)close(fd); /* what is missing is found when it is read */
	return ok;
}

static bool read_file(const char *path, uint8_t *bytes, uint64_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && pread(fd, bytes, size, 0) == (ssize_t)size;

	if (fd >= 0)
		(void)close(fd);
	return ok;
}

static bool format(struct base *b, const char *dir, char *why, size_t why_size)
{
	char path[512], command[2048];
	bool ok;

	(void)snprintf(path, sizeof(path), "%s/base-%s.%d", dir, b->setting->name, getpid());
	(void)snprintf(command, sizeof(command),
		       "PATH=$PATH:/usr/sbin:/sbin; mke2fs -q -F -m 0 %s -U "
		       "6b667363-7261-7368-0000-000000000001 -E nodiscard,lazy_itable_init=0,"
		       "hash_seed=6b667363-7261-7368-0000-000000000002 '%s' >'%s.log' 2>&1",
		       b->setting->mke2fs, path, path);
	memset(b->bytes, BASE_STALE, b->size);
	ok = write_file(path, b->bytes, b->size) && system(command) == 0 &&
	     read_file(path, b->bytes, b->size);
	if (!ok)
		(void)snprintf(why, why_size, "%s.log: mke2fs failed", path);
	(void)unlink(path);
	if (ok) {
		size_t used = strlen(path);

		(void)snprintf(path + used, sizeof(path) - used, ".log");
		(void)unlink(path);
	}
	return ok;
}

/* The superblock of a fresh log has no checksum. */
static bool shorten_log(struct base *b)
{
	for (uint64_t off = 0; off < b->size; off += 1024) {
		struct jbd2_super_block *sb = (void *)(b->bytes + off);

		if (be32_to_cpu(sb->s_header.h_magic) == JBD2_MAGIC_NUMBER &&
		    be32_to_cpu(sb->s_header.h_blocktype) == JBD2_SUPERBLOCK_V2) {
			sb->s_first = cpu_to_be32(b->setting->log_first);
			return true;
		}
	}
	return false;
}

static void note_log(void *arg, uint64_t off, uint64_t len)
{
	struct base *b = arg;

	memset(b->in_log + off / RECORD_SECTOR, 1, len / RECORD_SECTOR);
}

static bool step(struct base *b, struct world *w, const struct op *op, char *why, size_t why_size)
{
	bool several;
	ssize_t got = world_run(w, op, model_stamp(b->model), &several);
	char text[64];

	if (got < 0) {
		op_print(op, text, sizeof(text));
		(void)snprintf(why, why_size, "%s: set up: %s: %s", b->setting->name, text,
			       strerror((int)-got));
		return false;
	}
	model_step(b->model, op, got, several);
	return true;
}

static bool leave_room(struct base *b, struct world *w, char *why, size_t why_size)
{
	struct op shorter = { .kind = OP_TRUNCATE, .a = "/x" }, sync = { .kind = OP_SYNC };
	uint64_t size;
	bool is_dir;

	if (!b->setting->blocks_left)
		return true;
	CHECK(model_node(b->model, "/x", &size, &is_dir));
	shorter.off = (uint32_t)size - b->setting->blocks_left * 1024;
	return step(b, w, &shorter, why, why_size) && step(b, w, &sync, why, why_size);
}

static bool populate(struct base *b, char *why, size_t why_size)
{
	struct record *r = record_new(b->bytes, b->size);
	struct op ops[OPS_LENGTH_MAX];
	uint32_t count = ops_setup(ops, b->setting->blocks_left > 0), k;
	struct world *w;
	bool ok;

	record_stop(r);
	clock_reset(1);
	ok = world_open(record_bdev(r), &(struct world_opts){ 0 }, &w, why, why_size) == 0;
	if (ok) {
		world_log_ranges(w, note_log, b);
		/* Below a certain size mke2fs leaves the log out, and says so to nobody. */
		if (!memchr(b->in_log, 1, b->size / RECORD_SECTOR)) {
			(void)snprintf(why, why_size, "%s: has no log", b->setting->name);
			(void)world_close(w); /* there is one error already */
			record_free(r);
			return false;
		}
		ok = world_make_churn(w) == 0;
		if (!ok)
			(void)snprintf(why, why_size, "%s: set up of /w failed", b->setting->name);
		for (k = 0; ok && k < count; k++)
			ok = step(b, w, &ops[k], why, why_size);
		ok = ok && leave_room(b, w, why, why_size);
		if (world_close(w) && ok) {
			ok = false;
			(void)snprintf(why, why_size, "%s: closing failed", b->setting->name);
		}
	}
	memcpy(b->bytes, record_now(r), b->size);
	record_free(r);
	model_rebase(b->model);
	return ok;
}

bool base_make(const struct setting *setting, const char *dir, struct base *ret_base, char *why,
	       size_t why_size)
{
	struct base b = { .setting = setting, .size = setting->bytes };
	bool ok;

	b.bytes = malloc(b.size);
	b.in_log = calloc(1, b.size / RECORD_SECTOR);
	b.model = model_new();
	CHECK(b.bytes && b.in_log);
	ok = format(&b, dir, why, why_size);
	if (ok && setting->log_first && !shorten_log(&b)) {
		ok = false;
		(void)snprintf(why, why_size, "%s: no log found", setting->name);
	}
	ok = ok && populate(&b, why, why_size);
	if (!ok) {
		base_free(&b);
		return false;
	}
	*ret_base = b;
	return true;
}

void base_free(struct base *b)
{
	free(b->bytes);
	free(b->in_log);
	model_free(b->model);
}
