// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories on damaged images: no crash, no endless listing, no wrong answer. With
 * checksums each damage is noticed, so what is lost is known exactly; without them the
 * bytes may mean anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/store/dir.h"
#include "daemon/store/map.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/img.h"

#define NAMES 1200
#define BLOCKS_MAX 800

struct victim {
	struct img m;
	uint32_t dir_ino, file_ino;
	uint32_t blocks;
	uint64_t pblk[BLOCKS_MAX];
};

static struct dir_name name_of(uint32_t id, char *buf)
{
	return (struct dir_name){ buf, (uint32_t)snprintf(buf, 64, "%u-some-name", id) };
}

static void victim_make(struct victim *v, const char *options, uint32_t names)
{
	struct inode *root, *dir, *file;
	struct handle h;
	char buf[64];

	log_set_level(LOG_LEVEL_OFF);
	img_make(&v->m, options, "4M");
	img_open(&v->m);
	root = img_root(&v->m);
	dir = img_create(&v->m, root, "d", 040755);
	file = img_create(&v->m, root, "f", 0100644);
	for (uint32_t id = 0; id < names; id++) {
		struct dir_name n = name_of(id, buf);

		img_start(&v->m, &h);
		CHECK_OK(dir_add(&h, dir, &n, file->ino, EXT4_FT_REG_FILE));
		file->links++;
		CHECK_OK(inode_write(&h, file));
		CHECK_OK(inode_write_data(&h, dir));
		img_stop(&h);
	}
	v->dir_ino = dir->ino;
	v->file_ino = file->ino;
	v->blocks = (uint32_t)(dir->size >> v->m.s->block_bits);
	CHECK_LT(v->blocks, BLOCKS_MAX);
	for (uint32_t k = 0; k < v->blocks && !(dir->flags & EXT4_INLINE_DATA_FL); k++) {
		struct map_run run;

		CHECK_OK(map_lookup(dir, k, 1, &run));
		v->pblk[k] = run.pblk;
	}
	img_put(file);
	img_put(dir);
	img_put(root);
	img_close(&v->m);
	img_fsck(&v->m);
}

/* The same image each time, with some bytes of block @lblk changed. */
static struct inode *victim_open(struct victim *v, const uint8_t *bytes, uint32_t lblk,
				 uint8_t *old)
{
	struct store_opts opts = { .errors = ERRORS_CONTINUE, .no_barrier = true };
	int fd = open(v->m.path, O_RDWR | O_CLOEXEC);
	struct inode *dir;

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, old, 1024, (off_t)(v->pblk[lblk] * 1024)), 1024);
	CHECK_EQ(pwrite(fd, bytes, 1024, (off_t)(v->pblk[lblk] * 1024)), 1024);
	(void)close(fd);
	img_open_opts(&v->m, &opts);
	CHECK_OK(inode_get(v->m.s, v->dir_ino, &dir));
	rwlock_write(&dir->lock);
	return dir;
}

static void victim_close(struct victim *v, struct inode *dir, uint32_t lblk, const uint8_t *old)
{
	int fd;

	img_put(dir);
	store_destroy(v->m.s);
	fd = open(v->m.path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(pwrite(fd, old, 1024, (off_t)(v->pblk[lblk] * 1024)), 1024);
	(void)close(fd);
}

struct count {
	uint32_t left, total;
	uint64_t cookie;
	uint8_t seen[NAMES];
};

static int count_emit(void *arg, const struct dir_entry *e)
{
	struct count *c = arg;
	char digits[8] = "";
	unsigned long id;

	if (c->left == 0)
		return 1;
	c->left--;
	c->total++;
	CHECK_GT(e->cookie, c->cookie);
	c->cookie = e->cookie;
	if (e->name[0] == '.')
		return 0;
	memcpy(digits, e->name, MIN(e->len, 7u));
	id = strtoul(digits, NULL, 10);
	if (id < NAMES)
		c->seen[id]++;
	return 0;
}

/* Listing ends, and returns what it can. */
static int list(struct inode *dir, struct count *c)
{
	memset(c, 0, sizeof(*c));
	for (;;) {
		uint64_t before = c->cookie;
		int err;

		c->left = 37;
		err = dir_iterate(dir, c->cookie, count_emit, c);
		if (err || c->cookie == before)
			return err;
		CHECK_LT(c->total, 100000);
	}
}

static bool is_corruption(int err)
{
	return err == -EUCLEAN || err == -EBADMSG;
}

/* With checksums: everything outside the damaged block is found and listed; nothing is "absent". */
static void check_summed(struct victim *v, uint32_t lblk)
{
	uint8_t bytes[1024], old[1024];
	uint32_t lost = 0, ino;
	struct count c;
	struct inode *dir;
	uint8_t ftype;
	char buf[64];
	int fd = open(v->m.path, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, bytes, 1024, (off_t)(v->pblk[lblk] * 1024)), 1024);
	(void)close(fd);
	bytes[test_random_below(60)] ^= (uint8_t)(1 + test_random_below(255));
	dir = victim_open(v, bytes, lblk, old);
	for (uint32_t id = 0; id < NAMES; id++) {
		struct dir_name n = name_of(id, buf);
		int err = dir_lookup(dir, &n, &ino, &ftype);

		if (err) {
			CHECK(is_corruption(err));
			lost++;
		} else {
			CHECK_EQ(ino, v->file_ino);
		}
	}
	CHECK_LT(lost, 60);
	CHECK(is_corruption(dir_lookup(dir, &(struct dir_name){ "absent", 6 }, &ino, &ftype)) ||
	      lost > 0);
	(void)list(dir, &c); /* the error may have come and gone within the listing */
	ino = 0;
	for (uint32_t id = 0; id < NAMES; id++) {
		CHECK_LE(c.seen[id], 1);
		ino += c.seen[id] == 0;
	}
	CHECK(lost ? ino <= lost : true);
	victim_close(v, dir, lblk, old);
}

