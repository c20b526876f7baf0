/* SPDX-License-Identifier: GPL-2.0-only */
/* What is told of where bytes lie, when it is taken back, and whose reads freed blocks wait for. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "daemon/inval/inval.h"
#include "daemon/store/alloc.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/fs/fixture.h"

#define BLOCK 1024
#define TOLD_MAX 64

static struct {
	struct inval_subscriber sub;
	struct inval_event told[TOLD_MAX];
	unsigned count, maps;
} heard;

static struct {
	struct fs_drainer drainer;
	struct fs_drain *drain;
	uint64_t nodeid;
	unsigned count;
} drains;

static void hear(struct inval_subscriber *sub UNUSED, const struct inval_event *ev)
{
	if (ev->kind == INVAL_MAP) {
		heard.maps++;
		return;
	}
	CHECK_LT(heard.count, TOLD_MAX);
	heard.told[heard.count++] = *ev;
}

static int on_drain(struct fs_drainer *drainer UNUSED, uint64_t nodeid, struct fs_drain *d)
{
	CHECK(!drains.drain);
	drains.drain = d;
	drains.nodeid = nodeid;
	drains.count++;
	return 0;
}

static void open_listening(struct fixture *f, enum fs_atime atime, const char *options)
{
	memset(&heard, 0, sizeof(heard));
	memset(&drains, 0, sizeof(drains));
	fixture_open(f, options);
	fixture_unmount(f);
	f->opts.atime = atime;
	fixture_mount(f);
	heard.sub = (struct inval_subscriber){ .name = "test",
					       .kinds = 1u << INVAL_MAP | 1u << INVAL_FILL_EXTENT,
					       .notify = hear };
	inval_subscribe(f->bus, &heard.sub);
	drains.drainer = (struct fs_drainer){ .drain = on_drain, .session = f->session };
	fs_set_drainer(f->fs, &drains.drainer);
}

static void close_listening(struct fixture *f)
{
	CHECK(!drains.drain);
	fs_set_drainer(f->fs, NULL);
	inval_unsubscribe(f->bus, &heard.sub);
	fixture_close(f);
}

static void drained(void)
{
	fs_drained(drains.drain);
	drains.drain = NULL;
}

static unsigned told_by_reading(struct fixture *f, uint64_t nodeid, uint64_t off, size_t len)
{
	static char buf[64 * BLOCK];

	heard.count = 0;
	CHECK_GE(read_node(f, nodeid, buf, len, off), 0);
	return heard.count;
}

static void write_all(struct fixture *f, uint64_t nodeid, uint64_t off, size_t len)
{
	static char buf[64 * BLOCK];

	memset(buf, 'x', len);
	CHECK_EQ(write_node(f, nodeid, buf, len, off), (ssize_t)len);
}

TEST(test_tell__names_written_blocks_up_to_the_end)
{
	struct fixture f;
	uint64_t file, disk;

	open_listening(&f, FS_ATIME_NOATIME, NULL);
	file = make_file(&f, "/f");
	CHECK_EQ(told_by_reading(&f, file, 0, 100), 0);
	write_all(&f, file, 0, 3 * BLOCK);
	write_all(&f, file, 8 * BLOCK, 100);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, file, FALLOC_FL_KEEP_SIZE, 5 * BLOCK, 2 * BLOCK));
	CHECK_EQ(told_by_reading(&f, file, 0, 64 * BLOCK), 2);
	CHECK_EQ(heard.told[0].nodeid, file);
	CHECK_EQ(heard.told[0].off, 0);
	CHECK_EQ(heard.told[0].len, 3 * BLOCK);
	CHECK_EQ(heard.told[0].until_ns, 0);
	CHECK_OK(fs_bmap(f.fs, &f.ctx, file, 0, BLOCK, &disk));
	CHECK_EQ(heard.told[0].image_off, disk * BLOCK);
	CHECK_EQ(heard.told[1].off, 8 * BLOCK);
	CHECK_EQ(heard.told[1].len, 100);
	/* Nothing of what is not read before it, all that follows. */
	CHECK_EQ(told_by_reading(&f, file, BLOCK + 5, 1), 1);
	CHECK_EQ(heard.told[0].off, BLOCK);
	CHECK_EQ(heard.told[0].len, 2 * BLOCK);
	CHECK_EQ(told_by_reading(&f, file, 6 * BLOCK, BLOCK), 0);
	CHECK_EQ(told_by_reading(&f, file, 9 * BLOCK, BLOCK), 0);
	close_listening(&f);
}

