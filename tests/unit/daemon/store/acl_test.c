// SPDX-License-Identifier: GPL-2.0-only
/* ACLs: their three forms, inheritance as the kernel's posix_acl_create(), chmod, bad data. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/store/alloc.h"
#include "daemon/store/dir.h"
#include "daemon/store/xattr_impl.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/img.h"

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

enum {
	UO = EXT4_ACL_USER_OBJ,
	U = EXT4_ACL_USER,
	GO = EXT4_ACL_GROUP_OBJ,
	G = EXT4_ACL_GROUP,
	M = EXT4_ACL_MASK,
	O = EXT4_ACL_OTHER,
	END = 0xffff
};

struct fix {
	struct img m;
	struct inode *root, *dir, *file;
};

static void fix_start(struct fix *f)
{
	img_make(&f->m, "-b 1024 -I 256", "8M");
	img_open(&f->m);
	f->root = img_root(&f->m);
	f->dir = img_create(&f->m, f->root, "d", 040755);
	f->file = img_create(&f->m, f->root, "f", 0100640);
}

static void fix_end(struct fix *f)
{
	img_put(f->file);
	img_put(f->dir);
	img_put(f->root);
	img_close(&f->m);
	img_fsck(&f->m);
}

/* Triples tag, perm, id up to END, in the system call's form. */
static size_t wire(uint8_t *buf, const uint32_t *triples)
{
	size_t len = 4;

	memcpy(buf, "\2\0\0\0", 4);
	for (; *triples != END; triples += 3) {
		uint16_t tag = (uint16_t)triples[0], perm = (uint16_t)triples[1];

		memcpy(buf + len, &tag, 2);
		memcpy(buf + len + 2, &perm, 2);
		memcpy(buf + len + 4, &triples[2], 4);
		len += 8;
	}
	return len;
}

static int set_wire(struct fix *f, struct inode *i, bool is_default, const void *value, size_t len,
		    uint16_t *mode)
{
	struct handle h;
	int err;

	img_start(&f->m, &h);
	err = acl_set_wire(&h, i, is_default, value, len, mode);
	CHECK_OK(inode_write(&h, i));
	img_stop(&h);
	return err;
}

static const uint32_t full[] = { UO,	7,	    UINT32_MAX, U,	    6,		1000, U, 0,
				 70000, GO,	    5,		UINT32_MAX, G,		4,    5, M,
				 6,	UINT32_MAX, O,		1,	    UINT32_MAX, END };
static const uint32_t plain[] = { UO, 6, UINT32_MAX, GO, 4, UINT32_MAX, O, 0, UINT32_MAX, END };

TEST(test_acl__comes_back_as_given)
{
	uint8_t in[256], out[256];
	uint16_t mode = 0;
	struct fix f;
	size_t len = wire(in, full);

	fix_start(&f);
	CHECK_EQ(set_wire(&f, f.file, false, in, len, &mode), 0);
	CHECK_EQ(mode, 0100000 | 0761); /* group bits are the mask's */
	CHECK_EQ(xattr_get(f.file, ACCESS, out, sizeof(out)), len);
	CHECK_MEM_EQ(out, in, len);
	CHECK_EQ(xattr_get(f.file, ACCESS, NULL, 0), len);
	CHECK_EQ(xattr_get(f.file, ACCESS, out, len - 1), -ERANGE);
	CHECK_EQ(xattr_list(f.file, (char *)out, sizeof(out)), sizeof(ACCESS));
	CHECK_STR_EQ((char *)out, ACCESS);
	f.file->mode = mode;
	fix_end(&f);
}

TEST(test_acl__equal_to_mode_is_not_stored)
{
	uint8_t in[256];
	uint16_t mode = 0;
	struct fix f;

	fix_start(&f);
	CHECK_EQ(set_wire(&f, f.file, false, in, wire(in, full), &mode), 0);
	CHECK_EQ(set_wire(&f, f.file, false, in, wire(in, plain), &mode), 0);
	CHECK_EQ(mode, 0100640);
	CHECK_EQ(xattr_get(f.file, ACCESS, NULL, 0), -ENODATA);
	/* A default ACL is stored whatever it says. */
	CHECK_EQ(set_wire(&f, f.dir, true, in, wire(in, plain), &mode), 0);
	CHECK_EQ(mode, 040755);
	CHECK_EQ(xattr_get(f.dir, DEFAULT, NULL, 0), 4 + 3 * 8);
	/* An empty one removes. */
	CHECK_EQ(set_wire(&f, f.dir, true, in, 4, &mode), 0);
	CHECK_EQ(xattr_get(f.dir, DEFAULT, NULL, 0), -ENODATA);
	fix_end(&f);
}

