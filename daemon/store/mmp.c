// SPDX-License-Identifier: GPL-2.0-only
/*
 * Multiple mount protection: a block in which the one who has the filesystem mounted
 * leaves a new number every few seconds, so that another machine that can reach the
 * same device sees that it is in use.
 *
 * Claiming: if the block says "clean", write a random number; else wait longer than
 * its owner's interval, and give up if the number changed. Write ours, wait again
 * (not after "clean"), and see that it is still there. From then on a thread renews
 * it and checks each time that what it left is untouched; if not, the store becomes
 * read-only before the next commit.
 *
 * The block is written straight to the medium: it is no part of any transaction. It
 * is read past the page cache, which would not show another machine's writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/crc.h"
#include "daemon/base/log.h"
#include "daemon/store/alloc.h"
#include "daemon/store/icache.h"
#include "daemon/store/super.h"

/* A waiting mount is told from here on. */
#define WAIT_SAID_SECONDS 20

struct mmp {
	struct store *store;
	pthread_t thread;
	struct mutex lock; /* LOCK_LEAF */
	struct cond wake;
	bool stop;		/* [lock] */
	bool lost;		/* [thread, then whoever joined it] the block is another's */
	uint32_t interval;	/* seconds between renewals */
	struct mmp_struct ours; /* [thread, then whoever joined it] as last written */
};

/* ---- the block ------------------------------------------------------------ */

static uint64_t block_off(const struct store *s)
{
	return s->mmp_block << s->block_bits;
}

static uint32_t mmp_csum(const struct store *s, const struct mmp_struct *m)
{
	return crc32c(s->csum_seed, m, offsetof(struct mmp_struct, mmp_checksum));
}

static int mmp_read(struct store *s, struct mmp_struct *m)
{
	struct bdev *b = s->bdev;
	int ret;

	/* Advice: where it is not taken, another machine is noticed at the next write-back. */
	if (b->fd >= 0)
		(void)posix_fadvise(b->fd, (off_t)(b->fd_offset + block_off(s)),
				    (off_t)s->block_size, POSIX_FADV_DONTNEED);
	ret = bdev_read(b, m, sizeof(*m), block_off(s));
	if (ret)
		return ret;
	if (le32_to_cpu(m->mmp_magic) != EXT4_MMP_MAGIC)
		return -EUCLEAN;
	return s->has_csum && le32_to_cpu(m->mmp_checksum) != mmp_csum(s, m) ? -EBADMSG : 0;
}

static int mmp_write(struct store *s, struct mmp_struct *m)
{
	int ret;

	m->mmp_time = cpu_to_le64((uint64_t)time(NULL));
	if (s->has_csum)
		m->mmp_checksum = cpu_to_le32(mmp_csum(s, m));
	ret = bdev_write(s->bdev, m, sizeof(*m), block_off(s));
	return ret ? ret : bdev_flush(s->bdev);
}

static bool same(const struct mmp_struct *a, const struct mmp_struct *b)
{
	return le32_to_cpu(a->mmp_seq) == le32_to_cpu(b->mmp_seq) &&
	       memcmp(a->mmp_nodename, b->mmp_nodename, sizeof(a->mmp_nodename)) == 0;
}

/* ---- claiming ------------------------------------------------------------- */

static int bad_block(struct store_open_error *err, int ret)
{
	return store_open_fail(err, ret, "run e2fsck -f IMAGE (or tune2fs -f -E clear_mmp IMAGE)",
			       "mmp block: %s",
			       ret == -EUCLEAN ? "magic is wrong" :
			       ret == -EBADMSG ? "checksum is wrong" :
						 strerror(-ret));
}

static int busy(struct store_open_error *err, const struct mmp_struct *m)
{
	return store_open_fail(err, -EBUSY,
			       "unmount it there, or, if that machine is dead, "
			       "run tune2fs -f -E clear_mmp IMAGE",
			       "in use by machine %.*s (%.*s), says its mmp block",
			       (int)sizeof(m->mmp_nodename), m->mmp_nodename,
			       (int)sizeof(m->mmp_bdevname), m->mmp_bdevname);
}

static void wait_seconds(uint32_t seconds)
{
	struct timespec left = { .tv_sec = seconds };

	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		;
}

/* Wait until another owner must have renewed the block; -EBUSY if somebody did. */
static int watch(struct store *s, uint32_t seconds, const struct mmp_struct *before,
		 struct store_open_error *err)
{
	struct mmp_struct now;
	int ret;

	wait_seconds(seconds);
	ret = mmp_read(s, &now);
	if (ret)
		return bad_block(err, ret);
	return le32_to_cpu(now.mmp_seq) == le32_to_cpu(before->mmp_seq) ? 0 : busy(err, &now);
}

