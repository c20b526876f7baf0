// SPDX-License-Identifier: GPL-2.0-only
/* Extended attributes against a model, against debugfs, and judged by e2fsck. */
#include "daemon/store/xattr.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "daemon/store/alloc.h"
#include "daemon/store/dir.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/img.h"

#define FILES 12
#define NAMES 14
#define VALUE_ROOM 70000

static const char *const names[NAMES] = {
	"user.a",
	"user.bb",
	"user.ccc",
	"trusted.t",
	"security.selinux",
	"security.capability",
	"user.a-rather-long-name-that-takes-a-lot-of-room-in-any-place-it-is-put-into-0123456789",
	"user.\xc3\xa9t\xc3\xa9",
	"trusted.overlay.opaque",
	"user.z",
	"user.mime_type",
	"user.x1",
	"user.x2",
	"user.x3",
};

struct model {
	struct img m;
	struct inode *file[FILES];
	uint8_t *value[FILES][NAMES]; /* NULL = absent */
	size_t len[FILES][NAMES];
	size_t len_max;
	uint32_t no_space;
};

static void model_start(struct model *t, const char *options, size_t len_max)
{
	struct inode *root;
	char name[16];

	memset(t, 0, sizeof(*t));
	t->len_max = len_max;
	img_make(&t->m, options, "48M");
	img_open(&t->m);
	root = img_root(&t->m);
	for (int k = 0; k < FILES; k++) {
		(void)snprintf(name, sizeof(name), "f%d", k);
		t->file[k] = img_create(&t->m, root, name, k % 3 == 0 ? 040755 : 0100644);
	}
	img_put(root);
}

static int set(struct model *t, int f, const char *name, const void *value, size_t len, int flags)
{
	struct xattr_set x = { .name = name, .value = value, .len = len, .flags = flags };
	struct handle h;
	int err;

	CHECK_OK(journal_start(
		t->m.s->journal,
		MIN(xattr_credits(t->m.s, len) + 1, journal_credits_max(t->m.s->journal)), &h));
	err = xattr_set(&h, t->file[f], &x);
	CHECK_OK(inode_write(&h, t->file[f]));
	CHECK_OK(journal_stop(&h));
	return err;
}

static void model_set(struct model *t, int f, int n, const uint8_t *value, size_t len)
{
	int err = set(t, f, names[n], value, len, 0);

	if (err == -ENOSPC) {
		t->no_space++;
		return;
	}
	CHECK_EQ(err, 0);
	free(t->value[f][n]);
	t->value[f][n] = malloc(len + 1);
	memcpy(t->value[f][n], value, len);
	t->len[f][n] = len;
}

static void model_remove(struct model *t, int f, int n)
{
	CHECK_EQ(set(t, f, names[n], NULL, 0, 0), t->value[f][n] ? 0 : -ENODATA);
	free(t->value[f][n]);
	t->value[f][n] = NULL;
}

static void check_one(struct model *t, int f, int n)
{
	static uint8_t buf[VALUE_ROOM];
	ssize_t len = xattr_get(t->file[f], names[n], buf, sizeof(buf));

	if (!t->value[f][n]) {
		CHECK_EQ(len, -ENODATA);
		CHECK_EQ(xattr_get(t->file[f], names[n], NULL, 0), -ENODATA);
		return;
	}
	CHECK_EQ(len, t->len[f][n]);
	CHECK_MEM_EQ(buf, t->value[f][n], t->len[f][n]);
	CHECK_EQ(xattr_get(t->file[f], names[n], NULL, 0), len);
	if (len > 1)
		CHECK_EQ(xattr_get(t->file[f], names[n], buf, (size_t)len - 1), -ERANGE);
}

static void check_list(struct model *t, int f)
{
	static char buf[8192];
	ssize_t len = xattr_list(t->file[f], buf, sizeof(buf));
	uint32_t want = 0;

	CHECK_GE(len, 0);
	CHECK_EQ(xattr_list(t->file[f], NULL, 0), len);
	for (int n = 0; n < NAMES; n++) {
		uint32_t found = 0;

		for (const char *p = buf; p < buf + len; p += strlen(p) + 1)
			found += strcmp(p, names[n]) == 0;
		CHECK_EQ(found, t->value[f][n] != NULL);
		want += t->value[f][n] ? (uint32_t)strlen(names[n]) + 1 : 0;
	}
	CHECK_EQ(len, want);
	if (len > 1)
		CHECK_EQ(xattr_list(t->file[f], buf, (size_t)len - 1), -ERANGE);
}