TEST(test_dir_corrupt__checksums_confine_the_damage)
{
	struct victim v;

	victim_make(&v, "-b 1024", NAMES);
	CHECK_GT(v.blocks, 30);
	for (uint32_t k = 0; k < 60; k++)
		check_summed(&v, k < 4 ? k : (uint32_t)test_random_below(v.blocks));
}

/* Whatever happens must be an error of the expected kinds. */
static void try_changes(struct victim *v, struct inode *dir)
{
	char buf[64];

	for (int k = 0; k < 20; k++) {
		struct dir_name n = name_of((uint32_t)test_random_below(2 * NAMES), buf);
		struct handle h;
		bool empty;
		int err;

		img_start(&v->m, &h);
		switch (test_random_below(4)) {
		case 0: err = dir_add(&h, dir, &n, v->file_ino, EXT4_FT_REG_FILE); break;
		case 1: err = dir_remove(&h, dir, &n); break;
		case 2: err = dir_set_parent(&h, dir, EXT4_ROOT_INO); break;
		default: err = dir_is_empty(dir, &empty); break;
		}
		CHECK(err == 0 || err == -ENOENT || err == -EEXIST || is_corruption(err));
		CHECK_OK(journal_stop(&h));
	}
}

static void damage(uint8_t *bytes)
{
	switch (test_random_below(4)) {
	case 0: test_random_fill(bytes, 1024); return;
	case 1: /* the first entries, an index's head, its first blocks */
		bytes[test_random_below(64)] = (uint8_t)test_random();
		return;
	case 2:
		memset(bytes + test_random_below(512), test_random_below(2) ? 0 : 0xff,
		       test_random_below(512));
		return;
	default:
		for (int k = 0; k < 8; k++)
			bytes[test_random_below(1024)] = (uint8_t)test_random_below(16);
	}
}

/* Returns how many names were found nevertheless. */
static uint32_t run_unsummed(const char *options, uint32_t rounds)
{
	uint8_t bytes[1024], old[1024];
	struct victim v;
	struct count c;
	uint8_t ftype;
	uint32_t ino, found = 0;
	char buf[64];

	victim_make(&v, options, NAMES);
	for (uint32_t k = 0; k < rounds; k++) {
		uint32_t lblk = k % 3 ? 0 : (uint32_t)test_random_below(v.blocks);
		struct inode *dir;
		int fd = open(v.m.path, O_RDONLY | O_CLOEXEC);

		CHECK(fd >= 0);
		CHECK_EQ(pread(fd, bytes, 1024, (off_t)(v.pblk[lblk] * 1024)), 1024);
		(void)close(fd);
		damage(bytes);
		dir = victim_open(&v, bytes, lblk, old);
		for (uint32_t id = 0; id < NAMES; id += 7) {
			struct dir_name n = name_of(id, buf);
			int err = dir_lookup(dir, &n, &ino, &ftype);

			CHECK(err == 0 || err == -ENOENT || is_corruption(err));
			found += err == 0;
		}
		(void)list(dir, &c); /* that it ends is what counts */
		(void)dir_parent(dir, &ino);
		try_changes(&v, dir);
		(void)list(dir, &c);
		victim_close(&v, dir, lblk, old);
	}
	return found;
}

TEST(test_dir_corrupt__any_bytes_without_checksums_indexed)
{
	CHECK_GT(run_unsummed("-b 1024 -O ^metadata_csum", 150), 0);
}

TEST(test_dir_corrupt__any_bytes_without_checksums_linear)
{
	CHECK_GT(run_unsummed("-b 1024 -O ^metadata_csum,^dir_index", 100), 0);
}

