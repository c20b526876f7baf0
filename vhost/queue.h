/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the back end: what requests do to the ring they came from. On the queue's thread. */
#ifndef KFS_VHOST_QUEUE_H
#define KFS_VHOST_QUEUE_H

#include <stdint.h>

struct queue;

/* Give a chain back, with @written bytes in its room, and tell whoever wants to hear of it. */
void queue_put(struct queue *q, uint16_t chain_head, uint32_t written);
/* It makes no sense, and is not looked at again until the device is reset. */
void queue_broken(struct queue *q);

#endif
