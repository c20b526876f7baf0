/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Using a filesystem, without FUSE, and telling what came of it, a line each:
 *
 *	refused ERRNO MESSAGE
 *	mounted rw|ro WHY
 *	= PATH TYPE SIZE SUM     an object that could be read whole
 *	! PATH OPERATION ERRNO   an operation that failed
 *	closed ERRNO
 *
 * Paths have everything unprintable as \xNN. A directory is entered once, whatever leads
 * to it, so that a tour of a filesystem wired in circles ends.
 */
#ifndef TESTS_IMAGES_TOUR_H
#define TESTS_IMAGES_TOUR_H

#include <stdio.h>

enum tour_kind {
	TOUR_LOOK, /* read-only: everything is read */
	TOUR_USE, /* read-write: everything is read, then new things are made and some removed again */
	TOUR_ABUSE, /* read-write: everything that is there is changed, moved, removed, but for /keep */
};

/* Opens @image, does what @kind says, closes it. Runs in a process of its own. */
void tour(const char *image, enum tour_kind kind, FILE *out);

#endif
