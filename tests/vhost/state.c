/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/vhost/state.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/vhost/front.h"

#define ALONE_TRIES 200u
#define ALONE_PAUSE_MS 50
#define ROOT 1
#define OWNER 7
#define TEXT "written before the move"

struct files {
	struct fuse_entry_out open, deleted;
};

/* ---- the state ---- */

bool state_begin(struct front *f, uint32_t direction, int fd)
{
	uint32_t words[2] = { direction, MSG_STATE_STOPPED };
	uint64_t answer = 0;

	if (!front_send(f, MSG_SET_DEVICE_STATE_FD, words, sizeof(words), &fd, 1) ||
	    front_receive(f, MSG_SET_DEVICE_STATE_FD, &answer, sizeof(answer)) != sizeof(answer))
		front_die("SET_DEVICE_STATE_FD: no answer");
	(void)close(fd);
	if (!(answer & MSG_STATE_NOFD))
		front_die("SET_DEVICE_STATE_FD: %#llx", (unsigned long long)answer);
	return !(answer & 0xff);
}

int state_check(struct front *f)
{
	uint64_t answer = 1;

	if (!front_send(f, MSG_CHECK_DEVICE_STATE, NULL, 0, NULL, 0) ||
	    front_receive(f, MSG_CHECK_DEVICE_STATE, &answer, sizeof(answer)) != sizeof(answer))
		front_die("CHECK_DEVICE_STATE: no answer");
	return answer != 0;
}

void state_save(struct front *f, struct state *s)
{
	int fds[2];
	ssize_t got;

	if (pipe2(fds, O_CLOEXEC))
		front_die("pipe: %s", strerror(errno));
	if (!state_begin(f, MSG_STATE_SAVE, fds[1]))
		front_die("saving was refused");
	s->len = 0;
	while ((got = read(fds[0], s->bytes + s->len, STATE_MAX - s->len)) > 0)
		s->len += (size_t)got;
	(void)close(fds[0]);
	front_want(state_check(f), 0, "save");
}

static int load(struct front *f, const struct state *s)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		front_die("pipe: %s", strerror(errno));
	if (!state_begin(f, MSG_STATE_LOAD, fds[0]))
		front_die("loading was refused");
	/* It may have stopped to read at the first wrong byte. */
	for (size_t at = 0; at < s->len;) {
		ssize_t done = write(fds[1], s->bytes + at, s->len - at);

		if (done < 0)
			break;
		at += (size_t)done;
	}
	(void)close(fds[1]);
	return state_check(f);
}

void state_move(struct front *from, struct front *to)
{
	struct state s;

	state_save(from, &s);
	front_want(load(to, &s), 0, "load");
}

/* ---- guests ---- */

static void stop(struct front *f, uint16_t *base)
{
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		base[i] = front_stop_queue(f, i);
}

static void start(struct front *f, const uint16_t *base)
{
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		front_start_queue(f, i, base[i]);
}

static const uint16_t zero[FRONT_QUEUES];

static void live(struct front *f, const char *socket)
{
	front_connect(f, socket);
	front_setup(f, false);
	fuse_init(f);
}

static void make_files(struct front *f, struct files *files)
{
	struct fuse_entry_out again;

	front_want(fuse_create(f, ROOT, "open", 0600, &files->open), 0, "create");
	front_want(fuse_write(f, files->open.nodeid, 0, TEXT, sizeof(TEXT)), 0, "write");
	front_want(fuse_lookup(f, ROOT, "open", &again), 0, "lookup");
	front_want(fuse_lookup(f, ROOT, "open", &again), 0, "lookup");
	front_want(fuse_create(f, ROOT, "deleted", 0600, &files->deleted), 0, "create");
	front_want(fuse_write(f, files->deleted.nodeid, 0, TEXT, sizeof(TEXT)), 0, "write");
	front_want(fuse_names(f, FUSE_UNLINK, ROOT, "deleted"), 0, "unlink");
	front_want(fuse_setlk(f, files->open.nodeid, OWNER, F_WRLCK, false), 0, "lock");
}

static void want_text(struct front *f, uint64_t nodeid)
{
	char text[sizeof(TEXT)];

	if (fuse_read(f, nodeid, 0, text, sizeof(text)) != sizeof(text) ||
	    memcmp(text, TEXT, sizeof(text)) != 0)
		front_die("what was written before the move is not there");
}

