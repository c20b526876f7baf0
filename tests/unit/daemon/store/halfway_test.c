// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operations that fail half way, for want of room or at a group that is corrupt: what
 * they leave must be whole, whoever looks at the image next.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/store/alloc.h"
#include "daemon/store/dir.h"
#include "daemon/store/map.h"
#include "daemon/store/xattr.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define RUNS_MAX 4096
#define NAMES_MAX 4000

/* Free blocks taken away so that few are left; no inode maps them. */
struct hoard {
	struct inode *i;
	uint64_t pblk[RUNS_MAX];
	uint32_t count[RUNS_MAX];
	uint32_t n;
};

static void hoard_all_but(struct hoard *hd, struct img *m, uint32_t left)
{
	uint64_t have;

	while ((have = (uint64_t)atomic_load(&m->s->blocks_free)) > left) {
		struct alloc_req req = { .inode = hd->i,
					 .count = (uint32_t)MIN(have - left, (uint64_t)8192),
					 .flags = ALLOC_META | ALLOC_RESERVED_OK };
		struct handle h;

		CHECK_LT(hd->n, RUNS_MAX);
		img_start(m, &h);
		CHECK_OK(balloc(&h, &req, &hd->pblk[hd->n], &hd->count[hd->n]));
		img_stop(&h);
		hd->n++;
	}
}

static void hoard_give_back(struct hoard *hd, struct img *m)
{
	struct handle h;

	while (hd->n > 0) {
		hd->n--;
		img_start(m, &h);
		CHECK_OK(balloc_free(&h, hd->i, hd->pblk[hd->n], hd->count[hd->n], 0));
		img_stop(&h);
	}
}

static int add_long_name(struct img *m, struct inode *dir, uint32_t id, struct inode *to)
{
	struct dir_name n = { .len = 255 };
	char name[256];
	struct handle h;
	int ret;

	memset(name, 'n', sizeof(name));
	(void)snprintf(name, sizeof(name), "%08x", id * 0x9e3779b1u);
	name[8] = '-';
	n.name = name;
	img_start(m, &h);
	ret = dir_add(&h, dir, &n, to->ino, EXT4_FT_REG_FILE);
	if (ret == 0) {
		to->links++;
		CHECK_OK(inode_write(&h, to));
		CHECK_OK(inode_write_data(&h, dir));
	}
	img_stop(&h);
	return ret;
}

static bool root_index_full(struct img *m, struct inode *dir)
{
	const struct dx_countlimit *c;
	struct map_run run;
	struct buf *b;
	bool full;

	if (!(dir->flags & EXT4_INDEX_FL))
		return false;
	CHECK_OK(map_lookup(dir, 0, 1, &run));
	CHECK_OK(buf_read(m->s->cache, run.pblk, &b));
	c = (const struct dx_countlimit *)(b->data + sizeof(struct dx_root));
	full = le16_to_cpu(c->count) == le16_to_cpu(c->limit);
	buf_put(b);
	return full;
}

/* The index gets its second level with the last block; the leaf to be split finds none. */
TEST(test_dir_add__without_room_after_growing_the_index)
{
	static struct hoard hd;
	struct inode *root, *to;
	uint32_t id = 0;
	struct img m;
	int ret;

	img_make(&m, "-b 1024 -O metadata_csum,64bit", "16M");
	img_open(&m);
	root = img_root(&m);
	to = img_create(&m, root, "to", S_IFREG | 0644);
	hd.i = to;
	while (!root_index_full(&m, root)) {
		CHECK_LT(id, NAMES_MAX);
		CHECK_OK(add_long_name(&m, root, id++, to));
	}
	hoard_all_but(&hd, &m, 1);
	while ((ret = add_long_name(&m, root, id++, to)) == 0)
		CHECK_LT(id, NAMES_MAX);
	CHECK_EQ(ret, -ENOSPC);
	CHECK(!root_index_full(&m, root)); /* it did grow */
	hoard_give_back(&hd, &m);
	img_put(to);
	img_put(root);
	img_close(&m);
	img_fsck(&m);
}

