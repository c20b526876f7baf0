// SPDX-License-Identifier: GPL-2.0-only
/*
 * The journal alone, on the log of a real image, to be compared with e2fsck's and
 * the kernel's idea of it.
 *
 *	jtool recover IMAGE
 *	jtool write IMAGE BLOCKLIST TRANSACTIONS SEED [WRITES]
 *	jtool fill IMAGE BLOCKLIST
 *
 * recover replays the log. write runs transactions that change, free and reuse
 * the blocks listed in a file (those of some file in the image, whose contents
 * nobody minds) and then ends without closing the journal, or at once when
 * WRITES calls of the device were made: what a killed daemon leaves. It finds
 * the log by reading superblock and journal inode itself, not through the store.
 * fill leaves a log that is full to its last block: copies of the blocks listed, as
 * they are now, so that the image is the same before and after the replay. Only of an
 * image with metadata_csum, which has the checksums that a replay verifies.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/crc.h"
#include "daemon/block/bdev.h"
#include "daemon/block/cache.h"
#include "daemon/journal/journal.h"
#include "daemon/journal/journal_priv.h"
#include "include/kfs/endian.h"
#include "include/kfs/jbd2_format.h"

#define CHANGES_MAX 60
#define COMMIT_ONE_IN 4

struct image {
	struct bdev *bdev;
	uint8_t sb[1024];
	uint32_t block_size, inode_size, log_blocks;
	bool metadata_csum, bit64;
	uint64_t *log; /* physical block of each log block */
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "jtool: ");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

static uint32_t get32(const void *base, uint32_t off)
{
	le32 v;

	memcpy(&v, (const uint8_t *)base + off, sizeof(v));
	return le32_to_cpu(v);
}

static uint16_t get16(const void *base, uint32_t off)
{
	le16 v;

	memcpy(&v, (const uint8_t *)base + off, sizeof(v));
	return le16_to_cpu(v);
}

static void read_bytes(struct image *im, void *buf, size_t len, uint64_t off)
{
	int err = bdev_read(im->bdev, buf, len, off);

	if (err)
		die("read at %" PRIu64 ": %s", off, strerror(-err));
}

static void note_log_block(struct image *im, uint32_t lblk, uint64_t pblk)
{
	if (lblk < im->log_blocks)
		im->log[lblk] = pblk;
}

/* @node: 60 bytes of the inode, or a block. */
static void walk_leaf(struct image *im, const uint8_t *node)
{
	uint32_t i, k;

	for (i = 1; i <= get16(node, 2); i++) {
		const uint8_t *e = node + 12 * i;
		uint64_t pblk = get32(e, 8) | (uint64_t)get16(e, 6) << 32;

		for (k = 0; k < get16(e, 4); k++)
			note_log_block(im, get32(e, 0) + k, pblk + k);
	}
}

static void walk_extents(struct image *im, const uint8_t *root)
{
	uint8_t *leaf = malloc(im->block_size);
	uint32_t i;

	if (get16(root, 6) > 1)
		die("the journal's extent tree is deeper than this tool looks");
	if (get16(root, 6) == 0)
		walk_leaf(im, root);
	for (i = 1; get16(root, 6) == 1 && i <= get16(root, 2); i++) {
		const uint8_t *e = root + 12 * i;

		read_bytes(im, leaf, im->block_size,
			   (get32(e, 4) | (uint64_t)get16(e, 8) << 32) * im->block_size);
		walk_leaf(im, leaf);
	}
	free(leaf);
}

static void walk_indirect(struct image *im, const uint8_t *i_block)
{
	uint32_t per_block = im->block_size / 4, i, k, lblk = 0;
	uint8_t *one = malloc(im->block_size), *two = malloc(im->block_size);

	for (i = 0; i < 12; i++)
		note_log_block(im, lblk++, get32(i_block, i * 4));
	read_bytes(im, one, im->block_size, (uint64_t)get32(i_block, 48) * im->block_size);
	for (i = 0; i < per_block; i++)
		note_log_block(im, lblk++, get32(one, i * 4));
	read_bytes(im, two, im->block_size, (uint64_t)get32(i_block, 52) * im->block_size);
	for (k = 0; k < per_block && lblk < im->log_blocks; k++) {
		read_bytes(im, one, im->block_size, (uint64_t)get32(two, k * 4) * im->block_size);
		for (i = 0; i < per_block; i++)
			note_log_block(im, lblk++, get32(one, i * 4));
	}
	free(one);
	free(two);
}