static void model_check(struct model *t)
{
	for (int f = 0; f < FILES; f++) {
		for (int n = 0; n < NAMES; n++)
			check_one(t, f, n);
		check_list(t, f);
	}
}

static void model_step(struct model *t)
{
	static uint8_t buf[VALUE_ROOM];
	int f = (int)test_random_below(FILES), n = (int)test_random_below(NAMES);
	size_t len = test_random_below(100);

	if (test_random_below(100) < 30) {
		model_remove(t, f, n);
		return;
	}
	if (test_random_below(100) < 20)
		len = test_random_below(t->len_max);
	/* A few values in common, so that blocks can be equal. */
	if (test_random_below(2))
		memset(buf, 'v', len);
	else
		test_random_fill(buf, len);
	model_set(t, f, n, buf, len);
	check_one(t, f, n);
}

static void model_end(struct model *t)
{
	for (int f = 0; f < FILES; f++) {
		img_put(t->file[f]);
		for (int n = 0; n < NAMES; n++)
			free(t->value[f][n]);
	}
	img_close(&t->m);
	img_fsck(&t->m);
}

static void model_reopen(struct model *t)
{
	uint32_t ino[FILES];

	for (int f = 0; f < FILES; f++) {
		ino[f] = t->file[f]->ino;
		img_put(t->file[f]);
	}
	img_close(&t->m);
	img_fsck(&t->m);
	img_open(&t->m);
	for (int f = 0; f < FILES; f++) {
		CHECK_OK(inode_get(t->m.s, ino[f], &t->file[f]));
		rwlock_write(&t->file[f]->lock);
	}
}

/* Returns how many sets found no room. */
static uint32_t run_model(const char *options, size_t len_max)
{
	struct model t;

	model_start(&t, options, len_max);
	model_check(&t);
	for (int round = 0; round < 3; round++) {
		for (int k = 0; k < 500; k++)
			model_step(&t);
		model_check(&t);
		model_reopen(&t);
		model_check(&t);
	}
	for (int f = 0; f < FILES; f++) {
		for (int n = 0; n < NAMES; n++)
			model_remove(&t, f, n);
		CHECK_EQ(t.file[f]->file_acl, 0);
	}
	model_check(&t);
	model_end(&t);
	return t.no_space;
}

TEST(test_xattr__inode_and_block_follow_model)
{
	CHECK_GT(run_model("-b 4096 -I 256", 3900), 0);
}

TEST(test_xattr__large_inodes_follow_model)
{
	CHECK_GT(run_model("-b 1024 -I 1024", 900), 0);
}

TEST(test_xattr__block_only_follows_model)
{
	CHECK_GT(run_model("-b 1024 -I 128 -O ^metadata_csum,^64bit", 900), 0);
}

TEST(test_xattr__beside_inline_data_follow_model)
{
	CHECK_GT(run_model("-b 4096 -I 512 -O inline_data", 3000), 0);
}

TEST(test_xattr__ea_inodes_follow_model)
{
	CHECK_LE(run_model("-b 1024 -I 256 -O ea_inode", 65537),
		 10); /* an empty value, a long name, all full */
	CHECK_LE(run_model("-b 4096 -I 256 -O ea_inode", 65537),
		 10); /* an empty value, a long name, all full */
}

