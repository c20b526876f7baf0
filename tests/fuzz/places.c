// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the structures of a base image lie: a reader of its own, for sound images that e2fsprogs made, so that what is
 * edited does not depend on the code under test.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scene.h"

/* Of each kind; blocks of the log: so many transactions do. */
#define KIND_MAX 48
#define LOG_BLOCKS 40

struct finder {
	struct scene *sc;
	const struct ext4_super_block *sb;
	uint32_t kind; /* that is collected now */
	uint32_t found;
};

static const void *block_at(const struct finder *f, uint64_t pblk)
{
	FUZZ_CHECK(pblk < f->sc->size / f->sc->block_size);
	return f->sc->base + pblk * f->sc->block_size;
}

static void add(struct finder *f, struct place p)
{
	uint32_t at = f->sc->first[f->kind + 1];

	if (p.kind != f->kind || f->found >= KIND_MAX || at >= PLACES_MAX)
		return;
	f->sc->places[at] = p;
	f->sc->first[f->kind + 1]++;
	f->found++;
}

static void add_block(struct finder *f, uint32_t kind, uint32_t ino, uint32_t lblk, uint64_t pblk)
{
	uint32_t bs = f->sc->block_size;

	add(f,
	    (struct place){ .kind = kind, .ino = ino, .lblk = lblk, .len = bs, .off = pblk * bs });
}

static const struct ext4_group_desc *desc_of(const struct finder *f, uint32_t g, uint64_t *ret_off)
{
	const struct scene *sc = f->sc;
	uint32_t per_block = sc->block_size / sc->desc_size;
	uint64_t pblk = sc->first_data_block + 1 + g / per_block;

	/* With meta_bg only a first block of descriptors is read: the bases have few groups. */
	*ret_off = pblk * sc->block_size + (uint64_t)(g % per_block) * sc->desc_size;
	return (const void *)(sc->base + *ret_off);
}

static const struct ext4_inode *inode_of(const struct finder *f, uint32_t ino, uint64_t *ret_off)
{
	const struct scene *sc = f->sc;
	uint64_t unused;
	const struct ext4_group_desc *d = desc_of(f, (ino - 1) / sc->inodes_per_group, &unused);

	*ret_off = (uint64_t)le32_to_cpu(d->bg_inode_table_lo) * sc->block_size +
		   (uint64_t)((ino - 1) % sc->inodes_per_group) * sc->inode_size;
	return (const void *)(sc->base + *ret_off);
}

/* ---- what inodes point to ------------------------------------------------- */

struct owner {
	uint32_t ino;
	uint16_t mode;
	bool indexed, journal, orphans;
};

static bool is_index(const struct finder *f, const struct owner *o, uint32_t lblk, uint64_t pblk)
{
	const struct fake_dirent *de = block_at(f, pblk);

	return o->indexed && (lblk == 0 || (le32_to_cpu(de->inode) == 0 &&
					    le16_to_cpu(de->rec_len) == f->sc->block_size));
}

static void add_data(struct finder *f, const struct owner *o, uint32_t lblk, uint64_t pblk)
{
	if (o->journal) {
		if (lblk <= LOG_BLOCKS)
			add_block(f, lblk ? PLACE_LOG : PLACE_JOURNAL_SUPER, o->ino, lblk, pblk);
	} else if (o->orphans) {
		add_block(f, PLACE_ORPHAN, o->ino, lblk, pblk);
	} else if ((o->mode & EXT4_S_IFMT) == EXT4_S_IFDIR) {
		add_block(f, is_index(f, o, lblk, pblk) ? PLACE_INDEX : PLACE_DIR, o->ino, lblk,
			  pblk);
	}
}

/* Depths of the bases are small: the recursion is no deeper than 5 or 3. */
static void walk_extents(struct finder *f, const struct owner *o, const uint8_t *node)
{
	const struct ext4_extent_header *head = (const void *)node;

	FUZZ_CHECK(le16_to_cpu(head->eh_magic) == EXT4_EXT_MAGIC);
	for (uint32_t i = 0; i < le16_to_cpu(head->eh_entries); i++) {
		const uint8_t *entry = node + sizeof(*head) + i * sizeof(struct ext4_extent);
		const struct ext4_extent *ex = (const void *)entry;
		const struct ext4_extent_idx *ix = (const void *)entry;

		if (le16_to_cpu(head->eh_depth)) {
			uint32_t pblk = le32_to_cpu(ix->ei_leaf_lo);

			add_block(f, PLACE_EXTENT, o->ino, le32_to_cpu(ix->ei_block), pblk);
			walk_extents(f, o, block_at(f, pblk));
			continue;
		}
		for (uint32_t k = 0; k < le16_to_cpu(ex->ee_len); k++)
			add_data(f, o, le32_to_cpu(ex->ee_block) + k,
				 le32_to_cpu(ex->ee_start_lo) + k);
	}
}

