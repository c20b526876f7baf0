// SPDX-License-Identifier: GPL-2.0-only
/*
 * Seeded operations on a directory, for differential tests: the same seed does the
 * same calls wherever it runs, and every result (errno, size, contents read) is one
 * line on stdout. Run it on kernel ext4 and on kfs: the two outputs and the two trees
 * must be equal.
 *
 *	fschurn DIR SEED OPS [xattr] [special]
 *
 * Names come from a small pool, so that operations meet: renames over files and
 * directories, links to what is removed, writes to what was unlinked while open.
 * "special" adds device nodes and owners (root only). What two filesystems may
 * legitimately answer differently (inode numbers, block counts, directory sizes) is not
 * printed. Device numbers are ones that no driver has.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define DIRS 7
#define NAMES 24
#define OPEN_MAX_HERE 6
#define FILE_MAX (6u << 20)
#define IO_MAX (192u << 10)

static uint64_t rng_state;
static int held[OPEN_MAX_HERE]; /* descriptors kept open over unlink and rename */
static bool with_xattr, with_special;
static uint8_t io[IO_MAX];

static uint32_t rnd(uint32_t below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (uint32_t)((rng_state >> 16) % below);
}

/* A path of up to three directories and a name; sometimes a long name, sometimes a directory's. */
static void pick(char *buf, size_t len)
{
	static const char long_name[] =
		"n-"
		"0123456789012345678901234567890123456789012345678901234567890123456789"
		"0123456789012345678901234567890123456789012345678901234567890123456789"
		"0123456789012345678901234567890123456789012345678901234567890123456789"
		"012345678901234567890123456789012345678";
	uint32_t depth = rnd(3);
	size_t at = 0;

	for (uint32_t d = 0; d < depth; d++)
		at += (size_t)snprintf(buf + at, len - at, "d%u/", rnd(DIRS));
	if (rnd(16) == 0)
		snprintf(buf + at, len - at, "%s%u", long_name, rnd(4));
	else if (rnd(5) == 0)
		snprintf(buf + at, len - at, "d%u", rnd(DIRS));
	else
		snprintf(buf + at, len - at, "f%u", rnd(NAMES));
}

static void say(const char *op, const char *path, long result)
{
	printf("%s %s %s\n", op, path, result < 0 ? strerrorname_np(errno) : "ok");
}

static void fill(size_t len)
{
	uint64_t x = rng_state | 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		io[i] = (uint8_t)(x >> 56);
	}
}

static uint32_t sum_of(const uint8_t *p, size_t len)
{
	uint32_t sum = 2166136261u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 16777619u;
	return sum;
}

static int open_picked(char *path, size_t len, int flags)
{
	if (rnd(5) == 0) {
		uint32_t slot = rnd(OPEN_MAX_HERE);
		snprintf(path, len, "held%u", slot);
		if (held[slot] < 0)
			errno = EBADF;
		return held[slot] < 0 ? -1 : dup(held[slot]);
	}
	pick(path, len);
	return open(path, flags | O_CLOEXEC | O_NONBLOCK, 0644);
}

static void op_create(void)
{
	char path[1024];
	static const int flags[] = { O_CREAT | O_RDWR, O_CREAT | O_EXCL | O_RDWR,
				     O_CREAT | O_TRUNC | O_RDWR, O_TRUNC | O_RDWR };

	pick(path, sizeof(path));
	int fd = open(path, flags[rnd(4)] | O_CLOEXEC | O_NONBLOCK, 0600 + rnd(0200));
	say("create", path, fd);
	if (fd < 0)
		return;
	uint32_t slot = rnd(OPEN_MAX_HERE);
	if (held[slot] >= 0)
		close(held[slot]);
	held[slot] = fd;
}

static void op_write(void)
{
	char path[1024];
	size_t len = 1 + (rnd(3) ? rnd(9000) : rnd(IO_MAX - 1));
	off_t off = rnd(3) ? (off_t)rnd(20000) : (off_t)rnd(FILE_MAX);
	bool append = rnd(4) == 0;

	fill(len);
	int fd = open_picked(path, sizeof(path), O_RDWR | (append ? O_APPEND : 0));
	ssize_t n = fd < 0 ? -1 : pwrite(fd, io, len, off);
	say("write", path, n);
	if (fd >= 0)
		close(fd);
}

