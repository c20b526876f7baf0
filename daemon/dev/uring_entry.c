/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/dev/uring_entry.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/dev/dev_priv.h"
#include "daemon/proto/wire.h"

int uring_entry_map(struct uring_entry *e, size_t payload_size)
{
	uint8_t *memory = dev_map_pages(DEV_PAGE + payload_size);

	static_assert(sizeof(struct wire_uring_header) <= DEV_PAGE, "the header has a page");
	if (!memory)
		return -ENOMEM;
	e->head = (struct wire_uring_header *)(void *)memory;
	e->payload = memory + DEV_PAGE;
	e->payload_size = payload_size;
	return 0;
}

void uring_entry_unmap(struct uring_entry *e)
{
	if (e->head)
		(void)munmap(e->head, DEV_PAGE + e->payload_size); /* our own mapping */
	e->head = NULL;
}

int uring_entry_request(const struct uring_entry *e, struct iovec in[URING_ENTRY_PIECES])
{
	size_t len = e->head->in.len, payload = e->head->ring_ent_in_out.payload_sz;
	size_t header = sizeof(e->head->in), args;
	int count = 1;

	in[0] = (struct iovec){ .iov_base = &e->head->in, .iov_len = header };
	if (len < header || payload > len - header || payload > e->payload_size)
		return 1;
	args = len - header - payload;
	if (args > sizeof(e->head->op_in))
		return 1;
	if (args)
		in[count++] = (struct iovec){ .iov_base = e->head->op_in, .iov_len = args };
	if (payload)
		in[count++] = (struct iovec){ .iov_base = e->payload, .iov_len = payload };
	return count;
}

void uring_entry_reply(struct uring_entry *e, uint64_t unique, int error, const struct iovec *data,
		       int count)
{
	struct fuse_out_header out = { .error = error, .unique = unique };
	size_t len = 0;

	for (int i = 0; i < count && !error; i++) {
		if (data[i].iov_len > e->payload_size - len) {
			out.error = error = -EIO; /* the kernel would not take it either */
			break;
		}
		if (data[i].iov_base != e->payload + len)
			memmove(e->payload + len, data[i].iov_base, data[i].iov_len);
		len += data[i].iov_len;
	}
	len = error ? 0 : len;
	out.len = (uint32_t)(sizeof(out) + len);
	e->head->out = out;
	e->head->ring_ent_in_out.payload_sz = (uint32_t)len;
}
