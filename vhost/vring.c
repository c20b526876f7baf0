/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rings are little-endian, as virtio 1 has them. Loads and stores of indices are atomic: the
 * guest's processors are at the other end.
 */
#include "vhost/vring.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>

#include "daemon/base/check.h"
#include "vhost/memory.h"

#define AVAIL_RING offsetof(struct vring_avail, ring)
#define USED_RING offsetof(struct vring_used, ring)
#define DESC_ALIGN 16u
#define AVAIL_ALIGN 2u
#define USED_ALIGN 4u

static uint16_t load16(const uint8_t *at)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE));
}

static void store16(uint8_t *at, uint16_t value)
{
	__atomic_store_n((uint16_t *)(void *)at, htole16(value), __ATOMIC_RELEASE);
}

/* @len bytes at @off of the used ring were written. */
static void log_used(const struct vring_dev *v, uint64_t off, uint64_t len)
{
	uint64_t gpa;

	if (unlikely(v->log) && !add_overflows(v->log_gpa, off, &gpa))
		dirty_log_mark(v->log, gpa, len);
}

static void store_used16(const struct vring_dev *v, uint64_t off, uint16_t value)
{
	store16(v->used + off, value);
	log_used(v, off, sizeof(value));
}

/* Of a ring with @num entries, both its event fields included. */
static uint64_t avail_size(uint32_t num)
{
	return AVAIL_RING + num * sizeof(uint16_t) + sizeof(uint16_t);
}

static uint64_t used_size(uint32_t num)
{
	return USED_RING + num * sizeof(struct vring_used_elem) + sizeof(uint16_t);
}

static uint8_t *used_event(const struct vring_dev *v)
{
	return v->avail + AVAIL_RING + v->num * sizeof(uint16_t);
}

static uint64_t avail_event_off(const struct vring_dev *v)
{
	return USED_RING + v->num * sizeof(struct vring_used_elem);
}

static bool aligned(const uint8_t *at, size_t to)
{
	return (uintptr_t)at % to == 0;
}

int vring_map(struct vring_dev *v, const struct memory *m)
{
	vring_unmap(v);
	if (!v->num || v->num > VRING_NUM_MAX || v->num & (v->num - 1))
		return -EINVAL;
	v->desc = memory_at_user(m, v->desc_uva, v->num * sizeof(struct vring_desc));
	v->avail = memory_at_user(m, v->avail_uva, avail_size(v->num));
	v->used = memory_at_user(m, v->used_uva, used_size(v->num));
	if (!v->desc || !v->avail || !v->used) {
		vring_unmap(v);
		return -EFAULT;
	}
	if (!aligned(v->desc, DESC_ALIGN) || !aligned(v->avail, AVAIL_ALIGN) ||
	    !aligned(v->used, USED_ALIGN)) {
		vring_unmap(v);
		return -EINVAL;
	}
	v->used_next = load16(v->used + offsetof(struct vring_used, idx));
	v->avail_seen = v->avail_next;
	v->signalled_valid = false;
	return 0;
}

void vring_unmap(struct vring_dev *v)
{
	v->desc = v->avail = v->used = NULL;
}

int vring_recover(struct vring_dev *v)
{
	int count;

	if (!v->inflight.head)
		return 0;
	count = inflight_ring_recover(&v->inflight, v->used_next, v->again);
	if (count < 0)
		return count;
	v->again_count = (uint32_t)count;
	v->again_next = 0;
	/* Whoever was killed could not say how far it had come; the record does. */
	if (count)
		v->avail_next = v->avail_seen = (uint16_t)(v->used_next + count);
	return 0;
}

bool vring_owes(const struct vring_dev *v)
{
	return v->again_next < v->again_count;
}

