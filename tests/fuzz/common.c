// SPDX-License-Identifier: GPL-2.0-only
/* The entry points that libFuzzer and our driver call. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scene.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned int seed);

void fuzz_failed(const char *file, int line, const char *what)
{
	(void)dprintf(STDERR_FILENO, "fuzz: %s:%d: %s\n", file, line, what);
	abort();
}

const char *fuzz_bases_dir(void)
{
	static char path[PATH_MAX + 32];
	const char *given = getenv("KFS_FUZZ_BASES");
	char *slash;
	ssize_t len;

	if (given)
		return given;
	len = readlink("/proc/self/exe", path, PATH_MAX);
	FUZZ_CHECK(len > 0);
	path[len] = '\0';
	slash = strrchr(path, '/');
	(void)snprintf(slash, sizeof(path) - (size_t)(slash - path), "/bases");
	return path;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	log_set_level(LOG_LEVEL_OFF);
	if (fuzz_harness.kinds)
		scene_init(fuzz_harness.kinds);
	if (fuzz_harness.init)
		fuzz_harness.init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .at = data, .left = size };

	fuzz_harness.run(&in);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned int seed)
{
	return fuzz_mutate(data, size, size_max, seed);
}
