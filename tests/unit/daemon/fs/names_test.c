/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names: creating, linking, removing and renaming them, with the answers that the
 * kernel's ext4 gives. Link counts, times and ".." are looked at after each.
 */
#include <stdio.h>
#include <string.h>

#include "tests/unit/daemon/fs/fixture.h"

TEST(test_lookup__absent_name_is_a_cacheable_negative)
{
	struct fixture f;
	struct fs_entry e = { .nodeid = 99 };

	fixture_open(&f, NULL);
	CHECK_OK(fs_lookup(f.fs, &f.ctx, 1, name_of("absent"), &e));
	CHECK_EQ(e.nodeid, 0);
	CHECK_ERR(fs_lookup(f.fs, &f.ctx, 1, name_of("a/b"), &e), -EINVAL);
	CHECK_ERR(fs_lookup(f.fs, &f.ctx, 1, (struct fs_name){ .name = "a\0b", .len = 3 }, &e),
		  -EINVAL);
	forget(&f, make_file(&f, "/file"));
	CHECK_ERR(try_look(&f, "/file/x"), -ENOTDIR);
	fixture_close(&f);
}

TEST(test_names__length_limit_is_255)
{
	struct fixture f;
	char name[300] = "/";

	fixture_open(&f, NULL);
	memset(name + 1, 'n', 255);
	CHECK_OK(try_make(&f, name, S_IFREG | 0600));
	CHECK_OK(try_look(&f, name));
	name[256] = 'n';
	CHECK_ERR(try_make(&f, name, S_IFREG | 0600), -ENAMETOOLONG);
	CHECK_ERR(try_unlink(&f, name), -ENAMETOOLONG);
	CHECK_ERR(try_look(&f, name), -ENAMETOOLONG);
	fixture_close(&f);
}

TEST(test_nodeid__is_generation_and_number_and_goes_stale)
{
	struct fixture f;
	struct fs_attr attr;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/file");
	attr = attr_of_node(&f, id);
	CHECK_EQ((uint32_t)id, attr.ino);
	CHECK_ERR(fs_getattr(f.fs, &f.ctx, id ^ (1ull << 40), &attr), -ESTALE);
	CHECK_ERR(fs_getattr(f.fs, &f.ctx, 0, &attr), -ESTALE);
	CHECK_ERR(fs_getattr(f.fs, &f.ctx, 2, &attr), -ESTALE);
	CHECK_ERR(fs_getattr(f.fs, &f.ctx, 8, &attr), -ESTALE); /* the journal */
	CHECK_ERR(fs_getattr(f.fs, &f.ctx, 0x7fffffff, &attr), -ESTALE);
	CHECK_EQ(attr_of_node(&f, 1).ino, 2);
	CHECK_OK(try_unlink(&f, "/file"));
	CHECK_OK(fs_getattr(f.fs, &f.ctx, id, &attr));
	CHECK_EQ(attr.nlink, 0);
	forget(&f, id);
	CHECK_ERR(fs_getattr(f.fs, &f.ctx, id, &attr), -ESTALE);
	fixture_close(&f);
}

