/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/vhost/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "tests/vhost/front.h"

#define ROOT 1
#define WAIT_MS 60000

/* The first file's nodeid; all that may be known are. */
static uint64_t know(struct front *f, uint32_t nodes)
{
	struct fuse_entry_out e;
	uint64_t first = 0, last = 0;
	char name[32];

	for (uint32_t i = 0; i < nodes; i++) {
		(void)snprintf(name, sizeof(name), "known-%u", i);
		front_want(fuse_create(f, ROOT, name, 0600, &e), 0, "create");
		first = first ? first : e.nodeid;
		last = e.nodeid;
	}
	front_want(fuse_create(f, ROOT, "one-more", 0600, &e), -ENFILE, "one inode more");
	front_want(fuse_lookup(f, ROOT, "known-0", &e), 0, "lookup of a known one");
	fuse_forget(f, last, 1);
	front_want(fuse_create(f, ROOT, "another", 0600, &e), 0, "create after a forget");
	return first;
}

static int lock_byte(struct front *f, uint64_t nodeid, uint64_t owner, uint64_t at, uint32_t type)
{
	struct fuse_lk_in in = { .owner = owner,
				 .lk = { .start = 2 * at, .end = 2 * at, .type = type } };
	struct fuse_message m = {
		.opcode = FUSE_SETLK, .nodeid = nodeid, .args = &in, .arg_len = sizeof(in)
	};

	return fuse_call(f, 1, &m, NULL, NULL);
}

static void lock(struct front *f, uint64_t nodeid, uint32_t locks)
{
	for (uint32_t i = 0; i < locks; i++)
		front_want(lock_byte(f, nodeid, 1, i, F_WRLCK), 0, "lock");
	front_want(lock_byte(f, nodeid, 1, locks, F_WRLCK), -ENOLCK, "one lock more");
}

/* Of one byte that owner 1 has: it ends when somebody ends it. */
static void wait_for_lock(struct front *f, uint64_t nodeid)
{
	struct fuse_lk_in in = { .owner = 2, .lk = { .end = INT64_MAX, .type = F_WRLCK } };
	struct fuse_message m = {
		.opcode = FUSE_SETLKW, .nodeid = nodeid, .args = &in, .arg_len = sizeof(in)
	};
	struct fuse_out_header out;
	uint32_t len;

	front_offer(f, 2, fuse_build(f, 2, &m));
	printf("waiting\n");
	(void)fflush(stdout); /* a closed pipe is seen by who waits */
	if (front_take(f, 2, WAIT_MS, &len) < 0 || len != sizeof(out))
		front_die("a lock waits for ever");
	memcpy(&out, front_at(f, f->queue[2].head_gpa + 0x8000), sizeof(out));
	printf("ended: %s\n", out.error ? strerror(-out.error) : "granted");
}

void limits(const char *socket, uint32_t nodes, uint32_t locks)
{
	static uint8_t bytes[1000];
	struct front f;
	uint64_t file;

	front_begin(&f, socket);
	file = know(&f, nodes);
	front_want(fuse_write(&f, file, 0, bytes, sizeof(bytes)), 0, "write");
	if (fuse_read(&f, file, 0, bytes, 500) != 500)
		front_die("read");
	/* Room for the one that waits. */
	lock(&f, file, locks);
	front_want(lock_byte(&f, file, 1, locks - 1, F_UNLCK), 0, "unlock");
	wait_for_lock(&f, file);
	front_close(&f);
}

void flood(const char *socket, uint32_t times)
{
	struct front f;

	front_begin(&f, socket);
	for (uint32_t i = 0; i < times; i++)
		fuse_init(&f);
	front_close(&f);
	for (uint32_t i = 0; i < times; i++) {
		front_connect(&f, socket);
		front_close(&f);
	}
}
