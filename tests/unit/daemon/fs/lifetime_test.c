/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long inodes live: unlinked files that somebody knows, unnamed files, sessions that
 * end, crashes; and what sessions may refer to. Space and numbers must come back exactly.
 */
#include <stdio.h>
#include <string.h>

#include "tests/unit/daemon/fs/fixture.h"

static uint8_t data[1 << 20];

/* Space is allocatable again after a commit, but counted as free at once. */
static void check_space(struct fixture *f, uint64_t blocks, uint64_t inodes)
{
	CHECK_OK(fs_syncfs(f->fs));
	CHECK_EQ(blocks_free(f), blocks);
	CHECK_EQ(inodes_free(f), inodes);
}

TEST(test_unlinked_file__lives_until_the_last_forget)
{
	struct fixture f;
	struct fs_attr attr;
	struct fs_stats st;
	uint64_t blocks, inodes, id;
	char got[4];

	fixture_open(&f, NULL);
	blocks = blocks_free(&f);
	inodes = inodes_free(&f);
	id = make_file(&f, "/f");
	CHECK_EQ(look(&f, "/f"), id);
	CHECK_EQ(write_node(&f, id, data, 50000, 0), 50000);
	CHECK_OK(try_unlink(&f, "/f"));
	fs_get_stats(f.fs, &st);
	CHECK_EQ(st.unlinked_open, 1);
	CHECK_EQ(write_node(&f, id, "abcd", 4, 0), 4);
	CHECK_EQ(read_node(&f, id, got, 4, 0), 4);
	CHECK_MEM_EQ(got, "abcd", 4);
	CHECK_OK(fs_getattr(f.fs, &f.ctx, id, &attr));
	CHECK_EQ(attr.nlink, 0);
	CHECK(inodes_free(&f) < inodes);
	forget(&f, id);
	CHECK_OK(fs_getattr(f.fs, &f.ctx, id, &attr));
	fs_forget(f.fs, f.session, id, 1000); /* more than there are: clamped */
	CHECK_ERR(fs_getattr(f.fs, &f.ctx, id, &attr), -ESTALE);
	fs_forget(f.fs, f.session, id, 1000);
	check_space(&f, blocks, inodes);
	fs_get_stats(f.fs, &st);
	CHECK_EQ(st.unlinked_open, 0);
	CHECK_EQ(st.nodes, 0);
	fixture_close(&f);
}

TEST(test_unlink__deletes_at_once_what_nobody_knows)
{
	struct fixture f;
	uint64_t blocks, inodes, id;

	fixture_open(&f, NULL);
	blocks = blocks_free(&f);
	inodes = inodes_free(&f);
	id = make_file(&f, "/f");
	CHECK_EQ(write_node(&f, id, data, 100000, 0), 100000);
	forget(&f, id);
	forget(&f, make_dir(&f, "/d"));
	CHECK_OK(try_unlink(&f, "/f"));
	CHECK_OK(try_rmdir(&f, "/d"));
	check_space(&f, blocks, inodes);
	fixture_close(&f);
}

TEST(test_rename_over__deletes_what_nobody_knows)
{
	struct fixture f;
	uint64_t blocks, inodes, id;

	fixture_open(&f, NULL);
	forget(&f, make_file(&f, "/a"));
	blocks = blocks_free(&f);
	inodes = inodes_free(&f);
	id = make_file(&f, "/b");
	CHECK_EQ(write_node(&f, id, data, 100000, 0), 100000);
	forget(&f, id);
	CHECK_OK(try_rename(&f, "/a", "/b", 0));
	check_space(&f, blocks, inodes);
	fixture_close(&f);
}

TEST(test_large_unlinked_file__goes_to_the_reaper)
{
	struct fixture f;
	uint64_t blocks, inodes, id;

	fixture_open(&f, NULL);
	blocks = blocks_free(&f);
	inodes = inodes_free(&f);
	id = make_file(&f, "/f");
	for (uint64_t i = 0; i < 6; i++)
		CHECK_EQ(write_node(&f, id, data, sizeof(data), i * 2 * sizeof(data)),
			 (ssize_t)sizeof(data));
	CHECK_OK(try_unlink(&f, "/f"));
	forget(&f, id);
	reaper_drain(f.fs);
	check_space(&f, blocks, inodes);
	fixture_close(&f);
}