TEST(test_acl__bad_ones_are_refused)
{
	static const uint32_t bad[][30] = {
		{ UO, 7, 0, GO, 5, 0, END },					 /* no other */
		{ UO, 7, 0, UO, 7, 0, GO, 5, 0, O, 0, 0, END },			 /* twice */
		{ GO, 7, 0, UO, 5, 0, O, 0, 0, END },				 /* order */
		{ UO, 7, 0, U, 5, 1, GO, 5, 0, O, 0, 0, END },			 /* no mask */
		{ UO, 7, 0, U, 5, UINT32_MAX, GO, 5, 0, M, 7, 0, O, 0, 0, END }, /* no id */
		{ UO, 8, 0, GO, 5, 0, O, 0, 0, END },				 /* perm */
		{ UO, 7, 0, GO, 5, 0, 0x40, 5, 0, O, 0, 0, END },		 /* tag */
		{ UO, 7, 0, GO, 5, 0, O, 0, 0, M, 7, 0, END },			 /* after other */
		{ UO, 7, 0, G, 5, 1, GO, 5, 0, M, 7, 0, O, 0, 0, END },		 /* group first */
		{ UO, 7, 0, GO, 5, 0, U, 5, 1, M, 7, 0, O, 0, 0, END },		 /* user late */
		{ UO, 7, 0, GO, 5, 0, G, 5, UINT32_MAX, M, 7, 0, O, 0, 0, END }, /* no id */
		{ UO, 7, 0, GO, 5, 0, M, 7, 0, G, 5, 1, O, 0, 0, END },		 /* group late */
		{ UO, 7, 0, GO, 5, 0, M, 7, 0, M, 7, 0, O, 0, 0, END },		 /* masks */
		{ UO, 7, 0, GO, 5, 0, O, 0, 0, O, 0, 0, END },			 /* others */
		{ UO, 7, 0, O, 0, 0, END },					 /* no group */
	};
	uint8_t in[256];
	uint16_t mode;
	struct fix f;

	fix_start(&f);
	for (size_t k = 0; k < ARRAY_SIZE(bad); k++)
		CHECK_EQ(set_wire(&f, f.file, false, in, wire(in, bad[k]), &mode), -EINVAL);
	CHECK_EQ(set_wire(&f, f.file, false, in, 3, &mode), -EINVAL);
	CHECK_EQ(set_wire(&f, f.file, false, in, wire(in, full) - 1, &mode), -EINVAL);
	in[0] = 1;
	CHECK_EQ(set_wire(&f, f.file, false, in, 28, &mode), -EOPNOTSUPP);
	CHECK_EQ(set_wire(&f, f.file, true, in, wire(in, full), &mode), -EACCES);
	CHECK_EQ(xattr_get(f.file, ACCESS, NULL, 0), -ENODATA);
	fix_end(&f);
}

static void inherit(struct fix *f, uint16_t mode, uint16_t umask, uint16_t want_mode,
		    uint32_t want_access, uint32_t want_default)
{
	struct acl *access, *def;

	CHECK_OK(acl_inherit(f->dir, &mode, umask, &access, &def));
	CHECK_EQ(mode, want_mode);
	CHECK_EQ(access ? access->count : 0, want_access);
	CHECK_EQ(def ? def->count : 0, want_default);
	free(access);
	free(def);
}

