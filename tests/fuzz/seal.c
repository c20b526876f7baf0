// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checksums of all places of an image, computed from the specification and not by the code under test. Seeds come from
 * the superblock as it is now: an edit of the identifier moves them all.
 */
#include "daemon/base/crc.h"
#include "tests/fuzz/scene.h"

struct seal {
	struct scene *sc;
	struct ext4_super_block *sb;
	bool csum, gdt_csum;
	uint32_t seed;
};

static void put16(struct seal *s, uint8_t *at, uint32_t v)
{
	uint8_t bytes[2] = { (uint8_t)v, (uint8_t)(v >> 8) };

	if (memcmp(at, bytes, sizeof(bytes)) != 0) {
		memcpy(at, bytes, sizeof(bytes));
		scene_touch(s->sc, (uint64_t)(at - s->sc->bytes), sizeof(bytes));
	}
}

static void put32(struct seal *s, void *at, uint32_t v)
{
	put16(s, at, v);
	put16(s, (uint8_t *)at + 2, v >> 16);
}

static const uint8_t zero[4];

/* The seed of what belongs to an inode. */
static uint32_t owner_seed(const struct seal *s, const struct place *p)
{
	const struct scene *sc = s->sc;
	le32 ino = cpu_to_le32(p->ino);

	for (uint32_t i = sc->first[PLACE_INODE]; i < sc->first[PLACE_INODE + 1]; i++) {
		const struct ext4_inode *d = (const void *)place_bytes(sc, &sc->places[i]);

		if (sc->places[i].ino == p->ino)
			return crc32c(crc32c(s->seed, &ino, sizeof(ino)), &d->i_generation, 4);
	}
	return s->seed;
}

static void seal_bitmap(struct seal *s, const struct place *p)
{
	const struct scene *sc = s->sc;
	bool blocks = p->kind == PLACE_BLOCK_BITMAP;
	const struct place *dp = &sc->places[sc->first[PLACE_DESC] + p->lblk];
	uint32_t len = (blocks ? sc->blocks_per_group : sc->inodes_per_group) / 8;
	struct ext4_group_desc *d = (void *)place_bytes(sc, dp);
	uint32_t crc = crc32c(s->seed, place_bytes(sc, p), MIN(len, p->len));

	put16(s, (void *)(blocks ? &d->bg_block_bitmap_csum_lo : &d->bg_inode_bitmap_csum_lo), crc);
	if (sc->desc_size >= EXT4_MIN_DESC_SIZE_64BIT)
		put16(s,
		      (void *)(blocks ? &d->bg_block_bitmap_csum_hi : &d->bg_inode_bitmap_csum_hi),
		      crc >> 16);
}

static void seal_desc(struct seal *s, const struct place *p)
{
	const uint32_t at = offsetof(struct ext4_group_desc, bg_checksum);
	const uint32_t rest = EXT4_MIN_DESC_SIZE;
	uint8_t *d = place_bytes(s->sc, p);
	le32 group = cpu_to_le32(p->lblk);
	uint32_t crc;

	if (s->csum) {
		crc = crc32c(s->seed, &group, sizeof(group));
		crc = crc32c(crc32c(crc, d, at), zero, 2);
		if (p->len > rest)
			crc = crc32c(crc, d + rest, p->len - rest);
	} else {
		crc = crc16(0xffff, s->sb->s_uuid, sizeof(s->sb->s_uuid));
		crc = crc16((uint16_t)crc, &group, sizeof(group));
		crc = crc16((uint16_t)crc, d, at);
		if (p->len > rest)
			crc = crc16((uint16_t)crc, d + rest, p->len - rest);
	}
	put16(s, d + at, crc);
}

static void seal_inode(struct seal *s, const struct place *p)
{
	const uint32_t lo = offsetof(struct ext4_inode, i_checksum_lo);
	const uint32_t hi = offsetof(struct ext4_inode, i_checksum_hi);
	uint8_t *d = place_bytes(s->sc, p);
	uint32_t crc = owner_seed(s, p);
	bool wide = p->len > EXT4_GOOD_OLD_INODE_SIZE &&
		    le16_to_cpu(((struct ext4_inode *)d)->i_extra_isize) >=
			    hi + 2 - EXT4_GOOD_OLD_INODE_SIZE;

	crc = crc32c(crc32c(crc, d, lo), zero, 2);
	crc = crc32c(crc, d + lo + 2, EXT4_GOOD_OLD_INODE_SIZE - lo - 2);
	if (p->len > EXT4_GOOD_OLD_INODE_SIZE && wide) {
		crc = crc32c(crc, d + EXT4_GOOD_OLD_INODE_SIZE, hi - EXT4_GOOD_OLD_INODE_SIZE);
		crc = crc32c(crc32c(crc, zero, 2), d + hi + 2, p->len - hi - 2);
	} else if (p->len > EXT4_GOOD_OLD_INODE_SIZE) {
		crc = crc32c(crc, d + EXT4_GOOD_OLD_INODE_SIZE, p->len - EXT4_GOOD_OLD_INODE_SIZE);
	}
	put16(s, d + lo, crc);
	if (wide)
		put16(s, d + hi, crc >> 16);
}

static void seal_leaf(struct seal *s, const struct place *p)
{
	uint8_t *d = place_bytes(s->sc, p);
	struct ext4_dir_entry_tail *t = (void *)(d + p->len - sizeof(*t));

	if (t->det_reserved_ft == EXT4_FT_DIR_CSUM)
		put32(s, &t->det_checksum,
		      crc32c(owner_seed(s, p), d, p->len - (uint32_t)sizeof(*t)));
}

