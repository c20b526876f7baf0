// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening and closing the store.
 *
 * Opening, in this order; each step's reason:
 *  1. The superblock is read from the raw image, checked and decoded; features decide
 *     whether the image is refused, read or written.
 *  2. Multiple mount protection claims the image, before anything is written.
 *  3. The journal is found and replayed, while no cache holds older contents. Then
 *     step 1 again: replay may have changed the superblock.
 *  4. Superblock buffer, descriptors, zones, allocator, inode cache.
 *  5. The journal is opened, the orphan file read.
 *  6. The mount is marked on the medium; only now may a transaction start.
 *
 * Closing goes backwards: commit and write home, then take the marks away.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/base/siphash.h"
#include "daemon/store/alloc.h"
#include "daemon/store/balloc.h"
#include "daemon/store/inode.h"
#include "daemon/store/super.h"
#include "daemon/store/xattr.h"

#define CACHE_MB_DEFAULT 128
#define COMMIT_INTERVAL_MS_DEFAULT 5000
/* Committed copies waiting to be written home. */
#define JOURNAL_COPIES_BYTES_MAX (64u << 20)

/* ---- journal hooks -------------------------------------------------------- */

static int hook_precommit(void *arg, struct handle *h)
{
	struct store *s = arg;
	int ret = super_check_foreign(s);

	/* Also set by mmp, which knows of other machines. */
	if (atomic_load(&s->error_state) & STORE_ERR_FOREIGN)
		ret = -EROFS;
	return ret ? ret : store_fold_counters(s, h);
}

static void hook_aborted(void *arg, int error)
{
	struct store *s = arg;

	store_set_readonly(s, "the journal is aborted");
	if (atomic_fetch_or(&s->error_state, STORE_ERR_ABORTED) & STORE_ERR_ABORTED)
		return;
	log_error("journal aborted: %s: now read-only: unmount, check the device, run e2fsck -f",
		  strerror(-error));
	super_mark_aborted(s);
	if (s->opts.errors == ERRORS_PANIC)
		atomic_fetch_or(&s->error_state, STORE_ERR_PANIC);
	store_panic(s);
}

/*
 * What the log said of the inode that holds it. A log that moves itself is used at the old
 * place while the image says otherwise: commits would overwrite another's blocks.
 */
static int check_journal_stayed(struct store *s, uint32_t block_size, struct store_open_error *err)
{
	struct block_run *runs = s->journal_runs;
	uint32_t count = s->journal_run_count, blocks = s->journal_blocks;
	bool stayed;
	int ret = 0;

	s->journal_runs = NULL;
	s->journal_run_count = 0;
	if (s->block_size == block_size && s->journal_ino)
		ret = journal_find(s, err);
	stayed = count == s->journal_run_count && blocks == s->journal_blocks;
	for (uint32_t i = 0; stayed && i < count; i++)
		stayed = runs[i].pblk == s->journal_runs[i].pblk &&
			 runs[i].count == s->journal_runs[i].count;
	if (!ret && !stayed)
		ret = store_open_fail(err, -EUCLEAN, "run e2fsck -f IMAGE",
				      "journal inode: its own log moves it");
	free(runs);
	return ret;
}

/* ---- steps of opening ----------------------------------------------------- */

static uint64_t print_of(const struct ext4_super_block *sb)
{
	return siphash(sb, sizeof(*sb), 0, 0);
}

static int read_super(struct store *s, struct store_open_error *err)
{
	struct ext4_super_block sb;
	int ret;

	if (s->bdev->size < EXT4_SUPER_OFFSET + EXT4_SUPER_SIZE)
		return store_open_fail(err, -EUCLEAN, "check the path and offset=",
				       "image of %" PRIu64 " bytes is too short for ext4",
				       s->bdev->size);
	ret = bdev_read(s->bdev, &sb, sizeof(sb), EXT4_SUPER_OFFSET);
	if (ret)
		return store_open_fail(err, ret, "check the device", "superblock: %s",
				       strerror(-ret));
	s->print = print_of(&sb);
	ret = geometry_decode(s, &sb, err);
	return ret ? ret : features_check(s, err);
}

static int replay(struct store *s, struct store_open_error *err)
{
	struct journal_map map = { .lookup = journal_map_lookup, .arg = s };
	struct journal_recovery_info info = { 0 };
	const char *what = "cannot be read";
	uint32_t block_size = s->block_size;
	int ret;

	ret = journal_recover(s->bdev, s->block_size, &map, s->journal_blocks, true, &info, &what);
	if (ret)
		return store_open_fail(err, ret, NULL, "journal: %s", what);
	if (info.replayed && !store_has_incompat(s, EXT4_FEATURE_INCOMPAT_RECOVER))
		return store_open_fail(err, -EUCLEAN, NULL,
				       "journal: holds transactions but needs_recovery is not set");
	s->log_errno = info.log_errno;
	if (!info.replayed)
		return 0;
	if (s->bdev->readonly)
		return store_open_fail(err, -EROFS,
				       "make the image writable, or mount with -o norecovery,ro "
				       "(names and data may be old)",
				       "the journal must be replayed but the medium is read-only");
	ret = journal_recover(s->bdev, s->block_size, &map, s->journal_blocks, false, &info, &what);
	if (ret)
		return store_open_fail(err, ret, NULL, "journal: %s", what);
	log_info("journal replayed: %" PRIu32 " transactions, %" PRIu32 " blocks, %" PRIu32
		 " revoked",
		 info.transactions, info.blocks, info.revoked);
	ret = read_super(s, err);
	return ret ? ret : check_journal_stayed(s, block_size, err);
}

