// SPDX-License-Identifier: GPL-2.0-only
/*
 * File contents at their edges: the end of the file, the limits of size and of the
 * inode's own room, failing and lost writes. After a crash a file may hold zeros or
 * its own bytes, old or new; it never holds what a block held before the file got it.
 */
#include "daemon/store/map.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "daemon/store/alloc.h"
#include "daemon/store/dir.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/img.h"
#include "tests/unit/daemon/store/lossy.h"

#define BLOCK 1024u
/* What blocks hold before files get them; no file contains it. */
#define STALE 0xdb

struct file {
	struct img m;
	struct inode *i; /* locked exclusively */
};

static void file_create(struct file *f, const char *name)
{
	struct inode *root = img_root(&f->m);

	f->i = img_create(&f->m, root, name, 0100644);
	img_put(root);
}

static void file_open(struct file *f, const char *options, const char *size)
{
	img_make(&f->m, options, size);
	img_open(&f->m);
	file_create(f, "f");
}

static void file_close(struct file *f)
{
	balloc_release_resv(f->i);
	img_put(f->i);
	img_close(&f->m);
	img_fsck(&f->m);
}

static ssize_t put(struct file *f, uint64_t off, uint64_t len, uint8_t value)
{
	static uint8_t buf[1 << 20];
	struct iovec iov = { buf, len };
	struct data_write w = {
		.iov = &iov, .iovcnt = 1, .off = off, .len = len, .now_s = 1234, .now_ns = 5
	};

	memset(buf, value, len);
	return data_write(f->i, &w);
}

static uint8_t byte_at(struct file *f, uint64_t off)
{
	uint8_t v = 0xaa;
	struct iovec iov = { &v, 1 };

	CHECK_EQ(data_read(f->i, &iov, 1, off, 1), 1);
	return v;
}

/* All of [off, end) is @value. */
static void check_bytes(struct file *f, uint64_t off, uint64_t end, uint8_t value)
{
	for (; off < end; off++)
		CHECK_EQ(byte_at(f, off), value);
}

/* Fill the free space with STALE and free it again. */
static void make_stale(struct img *m)
{
	struct file f = { .m = *m };
	struct inode *root;
	uint64_t off = 0;

	file_create(&f, "stale");
	while (put(&f, off, 1 << 18, STALE) > 0)
		off += 1 << 18;
	rwlock_unwrite(&f.i->lock);
	root = img_root(m);
	rwlock_write(&f.i->lock);
	img_unlink(m, root, "stale", f.i);
	img_put(root);
	CHECK_OK(inode_delete(f.i));
	CHECK_OK(journal_sync(m->s->journal));
}

TEST(test_read__stops_at_the_end)
{
	struct file f;
	uint8_t buf[8192];
	struct iovec iov[2] = { { buf, 10 }, { buf + 10, sizeof(buf) - 10 } };

	file_open(&f, "-b 1024", "8M");
	CHECK_EQ(data_read(f.i, iov, 2, 0, 100), 0);
	CHECK_EQ(put(&f, 3000, 500, 7), 500);
	CHECK_EQ(data_read(f.i, iov, 2, 0, sizeof(buf)), 3500);
	CHECK_EQ(buf[2999], 0);
	CHECK_EQ(buf[3000], 7);
	CHECK_EQ(data_read(f.i, iov, 2, 3499, 100), 1);
	CHECK_EQ(data_read(f.i, iov, 2, 3500, 100), 0);
	CHECK_EQ(data_read(f.i, iov, 1, 0, 11), -EINVAL); /* ten bytes of room */
	file_close(&f);
}

TEST(test_write__limits)
{
	struct file f;
	uint64_t max;

	file_open(&f, "-b 1024", "8M");
	max = inode_size_max(f.i);
	CHECK_EQ(put(&f, max, 1, 1), -EFBIG);
	CHECK_EQ(put(&f, UINT64_MAX, 1, 1), -EFBIG);
	CHECK_EQ(put(&f, max - 3, 10, 1), 3);
	CHECK_EQ(f.i->size, max);
	CHECK_ERR(inode_truncate(f.i, max + 1), -EFBIG);
	CHECK_ERR(inode_preallocate(f.i, max, 1, false, 0), -EFBIG);
	CHECK_ERR(inode_preallocate(f.i, 5, UINT64_MAX, false, 0), -EFBIG);
	CHECK_OK(inode_punch(f.i, 5, UINT64_MAX));
	CHECK_OK(inode_truncate(f.i, 0));
	CHECK_EQ(f.i->blocks, 0);
	file_close(&f);
}

