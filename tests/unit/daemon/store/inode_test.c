// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inodes: fields through the table and back, judged by debugfs; slots that must be
 * refused; the cache's promises; numbers allocated, spread, exhausted and reused.
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
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define SIZE "16M"
#define THREADS 4

static struct inode *new_file(struct img *m, const char *name, uint16_t mode)
{
	struct inode *root = img_root(m);
	struct inode *i = img_create(m, root, name, mode);

	img_put(root);
	return i;
}

static void write_back(struct img *m, struct inode *i)
{
	struct handle h;

	img_start(m, &h);
	CHECK_OK(inode_write_data(&h, i));
	img_stop(&h);
}

static struct inode *reopen(struct img *m, uint32_t ino)
{
	struct inode *i;

	img_close(m);
	img_fsck(m);
	img_open(m);
	CHECK_OK(inode_get(m->s, ino, &i));
	return i;
}

TEST(test_inode__keeps_times_to_2446)
{
	/* Seconds that have an epoch of their own each, and the edges. */
	static const int64_t times[] = { 0,	     -1,	 INT32_MIN,  INT32_MAX,
					 2147483648, 4294967296, 6442450944, 15032385535 };
	struct inode *i;
	struct img m;
	size_t k;

	img_make(&m, "-b 4096 -I 256", SIZE);
	img_open(&m);
	i = new_file(&m, "f", S_IFREG | 0644);
	for (k = 0; k < ARRAY_SIZE(times); k++) {
		uint32_t ino = i->ino;

		i->atime_s = times[k];
		i->mtime_s = times[ARRAY_SIZE(times) - 1 - k];
		i->ctime_s = i->crtime_s = times[k];
		i->atime_ns = 999999999;
		i->mtime_ns = 1;
		i->ctime_ns = i->crtime_ns = 123456789;
		write_back(&m, i);
		img_put(i);
		i = reopen(&m, ino);
		rwlock_write(&i->lock);
		CHECK_EQ(i->atime_s, times[k]);
		CHECK_EQ(i->mtime_s, times[ARRAY_SIZE(times) - 1 - k]);
		CHECK_EQ(i->ctime_s, times[k]);
		CHECK_EQ(i->crtime_s, times[k]);
		CHECK_EQ(i->atime_ns, 999999999);
		CHECK_EQ(i->mtime_ns, 1);
		CHECK_EQ(i->crtime_ns, 123456789);
	}
	img_put(i);
	img_close(&m);
	/* The last: epoch 3 in the two lowest bits. */
	CHECK(strstr(img_debugfs(&m, false, "stat /f"), "atime: 0x7fffffff:ee6b27ff") != NULL);
}

TEST(test_inode__clamps_times_of_small_inodes)
{
	struct inode *i;
	struct img m;
	uint32_t ino;

	img_make(&m, "-b 1024 -I 128", SIZE);
	img_open(&m);
	i = new_file(&m, "f", S_IFREG | 0644);
	ino = i->ino;
	i->mtime_s = 1ll << 33;
	i->mtime_ns = 5;
	i->atime_s = -(1ll << 40);
	write_back(&m, i);
	img_put(i);
	i = reopen(&m, ino);
	CHECK_EQ(i->mtime_s, INT32_MAX);
	CHECK_EQ(i->mtime_ns, 0);
	CHECK_EQ(i->atime_s, INT32_MIN);
	CHECK_EQ(inode_ibody_space(i), 0);
	inode_put(i);
	img_close(&m);
}