static void find_log(struct image *im)
{
	uint32_t ino = get32(im->sb, 0xe0), per_group = get32(im->sb, 0x28), group;
	uint32_t desc_size = im->bit64 ? get16(im->sb, 0xfe) : 32;
	uint64_t gdt = (uint64_t)get32(im->sb, 0x14) + 1, table;
	uint8_t desc[64] = { 0 }, inode[256];

	group = (ino - 1) / per_group;
	read_bytes(im, desc, desc_size < 64 ? desc_size : 64,
		   gdt * im->block_size + (uint64_t)group * desc_size);
	table = get32(desc, 8) | (im->bit64 ? (uint64_t)get32(desc, 0x28) << 32 : 0);
	read_bytes(im, inode, 128,
		   table * im->block_size + (uint64_t)((ino - 1) % per_group) * im->inode_size);
	im->log_blocks =
		(uint32_t)((get32(inode, 4) | (uint64_t)get32(inode, 0x6c) << 32) / im->block_size);
	im->log = calloc(im->log_blocks, sizeof(*im->log));
	if (!im->log)
		die("no memory");
	if (get32(inode, 0x20) & 0x80000)
		walk_extents(im, inode + 0x28);
	else
		walk_indirect(im, inode + 0x28);
}

static void image_open(struct image *im, struct bdev *bdev)
{
	im->bdev = bdev;
	read_bytes(im, im->sb, sizeof(im->sb), 1024);
	if (get16(im->sb, 0x38) != 0xef53)
		die("not ext4");
	im->block_size = 1024u << get32(im->sb, 0x18);
	im->inode_size = get16(im->sb, 0x58);
	im->bit64 = get32(im->sb, 0x60) & 0x80;
	im->metadata_csum = get32(im->sb, 0x64) & 0x400;
	find_log(im);
}

/* Tells others that the log must be replayed. */
static void set_needs_recovery(struct image *im)
{
	le32 v = cpu_to_le32(get32(im->sb, 0x60) | 0x4);

	memcpy(im->sb + 0x60, &v, sizeof(v));
	if (im->metadata_csum) {
		v = cpu_to_le32(crc32c(~0u, im->sb, 0x3fc));
		memcpy(im->sb + 0x3fc, &v, sizeof(v));
	}
	if (bdev_write(im->bdev, im->sb, sizeof(im->sb), 1024))
		die("cannot write the superblock");
}

static uint64_t lookup(void *arg, uint32_t lblk)
{
	const struct image *im = arg;

	return im->log[lblk];
}

/* ---- a device that ends the process --------------------------------------- */

struct mortal {
	struct bdev bdev;
	struct bdev *below;
	_Atomic int64_t left; /* < 0: immortal */
};

static void age(struct mortal *m)
{
	if (atomic_load(&m->left) >= 0 && atomic_fetch_sub(&m->left, 1) <= 0)
		_exit(0);
}

static int mortal_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return bdev_readv(container_of(b, struct mortal, bdev)->below, iov, iovcnt, off);
}

static int mortal_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct mortal *m = container_of(b, struct mortal, bdev);

	age(m);
	return bdev_writev(m->below, iov, iovcnt, off);
}

static int mortal_flush(struct bdev *b)
{
	age(container_of(b, struct mortal, bdev));
	return 0; /* the process dies, not the host: order is kept anyway */
}

static const struct bdev_ops mortal_ops = {
	.readv = mortal_readv,
	.writev = mortal_writev,
	.flush = mortal_flush,
};

/* ---- transactions --------------------------------------------------------- */

struct target {
	uint64_t pblk;
	bool free;
	uint32_t freed_tid;
};

static uint64_t seed;

static uint32_t draw(uint32_t limit)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(seed >> 33) % limit;
}

static void must(int err, const char *what)
{
	if (err)
		die("%s: %s", what, strerror(-err));
}

static struct target *read_targets(const char *path, uint32_t *ret_count)
{
	struct target *targets = NULL;
	FILE *f = fopen(path, "re");
	uint32_t count = 0, max = 0;
	uint64_t pblk;

	if (!f)
		die("%s: %s", path, strerror(errno));
	while (fscanf(f, "%" SCNu64, &pblk) == 1) {
		if (count == max) {
			max = max ? max * 2 : 256;
			targets = realloc(targets, max * sizeof(*targets));
			if (!targets)
				die("no memory");
		}
		targets[count++] = (struct target){ .pblk = pblk };
	}
	(void)fclose(f);
	if (count == 0)
		die("%s: no blocks", path);
	*ret_count = count;
	return targets;
}

