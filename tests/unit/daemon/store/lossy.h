/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device that loses power: it keeps what every write since the last flush has
 * overwritten, and lossy_crash() takes back a random part of those writes. It can
 * also be told to fail data writes.
 */
#ifndef TESTS_UNIT_DAEMON_STORE_LOSSY_H
#define TESTS_UNIT_DAEMON_STORE_LOSSY_H

#include "daemon/block/bdev.h"

struct lossy;

/* Takes @below; closing the device closes it. */
struct lossy *lossy_new(struct bdev *below);
struct bdev *lossy_bdev(struct lossy *l);
/* From now on nothing reaches the medium; unflushed writes are each lost with even odds. */
void lossy_crash(struct lossy *l);
/* Has it? */
bool lossy_crashed(struct lossy *l);
/* The same by itself, instead of the @count-th write from now. */
void lossy_crash_after(struct lossy *l, uint64_t count);
/* The next @count writes of whole blocks that are all @value fail with -EIO. */
void lossy_fail(struct lossy *l, uint8_t value, uint32_t count);

#endif
