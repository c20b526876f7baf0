// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories against a model: random adding, removing and replacing of names, looked
 * up and listed in pieces, on every layout; e2fsck judges the image afterwards. Names are
 * hard links to a few files, so that many of them cost little.
 */
#include "daemon/store/dir.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "daemon/store/map.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/img.h"

#define TARGETS 16

/* Names 0..count-1; what each points to: 0 = absent, else 1 + index of the target. */
struct model {
	struct img m;
	struct inode *dir;
	struct inode *target[TARGETS]; /* locked */
	uint32_t count, name_len;
	uint8_t *state;
	uint8_t *seen;
	bool filetype;
};

static uint32_t make_name(const struct model *t, uint32_t id, char *buf)
{
	/* A few long ones, a few with bytes above 127. */
	uint32_t len = t->name_len ? t->name_len : 4 + id % 23;

	if (id % 97 == 0 && !t->name_len)
		len = 255;
	memset(buf, id % 5 == 0 ? 0xe9 : 'a' + (int)(id % 26), 256);
	(void)snprintf(buf + len, 16, "%s", "");
	char digits[12];
	int n = snprintf(digits, sizeof(digits), "%x", id);

	if (len < (uint32_t)n)
		len = (uint32_t)n;
	memcpy(buf, digits, (size_t)n);
	if (len > (uint32_t)n)
		buf[n] = '-';
	return len;
}

static void model_start_sized(struct model *t, const char *options, const char *size,
			      const char *tune, uint32_t count)
{
	struct inode *root;
	char name[32];

	memset(t, 0, sizeof(*t));
	img_make(&t->m, options, size);
	if (tune)
		img_tune(&t->m, tune);
	img_open(&t->m);
	t->count = count;
	t->state = calloc(count, 1);
	t->seen = calloc(count, 1);
	t->filetype = store_has_incompat(t->m.s, EXT4_FEATURE_INCOMPAT_FILETYPE);
	root = img_root(&t->m);
	for (int k = 0; k < TARGETS; k++) {
		(void)snprintf(name, sizeof(name), "target%d", k);
		t->target[k] = img_create(&t->m, root, name, k % 2 ? 0100644 : 010644);
	}
	t->dir = img_create(&t->m, root, "d", 040755);
	img_put(root);
}

static void model_start(struct model *t, const char *options, const char *tune, uint32_t count)
{
	model_start_sized(t, options, "48M", tune, count);
}

static void link_change(struct handle *h, struct model *t, uint8_t target, int n)
{
	struct inode *i = t->target[target - 1];

	i->links += (uint32_t)n;
	CHECK_OK(inode_write(h, i));
}

static void model_add(struct model *t, uint32_t id, uint8_t target)
{
	struct inode *to = t->target[target - 1];
	struct handle h;
	char buf[300];
	struct dir_name n = { buf, make_name(t, id, buf) };

	CHECK_OK(journal_start(t->m.s->journal, CREDITS_DIR_ADD + 2 * CREDITS_INODE, &h));
	CHECK_OK(dir_add(&h, t->dir, &n, to->ino, ftype_from_mode(to->mode)));
	CHECK_OK(inode_write_data(&h, t->dir));
	link_change(&h, t, target, 1);
	img_stop(&h);
	t->state[id] = target;
}

static void model_remove(struct model *t, uint32_t id)
{
	struct handle h;
	char buf[300];
	struct dir_name n = { buf, make_name(t, id, buf) };

	CHECK_OK(journal_start(t->m.s->journal, CREDITS_DIR_DEL + 2 * CREDITS_INODE, &h));
	CHECK_OK(dir_remove(&h, t->dir, &n));
	CHECK_OK(inode_write_data(&h, t->dir));
	link_change(&h, t, t->state[id], -1);
	img_stop(&h);
	t->state[id] = 0;
}

static void model_replace(struct model *t, uint32_t id, uint8_t target)
{
	struct inode *to = t->target[target - 1];
	struct handle h;
	char buf[300];
	struct dir_name n = { buf, make_name(t, id, buf) };

	CHECK_OK(journal_start(t->m.s->journal, CREDITS_DIR_DEL + 2 * CREDITS_INODE, &h));
	CHECK_OK(dir_replace(&h, t->dir, &n, to->ino, ftype_from_mode(to->mode)));
	CHECK_OK(inode_write_data(&h, t->dir));
	link_change(&h, t, t->state[id], -1);
	link_change(&h, t, target, 1);
	img_stop(&h);
	t->state[id] = target;
}