static void change_target(struct image *im, struct cache *c, struct handle *h, struct target *t)
{
	be32 magic = cpu_to_be32(JBD2_MAGIC_NUMBER);
	uint32_t word = draw(UINT32_MAX), i;
	struct buf *b;

	if (t->free && !journal_tid_committed(h->journal, t->freed_tid))
		return;
	if (t->free && draw(2)) {
		/* Its next owner is a file: data goes past the journal. */
		must(bdev_write(im->bdev, &word, sizeof(word), t->pblk * im->block_size), "data");
		return;
	}
	if (!t->free && draw(6) == 0) {
		must(journal_forget(h, t->pblk, 1), "journal_forget");
		t->free = true;
		t->freed_tid = h->tid;
		return;
	}
	must(t->free ? buf_get_new(c, t->pblk, &b) : buf_read(c, t->pblk, &b), "buffer");
	must(t->free ? journal_get_create(h, b) : journal_get_write(h, b), "journal_get_write");
	for (i = 0; i < im->block_size; i += sizeof(word))
		memcpy(b->data + i, &word, sizeof(word));
	if (draw(5) == 0)
		memcpy(b->data, &magic, sizeof(magic));
	journal_dirty(h, b, 0, im->block_size);
	buf_put(b);
	t->free = false;
}

static void write_transactions(struct image *im, const char *list, uint32_t count)
{
	const struct journal_map map = { .lookup = lookup, .arg = im };
	const struct journal_opts opts = { .csum_v3 = im->metadata_csum,
					   .want_64bit = im->bit64,
					   .commit_interval_ms = 60000 };
	struct target *targets;
	uint32_t targets_count, n, i;
	struct journal *j;
	struct cache *c;

	targets = read_targets(list, &targets_count);
	must(cache_new(im->bdev, im->block_size, 64, &c), "cache_new");
	must(journal_open(c, &map, im->log_blocks, &opts, &j), "journal_open");
	for (n = 0; n < count; n++) {
		uint32_t changes = 1 + draw(CHANGES_MAX), first = draw(targets_count);
		struct handle h;

		must(journal_start(j, CHANGES_MAX, &h), "journal_start");
		for (i = 0; i < changes; i++)
			change_target(im, c, &h, &targets[(first + i * 7) % targets_count]);
		must(journal_stop(&h), "journal_stop");
		if (draw(COMMIT_ONE_IN) == 0)
			must(journal_commit_wait(j, handle_tid(&h)), "journal_commit_wait");
	}
	must(journal_sync(j), "journal_sync");
	_exit(0);
}

/* ---- a full log ------------------------------------------------------------- */

#define FILL_TRANSACTION_BLOCKS 8192

struct filler {
	struct image *im;
	struct log *log;
	struct target *targets;
	uint32_t target, targets_count;
	uint32_t lblk, sequence;
	uint8_t *block, *descriptor;
};

static void fill_write(struct filler *f, const void *block)
{
	uint32_t bs = f->im->block_size;

	must(bdev_write(f->im->bdev, block, bs, log_block_addr(f->log, f->lblk) * bs), "the log");
	f->lblk++;
}

static void fill_header(const struct filler *f, uint8_t *block, uint32_t type)
{
	struct jbd2_header *header = (void *)block;

	memset(block, 0, f->im->block_size);
	header->h_magic = cpu_to_be32(JBD2_MAGIC_NUMBER);
	header->h_blocktype = cpu_to_be32(type);
	header->h_sequence = cpu_to_be32(f->sequence);
}

/* One descriptor block and at most @max copies behind it; the number of copies. */
static uint32_t fill_descriptor(struct filler *f, uint32_t max)
{
	uint32_t bs = f->im->block_size, off = sizeof(struct jbd2_header), count = 0;
	uint32_t descriptor_lblk = f->lblk++;
	struct jbd2_block_tag3 *tag = NULL;

	fill_header(f, f->descriptor, JBD2_DESCRIPTOR_BLOCK);
	while (count < max && off + sizeof(*tag) + JBD2_TAG_UUID_SIZE <= bs - f->log->tail_bytes) {
		uint64_t pblk = f->targets[f->target++ % f->targets_count].pblk;

		read_bytes(f->im, f->block, bs, pblk * bs);
		tag = (void *)(f->descriptor + off);
		tag->t_blocknr = cpu_to_be32((uint32_t)pblk);
		tag->t_blocknr_high = cpu_to_be32((uint32_t)(pblk >> 32));
		tag->t_checksum = cpu_to_be32(log_tag_checksum(f->log, f->sequence, f->block));
		tag->t_flags = cpu_to_be32(count ? JBD2_FLAG_SAME_UUID : 0);
		off += (uint32_t)sizeof(*tag) + (count ? 0 : JBD2_TAG_UUID_SIZE);
		fill_write(f, f->block);
		count++;
	}
	if (tag)
		tag->t_flags = cpu_to_be32(be32_to_cpu(tag->t_flags) | JBD2_FLAG_LAST_TAG);
	log_tail_set(f->log, f->descriptor);
	must(bdev_write(f->im->bdev, f->descriptor, bs,
			log_block_addr(f->log, descriptor_lblk) * bs),
	     "the log");
	return count;
}

