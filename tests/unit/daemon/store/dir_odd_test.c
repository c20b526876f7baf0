// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories of layouts that kfs itself does not make: blocks that were sound when they were
 * verified (a hostile image uses them for two things), indexes whose leaves all continue one
 * hash, blocks cut into unused pieces, hashes of unsigned characters, sizes at the limits.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/store/dir_block.h"
#include "daemon/store/htree.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define NAMES_MAX 3000
#define LONG_LEN 250 /* three in a block of 1 KiB */
#define PIECE_LEN 12

struct fix {
	struct img m;
	struct inode *root, *dir, *file;
	uint32_t names, len; /* in @dir; 0 = short ones */
};

static struct dir_name name_of(const struct fix *f, uint32_t id)
{
	static char buf[256];
	int n;

	memset(buf, 'n', sizeof(buf));
	n = snprintf(buf, sizeof(buf), "%u-\xc3\xa9", id);
	buf[n] = 'n';
	return (struct dir_name){ buf, f->len ? f->len : (uint32_t)n };
}

static int add(struct fix *f, struct dir_name n)
{
	struct handle h;
	int ret;

	img_start(&f->m, &h);
	ret = dir_add(&h, f->dir, &n, f->file->ino, EXT4_FT_REG_FILE);
	if (ret == 0) {
		f->file->links++;
		CHECK_OK(inode_write(&h, f->file));
		CHECK_OK(inode_write_data(&h, f->dir));
	}
	img_stop(&h);
	return ret;
}

static void make(struct fix *f, const char *options, const char *tune)
{
	log_set_level(LOG_LEVEL_OFF);
	img_make(&f->m, options, strstr(options, "-b 65536") ? "256M" : "8M");
	if (tune)
		img_tune(&f->m, tune);
}

static void start(struct fix *f, uint32_t names, uint32_t len)
{
	struct store_opts opts = { .errors = ERRORS_CONTINUE, .no_barrier = true };

	img_open_opts(&f->m, &opts);
	f->root = img_root(&f->m);
	f->dir = img_create(&f->m, f->root, "d", 040755);
	f->file = img_create(&f->m, f->root, "f", 0100644);
	f->len = len;
	for (f->names = 0; f->names < names; f->names++)
		CHECK_OK(add(f, name_of(f, f->names)));
}

static void stop(struct fix *f)
{
	img_put(f->file);
	img_put(f->dir);
	img_put(f->root);
	img_close(&f->m);
	img_fsck(&f->m);
}

/* What was found corrupt was reported, and is in memory only. */
static void stop_corrupt(struct fix *f)
{
	CHECK_GT(atomic_exchange(&f->m.s->corruptions, 0), 0);
	img_put(f->file);
	img_put(f->dir);
	img_put(f->root);
	store_destroy(f->m.s);
}

/* Behind the back of who verified it. The old bytes, to put them back. */
static void scribble(struct inode *dir, uint32_t lblk, uint32_t off, const void *bytes, size_t len,
		     void *old)
{
	struct map_run run;
	struct buf *b;

	CHECK_OK(map_lookup(dir, lblk, 1, &run));
	CHECK_OK(buf_read(dir->store->cache, run.pblk, &b));
	rwlock_write(&b->lock);
	if (old)
		memcpy(old, b->data + off, len);
	memcpy(b->data + off, bytes, len);
	rwlock_unwrite(&b->lock);
	buf_put(b);
}

static void scribble16(struct inode *dir, uint32_t lblk, uint32_t off, uint16_t value)
{
	le16 word = cpu_to_le16(value);

	scribble(dir, lblk, off, &word, sizeof(word), NULL);
}

static int look(struct fix *f, uint32_t id)
{
	struct dir_name n = name_of(f, id);
	uint8_t ftype;
	uint32_t ino;
	int ret = dir_lookup(f->dir, &n, &ino, &ftype);

	CHECK(ret || ino == f->file->ino);
	return ret;
}

struct seen {
	uint64_t cookie;
	uint32_t total, dots, stop_after; /* 0 = never */
	int stop_with;
	uint8_t ftype;
	uint8_t count[NAMES_MAX];
};

