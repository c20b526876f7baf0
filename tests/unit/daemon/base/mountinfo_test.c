/* SPDX-License-Identifier: GPL-2.0-only */
/* mountinfo's lines, with optional fields, escapes and damage. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/mountinfo.h"
#include "tests/lib/test.h"

static bool parse(const char *text, struct mountinfo *ret_info)
{
	static char line[512];

	(void)snprintf(line, sizeof(line), "%s", text);
	return mountinfo_parse(line, ret_info);
}

TEST(test_mountinfo_parse__reads_fields_and_undoes_escapes)
{
	struct mountinfo info;

	CHECK(parse("97 25 0:54 / /mnt/a\\040b\\134c ro,nosuid shared:51 master:2 - fuse.kfs "
		    "/img\\011x rw,user_id=0\n",
		    &info));
	CHECK_EQ(info.major, 0);
	CHECK_EQ(info.minor, 54);
	CHECK_STR_EQ(info.root, "/");
	CHECK_STR_EQ(info.mountpoint, "/mnt/a b\\c");
	CHECK_STR_EQ(info.type, "fuse.kfs");
	CHECK_STR_EQ(info.source, "/img\tx");
	CHECK(!info.readonly);
}

TEST(test_mountinfo_parse__knows_readonly_filesystems)
{
	struct mountinfo info;

	CHECK(parse("1 2 7:0 / /a rw - ext4 /dev/loop0 ro,errors=remount-ro\n", &info));
	CHECK(info.readonly);
	CHECK(parse("1 2 7:0 / /a ro - ext4 /dev/loop0 rw,errors=remount-ro\n", &info));
	CHECK(!info.readonly);
}

TEST(test_mountinfo_parse__refuses_what_is_cut)
{
	static const char whole[] = "1 2 7:0 / /a rw shared:1 - ext4 /dev/loop0 ro";
	char line[64];
	struct mountinfo info;

	for (size_t len = 0; len < strlen(whole) - 2; len++) {
		memcpy(line, whole, len);
		line[len] = 0;
		CHECK(!mountinfo_parse(line, &info));
	}
	CHECK(!parse("1 2 x:y / /a rw - ext4 /dev/loop0 ro", &info));
}

TEST(test_mountinfo_find__sees_the_root)
{
	struct mountinfo_top top;

	CHECK_OK(mountinfo_find("/", &top));
	CHECK(top.type[0]);
	CHECK_ERR(mountinfo_find("/no/such/mount", &top), -ENOENT);
}