TEST(test_block_map__reaches_triple_indirect)
{
	/* Last blocks of the direct, indirect, double and triple parts, 256 numbers a block. */
	static const uint64_t lblk[] = { 0, 11, 12, 267, 268, 523, 65803, 65804, 66060, 16843019 };
	struct file f;

	file_open(&f, "-b 1024 -O ^extent,^64bit", "8M");
	for (uint32_t k = 0; k < ARRAY_SIZE(lblk); k++)
		CHECK_EQ(put(&f, lblk[k] * BLOCK, BLOCK, (uint8_t)(k + 1)), BLOCK);
	CHECK_EQ(put(&f, 16843020ull * BLOCK, 1, 1), -EFBIG);
	for (uint32_t k = 0; k < ARRAY_SIZE(lblk); k++) {
		uint64_t at;

		CHECK_EQ(byte_at(&f, lblk[k] * BLOCK), k + 1);
		CHECK_OK(map_seek(f.i, k ? (lblk[k - 1] + 1) * BLOCK : 0, false, &at));
		CHECK_EQ(at, lblk[k] * BLOCK);
	}
	for (uint32_t k = ARRAY_SIZE(lblk); k-- > 0;) {
		CHECK_OK(inode_truncate(f.i, lblk[k] * BLOCK));
		CHECK_OK(map_verify(f.i));
	}
	CHECK_EQ(f.i->blocks, 0);
	file_close(&f);
}

TEST(test_times__follow_the_profile)
{
	struct file f;
	uint8_t v = 1;
	struct iovec iov = { &v, 1 };
	struct data_write w = { .iov = &iov, .iovcnt = 1, .len = 1, .keep_times = true };

	file_open(&f, "-b 1024", "8M");
	CHECK_EQ(put(&f, 0, 1, 1), 1);
	CHECK_EQ(f.i->mtime_s, 1234);
	CHECK_EQ(f.i->ctime_ns, 5);
	f.i->mtime_s = 77;
	CHECK_EQ(data_write(f.i, &w), 1);
	CHECK_EQ(f.i->mtime_s, 77);
	/* Overwriting changes nothing that fdatasync must wait for. */
	f.i->datasync_tid = 0;
	CHECK_EQ(put(&f, 0, 1, 2), 1);
	CHECK_EQ(f.i->mtime_s, 1234);
	CHECK_EQ(f.i->datasync_tid, 0);
	CHECK_EQ(put(&f, 1, 1, 2), 1);
	CHECK_NE(f.i->datasync_tid, 0);
	file_close(&f);
}

/* Bytes behind the end that were in the file once must not come back. */
static void check_growing_again(const char *options)
{
	struct file f;

	img_make(&f.m, options, "8M");
	img_open(&f.m);
	make_stale(&f.m);
	file_create(&f, "f");
	CHECK_EQ(put(&f, 0, 3000, 9), 3000);
	CHECK_OK(inode_truncate(f.i, 100));
	CHECK_OK(inode_truncate(f.i, 5000));
	check_bytes(&f, 0, 100, 9);
	check_bytes(&f, 100, 5000, 0);
	CHECK_OK(inode_truncate(f.i, 50));
	CHECK_EQ(put(&f, 70, 10, 8), 10);
	check_bytes(&f, 50, 70, 0);
	CHECK_EQ(put(&f, 6000, 1, 8), 1);
	check_bytes(&f, 80, 6000, 0);
	file_close(&f);
}

TEST(test_growing_again__shows_zeros)
{
	check_growing_again("-b 1024");
	check_growing_again("-b 4096");
	check_growing_again("-b 1024 -O ^extent,^64bit");
	check_growing_again("-b 1024 -I 512 -O inline_data");
}