TEST(test_inode__keeps_ids_devices_and_attribute_space)
{
	struct inode *i, *dev;
	uint8_t body[96], back[96];
	struct handle h;
	struct img m;
	uint32_t ino, dev_ino;

	img_make(&m, "-b 4096 -I 256 -O project", SIZE);
	img_open(&m);
	dev = new_file(&m, "dev", S_IFBLK | 0600);
	dev->rdev = 0x12345678;
	dev_ino = dev->ino;
	write_back(&m, dev);
	img_put(dev);
	i = new_file(&m, "f", S_IFREG | 0644);
	ino = i->ino;
	i->uid = 0x12345678;
	i->gid = UINT32_MAX - 1;
	i->projid = 77777;
	atomic_store(&i->version, 0x123456789abcdef0);
	CHECK_EQ(inode_ibody_space(i), sizeof(body));
	CHECK_OK(inode_ibody_read(i, back, sizeof(back)));
	memset(body, 0, sizeof(body));
	CHECK_MEM_EQ(back, body, sizeof(body));
	body[95] = 0x5a; /* no magic: no attribute, and left alone by others */
	img_start(&m, &h);
	CHECK_OK(inode_ibody_write(&h, i, body, sizeof(body)));
	img_stop(&h);
	write_back(&m, i);
	img_put(i);
	i = reopen(&m, ino);
	CHECK_EQ(i->uid, 0x12345678);
	CHECK_EQ(i->gid, UINT32_MAX - 1);
	CHECK_EQ(i->projid, 77777);
	CHECK_EQ(i->version, 0x123456789abcdef0);
	CHECK_OK(inode_ibody_read(i, back, sizeof(back)));
	CHECK_MEM_EQ(back, body, sizeof(body));
	inode_put(i);
	CHECK_OK(inode_get(m.s, dev_ino, &dev));
	CHECK_EQ(dev->rdev, 0x12345678);
	inode_put(dev);
	img_close(&m);
	CHECK(strstr(img_debugfs(&m, false, "stat /f"),
		     "User: 305419896   Group:    -2   Project: 77777"));
	CHECK(strstr(img_debugfs(&m, false, "stat /dev"), "(New-style)"));
}

TEST(test_inode__counts_blocks_beyond_48_bits)
{
	struct store s = { .block_bits = 12,
			   .block_size = 4096,
			   .inode_size = 256,
			   .inodes_count = 100,
			   .inodes_per_group = 100,
			   .first_ino = 11,
			   .want_extra_isize = 32,
			   .feature_ro_compat = EXT4_FEATURE_RO_COMPAT_HUGE_FILE };
	struct inode i = { .store = &s, .ino = 12, .mode = S_IFREG, .links = 1, .extra_isize = 32 };
	struct inode back = { .store = &s, .ino = 12 };
	uint8_t raw[256] = { 0 };
	const char *what;

	i.blocks = (1ull << 50) + 8;
	CHECK_OK(inode_disk_encode(&i, raw, 0));
	CHECK_OK(inode_disk_decode(&back, raw, &what));
	CHECK_EQ(back.blocks, i.blocks);
	CHECK(back.flags & EXT4_HUGE_FILE_FL);
	i.blocks = (1ull << 32) + 1;
	CHECK_OK(inode_disk_encode(&i, raw, 0));
	CHECK_OK(inode_disk_decode(&back, raw, &what));
	CHECK_EQ(back.blocks, i.blocks);
	CHECK(!(back.flags & EXT4_HUGE_FILE_FL));
	atomic_store(&s.feature_ro_compat, 0);
	CHECK_ERR(inode_disk_encode(&i, raw, 0), -EFBIG);
}

/* Limits that Linux computes for the same layouts. */
TEST(test_inode_size_max__equals_linux)
{
	struct store s = { .feature_ro_compat = EXT4_FEATURE_RO_COMPAT_HUGE_FILE |
						EXT4_FEATURE_RO_COMPAT_LARGE_FILE };
	struct inode i = { .store = &s };

	s.block_bits = 12;
	s.block_size = 4096;
	CHECK_EQ(inode_size_max(&i), 4402345721856);
	i.flags = EXT4_EXTENTS_FL;
	CHECK_EQ(inode_size_max(&i), 17592186040320);
	i.flags = 0;
	s.block_bits = 10;
	s.block_size = 1024;
	CHECK_EQ(inode_size_max(&i), 17247252480);
	atomic_store(&s.feature_ro_compat, EXT4_FEATURE_RO_COMPAT_LARGE_FILE);
	s.block_bits = 12;
	s.block_size = 4096;
	CHECK_EQ(inode_size_max(&i), 2196873666560);
	atomic_store(&s.feature_ro_compat, 0);
	CHECK_EQ(inode_size_max(&i), INT32_MAX);
}

