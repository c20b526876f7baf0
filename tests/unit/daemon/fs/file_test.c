/* SPDX-License-Identifier: GPL-2.0-only */
/* Contents: appends, short writes, copying, holes, preallocation, freezing. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/daemon/fs/fixture.h"

static uint8_t data[1 << 20], back[1 << 20];

TEST(test_write_append__goes_to_the_end)
{
	struct iovec iov[3] = { { "abc", 3 }, { "", 0 }, { "de", 2 } };
	struct fs_write w = {
		.iov = iov, .iovcnt = 3, .off = 0, .len = 5, .flags = FS_WRITE_APPEND
	};
	struct fixture f;
	char got[16];

	fixture_open(&f, NULL);
	w.nodeid = make_file(&f, "/f");
	for (int i = 0; i < 3; i++)
		CHECK_EQ(fs_write(f.fs, &f.ctx, &w), 5);
	CHECK_EQ(read_node(&f, w.nodeid, got, sizeof(got), 0), 15);
	CHECK_MEM_EQ(got, "abcdeabcdeabcde", 15);
	CHECK_EQ(read_node(&f, w.nodeid, got, sizeof(got), 15), 0);
	w.len = 6; /* more than the vectors hold */
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), -EINVAL);
	w.flags = 0;
	w.len = 5;
	w.off = 1ull << 62;
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), -EFBIG);
	CHECK_EQ(write_node(&f, 1, "x", 1, 0), -EISDIR);
	CHECK_EQ(read_node(&f, 1, got, 1, 0), -EISDIR);
	forget(&f, w.nodeid);
	fixture_close(&f);
}

TEST(test_write__short_only_for_programs)
{
	struct iovec iov = { data, sizeof(data) };
	struct fs_write w = { .iov = &iov, .iovcnt = 1, .len = sizeof(data) };
	struct fixture f;
	ssize_t n, last = 0;

	fixture_open(&f, "-b 1024 -m 0 -J size=1 8M");
	w.nodeid = make_file(&f, "/f");
	while ((n = fs_write(f.fs, &f.ctx, &w)) > 0) {
		last = n;
		w.off += (uint64_t)n;
	}
	CHECK_EQ(n, -ENOSPC);
	CHECK(last > 0 && last < (ssize_t)sizeof(data));
	CHECK_EQ(attr_of(&f, "/f").size, w.off);
	/* The page cache must hear of the error, however much of it was written. */
	CHECK_OK(try_setattr(&f, "/f",
			     (struct fs_setattr){ .valid = FS_SET_SIZE, .size = w.off - 4096 }));
	w.off -= 4096;
	w.flags = FS_WRITE_CACHE;
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), -ENOSPC);
	forget(&f, w.nodeid);
	fixture_close(&f);
}

TEST(test_write_cache__keeps_times_of_writeback_sessions)
{
	const struct fs_setattr old = { .valid = FS_SET_MTIME | FS_SET_CTIME };
	struct iovec iov = { data, 100 };
	struct fs_write w = { .iov = &iov, .iovcnt = 1, .len = 100, .flags = FS_WRITE_CACHE };
	struct fixture f;

	fixture_open(&f, NULL);
	fixture_unmount(&f);
	f.session_opts.writeback = true;
	fixture_mount(&f);
	w.nodeid = make_file(&f, "/f");
	CHECK_OK(try_setattr(&f, "/f", old));
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), 100);
	CHECK_EQ(attr_of(&f, "/f").mtime.s, 0);
	CHECK_EQ(attr_of(&f, "/f").size, 100);
	w.flags = 0;
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), 100);
	CHECK_GT(attr_of(&f, "/f").mtime.s, 0);
	forget(&f, w.nodeid);
	fixture_close(&f);
}