/* What lies behind the end is zero in the image, so that others who grow the file show nothing. */
TEST(test_shrinking__zeroes_the_tail_in_the_image)
{
	struct file f;
	struct map_run run;
	uint8_t block[BLOCK];

	file_open(&f, "-b 1024", "8M");
	CHECK_EQ(put(&f, 0, 3 * BLOCK, 9), 3 * BLOCK);
	CHECK_OK(inode_truncate(f.i, BLOCK + 100));
	CHECK_OK(map_lookup(f.i, 1, 1, &run));
	CHECK_OK(bdev_read(f.m.s->bdev, block, BLOCK, run.pblk * BLOCK));
	for (uint32_t k = 0; k < BLOCK; k++)
		CHECK_EQ(block[k], k < 100 ? 9 : 0);
	file_close(&f);
}

/* And whatever others left there is not shown when the file grows, in any of the ways it can. */
TEST(test_growing__hides_what_lies_behind_the_end)
{
	for (int way = 0; way < 5; way++) {
		struct file f;
		struct map_run run;
		uint8_t block[BLOCK];

		file_open(&f, "-b 1024", "8M");
		CHECK_EQ(put(&f, 0, 100, 9), 100);
		CHECK_OK(map_lookup(f.i, 0, 1, &run));
		memset(block, STALE, BLOCK);
		CHECK_OK(bdev_write(f.m.s->bdev, block, BLOCK - 100, run.pblk * BLOCK + 100));
		switch (way) {
		case 0: CHECK_OK(inode_truncate(f.i, 900)); break;
		case 1: CHECK_OK(inode_preallocate(f.i, 700, 5000, false, 0)); break;
		case 2: CHECK_OK(inode_zero_range(f.i, 2048, 100, false)); break;
		case 3: CHECK_EQ(put(&f, 700, 10, 0), 10); break;
		default: CHECK_EQ(put(&f, 7000, 10, 0), 10); break;
		}
		check_bytes(&f, 100, f.i->size, 0);
		file_close(&f);
	}
}

/* Contents of every length that fits the inode, and one more. */
TEST(test_inline__moves_to_a_block_when_full)
{
	struct file f;
	uint32_t max;

	file_open(&f, "-b 1024 -I 256 -O inline_data", "8M");
	CHECK(!inline_has(f.i));
	CHECK_EQ(put(&f, 0, 1, 1), 1);
	CHECK(inline_has(f.i));
	max = inline_size_max(f.i);
	CHECK_GT(max, EXT4_MIN_INLINE_DATA_SIZE);
	for (uint32_t n = 1; n < max; n++)
		CHECK_EQ(put(&f, n, 1, (uint8_t)n), 1);
	CHECK(inline_has(f.i));
	CHECK_EQ(f.i->blocks, 0);
	CHECK_EQ(put(&f, max, 1, (uint8_t)max), 1);
	CHECK(!inline_has(f.i));
	CHECK_EQ(f.i->blocks, 2);
	CHECK_EQ(byte_at(&f, 0), 1);
	for (uint32_t n = 1; n <= max; n++)
		CHECK_EQ(byte_at(&f, n), (uint8_t)n);
	file_close(&f);
}

TEST(test_inline__other_ways_to_a_block)
{
	struct file f;
	uint32_t max;

	for (int way = 0; way < 5; way++) {
		file_open(&f, "-b 1024 -I 256 -O inline_data", "8M");
		CHECK_EQ(put(&f, 0, 50, 5), 50);
		max = inline_size_max(f.i);
		switch (way) {
		case 0: CHECK_OK(inode_truncate(f.i, max + 1)); break;
		case 1: CHECK_OK(inode_preallocate(f.i, 0, max + 1, false, 0)); break;
		case 2: CHECK_OK(inode_preallocate(f.i, 0, 10, true, 0)); break;
		case 3: CHECK_OK(inode_zero_range(f.i, 50, max, false)); break;
		default: CHECK_OK(inode_insert_range(f.i, 0, BLOCK)); break;
		}
		CHECK(!inline_has(f.i));
		check_bytes(&f, way == 4 ? BLOCK : 0, way == 4 ? BLOCK + 50 : 50, 5);
		file_close(&f);
	}
}

