// SPDX-License-Identifier: GPL-2.0-only
/*
 * Block maps. See indirect.h.
 *
 * A walk pins the arrays of block numbers from i_block down to the one that holds
 * an lblk, or to the first that has a hole where the next should hang. The depth
 * follows from the lblk alone (at most 3), so a map whose blocks point at each other
 * cannot loop. Each number of an array is checked once, when the block is first
 * read; whatever was written by us stays checked.
 *
 * Arrays are freed as soon as they hold nothing, so no empty ones pile up; empty
 * ones that others left are freed when a removal passes them.
 */
#include "daemon/store/indirect.h"

#include <errno.h>

#include "daemon/base/check.h"
#include "daemon/store/map_impl.h"

#define INDIRECT_DEPTH_MAX 3

struct walk {
	uint32_t depth; /* indirect blocks above the data: 0..3 */
	uint32_t level; /* deepest array that exists */
	uint32_t base;	/* first lblk that this depth addresses */
	uint32_t idx[INDIRECT_DEPTH_MAX + 1];
	uint32_t size[INDIRECT_DEPTH_MAX + 1]; /* entries; of i_block those of the depth */
	le32 *array[INDIRECT_DEPTH_MAX + 1];
	struct buf *buf[INDIRECT_DEPTH_MAX + 1]; /* [0] is NULL: i_block */
};

static uint32_t addr_per_block(const struct inode *i)
{
	return map_block_size(i) / (uint32_t)sizeof(le32);
}

static uint32_t addr_bits(const struct inode *i)
{
	return i->store->block_bits - 2;
}

uint64_t indirect_blocks_max(const struct inode *i)
{
	uint64_t a = addr_per_block(i);
	uint64_t blocks = EXT4_NDIR_BLOCKS + a + a * a + a * a * a;

	return MIN(blocks, (uint64_t)LBLK_END);
}

/* How many lblks one entry of the array at @level stands for. */
static uint64_t entry_span(const struct inode *i, const struct walk *w, uint32_t level)
{
	return UINT64_C(1) << (addr_bits(i) * (w->depth - level));
}

static void walk_plan(const struct inode *i, uint32_t lblk, struct walk *w)
{
	uint32_t bits = addr_bits(i), a = addr_per_block(i);
	uint64_t rel = lblk, span = a;

	CHECK(lblk < indirect_blocks_max(i));
	memset(w, 0, sizeof(*w));
	w->array[0] = (le32 *)(void *)i->i_block;
	if (rel < EXT4_NDIR_BLOCKS) {
		w->idx[0] = lblk;
		w->size[0] = EXT4_NDIR_BLOCKS;
		return;
	}
	rel -= EXT4_NDIR_BLOCKS;
	for (w->depth = 1; rel >= span; w->depth++) {
		rel -= span;
		span *= a;
	}
	w->base = (uint32_t)(lblk - rel);
	w->idx[0] = EXT4_IND_BLOCK + w->depth - 1;
	w->size[0] = w->idx[0] + 1;
	for (uint32_t l = 1; l <= w->depth; l++) {
		w->idx[l] = (uint32_t)(rel >> (bits * (w->depth - l))) & (a - 1);
		w->size[l] = a;
	}
}

static int check_array(const struct inode *i, const le32 *array, uint32_t count, uint64_t pblk)
{
	for (uint32_t k = 0; k < count; k++) {
		uint32_t v = le32_to_cpu(array[k]);

		if (v != 0 && !store_pblk_valid(i->store, v, 1))
			return store_corrupt(i->store, i->ino, pblk,
					     "block map points to a block that no file may have");
	}
	return 0;
}

static int check_root(struct inode *i)
{
	int r;

	if (atomic_load(&i->state) & INODE_VERIFIED_MAP)
		return 0;
	r = check_array(i, (const le32 *)(const void *)i->i_block, EXT4_N_BLOCKS, 0);
	if (r == 0)
		atomic_fetch_or(&i->state, INODE_VERIFIED_MAP);
	return r;
}

