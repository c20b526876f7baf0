/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzzing: one harness per untrusted input, each a file NAME_fuzz.c that defines "fuzz_harness".
 *
 *	make fuzz FUZZ_S=60 FUZZ=dir	libFuzzer (clang, address and undefined sanitizers), steered by coverage
 *	make test T=fuzz		driver.c, any compiler: the committed inputs and a fixed number of blind changes
 *
 * corpus/NAME/ holds the committed inputs, found by merging long runs; a file whose name says what it was is a past crash
 * or hang (all others are named by their hash). What an input means for most harnesses: scene.h. "NAME_fuzz FILE" runs
 * one; KFS_FUZZ_BASES says where the base images lie when the program was moved.
 *
 * Bounds that make a hang visible: FUZZ_TIMEOUT_S in run.sh for one input, INPUT_SECONDS_MAX in the driver, and the limit of
 * memory that run.sh gives.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdint.h>

#include "tests/fuzz/input.h"

/* Longest input that a mutation makes. */
#define FUZZ_INPUT_MAX 4096

struct fuzz_harness {
	/* Once, before the first input. May be NULL. */
	void (*init)(void);
	/* One input. Whatever it leaves behind in memory is a bug of the harness. */
	void (*run)(struct input *in);
	/*
	 * The input begins with a scene's edits (scene.h), which mutation knows. @kinds: which
	 * places they may hit (bits of enum place_kind), 0 = the input is not of this form.
	 */
	uint32_t kinds;
};

extern const struct fuzz_harness fuzz_harness;

/* What must not happen did: says it and aborts. */
_Noreturn void fuzz_failed(const char *file, int line, const char *what);
#define FUZZ_CHECK(cond)                                                                           \
	do {                                                                                       \
		if (!(cond))                                                                       \
			fuzz_failed(__FILE__, __LINE__, #cond);                                    \
	} while (0)

/* mutate.c: changes @data of @size bytes in place, to at most @size_max bytes; @random is 32 bits of a generator. */
size_t fuzz_mutate(uint8_t *data, size_t size, size_t size_max, uint32_t seed);
/* libFuzzer's, or the driver's. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

/* The folder of the base images: $KFS_FUZZ_BASES, else "bases" beside the folder of the program. */
const char *fuzz_bases_dir(void);

#endif
