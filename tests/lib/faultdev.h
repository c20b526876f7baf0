/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The failing block device of all tests. It asks fault_hit() (tests/lib/fault.h) before every
 * read, write, flush, discard and zero, and it behaves as hard as Linux does:
 *
 * (1) After a failed flush, what was written since the last good one is lost when the device
 *     is closed (all of it, or by a seed some of it), although reads show it until then. So
 *     whoever takes a failed flush for a good one loses data, and the test sees it.
 * (2) faultdev_cut() makes closing a power cut: unflushed writes are lost the same way.
 * (3) A failed write has written nothing, or (by the seed) the first part of it.
 *
 * Besides, one byte can be made unreadable. Any number of threads.
 */
#ifndef TESTS_LIB_FAULTDEV_H
#define TESTS_LIB_FAULTDEV_H

#include "daemon/block/bdev.h"

struct faultdev;

/* Takes @below; closing the device closes it. */
struct faultdev *faultdev_new(struct bdev *below);
struct bdev *faultdev_bdev(struct faultdev *d);
/* Even: all that is not durable is lost. Odd: each write of it by lot. Default 0. */
void faultdev_seed(struct faultdev *d, uint64_t seed);
/* Reads of a range that holds this byte are -EIO; 0 = none. */
void faultdev_bad_byte(struct faultdev *d, uint64_t byte);
/* When it is closed, power is lost. */
void faultdev_cut(struct faultdev *d);

#endif
