/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vfe SOCKET COMMAND [WORD…]: what a guest does, without one.
 *
 *   script           every kind of request once and the errors that matter; leaves files for others to judge
 *   readonly         what script left can be read and not changed
 *   share DIR        changes by this guest are seen below DIR, the host's mount, when they are answered; and back
 *   grow DIR N       what either of them appends the host reads at once, N times 64 blocks
 *   locks DIR        a guest's locks keep the host out, and a ring can be stopped while a lock waits
 *   vanish           leaves in the middle: locks held, a deleted file open, requests under way
 *   restart          rings stopped and started, INIT again without a goodbye, DESTROY
 *   idle             requests in quick succession, then none: the daemon sleeps
 *   slots            the same first steps with memory added slot by slot, some of it removed again
 *   mapped DIR       changes by this guest of files that the host has mapped and stored into
 *   jail ROOT_INO [INO GENERATION]...
 *                    the shared directory is that inode, and the others, which lie outside, cannot be reached
 *   caching          prints what a guest may keep
 *   limits N L       knows N inodes, holds L locks, and no more; then a lock waits until somebody ends it
 *   owners DIR       whose files are a guest's where its users are translated
 *   privileges DIR   set-user-id bits and capabilities that go, ACLs that are inherited
 *   no-xattrs        extended attributes are not there
 *   flocks DIR       flock(2) between two guests and the host
 *   durable          leaves "durable", which SYNCFS made so, and "lost", which nothing did
 *   flood N          begins anew N times, and connects N times
 *   storm N [DIR]    N rounds of two guests, and of the host's mount DIR, at one file and one directory at once
 *   hostile SEED CASES [FIRST [FAMILY]]
 *                    lies, by number from FIRST (0) on: see hostile.h
 *   refuses FILE     a guest's memory may not be FILE
 *   witness DIR FILE what this guest and the host's mount at DIR have written stays, until FILE is there
 *   takeover SEED KILLS COMMAND   the daemon is killed with requests in flight; the next one answers them
 *   log SEED gpa|uva   what the back end writes into the guest's memory is in the log; rings named either way
 *   handover SOCKET2 SCRIPT, handover-elsewhere SOCKET2, handover-refused
 *                      a guest takes its image along (state.h)
 *   state SOCKET2      a guest moves to another connection; SOCKET2 serves another image
 *   save FILE, load FILE          the same, with another daemon of the image in between
 *   dax all          files in a window; dax tables: without slots; dax NAME [DIR]: one of the tests in dax.c
 *
 * Exit 0, or 1 with a line that says what was wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/vhost/caching.h"
#include "tests/vhost/dax.h"
#include "tests/vhost/front.h"
#include "tests/vhost/hostile.h"
#include "tests/vhost/jail.h"
#include "tests/vhost/limits.h"
#include "tests/vhost/mapped.h"
#include "tests/vhost/moving.h"
#include "tests/vhost/owners.h"
#include "tests/vhost/state.h"
#include "tests/vhost/storm.h"
#include "tests/vhost/takeover.h"

#define ROOT 1
#define BIG (5u << 20)

static uint8_t *data, *back;

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 131 + (at >> 8) * 7 + (at >> 16));
}

static void fill(uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = pattern(at + i);
}

static void want_bytes(struct front *f, uint64_t nodeid, uint64_t off, size_t len, size_t expect)
{
	int64_t got = fuse_read(f, nodeid, off, back, len);

	if (got != (int64_t)expect)
		front_die("read of %zu at %" PRIu64 ": %" PRId64 ", wanted %zu", len, off, got,
			  expect);
	for (size_t i = 0; i < expect; i++)
		if (back[i] != pattern(off + i))
			front_die("byte %" PRIu64 " is %02x, wanted %02x", off + i, back[i],
				  pattern(off + i));
}

static void write_pattern(struct front *f, uint64_t nodeid, uint64_t off, size_t len)
{
	fill(off, len);
	front_want(fuse_write(f, nodeid, off, data, len), 0, "write");
}

/* ---- script ---- */

static int release(struct front *f, uint64_t nodeid)
{
	struct fuse_release_in in = { .flags = O_RDWR };
	struct fuse_message m = {
		.opcode = FUSE_RELEASE, .nodeid = nodeid, .args = &in, .arg_len = sizeof(in)
	};

	return fuse_call(f, 1, &m, NULL, NULL);
}

