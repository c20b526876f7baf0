/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Users and groups of a guest, and what they are in the image: a few ranges of numbers. What is in no range of the image's
 * is the guest's nobody; what is in no range of the guest's can own nothing.
 */
#ifndef KFS_PROTO_IDMAP_H
#define KFS_PROTO_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

#define IDMAP_RANGES_MAX 16
#define IDMAP_NONE UINT32_MAX /* no user's number: chown(2) takes it for "as it is" */
#define IDMAP_NOBODY 65534u

struct idmap {
	uint32_t count; /* 0: every number is itself */
	struct idmap_range {
		uint32_t guest, image, count;
	} range[IDMAP_RANGES_MAX];
};

/*
 * "map:GUEST:IMAGE:COUNT", several with "+" between them. -EINVAL: not that, a number too large, ranges that overlap on
 * either side; -E2BIG: too many.
 */
MUST_USE int idmap_parse(const char *text, struct idmap *ret_map);
/* IDMAP_NONE: there is none. */
uint32_t idmap_to_image(const struct idmap *m, uint32_t id);
/* IDMAP_NOBODY for what the guest has no number for. */
uint32_t idmap_to_guest(const struct idmap *m, uint32_t id);

/* The ids in the value of a POSIX ACL, as the kernel passes it (linux/posix_acl_xattr.h), in place. -EINVAL: an id without a number. */
MUST_USE int idmap_acl_to_image(const struct idmap *uids, const struct idmap *gids, void *value,
				size_t len);
void idmap_acl_to_guest(const struct idmap *uids, const struct idmap *gids, void *value,
			size_t len);

#endif
