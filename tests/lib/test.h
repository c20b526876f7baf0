/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A minimal test library. A test program is one file:
 *
 *	#include "tests/lib/test.h"
 *
 *	TEST(test_bitmap_find__returns_first_zero)
 *	{
 *		CHECK_EQ(bitmap_find_zero(map, 64, 0), 3);
 *	}
 *
 * main() is in test.c. Each test runs in a child process of its own, in the order of the file, so a crash, a hang
 * or a leak belongs to one name. The first failed check ends its test. Program: exit 0 all passed, 1 one failed,
 * 77 all were skipped (a line "skip: REASON" each). "PROGRAM word" runs the tests whose name holds the word;
 * "PROGRAM -n word" runs them in this process, for a debugger.
 *
 * Checks may be used in any thread and in helper functions. Arguments are evaluated once. Got comes before wanted.
 */
#ifndef TESTS_LIB_TEST_H
#define TESTS_LIB_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/check.h"

/* The daemon's CHECK aborts; here it fails the test. Its header is read first, so that it cannot come back. */
#undef CHECK

#define TEST(name)                                                                                 \
	static void name(void);                                                                    \
	static struct test_case name##_case = { .test_name = #name, .test_run = name };            \
	__attribute__((constructor)) static void name##_register(void)                             \
	{                                                                                          \
		test_register(&name##_case);                                                       \
	}                                                                                          \
	static void name(void)

/* The condition holds. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			test_failed(__FILE__, __LINE__, "%s", #cond);                              \
	} while (0)

/* Integers, bools and enums of any width and sign; compared by value, never by wrapped bits. */
#define CHECK_EQ(got, want) TEST_COMPARE(got, ==, want)
#define CHECK_NE(got, want) TEST_COMPARE(got, !=, want)
#define CHECK_LT(got, want) TEST_COMPARE(got, <, want)
#define CHECK_LE(got, want) TEST_COMPARE(got, <=, want)
#define CHECK_GT(got, want) TEST_COMPARE(got, >, want)
#define CHECK_GE(got, want) TEST_COMPARE(got, >=, want)

/* A call that returns 0 or a negative errno: the first is wanted, or exactly this error (CHECK_ERR(f(), -ENOSPC)). */
#define CHECK_OK(call) test_check_result(__FILE__, __LINE__, #call, (call), 0)
#define CHECK_ERR(call, want) test_check_result(__FILE__, __LINE__, #call, (call), (want))

#define CHECK_STR_EQ(got, want) test_check_str(__FILE__, __LINE__, #got, (got), (want))
#define CHECK_MEM_EQ(got, want, len) test_check_mem(__FILE__, __LINE__, #got, (got), (want), (len))
#define CHECK_PTR_EQ(got, want) CHECK((const void *)(got) == (const void *)(want))

#define FAIL(...) test_failed(__FILE__, __LINE__, __VA_ARGS__)
/* Ends this test as skipped; say what the machine lacks. */
#define SKIP(...) test_skipped(__VA_ARGS__)

/* A path for a scratch file of this test; the folder is removed when the program ends. Static storage, 4 in turn. */
const char *test_path(const char *file_name);

/*
 * The same for a socket, whose path must be short (107 bytes) however long the folder's is: relative to the working
 * directory, which becomes the scratch folder.
 */
const char *test_socket_path(const char *file_name);

/*
 * Pseudo-random numbers, equal in each run: seeded per test from KFS_SEED (default 1). A failing test prints the
 * seed it ran with. Not for use by several threads at once.
 */
uint64_t test_random(void);
/* A number in [0, limit); limit is not 0. */
uint64_t test_random_below(uint64_t limit);
void test_random_fill(void *buf, size_t len);

/* What the macros use. */

struct test_case {
	const char *test_name;
	void (*test_run)(void);
	struct test_case *test_next;
};

void test_register(struct test_case *test);
__attribute__((noreturn, format(printf, 3, 4))) void test_failed(const char *file, int line,
								 const char *fmt, ...);
__attribute__((noreturn, format(printf, 1, 2))) void test_skipped(const char *fmt, ...);
__attribute__((noreturn)) void test_compare_failed(const char *file, int line, const char *what,
						   __int128 got, __int128 want);
void test_check_result(const char *file, int line, const char *what, int64_t got, int64_t want);
void test_check_str(const char *file, int line, const char *what, const char *got,
		    const char *want);
void test_check_mem(const char *file, int line, const char *what, const void *got, const void *want,
		    size_t len);

/* 128 bits hold every value of every integer type, so a mixed comparison means what it says. */
#define TEST_COMPARE(got, op, want)                                                                \
	do {                                                                                       \
		__int128 test_got_ = (got);                                                        \
		__int128 test_want_ = (want);                                                      \
		if (!(test_got_ op test_want_))                                                    \
			test_compare_failed(__FILE__, __LINE__, #got " " #op " " #want, test_got_, \
					    test_want_);                                           \
	} while (0)

#endif
