/* SPDX-License-Identifier: GPL-2.0-only */
#include "vhost/dirty.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"

uint64_t dirty_log_size(uint64_t end)
{
	return DIV_ROUND_UP(DIV_ROUND_UP(end, DIRTY_PAGE), 8);
}

int dirty_log_map(struct dirty_log *l, int fd, uint64_t size, uint64_t offset)
{
	struct shared file;
	int err = shared_map(fd, offset, size, &file);

	if (err)
		return err;
	dirty_log_unmap(l);
	l->file = file;
	l->base = file.at;
	l->size = size;
	return 0;
}

void dirty_log_unmap(struct dirty_log *l)
{
	if (!l->base)
		return;
	shared_unmap(&l->file);
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
