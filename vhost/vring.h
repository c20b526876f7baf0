/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Split virtqueues, the device's side: which chains of descriptors are offered, what memory they
 * describe, and giving them back. Pure: no sockets, no threads; memory is a struct memory.
 *
 * The ring is in the guest's memory and changes while it is read. So each value is read once,
 * checked and used from the copy:
 *
 * (1) A chain is followed for at most as many descriptors as its table has: a loop ends there.
 * (2) What a chain describes is inside the guest's memory, or the chain is refused.
 * (3) At most as many chains are taken between two looks at the ring's index as the ring has
 *     entries: an index that jumps further is a broken ring.
 *
 * A broken ring (-EPROTO) is not looked at again: what its numbers mean is not known any more.
 * A chain whose addresses are wrong (-EFAULT) is the guest's own request: it can be answered,
 * and the ring goes on.
 *
 * One thread at a time.
 */
#ifndef KFS_VHOST_VRING_H
#define KFS_VHOST_VRING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/base/util.h"
#include "vhost/dirty.h"
#include "vhost/inflight.h"

struct memory;

/* A power of two. A FUSE request of 1 MiB in single pages needs 260 descriptors. */
#define VRING_NUM_MAX 1024u
/* Pieces of memory in one chain, what preadv(2) takes. */
#define VRING_IOV_MAX 1024u

struct vring_dev {
	uint32_t num;
	uint64_t desc_uva, avail_uva, used_uva; /* as the front end names them */
	bool event_idx, indirect;		/* negotiated */
	struct dirty_log *log; /* of what is written into the used ring; NULL: not logged */
	uint64_t log_gpa;      /* as which guest address it begins there */
	/* While mapped: */
	uint8_t *desc, *avail, *used;
	uint16_t avail_next; /* the next entry to take */
	uint16_t avail_seen; /* the guest's index when it was read last */
	uint16_t used_next;
	uint16_t used_signalled; /* used_next at the last call */
	bool signalled_valid;
	/* What was taken and not put, for whoever takes over; and what the last one left: */
	struct inflight_ring inflight;
	uint16_t *again; /* VRING_NUM_MAX heads, the caller's; NULL: no record is kept */
	uint32_t again_count, again_next;
};

/* The guest's words first, then what may be written. */
struct vring_chain {
	uint16_t head;
	uint32_t in_count, out_count; /* of iov */
	uint64_t in_len, out_len;
	struct iovec iov[VRING_IOV_MAX];
};

/*
 * Find the ring in memory; avail_next is the caller's word (SET_VRING_BASE), used_next the
 * ring's. -EINVAL: num is no power of two up to VRING_NUM_MAX, or an address is misaligned.
 * -EFAULT: not in the memory.
 */
MUST_USE int vring_map(struct vring_dev *v, const struct memory *m);
/*
 * Once after the ring was mapped for the first time of this life, with its record open: what was
 * taken and not put is taken again before anything new. -EPROTO: the record makes no sense.
 */
MUST_USE int vring_recover(struct vring_dev *v);
void vring_unmap(struct vring_dev *v);
/* There is more of what was taken in a life before. */
bool vring_owes(const struct vring_dev *v);
/* Take the next chain's head. 1, 0 when there is none, or -EPROTO. */
MUST_USE int vring_take(struct vring_dev *v, uint16_t *ret_head);
/* There is something to take. */
bool vring_pending(const struct vring_dev *v);
/*
 * What chain @head describes. -EPROTO: loops, tables in tables, numbers out of range, readable
 * memory after writable; -EFAULT: memory that is not the guest's. *ret_chain holds what
 * came before it, of what may be read and of what may be written: mostly enough to say so.
 */
MUST_USE int vring_walk(const struct vring_dev *v, const struct memory *m, uint16_t head,
			struct vring_chain *ret_chain);
/* What is offered next is brought near, from other processors' caches mostly. */
void vring_prefetch(const struct vring_dev *v, const struct memory *m);
/* Give chain @head back, @len bytes written. */
void vring_put(struct vring_dev *v, uint16_t head, uint32_t len);
/* Does the guest want to be called for what was put since it was last? Then it is called. */
bool vring_needs_call(struct vring_dev *v);
/* Kicks are not wanted until vring_listen(). */
void vring_ignore_kicks(struct vring_dev *v);
/* Kicks are wanted from here on; true: something came meanwhile, take that first. */
bool vring_listen(struct vring_dev *v);

#endif