TEST(test_acl__inherited_as_linux_does)
{
	uint8_t in[256];
	uint16_t mode;
	struct acl *access, *def;
	struct fix f;

	fix_start(&f);
	inherit(&f, 0100666, 022, 0100644, 0, 0);
	inherit(&f, 0120777, 022, 0120777, 0, 0);
	inherit(&f, 042777, 027, 042750, 0, 0);
	/* Only bits: limits the mode, leaves no access ACL; directories pass it on. */
	CHECK_EQ(set_wire(&f, f.dir, true, in, wire(in, plain), &mode), 0);
	inherit(&f, 0100666, 077, 0100640, 0, 0);
	inherit(&f, 0100444, 077, 0100440, 0, 0);
	inherit(&f, 040777, 077, 040640, 0, 3);
	inherit(&f, 0120777, 077, 0120777, 0, 0);
	/* Named entries and a mask: the mask is limited, the group entry is not. */
	CHECK_EQ(set_wire(&f, f.dir, true, in, wire(in, full), &mode), 0);
	inherit(&f, 0100666, 077, 0100660, 7, 0);
	inherit(&f, 040755, 0, 040741, 7, 7);
	mode = 0100604;
	CHECK_OK(acl_inherit(f.dir, &mode, 0, &access, &def));
	CHECK_EQ(mode, 0100600);
	CHECK_EQ(access->e[0].perm, 6);
	CHECK_EQ(access->e[3].tag, GO);
	CHECK_EQ(access->e[3].perm, 5);
	CHECK_EQ(access->e[5].tag, M);
	CHECK_EQ(access->e[5].perm, 0);
	CHECK_EQ(access->e[6].perm, 0);
	free(access);
	CHECK_PTR_EQ(def, NULL);
	fix_end(&f);
}

TEST(test_acl__chmod_changes_mask_not_group)
{
	uint8_t in[256];
	uint16_t mode;
	struct acl *acl;
	struct handle h;
	struct fix f;

	fix_start(&f);
	img_start(&f.m, &h);
	CHECK_OK(acl_chmod(&h, f.file, 0600)); /* none: nothing to do */
	img_stop(&h);
	CHECK_EQ(set_wire(&f, f.file, false, in, wire(in, full), &mode), 0);
	img_start(&f.m, &h);
	CHECK_OK(acl_chmod(&h, f.file, 0100524));
	CHECK_OK(inode_write(&h, f.file));
	img_stop(&h);
	CHECK_OK(acl_get(f.file, false, &acl));
	CHECK_EQ(acl->count, 7);
	CHECK_EQ(acl->e[0].perm, 5);
	CHECK_EQ(acl->e[1].perm, 6);
	CHECK_EQ(acl->e[1].id, 1000);
	CHECK_EQ(acl->e[2].id, 70000);
	CHECK_EQ(acl->e[3].perm, 5);
	CHECK_EQ(acl->e[5].perm, 2);
	CHECK_EQ(acl->e[6].perm, 4);
	free(acl);
	fix_end(&f);
}

TEST(test_acl__set_through_xattr_folds_the_mode)
{
	uint8_t in[256];
	struct xattr_set x = { .name = ACCESS, .value = in, .len = wire(in, plain) };
	struct handle h;
	struct fix f;

	fix_start(&f);
	f.file->mode = 0104777;
	img_start(&f.m, &h);
	CHECK_OK(xattr_set(&h, f.file, &x));
	CHECK_EQ(f.file->mode, 0104640);
	x.value = NULL;
	CHECK_OK(xattr_set(&h, f.file, &x));
	CHECK_OK(inode_write(&h, f.file));
	img_stop(&h);
	fix_end(&f);
}

