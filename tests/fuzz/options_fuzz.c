// SPDX-License-Identifier: GPL-2.0-only
/* The command line of kfs and of mount.fuse.kfs: words from the input, split at NULs. */
#include <stdio.h>
#include <stdlib.h>

#include "daemon/options.h"
#include "tests/fuzz/fuzz.h"

#define WORDS_MAX 24

static void init(void)
{
	/* libfuse says itself what it does not like. */
	stderr = fopen("/dev/null", "w");
}

static void run(struct input *in)
{
	static char text[FUZZ_INPUT_MAX + 2];
	char *argv[WORDS_MAX + 1] = { "kfs" };
	struct options o;
	struct options_error err = { "" };
	uint8_t how = in_u8(in);
	int argc = 1, status;
	size_t len;
	const uint8_t *bytes = in_take(in, FUZZ_INPUT_MAX, &len);

	memcpy(text, bytes, len);
	memset(text + len, 0, 2);
	for (size_t at = 0; at < len && argc < WORDS_MAX; at += strlen(text + at) + 1)
		argv[argc++] = text + at;
	status = options_parse(argc, argv, how & 1, &o, &err);
	if (status == EXIT_OK) {
		char *words = options_kernel_words(&o, how & 2);
		char *shown = options_describe(&o, how & 2);
		struct store_opts opts = options_store(&o);

		FUZZ_CHECK(words && shown);
		FUZZ_CHECK(opts.cache_mb == o.cache_mb);
		free(words);
		free(shown);
	} else {
		FUZZ_CHECK(err.text[0] && memchr(err.text, 0, sizeof(err.text)));
	}
	options_fini(&o);
}

const struct fuzz_harness fuzz_harness = { .init = init, .run = run };
