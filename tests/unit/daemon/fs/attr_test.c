/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attributes, extended attributes and ACLs: what may be set, what is taken away by whom,
 * and which times change.
 */
#include <string.h>
#include <sys/xattr.h>

#include "tests/unit/daemon/fs/fixture.h"

static int try_setxattr(struct fixture *f, const char *path, const char *name, const void *value,
			size_t len)
{
	struct fs_setxattr req = {
		.nodeid = look(f, path), .name = name, .value = value, .len = len
	};
	int error = fs_setxattr(f->fs, &f->ctx, &req);

	forget(f, req.nodeid);
	return error;
}

static ssize_t try_getxattr(struct fixture *f, const char *path, const char *name, void *buf,
			    size_t size)
{
	uint64_t id = look(f, path);
	ssize_t n = fs_getxattr(f->fs, &f->ctx, id, name, buf, size);

	forget(f, id);
	return n;
}

TEST(test_setattr__has_no_owner_that_is_nobody)
{
	struct fs_entry e;
	struct fixture f;

	fixture_open(&f, "-b 1024 -I 256 -J size=4 24M");
	forget(&f, make_file(&f, "/f"));
	CHECK_ERR(try_setattr(&f, "/f",
			      (struct fs_setattr){ .valid = FS_SET_UID, .uid = UINT32_MAX }),
		  -EINVAL);
	CHECK_ERR(try_setattr(&f, "/f",
			      (struct fs_setattr){ .valid = FS_SET_GID, .gid = UINT32_MAX }),
		  -EINVAL);
	CHECK_OK(try_setattr(&f, "/f",
			     (struct fs_setattr){ .valid = FS_SET_UID, .uid = UINT32_MAX - 1 }));
	f.ctx.uid = UINT32_MAX;
	CHECK_ERR(fs_tmpfile(f.fs, &f.ctx, FS_ROOT_NODEID, 0600, &e), -EINVAL);
	CHECK_ERR(fs_create(f.fs, &f.ctx,
			    &(struct fs_create){ .dir = FS_ROOT_NODEID,
						 .name = { "x", 1 },
						 .mode = S_IFREG | 0600 },
			    &e),
		  -EINVAL);
	f.ctx.uid = 0;
	fixture_close(&f);
}

TEST(test_setattr__times)
{
	struct fs_setattr req = { .valid = FS_SET_ATIME | FS_SET_MTIME,
				  .atime = { 1000, 5 },
				  .mtime = { -2000, 999999999 } };
	struct fixture f;
	struct fs_attr a;

	fixture_open(&f, "-b 1024 -I 256 -J size=4 24M");
	forget(&f, make_file(&f, "/f"));
	CHECK_OK(try_setattr(&f, "/f", req));
	a = attr_of(&f, "/f");
	CHECK_EQ(a.atime.s, 1000);
	CHECK_EQ(a.atime.ns, 5);
	CHECK_EQ(a.mtime.s, -2000);
	CHECK_EQ(a.mtime.ns, 999999999);
	CHECK_GT(a.ctime.s, 1000000000);
	/* A writeback kernel sends its own change time. */
	req = (struct fs_setattr){ .valid = FS_SET_MTIME | FS_SET_CTIME,
				   .mtime = { 7, 0 },
				   .ctime = { 8, 0 } };
	CHECK_OK(try_setattr(&f, "/f", req));
	a = attr_of(&f, "/f");
	CHECK_EQ(a.mtime.s, 7);
	CHECK_EQ(a.ctime.s, 8);
	req = (struct fs_setattr){ .valid = FS_SET_MTIME_NOW };
	CHECK_OK(try_setattr(&f, "/f", req));
	a = attr_of(&f, "/f");
	CHECK(a.mtime.s > 1000000000 && a.ctime.s > 1000000000 && a.atime.s == 1000);
	/* Beyond what the image can hold: clamped; beyond 2038: kept. */
	req = (struct fs_setattr){ .valid = FS_SET_ATIME | FS_SET_MTIME,
				   .atime = { INT64_MAX, 1 },
				   .mtime = { 5000000000, 1 } };
	CHECK_OK(try_setattr(&f, "/f", req));
	fixture_remount(&f);
	a = attr_of(&f, "/f");
	CHECK_EQ(a.atime.s, INT32_MAX + (3ll << 32));
	CHECK_EQ(a.mtime.s, 5000000000);
	fixture_close(&f);
}

