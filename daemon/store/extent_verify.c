// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checks of extent nodes. Nothing that the image says about a tree is used before it
 * passed here. Invariants that the rest of extent*.c relies on afterwards:
 *  (1) entries <= max <= room of the node, so no entry lies outside its buffer;
 *  (2) a node's depth is its parent's less one, so descending ends after at most
 *	EXT4_MAX_EXTENT_DEPTH steps whatever blocks point to each other;
 *  (3) keys ascend, extents do not overlap and end below LBLK_END, and all of a node
 *	lies in the range its parent gives it, so a search by lblk moves forward;
 *  (4) every pblk may hold an inode's blocks.
 *
 * A buffer is marked verified once its bytes passed, but a hostile image can reach
 * one block as two kinds of metadata, so the cheap checks (1)-(3, outer bounds) are
 * made at each descent.
 */
#include "daemon/store/extent.h"

#include <errno.h>

#include "daemon/base/crc.h"

static_assert(sizeof(struct ext4_extent) == EXTENT_ENTRY_BYTES, "extent entry");
static_assert(sizeof(struct ext4_extent_idx) == EXTENT_ENTRY_BYTES, "index entry");
static_assert(sizeof(struct ext4_extent_header) == EXTENT_HEADER_BYTES, "extent header");

/* libext2fs allows writers to leave two entries' room for other uses; so does e2fsck. */
#define EXTENT_MAX_SLACK 2u

static uint32_t tail_offset(const struct extent_node *n)
{
	return EXTENT_HEADER_BYTES + le16_to_cpu(extent_header(n)->eh_max) * EXTENT_ENTRY_BYTES;
}

static uint32_t node_csum(const struct inode *i, const struct extent_node *n)
{
	return crc32c(inode_csum_seed(i), n->data, tail_offset(n));
}

void extent_node_set_csum(const struct inode *i, const struct extent_node *n)
{
	struct ext4_extent_tail *t;

	if (!n->buf || !i->store->has_csum)
		return;
	t = (struct ext4_extent_tail *)(n->data + tail_offset(n));
	t->et_checksum = cpu_to_le32(node_csum(i, n));
}

static bool csum_ok(const struct inode *i, const struct extent_node *n)
{
	const struct ext4_extent_tail *t;

	if (!n->buf || !i->store->has_csum)
		return true;
	t = (const struct ext4_extent_tail *)(n->data + tail_offset(n));
	return le32_to_cpu(t->et_checksum) == node_csum(i, n);
}

static const char *header_fault(const struct extent_node *n, uint32_t depth)
{
	const struct ext4_extent_header *eh = extent_header(n);
	uint32_t room = extent_node_room(n->bytes);
	uint32_t max = le16_to_cpu(eh->eh_max);
	uint32_t entries = le16_to_cpu(eh->eh_entries);

	if (le16_to_cpu(eh->eh_magic) != EXT4_EXT_MAGIC)
		return "extent node: bad magic";
	if (le16_to_cpu(eh->eh_depth) != depth)
		return "extent node: depth does not fit its place in the tree";
	if (max > room || max + EXTENT_MAX_SLACK < room)
		return "extent node: eh_max does not fit the node";
	if (entries > max)
		return "extent node: more entries than eh_max";
	if (entries == 0 && (n->buf || depth > 0))
		return "extent node: empty below or above another";
	return NULL;
}

static const char *leaf_fault(const struct inode *i, const struct extent_node *n)
{
	uint64_t end = 0;

	for (uint32_t k = 0; k < n->entries; k++) {
		struct extent e = extent_get(n, k);

		if (e.len == 0)
			return "extent of no blocks";
		if (e.lblk < end)
			return "extents overlap or are out of order";
		end = (uint64_t)e.lblk + e.len;
		if (end > LBLK_END)
			return "extent ends past the largest file";
		if (!store_pblk_valid(i->store, e.pblk, e.len))
			return "extent maps blocks that no file may have";
	}
	return NULL;
}

static const char *index_fault(const struct inode *i, const struct extent_node *n)
{
	for (uint32_t k = 0; k < n->entries; k++) {
		if (k > 0 && extent_key(n, k) <= extent_key(n, k - 1))
			return "extent index out of order";
		if (extent_key(n, k) == LBLK_END)
			return "extent index past the largest file";
		if (!store_pblk_valid(i->store, extent_child(n, k), 1))
			return "extent index points to a block that no file may have";
	}
	return NULL;
}

/* Is the node inside what the parent says? Cheap: looks at the outer entries only. */
static const char *bounds_fault(const struct extent_node *n, uint32_t depth)
{
	uint64_t last_end;

	if (n->entries == 0)
		return NULL;
	if (n->buf && extent_key(n, 0) != n->lo)
		return "extent node does not begin where its index says";
	if (depth == 0) {
		struct extent e = extent_get(n, n->entries - 1);

		last_end = (uint64_t)e.lblk + e.len;
	} else {
		last_end = (uint64_t)extent_key(n, n->entries - 1) + 1;
	}
	return last_end > n->hi ? "extent node reaches into its neighbour" : NULL;
}

static bool is_verified(const struct inode *i, const struct extent_node *n)
{
	return n->buf ? buf_verified(n->buf) : (atomic_load(&i->state) & INODE_VERIFIED_MAP) != 0;
}

int extent_node_verify(struct inode *i, struct extent_node *n, uint32_t depth)
{
	uint64_t pblk = n->buf ? n->buf->pblk : 0;
	bool verified = is_verified(i, n);
	const char *fault = header_fault(n, depth);

	if (fault)
		return store_corrupt(i->store, i->ino, pblk, fault);
	n->entries = le16_to_cpu(extent_header(n)->eh_entries);
	n->max = le16_to_cpu(extent_header(n)->eh_max);

	if (!verified) {
		if (!csum_ok(i, n)) {
			(void)store_corrupt(i->store, i->ino, pblk, "extent node: bad checksum");
			return -EBADMSG; /* tells the caller more than EUCLEAN would */
		}
		fault = depth == 0 ? leaf_fault(i, n) : index_fault(i, n);
	}
	if (!fault)
		fault = bounds_fault(n, depth);
	if (fault)
		return store_corrupt(i->store, i->ino, pblk, fault);
	if (!verified) {
		if (n->buf)
			buf_set_verified(n->buf);
		else
			atomic_fetch_or(&i->state, INODE_VERIFIED_MAP);
	}
	return 0;
}
