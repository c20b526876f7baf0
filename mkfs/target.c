/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The target. Whether it is in use is the block layer's answer (exclusive opening, locks, loop
 * devices on a file); what it holds is libblkid's.
 */
#include "mkfs/target.h"

#include "mkfs/options.h"
#include "mkfs/say.h"

#include "daemon/base/check.h"
#include "daemon/block/bdev.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIGNATURES_MAX 64 /* no medium holds more that are real */

static int device_measure(const struct mkfs_options *o, uint64_t *ret_size, uint32_t *ret_sector)
{
	_cleanup_close_ int fd = open(o->target, O_RDONLY | O_CLOEXEC);
	int sector = 0;

	if (fd < 0)
		return fail(-errno, "%s", o->target);
	if (ioctl(fd, BLKGETSIZE64, ret_size) < 0 || ioctl(fd, BLKSSZGET, &sector) < 0)
		return fail(-errno, "%s: finding its size", o->target);
	*ret_sector = (uint32_t)sector;
	return 0;
}

static int existing_measure(const struct mkfs_options *o, const struct stat *st, struct target *t,
			    uint64_t *ret_size)
{
	t->exists = true;
	*ret_size = (uint64_t)st->st_size;
	if (S_ISBLK(st->st_mode))
		return device_measure(o, ret_size, &t->sector_size);
	if (S_ISDIR(st->st_mode))
		return refuse("%s: is a directory; name an image file or a block device",
			      o->target);
	if (!S_ISREG(st->st_mode))
		return refuse("%s: neither a file nor a block device", o->target);
	return 0;
}

int target_look(const struct mkfs_options *o, struct target *ret_target)
{
	struct target t = { 0 };
	uint64_t size = 0;
	struct stat st;
	int r = 0;

	if (stat(o->target, &st) == 0)
		r = existing_measure(o, &st, &t, &size);
	else if (errno != ENOENT)
		return fail(-errno, "%s", o->target);
	else if (!o->size)
		return refuse("%s: does not exist and no size was given: add a SIZE", o->target);
	if (r < 0)
		return r;
	if (!o->size && o->offset >= size)
		return refuse("%s: has %llu bytes, nothing to format%s", o->target,
			      (unsigned long long)size,
			      t.sector_size ? "" : ": give a SIZE to make it larger");
	t.size = o->size ? o->size : size - o->offset;
	if (t.sector_size && o->offset + t.size > size)
		return refuse("%s: has only %llu bytes, %llu were asked for", o->target,
			      (unsigned long long)size, (unsigned long long)(o->offset + t.size));
	*ret_target = t;
	return 0;
}

static const char *probe_value(blkid_probe pr, const char *name)
{
	const char *value = NULL;

	return blkid_probe_lookup_value(pr, name, &value, NULL) == 0 ? value : NULL;
}

/* Each signature: refuse the target for it, or with -F remove it. */
static int signatures_handle(const struct mkfs_options *o, blkid_probe pr)
{
	for (int i = 0; i < SIGNATURES_MAX; i++) {
		const char *type, *table;
		int r = blkid_do_probe(pr);

		if (r < 0)
			return fail(errno ? -errno : -EIO, "%s: looking for filesystems",
				    o->target);
		if (r > 0)
			return 0;
		type = probe_value(pr, "TYPE");
		table = probe_value(pr, "PTTYPE");
		if (!type && !table)
			continue;
		if (!o->force)
			return refuse("%s: holds a %s of type %s: use -F to overwrite it",
				      o->target,
				      type ? "filesystem or the like" : "partition table",
				      type ? type : table);
		if (blkid_do_wipe(pr, 0) < 0)
			return fail(errno ? -errno : -EIO, "%s: wiping the old %s", o->target,
				    type ? type : table);
	}
	return 0;
}

