// SPDX-License-Identifier: GPL-2.0-only
/*
 * The frame of a check: memory, the view, pace, passes. See check.h.
 *
 * Bounds. A view that runs out of memory for copies is opened again, and the check
 * starts anew, without pauses: RESTARTS_MAX times. Half-way to that point a check that
 * was asked to go slowly no longer does: the sooner it ends the less there is to copy.
 */
#include <errno.h>
#include <linux/ioprio.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "daemon/base/stats.h"
#include "daemon/check/check_priv.h"
#include "daemon/store/super.h"

#define RESTARTS_MAX 3u
/*
 * Not the most: a thread that is set aside while it holds a lock of the view or the cache
 * holds up whoever wants it, and at 19 it may be set aside for long.
 */
#define NICE_IDLE 5
#define PAUSE_NS_MAX 100000000ULL
#define DIRS_FIRST 1024u

/* ---- pace ----------------------------------------------------------------- */

static bool hurry(const struct ck *c)
{
	struct journal_view_stats stats;
	uint64_t max = c->opts->copies_bytes_max;

	journal_view_get_stats(c->view, &stats);
	atomic_store(&c->progress->copies_bytes, stats.copies_bytes);
	c->result->copies_bytes_max = MAX(c->result->copies_bytes_max, stats.copies_bytes_max);
	return stats.copies_bytes > (max ? max : (uint64_t)CHECK_COPIES_BYTES_DEFAULT) / 2;
}

static bool cancelled(const struct ck *c)
{
	return c->opts->cancelled && c->opts->cancelled(c->opts->arg);
}

/* Sleeps until what was read is allowed to have been read. */
static int pay(struct ck *c)
{
	uint64_t bytes = c->result->bytes_read - c->paid_bytes;
	uint64_t due, now;

	if (!c->opts->rate_bytes || atomic_load(&c->progress->restarts) > 0 || hurry(c))
		return 0;
	due = c->started_ns + (uint64_t)((double)bytes * 1e9 / (double)c->opts->rate_bytes);
	while ((now = stats_now_ns()) < due) {
		uint64_t ns = MIN(due - now, PAUSE_NS_MAX);
		struct timespec pause = { .tv_nsec = (long)ns };

		if (cancelled(c))
			return -ECANCELED;
		(void)nanosleep(&pause, NULL); /* cut short: the loop sees to it */
	}
	return 0;
}

int ck_tick(struct ck *c, uint32_t pass, uint64_t at, uint64_t of)
{
	/* Parts of the whole, by what they cost on images seen: inodes and directories. */
	static const uint8_t begins[CHECK_PASSES + 1] = { 0, 1, 55, 90, 92, 94, 100 };
	uint32_t span = begins[pass + 1] - begins[pass];

	atomic_store(&c->progress->pass, pass);
	atomic_store(&c->progress->percent, begins[pass] + (uint32_t)(of ? at * span / of : span));
	if (cancelled(c))
		return -ECANCELED;
	(void)hurry(c); /* for the statistics */
	return pay(c);
}

/* ---- reading -------------------------------------------------------------- */

int ck_read(struct ck *c, uint64_t pblk, uint32_t count, void *buf)
{
	uint64_t bytes = (uint64_t)count << c->s->block_bits;
	int ret = journal_view_read(c->view, pblk, count, buf);
	uint32_t k;

	c->result->bytes_read += bytes;
	atomic_store(&c->progress->bytes_read, c->result->bytes_read);
	if (ret != -EIO)
		return ret;
	/* One of several cannot be read: which one? It counts as zeros. */
	for (k = 0; k < count; k++) {
		uint8_t *at = (uint8_t *)buf + ((size_t)k << c->s->block_bits);

		ret = journal_view_read(c->view, pblk + k, 1, at);
		if (ret == -ESTALE)
			return ret;
		if (!ret)
			continue;
		memset(at, 0, c->s->block_size);
		ck_find(c, "read_error", 0, pblk + k, "Error reading block %llu (%s).",
			(unsigned long long)(pblk + k), strerrordesc_np(-ret));
	}
	return 0;
}

void ck_done(struct ck *c, uint64_t pblk, uint64_t count)
{
	journal_view_done(c->view, pblk, count);
}

/* ---- memory --------------------------------------------------------------- */

int ck_alloc_group(struct ck *c, uint32_t g)
{
	if (c->states[g])
		return 0;
	c->states[g] = calloc(c->s->inodes_per_group, sizeof(struct ck_state));
	c->result->memory_bytes += c->s->inodes_per_group * sizeof(struct ck_state);
	return c->states[g] ? 0 : -ENOMEM;
}

struct ck_state *ck_state(const struct ck *c, uint32_t ino)
{
	uint32_t g = (ino - 1) / c->s->inodes_per_group;

	if (ino == 0 || ino > c->s->inodes_count || !c->states[g])
		return NULL;
	return &c->states[g][(ino - 1) % c->s->inodes_per_group];
}