static int rename_to(struct front *f, uint64_t dir, const char *from, uint64_t to_dir,
		     const char *to)
{
	struct fuse_rename_in in = { .newdir = to_dir };
	char names[512];
	size_t len = strlen(from) + 1;
	struct fuse_message m = {
		.opcode = FUSE_RENAME, .nodeid = dir, .args = &in, .arg_len = sizeof(in)
	};

	memcpy(names, from, len);
	memcpy(names + len, to, strlen(to) + 1);
	m.text = names;
	m.text_len = len + strlen(to) + 1;
	return fuse_call(f, 2, &m, NULL, NULL);
}

/* The names of a directory, with a blank behind each. */
static void list(struct front *f, uint64_t dir, char *names, size_t size)
{
	uint64_t offset = 0;
	size_t used = 0;

	names[0] = 0;
	for (;;) {
		struct fuse_read_in in = { .offset = offset, .size = 4096 };
		struct fuse_message m = { .opcode = FUSE_READDIR,
					  .nodeid = dir,
					  .args = &in,
					  .arg_len = sizeof(in),
					  .room = 4096 };
		size_t len = 0;

		front_want(fuse_call(f, 1, &m, back, &len), 0, "readdir");
		if (!len)
			return;
		for (size_t at = 0; at < len;) {
			struct fuse_dirent d;

			memcpy(&d, back + at, FUSE_NAME_OFFSET);
			used += (size_t)snprintf(names + used, size - used, "%.*s ", (int)d.namelen,
						 (char *)back + at + FUSE_NAME_OFFSET);
			offset = d.off;
			at += FUSE_REC_ALIGN(FUSE_NAME_OFFSET + d.namelen);
		}
	}
}

static void files(struct front *f, uint64_t dir)
{
	struct fuse_entry_out file, again;
	struct fuse_attr attr;

	front_want(fuse_create(f, dir, "hello", 0640, &file), 0, "create");
	front_want(fuse_write(f, file.nodeid, 0, "hello from a guest\n", 19), 0, "write");
	front_want(fuse_getattr(f, file.nodeid, &attr), 0, "getattr");
	if (attr.size != 19 || attr.mode != (S_IFREG | 0640) || attr.nlink != 1)
		front_die("hello: size %" PRIu64 " mode %o", (uint64_t)attr.size, attr.mode);
	front_want(release(f, file.nodeid), 0, "release");
	front_want(fuse_lookup(f, dir, "hello", &again), 0, "lookup");
	if (again.nodeid != file.nodeid)
		front_die("hello has two nodeids");
	fuse_forget(f, file.nodeid, 2);
	front_want(fuse_getattr(f, file.nodeid, &attr), -ESTALE, "getattr of a forgotten nodeid");

	/* More than one request, odd offsets, a hole, the end. */
	front_want(fuse_create(f, dir, "big", 0600, &file), 0, "create");
	for (uint64_t at = 0; at < BIG; at += FRONT_DATA_MAX)
		write_pattern(f, file.nodeid, at, FRONT_DATA_MAX);
	write_pattern(f, file.nodeid, BIG + 8191, 12345);
	write_pattern(f, file.nodeid, BIG, 8191);
	want_bytes(f, file.nodeid, 0, FRONT_DATA_MAX, FRONT_DATA_MAX);
	want_bytes(f, file.nodeid, 1234567, 300001, 300001);
	want_bytes(f, file.nodeid, BIG, 65536, 8191 + 12345);
	want_bytes(f, file.nodeid, 2 * BIG, 4096, 0);
	front_want(fuse_truncate(f, file.nodeid, BIG + 100), 0, "truncate");
	want_bytes(f, file.nodeid, BIG, 4096, 100);
	front_want(release(f, file.nodeid), 0, "release");
}