TEST(test_setattr__whole_seconds_in_small_inodes)
{
	struct fs_setattr req = { .valid = FS_SET_ATIME | FS_SET_MTIME,
				  .atime = { 1000, 5 },
				  .mtime = { 5000000000, 7 } };
	struct fixture f;
	struct fs_attr a;

	fixture_open(&f, "-b 1024 -I 128 -J size=4 24M");
	forget(&f, make_file(&f, "/f"));
	CHECK_EQ(attr_of(&f, "/f").mtime.ns, 0);
	CHECK_OK(try_setattr(&f, "/f", req));
	a = attr_of(&f, "/f");
	CHECK_EQ(a.atime.ns, 0);
	CHECK_EQ(a.mtime.s, INT32_MAX);
	fixture_close(&f);
}

TEST(test_setattr__size)
{
	struct fixture f;
	uint64_t id;
	char buf[3000];

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	memset(buf, 'x', sizeof(buf));
	CHECK_EQ(write_node(&f, id, buf, sizeof(buf), 0), (ssize_t)sizeof(buf));
	CHECK_OK(try_setattr(&f, "/f", (struct fs_setattr){ .valid = FS_SET_SIZE, .size = 1500 }));
	CHECK_OK(try_setattr(&f, "/f", (struct fs_setattr){ .valid = FS_SET_SIZE, .size = 2500 }));
	CHECK_EQ(read_node(&f, id, buf, sizeof(buf), 0), 2500);
	CHECK_EQ(buf[1499], 'x');
	for (int i = 1500; i < 2500; i++)
		CHECK_EQ(buf[i], 0);
	CHECK_ERR(try_setattr(&f, "/f",
			      (struct fs_setattr){ .valid = FS_SET_SIZE, .size = 1ull << 60 }),
		  -EFBIG);
	CHECK_ERR(try_setattr(&f, "/", (struct fs_setattr){ .valid = FS_SET_SIZE }), -EISDIR);
	CHECK_OK(try_make(&f, "/fifo", S_IFIFO | 0600));
	CHECK_ERR(try_setattr(&f, "/fifo", (struct fs_setattr){ .valid = FS_SET_SIZE }), -EINVAL);
	forget(&f, id);
	fixture_close(&f);
}

static const uint8_t cap_value[20] = { 1, 0, 0, 2 };