TEST(test_pieces__say_where_bytes_lie)
{
	struct file f;
	struct data_piece p[DATA_PIECES_MAX];
	uint32_t n;
	uint8_t v;

	file_open(&f, "-b 1024", "8M");
	CHECK_EQ(data_pieces(f.i, 0, 100, p, &n), 0);
	CHECK_EQ(put(&f, 0, 2048, 6), 2048);
	CHECK_EQ(put(&f, 4096, 100, 6), 100);
	CHECK_OK(inode_preallocate(f.i, 2048, 1024, false, 0));
	CHECK_EQ(data_pieces(f.i, 100, 1 << 20, p, &n), 4096);
	CHECK_EQ(n, 4);
	CHECK(!p[0].zero && p[1].zero && p[2].zero && !p[3].zero);
	CHECK_EQ(p[0].len, 1948);
	CHECK_EQ(p[3].len, 100);
	CHECK_OK(bdev_read(f.m.s->bdev, &v, 1, p[0].img_off + 1947));
	CHECK_EQ(v, 6);
	file_close(&f);
}

TEST(test_pieces__more_than_fit)
{
	struct file f;
	struct data_piece p[DATA_PIECES_MAX];
	uint32_t n;

	file_open(&f, "-b 1024", "8M");
	for (uint64_t k = 0; k < 100; k++)
		CHECK_EQ(put(&f, k * 2048, 1024, 6), 1024);
	CHECK_EQ(data_pieces(f.i, 0, 1 << 20, p, &n), DATA_PIECES_MAX * 1024);
	CHECK_EQ(n, DATA_PIECES_MAX);
	file_close(&f);
}

static void open_lossy(struct img *m, uint32_t commit_ms, struct lossy **ret_lossy)
{
	struct bdev_open_opts bdev_opts = { 0 };
	struct store_opts opts = { .commit_interval_ms = commit_ms };
	struct store_open_error err;
	struct bdev *b;

	CHECK_OK(bdev_open_file(m->path, &bdev_opts, &b));
	*ret_lossy = lossy_new(b);
	if (store_open(lossy_bdev(*ret_lossy), &opts, &m->s, &err))
		FAIL("store_open: %s (%s)", err.what, err.remedy);
}

/* A device that refuses the bytes: nothing is mapped, nothing is lost, and the space is free again. */
TEST(test_failed_write__maps_nothing)
{
	struct file f;
	struct lossy *l;
	int64_t free_before;

	img_make(&f.m, "-b 1024", "8M");
	open_lossy(&f.m, 20, &l);
	file_create(&f, "f");
	CHECK_EQ(put(&f, 0, BLOCK, 1), BLOCK);
	balloc_release_resv(f.i);
	free_before = atomic_load(&f.m.s->blocks_free);
	lossy_fail(l, 0x77, 2);
	CHECK_EQ(put(&f, 8 * BLOCK, 4 * BLOCK, 0x77), -EIO);
	CHECK_EQ(f.i->size, BLOCK);
	CHECK_EQ(f.i->blocks, 2);
	CHECK_OK(inode_preallocate(f.i, 0, 16 * BLOCK, false, 0));
	CHECK_EQ(put(&f, 2 * BLOCK, BLOCK, 0x77), -EIO);
	check_bytes(&f, BLOCK, 16 * BLOCK, 0);
	CHECK_EQ(put(&f, 2 * BLOCK, BLOCK, 0x77), BLOCK);
	CHECK_EQ(atomic_load(&f.m.s->blocks_free), free_before - 15);
	file_close(&f);
}

/* ---- streams -------------------------------------------------------------- */

#define CHUNK (1u << 20)

static uint32_t count_extents(struct inode *i, uint32_t end)
{
	uint64_t next = 0;
	uint32_t n = 0;

	for (uint32_t lblk = 0; lblk < end;) {
		struct map_run run;

		CHECK_OK(map_lookup(i, lblk, end - lblk, &run));
		CHECK_EQ(run.flags, 0);
		n += run.pblk != next;
		next = run.pblk + run.count;
		lblk += run.count;
	}
	return n;
}