int vring_take(struct vring_dev *v, uint16_t *ret_head)
{
	uint16_t head;

	if (unlikely(vring_owes(v))) {
		*ret_head = v->again[v->again_next++];
		return 1;
	}
	if (v->avail_seen == v->avail_next) {
		v->avail_seen = load16(v->avail + offsetof(struct vring_avail, idx));
		if ((uint16_t)(v->avail_seen - v->avail_next) > v->num) {
			v->avail_seen = v->avail_next;
			return -EPROTO;
		}
		if (v->avail_seen == v->avail_next)
			return 0;
	}
	head = load16(v->avail + AVAIL_RING + (v->avail_next & (v->num - 1)) * sizeof(uint16_t));
	if (head >= v->num)
		return -EPROTO;
	inflight_take(&v->inflight, head);
	v->avail_next++;
	*ret_head = head;
	return 1;
}

bool vring_pending(const struct vring_dev *v)
{
	return vring_owes(v) ||
	       load16(v->avail + offsetof(struct vring_avail, idx)) != v->avail_next;
}

/* ---- chains ---- */

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* A table of descriptors: the ring's own, or one that a descriptor names. */
struct table {
	const struct memory *m;
	const uint8_t *ring; /* all of it; NULL: in pieces, at gpa */
	uint64_t gpa;
	uint32_t count;
};

/* One copy; a table in the guest's memory may lie in more than one piece. */
static bool table_read(const struct table *t, uint32_t index, struct desc *ret_desc)
{
	struct vring_desc raw;
	uint64_t gpa = t->gpa + (uint64_t)index * sizeof(raw), part;
	uint8_t *to = (uint8_t *)&raw;

	if (t->ring) {
		memcpy(&raw, t->ring + (size_t)index * sizeof(raw), sizeof(raw));
	} else {
		for (size_t left = sizeof(raw); left; left -= part, to += part, gpa += part) {
			const uint8_t *from = memory_at(t->m, gpa, left, &part);

			if (!from)
				return false;
			memcpy(to, from, part);
		}
	}
	*ret_desc = (struct desc){ .addr = le64toh(raw.addr),
				   .len = le32toh(raw.len),
				   .flags = le16toh(raw.flags),
				   .next = le16toh(raw.next) };
	return true;
}

/* The memory of one descriptor, in as many pieces as it has. */
static int add_pieces(const struct memory *m, const struct desc *d, struct vring_chain *c)
{
	uint64_t gpa = d->addr, left = d->len, part;

	while (left) {
		uint8_t *at = memory_at(m, gpa, left, &part);

		if (!at)
			return -EFAULT;
		if (c->in_count + c->out_count == VRING_IOV_MAX)
			return -EFAULT;
		c->iov[c->in_count + c->out_count] =
			(struct iovec){ .iov_base = at, .iov_len = (size_t)part };
		if (d->flags & VRING_DESC_F_WRITE) {
			c->out_count++;
			c->out_len += part;
		} else {
			c->in_count++;
			c->in_len += part;
		}
		left -= part;
		/* The end of memory at the top of the address space: nothing follows it. */
		if (left && add_overflows(gpa, part, &gpa))
			return -EFAULT;
	}
	return 0;
}

static int walk_table(const struct table *t, uint32_t index, struct vring_chain *c)
{
	bool fault[2] = { false, false }; /* readable, writable */

	for (uint32_t steps = 0; steps < t->count; steps++) {
		struct desc d;
		bool writable;

		if (index >= t->count)
			return -EPROTO;
		if (!table_read(t, index, &d))
			return -EFAULT;
		if (d.flags & VRING_DESC_F_INDIRECT)
			return -EPROTO;
		if (!(d.flags & VRING_DESC_F_WRITE) && c->out_count)
			return -EPROTO;
		writable = d.flags & VRING_DESC_F_WRITE;
		if (!fault[writable] && add_pieces(t->m, &d, c))
			fault[writable] = true;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return fault[0] || fault[1] ? -EFAULT : 0;
		index = d.next;
	}
	return -EPROTO;
}

int vring_walk(const struct vring_dev *v, const struct memory *m, uint16_t head,
	       struct vring_chain *ret_chain)
{
	struct table ring = { .m = m, .ring = v->desc, .count = v->num };
	struct table inner = { .m = m };
	struct desc d;
	uint64_t end, part;

