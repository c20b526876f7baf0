/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which files may be stored into without a request: those that a kernel has open for reading and writing, which is what a
 * shared mapping takes. Its dirty pages are ours to ask for (proto does) before somebody else changes the file.
 *
 * (1) A file is in the table before its kernel is told that it is open, and until its last such description is closed,
 *     which a mapping holds open and which comes after the mapping's pages were written.
 * (2) An entry too many costs a question; one too few would cost data.
 */
#include <stdlib.h>

#include "daemon/base/check.h"
#include "daemon/fs/fs_priv.h"

struct mapper {
	struct list link;
	uint64_t nodeid;
	uint64_t count;
};

static struct mapper_shard *shard_of(struct mappers *t, uint64_t nodeid)
{
	return &t->shards[(uint32_t)nodeid % MAPPER_SHARDS];
}

static struct list *bucket_of(struct mapper_shard *s, uint64_t nodeid)
{
	return &s->buckets[(uint32_t)nodeid / MAPPER_SHARDS % MAPPER_BUCKETS];
}

/* Caller holds the lock. NULL: absent. */
static struct mapper *find_locked(struct mapper_shard *s, uint64_t nodeid)
{
	struct list *pos;

	list_for_each(pos, bucket_of(s, nodeid)) {
		struct mapper *m = list_entry(pos, struct mapper, link);

		if (m->nodeid == nodeid)
			return m;
	}
	return NULL;
}

void mappers_init(struct mappers *t)
{
	for (uint32_t k = 0; k < MAPPER_SHARDS; k++) {
		mutex_init(&t->shards[k].lock, LOCK_LEAF);
		for (uint32_t b = 0; b < MAPPER_BUCKETS; b++)
			list_init(&t->shards[k].buckets[b]);
	}
}

void mappers_fini(struct mappers *t)
{
	for (uint32_t k = 0; k < MAPPER_SHARDS; k++)
		for (uint32_t b = 0; b < MAPPER_BUCKETS; b++)
			while (!list_empty(&t->shards[k].buckets[b])) {
				struct mapper *m = list_entry(t->shards[k].buckets[b].next,
							      struct mapper, link);

				list_del(&m->link);
				free(m);
			}
}

int fs_mapper_add(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid)
{
	struct mapper *fresh = malloc(sizeof(*fresh)), *m;
	struct mapper_shard *s;
	uint64_t id;
	int error = fresh ? session_resolve(ctx->session, nodeid, &id) : -ENOMEM;

	if (error) {
		free(fresh);
		return error;
	}
	s = shard_of(&fs->mappers, id);
	mutex_lock(&s->lock);
	m = find_locked(s, id);
	if (m) {
		m->count++;
	} else {
		*fresh = (struct mapper){ .nodeid = id, .count = 1 };
		list_add_tail(bucket_of(s, id), &fresh->link);
		fresh = NULL;
		atomic_fetch_add(&fs->mappers.files, 1);
	}
	mutex_unlock(&s->lock);
	free(fresh);
	return 0;
}

void fs_mapper_del(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid)
{
	struct mapper *m, *last = NULL;
	struct mapper_shard *s;
	uint64_t id;

	if (session_resolve(ctx->session, nodeid, &id))
		return;
	s = shard_of(&fs->mappers, id);
	mutex_lock(&s->lock);
	m = find_locked(s, id);
	if (m && --m->count == 0) {
		list_del(&m->link);
		atomic_fetch_sub(&fs->mappers.files, 1);
		last = m;
	}
	mutex_unlock(&s->lock);
	free(last);
}

bool fs_has_mappers(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid)
{
	struct mapper_shard *s;
	uint64_t id;
	bool found;

	if (!atomic_load(&fs->mappers.files) || session_resolve(ctx->session, nodeid, &id))
		return false;
	s = shard_of(&fs->mappers, id);
	mutex_lock(&s->lock);
	found = find_locked(s, id);
	mutex_unlock(&s->lock);
	return found;
}
