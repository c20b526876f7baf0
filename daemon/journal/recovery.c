// SPDX-License-Identifier: GPL-2.0-only
/*
 * Recovery: bring home what the log holds after a crash.
 *
 * Three passes over the log, each from the tail to where the first one ended:
 * scan (where does the valid log end), revoke (which blocks must not be
 * replayed), collect (every tag in bounds, every checksum right; which copy of
 * each block is the last). Then the last copies go home in the order of their
 * blocks, neighbours in one write. So nothing is written unless all of it can
 * be, and a block that a hundred transactions changed is written once: the time
 * of a long replay is the medium's, and scattered writes are its slowest.
 *
 * Invariants
 * (1) A transaction is replayed only if its commit block was found and no
 *     checksum of it is wrong. With asynchronous commits the last transaction
 *     may be torn; without them a wrong checksum is corruption, and an error.
 * (2) A copy is not replayed if its block was revoked by the same or a later
 *     transaction.
 * (3) A pass reads at most as many blocks as the log has.
 *
 * Old transactions left in the log by an earlier life have smaller sequence
 * numbers; where numbers repeat (a log initialised lazily over an older one),
 * a commit time that goes backwards says that the block is stale.
 */
#include "daemon/journal/journal_priv.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/crc.h"

#define WINDOW_BLOCKS 256

enum pass { PASS_SCAN, PASS_REVOKE, PASS_COLLECT };
/* What a block's handler wants next; errors are negative. */
enum step { STEP_ON = 0, STEP_END = 1 };

struct recovery {
	struct log *log;
	uint64_t image_blocks;
	uint8_t *window; /* log blocks [window_lblk, window_lblk + window_count) */
	uint32_t window_lblk, window_count;
	uint8_t *descriptor; /* the one being worked on; the window moves below it */
	uint8_t *block;	     /* a commit block as it should be */
	struct homes homes;  /* what is to be brought home */
	struct revoke_table revokes;
	struct journal_recovery_info info;
	const char *what;
	/* Found by the scan: */
	bool end_known;
	uint32_t end; /* first sequence not to be replayed */
};

/* Where a pass is, and what it knows of the transaction that it is in. */
struct walk {
	enum pass pass;
	uint32_t lblk, sequence, visited;
	uint32_t crc;	   /* v1: of descriptors and copies so far */
	bool bad_checksum; /* of a descriptor or revoke block: corrupt or stale, the commit time tells */
	bool bad_data;	    /* asynchronous commit: a copy is not what its tag says */
	uint64_t last_time; /* seconds, of the last commit */
};

struct tag {
	uint64_t pblk;
	uint32_t flags, checksum;
	uint32_t offset; /* of the tag after it */
};

static uint32_t get_be32(const uint8_t *p)
{
	be32 v;

	memcpy(&v, p, sizeof(v));
	return be32_to_cpu(v);
}

/* ---- reading -------------------------------------------------------------- */

static int read_block(struct recovery *r, uint32_t lblk, const uint8_t **ret_block)
{
	struct log *log = r->log;
	uint32_t bs = log->block_size;

	if (lblk < r->window_lblk || lblk - r->window_lblk >= r->window_count) {
		uint32_t count = MIN(log_run_left(log, lblk), (uint32_t)WINDOW_BLOCKS);
		int err;

		r->window_count = 0;
		err = bdev_read(log->bdev, r->window, (size_t)count * bs,
				log_block_addr(log, lblk) * bs);
		if (err) {
			r->what = log_say("journal block %u: cannot be read", lblk);
			return err;
		}
		r->window_lblk = lblk;
		r->window_count = count;
	}
	*ret_block = r->window + (size_t)(lblk - r->window_lblk) * bs;
	return 0;
}

static void walk_advance(const struct recovery *r, struct walk *w)
{
	w->lblk = log_next(r->log, w->lblk);
	w->visited++;
}

