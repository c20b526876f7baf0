/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/bpf/peek.h"

#include <sched.h>
#include <string.h>

#include "daemon/bpf/tables.h"

/* A copy of the set of @size at @set, whose sequence count comes first, from one moment. */
static void copy_set(const void *set, void *copy, size_t size)
{
	const uint32_t *seq = set;
	const uint64_t *from = set;
	uint64_t *to = copy;

	for (;;) {
		uint32_t before = __atomic_load_n(seq, __ATOMIC_ACQUIRE);

		/* Acquire, so that the second look at the count is not before these. */
		for (size_t k = 0; k < size / sizeof(*from); k++)
			to[k] = __atomic_load_n(&from[k], __ATOMIC_ACQUIRE);
		if (!(before & 1) && __atomic_load_n(seq, __ATOMIC_RELAXED) == before)
			return;
		(void)sched_yield(); /* cannot fail */
	}
}

static void peek_entry(const struct tables *t, const struct bpf_question *q, struct bpf_view *view)
{
	struct kfs_entry_set set;
	uint64_t hash[2];

	tables_name_hash(t, q->name, q->name_len, hash);
	copy_set(tables_entry_set(t, q->dir, hash), &set, sizeof(set));
	for (uint32_t way = 0; way < KFS_WAYS; way++) {
		const struct kfs_entry_slot *slot = &set.slot[way];

		if (set.state[way] == KFS_SLOT_FREE || slot->parent != q->dir ||
		    slot->hash[0] != hash[0] || slot->hash[1] != hash[1])
			continue;
		view->entry.state = set.state[way];
		view->entry.used = set.used[way];
		view->entry.nodeid = set.state[way] == KFS_SLOT_ABSENT ? 0 : slot->nodeid;
		view->entry.version = slot->version;
	}
}

static void peek_node(const struct tables *t, uint64_t nodeid, struct bpf_node_view *view)
{
	struct kfs_attr_set set;

	copy_set(&t->attrs[kfs_attr_set_of(nodeid, t->config.attr_sets)], &set, sizeof(set));
	for (uint32_t way = 0; way < KFS_WAYS; way++) {
		const struct kfs_attr_slot *slot = &set.slot[way];

		if (set.state[way] == KFS_SLOT_FREE || slot->nodeid != nodeid)
			continue;
		*view = (struct bpf_node_view){ .state = set.state[way],
						.used = set.used[way],
						.version = slot->version,
						.flags = slot->flags,
						.attr = slot->attr };
	}
}

void tables_peek(const struct tables *t, const struct bpf_question *q, struct bpf_view *ret_view)
{
	memset(ret_view, 0, sizeof(*ret_view));
	if (q->dir) {
		peek_entry(t, q, ret_view);
		peek_node(t, q->dir, &ret_view->dir);
	}
	if (q->nodeid)
		peek_node(t, q->nodeid, &ret_view->node);
}