static void names(struct front *f, uint64_t dir)
{
	struct fuse_entry_out e, sub;
	char text[1024], long_name[300];

	front_want(fuse_create(f, dir, "a", 0600, &e), 0, "create");
	front_want(rename_to(f, dir, "a", dir, "b"), 0, "rename");
	front_want(fuse_lookup(f, dir, "a", &e), -ENOENT, "lookup of a name that moved");
	front_want(fuse_mkdir(f, dir, "sub", &sub), 0, "mkdir");
	front_want(fuse_names(f, FUSE_UNLINK, dir, "sub"), -EISDIR, "unlink of a directory");
	front_want(rename_to(f, dir, "b", sub.nodeid, "c"), 0, "rename");
	front_want(fuse_names(f, FUSE_RMDIR, dir, "sub"), -ENOTEMPTY, "rmdir");
	front_want(fuse_names(f, FUSE_UNLINK, sub.nodeid, "c"), 0, "unlink");
	front_want(fuse_names(f, FUSE_UNLINK, sub.nodeid, "c"), -ENOENT, "unlink again");
	front_want(fuse_names(f, FUSE_RMDIR, dir, "sub"), 0, "rmdir");
	list(f, dir, text, sizeof(text));
	if (strcmp(text, ". .. hello big ") != 0 && strcmp(text, ". .. big hello ") != 0)
		front_die("the directory holds: %s", text);
	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	front_want(fuse_lookup(f, dir, long_name, &e), -ENAMETOOLONG, "lookup of a long name");
	front_want(fuse_mkdir(f, dir, "a/b", &e), -EINVAL, "mkdir with a slash");
	front_want(fuse_mkdir(f, dir, "..", &e), -EINVAL, "mkdir of ..");
}

/* Numbers can be guessed; nobody gave them to this guest. */
static void forged(struct front *f, uint64_t dir)
{
	struct fuse_attr attr;
	struct fuse_message m = { .opcode = 4000, .nodeid = dir };
	struct fuse_entry_out e;

	for (uint64_t ino = 2; ino < 64; ino++)
		for (uint64_t generation = 0; generation < 3; generation++) {
			uint64_t nodeid = generation << 32 | ino;

			if (nodeid != dir)
				front_want(fuse_getattr(f, nodeid, &attr), -ESTALE,
					   "forged nodeid");
		}
	front_want(fuse_lookup(f, 12, ".", &e), -ESTALE, "lookup of . in a forged nodeid");
	front_want(fuse_lookup(f, 12, "..", &e), -ESTALE, "lookup of .. in a forged nodeid");
	front_want(fuse_call(f, 1, &m, NULL, NULL), -ENOSYS, "unknown opcode");
	m.opcode = FUSE_SYNCFS;
	m.args = (uint64_t[]){ 0 };
	m.arg_len = 8;
	front_want(fuse_call(f, 1, &m, NULL, NULL), 0, "syncfs");
	/* Lies about lookups: the root stays, others are gone. */
	fuse_forget(f, ROOT, UINT64_MAX);
	front_want(fuse_getattr(f, ROOT, &attr), 0, "getattr of the root");
	fuse_forget(f, dir, UINT64_MAX);
	front_want(fuse_getattr(f, dir, &attr), -ESTALE, "getattr after too many forgets");
	front_want(fuse_lookup(f, ROOT, "dir", &e), 0, "lookup");
}

static void script(const char *socket)
{
	struct fuse_entry_out dir;
	struct fuse_attr attr;
	struct front f;

	front_connect(&f, socket);
	front_setup(&f, false);
	front_want(fuse_getattr(&f, ROOT, &attr), -EIO, "getattr before INIT");
	fuse_init(&f);
	front_want(fuse_getattr(&f, ROOT, &attr), 0, "getattr of the root");
	front_want(fuse_mkdir(&f, ROOT, "dir", &dir), 0, "mkdir");
	files(&f, dir.nodeid);
	names(&f, dir.nodeid);
	forged(&f, dir.nodeid);
	front_close(&f);
}

static void readonly(const char *socket)
{
	struct fuse_entry_out dir, file;
	struct front f;

	front_begin(&f, socket);
	front_want(fuse_lookup(&f, ROOT, "dir", &dir), 0, "lookup");
	front_want(fuse_lookup(&f, dir.nodeid, "big", &file), 0, "lookup");
	want_bytes(&f, file.nodeid, 0, FRONT_DATA_MAX, FRONT_DATA_MAX);
	front_want(fuse_create(&f, dir.nodeid, "new", 0600, &file), -EROFS, "create");
	front_want(fuse_write(&f, file.nodeid, 0, "x", 1), -EROFS, "write");
	front_want(fuse_names(&f, FUSE_UNLINK, dir.nodeid, "big"), -EROFS, "unlink");
	front_want(fuse_truncate(&f, file.nodeid, 0), -EROFS, "truncate");
	front_close(&f);
}

/* ---- beside the host ---- */