/* Words of the disk's form: version, then tag and permissions, then an id where the tag has one. */
TEST(test_acl__impossible_ones_on_disk_are_corruption)
{
#define DISK(tag, perm) (uint32_t)(tag) | (uint32_t)(perm) << 16
	static const struct {
		uint32_t words[12];
		size_t len;
		int want;
	} cases[] = {
		{ { EXT4_ACL_VERSION, DISK(UO, 7), DISK(GO, 5), DISK(O, 1) }, 16, 0 },
		{ { EXT4_ACL_VERSION, DISK(UO, 7), DISK(U, 6), 1000, DISK(GO, 5), DISK(M, 7),
		    DISK(O, 1) },
		  28,
		  0 },
		{ { EXT4_ACL_VERSION }, 4, 0 },
		{ { EXT4_ACL_VERSION }, 3, -EUCLEAN },
		{ { EXT4_ACL_VERSION + 1, DISK(UO, 7), DISK(GO, 5), DISK(O, 1) }, 16, -EUCLEAN },
		{ { EXT4_ACL_VERSION, DISK(UO, 7), DISK(GO, 5), DISK(O, 1) }, 15, -EUCLEAN },
		{ { EXT4_ACL_VERSION, DISK(UO, 7), DISK(U, 6) }, 12, -EUCLEAN }, /* without its id */
		{ { EXT4_ACL_VERSION, DISK(UO, 7), DISK(GO, 5) }, 12, -EUCLEAN },
		{ { EXT4_ACL_VERSION, DISK(GO, 7), DISK(UO, 5), DISK(O, 1) }, 16, -EUCLEAN },
		{ { EXT4_ACL_VERSION, DISK(UO, 8), DISK(GO, 5), DISK(O, 1) }, 16, -EUCLEAN },
		{ { EXT4_ACL_VERSION, DISK(3, 7), DISK(GO, 5), DISK(O, 1) }, 16, -EUCLEAN },
		{ { EXT4_ACL_VERSION, DISK(UO, 7), DISK(U, 6), 1000, DISK(GO, 5), DISK(O, 1) },
		  24,
		  -EUCLEAN }, /* named entries want a mask */
	};
#undef DISK
	struct fix f;

	fix_start(&f);
	for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
		struct xattr_set_raw x = {
			.key = { .index = EXT4_XATTR_INDEX_POSIX_ACL_ACCESS, .name = "" },
			.value = cases[k].words,
			.len = cases[k].len,
		};
		struct acl *acl;
		struct handle h;

		img_start(&f.m, &h);
		CHECK_OK(xattr_set_raw(&h, f.file, &x));
		CHECK_OK(inode_write(&h, f.file));
		img_stop(&h);
		CHECK_EQ(acl_get(f.file, false, &acl), cases[k].want);
		CHECK(!cases[k].want || !acl);
		free(acl);
	}
	CHECK_EQ(atomic_exchange(&f.m.s->corruptions, 0),
		 9); /* each was reported; here on purpose */
	img_put(f.file);
	img_put(f.dir);
	img_put(f.root);
	img_close(&f.m);
}

TEST(test_acl__sizes_are_bounded)
{
	static uint8_t in[1 << 16];
	uint16_t mode;
	struct fix f;

	fix_start(&f);
	memcpy(in, "\2\0\0\0", 4);
	CHECK_EQ(set_wire(&f, f.file, false, in, sizeof(in), &mode), -E2BIG);
	CHECK_EQ(set_wire(&f, f.file, false, in, 3, &mode), -EINVAL);
	CHECK_EQ(set_wire(&f, f.file, false, in, 5, &mode), -EINVAL);
	CHECK_EQ(set_wire(&f, f.file, false, in, 0, &mode), 0);
	CHECK_EQ(set_wire(&f, f.file, false, NULL, 0, &mode), 0);
	in[0] = 3;
	CHECK_EQ(set_wire(&f, f.file, false, in, 4, &mode), -EOPNOTSUPP);
	fix_end(&f);
}

static void set_raw(struct fix *f, const void *value, size_t len, int want)
{
	struct xattr_set_raw x = {
		.key = { .index = EXT4_XATTR_INDEX_POSIX_ACL_ACCESS, .name = "" },
		.value = value,
		.len = len,
	};
	struct handle h;

	CHECK_OK(journal_start(f->m.s->journal, xattr_credits(f->m.s, len), &h));
	CHECK_ERR(xattr_set_raw(&h, f->file, &x), want);
	CHECK_OK(inode_write(&h, f->file));
	img_stop(&h);
}

