/* SPDX-License-Identifier: GPL-2.0-only */
/* Free space, as the store counts it, and giving it back to the medium. */
#include "daemon/fs/fs_priv.h"

#include "daemon/store/alloc.h"

int fs_statfs(struct fs *fs, struct fs_statfs *ret_st)
{
	struct store_statfs st;

	store_statfs(fs->store, &st);
	*ret_st = (struct fs_statfs){ .blocks = st.blocks,
				      .bfree = st.blocks_free,
				      .bavail = st.blocks_avail,
				      .files = st.files,
				      .ffree = st.files_free,
				      .bsize = st.block_size,
				      .namelen = st.name_max };
	return 0;
}

int fs_trim(struct fs *fs, uint64_t start, uint64_t len, uint64_t minlen, uint64_t *ret_trimmed)
{
	int error;

	if (atomic_load(&fs->store->readonly))
		return -EROFS;
	gate_enter(&fs->gate);
	error = balloc_trim(fs->store, start, len, minlen, ret_trimmed);
	gate_leave(&fs->gate);
	return error;
}