/* The tag at @offset of r->descriptor. False when no further one fits. */
static bool read_tag(const struct recovery *r, uint32_t offset, struct tag *ret_tag)
{
	const struct log *log = r->log;
	struct tag tag = { .offset = offset + log->tag_bytes };
	const uint8_t *p;

	if (offset > log->block_size || tag.offset > log->block_size - log->tail_bytes)
		return false;
	p = r->descriptor + offset;
	tag.pblk = get_be32(p);
	if (log->csum_v3) {
		tag.flags = get_be32(p + offsetof(struct jbd2_block_tag3, t_flags));
		tag.checksum = get_be32(p + offsetof(struct jbd2_block_tag3, t_checksum));
	} else {
		tag.flags = get_be32(p + offsetof(struct jbd2_block_tag, t_checksum)) & 0xffff;
		tag.checksum = get_be32(p + offsetof(struct jbd2_block_tag, t_checksum)) >> 16;
	}
	if (log->bit64)
		tag.pblk |= (uint64_t)get_be32(p + JBD2_TAG_SIZE32) << 32;
	if (!(tag.flags & JBD2_FLAG_SAME_UUID))
		tag.offset += JBD2_TAG_UUID_SIZE;
	if (tag.flags & JBD2_FLAG_LAST_TAG)
		tag.offset = UINT32_MAX;
	*ret_tag = tag;
	return true;
}

static bool tag_checksum_ok(const struct recovery *r, const struct walk *w, const struct tag *tag,
			    const uint8_t *copy)
{
	uint32_t want;

	if (!r->log->csum_v2 && !r->log->csum_v3)
		return true;
	want = log_tag_checksum(r->log, w->sequence, copy);
	return tag->checksum == (r->log->csum_v3 ? want : want & 0xffff);
}

/* ---- descriptor blocks ---------------------------------------------------- */

static int scan_copy(struct recovery *r, struct walk *w, const struct tag *tag)
{
	bool sum_v1 = r->log->csum_v1 && !w->bad_checksum && !r->end_known;
	bool sum_data = r->log->async_commit && r->log->tail_bytes && !w->bad_checksum;
	const uint8_t *copy;
	int err;

	if (!sum_v1 && !sum_data)
		return 0;
	err = read_block(r, w->lblk, &copy);
	if (err)
		return err;
	if (sum_v1)
		w->crc = crc32_be(w->crc, copy, r->log->block_size);
	else if (!tag_checksum_ok(r, w, tag, copy))
		w->bad_data = true;
	return 0;
}

static int collect_copy(struct recovery *r, struct walk *w, const struct tag *tag)
{
	uint32_t revoked_by;
	const uint8_t *copy;
	int err;

	if (tag->pblk >= r->image_blocks) {
		r->what = log_say("journal block %u: holds block %llu, beyond the image", w->lblk,
				  (unsigned long long)tag->pblk);
		return -EUCLEAN;
	}
	if (revoke_table_find(&r->revokes, tag->pblk, &revoked_by) &&
	    tid_geq(revoked_by, w->sequence)) {
		r->info.revoked++;
		return 0;
	}
	if (r->log->tail_bytes) {
		err = read_block(r, w->lblk, &copy);
		if (err)
			return err;
		if (!tag_checksum_ok(r, w, tag, copy)) {
			r->what = log_say("journal block %u: checksum of the copy of block %llu",
					  w->lblk, (unsigned long long)tag->pblk);
			return -EBADMSG;
		}
	}
	r->info.blocks++;
	return homes_add(&r->homes, tag->pblk, w->lblk, tag->flags & JBD2_FLAG_ESCAPE);
}

