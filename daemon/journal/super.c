// SPDX-License-Identifier: GPL-2.0-only
/*
 * The log as it lies on the medium: its superblock, where its blocks are, what
 * its features mean for the layout, and the checksums of its blocks.
 *
 * Nothing read here is believed before log_check() has passed. The superblock's
 * fields that change all lie in its first 512 bytes, checksum included, so a
 * write torn between sectors leaves an old or a new one, never a mixture.
 */
#include "daemon/journal/journal_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/crc.h"

#define INCOMPAT_KNOWN                                                                             \
	(JBD2_FEATURE_INCOMPAT_REVOKE | JBD2_FEATURE_INCOMPAT_64BIT |                              \
	 JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT | JBD2_FEATURE_INCOMPAT_CSUM_V2 |                      \
	 JBD2_FEATURE_INCOMPAT_CSUM_V3 | JBD2_FEATURE_INCOMPAT_FAST_COMMIT)

/* Fields of a version 1 superblock end here. */
#define V1_BYTES offsetof(struct jbd2_super_block, s_feature_compat)

const char *log_say(const char *fmt, ...)
{
	static _Thread_local char message[160];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	return message;
}

/* ---- where blocks are ----------------------------------------------------- */

/* Grows by doubling: a fragmented journal may have a run per block. */
static int run_append(struct log *log, uint32_t *size, uint32_t lblk, uint64_t pblk)
{
	struct log_run *last = log->run_count ? &log->runs[log->run_count - 1] : NULL;

	if (last && last->pblk + last->count == pblk) {
		last->count++;
		return 0;
	}
	if (log->run_count == *size) {
		uint32_t grown = *size ? *size * 2 : 16;
		struct log_run *runs = realloc(log->runs, grown * sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		log->runs = runs;
		*size = grown;
	}
	log->runs[log->run_count++] = (struct log_run){ .lblk = lblk, .count = 1, .pblk = pblk };
	return 0;
}

static int read_map(struct log *log, const struct journal_map *map, uint32_t from, uint32_t to,
		    uint32_t *runs_size, const char **ret_what)
{
	uint64_t blocks = log->bdev->size / log->block_size;
	uint32_t lblk;

	for (lblk = from; lblk < to; lblk++) {
		uint64_t pblk = map->lookup(map->arg, lblk);
		int err;

		if (pblk == 0 || pblk >= blocks) {
			*ret_what = log_say("journal inode: no valid block %u", lblk);
			return -EUCLEAN;
		}
		err = run_append(log, runs_size, lblk, pblk);
		if (err)
			return err;
	}
	return 0;
}

static const struct log_run *find_run(const struct log *log, uint32_t lblk)
{
	uint32_t low = 0, high = log->run_count;

	CHECK(lblk < log->blocks || lblk == 0);
	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (log->runs[mid].lblk <= lblk)
			low = mid;
		else
			high = mid;
	}
	return &log->runs[low];
}

uint64_t log_block_addr(const struct log *log, uint32_t lblk)
{
	const struct log_run *run = find_run(log, lblk);

	return run->pblk + (lblk - run->lblk);
}

uint32_t log_run_left(const struct log *log, uint32_t lblk)
{
	const struct log_run *run = find_run(log, lblk);

	return run->count - (lblk - run->lblk);
}

uint32_t log_next(const struct log *log, uint32_t lblk)
{
	return lblk + 1 < log->last ? lblk + 1 : log->first;
}

uint32_t log_circle(const struct log *log)
{
	return log->last - log->first;
}

/* ---- checksums ------------------------------------------------------------ */

static uint32_t super_checksum(const struct jbd2_super_block *sb)
{
	struct jbd2_super_block copy = *sb;

	copy.s_checksum = cpu_to_be32(0);
	return crc32c(~0u, &copy, sizeof(copy));
}

static const be32 zero_word;

/* Over a whole block, with the four bytes at @off taken as zero. */
static uint32_t block_checksum(const struct log *log, const uint8_t *block, uint32_t off)
{
	uint32_t crc = crc32c(log->csum_seed, block, off);
	uint32_t after = off + sizeof(zero_word);

	crc = crc32c(crc, &zero_word, sizeof(zero_word));
	return crc32c(crc, block + after, log->block_size - after);
}

uint32_t log_tag_checksum(const struct log *log, uint32_t sequence, const void *block)
{
	be32 seq = cpu_to_be32(sequence);

	return crc32c(crc32c(log->csum_seed, &seq, sizeof(seq)), block, log->block_size);
}

static struct jbd2_block_tail *tail_of(const struct log *log, const void *block)
{
	return (struct jbd2_block_tail *)((uintptr_t)block + log->block_size -
					  sizeof(struct jbd2_block_tail));
}

void log_tail_set(const struct log *log, void *block)
{
	uint32_t off = log->block_size - (uint32_t)sizeof(struct jbd2_block_tail);

	if (log->tail_bytes)
		tail_of(log, block)->t_checksum = cpu_to_be32(block_checksum(log, block, off));
}

