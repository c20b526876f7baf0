/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sessions and the nodeids they were handed.
 *
 * A session's table maps nodeids to lookup counts: a few shards, each an open
 * addressing table with linear probing. A slot is 12 bytes in two arrays and tables
 * grow by half at 7/8 full, so a known nodeid costs about 21 bytes in the worst case.
 * A hash is scaled to the number of slots (not masked), so slots need not be a
 * power of two, and the order of home slots is the order of hashes.
 *
 * (1) From an entry's home slot to the entry itself no slot is free. Removal
 *     moves later entries back to keep it so.
 * (2) Session structs stay until the filesystem is closed and are used again, so
 *     that nodes_known() may walk them without a lock on the list.
 *
 * Nodeids in the tables are fs-wide; the nodeid 1 on a session's wire is its root.
 */
#include "daemon/fs/fs_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"

#define SLOTS_MIN 16u
#define SLOTS_MAX (1u << 30)

uint64_t inode_nodeid(const struct inode *i)
{
	if (i->ino == EXT4_ROOT_INO)
		return FS_ROOT_NODEID;
	return (uint64_t)i->generation << 32 | i->ino;
}

bool session_is_root(const struct fs_session *s, const struct inode *i)
{
	return inode_nodeid(i) == s->root_nodeid;
}

uint64_t session_nodeid(const struct fs_session *s, const struct inode *i)
{
	return session_is_root(s, i) ? FS_ROOT_NODEID : inode_nodeid(i);
}

/* ---- the table ------------------------------------------------------------ */

static uint64_t id_hash(uint64_t id)
{
	id ^= id >> 32;
	id *= 0x9e3779b97f4a7c15u;
	id ^= id >> 29;
	return id * 0xbf58476d1ce4e5b9u;
}

static struct node_shard *shard_of(struct fs_session *s, uint64_t id)
{
	return &s->shards[id_hash(id) % NODE_SHARDS];
}

static uint32_t slot_home(const struct node_shard *n, uint64_t id)
{
	return (uint32_t)(((id_hash(id) >> 32) * n->slots) >> 32);
}

static uint32_t slot_next(const struct node_shard *n, uint32_t slot)
{
	return slot + 1 == n->slots ? 0 : slot + 1;
}

/* The slot of @id, or the free one where it belongs. A free slot exists. */
static uint32_t slot_find(const struct node_shard *n, uint64_t id)
{
	uint32_t slot = slot_home(n, id);

	while (n->ids[slot] && n->ids[slot] != id)
		slot = slot_next(n, slot);
	return slot;
}

static int shard_resize(struct node_shard *n, uint32_t slots)
{
	struct node_shard bigger = { .slots = slots };

	if (slots > SLOTS_MAX)
		return -ENOMEM;
	bigger.ids = calloc(slots, sizeof(*bigger.ids));
	bigger.counts = calloc(slots, sizeof(*bigger.counts));
	if (!bigger.ids || !bigger.counts) {
		free(bigger.ids);
		free(bigger.counts);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n->slots; i++) {
		uint32_t slot;

		if (!n->ids[i])
			continue;
		slot = slot_find(&bigger, n->ids[i]);
		bigger.ids[slot] = n->ids[i];
		bigger.counts[slot] = n->counts[i];
	}
	free(n->ids);
	free(n->counts);
	n->ids = bigger.ids;
	n->counts = bigger.counts;
	n->slots = slots;
	return 0;
}

/* Invariant (1): pull back those that the freed slot kept away from home. */
static void slot_remove(struct node_shard *n, uint32_t hole)
{
	uint32_t slot = hole;

	for (;;) {
		uint32_t home;

		slot = slot_next(n, slot);
		if (!n->ids[slot])
			break;
		home = slot_home(n, n->ids[slot]);
		/* Stays when its home lies cyclically in (hole, slot]. */
		if (hole < slot ? home > hole && home <= slot : home > hole || home <= slot)
			continue;
		n->ids[hole] = n->ids[slot];
		n->counts[hole] = n->counts[slot];
		hole = slot;
	}
	n->ids[hole] = 0;
	n->counts[hole] = 0;
	n->used--;
	/* Give memory back after a flood; a failure only means that it stays. */
	if (n->slots > SLOTS_MIN && n->used < n->slots / 8)
		(void)shard_resize(n, MAX(SLOTS_MIN, n->slots / 4));
}

static int shard_raise(struct fs_session *s, struct node_shard *n, uint64_t id)
{
	uint32_t slot;

	if (n->slots) {
		slot = slot_find(n, id);
		if (n->ids[slot]) {
			if (n->counts[slot] < UINT32_MAX)
				n->counts[slot]++;
			return 0;
		}
	}
	if (s->nodes_max && atomic_load(&s->nodes) >= s->nodes_max)
		return -ENFILE;
	if (n->used >= n->slots - n->slots / 8) {
		int error = shard_resize(n, n->slots ? n->slots + n->slots / 2 : SLOTS_MIN);

		if (error)
			return error;
	}
	slot = slot_find(n, id);
	n->ids[slot] = id;
	n->counts[slot] = 1;
	n->used++;
	atomic_fetch_add(&s->nodes, 1);
	return 0;
}

