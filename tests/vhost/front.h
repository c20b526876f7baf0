/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vhost-user front end with a virtio-fs driver in it: its own memory, rings and events, and
 * one FUSE request at a time on each queue. What QEMU and a guest's kernel are together, without
 * either. Everything that must work ends the program with a message when it does not.
 *
 *	front_connect()  front_setup()		the handshake, memory, rings
 *	fuse_call()				a request and its reply
 *	front_close()				without saying goodbye, as front ends do
 */
#ifndef TESTS_VHOST_FRONT_H
#define TESTS_VHOST_FRONT_H

#include <linux/fuse.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost/msg.h"

/* Guest memory: two regions with a gap between them, in one file. */
#define FRONT_LOW (4u << 20)
#define FRONT_HIGH (12u << 20)
#define FRONT_HIGH_GPA (UINT64_C(1) << 32)
#define FRONT_QUEUES 3u /* hiprio and two for requests */
#define FRONT_NUM 256u
/* Rings of queue i begin at i * FRONT_RING; a queue's buffers are in both regions. */
#define FRONT_RING 0x10000u
#define FRONT_WAIT_MS 20000
#define FRONT_OWED 32u

struct front_queue {
	int kick, call;
	struct vring_desc *desc;
	uint16_t *avail, *used;
	uint16_t avail_next, used_seen;
	uint64_t ring_gpa;
	uint64_t table_gpa, head_gpa, data_gpa, out_gpa; /* one request's memory */
	bool indirect;					 /* the next chain is a table */
};

struct front {
	int fd, memory_fd;
	bool by_gpa; /* before front_negotiate(): rings are named by guest addresses */
	bool tables; /* before front_negotiate(): memory is told of in tables, slots are not agreed on */
	bool logs; /* the rings that are started, and what requests write */
	uint8_t *memory;
	uint64_t features, protocol; /* as agreed */
	struct front_queue queue[FRONT_QUEUES];
	uint64_t unique;
	uint32_t uid, gid;
	/* Setting up does not wait for each acknowledgement: front_settle() does for all. */
	bool hurry;
	uint32_t owed, owed_request[FRONT_OWED];
};

/* Slots were agreed on. */
bool front_has_slots(const struct front *f);

#define FRONT_DATA_MAX (1u << 20)

__attribute__((noreturn, format(printf, 1, 2))) void front_die(const char *fmt, ...);

void front_connect(struct front *f, const char *path);
/* After the connection has ended: another one, with the same memory and rings. */
void front_reconnect(struct front *f, const char *path);
/* Features, memory (by slots, if they are offered, or as a table). */
void front_negotiate(struct front *f, bool slots);
/* The same, and rings, enabled. */
void front_setup(struct front *f, bool slots);
/* The parts of it. */
void front_share_memory(struct front *f, bool slots);
/*
 * All of the memory and these pieces of @fd's, fewer than a table has room for. 0, or 1 when it was refused; or told without
 * waiting for an answer.
 */
int front_share_table(struct front *f, const struct msg_region *more, uint32_t count, int fd);
bool front_send_table(struct front *f, const struct msg_region *more, uint32_t count, int fd);
void front_settle(struct front *f);
/* A message that must be done, with descriptor @fd if it is one. */
void front_must(struct front *f, uint32_t request, const void *payload, uint32_t size, int fd);
void front_start_queue(struct front *f, uint32_t index, uint16_t base);
/* Say whether what the back end writes is logged, of rings that run. */
void front_log(struct front *f, bool logs);
/* GET_VRING_BASE's answer. */
uint16_t front_stop_queue(struct front *f, uint32_t index);
void front_close(struct front *f);

/* A message as it is, with descriptors. False: the connection has ended. */
bool front_send(struct front *f, uint32_t request, const void *payload, uint32_t size,
		const int *fds, unsigned count);
/* A reply's payload; its size, or -1 when the connection has ended. With a descriptor, or -1. */
int front_receive_fd(struct front *f, uint32_t request, void *payload, uint32_t room, int *ret_fd);
int front_receive(struct front *f, uint32_t request, void *payload, uint32_t room);
/* With an acknowledgement: 0, 1 when it was refused, -1 when the connection has ended. */
int front_tell(struct front *f, uint32_t request, const void *payload, uint32_t size,
	       const int *fds, unsigned count);

uint8_t *front_at(struct front *f, uint64_t gpa);
/* Offer chain @head and kick. */
void front_offer(struct front *f, uint32_t index, uint16_t head);
/* The next chain that came back, -1 after @wait_ms without one; *ret_len bytes were written. */
int front_take(struct front *f, uint32_t index, int wait_ms, uint32_t *ret_len);

struct fuse_message {
	uint32_t opcode;
	uint64_t nodeid;
	const void *args;
	size_t arg_len;
	const void *text; /* names and the like, after the arguments */
	size_t text_len;
	const void *data; /* WRITE's payload, scattered over single pages */
	size_t data_len;
	size_t room; /* of the reply's payload, scattered likewise */
	bool no_reply;
};

/* Build the chain of @m on queue @index; its head. */
uint16_t fuse_build(struct front *f, uint32_t index, const struct fuse_message *m);
/* The reply's error (0 or negative); its payload's length at *ret_len, itself at @ret_data. */
int fuse_call(struct front *f, uint32_t index, const struct fuse_message *m, void *ret_data,
	      size_t *ret_len);

/* What is asked for most. */
void fuse_init(struct front *f);
/* The same with the upper half of the flags that are offered, and nothing wanted of the answer. */
struct fuse_init_out fuse_init_with(struct front *f, uint32_t flags2);
int fuse_truncate(struct front *f, uint64_t nodeid, uint64_t size);
/* Connected, set up, INIT behind it. */
void front_begin(struct front *f, const char *socket);
/* Dies where @got, an error of @what, is not @wanted. */
void front_want(int got, int wanted, const char *what);
int fuse_lookup(struct front *f, uint64_t dir, const char *name, struct fuse_entry_out *ret);
int fuse_create(struct front *f, uint64_t dir, const char *name, uint32_t mode,
		struct fuse_entry_out *ret);
int fuse_mkdir(struct front *f, uint64_t dir, const char *name, struct fuse_entry_out *ret);
int fuse_names(struct front *f, uint32_t opcode, uint64_t dir, const char *name);
int fuse_write(struct front *f, uint64_t nodeid, uint64_t off, const void *data, size_t len);
/* Bytes read, or a negative errno. */
int64_t fuse_read(struct front *f, uint64_t nodeid, uint64_t off, void *data, size_t len);
int fuse_getattr(struct front *f, uint64_t nodeid, struct fuse_attr *ret);
void fuse_forget(struct front *f, uint64_t nodeid, uint64_t count);
int fuse_setlk(struct front *f, uint64_t nodeid, uint64_t owner, uint32_t type, bool wait);

#endif
