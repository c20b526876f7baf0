/* SPDX-License-Identifier: GPL-2.0-only */
/* What tour.c and changes.c share. */
#ifndef TESTS_IMAGES_TOUR_PRIV_H
#define TESTS_IMAGES_TOUR_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include "daemon/fs/fs.h"

#define TOUR_BUF (1u << 18)
#define SEEN_MAX 4096

struct object {
	char *path; /* escaped */
	uint64_t nodeid, size;
	uint32_t mode; /* 0: nothing is known of it */
	bool again;    /* another name of what was visited before */
};

struct tour {
	FILE *out;
	uint8_t *buf; /* TOUR_BUF bytes */
	struct inval_bus *bus;
	struct fs *fs;
	struct fs_session *session;
	struct fs_ctx ctx;
	struct object *objects; /* in the order of their discovery: parents first */
	uint32_t count, room;
	uint64_t seen[SEEN_MAX]; /* objects visited */
	uint32_t seen_count;
};

struct fs_name tour_name(const char *s);
void tour_forget(struct tour *t, uint64_t nodeid);
void tour_failed(struct tour *t, const char *path, const char *what, int error);
void tour_escape(char *to, size_t size, const char *prefix, struct fs_name name);
/* Fills t->objects, each counted once until tour_walk_end(). */
void tour_walk(struct tour *t);
void tour_walk_end(struct tour *t);
void tour_use(struct tour *t);
/* Between tour_walk() and tour_walk_end(). */
void tour_abuse(struct tour *t);

#endif
