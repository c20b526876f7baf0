/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A request that was aborted before it got its inode changes nothing: what its caller asked
 * for after the abort may be there already, and must not be overwritten by what it asked for
 * before.
 */
#include <errno.h>
#include <string.h>

#include "tests/unit/daemon/fs/fixture.h"

static _Atomic bool aborted;

static ssize_t write_text(struct fixture *f, uint64_t id, const char *text)
{
	return write_node(f, id, text, strlen(text), 0);
}

TEST(test_aborted__changes_nothing)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = 1 };
	struct fs_setxattr xattr = { .name = "user.a", .value = "v", .len = 1 };
	struct fs_copy copy = { .len = 3 };
	struct fs_attr attr;
	struct fixture f;
	uint64_t id, dir;
	char got[4] = "";

	fixture_open(&f, NULL);
	id = make_file(&f, "/file");
	dir = make_dir(&f, "/dir");
	CHECK_EQ(write_text(&f, id, "new"), 3);
	set.nodeid = xattr.nodeid = copy.nodeid_in = id;
	copy.nodeid_out = id;
	copy.off_out = 100;
	f.ctx.aborted = &aborted;
	atomic_store(&aborted, true);
	CHECK_EQ(write_text(&f, id, "old"), -EINTR);
	CHECK_EQ(fs_setattr(f.fs, &f.ctx, &set, &attr), -EINTR);
	CHECK_EQ(fs_setxattr(f.fs, &f.ctx, &xattr), -EINTR);
	CHECK_EQ(fs_fallocate(f.fs, &f.ctx, id, 0, 0, 100000), -EINTR);
	CHECK_EQ(fs_copy_range(f.fs, &f.ctx, &copy), -EINTR);
	CHECK_EQ(try_make(&f, "/other", S_IFREG | 0644), -EINTR);
	CHECK_EQ(try_unlink(&f, "/file"), -EINTR);
	CHECK_EQ(try_rmdir(&f, "/dir"), -EINTR);
	CHECK_EQ(try_rename(&f, "/file", "/dir/moved", 0), -EINTR);
	CHECK_EQ(try_link(&f, "/file", "/link"), -EINTR);
	atomic_store(&aborted, false);
	CHECK_EQ(read_node(&f, id, got, 3, 0), 3);
	CHECK_STR_EQ(got, "new");
	CHECK_EQ(attr_of(&f, "/file").size, 3);
	CHECK_EQ(try_look(&f, "/other"), -ENOENT);
	CHECK_EQ(try_look(&f, "/link"), -ENOENT);
	forget(&f, id);
	forget(&f, dir);
	fixture_close(&f);
}

/* Reading takes nothing from anybody. */
TEST(test_aborted__may_still_read)
{
	struct fixture f;
	char got[4] = "";
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/file");
	CHECK_EQ(write_text(&f, id, "abc"), 3);
	atomic_store(&aborted, true);
	f.ctx.aborted = &aborted;
	CHECK_EQ(read_node(&f, id, got, 3, 0), 3);
	f.ctx.aborted = NULL;
	forget(&f, id);
	fixture_close(&f);
}