static void op_read(void)
{
	char path[1024];
	struct stat st;
	size_t len = 1 + rnd(IO_MAX - 1);
	off_t off = (off_t)rnd(rnd(2) ? 20000 : FILE_MAX);
	int fd = open_picked(path, sizeof(path), O_RDONLY);
	ssize_t n = fd < 0 ? -1 : pread(fd, io, len, off);

	say("read", path, n);
	if (n >= 0 && fstat(fd, &st) == 0)
		printf("  %zd %08x size %lld links %lu mode %o\n", n, sum_of(io, (size_t)n),
		       S_ISREG(st.st_mode) ? (long long)st.st_size : 0LL,
		       (unsigned long)st.st_nlink, st.st_mode);
	if (fd >= 0)
		close(fd);
}

static void op_mmap(void)
{
	char path[1024];
	struct stat st;
	int fd = open_picked(path, sizeof(path), O_RDWR);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 4096) {
		if (fd >= 0)
			close(fd);
		return;
	}
	off_t off = (off_t)rnd((uint32_t)(st.st_size / 4096)) * 4096;
	uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, off);
	say("mmap", path, p == MAP_FAILED ? -1 : 0);
	if (p != MAP_FAILED) {
		fill(300);
		size_t room = (size_t)(st.st_size - off < 4096 ? st.st_size - off : 4096);
		memcpy(p + room / 3, io, room / 3 < 300 ? room / 3 : 300);
		munmap(p, 4096);
	}
	close(fd);
}

static void op_truncate(void)
{
	char path[1024];
	off_t size = (off_t)(rnd(4) ? rnd(30000) : rnd(FILE_MAX));
	int fd = open_picked(path, sizeof(path), O_RDWR);

	say("truncate", path, fd < 0 ? -1 : ftruncate(fd, size));
	if (fd >= 0)
		close(fd);
}

static void op_fallocate(void)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_ZERO_RANGE,
				     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	char path[1024];
	int mode = modes[rnd(5)];
	off_t off = (off_t)rnd(100000), len = 1 + (off_t)rnd(200000);
	int fd = open_picked(path, sizeof(path), O_RDWR);

	say("fallocate", path, fd < 0 ? -1 : fallocate(fd, mode, off, len));
	if (fd >= 0)
		close(fd);
}

static void op_names(void)
{
	char a[1024], b[1024], target[1024];
	int r = -1;

	pick(a, sizeof(a));
	pick(b, sizeof(b));
	switch (rnd(9)) {
	case 0:
	case 1: say("mkdir", a, mkdir(a, 0700 + rnd(0100))); break;
	case 2: say("rmdir", a, rmdir(a)); break;
	case 3: say("unlink", a, unlink(a)); break;
	case 4: say("link", a, linkat(AT_FDCWD, a, AT_FDCWD, b, 0)); break;
	case 5:
		memset(target, 't', sizeof(target));
		target[1 + rnd(rnd(2) ? 70 : 1000)] = '\0';
		say("symlink", a, symlink(target, a));
		break;
	case 6:
		r = (int)readlink(a, target, sizeof(target));
		say("readlink", a, r);
		break;
	default:
		r = (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, rnd(3) ? 0 : 1 + rnd(2));
		printf("to %s: ", b);
		say("rename", a, r);
	}
}