static int on_descriptor(struct recovery *r, struct walk *w, const uint8_t *block)
{
	struct tag tag = { .offset = sizeof(struct jbd2_header) };
	uint32_t bs = r->log->block_size;
	int err = 0;

	memcpy(r->descriptor, block, bs);
	if (!log_tail_ok(r->log, block)) {
		if (w->pass != PASS_SCAN) {
			r->what = log_say("journal block %u: checksum of a descriptor block",
					  w->lblk);
			return -EBADMSG;
		}
		w->bad_checksum = true;
	}
	if (w->pass == PASS_SCAN && r->log->csum_v1)
		w->crc = crc32_be(w->crc, block, bs);
	walk_advance(r, w);
	while (!err && read_tag(r, tag.offset, &tag)) {
		if (w->visited >= log_circle(r->log))
			return STEP_END; /* no room is left for its commit block: never finished */
		if (w->pass == PASS_SCAN)
			err = scan_copy(r, w, &tag);
		else if (w->pass != PASS_REVOKE)
			err = collect_copy(r, w, &tag);
		walk_advance(r, w);
	}
	return err ? err : STEP_ON;
}

/* ---- revoke blocks -------------------------------------------------------- */

static int on_revoke(struct recovery *r, struct walk *w, const uint8_t *block)
{
	uint32_t entry_bytes = r->log->bit64 ? sizeof(be64) : sizeof(be32);
	uint32_t used = get_be32(block + offsetof(struct jbd2_revoke_header, r_count));
	uint32_t off = sizeof(struct jbd2_revoke_header);
	uint32_t lblk = w->lblk;
	int err;

	walk_advance(r, w);
	if (w->pass == PASS_SCAN && !log_tail_ok(r->log, block))
		w->bad_checksum = true;
	if (w->pass != PASS_REVOKE)
		return STEP_ON;
	if (!log_tail_ok(r->log, block)) {
		r->what = log_say("journal block %u: checksum of a revoke block", lblk);
		return -EBADMSG;
	}
	if (used < off || used > r->log->block_size - r->log->tail_bytes) {
		r->what = log_say("journal block %u: r_count %u", lblk, used);
		return -EUCLEAN;
	}
	err = revoke_table_reserve(&r->revokes, (used - off) / entry_bytes);
	for (; !err && off + entry_bytes <= used; off += entry_bytes) {
		uint64_t pblk = get_be32(block + off);

		if (r->log->bit64)
			pblk = pblk << 32 | get_be32(block + off + sizeof(be32));
		if (pblk >= r->image_blocks) {
			r->what = log_say("journal block %u: revokes block %llu, beyond the image",
					  lblk, (unsigned long long)pblk);
			return -EUCLEAN;
		}
		revoke_table_set(&r->revokes, pblk, w->sequence);
	}
	return err ? err : STEP_ON;
}

/* ---- commit blocks -------------------------------------------------------- */

/*
 * A commit block is zero behind its fields. When power was lost while it was
 * written, its first sector may be new and the others old; what the fields say
 * is true all the same, because all else was flushed before.
 */
static bool commit_block_ok(const struct recovery *r, const struct jbd2_commit_block *commit)
{
	uint32_t found = be32_to_cpu(commit->h_chksum[0]);

	if (found == log_commit_checksum(r->log, commit))
		return true;
	memset(r->block, 0, r->log->block_size);
	memcpy(r->block, commit, sizeof(*commit));
	return found == log_commit_checksum(r->log, r->block);
}

static bool commit_checksum_ok(const struct recovery *r, const struct walk *w,
			       const struct jbd2_commit_block *commit)
{
	uint32_t found = be32_to_cpu(commit->h_chksum[0]);

	if (r->log->tail_bytes)
		return !w->bad_data && commit_block_ok(r, commit);
	if (!r->log->csum_v1)
		return true;
	if (commit->h_chksum_type == 0 && commit->h_chksum_size == 0 && found == 0)
		return true; /* written while the feature was off */
	return commit->h_chksum_type == JBD2_CRC32_CHKSUM &&
	       commit->h_chksum_size == JBD2_CRC32_CHKSUM_SIZE && found == w->crc;
}

static int corrupt_transaction(struct recovery *r, uint32_t sequence)
{
	r->what = log_say("journal transaction %u: checksum", sequence);
	return -EBADMSG;
}