TEST(test_create__kinds_and_errors)
{
	struct fixture f;
	struct fs_create req = { .dir = 1, .name = name_of("file"), .mode = S_IFREG | 0600 };
	struct fs_entry e;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/file");
	CHECK_ERR(try_make(&f, "/file", S_IFREG | 0600), -EEXIST);
	CHECK_ERR(try_make(&f, "/file", S_IFDIR | 0700), -EEXIST);
	CHECK_OK(fs_create(f.fs, &f.ctx, &req, &e)); /* not exclusive: the one that is there */
	CHECK_EQ(e.nodeid, id);
	CHECK_EQ(e.attr.mode, S_IFREG | 0644);
	fs_forget(f.fs, f.session, id, 2);
	req.mode = 0600;
	req.name = name_of("typeless");
	CHECK_ERR(fs_create(f.fs, &f.ctx, &req, &e), -EINVAL);
	CHECK_ERR(try_make(&f, "/.", S_IFDIR | 0700), -EEXIST);
	CHECK_ERR(try_make(&f, "/..", S_IFDIR | 0700), -EEXIST);
	CHECK_OK(try_make(&f, "/fifo", S_IFIFO | 0600));
	CHECK_OK(try_make(&f, "/sock", S_IFSOCK | 0600));
	CHECK_OK(try_make(&f, "/link", S_IFLNK));
	CHECK_OK(try_make(&f, "/dir", S_IFDIR | 0700));
	req = (struct fs_create){
		.dir = 1, .name = name_of("dev"), .mode = S_IFCHR | 0600, .rdev = 0x12300456
	};
	CHECK_OK(fs_create(f.fs, &f.ctx, &req, &e));
	CHECK_EQ(e.attr.rdev, 0x12300456);
	forget(&f, e.nodeid);
	fixture_remount(&f);
	CHECK_EQ(attr_of(&f, "/dev").rdev, 0x12300456);
	CHECK_EQ(attr_of(&f, "/link").mode, S_IFLNK | 0777);
	CHECK_EQ(attr_of(&f, "/fifo").mode, S_IFIFO | 0600);
	fixture_close(&f);
}

TEST(test_symlink__lengths)
{
	struct fixture f;
	char target[5000], got[5000];
	struct fs_create req = { .dir = 1, .mode = S_IFLNK, .target = target };
	static const uint32_t lens[] = { 1, 59, 60, 61, 255, 1000, 4095 };
	struct fs_entry e;
	char name[16];
	uint32_t len;

	fixture_open(&f, "-b 4096 -J size=4 32M");
	memset(target, 't', sizeof(target));
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		(void)snprintf(name, sizeof(name), "l%zu", i);
		req.name = name_of(name);
		req.target_len = lens[i];
		CHECK_OK(fs_create(f.fs, &f.ctx, &req, &e));
		CHECK_EQ(e.attr.size, lens[i]);
		CHECK_OK(fs_readlink(f.fs, &f.ctx, e.nodeid, got, sizeof(got), &len));
		CHECK_EQ(len, lens[i]);
		CHECK_MEM_EQ(got, target, len);
		forget(&f, e.nodeid);
	}
	req.name = name_of("long");
	req.target_len = 4096;
	CHECK_ERR(fs_create(f.fs, &f.ctx, &req, &e), -ENAMETOOLONG);
	req.target_len = 0;
	CHECK_ERR(fs_create(f.fs, &f.ctx, &req, &e), -ENOENT);
	CHECK_ERR(fs_readlink(f.fs, &f.ctx, 1, got, sizeof(got), &len), -EINVAL);
	fixture_close(&f);
}

TEST(test_mkdir_rmdir__count_links)
{
	struct fixture f;

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/d"));
	CHECK_EQ(attr_of(&f, "/d").nlink, 2);
	CHECK_EQ(attr_of(&f, "/").nlink, 4); /* ., .., lost+found, d */
	forget(&f, make_dir(&f, "/d/e"));
	forget(&f, make_file(&f, "/d/f"));
	CHECK_EQ(attr_of(&f, "/d").nlink, 3);
	CHECK_ERR(try_rmdir(&f, "/d"), -ENOTEMPTY);
	CHECK_ERR(try_rmdir(&f, "/d/f"), -ENOTDIR);
	CHECK_ERR(try_unlink(&f, "/d/e"), -EISDIR);
	CHECK_ERR(try_rmdir(&f, "/d/."), -EINVAL);
	CHECK_ERR(try_rmdir(&f, "/d/.."), -ENOTEMPTY);
	CHECK_OK(try_rmdir(&f, "/d/e"));
	CHECK_EQ(attr_of(&f, "/d").nlink, 2);
	CHECK_OK(try_unlink(&f, "/d/f"));
	CHECK_OK(try_rmdir(&f, "/d"));
	CHECK_ERR(try_rmdir(&f, "/d"), -ENOENT);
	CHECK_EQ(attr_of(&f, "/").nlink, 3);
	fixture_close(&f);
}

