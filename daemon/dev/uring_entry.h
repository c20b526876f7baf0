/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of one ring entry, which the kernel and we take turns with: a header and one
 * payload, that of the request first and that of its reply then.
 *
 * It is mapped twice, once for each of the two. So another can answer in the place of a
 * thread that is stuck (uring_entry_take_over()): the kernel finds other pages at the
 * address that it knows, and what the stuck thread still reads and writes is its alone.
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
	void *kernel; /* the same pages where the kernel has them; NULL once they were taken over */
};

MUST_USE int uring_entry_map(struct uring_entry *e, size_t payload_size);
void uring_entry_unmap(struct uring_entry *e);
/* Header and payload as REGISTER wants them. */
void uring_entry_for_kernel(const struct uring_entry *e, struct iovec memory[2]);
/*
 * @e gets the place of @from in the kernel's eyes, and new pages, all zero. The kernel must
 * not have the entry at this moment. @from keeps its pages until it is unmapped.
 */
MUST_USE int uring_entry_take_over(struct uring_entry *e, struct uring_entry *from);

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
