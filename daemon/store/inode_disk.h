/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * struct inode to and from its slot in an inode table. Pure conversion and
 * validation: who calls holds the slot's bytes (the table buffer's lock).
 */
#ifndef KFS_STORE_INODE_DISK_H
#define KFS_STORE_INODE_DISK_H

#include "daemon/store/inode.h"

/* Where inode @ino lies. */
struct inode_slot {
	uint64_t pblk;
	uint32_t off;
};

/* @ino is 1..inodes_count. @table is the inode table of its group. */
struct inode_slot inode_slot_in(const struct store *s, uint64_t table, uint32_t ino);
struct inode_slot inode_slot_of(const struct store *s, uint32_t ino);

/* @raw is inode_size bytes. -EBADMSG. */
MUST_USE int inode_disk_check_csum(const struct store *s, uint32_t ino, const uint8_t *raw);
void inode_disk_set_csum(const struct store *s, uint32_t ino, uint8_t *raw);

/*
 * Decode and validate into a struct inode whose ino and store are set. -ESTALE: the
 * slot is free (no mode). -EBADMSG, -EUCLEAN corrupt, *ret_what naming the field.
 */
MUST_USE int inode_disk_decode(struct inode *i, const uint8_t *raw, const char **ret_what);

/*
 * Encode over @raw, which holds the slot's former bytes: what we do not know stays. A
 * slot of an INODE_NEW inode is zeroed first. @dtime: deletion time, 0 otherwise; on the orphan list the bytes
 * there are the list's and stay. Recomputes the checksum. -EFBIG: too many blocks for
 * the features.
 */
MUST_USE int inode_disk_encode(struct inode *i, uint8_t *raw, uint32_t dtime);

#endif