	ret_chain->head = head;
	ret_chain->in_count = ret_chain->out_count = 0;
	ret_chain->in_len = ret_chain->out_len = 0;
	if (head >= v->num || !table_read(&ring, head, &d))
		return -EPROTO;
	if (!(d.flags & VRING_DESC_F_INDIRECT))
		return walk_table(&ring, head, ret_chain);
	/* A chain is one table, or none: Linux's drivers make no others. */
	if (!v->indirect || d.flags & VRING_DESC_F_NEXT || !d.len ||
	    d.len % sizeof(struct vring_desc) || d.len / sizeof(struct vring_desc) > VRING_NUM_MAX)
		return -EPROTO;
	if (add_overflows(d.addr, (uint64_t)d.len, &end))
		return -EFAULT;
	inner.gpa = d.addr;
	inner.count = d.len / (uint32_t)sizeof(struct vring_desc);
	/* Mostly in one piece: then it is found once, not for each descriptor. */
	inner.ring = memory_at(m, d.addr, d.len, &part);
	if (inner.ring && part < d.len)
		inner.ring = NULL;
	return walk_table(&inner, 0, ret_chain);
}

/* ---- what comes next ---- */

/* Descriptor @ahead entries further on in what the guest offers; NULL: not offered, or no sense. */
static const uint8_t *offered(const struct vring_dev *v, uint16_t ahead)
{
	uint16_t at = (uint16_t)(v->avail_next + ahead), head;

	if ((uint16_t)(v->avail_seen - v->avail_next) <= ahead)
		return NULL;
	head = load16(v->avail + AVAIL_RING + (at & (v->num - 1)) * sizeof(uint16_t));
	return head < v->num ? v->desc + head * sizeof(struct vring_desc) : NULL;
}

/* Where the first descriptor's memory, or table, is. */
static const uint8_t *target(const struct memory *m, const uint8_t *desc)
{
	struct vring_desc raw;
	uint64_t part;

	memcpy(&raw, desc, sizeof(raw));
	return memory_at(m, le64toh(raw.addr), sizeof(raw), &part);
}

void vring_prefetch(const struct vring_dev *v, const struct memory *m)
{
	const uint8_t *desc = offered(v, 2), *at;

	if (desc)
		__builtin_prefetch(desc);
	desc = offered(v, 1);
	at = desc ? target(m, desc) : NULL;
	if (at) {
		__builtin_prefetch(at);
		__builtin_prefetch(at + 64);
	}
	desc = offered(v, 0);
	at = desc ? target(m, desc) : NULL;
	at = at && (uintptr_t)at % 16 == 0 ? target(m, at) : NULL;
	if (at)
		__builtin_prefetch(at);
}

/* ---- giving back ---- */

void vring_put(struct vring_dev *v, uint16_t head, uint32_t len)
{
	struct vring_used_elem elem = { .id = htole32(head), .len = htole32(len) };
	size_t at = USED_RING + (v->used_next & (v->num - 1)) * sizeof(elem);

	memcpy(v->used + at, &elem, sizeof(elem));
	log_used(v, at, sizeof(elem));
	inflight_put(&v->inflight, head);
	v->used_next++;
	/* Released: whoever sees the index sees the element and what the request wrote. */
	store_used16(v, offsetof(struct vring_used, idx), v->used_next);
	inflight_put_done(&v->inflight, head, v->used_next);
}

bool vring_needs_call(struct vring_dev *v)
{
	uint16_t last = v->used_signalled, event;
	bool known = v->signalled_valid;

	/* The index is written before the guest's wish is read; the guest does it the other way. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!v->event_idx)
		return !(load16(v->avail + offsetof(struct vring_avail, flags)) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	v->used_signalled = v->used_next;
	v->signalled_valid = true;
	event = load16(used_event(v));
	return !known || vring_need_event(event, v->used_next, last);
}

void vring_ignore_kicks(struct vring_dev *v)
{
	/* With event indices the old one stays: it is passed, so no kick comes for it again. */
	if (!v->event_idx)
		store_used16(v, offsetof(struct vring_used, flags), VRING_USED_F_NO_NOTIFY);
}

bool vring_listen(struct vring_dev *v)
{
	if (v->event_idx)
		store_used16(v, avail_event_off(v), v->avail_next);
	else
		store_used16(v, offsetof(struct vring_used, flags), 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return vring_pending(v);
}