TEST(test_privileges__go_with_writes_owners_and_sizes)
{
	const struct fs_setattr suid = { .valid = FS_SET_MODE, .mode = 06755 };
	const struct fs_setattr chown = { .valid = FS_SET_UID | FS_SET_KILL_SUIDGID, .uid = 5 };
	struct fs_write w = { .iovcnt = 1, .len = 1, .flags = FS_WRITE_KILL_SUIDGID };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct fixture f;
	char buf[64];

	fixture_open(&f, NULL);
	w.nodeid = make_file(&f, "/f");
	w.iov = &iov;
	CHECK_OK(try_setattr(&f, "/f", suid));
	CHECK_OK(try_setattr(&f, "/f", chown));
	CHECK_EQ(attr_of(&f, "/f").mode, S_IFREG | 0755);
	/* S_ISGID without group execution is kept for root, and taken when a stranger gives the file away. */
	CHECK_OK(try_setattr(&f, "/f", (struct fs_setattr){ .valid = FS_SET_MODE, .mode = 02644 }));
	CHECK_OK(try_setattr(&f, "/f", chown));
	CHECK_EQ(attr_of(&f, "/f").mode, S_IFREG | 02644);
	f.ctx.uid = f.ctx.gid = 5;
	CHECK_OK(try_setattr(&f, "/f", chown));
	CHECK_EQ(attr_of(&f, "/f").mode, S_IFREG | 0644);
	f.ctx.uid = f.ctx.gid = 0;

	CHECK_OK(try_setattr(&f, "/f", suid));
	CHECK_OK(try_setxattr(&f, "/f", "security.capability", cap_value, sizeof(cap_value)));
	CHECK_EQ(try_getxattr(&f, "/f", "security.capability", buf, sizeof(buf)), 20);
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), 1);
	CHECK_EQ(attr_of(&f, "/f").mode, S_IFREG | 0755);
	CHECK_EQ(try_getxattr(&f, "/f", "security.capability", buf, sizeof(buf)), -ENODATA);

	/* What comes from the page cache was written before: it takes nothing away. */
	CHECK_OK(try_setattr(&f, "/f", suid));
	CHECK_OK(try_setxattr(&f, "/f", "security.capability", cap_value, sizeof(cap_value)));
	w.flags = FS_WRITE_CACHE;
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), 1);
	CHECK_EQ(attr_of(&f, "/f").mode, S_IFREG | 06755);
	CHECK_EQ(try_getxattr(&f, "/f", "security.capability", buf, sizeof(buf)), 20);
	CHECK_OK(try_setattr(&f, "/f",
			     (struct fs_setattr){ .valid = FS_SET_SIZE | FS_SET_KILL_SUIDGID }));
	CHECK_EQ(attr_of(&f, "/f").mode, S_IFREG | 0755);
	CHECK_EQ(try_getxattr(&f, "/f", "security.capability", buf, sizeof(buf)), -ENODATA);
	forget(&f, w.nodeid);
	fixture_close(&f);
}

TEST(test_xattr__names_kinds_and_flags)
{
	struct fs_setxattr req = {
		.name = "user.a", .value = "1", .len = 1, .flags = XATTR_REPLACE
	};
	struct fixture f;
	char buf[256];
	ssize_t n;

	fixture_open(&f, NULL);
	req.nodeid = make_file(&f, "/f");
	CHECK_OK(try_make(&f, "/fifo", S_IFIFO | 0600));
	CHECK_OK(try_make(&f, "/link", S_IFLNK));
	CHECK_ERR(fs_setxattr(f.fs, &f.ctx, &req), -ENODATA);
	req.flags = XATTR_CREATE;
	CHECK_OK(fs_setxattr(f.fs, &f.ctx, &req));
	CHECK_ERR(fs_setxattr(f.fs, &f.ctx, &req), -EEXIST);
	CHECK_ERR(try_setxattr(&f, "/fifo", "user.a", "1", 1), -EPERM);
	CHECK_ERR(try_setxattr(&f, "/link", "user.a", "1", 1), -EPERM);
	CHECK_OK(try_setxattr(&f, "/fifo", "trusted.a", "1", 1));
	CHECK_ERR(try_setxattr(&f, "/f", "bogus.a", "1", 1), -EOPNOTSUPP);
	CHECK_OK(try_setxattr(&f, "/f", "trusted.b", "2", 1));
	n = fs_listxattr(f.fs, &f.ctx, req.nodeid, buf, sizeof(buf));
	CHECK_EQ(n, 17);
	CHECK_EQ(fs_listxattr(f.fs, &f.ctx, req.nodeid, NULL, 0), 17);
	CHECK_EQ(fs_listxattr(f.fs, &f.ctx, req.nodeid, buf, 16), -ERANGE);
	f.ctx.uid = 1; /* trusted names are for root's eyes */
	CHECK_EQ(fs_listxattr(f.fs, &f.ctx, req.nodeid, NULL, 0), 7);
	CHECK_EQ(fs_listxattr(f.fs, &f.ctx, req.nodeid, buf, 7), 7);
	CHECK_STR_EQ(buf, "user.a");
	f.ctx.uid = 0;
	CHECK_EQ(try_getxattr(&f, "/f", "user.a", buf, 0), 1);
	CHECK_OK(try_setxattr(&f, "/f", "user.a", NULL, 0));
	CHECK_ERR(try_setxattr(&f, "/f", "user.a", NULL, 0), -ENODATA);
	CHECK_EQ(try_getxattr(&f, "/f", "user.a", buf, sizeof(buf)), -ENODATA);
	forget(&f, req.nodeid);
	fixture_close(&f);
}

