/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest and a front end that lie, by numbered cases. Case @number of a seed is the same
 * whenever it is run: what it does is drawn from (seed, number) alone. Cases come in lives of
 * HOSTILE_LIFE, each with a connection and a family of its own, drawn from (seed, life); a single
 * case runs in its life's connection without the ones before it.
 *
 * What must hold, whatever is sent: a chain comes back once, or the ring is said to be broken; a
 * reply has the length that the ring says it has, is the reply to its request, and nothing behind it was
 * touched; what is malformed is EINVAL, a nodeid that was not handed out ESTALE; a ring that is
 * stopped gives everything back; and a front end that comes afterwards is served.
 *
 * A family is a row in hostile.c, a FUSE opcode one in hostile_fuse.c, a kind of chain one in
 * hostile_ring.c, a message one in hostile_msg.c, a kind of descriptor one in hostile_fd.c.
 */
#ifndef TESTS_VHOST_HOSTILE_H
#define TESTS_VHOST_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/vhost/front.h"

#define HOSTILE_LIFE 256u
/* Requests in a ring at a time; each has memory of its own. */
#define HOSTILE_SLOTS 64u
#define HOSTILE_ROOM_USUAL 320u /* bytes for a reply, where nothing else is drawn */
#define HOSTILE_IN 2048u	/* bytes that a slot's request may have */
#define HOSTILE_ROOM 1024u	/* and its reply, header included */
#define HOSTILE_PIECES 16u	/* descriptors of one request */
#define HOSTILE_NODES 12u	/* nodeids that were handed to us */
#define HOSTILE_ANY 1		/* an answer that is not foreseen */
#define HOSTILE_FAILS 2		/* some error */
#define HOSTILE_NO_REPLY 3	/* nothing is written */
#define HOSTILE_CANARY 0xa5

/* How far a connection is set up before its cases begin. */
enum hostile_stage { STAGE_CONNECTED, STAGE_FEATURES, STAGE_RINGS, STAGE_SESSION };

/* A request in a ring. */
struct shot {
	uint64_t number; /* of its case */
	uint32_t queue, slot;
	uint16_t head;
	uint32_t room;		    /* bytes for the reply, header included, in the slot */
	uint32_t more_in, more_out; /* bytes of FRONT_HIGH behind both */
	uint64_t unique;
	int want;      /* 0, a negative errno, or HOSTILE_ANY and so on */
	bool may_wait; /* for a lock that somebody has */
	bool back;     /* it was given back */
	const char *what;
};

struct hostile {
	const char *socket, *family, *only;
	uint64_t seed, first, end; /* cases to run: first .. end - 1 */
	uint64_t number;	   /* the case at hand */
	uint64_t rng;
	uint64_t done, connections;
	bool tables; /* the next connection agrees on no slots */
	bool up;     /* f is connected */
	bool judged; /* the case at hand is known to be the one */
	struct front f;
	struct shot shot[FRONT_QUEUES][HOSTILE_SLOTS];
	uint32_t shots[FRONT_QUEUES];
	uint64_t node[HOSTILE_NODES]; /* the root first */
	int err_fd[FRONT_QUEUES];
};

/* ---- drawing ---- */

uint64_t hostile_next(struct hostile *h);
uint64_t hostile_below(struct hostile *h, uint64_t limit);
bool hostile_one_in(struct hostile *h, uint64_t n);
/* A number that code gets wrong. */
uint64_t hostile_odd(struct hostile *h);
/* The case's own numbers from here on. */
void hostile_case(struct hostile *h, uint64_t number);
/* The life's, which say of which family it is. */
void hostile_life(struct hostile *h, uint64_t life);

/* ---- connections ---- */

/* Connects anew if there is no connection; learns nodeids at STAGE_SESSION. */
void hostile_open(struct hostile *h, enum hostile_stage stage);
void hostile_close(struct hostile *h);
/* All that is in the rings is given back; they have no kicks any more. */
void hostile_stop_rings(struct hostile *h);
/* All that is in a ring is given back, and it starts from nothing. */
void hostile_restart_ring(struct hostile *h, uint32_t queue);
void hostile_restart_rings(struct hostile *h);
/* Replies that nobody asked for. False: the connection has ended, and is closed here, too. */
bool hostile_swallow(struct hostile *h);

/* ---- requests ---- */