/* ---- what must be refused ------------------------------------------------- */

struct bad_inode {
	const char *what;
	void (*harm)(struct ext4_inode *d);
};

static void harm_mode(struct ext4_inode *d)
{
	d->i_mode = cpu_to_le16(0x3000);
}
static void harm_size(struct ext4_inode *d)
{
	d->i_size_high = cpu_to_le32(0x80000000);
}
static void harm_acl(struct ext4_inode *d)
{
	d->i_file_acl_lo = cpu_to_le32(1);
}
static void harm_acl_far(struct ext4_inode *d)
{
	d->i_file_acl_lo = cpu_to_le32(UINT32_MAX);
}
static void harm_extra(struct ext4_inode *d)
{
	d->i_extra_isize = cpu_to_le16(132);
}
static void harm_extra_odd(struct ext4_inode *d)
{
	d->i_extra_isize = cpu_to_le16(30);
}
static void harm_inline(struct ext4_inode *d)
{
	d->i_flags = cpu_to_le32(EXT4_INLINE_DATA_FL);
}
static void harm_casefold(struct ext4_inode *d)
{
	d->i_flags = cpu_to_le32(EXT4_CASEFOLD_FL | EXT4_EXTENTS_FL);
}
static void harm_link(struct ext4_inode *d)
{
	d->i_mode = cpu_to_le16(EXT4_S_IFLNK | 0777);
	d->i_size_lo = cpu_to_le32(4097);
}

static const struct bad_inode bad_inodes[] = {
	{ "file type", harm_mode },	 { "size", harm_size },
	{ "attribute block", harm_acl }, { "attribute block far", harm_acl_far },
	{ "extra size", harm_extra },	 { "odd extra size", harm_extra_odd },
	{ "inline data", harm_inline },	 { "case folding", harm_casefold },
	{ "symlink", harm_link },
};

/* What Linux calls i_version is the block of the inode's translator there. */
TEST(test_inode__keeps_the_translators_of_the_hurd)
{
	struct inode *root;
	struct store_open_error err;
	struct ext4_super_block sb;
	struct inode_slot slot;
	struct ext4_inode d;
	struct img m;

	img_make(&m, "-b 1024 -I 128 -o hurd -O none,ext_attr,sparse_super", "4M");
	img_open(&m);
	slot = inode_slot_of(m.s, EXT4_ROOT_INO);
	img_close(&m);
	raw_read(&m, &d, EXT4_GOOD_OLD_INODE_SIZE, slot.pblk * 1024 + slot.off);
	d.i_version_lo = cpu_to_le32(0x1234);
	raw_write(&m, &d, EXT4_GOOD_OLD_INODE_SIZE, slot.pblk * 1024 + slot.off);
	img_open(&m);
	root = img_root(&m);
	CHECK_EQ(atomic_load(&root->version), 0);
	atomic_store(&root->version, 77);
	write_back(&m, root);
	img_put(root);
	img_close(&m);
	raw_read(&m, &d, EXT4_GOOD_OLD_INODE_SIZE, slot.pblk * 1024 + slot.off);
	CHECK_EQ(le32_to_cpu(d.i_version_lo), 0x1234);
	raw_read_super(&m, &sb);
	sb.s_feature_incompat =
		cpu_to_le32(le32_to_cpu(sb.s_feature_incompat) | EXT4_FEATURE_INCOMPAT_EA_INODE);
	raw_write_super(&m, &sb);
	CHECK_ERR(raw_open(&m, NULL, &err), -EOPNOTSUPP);
}

