// SPDX-License-Identifier: GPL-2.0-only
/* Inline data as an attribute in the inode: sizes that do not fit, and attribute blocks that cannot be. */
#include <errno.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/store/xattr_ibody.h"
#include "daemon/store/xattr_impl.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/img.h"

TEST(test_xattr_ibody__data_has_to_fit)
{
	uint8_t data[400] = { 1, 2, 3 }, got[400];
	struct inode *root, *i;
	struct handle h;
	struct img m;

	img_make(&m, "-b 1024 -I 256 -O inline_data", "8M");
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "f", 0100644);
	img_start(&m, &h);
	CHECK_OK(xattr_ibody_data_set(&h, i, data, 20));
	CHECK_EQ(xattr_ibody_data_get(i, got, sizeof(got)), 20);
	CHECK_MEM_EQ(got, data, 20);
	CHECK_EQ(xattr_ibody_data_get(i, got, 10), -ERANGE);
	CHECK_EQ(xattr_ibody_data_get(i, NULL, 0), 20);
	CHECK_ERR(xattr_ibody_data_set(&h, i, data, sizeof(data)), -ENOSPC);
	CHECK_ERR(xattr_ibody_data_set(&h, i, data, 200), -ENOSPC);
	CHECK_EQ(xattr_ibody_data_get(i, got, sizeof(got)), 20);
	CHECK_OK(xattr_ibody_data_remove(&h, i));
	CHECK_EQ(xattr_ibody_data_get(i, got, sizeof(got)), -ENODATA);
	CHECK_OK(inode_write(&h, i));
	img_stop(&h);
	img_put(i);
	img_put(root);
	img_close(&m);
}

TEST(test_xattr_block__impossible_numbers_are_corruption)
{
	static const uint64_t wrong[] = { 1, 1u << 20, UINT64_MAX >> 16 };
	char got[16];
	struct inode *root, *i;
	struct handle h;
	struct img m;

	log_set_level(LOG_LEVEL_OFF);
	img_make(&m, "-b 1024 -I 128", "8M");
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "f", 0100644);
	for (size_t k = 0; k < ARRAY_SIZE(wrong); k++) {
		struct xattr_set x = { .name = "user.a", .value = "v", .len = 1 };

		i->file_acl = wrong[k];
		CHECK_EQ(xattr_get(i, "user.a", got, sizeof(got)), -EUCLEAN);
		CHECK_EQ(xattr_list(i, got, sizeof(got)), -EUCLEAN);
		img_start(&m, &h);
		CHECK_EQ(xattr_set(&h, i, &x), -EUCLEAN);
		img_stop(&h);
	}
	i->file_acl = 0;
	CHECK_GT(atomic_exchange(&m.s->corruptions, 0), 0);
	img_put(i);
	img_put(root);
	img_close(&m);
}

static struct inode *file_on(struct img *m, const char *options)
{
	struct inode *root, *i;

	log_set_level(LOG_LEVEL_OFF);
	img_make(m, options, "8M");
	img_open(m);
	root = img_root(m);
	i = img_create(m, root, "f", 0100644);
	img_put(root);
	return i;
}

static int set(struct img *m, struct inode *i, const char *name, const void *value, size_t len)
{
	struct xattr_set x = { .name = name, .value = value, .len = len };
	struct handle h;
	int ret;

	img_start(m, &h);
	ret = xattr_set(&h, i, &x);
	CHECK_OK(inode_write(&h, i));
	img_stop(&h);
	return ret;
}

/* Inodes of 128 bytes have no tail: nothing fits, and nothing is there to be taken away. */
TEST(test_xattr_ibody__without_a_tail_holds_nothing)
{
	struct xattr_entry e = { .key = { EXT4_XATTR_INDEX_USER, 1, "a" } };
	struct xattr_vec v = { 0 };
	uint32_t len = 77;
	struct inode *i;
	struct handle h;
	struct img m;

	i = file_on(&m, "-b 1024 -I 128");
	img_start(&m, &h);
	CHECK_ERR(xattr_ibody_data_set(&h, i, "x", 1), -ENOSPC);
	CHECK_OK(xattr_ibody_data_remove(&h, i));
	CHECK_ERR(xattr_ibody_data_max(i, &len), -ENOSPC);
	CHECK_EQ(len, 77);
	CHECK_OK(xattr_ibody_store(&h, i, &v));
	CHECK_OK(xattr_vec_add(&v, &e));
	CHECK_ERR(xattr_ibody_store(&h, i, &v), -ENOSPC);
	xattr_vec_free(&v);
	img_stop(&h);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

/* Other attributes leave no room, not even for an empty value. */
TEST(test_xattr_ibody__full_of_attributes_has_no_room_for_data)
{
	uint8_t value[60] = { 1 };
	uint32_t len = 0;
	struct inode *i;
	struct handle h;
	struct img m;

	i = file_on(&m, "-b 1024 -I 256");
	CHECK_OK(xattr_ibody_data_max(i, &len));
	CHECK_GT(len, sizeof(value));
	CHECK_OK(set(&m, i, "user.a", value, sizeof(value)));
	CHECK_EQ(i->file_acl, 0);
	CHECK_ERR(xattr_ibody_data_max(i, &len), -ENOSPC);
	img_start(&m, &h);
	CHECK_ERR(xattr_ibody_data_set(&h, i, "", 0), -ENOSPC);
	img_stop(&h);
	CHECK_EQ(xattr_get(i, "user.a", NULL, 0), sizeof(value));
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

/* An inode as large as a block: its tail is longer than what is kept on the stack. */
TEST(test_xattr_ibody__tail_of_a_large_inode_holds_large_values)
{
	static uint8_t value[3500], got[3500];
	struct inode *i;
	struct img m;

	i = file_on(&m, "-b 4096 -I 4096 -N 64");
	memset(value, 'l', sizeof(value));
	CHECK_OK(set(&m, i, "user.large", value, sizeof(value)));
	CHECK_EQ(i->file_acl, 0);
	CHECK_EQ(xattr_get(i, "user.large", got, sizeof(got)), sizeof(got));
	CHECK_MEM_EQ(got, value, sizeof(got));
	CHECK_OK(set(&m, i, "user.large", NULL, 0));
	CHECK_EQ(xattr_get(i, "user.large", NULL, 0), -ENODATA);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

/* Contents of a file would be read from wherever the entry says. */
TEST(test_xattr_ibody__data_in_another_inode_is_corruption)
{
	struct xattr_entry e = { .key = { EXT4_XATTR_INDEX_SYSTEM, 4, "data" },
				 .value_len = 3000,
				 .value_inum = EXT4_GOOD_OLD_FIRST_INO };
	struct xattr_vec v = { 0 };
	struct inode *i;
	struct handle h;
	struct img m;
	uint8_t got[64];

	i = file_on(&m, "-b 1024 -I 256 -O inline_data,ea_inode");
	CHECK_OK(xattr_vec_add(&v, &e));
	img_start(&m, &h);
	CHECK_OK(xattr_ibody_store(&h, i, &v));
	CHECK_EQ(xattr_ibody_data_get(i, got, sizeof(got)), -EUCLEAN);
	CHECK_EQ(xattr_ibody_data_get(i, NULL, 0), -EUCLEAN);
	CHECK_EQ(atomic_exchange(&m.s->corruptions, 0), 2);
	CHECK_OK(xattr_ibody_data_remove(&h, i));
	CHECK_EQ(xattr_ibody_data_get(i, got, sizeof(got)), -ENODATA);
	img_stop(&h);
	xattr_vec_free(&v);
	img_put(i);
	img_close(&m);
}
