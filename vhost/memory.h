/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest's memory, as far as its front end shares it: regions, and where in them an address
 * lies. gpa: the guest's physical address, in descriptors. uva: the front end's own address, in
 * which it names rings. hva: where it is mapped here.
 *
 * Every address and length is the guest's word: it is translated with its bounds or refused.
 * The table is changed with nobody using it; hva of a region are good until it is removed.
 *
 * A front end that makes its memory file shorter afterwards would kill us by SIGBUS. The range
 * is replaced by memory of nobody's then, and memory_lost() tells: see guard.h.
 */
#ifndef KFS_VHOST_MEMORY_H
#define KFS_VHOST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

/* What GET_MAX_MEM_SLOTS answers: a machine's memory slots, and what is mapped into a window. */
#define MEMORY_REGIONS_MAX 512
/* Address space of one guest: a sparse file is as large as one likes. 16 guests fit into 47 bits. */
#define MEMORY_BYTES_MAX (UINT64_C(6) << 40)

struct guard;
struct view;

struct memory_region {
	uint64_t gpa, size, uva;
	uint8_t *hva;
	void *map; /* the file from its beginning */
	size_t map_len;
	struct guard *guard;
	const struct view *view; /* NULL; or the region is this, and the above is the view's */
};

struct memory {
	uint32_t count;
	uint64_t mapped;				 /* bytes of address space */
	struct memory_region region[MEMORY_REGIONS_MAX]; /* ascending gpa, apart from each other */
};

/* The memory is bytes @offset.. of @fd, which stays the caller's. */
struct memory_share {
	uint64_t gpa, size, uva, offset;
	int fd;
	bool image; /* of the image, a piece of a window: pages of an ordinary size, or a device's */
};

/*
 * -EINVAL: empty, wraps around, or beyond the end of the file. -EEXIST: overlaps a region by
 * gpa or uva. -ENOSPC: too many, or too much. -EOPNOTSUPP: a file of a FUSE filesystem, whose
 * server could keep us waiting for a page, with locks held; it may be ourselves. Else what
 * mmap(2) says.
 */
MUST_USE int memory_add(struct memory *m, const struct memory_share *share);
/*
 * A guest's window, which outlives its being here: only what is shown of it is found, and no ring. -EEXIST: overlaps.
 * -ENOSPC, -EINVAL: as above.
 */
MUST_USE int memory_add_view(struct memory *m, uint64_t gpa, const struct view *v);
/* The region must be named exactly. -ENOENT. */
MUST_USE int memory_remove(struct memory *m, uint64_t gpa, uint64_t size, uint64_t uva);
void memory_clear(struct memory *m);
/* At least one region has been cut short by its front end. */
bool memory_lost(const struct memory *m);

/*
 * Where @gpa is, and how many of @len bytes from there are in one piece; NULL: nowhere. Beyond
 * the piece another region may follow.
 */
uint8_t *memory_at(const struct memory *m, uint64_t gpa, uint64_t len, uint64_t *ret_len);
/* The guest's address of what is at @hva, which memory_at() gave. */
uint64_t memory_gpa_of(const struct memory *m, const void *hva);
/* The first address behind all of it, but for a view. */
uint64_t memory_end(const struct memory *m);
/* Where @len bytes from @uva are, all in one region; else NULL. */
uint8_t *memory_at_user(const struct memory *m, uint64_t uva, uint64_t len);

#endif
