/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs answer, from the daemon's tables (include/kfs/bpf_abi.h). Included by kfs.bpf.c, and by a unit test
 * that runs the very same lines over the same memory (tests/unit/daemon/bpf).
 *
 * The includer says how to reach things:
 *	config				struct kfs_config
 *	ENTRY_SET(index), ATTR_SET(index), EXTENT_SET(index)	a set, or NULL
 *	READ(x)				reads a field once, before the reads that follow
 *	COUNT(what)			one more in struct kfs_answers
 *	SET_ENTRY(q, entry, attr), SET_ATTR(q, attr), NAME_HASH(q, hash),
 *	SET_EXTENT(q, phys, len)	the kernel's functions
 *	NOW()				CLOCK_BOOTTIME in ns
 *
 * A miss is always correct. An answer is given only if the sets it came from did not change while it was taken, the copy
 * by the kernel's function included.
 */
#ifndef KFS_BPF_ANSWER_BPF_H
#define KFS_BPF_ANSWER_BPF_H

#define NAME_LEN_MAX 255 /* of ext4; longer ones are the daemon's to refuse */
#define READS_MAX 2	 /* a set that changes all the time is not waited for */

/* ANSWERED and UPCALL are the kernel's; TORN: a set changed meanwhile. */
enum { TORN = 2 };

static inline int entry_way(struct kfs_entry_set *set, uint64_t parent, const uint64_t *hash)
{
#pragma GCC unroll 8
	for (int i = 0; i < (int)KFS_WAYS; i++) {
		if (READ(set->slot[i].hash[0]) == hash[0] && READ(set->slot[i].parent) == parent &&
		    READ(set->slot[i].hash[1]) == hash[1])
			return i;
	}
	return -1;
}

static inline int attr_way(struct kfs_attr_set *set, uint64_t nodeid)
{
#pragma GCC unroll 8
	for (int i = 0; i < (int)KFS_WAYS; i++) {
		if (READ(set->slot[i].nodeid) == nodeid)
			return i;
	}
	return -1;
}

/* Keeps what is used from being replaced; a store for each answer would cost more than it is worth. */
static inline void mark_used(uint8_t *used)
{
	if (!READ(*used))
		WRITE(*used, 1);
}

static inline int answer_present(LOOKUP *q, uint64_t nodeid)
{
	struct fuse_bpf_entry entry = {
		.nodeid = nodeid,
		.generation = nodeid >> 32,
		.valid = config.entry_valid,
		.valid_nsec = config.entry_valid_nsec,
	};
	struct kfs_attr_set *set = ATTR_SET(kfs_attr_set_of(nodeid, config.attr_sets));
	uint32_t seq;
	int way;

	if (!set)
		return FUSE_BPF_UPCALL;
	seq = READ(set->seq);
	if (seq & 1)
		return TORN;
	way = attr_way(set, nodeid);
	if (way < 0 || READ(set->state[way & 7]) != KFS_SLOT_KNOWN)
		return FUSE_BPF_UPCALL;
	SET_ENTRY(q, &entry, &set->slot[way & 7].attr);
	if (READ(set->seq) != seq)
		return TORN;
	mark_used(&set->used[way & 7]);
	return FUSE_BPF_ANSWERED;
}

static inline int answer_absent(LOOKUP *q)
{
	struct fuse_bpf_entry entry = {
		.valid = config.negative_valid,
		.valid_nsec = config.negative_valid_nsec,
	};

	SET_ENTRY(q, &entry, NULL);
	return FUSE_BPF_ANSWERED;
}

/* The name is not in the table: is every name of the directory? */
static inline int answer_complete(LOOKUP *q, uint64_t parent)
{
	struct kfs_attr_set *set = ATTR_SET(kfs_attr_set_of(parent, config.attr_sets));
	uint32_t seq, flags;
	int way;

	if (!set)
		return FUSE_BPF_UPCALL;
	seq = READ(set->seq);
	if (seq & 1)
		return TORN;
	way = attr_way(set, parent);
	if (way < 0)
		return FUSE_BPF_UPCALL;
	flags = READ(set->slot[way & 7].flags);
	if (READ(set->seq) != seq)
		return TORN;
	if (!(flags & KFS_DIR_COMPLETE))
		return FUSE_BPF_UPCALL;
	mark_used(&set->used[way & 7]);
	return answer_absent(q);
}