TEST(test_removed_directory__takes_no_names)
{
	struct fs_create req = { .name = name_of("x"), .mode = S_IFREG | 0600, .excl = true };
	struct fs_rename mv = { .dir = 1, .name = name_of("f"), .newname = name_of("f") };
	struct fixture f;
	struct fs_entry e;
	uint64_t dir;

	fixture_open(&f, NULL);
	forget(&f, make_file(&f, "/f"));
	dir = make_dir(&f, "/d");
	CHECK_OK(try_rmdir(&f, "/d"));
	req.dir = dir;
	CHECK_ERR(fs_create(f.fs, &f.ctx, &req, &e), -ENOENT);
	mv.newdir = dir;
	CHECK_ERR(fs_rename(f.fs, &f.ctx, &mv), -ENOENT);
	CHECK_ERR(fs_link(f.fs, &f.ctx, look(&f, "/f"), dir, name_of("l"), &e), -ENOENT);
	CHECK_OK(fs_lookup(f.fs, &f.ctx, dir, name_of("x"), &e));
	CHECK_EQ(e.nodeid, 0);
	CHECK_EQ(attr_of_node(&f, dir).nlink, 0);
	forget(&f, dir);
	fixture_close(&f);
}

TEST(test_link__counts_and_refuses)
{
	struct fixture f;

	fixture_open(&f, NULL);
	forget(&f, make_file(&f, "/a"));
	forget(&f, make_dir(&f, "/d"));
	CHECK_OK(try_link(&f, "/a", "/d/b"));
	CHECK_EQ(attr_of(&f, "/a").nlink, 2);
	CHECK_EQ(attr_of(&f, "/a").ino, attr_of(&f, "/d/b").ino);
	CHECK_ERR(try_link(&f, "/a", "/d/b"), -EEXIST);
	CHECK_ERR(try_link(&f, "/d", "/e"), -EPERM);
	CHECK_OK(try_unlink(&f, "/a"));
	CHECK_EQ(attr_of(&f, "/d/b").nlink, 1);
	fixture_close(&f);
}

TEST(test_link__at_most_65000)
{
	struct fixture f;
	struct fs_entry e;
	char name[16];
	uint64_t id;

#ifdef KFS_SANITIZE
	SKIP("65,000 links take too long with a sanitizer");
#endif
	fixture_open(&f, "-b 4096 -J size=8 64M");
	id = make_file(&f, "/a");
	for (uint32_t i = 1; i < EXT4_LINK_MAX; i++) {
		(void)snprintf(name, sizeof(name), "l%u", i);
		CHECK_OK(fs_link(f.fs, &f.ctx, id, 1, name_of(name), &e));
	}
	CHECK_EQ(e.attr.nlink, EXT4_LINK_MAX);
	CHECK_ERR(fs_link(f.fs, &f.ctx, id, 1, name_of("more"), &e), -EMLINK);
	CHECK_OK(try_unlink(&f, "/l7"));
	CHECK_OK(fs_link(f.fs, &f.ctx, id, 1, name_of("more"), &e));
	fixture_close(&f);
}

