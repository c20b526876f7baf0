/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A reservation of addresses, in which mmap(2) replaces one mapping by another without a moment at which there is none.
 */
#include "vhost/view.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vhost/guard.h"

static int reserve(struct view *v, uint64_t size)
{
	void *at = mmap(NULL, (size_t)size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);
	int err;

	if (at == MAP_FAILED)
		return -errno;
	err = guard_add(at, (size_t)size, &v->guard);
	if (err) {
		(void)munmap(at, (size_t)size); /* our own mapping */
		return err;
	}
	v->at = at;
	v->size = size;
	return 0;
}

int view_init(struct view *v, uint64_t size)
{
	int err = 0;

	*v = (struct view){ .filler_fd = memfd_create("kfs-window", MFD_CLOEXEC) };
	if (v->filler_fd < 0)
		return -errno;
	if (ftruncate(v->filler_fd, (off_t)VIEW_UNIT))
		err = -errno;
	if (!err && !(v->shown = calloc(size / VIEW_UNIT, sizeof(*v->shown))))
		err = -ENOMEM;
	if (!err)
		err = reserve(v, size);
	if (!err)
		return 0;
	free(v->shown);
	(void)close(v->filler_fd); /* memory */
	*v = (struct view){ .filler_fd = -1 };
	return err;
}

void view_fini(struct view *v)
{
	if (!v->at)
		return;
	guard_remove(v->guard);
	(void)munmap(v->at, (size_t)v->size); /* our own mapping */
	(void)close(v->filler_fd);	      /* memory */
	free(v->shown);
	*v = (struct view){ .filler_fd = -1 };
}

static int put(struct view *v, uint64_t off, uint64_t len, int fd, uint64_t fd_off)
{
	return mmap(v->at + off, (size_t)len, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, (off_t)fd_off) == MAP_FAILED ?
		       -errno :
		       0;
}

int view_map(struct view *v, uint64_t off, uint64_t len, int image_fd, uint64_t image_off)
{
	assert(off <= v->size && len <= v->size - off);
	if (guard_hit(v->guard))
		return -EIO;
	return put(v, off, len, image_fd, image_off);
}

int view_hide(struct view *v, uint64_t off, uint64_t len)
{
	assert(off < v->size && len <= VIEW_UNIT - off % VIEW_UNIT);
	return put(v, off, len, v->filler_fd, off % VIEW_UNIT);
}

void view_show(struct view *v, uint64_t off, bool shown)
{
	assert(off < v->size);
	atomic_store(&v->shown[off / VIEW_UNIT], shown);
}
