/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * storm: the host and two guests change one file and one directory at the same time, and look at what the others have done.
 *
 * Each owns slots of the file, many to a page, and a few names. It counts what it does: a slot holds the number of its
 * last write, a name exists where the number of changes is odd. The numbers are published in memory when the answer has
 * come. Who reads a slot later finds that number or a greater one; who looks for a name finds what its number says, if that
 * is the same before and after. Everything is asked of the kernel or of the back end at the moment, nothing is waited for:
 * what a guest changed the host sees when the guest has its answer, and the other way round.
 */
#include "tests/vhost/storm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/vhost/front.h"

#define ROOT 1
#define USERS 3
#define HOST 0
#define SLOTS 64u     /* of each user */
#define SLOT_WORDS 8u /* 64 bytes: 64 slots a page, of all users */
#define NAMES 4u
#define FILE_SIZE (USERS * SLOTS * SLOT_WORDS * 8)

struct user {
	unsigned index;
	uint32_t rounds;
	uint64_t random;
	pthread_t thread;
	/* A guest's: */
	struct front front;
	uint64_t file, dir;
	/* The host's: */
	int fd;
	const uint64_t *map;
	char path[4096];
};

static _Atomic uint64_t written[USERS][SLOTS];
/* Twice the number of changes that were answered; one more while one is asked for. */
static _Atomic uint64_t changed[USERS][NAMES];

static uint32_t draw(struct user *u, uint32_t below)
{
	u->random = u->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(u->random >> 33) % below;
}

static uint64_t slot_at(unsigned owner, unsigned slot)
{
	return (slot * USERS + owner) * SLOT_WORDS * 8;
}

/* ---- the file ---- */

static void write_slot(struct user *u)
{
	unsigned slot = draw(u, SLOTS);
	uint64_t number = atomic_load(&written[u->index][slot]) + 1, words[SLOT_WORDS];
	uint64_t at = slot_at(u->index, slot);

	for (unsigned i = 0; i < SLOT_WORDS; i++)
		words[i] = number;
	if (u->index == HOST) {
		if (pwrite(u->fd, words, sizeof(words), (off_t)at) != sizeof(words))
			front_die("the host cannot write: %s", strerror(errno));
	} else {
		int err = fuse_write(&u->front, u->file, at, words, sizeof(words));

		if (err)
			front_die("guest %u cannot write: %s", u->index, strerror(-err));
	}
	atomic_store(&written[u->index][slot], number);
}

static void read_slot(struct user *u)
{
	unsigned owner = draw(u, USERS), slot = draw(u, SLOTS);
	uint64_t least = atomic_load(&written[owner][slot]), words[SLOT_WORDS] = { 0 };
	uint64_t at = slot_at(owner, slot);
	bool mapped = u->index == HOST && draw(u, 2);
	int64_t got = sizeof(words);

	if (mapped)
		for (unsigned i = 0; i < SLOT_WORDS; i++)
			words[i] = *(const volatile uint64_t *)&u->map[at / 8 + i];
	else if (u->index == HOST)
		got = pread(u->fd, words, sizeof(words), (off_t)at);
	else
		got = fuse_read(&u->front, u->file, at, words, sizeof(words));
	if (got != sizeof(words))
		front_die("user %u reads %" PRId64 " bytes", u->index, got);
	for (unsigned i = 0; i < SLOT_WORDS; i++)
		if (words[i] < least)
			front_die("user %u sees %" PRIu64 " in word %u of slot %u of user %u%s, "
				  "which had been answered for %" PRIu64,
				  u->index, words[i], i, slot, owner, mapped ? " (mapped)" : "",
				  least);
}

/* ---- the directory ---- */

static void name_of(char *name, size_t size, unsigned owner, unsigned which)
{
	(void)snprintf(name, size, "name-%u-%u", owner, which);
}

static void change_name(struct user *u)
{
	unsigned which = draw(u, NAMES);
	_Atomic uint64_t *count = &changed[u->index][which];
	bool exists = atomic_load(count) / 2 % 2;
	char name[32], path[4200];
	struct fuse_entry_out e;
	int err = 0, fd;

	name_of(name, sizeof(name), u->index, which);
	(void)snprintf(path, sizeof(path), "%s/%s", u->path, name);
	atomic_fetch_add(count, 1);
	if (u->index == HOST && exists) {
		err = unlink(path) ? -errno : 0;
	} else if (u->index == HOST) {
		fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
		err = fd < 0 || close(fd) ? -errno : 0;
	} else if (exists) {
		err = fuse_names(&u->front, FUSE_UNLINK, u->dir, name);
	} else {
		err = fuse_create(&u->front, u->dir, name, 0600, &e);
		if (!err)
			fuse_forget(&u->front, e.nodeid, 1);
	}
	if (err)
		front_die("user %u cannot %s %s: %s", u->index, exists ? "remove" : "make", name,
			  strerror(-err));
	atomic_fetch_add(count, 1);
}

