/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random operations on one file, each checked against a model in memory: read and write
 * through several descriptors (plain, O_DIRECT, O_APPEND), shared mappings, truncation,
 * holes punched and zeroed, preallocation, copies within the file, seeks for data and
 * holes, fsync, unmapping and reopening.
 *
 *	filemodel FILE SEED OPS
 *
 * Exit 0: the file was as the model said, always. 1: it was not; the operation, its
 * number and the first wrong byte are printed, and the same words repeat it.
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
#include <unistd.h>

#define FILE_MAX (3u << 20)
#define IO_MAX (160u << 10)
#define DIRECT_ALIGN 4096u

static uint64_t rng_state;
static uint8_t model[FILE_MAX], *io;
static size_t size;
static const char *path, *what = "start";
static unsigned long op_number;
static int fd, append_fd, direct_fd;
static uint8_t *map;
static size_t map_len;

static uint64_t rnd(uint64_t limit)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state % limit;
}

static void die(const char *why, size_t at)
{
	printf("operation %lu (%s): %s at %zu, size %zu, errno %s\n", op_number, what, why, at,
	       size, strerror(errno));
	exit(1);
}

static void compare(const uint8_t *got, size_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (got[i] != model[off + i])
			die("wrong byte", off + i);
}

static void fill(size_t len)
{
	for (size_t i = 0; i < len; i++)
		io[i] = (uint8_t)(rnd(255) + 1);
}

/* The model's bytes beyond its size are zeros, always. */
static void grow(size_t to)
{
	if (to > size)
		size = to;
}

static void check_size(void)
{
	struct stat st;

	if (fstat(fd, &st) || (size_t)st.st_size != size)
		die("wrong size", (size_t)st.st_size);
}

static void open_all(void)
{
	fd = open(path, O_RDWR | O_CREAT, 0644);
	append_fd = open(path, O_WRONLY | O_APPEND);
	direct_fd = open(path, O_RDWR | O_DIRECT);
	if (fd < 0 || append_fd < 0 || direct_fd < 0)
		die("open", 0);
}

static void close_all(void)
{
	if (map && munmap(map, map_len))
		die("munmap", 0);
	map = NULL;
	if (close(fd) || close(append_fd) || close(direct_fd))
		die("close", 0);
}

static void do_read(int from, size_t align)
{
	size_t off = rnd(FILE_MAX - IO_MAX) / align * align;
	size_t len = (rnd(IO_MAX) + align) / align * align;
	ssize_t got = pread(from, io, len, (off_t)off);
	size_t want = off >= size ? 0 : size - off < len ? size - off : len;

	if (got != (ssize_t)want)
		die("short read", off);
	compare(io, off, want);
}

static void do_write(int to, size_t align)
{
	size_t off = rnd(FILE_MAX - 2 * IO_MAX) / align * align;
	size_t len = (rnd(IO_MAX - align) + align) / align * align;

	fill(len);
	if (pwrite(to, io, len, (off_t)off) != (ssize_t)len)
		die("short write", off);
	memcpy(model + off, io, len);
	grow(off + len);
}

static void do_append(void)
{
	size_t len = rnd(9000) + 1;

	if (size + len > FILE_MAX)
		return;
	fill(len);
	if (write(append_fd, io, len) != (ssize_t)len)
		die("short append", size);
	memcpy(model + size, io, len);
	grow(size + len);
}

static void do_truncate(void)
{
	size_t to = rnd(4) ? rnd(FILE_MAX - IO_MAX) : 0;

	if (map && to < map_len) {
		if (munmap(map, map_len))
			die("munmap", 0);
		map = NULL;
	}
	if (ftruncate(fd, (off_t)to))
		die("ftruncate", to);
	if (to < size)
		memset(model + to, 0, size - to);
	size = to;
}

static void do_fallocate(void)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_ZERO_RANGE,
				     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	int mode = modes[rnd(5)];
	size_t off = rnd(FILE_MAX - 2 * IO_MAX), len = rnd(IO_MAX) + 1, end = off + len;

	if (fallocate(fd, mode, (off_t)off, (off_t)len)) {
		if (errno == EOPNOTSUPP)
			return;
		die("fallocate", off);
	}
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		memset(model + off, 0, len);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		grow(end);
}

static void do_copy(void)
{
	size_t len = rnd(IO_MAX) + 1;
	off_t from = (off_t)rnd(FILE_MAX / 2 - IO_MAX);
	off_t to = (off_t)(FILE_MAX / 2 + rnd(FILE_MAX / 2 - IO_MAX));
	size_t start = (size_t)to;
	ssize_t done;

	if ((size_t)from >= size)
		return;
	len = size - (size_t)from < len ? size - (size_t)from : len;
	/* The ranges must not overlap: the first half goes to the second. */
	len = FILE_MAX / 2 - (size_t)from < len ? FILE_MAX / 2 - (size_t)from : len;
	memcpy(io, model + from, len);
	done = copy_file_range(fd, &from, fd, &to, len, 0);
	if (done < 0)
		die("copy_file_range", start);
	memcpy(model + start, io, (size_t)done);
	if (done)
		grow(start + (size_t)done);
}