static void host_path(char *path, size_t size, const char *dir, const char *name)
{
	if (snprintf(path, size, "%s/%s", dir, name) >= (int)size)
		front_die("%s: too long", dir);
}

static void host_expect(const char *path, const char *text)
{
	char got[256] = "";
	int fd = open(path, O_RDONLY);
	ssize_t len = fd < 0 ? -1 : read(fd, got, sizeof(got) - 1);

	if (len < 0 || strcmp(got, text) != 0)
		front_die("the host reads '%s' in %s, wanted '%s'", got, path, text);
	(void)close(fd);
}

static void share(const char *socket, const char *mount)
{
	char path[4096], text[32];
	struct fuse_entry_out e;
	struct fuse_attr attr;
	struct stat st;
	struct front f;
	int fd;

	front_begin(&f, socket);
	host_path(path, sizeof(path), mount, "shared");
	for (int i = 0; i < 200; i++) {
		int64_t got;

		/* The host knows that it is not there; and then it is. */
		if (!stat(path, &st) || errno != ENOENT)
			front_die("%s is there before it is made", path);
		front_want(fuse_create(&f, ROOT, "shared", 0600, &e), 0, "create");
		if (stat(path, &st) || st.st_size)
			front_die("%s: the host does not see it", path);
		(void)snprintf(text, sizeof(text), "round %d", i);
		front_want(fuse_write(&f, e.nodeid, 0, text, strlen(text)), 0, "write");
		host_expect(path, text);
		text[0] = 'R';
		front_want(fuse_write(&f, e.nodeid, 0, text, 1), 0, "write");
		host_expect(path, text);
		/* And what the host writes, the guest reads. */
		fd = open(path, O_WRONLY | O_APPEND);
		if (fd < 0 || write(fd, "!", 1) != 1 || close(fd))
			front_die("%s: %s", path, strerror(errno));
		front_want(fuse_getattr(&f, e.nodeid, &attr), 0, "getattr");
		got = fuse_read(&f, e.nodeid, 0, back, 4096);
		if (attr.size != strlen(text) + 1 || got != (int64_t)attr.size ||
		    back[got - 1] != '!')
			front_die("the guest reads %" PRId64 " bytes of %" PRIu64, got,
				  (uint64_t)attr.size);
		front_want(fuse_names(&f, FUSE_UNLINK, ROOT, "shared"), 0, "unlink");
		fuse_forget(&f, e.nodeid, 1);
	}
	if (!stat(path, &st))
		front_die("%s is there after it was deleted", path);
	front_close(&f);
}

#define GROW_BLOCK 4096

static void host_reads(int fd, unsigned block, uint8_t byte)
{
	ssize_t got = pread(fd, back, GROW_BLOCK, block * GROW_BLOCK);

	if (got != GROW_BLOCK || back[0] != byte)
		front_die("the host reads %zd bytes of block %u, the first %u, wanted %u", got,
			  block, back[0], byte);
}

/*
 * By turns one of them makes a file longer; the host has it open and reads it. A guest's first read
 * after a change changes the access time: the host is told of that, too, before it is answered,
 * or its kernel takes the size that it is just asking for to be old.
 */
static void grow_once(struct front *f, uint64_t file, int fd, uint8_t round)
{
	for (unsigned i = 0; i < 64; i++) {
		memset(data, (int)(round + i), GROW_BLOCK);
		if (i % 2)
			front_want(fuse_write(f, file, i * GROW_BLOCK, data, GROW_BLOCK), 0,
				   "write");
		else if (pwrite(fd, data, GROW_BLOCK, i * GROW_BLOCK) != GROW_BLOCK)
			front_die("the host cannot append: %s", strerror(errno));
		if (i % 8 != 7)
			continue;
		for (unsigned k = 0; k < 8; k++)
			host_reads(fd, i * (k + 1) / 9, (uint8_t)(round + i * (k + 1) / 9));
		front_want(fuse_write(f, file, i * GROW_BLOCK, data, GROW_BLOCK), 0, "write");
		if (fuse_read(f, file, i * GROW_BLOCK, back, GROW_BLOCK) != GROW_BLOCK)
			front_die("the guest reads less than it wrote");
		host_reads(fd, i, (uint8_t)(round + i));
	}
}