/* The value's inode is made with the last blocks; the block for its entry finds none. */
TEST(test_xattr_set__without_room_for_the_entry_of_a_large_value)
{
	static const uint8_t value[2000];
	struct xattr_set x = { .name = "user.fill", .value = value, .len = 60 };
	static struct hoard hd;
	struct inode *root, *i;
	int64_t inodes_free;
	struct handle h;
	struct img m;
	int ret;

	img_make(&m, "-b 1024 -I 256 -O ea_inode", "16M");
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "f", S_IFREG | 0644);
	img_put(root);
	img_start(&m, &h);
	CHECK_OK(xattr_set(&h, i, &x)); /* fills the inode's tail */
	CHECK_OK(inode_write(&h, i));
	img_stop(&h);
	inodes_free = atomic_load(&m.s->inodes_free);
	hd.i = i;
	hoard_all_but(&hd, &m, 2);
	x = (struct xattr_set){ .name = "user.big", .value = value, .len = sizeof(value) };
	img_start(&m, &h);
	ret = xattr_set(&h, i, &x);
	CHECK_OK(inode_write(&h, i));
	img_stop(&h);
	CHECK_EQ(ret, -ENOSPC);
	CHECK_EQ(atomic_load(&m.s->inodes_free), inodes_free);
	hoard_give_back(&hd, &m);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

/* A group found out to be wrong while it is in use is left alone; others serve. */
TEST(test_balloc__passes_over_a_group_that_turned_bad)
{
	struct alloc_req req = { .count = 4 };
	uint64_t pblk, other;
	struct inode *root, *i;
	struct handle h;
	uint32_t count;
	struct img m;

	img_make(&m, "-b 4096 -O 64bit,metadata_csum -g 2048 -J size=4", "64M");
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "f", S_IFREG | 0644);
	img_put(root);
	req.inode = i;
	img_start(&m, &h);
	CHECK_OK(balloc(&h, &req, &pblk, &count));
	CHECK_OK(balloc_free(&h, i, pblk, 1, 0));
	CHECK_OK(balloc_free(&h, i, pblk, 1, 0)); /* reported, and the group is not touched */
	CHECK_EQ(m.s->corruptions, 1);
	req.goal = pblk + 1;
	CHECK_OK(balloc(&h, &req, &other, &count));
	CHECK_NE(store_group_of(m.s, other), store_group_of(m.s, pblk));
	req.goal = 0;
	CHECK_OK(balloc(&h, &req, &other, &count));
	CHECK_NE(store_group_of(m.s, other), store_group_of(m.s, pblk));
	img_stop(&h);
	img_put(i);
	CHECK_OK(store_close(m.s));
}

/* Groups whose block bitmap cannot be made give no inodes, and none of theirs is lost. */
TEST(test_ialloc__counts_right_at_groups_without_block_bitmap)
{
	struct ext4_group_desc d;
	struct inode *root;
	uint32_t g, ino, got = 0;
	int64_t sum = 0;
	struct handle h;
	struct img m;
	int ret;

	img_make(&m,
		 "-b 4096 -O 64bit,metadata_csum,^flex_bg,^resize_inode -g 2048 -J size=4 -N 128",
		 "64M");
	for (g = 1; g < 8; g++) {
		raw_read_desc(&m, g, &d);
		d.bg_flags = cpu_to_le16(le16_to_cpu(d.bg_flags) | EXT4_BG_BLOCK_UNINIT);
		d.bg_free_blocks_count_lo = cpu_to_le16(4000);
		raw_write_desc(&m, g, &d);
	}
	img_open(&m);
	root = img_root(&m);
	img_start(&m, &h);
	while ((ret = ialloc(&h, root, false, &ino)) == 0)
		CHECK_LT(++got, 200);
	CHECK_EQ(ret, -ENOSPC);
	for (g = 0; g < m.s->group_count; g++)
		sum += m.s->groups[g].inodes_free;
	CHECK_EQ(atomic_load(&m.s->inodes_free), sum);
	img_stop(&h);
	img_put(root);
	CHECK_OK(store_close(m.s));
}

/* A file becomes linkable by being made without a name, not by being read. */
TEST(test_map__checking_a_map_does_not_make_its_file_linkable)
{
	struct inode *root, *i;
	struct img m;

	img_make(&m, "-b 4096", "16M");
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "f", S_IFREG | 0644);
	CHECK_OK(map_verify(i));
	CHECK(!(atomic_load(&i->state) & INODE_LINKABLE));
	img_put(i);
	img_put(root);
	img_close(&m);
}

