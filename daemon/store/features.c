// SPDX-License-Identifier: GPL-2.0-only
/*
 * Feature policy: which images are refused, which are only read, and how each
 * feature is called. Unknown incompat: refused by name. Unknown ro_compat: read-only,
 * and readonly_why says so. Compat features never stand in the way.
 */
#include "daemon/store/super.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct feature_name {
	uint32_t mask;
	const char *name;
};

static const struct feature_name compat_names[] = {
	{ EXT4_FEATURE_COMPAT_DIR_PREALLOC, "dir_prealloc" },
	{ EXT4_FEATURE_COMPAT_IMAGIC_INODES, "imagic_inodes" },
	{ EXT4_FEATURE_COMPAT_HAS_JOURNAL, "has_journal" },
	{ EXT4_FEATURE_COMPAT_EXT_ATTR, "ext_attr" },
	{ EXT4_FEATURE_COMPAT_RESIZE_INODE, "resize_inode" },
	{ EXT4_FEATURE_COMPAT_DIR_INDEX, "dir_index" },
	{ EXT4_FEATURE_COMPAT_LAZY_BG, "lazy_bg" },
	{ EXT4_FEATURE_COMPAT_EXCLUDE_INODE, "snapshot_bitmap_inode" },
	{ EXT4_FEATURE_COMPAT_EXCLUDE_BITMAP, "snapshot_bitmap" },
	{ EXT4_FEATURE_COMPAT_SPARSE_SUPER2, "sparse_super2" },
	{ EXT4_FEATURE_COMPAT_FAST_COMMIT, "fast_commit" },
	{ EXT4_FEATURE_COMPAT_STABLE_INODES, "stable_inodes" },
	{ EXT4_FEATURE_COMPAT_ORPHAN_FILE, "orphan_file" },
};

static const struct feature_name incompat_names[] = {
	{ EXT4_FEATURE_INCOMPAT_COMPRESSION, "compression" },
	{ EXT4_FEATURE_INCOMPAT_FILETYPE, "filetype" },
	{ EXT4_FEATURE_INCOMPAT_RECOVER, "needs_recovery" },
	{ EXT4_FEATURE_INCOMPAT_JOURNAL_DEV, "journal_dev" },
	{ EXT4_FEATURE_INCOMPAT_META_BG, "meta_bg" },
	{ EXT4_FEATURE_INCOMPAT_EXTENTS, "extent" },
	{ EXT4_FEATURE_INCOMPAT_64BIT, "64bit" },
	{ EXT4_FEATURE_INCOMPAT_MMP, "mmp" },
	{ EXT4_FEATURE_INCOMPAT_FLEX_BG, "flex_bg" },
	{ EXT4_FEATURE_INCOMPAT_EA_INODE, "ea_inode" },
	{ EXT4_FEATURE_INCOMPAT_DIRDATA, "dirdata" },
	{ EXT4_FEATURE_INCOMPAT_CSUM_SEED, "metadata_csum_seed" },
	{ EXT4_FEATURE_INCOMPAT_LARGEDIR, "large_dir" },
	{ EXT4_FEATURE_INCOMPAT_INLINE_DATA, "inline_data" },
	{ EXT4_FEATURE_INCOMPAT_ENCRYPT, "encrypt" },
	{ EXT4_FEATURE_INCOMPAT_CASEFOLD, "casefold" },
};

static const struct feature_name ro_compat_names[] = {
	{ EXT4_FEATURE_RO_COMPAT_SPARSE_SUPER, "sparse_super" },
	{ EXT4_FEATURE_RO_COMPAT_LARGE_FILE, "large_file" },
	{ EXT4_FEATURE_RO_COMPAT_BTREE_DIR, "btree_dir" },
	{ EXT4_FEATURE_RO_COMPAT_HUGE_FILE, "huge_file" },
	{ EXT4_FEATURE_RO_COMPAT_GDT_CSUM, "uninit_bg" },
	{ EXT4_FEATURE_RO_COMPAT_DIR_NLINK, "dir_nlink" },
	{ EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE, "extra_isize" },
	{ EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "snapshot" },
	{ EXT4_FEATURE_RO_COMPAT_QUOTA, "quota" },
	{ EXT4_FEATURE_RO_COMPAT_BIGALLOC, "bigalloc" },
	{ EXT4_FEATURE_RO_COMPAT_METADATA_CSUM, "metadata_csum" },
	{ EXT4_FEATURE_RO_COMPAT_REPLICA, "replica" },
	{ EXT4_FEATURE_RO_COMPAT_READONLY, "read-only" },
	{ EXT4_FEATURE_RO_COMPAT_PROJECT, "project" },
	{ EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "shared_blocks" },
	{ EXT4_FEATURE_RO_COMPAT_VERITY, "verity" },
	{ EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT, "orphan_present" },
};

#define INCOMPAT_READ                                                                              \
	(EXT4_FEATURE_INCOMPAT_FILETYPE | EXT4_FEATURE_INCOMPAT_RECOVER |                          \
	 EXT4_FEATURE_INCOMPAT_META_BG | EXT4_FEATURE_INCOMPAT_EXTENTS |                           \
	 EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_MMP | EXT4_FEATURE_INCOMPAT_FLEX_BG | \
	 EXT4_FEATURE_INCOMPAT_EA_INODE | EXT4_FEATURE_INCOMPAT_CSUM_SEED |                        \
	 EXT4_FEATURE_INCOMPAT_LARGEDIR | EXT4_FEATURE_INCOMPAT_INLINE_DATA |                      \
	 EXT4_FEATURE_INCOMPAT_ENCRYPT | EXT4_FEATURE_INCOMPAT_CASEFOLD)

