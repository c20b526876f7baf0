/* SPDX-License-Identifier: GPL-2.0-only */
#include "vhost/dirty.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "daemon/base/log.h"
#include "vhost/guard.h"

uint64_t dirty_log_size(uint64_t end)
{
	return DIV_ROUND_UP(DIV_ROUND_UP(end, DIRTY_PAGE), 8);
}

int dirty_log_map(struct dirty_log *l, int fd, uint64_t size, uint64_t offset)
{
	struct guard *guard;
	struct stat st;
	uint64_t end;
	void *map;
	int err;

	if (!size || add_overflows(offset, size, &end) || end > SIZE_MAX / 2)
		return -EINVAL;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < end)
		return -EINVAL;
	/* From the file's beginning: the offset need not be one that mmap(2) takes. */
	map = mmap(NULL, (size_t)end, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	err = guard_add(map, (size_t)end, &guard);
	if (err) {
		(void)munmap(map, (size_t)end); /* our own mapping */
		return err;
	}
	dirty_log_unmap(l);
	l->base = (uint8_t *)map + offset;
	l->size = size;
	l->map = map;
	l->map_len = (size_t)end;
	l->guard = guard;
	return 0;
}

void dirty_log_unmap(struct dirty_log *l)
{
	if (!l->base)
		return;
	guard_remove(l->guard);
	(void)munmap(l->map, l->map_len); /* our own mapping */
	l->base = NULL;
	l->size = 0;
	atomic_store(&l->too_small, false);
}

void dirty_log_mark(struct dirty_log *l, uint64_t gpa, uint64_t len)
{
	uint64_t last;

	if (!l->base || !len)
		return;
	if (add_overflows(gpa, len - 1, &last) || last / DIRTY_PAGE / 8 >= l->size) {
		if (!atomic_exchange(&l->too_small, true))
			log_warn("a front end's log of written memory ends before the memory: what "
				 "it copies of the guest is not all");
		return;
	}
	for (uint64_t page = gpa / DIRTY_PAGE; page <= last / DIRTY_PAGE; page++)
		__atomic_fetch_or(&l->base[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
}

void dirty_log_tell(struct dirty_log *l)
{
	uint64_t one = 1;

	if (l->base && l->call_fd >= 0 && write(l->call_fd, &one, sizeof(one)) < 0)
		log_debug("event to a front end: %s", strerror(errno)); /* full: it knows */
}