static void fill_ours(struct mmp *m)
{
	uint32_t check = MAX(m->interval * 2, (uint32_t)EXT4_MMP_MIN_CHECK_INTERVAL);

	memset(m->ours.mmp_nodename, 0, sizeof(m->ours.mmp_nodename));
	if (gethostname(m->ours.mmp_nodename, sizeof(m->ours.mmp_nodename) - 1))
		snprintf(m->ours.mmp_nodename, sizeof(m->ours.mmp_nodename), "unknown");
	memset(m->ours.mmp_bdevname, 0, sizeof(m->ours.mmp_bdevname));
	snprintf(m->ours.mmp_bdevname, sizeof(m->ours.mmp_bdevname), "kfs");
	m->ours.mmp_check_interval =
		cpu_to_le16((uint16_t)MIN(check, (uint32_t)EXT4_MMP_MAX_CHECK_INTERVAL));
	m->ours.mmp_seq = cpu_to_le32(inode_new_generation() % EXT4_MMP_SEQ_MAX + 1);
}

static int claim(struct mmp *m, struct store_open_error *err)
{
	struct store *s = m->store;
	uint32_t check, wait = 0;
	int ret = mmp_read(s, &m->ours);

	if (ret)
		return bad_block(err, ret);
	check = MAX(m->interval, (uint32_t)EXT4_MMP_MIN_CHECK_INTERVAL);
	check = MAX(check, (uint32_t)le16_to_cpu(m->ours.mmp_check_interval));
	check = MIN(check, (uint32_t)EXT4_MMP_MAX_CHECK_INTERVAL);
	if (le32_to_cpu(m->ours.mmp_seq) == EXT4_MMP_SEQ_FSCK)
		return store_open_fail(err, -EBUSY,
				       "wait for it, or, if it was killed, run "
				       "tune2fs -f -E clear_mmp IMAGE",
				       "e2fsck is at work on it, says its mmp block");
	if (le32_to_cpu(m->ours.mmp_seq) != EXT4_MMP_SEQ_CLEAN) {
		wait = MIN(check * 2 + 1, check + 60);
		if (wait > WAIT_SAID_SECONDS)
			log_warn("mmp: waiting %" PRIu32 " seconds for another user of the image",
				 wait * 2);
		ret = watch(s, wait, &m->ours, err);
		if (ret)
			return ret;
	}
	fill_ours(m);
	ret = mmp_write(s, &m->ours);
	if (ret)
		return bad_block(err, ret);
	return watch(s, wait, &m->ours, err);
}

/* ---- renewing ------------------------------------------------------------- */

/* True when it was time, false when asked to stop. */
static bool sleep_interval(struct mmp *m)
{
	struct timespec deadline;
	bool stop;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += m->interval;
	mutex_lock(&m->lock);
	while (!m->stop && cond_wait_until(&m->wake, &m->lock, &deadline))
		;
	stop = m->stop;
	mutex_unlock(&m->lock);
	return !stop;
}

static void renew(struct mmp *m)
{
	struct store *s = m->store;
	struct mmp_struct now;
	uint32_t seq;
	int ret = mmp_read(s, &now);

	if (!ret && !same(&now, &m->ours)) {
		m->lost = true;
		atomic_fetch_or(&s->error_state, STORE_ERR_FOREIGN);
		store_set_readonly(s, "another machine has mounted the image (mmp)");
		log_error("mmp: machine %.*s uses the image, too: now read-only: unmount it here",
			  (int)sizeof(now.mmp_nodename), now.mmp_nodename);
		return;
	}
	seq = le32_to_cpu(m->ours.mmp_seq) % EXT4_MMP_SEQ_MAX + 1;
	m->ours.mmp_seq = cpu_to_le32(seq);
	if (!ret)
		ret = mmp_write(s, &m->ours);
	if (ret)
		log_error("mmp block: %s: check the device", strerror(-ret));
}

static void *run(void *arg)
{
	struct mmp *m = arg;

	while (!m->lost && sleep_interval(m))
		renew(m);
	return NULL;
}

int mmp_start(struct store *s, struct store_open_error *err)
{
	struct mmp *m;
	int ret;

	if (s->mmp_block <= s->first_data_block || s->mmp_block >= s->blocks_count)
		return store_open_fail(err, -EUCLEAN, NULL,
				       "superblock: mmp block %" PRIu64 " is outside the image",
				       s->mmp_block);
	m = calloc(1, sizeof(*m));
	if (!m)
		return store_open_fail(err, -ENOMEM, "free some memory", "no memory");
	m->store = s;
	m->interval = s->mmp_update_interval ? s->mmp_update_interval : EXT4_MMP_UPDATE_INTERVAL;
	m->interval = MIN(m->interval, (uint32_t)EXT4_MMP_MAX_CHECK_INTERVAL);
	mutex_init(&m->lock, LOCK_LEAF);
	cond_init(&m->wake);
	ret = claim(m, err);
	if (!ret) {
		ret = -pthread_create(&m->thread, NULL, run, m);
		if (ret)
			(void)store_open_fail(err, ret, "free some memory", "no thread for mmp");
	}
	if (ret) {
		free(m);
		return ret;
	}
	s->mmp = m;
	return 0;
}

void mmp_stop(struct store *s, bool release)
{
	struct mmp *m = s->mmp;

	if (!m)
		return;
	mutex_lock(&m->lock);
	m->stop = true;
	cond_wake_all(&m->wake);
	mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	if (release && !m->lost) {
		m->ours.mmp_seq = cpu_to_le32(EXT4_MMP_SEQ_CLEAN);
		(void)mmp_write(s, &m->ours); /* unwritten: the next mount waits a little longer */
	}
	free(m);
	s->mmp = NULL;
}