TEST(test_other_session__keeps_the_file)
{
	struct fs_session_opts opts = { .name = "second" };
	struct fs_session *second;
	struct fixture f;
	struct fs_ctx ctx;
	struct fs_entry e;
	uint64_t id;

	fixture_open(&f, NULL);
	CHECK_OK(fs_session_open(f.fs, &opts, &second));
	ctx = (struct fs_ctx){ .session = second };
	id = make_file(&f, "/f");
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of("f"), &e));
	CHECK_EQ(e.nodeid, id);
	CHECK_OK(try_unlink(&f, "/f"));
	forget(&f, id);
	CHECK_OK(fs_getattr(f.fs, &ctx, id, &e.attr));
	fs_session_close(second);
	CHECK_ERR(fs_getattr(f.fs, &f.ctx, id, &e.attr), -ESTALE);
	/* The struct serves again. */
	CHECK_OK(fs_session_open(f.fs, &opts, &second));
	fs_session_close(second);
	fixture_close(&f);
}

TEST(test_tmpfile__is_linked_once_or_vanishes)
{
	struct fixture f;
	struct fs_entry e;
	uint64_t blocks, inodes, id;

	fixture_open(&f, NULL);
	blocks = blocks_free(&f);
	inodes = inodes_free(&f);
	CHECK_OK(fs_tmpfile(f.fs, &f.ctx, 1, 0600, &e));
	id = e.nodeid;
	CHECK_EQ(e.attr.nlink, 0);
	CHECK_EQ(e.attr.mode, S_IFREG | 0600);
	CHECK_EQ(write_node(&f, id, data, 30000, 0), 30000);
	CHECK_OK(fs_link(f.fs, &f.ctx, id, 1, name_of("named"), &e));
	CHECK_EQ(e.attr.nlink, 1);
	CHECK_OK(try_unlink(&f, "/named"));
	/* Its last name was removed: it cannot come back. */
	CHECK_ERR(fs_link(f.fs, &f.ctx, id, 1, name_of("again"), &e), -ENOENT);
	fs_forget(f.fs, f.session, id, 2);
	CHECK_OK(fs_tmpfile(f.fs, &f.ctx, 1, 0600, &e));
	CHECK_EQ(write_node(&f, e.nodeid, data, 30000, 0), 30000);
	forget(&f, e.nodeid);
	check_space(&f, blocks, inodes);
	CHECK_OK(fs_tmpfile(f.fs, &f.ctx, 1, 0600, &e));
	fixture_close(&f); /* the session still knows it */
}

TEST(test_crash__recovery_deletes_the_unlinked)
{
	struct fixture f;
	struct fs_entry e;
	uint64_t blocks, inodes, id;

	for (int orphan_file = 0; orphan_file < 2; orphan_file++) {
		fixture_open(&f, orphan_file ? "-b 1024 -J size=4 -O orphan_file 24M" : NULL);
		blocks = blocks_free(&f);
		inodes = inodes_free(&f);
		id = make_file(&f, "/f");
		CHECK_EQ(write_node(&f, id, data, 200000, 0), 200000);
		CHECK_OK(try_unlink(&f, "/f"));
		CHECK_OK(fs_tmpfile(f.fs, &f.ctx, 1, 0600, &e));
		CHECK_OK(fs_syncfs(f.fs));
		fixture_crash(&f);
		fixture_mount(&f);
		check_space(&f, blocks, inodes);
		fixture_close(&f);
	}
}