/* A bit wrong at each @step bytes of what was sent, and cut there. */
static void damage(struct front *f, const struct state *good, size_t step)
{
	struct state bad;

	for (size_t at = 0; at < good->len; at += step) {
		bad = *good;
		bad.bytes[at] ^= (uint8_t)(1u << at % 8);
		if (!load(f, &bad))
			front_die("a state with byte %zu wrong was taken", at);
		bad = *good;
		bad.len = at;
		if (!load(f, &bad))
			front_die("a state that ends at byte %zu was taken", at);
	}
	bad = *good;
	bad.bytes[bad.len++] = 0;
	if (!load(f, &bad))
		front_die("a state with a byte too many was taken");
}

static void refused_elsewhere(const char *other, const struct state *s)
{
	struct front f;

	front_connect(&f, other);
	front_negotiate(&f, false);
	if (!load(&f, s))
		front_die("a state of another image was taken");
	/* It is a guest like any other then. */
	start(&f, zero);
	fuse_init(&f);
	front_close(&f);
}

/* Twice: one that was not mounted moves as well. */
static void move_unmounted(const char *socket)
{
	struct front from, to;
	struct fuse_attr attr;
	struct state s;

	front_connect(&from, socket);
	front_negotiate(&from, false);
	state_save(&from, &s);
	front_connect(&to, socket);
	front_negotiate(&to, false);
	front_want(load(&to, &s), 0, "load");
	start(&to, zero);
	front_want(fuse_getattr(&to, ROOT, &attr), -EIO, "getattr before INIT");
	fuse_init(&to);
	front_want(fuse_getattr(&to, ROOT, &attr), 0, "getattr");
	front_close(&from);
	front_close(&to);
}

/* Rings that run: nothing is saved. And the guest may stay after all. */
static void stay(struct front *f, const struct files *files, struct state *s)
{
	uint16_t base[FRONT_QUEUES];
	struct fuse_attr attr;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		front_die("pipe: %s", strerror(errno));
	if (state_begin(f, MSG_STATE_SAVE, fds[1]))
		front_die("a guest that runs was saved");
	(void)close(fds[0]);
	stop(f, base);
	state_save(f, s);
	start(f, base);
	front_want(fuse_getattr(f, files->open.nodeid, &attr), 0, "getattr");
	front_want(fuse_setlk(f, files->open.nodeid, OWNER + 1, F_WRLCK, false), -EAGAIN, "lock");
	stop(f, base);
}

void move_state(const char *socket, const char *other)
{
	struct front from, to, third;
	struct fuse_entry_out seen;
	struct fuse_attr attr;
	struct files files;
	struct state s;

	move_unmounted(socket);
	live(&from, socket);
	make_files(&from, &files);
	live(&third, socket);
	front_want(fuse_lookup(&third, ROOT, "open", &seen), 0, "lookup");
	stay(&from, &files, &s);
	state_save(&from, &s);
	refused_elsewhere(other, &s);

	front_connect(&to, socket);
	front_negotiate(&to, false);
	damage(&to, &s, 1);
	front_want(load(&to, &s), 0, "load");
	front_want(fuse_setlk(&third, seen.nodeid, OWNER, F_WRLCK, false), -EAGAIN,
		   "lock of a third");
	start(&to, zero);
	front_close(&from);
	(void)poll(NULL, 0, 200);
	front_want(fuse_setlk(&third, seen.nodeid, OWNER, F_WRLCK, false), -EAGAIN,
		   "lock of a third");
	want_text(&to, files.open.nodeid);
	want_text(&to, files.deleted.nodeid);
	front_want(fuse_write(&to, files.deleted.nodeid, 1 << 20, TEXT, sizeof(TEXT)), 0, "write");
	front_want(fuse_getattr(&to, seen.nodeid + 1, &attr), -ESTALE, "forged nodeid");
	front_want(fuse_setlk(&to, files.open.nodeid, OWNER, F_UNLCK, false), 0, "unlock");
	front_want(fuse_setlk(&third, seen.nodeid, OWNER, F_WRLCK, false), 0, "lock of a third");
	/* Created, and looked up twice. */
	fuse_forget(&to, files.open.nodeid, 2);
	front_want(fuse_getattr(&to, files.open.nodeid, &attr), 0, "getattr");
	fuse_forget(&to, files.open.nodeid, 1);
	front_want(fuse_getattr(&to, files.open.nodeid, &attr), -ESTALE,
		   "getattr of a forgotten nodeid");
	front_want(fuse_lookup(&to, ROOT, "deleted", &seen), -ENOENT, "lookup");
	front_want(fuse_names(&to, FUSE_UNLINK, ROOT, "open"), 0, "unlink");
	front_close(&to);
	front_close(&third);
}

/* ---- with its image ---- */

/* What the test's script has to say of the image. */
static void ask_script(const char *script, const char *word)
{
	char *command = NULL;

	if (asprintf(&command, "%s %s", script, word) < 0 || system(command))
		front_die("%s: the image is not as it should be", word);
	free(command);
}

