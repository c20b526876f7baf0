/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The image's page cache as memory, for readers that would otherwise pay a system call and the
 * kernel's search for each page. It is the very cache that pread(2) reads and pwrite(2) changes.
 *
 * Chunks are read through the mapping from their second reading on: the first goes by pread(2),
 * which reads ahead. What was mapped in is let go when it is more than FILEMAP_WARM_MAX chunks.
 * Any number of threads, each with bustrap_enable().
 */
#ifndef KFS_BLOCK_FILEMAP_H
#define KFS_BLOCK_FILEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/base/util.h"

#define FILEMAP_CHUNK (UINT64_C(64) << 10)
/* 1 GiB: the page tables for it are 2 MiB. */
#define FILEMAP_WARM_MAX (1u << 14)

struct filemap;

/*
 * The first @size bytes of @fd. -EOPNOTSUPP: a filesystem that is not known to keep mappings and
 * system calls coherent; else what mmap(2) says.
 */
MUST_USE int filemap_new(int fd, uint64_t size, struct filemap **ret_map);
/* NULL is fine. */
void filemap_free(struct filemap *m);
/* False: not this time, read it otherwise and call filemap_note(). */
bool filemap_read(struct filemap *m, const struct iovec *iov, int iovcnt, uint64_t off,
		  uint64_t len);
void filemap_note(struct filemap *m, uint64_t off, uint64_t len);

#endif