TEST(test_inode_get__refuses_corrupt_slots)
{
	struct store_open_error err;
	struct inode_slot slot;
	uint8_t good[256], raw[256];
	struct inode *i;
	struct img m;
	uint32_t ino;
	size_t k;

	img_make(&m, "-b 4096 -I 256 -O ^metadata_csum", SIZE);
	img_open(&m);
	i = new_file(&m, "f", S_IFREG | 0644);
	ino = i->ino;
	slot = inode_slot_of(m.s, ino);
	img_put(i);
	img_close(&m);
	raw_read(&m, good, sizeof(good), slot.pblk * 4096 + slot.off);
	for (k = 0; k < ARRAY_SIZE(bad_inodes); k++) {
		memcpy(raw, good, sizeof(raw));
		bad_inodes[k].harm((struct ext4_inode *)(void *)raw);
		raw_write(&m, raw, sizeof(raw), slot.pblk * 4096 + slot.off);
		CHECK_OK(raw_open(&m, &(struct store_opts){ .readonly = true }, &err));
		if (inode_get(m.s, ino, &i) != -EUCLEAN)
			FAIL("%s was taken", bad_inodes[k].what);
		CHECK_EQ(m.s->corruptions, 1);
		CHECK_OK(store_close(m.s));
	}
}

TEST(test_inode_get__refuses_wrong_checksum)
{
	struct store_open_error err;
	struct inode_slot slot;
	struct inode *i;
	struct img m;
	uint32_t ino;
	uint8_t byte;

	img_make(&m, "-b 4096 -O metadata_csum", SIZE);
	img_open(&m);
	i = new_file(&m, "f", S_IFREG | 0644);
	ino = i->ino;
	slot = inode_slot_of(m.s, ino);
	img_put(i);
	img_close(&m);
	raw_read(&m, &byte, 1, slot.pblk * 4096 + slot.off + 200);
	byte ^= 1;
	raw_write(&m, &byte, 1, slot.pblk * 4096 + slot.off + 200);
	CHECK_OK(raw_open(&m, NULL, &err));
	CHECK_ERR(inode_get(m.s, ino, &i), -EBADMSG);
	CHECK_ERR(inode_get(m.s, ino + 1, &i), -ESTALE); /* never used: all zero */
	CHECK_OK(store_close(m.s));
}

TEST(test_inode_get__refuses_reserved_and_absent_numbers)
{
	struct inode *i;
	struct img m;

	img_make(&m, "-b 4096", SIZE);
	img_open(&m);
	CHECK_ERR(inode_get(m.s, 0, &i), -ESTALE);
	CHECK_ERR(inode_get(m.s, EXT4_JOURNAL_INO, &i), -ESTALE);
	CHECK_ERR(inode_get(m.s, UINT32_MAX, &i), -ESTALE);
	CHECK_ERR(inode_get(m.s, m.s->inodes_count, &i), -ESTALE);
	CHECK_OK(inode_get_special(m.s, EXT4_JOURNAL_INO, &i));
	CHECK(inode_is_reg(i));
	inode_put(i);
	/* Also when it is in memory already. */
	CHECK_ERR(inode_get(m.s, EXT4_JOURNAL_INO, &i), -ESTALE);
	CHECK_PTR_EQ(inode_find(m.s, 12345), NULL);
	img_close(&m);
}

/* ---- life ----------------------------------------------------------------- */

static void unlink_and_delete(struct img *m, const char *name, struct inode *i)
{
	struct dir_name n = { name, (uint32_t)strlen(name) };
	struct inode *root = img_root(m);
	struct handle h;

	img_start(m, &h);
	CHECK_OK(dir_remove(&h, root, &n));
	i->links = 0;
	CHECK_OK(orphan_add(&h, i));
	CHECK_OK(inode_write(&h, i));
	CHECK_OK(inode_write_data(&h, root));
	img_stop(&h);
	img_put(root);
	CHECK_OK(inode_delete(i));
}

