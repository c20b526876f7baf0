// SPDX-License-Identifier: GPL-2.0-only
/* See cuts.h. */
#include "tests/crash/cuts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "include/kfs/jbd2_format.h"

#define PENDING_MAX 4096
#define SUPER_OFF 1024u
#define SUPER_LEN 1024u
#define ALL_SUBSETS_MAX 5 /* writes: 32 subsets */

struct pending {
	const struct record_event *event;
	size_t number;
	bool there; /* a durable write that has returned */
	struct record_fate fate;
};

/* What an application of an event has overwritten. */
struct undo {
	uint64_t off, len;
	uint8_t *bytes;
};

struct cutter {
	const struct base *base;
	struct image image; /* the medium: all that was flushed */
	struct pending pending[PENDING_MAX];
	size_t pending_count;
	struct undo undo[PENDING_MAX];
	size_t undo_count;
	uint8_t *undo_bytes;
	size_t undo_used, undo_max;
	/* The run. */
	const struct cuts_opts *opts;
	bool (*fn)(void *arg, const struct cut *cut);
	void *arg;
	struct cut cut;
	uint64_t dice;
	bool stop;
};

struct cutter *cutter_new(const struct base *base)
{
	struct cutter *c = calloc(1, sizeof(*c));

	CHECK(c);
	c->base = base;
	c->image.bytes = malloc(base->size);
	CHECK(c->image.bytes);
	memcpy(c->image.bytes, base->bytes, base->size);
	image_hash(base, &c->image);
	return c;
}

void cutter_free(struct cutter *c)
{
	if (!c)
		return;
	free(c->image.bytes);
	free(c->undo_bytes);
	free(c);
}

