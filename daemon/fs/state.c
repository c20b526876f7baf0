/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sessions that outlive their daemon: what is known of them when another one takes over.
 */
#include "daemon/fs/fs_priv.h"

#include <string.h>

#include "daemon/base/siphash.h"

void fs_get_identity(const struct fs *fs, struct fs_identity *ret_identity)
{
	const struct store *s = fs->store;
	uint64_t seed[2];

	/* The seed of directory hashes: random, and no guest is ever told it. */
	memcpy(seed, s->hash_seed, sizeof(seed));
	memcpy(ret_identity->uuid, s->uuid, sizeof(s->uuid));
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