static void grow(const char *socket, const char *mount, unsigned rounds)
{
	struct fuse_entry_out e;
	char path[4096];
	struct front f;
	int fd;

	front_begin(&f, socket);
	host_path(path, sizeof(path), mount, "growing");
	for (unsigned r = 0; r < rounds; r++) {
		front_want(fuse_create(&f, ROOT, "growing", 0600, &e), 0, "create");
		fd = open(path, O_RDWR);
		if (fd < 0)
			front_die("%s: %s", path, strerror(errno));
		grow_once(&f, e.nodeid, fd, (uint8_t)r);
		(void)close(fd); /* what it wrote went through to the daemon */
		front_want(fuse_names(&f, FUSE_UNLINK, ROOT, "growing"), 0, "unlink");
		fuse_forget(&f, e.nodeid, 1);
	}
	front_close(&f);
}

static void locks(const char *socket, const char *mount)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct fuse_lk_in in = { .owner = 2, .lk = { .end = INT64_MAX, .type = F_WRLCK } };
	struct fuse_message m = { .opcode = FUSE_SETLKW, .args = &in, .arg_len = sizeof(in) };
	struct fuse_out_header out;
	struct fuse_entry_out e;
	char path[4096];
	struct front f;
	uint32_t len;
	int fd;

	front_begin(&f, socket);
	host_path(path, sizeof(path), mount, "locked");
	front_want(fuse_create(&f, ROOT, "locked", 0600, &e), 0, "create");
	front_want(fuse_setlk(&f, e.nodeid, 1, F_WRLCK, false), 0, "lock");
	front_want(fuse_setlk(&f, e.nodeid, 2, F_WRLCK, false), -EAGAIN, "lock of another owner");
	fd = open(path, O_RDWR);
	if (fd < 0 || !fcntl(fd, F_SETLK, &lock) || errno != EAGAIN)
		front_die("the host got a lock that the guest has (%s)", strerror(errno));

	/* One that waits is granted by whoever unlocks. */
	m.nodeid = e.nodeid;
	front_offer(&f, 2, fuse_build(&f, 2, &m));
	if (front_take(&f, 2, 200, &len) >= 0)
		front_die("a lock was granted twice");
	front_want(fuse_setlk(&f, e.nodeid, 1, F_UNLCK, false), 0, "unlock");
	if (front_take(&f, 2, FRONT_WAIT_MS, &len) < 0 || len != sizeof(out))
		front_die("a lock that waits was not granted");
	memcpy(&out, front_at(&f, f.queue[2].head_gpa + 0x8000), sizeof(out));
	front_want(out.error, 0, "lock that waited");

	/* The host has it, and the ring is stopped: the waiting lock is given up. */
	front_want(fuse_setlk(&f, e.nodeid, 2, F_UNLCK, false), 0, "unlock");
	if (fcntl(fd, F_SETLK, &lock))
		front_die("the host gets no lock: %s", strerror(errno));
	front_offer(&f, 2, fuse_build(&f, 2, &m));
	if (front_take(&f, 2, 200, &len) >= 0)
		front_die("the guest got a lock that the host has");
	/* Disabled first, as front ends do. */
	if (front_tell(&f, MSG_SET_VRING_ENABLE, (uint32_t[]){ 2, 0 }, 8, NULL, 0))
		front_die("a ring cannot be disabled");
	if (front_stop_queue(&f, 2) != f.queue[2].avail_next)
		front_die("the stopped ring is not where it was");
	front_start_queue(&f, 2, f.queue[2].avail_next);
	if (front_take(&f, 2, 0, &len) < 0)
		front_die("a request was lost when its ring stopped");
	memcpy(&out, front_at(&f, f.queue[2].head_gpa + 0x8000), sizeof(out));
	front_want(out.error, -EIO, "lock given up");

	/* Disconnected with a lock held and one waiting: both are gone. */
	lock.l_type = F_UNLCK;
	if (fcntl(fd, F_SETLK, &lock))
		front_die("unlock: %s", strerror(errno));
	front_want(fuse_setlk(&f, e.nodeid, 1, F_WRLCK, false), 0, "lock");
	front_offer(&f, 2, fuse_build(&f, 2, &m));
	(void)poll(NULL, 0, 50);
	front_close(&f);
	lock.l_type = F_WRLCK;
	for (int i = 0; fcntl(fd, F_SETLK, &lock); i++) {
		if (i == FRONT_WAIT_MS / 10)
			front_die("the lock of a guest that has gone is still held");
		(void)poll(NULL, 0, 10);
	}
}

