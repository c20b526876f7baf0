/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each store is seen by whoever takes over in the order in which it is written here: the process
 * may be killed between any two.
 */
#include "vhost/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vhost/device.h"

static uint64_t ring_size_bytes(uint16_t ring_size)
{
	return ROUND_UP(sizeof(struct inflight_head) + ring_size * sizeof(struct inflight_desc),
			(uint64_t)INFLIGHT_ALIGN);
}

uint64_t inflight_size(uint16_t queues, uint16_t ring_size)
{
	return queues * ring_size_bytes(ring_size) + INFLIGHT_NOTE_MAX;
}

static bool makes_sense(uint16_t queues, uint16_t ring_size)
{
	return queues && queues <= DEVICE_QUEUES_MAX && ring_size && ring_size <= VRING_NUM_MAX;
}

int inflight_new(uint16_t queues, uint16_t ring_size, struct inflight_area *ret_area, int *ret_fd)
{
	uint64_t size = inflight_size(queues, ring_size);
	int fd;

	if (!makes_sense(queues, ring_size))
		return -EINVAL;
	fd = memfd_create("kfs-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int err = -errno;

		(void)close(fd); /* nothing was written */
		return err;
	}
	*ret_area =
		(struct inflight_area){ .size = size, .queues = queues, .ring_size = ring_size };
	*ret_fd = fd;
	return 0;
}

int inflight_map(struct inflight *in, int fd, const struct inflight_area *area)
{
	struct shared file;
	int err;

	if (!makes_sense(area->queues, area->ring_size) || area->offset % sizeof(uint64_t) ||
	    area->size < inflight_size(area->queues, area->ring_size))
		return -EINVAL;
	err = shared_map(fd, area->offset, area->size, &file);
	if (err)
		return err;
	inflight_unmap(in);
	*in = (struct inflight){ .area = *area, .base = file.at, .file = file };
	return 0;
}

void inflight_unmap(struct inflight *in)
{
	shared_unmap(&in->file);
	*in = (struct inflight){ .base = NULL };
}

uint8_t *inflight_note(const struct inflight *in)
{
	if (!in->base)
		return NULL;
	return in->base + in->area.queues * ring_size_bytes(in->area.ring_size);
}

int inflight_ring_open(const struct inflight *in, uint32_t index, uint32_t num,
		       struct inflight_ring *ret_ring)
{
	struct inflight_head *head;

	*ret_ring = (struct inflight_ring){ .num = num };
	if (!in->base)
		return 0;
	if (index >= in->area.queues || num > in->area.ring_size)
		return -EINVAL;
	head = (void *)(in->base + index * ring_size_bytes(in->area.ring_size));
	/* Zeros are a part that was never used; whatever it was used for is written before that. */
	if (!head->version) {
		head->desc_num = (uint16_t)num;
		__atomic_store_n(&head->version, INFLIGHT_VERSION, __ATOMIC_RELEASE);
	}
	if (head->version != INFLIGHT_VERSION || head->desc_num != num || head->features)
		return -EINVAL;
	ret_ring->head = head;
	return 0;
}

/* ---- a chain's life ---- */

void inflight_take(struct inflight_ring *r, uint16_t head)
{
	struct inflight_desc *d;

	if (!r->head)
		return;
	d = &r->head->desc[head];
	d->counter = r->counter++;
	__atomic_store_n(&d->taken, 1, __ATOMIC_RELEASE);
}

void inflight_put(struct inflight_ring *r, uint16_t head)
{
	if (!r->head)
		return;
	r->head->desc[head].next = r->head->last_batch_head;
	__atomic_store_n(&r->head->last_batch_head, head, __ATOMIC_RELEASE);
}

void inflight_put_done(struct inflight_ring *r, uint16_t head, uint16_t used_idx)
{
	if (!r->head)
		return;
	__atomic_store_n(&r->head->desc[head].taken, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&r->head->used_idx, used_idx, __ATOMIC_RELEASE);
}

/* ---- another life ---- */

/* The index was raised, and the marks of those it covers may still be there. */
static int finish_batch(struct inflight_ring *r, uint16_t used_idx)
{
	struct inflight_head *h = r->head;
	uint16_t left = (uint16_t)(used_idx - h->used_idx), at = h->last_batch_head;

	if (left > r->num)
		return -EPROTO;
	for (; left; left--) {
		if (at >= r->num)
			return -EPROTO;
		h->desc[at].taken = 0;
		at = h->desc[at].next;
	}
	__atomic_store_n(&h->used_idx, used_idx, __ATOMIC_RELEASE);
	return 0;
}

struct resubmission {
	uint64_t counter;
	uint16_t head;
};

static int by_counter(const void *a, const void *b)
{
	const struct resubmission *left = a, *right = b;

	return left->counter < right->counter ? -1 : left->counter > right->counter;
}

int inflight_ring_recover(struct inflight_ring *r, uint16_t used_idx, uint16_t *ret_heads)
{
	struct resubmission found[VRING_NUM_MAX];
	uint64_t last = 0;
	int count = 0;
	int err;

	if (!r->head)
		return 0;
	err = finish_batch(r, used_idx);
	if (err)
		return err;
	/* One copy: it is sorted, and the front end may change it meanwhile. */
	for (uint16_t i = 0; i < r->num; i++)
		if (r->head->desc[i].taken)
			found[count++] = (struct resubmission){ .counter = r->head->desc[i].counter,
								.head = i };
	qsort(found, (size_t)count, sizeof(*found), by_counter);
	for (int i = 0; i < count; i++) {
		ret_heads[i] = found[i].head;
		last = found[i].counter;
	}
	r->counter = count ? last + 1 : 0;
	return count;
}