static void op_attr(void)
{
	char path[1024];
	struct timespec times[2] = { { .tv_sec = rnd(UINT32_MAX) * 2L, .tv_nsec = rnd(999999999) },
				     { .tv_sec = rnd(UINT32_MAX), .tv_nsec = rnd(999999999) } };

	pick(path, sizeof(path));
	if (rnd(2))
		say("chmod", path, fchmodat(AT_FDCWD, path, rnd(010000), 0));
	else if (with_special && rnd(2))
		say("chown", path, lchown(path, rnd(70000), rnd(70000)));
	else
		say("utimens", path, utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
}

static void op_xattr(void)
{
	char path[1024], name[64], value[3000];
	size_t len = rnd(4) ? rnd(40) : rnd(700);

	pick(path, sizeof(path));
	snprintf(name, sizeof(name), "%s.attr%u", with_special && rnd(2) ? "trusted" : "user",
		 rnd(6));
	fill(len);
	memcpy(value, io, len);
	switch (rnd(4)) {
	case 0: say("removexattr", path, lremovexattr(path, name)); break;
	case 1: {
		ssize_t n = lgetxattr(path, name, value, sizeof(value));
		say("getxattr", path, n);
		if (n >= 0)
			printf("  %zd %08x\n", n, sum_of((uint8_t *)value, (size_t)n));
		break;
	}
	default: say("setxattr", path, lsetxattr(path, name, value, len, (int)rnd(3)));
	}
}

static void op_special(void)
{
	char path[1024];

	pick(path, sizeof(path));
	if (rnd(2))
		say("mkfifo", path, mkfifo(path, 0600));
	else if (with_special)
		say("mknod", path,
		    mknod(path, rnd(2) ? S_IFCHR | 0600 : S_IFBLK | 0600,
			  makedev(3000 + rnd(1000), rnd(70000))));
}

static void op_copy(void)
{
	char a[1024], b[1024];
	loff_t in = rnd(20000), out = rnd(50000);
	int from = open_picked(a, sizeof(a), O_RDONLY | O_NONBLOCK);
	int to = open_picked(b, sizeof(b), O_RDWR | O_NONBLOCK);
	ssize_t n = -1;

	if (from >= 0 && to >= 0)
		n = copy_file_range(from, &in, to, &out, 1 + rnd(60000), 0);
	printf("to %s: ", b);
	say("copy", a, n);
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
}

static void op_sync(void)
{
	char path[1024];
	int fd = open_picked(path, sizeof(path), O_RDONLY | O_NONBLOCK);

	say("fsync", path, fd < 0 ? -1 : rnd(2) ? fsync(fd) : fdatasync(fd));
	if (fd >= 0)
		close(fd);
}

static void one(void)
{
	uint32_t which = rnd(100);

	if (which < 14)
		op_create();
	else if (which < 32)
		op_write();
	else if (which < 40)
		op_read();
	else if (which < 44)
		op_mmap();
	else if (which < 50)
		op_truncate();
	else if (which < 56)
		op_fallocate();
	else if (which < 78)
		op_names();
	else if (which < 84)
		op_attr();
	else if (which < 92 && with_xattr)
		op_xattr();
	else if (which < 94)
		op_special();
	else if (which < 97)
		op_copy();
	else if (which < 98)
		op_sync();
	else
		op_read();
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: fschurn DIR SEED OPS [xattr] [special]\n");
		return 2;
	}
	if (chdir(argv[1]) < 0) {
		perror(argv[1]);
		return 1;
	}
	rng_state = strtoull(argv[2], NULL, 10) * 0x9E3779B97F4A7C15u + 1;
	for (int i = 4; i < argc; i++) {
		with_xattr |= strcmp(argv[i], "xattr") == 0;
		with_special |= strcmp(argv[i], "special") == 0;
	}
	for (int i = 0; i < OPEN_MAX_HERE; i++)
		held[i] = -1;
	umask(022);
	/* A skeleton, so that most paths lead somewhere; it may be renamed and removed like all else. */
	for (int i = 0; i < DIRS * DIRS; i++) {
		char path[32];
		snprintf(path, sizeof(path), i < DIRS ? "d%d" : "d%d/d%d", i < DIRS ? i : i / DIRS,
			 i % DIRS);
		say("mkdir", path, mkdir(path, 0755));
	}
	for (unsigned long n = strtoul(argv[3], NULL, 10), i = 0; i < n; i++) {
		printf("%lu ", i);
		one();
		fflush(stdout);
	}
	return 0;
}
