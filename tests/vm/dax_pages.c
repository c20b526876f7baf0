/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files of which every page says what it is.
 *
 *	dax_pages write FILE MIB SEED
 *	dax_pages check FILE SEED		through a mapping of all of it
 *	dax_pages read FILE SEED		by read(2)
 *	dax_pages append FROM OFFSET LENGTH TO	write(2) from a mapping of FROM to the end of TO
 *	dax_pages fetch FROM OFFSET LENGTH TO	read(2) of FROM, past all caches, into a mapping of TO
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_DIRECT */
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / sizeof(uint64_t))
#define CHUNK (1u << 20)

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t word(uint64_t seed, uint64_t page, uint64_t k)
{
	uint64_t x = (seed << 40 ^ page << 9 ^ k) * UINT64_C(0x9e3779b97f4a7c15);

	return x ^ x >> 29;
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		die(path);
	return fd;
}

static uint64_t size_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		die("fstat");
	return (uint64_t)st.st_size;
}

static void *map(int fd, uint64_t size, int prot)
{
	void *at = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

static void check_page(const uint64_t *at, uint64_t seed, uint64_t page)
{
	for (uint64_t k = 0; k < WORDS; k += WORDS - 1)
		if (at[k] != word(seed, page, k)) {
			fprintf(stderr, "word %ju of page %ju is %jx\n", (uintmax_t)k,
				(uintmax_t)page, (uintmax_t)at[k]);
			exit(1);
		}
}

static void write_file(const char *path, uint64_t mib, uint64_t seed)
{
	static uint64_t buf[CHUNK / sizeof(uint64_t)];
	int fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);

	for (uint64_t page = 0; page < mib * (CHUNK / PAGE);) {
		for (uint64_t p = 0; p < CHUNK / PAGE; p++, page++)
			for (uint64_t k = 0; k < WORDS; k++)
				buf[p * WORDS + k] = word(seed, page, k);
		if (write(fd, buf, sizeof(buf)) != (ssize_t)sizeof(buf))
			die(path);
	}
	if (close(fd))
		die(path);
}

static void check_file(const char *path, uint64_t seed)
{
	int fd = open_file(path, O_RDONLY);
	uint64_t size = size_of(fd);
	const uint64_t *at = map(fd, size, PROT_READ);

	for (uint64_t page = 0; page < size / PAGE; page++)
		check_page(at + page * WORDS, seed, page);
}

static void read_file(const char *path, uint64_t seed)
{
	static uint64_t buf[CHUNK / sizeof(uint64_t)];
	int fd = open_file(path, O_RDONLY);
	uint64_t page = 0;
	ssize_t got;

	while ((got = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t p = 0; p < got / (ssize_t)PAGE; p++)
			check_page(buf + (uint64_t)p * WORDS, seed, page++);
	if (got < 0 || page * PAGE != size_of(fd))
		die(path);
}

static void append(const char *from, uint64_t off, uint64_t len, const char *to)
{
	int in = open_file(from, O_RDONLY), out = open_file(to, O_WRONLY | O_CREAT | O_APPEND);
	uint8_t *at = map(in, size_of(in), PROT_READ);

	if (write(out, at + off, len) != (ssize_t)len)
		die(to);
}

static void fetch(const char *from, uint64_t off, uint64_t len, const char *to)
{
	int in = open_file(from, O_RDONLY | O_DIRECT), out = open_file(to, O_RDWR);
	uint8_t *at = map(out, size_of(out), PROT_READ | PROT_WRITE);

	if (pread(in, at + off, len, 0) != (ssize_t)len)
		die(from);
	if (msync(at, size_of(out), MS_SYNC))
		die(to);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	uint64_t n[2] = { argc > 3 ? strtoull(argv[3], NULL, 0) : 0,
			  argc > 4 ? strtoull(argv[4], NULL, 0) : 0 };

	if (argc == 5 && !strcmp(what, "write"))
		write_file(argv[2], n[0], n[1]);
	else if (argc == 4 && !strcmp(what, "check"))
		check_file(argv[2], n[0]);
	else if (argc == 4 && !strcmp(what, "read"))
		read_file(argv[2], n[0]);
	else if (argc == 6 && !strcmp(what, "append"))
		append(argv[2], n[0], n[1], argv[5]);
	else if (argc == 6 && !strcmp(what, "fetch"))
		fetch(argv[2], n[0], n[1], argv[5]);
	else
		return 2;
	return 0;
}
