// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories of one image: blocks of names, hash trees, names inside the inode. Listed, looked up, changed by a few
 * operations. A listing ends; what was added is found; what was removed is not.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/store/dir.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/storerig.h"

#define LIST_MAX 3000
#define DIRS_MAX 6
#define OPERATIONS_MAX 12

struct listing {
	uint32_t taken, in_call;
	uint64_t cookie;
	uint32_t kept;
	uint8_t len[16];
	char name[16][255];
};

static struct listing seen;

static int on_entry(void *arg, const struct dir_entry *e)
{
	struct listing *l = arg;

	if (l->in_call == 64)
		return 1;
	l->in_call++;
	l->taken++;
	FUZZ_CHECK(e->len >= 1 && e->len <= NAME_LEN_MAX && e->ino && e->cookie);
	FUZZ_CHECK(e->cookie <= INT64_MAX);
	l->cookie = e->cookie;
	if (l->taken % 7 == 0 && l->kept < 16) {
		l->len[l->kept] = (uint8_t)e->len;
		memcpy(l->name[l->kept++], e->name, e->len);
	}
	return 0;
}

static void list(struct inode *dir)
{
	struct listing *l = &seen;
	/* The size of a directory inside its inode says nothing about its room. */
	uint64_t room = MAX(dir->size, (uint64_t)dir->store->block_size) / 12 + 2;

	memset(l, 0, offsetof(struct listing, len));
	do {
		uint64_t from = l->cookie;

		l->in_call = 0;
		if (dir_iterate(dir, from, on_entry, l))
			break;
		FUZZ_CHECK(!l->in_call || l->cookie != from);
		FUZZ_CHECK(l->taken <= room);
	} while (l->in_call && l->taken < LIST_MAX);
}

static void look(struct inode *dir)
{
	uint32_t ino;
	uint8_t ftype;
	bool empty;

	for (uint32_t i = 0; i < seen.kept; i++) {
		struct dir_name n = { .name = seen.name[i], .len = seen.len[i] };

		(void)!dir_lookup(dir, &n, &ino, &ftype);
	}
	(void)!dir_lookup(dir, &(struct dir_name){ .name = "absent", .len = 6 }, &ino, &ftype);
	(void)!dir_parent(dir, &ino);
	(void)!dir_is_empty(dir, &empty);
}

static struct dir_name draw_name(struct input *in, char *text)
{
	uint8_t n = in_u8(in);
	uint32_t len = n & 0x40 ? 4 : 200;

	if (n & 0x80 && seen.kept)
		return (struct dir_name){ .name = seen.name[n % seen.kept],
					  .len = seen.len[n % seen.kept] };
	memset(text, 'n', 255);
	text[0] = (char)('a' + n % 64 / 8);
	text[1] = (char)('a' + n % 8);
	return (struct dir_name){ .name = text, .len = len };
}

static void operate(struct inode *dir, struct input *in)
{
	struct store *s = dir->store;
	char text[255];
	uint8_t op = in_u8(in), ftype;
	struct dir_name n = draw_name(in, text);
	struct handle h;
	uint32_t ino;
	int error;

	if (!storerig_start(s, &h))
		return;
	switch (op % 5) {
	case 0:
	case 1:
		error = dir_add(&h, dir, &n, 12, EXT4_FT_REG_FILE);
		if (!error && !(scene_flags() & SCENE_FAULTS))
			FUZZ_CHECK(!dir_lookup(dir, &n, &ino, &ftype));
		break;
	case 2: error = dir_remove(&h, dir, &n); break;
	case 3: error = dir_replace(&h, dir, &n, 13, EXT4_FT_REG_FILE); break;
	default: error = dir_set_parent(&h, dir, 2);
	}
	if (!error)
		(void)!inode_write_data(&h, dir);
	(void)journal_stop(&h);
}

static void exercise(struct inode *dir, struct input *in)
{
	list(dir);
	look(dir);
	if (!in->left)
		return;
	for (uint32_t i = 0; i < OPERATIONS_MAX && in->left; i++)
		operate(dir, in);
	list(dir);
}

static void run(struct input *in)
{
	struct scene *sc = scene_begin(in);
	struct store *s = storerig_open(sc);
	uint32_t done = 0;

	for (uint32_t p = sc->first[PLACE_INODE]; s && p < sc->first[PLACE_INODE + 1]; p++) {
		struct inode *dir;

		if (done == DIRS_MAX || !scene_edited(sc, sc->places[p].ino))
			continue;
		dir = storerig_inode(s, sc->places[p].ino);
		if (!dir)
			continue;
		if (inode_is_dir(dir)) {
			done++;
			exercise(dir, in);
		}
		storerig_put(dir);
	}
	if (s)
		storerig_close(s);
	scene_end(sc);
}

const struct fuzz_harness fuzz_harness = {
	.run = run,
	.kinds = PLACE_BIT(PLACE_DIR) | PLACE_BIT(PLACE_INDEX) | PLACE_BIT(PLACE_INODE),
};
