/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hostile images from few bytes: a base image (bases.sh), edits of named places in it, checksums made right again, opened
 * as a block device in memory. Since an input says "the third directory block, rec_len of its second entry = 0" and not
 * "byte 81,923", mutation meets fields, and since checksums are right again, what lies behind them.
 *
 *	scene_init(kinds)			 once
 *	scene_begin(&in) -> scene_bdev() ... -> scene_end()
 *
 * An input: byte 0 the base, byte 1 SCENE_* flags, byte 2 how many edits, then the edits, EDIT_SIZE bytes each; the
 * rest is the harness's. Not for several threads at once, but the device may be used by several.
 */
#ifndef TESTS_FUZZ_SCENE_H
#define TESTS_FUZZ_SCENE_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/block/bdev.h"
#include "include/kfs/ext4_format.h"
#include "tests/fuzz/input.h"

enum place_kind {
	PLACE_SUPER,
	PLACE_DESC,
	PLACE_BLOCK_BITMAP,
	PLACE_INODE_BITMAP,
	PLACE_INODE,
	PLACE_DIR,	/* a block with names */
	PLACE_INDEX,	/* a block of an htree */
	PLACE_EXTENT,	/* a node below the root */
	PLACE_INDIRECT, /* a block of a block map */
	PLACE_XATTR,
	PLACE_ORPHAN,
	PLACE_JOURNAL_SUPER,
	PLACE_LOG, /* the first blocks of the log */
	PLACE_KINDS,
};
#define PLACE_BIT(kind) (1u << (kind))
#define PLACE_ALL (PLACE_BIT(PLACE_KINDS) - 1)

struct place {
	uint32_t kind; /* enum place_kind */
	uint32_t ino;  /* whose; 0 = nobody's */
	uint32_t lblk; /* of that inode; of descriptors and bitmaps: the group */
	uint32_t len;
	uint64_t off; /* bytes from the image's start */
};

#define PLACES_MAX 512

#define EDIT_SIZE 12
#define EDITS_MAX 32
#define SCENE_HEADER_SIZE 3

struct scene {
	char name[32];
	uint64_t size;
	uint8_t *base;		/* the image as made */
	uint8_t *bytes;		/* the image now */
	_Atomic uint8_t *dirty; /* [atomic] a byte per block: differs from the base, perhaps */
	uint32_t block_size, blocks_per_group, inodes_per_group, inode_size, desc_size;
	uint32_t group_count, first_data_block;
	struct place places[PLACES_MAX];	  /* by kind */
	uint32_t first[PLACE_KINDS + 1];	  /* where each kind begins */
	uint32_t edited[EDITS_MAX], edited_count; /* inodes whose places were edited */
};

enum {
	SCENE_KEEP_CHECKSUMS = 1u << 0, /* as the edits left them: mostly wrong */
	SCENE_READONLY = 1u << 1,
	SCENE_NORECOVERY = 1u << 2,
	SCENE_TINY_CACHE = 1u << 3,
	SCENE_SHARED = 1u << 4, /* profile share=on, where it matters */
	SCENE_CRASH = 1u << 5,	/* end as by a crash, then open again */
	SCENE_ERRORS_RO = 1u << 6,
	SCENE_FAULTS =
		1u << 7, /* the medium fails: two bytes behind the edits say when, and how often */
};

enum edit_op {
	EDIT_SET,      /* value, in arg & 3 -> 1, 2, 4, 8 bytes (or the field's size) */
	EDIT_ADD,      /* the same, added */
	EDIT_BLOCK_OF, /* the block number of another place: kind value >> 16, index value & 0xffff */
	EDIT_INO_OF,   /* its inode's number */
	EDIT_SPECIAL,	/* one of the numbers where bugs live */
	EDIT_COPY_FROM, /* the contents of another place */
	EDIT_FILL,	/* arg bytes of value */
	EDIT_MOVE,	/* arg bytes from value, inside the place */
	EDIT_BYTES,	/* arg and value, 6 bytes */
	EDIT_OPS,
};

struct edit {
	uint8_t kind, op; /* op: bit 7 = offset counts fields, not bytes */
	uint16_t place, off, arg;
	uint32_t value;
};
#define EDIT_FIELD 0x80

/* Loads the bases that have a place of @kinds. Aborts when there are none. */
void scene_init(uint32_t kinds);
uint32_t scene_kinds(void);
/* From the next input on no other base than @name. */
void scene_only(const char *name);
/* Reads header and edits of @in and makes the image. The flags are scene_flags()'. */
struct scene *scene_begin(struct input *in);
uint8_t scene_flags(void);
/* The image now, as a device; closed by its user. Several may follow each other. */
struct bdev *scene_bdev(struct scene *sc, bool readonly);
/* The base again. */
void scene_end(struct scene *sc);
/* Was a place of inode @ino edited, or none of any inode? Harnesses of one structure look at no other. */
bool scene_edited(const struct scene *sc, uint32_t ino);
/* For who changes bytes by himself between scene_begin() and scene_end(). */
void scene_touch(struct scene *sc, uint64_t off, uint64_t len);

/* places.c: fills places and geometry of a sound image. */
void scene_find_places(struct scene *sc);
/* seal.c: checksums as the image's own superblock wants them. */
void scene_seal(struct scene *sc);
/* fields.c: where field @n of @p begins; its size in *ret_size. */
uint32_t place_field(const struct scene *sc, const struct place *p, uint32_t n, uint32_t *ret_size);
uint32_t place_fields(const struct scene *sc, const struct place *p);

static inline uint32_t scene_places(const struct scene *sc, uint32_t kind)
{
	return sc->first[kind + 1] - sc->first[kind];
}

static inline uint8_t *place_bytes(const struct scene *sc, const struct place *p)
{
	return sc->bytes + p->off;
}

#endif
