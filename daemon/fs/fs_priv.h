/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of fs share.
 *
 * Shape of an operation: fs_begin() (a change only: refuses on a read-only store,
 * passes the gate that freezing closes), node_get() of the nodeids, inode locks,
 * journal_start(), the change, inode_write(), journal_stop(), publish, unlock, put,
 * fs_end().
 *
 * Inode locks. Lookup, getattr, listing and reading hold one shared lock at a
 * time. Changes hold a directory exclusively and then what its name names:
 * (1) A thread that holds any inode lock waits for a directory's lock only as the
 *     second directory of a rename, under the rename lock: ancestor first, else by
 *     inode number. A directory that is locked as a child is tried, never waited
 *     for; when it is taken, everything is let go and the operation starts over.
 * (2) Non-directories come after all directories, among themselves by inode number.
 * So no image, however its directories are wired, can make two threads wait for
 * each other.
 *
 * Counts: a nodeid's count in a session is raised while holding the inode's lock, so
 * whoever holds it exclusively and finds links == 0 and no count may delete it:
 * (3) INODE_UNLINKED is set (with one reference) before the counts are looked at,
 *     and a forget looks at the flag after lowering: one of the two sees the other.
 *
 * An inode that was deleted while somebody waited for its lock has mode 0 or
 * links 0 without INODE_UNLINKED; inode_alive() is asked after every locking.
 */
#ifndef KFS_FS_FS_PRIV_H
#define KFS_FS_FS_PRIV_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "daemon/base/list.h"
#include "daemon/base/lock.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "daemon/store/dir.h"
#include "daemon/store/inode.h"
#include "daemon/store/store.h"

#define FS_ROOT_NODEID 1
#define FS_SESSIONS_MAX 256
#define NODE_SHARDS 16
#define GATE_SHARDS 16
#define LOCK_SHARDS 64
#define LOCK_BUCKETS 64
#define LOCKS_MAX (1u << 20)	     /* of all sessions */
#define LOCKS_SESSION_MAX (1u << 18) /* of one: a hostile guest leaves room for the others */
#define WAITERS_MAX 65536
#define WAITERS_SESSION_MAX 8192 /* of one that is confined */
#define REAP_INLINE_BLOCKS 1024	 /* larger files are deleted by the reaper */
/* Deletions that failed and are tried again; more than these wait for the next mount. */
#define REAP_FAILED_MAX 1024
#define RETRIES_MAX 64 /* of an operation whose names changed under it */
/* When a name's inode dies between two locks, the name has changed: look again. */
#define LOOKUP_RETRIES_MAX 8
#define COPY_CHUNK (1u << 20)
#define COPY_MAX (64u << 20) /* one copy_file_range: the worker is free again soon */

/*
 * Nobody's number: the kernel takes it for an owner it does not know, and keeps even the host's root
 * out of what belongs to it. A guest may send it.
 */
#define OWNER_NONE UINT32_MAX

struct node_shard {
	struct mutex lock;    /* LOCK_NODES */
	uint64_t *ids;	      /* [lock] 0 = free slot */
	uint32_t *counts;     /* [lock] UINT32_MAX sticks until the session closes */
	uint32_t slots, used; /* [lock] */
} __attribute__((aligned(64)));

struct fs_session {
	struct fs *fs;				    /* [written once] */
	char name[64];				    /* [written before use] */
	bool writeback, shared, confined, readonly; /* [written before use] */
	bool recovered;				    /* [written before use] */
	bool keeps_deleted;			    /* [its owner] closing deletes nothing */
	uint64_t root_nodeid; /* [written before use] fs-wide nodeid of what the session calls 1 */
	uint64_t nodes_max;   /* [written before use] 0 = none */
	_Atomic uint64_t saved; /* [atomic] */
	_Atomic bool open;	/* [atomic] the struct is kept for the next session after closing */
	_Atomic uint64_t nodes; /* [atomic] entries of all shards */
	_Atomic uint32_t locks, waiters; /* [atomic] */
	uint32_t locks_max;		 /* [written before use] */
	struct node_shard shards[NODE_SHARDS];
};

struct gate_shard {
	_Atomic uint32_t inside; /* [atomic] */
} __attribute__((aligned(64)));

struct gate {
	_Atomic bool closed; /* [atomic] */
	struct mutex lock;   /* LOCK_LEAF: waiting for either side */
	struct cond changed;
	struct gate_shard shards[GATE_SHARDS];
};

