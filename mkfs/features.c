/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Feature names. One table, in the order dumpe2fs prints; an entry without a reason to refuse
 * is one that mkfs.kfs can write in full.
 */
#include "mkfs/features.h"

#include "mkfs/say.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum word { WORD_COMPAT, WORD_INCOMPAT, WORD_RO };

struct feature_name {
	const char *name;
	const char *refused; /* NULL: can be written */
	uint32_t mask;
	enum word word;
};

static const char not_ours[] = "kfs would mount such a filesystem read-only";
static const char not_made[] = "it is not something a new filesystem can have";

#define COMPAT(m, n, r)                                                                            \
	{                                                                                          \
		n, r, EXT4_FEATURE_COMPAT_##m, WORD_COMPAT                                         \
	}
#define INCOMPAT(m, n, r)                                                                          \
	{                                                                                          \
		n, r, EXT4_FEATURE_INCOMPAT_##m, WORD_INCOMPAT                                     \
	}
#define RO(m, n, r)                                                                                \
	{                                                                                          \
		n, r, EXT4_FEATURE_RO_COMPAT_##m, WORD_RO                                          \
	}

static const struct feature_name names[] = {
	COMPAT(DIR_PREALLOC, "dir_prealloc", not_made),
	COMPAT(HAS_JOURNAL, "has_journal", NULL),
	COMPAT(IMAGIC_INODES, "imagic_inodes", not_made),
	COMPAT(EXT_ATTR, "ext_attr", NULL),
	COMPAT(RESIZE_INODE, "resize_inode", NULL),
	COMPAT(DIR_INDEX, "dir_index", NULL),
	COMPAT(LAZY_BG, "lazy_bg", not_made),
	COMPAT(EXCLUDE_BITMAP, "snapshot_bitmap", not_made),
	COMPAT(SPARSE_SUPER2, "sparse_super2", NULL),
	COMPAT(FAST_COMMIT, "fast_commit", "kfs writes no fast commits"),
	COMPAT(STABLE_INODES, "stable_inodes", not_ours),
	COMPAT(ORPHAN_FILE, "orphan_file", NULL),
	INCOMPAT(COMPRESSION, "compression", not_made),
	INCOMPAT(FILETYPE, "filetype", NULL),
	INCOMPAT(RECOVER, "needs_recovery", not_made),
	INCOMPAT(JOURNAL_DEV, "journal_dev", "kfs keeps the journal in the image"),
	INCOMPAT(META_BG, "meta_bg", NULL),
	INCOMPAT(EXTENTS, "extent", NULL),
	INCOMPAT(EXTENTS, "extents", NULL),
	INCOMPAT(64BIT, "64bit", NULL),
	INCOMPAT(MMP, "mmp", NULL),
	INCOMPAT(FLEX_BG, "flex_bg", NULL),
	INCOMPAT(EA_INODE, "ea_inode", NULL),
	INCOMPAT(DIRDATA, "dirdata", not_made),
	INCOMPAT(CSUM_SEED, "metadata_csum_seed", NULL),
	INCOMPAT(LARGEDIR, "large_dir", NULL),
	INCOMPAT(INLINE_DATA, "inline_data", NULL),
	INCOMPAT(ENCRYPT, "encrypt", not_ours),
	INCOMPAT(CASEFOLD, "casefold", not_ours),
	RO(SPARSE_SUPER, "sparse_super", NULL),
	RO(LARGE_FILE, "large_file", NULL),
	RO(HUGE_FILE, "huge_file", NULL),
	RO(GDT_CSUM, "uninit_bg", NULL),
	RO(GDT_CSUM, "uninit_groups", NULL),
	RO(DIR_NLINK, "dir_nlink", NULL),
	RO(EXTRA_ISIZE, "extra_isize", NULL),
	RO(QUOTA, "quota", not_ours),
	RO(BIGALLOC, "bigalloc", not_ours),
	RO(METADATA_CSUM, "metadata_csum", NULL),
	RO(REPLICA, "replica", not_made),
	RO(READONLY, "read-only", not_ours),
	RO(PROJECT, "project", not_ours),
	RO(SHARED_BLOCKS, "shared_blocks", not_made),
	RO(VERITY, "verity", not_ours),
	RO(ORPHAN_PRESENT, "orphan_present", not_made),
};

static uint32_t *word_of(struct features *f, enum word word)
{
	switch (word) {
	case WORD_COMPAT: return &f->compat;
	case WORD_INCOMPAT: return &f->incompat;
	case WORD_RO: break;
	}
	return &f->ro_compat;
}

static const struct feature_name *feature_find(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i].name) == len && !memcmp(names[i].name, name, len))
			return &names[i];
	return NULL;
}

static int feature_apply(struct features *f, const char *name, size_t len)
{
	bool clear = len && (*name == '^' || *name == '-');
	const struct feature_name *n;

	if (clear) {
		name++;
		len--;
	}
	if (len == 4 && !memcmp(name, "none", 4)) {
		*f = (struct features){ 0 };
		return 0;
	}
	n = feature_find(name, len);
	if (!n)
		return refuse("-O %.*s: no such feature", (int)len, name);
	if (clear) {
		*word_of(f, n->word) &= ~n->mask;
		return 0;
	}
	if (n->refused)
		return refuse("-O %s: this feature cannot be written: %s", n->name, n->refused);
	*word_of(f, n->word) |= n->mask;
	return 0;
}

int features_edit(struct features *f, const char *list)
{
	while (*list) {
		size_t len = strcspn(list, ", ");
		int r = len ? feature_apply(f, list, len) : 0;

		if (r < 0)
			return r;
		list += len;
		list += strspn(list, ", ");
	}
	return 0;
}

int features_of_type(const char *fs_type, struct features *ret_features)
{
	static const char ext2[] = "sparse_super,large_file,filetype,resize_inode,dir_index,"
				   "ext_attr";
	static const char ext4[] = "extent,huge_file,flex_bg,metadata_csum,metadata_csum_seed,"
				   "64bit,dir_nlink,extra_isize,orphan_file";
	struct features f = { 0 };
	int r = features_edit(&f, ext2);

	if (r < 0)
		return r;
	if (!strcmp(fs_type, "ext3") || !strcmp(fs_type, "ext4"))
		f.compat |= EXT4_FEATURE_COMPAT_HAS_JOURNAL;
	else if (strcmp(fs_type, "ext2") != 0)
		return refuse("-t %s: not a filesystem type that can be made; ext2, ext3 and "
			      "ext4 are",
			      fs_type);
	if (!strcmp(fs_type, "ext4"))
		r = features_edit(&f, ext4);
	*ret_features = f;
	return r;
}

void features_print(const struct features *f, char *buf, size_t size)
{
	struct features left = *f;
	size_t used = 0;

	if (size)
		buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		uint32_t *word = word_of(&left, names[i].word);
		int n;

		if (!(*word & names[i].mask))
			continue;
		*word &= ~names[i].mask; /* an alias of it is not printed again */
		n = snprintf(buf + used, size - used, "%s%s", used ? " " : "", names[i].name);
		if (n < 0 || (size_t)n >= size - used)
			return;
		used += (size_t)n;
	}
}