/* A slot's former attributes are not those of the number's next owner. */
TEST(test_inode_create__begins_with_an_empty_slot)
{
	uint8_t old[128] = { 32 }, raw[256]; /* i_extra_isize, as an earlier owner left it */
	struct inode_slot slot;
	struct inode *root, *i;
	struct img m;
	uint32_t ino;

	img_make(&m, "-b 1024 -I 256 -O ^metadata_csum -J size=1", "8M");
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "a", S_IFREG | 0644);
	ino = i->ino;
	slot = inode_slot_of(m.s, ino + 1);
	img_put(i);
	img_put(root);
	img_close(&m);
	memset(old + 32, 0xa5, sizeof(old) - 32);
	raw_write(&m, old, sizeof(old), slot.pblk * 1024 + slot.off + 128);
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "b", S_IFREG | 0644);
	CHECK_EQ(i->ino, ino + 1);
	img_put(i);
	img_put(root);
	img_close(&m);
	raw_read(&m, raw, sizeof(raw), slot.pblk * 1024 + slot.off);
	memset(old, 0, sizeof(old));
	CHECK_MEM_EQ(raw + 160, old, 96);
	img_fsck(&m);
}

TEST(test_inode_delete__makes_the_number_stale_and_free)
{
	struct inode *i, *again, *other;
	uint32_t ino, generation;
	int64_t free_before;
	struct img m;
	bool used;

	img_make(&m, "-b 4096", SIZE);
	img_open(&m);
	free_before = m.s->inodes_free;
	i = new_file(&m, "f", S_IFREG | 0644);
	ino = i->ino;
	generation = i->generation;
	CHECK_EQ(m.s->inodes_free, free_before - 1);
	/* Somebody still looks at it: the object lives on, the number does not. */
	CHECK_OK(inode_get_gen(m.s, ino, generation, &other));
	CHECK_PTR_EQ(other, i);
	unlink_and_delete(&m, "f", i);
	CHECK(atomic_load(&other->state) & INODE_FREED);
	CHECK_ERR(inode_get(m.s, ino, &again), -ESTALE);
	CHECK_OK(ialloc_in_use(m.s, ino, &used));
	CHECK(!used);
	CHECK_EQ(m.s->inodes_free, free_before);
	again = new_file(&m, "g", S_IFREG | 0644);
	CHECK_EQ(again->ino, ino);
	CHECK(again != other);
	CHECK_ERR(inode_get_gen(m.s, ino, generation, &i), -ESTALE);
	img_put(again);
	inode_put(other);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_icache__stays_within_its_cap)
{
	struct store_opts opts = { .no_barrier = true, .inodes_cached_max = 128 };
	struct icache_stats st;
	uint32_t inos[400], k;
	struct inode *i, *root;
	struct img m;
	char name[16];

	img_make(&m, "-b 4096 -N 1000", SIZE);
	img_open_opts(&m, &opts);
	root = img_root(&m);
	for (k = 0; k < 400; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		i = img_create(&m, root, name, S_IFREG | 0644);
		i->uid = k;
		write_back(&m, i);
		inos[k] = i->ino;
		img_put(i);
	}
	img_put(root);
	icache_get_stats(m.s->icache, &st);
	CHECK_LE(st.inodes, 128 + 64);
	CHECK_GT(st.evictions, 200);
	for (k = 0; k < 400; k++) {
		CHECK_OK(inode_get(m.s, inos[k], &i));
		CHECK_EQ(i->uid, k);
		inode_put(i);
	}
	img_close(&m);
	img_fsck(&m);
}

struct looker {
	pthread_t thread;
	struct img *m;
	uint32_t first, count;
	uint64_t rounds;
};

