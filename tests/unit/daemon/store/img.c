// SPDX-License-Identifier: GPL-2.0-only
/* Images for tests of the store. */
#include "tests/unit/daemon/store/img.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "daemon/store/alloc.h"
#include "daemon/store/dir.h"
#include "tests/lib/test.h"

/* What fs asks for when it makes a directory, the most of all. */
#define HANDLE_CREDITS                                                                             \
	(CREDITS_NEW_INODE + CREDITS_MAP + 1 + CREDITS_DIR_ADD + CREDITS_XATTR + 2 * CREDITS_INODE)
#define NOW 1700000000

static int run(const char *command, char *out, size_t size)
{
	size_t len = 0, n;
	FILE *p = popen(command, "r");

	CHECK(p != NULL);
	while ((n = fread(out + len, 1, size - 1 - len, p)) > 0)
		len += n;
	out[len] = 0;
	return pclose(p);
}

void img_make(struct img *m, const char *mke2fs_options, const char *size)
{
	static char command[1024], out[8192];
	int status;

	m->s = NULL;
	if (run("PATH=$PATH:/sbin:/usr/sbin; command -v mke2fs e2fsck debugfs", out, sizeof(out)))
		SKIP("e2fsprogs is not installed");
	(void)snprintf(m->path, sizeof(m->path), "%s", test_path("img"));
	(void)snprintf(command, sizeof(command),
		       "PATH=$PATH:/sbin:/usr/sbin; rm -f %s; mke2fs -q -F -t ext4 "
		       "-E hash_seed=01234567-89ab-cdef-0123-456789abcdef %s %s %s 2>&1",
		       m->path, mke2fs_options, m->path, size);
	status = run(command, out, sizeof(out));
	if (status)
		FAIL("%s: %s", command, out);
}

void img_tune(const struct img *m, const char *tune2fs_options)
{
	static char command[512], out[8192];

	(void)snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin tune2fs %s %s 2>&1",
		       tune2fs_options, m->path);
	if (run(command, out, sizeof(out)))
		FAIL("%s: %s", command, out);
}

void img_open_opts(struct img *m, const struct store_opts *opts)
{
	struct bdev_open_opts bdev_opts = { 0 };
	struct store_open_error err;
	struct bdev *b;

	CHECK_OK(bdev_open_file(m->path, &bdev_opts, &b));
	if (store_open(b, opts, &m->s, &err))
		FAIL("store_open: %s (%s)", err.what, err.remedy);
}

void img_open(struct img *m)
{
	img_open_opts(m, &(struct store_opts){ .no_barrier = true });
}

void img_close(struct img *m)
{
	struct journal_stats stats;

	CHECK_EQ(atomic_load(&m->s->corruptions), 0);
	CHECK_OK(journal_sync(m->s->journal)); /* counted at commit */
	journal_get_stats(m->s->journal, &stats);
	CHECK_EQ(stats.credits_overdrawn, 0);
	CHECK_OK(store_close(m->s));
	m->s = NULL;
}

void img_fsck(const struct img *m)
{
	static char command[512], out[8192];

	(void)snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin e2fsck -fn %s 2>&1",
		       m->path);
	if (run(command, out, sizeof(out)))
		FAIL("%s", out);
}

const char *img_debugfs(const struct img *m, bool write, const char *what)
{
	static char command[1024], out[1 << 20];

	(void)snprintf(command, sizeof(command),
		       "PATH=$PATH:/sbin:/usr/sbin debugfs %s -R '%s' %s 2>&1", write ? "-w" : "",
		       what, m->path);
	CHECK_EQ(run(command, out, sizeof(out)), 0);
	return out;
}

void img_start(struct img *m, struct handle *h)
{
	CHECK_OK(journal_start(m->s->journal, HANDLE_CREDITS, h));
}

void img_stop(struct handle *h)
{
	CHECK_OK(journal_stop(h));
}

struct inode *img_root(struct img *m)
{
	struct inode *i;

	CHECK_OK(inode_get(m->s, EXT4_ROOT_INO, &i));
	rwlock_write(&i->lock);
	return i;
}

void img_put(struct inode *i)
{
	rwlock_unwrite(&i->lock);
	inode_put(i);
}

struct inode *img_create(struct img *m, struct inode *dir, const char *name, uint16_t mode)
{
	struct inode_init init = { .mode = mode, .now_s = NOW };
	struct dir_name n = { name, (uint32_t)strlen(name) };
	struct inode *i;
	struct handle h;

	img_start(m, &h);
	CHECK_OK(inode_create(&h, dir, &init, &i));
	i->links = 1;
	if (S_ISDIR(mode)) {
		CHECK_OK(dir_init(&h, i, dir->ino));
		i->links = 2;
		dir->links++;
	}
	CHECK_OK(dir_add(&h, dir, &n, i->ino, ftype_from_mode(mode)));
	CHECK_OK(inode_write_data(&h, i));
	CHECK_OK(inode_write_data(&h, dir));
	img_stop(&h);
	return i;
}

void img_unlink(struct img *m, struct inode *dir, const char *name, struct inode *i)
{
	struct handle h;

	img_start(m, &h);
	CHECK_OK(dir_remove(&h, dir, &(struct dir_name){ name, (uint32_t)strlen(name) }));
	CHECK_OK(inode_write_data(&h, dir));
	i->links = 0;
	CHECK_OK(orphan_add(&h, i));
	CHECK_OK(inode_write(&h, i));
	img_stop(&h);
}