TEST(test_rename__plain_and_over)
{
	struct fixture f;
	uint64_t over;

	fixture_open(&f, NULL);
	forget(&f, make_file(&f, "/a"));
	over = make_file(&f, "/b");
	forget(&f, make_dir(&f, "/d"));
	forget(&f, make_dir(&f, "/e"));
	CHECK_OK(try_rename(&f, "/a", "/d/a", 0));
	CHECK_ERR(try_look(&f, "/a"), -ENOENT);
	CHECK_ERR(try_rename(&f, "/a", "/x", 0), -ENOENT);
	CHECK_OK(try_rename(&f, "/d/a", "/b", 0));
	CHECK_EQ(attr_of_node(&f, over).nlink, 0);
	forget(&f, over);
	CHECK_ERR(try_rename(&f, "/b", "/d", 0), -EISDIR);
	CHECK_ERR(try_rename(&f, "/d", "/b", 0), -ENOTDIR);
	CHECK_ERR(try_rename(&f, "/b", "/d", FS_RENAME_NOREPLACE), -EEXIST);
	CHECK_OK(try_rename(&f, "/d", "/e", 0)); /* an empty directory is replaced */
	CHECK_EQ(attr_of(&f, "/").nlink, 4);
	CHECK_OK(try_rename(&f, "/b", "/b", 0));
	CHECK_OK(try_link(&f, "/b", "/c"));
	CHECK_OK(try_rename(&f, "/b", "/c", 0)); /* one inode: nothing happens */
	CHECK_OK(try_look(&f, "/b"));
	CHECK_ERR(try_rename(&f, "/b", "/.", 0), -EBUSY);
	CHECK_ERR(try_rename(&f, "/..", "/x", 0), -EBUSY);
	fixture_close(&f);
}

TEST(test_rename__directories_move_with_their_parents)
{
	struct fixture f;
	struct fs_entry e;
	uint64_t c;

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/a"));
	forget(&f, make_dir(&f, "/b"));
	c = make_dir(&f, "/a/c");
	forget(&f, make_file(&f, "/a/c/f"));
	CHECK_OK(try_rename(&f, "/a/c", "/b/c", 0));
	CHECK_EQ(attr_of(&f, "/a").nlink, 2);
	CHECK_EQ(attr_of(&f, "/b").nlink, 3);
	CHECK_OK(fs_lookup_parent(f.fs, &f.ctx, c, &e));
	CHECK_EQ(e.attr.ino, attr_of(&f, "/b").ino);
	forget(&f, e.nodeid);
	CHECK_ERR(try_rename(&f, "/b", "/b/c/x", 0), -EINVAL);
	CHECK_ERR(try_rename(&f, "/b", "/b/x", 0), -EINVAL);
	CHECK_ERR(try_rename(&f, "/b/c", "/b", 0), -ENOTEMPTY);
	CHECK_ERR(try_rename(&f, "/b/c/f", "/b", 0), -ENOTEMPTY);
	forget(&f, make_dir(&f, "/a/full"));
	forget(&f, make_file(&f, "/a/full/x"));
	CHECK_ERR(try_rename(&f, "/b/c", "/a/full", 0), -ENOTEMPTY);
	forget(&f, make_dir(&f, "/a/empty"));
	CHECK_OK(try_rename(&f, "/b/c", "/a/empty", 0));
	CHECK_EQ(attr_of(&f, "/a").nlink, 4);
	CHECK_EQ(attr_of(&f, "/b").nlink, 2);
	forget(&f, c);
	fixture_close(&f);
}

TEST(test_rename__exchange_mixes_kinds)
{
	struct fixture f;
	struct fs_entry e;
	uint64_t d;

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/a"));
	forget(&f, make_dir(&f, "/b"));
	d = make_dir(&f, "/a/x");
	forget(&f, make_file(&f, "/b/x"));
	CHECK_OK(try_rename(&f, "/a/x", "/b/x", FS_RENAME_EXCHANGE));
	CHECK_EQ(attr_of(&f, "/a/x").mode & S_IFMT, S_IFREG);
	CHECK_EQ(attr_of(&f, "/b/x").mode & S_IFMT, S_IFDIR);
	CHECK_EQ(attr_of(&f, "/a").nlink, 2);
	CHECK_EQ(attr_of(&f, "/b").nlink, 3);
	CHECK_OK(fs_lookup_parent(f.fs, &f.ctx, d, &e));
	CHECK_EQ(e.attr.ino, attr_of(&f, "/b").ino);
	forget(&f, e.nodeid);
	forget(&f, d);
	CHECK_OK(try_rename(&f, "/a", "/b", FS_RENAME_EXCHANGE));
	CHECK_EQ(attr_of(&f, "/a/x").mode & S_IFMT, S_IFDIR);
	CHECK_ERR(try_rename(&f, "/a", "/none", FS_RENAME_EXCHANGE), -ENOENT);
	CHECK_ERR(try_rename(&f, "/a", "/a/x", FS_RENAME_EXCHANGE), -EINVAL);
	CHECK_ERR(try_rename(&f, "/a/x", "/a", FS_RENAME_EXCHANGE), -EINVAL);
	CHECK_ERR(try_rename(&f, "/a", "/b", FS_RENAME_EXCHANGE | FS_RENAME_NOREPLACE), -EINVAL);
	CHECK_ERR(try_rename(&f, "/a", "/b", 64), -EINVAL);
	fixture_close(&f);
}