struct reap_item;
struct reaper {
	struct mutex lock; /* LOCK_LEAF */
	struct cond work, idle;
	struct reap_item *head, **tail; /* [lock] */
	/* In the struct, because memory may be what was missing. [lock] each a reference */
	struct inode *failed[REAP_FAILED_MAX];
	uint32_t failed_count;		/* [lock] */
	uint64_t retry_at_ns, retry_ms; /* [lock] CLOCK_MONOTONIC; what was waited last */
	bool busy, stop, discard;	/* [lock] */
	bool started;			/* [written once] */
	pthread_t thread;
};

struct lock_shard {
	struct mutex lock;		 /* LOCK_FILELOCKS */
	struct list files[LOCK_BUCKETS]; /* [lock] struct lock_file */
} __attribute__((aligned(64)));

struct lock_table {
	struct lock_shard shards[LOCK_SHARDS];
	struct mutex graph_lock;	 /* LOCK_LEAF: who waits for whom, over all files */
	struct list graph;		 /* [graph_lock] parked waiters */
	uint64_t graph_epoch;		 /* [graph_lock] marks of one search */
	_Atomic uint64_t locks, waiters; /* [atomic] */
};

/* turns.c: threads that come with pieces of the same file go in the order of the pieces */

#define TURN_QUEUES 64
/* So many may go before one that came earlier. */
#define TURN_OVERTAKEN_MAX 64

struct turn_queue {
	struct mutex lock;   /* LOCK_LEAF */
	struct list waiting; /* [lock] struct turn; of each file, in the order of their turns */
	uint32_t in_vain;    /* [lock] how often in sequence nobody came who was let go first */
};

/* dax.c: files that guests have mapped */

#define DAX_BUCKETS 256

struct dax_file;
struct dax_table {
	struct mutex lock;		/* LOCK_LEAF */
	struct list files[DAX_BUCKETS]; /* [lock] struct dax_file */
	_Atomic uint64_t count,
		ranges; /* [atomic] for statistics, and to know that there are none */
};

struct turns {
	struct turn_queue queues[TURN_QUEUES];
};

/* One thread's, from turn_take() to turn_pass(). */
struct turn {
	struct list link; /* [queue's lock] */
	struct cond come;
	uint32_t overtaken; /* [queue's lock] */
	bool preceded;	    /* [queue's lock] somebody else has passed on to this one */
	uint64_t nodeid, off;
};

void turns_init(struct turns *t);
/* Returns when it is this thread's turn for the file @nodeid. Nothing held. */
void turn_take(struct turns *t, struct turn *turn, uint64_t nodeid, uint64_t off);
/*
 * Somebody with an earlier piece may be on the way: lets it go first. True if one did, now
 * or since it became this thread's turn; false at @until (CLOCK_MONOTONIC), or at once
 * where nobody came the last times: holes are holes. It is this thread's turn again.
 */
bool turn_yield(struct turns *t, struct turn *turn, const struct timespec *until);
void turn_pass(struct turns *t, struct turn *turn);

/* mappers.c: files that a kernel may store into without a request */

#define MAPPER_SHARDS 16
#define MAPPER_BUCKETS 256

struct mapper_shard {
	struct mutex lock;		     /* LOCK_LEAF */
	struct list buckets[MAPPER_BUCKETS]; /* [lock] struct mapper */
} __attribute__((aligned(64)));

struct mappers {
	struct mapper_shard shards[MAPPER_SHARDS];
	_Atomic uint64_t files; /* [atomic] 0 is the usual and costs one load */
};

void mappers_init(struct mappers *t);
void mappers_fini(struct mappers *t);
/* @id is fs-wide. */
void mappers_forget(struct mappers *t, const struct fs_session *session, uint64_t id);
void mappers_drop_session(struct mappers *t, const struct fs_session *session);

struct fs {
	struct store *store;   /* [written once] owned */
	struct inval_bus *bus; /* [written once] */
	struct fs_opts opts;   /* [written once] */
	struct gate gate;
	struct mutex rename_lock;  /* LOCK_RENAME */
	struct mutex session_lock; /* LOCK_SESSION: opening and closing */
	_Atomic(struct fs_session *)
		sessions[FS_SESSIONS_MAX]; /* [atomic] filled from 0; never freed before fs */
	_Atomic uint64_t unlinked;	   /* [atomic] inodes with INODE_UNLINKED */
	_Atomic uint64_t frees_synced;	   /* [atomic] store->frees when last committed for room */
	struct reaper reaper;
	struct lock_table locks;
	struct turns writes; /* large ones from the kernel's page cache */
	struct mappers mappers;
	_Atomic(struct fs_drainer *) drainer; /* [atomic] */
	struct dax_table dax;
};

