// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs a harness without libFuzzer, under any compiler:
 *
 *	NAME_fuzz [-n CHANGES] [-s SEED] [-w FILE] [FILE|FOLDER...]
 *
 * each input as it is, silent and again with everything logged, then CHANGES blind changes of inputs drawn in turn; the
 * same seed runs the same inputs. Without words: the committed inputs of this harness and CHANGES_DEFAULT, as "make test"
 * has it. -w keeps the input that is running in FILE, for who wants to look at one that crashed. Without coverage to
 * steer by it finds less than libFuzzer; it needs no instrumented build.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/base/util.h"
#include "tests/fuzz/fuzz.h"

/* One input may take so long; the machine may be loaded. */
#define INPUT_SECONDS_MAX 60
#define INPUTS_MAX 4096

/* A few seconds of each harness, well below half a minute of them all; sanitizers take ten times that. */
#if defined(KFS_SANITIZE)
#define CHANGES_DEFAULT 400
#elif defined(KFS_COVERAGE) /* not optimised; more changes reach hardly more */
#define CHANGES_DEFAULT 1000
#else
#define CHANGES_DEFAULT 8000
#endif

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct saved {
	uint8_t *data;
	size_t size;
	char *path;
};

static struct saved inputs[INPUTS_MAX];
static uint32_t input_count;
static uint64_t random_state = 1;
static const char *keep_path;
static char running[4096 + 64] = "nothing"; /* for who asks why it ended */

static uint32_t next_random(void)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33);
}

static uint32_t random_below(uint32_t limit)
{
	return next_random() % limit;
}

/* A stand-in for libFuzzer's: bits, bytes, small numbers, pieces repeated and removed. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max)
{
	uint32_t at = size ? random_below((uint32_t)size) : 0;
	size_t len = size - at ? 1 + random_below((uint32_t)MIN(size - at, (size_t)16)) : 0;

	switch (size ? random_below(6) : 4) {
	case 0: data[at] ^= (uint8_t)(1u << random_below(8)); break;
	case 1: data[at] = (uint8_t)next_random(); break;
	case 2: data[at] = (uint8_t)(data[at] + random_below(9) - 4); break;
	case 3:
		memmove(data + at, data + at + len, size - at - len);
		size -= len;
		break;
	case 4:
		if (size >= size_max)
			break;
		memmove(data + at + 1, data + at, size - at);
		data[at] = (uint8_t)next_random();
		size++;
		break;
	default:
		if (size + len > size_max)
			break;
		memmove(data + at + len, data + at, size - at);
		size += len;
	}
	return size;
}

static void add_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct saved *in = &inputs[input_count++];
	struct stat st;

	FUZZ_CHECK(input_count <= INPUTS_MAX);
	if (fd < 0 || fstat(fd, &st)) {
		(void)fprintf(stderr, "driver: %s: %s\n", path, strerror(errno));
		exit(2);
	}
	in->size = (size_t)st.st_size;
	in->data = malloc(in->size + 1);
	in->path = strdup(path);
	FUZZ_CHECK(in->data && in->path && read(fd, in->data, in->size) == (ssize_t)in->size);
	close(fd);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct saved *)a)->path, ((const struct saved *)b)->path);
}

static void add(const char *path)
{
	const struct dirent *de;
	DIR *dir = opendir(path);

	if (!dir) {
		add_file(path);
		return;
	}
	while ((de = readdir(dir))) {
		char file[4096];

		if (de->d_name[0] == '.')
			continue;
		(void)snprintf(file, sizeof(file), "%s/%s", path, de->d_name);
		add_file(file);
	}
	closedir(dir);
	/* The order of a folder differs between machines; the drawing of inputs must not. */
	qsort(inputs, input_count, sizeof(inputs[0]), by_path);
}

/* Which input it was, before the signal has its way. */
static void on_end(int signal)
{
	(void)dprintf(STDERR_FILENO, "driver: %s while running %s\n",
		      signal == SIGALRM ? "no end" : "abort", running);
	raise(signal); /* the handler is gone */
}

static void watch(int signal)
{
	struct sigaction action = { .sa_handler = on_end, .sa_flags = SA_RESETHAND | SA_NODEFER };

	FUZZ_CHECK(sigaction(signal, &action, NULL) == 0);
}

static void run_one(const uint8_t *data, size_t size)
{
	/* Of its exact size: a sanitizer sees a read behind it. */
	uint8_t *copy = malloc(size ? size : 1);

	FUZZ_CHECK(copy);
	if (size)
		memcpy(copy, data, size);
	if (keep_path) {
		int fd = open(keep_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

		FUZZ_CHECK(fd >= 0 && write(fd, copy, size) == (ssize_t)size);
		close(fd);
	}
	alarm(INPUT_SECONDS_MAX);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void run_saved(void)
{
	for (uint32_t i = 0; i < input_count; i++) {
		(void)snprintf(running, sizeof(running), "%s", inputs[i].path);
		log_set_level(LOG_LEVEL_OFF);
		run_one(inputs[i].data, inputs[i].size);
		/* What is said of hostile things is made from hostile words. */
		log_set_level(LOG_LEVEL_TRACE);
		run_one(inputs[i].data, inputs[i].size);
		log_set_level(LOG_LEVEL_OFF);
	}
}

static void run_changes(uint64_t changes)
{
	static uint8_t data[FUZZ_INPUT_MAX];

	for (uint64_t i = 0; i < changes; i++) {
		const struct saved *in = input_count ? &inputs[random_below(input_count)] : NULL;
		size_t size = in ? MIN(in->size, sizeof(data)) : 0;

		if (size)
			memcpy(data, in->data, size);
		for (uint32_t n = 1 + random_below(4); n; n--)
			size = fuzz_mutate(data, size, sizeof(data), next_random());
		(void)snprintf(running, sizeof(running), "change %llu", (unsigned long long)i + 1);
		run_one(data, size);
	}
}

static void add_committed(const char *program)
{
	const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;
	char path[4096];

	(void)snprintf(path, sizeof(path), "tests/fuzz/corpus/%.*s",
		       (int)(strlen(name) - strlen("_fuzz")), name);
	add(path);
}

int main(int argc, char **argv)
{
	uint64_t changes = argc > 1 ? 0 : CHANGES_DEFAULT;
	int opt;

	while ((opt = getopt(argc, argv, "n:s:w:")) != -1) {
		switch (opt) {
		case 'n': changes = strtoull(optarg, NULL, 0); break;
		case 's': random_state = strtoull(optarg, NULL, 0) * 2 + 1; break;
		case 'w': keep_path = optarg; break;
		default: return 2;
		}
	}
	if (fuzz_harness.kinds && access(fuzz_bases_dir(), R_OK)) {
		(void)printf(
			"skip: no base images: e2fsprogs was not installed when this was built\n");
		return 77;
	}
	LLVMFuzzerInitialize(&argc, &argv);
	if (log_set_sink(LOG_SINK_FILE, "/dev/null"))
		return 2;
	watch(SIGABRT);
	watch(SIGALRM);
	for (int i = optind; i < argc; i++)
		add(argv[i]);
	if (argc == 1)
		add_committed(argv[0]);
	run_saved();
	run_changes(changes);
	(void)dprintf(STDOUT_FILENO, "%u inputs, %llu changed ones\n", input_count,
		      (unsigned long long)changes);
	for (uint32_t i = 0; i < input_count; i++) {
		free(inputs[i].data);
		free(inputs[i].path);
	}
	return 0;
}