static void *look(void *arg)
{
	struct looker *l = arg;
	struct inode *i;
	uint64_t k;

	for (k = 0; k < l->rounds; k++) {
		uint32_t ino = l->first + (uint32_t)(k * 7 % l->count);

		CHECK_OK(inode_get(l->m->s, ino, &i));
		CHECK_EQ(i->ino, ino);
		CHECK_EQ(i->uid, ino);
		inode_put(i);
	}
	return NULL;
}

TEST(test_icache__reads_each_inode_once_for_all_threads)
{
	static struct looker l[THREADS];
	struct icache_stats st;
	struct inode *i, *root;
	uint32_t first = 0, k;
	struct img m;
	char name[16];

	img_make(&m, "-b 4096 -N 1000", SIZE);
	img_open(&m);
	root = img_root(&m);
	for (k = 0; k < 200; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		i = img_create(&m, root, name, S_IFREG | 0644);
		i->uid = i->ino;
		write_back(&m, i);
		first = first ? first : i->ino;
		CHECK_EQ(i->ino, first + k);
		img_put(i);
	}
	img_put(root);
	img_close(&m);
	img_open(&m);
	for (k = 0; k < THREADS; k++) {
		l[k] = (struct looker){ .m = &m, .first = first, .count = 200, .rounds = 5000 };
		CHECK_EQ(pthread_create(&l[k].thread, NULL, look, &l[k]), 0);
	}
	for (k = 0; k < THREADS; k++)
		CHECK_EQ(pthread_join(l[k].thread, NULL), 0);
	icache_get_stats(m.s->icache, &st);
	CHECK_EQ(st.misses, 200 + (m.s->orphan_file_ino != 0));
	CHECK_EQ(st.evictions, 0);
	img_close(&m);
}

TEST(test_ialloc__spreads_top_directories_and_gathers_files)
{
	uint32_t groups_seen = 0, k, g, parent_group = 0;
	struct inode *root, *dir = NULL, *i;
	bool seen[64] = { false };
	struct img m;
	char name[16];

	img_make(&m, "-b 1024 -O ^flex_bg -N 8192", "256M");
	img_open(&m);
	CHECK_GE(m.s->group_count, 16);
	root = img_root(&m);
	for (k = 0; k < 32; k++) {
		snprintf(name, sizeof(name), "d%u", k);
		dir = img_create(&m, root, name, S_IFDIR | 0755);
		g = (dir->ino - 1) / m.s->inodes_per_group;
		groups_seen += !seen[g];
		seen[g] = true;
		parent_group = g;
		if (k < 31)
			img_put(dir);
	}
	CHECK_GE(groups_seen, 12);
	for (k = 0; k < 20; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		i = img_create(&m, dir, name, S_IFREG | 0644);
		CHECK_EQ((i->ino - 1) / m.s->inodes_per_group, parent_group);
		CHECK_EQ(store_group_of(m.s, balloc_goal(i)), parent_group);
		img_put(i);
	}
	img_put(dir);
	img_put(root);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_ialloc__gives_out_every_number_and_then_none)
{
	struct inode_init init = { .mode = S_IFREG | 0644 };
	struct inode *root, *i, *last = NULL;
	uint32_t got = 0, k;
	int64_t free_before;
	struct handle h;
	struct img m;
	char name[16];
	int ret;

	img_make(&m, "-b 1024 -N 256", "8M");
	img_open(&m);
	free_before = m.s->inodes_free;
	root = img_root(&m);
	for (k = 0; k < free_before; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		i = img_create(&m, root, name, S_IFREG | 0644);
		got++;
		if (last)
			img_put(last);
		last = i;
	}
	img_start(&m, &h);
	ret = inode_create(&h, root, &init, &i);
	img_stop(&h);
	CHECK_EQ(ret, -ENOSPC);
	CHECK_EQ(m.s->inodes_free, 0);
	CHECK_EQ(got, free_before);
	img_put(root);
	snprintf(name, sizeof(name), "f%u", k - 1);
	unlink_and_delete(&m, name, last);
	i = new_file(&m, "again", S_IFREG | 0644);
	img_put(i);
	img_close(&m);
	img_fsck(&m);
}

