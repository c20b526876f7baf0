/* SPDX-License-Identifier: GPL-2.0-only */
/* mkfs.kfs: from words to a filesystem. */
#include "mkfs/mkfs.h"
#include "mkfs/options.h"

#include <stdlib.h>

#define EXIT_USAGE 1 /* as mke2fs has it */

int main(int argc, char **argv)
{
	struct mkfs_options o;

	switch (options_parse(argc, argv, &o)) {
	case OPTIONS_DONE: return EXIT_SUCCESS;
	case OPTIONS_USAGE: return EXIT_USAGE;
	case OPTIONS_RUN: break;
	}
	return mkfs_run(&o) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
