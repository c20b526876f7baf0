// SPDX-License-Identifier: GPL-2.0-only
/*
 * Orphans: on the list and in the file, added and removed in any order, finished after
 * a crash, and impossible ones cut off. Also mount marks, errors and foreign writers,
 * which live in the same superblock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/log.h"
#include "daemon/store/alloc.h"
#include "daemon/store/dir.h"
#include "daemon/store/inode_disk.h"
#include "daemon/store/map.h"
#include "daemon/store/orphan.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define SIZE "16M"
#define LIST "-b 1024 -O ^orphan_file -J size=1"
#define FILE_ "-b 1024 -O orphan_file -J size=1"
#define NOCSUM "-b 1024 -I 256 -O orphan_file,^metadata_csum -J size=1"
#define COUNT 60
/* More than there are buckets: numbers share some. */
#define COUNT_MANY (ORPHAN_BUCKETS + 40)
#define THREADS 4

static struct inode *new_orphan(struct img *m, struct inode *root)
{
	struct inode_init init = { .mode = S_IFREG | 0600, .now_s = 1 };
	uint8_t data[5000] = { 1 };
	struct iovec iov = { data, sizeof(data) };
	struct data_write w = { .iov = &iov, .iovcnt = 1, .len = sizeof(data) };
	struct inode *i;
	struct handle h;

	img_start(m, &h);
	CHECK_OK(inode_create(&h, root, &init, &i));
	CHECK_OK(orphan_add(&h, i));
	CHECK_OK(orphan_add(&h, i)); /* it is one already */
	CHECK_OK(inode_write(&h, i));
	img_stop(&h);
	CHECK(atomic_load(&i->state) & INODE_ORPHAN);
	CHECK_EQ(data_write(i, &w), (ssize_t)sizeof(data));
	return i;
}

static void check_random_removal(struct img *m, uint32_t count)
{
	struct inode *orphans[COUNT_MANY], *root = img_root(m);
	uint32_t k, pick;
	int64_t free_before = m->s->blocks_free;

	CHECK_LE(count, COUNT_MANY);
	for (k = 0; k < count; k++) {
		orphans[k] = new_orphan(m, root);
		rwlock_unwrite(&orphans[k]->lock);
	}
	for (k = count; k > 0; k--) {
		pick = (uint32_t)test_random_below(k);
		rwlock_write(&orphans[pick]->lock);
		CHECK_OK(inode_delete(orphans[pick]));
		orphans[pick] = orphans[k - 1];
	}
	CHECK_EQ(m->s->blocks_free, free_before);
	CHECK_EQ(le32_to_cpu(store_sb(m->s)->s_last_orphan), 0);
	CHECK(!orphan_file_in_use(m->s));
	img_put(root);
}

TEST(test_orphan_list__survives_removal_in_any_order)
{
	struct img m;

	img_make(&m, LIST, SIZE);
	img_open(&m);
	check_random_removal(&m, COUNT_MANY);
	img_close(&m);
	img_fsck(&m);
}

static void check_removal_from_file(const char *options)
{
	struct img m;

	img_make(&m, options, SIZE);
	img_open(&m);
	CHECK_GT(m.s->orphans->blocks, 0);
	check_random_removal(&m, COUNT);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_orphan_file__survives_removal_in_any_order)
{
	check_removal_from_file(FILE_);
}

TEST(test_orphan_file__needs_no_checksums)
{
	check_removal_from_file(NOCSUM);
}