struct now {
	int64_t s;
	uint32_t ns;
};

/* mount.c: the gate, and room made by a commit */

/* Start of a change: -EROFS, -EINTR (aborted), or inside the gate until fs_end(). No lock held. */
MUST_USE int fs_begin(struct fs *fs, const struct fs_ctx *ctx);
void fs_end(struct fs *fs);
void gate_enter(struct gate *g);
bool gate_try_enter(struct gate *g);
void gate_leave(struct gate *g);
/*
 * An operation met -ENOSPC: true when blocks freed but not committed may have been the
 * reason, and now are available. No lock held, outside the gate.
 */
bool fs_make_room(struct fs *fs, unsigned int *tries);

/* session.c: nodeids and counts */

uint64_t inode_nodeid(const struct inode *i);
/* What @s calls @i on its wire. */
uint64_t session_nodeid(const struct fs_session *s, const struct inode *i);
/* The fs-wide nodeid; -ESTALE when a confined session was never handed it. */
MUST_USE int session_resolve(struct fs_session *s, uint64_t nodeid, uint64_t *ret_nodeid);
/* Handed out @count times. Its inode cannot go meanwhile, or need not be kept. */
MUST_USE int nodes_add(struct fs_session *s, uint64_t nodeid, uint32_t count);
/* state.c: @nodeid was handed out in a life before, if anything has it. No lock held. */
MUST_USE int node_recover(struct fs_session *s, uint64_t nodeid);
bool session_is_root(const struct fs_session *s, const struct inode *i);
/* Caller holds @i's lock. -ENOMEM, -ENFILE (nodes_max). */
MUST_USE int nodes_raise(struct fs_session *s, const struct inode *i);
/* For a count just raised whose reply will not be sent. No inode lock held. */
void nodes_unraise(struct fs *fs, struct fs_session *s, uint64_t nodeid);
bool nodes_known(struct fs *fs, uint64_t nodeid);
uint64_t nodes_total(struct fs *fs);
/* A session that is not @s is open. */
bool sessions_beside(struct fs *fs, const struct fs_session *s);
void sessions_free(struct fs *fs);

/* reap.c: inodes without links */

MUST_USE int reaper_start(struct fs *fs);
/* @discard: drop what waits instead of deleting it (a crash). */
void reaper_stop(struct fs *fs, bool discard);
void reaper_drain(struct fs *fs);
/* links became 0 and it is on the orphan list. Caller holds the lock exclusively. */
void inode_mark_unlinked(struct fs *fs, struct inode *i);
void inode_clear_unlinked(struct fs *fs, struct inode *i);
/*
 * Takes the caller's reference: deletes @i when it has no link and no session knows
 * it. No lock held; @inside: the caller passed the gate.
 */
void inode_reap(struct fs *fs, struct inode *i, bool inside);
void inode_reap_later(struct fs *fs, struct inode *i);
/*
 * inode_delete(), and when it fails for want of memory, room or a working device, again
 * later and once more when fs is closed. Caller holds the lock exclusively and passed the
 * gate; lock and reference are taken.
 */
void inode_delete_or_retry(struct fs *fs, struct inode *i);
/* A session's last count of @nodeid is gone. */
void node_forgotten(struct fs *fs, uint64_t nodeid);

/* node.c: inodes by nodeid, their times, links and events */

/* -EUCLEAN unusable, -ESTALE deleted while the caller waited. Caller holds the lock. */
MUST_USE int inode_alive(const struct inode *i);
MUST_USE int node_get(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		      struct inode **ret_inode);
/* With the lock held, alive. */
MUST_USE int node_get_read(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			   struct inode **ret_inode);
MUST_USE int node_get_write(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			    struct inode **ret_inode);
/* The same, and -ENOTDIR. */
MUST_USE int node_get_dir_read(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			       struct inode **ret_inode);
MUST_USE int node_get_dir_write(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
				struct inode **ret_inode);
