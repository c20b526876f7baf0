/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which files may be stored into without a request: those that a kernel has open for reading and writing, which is what a
 * shared mapping takes. The host's dirty pages are ours to ask for (proto does) before somebody else changes the file; what a
 * guest has dirty nobody can ask for, and its own holes are not to be believed meanwhile.
 *
 * (1) A file is in the table before its kernel is told that it is open, and until its last such description is closed,
 *     which a mapping holds open and which comes after the mapping's pages were written; or until its session is closed.
 * (2) An entry too many costs a question; one too few would cost data.
 * (3) A session has no more entries than it knows nodes: with the last forget the entry goes. A kernel does not forget what
 *     is open.
 */
#include <stdlib.h>

#include "daemon/base/check.h"
#include "daemon/fs/fs_priv.h"

struct mapper {
	struct list link;
	const struct fs_session *session;
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
static struct mapper *find_locked(struct mapper_shard *s, const struct fs_session *session,
				  uint64_t nodeid)
{
	struct list *pos;

	list_for_each(pos, bucket_of(s, nodeid)) {
		struct mapper *m = list_entry(pos, struct mapper, link);

		if (m->nodeid == nodeid && m->session == session)
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
	m = find_locked(s, ctx->session, id);
	if (m) {
		m->count++;
	} else {
		*fresh = (struct mapper){ .session = ctx->session, .nodeid = id, .count = 1 };
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
	m = find_locked(s, ctx->session, id);
	if (m && --m->count == 0) {
		list_del(&m->link);
		atomic_fetch_sub(&fs->mappers.files, 1);
		last = m;
	}
	mutex_unlock(&s->lock);
	free(last);
}

void mappers_forget(struct mappers *t, const struct fs_session *session, uint64_t id)
{
	struct mapper_shard *s = shard_of(t, id);
	struct mapper *m;

	if (!atomic_load(&t->files))
		return;
	mutex_lock(&s->lock);
	m = find_locked(s, session, id);
	if (m) {
		list_del(&m->link);
		atomic_fetch_sub(&t->files, 1);
	}
	mutex_unlock(&s->lock);
	free(m);
}

static void bucket_drop(struct mappers *t, struct list *bucket, const struct fs_session *session)
{
	struct list *pos = bucket->next;

	while (pos != bucket) {
		struct mapper *m = list_entry(pos, struct mapper, link);

		pos = pos->next;
		if (m->session != session)
			continue;
		list_del(&m->link);
		atomic_fetch_sub(&t->files, 1);
		free(m);
	}
}

void mappers_drop_session(struct mappers *t, const struct fs_session *session)
{
	if (!atomic_load(&t->files))
		return;
	for (uint32_t k = 0; k < MAPPER_SHARDS; k++) {
		struct mapper_shard *s = &t->shards[k];

		mutex_lock(&s->lock);
		for (uint32_t b = 0; b < MAPPER_BUCKETS; b++)
			bucket_drop(t, &s->buckets[b], session);
		mutex_unlock(&s->lock);
	}
}

bool fs_has_mappers(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		    const struct fs_session *session)
{
	struct mapper_shard *s;
	uint64_t id;
	bool found;

	if (!atomic_load(&fs->mappers.files) || session_resolve(ctx->session, nodeid, &id))
		return false;
	s = shard_of(&fs->mappers, id);
	mutex_lock(&s->lock);
	found = find_locked(s, session, id);
	mutex_unlock(&s->lock);
	return found;
}
