/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of a window share. window.c has what comes from outside: requests that wait, the connection's words, the
 * thread, the window's life. window_ranges.c has what is mapped, and asks the front end for it.
 *
 * The lists of ranges are the thread's; others read them, and change what pieces were announced, under the lock.
 */
#ifndef KFS_VHOST_WINDOW_PRIV_H
#define KFS_VHOST_WINDOW_PRIV_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/base/list.h"
#include "daemon/base/lock.h"
#include "vhost/backend.h"
#include "vhost/view.h"
#include "vhost/window.h"

struct range;

struct job {
	struct list link;	  /* [lock] */
	struct proto_req *req;	  /* [lock] NULL: nobody waits for it */
	struct window_wait *wait; /* [lock] the same */
	bool settles;		  /* nothing but that is to be done */
	/* Either of them; neither: everything is to be unmapped. */
	struct proto_mapping *mapping;
	struct proto_unmap *list;
	uint32_t count;
};

struct window {
	struct window_opts opts;
	dev_t image_dev;
	ino_t image_ino;
	struct mutex lock;	/* LOCK_LEAF */
	struct cond changed;	/* [lock] anything below */
	struct list jobs;	/* [lock] struct job, the one at work included */
	struct list *place;	/* struct range, by the unit in which it begins */
	uint32_t places;	/* [written once] */
	struct list dying;	/* [thread] struct range, to be unmapped */
	uint32_t replying;	/* [lock] threads between taking a request and having ended it */
	bool stop, taken;	/* [lock] the end; a region was taken back */
	bool configured;	/* [lock] */
	bool has_fd;		/* [lock] there was one, ever */
	int fd_new;		/* [lock] to ask on from the next job on; -1 */
	bool slots;		/* [lock] the front end may announce */
	bool announces;		/* [lock] it does */
	bool silent;		/* [lock] it does not */
	bool barriers;		/* [lock] it is asked to do nothing, instead */
	struct view view;	/* [written once, before has_view] */
	bool has_view;		/* [lock] */
	bool has_gpa;		/* [conn] */
	uint64_t gpa;		/* [conn] where the guest has the window */
	bool said;		/* [thread] a failure was logged */
	struct backend backend; /* [thread] */
	pthread_t thread;
	bool running;		   /* [written once] */
	struct window_stats stats; /* [lock] */
};

/* Somebody still waits for it. */
bool window_job_is_wanted(struct window *w, const struct job *job);

/* More of the limit is used than that any job should do but unmap. Caller holds the lock. */
bool ranges_are_many(const struct window *w);

/* The rest is for the window's thread, and for whoever has ended it. */

/* A range is mapped no more; what the front end does not give back of it stays pinned. */
void ranges_undo(struct window *w, struct range *r);
/* What @job asks for: 0, or a negative errno. @ret_made is left alone where the same was mapped already. */
MUST_USE int ranges_map(struct window *w, const struct job *job, struct range **ret_made);
MUST_USE int ranges_unmap(struct window *w, const struct job *job);
/* All of them. What is left after a while stays pinned. */
void ranges_clear(struct window *w);
/* Regions were taken back: those of them that nothing can reach any more are forgotten. */
void ranges_look_again(struct window *w);
/* The machine is gone, or out of reach: all is forgotten as it is. */
void ranges_drop(struct window *w);

#endif