TEST(test_xattr__flags_and_names)
{
	char name[300] = "user.";
	struct model t;

	model_start(&t, "-b 1024 -I 256", 100);
	CHECK_EQ(set(&t, 1, "user.a", "1", 1, XATTR_SET_REPLACE), -ENODATA);
	CHECK_EQ(set(&t, 1, "user.a", "1", 1, XATTR_SET_CREATE), 0);
	CHECK_EQ(set(&t, 1, "user.a", "2", 1, XATTR_SET_CREATE), -EEXIST);
	CHECK_EQ(set(&t, 1, "user.a", "2", 1, XATTR_SET_REPLACE), 0);
	CHECK_EQ(set(&t, 1, "user.a", NULL, 0, 0), 0);
	CHECK_EQ(set(&t, 1, "user.a", NULL, 0, 0), -ENODATA);
	CHECK_EQ(set(&t, 1, "user.", "1", 1, 0), -EINVAL);
	CHECK_EQ(set(&t, 1, "other.a", "1", 1, 0), -EOPNOTSUPP);
	CHECK_EQ(set(&t, 1, "system.data", "1", 1, 0), -EOPNOTSUPP);
	CHECK_EQ(set(&t, 1, "system.posix_acl_accessible", "1", 1, 0), -EOPNOTSUPP);
	CHECK_EQ(xattr_get(t.file[1], "system.data", NULL, 0), -EOPNOTSUPP);
	memset(name + 5, 'n', 250);
	CHECK_EQ(set(&t, 1, name, "v", 1, 0), 0);
	CHECK_EQ(xattr_get(t.file[1], name, NULL, 0), 1);
	name[255] = 'n';
	CHECK_EQ(set(&t, 1, name, "v", 1, 0), -ERANGE);
	CHECK_EQ(set(&t, 1, "user.empty", "", 0, 0), 0);
	CHECK_EQ(xattr_get(t.file[1], "user.empty", name, sizeof(name)), 0);
	CHECK_EQ(set(&t, 1, "user.big", name, 2000, 0), -ENOSPC);
	model_end(&t);
}

TEST(test_xattr__equal_blocks_are_shared_and_copied)
{
	static uint8_t value[700], other[700];
	uint8_t got[700];
	struct model t;

	model_start(&t, "-b 1024 -I 256", 100);
	memset(value, 's', sizeof(value));
	memset(other, 'o', sizeof(other));
	for (int f = 0; f < FILES; f++)
		CHECK_EQ(set(&t, f, "user.shared", value, sizeof(value), 0), 0);
	for (int f = 1; f < FILES; f++)
		CHECK_EQ(t.file[f]->file_acl, t.file[0]->file_acl);
	CHECK_EQ(set(&t, 3, "user.shared", other, sizeof(other), 0), 0);
	CHECK_NE(t.file[3]->file_acl, t.file[0]->file_acl);
	CHECK_EQ(xattr_get(t.file[4], "user.shared", got, sizeof(got)), sizeof(got));
	CHECK_MEM_EQ(got, value, sizeof(got));
	CHECK_EQ(xattr_get(t.file[3], "user.shared", got, sizeof(got)), sizeof(got));
	CHECK_MEM_EQ(got, other, sizeof(got));
	/* Back to equal: joins again. */
	CHECK_EQ(set(&t, 3, "user.shared", value, sizeof(value), 0), 0);
	CHECK_EQ(t.file[3]->file_acl, t.file[0]->file_acl);
	model_reopen(&t);
	for (int f = 0; f < FILES; f++)
		CHECK_EQ(set(&t, f, "user.shared", NULL, 0, 0), 0);
	model_end(&t);
}

