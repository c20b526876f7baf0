/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the back end: a virtio-fs device, which is what one front end's connection has. Its
 * memory, its queues (0 is for FORGETs, the others for requests) each with a thread, and its
 * FUSE session.
 *
 * conn.c changes the device as the front end's messages say; it is the only one that does.
 * queue.c and request.c serve. Invariants:
 *
 * (1) Memory and rings are changed with the queues' threads ended: queue_pause(), change,
 *     queue_resume(). What a request needs of guest memory it needs on its queue's thread only;
 *     one that ends elsewhere (a lock that is granted) is handed back to that thread.
 * (2) A session is replaced (device_renew()) while no queue serves a request of it. A guest
 *     begins anew by INIT without saying goodbye: after a reboot, after an unmount.
 * (3) What was taken from a ring is put back into the same ring before GET_VRING_BASE is
 *     answered; a lock that waits is given up for that.
 * (4) What is taken and not answered is recorded in the front end's memory, if it keeps some
 *     (inflight.h): a device that starts with such a record serves that first. The note there
 *     says what the session has agreed on, from INIT to its end.
 */
#ifndef KFS_VHOST_DEVICE_H
#define KFS_VHOST_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/list.h"
#include "daemon/base/lock.h"
#include "daemon/base/util.h"
#include "vhost/dirty.h"
#include "vhost/handover.h"
#include "vhost/inflight.h"
#include "vhost/memory.h"
#include "vhost/pace.h"
#include "vhost/transfer.h"
#include "vhost/vring.h"

struct device;
struct proto_session;
struct vhost_request;
struct vhost_image;
struct window;

/* One for FORGETs, and as many for requests as a machine may have processors that matter. */
#define DEVICE_QUEUES_MAX 65u
/* A reply's payload. */
#define QUEUE_PAYLOAD_MAX (1u << 20)

enum queue_order { QUEUE_RUN, QUEUE_PAUSE, QUEUE_DRAIN };

struct queue {
	struct device *dev;
	uint32_t index;
	struct vring_dev ring;		/* [its thread while running; else conn] */
	int kick_fd, call_fd, err_fd;	/* [the same] -1: none; without kick it is not started */
	bool enabled, has_addr;		/* [conn] */
	bool running;			/* [conn] there is a thread */
	bool recorded;			/* [conn] the ring's record was opened in this life of it */
	_Atomic bool broken;		/* [atomic] the ring makes no sense any more */
	_Atomic int order;		/* [atomic] enum queue_order */
	_Atomic bool serving;		/* [atomic] a request is in proto, or about to be */
	_Atomic bool has_done;		/* [atomic] done is not empty */
	int wake_fd;			/* eventfd: order or done have changed */
	int epoll_fd;			/* [conn] while running: kicks and wakes, by their edges */
	bool kick_fills;		/* [conn] it is a pipe or socket: to be emptied */
	struct pace pace;		/* [its thread] */
	pthread_t thread;		/* [conn] */
	struct mutex lock;		/* LOCK_LEAF */
	struct list done;		/* [lock] requests that ended on other threads */
	struct list flying;		/* [its thread, or conn] taken, not ended on its thread */
	uint32_t in_flight;		/* [the same] their number */
	struct vhost_request *spare;	/* [its thread, or conn] */
	struct vring_chain *chain;	/* [its thread] of the request being served */
	struct iovec *in, *out;		/* [its thread] the same for proto */
	uint8_t *buf;			/* [its thread] QUEUE_PAYLOAD_MAX bytes */
	_Atomic uint64_t requests, bad; /* [atomic] served; chains that were refused */
};

struct device_opts {
	struct fs *fs;			 /* [the session's] with an image: as handover.h says */
	const struct vhost_image *image; /* NULL: it stays */
	struct inval_bus *bus;
	const struct proto_opts *proto;
	struct proto_session *host; /* whose kernel must be told of changes; NULL: none */
	uint32_t number;	    /* of the guest, for messages */
	uint64_t window_size;	    /* bytes; 0: no window */
	uint64_t poll_ns;	    /* look for requests so long before sleeping, at most */
	int32_t pid;		    /* of the front end; 0: not known */
};

struct device {
	struct device_opts opts;
	struct memory memory;	  /* [queues paused] */
	struct window *window;	  /* [written once] NULL: none */
	struct inflight inflight; /* [rings stopped] */
	struct dirty_log log;	  /* [queues paused] */
	bool logs_all;		  /* [queues paused] what requests write is logged, too */
	struct queue queues[DEVICE_QUEUES_MAX];
	/* The session and its replacement: */
	struct proto_session *session; /* [serving, or renewing] NULL: no memory for one */
	struct transfer transfer;      /* [conn] of its state; rings stopped meanwhile */
	struct handover handover;      /* [conn, or transfer] */
	uint64_t generation;	       /* [lock] */
	_Atomic bool used;	       /* [atomic] the session has had its INIT */
	_Atomic bool renewing;	       /* [atomic; set under lock] */
	struct mutex lock;	       /* LOCK_LEAF */
	struct cond quiet;	       /* [lock] serving, renewing or visitors have changed */
	uint32_t visitors;	       /* [lock] who look at the session from other threads */
	struct list listed;	       /* [roster's lock] */
	uint64_t since_ns;	       /* [written once] CLOCK_MONOTONIC */
};

MUST_USE int device_new(const struct device_opts *opts, struct device **ret_device);
/* Ends all that is in flight, forgets the session. */
void device_free(struct device *d);

/* All queues that can run, run; -EFAULT or -EINVAL (the last one's) if a ring cannot be mapped. */
MUST_USE int device_resume(struct device *d);
void device_pause(struct device *d);
/* A session that nobody has used yet, unless the one of @generation was replaced meanwhile. */
void device_renew(struct device *d, uint64_t generation);
uint64_t device_generation(struct device *d);
/* Without one, until there is one again. Rings stopped. */
void device_close_session(struct device *d);
MUST_USE int device_open_session(struct device *d);

/* Note in the front end's memory what was agreed. A queue's thread, between enter and leave. */
void device_note(struct device *d);
/* Go on as the note there says, if it says something. Rings stopped. */
void device_adopt(struct device *d);

/* Around all use of d->session by a queue's thread. */
void device_enter(struct queue *q);
void device_leave(struct queue *q);

MUST_USE int queue_init(struct queue *q, struct device *d, uint32_t index);
/* Waits for what is in flight; the session must be gone. */
void queue_fini(struct queue *q);
bool queue_can_run(const struct queue *q);
MUST_USE int queue_resume(struct queue *q);
void queue_pause(struct queue *q);
/* Stopped, and everything put back. -ETIMEDOUT: something does not end. */
MUST_USE int queue_drain(struct queue *q);

#endif
