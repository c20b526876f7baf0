// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checks an image as a mounted one is checked, without a mount.
 *
 *	checkimg [-r] [-k] [-c MIB] [-x COMMAND] IMAGE
 *
 * Prints what was found, a line each, and exits as kfsctl check does: 0 clean, 4
 * findings, 8 the check failed. -r opens it read-only; -x runs a shell command (damage)
 * while it is open; -c caps the copies of what changes; -k prints kinds, too. The image
 * is left as after a crash.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/block/bdev.h"
#include "daemon/check/check.h"
#include "daemon/store/store.h"

static int usage(void)
{
	fprintf(stderr, "usage: checkimg [-r] [-k] [-c MIB] [-x COMMAND] IMAGE\n");
	return 2;
}

static int check(struct store *s, const struct check_opts *opts, bool kinds)
{
	struct check_progress progress = { 0 };
	struct check_result r;
	int ret = check_run(s, opts, &progress, &r);
	uint32_t k;

	for (k = 0; k < r.count; k++)
		printf("%s%s%s\n", kinds ? r.findings[k].kind : "", kinds ? ": " : "",
		       r.findings[k].text);
	if (ret)
		printf("check failed: %s\n", strerror(-ret));
	ret = ret ? 8 : r.total ? 4 : 0;
	check_result_fini(&r);
	return ret;
}

int main(int argc, char **argv)
{
	struct bdev_open_opts dev = { 0 };
	struct store_opts opts = { .errors = ERRORS_CONTINUE };
	struct check_opts how = { 0 };
	struct store_open_error err;
	const char *command = NULL;
	bool kinds = false;
	struct bdev *bdev;
	struct store *s;
	int ret, option;

	while ((option = getopt(argc, argv, "rkc:x:")) != -1) {
		switch (option) {
		case 'r': dev.readonly = opts.readonly = true; break;
		case 'k': kinds = true; break;
		case 'c': how.copies_bytes_max = strtoull(optarg, NULL, 10) << 20; break;
		case 'x': command = optarg; break;
		default: return usage();
		}
	}
	if (optind + 1 != argc)
		return usage();
	ret = bdev_open_file(argv[optind], &dev, &bdev);
	if (!ret) {
		ret = store_open(bdev, &opts, &s, &err);
		if (ret)
			fprintf(stderr, "checkimg: %s\n", err.what);
	}
	if (ret) {
		fprintf(stderr, "checkimg: %s: %s\n", argv[optind], strerror(-ret));
		return 8;
	}
	if (command && system(command) != 0) {
		fprintf(stderr, "checkimg: the command failed\n");
		ret = 8;
	} else {
		ret = check(s, &how, kinds);
	}
	store_destroy(s);
	return ret;
}