static int on_commit(struct recovery *r, struct walk *w, const uint8_t *block)
{
	const struct jbd2_commit_block *commit = (const void *)block;
	uint64_t time = be64_to_cpu(commit->h_commit_sec);

	if (w->pass == PASS_SCAN) {
		bool stale = time < w->last_time;

		if (w->bad_checksum)
			return stale ? STEP_END : corrupt_transaction(r, w->sequence);
		if (r->end_known) /* a commit behind one that is bad: not merely torn */
			return corrupt_transaction(r, r->end);
		if (!commit_checksum_ok(r, w, commit)) {
			if (stale)
				return STEP_END;
			if (!r->log->async_commit)
				return corrupt_transaction(r, w->sequence);
			r->end_known = true;
			r->end = w->sequence;
		}
		w->last_time = time;
		w->crc = ~0u;
		w->bad_data = false;
	}
	w->sequence++;
	walk_advance(r, w);
	return STEP_ON;
}

/* ---- passes --------------------------------------------------------------- */

static int walk_block(struct recovery *r, struct walk *w)
{
	const uint8_t *block;
	int err;

	err = read_block(r, w->lblk, &block);
	if (err)
		return err;
	if (get_be32(block) != JBD2_MAGIC_NUMBER ||
	    get_be32(block + offsetof(struct jbd2_header, h_sequence)) != w->sequence)
		return STEP_END;
	switch (get_be32(block + offsetof(struct jbd2_header, h_blocktype))) {
	case JBD2_DESCRIPTOR_BLOCK: return on_descriptor(r, w, block);
	case JBD2_COMMIT_BLOCK: return on_commit(r, w, block);
	case JBD2_REVOKE_BLOCK: return on_revoke(r, w, block);
	default: return STEP_END;
	}
}

static int run_pass(struct recovery *r, enum pass pass)
{
	struct walk w = {
		.pass = pass,
		.lblk = be32_to_cpu(r->log->sb.s_start),
		.sequence = be32_to_cpu(r->log->sb.s_sequence),
		.crc = ~0u,
	};
	int step = STEP_ON;

	r->info.start_sequence = w.sequence;
	while (step == STEP_ON && w.visited < log_circle(r->log)) {
		if (pass != PASS_SCAN && tid_geq(w.sequence, r->end))
			break;
		step = walk_block(r, &w);
	}
	if (step < 0)
		return step;
	if (pass == PASS_SCAN && !r->end_known) {
		r->end_known = true;
		r->end = w.sequence;
	}
	if (pass != PASS_SCAN && w.sequence != r->end) {
		r->what = log_say("journal transaction %u: no longer found", w.sequence);
		return -EIO; /* the medium answered differently than a moment ago */
	}
	return 0;
}

/* ---- fast commits --------------------------------------------------------- */

/*
 * Does the block's record stream, continued from the blocks before, end a fast
 * commit of @tid? *ret_more: it goes on in the next block.
 */
static bool fc_block_commits(const uint8_t *block, uint32_t block_size, uint32_t tid, bool first,
			     bool *ret_more)
{
	uint32_t off = 0;

	*ret_more = false;
	while (off + sizeof(struct ext4_fc_tl) <= block_size) {
		const struct ext4_fc_tl *tl = (const void *)(block + off);
		const struct ext4_fc_head *head = (const void *)(tl + 1);
		const struct ext4_fc_tail *tail = (const void *)(tl + 1);
		uint32_t record = le16_to_cpu(tl->fc_tag);
		uint32_t len = le16_to_cpu(tl->fc_len);

		off += (uint32_t)sizeof(*tl);
		if (record < EXT4_FC_TAG_ADD_RANGE || record > EXT4_FC_TAG_HEAD ||
		    len > block_size - off)
			return false;
		if (first && record != EXT4_FC_TAG_HEAD)
			return false;
		first = false;
		if (record == EXT4_FC_TAG_HEAD &&
		    (len < sizeof(*head) || le32_to_cpu(head->fc_tid) != tid))
			return false;
		if (record == EXT4_FC_TAG_TAIL)
			return len >= sizeof(*tail) && le32_to_cpu(tail->fc_tid) == tid;
		off += len;
	}
	*ret_more = true;
	return false;
}

