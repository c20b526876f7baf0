// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories and attributes while memory is refused, or a buffer may not join the transaction,
 * once at each call that asks: an operation is done, or it has changed nothing and can be done
 * again, or the journal is aborted and the image is what it was before. e2fsck judges each image.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/journal/journal_priv.h"
#include "daemon/store/alloc.h"
#include "daemon/store/dir_block.h"
#include "daemon/store/xattr_impl.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define IMAGE_LEN (4u << 20)
#define STEPS_MAX 16
#define POINTS_MAX 1000
#define CREDITS 200

/* ---- refusing --------------------------------------------------------------- */

enum refuse { REFUSE_MEMORY, REFUSE_JOIN };

/* Of the testing thread alone: what the commit thread does has tests of its own. */
static _Thread_local int64_t countdown[2] = { -1, -1 };

static bool refused(enum refuse what)
{
	return countdown[what] >= 0 && countdown[what]-- == 0;
}

#ifndef KFS_SANITIZE
#define KINDS 2

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
	return refused(REFUSE_MEMORY) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return refused(REFUSE_MEMORY) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	return refused(REFUSE_MEMORY) ? NULL : __libc_realloc(old, size);
}
#else
#define KINDS 1 /* the sanitizer's allocator stays */
#endif

/* With the sanitizer only joins. */
static enum refuse kind_of(uint32_t k)
{
	return k == 0 ? REFUSE_JOIN : REFUSE_MEMORY;
}

/* As a snapshot that has no room for what is about to be overwritten. */
static int keep_old(void *arg, struct handle *h, uint64_t pblk, uint32_t count)
{
	(void)arg;
	(void)h;
	(void)pblk;
	(void)count;
	return refused(REFUSE_JOIN) ? -EIO : 0;
}

static void arm(enum refuse what, uint32_t n)
{
	countdown[what] = n;
}

/* True: it was refused. */
static bool disarm(enum refuse what)
{
	bool fired = countdown[what] < 0;

	countdown[what] = -1;
	return fired;
}

/* ---- pieces of work --------------------------------------------------------- */

/* What is done to the directory "v", step by step, each in a handle of its own. */
struct work {
	const char *options;
	void (*fill)(struct img *m, struct inode *v);
	int (*step)(struct handle *h, struct inode *v, uint32_t k);
	bool (*done)(struct inode *v, uint32_t k);
	uint32_t steps;
};

static uint8_t image[IMAGE_LEN]; /* as the work finds it */
static uint32_t v_ino, target_ino;
static struct inode *target; /* what names in "v" refer to; locked */

static void image_make(const struct work *work)
{
	struct inode *root, *v;
	struct img m;

	log_set_level(LOG_LEVEL_OFF);
	img_make(&m, work->options, "4M");
	img_open(&m);
	root = img_root(&m);
	v = img_create(&m, root, "v", 040755);
	target = img_create(&m, root, "target", 0100644);
	img_put(root);
	work->fill(&m, v);
	v_ino = v->ino;
	target_ino = target->ino;
	img_put(target);
	img_put(v);
	img_close(&m);
	img_fsck(&m);
	raw_read(&m, image, IMAGE_LEN, 0);
}

static struct inode *open_inode(struct img *m, uint32_t ino)
{
	struct inode *i;

	CHECK_OK(inode_get(m->s, ino, &i));
	rwlock_write(&i->lock);
	return i;
}

static int do_step(struct img *m, const struct work *work, struct inode *v, uint32_t k)
{
	struct handle h;
	int stopped, ret = journal_start(m->s->journal, CREDITS, &h);

	if (ret)
		return ret;
	/* Its buffer joins first, so that a name and the count of names never part. */
	ret = inode_write(&h, target);
	if (ret == 0)
		ret = work->step(&h, v, k);
	if (ret == 0) {
		ret = inode_write_data(&h, v);
		if (ret)
			journal_fail(&h, ret);
	}
	stopped = journal_stop(&h);
	return ret ? ret : stopped;
}

static void check_whole(struct img *m, const struct work *work, struct inode *v, const int *result)
{
	for (uint32_t k = 0; k < work->steps; k++) {
		CHECK_EQ(work->done(v, k), result[k] == 0);
		if (result[k])
			CHECK_OK(do_step(m, work, v, k));
		CHECK(work->done(v, k));
	}
}