/* ---- lives ---- */

static void vanish(const char *socket)
{
	struct fuse_entry_out e;
	struct front f;

	front_begin(&f, socket);
	front_want(fuse_create(&f, ROOT, "deleted", 0600, &e), 0, "create");
	write_pattern(&f, e.nodeid, 0, FRONT_DATA_MAX);
	front_want(fuse_setlk(&f, e.nodeid, 1, F_WRLCK, false), 0, "lock");
	front_want(fuse_names(&f, FUSE_UNLINK, ROOT, "deleted"), 0, "unlink");
	want_bytes(&f, e.nodeid, 0, 4096, 4096);
	for (uint32_t i = 1; i < FRONT_QUEUES; i++) {
		struct fuse_write_in in = { .offset = i * FRONT_DATA_MAX, .size = FRONT_DATA_MAX };
		struct fuse_message m = { .opcode = FUSE_WRITE,
					  .nodeid = e.nodeid,
					  .args = &in,
					  .arg_len = sizeof(in),
					  .data = data,
					  .data_len = FRONT_DATA_MAX,
					  .room = sizeof(struct fuse_write_out) };

		front_offer(&f, i, fuse_build(&f, i, &m));
	}
	front_close(&f);
}

static void restart(const char *socket)
{
	struct fuse_message destroy = { .opcode = FUSE_DESTROY };
	struct fuse_entry_out e;
	struct fuse_attr attr;
	uint16_t base[FRONT_QUEUES];
	struct front f;

	front_begin(&f, socket);
	front_want(fuse_create(&f, ROOT, "restarted", 0600, &e), 0, "create");
	/* A machine that is paused goes on where it was. */
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		base[i] = front_stop_queue(&f, i);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		front_start_queue(&f, i, base[i]);
	front_want(fuse_getattr(&f, e.nodeid, &attr), 0, "getattr after a pause");
	/* One that is reset begins anew, whatever it held. */
	front_want(fuse_setlk(&f, e.nodeid, 1, F_WRLCK, false), 0, "lock");
	fuse_init(&f);
	front_want(fuse_getattr(&f, e.nodeid, &attr), -ESTALE, "nodeid of the life before");
	front_want(fuse_lookup(&f, ROOT, "restarted", &e), 0, "lookup");
	front_want(fuse_setlk(&f, e.nodeid, 2, F_WRLCK, false), 0, "lock of the life before");
	/* Unmounted and mounted. */
	front_want(fuse_call(&f, 1, &destroy, NULL, NULL), 0, "destroy");
	front_want(fuse_getattr(&f, ROOT, &attr), -EIO, "getattr after DESTROY");
	fuse_init(&f);
	front_want(fuse_lookup(&f, ROOT, "restarted", &e), 0, "lookup");
	front_want(fuse_names(&f, FUSE_UNLINK, ROOT, "restarted"), 0, "unlink");
	if (front_tell(&f, MSG_RESET_DEVICE, NULL, 0, NULL, 0))
		front_die("RESET_DEVICE failed");
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		f.queue[i].avail_next = f.queue[i].used_seen = 0;
	memset(f.memory, 0, FRONT_QUEUES * FRONT_RING);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		front_start_queue(&f, i, 0);
	front_want(fuse_getattr(&f, ROOT, &attr), -EIO, "getattr after a reset");
	fuse_init(&f);
	front_want(fuse_getattr(&f, ROOT, &attr), 0, "getattr");
	front_close(&f);
}

