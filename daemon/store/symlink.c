// SPDX-License-Identifier: GPL-2.0-only
/*
 * Targets of symbolic links: up to 59 bytes in i_block ("fast"), else inside the inode
 * (inline_data; read, not written) or in one block.
 *
 * The size comes from the image and chooses where the bytes are, so it is checked
 * against each place before a byte is copied: a size larger than its place, of 0, or
 * past a NUL is corruption, never a longer read.
 *
 * Fails with -EUCLEAN (reported), -ENAMETOOLONG when a target cannot be stored, -ENOKEY
 * for encrypted targets.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/store/alloc.h"
#include "daemon/store/dir.h"
#include "daemon/store/map.h"
#include "daemon/store/xattr_ibody.h"

#define FAST_LEN_MAX (EXT4_N_BLOCKS_BYTES - 1u)

static void write_fast(struct inode *i, const char *target, uint32_t len)
{
	i->flags &= ~(EXT4_INLINE_DATA_FL | EXT4_EXTENTS_FL);
	memset(i->i_block, 0, sizeof(i->i_block));
	memcpy(i->i_block, target, len);
	i->size = len;
}

static int write_block(struct handle *h, struct inode *i, const char *target, uint32_t len)
{
	struct map_run run;
	struct buf *b;
	int err;

	i->flags &= ~EXT4_INLINE_DATA_FL;
	map_init(i);
	/* The size says that there is a map: whoever gives the inode up frees what is in it. */
	i->size = len;
	err = map_allocate(h, i, 0, 1, false, ALLOC_META | ALLOC_RESERVED_OK, &run);
	if (err)
		return err;
	err = buf_get_new(i->store->cache, run.pblk, &b);
	if (err)
		return err;
	err = journal_get_create(h, b);
	if (err == 0) {
		memcpy(b->data, target, len);
		journal_dirty(h, b, 0, i->store->block_size);
	}
	buf_put(b);
	return err;
}

int symlink_write(struct handle *h, struct inode *i, const char *target, uint32_t len)
{
	CHECK(inode_is_symlink(i));
	/* The terminating NUL has to fit the block too, as in ext4. */
	if (len >= PATH_MAX || len >= i->store->block_size)
		return -ENAMETOOLONG;
	if (len == 0)
		return -ENOENT;
	if (memchr(target, 0, len))
		return -EINVAL;
	if (len <= FAST_LEN_MAX) {
		write_fast(i, target, len);
		return 0;
	}
	/*
	 * Never inside the inode: e2fsck does not count the xattr block of an inline
	 * symlink and would call it leaked. The kernel makes none either.
	 */
	return write_block(h, i, target, len);
}

static int symlink_bad(const struct inode *i, uint64_t pblk)
{
	return store_corrupt(i->store, i->ino, pblk, "symlink: size does not match the target");
}

/* Copy a target of exactly @len bytes without NUL. */
static int copy_target(const struct inode *i, uint64_t pblk, const void *from, uint32_t len,
		       char *buf)
{
	if (memchr(from, 0, len))
		return symlink_bad(i, pblk);
	memcpy(buf, from, len);
	return 0;
}

static int read_inline(struct inode *i, char *buf, uint32_t len)
{
	uint32_t head = MIN(len, (uint32_t)sizeof(i->i_block)), space = inode_ibody_space(i);
	_cleanup_free_ char *tail = malloc(space + 1);
	ssize_t n;
	int err;

	if (!tail)
		return -ENOMEM;
	n = xattr_ibody_data_get(i, tail, space + 1);
	if (n == -ENODATA)
		n = 0;
	if (n < 0)
		return (int)n;
	if (len - head > (size_t)n)
		return symlink_bad(i, 0);
	err = copy_target(i, 0, i->i_block, head, buf);
	return err ? err : copy_target(i, 0, tail, len - head, buf + head);
}

static int read_block(struct inode *i, char *buf, uint32_t len)
{
	_cleanup_put_buffer_ struct buf *b = NULL;
	struct map_run run;
	int err;

	if (len >= i->store->block_size)
		return symlink_bad(i, 0);
	err = map_lookup(i, 0, 1, &run);
	if (err)
		return err;
	if (run.flags & (MAP_HOLE | MAP_UNWRITTEN))
		return symlink_bad(i, 0);
	err = buf_read(i->store->cache, run.pblk, &b);
	return err ? err : copy_target(i, run.pblk, b->data, len, buf);
}

int symlink_read(struct inode *i, char *buf, uint32_t size, uint32_t *ret_len)
{
	uint32_t len;
	int err;

	if (!inode_is_symlink(i))
		return -EINVAL;
	if (i->flags & EXT4_ENCRYPT_FL)
		return -ENOKEY;
	if (i->size == 0 || i->size >= PATH_MAX)
		return symlink_bad(i, 0);
	len = (uint32_t)i->size;
	if (len > size)
		return -ERANGE;
	if (i->flags & EXT4_INLINE_DATA_FL)
		err = read_inline(i, buf, len);
	else if (len <= FAST_LEN_MAX)
		err = copy_target(i, 0, i->i_block, len, buf);
	else
		err = read_block(i, buf, len);
	if (err == 0)
		*ret_len = len;
	return err;
}