/* The whole image as it was made: changes of a round may have reached it. */
static void image_copy(const struct victim *v, uint8_t *bytes, size_t len, bool restore)
{
	int fd = open(v->m.path, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	if (restore)
		CHECK_EQ(pwrite(fd, bytes, len, 0), len);
	else
		CHECK_EQ(pread(fd, bytes, len, 0), len);
	(void)close(fd);
}

/* Damage inside the inode itself. */
TEST(test_dir_corrupt__any_bytes_inline)
{
	size_t len = 4 << 20;
	uint8_t *image = malloc(len);
	struct victim v;

	CHECK(image != NULL);
	victim_make(&v, "-b 1024 -I 256 -O inline_data,^metadata_csum", 3);
	image_copy(&v, image, len, false);
	for (uint32_t k = 0; k < 60; k++) {
		struct store_opts opts = { .errors = ERRORS_CONTINUE, .no_barrier = true };
		struct inode *dir;
		struct count c;
		uint32_t ino;

		image_copy(&v, image, len, true);
		img_open_opts(&v.m, &opts);
		CHECK_OK(inode_get(v.m.s, v.dir_ino, &dir));
		rwlock_write(&dir->lock);
		CHECK(dir->flags & EXT4_INLINE_DATA_FL);
		for (int n = 0; n < 4; n++)
			dir->i_block[test_random_below(60)] = (uint8_t)test_random();
		(void)list(dir, &c);
		(void)dir_parent(dir, &ino);
		try_changes(&v, dir);
		img_put(dir);
		store_destroy(v.m.s);
	}
	free(image);
}

static int any_emit(void *arg, const struct dir_entry *e)
{
	struct count *c = arg;

	c->total++;
	c->cookie = e->cookie;
	return 0;
}

/* Names of one block at image offset @off, each "x": they share every bit of their hash. */
static void put_equal_names(const struct victim *v, uint32_t block_size, uint64_t off)
{
	uint8_t *block = calloc(1, block_size);
	int fd = open(v->m.path, O_RDWR | O_CLOEXEC);

	CHECK(block != NULL && fd >= 0);
	CHECK_EQ(pread(fd, block, block_size, (off_t)off), block_size);
	/* Behind "." and "..". */
	((struct ext4_dir_entry_2 *)(block + 12))->rec_len = cpu_to_le16(12);
	for (uint32_t at = 24; at + 12 <= block_size; at += 12) {
		struct ext4_dir_entry_2 *de = (struct ext4_dir_entry_2 *)(block + at);
		uint32_t left = block_size - at;

		*de = (struct ext4_dir_entry_2){ .inode = cpu_to_le32(v->file_ino),
						 .rec_len = cpu_to_le16(left < 24 ? left : 12),
						 .name_len = 1,
						 .file_type = EXT4_FT_REG_FILE };
		de->name[0] = 'x';
	}
	CHECK_EQ(pwrite(fd, block, block_size, (off_t)off), block_size);
	(void)close(fd);
	free(block);
}

/* More names of one hash than are sorted at a time: the listing began with them again and again. */
TEST(test_dir_corrupt__listing_of_equal_hashes_ends)
{
	struct store_opts opts = { .errors = ERRORS_CONTINUE, .no_barrier = true };
	struct map_run run;
	struct inode *dir;
	struct victim v;
	struct count c;

	log_set_level(LOG_LEVEL_OFF);
	img_make(&v.m, "-b 65536 -O ^metadata_csum,^has_journal,^resize_inode", "16M");
	img_open_opts(&v.m, &opts);
	dir = img_root(&v.m);
	v.file_ino = EXT4_GOOD_OLD_FIRST_INO;
	CHECK_OK(map_lookup(dir, 0, 1, &run));
	CHECK_EQ(dir->size, 65536);
	v.pblk[0] = run.pblk;
	img_put(dir);
	store_destroy(v.m.s);
	put_equal_names(&v, 65536, v.pblk[0] * 65536);
	img_open_opts(&v.m, &opts);
	dir = img_root(&v.m);
	c = (struct count){ .left = UINT32_MAX };
	for (uint32_t calls = 0;; calls++) {
		uint32_t before = c.total;

		CHECK_LT(calls, 100);
		CHECK_OK(dir_iterate(dir, c.cookie, any_emit, &c));
		if (c.total == before)
			break;
	}
	CHECK_GT(c.total, 250);
	img_put(dir);
	store_destroy(v.m.s);
}

/*
 * An index that says it is one level lower than it is: its nodes are not leaves. Read as
 * such they are empty, and a name added would be written over the node.
 */
TEST(test_dir_corrupt__node_is_not_taken_for_a_leaf)
{
	uint8_t bytes[1024], old[1024];
	struct victim v;
	struct inode *dir;
	struct dir_name n;
	struct handle h;
	uint32_t ino;
	uint8_t ftype;
	char buf[64];
	int fd;

	victim_make(&v, "-b 1024 -O ^metadata_csum", 10 * NAMES);
	fd = open(v.m.path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, bytes, 1024, (off_t)(v.pblk[0] * 1024)), 1024);
	(void)close(fd);
	CHECK_EQ(((struct dx_root *)bytes)->info.indirect_levels, 1);
	((struct dx_root *)bytes)->info.indirect_levels = 0;
	dir = victim_open(&v, bytes, 0, old);
	n = name_of(5, buf);
	CHECK(is_corruption(dir_lookup(dir, &n, &ino, &ftype))); /* and not "absent" */
	n = name_of(10 * NAMES + 1, buf);
	img_start(&v.m, &h);
	CHECK(is_corruption(dir_add(&h, dir, &n, v.file_ino, EXT4_FT_REG_FILE)));
	img_stop(&h);
	victim_close(&v, dir, 0, old);
}
