/* SPDX-License-Identifier: GPL-2.0-only */
/* Finding structures in an image; see image.h. */
#include "tests/images/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/crc.h"

void image_die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("images: ", stderr);
	(void)vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

void image_open(struct image *m, const char *path)
{
	const struct ext4_super_block *sb;
	struct stat st;
	uint32_t incompat;

	m->fd = open(path, O_RDWR | O_CLOEXEC);
	if (m->fd < 0 || fstat(m->fd, &st))
		image_die("%s: %s", path, strerror(errno));
	m->size = (uint64_t)st.st_size;
	m->data = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (m->data == MAP_FAILED)
		image_die("%s: mmap: %s", path, strerror(errno));
	sb = image_super(m);
	if (le16_to_cpu(sb->s_magic) != EXT4_SUPER_MAGIC)
		image_die("%s: not ext4", path);
	incompat = le32_to_cpu(sb->s_feature_incompat);
	m->block_size = 1024u << le32_to_cpu(sb->s_log_block_size);
	m->blocks_count = le32_to_cpu(sb->s_blocks_count_lo);
	m->first_data_block = le32_to_cpu(sb->s_first_data_block);
	m->blocks_per_group = le32_to_cpu(sb->s_blocks_per_group);
	m->inodes_per_group = le32_to_cpu(sb->s_inodes_per_group);
	m->inodes_count = le32_to_cpu(sb->s_inodes_count);
	m->group_count = m->inodes_count / m->inodes_per_group;
	m->desc_size = incompat & EXT4_FEATURE_INCOMPAT_64BIT ? le16_to_cpu(sb->s_desc_size) : 32;
	m->inode_size = le32_to_cpu(sb->s_rev_level) ? le16_to_cpu(sb->s_inode_size) : 128;
	m->journal_ino = le32_to_cpu(sb->s_journal_inum);
	m->csum = le32_to_cpu(sb->s_feature_ro_compat) & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
	m->gdt_csum = !m->csum &&
		      (le32_to_cpu(sb->s_feature_ro_compat) & EXT4_FEATURE_RO_COMPAT_GDT_CSUM);
	m->filetype = incompat & EXT4_FEATURE_INCOMPAT_FILETYPE;
	m->seed = incompat & EXT4_FEATURE_INCOMPAT_CSUM_SEED ?
			  le32_to_cpu(sb->s_checksum_seed) :
			  crc32c(~0u, sb->s_uuid, sizeof(sb->s_uuid));
}

void image_close(struct image *m)
{
	(void)munmap(m->data, m->size);
	(void)close(m->fd);
}

struct ext4_super_block *image_super(struct image *m)
{
	return (struct ext4_super_block *)(void *)(m->data + EXT4_SUPER_OFFSET);
}

uint8_t *image_block(struct image *m, uint64_t pblk)
{
	if (pblk == 0 || pblk >= m->size / m->block_size)
		image_die("block %llu is outside the image", (unsigned long long)pblk);
	return m->data + pblk * m->block_size;
}

struct ext4_group_desc *image_desc(struct image *m, uint32_t group)
{
	uint64_t off = (uint64_t)(m->first_data_block + 1) * m->block_size +
		       (uint64_t)group * m->desc_size;

	if (group >= m->group_count)
		image_die("no group %u", group);
	return (struct ext4_group_desc *)(void *)(m->data + off);
}

uint64_t image_inode_off(struct image *m, uint32_t ino)
{
	uint32_t group = (ino - 1) / m->inodes_per_group;

	if (ino == 0 || ino > m->inodes_count)
		image_die("no inode %u", ino);
	return (uint64_t)le32_to_cpu(image_desc(m, group)->bg_inode_table_lo) * m->block_size +
	       (uint64_t)((ino - 1) % m->inodes_per_group) * m->inode_size;
}

struct ext4_inode *image_inode(struct image *m, uint32_t ino)
{
	return (struct ext4_inode *)(void *)(m->data + image_inode_off(m, ino));
}

/* ---- block maps ----------------------------------------------------------- */

static uint64_t extent_start(const struct ext4_extent *e)
{
	return (uint64_t)le16_to_cpu(e->ee_start_hi) << 32 | le32_to_cpu(e->ee_start_lo);
}

static uint64_t index_leaf(const struct ext4_extent_idx *e)
{
	return (uint64_t)le16_to_cpu(e->ei_leaf_hi) << 32 | le32_to_cpu(e->ei_leaf_lo);
}

static uint64_t map_extents(struct image *m, uint32_t ino, uint32_t lblk)
{
	struct ext4_extent_header *eh = (void *)image_inode(m, ino)->i_block;

	for (;;) {
		const struct ext4_extent *e = (const void *)(eh + 1);
		const struct ext4_extent_idx *x = (const void *)(eh + 1);
		uint32_t n = le16_to_cpu(eh->eh_entries), i = n;

		while (i > 1 && le32_to_cpu(e[i - 1].ee_block) > lblk)
			i--;
		if (i == 0)
			return 0;
		if (eh->eh_depth.raw) {
			eh = (void *)image_block(m, index_leaf(&x[i - 1]));
			continue;
		}
		e += i - 1;
		lblk -= le32_to_cpu(e->ee_block);
		n = le16_to_cpu(e->ee_len);
		if (n > EXT_INIT_MAX_LEN)
			n -= EXT_INIT_MAX_LEN;
		return lblk < n ? extent_start(e) + lblk : 0;
	}
}