TEST(test_copy_range__bytes_holes_and_refusals)
{
	struct fs_copy c = { .len = 200000 };
	struct fixture f;
	uint64_t off;

	fixture_open(&f, NULL);
	test_random_fill(data, sizeof(data));
	c.nodeid_in = make_file(&f, "/in");
	c.nodeid_out = make_file(&f, "/out");
	CHECK_EQ(write_node(&f, c.nodeid_in, data, 5000, 0), 5000);
	CHECK_EQ(write_node(&f, c.nodeid_in, data + 100000, 3000, 100000), 3000);
	CHECK_OK(try_setattr(&f, "/in",
			     (struct fs_setattr){ .valid = FS_SET_SIZE, .size = 150000 }));
	CHECK_EQ(fs_copy_range(f.fs, &f.ctx, &c), 150000);
	CHECK_EQ(attr_of(&f, "/out").size, 150000);
	CHECK_LT(attr_of(&f, "/out").blocks, 40);
	CHECK_EQ(read_node(&f, c.nodeid_out, back, sizeof(back), 0), 150000);
	memset(data + 5000, 0, 95000);
	memset(data + 103000, 0, 47000);
	CHECK_MEM_EQ(back, data, 150000);
	CHECK_OK(fs_lseek(f.fs, &f.ctx, c.nodeid_out, 6000, false, &off));
	CHECK_EQ(off, 99328); /* the block that 100000 lies in */
	CHECK_OK(fs_lseek(f.fs, &f.ctx, c.nodeid_out, 0, true, &off));
	CHECK_EQ(off, 5120);
	CHECK_ERR(fs_lseek(f.fs, &f.ctx, c.nodeid_out, 120000, false, &off), -ENXIO);
	CHECK_ERR(fs_lseek(f.fs, &f.ctx, c.nodeid_out, 150000, true, &off), -ENXIO);
	/* Holes over data punch. */
	c = (struct fs_copy){ c.nodeid_in, 5000, c.nodeid_out, 0, 3000 };
	CHECK_EQ(fs_copy_range(f.fs, &f.ctx, &c), 3000);
	CHECK_EQ(read_node(&f, c.nodeid_out, back, 3000, 0), 3000);
	CHECK_MEM_EQ(back, data + 5000, 3000);
	c = (struct fs_copy){ c.nodeid_in, 0, c.nodeid_in, 4999, 5000 };
	CHECK_EQ(fs_copy_range(f.fs, &f.ctx, &c), -EINVAL);
	c.off_out = 5000;
	CHECK_EQ(fs_copy_range(f.fs, &f.ctx, &c), 5000);
	c.off_in = 150000;
	CHECK_EQ(fs_copy_range(f.fs, &f.ctx, &c), 0); /* nothing behind the end */
	c.nodeid_out = 1;
	c.off_in = 0;
	CHECK_EQ(fs_copy_range(f.fs, &f.ctx, &c), -EISDIR);
	forget(&f, c.nodeid_in);
	fixture_close(&f);
}

TEST(test_fallocate__modes)
{
	struct fixture f;
	uint64_t id;

	fixture_open(&f, NULL);
	memset(data, 'x', 100000);
	id = make_file(&f, "/f");
	CHECK_EQ(write_node(&f, id, data, 100000, 0), 100000);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, id, 1, 100000, 100000));
	CHECK_EQ(attr_of(&f, "/f").size, 100000);
	CHECK_GE(attr_of(&f, "/f").blocks, 390);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, id, 0, 100000, 50000));
	CHECK_EQ(attr_of(&f, "/f").size, 150000);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, id, 3, 1000, 5000));
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, id, 0x11, 10000, 5000));
	CHECK_EQ(read_node(&f, id, back, 16000, 0), 16000);
	memset(data + 1000, 0, 5000);
	memset(data + 10000, 0, 5000);
	CHECK_MEM_EQ(back, data, 16000);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, id, 8, 1024, 4096));
	CHECK_EQ(attr_of(&f, "/f").size, 150000 - 4096);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, id, 0x20, 1024, 4096));
	CHECK_EQ(attr_of(&f, "/f").size, 150000);
	CHECK_ERR(fs_fallocate(f.fs, &f.ctx, id, 2, 0, 10), -EOPNOTSUPP);
	CHECK_ERR(fs_fallocate(f.fs, &f.ctx, id, 0, 0, 0), -EINVAL);
	CHECK_ERR(fs_fallocate(f.fs, &f.ctx, id, 0, 1ull << 60, 10), -EFBIG);
	CHECK_ERR(fs_fallocate(f.fs, &f.ctx, id, 8, 100, 4096), -EINVAL);
	CHECK_ERR(fs_fallocate(f.fs, &f.ctx, 1, 0, 0, 10), -EISDIR);
	forget(&f, id);
	fixture_close(&f);
}

