/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/bpf/tables.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/siphash.h"
#include "daemon/bpf/set.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"

/* What this thread's batch of names found when it began. */
static _Thread_local struct {
	const struct tables *tables;
	uint64_t dir;
	uint32_t losses;
} batch;

/* ---- attributes ---- */

static struct kfs_attr_set *attr_set(struct tables *t, uint64_t nodeid)
{
	return &t->attrs[kfs_attr_set_of(nodeid, t->config.attr_sets)];
}

static int attr_find(const struct kfs_attr_set *set, uint64_t nodeid)
{
	for (uint32_t way = 0; way < KFS_WAYS; way++)
		if (GET(set->slot[way].nodeid) == nodeid)
			return (int)way;
	return -1;
}

static void drop_flags(struct tables *t, struct kfs_attr_slot *slot, uint32_t flags)
{
	uint32_t had = GET(slot->flags);

	if (had & flags & (KFS_DIR_COMPLETE | KFS_DIR_LISTING))
		count(&t->stats->directories_lost);
	if (had & flags)
		PUT(slot->flags, had & ~flags);
}

static void attr_free(struct tables *t, struct kfs_attr_set *set, int way)
{
	struct kfs_attr_slot *slot = &set->slot[way];

	drop_flags(t, slot, GET(slot->flags));
	PUT(slot->nodeid, 0);
	PUT(slot->version, 0);
	PUT(set->state[way], KFS_SLOT_FREE);
	PUT(set->used[way], 0);
	count_down(&t->stats->attrs_used);
}

/* The slot of @nodeid in the locked set, made if need be; -1 if it gets none. */
static int attr_take(struct tables *t, struct kfs_attr_set *set, uint64_t nodeid)
{
	int way = attr_find(set, nodeid);

	if (way >= 0)
		return way;
	way = set_choose(set->state, set->used);
	if (way < 0) {
		count(&t->stats->full_refusals);
		return -1;
	}
	if (GET(set->state[way]) != KFS_SLOT_FREE) {
		attr_free(t, set, way);
		count(&t->stats->attr_evictions);
	}
	PUT(set->slot[way].nodeid, nodeid);
	PUT(set->state[way], KFS_SLOT_UNKNOWN);
	count(&t->stats->attrs_used);
	return way;
}

static void store_attr(struct fuse_bpf_attr *to, const struct fuse_bpf_attr *from)
{
	const uint64_t *words = (const uint64_t *)from;

#pragma GCC unroll 15
	for (size_t k = 0; k < sizeof(*from) / sizeof(uint64_t); k++)
		PUT(((uint64_t *)to)[k], words[k]);
}

static struct fuse_bpf_attr attr_of(const struct tables *t, const struct fs_attr *a)
{
	bool born = a->btime.s || a->btime.ns;

	return (struct fuse_bpf_attr){
		.valid = t->attr_valid,
		.valid_nsec = t->attr_valid_nsec,
		.flags = born ? FUSE_BPF_ATTR_BTIME : FUSE_BPF_ATTR_NO_BTIME,
		.ino = a->ino,
		.size = a->size,
		.blocks = a->blocks,
		.atime = (uint64_t)a->atime.s,
		.mtime = (uint64_t)a->mtime.s,
		.ctime = (uint64_t)a->ctime.s,
		.atimensec = a->atime.ns,
		.mtimensec = a->mtime.ns,
		.ctimensec = a->ctime.ns,
		.mode = a->mode,
		.nlink = a->nlink,
		.uid = a->uid,
		.gid = a->gid,
		.rdev = a->rdev,
		.blksize = a->blksize,
		.btime_sec = a->btime.s,
		.btime_nsec = a->btime.ns,
	};
}

static void fill_attr(struct tables *t, uint64_t nodeid, const struct fs_attr *a)
{
	struct kfs_attr_set *set = attr_set(t, nodeid);
	struct fuse_bpf_attr value = attr_of(t, a);
	uint32_t absent = (a->absent & FS_ABSENT_CAPABILITY ? KFS_NO_CAPABILITY : 0) |
			  (a->absent & FS_ABSENT_ACL ? KFS_NO_ACL : 0);
	struct kfs_attr_slot *slot;
	int way;

	set_lock(&set->seq);
	way = attr_take(t, set, nodeid);
	if (way < 0)
		goto out_unlock;
	slot = &set->slot[way];
	if (a->version < GET(slot->version)) {
		count(&t->stats->stale_refusals);
		goto out_unlock;
	}
	PUT(slot->version, a->version);
	PUT(slot->flags, (GET(slot->flags) & (KFS_DIR_COMPLETE | KFS_DIR_LISTING)) | absent);
	store_attr(&slot->attr, &value);
	if (GET(set->state[way]) != KFS_SLOT_HELD)
		PUT(set->state[way], KFS_SLOT_KNOWN);
	count(&t->stats->attr_fills);
out_unlock:
	set_unlock(&set->seq);
}