/*
 * Fast commits belong to the transaction after the last full one. We do not
 * replay them, and to skip them would lose acknowledged changes. The checksum of
 * the records is not looked at: a torn one is refused too, which e2fsck mends.
 */
static int check_fast_commits(struct recovery *r)
{
	uint32_t lblk;

	if (!r->log->fast_commit)
		return 0;
	for (lblk = r->log->fc_first; lblk < r->log->fc_last; lblk++) {
		bool first = lblk == r->log->fc_first;
		const uint8_t *block;
		bool more;
		int err = read_block(r, lblk, &block);

		if (err)
			return err;
		if (fc_block_commits(block, r->log->block_size, r->end, first, &more)) {
			r->what = "journal: holds fast commits, run e2fsck to replay them";
			return -EOPNOTSUPP;
		}
		if (!more)
			break;
	}
	return 0;
}

/* ---- public --------------------------------------------------------------- */

/* The sequence after the end is skipped: a torn transaction may have used it. */
static int finish(struct recovery *r)
{
	struct log *log = r->log;
	int err;

	err = bdev_flush(log->bdev);
	if (err)
		return err;
	log->sb.s_start = cpu_to_be32(0);
	log->sb.s_sequence = cpu_to_be32(r->end + 1);
	err = log_super_write(log);
	return err ? err : bdev_flush(log->bdev);
}

static int run_passes(struct recovery *r)
{
	int err;

	err = run_pass(r, PASS_SCAN);
	if (!err)
		err = check_fast_commits(r);
	if (!err)
		err = run_pass(r, PASS_REVOKE);
	if (!err)
		err = run_pass(r, PASS_COLLECT);
	if (!err)
		err = homes_write(&r->homes, r->log, &r->what);
	if (!err)
		err = finish(r);
	r->info.end_sequence = r->end;
	r->info.transactions = r->end - r->info.start_sequence;
	r->info.replayed = !err;
	return err;
}

static int recover_log(struct log *log, bool check_only, struct journal_recovery_info *info,
		       const char **ret_what)
{
	struct recovery r = { .log = log, .what = "journal" };
	int32_t error = (int32_t)be32_to_cpu(log->sb.s_errno);
	int err;

	r.image_blocks = log->bdev->size / log->block_size;
	r.info.log_errno = error > 0 ? -error : error;
	r.info.start_sequence = r.info.end_sequence = be32_to_cpu(log->sb.s_sequence);
	r.info.replayed = be32_to_cpu(log->sb.s_start) != 0;
	*info = r.info;
	if (!r.info.replayed || check_only)
		return 0;
	info->replayed = false;
	if (log->bdev->readonly) {
		*ret_what = "journal: must be replayed, but the image is read-only";
		return -EROFS;
	}
	r.window = malloc((size_t)WINDOW_BLOCKS * log->block_size);
	r.descriptor = malloc(log->block_size);
	r.block = malloc(log->block_size);
	err = r.window && r.descriptor && r.block ? run_passes(&r) : -ENOMEM;
	homes_fini(&r.homes);
	revoke_table_fini(&r.revokes);
	free(r.block);
	free(r.descriptor);
	free(r.window);
	*info = r.info;
	if (err)
		*ret_what = r.what;
	return err;
}

int journal_recover(struct bdev *bdev, uint32_t block_size, const struct journal_map *map,
		    uint32_t log_blocks, bool check_only, struct journal_recovery_info *ret_info,
		    const char **ret_what)
{
	struct journal_recovery_info info = { 0 };
	const char *what = "journal";
	struct log *log;
	int err;

	err = log_open(bdev, block_size, map, log_blocks, &log, &what);
	if (!err) {
		err = recover_log(log, check_only, &info, &what);
		log_close(log);
	}
	if (ret_info)
		*ret_info = info;
	if (err && ret_what)
		*ret_what = what;
	return err;
}
