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
 * (1) What a range shows is pinned from before the front end is asked to map it until it is known that nothing of it is
 *     mapped any more: the front end has agreed to unmap it, or refused because there was nothing, and has taken back what
 *     it announced. If that is never known, it is pinned until the connection ends.
 * (2) Pieces that are mapped never exceed the limit, beyond which the front end would abort its machine; and a range that
 *     is one piece always has its place: larger numbers of pieces are refused before that.
 * (3) Ranges of a guest that begins anew are unmapped before any range of its new life is mapped.
 */
#ifndef KFS_VHOST_WINDOW_H
#define KFS_VHOST_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct memory_share;
struct msg_region;
struct proto_mapping;
struct proto_req;
struct proto_unmap;
struct window;

/* What a guest's kernel maps at a time. */
#define WINDOW_RANGE (UINT64_C(2) << 20)
/*
 * QEMU aborts at 512 memory slots, of which a machine's memory needs some, and one that is plugged in later more.
 */
#define WINDOW_PIECES_MAX 400u
/* The largest power of two whose ranges have a piece each. */
#define WINDOW_SIZE_MAX (256 * WINDOW_RANGE)

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

/* From the connection: the socket to ask on (taken), and that the guest's machine was told of the window. */
void window_set_fd(struct window *w, int fd);
void window_configured(struct window *w, bool slots);
bool window_is_proven(struct window *w);
/* Is it a piece of the image? And: it was announced, or taken back. */
bool window_is_image(const struct window *w, int fd);
void window_announced(struct window *w, const struct memory_share *share);
void window_taken_back(struct window *w, const struct msg_region *region);

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