TEST(test_crash__fsync_keeps_name_and_contents)
{
	struct fixture f;
	char got[6];
	uint64_t id;

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/d"));
	id = make_file(&f, "/d/f");
	CHECK_EQ(write_node(&f, id, "hello", 5, 0), 5);
	CHECK_OK(fs_fsync(f.fs, &f.ctx, id, false));
	forget(&f, make_file(&f, "/lost"));
	fixture_crash(&f);
	fixture_mount(&f);
	id = look(&f, "/d/f");
	CHECK_EQ(read_node(&f, id, got, sizeof(got), 0), 5);
	CHECK_MEM_EQ(got, "hello", 5);
	CHECK_EQ(write_node(&f, id, "world", 5, 5), 5);
	CHECK_OK(fs_fsync(f.fs, &f.ctx, id, true));
	fixture_crash(&f);
	fixture_mount(&f);
	CHECK_EQ(attr_of(&f, "/d/f").size, 10);
	fixture_close(&f);
}

TEST(test_fsync__covers_what_an_evicted_inode_changed)
{
	struct fixture f;
	char name[32];

	/* The inode leaves the cache and comes back before its transaction is committed. */
	fixture_open(&f, NULL);
	fixture_unmount(&f);
	f.store_opts.inodes_cached_max = 64;
	fixture_mount(&f);
	forget(&f, make_file(&f, "/f"));
	for (uint32_t i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "/other%u", i);
		CHECK_OK(try_make(&f, name, S_IFREG | 0600));
	}
	CHECK_OK(fs_fsync(f.fs, &f.ctx, look(&f, "/f"), false));
	fixture_crash(&f);
	fixture_mount(&f);
	CHECK_OK(try_look(&f, "/f"));
	fixture_close(&f);
}

/* An inode that fdatasync found unchanged grows afterwards. */
TEST(test_fdatasync__covers_growth_after_an_earlier_one)
{
	struct fixture f;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	CHECK_EQ(write_node(&f, id, "hello", 5, 0), 5);
	CHECK_OK(fs_fsync(f.fs, &f.ctx, id, false));
	fixture_crash(&f);
	fixture_mount(&f);
	id = look(&f, "/f");
	CHECK_OK(fs_fsync(f.fs, &f.ctx, id, true));
	CHECK_EQ(write_node(&f, id, "world", 5, 5), 5);
	CHECK_OK(fs_fsync(f.fs, &f.ctx, id, true));
	fixture_crash(&f);
	fixture_mount(&f);
	CHECK_EQ(attr_of(&f, "/f").size, 10);
	fixture_close(&f);
}

/* Bytes over mapped blocks need no transaction where the kernel keeps the times: the flush is all there is. */
TEST(test_fsync__flushes_data_that_no_transaction_knows_of)
{
	struct iovec iov = { "world", 5 };
	struct fs_write w = { .iov = &iov, .iovcnt = 1, .len = 5, .flags = FS_WRITE_CACHE };
	struct fixture f;
	struct bdev *bdev;
	uint64_t wanted;

	fixture_open(&f, NULL);
	fixture_unmount(&f);
	f.session_opts.writeback = true;
	fixture_mount(&f);
	w.nodeid = make_file(&f, "/f");
	CHECK_EQ(write_node(&f, w.nodeid, "hello", 5, 0), 5);
	CHECK_OK(fs_fsync(f.fs, &f.ctx, w.nodeid, false));
	CHECK_EQ(fs_write(f.fs, &f.ctx, &w), 5);
	bdev = f.fs->store->bdev;
	wanted = atomic_load(&bdev->dirty_seq);
	CHECK_LT(atomic_load(&bdev->clean_seq), wanted);
	CHECK_OK(fs_fsync(f.fs, &f.ctx, w.nodeid, true));
	CHECK_GE(atomic_load(&bdev->clean_seq), wanted);
	forget(&f, w.nodeid);
	fixture_close(&f);
}

TEST(test_fsync__fails_when_the_journal_was_aborted)
{
	struct fixture f;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	CHECK_OK(fs_fsync(f.fs, &f.ctx, id, false));
	CHECK_EQ(write_node(&f, id, "hello", 5, 0), 5);
	journal_abort(f.fs->store->journal, -EIO);
	CHECK_ERR(fs_fsync(f.fs, &f.ctx, id, false), -EIO);
	CHECK_ERR(fs_fsync(f.fs, &f.ctx, id, true), -EIO);
	CHECK_ERR(fs_syncfs(f.fs), -EIO);
	fixture_crash(&f);
	fixture_mount(&f);
	fixture_close(&f);
}