static int recover(struct store *s, struct store_open_error *err)
{
	int ret;

	if (!store_has_compat(s, EXT4_FEATURE_COMPAT_HAS_JOURNAL))
		return 0;
	ret = journal_find(s, err);
	if (ret || s->opts.norecovery)
		return ret;
	ret = replay(s, err);
	if (ret || !atomic_load(&s->readonly) || s->bdev->readonly ||
	    !store_has_incompat(s, EXT4_FEATURE_INCOMPAT_RECOVER))
		return ret;
	/* Replayed for a read-only mount: nobody else will take the mark away. */
	ret = super_clear_recover(s);
	if (ret)
		return store_open_fail(err, ret, "check the device", "superblock: %s",
				       strerror(-ret));
	atomic_fetch_and(&s->feature_incompat, ~(uint32_t)EXT4_FEATURE_INCOMPAT_RECOVER);
	return 0;
}

static uint32_t cache_bufs(const struct store *s)
{
	uint64_t bytes = (uint64_t)(s->opts.cache_mb ? s->opts.cache_mb : CACHE_MB_DEFAULT) << 20;

	if (s->opts.bufs_max)
		return MAX(s->opts.bufs_max, (uint32_t)CACHE_BUFS_MIN);
	return (uint32_t)MIN(MAX(bytes / s->block_size, (uint64_t)CACHE_BUFS_MIN),
			     (uint64_t)1 << 28);
}

static void decide_errors_policy(struct store *s)
{
	if (s->opts.errors != ERRORS_DEFAULT)
		return;
	switch (le16_to_cpu(store_sb(s)->s_errors)) {
	case EXT4_ERRORS_RO: s->opts.errors = ERRORS_REMOUNT_RO; break;
	case EXT4_ERRORS_PANIC: s->opts.errors = ERRORS_PANIC; break;
	default: s->opts.errors = ERRORS_CONTINUE;
	}
}

static int build(struct store *s, struct store_open_error *err)
{
	int ret;

	ret = cache_new(s->bdev, s->block_size, cache_bufs(s), &s->cache);
	if (ret)
		return store_open_fail(err, ret, "free some memory", "no memory for the cache");
	ret = super_pin(s, err);
	if (ret)
		return ret;
	decide_errors_policy(s);
	ret = groups_load(s, err);
	if (!ret)
		ret = zones_build(s, err);
	if (ret)
		return ret;
	ret = balloc_open(s);
	if (!ret)
		ret = icache_new(s, s->opts.inodes_cached_max, &s->icache);
	if (!ret)
		ret = xattr_cache_new(&s->xattr_cache);
	if (ret)
		return store_open_fail(err, ret, "free some memory", "no memory for the caches");
	/* Only now: the number of groups is believed since each has a good descriptor. */
	if (!s->cluster_bits)
		s->overhead_blocks = MIN(geometry_overhead(s) + s->journal_blocks, s->blocks_count);
	return 0;
}

static int open_journal(struct store *s, struct store_open_error *err)
{
	struct journal_map map = { .lookup = journal_map_lookup, .arg = s };
	struct journal_opts opts = {
		.commit_interval_ms = s->opts.commit_interval_ms ? s->opts.commit_interval_ms :
								   COMMIT_INTERVAL_MS_DEFAULT,
		.copies_bytes_max = JOURNAL_COPIES_BYTES_MAX,
		.readonly = atomic_load(&s->readonly),
		.no_barrier = s->opts.no_barrier,
		.csum_v3 = s->has_csum,
		.want_64bit = store_has_incompat(s, EXT4_FEATURE_INCOMPAT_64BIT),
		.precommit = hook_precommit,
		.aborted = hook_aborted,
		.arg = s,
	};
	int ret;

	ret = journal_open(s->cache, s->journal_run_count ? &map : NULL, s->journal_blocks, &opts,
			   &s->journal);
	if (ret)
		return store_open_fail(err, ret, NULL, "journal: cannot be opened: %s",
				       strerror(-ret));
	return 0;
}

