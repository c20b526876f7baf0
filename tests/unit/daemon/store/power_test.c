// SPDX-License-Identifier: GPL-2.0-only
/*
 * Power lost at any write while files are made, written, truncated and deleted: after
 * replay and the orphans' cleanup e2fsck finds nothing, and what was synced is there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/log.h"
#include "daemon/store/alloc.h"
#include "daemon/store/dir.h"
#include "daemon/store/map.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/store/lossy.h"
#include "tests/unit/daemon/store/raw.h"

#define ROUNDS 12
#define FILES 24
#define STEPS 120
#define WRITES_MAX 400

/* Per name: does it exist in memory, and did it at the last sync that power survived? */
struct names {
	bool now[FILES], synced[FILES], touched[FILES]; /* touched: changed since that sync */
};

static struct dir_name name_of(uint32_t k, char *buf, size_t size)
{
	int len = snprintf(buf, size, "file-%u", k);

	return (struct dir_name){ .name = buf, .len = (uint32_t)len };
}

static void make(struct img *m, uint32_t k)
{
	static uint8_t data[40000];
	struct iovec iov = { data, 1 + test_random_below(sizeof(data)) };
	struct data_write w = { .iov = &iov, .iovcnt = 1, .len = iov.iov_len };
	struct inode *root = img_root(m), *i;
	char buf[32];

	(void)name_of(k, buf, sizeof(buf)); /* only the text is wanted */
	i = img_create(m, root, buf, S_IFREG | 0644);
	img_put(root);
	w.off = test_random_below(3) ? 0 : test_random_below(200000);
	CHECK_EQ(data_write(i, &w), (ssize_t)w.len);
	img_put(i);
}

static struct inode *find(struct img *m, uint32_t k)
{
	struct inode *root = img_root(m), *i;
	struct dir_name n;
	char buf[32];
	uint8_t ftype;
	uint32_t ino;

	n = name_of(k, buf, sizeof(buf));
	CHECK_OK(dir_lookup(root, &n, &ino, &ftype));
	img_put(root);
	CHECK_OK(inode_get(m->s, ino, &i));
	rwlock_write(&i->lock);
	return i;
}

static void drop(struct img *m, uint32_t k)
{
	struct inode *i = find(m, k), *root;
	struct handle h;
	struct dir_name n;
	char buf[32];

	rwlock_unwrite(&i->lock);
	root = img_root(m);
	rwlock_write(&i->lock);
	n = name_of(k, buf, sizeof(buf));
	img_start(m, &h);
	CHECK_OK(dir_remove(&h, root, &n));
	i->links = 0;
	CHECK_OK(orphan_add(&h, i));
	CHECK_OK(inode_write(&h, i));
	CHECK_OK(inode_write_data(&h, root));
	img_stop(&h);
	img_put(root);
	/* Sometimes power fails while it is unlinked and open. */
	if (test_random_below(4))
		CHECK_OK(inode_delete(i));
	else
		img_put(i);
}

static void step(struct img *m, struct names *names)
{
	uint32_t k = (uint32_t)test_random_below(FILES);
	struct inode *i;

	if (!names->now[k]) {
		make(m, k);
		names->now[k] = true;
		names->touched[k] = true;
	} else if (test_random_below(2)) {
		drop(m, k);
		names->now[k] = false;
		names->touched[k] = true;
	} else {
		i = find(m, k);
		CHECK_OK(inode_truncate(i, test_random_below(50000)));
		img_put(i);
	}
}

static void check_names(struct img *m, const struct names *names)
{
	struct inode *root = img_root(m);
	struct dir_name n;
	uint8_t ftype;
	char buf[32];
	uint32_t k, ino;

	for (k = 0; k < FILES; k++) {
		if (names->touched[k])
			continue;
		n = name_of(k, buf, sizeof(buf));
		CHECK_EQ(dir_lookup(root, &n, &ino, &ftype), names->synced[k] ? 0 : -ENOENT);
	}
	img_put(root);
}

static void check_power_loss(const char *options)
{
	struct bdev_open_opts bopts = { 0 };
	struct names names = { 0 };
	struct store_open_error err;
	struct lossy *l;
	struct bdev *b;
	struct img m;
	uint32_t k, cleaned;

	img_make(&m, options, "8M");
	CHECK_OK(bdev_open_file(m.path, &bopts, &b));
	l = lossy_new(b);
	CHECK_OK(store_open(lossy_bdev(l), &(struct store_opts){ .bufs_max = 64 }, &m.s, &err));
	for (k = 0; k < STEPS; k++) {
		if (k == STEPS / 3)
			lossy_crash_after(l, 1 + test_random_below(WRITES_MAX));
		step(&m, &names);
		/* Syncs that power certainly survived: before the crash is armed. */
		if (k % 10 == 9)
			CHECK_OK(store_sync(m.s));
		if (k % 10 == 9 && k < STEPS / 3) {
			memcpy(names.synced, names.now, sizeof(names.synced));
			memset(names.touched, 0, sizeof(names.touched));
		}
	}
	lossy_crash(l);
	store_destroy(m.s);
	img_open(&m);
	CHECK_OK(store_orphan_cleanup(m.s, &cleaned));
	check_names(&m, &names);
	img_close(&m);
	img_fsck(&m);
}

TEST(test_store__survives_power_loss_at_any_write)
{
	int round;

	log_set_level(LOG_LEVEL_OFF);
	for (round = 0; round < ROUNDS; round++)
		check_power_loss(round % 2 ?
					 "-b 1024 -O metadata_csum,orphan_file -J size=1 -N 200" :
					 "-b 1024 -O ^metadata_csum,^orphan_file,^extent,^64bit "
					 "-J size=1 -N 200");
}
