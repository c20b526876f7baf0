/* SPDX-License-Identifier: GPL-2.0-only */
/* The macros that the programs' lines are written in, for a process instead of a kernel. */
#include "tests/unit/daemon/bpf/answers.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/siphash.h"
#include "daemon/base/util.h"

struct lookup_question {
	uint64_t parent;
	uint32_t name_len, flags;
	const char *name;
	struct fuse_bpf_entry entry;
	struct fuse_bpf_attr attr;
};

struct getattr_question {
	uint64_t nodeid;
	uint32_t generation, flags;
	struct fuse_bpf_attr attr;
};

struct xattr_question {
	uint64_t nodeid;
	uint32_t kind, flags;
};

struct extent_question {
	uint64_t nodeid, pos, len;
	struct answers_extent extent;
};

static _Thread_local const struct tables *now;
static _Thread_local const struct extents *now_extents;
static _Thread_local uint64_t now_ns;
static _Thread_local struct kfs_answers *counters;

static void copy_attr(struct fuse_bpf_attr *to, const struct fuse_bpf_attr *from)
{
	const uint64_t *words = (const uint64_t *)from;
	uint64_t copy[sizeof(*to) / sizeof(uint64_t)];

	for (size_t k = 0; k < ARRAY_SIZE(copy); k++)
		copy[k] = __atomic_load_n(&words[k], __ATOMIC_ACQUIRE);
	memcpy(to, copy, sizeof(*to));
}

static void set_entry(struct lookup_question *q, const struct fuse_bpf_entry *entry,
		      const struct fuse_bpf_attr *attr)
{
	q->entry = *entry;
	if (attr)
		copy_attr(&q->attr, attr);
}

static int name_hash(const struct lookup_question *q, uint64_t *hash)
{
	const uint64_t *key = now->config.key;

	hash[0] = siphash(q->name, q->name_len, key[0], key[1]);
	hash[1] = siphash(q->name, q->name_len, key[1], key[0]);
	return 0;
}

static int name_copy(const struct lookup_question *q, uint64_t *key)
{
	key[0] = 0;
	key[1] = 0;
	memcpy(key, q->name, q->name_len);
	return 0;
}

#define LOOKUP struct lookup_question
#define GETATTR struct getattr_question
#define XATTR struct xattr_question
#define EXTENT struct extent_question
#define config (now->config)
#define ENTRY_SET(index) (&now->entries[index])
#define ATTR_SET(index) (&now->attrs[index])
#define EXTENT_SET(index) (&now_extents->sets[index])
#define NOW() now_ns
#define SET_EXTENT(q, p, l) ((q)->extent = (struct answers_extent){ .phys = (p), .len = (l) })
#define READ(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define WRITE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define NAME_HASH(q, hash) name_hash(q, hash)
#define NAME_COPY(q, key) name_copy(q, key)
#define SET_ENTRY(q, e, a) set_entry(q, e, a)
#define SET_ATTR(q, a) copy_attr(&(q)->attr, a)
#define COUNT(what) (counters->what++)

#include "bpf/answer.bpf.h"

#undef config

struct tables *answers_tables_new(uint32_t entry_sets, uint32_t attr_sets)
{
	struct tables *t = calloc(1, sizeof(*t));
	struct tables_opts opts = {
		.entries = calloc(entry_sets, sizeof(struct kfs_entry_set)),
		.attrs = calloc(attr_sets, sizeof(struct kfs_attr_set)),
		.stats = calloc(1, sizeof(struct kfs_table_stats)),
		.config = { .key = { 0x0123456789abcdef, 0xfedcba9876543210 },
			    .entry_sets = entry_sets,
			    .attr_sets = attr_sets,
			    .entry_valid = 1,
			    .negative_valid = 2 },
		.attr_valid = 3,
	};

	CHECK(t && opts.entries && opts.attrs && opts.stats);
	tables_config_names(&opts.config);
	tables_init(t, &opts);
	return t;
}

void answers_tables_free(struct tables *t)
{
	free(t->entries);
	free(t->attrs);
	free(t->stats);
	free(t);
}

int answers_lookup(const struct tables *t, struct kfs_answers *counts,
		   const struct answers_name *name, struct fuse_bpf_entry *ret_entry,
		   struct fuse_bpf_attr *ret_attr)
{
	struct lookup_question q = { .parent = name->parent,
				     .name_len = name->len,
				     .name = name->name };
	int ret;

	now = t;
	counters = counts;
	ret = answer_lookup(&q);
	if (ret == FUSE_BPF_ANSWERED) {
		*ret_entry = q.entry;
		*ret_attr = q.attr;
	}
	return ret;
}

int answers_getattr(const struct tables *t, struct kfs_answers *counts, uint64_t nodeid,
		    struct fuse_bpf_attr *ret_attr)
{
	struct getattr_question q = { .nodeid = nodeid };
	int ret;

	now = t;
	counters = counts;
	ret = answer_getattr(&q);
	if (ret == FUSE_BPF_ANSWERED)
		*ret_attr = q.attr;
	return ret;
}

int answers_xattr(const struct tables *t, struct kfs_answers *counts, uint64_t nodeid,
		  uint32_t kind)
{
	struct xattr_question q = { .nodeid = nodeid, .kind = kind };

	now = t;
	counters = counts;
	return answer_xattr(&q);
}

struct extents *answers_extents_new(uint32_t sets, bool until_attr)
{
	struct extents *x = calloc(1, sizeof(*x));
	struct extents_opts opts = {
		.sets = calloc(sets, sizeof(struct kfs_extent_set)),
		.stats = calloc(1, sizeof(struct kfs_table_stats)),
		.count = sets,
		.image_off = ANSWERS_IMAGE_OFF,
		.until_attr = until_attr,
	};

	CHECK(x && opts.sets && opts.stats);
	extents_init(x, &opts);
	return x;
}

void answers_extents_free(struct extents *x)
{
	free(x->sets);
	free(x->stats);
	free(x);
}

int answers_extent(const struct extents *x, struct kfs_answers *counts,
		   const struct answers_place *place, struct answers_extent *ret_extent)
{
	struct extent_question q = { .nodeid = place->nodeid, .pos = place->pos };
	struct tables sizes = { .config = { .extent_sets = x->count } };
	int ret;

	now = &sizes;
	now_extents = x;
	now_ns = place->now_ns;
	counters = counts;
	ret = answer_extent(&q);
	if (ret == FUSE_BPF_ANSWERED)
		*ret_extent = q.extent;
	now = NULL;
	return ret;
}