/* The attributes, or what is known of extended ones, hold no more. */
static void doubt_attr(struct tables *t, const struct inval_event *ev)
{
	struct kfs_attr_set *set = attr_set(t, ev->nodeid);
	bool xattr = ev->kind == INVAL_XATTR;
	struct kfs_attr_slot *slot;
	int way;

	set_lock(&set->seq);
	way = attr_find(set, ev->nodeid);
	if (way >= 0) {
		slot = &set->slot[way];
		PUT(slot->version, MAX(GET(slot->version), ev->version));
		if (xattr)
			drop_flags(t, slot, KFS_NO_CAPABILITY | KFS_NO_ACL);
		else if (GET(set->state[way]) == KFS_SLOT_KNOWN)
			PUT(set->state[way], KFS_SLOT_UNKNOWN);
	}
	set_unlock(&set->seq);
	count(xattr ? &t->stats->xattr_invalidations : &t->stats->attr_invalidations);
}

/* The daemon wants to be asked for the attributes, or does not any more. */
static void hold_attr(struct tables *t, const struct inval_event *ev)
{
	struct kfs_attr_set *set = attr_set(t, ev->nodeid);
	int way;

	set_lock(&set->seq);
	if (ev->kind == INVAL_HOLD) {
		way = attr_take(t, set, ev->nodeid);
		if (way >= 0)
			PUT(set->state[way], KFS_SLOT_HELD);
	} else {
		way = attr_find(set, ev->nodeid);
		if (way >= 0 && GET(set->state[way]) == KFS_SLOT_HELD)
			PUT(set->state[way], KFS_SLOT_UNKNOWN);
	}
	set_unlock(&set->seq);
}

static void forget_node(struct tables *t, uint64_t nodeid)
{
	struct kfs_attr_set *set = attr_set(t, nodeid);
	int way;

	set_lock(&set->seq);
	way = attr_find(set, nodeid);
	if (way >= 0)
		attr_free(t, set, way);
	set_unlock(&set->seq);
}

/* ---- whole directories ---- */

static _Atomic uint32_t *losses_of(struct tables *t, uint64_t dir)
{
	return &t->losses[(dir * KFS_MIX >> 32) % TABLES_LOSS_STRIPES];
}

/* A name of @dir has no slot, or is about to lose it: invariant (3). */
static void lose_name(struct tables *t, uint64_t dir)
{
	struct kfs_attr_set *set = attr_set(t, dir);
	int way;

	set_lock(&set->seq);
	atomic_fetch_add(losses_of(t, dir), 1);
	way = attr_find(set, dir);
	if (way >= 0)
		drop_flags(t, &set->slot[way], KFS_DIR_COMPLETE | KFS_DIR_LISTING);
	set_unlock(&set->seq);
}

/* Names of the directory that follow are fills of a listing. */
static void list_begin(struct tables *t, const struct inval_event *ev)
{
	struct kfs_attr_set *set = attr_set(t, ev->nodeid);
	struct kfs_attr_slot *slot;
	int way;

	set_lock(&set->seq);
	batch.tables = t;
	batch.dir = ev->nodeid;
	batch.losses = atomic_load(losses_of(t, ev->nodeid));
	way = ev->off ? -1 : attr_take(t, set, ev->nodeid);
	if (way >= 0) {
		slot = &set->slot[way];
		if (!(GET(slot->flags) & (KFS_DIR_COMPLETE | KFS_DIR_LISTING))) {
			PUT(slot->listed, 0);
			PUT(slot->flags, GET(slot->flags) | KFS_DIR_LISTING);
		}
	}
	set_unlock(&set->seq);
}

/* All names from cookie off up to len were filled; nodeid_child: there are no more. */
static void list_end(struct tables *t, const struct inval_event *ev)
{
	struct kfs_attr_set *set = attr_set(t, ev->nodeid);
	struct kfs_attr_slot *slot;
	uint32_t flags;
	int way;

	set_lock(&set->seq);
	way = attr_find(set, ev->nodeid);
	if (way < 0)
		goto out_unlock;
	slot = &set->slot[way];
	flags = GET(slot->flags);
	/* Nothing lost since this batch began, and no gap between what was listed and what it brought. */
	if (!(flags & KFS_DIR_LISTING) || batch.tables != t || batch.dir != ev->nodeid ||
	    batch.losses != atomic_load(losses_of(t, ev->nodeid)) || ev->off > GET(slot->listed))
		goto out_unlock;
	PUT(slot->listed, MAX(GET(slot->listed), ev->len));
	if (ev->nodeid_child) {
		PUT(slot->flags, (flags & ~(uint32_t)KFS_DIR_LISTING) | KFS_DIR_COMPLETE);
		count(&t->stats->directories_completed);
	}
out_unlock:
	set_unlock(&set->seq);
	batch.tables = NULL;
}

