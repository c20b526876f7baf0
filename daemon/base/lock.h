/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ranked locks. Small (8 bytes) futex mutexes and reader-writer locks, because
 * a million cached inodes each carry one.
 *
 * Ranks, outermost first. Taking a lower or equal rank while holding a higher
 * one aborts in debug builds (-DKFS_LOCK_DEBUG, set by DEV=1 and SAN=), except
 * LOCK_INODE, which may nest: parent before child, unrelated ones by ascending
 * inode number under LOCK_RENAME.
 *
 * Readers do not starve writers: a waiting writer stops new readers. Hence a
 * thread must not take a read lock recursively. No lock may be held across a
 * reply, a notification, or a wait for a commit.
 */
#ifndef KFS_BASE_LOCK_H
#define KFS_BASE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum lock_rank {
	LOCK_NONE = 0,
	LOCK_CTL,	  /* control clients: outermost, they call into everything */
	LOCK_SESSION,	  /* a session's life (init, destroy); never held while serving */
	LOCK_RENAME,	  /* directory topology: one cross-directory rename at a time */
	LOCK_INODE,	  /* struct inode: contents, attributes, its directory's entries */
	LOCK_HANDLE,	  /* pseudo-rank of an open journal handle; commit takes no inode lock */
	LOCK_ORPHAN,	  /* the orphan list's head in the superblock */
	LOCK_XATTR_CACHE, /* sharing of xattr blocks, before the buffer it picks */
	LOCK_GROUP,	  /* one block group: bitmaps, descriptor, busy map */
	LOCK_BUF,	  /* contents of a buffer shared by several inodes */
	LOCK_NODES,	  /* a session's table of handed-out nodeids */
	LOCK_ICACHE,	  /* a shard of the inode cache */
	LOCK_FILELOCKS,	  /* POSIX and flock tables */
	LOCK_JOURNAL,	  /* journal state: transactions, tail */
	LOCK_VIEW,	  /* a shard of a view's saved blocks; looks into the cache */
	LOCK_CACHE,	  /* a shard of the buffer cache */
	LOCK_INFLIGHT,	  /* a shard of a session's requests; who answers early takes a leaf */
	LOCK_LEAF,	  /* takes nothing below it: logs, statistics, queues */
};

struct mutex {
	_Atomic uint32_t state; /* 0 free, 1 held, 2 held with waiters */
	uint32_t rank;
};

struct rwlock {
	_Atomic uint32_t state;
	uint32_t rank;
};

void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_lock(struct mutex *m);
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);

void rwlock_init(struct rwlock *l, enum lock_rank rank);
void rwlock_read(struct rwlock *l);
void rwlock_write(struct rwlock *l);
bool rwlock_trywrite(struct rwlock *l);
void rwlock_unread(struct rwlock *l);
void rwlock_unwrite(struct rwlock *l);
/* True when somebody holds it; for assertions, which cannot tell who. */
bool rwlock_is_write_locked(const struct rwlock *l);
bool rwlock_is_locked(const struct rwlock *l);

/* A condition: wait with @m held; spurious wakeups happen, callers loop. */
struct cond {
	_Atomic uint32_t seq;
};

void cond_init(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m);
/* False on time-out. @deadline is CLOCK_MONOTONIC, absolute. */
bool cond_wait_until(struct cond *c, struct mutex *m, const struct timespec *deadline);
void cond_wake_all(struct cond *c);
void cond_wake_one(struct cond *c);

/* Note the pseudo-rank LOCK_HANDLE; journal_start() and journal_stop() call these. */
void lock_rank_push(enum lock_rank rank);
void lock_rank_pop(enum lock_rank rank);
/* Aborts in debug builds when this thread holds any lock or handle (before a wait or a reply). */
void lock_assert_none_held(void);

#endif