/* Corruption stops further changes; what was written before it can still be made durable. */
TEST(test_fsync__keeps_its_promise_after_errors_remount_ro)
{
	struct fixture f;
	char got[5];
	uint64_t id;

	fixture_open(&f, NULL);
	fixture_unmount(&f);
	f.store_opts.errors = ERRORS_REMOUNT_RO;
	fixture_mount(&f);
	id = make_file(&f, "/f");
	CHECK_EQ(write_node(&f, id, "hello", 5, 0), 5);
	CHECK_ERR(store_corrupt(f.fs->store, 0, 0, "made up"), -EUCLEAN);
	CHECK_ERR(try_make(&f, "/g", S_IFREG | 0600), -EROFS);
	CHECK_OK(fs_fsync(f.fs, &f.ctx, id, false));
	fixture_crash(&f);
	fixture_mount(&f);
	CHECK_EQ(read_node(&f, look(&f, "/f"), got, sizeof(got), 0), 5);
	CHECK_MEM_EQ(got, "hello", 5);
	fixture_unmount(&f);
	inval_free(f.bus);
}

TEST(test_confined_session__uses_only_what_it_was_given)
{
	struct fs_session_opts opts = { .name = "guest", .confined = true, .nodes_max = 3 };
	struct fs_session *guest;
	struct fixture f;
	struct fs_ctx ctx;
	struct fs_entry e;
	struct fs_attr attr;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	forget(&f, make_dir(&f, "/d"));
	forget(&f, make_file(&f, "/g"));
	forget(&f, make_file(&f, "/h"));
	CHECK_OK(fs_session_open(f.fs, &opts, &guest));
	ctx = (struct fs_ctx){ .session = guest };
	CHECK_ERR(fs_getattr(f.fs, &ctx, id, &attr), -ESTALE);
	CHECK_ERR(fs_lookup_self(f.fs, &ctx, id, &e), -ESTALE);
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of("f"), &e));
	CHECK_OK(fs_getattr(f.fs, &ctx, id, &attr));
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of("g"), &e));
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of("d"), &e));
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of("d"), &e)); /* known: no new entry */
	CHECK_ERR(fs_lookup(f.fs, &ctx, 1, name_of("h"), &e), -ENFILE);
	fs_forget(f.fs, guest, id, 1);
	CHECK_ERR(fs_getattr(f.fs, &ctx, id, &attr), -ESTALE);
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of("h"), &e));
	fs_session_close(guest);
	fixture_close(&f);
}

TEST(test_subdirectory_session__calls_its_root_1_and_stays_below)
{
	struct fs_session_opts opts = { .name = "guest", .confined = true };
	struct fs_session *guest;
	struct fixture f;
	struct fs_ctx ctx;
	struct fs_entry e, sub;
	struct fs_attr attr;

	fixture_open(&f, NULL);
	opts.root_nodeid = make_dir(&f, "/share");
	forget(&f, make_dir(&f, "/share/sub"));
	forget(&f, make_dir(&f, "/share/sub/deep"));
	forget(&f, make_file(&f, "/secret"));
	CHECK_OK(fs_session_open(f.fs, &opts, &guest));
	ctx = (struct fs_ctx){ .session = guest };
	CHECK_OK(fs_getattr(f.fs, &ctx, 1, &attr));
	CHECK_EQ(attr.ino, (uint32_t)opts.root_nodeid);
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of("secret"), &e));
	CHECK_EQ(e.nodeid, 0);
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of(".."), &e));
	CHECK_EQ(e.nodeid, 1);
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of("sub"), &sub));
	CHECK_OK(fs_lookup(f.fs, &ctx, sub.nodeid, name_of(".."), &e));
	CHECK_EQ(e.nodeid, 1);
	CHECK_OK(fs_lookup(f.fs, &ctx, sub.nodeid, name_of("deep"), &e));
	/* Moved out of the share by somebody else: known, but no way up. */
	CHECK_OK(try_rename(&f, "/share/sub", "/sub", 0));
	CHECK_ERR(fs_lookup_parent(f.fs, &ctx, sub.nodeid, &e), -ESTALE);
	/* Its root is not deleted below it. */
	forget(&f, opts.root_nodeid);
	CHECK_OK(try_rmdir(&f, "/share"));
	CHECK_OK(fs_getattr(f.fs, &ctx, 1, &attr));
	CHECK_EQ(attr.nlink, 0);
	fs_session_close(guest);
	CHECK_ERR(fs_session_open(f.fs, &opts, &guest), -ESTALE);
	fixture_close(&f);
}