static int see(void *arg, const struct dir_entry *e)
{
	struct seen *seen = arg;
	uint32_t id = 0;

	if (seen->stop_after && seen->total == seen->stop_after)
		return seen->stop_with;
	seen->total++;
	CHECK_GT(e->cookie, seen->cookie);
	seen->cookie = e->cookie;
	seen->ftype |= e->ftype;
	if (e->name[0] == '.') {
		seen->dots++;
		return 0;
	}
	for (uint32_t k = 0; k < e->len && e->name[k] >= '0' && e->name[k] <= '9'; k++)
		id = id * 10 + (uint32_t)(e->name[k] - '0');
	CHECK_LT(id, NAMES_MAX);
	seen->count[id]++;
	return 0;
}

/* From seen->cookie on. The first error, or that nothing more came. */
static int list(struct fix *f, struct seen *seen)
{
	uint64_t before;
	int ret;

	do {
		before = seen->cookie;
		ret = dir_iterate(f->dir, seen->cookie, see, seen);
	} while (ret == 0 && seen->cookie != before);
	return ret;
}

static struct seen seen;

static void check_all_listed_once(struct fix *f)
{
	memset(&seen, 0, sizeof(seen));
	CHECK_OK(list(f, &seen));
	CHECK_EQ(seen.dots, 2);
	for (uint32_t id = 0; id < f->names; id++)
		CHECK_EQ(seen.count[id], 1);
	CHECK_EQ(seen.total, f->names + 2);
}

/* ---- blocks that changed since they were verified ----------------------------------- */

TEST(test_dir__chain_broken_after_verifying_is_corruption)
{
	struct fix f;
	struct dir_name n;

	make(&f, "-b 1024 -O ^metadata_csum,^dir_index", NULL);
	start(&f, 5, LONG_LEN);
	CHECK_EQ(f.dir->size, 2048);
	scribble16(f.dir, 0, 24 + 4, 5);
	CHECK_ERR(look(&f, 0), -EUCLEAN);
	CHECK_ERR(look(&f, 77), -EUCLEAN); /* and not "absent" */
	CHECK_OK(look(&f, 4));
	memset(&seen, 0, sizeof(seen));
	CHECK_OK(dir_iterate(f.dir, 0, see, &seen));
	CHECK_EQ(seen.count[0], 0);
	CHECK_EQ(seen.count[3] + seen.count[4], 2); /* the other block's */
	/* A bad block is passed over: another one takes the name. */
	f.dir->dir_hint = 0;
	CHECK_OK(add(&f, name_of(&f, 5)));
	CHECK_OK(look(&f, 5));
	stop_corrupt(&f);

	/* One block, listed in the order of hashes. */
	make(&f, "-b 1024 -O ^metadata_csum", NULL);
	start(&f, 3, LONG_LEN);
	scribble16(f.dir, 0, 24 + 4, 5);
	memset(&seen, 0, sizeof(seen));
	CHECK_ERR(list(&f, &seen), -EUCLEAN);
	CHECK_ERR(add(&f, name_of(&f, 3)), -EUCLEAN); /* it would become an index */
	CHECK_EQ(f.dir->size, 1024);
	CHECK(!(f.dir->flags & EXT4_INDEX_FL));
	n = (struct dir_name){ "..", 2 };
	CHECK_OK(dir_lookup(f.dir, &n, &(uint32_t){ 0 }, &(uint8_t){ 0 }));
	stop_corrupt(&f);
}

TEST(test_dir__leaf_broken_after_verifying_hides_only_its_own_names)
{
	uint32_t hidden = 0, refused = 0;
	struct fix f;

	make(&f, "-b 1024 -O ^metadata_csum", NULL);
	start(&f, 40, LONG_LEN);
	CHECK(f.dir->flags & EXT4_INDEX_FL);
	scribble16(f.dir, 2, 4, 5);
	for (uint32_t id = 0; id < f.names; id++) {
		int ret = look(&f, id);

		CHECK(ret == 0 || ret == -EUCLEAN);
		hidden += ret != 0;
	}
	CHECK(hidden > 0 && hidden <= 3);
	memset(&seen, 0, sizeof(seen));
	CHECK_OK(list(&f, &seen));
	CHECK_EQ(seen.total, f.names + 2 - hidden);
	for (uint32_t id = f.names; id < f.names + 200 && !refused; id++) {
		int ret = add(&f, name_of(&f, id));

		CHECK(ret == 0 || ret == -EUCLEAN);
		refused += ret != 0;
	}
	CHECK_EQ(refused, 1);
	stop_corrupt(&f);
}

