/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inodes in memory and on disk.
 *
 * icache: at most one struct inode per number. inode_get() finds or reads it and
 * counts a reference; inode_put() drops it. An unreferenced inode stays cached
 * until room is needed. An inode with links == 0 is not evicted while a session
 * still knows it (INODE_UNLINKED: fs owns a reference until the last forget).
 *
 * All changes are made to the decoded fields under the inode's write lock inside
 * a handle, then written with inode_write() (inode table buffer + checksum) before
 * the handle stops. A field changed without inode_write() is lost at eviction, so
 * eviction never happens while references exist.
 *
 * Size budget: sizeof(struct inode) <= 272, so that a million fit in 300 MiB with
 * their index and the sessions' tables.
 */
#ifndef KFS_STORE_INODE_H
#define KFS_STORE_INODE_H

#include "daemon/store/store.h"

struct resv; /* balloc.h: blocks reserved for the next writes */
struct xattr_cred;

enum {
	INODE_UNLINKED = 1u << 0, /* links == 0, on the orphan list, still known to a session */
	INODE_ORPHAN = 1u << 1,	  /* on the orphan list or in the orphan file */
	INODE_BAD = 1u << 2,	  /* failed validation: every use is -EUCLEAN */
	INODE_VERIFIED_DIR = 1u << 3,
	INODE_NOACL = 1u << 4,	      /* known to have no ACL xattrs (negative cache) */
	INODE_NOCAP = 1u << 5,	      /* known to have no security.capability */
	INODE_NOXATTR = 1u << 6,      /* known to have no xattrs at all */
	INODE_DAX = 1u << 7,	      /* mapped into a guest's window */
	INODE_VERIFIED_MAP = 1u << 8, /* i_block's extent root or block map was validated */
	INODE_NEW = 1u << 9,	      /* never written: the table holds a former inode's bytes */
	INODE_SPECIAL = 1u << 10,     /* reserved number or EA inode: inode_get() refuses it */
	INODE_FREED = 1u << 11,	      /* the number was given back: only inode_put() is allowed */
	INODE_LOADING = 1u << 12,     /* [icache shard lock] being read; icache.c's */
	INODE_LINKABLE = 1u << 13,    /* made without a name (O_TMPFILE): may still be given one */
};

struct inode {
	struct inode *hash_next; /* [icache shard lock] */
	struct list lru;	 /* [icache shard lock] */
	struct store *store;	 /* [written once] */
	struct resv *resv;	 /* [lock, exclusive] balloc.h */
	struct rwlock lock;	 /* LOCK_INODE: all below unless marked */
	uint32_t ino;		 /* [written once] */
	uint32_t generation;	 /* [written at allocation] */
	_Atomic uint32_t refs;	 /* [atomic] */
	_Atomic uint32_t state;	 /* [atomic] INODE_* */
	uint32_t flags;		 /* EXT4_*_FL */
	uint16_t mode;
	uint16_t extra_isize;
	uint32_t uid, gid, projid;
	uint32_t links;	     /* real count; dir_nlink's 1 means "many" */
	uint32_t rdev;	     /* Linux new_encode_dev() form */
	uint32_t orphan_pos; /* orphan file: slot + 1; 0 = on the list; orphan.c's */
	uint64_t size;
	uint64_t blocks;   /* in 512-byte units, all metadata blocks included */
	uint64_t file_acl; /* pblk of the xattr block, 0 = none */
	int64_t atime_s, mtime_s, ctime_s, crtime_s;
	uint32_t atime_ns, mtime_ns, ctime_ns, crtime_ns;
	uint8_t i_block[60];   /* raw: extent root, block map, fast symlink, device, inline data */
	uint32_t sync_tid;     /* last transaction that changed the inode at all */
	uint32_t datasync_tid; /* last one that fdatasync must wait for (size, mapping) */
	_Atomic uint64_t
		version;   /* [atomic] bumped under lock before a change is visible; i_version */
	uint32_t dir_hint; /* directories: last group/leaf used */
	uint32_t links_parent; /* directories: ino of "..", 0 = unknown */
};

static inline bool inode_is_dir(const struct inode *i)
{
	return (i->mode & 0170000) == 0040000;
}

static inline bool inode_is_reg(const struct inode *i)
{
	return (i->mode & 0170000) == 0100000;
}

static inline bool inode_is_symlink(const struct inode *i)
{
	return (i->mode & 0170000) == 0120000;
}

MUST_USE int icache_new(struct store *s, uint64_t inodes_max, struct icache **ret_icache);
void icache_free(struct icache *ic);