void node_put_read(struct inode *i);
void node_put_write(struct inode *i);
/* The type bits of @i, which never change while it lives; 0 = deleted. No lock held. */
uint16_t inode_type(struct inode *i);
/* The inode that a name in @dir names; -EUCLEAN when it names none. Caller holds @dir's lock. */
MUST_USE int child_get(struct inode *dir, uint32_t ino, struct inode **ret_inode);
/* The same by its name: -ENOENT for nothing, -ENOTDIR, -ENOKEY. @ret_child is set on success only. */
MUST_USE int name_get(struct inode *dir, const struct dir_name *name, struct inode **ret_child);
/* The same for "..", which may name the root. */
MUST_USE int parent_get(struct inode *dir, uint32_t ino, struct inode **ret_inode);

/*
 * lookup.c: from @start upwards to the root, which directories are met? Stable only under
 * the rename lock. No inode lock held.
 */
MUST_USE int dir_climb(struct inode *start, const uint32_t stop[2], bool ret_met[2]);

MUST_USE int name_check(struct fs_name name);
bool name_is_dot(struct fs_name name);
bool name_is_dotdot(struct fs_name name);

enum { STAMP_ATIME = 1, STAMP_MTIME = 2, STAMP_CTIME = 4 };
/* The kernel's coarse clock, cut to what @i can store. */
struct now inode_now(const struct inode *i);
void inode_stamp(struct inode *i, unsigned int which);
/* @t cut to what @i can store. */
struct now inode_clamp_time(const struct inode *i, struct fs_time t);

/* Directory link counts: 1 means "many" where the image allows it. */
bool dir_links_full(const struct inode *dir);
void dir_links_inc(struct inode *dir);
void dir_links_dec(struct inode *dir);

void attr_fill(const struct inode *i, struct fs_attr *ret_attr);
/* Attributes and a raised count for a reply. Caller holds @i's lock (shared is enough). */
MUST_USE int entry_fill(struct fs *fs, const struct fs_ctx *ctx, struct inode *i,
			struct fs_entry *ret_entry);

/* Before a change becomes visible. Caller holds the lock exclusively. */
void inode_bump(struct inode *i);
void publish_inode(struct fs *fs, const struct fs_ctx *ctx, enum inval_kind kind,
		   const struct inode *i);
/* The attributes of @i, which is locked exclusively, have changed and are now what they are. */
void publish_changed(struct fs *fs, const struct fs_ctx *ctx, const struct inode *i);
/*
 * A batch of a listing of @dir is about to be published, then (ended) was: all names after cookie
 * @from up to @to, and the @last of the directory if so.
 */
struct list_part {
	uint64_t from, to;
	bool ended, last;
};
void publish_list(struct fs *fs, const struct fs_ctx *ctx, const struct inode *dir,
		  const struct list_part *part);
void publish_bytes(struct fs *fs, const struct fs_ctx *ctx, const struct inode *i, uint64_t off,
		   uint64_t len);
/* Bytes and attributes. */
void publish_data(struct fs *fs, const struct fs_ctx *ctx, const struct inode *i, uint64_t off,
		  uint64_t len);
/* @child: what the name meant or means; NULL = nothing. */
void publish_name(struct fs *fs, const struct fs_ctx *ctx, enum inval_kind kind,
		  const struct inode *dir, struct fs_name name, const struct inode *child);

/* Clear suid and sgid as the kernel does for a caller without CAP_FSETID. True when mode changed. */
bool mode_kill_suidgid(struct inode *i, const struct fs_ctx *ctx, bool chown);
/* Remove security.capability if there is one, in @h. Caller holds the lock exclusively. */
MUST_USE int inode_kill_cap(struct handle *h, struct inode *i, bool *ret_changed);
/*
 * Times, and privileges as by a write, after contents changed in handles of their own
 * (fallocate, copy). The protocol has no kill flag for these: who is not root kills.
 */
MUST_USE int inode_note_write(struct fs *fs, const struct fs_ctx *ctx, struct inode *i);
/* May @i have one? Caller holds the lock; remembers the answer. */
bool inode_has_cap(struct inode *i);

/* Reading touched @i: update atime if the options want it. No lock held; failure is not an error. */
void atime_touch(struct fs *fs, const struct fs_ctx *ctx, struct inode *i);
/* For how many seconds reading the file @i will not touch it; UINT64_MAX for ever. Caller holds the lock. */
uint64_t atime_rests_s(const struct fs *fs, const struct inode *i);

/* extents.c: where bytes of files lie, for kernels that read them by themselves */

/* [off, off + len) was read. Caller holds the lock. */
void extents_tell(struct fs *fs, const struct fs_ctx *ctx, struct inode *i, uint64_t off,
		  uint64_t len);
