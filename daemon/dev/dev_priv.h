/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the host mount share: dev.c mounts, waits and unmounts; reader.c
 * serves what comes through /dev/fuse, uring.c what comes through rings.
 */
#ifndef KFS_DEV_DEV_PRIV_H
#define KFS_DEV_DEV_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/list.h"
#include "daemon/base/lock.h"
#include "daemon/base/util.h"
#include "daemon/dev/pool.h"

struct iovec;
struct mount;
struct proto_session;
struct transport_ops;
struct uring;

/* Room for a request's or a reply's payload. */
#define DEV_PAYLOAD_SIZE (1u << 20)
#define DEV_PAGE 4096u
/* Interrupts a wait in the kernel; it does nothing else. */
#define DEV_KICK_SIGNAL SIGRTMIN
#define DEV_KICK_MS 5

/* The threads that read /dev/fuse. */
struct readers {
	uint32_t threads_max;	    /* [written once] */
	bool clone_fd;		    /* [written once] */
	struct pool pool;	    /* of those that wait in the kernel */
	struct mutex lock;	    /* LOCK_LEAF */
	struct list workers;	    /* [lock] */
	struct list sleepers;	    /* [lock] the last to fall asleep first */
	_Atomic bool rings;	    /* [atomic] most requests do not come here */
	_Atomic uint32_t abandoned; /* [atomic] requests answered early that have not ended */
	_Atomic int32_t keep;	    /* [atomic] this many may wait in the kernel */
	_Atomic uint32_t threads;   /* [atomic; raised under lock] running */
};

struct dev {
	struct mount *mount;
	struct proto_session *session;
	char mountpoint[4096];
	void (*on_ready)(void *arg, int error);
	void *on_ready_arg;
	/* eventfds: dev_stop() was called; the last reader has ended; a pool is busy */
	int stop_event, end_event, busy_event;
	struct readers readers;
	struct uring *uring;	   /* [written once] NULL: /dev/fuse alone */
	bool uring_needed;	   /* [written once] by uring=on */
	char uring_why[256];	   /* [written before ready] that there is one, or none */
	const char *device;	   /* [written once] path; what clones open */
	_Atomic bool stopping;	   /* [atomic] the unmount is our own */
	_Atomic bool umount_waits; /* [atomic] DESTROY was left without an answer */
	_Atomic bool unmounted;	   /* [atomic] the device has said so */
	_Atomic bool quit;	   /* [atomic] leave without waiting for the unmount */
	_Atomic int error;	   /* [atomic] first reason other than the unmount */
};

static inline bool dev_is_over(struct dev *d)
{
	return atomic_load(&d->quit) || atomic_load(&d->unmounted);
}

/* A thread of a transport: all signals but the kick are blocked in it. Returns 0 or -errno. */
MUST_USE int dev_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);
/* Memory of our own for payload; NULL when there is none. */
uint8_t *dev_map_pages(size_t size);
int dev_notify(void *transport, const struct iovec *iov, int count);
bool dev_destroyed(void *transport);

extern const struct transport_ops reader_ops;

void readers_init(struct dev *d, uint32_t threads_max, bool clone_fd);
/* One thread is enough to begin with. */
MUST_USE int readers_start(struct dev *d);
/* All may wait in the kernel from now on: nobody adds any while the main thread is busy. */
void readers_keep_all(struct dev *d);
/* Interrupt every read until the readers have noticed that it is over. */
void readers_kick(struct dev *d);
void readers_join(struct dev *d);

#endif
