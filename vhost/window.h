/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the back end: a guest's window, memory of the guest's that shows pieces of the image. The guest says what shall be
 * where; the front end is asked to map it there, and its answer is waited for on a thread of this window's. Whoever waits
 * is a parked request, never a queue's thread and never the connection's: the front end may at that moment be waiting for
 * either.
 *
 * A front end that announces memory in slots announces each piece of a window as well, shortly after it has answered that
 * the piece is mapped, and likewise takes it back. Until then the guest does not see it (still sees it).
 *
 * QEMU aborts when that makes too many slots. A window that is larger than that allows is one of a front end that announces
 * nothing: slots are not offered to it. What it was asked is done when it has answered the next request, which is one that
 * changes nothing; and what requests name of the window is found in a view of our own (view.h). Where the guest's machine
 * has its window is known from the first table of its memory: it has the first few pieces in it, and then too many to be
 * sent at all. A buffer in a window of which no table has told is an error of the request that names it.
 *
 * (1) What a range shows is pinned from before the front end is asked to map it until it is known that nothing of it is
 *     mapped any more: the front end has agreed to unmap it, or refused because there was nothing, and has taken back what
 *     it announced. If that is never known, it is pinned until the connection ends.
 * (2) Pieces that are mapped never exceed the limit, beyond which the front end would abort its machine; and a range that
 *     is one piece always has its place: larger numbers of pieces are refused before that. But in a window of more than
 *     4 GiB, which has more ranges than pieces: there a place is kept for as many ranges as a guest's kernel maps before it
 *     gives some up, which is four fifths; what is mapped beyond that and the limit is refused. What waits to be unmapped
 *     comes first there.
 * (3) Ranges of a guest that begins anew are unmapped before any range of its new life is mapped.
 */
#ifndef KFS_VHOST_WINDOW_H
#define KFS_VHOST_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct memory;
struct memory_share;
struct msg_region;
struct proto_mapping;
struct proto_req;
struct proto_unmap;
struct window;

/* What a guest's kernel maps at a time. */
#define WINDOW_RANGE (UINT64_C(2) << 20)
/*
 * With slots: QEMU aborts at 512 of them, of which a machine's memory needs some, and one that is plugged in later more.
 * The largest power of two whose ranges have a piece each.
 */
#define WINDOW_SLOTS_MAX 400u
#define WINDOW_SLOTS_SIZE_MAX (256 * WINDOW_RANGE)
/* Without: QEMU aborts at 4096 sections of an address space, of which a machine's own are some dozens. */
#define WINDOW_PIECES_MAX 3900u
#define WINDOW_SIZE_MAX (4096 * WINDOW_RANGE)

struct window_opts {
	uint64_t size; /* bytes, whole ranges, at most WINDOW_SIZE_MAX */
	int image_fd;  /* outlives the window */
	uint32_t guest;
};

MUST_USE int window_new(const struct window_opts *opts, struct window **ret_window);
/* All that waits has ended: window_stop() before. NULL is fine. */
void window_free(struct window *w);
/* Requests that wait end with an error, pins are given back: the connection has ended. */
void window_stop(struct window *w);
/* Requests that wait end with an error; what is mapped stays. */
void window_give_up(struct window *w);
/* The guest begins anew. Returns at once. */
void window_clear(struct window *w);
/*
 * All that was asked for is done, or given up; done() may be called before this returns. QEMU forgets a device that its
 * guest has stopped and then crashes on requests of ours: a guest that unmounts and powers off is told of the former when
 * there are none.
 */
struct window_wait {
	void (*done)(struct window_wait *wait);
};
void window_settle(struct window *w, struct window_wait *wait);

/* From the connection: the socket to ask on (taken), and that the guest's machine was told of the window. */
void window_set_fd(struct window *w, int fd);
struct window_agreed {
	bool slots;    /* the front end may announce */
	bool barriers; /* it may be told of configurations that change */
};
/* -errno: there is no window. */
MUST_USE int window_configured(struct window *w, const struct window_agreed *agreed);
bool window_is_proven(struct window *w);
/* Larger than slots allow. */
bool window_is_large(const struct window *w);
/* Is it a piece of the image? And: it was announced, or taken back. */
bool window_is_image(const struct window *w, int fd);
void window_announced(struct window *w, const struct memory_share *share);
void window_taken_back(struct window *w, const struct msg_region *region);
/* It has a view. Then, of each table of memory: what it has of the image, and the table, into which the view comes. */
bool window_has_view(struct window *w);
void window_in_table(struct window *w, const struct msg_region *region);
void window_add_view(struct window *w, struct memory *m);

/* From proto: see struct transport_ops. */
void window_map(struct window *w, struct proto_req *req, struct proto_mapping *m);
void window_unmap(struct window *w, struct proto_req *req, struct proto_unmap *list,
		  uint32_t count);

struct window_stats {
	uint64_t ranges, pieces; /* mapped now */
	uint64_t maps, unmaps, refused,
		failed; /* SETUPMAPPINGs, REMOVEMAPPINGs' entries; of those */
};
void window_get_stats(struct window *w, struct window_stats *ret_stats);

#endif