TEST(test_dir__index_changed_after_verifying_is_not_followed)
{
	static const struct {
		uint32_t lblk, off;
		uint16_t value;
		bool walked; /* all names are found all the same */
	} cases[] = {
		{ 0, 0x1c, 0xffff, true }, /* info: length and hash version */
		{ 0, 0x18, 1, true },	   /* reserved */
		{ 0, 4, 24, true },	   /* "." is longer */
		{ 0, 0x22, 0, true },	   /* count */
		{ 0, 0x22, 5000, true },    { 0, 0x20, 7, true }, /* limit */
		{ 1, 1024 - 8, 99, false }, /* a leaf's checksum has no place */
		{ 1, 1024 - 4, 99, true },  /* verified once is enough */
	};
	struct fix f;

	for (uint32_t k = 0; k < ARRAY_SIZE(cases); k++) {
		uint32_t hidden = 0;

		make(&f, "-b 1024", NULL);
		start(&f, 40, LONG_LEN);
		scribble16(f.dir, cases[k].lblk, cases[k].off, cases[k].value);
		for (uint32_t id = 0; id < f.names; id++) {
			int ret = look(&f, id);

			CHECK(ret == 0 || ret == -EUCLEAN);
			hidden += ret != 0;
		}
		CHECK_EQ(hidden == 0, cases[k].walked);
		CHECK_LE(hidden, 3);
		if (cases[k].lblk == 0)
			CHECK_ERR(add(&f, name_of(&f, f.names)), -EUCLEAN);
		else if (cases[k].walked)
			atomic_store(&f.m.s->corruptions, 1); /* there is none to report */
		stop_corrupt(&f);
	}
}

/* The node behind cannot be read: a name that might go on there is not called absent. */
TEST(test_dir_lookup__next_node_broken_is_not_absence)
{
	uint32_t unsure = 0, nodes = 1;
	struct map_run run;
	struct buf *b;
	struct fix f;

	make(&f, "-b 1024 -O ^metadata_csum", NULL);
	start(&f, 100, LONG_LEN);
	while (nodes < 2 || !((struct dx_root *)b->data)->info.indirect_levels) {
		CHECK_OK(add(&f, name_of(&f, f.names++)));
		CHECK_LT(f.names, NAMES_MAX);
		CHECK_OK(map_lookup(f.dir, 0, 1, &run));
		CHECK_OK(buf_read(f.m.s->cache, run.pblk, &b));
		nodes = le16_to_cpu(((struct dx_countlimit *)(b->data + dir_index_off(0)))->count);
		buf_put(b); /* stays in memory */
	}
	CHECK_EQ(nodes, 2);
	/* Its limit is not what a node has. */
	scribble16(f.dir, le32_to_cpu(((struct dx_entry *)(b->data + dir_index_off(0)))[1].block),
		   8, 3);
	for (uint32_t id = 0; id < f.names; id++)
		CHECK_OK(look(&f, id));
	atomic_store(&f.m.s->corruptions, 0);
	for (uint32_t id = f.names; id < NAMES_MAX; id++) {
		int ret = look(&f, id);

		CHECK(ret == -ENOENT || ret == -EUCLEAN);
		unsure += ret == -EUCLEAN;
	}
	CHECK(unsure > 0 && unsure < NAMES_MAX - f.names);
	stop_corrupt(&f);
}

/* "." and ".." of a full block are looked at before it becomes the root of an index. */
TEST(test_dir_add__no_index_over_a_block_without_its_dots)
{
	static const struct {
		uint32_t off;
		uint8_t value;
	} cases[] = {
		{ 8, 'x' },	  { 6, 2 },    { 4, 24 },   { 4, 3 },  /* "." */
		{ 18, 1 },	  { 20, 'x' }, { 21, 'x' }, { 16, 3 }, /* ".." */
		{ 28, 5 },					       /* the chain behind */
		{ 24 + 3, 0x7f }, /* a number that is out of range */
	};
	struct fix f;
	uint8_t old;

	make(&f, "-b 1024 -O ^metadata_csum", NULL);
	start(&f, 3, LONG_LEN);
	for (uint32_t k = 0; k < ARRAY_SIZE(cases); k++) {
		scribble(f.dir, 0, cases[k].off, &cases[k].value, 1, &old);
		CHECK_ERR(add(&f, name_of(&f, 3)), -EUCLEAN);
		CHECK_EQ(f.dir->size, 1024);
		CHECK(!(f.dir->flags & EXT4_INDEX_FL));
		CHECK_GT(atomic_exchange(&f.m.s->corruptions, 0), 0);
		scribble(f.dir, 0, cases[k].off, &old, 1, NULL);
	}
	CHECK_OK(add(&f, name_of(&f, f.names++)));
	CHECK(f.dir->flags & EXT4_INDEX_FL);
	check_all_listed_once(&f);
	stop(&f);
}

