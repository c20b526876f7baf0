/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the back end: bookkeeping that a front end keeps in a file of its own (the log of written memory, the record of
 * what is in flight), mapped here. A guest's memory is memory.c's.
 *
 * The file may be cut short at any time, which guard.h survives. One of a FUSE filesystem is refused: its pages are read by
 * a daemon, which may never answer, or be this one.
 */
#ifndef KFS_VHOST_SHARED_H
#define KFS_VHOST_SHARED_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

/*
 * Address space of one: a sparse file is as large as one likes. A log of that size covers 128 TiB of guest addresses, and two
 * of each of a hundred guests are a hundredth of what there is.
 */
#define SHARED_BYTES_MAX (UINT64_C(4) << 30)

struct guard;

struct shared {
	uint8_t *at; /* the first byte that was asked for; NULL: nothing is mapped */
	void *map;
	size_t map_len;
	struct guard *guard;
};

/*
 * Bytes @offset .. @offset + @len - 1 of @fd, which stays the caller's. -EINVAL: none, too many, or not there; no ordinary
 * file. -EOPNOTSUPP: of a FUSE filesystem.
 */
MUST_USE int shared_map(int fd, uint64_t offset, uint64_t len, struct shared *ret_shared);
/* Nothing mapped is fine. */
void shared_unmap(struct shared *s);

#endif