TEST(test_rename__whiteout_stays_behind)
{
	struct fixture f;

	fixture_open(&f, NULL);
	forget(&f, make_file(&f, "/a"));
	forget(&f, make_dir(&f, "/d"));
	forget(&f, make_file(&f, "/d/old"));
	CHECK_OK(try_rename(&f, "/a", "/d/b", FS_RENAME_WHITEOUT));
	CHECK_EQ(attr_of(&f, "/a").mode, S_IFCHR);
	CHECK_EQ(attr_of(&f, "/a").rdev, 0);
	CHECK_OK(try_rename(&f, "/d/b", "/d/old", FS_RENAME_WHITEOUT));
	CHECK_EQ(attr_of(&f, "/d/b").mode, S_IFCHR);
	fixture_remount(&f);
	CHECK_EQ(attr_of(&f, "/a").nlink, 1);
	fixture_close(&f);
}

TEST(test_directory_links__become_many)
{
	struct fixture f;
	char name[32];

#ifdef KFS_SANITIZE
	SKIP("65,000 directories take too long with a sanitizer");
#endif
	fixture_open(&f, "-b 4096 -J size=8 -N 66000 -I 128 600M");
	forget(&f, make_dir(&f, "/d"));
	for (uint32_t i = 2; i < EXT4_LINK_MAX; i++) {
		(void)snprintf(name, sizeof(name), "/d/s%u", i);
		CHECK_OK(try_make(&f, name, S_IFDIR | 0700));
	}
	CHECK_EQ(attr_of(&f, "/d").nlink, EXT4_LINK_MAX);
	CHECK_OK(try_make(&f, "/d/one-more", S_IFDIR | 0700));
	CHECK_EQ(attr_of(&f, "/d").nlink, 1);
	CHECK_OK(try_rmdir(&f, "/d/one-more"));
	CHECK_OK(try_rmdir(&f, "/d/s2"));
	CHECK_EQ(attr_of(&f, "/d").nlink, 1);
	fixture_close(&f);
}

TEST(test_times__of_parent_and_child_change)
{
	struct fs_setattr old = { .valid = FS_SET_MTIME | FS_SET_CTIME | FS_SET_ATIME };
	struct fixture f;
	struct fs_attr a;

	fixture_open(&f, "-b 1024 -I 256 -J size=4 24M");
	forget(&f, make_dir(&f, "/d"));
	forget(&f, make_file(&f, "/d/f"));
	CHECK_OK(try_setattr(&f, "/d", old));
	CHECK_OK(try_setattr(&f, "/d/f", old));
	CHECK_EQ(attr_of(&f, "/d").ctime.s, 0);
	CHECK_OK(try_link(&f, "/d/f", "/d/g"));
	a = attr_of(&f, "/d");
	CHECK(a.mtime.s > 0 && a.ctime.s > 0 && a.atime.s == 0);
	a = attr_of(&f, "/d/f");
	CHECK(a.mtime.s == 0 && a.ctime.s > 0);
	CHECK_OK(try_setattr(&f, "/d", old));
	CHECK_OK(try_setattr(&f, "/d/f", old));
	CHECK_OK(try_rename(&f, "/d/f", "/d/h", 0));
	CHECK(attr_of(&f, "/d").mtime.s > 0);
	CHECK(attr_of(&f, "/d/h").ctime.s > 0);
	CHECK_OK(try_setattr(&f, "/d", old));
	CHECK_OK(try_setattr(&f, "/d/g", old));
	CHECK_OK(try_unlink(&f, "/d/h"));
	CHECK(attr_of(&f, "/d").mtime.s > 0);
	CHECK(attr_of(&f, "/d/g").ctime.s > 0);
	fixture_close(&f);
}

