// SPDX-License-Identifier: GPL-2.0-only
/*
 * Extent trees as such: deep ones, their growth and collapse, how few extents a file
 * written from front to back has, and what damaged nodes do (an error, never more).
 */
#include "daemon/store/extent.h"

#include <errno.h>
#include <string.h>

#include "daemon/store/alloc.h"
#include "daemon/store/map_impl.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/img.h"

#define BLOCK 1024u
/* More extents than a tree of depth 2 holds with 84 entries a node: 4 * 84 * 84. */
#define DEEP_EXTENTS 28500u

struct file {
	struct img m;
	struct inode *i; /* locked exclusively */
};

static void file_open(struct file *f, const char *options, const char *size)
{
	struct inode *root;

	img_make(&f->m, options, size);
	img_open(&f->m);
	root = img_root(&f->m);
	f->i = img_create(&f->m, root, "f", 0100644);
	img_put(root);
}

static void file_close(struct file *f)
{
	balloc_release_resv(f->i);
	img_put(f->i);
	img_close(&f->m);
	img_fsck(&f->m);
}

static void put_bytes(struct file *f, uint64_t off, uint64_t len, uint8_t value)
{
	static uint8_t buf[1 << 20];
	struct iovec iov = { buf, len };
	struct data_write w = { .iov = &iov, .iovcnt = 1, .off = off, .len = len };

	memset(buf, value, len);
	CHECK_EQ(data_write(f->i, &w), len);
}

static ssize_t get_byte(struct file *f, uint64_t off, uint8_t *ret_value)
{
	struct iovec iov = { ret_value, 1 };

	return data_read(f->i, &iov, 1, off, 1);
}

static uint32_t depth_of(const struct inode *i)
{
	return i->i_block[6];
}

/* Every other block, in an order that splits nodes at the end, the start, or anywhere. */
static void make_deep(struct file *f, uint32_t order)
{
	for (uint32_t k = 0; k < DEEP_EXTENTS; k++) {
		uint32_t n = order == 0 ? k :
			     order == 1 ? DEEP_EXTENTS - 1 - k :
					  (uint32_t)(k * 7919ull % DEEP_EXTENTS);

		put_bytes(f, n * 2ull * BLOCK, BLOCK, (uint8_t)(1 + n % 251));
	}
}

static void check_deep(struct file *f)
{
	uint32_t runs;

	CHECK_OK(map_verify(f->i));
	CHECK_OK(map_count_runs(f->i, &runs));
	CHECK_EQ(runs, DEEP_EXTENTS);
	for (uint32_t n = 0; n < DEEP_EXTENTS; n += 61) {
		uint8_t v;

		CHECK_EQ(get_byte(f, n * 2ull * BLOCK + 9, &v), 1);
		CHECK_EQ(v, 1 + n % 251);
	}
}

static void check_growth_and_collapse(uint32_t order)
{
	struct file f;
	uint32_t end;

	file_open(&f, "-b 1024 -N 64 -J size=4", "64M");
	make_deep(&f, order);
	CHECK_EQ(depth_of(f.i), 3);
	check_deep(&f);
	/* All of it up by a block and back again. */
	CHECK_OK(inode_insert_range(f.i, 0, BLOCK));
	CHECK_OK(extent_end(f.i, &end));
	CHECK_EQ(end, DEEP_EXTENTS * 2);
	CHECK_OK(inode_collapse_range(f.i, 0, BLOCK));
	check_deep(&f);
	CHECK_OK(inode_punch(f.i, 1000ull * BLOCK, 50000ull * BLOCK));
	CHECK_OK(map_verify(f.i));
	CHECK_OK(inode_truncate(f.i, 6 * BLOCK));
	CHECK_OK(map_verify(f.i));
	CHECK_EQ(depth_of(f.i), 0); /* three extents fit the root again */
	file_close(&f);
}

