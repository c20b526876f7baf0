// SPDX-License-Identifier: GPL-2.0-only
/* A block device in memory, for tests. Sparse: untouched parts cost nothing. */
#include "daemon/block/bdev.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct bdev_mem {
	struct bdev bdev;
	uint8_t *bytes;
};

static struct bdev_mem *to_mem(struct bdev *b)
{
	return container_of(b, struct bdev_mem, bdev);
}

static int mem_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	const uint8_t *from = to_mem(b)->bytes + off;
	int i;

	for (i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from += iov[i].iov_len;
	}
	return 0;
}

static int mem_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	uint8_t *to = to_mem(b)->bytes + off;
	int i;

	for (i = 0; i < iovcnt; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	return 0;
}

static int mem_flush(struct bdev *b UNUSED)
{
	return 0;
}

static int mem_zero(struct bdev *b, uint64_t off, uint64_t len)
{
	memset(to_mem(b)->bytes + off, 0, len);
	return 0;
}

static void mem_close(struct bdev *b)
{
	struct bdev_mem *mem = to_mem(b);

	(void)munmap(mem->bytes, b->size); /* fails only for a wrong range */
	free(mem);
}

static const struct bdev_ops mem_ops = {
	.readv = mem_readv,
	.writev = mem_writev,
	.flush = mem_flush,
	.discard = mem_zero,
	.zero = mem_zero,
	.close = mem_close,
};

int bdev_open_mem(uint64_t size, struct bdev **ret_bdev)
{
	struct bdev_mem *mem;

	if (size == 0)
		return -EINVAL;
	mem = calloc(1, sizeof(*mem));
	if (!mem)
		return -ENOMEM;
	mem->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem->bytes == MAP_FAILED) {
		free(mem);
		return -ENOMEM;
	}
	bdev_init(&mem->bdev, &mem_ops, size);
	*ret_bdev = &mem->bdev;
	return 0;
}
