// SPDX-License-Identifier: GPL-2.0-only
/*
 * The log of an image, written from the input: transactions of descriptors, copies, revokes and commits in every format,
 * checksums right unless the input wants them wrong, then edits of single bytes. Recovery answers, writes nothing when it
 * refuses, finds nothing to do the second time; what it made of the image is then mounted.
 */
#include <stdlib.h>

#include "daemon/base/crc.h"
#include "daemon/journal/journal.h"
#include "include/kfs/jbd2_format.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

#define STEPS_MAX 24
#define TAGS_MAX 12

/* The log as it is built. */
struct log_build {
	struct scene *sc;
	const struct place *blocks; /* of the log, PLACE_LOG */
	uint32_t count, at;
	uint32_t sequence, seed;
	bool v1, v2, v3, bit64;
	uint32_t crc; /* v1, of the transaction */
};

static struct rig rig;

static void put_be32(uint8_t *at, uint32_t v)
{
	be32 be = cpu_to_be32(v);

	memcpy(at, &be, sizeof(be));
}

static uint8_t *log_block(struct log_build *b)
{
	const struct place *p = &b->blocks[b->at++];

	scene_touch(b->sc, p->off, p->len);
	return place_bytes(b->sc, p);
}

static uint8_t *log_header(struct log_build *b, uint32_t type)
{
	uint8_t *d = log_block(b);

	memset(d, 0, b->sc->block_size);
	put_be32(d, JBD2_MAGIC_NUMBER);
	put_be32(d + 4, type);
	put_be32(d + 8, b->sequence);
	return d;
}

static void log_tail(struct log_build *b, uint8_t *d)
{
	if (b->v2 || b->v3)
		put_be32(d + b->sc->block_size - 4, crc32c(b->seed, d, b->sc->block_size));
}

/* Where a copy goes: another structure, the log itself, any block, or beyond the image. */
static uint64_t draw_target(struct log_build *b, struct input *in)
{
	uint8_t n = in_u8(in);
	const struct scene *sc = b->sc;
	const struct place *p = &sc->places[in_u8(in) % sc->first[PLACE_KINDS]];

	if (n < 160)
		return p->off / sc->block_size;
	if (n < 200)
		return b->blocks[n % b->count].off / sc->block_size;
	if (n < 250)
		return (uint64_t)in_u16(in) % (sc->size / sc->block_size);
	return in_u64(in);
}

/* What a copy holds: the target's bytes now, another place's, or few from the input. */
static void fill_copy(struct log_build *b, struct input *in, uint8_t *copy, uint64_t target)
{
	struct scene *sc = b->sc;
	uint32_t bs = sc->block_size;
	uint8_t n = in_u8(in);
	const struct place *p = &sc->places[in_u8(in) % sc->first[PLACE_KINDS]];

	if (n < 128 && target < sc->size / bs)
		memmove(copy, sc->bytes + target * bs, bs);
	else
		memmove(copy, sc->bytes + p->off / bs * bs, bs);
	if (n & 1)
		put_be32(copy + in_u16(in) % (bs - 4), in_u32(in));
}

static uint32_t tag_bytes(const struct log_build *b)
{
	if (b->v3)
		return sizeof(struct jbd2_block_tag3);
	return (b->bit64 ? JBD2_TAG_SIZE64 : JBD2_TAG_SIZE32) +
	       (b->v2 ? JBD2_TAG_CSUM_V2_EXTRA : 0);
}

static void put_tag(const struct log_build *b, uint8_t *at, uint64_t target, uint32_t flags,
		    uint32_t sum)
{
	put_be32(at, (uint32_t)target);
	if (b->v3) {
		put_be32(at + 4, flags);
		put_be32(at + 8, (uint32_t)(target >> 32));
		put_be32(at + 12, sum);
		return;
	}
	put_be32(at + 4, (b->v2 ? sum << 16 : 0) | (flags & 0xffff));
	if (b->bit64)
		put_be32(at + 8, (uint32_t)(target >> 32));
}

static void add_descriptor(struct log_build *b, struct input *in)
{
	uint32_t tags = 1 + in_u8(in) % TAGS_MAX, off = 12, bs = b->sc->block_size;
	uint8_t *d;

	if (b->at + 1 + tags >= b->count)
		return;
	d = log_header(b, JBD2_DESCRIPTOR_BLOCK);
	for (uint32_t i = 0; i < tags; i++) {
		uint64_t target = draw_target(b, in);
		uint32_t flags = (i ? JBD2_FLAG_SAME_UUID : 0) | (in_u8(in) & JBD2_FLAG_ESCAPE);
		uint8_t *copy = log_block(b);
		be32 seq = cpu_to_be32(b->sequence);

		fill_copy(b, in, copy, target);
		if (i == tags - 1)
			flags |= JBD2_FLAG_LAST_TAG;
		put_tag(b, d + off, target, flags,
			crc32c(crc32c(b->seed, &seq, sizeof(seq)), copy, bs));
		off += tag_bytes(b) + (i ? 0 : JBD2_TAG_UUID_SIZE);
	}
	log_tail(b, d);
	b->crc = crc32_be(b->crc, d, bs);
	for (uint32_t i = 0; i < tags; i++)
		b->crc = crc32_be(b->crc, place_bytes(b->sc, &b->blocks[b->at - tags + i]), bs);
}

static void add_revoke(struct log_build *b, struct input *in)
{
	uint32_t entries = in_u8(in) % 8, off = 16, size = b->bit64 ? 8 : 4;
	uint8_t *d;

	if (b->at + 1 >= b->count)
		return;
	d = log_header(b, JBD2_REVOKE_BLOCK);
	for (uint32_t i = 0; i < entries; i++, off += size) {
		uint64_t target = draw_target(b, in);

		if (b->bit64)
			put_be32(d + off, (uint32_t)(target >> 32));
		put_be32(d + off + size - 4, (uint32_t)target);
	}
	put_be32(d + 12, off);
	log_tail(b, d);
}