TEST(test_xattr__no_block_has_more_than_1024_referers)
{
	static uint8_t value[700];
	struct inode *root, *i[1100];
	struct xattr_set x = { .name = "user.s", .value = value, .len = sizeof(value) };
	uint32_t first = 0;
	struct handle h;
	char name[16];
	struct img m;

	img_make(&m, "-b 1024 -I 256", "16M");
	img_open(&m);
	root = img_root(&m);
	for (uint32_t k = 0; k < ARRAY_SIZE(i); k++) {
		(void)snprintf(name, sizeof(name), "f%u", k);
		i[k] = img_create(&m, root, name, 0100644);
		img_start(&m, &h);
		CHECK_OK(xattr_set(&h, i[k], &x));
		CHECK_OK(inode_write(&h, i[k]));
		img_stop(&h);
		first += i[k]->file_acl == i[0]->file_acl;
		img_put(i[k]);
	}
	CHECK_EQ(first, 1024);
	img_put(root);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_xattr__absence_is_remembered_and_forgotten)
{
	struct model t;
	struct inode *i;

	model_start(&t, "-b 4096 -I 256", 100);
	i = t.file[1];
	CHECK_EQ(xattr_get(i, "security.capability", NULL, 0), -ENODATA);
	CHECK(atomic_load(&i->state) & INODE_NOXATTR);
	CHECK_EQ(set(&t, 1, "user.a", "1", 1, 0), 0);
	CHECK(!(atomic_load(&i->state) & INODE_NOXATTR));
	CHECK_EQ(xattr_get(i, "security.capability", NULL, 0), -ENODATA);
	CHECK((atomic_load(&i->state) & (INODE_NOCAP | INODE_NOACL)) ==
	      (INODE_NOCAP | INODE_NOACL));
	CHECK(!(atomic_load(&i->state) & INODE_NOXATTR));
	CHECK_EQ(set(&t, 1, "security.capability", "cap", 3, 0), 0);
	CHECK_EQ(xattr_get(i, "security.capability", NULL, 0), 3);
	CHECK_EQ(xattr_get(i, "system.posix_acl_access", NULL, 0), -ENODATA);
	CHECK_EQ(xattr_get(i, "security.capability", NULL, 0), 3);
	model_end(&t);
}

TEST(test_xattr__hidden_when_switched_off)
{
	struct store_opts opts = { .nouser_xattr = true, .noacl = true };
	struct model t;
	uint32_t ino;
	char buf[64];

	model_start(&t, "-b 4096 -I 256", 100);
	CHECK_EQ(set(&t, 1, "user.a", "1", 1, 0), 0);
	CHECK_EQ(set(&t, 1, "trusted.b", "1", 1, 0), 0);
	ino = t.file[1]->ino;
	model_end(&t);
	img_open_opts(&t.m, &opts);
	CHECK_OK(inode_get(t.m.s, ino, &t.file[1]));
	CHECK_EQ(xattr_get(t.file[1], "user.a", NULL, 0), -EOPNOTSUPP);
	CHECK_EQ(xattr_get(t.file[1], "system.posix_acl_access", NULL, 0), -EOPNOTSUPP);
	CHECK_EQ(xattr_get(t.file[1], "trusted.b", NULL, 0), 1);
	CHECK_EQ(xattr_list(t.file[1], buf, sizeof(buf)), sizeof("trusted.b"));
	CHECK_STR_EQ(buf, "trusted.b");
	inode_put(t.file[1]);
	img_close(&t.m);
}

TEST(test_xattr__debugfs_reads_ours_and_we_read_its)
{
	static char value[600];
	struct model t;
	uint32_t ino;

	model_start(&t, "-b 1024 -I 256", 100);
	memset(value, 'x', sizeof(value) - 1);
	CHECK_EQ(set(&t, 1, "user.small", "tiny", 4, 0), 0);
	CHECK_EQ(set(&t, 1, "user.large", value, sizeof(value) - 1, 0), 0);
	CHECK(t.file[1]->file_acl != 0);
	ino = t.file[1]->ino;
	model_end(&t);
	CHECK(strstr(img_debugfs(&t.m, false, "ea_get f1 user.small"), "tiny") != NULL);
	CHECK(strstr(img_debugfs(&t.m, false, "ea_get f1 user.large"), value) != NULL);
	(void)img_debugfs(&t.m, true, "ea_set f1 user.theirs hello");
	img_open(&t.m);
	CHECK_OK(inode_get(t.m.s, ino, &t.file[1]));
	memset(value, 0, sizeof(value));
	CHECK_EQ(xattr_get(t.file[1], "user.theirs", value, sizeof(value)), 5);
	CHECK_STR_EQ(value, "hello");
	CHECK_EQ(xattr_get(t.file[1], "user.large", NULL, 0), sizeof(value) - 1);
	inode_put(t.file[1]);
	img_close(&t.m);
	img_fsck(&t.m);
}