/* ---- names ---- */

struct name_key {
	uint64_t parent;
	uint64_t hash[2];
};

void tables_name_hash(const struct tables *t, const char *name, uint32_t len, uint64_t ret_hash[2])
{
	const uint64_t *k = t->config.key;

	if (len < KFS_NAME_COPIED) {
		memset(ret_hash, 0, KFS_NAME_COPIED);
		memcpy(ret_hash, name, len);
		return;
	}
	ret_hash[0] = siphash(name, len, k[0], k[1]);
	ret_hash[1] = siphash(name, len, k[1], k[0]);
	kfs_mark_hashed(ret_hash);
}

struct kfs_entry_set *tables_entry_set(const struct tables *t, uint64_t parent,
				       const uint64_t hash[2])
{
	uint64_t mixed = kfs_name_mix(hash, t->config.mix[0], t->config.mix[1]);

	return &t->entries[kfs_entry_set_of(parent, mixed, t->config.entry_sets)];
}

static struct name_key key_of(const struct tables *t, const struct inval_event *ev)
{
	struct name_key key = { .parent = ev->nodeid };

	tables_name_hash(t, ev->name, ev->name_len, key.hash);
	return key;
}

static struct kfs_entry_set *entry_set(const struct tables *t, const struct name_key *key)
{
	return tables_entry_set(t, key->parent, key->hash);
}

static int entry_find(const struct kfs_entry_set *set, const struct name_key *key)
{
	for (uint32_t way = 0; way < KFS_WAYS; way++) {
		const struct kfs_entry_slot *slot = &set->slot[way];

		if (GET(slot->hash[0]) == key->hash[0] && GET(slot->hash[1]) == key->hash[1] &&
		    GET(slot->parent) == key->parent)
			return (int)way;
	}
	return -1;
}

static void entry_free(struct tables *t, struct kfs_entry_set *set, int way)
{
	struct kfs_entry_slot *slot = &set->slot[way];

	if (GET(set->state[way]) != KFS_SLOT_ABSENT)
		lose_name(t, GET(slot->parent));
	PUT(slot->parent, 0);
	PUT(slot->version, 0);
	PUT(set->state[way], KFS_SLOT_FREE);
	PUT(set->used[way], 0);
	count_down(&t->stats->entries_used);
}

/* The slot of @key in the locked set, made if need be; -1 if it gets none. */
static int entry_take(struct tables *t, struct kfs_entry_set *set, const struct name_key *key)
{
	int way = entry_find(set, key);

	if (way >= 0)
		return way;
	way = set_choose(set->state, set->used);
	if (way < 0) {
		count(&t->stats->full_refusals);
		return -1;
	}
	if (GET(set->state[way]) != KFS_SLOT_FREE) {
		entry_free(t, set, way);
		count(&t->stats->entry_evictions);
	}
	PUT(set->slot[way].parent, key->parent);
	PUT(set->slot[way].hash[0], key->hash[0]);
	PUT(set->slot[way].hash[1], key->hash[1]);
	PUT(set->state[way], KFS_SLOT_UNKNOWN);
	count(&t->stats->entries_used);
	return way;
}

static void fill_entry(struct tables *t, const struct inval_event *ev)
{
	struct name_key key = key_of(t, ev);
	struct kfs_entry_set *set = entry_set(t, &key);
	struct kfs_entry_slot *slot;
	int way;

	set_lock(&set->seq);
	way = entry_take(t, set, &key);
	if (way < 0) {
		if (ev->nodeid_child)
			lose_name(t, key.parent);
		goto out_unlock;
	}
	slot = &set->slot[way];
	if (ev->version < GET(slot->version)) {
		count(&t->stats->stale_refusals);
		goto out_unlock;
	}
	PUT(slot->version, ev->version);
	PUT(slot->nodeid, ev->nodeid_child);
	PUT(set->state[way], ev->nodeid_child ? KFS_SLOT_KNOWN : KFS_SLOT_ABSENT);
	count(&t->stats->entry_fills);
out_unlock:
	set_unlock(&set->seq);
}