static void open_aborted(struct img *m)
{
	img_open(m);
	CHECK_LE(atomic_exchange(&m->s->corruptions, 0), 1);
}

/* That it was aborted may be noted in superblock and journal. It is all that e2fsck may change. */
static void close_aborted(struct img *m)
{
	char line[512];
	FILE *p;

	img_close(m);
	(void)img_debugfs(m, true, "set_super_value state 1");
	(void)snprintf(line, sizeof(line), "PATH=$PATH:/sbin:/usr/sbin e2fsck -fp %s 2>&1",
		       m->path);
	p = popen(line, "r");
	CHECK(p != NULL);
	while (fgets(line, sizeof(line), p)) {
		if (!strstr(line, " files ("))
			FAIL("%s", line);
	}
	CHECK_EQ(pclose(p), 0);
}

/* Nothing of the first step that failed is on disk. */
static void check_aborted(struct img *m, const struct work *work, const int *result)
{
	struct inode *v;
	uint32_t k = 0;

	while (k < work->steps && !result[k])
		k++;
	open_aborted(m);
	v = open_inode(m, v_ino);
	target = open_inode(m, target_ino);
	if (k < work->steps)
		CHECK(!work->done(v, k));
	img_put(target);
	img_put(v);
	close_aborted(m);
}

/* Fail the call number @n of its kind. False: there were not so many. */
static bool run_point(const struct work *work, enum refuse what, uint32_t n, uint32_t *failures)
{
	int result[STEPS_MAX], want = what == REFUSE_JOIN ? -EIO : -ENOMEM;
	bool fired, failed = false;
	struct inode *v;
	struct img m;

	(void)snprintf(m.path, sizeof(m.path), "%s", test_path("img"));
	raw_write(&m, image, IMAGE_LEN, 0);
	img_open(&m);
	m.s->journal->opts.before_overwrite = keep_old;
	v = open_inode(&m, v_ino);
	target = open_inode(&m, target_ino);
	CHECK_GE(xattr_list(target, NULL, 0), 0); /* its block is known, to be shared */
	arm(what, n);
	for (uint32_t k = 0; k < work->steps; k++) {
		result[k] = do_step(&m, work, v, k);
		failed |= result[k] != 0;
		CHECK(!result[k] || result[k] == want || result[k] == -EROFS);
	}
	fired = disarm(what);
	CHECK(fired || !failed);
	*failures += failed;
	if (journal_error(m.s->journal)) {
		img_put(target);
		img_put(v);
		store_destroy(m.s);
		check_aborted(&m, work, result);
	} else {
		check_whole(&m, work, v, result);
		img_put(target);
		img_put(v);
		img_close(&m);
	}
	if (failed || n == 0)
		img_fsck(&m);
	return fired;
}

static void check_sweep(const struct work *work)
{
	image_make(work);
	for (uint32_t k = 0; k < KINDS; k++) {
		uint32_t n = 0, failures = 0;

		while (run_point(work, kind_of(k), n, &failures))
			CHECK_LT(++n, POINTS_MAX);
		CHECK_GT(failures, 0);
	}
}

/* ---- directories ------------------------------------------------------------- */

static char name_buf[256];

/* Not in the order of their hashes. */
static struct dir_name long_name(uint32_t id, uint32_t len)
{
	memset(name_buf, 'n', sizeof(name_buf));
	(void)snprintf(name_buf, sizeof(name_buf), "%08x", id * 0x9e3779b1u);
	name_buf[8] = '-';
	return (struct dir_name){ name_buf, len };
}

static int add_name(struct handle *h, struct inode *dir, uint32_t id, uint32_t len)
{
	struct dir_name n = long_name(id, len);
	int ret = dir_add(h, dir, &n, target->ino, EXT4_FT_REG_FILE);

	if (ret)
		return ret;
	target->links++;
	return inode_write(h, target);
}