static void check_crash_with_orphans(const char *options)
{
	struct inode *root, *linked;
	int64_t blocks_before, inodes_before;
	uint32_t k, cleaned;
	struct handle h;
	struct img m;

	img_make(&m, options, SIZE);
	img_open(&m);
	root = img_root(&m);
	linked = img_create(&m, root, "linked", S_IFREG | 0644);
	blocks_before = m.s->blocks_free;
	inodes_before = m.s->inodes_free;
	/* One that was being truncated: size 0, blocks still there. */
	{
		uint8_t data[3000] = { 1 };
		struct iovec iov = { data, sizeof(data) };
		struct data_write w = { .iov = &iov, .iovcnt = 1, .len = sizeof(data) };

		CHECK_EQ(data_write(linked, &w), (ssize_t)sizeof(data));
	}
	img_start(&m, &h);
	linked->size = 0;
	CHECK_OK(orphan_add(&h, linked));
	CHECK_OK(inode_write_data(&h, linked));
	img_stop(&h);
	rwlock_unwrite(&linked->lock);
	for (k = 0; k < COUNT; k++)
		rwlock_unwrite(&new_orphan(&m, root)->lock);
	img_put(root);
	CHECK_OK(store_sync(m.s));
	store_destroy(m.s); /* the references go with it */

	img_open(&m);
	CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
	CHECK_EQ(cleaned, COUNT + 1);
	CHECK_EQ(m.s->blocks_free, blocks_before);
	CHECK_EQ(m.s->inodes_free, inodes_before);
	CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
	CHECK_EQ(cleaned, 0);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_orphan_cleanup__finishes_the_list)
{
	check_crash_with_orphans(LIST);
}

TEST(test_orphan_cleanup__finishes_the_file)
{
	check_crash_with_orphans(FILE_);
}

/* When the file is full, the list takes the rest; cleanup finds both. */
TEST(test_orphan_file__falls_back_to_the_list)
{
	struct inode *i, *root;
	uint32_t k, slots, cleaned;
	struct img m;

	img_make(&m, FILE_ " -N 3000", SIZE);
	img_open(&m);
	slots = m.s->orphans->blocks * m.s->orphans->slots;
	/* All but three slots are somebody else's. */
	for (k = 0; k < m.s->orphans->blocks; k++)
		atomic_store(&m.s->orphans->slots_free[k], k == 1 ? 3 : 0);
	root = img_root(&m);
	for (k = 0; k < 8; k++) {
		i = new_orphan(&m, root);
		CHECK_EQ(i->orphan_pos != 0, k < 3);
		rwlock_unwrite(&i->lock);
	}
	img_put(root);
	CHECK_GT(slots, 8);
	CHECK_NE(le32_to_cpu(store_sb(m.s)->s_last_orphan), 0);
	CHECK_OK(store_sync(m.s));
	store_destroy(m.s);
	img_open(&m);
	CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
	CHECK_EQ(cleaned, 8);
	img_close(&m);
	img_fsck(&m);
}

/* ---- kept over a change of daemons ---------------------------------------- */

struct kept {
	struct inode *inode[COUNT];
	uint32_t count;
};

static bool keep_even(void *arg, struct inode *i)
{
	struct kept *k = arg;

	if (i->ino % 2)
		return false;
	inode_ref(i);
	k->inode[k->count++] = i;
	return true;
}

static void open_untouched(struct img *m, uint64_t print)
{
	img_open_opts(m, &(struct store_opts){ .no_barrier = true, .untouched = true });
	CHECK_EQ(m->s->print, print);
}

static void check_claim(const char *options)
{
	struct kept kept = { .count = 0 }, again = { .count = 0 };
	struct inode *root;
	uint32_t cleaned;
	uint64_t print;
	struct img m;

	img_make(&m, options, SIZE);
	img_open(&m);
	root = img_root(&m);
	for (uint32_t k = 0; k < COUNT; k++)
		img_put(new_orphan(&m, root));
	img_put(root);
	CHECK_OK(store_close_print(m.s, &print));

	/* Given back: as it was. */
	open_untouched(&m, print);
	CHECK_OK(store_orphan_claim(m.s, keep_even, &kept));
	CHECK_GT(kept.count, 0);
	store_destroy(m.s);
	open_untouched(&m, print);
	CHECK_OK(store_orphan_claim(m.s, keep_even, &again));
	CHECK_EQ(again.count, kept.count);
	CHECK_OK(store_begin(m.s));
	CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
	CHECK_EQ(cleaned, COUNT - kept.count);
	CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
	CHECK_EQ(cleaned, 0);
	for (uint32_t k = 0; k < again.count; k++) {
		CHECK_EQ(again.inode[k]->links, 0);
		rwlock_write(&again.inode[k]->lock);
		CHECK_OK(inode_delete(again.inode[k]));
	}
	img_close(&m);
	img_fsck(&m);
}

