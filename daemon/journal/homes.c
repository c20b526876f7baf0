// SPDX-License-Identifier: GPL-2.0-only
/*
 * What recovery brings home: the last copy of each block, in the order of the blocks.
 *
 * A log repeats itself: a bitmap or an inode's block has a copy in every transaction that
 * touched it, and only the last one counts. Writing each block once, ascending, with
 * neighbours in one call, lets a sparse image file grow in order and a disk seek once.
 *
 * Invariants
 * (1) Nothing is written before homes_write(): a caller that finds the log corrupt half
 *     way has changed nothing.
 * (2) Of the copies of one block the one added last is written.
 * (3) No copy lands in the log itself: it would change copies that are still to be
 *     read. No journal logs its own blocks; a log that claims so is corrupt.
 */
#include "daemon/journal/journal_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RUN_BLOCKS 256
#define ROOM_FIRST 1024u

void homes_fini(struct homes *h)
{
	free(h->list);
	*h = (struct homes){ 0 };
}

int homes_add(struct homes *h, uint64_t pblk, uint32_t lblk, bool escaped)
{
	if (h->count == h->room) {
		uint32_t room = h->room ? h->room * 2 : ROOM_FIRST;
		struct home *list;

		if (room < h->room)
			return -ENOMEM;
		list = reallocarray(h->list, room, sizeof(*list));
		if (!list)
			return -ENOMEM;
		h->list = list;
		h->room = room;
	}
	h->list[h->count] = (struct home){
		.pblk = pblk,
		.lblk = lblk,
		.order = h->count,
		.escaped = escaped,
	};
	h->count++;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct home *x = a, *y = b;

	if (x->pblk != y->pblk)
		return x->pblk < y->pblk ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* Sorted, with the last copy of each block alone. */
static void settle(struct homes *h)
{
	uint32_t kept = 0;

	if (h->count == 0)
		return;
	qsort(h->list, h->count, sizeof(*h->list), compare);
	for (uint32_t k = 0; k < h->count; k++) {
		if (k + 1 < h->count && h->list[k + 1].pblk == h->list[k].pblk)
			continue;
		h->list[kept++] = h->list[k];
	}
	h->count = kept;
}

/* How many of @list, at most @max, are neighbours at home. */
static uint32_t run_of(const struct home *list, uint32_t max)
{
	uint32_t count = 1;

	while (count < max && list[count].pblk == list[0].pblk + count)
		count++;
	return count;
}

/* How many of @list, at most @max, are neighbours in the log. */
static uint32_t read_run_of(const struct log *log, const struct home *list, uint32_t max)
{
	uint32_t count = 1;

	max = MIN(max, log_run_left(log, list[0].lblk));
	while (count < max && list[count].lblk == list[0].lblk + count)
		count++;
	return count;
}

static int read_copies(const struct log *log, const struct home *list, uint32_t count, uint8_t *buf,
		       const char **ret_what)
{
	const be32 magic = cpu_to_be32(JBD2_MAGIC_NUMBER);
	uint32_t bs = log->block_size;
	uint32_t done = 0;

	while (done < count) {
		uint32_t run = read_run_of(log, list + done, count - done);
		int err = bdev_read(log->bdev, buf + (size_t)done * bs, (size_t)run * bs,
				    log_block_addr(log, list[done].lblk) * bs);

		if (err) {
			*ret_what = log_say("journal block %u: cannot be read", list[done].lblk);
			return err;
		}
		done += run;
	}
	for (uint32_t k = 0; k < count; k++) {
		if (list[k].escaped)
			memcpy(buf + (size_t)k * bs, &magic, sizeof(magic));
	}
	return 0;
}

/* Invariant (3), of a settled list: the first home at or behind @pblk. */
static const struct home *first_from(const struct homes *h, uint64_t pblk)
{
	uint32_t low = 0, high = h->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (h->list[middle].pblk < pblk)
			low = middle + 1;
		else
			high = middle;
	}
	return low < h->count ? &h->list[low] : NULL;
}

static int spare_the_log(const struct homes *h, const struct log *log, const char **ret_what)
{
	for (uint32_t k = 0; k < log->run_count; k++) {
		const struct log_run *run = &log->runs[k];
		const struct home *home = first_from(h, run->pblk);

		if (!home || home->pblk >= run->pblk + run->count)
			continue;
		*ret_what =
			log_say("journal block %u: holds block %llu, which is the journal's own",
				home->lblk, (unsigned long long)home->pblk);
		return -EUCLEAN;
	}
	return 0;
}

int homes_write(struct homes *h, const struct log *log, const char **ret_what)
{
	uint32_t bs = log->block_size;
	uint32_t done = 0;
	uint8_t *buf;
	int err;

	settle(h);
	err = spare_the_log(h, log, ret_what);
	if (err)
		return err;
	buf = malloc((size_t)RUN_BLOCKS * bs);
	if (!buf)
		return -ENOMEM;
	while (!err && done < h->count) {
		const struct home *list = h->list + done;
		uint32_t run = run_of(list, MIN(h->count - done, (uint32_t)RUN_BLOCKS));

		err = read_copies(log, list, run, buf, ret_what);
		if (err)
			break;
		err = bdev_write(log->bdev, buf, (size_t)run * bs, list[0].pblk * bs);
		if (err)
			*ret_what = log_say("block %llu: cannot be written",
					    (unsigned long long)list[0].pblk);
		done += run;
	}
	free(buf);
	return err;
}