TEST(test_deep_tree_appended__grows_and_collapses)
{
	check_growth_and_collapse(0);
}

TEST(test_deep_tree_prepended__grows_and_collapses)
{
	check_growth_and_collapse(1);
}

TEST(test_deep_tree_scattered__grows_and_collapses)
{
	check_growth_and_collapse(2);
}

/* Extents in one direction leave one free entry in each node: 83 extents a leaf. */
TEST(test_one_direction__fills_nodes)
{
	for (int back = 0; back < 2; back++) {
		struct file f;

		file_open(&f, "-b 1024 -N 64 -J size=4", "32M");
		for (uint32_t k = 0; k < 2000; k++)
			put_bytes(&f, (back ? 1999 - k : k) * 2ull * BLOCK, BLOCK, 1);
		CHECK_LE(f.i->blocks / 2 - 2000, 2000 / 83 + 2);
		file_close(&f);
	}
}

TEST(test_streamed_file__has_few_extents)
{
	struct file f;
	uint32_t runs;

	file_open(&f, "-b 4096 -N 64", "256M");
	for (uint64_t off = 0; off < 160ull << 20; off += 1 << 20)
		put_bytes(&f, off, 1 << 20, 7);
	CHECK_OK(map_count_runs(f.i, &runs));
	CHECK_LE(runs, 8);
	file_close(&f);
}

/* A hole is cut into a tree when nothing at all is free: the reserve pays for the node. */
TEST(test_punch_on_full_image__works)
{
	struct file f;
	struct store *s;

	file_open(&f, "-b 1024 -m 5 -O ^has_journal", "8M");
	s = f.m.s;
	for (uint32_t k = 0; k < 4; k++)
		put_bytes(&f, k * 200ull * BLOCK, 100 * BLOCK, 3);
	CHECK_EQ(depth_of(f.i), 0);
	/* What is left goes to another file, piece by piece. */
	struct inode *root = img_root(&f.m);
	struct file g = { .m = f.m, .i = img_create(&f.m, root, "g", 0100644) };

	img_put(root);
	for (uint64_t off = 0;; off += 64 * BLOCK) {
		static uint8_t buf[64 * BLOCK];
		struct iovec iov = { buf, sizeof(buf) };
		struct data_write w = { .iov = &iov, .iovcnt = 1, .off = off, .len = sizeof(buf) };
		ssize_t n = data_write(g.i, &w);

		if (n == -ENOSPC)
			break;
		CHECK_GT(n, 0);
	}
	CHECK_LE(atomic_load(&s->blocks_free), s->reserved_blocks + s->resv_blocks + 2);
	CHECK_OK(inode_punch(f.i, 50 * BLOCK, 10 * BLOCK));
	CHECK_EQ(depth_of(f.i), 1);
	balloc_release_resv(g.i);
	img_put(g.i);
	file_close(&f);
}

/* Coalescing respects the two lengths an extent can have. */
TEST(test_coalesce__joins_and_cuts)
{
	struct extent in[3] = { { .pblk = 1000, .lblk = 0, .len = 32000 },
				{ .pblk = 33000, .lblk = 32000, .len = 1000 },
				{ .pblk = 34000, .lblk = 33000, .len = 40000, .unwritten = true } };
	struct extent out[EXTENT_SPLICE_MAX];

	CHECK_EQ(extent_coalesce(in, 3, out), 4);
	CHECK_EQ(out[0].len, EXT_INIT_MAX_LEN);
	CHECK_EQ(out[1].lblk, EXT_INIT_MAX_LEN);
	CHECK_EQ(out[1].pblk, 1000 + EXT_INIT_MAX_LEN);
	CHECK_EQ(out[1].len, 33000 - EXT_INIT_MAX_LEN);
	CHECK_EQ(out[2].len, EXT_UNWRITTEN_MAX_LEN);
	CHECK_EQ(out[3].len, 40000 - EXT_UNWRITTEN_MAX_LEN);
	CHECK(out[3].unwritten);
	in[1].pblk++; /* not next to its neighbours any more */
	CHECK_EQ(extent_coalesce(in, 2, out), 2);
}

