// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes on damaged images: whatever the bytes are, reading and changing them ends
 * with an answer or an error, and reads nothing outside of them (run under the address
 * sanitizer to see that).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/store/alloc.h"
#include "daemon/store/xattr.h"
#include "daemon/store/xattr_impl.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/raw.h"

#define IMAGE_LEN (4u << 20)
#define FILES 6
#define PLACES_MAX 64

static const char *const names[] = {
	"user.a",  "user.bb", "trusted.c", "security.capability", "system.posix_acl_access",
	"user.big"
};

struct victim {
	struct img m;
	uint8_t *image; /* as it was made */
	uint32_t ino[FILES];
	uint32_t places[PLACES_MAX]; /* where attributes begin */
	uint32_t place_count;
};

static void image_io(const struct victim *v, uint8_t *bytes, bool restore)
{
	int fd = open(v->m.path, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	if (restore)
		CHECK_EQ(pwrite(fd, bytes, IMAGE_LEN, 0), IMAGE_LEN);
	else
		CHECK_EQ(pread(fd, bytes, IMAGE_LEN, 0), IMAGE_LEN);
	(void)close(fd);
}

static void fill(struct victim *v, struct inode *i, uint32_t f)
{
	static const uint8_t acl[] = { 2,   0,	 0,   0,   1,	0,   6,	 0,   255, 255, 255,
				       255, 2,	 0,   6,   0,	1,   1,	 0,   0,   4,	0,
				       5,   0,	 255, 255, 255, 255, 16, 0,   7,   0,	255,
				       255, 255, 255, 32,  0,	1,   0,	 255, 255, 255, 255 };
	static uint8_t value[3000];
	struct handle h;

	memset(value, 'v', sizeof(value));
	CHECK_OK(journal_start(v->m.s->journal, 200, &h));
	for (uint32_t n = 0; n < ARRAY_SIZE(names); n++) {
		bool is_acl = n == 4;
		struct xattr_set x = {
			.name = names[n],
			.value = is_acl ? acl : value,
			.len = is_acl ? sizeof(acl) :
			       n == 5 ? sizeof(value) :
					10 + f * 20,
		};

		CHECK_OK(xattr_set(&h, i, &x));
	}
	CHECK_OK(inode_write(&h, i));
	CHECK_OK(journal_stop(&h));
}

static void victim_make(struct victim *v)
{
	struct inode *root;
	char name[8];

	memset(v, 0, sizeof(*v));
	log_set_level(LOG_LEVEL_OFF);
	img_make(&v->m, "-b 1024 -I 256 -O ^metadata_csum,^has_journal,ea_inode", "4M");
	img_open(&v->m);
	root = img_root(&v->m);
	for (uint32_t f = 0; f < FILES; f++) {
		struct inode *i;

		(void)snprintf(name, sizeof(name), "f%u", f);
		i = img_create(&v->m, root, name, 0100644);
		fill(v, i, f);
		v->ino[f] = i->ino;
		img_put(i);
	}
	img_put(root);
	img_close(&v->m);
	img_fsck(&v->m);
	v->image = malloc(IMAGE_LEN);
	CHECK(v->image != NULL);
	image_io(v, v->image, false);
	for (uint32_t off = 0; off < IMAGE_LEN && v->place_count < PLACES_MAX; off += 4) {
		if (memcmp(v->image + off, "\0\0\2\xea", 4) == 0)
			v->places[v->place_count++] = off;
	}
	CHECK_GE(v->place_count, FILES);
}

static void damage(struct victim *v, uint8_t *copy)
{
	uint8_t *p = copy + v->places[test_random_below(v->place_count)];
	uint32_t span = test_random_below(2) ? 48 : 200;

	switch (test_random_below(3)) {
	case 0: test_random_fill(p + 4, 1 + test_random_below(span)); return;
	case 1: p[test_random_below(span)] = (uint8_t)test_random(); return;
	default:
		for (int k = 0; k < 6; k++)
			p[4 + test_random_below(span)] = (uint8_t)(test_random_below(2) ? 255 : 3);
	}
}

static uint32_t corruptions;

static bool expected(ssize_t err)
{
	corruptions += err == -EUCLEAN;
	return err >= 0 || err == -ENODATA || err == -ENOSPC || err == -EUCLEAN ||
	       err == -EBADMSG || err == -ERANGE || err == -ESTALE;
}

static void use(struct victim *v, struct inode *i)
{
	static char buf[XATTR_VALUE_LEN_MAX];
	struct handle h;

	CHECK(expected(xattr_list(i, buf, sizeof(buf))));
	for (uint32_t n = 0; n < ARRAY_SIZE(names); n++)
		CHECK(expected(xattr_get(i, names[n], buf, sizeof(buf))));
	for (uint32_t n = 0; n < ARRAY_SIZE(names); n++) {
		struct xattr_set x = { .name = names[n], .value = buf };

		if (n == 4)
			continue;
		x.len = test_random_below(300);
		if (test_random_below(3) == 0)
			x.value = NULL;
		CHECK_OK(journal_start(v->m.s->journal, 200, &h));
		CHECK(expected(xattr_set(&h, i, &x)));
		CHECK_OK(inode_write(&h, i));
		CHECK_OK(journal_stop(&h));
	}
	if (test_random_below(3) == 0) {
		CHECK_OK(journal_start(v->m.s->journal, 200, &h));
		CHECK_OK(xattr_delete_all(&h, i));
		CHECK_OK(journal_stop(&h));
	}
}

TEST(test_xattr_corrupt__any_bytes)
{
	struct store_opts opts = { .errors = ERRORS_CONTINUE, .no_barrier = true };
	uint8_t *copy = malloc(IMAGE_LEN);
	struct victim v;

	victim_make(&v);
	CHECK(copy != NULL);
	for (int k = 0; k < 80; k++) {
		memcpy(copy, v.image, IMAGE_LEN);
		for (uint64_t n = 1 + test_random_below(6); n > 0; n--)
			damage(&v, copy);
		image_io(&v, copy, true);
		img_open_opts(&v.m, &opts);
		for (uint32_t f = 0; f < FILES; f++) {
			struct inode *i;

			CHECK_OK(inode_get(v.m.s, v.ino[f], &i));
			rwlock_write(&i->lock);
			use(&v, i);
			img_put(i);
		}
		store_destroy(v.m.s);
	}
	CHECK_GT(corruptions, 100);
	free(copy);
	free(v.image);
}

/* Rewritten, it became the mark that ends the table, and every attribute behind it was lost. */
TEST(test_xattr_cursor_next__refuses_an_entry_without_any_name)
{
	static uint8_t bytes[64];
	struct xattr_region r = { .base = bytes, .size = sizeof(bytes) };
	struct ext4_xattr_entry *d = (struct ext4_xattr_entry *)bytes;
	struct xattr_cursor c;
	struct xattr_entry e;

	d->e_value_offs = cpu_to_le16(0xfff9);
	xattr_cursor_init(&c, &r);
	CHECK_ERR(xattr_cursor_next(&c, &e), -EUCLEAN);
	/* An ACL has its name in the index alone. */
	d->e_name_index = EXT4_XATTR_INDEX_POSIX_ACL_ACCESS;
	xattr_cursor_init(&c, &r);
	CHECK_EQ(xattr_cursor_next(&c, &e), 1);
}

/* One entry of a table that begins at 0, with its value counted from there. */
static int next_of(uint8_t name_len, uint32_t value_len, uint16_t offs, uint32_t size)
{
	static _Alignas(4) uint8_t bytes[256];
	struct ext4_xattr_entry *d = (struct ext4_xattr_entry *)bytes;
	struct xattr_key key = { .index = EXT4_XATTR_INDEX_USER, .len = 1, .name = "-" };
	struct xattr_region r = { .base = bytes, .size = size };
	struct xattr_cursor c;
	struct xattr_entry e;
	int ret;

	memset(bytes, 0, sizeof(bytes));
	memset(d->e_name, 'n', name_len);
	d->e_name_index = EXT4_XATTR_INDEX_USER;
	d->e_name_len = name_len;
	d->e_value_size = cpu_to_le32(value_len);
	d->e_value_offs = cpu_to_le16(offs);
	xattr_cursor_init(&c, &r);
	ret = xattr_cursor_next(&c, &e);
	/* Whoever searches the table stops there, too. */
	CHECK_EQ(xattr_region_find(&r, &key, &e), ret == 1 ? -ENODATA : ret);
	CHECK_EQ(xattr_region_check(&r) == NULL, ret == 1);
	return ret;
}

TEST(test_xattr_cursor_next__reads_nothing_outside_its_region)
{
	CHECK_EQ(next_of(4, 8, 64, 72), 1);
	CHECK_EQ(next_of(4, 0, 0xffff, 72), 1); /* no value is nowhere */
	CHECK_EQ(next_of(4, 9, 64, 72), -EUCLEAN);
	CHECK_EQ(next_of(4, UINT32_MAX, 64, 72), -EUCLEAN);
	CHECK_EQ(next_of(4, 1, 73, 72), -EUCLEAN);
	CHECK_EQ(next_of(4, 3, 69, 72), -EUCLEAN); /* its padding is outside */
	CHECK_EQ(next_of(4, 0, 0, 24), 1);
	CHECK_EQ(next_of(4, 0, 0, 20), -EUCLEAN); /* no room for the end's mark */
	CHECK_EQ(next_of(5, 0, 0, 24), -EUCLEAN);
	CHECK_EQ(next_of(0, 0, 0, 12), -EUCLEAN); /* nor for the entry */
	CHECK_EQ(next_of(0, 0, 0, 3), -EUCLEAN);
}

/* The header of a block in which nothing else is wrong. */
TEST(test_xattr_block__impossible_headers_are_corruption)
{
	static const struct {
		uint32_t off, value;
	} cases[] = {
		{ 0, 0xea010000 }, /* h_magic */
		{ 4, 0 },	   { 4, EXT4_XATTR_REFCOUNT_MAX + 1 },
		{ 4, UINT32_MAX },	     /* h_refcount */
		{ 8, 0 },	   { 8, 2 }, /* h_blocks */
	};
	static const uint8_t value[300];
	struct xattr_set x = { .name = "user.a", .value = value, .len = sizeof(value) };
	struct store_opts opts = { .errors = ERRORS_CONTINUE, .no_barrier = true };
	uint32_t ino, old;
	struct inode *root, *i;
	struct handle h;
	uint8_t got[300];
	struct img m;
	uint64_t at;

	log_set_level(LOG_LEVEL_OFF);
	img_make(&m, "-b 1024 -I 128 -O ^metadata_csum", "4M");
	img_open(&m);
	root = img_root(&m);
	i = img_create(&m, root, "f", 0100644);
	img_start(&m, &h);
	CHECK_OK(xattr_set(&h, i, &x));
	CHECK_OK(inode_write(&h, i));
	img_stop(&h);
	ino = i->ino;
	at = i->file_acl * 1024;
	img_put(i);
	img_put(root);
	img_close(&m);
	for (uint32_t k = 0; k < ARRAY_SIZE(cases); k++) {
		raw_read(&m, &old, sizeof(old), at + cases[k].off);
		raw_write(&m, &cases[k].value, sizeof(old), at + cases[k].off);
		img_open_opts(&m, &opts);
		CHECK_OK(inode_get(m.s, ino, &i));
		rwlock_write(&i->lock);
		CHECK_EQ(xattr_get(i, "user.a", got, sizeof(got)), -EUCLEAN);
		CHECK_EQ(xattr_list(i, NULL, 0), -EUCLEAN);
		img_start(&m, &h);
		x.name = "user.b";
		CHECK_ERR(xattr_set(&h, i, &x), -EUCLEAN);
		img_stop(&h);
		CHECK_EQ(i->file_acl, at / 1024);
		CHECK_GT(atomic_load(&m.s->corruptions), 0);
		img_put(i);
		store_destroy(m.s);
		raw_write(&m, &old, sizeof(old), at + cases[k].off);
	}
	img_open(&m);
	CHECK_OK(inode_get(m.s, ino, &i));
	rwlock_write(&i->lock);
	CHECK_EQ(xattr_get(i, "user.a", got, sizeof(got)), sizeof(got));
	img_put(i);
	img_close(&m);
}