/* True when the last count went. */
static bool shard_lower(struct fs_session *s, struct node_shard *n, uint64_t id, uint64_t count)
{
	uint32_t slot;

	if (!n->slots)
		return false;
	slot = slot_find(n, id);
	if (!n->ids[slot] || n->counts[slot] == UINT32_MAX)
		return false;
	if (count < n->counts[slot]) {
		n->counts[slot] -= (uint32_t)count;
		return false;
	}
	slot_remove(n, slot);
	atomic_fetch_sub(&s->nodes, 1);
	return true;
}

static bool session_knows(struct fs_session *s, uint64_t id)
{
	struct node_shard *n = shard_of(s, id);
	bool known;

	mutex_lock(&n->lock);
	known = n->slots && n->ids[slot_find(n, id)];
	mutex_unlock(&n->lock);
	return known;
}

/* ---- counts --------------------------------------------------------------- */

static int id_raise(struct fs_session *s, uint64_t id)
{
	struct node_shard *n = shard_of(s, id);
	int error;

	mutex_lock(&n->lock);
	error = shard_raise(s, n, id);
	mutex_unlock(&n->lock);
	return error;
}

int nodes_raise(struct fs_session *s, const struct inode *i)
{
	CHECK(rwlock_is_locked(&i->lock));
	if (session_is_root(s, i))
		return 0;
	return id_raise(s, inode_nodeid(i));
}

int nodes_add(struct fs_session *s, uint64_t nodeid, uint32_t count)
{
	struct node_shard *n = shard_of(s, nodeid);
	int error;

	mutex_lock(&n->lock);
	error = shard_raise(s, n, nodeid);
	if (!error)
		n->counts[slot_find(n, nodeid)] = count;
	mutex_unlock(&n->lock);
	return error;
}

static void id_lower(struct fs *fs, struct fs_session *s, uint64_t id, uint64_t count)
{
	struct node_shard *n = shard_of(s, id);
	bool last;

	mutex_lock(&n->lock);
	last = shard_lower(s, n, id, count);
	mutex_unlock(&n->lock);
	if (!last)
		return;
	mappers_forget(&fs->mappers, s, id);
	node_forgotten(fs, id);
}

void fs_session_get_stats(const struct fs_session *s, struct fs_session_stats *ret_stats)
{
	*ret_stats = (struct fs_session_stats){
		.nodes = atomic_load(&s->nodes),
		.nodes_max = s->nodes_max,
		.locks = atomic_load(&s->locks),
		.locks_max = s->locks_max,
		.lock_waiters = atomic_load(&s->waiters),
	};
}

void nodes_unraise(struct fs *fs, struct fs_session *s, uint64_t nodeid)
{
	if (nodeid != FS_ROOT_NODEID && nodeid != s->root_nodeid)
		id_lower(fs, s, nodeid, 1);
}

void fs_forget(struct fs *fs, struct fs_session *s, uint64_t nodeid, uint64_t nlookup)
{
	/* The root is never counted, and a nodeid of zero marks a free slot. */
	if (nodeid == FS_ROOT_NODEID || nodeid == s->root_nodeid || !nodeid || !nlookup)
		return;
	id_lower(fs, s, nodeid, nlookup);
}

bool nodes_known(struct fs *fs, uint64_t nodeid)
{
	for (uint32_t i = 0; i < FS_SESSIONS_MAX; i++) {
		struct fs_session *s = atomic_load(&fs->sessions[i]);

		if (!s)
			return false;
		if (atomic_load(&s->nodes) && session_knows(s, nodeid))
			return true;
	}
	return false;
}

uint64_t nodes_total(struct fs *fs)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < FS_SESSIONS_MAX; i++) {
		struct fs_session *s = atomic_load(&fs->sessions[i]);

		if (!s)
			break;
		total += atomic_load(&s->nodes);
	}
	return total;
}

bool sessions_beside(struct fs *fs, const struct fs_session *s)
{
	for (uint32_t i = 0; i < FS_SESSIONS_MAX; i++) {
		const struct fs_session *other = atomic_load(&fs->sessions[i]);

		if (!other)
			return false;
		/* One that is closing has deletions under way. */
		if (other != s && atomic_load(&other->open))
			return true;
	}
	return false;
}

int session_resolve(struct fs_session *s, uint64_t nodeid, uint64_t *ret_nodeid)
{
	if (nodeid == FS_ROOT_NODEID || nodeid == s->root_nodeid) {
		*ret_nodeid = s->root_nodeid;
		return 0;
	}
	if (!nodeid)
		return -ESTALE;
	if (s->confined && !session_knows(s, nodeid)) {
		int error = s->recovered ? node_recover(s, nodeid) : -ESTALE;

		if (error)
			return error;
	}
	*ret_nodeid = nodeid;
	return 0;
}

/* ---- life of a session ---------------------------------------------------- */