TEST(test_setgid_directory__hands_down_group)
{
	struct fixture f;

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/d"));
	CHECK_OK(try_setattr(&f, "/d",
			     (struct fs_setattr){ .valid = FS_SET_GID | FS_SET_MODE,
						  .gid = 77,
						  .mode = 02777 }));
	f.ctx.uid = f.ctx.gid = 1000;
	f.ctx.umask = 022;
	CHECK_OK(try_make(&f, "/d/f", S_IFREG | 0666));
	CHECK_EQ(attr_of(&f, "/d/f").gid, 77);
	CHECK_EQ(attr_of(&f, "/d/f").mode, S_IFREG | 0644);
	CHECK_OK(try_make(&f, "/d/s", S_IFDIR | 0777));
	CHECK_EQ(attr_of(&f, "/d/s").gid, 77);
	CHECK_EQ(attr_of(&f, "/d/s").mode, S_IFDIR | 02755);
	CHECK_OK(try_make(&f, "/d/x", S_IFREG | 02755)); /* not a member: S_ISGID goes */
	CHECK_EQ(attr_of(&f, "/d/x").mode, S_IFREG | 0755);
	f.ctx.has_supp_gid = true;
	f.ctx.supp_gid = 77;
	CHECK_OK(try_make(&f, "/d/y", S_IFREG | 02755));
	CHECK_EQ(attr_of(&f, "/d/y").mode, S_IFREG | 02755);
	fixture_close(&f);
}

static int set_flags(struct fixture *f, const char *path, uint32_t flags)
{
	struct fs_fileattr attr = { .flags = flags }, old;
	uint64_t id = look(f, path);
	int error = fs_fileattr_get(f->fs, &f->ctx, id, &old);

	CHECK_OK(error);
	attr.flags |= old.flags & (EXT4_EXTENTS_FL | EXT4_INDEX_FL);
	error = fs_fileattr_set(f->fs, &f->ctx, id, FS_FILEATTR_FLAGS, &attr);
	forget(f, id);
	return error;
}

TEST(test_immutable_and_append_only__refuse_names)
{
	struct fixture f;

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/d"));
	forget(&f, make_file(&f, "/d/f"));
	forget(&f, make_file(&f, "/o"));
	CHECK_OK(set_flags(&f, "/d", EXT4_IMMUTABLE_FL));
	CHECK_ERR(try_make(&f, "/d/x", S_IFREG | 0600), -EPERM);
	CHECK_ERR(try_unlink(&f, "/d/f"), -EPERM);
	CHECK_ERR(try_rename(&f, "/d/f", "/g", 0), -EPERM);
	CHECK_ERR(try_rename(&f, "/o", "/d/o", 0), -EPERM);
	CHECK_ERR(try_link(&f, "/o", "/d/o"), -EPERM);
	CHECK_ERR(try_rmdir(&f, "/d"), -EPERM);
	CHECK_OK(set_flags(&f, "/d", EXT4_APPEND_FL));
	CHECK_OK(try_make(&f, "/d/x", S_IFREG | 0600));
	CHECK_OK(try_link(&f, "/o", "/d/o"));
	CHECK_ERR(try_unlink(&f, "/d/f"), -EPERM);
	CHECK_ERR(try_rename(&f, "/d/f", "/d/g", 0), -EPERM);
	CHECK_OK(set_flags(&f, "/d", 0));
	CHECK_OK(set_flags(&f, "/o", EXT4_IMMUTABLE_FL));
	CHECK_ERR(try_unlink(&f, "/o"), -EPERM);
	CHECK_ERR(try_link(&f, "/o", "/p"), -EPERM);
	CHECK_ERR(try_rename(&f, "/d/f", "/o", 0), -EPERM);
	CHECK_ERR(try_setattr(&f, "/o", (struct fs_setattr){ .valid = FS_SET_MODE }), -EPERM);
	CHECK_ERR(set_flags(&f, "/o", EXT4_IMMUTABLE_FL | EXT4_NODUMP_FL), -EPERM);
	CHECK_OK(set_flags(&f, "/o", 0));
	CHECK_OK(try_unlink(&f, "/o"));
	fixture_close(&f);
}

