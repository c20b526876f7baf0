// SPDX-License-Identifier: GPL-2.0-only
/* What a path lies on, by the kernel's list and the path's letters alone. */
#include "ctl/mounts.h"

#include <string.h>

#include "tests/lib/test.h"

static const char text[] =
	"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"30 21 0:40 / /mnt/a rw - fuse.kfs /img/a.img rw,user_id=1000,group_id=0,allow_other\n"
	"31 30 0:41 / /mnt/a/tmp rw - tmpfs tmpfs rw\n"
	"32 21 0:42 / /mnt/with\\040space\\134x rw master:3 - fuse.kfs /img/b\\012.img rw,user_id=0\n"
	"33 21 0:43 / /over rw - fuse.kfs /img/old rw,user_id=0\n"
	"34 21 0:44 / /over rw - fuse.kfs /img/new rw,user_id=0\n"
	"\n"
	"35 21 0:45 / /no-separator rw\n"
	"36 21 0:46 /\n";

static struct mount_list list;

static void load_text(void)
{
	char *copy = strdup(text), *line, *rest = copy;

	while ((line = strsep(&rest, "\n"))) {
		struct mountinfo info;

		if (mountinfo_parse(line, &info))
			CHECK_OK(mount_list_add(&list, &info));
	}
	free(copy);
}

static const char *source_of(const char *path)
{
	const struct mount *m = mount_list_find(&list, path);

	return m ? m->source : NULL;
}

TEST(test_mount_list__deepest_and_topmost_mount_holds_a_path)
{
	load_text();
	CHECK_EQ(list.count, 6);
	CHECK_STR_EQ(source_of("/"), "/dev/sda1");
	CHECK_STR_EQ(source_of("/mnt/ab"), "/dev/sda1");
	CHECK_STR_EQ(source_of("/mnt/a"), "/img/a.img");
	CHECK_STR_EQ(source_of("/mnt/a/deep/er"), "/img/a.img");
	CHECK_STR_EQ(source_of("/mnt/a/tmp/x"), "tmpfs");
	CHECK_STR_EQ(source_of("/mnt/a/tmpx"), "/img/a.img");
	CHECK_STR_EQ(source_of("/mnt/with space\\x/f"), "/img/b\n.img");
	CHECK_STR_EQ(source_of("/over"), "/img/new");
	mount_list_fini(&list);
}

TEST(test_mount_list__owner_is_read_from_fuse_mounts_only)
{
	load_text();
	CHECK_EQ(mount_list_find(&list, "/mnt/a")->has_owner, true);
	CHECK_EQ(mount_list_find(&list, "/mnt/a")->owner_uid, 1000);
	CHECK_EQ(mount_list_find(&list, "/")->has_owner, false);
	mount_list_fini(&list);
}

TEST(test_mount_list__own_list_of_this_process_parses)
{
	CHECK_OK(mount_list_load(&list));
	CHECK(mount_list_find(&list, "/"));
	mount_list_fini(&list);
}

TEST(test_mount_list__empty_list_holds_nothing)
{
	CHECK_EQ(list.count, 0);
	CHECK(!mount_list_find(&list, "/"));
	mount_list_fini(&list);
}

static void check_path(const char *cwd, const char *path, const char *want)
{
	char *got = path_normalise(cwd, path);

	CHECK_STR_EQ(got, want);
	free(got);
}

TEST(test_path_normalise__letters_alone)
{
	check_path("/home/me", "x", "/home/me/x");
	check_path("/home/me", ".", "/home/me");
	check_path("/home/me", "", "/home/me");
	check_path("/home/me", "..", "/home");
	check_path("/home/me", "../../../..", "/");
	check_path("/home/me", "/a//b/./c/", "/a/b/c");
	check_path("/", "x/../y/...", "/y/...");
	check_path("/", "/", "/");
}