/* Random raising and lowering, compared with counts in an array. */
TEST(test_node_table__equals_a_model)
{
	enum { FILES = 600 };
	static uint64_t ids[FILES], counts[FILES];
	struct fixture f;
	struct fs_stats st;
	char name[32];
	uint64_t known;

	fixture_open(&f, NULL);
	for (uint32_t i = 0; i < FILES; i++) {
		(void)snprintf(name, sizeof(name), "/f%u", i);
		ids[i] = make_file(&f, name);
		counts[i] = 1;
	}
	for (uint32_t round = 0; round < 60000; round++) {
		uint32_t i = (uint32_t)test_random_below(FILES);
		uint64_t n = test_random_below(4) + 1;
		struct fs_entry e;

		/* In waves, so that the table grows and shrinks. */
		if (test_random_below(8) < (round / 6000 % 2 ? 2u : 5u)) {
			CHECK_OK(fs_lookup_self(f.fs, &f.ctx, ids[i], &e));
			counts[i]++;
		} else {
			fs_forget(f.fs, f.session, ids[i], n);
			counts[i] -= MIN(counts[i], n);
		}
		CHECK_EQ(nodes_known(f.fs, ids[i]), counts[i] > 0);
	}
	known = 0;
	for (uint32_t i = 0; i < FILES; i++) {
		CHECK_EQ(nodes_known(f.fs, ids[i]), counts[i] > 0);
		known += counts[i] > 0;
	}
	fs_get_stats(f.fs, &st);
	CHECK_EQ(st.nodes, known);
	for (uint32_t i = 0; i < FILES; i++)
		fs_forget(f.fs, f.session, ids[i], counts[i]);
	fs_get_stats(f.fs, &st);
	CHECK_EQ(st.nodes, 0);
	fixture_close(&f);
}

TEST(test_full_image__room_comes_back_after_removal)
{
	struct fixture f;
	uint64_t id, off = 0;
	struct fs_statfs st;
	ssize_t n;

	fixture_open(&f, "-b 1024 -m 0 -J size=1 8M");
	for (int round = 0; round < 4; round++) {
		id = make_file(&f, "/fill");
		for (off = 0; (n = write_node(&f, id, data, sizeof(data), off)) > 0;)
			off += (uint64_t)n;
		CHECK_EQ(n, -ENOSPC);
		CHECK_OK(fs_statfs(f.fs, &st));
		CHECK_EQ(st.bavail, 0);
		CHECK_OK(try_unlink(&f, "/fill"));
		forget(&f, id);
		/* The freed blocks wait for their commit: the next write asks for it. */
	}
	CHECK_GT(off, 4u << 20);
	fixture_close(&f);
}

TEST(test_inodes_exhausted__names_fail_and_recover)
{
	struct fixture f;
	char name[32];
	uint32_t i;

	fixture_open(&f, "-b 1024 -N 128 -J size=1 8M");
	for (i = 0;; i++) {
		int error;

		(void)snprintf(name, sizeof(name), "/f%u", i);
		error = try_make(&f, name, S_IFREG | 0600);
		if (error) {
			CHECK_EQ(error, -ENOSPC);
			break;
		}
	}
	CHECK_EQ(inodes_free(&f), 0);
	CHECK_OK(try_unlink(&f, "/f5"));
	CHECK_OK(try_make(&f, "/again", S_IFREG | 0600));
	CHECK_ERR(try_make(&f, "/more", S_IFDIR | 0700), -ENOSPC);
	fixture_close(&f);
}