/*
 * The name may mean something else now. In a directory whose names are all here, or are just being listed, it keeps a
 * slot that says so, or the directory is not whole any more.
 */
static void doubt_entry(struct tables *t, const struct inval_event *ev)
{
	struct name_key key = key_of(t, ev);
	struct kfs_entry_set *set = entry_set(t, &key);
	struct kfs_entry_slot *slot;
	int way;

	set_lock(&set->seq);
	way = entry_take(t, set, &key);
	if (way < 0) {
		lose_name(t, key.parent);
		goto out_unlock;
	}
	slot = &set->slot[way];
	PUT(slot->version, MAX(GET(slot->version), ev->version));
	PUT(set->state[way], KFS_SLOT_UNKNOWN);
out_unlock:
	set_unlock(&set->seq);
	count(&t->stats->entry_invalidations);
}

/* ---- all of it ---- */

void tables_clear(struct tables *t)
{
	for (uint32_t k = 0; k < t->config.entry_sets; k++) {
		struct kfs_entry_set *set = &t->entries[k];

		set_lock(&set->seq);
		for (uint32_t way = 0; way < KFS_WAYS; way++)
			if (GET(set->state[way]) != KFS_SLOT_FREE)
				entry_free(t, set, (int)way);
		set_unlock(&set->seq);
	}
	for (uint32_t k = 0; k < t->config.attr_sets; k++) {
		struct kfs_attr_set *set = &t->attrs[k];

		set_lock(&set->seq);
		for (uint32_t way = 0; way < KFS_WAYS; way++)
			if (GET(set->state[way]) != KFS_SLOT_FREE)
				attr_free(t, set, (int)way);
		set_unlock(&set->seq);
	}
}

void tables_event(struct tables *t, const struct inval_event *ev)
{
	switch (ev->kind) {
	case INVAL_ATTR:
	case INVAL_XATTR: doubt_attr(t, ev); break;
	case INVAL_ENTRY:
	case INVAL_DELETE: doubt_entry(t, ev); break;
	case INVAL_INODE_GONE: forget_node(t, ev->nodeid); break;
	case INVAL_ALL: tables_clear(t); break;
	case INVAL_FILL_ENTRY: fill_entry(t, ev); break;
	case INVAL_FILL_ATTR: fill_attr(t, ev->nodeid, ev->attr); break;
	case INVAL_LIST_BEGIN: list_begin(t, ev); break;
	case INVAL_LIST_END: list_end(t, ev); break;
	case INVAL_HOLD:
	case INVAL_RELEASE: hold_attr(t, ev); break;
	case INVAL_DATA:
	case INVAL_MAP:
	case INVAL_FILL_EXTENT:
	case INVAL_KINDS: break;
	}
}

void tables_sizes(uint64_t bytes, uint32_t *ret_entry_sets, uint32_t *ret_attr_sets)
{
	/* As many names as nodes, and a quarter more for names that do not exist and second names. */
	uint64_t unit = 4 * sizeof(struct kfs_attr_set) + 5 * sizeof(struct kfs_entry_set);
	uint64_t units = MIN(bytes / unit, (uint64_t)UINT32_MAX / 8);

	*ret_attr_sets = (uint32_t)MAX(units * 4, 1u);
	*ret_entry_sets = (uint32_t)MAX(units * 5, 1u);
}

void tables_config_names(struct kfs_config *config)
{
	const uint64_t *k = config->key;

	memcpy(&config->dots[0], ".\0\0\0\0\0\0", sizeof(config->dots[0]));
	memcpy(&config->dots[1], "..\0\0\0\0\0", sizeof(config->dots[1]));
	config->mix[0] = siphash("mix 0", 5, k[0], k[1]) | 1;
	config->mix[1] = siphash("mix 1", 5, k[0], k[1]) | 1;
}

void tables_init(struct tables *t, const struct tables_opts *opts)
{
	CHECK(opts->config.entry_sets > 0 && opts->config.attr_sets > 0);
	CHECK(opts->config.mix[0] & 1);
	*t = (struct tables){
		.entries = opts->entries,
		.attrs = opts->attrs,
		.stats = opts->stats,
		.config = opts->config,
		.attr_valid = opts->attr_valid,
		.attr_valid_nsec = opts->attr_valid_nsec,
	};
	t->stats->entry_slots = (uint64_t)t->config.entry_sets * KFS_WAYS;
	t->stats->attr_slots = (uint64_t)t->config.attr_sets * KFS_WAYS;
	t->stats->bytes = t->config.entry_sets * sizeof(struct kfs_entry_set) +
			  t->config.attr_sets * sizeof(struct kfs_attr_set);
}