static uint32_t below(struct cutter *c, uint64_t limit)
{
	uint64_t z = (c->dice += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (uint32_t)(((z ^ (z >> 31)) >> 8) % limit);
}

/* ---- the image ------------------------------------------------------------ */

static void put_sector(struct cutter *c, uint64_t n, const uint8_t *new)
{
	uint8_t *old = c->image.bytes + n * RECORD_SECTOR;

	if (memcmp(old, new, RECORD_SECTOR) == 0)
		return;
	*(c->base->in_log[n] ? &c->image.log : &c->image.home) ^= image_sector_hash(n, old) ^
								  image_sector_hash(n, new);
	memcpy(old, new, RECORD_SECTOR);
}

static void put_range(struct cutter *c, uint64_t off, const uint8_t *bytes, uint64_t len)
{
	for (uint64_t k = 0; k < len; k += RECORD_SECTOR)
		put_sector(c, (off + k) / RECORD_SECTOR, bytes + k);
}

/* Room for @len bytes of the image as they are. */
static void save(struct cutter *c, uint64_t off, uint64_t len)
{
	CHECK(c->undo_count < PENDING_MAX && c->undo_used + len <= c->undo_max);
	c->undo[c->undo_count] = (struct undo){ off, len, c->undo_bytes + c->undo_used };
	memcpy(c->undo[c->undo_count].bytes, c->image.bytes + off, len);
	c->undo_used += len;
	c->undo_count++;
}

static void reserve(struct cutter *c)
{
	size_t need = 0;

	for (size_t k = 0; k < c->pending_count; k++)
		need += 2 * c->pending[k].event->len;
	if (need <= c->undo_max)
		return;
	free(c->undo_bytes);
	c->undo_bytes = malloc(need);
	CHECK(c->undo_bytes);
	c->undo_max = need;
}

/*
 * The superblock's two sectors go together: @new has both of @e, or both of the image. No
 * reader of ext4 could do without: its checksum lies in the second, and the log that might
 * mend it is found through it. (Devices write at least 4 KiB at once, or nearly all do.)
 */
static void join_super(const struct cutter *c, const struct record_event *e, uint8_t *new)
{
	uint64_t at = SUPER_OFF - e->off;

	if (e->off > SUPER_OFF || e->off + e->len < SUPER_OFF + SUPER_LEN)
		return;
	if (memcmp(new + at, e->new + at, RECORD_SECTOR) == 0)
		memcpy(new + at, e->new + at, SUPER_LEN);
	else
		memcpy(new + at, c->image.bytes + SUPER_OFF, SUPER_LEN);
}

static void apply(struct cutter *c, const struct record_event *e, struct record_fate fate)
{
	uint8_t *new;

	save(c, e->off, e->len);
	/* The sectors' hashes are wanted: made aside, then put. */
	CHECK(c->undo_used + e->len <= c->undo_max);
	new = c->undo_bytes + c->undo_used;
	memcpy(new, c->image.bytes + e->off, e->len);
	record_apply(e, fate, new - e->off);
	join_super(c, e, new);
	put_range(c, e->off, new, e->len);
}

static void undo(struct cutter *c)
{
	while (c->undo_count > 0) {
		struct undo *u = &c->undo[--c->undo_count];

		put_range(c, u->off, u->bytes, u->len);
	}
	c->undo_used = 0;
}

static void begin(struct cutter *c, const uint8_t *before)
{
	put_range(c, 0, before, c->base->size);
	c->pending_count = 0;
}

/* ---- one cut -------------------------------------------------------------- */

static bool is_commit_block(const struct record_event *e)
{
	struct jbd2_header h;

	if (e->kind == RECORD_DISCARD)
		return false;
	memcpy(&h, e->new, sizeof(h));
	return be32_to_cpu(h.h_magic) == JBD2_MAGIC_NUMBER &&
	       be32_to_cpu(h.h_blocktype) == JBD2_COMMIT_BLOCK;
}

static void describe(struct cutter *c)
{
	static const char marks[] = { [FATE_DROP] = '-',
				      [FATE_KEEP] = '+',
				      [FATE_HEAD] = 'h',
				      [FATE_TAIL] = 't',
				      [FATE_COINS] = 'c' };
	size_t used = 0;

	c->cut.text[0] = '\0';
	for (size_t k = 0; k < c->pending_count && used + 60 < sizeof(c->cut.text); k++) {
		const struct pending *p = &c->pending[k];

		used += (size_t)snprintf(c->cut.text + used, sizeof(c->cut.text) - used,
					 "%s%zu:0x%llx+%llu%c", k ? " " : "", p->number,
					 (unsigned long long)p->event->off,
					 (unsigned long long)p->event->len, marks[p->fate.how]);
		if (p->fate.how > FATE_KEEP)
			used += (size_t)snprintf(c->cut.text + used, sizeof(c->cut.text) - used,
						 "%u", p->fate.arg);
	}
}

/* With the fates as they are. */
static void take(struct cutter *c)
{
	c->cut.torn = c->cut.torn_commit = false;
	for (size_t k = 0; k < c->pending_count; k++) {
		struct pending *p = &c->pending[k];
		bool torn = p->fate.how > FATE_KEEP;

		if (p->there)
			p->fate.how = FATE_KEEP;
		else
			c->cut.torn |= torn;
		if (torn && !p->there && is_commit_block(p->event))
			c->cut.torn_commit = true;
		if (p->fate.how != FATE_DROP)
			apply(c, p->event, p->fate);
	}
	describe(c);
	c->cut.image = &c->image;
	if (!c->fn(c->arg, &c->cut))
		c->stop = true;
	c->cut.number++;
	undo(c);
}

static void set_all(struct cutter *c, int how)
{
	for (size_t k = 0; k < c->pending_count; k++)
		c->pending[k].fate = (struct record_fate){ .how = how };
}

/* ---- which ---------------------------------------------------------------- */

static void all_subsets(struct cutter *c)
{
	for (uint32_t bits = 0; bits < 1u << c->pending_count && !c->stop; bits++) {
		for (size_t k = 0; k < c->pending_count; k++)
			c->pending[k].fate.how = bits >> k & 1 ? FATE_KEEP : FATE_DROP;
		take(c);
	}
}

/* Subset number @n of those worth a look, in an order that makes any beginning a good choice. */
static void some_subset(struct cutter *c, uint32_t n)
{
	size_t count = c->pending_count, k;

	if (n < 2) {
		set_all(c, n ? FATE_KEEP : FATE_DROP);
	} else if (n % 4 == 2) { /* a prefix */
		size_t end = below(c, count + 1);

		for (k = 0; k < count; k++)
			c->pending[k].fate.how = k < end ? FATE_KEEP : FATE_DROP;
	} else if (n % 4 == 3) {
		set_all(c, FATE_KEEP);
		c->pending[below(c, count)].fate.how = FATE_DROP;
	} else if (n % 4 == 0) {
		set_all(c, FATE_DROP);
		c->pending[below(c, count)].fate.how = FATE_KEEP;
	} else {
		for (k = 0; k < count; k++)
			c->pending[k].fate.how = below(c, 2) ? FATE_KEEP : FATE_DROP;
	}
}

static void tear(struct cutter *c)
{
	size_t k = below(c, c->pending_count);
	struct pending *p = &c->pending[k];
	uint32_t sectors = (uint32_t)(p->event->len / RECORD_SECTOR);

	for (size_t n = 0; n < c->pending_count; n++)
		c->pending[n].fate.how = below(c, 4) ? n < k ? FATE_KEEP : FATE_DROP : FATE_KEEP;
	if (below(c, 3) == 0)
		set_all(c, FATE_KEEP);
	if (sectors == 1 && p->event->kind != RECORD_DISCARD)
		return;
	p->fate.how = FATE_HEAD + below(c, 3);
	p->fate.arg = p->fate.how == FATE_COINS ? below(c, 1u << 30) : below(c, sectors + 1);
}

static void explore(struct cutter *c, uint32_t tag)
{
	c->cut.tag = tag;
	reserve(c);
	if (c->pending_count <= ALL_SUBSETS_MAX && 1u << c->pending_count <= c->opts->subsets) {
		all_subsets(c);
	} else {
		for (uint32_t n = 0; n < c->opts->subsets && !c->stop; n++) {
			some_subset(c, n);
			take(c);
		}
	}
	for (uint32_t n = 0; n < c->opts->torn && c->pending_count > 0 && !c->stop; n++) {
		tear(c);
		take(c);
	}
}

static void settle(struct cutter *c)
{
	for (size_t k = 0; k < c->pending_count; k++)
		put_range(c, c->pending[k].event->off, c->pending[k].event->new,
			  c->pending[k].event->len);
	c->pending_count = 0;
}

void cutter_run(struct cutter *c, const struct record *r, const struct cuts_opts *opts,
		bool (*fn)(void *arg, const struct cut *cut), void *arg)
{
	c->opts = opts;
	c->fn = fn;
	c->arg = arg;
	c->cut = (struct cut){ .number = 0 };
	c->dice = opts->seed;
	c->stop = false;
	begin(c, record_before(r));
	for (size_t k = 0; k < record_count(r) && !c->stop; k++) {
		const struct record_event *e = record_at(r, k);

		if (e->kind == RECORD_FLUSH) {
			explore(c, e->tag);
			settle(c);
			continue;
		}
		if (c->pending_count == PENDING_MAX)
			settle(c); /* as if flushed: fewer cuts, none of them wrong */
		c->pending[c->pending_count++] = (struct pending){ .event = e, .number = k };
		if (e->kind == RECORD_DURABLE) {
			explore(c, e->tag);
			c->pending[c->pending_count - 1].there = true;
		}
	}
	if (!c->stop)
		explore(c, opts->end_tag);
}
