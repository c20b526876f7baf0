/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store: one ext4 image, opened. Geometry, features, groups, counters, and
 * the handles on cache and journal that every part below shares. On-disk format:
 * Linux Documentation/filesystems/ext4; structures in include/kfs/ext4_format.h.
 *
 * Call sequence: store_open() validates the superblock and every descriptor,
 * replays the journal, opens it, reads or repairs the orphan list later with
 * store_orphan_cleanup(). store_close() leaves a clean image. store_destroy()
 * drops it as a crash would.
 *
 * Changing functions take a journal handle, which the caller opens with the
 * credits named by the CREDITS_* constants. All numbers from disk are checked
 * before use; corruption is reported through store_corrupt(), which logs once per
 * place, marks the superblock EXT4_ERROR_FS and applies errors=.
 */
#ifndef KFS_STORE_STORE_H
#define KFS_STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/lock.h"
#include "daemon/base/util.h"
#include "daemon/block/bdev.h"
#include "daemon/block/cache.h"
#include "daemon/journal/journal.h"
#include "include/kfs/ext4_format.h"

struct alloc_state;
struct icache;
struct inode;
struct mmp;
struct orphan_state;
struct xattr_cache;
struct pending_free;
struct super_state;
struct zones;

enum errors_policy { ERRORS_DEFAULT, ERRORS_CONTINUE, ERRORS_REMOUNT_RO, ERRORS_PANIC };

struct store_opts {
	bool readonly;
	bool norecovery; /* noload: do not replay; implies readonly */
	bool discard;	 /* give freed blocks back to the image */
	bool no_barrier;
	bool nouser_xattr, noacl;
	/*
	 * For who may have to give it back as it was: nothing is written before store_begin(). Only
	 * images that were closed, have a journal and can be written: else -EBUSY, -EOPNOTSUPP, -EROFS.
	 */
	bool untouched;
	enum errors_policy errors;
	const char *
		mountpoint; /* recorded in s_last_mounted when not NULL; read by store_open() only */
	uint32_t commit_interval_ms; /* 0 = 5000 */
	uint32_t cache_mb;	     /* metadata buffers; 0 = default */
	uint64_t inodes_cached_max;  /* 0 = default */
	uint32_t bufs_max;	     /* tests: tiny cache; 0 = from cache_mb */
	/*
	 * errors=panic: end everything now. Called by whoever met the error, under whatever locks it
	 * holds, after the error was noted on the medium; it may return only if the store is to be
	 * read-only instead. NULL = that.
	 */
	void (*panic)(void *arg);
	void *panic_arg;
};

/*
 * One block group. Atomic counters change under the group lock only; they are read
 * without it where an old value merely costs a detour (choosing a group).
 */
struct group {
	struct rwlock lock; /* LOCK_GROUP: bitmaps, descriptor, busy map, counters below */
	_Atomic uint32_t blocks_free; /* [group lock] as in the descriptor */
	_Atomic uint32_t inodes_free; /* [group lock] */
	_Atomic uint32_t dirs_used;   /* [group lock] */
	uint32_t itable_unused;	      /* [group lock] */
	uint32_t inode_hint;	      /* [group lock] no free inode's bit lies below it */
	uint16_t flags;		      /* [group lock] EXT4_BG_* */
	_Atomic bool corrupt_blocks,
		corrupt_inodes; /* [group lock] bitmap unusable: nothing allocated here */
	uint64_t block_bitmap, inode_bitmap, inode_table; /* [written once] pblks */
	/*
	 * [group lock] Blocks nobody may allocate now: allocated on disk, or freed by a
	 * transaction that has not committed, or reserved by an inode. NULL until first
	 * needed. blocks_avail counts its zero bits (blocks_free while it is NULL).
	 */
	uint64_t *busy;
	_Atomic uint32_t blocks_avail;
	_Atomic uint32_t run_hint;    /* [group lock] upper bound of the longest zero run in busy */
	_Atomic uint32_t resv_blocks; /* [group lock] busy because an inode reserved them */
	struct list resvs;	      /* [group lock] those reservations */
	struct pending_free *pending; /* [group lock] the newest transaction's frees here */
};

/* A run of blocks: fixed metadata, pieces of the journal. */
struct block_run {
	uint64_t pblk, count;
	uint32_t lblk; /* of the journal: which of its blocks comes first */
};