TEST(test_open__checks_flags_of_the_file)
{
	struct fs_fileattr attr = { .flags = EXT4_IMMUTABLE_FL | EXT4_EXTENTS_FL };
	struct fixture f;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	CHECK_EQ(write_node(&f, id, "abc", 3, 0), 3);
	CHECK_OK(fs_open(f.fs, &f.ctx, id, O_RDWR));
	CHECK_OK(fs_fileattr_set(f.fs, &f.ctx, id, FS_FILEATTR_FLAGS, &attr));
	CHECK_OK(fs_open(f.fs, &f.ctx, id, O_RDONLY));
	CHECK_ERR(fs_open(f.fs, &f.ctx, id, O_WRONLY), -EPERM);
	CHECK_EQ(write_node(&f, id, "x", 1, 0), -EPERM);
	attr.flags = EXT4_APPEND_FL | EXT4_EXTENTS_FL;
	CHECK_OK(fs_fileattr_set(f.fs, &f.ctx, id, FS_FILEATTR_FLAGS, &attr));
	CHECK_ERR(fs_open(f.fs, &f.ctx, id, O_WRONLY), -EPERM);
	CHECK_OK(fs_open(f.fs, &f.ctx, id, O_WRONLY | O_APPEND));
	CHECK_ERR(fs_open(f.fs, &f.ctx, id, O_WRONLY | O_APPEND | O_TRUNC), -EPERM);
	attr.flags = EXT4_EXTENTS_FL;
	CHECK_OK(fs_fileattr_set(f.fs, &f.ctx, id, FS_FILEATTR_FLAGS, &attr));
	CHECK_OK(fs_open(f.fs, &f.ctx, id, O_WRONLY | O_TRUNC));
	CHECK_EQ(attr_of(&f, "/f").size, 0);
	CHECK_ERR(fs_open(f.fs, &f.ctx, 1, O_WRONLY), -EISDIR);
	CHECK_OK(fs_open(f.fs, &f.ctx, 1, O_RDONLY));
	fs_release(f.fs, &f.ctx, id, 0, false);
	forget(&f, id);
	fixture_close(&f);
}

/* ---- freezing ------------------------------------------------------------- */

struct changer {
	struct fixture *f;
	_Atomic uint64_t made;
	_Atomic bool stop;
};

static void *change_on(void *arg)
{
	struct changer *c = arg;
	struct fs_create req = { .dir = 1, .mode = S_IFREG | 0600, .excl = true };
	struct fs_ctx ctx = c->f->ctx;
	struct fs_entry e;
	char name[32];

	for (uint64_t i = 0; !atomic_load(&c->stop); i++) {
		(void)snprintf(name, sizeof(name), "c%lu", (unsigned long)i);
		req.name = name_of(name);
		CHECK_OK(fs_create(c->f->fs, &ctx, &req, &e));
		CHECK_OK(fs_unlink(c->f->fs, &ctx, 1, req.name));
		fs_forget(c->f->fs, ctx.session, e.nodeid, 1);
		atomic_fetch_add(&c->made, 1);
	}
	return NULL;
}

TEST(test_freeze__stops_changes_and_leaves_a_whole_image)
{
	struct changer c = { .made = 0 };
	char copy[300];
	struct fixture f;
	pthread_t thread;
	uint64_t before;

	fixture_open(&f, NULL);
	c.f = &f;
	(void)snprintf(copy, sizeof(copy), "%s.copy", f.image);
	CHECK_OK(pthread_create(&thread, NULL, change_on, &c));
	for (int round = 0; round < 3; round++) {
		while (atomic_load(&c.made) < (uint64_t)(round + 1) * 50)
			;
		CHECK_OK(fs_freeze(f.fs));
		CHECK_ERR(fs_freeze(f.fs), -EBUSY);
		before = atomic_load(&c.made);
		CHECK_OK(try_look(&f, "/lost+found"));
		run_command("cp '%s' '%s'", f.image, copy);
		/* Not a byte changes while frozen: the copy is a clean filesystem. */
		run_command("cmp '%s' '%s'", f.image, copy);
		CHECK_LE(atomic_load(&c.made), before + 1);
		fs_thaw(f.fs);
		/* An unlinked file that is still known is on the orphan list, as with the kernel. */
		run_command("PATH=$PATH:/usr/sbin:/sbin; e2fsck -p '%s' >/dev/null || [ $? = 1 ]",
			    copy);
		fixture_fsck(copy);
	}
	atomic_store(&c.stop, true);
	CHECK_OK(pthread_join(thread, NULL));
	fixture_close(&f);
}
