/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Assertions: for our own mistakes only, on in every build. Bad input, bad
 * images and failing devices are errors, never assertions. CHECK_SLOW guards
 * whole-structure checks that only crash tests and fuzzers can afford.
 */
#ifndef KFS_BASE_CHECK_H
#define KFS_BASE_CHECK_H

_Noreturn void check_failed(const char *file, int line, const char *what);

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			check_failed(__FILE__, __LINE__, #cond);                                   \
	} while (0)

#ifdef KFS_CHECK_SLOW
#define CHECK_SLOW(cond) CHECK(cond)
#else
#define CHECK_SLOW(cond) ((void)0)
#endif

#endif
