/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of one ring entry, which the kernel and we take turns with: a header and one
 * payload, that of the request first and that of its reply then.
 */
#ifndef KFS_DEV_URING_ENTRY_H
#define KFS_DEV_URING_ENTRY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/base/util.h"

struct wire_uring_header;

struct uring_entry {
	struct wire_uring_header *head; /* at the beginning of a page */
	uint8_t *payload;		/* the pages behind it */
	size_t payload_size;
};

MUST_USE int uring_entry_map(struct uring_entry *e, size_t payload_size);
void uring_entry_unmap(struct uring_entry *e);

/*
 * The request that lies in the entry, as pieces of its memory: header, arguments, payload
 * (those that are not empty). Lengths that contradict each other give the header alone,
 * which whoever decodes it will find too short.
 */
#define URING_ENTRY_PIECES 3
int uring_entry_request(const struct uring_entry *e, struct iovec in[URING_ENTRY_PIECES]);
/* Put a reply there. Data that lies where it belongs already is not copied. */
void uring_entry_reply(struct uring_entry *e, uint64_t unique, int error, const struct iovec *data,
		       int count);
#endif