bool log_tail_ok(const struct log *log, const void *block)
{
	uint32_t off = log->block_size - (uint32_t)sizeof(struct jbd2_block_tail);

	if (!log->tail_bytes)
		return true;
	return be32_to_cpu(tail_of(log, block)->t_checksum) == block_checksum(log, block, off);
}

uint32_t log_commit_checksum(const struct log *log, const void *block)
{
	return block_checksum(log, block, offsetof(struct jbd2_commit_block, h_chksum));
}

uint32_t log_revokes_per_block(const struct log *log)
{
	uint32_t room = log->block_size - log->tail_bytes - sizeof(struct jbd2_revoke_header);

	return room / (log->bit64 ? sizeof(be64) : sizeof(be32));
}

/* ---- superblock ----------------------------------------------------------- */

static bool is_v2(const struct jbd2_super_block *sb)
{
	return be32_to_cpu(sb->s_header.h_blocktype) == JBD2_SUPERBLOCK_V2;
}

/* Translates the features into what the other files ask for. */
static void note_features(struct log *log)
{
	uint32_t compat = is_v2(&log->sb) ? be32_to_cpu(log->sb.s_feature_compat) : 0;
	uint32_t incompat = is_v2(&log->sb) ? be32_to_cpu(log->sb.s_feature_incompat) : 0;

	log->csum_v1 = compat & JBD2_FEATURE_COMPAT_CHECKSUM;
	log->csum_v2 = incompat & JBD2_FEATURE_INCOMPAT_CSUM_V2;
	log->csum_v3 = incompat & JBD2_FEATURE_INCOMPAT_CSUM_V3;
	log->bit64 = incompat & JBD2_FEATURE_INCOMPAT_64BIT;
	log->async_commit = incompat & JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT;
	log->fast_commit = incompat & JBD2_FEATURE_INCOMPAT_FAST_COMMIT;
	log->tail_bytes = log->csum_v2 || log->csum_v3 ? sizeof(struct jbd2_block_tail) : 0;
	log->csum_seed = crc32c(~0u, log->sb.s_uuid, sizeof(log->sb.s_uuid));
	if (log->csum_v3)
		log->tag_bytes = sizeof(struct jbd2_block_tag3);
	else
		log->tag_bytes = (log->bit64 ? JBD2_TAG_SIZE64 : JBD2_TAG_SIZE32) +
				 (log->csum_v2 ? JBD2_TAG_CSUM_V2_EXTRA : 0);
}

/* The circle and, behind it, the fast-commit area; one block between them stays unused. */
static int note_geometry(struct log *log, uint32_t log_blocks, const char **ret_what)
{
	uint32_t fc_blocks = be32_to_cpu(log->sb.s_num_fc_blocks);

	log->blocks = be32_to_cpu(log->sb.s_maxlen);
	log->first = be32_to_cpu(log->sb.s_first);
	if (log->blocks > log_blocks || log->blocks < JBD2_MIN_JOURNAL_BLOCKS) {
		*ret_what = log_say("journal superblock: s_maxlen %u of %u blocks", log->blocks,
				    log_blocks);
		return -EUCLEAN;
	}
	log->last = log->blocks;
	if (log->fast_commit) {
		fc_blocks = fc_blocks ? fc_blocks : JBD2_DEFAULT_FAST_COMMIT_BLOCKS;
		if (fc_blocks > log->blocks - JBD2_MIN_JOURNAL_BLOCKS) {
			*ret_what = log_say("journal superblock: s_num_fc_blocks %u", fc_blocks);
			return -EUCLEAN;
		}
		log->last = log->blocks - fc_blocks;
		log->fc_first = log->last + 1;
		log->fc_last = log->blocks;
	}
	if (log->first == 0 || log->first > log->last / 2) {
		*ret_what = log_say("journal superblock: s_first %u", log->first);
		return -EUCLEAN;
	}
	return 0;
}

static int check_features(struct log *log, const char **ret_what)
{
	const struct jbd2_super_block *sb = &log->sb;
	uint32_t unknown = be32_to_cpu(sb->s_feature_incompat) & ~(uint32_t)INCOMPAT_KNOWN;

	if (!is_v2(sb))
		return 0;
	if (unknown || be32_to_cpu(sb->s_feature_ro_compat)) {
		*ret_what = log_say("journal superblock: unknown features 0x%x, 0x%x", unknown,
				    be32_to_cpu(sb->s_feature_ro_compat));
		return -EOPNOTSUPP;
	}
	if (be32_to_cpu(sb->s_nr_users) > 1) {
		*ret_what = "journal superblock: a log shared by several filesystems";
		return -EOPNOTSUPP;
	}
	if (log->csum_v1 + log->csum_v2 + log->csum_v3 > 1) {
		*ret_what = "journal superblock: more than one checksum version";
		return -EUCLEAN;
	}
	if (!log->csum_v2 && !log->csum_v3)
		return 0;
	if (sb->s_checksum_type != JBD2_CRC32C_CHKSUM) {
		*ret_what = log_say("journal superblock: s_checksum_type %u", sb->s_checksum_type);
		return -EUCLEAN;
	}
	if (be32_to_cpu(sb->s_checksum) != super_checksum(sb)) {
		*ret_what = "journal superblock: s_checksum";
		return -EBADMSG;
	}
	return 0;
}