static void add_commit(struct log_build *b, struct input *in)
{
	uint8_t *d;

	if (b->at + 1 >= b->count)
		return;
	d = log_header(b, JBD2_COMMIT_BLOCK);
	put_be32(d + 0x34, 1700000000 + (uint32_t)(int8_t)in_u8(in));
	if (b->v2 || b->v3) {
		put_be32(d + 0x10, crc32c(b->seed, d, b->sc->block_size));
	} else if (b->v1) {
		d[0x0c] = JBD2_CRC32_CHKSUM;
		d[0x0d] = JBD2_CRC32_CHKSUM_SIZE;
		put_be32(d + 0x10, b->crc);
	}
	b->crc = ~0u;
	b->sequence++;
}

static void add_fast_commit(struct log_build *b, struct input *in)
{
	uint8_t *d;

	if (b->at + 1 >= b->count)
		return;
	d = log_block(b);
	in_bytes(in, d, 32);
}

/* Features and start, then the superblock's own checksum. */
static void put_super(struct log_build *b, struct input *in, const struct place *sp)
{
	uint8_t *d = place_bytes(b->sc, sp);
	uint8_t format = in_u8(in);
	uint32_t incompat = JBD2_FEATURE_INCOMPAT_REVOKE, compat = 0;

	b->v3 = (format & 3) == 3;
	b->v2 = (format & 3) == 2;
	b->v1 = (format & 3) == 1;
	b->bit64 = format & 4;
	incompat |= b->v3 ? JBD2_FEATURE_INCOMPAT_CSUM_V3 : 0;
	incompat |= b->v2 ? JBD2_FEATURE_INCOMPAT_CSUM_V2 : 0;
	incompat |= b->bit64 ? JBD2_FEATURE_INCOMPAT_64BIT : 0;
	incompat |= format & 8 ? JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT : 0;
	incompat |= format & 16 ? JBD2_FEATURE_INCOMPAT_FAST_COMMIT : 0;
	compat |= b->v1 ? JBD2_FEATURE_COMPAT_CHECKSUM : 0;
	put_be32(d + 0x18, b->sequence);
	put_be32(d + 0x1c, 1);
	put_be32(d + 0x24, compat);
	put_be32(d + 0x28, incompat);
	d[0x50] = b->v2 || b->v3 ? JBD2_CRC32C_CHKSUM : 0;
	/* A fast-commit area that takes all but the blocks that are built. */
	if (format & 16)
		put_be32(d + 0x54, 1024 - 1 - 24);
	b->seed = crc32c(~0u, d + 0x30, 16);
	if (b->v2 || b->v3) {
		put_be32(d + 0xfc, 0);
		put_be32(d + 0xfc, crc32c(~0u, d, 1024));
	}
	scene_touch(b->sc, sp->off, 1024);
}

static void build(struct scene *sc, struct input *in)
{
	struct log_build b = { .sc = sc,
			       .blocks = &sc->places[sc->first[PLACE_LOG]],
			       .count = scene_places(sc, PLACE_LOG),
			       .sequence = 1 + in_u8(in),
			       .crc = ~0u };
	uint32_t steps = in_u8(in) % STEPS_MAX;

	put_super(&b, in, &sc->places[sc->first[PLACE_JOURNAL_SUPER]]);
	for (uint32_t i = 0; i < steps && in->left; i++) {
		uint8_t step = in_u8(in);

		switch (step % 8) {
		case 0:
		case 1:
		case 2: add_descriptor(&b, in); break;
		case 3:
		case 4: add_commit(&b, in); break;
		case 5: add_revoke(&b, in); break;
		case 6: add_fast_commit(&b, in); break;
		default: b.sequence += (uint32_t)(step >> 4) - 7;
		}
	}
	/* What the edits are for when the log is built: bytes of it that are wrong after all. */
	for (uint32_t i = in_u8(in) % 4; i; i--) {
		const struct place *p = &b.blocks[in_u8(in) % b.count];

		scene_touch(sc, p->off, p->len);
		place_bytes(sc, p)[in_u16(in) % p->len] = in_u8(in);
	}
}

static void mark_needs_recovery(struct scene *sc)
{
	struct ext4_super_block *sb = (void *)(sc->bytes + EXT4_SUPER_OFFSET);

	sb->s_feature_incompat =
		cpu_to_le32(le32_to_cpu(sb->s_feature_incompat) | EXT4_FEATURE_INCOMPAT_RECOVER);
	scene_touch(sc, EXT4_SUPER_OFFSET, EXT4_SUPER_SIZE);
}

static void run(struct input *in)
{
	struct scene *sc = scene_begin(in);

	if (scene_places(sc, PLACE_LOG)) {
		mark_needs_recovery(sc);
		build(sc, in);
		if (!(scene_flags() & SCENE_KEEP_CHECKSUMS))
			scene_seal(sc);
	}
	if (!rig_open(&rig, sc)) {
		rig_walk(&rig);
		rig_operate(&rig, in, 6);
		rig_close(&rig, scene_flags() & SCENE_CRASH);
		if (!rig_open(&rig, sc))
			rig_close(&rig, false);
	}
	scene_end(sc);
}

const struct fuzz_harness fuzz_harness = {
	.run = run,
	.kinds = PLACE_BIT(PLACE_JOURNAL_SUPER) | PLACE_BIT(PLACE_LOG),
};