static void seal_index(struct seal *s, const struct place *p)
{
	uint8_t *d = place_bytes(s->sc, p);
	uint32_t off = p->lblk == 0 ? offsetof(struct dx_root, entries) :
				      offsetof(struct dx_node, entries);
	uint32_t limit = (p->len - off - (uint32_t)sizeof(struct dx_tail)) /
			 (uint32_t)sizeof(struct dx_entry);
	const struct dx_countlimit *c = (const void *)(d + off);
	struct dx_tail *t = (void *)(d + off + limit * sizeof(struct dx_entry));
	uint32_t used = MIN((uint32_t)le16_to_cpu(c->count), limit);
	uint32_t crc = crc32c(owner_seed(s, p), d, off + used * sizeof(struct dx_entry));

	crc = crc32c(crc, &t->dt_reserved, sizeof(t->dt_reserved));
	put32(s, &t->dt_checksum, crc32c(crc, zero, sizeof(zero)));
}

static void seal_extent(struct seal *s, const struct place *p)
{
	uint8_t *d = place_bytes(s->sc, p);
	const struct ext4_extent_header *head = (const void *)d;
	uint32_t tail = (uint32_t)sizeof(*head) +
			le16_to_cpu(head->eh_max) * (uint32_t)sizeof(struct ext4_extent);

	if (tail + sizeof(struct ext4_extent_tail) <= p->len)
		put32(s, d + tail, crc32c(owner_seed(s, p), d, tail));
}

static void seal_xattr(struct seal *s, const struct place *p)
{
	const uint32_t off = offsetof(struct ext4_xattr_header, h_checksum);
	uint8_t *d = place_bytes(s->sc, p);
	uint64_t pblk = p->off / s->sc->block_size;
	uint8_t where[8];
	uint32_t crc;

	for (uint32_t i = 0; i < 8; i++)
		where[i] = (uint8_t)(pblk >> (8 * i));
	crc = crc32c(crc32c(s->seed, where, sizeof(where)), d, off);
	crc = crc32c(crc32c(crc, zero, sizeof(zero)), d + off + 4, p->len - off - 4);
	put32(s, d + off, crc);
}

static void seal_orphan(struct seal *s, const struct place *p)
{
	uint8_t *d = place_bytes(s->sc, p);
	struct ext4_orphan_block_tail *t = (void *)(d + p->len - sizeof(*t));
	uint64_t pblk = p->off / s->sc->block_size;
	uint8_t where[8];
	uint32_t crc = owner_seed(s, p);

	for (uint32_t i = 0; i < 8; i++)
		where[i] = (uint8_t)(pblk >> (8 * i));
	crc = crc32c(crc, where, sizeof(where));
	put32(s, &t->ob_checksum, crc32c(crc, d, p->len - (uint32_t)sizeof(*t)));
}

static void seal_journal_super(struct seal *s, const struct place *p)
{
	const uint32_t off = 0xfc;
	uint8_t *d = place_bytes(s->sc, p);
	uint32_t crc = crc32c(crc32c(~0u, d, off), zero, sizeof(zero));
	uint8_t be[4];

	/* s_feature_incompat, big-endian: checksums v2 or v3. */
	if (!(d[0x2b] & 0x18))
		return;
	crc = crc32c(crc, d + off + 4, 1024 - off - 4);
	for (uint32_t i = 0; i < 4; i++)
		be[i] = (uint8_t)(crc >> (24 - 8 * i));
	if (memcmp(d + off, be, sizeof(be)) != 0) {
		memcpy(d + off, be, sizeof(be));
		scene_touch(s->sc, p->off, 1024);
	}
}

static void seal_kind(struct seal *s, uint32_t kind,
		      void (*fn)(struct seal *, const struct place *))
{
	for (uint32_t i = s->sc->first[kind]; i < s->sc->first[kind + 1]; i++)
		fn(s, &s->sc->places[i]);
}

void scene_seal(struct scene *sc)
{
	struct seal s = { .sc = sc, .sb = (void *)(sc->bytes + EXT4_SUPER_OFFSET) };
	uint32_t ro_compat = le32_to_cpu(s.sb->s_feature_ro_compat);

	s.csum = ro_compat & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
	s.gdt_csum = ro_compat & EXT4_FEATURE_RO_COMPAT_GDT_CSUM;
	s.seed = le32_to_cpu(s.sb->s_feature_incompat) & EXT4_FEATURE_INCOMPAT_CSUM_SEED ?
			 le32_to_cpu(s.sb->s_checksum_seed) :
			 crc32c(~0u, s.sb->s_uuid, sizeof(s.sb->s_uuid));
	seal_kind(&s, PLACE_JOURNAL_SUPER, seal_journal_super);
	if (s.csum) {
		seal_kind(&s, PLACE_INODE, seal_inode);
		seal_kind(&s, PLACE_DIR, seal_leaf);
		seal_kind(&s, PLACE_INDEX, seal_index);
		seal_kind(&s, PLACE_EXTENT, seal_extent);
		seal_kind(&s, PLACE_XATTR, seal_xattr);
		seal_kind(&s, PLACE_ORPHAN, seal_orphan);
		seal_kind(&s, PLACE_BLOCK_BITMAP, seal_bitmap);
		seal_kind(&s, PLACE_INODE_BITMAP, seal_bitmap);
	}
	if (s.csum || s.gdt_csum)
		seal_kind(&s, PLACE_DESC, seal_desc);
	if (s.csum)
		put32(&s, &s.sb->s_checksum,
		      crc32c(~0u, s.sb, offsetof(struct ext4_super_block, s_checksum)));
}