static void fill_commit(struct filler *f)
{
	struct jbd2_commit_block *commit = (void *)f->block;

	fill_header(f, f->block, JBD2_COMMIT_BLOCK);
	commit->h_chksum[0] = cpu_to_be32(log_commit_checksum(f->log, f->block));
	fill_write(f, f->block);
	f->sequence++;
}

static void fill(struct image *im, const char *list)
{
	const struct journal_map map = { .lookup = lookup, .arg = im };
	struct filler f = { .im = im, .sequence = 1000 };
	const char *what = "";
	uint32_t copies = 0, end;

	if (!im->metadata_csum)
		die("the image has no metadata_csum");
	must(log_open(im->bdev, im->block_size, &map, im->log_blocks, &f.log, &what), what);
	log_set_write_features(f.log, true, im->bit64);
	f.targets = read_targets(list, &f.targets_count);
	f.block = malloc(im->block_size);
	f.descriptor = malloc(im->block_size);
	if (!f.block || !f.descriptor)
		die("no memory");
	f.lblk = f.log->first;
	end = f.log->last;
	/* A transaction needs a descriptor, a copy and a commit block. */
	while (end - f.lblk >= 3) {
		uint32_t left = MIN(end - f.lblk - 1, (uint32_t)FILL_TRANSACTION_BLOCKS);

		while (left >= 2) {
			uint32_t count = fill_descriptor(&f, left - 1);

			copies += count;
			left -= count + 1;
		}
		fill_commit(&f);
	}
	f.log->sb.s_start = cpu_to_be32(f.log->first);
	f.log->sb.s_sequence = cpu_to_be32(1000);
	must(log_super_write(f.log), "the journal's superblock");
	set_needs_recovery(im);
	printf("copies %u blocks %u\n", copies, im->log_blocks);
	log_close(f.log);
	free(f.descriptor);
	free(f.block);
	free(f.targets);
}

static void recover(struct image *im)
{
	const struct journal_map map = { .lookup = lookup, .arg = im };
	struct journal_recovery_info info;
	const char *what = "";
	int err;

	err = journal_recover(im->bdev, im->block_size, &map, im->log_blocks, false, &info, &what);
	if (err)
		die("%s: %s", what, strerror(-err));
	printf("transactions %u blocks %u revoked %u\n", info.transactions, info.blocks,
	       info.revoked);
}

int main(int argc, char **argv)
{
	const struct bdev_open_opts opts = { .readonly = false };
	static struct mortal mortal = { .left = -1 };
	struct image im = { 0 };

	if (argc < 3 || (strcmp(argv[1], "write") == 0 && argc < 6) ||
	    (strcmp(argv[1], "fill") == 0 && argc < 4)) {
		fprintf(stderr, "usage: jtool recover IMAGE\n"
				"       jtool write IMAGE BLOCKLIST TRANSACTIONS SEED [WRITES]\n"
				"       jtool fill IMAGE BLOCKLIST\n");
		return 2;
	}
	must(bdev_open_file(argv[2], &opts, &mortal.below), argv[2]);
	bdev_init(&mortal.bdev, &mortal_ops, mortal.below->size);
	image_open(&im, &mortal.bdev);
	if (strcmp(argv[1], "recover") == 0) {
		recover(&im);
		must(bdev_flush(mortal.below), "flush");
	} else if (strcmp(argv[1], "fill") == 0) {
		fill(&im, argv[3]);
		must(bdev_flush(mortal.below), "flush");
	} else {
		set_needs_recovery(&im);
		seed = strtoull(argv[5], NULL, 0);
		atomic_store(&mortal.left, argc > 6 ? strtoll(argv[6], NULL, 0) : -1);
		write_transactions(&im, argv[3], (uint32_t)strtoul(argv[4], NULL, 0));
	}
	free(im.log);
	bdev_close(mortal.below);
	return 0;
}