TEST(test_dir_iterate__names_no_program_can_use_are_left_out)
{
	struct fix f;

	make(&f, "-b 1024 -O ^metadata_csum", NULL);
	start(&f, 3, LONG_LEN);
	scribble(f.dir, 0, 24 + 8 + 100, "", 1, NULL);
	memset(&seen, 0, sizeof(seen));
	CHECK_OK(list(&f, &seen));
	CHECK_EQ(seen.total, 2 + 2);
	CHECK_EQ(seen.count[0], 0);
	stop_corrupt(&f);
}

/* ---- unused pieces ------------------------------------------------------------------ */

/* From @off on: entries without a name, too short for a long one. */
static void cut_up(struct inode *dir, uint32_t lblk, uint32_t off)
{
	static const uint8_t piece[PIECE_LEN] = { [4] = PIECE_LEN };

	for (; off + 2 * PIECE_LEN <= 1024; off += PIECE_LEN)
		scribble(dir, lblk, off, piece, PIECE_LEN, NULL);
	scribble(dir, lblk, off, piece, PIECE_LEN, NULL);
	scribble16(dir, lblk, off + 4, (uint16_t)(1024 - off));
}

TEST(test_dir_add__packs_a_leaf_cut_into_unused_pieces)
{
	uint16_t dotdot = 12, live = EXT4_DIR_REC_LEN(LONG_LEN);
	struct fix f;

	make(&f, "-b 1024 -O ^metadata_csum", NULL);
	start(&f, 0, LONG_LEN);
	/* A block without a name and without room: its leaf is empty. */
	scribble16(f.dir, 0, 12 + 4, dotdot);
	cut_up(f.dir, 0, 24);
	CHECK_OK(add(&f, name_of(&f, f.names++)));
	CHECK(f.dir->flags & EXT4_INDEX_FL);
	CHECK_EQ(f.dir->size, 2048);
	CHECK_OK(look(&f, 0));
	/* One name in a leaf without room: too few to split. */
	scribble16(f.dir, 1, 4, live);
	cut_up(f.dir, 1, live);
	CHECK_OK(add(&f, name_of(&f, f.names++)));
	CHECK_EQ(f.dir->size, 2048);
	check_all_listed_once(&f);
	stop(&f);
}

/* Without checksums an empty leaf looks like a node, but for what follows its first entry. */
TEST(test_dir_add__empty_leaf_is_taken_for_a_node_only_if_it_is_one)
{
	struct fix f;
	struct handle h;
	struct dir_name n;
	uint16_t limit;

	make(&f, "-b 1024 -O ^metadata_csum", NULL);
	start(&f, 0, LONG_LEN);
	limit = (uint16_t)dir_index_limit(f.m.s, 1);
	scribble16(f.dir, 0, 12 + 4, 12);
	cut_up(f.dir, 0, 24);
	for (uint32_t k = 0; k < 4; k++) {
		static const uint16_t counts[] = { 0, 0xffff, 1, 0 };

		CHECK_OK(add(&f, name_of(&f, 0)));
		img_start(&f.m, &h);
		n = name_of(&f, 0);
		CHECK_OK(dir_remove(&h, f.dir, &n));
		f.file->links--;
		CHECK_OK(inode_write(&h, f.file));
		img_stop(&h);
		if (k == 3)
			break;
		scribble16(f.dir, 1, 8, limit);
		scribble16(f.dir, 1, 10, counts[k]);
		if (counts[k] == 1) {
			CHECK_ERR(add(&f, name_of(&f, 0)), -EUCLEAN);
			CHECK_EQ(atomic_exchange(&f.m.s->corruptions, 0), 1);
			scribble16(f.dir, 1, 8, 0);
		}
	}
	/* Linux leaves the length of a removed name. */
	scribble(f.dir, 1, 6, "\3", 1, NULL);
	CHECK_OK(add(&f, name_of(&f, f.names++)));
	check_all_listed_once(&f);
	stop(&f);
}