static int signatures_check(const struct mkfs_options *o, struct bdev *b)
{
	blkid_probe pr = blkid_new_probe();
	int r;

	if (!pr)
		return fail(-ENOMEM, "%s", o->target);
	r = blkid_probe_set_device(pr, b->fd, (blkid_loff_t)b->fd_offset, (blkid_loff_t)b->size);
	if (r == 0) {
		blkid_probe_enable_superblocks(pr, 1);
		blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_MAGIC |
							      BLKID_SUBLKS_BADCSUM);
		blkid_probe_enable_partitions(pr, 1);
		blkid_probe_set_partitions_flags(pr, BLKID_PARTS_MAGIC);
		r = signatures_handle(o, pr);
	} else {
		r = fail(errno ? -errno : -EIO, "%s: looking for filesystems", o->target);
	}
	blkid_free_probe(pr);
	return r;
}

static int image_open(const struct mkfs_options *o, struct bdev **ret_bdev)
{
	struct bdev_open_opts opts = { .offset = o->offset };
	int r = bdev_open_file(o->target, &opts, ret_bdev);

	if (r == -EBUSY)
		return refuse("%s: in use: mounted, attached to a loop device, or held by another "
			      "program: unmount it first",
			      o->target);
	return r < 0 ? fail(r, "%s", o->target) : 0;
}

/* A signal is no reason to give up. */
static int file_set_size(int fd, uint64_t bytes)
{
	while (ftruncate(fd, (off_t)bytes) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static int file_create(const struct mkfs_options *o, uint64_t bytes)
{
	_cleanup_close_ int fd = open(o->target, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
	int r;

	if (fd < 0)
		return fail(-errno, "%s: creating it", o->target);
	r = file_set_size(fd, o->offset + bytes);
	if (r == 0)
		return 0;
	r = fail(r, "%s: making it %llu bytes long", o->target,
		 (unsigned long long)(o->offset + bytes));
	if (unlink(o->target) < 0)
		warn("%s: left behind: %s", o->target, strerror(errno));
	return r;
}

/* A shorter file grows only now, when it is known to be free for use; then it is reopened. */
static int file_grow(const struct mkfs_options *o, uint64_t bytes, struct bdev **bdev)
{
	struct stat st;
	int r;

	if (fstat((*bdev)->fd, &st) < 0)
		return fail(-errno, "%s", o->target);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size >= o->offset + bytes)
		return 0;
	r = file_set_size((*bdev)->fd, o->offset + bytes);
	if (r < 0)
		return fail(r, "%s: making it %llu bytes long", o->target,
			    (unsigned long long)(o->offset + bytes));
	bdev_close(*bdev);
	*bdev = NULL;
	return image_open(o, bdev);
}

static int contents_drop(const struct mkfs_options *o, struct target *t, struct bdev *b,
			 uint64_t bytes)
{
	int r;

	t->zeros = t->created || o->prezeroed;
	if (t->created || !o->discard)
		return 0;
	r = bdev_discard(b, 0, bytes);
	/* A file's hole reads as zeros; what a device returns after discarding is its own affair. */
	if (r == 0 && !t->sector_size)
		t->zeros = true;
	if (r < 0 && r != -EOPNOTSUPP && r != -ENOTSUP)
		return fail(r, "%s: discarding its contents: use -E nodiscard", o->target);
	return 0;
}

int target_open(const struct mkfs_options *o, struct target *t, uint64_t bytes,
		struct bdev **ret_bdev)
{
	struct bdev *b = NULL;
	struct stat st;
	int r = t->exists ? 0 : file_create(o, bytes);

	if (r < 0)
		return r;
	t->created = !t->exists;
	r = image_open(o, &b);
	if (r == 0)
		r = signatures_check(o, b);
	if (r == 0)
		r = file_grow(o, bytes, &b);
	if (r == 0 && fstat(b->fd, &st) < 0)
		r = fail(-errno, "%s", o->target);
	if (r == 0)
		r = contents_drop(o, t, b, bytes);
	if (r < 0) {
		if (b)
			bdev_close(b);
		target_undo(o, t);
		return r;
	}
	CHECK(b->size >= bytes);
	t->dev = st.st_dev;
	t->ino = st.st_ino;
	*ret_bdev = b;
	return 0;
}

void target_undo(const struct mkfs_options *o, const struct target *t)
{
	if (t->created && unlink(o->target) < 0)
		warn("%s: left behind, not a filesystem: %s", o->target, strerror(errno));
}