static inline int lookup_once(LOOKUP *q, uint64_t parent, const uint64_t *hash)
{
	uint64_t mixed = kfs_name_mix(hash, config.mix[0], config.mix[1]);
	struct kfs_entry_set *set = ENTRY_SET(kfs_entry_set_of(parent, mixed, config.entry_sets));
	int way, ret, state = KFS_SLOT_FREE;
	uint32_t seq;

	if (!set)
		return FUSE_BPF_UPCALL;
	seq = READ(set->seq);
	if (seq & 1)
		return TORN;
	way = entry_way(set, parent, hash);
	if (way < 0) {
		ret = answer_complete(q, parent);
	} else {
		state = READ(set->state[way & 7]);
		if (state == KFS_SLOT_KNOWN)
			ret = answer_present(q, READ(set->slot[way & 7].nodeid));
		else if (state == KFS_SLOT_ABSENT)
			ret = answer_absent(q);
		else
			ret = FUSE_BPF_UPCALL;
	}
	/* Also "not here" holds only if nothing came meanwhile: the directory may have been completed by that name. */
	if (ret != FUSE_BPF_ANSWERED)
		return ret;
	if (READ(set->seq) != seq)
		return TORN;
	if (way >= 0)
		mark_used(&set->used[way & 7]);
	if (state == KFS_SLOT_KNOWN)
		COUNT(lookup_hits);
	else if (state == KFS_SLOT_ABSENT)
		COUNT(lookup_negative);
	else
		COUNT(lookup_complete);
	return ret;
}

/* As kfs_entry_slot has it. NAME_COPY(q, key) copies a name that fits into 16 bytes, zeroes after it. */
static inline int name_key(LOOKUP *q, uint64_t *key)
{
	if (q->name_len < KFS_NAME_COPIED)
		return NAME_COPY(q, key);
	if (q->name_len > NAME_LEN_MAX || NAME_HASH(q, key))
		return -1;
	kfs_mark_hashed(key);
	return 0;
}

static inline int answer_lookup(LOOKUP *q)
{
	uint64_t parent = q->parent;
	uint64_t hash[2] = { 0, 0 };
	int ret = FUSE_BPF_UPCALL;

	if (name_key(q, hash))
		return FUSE_BPF_UPCALL;
	/* File handles are resolved by these. */
	if (q->name_len <= 2 && (hash[0] == config.dots[0] || hash[0] == config.dots[1]))
		return FUSE_BPF_UPCALL;
	for (int i = 0; i < READS_MAX; i++) {
		ret = lookup_once(q, parent, hash);
		if (ret != TORN)
			break;
		COUNT(torn_retries);
	}
	if (ret == FUSE_BPF_ANSWERED) {
		if (q->flags & FUSE_BPF_F_RCU)
			COUNT(lookup_rcu);
		return FUSE_BPF_ANSWERED;
	}
	if (ret == TORN)
		COUNT(torn_upcalls);
	COUNT(lookup_misses);
	return FUSE_BPF_UPCALL;
}

static inline int getattr_once(GETATTR *q, uint64_t nodeid)
{
	struct kfs_attr_set *set = ATTR_SET(kfs_attr_set_of(nodeid, config.attr_sets));
	uint32_t seq;
	int way;

	if (!set)
		return FUSE_BPF_UPCALL;
	seq = READ(set->seq);
	if (seq & 1)
		return TORN;
	way = attr_way(set, nodeid);
	if (way < 0 || READ(set->state[way & 7]) != KFS_SLOT_KNOWN)
		return FUSE_BPF_UPCALL;
	SET_ATTR(q, &set->slot[way & 7].attr);
	if (READ(set->seq) != seq)
		return TORN;
	mark_used(&set->used[way & 7]);
	return FUSE_BPF_ANSWERED;
}

static inline int answer_getattr(GETATTR *q)
{
	uint64_t nodeid = q->nodeid;
	int ret = FUSE_BPF_UPCALL;

	for (int i = 0; i < READS_MAX; i++) {
		ret = getattr_once(q, nodeid);
		if (ret != TORN)
			break;
		COUNT(torn_retries);
	}
	if (ret == FUSE_BPF_ANSWERED) {
		COUNT(getattr_hits);
		if (q->flags & FUSE_BPF_F_RCU)
			COUNT(getattr_rcu);
		return FUSE_BPF_ANSWERED;
	}
	if (ret == TORN)
		COUNT(torn_upcalls);
	COUNT(getattr_misses);
	return FUSE_BPF_UPCALL;
}

