/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An honest guest and the host's mount, beside others that are neither. Both write one file, a
 * block at a time, each block with who wrote it and when; both read what the other has written
 * and expect that. Names are made, moved and removed on one side and looked for on the other. All of
 * it in a folder whose blocks and inodes are there beforehand: a disk that others have filled
 * is no excuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/vhost/hostile.h"

#define BLOCK 4096u
#define BLOCKS 64u
/* Nobody waits longer than that for anything, whatever others do. */
#define PATIENCE_MS 10000

struct witness {
	struct front f;
	uint64_t dir, file;
	char path[4096]; /* of the folder, on the host */
	int fd;		 /* of the file, there */
	uint64_t stamp[BLOCKS];
	uint64_t rounds, longest_ms;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* that clock cannot fail */
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void fill(uint64_t *block, uint64_t stamp, uint32_t index)
{
	for (uint32_t i = 0; i < BLOCK / sizeof(*block); i++)
		block[i] = stamp * 0x9e3779b97f4a7c15u + index * 8192 + i;
}

static void expect(const struct witness *w, const uint64_t *got, uint32_t index, const char *who)
{
	uint64_t want[BLOCK / sizeof(uint64_t)];

	fill(want, w->stamp[index], index);
	for (uint32_t i = 0; i < BLOCK / sizeof(*want); i++)
		if (got[i] != want[i])
			front_die("witness: %s reads %016" PRIx64 " in block %u word %u, wanted "
				  "%016" PRIx64 " (round %" PRIu64 ")",
				  who, got[i], index, i, want[i], w->rounds);
}

static void must(int err, const char *what)
{
	if (err)
		front_die("witness: %s: %s", what, strerror(err < 0 ? -err : err));
}

static void host_path(const struct witness *w, char *path, size_t size, const char *name)
{
	if (snprintf(path, size, "%s/%s", w->path, name) >= (int)size)
		front_die("witness: %s: too long", w->path);
}

static void look_both(struct witness *w, uint32_t index)
{
	uint64_t block[BLOCK / sizeof(uint64_t)];
	ssize_t got;

	if (fuse_read(&w->f, w->file, (uint64_t)index * BLOCK, block, BLOCK) != BLOCK)
		front_die("witness: the guest cannot read");
	expect(w, block, index, "the guest");
	got = pread(w->fd, block, BLOCK, (off_t)index * BLOCK);
	if (got != BLOCK)
		front_die("witness: the host reads %zd bytes of block %u (%s, round %" PRIu64 ")",
			  got, index, got < 0 ? strerror(errno) : "short", w->rounds);
	expect(w, block, index, "the host");
}

static void write_one(struct witness *w, uint32_t index, bool by_guest)
{
	uint64_t block[BLOCK / sizeof(uint64_t)];

	fill(block, ++w->stamp[index], index);
	if (by_guest)
		must(fuse_write(&w->f, w->file, (uint64_t)index * BLOCK, block, BLOCK), "write");
	else if (pwrite(w->fd, block, BLOCK, (off_t)index * BLOCK) != BLOCK)
		front_die("witness: the host cannot write: %s", strerror(errno));
}

/* Names that one side makes are there for the other when it was answered. */
static void names(struct witness *w)
{
	struct fuse_entry_out e;
	char path[4200];
	struct stat st;
	int fd;

	host_path(w, path, sizeof(path), "guest");
	must(fuse_create(&w->f, w->dir, "guest", 0600, &e), "create");
	must(stat(path, &st) ? errno : 0, "the host looks for what the guest made");
	fuse_forget(&w->f, e.nodeid, 1);
	must(fuse_names(&w->f, FUSE_UNLINK, w->dir, "guest"), "unlink");
	if (!stat(path, &st) || errno != ENOENT)
		front_die("witness: the host sees what the guest deleted");
	host_path(w, path, sizeof(path), "host");
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	must(fd < 0 ? errno : 0, "the host creates");
	(void)close(fd); /* nothing was written */
	must(fuse_lookup(&w->f, w->dir, "host", &e), "the guest looks for what the host made");
	fuse_forget(&w->f, e.nodeid, 1);
	must(unlink(path) ? errno : 0, "the host deletes");
	if (fuse_lookup(&w->f, w->dir, "host", &e) != -ENOENT)
		front_die("witness: the guest sees what the host deleted");
}

static void begin(struct witness *w, const char *socket, const char *mount)
{
	struct fuse_entry_out e;
	char path[4200];

	front_connect(&w->f, socket);
	front_setup(&w->f, false);
	fuse_init(&w->f);
	must(fuse_mkdir(&w->f, 1, "witness", &e), "mkdir");
	w->dir = e.nodeid;
	must(fuse_create(&w->f, w->dir, "file", 0600, &e), "create");
	w->file = e.nodeid;
	if (snprintf(w->path, sizeof(w->path), "%s/witness", mount) >= (int)sizeof(w->path))
		front_die("witness: %s: too long", mount);
	host_path(w, path, sizeof(path), "file");
	w->fd = open(path, O_RDWR | O_CLOEXEC);
	must(w->fd < 0 ? errno : 0, path);
	for (uint32_t i = 0; i < BLOCKS; i++)
		write_one(w, i, i % 2);
	printf("witness: ready\n");
	(void)fflush(stdout); /* whoever waits for it will not see it */
}

void witness(const char *socket, const char *dir, const char *until)
{
	static struct witness w;

	begin(&w, socket, dir);
	while (access(until, F_OK)) {
		uint64_t start = now_ms(), took;
		uint32_t index = (uint32_t)(w.rounds * 7 % BLOCKS);

		write_one(&w, index, w.rounds % 2);
		look_both(&w, index);
		look_both(&w, (uint32_t)(w.rounds * 13 % BLOCKS));
		if (w.rounds % 8 == 0)
			names(&w);
		took = now_ms() - start;
		w.longest_ms = took > w.longest_ms ? took : w.longest_ms;
		if (took > PATIENCE_MS)
			front_die("witness: a round took %" PRIu64 " ms", took);
		w.rounds++;
		(void)poll(NULL, 0, 1);
	}
	for (uint32_t i = 0; i < BLOCKS; i++)
		look_both(&w, i);
	printf("witness: %" PRIu64 " rounds, the longest %" PRIu64 " ms\n", w.rounds, w.longest_ms);
	(void)close(w.fd);
	front_close(&w.f);
}