/*
 * Before blocks of @i are freed, moved or become unwritten. @kernel_holds_file: the request is one for which the kernel
 * that sent it keeps reads of the file out until it is answered. Caller holds the lock exclusively, no handle. -ENOMEM.
 */
MUST_USE int extents_take_back(struct fs *fs, const struct fs_ctx *ctx, struct inode *i,
			       bool kernel_holds_file);
/* Before @i is deleted, which others than the drainer's kernel may be the reason for. The same of locks and errors. */
MUST_USE int extents_let_go(struct fs *fs, struct inode *i);

/*
 * dax.c: @i may be mapped by guests, and then its blocks stay. Caller holds the lock exclusively, no handle. Each does
 * nothing special for a file that is not mapped.
 */
static inline bool dax_is_mapped(const struct inode *i)
{
	return unlikely(atomic_load(&i->state) & INODE_DAX);
}
/* -ENOSPC: the file may not grow to @size, because there is a mapping without room for it. */
MUST_USE int dax_may_grow(struct fs *fs, const struct inode *i, uint64_t size);
/* After a change: what lies between @old_size and the end now is as the mappings show it. */
MUST_USE int dax_settle(struct fs *fs, struct inode *i, uint64_t old_size);
/* inode_truncate(), and what the others of map.h do. */
MUST_USE int dax_truncate(struct fs *fs, struct inode *i, uint64_t size);
MUST_USE int dax_punch(struct fs *fs, struct inode *i, uint64_t off, uint64_t len);
MUST_USE int dax_zero_range(struct fs *fs, struct inode *i, uint64_t off, uint64_t len, bool keep);
MUST_USE int dax_preallocate(struct fs *fs, struct inode *i, uint64_t off, uint64_t len, bool keep,
			     uint32_t alloc_flags);
/* Large, and in few pieces. Caller holds the lock. */
bool dax_is_worth_it(const struct inode *i);
/* What guests write does not pass us: somebody asks for durability. */
void dax_note_writes(struct fs *fs);
void dax_init(struct fs *fs);

/* -EPERM for an immutable inode, or an append-only one. Caller holds the lock. */
MUST_USE int inode_check_fixed(const struct inode *i);

/* unlink.c, for rename: one link of @i less, orphaned at 0. Caller holds a handle and the lock. */
MUST_USE int inode_drop_link(struct fs *fs, struct handle *h, struct inode *i);
/* Undo of inode_drop_link() in the same handle; @links as before. */
void inode_restore_link(struct fs *fs, struct handle *h, struct inode *i, uint32_t links);

/* create.c: -EEXIST, or why @name cannot be added to @dir. Caller holds its lock exclusively. */
MUST_USE int dir_check_add(struct inode *dir, struct fs_name name, bool adds_dir);
/* For rename: a whiteout device in @dir. Returned locked, referenced, linked once. */
MUST_USE int whiteout_create(struct handle *h, const struct fs_ctx *ctx, struct inode *dir,
			     struct inode **ret_inode);
/* Undo of an inode made in @h: to the orphan list; then create_discard() after journal_stop(). */
void create_orphan(struct handle *h, struct inode *i);
void create_discard(struct fs *fs, struct inode *i);

/* sync.c */
MUST_USE int fs_sync_tid(struct fs *fs, uint32_t tid);
/* After a change in a directory with the S or D attribute: durable before the reply. */
MUST_USE int fs_dirsync(struct fs *fs, bool wanted, uint32_t tid, int error);

/* lock.c */
void locks_init(struct lock_table *t);
void locks_drop_session(struct fs *fs, struct fs_session *s);
/* At most @max of its locks; their number. */
uint32_t locks_list(struct fs *fs, const struct fs_session *s, struct fs_flock *list, uint32_t max);
void locks_move(struct fs *fs, const struct fs_session *from, struct fs_session *to);

static inline bool ctx_is_aborted(const struct fs_ctx *ctx)
{
	return ctx->aborted && atomic_load(ctx->aborted);
}

/*
 * Whose change an event tells of. A kernel does not hear of what it asked for itself, but
 * when it was given an error meanwhile, it does not expect the change.
 */
static inline const struct fs_session *ctx_origin(const struct fs_ctx *ctx)
{
	return ctx_is_aborted(ctx) ? NULL : ctx->session;
}

static inline bool inode_is_dirsync(const struct inode *dir)
{
	return dir->flags & (EXT4_SYNC_FL | EXT4_DIRSYNC_FL);
}

#endif