/* ---- damage --------------------------------------------------------------- */

#define DAMAGE_EXTENTS 700u

/* A tree of depth 2 whose buffers can be spoilt where they lie. */
static void damage_open(struct file *f, const char *options)
{
	file_open(f, options, "16M");
	for (uint32_t k = 0; k < DAMAGE_EXTENTS; k++)
		put_bytes(f, k * 2ull * BLOCK, BLOCK, 1);
	CHECK_EQ(depth_of(f->i), 2);
}

/* Closes without the checks that a healthy image must pass. */
static void damage_close(struct file *f)
{
	balloc_release_resv(f->i);
	img_put(f->i);
	store_destroy(f->m.s);
}

/* Pin node @level on the path to @lblk, to be read again as if from disk. */
static struct extent_node spoil(struct file *f, uint32_t lblk, uint32_t level)
{
	struct extent_path p = { .alloc_flags = 0 };
	struct extent_node n;

	CHECK_OK(extent_path_find(f->i, lblk, &p));
	n = p.node[level];
	if (n.buf)
		atomic_fetch_and(&n.buf->flags, ~(uint32_t)BUF_VERIFIED);
	else
		atomic_fetch_and(&f->i->state, ~(uint32_t)INODE_VERIFIED_MAP);
	extent_path_put(&p);
	return n; /* the cache is large enough to keep it where it is */
}

static void expect_error(struct file *f, uint32_t lblk, int error)
{
	struct map_run run;
	uint8_t v;

	CHECK_ERR(map_lookup(f->i, lblk, 1, &run), error);
	CHECK_EQ(get_byte(f, (uint64_t)lblk * BLOCK, &v), error);
	CHECK_ERR(map_verify(f->i), error);
	CHECK_ERR(inode_punch(f->i, (uint64_t)lblk * BLOCK, BLOCK), error);
}

#define NO_CSUM "-b 1024 -O ^metadata_csum,^has_journal"

TEST(test_empty_node_above_others__is_corrupt)
{
	struct file f;
	struct extent_node n;

	damage_open(&f, NO_CSUM);
	n = spoil(&f, 500, 0);
	extent_header(&n)->eh_entries = cpu_to_le16(0);
	expect_error(&f, 500, -EUCLEAN);
	damage_close(&f);
}

TEST(test_wrong_depth__is_corrupt)
{
	for (uint32_t level = 0; level < 3; level++) {
		struct file f;
		struct extent_node n;

		damage_open(&f, NO_CSUM);
		n = spoil(&f, 500, level);
		le16_add(&extent_header(&n)->eh_depth, level == 0 ? 30 : 1);
		expect_error(&f, 500, -EUCLEAN);
		damage_close(&f);
	}
}

/* An index node that points back to itself: its depth gives it away. */
TEST(test_loop__is_corrupt)
{
	struct file f;
	struct extent_node n;

	damage_open(&f, NO_CSUM);
	n = spoil(&f, 500, 1);
	extent_encode_index(extent_entry(&n, (uint32_t)n.pos), extent_key(&n, (uint32_t)n.pos),
			    n.buf->pblk);
	expect_error(&f, 500, -EUCLEAN);
	damage_close(&f);
}

TEST(test_too_many_entries__is_corrupt)
{
	struct file f;
	struct extent_node n;

	damage_open(&f, NO_CSUM);
	n = spoil(&f, 500, 2);
	extent_header(&n)->eh_entries = cpu_to_le16(0xffff);
	expect_error(&f, 500, -EUCLEAN);
	extent_header(&n)->eh_max = cpu_to_le16(0xffff);
	expect_error(&f, 500, -EUCLEAN);
	damage_close(&f);
}