/* A bit lost from the bitmap: the file it stood for was overwritten by the next one made. */
static void check_lost_bit(const char *options)
{
	struct inode_init init = { .mode = S_IFREG | 0644 };
	struct store_opts opts = { .errors = ERRORS_CONTINUE, .no_barrier = true };
	struct inode *root, *i;
	struct handle h;
	uint32_t ino;
	struct img m;
	int ret;

	log_set_level(LOG_LEVEL_OFF);
	img_make(&m, options, "8M");
	img_open_opts(&m, &opts);
	i = new_file(&m, "victim", S_IFREG | 0600);
	ino = i->ino;
	img_put(i);
	img_start(&m, &h);
	CHECK_OK(ialloc_free(&h, m.s, ino, false)); /* the bitmap alone */
	img_stop(&h);
	CHECK_OK(store_close(m.s));
	img_open_opts(&m, &opts);
	root = img_root(&m);
	img_start(&m, &h);
	ret = inode_create(&h, root, &init, &i);
	img_stop(&h);
	img_put(root);
	CHECK(ret == -ENOSPC ||
	      (ret == 0 && i->ino != ino)); /* the group is not trusted any more */
	CHECK_EQ(atomic_load(&m.s->corruptions), 1);
	if (!ret)
		img_put(i);
	CHECK_OK(inode_get(m.s, ino, &i));
	CHECK_EQ(i->mode, S_IFREG | 0600);
	inode_put(i);
	store_destroy(m.s);
}

TEST(test_ialloc__leaves_a_live_inode_that_the_bitmap_lost)
{
	check_lost_bit("-b 1024 -N 256");
	check_lost_bit("-b 1024 -N 256 -O ^metadata_csum,^uninit_bg");
	check_lost_bit("-b 1024 -N 256 -O ^metadata_csum,uninit_bg -E lazy_itable_init=0");
}

TEST(test_inode_create__inherits_what_suits)
{
	uint32_t parent = EXT4_NODUMP_FL | EXT4_NOATIME_FL | EXT4_DIRSYNC_FL | EXT4_PROJINHERIT_FL |
			  EXT4_IMMUTABLE_FL | EXT4_INDEX_FL | EXT4_TOPDIR_FL | EXT4_CASEFOLD_FL;
	struct inode_init init = { .flags_inherit = parent };
	static const struct {
		uint16_t mode;
		uint32_t flags;
	} want[] = {
		{ S_IFDIR | 0755, EXT4_NODUMP_FL | EXT4_NOATIME_FL | EXT4_DIRSYNC_FL |
					  EXT4_PROJINHERIT_FL | EXT4_EXTENTS_FL },
		{ S_IFREG | 0644, EXT4_NODUMP_FL | EXT4_NOATIME_FL | EXT4_EXTENTS_FL },
		{ S_IFIFO | 0644, EXT4_NODUMP_FL | EXT4_NOATIME_FL },
	};
	struct inode *root, *i;
	struct handle h;
	struct img m;
	size_t k;

	img_make(&m, "-b 4096", SIZE);
	img_open(&m);
	root = img_root(&m);
	for (k = 0; k < ARRAY_SIZE(want); k++) {
		init.mode = want[k].mode;
		img_start(&m, &h);
		CHECK_OK(inode_create(&h, root, &init, &i));
		CHECK_OK(orphan_add(&h, i));
		CHECK_OK(inode_write(&h, i));
		img_stop(&h);
		CHECK_EQ(i->flags, want[k].flags);
		CHECK_NE(i->generation, 0);
		CHECK_OK(inode_delete(i));
	}
	img_put(root);
	img_close(&m);
	img_fsck(&m);
}