static void slots(const char *socket)
{
	struct {
		uint64_t padding;
		struct msg_region region;
	} slot = { .region = { .gpa = FRONT_HIGH_GPA,
			       .size = FRONT_HIGH,
			       .uva = UINT64_C(0x7f2000000000),
			       .offset = FRONT_LOW } };
	struct {
		uint32_t offset, size, flags;
		char tag[36];
		uint32_t queues;
	} config = { .size = 40 };
	struct fuse_entry_out e;
	struct front f;

	front_connect(&f, socket);
	front_setup(&f, true);
	fuse_init(&f);
	if (!front_send(&f, MSG_GET_CONFIG, &config, 52, NULL, 0) ||
	    front_receive(&f, MSG_GET_CONFIG, &config, sizeof(config)) != 52 ||
	    strcmp(config.tag, "guests") != 0 || config.queues != 2)
		front_die("configuration: tag '%.36s', %u queues", config.tag, config.queues);
	front_want(fuse_create(&f, ROOT, "slots", 0600, &e), 0, "create");
	write_pattern(&f, e.nodeid, 0, FRONT_DATA_MAX);
	if (front_tell(&f, MSG_REM_MEM_REG, &slot, sizeof(slot), NULL, 0))
		front_die("REM_MEM_REG was refused");
	if (fuse_write(&f, e.nodeid, 0, data, 4096) != -EIO)
		front_die("a write from memory that is gone did not fail with EIO");
	if (front_tell(&f, MSG_ADD_MEM_REG, &slot, sizeof(slot), &f.memory_fd, 1))
		front_die("ADD_MEM_REG was refused");
	want_bytes(&f, e.nodeid, 0, FRONT_DATA_MAX, FRONT_DATA_MAX);
	front_want(fuse_names(&f, FUSE_UNLINK, ROOT, "slots"), 0, "unlink");
	front_close(&f);
}

/* The daemon's time on processors; it is at the socket's other end. */
static double daemon_seconds(const struct front *f)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	struct timespec t;
	clockid_t clock;

	if (getsockopt(f->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ||
	    clock_getcpuclockid(peer.pid, &clock) || clock_gettime(clock, &t))
		front_die("the daemon's clock: %s", strerror(errno));
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void idle(const char *socket)
{
	struct fuse_attr attr;
	struct front f;
	double before;

	front_begin(&f, socket);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 2000; i++)
			front_want(fuse_getattr(&f, ROOT, &attr), 0, "getattr");
		before = daemon_seconds(&f);
		(void)usleep(500000);
		/* Sleeping costs nothing; a thread that looks on costs all of it. */
		if (daemon_seconds(&f) - before > 0.1)
			front_die("an idle guest costs %.3f of 0.5 s", daemon_seconds(&f) - before);
	}
	front_close(&f);
}

/* ---- commands ---- */

struct command {
	const char *name, *words;
	int words_min, words_max;
	void (*run)(const char *socket, int count, char **word);
};

static uint32_t number(const char *word)
{
	return (uint32_t)strtoul(word, NULL, 0);
}

#define WITHOUT_WORDS(fn)                                                                          \
	static void run_##fn(const char *socket, int count, char **word)                           \
	{                                                                                          \
		(void)count;                                                                       \
		(void)word;                                                                        \
		fn(socket);                                                                        \
	}
#define WITH_ONE_WORD(fn)                                                                          \
	static void run_##fn(const char *socket, int count, char **word)                           \
	{                                                                                          \
		(void)count;                                                                       \
		fn(socket, word[0]);                                                               \
	}

WITHOUT_WORDS(script)
WITHOUT_WORDS(readonly)
WITHOUT_WORDS(vanish)
WITHOUT_WORDS(restart)
WITHOUT_WORDS(idle)
WITHOUT_WORDS(slots)
WITHOUT_WORDS(caching)
WITHOUT_WORDS(no_xattrs)
WITHOUT_WORDS(durable)
WITH_ONE_WORD(share)
WITH_ONE_WORD(locks)
WITH_ONE_WORD(owners)
WITH_ONE_WORD(privileges)
WITH_ONE_WORD(flocks)
WITH_ONE_WORD(refuses)
WITH_ONE_WORD(move_state)
WITH_ONE_WORD(save_state)
WITH_ONE_WORD(load_state)
WITH_ONE_WORD(hand_over_elsewhere)
WITHOUT_WORDS(stay_with_image)

static void run_handover(const char *socket, int count, char **word)
{
	hand_over(socket, word[0], word[count - 1]);
}

static void run_mapped(const char *socket, int count, char **word)
{
	struct front f;

	(void)count;
	front_begin(&f, socket);
	mapped(&f, word[0]);
	front_close(&f);
}

#define OUTSIDE_MAX 16

static void run_jail(const char *socket, int count, char **word)
{
	uint32_t inos[OUTSIDE_MAX], generations[OUTSIDE_MAX];

	if (count % 2 == 0)
		front_die("jail: a generation is missing");
	for (int i = 0; i < count / 2; i++) {
		inos[i] = number(word[1 + 2 * i]);
		generations[i] = number(word[2 + 2 * i]);
	}
	jail(socket, number(word[0]), inos, generations, (unsigned)count / 2);
}