static void warn_state(struct store *s)
{
	uint16_t state = le16_to_cpu(store_sb(s)->s_state);

	if (state & EXT4_ERROR_FS)
		log_warn("the filesystem has errors noted in its superblock: run e2fsck -f soon");
	else if (!(state & EXT4_VALID_FS))
		log_warn("the filesystem was not unmounted cleanly and has no journal: "
			 "run e2fsck -f soon");
}

static int mark(struct store *s, struct store_open_error *err)
{
	int ret;

	warn_state(s);
	if (atomic_load(&s->readonly))
		return 0;
	if (s->log_errno)
		(void)store_corrupt(s, 0, 0,
				    "the journal was aborted at the last mount"); /* goes on */
	ret = super_mark_mounted(s);
	if (ret)
		return store_open_fail(err, ret, "check the device", "superblock: %s",
				       strerror(-ret));
	return 0;
}

/* Whatever would have to be written before the first change is made. */
static int check_untouched(const struct store *s, struct store_open_error *err)
{
	if (atomic_load(&s->readonly))
		return store_open_fail(err, -EROFS, NULL, "it can only be read");
	if (!store_has_compat(s, EXT4_FEATURE_COMPAT_HAS_JOURNAL) ||
	    store_has_incompat(s, EXT4_FEATURE_INCOMPAT_MMP))
		return store_open_fail(err, -EOPNOTSUPP, NULL,
				       "it has no journal, or multiple mount protection");
	if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_RECOVER))
		return store_open_fail(err, -EBUSY, "mount it once without incoming",
				       "it was not closed by who had it last");
	return 0;
}

static int open_steps(struct store *s, struct store_open_error *err)
{
	int ret = read_super(s, err);

	if (!ret && s->untouched)
		ret = check_untouched(s, err);
	if (!ret && !atomic_load(&s->readonly) && store_has_incompat(s, EXT4_FEATURE_INCOMPAT_MMP))
		ret = mmp_start(s, err);
	if (!ret)
		ret = recover(s, err);
	if (!ret)
		ret = build(s, err);
	if (!ret)
		ret = open_journal(s, err);
	if (!ret)
		ret = orphan_open(s, err);
	if (!ret && !s->untouched)
		ret = mark(s, err);
	return ret;
}

static void free_all(struct store *s)
{
	balloc_close(s);
	groups_free(s);
	zones_free(s);
	xattr_cache_free(s->xattr_cache);
	if (s->sb_buf)
		buf_put(s->sb_buf);
	cache_free(s->cache);
	free(s->journal_runs);
	super_state_free(s);
	bdev_close(s->bdev);
	free(s);
}

static void drop(struct store *s, bool release_mmp)
{
	icache_free(s->icache);
	journal_destroy(s->journal);
	s->journal = NULL;
	orphan_close(s);
	mmp_stop(s, release_mmp);
	free_all(s);
}

int store_open(struct bdev *bdev, const struct store_opts *opts, struct store **ret_store,
	       struct store_open_error *err)
{
	struct store *s = calloc(1, sizeof(*s));
	int ret;

	memset(err, 0, sizeof(*err));
	if (!s) {
		bdev_close(bdev);
		return store_open_fail(err, -ENOMEM, "free some memory", "no memory");
	}
	s->bdev = bdev;
	s->opts = *opts;
	s->untouched = opts->untouched;
	ret = super_state_new(s);
	if (ret)
		(void)store_open_fail(err, ret, "free some memory", "no memory");
	else
		ret = open_steps(s, err);
	s->opts.mountpoint = NULL; /* the caller's memory */
	if (ret) {
		drop(s, true);
		return ret;
	}
	*ret_store = s;
	return 0;
}

int store_begin(struct store *s)
{
	struct store_open_error err;
	int ret = mark(s, &err);

	if (!ret)
		s->untouched = false;
	return ret;
}

/* ---- closing -------------------------------------------------------------- */

static int close_all(struct store *s, uint64_t *ret_print)
{
	struct ext4_super_block sb;
	int ret, mark_ret = 0;

	icache_free(s->icache);
	s->icache = NULL;
	ret = journal_close(s->journal);
	s->journal = NULL;
	if (!ret && !(atomic_load(&s->error_state) & (STORE_ERR_ABORTED | STORE_ERR_FOREIGN)))
		mark_ret = super_mark_closed(s);
	if (!ret && !mark_ret && ret_print) {
		mark_ret = bdev_read(s->bdev, &sb, sizeof(sb), EXT4_SUPER_OFFSET);
		*ret_print = mark_ret ? 0 : print_of(&sb);
	}
	orphan_close(s);
	mmp_stop(s, true);
	free_all(s);
	return ret ? ret : mark_ret;
}

int store_close(struct store *s)
{
	return close_all(s, NULL);
}

int store_close_print(struct store *s, uint64_t *ret_print)
{
	return close_all(s, ret_print);
}

void store_destroy(struct store *s)
{
	drop(s, false);
}

int store_sync(struct store *s)
{
	if (!s->super->marked)
		return 0;
	return journal_sync(s->journal);
}