/* ---- hashes ------------------------------------------------------------------------- */

/* More names than are sorted at a time, in leaves that all say they continue the last one's hash. */
TEST(test_dir_iterate__leaves_that_all_continue_one_hash)
{
	uint32_t count;
	struct buf *b;
	struct fix f;

	make(&f, "-b 4096 -O ^metadata_csum", NULL);
	start(&f, NAMES_MAX, 0);
	CHECK_OK(dir_block_read(f.dir, 0, DIR_INDEX, &b));
	count = le16_to_cpu(((struct dx_countlimit *)(b->data + dir_index_off(0)))->count);
	CHECK_GT(count, 8);
	for (uint32_t k = 1; k < count; k++)
		((struct dx_entry *)(b->data + dir_index_off(0)))[k].hash.raw |= cpu_to_le32(1).raw;
	buf_put(b);
	for (uint32_t id = 0; id < f.names; id++)
		CHECK_OK(look(&f, id));
	check_all_listed_once(&f);
	img_put(f.file);
	img_put(f.dir);
	img_put(f.root);
	img_close(&f.m);
}

/* One name too many was listed before those that had been dropped for room, which never came. */
TEST(test_dir_iterate__more_names_in_a_block_than_are_sorted_at_a_time)
{
	struct fix f;

	make(&f, "-b 65536 -O ^resize_inode -J size=64", NULL);
	start(&f, 2500, 0);
	CHECK_EQ(f.dir->size, 65536);
	check_all_listed_once(&f);
	while (f.names < NAMES_MAX)
		CHECK_OK(add(&f, name_of(&f, f.names++)));
	check_all_listed_once(&f);
	stop(&f);
}

/* The superblock says that names were hashed as unsigned characters: e2fsck looks at each hash. */
static void check_unsigned(const char *algorithm)
{
	struct ext4_super_block sb;
	struct fix f;

	make(&f, "-b 1024", algorithm);
	raw_read_super(&f.m, &sb);
	sb.s_flags = cpu_to_le32(EXT2_FLAGS_UNSIGNED_HASH);
	raw_write_super(&f.m, &sb);
	start(&f, 300, 0);
	CHECK(f.m.s->hash_unsigned);
	CHECK(f.dir->flags & EXT4_INDEX_FL);
	for (uint32_t id = 0; id < f.names; id++)
		CHECK_OK(look(&f, id));
	check_all_listed_once(&f);
	stop(&f);
}

TEST(test_dir__unsigned_hashes_are_those_of_e2fsck)
{
	check_unsigned("-E hash_alg=legacy");
	check_unsigned("-E hash_alg=half_md4");
	check_unsigned("-E hash_alg=tea");
}

/* ---- listing ------------------------------------------------------------------------ */

static void check_stops(const char *options, uint32_t names)
{
	struct fix f;

	make(&f, options, NULL);
	start(&f, names, 0);
	for (uint32_t after = 1; after < names; after += 7) {
		memset(&seen, 0, sizeof(seen));
		seen.stop_after = after;
		seen.stop_with = -EINTR;
		CHECK_ERR(dir_iterate(f.dir, 0, see, &seen), -EINTR);
		CHECK_EQ(seen.total, after);
		/* Full is no error, and the rest comes. */
		memset(&seen, 0, sizeof(seen));
		seen.stop_after = after;
		seen.stop_with = 1;
		CHECK_OK(dir_iterate(f.dir, 0, see, &seen));
		CHECK_EQ(seen.total, after);
		seen.stop_after = 0;
		CHECK_OK(list(&f, &seen));
		CHECK_EQ(seen.total, names + 2);
	}
	CHECK_ERR(dir_iterate(f.file, 0, see, &seen), -ENOTDIR);
	stop(&f);
}