static void look_for_name(struct user *u)
{
	unsigned owner = draw(u, USERS), which = draw(u, NAMES);
	uint64_t count = atomic_load(&changed[owner][which]);
	char name[32], path[4200];
	struct fuse_entry_out e;
	struct stat st;
	bool found;
	int err;

	name_of(name, sizeof(name), owner, which);
	(void)snprintf(path, sizeof(path), "%s/%s", u->path, name);
	if (u->index == HOST) {
		err = stat(path, &st) ? -errno : 0;
	} else {
		err = fuse_lookup(&u->front, u->dir, name, &e);
		if (!err)
			fuse_forget(&u->front, e.nodeid, 1);
	}
	found = !err;
	if (err && err != -ENOENT)
		front_die("user %u looks for %s: %s", u->index, name, strerror(-err));
	if (count % 2 == 0 && atomic_load(&changed[owner][which]) == count &&
	    found != (bool)(count / 2 % 2))
		front_die("user %u %s %s after change %" PRIu64, u->index,
			  found ? "still sees" : "does not see", name, count / 2);
}

/* ---- users ---- */

static void *run(void *arg)
{
	struct user *u = arg;

	for (uint32_t i = 0; i < u->rounds; i++) {
		write_slot(u);
		read_slot(u);
		read_slot(u);
		if (draw(u, 3) == 0)
			change_name(u);
		look_for_name(u);
	}
	return NULL;
}

static void must(int got, const char *what)
{
	if (got)
		front_die("%s: %s", what, strerror(-got));
}

static void begin_guest(struct user *u, const char *socket)
{
	struct fuse_entry_out e;

	front_connect(&u->front, socket);
	front_setup(&u->front, false);
	fuse_init(&u->front);
	must(fuse_lookup(&u->front, ROOT, "storm", &e), "lookup");
	u->dir = e.nodeid;
	must(fuse_lookup(&u->front, u->dir, "file", &e), "lookup");
	u->file = e.nodeid;
}

static void begin_host(struct user *u, const char *dir)
{
	char path[4200];
	void *map;

	if (snprintf(u->path, sizeof(u->path), "%s/storm", dir) >= (int)sizeof(u->path))
		front_die("%s: too long", dir);
	(void)snprintf(path, sizeof(path), "%s/file", u->path);
	u->fd = open(path, O_RDWR);
	if (u->fd < 0)
		front_die("%s: %s", path, strerror(errno));
	map = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, u->fd, 0);
	if (map == MAP_FAILED)
		front_die("%s: mmap: %s", path, strerror(errno));
	u->map = map;
}

static void make_file(const char *socket)
{
	static uint8_t zeros[FILE_SIZE];
	struct fuse_entry_out e;
	struct front f;

	front_connect(&f, socket);
	front_setup(&f, false);
	fuse_init(&f);
	must(fuse_mkdir(&f, ROOT, "storm", &e), "mkdir");
	must(fuse_create(&f, e.nodeid, "file", 0600, &e), "create");
	must(fuse_write(&f, e.nodeid, 0, zeros, sizeof(zeros)), "write");
	front_close(&f);
}

void storm(const char *socket, const char *dir, uint32_t rounds)
{
	static struct user users[USERS];
	unsigned first = *dir ? HOST : HOST + 1;

	make_file(socket);
	for (unsigned i = first; i < USERS; i++) {
		users[i].index = i;
		users[i].rounds = rounds;
		users[i].random = i + 1;
		if (i == HOST)
			begin_host(&users[i], dir);
		else
			begin_guest(&users[i], socket);
	}
	for (unsigned i = first; i < USERS; i++)
		must(-pthread_create(&users[i].thread, NULL, run, &users[i]), "pthread_create");
	for (unsigned i = first; i < USERS; i++)
		must(-pthread_join(users[i].thread, NULL), "pthread_join");
	for (unsigned i = HOST + 1; i < USERS; i++)
		front_close(&users[i].front);
	if (*dir &&
	    (munmap((void *)(uintptr_t)users[HOST].map, FILE_SIZE) || close(users[HOST].fd)))
		front_die("the host's file: %s", strerror(errno));
}