static void fill_names(struct img *m, struct inode *dir, uint32_t first, uint32_t count,
		       uint32_t len)
{
	for (uint32_t id = first; id < first + count; id++) {
		struct handle h;

		img_start(m, &h);
		CHECK_OK(add_name(&h, dir, id, len));
		CHECK_OK(inode_write_data(&h, dir));
		img_stop(&h);
	}
}

static bool name_there(struct inode *dir, uint32_t id, uint32_t len)
{
	struct dir_name n = long_name(id, len);
	uint32_t ino;
	uint8_t ftype;
	int ret = dir_lookup(dir, &n, &ino, &ftype);

	CHECK(ret == -ENOENT || (ret == 0 && ino == target->ino));
	return ret == 0;
}

#define LEN 250 /* three in a block of 1 KiB */

static bool root_index_full(struct img *m, struct inode *dir)
{
	const struct dx_countlimit *c;
	struct buf *b;
	bool full;

	if (!(dir->flags & EXT4_INDEX_FL))
		return false;
	CHECK_OK(dir_block_read(dir, 0, DIR_INDEX, &b));
	c = (const struct dx_countlimit *)(b->data + dir_index_off(0));
	full = le16_to_cpu(c->count) == dir_index_limit(m->s, 0);
	buf_put(b);
	return full;
}

static void fill_root_index(struct img *m, struct inode *dir)
{
	uint32_t id = 1000;

	while (!root_index_full(m, dir))
		fill_names(m, dir, id++, 1, LEN);
}

static int add_long(struct handle *h, struct inode *dir, uint32_t k)
{
	return add_name(h, dir, k, LEN);
}

static bool long_there(struct inode *dir, uint32_t k)
{
	return name_there(dir, k, LEN);
}

/* Leaves are split, the root is pushed down a level, the node below it is split. */
TEST(test_dir_add__refused_while_the_index_grows)
{
	check_sweep(&(struct work){ .options = "-b 1024 -I 256",
				    .fill = fill_root_index,
				    .step = add_long,
				    .done = long_there,
				    .steps = 6 });
}

static void fill_block(struct img *m, struct inode *dir)
{
	fill_names(m, dir, 1000, 3, LEN);
	CHECK_EQ(dir->size, 1024);
}

TEST(test_dir_add__refused_while_a_block_becomes_an_index)
{
	check_sweep(&(struct work){ .options = "-b 1024 -I 256",
				    .fill = fill_block,
				    .step = add_long,
				    .done = long_there,
				    .steps = 2 });
}

TEST(test_dir_add__refused_while_blocks_are_appended)
{
	check_sweep(&(struct work){ .options = "-b 1024 -I 256 -O ^dir_index,^extent,^64bit",
				    .fill = fill_block,
				    .step = add_long,
				    .done = long_there,
				    .steps = 2 });
}

#define INLINE_LEN 60

static void fill_inline(struct img *m, struct inode *dir)
{
	fill_names(m, dir, 1000, 8, INLINE_LEN);
	CHECK(dir->flags & EXT4_INLINE_DATA_FL);
}

static int change_inline(struct handle *h, struct inode *dir, uint32_t k)
{
	struct dir_name n;
	int ret;

	if (k > 0)
		return add_name(h, dir, k, INLINE_LEN);
	n = long_name(1000, INLINE_LEN);
	ret = dir_remove(h, dir, &n);
	if (ret)
		return ret;
	target->links--;
	return inode_write(h, target);
}

static bool inline_changed(struct inode *dir, uint32_t k)
{
	return k ? name_there(dir, k, INLINE_LEN) : !name_there(dir, 1000, INLINE_LEN);
}

/* The chain in the inode's tail grows until it has to become a block. */
TEST(test_dir_add__refused_in_an_inode_that_gets_full)
{
	check_sweep(&(struct work){ .options = "-b 1024 -I 1024 -O inline_data",
				    .fill = fill_inline,
				    .step = change_inline,
				    .done = inline_changed,
				    .steps = 8 });
}

struct seen {
	uint64_t cookie;
	uint32_t count[64];
};

static int see(void *arg, const struct dir_entry *e)
{
	struct seen *seen = arg;

	for (uint32_t id = 0; id < 64; id++) {
		struct dir_name n = long_name(1000 + id, e->len);

		seen->count[id] += memcmp(n.name, e->name, 9) == 0;
	}
	seen->cookie = e->cookie;
	return 0;
}

