/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a read costs:  readcost FILE direct|cached BYTES COUNT  reads so many bytes at offsets by chance so many times, and
 * prints nanoseconds a read. Under "vm.sh --icount" a nanosecond is an instruction.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BYTES_MAX (1u << 20)
#define ALIGN 4096
#define OFFSETS 4096u

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int die(const char *what)
{
	fprintf(stderr, "readcost: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	static uint8_t buf[BYTES_MAX] __attribute__((aligned(ALIGN)));
	unsigned long bytes = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
	unsigned long count = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
	static off_t at[OFFSETS];
	struct stat st = { 0 };
	uint64_t start;
	int fd;

	if (!bytes || bytes > BYTES_MAX || bytes % ALIGN || !count) {
		fprintf(stderr, "usage: readcost FILE direct|cached BYTES COUNT\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_CLOEXEC | (strcmp(argv[2], "direct") ? 0 : O_DIRECT));
	if (fd < 0 || fstat(fd, &st))
		return die(argv[1]);
	if ((unsigned long)st.st_size < bytes) {
		fprintf(stderr, "readcost: %s: shorter than one read\n", argv[1]);
		return 1;
	}
	srandom(1); /* the same offsets each time */
	for (size_t k = 0; k < OFFSETS; k++)
		at[k] = random() % ((st.st_size - (off_t)bytes) / ALIGN + 1) * ALIGN;
	start = now_ns();
	for (unsigned long k = 0; k < count; k++)
		if (pread(fd, buf, bytes, at[k % OFFSETS]) != (ssize_t)bytes)
			return die(argv[1]);
	printf("%" PRIu64 "\n", (now_ns() - start) / count);
	return close(fd) ? die(argv[1]) : 0;
}