TEST(test_dir_iterate__callback_stops_it_anywhere)
{
	check_stops("-b 1024", 300);
	check_stops("-b 1024", 20);
	check_stops("-b 1024 -O ^dir_index", 300);
	check_stops("-b 1024 -I 256 -O inline_data", 6);
	check_stops("-b 1024 -I 256 -O inline_data,^dir_index", 6);
}

TEST(test_dir_iterate__types_are_unknown_without_the_feature)
{
	struct fix f;

	make(&f, "-b 1024 -O ^filetype", NULL);
	start(&f, 300, 0);
	check_all_listed_once(&f);
	CHECK_EQ(seen.ftype, EXT4_FT_UNKNOWN);
	stop(&f);
	make(&f, "-b 1024", NULL);
	start(&f, 300, 0);
	check_all_listed_once(&f);
	CHECK_EQ(seen.ftype, EXT4_FT_DIR | EXT4_FT_REG_FILE);
	stop(&f);
}

/* The index breaks after the listing has given ".": the blocks in their order take over. */
TEST(test_dir_iterate__goes_on_by_position_when_the_index_breaks)
{
	struct fix f;

	make(&f, "-b 1024 -O ^metadata_csum", NULL);
	start(&f, 300, 0);
	memset(&seen, 0, sizeof(seen));
	seen.stop_after = 1;
	seen.stop_with = 1;
	CHECK_OK(dir_iterate(f.dir, 0, see, &seen));
	CHECK_EQ(seen.cookie, 1);
	scribble(f.dir, 0, 0x1c, "\x9", 1, NULL); /* an unknown hash */
	seen.stop_after = 0;
	CHECK_OK(dir_iterate(f.dir, seen.cookie, see, &seen));
	CHECK_EQ(seen.dots, 2);
	for (uint32_t id = 0; id < f.names; id++)
		CHECK_EQ(seen.count[id], 1);
	stop_corrupt(&f);
}

/* ---- limits ------------------------------------------------------------------------- */

TEST(test_dir__impossible_sizes_are_corruption)
{
	static const uint64_t sizes[] = { 0, 1023, (uint64_t)LBLK_END << 10 };
	struct fix f;

	make(&f, "-b 1024", NULL);
	for (uint32_t is_indexed = 0; is_indexed < 2; is_indexed++) {
		uint64_t size;

		start(&f, is_indexed ? 300 : 3, 0);
		size = f.dir->size;
		for (uint32_t k = 0; k < ARRAY_SIZE(sizes); k++) {
			f.dir->size = sizes[k];
			CHECK_ERR(look(&f, 0), -EUCLEAN);
			memset(&seen, 0, sizeof(seen));
			CHECK_ERR(list(&f, &seen), -EUCLEAN);
			CHECK_ERR(add(&f, name_of(&f, 301)), -EUCLEAN);
			CHECK_EQ(f.dir->size, sizes[k]);
		}
		f.dir->size = size;
		CHECK_OK(look(&f, 0));
		check_all_listed_once(&f);
		CHECK_GT(atomic_exchange(&f.m.s->corruptions, 0), 0);
		img_put(f.file);
		img_put(f.dir);
		img_put(f.root);
		img_close(&f.m);
		make(&f, "-b 1024", NULL);
	}
}

/* The size of a directory has 32 bits without large_dir, its index numbers of 28 with it. */
static void check_append_ends(const char *options, uint64_t size)
{
	struct handle h;
	uint32_t lblk;
	struct buf *b;
	struct fix f;

	make(&f, options, NULL);
	start(&f, 3, 0);
	img_start(&f.m, &h);
	f.dir->size = size;
	CHECK_ERR(dir_append(&h, f.dir, &lblk, &b), -ENOSPC);
	CHECK_EQ(f.dir->size, size);
	f.dir->size = 1024;
	CHECK_OK(dir_append(&h, f.dir, &lblk, &b));
	CHECK_EQ(lblk, 1);
	(void)dir_leaf_init(f.dir, b);
	dir_leaf_seal(&h, f.dir, b, 0, 1024);
	buf_put(b);
	CHECK_OK(inode_write_data(&h, f.dir));
	img_stop(&h);
	stop(&f);
}

TEST(test_dir_append__ends_at_the_largest_size)
{
	check_append_ends("-b 1024", (UINT64_C(1) << 32) - 1024);
	check_append_ends("-b 1024 -O large_dir", (uint64_t)EXT4_DX_BLOCK_MASK << 10);
}