static void model_check_name(struct model *t, uint32_t id)
{
	char buf[300];
	struct dir_name n = { buf, make_name(t, id, buf) };
	uint8_t ftype = 99;
	uint32_t ino = 0;
	int err = dir_lookup(t->dir, &n, &ino, &ftype);

	if (t->state[id] == 0) {
		CHECK_EQ(err, -ENOENT);
		return;
	}
	CHECK_EQ(err, 0);
	CHECK_EQ(ino, t->target[t->state[id] - 1]->ino);
	CHECK_EQ(ftype, t->filetype ? ftype_from_mode(t->target[t->state[id] - 1]->mode) : 0);
}

/* ---- listing -------------------------------------------------------------- */

struct piece {
	struct model *t;
	uint32_t left;
	uint32_t dots;
	uint64_t cookie;
	bool full;
};

static int piece_emit(void *arg, const struct dir_entry *e)
{
	struct piece *p = arg;
	unsigned int id;
	char digits[12] = "";

	if (p->left == 0) {
		p->full = true;
		return 1;
	}
	p->left--;
	CHECK_GT(e->cookie, p->cookie);
	CHECK_LT(e->cookie, (uint64_t)1 << 63);
	p->cookie = e->cookie;
	if (e->name[0] == '.') {
		CHECK_EQ(e->len, p->dots == 0 ? 1 : 2);
		CHECK_EQ(e->ino, p->dots == 0 ? p->t->dir->ino : EXT4_ROOT_INO);
		p->dots++;
		return 0;
	}
	CHECK_EQ(p->dots, 2);
	memcpy(digits, e->name, MIN(e->len, (uint32_t)sizeof(digits) - 1));
	id = (unsigned int)strtoul(digits, NULL, 16);
	CHECK_LT(id, p->t->count);
	p->t->seen[id]++;
	if (p->t->state[id])
		CHECK_EQ(e->ino, p->t->target[p->t->state[id] - 1]->ino);
	return 0;
}

/* List in pieces of up to @piece_max; between pieces, @between may change other names. */
static void model_list(struct model *t, uint32_t piece_max, void (*between)(struct model *))
{
	struct piece p = { .t = t };

	memset(t->seen, 0, t->count);
	for (;;) {
		uint64_t before = p.cookie;

		p.full = false;
		p.left = 1 + (uint32_t)test_random_below(piece_max);
		CHECK_OK(dir_iterate(t->dir, p.cookie, piece_emit, &p));
		if (!p.full && p.cookie == before)
			break;
		if (between)
			between(t);
	}
	CHECK_EQ(p.dots, 2);
}

static void model_check_list(struct model *t, uint32_t piece_max)
{
	model_list(t, piece_max, NULL);
	for (uint32_t id = 0; id < t->count; id++)
		CHECK_EQ(t->seen[id], t->state[id] != 0);
}

static void model_check(struct model *t)
{
	bool empty, want = true;

	for (uint32_t id = 0; id < t->count; id++) {
		model_check_name(t, id);
		want = want && t->state[id] == 0;
	}
	CHECK_OK(dir_is_empty(t->dir, &empty));
	CHECK_EQ(empty, want);
	model_check_list(t, 20);
	model_check_list(t, 1000);
}

static void model_step(struct model *t, uint32_t add_percent)
{
	uint32_t id = (uint32_t)test_random_below(t->count);
	uint8_t target = (uint8_t)(1 + test_random_below(TARGETS));

	if (t->state[id] == 0) {
		if (test_random_below(100) < add_percent)
			model_add(t, id, target);
	} else if (test_random_below(100) < 20) {
		model_replace(t, id, target);
	} else if (test_random_below(100) >= add_percent) {
		model_remove(t, id);
	}
}

/* Even names are never touched while a listing runs; odd ones come and go. */
static void disturb(struct model *t)
{
	for (int k = 0; k < 10; k++) {
		uint32_t id = (uint32_t)test_random_below(t->count) | 1;

		if (id >= t->count)
			continue;
		if (t->state[id])
			model_remove(t, id);
		else
			model_add(t, id, 1);
	}
}

/* Give everything back, reopen, check again, let e2fsck look. */
static void model_reopen(struct model *t)
{
	struct inode *root;
	uint32_t ino, want[TARGETS];
	uint8_t ftype;

	for (int k = 0; k < TARGETS; k++) {
		want[k] = t->target[k]->ino;
		img_put(t->target[k]);
	}
	img_put(t->dir);
	img_close(&t->m);
	img_fsck(&t->m);
	img_open(&t->m);
	for (int k = 0; k < TARGETS; k++) {
		CHECK_OK(inode_get(t->m.s, want[k], &t->target[k]));
		rwlock_write(&t->target[k]->lock);
	}
	root = img_root(&t->m);
	CHECK_OK(dir_lookup(root, &(struct dir_name){ "d", 1 }, &ino, &ftype));
	CHECK_OK(inode_get(t->m.s, ino, &t->dir));
	rwlock_write(&t->dir->lock);
	img_put(root);
}

