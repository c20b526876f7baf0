/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Virtual machines as users of the filesystem: a vhost-user back end of a virtio-fs device. It
 * listens on a Unix socket; each front end (QEMU, ...) that connects gets a device, with a FUSE
 * session of its own, until it disconnects. Then its locks and nodeids are released, and the
 * socket goes on listening.
 *
 *	vhost_start()	serves from here on, on threads of its own
 *	vhost_stop()	disconnects all, returns when nothing of them is left
 *
 * Everything that a front end or a guest sends is hostile. It may harm its own device and what
 * the session may do; not the daemon, the host's mount or other guests.
 *
 * A change made by a guest is answered when the host's kernel was told of it.
 */
#ifndef KFS_VHOST_VHOST_H
#define KFS_VHOST_VHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/base/util.h"

struct fs;
struct inval_bus;
struct proto_opts;
struct proto_session;
struct vhost;

#define VHOST_TAG_MAX 36
#define VHOST_QUEUES_MAX 64
#define VHOST_GUESTS_MAX 16

/*
 * An image that guests take along when they move. For any thread. Its states: open; claimed by the one guest that hands it
 * over; closed; untouched, opened for one that arrives.
 */
struct vhost_image {
	void *arg;
	bool hands_over; /* saving a guest's state means that */
	/* One more guest is served, until leave(); NULL: it is not open. */
	struct fs *(*enter)(void *arg);
	void (*leave)(void *arg);
	/* Open to claimed. -EBUSY, @why: somebody besides the guest @number uses it, or is about to. */
	int (*claim)(void *arg, uint32_t number, char *why, size_t why_len);
	void (*unclaim)(void *arg);
	/* Claimed to closed, and left; the guest's session is gone. See fs_close_print(). */
	int (*close)(void *arg, uint64_t *ret_print);
	/* Closed to untouched, and entered. -EBUSY: somebody else has it. */
	int (*open)(void *arg, struct fs **ret_fs, char *why, size_t why_len);
	/* Untouched to open; then to closed if it is not to be. drop() leaves as well. */
	int (*begin)(void *arg, char *why, size_t why_len);
	void (*drop)(void *arg);
};

struct vhost_opts {
	const char *socket; /* absolute path to make; or NULL: */
	gid_t group;	    /* whose members may connect there; LISTEN_NO_GROUP: 0600 */
	int fd;		    /* a listening socket; with once it may be connected */
	bool once;	    /* one front end; when it has gone, this has ended */
	/* Whoever wants this is at the other end: it ends when that is closed, and tells a word. */
	int life_fd;		   /* a connected socket; -1: nobody */
	void (*on_end)(void *arg); /* on its thread, the last thing; NULL: nothing */
	void *on_end_arg;
	const char *tag;		 /* what guests mount by; at most VHOST_TAG_MAX bytes */
	uint32_t queues;		 /* request queues that guests are told to use, 1.. */
	uint32_t guests_max;		 /* at a time, 1 to VHOST_GUESTS_MAX */
	uint64_t window_size;		 /* bytes that a guest may map at a time; 0: no window */
	uint32_t poll_us;		 /* look for requests so long before sleeping, at most */
	const struct proto_opts *proto;	 /* with guest set; copied, with what it points to */
	struct proto_session *host;	 /* the host mount's, outlives the back end; NULL: none */
	const struct vhost_image *image; /* outlives the back end; NULL: @fs stays */
};

/* Said on life_fd: the front end (or the other end) has gone; vhost_stop() was called. */
#define VHOST_LIFE_GONE 'g'
#define VHOST_LIFE_STOPPED 's'

/*
 * The error text says what and why. A path that nobody listens at any more is taken over. Takes
 * the descriptors, also on failure.
 */
MUST_USE int vhost_start(struct fs *fs, struct inval_bus *bus, const struct vhost_opts *opts,
			 struct vhost **ret_vhost, char *err, size_t err_len);
/* Nobody is served any more, or will be: vhost_stop() does not wait. */
bool vhost_ended(const struct vhost *v);
/* A guest that is connected. */
struct vhost_guest {
	uint32_t number; /* 1 is the first that ever connected */
	int32_t pid;	 /* of its front end; 0: not known */
	uint64_t age_ns;
	uint64_t requests, refused;    /* chains since it connected: served; malformed as chains */
	struct proto_session *session; /* NULL: it is beginning anew just now */
};
typedef void (*vhost_visit_fn)(void *arg, const struct vhost_guest *guest);
/* @fn once for each guest of this process, with no lock held; what it is given holds while it runs, which must not be for long. */
void vhost_visit(vhost_visit_fn fn, void *arg);

/* NULL is fine. */
void vhost_stop(struct vhost *v);

#endif
