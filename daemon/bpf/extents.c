/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A window holds but few extents. Those that continue one another are one; a newcomer that finds no room takes the place
 * of any, so reads all over a file in a thousand pieces are answered seldom, and such a file costs no more memory than
 * others.
 */
#include "daemon/bpf/extents.h"

#include <stdatomic.h>

#include "daemon/base/check.h"
#include "daemon/base/util.h"
#include "daemon/bpf/set.h"
#include "daemon/inval/inval.h"

#define WINDOW_BYTES (UINT64_C(1) << KFS_WINDOW_BITS)

static struct kfs_extent_set *set_of(const struct extents *x, uint64_t nodeid, uint64_t window)
{
	return &x->sets[kfs_extent_set_of(nodeid, window, x->count)];
}

static int find(const struct kfs_extent_set *set, uint64_t nodeid, uint64_t window)
{
	for (uint32_t way = 0; way < KFS_WAYS; way++)
		if (GET(set->slot[way].nodeid) == nodeid && GET(set->slot[way].window) == window)
			return (int)way;
	return -1;
}

static void free_slot(struct extents *x, struct kfs_extent_set *set, int way)
{
	PUT(set->slot[way].nodeid, 0);
	PUT(set->state[way], KFS_SLOT_FREE);
	PUT(set->used[way], 0);
	count_down(&x->stats->extent_slots_used);
}

static void forget_extents(struct kfs_extent_slot *slot)
{
	for (uint32_t k = 0; k < KFS_EXTENTS; k++)
		PUT(slot->extent[k].len, 0);
}

/* The slot of a window in the locked set, made if need be; -1 if it gets none. */
static int take(struct extents *x, struct kfs_extent_set *set, uint64_t nodeid, uint64_t window)
{
	int way = find(set, nodeid, window);
	struct kfs_extent_slot *slot;

	if (way >= 0)
		return way;
	way = set_choose(set->state, set->used);
	if (way < 0) {
		count(&x->stats->full_refusals);
		return -1;
	}
	if (GET(set->state[way]) != KFS_SLOT_FREE) {
		free_slot(x, set, way);
		count(&x->stats->extent_evictions);
	}
	slot = &set->slot[way];
	forget_extents(slot);
	PUT(slot->nodeid, nodeid);
	PUT(slot->window, window);
	PUT(slot->birth, window ? 0 : atomic_fetch_add(&x->births, 1) + 1);
	PUT(slot->until, 0);
	PUT(set->state[way], KFS_SLOT_KNOWN);
	count(&x->stats->extent_slots_used);
	return way;
}

/* Do both say the same of the bytes where they meet or overlap? */
static bool continues(const struct kfs_extent *a, const struct kfs_extent *b)
{
	return a->off <= b->off + b->len && b->off <= a->off + a->len &&
	       a->off - b->off == a->phys - b->phys;
}

/* Into a slot of the locked set, together with what continues it. */
static void add(struct extents *x, struct kfs_extent_slot *slot, struct kfs_extent e)
{
	uint32_t place = set_roll() % KFS_EXTENTS;
	bool evicts = true;

	for (uint32_t k = 0; k < KFS_EXTENTS; k++) {
		struct kfs_extent old = { GET(slot->extent[k].off), GET(slot->extent[k].len),
					  GET(slot->extent[k].phys) };
		uint64_t end = MAX(old.off + old.len, e.off + e.len);

		if (old.len && !continues(&old, &e))
			continue;
		if (old.len) {
			e.phys = MIN(old.phys, e.phys);
			e.off = MIN(old.off, e.off);
			e.len = end - e.off;
			PUT(slot->extent[k].len, 0);
		}
		place = k;
		evicts = false;
	}
	if (evicts)
		count(&x->stats->extent_evictions);
	PUT(slot->extent[place].off, e.off);
	PUT(slot->extent[place].phys, e.phys);
	PUT(slot->extent[place].len, e.len);
}