int ck_dir_add(struct ck *c, uint32_t ino)
{
	if (c->dir_count == c->dir_room) {
		uint32_t room = c->dir_room ? c->dir_room * 2 : DIRS_FIRST;
		struct ck_dir *dirs = reallocarray(c->dirs, room, sizeof(*dirs));

		if (!dirs)
			return -ENOMEM;
		c->result->memory_bytes += (room - c->dir_room) * sizeof(*dirs);
		c->dirs = dirs;
		c->dir_room = room;
	}
	c->dirs[c->dir_count++] =
		(struct ck_dir){ .ino = ino, .parent = ino == EXT4_ROOT_INO ? EXT4_ROOT_INO : 0 };
	return 0;
}

struct ck_dir *ck_dir(const struct ck *c, uint32_t ino)
{
	uint32_t lo = 0, hi = c->dir_count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (c->dirs[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->dir_count && c->dirs[lo].ino == ino ? &c->dirs[lo] : NULL;
}

static void ck_fini(struct ck *c)
{
	uint32_t g;

	for (g = 0; c->states && g < c->s->group_count; g++)
		free(c->states[g]);
	for (g = 0; g < CK_LEVELS; g++)
		free(c->levels[g]);
	free(c->states);
	free(c->groups);
	free(c->dirs);
	free(c->used);
	free(c->blocks.table);
	free(c->eas.table);
	free(c->dups.table);
	free(c->bad.table);
	free(c->itable);
	free(c->data);
	free(c->attr);
}

static int ck_init(struct ck *c)
{
	struct store *s = c->s;
	size_t run = (size_t)CK_READ_BLOCKS << s->block_bits;
	bool ok = true;
	uint32_t k;

	c->bits = (s->blocks_count - s->first_data_block + (1u << s->cluster_bits) - 1) >>
		  s->cluster_bits;
	c->used = calloc(c->bits / 8 + 1, 1);
	c->states = calloc(s->group_count, sizeof(*c->states));
	c->groups = calloc(s->group_count, sizeof(*c->groups));
	c->itable = malloc(run);
	c->data = malloc(run);
	c->attr = malloc(s->block_size);
	for (k = 0; k < CK_LEVELS; k++) {
		c->levels[k] = malloc(s->block_size);
		ok = ok && c->levels[k];
	}
	c->result->memory_bytes = c->bits / 8 + 2 * run + s->blocks_count / 8 +
				  s->group_count * (sizeof(*c->groups) + sizeof(*c->states));
	ok = ok && c->used && c->states && c->groups && c->itable && c->data && c->attr;
	return ok ? 0 : -ENOMEM;
}

/* ---- the whole ------------------------------------------------------------ */

static int passes(struct ck *c)
{
	int ret = ck_pass0(c);

	if (!ret)
		ret = ck_pass1(c);
	if (!ret && (c->dups.count || c->dups_full))
		ret = ck_pass1b(c);
	if (!ret)
		ret = ck_pass2(c);
	if (!ret)
		ret = ck_pass3(c);
	if (!ret)
		ret = ck_pass4(c);
	return ret ? ret : ck_pass5(c);
}

static void forget_findings(struct check_result *r)
{
	uint32_t k;

	for (k = 0; k < r->count; k++)
		free(r->findings[k].text);
	free(r->findings);
	r->findings = NULL;
	r->count = 0;
	r->total = 0;
}

static int run_once(struct store *s, const struct check_opts *opts, struct check_progress *progress,
		    struct check_result *result)
{
	uint64_t copies = opts->copies_bytes_max ? opts->copies_bytes_max :
						   CHECK_COPIES_BYTES_DEFAULT;
	struct ck c = { .s = s,
			.opts = opts,
			.progress = progress,
			.result = result,
			.started_ns = stats_now_ns(),
			.paid_bytes = result->bytes_read,
			.findings_max = opts->findings_max ? opts->findings_max :
							     CHECK_FINDINGS_DEFAULT };
	int ret = ck_init(&c);

	if (!ret)
		ret = journal_view_open(s->journal, copies, &c.view);
	if (!ret) {
		ret = passes(&c);
		(void)hurry(&c); /* the last statistics */
	}
	journal_view_close(c.view);
	ck_fini(&c);
	return ret;
}

/* Others first, for the processor and the disk. Neither can fail for a thread's own. */
static void lower_priority(void)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);

	(void)setpriority(PRIO_PROCESS, (id_t)tid, NICE_IDLE);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid,
		      IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

int check_run(struct store *s, const struct check_opts *opts, struct check_progress *progress,
	      struct check_result *ret_result)
{
	uint64_t start = stats_now_ns();
	int ret;

	*ret_result = (struct check_result){ 0 };
	if (atomic_load(&s->readonly) && store_has_incompat(s, EXT4_FEATURE_INCOMPAT_RECOVER) &&
	    s->opts.norecovery)
		return -EOPNOTSUPP;
	if (opts->idle)
		lower_priority();
	for (;;) {
		ret = run_once(s, opts, progress, ret_result);
		if (ret != -ESTALE || ret_result->restarts == RESTARTS_MAX)
			break;
		ret_result->restarts++;
		atomic_fetch_add(&progress->restarts, 1);
		atomic_store(&progress->findings, 0);
		forget_findings(ret_result);
	}
	ret_result->duration_ns = stats_now_ns() - start;
	return ret;
}

void check_result_fini(struct check_result *r)
{
	forget_findings(r);
}
