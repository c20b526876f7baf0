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
