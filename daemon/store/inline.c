// SPDX-License-Identifier: GPL-2.0-only
/*
 * Data inside the inode (inline_data): 60 bytes in i_block, the rest as the value
 * system.data in the inode's tail (xattr_ibody.h). The value exists, empty or not, as
 * long as EXT4_INLINE_DATA_FL is set: Linux and e2fsck ask for it. Contents go through
 * the journal with the inode, so a crash keeps all of them or the old ones.
 *
 * Every change makes the new contents as a whole and stores value, then i_block: the
 * first may fail for want of room and nothing has changed, the second cannot.
 */
#include "daemon/store/map.h"

#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/map_impl.h"
#include "daemon/store/xattr_ibody.h"

bool inline_has(const struct inode *i)
{
	return i->flags & EXT4_INLINE_DATA_FL;
}

uint32_t inline_size_max(struct inode *i)
{
	uint32_t max;

	if (!store_has_incompat(i->store, EXT4_FEATURE_INCOMPAT_INLINE_DATA) ||
	    xattr_ibody_data_max(i, &max) < 0)
		return 0;
	return EXT4_MIN_INLINE_DATA_SIZE + max;
}

/*
 * The first @size bytes of the contents, in a buffer of @room >= @size that the caller
 * frees; the rest of it, and what the inode does not hold, is zero.
 */
static int load(struct inode *i, uint64_t size, size_t room, uint8_t **ret_data)
{
	/* The value is read as a whole: it lies inside the inode. */
	size_t value_room = i->store->inode_size;
	_cleanup_free_ uint8_t *data = calloc(1, EXT4_MIN_INLINE_DATA_SIZE + MAX(room, value_room));
	ssize_t n;

	if (!data)
		return -ENOMEM;
	memcpy(data, i->i_block, EXT4_MIN_INLINE_DATA_SIZE);
	n = xattr_ibody_data_get(i, data + EXT4_MIN_INLINE_DATA_SIZE, value_room);
	if (n == -ENODATA)
		return store_corrupt(i->store, i->ino, 0, "inline data without its attribute");
	if (n < 0)
		return (int)n;
	if (size < EXT4_MIN_INLINE_DATA_SIZE + (uint64_t)n)
		memset(data + size, 0, EXT4_MIN_INLINE_DATA_SIZE + (size_t)n - size);
	*ret_data = data;
	data = NULL;
	return 0;
}

ssize_t inline_read(struct inode *i, void *buf, uint64_t off, uint64_t len)
{
	_cleanup_free_ uint8_t *data = NULL;
	uint64_t held = EXT4_MIN_INLINE_DATA_SIZE + (uint64_t)i->store->inode_size;
	int r;

	if (off >= i->size || len == 0)
		return 0;
	len = MIN(len, i->size - off);
	r = load(i, MIN(i->size, held), held, &data);
	if (r < 0)
		return r;
	memset(buf, 0, len);
	if (off < held)
		memcpy(buf, data + off, MIN(len, held - off));
	return (ssize_t)len;
}

/* Make the contents the @size bytes at @data. */
static int replace(struct handle *h, struct inode *i, const uint8_t *data, uint64_t size)
{
	uint64_t in_block = MIN(size, (uint64_t)EXT4_MIN_INLINE_DATA_SIZE);
	int r;

	r = xattr_ibody_data_set(h, i, data + in_block, size - in_block);
	if (r < 0)
		return r;
	memset(i->i_block, 0, sizeof(i->i_block));
	memcpy(i->i_block, data, in_block);
	i->size = size;
	return 0;
}

int inline_write(struct handle *h, struct inode *i, const void *buf, uint64_t off, uint64_t len)
{
	_cleanup_free_ uint8_t *data = NULL;
	uint64_t end, size;
	int r;

	CHECK(inline_has(i));
	if (add_overflows(off, len, &end))
		return -EFBIG;
	size = MAX(end, i->size);
	if (size > inline_size_max(i))
		return -ENOSPC;
	r = load(i, i->size, size, &data);
	if (r < 0)
		return r;
	memcpy(data + off, buf, len);
	return replace(h, i, data, size);
}

int inline_truncate(struct handle *h, struct inode *i, uint64_t size)
{
	_cleanup_free_ uint8_t *data = NULL;
	int r;

	CHECK(inline_has(i));
	if (size > inline_size_max(i))
		return -ENOSPC;
	r = load(i, MIN(size, i->size), size, &data);
	if (r < 0)
		return r;
	return replace(h, i, data, size);
}

int inline_init(struct handle *h, struct inode *i)
{
	int r;

	CHECK(!inline_has(i));
	r = replace(h, i, (const uint8_t *)"", 0);
	if (r < 0)
		return r;
	i->flags &= ~(uint32_t)EXT4_EXTENTS_FL;
	i->flags |= EXT4_INLINE_DATA_FL;
	return 0;
}

int inline_drop(struct handle *h, struct inode *i)
{
	int r;

	CHECK(inline_has(i));
	r = xattr_ibody_data_remove(h, i);
	if (r < 0)
		return r;
	i->flags &= ~(uint32_t)EXT4_INLINE_DATA_FL;
	map_init(i);
	return 0;
}

/* The contents into block @pblk of the image, before anything points to it. */
static int write_block(struct inode *i, uint64_t pblk)
{
	uint32_t bs = map_block_size(i);
	_cleanup_free_ uint8_t *data = calloc(1, bs);
	ssize_t n;

	if (!data)
		return -ENOMEM;
	n = inline_read(i, data, 0, bs);
	if (n < 0)
		return (int)n;
	return bdev_write(i->store->bdev, data, bs, pblk * bs);
}

int inline_convert(struct handle *h, struct inode *i)
{
	struct alloc_req req = { .inode = i, .count = 1 };
	struct map_run run = { .lblk = 0 };
	int r;

	CHECK(inline_has(i));
	if (i->size == 0)
		return inline_drop(h, i);
	r = balloc(h, &req, &run.pblk, &run.count);
	if (r < 0)
		return r;
	CHECK(run.count == 1);
	r = write_block(i, run.pblk);
	if (r == 0)
		r = inline_drop(h, i);
	if (r == 0)
		r = map_insert(h, i, &run); /* into an empty map: needs no further block */
	if (r < 0)
		(void)balloc_undo(h, i->store, run.pblk,
				  1); /* the first error is the one to tell */
	return r;
}