/* A file written from its beginning to its end, but each piece comes less than @reach places early or late. */
static uint32_t disordered_stream(uint32_t chunks, uint32_t reach)
{
	static uint64_t order[384];
	struct file f;
	uint32_t n;

	for (n = 0; n < chunks; n++) {
		uint64_t key = (n + test_random_below(reach)) << 32 | n;
		uint32_t at = n;

		for (; at > 0 && order[at - 1] > key; at--)
			order[at] = order[at - 1];
		order[at] = key;
	}
	file_open(&f, "-b 4096", "3G");
	for (n = 0; n < chunks; n++)
		CHECK_EQ(put(&f, (uint32_t)order[n] * (uint64_t)CHUNK, CHUNK, 7), CHUNK);
	n = count_extents(f.i, chunks * (CHUNK / 4096));
	file_close(&f);
	return n;
}

TEST(test_stream__stays_together_when_writes_overtake_each_other)
{
	for (uint32_t reach = 1; reach <= 8; reach *= 2) {
		uint32_t n = disordered_stream(384, reach);

		printf("pieces of 1 MiB, less than %u places early or late: %u extents\n", reach,
		       n);
		CHECK_LE(n, 4); /* three groups, of which some begin with metadata */
	}
}

/* ---- threads -------------------------------------------------------------- */

#define THREADS 4
#define THREAD_STEPS 300

struct worker {
	struct file f;
	struct file *all; /* THREADS of them */
	uint32_t id;
	uint64_t seed; /* of its own: what it does does not depend on the others */
};

static uint64_t worker_random(struct worker *w, uint64_t limit)
{
	w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (w->seed >> 33) % limit;
}

static void worker_change(struct worker *w)
{
	uint8_t buf[20 * BLOCK];
	struct iovec iov = { buf, 1 + worker_random(w, sizeof(buf)) };
	struct data_write dw = {
		.iov = &iov, .iovcnt = 1, .off = worker_random(w, 200 * BLOCK), .len = iov.iov_len
	};

	memset(buf, (int)w->id + 1, sizeof(buf));
	rwlock_write(&w->f.i->lock);
	switch (worker_random(w, 8)) {
	case 0: CHECK_OK(inode_truncate(w->f.i, dw.off)); break;
	case 1: CHECK_OK(inode_punch(w->f.i, dw.off, dw.len)); break;
	case 2: CHECK_OK(inode_preallocate(w->f.i, dw.off, dw.len, true, 0)); break;
	default: CHECK_EQ(data_write(w->f.i, &dw), dw.len); break;
	}
	rwlock_unwrite(&w->f.i->lock);
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	for (int n = 0; n < THREAD_STEPS; n++) {
		uint32_t k = (uint32_t)worker_random(w, THREADS);
		uint8_t buf[30 * BLOCK];
		struct iovec iov = { buf, sizeof(buf) };
		ssize_t got;

		worker_change(w);
		rwlock_read(&w->all[k].i->lock);
		got = data_read(w->all[k].i, &iov, 1, worker_random(w, 200 * BLOCK), sizeof(buf));
		rwlock_unread(&w->all[k].i->lock);
		CHECK_GE(got, 0);
		for (ssize_t b = 0; b < got; b++)
			CHECK(buf[b] == 0 || buf[b] == k + 1);
	}
	return NULL;
}

static void check_threads(const char *options)
{
	struct worker w[THREADS];
	struct file all[THREADS];
	pthread_t thread[THREADS];
	struct img m;

	img_make(&m, options, "16M");
	img_open_opts(&m, &(struct store_opts){ .commit_interval_ms = 10, .no_barrier = true });
	for (uint32_t k = 0; k < THREADS; k++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "f%u", k);
		all[k].m = m;
		file_create(&all[k], name);
		rwlock_unwrite(&all[k].i->lock);
		w[k] = (struct worker){ .f = all[k], .all = all, .id = k, .seed = test_random() };
	}
	for (uint32_t k = 0; k < THREADS; k++)
		CHECK_EQ(pthread_create(&thread[k], NULL, worker_run, &w[k]), 0);
	for (uint32_t k = 0; k < THREADS; k++)
		CHECK_EQ(pthread_join(thread[k], NULL), 0);
	for (uint32_t k = 0; k < THREADS; k++) {
		rwlock_write(&all[k].i->lock);
		CHECK_OK(map_verify(all[k].i));
		balloc_release_resv(all[k].i);
		img_put(all[k].i);
	}
	img_close(&m);
	img_fsck(&m);
}