/* The system call's form: version 2, then tag, permissions and id of each entry. */
struct wire_acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} e[5];
};

static struct wire_acl acl_of(uint16_t group_obj, uint16_t mask)
{
	return (struct wire_acl){ .version = 2,
				  .e = { { 0x01, 7, UINT32_MAX },
					 { 0x02, 6, 1234 },
					 { 0x04, group_obj, UINT32_MAX },
					 { 0x10, mask, UINT32_MAX },
					 { 0x20, 0, UINT32_MAX } } };
}

TEST(test_acl__is_inherited_and_follows_chmod)
{
	struct wire_acl acl = acl_of(5, 7), got;
	struct fixture f;

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/d"));
	f.ctx.umask = 077; /* has no say where there is a default ACL */
	CHECK_OK(try_setxattr(&f, "/d", "system.posix_acl_default", &acl, sizeof(acl)));
	CHECK_OK(try_make(&f, "/d/f", S_IFREG | 0664));
	CHECK_EQ(attr_of(&f, "/d/f").mode, S_IFREG | 0660);
	CHECK_EQ(try_getxattr(&f, "/d/f", "system.posix_acl_access", &got, sizeof(got)),
		 (ssize_t)sizeof(got));
	CHECK_EQ(got.e[1].id, 1234);
	CHECK_EQ(got.e[3].perm, 6);
	CHECK_OK(try_make(&f, "/d/s", S_IFDIR | 0777));
	CHECK_EQ(try_getxattr(&f, "/d/s", "system.posix_acl_default", &got, sizeof(got)),
		 (ssize_t)sizeof(got));
	CHECK_OK(
		try_setattr(&f, "/d/f", (struct fs_setattr){ .valid = FS_SET_MODE, .mode = 0640 }));
	CHECK_EQ(try_getxattr(&f, "/d/f", "system.posix_acl_access", &got, sizeof(got)),
		 (ssize_t)sizeof(got));
	CHECK_EQ(got.e[3].perm, 4); /* the mask is the group bits */
	CHECK_EQ(got.e[2].perm, 5);
	acl = acl_of(4, 5);
	CHECK_OK(try_setxattr(&f, "/d/f", "system.posix_acl_access", &acl, sizeof(acl)));
	CHECK_EQ(attr_of(&f, "/d/f").mode, S_IFREG | 0750);
	CHECK_ERR(try_setxattr(&f, "/d/f", "system.posix_acl_default", &acl, sizeof(acl)), -EACCES);
	CHECK_ERR(try_setxattr(&f, "/d/f", "system.posix_acl_access", "junk", 4), -EOPNOTSUPP);
	CHECK_ERR(try_setxattr(&f, "/d/f", "system.posix_acl_access", "\2\0\0\0\1", 5), -EINVAL);
	f.ctx.umask = 022;
	CHECK_OK(try_make(&f, "/plain", S_IFREG | 0666));
	CHECK_EQ(attr_of(&f, "/plain").mode, S_IFREG | 0644);
	fixture_close(&f);
}