/* A size that no map can fill: what lies behind the last block it can name is a hole. */
TEST(test_data_read__behind_the_largest_map_finds_zeros)
{
	static uint8_t out[4096];
	struct iovec iov = { .iov_base = out, .iov_len = sizeof(out) };
	struct data_write w = { .iov = &iov, .iovcnt = 1, .len = sizeof(out) };
	struct data_piece pieces[DATA_PIECES_MAX];
	uint64_t off = UINT64_C(4096) << 32, at;
	struct inode *root, *i;
	struct img m;
	uint32_t n;

	img_make(&m, "-b 4096", "16M");
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "f", S_IFREG | 0644);
	memset(out, 'x', sizeof(out));
	CHECK_EQ(data_write(i, &w), 4096);
	i->size = INT64_MAX; /* in memory only */
	CHECK_EQ(data_read(i, &iov, 1, off, sizeof(out)), 4096);
	CHECK_EQ(out[0], 0);
	CHECK_EQ(out[4095], 0);
	CHECK_EQ(data_pieces(i, off, 4096, pieces, &n), 4096);
	CHECK(n == 1 && pieces[0].zero);
	CHECK_OK(map_seek(i, off + 5, true, &at));
	CHECK_EQ(at, off + 5);
	CHECK_ERR(map_seek(i, off + 5, false, &at), -ENXIO);
	i->size = 4096;
	img_put(i);
	img_put(root);
	img_close(&m);
	img_fsck(&m);
}

/* A second file refers to @i's attribute block, as ext4 shares blocks with values in EA inodes. */
static void share_block(struct img *m, const struct inode *i, struct inode *other)
{
	struct ext4_xattr_header *head;
	struct handle h;
	struct buf *b;

	img_start(m, &h);
	CHECK_OK(buf_read(m->s->cache, i->file_acl, &b));
	CHECK_OK(journal_get_write(&h, b));
	head = (struct ext4_xattr_header *)b->data;
	CHECK_EQ(le32_to_cpu(head->h_refcount), 1);
	head->h_refcount = cpu_to_le32(2);
	journal_dirty(&h, b, 0, m->s->block_size);
	buf_put(b);
	other->file_acl = i->file_acl;
	other->blocks = i->blocks;
	CHECK_OK(inode_write(&h, other));
	img_stop(&h);
}

/* The value's inode turns out corrupt after the file has left the shared block. */
TEST(test_xattr_set__corrupt_value_inode_leaves_the_block_count_right)
{
	static const uint8_t value[2000];
	struct xattr_set fill = { .name = "user.fill", .value = value, .len = 60 };
	struct xattr_set big = { .name = "user.big", .value = value, .len = sizeof(value) };
	struct xattr_set more = { .name = "user.more", .value = value, .len = 8 };
	struct inode *root, *a, *b, *ea;
	uint64_t shared;
	struct handle h;
	struct img m;
	uint32_t ino;
	int ret;

	img_make(&m, "-b 1024 -I 256 -O ea_inode,^metadata_csum", "16M");
	img_open(&m);
	root = img_root(&m);
	a = img_create(&m, root, "a", S_IFREG | 0644);
	b = img_create(&m, root, "b", S_IFREG | 0644);
	img_put(root);
	img_start(&m, &h);
	CHECK_OK(xattr_set(&h, a, &fill));
	CHECK_OK(xattr_set(&h, b, &fill));
	CHECK_OK(xattr_set(&h, a, &big));
	CHECK_OK(inode_write(&h, a));
	img_stop(&h);
	CHECK_NE(a->file_acl, 0);
	share_block(&m, a, b);
	shared = a->file_acl;
	CHECK_OK(inode_get_special(m.s, b->ino + 1, &ea));
	CHECK(ea->flags & EXT4_EA_INODE_FL);
	atomic_store(&ea->version, 0); /* nobody refers to it, it says */
	ea->ctime_s = 0;
	inode_put(ea);
	img_start(&m, &h);
	ret = xattr_set(&h, b, &more);
	img_stop(&h);
	CHECK_EQ(ret, -EUCLEAN);
	CHECK_NE(b->file_acl, shared);
	/* What the image says of it, which another life would read. */
	ino = b->ino;
	img_put(b);
	img_put(a);
	CHECK_OK(store_close(m.s));
	img_open(&m);
	CHECK_OK(inode_get(m.s, ino, &b));
	CHECK_NE(b->file_acl, shared);
	inode_put(b);
	CHECK_OK(store_close(m.s));
}