/* Whole pages that lie in the file, so that no access is beyond its end. */
static void do_map(void)
{
	size_t off, len;

	if (map && munmap(map, map_len))
		die("munmap", 0);
	map = NULL;
	map_len = size / DIRECT_ALIGN * DIRECT_ALIGN;
	if (!map_len)
		return;
	map = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("mmap", map_len);
	off = rnd(map_len);
	len = rnd(IO_MAX) + 1;
	len = map_len - off < len ? map_len - off : len;
	compare(map + off, off, len);
	fill(len);
	memcpy(map + off, io, len);
	memcpy(model + off, io, len);
	if (rnd(3) == 0 && msync(map, map_len, MS_SYNC))
		die("msync", 0);
}

static void touch_map(void)
{
	size_t off, len;

	if (!map)
		return;
	off = rnd(map_len);
	len = rnd(5000) + 1;
	len = map_len - off < len ? map_len - off : len;
	compare(map + off, off, len);
	fill(len);
	memcpy(map + off, io, len);
	memcpy(model + off, io, len);
}

static bool zeros(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (model[i])
			return false;
	return true;
}

/* A hole holds no data; where the file says hole, the model has zeros. */
static void do_seek(void)
{
	size_t off = rnd(FILE_MAX);
	off_t data = lseek(fd, (off_t)off, SEEK_DATA), hole;

	if (off >= size) {
		if (data >= 0 || errno != ENXIO)
			die("seek beyond the end", off);
		return;
	}
	if (data < 0 && errno != ENXIO)
		die("SEEK_DATA", off);
	if (!zeros(off, data < 0 ? size : (size_t)data))
		die("data in what is called a hole", off);
	hole = lseek(fd, (off_t)off, SEEK_HOLE);
	if (hole < (off_t)off || (size_t)hole > size)
		die("SEEK_HOLE", off);
	data = lseek(fd, hole, SEEK_DATA);
	if ((size_t)hole < size && !zeros((size_t)hole, data < 0 ? size : (size_t)data))
		die("data after what is called a hole", (size_t)hole);
}

static void reopen(void)
{
	close_all();
	open_all();
}

static void check_all(void)
{
	size_t off = 0;

	check_size();
	while (off < size) {
		ssize_t got = pread(fd, io, IO_MAX, (off_t)off);

		if (got <= 0)
			die("read", off);
		compare(io, off, (size_t)got);
		off += (size_t)got;
	}
}

static void one(void)
{
	switch (rnd(20)) {
	case 0:
	case 1:
	case 2:
		what = "write";
		do_write(fd, 1);
		break;
	case 3:
		what = "direct write";
		do_write(direct_fd, DIRECT_ALIGN);
		break;
	case 4:
		what = "append";
		do_append();
		break;
	case 5:
	case 6:
		what = "read";
		do_read(fd, 1);
		break;
	case 7:
		what = "direct read";
		do_read(direct_fd, DIRECT_ALIGN);
		break;
	case 8:
		what = "truncate";
		do_truncate();
		break;
	case 9:
	case 10:
		what = "fallocate";
		do_fallocate();
		break;
	case 11:
		what = "copy";
		do_copy();
		break;
	case 12:
	case 13:
		what = "map";
		do_map();
		break;
	case 14:
	case 15:
		what = "mapped store";
		touch_map();
		break;
	case 16:
		what = "seek";
		do_seek();
		break;
	case 17:
		what = "reopen";
		reopen();
		break;
	case 18:
		what = "fsync";
		if (rnd(2) ? fsync(fd) : fdatasync(fd))
			die("fsync", 0);
		break;
	default: what = "size"; check_size();
	}
}

int main(int argc, char **argv)
{
	unsigned long ops;

	if (argc != 4) {
		fprintf(stderr, "usage: filemodel FILE SEED OPS\n");
		return 2;
	}
	path = argv[1];
	rng_state = strtoull(argv[2], NULL, 10) * 2654435761u + 88172645463325252u;
	ops = strtoul(argv[3], NULL, 10);
	io = aligned_alloc(DIRECT_ALIGN, IO_MAX + DIRECT_ALIGN);
	if (!io)
		return 2;
	open_all();
	for (op_number = 0; op_number < ops; op_number++) {
		one();
		if (op_number % 100 == 99)
			check_all();
	}
	what = "end";
	reopen();
	check_all();
	close_all();
	free(io);
	return 0;
}