static int read_array(struct inode *i, uint32_t pblk, struct walk *w, uint32_t level)
{
	int r;

	r = buf_read(i->store->cache, pblk, &w->buf[level]);
	if (r < 0)
		return r;
	w->array[level] = (le32 *)(void *)w->buf[level]->data;
	if (!buf_verified(w->buf[level])) {
		r = check_array(i, w->array[level], w->size[level], pblk);
		if (r < 0)
			return r;
		buf_set_verified(w->buf[level]);
	}
	w->level = level;
	return 0;
}

static void walk_put(struct walk *w)
{
	for (uint32_t l = 1; l <= INDIRECT_DEPTH_MAX; l++) {
		if (w->buf[l])
			buf_put(w->buf[l]);
		w->buf[l] = NULL;
	}
}

static uint32_t walk_get(const struct walk *w, uint32_t level, uint32_t idx)
{
	return le32_to_cpu(w->array[level][idx]);
}

static int walk_find(struct inode *i, uint32_t lblk, struct walk *w)
{
	int r;

	walk_plan(i, lblk, w);
	r = check_root(i);
	while (r == 0 && w->level < w->depth) {
		uint32_t pblk = walk_get(w, w->level, w->idx[w->level]);

		if (pblk == 0)
			return 0;
		r = read_array(i, pblk, w, w->level + 1);
	}
	if (r < 0)
		walk_put(w);
	return r;
}

/* Blocks from @lblk on that are certainly a hole as seen from @w, whose entry there is zero. */
static uint64_t hole_span(const struct inode *i, const struct walk *w, uint32_t lblk)
{
	uint64_t span = entry_span(i, w, w->level);
	uint64_t blocks = span - (lblk - w->base) % span;

	for (uint32_t k = w->idx[w->level] + 1; k < w->size[w->level]; k++) {
		if (walk_get(w, w->level, k) != 0)
			break;
		blocks += span;
	}
	return blocks;
}

/* Blocks that follow each other in file and image, from @w's entry on. */
static uint32_t mapped_span(const struct walk *w, uint32_t max)
{
	uint32_t l = w->level, first = walk_get(w, l, w->idx[l]), n = 1;

	while (n < max && w->idx[l] + n < w->size[l] && walk_get(w, l, w->idx[l] + n) == first + n)
		n++;
	return n;
}

static uint64_t walk_goal(const struct walk *w)
{
	uint32_t l = w->level;

	if (l < w->depth)
		return l > 0 ? w->buf[l]->pblk + 1 : 0;
	for (uint32_t k = w->idx[l]; k-- > 0;)
		if (walk_get(w, l, k) != 0)
			return (uint64_t)walk_get(w, l, k) + (w->idx[l] - k);
	return l > 0 ? w->buf[l]->pblk + 1 : 0;
}

int indirect_lookup(struct inode *i, uint32_t lblk, uint32_t max, struct map_run *ret_run,
		    uint64_t *ret_goal)
{
	uint64_t end = indirect_blocks_max(i), cur = lblk, stop = (uint64_t)lblk + max;

	*ret_run = (struct map_run){ .lblk = lblk, .count = max, .flags = MAP_HOLE };
	*ret_goal = 0;
	while (cur < stop && cur < end) {
		struct walk w;
		uint32_t pblk = 0;
		int r;

		r = walk_find(i, (uint32_t)cur, &w);
		if (r < 0)
			return r;
		if (w.level == w.depth)
			pblk = walk_get(&w, w.level, w.idx[w.level]);
		if (pblk != 0 && cur == lblk) {
			ret_run->count = mapped_span(&w, max);
			ret_run->pblk = pblk;
			ret_run->flags = 0;
		}
		if (pblk == 0 && cur == lblk)
			*ret_goal = walk_goal(&w);
		if (pblk == 0)
			cur += hole_span(i, &w, (uint32_t)cur);
		walk_put(&w);
		if (pblk != 0) {
			if (cur > lblk)
				ret_run->count = (uint32_t)(cur - lblk);
			return 0;
		}
	}
	return 0;
}

uint32_t indirect_insert_max(const struct inode *i, uint32_t lblk)
{
	struct walk w;

	if (lblk >= indirect_blocks_max(i))
		return 1;
	walk_plan(i, lblk, &w);
	return w.size[w.depth] - w.idx[w.depth];
}