/* The head's birth; 0 if the file has no place. */
static uint64_t take_head(struct extents *x, const struct inval_event *ev)
{
	struct kfs_extent_set *set = set_of(x, ev->nodeid, 0);
	uint64_t birth = 0;
	int way;

	set_lock(&set->seq);
	way = take(x, set, ev->nodeid, 0);
	if (way >= 0) {
		PUT(set->slot[way].until, ev->until_ns);
		birth = GET(set->slot[way].birth);
	}
	set_unlock(&set->seq);
	return birth;
}

static void fill_window(struct extents *x, uint64_t nodeid, uint64_t birth, struct kfs_extent e)
{
	uint64_t window = e.off >> KFS_WINDOW_BITS;
	struct kfs_extent_set *set = set_of(x, nodeid, window);
	struct kfs_extent_slot *slot;
	int way;

	set_lock(&set->seq);
	/* The head may have been evicted since: then there is no head, and no need for more. */
	way = window ? take(x, set, nodeid, window) : find(set, nodeid, 0);
	if (way >= 0) {
		slot = &set->slot[way];
		if (window && GET(slot->birth) != birth) {
			forget_extents(slot);
			PUT(slot->birth, birth);
		}
		add(x, slot, e);
		count(&x->stats->extent_fills);
	}
	set_unlock(&set->seq);
}

static void fill(struct extents *x, const struct inval_event *ev)
{
	struct kfs_extent e = { .off = ev->off, .phys = x->image_off + ev->image_off };
	uint64_t end = ev->off + ev->len, birth = take_head(x, ev);

	CHECK(end > ev->off);
	while (birth && e.off < end) {
		e.len = MIN(end, ROUND_DOWN(e.off, WINDOW_BYTES) + WINDOW_BYTES) - e.off;
		fill_window(x, ev->nodeid, birth, e);
		e.off += e.len;
		e.phys += e.len;
	}
}

/* Nothing is known of the file any more. */
static void drop(struct extents *x, uint64_t nodeid)
{
	struct kfs_extent_set *set = set_of(x, nodeid, 0);
	int way;

	/* Nobody can be filling it meanwhile, so that it is not there holds without the lock. */
	if (find(set, nodeid, 0) < 0)
		return;
	set_lock(&set->seq);
	way = find(set, nodeid, 0);
	if (way >= 0) {
		free_slot(x, set, way);
		count(&x->stats->extent_drops);
	}
	set_unlock(&set->seq);
}

static void clear(struct extents *x)
{
	for (uint32_t k = 0; k < x->count; k++) {
		struct kfs_extent_set *set = &x->sets[k];

		set_lock(&set->seq);
		for (uint32_t way = 0; way < KFS_WAYS; way++)
			if (GET(set->state[way]) != KFS_SLOT_FREE)
				free_slot(x, set, (int)way);
		set_unlock(&set->seq);
	}
}

void extents_event(struct extents *x, const struct inval_event *ev)
{
	switch (ev->kind) {
	case INVAL_FILL_EXTENT: fill(x, ev); break;
	case INVAL_MAP:
	case INVAL_INODE_GONE: drop(x, ev->nodeid); break;
	case INVAL_ATTR:
		if (x->until_attr)
			drop(x, ev->nodeid);
		break;
	case INVAL_ALL: clear(x); break;
	default: break;
	}
}

uint32_t extents_sets(uint64_t bytes)
{
	return (uint32_t)MIN(MAX(bytes / sizeof(struct kfs_extent_set), UINT64_C(1)),
			     (uint64_t)UINT32_MAX);
}

void extents_init(struct extents *x, const struct extents_opts *opts)
{
	CHECK(opts->count > 0);
	*x = (struct extents){
		.sets = opts->sets,
		.stats = opts->stats,
		.count = opts->count,
		.image_off = opts->image_off,
		.until_attr = opts->until_attr,
	};
	x->stats->extent_slots = (uint64_t)x->count * KFS_WAYS;
	x->stats->bytes += x->count * sizeof(struct kfs_extent_set);
}
