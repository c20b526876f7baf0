// SPDX-License-Identifier: GPL-2.0-only
/*
 * Errors of the store: the text of a refused open, corruption met while running, the
 * end of the journal. What is met while running is kept in memory and folded into the
 * superblock by the next commit, because the place that meets it may hold any lock.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/base/log.h"
#include "daemon/store/super.h"

int store_open_fail(struct store_open_error *err, int code, const char *remedy, const char *fmt,
		    ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(err->what, sizeof(err->what), fmt, args);
	va_end(args);
	snprintf(err->remedy, sizeof(err->remedy), "%s", remedy ? remedy : "run e2fsck -f IMAGE");
	return code;
}

/* FNV-1a; never 0, which marks a free place. */
static uint64_t place_hash(uint32_t ino, uint64_t pblk, const char *what)
{
	uint64_t h = 0xcbf29ce484222325ull ^ ino ^ (pblk << 20);

	for (; *what; what++)
		h = (h ^ (uint8_t)*what) * 0x100000001b3ull;
	return h ? h : 1;
}

/* True the first time this place is met (as far as the last CORRUPT_SEEN_MAX are remembered). */
static bool note_place(struct super_state *st, uint64_t hash)
{
	uint32_t i;

	for (i = 0; i < CORRUPT_SEEN_MAX; i++) {
		if (st->seen[i] == hash)
			return false;
	}
	st->seen[st->seen_next] = hash;
	st->seen_next = (st->seen_next + 1) % CORRUPT_SEEN_MAX;
	return true;
}

/* Caller holds super->lock: readonly_why is written before readonly is seen. */
static void set_readonly_locked(struct store *s, const char *why)
{
	if (atomic_load(&s->readonly))
		return;
	s->readonly_why = why;
	atomic_store(&s->readonly, true);
}

static void apply_policy_locked(struct store *s)
{
	switch (s->opts.errors) {
	case ERRORS_DEFAULT:
	case ERRORS_CONTINUE: return;
	case ERRORS_PANIC: atomic_fetch_or(&s->error_state, STORE_ERR_PANIC); break;
	case ERRORS_REMOUNT_RO: break;
	}
	set_readonly_locked(s, "corruption was met (errors= policy)");
}

void store_panic(struct store *s)
{
	/* While mounting an error is a refusal, or what the last mount left. */
	if (!(atomic_load(&s->error_state) & STORE_ERR_PANIC) || !s->opts.panic ||
	    !s->super->marked)
		return;
	/* Nothing of the running transaction may follow: the mark goes to the medium alone. */
	super_mark_aborted(s);
	log_error("errors=panic: the daemon ends at once: unmount, run e2fsck -f");
	s->opts.panic(s->opts.panic_arg);
}

int store_corrupt(struct store *s, uint32_t ino, uint64_t pblk, const char *what)
{
	struct super_state *st = s->super;
	struct error_record rec = { .ino = ino, .pblk = pblk, .time = time(NULL) };
	bool first;

	snprintf(rec.what, sizeof(rec.what), "%s", what);
	atomic_fetch_add(&s->corruptions, 1);
	atomic_fetch_or(&s->error_state, STORE_ERR_CORRUPT);
	mutex_lock(&st->lock);
	first = note_place(st, place_hash(ino, pblk, what));
	if (first) {
		if (!st->first_error.time)
			st->first_error = rec;
		st->last_error = rec;
		st->errors_new++;
		apply_policy_locked(s);
	}
	mutex_unlock(&st->lock);
	if (first && ino && pblk)
		log_error("inode %" PRIu32 ", block %" PRIu64 ": %s: unmount and run e2fsck -f",
			  ino, pblk, what);
	else if (first && ino)
		log_error("inode %" PRIu32 ": %s: unmount and run e2fsck -f", ino, what);
	else if (first)
		log_error("block %" PRIu64 ": %s: unmount and run e2fsck -f", pblk, what);
	if (first)
		store_panic(s);
	return -EUCLEAN;
}

static void record_to_first(struct ext4_super_block *sb, const struct error_record *r)
{
	sb->s_first_error_time = cpu_to_le32((uint32_t)r->time);
	sb->s_first_error_time_hi = (uint8_t)(r->time >> 32);
	sb->s_first_error_ino = cpu_to_le32(r->ino);
	sb->s_first_error_block = cpu_to_le64(r->pblk);
	memcpy(sb->s_first_error_func, r->what, sizeof(sb->s_first_error_func));
	sb->s_first_error_line = cpu_to_le32(0);
}

static void record_to_last(struct ext4_super_block *sb, const struct error_record *r)
{
	sb->s_last_error_time = cpu_to_le32((uint32_t)r->time);
	sb->s_last_error_time_hi = (uint8_t)(r->time >> 32);
	sb->s_last_error_ino = cpu_to_le32(r->ino);
	sb->s_last_error_block = cpu_to_le64(r->pblk);
	memcpy(sb->s_last_error_func, r->what, sizeof(sb->s_last_error_func));
	sb->s_last_error_line = cpu_to_le32(0);
}

bool super_errors_pending(struct store *s)
{
	bool pending;

	mutex_lock(&s->super->lock);
	pending = s->super->errors_new > 0;
	mutex_unlock(&s->super->lock);
	return pending;
}

void super_fold_errors(struct store *s, struct ext4_super_block *sb)
{
	struct super_state *st = s->super;

	mutex_lock(&st->lock);
	if (st->errors_new) {
		sb->s_state = cpu_to_le16(le16_to_cpu(sb->s_state) | EXT4_ERROR_FS);
		if (le32_to_cpu(sb->s_error_count) == 0)
			record_to_first(sb, &st->first_error);
		record_to_last(sb, &st->last_error);
		le32_add(&sb->s_error_count, st->errors_new);
		st->errors_new = 0;
	}
	mutex_unlock(&st->lock);
}

void store_set_readonly(struct store *s, const char *why)
{
	mutex_lock(&s->super->lock);
	set_readonly_locked(s, why);
	mutex_unlock(&s->super->lock);
}