TEST(test_append_only__takes_appends_only)
{
	struct fs_fileattr attr = { .flags = EXT4_APPEND_FL | EXT4_EXTENTS_FL };
	struct iovec iov = { .iov_base = "0123456789", .iov_len = 10 };
	struct fs_write w = { .iov = &iov, .iovcnt = 1, .len = 10 };
	struct fixture f;
	char got[32];

	fixture_open(&f, NULL);
	w.nodeid = make_file(&f, "/f");
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), 10);
	CHECK_OK(fs_fileattr_set(f.fs, &f.ctx, w.nodeid, FS_FILEATTR_FLAGS, &attr));
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), -EPERM);
	w.off = 10;
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), 10);
	CHECK_ERR(try_setattr(&f, "/f", (struct fs_setattr){ .valid = FS_SET_SIZE }), -EPERM);
	CHECK_ERR(try_setattr(&f, "/f", (struct fs_setattr){ .valid = FS_SET_MTIME }), -EPERM);
	CHECK_OK(try_setattr(&f, "/f", (struct fs_setattr){ .valid = FS_SET_MTIME_NOW }));
	CHECK_ERR(fs_fallocate(f.fs, &f.ctx, w.nodeid, 3, 0, 10), -EPERM);
	/* A whole page from the cache: only what lies behind the end gets in. */
	iov.iov_base = "XXXXXXXXXXXXXXXXXXXXnew";
	iov.iov_len = w.len = 23;
	w.off = 0;
	w.flags = FS_WRITE_CACHE;
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), 23);
	CHECK_EQ(read_node(&f, w.nodeid, got, sizeof(got), 0), 23);
	CHECK_MEM_EQ(got, "01234567890123456789new", 23);
	forget(&f, w.nodeid);
	fixture_close(&f);
}

TEST(test_relatime__updates_when_older_than_a_change)
{
	struct fs_setattr req = { .valid = FS_SET_ATIME | FS_SET_MTIME,
				  .atime = { 100, 0 },
				  .mtime = { 50, 0 } };
	struct fixture f;
	char buf[4];
	uint64_t id;

	fixture_open(&f, NULL);
	fixture_unmount(&f);
	f.opts.atime = FS_ATIME_RELATIME;
	fixture_mount(&f);
	id = make_file(&f, "/f");
	CHECK_EQ(write_node(&f, id, "abcd", 4, 0), 4);
	CHECK_OK(try_setattr(&f, "/f", req)); /* ctime is now, so atime is older */
	CHECK_EQ(read_node(&f, id, buf, 4, 0), 4);
	CHECK_GT(attr_of(&f, "/f").atime.s, 1000000000);
	forget(&f, id);
	fixture_unmount(&f);
	f.opts.atime = FS_ATIME_NOATIME;
	fixture_mount(&f);
	CHECK_OK(try_setattr(&f, "/f", req));
	id = look(&f, "/f");
	CHECK_EQ(read_node(&f, id, buf, 4, 0), 4);
	CHECK_EQ(attr_of(&f, "/f").atime.s, 100);
	forget(&f, id);
	fixture_close(&f);
}

/* What a cache learned before a change must be recognisable as older. */
TEST(test_version__rises_with_every_change)
{
	const struct fs_setattr mode = { .valid = FS_SET_MODE, .mode = 0600 };
	uint64_t before, id;
	struct fixture f;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	before = attr_of(&f, "/f").version;
	CHECK_EQ(write_node(&f, id, "x", 1, 0), 1);
	CHECK_GT(attr_of(&f, "/f").version, before);
	before = attr_of(&f, "/f").version;
	CHECK_OK(try_setattr(&f, "/f", mode));
	CHECK_GT(attr_of(&f, "/f").version, before);
	before = attr_of(&f, "/f").version;
	CHECK_OK(try_link(&f, "/f", "/g"));
	CHECK_GT(attr_of(&f, "/f").version, before);
	before = attr_of(&f, "/f").version;
	CHECK_OK(try_rename(&f, "/g", "/h", 0));
	CHECK_GT(attr_of(&f, "/f").version, before);
	before = attr_of(&f, "/f").version;
	CHECK_OK(try_unlink(&f, "/h"));
	CHECK_GT(attr_of(&f, "/f").version, before);
	before = attr_of(&f, "/").version;
	CHECK_OK(try_make(&f, "/new", S_IFREG | 0600));
	CHECK_GT(attr_of(&f, "/").version, before);
	forget(&f, id);
	fixture_close(&f);
}
