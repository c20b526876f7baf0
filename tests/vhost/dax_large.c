/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dax large: a window that is too large for slots. A file's ranges are mapped in thousands of places and given up as a guest's
 * kernel does it; then beyond that, to where mappings are refused. What is mapped is looked at each time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/vhost/dax.h"
#include "tests/vhost/shm.h"

#define ROOT 1
#define PAGE 4096u
#define FILE_RANGES 16u
/* Of 4096 sections of QEMU's. */
#define PIECES_MAX 3900u
/* A guest's kernel gives up so many at a time, when fewer than a fifth are free. */
#define RECLAIM 10u

struct large {
	struct front *f;
	struct shm *s;
	uint64_t nodeid, to;
	uint32_t places, mapped, turn;
	int32_t *shows; /* by place, the file's range; -1: free */
};

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(1 + (at * 31 + (at >> 9) * 5 + (at >> 17)) % 255);
}

static uint64_t make(struct front *f, const char *name, uint64_t size)
{
	static uint8_t data[FRONT_DATA_MAX];
	struct fuse_entry_out e;

	front_want(fuse_create(f, ROOT, name, 0600, &e), 0, "create");
	for (uint64_t at = 0; at < size; at += sizeof(data)) {
		for (size_t k = 0; k < sizeof(data); k++)
			data[k] = pattern(at + k);
		front_want(fuse_write(f, e.nodeid, at, data, sizeof(data)), 0, "write");
	}
	return e.nodeid;
}

/* All of it now and then, or the ends and something between. */
static void look(struct large *l, uint32_t place)
{
	const uint8_t *at = l->s->at + place * SHM_RANGE;
	uint64_t from = (uint64_t)l->shows[place] * SHM_RANGE;
	uint64_t step = l->turn++ % 256 ? SHM_RANGE / 2 - 1 : 1;

	for (uint64_t k = 0; k < SHM_RANGE; k += step)
		if (at[k] != pattern(from + k))
			front_die("place %u shows %02x at %llu of range %d", place, at[k],
				  (unsigned long long)k, l->shows[place]);
}

static int map(struct large *l, uint32_t place)
{
	uint32_t range = (l->turn * 7 + place) % FILE_RANGES;
	int err = shm_map(l->s, l->nodeid, range * SHM_RANGE, place * SHM_RANGE, true);

	if (err)
		return err;
	l->shows[place] = (int32_t)range;
	l->mapped++;
	look(l, place);
	return 0;
}

static void unmap(struct large *l, uint32_t place)
{
	front_want(shm_unmap(l->s, place * SHM_RANGE), 0, "REMOVEMAPPING");
	l->shows[place] = -1;
	l->mapped--;
}

/* Half as many mappings again as there are places. */
static void as_kernels_do(struct large *l)
{
	uint32_t oldest = 0;

	for (uint32_t n = 0; n < l->places * 3 / 2; n++) {
		if (l->places - l->mapped < l->places / 5)
			for (uint32_t k = 0; k < RECLAIM; k++)
				unmap(l, oldest++ % l->places);
		front_want(map(l, n % l->places), 0, "SETUPMAPPING");
	}
	for (uint32_t k = 0; k < l->places; k++)
		if (l->shows[k] >= 0)
			look(l, k);
}

static void is_written(struct large *l, uint64_t at, uint32_t len)
{
	uint32_t place = (uint32_t)(at / SHM_RANGE);
	uint64_t from = (uint64_t)l->shows[place] * SHM_RANGE + at % SHM_RANGE;
	uint8_t got[PAGE];

	front_want(shm_write_from(l->s, l->to, SHM_GPA + at), 0, "a write from the window");
	if (fuse_read(l->f, l->to, 0, got, PAGE) != PAGE)
		front_die("short read");
	for (uint32_t k = 0; k < len; k++)
		if (got[k] != pattern(from + k))
			front_die("byte %u from the window is %02x", k, got[k]);
	from = (uint64_t)l->shows[place + (len < PAGE)] * SHM_RANGE;
	for (uint32_t k = len; k < PAGE; k++)
		if (got[k] != pattern(from + k - len))
			front_die("byte %u from the next range is %02x", k, got[k]);
}

/* No table has told of these. */
static void buffers(struct large *l)
{
	uint32_t k = l->places - 3, odd = 1000;

	while (l->shows[k] < 0 || l->shows[k + 1] < 0)
		k--;
	is_written(l, k * SHM_RANGE, PAGE);
	is_written(l, k * SHM_RANGE + 77 * PAGE, PAGE);
	is_written(l, (k + 1) * SHM_RANGE - odd, odd);
	unmap(l, k + 1);
	front_want(shm_write_from(l->s, l->to, SHM_GPA + (k + 1) * SHM_RANGE), -EIO,
		   "a write from where the window was");
	front_want(shm_write_from(l->s, l->to, SHM_GPA + (k + 1) * SHM_RANGE - odd), -EIO,
		   "a write from the window and where it was");
	front_want(map(l, k + 1), 0, "SETUPMAPPING");
	is_written(l, (k + 1) * SHM_RANGE, PAGE);
}

static void to_the_limit(struct large *l)
{
	uint32_t full = 0;

	for (uint32_t k = 0; k < l->places; k++) {
		int err = l->shows[k] < 0 ? map(l, k) : 0;

		if (err)
			front_want(err, -ENOSPC, "a mapping beyond the limit");
		full = err ? k : full;
	}
	if (shm_count(l->s) != (l->places < PIECES_MAX ? l->places : PIECES_MAX))
		front_die("%u pieces of %u places", shm_count(l->s), l->places);
	if (!full)
		return;
	for (uint32_t k = 0; k < 3; k++)
		unmap(l, k);
	front_want(map(l, full), 0, "SETUPMAPPING where there is room again");
	buffers(l);
}

/* All of it goes at once, and is known to have gone when the next life's first mapping is there. */
static void begin_anew(struct large *l)
{
	struct fuse_message destroy = { .opcode = FUSE_DESTROY };
	unsigned barriers = atomic_load(&l->s->barriers);
	struct fuse_entry_out e;

	front_want(fuse_call(l->f, 1, &destroy, NULL, NULL), 0, "destroy");
	(void)fuse_init_with(l->f, 0x1ff);
	front_want(fuse_lookup(l->f, ROOT, "large", &e), 0, "lookup");
	l->nodeid = e.nodeid;
	front_want(map(l, 5), 0, "SETUPMAPPING");
	if (shm_count(l->s) != 1 || atomic_load(&l->s->barriers) - barriers > 2)
		front_die("%u pieces after %u barriers", shm_count(l->s),
			  atomic_load(&l->s->barriers) - barriers);
}

void dax_large(struct front *f, struct shm *s)
{
	struct large l = { .f = f, .s = s, .places = (uint32_t)(s->size / SHM_RANGE) };

	l.shows = malloc(l.places * sizeof(*l.shows));
	if (!l.shows)
		front_die("out of memory");
	memset(l.shows, 0xff, l.places * sizeof(*l.shows));
	l.nodeid = make(f, "large", FILE_RANGES * SHM_RANGE);
	l.to = make(f, "large-to", FRONT_DATA_MAX);
	as_kernels_do(&l);
	buffers(&l);
	to_the_limit(&l);
	begin_anew(&l);
	front_want(fuse_names(f, FUSE_UNLINK, ROOT, "large"), 0, "unlink");
	free(l.shows);
}