static void model_end(struct model *t)
{
	for (int k = 0; k < TARGETS; k++)
		img_put(t->target[k]);
	img_put(t->dir);
	img_close(&t->m);
	img_fsck(&t->m);
	free(t->state);
	free(t->seen);
}

/* Returns how many names there were at the most checked moment. */
static uint32_t run_model(const char *options, uint32_t count, uint32_t steps)
{
	struct model t;
	uint32_t most = 0;

	model_start(&t, options, NULL, count);
	model_check(&t);
	for (uint32_t k = 0; k < steps; k++)
		model_step(&t, 75);
	model_check(&t);
	for (uint32_t id = 0; id < t.count; id++)
		most += t.state[id] != 0;
	for (int k = 0; k < 3; k++) {
		model_list(&t, 40, disturb);
		for (uint32_t id = 0; id < t.count; id += 2)
			CHECK_EQ(t.seen[id], t.state[id] != 0);
	}
	model_reopen(&t);
	model_check(&t);
	for (uint32_t k = 0; k < steps; k++)
		model_step(&t, 15);
	model_check(&t);
	for (uint32_t id = 0; id < t.count; id++) {
		if (t.state[id])
			model_remove(&t, id);
	}
	model_check(&t);
	model_end(&t);
	return most;
}

TEST(test_dir__indexed_4k_follows_model)
{
	CHECK_GT(run_model("-b 4096", 3000, 6000), 1000);
}

TEST(test_dir__indexed_1k_follows_model)
{
	CHECK_GT(run_model("-b 1024", 6000, 12000), 2000);
}

TEST(test_dir__indexed_1k_without_checksums_follows_model)
{
	CHECK_GT(run_model("-b 1024 -O ^metadata_csum,^64bit", 4000, 8000), 1333);
}

TEST(test_dir__one_block_follows_model)
{
	CHECK_GT(run_model("-b 4096", 60, 500), 20);
}

TEST(test_dir__linear_follows_model)
{
	CHECK_GT(run_model("-b 1024 -O ^dir_index", 500, 2000), 166);
}

TEST(test_dir__linear_block_mapped_without_filetype_follows_model)
{
	CHECK_GT(run_model("-b 1024 -O ^dir_index,^filetype,^extent,^64bit,^metadata_csum", 500,
			   2000),
		 166);
}

TEST(test_dir__inline_follows_model)
{
	CHECK_GT(run_model("-b 4096 -I 1024 -O inline_data", 30, 400), 10);
}

TEST(test_dir__inline_without_index_follows_model)
{
	CHECK_GT(run_model("-b 1024 -I 256 -O inline_data,^dir_index", 12, 200), 4);
}

TEST(test_dir__inline_becomes_block_becomes_index)
{
	CHECK_GT(run_model("-b 1024 -I 512 -O inline_data", 3000, 6000), 1000);
}

TEST(test_dir__large_dir_follows_model)
{
	CHECK_GT(run_model("-b 1024 -O large_dir", 3000, 6000), 1000);
}

static uint32_t run_tuned(const char *tune)
{
	struct model t;

	model_start(&t, "-b 1024", tune, 3000);
	for (uint32_t id = 0; id < t.count; id++)
		model_add(&t, id, (uint8_t)(1 + id % TARGETS));
	model_check(&t);
	model_list(&t, 10, disturb);
	for (uint32_t id = 0; id < t.count; id += 2)
		CHECK_EQ(t.seen[id], 1);
	model_end(&t);
	return t.count;
}

TEST(test_dir__legacy_hash)
{
	CHECK_EQ(run_tuned("-E hash_alg=legacy"), 3000);
}

TEST(test_dir__tea_hash)
{
	CHECK_EQ(run_tuned("-E hash_alg=tea"), 3000);
}

/* 255-byte names, three to a leaf: the index of a 1 KiB filesystem fills quickly. */
static uint32_t fill_long(struct model *t, uint32_t count)
{
	struct inode *to = t->target[0];
	struct handle h;
	char buf[300];

	t->name_len = 255;
	for (uint32_t id = 0; id < count; id++) {
		struct dir_name n = { buf, make_name(t, id, buf) };
		int err;

		to = t->target[id % TARGETS];
		CHECK_OK(journal_start(t->m.s->journal, CREDITS_DIR_ADD + 2 * CREDITS_INODE, &h));
		err = dir_add(&h, t->dir, &n, to->ino, ftype_from_mode(to->mode));
		CHECK_OK(inode_write_data(&h, t->dir));
		if (err == 0)
			link_change(&h, t, (uint8_t)(1 + id % TARGETS), 1);
		img_stop(&h);
		if (err == -ENOSPC)
			return id;
		CHECK_EQ(err, 0);
		t->state[id] = (uint8_t)(1 + id % TARGETS);
	}
	return count;
}