struct icache_stats {
	uint64_t hits, misses, evictions, inodes, inodes_max;
};
void icache_get_stats(struct icache *ic, struct icache_stats *ret_stats);

/*
 * A reference to inode @ino. -ESTALE: not in use (links 0 and mode 0, deleted) or
 * reserved; -EUCLEAN/-EBADMSG corrupt. Special inodes (journal, resize..., EA
 * inodes) only with inode_get_special(), which also finds inodes whose links are 0
 * (orphans) as long as they have a mode. Allowed with locks and handles held.
 */
MUST_USE int inode_get(struct store *s, uint32_t ino, struct inode **ret_inode);
/* The same, and -ESTALE unless the generation is @generation. */
MUST_USE int inode_get_gen(struct store *s, uint32_t ino, uint32_t generation,
			   struct inode **ret_inode);
MUST_USE int inode_get_special(struct store *s, uint32_t ino, struct inode **ret_inode);
/* A reference only if it is in memory; else NULL. */
struct inode *inode_find(struct store *s, uint32_t ino);
void inode_ref(struct inode *i);
void inode_put(struct inode *i);

/*
 * A fresh struct inode for a number just allocated by ialloc (locked exclusively,
 * one reference, zeroed, in the cache). Used by inode_create().
 */
MUST_USE int icache_insert_new(struct store *s, uint32_t ino, struct inode **ret_inode);
/* The number was freed: later inode_get() must read the disk again. Caller holds the lock. */
void icache_remove(struct inode *i);

/* Encode into the inode table inside @h; caller holds the lock exclusively. Sets sync_tid. */
MUST_USE int inode_write(struct handle *h, struct inode *i);
/* The same, for changes that fdatasync must make durable (size, mapping). Sets both tids. */
MUST_USE int inode_write_data(struct handle *h, struct inode *i);
/* Read and declare what those two change, so that they fail now rather than later in @h. */
MUST_USE int inode_write_prepare(struct handle *h, const struct inode *i);
/*
 * In-inode xattr space: copy it out / replace it (caller holds the lock; xattr.c).
 * @buf holds inode_size - 128 - extra_isize bytes. ret_len 0 when the inode has none.
 */
uint32_t inode_ibody_space(const struct inode *i);
MUST_USE int inode_ibody_read(struct inode *i, void *buf, uint32_t len);
MUST_USE int inode_ibody_write(struct handle *h, struct inode *i, const void *buf, uint32_t len);

/* crc seed of a per-inode checksum (csum_seed + ino + generation). */
uint32_t inode_csum_seed(const struct inode *i);

/* Largest size the mapping kind allows (extents: 2^32 blocks - 1, indirect: as ext4). */
uint64_t inode_size_max(const struct inode *i);

/* @i->blocks += n filesystem blocks (negative frees). */
void inode_add_blocks(struct inode *i, int64_t n);

struct inode_init {
	uint16_t mode;
	uint32_t uid, gid, projid, rdev;
	uint32_t flags_inherit; /* parent's EXT4_*_FL */
	int64_t now_s;
	uint32_t now_ns;
};
/*
 * Allocate (ialloc) and set up a new inode near @dir: generation, times, extent
 * header or inline data as the features want it. links is 0, nothing written:
 * the caller finishes it, inode_write()s it and unlocks. Returned locked
 * exclusively with one reference. -ENOSPC, -EDQUOT never.
 */
MUST_USE int inode_create(struct handle *h, struct inode *dir, const struct inode_init *init,
			  struct inode **ret_inode);
/*
 * links == 0 and nobody uses it: free blocks, xattrs, then the number. Runs in its
 * own handles (restarts). The inode is on the orphan list (caller put it there) so a
 * crash in between is finished by recovery. Caller holds the lock exclusively and
 * the last reference; it drops the lock and the reference.
 */
MUST_USE int inode_delete(struct inode *i);
/*
 * The same, but lock and reference stay the caller's. After an error some of it may be
 * done; it may be called again. What is not deleted in the end is still an orphan,
 * unless just its number could not be given back.
 */
MUST_USE int inode_delete_try(struct inode *i);
/*
 * Its last step, for EA inodes, too: inside @h the slot says deleted, the object leaves
 * the cache, then the number is free. In that order: whoever looks in between finds
 * nothing. Caller holds the lock exclusively. CREDITS_INODE + CREDITS_ALLOC.
 */
MUST_USE int inode_release_number(struct handle *h, struct inode *i);

#endif