struct store {
	struct bdev *bdev;	 /* [written once] owned */
	struct cache *cache;	 /* [written once] owned */
	struct journal *journal; /* [written once] owned; never NULL after open (no-log mode too) */
	struct icache *icache;	 /* [written once] owned */
	struct orphan_state *orphans;	 /* [written once] owned by orphan.c */
	struct xattr_cache *xattr_cache; /* [written once] owned: xattr blocks to share */
	struct super_state
		*super;	     /* [written once] owned by super.c: errors met, mount-time values */
	struct mmp *mmp;     /* [written once] owned by mmp.c, NULL without the feature */
	struct zones *zones; /* [written once] owned by zones.c: where fixed metadata lies */
	struct alloc_state *alloc; /* [written once] owned by balloc.c */
	struct store_opts opts;	   /* [written once] as effective (errors=, readonly forced) */

	/* Geometry and features, decoded [written once]. */
	uint32_t block_size, block_bits;
	uint64_t blocks_count, overhead_blocks;
	uint64_t resv_blocks; /* kept back for metadata when data fills the rest, as ext4 does: 2 %, <= 4096 */
	uint32_t first_data_block;
	uint32_t blocks_per_group, inodes_per_group, inodes_count, first_ino;
	uint32_t inode_size, desc_size, desc_per_block, group_count, inodes_per_block;
	uint32_t cluster_bits; /* log2(blocks per bit of a block bitmap): 0 without bigalloc */
	uint32_t gdt_blocks, reserved_gdt_blocks, first_meta_bg, backup_bgs[2];
	uint32_t itable_blocks; /* blocks of one group's inode table */
	uint32_t flex_size;	/* groups per flex group, 1 without flex_bg */
	uint32_t want_extra_isize;
	_Atomic uint32_t feature_compat, feature_incompat,
		feature_ro_compat; /* bits are only ever added */
	uint32_t csum_seed;
	uint32_t hash_seed[4];
	uint8_t hash_version_default; /* DX_HASH_*, before the unsigned adjustment */
	bool hash_unsigned;
	bool has_csum, has_gdt_csum; /* metadata_csum; uninit_bg without it */
	bool is_hurd;	  /* made by the Hurd: where i_version lies it keeps a block number */
	_Atomic bool dax; /* [atomic] guests may map files: fs tells which are worth it */
	uint8_t uuid[16];
	char label[17];
	uint64_t reserved_blocks; /* s_r_blocks_count */
	uint32_t resuid, resgid;
	uint32_t journal_ino, orphan_file_ino;
	uint32_t quota_inos[3]; /* of users, groups, projects; 0 = none */
	uint64_t mmp_block;
	uint32_t mmp_update_interval;	/* seconds */
	struct block_run *journal_runs; /* [written once] the log's blocks in order */
	uint32_t journal_run_count, journal_blocks;
	/* [written once] The superblock as it was found; as the one who closed it left it. */
	uint64_t print;
	bool untouched; /* [its opener] store_begin() is to come */
	int log_errno;	/* [written once] why the journal was aborted last time, 0 = it was not */

	struct buf *sb_buf;	/* pinned for life; contents guarded by sb_buf->lock */
	uint32_t sb_off;	/* byte offset of the superblock in sb_buf */
	struct group *groups;	/* group_count of them */
	struct buf **desc_bufs; /* pinned: block i holds descriptors i * desc_per_block ... */

	_Atomic int64_t blocks_free; /* [atomic] as statfs sees it (on-disk free) */
	_Atomic int64_t inodes_free; /* [atomic] */
	_Atomic bool readonly; /* [atomic] EROFS for every change (option, ro_compat, abort) */
	_Atomic uint32_t error_state; /* [atomic] STORE_ERR_* */
	const char *readonly_why;     /* [written once before set] for status and messages */

	/* Statistics [atomic]. */
	_Atomic uint64_t allocs, alloc_blocks, frees, free_blocks, corruptions, groups_scanned;
};

static inline bool store_has_compat(const struct store *s, uint32_t f)
{
	return s->feature_compat & f;
}

static inline bool store_has_incompat(const struct store *s, uint32_t f)
{
	return s->feature_incompat & f;
}

static inline bool store_has_ro_compat(const struct store *s, uint32_t f)
{
	return s->feature_ro_compat & f;
}

struct store_open_error {
	char what[256];	  /* the thing and why: "superblock: checksum 0x.. but .. expected" */
	char remedy[256]; /* what the user can do: "run e2fsck -b 32768 IMAGE" */
};

/*
 * Takes @bdev (closed on failure too). -EUCLEAN/-EBADMSG corrupt, -EOPNOTSUPP
 * unknown or unwritable feature, -EROFS needs replay but cannot be written, ...;
 * @err is always filled on failure.
 */
MUST_USE int store_open(struct bdev *bdev, const struct store_opts *opts, struct store **ret_store,
			struct store_open_error *err);
/* Delete or truncate what a crash left on the orphan list or file. Call once after open when writable. */
MUST_USE int store_orphan_cleanup(struct store *s, uint32_t *ret_cleaned);
/*
 * Between opening it untouched and store_begin(): @keep is asked about each file without a name that is
 * an orphan, with a reference of the caller's and no lock; those for which it says yes stay when the
 * others are cleaned up, until they are deleted by inode_delete(). Nothing is written. Once.
 */