/* Hang a new, empty array below @w's entry. */
static int grow_walk(struct handle *h, struct inode *i, struct walk *w)
{
	uint32_t l = w->level;
	struct buf *b;
	int r;

	if (w->buf[l]) {
		r = journal_get_write(h, w->buf[l]);
		if (r < 0)
			return r;
	}
	r = map_meta_alloc(h, i, walk_goal(w), 0, &b);
	if (r < 0)
		return r;
	buf_set_verified(b); /* all holes */
	journal_dirty(h, b, 0, map_block_size(i));
	w->array[l][w->idx[l]] = cpu_to_le32((uint32_t)b->pblk);
	if (w->buf[l])
		journal_dirty(h, w->buf[l], w->idx[l] * (uint32_t)sizeof(le32), sizeof(le32));
	w->buf[l + 1] = b;
	w->array[l + 1] = (le32 *)(void *)b->data;
	w->level = l + 1;
	return 0;
}

/* Fill the part of @run that @w's array holds; *ret_count says how much. */
static int fill_array(struct handle *h, struct inode *i, struct walk *w, const struct map_run *run,
		      uint32_t *ret_count)
{
	uint32_t l = w->level, idx = w->idx[l];
	uint32_t n = MIN(run->count, w->size[l] - idx);
	int r;

	for (uint32_t k = 0; k < n; k++)
		if (walk_get(w, l, idx + k) != 0)
			return store_corrupt(i->store, i->ino, 0, "blocks mapped twice");
	if (w->buf[l]) {
		r = journal_get_write(h, w->buf[l]);
		if (r < 0)
			return r;
	}
	for (uint32_t k = 0; k < n; k++)
		w->array[l][idx + k] = cpu_to_le32((uint32_t)(run->pblk + k));
	if (w->buf[l])
		journal_dirty(h, w->buf[l], idx * (uint32_t)sizeof(le32),
			      n * (uint32_t)sizeof(le32));
	*ret_count = n;
	return 0;
}

int indirect_insert(struct handle *h, struct inode *i, const struct map_run *run)
{
	struct map_run rest = *run;

	if (run->flags & MAP_UNWRITTEN)
		return -EOPNOTSUPP;
	if (run->lblk + (uint64_t)run->count > indirect_blocks_max(i) ||
	    run->pblk + run->count - 1 > UINT32_MAX)
		return -EFBIG;
	while (rest.count > 0) {
		struct walk w;
		uint32_t n = 0;
		int r;

		r = walk_find(i, rest.lblk, &w);
		if (r < 0)
			return r;
		while (r == 0 && w.level < w.depth)
			r = grow_walk(h, i, &w);
		if (r == 0)
			r = fill_array(h, i, &w, &rest, &n);
		walk_put(&w);
		if (r < 0)
			return r;
		rest.lblk += n;
		rest.pblk += n;
		rest.count -= n;
	}
	return 0;
}

/* Does the array at @level hold anything outside [from, to)? */
static bool array_has_other(const struct walk *w, uint32_t level, uint32_t from, uint32_t to)
{
	for (uint32_t k = 0; k < w->size[level]; k++)
		if ((k < from || k >= to) && walk_get(w, level, k) != 0)
			return true;
	return false;
}

/*
 * Entries [from, to) of @w's deepest array are to go. Arrays that hold nothing else
 * go with them: they are not changed, only forgotten, and the lowest array that stays
 * loses its pointer.
 */
static int clear_entries(struct handle *h, struct inode *i, struct walk *w, uint32_t from,
			 uint32_t to)
{
	uint64_t freed[INDIRECT_DEPTH_MAX];
	uint32_t l = w->level, count = 0;
	int r = 0;

	while (l > 0 && !array_has_other(w, l, from, to)) {
		freed[count++] = w->buf[l]->pblk;
		l--;
		from = w->idx[l];
		to = from + 1;
	}
	if (w->buf[l])
		r = journal_get_write(h, w->buf[l]);
	if (r < 0)
		return r;
	for (uint32_t k = from; k < to; k++)
		w->array[l][k] = cpu_to_le32(0);
	if (w->buf[l])
		journal_dirty(h, w->buf[l], from * (uint32_t)sizeof(le32),
			      (to - from) * (uint32_t)sizeof(le32));
	for (uint32_t k = 0; r == 0 && k < count; k++)
		r = map_meta_free(h, i, freed[k]);
	return r;
}