static int session_slot(struct fs *fs, struct fs_session **ret_session)
{
	struct fs_session *s;
	uint32_t i;

	for (i = 0; i < FS_SESSIONS_MAX; i++) {
		s = atomic_load(&fs->sessions[i]);
		if (!s)
			break;
		if (!atomic_load(&s->open)) {
			*ret_session = s;
			return 0;
		}
	}
	if (i == FS_SESSIONS_MAX)
		return -ENFILE;
	s = aligned_alloc(64, ROUND_UP(sizeof(*s), 64));
	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	s->fs = fs;
	for (uint32_t k = 0; k < NODE_SHARDS; k++)
		mutex_init(&s->shards[k].lock, LOCK_NODES);
	atomic_store(&fs->sessions[i], s);
	*ret_session = s;
	return 0;
}

/* The session's root is counted while it is open, so that nobody deletes it below. */
static int session_hold_root(struct fs *fs, struct fs_session *s, uint64_t nodeid)
{
	struct inode *root;
	int error;

	s->root_nodeid = FS_ROOT_NODEID;
	if (!nodeid || nodeid == FS_ROOT_NODEID)
		return 0;
	if ((uint32_t)nodeid == EXT4_ROOT_INO)
		return -ESTALE;
	error = inode_get_gen(fs->store, (uint32_t)nodeid, (uint32_t)(nodeid >> 32), &root);
	if (error)
		return error;
	rwlock_read(&root->lock);
	error = inode_alive(root);
	if (!error && !inode_is_dir(root))
		error = -ENOTDIR;
	if (!error && !root->links)
		error = -ESTALE;
	if (!error)
		error = id_raise(s, nodeid);
	rwlock_unread(&root->lock);
	inode_put(root);
	if (!error)
		s->root_nodeid = nodeid;
	return error;
}

int fs_session_open(struct fs *fs, const struct fs_session_opts *opts,
		    struct fs_session **ret_session)
{
	struct fs_session *s;
	int error;

	mutex_lock(&fs->session_lock);
	error = session_slot(fs, &s);
	if (error) {
		mutex_unlock(&fs->session_lock);
		return error;
	}
	(void)snprintf(s->name, sizeof(s->name), "%s", opts->name ? opts->name : "");
	s->writeback = opts->writeback;
	s->shared = opts->shared;
	s->confined = opts->confined;
	s->readonly = opts->readonly;
	s->nodes_max = opts->nodes_max;
	s->recovered = opts->recovered;
	s->keeps_deleted = false;
	atomic_store(&s->saved, 0);
	s->locks_max = opts->locks_max ? opts->locks_max : LOCKS_SESSION_MAX;
	error = session_hold_root(fs, s, opts->root_nodeid);
	if (!error)
		atomic_store(&s->open, true);
	mutex_unlock(&fs->session_lock);
	if (!error)
		*ret_session = s;
	return error;
}

/* Empty @n and look after each inode that nobody may know any more. */
static void shard_drop(struct fs_session *s, struct node_shard *n, bool crash)
{
	struct node_shard old;

	mutex_lock(&n->lock);
	old = *n;
	n->ids = NULL;
	n->counts = NULL;
	n->slots = n->used = 0;
	atomic_fetch_sub(&s->nodes, old.used);
	mutex_unlock(&n->lock);
	for (uint32_t i = 0; !crash && i < old.slots; i++)
		if (old.ids[i])
			node_forgotten(s->fs, old.ids[i]);
	free(old.ids);
	free(old.counts);
}

/* Its references go, nothing is deleted: a crash, or a session that has left with its image. */
static void session_abandon(struct fs *fs, struct fs_session *s)
{
	locks_drop_session(fs, s);
	for (uint32_t k = 0; k < NODE_SHARDS; k++) {
		struct node_shard *n = &s->shards[k];

		for (uint32_t i = 0; i < n->slots; i++) {
			struct inode *inode;

			if (!n->ids[i])
				continue;
			inode = inode_find(fs->store, (uint32_t)n->ids[i]);
			if (!inode)
				continue;
			rwlock_write(&inode->lock);
			inode_clear_unlinked(fs, inode);
			rwlock_unwrite(&inode->lock);
			inode_put(inode);
		}
		shard_drop(s, n, true);
	}
}

void fs_session_close(struct fs_session *s)
{
	if (!s)
		return;
	CHECK(atomic_load(&s->open));
	mappers_drop_session(&s->fs->mappers, s);
	if (s->keeps_deleted) {
		session_abandon(s->fs, s);
	} else {
		locks_drop_session(s->fs, s);
		for (uint32_t k = 0; k < NODE_SHARDS; k++)
			shard_drop(s, &s->shards[k], false);
	}
	atomic_store(&s->open, false); /* last: from here the struct may serve another session */
}

void fs_session_keep_deleted(struct fs_session *s, bool keep)
{
	s->keeps_deleted = keep;
}

void sessions_free(struct fs *fs)
{
	for (uint32_t i = 0; i < FS_SESSIONS_MAX; i++) {
		struct fs_session *s = atomic_load(&fs->sessions[i]);

		if (!s)
			break;
		if (atomic_load(&s->open))
			session_abandon(fs, s);
		free(s);
	}
}