TEST(test_threads_on_files__keep_to_their_own)
{
	check_threads("-b 1024 -J size=1");
	check_threads("-b 1024 -J size=1 -O inline_data");
}

/* ---- loss of power -------------------------------------------------------- */

#define CRASH_FILES 4
#define CRASH_SIZE (400u * BLOCK)

static void random_change(struct file *f, uint8_t tag)
{
	uint64_t off = test_random_below(CRASH_SIZE), len = 1 + test_random_below(40 * BLOCK);
	uint64_t block = off / BLOCK * BLOCK;
	int r = 0;

	len = MIN(len, CRASH_SIZE - off);
	switch (test_random_below(10)) {
	case 0: r = inode_truncate(f->i, off); break;
	case 1: r = inode_punch(f->i, off, len); break;
	case 2: r = inode_preallocate(f->i, off, len, test_random_below(2), 0); break;
	case 3: r = inode_zero_range(f->i, off, len, test_random_below(2)); break;
	case 4:
		r = block + 8 * BLOCK < f->i->size ? inode_collapse_range(f->i, block, 4 * BLOCK) :
						     0;
		break;
	default: r = (int)MIN(put(f, off, len, tag), (ssize_t)0); break;
	}
	if (r != 0 && r != -EOPNOTSUPP)
		FAIL("change: %d", r);
}

static void check_no_stale(struct img *m, uint32_t ino, uint8_t tag)
{
	struct file f = { .m = *m };
	static uint8_t buf[CRASH_SIZE];
	struct iovec iov = { buf, sizeof(buf) };
	ssize_t n;

	CHECK_OK(inode_get(m->s, ino, &f.i));
	rwlock_write(&f.i->lock);
	n = data_read(f.i, &iov, 1, 0, sizeof(buf));
	CHECK_GE(n, 0);
	for (ssize_t k = 0; k < n; k++)
		if (buf[k] != 0 && buf[k] != tag)
			FAIL("file %u, byte %zd: %02x of another time", tag, k, buf[k]);
	CHECK_OK(map_verify(f.i));
	img_put(f.i);
}

static void check_crash(const char *options)
{
	struct file f[CRASH_FILES];
	uint32_t ino[CRASH_FILES], cleaned, steps = 20 + (uint32_t)test_random_below(200);
	struct img m;
	struct lossy *l;

	img_make(&m, options, "6M");
	img_open(&m);
	make_stale(&m);
	img_close(&m);
	open_lossy(&m, 20, &l);
	for (int k = 0; k < CRASH_FILES; k++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "f%d", k);
		f[k].m = m;
		file_create(&f[k], name);
		ino[k] = f[k].i->ino;
		rwlock_unwrite(&f[k].i->lock);
	}
	/* The last file is written once and made durable: it must survive as it is. */
	rwlock_write(&f[3].i->lock);
	CHECK_EQ(put(&f[3], 0, 100 * BLOCK, 4), 100 * BLOCK);
	rwlock_unwrite(&f[3].i->lock);
	CHECK_OK(journal_sync(m.s->journal));
	for (uint32_t n = 0; n < steps; n++) {
		uint32_t k = (uint32_t)test_random_below(CRASH_FILES - 1);

		rwlock_write(&f[k].i->lock);
		random_change(&f[k], (uint8_t)(1 + k));
		rwlock_unwrite(&f[k].i->lock);
		if (test_random_below(30) == 0)
			CHECK_OK(journal_sync(m.s->journal));
	}
	lossy_crash(l);
	for (int k = 0; k < CRASH_FILES; k++)
		inode_put(f[k].i);
	store_destroy(m.s);
	img_open(&m);
	CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
	for (int k = 0; k < CRASH_FILES; k++)
		check_no_stale(&m, ino[k], (uint8_t)(1 + k));
	f[3].m = m;
	CHECK_OK(inode_get(m.s, ino[3], &f[3].i));
	rwlock_write(&f[3].i->lock);
	CHECK_EQ(f[3].i->size, 100 * BLOCK);
	check_bytes(&f[3], 0, 100 * BLOCK, 4);
	img_put(f[3].i);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_crash_extents__shows_nothing_stale)
{
	for (int round = 0; round < 4; round++)
		check_crash("-b 1024 -J size=1 -N 32");
}

