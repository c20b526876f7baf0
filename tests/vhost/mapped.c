/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mapped DIR: the host has files below DIR mapped, and has stored into the mapping what it has sent to nobody yet. A guest
 * then changes the same file. Nothing of either may be lost, not in the page that both touched; and what the guest cut off
 * must not come back when the host's page is written at last.
 */
#include "tests/vhost/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/vhost/front.h"

#define ROOT 1
#define PAGE 4096u
#define PAGES 4u

struct mapped {
	struct front *front;
	uint64_t nodeid;
	int fd;
	uint8_t *map;
	char path[4096];
};

static void must(int got, const char *what)
{
	if (got)
		front_die("%s: %s", what, strerror(-got));
}

static void begin(struct mapped *m, struct front *f, const char *dir, const char *name)
{
	static uint8_t letters[PAGES * PAGE];
	struct fuse_entry_out e;

	memset(letters, 'a', sizeof(letters));
	m->front = f;
	must(fuse_create(f, ROOT, name, 0600, &e), "create");
	m->nodeid = e.nodeid;
	must(fuse_write(f, e.nodeid, 0, letters, sizeof(letters)), "write");
	if (snprintf(m->path, sizeof(m->path), "%s/%s", dir, name) >= (int)sizeof(m->path))
		front_die("%s: too long", dir);
	m->fd = open(m->path, O_RDWR);
	if (m->fd < 0)
		front_die("%s: %s", m->path, strerror(errno));
	m->map = mmap(NULL, sizeof(letters), PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (m->map == MAP_FAILED)
		front_die("%s: mmap: %s", m->path, strerror(errno));
	if (m->map[0] != 'a')
		front_die("%s: the host does not see what the guest wrote", m->path);
}

static void store(struct mapped *m, uint64_t at)
{
	*(volatile uint8_t *)(m->map + at) = 'H';
}

static void guest_sees(struct mapped *m, uint64_t at, uint8_t wanted)
{
	uint8_t got = 0;

	if (fuse_read(m->front, m->nodeid, at, &got, 1) != 1 || got != wanted)
		front_die("%s: the guest reads '%c' at %" PRIu64 ", wanted '%c'", m->path, got, at,
			  wanted);
}

static void both_see(struct mapped *m, uint64_t at, uint8_t wanted)
{
	uint8_t got = *(volatile uint8_t *)(m->map + at);

	if (got != wanted)
		front_die("%s: the host's mapping has '%c' at %" PRIu64 ", wanted '%c'", m->path,
			  got, at, wanted);
	guest_sees(m, at, wanted);
}

static void has_size(struct mapped *m, uint64_t wanted)
{
	struct fuse_attr attr;
	struct stat st;

	must(fuse_getattr(m->front, m->nodeid, &attr), "getattr");
	if (fstat(m->fd, &st))
		front_die("%s: %s", m->path, strerror(errno));
	if (attr.size != wanted || (uint64_t)st.st_size != wanted)
		front_die("%s: %" PRIu64 " bytes for the guest, %" PRIu64
			  " for the host, not %" PRIu64,
			  m->path, (uint64_t)attr.size, (uint64_t)st.st_size, wanted);
}

/* Whatever the host still has to write, it has written. */
static void end(struct mapped *m)
{
	if (msync(m->map, PAGES * PAGE, MS_SYNC) || munmap(m->map, PAGES * PAGE) || close(m->fd))
		front_die("%s: %s", m->path, strerror(errno));
}

static int call(struct mapped *m, uint32_t opcode, const void *args, size_t len, size_t room)
{
	struct fuse_message message = {
		.opcode = opcode, .nodeid = m->nodeid, .args = args, .arg_len = len, .room = room
	};

	return fuse_call(m->front, 1, &message, NULL, NULL);
}

static void writes(struct front *f, const char *dir)
{
	struct mapped m;

	begin(&m, f, dir, "mapped-write");
	for (uint64_t page = 0; page < PAGES; page++)
		store(&m, page * PAGE + 10);
	/* The page's other bytes; and two pages at their border. */
	must(fuse_write(f, m.nodeid, 20, "G", 1), "write");
	must(fuse_write(f, m.nodeid, 2 * PAGE - 1, "GG", 2), "write");
	both_see(&m, 10, 'H');
	both_see(&m, 20, 'G');
	both_see(&m, PAGE + 10, 'H');
	both_see(&m, 2 * PAGE - 1, 'G');
	both_see(&m, 2 * PAGE, 'G');
	both_see(&m, 2 * PAGE + 10, 'H');
	/* The same byte: the guest's write came later. */
	store(&m, 30);
	must(fuse_write(f, m.nodeid, 30, "G", 1), "write");
	both_see(&m, 30, 'G');
	end(&m);
	guest_sees(&m, 20, 'G');
	guest_sees(&m, 30, 'G');
	guest_sees(&m, 3 * PAGE + 10, 'H');
}

static void appends(struct front *f, const char *dir)
{
	struct fuse_write_in in = { .offset = 0, .size = 1, .flags = O_WRONLY | O_APPEND };
	struct mapped m;
	struct fuse_message message = { .opcode = FUSE_WRITE,
					.args = &in,
					.arg_len = sizeof(in),
					.data = "G",
					.data_len = 1,
					.room = sizeof(struct fuse_write_out) };
	struct fuse_setattr_in shorter = { .valid = FATTR_SIZE, .size = PAGE + 100 };

	begin(&m, f, dir, "mapped-append");
	must(call(&m, FUSE_SETATTR, &shorter, sizeof(shorter), sizeof(struct fuse_attr_out)),
	     "truncate");
	store(&m, PAGE + 50);
	message.nodeid = m.nodeid;
	must(fuse_call(f, 1, &message, NULL, NULL), "append");
	has_size(&m, PAGE + 101);
	both_see(&m, PAGE + 50, 'H');
	both_see(&m, PAGE + 100, 'G');
	end(&m);
	guest_sees(&m, PAGE + 100, 'G');
}

static void truncates(struct front *f, const char *dir)
{
	struct fuse_setattr_in in = { .valid = FATTR_SIZE, .size = PAGE + 100 };
	struct fuse_open_in cut = { .flags = O_WRONLY | O_TRUNC };
	struct mapped m;

	begin(&m, f, dir, "mapped-truncate");
	store(&m, PAGE + 50);
	store(&m, PAGE + 200);
	store(&m, 3 * PAGE);
	must(call(&m, FUSE_SETATTR, &in, sizeof(in), sizeof(struct fuse_attr_out)), "truncate");
	has_size(&m, PAGE + 100);
	both_see(&m, PAGE + 50, 'H');
	/* And up again: what was cut off is zeros. */
	in.size = PAGES * PAGE;
	must(call(&m, FUSE_SETATTR, &in, sizeof(in), sizeof(struct fuse_attr_out)), "truncate");
	/* A page fault asks for no new size: stat does. */
	has_size(&m, PAGES * PAGE);
	both_see(&m, PAGE + 200, 0);
	both_see(&m, 3 * PAGE, 0);
	store(&m, 2 * PAGE);
	must(call(&m, FUSE_OPEN, &cut, sizeof(cut), sizeof(struct fuse_open_out)), "open");
	has_size(&m, 0);
	end(&m);
	if (stat(m.path, &(struct stat){ 0 }))
		front_die("%s: %s", m.path, strerror(errno));
	in.size = PAGES * PAGE;
	must(call(&m, FUSE_SETATTR, &in, sizeof(in), sizeof(struct fuse_attr_out)), "truncate");
	guest_sees(&m, 2 * PAGE, 0);
}

static void punches(struct front *f, const char *dir)
{
	struct fuse_fallocate_in in = { .offset = PAGE,
					.length = PAGE,
					.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };
	struct mapped m;

	begin(&m, f, dir, "mapped-punch");
	store(&m, PAGE + 10);
	store(&m, 2 * PAGE + 10);
	must(call(&m, FUSE_FALLOCATE, &in, sizeof(in), 0), "punch");
	both_see(&m, PAGE + 10, 0);
	end(&m);
	guest_sees(&m, PAGE + 10, 0);
	guest_sees(&m, 2 * PAGE + 10, 'H');
}

/* What the host stored is in the copy. */
static void copies(struct front *f, const char *dir)
{
	struct fuse_copy_file_range_in in = { .len = 2 * PAGE };
	struct fuse_entry_out to;
	struct mapped m;
	uint8_t got = 0;

	begin(&m, f, dir, "mapped-copy");
	store(&m, PAGE + 10);
	must(fuse_create(f, ROOT, "copy", 0600, &to), "create");
	in.nodeid_out = to.nodeid;
	must(call(&m, FUSE_COPY_FILE_RANGE, &in, sizeof(in), sizeof(struct fuse_write_out)),
	     "copy");
	if (fuse_read(f, to.nodeid, PAGE + 10, &got, 1) != 1 || got != 'H')
		front_die("the copy has '%c'", got);
	end(&m);
}

void mapped(struct front *f, const char *dir)
{
	writes(f, dir);
	appends(f, dir);
	truncates(f, dir);
	punches(f, dir);
	copies(f, dir);
}