/* A slot of @queue for the case at hand; NULL: all are taken, fire first. Its memory is cleared. */
struct shot *hostile_shot(struct hostile *h, uint32_t queue);
uint8_t *hostile_in(struct hostile *h, const struct shot *s);
uint64_t hostile_in_gpa(const struct shot *s);
uint64_t hostile_table_gpa(const struct shot *s);
uint64_t hostile_out_gpa(const struct shot *s);
/* A chain of @len bytes of request and s->room of reply, cut into pieces as drawn. */
void hostile_chain(struct hostile *h, struct shot *s, size_t len);
/* All of that for @m, without payload; all are fired first where there is no slot. */
struct shot *hostile_ask(struct hostile *h, uint32_t queue, const struct fuse_message *m);
/* Offer all shots; nothing is waited for. */
void hostile_offer(struct hostile *h);
/* Offer all shots, wait for them and check the answers. */
void hostile_fire(struct hostile *h);
/*
 * Offer all shots of @queue, of which nothing is foreseen. True: they came back; false: the
 * ring is broken and was started anew. With @may_vanish it is, too, when they do not come back soon.
 */
bool hostile_fire_blind(struct hostile *h, uint32_t queue, bool may_vanish);
/* The same with a connection that is closed next. */
void hostile_fire_last(struct hostile *h, uint32_t queue);
/* Pieces of all shots that were not offered yet lie in @size bytes from @gpa now, instead. */
void hostile_aim(struct hostile *h, uint64_t gpa, uint64_t size);

/* ---- descriptors ---- */

enum fd_flag {
	MEMORY = 1,  /* may be mapped as a guest's: else it is refused */
	EVENT = 2,   /* may be an event: else it is refused */
	DEAD = 4,    /* as a kick, it breaks the ring */
	CHANNEL = 8, /* may carry a state: else it is refused */
};

struct fd_kind {
	const char *name;
	int (*make)(void);
	uint32_t flags; /* enum fd_flag */
};

/* One that is not what a message is about, mostly. The caller closes it. */
const struct fd_kind *hostile_fd(struct hostile *h, int *ret_fd);

/* ---- families: the cases @from .. @to - 1, of one life ---- */

void hostile_truncate(struct hostile *h, uint64_t from, uint64_t to);
void hostile_bodies(struct hostile *h, uint64_t from, uint64_t to);
void hostile_forged(struct hostile *h, uint64_t from, uint64_t to);
void hostile_forgets(struct hostile *h, uint64_t from, uint64_t to);
void hostile_chains(struct hostile *h, uint64_t from, uint64_t to);
void hostile_races(struct hostile *h, uint64_t from, uint64_t to);
void hostile_flight(struct hostile *h, uint64_t from, uint64_t to);
void hostile_messages(struct hostile *h, uint64_t from, uint64_t to);
void hostile_torn(struct hostile *h, uint64_t from, uint64_t to);
void hostile_wrong_fds(struct hostile *h, uint64_t from, uint64_t to);
void hostile_cut_memory(struct hostile *h, uint64_t from, uint64_t to);
void hostile_storms(struct hostile *h, uint64_t from, uint64_t to);
void hostile_records(struct hostile *h, uint64_t from, uint64_t to);
void hostile_logs(struct hostile *h, uint64_t from, uint64_t to);
void hostile_states(struct hostile *h, uint64_t from, uint64_t to);
/* Of daemons with a window. */
void hostile_mappings(struct hostile *h, uint64_t from, uint64_t to);
void hostile_mapped_races(struct hostile *h, uint64_t from, uint64_t to);
void hostile_false_fronts(struct hostile *h, uint64_t from, uint64_t to);

/* Well-formed requests with random contents, as many as there is room for; for other families. */
void hostile_some_bodies(struct hostile *h, uint32_t count);
/* INITs and DESTROYs. */
void hostile_some_sessions(struct hostile *h, uint32_t count);

/*
 * Cases @first .. @first + @cases - 1 of @seed, of the families whose name holds @only. Ends the
 * program with the case's number when something is not as it must be.
 */
void hostile(const char *socket, uint64_t seed, uint64_t first, uint64_t cases, const char *only);
/* A file of 1 MiB at @path is not taken for a guest's memory, an event, a log, a record or a state. */
void refuses(const char *socket, const char *path);
/* The answers of an honest guest, and of the host's mount at @dir, until file @until is there. */
void witness(const char *socket, const char *dir, const char *until);

#endif
