/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was taken from the rings and not given back, in memory that the front end keeps: a back
 * end that takes over from one that was killed finds it there and serves it again. The layout of
 * a ring's part is the protocol's ("Inflight I/O tracking", split virtqueues); behind the last
 * one is a note of ours, of what was agreed with the guest's kernel.
 *
 *	inflight_new()			memory for a front end that has none yet
 *	inflight_map()			its memory, of this life or of one before
 *	inflight_ring_open()		a ring's part
 *	inflight_ring_recover()		what is to be served again
 *	inflight_take() inflight_put()	around the life of a chain
 *
 * What it guarantees: a chain comes back once. The used index that the guest sees and the record
 * agree whatever instruction the back end died at, as the record is finished by whoever takes
 * over. It does not say whether a request that was not answered had been carried out: such a
 * request is carried out again. One that cannot be repeated without a difference (CREATE with
 * O_EXCL, MKDIR, UNLINK, RENAME, an append) meets its own first execution only if the journal
 * committed between the change and the answer; else the change was lost with the back end that
 * made it. Then CREATE says EEXIST, UNLINK ENOENT, and an append is there twice.
 *
 * All of it is the front end's word: counts and numbers are checked, and what it can do with lies
 * is to have its own requests served again.
 *
 * One thread at a time for each ring.
 */
#ifndef KFS_VHOST_INFLIGHT_H
#define KFS_VHOST_INFLIGHT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "vhost/shared.h"

#define INFLIGHT_VERSION 1
/* Parts do not share a processor's cache line. */
#define INFLIGHT_ALIGN 64u
#define INFLIGHT_NOTE_MAX 128u

struct inflight_desc {
	uint8_t taken;
	uint8_t padding[5];
	uint16_t next;	  /* in the list of those given back last */
	uint64_t counter; /* in which order they were taken */
};

struct inflight_head {
	uint64_t features;
	uint16_t version; /* 0: never used */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_desc desc[];
};

static_assert(sizeof(struct inflight_desc) == 16, "DescStateSplit");
static_assert(sizeof(struct inflight_head) == 16, "QueueRegionSplit");

/* As the protocol's messages describe it. */
struct inflight_area {
	uint64_t size, offset;
	uint16_t queues, ring_size;
};

struct inflight {
	struct inflight_area area;
	uint8_t *base; /* NULL: none */
	struct shared file;
};

struct inflight_ring {
	struct inflight_head *head; /* NULL: nothing is recorded */
	uint64_t counter;
	uint32_t num;
};

/* Of an area for that many rings of that size, the note included. */
uint64_t inflight_size(uint16_t queues, uint16_t ring_size);
/* -EINVAL: no rings, or a size that a ring cannot have. *ret_fd is the caller's. */
MUST_USE int inflight_new(uint16_t queues, uint16_t ring_size, struct inflight_area *ret_area,
			  int *ret_fd);
/* @fd stays the caller's. -EINVAL: too small for what it is to hold; others are shared_map()'s. */
MUST_USE int inflight_map(struct inflight *in, int fd, const struct inflight_area *area);
void inflight_unmap(struct inflight *in);
/* INFLIGHT_NOTE_MAX bytes, zeros at first; NULL: none mapped. */
uint8_t *inflight_note(const struct inflight *in);

/*
 * The part of ring @index, which has @num entries. -EINVAL: the area has no such ring, or it was
 * used by one of another size.
 */
MUST_USE int inflight_ring_open(const struct inflight *in, uint32_t index, uint32_t num,
				struct inflight_ring *ret_ring);
/*
 * Finish what the last life left undone, @used_idx being the ring's, and list the heads to be
 * served again at @ret_heads (room for as many as the ring has entries), in the order in which
 * they were taken. Their number, or -EPROTO: the record contradicts itself.
 */
MUST_USE int inflight_ring_recover(struct inflight_ring *r, uint16_t used_idx, uint16_t *ret_heads);

void inflight_take(struct inflight_ring *r, uint16_t head);
/* Before the used index is raised, and after: it is @used_idx now. */
void inflight_put(struct inflight_ring *r, uint16_t head);
void inflight_put_done(struct inflight_ring *r, uint16_t head, uint16_t used_idx);

#endif
