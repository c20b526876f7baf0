// SPDX-License-Identifier: GPL-2.0-only
/*
 * Extent trees and block maps of one image: verified, looked up, changed. A map that verifies still does after any
 * change that says it succeeded.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/store/alloc.h"
#include "daemon/store/map.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/storerig.h"

#define FILES_MAX 6
#define OPERATIONS_MAX 10
#define LOOKUPS_MAX 200

static uint8_t data[8192];

static void look(struct inode *i)
{
	struct map_run run;
	uint32_t lblk = 0, runs;
	uint64_t off = 0;

	for (uint32_t n = 0; n < LOOKUPS_MAX && lblk < LBLK_END; n++) {
		if (map_lookup(i, lblk, LBLK_END - lblk, &run))
			break;
		FUZZ_CHECK(run.lblk == lblk && run.count >= 1);
		FUZZ_CHECK(run.flags & MAP_HOLE || store_pblk_valid(i->store, run.pblk, run.count));
		lblk += run.count;
	}
	(void)!map_count_runs(i, &runs);
	for (uint32_t n = 0; n < 16; n++) {
		uint64_t from = off;

		if (map_seek(i, off, n & 1, &off))
			break;
		FUZZ_CHECK(off >= from);
	}
}

static uint64_t draw_offset(struct input *in)
{
	uint16_t n = in_u16(in);

	return n & 0x8000 ? (uint64_t)(n & 0x7fff) << 27 : (uint64_t)n * 8;
}

static void write_some(struct inode *i, uint64_t off, uint64_t len)
{
	struct iovec iov = { .iov_base = data, .iov_len = len % sizeof(data) };
	struct data_write w = { .iov = &iov, .iovcnt = 1, .off = off, .len = iov.iov_len };

	if (w.off <= inode_size_max(i) && w.len <= inode_size_max(i) - w.off)
		FUZZ_CHECK(data_write(i, &w) <= (ssize_t)w.len);
}

static void operate(struct inode *i, struct input *in)
{
	uint8_t op = in_u8(in);
	uint64_t off = draw_offset(in), len = draw_offset(in) + 1, max = inode_size_max(i);
	uint32_t bs = i->store->block_size;

	if (off > max || len > max - off)
		return;
	switch (op % 8) {
	case 0: (void)!inode_truncate(i, off); break;
	case 1: (void)!inode_punch(i, off, len); break;
	case 2: (void)!inode_zero_range(i, off, len, op & 0x80); break;
	case 3: (void)!inode_preallocate(i, off, MIN(len, (uint64_t)1 << 21), op & 0x80, 0); break;
	case 4:
		off = ROUND_DOWN(off, bs);
		len = ROUND_UP(len, bs);
		if (off + len < i->size)
			(void)!inode_collapse_range(i, off, len);
		break;
	case 5:
		off = ROUND_DOWN(off, bs);
		len = ROUND_UP(len, bs);
		if (off < i->size && len <= max - i->size)
			(void)!inode_insert_range(i, off, len);
		break;
	default: write_some(i, off, len);
	}
}

static void exercise(struct inode *i, struct input *in)
{
	bool sound = !map_verify(i) && !(scene_flags() & SCENE_FAULTS);

	look(i);
	if (!inode_is_reg(i) || atomic_load(&i->store->readonly))
		return;
	for (uint32_t n = 0; n < OPERATIONS_MAX && in->left; n++) {
		operate(i, in);
		if (sound)
			FUZZ_CHECK(!map_verify(i));
	}
	look(i);
}

static void run(struct input *in)
{
	struct scene *sc = scene_begin(in);
	struct store *s = storerig_open(sc);
	uint32_t done = 0;

	for (uint32_t p = sc->first[PLACE_INODE]; s && p < sc->first[PLACE_INODE + 1]; p++) {
		struct inode *i;

		if (!scene_edited(sc, sc->places[p].ino))
			continue;
		i = storerig_inode(s, sc->places[p].ino);
		if (!i)
			continue;
		if (inode_is_reg(i) && done < FILES_MAX) {
			done++;
			exercise(i, in);
		}
		storerig_put(i);
	}
	if (s)
		storerig_close(s);
	scene_end(sc);
}

const struct fuzz_harness fuzz_harness = {
	.run = run,
	.kinds = PLACE_BIT(PLACE_EXTENT) | PLACE_BIT(PLACE_INDIRECT) | PLACE_BIT(PLACE_INODE) |
		 PLACE_BIT(PLACE_BLOCK_BITMAP),
};