TEST(test_xattr__go_with_a_deleted_inode)
{
	static uint8_t value[60000];
	uint64_t blocks_free, inodes_free;
	struct inode *root, *i;
	struct xattr_set x = { .name = "user.s", .value = value, .len = sizeof(value) };
	struct handle h;
	struct img m;

	img_make(&m, "-b 1024 -I 256 -O ea_inode", "16M");
	img_open(&m);
	root = img_root(&m);
	blocks_free = (uint64_t)atomic_load(&m.s->blocks_free);
	inodes_free = (uint64_t)atomic_load(&m.s->inodes_free);
	i = img_create(&m, root, "f", 0100644);
	img_start(&m, &h);
	CHECK_OK(xattr_set(&h, i, &x));
	x.name = "user.t";
	x.len = 800;
	CHECK_OK(xattr_set(&h, i, &x));
	x.name = "user.u";
	x.len = 50000;
	CHECK_OK(xattr_set(&h, i, &x));
	CHECK_OK(inode_write(&h, i));
	img_stop(&h);
	CHECK_EQ(atomic_load(&m.s->inodes_free), inodes_free - 3);
	img_unlink(&m, root, "f", i);
	CHECK_OK(inode_delete(i));
	img_put(root);
	CHECK_OK(journal_sync(m.s->journal));
	CHECK_EQ(atomic_load(&m.s->inodes_free), inodes_free);
	CHECK_EQ(atomic_load(&m.s->blocks_free), blocks_free);
	img_close(&m);
	img_fsck(&m);
}

/* Threads give files of their own the same few values: blocks are joined, left, copied at once. */
#define SHARERS 3
#define ROUNDS 150

struct sharer {
	struct model *t;
	uint32_t id;
	int value[FILES]; /* which one, -1 = none */
};

static void sharer_step(struct sharer *w, int f, int value)
{
	struct inode *i = w->t->file[f];
	uint8_t buf[600];
	struct xattr_set x = { .name = "user.s", .value = value < 0 ? NULL : buf };
	struct handle h;
	int err;

	x.len = sizeof(buf);
	memset(buf, 'a' + value, sizeof(buf));
	rwlock_write(&i->lock);
	CHECK_OK(journal_start(w->t->m.s->journal, 60, &h));
	err = xattr_set(&h, i, &x);
	CHECK_EQ(err, value < 0 && w->value[f] < 0 ? -ENODATA : 0);
	CHECK_OK(inode_write(&h, i));
	CHECK_OK(journal_stop(&h));
	rwlock_unwrite(&i->lock);
	w->value[f] = value;
	rwlock_read(&i->lock);
	memset(buf, 0, sizeof(buf));
	CHECK_EQ(xattr_get(i, "user.s", buf, sizeof(buf)),
		 value < 0 ? -ENODATA : (ssize_t)sizeof(buf));
	CHECK_EQ(buf[599], value < 0 ? 0 : 'a' + value);
	rwlock_unread(&i->lock);
}

static void *sharer_run(void *arg)
{
	struct sharer *w = arg;
	uint32_t seed = w->id * 7919 + 1;

	for (int k = 0; k < ROUNDS; k++) {
		int f;

		seed = seed * 1103515245 + 12345;
		f = (int)((seed >> 8) % (FILES / SHARERS) * SHARERS + w->id);
		sharer_step(w, f, (int)((seed >> 16) % 4) - 1);
	}
	return NULL;
}

TEST(test_xattr__blocks_shared_by_threads)
{
	struct sharer w[SHARERS];
	pthread_t thread[SHARERS];
	struct model t;

	model_start(&t, "-b 1024 -I 128", 100);
	for (int f = 0; f < FILES; f++)
		rwlock_unwrite(&t.file[f]->lock);
	for (uint32_t k = 0; k < SHARERS; k++) {
		w[k] = (struct sharer){ .t = &t, .id = k };
		memset(w[k].value, 0xff, sizeof(w[k].value));
		CHECK_EQ(pthread_create(&thread[k], NULL, sharer_run, &w[k]), 0);
	}
	for (uint32_t k = 0; k < SHARERS; k++)
		CHECK_EQ(pthread_join(thread[k], NULL), 0);
	for (int f = 0; f < FILES; f++)
		rwlock_write(&t.file[f]->lock);
	model_end(&t);
}
