/* SPDX-License-Identifier: GPL-2.0-only */
/* The transport that queues are, for sessions. */
#ifndef KFS_VHOST_QUEUE_H
#define KFS_VHOST_QUEUE_H

struct transport_ops;

extern const struct transport_ops queue_ops;

#endif