TEST(test_tell__is_silent_of_contents_inside_the_inode)
{
	struct fixture f;
	uint64_t file;

	open_listening(&f, FS_ATIME_NOATIME, "-I 256 -O inline_data 8M");
	file = make_file(&f, "/f");
	write_all(&f, file, 0, 50);
	CHECK_EQ(told_by_reading(&f, file, 0, 50), 0);
	write_all(&f, file, 0, 4000);
	CHECK_EQ(told_by_reading(&f, file, 0, 50), 1);
	close_listening(&f);
}

TEST(test_tell__waits_for_access_times_that_would_move)
{
	struct fs_setattr old = { .valid = FS_SET_ATIME | FS_SET_MTIME | FS_SET_CTIME,
				  .atime = { 2000, 0 },
				  .mtime = { 1000, 0 },
				  .ctime = { 1000, 0 } };
	struct fixture f;
	uint64_t file;

	open_listening(&f, FS_ATIME_RELATIME, NULL);
	file = make_file(&f, "/f");
	write_all(&f, file, 0, BLOCK);
	CHECK_OK(try_setattr(&f, "/f", old));
	/* It is older than a day: the first read moves it, after which nothing will for a day. */
	CHECK_EQ(told_by_reading(&f, file, 0, BLOCK), 0);
	CHECK_EQ(told_by_reading(&f, file, 0, BLOCK), 1);
	CHECK_NE(heard.told[0].until_ns, 0);
	old.atime = (struct fs_time){ 500, 0 };
	CHECK_OK(try_setattr(&f, "/f", old));
	CHECK_EQ(told_by_reading(&f, file, 0, BLOCK), 0);
	close_listening(&f);
}

TEST(test_tell__is_silent_where_each_read_moves_the_access_time)
{
	struct fixture f;
	uint64_t file;

	open_listening(&f, FS_ATIME_STRICT, NULL);
	file = make_file(&f, "/f");
	write_all(&f, file, 0, BLOCK);
	for (int k = 0; k < 3; k++)
		CHECK_EQ(told_by_reading(&f, file, 0, BLOCK), 0);
	close_listening(&f);
}

static void set_size(struct fixture *f, uint64_t size)
{
	CHECK_OK(try_setattr(f, "/f", (struct fs_setattr){ .valid = FS_SET_SIZE, .size = size }));
}

TEST(test_take_back__comes_with_each_change_of_the_map)
{
	static const uint32_t modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					  FALLOC_FL_ZERO_RANGE, FALLOC_FL_COLLAPSE_RANGE,
					  FALLOC_FL_INSERT_RANGE };
	struct fixture f;
	uint64_t file;

	open_listening(&f, FS_ATIME_NOATIME, NULL);
	file = make_file(&f, "/f");
	write_all(&f, file, 0, 60 * BLOCK);
	CHECK_EQ(heard.maps, 0);
	set_size(&f, 70 * BLOCK);
	CHECK_OK(fs_fallocate(f.fs, &f.ctx, file, 0, 0, 80 * BLOCK));
	write_all(&f, file, 65 * BLOCK, BLOCK);
	CHECK_EQ(heard.maps, 0);
	set_size(&f, 50 * BLOCK + 3);
	CHECK_EQ(heard.maps, 1);
	for (unsigned k = 0; k < ARRAY_SIZE(modes); k++) {
		CHECK_OK(fs_fallocate(f.fs, &f.ctx, file, modes[k], 2 * BLOCK, 4 * BLOCK));
		CHECK_EQ(heard.maps, 2 + k);
	}
	/* Its own kernel keeps its reads out of all these. */
	CHECK_EQ(drains.count, 0);
	close_listening(&f);
}