/* A listing that memory is refused to says so, and goes on where it was. */
static void check_listing(const char *options, uint32_t names, uint32_t len)
{
	bool fired = true;
	struct inode *root, *v;
	uint32_t told = 0;
	struct img m;

	img_make(&m, options, "4M");
	img_open(&m);
	root = img_root(&m);
	v = img_create(&m, root, "v", 040755);
	target = img_create(&m, root, "target", 0100644);
	fill_names(&m, v, 1000, names, len);
	for (uint32_t n = 0; fired; n++) {
		struct seen seen = { 0 };
		uint64_t before;
		int ret;

		CHECK_LT(n, POINTS_MAX);
		arm(REFUSE_MEMORY, n);
		do {
			before = seen.cookie;
			ret = dir_iterate(v, seen.cookie, see, &seen);
			CHECK(ret == 0 || ret == -ENOMEM);
			told += ret != 0;
		} while (ret || seen.cookie != before);
		fired = disarm(REFUSE_MEMORY);
		for (uint32_t id = 0; id < 64; id++)
			CHECK_EQ(seen.count[id], id < names);
	}
	CHECK(told > 0 || KINDS == 1);
	img_put(target);
	img_put(v);
	img_put(root);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_dir_iterate__without_memory_goes_on_where_it_was)
{
	check_listing("-b 1024 -I 256", 40, LEN);
	check_listing("-b 1024 -I 256", 3, LEN);
	check_listing("-b 1024 -I 1024 -O inline_data", 8, INLINE_LEN);
	check_listing("-b 1024 -I 1024 -O inline_data,^dir_index", 8, INLINE_LEN);
}

/* ---- attributes --------------------------------------------------------------- */

/* Words as the disk has them: version, user::rwx, user:7:rw-, group::r-x, mask::rwx, other::--x. */
static const uint32_t acl_words[] = { EXT4_ACL_VERSION,
				      EXT4_ACL_USER_OBJ | 7u << 16,
				      EXT4_ACL_USER | 6u << 16,
				      7,
				      EXT4_ACL_GROUP_OBJ | 5u << 16,
				      EXT4_ACL_MASK | 7u << 16,
				      EXT4_ACL_OTHER | 1u << 16 };

static int set_acl(struct handle *h, struct inode *i, bool is_default)
{
	struct xattr_set_raw x = {
		.key = { .index = is_default ? EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT :
					       EXT4_XATTR_INDEX_POSIX_ACL_ACCESS,
			 .name = "" },
		.value = acl_words,
		.len = sizeof(acl_words),
	};

	return xattr_set_raw(h, i, &x);
}

static uint8_t value[3000];

static const struct {
	const char *name;
	size_t len; /* 0: removed */
} sets[] = {
	{ "user.small", 20 },  { "user.large", 600 }, /* the inode is full now */
	{ "user.block", 500 },			      /* shared with "target" */
	{ "user.more", 200 },			      /* a block of its own */
	{ "user.more", 0 },			      /* as it was: shared again */
	{ "user.block", 0 },
};

static int set_one(struct handle *h, struct inode *i, uint32_t k)
{
	struct xattr_set x = { .name = sets[k].name,
			       .value = sets[k].len ? value : NULL,
			       .len = sets[k].len };

	return xattr_set(h, i, &x);
}

static void fill_attributes(struct img *m, struct inode *v)
{
	struct handle h;

	memset(value, 'v', sizeof(value));
	for (uint32_t k = 0; k < 3; k++) {
		img_start(m, &h);
		CHECK_OK(set_one(&h, target, k));
		CHECK_OK(inode_write(&h, target));
		img_stop(&h);
	}
	CHECK_NE(target->file_acl, 0);
	img_start(m, &h);
	CHECK_OK(set_acl(&h, v, false));
	CHECK_OK(set_one(&h, v, 0));
	CHECK_OK(set_one(&h, v, 1));
	CHECK_OK(inode_write(&h, v));
	img_stop(&h);
}