TEST(test_readonly__refuses_changes_and_serves_reads)
{
	struct fixture f;
	struct fs_attr attr;

	fixture_open(&f, NULL);
	forget(&f, make_file(&f, "/f"));
	fixture_unmount(&f);
	f.store_opts.readonly = true;
	fixture_mount(&f);
	CHECK_OK(try_look(&f, "/f"));
	CHECK_ERR(try_make(&f, "/g", S_IFREG | 0600), -EROFS);
	CHECK_ERR(try_unlink(&f, "/f"), -EROFS);
	CHECK_ERR(try_rename(&f, "/f", "/g", 0), -EROFS);
	CHECK_OK(fs_fsync(f.fs, &f.ctx, 1, false));
	fixture_unmount(&f);
	f.store_opts.readonly = false;
	f.session_opts.readonly = true;
	fixture_mount(&f);
	CHECK_ERR(try_unlink(&f, "/f"), -EROFS);
	CHECK_ERR(fs_setattr(f.fs, &f.ctx,
			     &(struct fs_setattr){ .nodeid = 1, .valid = FS_SET_MODE }, &attr),
		  -EROFS);
	fixture_close(&f);
}

struct names_seen {
	uint32_t count, plus, dots;
	uint64_t cookie;
	uint32_t stop_after;
	uint64_t ids[4096];
};

static int see(void *arg, const struct fs_dirent *d)
{
	struct names_seen *s = arg;

	if (s->stop_after && s->count == s->stop_after)
		return 1;
	s->dots += d->name.name[0] == '.';
	s->cookie = d->cookie;
	if (d->entry) {
		CHECK_EQ(d->entry->attr.ino, d->ino);
		s->ids[s->plus++] = d->entry->nodeid;
	}
	s->count++;
	return 0;
}

TEST(test_readdir__lists_all_once_however_it_is_cut)
{
	static struct names_seen s;
	struct fixture f;
	struct fs_stats before, after;
	char name[32];

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/d"));
	for (uint32_t i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "/d/name-%u", i);
		CHECK_OK(try_make(&f, name, i % 9 ? S_IFREG | 0600 : S_IFDIR | 0700));
	}
	fs_get_stats(f.fs, &before);
	for (uint32_t step = 0; step < 100; step += 13) {
		uint64_t dir = look(&f, "/d");
		uint32_t had;

		memset(&s, 0, sizeof(s));
		do {
			had = s.count;
			s.stop_after = step ? s.count + step : 0;
			CHECK_OK(fs_readdir(f.fs, &f.ctx, dir, s.cookie, step % 2, see, &s));
		} while (s.count > had);
		CHECK_EQ(s.count, 1002);
		CHECK_EQ(s.dots, 2);
		CHECK_EQ(s.plus, step % 2 ? 1000 : 0);
		for (uint32_t i = 0; i < s.plus; i++)
			forget(&f, s.ids[i]);
		forget(&f, dir);
	}
	/* What was shown but not taken is not counted. */
	fs_get_stats(f.fs, &after);
	CHECK_EQ(after.nodes, before.nodes);
	CHECK_ERR(fs_readdir(f.fs, &f.ctx, look(&f, "/d/name-1"), 0, false, see, &s), -ENOTDIR);
	fixture_close(&f);
}
