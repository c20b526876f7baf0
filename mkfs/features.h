/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The three feature words of a superblock, and their names as -O takes and dumpe2fs prints
 * them. Names that ext4 knows and mkfs.kfs does not write are refused by name, with a reason.
 */
#ifndef KFS_MKFS_FEATURES_H
#define KFS_MKFS_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "include/kfs/ext4_format.h"

struct features {
	uint32_t compat;
	uint32_t incompat;
	uint32_t ro_compat;
};

/* What mke2fs makes for these -t words. -EINVAL, said on stderr: another word. */
MUST_USE int features_of_type(const char *fs_type, struct features *ret_features);

/*
 * Apply a comma-separated list: NAME sets, ^NAME clears, "none" clears all. -EINVAL, said on
 * stderr: an unknown name, or one that cannot be written (clearing it is fine).
 */
MUST_USE int features_edit(struct features *f, const char *list);

/* "has_journal ext_attr ..." in @buf, cut to its size. */
void features_print(const struct features *f, char *buf, size_t size);

static inline bool feature_compat(const struct features *f, uint32_t mask)
{
	return f->compat & mask;
}

static inline bool feature_incompat(const struct features *f, uint32_t mask)
{
	return f->incompat & mask;
}

static inline bool feature_ro(const struct features *f, uint32_t mask)
{
	return f->ro_compat & mask;
}

/* Descriptors carry a checksum, so groups may be left uninitialised. */
static inline bool features_desc_csum(const struct features *f)
{
	return f->ro_compat &
	       (EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM);
}

static inline bool features_csum(const struct features *f)
{
	return f->ro_compat & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
}

#endif