static int change_attributes(struct handle *h, struct inode *v, uint32_t k)
{
	if (k == 0)
		return acl_chmod(h, v, 040511);
	return k == 1 ? set_one(h, v, 2) : set_acl(h, v, true);
}

static bool attributes_changed(struct inode *v, uint32_t k)
{
	struct acl *acl;
	bool done;

	if (k == 1) {
		ssize_t len = xattr_get(v, "user.block", NULL, 0);

		CHECK(len == 500 || len == -ENODATA);
		CHECK(len < 0 || v->file_acl == target->file_acl);
		return len > 0;
	}
	CHECK_OK(acl_get(v, k == 2, &acl));
	CHECK(acl || k == 2);
	done = acl && (k == 2 || acl->e[0].perm == 5);
	free(acl);
	return done;
}

TEST(test_xattr_set__refused_while_a_block_is_joined)
{
	check_sweep(&(struct work){ .options = "-b 1024 -I 1024",
				    .fill = fill_attributes,
				    .step = change_attributes,
				    .done = attributes_changed,
				    .steps = 3 });
}

static void fill_shared(struct img *m, struct inode *v)
{
	struct handle h;

	fill_attributes(m, v);
	img_start(m, &h);
	CHECK_OK(set_one(&h, v, 2));
	CHECK_OK(inode_write(&h, v));
	img_stop(&h);
	CHECK_EQ(v->file_acl, target->file_acl);
}

static int leave_shared(struct handle *h, struct inode *v, uint32_t k)
{
	return set_one(h, v, k == 0 ? 3 : 5);
}

static bool left_shared(struct inode *v, uint32_t k)
{
	return k == 0 ? xattr_get(v, "user.more", NULL, 0) == 200 :
			xattr_get(v, "user.block", NULL, 0) == -ENODATA;
}

TEST(test_xattr_set__refused_while_a_shared_block_is_left)
{
	check_sweep(&(struct work){ .options = "-b 1024 -I 1024",
				    .fill = fill_shared,
				    .step = leave_shared,
				    .done = left_shared,
				    .steps = 2 });
}

static int empty_block(struct handle *h, struct inode *v, uint32_t k)
{
	(void)k;
	return set_one(h, v, 5);
}

static bool block_emptied(struct inode *v, uint32_t k)
{
	(void)k;
	CHECK_EQ(xattr_get(target, "user.block", NULL, 0), 500);
	return xattr_get(v, "user.block", NULL, 0) == -ENODATA;
}

TEST(test_xattr_set__refused_while_the_last_shared_attribute_goes)
{
	check_sweep(&(struct work){ .options = "-b 1024 -I 1024",
				    .fill = fill_shared,
				    .step = empty_block,
				    .done = block_emptied,
				    .steps = 1 });
}

/* What a new inode inherits is there, or nobody was told that it is. */
TEST(test_acl_inherit__without_memory_says_so)
{
	struct inode *root, *v;
	struct acl *access, *def;
	bool fired = KINDS > 1;
	uint32_t told = 0;
	struct handle h;
	struct img m;

	img_make(&m, "-b 1024 -I 1024", "4M");
	img_open(&m);
	root = img_root(&m);
	v = img_create(&m, root, "v", 040755);
	img_start(&m, &h);
	CHECK_OK(set_acl(&h, v, true));
	CHECK_OK(inode_write(&h, v));
	img_stop(&h);
	for (uint32_t n = 0; fired; n++) {
		uint16_t mode = 040777;
		int ret;

		CHECK_LT(n, POINTS_MAX);
		arm(REFUSE_MEMORY, n);
		ret = acl_inherit(v, &mode, 0, &access, &def);
		fired = disarm(REFUSE_MEMORY);
		CHECK_EQ(ret, fired ? -ENOMEM : 0);
		told += ret != 0;
		CHECK(!ret == (access && def && access->count == 5 && def->count == 5));
		free(access);
		free(def);
	}
	CHECK(told > 2 || KINDS == 1);
	img_put(v);
	img_put(root);
	img_close(&m);
	img_fsck(&m);
}

