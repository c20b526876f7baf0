/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * crowd DIR COUNT: as many threads, each with one system call in DIR, all at once. They ask for
 * names that are not there; every hundredth creates a file in a directory of its own, DIR/N
 * (the kernel lets lookups in one directory wait together, but one creation). Says "ready" when
 * all threads run and, at the end, how many calls ended as they should.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT_MAX 100000
#define CREATE_EVERY 100
#define STACK_BYTES (32u << 10)

static const char *dir;
static _Atomic unsigned int running, good;

static void *one(void *arg)
{
	unsigned int number = (unsigned int)(uintptr_t)arg;
	char path[512];
	struct stat st;
	int fd;

	(void)snprintf(path, sizeof(path), number % CREATE_EVERY ? "%s/none%u" : "%s/%u/made", dir,
		       number);
	atomic_fetch_add(&running, 1);
	if (number % CREATE_EVERY) {
		if (stat(path, &st) < 0 && errno == ENOENT)
			atomic_fetch_add(&good, 1);
		return NULL;
	}
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (fd >= 0 && close(fd) == 0)
		atomic_fetch_add(&good, 1);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned int count = argc == 3 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;
	pthread_t *threads;
	pthread_attr_t attr;

	if (!count || count > COUNT_MAX) {
		fprintf(stderr, "usage: crowd DIR COUNT\n");
		return 2;
	}
	dir = argv[1];
	threads = calloc(count, sizeof(*threads));
	if (!threads || pthread_attr_init(&attr) || pthread_attr_setstacksize(&attr, STACK_BYTES))
		return 1;
	for (unsigned int k = 0; k < count; k++) {
		int error = pthread_create(&threads[k], &attr, one, (void *)(uintptr_t)k);

		if (error) {
			fprintf(stderr, "crowd: %u threads, then %s\n", k, strerror(error));
			return 77;
		}
	}
	printf("ready\n");
	fflush(stdout);
	for (unsigned int k = 0; k < count; k++)
		(void)pthread_join(threads[k], NULL);
	printf("%u of %u\n", atomic_load(&good), count);
	free(threads);
	return atomic_load(&good) == count ? 0 : 1;
}
