/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/dev/uring_entry.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/dev/dev_priv.h"
#include "daemon/proto/wire.h"

static size_t size_of(const struct uring_entry *e)
{
	return DEV_PAGE + e->payload_size;
}

/* Its own pages; they have no second address yet. */
static int map_own(struct uring_entry *e, size_t payload_size)
{
	uint8_t *memory = mmap(NULL, DEV_PAGE + payload_size, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	static_assert(sizeof(struct wire_uring_header) <= DEV_PAGE, "the header has a page");
	if (memory == MAP_FAILED)
		return -errno;
	e->head = (struct wire_uring_header *)(void *)memory;
	e->payload = memory + DEV_PAGE;
	e->payload_size = payload_size;
	e->kernel = NULL;
	return 0;
}

/* mremap(2): an old size of 0 gives shared pages a further address. */
static void *map_again(const struct uring_entry *e, void *where)
{
	void *again =
		mremap(e->head, 0, size_of(e), MREMAP_MAYMOVE | (where ? MREMAP_FIXED : 0), where);

	return again == MAP_FAILED ? NULL : again;
}

int uring_entry_map(struct uring_entry *e, size_t payload_size)
{
	int err = map_own(e, payload_size);

	if (err)
		return err;
	e->kernel = map_again(e, NULL);
	if (e->kernel)
		return 0;
	uring_entry_unmap(e);
	return -ENOMEM;
}

void uring_entry_unmap(struct uring_entry *e)
{
	if (e->head)
		(void)munmap(e->head, size_of(e)); /* our own mapping */
	if (e->kernel)
		(void)munmap(e->kernel, size_of(e)); /* our own mapping */
	e->head = NULL;
	e->kernel = NULL;
}

void uring_entry_for_kernel(const struct uring_entry *e, struct iovec memory[2])
{
	memory[0] = (struct iovec){ .iov_base = e->kernel, .iov_len = sizeof(*e->head) };
	memory[1] = (struct iovec){ .iov_base = (uint8_t *)e->kernel + DEV_PAGE,
				    .iov_len = e->payload_size };
}

int uring_entry_take_over(struct uring_entry *e, struct uring_entry *from)
{
	int err = map_own(e, from->payload_size);

	if (err)
		return err;
	e->kernel = map_again(e, from->kernel);
	if (e->kernel) {
		from->kernel = NULL;
		return 0;
	}
	uring_entry_unmap(e);
	return -ENOMEM;
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