/* As state_save(); false: refused. */
static bool try_save(struct front *f, struct state *s)
{
	int fds[2];
	ssize_t got;

	if (pipe2(fds, O_CLOEXEC))
		front_die("pipe: %s", strerror(errno));
	if (!state_begin(f, MSG_STATE_SAVE, fds[1])) {
		(void)close(fds[0]);
		return false;
	}
	s->len = 0;
	while ((got = read(fds[0], s->bytes + s->len, STATE_MAX - s->len)) > 0)
		s->len += (size_t)got;
	(void)close(fds[0]);
	return !state_check(f);
}

static void lock_deleted(struct front *f, const struct files *files)
{
	struct fuse_entry_out gone;

	front_want(fuse_setlk(f, files->deleted.nodeid, OWNER, F_WRLCK, false), 0, "lock");
	/* Deleted and forgotten: nobody is to keep these. */
	front_want(fuse_create(f, ROOT, "gone", 0600, &gone), 0, "create");
	front_want(fuse_names(f, FUSE_UNLINK, ROOT, "gone"), 0, "unlink");
	fuse_forget(f, gone.nodeid, 1);
}

static void want_all(struct front *f, const struct files *files)
{
	struct fuse_entry_out seen;
	struct fuse_attr attr;

	want_text(f, files->open.nodeid);
	want_text(f, files->deleted.nodeid);
	front_want(fuse_setlk(f, files->open.nodeid, OWNER + 1, F_WRLCK, false), -EAGAIN,
		   "lock of another owner");
	front_want(fuse_setlk(f, files->deleted.nodeid, OWNER + 1, F_WRLCK, false), -EAGAIN,
		   "lock of another owner on a deleted file");
	front_want(fuse_lookup(f, ROOT, "deleted", &seen), -ENOENT, "lookup");
	front_want(fuse_getattr(f, files->open.nodeid + 1, &attr), -ESTALE, "forged nodeid");
	front_want(fuse_write(f, files->deleted.nodeid, 1 << 20, TEXT, sizeof(TEXT)), 0, "write");
}

static void arrive(struct front *f, const char *socket, const struct state *s)
{
	front_connect(f, socket);
	front_negotiate(f, false);
	front_want(load(f, s), 0, "load");
}

/* One that shares the image keeps it, and who is refused goes on. */
static void refused_beside(const char *socket, struct front *f, const struct files *files)
{
	uint16_t base[FRONT_QUEUES];
	struct front third;
	struct state s;

	live(&third, socket);
	stop(f, base);
	if (try_save(f, &s))
		front_die("an image with two guests was handed over");
	start(f, base);
	want_all(f, files);
	front_close(&third);
}

/* Of who shared it the daemon may hear a moment later. */
static void save_when_alone(struct front *f, struct state *s)
{
	for (unsigned k = 0; !try_save(f, s); k++) {
		if (k == ALONE_TRIES)
			front_die("the image is not handed over, though nobody shares it");
		(void)poll(NULL, 0, ALONE_PAUSE_MS);
	}
}

static void refused_there(const char *there, const struct state *s, const char *script)
{
	struct front f;
	struct fuse_attr attr;
	struct state rubbish = { .len = 4096 };

	front_connect(&f, there);
	front_negotiate(&f, false);
	if (!load(&f, &rubbish))
		front_die("rubbish was taken for a state");
	damage(&f, s, 13); /* each opens the image */
	ask_script(script, "unchanged");
	/* Nor is anybody served who came without. */
	start(&f, zero);
	front_want(fuse_getattr(&f, ROOT, &attr), -EIO, "getattr without an image");
	front_close(&f);
	ask_script(script, "unchanged");
}

void stay_with_image(const char *socket)
{
	uint16_t base[FRONT_QUEUES];
	struct files files;
	struct front f;
	struct state s;

	live(&f, socket);
	make_files(&f, &files);
	lock_deleted(&f, &files);
	stop(&f, base);
	if (try_save(&f, &s))
		front_die("an image that others use was handed over");
	start(&f, base);
	want_all(&f, &files);
	front_close(&f);
}

void hand_over_elsewhere(const char *socket, const char *there)
{
	uint16_t base[FRONT_QUEUES];
	struct front from, to;
	struct files files;
	struct state s;

	live(&from, socket);
	make_files(&from, &files);
	lock_deleted(&from, &files);
	stop(&from, base);
	state_save(&from, &s);
	front_connect(&to, there);
	front_negotiate(&to, false);
	if (!load(&to, &s))
		front_die("a state was taken by the wrong daemon");
	front_close(&to);
	start(&from, base);
	want_all(&from, &files);
	front_want(fuse_names(&from, FUSE_UNLINK, ROOT, "open"), 0, "unlink");
	front_close(&from);
}