typedef bool (*store_keep_fn)(void *arg, struct inode *i);
MUST_USE int store_orphan_claim(struct store *s, store_keep_fn keep, void *arg);
/* Mark it as in use, on the medium; store_orphan_cleanup() is to follow. */
MUST_USE int store_begin(struct store *s);
MUST_USE int store_close(struct store *s);
/* The same; @ret_print: what tells this image, closed now, from any that was opened for writing since. */
MUST_USE int store_close_print(struct store *s, uint64_t *ret_print);
void store_destroy(struct store *s);
/* Everything so far is durable. */
MUST_USE int store_sync(struct store *s);
/*
 * Freeze: everything is home and the superblock says clean, so that a copy of the
 * image mounts without replay. The caller keeps handles away until store_thaw().
 */
MUST_USE int store_freeze(struct store *s);
MUST_USE int store_thaw(struct store *s);

/* Bits of store.error_state. */
enum {
	STORE_ERR_CORRUPT = 1u << 0, /* corruption was met: EXT4_ERROR_FS is or will be set */
	STORE_ERR_ABORTED = 1u << 1, /* the journal is aborted */
	STORE_ERR_FOREIGN = 1u << 2, /* another program mounted or repaired the image meanwhile */
	STORE_ERR_PANIC = 1u << 3,   /* errors=panic: stop serving */
};

struct store_statfs {
	uint64_t blocks, blocks_free, blocks_avail, files, files_free;
	uint32_t block_size, name_max;
};
void store_statfs(struct store *s, struct store_statfs *ret_st);

/*
 * Corruption met at block @pblk (0 = none) of inode @ino (0 = none): logs once
 * per (ino, pblk, what), records it in the superblock, applies errors=. Returns
 * -EUCLEAN so that callers can `return store_corrupt(...)`.
 */
int store_corrupt(struct store *s, uint32_t ino, uint64_t pblk, const char *what);

/* Superblock contents; the caller holds a handle with one credit for it. */
struct ext4_super_block *store_sb(struct store *s);
/* Under sb_buf->lock: get_write, let the caller change, recompute checksum, dirty. */
MUST_USE int store_sb_begin(struct store *s, struct handle *h);
void store_sb_end(struct store *s, struct handle *h);

/* A feature that appears with first use (large_file, ext_attr, dir_nlink...): sets the bit in a handle. */
MUST_USE int store_set_feature(struct store *s, struct handle *h, uint32_t compat,
			       uint32_t incompat, uint32_t ro_compat);

/* Names of features for messages and status: writes "has_journal,extent,..." */
void store_feature_names(uint32_t compat, uint32_t incompat, uint32_t ro_compat, char *buf,
			 size_t len);

static inline uint32_t store_group_of(const struct store *s, uint64_t pblk)
{
	return (uint32_t)((pblk - s->first_data_block) / s->blocks_per_group);
}

static inline uint64_t store_group_first(const struct store *s, uint32_t g)
{
	return s->first_data_block + (uint64_t)g * s->blocks_per_group;
}

/* May @count blocks from @pblk hold data or metadata of an inode (in the image, not in group metadata's fixed places)? */
bool store_pblk_valid(const struct store *s, uint64_t pblk, uint64_t count);

/*
 * Credits: the buffers an operation may change, each derived.
 *   MAP:   one extent insertion: depth (5) splits, each a new block and its
 *	    parent: 2 * 5 + 1; a group's bitmap + descriptor for each of those
 *	    blocks and for the data: counted per allocation, 2 each.
 *   INODE: the inode's table block.
 *   DIR:   a name added: leaf, new leaf, root, 3 index levels with a split each,
 *	    plus MAP for the appended block(s), plus the directory's inode.
 *   XATTR: old block, new block, their bitmaps and descriptors, ea_inode pieces.
 */
#define CREDITS_INODE 1
#define CREDITS_SB 1
#define CREDITS_ALLOC 2
#define CREDITS_MAP (11 + 6 * CREDITS_ALLOC + CREDITS_INODE)
#define CREDITS_DIR_ADD (2 + 2 * 4 + 2 * CREDITS_MAP)
#define CREDITS_DIR_DEL (2 + CREDITS_INODE)
#define CREDITS_XATTR (2 + 4 + CREDITS_INODE + CREDITS_SB + CREDITS_MAP)
#define CREDITS_NEW_INODE                                                                          \
	(4 + CREDITS_INODE) /* bitmap, descriptor, table block, block bitmap init */
#define CREDITS_ORPHAN (1 + 2 * CREDITS_INODE + CREDITS_SB)

#endif
