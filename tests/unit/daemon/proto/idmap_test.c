/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/proto/idmap.h"

#include <errno.h>

#include "tests/lib/test.h"

TEST(test_idmap__without_ranges_is_the_identity)
{
	struct idmap m = { .count = 0 };

	CHECK_EQ(idmap_to_image(&m, 0), 0);
	CHECK_EQ(idmap_to_guest(&m, 100000), 100000);
	CHECK_EQ(idmap_to_image(&m, IDMAP_NONE), IDMAP_NONE);
}

TEST(test_idmap__maps_what_is_in_a_range)
{
	struct idmap m;

	CHECK_OK(idmap_parse("map:0:100000:65536+map:70000:1000:1", &m));
	CHECK_EQ(m.count, 2);
	CHECK_EQ(idmap_to_image(&m, 0), 100000);
	CHECK_EQ(idmap_to_image(&m, 65535), 165535);
	CHECK_EQ(idmap_to_image(&m, 65536), IDMAP_NONE);
	CHECK_EQ(idmap_to_image(&m, 70000), 1000);
	CHECK_EQ(idmap_to_image(&m, 70001), IDMAP_NONE);
	CHECK_EQ(idmap_to_image(&m, IDMAP_NONE), IDMAP_NONE);
	CHECK_EQ(idmap_to_guest(&m, 100000), 0);
	CHECK_EQ(idmap_to_guest(&m, 1000), 70000);
	CHECK_EQ(idmap_to_guest(&m, 0), IDMAP_NOBODY);
	CHECK_EQ(idmap_to_guest(&m, 99999), IDMAP_NOBODY);
	CHECK_EQ(idmap_to_guest(&m, 165536), IDMAP_NOBODY);
}

TEST(test_idmap_parse__refuses_what_it_cannot_mean)
{
	static const char *const bad[] = { "",
					   "map:",
					   "0:1:2",
					   "map:0:1",
					   "map:0:1:0",
					   "map:0:1:2:3",
					   "map:0:1:2+",
					   "map:-1:1:2",
					   "map:0:4294967295:1",
					   "map:0:4294967296:1",
					   "map:4294967294:0:2",
					   "map:0:1:4294967295",
					   "map:0:10:5+map:4:20:5",
					   "map:0:10:5+map:5:14:5",
					   "map:0:20:5+map:5:10:11",
					   "squash:0:1:2",
					   "map:0:1:x" };
	char many[64 * (IDMAP_RANGES_MAX + 1)];
	size_t len = 0;
	struct idmap m;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_ERR(idmap_parse(bad[i], &m), -EINVAL);
	CHECK_OK(idmap_parse("map:0:0:4294967295", &m));
	for (unsigned i = 0; i <= IDMAP_RANGES_MAX; i++)
		len += (size_t)snprintf(many + len, sizeof(many) - len, "%smap:%u:%u:1",
					i ? "+" : "", i, i);
	CHECK_ERR(idmap_parse(many, &m), -E2BIG);
}

TEST(test_idmap_acl__users_and_groups_only)
{
	/* version 2; owner, user 5, group 6, mask */
	uint8_t acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4,	 0,   5,   0,
			  0, 0, 8, 0, 4, 0, 6, 0, 0,   0,   16,	 0,   7, 0, 255, 255, 255, 255 };
	struct idmap uids, gids;

	CHECK_OK(idmap_parse("map:5:300:1", &uids));
	CHECK_OK(idmap_parse("map:6:70000:1", &gids));
	CHECK_OK(idmap_acl_to_image(&uids, &gids, acl, sizeof(acl)));
	CHECK_EQ(acl[16] | acl[17] << 8, 300);
	CHECK_EQ(acl[24] | acl[25] << 8 | acl[26] << 16, 70000);
	CHECK_EQ(acl[8], 255);
	CHECK_EQ(acl[32], 255);
	idmap_acl_to_guest(&uids, &gids, acl, sizeof(acl));
	CHECK_EQ(acl[16], 5);
	CHECK_EQ(acl[17], 0);
	CHECK_EQ(acl[24], 6);
	acl[16] = 9;
	CHECK_ERR(idmap_acl_to_image(&uids, &gids, acl, sizeof(acl)), -EINVAL);
	/* Cut short: what is whole is mapped, nothing beyond is touched. */
	acl[16] = 5;
	CHECK_OK(idmap_acl_to_image(&uids, &gids, acl, 19));
	CHECK_EQ(acl[16], 5);
	CHECK_OK(idmap_acl_to_image(&uids, &gids, acl, 2));
}