/* The run of blocks that ends with entry @k of @w's array, not reaching below entry @low. */
static uint32_t run_before(const struct inode *i, const struct walk *w, uint32_t k, uint32_t low)
{
	const struct store *s = i->store;
	uint32_t l = w->level, from = k;
	uint64_t group_first = store_group_first(s, store_group_of(s, walk_get(w, l, k)));

	while (from > low && walk_get(w, l, from - 1) + 1 == walk_get(w, l, from) &&
	       walk_get(w, l, from) > group_first)
		from--;
	return from;
}

/* First lblk of the array at @level; for i_block, of what its last entry reached addresses. */
static uint32_t array_start(const struct inode *i, const struct walk *w, uint32_t level,
			    uint32_t lblk)
{
	uint64_t rel = lblk - w->base;

	if (level == 0)
		return w->base;
	return (uint32_t)(lblk - rel % entry_span(i, w, level - 1));
}

/*
 * Search back from *last in @w's deepest array. True: entry *ret_k is the last in use
 * and *last the last lblk it stands for. False: nothing at or after @first is in use.
 */
static bool find_back(const struct inode *i, const struct walk *w, uint32_t first, uint32_t *last,
		      uint32_t *ret_k)
{
	uint32_t l = w->level, start = array_start(i, w, l, *last);
	uint64_t span = entry_span(i, w, l);

	for (uint32_t k = w->idx[l] + 1; k-- > 0;) {
		if (w->depth > 0 && l == 0 && k < w->idx[0])
			break; /* the rest of i_block belongs to lower depths */
		if (walk_get(w, l, k) != 0) {
			uint64_t at = w->depth == 0 ? k :
				      l == 0	    ? w->base :
						      start + (uint64_t)k * span;

			*last = (uint32_t)MIN(*last, at + span - 1);
			*ret_k = k;
			return *last >= first;
		}
	}
	*last = start > 0 ? start - 1 : 0;
	return false;
}

int indirect_remove_step(struct handle *h, struct inode *i, uint32_t first, uint32_t *last,
			 bool *ret_more)
{
	uint32_t at = (uint32_t)MIN((uint64_t)*last, indirect_blocks_max(i) - 1), start, k = 0, l;
	struct map_run run = { .count = 0 };
	struct walk w;
	bool found;
	int r;

	*ret_more = false;
	if (at < first)
		return 0;
	r = walk_find(i, at, &w);
	if (r < 0)
		return r;
	l = w.level;
	start = array_start(i, &w, l, at);
	found = find_back(i, &w, first, &at, &k);
	if (found && l == w.depth) {
		uint32_t low = first > start ? first - start : 0;
		uint32_t from = run_before(i, &w, k, low);

		run.pblk = walk_get(&w, l, from);
		run.count = k + 1 - from;
		r = balloc_free_prepare(h, i->store, run.pblk);
		if (r == 0)
			r = clear_entries(h, i, &w, from, k + 1);
		at = start + from;
		*ret_more = r == 0 && at > first;
		at = at > 0 ? at - 1 : 0;
	} else if (found) {
		*ret_more = true; /* go down the subtree that ends at the new position */
	} else {
		if (l > 0 && !array_has_other(&w, l, 0, 0))
			r = clear_entries(h, i, &w, 0, 0);
		*ret_more = r == 0 && start > first;
	}
	walk_put(&w);
	if (r == 0 && run.count > 0)
		r = map_data_free(h, i, run.pblk, run.count);
	*last = at;
	return r;
}

int indirect_count_runs(struct inode *i, uint32_t *ret_runs)
{
	uint64_t lblk = 0, end = indirect_blocks_max(i), next_pblk = 0;
	uint32_t runs = 0;

	while (lblk < end) {
		struct map_run run;
		uint64_t goal;
		int r;

		r = indirect_lookup(i, (uint32_t)lblk, (uint32_t)(end - lblk), &run, &goal);
		if (r < 0)
			return r;
		if (run.flags & MAP_HOLE) {
			next_pblk = 0;
		} else {
			runs += run.pblk != next_pblk;
			next_pblk = run.pblk + run.count;
		}
		lblk += run.count;
	}
	*ret_runs = runs;
	return 0;
}