TEST(test_orphan_claim__keeps_some_of_the_list)
{
	check_claim(LIST);
}

TEST(test_orphan_claim__keeps_some_of_the_file)
{
	check_claim(FILE_);
}

TEST(test_untouched__is_refused_where_something_would_have_to_be_written)
{
	struct store_opts opts = { .no_barrier = true, .untouched = true };
	struct bdev_open_opts how = { 0 };
	struct store_open_error err;
	struct store *s;
	struct bdev *b;
	struct img m;

	img_make(&m, LIST, SIZE);
	img_open(&m);
	store_destroy(m.s);
	CHECK_OK(bdev_open_file(m.path, &how, &b));
	CHECK_EQ(store_open(b, &opts, &s, &err), -EBUSY);
}

/* ---- impossible ones ------------------------------------------------------ */

static void cleanup_reports(struct img *m, uint32_t head)
{
	struct ext4_super_block sb;
	struct store_open_error err;
	uint32_t cleaned;

	raw_read_super(m, &sb);
	sb.s_last_orphan = cpu_to_le32(head);
	sb.s_state = cpu_to_le16(EXT4_VALID_FS);
	raw_write_super(m, &sb);
	CHECK_OK(raw_open(m, NULL, &err));
	CHECK_OK(store_orphan_cleanup(m->s, &cleaned));
	CHECK_GT(m->s->corruptions, 0);
	CHECK_OK(store_close(m->s));
	raw_read_super(m, &sb);
	CHECK_EQ(le32_to_cpu(sb.s_last_orphan), 0);
	CHECK(le16_to_cpu(sb.s_state) & EXT4_ERROR_FS);
	CHECK_GT(le32_to_cpu(sb.s_error_count), 0);
}

/* A file whose number its bitmap calls free: it is not touched, the number may be somebody's next. */
TEST(test_orphan_cleanup__believes_the_bitmap)
{
	uint8_t byte;
	struct inode *root, *a;
	uint32_t ino;
	uint64_t off;
	struct img m;

	img_make(&m, "-b 1024 -I 256 -O ^orphan_file,^metadata_csum -J size=1", SIZE);
	img_open(&m);
	root = img_root(&m);
	a = img_create(&m, root, "a", S_IFREG | 0644);
	ino = a->ino;
	off = m.s->groups[0].inode_bitmap * 1024 + (ino - 1) / 8;
	CHECK_LE(ino, m.s->inodes_per_group);
	img_put(a);
	img_put(root);
	img_close(&m);
	raw_read(&m, &byte, 1, off);
	byte = (uint8_t)(byte & ~(1u << (ino - 1) % 8));
	raw_write(&m, &byte, 1, off);
	cleanup_reports(&m, ino);
}