/* Values in inodes of their own can be larger than any ACL. */
TEST(test_acl__more_entries_than_linux_takes_are_corruption)
{
	static uint32_t words[3000] = { EXT4_ACL_VERSION };
	struct acl *acl;
	struct fix f;

	for (uint32_t k = 1; k < ARRAY_SIZE(words); k++)
		words[k] = (uint32_t)UO | 7u << 16;
	img_make(&f.m, "-b 1024 -I 256 -O ea_inode", "8M");
	img_open(&f.m);
	f.root = img_root(&f.m);
	f.dir = img_create(&f.m, f.root, "d", 040755);
	f.file = img_create(&f.m, f.root, "f", 0100640);
	set_raw(&f, words, 4 + 4 * 2000, 0); /* as long as 1000 entries with ids */
	CHECK_ERR(acl_get(f.file, false, &acl), -EUCLEAN);
	CHECK_PTR_EQ(acl, NULL);
	set_raw(&f, words, 4 + 4 * 2999, 0); /* longer than the longest */
	CHECK_ERR(acl_get(f.file, false, &acl), -EUCLEAN);
	CHECK_PTR_EQ(acl, NULL);
	CHECK_EQ(atomic_exchange(&f.m.s->corruptions, 0), 2);
	fix_end(&f);
}

/* Others may store what the mode says as well; there is no mask then, and chmod means the group. */
TEST(test_acl__chmod_without_a_mask_changes_the_group)
{
	static const uint32_t words[] = { EXT4_ACL_VERSION, (uint32_t)UO | 7u << 16,
					  (uint32_t)GO | 5u << 16, (uint32_t)O | 1u << 16 };
	struct acl *acl;
	struct handle h;
	struct fix f;

	fix_start(&f);
	set_raw(&f, words, sizeof(words), 0);
	img_start(&f.m, &h);
	CHECK_OK(acl_chmod(&h, f.file, 0100624));
	CHECK_OK(inode_write(&h, f.file));
	img_stop(&h);
	CHECK_OK(acl_get(f.file, false, &acl));
	CHECK_EQ(acl->count, 3);
	CHECK_EQ(acl->e[0].perm, 6);
	CHECK_EQ(acl->e[1].perm, 2);
	CHECK_EQ(acl->e[2].perm, 4);
	free(acl);
	fix_end(&f);
}

/* Where ACLs do not exist they are neither read nor made. */
TEST(test_acl__none_on_symlinks_and_where_switched_off)
{
	uint8_t in[256];
	size_t len = wire(in, full);
	struct inode *link;
	struct handle h;
	uint16_t mode = 1;
	struct acl *acl;
	struct fix f;

	fix_start(&f);
	link = img_create(&f.m, f.root, "l", 0120777);
	CHECK_EQ(set_wire(&f, link, false, in, len, &mode), -EOPNOTSUPP);
	img_start(&f.m, &h);
	CHECK_ERR(acl_set(&h, link, false, NULL), -EOPNOTSUPP);
	CHECK_OK(acl_chmod(&h, link, 0120700));
	img_stop(&h);
	CHECK_EQ(xattr_get(link, ACCESS, NULL, 0), -ENODATA);
	CHECK_EQ(set_wire(&f, f.file, false, in, len, &mode), 0);
	f.m.s->opts.noacl = true;
	CHECK_OK(acl_get(f.file, false, &acl));
	CHECK_PTR_EQ(acl, NULL);
	mode = 1;
	CHECK_EQ(set_wire(&f, f.file, false, in, len, &mode), -EOPNOTSUPP);
	CHECK_EQ(mode, 1);
	img_start(&f.m, &h);
	CHECK_OK(acl_chmod(&h, f.file, 0100600)); /* and what is there stays as it is */
	img_stop(&h);
	f.m.s->opts.noacl = false;
	CHECK_OK(acl_get(f.file, false, &acl));
	CHECK_EQ(acl->e[0].perm, 7);
	free(acl);
	img_start(&f.m, &h);
	CHECK_OK(inode_write_data(&h, link));
	CHECK_OK(dir_remove(&h, f.root, &(struct dir_name){ "l", 1 }));
	CHECK_OK(inode_write_data(&h, f.root));
	link->links = 0;
	CHECK_OK(orphan_add(&h, link));
	CHECK_OK(inode_write(&h, link));
	img_stop(&h);
	CHECK_OK(inode_delete(link)); /* it has no target */
	fix_end(&f);
}
