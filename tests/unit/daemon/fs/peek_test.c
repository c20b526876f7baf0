/* SPDX-License-Identifier: GPL-2.0-only */
/* Looking at the store for kfsctl: it sees what a lookup would, and leaves no trace. */
#include <stdio.h>
#include <string.h>

#include "daemon/inval/inval.h"
#include "tests/unit/daemon/fs/fixture.h"

static struct fs_peek seen;
static unsigned int calls;

static int note(void *arg, const struct fs_peek *peek)
{
	calls++;
	seen = *peek;
	return arg ? *(int *)arg : 0;
}

static int peek(struct fixture *f, const char *path)
{
	return fs_peek(f->fs, path, note, NULL);
}

TEST(test_peek__sees_what_a_lookup_would)
{
	struct fixture f;
	struct fs_attr attr;
	uint64_t dir, node;

	fixture_open(&f, NULL);
	dir = make_dir(&f, "/d");
	node = make_file(&f, "/d/f");
	CHECK_OK(peek(&f, "/d/f"));
	attr = attr_of_node(&f, node);
	CHECK_EQ(seen.dir, dir);
	CHECK_EQ(seen.nodeid, node);
	CHECK_EQ(seen.attr.ino, attr.ino);
	CHECK_EQ(seen.attr.mode, attr.mode);
	CHECK_EQ(seen.attr.version, attr.version);
	CHECK_EQ(seen.attr.mtime.s, attr.mtime.s);
	CHECK_EQ(seen.attr.mtime.ns, attr.mtime.ns);
	CHECK(!seen.has_capability && !seen.has_acl);
	CHECK_OK(peek(&f, "d//f/"));
	CHECK_EQ(seen.nodeid, node);
	CHECK_OK(peek(&f, "/d/absent"));
	CHECK_EQ(seen.dir, dir);
	CHECK_EQ(seen.nodeid, 0u);
	CHECK_EQ(seen.attr.ino, 0u);
	CHECK_OK(peek(&f, ""));
	CHECK_EQ(seen.dir, 0u);
	CHECK_EQ(seen.nodeid, 1u);
	CHECK_EQ(seen.attr.ino, 2u);
	forget(&f, node);
	forget(&f, dir);
	fixture_close(&f);
}

TEST(test_peek__sees_capabilities_and_acls)
{
	static const uint8_t capability[20] = { 1, 0, 0, 2 };
	struct fs_setxattr x = { .name = "security.capability",
				 .value = capability,
				 .len = sizeof(capability) };
	struct fixture f;

	fixture_open(&f, NULL);
	x.nodeid = make_file(&f, "/f");
	CHECK_OK(peek(&f, "/f"));
	CHECK(!seen.has_capability);
	CHECK_OK(fs_setxattr(f.fs, &f.ctx, &x));
	CHECK_OK(peek(&f, "/f"));
	CHECK(seen.has_capability && !seen.has_acl);
	forget(&f, x.nodeid);
	fixture_close(&f);
}

TEST(test_peek__leaves_no_trace)
{
	struct inval_stats before, after;
	struct fixture f;
	uint64_t nodes;

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/d"));
	forget(&f, make_file(&f, "/d/f"));
	nodes = nodes_total(f.fs);
	inval_get_stats(f.bus, &before);
	CHECK_OK(peek(&f, "/d/f"));
	CHECK_OK(peek(&f, "/d/absent"));
	CHECK_OK(peek(&f, "/"));
	inval_get_stats(f.bus, &after);
	CHECK_MEM_EQ(&after, &before, sizeof(before));
	CHECK_EQ(nodes_total(f.fs), nodes);
	fixture_close(&f);
}

TEST(test_peek__wrong_paths_reach_no_caller)
{
	struct fixture f;
	char path[300] = "/";
	int error = -EIO;

	fixture_open(&f, NULL);
	forget(&f, make_file(&f, "/f"));
	memset(path + 1, 'n', 256);
	calls = 0;
	CHECK_ERR(peek(&f, "/nowhere/f"), -ENOENT);
	CHECK_ERR(peek(&f, "/f/g"), -ENOTDIR);
	CHECK_ERR(peek(&f, "/."), -EINVAL);
	CHECK_ERR(peek(&f, "/../f"), -EINVAL);
	CHECK_ERR(peek(&f, path), -ENAMETOOLONG);
	CHECK_EQ(calls, 0u);
	CHECK_ERR(fs_peek(f.fs, "/f", note, &error), -EIO);
	CHECK_EQ(calls, 1u);
	fixture_close(&f);
}
