// SPDX-License-Identifier: GPL-2.0-only
/*
 * The common main() of the test programs and the checks that need code. See test.h.
 *
 * Each test is a child process: (1) what one test breaks in memory cannot reach the next; (2) a signal is reported
 * with the test's name; (3) leak checks run at the end of each test. A failing check leaves by _exit(), so that no
 * exit handler or leak report hides the message.
 */
#include "tests/lib/test.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_SKIP 77
/* Far above "under a second", also under a sanitizer; a hang is cut before the runner's own limit. */
#define TEST_SECONDS_MAX 60

static struct test_case *tests_first;
static struct test_case **tests_last = &tests_first;
static char scratch_dir[PATH_MAX];
static _Atomic uint64_t random_state;
static uint64_t random_seed;

void test_register(struct test_case *test)
{
	*tests_last = test;
	tests_last = &test->test_next;
}

void test_failed(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s:%d: failed: ", file, line);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, " (seed %" PRIu64 ")\n", random_seed);
	_exit(1);
}

void test_skipped(const char *fmt, ...)
{
	va_list args;

	printf("skip: ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(EXIT_SKIP);
}

/* printf() knows no 128 bits. Values beyond 64 bits cannot occur: every argument had at most 64. */
static const char *int128_text(__int128 value, char *buf, size_t size)
{
	if (value < 0)
		snprintf(buf, size, "%" PRId64, (int64_t)value);
	else
		snprintf(buf, size, "%" PRIu64 " (0x%" PRIx64 ")", (uint64_t)value,
			 (uint64_t)value);
	return buf;
}

void test_compare_failed(const char *file, int line, const char *what, __int128 got, __int128 want)
{
	char got_text[64];
	char want_text[64];

	test_failed(file, line, "%s: got %s, wanted %s", what,
		    int128_text(got, got_text, sizeof(got_text)),
		    int128_text(want, want_text, sizeof(want_text)));
}

static const char *result_text(int64_t result)
{
	if (result >= 0)
		return result == 0 ? "success" : "a count";
	return strerrorname_np((int)-result) ? strerrorname_np((int)-result) : "no errno";
}

void test_check_result(const char *file, int line, const char *what, int64_t got, int64_t want)
{
	if (got != want)
		test_failed(file, line, "%s: got %" PRId64 " (%s), wanted %" PRId64 " (%s)", what,
			    got, result_text(got), want, result_text(want));
}

void test_check_str(const char *file, int line, const char *what, const char *got, const char *want)
{
	if (!got || !want) {
		if (got != want)
			test_failed(file, line, "%s: got %s, wanted %s", what, got ? got : "NULL",
				    want ? want : "NULL");
		return;
	}
	if (strcmp(got, want) != 0)
		test_failed(file, line, "%s: got \"%s\", wanted \"%s\"", what, got, want);
}

static void hex_row(const char *label, const uint8_t *bytes, size_t from, size_t to)
{
	size_t i;

	fprintf(stderr, "  %-6s", label);
	for (i = from; i < to; i++)
		fprintf(stderr, " %02x", bytes[i]);
	fprintf(stderr, "\n");
}

void test_check_mem(const char *file, int line, const char *what, const void *got, const void *want,
		    size_t len)
{
	const uint8_t *got_bytes = got;
	const uint8_t *want_bytes = want;
	size_t from, to, i;

	for (i = 0; i < len && got_bytes[i] == want_bytes[i]; i++)
		;
	if (i == len)
		return;
	from = i & ~(size_t)15;
	to = len - from < 16 ? len : from + 16;
	fprintf(stderr, "bytes from 0x%zx:\n", from);
	hex_row("got", got_bytes, from, to);
	hex_row("wanted", want_bytes, from, to);
	test_failed(file, line, "%s: differs at byte %zu (0x%zx) of %zu", what, i, i, len);
}

const char *test_path(const char *file_name)
{
	static char paths[4][PATH_MAX];
	static unsigned int turn;
	char *path = paths[turn++ % 4];

	if (snprintf(path, PATH_MAX, "%s/%s", scratch_dir, file_name) >= PATH_MAX)
		FAIL("path is too long: %s", file_name);
	return path;
}

const char *test_socket_path(const char *file_name)
{
	if (chdir(scratch_dir))
		FAIL("cannot change to %s: %s", scratch_dir, strerror(errno));
	return file_name;
}

/* splitmix64: full period, good enough mixing for test data, one word of state, for any thread. */
uint64_t test_random(void)
{
	const uint64_t step = 0x9e3779b97f4a7c15ULL;
	uint64_t z = atomic_fetch_add(&random_state, step) + step;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

uint64_t test_random_below(uint64_t limit)
{
	return test_random() % limit;
}

void test_random_fill(void *buf, size_t len)
{
	uint8_t *bytes = buf;
	size_t i;

	for (i = 0; i < len; i++)
		bytes[i] = (uint8_t)(test_random() >> 32);
}

/* Returns 0, 1 or EXIT_SKIP. */
static int run_in_child(const struct test_case *test)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		return 1;
	}
	if (pid == 0) {
		alarm(TEST_SECONDS_MAX);
		test->test_run();
		exit(0);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR) {
			perror("waitpid");
			return 1;
		}
	}
	if (WIFSIGNALED(status)) {
		fprintf(stderr, "%s: killed by signal %s\n", test->test_name,
			sigabbrev_np(WTERMSIG(status)));
		return 1;
	}
	if (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EXIT_SKIP)
		return WEXITSTATUS(status);
	return 1;
}

static void scratch_remove(void)
{
	char command[PATH_MAX + 32];

	snprintf(command, sizeof(command), "rm -rf -- '%s'", scratch_dir);
	if (system(command) != 0)
		fprintf(stderr, "cannot remove %s\n", scratch_dir);
}

static bool scratch_create(void)
{
	const char *parent = getenv("TMPDIR");

	snprintf(scratch_dir, sizeof(scratch_dir), "%s/kfs-test-XXXXXX", parent ? parent : "/tmp");
	if (mkdtemp(scratch_dir))
		return true;
	perror(scratch_dir);
	return false;
}

/* Weak: a program of another kind (tests/fault) brings its own and uses the checks. */
__attribute__((weak)) int main(int argc, char **argv)
{
	const char *seed = getenv("KFS_SEED");
	unsigned int passed = 0, failed = 0, skipped = 0;
	bool same_process = argc > 1 && strcmp(argv[1], "-n") == 0;
	const char *filter = argc > 1 + same_process ? argv[1 + same_process] : "";
	const struct test_case *test;

	if (!scratch_create())
		return 1;
	random_seed = seed ? strtoull(seed, NULL, 0) : 1;
	for (test = tests_first; test; test = test->test_next) {
		int result = 0;

		if (!strstr(test->test_name, filter))
			continue;
		random_state = random_seed;
		if (same_process)
			test->test_run();
		else
			result = run_in_child(test);
		passed += result == 0;
		failed += result == 1;
		skipped += result == EXIT_SKIP;
		printf("%s %s\n",
		       result == 0 ? "ok  " :
		       result == 1 ? "FAIL" :
				     "skip",
		       test->test_name);
	}
	scratch_remove();
	printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	if (passed + failed + skipped == 0) {
		printf("no test ran\n");
		return 1;
	}
	if (failed)
		return 1;
	return passed ? 0 : EXIT_SKIP;
}