/* Is it surely absent? */
static inline int answer_xattr(XATTR *q)
{
	uint64_t nodeid = q->nodeid;
	uint32_t kind = q->kind;
	uint32_t wanted = kind == FUSE_BPF_XATTR_CAPABILITY ? KFS_NO_CAPABILITY : KFS_NO_ACL;
	struct kfs_attr_set *set = ATTR_SET(kfs_attr_set_of(nodeid, config.attr_sets));
	uint32_t seq, flags;
	int way;

	if (kind == FUSE_BPF_XATTR_OTHER || kind > FUSE_BPF_XATTR_ACL_DEFAULT || !set)
		return FUSE_BPF_UPCALL;
	seq = READ(set->seq);
	way = attr_way(set, nodeid);
	if ((seq & 1) || way < 0)
		goto miss;
	flags = READ(set->slot[way & 7].flags);
	if (READ(set->seq) != seq || !(flags & wanted))
		goto miss;
	COUNT(xattr_absent);
	return FUSE_BPF_ANSWERED;
miss:
	COUNT(xattr_misses);
	return FUSE_BPF_UPCALL;
}

static inline int extent_way(struct kfs_extent_set *set, uint64_t nodeid, uint64_t window)
{
#pragma GCC unroll 8
	for (int i = 0; i < (int)KFS_WAYS; i++) {
		if (READ(set->slot[i].nodeid) == nodeid && READ(set->slot[i].window) == window)
			return i;
	}
	return -1;
}

/* From what of the image the slot says byte @pos of the file is. The caller looks whether the set has changed meanwhile. */
static inline int extent_find(struct kfs_extent_slot *slot, uint64_t pos, struct kfs_extent *ret)
{
#pragma GCC unroll 8
	for (int i = 0; i < (int)KFS_EXTENTS; i++) {
		uint64_t off = READ(slot->extent[i].off), len = READ(slot->extent[i].len);

		if (pos - off < len) {
			ret->phys = READ(slot->extent[i].phys) + (pos - off);
			ret->len = len - (pos - off);
			return 1;
		}
	}
	return 0;
}

/* The slot of a window that is not the first. */
static inline int extent_in_window(uint64_t nodeid, uint64_t pos, uint64_t birth,
				   struct kfs_extent *ret)
{
	uint64_t window = pos >> KFS_WINDOW_BITS;
	struct kfs_extent_set *set =
		EXTENT_SET(kfs_extent_set_of(nodeid, window, config.extent_sets));
	int way, found;
	uint32_t seq;

	if (!set)
		return FUSE_BPF_UPCALL;
	seq = READ(set->seq);
	if (seq & 1)
		return TORN;
	way = extent_way(set, nodeid, window);
	if (way < 0 || READ(set->slot[way & 7].birth) != birth)
		return FUSE_BPF_UPCALL;
	found = extent_find(&set->slot[way & 7], pos, ret);
	if (READ(set->seq) != seq)
		return TORN;
	if (!found)
		return FUSE_BPF_UPCALL;
	mark_used(&set->used[way & 7]);
	return FUSE_BPF_ANSWERED;
}

static inline int extent_once(uint64_t nodeid, uint64_t pos, struct kfs_extent *ret)
{
	struct kfs_extent_set *set = EXTENT_SET(kfs_extent_set_of(nodeid, 0, config.extent_sets));
	int way, answer = FUSE_BPF_UPCALL;
	uint64_t until;
	uint32_t seq;

	if (!set)
		return FUSE_BPF_UPCALL;
	seq = READ(set->seq);
	if (seq & 1)
		return TORN;
	way = extent_way(set, nodeid, 0);
	if (way < 0)
		return FUSE_BPF_UPCALL;
	until = READ(set->slot[way & 7].until);
	if (pos >> KFS_WINDOW_BITS)
		answer = extent_in_window(nodeid, pos, READ(set->slot[way & 7].birth), ret);
	else if (extent_find(&set->slot[way & 7], pos, ret))
		answer = FUSE_BPF_ANSWERED;
	if (READ(set->seq) != seq)
		return TORN;
	if (answer != FUSE_BPF_ANSWERED)
		return answer;
	if (until && NOW() >= until)
		return FUSE_BPF_UPCALL;
	mark_used(&set->used[way & 7]);
	return FUSE_BPF_ANSWERED;
}

static inline int answer_extent(EXTENT *q)
{
	uint64_t nodeid = q->nodeid, pos = q->pos;
	struct kfs_extent extent = { 0 };
	int ret = FUSE_BPF_UPCALL;

	for (int i = 0; i < READS_MAX; i++) {
		ret = extent_once(nodeid, pos, &extent);
		if (ret != TORN)
			break;
		COUNT(torn_retries);
	}
	if (ret == FUSE_BPF_ANSWERED) {
		SET_EXTENT(q, extent.phys, extent.len);
		COUNT(extent_hits);
		return FUSE_BPF_ANSWERED;
	}
	if (ret == TORN)
		COUNT(torn_upcalls);
	COUNT(extent_misses);
	return FUSE_BPF_UPCALL;
}

#endif
