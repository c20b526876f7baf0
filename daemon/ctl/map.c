// SPDX-License-Identifier: GPL-2.0-only
/*
 * The map command: where a file's contents lie in the image, a page of extents at a time.
 *
 * The inode is held shared while a page is collected, so a page is one moment of the file; a file that changes
 * between two pages may show a seam, as with filefrag.
 */
#include <errno.h>

#include "daemon/ctl/server.h"
#include "daemon/fs/fs.h"
#include "daemon/store/map.h"
#include "include/kfs/ctl_proto.h"

/* Looking up the holes of a block-mapped sparse file may take many steps; a page ends after so many in any case. */
#define MAP_STEPS_MAX 65536

static void put_extent(json_t *extents, const struct map_run *run)
{
	json_t *extent = json_pack("{s:I, s:I, s:I, s:b}", "lblk", (json_int_t)run->lblk, "pblk",
				   (json_int_t)run->pblk, "blocks", (json_int_t)run->count,
				   "unwritten", (run->flags & MAP_UNWRITTEN) != 0);

	(void)json_array_append_new(extents,
				    extent); /* memory: the reply lacks it, and says so by count */
}

/* One past the last logical block that can be mapped. */
static uint64_t lblk_end(const struct inode *i)
{
	if (i->flags & EXT4_EXTENTS_FL)
		return LBLK_END;
	return MIN(DIV_ROUND_UP(i->size, (uint64_t)i->store->block_size), (uint64_t)LBLK_END);
}

/* Are there blocks to speak of? Fast symlinks, devices and inline files keep all in the inode. */
static bool has_blocks(const struct inode *i)
{
	if (inode_is_symlink(i))
		return i->size >= sizeof(i->i_block);
	return (inode_is_reg(i) || inode_is_dir(i)) && !inline_has(i);
}

/* From @lblk on; *ret_next is where the next page begins, or the end. */
static int collect(struct inode *i, uint64_t lblk, json_t *extents, uint64_t *ret_next)
{
	uint64_t end = has_blocks(i) ? lblk_end(i) : 0;
	unsigned int steps;

	for (steps = 0; steps < MAP_STEPS_MAX && lblk < end; steps++) {
		struct map_run run;
		int ret;

		if (json_array_size(extents) >= CTL_MAP_EXTENTS_MAX)
			break;
		ret = map_lookup(i, (uint32_t)lblk, (uint32_t)(end - lblk), &run);
		if (ret)
			return ret;
		if (run.count == 0)
			return -EUCLEAN;
		if (!(run.flags & MAP_HOLE))
			put_extent(extents, &run);
		lblk += run.count;
	}
	*ret_next = lblk < end ? lblk : UINT64_MAX;
	return 0;
}

static const char *kind(const struct inode *i)
{
	if (!has_blocks(i))
		return "inode";
	return i->flags & EXT4_EXTENTS_FL ? "extents" : "blocks";
}

/* Deleted while we waited for its lock, or never usable? Caller holds the lock. */
static int check_alive(const struct inode *i)
{
	uint32_t state = atomic_load(&i->state);

	if (state & INODE_BAD)
		return -EUCLEAN;
	return i->mode && (i->links || (state & INODE_UNLINKED)) ? 0 : -ESTALE;
}

static int fail_inode(struct ctl_call *call, int error)
{
	return ctl_fail(call, error, "map",
			error == -ESTALE ? "the inode is not in use" :
					   "the inode is corrupt or unreadable",
			error == -ESTALE ? "" : "unmount and run e2fsck");
}

/* Caller holds the inode lock shared. */
static int describe(struct ctl_call *call, struct inode *i)
{
	json_t *extents = json_array();
	uint64_t next;
	int ret;

	ret = collect(i, ctl_arg_count(call, "lblk", 0), extents, &next);
	if (ret) {
		json_decref(extents);
		return ctl_fail(call, ret, "map", "the file's map is corrupt or unreadable",
				"unmount and run e2fsck");
	}
	ctl_put_count(call->result, "ino", i->ino);
	ctl_put_count(call->result, "size_bytes", i->size);
	ctl_put_count(call->result, "used_bytes", i->blocks * 512);
	ctl_put_count(call->result, "block_bytes", i->store->block_size);
	ctl_put(call->result, "mapping", json_string(kind(i)));
	ctl_put(call->result, "extents", extents);
	ctl_put(call->result, "next_lblk",
		next == UINT64_MAX ? json_null() : json_integer((json_int_t)next));
	return 0;
}

int ctl_map(struct ctl_call *call)
{
	struct store *s = fs_store(call->server->env.fs);
	uint64_t ino = ctl_arg_count(call, "ino", 0);
	struct inode *i;
	int ret;

	/* Checked here: to the store an impossible number is corruption, to us it is a mistake of the client's. */
	if (ino == 0 || ino > s->inodes_count)
		return ctl_fail(call, -EINVAL, "map", "no such inode number", "");
	ret = inode_get(s, (uint32_t)ino, &i);
	if (ret)
		return fail_inode(call, ret);
	rwlock_read(&i->lock);
	ret = check_alive(i);
	ret = ret ? fail_inode(call, ret) : describe(call, i);
	rwlock_unread(&i->lock);
	inode_put(i);
	return ret;
}
