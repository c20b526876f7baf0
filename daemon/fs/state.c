/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sessions that outlive their daemon: what is known of them when another one takes over.
 */
#include "daemon/fs/fs_priv.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/base/siphash.h"

void fs_get_identity(const struct fs *fs, struct fs_identity *ret_identity)
{
	const struct store *s = fs->store;
	uint64_t seed[2];

	/* The seed of directory hashes: random, and no guest is ever told it. */
	memcpy(seed, s->hash_seed, sizeof(seed));
	memcpy(ret_identity->uuid, s->uuid, sizeof(s->uuid));
	ret_identity->print = s->print;
	ret_identity->untouched = s->untouched;
	ret_identity->key[0] = siphash("kfs state 0", 11, seed[0], seed[1]);
	ret_identity->key[1] = siphash("kfs state 1", 11, seed[0], seed[1]);
}

uint64_t fs_session_root(const struct fs_session *s)
{
	return s->root_nodeid;
}

int node_recover(struct fs_session *s, uint64_t nodeid)
{
	uint32_t ino = (uint32_t)nodeid;
	struct inode *i;
	int error;

	if (s->root_nodeid != FS_ROOT_NODEID || ino < s->fs->store->first_ino ||
	    ino > s->fs->store->inodes_count)
		return -ESTALE;
	error = inode_get_gen(s->fs->store, ino, (uint32_t)(nodeid >> 32), &i);
	if (error)
		return error;
	/* Under the inode's lock, as every count is raised. */
	rwlock_read(&i->lock);
	error = inode_alive(i);
	if (!error)
		error = nodes_raise(s, i);
	rwlock_unread(&i->lock);
	inode_put(i);
	return error;
}

/* ---- moving ---- */

int fs_session_each_node(struct fs_session *s, fs_node_fn fn, void *arg)
{
	/* No lock: its own requests alone change these tables. */
	for (uint32_t k = 0; k < NODE_SHARDS; k++) {
		const struct node_shard *n = &s->shards[k];

		for (uint32_t i = 0; i < n->slots; i++) {
			int ret = 0;

			/* The root of a share is counted once, for itself. */
			if (n->ids[i] && n->ids[i] != s->root_nodeid)
				ret = fn(arg, n->ids[i], n->counts[i]);
			if (ret)
				return ret;
		}
	}
	return 0;
}

uint64_t fs_session_nodes(const struct fs_session *s)
{
	return atomic_load(&s->nodes) - (s->root_nodeid != FS_ROOT_NODEID);
}

int fs_session_add_node(struct fs_session *s, uint64_t nodeid, uint32_t count)
{
	uint32_t ino = (uint32_t)nodeid;

	if (!count || nodeid == s->root_nodeid || ino < s->fs->store->first_ino ||
	    ino > s->fs->store->inodes_count)
		return -EINVAL;
	return nodes_add(s, nodeid, count);
}

static bool keep_known(void *arg, struct inode *i)
{
	struct fs *fs = arg;

	if (!nodes_known(fs, inode_nodeid(i)))
		return false;
	rwlock_write(&i->lock);
	inode_mark_unlinked(fs, i);
	rwlock_unwrite(&i->lock);
	return true;
}

int fs_claim_deleted(struct fs *fs)
{
	return store_orphan_claim(fs->store, keep_known, fs);
}

int fs_begin_changes(struct fs *fs)
{
	uint32_t cleaned;
	int error = store_begin(fs->store);

	return error ? error : store_orphan_cleanup(fs->store, &cleaned);
}

int fs_session_list_locks(struct fs_session *s, struct fs_flock **ret_list, uint32_t *ret_count)
{
	uint32_t max = atomic_load(&s->locks);
	struct fs_flock *list = calloc(max + 1u, sizeof(*list));

	if (!list)
		return -ENOMEM;
	*ret_count = locks_list(s->fs, s, list, max);
	*ret_list = list;
	return 0;
}

void fs_session_move_locks(struct fs_session *from, struct fs_session *to)
{
	locks_move(from->fs, from, to);
}

void fs_session_set_saved(struct fs_session *s, uint64_t number)
{
	atomic_store(&s->saved, number);
}

struct fs_session *fs_session_saved(struct fs *fs, uint64_t number)
{
	for (uint32_t i = 0; number && i < FS_SESSIONS_MAX; i++) {
		struct fs_session *s = atomic_load(&fs->sessions[i]);

		if (!s)
			break;
		if (atomic_load(&s->open) && atomic_load(&s->saved) == number)
			return s;
	}
	return NULL;
}
