/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the block allocator: busy maps (busy.c), reservations (resv.c), allocation
 * (balloc.c), frees and trimming (balloc_free.c). For daemon/store only.
 *
 * Everything about a group, its reservations included, is guarded by the group's
 * lock; one group lock is held at a time. So there is no list of reservations to be
 * locked: whoever needs room walks the groups and takes what their inodes reserved.
 */
#ifndef KFS_STORE_BALLOC_H
#define KFS_STORE_BALLOC_H

#include "daemon/store/alloc.h"

/* Order of a run: bits of its length. 0 = none, 1 = one block, 17 = 65536 blocks and more. */
#define BUSY_ORDERS 21
/* Reservation windows, in blocks: the first, and the largest (64 MiB of 4 KiB blocks). */
#define RESV_WINDOW_MIN 8
#define RESV_WINDOW_MAX 16384

struct pending_free;

struct alloc_state {
	_Atomic uint32_t groups_of_order[BUSY_ORDERS]; /* [atomic] groups by order of run_hint */
	_Atomic uint32_t cursor;      /* [atomic] where a search far from its goal succeeded last */
	_Atomic uint64_t resv_blocks; /* [atomic] reserved by inodes, all groups */
	_Atomic uint64_t pending_blocks; /* [atomic] freed, waiting for a commit */
	_Atomic uint32_t maps_loaded;	 /* [atomic] busy maps in memory */
	_Atomic uint32_t shed_hand;	 /* [atomic] next group whose map may go */

	struct mutex drain_lock;       /* LOCK_LEAF */
	struct list drains;	       /* [drain lock] struct drain, by ticket */
	_Atomic uint64_t drains_begun; /* [atomic] the last ticket */
	struct pending_free *held;     /* [drain lock] durable frees that wait for drains */
};

/* Those that nobody ended: the store is being closed. */
void balloc_held_free(struct store *s);

/*
 * Windows of an inode: one for what its stream writes next, the others for gaps that
 * writes left which overtook their predecessors.
 */
#define RESV_WINDOWS 8
/* So far ahead of its stream, in blocks, a write of at least so many has overtaken others. */
#define RESV_SKIP_MAX 2048
#define RESV_SKIP_RUN_MIN 16

/* Blocks kept for a run of a file. Belongs to the inode; the blocks to their group. */
struct resv_window {
	struct list link;   /* [group lock] in the group's list while len > 0 */
	uint32_t group;	    /* [inode lock, exclusive] */
	uint32_t first;	    /* [group lock] bit in the group */
	uint32_t len;	    /* [group lock] end - lblk, or 0: used up or taken away */
	uint32_t lblk, end; /* [inode lock, exclusive] what of the file they are for */
};

struct resv {
	struct resv_window windows[RESV_WINDOWS];
	uint32_t size;	    /* [inode lock, exclusive] of the last window asked for */
	uint32_t lblk_next; /* [inode lock, exclusive] writes that go on here are a stream */
};

struct bit_run {
	uint32_t first, len;
};

MUST_USE int balloc_open(struct store *s);
void balloc_close(struct store *s);

/* busy.c; callers hold the group lock exclusively */

/* Make sure the map is in memory. -EUCLEAN/-EBADMSG/-EIO: leave this group alone. */
MUST_USE int busy_load(struct store *s, uint32_t g);
void busy_set(struct store *s, uint32_t g, uint32_t first, uint32_t count);
void busy_clear(struct store *s, uint32_t g, uint32_t first, uint32_t count);
/*
 * The first run of @want free blocks that begins in [from, group's end), or the
 * longest shorter one (len 0: none). At most @want is reported.
 */
struct bit_run busy_search(const struct store *s, uint32_t g, uint32_t from, uint32_t want);
/* Free blocks from @first on, at most @max. */
uint32_t busy_run_at(const struct store *s, uint32_t g, uint32_t first, uint32_t max);
void busy_set_hint(struct store *s, struct group *grp, uint32_t hint);
/* Can any group have a run of @want? */
bool busy_possible(const struct store *s, uint32_t want);
/* Drop maps that can be made again, when many are loaded. No group lock held. */
void busy_shed(struct store *s);

/* resv.c */

MUST_USE struct resv *resv_new(void);
/* Take the window away; it is empty for its owner, too. Locks its group. */
void resv_drop(struct store *s, struct resv_window *w);
void resv_drop_all(struct store *s, struct resv *r);
/* The empty window becomes the run of free blocks @run of group @g, for @lblk on. Caller holds the lock of @g. */
void resv_set_locked(struct store *s, struct resv_window *w, uint32_t g, struct bit_run run,
		     uint32_t lblk);
/*
 * @count blocks of the window from @skip on become allocated: they stay busy. What lies
 * behind them goes to the empty window @tail if there is something before them. Caller
 * holds the lock of w->group.
 */
void resv_consume_locked(struct store *s, struct resv_window *w, uint32_t skip, uint32_t count,
			 struct resv_window *tail);
/* An empty window other than @avoid; the shortest gives way. */
struct resv_window *resv_spare(struct store *s, struct resv *r, const struct resv_window *avoid);
/* The end of what @r has set aside or been given: where its stream goes on. */
uint32_t resv_head(const struct resv *r);
/* Take all windows of all inodes away. True if there was one. No group lock held. */
bool resv_reclaim(struct store *s);

#endif
