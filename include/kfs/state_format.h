/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest's session outside of the daemon: what was agreed with its kernel (a note, which a front
 * end keeps for whoever takes over from a daemon that was killed), and all of it (the state, which
 * goes to another daemon when the guest moves). Little-endian.
 *
 *	head, with its seal					a note
 *	head, with its seal; nodes; locks; the last seal	a state
 *	the same, with an image before the last seal		a state that was handed over
 *
 * A seal is a keyed hash of everything before it and of the seal before. The key is made of what
 * only those know who can read the image: a front end, through whose hands the state goes, can
 * neither invent a nodeid nor use the state with another image.
 */
#ifndef KFS_STATE_FORMAT_H
#define KFS_STATE_FORMAT_H

#include "include/kfs/endian.h"

/*
 * A state of a guest that had not mounted is a head with minor 0, and the last seal. Nodes are
 * those that the session was handed, but for its root; locks are of their owners in the guest.
 */
#define STATE_MAGIC 0x5453464bu /* "KFST" */
#define STATE_VERSION 1

enum state_kind { STATE_NOTE = 1, STATE_WHOLE = 2 };

/* Bits of state_head.flags. */
enum {
	STATE_F_READONLY = 1,
	STATE_F_RECOVERED = 2, /* nodeids that are not listed may have been handed out as well */
	STATE_F_HANDED = 4,    /* with its image, which was closed before the last seal was made */
};

struct state_head {
/*00*/	le32	magic;
/*04*/	le16	version;
/*06*/	le16	kind;
/*08*/	uint8_t	uuid[16];	/* of the image */
/*18*/	le64	root_nodeid;	/* of the share, as the image has it */
/*20*/	le64	init_flags;	/* as INIT answered */
/*28*/	le32	minor;		/* of the FUSE protocol */
/*2c*/	le32	max_write;	/* bytes */
/*30*/	le64	nodes;		/* a state's: their number */
/*38*/	le64	locks;
/*40*/	le64	session;	/* which of the daemon that saved it; random */
/*48*/	le32	flags;
/*4c*/	le32	reserved;	/* 0 */
/*50*/	le64	seal;
};

struct state_node {
/*00*/	le64	nodeid;
/*08*/	le32	count;		/* of lookups, 1.. */
/*0c*/	le32	reserved;
};

struct state_lock {
/*00*/	le64	nodeid;
/*08*/	le64	owner;
/*10*/	le64	start;
/*18*/	le64	end;		/* inclusive */
/*20*/	le32	type;		/* 0 shared, 1 exclusive */
/*24*/	le32	pid;
/*28*/	le32	flock;		/* 1: of flock(2) */
/*2c*/	le32	reserved;
};

/* The image as it was closed: what the guest has open is there as long as nobody else has written to it. */
struct state_image {
/*00*/	le64	print;		/* hash of its superblock */
/*08*/	le64	reserved;
};

static_assert(offsetof(struct state_head, uuid) == 0x08, "state_head.uuid");
static_assert(offsetof(struct state_head, nodes) == 0x30, "state_head.nodes");
static_assert(offsetof(struct state_head, seal) == 0x50, "state_head.seal");
static_assert(sizeof(struct state_head) == 0x58, "state_head");
static_assert(sizeof(struct state_image) == 0x10, "state_image");
static_assert(sizeof(struct state_node) == 0x10, "state_node");
static_assert(sizeof(struct state_lock) == 0x30, "state_lock");

#endif