#define RO_COMPAT_WRITE                                                                            \
	(EXT4_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT4_FEATURE_RO_COMPAT_LARGE_FILE |                 \
	 EXT4_FEATURE_RO_COMPAT_BTREE_DIR | EXT4_FEATURE_RO_COMPAT_HUGE_FILE |                     \
	 EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |                      \
	 EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM |               \
	 EXT4_FEATURE_RO_COMPAT_PROJECT | EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)

/* Why an image with this feature is read but not written; the first that applies is said. */
static const struct feature_name ro_reasons[] = {
	{ EXT4_FEATURE_RO_COMPAT_READONLY, "the filesystem is marked read-only for ever" },
	{ EXT4_FEATURE_RO_COMPAT_BIGALLOC, "feature bigalloc is read but not written" },
	{ EXT4_FEATURE_RO_COMPAT_QUOTA, "feature quota is not written: usage would become wrong" },
	{ EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "feature shared_blocks is read but not written" },
	{ EXT4_FEATURE_RO_COMPAT_VERITY, "feature verity is read but not written" },
	{ EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "feature snapshot is read but not written" },
	{ EXT4_FEATURE_RO_COMPAT_REPLICA, "feature replica is read but not written" },
	{ UINT32_MAX, "the filesystem has a read-only compatible feature unknown to us" },
};

static size_t names_append(const struct feature_name *names, size_t count, uint32_t bits, char *buf,
			   size_t len, size_t at, const char *unknown)
{
	uint32_t bit;

	for (bit = 1; bit && at + 1 < len; bit <<= 1) {
		const char *name = NULL;
		size_t i;
		int n;

		if (!(bits & bit))
			continue;
		for (i = 0; i < count; i++) {
			if (names[i].mask == bit)
				name = names[i].name;
		}
		if (name)
			n = snprintf(buf + at, len - at, "%s%s", at ? "," : "", name);
		else
			n = snprintf(buf + at, len - at, "%s%s_0x%" PRIx32, at ? "," : "", unknown,
				     bit);
		at += (size_t)n;
	}
	return MIN(at, len - 1);
}

void store_feature_names(uint32_t compat, uint32_t incompat, uint32_t ro_compat, char *buf,
			 size_t len)
{
	size_t at;

	buf[0] = '\0';
	at = names_append(compat_names, ARRAY_SIZE(compat_names), compat, buf, len, 0, "compat");
	at = names_append(incompat_names, ARRAY_SIZE(incompat_names), incompat, buf, len, at,
			  "incompat");
	(void)names_append(ro_compat_names, ARRAY_SIZE(ro_compat_names), ro_compat, buf, len, at,
			   "ro_compat"); /* the end of the text is of no interest */
}

static int check_refused(struct store *s, struct store_open_error *err)
{
	char names[160];
	uint32_t unread = s->feature_incompat & ~(uint32_t)INCOMPAT_READ;

	if (unread & EXT4_FEATURE_INCOMPAT_JOURNAL_DEV)
		return store_open_fail(err, -EOPNOTSUPP,
				       "mount the filesystem that uses this journal",
				       "this is an external journal (feature journal_dev), "
				       "not a filesystem");
	if (unread) {
		store_feature_names(0, unread, 0, names, sizeof(names));
		return store_open_fail(err, -EOPNOTSUPP, "mount it with the system that made it",
				       "feature %s is not supported", names);
	}
	/* Reference counts of EA inodes lie where the Hurd keeps a translator. */
	if (s->is_hurd && store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EA_INODE))
		return store_open_fail(err, -EOPNOTSUPP, "run e2fsck -f IMAGE",
				       "feature ea_inode is not supported on a filesystem made "
				       "by the Hurd");
	if (!store_has_compat(s, EXT4_FEATURE_COMPAT_HAS_JOURNAL)) {
		if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_RECOVER))
			return store_open_fail(
				err, -EUCLEAN, "run e2fsck -f IMAGE",
				"superblock: needs_recovery is set without a journal");
		return 0;
	}
	if (s->journal_ino == 0)
		return store_open_fail(err, -EOPNOTSUPP,
				       "move the journal inside: tune2fs -O ^has_journal, "
				       "then tune2fs -j",
				       "the journal is on another device (external journal)");
	return 0;
}

int features_check(struct store *s, struct store_open_error *err)
{
	uint32_t unwritten = s->feature_ro_compat & ~(uint32_t)RO_COMPAT_WRITE;
	const char *why = NULL;
	size_t i;
	int ret;

	ret = check_refused(s, err);
	if (ret)
		return ret;
	if (s->opts.norecovery)
		why = "option norecovery";
	else if (s->opts.readonly)
		why = "option ro";
	else if (s->bdev->readonly)
		why = "the medium is read-only";
	else if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_ENCRYPT))
		why = "feature encrypt is read but not written";
	else if (store_has_incompat(s, EXT4_FEATURE_INCOMPAT_CASEFOLD))
		why = "feature casefold is read but not written";
	for (i = 0; !why && i < ARRAY_SIZE(ro_reasons); i++) {
		if (unwritten & ro_reasons[i].mask)
			why = ro_reasons[i].name;
	}
	if (!why)
		return 0;
	s->readonly_why = why;
	atomic_store(&s->readonly, true);
	return 0;
}
