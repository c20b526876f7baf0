// SPDX-License-Identifier: GPL-2.0-only
/* See storerig.h. */
#include "tests/fuzz/storerig.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

/* What fs asks for when it makes a directory, the most of all. */
#define HANDLE_CREDITS                                                                             \
	(CREDITS_NEW_INODE + CREDITS_MAP + 1 + CREDITS_DIR_ADD + CREDITS_XATTR + 2 * CREDITS_INODE)

struct store *storerig_open(struct scene *sc)
{
	struct store_opts opts = rig_store_opts();
	struct store_open_error err = { .what = "" };
	struct store *s;
	int error = store_open(scene_bdev(sc, opts.readonly), &opts, &s, &err);

	FUZZ_CHECK(!error || err.what[0]);
	return error ? NULL : s;
}

void storerig_close(struct store *s)
{
	if (scene_flags() & SCENE_CRASH)
		store_destroy(s);
	else
		(void)!store_close(s);
}

struct inode *storerig_inode(struct store *s, uint32_t ino)
{
	struct inode *i;

	if (inode_get(s, ino, &i))
		return NULL;
	rwlock_write(&i->lock);
	return i;
}

void storerig_put(struct inode *i)
{
	rwlock_unwrite(&i->lock);
	inode_put(i);
}

bool storerig_start(struct store *s, struct handle *h)
{
	return !atomic_load(&s->readonly) && !journal_start(s->journal, HANDLE_CREDITS, h);
}
