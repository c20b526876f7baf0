/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How fast a file is read; for guests, one static program:
 *	read_rate random FILE MS	4 KiB at random places, past the page cache, for so long: how many a second
 *	read_rate whole FILE		all of it in pieces of 1 MiB, once: how many MiB a second
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PIECE (1 << 20)

static char buf[PIECE] __attribute__((aligned(PAGE)));

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* that clock cannot fail */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *name, const char *what)
{
	fprintf(stderr, "read_rate: %s: %s\n", name, what);
	exit(1);
}

static void read_random(const char *name, int fd, double seconds)
{
	off_t size = lseek(fd, 0, SEEK_END);
	uint64_t random = 1, count = 0;
	double begin = now(), end;

	if (size < PAGE)
		die(name, size < 0 ? strerror(errno) : "too short");
	do {
		for (int k = 0; k < 16; k++, count++) {
			uint64_t page;

			random = random * UINT64_C(6364136223846793005) +
				 UINT64_C(1442695040888963407);
			page = (random >> 33) % ((uint64_t)size / PAGE);
			if (pread(fd, buf, PAGE, (off_t)(page * PAGE)) != PAGE)
				die(name, strerror(errno));
		}
		end = now();
	} while (end - begin < seconds);
	printf("%.0f\n", (double)count / (end - begin));
}

static void read_whole(const char *name, int fd)
{
	double begin = now(), total = 0;
	ssize_t got;

	while ((got = read(fd, buf, sizeof(buf))) > 0)
		total += (double)got;
	if (got < 0)
		die(name, strerror(errno));
	printf("%.1f\n", total / PIECE / (now() - begin));
}

int main(int argc, char **argv)
{
	int whole = argc == 3 && !strcmp(argv[1], "whole"), fd;

	if (!whole && (argc != 4 || strcmp(argv[1], "random") != 0)) {
		fprintf(stderr, "usage: read_rate random FILE MS | read_rate whole FILE\n");
		return 2;
	}
	fd = open(argv[2], O_RDONLY | (whole ? 0 : O_DIRECT));
	if (fd < 0)
		die(argv[2], strerror(errno));
	if (whole)
		read_whole(argv[2], fd);
	else
		read_random(argv[2], fd, atof(argv[3]) / 1e3);
	return 0;
}