struct bad_extent {
	uint32_t lblk, len_raw;
	uint64_t pblk;
};

TEST(test_impossible_extent__is_corrupt)
{
	static const struct bad_extent bad[] = {
		{ 0, 1, 500 },		 /* out of order */
		{ 500, 0, 500 },	 /* no blocks */
		{ 500, 1, 0 },		 /* the superblock */
		{ 500, 100, 16380 },	 /* past the image */
		{ 500, 1, 1ull << 47 },	 /* far past it */
		{ 500, 32768, 500 },	 /* over its neighbours */
		{ 0xfffffffe, 30, 500 }, /* past the largest file */
	};

	for (uint32_t k = 0; k < ARRAY_SIZE(bad); k++) {
		struct file f;
		struct extent_node n;
		struct ext4_extent *e;

		damage_open(&f, NO_CSUM);
		n = spoil(&f, 500, 2);
		e = (struct ext4_extent *)extent_entry(&n, (uint32_t)n.pos);
		e->ee_block = cpu_to_le32(bad[k].lblk);
		e->ee_len = cpu_to_le16((uint16_t)bad[k].len_raw);
		e->ee_start_lo = cpu_to_le32((uint32_t)bad[k].pblk);
		e->ee_start_hi = cpu_to_le16((uint16_t)(bad[k].pblk >> 32));
		expect_error(&f, 500, -EUCLEAN);
		damage_close(&f);
	}
}

/* A leaf that begins elsewhere than its index says, or reaches into the next leaf. */
TEST(test_leaf_outside_its_range__is_corrupt)
{
	for (int k = 0; k < 2; k++) {
		struct file f;
		struct extent_node n;
		uint32_t last;

		damage_open(&f, NO_CSUM);
		n = spoil(&f, 500, 2);
		last = n.entries - 1;
		le32_add(&((struct ext4_extent *)extent_entry(&n, k ? last : 0))->ee_block,
			 k ? 2 : 0xffffffff);
		expect_error(&f, 500, -EUCLEAN);
		damage_close(&f);
	}
}

TEST(test_flipped_bit_under_checksum__is_bad_message)
{
	struct file f;
	struct extent_node n;

	damage_open(&f, "-b 1024 -O ^has_journal");
	n = spoil(&f, 500, 2);
	extent_entry(&n, 3)[11] ^= 1;
	expect_error(&f, 500, -EBADMSG);
	damage_close(&f);
}

/* Whatever the bytes are, an answer comes back, and nothing outside is touched. */
TEST(test_random_damage__never_hangs)
{
	for (int round = 0; round < 6; round++) {
		struct file f;

		damage_open(&f, NO_CSUM);
		for (int k = 0; k < 60; k++) {
			uint32_t lblk = (uint32_t)test_random_below(2 * DAMAGE_EXTENTS), runs;
			struct extent_path p = { .alloc_flags = 0 };
			struct map_run run;
			uint64_t off;

			if (extent_path_find(f.i, lblk, &p) == 0) {
				struct extent_node n = p.node[test_random_below(3)];

				n.data[test_random_below(n.bytes)] = (uint8_t)test_random();
				if (n.buf)
					atomic_fetch_and(&n.buf->flags, ~(uint32_t)BUF_VERIFIED);
				atomic_fetch_and(&f.i->state, ~(uint32_t)INODE_VERIFIED_MAP);
				extent_path_put(&p);
			}
			if (map_lookup(f.i, lblk, 100, &run) == 0)
				CHECK(run.count >= 1 && run.count <= 100);
			(void)map_verify(f.i);
			(void)map_count_runs(f.i, &runs);
			(void)map_seek(f.i, 0, test_random_below(2), &off);
			(void)inode_punch(f.i, (uint64_t)lblk * BLOCK, 30 * BLOCK);
		}
		(void)inode_truncate(f.i, 0);
		damage_close(&f);
	}
}