static void run_storm(const char *socket, int count, char **word)
{
	storm(socket, count > 1 ? word[1] : "", number(word[0]));
}

static void run_limits(const char *socket, int count, char **word)
{
	(void)count;
	limits(socket, number(word[0]), number(word[1]));
}

static void run_grow(const char *socket, int count, char **word)
{
	(void)count;
	grow(socket, word[0], number(word[1]));
}

static void run_flood(const char *socket, int count, char **word)
{
	(void)count;
	flood(socket, number(word[0]));
}

static void run_hostile(const char *socket, int count, char **word)
{
	hostile(socket, strtoull(word[0], NULL, 0), count > 2 ? strtoull(word[2], NULL, 0) : 0,
		strtoull(word[1], NULL, 0), count > 3 ? word[3] : "");
}

static void run_witness(const char *socket, int count, char **word)
{
	(void)count;
	witness(socket, word[0], word[1]);
}

static void run_takeover(const char *socket, int count, char **word)
{
	(void)count;
	takeover(socket, word[2], strtoull(word[0], NULL, 0), number(word[1]));
}

static void run_log(const char *socket, int count, char **word)
{
	(void)count;
	moving_log(socket, strtoull(word[0], NULL, 0), !strcmp(word[1], "gpa"));
}

static void run_dax(const char *socket, int count, char **word)
{
	dax(socket, word[0], count > 1 ? word[1] : NULL);
}

static const struct command commands[] = {
	{ "script", "", 0, 0, run_script },
	{ "readonly", "", 0, 0, run_readonly },
	{ "share", " DIR", 1, 1, run_share },
	{ "locks", " DIR", 1, 1, run_locks },
	{ "vanish", "", 0, 0, run_vanish },
	{ "restart", "", 0, 0, run_restart },
	{ "idle", "", 0, 0, run_idle },
	{ "slots", "", 0, 0, run_slots },
	{ "mapped", " DIR", 1, 1, run_mapped },
	{ "jail", " ROOT_INO [INO GENERATION]...", 1, 1 + 2 * OUTSIDE_MAX, run_jail },
	{ "caching", "", 0, 0, run_caching },
	{ "limits", " N L", 2, 2, run_limits },
	{ "owners", " DIR", 1, 1, run_owners },
	{ "privileges", " DIR", 1, 1, run_privileges },
	{ "no-xattrs", "", 0, 0, run_no_xattrs },
	{ "flocks", " DIR", 1, 1, run_flocks },
	{ "durable", "", 0, 0, run_durable },
	{ "grow", " DIR N", 2, 2, run_grow },
	{ "flood", " N", 1, 1, run_flood },
	{ "storm", " N [DIR]", 1, 2, run_storm },
	{ "hostile", " SEED CASES [FIRST [FAMILY]]", 2, 4, run_hostile },
	{ "refuses", " FILE", 1, 1, run_refuses },
	{ "witness", " DIR FILE", 2, 2, run_witness },
	{ "takeover", " SEED KILLS COMMAND", 3, 3, run_takeover },
	{ "log", " SEED gpa|uva", 2, 2, run_log },
	{ "handover", " SOCKET2 SCRIPT", 2, 2, run_handover },
	{ "handover-elsewhere", " SOCKET2", 1, 1, run_hand_over_elsewhere },
	{ "handover-refused", "", 0, 0, run_stay_with_image },
	{ "state", " SOCKET2", 1, 1, run_move_state },
	{ "save", " FILE", 1, 1, run_save_state },
	{ "load", " FILE", 1, 1, run_load_state },
	{ "dax", " all|NAME [DIR]", 1, 2, run_dax },
};

static const struct command *find_command(const char *name, int count)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		if (!strcmp(name, c->name) && count >= c->words_min && count <= c->words_max)
			return c;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		(void)fprintf(stderr, "usage: vfe SOCKET %s%s\n", commands[i].name,
			      commands[i].words);
	exit(1);
}

int main(int argc, char **argv)
{
	const struct command *command = find_command(argc > 2 ? argv[2] : "", argc - 3);

	data = malloc(2 * FRONT_DATA_MAX);
	back = malloc(2 * FRONT_DATA_MAX);
	if (!data || !back)
		front_die("out of memory");
	command->run(argv[1], argc - 3, argv + 3);
	printf("%s: ok\n", command->name);
	free(data);
	free(back);
	return 0;
}
