/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the back end: a guest's requests, from a chain of descriptors to the reply in it. All of this is for the queue's
 * own thread, or for whoever has ended that.
 */
#ifndef KFS_VHOST_REQUEST_H
#define KFS_VHOST_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

struct queue;
struct transport_ops;

/* The transport that queues are, for sessions. */
extern const struct transport_ops request_ops;

/* Those that ended elsewhere since are answered. */
void request_finish_done(struct queue *q);
/* One of them is forgotten without an answer; false: there is none. */
bool request_drop_done(struct queue *q);
/* What waits for a lock, or for the front end, is given up: it ends elsewhere soon. */
void request_abort_locks(struct queue *q);
/* What the chain asks for is begun, and mostly done; else it ends elsewhere. */
void request_serve(struct queue *q, uint16_t chain_head);

#endif
