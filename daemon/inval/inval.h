/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The invalidation bus: every change of the store, from whatever transport,
 * control command or recovery, is published here, and every cache of the store's
 * answers subscribes (kernel notifications, BPF tables, guests, statistics).
 *
 * An event carries the inode's version, which was bumped under the inode's lock
 * before the change became visible. Publishing happens under the lock that orders
 * the change, after the journal record and before the reply. A FILL carries the
 * version read under the lock; a subscriber drops it when it has seen a newer
 * INVALIDATE: a late fill never undoes an invalidation.
 *
 * Subscribers are called synchronously, on the changing thread, with the store's
 * locks held: they must not block, must not call back into fs, and copy what they
 * keep. What needs time (kernel notifications) is queued by the subscriber; the
 * origin session tells it which kernel already knows.
 */
#ifndef KFS_INVAL_INVAL_H
#define KFS_INVAL_INVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/list.h"
#include "daemon/base/util.h"

struct inval_bus;

enum inval_kind {
	INVAL_ATTR,	   /* attributes of nodeid changed */
	INVAL_DATA,	   /* bytes [off, off+len) of nodeid changed; len 0 = to the end */
	INVAL_ENTRY,	   /* name in directory nodeid no longer means what it meant */
	INVAL_DELETE,	   /* the name was removed and nodeid_child with it (if last) */
	INVAL_XATTR,	   /* an extended attribute or ACL of nodeid changed */
	INVAL_INODE_GONE,  /* nodeid was freed; the number may be reused */
	INVAL_ALL,	   /* restore, recovery: nothing known holds */
	INVAL_FILL_ENTRY,  /* name in nodeid means nodeid_child (0: absent) */
	INVAL_FILL_ATTR,   /* attributes of nodeid are now known (attr) */
	INVAL_LIST_BEGIN,  /* fills follow, on this thread: the names of nodeid after cookie off */
	INVAL_LIST_END,	   /* they were all up to cookie len; nodeid_child: no more names follow */
	INVAL_HOLD,	   /* whoever asks for the attributes of nodeid has to be told something */
	INVAL_RELEASE,	   /* he was told */
	INVAL_MAP,	   /* before: bytes of nodeid will lie elsewhere, or nowhere */
	INVAL_FILL_EXTENT, /* bytes [off, off+len) of nodeid are written ones at image_off */
	INVAL_KINDS
};

struct inval_event {
	enum inval_kind kind;
	uint64_t nodeid;
	uint64_t version; /* of nodeid's inode */
	uint64_t nodeid_child;
	const char *name; /* valid during the call only */
	uint32_t name_len;
	uint64_t off, len;
	uint64_t image_off; /* for FILL_EXTENT: a byte of the store */
	uint64_t until_ns;  /* for FILL_EXTENT: CLOCK_BOOTTIME until it holds; 0 = for ever */
	const void *attr;   /* struct fs_attr *, for FILL_ATTR */
	const void *origin; /* the session that asked for the change; NULL = none */
};

struct inval_subscriber {
	struct list link;
	const char *name;
	uint32_t kinds; /* bit per inval_kind it wants */
	void (*notify)(struct inval_subscriber *sub, const struct inval_event *ev);
};

struct inval_stats {
	uint64_t published[INVAL_KINDS];
};

MUST_USE int inval_new(struct inval_bus **ret_bus);
void inval_free(struct inval_bus *bus);
/* Before requests are served, or with the bus quiet. */
void inval_subscribe(struct inval_bus *bus, struct inval_subscriber *sub);
void inval_unsubscribe(struct inval_bus *bus, struct inval_subscriber *sub);
/* Cheap when nobody wants the kind: one load. */
void inval_publish(struct inval_bus *bus, const struct inval_event *ev);
bool inval_wanted(const struct inval_bus *bus, enum inval_kind kind);
void inval_get_stats(struct inval_bus *bus, struct inval_stats *ret_stats);

#endif
