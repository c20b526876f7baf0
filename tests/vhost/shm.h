/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The window of a front end of ours: what QEMU does with SHMEM_MAP and SHMEM_UNMAP, on a thread that answers one after the
 * other, as its main loop does. What is mapped can be looked at, and is announced as guest memory after the answer: by
 * slots, or where none were agreed on in the table of all memory, while there is no more than a table has room for. The
 * rules that a back end has to keep are checked here: whole pages, no overlap, what is unmapped was mapped like that, never
 * more than a front end takes.
 */
#ifndef TESTS_VHOST_SHM_H
#define TESTS_VHOST_SHM_H

#include <pthread.h>
#include <stdatomic.h>

#include "tests/vhost/front.h"

/* Where QEMU would abort, less what it needs for the machine's own memory; with slots, and without. */
#define SHM_SLOTS_MAX 500
#define SHM_MAPS_MAX 4000
/* Where the guest has its window. */
#define SHM_GPA (UINT64_C(8) << 30)
#define SHM_UVA UINT64_C(0x7f4000000000)

struct shm_map {
	uint64_t off, len, fd_offset;
	int fd;
};

struct shm {
	struct front *f;
	uint8_t *at; /* the window; what is not mapped cannot be touched */
	uint64_t size;
	int fd;		      /* requests come here */
	pthread_mutex_t lock; /* the table, and messages on the front end's socket */
	struct shm_map map[SHM_MAPS_MAX];
	unsigned count;
	pthread_t thread;
	_Atomic unsigned maps, unmaps, failed_unmaps; /* ever */
	_Atomic unsigned barriers;		      /* questions that change nothing */
	/* How it behaves: */
	_Atomic bool refuse;	   /* maps */
	_Atomic bool deaf;	   /* answers nothing */
	_Atomic bool quiet;	   /* announces nothing */
	_Atomic unsigned late_ms;  /* it is done so long after it was answered */
	_Atomic bool plugs_memory; /* while a map waits for its answer */
};

/* After front_setup(), which has agreed on everything: asks for the size, hands over the socket. */
void shm_setup(struct shm *s, struct front *f, bool quiet);
/* Nothing is mapped any more, as after a reset of the machine. */
void shm_reset(struct shm *s);
/* After front_close() or before it. */
void shm_close(struct shm *s);

/* Pieces that are mapped now. */
unsigned shm_count(struct shm *s);

/* Requests of the guest; 0 or what was answered. */
int shm_map(struct shm *s, uint64_t nodeid, uint64_t off, uint64_t moffset, bool write);
int shm_unmap(struct shm *s, uint64_t moffset);
#define SHM_RANGE (UINT64_C(2) << 20)
/* WRITE of a page of the guest's memory at @gpa, to the file's beginning; its error. */
int shm_write_from(struct shm *s, uint64_t nodeid, uint64_t gpa);

#endif