static uint32_t walk_map(struct finder *f, const struct owner *o, uint32_t pblk, uint32_t depth,
			 uint32_t lblk)
{
	uint32_t per_block = f->sc->block_size / 4, span = 1;
	const le32 *map;

	for (uint32_t i = 0; i < depth; i++)
		span *= per_block;
	if (pblk && depth) {
		map = block_at(f, pblk);
		add_block(f, PLACE_INDIRECT, o->ino, lblk, pblk);
		for (uint32_t i = 0; i < per_block; i++)
			walk_map(f, o, le32_to_cpu(map[i]), depth - 1, lblk + i * span / per_block);
	} else if (pblk) {
		add_data(f, o, lblk, pblk);
	}
	return lblk + span;
}

static void walk_inode(struct finder *f, uint32_t ino)
{
	uint64_t off;
	const struct ext4_inode *i = inode_of(f, ino, &off);
	uint32_t flags = le32_to_cpu(i->i_flags), lblk = 0;
	struct owner o = { .ino = ino,
			   .mode = le16_to_cpu(i->i_mode),
			   .indexed = flags & EXT4_INDEX_FL,
			   .journal = ino == le32_to_cpu(f->sb->s_journal_inum),
			   .orphans = ino == le32_to_cpu(f->sb->s_orphan_file_inum) };
	uint16_t type = o.mode & EXT4_S_IFMT;

	if (!o.mode)
		return;
	add(f, (struct place){
		       .kind = PLACE_INODE, .ino = ino, .len = f->sc->inode_size, .off = off });
	if (le32_to_cpu(i->i_file_acl_lo))
		add_block(f, PLACE_XATTR, ino, 0, le32_to_cpu(i->i_file_acl_lo));
	if ((type != EXT4_S_IFDIR && type != EXT4_S_IFREG) || (flags & EXT4_INLINE_DATA_FL))
		return;
	if (flags & EXT4_EXTENTS_FL) {
		walk_extents(f, &o, (const uint8_t *)i->i_block);
		return;
	}
	for (uint32_t k = 0; k < EXT4_N_BLOCKS; k++)
		lblk = walk_map(f, &o, le32_to_cpu(i->i_block[k]),
				k < EXT4_NDIR_BLOCKS ? 0 : k - EXT4_NDIR_BLOCKS + 1, lblk);
}

/* ---- all ------------------------------------------------------------------ */

static void find_kind(struct finder *f)
{
	struct scene *sc = f->sc;

	add(f, (struct place){
		       .kind = PLACE_SUPER, .len = EXT4_SUPER_SIZE, .off = EXT4_SUPER_OFFSET });
	for (uint32_t g = 0; g < sc->group_count; g++) {
		uint64_t off;
		const struct ext4_group_desc *d = desc_of(f, g, &off);

		add(f, (struct place){
			       .kind = PLACE_DESC, .lblk = g, .len = sc->desc_size, .off = off });
		add_block(f, PLACE_BLOCK_BITMAP, 0, g, le32_to_cpu(d->bg_block_bitmap_lo));
		add_block(f, PLACE_INODE_BITMAP, 0, g, le32_to_cpu(d->bg_inode_bitmap_lo));
	}
	for (uint32_t ino = EXT4_ROOT_INO; ino <= le32_to_cpu(f->sb->s_inodes_count); ino++)
		walk_inode(f, ino);
}

void scene_find_places(struct scene *sc)
{
	struct finder f = { .sc = sc, .sb = (const void *)(sc->base + EXT4_SUPER_OFFSET) };
	uint32_t blocks = le32_to_cpu(f.sb->s_blocks_count_lo);

	FUZZ_CHECK(le16_to_cpu(f.sb->s_magic) == EXT4_SUPER_MAGIC);
	sc->block_size = 1024u << le32_to_cpu(f.sb->s_log_block_size);
	sc->blocks_per_group = le32_to_cpu(f.sb->s_blocks_per_group);
	sc->inodes_per_group = le32_to_cpu(f.sb->s_inodes_per_group);
	sc->first_data_block = le32_to_cpu(f.sb->s_first_data_block);
	sc->inode_size = le16_to_cpu(f.sb->s_inode_size);
	sc->desc_size = le32_to_cpu(f.sb->s_feature_incompat) & EXT4_FEATURE_INCOMPAT_64BIT ?
				le16_to_cpu(f.sb->s_desc_size) :
				EXT4_MIN_DESC_SIZE;
	sc->group_count =
		(blocks - sc->first_data_block + sc->blocks_per_group - 1) / sc->blocks_per_group;
	for (f.kind = 0; f.kind < PLACE_KINDS; f.kind++) {
		sc->first[f.kind + 1] = sc->first[f.kind];
		f.found = 0;
		find_kind(&f);
	}
}