/* An ACL from the system call: refused, it leaves the old one and the mode. */
TEST(test_acl_set_wire__without_memory_changes_nothing)
{
	uint8_t wire[64];
	struct inode *root, *v;
	bool fired = KINDS > 1;
	struct handle h;
	struct img m;
	ssize_t len;

	img_make(&m, "-b 1024 -I 1024", "4M");
	img_open(&m);
	root = img_root(&m);
	v = img_create(&m, root, "v", 040755);
	img_start(&m, &h);
	CHECK_OK(set_acl(&h, v, true));
	img_stop(&h);
	len = xattr_get(v, "system.posix_acl_default", wire, sizeof(wire));
	CHECK_EQ(len, 4 + 5 * 8);
	for (uint32_t n = 0; fired; n++) {
		uint16_t mode = 1;
		struct acl *acl;
		int ret;

		CHECK_LT(n, POINTS_MAX);
		img_start(&m, &h);
		arm(REFUSE_MEMORY, n);
		ret = acl_set_wire(&h, v, false, wire, (size_t)len, &mode);
		fired = disarm(REFUSE_MEMORY);
		CHECK_EQ(ret, fired ? -ENOMEM : 0);
		CHECK_EQ(mode, ret ? 1 : 040771);
		CHECK_OK(inode_write(&h, v));
		img_stop(&h);
		CHECK_OK(acl_get(v, false, &acl));
		CHECK_EQ(acl != NULL, ret == 0);
		free(acl);
	}
	img_put(v);
	img_put(root);
	img_close(&m);
	img_fsck(&m);
}

/* ---- deleting ------------------------------------------------------------------ */

/* Two values in inodes of their own, one named in the inode and one in the block. */
static void make_doomed(struct img *m)
{
	static const char *const names[] = { "user.in", "user.fill", "user.out" };
	static const size_t lens[] = { 2500, 50, 2000 };
	struct inode *root, *i;
	struct handle h;

	img_make(m, "-b 1024 -I 256 -O ea_inode", "4M");
	img_open(m);
	root = img_root(m);
	i = img_create(m, root, "f", 0100644);
	img_start(m, &h);
	for (uint32_t k = 0; k < 3; k++) {
		struct xattr_set x = { .name = names[k], .value = value, .len = lens[k] };

		CHECK_OK(xattr_set(&h, i, &x));
		CHECK_OK(inode_write(&h, i));
	}
	img_stop(&h);
	CHECK_NE(i->file_acl, 0);
	v_ino = i->ino;
	img_put(i);
	img_put(root);
	img_close(m);
	raw_read(m, image, IMAGE_LEN, 0);
}

static struct inode *unlink_doomed(struct img *m)
{
	struct inode *root = img_root(m), *i = open_inode(m, v_ino);

	img_unlink(m, root, "f", i);
	img_put(root);
	return i;
}

/* A deletion that fails is tried again later (fs): then nothing of the file may be left over. */
static bool delete_twice(struct img *m, uint32_t n, uint32_t *again)
{
	struct inode *i;
	bool fired;
	int ret;

	raw_write(m, image, IMAGE_LEN, 0);
	img_open(m);
	i = unlink_doomed(m);
	arm(REFUSE_MEMORY, n);
	ret = inode_delete_try(i);
	fired = disarm(REFUSE_MEMORY);
	CHECK(fired || !ret);
	if (journal_error(m->s->journal)) {
		img_put(i);
		store_destroy(m->s); /* e2fsck's now: tests/fault */
		return fired;
	}
	if (ret) {
		CHECK_EQ(ret, -ENOMEM);
		++*again;
		CHECK_OK(inode_delete_try(i));
	}
	img_put(i);
	img_close(m);
	/* A value that could not be freed is an orphan until the next mount. */
	img_open(m);
	CHECK_OK(store_orphan_cleanup(m->s, &(uint32_t){ 0 }));
	img_close(m);
	img_fsck(m);
	return fired;
}

/* Freeing the block failed after the inode had forgotten its values: nothing named them any more. */
TEST(test_inode_delete__refused_and_tried_again_leaves_no_value_behind)
{
	uint32_t n = 0, again = 0;
	struct img m;

	make_doomed(&m);
	while (KINDS > 1 && delete_twice(&m, n, &again))
		CHECK_LT(++n, POINTS_MAX);
	CHECK(again > 2 || KINDS == 1);
}
