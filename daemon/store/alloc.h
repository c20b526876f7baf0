/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocation: blocks (balloc.c), inodes (ialloc.c), groups' descriptors and
 * bitmaps (group.c).
 *
 * Blocks: the allocator searches a group's busy map, never the on-disk bitmap, so a
 * block freed by an uncommitted transaction or reserved by another inode cannot be
 * handed out. Reservations live in memory only: a crash leaves nothing behind.
 *
 * Placement: goal first (next to the previous block of the file), then the inode's
 * flex group, then other groups by free space; directories spread, files near
 * their directory (Orlov). One group lock at a time.
 *
 * A group whose bitmap fails its checksum or is impossible is left alone for
 * allocation (store_corrupt() reports it), the rest goes on.
 */
#ifndef KFS_STORE_ALLOC_H
#define KFS_STORE_ALLOC_H

#include "daemon/store/store.h"

struct inode;
struct resv;

/* group.c */
MUST_USE int groups_load(struct store *s, struct store_open_error *err);
void groups_free(struct store *s);
/* Pin the (initialised, verified) bitmap of group @g; caller holds the group lock exclusively. */
MUST_USE int group_block_bitmap(struct store *s, uint32_t g, struct buf **ret_buf);
MUST_USE int group_inode_bitmap(struct store *s, uint32_t g, struct buf **ret_buf);
/* Write the group's counters, flags and checksums back into its descriptor, in @h. */
MUST_USE int group_desc_write(struct store *s, struct handle *h, uint32_t g);
/* For the precommit hook and close: fold counters into the superblock buffer. */
MUST_USE int store_fold_counters(struct store *s, struct handle *h);

enum {
	ALLOC_META = 1u << 0,	     /* a metadata block: no reservation, near the inode */
	ALLOC_RESERVED_OK = 1u << 1, /* caller may use the root-reserved blocks */
	ALLOC_STREAM = 1u << 2,	     /* large sequential file: prefer a long run */
	ALLOC_EXACT = 1u << 3,	     /* only at the goal */
};

struct alloc_req {
	struct inode *inode; /* for placement and its reservation; locked exclusively */
	uint64_t goal;	     /* wished first pblk; 0 = none: near its inode */
	uint32_t lblk;	     /* logical block it is for (stream placement) */
	uint32_t count;	     /* wanted, >= 1 */
	uint32_t flags;	     /* ALLOC_* */
};

/*
 * Allocate one run of 1..count blocks; marks bitmap and descriptor in @h
 * (CREDITS_ALLOC). -ENOSPC when nothing is left for this caller.
 */
MUST_USE int balloc(struct handle *h, const struct alloc_req *req, uint64_t *ret_pblk,
		    uint32_t *ret_count);
enum { FREE_META = 1u << 0 }; /* the blocks were metadata: journal_forget() them */
/*
 * -ENOSPC came because blocks wait for a commit? Commits and says true: try again.
 * @tries starts at 0 and bounds the repetitions. No handle and no lock may be held.
 */
bool balloc_should_retry(struct store *s, uint32_t *tries);
/*
 * Free blocks; they become allocatable when @h's transaction has committed. May span
 * groups: costs CREDITS_ALLOC for each group touched (balloc_free_credits()).
 */
MUST_USE int balloc_free(struct handle *h, struct inode *inode, uint64_t pblk, uint64_t count,
			 uint32_t flags);
/*
 * Read and declare what balloc_free() of blocks in @pblk's group will change in @h, so
 * that it does not fail for that after their owner has let go of them.
 */
MUST_USE int balloc_free_prepare(struct handle *h, struct store *s, uint64_t pblk);
uint32_t balloc_free_credits(const struct store *s, uint64_t count);
/*
 * Somebody outside may still be reading blocks that are about to be freed: until the end, no block that is freed after
 * the beginning is given to anybody, however durable that is. For any thread, with any lock; @d is the caller's until
 * then.
 */
struct drain {
	struct list link; /* [drain lock] */
	uint64_t ticket;  /* [written once] */
};
void balloc_drain_begin(struct store *s, struct drain *d);
void balloc_drain_end(struct store *s, struct drain *d);
/* Undo of balloc() in the same handle before anyone saw the blocks: free at once. */
MUST_USE int balloc_undo(struct handle *h, struct store *s, uint64_t pblk, uint32_t count);
/* Drop @inode's reservation (last forget, truncate). Caller holds its lock exclusively. */
void balloc_release_resv(struct inode *inode);
/* Where a file without neighbours goes; later blocks are asked for next to their neighbours. */
uint64_t balloc_goal(const struct inode *inode);
/* FITRIM over [start, start+len) bytes, runs >= minlen; returns bytes discarded. */
MUST_USE int balloc_trim(struct store *s, uint64_t start, uint64_t len, uint64_t minlen,
			 uint64_t *ret_trimmed);
/* May this caller (uid, gid, root) use reserved blocks? And is there room for @count? */
bool balloc_may_use_reserved(const struct store *s, uint32_t uid, uint32_t gid, bool capable);

/* ialloc.c */
MUST_USE int ialloc(struct handle *h, struct inode *dir, bool is_dir, uint32_t *ret_ino);
MUST_USE int ialloc_free(struct handle *h, struct store *s, uint32_t ino, bool is_dir);
/* As balloc_free_prepare(), for the number that ialloc_free() will give back. */
MUST_USE int ialloc_free_prepare(struct handle *h, struct store *s, uint32_t ino);
/* Is the number marked used in its bitmap (NFS handles, lookup of corrupt names)? */
MUST_USE int ialloc_in_use(struct store *s, uint32_t ino, bool *ret_used);

/* orphan.c: the orphan list in the superblock or the orphan file. */
MUST_USE int orphan_add(struct handle *h, struct inode *inode);
MUST_USE int orphan_del(struct handle *h, struct inode *inode);
MUST_USE int orphan_open(struct store *s, struct store_open_error *err);
void orphan_close(struct store *s);
/* Does the orphan file name any inode? */
bool orphan_file_in_use(struct store *s);

/* mmp.c: multiple mount protection. Checks, claims (may wait seconds), refreshes from its own thread, releases. */
MUST_USE int mmp_start(struct store *s, struct store_open_error *err);
/* @release: the block says "clean" afterwards, else as after a crash. */
void mmp_stop(struct store *s, bool release);

#endif
