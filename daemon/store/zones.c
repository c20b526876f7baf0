// SPDX-License-Identifier: GPL-2.0-only
/*
 * System zones: the blocks of fixed metadata (superblock copies, descriptors and the
 * blocks reserved for more of them, bitmaps, inode tables, the journal, the mmp
 * block), as sorted runs that do not touch. No inode may ever map, free or be given
 * a block in them, whatever its image says: a bitmap or an extent that names one is
 * corrupt.
 *
 * The set is exact: built from the same rules that place the metadata, so it also
 * says what the bitmap of a group that was never initialised holds. Written once
 * before threads; then only read.
 */
#include "daemon/store/super.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct zones {
	uint32_t count, room;
	struct block_run *runs;
};

/* Kinds come in ascending order within themselves, so most pieces extend their kind's last run. */
enum zone_kind { ZONE_BASE, ZONE_BLOCK_BITMAP, ZONE_INODE_BITMAP, ZONE_INODE_TABLE, ZONE_KINDS };

static int zone_add(struct zones *z, struct block_run *last, uint64_t pblk, uint64_t count)
{
	struct block_run *runs;

	if (last->count && last->pblk + last->count == pblk) {
		last->count += count;
		return 0;
	}
	if (last->count) {
		if (z->count == z->room) {
			z->room = z->room ? z->room * 2 : 64;
			runs = reallocarray(z->runs, z->room, sizeof(*runs));
			if (!runs)
				return -ENOMEM;
			z->runs = runs;
		}
		z->runs[z->count++] = *last;
	}
	*last = (struct block_run){ .pblk = pblk, .count = count };
	return 0;
}

/* Moves @last's run into the set. */
static int zone_flush(struct zones *z, struct block_run *last)
{
	return last->count ? zone_add(z, last, 0, 0) : 0;
}

static int collect(struct store *s, struct zones *z)
{
	struct block_run last[ZONE_KINDS] = { 0 };
	struct block_run mmp = { .pblk = s->mmp_block, .count = 1 };
	uint32_t g, k;
	int ret = 0;

	for (g = 0; g < s->group_count && !ret; g++) {
		const struct group *grp = &s->groups[g];
		uint32_t base = geometry_base_meta(s, g);

		if (base)
			ret = zone_add(z, &last[ZONE_BASE], store_group_first(s, g), base);
		if (!ret)
			ret = zone_add(z, &last[ZONE_BLOCK_BITMAP], grp->block_bitmap, 1);
		if (!ret)
			ret = zone_add(z, &last[ZONE_INODE_BITMAP], grp->inode_bitmap, 1);
		if (!ret)
			ret = zone_add(z, &last[ZONE_INODE_TABLE], grp->inode_table,
				       s->itable_blocks);
	}
	for (k = 0; k < ZONE_KINDS && !ret; k++)
		ret = zone_flush(z, &last[k]);
	for (k = 0; k < s->journal_run_count && !ret; k++) {
		struct block_run run = s->journal_runs[k];

		ret = zone_flush(z, &run);
	}
	if (!ret && s->mmp_block)
		ret = zone_flush(z, &mmp);
	return ret;
}

static int compare_runs(const void *a, const void *b)
{
	const struct block_run *x = a, *y = b;

	return x->pblk < y->pblk ? -1 : x->pblk > y->pblk;
}

int zones_build(struct store *s, struct store_open_error *err)
{
	struct zones *z = calloc(1, sizeof(*z));
	uint32_t i, out = 0;
	int ret;

	ret = z ? collect(s, z) : -ENOMEM;
	if (ret) {
		if (z)
			free(z->runs);
		free(z);
		return store_open_fail(err, ret, "free some memory", "no memory for the groups");
	}
	qsort(z->runs, z->count, sizeof(*z->runs), compare_runs);
	s->zones = z;
	for (i = 1; i < z->count; i++) {
		struct block_run *prev = &z->runs[out], *run = &z->runs[i];

		if (run->pblk < prev->pblk + prev->count)
			return store_open_fail(err, -EUCLEAN, NULL,
					       "group descriptors: block %" PRIu64
					       " holds two kinds of metadata",
					       run->pblk);
		if (run->pblk == prev->pblk + prev->count)
			prev->count += run->count;
		else
			z->runs[++out] = *run;
	}
	z->count = z->count ? out + 1 : 0;
	return 0;
}

void zones_free(struct store *s)
{
	if (!s->zones)
		return;
	free(s->zones->runs);
	free(s->zones);
	s->zones = NULL;
}

/* Index of the first run that ends after @pblk. */
static uint32_t first_after(const struct zones *z, uint64_t pblk)
{
	uint32_t lo = 0, hi = z->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (z->runs[mid].pblk + z->runs[mid].count > pblk)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

bool zones_overlap(const struct store *s, uint64_t pblk, uint64_t count)
{
	const struct zones *z = s->zones;
	uint32_t i;

	if (!z)
		return false;
	i = first_after(z, pblk);
	return i < z->count && z->runs[i].pblk < pblk + count;
}

void zones_in_group(const struct store *s, uint32_t g,
		    void (*fn)(void *arg, uint32_t first, uint32_t count), void *arg)
{
	const struct zones *z = s->zones;
	uint64_t from = store_group_first(s, g);
	uint64_t to = from + geometry_group_blocks(s, g);
	uint32_t i;

	for (i = first_after(z, from); i < z->count && z->runs[i].pblk < to; i++) {
		uint64_t first = MAX(z->runs[i].pblk, from);
		uint64_t end = MIN(z->runs[i].pblk + z->runs[i].count, to);

		fn(arg, (uint32_t)(first - from), (uint32_t)(end - first));
	}
}

bool store_pblk_valid(const struct store *s, uint64_t pblk, uint64_t count)
{
	uint64_t end;

	if (count == 0 || pblk < s->first_data_block || add_overflows(pblk, count, &end) ||
	    end > s->blocks_count || pblk == 0)
		return false;
	return !zones_overlap(s, pblk, count);
}