/* Blocks that a copy of a hole frees: is there one among them that somebody gets? */
static bool gets_freed_block(struct fixture *f, uint64_t disk)
{
	struct alloc_req req = { .goal = disk, .count = 1, .flags = ALLOC_EXACT | ALLOC_META };
	struct inode *root;
	struct handle h;
	uint32_t count;
	uint64_t got;
	int ret;

	CHECK_OK(inode_get(f->fs->store, 2, &root));
	rwlock_write(&root->lock);
	req.inode = root;
	CHECK_OK(journal_start(f->fs->store->journal, CREDITS_ALLOC, &h));
	ret = balloc(&h, &req, &got, &count);
	if (!ret)
		CHECK_OK(balloc_undo(&h, f->fs->store, got, count));
	CHECK_OK(journal_stop(&h));
	rwlock_unwrite(&root->lock);
	inode_put(root);
	return !ret;
}

TEST(test_copy__of_a_hole_frees_nothing_before_reads_have_ended)
{
	struct fs_copy copy = { .len = 16 * BLOCK };
	struct fixture f;
	uint64_t disk;

	open_listening(&f, FS_ATIME_NOATIME, NULL);
	copy.nodeid_in = make_file(&f, "/hole");
	copy.nodeid_out = make_file(&f, "/f");
	CHECK_OK(try_setattr(&f, "/hole",
			     (struct fs_setattr){ .valid = FS_SET_SIZE, .size = 16 * BLOCK }));
	write_all(&f, copy.nodeid_out, 0, 32 * BLOCK);
	CHECK_OK(fs_bmap(f.fs, &f.ctx, copy.nodeid_out, 3, BLOCK, &disk));
	CHECK_EQ(fs_copy_range(f.fs, &f.ctx, &copy), 16 * BLOCK);
	CHECK_EQ(heard.maps, 1);
	CHECK_EQ(drains.count, 1);
	CHECK_EQ(drains.nodeid, copy.nodeid_out);
	CHECK_OK(fs_syncfs(f.fs));
	CHECK(!gets_freed_block(&f, disk));
	drained();
	CHECK(gets_freed_block(&f, disk));
	close_listening(&f);
}

TEST(test_delete__by_a_guest_waits_for_reads)
{
	struct fs_session_opts opts = { .name = "guest", .confined = true };
	struct fs_session *guest;
	struct fs_entry e;
	struct fixture f;
	struct fs_ctx ctx;
	uint64_t file, disk;

	open_listening(&f, FS_ATIME_NOATIME, NULL);
	file = make_file(&f, "/f");
	write_all(&f, file, 0, 8 * BLOCK);
	CHECK_OK(fs_bmap(f.fs, &f.ctx, file, 3, BLOCK, &disk));
	forget(&f, file);
	CHECK_OK(fs_session_open(f.fs, &opts, &guest));
	ctx = (struct fs_ctx){ .session = guest };
	CHECK_OK(fs_lookup(f.fs, &ctx, 1, name_of("f"), &e));
	CHECK_OK(fs_unlink(f.fs, &ctx, 1, name_of("f")));
	CHECK_EQ(drains.count, 0);
	fs_forget(f.fs, guest, file, 1);
	CHECK_EQ(drains.count, 1);
	CHECK_EQ(drains.nodeid, file);
	CHECK_OK(fs_syncfs(f.fs));
	CHECK(!gets_freed_block(&f, disk));
	drained();
	CHECK(gets_freed_block(&f, disk));
	fs_session_close(guest);
	/* Alone it deletes only what it has let go of. */
	file = make_file(&f, "/f");
	write_all(&f, file, 0, BLOCK);
	CHECK_OK(try_unlink(&f, "/f"));
	forget(&f, file);
	CHECK_EQ(drains.count, 1);
	close_listening(&f);
}

TEST(test_truncate__of_another_session_waits_for_reads)
{
	struct fixture f;
	uint64_t file, disk;

	open_listening(&f, FS_ATIME_NOATIME, NULL);
	file = make_file(&f, "/f");
	write_all(&f, file, 0, 8 * BLOCK);
	CHECK_OK(fs_bmap(f.fs, &f.ctx, file, 3, BLOCK, &disk));
	drains.drainer.session = NULL;
	set_size(&f, 0);
	CHECK_EQ(drains.count, 1);
	CHECK_OK(fs_syncfs(f.fs));
	CHECK(!gets_freed_block(&f, disk));
	drained();
	CHECK(gets_freed_block(&f, disk));
	close_listening(&f);
}