/* A full root and no block for a second level: nothing moves, and the size is what it was. */
TEST(test_insert_range__without_room_changes_nothing)
{
	static uint8_t block[4096];
	struct iovec iov = { .iov_base = block, .iov_len = sizeof(block) };
	static struct hoard hd;
	struct inode *root, *i;
	struct img m;

	img_make(&m, "-b 4096", "16M");
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "f", S_IFREG | 0644);
	img_put(root);
	for (uint64_t k = 0; k < 4; k++) {
		struct data_write w = {
			.iov = &iov, .iovcnt = 1, .off = 2 * k * 4096, .len = sizeof(block)
		};

		memset(block, 'a' + (int)k, sizeof(block));
		CHECK_EQ(data_write(i, &w), 4096);
	}
	balloc_release_resv(i);
	hd.i = i;
	hoard_all_but(&hd, &m, 0);
	CHECK_ERR(inode_insert_range(i, 4096, 4096), -ENOSPC);
	CHECK_EQ(i->size, 7 * 4096);
	CHECK_EQ(data_read(i, &iov, 1, 6 * 4096, sizeof(block)), 4096);
	CHECK_EQ(block[0], 'd');
	hoard_give_back(&hd, &m);
	rwlock_unwrite(&i->lock);
	CHECK_OK(store_sync(m.s));
	rwlock_write(&i->lock);
	CHECK_OK(inode_insert_range(i, 4096, 4096));
	CHECK_EQ(i->size, 8 * 4096);
	CHECK_EQ(data_read(i, &iov, 1, 7 * 4096, sizeof(block)), 4096);
	CHECK_EQ(block[0], 'd');
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

/* ---- memory --------------------------------------------------------------- */

#ifndef KFS_SANITIZE
static _Atomic int64_t alloc_countdown = -1;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);

static bool alloc_fails(void)
{
	return atomic_load(&alloc_countdown) >= 0 && atomic_fetch_sub(&alloc_countdown, 1) == 0;
}

void *malloc(size_t size)
{
	return alloc_fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return alloc_fails() ? NULL : __libc_calloc(count, size);
}

static void make_meta_block(struct img *m, struct inode *i, uint64_t *ret_pblk)
{
	struct alloc_req req = { .inode = i, .count = 1, .flags = ALLOC_META };
	struct handle h;
	uint32_t count;
	struct buf *b;

	img_start(m, &h);
	CHECK_OK(balloc(&h, &req, ret_pblk, &count));
	CHECK_OK(buf_get_new(m->s->cache, *ret_pblk, &b));
	CHECK_OK(journal_get_create(&h, b));
	journal_dirty(&h, b, 0, 8);
	buf_put(b);
	img_stop(&h);
	CHECK_OK(store_sync(m->s));
}

/* Whatever memory is refused, a block is freed and forgotten, or owned and remembered. */
TEST(test_balloc_free__without_memory_frees_or_changes_nothing)
{
	uint32_t n, kept = 0;
	bool refused = true;

	for (n = 0; refused; n++) {
		int64_t free_before;
		struct inode *root;
		struct handle h;
		struct buf *b;
		uint64_t pblk;
		struct img m;
		int ret;

		CHECK_LT(n, 50);
		img_make(&m, "-b 4096", "16M");
		img_open(&m);
		root = img_root(&m);
		rwlock_unwrite(&root->lock);
		make_meta_block(&m, root, &pblk);
		rwlock_write(&root->lock);
		free_before = atomic_load(&m.s->blocks_free);
		img_start(&m, &h);
		atomic_store(&alloc_countdown, n);
		ret = balloc_free(&h, root, pblk, 1, FREE_META);
		refused = atomic_load(&alloc_countdown) < 0;
		atomic_store(&alloc_countdown, -1);
		b = buf_find(m.s->cache, pblk);
		if (ret) {
			CHECK_EQ(ret, -ENOMEM);
			CHECK(b);
			buf_put(b);
			kept++;
		} else {
			CHECK(!b);
		}
		CHECK_EQ(atomic_load(&m.s->blocks_free), free_before + !ret);
		(void)journal_stop(&h); /* may tell of the memory again */
		CHECK_OK(journal_error(m.s->journal));
		if (ret) {
			img_start(&m, &h);
			CHECK_OK(balloc_free(&h, root, pblk, 1, FREE_META));
			img_stop(&h);
		}
		img_put(root);
		img_close(&m);
		img_fsck(&m);
	}
	CHECK_GT(kept, 0);
	CHECK_GT(n, kept + 1);
}
#endif