static uint32_t index_levels(struct model *t)
{
	uint32_t levels;
	struct map_run run;
	struct buf *b;

	CHECK_OK(map_lookup(t->dir, 0, 1, &run));
	CHECK_OK(buf_read(t->m.s->cache, run.pblk, &b));
	levels = ((struct dx_root *)b->data)->info.indirect_levels + 1u;
	buf_put(b);
	return levels;
}

TEST(test_dir__full_index_is_enospc_and_stays_usable)
{
	struct model t;
	uint32_t filled;

	model_start_sized(&t, "-b 1024 -O ^has_journal", "64M", NULL, 30000);
	filled = fill_long(&t, t.count);
	CHECK_GT(filled, 15000);
	CHECK_LT(filled, t.count);
	CHECK_EQ(index_levels(&t), 2);
	model_check(&t);
	for (uint32_t id = 0; id < filled; id += 3)
		model_remove(&t, id);
	model_check_list(&t, 50);
	model_end(&t);
}

TEST(test_dir__large_dir_goes_to_three_levels)
{
	struct model t;

	model_start_sized(&t, "-b 1024 -O ^has_journal,large_dir", "64M", NULL, 30000);
	CHECK_EQ(fill_long(&t, t.count), t.count);
	CHECK_EQ(index_levels(&t), 3);
	model_check(&t);
	model_end(&t);
}

/* Readers with the lock shared, on a cold cache: blocks are validated by several at once. */
static void *reader_run(void *arg)
{
	struct model *t = arg;
	uint64_t cookie = 0;

	rwlock_read(&t->dir->lock);
	for (uint32_t id = 0; id < t->count; id++)
		model_check_name(t, id);
	for (int calls = 0; calls < 20; calls++) {
		struct piece p = { .t = t, .left = 0, .cookie = cookie };

		CHECK_OK(dir_iterate(t->dir, cookie, piece_emit, &p));
		CHECK(p.full);
	}
	rwlock_unread(&t->dir->lock);
	return NULL;
}

TEST(test_dir__read_by_threads)
{
	pthread_t thread[3];
	struct model t;

	model_start(&t, "-b 1024", NULL, 2000);
	for (uint32_t id = 0; id < t.count; id += 2)
		model_add(&t, id, 1);
	model_reopen(&t);
	rwlock_unwrite(&t.dir->lock);
	for (int k = 0; k < 3; k++)
		CHECK_EQ(pthread_create(&thread[k], NULL, reader_run, &t), 0);
	for (int k = 0; k < 3; k++)
		CHECK_EQ(pthread_join(thread[k], NULL), 0);
	rwlock_write(&t.dir->lock);
	model_end(&t);
}

/* Folded hashes are not ours, so the index is not used; nothing is written. Encrypted: nothing at all. */
TEST(test_dir__casefolded_is_read_and_encrypted_refused)
{
	struct model t;
	struct handle h;
	uint32_t ino;
	uint8_t ftype;
	bool empty;

	model_start(&t, "-b 1024", NULL, 1000);
	for (uint32_t id = 0; id < t.count; id += 2)
		model_add(&t, id, 1);
	t.dir->flags |= EXT4_CASEFOLD_FL;
	for (uint32_t id = 0; id < t.count; id++)
		model_check_name(&t, id);
	model_check_list(&t, 50);
	img_start(&t.m, &h);
	CHECK_EQ(dir_add(&h, t.dir, &(struct dir_name){ "new", 3 }, t.target[0]->ino, 1), -EROFS);
	t.dir->flags ^= EXT4_CASEFOLD_FL | EXT4_ENCRYPT_FL;
	CHECK_EQ(dir_lookup(t.dir, &(struct dir_name){ "new", 3 }, &ino, &ftype), -ENOKEY);
	CHECK_EQ(dir_iterate(t.dir, 0, piece_emit, NULL), -ENOKEY);
	CHECK_EQ(dir_add(&h, t.dir, &(struct dir_name){ "new", 3 }, t.target[0]->ino, 1), -ENOKEY);
	CHECK_OK(dir_is_empty(t.dir, &empty));
	CHECK(!empty);
	img_stop(&h);
	t.dir->flags &= ~(uint32_t)EXT4_ENCRYPT_FL;
	model_end(&t);
}