static int log_check(struct log *log, uint32_t log_blocks, const char **ret_what)
{
	const struct jbd2_super_block *sb = &log->sb;
	uint32_t type = be32_to_cpu(sb->s_header.h_blocktype);
	uint32_t start = be32_to_cpu(sb->s_start);
	int err;

	if (be32_to_cpu(sb->s_header.h_magic) != JBD2_MAGIC_NUMBER) {
		*ret_what = "journal superblock: magic number";
		return -EUCLEAN;
	}
	if (type != JBD2_SUPERBLOCK_V1 && type != JBD2_SUPERBLOCK_V2) {
		*ret_what = log_say("journal superblock: h_blocktype %u", type);
		return -EUCLEAN;
	}
	note_features(log);
	err = check_features(log, ret_what);
	if (err)
		return err;
	if (be32_to_cpu(sb->s_blocksize) != log->block_size) {
		*ret_what =
			log_say("journal superblock: s_blocksize %u", be32_to_cpu(sb->s_blocksize));
		return -EUCLEAN;
	}
	err = note_geometry(log, log_blocks, ret_what);
	if (!err && start != 0 && (start < log->first || start >= log->last)) {
		*ret_what = log_say("journal superblock: s_start %u", start);
		err = -EUCLEAN;
	}
	return err;
}

int log_open(struct bdev *bdev, uint32_t block_size, const struct journal_map *map,
	     uint32_t log_blocks, struct log **ret_log, const char **ret_what)
{
	const char *what = "journal superblock";
	uint32_t runs_size = 0;
	struct log *log;
	int err;

	log = calloc(1, sizeof(*log));
	if (!log)
		return -ENOMEM;
	log->bdev = bdev;
	log->block_size = block_size;
	err = read_map(log, map, 0, 1, &runs_size, &what);
	if (!err)
		err = bdev_read(bdev, &log->sb, sizeof(log->sb), log->runs[0].pblk * block_size);
	if (!err)
		err = log_check(log, log_blocks, &what);
	if (!err)
		err = read_map(log, map, 1, log->blocks, &runs_size, &what);
	if (err) {
		log_close(log);
		if (ret_what)
			*ret_what = what;
		return err;
	}
	*ret_log = log;
	return 0;
}

void log_close(struct log *log)
{
	if (log)
		free(log->runs);
	free(log);
}

/*
 * As ext4 does at mount: version 3 checksums replace older ones where the
 * filesystem has metadata_csum. Fast commits are not written by us, and an
 * asynchronous commit is never used, so neither is promised to readers.
 */
void log_set_write_features(struct log *log, bool csum_v3, bool bit64)
{
	struct jbd2_super_block *sb = &log->sb;
	uint32_t compat, incompat;

	CHECK(be32_to_cpu(sb->s_start) == 0);
	if (!is_v2(sb)) {
		memset((uint8_t *)sb + V1_BYTES, 0, sizeof(*sb) - V1_BYTES);
		sb->s_header.h_blocktype = cpu_to_be32(JBD2_SUPERBLOCK_V2);
		sb->s_nr_users = cpu_to_be32(1);
	}
	compat = be32_to_cpu(sb->s_feature_compat);
	incompat = be32_to_cpu(sb->s_feature_incompat) | JBD2_FEATURE_INCOMPAT_REVOKE;
	incompat &=
		~(uint32_t)(JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT | JBD2_FEATURE_INCOMPAT_FAST_COMMIT);
	if (bit64 || log->bdev->size / log->block_size > UINT32_MAX)
		incompat |= JBD2_FEATURE_INCOMPAT_64BIT;
	if (csum_v3) {
		compat &= ~(uint32_t)JBD2_FEATURE_COMPAT_CHECKSUM;
		incompat &= ~(uint32_t)JBD2_FEATURE_INCOMPAT_CSUM_V2;
		incompat |= JBD2_FEATURE_INCOMPAT_CSUM_V3;
		sb->s_checksum_type = JBD2_CRC32C_CHKSUM;
	}
	sb->s_feature_compat = cpu_to_be32(compat);
	sb->s_feature_incompat = cpu_to_be32(incompat);
	note_features(log);
	log->last = log->blocks;
}

int log_super_write(struct log *log)
{
	if (log->csum_v2 || log->csum_v3)
		log->sb.s_checksum = cpu_to_be32(super_checksum(&log->sb));
	return bdev_write(log->bdev, &log->sb, sizeof(log->sb),
			  log_block_addr(log, 0) * log->block_size);
}