static uint64_t map_indirect(struct image *m, uint32_t ino, uint32_t lblk)
{
	const struct ext4_inode *i = image_inode(m, ino);
	uint32_t per = m->block_size / 4;
	const le32 *slots;

	if (lblk < EXT4_NDIR_BLOCKS)
		return le32_to_cpu(i->i_block[lblk]);
	lblk -= EXT4_NDIR_BLOCKS;
	if (lblk < per) {
		slots = (const void *)image_block(m, le32_to_cpu(i->i_block[EXT4_IND_BLOCK]));
		return le32_to_cpu(slots[lblk]);
	}
	lblk -= per;
	slots = (const void *)image_block(m, le32_to_cpu(i->i_block[EXT4_DIND_BLOCK]));
	slots = (const void *)image_block(m, le32_to_cpu(slots[lblk / per]));
	return le32_to_cpu(slots[lblk % per]);
}

uint64_t image_map(struct image *m, uint32_t ino, uint32_t lblk)
{
	bool extents = le32_to_cpu(image_inode(m, ino)->i_flags) & EXT4_EXTENTS_FL;
	uint64_t pblk = extents ? map_extents(m, ino, lblk) : map_indirect(m, ino, lblk);

	if (!pblk)
		image_die("inode %u: block %u is a hole", ino, lblk);
	return pblk;
}

uint32_t image_file_blocks(struct image *m, uint32_t ino)
{
	return (le32_to_cpu(image_inode(m, ino)->i_size_lo) + m->block_size - 1) / m->block_size;
}

struct image_node image_node(struct image *m, uint32_t ino, const uint32_t *path, uint32_t depth)
{
	struct image_node node = { .eh = (void *)image_inode(m, ino)->i_block };

	for (uint32_t i = 0; i < depth; i++) {
		const struct ext4_extent_idx *x = (const void *)(node.eh + 1);

		if (!node.eh->eh_depth.raw || path[i] >= le16_to_cpu(node.eh->eh_entries))
			image_die("inode %u: no node %u at depth %u", ino, path[i], i);
		node.pblk = index_leaf(&x[path[i]]);
		node.eh = (void *)image_block(m, node.pblk);
	}
	return node;
}

/* ---- directories ---------------------------------------------------------- */

/* Entry @nth of @len bytes, or the one of that name. */
static struct ext4_dir_entry_2 *entry_in(uint8_t *block, uint32_t len, const char *name, int *nth)
{
	for (uint32_t off = 0; off + 12 <= len;) {
		struct ext4_dir_entry_2 *e = (void *)(block + off);

		if (*nth >= 0 ? (*nth)-- == 0 :
				(e->inode.raw && e->name_len == strlen(name) &&
				 !memcmp(e->name, name, e->name_len)))
			return e;
		if (le16_to_cpu(e->rec_len) < 12)
			break;
		off += le16_to_cpu(e->rec_len);
	}
	return NULL;
}

struct ext4_dir_entry_2 *image_entry(struct image *m, uint32_t ino, const char *name,
				     uint64_t *ret_pblk)
{
	int nth = name[0] == '@' ? (int)strtol(name + 1, NULL, 0) : -1;
	struct ext4_inode *dir = image_inode(m, ino);
	bool in_inode = le32_to_cpu(dir->i_flags) & EXT4_INLINE_DATA_FL;
	uint32_t blocks = in_inode ? 1 : image_file_blocks(m, ino);

	for (uint32_t i = 0; i < blocks; i++) {
		struct ext4_dir_entry_2 *e;
		uint8_t *entries = (uint8_t *)dir->i_block + 4; /* behind the parent's number */

		*ret_pblk = 0;
		if (!in_inode) {
			*ret_pblk = image_map(m, ino, i);
			entries = image_block(m, *ret_pblk);
		}
		e = entry_in(entries, in_inode ? EXT4_N_BLOCKS_BYTES - 4 : m->block_size, name,
			     &nth);
		if (e)
			return e;
	}
	image_die("inode %u: no entry %s", ino, name);
}

uint32_t image_lookup(struct image *m, const char *path)
{
	uint32_t ino = EXT4_ROOT_INO;

	if (path[0] == '<')
		return (uint32_t)strtoul(path + 1, NULL, 0);
	for (;;) {
		char name[EXT4_NAME_LEN + 1];
		uint64_t pblk;
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (!len)
			return ino;
		if (len > EXT4_NAME_LEN)
			image_die("name too long: %s", path);
		memcpy(name, path, len);
		name[len] = '\0';
		ino = le32_to_cpu(image_entry(m, ino, name, &pblk)->inode);
		path += len;
	}
}

/* ---- what is free --------------------------------------------------------- */

static bool bit_is_set(const uint8_t *map, uint32_t bit)
{
	return map[bit / 8] >> bit % 8 & 1;
}

/* From the end: what an allocator would take last. */
uint64_t image_free_block(struct image *m, uint32_t nth)
{
	for (uint32_t b = m->blocks_count - 1; b > m->first_data_block; b--) {
		uint32_t g = (b - m->first_data_block) / m->blocks_per_group;
		const struct ext4_group_desc *gd = image_desc(m, g);
		const uint8_t *map;

		if (le16_to_cpu(gd->bg_flags) & EXT4_BG_BLOCK_UNINIT)
			continue;
		map = image_block(m, le32_to_cpu(gd->bg_block_bitmap_lo));
		if (!bit_is_set(map, (b - m->first_data_block) % m->blocks_per_group) && nth-- == 0)
			return b;
	}
	image_die("no free block");
}

uint32_t image_free_inode(struct image *m, uint32_t nth)
{
	const struct ext4_group_desc *gd = image_desc(m, 0);
	const uint8_t *map = image_block(m, le32_to_cpu(gd->bg_inode_bitmap_lo));

	for (uint32_t i = m->inodes_per_group; i > 11; i--)
		if (!bit_is_set(map, i - 1) && nth-- == 0)
			return i;
	image_die("no free inode");
}
