/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * random_read FILE MS: reads 4 KiB at random places of FILE past the page cache for so long and prints how many a second.
 * For guests: one static program.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIZE 4096

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* that clock cannot fail */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static char buf[SIZE] __attribute__((aligned(SIZE)));
	uint64_t random = 1, pages, count = 0;
	double begin, end;
	off_t size;
	int fd;

	if (argc != 3) {
		fprintf(stderr, "usage: random_read FILE MS\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_DIRECT);
	size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (size < SIZE) {
		fprintf(stderr, "random_read: %s: %s\n", argv[1],
			fd < 0 ? strerror(errno) : "too short");
		return 1;
	}
	pages = (uint64_t)size / SIZE;
	begin = now();
	do {
		for (int k = 0; k < 16; k++, count++) {
			random = random * UINT64_C(6364136223846793005) +
				 UINT64_C(1442695040888963407);
			if (pread(fd, buf, SIZE, (off_t)((random >> 33) % pages * SIZE)) != SIZE) {
				fprintf(stderr, "random_read: %s: %s\n", argv[1], strerror(errno));
				return 1;
			}
		}
		end = now();
	} while (end - begin < atof(argv[2]) / 1e3);
	printf("%.0f\n", (double)count / (end - begin));
	return 0;
}
