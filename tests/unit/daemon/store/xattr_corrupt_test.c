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
#include "tests/unit/daemon/store/img.h"

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