TEST(test_orphan_cleanup__cuts_impossible_lists)
{
	struct inode_slot slot;
	struct inode *root, *a, *b;
	uint8_t raw[256];
	uint32_t ino_a, ino_b, cleaned;
	struct img m;

	img_make(&m, "-b 1024 -I 256 -O ^orphan_file,^metadata_csum -J size=1", SIZE);
	img_open(&m);
	root = img_root(&m);
	a = img_create(&m, root, "a", S_IFREG | 0644);
	b = img_create(&m, root, "b", S_IFREG | 0644);
	ino_a = a->ino;
	ino_b = b->ino;
	slot = inode_slot_of(m.s, ino_a);
	img_put(a);
	img_put(b);
	img_put(root);
	img_close(&m);
	cleanup_reports(&m, UINT32_MAX);
	cleanup_reports(&m, EXT4_JOURNAL_INO);
	cleanup_reports(&m, 1000); /* not in use */
	/* a -> b -> a: each is visited, its link cleared, and that is the end. */
	raw_read(&m, raw, sizeof(raw), slot.pblk * 1024 + slot.off);
	((struct ext4_inode *)(void *)raw)->i_dtime = cpu_to_le32(ino_b);
	raw_write(&m, raw, sizeof(raw), slot.pblk * 1024 + slot.off);
	raw_read(&m, raw, sizeof(raw), slot.pblk * 1024 + slot.off + 256);
	((struct ext4_inode *)(void *)raw)->i_dtime = cpu_to_le32(ino_a);
	raw_write(&m, raw, sizeof(raw), slot.pblk * 1024 + slot.off + 256);
	{
		struct ext4_super_block sb;
		struct store_open_error err;

		raw_read_super(&m, &sb);
		sb.s_last_orphan = cpu_to_le32(ino_a);
		sb.s_state = cpu_to_le16(EXT4_VALID_FS);
		raw_write_super(&m, &sb);
		CHECK_OK(raw_open(&m, NULL, &err));
		CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
		CHECK_LE(cleaned, 3);
		CHECK_OK(store_close(m.s));
		raw_read_super(&m, &sb);
		CHECK_EQ(le32_to_cpu(sb.s_last_orphan), 0);
	}
	img_fsck(&m);
}

/* An orphan whose inode a crash left with a wrong checksum: it is let go untouched, the others are finished. */
static void check_rotten_orphan(const char *options)
{
	struct inode *root, *rotten, *sound;
	struct store_open_error err;
	struct inode_slot slot;
	uint32_t cleaned;
	uint8_t byte;
	struct img m;

	img_make(&m, options, SIZE);
	img_open(&m);
	root = img_root(&m);
	rotten = new_orphan(&m, root);
	slot = inode_slot_of(m.s, rotten->ino);
	sound = new_orphan(&m, root); /* the head of the list */
	rwlock_unwrite(&rotten->lock);
	rwlock_unwrite(&sound->lock);
	img_put(root);
	CHECK_OK(store_sync(m.s));
	store_destroy(m.s);
	/* Into the image first, or recovery would write over the rot. */
	CHECK_OK(raw_open(&m, NULL, &err));
	store_destroy(m.s);
	raw_read(&m, &byte, 1, slot.pblk * 1024 + slot.off);
	byte ^= 1;
	raw_write(&m, &byte, 1, slot.pblk * 1024 + slot.off);
	CHECK_OK(raw_open(&m, NULL, &err));
	CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
	CHECK_EQ(cleaned, 2);
	CHECK_GT(m.s->corruptions, 0);
	CHECK_EQ(m.s->orphans->head, 0);
	CHECK(!orphan_file_in_use(m.s));
	CHECK_OK(store_close(m.s));
}

TEST(test_orphan_cleanup__lets_go_of_a_rotten_inode)
{
	check_rotten_orphan(LIST);
	check_rotten_orphan(FILE_);
}

/* As in ext4: freeing blocks of a filesystem with errors may do more harm. */
static void check_left_to_e2fsck(const char *options)
{
	struct ext4_super_block sb;
	struct store_open_error err;
	struct inode *root;
	uint32_t cleaned;
	struct img m;

	img_make(&m, options, SIZE);
	img_open(&m);
	root = img_root(&m);
	rwlock_unwrite(&new_orphan(&m, root)->lock);
	img_put(root);
	CHECK_OK(store_sync(m.s));
	store_destroy(m.s);
	CHECK_OK(raw_open(&m, NULL, &err));
	store_destroy(m.s);
	raw_read_super(&m, &sb);
	sb.s_state = cpu_to_le16(le16_to_cpu(sb.s_state) | EXT4_ERROR_FS);
	raw_write_super(&m, &sb);
	CHECK_OK(raw_open(&m, NULL, &err));
	CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
	CHECK_EQ(cleaned, 0);
	CHECK(m.s->orphans->head || orphan_file_in_use(m.s));
	CHECK_OK(store_close(m.s));
}

