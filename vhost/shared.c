/* SPDX-License-Identifier: GPL-2.0-only */
#include "vhost/shared.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "vhost/guard.h"

static int check_file(int fd, uint64_t end)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) || fstatfs(fd, &fs))
		return -errno;
	if (fs.f_type == FUSE_SUPER_MAGIC)
		return -EOPNOTSUPP;
	return S_ISREG(st.st_mode) && (uint64_t)st.st_size >= end ? 0 : -EINVAL;
}

int shared_map(int fd, uint64_t offset, uint64_t len, struct shared *ret_shared)
{
	struct shared s;
	uint64_t end;
	int err;

	if (!len || add_overflows(offset, len, &end) || end > SHARED_BYTES_MAX)
		return -EINVAL;
	err = check_file(fd, end);
	if (err)
		return err;
	/* From the file's beginning: the offset need not be one that mmap(2) takes. */
	s.map_len = (size_t)end;
	s.map = mmap(NULL, s.map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s.map == MAP_FAILED)
		return -errno;
	err = guard_add(s.map, s.map_len, &s.guard);
	if (err) {
		(void)munmap(s.map, s.map_len); /* our own mapping */
		return err;
	}
	s.at = (uint8_t *)s.map + offset;
	*ret_shared = s;
	return 0;
}

void shared_unmap(struct shared *s)
{
	if (!s->at)
		return;
	guard_remove(s->guard);
	(void)munmap(s->map, s->map_len); /* our own mapping */
	s->at = NULL;
}