void hand_over(const char *socket, const char *there, const char *script)
{
	uint16_t base[FRONT_QUEUES];
	struct front from, to;
	struct fuse_attr attr;
	struct files files;
	struct state s, old;

	live(&from, socket);
	make_files(&from, &files);
	lock_deleted(&from, &files);
	refused_beside(socket, &from, &files);

	/* It stays after all: nobody came; then somebody came, but did not start. */
	stop(&from, base);
	save_when_alone(&from, &s);
	ask_script(script, "closed");
	state_save(&from, &s);
	ask_script(script, "unchanged");
	refused_there(there, &s, script);
	start(&from, base);
	want_all(&from, &files);
	stop(&from, base);
	state_save(&from, &s);
	ask_script(script, "closed");
	arrive(&to, there, &s);
	front_close(&to);
	start(&from, base);
	ask_script(script, "open");
	want_all(&from, &files);

	/* An old state is no good any more. */
	front_connect(&to, there);
	front_negotiate(&to, false);
	if (!load(&to, &s))
		front_die("a state was taken while its daemon has the image");
	old = s;
	stop(&from, base);
	state_save(&from, &s);
	ask_script(script, "closed");
	if (!load(&to, &old))
		front_die("a state was taken though the image has changed since");
	ask_script(script, "unchanged");
	front_want(load(&to, &s), 0, "load");
	ask_script(script, "unchanged");
	start(&to, zero);
	ask_script(script, "open");
	want_all(&to, &files);
	/* Two cannot have it. */
	start(&from, base);
	front_want(fuse_getattr(&from, ROOT, &attr), -EIO, "getattr of one that has left");
	front_close(&from);

	/* And back. */
	stop(&to, base);
	state_save(&to, &s);
	ask_script(script, "closed");
	arrive(&from, socket, &s);
	start(&from, zero);
	front_close(&to);
	want_all(&from, &files);
	front_want(fuse_setlk(&from, files.open.nodeid, OWNER, F_UNLCK, false), 0, "unlock");
	front_want(fuse_setlk(&from, files.open.nodeid, OWNER + 1, F_WRLCK, false), 0, "lock");
	fuse_forget(&from, files.deleted.nodeid, 1);
	front_want(fuse_getattr(&from, files.deleted.nodeid, &attr), -ESTALE,
		   "getattr of a deleted file that was forgotten");
	front_close(&from);
}

/* ---- with another daemon in between ---- */

void save_state(const char *socket, const char *path)
{
	uint16_t base[FRONT_QUEUES];
	struct files files;
	struct front f;
	struct state s;
	FILE *out = fopen(path, "w");

	live(&f, socket);
	make_files(&f, &files);
	stop(&f, base);
	state_save(&f, &s);
	if (!out || fwrite(&files, sizeof(files), 1, out) != 1 ||
	    fwrite(s.bytes, s.len, 1, out) != 1 || fclose(out))
		front_die("%s: %s", path, strerror(errno));
	front_close(&f);
}

void load_state(const char *socket, const char *path)
{
	struct front f, third;
	struct fuse_entry_out seen;
	struct fuse_attr attr;
	struct files files;
	struct state s;
	FILE *in = fopen(path, "r");

	if (!in || fread(&files, sizeof(files), 1, in) != 1)
		front_die("%s: %s", path, strerror(errno));
	s.len = fread(s.bytes, 1, STATE_MAX, in);
	(void)fclose(in);
	front_connect(&f, socket);
	front_negotiate(&f, false);
	front_want(load(&f, &s), 0, "load");
	live(&third, socket);
	front_want(fuse_lookup(&third, ROOT, "open", &seen), 0, "lookup");
	front_want(fuse_setlk(&third, seen.nodeid, OWNER, F_WRLCK, false), -EAGAIN,
		   "lock of a third");
	start(&f, zero);
	want_text(&f, files.open.nodeid);
	/* A file without a name does not outlive its daemon. */
	front_want(fuse_getattr(&f, files.deleted.nodeid, &attr), -ESTALE,
		   "getattr of a deleted file");
	front_want(fuse_setlk(&f, files.open.nodeid, OWNER, F_UNLCK, false), 0, "unlock");
	front_want(fuse_setlk(&third, seen.nodeid, OWNER, F_WRLCK, false), 0, "lock of a third");
	/* The same state again: the lock is somebody else's now. */
	front_close(&f);
	front_connect(&f, socket);
	front_negotiate(&f, false);
	if (!load(&f, &s))
		front_die("a state was taken whose locks somebody else has");
	front_close(&f);
	front_close(&third);
}