TEST(test_orphan_cleanup__leaves_a_filesystem_with_errors_alone)
{
	check_left_to_e2fsck(LIST);
	check_left_to_e2fsck(FILE_);
}

TEST(test_orphan_open__refuses_a_file_of_inline_data)
{
	struct inode_slot slot;
	struct ext4_inode raw;
	struct img m;

	img_make(&m, NOCSUM, SIZE);
	img_open(&m);
	slot = inode_slot_of(m.s, m.s->orphan_file_ino);
	img_close(&m);
	raw_read(&m, &raw, sizeof(raw), slot.pblk * 1024 + slot.off);
	raw.i_flags = cpu_to_le32(le32_to_cpu(raw.i_flags) | EXT4_INLINE_DATA_FL);
	raw_write(&m, &raw, sizeof(raw), slot.pblk * 1024 + slot.off);
	check_open_fails(&m, -EUCLEAN, "orphan file", "e2fsck");
}

TEST(test_orphan_open__refuses_damaged_file)
{
	struct ext4_orphan_block_tail tail;
	struct store_open_error err;
	uint64_t pblk;
	struct img m;

	img_make(&m, FILE_, SIZE);
	img_open(&m);
	pblk = m.s->orphans->bufs[1]->pblk;
	img_close(&m);
	raw_read(&m, &tail, sizeof(tail), pblk * 1024 + 1016);
	tail.ob_checksum = cpu_to_le32(le32_to_cpu(tail.ob_checksum) + 1);
	raw_write(&m, &tail, sizeof(tail), pblk * 1024 + 1016);
	check_open_fails(&m, -EBADMSG, "orphan file", "e2fsck");
	tail.ob_magic = cpu_to_le32(0);
	raw_write(&m, &tail, sizeof(tail), pblk * 1024 + 1016);
	check_open_fails(&m, -EUCLEAN, "orphan file", "e2fsck");
	/* To look at the files it is not needed. */
	CHECK_OK(raw_open(&m, &(struct store_opts){ .readonly = true }, &err));
	CHECK_OK(store_close(m.s));
}

/* ---- threads -------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	struct img *m;
	struct inode *root;
};

static void *churn(void *arg)
{
	struct worker *w = arg;
	struct inode *kept[4] = { NULL };
	uint32_t k;

	for (k = 0; k < 200; k++) {
		struct inode *i = new_orphan(w->m, w->root);

		rwlock_unwrite(&i->lock);
		if (kept[k % 4]) {
			rwlock_write(&kept[k % 4]->lock);
			CHECK_OK(inode_delete(kept[k % 4]));
		}
		kept[k % 4] = i;
	}
	for (k = 0; k < 4; k++) {
		rwlock_write(&kept[k]->lock);
		CHECK_OK(inode_delete(kept[k]));
	}
	return NULL;
}

static void check_churn(const char *options)
{
	static struct worker w[THREADS];
	struct img m;
	uint32_t t;

	img_make(&m, options, SIZE);
	img_open(&m);
	for (t = 0; t < THREADS; t++) {
		w[t].m = &m;
		CHECK_OK(inode_get(m.s, EXT4_ROOT_INO, &w[t].root));
		CHECK_EQ(pthread_create(&w[t].thread, NULL, churn, &w[t]), 0);
	}
	for (t = 0; t < THREADS; t++) {
		CHECK_EQ(pthread_join(w[t].thread, NULL), 0);
		inode_put(w[t].root);
	}
	CHECK_EQ(m.s->orphans->head, 0);
	CHECK(!orphan_file_in_use(m.s));
	img_close(&m);
	img_fsck(&m);
}

TEST(test_orphan_list__serves_threads)
{
	check_churn(LIST);
}

TEST(test_orphan_file__serves_threads)
{
	check_churn(FILE_);
}