TEST(test_crash_block_map__shows_nothing_stale)
{
	for (int round = 0; round < 3; round++)
		check_crash("-b 1024 -J size=1 -N 32 -O ^extent,^64bit");
}

TEST(test_crash_inline__shows_nothing_stale)
{
	for (int round = 0; round < 3; round++)
		check_crash("-b 1024 -J size=1 -N 32 -O inline_data");
}

/* ---- loss of power while blocks are being freed ---------------------------- */

/* More leaves than a transaction in a journal of 1 MiB has room for: 256. */
#define SCATTERED 24000u

/* Copy the image, so that each round begins with the same file. */
static void copy_image(const struct img *from, struct img *to)
{
	struct bdev_open_opts opts = { 0 };
	static uint8_t buf[1 << 20];
	struct bdev *a, *b;

	img_make(to, "-b 1024 -J size=1 -N 32", "32M");
	CHECK_OK(bdev_open_file(from->path, &opts, &a));
	CHECK_OK(bdev_open_file(to->path, &opts, &b));
	CHECK_EQ(a->size, b->size);
	for (uint64_t off = 0; off < a->size; off += sizeof(buf)) {
		size_t n = (size_t)MIN((uint64_t)sizeof(buf), a->size - off);

		CHECK_OK(bdev_read(a, buf, n, off));
		CHECK_OK(bdev_write(b, buf, n, off));
	}
	bdev_close(a);
	bdev_close(b);
}

/* A truncation of many transactions: the file has the old size, or the new one and no block too many. */
TEST(test_crash_in_truncation__is_finished_by_recovery)
{
	struct file f;
	struct img whole;
	uint32_t ino, finished = 0, cleaned;

	file_open(&f, "-b 1024 -J size=1 -N 32", "32M");
	for (uint64_t k = 0; k < SCATTERED; k++)
		CHECK_EQ(put(&f, k * 2 * BLOCK, 1, 1), 1);
	ino = f.i->ino;
	whole = f.m;
	file_close(&f);
	(void)snprintf(whole.path, sizeof(whole.path), "%s", test_path("whole"));
	CHECK_EQ(rename(f.m.path, whole.path), 0);
	for (int round = 0; round < 6; round++) {
		struct lossy *l;

		copy_image(&whole, &f.m);
		open_lossy(&f.m, 5000, &l);
		CHECK_OK(inode_get(f.m.s, ino, &f.i));
		/* At a random write, or when all but the last transaction is durable. */
		if (round % 2)
			lossy_crash_after(l, 2 + test_random_below(60));
		rwlock_write(&f.i->lock);
		CHECK_OK(inode_truncate(f.i, 10));
		rwlock_unwrite(&f.i->lock);
		if (round % 2 == 0)
			CHECK_OK(journal_commit_wait(f.m.s->journal, f.i->sync_tid - 1));
		lossy_crash(l);
		inode_put(f.i);
		store_destroy(f.m.s);
		img_open(&f.m);
		CHECK_OK(store_orphan_cleanup(f.m.s, &cleaned));
		finished += cleaned;
		CHECK_OK(inode_get(f.m.s, ino, &f.i));
		rwlock_write(&f.i->lock);
		CHECK_OK(map_verify(f.i));
		if (f.i->size == 10)
			CHECK_EQ(f.i->blocks, 2);
		else
			CHECK_EQ(f.i->size, (SCATTERED - 1) * 2ull * BLOCK + 1);
		file_close(&f);
	}
	CHECK_GT(finished, 0); /* otherwise the crashes came at the wrong times */
}
