/* SPDX-License-Identifier: GPL-2.0-only */
/* A sorted array, searched by halving: a descriptor costs a few comparisons. */
#include "vhost/memory.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "daemon/base/check.h"
#include "vhost/guard.h"
#include "vhost/view.h"

static bool overlaps(uint64_t a, uint64_t b, uint64_t a_len, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* Ends are representable: nothing below can wrap. */
static int check_share(const struct memory *m, const struct memory_share *s)
{
	uint64_t end;

	if (!s->size || add_overflows(s->gpa, s->size, &end) ||
	    add_overflows(s->uva, s->size, &end) || add_overflows(s->offset, s->size, &end) ||
	    end > SIZE_MAX / 2)
		return -EINVAL;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->region[i];

		if (overlaps(r->gpa, s->gpa, r->size, s->size) ||
		    (!r->view && overlaps(r->uva, s->uva, r->size, s->size)))
			return -EEXIST;
	}
	/* From the file's beginning, see map_share(). */
	if (m->count == MEMORY_REGIONS_MAX || end > MEMORY_BYTES_MAX - m->mapped)
		return -ENOSPC;
	return 0;
}

/* Devices have no size; what has one must reach. */
static int check_file(const struct memory_share *s)
{
	struct statfs fs;
	struct stat st;

	if (fstat(s->fd, &st) || fstatfs(s->fd, &fs))
		return -errno;
	if (fs.f_type == FUSE_SUPER_MAGIC)
		return -EOPNOTSUPP;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < s->offset + s->size)
		return -EINVAL;
	if (s->image && S_ISBLK(st.st_mode))
		return 0;
	return S_ISREG(st.st_mode) || S_ISCHR(st.st_mode) ? 0 : -EINVAL;
}

/*
 * From the file's beginning: the offset need not be one that mmap(2) takes, as with huge pages.
 * The image may be larger than there are addresses, and is mapped where it is needed.
 */
static int map_share(const struct memory_share *s, struct memory_region *ret_region)
{
	struct memory_region r = { .gpa = s->gpa, .size = s->size, .uva = s->uva };
	uint64_t from = s->image ? s->offset : 0;
	int err;

	r.map_len = (size_t)(s->offset + s->size - from);
	r.map = mmap(NULL, r.map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->fd,
		     (off_t)from);
	if (r.map == MAP_FAILED)
		return -errno;
	err = guard_add(r.map, r.map_len, &r.guard);
	if (err) {
		(void)munmap(r.map, r.map_len); /* our own mapping */
		return err;
	}
	r.hva = (uint8_t *)r.map + (s->offset - from);
	*ret_region = r;
	return 0;
}

static void insert(struct memory *m, const struct memory_region *region)
{
	uint32_t at = m->count;

	while (at > 0 && m->region[at - 1].gpa > region->gpa) {
		m->region[at] = m->region[at - 1];
		at--;
	}
	m->region[at] = *region;
	m->count++;
	m->mapped += region->map_len;
}

int memory_add(struct memory *m, const struct memory_share *share)
{
	struct memory_region region;
	int err = check_share(m, share);

	if (!err)
		err = check_file(share);
	if (!err)
		err = map_share(share, &region);
	if (err)
		return err;
	insert(m, &region);
	return 0;
}

int memory_add_view(struct memory *m, uint64_t gpa, const struct view *v)
{
	struct memory_region region = {
		.gpa = gpa, .size = v->size, .hva = v->at, .guard = v->guard, .view = v
	};
	uint64_t end;

	if (add_overflows(gpa, v->size, &end))
		return -EINVAL;
	for (uint32_t i = 0; i < m->count; i++)
		if (overlaps(m->region[i].gpa, gpa, m->region[i].size, v->size))
			return -EEXIST;
	if (m->count == MEMORY_REGIONS_MAX)
		return -ENOSPC;
	insert(m, &region);
	return 0;
}

static void unmap(struct memory *m, const struct memory_region *r)
{
	if (r->view)
		return; /* its owner's */
	m->mapped -= r->map_len;
	guard_remove(r->guard);
	(void)munmap(r->map, r->map_len); /* our own mapping */
}

int memory_remove(struct memory *m, uint64_t gpa, uint64_t size, uint64_t uva)
{
	for (uint32_t i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->region[i];

		if (r->view || r->gpa != gpa || r->size != size || r->uva != uva)
			continue;
		unmap(m, r);
		m->count--;
		memmove(&m->region[i], &m->region[i + 1], (m->count - i) * sizeof(*m->region));
		return 0;
	}
	return -ENOENT;
}

void memory_clear(struct memory *m)
{
	for (uint32_t i = 0; i < m->count; i++)
		unmap(m, &m->region[i]);
	m->count = 0;
}

bool memory_lost(const struct memory *m)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (guard_hit(m->region[i].guard))
			return true;
	return false;
}

/* @off of @r, which is a window: as far as something is shown there. */
static uint8_t *view_at(const struct memory_region *r, uint64_t off, uint64_t len,
			uint64_t *ret_len)
{
	if (!atomic_load(&r->view->shown[off / VIEW_UNIT]))
		return NULL;
	*ret_len = MIN(len, VIEW_UNIT - off % VIEW_UNIT);
	return r->hva + off;
}

uint8_t *memory_at(const struct memory *m, uint64_t gpa, uint64_t len, uint64_t *ret_len)
{
	uint32_t low = 0, high = m->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct memory_region *r = &m->region[mid];

		if (gpa < r->gpa) {
			high = mid;
		} else if (gpa - r->gpa >= r->size) {
			low = mid + 1;
		} else if (unlikely(r->view)) {
			return view_at(r, gpa - r->gpa, len, ret_len);
		} else {
			*ret_len = MIN(len, r->size - (gpa - r->gpa));
			return r->hva + (gpa - r->gpa);
		}
	}
	return NULL;
}

uint64_t memory_gpa_of(const struct memory *m, const void *hva)
{
	const uint8_t *at = hva;

	for (uint32_t i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->region[i];

		if (at >= r->hva && (uint64_t)(at - r->hva) < r->size)
			return r->gpa + (uint64_t)(at - r->hva);
	}
	CHECK(false);
	return 0;
}

uint64_t memory_end(const struct memory *m)
{
	for (uint32_t i = m->count; i-- > 0;)
		if (!m->region[i].view)
			return m->region[i].gpa + m->region[i].size;
	return 0;
}

uint8_t *memory_at_user(const struct memory *m, uint64_t uva, uint64_t len)
{
	for (uint32_t i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->region[i];

		if (!r->view && uva >= r->uva && uva - r->uva < r->size &&
		    len <= r->size - (uva - r->uva))
			return r->hva + (uva - r->uva);
	}
	return NULL;
}
