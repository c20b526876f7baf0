/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An ext4 image as bytes, for those who damage it: finds a structure by what it means
 * (a path, a node of an extent tree, an entry of a directory) and recomputes its checksum.
 *
 * It shares the format headers with kfs but no code that reads images: a mistake there
 * cannot hide behind the same mistake here. It believes what it reads, so it is for images
 * that mke2fs made and for damage done one step at a time; geometry is taken when the image
 * is opened and stays, whatever is done to the superblock later. What cannot be found ends
 * the program with status 2: the table of cases is wrong then.
 */
#ifndef TESTS_IMAGES_IMAGE_H
#define TESTS_IMAGES_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/kfs/ext4_format.h"
#include "include/kfs/jbd2_format.h"

struct image {
	uint8_t *data;
	uint64_t size;
	int fd;
	uint32_t block_size, blocks_count, first_data_block, blocks_per_group, inodes_per_group;
	uint32_t group_count, desc_size, inode_size, inodes_count, journal_ino;
	uint32_t seed; /* of metadata checksums */
	bool csum, gdt_csum, filetype;
};

__attribute__((noreturn, format(printf, 1, 2))) void image_die(const char *fmt, ...);
void image_open(struct image *m, const char *path);
void image_close(struct image *m);

struct ext4_super_block *image_super(struct image *m);
uint8_t *image_block(struct image *m, uint64_t pblk);
struct ext4_group_desc *image_desc(struct image *m, uint32_t group);
struct ext4_inode *image_inode(struct image *m, uint32_t ino);
uint64_t image_inode_off(struct image *m, uint32_t ino);
/* "/path", or "<N>": the inode of that number. */
uint32_t image_lookup(struct image *m, const char *path);
/* Block @lblk of a file; dies on a hole. */
uint64_t image_map(struct image *m, uint32_t ino, uint32_t lblk);
uint32_t image_file_blocks(struct image *m, uint32_t ino);
/* The entry of that name, or "@N": the Nth; *ret_pblk is its block, 0: in the inode. */
struct ext4_dir_entry_2 *image_entry(struct image *m, uint32_t ino, const char *name,
				     uint64_t *ret_pblk);
/* A tree's node: NULL path is the root in the inode; each number picks a child. */
struct image_node {
	struct ext4_extent_header *eh;
	uint64_t pblk; /* 0: in the inode */
};
struct image_node image_node(struct image *m, uint32_t ino, const uint32_t *path, uint32_t depth);
/* Blocks and inodes that nobody uses: the first, or the Nth. */
uint64_t image_free_block(struct image *m, uint32_t nth);
uint32_t image_free_inode(struct image *m, uint32_t nth);

/* Each recomputes one checksum; without metadata_csum they do nothing. */
void image_seal_super(struct image *m);
void image_seal_desc(struct image *m, uint32_t group);
void image_seal_block_bitmap(struct image *m, uint32_t group);
void image_seal_inode_bitmap(struct image *m, uint32_t group);
void image_seal_inode(struct image *m, uint32_t ino);
void image_seal_node(struct image *m, uint32_t ino, uint64_t pblk);
void image_seal_dir(struct image *m, uint32_t ino, uint64_t pblk);
void image_seal_dx(struct image *m, uint32_t ino, uint64_t pblk);
void image_seal_xattr(struct image *m, uint64_t pblk);
void image_seal_mmp(struct image *m);
void image_seal_orphans(struct image *m, uint32_t ino, uint64_t pblk);
void image_seal_journal(struct image *m);
/* Descriptor, revoke or commit block of the log; others have no checksum of their own. */
void image_seal_log(struct image *m, uint64_t pblk);
/* The copy that tag @index of the descriptor at log block @lblk describes was changed. */
void image_seal_log_data(struct image *m, uint32_t lblk, uint32_t index);
struct jbd2_block_tag3 *image_log_tag(struct image *m, uint32_t lblk, uint32_t index);

#endif
